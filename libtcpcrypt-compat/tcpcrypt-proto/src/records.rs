//! The records of a connection, in whichever dialect it speaks: one face for the data phase.
//!
//! What the data phase has to know beside it: in the original's dialect each segment is one whole record; in the
//! standard, frames are a stream that segments cut anywhere. There a frame may come whose only purpose is a new key,
//! one may have to be sent at once for the same reason, and the stream may end only behind a record that said so.

use crate::framing::{Flags, RecordError};
use crate::legacy::record::{self, OffsetForm};
use crate::rfc8548::frame;

/// Whose rules a connection follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// The original's (tcpcrypt spec 4).
    Legacy,
    /// RFC 8548.
    Standard,
}

/// Makes the records of one direction.
pub enum Sealer {
    /// In the original's dialect.
    Legacy(record::Sealer),
    /// In the standard. In a box, as it is larger and most connections have the other.
    Standard(Box<frame::Sealer>),
}

/// Reads the records of one direction, in their order.
pub enum Opener {
    /// In the original's dialect.
    Legacy(record::Opener),
    /// In the standard.
    Standard(Box<frame::Opener>),
}

impl From<record::Sealer> for Sealer {
    fn from(sealer: record::Sealer) -> Self {
        Sealer::Legacy(sealer)
    }
}

impl From<frame::Sealer> for Sealer {
    fn from(sealer: frame::Sealer) -> Self {
        Sealer::Standard(Box::new(sealer))
    }
}

impl From<record::Opener> for Opener {
    fn from(opener: record::Opener) -> Self {
        Opener::Legacy(opener)
    }
}

impl From<frame::Opener> for Opener {
    fn from(opener: frame::Opener) -> Self {
        Opener::Standard(Box::new(opener))
    }
}

impl Sealer {
    /// The dialect.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Sealer::Legacy(_) => Dialect::Legacy,
            Sealer::Standard(_) => Dialect::Standard,
        }
    }

    /// Appends the record with `data` that stands at `offset`, behind all that were made before. In the standard one
    /// with [`Flags::fin`] is the last, and the TCP stream must not end without it.
    ///
    /// # Errors
    /// All of [`RecordError`] but [`RecordError::Mac`]. Nothing is appended then.
    pub fn seal(
        &mut self,
        offset: u64,
        flags: Flags,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        match self {
            Sealer::Legacy(sealer) => sealer.seal(offset, flags, data, out),
            Sealer::Standard(sealer) => sealer.seal(offset, flags, data, out),
        }
    }

    /// Makes nonces as the peer was seen to make them. The standard has one form only.
    pub fn set_form(&mut self, form: OffsetForm) {
        if let Sealer::Legacy(sealer) = self {
            sealer.set_form(form);
        }
    }

    /// The next record is to be the first under a new key, for a connection that was silent for long or a key that
    /// did much. Only the standard can.
    pub fn rekey(&mut self) {
        if let Sealer::Standard(sealer) = self {
            sealer.rekey();
        }
    }

    /// Goes to the key that the peer went to. To be called when records of the peer were opened.
    pub fn follow(&mut self, opener: &Opener) {
        if let (Sealer::Standard(sealer), Opener::Standard(opener)) = (self, opener) {
            sealer.follow(opener.generation());
        }
    }

    /// Whether the peer has gone to every key that we have gone to.
    #[must_use]
    pub fn is_followed(&self, opener: &Opener) -> bool {
        match (self, opener) {
            (Sealer::Standard(sealer), Opener::Standard(opener)) => {
                opener.generation() >= sealer.generation()
            }
            _ => true,
        }
    }

    /// Whether a record is due at once, empty if there are no data. It may be several in turn.
    #[must_use]
    pub fn is_record_due(&self) -> bool {
        match self {
            Sealer::Legacy(_) => false,
            Sealer::Standard(sealer) => sealer.is_rekey_due(),
        }
    }

    /// Whether the TCP stream may end behind what was made so far.
    #[must_use]
    pub fn may_end(&self) -> bool {
        match self {
            Sealer::Legacy(_) => true,
            Sealer::Standard(sealer) => sealer.is_finished(),
        }
    }
}

impl Opener {
    /// The dialect.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Opener::Legacy(_) => Dialect::Legacy,
            Opener::Standard(_) => Dialect::Standard,
        }
    }

    /// How many octets the record has that `stream` begins with, or `None` as long as the header is not whole.
    ///
    /// # Errors
    /// [`RecordError::Malformed`], as soon as an octet shows it.
    pub fn len(&self, stream: &[u8]) -> Result<Option<usize>, RecordError> {
        match self {
            Opener::Legacy(_) => record::len(stream),
            Opener::Standard(_) => frame::len(stream),
        }
    }

    /// Opens one whole record that stands at `offset` and appends its data.
    ///
    /// # Errors
    /// [`RecordError::Malformed`], [`RecordError::Mac`], [`RecordError::Finished`], [`RecordError::Library`]. Nothing
    /// is appended then.
    pub fn open(
        &mut self,
        offset: u64,
        record: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Flags, RecordError> {
        match self {
            Opener::Legacy(opener) => opener.open(offset, record, out),
            Opener::Standard(opener) => opener.open(offset, record, out),
        }
    }

    /// How the peer makes its nonces, once a record has shown it; in the original's dialect only.
    #[must_use]
    pub fn form(&self) -> Option<OffsetForm> {
        match self {
            Opener::Legacy(opener) => opener.form(),
            Opener::Standard(_) => None,
        }
    }

    /// Whether the TCP stream may end behind what was opened so far. Where not, its end is an attack.
    #[must_use]
    pub fn may_end(&self) -> bool {
        match self {
            Opener::Legacy(_) => true,
            Opener::Standard(opener) => opener.is_finished(),
        }
    }

    /// Whether the last record was opened, by what it says itself. In the original's dialect none says so.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self {
            Opener::Legacy(_) => false,
            Opener::Standard(opener) => opener.is_finished(),
        }
    }
}

#[cfg(test)]
mod tests {
    use kx_crypto::aead::Algorithm;
    use kx_crypto::hkdf::Key;

    use super::{Dialect, Opener, Sealer};
    use crate::eno::Tep;
    use crate::framing::{Flags, RecordError};
    use crate::legacy::keys::{Role, Suite as LegacySuite, TrafficKeys};
    use crate::legacy::record::OffsetForm;
    use crate::rfc8547::Host;
    use crate::rfc8548::keys::{Keys, Suite};

    const ALGORITHM: Algorithm = Algorithm::Aes128Gcm;

    fn legacy(role: Role) -> (Sealer, Opener) {
        let suite = LegacySuite {
            role,
            tep: Tep::P256,
            algorithm: ALGORITHM,
        };
        let start = u32::MAX - 50;
        let keys = TrafficKeys::derive(&Key::from(&[7; 32]), suite);
        let (sealer, opener) = keys.split(start, start).unwrap();
        (sealer.into(), opener.into())
    }

    fn standard(host: Host) -> (Sealer, Opener) {
        let suite = Suite {
            host,
            tep: Tep::P256,
            algorithm: ALGORITHM,
        };
        let (sealer, opener) = Keys::new(Key::from(&[7; 32]), suite).split().unwrap();
        (sealer.into(), opener.into())
    }

    #[test]
    fn either_dialect() {
        let fin = Flags {
            fin: true,
            urgent: Some(3),
        };
        for (dialect, mut ours, mut theirs) in [
            (Dialect::Legacy, legacy(Role::Client), legacy(Role::Server)),
            (Dialect::Standard, standard(Host::A), standard(Host::B)),
        ] {
            let is_standard = dialect == Dialect::Standard;
            assert_eq!((ours.0.dialect(), theirs.1.dialect()), (dialect, dialect));
            assert_eq!(ours.0.may_end(), !is_standard);
            assert_eq!(theirs.1.may_end(), !is_standard);
            // What one dialect has not got does nothing.
            ours.0.rekey();
            assert_eq!(ours.0.is_record_due(), is_standard);
            ours.0.set_form(OffsetForm::Subtracted);
            let (mut wire, mut out) = (Vec::new(), Vec::new());
            ours.0
                .seal(100, Flags::default(), b"data", &mut wire)
                .unwrap();
            assert!(!ours.0.is_record_due());
            assert_eq!(theirs.1.len(&wire), Ok(Some(wire.len())));
            assert_eq!(theirs.1.open(100, &wire, &mut out), Ok(Flags::default()));
            theirs.0.follow(&theirs.1);
            assert_eq!(theirs.0.is_record_due(), is_standard);
            let form = theirs.1.form();
            assert_eq!(form.is_none(), is_standard);
            wire.clear();
            ours.0.seal(200, fin, b"end", &mut wire).unwrap();
            assert_eq!(theirs.1.open(200, &wire, &mut out), Ok(fin));
            assert_eq!(out, b"dataend");
            assert!(ours.0.may_end() && theirs.1.may_end());
            // The control octet is for the standard only.
            wire[0] = 1;
            let wanted = if is_standard {
                Ok(Some(wire.len()))
            } else {
                Err(RecordError::Malformed)
            };
            assert_eq!(theirs.1.len(&wire), wanted);
        }
    }
}
