//! The receiving half of a connection: what is there, what was read, what is to be acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use tcpcrypt_proto::packet::Seq;

use super::ranges::Ranges;

pub(crate) struct Receiver {
    irs: Seq,
    /// The next position in order. 0 is the SYN.
    pub(crate) next: u64,
    stream: Vec<u8>,
    have: Ranges,
    pub(crate) fin: Option<u64>,
    buffer: u64,
    pub(crate) reading: bool,
    read: u64,
    /// Behind the last position that the peer was told it may send.
    edge: u64,
    pub(crate) last_ack: u64,
    recent: VecDeque<u64>,
    pub(crate) duplicate: Option<(u64, u64)>,
    pub(crate) ack_now: bool,
    pub(crate) ack_due: Option<Duration>,
    pub(crate) ts_recent: Option<u32>,
    /// Octets that came twice out of order and differed: which one a kernel takes is its affair.
    pub(crate) contradictions: u64,
    pub(crate) mss: u64,
}

impl Receiver {
    pub(crate) fn new(irs: Seq, buffer: usize, mss: u16) -> Receiver {
        Receiver {
            irs,
            next: 1,
            stream: Vec::new(),
            have: Ranges::default(),
            fin: None,
            buffer: buffer as u64,
            reading: true,
            read: 1,
            edge: 1,
            last_ack: 0,
            recent: VecDeque::new(),
            duplicate: None,
            ack_now: false,
            ack_due: None,
            ts_recent: None,
            contradictions: 0,
            mss: u64::from(mss),
        }
    }

    pub(crate) fn seq(&self, position: u64) -> Seq {
        self.irs + position as u32
    }

    pub(crate) fn position(&self, seq: Seq) -> i64 {
        self.next as i64 + i64::from(seq.since(self.seq(self.next)) as i32)
    }

    /// What arrived in order.
    pub(crate) fn data(&self) -> &[u8] {
        let end = self.next - u64::from(self.fin.is_some_and(|fin| self.next > fin));
        &self.stream[..usize::try_from(end - 1).unwrap()]
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.fin.is_some_and(|fin| self.next > fin)
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.read < 1 + self.data().len() as u64
    }

    /// The application takes what is there.
    pub(crate) fn read(&mut self) {
        if self.reading {
            self.read = 1 + self.data().len() as u64;
        }
    }

    fn free(&self) -> u64 {
        self.buffer
            .saturating_sub(self.next.saturating_sub(self.read))
    }

    /// Octets that may still come, as they fit into the field of the header with this scale.
    pub(crate) fn window(&mut self, shift: u8) -> u16 {
        let mut free = self.free();
        let left = self.edge.saturating_sub(self.next);
        // Not opened by drops (RFC 9293 section 3.8.6.2.2), never taken back.
        if free < (self.buffer / 2).min(self.mss) {
            free = 0;
        }
        let field = (free.max(left) >> shift).min(0xffff);
        let field = field.max(left.div_ceil(1 << shift).min(0xffff));
        self.edge = self.edge.max(self.next + (field << shift));
        field as u16
    }

    /// Whether it is time to say that there is room again.
    pub(crate) fn has_news_of_room(&self) -> bool {
        let told = self.edge.saturating_sub(self.next);
        let free = self.free();
        free >= told + (2 * self.mss).min(self.buffer / 2) && free >= self.mss.min(self.buffer / 2)
    }

    /// Whether any of a segment can be in the window; it may be one that only repeats.
    pub(crate) fn acceptable(&self, from: i64, to: i64) -> bool {
        to >= self.last_ack as i64 && from <= self.edge.max(self.next) as i64
    }

    /// Takes the data of an acceptable segment.
    pub(crate) fn take(
        &mut self,
        now: Duration,
        from: i64,
        data: &[u8],
        fin: bool,
        delay: Duration,
    ) {
        let before = self.next;
        let held = !self.have.is_empty();
        let end = from + data.len() as i64;
        let room = self.edge as i64;
        let low = from.max(1);
        let high = end.min(room);
        let mut fresh = false;
        if high > low {
            let piece = &data[(low - from) as usize..(high - from) as usize];
            let at = (low - 1) as usize;
            if self.stream.len() < at + piece.len() {
                self.stream.resize(at + piece.len(), 0);
            }
            for (index, octet) in piece.iter().enumerate() {
                let position = (low as u64) + index as u64;
                if position < self.next {
                    // Read by the application, perhaps. No kernel looks at it again.
                } else if !self.have.holds(position, position + 1) {
                    self.stream[at + index] = *octet;
                } else if self.stream[at + index] != *octet {
                    self.contradictions += 1;
                }
            }
            let (low, high) = (low as u64, high as u64);
            if high > self.next {
                fresh = self.have.add(low.max(self.next), high);
            }
            if !fresh {
                self.duplicate = Some((low, high));
            }
            if low > self.next {
                self.recent.retain(|at| *at < low || *at >= high);
                self.recent.push_front(low);
                self.recent.truncate(8);
            }
        }
        if fin && end <= room && self.fin.is_none() && end >= self.next as i64 {
            self.fin = Some(end as u64);
        }
        if let Some((_, end)) = self.have.around(self.next) {
            self.next = end;
        }
        self.have.forget_below(self.next);
        if self.fin == Some(self.next) {
            self.next += 1;
        }
        let moved = self.next > before;
        let in_order = moved && !held && self.have.is_empty();
        let enough = self.next.saturating_sub(self.last_ack) >= 2 * self.mss;
        if !in_order || enough || self.is_finished() {
            self.ack_now = true;
        } else if self.ack_due.is_none() {
            self.ack_due = Some(now + delay);
        }
        self.read();
    }

    /// SACK blocks, the one that changed last in front (RFC 2018 section 4, RFC 2883).
    pub(crate) fn blocks(&mut self) -> Vec<(Seq, Seq)> {
        let mut found = Vec::new();
        if let Some(duplicate) = self.duplicate.take() {
            found.push(duplicate);
        }
        let have = &self.have;
        self.recent.retain(|at| have.around(*at).is_some());
        let recent = self.recent.iter().filter_map(|at| have.around(*at));
        for block in recent.chain(have.iter().rev()) {
            if !found.contains(&block) {
                found.push(block);
            }
        }
        found.truncate(4);
        found
            .iter()
            .map(|(l, r)| (self.seq(*l), self.seq(*r)))
            .collect()
    }
}
