//! An opened card with the name that the user gave it.

use std::path::PathBuf;

use xkek::cvc::Certificate;
use xkek::hsm::{Applet, Hsm, Pin, file_id, kind};
use xkek_io::{Limits, Spec, Transport};

use crate::apdu_log::Logged;
use crate::error::{CardResult, Error, Result};
use crate::secret_source::SecretSource;

/// A card.
pub struct Device {
    /// Its commands.
    pub hsm: Hsm<Logged>,
    /// How the user named it.
    pub name: String,
    /// What it said of itself.
    pub applet: Applet,
    /// Whether it may be a real one: in a reader.
    pub real: bool,
}

/// A card's name for people.
#[must_use]
pub fn name(spec: &Spec) -> String {
    match spec {
        Spec::Pcsc(reader) if reader.is_empty() => "card".to_owned(),
        Spec::Pcsc(reader) => format!("pcsc:{reader}"),
        Spec::Vcard { state, .. } => format!("vcard:{}", state.display()),
        Spec::Vpcd(address) => format!("vpcd:{address}"),
        Spec::VpcdListen(address) => format!("vpcd-listen:{address}"),
        Spec::Transcript(file) => format!("transcript:{}", file.display()),
    }
}

impl Device {
    /// Opens a card and selects the applet.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Card`].
    pub fn open(spec: &Spec) -> Result<Self> {
        let mut name = name(spec);
        let transport =
            Transport::open(spec, Limits::default()).map_err(|error| Error::Connect {
                card: name.clone(),
                error,
            })?;
        let real = matches!(spec, Spec::Pcsc(_));
        if real {
            name = format!("pcsc:{}", transport.name());
        }
        let log = std::env::var_os("KX_APDU_LOG").map(PathBuf::from);
        let logged = Logged::new(transport, log.as_deref());
        let logged = logged.map_err(|error| Error::file(&log.unwrap_or_default(), error))?;
        let mut hsm = Hsm::new(logged);
        let applet = hsm.select().map_err(|error| Error::card(&name, error))?;
        Ok(Self {
            hsm,
            name,
            applet,
            real,
        })
    }

    /// Does something on the card; what is wrong names it.
    ///
    /// # Errors
    /// [`Error::Card`].
    pub fn ask<T>(&mut self, action: impl FnOnce(&mut Hsm<Logged>) -> CardResult<T>) -> Result<T> {
        action(&mut self.hsm).map_err(|error| Error::card(&self.name, error))
    }

    /// Verifies the user's PIN.
    ///
    /// # Errors
    /// [`Error::Secret`], [`Error::Card`].
    pub fn login(&mut self, pin: &SecretSource) -> Result<()> {
        let pin = pin.read(&format!("User PIN of {}", self.name))?;
        self.ask(|hsm| hsm.verify(Pin::User, pin.as_slice()))
    }

    /// The device's certificate and its issuer's.
    ///
    /// # Errors
    /// [`Error::Card`] also if there are not two.
    pub fn certificates(&mut self) -> Result<(Certificate, Certificate)> {
        let mut list = self.ask(Hsm::device_certificates)?.into_iter();
        match (list.next(), list.next()) {
            (Some(device), Some(issuer)) => Ok((device, issuer)),
            _ => Err(self.wrong("it has no certificate of its issuer in EF 2F02")),
        }
    }

    /// The key references that are taken, the device's own left out.
    ///
    /// # Errors
    /// [`Error::Card`].
    pub fn keys(&mut self) -> Result<Vec<u8>> {
        let list = self.ask(Hsm::enumerate)?;
        let of_kind = |id: &u16| {
            let [high, low] = id.to_be_bytes();
            (high == kind::KEY && low != 0).then_some(low)
        };
        let mut keys: Vec<u8> = list.iter().filter_map(of_kind).collect();
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// A key reference: the one that was asked for, if nothing is there, or else the lowest free one.
    ///
    /// # Errors
    /// [`Error::Card`].
    pub fn free_key(&mut self, wanted: Option<u8>) -> Result<u8> {
        let taken = self.keys()?;
        match wanted {
            Some(0) => Err(self.wrong("key 0 is the device's own")),
            Some(id) if taken.contains(&id) => {
                Err(self.wrong(&format!("there is a key {id} already")))
            }
            Some(id) => Ok(id),
            None => (1..=u8::MAX)
                .find(|id| !taken.contains(id))
                .ok_or_else(|| self.wrong("no free key reference")),
        }
    }

    /// Deletes a key with its description and certificate.
    ///
    /// # Errors
    /// [`Error::Card`].
    pub fn delete_key(&mut self, id: u8) -> Result<bool> {
        let there = self.ask(|hsm| hsm.delete(file_id(kind::KEY, id)))?;
        for kind in [kind::KEY_DESCRIPTION, kind::CERTIFICATE] {
            self.ask(|hsm| hsm.delete(file_id(kind, id)))?;
        }
        Ok(there)
    }

    /// Something is wrong with this card.
    #[must_use]
    pub fn wrong(&self, text: &str) -> Error {
        Error::Card {
            card: self.name.clone(),
            text: text.to_owned(),
            sw: Some(xkek::apdu::StatusWord::CONDITIONS),
        }
    }
}
