//! Initialization and PINs (xkek spec 3).

use kx_secret::SecretBytes;

use super::{Hsm, Result};
use crate::apdu::{Command, StatusWord};
use crate::card::Card;
use crate::tlv;

/// Bits of the options of an initialization.
pub mod options {
    /// RESET RETRY COUNTER is allowed.
    pub const RESET_RETRY_COUNTER: u16 = 0x0001;
    /// The first user PIN must be changed before use.
    pub const TRANSPORT_PIN: u16 = 0x0002;
    /// Session PIN.
    pub const SESSION_PIN: u16 = 0x0004;
    /// A registered public key may be replaced.
    pub const REPLACE_PUBLIC_KEY: u16 = 0x0008;
    /// PIN and public keys are needed, not either.
    pub const PIN_AND_PUBLIC_KEY: u16 = 0x0010;
    /// RESET RETRY COUNTER sets no new PIN.
    pub const RESET_COUNTER_ONLY: u16 = 0x0020;
}

/// Whose PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// The user's.
    User,
    /// The security officer's: the initialization code.
    SecurityOfficer,
}

impl Pin {
    fn reference(self) -> u8 {
        match self {
            Self::User => 0x81,
            Self::SecurityOfficer => 0x88,
        }
    }
}

/// What VERIFY without a PIN tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinState {
    /// Verified in this session.
    Verified,
    /// So many tries are left.
    Tries(u8),
    /// None is left.
    Blocked,
    /// To be changed before use.
    Transport,
    /// The card was never initialized.
    NotInitialized,
    /// Something else; public key authentication answers so.
    Other(StatusWord),
}

/// What INITIALIZE DEVICE sets.
#[derive(Debug)]
pub struct Initialization {
    /// See [`options`].
    pub options: u16,
    /// User PIN; absent with public key authentication only.
    pub user_pin: Option<SecretBytes>,
    /// Initialization code, 8 octets.
    pub so_pin: SecretBytes,
    /// Tries for the user PIN.
    pub retries: u8,
    /// Shares of the DKEK in domain 0; 0 lets the card make one that nobody can export; absent is no
    /// DKEK.
    pub dkek_shares: Option<u8>,
    /// Public keys: how many there are, and how many must authenticate.
    pub public_keys: Option<(u8, u8)>,
    /// Names of biometric servers for the two templates.
    pub biometric_servers: [Option<Vec<u8>>; 2],
    /// Key domains.
    pub key_domains: Option<u8>,
}

impl Initialization {
    /// The command data, in sc-hsm-tool's order.
    fn encode(&self) -> SecretBytes {
        let mut out = SecretBytes::with_capacity(128);
        let mut push = |tag: u32, value: &[u8]| {
            let encoded = SecretBytes::from(tlv::encode(tag, value));
            out.extend_from_slice(encoded.as_slice());
        };
        push(0x80, &self.options.to_be_bytes());
        if let Some(pin) = &self.user_pin {
            push(0x81, pin.as_slice());
        }
        push(0x82, self.so_pin.as_slice());
        push(0x91, &[self.retries]);
        if let Some(shares) = self.dkek_shares {
            push(0x92, &[shares]);
        }
        if let Some((total, required)) = self.public_keys {
            push(0x93, &[total, required]);
        }
        for (tag, server) in [0x95, 0x96].into_iter().zip(&self.biometric_servers) {
            if let Some(server) = server {
                push(tag, server);
            }
        }
        if let Some(domains) = self.key_domains {
            push(0x97, &[domains]);
        }
        out
    }
}

impl<C: Card> Hsm<C> {
    /// Initializes the device: every key, file and domain is gone afterwards.
    ///
    /// # Errors
    /// [`super::Error`]; 6982 and 63Cx for a wrong initialization code.
    pub fn initialize(&mut self, how: &Initialization) -> Result<(), C> {
        let command = Command::new(0x80, 0x50, 0, 0).with_data(how.encode().as_slice());
        self.done("initialize the device", &command).map(drop)
    }

    /// What is known of a PIN, without a try.
    ///
    /// # Errors
    /// [`super::Error`].
    pub fn pin_state(&mut self, pin: Pin) -> Result<PinState, C> {
        let command = Command::new(0, 0x20, 0, pin.reference());
        let sw = self.transmit(&command)?.sw;
        Ok(match (sw, sw.tries_left()) {
            (StatusWord::OK, _) => PinState::Verified,
            (StatusWord::BLOCKED, _) | (_, Some(0)) => PinState::Blocked,
            (_, Some(left)) => PinState::Tries(left),
            (StatusWord::INVALIDATED, _) => PinState::Transport,
            (StatusWord::REFERENCE, _) => PinState::NotInitialized,
            (sw, _) => PinState::Other(sw),
        })
    }

    /// Verifies a PIN.
    ///
    /// # Errors
    /// [`super::Error`]; 63Cx tells how many tries are left.
    pub fn verify(&mut self, pin: Pin, value: &[u8]) -> Result<(), C> {
        let command = Command::new(0, 0x20, 0, pin.reference()).with_data(value);
        self.done("verify the PIN", &command).map(drop)
    }

    /// Changes a PIN.
    ///
    /// # Errors
    /// [`super::Error`].
    pub fn change_pin(&mut self, pin: Pin, old: &[u8], new: &[u8]) -> Result<(), C> {
        let mut data = SecretBytes::with_capacity(old.len().saturating_add(new.len()));
        data.extend_from_slice(old);
        data.extend_from_slice(new);
        let command = Command::new(0, 0x24, 0, pin.reference()).with_data(data.as_slice());
        self.done("change the PIN", &command).map(drop)
    }

    /// Sets the tries of the user PIN back, with a new PIN or without.
    ///
    /// # Errors
    /// [`super::Error`]; 6986 where the initialization did not allow it.
    pub fn reset_retry_counter(&mut self, so_pin: &[u8], new: Option<&[u8]>) -> Result<(), C> {
        let mut data = SecretBytes::with_capacity(32);
        data.extend_from_slice(so_pin);
        data.extend_from_slice(new.unwrap_or_default());
        let p1 = u8::from(new.is_none());
        let command = Command::new(0, 0x2c, p1, Pin::User.reference()).with_data(data.as_slice());
        self.done("reset the retry counter", &command).map(drop)
    }
}
