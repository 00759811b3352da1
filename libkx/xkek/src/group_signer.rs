//! A group signer: the key that says who belongs to a group (xkek spec 8). On a device the device
//! signs; here is what both need, and one in software.

use crate::curve::Curve;
use crate::cvc::{self, Body, GenerationRequest, KeyAttributes, KeySpec, Reference, Request};
use crate::kdm::{self, Membership, Version};
use crate::key::{EcPrivate, EcPublic, Key, PublicKey};
use crate::pka::AttestedKey;
use crate::{algorithm, crypto};

/// Curves that a group signer may be on.
pub const CURVES: [Curve; 2] = [Curve::BrainpoolP256r1, Curve::Secp256r1];

/// What GENERATE is told for a group signer: only signatures with SHA-256 are allowed.
#[must_use]
pub fn generation_request(curve: Curve, name: Reference) -> GenerationRequest {
    GenerationRequest {
        car: name.clone(),
        chr: name,
        key: KeySpec::Ec(curve),
        outer_car: None,
        attributes: KeyAttributes {
            algorithms: vec![algorithm::ECDSA_SHA256],
            ..KeyAttributes::default()
        },
    }
}

/// The file of a membership: the group signer as its device exported it, with the chain of that day (a
/// device's certificate changes when its firmware is updated), and the signature.
#[must_use]
pub fn membership(signer: &AttestedKey, signature: Vec<u8>) -> Membership {
    Membership {
        issuer: signer.issuer.clone(),
        holder: signer.device.clone(),
        group_signer: signer.request.clone(),
        signature,
        unknown: Vec::new(),
    }
}

/// What the imitation takes for the identifier of the group's key domain: both coordinates. Never to
/// be computed for a real card (xkek spec 8).
#[must_use]
pub fn imitation_uid(signer: &EcPublic) -> Vec<u8> {
    signer.point().get(1..).unwrap_or_default().to_vec()
}

/// A group signer in software.
#[derive(Debug)]
pub struct GroupSigner {
    key: Key,
    name: Reference,
}

impl GroupSigner {
    /// Takes a key.
    #[must_use]
    pub fn new(key: EcPrivate, name: Reference) -> Self {
        Self {
            key: Key::Ec(key),
            name,
        }
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> Option<PublicKey> {
        self.key.public()
    }

    /// Its request, attested by a device.
    ///
    /// # Errors
    /// [`cvc::Error::Unavailable`].
    pub fn request(&self, device_name: Reference, device: &Key) -> Result<Request, cvc::Error> {
        let public = self.key.public().ok_or(crypto::Unavailable)?;
        // Some cards look the authority's domain parameters up, so it must name itself.
        let body = Body::request(self.name.clone(), self.name.clone(), &public);
        Request::make(body, &self.key, device_name, device)
    }

    /// Signs the membership of the device with that authentication key.
    ///
    /// # Errors
    /// [`kdm::Error`].
    pub fn sign(&self, device: &EcPublic) -> Result<Vec<u8>, kdm::Error> {
        kdm::sign(&self.key, device, Version::V1)
    }
}
