//! A signed body, 7F21.

use super::{Body, Error};
use crate::curve::Curve;
use crate::key::{Key, PublicKey};
use crate::tlv;

/// A certificate, or the inner part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    encoded: Vec<u8>,
    signed: Vec<u8>,
    body: Body,
    signature: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate, 7F21, with nothing after it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(octets: &[u8]) -> Result<Self, Error> {
        Self::from_element(&tlv::only(octets, 0x7f21)?)
    }

    /// Reads the content of a certificate, as PSO VERIFY CERTIFICATE carries it; whole ones are taken
    /// too.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse_content(octets: &[u8]) -> Result<Self, Error> {
        if octets.starts_with(&[0x7f, 0x21]) {
            return Self::parse(octets);
        }
        Self::parse(&tlv::encode(0x7f21, octets))
    }

    pub(super) fn from_element(element: &tlv::Tlv<'_>) -> Result<Self, Error> {
        let (signed, rest) = tlv::expect(element.value, 0x7f4e)?;
        let signature = tlv::only(rest, 0x5f37)?;
        Ok(Self {
            encoded: element.encoded.to_vec(),
            signed: signed.encoded.to_vec(),
            body: Body::parse(signed.value)?,
            signature: signature.value.to_vec(),
        })
    }

    /// Signs a body.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn issue(body: Body, signer: &Key) -> Result<Self, Error> {
        let signed = body.encode();
        let signature = signer.sign_sha256(&signed)?;
        let mut content = signed.clone();
        tlv::push(&mut content, 0x5f37, &signature);
        Ok(Self {
            encoded: tlv::encode(0x7f21, &content),
            signed,
            body,
            signature,
        })
    }

    /// The whole element.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The content of the element, as PSO VERIFY CERTIFICATE wants it.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        tlv::read(&self.encoded).map_or(&[], |(element, _)| element.value)
    }

    /// What it says.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The key, on the curve written with it or else on `inherited`.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::NoDomain`].
    pub fn public_key(&self, inherited: Option<Curve>) -> Result<PublicKey, Error> {
        self.body.key.resolve(inherited, &self.body.chr)
    }

    /// Checks the signature. Names and dates are the business of [`crate::chain`].
    ///
    /// # Errors
    /// [`Error::Signature`], [`Error::Unavailable`].
    pub fn verify(&self, signer: &PublicKey) -> Result<(), Error> {
        if signer.verify_sha256(&self.signed, &self.signature)? {
            Ok(())
        } else {
            Err(Error::Signature(self.body.chr.clone()))
        }
    }
}
