//! The time, and what the calendar says of it where we are; both can be fixed for tests.

use chrono::{DateTime, FixedOffset, Local, NaiveDateTime, Offset, TimeZone, Utc};

/// The time of day and the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Unix seconds that never pass; `None`: the system's clock.
    fixed: Option<i64>,
    /// `None`: the zone of the host (`$TZ`, `/etc/localtime`).
    zone: Option<FixedOffset>,
}

impl Clock {
    /// The host's.
    #[must_use]
    pub const fn of_host() -> Clock {
        Clock {
            fixed: None,
            zone: None,
        }
    }

    /// One that stands still at `unix` seconds, in a zone so many seconds east of Greenwich.
    #[must_use]
    pub fn fixed(unix: i64, east: i32) -> Clock {
        Clock {
            fixed: Some(unix),
            zone: FixedOffset::east_opt(east).or(Some(Utc.fix())),
        }
    }

    /// Unix seconds.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.fixed.unwrap_or_else(|| Utc::now().timestamp())
    }

    /// Date and time at `unix` seconds in the zone.
    #[must_use]
    pub fn local(&self, unix: i64) -> NaiveDateTime {
        let time = DateTime::from_timestamp(unix, 0).unwrap_or_default();
        match self.zone {
            Some(zone) => time.with_timezone(&zone).naive_local(),
            None => time.with_timezone(&Local).naive_local(),
        }
    }

    /// The other way round. Of a time that the change to or from summer time makes ambiguous the
    /// earlier one; of one that it leaves out, what the clocks would show had they not been changed.
    #[must_use]
    pub fn unix(&self, local: NaiveDateTime) -> i64 {
        let seconds = local.and_utc().timestamp();
        match self.zone {
            Some(zone) => seconds.saturating_sub(zone.local_minus_utc().into()),
            None => match Local.from_local_datetime(&local).earliest() {
                Some(time) => time.timestamp(),
                None => {
                    let offset = Local.offset_from_utc_datetime(&local).fix();
                    seconds.saturating_sub(offset.local_minus_utc().into())
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for clock in [
            Clock::fixed(0, 0),
            Clock::fixed(0, 3600),
            Clock::fixed(0, -34_200),
            Clock::of_host(),
        ] {
            for time in [0, 1_000_000_000, 1_795_000_000, 2_147_483_647] {
                assert_eq!(clock.unix(clock.local(time)), time);
            }
        }
        let noon = Clock::fixed(5, 3600).local(1_000_000_000);
        assert_eq!(noon.to_string(), "2001-09-09 02:46:40");
        assert_eq!(Clock::fixed(5, 0).now(), 5);
    }
}
