//! IPsec-connection sections (isakmpd-config 3), and which one two identities mean (isakmpd-wire 4.2).

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use ike::config::{ConfigError, Connection, IdMatch};
use ike::sa::Selector;
use isakmp_proto::identity::Identity;

use super::view::{View, error};
use crate::value::number;

impl View<'_> {
    /// A connection to be negotiated: what that needs is checked, in the original's order.
    pub(super) fn connection(&self, name: &str) -> Result<Connection, ConfigError> {
        let phase = self.text(name, "Phase").map_or(0, |phase| number(&phase));
        if phase != 2 {
            return error(format!(
                "exchange_establish: peer \"{name}\" does not have a correct phase ({phase})"
            ));
        }
        let Some(peer) = self.owned(name, "ISAKMP-peer") else {
            return error(format!(
                "exchange_establish: No ISAKMP-peer given for \"{name}\""
            ));
        };
        if !self.is_phase_1(&peer) {
            return error(format!(
                "exchange_establish: [{name}]:ISAKMP-peer's ({peer}) phase is not 1"
            ));
        }
        if !self.is_defined(name, "Configuration") {
            return error(format!(
                "exchange_establish_p2: no configuration for peer \"{name}\""
            ));
        }
        self.connection_as_it_is(name)
    }

    /// A connection that a peer asks for: its identities must be right, the rest is for us to begin only.
    fn connection_as_it_is(&self, name: &str) -> Result<Connection, ConfigError> {
        let flags = self.flags(name);
        Ok(Connection {
            name: name.to_owned(),
            peer: self.owned(name, "ISAKMP-peer").unwrap_or_default(),
            configuration: self.owned(name, "Configuration").unwrap_or_default(),
            local_id: self.selector_of(name, "Local-ID")?,
            remote_id: self.selector_of(name, "Remote-ID")?,
            nat_id: match self.selector_of(name, "NAT-ID") {
                Ok(selector) => selector,
                Err(failure) => {
                    self.warn(failure.to_string());
                    let section = self.owned(name, "NAT-ID").unwrap_or_default();
                    self.warn(format!(
                        "ipsec_set_network: ipsec_build_id failed for NAT-ID: {section}"
                    ));
                    None
                }
            },
            active_only: flags.active_only,
            on_demand: flags.on_demand,
            loose_ids: flags.loose_ids,
            pf_tag: self.owned(name, "PF-Tag"),
        })
    }

    fn selector_of(&self, name: &str, tag: &str) -> Result<Option<Selector>, ConfigError> {
        self.owned(name, tag)
            .map(|section| self.selector(&section))
            .transpose()
    }

    /// All that peers may ask for, in the original's order: the connections to keep up that are not
    /// `Active-only`, then the passive ones, then those written for packets.
    pub(super) fn passive_index<'n>(
        &self,
        acquired: impl Iterator<Item = &'n String>,
    ) -> PassiveIndex {
        let mut index = PassiveIndex::default();
        for name in self.list("Phase 2", "Connections").unwrap_or_default() {
            if !self.flags(&name).active_only {
                self.record_passive(&mut index, &name, "");
            }
        }
        for name in self
            .list("Phase 2", "Passive-connections")
            .unwrap_or_default()
        {
            self.record_passive(&mut index, &name, "passive ");
        }
        for name in acquired {
            self.record_passive(&mut index, name, "passive ");
        }
        index
    }

    pub(super) fn record_passive(&self, index: &mut PassiveIndex, name: &str, kind: &str) {
        if index.has(name) {
            return;
        }
        let failure = match self.connection_as_it_is(name) {
            Ok(connection) if connection.local_id.is_none() => {
                format!("connection_record_passive: \"Local-ID\" is missing from section [{name}]")
            }
            Ok(connection) => return index.push(Rc::new(connection)),
            Err(failure) => failure.to_string(),
        };
        self.warn(failure);
        self.warn(format!(
            "connection_init: could not record {kind}connection \"{name}\""
        ));
    }
}

/// The passive connections, by name and by identities. Only types and data of identities count.
#[derive(Default)]
pub(super) struct PassiveIndex {
    /// By place in the lists.
    names: BTreeMap<u64, String>,
    /// By folded name.
    connections: HashMap<String, (u64, Rc<Connection>)>,
    /// Of several connections that fit, the first of the asking peer counts, else the first.
    by_ids: HashMap<(Identity, Identity), Places>,
    by_local_id: HashMap<Identity, Places>,
    next: u64,
}

type Places = Vec<(u64, Rc<Connection>)>;

impl PassiveIndex {
    pub(super) fn names(&self) -> Vec<String> {
        self.names.values().cloned().collect()
    }

    fn has(&self, name: &str) -> bool {
        self.connections.contains_key(&name.to_ascii_lowercase())
    }

    fn push(&mut self, connection: Rc<Connection>) {
        let place = self.next;
        self.next = place.saturating_add(1);
        self.names.insert(place, connection.name.clone());
        self.connections.insert(
            connection.name.to_ascii_lowercase(),
            (place, Rc::clone(&connection)),
        );
        // Without a Remote-ID none of the original's rounds looks at it.
        if let (Some(local), Some(remote)) = (&connection.local_id, &connection.remote_id) {
            let (local, remote) = (local.identity.clone(), remote.identity.clone());
            let entry = || (place, Rc::clone(&connection));
            self.by_ids
                .entry((local.clone(), remote.clone()))
                .or_default()
                .push(entry());
            if local != remote {
                self.by_ids
                    .entry((remote, local.clone()))
                    .or_default()
                    .push(entry());
            }
            self.by_local_id.entry(local).or_default().push(entry());
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        let Some((place, connection)) = self.connections.remove(&name.to_ascii_lowercase()) else {
            return;
        };
        self.names.remove(&place);
        let is_other = |(other, _): &(u64, Rc<Connection>)| *other != place;
        if let (Some(local), Some(remote)) = (&connection.local_id, &connection.remote_id) {
            let (local, remote) = (local.identity.clone(), remote.identity.clone());
            for ids in [(local.clone(), remote.clone()), (remote, local.clone())] {
                if let Entry::Occupied(mut places) = self.by_ids.entry(ids) {
                    places.get_mut().retain(is_other);
                    if places.get().is_empty() {
                        places.remove();
                    }
                }
            }
            if let Entry::Occupied(mut places) = self.by_local_id.entry(local) {
                places.get_mut().retain(is_other);
                if places.get().is_empty() {
                    places.remove();
                }
            }
        }
    }

    /// Both identities of a connection, in either order; else one that is some connection's own.
    pub(super) fn find(
        &self,
        initiator: &Identity,
        responder: &Identity,
        peer: Option<&str>,
    ) -> IdMatch {
        // The order in which they are asked for does not matter: both were entered.
        let both = self.by_ids.get(&(initiator.clone(), responder.clone()));
        let is_the_peers = |(_, connection): &&(u64, Rc<Connection>)| {
            peer.is_some_and(|peer| connection.peer.eq_ignore_ascii_case(peer))
        };
        let first = |places: &'_ Places| {
            let preferred = places.iter().find(is_the_peers);
            preferred.or(places.first()).cloned()
        };
        if let Some((_, connection)) = both.and_then(first) {
            return IdMatch::Both(connection);
        }
        let places = [initiator, responder]
            .into_iter()
            .filter_map(|id| self.by_local_id.get(id)?.first());
        match places.min_by_key(|(place, _)| *place) {
            Some((_, connection)) => IdMatch::LocalOnly(Rc::clone(connection)),
            None => IdMatch::None,
        }
    }
}
