//! Reading of unencrypted private keys in DER.

use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::ec::EcKey;
use openssl::error::ErrorStack;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;

use crate::curve::Curve;

/// Why a private key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// Not PKCS#1, PKCS#8 or SEC 1, or its numbers contradict each other.
    #[error("private key cannot be read")]
    Unreadable,
    /// A PKCS#8 key of a kind that cannot sign in TLS.
    #[error("private key is of an unknown kind")]
    UnknownKind,
}

/// Reads an RSA key (PKCS#1, RFC 8017 appendix A.1.2), an RSA, ECDSA or Ed25519 key in PKCS#8 (RFC
/// 5958) or an ECDSA key in SEC 1 (RFC 5915) from DER, trying in this order. ECDSA keys must be on
/// one of the four curves of [`Curve`]. The numbers of RSA and ECDSA keys are checked against each
/// other.
///
/// # Errors
/// [`PrivateKeyError`].
pub fn from_der(der: &[u8]) -> Result<PKey<Private>, PrivateKeyError> {
    if let Ok(rsa) = Rsa::private_key_from_der(der) {
        return checked_rsa(rsa);
    }
    if let Ok(key) = PKey::private_key_from_pkcs8(der) {
        return match key.id() {
            Id::RSA => checked_rsa(key.rsa().map_err(|_| PrivateKeyError::Unreadable)?),
            Id::EC => checked_ec(key.ec_key().map_err(|_| PrivateKeyError::Unreadable)?),
            Id::ED25519 => Ok(key),
            Id::X25519 => Err(PrivateKeyError::UnknownKind),
            _ => Err(PrivateKeyError::Unreadable),
        };
    }
    let ec = EcKey::private_key_from_der(der).map_err(|_| PrivateKeyError::Unreadable)?;
    checked_ec(ec)
}

fn checked_rsa(rsa: Rsa<Private>) -> Result<PKey<Private>, PrivateKeyError> {
    match rsa_is_consistent(&rsa) {
        Ok(true) => PKey::from_rsa(rsa).map_err(|_| PrivateKeyError::Unreadable),
        _ => Err(PrivateKeyError::Unreadable),
    }
}

/// Whether the numbers fit together, as far as the original looks: the primes make up the modulus, and the
/// two exponents undo each other.
///
/// `RSA_check_key` also proves that the primes are prime. That takes 30 ms, five times as long as all
/// else that kxc does, and says nothing about a key that somebody wants to break.
fn rsa_is_consistent(rsa: &Rsa<Private>) -> Result<bool, ErrorStack> {
    let (Some(p), Some(q)) = (rsa.p(), rsa.q()) else {
        return Ok(false);
    };
    let mut context = BigNumContext::new()?;
    let mut product = BigNum::new()?;
    product.checked_mul(p, q, &mut context)?;
    let one = BigNum::from_u32(1)?;
    let primes = *p > *one && *q > *one && !p.is_negative() && !q.is_negative();
    let mut exponents = BigNum::new()?;
    exponents.checked_mul(rsa.d(), rsa.e(), &mut context)?;
    let good = primes
        && product == *rsa.n()
        && is_one_modulo_predecessor(&exponents, p, &mut context)?
        && is_one_modulo_predecessor(&exponents, q, &mut context)?;
    exponents.clear();
    Ok(good)
}

/// Whether `number` leaves 1 when divided by `prime` - 1.
fn is_one_modulo_predecessor(
    number: &BigNumRef,
    prime: &BigNumRef,
    context: &mut BigNumContext,
) -> Result<bool, ErrorStack> {
    let one = BigNum::from_u32(1)?;
    let mut predecessor = BigNum::new()?;
    predecessor.checked_sub(prime, &one)?;
    let mut rest = BigNum::new()?;
    rest.nnmod(number, &predecessor, context)?;
    predecessor.clear();
    Ok(rest == one)
}

fn checked_ec(ec: EcKey<Private>) -> Result<PKey<Private>, PrivateKeyError> {
    let known = ec.group().curve_name().and_then(Curve::from_nid).is_some();
    if !known || ec.check_key().is_err() {
        return Err(PrivateKeyError::Unreadable);
    }
    PKey::from_ec_key(ec).map_err(|_| PrivateKeyError::Unreadable)
}

#[cfg(test)]
mod tests {
    use openssl::bn::{BigNum, BigNumRef};
    use openssl::ec::{EcGroup, EcKey};
    use openssl::nid::Nid;
    use openssl::pkey::{Id, PKey};
    use openssl::rsa::Rsa;

    use super::{PrivateKeyError, from_der};

    #[test]
    fn every_form() {
        let rsa = Rsa::generate(2048).unwrap();
        assert_eq!(
            from_der(&rsa.private_key_to_der().unwrap()).unwrap().id(),
            Id::RSA
        );
        let rsa = PKey::from_rsa(rsa).unwrap();
        assert_eq!(
            from_der(&rsa.private_key_to_pkcs8().unwrap()).unwrap().id(),
            Id::RSA
        );
        for nid in [
            Nid::SECP224R1,
            Nid::X9_62_PRIME256V1,
            Nid::SECP384R1,
            Nid::SECP521R1,
        ] {
            let ec = EcKey::generate(&EcGroup::from_curve_name(nid).unwrap()).unwrap();
            assert_eq!(
                from_der(&ec.private_key_to_der().unwrap()).unwrap().id(),
                Id::EC
            );
            let ec = PKey::from_ec_key(ec).unwrap();
            assert_eq!(
                from_der(&ec.private_key_to_pkcs8().unwrap()).unwrap().id(),
                Id::EC
            );
        }
        let ed = PKey::generate_ed25519().unwrap();
        assert_eq!(
            from_der(&ed.private_key_to_pkcs8().unwrap()).unwrap().id(),
            Id::ED25519
        );
    }

    #[test]
    fn refused() {
        let k256 = EcKey::generate(&EcGroup::from_curve_name(Nid::SECP256K1).unwrap()).unwrap();
        let x25519 = PKey::generate_x25519()
            .unwrap()
            .private_key_to_pkcs8()
            .unwrap();
        let unreadable = PrivateKeyError::Unreadable;
        assert_eq!(
            from_der(&k256.private_key_to_der().unwrap()).unwrap_err(),
            unreadable
        );
        assert_eq!(from_der(b"").unwrap_err(), unreadable);
        assert_eq!(from_der(&[0x30, 0x00]).unwrap_err(), unreadable);
        assert_eq!(from_der(&x25519).unwrap_err(), PrivateKeyError::UnknownKind);
    }

    #[test]
    fn contradicting_rsa_numbers() {
        let mut der = Rsa::generate(2048).unwrap().private_key_to_der().unwrap();
        // Octet 100 lies in the modulus.
        der[100] ^= 4;
        assert_eq!(from_der(&der).unwrap_err(), PrivateKeyError::Unreadable);
    }

    #[test]
    fn contradicting_rsa_exponents_and_primes() {
        let good = Rsa::generate(1024).unwrap();
        let copy = |number: &BigNumRef| number.to_owned().unwrap();
        let changed = |number: &BigNumRef| {
            let mut number = copy(number);
            number.add_word(2).unwrap();
            number
        };
        let build = |d, p, q| {
            let key = Rsa::from_private_components(
                copy(good.n()),
                copy(good.e()),
                d,
                p,
                q,
                copy(good.dmp1().unwrap()),
                copy(good.dmq1().unwrap()),
                copy(good.iqmp().unwrap()),
            );
            from_der(&key.unwrap().private_key_to_der().unwrap())
        };
        let (d, p, q) = (good.d(), good.p().unwrap(), good.q().unwrap());
        assert!(build(copy(d), copy(p), copy(q)).is_ok());
        assert!(build(changed(d), copy(p), copy(q)).is_err());
        assert!(build(copy(d), changed(p), copy(q)).is_err());
        assert!(build(copy(d), copy(p), changed(q)).is_err());
        let one = BigNum::from_u32(1).unwrap();
        assert!(build(copy(d), copy(good.n()), one).is_err());
    }
}
