//! Beginning exchanges: by name for the operator and the watchdog, and as the answer to a first message.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use isakmp_proto::header::Cookie;
use isakmp_proto::number::{Doi, ExchangeType, NotifyType, PayloadType};
use isakmp_proto::payload::Payload;

use super::Engine;
use crate::config::{Peer, Phase1};
use crate::event::{Address, Path};
use crate::exchange::{Outcome, Received, State, Then};
use crate::exchange::{aggressive, main_mode, quick_mode, transaction};
use crate::journal::Class;
use crate::phase1::Negotiation;
use crate::sa::{Flags, Role, SaId};

impl Engine {
    /// Negotiates a connection (phase 2): under the peer's ISAKMP SA if it is ready, else phase 1 comes first.
    /// A second request while one runs is attached to it. `false`: it could not be begun.
    pub(crate) fn establish(
        &mut self,
        now: Instant,
        connection: &Rc<str>,
        stay_alive: bool,
    ) -> bool {
        if !self.may_initiate(connection, 2) {
            return false;
        }
        if self.running(2, connection).is_some() {
            return true;
        }
        let section = match self.configuration.connection(connection) {
            Ok(section) => section,
            Err(error) => {
                // FIFO `c` with the section of a peer: phase 1 alone. The original begins another at every check.
                if self.configuration.peer(connection).is_ok() {
                    return self.ready_phase1(connection).is_some()
                        || self.establish_phase1(now, connection, None, stay_alive);
                }
                self.journal.plain(error.to_string());
                return false;
            }
        };
        if let Some(sa) = self.ready_phase1(&section.peer) {
            return quick_mode::begin(self, now, sa, Rc::clone(connection), stay_alive, Vec::new());
        }
        let then = Then::Connection(Rc::clone(connection));
        // Phase 1 stays alive as soon as a suite under it does.
        self.establish_phase1(now, &section.peer, Some(then), false)
    }

    /// Negotiates an ISAKMP SA with a peer for its own sake: the one there is runs out.
    pub(crate) fn establish_peer(
        &mut self,
        now: Instant,
        peer: &Rc<str>,
        stay_alive: bool,
    ) -> bool {
        self.establish_phase1(now, peer, None, stay_alive)
    }

    /// Negotiates an ISAKMP SA with a peer. `then` is done when it is ready. `false`: it could not be begun.
    pub(crate) fn establish_phase1(
        &mut self,
        now: Instant,
        peer: &str,
        then: Option<Then>,
        stay_alive: bool,
    ) -> bool {
        if !self.may_initiate(peer, 1) {
            return false;
        }
        if let Some(id) = self.running(1, peer) {
            self.journal.debug(Class::Exchange, 40, || {
                format!("exchange_establish: {peer} exchange already exists as {id}")
            });
            if let Some(exchange) = self.exchanges.get_mut(id) {
                if let Some(then) = then.filter(|then| !exchange.then.contains(then)) {
                    exchange.then.push(then);
                }
                exchange.stay_alive |= stay_alive;
            }
            return true;
        }
        let (peer, policy) = match self.sections(peer) {
            Ok(sections) => sections,
            Err(error) => {
                self.journal.plain(error);
                return false;
            }
        };
        let Some(remote) = peer.address.map(|address| address.with_port(peer.port)) else {
            self.journal.plain(format!(
                "exchange_establish: transport \"udp\" for peer \"{}\" could not be created",
                peer.name
            ));
            return false;
        };
        let path = self.floated_path(&peer).unwrap_or(Path {
            local: self.local_for(&peer, remote),
            remote,
            encapsulated: false,
        });
        if self.exchanges.len() >= self.options.limits.exchanges {
            self.journal
                .plain("exchange_establish_p1: too many exchanges");
            return false;
        }
        let name: Rc<str> = peer.name.as_str().into();
        let aggressive = ExchangeType(policy.exchange_type) == ExchangeType::AGGRESSIVE;
        let negotiation = Box::new(Negotiation::new(peer, policy));
        let state = if aggressive {
            State::Aggressive(negotiation)
        } else {
            State::Main(negotiation)
        };
        let cookie = self.new_cookie();
        let cookies = (cookie, Cookie::ZERO);
        let mut exchange =
            self.new_exchange(now, state, Role::Initiator, cookies, 0, path, Some(name));
        exchange.then.extend(then);
        exchange.stay_alive = stay_alive;
        self.exchanges.insert_taken(&exchange);
        self.dump_exchange("exchange_establish_p1", &exchange);
        let outcome = if aggressive {
            aggressive::begin(self, now, &mut exchange)
        } else {
            main_mode::begin(self, now, &mut exchange)
        };
        let begun = outcome == Outcome::Continue;
        self.conclude(now, exchange, outcome);
        begun
    }

    /// Where an ISAKMP SA of that peer goes through a NAT: what follows it goes the same way, whose mapping is kept
    /// (isakmpd-wire 4.5).
    fn floated_path(&self, peer: &Peer) -> Option<Path> {
        let sa = self.sas.phase1(self.ready_phase1(&peer.name)?)?;
        sa.nat.encapsulates().then_some(sa.path)
    }

    fn may_initiate(&mut self, name: &str, phase: u8) -> bool {
        if !self.active || self.shutting_down {
            self.journal.debug(Class::Exchange, 40, || {
                format!(
                    "exchange_establish: returning in passive mode for exchange {name} phase {phase}"
                )
            });
            return false;
        }
        true
    }

    /// The exchange of that name and phase that is under way.
    pub(crate) fn running(&self, phase: u8, name: &str) -> Option<crate::exchange::ExchangeId> {
        self.exchanges
            .named(phase, name)
            .find(|exchange| {
                !exchange.done && !exchange.given_up && !exchange.is_unauthenticated_responder()
            })
            .map(|exchange| exchange.id)
    }

    /// The newest ISAKMP SA of a peer section that is ready and not about to go.
    pub(crate) fn ready_phase1(&self, peer: &str) -> Option<SaId> {
        self.sas.named(1, peer).rev().find(|id| {
            self.sas
                .phase1(*id)
                .is_some_and(|sa| sa.flags.has(Flags::READY) && !sa.flags.has(Flags::FADING))
        })
    }

    /// A peer's section and that of its configuration.
    fn sections(&self, peer: &str) -> Result<(Rc<Peer>, Rc<Phase1>), String> {
        let peer = self
            .configuration
            .peer(peer)
            .map_err(|error| error.to_string())?;
        let policy = self
            .configuration
            .phase1(&peer.configuration)
            .map_err(|error| error.to_string())?;
        Ok((peer, policy))
    }

    /// Our end towards a peer: `Local-address`, or the only address of that family. With several the program's
    /// routing decides: the unspecified address.
    fn local_for(&self, peer: &Peer, remote: SocketAddr) -> SocketAddr {
        let zone = Address::from(remote).zone;
        // From a link to hosts of that link alone.
        let suits = |address: &&SocketAddr| {
            address.is_ipv4() == remote.is_ipv4() && Address::from(**address).zone == zone
        };
        let port = self
            .local_addresses
            .iter()
            .find(suits)
            .map_or(500, SocketAddr::port);
        if let Some(local) = peer.local_address {
            let port = self
                .local_addresses
                .iter()
                .find(|address| Address::from(**address) == local)
                .map_or(port, SocketAddr::port);
            return local.with_port(port);
        }
        let mut candidates = self.local_addresses.iter().filter(suits);
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => *only,
            _ if remote.is_ipv4() => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            _ => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
        }
    }

    /// The first message of a phase 1 exchange of a peer's.
    pub(crate) fn respond(&mut self, now: Instant, received: Received) {
        let header = received.message.header;
        let Some(sa) =
            received
                .message
                .all(PayloadType::SA)
                .find_map(|(_, payload)| match payload {
                    Payload::Sa(sa) => Some(sa),
                    _ => None,
                })
        else {
            self.journal.plain("message_recv: no exchange");
            let notify = NotifyType::PAYLOAD_MALFORMED;
            return self.refuse(now, received.path, notify, Doi::ISAKMP, None, Vec::new());
        };
        let doi = sa.doi;
        let Some((peer, policy, listed)) = self.responder_sections(&received, doi) else {
            return self
                .journal
                .plain("message_validate_sa: cannot create exchange");
        };
        let sa_octets = received
            .message
            .index_of(PayloadType::SA)
            .map_or(0, |index| received.message.body(index).len());
        let aggressive = header.exchange == ExchangeType::AGGRESSIVE;
        let remote = received.path.remote.into();
        if !self.make_room(now, (remote, listed), sa_octets, aggressive) {
            return self.journal.debug(Class::Exchange, 20, || {
                format!(
                    "first message of {} dropped: too many",
                    received.path.remote
                )
            });
        }
        let name: Rc<str> = peer.name.as_str().into();
        let negotiation = Box::new(Negotiation::new(peer, policy));
        let state = if header.exchange == ExchangeType::AGGRESSIVE {
            State::Aggressive(negotiation)
        } else {
            State::Main(negotiation)
        };
        let cookies = (header.initiator_cookie, self.new_cookie());
        let path = received.path;
        let mut exchange =
            self.new_exchange(now, state, Role::Responder, cookies, 0, path, Some(name));
        self.exchanges.insert_taken(&exchange);
        self.dump_exchange("exchange_setup_p1", &exchange);
        let digest = received.digest;
        let outcome = match exchange.state {
            State::Aggressive(_) => aggressive::receive(self, now, &mut exchange, received),
            _ => main_mode::receive(self, now, &mut exchange, received),
        };
        // Refused or still worked at: the same message again is not a new one.
        exchange.last_received.get_or_insert(digest);
        self.conclude(now, exchange, outcome);
    }

    /// Who the peer is by its address, and whether it speaks of what is configured (isakmpd-wire 4). Last: whether the
    /// configuration lists the address.
    fn responder_sections(
        &mut self,
        received: &Received,
        doi: Doi,
    ) -> Option<(Rc<Peer>, Rc<Phase1>, bool)> {
        let remote = received.path.remote.into();
        let Some((name, listed)) = self.configuration.peer_for_address(remote) else {
            self.journal
                .plain("exchange_setup_p1: no \"Default\" tag in [Phase 1] section");
            return None;
        };
        if listed && self.is_authenticating(&name) {
            self.journal.debug(Class::Exchange, 40, || {
                format!("exchange_establish: {name} exchange already exists")
            });
            return None;
        }
        let (peer, policy) = match self.sections(&name) {
            Ok(sections) => sections,
            Err(error) => {
                self.journal.plain(error);
                return None;
            }
        };
        if doi.0 != policy.doi {
            let expected = Doi(policy.doi);
            self.journal
                .plain(format!("exchange_setup_p1: expected {expected} DOI"));
            return None;
        }
        let got = received.message.header.exchange;
        if got.0 != policy.exchange_type {
            let expected = ExchangeType(policy.exchange_type);
            self.journal.plain(format!(
                "exchange_setup_p1: expected exchange type {expected} got {}",
                got.base_name()
            ));
            return None;
        }
        Some((peer, policy, listed))
    }

    /// Whether a phase 1 exchange of that section has an authenticated peer and is not done: a worker thread
    /// still signs. Only then another one is not answered, so that a forgery never shuts out the real peer.
    fn is_authenticating(&self, name: &str) -> bool {
        self.exchanges
            .named(1, name)
            .any(|exchange| match &exchange.state {
                State::Main(negotiation) | State::Aggressive(negotiation) => {
                    negotiation.authenticated && !exchange.done
                }
                _ => false,
            })
    }

    /// Room for one more half-open exchange: the oldest ones go. `false`: no room, or too many per second. Nobody can
    /// be answered without state: HASH_I and HASH_R go over the initiator's SA payload, which only the first message
    /// has, and 8 octets of cookie cannot carry it back to us. `listed`: the configuration has the peer's address.
    fn make_room(
        &mut self,
        now: Instant,
        (peer, listed): (Address, bool),
        octets: usize,
        aggressive: bool,
    ) -> bool {
        let limits = self.options.limits;
        if octets > limits.half_open_octets {
            return false;
        }
        let (all, _) = self.exchanges.half_open_count(peer);
        // Peers that have an SA are not held up by others' floods; each is bounded by itself.
        let known = self.sas.with_peer(1, peer).next().is_some();
        if !known && all > limits.half_open / 2 {
            // Strangers do not use up what is meant for the configuration's peers.
            let allowed = match listed {
                true => &mut self.first_messages_of_listed,
                false => &mut self.first_messages,
            };
            if !allowed.take(now) {
                return false;
            }
        }
        if aggressive && !known && !self.aggressive.take(now) {
            return false;
        }
        loop {
            let (all, of_peer) = self.exchanges.half_open_count(peer);
            let oldest = if of_peer >= limits.half_open_per_peer {
                self.exchanges.oldest_half_open(Some(peer))
            } else if all >= limits.half_open
                || self.half_open_octets.saturating_add(octets) > limits.half_open_octets
            {
                self.exchanges.oldest_half_open(None)
            } else {
                return self.exchanges.len() < limits.exchanges;
            };
            let Some(exchange) = oldest.and_then(|id| self.exchanges.take(id)) else {
                return false;
            };
            self.free(exchange);
        }
    }

    /// What was to follow an exchange that is done. After phase 1 with `ikecfg` mode-config comes before it.
    pub(crate) fn run_then(
        &mut self,
        now: Instant,
        sa: Option<SaId>,
        mut then: Vec<Then>,
        phase: u8,
    ) {
        let ikecfg = phase == 1
            && sa
                .and_then(|sa| self.sas.phase1(sa))
                .is_some_and(|sa| sa.flags.has(Flags::IKECFG));
        if let (Some(sa), true) = (sa, ikecfg) {
            match transaction::begin(self, now, sa, then) {
                Ok(()) => return,
                Err(left) => then = left,
            }
        }
        for Then::Connection(connection) in then {
            self.establish(now, &connection, false);
        }
    }

    /// What was to follow an exchange that failed: the watchdog tries connections again by itself.
    pub(crate) fn then_failed(&mut self, _now: Instant, then: Vec<Then>) {
        for Then::Connection(connection) in then {
            self.journal.debug(Class::Exchange, 20, || {
                format!(
                    "exchange_establish_finalize: finalizing exchange with arg ({connection}) & fail = 1"
                )
            });
        }
    }
}
