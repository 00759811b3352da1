//! Two hosts and a wire that loses, reorders, repeats, cuts and joins.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::bench::{DRAINED, End, Out, RESTED, Seg, pair_at, text};
use super::host::{Daemon, Dice, Host};
use tcpcrypt_proto::flow::Closing;

/// What happens to packets, in so many of 1000.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    pub(crate) lost_on_the_wire: u64,
    /// Between TCP and daemon, in either direction.
    pub(crate) lost_in_a_queue: u64,
    pub(crate) repeated: u64,
    /// Milliseconds of delay more, by chance.
    pub(crate) jitter: u64,
    /// Cut in two, or joined with the one before: never to the original in divert mode.
    pub(crate) cut: u64,
}

struct Side<'d> {
    host: Host,
    daemon: &'d mut dyn Daemon,
}

pub(crate) struct Net<'d> {
    sides: [Side<'d>; 2],
    flying: BTreeMap<(u64, u64), (usize, Seg)>,
    count: u64,
    pub(crate) now: u64,
    dice: Dice,
    trouble: Trouble,
    delay: u64,
    /// What was seen on the wire at a number, by sender.
    seen: [BTreeMap<u32, Vec<u8>>; 2],
    acked: [Option<u32>; 2],
}

impl<'d> Net<'d> {
    pub(crate) fn new(
        a: (Host, &'d mut dyn Daemon),
        b: (Host, &'d mut dyn Daemon),
        seed: u64,
        trouble: Trouble,
    ) -> Net<'d> {
        Net {
            sides: [a, b].map(|(host, daemon)| Side { host, daemon }),
            flying: BTreeMap::new(),
            count: 0,
            now: 0,
            dice: Dice(seed | 1),
            trouble,
            delay: 10,
            seen: Default::default(),
            acked: [None; 2],
        }
    }

    pub(crate) fn host(&mut self, side: usize) -> &mut Host {
        &mut self.sides[side].host
    }

    fn fly(&mut self, side: usize, seg: Seg) {
        assert!(40 + seg.options.len() + seg.payload.len() <= 1500);
        if !seg.payload.is_empty() {
            // Whatever is sent again is the same. In the same borders to a peer that may be the original; to others
            // a record that was lost too often goes in pieces.
            let may_be_original = !self.sides[side].host.sack;
            let before = self.seen[side]
                .entry(seg.seq)
                .or_insert_with(|| seg.payload.clone());
            let same = before.len().min(seg.payload.len());
            assert!(
                before[..same] == seg.payload[..same],
                "another record at {}",
                seg.seq
            );
            if may_be_original {
                assert_eq!(*before, seg.payload, "another record at {}", seg.seq);
                let len = usize::from(u16::from_be_bytes([seg.payload[1], seg.payload[2]]));
                assert_eq!(len + 3, seg.payload.len(), "not one whole record");
            }
        }
        // With SACK on, no peer is taken for the original, whose numbers fall back at a FIN.
        if self.sides[side].host.sack {
            let before = self.acked[side].replace(seg.ack).unwrap_or(seg.ack);
            assert!(
                seg.ack.wrapping_sub(before) as i32 >= 0,
                "takes back an acknowledgement"
            );
        }
        let mut pieces = vec![seg];
        if self.dice.hits(self.trouble.cut) && pieces[0].payload.len() > 1 {
            let at = 1 + self.dice.roll(pieces[0].payload.len() as u64 - 1) as usize;
            let mut second = pieces[0].clone();
            second.seq = second.seq.wrapping_add(at as u32);
            second.payload.drain(..at);
            pieces[0].payload.truncate(at);
            pieces[0].flags = pieces[0].flags.without(super::bench::FIN) | super::bench::ACK;
            pieces.push(second);
        }
        for piece in pieces {
            if self.dice.hits(self.trouble.lost_on_the_wire) {
                continue;
            }
            for _ in 0..=u64::from(self.dice.hits(self.trouble.repeated)) {
                let jitter = self.dice.roll(self.trouble.jitter + 1);
                self.count += 1;
                let at = (self.now + self.delay + jitter, self.count);
                self.flying.insert(at, (1 - side, piece.clone()));
            }
        }
    }

    fn spread(&mut self, side: usize, step_goes_out: bool, out: Out) {
        assert_eq!(out.failed, None);
        let (mut wire, mut local) = (Vec::new(), Vec::new());
        match step_goes_out {
            true => wire.extend(out.step),
            false => local.extend(out.step),
        }
        wire.extend(out.wire);
        local.extend(out.local);
        for seg in wire {
            self.fly(side, seg);
        }
        for seg in local {
            if !self.dice.hits(self.trouble.lost_in_a_queue) {
                self.sides[side].host.take(self.now, &seg);
            }
        }
    }

    /// A millisecond.
    pub(crate) fn step(&mut self) {
        self.now += 1;
        while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= self.now) {
            let (side, mut seg) = entry.remove();
            // Joined with what follows it at the same time, as a receiving network card does.
            while self.trouble.cut > 0 && !seg.has_fin() && !seg.payload.is_empty() {
                let next = self.flying.first_entry().filter(|e| e.key().0 <= self.now);
                let Some(next) = next.filter(|e| {
                    let (to, next) = e.get();
                    *to == side && next.seq == seg.end() && !next.payload.is_empty()
                }) else {
                    break;
                };
                let (_, next) = next.remove();
                seg.payload.extend_from_slice(&next.payload);
                (seg.flags, seg.ack, seg.options) = (next.flags, next.ack, next.options);
            }
            let out = self.sides[side].daemon.incoming(&seg);
            self.spread(side, false, out);
        }
        for side in 0..2 {
            let out = self.sides[side].daemon.tick();
            self.spread(side, false, out);
            for seg in self.sides[side].host.poll(self.now, &mut self.dice) {
                if self.dice.hits(self.trouble.lost_in_a_queue) {
                    continue;
                }
                let out = self.sides[side].daemon.outgoing(&seg);
                self.spread(side, true, out);
            }
        }
    }

    /// Goes on until both hosts have everything, `limit` milliseconds at most. Whether they have.
    pub(crate) fn run(&mut self, limit: u64) -> bool {
        while self.now < limit {
            self.step();
            if self.sides.iter().all(|side| side.host.done()) {
                return true;
            }
        }
        false
    }
}

/// Both send, both close, all arrives.
fn transfer(seed: u64, sizes: [usize; 2], sack: bool, other_borders: bool, trouble: Trouble) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let start = [
        dice.roll(1 << 32) as u32,
        u32::MAX - dice.roll(100_000) as u32,
    ];
    let (mut a, mut b) = pair_at(start[0], start[1], |options| options.sack = sack);
    let data = sizes.map(text);
    let mut hosts = [
        Host::new(start[0], start[1], data[0].clone(), sack),
        Host::new(start[1], start[0], data[1].clone(), sack),
    ];
    hosts
        .iter_mut()
        .for_each(|host| host.other_borders = other_borders);
    let [first, second] = hosts;
    let mut net = Net::new((first, &mut a), (second, &mut b), seed, trouble);
    let done = net.run(600_000);
    assert!(net.host(1).received == data[0], "what the first sent");
    assert!(net.host(0).received == data[1], "what the second sent");
    assert!(done, "not all acknowledged");
    assert!(net.host(0).peer_fin && net.host(1).peer_fin);
    // Let the last acknowledgements arrive.
    for _ in 0..20_000 {
        net.step();
        if net.flying.is_empty() && net.now % 4000 == 0 {
            break;
        }
    }
    for end in [&mut a, &mut b] {
        assert_eq!(end.flow.closing(), Closing::Closed);
        assert!(end.flow.footprint() <= DRAINED);
        end.wait(Duration::from_secs(30));
        assert!(end.flow.footprint() < RESTED);
    }
}

#[test]
fn a_clean_wire() {
    transfer(1, [300_000, 200_000], true, false, Trouble::default());
    transfer(2, [0, 0], false, false, Trouble::default());
    transfer(3, [1, 0], false, false, Trouble::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("FLOW_CASES").map_or(150, |n| n.parse().expect("a number"))))]

    #[test]
    fn everything_arrives(
        seed in 1..u64::MAX,
        sizes in [0..60_000_usize, 0..60_000_usize],
        sack in any::<bool>(),
        other_borders in any::<bool>(),
        lost_on_the_wire in 0..100_u64,
        lost_in_a_queue in prop_oneof![Just(0), 0..30_u64],
        repeated in 0..50_u64,
        jitter in 0..20_u64,
        cut in prop_oneof![Just(0), 0..300_u64],
    ) {
        let trouble = Trouble { lost_on_the_wire, lost_in_a_queue, repeated, jitter, cut };
        transfer(seed, sizes, sack, other_borders, trouble);
    }
}

/// How long a transfer takes, how often it waited for a time-out, how many segments were sent again.
fn recovery(sack: bool, megabytes: usize) -> (u64, u32, u32) {
    let (mut a, mut b): (End, End) = pair_at(1000, 2000, |options| options.sack = sack);
    let data = text(megabytes << 20);
    let hosts = [
        Host::new(1000, 2000, data.clone(), sack),
        Host::new(2000, 1000, Vec::new(), sack),
    ];
    let [first, second] = hosts;
    let trouble = Trouble {
        lost_on_the_wire: 5,
        ..Trouble::default()
    };
    let mut net = Net::new((first, &mut a), (second, &mut b), 12345, trouble);
    assert!(net.run(10_000_000));
    assert!(net.host(1).received == data);
    let sender = net.host(0);
    let counts = (sender.time_outs, sender.sent_again);
    (net.now, counts.0, counts.1)
}

#[test]
fn recovery_takes_few_round_trips() {
    // 64 segments under way and 20 ms there and back: 4.5 MB/s if nothing is lost.
    let (time, time_outs, sent_again) = recovery(true, 4);
    println!("{time} ms, {time_outs} time-outs, {sent_again} segments again");
    assert!(time < 2500, "{time} ms");
    assert!(sent_again < 40);
}
