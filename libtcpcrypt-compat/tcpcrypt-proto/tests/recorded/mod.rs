//! The recorded sessions of the original: JSON, key logs and captures.
#![allow(dead_code, unreachable_pub)] // Each test takes what it needs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// Every recording that has a key log.
pub const NAMES: [&str; 4] = [
    "divert-p256",
    "divert-p256-aes256",
    "divert-p521",
    "redirect-p256",
];

pub fn path(name: &str) -> PathBuf {
    let root = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/tcpcrypt"
    );
    PathBuf::from(root).join(name)
}

pub fn json(name: &str) -> Value {
    let text = std::fs::read_to_string(path(&format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub fn key_log(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path(&format!("{name}.keys.jsonl"))).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn hex(text: &str) -> Vec<u8> {
    assert!(text.len() % 2 == 0);
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// The octets of a field in hex.
pub fn octets(value: &Value, field: &str) -> Vec<u8> {
    hex(value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field}")))
}

/// A captured IP packet and when it passed, counted from the first of the capture.
pub struct Captured {
    pub at: Duration,
    pub ip: Vec<u8>,
}

/// Reads a capture in the classic format, little-endian with microseconds, of Ethernet frames. What is not
/// IPv4 with TCP is left out, and padding behind the packet too.
pub fn pcap(name: &str) -> Vec<Captured> {
    let file = std::fs::read(path(name)).unwrap();
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!(word(0), 0xa1b2_c3d4, "byte order of the capture");
    assert_eq!(word(20), 1, "Ethernet");
    let mut packets = Vec::new();
    let mut first = None;
    let mut at = 24;
    while at < file.len() {
        let time = Duration::new(word(at).into(), word(at + 4) * 1000);
        let len = word(at + 8) as usize;
        assert_eq!(word(at + 8), word(at + 12), "cut off packet");
        let frame = &file[at + 16..at + 16 + len];
        at += 16 + len;
        let start = *first.get_or_insert(time);
        if frame[12..14] != [8, 0] || frame[14] >> 4 != 4 || frame[23] != 6 {
            continue;
        }
        let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        packets.push(Captured {
            at: time - start,
            ip: frame[14..14 + total].to_vec(),
        });
    }
    assert!(!packets.is_empty());
    packets
}

/// The parts of a captured packet, for tests that shall not depend on our own parser.
pub struct Segment<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub urgent: u16,
    pub options: &'a [u8],
    pub payload: &'a [u8],
}

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

pub fn segment(ip: &[u8]) -> Segment<'_> {
    let tcp = &ip[usize::from(ip[0] & 15) * 4..];
    let half =
        |octets: &[u8], at: usize| u16::from_be_bytes(octets[at..at + 2].try_into().unwrap());
    let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
    let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
    let data = usize::from(tcp[12] >> 4) * 4;
    Segment {
        source: SocketAddr::from((address(12), half(tcp, 0))),
        destination: SocketAddr::from((address(16), half(tcp, 2))),
        seq: word(4),
        ack: word(8),
        flags: tcp[13],
        window: half(tcp, 14),
        urgent: half(tcp, 18),
        options: &tcp[20..data],
        payload: &tcp[data..],
    }
}

/// The sum over pseudo header and segment (RFC 9293 section 3.1); 0xffff when the checksum is right.
pub fn tcp_sum(packet: &[u8]) -> u16 {
    let len = u16::try_from(packet.len() - 20).unwrap().to_be_bytes();
    let pseudo = [&packet[12..20], &[0, 6], &len].concat();
    ones_complement(&pseudo, &packet[20..])
}

/// The sum of Internet checksums (RFC 1071), not inverted.
pub fn ones_complement(first: &[u8], second: &[u8]) -> u16 {
    let mut sum = 0u32;
    for part in [first, second] {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}
