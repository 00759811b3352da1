//! How the state is written down: numbers big endian, octet strings with a length of four octets before
//! them. What is written may be secret, so it never leaves wiped memory.

use kx_secret::SecretBytes;

use super::state::StateError;
use crate::curve::Curve;
use crate::key::EcPrivate;

/// Writes values one after the other.
#[derive(Default)]
pub(super) struct Writer(SecretBytes);

impl Writer {
    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.byte(u8::from(value));
    }

    pub(super) fn short(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn long(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// A count of things; there are never more than file identifiers.
    pub(super) fn count(&mut self, value: usize) {
        self.long(u32::try_from(value).unwrap_or(u32::MAX));
    }

    pub(super) fn octets(&mut self, value: &[u8]) {
        self.count(value.len());
        self.0.extend_from_slice(value);
    }

    /// Whether there is a value; if so, `write` writes it.
    pub(super) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// Curve and scalar. A library that cannot even give the scalar of a key writes none, which no reader
    /// takes.
    pub(super) fn ec_private(&mut self, key: &EcPrivate) {
        self.octets(key.curve().name().as_bytes());
        let scalar = key.scalar().unwrap_or_default();
        self.octets(scalar.as_slice());
    }

    pub(super) fn finish(self) -> SecretBytes {
        self.0
    }
}

/// Reads what [`Writer`] wrote.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(StateError::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, StateError> {
        self.take::<1>().map(|[octet]| octet)
    }

    pub(super) fn flag(&mut self) -> Result<bool, StateError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(StateError::Malformed),
        }
    }

    pub(super) fn short(&mut self) -> Result<u16, StateError> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<u32, StateError> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn count(&mut self) -> Result<usize, StateError> {
        usize::try_from(self.long()?).map_err(|_| StateError::Malformed)
    }

    pub(super) fn octets(&mut self) -> Result<&'a [u8], StateError> {
        let count = self.count()?;
        let (octets, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(StateError::Malformed)?;
        self.0 = rest;
        Ok(octets)
    }

    pub(super) fn secret(&mut self) -> Result<SecretBytes, StateError> {
        self.octets()
            .map(|octets| SecretBytes::from(octets.to_vec()))
    }

    pub(super) fn curve(&mut self) -> Result<Curve, StateError> {
        let name = std::str::from_utf8(self.octets()?).map_err(|_| StateError::Malformed)?;
        Curve::from_name(name).ok_or(StateError::Malformed)
    }

    pub(super) fn ec_private(&mut self) -> Result<EcPrivate, StateError> {
        let curve = self.curve()?;
        EcPrivate::from_scalar(curve, self.octets()?).map_err(|_| StateError::Malformed)
    }

    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, StateError>,
    ) -> Result<Option<T>, StateError> {
        match self.flag()? {
            true => read(self).map(Some),
            false => Ok(None),
        }
    }

    /// Nothing may follow.
    pub(super) fn finish(self) -> Result<(), StateError> {
        match self.0 {
            [] => Ok(()),
            _ => Err(StateError::Malformed),
        }
    }
}
