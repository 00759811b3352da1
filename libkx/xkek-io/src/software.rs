//! The software device on a state directory: what `kx-vcard` serves, and what `vcard:DIR` is in the
//! caller's own process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kx_secret::SecretBytes;
use xkek::card::Card;
use xkek::device::{Authority, Config, Device, DeviceCurve, State, SystemRandom};

use crate::alternating_file::AlternatingFile;
use crate::state_dir::{Error, StateDir};
use crate::vpcd_card::Responder;

/// The sealed file of a card.
const STATE: &str = "state";
/// The sealed file of a certification authority, and its root for everybody to read.
const AUTHORITY: &str = "authority";
const ROOT: &str = "root.cvc";
/// How long another process may be at the certification authority.
const AUTHORITY_WAIT: Duration = Duration::from_secs(20);
/// "Memory failure" (ISO 7816-4): nothing was changed.
const NOT_SAVED: [u8; 2] = [0x65, 0x81];

/// How a card is made and behaves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Behaviour; the state does not hold it.
    pub config: Config,
    /// Directory of the certification authority that new cards are made under; without one a card makes
    /// its own, in `ca` of its directory. Key domains work between cards of one root.
    pub authority: Option<PathBuf>,
    /// Curve of a new card's device key and of a new authority's keys.
    pub device_curve: DeviceCurve,
}

/// A software device that keeps its state. **Not a secure element**: who can read the directory has its
/// keys.
#[derive(Debug)]
pub struct SoftwareCard {
    device: Device,
    dir: StateDir,
    file: AlternatingFile,
    config: Config,
}

impl SoftwareCard {
    /// Opens the card in `path`, or makes one there.
    ///
    /// # Errors
    /// [`Error`]; [`Error::InUse`] when another process has it.
    pub fn open(path: &Path, options: Options) -> Result<Self, Error> {
        let dir = StateDir::open(path, Duration::ZERO)?;
        let (mut file, kept) = AlternatingFile::open(&dir, STATE)?;
        let state = match kept {
            Some(encoded) => decode(&dir, &encoded)?,
            None => {
                let own = path.join("ca");
                let authority = options.authority.as_deref().unwrap_or(&own);
                let state = issue(authority, options.device_curve)?;
                file.save(&dir, &state.encode())?;
                state
            }
        };
        let config = options.config;
        let device = Device::new(state, config.clone());
        Ok(Self {
            device,
            dir,
            file,
            config,
        })
    }

    /// Whether the last change before this card was opened did not get to the disk whole, so that the state before it
    /// counts. No answer to that command can have gone out, unless the file was damaged afterwards.
    #[must_use]
    pub fn was_cut_short(&self) -> bool {
        self.file.was_cut_short()
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The response to a command. What it changed is on the disk when this returns; if that cannot be,
    /// nothing is changed and the answer is 6581.
    ///
    /// # Errors
    /// [`Error`] when it is not known what the disk holds: the card must be opened anew.
    pub fn respond_to(&mut self, command: &[u8]) -> Result<Vec<u8>, Error> {
        let response = self.device.transmit(&mut SystemRandom, command);
        let Some(changed) = self.device.poll_save() else {
            return Ok(response);
        };
        if self.file.save(&self.dir, &changed).is_ok() {
            return Ok(response);
        }
        // The old or the new state: what counts is what the disk has.
        let (file, kept) = AlternatingFile::open(&self.dir, STATE)?;
        let kept = kept.ok_or_else(|| Error::Damaged(self.dir.path().join(STATE)))?;
        self.device = Device::new(decode(&self.dir, &kept)?, self.config.clone());
        self.file = file;
        Ok(NOT_SAVED.to_vec())
    }
}

fn decode(dir: &StateDir, encoded: &SecretBytes) -> Result<State, Error> {
    State::decode(encoded.as_slice()).map_err(|error| Error::State(dir.path().join(STATE), error))
}

/// A new card's state with a certificate from the authority in `path`, which is made if need be.
fn issue(path: &Path, curve: DeviceCurve) -> Result<State, Error> {
    let dir = StateDir::open(path, AUTHORITY_WAIT)?;
    let mut authority = match dir.load(AUTHORITY)? {
        Some(encoded) => Authority::decode(encoded.as_slice())
            .map_err(|error| Error::State(path.join(AUTHORITY), error))?,
        None => Authority::create(curve, &mut SystemRandom).map_err(Error::Personalise)?,
    };
    let state =
        State::personalise(&mut authority, curve, &mut SystemRandom).map_err(Error::Personalise)?;
    // The counter of certificates is saved before the certificate is used.
    dir.save(AUTHORITY, &authority.encode())?;
    let root = path.join(ROOT);
    if !fs::exists(&root).map_err(|error| Error::Io(root, error))? {
        dir.publish(ROOT, authority.root())?;
    }
    Ok(state)
}

impl Responder for SoftwareCard {
    fn power_on(&mut self) {
        self.device.power_on();
    }

    fn power_off(&mut self) {
        self.device.power_off();
    }

    fn reset(&mut self) {
        self.device.reset();
    }

    fn atr(&self) -> Vec<u8> {
        self.device.atr().to_vec()
    }

    fn respond(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.respond_to(command).map_err(io::Error::other)
    }
}

impl Card for SoftwareCard {
    type Error = crate::Error;

    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), crate::Error> {
        *response = self.respond_to(command)?;
        Ok(())
    }
}
