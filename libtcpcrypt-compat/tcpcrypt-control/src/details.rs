//! How a connection is encrypted, as options and in lists: our own, beyond the original's (tcpcrypt spec 3.4).

/// What went over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The original's.
    Legacy,
    /// That of RFC 8548.
    Rfc8548,
}

/// Which end of the exchange this host was (RFC 8547 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The one that opened the connection, where nothing else was agreed.
    A,
    /// The other one.
    B,
}

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Details {
    /// The dialect.
    pub dialect: Dialect,
    /// This host's role.
    pub role: Role,
    /// The key exchange by its number in RFC 8548 section 7, without the bit that says that data follow.
    pub tep: u8,
    /// The cipher by its number in RFC 8548 section 7, in either dialect.
    pub cipher: u16,
}

impl Dialect {
    /// The value of [`OptionName::Dialect`](crate::OptionName::Dialect).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Rfc8548 => "rfc8548",
        }
    }
}

impl Role {
    /// The value of [`OptionName::Role`](crate::OptionName::Role).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }
}

impl Details {
    /// The value of [`OptionName::KeyExchange`](crate::OptionName::KeyExchange): the name that the RFC has for
    /// it, or the number.
    #[must_use]
    pub fn tep_name(&self) -> String {
        match self.tep {
            0x21 => "TCPCRYPT_ECDHE_P256".to_owned(),
            0x22 => "TCPCRYPT_ECDHE_P521".to_owned(),
            0x23 => "TCPCRYPT_ECDHE_Curve25519".to_owned(),
            0x24 => "TCPCRYPT_ECDHE_Curve448".to_owned(),
            other => format!("{other:#04x}"),
        }
    }

    /// The value of [`OptionName::Cipher`](crate::OptionName::Cipher): the name that the RFC has for it, or the
    /// number.
    #[must_use]
    pub fn cipher_name(&self) -> String {
        match self.cipher {
            0x0001 => "AEAD_AES_128_GCM".to_owned(),
            0x0002 => "AEAD_AES_256_GCM".to_owned(),
            0x0010 => "AEAD_CHACHA20_POLY1305".to_owned(),
            other => format!("{other:#06x}"),
        }
    }

    /// As in a row of the list: dialect (1 legacy, 2 RFC), role as its letter, key exchange, 0, cipher.
    pub(crate) fn to_bytes(self) -> [u8; 6] {
        let dialect = match self.dialect {
            Dialect::Legacy => 1,
            Dialect::Rfc8548 => 2,
        };
        let role = match self.role {
            Role::A => b'A',
            Role::B => b'B',
        };
        let [high, low] = self.cipher.to_be_bytes();
        [dialect, role, self.tep, 0, high, low]
    }

    pub(crate) fn from_bytes([dialect, role, tep, _, high, low]: [u8; 6]) -> Option<Self> {
        Some(Self {
            dialect: match dialect {
                1 => Dialect::Legacy,
                2 => Dialect::Rfc8548,
                _ => return None,
            },
            role: match role {
                b'A' => Role::A,
                b'B' => Role::B,
                _ => return None,
            },
            tep,
            cipher: u16::from_be_bytes([high, low]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_a_name_are_shown() {
        let details = Details {
            dialect: Dialect::Rfc8548,
            role: Role::B,
            tep: 5,
            cipher: 0x20,
        };
        assert_eq!(details.tep_name(), "0x05");
        assert_eq!(details.cipher_name(), "0x0020");
        assert_eq!(
            (details.dialect.name(), details.role.name()),
            ("rfc8548", "B")
        );
    }
}
