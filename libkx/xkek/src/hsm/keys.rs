//! Keys: made, used, wrapped (xkek spec 4, 5 and 7).

use kx_secret::SecretBytes;

use super::{Error, Hsm, Result, file_id, kind};
use crate::algorithm;
use crate::apdu::{Command, EXTENDED_LE};
use crate::card::Card;
use crate::cvc::{GenerationRequest, KeyAttributes, Request};

impl<C: Card> Hsm<C> {
    /// Makes a key pair. The answer attests it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn generate_key_pair(&mut self, id: u8, request: &GenerationRequest) -> Result<Request, C> {
        let command = Command::new(0, 0x46, id, 0)
            .with_data(&request.encode())
            .with_le(EXTENDED_LE)
            .extended();
        let answer = self.done("generate a key pair", &command)?;
        Ok(Request::parse(&answer)?)
    }

    /// Makes an AES key of 16, 24 or 32 octets.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Answer`] for another length.
    pub fn generate_aes_key(
        &mut self,
        id: u8,
        octets: usize,
        attributes: &KeyAttributes,
    ) -> Result<(), C> {
        let what = "generate an AES key";
        let size = match octets {
            16 => 0xb0,
            24 => 0xb1,
            32 => 0xb2,
            _ => return Err(Error::Answer(what)),
        };
        let mut attributes = attributes.clone();
        if attributes.algorithms.is_empty() {
            // The card wants a list here.
            attributes.algorithms = [algorithm::AES_DEFAULT, &[algorithm::WRAP]].concat();
        }
        let command = Command::new(0, 0x48, id, size).with_data(&attributes.encode());
        self.done(what, &command).map(drop)
    }

    /// What a key may be used for, as far as the card tells; nothing if there is no such key.
    ///
    /// # Errors
    /// [`Error`].
    pub fn key_attributes(&mut self, id: u8) -> Result<Option<KeyAttributes>, C> {
        let info = self.file(file_id(kind::KEY, id))?;
        Ok(info.map(|info| info.attributes.unwrap_or_default()))
    }

    /// Signs. ECDSA signatures come as DER.
    ///
    /// # Errors
    /// [`Error`].
    pub fn sign(&mut self, id: u8, algorithm: u8, input: &[u8]) -> Result<Vec<u8>, C> {
        let command = Command::new(0x80, 0x68, id, algorithm)
            .with_data(input)
            .with_le(EXTENDED_LE)
            .extended();
        self.done("sign", &command)
    }

    /// Decrypts with an RSA key.
    ///
    /// # Errors
    /// [`Error`].
    pub fn decipher(&mut self, id: u8, algorithm: u8, input: &[u8]) -> Result<SecretBytes, C> {
        let command = Command::new(0x80, 0x62, id, algorithm)
            .with_data(input)
            .with_le(EXTENDED_LE)
            .extended();
        self.done("decipher", &command).map(SecretBytes::from)
    }

    /// Encrypts, decrypts or authenticates with an AES key.
    ///
    /// # Errors
    /// [`Error`].
    pub fn symmetric(&mut self, id: u8, algorithm: u8, input: &[u8]) -> Result<SecretBytes, C> {
        let command = Command::new(0x80, 0x78, id, algorithm)
            .with_data(input)
            .with_le(EXTENDED_LE)
            .extended();
        self.done("use an AES key", &command).map(SecretBytes::from)
    }

    /// Makes a new key by adding `offset` to the private number of another.
    ///
    /// # Errors
    /// [`Error`].
    pub fn derive_key(&mut self, id: u8, new_id: u8, offset: &[u8]) -> Result<(), C> {
        let mut data = SecretBytes::with_capacity(offset.len().saturating_add(1));
        data.push(algorithm::EC_DERIVE);
        data.extend_from_slice(offset);
        let command = Command::new(0x80, 0x76, id, new_id).with_data(data.as_slice());
        self.done("derive a key", &command).map(drop)
    }

    /// Exports a key under the key-encryption key of its domain.
    ///
    /// # Errors
    /// [`Error`]: 6A82 no such key, 6A88 no key-encryption key, 6985 forbidden.
    pub fn wrap(&mut self, id: u8) -> Result<Vec<u8>, C> {
        let command = Command::new(0x80, 0x72, id, algorithm::WRAP)
            .with_le(EXTENDED_LE)
            .extended();
        self.done("wrap the key", &command)
    }

    /// Imports a key. The card finds the domain by the check value in the blob.
    ///
    /// # Errors
    /// [`Error`]: 6A80 (6A86, 6B00 on some) when no domain fits.
    pub fn unwrap(&mut self, id: u8, blob: &[u8]) -> Result<(), C> {
        let command = Command::new(0x80, 0x74, id, algorithm::UNWRAP)
            .with_data(blob)
            .extended();
        self.done("unwrap the key", &command).map(drop)
    }
}
