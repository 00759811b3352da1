//! Signatures of assertions (RFC 2704 section 4.6.7, RFC 2792 section 4, isakmpd-policy 3).

use kx_crypto::digest::Algorithm as Digest;
use kx_secret::SecretBytes;
use openssl::bn::BigNum;
use openssl::dsa::Dsa;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::{Padding, Rsa};
use zeroize::Zeroizing;

use crate::assertion::{Assertion, Field, Name};
use crate::der;
use crate::environment::quoted_string;
use crate::principal::{
    DsaKey, Encoding, KeyKind, Principal, RsaKey, key_prefix, strip_prefix_ignoring_case,
};

/// Octets of a private key's text.
const MOST_PRIVATE_KEY: usize = 64 * 1024;

/// Why a signature is not good or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no Signature field, or nothing in it that can be read.
    #[error("no signature")]
    Missing,
    /// It begins with no known algorithm.
    #[error("unknown signature algorithm")]
    UnknownAlgorithm,
    /// The authorizer is no key that such a signature could be made with.
    #[error("signature algorithm does not fit the key")]
    WrongKey,
    /// Digits or base64 are wrong.
    #[error("signature cannot be decoded")]
    Encoding,
    /// It is none of this text by this key.
    #[error("signature is wrong")]
    Wrong,
    /// MD5 is verified but not made.
    #[error("MD5 signatures are not made any more")]
    Md5,
    /// The private key cannot be read.
    #[error("private key cannot be decoded")]
    PrivateKey,
    /// The library failed.
    #[error("cryptographic library failed")]
    Library,
}

/// What is signed how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    RsaSha1,
    RsaMd5,
    DsaSha1,
    X509Sha1,
}

/// Names of signature algorithms, lower case.
const ALGORITHMS: [(&[u8], Scheme, Encoding); 8] = [
    (b"sig-rsa-sha1-hex:", Scheme::RsaSha1, Encoding::Hex),
    (b"sig-rsa-sha1-base64:", Scheme::RsaSha1, Encoding::Base64),
    (b"sig-rsa-md5-hex:", Scheme::RsaMd5, Encoding::Hex),
    (b"sig-rsa-md5-base64:", Scheme::RsaMd5, Encoding::Base64),
    (b"sig-dsa-sha1-hex:", Scheme::DsaSha1, Encoding::Hex),
    (b"sig-dsa-sha1-base64:", Scheme::DsaSha1, Encoding::Base64),
    (b"sig-x509-sha1-hex:", Scheme::X509Sha1, Encoding::Hex),
    (b"sig-x509-sha1-base64:", Scheme::X509Sha1, Encoding::Base64),
];

/// Finds the algorithm; the rest of the text is the signature.
fn algorithm(text: &[u8]) -> Result<(Scheme, Encoding, &[u8]), SignatureError> {
    ALGORITHMS
        .iter()
        .find_map(|(name, scheme, encoding)| {
            strip_prefix_ignoring_case(text, name).map(|rest| (*scheme, *encoding, rest))
        })
        .ok_or(SignatureError::UnknownAlgorithm)
}

impl Scheme {
    /// Digest of what is signed: the text before the Signature field and the algorithm's name as written.
    fn digest(self, text: &[u8], name: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let digest = match self {
            Scheme::RsaMd5 => Digest::Md5,
            Scheme::RsaSha1 | Scheme::DsaSha1 | Scheme::X509Sha1 => Digest::Sha1,
        };
        digest
            .digest(&[text, name])
            .map_err(|_| SignatureError::Library)
    }

    /// What an RSA signature pads: for `sig-rsa-` the digest as an OCTET STRING, for `sig-x509-` a DigestInfo
    /// under the old name of SHA-1 with RSA (1.3.14.3.2.15).
    fn rsa_content(self, digest: &[u8]) -> Vec<u8> {
        let mut content: Vec<u8> = match self {
            Scheme::X509Sha1 => vec![
                0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x0f, 0x05, 0x00,
            ],
            _ => Vec::new(),
        };
        content.push(0x04);
        content.extend(u8::try_from(digest.len()));
        content.extend_from_slice(digest);
        content
    }
}

/// Checks the signature of an assertion with the key that its Authorizer is.
///
/// # Errors
/// [`SignatureError`]
pub fn verify(assertion: &Assertion) -> Result<(), SignatureError> {
    let signature = match &assertion.signature {
        Field::Present(signature) => signature,
        _ => return Err(SignatureError::Missing),
    };
    verify_text(assertion, signature)
}

fn verify_text(assertion: &Assertion, signature: &[u8]) -> Result<(), SignatureError> {
    let (scheme, encoding, rest) = algorithm(signature)?;
    let name = signature
        .get(..signature.len().saturating_sub(rest.len()))
        .unwrap_or_default();
    let text = signed_text(assertion)?;
    let octets = encoding
        .decode(rest)
        .map_err(|_| SignatureError::Encoding)?;
    let digest = scheme.digest(text, name)?;
    let Name::Fixed(signer) = &assertion.authorizer else {
        return Err(SignatureError::WrongKey);
    };
    let good = match (scheme, signer) {
        (Scheme::RsaSha1 | Scheme::RsaMd5 | Scheme::X509Sha1, Principal::Rsa(key)) => {
            rsa_verifies(key, &scheme.rsa_content(&digest), &octets)?
        }
        (Scheme::DsaSha1, Principal::Dsa(key)) => dsa_verifies(key, &digest, &octets)?,
        _ => return Err(SignatureError::WrongKey),
    };
    if good {
        Ok(())
    } else {
        Err(SignatureError::Wrong)
    }
}

fn signed_text(assertion: &Assertion) -> Result<&[u8], SignatureError> {
    assertion
        .text
        .get(assertion.signed.clone())
        .filter(|text| !text.is_empty())
        .ok_or(SignatureError::Missing)
}

fn rsa_verifies(key: &RsaKey, content: &[u8], signature: &[u8]) -> Result<bool, SignatureError> {
    let key = key.to_openssl().map_err(|_| SignatureError::WrongKey)?;
    let len = usize::try_from(key.size()).map_err(|_| SignatureError::Library)?;
    if signature.len() != len {
        return Ok(false);
    }
    let mut found = vec![0; len];
    // Nothing here is secret: the content is compared as it is.
    Ok(key
        .public_decrypt(signature, &mut found, Padding::PKCS1)
        .is_ok_and(|len| found.get(..len) == Some(content)))
}

fn dsa_verifies(key: &DsaKey, digest: &[u8], signature: &[u8]) -> Result<bool, SignatureError> {
    let number = |octets: &[u8]| BigNum::from_slice(octets).map_err(|_| SignatureError::Library);
    let key = Dsa::from_public_components(
        number(&key.p)?,
        number(&key.q)?,
        number(&key.g)?,
        number(&key.y)?,
    )
    .map_err(|_| SignatureError::WrongKey)?;
    let key = PKey::from_dsa(key).map_err(|_| SignatureError::WrongKey)?;
    let mut context = PkeyCtx::new(&key).map_err(|_| SignatureError::Library)?;
    // The library takes only what is encoded as it would itself.
    Ok(context
        .verify_init()
        .and_then(|()| context.verify(digest, signature))
        .unwrap_or(false))
}

/// A private key to sign with.
pub enum SigningKey {
    /// RSA
    Rsa(Rsa<Private>),
    /// DSA
    Dsa(Dsa<Private>),
}

impl SigningKey {
    /// Reads a key as `keynote keygen` writes it, a quoted string `"private-rsa-hex:..."` for instance, or
    /// an RSA key in PEM.
    ///
    /// # Errors
    /// [`SignatureError::PrivateKey`]
    pub fn parse(text: &[u8]) -> Result<SigningKey, SignatureError> {
        let bad = SignatureError::PrivateKey;
        if text.len() > MOST_PRIVATE_KEY {
            return Err(bad);
        }
        if text.windows(10).any(|window| window == b"-----BEGIN") {
            return PKey::private_key_from_pem(text)
                .and_then(|key| key.rsa())
                .map(SigningKey::Rsa)
                .map_err(|_| bad);
        }
        let value = Zeroizing::new(quoted_string(text).map_err(|_| bad)?);
        let key = strip_prefix_ignoring_case(&value, b"private-").ok_or(bad)?;
        let (kind, encoding, rest) = key_prefix(key).ok_or(bad)?;
        let octets = Zeroizing::new(encoding.decode(rest).map_err(|_| bad)?);
        match kind {
            KeyKind::Rsa => Rsa::private_key_from_der(&octets)
                .map(SigningKey::Rsa)
                .map_err(|_| bad),
            KeyKind::Dsa => dsa_private_key(&octets).map(SigningKey::Dsa).ok_or(bad),
            KeyKind::X509 | KeyKind::Binary => Err(bad),
        }
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`SignatureError::Library`]: it does not want keys of this length, for instance.
    pub fn generate_rsa(bits: u32) -> Result<SigningKey, SignatureError> {
        Rsa::generate(bits)
            .map(SigningKey::Rsa)
            .map_err(|_| SignatureError::Library)
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`SignatureError::Library`]: it does not want keys of this length, for instance.
    pub fn generate_dsa(bits: u32) -> Result<SigningKey, SignatureError> {
        Dsa::generate(bits)
            .map(SigningKey::Dsa)
            .map_err(|_| SignatureError::Library)
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> Principal {
        match self {
            SigningKey::Rsa(key) => Principal::Rsa(RsaKey {
                n: key.n().to_vec(),
                e: key.e().to_vec(),
            }),
            SigningKey::Dsa(key) => Principal::Dsa(DsaKey {
                y: key.pub_key().to_vec(),
                p: key.p().to_vec(),
                q: key.q().to_vec(),
                g: key.g().to_vec(),
            }),
        }
    }

    /// The key as text, without quotes: `private-rsa-hex:` and so on, an RSAPrivateKey or the six numbers of
    /// a DSAPrivateKey (0, p, q, g, y, x) in DER.
    ///
    /// # Errors
    /// [`SignatureError::Library`]
    pub fn private_text(&self, encoding: Encoding) -> Result<SecretBytes, SignatureError> {
        let (name, octets) = match self {
            SigningKey::Rsa(key) => {
                let der = key
                    .private_key_to_der()
                    .map_err(|_| SignatureError::Library)?;
                ("rsa", Zeroizing::new(der))
            }
            SigningKey::Dsa(key) => {
                let secret = Zeroizing::new(key.priv_key().to_vec());
                let (p, q, g) = (key.p().to_vec(), key.q().to_vec(), key.g().to_vec());
                let y = key.pub_key().to_vec();
                let der = der::sequence(&[&[], &p, &q, &g, &y, &secret]);
                ("dsa", Zeroizing::new(der))
            }
        };
        let encoding_name = match encoding {
            Encoding::Hex => "hex",
            Encoding::Base64 => "base64",
        };
        let digits = Zeroizing::new(encoding.encode(&octets));
        let mut text = SecretBytes::with_capacity(digits.len().saturating_add(32));
        text.extend_from_slice(format!("private-{name}-{encoding_name}:").as_bytes());
        text.extend_from_slice(digits.as_bytes());
        Ok(text)
    }
}

fn dsa_private_key(octets: &[u8]) -> Option<Dsa<Private>> {
    let [zero, p, q, g, y, x] = der::integers(octets)?;
    let x = Zeroizing::new(x);
    let number = |octets: &[u8]| BigNum::from_slice(octets).ok();
    if !zero.is_empty() {
        return None;
    }
    Dsa::from_private_components(
        number(&p)?,
        number(&q)?,
        number(&g)?,
        number(&x)?,
        number(&y)?,
    )
    .ok()
}

/// Signs an assertion, which must have a Signature field, whatever is in it, and a key that fits as its
/// Authorizer. `name` is an algorithm such as `sig-rsa-sha1-hex:`. The result is the string for the Signature
/// field.
///
/// # Errors
/// [`SignatureError`]
pub fn sign(
    assertion: &Assertion,
    name: &[u8],
    key: &SigningKey,
) -> Result<String, SignatureError> {
    if !assertion.is_signed() {
        return Err(SignatureError::Missing);
    }
    let (scheme, encoding, rest) = algorithm(name)?;
    if !rest.is_empty() {
        return Err(SignatureError::UnknownAlgorithm);
    }
    if scheme == Scheme::RsaMd5 {
        return Err(SignatureError::Md5);
    }
    let fits = match (scheme, assertion.authorizer(), key) {
        (Scheme::DsaSha1, Some(Principal::Dsa(_)), SigningKey::Dsa(_)) => true,
        (Scheme::DsaSha1, ..) => false,
        (_, Some(Principal::Rsa(_)), SigningKey::Rsa(_)) => true,
        _ => false,
    };
    if !fits {
        return Err(SignatureError::WrongKey);
    }
    let digest = scheme.digest(signed_text(assertion)?, name)?;
    let octets = match key {
        SigningKey::Rsa(key) => {
            let len = usize::try_from(key.size()).map_err(|_| SignatureError::Library)?;
            let mut octets = vec![0; len];
            key.private_encrypt(&scheme.rsa_content(&digest), &mut octets, Padding::PKCS1)
                .map_err(|_| SignatureError::Library)?;
            octets
        }
        SigningKey::Dsa(key) => dsa_signature(key, &digest).map_err(|_| SignatureError::Library)?,
    };
    let name = String::from_utf8_lossy(name);
    Ok(format!("{name}{}", encoding.encode(&octets)))
}

fn dsa_signature(key: &Dsa<Private>, digest: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let key = PKey::from_dsa(key.clone())?;
    let mut context = PkeyCtx::new(&key)?;
    context.sign_init()?;
    let mut signature = Vec::new();
    context.sign_to_vec(digest, &mut signature)?;
    Ok(signature)
}

/// Checks a signature that is not in the assertion's Signature field yet.
///
/// # Errors
/// [`SignatureError`]
pub fn verify_detached(assertion: &Assertion, signature: &str) -> Result<(), SignatureError> {
    verify_text(assertion, signature.as_bytes())
}
