//! PKCS#15 descriptions as the card's clients write and read them (xkek spec 4): of private and secret
//! keys, of certificates, of data objects, and of the token.

use crate::key::PublicKey;
use crate::tlv;

/// Kind of the described key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RSA private key, 30.
    Rsa,
    /// Private key on a curve, A0.
    Ec,
    /// AES key, A8.
    Aes,
}

/// A description of a key (EF C4xx).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDescription {
    /// Kind.
    pub kind: Kind,
    /// Name for people.
    pub label: String,
    /// Identifier, by which clients find the certificate.
    pub id: Vec<u8>,
    /// Bits of usage, the content of a BIT STRING; see [`default_usage`].
    pub usage: Vec<u8>,
    /// Bits of the modulus, the field or the AES key.
    pub bits: Option<u16>,
}

/// Usage as the vendor's scripts write it: RSA decrypt, sign, sign with recovery, unwrap; EC sign and
/// derive; AES encrypt, decrypt, derive.
#[must_use]
pub fn default_usage(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Rsa => &[0x02, 0x74],
        Kind::Ec => &[0x07, 0x20, 0x80],
        Kind::Aes => &[0x07, 0xc0, 0x10],
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A number of one or two octets, with a leading zero where it has one.
fn number(octets: &[u8]) -> Option<u16> {
    match *crate::crypto::significant(octets) {
        [] => Some(0),
        [low] => Some(u16::from(low)),
        [high, low] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

/// An INTEGER's content: the shortest that is not negative.
fn integer(number: u16) -> Vec<u8> {
    match number.to_be_bytes() {
        [0, low] if low < 0x80 => vec![low],
        [high, low] if high < 0x80 => vec![high, low],
        [high, low] => vec![0, high, low],
    }
}

impl KeyDescription {
    /// The description of a key pair, for all uses that the vendor's scripts name.
    #[must_use]
    pub fn of_pair(key: &PublicKey, label: &str, id: u8) -> Self {
        let (kind, bits) = match key {
            PublicKey::Rsa(key) => (Kind::Rsa, key.modulus().len().saturating_mul(8)),
            PublicKey::Ec(key) => (Kind::Ec, key.curve().bits()),
        };
        Self::new(kind, bits, label, id)
    }

    /// The description of an AES key of so many octets.
    #[must_use]
    pub fn of_aes(octets: usize, label: &str, id: u8) -> Self {
        Self::new(Kind::Aes, octets.saturating_mul(8), label, id)
    }

    fn new(kind: Kind, bits: usize, label: &str, id: u8) -> Self {
        Self {
            kind,
            label: label.to_owned(),
            id: vec![id],
            usage: default_usage(kind).to_vec(),
            bits: u16::try_from(bits).ok(),
        }
    }

    /// Reads a description; octets behind it do not matter.
    ///
    /// # Errors
    /// [`tlv::Error`].
    pub fn parse(octets: &[u8]) -> Result<Self, tlv::Error> {
        let (outer, _) = tlv::read(octets)?;
        let kind = match outer.tag {
            0x30 => Kind::Rsa,
            0xa0 => Kind::Ec,
            0xa8 => Kind::Aes,
            found => {
                return Err(tlv::Error::Unexpected {
                    wanted: tlv::Tag(0x30),
                    found: tlv::Tag(found),
                });
            }
        };
        let (common, rest) = tlv::expect(outer.value, 0x30)?;
        let (class, rest) = tlv::expect(rest, 0x30)?;
        let label = tlv::find(common.value, 0x0c)?;
        let size = |sequence: &[u8]| {
            Ok::<_, tlv::Error>(tlv::find(sequence, 0x02)?.and_then(|size| number(size.value)))
        };
        let mut bits = None;
        if let Some(secret) = tlv::find(rest, 0xa0)? {
            bits = size(tlv::require(secret.value, 0x30)?.value)?;
        }
        if let (None, Some(attributes)) = (bits, tlv::find(rest, 0xa1)?) {
            bits = size(tlv::require(attributes.value, 0x30)?.value)?;
        }
        Ok(Self {
            kind,
            label: label.map(|label| text(label.value)).unwrap_or_default(),
            id: tlv::require(class.value, 0x04)?.value.to_vec(),
            usage: tlv::find(class.value, 0x03)?.map_or(Vec::new(), |bits| bits.value.to_vec()),
            bits,
        })
    }

    /// The description as the vendor's scripts write it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = tlv::encode(0x30, &tlv::encode(0x0c, self.label.as_bytes()));
        let mut class = tlv::encode(0x04, &self.id);
        tlv::push(&mut class, 0x03, &self.usage);
        tlv::push(&mut out, 0x30, &class);
        let size = self.bits.map(|bits| tlv::encode(0x02, &integer(bits)));
        let mut path = tlv::encode(0x30, &tlv::encode(0x04, &[]));
        if let Some(size) = size {
            if self.kind == Kind::Aes {
                tlv::push(&mut out, 0xa0, &tlv::encode(0x30, &size));
            } else {
                path.extend_from_slice(&size);
            }
        }
        tlv::push(&mut out, 0xa1, &tlv::encode(0x30, &path));
        let tag = match self.kind {
            Kind::Rsa => 0x30,
            Kind::Ec => 0xa0,
            Kind::Aes => 0xa8,
        };
        tlv::encode(tag, &out)
    }
}

/// A description of a certificate (EF C8xx).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateDescription {
    /// Name for people.
    pub label: String,
    /// Identifier: of a certificate of an authority, SHA-1 of its key.
    pub id: Vec<u8>,
    /// File that it is in.
    pub file: u16,
}

impl CertificateDescription {
    /// Reads a description.
    ///
    /// # Errors
    /// [`tlv::Error`].
    pub fn parse(octets: &[u8]) -> Result<Self, tlv::Error> {
        let (outer, _) = tlv::expect(octets, 0x30)?;
        let (common, rest) = tlv::expect(outer.value, 0x30)?;
        let (class, rest) = tlv::expect(rest, 0x30)?;
        let value = tlv::require(tlv::require(rest, 0xa1)?.value, 0x30)?;
        let path = tlv::require(tlv::require(value.value, 0x30)?.value, 0x04)?;
        let label = tlv::find(common.value, 0x0c)?;
        Ok(Self {
            label: label.map(|label| text(label.value)).unwrap_or_default(),
            id: tlv::require(class.value, 0x04)?.value.to_vec(),
            file: path
                .value
                .try_into()
                .map_or(Err(tlv::Error::Length), |id| Ok(u16::from_be_bytes(id)))?,
        })
    }

    /// The description of a certificate of an authority.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut common = tlv::encode(0x0c, self.label.as_bytes());
        tlv::push(&mut common, 0x03, &[0x06, 0x40]);
        let mut out = tlv::encode(0x30, &common);
        tlv::push(&mut out, 0x30, &tlv::encode(0x04, &self.id));
        let path = tlv::encode(0x30, &tlv::encode(0x04, &self.file.to_be_bytes()));
        tlv::push(&mut out, 0xa1, &tlv::encode(0x30, &path));
        tlv::encode(0x30, &out)
    }
}

/// A description of a data object (EF C9xx).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDescription {
    /// Name for people.
    pub label: String,
    /// Whether the data are read after user authentication only; then they are in EF CDxx, else in CFxx.
    pub is_private: bool,
    /// The program that the data belong to.
    pub application: String,
    /// File that they are in.
    pub file: u16,
}

impl DataDescription {
    /// Reads a description.
    ///
    /// # Errors
    /// [`tlv::Error`].
    pub fn parse(octets: &[u8]) -> Result<Self, tlv::Error> {
        let (outer, _) = tlv::expect(octets, 0x30)?;
        let (common, rest) = tlv::expect(outer.value, 0x30)?;
        let (class, rest) = tlv::expect(rest, 0x30)?;
        let value = tlv::require(tlv::require(rest, 0xa1)?.value, 0x30)?;
        let path = tlv::require(value.value, 0x04)?;
        let label = tlv::find(common.value, 0x0c)?;
        let application = tlv::find(class.value, 0x0c)?;
        // CommonObjectFlags: the first bit is "private".
        let flags = tlv::find(common.value, 0x03)?.map_or(&[][..], |flags| flags.value);
        Ok(Self {
            label: label.map(|label| text(label.value)).unwrap_or_default(),
            is_private: matches!(flags, [_, bits, ..] if bits & 0x80 != 0),
            application: application.map(|name| text(name.value)).unwrap_or_default(),
            file: path
                .value
                .try_into()
                .map_or(Err(tlv::Error::Length), |id| Ok(u16::from_be_bytes(id)))?,
        })
    }

    /// The description as OpenSC writes it: it can be changed, and is private or not.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut common = tlv::encode(0x0c, self.label.as_bytes());
        let flags = if self.is_private { 0xc0 } else { 0x40 };
        tlv::push(&mut common, 0x03, &[0x06, flags]);
        let mut out = tlv::encode(0x30, &common);
        tlv::push(
            &mut out,
            0x30,
            &tlv::encode(0x0c, self.application.as_bytes()),
        );
        let path = tlv::encode(0x30, &tlv::encode(0x04, &self.file.to_be_bytes()));
        tlv::push(&mut out, 0xa1, &path);
        tlv::encode(0x30, &out)
    }
}

/// What EF 2F03 says of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Serial number.
    pub serial: Vec<u8>,
    /// Manufacturer.
    pub manufacturer: String,
    /// Name for people; clients say "SmartCard-HSM" where there is none.
    pub label: Option<String>,
}

impl TokenInfo {
    /// Reads EF 2F03.
    ///
    /// # Errors
    /// [`tlv::Error`].
    pub fn parse(octets: &[u8]) -> Result<Self, tlv::Error> {
        let (outer, _) = tlv::expect(octets, 0x30)?;
        let manufacturer = tlv::find(outer.value, 0x0c)?;
        Ok(Self {
            serial: tlv::require(outer.value, 0x04)?.value.to_vec(),
            manufacturer: manufacturer
                .map(|name| text(name.value))
                .unwrap_or_default(),
            label: tlv::find(outer.value, 0x80)?.map(|label| text(label.value)),
        })
    }

    /// EF 2F03.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = tlv::encode(0x02, &[1]);
        tlv::push(&mut out, 0x04, &self.serial);
        tlv::push(&mut out, 0x0c, self.manufacturer.as_bytes());
        if let Some(label) = &self.label {
            tlv::push(&mut out, 0x80, label.as_bytes());
        }
        tlv::push(&mut out, 0x03, &[0x04, 0x30]);
        tlv::encode(0x30, &out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_data_object_of_opensc() {
        // xkek vectors, apdu/20-writecert-data.apdu: UPDATE of C900.
        let octets = [
            &[0x30, 0x1c, 0x30, 0x0a, 0x0c, 4][..],
            b"note",
            &[3, 2, 6, 0x40, 0x30, 6, 0x0c, 4],
            b"note",
            &[0xa1, 6, 0x30, 4, 4, 2, 0xcf, 0],
        ]
        .concat();
        let data = DataDescription::parse(&octets).unwrap();
        assert_eq!(
            (data.label.as_str(), data.application.as_str()),
            ("note", "note")
        );
        assert_eq!((data.is_private, data.file), (false, 0xcf00));
        assert_eq!(data.encode(), octets);
        assert!(DataDescription::parse(&octets[..20]).is_err());
        let wrong = [&octets[..26], &[4, 1, 0xcf]].concat();
        assert!(DataDescription::parse(&wrong).is_err());
    }

    #[test]
    fn token_info_of_the_imitation() {
        let octets = [
            &[
                0x30, 0x2a, 2, 1, 1, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0c, 0x0d,
            ][..],
            b"Pol Henarejos",
            &[0x80, 8],
            b"Pico-HSM",
            &[3, 2, 4, 0x30],
        ]
        .concat();
        let info = TokenInfo::parse(&octets).unwrap();
        assert_eq!(info.label.as_deref(), Some("Pico-HSM"));
        assert_eq!(info.encode(), octets);
    }

    proptest! {
        #[test]
        fn keys(kind in prop_oneof![Just(Kind::Rsa), Just(Kind::Ec), Just(Kind::Aes)], label in ".{0,40}", id in proptest::collection::vec(any::<u8>(), 0..21), bits in proptest::option::of(0u16..=8192)) {
            let usage = default_usage(kind).to_vec();
            let description = KeyDescription { kind, label, id, usage, bits };
            prop_assert_eq!(KeyDescription::parse(&description.encode()).unwrap(), description);
        }

        #[test]
        fn certificates(label in ".{0,40}", id in proptest::collection::vec(any::<u8>(), 0..21), file in any::<u16>()) {
            let description = CertificateDescription { label, id, file };
            prop_assert_eq!(CertificateDescription::parse(&description.encode()).unwrap(), description);
        }

        #[test]
        fn data_objects(label in ".{0,40}", is_private: bool, application in ".{0,40}", file in any::<u16>()) {
            let description = DataDescription { label, is_private, application, file };
            prop_assert_eq!(DataDescription::parse(&description.encode()).unwrap(), description);
        }
    }
}
