//! TCP segments in IPv4 packets, and those in IPv6 packets, read; the former also written by the harness itself: shares nothing with
//! the code under test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

/// FIN
pub const FIN: u8 = 0x01;
/// SYN
pub const SYN: u8 = 0x02;
/// RST
pub const RST: u8 = 0x04;
/// PSH
pub const PSH: u8 = 0x08;
/// ACK
pub const ACK: u8 = 0x10;
/// URG
pub const URG: u8 = 0x20;
/// ECE
pub const ECE: u8 = 0x40;
/// CWR
pub const CWR: u8 = 0x80;

/// Kind of the experimental option that carries ENO ("tcpcrypt spec 4.1").
pub const EXPERIMENTAL: u8 = 253;
/// The option's own kind (RFC 8547).
const ENO: u8 = 69;
/// Identifier of ENO in it.
pub const EXID: [u8; 2] = [0x45, 0x4e];

/// One segment with what matters of its IP header.
#[derive(Clone, PartialEq, Eq)]
pub struct Segment {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags, with ECE and CWR.
    pub flags: u8,
    /// Window, not scaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options with their padding.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
    /// Time to live.
    pub ttl: u8,
    /// When it was seen.
    pub at: Instant,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = ["F", "S", "R", "P", ".", "U", "E", "C"];
        let flags: String = (0..8)
            .filter(|bit| self.flags & (1 << bit) != 0)
            .map(|bit| names[bit])
            .collect();
        write!(
            f,
            "{} > {} [{flags}] seq {} ack {} win {} opt {} len {}",
            self.source,
            self.destination,
            self.seq,
            self.ack,
            self.window,
            hex(&self.options),
            self.payload.len()
        )
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(two.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

impl Segment {
    /// An empty segment without flags.
    pub fn new(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>) -> Segment {
        Segment {
            source: source.into(),
            destination: destination.into(),
            seq: 0,
            ack: 0,
            flags: 0,
            window: 65535,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
            ttl: 64,
            at: Instant::now(),
        }
    }

    /// Reads a packet; nothing if it is not TCP, or has headers in between.
    pub fn parse(packet: &[u8]) -> Option<Segment> {
        let first = *packet.first()?;
        let (total, header, protocol, ttl) = match first >> 4 {
            4 => (half(packet, 2)?, usize::from(first & 15) * 4, 9, 8),
            6 => (half(packet, 4)?.checked_add(40)?, 40, 6, 7),
            _ => return None,
        };
        if *packet.get(protocol)? != 6 {
            return None;
        }
        let packet = packet.get(..usize::from(total))?;
        let address = |end: usize| -> Option<IpAddr> {
            Some(match first >> 4 {
                4 => Ipv4Addr::from(word(packet, 12 + end * 4)?).into(),
                _ => {
                    let octets: [u8; 16] = packet.get(8 + end * 16..)?.first_chunk().copied()?;
                    Ipv6Addr::from(octets).into()
                }
            })
        };
        let tcp = packet.get(header..)?;
        let header = usize::from(*tcp.get(12)? >> 4) * 4;
        Some(Segment {
            source: SocketAddr::new(address(0)?, half(tcp, 0)?),
            destination: SocketAddr::new(address(1)?, half(tcp, 2)?),
            seq: word(tcp, 4)?,
            ack: word(tcp, 8)?,
            flags: *tcp.get(13)?,
            window: half(tcp, 14)?,
            urgent: half(tcp, 18)?,
            options: tcp.get(20..header)?.to_vec(),
            payload: tcp.get(header..)?.to_vec(),
            ttl: *packet.get(ttl)?,
            at: Instant::now(),
        })
    }

    /// The whole packet, over IPv4, with both checksums. The options are filled up with zeros.
    pub fn write(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        while options.len() % 4 != 0 {
            options.push(0);
        }
        let header = 20 + options.len();
        let length = u16::try_from(header + self.payload.len()).expect("a short segment");
        let mut ip = vec![0x45, 0];
        ip.extend((length + 20).to_be_bytes());
        ip.extend([0, 0, 0x40, 0, self.ttl, 6, 0, 0]);
        for end in [self.source, self.destination] {
            let IpAddr::V4(address) = end.ip() else {
                panic!("{end}: packets over IPv6 are only read");
            };
            ip.extend(address.octets());
        }
        let sum = checksum(&[&ip]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());

        let mut tcp = Vec::new();
        tcp.extend(self.source.port().to_be_bytes());
        tcp.extend(self.destination.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        let words = u8::try_from(header / 4).expect("at most 40 bytes of options");
        assert!(words < 16, "at most 40 bytes of options");
        tcp.extend([words << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0, 0]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(options);
        tcp.extend(&self.payload);
        let mut pseudo = ip[12..20].to_vec();
        pseudo.extend([0, 6]);
        pseudo.extend(length.to_be_bytes());
        let sum = checksum(&[&pseudo, &tcp]);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        [ip, tcp].concat()
    }

    /// True when all of these flags are set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Numbers that the segment takes: data, SYN and FIN.
    pub fn length(&self) -> u32 {
        let data = u32::try_from(self.payload.len()).expect("a short segment");
        data + u32::from(self.has(SYN)) + u32::from(self.has(FIN))
    }

    /// The number after its last one.
    pub fn end(&self) -> u32 {
        self.seq.wrapping_add(self.length())
    }

    /// The first option of a kind, kind and length included.
    pub fn option(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = self.options.as_slice();
        loop {
            match rest {
                [] | [0, ..] => return None,
                [1, after @ ..] => rest = after,
                [found, length, ..] => {
                    let (option, after) = rest.split_at_checked(usize::from(*length).max(2))?;
                    if *found == kind {
                        return Some(option);
                    }
                    rest = after;
                }
                [_] => return None,
            }
        }
    }

    /// The ENO option, of kind 253 or 69, kind and length included.
    pub fn eno(&self) -> Option<&[u8]> {
        self.option(EXPERIMENTAL)
            .filter(|o| o.get(2..4) == Some(&EXID))
            .or_else(|| self.option(ENO))
    }

    /// The MSS option.
    pub fn mss(&self) -> Option<u16> {
        half(self.option(2)?, 2)
    }
}

fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let high = u32::from(pair[0]) << 8;
            sum += high + pair.get(1).copied().map_or(0, u32::from);
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Bytes of a hex string; panics on anything else.
pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len() % 2 == 0, "odd hex: {text}");
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hex");
            u8::from_str_radix(pair, 16).expect("hex")
        })
        .collect()
}
