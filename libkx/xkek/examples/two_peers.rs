//! Two devices in memory become members of a group, attest exchange keys to each other, agree on a
//! key-encryption key, and a key goes from one to the other under it.
//!
//! `cargo run -p xkek --example two_peers`
#![forbid(unsafe_code)]

use std::error::Error;

use xkek::blob::{self, Attributes, Blob};
use xkek::chain::{self, Roots, verify_device};
use xkek::curve::Curve;
use xkek::cvc::{Body, Certificate, KeyField, Reference, Request};
use xkek::exchange;
use xkek::group_signer::{self, GroupSigner};
use xkek::kdm;
use xkek::kek::{Kdf, Kek};
use xkek::key::{EcPrivate, Key, PublicKey};
use xkek::pka::AttestedKey;
use xkek::rng::System;

/// What stands in for a device: a key with a certificate, and an exchange key.
struct Peer {
    certificate: Certificate,
    authentication: Key,
    exchange: EcPrivate,
}

fn name(name: &str) -> Result<Reference, xkek::cvc::Error> {
    Reference::new(name.as_bytes())
}

fn public(key: &Key) -> Result<PublicKey, &'static str> {
    key.public().ok_or("no public key")
}

fn ec(curve: Curve) -> Result<Key, xkek::crypto::Unavailable> {
    EcPrivate::generate(curve, &mut System).map(Key::Ec)
}

/// A certificate; only a root's has domain parameters.
fn issue(
    holder: &str,
    key: &Key,
    authority: &str,
    signer: &Key,
) -> Result<Certificate, Box<dyn Error>> {
    let mut body = Body::request(name(authority)?, name(holder)?, &public(key)?);
    if let (false, PublicKey::Ec(key)) = (holder == authority, public(key)?) {
        body.key = KeyField::point_only(&key);
    }
    Ok(Certificate::issue(body, signer)?)
}

impl Peer {
    fn new(holder: &str, authority: &str, issuer: &Key) -> Result<Self, Box<dyn Error>> {
        let authentication = ec(Curve::BrainpoolP256r1)?;
        Ok(Self {
            certificate: issue(holder, &authentication, authority, issuer)?,
            authentication,
            exchange: EcPrivate::generate(Curve::BrainpoolP256r1, &mut System)?,
        })
    }

    fn name(&self) -> Reference {
        self.certificate.body().chr.clone()
    }

    /// The exchange key, attested.
    fn offer(&self, uid: &[u8]) -> Result<Request, Box<dyn Error>> {
        let scalar = self.exchange.scalar()?;
        let key = Key::Ec(EcPrivate::from_scalar(
            self.exchange.curve(),
            scalar.as_slice(),
        )?);
        let named = name("UTEXCHANGE00001")?;
        Ok(exchange::attest(
            named.clone(),
            named,
            uid,
            &key,
            self.name(),
            &self.authentication,
        )?)
    }

    fn derive(
        &self,
        uid: &[u8],
        offer: &Request,
        peer: &chain::Device,
    ) -> Result<Kek, exchange::Error> {
        exchange::agree(&self.exchange, uid, offer, peer, Kdf::RawX)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // One scheme: a root, an issuer, two devices.
    let (root_key, issuer_key) = (ec(Curve::BrainpoolP256r1)?, ec(Curve::BrainpoolP256r1)?);
    let root = issue("UTROOT00001", &root_key, "UTROOT00001", &root_key)?;
    let issuer = issue("UTISSUER00001", &issuer_key, "UTROOT00001", &root_key)?;
    let alice = Peer::new("UTALICE00001", "UTISSUER00001", &issuer_key)?;
    let bob = Peer::new("UTBOB00001", "UTISSUER00001", &issuer_key)?;
    let mut roots = Roots::none();
    roots.add(root)?;
    let device = |peer: &Peer| verify_device(&peer.certificate, &issuer, &roots, None);

    // A group, whose signer Alice's device attests; both are made members.
    let key = EcPrivate::generate(Curve::BrainpoolP256r1, &mut System)?;
    let uid = group_signer::imitation_uid(key.public());
    let signer = GroupSigner::new(key, name("UTGROUP00001")?);
    let attested = AttestedKey {
        request: signer.request(alice.name(), &alice.authentication)?,
        device: alice.certificate.clone(),
        issuer: issuer.clone(),
    };
    for peer in [&alice, &bob] {
        let verified = device(peer)?;
        let member = verified.key.as_ec().ok_or("no EC key")?;
        let membership = group_signer::membership(&attested, signer.sign(member)?);
        let membership = kdm::Membership::parse(&membership.encode())?;
        membership.verify_signer(&roots, None)?;
        membership.verify_member(member)?;
        println!("{} is a member of the group", verified.name);
    }

    // Each offers an exchange key, checks the other's and derives.
    let (from_alice, from_bob) = (alice.offer(&uid)?, bob.offer(&uid)?);
    let at_alice = alice.derive(&uid, &from_bob, &device(&bob)?)?;
    let at_bob = bob.derive(&uid, &from_alice, &device(&alice)?)?;
    println!("key check value at Alice: {}", at_alice.kcv());
    println!("key check value at Bob:   {}", at_bob.kcv());
    if at_alice.kcv() != at_bob.kcv() {
        return Err("the key check values differ".into());
    }

    // A key goes from Alice to Bob.
    let key = ec(Curve::Secp256r1)?;
    let sealed = blob::seal(&at_alice, &key, &Attributes::default(), &mut System)?;
    let opened = Blob::parse(&sealed)?.open(&at_bob, &mut System)?;
    if opened.key.public() != key.public() {
        return Err("another key came out".into());
    }
    println!("a key moved in {} octets", sealed.len());

    // A stranger with a root of its own is refused.
    let stranger_key = ec(Curve::BrainpoolP256r1)?;
    let stranger = Peer::new("UTSTRANGER00001", "UTSTRANGE00001", &stranger_key)?;
    match verify_device(&stranger.certificate, &issuer, &roots, None) {
        Err(error) => println!("a stranger: {error}"),
        Ok(_) => return Err("a stranger was let in".into()),
    }
    Ok(())
}
