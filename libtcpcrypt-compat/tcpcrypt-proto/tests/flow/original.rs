//! A peer that numbers as the original in divert mode does (tcpcrypt spec 5.1): one whole record per segment,
//! corrections of numbers only where a record ends, and none for a FIN.

use std::collections::VecDeque;

use super::bench::{End, Out, Seg, client_numbers, keys, pair, text};
use super::host::{Daemon, Host};
use super::loss::{Net, Trouble};
use tcpcrypt_proto::legacy::record::{self, Flags, Opener, Sealer};

/// A segment with data that went by: where it began and ended, and by how much records were longer than their
/// data up to there.
#[derive(Clone, Copy)]
struct Went {
    start: u32,
    end: u32,
    longer: u32,
}

/// What is remembered of one direction.
#[derive(Default)]
struct Went100 {
    all: VecDeque<Went>,
}

impl Went100 {
    fn longer_at_end(&self, seq: u32) -> u32 {
        self.find(|went| went.end == seq)
    }

    fn find(&self, what: impl Fn(&Went) -> bool) -> u32 {
        self.all
            .iter()
            .rev()
            .find(|went| what(went))
            .map_or(0, |went| went.longer)
    }

    fn add(&mut self, seq: u32, len: u32, longer: u32) {
        let known = self.all.iter().any(|went| went.start == seq);
        let follows = self.all.is_empty() || self.all.iter().any(|went| went.end == seq);
        if known || !follows {
            return;
        }
        let before = self.longer_at_end(seq);
        self.all.push_back(Went {
            start: seq,
            end: seq.wrapping_add(len),
            longer: longer + before,
        });
        if self.all.len() > 99 {
            self.all.pop_front();
        }
    }
}

/// The server's side, as the original has it.
struct Original {
    sealer: Sealer,
    opener: Opener,
    /// Lengths of the key exchange messages, of this side and of the other.
    init: [u32; 2],
    /// Where the records begin on the wire.
    start: [u32; 2],
    sent: Went100,
    came: Went100,
    kept: Vec<(u32, Vec<u8>)>,
}

impl Original {
    fn new() -> Original {
        let numbers = client_numbers(1000, 2000);
        let [_, (sealer, opener)] = keys(&numbers);
        Original {
            sealer,
            opener,
            init: [108, 110],
            start: [numbers.in_wire.0, numbers.out_wire.0],
            sent: Went100::default(),
            came: Went100::default(),
            kept: Vec::new(),
        }
    }
}

impl Daemon for Original {
    fn outgoing(&mut self, seg: &Seg) -> Out {
        let mut out = seg.clone();
        let len = seg.payload.len() as u32;
        if len > 0 {
            self.sent.add(seg.seq, len, record::OVERHEAD as u32);
        }
        out.seq = seg
            .seq
            .wrapping_add(self.sent.longer_at_end(seg.seq))
            .wrapping_add(self.init[0]);
        let ack = seg.ack.wrapping_add(self.init[1]);
        out.ack = ack.wrapping_add(
            self.came
                .find(|went| went.end.wrapping_sub(went.longer) == ack),
        );
        if len > 0 {
            // The hosts of these tests keep their borders, so what is sent again is what was sealed before.
            let at = out.seq.wrapping_sub(self.start[0]);
            let known = self.kept.iter().find(|(seq, _)| *seq == at);
            out.payload = match known {
                Some((_, record)) => record.clone(),
                None => {
                    let mut record = Vec::new();
                    let flags = Flags {
                        fin: seg.has_fin(),
                        urgent: None,
                    };
                    self.sealer
                        .seal(u64::from(at), flags, &seg.payload, &mut record)
                        .expect("a record");
                    self.kept.push((at, record.clone()));
                    record
                }
            };
        }
        Out {
            step: Some(out),
            ..Out::default()
        }
    }

    fn incoming(&mut self, seg: &Seg) -> Out {
        let mut out = seg.clone();
        let len = seg.payload.len() as u32;
        if len > 0 {
            let at = seg.seq.wrapping_sub(self.start[1]);
            out.payload.clear();
            let opened = self
                .opener
                .open(u64::from(at), &seg.payload, &mut out.payload);
            if opened.is_err() {
                return Out::default();
            }
            self.came.add(seg.seq, len, len - out.payload.len() as u32);
        }
        let ack = seg.ack.wrapping_sub(self.init[0]);
        let longer = self
            .sent
            .find(|went| went.end.wrapping_add(went.longer) == ack);
        out.ack = ack.wrapping_sub(longer);
        let seq = seg.seq.wrapping_sub(self.came.longer_at_end(seg.seq));
        out.seq = seq.wrapping_sub(self.init[1]);
        Out {
            step: Some(out),
            ..Out::default()
        }
    }

    fn tick(&mut self) -> Out {
        Out::default()
    }
}

/// Both send, each closes when it has sent all. What was left to do, if anything.
fn exchange(sizes: [usize; 2], lost: u64, seed: u64) {
    let mut original = Original::new();
    let (mut ours, _): (End, End) = pair(false);
    let data = sizes.map(text);
    let hosts = (
        Host::new(1000, 2000, data[0].clone(), false),
        Host::new(2000, 1000, data[1].clone(), false),
    );
    let trouble = Trouble {
        lost_on_the_wire: lost,
        ..Trouble::default()
    };
    let mut net = Net::new(
        (hosts.0, &mut ours),
        (hosts.1, &mut original),
        seed,
        trouble,
    );
    let done = net.run(60_000);
    assert!(net.host(1).received == data[0], "{sizes:?}: what we sent");
    assert!(
        net.host(0).received == data[1],
        "{sizes:?}: what the original sent"
    );
    assert!(done, "{sizes:?}: not all acknowledged");
}

#[test]
fn both_close() {
    for sizes in [
        [0, 0],
        [500, 700],
        [1, 1],
        [5000, 60_000],
        [60_000, 5000],
        [0, 40_000],
    ] {
        exchange(sizes, 0, 7);
    }
}

#[test]
fn the_originals_answer_comes_after_our_fin() {
    half_close(0);
}

#[test]
fn our_answer_comes_after_the_originals_fin() {
    half_close(1);
}

/// One side sends and closes; the other answers then, with enough to need acknowledgements.
fn half_close(first: usize) {
    let mut original = Original::new();
    let (mut ours, _): (End, End) = pair(false);
    let question = text(30_000);
    let answer = text(200_000);
    let data = if first == 0 {
        [question.clone(), Vec::new()]
    } else {
        [Vec::new(), question.clone()]
    };
    let [a, b] = data;
    let mut hosts = [
        Host::new(1000, 2000, a, false),
        Host::new(2000, 1000, b, false),
    ];
    hosts[1 - first].fin_at_end = false;
    let [a, b] = hosts;
    let mut net = Net::new((a, &mut ours), (b, &mut original), 3, Trouble::default());
    assert!(net.run(10_000), "the question");
    assert!(net.host(1 - first).peer_fin);
    net.host(1 - first).say(&answer);
    assert!(net.run(20_000), "the answer");
    assert!(net.host(first).received == answer && net.host(first).peer_fin);
}

#[test]
fn loss_is_survived() {
    // Toward the original nobody can help: behind a lost segment it gives data wrong numbers.
    for seed in 1..80 {
        exchange([0, 50_000], 20, seed);
    }
}

#[test]
fn no_more_is_under_way_than_the_original_remembers() {
    let with = |sack| {
        super::bench::pair_at(1000, 2000, |options| {
            options.sack = sack;
            options.local_window_scale = Some(7);
            options.remote_window_scale = Some(10);
        })
    };
    let mut seg = Seg::new(2108, 1110, super::bench::ACK, b"");
    seg.window = 60_000;
    let mut own = Seg::new(1000, 2000, super::bench::ACK, b"");
    own.window = 60_000;
    let (mut a, _) = with(false);
    assert_eq!(a.receive(&seg).only().window, 96);
    assert_eq!(a.send(&own).only().window, 768);
    let (mut a, _) = with(true);
    assert_eq!(a.receive(&seg).only().window, 60_000);
    assert_eq!(a.send(&own).only().window, 60_000);
}
