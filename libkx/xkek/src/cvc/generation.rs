//! What GENERATE ASYMMETRIC KEY PAIR is told: kind of the key, names, attributes (xkek spec 4).

use super::body::{push_domain, read_domain};
use super::{Error, OID_ECDSA_SHA256, OID_RSA_SHA256, Reference};
use crate::curve::Curve;
use crate::tlv;

/// The kind of a key to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySpec {
    /// On a curve.
    Ec(Curve),
    /// RSA.
    Rsa {
        /// Bits of the modulus.
        bits: u16,
        /// Public exponent; absent it is the card's choice, 65537.
        exponent: Option<Vec<u8>>,
    },
}

/// What a key may be used for, and where it belongs. Kept with the key, and told by SELECT in A5.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyAttributes {
    /// How often it may be used; absent is without end.
    pub use_counter: Option<u32>,
    /// Algorithms that are allowed, see [`crate::algorithm`]; empty allows all.
    pub algorithms: Vec<u8>,
    /// Key domain; absent it is the card's choice.
    pub domain: Option<u8>,
    /// Keys that may wrap it.
    pub wrapping_keys: Vec<u8>,
}

impl KeyAttributes {
    /// Reads the elements 90 to 93 among others.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(content: &[u8]) -> Result<Self, Error> {
        let value = |tag| Ok::<_, Error>(tlv::find(content, tag)?.map(|element| element.value));
        let use_counter = match value(0x90)? {
            None => None,
            Some(octets) => Some(u32::from_be_bytes(
                octets.try_into().map_err(|_| Error::Field("use counter"))?,
            )),
        };
        let domain = match value(0x92)? {
            None => None,
            Some(&[domain]) => Some(domain),
            Some(_) => return Err(Error::Field("key domain")),
        };
        Ok(Self {
            use_counter,
            algorithms: value(0x91)?.unwrap_or_default().to_vec(),
            domain,
            wrapping_keys: value(0x93)?.unwrap_or_default().to_vec(),
        })
    }

    /// The elements, those that say something.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(counter) = self.use_counter {
            tlv::push(&mut out, 0x90, &counter.to_be_bytes());
        }
        if !self.algorithms.is_empty() {
            tlv::push(&mut out, 0x91, &self.algorithms);
        }
        if let Some(domain) = self.domain {
            tlv::push(&mut out, 0x92, &[domain]);
        }
        if !self.wrapping_keys.is_empty() {
            tlv::push(&mut out, 0x93, &self.wrapping_keys);
        }
        out
    }
}

/// A request to make a key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationRequest {
    /// Inner authority: what the answer's certificate names as its signer.
    pub car: Reference,
    /// Holder: the name of the key.
    pub chr: Reference,
    /// Kind of the key.
    pub key: KeySpec,
    /// Outer authority, if the host names one.
    pub outer_car: Option<Reference>,
    /// What the key may be used for.
    pub attributes: KeyAttributes,
}

impl GenerationRequest {
    /// Reads command data.
    ///
    /// # Errors
    /// [`Error`]; a private number in the data is refused.
    pub fn parse(content: &[u8]) -> Result<Self, Error> {
        if let Some(profile) = tlv::find(content, 0x5f29)? {
            if profile.value != [0] {
                return Err(Error::Field("profile"));
            }
        }
        let key = tlv::require(content, 0x7f49)?.value;
        if tlv::find(key, 0x8a)?.is_some() {
            return Err(Error::Field("private key in a request"));
        }
        let car = tlv::find(content, 0x42)?.map_or(&[][..], |element| element.value);
        let chr = tlv::require(content, 0x5f20)?.value;
        Ok(Self {
            car: Reference::new(car)?,
            chr: Reference::new(chr)?,
            key: parse_spec(key)?,
            outer_car: tlv::find(content, 0x45)?
                .map(|element| Reference::new(element.value))
                .transpose()?,
            attributes: KeyAttributes::parse(content)?,
        })
    }

    /// The command data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        tlv::push(&mut out, 0x5f29, &[0]);
        tlv::push(&mut out, 0x42, self.car.as_bytes());
        let mut key = Vec::new();
        match &self.key {
            KeySpec::Ec(curve) => {
                tlv::push(&mut key, 0x06, OID_ECDSA_SHA256);
                push_domain(&mut key, *curve);
                tlv::push(&mut key, 0x87, &[1]);
            }
            KeySpec::Rsa { bits, exponent } => {
                tlv::push(&mut key, 0x06, OID_RSA_SHA256);
                if let Some(exponent) = exponent {
                    tlv::push(&mut key, 0x82, exponent);
                }
                tlv::push(&mut key, 0x02, &bits.to_be_bytes());
            }
        }
        tlv::push(&mut out, 0x7f49, &key);
        tlv::push(&mut out, 0x5f20, self.chr.as_bytes());
        if let Some(car) = &self.outer_car {
            tlv::push(&mut out, 0x45, car.as_bytes());
        }
        out.extend_from_slice(&self.attributes.encode());
        out
    }
}

fn parse_spec(key: &[u8]) -> Result<KeySpec, Error> {
    let oid = tlv::require(key, 0x06)?.value;
    if oid.starts_with(&[0x04, 0x00, 0x7f, 0x00, 0x07, 2, 2, 2, 1]) {
        let bits = tlv::require(key, 0x02)?.value;
        let bits = <[u8; 2]>::try_from(bits).map_err(|_| Error::Field("key size"))?;
        return Ok(KeySpec::Rsa {
            bits: u16::from_be_bytes(bits),
            exponent: tlv::find(key, 0x82)?.map(|element| element.value.to_vec()),
        });
    }
    Ok(KeySpec::Ec(read_domain(key)?.ok_or(Error::Curve)?))
}
