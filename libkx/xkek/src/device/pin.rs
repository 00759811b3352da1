//! VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER, GET CHALLENGE (xkek spec 2 and 3).

use super::initialize::{COUNTER_ONLY, RESET_ALLOWED};
use super::state::Pin;
use super::{Answer, DONE, Device};
use crate::apdu::{Command, StatusWord};
use crate::rng::Rng;

/// Reference of the user PIN.
const USER: u8 = 0x81;
/// Reference of the SO-PIN.
const SO: u8 = 0x88;
/// Octets of the SO-PIN.
pub(super) const SO_LEN: usize = 8;
/// Most octets of one challenge.
const MAX_CHALLENGE: u32 = 1024;

/// Short PINs allow fewer tries (xkek spec 3).
pub(super) fn pin_is_acceptable(pin: &[u8], tries: u8) -> bool {
    let most = match pin.len() {
        6 => 3,
        7 => 5,
        8..=16 => 10,
        _ => return false,
    };
    (1..=most).contains(&tries)
}

/// What a PIN that was not verified is answered with.
fn tries_left(pin: &Pin) -> StatusWord {
    match pin.left {
        0 => StatusWord::BLOCKED,
        left => StatusWord::tries(left),
    }
}

impl Device {
    /// Compares with the PIN that `pin` finds, and notes the tries.
    fn check_pin(&mut self, reference: u8, given: &[u8]) -> Result<(), StatusWord> {
        let pin = match reference {
            USER => self.state.user_pin.as_mut(),
            _ => self.state.so_pin.as_mut(),
        };
        let pin = pin.ok_or(StatusWord::REFERENCE)?;
        if pin.left == 0 {
            return Err(StatusWord::BLOCKED);
        }
        let before = pin.left;
        let right = pin.verify(given);
        self.changed |= pin.left != before;
        if right {
            return Ok(());
        }
        Err(StatusWord::tries(pin.left))
    }

    /// Checks the SO-PIN; used by INITIALIZE too.
    pub(super) fn check_so_pin(&mut self, given: &[u8]) -> Result<(), StatusWord> {
        self.check_pin(SO, given)
    }

    pub(super) fn verify(&mut self, command: &Command) -> Answer {
        match (command.p1, command.p2) {
            (0, USER) => self.verify_user(&command.data),
            (0, SO) if command.data.is_empty() => match &self.state.so_pin {
                _ if self.session.so_pin => DONE,
                Some(pin) => Err(tries_left(pin)),
                None => Err(StatusWord::REFERENCE),
            },
            (0, SO) => {
                self.session.so_pin = false;
                self.check_pin(SO, &command.data)?;
                self.session.so_pin = true;
                DONE
            }
            // Session PIN and biometric servers are not there.
            (0, 0x85 | 0x86) => Err(StatusWord::REFERENCE),
            _ => Err(StatusWord::P1_P2),
        }
    }

    fn verify_user(&mut self, given: &[u8]) -> Answer {
        if self.state.so_pin.is_none() {
            return Err(StatusWord::REFERENCE);
        }
        if given.is_empty() && self.is_user() {
            return DONE;
        }
        let Some(pin) = &self.state.user_pin else {
            return Err(self.config.no_pin);
        };
        if self.state.transport_pin {
            return Err(StatusWord::INVALIDATED);
        }
        if given.is_empty() {
            // Of two conditions the PIN may be the one that is met.
            if self.session.user_pin {
                return DONE;
            }
            return Err(tries_left(pin));
        }
        self.session.user_pin = false;
        self.check_pin(USER, given)?;
        self.session.user_pin = true;
        DONE
    }

    pub(super) fn change_reference_data(&mut self, command: &Command) -> Answer {
        if command.p1 != 0 {
            return Err(StatusWord::P1_P2);
        }
        let (pin, user) = match command.p2 {
            USER => (self.state.user_pin.as_ref(), true),
            SO => (self.state.so_pin.as_ref(), false),
            _ => return Err(StatusWord::P1_P2),
        };
        let pin = pin.ok_or(StatusWord::REFERENCE)?;
        // Where the old one ends is where it ends in the device: too few octets are a wrong PIN, or the
        // length could be found out for nothing.
        let length = pin.value.len();
        let tries = pin.tries;
        let (old, new) = command
            .data
            .split_at_checked(length)
            .unwrap_or((&command.data, &[]));
        self.check_pin(command.p2, old)?;
        let acceptable = match user {
            true => pin_is_acceptable(new, tries),
            false => new.len() == SO_LEN,
        };
        if !acceptable {
            return Err(StatusWord::WRONG_DATA);
        }
        self.changed = true;
        if user {
            self.state.user_pin = Some(Pin::new(new, tries));
            self.state.transport_pin = false;
        } else {
            self.state.so_pin = Some(Pin::new(new, tries));
        }
        DONE
    }

    pub(super) fn reset_retry_counter(&mut self, command: &Command) -> Answer {
        if command.p2 != USER || command.p1 > 3 {
            return Err(StatusWord::P1_P2);
        }
        let with_so_pin = command.p1 < 2;
        let with_new_pin = command.p1 % 2 == 0;
        let tries = match &self.state.user_pin {
            Some(pin) => pin.tries,
            None => return Err(StatusWord::REFERENCE),
        };
        let options = self.state.options;
        if options & RESET_ALLOWED == 0 || (with_new_pin && options & COUNTER_ONLY != 0) {
            return Err(StatusWord::NOT_ALLOWED);
        }
        let new = if with_so_pin {
            let (so_pin, new) = command
                .data
                .split_at_checked(SO_LEN)
                .ok_or(StatusWord::LENGTH)?;
            self.check_pin(SO, so_pin)?;
            new
        } else {
            if !self.session.so_pin {
                return Err(StatusWord::SECURITY);
            }
            command.data.as_slice()
        };
        if !with_new_pin {
            if !new.is_empty() {
                return Err(StatusWord::LENGTH);
            }
            if let Some(pin) = &mut self.state.user_pin {
                pin.left = pin.tries;
            }
        } else if pin_is_acceptable(new, tries) {
            self.state.user_pin = Some(Pin::new(new, tries));
            // Who knew the old one is somebody else now.
            self.session.user_pin = false;
        } else {
            return Err(StatusWord::WRONG_DATA);
        }
        self.changed = true;
        DONE
    }

    pub(super) fn get_challenge(&mut self, rng: &mut dyn Rng, command: &Command) -> Answer {
        if (command.p1, command.p2) != (0, 0) {
            return Err(StatusWord::P1_P2);
        }
        let length = command.le.unwrap_or(0);
        if length == 0 || length > MAX_CHALLENGE {
            return Err(StatusWord::LENGTH);
        }
        let mut challenge = vec![0; usize::try_from(length).unwrap_or(0)];
        rng.fill(&mut challenge)
            .map_err(|_| StatusWord::EXECUTION)?;
        self.session.challenge = Some(challenge.clone());
        Ok(challenge)
    }
}
