//! Init1 and Init2 (RFC 8548 section 4.1). Magic numbers and the length in front are those of the other dialect;
//! what follows is not.

use kx_crypto::aead::Algorithm;
use kx_crypto::ecdh::Curve;

use crate::legacy::init::key_field_len;

pub use crate::legacy::init::{HEADER_LEN, InitError, Message, NONCE_LEN};

/// Octets of the longest message that is taken. The RFC has no bound, but what stands behind the key is ignored,
/// and all that can stand before it is shorter than 700 octets.
pub const MAX_LEN: usize = 4096;

/// Octets of the longest message that we send: Init1 with 255 ciphers and a point of P-521.
pub const MAX_SENT_LEN: usize = HEADER_LEN + 1 + 2 * 255 + NONCE_LEN + 2 + 67;

/// How many octets the message has that `stream` begins with, or `None` as long as that cannot be said. Octets that
/// show that it is no such message are refused as soon as they are there.
///
/// # Errors
/// [`InitError::Magic`]; [`InitError::Length`] when it would be longer than [`MAX_LEN`].
pub fn len(message: Message, stream: &[u8]) -> Result<Option<usize>, InitError> {
    message.len_within(stream, MAX_LEN)
}

/// The number that stands for an algorithm (RFC 8548 section 7, table 5).
#[must_use]
pub fn aead_id(algorithm: Algorithm) -> u16 {
    match algorithm {
        Algorithm::Aes128Gcm => 0x0001,
        Algorithm::Aes256Gcm => 0x0002,
        Algorithm::ChaCha20Poly1305 => 0x0010,
    }
}

/// The algorithm that a number stands for.
#[must_use]
pub fn algorithm(aead_id: u16) -> Option<Algorithm> {
    match aead_id {
        0x0001 => Some(Algorithm::Aes128Gcm),
        0x0002 => Some(Algorithm::Aes256Gcm),
        0x0010 => Some(Algorithm::ChaCha20Poly1305),
        _ => None,
    }
}

/// The octets of a list of ciphers, as [`Init1::ciphers`] has them.
#[must_use]
pub fn cipher_list(algorithms: &[Algorithm]) -> Vec<u8> {
    let each = algorithms.iter();
    each.flat_map(|algorithm| aead_id(*algorithm).to_be_bytes())
        .collect()
}

/// Host A's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init1<'a> {
    /// The numbers of the ciphers it has, two octets each, the preferred one first; unknown ones among them. At most
    /// 255.
    pub ciphers: &'a [u8],
    /// Host A's nonce.
    pub nonce: &'a [u8; NONCE_LEN],
    /// Host A's public key: a compressed point, or the octets of RFC 7748.
    pub public: &'a [u8],
}

impl<'a> Init1<'a> {
    /// Reads a whole message with a key on `curve`. What stands behind the key is passed over.
    ///
    /// # Errors
    /// All of [`InitError`] but the two about ciphers.
    pub fn parse(message: &'a [u8], curve: Curve) -> Result<Self, InitError> {
        let content = Message::Init1.content_within(message, MAX_LEN)?;
        let (count, content) = content.split_first().ok_or(InitError::Length)?;
        let (ciphers, content) = content
            .split_at_checked(2 * usize::from(*count))
            .ok_or(InitError::Length)?;
        let (nonce, public) = nonce_and_key(content, curve)?;
        Ok(Self {
            ciphers,
            nonce,
            public,
        })
    }

    /// Appends the message, with a key on `curve`. Of more than 255 ciphers the first 255 are named.
    pub fn build(&self, curve: Curve, out: &mut Vec<u8>) {
        let whole = self.ciphers.len() & !1;
        let ciphers = self.ciphers.get(..whole.min(510)).unwrap_or_default();
        let count = u8::try_from(ciphers.len() / 2).unwrap_or(u8::MAX);
        let field = key_field(curve, self.public);
        Message::Init1.build(&[&[count], ciphers, self.nonce, &field, self.public], out);
    }

    /// Host B's choice: the first of `ours`, in the order of its preference, that A offers (RFC 8548 section 3.3).
    ///
    /// # Errors
    /// [`InitError::NoCipher`].
    pub fn choose(&self, ours: &[Algorithm]) -> Result<Algorithm, InitError> {
        let offers = |algorithm: &Algorithm| {
            let id = aead_id(*algorithm).to_be_bytes();
            self.ciphers.chunks_exact(2).any(|offered| offered == id)
        };
        let mut ours = ours.iter().copied();
        ours.find(offers).ok_or(InitError::NoCipher)
    }
}

/// Host B's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init2<'a> {
    /// The number of the cipher that was chosen.
    pub cipher: u16,
    /// Host B's nonce.
    pub nonce: &'a [u8; NONCE_LEN],
    /// Host B's public key: a compressed point, or the octets of RFC 7748.
    pub public: &'a [u8],
}

impl<'a> Init2<'a> {
    /// Reads a whole message with a key on `curve`. What stands behind the key is passed over.
    ///
    /// # Errors
    /// All of [`InitError`] but the two about ciphers.
    pub fn parse(message: &'a [u8], curve: Curve) -> Result<Self, InitError> {
        let content = Message::Init2.content_within(message, MAX_LEN)?;
        let (cipher, content) = content.split_first_chunk::<2>().ok_or(InitError::Length)?;
        let (nonce, public) = nonce_and_key(content, curve)?;
        Ok(Self {
            cipher: u16::from_be_bytes(*cipher),
            nonce,
            public,
        })
    }

    /// Appends the message, with a key on `curve`.
    pub fn build(&self, curve: Curve, out: &mut Vec<u8>) {
        let field = key_field(curve, self.public);
        let cipher = self.cipher.to_be_bytes();
        Message::Init2.build(&[&cipher, self.nonce, &field, self.public], out);
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

/// What stands in front of a public key: the length of a point, nothing where it is always the same (RFC 8548
/// section 5).
fn key_field(curve: Curve, public: &[u8]) -> Vec<u8> {
    match curve {
        Curve::P256 | Curve::P521 => key_field_len(public).to_vec(),
        Curve::X25519 | Curve::X448 => Vec::new(),
    }
}

fn nonce_and_key(content: &[u8], curve: Curve) -> Result<(&[u8; NONCE_LEN], &[u8]), InitError> {
    let (nonce, mut field) = content
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(InitError::Length)?;
    let is_point = matches!(curve, Curve::P256 | Curve::P521);
    if is_point {
        let (len, behind) = field.split_first_chunk::<2>().ok_or(InitError::Length)?;
        if usize::from(u16::from_be_bytes(*len)) != 2 + curve.compressed_len() {
            return Err(InitError::PublicKey);
        }
        field = behind;
    }
    let public = field
        .get(..curve.compressed_len())
        .ok_or(InitError::Length)?;
    match public.first() {
        // "Implementations MUST encode these in compressed format."
        Some(2 | 3) => Ok((nonce, public)),
        Some(_) if !is_point => Ok((nonce, public)),
        _ => Err(InitError::PublicKey),
    }
}

#[cfg(test)]
mod tests {
    use kx_crypto::aead::Algorithm;
    use kx_crypto::ecdh::Curve;

    use super::{Init1, Init2, InitError, MAX_LEN, MAX_SENT_LEN, Message, cipher_list, len};

    const OURS: [Algorithm; 3] = [
        Algorithm::Aes128Gcm,
        Algorithm::Aes256Gcm,
        Algorithm::ChaCha20Poly1305,
    ];
    const CURVES: [Curve; 4] = [Curve::P256, Curve::P521, Curve::X25519, Curve::X448];

    fn public(curve: Curve) -> Vec<u8> {
        vec![3; curve.compressed_len()]
    }

    fn init1(ciphers: &[u8], curve: Curve) -> Vec<u8> {
        let mut out = Vec::new();
        Init1 {
            ciphers,
            nonce: &[9; 32],
            public: &public(curve),
        }
        .build(curve, &mut out);
        out
    }

    fn init2(cipher: u16, curve: Curve) -> Vec<u8> {
        let mut out = Vec::new();
        Init2 {
            cipher,
            nonce: &[9; 32],
            public: &public(curve),
        }
        .build(curve, &mut out);
        out
    }

    /// Makes the message say its true length.
    fn patched(mut message: Vec<u8>) -> Vec<u8> {
        let len = u32::try_from(message.len()).unwrap();
        message[4..8].copy_from_slice(&len.to_be_bytes());
        message
    }

    #[test]
    fn lengths() {
        let ciphers = cipher_list(&OURS);
        assert_eq!(ciphers, [0, 1, 0, 2, 0, 16]);
        for (curve, len1, len2) in [
            (Curve::P256, 82, 77),
            (Curve::P521, 116, 111),
            (Curve::X25519, 79, 74),
            (Curve::X448, 103, 98),
        ] {
            assert_eq!(init1(&ciphers, curve).len(), len1);
            assert_eq!(init2(1, curve).len(), len2);
        }
        let longest = init1(&[0; 600], Curve::P521);
        assert_eq!(longest.len(), MAX_SENT_LEN);
        assert_eq!(longest[8], 255);
        assert_eq!(init1(&[0, 1, 0], Curve::X448)[8], 1);
    }

    #[test]
    fn ciphers() {
        let choose = |ciphers: &[u8], ours: &[Algorithm]| {
            let message = init1(ciphers, Curve::X25519);
            Init1::parse(&message, Curve::X25519).unwrap().choose(ours)
        };
        assert_eq!(choose(&[0, 1, 0, 2], &OURS), Ok(Algorithm::Aes128Gcm));
        assert_eq!(
            choose(&[1, 0, 0, 16, 0, 1], &OURS),
            Ok(OURS[0]),
            "our order"
        );
        assert_eq!(choose(&[1, 0, 0, 16, 0, 2], &OURS), Ok(OURS[1]));
        assert_eq!(choose(&[0, 1, 0, 2], &OURS[1..]), Ok(OURS[1]));
        assert_eq!(choose(&[0, 16], &OURS[..2]), Err(InitError::NoCipher));
        assert_eq!(choose(&[], &OURS), Err(InitError::NoCipher));
        // Octets across two numbers are no number.
        assert_eq!(choose(&[9, 0, 1, 9], &OURS), Err(InitError::NoCipher));
        let chosen = |cipher| {
            let message = init2(cipher, Curve::X448);
            Init2::parse(&message, Curve::X448)
                .unwrap()
                .chosen(&OURS[1..])
        };
        assert_eq!(chosen(16), Ok(OURS[2]));
        assert_eq!(chosen(2), Ok(OURS[1]));
        assert_eq!(chosen(1), Err(InitError::UnofferedCipher));
        assert_eq!(chosen(0x1000), Err(InitError::UnofferedCipher));
    }

    #[test]
    fn what_is_behind_the_key_is_ignored() {
        for curve in CURVES {
            let message = init1(&[0, 1], curve);
            let parsed = Init1::parse(&message, curve).unwrap();
            let mut longer = message.clone();
            longer.extend([7; 100]);
            assert_eq!(Init1::parse(&longer, curve), Err(InitError::Length));
            let longer = patched(longer);
            assert_eq!(Init1::parse(&longer, curve), Ok(parsed));
            let message = init2(1, curve);
            let parsed = Init2::parse(&message, curve).unwrap();
            let mut longer = message.clone();
            longer.resize(MAX_LEN, 1);
            assert_eq!(Init2::parse(&patched(longer.clone()), curve), Ok(parsed));
            longer.push(0);
            assert_eq!(
                Init2::parse(&patched(longer), curve),
                Err(InitError::Length)
            );
        }
    }

    #[test]
    fn cut_short() {
        for curve in CURVES {
            for message in [init1(&[0, 1, 0, 2], curve), init2(2, curve)] {
                for cut in 8..message.len() {
                    let message = patched(message[..cut].to_vec());
                    let errors = [
                        Init1::parse(&message, curve).err(),
                        Init2::parse(&message, curve).err(),
                    ];
                    assert!(errors.contains(&Some(InitError::Length)), "{cut}");
                    assert!(errors.contains(&Some(InitError::Magic)), "{cut}");
                }
            }
        }
        // Ciphers that are said to be there.
        let mut message = init1(&[0, 1], Curve::X25519);
        message[8] = 40;
        assert_eq!(
            Init1::parse(&message, Curve::X25519),
            Err(InitError::Length)
        );
    }

    #[test]
    fn points() {
        for curve in [Curve::P256, Curve::P521] {
            let good = init1(&[0, 1], curve);
            let parse = |message: &[u8]| Init1::parse(message, curve).err();
            assert_eq!(parse(&good), None);
            let at = 8 + 1 + 2 + 32;
            let mut even = good.clone();
            even[at + 2] = 2;
            assert_eq!(parse(&even), None);
            for form in [0, 1, 4, 6, 7, 0x82] {
                let mut other = good.clone();
                other[at + 2] = form;
                assert_eq!(parse(&other), Some(InitError::PublicKey));
            }
            let mut longer = good.clone();
            longer[at + 1] ^= 1;
            longer.push(0);
            assert_eq!(parse(&patched(longer)), Some(InitError::PublicKey));
            let mut longer = good.clone();
            longer[at] = 1;
            assert_eq!(parse(&longer), Some(InitError::PublicKey));
        }
    }

    #[test]
    fn length_while_it_arrives() {
        let good = init2(1, Curve::X25519);
        for cut in 0..8 {
            assert_eq!(len(Message::Init2, &good[..cut]), Ok(None));
        }
        assert_eq!(len(Message::Init2, &good[..8]), Ok(Some(74)));
        assert_eq!(len(Message::Init1, &good[..1]), Err(InitError::Magic));
        let long = |total: u32| {
            let mut message = good[..4].to_vec();
            message.extend(total.to_be_bytes());
            len(Message::Init2, &message)
        };
        assert_eq!(long(4096), Ok(Some(MAX_LEN)));
        assert_eq!(long(4097), Err(InitError::Length));
        assert_eq!(long(7), Err(InitError::Length));
    }
}
