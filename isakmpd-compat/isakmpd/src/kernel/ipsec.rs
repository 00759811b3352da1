//! IPsec of this host (isakmpd 6.2, isakmpd-xfrm): which SAs and policies there are to be, whatever the interface by
//! which they are put ([`Database`]).
//!
//! All SAs of a flow have one reqid, by which its policies find them; so a flow's policies stay as they are when its
//! SAs are replaced, and go when nothing carries it any more.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Instant;

use ike::journal::Class;
use ike::kernel::{Expire, Flow, Idle, Installation, Mapping, SaParameters};
use isakmpd_conf::acquire::Acquire;
use kx_sys::xfrm::{self, Lifetime, Mode, Policy, Sa, Selector};

use crate::log::{Log, system_text};

use super::database::{Database, Name};
use super::flow::{self, Layer};
use super::sa::{self, ip_protocol, isakmp_protocol, protocol_name};
use super::{IPCOMP, Kernel, Notice};

/// The mark of SAs of ours, "kx" and two zeroes. The kernel counts its own from 1.
pub const MARK: u32 = 0x6b78_0000;

/// Connections that packets of others' policies asked for.
const MOST_ACQUIRED: usize = 4096;

/// SPIs that we take; those below are reserved (RFC 4303 2.1).
const SPIS: RangeInclusive<u32> = 0x100..=0xffff_ffff;
/// Those of IPComp that may be negotiated (RFC 3173 3.3).
const COMPRESSION_SPIS: RangeInclusive<u32> = 0x100..=0xefff;

/// Protocol as in ISAKMP, SPI, and our address.
type WayInName = (u8, u32, IpAddr);

/// An incoming SA, or the SPI of one to come.
#[derive(Default)]
struct WayIn {
    /// What it carries, once that is known.
    flow: Option<Flow>,
    /// It is whole.
    whole: bool,
    /// Packets that it had carried when it was looked at last.
    packets: u64,
    /// When that number was seen to change last.
    used: Option<Instant>,
}

/// An SA in UDP, as far as it takes to change its ports.
struct InUdp {
    parameters: SaParameters,
    reqid: u32,
    incoming: bool,
    selector: Option<Selector>,
}

/// A flow that somebody carries.
struct Carried {
    reqid: u32,
    /// The connection's name.
    name: Option<String>,
    policies: Vec<Policy>,
    users: HashSet<WayInName>,
}

/// What others' policies asked for: policy's reqid, traffic, and the peer.
type Question = (u32, Selector, IpAddr);

/// The kernel's IPsec.
pub struct Ipsec<D> {
    database: D,
    log: Rc<Log>,
    ways_in: HashMap<WayInName, WayIn>,
    in_udp: HashMap<Name, InUdp>,
    flows: HashMap<Flow, Carried>,
    by_reqid: HashMap<u32, Flow>,
    last_reqid: u32,
    /// Reqids of connections that are made on demand, by their names.
    acquired: HashMap<String, (u32, Question)>,
}

impl<D: Database> Ipsec<D> {
    /// Over this interface.
    #[must_use]
    pub fn new(database: D, log: Rc<Log>) -> Ipsec<D> {
        let last_reqid = *database.reqids().start();
        Ipsec {
            database,
            log,
            ways_in: HashMap::new(),
            in_udp: HashMap::new(),
            flows: HashMap::new(),
            by_reqid: HashMap::new(),
            last_reqid,
            acquired: HashMap::new(),
        }
    }

    /// The reqid of a flow with policies of ours; a new one for a new flow.
    fn reqid_of(&mut self, flow: &Flow, name: Option<&str>) -> Result<u32, String> {
        if let Some(carried) = self.flows.get(flow) {
            return Ok(carried.reqid);
        }
        let range = self.database.reqids();
        let (first, last) = (*range.start(), *range.end());
        let mut reqid = self.last_reqid;
        loop {
            reqid = match reqid {
                reqid if reqid >= last => first.saturating_add(1),
                reqid => reqid.saturating_add(1),
            };
            if !self.by_reqid.contains_key(&reqid) {
                break;
            }
            if reqid == self.last_reqid {
                return Err("no reqid is left".to_owned());
            }
        }
        self.last_reqid = reqid;
        self.by_reqid.insert(reqid, flow.clone());
        self.flows.insert(
            flow.clone(),
            Carried {
                reqid,
                name: name.map(str::to_owned),
                policies: Vec::new(),
                users: HashSet::new(),
            },
        );
        Ok(reqid)
    }

    /// Somebody does not carry its flow any more; the last one takes it away.
    fn leave(&mut self, name: WayInName) {
        let Some(way) = self.ways_in.get_mut(&name) else {
            return;
        };
        way.whole = false;
        let Some(flow) = way.flow.take() else { return };
        if let Some(carried) = self.flows.get_mut(&flow) {
            carried.users.remove(&name);
        }
        self.forget_unused(&flow);
    }

    fn forget_unused(&mut self, flow: &Flow) {
        match self.flows.get(flow) {
            Some(carried) if carried.users.is_empty() => {}
            _ => return,
        }
        if let Some(carried) = self.flows.remove(flow) {
            self.by_reqid.remove(&carried.reqid);
            for policy in carried.policies.iter().rev() {
                self.take_policy(policy);
            }
        }
    }

    fn take_policy(&mut self, policy: &Policy) {
        let taken = self
            .database
            .remove_policy(&policy.selector, policy.direction);
        if let Err(error) = taken {
            self.log.debug(Class::SystemDependent, 10, || {
                let direction = policy.direction;
                format!(
                    "kernel: policy {direction:?} not removed: {}",
                    system_text(&error)
                )
            });
        }
    }

    fn take_sa(&mut self, name: &Name) {
        self.in_udp.remove(name);
        let taken = self.database.remove(name);
        // The kernel itself takes them away when they have run out.
        let taken = taken.or_else(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => Ok(()),
            _ => Err(error),
        });
        if let Err(error) = taken {
            self.log
                .error(format!("kernel: SPI {:08x} not removed", name.spi), &error);
        }
    }

    /// The policies of a flow, new or changed. What was there before is there again if it fails.
    fn put_flow(&mut self, flow: &Flow, wanted: Vec<Policy>) -> Result<(), String> {
        let old = match self.flows.get(flow) {
            Some(carried) => carried.policies.clone(),
            None => Vec::new(),
        };
        let same = |one: &Policy, other: &Policy| {
            one.selector == other.selector && one.direction == other.direction
        };
        for (place, policy) in wanted.iter().enumerate() {
            let before = old.iter().find(|before| same(before, policy));
            if before == Some(policy) {
                continue;
            }
            let put = self.database.put_policy(policy, before.is_some());
            let Err(error) = put else { continue };
            for done in wanted.iter().take(place).rev() {
                match old.iter().find(|before| same(before, done)) {
                    Some(before) if before != done => {
                        // It was there, so there is room for it.
                        let _ = self.database.put_policy(before, true);
                    }
                    Some(_) => {}
                    None => self.take_policy(done),
                }
            }
            let Selector {
                source,
                destination,
                ..
            } = policy.selector;
            let direction = policy.direction;
            return Err(format!(
                "kernel: policy {direction:?} {}/{} -> {}/{}: {}",
                source.0,
                source.1,
                destination.0,
                destination.1,
                match error.raw_os_error() {
                    Some(libc::EEXIST) => "another program has one for this traffic".to_owned(),
                    _ => system_text(&error),
                }
            ));
        }
        for gone in old {
            if !wanted.iter().any(|policy| same(policy, &gone)) {
                self.take_policy(&gone);
            }
        }
        if let Some(carried) = self.flows.get_mut(flow) {
            carried.policies = wanted;
        }
        Ok(())
    }

    /// Puts all of it; what was put is in `made`.
    fn put(&mut self, installation: &Installation, made: &mut Vec<Name>) -> Result<(), String> {
        let flow = &installation.flow;
        let (reqid, selector) = match installation.with_flow {
            true => (self.reqid_of(flow, installation.name.as_deref())?, None),
            // Others' policies: theirs, and nothing but their traffic.
            false => {
                let name = installation.name.as_deref();
                let reqid = name.and_then(|name| self.acquired.get(name));
                (
                    reqid.map_or(0, |(reqid, _)| *reqid),
                    Some(flow::outgoing(flow)?),
                )
            }
        };
        let (local, remote) = (installation.local, installation.remote);
        for one in &installation.incoming {
            let name = (one.protocol, one.spi, local.ip());
            if self.ways_in.get(&name).is_some_and(|way| way.whole) {
                continue;
            }
            let mut wanted = sa::sa(one, remote, local, reqid, true)?;
            wanted.selector = selector.as_ref().map(flow::mirrored);
            self.put_sa(one, wanted, true, made)?;
            let way = self.ways_in.entry(name).or_default();
            way.whole = true;
            if installation.with_flow {
                way.flow = Some(flow.clone());
                if let Some(carried) = self.flows.get_mut(flow) {
                    carried.users.insert(name);
                }
            }
        }
        for one in &installation.outgoing {
            let mut wanted = sa::sa(one, local, remote, reqid, false)?;
            wanted.selector = selector;
            self.put_sa(one, wanted, false, made)?;
        }
        if installation.with_flow && !installation.outgoing.is_empty() {
            let layers: Vec<Layer> = installation.outgoing.iter().map(layer).collect();
            let wanted = flow::policies(flow, (local.ip(), remote.ip()), &layers, reqid)?;
            self.put_flow(flow, wanted)?;
        }
        Ok(())
    }

    fn put_sa(
        &mut self,
        one: &SaParameters,
        mut sa: Sa<'_>,
        larval: bool,
        made: &mut Vec<Name>,
    ) -> Result<(), String> {
        sa.sequence = MARK;
        let mut put = self.database.install(&sa, larval);
        // The larval one lives shorter than a negotiation may last ("isakmpd-xfrm 2").
        let gone = |error: &io::Error| error.raw_os_error() == Some(libc::ESRCH);
        if larval && put.as_ref().is_err_and(gone) {
            put = self.database.install(&sa, false);
        }
        put.map_err(|error| {
            let reason = match error.raw_os_error() {
                Some(libc::EPROTONOSUPPORT) => format!(
                    "this kernel has no {} ({})",
                    protocol_name(one.protocol),
                    system_text(&error)
                ),
                _ => system_text(&error),
            };
            format!(
                "kernel: {} SPI {:08x} {} -> {}: {reason}",
                protocol_name(one.protocol),
                one.spi,
                sa.source,
                sa.destination
            )
        })?;
        let name = Name {
            source: sa.source,
            destination: sa.destination,
            protocol: sa.protocol,
            spi: sa.spi,
        };
        if sa.encapsulation.is_some() {
            let in_udp = InUdp {
                parameters: sa::without_keys(one),
                reqid: sa.reqid,
                incoming: larval,
                selector: sa.selector,
            };
            self.in_udp.insert(name, in_udp);
        }
        made.push(name);
        Ok(())
    }

    /// Other ports around an SA that is there.
    fn move_sa(&mut self, name: &Name, source: SocketAddr, destination: SocketAddr) {
        let Some(one) = self.in_udp.get(name) else {
            return;
        };
        let wanted = sa::sa(
            &one.parameters,
            source,
            destination,
            one.reqid,
            one.incoming,
        );
        let moved = wanted.map_err(io::Error::other).and_then(|mut wanted| {
            wanted.selector = one.selector;
            wanted.sequence = MARK;
            self.database.install(&wanted, true)
        });
        if let Err(error) = moved {
            let spi = name.spi;
            self.log
                .error(format!("kernel: SPI {spi:08x} keeps its ports"), &error);
        }
    }

    fn put_or_undo(&mut self, installation: &Installation) -> Result<(), String> {
        let mut made = Vec::new();
        let put = self.put(installation, &mut made);
        if put.is_err() {
            for name in made.iter().rev() {
                self.take_sa(name);
            }
            for one in &installation.incoming {
                self.leave((one.protocol, one.spi, installation.local.ip()));
            }
            self.forget_unused(&installation.flow);
        }
        put
    }

    fn notice(&self, notice: xfrm::Notice) -> Option<Notice> {
        match notice {
            // A larval one that nobody asked us for.
            xfrm::Notice::Expire { spi: 0, .. } => None,
            xfrm::Notice::Expire {
                destination,
                spi,
                protocol,
                hard,
                packets,
            } => Some(Notice::Expire(Expire {
                protocol: isakmp_protocol(protocol)?,
                spi,
                destination,
                hard,
                used: packets != 0,
            })),
            xfrm::Notice::Mapping {
                spi,
                protocol,
                old,
                new,
            } => Some(Notice::Mapping(Mapping {
                protocol: isakmp_protocol(protocol)?,
                spi,
                old,
                new,
            })),
            xfrm::Notice::Acquire {
                source,
                destination,
                reqid,
                sequence,
                selector,
                ..
            } => {
                if self.database.reqids().contains(&reqid) {
                    let flow = self.by_reqid.get(&reqid)?;
                    let name = self.flows.get(flow)?.name.clone()?;
                    return Some(Notice::Lost(name));
                }
                let question = (reqid, selector, destination);
                let asked = |(name, (_, other)): (&String, &(u32, Question))| {
                    (*other == question).then(|| name.clone())
                };
                let (local, remote) = flow::sides(&selector);
                Some(Notice::Acquire(Box::new(super::Acquired {
                    known: self.acquired.iter().find_map(asked),
                    reqid,
                    selector,
                    question: Acquire {
                        sequence,
                        destination,
                        source: Some(source).filter(|source| !source.is_unspecified()),
                        local,
                        remote,
                        protocol: selector.protocol,
                        local_identity: None,
                        remote_identity: None,
                    },
                })))
            }
        }
    }
}

fn layer(one: &SaParameters) -> Layer {
    Layer {
        protocol: ip_protocol(one.protocol),
        mode: sa::mode(one),
    }
}

impl<D: Database> Kernel for Ipsec<D> {
    fn allocate_spi(&mut self, protocol: u8, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        // Whatever it says else is replaced when the SA is whole.
        let larval = Sa {
            source: remote.ip(),
            destination: local.ip(),
            spi: 0,
            protocol: ip_protocol(protocol),
            mode: Mode::Tunnel,
            reqid: *self.database.reqids().start(),
            replay_window: 0,
            algorithms: Vec::new(),
            encapsulation: None,
            lifetime: Lifetime::default(),
            selector: None,
            sequence: 0,
        };
        let range = match protocol {
            IPCOMP => COMPRESSION_SPIS,
            _ => SPIS,
        };
        match self.database.allocate_spi(&larval, range) {
            Ok(spi) => {
                self.ways_in
                    .insert((protocol, spi, local.ip()), WayIn::default());
                Some(spi)
            }
            Err(error) => {
                let interface = self.database.interface();
                self.log
                    .error(format!("kernel: no SPI from {interface}"), &error);
                None
            }
        }
    }

    fn release_spi(&mut self, protocol: u8, spi: u32, local: SocketAddr, remote: SocketAddr) {
        let name = (protocol, spi, local.ip());
        self.leave(name);
        self.ways_in.remove(&name);
        self.take_sa(&Name {
            source: remote.ip(),
            destination: local.ip(),
            protocol: ip_protocol(protocol),
            spi,
        });
    }

    fn install_incoming(&mut self, installation: &Installation) {
        let put = self.put_or_undo(installation);
        if let Err(error) = put {
            // The whole suite fails the same way, and then it counts.
            self.log.debug(Class::SystemDependent, 10, || error);
        }
    }

    fn install(&mut self, installation: &Installation) -> Result<(), String> {
        self.put_or_undo(installation)
    }

    fn remove(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        protocols: &[(u8, u32, u32)],
        _: Option<&Flow>,
    ) {
        // Policies first: a packet that finds no SA would ask for one.
        for &(protocol, incoming, _) in protocols {
            let name = (protocol, incoming, local.ip());
            self.leave(name);
            self.ways_in.remove(&name);
        }
        for &(protocol, incoming, outgoing) in protocols {
            let ends = [
                (local.ip(), remote.ip(), outgoing),
                (remote.ip(), local.ip(), incoming),
            ];
            for (source, destination, spi) in ends {
                self.take_sa(&Name {
                    source,
                    destination,
                    protocol: ip_protocol(protocol),
                    spi,
                });
            }
        }
    }

    fn move_peer(
        &mut self,
        local: SocketAddr,
        from: SocketAddr,
        to: SocketAddr,
        protocols: &[(u8, u32, u32)],
    ) {
        for &(protocol, incoming, outgoing) in protocols {
            let name = |source: SocketAddr, destination: SocketAddr, spi| Name {
                source: source.ip(),
                destination: destination.ip(),
                protocol: ip_protocol(protocol),
                spi,
            };
            // What we send first: packets that come are taken anyway.
            self.move_sa(&name(local, from, outgoing), local, to);
            self.move_sa(&name(from, local, incoming), to, local);
        }
    }

    fn last_use(&mut self, protocol: u8, spi: u32, local: SocketAddr, remote: SocketAddr) -> Idle {
        let found = self.database.look(&Name {
            source: remote.ip(),
            destination: local.ip(),
            protocol: ip_protocol(protocol),
            spi,
        });
        let found = found.ok().flatten()?;
        let way = self.ways_in.get_mut(&(protocol, spi, local.ip()))?;
        let now = Instant::now();
        // The kernel only knows when it was used first.
        if found.packets != way.packets {
            way.packets = found.packets;
            way.used = Some(now);
        }
        way.used.map(|used| now.saturating_duration_since(used))
    }

    fn acquired(&mut self, connection: &str, acquired: &super::Acquired) {
        if self.acquired.len() >= MOST_ACQUIRED {
            self.acquired.clear();
        }
        let question = (
            acquired.reqid,
            acquired.selector,
            acquired.question.destination,
        );
        self.acquired
            .insert(connection.to_owned(), (acquired.reqid, question));
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.database.descriptor()
    }

    fn notices(&mut self) -> Vec<Notice> {
        match self.database.notices() {
            Ok(all) => all
                .into_iter()
                .filter_map(|notice| self.notice(notice))
                .collect(),
            Err(error) => {
                self.log.error("kernel: notices", &error);
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests;
