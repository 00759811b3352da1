//! The password of a share file in parts, so many of which give it back (xkek spec 10): Shamir's
//! scheme over a random prime of 64 bits, in the notes that sc-hsm-tool's custodians keep.

use std::fmt;

use kx_crypto::bignum;
use kx_secret::SecretBytes;
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use zeroize::Zeroizing;

use crate::crypto::{Unavailable, padded, significant};
use crate::rng::Rng;

/// Octets of the password.
pub const PASSWORD_LEN: usize = 8;
/// Fewest and most parts.
pub const TOTAL: std::ops::RangeInclusive<u32> = 3..=255;
/// Most octets of a number that is taken from a note.
const NUMBER_MAX: usize = 64;

/// What is wrong with parts, or with what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer than 3 or more than 255 parts.
    #[error("a password is split into 3 to 255 shares")]
    Total,
    /// A threshold under 2 or over the number of parts.
    #[error("the threshold is at least 2 and at most the number of shares")]
    Threshold,
    /// Fewer than two parts.
    #[error("at least two shares are needed")]
    TooFew,
    /// The same ID twice.
    #[error("share {0} was given twice")]
    Reused(u32),
    /// An ID that is none.
    #[error("a share ID is a number from 1 on")]
    Id,
    /// Parts that name different primes, or a value that is not below it.
    #[error("shares of different sets")]
    OtherSet,
    /// Not digits, or no such number.
    #[error("malformed prime, share ID or share value")]
    Malformed,
    /// A modulus that is no odd prime.
    #[error("the prime is none")]
    NotPrime,
    /// The library could not do it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<openssl::error::ErrorStack> for Error {
    fn from(_: openssl::error::ErrorStack) -> Self {
        Self::Unavailable(Unavailable)
    }
}

impl From<bignum::Error> for Error {
    fn from(_: bignum::Error) -> Self {
        Self::Unavailable(Unavailable)
    }
}

/// What one custodian notes.
#[derive(Debug)]
pub struct Share {
    /// The modulus, the same for all of a set; no leading zeros.
    pub prime: Vec<u8>,
    /// Which part it is, from 1.
    pub id: u32,
    /// The part; no leading zeros.
    pub value: SecretBytes,
}

impl Share {
    /// Reads the three lines of a note: the ID decimal, the numbers as hexadecimal octets, with colons
    /// or without.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Id`].
    pub fn parse(prime: &str, id: &str, value: &str) -> Result<Self, Error> {
        let id = id.trim();
        if id.is_empty() || !id.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(Error::Id);
        }
        Ok(Self {
            prime: parse_number(prime)?.to_vec(),
            id: id.parse().map_err(|_| Error::Id)?,
            value: SecretBytes::from(parse_number(value)?),
        })
    }

    /// The prime as the note has it.
    #[must_use]
    pub fn prime_text(&self) -> String {
        colons(&self.prime)
    }

    /// The value as the note has it.
    #[must_use]
    pub fn value_text(&self) -> Zeroizing<String> {
        Zeroizing::new(colons(self.value.as_slice()))
    }

    fn same(&self) -> Self {
        let mut value = SecretBytes::with_capacity(self.value.len());
        value.extend_from_slice(self.value.as_slice());
        Self {
            prime: self.prime.clone(),
            id: self.id,
            value,
        }
    }
}

/// A number as colon-separated lower-case octets, leading zeros dropped; nothing is "00".
fn colons(number: &[u8]) -> String {
    use fmt::Write as _;
    let number = significant(number);
    let mut out = String::with_capacity(number.len().saturating_mul(3).max(2));
    for octet in number {
        if !out.is_empty() {
            out.push(':');
        }
        let _ = write!(out, "{octet:02x}");
    }
    if out.is_empty() {
        out.push_str("00");
    }
    out
}

fn parse_number(text: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len().saturating_add(1)));
    for octet in text.trim().bytes() {
        match octet {
            b':' | b' ' => {}
            _ => {
                let digit = char::from(octet).to_digit(16).ok_or(Error::Malformed)?;
                digits.push(u8::try_from(digit).map_err(|_| Error::Malformed)?);
            }
        }
    }
    if digits.is_empty() || digits.len() > NUMBER_MAX * 2 {
        return Err(Error::Malformed);
    }
    if digits.len() % 2 == 1 {
        digits.insert(0, 0);
    }
    let octets = digits.chunks_exact(2).map(|pair| match *pair {
        [high, low] => high << 4 | low,
        _ => 0,
    });
    let octets = Zeroizing::new(octets.collect::<Vec<u8>>());
    Ok(Zeroizing::new(significant(&octets).to_vec()))
}

/// A new password, 8 octets with the first bit cleared.
///
/// # Errors
/// [`Unavailable`].
pub fn generate_password(rng: &mut impl Rng) -> Result<SecretBytes, Unavailable> {
    let mut password = SecretBytes::zeroed(PASSWORD_LEN);
    rng.fill(password.as_mut_slice())?;
    if let Some(first) = password.as_mut_slice().first_mut() {
        *first &= 0x7f;
    }
    Ok(password)
}

/// Splits a password of at most 8 octets into `total` parts, `threshold` of which give it back. The
/// prime is new each time and comes from the library's own generator.
///
/// # Errors
/// [`Error`].
pub fn split(
    password: &[u8],
    threshold: u32,
    total: u32,
    rng: &mut impl Rng,
) -> Result<Vec<Share>, Error> {
    if !TOTAL.contains(&total) {
        return Err(Error::Total);
    }
    if !(2..=total).contains(&threshold) {
        return Err(Error::Threshold);
    }
    let secret = secret_number(password)?;
    if significant(password).len() > PASSWORD_LEN {
        return Err(Error::Malformed);
    }
    let prime = prime_over(&secret)?;
    let mut coefficients = vec![secret];
    for _ in 1..threshold {
        coefficients.push(below(&prime, rng)?);
    }
    let mut context = BigNumContext::new_secure()?;
    let mut shares = Vec::new();
    for id in 1..=total {
        let x = BigNum::from_u32(id)?;
        let mut y = BigNum::new_secure()?;
        for coefficient in coefficients.iter().rev() {
            let mut product = BigNum::new_secure()?;
            product.mod_mul(&y, &x, &prime, &mut context)?;
            y.mod_add(&product, coefficient, &prime, &mut context)?;
        }
        shares.push(Share {
            prime: prime.to_vec(),
            id,
            value: SecretBytes::from(y.to_vec()),
        });
    }
    Ok(shares)
}

/// A safe prime of 64 bits that is greater than the secret.
fn prime_over(secret: &BigNumRef) -> Result<BigNum, Error> {
    for _ in 0..256 {
        let prime = bignum::BigNum::generate_prime(64, true)?;
        let prime = BigNum::from_slice(&prime.to_bytes())?;
        if prime > *secret {
            return Ok(prime);
        }
    }
    Err(Error::Unavailable(Unavailable))
}

/// A number below the prime, each equally likely.
fn below(prime: &BigNumRef, rng: &mut impl Rng) -> Result<BigNum, Error> {
    let mut octets = Zeroizing::new(vec![0; PASSWORD_LEN]);
    for _ in 0..1024 {
        rng.fill(&mut octets).map_err(Unavailable::from)?;
        let number = secret_number(&octets)?;
        if number < *prime {
            return Ok(number);
        }
    }
    Err(Error::Unavailable(Unavailable))
}

fn secret_number(octets: &[u8]) -> Result<BigNum, Error> {
    let mut number = BigNum::new_secure()?;
    number.copy_from_slice(octets)?;
    Ok(number)
}

/// The number that parts give, 8 octets with its leading zeros. Fewer parts than the threshold, or
/// wrong ones, give another number: only the share file tells.
///
/// # Errors
/// [`Error`].
pub fn combine(shares: &[Share]) -> Result<SecretBytes, Error> {
    let first = match shares {
        [first, _, ..] => first,
        _ => return Err(Error::TooFew),
    };
    let prime = BigNum::from_slice(&first.prime)?;
    let mut context = BigNumContext::new_secure()?;
    if first.prime.len() > NUMBER_MAX || prime.num_bits() < 3 {
        return Err(Error::NotPrime);
    }
    if !prime.is_prime(64, &mut context)? {
        return Err(Error::NotPrime);
    }
    let mut sum = BigNum::new_secure()?;
    for (at, share) in shares.iter().enumerate() {
        if share.id == 0 {
            return Err(Error::Id);
        }
        if shares.iter().take(at).any(|other| other.id == share.id) {
            return Err(Error::Reused(share.id));
        }
        let value = secret_number(share.value.as_slice())?;
        if significant(&share.prime) != significant(&first.prime) || value >= prime {
            return Err(Error::OtherSet);
        }
        let x = BigNum::from_u32(share.id)?;
        let mut factor = BigNum::from_u32(1)?;
        for other in shares.iter().filter(|other| other.id != share.id) {
            let other_x = BigNum::from_u32(other.id)?;
            let mut difference = BigNum::new()?;
            difference.mod_sub(&other_x, &x, &prime, &mut context)?;
            let mut inverse = BigNum::new()?;
            inverse
                .mod_inverse(&difference, &prime, &mut context)
                .map_err(|_| Error::OtherSet)?;
            let mut quotient = BigNum::new()?;
            quotient.mod_mul(&other_x, &inverse, &prime, &mut context)?;
            let mut product = BigNum::new()?;
            product.mod_mul(&factor, &quotient, &prime, &mut context)?;
            factor = product;
        }
        let mut term = BigNum::new_secure()?;
        term.mod_mul(&value, &factor, &prime, &mut context)?;
        let mut next = BigNum::new_secure()?;
        next.mod_add(&sum, &term, &prime, &mut context)?;
        sum = next;
    }
    let number = Zeroizing::new(sum.to_vec());
    match padded(&number, PASSWORD_LEN) {
        Some(password) => Ok(SecretBytes::from(password)),
        None => Ok(SecretBytes::from(number)),
    }
}

/// The passwords that typed parts can mean, likeliest first, for the file to decide: the number with
/// its leading zeros, without them (sc-hsm-tool drops them), and both again with IDs read as
/// hexadecimal digits (sc-hsm-tool prints them decimal and reads them so).
///
/// # Errors
/// [`Error`], when not even the first can be computed.
pub fn candidates(shares: &[Share]) -> Result<Vec<SecretBytes>, Error> {
    let mut list = vec![];
    add_candidates(&mut list, shares)?;
    if shares.iter().any(|share| share.id > 9) {
        let misread = shares.iter().map(|share| {
            let id = u32::from_str_radix(&share.id.to_string(), 16).map_err(|_| Error::Id)?;
            Ok(Share { id, ..share.same() })
        });
        // It may be that one is too long for that, that two fall together, or that nothing comes of it.
        if let Ok(misread) = misread.collect::<Result<Vec<_>, Error>>() {
            let _ = add_candidates(&mut list, &misread);
        }
    }
    Ok(list)
}

fn add_candidates(list: &mut Vec<SecretBytes>, shares: &[Share]) -> Result<(), Error> {
    let whole = combine(shares)?;
    let short = significant(whole.as_slice());
    if short.len() < whole.len() && !short.is_empty() {
        let mut stripped = SecretBytes::with_capacity(short.len());
        stripped.extend_from_slice(short);
        list.push(whole);
        list.push(stripped);
    } else {
        list.push(whole);
    }
    Ok(())
}
