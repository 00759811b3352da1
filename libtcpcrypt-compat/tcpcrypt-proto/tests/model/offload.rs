//! What Linux and network cards do with many segments at once (tcpcrypt-datapath 2.1).

use tcpcrypt_proto::packet::{Flags, Rewrite, View};

use super::network::merged;

/// Segments of a kernel that were handed out together: one, or more as a super-packet.
pub(crate) struct Burst {
    /// As the wire would have got them.
    pub(crate) segments: Vec<Vec<u8>>,
    /// As the queue gets them.
    pub(crate) packet: Vec<u8>,
    /// How much data the device puts into each segment, if there are more than one.
    pub(crate) size: Option<usize>,
}

/// The longest packet that can take the place of another in the queue.
const LONGEST: usize = 65_531;

/// Puts segments together as a kernel would have built them in the first place: all but the last are of full
/// size.
pub(crate) fn bursts(
    packets: Vec<Vec<u8>>,
    full_size: impl Fn(&View<'_>) -> Option<usize>,
) -> Vec<Burst> {
    let mut bursts: Vec<Burst> = Vec::new();
    for packet in packets {
        let view = View::parse(&packet).expect("packets of the model parse");
        let length = view.payload().len();
        let size = full_size(&view);
        if let Some(last) = bursts.last_mut() {
            let before = last.segments.last().expect("one at least");
            let before = View::parse(before).expect("packets of the model parse");
            let continues = size == Some(before.payload().len()) && Some(length) <= size;
            let open = !before.flags().has(Flags::PSH) && !before.flags().has(Flags::FIN);
            let fin = view.flags().has(Flags::FIN);
            if continues && open && !fin {
                if let Some(whole) = merged(&last.packet, &packet) {
                    last.packet = whole;
                    last.segments.push(packet);
                    last.size = size;
                    continue;
                }
            }
        }
        bursts.push(Burst {
            segments: vec![packet.clone()],
            packet,
            size: None,
        });
    }
    bursts
}

/// The packet before anybody filled in its checksum.
pub(crate) fn without_checksum(packet: &[u8]) -> Vec<u8> {
    let view = View::parse(packet).expect("packets of the model parse");
    let at = view.ip_header().len() + 16;
    let mut packet = packet.to_vec();
    packet[at] ^= 0x55;
    packet[at + 1] = packet[at + 1].wrapping_add(1);
    packet
}

/// A super-packet as segments with so much data in each but the last.
pub(crate) fn cut(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let view = View::parse(packet).expect("packets of the model parse");
    let data = view.payload();
    assert!(packet.len() <= LONGEST, "{} octets", packet.len());
    // Linux throws it away.
    assert!(data.len() > size, "{} octets as {size}", data.len());
    let count = data.len().div_ceil(size);
    let pieces = data.chunks(size).enumerate();
    let pieces = pieces.map(|(index, piece)| {
        let mut rewrite = Rewrite::of(&view);
        rewrite.seq += u32::try_from(index * size).unwrap();
        if index + 1 < count {
            rewrite.flags = rewrite.flags.without(Flags::FIN | Flags::PSH);
        }
        let mut out = Vec::new();
        assert!(rewrite.write(&[piece], &mut out));
        out
    });
    pieces.collect()
}
