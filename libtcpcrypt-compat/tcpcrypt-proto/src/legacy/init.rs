//! INIT1 and INIT2, the two messages of the key exchange (tcpcrypt spec 4.2).

use kx_crypto::aead::Algorithm;
use kx_crypto::ecdh::Curve;

/// Octets of the nonce in either message.
pub const NONCE_LEN: usize = 32;

/// Octets of the magic number and of the length that counts the whole message.
pub const HEADER_LEN: usize = 8;

/// Octets of the longest message: INIT1 with 255 ciphers and a point of P-521.
pub const MAX_LEN: usize = HEADER_LEN + 1 + 255 + NONCE_LEN + 2 + 133;

const INIT1_MAGIC: [u8; 4] = [0x15, 0x10, 0x1a, 0x0e];
const INIT2_MAGIC: [u8; 4] = [0x09, 0x71, 0x05, 0xe0];

/// Why a message cannot be taken. Nothing may go on then: both ENO options promised encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// It begins with another number than the message that was due.
    #[error("not the expected INIT message")]
    Magic,
    /// Its length contradicts itself, the key exchange or the octets that are there.
    #[error("INIT message of a wrong length")]
    Length,
    /// There is no cipher that both sides have.
    #[error("no cipher in common")]
    NoCipher,
    /// The server chose a cipher that was not offered.
    #[error("cipher that was not offered")]
    UnofferedCipher,
    /// The public key has not the form of the dialect. Whether it is on the curve shows in the agreement.
    #[error("public key that is no point")]
    PublicKey,
}

/// Which of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The client's.
    Init1,
    /// The server's.
    Init2,
}

impl Message {
    fn magic(self) -> [u8; 4] {
        match self {
            Message::Init1 => INIT1_MAGIC,
            Message::Init2 => INIT2_MAGIC,
        }
    }

    /// How many octets the message has that `stream` begins with, or `None` as long as that cannot be said.
    /// Octets that show that it is no such message are refused as soon as they are there.
    ///
    /// # Errors
    /// [`InitError::Magic`]; [`InitError::Length`] when it would be longer than [`MAX_LEN`].
    pub fn len(self, stream: &[u8]) -> Result<Option<usize>, InitError> {
        self.len_within(stream, MAX_LEN)
    }

    /// The same with another bound, for messages of the other dialect.
    pub(crate) fn len_within(
        self,
        stream: &[u8],
        longest: usize,
    ) -> Result<Option<usize>, InitError> {
        if stream.iter().zip(self.magic()).any(|(is, due)| *is != due) {
            return Err(InitError::Magic);
        }
        let Some((_, rest)) = stream.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let Some((len, _)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        match usize::try_from(u32::from_be_bytes(*len)) {
            Ok(len) if (HEADER_LEN..=longest).contains(&len) => Ok(Some(len)),
            _ => Err(InitError::Length),
        }
    }

    /// What stands behind the header of a message that must be `message` from its first octet to its last.
    fn content(self, message: &[u8]) -> Result<&[u8], InitError> {
        self.content_within(message, MAX_LEN)
    }

    /// The same with another bound.
    pub(crate) fn content_within(self, message: &[u8], longest: usize) -> Result<&[u8], InitError> {
        match self.len_within(message, longest)? {
            Some(len) if len == message.len() => message.get(HEADER_LEN..).ok_or(InitError::Length),
            _ => Err(InitError::Length),
        }
    }

    /// Appends header and content.
    pub(crate) fn build(self, content: &[&[u8]], out: &mut Vec<u8>) {
        let content_len: usize = content.iter().map(|part| part.len()).sum();
        let len = u32::try_from(HEADER_LEN + content_len).unwrap_or(u32::MAX);
        out.extend_from_slice(&self.magic());
        out.extend_from_slice(&len.to_be_bytes());
        for part in content {
            out.extend_from_slice(part);
        }
    }
}

/// The octet that stands for an algorithm: 0, which stands for none, for one that this dialect has not got.
#[must_use]
pub fn cipher_id(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Aes128Gcm => 1,
        Algorithm::Aes256Gcm => 2,
        Algorithm::ChaCha20Poly1305 => 0,
    }
}

/// The algorithm that an octet stands for.
#[must_use]
pub fn algorithm(cipher_id: u8) -> Option<Algorithm> {
    match cipher_id {
        1 => Some(Algorithm::Aes128Gcm),
        2 => Some(Algorithm::Aes256Gcm),
        _ => None,
    }
}

/// The client's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init1<'a> {
    /// The ids of the ciphers it has, the preferred one first; unknown ones among them. At most 255.
    pub ciphers: &'a [u8],
    /// The client's nonce.
    pub nonce: &'a [u8; NONCE_LEN],
    /// The client's public key, an uncompressed point.
    pub public: &'a [u8],
}

impl<'a> Init1<'a> {
    /// Reads a whole message with a key on `curve`.
    ///
    /// # Errors
    /// All of [`InitError`] but the two about ciphers.
    pub fn parse(message: &'a [u8], curve: Curve) -> Result<Self, InitError> {
        let content = Message::Init1.content(message)?;
        let (count, content) = content.split_first().ok_or(InitError::Length)?;
        let (ciphers, content) = content
            .split_at_checked(usize::from(*count))
            .ok_or(InitError::Length)?;
        let (nonce, public) = nonce_and_key(content, curve)?;
        Ok(Self {
            ciphers,
            nonce,
            public,
        })
    }

    /// Appends the message. Of more than 255 ciphers the first 255 are named.
    pub fn build(&self, out: &mut Vec<u8>) {
        let ciphers = self.ciphers.get(..255).unwrap_or(self.ciphers);
        let count = u8::try_from(ciphers.len()).unwrap_or(u8::MAX);
        let field = key_field_len(self.public);
        Message::Init1.build(&[&[count], ciphers, self.nonce, &field, self.public], out);
    }

    /// The server's choice: the first that the client offers and `ours` holds.
    ///
    /// # Errors
    /// [`InitError::NoCipher`].
    pub fn choose(&self, ours: &[Algorithm]) -> Result<Algorithm, InitError> {
        self.ciphers
            .iter()
            .filter_map(|id| algorithm(*id))
            .find(|algorithm| ours.contains(algorithm))
            .ok_or(InitError::NoCipher)
    }
}

/// The server's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init2<'a> {
    /// The id of the cipher that was chosen.
    pub cipher: u8,
    /// The server's nonce.
    pub nonce: &'a [u8; NONCE_LEN],
    /// The server's public key, an uncompressed point.
    pub public: &'a [u8],
}

impl<'a> Init2<'a> {
    /// Reads a whole message with a key on `curve`.
    ///
    /// # Errors
    /// All of [`InitError`] but the two about ciphers.
    pub fn parse(message: &'a [u8], curve: Curve) -> Result<Self, InitError> {
        let content = Message::Init2.content(message)?;
        let (cipher, content) = content.split_first().ok_or(InitError::Length)?;
        let (nonce, public) = nonce_and_key(content, curve)?;
        Ok(Self {
            cipher: *cipher,
            nonce,
            public,
        })
    }

    /// Appends the message.
    pub fn build(&self, out: &mut Vec<u8>) {
        let field = key_field_len(self.public);
        Message::Init2.build(&[&[self.cipher], self.nonce, &field, self.public], out);
    }

    /// The algorithm, if it is one of those that were `offered`.
    ///
    /// # Errors
    /// [`InitError::UnofferedCipher`].
    pub fn chosen(&self, offered: &[Algorithm]) -> Result<Algorithm, InitError> {
        algorithm(self.cipher)
            .filter(|algorithm| offered.contains(algorithm))
            .ok_or(InitError::UnofferedCipher)
    }
}

/// The length in front of a public key, which counts itself.
pub(crate) fn key_field_len(public: &[u8]) -> [u8; 2] {
    u16::try_from(2 + public.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes()
}

fn nonce_and_key(content: &[u8], curve: Curve) -> Result<(&[u8; NONCE_LEN], &[u8]), InitError> {
    let (nonce, field) = content
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(InitError::Length)?;
    let (len, public) = field.split_first_chunk::<2>().ok_or(InitError::Length)?;
    let due = 2 + curve.public_len();
    if usize::from(u16::from_be_bytes(*len)) != due || field.len() != due {
        return Err(InitError::Length);
    }
    match public.first() {
        Some(4) => Ok((nonce, public)),
        _ => Err(InitError::PublicKey),
    }
}

#[cfg(test)]
mod tests {
    use kx_crypto::aead::Algorithm;
    use kx_crypto::ecdh::Curve;

    use super::{Init1, Init2, InitError, MAX_LEN, Message};

    const OURS: [Algorithm; 2] = [Algorithm::Aes128Gcm, Algorithm::Aes256Gcm];

    fn point(curve: Curve) -> Vec<u8> {
        let mut point = vec![7; curve.public_len()];
        point[0] = 4;
        point
    }

    fn init1(ciphers: &[u8], curve: Curve) -> Vec<u8> {
        let (nonce, public) = (&[9; 32], &point(curve));
        let mut out = Vec::new();
        Init1 {
            ciphers,
            nonce,
            public,
        }
        .build(&mut out);
        out
    }

    #[test]
    fn lengths_of_the_spec() {
        assert_eq!(init1(&[1, 2], Curve::P256).len(), 110);
        assert_eq!(init1(&[1, 2], Curve::P521).len(), 178);
        assert_eq!(init1(&[1; 300], Curve::P521).len(), MAX_LEN);
        for (curve, len) in [(Curve::P256, 108), (Curve::P521, 176)] {
            let (nonce, public) = (&[9; 32], &point(curve));
            let message = Init2 {
                cipher: 2,
                nonce,
                public,
            };
            let mut out = Vec::new();
            message.build(&mut out);
            assert_eq!(out.len(), len);
            assert_eq!(Init2::parse(&out, curve), Ok(message));
        }
    }

    #[test]
    fn ciphers() {
        let choose = |ciphers: &[u8], ours: &[Algorithm]| {
            let message = init1(ciphers, Curve::P256);
            Init1::parse(&message, Curve::P256).unwrap().choose(ours)
        };
        assert_eq!(choose(&[1, 2], &OURS), Ok(Algorithm::Aes128Gcm));
        assert_eq!(choose(&[9, 2, 1], &OURS), Ok(Algorithm::Aes256Gcm));
        assert_eq!(choose(&[1, 2], &OURS[1..]), Ok(Algorithm::Aes256Gcm));
        assert_eq!(choose(&[1], &OURS[1..]), Err(InitError::NoCipher));
        assert_eq!(choose(&[], &OURS), Err(InitError::NoCipher));
        let chosen = |cipher| {
            let (nonce, public) = (&[9; 32], &point(Curve::P256)[..]);
            Init2 {
                cipher,
                nonce,
                public,
            }
            .chosen(&OURS[..1])
        };
        assert_eq!(chosen(1), Ok(Algorithm::Aes128Gcm));
        assert_eq!(chosen(2), Err(InitError::UnofferedCipher));
        assert_eq!(chosen(0), Err(InitError::UnofferedCipher));
    }

    #[test]
    fn lengths_must_be_exact() {
        let good = init1(&[1, 2], Curve::P256);
        let parse = |message: &[u8]| Init1::parse(message, Curve::P256).err();
        assert_eq!(parse(&good), None);
        for len in 0..good.len() {
            assert_eq!(parse(&good[..len]), Some(InitError::Length), "{len}");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(parse(&longer), Some(InitError::Length));
        longer[7] += 1;
        assert_eq!(parse(&longer), Some(InitError::Length));
        for at in [7, 8, 43, 44] {
            let mut other = good.clone();
            other[at] ^= 1;
            assert_eq!(parse(&other), Some(InitError::Length), "{at}");
        }
        assert_eq!(Init1::parse(&good, Curve::P521), Err(InitError::Length));
        let mut compressed = good.clone();
        compressed[45] = 2;
        assert_eq!(parse(&compressed), Some(InitError::PublicKey));
        assert_eq!(Init2::parse(&good, Curve::P256), Err(InitError::Magic));
    }

    #[test]
    fn length_while_it_arrives() {
        let good = init1(&[1, 2], Curve::P256);
        for len in 0..8 {
            assert_eq!(Message::Init1.len(&good[..len]), Ok(None));
        }
        assert_eq!(Message::Init1.len(&good[..8]), Ok(Some(110)));
        assert_eq!(Message::Init2.len(&good[..1]), Err(InitError::Magic));
        assert_eq!(Message::Init1.len(b"G"), Err(InitError::Magic));
        let len = |octets: [u8; 4]| {
            let mut message = good[..4].to_vec();
            message.extend_from_slice(&octets);
            Message::Init1.len(&message)
        };
        assert_eq!(len([0, 0, 0, 7]), Err(InitError::Length));
        assert_eq!(len([255; 4]), Err(InitError::Length));
        assert_eq!(len([0, 0, 1, 175]), Ok(Some(MAX_LEN)));
        assert_eq!(len([0, 0, 1, 176]), Err(InitError::Length));
    }
}
