//! INITIALIZE DEVICE (xkek spec 3).

use super::pin::{SO_LEN, pin_is_acceptable};
use super::state::{Domain, Pin, PublicKeys, SO_TRIES, State};
use super::{Answer, DONE, Device};
use crate::apdu::{Command, StatusWord};
use crate::kek::Kek;
use crate::rng::Rng;
use crate::tlv;

/// Option: RESET RETRY COUNTER is allowed.
pub(super) const RESET_ALLOWED: u16 = 0x0001;
/// Option: the PIN must be changed before it can be used.
const TRANSPORT_PIN: u16 = 0x0002;
/// Option: a registered public key may be replaced.
pub(super) const REPLACE_KEYS: u16 = 0x0008;
/// Option: PIN and public keys are needed.
pub(super) const PIN_AND_KEYS: u16 = 0x0010;
/// Option: RESET RETRY COUNTER gives no new PIN.
pub(super) const COUNTER_ONLY: u16 = 0x0020;
/// Tries of the user PIN when nothing is said.
const DEFAULT_TRIES: u8 = 3;
/// What GET STATUS says of the memory; there is no real limit.
const FREE_MEMORY: [u8; 4] = 0x0010_0000_u32.to_be_bytes();

/// What the data say.
#[derive(Default)]
struct Wanted<'a> {
    options: u16,
    pin: Option<&'a [u8]>,
    so_pin: &'a [u8],
    tries: u8,
    shares: Option<u8>,
    public_keys: Option<(u8, u8)>,
    domains: Option<u8>,
}

fn parse(data: &[u8]) -> Result<Wanted<'_>, StatusWord> {
    let wrong = StatusWord::WRONG_DATA;
    let mut wanted = Wanted {
        tries: DEFAULT_TRIES,
        ..Wanted::default()
    };
    for element in tlv::elements(data) {
        let element = element.map_err(|_| wrong)?;
        match (element.tag, element.value) {
            (0x80, &[high, low]) => wanted.options = u16::from_be_bytes([high, low]),
            (0x81, pin) => wanted.pin = Some(pin),
            (0x82, so_pin) => wanted.so_pin = so_pin,
            (0x91, &[tries]) => wanted.tries = tries,
            (0x92, &[shares]) => wanted.shares = Some(shares),
            (0x93, &[total, required]) => wanted.public_keys = Some((total, required)),
            (0x97, &[slots]) => wanted.domains = Some(slots),
            // Biometric servers, which are never asked.
            (0x95 | 0x96, _) => {}
            _ => return Err(wrong),
        }
    }
    let pin_is_good = match wanted.pin {
        Some(pin) => pin_is_acceptable(pin, wanted.tries),
        None => wanted.public_keys.is_some(),
    };
    let keys_are_good = wanted
        .public_keys
        .is_none_or(|(total, required)| required >= 1 && required <= total);
    if wanted.so_pin.len() != SO_LEN || !pin_is_good || !keys_are_good {
        return Err(wrong);
    }
    Ok(wanted)
}

impl Device {
    pub(super) fn initialize(&mut self, rng: &mut dyn Rng, command: &Command) -> Answer {
        if (command.p1, command.p2) != (0, 0) {
            return Err(StatusWord::P1_P2);
        }
        if command.data.is_empty() {
            let (major, minor) = self.config.version;
            return Ok([&FREE_MEMORY[..], &[0, major, minor]].concat());
        }
        let wanted = parse(&command.data)?;
        if self.state.so_pin.is_some() {
            // The words by which OpenSC knows a wrong or blocked SO-PIN here.
            self.check_so_pin(wanted.so_pin)
                .map_err(|word| match word {
                    StatusWord::BLOCKED => word,
                    _ => StatusWord::SECURITY,
                })?;
        }
        let domains = domains(rng, &wanted)?;
        // The identity stays, all else is new.
        let old = &mut self.state;
        old.options = wanted.options;
        old.so_pin = Some(Pin::new(wanted.so_pin, SO_TRIES));
        old.user_pin = wanted.pin.map(|pin| Pin::new(pin, wanted.tries));
        old.transport_pin = wanted.options & TRANSPORT_PIN != 0 && old.user_pin.is_some();
        old.domains = domains;
        old.public_keys = wanted.public_keys.map(|(total, required)| PublicKeys {
            required,
            slots: (0..total).map(|_| None).collect(),
        });
        old.keys.clear();
        old.files.clear();
        self.changed = true;
        self.session = super::Session {
            selected: true,
            ..super::Session::default()
        };
        DONE
    }
}

/// The slots: as many as tag 97 says, the first prepared as tag 92 says.
fn domains(rng: &mut dyn Rng, wanted: &Wanted<'_>) -> Result<Vec<Domain>, StatusWord> {
    let slots = wanted.domains.unwrap_or(u8::from(wanted.shares.is_some()));
    let mut domains: Vec<Domain> = (0..slots).map(|_| Domain::Empty).collect();
    if let (Some(first), Some(shares)) = (domains.first_mut(), wanted.shares) {
        *first = match shares {
            // One share that nobody has: the device made it.
            0 => {
                let sum = Kek::generate(&mut &mut *rng).map_err(|_| StatusWord::EXECUTION)?;
                Domain::Dkek {
                    shares: 1,
                    missing: 0,
                    sum,
                    initial: false,
                }
            }
            shares => Domain::dkek(shares, true),
        };
    }
    Ok(domains)
}

impl State {
    /// Whether INITIALIZE was ever done.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.so_pin.is_some()
    }
}
