//! Chains and requests in which every name is right and one signature is not.

use xkek::chain::{self, Error, Roots, verify_device};
use xkek::curve::Curve;
use xkek::cvc::{self, Body, Certificate, Date, Reference, Request};
use xkek::key::{EcPrivate, Key};
use xkek::rng::System;

fn key() -> Key {
    Key::Ec(EcPrivate::generate(Curve::BrainpoolP256r1, &mut System).unwrap())
}

fn name(text: &str) -> Reference {
    Reference::new(text.as_bytes()).unwrap()
}

const ROOT: &str = "UTROOT00001";
const ISSUER: &str = "UTISSUER00001";
const DEVICE: &str = "UTDEVICE00001";

/// The certificate of `holder`'s key in the name of `authority`, signed by `signer`.
fn certificate(authority: &str, signer: &Key, holder: &str, key: &Key) -> Certificate {
    let public = key.public().unwrap();
    let body = Body::request(name(authority), name(holder), &public);
    Certificate::issue(body, signer).unwrap()
}

struct Chain {
    root: Key,
    issuer: Key,
    device: Key,
}

impl Chain {
    fn new() -> Self {
        Self {
            root: key(),
            issuer: key(),
            device: key(),
        }
    }

    fn roots(&self) -> Roots {
        let mut roots = Roots::none();
        let root = certificate(ROOT, &self.root, ROOT, &self.root);
        roots.add(root).unwrap();
        roots
    }

    fn issuer(&self, signer: &Key) -> Certificate {
        certificate(ROOT, signer, ISSUER, &self.issuer)
    }

    fn device(&self, signer: &Key) -> Certificate {
        certificate(ISSUER, signer, DEVICE, &self.device)
    }
}

#[test]
fn each_signature_of_a_chain_counts() {
    let chain = Chain::new();
    let roots = chain.roots();
    let other = key();
    let (issuer, device) = (chain.issuer(&chain.root), chain.device(&chain.issuer));
    let verified = verify_device(&device, &issuer, &roots, None).unwrap();
    assert_eq!(verified.name, name(DEVICE));
    for (issuer, device, wrong) in [
        (issuer.clone(), chain.device(&other), DEVICE),
        (chain.issuer(&other), device.clone(), ISSUER),
        // By the device itself, as anybody could.
        (issuer.clone(), chain.device(&chain.device), DEVICE),
    ] {
        let error = verify_device(&device, &issuer, &roots, None).unwrap_err();
        assert_eq!(error, Error::from(cvc::Error::Signature(name(wrong))));
    }
    let stranger = certificate("UTOTHER00001", &chain.issuer, DEVICE, &chain.device);
    let error = verify_device(&stranger, &issuer, &roots, None).unwrap_err();
    assert!(matches!(error, Error::NotIssuer { .. }), "{error}");
    let error = verify_device(&device, &issuer, &Roots::none(), None).unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
}

#[test]
fn a_root_is_signed_by_itself() {
    let (root, other) = (key(), key());
    let forged = certificate(ROOT, &other, ROOT, &root);
    let error = Roots::none().add(forged).unwrap_err();
    assert_eq!(error, Error::from(cvc::Error::Signature(name(ROOT))));
}

#[test]
fn days_count_when_there_is_one() {
    let chain = Chain::new();
    let roots = chain.roots();
    let day = |year| Date {
        year,
        month: 6,
        day: 15,
    };
    let public = chain.device.public().unwrap();
    let body = Body {
        effective: Some(day(20)),
        expiration: Some(day(30)),
        ..Body::request(name(ISSUER), name(DEVICE), &public)
    };
    let device = Certificate::issue(body, &chain.issuer).unwrap();
    let issuer = chain.issuer(&chain.root);
    let on = |today| verify_device(&device, &issuer, &roots, today).map(|device| device.name);
    for good in [None, Some(day(20)), Some(day(25)), Some(day(30))] {
        assert_eq!(on(good), Ok(name(DEVICE)));
    }
    for bad in [19, 31] {
        assert_eq!(on(Some(day(bad))), Err(Error::Expired(name(DEVICE))));
    }
}

#[test]
fn a_request_is_its_own_keys_and_its_devices() {
    let chain = Chain::new();
    let (issuer, device) = (chain.issuer(&chain.root), chain.device(&chain.issuer));
    let verified: chain::Device = verify_device(&device, &issuer, &chain.roots(), None).unwrap();
    let (made, other) = (key(), key());
    let own = name("UTKEY00001");
    let request = |signer: &Key, car: &str, attester: &Key| {
        let body = Body::request(own.clone(), own.clone(), &made.public().unwrap());
        Request::make(body, signer, name(car), attester).unwrap()
    };
    let good = request(&made, DEVICE, &chain.device);
    assert_eq!(verified.attests(&good).ok(), made.public());
    // Who has not the private key cannot have it attested in his name.
    let error = verified.attests(&request(&other, DEVICE, &chain.device));
    assert_eq!(
        error.unwrap_err(),
        Error::from(cvc::Error::Inner(own.clone()))
    );
    let error = verified.attests(&request(&made, DEVICE, &other));
    assert_eq!(
        error.unwrap_err(),
        Error::from(cvc::Error::Attestation(own.clone()))
    );
    let error = verified.attests(&request(&made, ISSUER, &chain.device));
    assert!(matches!(error, Err(Error::OtherDevice { .. })));
}
