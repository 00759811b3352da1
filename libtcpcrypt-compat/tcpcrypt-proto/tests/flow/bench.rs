//! Two flows on a bench, and segments to put through them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kx_crypto::aead::Algorithm;
use kx_crypto::hkdf::Key;
use tcpcrypt_proto::flow::{Failure, Flow, FlowOptions, Numbers, Step};
use tcpcrypt_proto::legacy::record::{Opener, Sealer};
use tcpcrypt_proto::packet::options::{self, OptionBuf};
use tcpcrypt_proto::packet::{Direction, Flags, FourTuple, Fresh, Notes, Seq, View};

pub(crate) const ACK: Flags = Flags::ACK;
pub(crate) const PSH: Flags = Flags(0x18);
pub(crate) const FIN: Flags = Flags(0x11);
pub(crate) const RST: Flags = Flags(0x14);
pub(crate) const URG: Flags = Flags(0x30);

/// What a flow may hold when all is acknowledged, until it rests: a piece of store and room for borders each
/// way.
pub(crate) const DRAINED: usize = 36 << 10;

/// What it may hold after a rest: room for short messages.
pub(crate) const RESTED: usize = 1536;

/// A segment taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seg {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Seg {
    pub(crate) fn new(seq: u32, ack: u32, flags: Flags, payload: &[u8]) -> Seg {
        Seg {
            seq,
            ack,
            flags,
            window: 1000,
            urgent: 0,
            options: Vec::new(),
            payload: payload.to_vec(),
        }
    }

    pub(crate) fn parse(packet: &[u8]) -> Seg {
        let view = View::parse(packet).expect("a packet");
        assert_eq!(view.total_length(), packet.len());
        assert_eq!(checksum(packet), 0, "TCP checksum");
        Seg {
            seq: view.seq().0,
            ack: view.ack().0,
            flags: view.flags(),
            window: view.window(),
            urgent: view.urgent(),
            options: view.options().to_vec(),
            payload: view.payload().to_vec(),
        }
    }

    /// The packet from `tuple.local`.
    pub(crate) fn packet(&self, tuple: FourTuple) -> Vec<u8> {
        let mut fresh = Fresh::new(tuple, Direction::Out);
        fresh.seq = Seq(self.seq);
        fresh.ack = Seq(self.ack);
        fresh.flags = self.flags;
        fresh.window = self.window;
        fresh.options = OptionBuf::from_header(&self.options);
        let mut out = Vec::new();
        assert!(fresh.write(&[&self.payload], &mut out));
        out[38..40].copy_from_slice(&self.urgent.to_be_bytes());
        out
    }

    pub(crate) fn sack(mut self, blocks: &[(u32, u32)]) -> Seg {
        let blocks: Vec<_> = blocks.iter().map(|(l, r)| (Seq(*l), Seq(*r))).collect();
        let mut buf = OptionBuf::from_header(&self.options);
        assert_eq!(buf.push_sack(&blocks), blocks.len());
        self.options = buf.as_slice().to_vec();
        self
    }

    pub(crate) fn blocks(&self) -> Vec<(u32, u32)> {
        options::sack_blocks(&self.options)
            .map(|(l, r)| (l.0, r.0))
            .collect()
    }

    pub(crate) fn timestamps(mut self, value: u32, echo: u32) -> Seg {
        self.options = vec![1, 1, 8, 10];
        self.options.extend_from_slice(&value.to_be_bytes());
        self.options.extend_from_slice(&echo.to_be_bytes());
        self
    }

    pub(crate) fn end(&self) -> u32 {
        self.seq
            .wrapping_add(self.payload.len() as u32)
            .wrapping_add(u32::from(self.flags.has(Flags::FIN)))
    }

    pub(crate) fn has_fin(&self) -> bool {
        self.flags.has(Flags::FIN)
    }
}

/// The sum over pseudo header and segment, which is 0 if the checksum is right.
fn checksum(packet: &[u8]) -> u16 {
    let segment = &packet[20..];
    let mut data = packet[12..20].to_vec();
    data.extend_from_slice(&[0, 6]);
    data.extend_from_slice(&(segment.len() as u16).to_be_bytes());
    data.extend_from_slice(segment);
    data.push(0);
    let sum: u64 = data
        .chunks_exact(2)
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What came of a packet: what goes on in its place, and the packets of the flow's own.
#[derive(Debug, Default)]
pub(crate) struct Out {
    /// In place of the packet.
    pub(crate) step: Option<Seg>,
    pub(crate) wire: Vec<Seg>,
    pub(crate) local: Vec<Seg>,
    pub(crate) failed: Option<Failure>,
}

impl Out {
    /// The one packet in place of another, and nothing else.
    #[track_caller]
    pub(crate) fn only(self) -> Seg {
        assert!(self.wire.is_empty() && self.local.is_empty(), "{self:?}");
        self.step.expect("a packet")
    }

    #[track_caller]
    pub(crate) fn nothing(self) {
        assert!(self.step.is_none() && self.failed.is_none(), "{self:?}");
        assert!(self.wire.is_empty() && self.local.is_empty(), "{self:?}");
    }

    /// All for the wire, the first in place of the packet.
    pub(crate) fn all_wire(self) -> Vec<Seg> {
        assert!(self.local.is_empty());
        self.step.into_iter().chain(self.wire).collect()
    }

    /// All for the local TCP, the first in place of the packet.
    pub(crate) fn all_local(self) -> Vec<Seg> {
        assert!(self.wire.is_empty());
        self.step.into_iter().chain(self.local).collect()
    }
}

/// One host: a flow, driven by segments.
pub(crate) struct End {
    pub(crate) flow: Flow,
    pub(crate) tuple: FourTuple,
    pub(crate) now: Instant,
}

impl End {
    /// Whatever the flow wants to send by itself.
    pub(crate) fn poll(&mut self) -> Out {
        let mut out = Out::default();
        let mut packet = Vec::new();
        while let Some(direction) = self.flow.poll_transmit(&mut packet) {
            let seg = Seg::parse(&packet);
            let view = View::parse(&packet).expect("a packet");
            assert_eq!(view.tuple(direction), self.tuple);
            match direction {
                Direction::Out => out.wire.push(seg),
                Direction::In => out.local.push(seg),
            }
            packet.clear();
            assert!(out.wire.len() + out.local.len() < 100_000, "no end");
        }
        out
    }

    fn through(&mut self, packet: &[u8], direction: Direction, is_super: bool) -> Out {
        let notes = Notes {
            is_super,
            ..Notes::default()
        };
        let view = View::parse(packet).expect("a packet").with_notes(notes);
        let mut replaced = b"before".to_vec();
        let step = match direction {
            Direction::Out => self.flow.outgoing(self.now, &view, &mut replaced),
            Direction::In => self.flow.incoming(self.now, &view, &mut replaced),
        };
        let replaced = replaced.strip_prefix(b"before").expect("appended");
        let mut out = Out::default();
        match step {
            Step::Accept => panic!("accepted as it is"),
            Step::Replace => out.step = Some(Seg::parse(replaced)),
            Step::Drop => assert!(replaced.is_empty()),
            Step::Failed(failure) => {
                assert!(replaced.is_empty());
                out.failed = Some(failure);
            }
        }
        let own = self.poll();
        out.wire = own.wire;
        out.local = own.local;
        out
    }

    /// A segment of the local TCP.
    pub(crate) fn send(&mut self, seg: &Seg) -> Out {
        self.through(&seg.packet(self.tuple), Direction::Out, false)
    }

    /// Several segments of the local TCP in one packet, which the kernel cuts behind the queue.
    pub(crate) fn send_super(&mut self, seg: &Seg) -> Out {
        self.through(&seg.packet(self.tuple), Direction::Out, true)
    }

    /// A segment from the wire.
    pub(crate) fn receive(&mut self, seg: &Seg) -> Out {
        let peer = FourTuple {
            local: self.tuple.remote,
            remote: self.tuple.local,
        };
        self.through(&seg.packet(peer), Direction::In, false)
    }

    /// Time goes by, with what is due done at its time.
    pub(crate) fn wait(&mut self, time: Duration) -> Out {
        let end = self.now + time;
        let mut all = Out::default();
        while let Some(at) = self.flow.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.flow.handle_timeout(self.now);
            let own = self.poll();
            all.wire.extend(own.wire);
            all.local.extend(own.local);
        }
        self.now = end;
        all
    }
}

pub(crate) fn addresses() -> FourTuple {
    let address = |last| SocketAddr::from(([192, 0, 2, last], 4000 + u16::from(last)));
    FourTuple {
        local: address(1),
        remote: address(2),
    }
}

/// The numbers of the first host: client, with key exchange messages of 110 and 108 octets.
pub(crate) fn client_numbers(out: u32, inward: u32) -> Numbers {
    Numbers {
        out_plain: Seq(out),
        out_wire: Seq(out) + 110,
        in_plain: Seq(inward),
        in_wire: Seq(inward) + 108,
    }
}

/// The records of client and server.
pub(crate) fn keys(numbers: &Numbers) -> [(Sealer, Opener); 2] {
    let sealer = |octet, start: Seq| {
        Sealer::new(Algorithm::Aes128Gcm, &Key::from(&[octet; 32]), start.0).expect("a sealer")
    };
    let opener = |octet, start: Seq| {
        Opener::new(Algorithm::Aes128Gcm, &Key::from(&[octet; 32]), start.0).expect("an opener")
    };
    [
        (sealer(1, numbers.out_wire), opener(2, numbers.in_wire)),
        (sealer(2, numbers.in_wire), opener(1, numbers.out_wire)),
    ]
}

/// Client and server.
pub(crate) fn pair_at(out: u32, inward: u32, change: impl Fn(&mut FlowOptions)) -> (End, End) {
    let numbers = client_numbers(out, inward);
    let mirrored = Numbers {
        out_plain: numbers.in_plain,
        out_wire: numbers.in_wire,
        in_plain: numbers.out_plain,
        in_wire: numbers.out_wire,
    };
    let tuple = addresses();
    let other = FourTuple {
        local: tuple.remote,
        remote: tuple.local,
    };
    let [client, server] = keys(&numbers);
    let now = Instant::now();
    let end = |numbers, (sealer, opener), tuple| {
        let mut options = FlowOptions::new(tuple);
        change(&mut options);
        End {
            flow: Flow::new(numbers, sealer, opener, options, now),
            tuple,
            now,
        }
    };
    (end(numbers, client, tuple), end(mirrored, server, other))
}

/// Client and server whose next numbers are 1000 and 2000 as plaintext, 1110 and 2108 on the wire.
pub(crate) fn pair(sack: bool) -> (End, End) {
    pair_at(1000, 2000, |options| options.sack = sack)
}

/// Octets that differ from their neighbours and from what is far.
pub(crate) fn text(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i ^ (i >> 8) ^ (i >> 13)) as u8)
        .collect()
}
