//! When INIT1 and INIT2 are sent again (tcpcrypt spec 5.1).

use std::time::{Duration, Instant};

/// Time to the first repetition, on a path that is not slower: the original's.
const INTERVAL: Duration = Duration::from_millis(100);

/// Longest time between two repetitions.
const LONGEST: Duration = Duration::from_secs(3);

/// Repetitions before the connection is given up: the original's.
const REPETITIONS: u8 = 10;

/// How the time between repetitions develops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It stays the same. For INIT2: the peer is known to wait for it.
    Steady,
    /// It doubles. For INIT1: the server may be busy with many.
    Doubling,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing yet.
    Nothing,
    /// The message is to be sent again.
    Repeat,
    /// It was sent often enough.
    GiveUp,
}

/// The clock of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repeats {
    interval: Duration,
    next: Instant,
    count: u8,
    pace: Pace,
}

impl Repeats {
    /// Starts when the message was sent for the first time. `round_trip` is what the SYNs took: where that is
    /// long, a fixed tenth of a second would give up before the answer can be there.
    pub(super) fn start(now: Instant, round_trip: Duration, pace: Pace) -> Self {
        let interval = (round_trip.saturating_add(round_trip / 2)).clamp(INTERVAL, LONGEST);
        Self {
            interval,
            next: now.checked_add(interval).unwrap_or(now),
            count: 0,
            pace,
        }
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn due(&mut self, now: Instant) -> Due {
        if now < self.next {
            return Due::Nothing;
        }
        if self.count >= REPETITIONS {
            return Due::GiveUp;
        }
        self.count += 1;
        if self.pace == Pace::Doubling {
            self.interval = self.interval.saturating_mul(2).min(LONGEST);
        }
        self.next = now.checked_add(self.interval).unwrap_or(now);
        Due::Repeat
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Due, Pace, Repeats};

    #[test]
    fn ten_times_then_never() {
        let start = Instant::now();
        for (round_trip, pace, total) in [
            (0, Pace::Steady, 1100),
            (1000, Pace::Steady, 16_500),
            (60_000, Pace::Steady, 33_000),
            (0, Pace::Doubling, 100 + 200 + 400 + 800 + 1600 + 6 * 3000),
        ] {
            let mut repeats = Repeats::start(start, Duration::from_millis(round_trip), pace);
            assert_eq!(repeats.due(start), Due::Nothing);
            for _ in 0..10 {
                let now = repeats.next();
                assert_eq!(repeats.due(now), Due::Repeat);
            }
            let end = repeats.next();
            assert_eq!(repeats.due(end), Due::GiveUp);
            assert_eq!(end.duration_since(start).as_millis(), total);
        }
    }
}
