//! Keys in the form that other programs take: PKCS#8 for key pairs, the octets of an AES key.

use kx_secret::SecretBytes;
use openssl::bn::{BigNum, BigNumContext};
use openssl::pkey::{Id, PKey};

use super::{AesKey, EcPrivate, Error, Key, RsaPrivate};
use crate::curve::Curve;

impl Key {
    /// The key pair as DER of PKCS#8, or the octets of an AES key.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn to_octets(&self) -> Result<SecretBytes, Error> {
        let pair = match self {
            Self::Rsa(key) => PKey::from_rsa(key.inner().clone())?,
            Self::Ec(key) => PKey::from_ec_key(key.inner().clone())?,
            Self::Aes(key) => {
                let mut octets = SecretBytes::with_capacity(key.as_slice().len());
                octets.extend_from_slice(key.as_slice());
                return Ok(octets);
            }
        };
        Ok(SecretBytes::from(pair.private_key_to_pkcs8()?))
    }

    /// Takes an AES key.
    ///
    /// # Errors
    /// [`Error::Aes`].
    pub fn from_aes(octets: &[u8]) -> Result<Self, Error> {
        AesKey::new(octets).map(Self::Aes)
    }

    /// Takes a key pair as DER of PKCS#8. It is put together anew from primes or private number.
    ///
    /// # Errors
    /// [`Error::Rsa`] or [`Error::Point`] for what is no key that cards know, [`Error::Mismatch`] if its
    /// parts do not belong together.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let pair = PKey::private_key_from_pkcs8(der).map_err(|_| Error::Mismatch)?;
        match pair.id() {
            Id::RSA => {
                let rsa = pair.rsa()?;
                let (Some(p), Some(q)) = (rsa.p(), rsa.q()) else {
                    return Err(Error::Rsa);
                };
                let (p, q) = (SecretBytes::from(p.to_vec()), SecretBytes::from(q.to_vec()));
                let key = RsaPrivate::from_primes(p.as_slice(), q.as_slice(), &rsa.e().to_vec())?;
                if key.public().modulus() != rsa.n().to_vec() {
                    return Err(Error::Mismatch);
                }
                Ok(Self::Rsa(key))
            }
            Id::EC => {
                let ec = pair.ec_key()?;
                let mut context = BigNumContext::new()?;
                let (mut p, mut a, mut b) = (BigNum::new()?, BigNum::new()?, BigNum::new()?);
                ec.group()
                    .components_gfp(&mut p, &mut a, &mut b, &mut context)?;
                let curve = Curve::from_prime(&p.to_vec()).ok_or(Error::Point)?;
                // With other coefficients or another generator the point below is another.
                let d = SecretBytes::from(ec.private_key().to_vec());
                let key = EcPrivate::from_scalar(curve, d.as_slice())?;
                let own = ec.public_key().to_bytes(
                    ec.group(),
                    openssl::ec::PointConversionForm::UNCOMPRESSED,
                    &mut context,
                )?;
                if key.public().point() != own {
                    return Err(Error::Mismatch);
                }
                Ok(Self::Ec(key))
            }
            _ => Err(Error::Rsa),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AesKey, EcPrivate, Error, Key, RsaPrivate};
    use crate::curve::Curve;
    use crate::rng::System;

    #[test]
    fn key_pairs_come_back_and_strange_ones_do_not() {
        let rsa = RsaPrivate::generate(1024).expect("made");
        let mut keys = vec![Key::Rsa(rsa)];
        for curve in Curve::ALL {
            let key = EcPrivate::generate(curve, &mut System).expect("made");
            keys.push(Key::Ec(key));
        }
        for key in keys {
            let der = key.to_octets().expect("written");
            let again = Key::from_pkcs8(der.as_slice()).expect("read");
            assert_eq!(again.public(), key.public());
            let whole = der.as_slice();
            let cut = whole.get(..whole.len() - 1).expect("shorter");
            assert!(Key::from_pkcs8(cut).is_err());
        }
        let other = openssl::pkey::PKey::generate_ed25519().expect("made");
        let other = other.private_key_to_pkcs8().expect("written");
        assert_eq!(Key::from_pkcs8(&other).err(), Some(Error::Rsa));
    }

    #[test]
    fn an_aes_key_is_its_octets() {
        let key = Key::Aes(AesKey::new(&[7; 24]).expect("a key"));
        assert_eq!(key.to_octets().expect("octets").as_slice(), [7; 24]);
        assert!(matches!(Key::from_aes(&[7; 24]), Ok(Key::Aes(_))));
        assert_eq!(Key::from_aes(&[7; 23]).err(), Some(Error::Aes));
    }
}
