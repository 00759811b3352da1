//! The time of day where this host is, also inside a chroot.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Like 2026.
    pub year: i32,
    /// From 1.
    pub month: i32,
    /// Of the month, from 1.
    pub day: i32,
    /// From 0.
    pub hour: i32,
    /// From 0.
    pub minute: i32,
    /// From 0; 60 in a leap second.
    pub second: i32,
}

impl LocalTime {
    /// Now. The first call in a process reads the time zone from the file system; those after it need
    /// no files.
    #[must_use]
    pub fn now() -> LocalTime {
        LocalTime::at(SystemTime::now())
    }

    /// The local time of a moment; 1 January 1970, midnight, for those that the C library cannot say.
    #[must_use]
    #[allow(unsafe_code)]
    pub fn at(time: SystemTime) -> LocalTime {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = libc::time_t::try_from(since.as_secs()).unwrap_or(0);
        let mut broken = std::mem::MaybeUninit::<libc::tm>::zeroed();
        // SAFETY: a number to read and room for the result.
        unsafe { libc::localtime_r(&raw const seconds, broken.as_mut_ptr()) };
        // SAFETY: all of its fields are numbers or a pointer, for which zero is a value.
        let broken = unsafe { broken.assume_init() };
        LocalTime {
            year: broken.tm_year.saturating_add(1900),
            month: broken.tm_mon.saturating_add(1),
            day: broken.tm_mday.max(1),
            hour: broken.tm_hour,
            minute: broken.tm_min,
            second: broken.tm_sec,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn noon_is_within_a_day_of_noon() {
        // 2001-09-09 01:46:40 UTC, on that day or its neighbours everywhere.
        let time = LocalTime::at(UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        assert_eq!((time.year, time.month), (2001, 9));
        assert!((8..=9).contains(&time.day));
        assert_eq!(time.second, 40);
    }
}
