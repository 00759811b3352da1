//! The options' numbers (tcpcrypt spec 3.1 and 3.4).

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum OptionName {
    /// Whether tcpcrypt is wanted for a connection; an int.
    Enable = 0,
    /// Always encrypt; an int.
    Cmode = 1,
    /// The session id of a connection; read only.
    SessionId = 2,
    /// Of older versions; always refused.
    RsaKey = 3,
    /// Set: the application-aware bit; an int. Get: one octet of bits, then the session id.
    AppSupport = 15,
    /// Forgets the settings of a port.
    Reset = 100,
    /// No cached session for a connection; an int.
    NoCache = 101,
    /// All encrypted connections, as many as the room offered holds; read only.
    Netstat = 102,
    /// Encrypted connections in order, page by page: our own, of the numbers that the spec leaves for
    /// extensions (3.4). Other daemons answer it with an error. See [`crate::netstat::PageRequest`].
    NetstatPage = 1000,
    /// A request about a connection of either family, see [`crate::wide`]. Our own, like all that follow.
    Wide = 1001,
    /// `A` or `B`: this host's role in an encrypted connection; read only.
    Role = 1002,
    /// `legacy` or `rfc8548`: how an encrypted connection was negotiated; read only.
    Dialect = 1003,
    /// The name of an encrypted connection's key exchange; read only.
    KeyExchange = 1004,
    /// The name of an encrypted connection's cipher; read only.
    Cipher = 1005,
    /// Set: the opener asks to be host B (RFC 8547 section 4.2); an int.
    PassiveRole = 1006,
    /// Set: the session that an encrypted connection left behind for a later one is forgotten (RFC 8548 section 3.5);
    /// any value.
    FlushCache = 1007,
}

impl OptionName {
    /// The option with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Enable,
            1 => Self::Cmode,
            2 => Self::SessionId,
            3 => Self::RsaKey,
            15 => Self::AppSupport,
            100 => Self::Reset,
            101 => Self::NoCache,
            102 => Self::Netstat,
            1000 => Self::NetstatPage,
            1001 => Self::Wide,
            1002 => Self::Role,
            1003 => Self::Dialect,
            1004 => Self::KeyExchange,
            1005 => Self::Cipher,
            1006 => Self::PassiveRole,
            1007 => Self::FlushCache,
            _ => return None,
        })
    }

    /// Its number in a datagram.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_both_ways() {
        let known: Vec<u32> = (0..2000)
            .filter(|&n| OptionName::from_number(n).is_some())
            .collect();
        assert_eq!(
            known,
            [
                0, 1, 2, 3, 15, 100, 101, 102, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007
            ]
        );
        for number in known {
            assert_eq!(OptionName::from_number(number).unwrap().number(), number);
        }
    }
}
