//! Exchange keys: what a device checks before it agrees on a key-encryption key with a peer (xkek spec
//! 8), and the same for two peers in software.

use crate::chain;
use crate::curve::Curve;
use crate::cvc::{Body, Extension, GenerationRequest, KeyAttributes, KeySpec, Reference, Request};
use crate::kek::{Kdf, Kek};
use crate::key::{EcPrivate, EcPublic, Key, PublicKey};
use crate::{algorithm, cvc, key};

/// Why no key is agreed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Chain or attestation of the peer.
    #[error(transparent)]
    Chain(#[from] chain::Error),
    /// The request itself.
    #[error(transparent)]
    Certificate(#[from] cvc::Error),
    /// The request names no key domain.
    #[error("the peer's key is not an exchange key: it names no key domain")]
    NoDomain,
    /// It names another key domain.
    #[error("the peer's exchange key belongs to another key domain")]
    OtherDomain,
    /// It is on another curve, or none.
    #[error("the peer's exchange key is on another curve")]
    Curve,
    /// It is this device's own key.
    #[error("the peer's exchange key is our own")]
    Own,
    /// A key could not be used.
    #[error(transparent)]
    Key(#[from] key::Error),
}

/// What GENERATE is told for an exchange key in a domain: only agreement is allowed.
#[must_use]
pub fn generation_request(
    domain: u8,
    curve: Curve,
    car: Reference,
    chr: Reference,
) -> GenerationRequest {
    GenerationRequest {
        car,
        chr,
        key: KeySpec::Ec(curve),
        outer_car: None,
        attributes: KeyAttributes {
            algorithms: vec![algorithm::ECDH_XKEK],
            domain: Some(domain),
            ..KeyAttributes::default()
        },
    }
}

/// The attested request of an exchange key, as a device makes it.
///
/// # Errors
/// [`cvc::Error::Unavailable`].
pub fn attest(
    car: Reference,
    chr: Reference,
    uid: &[u8],
    exchange: &Key,
    device_name: Reference,
    device: &Key,
) -> Result<Request, cvc::Error> {
    let public = exchange
        .public()
        .ok_or(cvc::Error::Unavailable(crate::crypto::Unavailable))?;
    let mut body = Body::request(car, chr, &public);
    body.extensions.push(Extension::key_domain(uid));
    Request::make(body, exchange, device_name, device)
}

/// Checks everything about a peer's exchange key that a device must: attestation by the peer's device,
/// whose chain was verified before; own signature; domain; curve; that it is not our own. Gives its
/// point.
///
/// # Errors
/// [`Error`].
pub fn verify_peer(
    request: &Request,
    device: &chain::Device,
    uid: &[u8],
    own: &EcPublic,
) -> Result<EcPublic, Error> {
    let key = device.attests(request)?;
    let named = request.body().key_domain_uid().ok_or(Error::NoDomain)?;
    if named != uid {
        return Err(Error::OtherDomain);
    }
    match key {
        PublicKey::Ec(key) if key.curve() == own.curve() => {
            if key == *own {
                Err(Error::Own)
            } else {
                Ok(key)
            }
        }
        _ => Err(Error::Curve),
    }
}

/// Checks a peer and agrees with it.
///
/// # Errors
/// [`Error`].
pub fn agree(
    own: &EcPrivate,
    uid: &[u8],
    peer: &Request,
    peer_device: &chain::Device,
    kdf: Kdf,
) -> Result<Kek, Error> {
    let peer = verify_peer(peer, peer_device, uid, own.public())?;
    Ok(kdf.agree(own, &peer)?)
}
