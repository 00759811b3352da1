//! Records (tcpcrypt spec 4.5): a header of three octets, then flags, an urgent pointer if any and data under
//! AES-GCM, then the tag.
//!
//! The nonce is the place of the record in the stream of its direction, so a record is bound to its place and
//! none has a number of its own.

use kx_crypto::aead::{Algorithm, NonceLen, Open, Seal};
use kx_crypto::hkdf::Key;

use crate::framing;

pub use crate::framing::{Flags, HEADER_LEN, MAX_DATA_LEN, OVERHEAD, RecordError, URGENT_OVERHEAD};

/// Records under one key. There is no rekeying in this dialect, and SP 800-38D (section 8.3) wants no more.
const MAX_RECORDS: u64 = 1 << 32;

/// Sequence numbers in a round.
const ROUND: u64 = 1 << 32;

/// How many octets the record has that `stream` begins with, header included, or `None` as long as the header
/// is not whole.
///
/// # Errors
/// [`RecordError::Malformed`], as soon as an octet shows it.
pub fn len(stream: &[u8]) -> Result<Option<usize>, RecordError> {
    if stream.first().is_some_and(|control| *control != 0) {
        return Err(RecordError::Malformed);
    }
    framing::len(stream)
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
        let end = framing::end(offset, flags, data)?;
        if self.records >= MAX_RECORDS {
            return Err(RecordError::UsedUp);
        }
        let nonce = self.form.nonce(offset, self.start)?;
        self.next = end;
        self.records += 1;
        framing::seal(&mut self.key, &nonce, 0, flags, data, out)
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
                Ok(nonce) => framing::open(&mut self.key, &nonce, record, out),
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
