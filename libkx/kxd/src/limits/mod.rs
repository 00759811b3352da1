//! How much one client may take: connections at once, and requests per second (ours, deviation D5).
//!
//! [`connections`] and [`rate`] are the rules, pure and with the time passed in; [`Limits`] puts them
//! behind a lock and a clock for the workers. A client is an IPv4 address or an IPv6 /64, which is
//! what one host or one home is given.

pub mod connections;
pub mod rate;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use connections::{ConnectionTable, TooMany};
use rate::RateTable;

/// Clients whose rate is remembered: 16,384 at most, about 1 MB.
const REMEMBERED_CLIENTS: usize = 16 * 1024;

/// Lines about refused connections are at least this far apart.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Who counts as one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(u128);

impl From<IpAddr> for ClientKey {
    fn from(ip: IpAddr) -> Self {
        const UPPER_64_BITS: u128 = !0 << 64;
        match ip.to_canonical() {
            IpAddr::V4(v4) => ClientKey(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => ClientKey(v6.to_bits() & UPPER_64_BITS),
        }
    }
}

impl std::fmt::Display for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ip = Ipv6Addr::from_bits(self.0);
        match ip.to_ipv4_mapped() {
            Some(v4) => write!(f, "{v4}"),
            None => write!(f, "{ip}/64"),
        }
    }
}

/// A connection was refused. `Display` says why, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}", more(.unsaid))]
pub struct Refused {
    /// Which limit was reached.
    pub reason: TooMany,
    /// Whether this should be logged: false for most of a flood.
    pub worth_a_line: bool,
    /// Connections refused without a line since the last one with a line.
    pub unsaid: u64,
}

fn more(unsaid: &u64) -> String {
    if *unsaid == 0 {
        String::new()
    } else {
        format!(" ({unsaid} more since the last line)")
    }
}

/// All limits, shared by the workers.
#[derive(Debug)]
pub struct Limits {
    connections: Arc<Mutex<Connections>>,
    rate: Option<Mutex<RateTable>>,
}

#[derive(Debug)]
struct Connections {
    table: ConnectionTable,
    last_line: Option<Instant>,
    unsaid: u64,
}

/// An admitted connection; it stops counting when this is dropped.
#[derive(Debug)]
pub struct Admitted {
    connections: Arc<Mutex<Connections>>,
    client: ClientKey,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        lock(&self.connections).table.close(self.client);
    }
}

impl Limits {
    /// At most `connections` at once, `per_client` of them from one client, and `rate` requests per
    /// second from one client after a burst of [`burst_for`] (0: any number).
    pub fn new(connections: u32, per_client: u32, rate: u32) -> Self {
        let table = ConnectionTable::new(connections, per_client);
        Limits {
            connections: Arc::new(Mutex::new(Connections {
                table,
                last_line: None,
                unsaid: 0,
            })),
            rate: (rate > 0)
                .then(|| Mutex::new(RateTable::new(rate, burst_for(rate), REMEMBERED_CLIENTS))),
        }
    }

    /// Counts a new connection. Keep the answer as long as the connection lasts.
    ///
    /// # Errors
    /// When a limit is reached; the connection is not counted then.
    pub fn admit(&self, ip: IpAddr) -> Result<Admitted, Refused> {
        self.admit_at(ip, Instant::now())
    }

    fn admit_at(&self, ip: IpAddr, now: Instant) -> Result<Admitted, Refused> {
        let client = ClientKey::from(ip);
        let mut state = lock(&self.connections);
        let Err(reason) = state.table.open(client) else {
            let connections = Arc::clone(&self.connections);
            return Ok(Admitted {
                connections,
                client,
            });
        };
        let silent = state
            .last_line
            .is_some_and(|t| now.saturating_duration_since(t) < LINE_INTERVAL);
        if silent {
            state.unsaid = state.unsaid.saturating_add(1);
            return Err(Refused {
                reason,
                worth_a_line: false,
                unsaid: 0,
            });
        }
        state.last_line = Some(now);
        let unsaid = std::mem::take(&mut state.unsaid);
        Err(Refused {
            reason,
            worth_a_line: true,
            unsaid,
        })
    }

    /// Whether this client may make a request now; if so, it is counted.
    pub fn allow_request(&self, ip: IpAddr) -> bool {
        match &self.rate {
            None => true,
            Some(table) => lock(table).allow(ClientKey::from(ip), Instant::now()),
        }
    }
}

/// Requests that may come at once at a given rate: those of two seconds, and no less than five, so
/// that a boot script that asks for some keys in a row is not refused.
pub const fn burst_for(rate: u32) -> u32 {
    let two_seconds = rate.saturating_mul(2);
    if two_seconds < 5 { 5 } else { two_seconds }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The tables are consistent after each statement, so a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn clients_are_ipv4_addresses_and_ipv6_networks() {
        let key = |text| ClientKey::from(ip(text));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:0:0:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("::1"), key("0.0.0.0"));
        assert_eq!(key("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(key("192.0.2.1").to_string(), "192.0.2.1");
    }

    #[test]
    fn connection_counts_until_its_guard_is_dropped() {
        let limits = Limits::new(10, 1, 0);
        let first = limits.admit(ip("192.0.2.1")).unwrap();
        assert!(limits.admit(ip("192.0.2.1")).is_err());
        assert!(limits.admit(ip("192.0.2.2")).is_ok());
        drop(first);
        assert!(limits.admit(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn flood_of_refusals_gives_one_line_a_second() {
        let limits = Limits::new(1, 1, 0);
        let start = Instant::now();
        let _held = limits.admit(ip("192.0.2.1")).unwrap();
        let refuse = |ms| {
            limits
                .admit_at(ip("192.0.2.1"), start + Duration::from_millis(ms))
                .unwrap_err()
        };
        assert!(refuse(0).worth_a_line);
        assert!(!refuse(1).worth_a_line);
        assert!(!refuse(999).worth_a_line);
        let said = refuse(1000);
        assert!(said.worth_a_line);
        assert_eq!(
            said.to_string(),
            "too many connections (limit is 1) (2 more since the last line)"
        );
    }

    #[test]
    fn rate_zero_is_no_limit() {
        let limits = Limits::new(1, 1, 0);
        assert!((0..10_000).all(|_| limits.allow_request(ip("192.0.2.1"))));
    }

    #[test]
    fn burst_passes_and_then_no_more() {
        let limits = Limits::new(1, 1, 1);
        let passed = (0..100)
            .filter(|_| limits.allow_request(ip("192.0.2.1")))
            .count();
        assert!((5..=6).contains(&passed), "{passed}");
        assert!(limits.allow_request(ip("192.0.2.2")));
    }
}
