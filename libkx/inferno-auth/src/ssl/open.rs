//! The receiving end of a direction.

use zeroize::Zeroizing;

use super::cipher::Protection;
use super::{Algorithms, SslError, next_number};

/// Opens records put together from pieces of any size.
pub struct Opener {
    protection: Protection,
    number: u32,
    buffer: Vec<u8>,
    consumed: usize,
    failed: Option<SslError>,
}

impl Default for Opener {
    fn default() -> Self {
        Self::new()
    }
}

impl Opener {
    /// Expects clear records from number 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            protection: Protection::clear(),
            number: 0,
            buffer: Vec::new(),
            consumed: 0,
            failed: None,
        }
    }

    /// Number of the next record.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Expects the next records under `algorithms`, keyed anew; the count goes on. Octets that wait
    /// here already are read with it.
    ///
    /// # Errors
    ///
    /// [`SslError::ShortSecret`] when the cipher's key wants more; nothing is changed then.
    pub fn protect(&mut self, algorithms: Algorithms, secret: &[u8]) -> Result<(), SslError> {
        self.protection = Protection::new(algorithms, secret)?;
        Ok(())
    }

    /// Takes octets in. At most one record waits when the caller opens until `None` after each call.
    pub fn receive(&mut self, octets: &[u8]) {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        self.buffer.extend_from_slice(octets);
    }

    /// Whether an end of the connection now would be between two records.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.consumed == self.buffer.len()
    }

    /// The data of the next record, `None` while it is not whole. May be empty, of a record that
    /// has only a digest or padding.
    ///
    /// # Errors
    ///
    /// An [`SslError`], at once and for ever: the direction is dead.
    pub fn open(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, SslError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.try_open();
        if let Err(error) = result {
            self.failed = Some(error);
        }
        result
    }

    fn try_open(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, SslError> {
        let waiting = self.buffer.get(self.consumed..).unwrap_or_default();
        let Some((&[first, second], rest)) = waiting.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let padded = first & 0x80 == 0;
        let mask = if padded { 0x3f } else { 0x7f };
        let length = usize::from(u16::from_be_bytes([first & mask, second]));
        if length == 0 {
            return Err(SslError::Empty);
        }
        let (pad, rest) = if padded {
            let Some((&pad, rest)) = rest.split_first() else {
                return Ok(None);
            };
            (usize::from(pad), rest)
        } else {
            (0, rest)
        };
        if pad > length {
            return Err(SslError::BadPad);
        }
        let Some((body, rest)) = rest.split_at_checked(length) else {
            return Ok(None);
        };
        let mut body = Zeroizing::new(body.to_vec());
        self.consumed = self.buffer.len().saturating_sub(rest.len());
        let digest_len = self.protection.algorithms().digest_len();
        self.protection.open(&mut body, self.number)?;
        self.number = next_number(self.number)?;
        // The padding may not reach into the digest.
        let end = length.saturating_sub(pad).max(digest_len);
        body.truncate(end);
        body.drain(..digest_len.min(end));
        Ok(Some(body))
    }
}
