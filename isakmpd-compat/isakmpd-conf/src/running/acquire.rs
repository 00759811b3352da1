//! Sections for a packet that has no SA yet: the kernel asks, and a connection is written for it
//! (isakmpd.md 6.1).
//!
//! The original counts how often each of these sections is used, but for one, whose count it puts into
//! another; that way sections stay behind and one of the user's may be removed. Here only what was written here
//! is counted and removed.

use std::net::IpAddr;

use isakmp_proto::identity::Identity;
use zeroize::Zeroizing;

use super::Running;
use crate::store::{Change, Store};
use crate::text::text;
use crate::value::number;

/// One side of the packet's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Address or network.
    pub network: IpAddr,
    /// Bits of the mask; more than the address has count as all.
    pub prefix: u8,
    /// Port, 0 for any. It counts only together with the protocol.
    pub port: u16,
}

/// What the kernel says about the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acquire {
    /// The number by which the kernel knows its question.
    pub sequence: u32,
    /// The other end of the tunnel or transport.
    pub destination: IpAddr,
    /// Ours, if the policy names it.
    pub source: Option<IpAddr>,
    /// The traffic's end on our side.
    pub local: Flow,
    /// The traffic's end on the other side.
    pub remote: Flow,
    /// IP protocol of the traffic, 0 for any.
    pub protocol: u8,
    /// Who we are to be, if the policy says so.
    pub local_identity: Option<Identity>,
    /// Who the peer is to be.
    pub remote_identity: Option<Identity>,
}

/// The suite if `Default-phase-2-suites` is not set.
const DEFAULT_SUITE: &str = "QM-ESP-3DES-SHA-PFS-SUITE";

impl Flow {
    fn bits(self) -> u8 {
        if self.network.is_ipv4() { 32 } else { 128 }
    }

    fn is_host(self) -> bool {
        self.prefix >= self.bits()
    }

    fn netmask(self) -> IpAddr {
        let zeroes = u32::from(self.bits().saturating_sub(self.prefix));
        match self.network {
            IpAddr::V4(_) => IpAddr::V4(u32::MAX.checked_shl(zeroes).unwrap_or(0).into()),
            IpAddr::V6(_) => IpAddr::V6(u128::MAX.checked_shl(zeroes).unwrap_or(0).into()),
        }
    }

    /// `from-ADDR[/len][=proto[:port]]`
    fn section(self, side: &str, protocol: u8) -> String {
        let mut name = format!("{side}-{}", self.network);
        if !self.is_host() {
            name.push_str(&format!("/{}", self.prefix));
        }
        if protocol != 0 {
            name.push_str(&format!("={protocol}"));
        }
        if self.port != 0 {
            name.push_str(&format!(":{}", self.port));
        }
        name
    }
}

/// The changes that write a connection.
struct Writer<'a> {
    store: &'a Store,
    changes: Vec<Change>,
}

impl Writer<'_> {
    fn set(&mut self, section: &str, tag: &str, value: impl Into<String>) {
        self.changes.push(Change::Set {
            section: section.to_owned(),
            tag: tag.to_owned(),
            value: Zeroizing::new(value.into()),
            force: true,
        });
    }

    /// Counts one more user of a section that has `tag`; without it, it is to be written.
    fn is_new(&mut self, section: &str, tag: &str) -> bool {
        let is_new = !self.store.is_defined(section, tag);
        let count = self.store.number(section, "Refcount", 0);
        if is_new {
            self.set(section, "Refcount", "1");
        } else if count > 0 {
            self.set(section, "Refcount", count.saturating_add(1).to_string());
        }
        is_new
    }

    fn id(&mut self, section: &str, flow: Flow, protocol: u8) {
        if !self.is_new(section, "ID-type") {
            return;
        }
        let family = if flow.network.is_ipv4() {
            "IPV4_ADDR"
        } else {
            "IPV6_ADDR"
        };
        if flow.is_host() {
            self.set(section, "ID-type", family);
            self.set(section, "Address", flow.network.to_string());
        } else {
            self.set(section, "ID-type", format!("{family}_SUBNET"));
            self.set(section, "Network", flow.network.to_string());
            self.set(section, "Netmask", flow.netmask().to_string());
        }
        if protocol != 0 {
            self.set(section, "Protocol", protocol.to_string());
            if flow.port != 0 {
                self.set(section, "Port", flow.port.to_string());
            }
        }
    }

    /// `id-X`, of the kinds that a policy may name.
    fn phase1_id(&mut self, identity: &Identity) -> Option<String> {
        let (id_type, tag, value) = match identity {
            Identity::Address(address) if address.is_ipv4() => {
                ("IPV4_ADDR", "Address", address.to_string())
            }
            Identity::Address(address) => ("IPV6_ADDR", "Address", address.to_string()),
            Identity::Fqdn(name) => ("FQDN", "Name", text(name)),
            Identity::UserFqdn(name) => ("USER_FQDN", "Name", text(name)),
            _ => return None,
        };
        let section = format!("id-{value}");
        if self.is_new(&section, "ID-type") {
            self.set(&section, "ID-type", id_type);
            self.set(&section, tag, value);
        }
        Some(section)
    }

    /// The peer's section, or one more user of the one that is there.
    fn peer(&mut self, acquire: &Acquire) -> String {
        let mut peer = format!("peer-{}", acquire.destination);
        if let Some(source) = acquire.source {
            peer.push_str(&format!("-local-{source}"));
        }
        // A peer of the user's has the identities that it has.
        if self.store.is_defined(&peer, "Phase") && !self.store.is_defined(&peer, "Refcount") {
            return peer;
        }
        let ids = [&acquire.local_identity, &acquire.remote_identity].map(|identity| {
            identity
                .as_ref()
                .and_then(|identity| self.phase1_id(identity))
        });
        if !self.is_new(&peer, "Phase") {
            return peer;
        }
        self.set(&peer, "Phase", "1");
        self.set(&peer, "Address", acquire.destination.to_string());
        if let Some(source) = acquire.source {
            self.set(&peer, "Local-address", source.to_string());
        }
        let configuration = format!("phase1-{peer}");
        self.set(&peer, "Configuration", configuration.clone());
        for (tag, id) in ["ID", "Remote-ID"].into_iter().zip(ids) {
            if let Some(id) = id {
                self.set(&peer, tag, id);
            }
        }
        if self.is_new(&configuration, "EXCHANGE_TYPE") {
            let transforms = self
                .store
                .get("Default-phase-1-configuration", "Transforms");
            let transforms = transforms.unwrap_or("3DES-SHA-RSA_SIG".into()).into_owned();
            self.set(&configuration, "Transforms", transforms);
            self.set(&configuration, "EXCHANGE_TYPE", "ID_PROT");
            self.set(&configuration, "DOI", "IPSEC");
        }
        peer
    }

    fn connection(&mut self, connection: &str, acquire: &Acquire) {
        let peer = self.peer(acquire);
        // In the original the two SAs that come of it count for one each.
        let tags = [
            ("Phase", "2"),
            ("Flags", "__ondemand"),
            ("Refcount", "2"),
            ("ISAKMP-peer", peer.as_str()),
        ];
        for (tag, value) in tags {
            self.set(connection, tag, value);
        }
        self.set(connection, "Acquire-ID", acquire.sequence.to_string());
        let local = acquire.local.section("from", acquire.protocol);
        let remote = acquire.remote.section("to", acquire.protocol);
        self.id(&local, acquire.local, acquire.protocol);
        self.id(&remote, acquire.remote, acquire.protocol);
        let configuration = format!("phase2-{local}-{remote}");
        self.set(connection, "Local-ID", local);
        self.set(connection, "Remote-ID", remote);
        self.set(connection, "Configuration", configuration.clone());
        if self.is_new(&configuration, "EXCHANGE_TYPE") {
            self.set(&configuration, "EXCHANGE_TYPE", "QUICK_MODE");
            self.set(&configuration, "DOI", "IPSEC");
            let suites = self.store.get("General", "Default-phase-2-suites");
            self.set(
                &configuration,
                "Suites",
                suites.unwrap_or(DEFAULT_SUITE.into()).into_owned(),
            );
        }
    }
}

/// One user less of a section that was written here; the last one takes it away.
fn release(store: &Store, section: &str) -> Option<Change> {
    let count = number(&store.get(section, "Refcount")?);
    match count {
        ..=0 => None,
        1 => Some(Change::RemoveSection {
            section: section.to_owned(),
        }),
        _ => Some(Change::Set {
            section: section.to_owned(),
            tag: "Refcount".to_owned(),
            value: Zeroizing::new(count.saturating_sub(1).to_string()),
            force: true,
        }),
    }
}

impl Running {
    /// Writes the sections for a packet without an SA, and gives the name of its connection, which is to be
    /// negotiated. Peers may ask for it from now on, too.
    #[must_use]
    pub fn acquire(&self, acquire: &Acquire) -> String {
        let mut name = self.next_connection();
        while self.store().is_defined(&name, "Phase") {
            name = self.next_connection();
        }
        let changes = {
            let store = self.store();
            let mut writer = Writer {
                store: &store,
                changes: Vec::new(),
            };
            writer.connection(&name, acquire);
            writer.changes
        };
        // Everything in it replaces or is new: there is nothing to refuse.
        let _ = self.store.borrow_mut().commit(changes);
        self.record_acquired(&name);
        name
    }

    /// Takes away what [`acquire`](Self::acquire) wrote for a connection, as far as no other one uses it. Connections
    /// of the user stay.
    pub fn release(&self, connection: &str) {
        if !self.forget_acquired(connection) {
            return;
        }
        let section = |section: &str, tag: &str| {
            self.store()
                .get(section, tag)
                .map(|value| value.into_owned())
        };
        let mut users = vec![
            section(connection, "Configuration"),
            section(connection, "Local-ID"),
            section(connection, "Remote-ID"),
        ];
        if let Some(peer) = section(connection, "ISAKMP-peer") {
            // What the peer names has a user as long as the peer has one.
            let is_last = self.store().number(&peer, "Refcount", 0) == 1;
            for tag in ["ID", "Remote-ID"] {
                users.push(section(&peer, tag));
            }
            if is_last {
                users.push(section(&peer, "Configuration"));
            }
            users.push(Some(peer));
        }
        for section in users.into_iter().flatten() {
            let change = release(&self.store(), &section);
            let removed = matches!(change, Some(Change::RemoveSection { .. }));
            let _ = self.store.borrow_mut().commit(change.into_iter().collect());
            if removed {
                self.forget_section(&section);
            }
        }
        let _ = self.store.borrow_mut().commit(vec![Change::RemoveSection {
            section: connection.to_owned(),
        }]);
        self.forget_section(connection);
    }
}
