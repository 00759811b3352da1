//! The device's side: a SmartCard-HSM as a state machine (xkek spec 1 to 8, 11, 14a). Commands and random
//! octets in, responses out; no file, socket or clock.
//!
//! ```text
//! State --new--> Device --transmit--> response (held back) --poll_save--> state to keep --> response out
//! ```
//!
//! A response may leave only after what [`Device::poll_save`] gives has been kept: then nothing that was
//! acknowledged is lost, whenever the power goes.
//!
//! Where the vendor's card is known it is followed; where only the imitation is known, it is followed but
//! for its faults; COMPATIBILITY.md lists the differences. It is software: it guards its keys against who
//! talks to it, not against who runs it.

mod cipher;
mod decipher;
mod derive;
mod domains;
mod encoding;
mod exchange;
mod files;
mod identity;
mod initialize;
mod keygen;
mod pin;
mod public_keys;
mod session;
mod sign;
mod state;
#[cfg(test)]
mod tests;
mod trust;
mod usable_key;
mod wrap;

pub use identity::{Authority, DeviceCurve, PersonaliseError, UnknownCurve};
pub use state::{State, StateError};

/// The system's random numbers, under the name by which the device asks for them.
pub use crate::rng::System as SystemRandom;

use kx_secret::SecretBytes;

use crate::apdu::{Command, EXTENDED_LE, SHORT_LE, StatusWord};
use crate::rng::Rng;
use session::Session;

/// The applet's identifier (xkek spec 1).
const AID: [u8; 11] = [
    0xE8, 0x2B, 0x06, 0x01, 0x04, 0x01, 0x81, 0xC3, 0x1F, 0x02, 0x01,
];
/// The vendor's answer to reset over contacts, which every client knows.
const ATR: [u8; 24] = [
    0x3B, 0xFE, 0x18, 0x00, 0x00, 0x81, 0x31, 0xFE, 0x45, 0x80, 0x31, 0x81, 0x54, 0x48, 0x53, 0x4D,
    0x31, 0x73, 0x80, 0x21, 0x40, 0x81, 0x07, 0xFA,
];

/// Most octets before the status word: with it they fit in a message of vpcd (xkek spec 15).
const MAX_DATA: usize = 65_533;

/// What a command gives: data, or a status word other than 9000.
type Answer = Result<Vec<u8>, StatusWord>;

/// An answer without data.
const DONE: Answer = Ok(Vec::new());

/// How a device behaves. The state does not hold it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Answer to reset.
    pub atr: Vec<u8>,
    /// Version, major and minor.
    pub version: (u8, u8),
    /// How a KEK is made of an agreed point.
    pub kdf: crate::kek::Kdf,
    /// Whether an authenticated user may replace the device certificate.
    pub provision: bool,
    /// Roots that peers may have besides this device's own: CV certificates that sign themselves.
    pub trust_roots: Vec<Vec<u8>>,
    /// Status word of VERIFY 81 on a device that was initialised with public keys and without a PIN. The
    /// vendor's is not known; OpenSC wants one that it has no text for (xkek spec 3).
    pub no_pin: StatusWord,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            atr: ATR.to_vec(),
            version: (3, 5),
            kdf: crate::kek::Kdf::default(),
            provision: false,
            trust_roots: Vec::new(),
            no_pin: StatusWord::EXECUTION,
        }
    }
}

/// A device.
pub struct Device {
    state: State,
    config: Config,
    session: Session,
    changed: bool,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// A device in this state, without power.
    #[must_use]
    pub fn new(state: State, config: Config) -> Self {
        Self {
            state,
            config,
            session: Session::default(),
            changed: false,
        }
    }

    /// Power comes: the answer to reset.
    pub fn power_on(&mut self) -> &[u8] {
        self.reset();
        self.atr()
    }

    /// Power goes: all that was verified is forgotten.
    pub fn power_off(&mut self) {
        self.reset();
    }

    /// A reset: all that was verified is forgotten.
    pub fn reset(&mut self) {
        self.session = Session::default();
    }

    /// The answer to reset.
    #[must_use]
    pub fn atr(&self) -> &[u8] {
        &self.config.atr
    }

    /// The root certificate above the device's, for who makes a trust bundle.
    #[must_use]
    pub fn root(&self) -> &[u8] {
        &self.state.identity.root
    }

    /// The state to keep before the last response may leave, if that command changed it.
    pub fn poll_save(&mut self) -> Option<SecretBytes> {
        std::mem::take(&mut self.changed).then(|| self.state.encode())
    }

    /// The response to a command, status word included. Anything at all is answered.
    pub fn transmit(&mut self, rng: &mut dyn Rng, command: &[u8]) -> Vec<u8> {
        let Ok(command) = Command::parse(command) else {
            return StatusWord::LENGTH.to_bytes().to_vec();
        };
        let rest = std::mem::take(&mut self.session.rest);
        let answer = match (command.cla, command.ins) {
            (0x00, 0xC0) if !rest.is_empty() => Ok(rest),
            (0x00, 0xC0) => Err(StatusWord::CONDITIONS),
            _ => self.dispatch(rng, &command),
        };
        match answer {
            Ok(data) => self.respond(data, &command),
            Err(word) => word.to_bytes().to_vec(),
        }
    }

    /// Not more than was asked for; what is left waits for GET RESPONSE. Who asks for nothing gets what
    /// fits his encoding, and if it does not fit the word alone: the vendor's PKCS#11 module makes keys so
    /// and takes any word but 9000 for a failure.
    fn respond(&mut self, mut data: Vec<u8>, command: &Command) -> Vec<u8> {
        let default = if command.extended {
            EXTENDED_LE
        } else {
            SHORT_LE
        };
        let room = usize::try_from(command.le.unwrap_or(default)).unwrap_or(usize::MAX);
        let room = room.min(MAX_DATA);
        let mut word = self.session.word.take().unwrap_or(StatusWord::OK);
        if data.len() > room && command.le.is_none() {
            data.clear();
        }
        if data.len() > room {
            self.session.rest = data.split_off(room);
            // 6100: 256 octets or more.
            let left = u8::try_from(self.session.rest.len()).unwrap_or(0);
            word = StatusWord(u16::from_be_bytes([0x61, left]));
        }
        data.extend_from_slice(&word.to_bytes());
        data
    }

    fn dispatch(&mut self, rng: &mut dyn Rng, command: &Command) -> Answer {
        if (command.cla, command.ins) == (0x00, 0xA4) {
            return self.select(command);
        }
        if !matches!(command.cla, 0x00 | 0x80) || !self.session.selected {
            return Err(StatusWord::CLA);
        }
        match (command.cla, command.ins) {
            (0x00, 0xB0) => self.read_selected(command),
            (0x00, 0xB1) => self.read_binary(command),
            (0x00, 0xD7) => self.update_binary(command),
            (0x00, 0xE4) => self.delete_file(command),
            (0x80, 0x58) => self.enumerate(),
            (0x00, 0x20) => self.verify(command),
            // No biometric server.
            (0x80, 0x20) => Err(StatusWord::REFERENCE),
            (0x00, 0x24) => self.change_reference_data(command),
            (0x00, 0x2C) => self.reset_retry_counter(command),
            (0x00, 0x84) => self.get_challenge(rng, command),
            (0x00, 0x22) => self.manage_security_environment(command),
            (0x00, 0x2A) => self.verify_certificate(command),
            (0x00, 0x82) => self.external_authenticate(command),
            (0x00, 0x46) => self.generate_key_pair(rng, command),
            (0x00, 0x48) => self.generate_symmetric_key(rng, command),
            (0x80, 0x50) => self.initialize(rng, command),
            (0x80, 0x52) => self.manage_key_domain(command),
            (0x80, 0x54) => self.manage_public_keys(command),
            (0x80, 0x62) => self.decipher(command),
            (0x80, 0x68) => self.sign(command),
            (0x80, 0x72) => self.wrap_key(rng, command),
            (0x80, 0x74) => self.unwrap_key(rng, command),
            (0x80, 0x76) => self.derive_key(command),
            (0x80, 0x78) => self.symmetric_cipher(command),
            _ => Err(StatusWord::INS),
        }
    }

    /// Whether the user is authenticated: by the PIN, by enough public keys, or by both if INITIALIZE
    /// asked for both (xkek spec 3, option 0010).
    fn is_user(&self) -> bool {
        let by_pin = self.session.user_pin;
        match &self.state.public_keys {
            None => by_pin,
            Some(keys) => {
                let by_keys = self.session.authenticated.len() >= usize::from(keys.required);
                if self.state.options & initialize::PIN_AND_KEYS != 0 {
                    by_pin && by_keys
                } else {
                    by_pin || by_keys
                }
            }
        }
    }

    /// For commands that only the user may give.
    fn need_user(&self) -> Result<(), StatusWord> {
        match self.is_user() {
            true => Ok(()),
            false => Err(StatusWord::SECURITY),
        }
    }
}
