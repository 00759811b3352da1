//! Segments as a kernel sees them: options taken apart on the way in, put together on the way out.

use tcpcrypt_proto::packet::options::{self, OptionBuf};
use tcpcrypt_proto::packet::{Direction, Flags, FourTuple, Fresh, Seq, View};

#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    pub(crate) seq: Seq,
    pub(crate) ack: Seq,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) timestamps: Option<(u32, u32)>,
    pub(crate) sack: Vec<(Seq, Seq)>,
    /// Octets put behind the other options.
    pub(crate) more_options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    pub(crate) fn read(view: &View<'_>) -> Segment {
        let octets = view.options();
        let scale = options::find(octets, options::WINDOW_SCALE);
        Segment {
            seq: view.seq(),
            ack: view.ack(),
            flags: view.flags(),
            window: view.window(),
            mss: options::mss(octets),
            window_scale: scale.and_then(|o| o.data.first().copied()),
            sack_permitted: options::sack_permitted(octets),
            timestamps: options::timestamps(octets),
            sack: options::sack_blocks(octets).collect(),
            more_options: Vec::new(),
            payload: view.payload().to_vec(),
        }
    }

    pub(crate) fn has(&self, flag: Flags) -> bool {
        self.flags.has(flag)
    }

    /// What it takes of the sequence space.
    pub(crate) fn length(&self) -> u32 {
        let one = |flag| u32::from(self.has(flag));
        u32::try_from(self.payload.len()).unwrap() + one(Flags::SYN) + one(Flags::FIN)
    }

    /// The options in Linux's order.
    fn options(&self) -> OptionBuf {
        let mut buf = OptionBuf::new();
        let mut push = |octets: &[u8]| assert!(buf.push(octets), "options of the model fit");
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            push(&[options::MSS, 4, high, low]);
        }
        if self.sack_permitted {
            if self.timestamps.is_none() {
                push(&[options::NOP, options::NOP]);
            }
            push(&[options::SACK_PERMITTED, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            if !self.sack_permitted {
                push(&[options::NOP, options::NOP]);
            }
            push(&[options::TIMESTAMPS, 10]);
            push(&value.to_be_bytes());
            push(&echo.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            push(&[options::NOP, options::WINDOW_SCALE, 3, shift]);
        }
        push(&self.more_options);
        if !self.sack.is_empty() {
            buf.push_sack(&self.sack);
        }
        buf
    }

    pub(crate) fn packet(&self, tuple: FourTuple) -> Vec<u8> {
        let fresh = Fresh {
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            options: self.options(),
            ..Fresh::new(tuple, Direction::Out)
        };
        let mut out = Vec::new();
        assert!(fresh.write(&[&self.payload], &mut out));
        out
    }

    /// The answer to a segment that belongs to no connection (RFC 9293 section 3.10.7.1).
    pub(crate) fn refusal(&self) -> Option<Segment> {
        if self.has(Flags::RST) {
            return None;
        }
        Some(if self.has(Flags::ACK) {
            Segment {
                seq: self.ack,
                flags: Flags::RST,
                ..Segment::default()
            }
        } else {
            Segment {
                ack: self.seq + self.length(),
                flags: Flags::RST | Flags::ACK,
                ..Segment::default()
            }
        })
    }
}

/// Whether the IP and the TCP checksum of a packet are right, summed as RFC 1071 words it.
pub(crate) fn checksums_are_right(packet: &[u8]) -> bool {
    let is_v4 = packet[0] >> 4 == 4;
    let length = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let (head, total, addresses) = if is_v4 {
        (usize::from(packet[0] & 15) * 4, length(2), 12..20)
    } else {
        (40, 40 + length(4), 8..40)
    };
    let segment = &packet[head..total];
    let mut pseudo = packet[addresses].to_vec();
    pseudo.extend([0, 6]);
    pseudo.extend(u16::try_from(segment.len()).unwrap().to_be_bytes());
    let header_is_right = !is_v4 || fold(&packet[..head]) == 0xffff;
    header_is_right && fold(&[&pseudo, segment].concat()) == 0xffff
}

fn fold(octets: &[u8]) -> u32 {
    let mut sum = 0_u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}
