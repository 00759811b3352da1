//! RSA with the padding of PKCS #1 v1.5, block type 1, over octets as they are, without a DigestInfo:
//! how IKEv1 signs its hashes (RFC 2409 section 5.1). New protocols want RSASSA-PSS.

use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::{Padding, Rsa};
use zeroize::Zeroizing;

/// Why there is no signature or no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a key of RSA, or one that cannot be read.
    #[error("not an RSA key")]
    Key,
    /// More octets than the modulus has room for.
    #[error("too long to be signed")]
    TooLong,
    /// The library failed.
    #[error("cryptographic library failed")]
    Library,
}

/// A private key.
#[derive(Clone)]
pub struct SigningKey(Rsa<Private>);

/// A public key.
#[derive(Clone)]
pub struct VerifyingKey(Rsa<Public>);

impl SigningKey {
    /// Reads PEM, PKCS #1 or PKCS #8, not encrypted.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        // An empty passphrase keeps the library from asking at the terminal.
        let key = PKey::private_key_from_pem_callback(pem, |_| Ok(0)).map_err(|_| Error::Key)?;
        key.rsa().map(Self).map_err(|_| Error::Key)
    }

    /// Octets of the modulus, and of each signature.
    #[must_use]
    pub fn modulus_len(&self) -> usize {
        usize::try_from(self.0.size()).unwrap_or(0)
    }

    /// The public half.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn verifying_key(&self) -> Result<VerifyingKey, Error> {
        let part = |number: &openssl::bn::BigNumRef| number.to_owned();
        let library = |_| Error::Library;
        let (n, e) = (
            part(self.0.n()).map_err(library)?,
            part(self.0.e()).map_err(library)?,
        );
        Rsa::from_public_components(n, e)
            .map(VerifyingKey)
            .map_err(library)
    }

    /// The signature, blinded and checked by the library before it leaves.
    ///
    /// # Errors
    /// [`Error::TooLong`] for more than the modulus less 11 octets.
    pub fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, Error> {
        let len = self.modulus_len();
        if octets.len() > len.saturating_sub(11) {
            return Err(Error::TooLong);
        }
        let mut signature = vec![0; len];
        match self
            .0
            .private_encrypt(octets, &mut signature, Padding::PKCS1)
        {
            Ok(written) if written == len => Ok(signature),
            _ => Err(Error::Library),
        }
    }
}

impl VerifyingKey {
    /// Reads PEM, SubjectPublicKeyInfo or PKCS #1.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        Rsa::public_key_from_pem(pem)
            .or_else(|_| Rsa::public_key_from_pem_pkcs1(pem))
            .map(Self)
            .map_err(|_| Error::Key)
    }

    /// The public key of a certificate.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn from_public_key(key: &PKey<Public>) -> Result<Self, Error> {
        key.rsa().map(Self).map_err(|_| Error::Key)
    }

    /// The numbers, big-endian: modulus and public exponent.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn from_numbers(n: &[u8], e: &[u8]) -> Result<Self, Error> {
        let number = |octets| openssl::bn::BigNum::from_slice(octets).map_err(|_| Error::Key);
        Rsa::from_public_components(number(n)?, number(e)?)
            .map(Self)
            .map_err(|_| Error::Key)
    }

    /// Octets of the modulus.
    #[must_use]
    pub fn modulus_len(&self) -> usize {
        usize::try_from(self.0.size()).unwrap_or(0)
    }

    /// Whether `signature` was made over exactly these octets. It must be as long as the modulus.
    #[must_use]
    pub fn verify(&self, octets: &[u8], signature: &[u8]) -> bool {
        if signature.len() != self.modulus_len() {
            return false;
        }
        let mut opened = Zeroizing::new(vec![0; signature.len()]);
        match self
            .0
            .public_decrypt(signature, &mut opened, Padding::PKCS1)
        {
            Ok(len) => opened.get(..len).is_some_and(|signed| {
                signed.len() == octets.len() && openssl::memcmp::eq(signed, octets)
            }),
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_and_verified() {
        let rsa = Rsa::generate(1024).unwrap();
        let key = SigningKey::from_pem(&rsa.private_key_to_pem().unwrap()).unwrap();
        let public = key.verifying_key().unwrap();
        let hash = [7; 20];
        let signature = key.sign(&hash).unwrap();
        assert_eq!(signature.len(), 128);
        assert!(public.verify(&hash, &signature));
        assert!(!public.verify(&[7; 19], &signature));
        assert!(!public.verify(&[8; 20], &signature));
        assert!(!public.verify(&hash, &signature[..127]));
        let mut broken = signature.clone();
        broken[100] ^= 1;
        assert!(!public.verify(&hash, &broken));
        assert!(!public.verify(&hash, &[0; 128]));
        assert_eq!(key.sign(&[0; 118]), Err(Error::TooLong));
        assert!(key.sign(&[0; 117]).is_ok());
        // What was signed is the padding of the standard around the bare octets.
        let mut block = vec![0; 128];
        let len = rsa
            .public_decrypt(&signature, &mut block, Padding::NONE)
            .unwrap();
        let wanted = [&[0, 1][..], &[0xff; 105], &[0], &hash].concat();
        assert_eq!((len, block), (128, wanted));
    }

    #[test]
    fn keys_in_pem() {
        let rsa = Rsa::generate(1024).unwrap();
        let pkcs8 = PKey::from_rsa(rsa.clone())
            .unwrap()
            .private_key_to_pem_pkcs8()
            .unwrap();
        assert_eq!(SigningKey::from_pem(&pkcs8).unwrap().modulus_len(), 128);
        for pem in [
            rsa.public_key_to_pem().unwrap(),
            rsa.public_key_to_pem_pkcs1().unwrap(),
        ] {
            assert_eq!(VerifyingKey::from_pem(&pem).unwrap().modulus_len(), 128);
        }
        let numbers = VerifyingKey::from_numbers(&rsa.n().to_vec(), &rsa.e().to_vec()).unwrap();
        assert_eq!(numbers.modulus_len(), 128);
        assert!(SigningKey::from_pem(b"junk").is_err() && VerifyingKey::from_pem(b"junk").is_err());
        let locked = rsa
            .private_key_to_pem_passphrase(openssl::symm::Cipher::aes_128_cbc(), b"secret")
            .unwrap();
        assert!(matches!(SigningKey::from_pem(&locked), Err(Error::Key)));
    }
}
