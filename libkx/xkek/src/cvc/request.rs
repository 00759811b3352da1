//! A request: a body signed with its own key, and around it the attestation of the device that holds
//! the key.

use super::{Body, Certificate, Error, Reference};
use crate::key::{Key, PublicKey};
use crate::tlv;

/// The attestation of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outer {
    /// Who attests: the name of a device.
    pub car: Reference,
    /// Signature over certificate and name.
    pub signature: Vec<u8>,
}

/// A request, 67.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    encoded: Vec<u8>,
    signed: Vec<u8>,
    certificate: Certificate,
    outer: Option<Outer>,
}

impl Request {
    /// Reads an authenticated request, 67; a bare one, 7F21, is taken too and has no attestation.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(octets: &[u8]) -> Result<Self, Error> {
        if octets.starts_with(&[0x7f, 0x21]) {
            let certificate = Certificate::parse(octets)?;
            return Ok(Self {
                encoded: octets.to_vec(),
                signed: Vec::new(),
                certificate,
                outer: None,
            });
        }
        let element = tlv::only(octets, 0x67)?;
        let (inner, rest) = tlv::expect(element.value, 0x7f21)?;
        let certificate = Certificate::from_element(&inner)?;
        let (car, rest) = tlv::expect(rest, 0x42)?;
        let signature = tlv::only(rest, 0x5f37)?.value.to_vec();
        Ok(Self {
            encoded: octets.to_vec(),
            signed: [inner.encoded, car.encoded].concat(),
            certificate,
            outer: Some(Outer {
                car: Reference::new(car.value)?,
                signature,
            }),
        })
    }

    /// Reads what commands carry: the content of 67, or the whole.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse_content(octets: &[u8]) -> Result<Self, Error> {
        if octets.first() == Some(&0x67) {
            return Self::parse(octets);
        }
        Self::parse(&tlv::encode(0x67, octets))
    }

    /// Makes an authenticated request: `key` signs the body, the device, whose name is `car`, signs the
    /// whole.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn make(body: Body, key: &Key, car: Reference, device: &Key) -> Result<Self, Error> {
        let certificate = Certificate::issue(body, key)?;
        let mut signed = certificate.encoded().to_vec();
        tlv::push(&mut signed, 0x42, car.as_bytes());
        let signature = device.sign_sha256(&signed)?;
        let mut content = signed.clone();
        tlv::push(&mut content, 0x5f37, &signature);
        Ok(Self {
            encoded: tlv::encode(0x67, &content),
            signed,
            certificate,
            outer: Some(Outer { car, signature }),
        })
    }

    /// The whole element.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The content of 67, as commands carry it.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        match tlv::read(&self.encoded) {
            Ok((element, _)) if element.tag == 0x67 => element.value,
            _ => &self.encoded,
        }
    }

    /// The part signed with its own key.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What it says.
    #[must_use]
    pub fn body(&self) -> &Body {
        self.certificate.body()
    }

    /// The attestation.
    #[must_use]
    pub fn outer(&self) -> Option<&Outer> {
        self.outer.as_ref()
    }

    /// The key, which must come with its domain parameters.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::NoDomain`].
    pub fn public_key(&self) -> Result<PublicKey, Error> {
        self.certificate.public_key(None)
    }

    /// Checks that who made the request has the key, and gives the key.
    ///
    /// # Errors
    /// [`Error::Inner`], or what is wrong with the key.
    pub fn verify_inner(&self) -> Result<PublicKey, Error> {
        let key = self.public_key()?;
        match self.certificate.verify(&key) {
            Ok(()) => Ok(key),
            Err(Error::Signature(name)) => Err(Error::Inner(name)),
            Err(error) => Err(error),
        }
    }

    /// Checks the attestation with the key of the device; its name is not looked at.
    ///
    /// # Errors
    /// [`Error::Attestation`], also when there is none.
    pub fn verify_outer(&self, device: &PublicKey) -> Result<(), Error> {
        let wrong = || Error::Attestation(self.body().chr.clone());
        let outer = self.outer.as_ref().ok_or_else(wrong)?;
        if device.verify_sha256(&self.signed, &outer.signature)? {
            Ok(())
        } else {
            Err(wrong())
        }
    }
}
