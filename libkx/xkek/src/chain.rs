//! Chains of certificates from a device to a root, and the roots (xkek spec 8).

use crate::curve::Curve;
use crate::cvc::{self, Certificate, Date, Reference, Request};
use crate::key::PublicKey;

const PRODUCTION: &[u8] = include_bytes!("roots/DESRCACC100001.cvc");
const TEST: &[u8] = include_bytes!("roots/UTSRCACC100001.cvc");

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A certificate in it.
    #[error(transparent)]
    Certificate(#[from] cvc::Error),
    /// Nobody who is trusted signed it.
    #[error("certificate {certificate} is signed by {authority}, which is not a trusted root")]
    Untrusted {
        /// Holder of the last certificate.
        certificate: Reference,
        /// Who signed it.
        authority: Reference,
    },
    /// The certificates are not each other's.
    #[error("certificate {certificate} is signed by {authority}, not by {issuer}")]
    NotIssuer {
        /// Holder of the certificate.
        certificate: Reference,
        /// Who it says signed it.
        authority: Reference,
        /// Who was given as its issuer.
        issuer: Reference,
    },
    /// Not yet, or no longer, valid.
    #[error("certificate {0} is not valid today")]
    Expired(Reference),
    /// A request that another device attests.
    #[error("request {request} is attested by {authority}, not by the device {device}")]
    OtherDevice {
        /// Holder named in the request.
        request: Reference,
        /// Who attests it.
        authority: Reference,
        /// The device at hand.
        device: Reference,
    },
}

/// Those who are trusted: certificates and their keys.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    list: Vec<(Certificate, PublicKey)>,
}

impl Roots {
    /// Nobody.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The vendor's root of real devices.
    ///
    /// # Errors
    /// [`Error`], if the cryptographic library lacks its curve.
    pub fn production() -> Result<Self, Error> {
        let mut roots = Self::none();
        roots.add(Certificate::parse(PRODUCTION)?)?;
        Ok(roots)
    }

    /// Adds the vendor's root of test devices, whose keys may be anybody's.
    ///
    /// # Errors
    /// As [`Self::production`].
    pub fn add_test(&mut self) -> Result<(), Error> {
        self.add(Certificate::parse(TEST)?)
    }

    /// Adds a root: a certificate that is signed with its own key and has domain parameters.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn add(&mut self, root: Certificate) -> Result<(), Error> {
        let key = root.public_key(None)?;
        root.verify(&key)?;
        self.list.push((root, key));
        Ok(())
    }

    /// Adds a certificate that is trusted because somebody says so, signed by whomever; its curve comes
    /// with it or is given.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn add_anchor(&mut self, anchor: Certificate, curve: Option<Curve>) -> Result<(), Error> {
        let key = anchor.public_key(curve)?;
        self.list.push((anchor, key));
        Ok(())
    }

    /// The certificates.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.list.iter().map(|(certificate, _)| certificate)
    }

    fn named<'a>(
        &'a self,
        name: &'a Reference,
    ) -> impl Iterator<Item = (&'a Reference, &'a PublicKey)> {
        self.list
            .iter()
            .filter(move |(certificate, _)| certificate.body().chr == *name)
            .map(|(certificate, key)| (&certificate.body().chr, key))
    }
}

/// A device whose chain was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: Reference,
    /// Its authentication key.
    pub key: PublicKey,
    /// The root of its chain.
    pub root: Reference,
}

impl Device {
    /// Checks that a request's key is this device's: inner signature, name and attestation. Gives the
    /// key.
    ///
    /// # Errors
    /// [`Error::OtherDevice`], [`Error::Certificate`].
    pub fn attests(&self, request: &Request) -> Result<PublicKey, Error> {
        let key = request.verify_inner()?;
        let named = request.outer().map(|outer| outer.car.clone());
        let authority = named.unwrap_or_default();
        if authority != self.name {
            return Err(Error::OtherDevice {
                request: request.body().chr.clone(),
                authority,
                device: self.name.clone(),
            });
        }
        request.verify_outer(&self.key)?;
        Ok(key)
    }
}

fn valid(certificate: &Certificate, today: Option<Date>) -> Result<(), Error> {
    let body = certificate.body();
    let early = today
        .zip(body.effective)
        .is_some_and(|(now, first)| now < first);
    let late = today
        .zip(body.expiration)
        .is_some_and(|(now, last)| now > last);
    if early || late {
        return Err(Error::Expired(body.chr.clone()));
    }
    Ok(())
}

/// Verifies the chain of a device: its certificate, its issuer's, a root. Without a day dates do not
/// count, as they do not on a card, which has no clock.
///
/// # Errors
/// [`Error`].
pub fn verify_device(
    device: &Certificate,
    issuer: &Certificate,
    roots: &Roots,
    today: Option<Date>,
) -> Result<Device, Error> {
    let (issuer_body, device_body) = (issuer.body(), device.body());
    if device_body.car != issuer_body.chr {
        return Err(Error::NotIssuer {
            certificate: device_body.chr.clone(),
            authority: device_body.car.clone(),
            issuer: issuer_body.chr.clone(),
        });
    }
    let (root, issuer_key) = verify_issuer(issuer, roots)?;
    let curve = match &issuer_key {
        PublicKey::Ec(key) => Some(key.curve()),
        PublicKey::Rsa(_) => None,
    };
    device.verify(&issuer_key)?;
    valid(issuer, today)?;
    valid(device, today)?;
    Ok(Device {
        name: device_body.chr.clone(),
        key: device.public_key(curve)?,
        root,
    })
}

/// The issuer is trusted itself, or one of the roots of that name signed it.
fn verify_issuer(issuer: &Certificate, roots: &Roots) -> Result<(Reference, PublicKey), Error> {
    let body = issuer.body();
    for (certificate, key) in &roots.list {
        if certificate == issuer {
            return Ok((body.chr.clone(), key.clone()));
        }
    }
    let mut wrong = Error::Untrusted {
        certificate: body.chr.clone(),
        authority: body.car.clone(),
    };
    for (name, key) in roots.named(&body.car) {
        match issuer.verify(key) {
            Ok(()) => {
                let curve = key.as_ec().map(crate::key::EcPublic::curve);
                return Ok((name.clone(), issuer.public_key(curve)?));
            }
            Err(error) => wrong = error.into(),
        }
    }
    Err(wrong)
}
