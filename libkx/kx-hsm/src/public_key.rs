//! Public keys as the rest of the world reads them.

use openssl::bn::BigNum;
use openssl::ec::{EcKey, EcPoint};
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use xkek::key::PublicKey;

/// A key that OpenSSL could not take.
#[derive(Debug, thiserror::Error)]
#[error("the public key cannot be written: its curve is not there")]
pub struct Unwritable;

/// SubjectPublicKeyInfo in PEM.
///
/// # Errors
/// [`Unwritable`].
pub fn pem(key: &PublicKey) -> Result<Vec<u8>, Unwritable> {
    let pem = |key: &PublicKey| -> Result<Vec<u8>, ErrorStack> {
        match key {
            PublicKey::Rsa(key) => {
                let n = BigNum::from_slice(key.modulus())?;
                let e = BigNum::from_slice(key.exponent())?;
                PKey::from_rsa(Rsa::from_public_components(n, e)?)?.public_key_to_pem()
            }
            PublicKey::Ec(key) => {
                let group = key.curve().group().map_err(|_| ErrorStack::get())?;
                let mut context = openssl::bn::BigNumContext::new()?;
                let point = EcPoint::from_bytes(&group, key.point(), &mut context)?;
                let key = EcKey::from_public_key(&group, &point)?;
                PKey::from_ec_key(key)?.public_key_to_pem()
            }
        }
    };
    pem(key).map_err(|_| Unwritable)
}
