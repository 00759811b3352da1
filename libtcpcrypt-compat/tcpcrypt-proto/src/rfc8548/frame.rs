//! Frames (RFC 8548 section 4.2) and rekeying (3.8).
//!
//! The nonce is the place of the frame in the stream of its direction, masked, so a frame is bound to its place and
//! none has a number of its own. Frames do not keep to segments.

use kx_crypto::aead::{self, Open, Seal};

use crate::framing;
use crate::rfc8548::keys::{AEAD_NONCE_LEN, Chain, Mask};

pub use crate::framing::{Flags, HEADER_LEN, MAX_DATA_LEN, OVERHEAD, RecordError, URGENT_OVERHEAD};

/// Place of the first frame, counted from behind the Init message of its direction or, in a resumed session, from
/// the first octet of the stream.
///
/// The RFC calls it both an offset in the TCP stream and one in the framing stream, and only the latter is the same
/// with and without Init messages (tcpcrypt spec 7.5).
pub const FIRST_OFFSET: u64 = 0;

/// In the control octet: this frame is the first under the next key.
const REKEY: u8 = 0x01;

/// How much is sealed under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLimits {
    /// Frames.
    pub frames: u64,
    /// Octets of frames.
    pub octets: u64,
}

impl Default for KeyLimits {
    /// 2^32 frames (SP 800-38D section 8.3) and 64 GiB, what one invocation of GCM could take.
    fn default() -> Self {
        Self {
            frames: 1 << 32,
            octets: 1 << 36,
        }
    }
}

/// How many octets the frame has that `stream` begins with, header included, or `None` as long as the header is not
/// whole.
///
/// # Errors
/// [`RecordError::Malformed`] when it has no room for flags and tag.
pub fn len(stream: &[u8]) -> Result<Option<usize>, RecordError> {
    framing::len(stream)
}

/// The nonce of the frame at `offset`.
fn nonce(offset: u64, mask: &Mask) -> [u8; AEAD_NONCE_LEN] {
    mask.nonce(FIRST_OFFSET.wrapping_add(offset))
}

/// Makes the frames of one direction.
pub struct Sealer {
    chain: Chain,
    key: Seal,
    mask: Mask,
    /// The generation that is to be reached, one frame a generation.
    target: u64,
    /// Where the next frame may stand at the earliest.
    next: u64,
    /// What was made under this key.
    done: KeyLimits,
    limits: KeyLimits,
    finished: bool,
}

impl Sealer {
    pub(super) fn new(chain: Chain) -> Result<Self, aead::Error> {
        let (key, mask) = chain.seal()?;
        Ok(Self {
            target: chain.generation(),
            chain,
            key,
            mask,
            next: 0,
            done: KeyLimits {
                frames: 0,
                octets: 0,
            },
            limits: KeyLimits::default(),
            finished: false,
        })
    }

    /// Changes the key sooner or later than by default.
    pub fn set_limits(&mut self, limits: KeyLimits) {
        self.limits = limits;
    }

    /// Which key the last frame was made with, from 0.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.chain.generation()
    }

    /// The next frame is to be the first under the next key. Nothing happens if it is that already.
    pub fn rekey(&mut self) {
        self.target = self.target.max(self.generation().saturating_add(1));
    }

    /// The peer sends under the key of this `generation` ([`Opener::generation`]): we follow. To be called after each
    /// frame that was opened.
    pub fn follow(&mut self, generation: u64) {
        self.target = self.target.max(generation);
    }

    /// Whether a frame under the next key is due at once, empty if there are no data: [`rekey`](Self::rekey) or
    /// [`follow`](Self::follow) asked for it. Behind the last frame none is.
    #[must_use]
    pub fn is_rekey_due(&self) -> bool {
        self.target > self.generation() && !self.finished
    }

    /// Appends the frame with `data` that stands at `offset`. Offsets count the octets of frames, and each frame must
    /// stand behind the one made before: what is sent again is kept, not made again.
    ///
    /// A frame with [`Flags::fin`] is the last one.
    ///
    /// # Errors
    /// [`RecordError::TooLong`], [`RecordError::Reused`], [`RecordError::UsedUp`], [`RecordError::Finished`],
    /// [`RecordError::Library`]. Nothing is appended then.
    pub fn seal(
        &mut self,
        offset: u64,
        flags: Flags,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        if self.finished {
            return Err(RecordError::Finished);
        }
        let end = framing::end(offset, flags, data)?;
        if offset < self.next {
            return Err(RecordError::Reused);
        }
        let len = end.saturating_sub(offset);
        if self.done.frames >= self.limits.frames
            || self.done.octets.saturating_add(len) > self.limits.octets
        {
            // The first frame under a key is made whatever the limits.
            if self.done.frames > 0 {
                self.rekey();
            }
        }
        let control = if self.target > self.generation() {
            self.advance()?;
            REKEY
        } else {
            0
        };
        self.next = end;
        self.done.frames = self.done.frames.saturating_add(1);
        self.done.octets = self.done.octets.saturating_add(len);
        self.finished = flags.fin;
        let nonce = nonce(offset, &self.mask);
        framing::seal(&mut self.key, &nonce, control, flags, data, out)
    }

    fn advance(&mut self) -> Result<(), RecordError> {
        let chain = self.chain.next();
        let (key, mask) = chain.seal()?;
        self.chain = chain;
        self.key = key;
        self.mask = mask;
        self.done = KeyLimits {
            frames: 0,
            octets: 0,
        };
        Ok(())
    }

    /// Whether the last frame was made.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }
}

/// Reads the frames of one direction, in their order.
pub struct Opener {
    chain: Chain,
    key: Open,
    mask: Mask,
    finished: bool,
}

impl Opener {
    pub(super) fn new(chain: Chain) -> Result<Self, aead::Error> {
        let (key, mask) = chain.open()?;
        Ok(Self {
            chain,
            key,
            mask,
            finished: false,
        })
    }

    /// Which key the last frame was made with, from 0.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.chain.generation()
    }

    /// Whether the last frame was opened. The end of the TCP stream without it is an error, not an end (RFC 8548
    /// section 3.7).
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Opens one whole frame that stands at `offset` and appends its data. What it says about keys counts only once
    /// it is known to be genuine.
    ///
    /// # Errors
    /// [`RecordError::Malformed`], [`RecordError::Mac`], [`RecordError::Finished`], [`RecordError::Library`]. Nothing
    /// is appended then.
    pub fn open(
        &mut self,
        offset: u64,
        frame: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Flags, RecordError> {
        if len(frame)? != Some(frame.len()) {
            return Err(RecordError::Malformed);
        }
        if self.finished {
            return Err(RecordError::Finished);
        }
        let rekeys = frame.first().is_some_and(|control| control & REKEY != 0);
        let flags = if rekeys {
            let chain = self.chain.next();
            let (mut key, mask) = chain.open()?;
            let flags = framing::open(&mut key, &nonce(offset, &mask), frame, out)?;
            self.chain = chain;
            self.key = key;
            self.mask = mask;
            flags
        } else {
            framing::open(&mut self.key, &nonce(offset, &self.mask), frame, out)?
        };
        self.finished = flags.fin;
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use kx_crypto::aead::Algorithm;
    use kx_crypto::hkdf::Key;

    use super::{Flags, HEADER_LEN, KeyLimits, OVERHEAD, Opener, RecordError, Sealer, len, nonce};
    use crate::eno::Tep;
    use crate::rfc8547::Host;
    use crate::rfc8548::keys::{Keys, Mask, Suite};

    const NONE: Flags = Flags {
        fin: false,
        urgent: None,
    };
    const FIN: Flags = Flags {
        fin: true,
        urgent: None,
    };

    fn host(host: Host, algorithm: Algorithm) -> (Sealer, Opener) {
        let suite = Suite {
            host,
            tep: Tep::X25519,
            algorithm,
        };
        Keys::new(Key::from(&[7; 32]), suite).split().unwrap()
    }

    fn pair() -> (Sealer, Opener) {
        let algorithm = Algorithm::Aes128Gcm;
        (host(Host::A, algorithm).0, host(Host::B, algorithm).1)
    }

    fn sealed(sealer: &mut Sealer, offset: u64, flags: Flags, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        sealer.seal(offset, flags, data, &mut out).unwrap();
        out
    }

    #[test]
    fn both_directions() {
        for algorithm in [
            Algorithm::Aes128Gcm,
            Algorithm::Aes256Gcm,
            Algorithm::ChaCha20Poly1305,
        ] {
            let (mut a_out, mut a_in) = host(Host::A, algorithm);
            let (mut b_out, mut b_in) = host(Host::B, algorithm);
            let to_b = sealed(&mut a_out, 0, NONE, b"data");
            let to_a = sealed(&mut b_out, 0, NONE, b"data");
            assert_ne!(to_a, to_b);
            let mut out = Vec::new();
            // Nobody takes his own frame back.
            assert_eq!(a_in.open(0, &to_b, &mut out), Err(RecordError::Mac));
            assert_eq!(b_in.open(0, &to_b, &mut out), Ok(NONE));
            assert_eq!(a_in.open(0, &to_a, &mut out), Ok(NONE));
            assert_eq!(out, b"datadata");
            let again = sealed(&mut a_out, 24, NONE, b"more");
            assert_eq!(b_in.open(24, &again, &mut out), Ok(NONE));
        }
    }

    #[test]
    fn nonces() {
        let mask = [0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        let masked = |offset| nonce(offset, &Mask::new(mask.iter().chain(&[9; 30])));
        assert_eq!(masked(0), mask);
        let wanted = [0x80, 1, 2, 3, 4 ^ 1, 5 ^ 2, 6 ^ 3, 7 ^ 4, 8, 9, 10, 11 ^ 5];
        assert_eq!(masked(0x0102_0304_0000_0005), wanted);
    }

    #[test]
    fn there_and_back() {
        let (mut sealer, mut opener) = pair();
        let mut offset = 5;
        for urgent in [None, Some(0), Some(0x1234)] {
            let flags = Flags { fin: false, urgent };
            for size in [0, 1, 1400, super::MAX_DATA_LEN] {
                let data = vec![0x5a; size];
                let frame = sealed(&mut sealer, offset, flags, &data);
                assert_eq!(frame.len(), flags.overhead() + size);
                assert_eq!(len(&frame), Ok(Some(frame.len())));
                let mut out = b"kept".to_vec();
                assert_eq!(opener.open(offset, &frame, &mut out), Ok(flags));
                assert_eq!(out[..4], *b"kept");
                assert_eq!(out[4..], data);
                offset += frame.len() as u64;
            }
        }
    }

    #[test]
    fn damaged() {
        let (mut sealer, mut opener) = pair();
        let frame = sealed(&mut sealer, 0, NONE, b"data");
        let mut out = b"kept".to_vec();
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut other = frame.clone();
                other[at] ^= 1 << bit;
                let wanted = if at == 1 || at == 2 {
                    RecordError::Malformed
                } else {
                    RecordError::Mac
                };
                assert_eq!(opener.open(0, &other, &mut out), Err(wanted), "{at} {bit}");
            }
        }
        assert_eq!(opener.open(1, &frame, &mut out), Err(RecordError::Mac));
        for cut in 0..frame.len() {
            let opened = opener.open(0, &frame[..cut], &mut out);
            assert_eq!(opened, Err(RecordError::Malformed));
        }
        assert_eq!((out.as_slice(), opener.generation()), (&b"kept"[..], 0));
        assert_eq!(opener.open(0, &frame, &mut out), Ok(NONE));
    }

    #[test]
    fn length_while_it_arrives() {
        assert_eq!(len(&[]), Ok(None));
        assert_eq!(len(&[1, 0]), Ok(None));
        assert_eq!(len(&[0, 0, 16]), Err(RecordError::Malformed));
        // What the other bits of the control octet may come to mean is passed over.
        assert_eq!(len(&[0xfe, 0, 17]), Ok(Some(OVERHEAD)));
        assert_eq!(len(&[1, 255, 255, 9]), Ok(Some(HEADER_LEN + 65535)));
    }

    #[test]
    fn new_keys() {
        let (mut sealer, mut opener) = pair();
        let mut out = Vec::new();
        let first = sealed(&mut sealer, 0, NONE, b"a");
        assert!(!sealer.is_rekey_due());
        sealer.rekey();
        sealer.rekey();
        assert!(sealer.is_rekey_due() && sealer.generation() == 0);
        let second = sealed(&mut sealer, 21, NONE, &[]);
        assert!(!sealer.is_rekey_due() && sealer.generation() == 1);
        let third = sealed(&mut sealer, 41, NONE, b"b");
        assert_eq!([first[0], second[0], third[0]], [0, 1, 0]);
        // Not before it is due.
        assert_eq!(opener.open(41, &third, &mut out), Err(RecordError::Mac));
        assert_eq!(opener.open(0, &first, &mut out), Ok(NONE));
        // A forged flag changes nothing.
        let mut forged = third.clone();
        forged[0] = 1;
        assert_eq!(opener.open(41, &forged, &mut out), Err(RecordError::Mac));
        assert_eq!(opener.generation(), 0);
        assert_eq!(opener.open(21, &second, &mut out), Ok(NONE));
        assert_eq!(opener.generation(), 1);
        assert_eq!(opener.open(21, &second, &mut out), Err(RecordError::Mac));
        assert_eq!(opener.open(41, &third, &mut out), Ok(NONE));
        assert_eq!(out, b"ab");
    }

    /// One frame for each generation, however far the peer is ahead.
    #[test]
    fn following() {
        let (mut sealer, mut opener) = pair();
        sealer.follow(0);
        assert!(!sealer.is_rekey_due());
        sealer.follow(3);
        sealer.follow(2);
        let mut offset = 0;
        for generation in 1..=3 {
            assert!(sealer.is_rekey_due());
            let frame = sealed(&mut sealer, offset, NONE, &[]);
            assert_eq!(opener.open(offset, &frame, &mut Vec::new()), Ok(NONE));
            assert_eq!(opener.generation(), generation);
            offset += frame.len() as u64;
        }
        assert!(!sealer.is_rekey_due());
        // Behind the last frame nothing can follow.
        sealed(&mut sealer, offset, FIN, &[]);
        sealer.follow(4);
        assert!(!sealer.is_rekey_due());
    }

    #[test]
    fn limits() {
        let pass = |limits: KeyLimits, data: &[u8]| {
            let (mut sealer, mut opener) = pair();
            sealer.set_limits(limits);
            let mut offset = 0;
            let mut generations = Vec::new();
            for _ in 0..7 {
                let frame = sealed(&mut sealer, offset, NONE, data);
                assert_eq!(opener.open(offset, &frame, &mut Vec::new()), Ok(NONE));
                assert_eq!(opener.generation(), sealer.generation());
                generations.push(opener.generation());
                offset += frame.len() as u64;
            }
            generations
        };
        let frames = |frames| KeyLimits {
            frames,
            ..KeyLimits::default()
        };
        let octets = |octets| KeyLimits {
            octets,
            ..KeyLimits::default()
        };
        assert_eq!(pass(KeyLimits::default(), b"data"), [0; 7]);
        assert_eq!(pass(frames(3), b"data"), [0, 0, 0, 1, 1, 1, 2]);
        assert_eq!(pass(frames(0), b"data"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(pass(octets(48), b"data"), [0, 0, 1, 1, 2, 2, 3]);
        assert_eq!(pass(octets(71), b"data"), [0, 0, 1, 1, 2, 2, 3]);
        assert_eq!(pass(octets(1), b"data"), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_last_frame() {
        let (mut sealer, mut opener) = pair();
        let mut out = Vec::new();
        // Another host may go on behind it.
        let mut other = pair().0;
        let behind = sealed(&mut other, 23, NONE, b"x");
        let last = sealed(&mut sealer, 0, FIN, b"end");
        assert!(sealer.is_finished() && !opener.is_finished());
        let more = sealer.seal(23, NONE, b"x", &mut out);
        assert_eq!(more, Err(RecordError::Finished));
        assert_eq!(opener.open(0, &last, &mut out), Ok(FIN));
        assert!(opener.is_finished());
        let more = opener.open(23, &behind, &mut out);
        assert_eq!(more, Err(RecordError::Finished));
        assert_eq!(out, b"end");
    }

    #[test]
    fn no_place_twice() {
        let (mut sealer, _) = pair();
        let mut out = sealed(&mut sealer, 100, NONE, b"data");
        let before = out.clone();
        let mut seal = |offset, data: &[u8]| sealer.seal(offset, NONE, data, &mut out);
        assert_eq!(seal(100, b"data"), Err(RecordError::Reused));
        assert_eq!(seal(123, b""), Err(RecordError::Reused));
        let long = vec![0; super::MAX_DATA_LEN + 1];
        assert_eq!(seal(124, &long), Err(RecordError::TooLong));
        assert_eq!(seal(u64::MAX - 5, b""), Err(RecordError::UsedUp));
        assert_eq!(seal(124, b""), Ok(()));
        assert_eq!(out[..before.len()], before);
        assert_eq!(out.len(), before.len() + OVERHEAD);
    }
}
