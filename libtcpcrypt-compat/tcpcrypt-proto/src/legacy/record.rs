//! Records (tcpcrypt spec 4.5): a header of three octets, then flags, an urgent pointer if any and data under
//! AES-GCM, then the tag.
//!
//! The nonce is the place of the record in the stream of its direction, so a record is bound to its place and
//! none has a number of its own.

use kx_crypto::aead::{self, Algorithm, NonceLen, Open, Seal, TAG_LEN};
use kx_crypto::hkdf::Key;

/// Octets in front of the ciphertext: control, and the length of what follows.
pub const HEADER_LEN: usize = 3;

/// Octets that a record has more than its data, without an urgent pointer.
pub const OVERHEAD: usize = HEADER_LEN + 1 + TAG_LEN;

/// Octets that a record has more than its data, with an urgent pointer.
pub const URGENT_OVERHEAD: usize = OVERHEAD + 2;

/// Octets of data in the longest record, whether with an urgent pointer or not.
pub const MAX_DATA_LEN: usize = u16::MAX as usize - TAG_LEN - 3;

/// Records under one key. There is no rekeying in this dialect, and SP 800-38D (section 8.3) wants no more.
const MAX_RECORDS: u64 = 1 << 32;

/// Sequence numbers in a round.
const ROUND: u64 = 1 << 32;

const FLAG_FIN: u8 = 1;
const FLAG_URGENT: u8 = 2;

/// Why a record was not made or not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The control octet is not 0, or the length cannot be that of a record.
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

/// How many octets the record has that `stream` begins with, header included, or `None` as long as the header
/// is not whole.
///
/// # Errors
/// [`RecordError::Malformed`], as soon as an octet shows it.
pub fn len(stream: &[u8]) -> Result<Option<usize>, RecordError> {
    if stream.first().is_some_and(|control| *control != 0) {
        return Err(RecordError::Malformed);
    }
    let Some((&[_, high, low], _)) = stream.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let body = usize::from(u16::from_be_bytes([high, low]));
    if body < 1 + TAG_LEN {
        return Err(RecordError::Malformed);
    }
    Ok(Some(HEADER_LEN + body))
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

/// How a host makes a nonce of a place in the stream once its sequence numbers have passed 2^32 (spec 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetForm {
    /// It goes on counting.
    Counted,
    /// It subtracts sequence numbers of 32 bits as numbers of 64 bits: the original in divert mode. Its nonces
    /// repeat after 2^32 octets, so nothing is sealed or opened in this form from there on.
    Subtracted,
}

impl OffsetForm {
    /// The nonce of `offset` in a stream that began at the sequence number `start`.
    fn nonce(self, offset: u64, start: u32) -> Result<[u8; 8], RecordError> {
        let number = match self {
            OffsetForm::Counted => offset,
            OffsetForm::Subtracted if offset >= ROUND => return Err(RecordError::UsedUp),
            OffsetForm::Subtracted if has_wrapped(offset, start) => offset.wrapping_sub(ROUND),
            OffsetForm::Subtracted => offset,
        };
        Ok(number.to_le_bytes())
    }
}

/// Whether the sequence number at `offset` has passed 2^32, so that the two forms differ.
fn has_wrapped(offset: u64, start: u32) -> bool {
    offset.saturating_add(u64::from(start)) >= ROUND
}

/// Makes the records of one direction.
pub struct Sealer {
    key: Seal,
    start: u32,
    /// Where the next record may stand at the earliest.
    next: u64,
    records: u64,
    form: OffsetForm,
}

impl Sealer {
    /// The sealer under the front of `key`. `start` is the sequence number of offset 0 on the wire.
    ///
    /// # Errors
    /// [`RecordError::Library`].
    pub fn new(algorithm: Algorithm, key: &Key, start: u32) -> Result<Self, RecordError> {
        let key = key.prefix(algorithm.key_len());
        Ok(Self {
            key: Seal::new(algorithm, key, NonceLen::Eight)?,
            start,
            next: 0,
            records: 0,
            form: OffsetForm::Counted,
        })
    }

    /// Makes nonces as the peer was seen to make them ([`Opener::form`]).
    pub fn set_form(&mut self, form: OffsetForm) {
        self.form = form;
    }

    /// Appends the record with `data` that stands at `offset`. Offsets count the octets of records since the
    /// end of the key exchange, and each record must stand behind the one made before: what is sent again is
    /// kept, not made again.
    ///
    /// # Errors
    /// [`RecordError::TooLong`], [`RecordError::Reused`], [`RecordError::UsedUp`], [`RecordError::Library`].
    /// Nothing is appended then.
    pub fn seal(
        &mut self,
        offset: u64,
        flags: Flags,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        if data.len() > MAX_DATA_LEN {
            return Err(RecordError::TooLong);
        }
        if offset < self.next {
            return Err(RecordError::Reused);
        }
        let record_len = flags.overhead() + data.len();
        let end = u64::try_from(record_len)
            .ok()
            .and_then(|len| offset.checked_add(len));
        let Some(end) = end.filter(|_| self.records < MAX_RECORDS) else {
            return Err(RecordError::UsedUp);
        };
        let nonce = self.form.nonce(offset, self.start)?;
        let body = u16::try_from(record_len - HEADER_LEN).map_err(|_| RecordError::TooLong)?;
        let [high, low] = body.to_be_bytes();
        let header = [0, high, low];
        self.next = end;
        self.records += 1;

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
            Some(text) => self.key.seal(&nonce, &header, text),
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

    /// Frees what can be computed again from the key. For connections that have nothing to say.
    pub fn rest(&mut self) {
        self.key.rest();
    }
}

/// Reads the records of one direction.
pub struct Opener {
    key: Open,
    start: u32,
    form: Option<OffsetForm>,
}

impl Opener {
    /// The opener under the front of `key`. `start` is the sequence number of offset 0 on the wire.
    ///
    /// # Errors
    /// [`RecordError::Library`].
    pub fn new(algorithm: Algorithm, key: &Key, start: u32) -> Result<Self, RecordError> {
        let key = key.prefix(algorithm.key_len());
        Ok(Self {
            key: Open::new(algorithm, key, NonceLen::Eight)?,
            start,
            form: None,
        })
    }

    /// How the peer makes its nonces, once a record has shown it.
    #[must_use]
    pub fn form(&self) -> Option<OffsetForm> {
        self.form
    }

    /// Opens one whole record that stands at `offset` and appends its data. Any order will do.
    ///
    /// # Errors
    /// [`RecordError::Malformed`], [`RecordError::Mac`], [`RecordError::Library`]. Nothing is appended then.
    pub fn open(
        &mut self,
        offset: u64,
        record: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Flags, RecordError> {
        if len(record)? != Some(record.len()) {
            return Err(RecordError::Malformed);
        }
        let forms: &[OffsetForm] = match self.form {
            _ if !has_wrapped(offset, self.start) => &[OffsetForm::Counted],
            Some(OffsetForm::Counted) => &[OffsetForm::Counted],
            Some(OffsetForm::Subtracted) => &[OffsetForm::Subtracted],
            None => &[OffsetForm::Counted, OffsetForm::Subtracted],
        };
        let mut failure = RecordError::Mac;
        for form in forms {
            let opened = match form.nonce(offset, self.start) {
                Ok(nonce) => self.open_with(&nonce, record, out),
                Err(_) => continue,
            };
            match opened {
                Ok(flags) => {
                    if has_wrapped(offset, self.start) {
                        self.form = Some(*form);
                    }
                    return Ok(flags);
                }
                Err(RecordError::Mac) => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn open_with(
        &mut self,
        nonce: &[u8; 8],
        record: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Flags, RecordError> {
        let before = out.len();
        let opened = self.decrypt(nonce, record, out);
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
        &mut self,
        nonce: &[u8; 8],
        record: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Flags, RecordError> {
        let malformed = RecordError::Malformed;
        let (header, rest) = record.split_first_chunk::<HEADER_LEN>().ok_or(malformed)?;
        let (text, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(malformed)?;
        let (first, mut text) = text.split_first_chunk::<1>().ok_or(malformed)?;
        let mut opening = self.key.begin(nonce, header)?;
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

    /// Frees what can be computed again from the key. For connections that have nothing to say.
    pub fn rest(&mut self) {
        self.key.rest();
    }
}

#[cfg(test)]
mod tests {
    use kx_crypto::aead::Algorithm;
    use kx_crypto::hkdf::Key;

    use super::{
        Flags, HEADER_LEN, MAX_DATA_LEN, OVERHEAD, OffsetForm, Opener, RecordError, Sealer, len,
    };

    fn pair(start: u32) -> (Sealer, Opener) {
        let key = Key::from(&[7; 32]);
        let algorithm = Algorithm::Aes128Gcm;
        (
            Sealer::new(algorithm, &key, start).unwrap(),
            Opener::new(algorithm, &key, start).unwrap(),
        )
    }

    #[test]
    fn there_and_back() {
        let (mut sealer, mut opener) = pair(1);
        let mut offset = 0;
        for flags in [
            Flags::default(),
            Flags {
                fin: true,
                urgent: None,
            },
            Flags {
                fin: true,
                urgent: Some(0x1234),
            },
        ] {
            for size in [0, 1, 13, 1400, MAX_DATA_LEN] {
                let data = vec![0x5a; size];
                let mut record = b"before".to_vec();
                sealer.seal(offset, flags, &data, &mut record).unwrap();
                let record = &record[6..];
                assert_eq!(record.len(), flags.overhead() + size);
                assert_eq!(len(record), Ok(Some(record.len())));
                let mut out = b"kept".to_vec();
                assert_eq!(opener.open(offset, record, &mut out), Ok(flags));
                assert_eq!(out[4..], data);
                assert_eq!(
                    opener.open(offset + 1, record, &mut out),
                    Err(RecordError::Mac)
                );
                assert_eq!(out.len(), 4 + size);
                offset += record.len() as u64;
            }
            sealer.rest();
            opener.rest();
        }
    }

    #[test]
    fn every_changed_octet_shows() {
        let (mut sealer, mut opener) = pair(0);
        let mut record = Vec::new();
        sealer
            .seal(0, Flags::default(), b"data", &mut record)
            .unwrap();
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 0x80;
            let mut out = Vec::new();
            let wanted = if at < HEADER_LEN {
                RecordError::Malformed
            } else {
                RecordError::Mac
            };
            assert_eq!(opener.open(0, &changed, &mut out), Err(wanted));
            assert_eq!(out, b"");
        }
        let mut out = Vec::new();
        assert_eq!(opener.open(0, &record, &mut out), Ok(Flags::default()));
        assert_eq!(out, b"data");
    }

    #[test]
    fn length_while_it_arrives() {
        assert_eq!(len(&[]), Ok(None));
        assert_eq!(len(&[0, 4]), Ok(None));
        assert_eq!(len(&[1]), Err(RecordError::Malformed));
        assert_eq!(len(&[0, 0, 16]), Err(RecordError::Malformed));
        assert_eq!(len(&[0, 0, 17]), Ok(Some(OVERHEAD)));
        assert_eq!(len(&[0, 255, 255, 9]), Ok(Some(HEADER_LEN + 65535)));
    }

    #[test]
    fn no_place_twice() {
        let (mut sealer, _) = pair(0);
        let mut out = Vec::new();
        sealer
            .seal(100, Flags::default(), b"data", &mut out)
            .unwrap();
        let len = out.len();
        let mut seal = |offset, data: &[u8]| {
            let sealed = sealer.seal(offset, Flags::default(), data, &mut out);
            assert!(sealed.is_ok() || out.len() == len);
            sealed
        };
        assert_eq!(seal(100, b"data"), Err(RecordError::Reused));
        assert_eq!(seal(123, b"x"), Err(RecordError::Reused));
        assert_eq!(seal(124, &[0; MAX_DATA_LEN + 1]), Err(RecordError::TooLong));
        assert_eq!(seal(u64::MAX - 5, b"x"), Err(RecordError::UsedUp));
        assert_eq!(seal(124, b"x"), Ok(()));
    }

    /// The example of spec 4.5: start 0xFFFFFF00, sequence number 0x10.
    #[test]
    fn nonces_behind_the_wrap() {
        let start = 0xffff_ff00;
        let subtracted = |offset| OffsetForm::Subtracted.nonce(offset, start);
        assert_eq!(
            subtracted(0x110),
            Ok(0xffff_ffff_0000_0110u64.to_le_bytes())
        );
        assert_eq!(subtracted(0xff), Ok(0xffu64.to_le_bytes()));
        assert_eq!(
            subtracted(0x100),
            Ok(0xffff_ffff_0000_0100u64.to_le_bytes())
        );
        assert_eq!(subtracted(1 << 32), Err(RecordError::UsedUp));
        let counted = OffsetForm::Counted.nonce(0x110, start);
        assert_eq!(counted, Ok(0x110u64.to_le_bytes()));
    }

    #[test]
    fn both_forms_are_understood() {
        for form in [OffsetForm::Counted, OffsetForm::Subtracted] {
            let (mut sealer, mut opener) = pair(0xffff_ff00);
            sealer.set_form(form);
            let mut out = Vec::new();
            let mut pass = |offset, form| {
                let mut record = Vec::new();
                sealer
                    .seal(offset, Flags::default(), b"data", &mut record)
                    .unwrap();
                opener.open(offset, &record, &mut out).unwrap();
                assert_eq!(opener.form(), form);
            };
            pass(0, None);
            pass(0x110, Some(form));
            pass(0x140, Some(form));
            // What was seen once is held to: the other form is not tried any more.
            let mut other = pair(0xffff_ff00).0;
            other.set_form(match form {
                OffsetForm::Counted => OffsetForm::Subtracted,
                OffsetForm::Subtracted => OffsetForm::Counted,
            });
            let mut record = Vec::new();
            other
                .seal(0x180, Flags::default(), b"data", &mut record)
                .unwrap();
            let opened = opener.open(0x180, &record, &mut out);
            assert_eq!(opened, Err(RecordError::Mac));
        }
    }
}
