//! One connection of a kernel.

use std::time::Duration;

use tcpcrypt_proto::packet::{Flags, FourTuple, Seq};

use super::receiver::Receiver;
use super::segment::Segment;
use super::sender::{Piece, Report, Sender};
use super::settings::{Probe, Settings};
use crate::model::family::longer_header;
use crate::model::rng::Rng;

const HALF_A_SECOND: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both directions were finished.
    Closed,
    /// The peer's RST.
    Reset,
    /// RST to the SYN.
    Refused,
    /// The peer did not answer.
    TimedOut,
    /// Our own RST.
    Aborted,
}

pub(crate) struct Socket {
    pub(crate) tuple: FourTuple,
    pub(crate) state: State,
    pub(crate) end: Option<End>,
    pub(crate) iss: Seq,
    pub(crate) send: Sender,
    pub(crate) receive: Option<Receiver>,
    settings: Settings,
    rng: Rng,
    timestamps: bool,
    sack: bool,
    send_shift: u8,
    receive_shift: u8,
    ts_offset: u32,
    /// The application has closed it and reads no more.
    orphan: bool,
    time_wait: Option<Duration>,
    keep_alive: Option<Duration>,
    /// When a segment that cannot be right was answered for the last time.
    contradicted: Option<Duration>,
    /// Segments that were thrown away because of their timestamps.
    pub(crate) late: u64,
    pub(super) out: Vec<Vec<u8>>,
}

fn later(stamp: u32, than: u32) -> bool {
    Seq(stamp).gt(Seq(than))
}

impl Socket {
    fn new(tuple: FourTuple, state: State, settings: &Settings, mut rng: Rng) -> Socket {
        let iss = Seq(settings.isn.unwrap_or(rng.next() as u32));
        Socket {
            tuple,
            state,
            end: None,
            iss,
            send: Sender::new(iss, settings),
            receive: None,
            settings: settings.clone(),
            timestamps: settings.timestamps,
            sack: settings.sack,
            send_shift: 0,
            receive_shift: 0,
            ts_offset: rng.next() as u32,
            rng,
            orphan: false,
            time_wait: None,
            keep_alive: None,
            contradicted: None,
            late: 0,
            out: Vec::new(),
        }
    }

    /// An active open.
    pub(crate) fn connect(
        now: Duration,
        tuple: FourTuple,
        settings: &Settings,
        rng: Rng,
    ) -> Socket {
        let mut socket = Socket::new(tuple, State::SynSent, settings, rng);
        socket.send_syn(now);
        socket
    }

    /// The answer of a listening port to a SYN.
    pub(crate) fn accept(
        now: Duration,
        tuple: FourTuple,
        settings: &Settings,
        rng: Rng,
        syn: &Segment,
    ) -> Socket {
        let mut socket = Socket::new(tuple, State::SynReceived, settings, rng);
        socket.learn(syn);
        socket.send_syn(now);
        socket
    }

    /// What the peer's SYN says.
    fn learn(&mut self, syn: &Segment) {
        let settings = &self.settings;
        let mut receive = Receiver::new(syn.seq, settings.receive_buffer, settings.mss);
        self.timestamps &= syn.timestamps.is_some();
        self.sack &= syn.sack_permitted;
        if let (Some(own), Some(theirs)) = (settings.window_scale, syn.window_scale) {
            self.receive_shift = own;
            self.send_shift = theirs.min(14);
        }
        receive.ts_recent = syn.timestamps.map(|(value, _)| value);
        let options = if self.timestamps { 12 } else { 0 };
        let mss = syn.mss.unwrap_or(536).min(settings.mss).max(64);
        self.send.mss = u64::from(mss - options);
        self.send.window = u64::from(syn.window);
        receive.mss = self.send.mss;
        self.receive = Some(receive);
    }

    fn stamps(&self, now: Duration) -> Option<(u32, u32)> {
        self.timestamps.then(|| {
            let value = self.ts_offset.wrapping_add(now.as_millis() as u32);
            let echo = self.receive.as_ref().and_then(|r| r.ts_recent);
            (value, echo.unwrap_or(0))
        })
    }

    fn send_syn(&mut self, now: Duration) {
        let mut flags = Flags::SYN;
        let mut window = self.settings.receive_buffer.min(0xffff) as u16;
        let mut segment = Segment {
            seq: self.iss,
            mss: Some(self.settings.mss),
            timestamps: self.stamps(now),
            sack_permitted: self.sack,
            window_scale: self.settings.window_scale,
            more_options: self.settings.syn_options.clone(),
            ..Segment::default()
        };
        if let Some(receive) = &mut self.receive {
            flags |= Flags::ACK;
            segment.ack = receive.seq(1);
            receive.last_ack = 1;
            window = receive.window(0);
            if self.receive_shift == 0 {
                segment.window_scale = None;
            }
        }
        segment.flags = flags;
        segment.window = window;
        self.send.sent_syn(now);
        self.out.push(segment.packet(self.tuple));
    }

    /// Sends one segment with the current acknowledgement.
    fn emit(&mut self, now: Duration, position: u64, flags: Flags, payload: Vec<u8>) {
        let stamps = self.stamps(now);
        let shift = self.receive_shift;
        let Some(receive) = &mut self.receive else {
            return;
        };
        let sack = if self.sack && payload.is_empty() {
            receive.blocks()
        } else {
            Vec::new()
        };
        let segment = Segment {
            seq: self.send.seq(position),
            ack: receive.seq(receive.next),
            flags: flags | Flags::ACK,
            window: receive.window(shift),
            timestamps: stamps,
            sack,
            payload,
            ..Segment::default()
        };
        receive.last_ack = receive.next;
        receive.ack_now = false;
        receive.ack_due = None;
        self.out.push(segment.packet(self.tuple));
    }

    fn acknowledge(&mut self, now: Duration) {
        self.emit(now, self.send.max, Flags::ACK, Vec::new());
    }

    fn emit_piece(&mut self, now: Duration, piece: &Piece) {
        let payload = self.send.octets(piece);
        let mut flags = Flags::ACK;
        if piece.to == self.send.data_end() && piece.to > piece.from {
            flags |= Flags::PSH;
        }
        if piece.fin {
            flags |= Flags::FIN;
        }
        self.emit(now, piece.from, flags, payload);
    }

    /// Sends what may be sent.
    pub(crate) fn output(&mut self, now: Duration) {
        use State::{CloseWait, Closing, Established, FinWait1, LastAck};
        if matches!(
            self.state,
            Established | CloseWait | FinWait1 | Closing | LastAck
        ) {
            loop {
                let cut = self.settings.resegment.then_some(&mut self.rng);
                let Some(piece) = self.send.next(now, self.sack, cut) else {
                    break;
                };
                self.emit_piece(now, &piece);
            }
            if self.send.fin_sent() {
                match self.state {
                    Established => self.state = FinWait1,
                    CloseWait => self.state = LastAck,
                    _ => {}
                }
            }
        }
        if self.receive.as_ref().is_some_and(|r| r.ack_now) {
            self.acknowledge(now);
        }
    }

    pub(crate) fn segment(&mut self, now: Duration, segment: &Segment) {
        if self.settings.keep_alive.is_some() {
            self.keep_alive = self.settings.keep_alive.map(|after| now + after);
        }
        match self.state {
            State::Closed => {}
            State::SynSent => self.in_syn_sent(now, segment),
            _ => self.synchronized(now, segment),
        }
        self.output(now);
    }

    /// A router says that a packet was too long. As Linux does, only what is under way is believed.
    pub(super) fn too_big(&mut self, now: Duration, seq: Seq, mtu: u32) {
        let place = self.send.position(seq);
        if self.state == State::Closed
            || place < self.send.una as i64
            || place > self.send.max as i64
        {
            return;
        }
        let headers = 40 + u64::from(longer_header()) + if self.timestamps { 12 } else { 0 };
        self.send
            .narrow(u64::from(mtu).saturating_sub(headers).max(500));
        self.output(now);
    }

    fn in_syn_sent(&mut self, now: Duration, segment: &Segment) {
        if segment.has(Flags::ACK) && self.send.position(segment.ack) != 1 {
            if let Some(refusal) = segment.refusal() {
                self.out.push(refusal.packet(self.tuple));
            }
            return;
        }
        if segment.has(Flags::RST) {
            if segment.has(Flags::ACK) {
                self.finish(End::Refused);
            }
            return;
        }
        if !segment.has(Flags::SYN) {
            return;
        }
        self.learn(segment);
        if segment.has(Flags::ACK) {
            self.send.syn_acknowledged(now);
            self.state = State::Established;
            if let Some(receive) = &mut self.receive {
                receive.ack_now = true;
            }
        } else {
            self.state = State::SynReceived;
            self.send_syn(now);
        }
    }

    fn synchronized(&mut self, now: Duration, segment: &Segment) {
        let Some(receive) = &mut self.receive else {
            return;
        };
        let mut from = receive.position(segment.seq);
        let to = from + i64::from(segment.length());
        let is_reset = segment.has(Flags::RST);
        if let (true, Some((value, _)), Some(recent)) =
            (self.timestamps, segment.timestamps, receive.ts_recent)
        {
            // RFC 7323 section 5: from an earlier turn of the numbers, or just late.
            if later(recent, value) && !is_reset {
                self.late += 1;
                self.contradict(now, segment);
                return;
            }
        }
        if self.state == State::SynReceived && segment.has(Flags::SYN) && from == 0 {
            if !segment.has(Flags::ACK) {
                self.send_syn(now);
                return;
            }
            from = 1;
        } else if !receive.acceptable(from, to) {
            if !is_reset {
                if segment.payload.len() as i64 + from > 0 && to > from {
                    receive.duplicate = Some((from.max(1) as u64, to.max(1) as u64));
                }
                self.contradict(now, segment);
            }
            return;
        } else if is_reset {
            // RFC 5961 section 3.
            if from == receive.next as i64 {
                self.finish(End::Reset);
            } else {
                self.contradict(now, segment);
            }
            return;
        } else if segment.has(Flags::SYN) {
            self.contradict(now, segment);
            return;
        }
        if !segment.has(Flags::ACK) {
            return;
        }
        let last_ack = receive.last_ack as i64;
        if let (true, Some((value, _))) = (self.timestamps, segment.timestamps) {
            if from <= last_ack {
                receive.ts_recent = Some(value);
            }
        }
        if !self.take_ack(now, segment, from) {
            return;
        }
        self.take_data(now, segment, from);
    }

    /// Answers a segment that cannot be right. Of those without data Linux answers one in half a second, or two
    /// hosts that are both wrong would go on for ever, and where the network duplicates would be more each time
    /// (RFC 5961 section 7; tcp_invalid_ratelimit).
    fn contradict(&mut self, now: Duration, segment: &Segment) {
        if segment.length() == 0 || segment.has(Flags::SYN) {
            if self
                .contradicted
                .is_some_and(|last| now < last + HALF_A_SECOND)
            {
                return;
            }
            self.contradicted = Some(now);
        }
        if let Some(receive) = &mut self.receive {
            receive.ack_now = true;
        }
    }

    /// False when the rest of the segment is not to be looked at.
    fn take_ack(&mut self, now: Duration, segment: &Segment, position: i64) -> bool {
        let ack = self.send.position(segment.ack);
        if self.state == State::SynReceived {
            if ack < 1 || ack > self.send.max as i64 {
                if let Some(refusal) = segment.refusal() {
                    self.out.push(refusal.packet(self.tuple));
                }
                return false;
            }
            self.state = State::Established;
        }
        if ack > self.send.max as i64 || ack < self.send.oldest_ack() {
            // The peer acknowledges what was never sent: nothing of it is believed.
            self.contradict(now, segment);
            return false;
        }
        let sender = &self.send;
        let edge = |seq| u64::try_from(sender.position(seq)).ok();
        let blocks = segment.sack.iter();
        let blocks = blocks.filter_map(|(l, r)| Some((edge(*l)?, edge(*r)?)));
        let stamp = self.ts_offset.wrapping_add(now.as_millis() as u32);
        let echo = segment.timestamps.filter(|_| self.timestamps);
        let report = Report {
            ack: ack.max(0) as u64,
            window: u64::from(segment.window) << self.send_shift,
            position,
            bare: segment.length() == 0,
            sack: self.sack.then(|| blocks.collect()),
            round_trip: echo.map(|(_, echo)| {
                Duration::from_millis(u64::from(stamp.wrapping_sub(echo).min(120_000)))
            }),
        };
        self.send.acknowledge(now, &report);
        if self.send.fin_acknowledged() {
            match self.state {
                State::FinWait1 => {
                    self.state = State::FinWait2;
                    if self.orphan {
                        self.time_wait = Some(now + self.settings.time_wait);
                    }
                }
                State::Closing => self.enter_time_wait(now),
                State::LastAck => self.finish(End::Closed),
                _ => {}
            }
        }
        true
    }

    fn take_data(&mut self, now: Duration, segment: &Segment, from: i64) {
        let (data, fin) = (&segment.payload, segment.has(Flags::FIN));
        let delay = self.settings.delayed_ack;
        let Some(receive) = &mut self.receive else {
            return;
        };
        if data.is_empty() && !fin {
            return;
        }
        if self.orphan && from + data.len() as i64 > receive.next as i64 && !receive.is_finished() {
            // Nobody will read it.
            self.abort(now);
            return;
        }
        let finished = receive.is_finished();
        receive.take(now, from, data, fin, delay);
        if finished || !receive.is_finished() {
            if self.state == State::TimeWait {
                self.enter_time_wait(now);
            }
            return;
        }
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.enter_time_wait(now),
            _ => {}
        }
    }

    fn enter_time_wait(&mut self, now: Duration) {
        self.state = State::TimeWait;
        self.end = Some(End::Closed);
        self.send.timer = None;
        self.time_wait = Some(now + self.settings.time_wait);
    }

    pub(super) fn finish(&mut self, end: End) {
        self.state = State::Closed;
        if self.end.is_none() {
            self.end = Some(end);
        }
        self.send.timer = None;
        self.send.probe_timer = None;
        self.time_wait = None;
        self.keep_alive = None;
        if let Some(receive) = &mut self.receive {
            receive.ack_now = false;
            receive.ack_due = None;
        }
    }

    /// The application writes.
    pub(crate) fn write(&mut self, now: Duration, data: &[u8]) {
        assert!(!self.send.finished, "written after the end");
        if self.state != State::Closed {
            self.send.data.extend_from_slice(data);
            self.output(now);
        }
    }

    /// The application has no more to send.
    pub(crate) fn shutdown(&mut self, now: Duration) {
        if self.state != State::Closed {
            self.send.finished = true;
            self.output(now);
        }
    }

    /// The application goes away.
    pub(crate) fn close(&mut self, now: Duration) {
        if self.receive.as_ref().is_some_and(Receiver::has_unread) {
            self.abort(now);
            return;
        }
        self.orphan = true;
        self.shutdown(now);
        if self.state == State::FinWait2 {
            self.time_wait = Some(now + self.settings.time_wait);
        }
    }

    pub(crate) fn abort(&mut self, now: Duration) {
        if !matches!(self.state, State::Closed | State::SynSent | State::TimeWait) {
            self.emit(now, self.send.max, Flags::RST, Vec::new());
        }
        self.finish(End::Aborted);
    }

    pub(crate) fn set_reading(&mut self, now: Duration, reading: bool) {
        if let Some(receive) = &mut self.receive {
            receive.reading = reading;
            receive.read();
            if receive.has_news_of_room() && self.state != State::Closed {
                self.acknowledge(now);
            }
        }
    }

    pub(crate) fn next_timer(&self) -> Option<Duration> {
        let receive = self.receive.as_ref().and_then(|r| r.ack_due);
        let send = [self.send.timer, self.send.probe_timer];
        let all = [receive, self.time_wait, self.keep_alive];
        send.into_iter().chain(all).flatten().min()
    }

    pub(crate) fn time_out(&mut self, now: Duration) {
        let due = |timer: Option<Duration>| timer.is_some_and(|at| at <= now);
        if due(self.time_wait) {
            self.finish(End::Closed);
        }
        if self.receive.as_ref().is_some_and(|r| due(r.ack_due)) {
            self.acknowledge(now);
        }
        if due(self.send.timer) {
            if self.send.tries >= self.settings.retries {
                self.finish(End::TimedOut);
                return;
            }
            match self.state {
                State::SynSent | State::SynReceived => {
                    self.send.tries += 1;
                    self.send_syn(now);
                }
                _ => self.send.time_out(now),
            }
        }
        if due(self.send.probe_timer) {
            self.probe_window(now);
        }
        if due(self.keep_alive) {
            self.keep_alive = self.settings.keep_alive.map(|after| now + after);
            let alive = matches!(self.state, State::Established | State::CloseWait);
            if alive && self.send.una == self.send.max {
                let garbage = self.settings.probe == Probe::OneOctet;
                let payload = vec![0; usize::from(garbage)];
                self.emit(now, self.send.una - 1, Flags::ACK, payload);
            }
        }
        self.output(now);
    }

    fn probe_window(&mut self, now: Duration) {
        self.send.tries += 1;
        if self.send.tries > self.settings.retries {
            self.finish(End::TimedOut);
            return;
        }
        self.send.probe_timer = Some(now + self.send.rto());
        match self.settings.probe {
            Probe::Empty => self.emit(now, self.send.una - 1, Flags::ACK, Vec::new()),
            Probe::OneOctet => {
                if let Some(piece) = self.send.force_octet(now) {
                    self.emit_piece(now, &piece);
                }
            }
        }
    }
}
