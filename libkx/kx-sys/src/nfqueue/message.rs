//! Messages of the kernel's packet queue, taken apart.
//!
//! Names and numbers are those of `linux/netlink.h`, `linux/netfilter/nfnetlink.h` and
//! `linux/netfilter/nfnetlink_queue.h`. Netlink headers are in host byte order, everything inside
//! the queue's attributes in network byte order.

use std::io;

/// Octets of a `struct nlmsghdr`.
const HEADER: usize = 16;
/// Octets of a `struct nfgenmsg`, which follows it in messages of netfilter.
const FAMILY_HEADER: usize = 4;
/// Octets of a `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
/// `NLA_F_NESTED | NLA_F_NET_BYTEORDER`: flags in an attribute's type.
const ATTRIBUTE_FLAGS: u16 = 0xc000;
/// `NFQA_SKB_CSUMNOTREADY`: the checksum of the packet is to be filled in by the device.
const CHECKSUM_NOT_READY: u32 = 1;
/// `NFQA_SKB_GSO`: the device, or the kernel in front of it, cuts the packet to segments.
const SUPER_PACKET: u32 = 2;
/// `NFQA_SKB_CSUM_NOTVERIFIED`: nobody has looked at the checksum yet.
const CHECKSUM_NOT_VERIFIED: u32 = 4;

/// Message type of a queued packet.
const PACKET: u16 = message_type(libc::NFQNL_MSG_PACKET);

/// The type of a message of the queue subsystem.
pub(super) const fn message_type(message: libc::c_int) -> u16 {
    ((libc::NFNL_SUBSYS_QUEUE as u16) << 8) | message as u16
}

/// Where in the network stack the packet stands (`enum nf_inet_hooks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// From the wire, before routing.
    Prerouting,
    /// From the wire, for this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// To the wire, after routing.
    Postrouting,
    /// One we do not know.
    Other(u8),
}

impl Hook {
    fn from_number(number: u8) -> Hook {
        match number {
            0 => Hook::Prerouting,
            1 => Hook::Input,
            2 => Hook::Forward,
            3 => Hook::Output,
            4 => Hook::Postrouting,
            other => Hook::Other(other),
        }
    }

    /// True for packets on their way from the wire to this host.
    #[must_use]
    pub fn is_inward(self) -> bool {
        matches!(self, Hook::Prerouting | Hook::Input)
    }

    /// True for packets on their way from this host to the wire.
    #[must_use]
    pub fn is_outward(self) -> bool {
        matches!(self, Hook::Output | Hook::Postrouting)
    }
}

/// A packet that waits for its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The kernel's number for it.
    pub id: u32,
    /// `EtherType` of the payload: 0x0800 for IPv4, 0x86dd for IPv6.
    pub protocol: u16,
    /// Where it stands.
    pub hook: Hook,
    /// Its mark (`SO_MARK`, `-j MARK`); 0 if it has none.
    pub mark: u32,
    /// Index of the network interface that it came by or leaves by; 0 if it has none.
    pub interface: u32,
    /// The packet from the network header on.
    pub payload: &'a [u8],
    /// Length of the whole packet if the kernel copied only part of it.
    pub whole_length: Option<u32>,
    /// The transport checksum is not filled in yet: compute it anew, do not adjust it. What stands in its
    /// place is the sum of the pseudo header.
    pub partial_checksum: bool,
    /// The packet came from outside, and neither the device nor the kernel has looked at its checksum.
    pub unverified_checksum: bool,
    /// Many segments in one, which the kernel cuts, or has put together.
    pub super_packet: bool,
}

/// One message of the kernel.
#[derive(Debug)]
pub enum Message<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// The answer to a message of ours with this sequence number: done, or why not.
    Answer {
        /// `nlmsg_seq` of the message answered.
        sequence: u32,
        /// The system's error, `None` for success.
        error: Option<i32>,
    },
    /// Something else.
    Other,
}

/// A datagram that is not a row of netlink messages, or a message with wrong lengths inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed netlink message")]
pub struct Malformed;

impl From<Malformed> for io::Error {
    fn from(error: Malformed) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// The messages of one datagram. Ends after the first malformed one, since what follows it
/// cannot be found.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// The messages in `datagram`.
    #[must_use]
    pub fn new(datagram: &'a [u8]) -> Messages<'a> {
        Messages { rest: datagram }
    }

    fn take(&mut self) -> Result<Message<'a>, Malformed> {
        let length = usize::try_from(native_u32(self.rest, 0)?).map_err(|_| Malformed)?;
        let kind = native_u16(self.rest, 4)?;
        let sequence = native_u32(self.rest, 8)?;
        let body = self.rest.get(HEADER..length).ok_or(Malformed)?;
        // The last message need not be padded.
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        if kind == PACKET {
            return packet(body).map(Message::Packet);
        }
        if libc::c_int::from(kind) == libc::NLMSG_ERROR {
            let number = i32::from_ne_bytes(array(body, 0)?);
            let error = (number != 0).then(|| number.checked_neg().unwrap_or(libc::EIO));
            return Ok(Message::Answer { sequence, error });
        }
        Ok(Message::Other)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let result = self.take();
        if result.is_err() {
            self.rest = &[];
        }
        Some(result)
    }
}

fn packet(body: &[u8]) -> Result<Packet<'_>, Malformed> {
    let mut attributes = body.get(FAMILY_HEADER..).ok_or(Malformed)?;
    let mut header = None;
    let mut mark = 0;
    let mut interface = 0;
    let mut payload: &[u8] = &[];
    let mut whole_length = None;
    let mut info = 0;
    while !attributes.is_empty() {
        let length = usize::from(native_u16(attributes, 0)?);
        let kind = native_u16(attributes, 2)? & !ATTRIBUTE_FLAGS;
        let value = attributes.get(ATTRIBUTE_HEADER..length).ok_or(Malformed)?;
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
        match libc::c_int::from(kind) {
            libc::NFQA_PACKET_HDR => {
                let hook = *value.get(6).ok_or(Malformed)?;
                header = Some((network_u32(value)?, network_u16(value, 4)?, hook));
            }
            libc::NFQA_MARK => mark = network_u32(value)?,
            // A hook for local packets has one of the two.
            libc::NFQA_IFINDEX_INDEV | libc::NFQA_IFINDEX_OUTDEV => {
                interface = network_u32(value)?;
            }
            libc::NFQA_PAYLOAD => payload = value,
            libc::NFQA_CAP_LEN => whole_length = Some(network_u32(value)?),
            libc::NFQA_SKB_INFO => info = network_u32(value)?,
            _ => {}
        }
    }
    let (id, protocol, hook) = header.ok_or(Malformed)?;
    Ok(Packet {
        id,
        protocol,
        hook: Hook::from_number(hook),
        mark,
        interface,
        payload,
        whole_length,
        partial_checksum: info & CHECKSUM_NOT_READY != 0,
        unverified_checksum: info & CHECKSUM_NOT_VERIFIED != 0,
        super_packet: info & SUPER_PACKET != 0,
    })
}

/// The next multiple of four, `NLMSG_ALIGN` and `NLA_ALIGN`.
pub(super) fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    octets
        .get(at..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .ok_or(Malformed)
}

fn native_u16(octets: &[u8], at: usize) -> Result<u16, Malformed> {
    array(octets, at).map(u16::from_ne_bytes)
}

fn native_u32(octets: &[u8], at: usize) -> Result<u32, Malformed> {
    array(octets, at).map(u32::from_ne_bytes)
}

fn network_u16(octets: &[u8], at: usize) -> Result<u16, Malformed> {
    array(octets, at).map(u16::from_be_bytes)
}

fn network_u32(octets: &[u8]) -> Result<u32, Malformed> {
    array(octets, 0).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute(out: &mut Vec<u8>, kind: libc::c_int, value: &[u8]) {
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).expect("short");
        out.extend_from_slice(&length.to_ne_bytes());
        out.extend_from_slice(&u16::try_from(kind).expect("small").to_ne_bytes());
        out.extend_from_slice(value);
        out.resize(aligned(out.len()), 0);
    }

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let length = u32::try_from(HEADER + body.len()).expect("short");
        out.extend_from_slice(&length.to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&sequence.to_ne_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(body);
        out.resize(aligned(out.len()), 0);
        out
    }

    fn packet_message(id: u32, hook: u8, mark: Option<u32>, payload: &[u8]) -> Vec<u8> {
        let mut body = vec![2, 0, 2, 154];
        let mut header = id.to_be_bytes().to_vec();
        header.extend_from_slice(&[8, 0, hook]);
        attribute(&mut body, libc::NFQA_PACKET_HDR, &header);
        if let Some(mark) = mark {
            attribute(&mut body, libc::NFQA_MARK, &mark.to_be_bytes());
        }
        let device = match hook {
            3 => libc::NFQA_IFINDEX_OUTDEV,
            _ => libc::NFQA_IFINDEX_INDEV,
        };
        attribute(&mut body, device, &5u32.to_be_bytes());
        attribute(&mut body, libc::NFQA_SKB_INFO, &3u32.to_be_bytes());
        attribute(&mut body, libc::NFQA_PAYLOAD, payload);
        message(PACKET, 0, &body)
    }

    #[test]
    fn packets_are_read_one_after_the_other() {
        let mut datagram = packet_message(7, 3, Some(0x1234), b"hello");
        datagram.extend(packet_message(8, 1, None, b""));
        let mut messages = Messages::new(&datagram);
        let Some(Ok(Message::Packet(first))) = messages.next() else {
            panic!("a packet");
        };
        let expected = Packet {
            id: 7,
            protocol: 0x0800,
            hook: Hook::Output,
            mark: 0x1234,
            interface: 5,
            payload: b"hello",
            whole_length: None,
            partial_checksum: true,
            unverified_checksum: false,
            super_packet: true,
        };
        assert_eq!(first, expected);
        let Some(Ok(Message::Packet(second))) = messages.next() else {
            panic!("a packet");
        };
        assert_eq!((second.id, second.hook, second.mark), (8, Hook::Input, 0));
        assert!(messages.next().is_none());
    }

    #[test]
    fn answers_carry_the_error_as_a_positive_number() {
        let mut datagram = message(2, 5, &[0; 20]);
        datagram.extend(message(2, 6, &(-libc::EPERM).to_ne_bytes()));
        let answers: Vec<_> = Messages::new(&datagram)
            .map(|message| match message {
                Ok(Message::Answer { sequence, error }) => (sequence, error),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(answers, [(5, None), (6, Some(libc::EPERM))]);
    }

    #[test]
    fn wrong_lengths_end_the_datagram() {
        let good = packet_message(7, 3, None, b"hello");
        for cut in 1..good.len() - 3 {
            let mut messages = Messages::new(&good[..cut]);
            assert!(matches!(messages.next(), Some(Err(Malformed))), "{cut}");
            assert!(messages.next().is_none());
        }
        for length in [0u32, 1, 15, 0xffff_ffff] {
            let mut bad = good.clone();
            bad[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(matches!(Messages::new(&bad).next(), Some(Err(Malformed))));
        }
        // An attribute of length 0 must not be walked for ever.
        let mut bad = good;
        bad[HEADER + FAMILY_HEADER..][..2].copy_from_slice(&[0, 0]);
        assert!(matches!(Messages::new(&bad).next(), Some(Err(Malformed))));
    }

    proptest! {
        #[test]
        fn no_datagram_panics(datagram in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Messages::new(&datagram).count() <= 300);
        }

        #[test]
        fn no_damage_panics(at in 0usize..80, octet: u8, payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut datagram = packet_message(1, 1, Some(2), &payload);
            if let Some(place) = datagram.get_mut(at) {
                *place = octet;
            }
            for message in Messages::new(&datagram) {
                if let Ok(Message::Packet(packet)) = message {
                    prop_assert!(packet.payload.len() <= datagram.len());
                }
            }
        }
    }
}
