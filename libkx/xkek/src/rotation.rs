//! Custodians change: the password of a share file is split anew, and the file is sealed under a new
//! one (xkek spec 10).
//!
//! What this does not do: somebody who has the old file and enough old parts can open that copy for
//! ever, and it holds the same share. Against such a person only another DKEK helps.

use kx_secret::SecretBytes;

use crate::dkek::{self, Progress, ShareFile};
use crate::kek::Kek;
use crate::rng::Rng;
use crate::shamir::{self, Share};

/// Why there is nothing new.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The parts.
    #[error(transparent)]
    Shares(#[from] shamir::Error),
    /// The file.
    #[error(transparent)]
    File(#[from] dkek::Error),
}

/// Opens a file with what custodians typed, trying every meaning it can have
/// ([`shamir::candidates`]). Gives the share and the password that opened it.
///
/// # Errors
/// [`Error`]; [`dkek::Error::Password`] when no meaning opens it: too few parts, or wrong ones.
pub fn open(
    file: &ShareFile,
    shares: &[Share],
    progress: Progress<'_>,
) -> Result<(Kek, SecretBytes), Error> {
    let mut wrong = dkek::Error::Password;
    for password in shamir::candidates(shares)? {
        match file.open(password.as_slice(), &mut *progress) {
            Ok(share) => return Ok((share, password)),
            Err(dkek::Error::Password) => wrong = dkek::Error::Password,
            Err(error) => return Err(error.into()),
        }
    }
    Err(wrong.into())
}

/// Seals a share under a new random password, split into `total` parts, `threshold` of which open it.
///
/// # Errors
/// [`Error`].
pub fn seal(
    share: &Kek,
    threshold: u32,
    total: u32,
    rng: &mut impl Rng,
    progress: Progress<'_>,
) -> Result<(ShareFile, Vec<Share>), Error> {
    let password = shamir::generate_password(rng).map_err(shamir::Error::from)?;
    let shares = shamir::split(password.as_slice(), threshold, total, rng)?;
    let file = ShareFile::seal(share, password.as_slice(), rng, progress)?;
    Ok((file, shares))
}

/// Opens a file with old parts and seals its share anew: other custodians, other numbers, another
/// password, the same share.
///
/// # Errors
/// [`Error`].
pub fn rotate(
    file: &ShareFile,
    old: &[Share],
    threshold: u32,
    total: u32,
    rng: &mut impl Rng,
    progress: Progress<'_>,
) -> Result<(ShareFile, Vec<Share>), Error> {
    let (share, _) = open(file, old, &mut *progress)?;
    seal(&share, threshold, total, rng, progress)
}
