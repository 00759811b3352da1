//! SYNs that offered tcpcrypt, and which connections they belong to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a SYN is remembered.
const KEPT: Duration = Duration::from_secs(10);

/// How many are remembered at most; the oldest is forgotten for a new one.
const MOST: usize = 4096;

const TCP: u8 = 6;
const HEADER_LEN: usize = 20;
const SYN: u8 = 0x02;
/// FIN, SYN, RST, ACK: what makes a SYN the first packet of a connection. ECN uses two others in it.
const OPENING: u8 = 0x17;
const END: u8 = 0;
const NOP: u8 = 1;
/// The option's number by RFC 8547, and the experimental one, which is followed by 0x454E.
const ENO: u8 = 69;
const EXPERIMENT: u8 = 253;
const EXPERIMENT_ENO: [u8; 2] = [0x45, 0x4e];

/// The ports of a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) source: u16,
    pub(crate) destination: u16,
}

/// The ports of an IPv4 packet that is a SYN with an offer of tcpcrypt.
pub(crate) fn offer(packet: &[u8]) -> Option<Ports> {
    let first = packet.first()?;
    if first >> 4 != 4 || *packet.get(9)? != TCP {
        return None;
    }
    offer_of_segment(packet.get(usize::from(first & 0x0f) * 4..)?)
}

/// The same of what follows the IP headers: raw sockets of IPv6 show no more.
pub(crate) fn offer_of_segment(segment: &[u8]) -> Option<Ports> {
    let header = segment.first_chunk::<HEADER_LEN>()?;
    if header[13] & OPENING != SYN {
        return None;
    }
    let options = segment.get(HEADER_LEN..usize::from(header[12] >> 4) * 4)?;
    has_offer(options).then_some(Ports {
        source: u16::from_be_bytes([header[0], header[1]]),
        destination: u16::from_be_bytes([header[2], header[3]]),
    })
}

fn has_offer(mut options: &[u8]) -> bool {
    loop {
        options = match options {
            [] | [END, ..] => return false,
            [NOP, rest @ ..] => rest,
            [kind, len, rest @ ..] => {
                let Some(len) = usize::from(*len).checked_sub(2) else {
                    return false;
                };
                let Some((data, rest)) = rest.split_at_checked(len) else {
                    return false;
                };
                if *kind == ENO || (*kind == EXPERIMENT && data.starts_with(&EXPERIMENT_ENO)) {
                    return true;
                }
                rest
            }
            [_] => return false,
        };
    }
}

/// The SYNs of the last ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Offers(VecDeque<(Instant, Ports)>);

impl Offers {
    /// Remembers one.
    pub(crate) fn add(&mut self, now: Instant, ports: Ports) {
        self.forget(now);
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((now, ports));
    }

    /// Whether a new connection began with one. As in the original by its ports: behind a tcpcryptd
    /// that redirects, the address is another one.
    pub(crate) fn take(&mut self, now: Instant, ports: Ports) -> bool {
        self.forget(now);
        let before = self.0.len();
        self.0.retain(|(_, offered)| *offered != ports);
        self.0.len() != before
    }

    fn forget(&mut self, now: Instant) {
        while let Some((seen, _)) = self.0.front() {
            if now.saturating_duration_since(*seen) <= KEPT {
                break;
            }
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PORTS: Ports = Ports {
        source: 0x1234,
        destination: 80,
    };

    fn syn(flags: u8, options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[9] = TCP;
        let words = u8::try_from(5 + options.len() / 4).unwrap();
        packet.extend([0x12, 0x34, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend([words << 4, flags, 0, 0, 0, 0, 0, 0]);
        packet.extend(options);
        packet
    }

    #[test]
    fn offers_are_seen() {
        let mss = [2, 4, 5, 0xb4];
        let legacy = [253, 6, 0x45, 0x4e, 0x21, 0x22];
        for options in [
            &legacy[..],
            &[69, 3, 0x21, 0][..],
            // The option may be the last one: the original does not see it then.
            &[&mss[..], &[1, 1], &legacy].concat()[..],
        ] {
            let mut padded = options.to_vec();
            padded.resize(options.len().next_multiple_of(4), 0);
            // With and without ECN.
            for flags in [0x02, 0xc2] {
                assert_eq!(offer(&syn(flags, &padded)), Some(PORTS), "{options:?}");
            }
            for flags in [0x12, 0x10, 0x06, 0x03, 0x00] {
                assert_eq!(offer(&syn(flags, &padded)), None);
            }
        }
    }

    #[test]
    fn other_packets() {
        for options in [
            &[][..],
            &[2, 4, 5, 0xb4],
            &[253, 4, 0x45, 0x4f],
            &[253, 3, 0x45, 0],
            &[0, 69, 2, 0],
            &[5, 0, 69, 2],
            &[1, 1, 1, 69],
            &[69, 9, 0, 0],
        ] {
            assert_eq!(offer(&syn(SYN, options)), None, "{options:?}");
        }
        let good = syn(SYN, &[69, 3, 0x21, 0]);
        for len in 0..good.len() {
            assert_eq!(offer(&good[..len]), None, "{len}");
            let segment = good.get(20..len).unwrap_or_default();
            assert_eq!(offer_of_segment(segment), None, "{len}");
        }
        assert_eq!(offer_of_segment(&good[20..]), Some(PORTS));
        let mut udp = good.clone();
        udp[9] = 17;
        assert_eq!(offer(&udp), None);
        let mut v6 = good;
        v6[0] = 0x65;
        assert_eq!(offer(&v6), None);
    }

    #[test]
    fn for_ten_seconds_and_once() {
        let start = Instant::now();
        let mut offers = Offers::default();
        offers.add(start, PORTS);
        assert!(!offers.take(start, Ports { source: 1, ..PORTS }));
        assert!(offers.take(start + KEPT, PORTS));
        assert!(!offers.take(start + KEPT, PORTS));
        offers.add(start, PORTS);
        assert!(!offers.take(start + KEPT + Duration::from_millis(1), PORTS));
        for source in 0..5000 {
            offers.add(start, Ports { source, ..PORTS });
        }
        assert_eq!(offers.0.len(), MOST);
        assert!(!offers.take(start, Ports { source: 0, ..PORTS }));
    }

    proptest! {
        #[test]
        fn any_packet(mut packet in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = (offer(&packet), offer_of_segment(&packet));
            if let Some(first) = packet.first_mut() {
                *first = 0x45;
            }
            if let Some(protocol) = packet.get_mut(9) {
                *protocol = TCP;
            }
            if let Some(flags) = packet.get_mut(33) {
                *flags = SYN;
            }
            let _ = offer(&packet);
        }
    }
}
