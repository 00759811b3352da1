//! The sending end of a direction.

use super::cipher::Protection;
use super::{Algorithms, BODY_LIMIT, PADDED_BODY_LIMIT, SslError, next_number};

/// Makes records.
pub struct Sealer {
    protection: Protection,
    number: u32,
}

impl Default for Sealer {
    fn default() -> Self {
        Self::new()
    }
}

impl Sealer {
    /// Clear records from number 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            protection: Protection::clear(),
            number: 0,
        }
    }

    /// Number of the next record.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Protects the next records with `algorithms`, keyed anew; the count goes on.
    ///
    /// # Errors
    ///
    /// [`SslError::ShortSecret`] when the cipher's key wants more; nothing is changed then.
    pub fn protect(&mut self, algorithms: Algorithms, secret: &[u8]) -> Result<(), SslError> {
        self.protection = Protection::new(algorithms, secret)?;
        Ok(())
    }

    /// Most octets that go into one record.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.room(BODY_LIMIT)
    }

    /// Octets of data with which a body of whole blocks has at most `body` octets.
    ///
    /// For a digest of whole blocks this is what the original computes. For a block cipher under a
    /// digest of 20 octets the original rounds the data alone, and so makes long records that it
    /// cannot read itself.
    fn room(&self, body: usize) -> usize {
        let algorithms = self.protection.algorithms();
        let block = algorithms.block();
        let whole = body.saturating_sub(body.checked_rem(block).unwrap_or(0));
        whole.saturating_sub(algorithms.digest_len())
    }

    /// Appends `data` as records: one if it fits, else as few as can be; none for no data, since a
    /// record of nothing stops the original.
    ///
    /// # Errors
    ///
    /// [`SslError::Exhausted`] after 2^32 - 1 records; [`SslError::NoRandom`].
    pub fn seal(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), SslError> {
        let algorithms = self.protection.algorithms();
        let mut left = data;
        while !left.is_empty() {
            let mut take = left.len().min(self.limit());
            let over = take
                .saturating_add(algorithms.digest_len())
                .checked_rem(algorithms.block())
                .unwrap_or(0);
            let mut pad = 0;
            if over != 0 {
                // Only the last piece is not of whole blocks; where it is too long for a padded
                // record a piece that needs no padding goes first.
                let padded = self.room(PADDED_BODY_LIMIT);
                if take > padded {
                    take = padded;
                } else {
                    pad = algorithms.block().saturating_sub(over);
                }
            }
            let (now, later) = left.split_at_checked(take).unwrap_or((left, &[]));
            self.seal_one(now, pad, out)?;
            left = later;
        }
        Ok(())
    }

    fn seal_one(&mut self, data: &[u8], pad: usize, out: &mut Vec<u8>) -> Result<(), SslError> {
        let next = next_number(self.number)?;
        let digest_len = self.protection.algorithms().digest_len();
        let length = digest_len + data.len() + pad;
        let [high, low] = u16::try_from(length)
            .map_err(|_| SslError::TooShort)?
            .to_be_bytes();
        match u8::try_from(pad) {
            Ok(pad @ 1..) => out.extend_from_slice(&[high, low, pad]),
            _ => out.extend_from_slice(&[high | 0x80, low]),
        }
        let start = out.len();
        out.resize(start + digest_len, 0);
        out.extend_from_slice(data);
        let filled = out.len();
        out.resize(filled + pad, 0);
        // The content of the padding is nobody's; random, so that it says nothing under ECB.
        if let Some(padding) = out.get_mut(filled..) {
            kx_crypto::random::fill(padding).map_err(|_| SslError::NoRandom)?;
        }
        if let Some(body) = out.get_mut(start..) {
            self.protection.seal(body, self.number)?;
        }
        self.number = next;
        Ok(())
    }
}
