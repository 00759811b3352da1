//! What the program keeps with a socket, and how options stand in maps.

use super::SockOpsError;

/// The longest TCP option.
pub(super) const OPTION: usize = 40;

/// Octets of an option in a map: its length, seven unused, its octets.
pub(super) const SLOT: usize = 48;
/// Where the octets of an option in a map are; copied by eight.
pub(super) const SLOT_OCTETS: i16 = 8;

/// Octets of what is kept with a socket.
pub(super) const RECORD: usize = 176;
/// Length of the option for the SYN; 0 if there is none.
pub(super) const OFFER_LENGTH: i16 = 0;
/// What the socket is: [`OPENER`], [`LISTENER`].
pub(super) const ROLE: i16 = 1;
/// Length of the option that was in the SYN; 0 if there was none.
pub(super) const SYN_LENGTH: i16 = 2;
/// The same for the SYN-ACK.
pub(super) const SYN_ACK_LENGTH: i16 = 3;
/// The same for the third segment. At the opener, what it is to carry.
pub(super) const THIRD_LENGTH: i16 = 4;
/// The number behind our SYN, in the machine's order.
pub(super) const OURS: i16 = 8;
/// The number behind the peer's.
pub(super) const THEIRS: i16 = 12;
/// The octets of each.
pub(super) const OFFER: i16 = 16;
pub(super) const SYN: i16 = 56;
pub(super) const SYN_ACK: i16 = 96;
pub(super) const THIRD: i16 = 136;

/// A socket that connects.
pub(super) const OPENER: u8 = 1;
/// A socket that listens, and those that are accepted from it.
pub(super) const LISTENER: u8 = 2;

/// One TCP option, octet for octet as on the wire, kind and length included.
#[derive(Clone, Copy)]
pub struct RawOption {
    octets: [u8; OPTION],
    length: u8,
}

impl RawOption {
    /// An option with these octets.
    ///
    /// # Errors
    /// [`SockOpsError::NotAnOption`]: the second octet is not their number, or they are fewer than
    /// two or more than 40.
    pub fn new(octets: &[u8]) -> Result<RawOption, SockOpsError> {
        let [_, length, ..] = octets else {
            return Err(SockOpsError::NotAnOption);
        };
        if usize::from(*length) != octets.len() {
            return Err(SockOpsError::NotAnOption);
        }
        RawOption::of(octets).ok_or(SockOpsError::NotAnOption)
    }

    fn of(from: &[u8]) -> Option<RawOption> {
        let mut octets = [0; OPTION];
        octets.get_mut(..from.len())?.copy_from_slice(from);
        let length = u8::try_from(from.len()).ok()?;
        Some(RawOption { octets, length })
    }

    /// Its octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.octets
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    /// As it stands in a map.
    pub(super) fn slot(&self) -> [u8; SLOT] {
        let mut slot = [0; SLOT];
        let (head, octets) = slot.split_at_mut(SLOT_OCTETS as usize);
        octets.copy_from_slice(&self.octets);
        if let Some(length) = head.first_mut() {
            *length = self.length;
        }
        slot
    }
}

impl PartialEq for RawOption {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for RawOption {}

impl std::fmt::Debug for RawOption {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "RawOption({:02x?})", self.as_bytes())
    }
}

/// What was seen of a connection's ENO options, both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The SYN's: at the opener what was written, at the other end what came. At the latter there is
    /// none without an answer of ours.
    pub syn: Option<RawOption>,
    /// The SYN-ACK's, the other way round.
    pub syn_ack: Option<RawOption>,
    /// That of the segment behind, at the opener what it is to carry. Where none came to the other end
    /// the peer does not know of our answer and the connection is plain, unless the answer resumes a
    /// session in the original's dialect, where none is sent.
    pub third: Option<RawOption>,
    /// Sequence numbers behind our SYN and behind the peer's, where the streams begin; 0 without an
    /// answer.
    pub numbers: (u32, u32),
    /// Both ends permit selective acknowledgements.
    pub permits_sack: bool,
}

/// What is kept with a socket that will connect.
pub(super) fn opener(offer: &RawOption) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    put(&mut record, OFFER_LENGTH, &[offer.length]);
    put(&mut record, ROLE, &[OPENER]);
    put(&mut record, OFFER, &offer.octets);
    record
}

/// What is kept with a socket that will listen.
pub(super) fn listener() -> [u8; RECORD] {
    let mut record = [0; RECORD];
    put(&mut record, ROLE, &[LISTENER]);
    record
}

fn put(record: &mut [u8; RECORD], at: i16, octets: &[u8]) {
    let at = usize::try_from(at).unwrap_or(RECORD);
    for (to, from) in record.iter_mut().skip(at).zip(octets) {
        *to = *from;
    }
}

/// Reads what the program has noted.
pub(super) fn read(record: &[u8; RECORD]) -> Seen {
    let octet = |at: i16| {
        let at = usize::try_from(at).unwrap_or(RECORD);
        record.get(at).copied().unwrap_or(0)
    };
    // Of a length that makes no sense there is no option, rather than half of one.
    let option = |length: i16, octets: i16| {
        let length = usize::from(octet(length));
        let at = usize::try_from(octets).ok()?;
        let octets = record.get(at..at.checked_add(length)?)?;
        RawOption::new(octets).ok()
    };
    let number = |at: i16| {
        let octets = usize::try_from(at).ok().and_then(|at| record.get(at..));
        let octets = octets.and_then(|it| it.first_chunk::<4>());
        octets.map_or(0, |it| u32::from_ne_bytes(*it))
    };
    Seen {
        syn: option(SYN_LENGTH, SYN),
        syn_ack: option(SYN_ACK_LENGTH, SYN_ACK),
        third: option(THIRD_LENGTH, THIRD),
        numbers: (number(OURS), number(THEIRS)),
        permits_sack: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn options_are_whole_or_refused() {
        let option = RawOption::new(&[253, 6, 0x45, 0x4e, 0x21, 0x22]).expect("whole");
        assert_eq!(option.as_bytes(), [253, 6, 0x45, 0x4e, 0x21, 0x22]);
        assert_eq!(option.slot()[..10], [6, 0, 0, 0, 0, 0, 0, 0, 253, 6]);
        for bad in [&[][..], &[69], &[69, 1], &[69, 3], &[69, 41]] {
            assert!(RawOption::new(bad).is_err(), "{bad:?}");
        }
        let mut longest = [0; 41];
        longest[1] = 41;
        assert!(RawOption::new(&longest).is_err());
        longest[1] = 40;
        assert!(RawOption::new(&longest[..40]).is_ok());
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let offer = RawOption::new(&[69, 3, 0x23]).expect("whole");
        let mut record = opener(&offer);
        assert_eq!(read(&record), Seen::default());
        assert_eq!(record[..2], [3, OPENER]);
        put(&mut record, SYN_LENGTH, &[3]);
        put(&mut record, SYN, &[69, 3, 0x23]);
        assert_eq!(read(&record).syn, Some(offer));
        put(&mut record, THEIRS, &7u32.to_ne_bytes());
        assert_eq!(read(&record).numbers, (0, 7));
        put(&mut record, SYN_LENGTH, &[4]);
        assert_eq!(read(&record).syn, None);
        assert_eq!(listener()[1], LISTENER);
    }

    proptest! {
        #[test]
        fn no_record_panics(octets in proptest::collection::vec(any::<u8>(), RECORD)) {
            let record: [u8; RECORD] = octets.try_into().expect("as long");
            let seen = read(&record);
            for option in [seen.syn, seen.syn_ack, seen.third].into_iter().flatten() {
                prop_assert!(option.as_bytes().len() <= OPTION);
            }
        }
    }
}
