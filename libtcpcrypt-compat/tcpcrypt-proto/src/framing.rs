//! What the records of both dialects have in common (tcpcrypt spec 4.5 and 7.5): a header of control octet and
//! length, then flags, an urgent pointer if any and data under an AEAD, then the tag. The header is the additional
//! data. The dialects differ in the control octet, in keys and in nonces.

use kx_crypto::aead::{self, Open, Seal, TAG_LEN};

/// Octets in front of the ciphertext: control, and the length of what follows.
pub const HEADER_LEN: usize = 3;

/// Octets that a record has more than its data, without an urgent pointer.
pub const OVERHEAD: usize = HEADER_LEN + 1 + TAG_LEN;

/// Octets that a record has more than its data, with an urgent pointer.
pub const URGENT_OVERHEAD: usize = OVERHEAD + 2;

/// Octets of data in the longest record, whether with an urgent pointer or not.
pub const MAX_DATA_LEN: usize = u16::MAX as usize - TAG_LEN - 3;

const FLAG_FIN: u8 = 1;
const FLAG_URGENT: u8 = 2;

/// Why a record was not made or not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The control octet is not 0 where it must be, or the length cannot be that of a record.
    #[error("malformed record")]
    Malformed,
    /// The record is not genuine, or not for this place. The text is the original's.
    #[error("MAC check failed")]
    Mac,
    /// More data than a record holds.
    #[error("too much data for a record")]
    TooLong,
    /// A record for this place, or behind it, was made before. It has to be sent again as it was.
    #[error("record for a place that has one")]
    Reused,
    /// The key has done as much as it may.
    #[error("key used up")]
    UsedUp,
    /// A record behind the one that said it was the last (RFC 8548 section 3.7).
    #[error("record behind the last one")]
    Finished,
    /// The cryptographic library failed.
    #[error("cryptographic library failed")]
    Library,
}

impl From<aead::Error> for RecordError {
    fn from(error: aead::Error) -> Self {
        match error {
            aead::Error::Tag => RecordError::Mac,
            _ => RecordError::Library,
        }
    }
}

/// What a record says beside its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// The sender closes behind these data.
    pub fin: bool,
    /// The urgent pointer of the TCP header.
    pub urgent: Option<u16>,
}

impl Flags {
    /// Octets that the record has more than its data.
    #[must_use]
    pub fn overhead(self) -> usize {
        match self.urgent {
            None => OVERHEAD,
            Some(_) => URGENT_OVERHEAD,
        }
    }
}

/// How many octets the record has that `stream` begins with, header included, or `None` as long as the header
/// is not whole. The control octet may be anything.
///
/// # Errors
/// [`RecordError::Malformed`] when there is no room for flags and tag.
pub(crate) fn len(stream: &[u8]) -> Result<Option<usize>, RecordError> {
    let Some((&[_, high, low], _)) = stream.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let body = usize::from(u16::from_be_bytes([high, low]));
    if body < 1 + TAG_LEN {
        return Err(RecordError::Malformed);
    }
    Ok(Some(HEADER_LEN + body))
}

/// Where a record that begins at `offset` ends.
///
/// # Errors
/// [`RecordError::TooLong`]; [`RecordError::UsedUp`] when places would no longer be numbers of 64 bits.
pub(crate) fn end(offset: u64, flags: Flags, data: &[u8]) -> Result<u64, RecordError> {
    if data.len() > MAX_DATA_LEN {
        return Err(RecordError::TooLong);
    }
    u64::try_from(flags.overhead() + data.len())
        .ok()
        .and_then(|len| offset.checked_add(len))
        .ok_or(RecordError::UsedUp)
}

/// Appends a record.
///
/// # Errors
/// [`RecordError::TooLong`], [`RecordError::Library`]. Nothing is appended then.
pub(crate) fn seal(
    key: &mut Seal,
    nonce: &[u8],
    control: u8,
    flags: Flags,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let record_len = flags.overhead() + data.len();
    let body = u16::try_from(record_len - HEADER_LEN).map_err(|_| RecordError::TooLong)?;
    let [high, low] = body.to_be_bytes();
    let header = [control, high, low];
    let before = out.len();
    out.reserve(record_len);
    out.extend_from_slice(&header);
    let text = out.len();
    out.push(if flags.fin { FLAG_FIN } else { 0 });
    if let Some(urgent) = flags.urgent {
        if let Some(octet) = out.last_mut() {
            *octet |= FLAG_URGENT;
        }
        out.extend_from_slice(&urgent.to_be_bytes());
    }
    out.extend_from_slice(data);
    let sealed = match out.get_mut(text..) {
        Some(text) => key.seal(nonce, &header, text),
        None => Err(aead::Error::Library),
    };
    match sealed {
        Ok(tag) => {
            out.extend_from_slice(&tag);
            Ok(())
        }
        Err(error) => {
            out.truncate(before);
            Err(error.into())
        }
    }
}

/// Opens one whole record and appends its data.
///
/// # Errors
/// [`RecordError::Malformed`], [`RecordError::Mac`], [`RecordError::Library`]. Nothing is appended then.
pub(crate) fn open(
    key: &mut Open,
    nonce: &[u8],
    record: &[u8],
    out: &mut Vec<u8>,
) -> Result<Flags, RecordError> {
    let before = out.len();
    let opened = decrypt(key, nonce, record, out);
    if opened.is_err() {
        // What came out under a wrong tag must not be seen by anybody.
        if let Some(text) = out.get_mut(before..) {
            text.fill(0);
        }
        out.truncate(before);
    }
    opened
}

/// Decrypts flags and urgent pointer apart, so that the data come to lie where they shall.
fn decrypt(
    key: &mut Open,
    nonce: &[u8],
    record: &[u8],
    out: &mut Vec<u8>,
) -> Result<Flags, RecordError> {
    let malformed = RecordError::Malformed;
    let (header, rest) = record.split_first_chunk::<HEADER_LEN>().ok_or(malformed)?;
    let (text, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(malformed)?;
    let (first, mut text) = text.split_first_chunk::<1>().ok_or(malformed)?;
    let mut opening = key.begin(nonce, header)?;
    let mut flags = *first;
    opening.decrypt(&mut flags)?;
    let [flags] = flags;
    // Until the tag is compared the flags may be anything, so a pointer that is not there is no error yet.
    let mut urgent = None;
    if flags & FLAG_URGENT != 0 {
        if let Some((pointer, data)) = text.split_first_chunk::<2>() {
            let mut pointer = *pointer;
            opening.decrypt(&mut pointer)?;
            urgent = Some(u16::from_be_bytes(pointer));
            text = data;
        }
    }
    let data = out.len();
    out.extend_from_slice(text);
    if let Some(data) = out.get_mut(data..) {
        opening.decrypt(data)?;
    }
    opening.finish(tag)?;
    if flags & FLAG_URGENT != 0 && urgent.is_none() {
        return Err(malformed);
    }
    Ok(Flags {
        fin: flags & FLAG_FIN != 0,
        urgent,
    })
}

#[cfg(test)]
mod tests {
    use kx_crypto::aead::{Algorithm, NonceLen, Open, Seal};

    use super::{Flags, RecordError, open};

    /// What a peer with the key can make of flags and text.
    fn opened(text: &[u8]) -> (Result<Flags, RecordError>, Vec<u8>) {
        let algorithm = Algorithm::Aes128Gcm;
        let mut seal = Seal::new(algorithm, &[7; 16], NonceLen::Twelve).unwrap();
        let mut key = Open::new(algorithm, &[7; 16], NonceLen::Twelve).unwrap();
        let len = u8::try_from(text.len() + 16).unwrap();
        let mut record = vec![0, 0, len];
        let mut sealed = text.to_vec();
        let tag = seal.seal(&[1; 12], &record, &mut sealed).unwrap();
        record.extend(sealed);
        record.extend(tag);
        let mut out = Vec::new();
        let flags = open(&mut key, &[1; 12], &record, &mut out);
        (flags, out)
    }

    #[test]
    fn genuine_and_odd() {
        let flags = |fin, urgent| Ok(Flags { fin, urgent });
        assert_eq!(opened(&[0]), (flags(false, None), vec![]));
        assert_eq!(opened(&[1, 9]), (flags(true, None), vec![9]));
        assert_eq!(opened(&[2, 1, 2]), (flags(false, Some(0x102)), vec![]));
        assert_eq!(opened(&[3, 1, 2, 9]), (flags(true, Some(0x102)), vec![9]));
        // The other flags are passed over.
        assert_eq!(opened(&[0xfc, 9]), (flags(false, None), vec![9]));
        // A pointer that is said to be there.
        for text in [&[2][..], &[2, 9], &[0xff]] {
            assert_eq!(opened(text), (Err(RecordError::Malformed), vec![]));
        }
        assert_eq!(opened(&[]).0, Err(RecordError::Malformed));
    }
}
