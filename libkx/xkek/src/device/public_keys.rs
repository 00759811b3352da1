//! Public key authentication: n of m keys log in (xkek spec 11).

use super::initialize::REPLACE_KEYS;
use super::state::Registered;
use super::{Answer, DONE, Device};
use crate::apdu::{Command, StatusWord};
use crate::crypto::sha256;
use crate::cvc::{Reference, Request};
use crate::key::PublicKey;

/// A slot whose key has authenticated.
const AUTHENTICATED: StatusWord = StatusWord(0x9001);

impl Device {
    pub(super) fn manage_public_keys(&mut self, command: &Command) -> Answer {
        let Some(keys) = &self.state.public_keys else {
            return Err(StatusWord::P1_P2);
        };
        let slot = usize::from(command.p2);
        match (command.p1, command.p2) {
            (0, 0) if command.data.is_empty() => {}
            (0, 0) => {
                // As with DKEK shares: until all are there nobody is asked for a PIN, and sc-hsm-tool
                // gives none.
                let free = keys.slots.iter().position(Option::is_none);
                self.register(free.ok_or(StatusWord::MEMORY)?, &command.data)?;
            }
            (1, _) => {
                if slot >= keys.slots.len() {
                    return Err(StatusWord::P1_P2);
                }
                if self.state.options & REPLACE_KEYS == 0 {
                    return Err(StatusWord::NOT_ALLOWED);
                }
                if !self.is_user() && !self.session.so_pin {
                    return Err(StatusWord::SECURITY);
                }
                self.register(slot, &command.data)?;
            }
            (2, _) => {
                let key = keys.slots.get(slot).ok_or(StatusWord::P1_P2)?;
                let key = key.as_ref().ok_or(StatusWord::REFERENCE)?;
                if self.session.authenticated.contains(&slot) {
                    self.session.word = Some(AUTHENTICATED);
                }
                return Ok(key.chr.as_bytes().to_vec());
            }
            _ => return Err(StatusWord::P1_P2),
        }
        self.public_key_status()
    }

    /// Slots, those that are empty, how many are needed, how many have authenticated.
    fn public_key_status(&self) -> Answer {
        let keys = self.state.public_keys.as_ref();
        let keys = keys.ok_or(StatusWord::P1_P2)?;
        let count = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        let missing = keys.slots.iter().filter(|slot| slot.is_none()).count();
        Ok(vec![
            count(keys.slots.len()),
            count(missing),
            keys.required,
            count(self.session.authenticated.len()),
        ])
    }

    fn register(&mut self, slot: usize, request: &[u8]) -> Result<(), StatusWord> {
        let request = Request::parse_content(request).map_err(|_| StatusWord::WRONG_DATA)?;
        let PublicKey::Ec(key) = self.attested_key(&request)? else {
            return Err(StatusWord::CONDITIONS);
        };
        let chr = request.body().chr.clone();
        let Some(keys) = &mut self.state.public_keys else {
            return Err(StatusWord::P1_P2);
        };
        // One key in two slots would be two of n.
        let others = keys.slots.iter().enumerate();
        let taken = others
            .filter(|(number, _)| *number != slot)
            .filter_map(|(_, other)| other.as_ref())
            .any(|other| other.chr == chr || other.key == key);
        if taken {
            return Err(StatusWord::CONDITIONS);
        }
        if let Some(place) = keys.slots.get_mut(slot) {
            *place = Some(Registered { chr, key });
            self.session.authenticated.remove(&slot);
            self.changed = true;
        }
        Ok(())
    }

    /// MANAGE SE 81 A4.
    pub(super) fn choose_authenticator(&mut self, chr: &Reference) -> Answer {
        self.session.authenticator = None;
        let keys = self.state.public_keys.as_ref();
        let slot = keys
            .and_then(|keys| {
                keys.slots
                    .iter()
                    .position(|key| key.as_ref().is_some_and(|key| key.chr == *chr))
            })
            .ok_or(StatusWord::REFERENCE)?;
        if self.session.authenticated.contains(&slot) {
            return Err(StatusWord::CONDITIONS);
        }
        self.session.authenticator = Some(slot);
        DONE
    }

    pub(super) fn external_authenticate(&mut self, command: &Command) -> Answer {
        if (command.p1, command.p2) != (0, 0) {
            return Err(StatusWord::P1_P2);
        }
        let Some(keys) = &self.state.public_keys else {
            return Err(StatusWord::NOT_SUPPORTED);
        };
        // Whatever comes of it, a challenge is good for one try.
        let challenge = self.session.challenge.take();
        let slot = self.session.authenticator;
        let (Some(challenge), Some(slot)) = (challenge, slot) else {
            return Err(StatusWord::CONDITIONS);
        };
        let key = keys.slots.get(slot).and_then(Option::as_ref);
        let key = key.ok_or(StatusWord::CONDITIONS)?;
        let signed = sha256(&[self.state.identity.chr.as_bytes(), &challenge]);
        match key.key.verify_digest(&signed, &command.data) {
            Ok(true) => {
                self.session.authenticator = None;
                self.session.authenticated.insert(slot);
                DONE
            }
            _ => Err(StatusWord::CONDITIONS),
        }
    }
}
