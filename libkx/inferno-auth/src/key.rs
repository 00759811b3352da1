//! Keys and their text (keysrv spec 1.3): algorithm, owner, then the numbers in form Z, a line each.

use kx_crypto::bignum::{self, BigNum};
use kx_crypto::secret::SecretBytes;
use kx_crypto::{dsa, elgamal, rsa};

use crate::number::{self, Form};

/// Most octets of a text of a key or certificate.
pub const TEXT_LIMIT: usize = 4095;

/// A signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSA without padding.
    Rsa,
    /// ElGamal.
    Elgamal,
    /// DSA. The original cannot read such keys back, so that it can verify nothing made with one that was sent.
    Dsa,
}

impl Algorithm {
    /// The name in texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rsa => "rsa",
            Algorithm::Elgamal => "elgamal",
            Algorithm::Dsa => "dsa",
        }
    }

    /// The algorithm of this name.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        [Algorithm::Rsa, Algorithm::Elgamal, Algorithm::Dsa]
            .into_iter()
            .find(|algorithm| algorithm.name().as_bytes() == name)
    }
}

/// The text is no public key, or the owner's name cannot stand in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad public key")]
pub struct BadPublicKey;

/// The text is no private key, or its numbers do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad secret key")]
pub struct BadPrivateKey;

/// The lines of a text.
pub(crate) struct Lines<'t>(&'t [u8]);

impl<'t> Lines<'t> {
    /// None when the text is too long, or has a zero octet, where the original's would end.
    pub(crate) fn new(text: &'t [u8]) -> Option<Self> {
        (text.len() <= TEXT_LIMIT && !text.contains(&0)).then_some(Self(text))
    }

    /// The next line without its newline, which the last may lack. None when it is empty.
    pub(crate) fn next(&mut self) -> Option<&'t [u8]> {
        let end = self.0.iter().position(|octet| *octet == b'\n');
        let (line, rest) = self.0.split_at_checked(end.unwrap_or(self.0.len()))?;
        self.0 = rest.get(1..).unwrap_or_default();
        (!line.is_empty()).then_some(line)
    }

    /// The next line as a name.
    pub(crate) fn name(&mut self) -> Option<&'t str> {
        std::str::from_utf8(self.next()?).ok()
    }

    pub(crate) fn number(&mut self) -> Option<BigNum> {
        number::read_field(self.next()?).ok()
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A line of a text that is put together.
pub(crate) fn push_line(text: &mut Vec<u8>, line: &str) {
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
}

/// Whether a name can stand on a line of its own and be read back.
#[must_use]
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['\n', '\0'])
}

/// Whether a name can be that of an account or of a file in its directory (keysrv spec 9.3). The original takes any,
/// so that `../x` leads elsewhere.
#[must_use]
pub fn is_account_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c.is_control())
}

/// The numbers of a public key.
#[derive(Debug)]
pub enum PublicNumbers {
    /// n, ek.
    Rsa(rsa::PublicKey),
    /// p, alpha, key.
    Elgamal(elgamal::PublicKey),
    /// p, q, alpha, key.
    Dsa(dsa::PublicKey),
}

impl PublicNumbers {
    /// With their names, in the order of the text.
    pub(crate) fn named(&self) -> Vec<(&'static str, &BigNum)> {
        match self {
            Self::Rsa(key) => vec![("n", &key.n), ("ek", &key.e)],
            Self::Elgamal(key) => vec![("p", &key.p), ("alpha", &key.alpha), ("key", &key.key)],
            Self::Dsa(key) => vec![
                ("p", &key.p),
                ("q", &key.q),
                ("alpha", &key.alpha),
                ("key", &key.key),
            ],
        }
    }

    fn read(algorithm: Algorithm, lines: &mut Lines<'_>) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Rsa => Self::Rsa(rsa::PublicKey {
                n: lines.number()?,
                e: lines.number()?,
            }),
            Algorithm::Elgamal => Self::Elgamal(elgamal::PublicKey {
                p: lines.number()?,
                alpha: lines.number()?,
                key: lines.number()?,
            }),
            Algorithm::Dsa => Self::Dsa(dsa::PublicKey {
                p: lines.number()?,
                q: lines.number()?,
                alpha: lines.number()?,
                key: lines.number()?,
            }),
        })
    }

    fn try_clone(&self) -> Result<Self, bignum::Error> {
        Ok(match self {
            Self::Rsa(key) => Self::Rsa(key.try_clone()?),
            Self::Elgamal(key) => Self::Elgamal(key.try_clone()?),
            Self::Dsa(key) => Self::Dsa(key.try_clone()?),
        })
    }
}

/// A signature over a number.
#[derive(Debug, PartialEq, Eq)]
pub enum Signature {
    /// val.
    Rsa(BigNum),
    /// r, s.
    Elgamal(elgamal::Signature),
    /// r, s.
    Dsa(dsa::Signature),
}

impl Signature {
    /// The algorithm it was made with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Signature::Rsa(_) => Algorithm::Rsa,
            Signature::Elgamal(_) => Algorithm::Elgamal,
            Signature::Dsa(_) => Algorithm::Dsa,
        }
    }

    pub(crate) fn named(&self) -> Vec<(&'static str, &BigNum)> {
        match self {
            Signature::Rsa(val) => vec![("val", val)],
            Signature::Elgamal(elgamal::Signature { r, s })
            | Signature::Dsa(dsa::Signature { r, s }) => vec![("r", r), ("s", s)],
        }
    }

    pub(crate) fn read(algorithm: Algorithm, lines: &mut Lines<'_>) -> Option<Self> {
        let first = lines.number()?;
        Some(match algorithm {
            Algorithm::Rsa => Self::Rsa(first),
            Algorithm::Elgamal => Self::Elgamal(elgamal::Signature {
                r: first,
                s: lines.number()?,
            }),
            Algorithm::Dsa => Self::Dsa(dsa::Signature {
                r: first,
                s: lines.number()?,
            }),
        })
    }
}

/// A public key with its owner, and the text it came in: certificates are about the text.
#[derive(Debug)]
pub struct PublicKey {
    owner: String,
    numbers: PublicNumbers,
    text: Vec<u8>,
}

impl PublicKey {
    /// The key of these numbers.
    ///
    /// # Errors
    /// [`BadPublicKey`] when the owner is empty or has a newline, or the text becomes too long.
    pub fn new(owner: &str, numbers: PublicNumbers) -> Result<Self, BadPublicKey> {
        let mut key = Self {
            owner: owner.to_owned(),
            numbers,
            text: Vec::new(),
        };
        key.text = key.canonical_text();
        if !is_name(owner) || key.text.len() > TEXT_LIMIT {
            return Err(BadPublicKey);
        }
        Ok(key)
    }

    /// Reads a key. What follows its last number is ignored, as the original does, but belongs to
    /// [`text`](Self::text).
    ///
    /// # Errors
    /// [`BadPublicKey`].
    pub fn parse(text: &[u8]) -> Result<Self, BadPublicKey> {
        Self::read(text).map(|(key, _)| key).ok_or(BadPublicKey)
    }

    /// Reads a key that nothing follows, not even an empty line. In the login protocol this stops what could be
    /// appended to a digest that is no HMAC (spec 18).
    ///
    /// # Errors
    /// [`BadPublicKey`].
    pub fn parse_exact(text: &[u8]) -> Result<Self, BadPublicKey> {
        match Self::read(text) {
            Some((key, true)) => Ok(key),
            _ => Err(BadPublicKey),
        }
    }

    /// The key, and whether the text ends with it.
    fn read(text: &[u8]) -> Option<(Self, bool)> {
        let mut lines = Lines::new(text)?;
        let algorithm = Algorithm::named(lines.next()?)?;
        let owner = lines.name()?.to_owned();
        let numbers = PublicNumbers::read(algorithm, &mut lines)?;
        let key = Self {
            owner,
            numbers,
            text: text.to_vec(),
        };
        Some((key, lines.is_empty()))
    }

    /// Whose key it is, as the key itself says. The name may be anything without newline: check it before it
    /// becomes part of a path.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The signature algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match &self.numbers {
            PublicNumbers::Rsa(_) => Algorithm::Rsa,
            PublicNumbers::Elgamal(_) => Algorithm::Elgamal,
            PublicNumbers::Dsa(_) => Algorithm::Dsa,
        }
    }

    /// The numbers.
    #[must_use]
    pub fn numbers(&self) -> &PublicNumbers {
        &self.numbers
    }

    /// The text as it was read, or the canonical one of a key that was not read. A certificate of the key is one
    /// of these octets.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The text as we write it: what the original makes of the key when it reads and writes it.
    #[must_use]
    pub fn canonical_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        push_line(&mut text, self.algorithm().name());
        push_line(&mut text, &self.owner);
        for (_, number) in self.numbers.named() {
            push_line(&mut text, &number::text_z(number));
        }
        text
    }

    /// Bits of the modulus.
    #[must_use]
    pub fn bits(&self) -> u32 {
        match &self.numbers {
            PublicNumbers::Rsa(key) => key.n.bits(),
            PublicNumbers::Elgamal(key) => key.p.bits(),
            PublicNumbers::Dsa(key) => key.p.bits(),
        }
    }

    /// Whether the signature is one of `message` by the owner of this key. A signature of another algorithm is
    /// not, and one by an impossible key (an even modulus) is not.
    #[must_use]
    pub fn verify(&self, message: &BigNum, signature: &Signature) -> bool {
        let verdict = match (&self.numbers, signature) {
            (PublicNumbers::Rsa(key), Signature::Rsa(val)) => {
                if *val >= key.n {
                    return false;
                }
                key.apply(val).map(|undone| undone == *message)
            }
            (PublicNumbers::Elgamal(key), Signature::Elgamal(signature)) => {
                key.verify(message, signature)
            }
            (PublicNumbers::Dsa(key), Signature::Dsa(signature)) => key.verify(message, signature),
            _ => Ok(false),
        };
        verdict.unwrap_or(false)
    }

    /// A second copy, with the same text.
    ///
    /// # Errors
    /// [`BadPublicKey`] when there is no memory.
    pub fn try_clone(&self) -> Result<Self, BadPublicKey> {
        Ok(Self {
            owner: self.owner.clone(),
            numbers: self.numbers.try_clone().map_err(|_| BadPublicKey)?,
            text: self.text.clone(),
        })
    }
}

/// The numbers of a private key.
pub enum PrivateNumbers {
    /// n, ek, dk, p, q, kp, kq, c2.
    Rsa(Box<rsa::PrivateKey>),
    /// p, alpha, key, secret.
    Elgamal(elgamal::PrivateKey),
    /// p, q, alpha, key, secret.
    Dsa(dsa::PrivateKey),
}

/// A private key with its owner.
pub struct PrivateKey {
    numbers: PrivateNumbers,
    public: PublicKey,
}

impl PrivateKey {
    /// The key of these numbers.
    ///
    /// # Errors
    /// [`BadPrivateKey`] when the owner is empty or has a newline.
    pub fn new(owner: &str, numbers: PrivateNumbers) -> Result<Self, BadPrivateKey> {
        let public = match &numbers {
            PrivateNumbers::Rsa(key) => key.public().try_clone().map(PublicNumbers::Rsa),
            PrivateNumbers::Elgamal(key) => key.public().try_clone().map(PublicNumbers::Elgamal),
            PrivateNumbers::Dsa(key) => key.public().try_clone().map(PublicNumbers::Dsa),
        };
        let public = public.map_err(|_| BadPrivateKey)?;
        let public = PublicKey::new(owner, public).map_err(|_| BadPrivateKey)?;
        Ok(Self { numbers, public })
    }

    /// Reads a key. What follows its last number is ignored. Whether the numbers belong together shows when it
    /// signs.
    ///
    /// # Errors
    /// [`BadPrivateKey`].
    pub fn parse(text: &[u8]) -> Result<Self, BadPrivateKey> {
        Self::read(text).ok_or(BadPrivateKey)
    }

    fn read(text: &[u8]) -> Option<Self> {
        let mut lines = Lines::new(text)?;
        let algorithm = Algorithm::named(lines.next()?)?;
        let owner = lines.name()?;
        let public = PublicNumbers::read(algorithm, &mut lines)?;
        let mut secret = || Some(lines.number()?.into_secret());
        let numbers = match public {
            PublicNumbers::Rsa(public) => {
                let factors = rsa::Factors {
                    d: secret()?,
                    p: secret()?,
                    q: secret()?,
                    d_p: secret()?,
                    d_q: secret()?,
                    p_inverse: secret()?,
                };
                PrivateNumbers::Rsa(Box::new(rsa::PrivateKey::new(public, factors).ok()?))
            }
            PublicNumbers::Elgamal(public) => {
                PrivateNumbers::Elgamal(elgamal::PrivateKey::new(public, secret()?))
            }
            PublicNumbers::Dsa(public) => {
                PrivateNumbers::Dsa(dsa::PrivateKey::new(public, secret()?))
            }
        };
        Self::new(owner, numbers).ok()
    }

    /// The numbers.
    #[must_use]
    pub fn numbers(&self) -> &PrivateNumbers {
        &self.numbers
    }

    /// The public key, whose text is the canonical one.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Whose key it is.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.public.owner()
    }

    /// The secret numbers with their names, in the order of the text.
    pub(crate) fn secrets(&self) -> Vec<(&'static str, &BigNum)> {
        match &self.numbers {
            PrivateNumbers::Rsa(key) => {
                let factors = key.factors();
                vec![
                    ("!dk", &factors.d),
                    ("!p", &factors.p),
                    ("!q", &factors.q),
                    ("!kp", &factors.d_p),
                    ("!kq", &factors.d_q),
                    ("!c2", &factors.p_inverse),
                ]
            }
            PrivateNumbers::Elgamal(key) => vec![("!secret", key.secret())],
            PrivateNumbers::Dsa(key) => vec![("!secret", key.secret())],
        }
    }

    /// The text: that of the public key, and the secret numbers.
    #[must_use]
    pub fn text(&self) -> SecretBytes {
        let mut text = SecretBytes::with_capacity(TEXT_LIMIT);
        text.extend_from_slice(self.public.text());
        for (_, number) in self.secrets() {
            text.extend_from_slice(number::secret_text(number, Form::Z).as_slice());
            text.push(b'\n');
        }
        text
    }

    /// Signs a number. The signature is verified before it leaves. With RSA the number is taken modulo n first:
    /// what a key signs whose modulus is shorter than the number verifies for nobody.
    ///
    /// # Errors
    /// [`BadPrivateKey`] when the numbers of the key do not belong together.
    pub fn sign(&self, message: &BigNum) -> Result<Signature, BadPrivateKey> {
        match &self.numbers {
            // A modulus shorter than a digest: as the original does it, and as with it nobody can verify it.
            PrivateNumbers::Rsa(key) => message
                .modulo(&key.public().n)
                .and_then(|message| key.apply(&message))
                .map(Signature::Rsa),
            PrivateNumbers::Elgamal(key) => key.sign(message).map(Signature::Elgamal),
            PrivateNumbers::Dsa(key) => key.sign(message).map(Signature::Dsa),
        }
        .map_err(|_| BadPrivateKey)
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, is_account_name};

    #[test]
    fn account_names() {
        let longest = "x".repeat(255);
        for name in ["alice", "a b", "...", ".profile", "Жук", longest.as_str()] {
            assert!(is_account_name(name), "{name}");
        }
        let too_long = "x".repeat(256);
        for name in [
            "", ".", "..", "../x", "a/b", "/", "a\0b", "a\nb", "a\u{7f}", "a\u{85}", &too_long,
        ] {
            assert!(!is_account_name(name), "{name:?}");
        }
    }

    #[test]
    fn algorithms_have_names() {
        for algorithm in [Algorithm::Rsa, Algorithm::Elgamal, Algorithm::Dsa] {
            assert_eq!(
                Algorithm::named(algorithm.name().as_bytes()),
                Some(algorithm)
            );
        }
        assert_eq!(Algorithm::named(b"Rsa"), None);
    }
}
