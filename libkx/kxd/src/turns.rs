//! Turns at what is slow and therefore limited: running the hook, sending mail.
//!
//! So many at once in all, and so many of them for one client: the others' turns are not for one
//! client to take. Who has none waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::limits::ClientKey;

/// Clients that are remembered before those without a turn are forgotten.
const SWEEP_AT: usize = 1024;

/// A limited number of turns.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    per_client: usize,
    clients: Mutex<HashMap<ClientKey, Weak<Semaphore>>>,
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _of_all: OwnedSemaphorePermit,
    _of_client: OwnedSemaphorePermit,
    _client: Arc<Semaphore>,
}

impl Turns {
    /// `all` at once, `per_client` of them for one client.
    pub(crate) fn new(all: usize, per_client: usize) -> Turns {
        Turns {
            all: Arc::new(Semaphore::new(all)),
            per_client,
            clients: Mutex::new(HashMap::new()),
        }
    }

    /// Waits for a turn, `limit` at most.
    pub(crate) async fn take(&self, ip: IpAddr, limit: Duration) -> Option<Turn> {
        let client = self.client(ip.into());
        let both = async {
            // One's own first: who waits for that keeps nobody else waiting.
            let of_client = Arc::clone(&client).acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some((of_all, of_client))
        };
        let (of_all, of_client) = timeout(limit, both).await.ok().flatten()?;
        Some(Turn {
            _of_all: of_all,
            _of_client: of_client,
            _client: client,
        })
    }

    fn client(&self, key: ClientKey) -> Arc<Semaphore> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if clients.len() >= SWEEP_AT {
            clients.retain(|_, known| known.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(self.per_client));
        clients.insert(key, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::from_millis(20);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn one_client_cannot_take_the_turns_of_all() {
        let turns = Turns::new(3, 2);
        let first = turns.take(ip(1), AT_ONCE).await.expect("free");
        let _second = turns.take(ip(1), AT_ONCE).await.expect("free");
        assert!(
            turns.take(ip(1), AT_ONCE).await.is_none(),
            "its own are used up"
        );
        let _other = turns
            .take(ip(2), AT_ONCE)
            .await
            .expect("one is left for others");
        assert!(
            turns.take(ip(3), AT_ONCE).await.is_none(),
            "all are used up"
        );
        drop(first);
        assert!(turns.take(ip(3), AT_ONCE).await.is_some());
    }

    #[tokio::test]
    async fn clients_without_a_turn_are_forgotten() {
        let turns = Turns::new(1, 1);
        for n in 0..SWEEP_AT + 10 {
            let ip = IpAddr::from(u32::try_from(n).expect("small").to_be_bytes());
            assert!(turns.take(ip, AT_ONCE).await.is_some());
        }
        assert!(turns.clients.lock().expect("unpoisoned").len() <= SWEEP_AT);
    }
}
