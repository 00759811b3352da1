//! The running configuration as the engine asks for it: sections as values, checked when they are used, with the
//! original's words when they cannot be.

pub mod acquire;
mod connection;
mod general;
mod identity;
mod mode_config;
mod peer;
mod suites;
mod transforms;
mod view;

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use ike::config::{
    ConfigError, Configuration, Connection, General, IdMatch, ModeConfig, Peer, Phase1, QuickMode,
};
use ike::event::Address;
use isakmp_proto::identity::Identity;
use kx_secret::SecretBytes;

use crate::host::Host;
use crate::problem::Problem;
use crate::store::{Change, Store};
use crate::transaction::{Applied, Command};
use connection::PassiveIndex;
use view::{View, Warnings};

/// The configuration, what it needs to know of the host, and the sections that were asked for.
#[derive(Default)]
pub struct Running {
    store: RefCell<Store>,
    host: RefCell<Host>,
    sections: RefCell<Sections>,
    warnings: RefCell<Warnings>,
    /// Connections written for packets, with their numbers, and the next one's number.
    acquired: RefCell<HashMap<String, u64>>,
    next_connection: Cell<u64>,
}

/// Sections as values, kept until something changes. Ten thousand peers share what they name.
#[derive(Default)]
struct Sections {
    general: Option<Rc<General>>,
    peers: HashMap<String, Rc<Peer>>,
    phase1: HashMap<String, Rc<Phase1>>,
    connections: HashMap<String, Rc<Connection>>,
    quick_modes: HashMap<String, Rc<QuickMode>>,
    passive: Option<PassiveIndex>,
}

impl Running {
    /// Takes a configuration.
    #[must_use]
    pub fn new(store: Store, host: Host) -> Self {
        Self {
            store: RefCell::new(store),
            host: RefCell::new(host),
            ..Self::default()
        }
    }

    /// The settings, to look at.
    #[must_use]
    pub fn store(&self) -> Ref<'_, Store> {
        self.store.borrow()
    }

    /// Reads the file again ([`Store::reload`]).
    #[must_use]
    pub fn reload(&self, file: Option<&[u8]>) -> Vec<Problem> {
        self.forget();
        self.acquired.borrow_mut().clear();
        self.store.borrow_mut().reload(file)
    }

    /// Does what a FIFO command says ([`Store::apply`]).
    #[must_use]
    pub fn apply(&self, command: Command) -> Applied {
        if !matches!(command, Command::Get { .. }) {
            self.forget();
        }
        self.store.borrow_mut().apply(command)
    }

    /// Makes changes together ([`Store::commit`]).
    #[must_use]
    pub fn commit(&self, changes: Vec<Change>) -> Vec<Problem> {
        self.forget();
        self.store.borrow_mut().commit(changes)
    }

    /// An address as it is printed: a link-local one with its interface.
    #[must_use]
    pub fn address_text(&self, address: Address) -> String {
        self.host.borrow().interfaces.text(address)
    }

    /// Interfaces came or went.
    pub fn set_host(&self, host: Host) {
        self.forget();
        self.host.replace(host);
    }

    /// What was odd about the sections looked at since the last call: log lines of the original.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        self.warnings.borrow_mut().take()
    }

    fn forget(&self) {
        self.sections.replace(Sections::default());
    }

    fn with<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> T {
        let (store, host) = (self.store.borrow(), self.host.borrow());
        look(&View {
            store: &store,
            host: &host,
            warnings: &self.warnings,
        })
    }

    /// A section out of those kept, or made and kept.
    fn section<T>(
        &self,
        name: &str,
        kept: impl Fn(&mut Sections) -> &mut HashMap<String, Rc<T>>,
        make: impl FnOnce(&View<'_>) -> Result<T, ConfigError>,
    ) -> Result<Rc<T>, ConfigError> {
        if let Some(section) = kept(&mut self.sections.borrow_mut()).get(name) {
            return Ok(Rc::clone(section));
        }
        let section = Rc::new(self.with(make)?);
        kept(&mut self.sections.borrow_mut()).insert(name.to_owned(), Rc::clone(&section));
        Ok(section)
    }

    fn with_passive<T>(&self, look: impl FnOnce(&PassiveIndex) -> T) -> T {
        if self.sections.borrow().passive.is_none() {
            let acquired = self.acquired.borrow();
            let mut acquired: Vec<(&String, &u64)> = acquired.iter().collect();
            acquired.sort_by_key(|(_, number)| **number);
            let names = acquired.into_iter().map(|(name, _)| name);
            let index = self.with(|view| view.passive_index(names));
            self.sections.borrow_mut().passive = Some(index);
        }
        look(
            self.sections
                .borrow()
                .passive
                .as_ref()
                .unwrap_or(&PassiveIndex::default()),
        )
    }

    fn next_connection(&self) -> String {
        let number = self.next_connection.get();
        self.next_connection.set(number.wrapping_add(1));
        format!("Connection-{number}")
    }

    /// What was known stays: only new sections were written.
    fn record_acquired(&self, name: &str) {
        let number = self.next_connection.get();
        self.acquired.borrow_mut().insert(name.to_owned(), number);
        let mut passive = self.sections.borrow_mut().passive.take();
        if let Some(index) = &mut passive {
            self.with(|view| view.record_passive(index, name, "passive "));
            self.sections.borrow_mut().passive = passive;
        }
    }

    /// Whether a connection was written for a packet; it is none of those any more.
    fn forget_acquired(&self, name: &str) -> bool {
        let was_there = self.acquired.borrow_mut().remove(name).is_some();
        if let Some(index) = &mut self.sections.borrow_mut().passive {
            index.remove(name);
        }
        was_there
    }

    fn forget_section(&self, name: &str) {
        let mut sections = self.sections.borrow_mut();
        sections.peers.remove(name);
        sections.phase1.remove(name);
        sections.connections.remove(name);
        sections.quick_modes.remove(name);
    }
}

impl Configuration for Running {
    fn general(&self) -> Rc<General> {
        if let Some(general) = &self.sections.borrow().general {
            return Rc::clone(general);
        }
        let general = Rc::new(self.with(|view| view.general()));
        self.sections.borrow_mut().general = Some(Rc::clone(&general));
        general
    }

    fn peer_for_address(&self, address: Address) -> Option<(String, bool)> {
        self.with(|view| view.peer_for_address(address))
    }

    fn peer(&self, name: &str) -> Result<Rc<Peer>, ConfigError> {
        self.section(name, |sections| &mut sections.peers, |view| view.peer(name))
    }

    fn phase1(&self, name: &str) -> Result<Rc<Phase1>, ConfigError> {
        self.section(
            name,
            |sections| &mut sections.phase1,
            |view| view.phase1(name),
        )
    }

    fn authentication_of(&self, id_text: &str) -> Option<Rc<SecretBytes>> {
        self.with(|view| view.authentication(id_text))
            .ok()
            .flatten()
    }

    fn connections(&self) -> Vec<String> {
        self.with(|view| view.list("Phase 2", "Connections").unwrap_or_default())
    }

    fn passive_connections(&self) -> Vec<String> {
        self.with_passive(PassiveIndex::names)
    }

    fn connection(&self, name: &str) -> Result<Rc<Connection>, ConfigError> {
        self.section(
            name,
            |sections| &mut sections.connections,
            |view| view.connection(name),
        )
    }

    fn quick_mode(&self, name: &str) -> Result<Rc<QuickMode>, ConfigError> {
        self.section(
            name,
            |sections| &mut sections.quick_modes,
            |view| view.quick_mode(name),
        )
    }

    fn connection_for_ids(
        &self,
        initiator: &Identity,
        responder: &Identity,
        peer: Option<&str>,
    ) -> IdMatch {
        self.with_passive(|index| index.find(initiator, responder, peer))
    }

    fn mode_config(&self, peer_id: &Identity) -> Option<Rc<ModeConfig>> {
        self.with(|view| view.mode_config(peer_id)).map(Rc::new)
    }
}
