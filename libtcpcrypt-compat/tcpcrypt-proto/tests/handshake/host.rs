//! Hosts for the tests: an endpoint each, and packets made by hand in place of the local TCP's.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use tcpcrypt_control::{Datagram, Header, OptionName, netstat, wide};
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::endpoint::{ClientId, Endpoint};
use tcpcrypt_proto::eno::EnoOption;
use tcpcrypt_proto::entropy::System;
use tcpcrypt_proto::packet::{Direction, Flags, FourTuple, Fresh, OptionBuf, Seq, View};
use tcpcrypt_proto::verdict::Verdict;

pub(crate) const SYN: Flags = Flags::SYN;
pub(crate) const ACK: Flags = Flags::ACK;
pub(crate) const RST: Flags = Flags::RST;
pub(crate) const FIN: Flags = Flags::FIN;

/// First numbers of the two ends.
pub(crate) const CLIENT_ISN: u32 = 0xffff_ff80;
pub(crate) const SERVER_ISN: u32 = 5000;

/// The options of a Linux SYN: MSS 1460, SACK permitted, timestamps, NOP, window scale 10.
pub(crate) const LINUX: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 10,
];
/// Timestamps behind the SYNs.
pub(crate) const STAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 1];
/// The option of the third segment.
pub(crate) const BARE: [u8; 4] = [0xfd, 4, 0x45, 0x4e];

/// The program whose name ends so is the other one, over IPv6.
fn is_ipv6() -> bool {
    env!("CARGO_CRATE_NAME").ends_with("_ipv6")
}

/// What the local TCP sees of an MSS option that is too large or missing, over Ethernet.
pub(crate) fn lowered_mss(timestamps: bool) -> u16 {
    match (is_ipv6(), timestamps) {
        (false, true) => 1433,
        (false, false) => 1421,
        (true, true) => 1403,
        (true, false) => 1400,
    }
}

/// A segment, as one end sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    pub(crate) fn read(packet: &[u8]) -> Self {
        let view = View::parse(packet).expect("a packet");
        let ends = view.tuple(Direction::Out);
        Self {
            from: ends.local,
            to: ends.remote,
            seq: view.seq().0,
            ack: view.ack().0,
            flags: view.flags(),
            window: view.window(),
            options: view.options().to_vec(),
            payload: view.payload().to_vec(),
        }
    }

    pub(crate) fn packet(&self) -> Vec<u8> {
        let tuple = FourTuple {
            local: self.from,
            remote: self.to,
        };
        let mut fresh = Fresh::new(tuple, Direction::Out);
        fresh.seq = Seq(self.seq);
        fresh.ack = Seq(self.ack);
        fresh.flags = self.flags;
        fresh.window = self.window;
        fresh.options = OptionBuf::from_header(&self.options);
        let mut packet = Vec::new();
        assert!(fresh.write(&[&self.payload], &mut packet));
        packet
    }

    pub(crate) fn eno(&self) -> Option<EnoOption> {
        EnoOption::find_any(&self.options).expect("one option at most")
    }

    /// The octets of the ENO option.
    pub(crate) fn eno_bytes(&self) -> Option<Vec<u8>> {
        self.eno().map(|eno| eno.as_bytes().to_vec())
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// As a middlebox leaves it that does not know the option.
    pub(crate) fn stripped(mut self) -> Self {
        let mut options = OptionBuf::from_header(&self.options);
        options.blank(253);
        options.blank(69);
        self.options = options.as_slice().to_vec();
        self
    }
}

/// A host, and one connection of it.
pub(crate) struct Host {
    pub(crate) endpoint: Endpoint,
    pub(crate) now: Instant,
    pub(crate) own: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// What it sent by itself.
    pub(crate) injected: Vec<(Direction, Segment)>,
}

impl Host {
    pub(crate) fn new(config: Config, own: &str, peer: &str) -> Self {
        let now = Instant::now();
        Self {
            endpoint: Endpoint::new(config, Box::new(System::default()), now),
            now,
            own: own.parse().unwrap(),
            peer: peer.parse().unwrap(),
            injected: Vec::new(),
        }
    }

    /// A segment of the local TCP.
    pub(crate) fn says(&self, flags: Flags, seq: u32, ack: u32) -> Segment {
        Segment {
            from: self.own,
            to: self.peer,
            seq,
            ack,
            flags,
            window: 500,
            options: STAMPS.to_vec(),
            payload: Vec::new(),
        }
    }

    pub(crate) fn syn(&self) -> Segment {
        self.says(SYN, CLIENT_ISN, 0).with(|syn| {
            syn.options = LINUX.to_vec();
            syn.window = 64240;
        })
    }

    pub(crate) fn syn_ack(&self) -> Segment {
        let ack = CLIENT_ISN.wrapping_add(1);
        self.says(SYN | ACK, SERVER_ISN, ack).with(|syn| {
            syn.options = LINUX.to_vec();
            syn.window = 65160;
        })
    }

    fn handle(&mut self, direction: Direction, segment: &Segment) -> Option<Segment> {
        let packet = segment.packet();
        let mut out = b"before".to_vec();
        let endpoint = &mut self.endpoint;
        let verdict = endpoint.handle_packet(self.now, direction, &packet, &mut out);
        assert_eq!(out[..6], *b"before");
        let result = match verdict {
            Verdict::Accept => Some(segment.clone()),
            Verdict::Replace => Some(Segment::read(&out[6..])),
            Verdict::Drop => None,
        };
        assert!(verdict == Verdict::Replace || out.len() == 6);
        self.collect();
        result
    }

    /// Onto the wire: what becomes of a segment of the local TCP.
    pub(crate) fn out(&mut self, segment: &Segment) -> Option<Segment> {
        self.handle(Direction::Out, segment)
    }

    /// From the wire: what the local TCP gets.
    pub(crate) fn get(&mut self, segment: &Segment) -> Option<Segment> {
        self.handle(Direction::In, segment)
    }

    pub(crate) fn collect(&mut self) {
        let mut packet = Vec::new();
        while let Some(direction) = self.endpoint.poll_transmit(&mut packet) {
            self.injected.push((direction, Segment::read(&packet)));
            packet.clear();
        }
    }

    /// What was sent since the last call.
    pub(crate) fn sent(&mut self) -> Vec<(Direction, Segment)> {
        // Nothing else comes.
        self.endpoint.pay_debts();
        self.collect();
        std::mem::take(&mut self.injected)
    }

    /// The one packet that was sent to the wire since the last call.
    pub(crate) fn sent_one(&mut self) -> Segment {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        let (direction, segment) = sent.remove(0);
        assert_eq!(direction, Direction::Out);
        segment
    }

    /// Lets time pass; everything that becomes due is done in time.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            self.collect();
        }
        self.now = end;
        self.endpoint.handle_timeout(end);
        self.collect();
    }

    /// The lines of the log since the last call.
    pub(crate) fn log(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.endpoint.poll_event())
            .map(|event| event.to_string())
            .collect()
    }

    pub(crate) fn ask(&mut self, client: u64, set: bool, name: OptionName, value: &[u8]) {
        let mut datagram = Vec::new();
        let flags = if set { tcpcrypt_control::SET } else { 0 };
        if let (SocketAddr::V4(own), SocketAddr::V4(peer)) = (self.own, self.peer) {
            let mut request = Header::request(7, own, peer, name.number());
            request.flags = flags;
            Datagram::write(&request, value, &mut datagram);
        } else {
            let inner = wide::Request {
                local: self.own,
                remote: self.peer,
                optname: name.number(),
                room: u32::try_from(value.len()).unwrap(),
                value: if set { value } else { &[] },
            };
            let mut octets = Vec::new();
            inner.write(&mut octets);
            let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
            let mut request = Header::request(7, nobody, nobody, OptionName::Wide.number());
            request.flags = flags;
            Datagram::write(&request, &octets, &mut datagram);
        }
        let client = ClientId(client);
        self.endpoint.handle_control(self.now, client, &datagram);
        self.collect();
    }

    pub(crate) fn answer(&mut self) -> Option<(u64, Result<Vec<u8>, i32>)> {
        let mut reply = Vec::new();
        let client = self.endpoint.poll_control(&mut reply)?;
        let reply = Datagram::parse(&reply).expect("a reply");
        let (error, value) = match reply.header.optname == OptionName::Wide.number() {
            false => (reply.header.error, reply.data),
            true => {
                assert_eq!(reply.header.error, 0);
                let inner = wide::Reply::parse(reply.data).expect("a reply within");
                (inner.error, inner.value)
            }
        };
        let result = match error {
            0 => Ok(value.to_vec()),
            error => Err(error),
        };
        Some((client.0, result))
    }

    /// A request about the connection and its answer.
    pub(crate) fn control(
        &mut self,
        set: bool,
        name: OptionName,
        value: &[u8],
    ) -> Result<Vec<u8>, i32> {
        self.ask(1, set, name, value);
        self.answer().expect("an answer").1
    }

    pub(crate) fn session_id(&mut self) -> Result<Vec<u8>, i32> {
        self.control(false, OptionName::SessionId, &[0; 64])
    }

    pub(crate) fn netstat(&mut self) -> usize {
        let list = self.control(false, OptionName::Netstat, &[0; 1200]);
        match self.own.is_ipv6() {
            false => netstat::rows(&list.unwrap()).count(),
            true => wide::rows(&list.unwrap()).count(),
        }
    }
}

/// Two hosts.
pub(crate) struct Pair {
    pub(crate) client: Host,
    pub(crate) server: Host,
}

impl Default for Pair {
    fn default() -> Self {
        Self::new(Config::default(), Config::default())
    }
}

impl Pair {
    pub(crate) fn new(client: Config, server: Config) -> Self {
        let (one, other) = match is_ipv6() {
            false => ("10.77.0.1:40000", "10.77.0.2:80"),
            true => ("[fd00::1]:40000", "[fd00::2]:80"),
        };
        Self {
            client: Host::new(client, one, other),
            server: Host::new(server, other, one),
        }
    }

    /// The next connection between the two.
    pub(crate) fn next_port(&mut self) {
        let port = self.client.own.port() + 1;
        self.client.own.set_port(port);
        self.server.peer.set_port(port);
    }

    /// SYN and SYN-ACK, as the wire has them.
    pub(crate) fn syns(&mut self) -> (Segment, Segment) {
        let syn = self.client.out(&self.client.syn()).expect("a SYN");
        self.server.get(&syn).expect("a SYN");
        let syn_ack = self.server.syn_ack();
        let syn_ack = self.server.out(&syn_ack).expect("a SYN-ACK");
        self.client.get(&syn_ack).expect("a SYN-ACK");
        (syn, syn_ack)
    }

    /// The client's TCP acknowledges the SYN-ACK.
    pub(crate) fn third(&self) -> Segment {
        let (seq, ack) = (CLIENT_ISN.wrapping_add(1), SERVER_ISN + 1);
        self.client.says(ACK, seq, ack)
    }

    /// Until the client has sent INIT1.
    pub(crate) fn init1(&mut self) -> Segment {
        self.syns();
        let third = self.third();
        self.client.out(&third).expect("INIT1")
    }

    /// Until the server has sent INIT2.
    pub(crate) fn init2(&mut self) -> Segment {
        let init1 = self.init1();
        self.server.get(&init1).expect("the third segment");
        self.server.sent_one()
    }

    /// A whole handshake.
    pub(crate) fn connect(&mut self) {
        let init2 = self.init2();
        self.client.get(&init2).expect("what opens the window");
        let ack = self.client.sent_one();
        self.server.get(&ack).expect("what opens the window");
        assert_eq!(self.server.sent(), []);
    }

    /// A whole handshake that resumes a session.
    pub(crate) fn resume(&mut self) -> (Segment, Segment) {
        let syns = self.syns();
        let third = self.third();
        let third = self.client.out(&third).expect("the third segment");
        self.server.get(&third).expect("the third segment");
        syns
    }

    /// One word each way over a connection on which nothing was said.
    pub(crate) fn talk(&mut self) {
        let (client, server) = (CLIENT_ISN.wrapping_add(1), SERVER_ISN + 1);
        let say = |from: &mut Host, to: &mut Host, seq, ack, word: &[u8]| {
            let said = from.says(ACK | Flags::PSH, seq, ack);
            let said = said.with(|segment| segment.payload = word.to_vec());
            let record = from.out(&said).expect("a record");
            assert_eq!(record.payload.len(), word.len() + 20);
            let heard = to.get(&record).expect("the word");
            assert_eq!(heard.payload, word);
            assert_eq!((heard.seq, heard.ack), (seq, ack));
        };
        say(&mut self.client, &mut self.server, client, server, b"hello");
        let ack = client.wrapping_add(5);
        say(&mut self.server, &mut self.client, server, ack, b"world");
    }

    pub(crate) fn assert_same_id(&mut self) -> Vec<u8> {
        let id = self.client.session_id().expect("an id");
        assert_eq!(self.server.session_id(), Ok(id.clone()));
        id
    }

    /// What both would do with plain data now.
    pub(crate) fn assert_plain(&mut self) {
        let seq = CLIENT_ISN.wrapping_add(1);
        let data = self.client.says(ACK, seq, SERVER_ISN + 1);
        let data = data.with(|segment| segment.payload = b"plain".to_vec());
        assert_eq!(self.client.out(&data), Some(data.clone()));
        assert_eq!(self.server.get(&data), Some(data));
        assert_eq!(self.client.sent(), []);
        assert_eq!(self.server.sent(), []);
        assert_eq!(self.client.netstat() + self.server.netstat(), 0);
    }
}

/// Resets that went to the wire and to the local TCP.
pub(crate) fn resets(sent: &[(Direction, Segment)]) -> (usize, usize) {
    let to = |wanted| {
        let resets = sent
            .iter()
            .filter(|(direction, segment)| *direction == wanted && segment.flags.has(RST));
        resets.count()
    };
    (to(Direction::Out), to(Direction::In))
}
