//! The endpoint: a small TCP under the legacy dialect.
//!
//! Every step can be done alone, so that a test can leave one out, repeat it or put
//! something else in its place; [`Session::open`] and [`Session::accept`] do all of them in
//! order.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::independent_peer::keys::{self, AES128, AES256, KeyPair, P256, P521, RESUMED, Secrets};
use crate::independent_peer::wire::Wire;
use crate::lab::segment::{ACK, FIN, RST, SYN, Segment};

/// Longest wait for one answer of the subject.
pub const SOON: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(250);

/// What the peer offers or accepts.
#[derive(Debug, Clone)]
pub struct Offer {
    /// TEPs in order.
    pub teps: Vec<u8>,
    /// Ciphers in order.
    pub ciphers: Vec<u8>,
    /// A session to resume, already stepped on to the one that will be used.
    pub resume: Option<Secrets>,
    /// First sequence number.
    pub isn: u32,
    /// Acknowledges a FIN as the original in divert mode does, with L instead of W
    /// ("tcpcrypt spec 5.1").
    pub like_the_original: bool,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            teps: vec![P256, P521],
            ciphers: vec![AES128, AES256],
            resume: None,
            isn: 1_000_000,
            like_the_original: true,
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Session<'w> {
    /// The cable.
    pub wire: &'w mut Wire,
    /// This end.
    pub local: SocketAddr,
    /// The subject's end.
    pub remote: SocketAddr,
    /// Opened the connection.
    pub client: bool,
    /// What was offered.
    pub offer: Offer,
    /// Next number to send.
    pub next: u32,
    /// Next number to receive.
    pub expected: u32,
    /// The highest acknowledgement received.
    pub acknowledged: u32,
    /// ENO options of SYN and SYN-ACK.
    pub options: [Vec<u8>; 2],
    /// Once the keys are known.
    pub secrets: Option<Secrets>,
    /// Number at offset 0 of this end's records.
    pub base_out: u32,
    /// Number at offset 0 of the subject's records.
    pub base_in: u32,
    /// What was received in order and is not a whole record yet.
    pub stream: Vec<u8>,
    /// Opened data.
    pub data: Vec<u8>,
    /// The subject's records were cut like this.
    pub records: Vec<usize>,
    /// The subject has closed.
    pub ended: bool,
    /// The subject has reset.
    pub reset: bool,
    /// Every acknowledgement number received since the opening.
    pub acknowledgements: Vec<u32>,
    /// Bytes of records received beyond their data.
    pub overhead_in: u32,
    /// Bytes of records sent beyond their data.
    pub overhead_out: u32,
    /// Whether arriving data are acknowledged at once.
    pub acknowledging: bool,
    /// A TCP payload that arrived and is no record, after encryption began.
    pub not_records: Vec<Vec<u8>>,
}

/// An ENO option with these suboptions.
pub fn eno(suboptions: &[u8]) -> Vec<u8> {
    let length = u8::try_from(suboptions.len() + 4).expect("a short option");
    [&[0xfd, length, 0x45, 0x4e], suboptions].concat()
}

fn nonce() -> [u8; 32] {
    let mut nonce = [0; 32];
    openssl::rand::rand_bytes(&mut nonce).expect("random bytes");
    nonce
}

impl<'w> Session<'w> {
    /// Before anything was sent.
    pub fn new(
        wire: &'w mut Wire,
        port: u16,
        remote: SocketAddr,
        client: bool,
        offer: Offer,
    ) -> Session<'w> {
        let local = SocketAddr::new(wire.address.into(), port);
        Session {
            wire,
            local,
            remote,
            client,
            next: offer.isn,
            acknowledged: offer.isn,
            offer,
            expected: 0,
            options: [vec![], vec![]],
            secrets: None,
            base_out: 0,
            base_in: 0,
            stream: Vec::new(),
            data: Vec::new(),
            records: Vec::new(),
            ended: false,
            reset: false,
            acknowledgements: Vec::new(),
            overhead_in: 0,
            overhead_out: 0,
            acknowledging: true,
            not_records: Vec::new(),
        }
    }

    /// A segment of this connection, not sent yet.
    pub fn segment(&self, flags: u8, options: &[u8], payload: &[u8]) -> Segment {
        let mut segment = Segment::new(self.local, self.remote);
        segment.seq = self.next;
        segment.ack = if flags & ACK == 0 {
            0
        } else {
            self.outgoing_ack()
        };
        segment.flags = flags;
        segment.options = options.to_vec();
        segment.payload = payload.to_vec();
        segment
    }

    /// What is acknowledged: W, or L once the subject has closed and the peer plays the
    /// original.
    pub fn outgoing_ack(&self) -> u32 {
        if self.ended && self.offer.like_the_original {
            self.expected.wrapping_sub(self.overhead_in)
        } else {
            self.expected
        }
    }

    /// Sends a segment and counts it as sent.
    pub fn send(&mut self, flags: u8, options: &[u8], payload: &[u8]) -> Segment {
        let segment = self.segment(flags, options, payload);
        self.wire.send(&segment);
        self.next = segment.end();
        segment
    }

    /// The SYN's ENO option for the offer.
    pub fn syn_option(&self) -> Vec<u8> {
        let mut suboptions = self.offer.teps.clone();
        if let Some(resume) = &self.offer.resume {
            suboptions.extend(&resume.id[..10]);
        }
        eno(&suboptions)
    }

    fn syn_options(option: &[u8]) -> Vec<u8> {
        [&[2, 4, 0x05, 0xb4], option].concat()
    }

    /// Sends the SYN with this ENO option and waits for the SYN-ACK.
    pub fn exchange_syns(&mut self, option: &[u8]) -> Option<Segment> {
        self.options[0] = option.to_vec();
        self.send(SYN, &Self::syn_options(option), &[]);
        let port = self.local.port();
        let remote = self.remote;
        let answer = self
            .wire
            .wait(port, SOON, |s| s.source == remote && s.has(SYN | ACK))?;
        self.expected = answer.end();
        self.acknowledged = answer.ack;
        self.options[1] = answer.eno().map(<[u8]>::to_vec).unwrap_or_default();
        Some(answer)
    }

    /// Opens a connection as the client; panics when the subject does not play by the rules.
    pub fn open(wire: &'w mut Wire, port: u16, remote: SocketAddr, offer: Offer) -> Session<'w> {
        let mut session = Session::new(wire, port, remote, true, offer);
        let option = session.syn_option();
        let answer = session.exchange_syns(&option).expect("a SYN-ACK");
        let list = answer
            .eno()
            .and_then(|o| o.get(4..))
            .unwrap_or_default()
            .to_vec();
        let chosen = *list
            .last()
            .unwrap_or_else(|| panic!("no ENO in {answer:?}"));
        if chosen & RESUMED != 0 {
            let resume = session
                .offer
                .resume
                .clone()
                .expect("a resumption was offered");
            assert_eq!(chosen, resume.id[0], "resumed with another TEP");
            session.start(resume);
            session.send(ACK, &[], &[]);
            return session;
        }
        let chosen = list[0];
        assert!(
            session.offer.teps.contains(&chosen),
            "TEP {chosen:#x} was not offered"
        );
        let pair = KeyPair::new(chosen);
        let nonce = nonce();
        let first = keys::init1(&session.offer.ciphers, &nonce, &pair.field());
        session.send(ACK, &[0xfd, 4, 0x45, 0x4e], &first);
        let second = session.receive_message().expect("INIT2");
        let (cipher, field) = keys::read_init2(&second);
        assert!(
            session.offer.ciphers.contains(&cipher),
            "cipher {cipher} was not offered"
        );
        session.finish(
            chosen,
            cipher,
            &nonce,
            [&first, &second],
            &pair.agree(&field),
        );
        session.acknowledge();
        session
    }

    /// Waits for a connection of the subject to `port` and accepts it; panics when the
    /// subject does not play by the rules.
    pub fn accept(wire: &'w mut Wire, port: u16, offer: Offer) -> Session<'w> {
        let mut session = Session::listen(wire, port, offer);
        let list = session.options[0].get(4..).unwrap_or_default().to_vec();
        let wanted = session.offer.resume.clone();
        let name = wanted.as_ref().map(|w| w.id[..10].to_vec());
        if name.is_some_and(|name| list.ends_with(&name)) {
            let resume = wanted.expect("it was there");
            session.answer_syn(&eno(&[resume.id[0]]));
            session.await_ack();
            session.start(resume);
            return session;
        }
        let chosen = list
            .iter()
            .copied()
            .find(|t| session.offer.teps.contains(t));
        let chosen = chosen.unwrap_or_else(|| panic!("no TEP in {list:02x?}"));
        session.answer_syn(&eno(&[chosen]));
        let first = session.receive_message().expect("INIT1");
        let (ciphers, nonce_c, field) = keys::read_init1(&first);
        let cipher = ciphers
            .into_iter()
            .find(|c| session.offer.ciphers.contains(c));
        let cipher = cipher.expect("a common cipher");
        let pair = KeyPair::new(chosen);
        let second = keys::init2(cipher, &nonce(), &pair.field());
        session.send(ACK, &[], &second);
        session.finish(
            chosen,
            cipher,
            &nonce_c,
            [&first, &second],
            &pair.agree(&field),
        );
        session
    }

    /// Waits for a SYN to `port`.
    pub fn listen(wire: &'w mut Wire, port: u16, offer: Offer) -> Session<'w> {
        let syn = wire
            .wait(port, SOON, |s| s.has(SYN) && !s.has(ACK))
            .expect("a SYN");
        let mut session = Session::new(wire, port, syn.source, false, offer);
        session.expected = syn.end();
        session.options[0] = syn.eno().map(<[u8]>::to_vec).unwrap_or_default();
        session
    }

    /// Sends the SYN-ACK with this ENO option.
    pub fn answer_syn(&mut self, option: &[u8]) {
        self.options[1] = option.to_vec();
        self.send(SYN | ACK, &Self::syn_options(option), &[]);
    }

    /// Waits until everything sent so far is acknowledged; false when that does not happen.
    pub fn await_ack(&mut self) -> bool {
        let end = Instant::now() + SOON;
        while self.acknowledged != self.next && Instant::now() < end && !self.reset {
            self.pump(RETRY);
        }
        self.acknowledged == self.next
    }

    /// The first payload of the subject, INIT1 or INIT2, which must be one whole segment.
    pub fn receive_message(&mut self) -> Option<Vec<u8>> {
        let end = Instant::now() + SOON;
        while self.stream.is_empty() {
            if Instant::now() > end || self.reset || self.ended {
                return None;
            }
            self.pump(RETRY);
        }
        Some(std::mem::take(&mut self.stream))
    }

    fn finish(&mut self, tep: u8, cipher: u8, nonce: &[u8; 32], messages: [&[u8]; 2], es: &[u8]) {
        let options = [self.options[0].as_slice(), self.options[1].as_slice()];
        let secrets = Secrets::exchanged(tep, cipher, options, nonce, messages, es);
        self.start(secrets);
    }

    /// Encrypts from here on.
    pub fn start(&mut self, secrets: Secrets) {
        self.secrets = Some(secrets);
        self.base_out = self.next;
        self.base_in = self.expected;
    }

    /// Sends a pure acknowledgement.
    pub fn acknowledge(&mut self) {
        let segment = self.segment(ACK, &[], &[]);
        self.wire.send(&segment);
    }

    /// A sealed record for the next number of this end.
    pub fn record(&self, fin: bool, data: &[u8]) -> Vec<u8> {
        let offset = u64::from(self.next.wrapping_sub(self.base_out));
        self.record_at(offset, fin, data)
    }

    /// A sealed record for any offset.
    pub fn record_at(&self, offset: u64, fin: bool, data: &[u8]) -> Vec<u8> {
        let secrets = self.secrets.as_ref().expect("the keys");
        secrets.seal(self.client, offset, fin, None, data)
    }

    /// Sends data as one record in one segment and waits for its acknowledgement, with
    /// retransmissions; false when there is none.
    pub fn say(&mut self, data: &[u8]) -> bool {
        let record = self.record(false, data);
        self.overhead_out += u32::try_from(record.len() - data.len()).expect("few bytes");
        self.deliver(ACK, &record)
    }

    /// Sends a payload until it is acknowledged.
    pub fn deliver(&mut self, flags: u8, payload: &[u8]) -> bool {
        let mut segment = self.send(flags, &[], payload);
        let end = Instant::now() + SOON;
        loop {
            let retry = Instant::now() + RETRY;
            while Instant::now() < retry {
                self.pump(Duration::from_millis(20));
                if self.acknowledged == self.next {
                    return true;
                }
            }
            if Instant::now() > end || self.reset {
                return false;
            }
            segment.ack = self.outgoing_ack();
            self.wire.send(&segment);
        }
    }

    /// Closes this end with a bare FIN; true when it is acknowledged, by W or by L.
    pub fn close(&mut self) -> bool {
        let fin = self.send(ACK | FIN, &[], &[]);
        let short = self.next.wrapping_sub(self.overhead_out);
        let end = Instant::now() + SOON;
        while Instant::now() < end && !self.reset {
            self.pump(RETRY);
            if self.acknowledgements.contains(&self.next) || self.acknowledgements.contains(&short)
            {
                return true;
            }
            let mut again = fin.clone();
            again.ack = self.outgoing_ack();
            self.wire.send(&again);
        }
        false
    }

    /// Reads until `length` bytes of data were opened or the subject has ended.
    pub fn hear(&mut self, length: usize) -> Vec<u8> {
        let end = Instant::now() + SOON;
        while self.data.len() < length && !self.ended && !self.reset && Instant::now() < end {
            self.pump(RETRY);
        }
        std::mem::take(&mut self.data)
    }

    /// Reads until the subject has closed or reset; true when it has.
    pub fn hear_the_end(&mut self) -> bool {
        let end = Instant::now() + SOON;
        while !self.ended && !self.reset && Instant::now() < end {
            self.pump(RETRY);
        }
        self.ended || self.reset
    }

    /// Reads for a while, whatever comes.
    pub fn idle(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.pump(Duration::from_millis(20));
        }
    }

    /// Takes in at most one segment.
    pub fn pump(&mut self, limit: Duration) {
        let (port, remote) = (self.local.port(), self.remote);
        let Some(s) = self.wire.wait(port, limit, |s| s.source == remote) else {
            return;
        };
        self.take(&s);
    }

    /// Takes in one segment.
    pub fn take(&mut self, s: &Segment) {
        if s.has(RST) {
            self.reset = true;
            return;
        }
        if s.has(ACK) {
            self.acknowledgements.push(s.ack);
            let ahead = s.ack.wrapping_sub(self.acknowledged);
            if ahead <= self.next.wrapping_sub(self.acknowledged) {
                self.acknowledged = s.ack;
            }
        }
        if s.length() == 0 || s.has(SYN) {
            return;
        }
        if s.seq == self.expected {
            self.expected = s.end();
            self.take_payload(&s.payload);
            self.ended |= s.has(FIN);
        }
        if self.acknowledging {
            self.acknowledge();
        }
    }

    fn take_payload(&mut self, payload: &[u8]) {
        if self.secrets.is_some() && !payload.is_empty() {
            let length = payload
                .get(1..3)
                .map_or(0, |l| u16::from_be_bytes([l[0], l[1]]));
            if payload[0] != 0 || usize::from(length) + 3 != payload.len() {
                self.not_records.push(payload.to_vec());
            }
        }
        self.stream.extend(payload);
        let Some(secrets) = self.secrets.clone() else {
            return;
        };
        loop {
            let Some(length) = self.stream.get(1..3) else {
                return;
            };
            let length = usize::from(u16::from_be_bytes([length[0], length[1]])) + 3;
            let Some(record) = self.stream.get(..length) else {
                return;
            };
            let received = u64::from(self.expected.wrapping_sub(self.base_in));
            let offset = received - self.stream.len() as u64;
            let (_, data) = secrets
                .open(!self.client, offset, record)
                .unwrap_or_else(|| panic!("a record of {length} at {offset} is not authentic"));
            self.overhead_in += u32::try_from(length - data.len()).expect("few bytes");
            self.records.push(length);
            self.data.extend(data);
            self.stream.drain(..length);
        }
    }
}
