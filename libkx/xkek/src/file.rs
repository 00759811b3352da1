//! Which kind of file it is: every kind that custodians keep tells itself by its content.

use crate::blob::Blob;
use crate::cvc::{Certificate, Request};
use crate::dkek::ShareFile;
use crate::kdm::Membership;
use crate::pka::{AttestedKey, Form};
use crate::wky::WrappedKey;
use crate::{cvc, dkek, kdm, pka, tlv, wky};

/// Most octets of a file that is looked at.
pub const MAX: usize = 65_536;

/// A file, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum File {
    /// A share of a DKEK under a password.
    Share(ShareFile),
    /// An exported key.
    WrappedKey(WrappedKey),
    /// A key blob without the file around it.
    Blob(Blob),
    /// A key domain membership.
    Membership(Box<Membership>),
    /// A key for public key authentication with its chain.
    PublicKey(Box<AttestedKey>),
    /// An exchange key, or a group signer's key, with its chain.
    AttestedKey(Box<AttestedKey>),
    /// A request.
    Request(Box<Request>),
    /// Certificates, one after the other.
    Certificates(Vec<Certificate>),
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No kind of file begins so.
    #[error("unknown kind of file")]
    Unknown,
    /// A share file, damaged.
    #[error(transparent)]
    Share(#[from] dkek::Error),
    /// An exported key, damaged.
    #[error(transparent)]
    WrappedKey(#[from] wky::Error),
    /// A membership, damaged.
    #[error(transparent)]
    Membership(#[from] kdm::Error),
    /// An attested key, damaged.
    #[error(transparent)]
    AttestedKey(#[from] pka::Error),
    /// A certificate or request, damaged.
    #[error(transparent)]
    Certificate(#[from] cvc::Error),
}

impl File {
    /// Tells a file by its content and takes it apart.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(octets: &[u8]) -> Result<Self, Error> {
        if octets.len() > MAX {
            return Err(Error::Unknown);
        }
        if octets.starts_with(b"Salted__") {
            return Ok(Self::Share(ShareFile::parse(octets)?));
        }
        // A blob begins with a check value, which can be anything, so it is what is tried last.
        match encoded(octets) {
            Ok(file) => Ok(file),
            Err(error) => match Blob::parse(octets) {
                Ok(blob) => Ok(Self::Blob(blob)),
                Err(_) => Err(error),
            },
        }
    }

    /// What it is, in words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Share(_) => "DKEK share",
            Self::WrappedKey(_) => "wrapped key",
            Self::Blob(_) => "key blob",
            Self::Membership(_) => "key domain membership",
            Self::PublicKey(_) => "public key for authentication",
            Self::AttestedKey(key) if key.request.body().key_domain_uid().is_some() => {
                "exchange key"
            }
            Self::AttestedKey(_) => "attested public key",
            Self::Request(_) => "certificate request",
            Self::Certificates(_) => "card verifiable certificates",
        }
    }
}

fn encoded(octets: &[u8]) -> Result<File, Error> {
    let (outer, rest) = tlv::read(octets).map_err(|_| Error::Unknown)?;
    match outer.tag {
        0x30 => sequence(octets, outer.value),
        0x67 if rest.is_empty() => Ok(File::Request(Box::new(Request::parse(octets)?))),
        0x67 => {
            let (key, _) = AttestedKey::parse(octets)?;
            Ok(File::AttestedKey(Box::new(key)))
        }
        0x7f21 => {
            let mut list = Vec::new();
            for element in tlv::elements(octets) {
                let element = element.map_err(cvc::Error::from)?;
                list.push(Certificate::parse(element.encoded)?);
            }
            Ok(File::Certificates(list))
        }
        _ => Err(Error::Unknown),
    }
}

fn sequence(octets: &[u8], content: &[u8]) -> Result<File, Error> {
    match tlv::read(content).map(|(first, _)| first.tag) {
        Ok(0x04) => Ok(File::WrappedKey(WrappedKey::parse(octets)?)),
        Ok(0x06) => Ok(File::Membership(Box::new(Membership::parse(octets)?))),
        Ok(0x67) => match AttestedKey::parse(octets)? {
            (key, Form::Sequence) => Ok(File::PublicKey(Box::new(key))),
            (key, Form::Plain) => Ok(File::AttestedKey(Box::new(key))),
        },
        _ => Err(Error::Unknown),
    }
}
