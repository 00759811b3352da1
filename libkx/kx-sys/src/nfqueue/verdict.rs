//! Verdicts, collected and sent together.

use super::message::{aligned, message_type};

/// `NF_DROP`, `NF_ACCEPT`, `NF_REPEAT` of `linux/netfilter.h`.
const DROP: u32 = libc::NF_DROP as u32;
const ACCEPT: u32 = libc::NF_ACCEPT as u32;
const REPEAT: u32 = libc::NF_REPEAT as u32;

/// Octets in front of the verdict's attributes: `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 20;
/// The verdict attribute, header and `struct nfqnl_msg_verdict_hdr`.
const VERDICT: usize = 12;
/// An attribute's header.
const ATTRIBUTE_HEADER: usize = 4;

/// The longest packet that fits an attribute, whose length has 16 bits and counts its own header.
pub const MAX_PAYLOAD: usize = 0xffff - ATTRIBUTE_HEADER;

/// From here on the collected messages should go out: one send has to fit the socket's buffer.
const FULL: usize = 128 * 1024;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes its way.
    Accept,
    /// It goes through the rules of this hook again; only sensible with a mark that they look at.
    Repeat,
    /// It is gone.
    Drop,
}

impl Verdict {
    fn number(self) -> u32 {
        match self {
            Verdict::Accept => ACCEPT,
            Verdict::Repeat => REPEAT,
            Verdict::Drop => DROP,
        }
    }
}

/// A verdict with all that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// The packet's new mark; `None` leaves it.
    pub mark: Option<u32>,
    /// The octets appended to the buffer take the packet's place.
    pub replace: bool,
}

/// A buffer of verdict messages. It grows to its working size once and is used again.
#[derive(Debug)]
pub struct Verdicts {
    queue: u16,
    buffer: Vec<u8>,
    too_long: u64,
}

impl Verdicts {
    pub(super) fn new(queue: u16) -> Verdicts {
        Verdicts {
            queue,
            buffer: Vec::with_capacity(FULL + MAX_PAYLOAD + 64),
            too_long: 0,
        }
    }

    /// True if nothing waits to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// True if the buffer should be sent before the next verdict.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= FULL
    }

    /// Packets dropped since their replacement was empty or longer than [`MAX_PAYLOAD`].
    #[must_use]
    pub fn refused_replacements(&self) -> u64 {
        self.too_long
    }

    /// Adds the verdict for packet `id`. `decide` may append the packet's replacement to the
    /// buffer that it gets (and must not touch what is in it); without
    /// [`Decision::replace`] what it appended is forgotten. A replacement that is empty or too
    /// long becomes a drop: sending the packet unchanged could reveal it.
    pub fn decide(&mut self, id: u32, decide: impl FnOnce(&mut Vec<u8>) -> Decision) {
        let start = self.buffer.len();
        self.buffer.resize(start + HEADERS + VERDICT, 0);
        let payload = self.buffer.len() + ATTRIBUTE_HEADER;
        self.buffer.resize(payload, 0);
        let mut decision = decide(&mut self.buffer);
        let length = self.buffer.len().saturating_sub(payload);
        if decision.replace && !(1..=MAX_PAYLOAD).contains(&length) {
            self.too_long += 1;
            decision = Decision {
                verdict: Verdict::Drop,
                mark: None,
                replace: false,
            };
        }
        if decision.replace {
            let attribute = u16::try_from(length + ATTRIBUTE_HEADER).unwrap_or(u16::MAX);
            self.put(payload - ATTRIBUTE_HEADER, &attribute.to_ne_bytes());
            self.put(payload - 2, &kind(libc::NFQA_PAYLOAD));
            self.buffer.resize(aligned(self.buffer.len()), 0);
        } else {
            self.buffer.truncate(payload - ATTRIBUTE_HEADER);
        }
        if let Some(mark) = decision.mark {
            self.buffer.extend_from_slice(&8u16.to_ne_bytes());
            self.buffer.extend_from_slice(&kind(libc::NFQA_MARK));
            self.buffer.extend_from_slice(&mark.to_be_bytes());
        }
        let total = u32::try_from(self.buffer.len() - start).unwrap_or(u32::MAX);
        self.put(start, &total.to_ne_bytes());
        let message = message_type(libc::NFQNL_MSG_VERDICT);
        self.put(start + 4, &message.to_ne_bytes());
        let request = u16::try_from(libc::NLM_F_REQUEST).unwrap_or(1);
        self.put(start + 6, &request.to_ne_bytes());
        self.put(start + 18, &self.queue.to_be_bytes());
        let attribute = start + HEADERS;
        self.put(attribute, &12u16.to_ne_bytes());
        self.put(attribute + 2, &kind(libc::NFQA_VERDICT_HDR));
        self.put(attribute + 4, &decision.verdict.number().to_be_bytes());
        self.put(attribute + 8, &id.to_be_bytes());
    }

    /// Adds a verdict without replacement.
    pub fn give(&mut self, id: u32, verdict: Verdict, mark: Option<u32>) {
        self.decide(id, |_| Decision {
            verdict,
            mark,
            replace: false,
        });
    }

    /// The messages so far.
    pub(super) fn octets(&self) -> &[u8] {
        &self.buffer
    }

    pub(super) fn clear(&mut self) {
        self.buffer.clear();
    }

    fn put(&mut self, at: usize, octets: &[u8]) {
        if let Some(place) = self.buffer.get_mut(at..at + octets.len()) {
            place.copy_from_slice(octets);
        }
    }
}

fn kind(attribute: libc::c_int) -> [u8; 2] {
    (attribute as u16).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(verdict: Verdict, mark: Option<u32>, replace: bool) -> Decision {
        Decision {
            verdict,
            mark,
            replace,
        }
    }

    #[test]
    fn verdicts_have_the_kernels_layout() {
        let mut verdicts = Verdicts::new(666);
        verdicts.give(0x0102_0304, Verdict::Accept, None);
        let mut expected = Vec::new();
        expected.extend_from_slice(&32u32.to_ne_bytes());
        expected.extend_from_slice(&0x0301u16.to_ne_bytes());
        expected.extend_from_slice(&1u16.to_ne_bytes());
        expected.extend_from_slice(&[0; 8]);
        expected.extend_from_slice(&[0, 0, 0x02, 0x9a]);
        expected.extend_from_slice(&12u16.to_ne_bytes());
        expected.extend_from_slice(&2u16.to_ne_bytes());
        expected.extend_from_slice(&[0, 0, 0, 1, 1, 2, 3, 4]);
        assert_eq!(verdicts.octets(), expected);
    }

    #[test]
    fn a_replacement_is_padded_and_the_mark_follows() {
        let mut verdicts = Verdicts::new(1);
        verdicts.decide(9, |out| {
            out.extend_from_slice(b"hello");
            decision(Verdict::Repeat, Some(0x10), true)
        });
        let octets = verdicts.octets();
        assert_eq!(octets.len(), 32 + 12 + 8);
        assert_eq!(octets[..4], 52u32.to_ne_bytes());
        assert_eq!(octets[24..28], [0, 0, 0, 4]);
        assert_eq!(octets[32..34], 9u16.to_ne_bytes());
        assert_eq!(octets[34..36], 10u16.to_ne_bytes());
        assert_eq!(&octets[36..44], b"hello\0\0\0");
        assert_eq!(octets[44..46], 8u16.to_ne_bytes());
        assert_eq!(octets[46..48], 3u16.to_ne_bytes());
        assert_eq!(octets[48..], [0, 0, 0, 0x10]);
    }

    #[test]
    fn what_cannot_be_replaced_is_dropped_and_nothing_is_left_of_it() {
        let mut verdicts = Verdicts::new(1);
        for length in [0, MAX_PAYLOAD + 1] {
            verdicts.decide(9, |out| {
                out.resize(out.len() + length, b'x');
                decision(Verdict::Accept, Some(1), true)
            });
            assert_eq!(verdicts.octets().len(), 32);
            assert_eq!(verdicts.octets()[24..28], [0; 4]);
            verdicts.clear();
        }
        assert_eq!(verdicts.refused_replacements(), 2);
        verdicts.decide(9, |out| {
            out.extend_from_slice(b"not wanted");
            decision(Verdict::Accept, None, false)
        });
        assert_eq!(verdicts.octets().len(), 32);
    }

    #[test]
    fn the_buffer_keeps_its_memory() {
        let mut verdicts = Verdicts::new(1);
        let capacity = verdicts.buffer.capacity();
        while !verdicts.is_full() {
            verdicts.give(1, Verdict::Accept, None);
        }
        verdicts.decide(9, |out| {
            out.resize(out.len() + MAX_PAYLOAD, b'x');
            decision(Verdict::Accept, Some(1), true)
        });
        assert_eq!(verdicts.buffer.capacity(), capacity);
    }
}
