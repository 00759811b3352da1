//! Time stamps: formatted once per second, since a busy server writes thousands of lines in one.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Local};

/// A second of local time in the forms lines need.
pub(super) struct Second {
    unix: i64,
    stamp: String,
    syslog_header: String,
}

impl Second {
    /// The second that contains `now`.
    pub(super) fn at(now: SystemTime) -> Self {
        Self::new(split(now).0)
    }

    fn new(unix: i64) -> Self {
        let local = DateTime::from_timestamp(unix, 0)
            .unwrap_or_default()
            .with_timezone(&Local);
        Self {
            unix,
            stamp: local.format("%Y/%m/%d %H:%M:%S").to_string(),
            // Facility daemon (3) and severity info (6); the day is padded with a blank.
            syslog_header: format!(
                "<30>{} kxd[{}]: ",
                local.format("%b %e %H:%M:%S"),
                std::process::id()
            ),
        }
    }

    /// Moves to the second that contains `now` and returns the microseconds in it.
    pub(super) fn advance(&mut self, now: SystemTime) -> u32 {
        let (unix, micros) = split(now);
        if unix != self.unix {
            *self = Self::new(unix);
        }
        micros
    }

    /// `YYYY/MM/DD HH:MM:SS`.
    pub(super) fn stamp(&self) -> &str {
        &self.stamp
    }

    /// `<30>Mon _D HH:MM:SS kxd[PID]: `.
    pub(super) fn syslog_header(&self) -> &str {
        &self.syslog_header
    }
}

/// Unix seconds and microseconds. A clock before 1970 counts as 1970.
fn split(now: SystemTime) -> (i64, u32) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(0);
    (seconds, since.subsec_micros())
}
