//! Two hosts with tcpcrypt, their kernels, and a network in which somebody drops, changes and invents packets;
//! programs that ask for anything; time that jumps. What arrives on an encrypted connection is a beginning of what
//! was sent, and nothing grows beyond its bound.
#![no_main]
#![allow(clippy::cast_possible_truncation)]
use std::net::Ipv4Addr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tcpcrypt_proto::config::{Config, Limits};
use tcpcrypt_proto::endpoint::ClientId;
use tcpcrypt_proto::packet::{Flags, Rewrite, View};
use tcpcrypt_proto::verdict::Direction;

#[path = "../../../libtcpcrypt-compat/tcpcrypt-proto/tests/model/mod.rs"]
mod model;
use model::{Conn, Host, Lab, Network, SIDES, Side};

const CONNECTIONS: usize = 8;

/// Octets of buffers that one connection may have beyond what was put into it: the unfilled part of each of its
/// gaps' pieces, 256 of 8 KiB, and of its two stores, and the borders of records.
const ROOM: usize = (256 * 8 + 128) << 10;

fn limits() -> Limits {
    Limits {
        connections: 40,
        half_open: 16,
        half_open_per_peer: 8,
        tombstones: 8,
        waiting_requests: 4,
        events: 16,
        packets: 32,
        ..Limits::default()
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.octet()?, self.octet()?]))
    }

    fn octets(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.octet()?).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(taken)
    }

    fn side(&mut self) -> Option<Side> {
        Some(SIDES[usize::from(self.octet()? & 1)])
    }
}

/// A connection, what its ends sent, and whether it was encrypted before anything could happen to it.
struct Line {
    conn: Conn,
    sent: [Vec<u8>; 2],
    /// Whether an end has no more to send.
    finished: [bool; 2],
    sure: bool,
}

struct World {
    lab: Lab,
    lines: Vec<Line>,
    network: Network,
    /// Octets that anybody put in.
    given: usize,
}

impl World {
    fn open(&mut self, sure: bool) {
        if self.lines.len() >= CONNECTIONS {
            return;
        }
        let conn = self.lab.open();
        if sure {
            self.lab.set_network(Network::clean());
            self.lab.run(Duration::from_secs(1));
        }
        let ids = SIDES.map(|side| {
            self.lab.socket(conn, side)?;
            self.lab.session_id(conn, side)
        });
        let sure = ids[0].is_some() && ids[0] == ids[1];
        self.lab.set_network(self.network.clone());
        let sent = [Vec::new(), Vec::new()];
        let finished = [false; 2];
        self.lines.push(Line {
            conn,
            sent,
            finished,
            sure,
        });
    }

    /// Lets the application at one end of a connection do something.
    fn apply(&mut self, input: &mut Input<'_>, what: u8) -> Option<()> {
        let (which, side) = (usize::from(input.octet()?), input.side()?);
        let count = self.lines.len();
        let line = self.lines.get_mut(which.checked_rem(count)?)?;
        self.lab.socket(line.conn, side)?;
        let end = usize::from(side == Side::Server);
        line.finished[end] |= (1..=3).contains(&what);
        match what {
            0 => {
                let len = usize::from(input.word()?);
                let sent = &mut line.sent[end];
                let text: Vec<u8> = (sent.len()..)
                    .map(|at| (at * 7 + at / 253) as u8)
                    .take(len)
                    .collect();
                if !line.finished[end] && self.lab.end(line.conn, side).is_none() {
                    sent.extend_from_slice(&text);
                    self.given += len;
                    self.lab.send(line.conn, side, &text);
                }
            }
            1 => self.lab.finish(line.conn, side),
            2 => self.lab.close(line.conn, side),
            3 => self.lab.abort(line.conn, side),
            _ => self.lab.set_reading(line.conn, side, what & 1 == 0),
        }
        Some(())
    }

    /// A packet like one that was seen.
    fn invent(&mut self, input: &mut Input<'_>) -> Option<()> {
        let at = usize::from(input.word()?).checked_rem(self.lab.tap.seen.len())?;
        let recent = self.lab.tap.seen.len() - 1 - at;
        let seen = self.lab.tap.seen[recent].clone();
        let how = input.octet()?;
        let view = View::parse(&seen.packet).ok()?;
        let mut invented = Rewrite::of(&view);
        let mut payload = view.payload().to_vec();
        if how & 1 != 0 {
            invented.flags = Flags(input.octet()?);
        }
        if how & 2 != 0 {
            invented.seq = invented.seq + u32::from(input.word()?) - 0x8000;
        }
        if how & 4 != 0 {
            invented.ack = invented.ack + u32::from(input.word()?) - 0x8000;
        }
        if how & 8 != 0 {
            payload = input.octets()?.to_vec();
        }
        if how & 16 != 0 {
            invented.options = model_options(input.octets()?);
        }
        if how & 32 != 0 {
            invented.window = input.word()?;
            invented.urgent = input.word()?;
        }
        let mut packet = Vec::new();
        if !invented.write(&[&payload], &mut packet) {
            return Some(());
        }
        if how & 64 != 0 {
            // From a host that nobody knows, with the checksum a broken one half of the time.
            packet
                .get_mut(12..16)?
                .copy_from_slice(&Ipv4Addr::new(10, 99, 0, how).octets());
            if let Ok(view) = View::parse(&packet.clone()) {
                packet.clear();
                Rewrite::of(&view).write(&[view.payload()], &mut packet);
            }
        }
        self.given += packet.len();
        self.lab.inject(seen.from, packet);
        Some(())
    }

    fn request(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (side, which, client) = (input.side()?, usize::from(input.octet()?), input.octet()?);
        let option = u32::from(input.word()?);
        let set = u32::from(client & 2);
        let value = input.octets()?;
        let mut request = Vec::new();
        let tuple = which
            .checked_rem(self.lines.len())
            .and_then(|which| self.lab.socket(self.lines[which].conn, side))
            .map(|socket| socket.tuple);
        for word in [1, 0, 0, 0, 0, set, 0, option, value.len() as u32] {
            request.extend_from_slice(&u32::to_ne_bytes(word));
        }
        if let Some(tuple) = tuple.filter(|_| client & 4 == 0) {
            for (at, end) in [(4, tuple.local), (12, tuple.remote)] {
                let std::net::SocketAddr::V4(end) = end else {
                    continue;
                };
                request[at..at + 4].copy_from_slice(&end.ip().octets());
                request[at + 4..at + 6].copy_from_slice(&end.port().to_be_bytes());
            }
        } else {
            request[8..10].copy_from_slice(&[which as u8, client]);
        }
        request.extend_from_slice(value);
        self.ask(side, client, &request);
        Some(())
    }

    fn ask(&mut self, side: Side, client: u8, request: &[u8]) {
        let now = self.lab.instant();
        let endpoint = self.lab.endpoint(side);
        endpoint.handle_control(now, ClientId(u64::from(client)), request);
        let mut answer = Vec::new();
        while let Some(ClientId(_)) = endpoint.poll_control(&mut answer) {
            assert!(answer.len() >= 36);
            answer.clear();
        }
    }

    /// Octets that need not be a packet, to an endpoint alone.
    fn raw(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (side, how) = (input.side()?, input.octet()?);
        let mut packet = input.octets()?.to_vec();
        let direction = match how & 1 {
            0 => Direction::In,
            // The kernel does not deny its own connections.
            _ => {
                packet.get_mut(12..16)?.copy_from_slice(&[10, 98, 0, 1]);
                Direction::Out
            }
        };
        self.given += packet.len();
        let now = self.lab.instant();
        let mut out = vec![7];
        self.lab
            .endpoint(side)
            .handle_packet(now, direction, &packet, &mut out);
        assert_eq!(out[0], 7);
        Some(())
    }

    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        match input.octet()? % 16 {
            0 => self.open(true),
            1 => self.open(false),
            2 | 3 => self.apply(input, 0)?,
            4 => {
                let what = input.octet()?;
                self.apply(input, 1 + what % 5)?;
            }
            5 => self
                .lab
                .run(Duration::from_millis(u64::from(input.octet()?))),
            6 => {
                let time = input.octet()?;
                self.lab
                    .run(Duration::from_secs(u64::from(time) * u64::from(time) / 8));
            }
            7 => {
                let part = |octet: u8| f64::from(octet) / 1024.0;
                self.network = Network {
                    loss: part(input.octet()?),
                    reorder: part(input.octet()?),
                    flip: part(input.octet()?) / 4.0,
                    split: part(input.octet()?),
                    merge: part(input.octet()?),
                    flip_unnoticed: true,
                    ..Network::clean()
                };
                self.lab.set_network(self.network.clone());
            }
            8..=11 => self.invent(input)?,
            12 => self.request(input)?,
            13 => {
                let (side, client) = (input.side()?, input.octet()?);
                let request = input.octets()?;
                self.ask(side, client, request);
            }
            14 => self.raw(input)?,
            _ => {
                if input.octet()? == 0 {
                    let side = input.side()?;
                    self.lab.endpoint(side).shutdown();
                }
            }
        }
        Some(())
    }

    fn check(&mut self) {
        let limits = limits();
        for side in SIDES {
            let endpoint = self.lab.endpoint(side);
            let stats = endpoint.stats();
            assert!(stats.half_open + stats.encrypted <= limits.connections);
            assert!(stats.tombstones <= limits.tombstones);
            assert!(stats.waiting_requests <= limits.waiting_requests);
            let bound = (stats.encrypted + stats.half_open) * ROOM
                + 4 * self.given
                + limits.packets * 1500
                + limits.waiting_requests * 600
                + limits.connections * 3 * 64;
            let footprint = endpoint.footprint();
            assert!(footprint <= bound, "{footprint} octets, {stats:?}");
        }
        for line in self.lines.iter().filter(|line| line.sure) {
            for (side, sent) in [(Side::Server, &line.sent[0]), (Side::Client, &line.sent[1])] {
                assert!(
                    sent.starts_with(self.lab.received(line.conn, side)),
                    "{side:?}"
                );
            }
        }
    }
}

fn model_options(octets: &[u8]) -> tcpcrypt_proto::packet::OptionBuf {
    tcpcrypt_proto::packet::OptionBuf::from_header(octets)
}

fuzz_target!(|data: &[u8]| {
    let host = || {
        Host::tcpcrypt(Config {
            limits: limits(),
            ..Config::default()
        })
    };
    let mut world = World {
        lab: Lab::new(1).client(host()).server(host()),
        lines: Vec::new(),
        network: Network::clean(),
        given: 0,
    };
    let mut input = Input(data);
    for _ in 0..100 {
        if world.step(&mut input).is_none() && input.0.is_empty() {
            break;
        }
        world.check();
    }
    world.lab.run(Duration::from_secs(400));
    world.check();
    // After hours without a word from anybody, what is left holds no data.
    world.lab.set_network(Network::lossy(1.0));
    world.lab.run(Duration::from_secs(2 * 3600));
    world.check();
});
