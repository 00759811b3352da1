//! GENERATE ASYMMETRIC KEY PAIR, GENERATE SYMMETRIC KEY, and the requests that attest keys (xkek spec 4).

use super::decipher::AGREE_KEK;
use super::state::{Domain, Key};
use super::{Answer, DONE, Device};
use crate::algorithm;
use crate::apdu::{Command, StatusWord};
use crate::cvc::{
    Body, Error, Extension, GenerationRequest, KeyAttributes, KeySpec, Reference, Request,
};
use crate::key::{AesKey, EcPrivate, Key as Material, RsaPrivate};
use crate::rng::Rng;

/// What the host wrote is not understood, or names what is not there.
fn refused(error: Error) -> StatusWord {
    match error {
        Error::Curve => StatusWord::NOT_SUPPORTED,
        Error::Unavailable(_) => StatusWord::EXECUTION,
        _ => StatusWord::WRONG_DATA,
    }
}

impl Device {
    /// The domain a new key belongs to: the one that is named, else the first if it is in use.
    fn place(&self, attributes: &mut KeyAttributes) -> Result<(), StatusWord> {
        let domain = match attributes.domain {
            None => match self.state.domains.first() {
                None | Some(Domain::Empty) => return Ok(()),
                Some(first) => {
                    attributes.domain = Some(0);
                    first
                }
            },
            // Without domains all keys are in the first, which is none.
            Some(0) if self.state.domains.is_empty() => {
                attributes.domain = None;
                return Ok(());
            }
            Some(number) => self
                .state
                .domains
                .get(usize::from(number))
                .ok_or(StatusWord::WRONG_DATA)?,
        };
        match domain {
            Domain::Empty => Err(StatusWord::WRONG_DATA),
            // Until all shares of the initialisation are there, nothing is made.
            Domain::Dkek { initial: true, .. } => Err(StatusWord::CONDITIONS),
            _ => Ok(()),
        }
    }

    pub(super) fn generate_key_pair(&mut self, mut rng: &mut dyn Rng, command: &Command) -> Answer {
        self.need_user()?;
        let (id, signer) = (command.p1, command.p2);
        if signer != 0 {
            return Err(StatusWord::NOT_SUPPORTED);
        }
        self.free_place(id)?;
        let request = GenerationRequest::parse(&command.data).map_err(refused)?;
        let mut attributes = request.attributes;
        self.place(&mut attributes)?;
        // An exchange key outside of a group agrees on nothing.
        let is_exchange_key = attributes.algorithms.contains(&AGREE_KEK);
        if is_exchange_key && self.group_of(attributes.domain).is_none() {
            return Err(StatusWord::WRONG_DATA);
        }
        let material = match request.key {
            KeySpec::Ec(curve) => EcPrivate::generate(curve, &mut rng)
                .map(Material::Ec)
                .map_err(|_| StatusWord::EXECUTION)?,
            KeySpec::Rsa { bits, exponent } => {
                let made = match exponent {
                    None => RsaPrivate::generate(bits.into()),
                    Some(exponent) => {
                        let exponent = word(&exponent).ok_or(StatusWord::NOT_SUPPORTED)?;
                        RsaPrivate::generate_with_exponent(bits.into(), exponent)
                    }
                };
                Material::Rsa(made.map_err(|_| StatusWord::WRONG_DATA)?)
            }
        };
        let key = Key {
            material,
            attributes,
            blob_extras: Default::default(),
        };
        let answer = self.attest(request.car, request.chr, &key)?;
        self.keep(id, key, Some(answer.clone()));
        Ok(answer)
    }

    /// The authenticated request of a key: signed by the key and by the device.
    pub(super) fn attest(&self, car: Reference, chr: Reference, key: &Key) -> Answer {
        let public = key.material.public().ok_or(StatusWord::EXECUTION)?;
        let mut body = Body::request(car, chr, &public);
        let agrees = algorithm::allowed(&key.attributes.algorithms, AGREE_KEK);
        if let (true, Some(uid), Material::Ec(_)) =
            (agrees, self.group_of(key.attributes.domain), &key.material)
        {
            body.extensions.push(Extension::key_domain(uid));
        }
        let identity = &self.state.identity;
        let made = Request::make(body, &key.material, identity.chr.clone(), &identity.key);
        Ok(made.map_err(refused)?.encoded().to_vec())
    }

    /// The name that the device gives a key itself: its serial number and the key's.
    pub(super) fn own_name(&self, id: u8) -> Result<Reference, StatusWord> {
        let serial = self.state.identity.chr.serial().unwrap_or_default();
        let number = format!("{id:05}");
        Reference::new(&[serial, number.as_bytes()].concat()).map_err(refused)
    }

    /// Puts a key in its place, with its request or without one.
    pub(super) fn keep(&mut self, id: u8, key: Key, request: Option<Vec<u8>>) {
        let file = u16::from_be_bytes([0xCE, id]);
        match request {
            Some(request) => self.state.files.insert(file, request),
            None => self.state.files.remove(&file),
        };
        self.state.keys.insert(id, key);
        self.changed = true;
    }

    pub(super) fn generate_symmetric_key(
        &mut self,
        mut rng: &mut dyn Rng,
        command: &Command,
    ) -> Answer {
        self.need_user()?;
        let octets = match command.p2 {
            0xB0 => 16,
            0xB1 => 24,
            0xB2 => 32,
            _ => return Err(StatusWord::NOT_SUPPORTED),
        };
        let id = command.p1;
        self.free_place(id)?;
        let mut attributes = KeyAttributes::parse(&command.data).map_err(refused)?;
        self.place(&mut attributes)?;
        let key = AesKey::generate(octets, &mut rng).map_err(|_| StatusWord::EXECUTION)?;
        let key = Key {
            material: Material::Aes(key),
            attributes,
            blob_extras: Default::default(),
        };
        self.keep(id, key, None);
        DONE
    }
}

/// An exponent of at most four octets.
fn word(exponent: &[u8]) -> Option<u32> {
    let octets = crate::crypto::padded(exponent, 4)?;
    Some(u32::from_be_bytes(octets.as_slice().try_into().ok()?))
}
