//! The ISAKMP header, 28 octets (RFC 2408 section 3.1; isakmpd-wire 2).

use crate::malformed::Malformed;
use crate::number::{ExchangeType, Flags, PayloadType};
use crate::octets::Reader;

/// Octets of a header.
pub const HEADER_LENGTH: usize = 28;

/// The longest message: what a UDP datagram can carry at all.
pub const MAX_MESSAGE: usize = 65_535;

/// Version 1.0, the only one.
pub const VERSION: u8 = 0x10;

/// One side's cookie; zero is "not known yet".
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub [u8; 8]);

impl Cookie {
    /// The cookie of a peer that has not answered yet.
    pub const ZERO: Self = Self([0; 8]);

    /// Whether this is [`Self::ZERO`].
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl std::fmt::Display for Cookie {
    /// 16 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cookie({self})")
    }
}

/// An ISAKMP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// CKY-I.
    pub initiator_cookie: Cookie,
    /// CKY-R, zero in the first message.
    pub responder_cookie: Cookie,
    /// Type of the first payload.
    pub next_payload: PayloadType,
    /// Major version in the upper four bits, minor in the lower.
    pub version: u8,
    /// The exchange this message is of.
    pub exchange: ExchangeType,
    /// [`Flags`].
    pub flags: u8,
    /// Zero in phase 1.
    pub message_id: u32,
    /// Octets of the whole message, header and padding included.
    pub length: u32,
}

impl Header {
    /// A header of version 1.0 without flags; length and first payload are filled in when a message is built.
    #[must_use]
    pub fn new(
        initiator_cookie: Cookie,
        responder_cookie: Cookie,
        exchange: ExchangeType,
        message_id: u32,
    ) -> Self {
        Self {
            initiator_cookie,
            responder_cookie,
            next_payload: PayloadType::NONE,
            version: VERSION,
            exchange,
            flags: 0,
            message_id,
            length: 0,
        }
    }

    /// The header of a received datagram (without the zero marker of port 4500).
    ///
    /// # Errors
    /// [`Malformed::Length`] if it is shorter than a header or not as long as the header says (step 1).
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        let header = Self::read(&mut Reader::new(datagram)).ok_or(Malformed::Length)?;
        if usize::try_from(header.length) != Ok(datagram.len()) || datagram.len() > MAX_MESSAGE {
            return Err(Malformed::Length);
        }
        Ok(header)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            initiator_cookie: Cookie(reader.array()?),
            responder_cookie: Cookie(reader.array()?),
            next_payload: PayloadType(reader.u8()?),
            version: reader.u8()?,
            exchange: ExchangeType(reader.u8()?),
            flags: reader.u8()?,
            message_id: reader.u32()?,
            length: reader.u32()?,
        })
    }

    /// The checks that need nothing but the header: steps 4 to 8 of isakmpd-wire 5, in that order.
    ///
    /// # Errors
    /// Payload type, version, exchange type, flags or message ID that the original refuses.
    pub fn check(&self) -> Result<(), Malformed> {
        if self.next_payload.0 >= 22 {
            return Err(Malformed::FirstPayload(self.next_payload.0));
        }
        if self.version >> 4 != 1 {
            return Err(Malformed::MajorVersion(self.version >> 4));
        }
        if self.version & 15 != 0 {
            return Err(Malformed::MinorVersion(self.version & 15));
        }
        let first = self.responder_cookie.is_zero();
        let exchange = self.exchange.0;
        if exchange == 0 || (7..=31).contains(&exchange) || (first && exchange >= 32) {
            return Err(Malformed::ExchangeType(self.exchange));
        }
        if self.flags & !Flags::ALL != 0 {
            return Err(Malformed::Flags(self.flags));
        }
        if first && self.message_id != 0 {
            return Err(Malformed::MessageId);
        }
        Ok(())
    }

    /// Whether the payloads are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.flags & Flags::ENCRYPTED != 0
    }

    /// Phase 1 messages have message ID zero.
    #[must_use]
    pub fn is_phase_1(&self) -> bool {
        self.message_id == 0
    }

    /// Both cookies as one SPI of 16 octets, CKY-I first.
    #[must_use]
    pub fn cookies(&self) -> [u8; 16] {
        let mut spi = [0; 16];
        let (initiator, responder) = spi.split_at_mut(8);
        initiator.copy_from_slice(&self.initiator_cookie.0);
        responder.copy_from_slice(&self.responder_cookie.0);
        spi
    }

    /// The 28 octets.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut octets = [0; HEADER_LENGTH];
        let fields = self
            .cookies()
            .into_iter()
            .chain([
                self.next_payload.0,
                self.version,
                self.exchange.0,
                self.flags,
            ])
            .chain(self.message_id.to_be_bytes())
            .chain(self.length.to_be_bytes());
        octets
            .iter_mut()
            .zip(fields)
            .for_each(|(octet, field)| *octet = field);
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let mut header = Header::new(
            Cookie([1; 8]),
            Cookie([2; 8]),
            ExchangeType::QUICK_MODE,
            0x0102_0304,
        );
        header.next_payload = PayloadType::HASH;
        header.length = 28;
        header
    }

    #[test]
    fn octets_and_back() {
        let octets = header().encode();
        assert_eq!(octets[16..], [8, 0x10, 32, 0, 1, 2, 3, 4, 0, 0, 0, 28]);
        assert_eq!(Header::parse(&octets), Ok(header()));
        assert_eq!(header().initiator_cookie.to_string(), "0101010101010101");
    }

    #[test]
    fn the_length_field_must_be_the_length() {
        let octets = header().encode();
        assert_eq!(Header::parse(&octets[..27]), Err(Malformed::Length));
        let mut long = octets.to_vec();
        long.push(0);
        assert_eq!(Header::parse(&long), Err(Malformed::Length));
        assert_eq!(Header::parse(&[]), Err(Malformed::Length));
    }

    #[test]
    fn each_check_has_its_notification() {
        let check = |change: fn(&mut Header)| {
            let mut changed = header();
            change(&mut changed);
            let refused = changed.check().unwrap_err();
            (refused.to_string(), refused.notify().unwrap().to_string())
        };
        assert_eq!(header().check(), Ok(()));
        assert_eq!(
            check(|h| h.next_payload = PayloadType(22)),
            (
                "message_recv: invalid payload type 22 in ISAKMP header \
                 (check passphrases, if applicable and in Phase 1)"
                    .into(),
                "INVALID_PAYLOAD_TYPE".into()
            )
        );
        assert_eq!(check(|h| h.version = 0x20).1, "INVALID_MAJOR_VERSION");
        assert_eq!(check(|h| h.version = 0x11).1, "INVALID_MINOR_VERSION");
        assert_eq!(
            check(|h| h.exchange = ExchangeType(7)),
            (
                "message_recv: invalid exchange type FUTURE_MIN".into(),
                "INVALID_EXCHANGE_TYPE".into()
            )
        );
        assert_eq!(
            check(|h| h.responder_cookie = Cookie::ZERO).0,
            "message_recv: invalid exchange type DOI_MIN"
        );
        assert_eq!(check(|h| h.flags = 8).0, "message_recv: invalid flags 0x8");
        assert_eq!(
            check(|h| {
                h.responder_cookie = Cookie::ZERO;
                h.exchange = ExchangeType::ID_PROT;
            })
            .1,
            "INVALID_MESSAGE_ID"
        );
    }
}
