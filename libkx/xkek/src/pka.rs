//! Files of attested public keys: for public key authentication as sc-hsm-tool writes them (xkek spec
//! 11), and of exchange keys, which are the same three pieces without the outer element (spec 8).

use crate::chain::{self, Device, Roots};
use crate::cvc::{self, Certificate, Date, Request};
use crate::key::PublicKey;
use crate::tlv;

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The encoding.
    #[error("not an attested public key: {0}")]
    Tlv(#[from] tlv::Error),
    /// A certificate or request in it.
    #[error(transparent)]
    Certificate(#[from] cvc::Error),
}

/// A public key with who attests it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestedKey {
    /// The key.
    pub request: Request,
    /// The device that holds it.
    pub device: Certificate,
    /// Issuer of the device.
    pub issuer: Certificate,
}

/// Whether an element around the three pieces is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// 30 around: a file for public key authentication.
    Sequence,
    /// Nothing around: a file of an exchange key.
    Plain,
}

impl AttestedKey {
    /// Reads a file of either form. What a card has before its personalization, requests in place of
    /// certificates, is refused.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(octets: &[u8]) -> Result<(Self, Form), Error> {
        let (content, form) = if octets.first() == Some(&0x30) {
            (tlv::only(octets, 0x30)?.value, Form::Sequence)
        } else {
            (octets, Form::Plain)
        };
        let (request, rest) = tlv::expect(content, 0x67)?;
        let (device, rest) = tlv::expect(rest, 0x7f21)?;
        let issuer = tlv::only(rest, 0x7f21)?;
        let key = Self {
            request: Request::parse(request.encoded)?,
            device: Certificate::parse(device.encoded)?,
            issuer: Certificate::parse(issuer.encoded)?,
        };
        Ok((key, form))
    }

    /// The file.
    #[must_use]
    pub fn encode(&self, form: Form) -> Vec<u8> {
        let content = [
            self.request.encoded(),
            self.device.encoded(),
            self.issuer.encoded(),
        ]
        .concat();
        match form {
            Form::Plain => content,
            Form::Sequence => tlv::encode(0x30, &content),
        }
    }

    /// Checks chain, inner signature and attestation. Gives the device and the key.
    ///
    /// # Errors
    /// [`chain::Error`].
    pub fn verify(
        &self,
        roots: &Roots,
        today: Option<Date>,
    ) -> Result<(Device, PublicKey), chain::Error> {
        let device = chain::verify_device(&self.device, &self.issuer, roots, today)?;
        let key = device.attests(&self.request)?;
        Ok((device, key))
    }
}
