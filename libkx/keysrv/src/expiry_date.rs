//! Dates at which accounts expire, as changelogin asks for them (keysrv spec 12.3): `DDMMYYYY`, the
//! end of that day where we are.

use chrono::{Datelike, Days, NaiveDate, NaiveTime};

use crate::clock::Clock;

/// The last second that the data base can hold.
const LAST: i64 = i32::MAX as i64;
/// What the original calls the last day that can be given (it keeps two days for the time zones).
pub const LAST_DAY: &str = "17012038";

/// What is wrong with a date. `Display` is the original's complaint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// Not eight characters.
    #[error("!bad date format {0}")]
    Format(String),
    /// The first two.
    #[error("!bad day of month {0}")]
    Day(i64),
    /// The third and the fourth.
    #[error("!bad month {0}")]
    Month(i64),
    /// The last four.
    #[error("!bad year {0} (year may be no earlier than 1970)")]
    Year(i64),
    /// In the past, or later than can be stored.
    #[error("!bad expiration date {date} (must be between {today} and {LAST_DAY})")]
    Range {
        /// The date.
        date: String,
        /// Today.
        today: String,
    },
}

/// The day of `unix` seconds as `DDMMYYYY`.
#[must_use]
pub fn day(clock: &Clock, unix: i64) -> String {
    let time = clock.local(unix);
    format!("{:02}{:02}{:04}", time.day(), time.month(), time.year())
}

/// 23:59:59 of the day a year from now.
#[must_use]
pub fn in_a_year(clock: &Clock) -> i64 {
    let today = clock.local(clock.now());
    let (year, month) = (today.year().saturating_add(1), today.month());
    end_of_day(clock, year, month, today.day()).map_or(LAST, |unix| unix.min(LAST))
}

/// 23:59:59 of a day. As in the original a month may have up to 31 days; those that it has not are
/// the first of the next.
fn end_of_day(clock: &Clock, year: i32, month: u32, day: u32) -> Option<i64> {
    let first = NaiveDate::from_ymd_opt(year, month, 1)?;
    let date = first.checked_add_days(Days::new(day.checked_sub(1)?.into()))?;
    let time = NaiveTime::from_hms_opt(23, 59, 59)?;
    Some(clock.unix(date.and_time(time)))
}

/// Unix seconds of an answer.
///
/// # Errors
/// [`DateError`].
pub fn parse(clock: &Clock, text: &str) -> Result<i64, DateError> {
    let letters: Vec<char> = text.chars().collect();
    let &[d0, d1, m0, m1, y0, y1, y2, y3] = letters.as_slice() else {
        return Err(DateError::Format(text.to_owned()));
    };
    let (day, month, year) = (
        number(&[d0, d1]),
        number(&[m0, m1]),
        number(&[y0, y1, y2, y3]),
    );
    if !(1..=31).contains(&day) {
        return Err(DateError::Day(day));
    }
    if !(1..=12).contains(&month) {
        return Err(DateError::Month(month));
    }
    if year < 1970 {
        return Err(DateError::Year(year));
    }
    let small = |number: i64| u32::try_from(number).unwrap_or(0);
    let year_number = i32::try_from(year).unwrap_or(i32::MAX);
    let now = clock.now();
    match end_of_day(clock, year_number, small(month), small(day)) {
        Some(unix) if unix > now && unix <= LAST => Ok(unix),
        _ => Err(DateError::Range {
            date: format!("{day:02}{month:02}{year:04}"),
            today: self::day(clock, now),
        }),
    }
}

/// Leading digits, after blanks and a sign; 0 without.
fn number(letters: &[char]) -> i64 {
    let text: String = letters.iter().collect();
    let text = text.trim_start();
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = text.chars().map_while(|letter| letter.to_digit(10));
    sign * digits.fold(0, |value, digit| value * 10 + i64::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 12:00:00 in Greenwich.
    const NOW: i64 = 1_795_262_400;

    #[test]
    fn dates_mean_the_end_of_the_day() {
        let clock = Clock::fixed(NOW, 0);
        for (text, expected) in [
            ("21112026", NOW + 12 * 3600 - 1),
            ("21112027", NOW + 365 * 86_400 + 12 * 3600 - 1),
            ("17012038", 2_147_385_599),
            ("18012038", 2_147_471_999),
        ] {
            assert_eq!(parse(&clock, text), Ok(expected), "{text}");
            assert_eq!(day(&clock, expected), text);
        }
        let no_day = parse(&clock, "31022027").expect("taken for another");
        assert_eq!(day(&clock, no_day), "03032027");
        assert_eq!(day(&clock, in_a_year(&clock)), "21112027");
        let east = Clock::fixed(NOW, 3600);
        assert_eq!(parse(&east, "21112026"), Ok(NOW + 11 * 3600 - 1));
    }

    #[test]
    fn a_leap_day_has_no_anniversary() {
        let clock = Clock::fixed(1_835_438_400, 0); // 2028-02-29 12:00
        assert_eq!(day(&clock, clock.now()), "29022028");
        assert_eq!(day(&clock, in_a_year(&clock)), "01032029");
    }

    #[test]
    fn complaints_are_those_of_the_original() {
        let clock = Clock::fixed(NOW, 0);
        let range = |date: &str| {
            format!("!bad expiration date {date} (must be between 21112026 and 17012038)")
        };
        for (text, expected) in [
            (".1.12027", "!bad day of month 0".to_owned()),
            ("", "!bad date format ".to_owned()),
            ("0101202", "!bad date format 0101202".to_owned()),
            ("00012027", "!bad day of month 0".to_owned()),
            ("32012027", "!bad day of month 32".to_owned()),
            ("-1012027", "!bad day of month -1".to_owned()),
            ("xx012027", "!bad day of month 0".to_owned()),
            ("01002027", "!bad month 0".to_owned()),
            ("01132027", "!bad month 13".to_owned()),
            (
                "01011969",
                "!bad year 1969 (year may be no earlier than 1970)".to_owned(),
            ),
            ("2011202", "!bad date format 2011202".to_owned()),
            ("20112026", range("20112026")),
            ("19012038", range("19012038")),
            ("01019999", range("01019999")),
        ] {
            let error = parse(&clock, text).expect_err(text);
            assert_eq!(error.to_string(), expected);
        }
    }
}
