//! Requests per second and client: a token bucket each, in a table of bounded size.
//!
//! A bucket is kept as one instant, the moment at which it will be full again (the "generic cell rate
//! algorithm"): a request moves it on by the time one token takes, and is refused if that would put
//! it further ahead than a whole bucket takes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::ClientKey;

/// Buckets by client.
///
/// The table forgets in two generations: when the younger one is full the older one is dropped. A
/// client that is forgotten starts with a full bucket; by then as many others as half the table holds
/// have asked.
#[derive(Debug)]
pub struct RateTable {
    /// Time in which one token comes.
    interval: Duration,
    /// Time in which an empty bucket fills.
    fill: Duration,
    per_generation: usize,
    young: HashMap<ClientKey, Instant>,
    old: HashMap<ClientKey, Instant>,
}

impl RateTable {
    /// `rate` requests per second after a burst of `burst`, for `capacity` clients. All three count
    /// as 1 (capacity as 2) if they are less.
    pub fn new(rate: u32, burst: u32, capacity: usize) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        RateTable {
            interval,
            fill: interval.saturating_mul(burst.max(1)),
            per_generation: (capacity / 2).max(1),
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// Whether `client` may make a request at `now`; if so its bucket has one token less.
    ///
    /// A `now` that is earlier than one before it is no error: workers race.
    pub fn allow(&mut self, client: ClientKey, now: Instant) -> bool {
        let young = self.young.get(&client).copied();
        let full_at = young
            .or_else(|| self.old.remove(&client))
            .unwrap_or(now)
            .max(now);
        let after = full_at.checked_add(self.interval);
        let (allowed, full_at) = match after {
            Some(after) if after.saturating_duration_since(now) <= self.fill => (true, after),
            _ => (false, full_at),
        };
        if young.is_none() && self.young.len() >= self.per_generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(client, full_at);
        allowed
    }

    /// Clients remembered now; never more than the capacity.
    pub fn len(&self) -> usize {
        self.young.len().saturating_add(self.old.len())
    }

    /// Whether no client is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    fn client(n: u32) -> ClientKey {
        IpAddr::V4(Ipv4Addr::from_bits(n)).into()
    }

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn burst_then_rate() {
        let start = Instant::now();
        let mut table = RateTable::new(10, 3, 100);
        let mut allow = |ms| table.allow(client(1), at(start, ms));
        assert_eq!([0, 0, 0, 0].map(&mut allow), [true, true, true, false]);
        assert_eq!([99, 100, 100].map(&mut allow), [false, true, false]);
        // After a long pause there is one bucket, not more.
        assert_eq!(
            [60_000, 60_000, 60_000, 60_000].map(&mut allow),
            [true, true, true, false]
        );
    }

    #[test]
    fn refusal_costs_nothing() {
        let start = Instant::now();
        let mut table = RateTable::new(1, 1, 100);
        assert!(table.allow(client(1), start));
        assert!((1..1000).all(|ms| !table.allow(client(1), at(start, ms))));
        assert!(table.allow(client(1), at(start, 1000)));
    }

    #[test]
    fn clients_do_not_share_a_bucket() {
        let start = Instant::now();
        let mut table = RateTable::new(1, 1, 100);
        assert!(table.allow(client(1), start));
        assert!(table.allow(client(2), start));
        assert!(!table.allow(client(1), start));
    }

    #[test]
    fn busy_client_outlives_a_generation() {
        let start = Instant::now();
        let mut table = RateTable::new(1, 1, 8);
        assert!(table.allow(client(1), start));
        for n in 2..100 {
            table.allow(client(n), start);
            assert!(!table.allow(client(1), start), "forgotten after {n}");
        }
    }

    #[test]
    fn clock_that_steps_back_is_harmless() {
        let start = at(Instant::now(), 10_000);
        let mut table = RateTable::new(1, 1, 8);
        assert!(table.allow(client(1), start));
        assert!(!table.allow(client(1), start - Duration::from_secs(5)));
        assert!(table.allow(client(1), at(start, 1000)));
    }

    proptest! {
        /// In any window, no more pass than the burst and what the window brings.
        #[test]
        fn never_more_than_burst_plus_rate(
            rate in 1u32..50, burst in 1u32..20,
            pauses in prop::collection::vec(0u64..200, 1..300),
        ) {
            let start = Instant::now();
            let mut table = RateTable::new(rate, burst, 16);
            let mut ms = 0;
            let mut passed: Vec<u64> = Vec::new();
            for pause in pauses {
                ms += pause;
                if table.allow(client(7), at(start, ms)) {
                    passed.push(ms);
                }
            }
            for (i, from) in passed.iter().enumerate() {
                for (j, to) in passed.iter().enumerate().skip(i) {
                    let most = u64::from(burst) + (to - from) * u64::from(rate) / 1000 + 1;
                    prop_assert!((j - i + 1) as u64 <= most);
                }
            }
        }

        /// Memory stays bounded whoever asks, and nobody's first request is refused.
        #[test]
        fn table_is_bounded(clients in prop::collection::vec(0u32..1000, 0..500), capacity in 0usize..50) {
            let start = Instant::now();
            let mut table = RateTable::new(1, 1, capacity);
            let mut seen = std::collections::HashSet::new();
            for n in clients {
                let allowed = table.allow(client(n), start);
                prop_assert!(allowed || !seen.insert(n));
                seen.insert(n);
                prop_assert!(table.len() <= capacity.max(2));
            }
        }
    }
}
