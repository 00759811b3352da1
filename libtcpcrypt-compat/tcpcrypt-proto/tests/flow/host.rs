//! A small TCP to put at either end of a flow: it sends again what is not acknowledged, in other borders if
//! asked to, takes data in any order, and knows SACK.

use super::bench::{End, Out, Seg};
use tcpcrypt_proto::packet::Flags;

/// xorshift, so that a case is repeated by its number.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    /// True in `per_mille` of 1000.
    pub(crate) fn hits(&mut self, per_mille: u64) -> bool {
        self.roll(1000) < per_mille
    }
}

/// What stands between a TCP and the wire.
pub(crate) trait Daemon {
    fn outgoing(&mut self, seg: &Seg) -> Out;
    fn incoming(&mut self, seg: &Seg) -> Out;
    /// A millisecond goes by.
    fn tick(&mut self) -> Out;
}

impl Daemon for End {
    fn outgoing(&mut self, seg: &Seg) -> Out {
        self.send(seg)
    }

    fn incoming(&mut self, seg: &Seg) -> Out {
        self.receive(seg)
    }

    fn tick(&mut self) -> Out {
        self.wait(std::time::Duration::from_millis(1))
    }
}

pub(crate) struct Host {
    first: u32,
    data: Vec<u8>,
    mss: usize,
    /// Sends again in borders of chance.
    pub(crate) other_borders: bool,
    pub(crate) sack: bool,
    window: usize,
    una: usize,
    nxt: usize,
    pub(crate) fin_at_end: bool,
    fin_sent: bool,
    pub(crate) fin_acked: bool,
    sacked: Vec<(usize, usize)>,
    /// Up to where holes were filled since the last time-out or progress.
    recovered: usize,
    duplicates: u32,
    timer: u64,
    backoff: u64,
    peer_first: u32,
    pub(crate) received: Vec<u8>,
    early: Vec<(usize, Vec<u8>)>,
    fin_place: Option<usize>,
    pub(crate) peer_fin: bool,
    pub(crate) time_outs: u32,
    pub(crate) sent_again: u32,
    answers: u32,
}

impl Host {
    pub(crate) fn new(first: u32, peer_first: u32, data: Vec<u8>, sack: bool) -> Host {
        Host {
            first,
            data,
            mss: 1400,
            other_borders: false,
            sack,
            window: 64 * 1400,
            una: 0,
            nxt: 0,
            fin_at_end: true,
            fin_sent: false,
            fin_acked: false,
            sacked: Vec::new(),
            recovered: 0,
            duplicates: 0,
            timer: 0,
            backoff: 1,
            peer_first,
            received: Vec::new(),
            early: Vec::new(),
            fin_place: None,
            peer_fin: false,
            time_outs: 0,
            sent_again: 0,
            answers: 0,
        }
    }

    fn segment(&self, from: usize, to: usize) -> Seg {
        let mut flags = Flags::ACK;
        if to == self.data.len() && self.fin_sent {
            flags |= Flags::FIN;
        }
        let mut seg = Seg::new(
            self.first.wrapping_add(from as u32),
            self.ack_number(),
            flags,
            &self.data[from..to],
        );
        seg.window = 60_000;
        seg
    }

    fn ack_number(&self) -> u32 {
        let fin = u32::from(self.peer_fin);
        self.peer_first
            .wrapping_add(self.received.len() as u32)
            .wrapping_add(fin)
    }

    /// An empty segment.
    fn ack(&self) -> Seg {
        let fin = usize::from(self.fin_sent && self.nxt == self.data.len());
        let mut seg = self.segment(self.nxt, self.nxt);
        seg.flags = Flags::ACK;
        seg.seq = self.first.wrapping_add((self.nxt + fin) as u32);
        seg
    }

    /// More to send, and then to close.
    pub(crate) fn say(&mut self, data: &[u8]) {
        self.data.extend_from_slice(data);
        self.fin_at_end = true;
    }

    pub(crate) fn done(&self) -> bool {
        self.una == self.data.len() && (self.fin_acked || !self.fin_at_end)
    }

    /// What is to be sent now, at `now` milliseconds.
    pub(crate) fn poll(&mut self, now: u64, dice: &mut Dice) -> Vec<Seg> {
        let mut out = Vec::new();
        for _ in 0..std::mem::take(&mut self.answers) {
            out.push(self.ack());
        }
        while self.nxt < self.data.len() && self.nxt - self.una < self.window {
            let to = self.data.len().min(self.nxt + self.mss);
            self.fin_sent |= self.fin_at_end && to == self.data.len();
            out.push(self.segment(self.nxt, to));
            self.nxt = to;
        }
        if self.fin_at_end && !self.fin_sent && self.nxt == self.data.len() {
            self.fin_sent = true;
            out.push(self.segment(self.nxt, self.nxt));
        }
        // Holes that blocks show, each once.
        if self.sack && !self.sacked.is_empty() && self.duplicates > 0 {
            let mut place = self.una.max(self.recovered);
            for (from, to) in self.sacked.clone() {
                while place < from {
                    let end = from.min(place + self.mss);
                    self.sent_again += 1;
                    out.push(self.segment(place, end));
                    place = end;
                }
                place = place.max(to);
            }
            self.recovered = self.recovered.max(place);
        } else if self.duplicates == 3 {
            self.duplicates += 1;
            out.push(self.again(dice));
        }
        let waiting = self.una < self.nxt || (self.fin_sent && !self.fin_acked);
        if waiting && now >= self.timer + 200 * self.backoff {
            self.timer = now;
            self.backoff = (self.backoff * 2).min(16);
            self.time_outs += 1;
            self.recovered = 0;
            out.push(self.again(dice));
        }
        out
    }

    /// The first that is not acknowledged.
    fn again(&mut self, dice: &mut Dice) -> Seg {
        self.sent_again += 1;
        let left = self.nxt - self.una;
        let len = if self.other_borders {
            1 + dice.roll(2 * self.mss as u64) as usize
        } else {
            self.mss
        };
        self.segment(self.una, self.una + len.min(left))
    }

    /// A segment from below.
    pub(crate) fn take(&mut self, now: u64, seg: &Seg) {
        assert!(!seg.flags.has(Flags::RST), "{seg:?}");
        let fin = usize::from(self.fin_sent);
        let acked = seg.ack.wrapping_sub(self.first) as i32;
        if acked > (self.nxt + fin) as i32 {
            // RFC 9293: not acceptable, the whole of it.
            self.answers += 1;
            return;
        }
        if acked > self.una as i32 || (acked as usize == self.data.len() + 1 && !self.fin_acked) {
            let acked = acked as usize;
            self.fin_acked |= acked > self.data.len();
            self.una = acked.min(self.data.len());
            self.timer = now;
            self.backoff = 1;
            self.duplicates = 0;
        } else if acked == self.una as i32 && seg.payload.is_empty() && !seg.has_fin() {
            self.duplicates += 1;
        }
        for (left, right) in seg.blocks() {
            assert!(self.sack);
            let place = |seq: u32| seq.wrapping_sub(self.first) as usize;
            let (left, right) = (place(left), place(right));
            assert!(left < right && right <= self.nxt, "block {left}..{right}");
            self.sacked.push((left, right));
        }
        self.sacked.retain(|(_, to)| *to > self.una);
        self.sacked.sort_unstable();
        self.sacked.dedup();

        let place = seg.seq.wrapping_sub(self.peer_first) as i32;
        if seg.payload.is_empty() && !seg.has_fin() {
            if place < (self.received.len() + usize::from(self.peer_fin)) as i32 {
                self.answers += 1;
            }
            return;
        }
        self.answers += 1;
        assert!(place > -3, "{seg:?}");
        if place < 0 {
            return;
        }
        if seg.has_fin() {
            let end = place as usize + seg.payload.len();
            assert!(self.fin_place.is_none_or(|fin| fin == end));
            self.fin_place = Some(end);
        }
        self.early.push((place as usize, seg.payload.clone()));
        loop {
            let have = self.received.len();
            let Some(index) = self
                .early
                .iter()
                .position(|(place, data)| *place <= have && place + data.len() > have)
            else {
                break;
            };
            let (place, data) = self.early.swap_remove(index);
            self.received.extend_from_slice(&data[have - place..]);
        }
        let have = self.received.len();
        self.early.retain(|(place, data)| place + data.len() > have);
        self.peer_fin |= self.fin_place == Some(have);
    }
}
