//! Connections at once, in all and per client.

use std::collections::HashMap;

use super::ClientKey;

/// Which limit a new connection would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// Connections in all.
    #[error("too many connections (limit is {limit})")]
    Connections {
        /// The limit.
        limit: u32,
    },
    /// Connections from one client.
    #[error("too many connections from {client} (limit is {limit})")]
    FromClient {
        /// The client.
        client: ClientKey,
        /// The limit.
        limit: u32,
    },
}

/// Counts of open connections. There is an entry for each client with a connection, so the table is
/// bounded by the number of connections.
#[derive(Debug)]
pub struct ConnectionTable {
    limit: u32,
    limit_per_client: u32,
    open: u32,
    by_client: HashMap<ClientKey, u32>,
}

impl ConnectionTable {
    /// No connections yet, `limit` at most, and `limit_per_client` at most from one client.
    pub fn new(limit: u32, limit_per_client: u32) -> Self {
        ConnectionTable {
            limit,
            limit_per_client,
            open: 0,
            by_client: HashMap::new(),
        }
    }

    /// Counts a connection.
    ///
    /// # Errors
    /// When a limit is reached; nothing is counted then.
    pub fn open(&mut self, client: ClientKey) -> Result<(), TooMany> {
        if self.open >= self.limit {
            return Err(TooMany::Connections { limit: self.limit });
        }
        let count = self.by_client.get(&client).copied().unwrap_or(0);
        if count >= self.limit_per_client {
            return Err(TooMany::FromClient {
                client,
                limit: self.limit_per_client,
            });
        }
        self.by_client.insert(client, count.saturating_add(1));
        self.open = self.open.saturating_add(1);
        Ok(())
    }

    /// A connection that was counted has ended.
    pub fn close(&mut self, client: ClientKey) {
        let Some(count) = self.by_client.get_mut(&client) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.by_client.remove(&client);
        }
        self.open = self.open.saturating_sub(1);
        if self.by_client.is_empty() {
            // What a flood made it grow to is given back.
            self.by_client.shrink_to_fit();
        }
    }

    /// Connections now.
    pub fn len(&self) -> u32 {
        self.open
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    fn client(n: u8) -> ClientKey {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)).into()
    }

    #[test]
    fn limits_hold_in_all_and_per_client() {
        let mut table = ConnectionTable::new(3, 2);
        assert_eq!(table.open(client(1)), Ok(()));
        assert_eq!(table.open(client(1)), Ok(()));
        let text = table.open(client(1)).unwrap_err().to_string();
        assert_eq!(text, "too many connections from 192.0.2.1 (limit is 2)");
        assert_eq!(table.open(client(2)), Ok(()));
        assert_eq!(
            table.open(client(3)),
            Err(TooMany::Connections { limit: 3 })
        );
        table.close(client(1));
        assert_eq!(table.open(client(3)), Ok(()));
    }

    proptest! {
        /// Against a plain list of open connections.
        #[test]
        fn table_agrees_with_a_list(steps in prop::collection::vec((any::<bool>(), 0u8..4), 0..200)) {
            let mut table = ConnectionTable::new(6, 3);
            let mut open: Vec<u8> = Vec::new();
            for (opens, n) in steps {
                if opens {
                    let of_client = open.iter().filter(|c| **c == n).count();
                    let fits = open.len() < 6 && of_client < 3;
                    prop_assert_eq!(table.open(client(n)).is_ok(), fits);
                    if fits {
                        open.push(n);
                    }
                } else if let Some(at) = open.iter().position(|c| *c == n) {
                    open.swap_remove(at);
                    table.close(client(n));
                } else {
                    table.close(client(n));
                }
                prop_assert_eq!(table.len() as usize, open.len());
                prop_assert!(table.by_client.len() <= open.len());
            }
        }
    }
}
