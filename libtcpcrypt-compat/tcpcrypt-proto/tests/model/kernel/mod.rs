//! A kernel's TCP: simple, and like a real one in all that can be seen from outside.

mod ranges;
mod receiver;
mod segment;
mod sender;
mod settings;
mod socket;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tcpcrypt_proto::packet::{Direction, Flags, FourTuple, Seq, View};

pub(crate) use ranges::Ranges;
pub(crate) use segment::{Segment, checksums_are_right};
pub(crate) use settings::{Probe, Settings};
pub(crate) use socket::{End, Socket, State};

use super::rng::Rng;

pub(crate) struct Kernel {
    pub(crate) settings: Settings,
    pub(crate) address: IpAddr,
    rng: Rng,
    pub(crate) sockets: Vec<Socket>,
    by_tuple: HashMap<FourTuple, usize>,
    listening: HashSet<u16>,
    out: Vec<Vec<u8>>,
    /// Packets that were thrown away for their checksum.
    pub(crate) bad_checksums: u64,
    /// RSTs in answer to segments of no connection.
    pub(crate) refusals: u64,
}

impl Kernel {
    pub(crate) fn new(settings: Settings, address: IpAddr, rng: Rng) -> Kernel {
        Kernel {
            settings,
            address,
            rng,
            sockets: Vec::new(),
            by_tuple: HashMap::new(),
            listening: HashSet::new(),
            out: Vec::new(),
            bad_checksums: 0,
            refusals: 0,
        }
    }

    pub(crate) fn listen(&mut self, port: u16) {
        self.listening.insert(port);
    }

    pub(crate) fn connect(&mut self, now: Duration, port: u16, remote: SocketAddr) -> usize {
        let tuple = FourTuple {
            local: SocketAddr::new(self.address, port),
            remote,
        };
        let old = self.by_tuple.get(&tuple).map(|id| self.sockets[*id].state);
        assert!(old.is_none_or(|s| s == State::Closed), "the port is in use");
        let socket = Socket::connect(now, tuple, &self.settings, self.rng.split());
        self.add(socket)
    }

    fn add(&mut self, socket: Socket) -> usize {
        self.by_tuple.insert(socket.tuple, self.sockets.len());
        self.sockets.push(socket);
        self.sockets.len() - 1
    }

    /// A packet from below.
    pub(crate) fn packet(&mut self, now: Duration, packet: &[u8]) {
        if !checksums_are_right(packet) {
            self.bad_checksums += 1;
            return;
        }
        let Ok(view) = View::parse(packet) else {
            return;
        };
        let tuple = view.tuple(Direction::In);
        if tuple.local.ip() != self.address {
            return;
        }
        let segment = Segment::read(&view);
        let found = self.by_tuple.get(&tuple).copied();
        let is_syn = segment.flags.handshake() == Flags::SYN;
        let live = found.filter(|id| match self.sockets[*id].state {
            State::Closed => false,
            // A new connection may follow at once (RFC 9293 section 3.10.7.4).
            State::TimeWait => !(is_syn && self.is_newer(*id, &segment)),
            _ => true,
        });
        match live {
            Some(id) => self.sockets[id].segment(now, &segment),
            None if is_syn && self.listening.contains(&tuple.local.port()) => {
                if let Some(old) = found {
                    self.sockets[old].finish(End::Closed);
                }
                let rng = self.rng.split();
                let socket = Socket::accept(now, tuple, &self.settings, rng, &segment);
                self.add(socket);
            }
            None => {
                if let Some(refusal) = segment.refusal() {
                    self.refusals += 1;
                    self.out.push(refusal.packet(tuple));
                }
            }
        }
    }

    /// A router says that a packet was too long.
    pub(crate) fn too_big(&mut self, now: Duration, ends: FourTuple, seq: Seq, mtu: u32) {
        if let Some(id) = self.by_tuple.get(&ends) {
            self.sockets[*id].too_big(now, seq, mtu);
        }
    }

    fn is_newer(&self, id: usize, syn: &Segment) -> bool {
        let receive = self.sockets[id].receive.as_ref();
        receive.is_none_or(|r| r.position(syn.seq) > r.next as i64)
    }

    pub(crate) fn next_timer(&self) -> Option<Duration> {
        self.sockets.iter().filter_map(Socket::next_timer).min()
    }

    pub(crate) fn time_out(&mut self, now: Duration) {
        for socket in &mut self.sockets {
            if socket.next_timer().is_some_and(|at| at <= now) {
                socket.time_out(now);
            }
        }
    }

    /// How much data the full segments of a connection have.
    pub(crate) fn segment_size(&self, packet: &View<'_>) -> Option<usize> {
        let id = self.by_tuple.get(&packet.tuple(Direction::Out))?;
        usize::try_from(self.sockets[*id].send.mss).ok()
    }

    /// What it wants to send.
    pub(crate) fn take_packets(&mut self) -> Vec<Vec<u8>> {
        let mut out = std::mem::take(&mut self.out);
        for socket in &mut self.sockets {
            out.append(&mut socket.out);
        }
        out
    }
}
