//! WRAP KEY and UNWRAP KEY (xkek spec 7).

use super::files::SCRATCH;
use super::state::{Domain, Key};
use super::{Answer, DONE, Device};
use crate::algorithm::{UNWRAP, WRAP, allowed};
use crate::apdu::{Command, StatusWord};
use crate::blob::{self, Blob};
use crate::cvc::KeyAttributes;
use crate::rng::Rng;

impl Device {
    pub(super) fn wrap_key(&mut self, mut rng: &mut dyn Rng, command: &Command) -> Answer {
        if command.p2 != WRAP {
            return Err(StatusWord::P1_P2);
        }
        self.need_user()?;
        let key = self.state.keys.get(&command.p1);
        let key = key.ok_or(StatusWord::NOT_FOUND)?;
        // The blob does not hold the counter: a key would come back with all its uses.
        let is_counted = key.attributes.use_counter.is_some();
        if is_counted || !allowed(&key.attributes.algorithms, WRAP) {
            return Err(StatusWord::CONDITIONS);
        }
        let domain = key.attributes.domain.map(usize::from);
        let kek = domain
            .and_then(|slot| self.state.domains.get(slot))
            .and_then(Domain::kek)
            .ok_or(StatusWord::REFERENCE)?;
        let (access_conditions, key_oid) = key.blob_extras.clone();
        let attributes = blob::Attributes {
            algorithms: key.attributes.algorithms.clone(),
            access_conditions,
            key_oid,
        };
        blob::seal(kek, &key.material, &attributes, &mut rng).map_err(|_| StatusWord::EXECUTION)
    }

    /// Imports under the domain whose KEK made the blob. A key that is there is replaced: whether that may
    /// be is what clients ask before.
    pub(super) fn unwrap_key(&mut self, mut rng: &mut dyn Rng, command: &Command) -> Answer {
        let id = command.p1;
        if command.p2 != UNWRAP {
            return Err(StatusWord::P1_P2);
        }
        self.need_user()?;
        if id == 0 {
            return Err(StatusWord::CONDITIONS);
        }
        let from_file = self.state.files.get(&SCRATCH);
        let octets = match command.data.as_slice() {
            [] => from_file.ok_or(StatusWord::WRONG_DATA)?.as_slice(),
            data => data,
        };
        let wrong = |_| StatusWord::WRONG_DATA;
        let blob = Blob::parse(octets).map_err(wrong)?;
        let keks = (0u8..=u8::MAX).zip(&self.state.domains);
        let mut keks = keks.filter_map(|(number, domain)| Some((number, domain.kek()?)));
        let (number, kek) = keks
            .find(|(_, kek)| kek.kcv() == blob.kcv)
            .ok_or(StatusWord::WRONG_DATA)?;
        let opened = blob.open(kek, &mut rng).map_err(wrong)?;
        let key = Key {
            material: opened.key,
            attributes: KeyAttributes {
                algorithms: opened.attributes.algorithms,
                domain: Some(number),
                ..KeyAttributes::default()
            },
            blob_extras: (
                opened.attributes.access_conditions,
                opened.attributes.key_oid,
            ),
        };
        let request = match key.material.public() {
            Some(_) => {
                let car = self.state.identity.chr.clone();
                Some(self.attest(car, self.own_name(id)?, &key)?)
            }
            None => None,
        };
        self.keep(id, key, request);
        self.state.files.remove(&SCRATCH);
        DONE
    }
}
