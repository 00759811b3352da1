//! How a control socket is written on a command line (tcpcrypt spec 2.4).

use std::fmt;
use std::net::Ipv4Addr;

use thiserror::Error;

/// Room for a path in a `sockaddr_un`, with the zero that ends it.
const SUN_PATH: usize = 108;
/// Octets in front of the path: the address family.
const FAMILY_LEN: usize = 2;
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;

/// Where a control socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A path in the file system, which begins with `/`; written as it is. At most 107 octets, none
    /// of them zero.
    Path(Vec<u8>),
    /// A name without a file, written `@NAME`: the text without the `@`. At most 106 octets, of which
    /// the kernel takes 105.
    Abstract(Vec<u8>),
    /// UDP on 127.0.0.1, written `:PORT`.
    Loopback(u16),
}

/// Why a text is no address. The texts are those of the original.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing at all.
    #[error("empty description")]
    Empty,
    /// More octets than a `sockaddr_un` holds.
    #[error("unix-domain path too long")]
    TooLong,
    /// Behind the colon stands no number from 0 to 65535.
    #[error("couldn't parse port number from '{}'", String::from_utf8_lossy(.0))]
    Port(Vec<u8>),
    /// It begins with none of `/`, `@` and `:`.
    #[error("couldn't understand socket description")]
    Unknown,
}

impl Address {
    /// Reads what a user wrote.
    pub fn parse(text: &[u8]) -> Result<Self, AddressError> {
        // A C string ends at its zero.
        let text = text.split(|&b| b == 0).next().unwrap_or_default();
        match text.split_first() {
            None => Err(AddressError::Empty),
            Some((b'/', _)) if text.len() + 1 > SUN_PATH => Err(AddressError::TooLong),
            Some((b'/', _)) => Ok(Self::Path(text.to_vec())),
            Some((b'@', name)) if name.len() + 2 > SUN_PATH => Err(AddressError::TooLong),
            Some((b'@', name)) => Ok(Self::Abstract(name.to_vec())),
            Some((b':', port)) => strtoul(port)
                .and_then(|number| u16::try_from(number).ok())
                .map(Self::Loopback)
                .ok_or_else(|| AddressError::Port(port.to_vec())),
            Some(_) => Err(AddressError::Unknown),
        }
    }

    /// The name of an abstract socket as the kernel has to see it behind the first zero: the text and
    /// two zeros. The original counts them into the length, so a socket bound without them has
    /// another name. `None` for other addresses.
    #[must_use]
    pub fn abstract_name(&self) -> Option<Vec<u8>> {
        match self {
            Self::Abstract(text) => Some([text, &b"\0\0"[..]].concat()),
            _ => None,
        }
    }

    /// The address as `connect`, `bind` and `sendto` take it.
    #[must_use]
    pub fn sockaddr(&self) -> Sockaddr {
        let mut address = Sockaddr {
            bytes: [0; Sockaddr::ROOM],
            len: 0,
        };
        match self {
            Self::Path(path) => {
                address.push(&AF_UNIX.to_ne_bytes());
                address.push(path);
                address.push(b"\0");
            }
            Self::Abstract(text) => {
                address.push(&AF_UNIX.to_ne_bytes());
                address.push(b"\0");
                address.push(text);
                address.push(b"\0\0");
            }
            Self::Loopback(port) => {
                address.push(&AF_INET.to_ne_bytes());
                address.push(&port.to_be_bytes());
                address.push(&Ipv4Addr::LOCALHOST.octets());
                address.push(&[0; 8]);
            }
        }
        address
    }

    /// Whether the socket is one of the Unix domain.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        !matches!(self, Self::Loopback(_))
    }
}

/// As the original's log names it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(&String::from_utf8_lossy(path)),
            Self::Abstract(_) => f.write_str("<abstract unix socket>"),
            Self::Loopback(port) => write!(f, "{}:{port}", Ipv4Addr::LOCALHOST),
        }
    }
}

/// A socket address in the kernel's form: family in native order, then what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockaddr {
    bytes: [u8; Sockaddr::ROOM],
    len: usize,
}

impl Sockaddr {
    /// The size of a `sockaddr_storage`.
    pub const ROOM: usize = 128;

    /// The octets, exactly as many as the length that goes with them in a system call.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, more: &[u8]) {
        let end = self.len.saturating_add(more.len());
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(more);
            self.len = end;
        }
    }
}

// The longest abstract name: one octet more than a `sockaddr_un` has.
const _: () = assert!(FAMILY_LEN + SUN_PATH + 1 < Sockaddr::ROOM);

/// The number that C's `strtoul` in base 10 finds when it uses up the whole text: white space and a
/// sign may stand in front, no digits at all are 0 in an empty text. `None` for anything else and
/// past 64 bits.
fn strtoul(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return Some(0);
    }
    let text = text.trim_ascii_start_c();
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0u64, |sum, &b| {
        let digit = b.checked_sub(b'0').filter(|&d| d < 10)?;
        sum.checked_mul(10)?.checked_add(digit.into())
    })?;
    Some(if negative {
        number.wrapping_neg()
    } else {
        number
    })
}

/// White space as C sees it: the vertical tab is one, unlike for Rust.
trait TrimC {
    fn trim_ascii_start_c(&self) -> &Self;
}

impl TrimC for [u8] {
    fn trim_ascii_start_c(&self) -> &Self {
        let blanks = self
            .iter()
            .take_while(|b| matches!(b, b' ' | 0x09..=0x0d))
            .count();
        self.get(blanks..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Address, String> {
        Address::parse(text.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_path_counts_its_zero() {
        let address = parse("/run/x").unwrap();
        assert_eq!(address.sockaddr().as_bytes(), b"\x01\0/run/x\0");
        assert_eq!(address.to_string(), "/run/x");
        let longest = format!("/{}", "p".repeat(106));
        assert_eq!(
            parse(&longest).unwrap().sockaddr().as_bytes().len(),
            2 + 108
        );
        assert_eq!(
            parse(&format!("{longest}p")).unwrap_err(),
            "unix-domain path too long"
        );
    }

    #[test]
    fn an_abstract_name_counts_two_zeros_more() {
        let address = parse("@ab").unwrap();
        assert_eq!(address.sockaddr().as_bytes(), b"\x01\0\0ab\0\0");
        assert_eq!(address.abstract_name().unwrap(), b"ab\0\0");
        assert_eq!(
            parse("@").unwrap().sockaddr().as_bytes(),
            b"\x01\0\0\0\0",
            "the empty name too"
        );
        let longest = format!("@{}", "n".repeat(106));
        assert_eq!(parse(&longest).unwrap().sockaddr().as_bytes().len(), 111);
        assert_eq!(
            parse(&format!("{longest}n")).unwrap_err(),
            "unix-domain path too long"
        );
    }

    #[test]
    fn ports_are_those_of_strtoul() {
        let address = parse(":4711").unwrap();
        assert_eq!(
            address.sockaddr().as_bytes(),
            b"\x02\0\x12\x67\x7f\0\0\x01\0\0\0\0\0\0\0\0"
        );
        assert_eq!(address.to_string(), "127.0.0.1:4711");
        for (text, port) in [
            (":", 0),
            (":0", 0),
            (":65535", 65535),
            (": \t+7", 7),
            (":0000007", 7),
            (":-18446744073709551615", 1),
        ] {
            assert_eq!(parse(text), Ok(Address::Loopback(port)), "{text}");
        }
        for text in [
            ":65536",
            ":-1",
            ":x",
            ":7 ",
            ":0x7",
            ": ",
            ":+",
            ":18446744073709551616",
        ] {
            let wanted = format!("couldn't parse port number from '{}'", &text[1..]);
            assert_eq!(parse(text).unwrap_err(), wanted);
        }
    }

    #[test]
    fn other_texts() {
        assert_eq!(parse("").unwrap_err(), "empty description");
        for text in ["x", "run/x", "127.0.0.1:7", " /x"] {
            assert_eq!(
                parse(text).unwrap_err(),
                "couldn't understand socket description"
            );
        }
    }

    proptest! {
        #[test]
        fn every_text_has_an_answer(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(address) = Address::parse(&text) {
                let sockaddr = address.sockaddr();
                let family = if address.is_unix() { AF_UNIX } else { AF_INET };
                prop_assert_eq!(&sockaddr.as_bytes()[..2], &family.to_ne_bytes()[..]);
                prop_assert!(sockaddr.as_bytes().len() <= 111);
            }
        }

        #[test]
        fn ports(port: u16) {
            prop_assert_eq!(parse(&format!(":{port}")), Ok(Address::Loopback(port)));
        }

        #[test]
        fn the_length_follows_the_text(name in "[a-z/]{0,106}") {
            let len = |text: String| parse(&text).unwrap().sockaddr().as_bytes().len();
            prop_assert_eq!(len(format!("@{name}")), 2 + name.len() + 3);
            prop_assert_eq!(len(format!("/{name}")), 2 + name.len() + 2);
        }
    }
}
