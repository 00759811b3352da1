//! The sending half of a connection: what is outstanding, what is lost, what may be sent.
//!
//! Positions are 64 bit: 0 is the SYN, the first octet of data is 1.

use std::time::Duration;

use tcpcrypt_proto::packet::Seq;

use super::ranges::Ranges;
use super::settings::Settings;
use crate::model::rng::Rng;

/// What goes into one segment: data from `from` up to `to`, and perhaps the FIN behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) fin: bool,
}

/// What an acknowledgement says, in positions.
pub(crate) struct Report {
    pub(crate) ack: u64,
    pub(crate) window: u64,
    /// Where the segment stands in the peer's stream, for the age of the window.
    pub(crate) position: i64,
    /// It carries nothing else.
    pub(crate) bare: bool,
    /// SACK blocks; none when it was not negotiated.
    pub(crate) sack: Option<Vec<(u64, u64)>>,
    /// Round trip by the timestamp echo.
    pub(crate) round_trip: Option<Duration>,
}

pub(crate) struct Sender {
    iss: Seq,
    pub(crate) data: Vec<u8>,
    /// The application said that there is no more.
    pub(crate) finished: bool,
    pub(crate) una: u64,
    /// Behind the highest position sent.
    pub(crate) max: u64,
    pub(crate) window: u64,
    largest_window: u64,
    window_from: i64,
    pub(crate) mss: u64,
    sacked: Ranges,
    /// Between the two: lost and not sent again.
    cursor: u64,
    lost_to: u64,
    recover: Option<u64>,
    duplicates: u32,
    cwnd: u64,
    ssthresh: u64,
    srtt: Option<(Duration, Duration)>,
    min_rto: Duration,
    timed: Option<(u64, Duration)>,
    pub(crate) timer: Option<Duration>,
    pub(crate) probe_timer: Option<Duration>,
    /// Time-outs and probes in a row.
    pub(crate) tries: u32,
    pub(crate) retransmitted: u64,
}

impl Sender {
    pub(crate) fn new(iss: Seq, settings: &Settings) -> Sender {
        Sender {
            iss,
            data: Vec::new(),
            finished: false,
            una: 0,
            max: 0,
            window: 0,
            largest_window: 0,
            window_from: i64::MIN,
            mss: u64::from(settings.mss),
            sacked: Ranges::default(),
            cursor: 0,
            lost_to: 0,
            recover: None,
            duplicates: 0,
            cwnd: 10 * u64::from(settings.mss),
            ssthresh: u64::MAX,
            srtt: None,
            min_rto: settings.min_rto,
            timed: None,
            timer: None,
            probe_timer: None,
            tries: 0,
            retransmitted: 0,
        }
    }

    pub(crate) fn seq(&self, position: u64) -> Seq {
        self.iss + position as u32
    }

    /// The position of a number near what is outstanding.
    pub(crate) fn position(&self, seq: Seq) -> i64 {
        self.una as i64 + i64::from(seq.since(self.seq(self.una)) as i32)
    }

    pub(crate) fn data_end(&self) -> u64 {
        1 + self.data.len() as u64
    }

    /// Behind the FIN, if there is one.
    pub(crate) fn end(&self) -> u64 {
        self.data_end() + u64::from(self.finished)
    }

    pub(crate) fn fin_sent(&self) -> bool {
        self.finished && self.max == self.end()
    }

    pub(crate) fn fin_acknowledged(&self) -> bool {
        self.finished && self.una == self.end()
    }

    fn edge(&self) -> u64 {
        self.una + self.window
    }

    /// Older acknowledgements than this are not looked at (RFC 5961 section 5.2).
    pub(crate) fn oldest_ack(&self) -> i64 {
        self.una as i64 - self.largest_window as i64
    }

    pub(crate) fn rto(&self) -> Duration {
        let base = match self.srtt {
            None => Duration::from_secs(1),
            Some((mean, deviation)) => mean + (4 * deviation).max(self.min_rto),
        };
        (base * 2_u32.pow(self.tries.min(12))).min(Duration::from_secs(120))
    }

    /// What is thought to be in flight.
    fn pipe(&self, sack: bool) -> u64 {
        let outstanding = self.max - self.una;
        let lost_from = self.cursor.clamp(self.una, self.max);
        let lost_to = self.lost_to.clamp(lost_from, self.max);
        let lost = lost_to - lost_from - self.sacked.octets_between(lost_from, lost_to);
        let arrived = if sack {
            self.sacked.octets_between(self.una, self.max)
        } else {
            u64::from(self.duplicates) * self.mss
        };
        outstanding.saturating_sub(lost + arrived)
    }

    pub(crate) fn acknowledge(&mut self, now: Duration, report: &Report) {
        let uses_sack = report.sack.is_some();
        let in_flight = self.pipe(uses_sack);
        let advanced = report.ack > self.una;
        let fresher = advanced
            || report.position > self.window_from
            || (report.position == self.window_from && report.window > self.window);
        let same_window = report.window == self.window || !fresher;
        if advanced {
            self.advance(now, report, uses_sack);
        } else if report.bare && same_window && report.ack == self.una && self.max > self.una {
            self.duplicates += 1;
        }
        if fresher {
            self.window = report.window;
            self.window_from = report.position;
            self.largest_window = self.largest_window.max(report.window);
        }
        if self.max > self.una || self.window > 0 {
            self.probe_timer = None;
        }
        match &report.sack {
            Some(blocks) => {
                for (left, right) in blocks {
                    // D-SACK and nonsense are left aside.
                    if *left >= self.una && *right <= self.max {
                        self.sacked.add(*left, *right);
                    }
                }
                let highest = self.sacked.highest().unwrap_or(0);
                let lost_to = highest.saturating_sub(3 * self.mss);
                if lost_to > self.una && lost_to > self.lost_to {
                    self.lose(in_flight, lost_to);
                }
            }
            None if self.duplicates == 3 && self.recover.is_none() => {
                self.lose(in_flight, self.una + self.mss);
            }
            None => {}
        }
    }

    fn advance(&mut self, now: Duration, report: &Report, uses_sack: bool) {
        let octets = report.ack - self.una;
        let own = match self.timed {
            Some((end, at)) if report.ack >= end => {
                self.timed = None;
                Some(now - at)
            }
            _ => None,
        };
        if let Some(sample) = report.round_trip.or(own) {
            self.measure(sample);
        }
        self.una = report.ack;
        self.duplicates = 0;
        self.tries = 0;
        self.sacked.forget_below(self.una);
        self.cursor = self.cursor.max(self.una);
        match self.recover {
            Some(recover) if self.una >= recover => {
                self.recover = None;
                self.cwnd = self.cwnd.min(self.ssthresh).max(2 * self.mss);
                self.lost_to = self.una;
            }
            // Not the whole window: the next hole (RFC 6582).
            Some(_) if !uses_sack && self.lost_to <= self.una => {
                self.cursor = self.una;
                self.lost_to = self.una + self.mss;
            }
            _ => {}
        }
        if self.cwnd < self.ssthresh {
            self.cwnd += octets.min(2 * self.mss);
        } else if self.recover.is_none() {
            self.cwnd += (self.mss * octets / self.cwnd).max(1);
        }
        self.timer = (self.una < self.max).then(|| now + self.rto());
    }

    fn lose(&mut self, in_flight: u64, lost_to: u64) {
        if self.recover.is_none() {
            self.recover = Some(self.max);
            self.ssthresh = (in_flight / 2).max(2 * self.mss);
            self.cwnd = self.ssthresh;
            self.cursor = self.una;
        }
        self.lost_to = self.lost_to.max(lost_to).min(self.max);
    }

    /// Segments are to be shorter. What was sent in longer ones is lost.
    pub(crate) fn narrow(&mut self, mss: u64) {
        if mss < self.mss {
            self.mss = mss;
            self.cursor = self.una;
            self.lost_to = self.max;
            self.recover = Some(self.max);
        }
    }

    fn measure(&mut self, sample: Duration) {
        self.srtt = Some(match self.srtt {
            None => (sample, sample / 2),
            Some((mean, deviation)) => {
                let off = mean.abs_diff(sample);
                ((7 * mean + sample) / 8, (3 * deviation + off) / 4)
            }
        });
    }

    /// Everything that is outstanding is taken for lost (RFC 6298 section 5).
    pub(crate) fn time_out(&mut self, now: Duration) {
        self.ssthresh = ((self.max - self.una) / 2).max(2 * self.mss);
        self.cwnd = self.mss;
        self.duplicates = 0;
        self.tries += 1;
        if self.sacked.around(self.una).is_some() {
            // The peer acknowledged it selectively and then forgot it.
            self.sacked = Ranges::default();
        }
        self.cursor = self.una;
        self.lost_to = self.max;
        self.recover = Some(self.max);
        self.timed = None;
        self.timer = Some(now + self.rto());
    }

    /// The next segment that may go out now.
    pub(crate) fn next(
        &mut self,
        now: Duration,
        sack: bool,
        cut: Option<&mut Rng>,
    ) -> Option<Piece> {
        while self.cursor < self.lost_to {
            match self.sacked.around(self.cursor) {
                Some((_, end)) => self.cursor = end,
                None => break,
            }
        }
        let pipe = self.pipe(sack);
        if self.cursor < self.lost_to.min(self.max) && (pipe < self.cwnd || self.cursor == self.una)
        {
            return Some(self.again(now, cut));
        }
        let allowed = self.cwnd.saturating_sub(pipe);
        self.fresh(now, allowed)
    }

    fn again(&mut self, now: Duration, cut: Option<&mut Rng>) -> Piece {
        let from = self.cursor;
        // Where nothing says that it arrived, more than what was lost may go along: coalesced.
        let hole = self
            .sacked
            .next_start(from)
            .unwrap_or(self.max)
            .min(self.max);
        let mut room = self.mss;
        if let Some(rng) = cut {
            if rng.chance(0.5) {
                room = 1 + rng.below(self.mss);
            }
        }
        let to = hole.min(from + room).min(self.data_end());
        let fin = self.fin_sent() && to == self.data_end() && hole >= self.end();
        self.cursor = to + u64::from(fin);
        self.retransmitted += 1;
        self.timed = None;
        if self.timer.is_none() {
            self.timer = Some(now + self.rto());
        }
        Piece { from, to, fin }
    }

    fn fresh(&mut self, now: Duration, allowed: u64) -> Option<Piece> {
        let from = self.max;
        if from == self.end() || allowed == 0 {
            return None;
        }
        let to = self
            .data_end()
            .min(self.edge())
            .min(from + self.mss)
            .max(from);
        // A window that opens by drops is not filled by drops.
        let small = to - from < self.mss && to < self.data_end();
        if small && self.una < self.max && to - from < self.largest_window / 2 {
            return None;
        }
        let fin = self.finished && to == self.data_end() && self.edge() > to;
        if to == from && !fin {
            if self.una == self.max && self.probe_timer.is_none() {
                self.probe_timer = Some(now + self.rto());
            }
            return None;
        }
        self.max = to + u64::from(fin);
        self.sent(now);
        Some(Piece { from, to, fin })
    }

    fn sent(&mut self, now: Duration) {
        self.probe_timer = None;
        if self.timed.is_none() {
            self.timed = Some((self.max, now));
        }
        if self.timer.is_none() {
            self.timer = Some(now + self.rto());
        }
    }

    /// One octet beyond a closed window.
    pub(crate) fn force_octet(&mut self, now: Duration) -> Option<Piece> {
        let from = self.max;
        let to = self.data_end().min(from + 1);
        let fin = to == from && self.finished && from < self.end();
        if to == from && !fin {
            return None;
        }
        self.max = to + u64::from(fin);
        self.sent(now);
        Some(Piece { from, to, fin })
    }

    pub(crate) fn octets(&self, piece: &Piece) -> Vec<u8> {
        let index = |position: u64| usize::try_from(position - 1).unwrap();
        self.data[index(piece.from)..index(piece.to)].to_vec()
    }

    /// The peer's SYN acknowledges ours.
    pub(crate) fn syn_acknowledged(&mut self, now: Duration) {
        if let Some((_, at)) = self.timed.take() {
            self.measure(now - at);
        }
        self.una = 1;
        self.timer = None;
        self.tries = 0;
    }

    /// The SYN counts as sent.
    pub(crate) fn sent_syn(&mut self, now: Duration) {
        self.max = self.max.max(1);
        if self.tries == 0 && self.timed.is_none() {
            self.timed = Some((1, now));
        } else {
            self.timed = None;
        }
        self.timer = Some(now + self.rto());
    }
}
