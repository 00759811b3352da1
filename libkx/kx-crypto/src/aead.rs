//! AES-GCM (NIST SP 800-38D) with nonces of 8 or 12 octets and ChaCha20-Poly1305 (RFC 8439), made for many
//! records under few keys.
//!
//! A [`Seal`] or [`Open`] is a key and no more, of 48 octets, so that there can be very many. The library's contexts,
//! 1.2 kB each with OpenSSL 3.0, belong to the thread: the keys that were used last have theirs, which gets a new nonce
//! for each record, without an allocation or a key schedule; another key takes the place of the one that was used
//! longest ago, for a third of a microsecond. When a key is dropped, its schedule is overwritten on the same thread;
//! on another one that used it, when another key comes, the thread ends or it [wipes its contexts](wipe_contexts).

mod contexts;

use std::sync::atomic::{AtomicU64, Ordering};

use openssl::cipher::{Cipher, CipherRef};
use openssl::cipher_ctx::CipherCtx;
use openssl::error::ErrorStack;

use crate::fetched::Fetched;
use crate::hkdf::wipe;
use contexts::{Kind, Way};

/// Octets of a tag.
pub const TAG_LEN: usize = 16;

/// Octets of the longest key.
const MAX_KEY_LEN: usize = 32;

/// An algorithm with its key length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// AES-GCM with a key of 16 octets.
    Aes128Gcm,
    /// AES-GCM with a key of 32 octets.
    Aes256Gcm,
    /// ChaCha20-Poly1305, with a key of 32 octets. Its nonces have 12.
    ChaCha20Poly1305,
}

impl Algorithm {
    /// Octets of a key.
    #[must_use]
    pub fn key_len(self) -> usize {
        match self {
            Algorithm::Aes128Gcm => 16,
            Algorithm::Aes256Gcm | Algorithm::ChaCha20Poly1305 => 32,
        }
    }

    fn cipher(self) -> &'static CipherRef {
        static AES_128: Fetched = Fetched::new();
        static AES_256: Fetched = Fetched::new();
        static CHACHA20: Fetched = Fetched::new();
        match self {
            Algorithm::Aes128Gcm => AES_128.cipher("AES-128-GCM", Cipher::aes_128_gcm),
            Algorithm::Aes256Gcm => AES_256.cipher("AES-256-GCM", Cipher::aes_256_gcm),
            Algorithm::ChaCha20Poly1305 => {
                CHACHA20.cipher("ChaCha20-Poly1305", Cipher::chacha20_poly1305)
            }
        }
    }
}

/// How long a nonce is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceLen {
    /// 64 bits; the first counter block is a hash of it (SP 800-38D section 7.1).
    Eight,
    /// 96 bits, as nearly every protocol has it.
    Twelve,
}

impl NonceLen {
    fn octets(self) -> usize {
        match self {
            NonceLen::Eight => 8,
            NonceLen::Twelve => 12,
        }
    }
}

/// Why a text was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key has not the length of the algorithm.
    #[error("key of the wrong length")]
    KeyLength,
    /// The nonce has not the length that was said at the beginning, or the algorithm takes none of that length.
    #[error("nonce of the wrong length")]
    NonceLength,
    /// The tag is wrong: somebody changed text, tag or additional data, or the nonce is another.
    #[error("tag does not match")]
    Tag,
    /// The cryptographic library failed, or the text is longer than 2^31 octets.
    #[error("cryptographic library failed")]
    Library,
}

impl From<ErrorStack> for Error {
    fn from(_: ErrorStack) -> Self {
        Error::Library
    }
}

/// The key, and what names it among the contexts.
struct Keyed {
    key: [u8; MAX_KEY_LEN],
    kind: Kind,
    number: u64,
}

impl Drop for Keyed {
    fn drop(&mut self) {
        wipe(&mut self.key);
        contexts::forget(self.number);
    }
}

impl Keyed {
    fn new(way: Way, algorithm: Algorithm, key: &[u8], nonce_len: NonceLen) -> Result<Self, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        if key.len() != algorithm.key_len() {
            return Err(Error::KeyLength);
        }
        if algorithm == Algorithm::ChaCha20Poly1305 && nonce_len != NonceLen::Twelve {
            return Err(Error::NonceLength);
        }
        let mut keyed = Self {
            key: [0; MAX_KEY_LEN],
            kind: Kind {
                way,
                algorithm,
                nonce_len,
            },
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        };
        for (to, from) in keyed.key.iter_mut().zip(key) {
            *to = *from;
        }
        Ok(keyed)
    }

    /// A context ready for text under `nonce`.
    fn begin(&self, nonce: &[u8], additional: &[u8]) -> Result<CipherCtx, Error> {
        if nonce.len() != self.kind.nonce_len.octets() {
            return Err(Error::NonceLength);
        }
        let mut context = contexts::take(self.number, self.kind, &self.key, nonce)?;
        if !additional.is_empty() {
            context.cipher_update(additional, None)?;
        }
        Ok(context)
    }

    /// Keeps the context for the next text.
    fn end(&self, context: CipherCtx) {
        contexts::give_back(self.number, self.kind, context);
    }
}

/// Frees the contexts of the calling thread and wipes what they have of keys. To be called when a key goes over to
/// another thread: where it is dropped nobody can reach the contexts of this one.
pub fn wipe_contexts() {
    contexts::clear();
}

/// Encrypts or decrypts in place.
fn update(context: &mut CipherCtx, text: &mut [u8]) -> Result<(), Error> {
    // The library counts in a C int and the binding panics above it.
    if i32::try_from(text.len()).is_err() {
        return Err(Error::Library);
    }
    if !text.is_empty() {
        context.cipher_update_inplace(text, text.len())?;
    }
    Ok(())
}

/// The sending end of one key.
pub struct Seal(Keyed);

impl Seal {
    /// Keeps `key`, of [`key_len`](Algorithm::key_len) octets.
    ///
    /// # Errors
    /// [`Error::KeyLength`], [`Error::NonceLength`].
    pub fn new(algorithm: Algorithm, key: &[u8], nonce_len: NonceLen) -> Result<Self, Error> {
        Keyed::new(Way::Seal, algorithm, key, nonce_len).map(Self)
    }

    /// Encrypts `text` in place and returns its tag. The same nonce must never come again with another
    /// text.
    ///
    /// # Errors
    /// [`Error::NonceLength`], [`Error::Library`]. What is in `text` then must not be sent.
    pub fn seal(
        &mut self,
        nonce: &[u8],
        additional: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], Error> {
        let mut context = self.0.begin(nonce, additional)?;
        update(&mut context, text)?;
        context.cipher_final(&mut [])?;
        let mut tag = [0; TAG_LEN];
        context.tag(&mut tag)?;
        self.0.end(context);
        Ok(tag)
    }
}

/// The receiving end of one key.
pub struct Open(Keyed);

impl Open {
    /// Keeps `key`, of [`key_len`](Algorithm::key_len) octets.
    ///
    /// # Errors
    /// [`Error::KeyLength`], [`Error::NonceLength`].
    pub fn new(algorithm: Algorithm, key: &[u8], nonce_len: NonceLen) -> Result<Self, Error> {
        Keyed::new(Way::Open, algorithm, key, nonce_len).map(Self)
    }

    /// Decrypts `text` in place.
    ///
    /// # Errors
    /// [`Error::Tag`] when it is not genuine, [`Error::NonceLength`], [`Error::Library`]. `text` is zeroed
    /// then.
    pub fn open(
        &mut self,
        nonce: &[u8],
        additional: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Error> {
        let opened = self.begin(nonce, additional).and_then(|mut opening| {
            opening.decrypt(text)?;
            opening.finish(tag)
        });
        if opened.is_err() {
            wipe(text);
        }
        opened
    }

    /// Begins a text that is decrypted piece by piece.
    ///
    /// # Errors
    /// [`Error::NonceLength`], [`Error::Library`].
    pub fn begin(&mut self, nonce: &[u8], additional: &[u8]) -> Result<Opening<'_>, Error> {
        let context = self.0.begin(nonce, additional)?;
        let key = &self.0;
        Ok(Opening { key, context })
    }
}

/// A text that is being decrypted. **Nothing of it may be believed before [`finish`](Self::finish)**.
pub struct Opening<'k> {
    key: &'k Keyed,
    context: CipherCtx,
}

impl Opening<'_> {
    /// Decrypts the next piece in place.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn decrypt(&mut self, piece: &mut [u8]) -> Result<(), Error> {
        update(&mut self.context, piece)
    }

    /// Compares the tag.
    ///
    /// # Errors
    /// [`Error::Tag`]: all pieces must be thrown away.
    pub fn finish(mut self, tag: &[u8; TAG_LEN]) -> Result<(), Error> {
        self.context.set_tag(tag)?;
        let result = self.context.cipher_final(&mut []);
        self.key.end(self.context);
        result.map(drop).map_err(|_| Error::Tag)
    }
}

#[cfg(test)]
mod tests {
    use super::contexts::{KEPT, count};
    use super::{Algorithm, Error, NonceLen, Open, Seal, wipe_contexts};

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    const KEY: &str = "feffe9928665731c6d6a8f9467308308";
    const TEXT: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                        1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    const ADDITIONAL: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";

    /// The test cases 4, 5 and 17 of the submission of GCM to NIST (McGrew and Viega).
    #[test]
    fn vectors() {
        let cases = [
            (
                Algorithm::Aes128Gcm,
                (NonceLen::Twelve, "cafebabefacedbaddecaf888"),
                "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                 21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
                "5bc94fbc3221a5db94fae95ae7121a47",
            ),
            (
                Algorithm::Aes128Gcm,
                (NonceLen::Eight, "cafebabefacedbad"),
                "61353b4c2806934a777ff51fa22a4755699b2a714fcdc6f83766e5f97b6c7423\
                 73806900e49f24b22b097544d4896b424989b5e1ebac0f07c23f4598",
                "3612d2e79e3b0785561be14aaca2fccb",
            ),
            (
                Algorithm::Aes256Gcm,
                (NonceLen::Eight, "cafebabefacedbad"),
                "c3762df1ca787d32ae47c13bf19844cbaf1ae14d0b976afac52ff7d79bba9de0\
                 feb582d33934a4f0954cc2363bc73f7862ac430e64abe499f47c9b1f",
                "3a337dbf46a792c45e454913fe2ea8f2",
            ),
        ];
        let (plain, additional) = (hex(TEXT), hex(ADDITIONAL));
        for (algorithm, (nonce_len, nonce), wanted, wanted_tag) in cases {
            let key = hex(KEY).repeat(algorithm.key_len() / 16);
            let nonce = hex(nonce);
            let mut seal = Seal::new(algorithm, &key, nonce_len).unwrap();
            let mut open = Open::new(algorithm, &key, nonce_len).unwrap();
            // The first time with a new context, then with the one that is there.
            for _ in 0..3 {
                let mut text = plain.clone();
                let tag = seal.seal(&nonce, &additional, &mut text).unwrap();
                assert_eq!(text, hex(wanted));
                assert_eq!(tag.as_slice(), hex(wanted_tag));
                let mut piecewise = text.clone();
                assert_eq!(open.open(&nonce, &additional, &mut text, &tag), Ok(()));
                assert_eq!(text, plain);
                let mut opening = open.begin(&nonce, &additional).unwrap();
                let (head, tail) = piecewise.split_at_mut(3);
                opening.decrypt(head).unwrap();
                opening.decrypt(&mut []).unwrap();
                opening.decrypt(tail).unwrap();
                assert_eq!(opening.finish(&tag), Ok(()));
                assert_eq!(piecewise, plain);
                let mut other = tag;
                other[15] ^= 1;
                let opened = open.open(&nonce, &additional, &mut text, &other);
                assert_eq!(opened, Err(Error::Tag));
                assert!(text.iter().all(|octet| *octet == 0));
            }
            let tag = seal.seal(&nonce, &additional, &mut []).unwrap();
            assert_eq!(open.open(&nonce, &additional, &mut [], &tag), Ok(()));
        }
    }

    /// RFC 8439, section 2.8.2.
    #[test]
    fn chacha20_poly1305() {
        let key: Vec<u8> = (0x80..=0x9f).collect();
        let nonce = hex("070000004041424344454647");
        let additional = hex("50515253c0c1c2c3c4c5c6c7");
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you \
                      only one tip for the future, sunscreen would be it.";
        let wanted = "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
                      3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
                      92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
                      3ff4def08e4b7a9de576d26586cec64b6116";
        let algorithm = Algorithm::ChaCha20Poly1305;
        let mut seal = Seal::new(algorithm, &key, NonceLen::Twelve).unwrap();
        let mut open = Open::new(algorithm, &key, NonceLen::Twelve).unwrap();
        // The second time with the context that is there: it must not keep the nonce before.
        for _ in 0..2 {
            let mut text = plain.to_vec();
            let tag = seal.seal(&nonce, &additional, &mut text).unwrap();
            assert_eq!(text, hex(wanted));
            assert_eq!(tag.as_slice(), hex("1ae10b594f09e26a7e902ecbd0600691"));
            open.open(&nonce, &additional, &mut text, &tag).unwrap();
            assert_eq!(text, plain);
            let mut other = plain.to_vec();
            let other_tag = seal.seal(&[1; 12], &[], &mut other).unwrap();
            open.open(&[1; 12], &[], &mut other, &other_tag).unwrap();
            assert_eq!(other, plain);
            let opened = open.open(&nonce, &[], &mut text, &tag);
            assert_eq!(opened, Err(Error::Tag));
        }
        let short = Seal::new(algorithm, &key, NonceLen::Eight);
        assert_eq!(short.err(), Some(Error::NonceLength));
    }

    /// More keys than contexts, in an order in which each is pushed out again and again, and in one in which the last
    /// ones stay.
    #[test]
    fn keys_take_turns() {
        let pair = |number: u8| {
            let algorithm = match number % 3 {
                0 => Algorithm::Aes128Gcm,
                1 => Algorithm::Aes256Gcm,
                _ => Algorithm::ChaCha20Poly1305,
            };
            let key = vec![number; algorithm.key_len()];
            let seal = Seal::new(algorithm, &key, NonceLen::Twelve).unwrap();
            (seal, Open::new(algorithm, &key, NonceLen::Twelve).unwrap())
        };
        let mut pairs: Vec<_> = (0..3 * KEPT as u8).map(pair).collect();
        // What another thread makes of it, where none of these contexts are.
        let alone = |number: u8, nonce: [u8; 12]| {
            let sealed = std::thread::spawn(move || {
                let mut text = *b"text";
                let tag = pair(number).0.seal(&nonce, b"more", &mut text).unwrap();
                (text, tag)
            });
            sealed.join().unwrap()
        };
        let orders = [1, 7, 31].map(|step| (0..3 * KEPT).map(move |at| at * step % (3 * KEPT)));
        for (round, at) in orders.into_iter().flatten().enumerate() {
            let (number, nonce) = (at as u8, [round as u8; 12]);
            let (seal, open) = &mut pairs[at];
            for _ in 0..2 {
                let mut text = *b"text";
                let tag = seal.seal(&nonce, b"more", &mut text).unwrap();
                assert_eq!((text, tag), alone(number, nonce));
                open.open(&nonce, b"more", &mut text, &tag).unwrap();
                assert_eq!(&text, b"text");
                assert_eq!(open.open(&nonce, b"", &mut text, &tag), Err(Error::Tag));
            }
            assert!(count().0 <= KEPT);
        }
        assert_eq!(count(), (KEPT, KEPT));
    }

    #[test]
    fn what_is_dropped_leaves_no_key_behind() {
        let new = || {
            let seal = Seal::new(Algorithm::Aes128Gcm, &[5; 16], NonceLen::Eight).unwrap();
            (
                seal,
                Open::new(Algorithm::ChaCha20Poly1305, &[5; 32], NonceLen::Twelve).unwrap(),
            )
        };
        let (mut seal, mut open) = new();
        seal.seal(&[1; 8], &[], &mut [1, 2, 3]).unwrap();
        assert_eq!(
            open.open(&[1; 12], &[], &mut [1], &[0; 16]),
            Err(Error::Tag)
        );
        assert_eq!(count(), (2, 2));
        drop((seal, open));
        // The next key takes the context that is left, which has the nonce's length.
        assert_eq!(count(), (1, 0));
        let mut seal = new().0;
        let first = seal.seal(&[1; 8], &[], &mut [1, 2, 3]).unwrap();
        assert_eq!(count(), (1, 1));
        assert_eq!(seal.seal(&[1; 8], &[], &mut [1, 2, 3]), Ok(first));
        // It goes over to another thread, and works there.
        wipe_contexts();
        assert_eq!(count(), (0, 0));
        let elsewhere = std::thread::spawn(move || seal.seal(&[1; 8], &[], &mut [1, 2, 3]));
        assert_eq!(elsewhere.join().unwrap(), Ok(first));
        assert_eq!(count(), (0, 0));
    }

    #[test]
    fn lengths() {
        let algorithm = Algorithm::Aes256Gcm;
        let made = Seal::new(algorithm, &[0; 16], NonceLen::Eight);
        assert_eq!(made.err(), Some(Error::KeyLength));
        let mut seal = Seal::new(algorithm, &[0; 32], NonceLen::Eight).unwrap();
        let sealed = seal.seal(&[0; 12], &[], &mut []);
        assert_eq!(sealed, Err(Error::NonceLength));
        let mut open = Open::new(algorithm, &[0; 32], NonceLen::Twelve).unwrap();
        let opened = open.open(&[0; 8], &[], &mut [], &[0; 16]);
        assert_eq!(opened, Err(Error::NonceLength));
    }
}
