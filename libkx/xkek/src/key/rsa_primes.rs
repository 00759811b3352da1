//! The primes of RSA keys: found again from the exponents, or new.
//!
//! OpenSSL's `RSA_generate_key` finds its primes as FIPS 186-5 wants it, with a greatest common divisor in constant
//! time for each candidate, which costs more than all the rest. Its search for a prime of a given length, used
//! here, does not; the conditions on the pair are checked afterwards.

use openssl::bn::{BigNum, BigNumContext, BigNumRef};

use super::{Error, less_one};
use crate::crypto::Unavailable;
use crate::rng::Rng;

/// The usual public exponent.
pub(super) const EXPONENT: u32 = 65_537;
/// How often a prime is looked for before the library is taken for broken.
const DRAWS: usize = 1000;

/// Two primes, the greater first, whose product has `bits` bits. The library's own generator draws them, each on a
/// processor of its own where there are two.
///
/// # Errors
/// [`Unavailable`].
pub(super) fn pair(bits: u32, exponent: u32) -> Result<(BigNum, BigNum), Unavailable> {
    let half = bits / 2;
    let (p, mut q) = both(
        || prime(bits.saturating_sub(half), exponent),
        || prime(half, exponent),
    )?;
    for _ in 0..DRAWS {
        // Fermat's way to factor must be hopeless: they differ in their first 100 bits.
        let mut apart = BigNum::new_secure()?;
        apart.checked_sub(&p, &q)?;
        let apart = u32::try_from(apart.num_bits()).unwrap_or(0);
        if apart > half.saturating_sub(100) {
            return Ok(if p < q { (q, p) } else { (p, q) });
        }
        q = prime(half, exponent)?;
    }
    Err(Unavailable)
}

/// What two searches find that know nothing of each other. Without a second thread one waits for the other.
fn both<T: Send>(
    first: impl Fn() -> Result<T, Unavailable> + Sync,
    second: impl Fn() -> Result<T, Unavailable>,
) -> Result<(T, T), Unavailable> {
    std::thread::scope(|scope| {
        let other = std::thread::Builder::new().spawn_scoped(scope, &first);
        let found = second()?;
        let other = match other {
            Ok(other) => other.join().map_err(|_| Unavailable)?,
            Err(_) => first(),
        };
        Ok((other?, found))
    })
}

/// A prime of `bits` bits of which the first two are set, so that a product has all its bits, and for which the
/// exponent has an inverse.
fn prime(bits: u32, exponent: u32) -> Result<BigNum, Unavailable> {
    let bits = i32::try_from(bits).map_err(|_| Unavailable)?;
    for _ in 0..DRAWS {
        let mut found = BigNum::new_secure()?;
        found.generate_prime(bits, false, None, None)?;
        let rest = found.mod_word(exponent)?;
        if is_coprime(rest.saturating_sub(1), u64::from(exponent)) {
            return Ok(found);
        }
    }
    Err(Unavailable)
}

/// Whether two numbers have no common factor; zero shares all of the other's.
fn is_coprime(mut a: u64, mut b: u64) -> bool {
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a == 1
}

/// The primes of `n` by way of a square root of 1 that is not trivial (FIPS 186-4, B.3 and SP
/// 800-56B, appendix C).
pub(super) fn from_exponents(
    n: &BigNumRef,
    e: &BigNumRef,
    d: &BigNumRef,
    rng: &mut impl Rng,
) -> Result<(BigNum, BigNum), Error> {
    let mut context = BigNumContext::new_secure()?;
    let mut odd = BigNum::new_secure()?;
    odd.checked_mul(e, d, &mut context)?;
    odd.sub_word(1)?;
    let mut twos = 0usize;
    while odd.num_bits() > 0 && !odd.is_bit_set(0) {
        let mut half = BigNum::new_secure()?;
        half.rshift1(&odd)?;
        odd = half;
        twos = twos.saturating_add(1);
    }
    if twos == 0 || odd.num_bits() == 0 {
        return Err(Error::Mismatch);
    }
    let minus_one = less_one(n)?;
    let one = BigNum::from_u32(1)?;
    let mut seed = vec![0; n.to_vec().len()];
    // Each draw fails with a probability of one half at most; if ed is not 1 for this n, all do.
    for _ in 0..64 {
        rng.fill(&mut seed).map_err(Unavailable::from)?;
        let mut base = BigNum::new()?;
        base.nnmod(&*BigNum::from_slice(&seed)?, n, &mut context)?;
        if base <= one {
            continue;
        }
        let mut x = BigNum::new_secure()?;
        x.mod_exp(&base, &odd, n, &mut context)?;
        for _ in 0..twos {
            if x == one || x == minus_one {
                break;
            }
            let mut square = BigNum::new_secure()?;
            square.mod_sqr(&x, n, &mut context)?;
            if square == one {
                let mut p = BigNum::new_secure()?;
                p.gcd(&*less_one(&x)?, n, &mut context)?;
                let mut q = BigNum::new_secure()?;
                let mut rest = BigNum::new_secure()?;
                q.div_rem(&mut rest, n, &p, &mut context)?;
                if rest.num_bits() != 0 {
                    return Err(Error::Mismatch);
                }
                return Ok(if p < q { (q, p) } else { (p, q) });
            }
            x = square;
        }
    }
    Err(Error::Mismatch)
}

#[cfg(test)]
mod tests {
    use super::pair;
    use openssl::bn::{BigNum, BigNumContext};

    #[test]
    fn primes_are_prime_and_products_have_all_their_bits() {
        let mut context = BigNumContext::new().expect("context");
        for (bits, exponent) in [
            (1024, super::EXPONENT),
            (1025, 3),
            (1536, 15),
            (1024, u32::MAX),
        ] {
            let (p, q) = pair(bits, exponent).expect("made");
            assert!(p > q);
            for prime in [&p, &q] {
                assert!(prime.is_prime(64, &mut context).expect("judged"));
                // The exponent has an inverse.
                let mut less_one = (**prime).to_owned().expect("copied");
                less_one.sub_word(1).expect("less");
                let mut common = BigNum::new().expect("number");
                let exponent = BigNum::from_u32(exponent).expect("number");
                common
                    .gcd(&less_one, &exponent, &mut context)
                    .expect("common");
                assert_eq!(common.num_bits(), 1);
            }
            let mut product = BigNum::new().expect("number");
            product.checked_mul(&p, &q, &mut context).expect("product");
            assert_eq!(product.num_bits(), bits as i32);
        }
    }
}
