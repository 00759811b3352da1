//! Private keys of files: PEM or DER, as PKCS#8 or as OpenSSL wrote them before, with a passphrase or without.

use kx_secret::SecretBytes;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};

use crate::secret_source::{SecretError, SecretSource};

/// Why a file gives no key.
#[derive(Debug, thiserror::Error)]
pub enum PrivateKeyError {
    /// The passphrase could not be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It was asked for, and the key does not open with it.
    #[error("wrong passphrase, or the key is damaged")]
    Passphrase,
    /// Nothing that is known.
    #[error("no private key in PEM or DER")]
    None,
}

/// Reads a key. The passphrase is asked for only when the key has one.
///
/// # Errors
/// [`PrivateKeyError`].
pub fn read(content: &[u8], passphrase: &SecretSource) -> Result<PKey<Private>, PrivateKeyError> {
    let mut answer: Option<Result<SecretBytes, SecretError>> = None;
    // What the library calls back when it needs a passphrase; without it, it would ask on the terminal itself.
    let mut ask = |buffer: &mut [u8]| -> Result<usize, ErrorStack> {
        let answer = answer.get_or_insert_with(|| passphrase.read("Passphrase of the private key"));
        let Ok(passphrase) = answer else {
            return Ok(0);
        };
        let Some(place) = buffer.get_mut(..passphrase.len()) else {
            return Ok(0);
        };
        place.copy_from_slice(passphrase.as_slice());
        Ok(passphrase.len())
    };
    let is_pem = content
        .windows(PEM.len())
        .any(|octets| octets == PEM.as_bytes());
    let key = if is_pem {
        PKey::private_key_from_pem_callback(content, &mut ask)
    } else {
        // Both forms without a passphrase first: only what is neither is asked about.
        PKey::private_key_from_der(content)
            .or_else(|_| PKey::private_key_from_pkcs8_callback(content, &mut ask))
    };
    match (key, answer) {
        (Ok(key), _) => Ok(key),
        (Err(_), Some(Err(error))) => Err(error.into()),
        (Err(_), Some(Ok(_))) => Err(PrivateKeyError::Passphrase),
        (Err(_), None) => Err(PrivateKeyError::None),
    }
}

/// What every PEM has.
const PEM: &str = "-----BEGIN ";

#[cfg(test)]
mod tests {
    use super::{PrivateKeyError, read};
    use crate::secret_source::SecretSource;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::nid::Nid;
    use openssl::pkey::{PKey, Private};
    use openssl::symm::Cipher;
    use std::ffi::OsStr;

    const PASSPHRASE: &[u8] = b"a long passphrase";

    fn source(word: &str) -> SecretSource {
        SecretSource::parse(OsStr::new(word)).expect("a source")
    }

    fn key() -> EcKey<Private> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("curve");
        EcKey::generate(&group).expect("made")
    }

    #[test]
    fn every_form_is_read() {
        let ec = key();
        let key = PKey::from_ec_key(ec.clone()).expect("key");
        let cipher = Cipher::aes_256_cbc();
        let sealed = |pem| match pem {
            true => key.private_key_to_pem_pkcs8_passphrase(cipher, PASSPHRASE),
            false => key.private_key_to_pkcs8_passphrase(cipher, PASSPHRASE),
        };
        // A variable that is not there: nobody may ask for the passphrase of a key that has none.
        let nobody = source("env:KX_NO_SUCH_VARIABLE");
        for (name, content) in [
            ("PEM", ec.private_key_to_pem()),
            ("PEM of PKCS#8", key.private_key_to_pem_pkcs8()),
            ("DER", ec.private_key_to_der()),
            ("DER of PKCS#8", key.private_key_to_pkcs8()),
        ] {
            let read = read(&content.expect("written"), &nobody);
            assert!(read.expect(name).public_eq(&key), "{name}");
        }
        let old = ec.private_key_to_pem_passphrase(cipher, PASSPHRASE);
        for (name, content) in [
            ("PEM", old),
            ("PEM of PKCS#8", sealed(true)),
            ("DER of PKCS#8", sealed(false)),
        ] {
            let content = content.expect("written");
            let right = source("a long passphrase");
            assert!(
                read(&content, &right).expect(name).public_eq(&key),
                "{name}"
            );
            let wrong = read(&content, &source("another"));
            assert!(matches!(wrong, Err(PrivateKeyError::Passphrase)), "{name}");
            let none = read(&content, &nobody);
            assert!(matches!(none, Err(PrivateKeyError::Secret(_))), "{name}");
        }
    }

    #[test]
    fn what_is_no_key_is_said() {
        let key = PKey::from_ec_key(key()).expect("key");
        let public = key.public_key_to_pem().expect("written");
        let der = key.private_key_to_pkcs8().expect("written");
        for content in [&b""[..], b"a text", &public, &der[..der.len() - 1]] {
            let read = read(content, &source("a"));
            let error = read.expect_err("no key").to_string();
            assert_eq!(error, "no private key in PEM or DER");
        }
    }
}
