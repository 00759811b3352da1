//! Files of `sc-hsm-tool --wrap-key`: a key blob, the key's description, its certificate (xkek spec 7).

use crate::blob::{self, Blob};
use crate::tlv;

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The encoding.
    #[error("not a wrapped key: {0}")]
    Tlv(#[from] tlv::Error),
    /// The blob in it.
    #[error(transparent)]
    Blob(#[from] blob::Error),
}

/// A file of an exported key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The blob, as WRAP KEY answered.
    pub blob: Vec<u8>,
    /// The key's description, an element 30, A0 or A8 as in EF C4xx.
    pub description: Option<Vec<u8>>,
    /// Certificate or request, an element 30, 7F21 or 67 as in EF CExx.
    pub certificate: Option<Vec<u8>>,
}

impl WrappedKey {
    /// Reads a file. Octets after the outer element do not matter, as they do not to the reference.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(octets: &[u8]) -> Result<Self, Error> {
        let (outer, _) = tlv::expect(octets, 0x30)?;
        let (blob, mut rest) = tlv::expect(outer.value, 0x04)?;
        Blob::parse(blob.value)?;
        let mut next = || {
            if rest.is_empty() {
                return Ok(None);
            }
            let (element, after) = tlv::read(rest)?;
            rest = after;
            Ok::<_, Error>(Some(element.encoded.to_vec()))
        };
        Ok(Self {
            blob: blob.value.to_vec(),
            description: next()?,
            certificate: next()?,
        })
    }

    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut content = tlv::encode(0x04, &self.blob);
        content.extend_from_slice(self.description.as_deref().unwrap_or_default());
        // Its place says what it is, so without a description there is no room for a certificate.
        if self.description.is_some() {
            content.extend_from_slice(self.certificate.as_deref().unwrap_or_default());
        }
        tlv::encode(0x30, &content)
    }
}
