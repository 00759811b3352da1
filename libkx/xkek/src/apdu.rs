//! Command and response APDUs (ISO 7816-4) in both encodings, and what the status words mean
//! (xkek spec 1 and 2).

use std::fmt;

use zeroize::Zeroizing;

/// Most octets a short response carries.
pub const SHORT_LE: u32 = 256;
/// Most octets an extended response carries.
pub const EXTENDED_LE: u32 = 65_536;

/// What is wrong with a command or a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer than four octets, or lengths that do not fit what is there.
    #[error("malformed command APDU")]
    Command,
    /// A response without a status word.
    #[error("response without a status word")]
    Response,
    /// More data than an APDU can carry.
    #[error("too much data for a command APDU")]
    TooLong,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Class: 00 ISO, 80 proprietary.
    pub cla: u8,
    /// Instruction.
    pub ins: u8,
    /// First parameter.
    pub p1: u8,
    /// Second parameter.
    pub p2: u8,
    /// Data; PINs and shares pass here, so it is wiped.
    pub data: Zeroizing<Vec<u8>>,
    /// Most octets the answer may have, 1..=65536; `None` when no answer data is asked for.
    pub le: Option<u32>,
    /// Whether the extended encoding is to be used even where the short one would do (OpenSC does
    /// for some commands), or was used.
    pub extended: bool,
}

impl Command {
    /// A command without data and without an answer.
    #[must_use]
    pub fn new(cla: u8, ins: u8, p1: u8, p2: u8) -> Self {
        Self {
            cla,
            ins,
            p1,
            p2,
            data: Zeroizing::new(Vec::new()),
            le: None,
            extended: false,
        }
    }

    /// The same with data.
    #[must_use]
    pub fn with_data(mut self, data: &[u8]) -> Self {
        self.data = Zeroizing::new(data.to_vec());
        self
    }

    /// The same asking for at most `le` octets.
    #[must_use]
    pub fn with_le(mut self, le: u32) -> Self {
        self.le = Some(le);
        self
    }

    /// The same in the extended encoding.
    #[must_use]
    pub fn extended(mut self) -> Self {
        self.extended = true;
        self
    }

    /// The octets. Extended when asked for, or when the lengths need it.
    ///
    /// # Errors
    /// [`Error::TooLong`] for data over 65,535 octets or an answer over 65,536 or of none.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let len = u16::try_from(self.data.len()).map_err(|_| Error::TooLong)?;
        if self.le.is_some_and(|le| !(1..=EXTENDED_LE).contains(&le)) {
            return Err(Error::TooLong);
        }
        let extended = (self.extended && (len > 0 || self.le.is_some()))
            || len > 255
            || self.le.is_some_and(|le| le > SHORT_LE);
        let mut out = Zeroizing::new(Vec::with_capacity(self.data.len().saturating_add(9)));
        out.extend_from_slice(&[self.cla, self.ins, self.p1, self.p2]);
        let [len_high, len_low] = len.to_be_bytes();
        // The number of 256 or 65,536 wraps to zeros, which is how it is written.
        let [.., le_high, le_low] = self.le.unwrap_or(0).to_be_bytes();
        if extended {
            out.push(0);
            if len > 0 {
                out.extend_from_slice(&[len_high, len_low]);
                out.extend_from_slice(&self.data);
            }
            if self.le.is_some() {
                out.extend_from_slice(&[le_high, le_low]);
            }
        } else {
            if len > 0 {
                out.push(len_low);
                out.extend_from_slice(&self.data);
            }
            if self.le.is_some() {
                out.push(le_low);
            }
        }
        Ok(out)
    }

    /// Reads a command in either encoding (xkek spec 1: both are taken everywhere, and an absent Le).
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn parse(octets: &[u8]) -> Result<Self, Error> {
        let (&[cla, ins, p1, p2], body) = octets.split_first_chunk::<4>().ok_or(Error::Command)?;
        let mut command = Self::new(cla, ins, p1, p2);
        let short_le = |le: u8| match le {
            0 => SHORT_LE,
            le => u32::from(le),
        };
        let extended_le = |high: u8, low: u8| match u16::from_be_bytes([high, low]) {
            0 => EXTENDED_LE,
            le => u32::from(le),
        };
        let (data, le) = match *body {
            [] => (&[][..], None),
            [le] => (&[][..], Some(short_le(le))),
            [0, high, low] => {
                command.extended = true;
                (&[][..], Some(extended_le(high, low)))
            }
            [0, high, low, ref rest @ ..] => {
                command.extended = true;
                let len = usize::from(u16::from_be_bytes([high, low]));
                match rest.split_at_checked(len) {
                    Some((data, &[])) if len > 0 => (data, None),
                    Some((data, &[high, low])) if len > 0 => (data, Some(extended_le(high, low))),
                    _ => return Err(Error::Command),
                }
            }
            [len, ref rest @ ..] => match rest.split_at_checked(usize::from(len)) {
                Some((data, &[])) if len > 0 => (data, None),
                Some((data, &[le])) if len > 0 => (data, Some(short_le(le))),
                _ => return Err(Error::Command),
            },
        };
        command.data = Zeroizing::new(data.to_vec());
        command.le = le;
        Ok(command)
    }
}

/// A status word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatusWord(pub u16);

impl StatusWord {
    /// 9000.
    pub const OK: Self = Self(0x9000);
    /// 6282: end of file before Le octets.
    pub const END_OF_FILE: Self = Self(0x6282);
    /// 6400: execution error.
    pub const EXECUTION: Self = Self(0x6400);
    /// 6700: wrong length.
    pub const LENGTH: Self = Self(0x6700);
    /// 6982: not authenticated.
    pub const SECURITY: Self = Self(0x6982);
    /// 6983: PIN blocked.
    pub const BLOCKED: Self = Self(0x6983);
    /// 6984: transport PIN, or the use counter of the key is used up.
    pub const INVALIDATED: Self = Self(0x6984);
    /// 6985: conditions of use.
    pub const CONDITIONS: Self = Self(0x6985);
    /// 6986: not allowed.
    pub const NOT_ALLOWED: Self = Self(0x6986);
    /// 6A80: wrong data.
    pub const WRONG_DATA: Self = Self(0x6a80);
    /// 6A81: function not supported.
    pub const NOT_SUPPORTED: Self = Self(0x6a81);
    /// 6A82: no such file or key.
    pub const NOT_FOUND: Self = Self(0x6a82);
    /// 6A84: no room.
    pub const MEMORY: Self = Self(0x6a84);
    /// 6A86: wrong P1 or P2.
    pub const P1_P2: Self = Self(0x6a86);
    /// 6A88: what is referred to is not there.
    pub const REFERENCE: Self = Self(0x6a88);
    /// 6A89: exists already.
    pub const EXISTS: Self = Self(0x6a89);
    /// 6B00: P1 or P2 out of range.
    pub const RANGE: Self = Self(0x6b00);
    /// 6D00: unknown instruction.
    pub const INS: Self = Self(0x6d00);
    /// 6E00: unknown class.
    pub const CLA: Self = Self(0x6e00);
    /// 6F00: no diagnosis.
    pub const UNKNOWN: Self = Self(0x6f00);

    /// 63Cx: `left` tries are left.
    #[must_use]
    pub fn tries(left: u8) -> Self {
        Self(0x63c0 | u16::from(left.min(15)))
    }

    /// How many tries are left, if this word says so.
    #[must_use]
    pub fn tries_left(self) -> Option<u8> {
        (self.0 & 0xfff0 == 0x63c0).then(|| self.0.to_be_bytes()[1] & 0x0f)
    }

    /// Whether it is 9000.
    #[must_use]
    pub fn is_ok(self) -> bool {
        self == Self::OK
    }

    /// The two octets.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }

    /// What it means, in words for people.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::OK => "done",
            Self::END_OF_FILE => "end of file",
            Self::EXECUTION => "execution error",
            Self::LENGTH => "wrong length",
            Self::SECURITY => "not authenticated",
            Self::BLOCKED => "PIN blocked",
            Self::INVALIDATED => "transport PIN set, or key use counter used up",
            Self::CONDITIONS => "conditions of use not satisfied",
            Self::NOT_ALLOWED => "command not allowed",
            Self::WRONG_DATA => "wrong data",
            Self::NOT_SUPPORTED => "function not supported",
            Self::NOT_FOUND => "file or key not found",
            Self::MEMORY => "not enough memory, or key use counter used up",
            Self::P1_P2 => "wrong parameters",
            Self::REFERENCE => "referenced data not found",
            Self::EXISTS => "exists already",
            Self::RANGE => "parameters out of range",
            Self::INS => "instruction not supported",
            Self::CLA => "class not supported",
            _ if self.tries_left().is_some() => "wrong PIN",
            Self(0x6100..=0x61ff) => "more data to fetch",
            _ => "failed",
        }
    }
}

impl fmt::Display for StatusWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X} ({}", self.0, self.meaning())?;
        match self.tries_left() {
            Some(left) => write!(f, ", {left} tries left)"),
            None => f.write_str(")"),
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Data before the status word.
    pub data: Vec<u8>,
    /// The status word.
    pub sw: StatusWord,
}

impl Response {
    /// Takes the octets of an answer apart.
    ///
    /// # Errors
    /// [`Error::Response`].
    pub fn parse(octets: &[u8]) -> Result<Self, Error> {
        let (data, sw) = octets.split_last_chunk::<2>().ok_or(Error::Response)?;
        Ok(Self {
            data: data.to_vec(),
            sw: StatusWord(u16::from_be_bytes(*sw)),
        })
    }

    /// The octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&self.data[..], &self.sw.to_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_cases_of_iso_7816() {
        for (octets, data, le, extended) in [
            (&[0x80, 0x52, 3, 0][..], &[][..], None, false),
            (&[0x80, 0x58, 0, 0, 0], &[], Some(256), false),
            (&[0x80, 0x58, 0, 0, 0, 0, 0], &[], Some(65_536), true),
            (&[0, 0x20, 0, 0x81, 2, 1, 2], &[1, 2], None, false),
            (&[0x80, 0x52, 1, 1, 1, 2, 0], &[2], Some(256), false),
            (&[0, 0xb1, 0, 0, 0, 0, 1, 9], &[9], None, true),
            (&[0, 0xb1, 0, 0, 0, 0, 1, 9, 1, 0], &[9], Some(256), true),
        ] {
            let command = Command::parse(octets).unwrap();
            assert_eq!(
                (&command.data[..], command.le, command.extended),
                (data, le, extended)
            );
            assert_eq!(command.encode().unwrap()[..], *octets);
        }
    }

    #[test]
    fn malformed() {
        for octets in [
            &[][..],
            &[0, 0xa4, 4],
            &[0, 0xa4, 4, 0, 3, 1, 2],
            &[0, 0xa4, 4, 0, 1, 1, 2, 3],
            &[0, 0xa4, 4, 0, 0, 0],
            &[0, 0xa4, 4, 0, 0, 0, 0, 0],
            &[0, 0xa4, 4, 0, 0, 0, 2, 1],
            &[0, 0xa4, 4, 0, 0, 0, 1, 1, 1],
        ] {
            assert_eq!(Command::parse(octets), Err(Error::Command), "{octets:?}");
        }
        assert_eq!(Response::parse(&[0x90]), Err(Error::Response));
        let long = Command::new(0, 0, 0, 0).with_data(&[0; 65_536]);
        assert_eq!(long.encode(), Err(Error::TooLong));
        let none = Command::new(0, 0, 0, 0).with_le(0);
        assert_eq!(none.encode(), Err(Error::TooLong));
    }

    #[test]
    fn status_words_are_told_in_words() {
        assert_eq!(
            StatusWord(0x63c2).to_string(),
            "63C2 (wrong PIN, 2 tries left)"
        );
        assert_eq!(
            StatusWord::REFERENCE.to_string(),
            "6A88 (referenced data not found)"
        );
        assert_eq!(StatusWord::tries(99), StatusWord(0x63cf));
        assert_eq!(StatusWord(0x6283).tries_left(), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_parsed(
            head in any::<[u8; 4]>(),
            data in proptest::collection::vec(any::<u8>(), 0..600),
            le in proptest::option::of(1u32..=65_536),
            extended in any::<bool>(),
        ) {
            let [cla, ins, p1, p2] = head;
            let mut command = Command::new(cla, ins, p1, p2).with_data(&data);
            command.le = le;
            command.extended = extended;
            let parsed = Command::parse(&command.encode().unwrap()).unwrap();
            prop_assert_eq!(&parsed.data, &command.data);
            prop_assert_eq!(parsed.le, command.le);
        }
    }
}
