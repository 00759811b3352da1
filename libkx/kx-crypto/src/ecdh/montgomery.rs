//! X25519 and X448 (RFC 7748). Keys are octets without structure; every string of the right length is one.

use openssl::derive::Deriver;
use openssl::pkey::{Id, PKey, Private};

use crate::secret::SecretBytes;

use super::{Curve, Error};

/// A private key in the library's form, which wipes it.
pub(super) struct Key(PKey<Private>);

/// The library's number of the function.
fn id(curve: Curve) -> Result<Id, Error> {
    match curve {
        Curve::X25519 => Ok(Id::X25519),
        // AWS-LC has no X448.
        #[cfg(not(feature = "aws-lc"))]
        Curve::X448 => Ok(Id::X448),
        _ => Err(Error::Library),
    }
}

impl Key {
    pub(super) fn new(curve: Curve, scalar: &[u8]) -> Result<Self, Error> {
        if scalar.len() != curve.secret_len() {
            return Err(Error::PrivateKey);
        }
        let key = PKey::private_key_from_raw_bytes(scalar, id(curve)?)?;
        Ok(Self(key))
    }

    pub(super) fn public(&self) -> Result<Vec<u8>, Error> {
        Ok(self.0.raw_public_key()?)
    }

    pub(super) fn scalar(&self) -> Result<SecretBytes, Error> {
        Ok(SecretBytes::from(self.0.raw_private_key()?))
    }

    /// The shared secret. One of zeros only says that `peer` is of low order: anybody could have computed it
    /// (RFC 7748 section 6).
    pub(super) fn agree(&self, curve: Curve, peer: &[u8]) -> Result<SecretBytes, Error> {
        if peer.len() != curve.public_len() {
            return Err(Error::PublicKey);
        }
        let peer = PKey::public_key_from_raw_bytes(peer, id(curve)?)?;
        let mut deriver = Deriver::new(&self.0)?;
        deriver.set_peer(&peer)?;
        let mut secret = SecretBytes::zeroed(curve.secret_len());
        // The library refuses the zeros too, by an error like any other.
        let len = match deriver.derive(secret.as_mut_slice()) {
            Ok(len) => len,
            Err(_) => return Err(Error::PublicKey),
        };
        let zeros = [0; 56];
        if secret.ct_eq(zeros.get(..len).unwrap_or(&zeros)) {
            return Err(Error::PublicKey);
        }
        if len != secret.len() {
            return Err(Error::Library);
        }
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Curve, Error, PrivateKey};

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    /// RFC 7748, section 6.1 and 6.2: the two private keys, the public ones, the secret.
    #[test]
    fn vectors() {
        let x25519 = [
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ];
        let x448 = [
            "9a8f4925d1519f5775cf46b04b5800d4ee9ee8bae8bc5565d498c28dd9c9baf574a9419744897391006382a6f127ab1d9ac2d8c0a598726b",
            "1c306a7ac2a0e2e0990b294470cba339e6453772b075811d8fad0d1d6927c120bb5ee8972b0d3e21374c9c921b09d1b0366f10b65173992d",
            "9b08f7cc31b7e3e67d22d5aea121074a273bd2b83de09c63faa73d2c22c5d9bbc836647241d953d40c5b12da88120d53177f80e532c41fa0",
            "3eb7a829b0cd20f5bcfc0b599b6feccf6da4627107bdb0d4f345b43027d8b972fc3e34fb4232a13ca706dcb57aec3dae07bdc1c67bf33609",
            "07fff4181ac6cc95ec1c16a94a0f74d12da232ce40a77552281d282bb60c0b56fd2464c335543936521c24403085d59a449a5037514a879d",
        ];
        for (curve, texts) in [(Curve::X25519, x25519), (Curve::X448, x448)] {
            let [a, b, public_a, public_b, secret] = texts.map(hex);
            let key_a = PrivateKey::from_scalar(curve, &a).unwrap();
            let key_b = PrivateKey::from_scalar(curve, &b).unwrap();
            assert!(key_a.scalar().unwrap().ct_eq(&a));
            assert_eq!(key_a.public(), public_a, "{curve:?}");
            assert_eq!(key_b.public(), public_b, "{curve:?}");
            assert!(key_a.agree(&public_b).unwrap().ct_eq(&secret), "{curve:?}");
            assert!(key_b.agree(&public_a).unwrap().ct_eq(&secret), "{curve:?}");
        }
    }

    #[test]
    fn low_order() {
        for curve in [Curve::X25519, Curve::X448] {
            let key = PrivateKey::generate(curve).unwrap();
            let len = curve.public_len();
            let refused = |peer: &[u8]| {
                assert_eq!(key.agree(peer).err(), Some(Error::PublicKey), "{curve:?}");
            };
            refused(&vec![0; len]);
            let mut one = vec![0; len];
            one[0] = 1;
            refused(&one);
            refused(&vec![9; len - 1]);
            refused(&vec![9; len + 1]);
            refused(&[]);
        }
        // A point of order 8 of Curve25519.
        let order8 = hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
        let key = PrivateKey::generate(Curve::X25519).unwrap();
        assert_eq!(key.agree(&order8).err(), Some(Error::PublicKey));
    }

    #[test]
    fn lengths_of_private_keys() {
        for curve in [Curve::X25519, Curve::X448] {
            for len in [0, 1, curve.secret_len() - 1, curve.secret_len() + 1] {
                let made = PrivateKey::from_scalar(curve, &vec![7; len]);
                assert_eq!(made.err(), Some(Error::PrivateKey));
            }
        }
    }
}
