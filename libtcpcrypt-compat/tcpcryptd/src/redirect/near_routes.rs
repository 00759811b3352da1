//! Whether connections to servers of this host can be made in the name of their clients.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use kx_sys::tcp_proxy::stays_here;

use super::MARK_NEAR;

/// How long an answer is believed. Rules go together with the routes, and without them nobody is redirected.
const BELIEVED: Duration = Duration::from_secs(1);
/// Clients that are remembered, at most.
const CLIENTS: usize = 1024;

/// Clients whose packets stay here, as the routes said a moment ago: asking costs a socket.
#[derive(Debug, Default)]
pub(super) struct NearRoutes {
    asked: HashMap<IpAddr, Instant>,
}

impl NearRoutes {
    /// Whether what a server sends to `client` with our mark comes back to us. Only with our rules it does.
    pub(super) fn lead_to(&mut self, now: Instant, client: IpAddr) -> bool {
        self.lead(now, client, || {
            stays_here(client, MARK_NEAR).unwrap_or(false)
        })
    }

    fn lead(&mut self, now: Instant, client: IpAddr, ask: impl FnOnce() -> bool) -> bool {
        let asked = self.asked.get(&client);
        if asked.is_some_and(|at| now.saturating_duration_since(*at) < BELIEVED) {
            return true;
        }
        // They may come at any time.
        if !ask() {
            self.asked.remove(&client);
            return false;
        }
        if self.asked.len() >= CLIENTS {
            self.asked.clear();
        }
        self.asked.insert(client, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_way_is_believed_for_a_moment_and_its_absence_never() {
        let mut routes = NearRoutes::default();
        let (one, other) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let now = Instant::now();
        assert!(!routes.lead(now, one.into(), || false));
        assert!(routes.lead(now, one.into(), || true));
        let soon = now + BELIEVED / 2;
        assert!(routes.lead(soon, one.into(), || false));
        assert!(!routes.lead(soon, other.into(), || false));
        assert!(!routes.lead(now + BELIEVED, one.into(), || false));
        assert!(!routes.lead(soon, one.into(), || false));
    }

    #[test]
    fn clients_are_bounded() {
        let mut routes = NearRoutes::default();
        for number in 0..5000 {
            assert!(routes.lead(Instant::now(), Ipv4Addr::from(number).into(), || true));
        }
        assert!(routes.asked.len() <= CLIENTS);
    }
}
