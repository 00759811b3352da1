//! What is signed: names, key, role, validity, extensions.

use std::fmt;

use super::{Error, OID_ECDSA_SHA256, OID_KEY_DOMAIN_UID, OID_RSA_SHA256};
use crate::crypto::significant;
use crate::curve::Curve;
use crate::key::{EcPublic, PublicKey, RsaPublic};
use crate::tlv;

/// The name of a holder or an authority: country, holder, sequence number of five characters.
#[derive(Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Reference(Vec<u8>);

impl Reference {
    /// Most octets that are taken; the standard has 8 to 16.
    pub const MAX: usize = 32;

    /// Takes any octets, none included: requests made by cards name all sorts.
    ///
    /// # Errors
    /// [`Error::Field`] for more than [`Self::MAX`] octets.
    pub fn new(name: &[u8]) -> Result<Self, Error> {
        if name.len() > Self::MAX {
            return Err(Error::Field("name too long"));
        }
        Ok(Self(name.to_vec()))
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name without the sequence number, which of a device is its serial number; nothing for a
    /// name under 8 octets (xkek spec 4).
    #[must_use]
    pub fn serial(&self) -> Option<&[u8]> {
        if self.0.len() < 8 {
            return None;
        }
        self.0.get(..self.0.len().saturating_sub(5))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

/// A day, one digit an octet: YYMMDD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Year of this century, 0..=99.
    pub year: u8,
    /// Month, 1..=12.
    pub month: u8,
    /// Day, 1..=31.
    pub day: u8,
}

impl Date {
    fn parse(octets: &[u8]) -> Result<Self, Error> {
        let &[y1, y0, m1, m0, d1, d0] = octets else {
            return Err(Error::Field("date"));
        };
        if [y1, y0, m1, m0, d1, d0].iter().any(|digit| *digit > 9) {
            return Err(Error::Field("date"));
        }
        let pair = |tens: u8, ones: u8| tens.saturating_mul(10).saturating_add(ones);
        Ok(Self {
            year: pair(y1, y0),
            month: pair(m1, m0),
            day: pair(d1, d0),
        })
    }

    fn encode(self) -> [u8; 6] {
        let digits = |number: u8| (number / 10 % 10, number % 10);
        let ((y1, y0), (m1, m0), (d1, d0)) =
            (digits(self.year), digits(self.month), digits(self.day));
        [y1, y0, m1, m0, d1, d0]
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "20{:02}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// The role of a holder (certificate holder authorization template).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// Object identifier, content octets.
    pub oid: Vec<u8>,
    /// Rights; C0 in the first octet is a root.
    pub rights: Vec<u8>,
}

/// An extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Object identifier, content octets.
    pub oid: Vec<u8>,
    /// The elements after it, as they stand.
    pub content: Vec<u8>,
}

impl Extension {
    /// The extension that binds an exchange key to a key domain.
    #[must_use]
    pub fn key_domain(uid: &[u8]) -> Self {
        Self {
            oid: OID_KEY_DOMAIN_UID.to_vec(),
            content: tlv::encode(0x80, uid),
        }
    }
}

/// The public key as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyField {
    /// On a curve; without domain parameters it is the issuer's.
    Ec {
        /// Object identifier, content octets.
        oid: Vec<u8>,
        /// The curve, when its parameters are written.
        curve: Option<Curve>,
        /// Uncompressed point, not yet checked.
        point: Vec<u8>,
    },
    /// RSA.
    Rsa {
        /// Object identifier, content octets.
        oid: Vec<u8>,
        /// The key.
        key: RsaPublic,
    },
}

impl KeyField {
    /// The key with its domain parameters.
    #[must_use]
    pub fn new(key: &PublicKey) -> Self {
        match key {
            PublicKey::Ec(key) => Self::Ec {
                oid: OID_ECDSA_SHA256.to_vec(),
                curve: Some(key.curve()),
                point: key.point().to_vec(),
            },
            PublicKey::Rsa(key) => Self::Rsa {
                oid: OID_RSA_SHA256.to_vec(),
                key: key.clone(),
            },
        }
    }

    /// The key without domain parameters, as certificates below a root have it.
    #[must_use]
    pub fn point_only(key: &EcPublic) -> Self {
        Self::Ec {
            oid: OID_ECDSA_SHA256.to_vec(),
            curve: None,
            point: key.point().to_vec(),
        }
    }

    /// The curve, when its parameters are written.
    #[must_use]
    pub fn curve(&self) -> Option<Curve> {
        match self {
            Self::Ec { curve, .. } => *curve,
            Self::Rsa { .. } => None,
        }
    }

    pub(super) fn parse(content: &[u8]) -> Result<Self, Error> {
        let oid = tlv::require(content, 0x06)?.value.to_vec();
        if oid.starts_with(&[0x04, 0x00, 0x7f, 0x00, 0x07, 2, 2, 2, 1]) {
            let n = tlv::require(content, 0x81)?.value;
            let e = tlv::require(content, 0x82)?.value;
            let key = RsaPublic::from_parts(n, e)?;
            return Ok(Self::Rsa { oid, key });
        }
        let curve = read_domain(content)?;
        let point = tlv::require(content, 0x86)?.value.to_vec();
        if point.len() > 133 {
            return Err(Error::Field("public point"));
        }
        Ok(Self::Ec { oid, curve, point })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Ec { oid, curve, point } => {
                tlv::push(&mut out, 0x06, oid);
                if let Some(curve) = curve {
                    push_domain(&mut out, *curve);
                }
                tlv::push(&mut out, 0x86, point);
                if curve.is_some() {
                    tlv::push(&mut out, 0x87, &[1]);
                }
            }
            Self::Rsa { oid, key } => {
                tlv::push(&mut out, 0x06, oid);
                tlv::push(&mut out, 0x81, key.modulus());
                tlv::push(&mut out, 0x82, key.exponent());
            }
        }
        tlv::encode(0x7f49, &out)
    }

    /// The key, on the curve written with it or else on `inherited`.
    ///
    /// # Errors
    /// [`Error::Key`]; [`Error::NoDomain`] naming `holder`.
    pub fn resolve(
        &self,
        inherited: Option<Curve>,
        holder: &Reference,
    ) -> Result<PublicKey, Error> {
        match self {
            Self::Rsa { key, .. } => Ok(PublicKey::Rsa(key.clone())),
            Self::Ec { curve, point, .. } => {
                let curve = curve
                    .or(inherited)
                    .ok_or_else(|| Error::NoDomain(holder.clone()))?;
                Ok(PublicKey::Ec(EcPublic::from_point(curve, point)?))
            }
        }
    }
}

/// Prime, coefficients, base point and order, in that order; point and cofactor follow.
pub(super) fn push_domain(out: &mut Vec<u8>, curve: Curve) {
    let domain = curve.domain();
    for (tag, value) in [
        (0x81, domain.p),
        (0x82, domain.a),
        (0x83, domain.b),
        (0x84, domain.g),
        (0x85, domain.n),
    ] {
        tlv::push(out, tag, value);
    }
}

/// The curve of domain parameters, or nothing where there is no prime. All that is written must be the
/// curve's; numbers may lack their leading zeros, and a coefficient may be empty, as some cards write
/// it.
pub(super) fn read_domain(content: &[u8]) -> Result<Option<Curve>, Error> {
    let Some(p) = tlv::find(content, 0x81)? else {
        return Ok(None);
    };
    let curve = Curve::from_prime(p.value).ok_or(Error::Curve)?;
    let domain = curve.domain();
    for (tag, wanted) in [
        (0x82, domain.a),
        (0x83, domain.b),
        (0x84, domain.g),
        (0x85, domain.n),
    ] {
        let value = tlv::require(content, tag)?.value;
        let left_out = tag == 0x82 && value.is_empty();
        if !left_out && significant(value) != significant(wanted) {
            return Err(Error::Curve);
        }
    }
    match tlv::find(content, 0x87)? {
        Some(cofactor) if significant(cofactor.value) != [1] => Err(Error::Curve),
        _ => Ok(Some(curve)),
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Who signs.
    pub car: Reference,
    /// The key.
    pub key: KeyField,
    /// Whose key it is.
    pub chr: Reference,
    /// Role; requests have none.
    pub chat: Option<Chat>,
    /// First day; requests have none.
    pub effective: Option<Date>,
    /// Last day; requests have none.
    pub expiration: Option<Date>,
    /// Extensions, in order.
    pub extensions: Vec<Extension>,
}

impl Body {
    /// The body of a request: names and key, nothing else.
    #[must_use]
    pub fn request(car: Reference, chr: Reference, key: &PublicKey) -> Self {
        Self {
            car,
            key: KeyField::new(key),
            chr,
            chat: None,
            effective: None,
            expiration: None,
            extensions: Vec::new(),
        }
    }

    /// The identifier of the key domain that the key is bound to.
    #[must_use]
    pub fn key_domain_uid(&self) -> Option<&[u8]> {
        let extension = self
            .extensions
            .iter()
            .find(|extension| extension.oid == OID_KEY_DOMAIN_UID)?;
        let uid = tlv::find(&extension.content, 0x80).ok()??.value;
        (!uid.is_empty()).then_some(uid)
    }

    pub(super) fn parse(content: &[u8]) -> Result<Self, Error> {
        let profile = tlv::require(content, 0x5f29)?.value;
        if profile != [0] {
            return Err(Error::Field("profile"));
        }
        let reference = |tag| Reference::new(tlv::require(content, tag)?.value);
        let date = |tag| {
            tlv::find(content, tag)?
                .map(|element| Date::parse(element.value))
                .transpose()
        };
        let chat = tlv::find(content, 0x7f4c)?
            .map(|element| {
                Ok::<_, Error>(Chat {
                    oid: tlv::require(element.value, 0x06)?.value.to_vec(),
                    rights: tlv::require(element.value, 0x53)?.value.to_vec(),
                })
            })
            .transpose()?;
        let mut extensions = Vec::new();
        if let Some(list) = tlv::find(content, 0x65)? {
            for element in tlv::elements(list.value) {
                let (oid, rest) = tlv::expect(element?.value, 0x06)?;
                extensions.push(Extension {
                    oid: oid.value.to_vec(),
                    content: rest.to_vec(),
                });
            }
        }
        Ok(Self {
            car: reference(0x42)?,
            key: KeyField::parse(tlv::require(content, 0x7f49)?.value)?,
            chr: reference(0x5f20)?,
            chat,
            effective: date(0x5f25)?,
            expiration: date(0x5f24)?,
            extensions,
        })
    }

    /// The element that is signed, 7F4E.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        tlv::push(&mut out, 0x5f29, &[0]);
        tlv::push(&mut out, 0x42, self.car.as_bytes());
        out.extend_from_slice(&self.key.encode());
        tlv::push(&mut out, 0x5f20, self.chr.as_bytes());
        if let Some(chat) = &self.chat {
            let mut role = tlv::encode(0x06, &chat.oid);
            tlv::push(&mut role, 0x53, &chat.rights);
            tlv::push(&mut out, 0x7f4c, &role);
        }
        if let Some(date) = self.effective {
            tlv::push(&mut out, 0x5f25, &date.encode());
        }
        if let Some(date) = self.expiration {
            tlv::push(&mut out, 0x5f24, &date.encode());
        }
        if !self.extensions.is_empty() {
            let mut list = Vec::new();
            for extension in &self.extensions {
                let mut content = tlv::encode(0x06, &extension.oid);
                content.extend_from_slice(&extension.content);
                tlv::push(&mut list, 0x73, &content);
            }
            tlv::push(&mut out, 0x65, &list);
        }
        tlv::encode(0x7f4e, &out)
    }
}
