//! DKEK share files: one share under a password (xkek spec 9).

mod repeated_md5;

use kx_crypto::digest::Algorithm::Md5;
use kx_secret::SecretBytes;
use zeroize::Zeroizing;

use crate::crypto::{BLOCK, Unavailable, aes256_cbc_decrypt, aes256_cbc_encrypt};
use crate::kek::{Kek, LEN};
use crate::rng::Rng;

/// Octets of a share file.
pub const FILE_LEN: usize = 64;
/// How often each of the three digests is taken.
pub const ITERATIONS: u32 = 10_000_000;
/// Fewest characters of a password that a person types.
pub const PASSWORD_MIN: usize = 6;

const MAGIC: &[u8; 8] = b"Salted__";
const DIGEST: usize = 16;
/// Digests between two reports of progress.
const REPORT: u32 = 1 << 16;

/// What is wrong with a share file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another length, or another beginning. The program knows the file's name and says
    /// "File %s is not a DKEK share".
    #[error("not a DKEK share")]
    NotAShare,
    /// The password is wrong or the file damaged: they cannot be told apart.
    #[error("Error decrypting DKEK share. Password correct ?")]
    Password,
    /// The progress callback wanted an end.
    #[error("interrupted")]
    Interrupted,
    /// The library could not do it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Told from time to time how much is done: thousandths, 0..=1000. `false` ends the work.
pub type Progress<'a> = &'a mut dyn FnMut(u32) -> bool;

/// A callback that is content with everything.
pub fn no_progress(_: u32) -> bool {
    true
}

/// A share file, still closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareFile {
    salt: [u8; 8],
    ciphertext: [u8; FILE_LEN - 16],
}

impl ShareFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::NotAShare`].
    pub fn parse(octets: &[u8]) -> Result<Self, Error> {
        let rest = octets.strip_prefix(MAGIC).ok_or(Error::NotAShare)?;
        let (salt, ciphertext) = rest.split_first_chunk().ok_or(Error::NotAShare)?;
        Ok(Self {
            salt: *salt,
            ciphertext: ciphertext.try_into().map_err(|_| Error::NotAShare)?,
        })
    }

    /// The file's content.
    #[must_use]
    pub fn encode(&self) -> [u8; FILE_LEN] {
        let mut out = [0; FILE_LEN];
        let parts = MAGIC.iter().chain(&self.salt).chain(&self.ciphertext);
        for (place, octet) in out.iter_mut().zip(parts) {
            *place = *octet;
        }
        out
    }

    /// Seals a share under a password with a new salt. Takes seconds.
    ///
    /// # Errors
    /// [`Error::Interrupted`], [`Error::Unavailable`].
    pub fn seal(
        share: &Kek,
        password: &[u8],
        rng: &mut impl Rng,
        progress: Progress<'_>,
    ) -> Result<Self, Error> {
        let mut salt = [0; 8];
        rng.fill(&mut salt).map_err(Unavailable::from)?;
        let keys = derive(password, &salt, ITERATIONS, progress)?;
        let mut plain = SecretBytes::with_capacity(LEN + BLOCK);
        plain.extend_from_slice(share.as_slice());
        // A whole block of padding, as PKCS#7 has it for whole blocks.
        plain.extend_from_slice(&[16; BLOCK]);
        let sealed = aes256_cbc_encrypt(keys.key(), &keys.iv(), plain.as_slice())?;
        let ciphertext = sealed.as_slice().try_into().map_err(|_| Unavailable)?;
        Ok(Self { salt, ciphertext })
    }

    /// Opens the file. Takes seconds.
    ///
    /// # Errors
    /// [`Error::Password`] unless the whole block of padding is right; [`Error::Interrupted`],
    /// [`Error::Unavailable`].
    pub fn open(&self, password: &[u8], progress: Progress<'_>) -> Result<Kek, Error> {
        self.keys(password, progress)?.open(self)
    }

    /// The costly part of [`Self::open`].
    ///
    /// # Errors
    /// [`Error::Interrupted`], [`Error::Unavailable`].
    fn keys(&self, password: &[u8], progress: Progress<'_>) -> Result<Keys, Error> {
        derive(password, &self.salt, ITERATIONS, progress)
    }
}

/// Key and initialization vector: three digests.
struct Keys(SecretBytes);

impl Keys {
    fn key(&self) -> &[u8] {
        self.0.as_slice().get(..LEN).unwrap_or_default()
    }

    fn iv(&self) -> [u8; BLOCK] {
        self.0
            .as_slice()
            .last_chunk()
            .copied()
            .unwrap_or([0; BLOCK])
    }

    fn open(&self, file: &ShareFile) -> Result<Kek, Error> {
        let plain = aes256_cbc_decrypt(self.key(), &self.iv(), &file.ciphertext)?;
        let split = plain.as_slice().split_first_chunk::<LEN>();
        let (share, padding) = split.ok_or(Error::Password)?;
        // OpenSSL looks at as many octets as the last one says, and lets one wrong password in 256
        // pass; a share is of one length, so the whole block is known.
        let mut seen = SecretBytes::with_capacity(BLOCK);
        seen.extend_from_slice(padding);
        if !seen.ct_eq(&[16; BLOCK]) {
            return Err(Error::Password);
        }
        Ok(Kek::from_bytes(share))
    }
}

/// OpenSSL's EVP_BytesToKey with MD5, for a key of 32 and a vector of 16 octets: each of three digests
/// is that of the one before, the password and the salt, taken again `iterations` - 1 times.
fn derive(
    password: &[u8],
    salt: &[u8; 8],
    iterations: u32,
    progress: Progress<'_>,
) -> Result<Keys, Error> {
    let failed = |_| Error::Unavailable(Unavailable);
    let mut out = SecretBytes::with_capacity(3 * DIGEST);
    let mut digest = Zeroizing::new([0u8; DIGEST]);
    let whole = u64::from(iterations).saturating_mul(3).max(1);
    let mut done = 0u64;
    for number in 0..3 {
        let before: &[u8] = if number == 0 { &[] } else { &*digest };
        let first = Md5.digest(&[before, password, salt]).map_err(failed)?;
        let first = Zeroizing::new(first);
        *digest = <[u8; DIGEST]>::try_from(&first[..]).map_err(|_| Unavailable)?;
        let mut left = iterations.saturating_sub(1);
        while left > 0 {
            let some = left.min(REPORT);
            repeated_md5::repeat(&mut digest, some);
            left = left.saturating_sub(some);
            done = done.saturating_add(u64::from(some));
            let thousandths = done.saturating_mul(1000) / whole;
            if !progress(u32::try_from(thousandths).unwrap_or(1000)) {
                return Err(Error::Interrupted);
            }
        }
        out.extend_from_slice(&*digest);
    }
    progress(1000);
    Ok(Keys(out))
}

/// Adds shares to the key they are of.
///
/// # Errors
/// [`Reused`] if one is there twice: the two would cancel each other out.
pub fn combine(shares: &[Kek]) -> Result<Kek, Reused> {
    let mut sum = Kek::zero();
    for (at, share) in shares.iter().enumerate() {
        if shares.iter().take(at).any(|other| other.ct_eq(share)) {
            return Err(Reused);
        }
        sum.add(share);
    }
    Ok(sum)
}

/// A share was given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the same DKEK share was given twice")]
pub struct Reused;
