//! A packet that is like another but for some fields and its data.

use super::checksum::{Sum, pseudo_header};
use super::flags::Flags;
use super::ipv6;
use super::options::{OptionBuf, SPACE};
use super::view::View;
use crate::seq::Seq;

/// How a packet from the queue goes on. Starts as a copy; what is not a field here (addresses,
/// ports, TTL or hop limit, flow label, IP options, extension headers, reserved bits) stays.
#[derive(Debug, Clone, Copy)]
pub struct Rewrite<'v> {
    from: View<'v>,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgement number.
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// Window, unscaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: OptionBuf,
    /// Over IPv4, routers may cut the packet in pieces, which are known by this number. Without it, that is as
    /// it was.
    pub fragments: Option<u16>,
}

impl<'v> Rewrite<'v> {
    /// Everything as it is in `view`, but for the data.
    pub fn of(view: &View<'v>) -> Rewrite<'v> {
        Rewrite {
            from: *view,
            seq: view.seq(),
            ack: view.ack(),
            flags: view.flags(),
            window: view.window(),
            urgent: view.urgent(),
            options: OptionBuf::from_header(view.options()),
            fragments: None,
        }
    }

    /// Octets of the packet with this many octets of data.
    pub fn length(&self, data: usize) -> usize {
        let headers = self.from.ip_header().len().saturating_add(20);
        headers
            .saturating_add(self.options.padded_len())
            .saturating_add(data)
    }

    /// Appends the whole IP packet to `out`, with lengths and complete checksums. `payload` is its
    /// data in pieces. A packet beyond 65,535 octets cannot be said in its length field: nothing is
    /// appended and the answer is false.
    pub fn write(&self, payload: &[&[u8]], out: &mut Vec<u8>) -> bool {
        let fields = Fields {
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            urgent: self.urgent,
            options: &self.options,
        };
        let ip = self.from.ip_header();
        match self.fragments {
            Some(id) if ip.first().is_some_and(|first| first >> 4 == 4) => {
                let mut header = [0_u8; 60];
                let Some(header) = header.get_mut(..ip.len()) else {
                    return false;
                };
                header.copy_from_slice(ip);
                if let Some(place) = header.get_mut(4..8) {
                    place.fill(0);
                }
                if let Some(place) = header.get_mut(4..6) {
                    place.copy_from_slice(&id.to_be_bytes());
                }
                write(header, &self.from, &fields, payload, out)
            }
            _ => write(ip, &self.from, &fields, payload, out),
        }
    }
}

/// What the writer sets itself.
struct Fields<'o> {
    seq: Seq,
    ack: Seq,
    flags: Flags,
    window: u16,
    urgent: u16,
    options: &'o OptionBuf,
}

fn write(
    ip: &[u8],
    from: &View<'_>,
    fields: &Fields<'_>,
    payload: &[&[u8]],
    out: &mut Vec<u8>,
) -> bool {
    let header = from.tcp_header();
    let segment = Segment {
        ports: [header[0], header[1], header[2], header[3]],
        seq: fields.seq,
        ack: fields.ack,
        reserved: header[12] & 15,
        flags: fields.flags,
        window: fields.window,
        urgent: fields.urgent,
        options: fields.options,
    };
    let sum = |length| pseudo_header(from.source(), from.destination(), length);
    segment.write(ip, sum, payload, out)
}

/// A TCP header to be written behind an IP header.
pub(super) struct Segment<'o> {
    pub(super) ports: [u8; 4],
    pub(super) seq: Seq,
    pub(super) ack: Seq,
    pub(super) reserved: u8,
    pub(super) flags: Flags,
    pub(super) window: u16,
    pub(super) urgent: u16,
    pub(super) options: &'o OptionBuf,
}

impl Segment<'_> {
    /// Appends `ip` with its length and checksum set, then this header and the data.
    pub(super) fn write(
        &self,
        ip: &[u8],
        pseudo: impl FnOnce(usize) -> Sum,
        payload: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> bool {
        let data = payload
            .iter()
            .fold(0_usize, |n, p| n.saturating_add(p.len()));
        let options = self.options.padded_len();
        let segment_len = data.saturating_add(20).saturating_add(options);
        let total = segment_len.saturating_add(ip.len());
        let begin = out.len();
        out.extend_from_slice(ip);
        let set = match out.get_mut(begin..) {
            Some(ip) => set_length(ip, total),
            None => false,
        };
        if !set {
            out.truncate(begin);
            return false;
        }

        let mut header = [0; 20 + SPACE];
        header[0..4].copy_from_slice(&self.ports);
        header[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        header[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        let words = u8::try_from(options.saturating_add(20) / 4).unwrap_or(15);
        header[12] = (words << 4) | self.reserved;
        header[13] = self.flags.0;
        header[14..16].copy_from_slice(&self.window.to_be_bytes());
        header[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        let given = self.options.as_slice();
        if let Some(place) = header.get_mut(20..given.len().saturating_add(20)) {
            place.copy_from_slice(given);
        }
        let header_len = options.saturating_add(20);

        let mut sum = pseudo(segment_len);
        sum.add(header.get(..header_len).unwrap_or_default());
        for piece in payload {
            sum.add(piece);
        }
        header[16..18].copy_from_slice(&sum.finish().to_be_bytes());

        out.extend_from_slice(header.get(..header_len).unwrap_or_default());
        for piece in payload {
            out.extend_from_slice(piece);
        }
        true
    }
}

/// Sets the length of an IP header and, for IPv4, its checksum. That of IPv6 counts what is behind the fixed
/// header, extension headers too.
fn set_length(ip: &mut [u8], total: usize) -> bool {
    if ip.first().is_some_and(|b| b >> 4 == 6) {
        let length = total.checked_sub(ipv6::FIXED).map(u16::try_from);
        let (Some(Ok(length)), Some(place)) = (length, ip.get_mut(4..6)) else {
            return false;
        };
        place.copy_from_slice(&length.to_be_bytes());
        return true;
    }
    let (Ok(length), Some(place)) = (u16::try_from(total), ip.get_mut(2..4)) else {
        return false;
    };
    place.copy_from_slice(&length.to_be_bytes());
    if let Some(place) = ip.get_mut(10..12) {
        place.fill(0);
    }
    let mut sum = Sum::default();
    sum.add(ip);
    if let Some(place) = ip.get_mut(10..12) {
        place.copy_from_slice(&sum.finish().to_be_bytes());
    }
    true
}
