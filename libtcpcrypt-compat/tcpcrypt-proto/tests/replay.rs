//! The original's recorded sessions played through an [`Endpoint`] in place of either daemon, with the
//! private keys and nonces of the recording.
//!
//! What came from the wire is given to it as it was. What the local kernel sent is not in the captures,
//! only what the original made of it; so the kernel's packets are made again, by taking the ENO option, the
//! INIT message and the record away and moving the numbers back. Then what comes out is compared.
//!
//! The packets must be the original's to the last octet, to the acknowledgements behind a FIN with their
//! numbers that go back (spec 5.1), but for these differences, which are meant:
//! * Packets that the daemon makes itself (INIT2 and its acknowledgement) have the IP id 0, which the kernel
//!   replaces. In redirect mode the original leaves them to its kernel, which also sets PSH on INIT1.
//! * Behind the peer's FIN one more acknowledgement, with the true number, for peers that need that one.
//! * When INIT2 is sent again: the original in redirect mode leaves that to its kernel, which waits 200 ms; we
//!   wait 100 ms.
//!
//! SACK is off in what the divert mode recorded, because the original takes it out of the SYNs on both sides;
//! a kernel of ours would have it. In redirect mode it stays in the SYNs, here too.

mod recorded;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

use kx_crypto::aead::Algorithm;
use kx_crypto::ecdh::{self, Curve, PrivateKey};
use kx_crypto::random::Unavailable;
use serde_json::Value;
use tcpcrypt_control::{Datagram, Header, OptionName};
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::endpoint::{ClientId, Endpoint};
use tcpcrypt_proto::eno::{EnoOption, Tep};
use tcpcrypt_proto::entropy::Entropy;
use tcpcrypt_proto::legacy::keys::Role;
use tcpcrypt_proto::verdict::{Direction, Verdict};

use recorded::{ACK, PSH, SYN, Segment, json, octets, ones_complement, pcap, segment, tcp_sum};

/// What INIT1 begins with (spec 4.2).
const INIT1_MAGIC: [u8; 4] = [0x15, 0x10, 0x1a, 0x0e];

/// The keys and nonces of one end, in the order of the connections.
#[derive(Default)]
struct Recorded {
    keys: VecDeque<Vec<u8>>,
    nonces: VecDeque<[u8; 32]>,
    others: u8,
}

impl Recorded {
    fn new(connections: &[Value], role: Role) -> Self {
        let (key, nonce) = match role {
            Role::Client => ("priv_c", "nonce_c"),
            Role::Server => ("priv_s", "nonce_s"),
        };
        let full = || connections.iter().filter(|c| c["resumed"] == false);
        Self {
            keys: full().map(|c| octets(c, key)).collect(),
            nonces: full()
                .map(|c| octets(c, nonce).try_into().unwrap())
                .collect(),
            others: 0,
        }
    }
}

impl Entropy for Recorded {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        if out.len() == 32 {
            out.copy_from_slice(&self.nonces.pop_front().ok_or(Unavailable)?);
        } else {
            self.others = self.others.wrapping_add(1);
            out.fill(self.others);
        }
        Ok(())
    }

    fn private_key(&mut self, curve: Curve) -> Result<PrivateKey, ecdh::Error> {
        let key = self.keys.pop_front().ok_or(ecdh::Error::Library)?;
        PrivateKey::from_scalar(curve, &key)
    }
}

/// What one end of a connection sends.
struct Sent {
    isn: u32,
    /// Octets of the INIT message, 0 in a resumed session.
    init_len: u32,
    /// Offset behind the INIT message, octets on the wire, data.
    records: Vec<(u32, u32, Vec<u8>)>,
    /// All that is on the wire behind the SYN.
    wire: Vec<u8>,
    plain: Vec<u8>,
}

impl Sent {
    fn new(connection: &Value, isn: u32, init: &str, direction: &str) -> Self {
        let mut wire = match connection["resumed"].as_bool().unwrap() {
            true => Vec::new(),
            false => octets(connection, init),
        };
        let init_len = u32::try_from(wire.len()).unwrap();
        let mut records = Vec::new();
        let mut plain = Vec::new();
        for frame in connection[direction]["frames"].as_array().unwrap() {
            let (record, data) = (octets(frame, "frame"), octets(frame, "data"));
            let offset = u32::try_from(wire.len()).unwrap() - init_len;
            assert_eq!(frame["offset"], offset);
            wire.extend_from_slice(&record);
            plain.extend_from_slice(&data);
            records.push((offset, u32::try_from(record.len()).unwrap(), data));
        }
        Self {
            isn,
            init_len,
            records,
            wire,
            plain,
        }
    }

    /// The number in the kernel's space for one on the wire, which must be the end of a record.
    fn plain_number(&self, wire: u32) -> u32 {
        let first = self.isn.wrapping_add(1);
        let at = wire.wrapping_sub(first);
        let plain_len = u32::try_from(self.plain.len()).unwrap();
        let behind_fin = first.wrapping_add(plain_len).wrapping_add(1);
        if at <= self.init_len {
            return first;
        }
        let wire_len = u32::try_from(self.wire.len()).unwrap();
        // The second is the original's way to say the same.
        if at == wire_len + 1 || at == self.init_len + plain_len + 1 {
            return behind_fin;
        }
        let mut plain = 0;
        for (offset, len, data) in &self.records {
            plain += u32::try_from(data.len()).unwrap();
            if at == self.init_len + offset + len {
                return first.wrapping_add(plain);
            }
        }
        panic!("{at} is not the end of a record");
    }

    /// The data of the record at this number on the wire.
    fn data_at(&self, wire: u32, len: usize) -> &[u8] {
        let at = wire.wrapping_sub(self.isn).wrapping_sub(1);
        if at < self.init_len {
            return &[];
        }
        let record = self
            .records
            .iter()
            .find(|(offset, record_len, _)| {
                self.init_len + offset == at && *record_len as usize == len
            })
            .expect("a whole record");
        &record.2
    }
}

/// The recording of one connection, from the client's or the server's side.
struct Connection<'a> {
    json: &'a Value,
    local: SocketAddr,
    remote: SocketAddr,
    ours: Sent,
    theirs: Sent,
}

impl<'a> Connection<'a> {
    fn new(json: &'a Value, role: Role, packets: &[recorded::Captured]) -> Self {
        let address = |field: &str| json[field].as_str().unwrap().parse().unwrap();
        let (client, server): (SocketAddr, SocketAddr) = (address("client"), address("server"));
        let isn = |source| {
            packets
                .iter()
                .map(|packet| segment(&packet.ip))
                .find(|segment| {
                    let addresses = [segment.source, segment.destination];
                    segment.flags & SYN != 0
                        && segment.source == source
                        && addresses.contains(&client)
                })
                .map(|segment| segment.seq)
                .expect("a SYN")
        };
        let from_client = Sent::new(json, isn(client), "init1", "c2s");
        let from_server = Sent::new(json, isn(server), "init2", "s2c");
        match role {
            Role::Client => Self {
                json,
                local: client,
                remote: server,
                ours: from_client,
                theirs: from_server,
            },
            Role::Server => Self {
                json,
                local: server,
                remote: client,
                ours: from_server,
                theirs: from_client,
            },
        }
    }

    fn is_ours(&self, segment: &Segment<'_>) -> bool {
        let ends = [segment.source, segment.destination];
        ends.contains(&self.local) && ends.contains(&self.remote)
    }

    /// What the local kernel must have sent, for the original to make `ip` of it. `None` when the original's
    /// daemon sent it of its own.
    fn kernel_packet(&self, ip: &[u8]) -> Option<Vec<u8>> {
        let recorded = segment(ip);
        let start = self.ours.isn.wrapping_add(1);
        let at = recorded.seq.wrapping_sub(start);
        if recorded.flags & SYN != 0 {
            return Some(rebuilt(ip, recorded.seq, recorded.ack, &[]));
        }
        let init2 = self.local == address(self.json, "server") && at < self.ours.init_len;
        let acked = recorded.ack.wrapping_sub(self.theirs.isn).wrapping_sub(1);
        let acks_init = self.theirs.init_len > 0
            && acked == self.theirs.init_len
            && recorded.payload.is_empty()
            && at <= self.ours.init_len;
        if init2 || acks_init {
            return None;
        }
        let data = match recorded.payload.len() {
            0 => &[],
            len => self.ours.data_at(recorded.seq, len),
        };
        let seq = self.ours.plain_number(recorded.seq);
        let ack = self.theirs.plain_number(recorded.ack);
        Some(rebuilt(ip, seq, ack, data))
    }
}

fn address(connection: &Value, field: &str) -> SocketAddr {
    connection[field].as_str().unwrap().parse().unwrap()
}

/// The packet without ENO option, with other numbers and other data.
fn rebuilt(ip: &[u8], seq: u32, ack: u32, data: &[u8]) -> Vec<u8> {
    let recorded = segment(ip);
    let mut options = recorded.options.to_vec();
    if let Some(eno) = EnoOption::find(&options).unwrap() {
        let eno = eno.as_bytes();
        let at = options
            .windows(eno.len())
            .position(|window| window == eno)
            .unwrap();
        // It stands last, with zeros behind.
        assert!(options[at + eno.len()..].iter().all(|octet| *octet == 0));
        options.truncate(at);
        assert_eq!(at % 4, 0);
    }
    assert_eq!(ip[0], 0x45);
    let mut packet = ip[..40].to_vec();
    packet.extend_from_slice(&options);
    packet.extend_from_slice(data);
    let total = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[24..28].copy_from_slice(&seq.to_be_bytes());
    packet[28..32].copy_from_slice(&ack.to_be_bytes());
    packet[32] = (u8::try_from(20 + options.len()).unwrap() / 4) << 4;
    let sum = !ones_complement(&[], &[&packet[..10], &[0, 0], &packet[12..20]].concat());
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet[36..38].fill(0);
    let sum = !tcp_sum(&packet);
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// What came out of an endpoint.
#[derive(Default)]
struct Played {
    /// Onto the wire; beside it the recorded packet that it stands for, if any.
    wire: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// To the local kernel.
    kernel: Vec<Vec<u8>>,
    /// Session ids by local and remote end, as the control socket says.
    ids: BTreeMap<(SocketAddr, SocketAddr), Vec<u8>>,
}

/// The recording's hosts were configured so.
fn config(name: &str) -> Config {
    let mut config = Config::default();
    match name {
        "divert-p521" => config.prefer = Some(Tep::P521),
        "divert-p256-aes256" => config.ciphers = [Algorithm::Aes256Gcm, Algorithm::Aes128Gcm],
        _ => {}
    }
    config
}

fn play(name: &str, role: Role, connections: &[Connection<'_>]) -> Played {
    let recording = json(name);
    let entropy = Recorded::new(recording.as_array().unwrap(), role);
    let start = Instant::now();
    let mut endpoint = Endpoint::new(config(name), Box::new(entropy), start);
    let mut played = Played::default();
    let mut out = Vec::new();
    for packet in pcap(&format!("{name}.pcap")) {
        let now = start + packet.at;
        while let Some(due) = endpoint.poll_timeout().filter(|due| *due <= now) {
            endpoint.handle_timeout(due);
            inject(&mut endpoint, &mut played);
        }
        let recorded = segment(&packet.ip);
        let connection = connections
            .iter()
            .find(|connection| connection.is_ours(&recorded))
            .expect("a known connection");
        out.clear();
        if recorded.source == connection.local {
            let Some(kernel) = connection.kernel_packet(&packet.ip) else {
                continue;
            };
            match endpoint.handle_packet(now, Direction::Out, &kernel, &mut out) {
                Verdict::Accept => played.wire.push((kernel, Some(packet.ip))),
                Verdict::Replace => played.wire.push((out.clone(), Some(packet.ip))),
                Verdict::Drop => panic!("{name} {role:?}: a packet of the kernel is dropped"),
            }
        } else {
            match endpoint.handle_packet(now, Direction::In, &packet.ip, &mut out) {
                Verdict::Accept => played.kernel.push(packet.ip),
                Verdict::Replace => played.kernel.push(out.clone()),
                Verdict::Drop => {}
            }
        }
        inject(&mut endpoint, &mut played);
        ask_for_session_id(&mut endpoint, now, connection, &mut played);
    }
    played
}

/// Asks the control socket for the connection's id. The answer may come with that to a later question.
fn ask_for_session_id(
    endpoint: &mut Endpoint,
    now: Instant,
    connection: &Connection<'_>,
    played: &mut Played,
) {
    let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (connection.local, connection.remote)
    else {
        panic!("IPv4");
    };
    let request = Header::request(7, local, remote, OptionName::SessionId.number());
    let mut datagram = Vec::new();
    Datagram::write(&request, &[0; 64], &mut datagram);
    endpoint.handle_control(now, ClientId(1), &datagram);
    let mut reply = Vec::new();
    while endpoint.poll_control(&mut reply).is_some() {
        let answer = Datagram::parse(&reply).unwrap();
        if answer.header.error == 0 {
            let header = answer.header;
            let ends = (header.local.into(), header.remote.into());
            let before = played.ids.insert(ends, answer.data.to_vec());
            assert!(before.is_none_or(|before| before == answer.data));
        }
        reply.clear();
    }
}

fn inject(endpoint: &mut Endpoint, played: &mut Played) {
    let mut out = Vec::new();
    while let Some(direction) = endpoint.poll_transmit(&mut out) {
        let packet = std::mem::take(&mut out);
        match direction {
            Direction::Out => played.wire.push((packet, None)),
            Direction::In => played.kernel.push(packet),
        }
    }
}

/// The octets that packets with payload say stand behind the SYN; they must not contradict each other.
fn stream<'p>(isn: u32, packets: impl Iterator<Item = &'p Vec<u8>>) -> Vec<u8> {
    let mut octets: Vec<Option<u8>> = Vec::new();
    for packet in packets {
        let segment = segment(packet);
        let at = segment.seq.wrapping_sub(isn).wrapping_sub(1);
        // An octet in the place of the SYN is one that only asks for an acknowledgement, as in keep-alives.
        if segment.payload.is_empty() || at == u32::MAX && segment.payload.len() == 1 {
            continue;
        }
        let at = at as usize;
        assert!(at < 1 << 16, "data {at} behind the SYN");
        for (at, octet) in (at..).zip(segment.payload) {
            if octets.len() <= at {
                octets.resize(at + 1, None);
            }
            assert!(octets[at].is_none_or(|before| before == *octet));
            octets[at] = Some(*octet);
        }
    }
    octets
        .into_iter()
        .map(|octet| octet.expect("no hole"))
        .collect()
}

/// A packet that the kernel did not cause: INIT2, what acknowledges it, or the second acknowledgement behind
/// a FIN.
fn made_by_us(connection: &Connection<'_>, packet: &[u8], context: &str) {
    let produced = segment(packet);
    assert_eq!((&packet[4..6], packet[8]), (&[0, 0][..], 128), "{context}");
    assert_eq!(produced.flags, ACK, "{context}");
    let sent = produced.seq.wrapping_sub(connection.ours.isn) - 1;
    let acked = produced.ack.wrapping_sub(connection.theirs.isn) - 1;
    let behind_fin = |of: &Sent| u32::try_from(of.wire.len()).unwrap() + 1;
    let ends = (behind_fin(&connection.ours), behind_fin(&connection.theirs));
    let inits = (connection.ours.init_len, connection.theirs.init_len);
    let is_server = connection.local == address(connection.json, "server");
    if is_server && !produced.payload.is_empty() {
        assert_eq!((sent, acked), (0, inits.1), "{context}");
        let init2 = octets(connection.json, "init2");
        assert_same(produced.payload, &init2, context);
    } else {
        assert!(produced.payload.is_empty(), "{context}");
        let due = if is_server { ends } else { inits };
        assert!(
            [due, ends].contains(&(sent, acked)),
            "{context}: {sent} {acked}"
        );
    }
    // The original's have no options; behind a FIN the peer's kernel may want timestamps.
    assert!(
        produced.options.is_empty() || (sent, acked) == ends,
        "{context}"
    );
}

/// `assert_eq` that shows where octets begin to differ, not all of them.
fn assert_same(produced: &[u8], recorded: &[u8], context: &str) {
    let mut recorded = recorded.to_vec();
    let may_be_cut = produced.len() > 1280 && produced[0] >> 4 == 4 && produced[6] & 0x40 == 0;
    if may_be_cut && produced.len() == recorded.len() {
        // Routers may cut long packets for what may be the original: no DF, and a number.
        recorded[4..8].copy_from_slice(&produced[4..8]);
        recorded[10..12].copy_from_slice(&produced[10..12]);
    }
    let recorded = &recorded[..];
    let same = produced.iter().zip(recorded).take_while(|(a, b)| a == b);
    let same = same.count();
    let rest = |octets: &[u8]| -> String {
        let rest = octets.iter().skip(same).take(24);
        rest.map(|octet| format!("{octet:02x}")).collect()
    };
    assert!(
        produced == recorded,
        "{context}: {} octets produced, {} recorded, from {same} on {} against {}",
        produced.len(),
        recorded.len(),
        rest(produced),
        rest(recorded)
    );
}

fn check(name: &str, role: Role, connection: &Connection<'_>, played: &Played) {
    let ours = |packet: &&Vec<u8>| connection.is_ours(&segment(packet));
    let wire = || played.wire.iter().map(|(packet, _)| packet).filter(ours);
    let kernel = || played.kernel.iter().filter(ours);
    let context = format!("{name} {role:?} {}", connection.local);
    for packet in wire().chain(kernel()) {
        assert_eq!(tcp_sum(packet), 0xffff, "{context}: TCP checksum");
        assert_eq!(
            ones_complement(&[], &packet[..20]),
            0xffff,
            "{context}: IP checksum"
        );
    }

    // All that goes onto the wire, and all that the local program gets.
    let produced = stream(connection.ours.isn, wire());
    assert_same(
        &produced,
        &connection.ours.wire,
        &format!("{context}, wire"),
    );
    let delivered = stream(connection.theirs.isn, kernel());
    assert_same(
        &delivered,
        &connection.theirs.plain,
        &format!("{context}, kernel"),
    );
    let ends = (connection.local, connection.remote);
    let id = octets(connection.json, "session_id");
    assert_eq!(played.ids.get(&ends), Some(&id), "{context}");

    // Packet by packet.
    let mut same = 0;
    for (packet, recorded) in &played.wire {
        let produced = segment(packet);
        if !connection.is_ours(&produced) {
            continue;
        }
        let Some(recorded) = recorded else {
            made_by_us(connection, packet, &context);
            continue;
        };
        let mut recorded = recorded.clone();
        if segment(&recorded).payload.starts_with(&INIT1_MAGIC) {
            // The program in redirect mode writes it, so its kernel pushes.
            let pushed = recorded[33] & PSH != 0;
            assert!(!pushed || name == "redirect-p256");
            assert_eq!(produced.flags & PSH, 0);
            recorded[33] &= !PSH;
            recorded[36..38].copy_from_slice(&packet[36..38]);
        }
        assert_same(packet, &recorded, &format!("{context}, packet {same}"));
        same += 1;
    }
    // SYN or SYN-ACK, and all segments with data.
    let least = 1 + connection.ours.records.len();
    assert!(same >= least, "{context}: only {same} packets");
}

fn replay(name: &str) {
    let recording = json(name);
    let packets = pcap(&format!("{name}.pcap"));
    for role in [Role::Client, Role::Server] {
        let connections: Vec<_> = recording
            .as_array()
            .unwrap()
            .iter()
            .map(|json| Connection::new(json, role, &packets))
            .collect();
        let played = play(name, role, &connections);
        for connection in &connections {
            check(name, role, connection, &played);
        }
    }
}

#[test]
fn p256() {
    replay("divert-p256");
}

#[test]
fn p256_with_aes256() {
    replay("divert-p256-aes256");
}

#[test]
fn p521() {
    replay("divert-p521");
}

#[test]
fn redirected() {
    replay("redirect-p256");
}

/// A peer without tcpcrypt: the SYN is the original's, and everything behind it passes as it is.
#[test]
fn plain_peer() {
    let packets = pcap("fallback-plain.pcap");
    let client = segment(&packets[0].ip).source;
    let now = Instant::now();
    let mut endpoint = Endpoint::new(Config::default(), Box::new(Recorded::default()), now);
    for (number, packet) in packets.iter().enumerate() {
        let now = now + packet.at;
        let mut out = Vec::new();
        let recorded = segment(&packet.ip);
        if number == 0 {
            let kernel = rebuilt(&packet.ip, recorded.seq, 0, &[]);
            let verdict = endpoint.handle_packet(now, Direction::Out, &kernel, &mut out);
            assert_eq!(verdict, Verdict::Replace);
            assert_same(&out, &packet.ip, "SYN");
        } else if recorded.source == client {
            let verdict = endpoint.handle_packet(now, Direction::Out, &packet.ip, &mut out);
            assert_eq!(verdict, Verdict::Accept, "packet {number}");
        } else {
            let verdict = endpoint.handle_packet(now, Direction::In, &packet.ip, &mut out);
            // The original lowers the MSS in the SYN-ACK of a plain peer also.
            let lowered = verdict == Verdict::Replace && recorded.flags & SYN != 0;
            assert!(verdict == Verdict::Accept || lowered, "packet {number}");
        }
        assert_eq!(endpoint.poll_transmit(&mut out), None);
    }
}

/// The SYN of an application that asked to know.
#[test]
fn application_aware() {
    let packets = pcap("app-support.pcap");
    let syn = segment(&packets[0].ip);
    let now = Instant::now();
    let mut endpoint = Endpoint::new(Config::default(), Box::new(Recorded::default()), now);
    let SocketAddr::V4(local) = syn.source else {
        panic!("IPv4");
    };
    let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    let mut request = Header::request(1, local, nobody, OptionName::AppSupport.number());
    request.flags = tcpcrypt_control::SET;
    let mut datagram = Vec::new();
    Datagram::write(&request, &1u32.to_ne_bytes(), &mut datagram);
    endpoint.handle_control(now, ClientId(1), &datagram);
    let mut reply = Vec::new();
    assert_eq!(endpoint.poll_control(&mut reply), Some(ClientId(1)));
    assert_eq!(Datagram::parse(&reply).unwrap().header.error, 0);
    let kernel = rebuilt(&packets[0].ip, syn.seq, 0, &[]);
    let mut out = Vec::new();
    let verdict = endpoint.handle_packet(now, Direction::Out, &kernel, &mut out);
    assert_eq!(verdict, Verdict::Replace);
    assert_same(&out, &packets[0].ip, "SYN");
}
