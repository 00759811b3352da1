//! Key domain memberships (xkek spec 8): a group signer's word that a device belongs to its group, and
//! the file that carries it together with the chain.

use crate::chain::{self, Device, Roots};
use crate::cvc::{self, Certificate, Date, Request};
use crate::key::{EcPublic, Key, PublicKey};
use crate::tlv;

/// 1.3.6.1.4.1.24991.4.2.1: key domain membership.
const OID: &[u8] = &[
    0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xc3, 0x1f, 0x04, 0x02, 0x01,
];

/// What is wrong with a membership.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The encoding.
    #[error("not a key domain membership: {0}")]
    Tlv(#[from] tlv::Error),
    /// Another object identifier.
    #[error("not a key domain membership")]
    Kind,
    /// A certificate or request in it.
    #[error(transparent)]
    Certificate(#[from] cvc::Error),
    /// The chain of who attests the group signer.
    #[error(transparent)]
    Chain(#[from] chain::Error),
    /// The group signer is no key on a curve, so it signs no memberships.
    #[error("the group signer is not an EC key")]
    Signer,
    /// The device has no key on a curve.
    #[error("the device's key is not an EC key")]
    Device,
    /// The signature is not the group signer's for this device, in no version known here.
    #[error("the membership is not signed by the group signer for this device")]
    Forged,
}

/// What a membership's signature is over. Newer firmware may sign something else, which is not public
/// (xkek spec 14): then the card has the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 54 and the first coordinate of the device's authentication key.
    V1,
}

impl Version {
    /// The octets that are signed.
    #[must_use]
    pub fn signed(self, device: &EcPublic) -> Vec<u8> {
        match self {
            Self::V1 => [&[0x54], device.x()].concat(),
        }
    }
}

/// Signs the membership of a device with a key at hand; with one on a card, the card signs
/// [`Version::signed`].
///
/// # Errors
/// [`Error::Signer`].
pub fn sign(signer: &Key, device: &EcPublic, version: Version) -> Result<Vec<u8>, Error> {
    match signer {
        Key::Ec(_) => Ok(signer
            .sign_sha256(&version.signed(device))
            .map_err(cvc::Error::from)?),
        _ => Err(Error::Signer),
    }
}

/// Checks a membership.
///
/// # Errors
/// [`Error::Forged`] if it is not of a version known here, or not of this signer for this device.
pub fn verify(signer: &PublicKey, device: &EcPublic, signature: &[u8]) -> Result<Version, Error> {
    let version = Version::V1;
    let signer = signer.as_ec().ok_or(Error::Signer)?;
    let digest = crate::crypto::sha256(&[&version.signed(device)]);
    let right = signer.verify_digest(&digest, signature);
    if right.map_err(cvc::Error::from)? {
        Ok(version)
    } else {
        Err(Error::Forged)
    }
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Issuer of the device that holds the group signer.
    pub issuer: Certificate,
    /// The device that holds the group signer.
    pub holder: Certificate,
    /// The group signer, attested by that device.
    pub group_signer: Request,
    /// The signature over the member. Kept as it is, whatever it signs.
    pub signature: Vec<u8>,
    /// Elements that are not known here, kept in their place behind the others.
    pub unknown: Vec<u8>,
}

impl Membership {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(octets: &[u8]) -> Result<Self, Error> {
        let outer = tlv::only(octets, 0x30)?;
        let (oid, rest) = tlv::expect(outer.value, 0x06)?;
        if oid.value != OID {
            return Err(Error::Kind);
        }
        let (issuer, rest) = tlv::expect(rest, 0x61)?;
        let (holder, rest) = tlv::expect(rest, 0x62)?;
        let (signer, rest) = tlv::expect(rest, 0x63)?;
        let (signature, unknown) = tlv::expect(rest, 0x54)?;
        Ok(Self {
            issuer: Certificate::parse(issuer.value)?,
            holder: Certificate::parse(holder.value)?,
            group_signer: Request::parse(signer.value)?,
            signature: signature.value.to_vec(),
            unknown: unknown.to_vec(),
        })
    }

    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = tlv::encode(0x06, OID);
        tlv::push(&mut out, 0x61, self.issuer.encoded());
        tlv::push(&mut out, 0x62, self.holder.encoded());
        tlv::push(&mut out, 0x63, self.group_signer.encoded());
        tlv::push(&mut out, 0x54, &self.signature);
        out.extend_from_slice(&self.unknown);
        tlv::encode(0x30, &out)
    }

    /// Checks that the group signer is attested by a device under a trusted root. Gives the device that
    /// holds it and its key.
    ///
    /// # Errors
    /// [`Error`].
    pub fn verify_signer(
        &self,
        roots: &Roots,
        today: Option<Date>,
    ) -> Result<(Device, PublicKey), Error> {
        let device = chain::verify_device(&self.holder, &self.issuer, roots, today)?;
        let signer = device.attests(&self.group_signer)?;
        signer.as_ec().ok_or(Error::Signer)?;
        Ok((device, signer))
    }

    /// Checks that the file makes the device with that authentication key a member.
    ///
    /// # Errors
    /// [`Error::Forged`].
    pub fn verify_member(&self, device: &EcPublic) -> Result<Version, Error> {
        verify(&self.group_signer.verify_inner()?, device, &self.signature)
    }
}
