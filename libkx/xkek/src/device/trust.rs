//! MANAGE SE and PSO VERIFY CERTIFICATE: how a device comes to know the keys of other devices (xkek spec 8),
//! and the replacement of its own certificates.

use super::session::{Known, Level};
use super::{Answer, DONE, Device};
use crate::apdu::{Command, StatusWord};
use crate::curve::Curve;
use crate::cvc::{Certificate, Reference, Request};
use crate::key::{EcPublic, PublicKey};
use crate::tlv;

/// Most certificates that one session learns. The imitation has room for four (xkek spec 14a).
const MAX_LEARNT: usize = 16;

/// The certificates one after the other.
fn certificates(octets: &[u8]) -> impl Iterator<Item = Certificate> + '_ {
    tlv::elements(octets)
        .map_while(Result::ok)
        .filter_map(|element| Certificate::parse(element.encoded).ok())
}

/// The key of a certificate on a curve.
fn ec_key(certificate: &Certificate, inherited: Option<Curve>) -> Option<EcPublic> {
    match certificate.public_key(inherited).ok()? {
        PublicKey::Ec(key) => Some(key),
        PublicKey::Rsa(_) => None,
    }
}

fn verified(certificate: &Certificate, signer: &EcPublic) -> bool {
    certificate.verify(&PublicKey::Ec(signer.clone())).is_ok()
}

/// A root that signs itself.
fn root(certificate: &Certificate) -> Option<Known> {
    let key = ec_key(certificate, None)?;
    let body = certificate.body();
    (body.car == body.chr && verified(certificate, &key)).then(|| Known {
        chr: body.chr.clone(),
        key,
        level: Level::Root,
    })
}

/// A certificate signed by one of `signers`, one level below it.
fn below(certificate: &Certificate, signers: &[Known]) -> Option<Known> {
    let body = certificate.body();
    signers.iter().find_map(|signer| {
        let level = match signer.level {
            Level::Root => Level::Issuer,
            Level::Issuer => Level::Device,
            Level::Device => return None,
        };
        if signer.chr != body.car || !verified(certificate, &signer.key) {
            return None;
        }
        Some(Known {
            chr: body.chr.clone(),
            key: ec_key(certificate, Some(signer.key.curve()))?,
            level,
        })
    })
}

impl Device {
    /// The roots a peer may have.
    fn roots(&self) -> Vec<Known> {
        let own = std::iter::once(&self.state.identity.root);
        own.chain(&self.config.trust_roots)
            .flat_map(|octets| certificates(octets))
            .filter_map(|certificate| root(&certificate))
            .collect()
    }

    /// All keys that are known: roots, this device's own chain, what the session learnt.
    fn known(&self) -> Vec<Known> {
        let mut known = self.roots();
        // Issuer first; the file has it last.
        let own: Vec<_> = certificates(&self.state.identity.certificates).collect();
        for certificate in own.iter().rev() {
            known.extend(below(certificate, &known));
        }
        known.extend(self.session.learnt.iter().cloned());
        known
    }

    pub(super) fn manage_security_environment(&mut self, command: &Command) -> Answer {
        let chr = tlv::find(&command.data, 0x83)
            .ok()
            .flatten()
            .and_then(|element| Reference::new(element.value).ok())
            .ok_or(StatusWord::WRONG_DATA)?;
        match (command.p1, command.p2) {
            (0x81, 0xB6) => {
                self.session.verifier = None;
                if !self.known().iter().any(|known| known.chr == chr) {
                    return Err(StatusWord::REFERENCE);
                }
                self.session.verifier = Some(chr);
                DONE
            }
            (0x81, 0xA4) => self.choose_authenticator(&chr),
            // No chip authentication.
            (0x41, 0xA4) => Err(StatusWord::REFERENCE),
            _ => Err(StatusWord::P1_P2),
        }
    }

    pub(super) fn verify_certificate(&mut self, command: &Command) -> Answer {
        if command.p1 != 0 || !matches!(command.p2, 0xBE | 0x92 | 0xAE) {
            return Err(StatusWord::P1_P2);
        }
        let verifier = self.session.verifier.take().ok_or(StatusWord::CONDITIONS)?;
        let certificate = Certificate::parse_content(&command.data);
        let certificate = certificate.map_err(|_| StatusWord::WRONG_DATA)?;
        if certificate.body().car != verifier {
            return Err(StatusWord::CONDITIONS);
        }
        let known = below(&certificate, &self.known()).ok_or(StatusWord::CONDITIONS)?;
        let learnt = &mut self.session.learnt;
        if learnt
            .iter()
            .any(|other| other.chr == known.chr && other.key == known.key)
        {
            return DONE;
        }
        if learnt.len() >= MAX_LEARNT {
            return Err(StatusWord::MEMORY);
        }
        learnt.push(known);
        DONE
    }

    /// Checks that a request was made with its own private key in a device whose certificate is known, and
    /// gives the key.
    pub(super) fn attested_key(&self, request: &Request) -> Result<PublicKey, StatusWord> {
        let refused = StatusWord::CONDITIONS;
        let key = request.verify_inner().map_err(|_| refused)?;
        let outer = request.outer().ok_or(refused)?;
        let attested = self.known().into_iter().any(|known| {
            known.level == Level::Device
                && known.chr == outer.car
                && request.verify_outer(&PublicKey::Ec(known.key)).is_ok()
        });
        match attested {
            true => Ok(key),
            false => Err(refused),
        }
    }

    /// Replaces the device's certificates: device, issuer and, if it is another, root. The device's key
    /// stays, so a certificate for another key is refused.
    pub(super) fn provision(&mut self, content: &[u8]) -> Result<(), StatusWord> {
        let refused = StatusWord::CONDITIONS;
        let elements: Result<Vec<_>, _> = tlv::elements(content).collect();
        let elements = elements.map_err(|_| StatusWord::WRONG_DATA)?;
        let parsed: Result<Vec<_>, _> = elements
            .iter()
            .map(|element| Certificate::parse(element.encoded))
            .collect();
        let parsed = parsed.map_err(|_| StatusWord::WRONG_DATA)?;
        let (device, issuer, new_root) = match parsed.as_slice() {
            [device, issuer] => (device, issuer, None),
            [device, issuer, new_root] => (device, issuer, Some(new_root)),
            _ => return Err(StatusWord::WRONG_DATA),
        };
        let mut signers = match new_root {
            Some(certificate) => vec![root(certificate).ok_or(refused)?],
            None => self.roots(),
        };
        let issuer_key = below(issuer, &signers).ok_or(refused)?;
        signers.push(issuer_key);
        let known = below(device, &signers).ok_or(refused)?;
        let own = self.state.identity.key.public();
        if known.level != Level::Device || own != Some(PublicKey::Ec(known.key)) {
            return Err(refused);
        }
        let identity = &mut self.state.identity;
        identity.chr = known.chr;
        identity.certificates = [device.encoded(), issuer.encoded()].concat();
        if let Some(certificate) = new_root {
            identity.root = certificate.encoded().to_vec();
        }
        Ok(())
    }
}
