//! A configuration made in code.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ike::config::{
    Amount, ConfigError, Configuration, Connection, General, IdMatch, Life, Lives, ModeConfig,
    Peer, Phase1, Phase1Transform, Protocol, QuickMode, Suite, Transform, Value,
};
use ike::credentials::{Certificate, CredentialError, Credentials, PeerKey, Signer};
use ike::event::Address;
use ike::sa::Selector;
use isakmp_proto::identity::Identity;
use kx_secret::SecretBytes;

/// No keys but pre-shared ones.
pub struct NoCredentials;

impl Credentials for NoCredentials {
    fn has_ca(&self) -> bool {
        false
    }

    fn certificate_of(&self, _: &Identity, _: &[Vec<u8>]) -> Option<Certificate> {
        None
    }

    fn signer_of(&self, _: &Identity) -> Result<std::sync::Arc<dyn Signer>, CredentialError> {
        Err(CredentialError("no key".into()))
    }

    fn key_of(&self, _: &Identity, _: &[Certificate]) -> Result<PeerKey, CredentialError> {
        Err(CredentialError("no key".into()))
    }
}

/// All sections.
pub struct Sections {
    pub general: RefCell<Rc<General>>,
    pub peers: HashMap<String, Rc<Peer>>,
    pub by_address: HashMap<IpAddr, String>,
    pub default_peer: Option<String>,
    pub phase1: Rc<Phase1>,
    pub connections: RefCell<HashMap<String, Rc<Connection>>>,
    pub by_ids: RefCell<HashMap<(Identity, Identity), String>>,
    pub quick_modes: RefCell<HashMap<String, Rc<QuickMode>>>,
    pub keep: RefCell<Vec<String>>,
    pub mode_config: RefCell<Option<Rc<ModeConfig>>>,
    pub asked: Cell<usize>,
}

pub fn general() -> General {
    General {
        retransmits: 3,
        exchange_max_time: Duration::from_secs(120),
        check_interval: Duration::from_secs(60),
        dpd_check_interval: None,
        nat_t_keepalive: Duration::from_secs(20),
        shared_sadb: false,
        delete_sas: true,
        renegotiate_on_hup: false,
    }
}

pub fn exactly(number: u32) -> Amount {
    Amount::Number {
        offer: number,
        accept: number..=number,
    }
}

pub fn life(seconds: u32) -> Lives {
    Lives::These(vec![Life {
        life_type: Value::Is(1),
        duration: exactly(seconds),
    }])
}

/// AES-128, SHA2-256, PSK, group 19.
pub fn phase1(exchange_type: u8, seconds: u32) -> Phase1 {
    Phase1 {
        name: "mm".into(),
        doi: 1,
        exchange_type,
        transforms: vec![Phase1Transform {
            name: "t".into(),
            encryption: Some(Value::Is(7)),
            hash: Some(Value::Is(4)),
            authentication: Some(Value::Is(1)),
            group: Some(Value::Is(19)),
            group_type: None,
            prf: None,
            key_length: Some(exactly(128)),
            field_size: None,
            group_order: None,
            lives: life(seconds),
        }],
    }
}

/// ESP, AES-128, HMAC-SHA2-256.
pub fn esp(seconds: u32, group: Option<u16>) -> Transform {
    Transform {
        name: "esp".into(),
        id: 12,
        encapsulation: Some(Value::Is(1)),
        authentication: Some(Value::Is(5)),
        group: group.map(Value::Is),
        key_length: Some(exactly(128)),
        key_rounds: None,
        compress_dictionary_size: None,
        compress_private_algorithm: None,
        ecn_tunnel: None,
        lives: life(seconds),
    }
}

pub fn protocol(protocol: u8, transforms: Vec<Transform>) -> Protocol {
    Protocol {
        name: "p".into(),
        protocol,
        replay_window: 16,
        transforms,
    }
}

pub fn quick_mode(suites: Vec<Vec<Protocol>>) -> QuickMode {
    QuickMode {
        name: "qm".into(),
        suites: suites
            .into_iter()
            .map(|protocols| Suite {
                name: "s".into(),
                protocols,
            })
            .collect(),
    }
}

/// Network 10.SIDE.N.0/24, or what comes after 256 of them.
pub fn network(side: u8, n: u32) -> Selector {
    let [_, b, c, d] = n.to_be_bytes();
    let _ = b;
    let network = std::net::Ipv4Addr::new(10 + side, c, d, 0);
    Selector::from(Identity::Ipv4Subnet(
        network,
        std::net::Ipv4Addr::new(255, 255, 255, 0),
    ))
}

impl Sections {
    /// A peer called `peer` at `peer_address`, without connections.
    pub fn new(peer_address: IpAddr, phase1: Phase1) -> Self {
        let mut sections = Self {
            general: RefCell::new(Rc::new(general())),
            peers: HashMap::new(),
            by_address: HashMap::new(),
            default_peer: None,
            phase1: Rc::new(phase1),
            connections: RefCell::default(),
            by_ids: RefCell::default(),
            quick_modes: RefCell::default(),
            keep: RefCell::default(),
            mode_config: RefCell::default(),
            asked: Cell::new(0),
        };
        sections.add_peer("peer", peer_address);
        sections
    }

    pub fn add_peer(&mut self, name: &str, address: IpAddr) {
        let peer = Peer {
            name: name.into(),
            address: Some(address.into()),
            port: 500,
            local_address: None,
            configuration: "mm".into(),
            authentication: Some(Rc::new(SecretBytes::from(b"mekmitasdigoat".to_vec()))),
            id: None,
            remote_id: None,
            ikecfg: false,
        };
        self.peers.insert(name.into(), Rc::new(peer));
        self.by_address.insert(address, name.into());
    }

    pub fn ikecfg(&mut self) {
        let peer = &self.peers["peer"];
        let peer = Peer {
            name: peer.name.clone(),
            address: peer.address,
            port: peer.port,
            local_address: None,
            configuration: peer.configuration.clone(),
            authentication: peer.authentication.clone(),
            id: None,
            remote_id: None,
            ikecfg: true,
        };
        self.peers.insert("peer".into(), Rc::new(peer));
    }

    /// A connection between our network `ours` and the peer's `theirs`, with the Quick Mode section `qm`.
    pub fn connection(
        &self,
        name: &str,
        peer: &str,
        ours: Option<Selector>,
        theirs: Option<Selector>,
        qm: &QuickMode,
    ) {
        let quick_mode = format!("{name}-qm");
        self.quick_modes.borrow_mut().insert(
            quick_mode.clone(),
            Rc::new(QuickMode {
                name: quick_mode.clone(),
                ..qm.clone()
            }),
        );
        if let (Some(ours), Some(theirs)) = (&ours, &theirs) {
            let mut by_ids = self.by_ids.borrow_mut();
            let (a, b) = (ours.identity.clone(), theirs.identity.clone());
            by_ids.insert((a.clone(), b.clone()), name.into());
            by_ids.insert((b, a), name.into());
        }
        let connection = Connection {
            name: name.into(),
            peer: peer.into(),
            configuration: quick_mode,
            local_id: ours,
            remote_id: theirs,
            nat_id: None,
            active_only: false,
            on_demand: false,
            loose_ids: false,
            pf_tag: None,
        };
        self.connections
            .borrow_mut()
            .insert(name.into(), Rc::new(connection));
    }

    pub fn change_general(&self, change: impl FnOnce(&mut General)) {
        let mut general = (**self.general.borrow()).clone();
        change(&mut general);
        *self.general.borrow_mut() = Rc::new(general);
    }
}

fn missing<T>(found: Option<&Rc<T>>, name: &str) -> Result<Rc<T>, ConfigError> {
    found
        .cloned()
        .ok_or_else(|| ConfigError(format!("no section [{name}]")))
}

impl Configuration for Sections {
    fn general(&self) -> Rc<General> {
        Rc::clone(&self.general.borrow())
    }

    fn peer_for_address(&self, address: Address) -> Option<(String, bool)> {
        match self.by_address.get(&address.ip) {
            Some(name) => Some((name.clone(), true)),
            None => self.default_peer.clone().map(|name| (name, false)),
        }
    }

    fn peer(&self, name: &str) -> Result<Rc<Peer>, ConfigError> {
        missing(self.peers.get(name), name)
    }

    fn phase1(&self, _: &str) -> Result<Rc<Phase1>, ConfigError> {
        Ok(Rc::clone(&self.phase1))
    }

    fn authentication_of(&self, _: &str) -> Option<Rc<SecretBytes>> {
        None
    }

    fn connections(&self) -> Vec<String> {
        self.keep.borrow().clone()
    }

    fn passive_connections(&self) -> Vec<String> {
        let mut names: Vec<String> = self.connections.borrow().keys().cloned().collect();
        names.sort();
        names
    }

    fn connection(&self, name: &str) -> Result<Rc<Connection>, ConfigError> {
        self.asked.set(self.asked.get() + 1);
        missing(self.connections.borrow().get(name), name)
    }

    fn quick_mode(&self, name: &str) -> Result<Rc<QuickMode>, ConfigError> {
        missing(self.quick_modes.borrow().get(name), name)
    }

    fn connection_for_ids(
        &self,
        initiator: &Identity,
        responder: &Identity,
        _: Option<&str>,
    ) -> IdMatch {
        let key = (initiator.clone(), responder.clone());
        if let Some(name) = self.by_ids.borrow().get(&key) {
            return IdMatch::Both(Rc::clone(&self.connections.borrow()[name]));
        }
        let connections = self.connections.borrow();
        let half = connections.values().find(|connection| {
            connection
                .local_id
                .as_ref()
                .is_some_and(|ours| ours.identity == *initiator || ours.identity == *responder)
        });
        half.map_or(IdMatch::None, |connection| {
            IdMatch::LocalOnly(Rc::clone(connection))
        })
    }

    fn mode_config(&self, _: &Identity) -> Option<Rc<ModeConfig>> {
        self.mode_config.borrow().clone()
    }
}
