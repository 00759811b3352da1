//! The network between the hosts: what it does to packets of one direction.

use std::time::Duration;

use tcpcrypt_proto::packet::options::{self, OptionBuf};
use tcpcrypt_proto::packet::{Flags, Rewrite, View};

use super::kernel::checksums_are_right;
use super::rng::Rng;

/// Which segments a middlebox takes an option out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Syn,
    SynAck,
    /// All that are not SYNs.
    Later,
    All,
}

#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) delay: Duration,
    /// Up to so much is added, without a change of order.
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    pub(crate) reorder: f64,
    /// One bit of the segment is changed. The checksum is made to fit if the flag says so.
    pub(crate) flip: f64,
    pub(crate) flip_unnoticed: bool,
    /// A packet is put together with the one before it, as GRO does.
    pub(crate) merge: f64,
    /// A packet is cut in two.
    pub(crate) split: f64,
    pub(crate) strip: Vec<(u8, Which)>,
}

/// The way of a packet from a daemon to its own kernel, beside the one that the queue's packets take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Loopback {
    pub(crate) loss: f64,
    /// Packets of the queue overtake it meanwhile.
    pub(crate) delay: Duration,
}

impl Network {
    /// Five milliseconds, and nothing else.
    pub(crate) fn clean() -> Network {
        Network {
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            flip: 0.0,
            flip_unnoticed: false,
            merge: 0.0,
            split: 0.0,
            strip: Vec::new(),
        }
    }

    pub(crate) fn lossy(loss: f64) -> Network {
        Network {
            loss,
            ..Network::clean()
        }
    }

    pub(crate) fn strip(mut self, kind: u8, which: Which) -> Network {
        self.strip.push((kind, which));
        self
    }

    /// What comes out of it for one packet, each with its delay.
    pub(crate) fn carry(&self, rng: &mut Rng, packet: Vec<u8>) -> Vec<(Duration, Vec<u8>)> {
        let packet = self.stripped(packet);
        let pieces = if rng.chance(self.split) {
            split(rng, packet)
        } else {
            vec![packet]
        };
        let mut out = Vec::new();
        for mut piece in pieces {
            if rng.chance(self.loss) {
                continue;
            }
            if rng.chance(self.flip) {
                flip(rng, &mut piece, self.flip_unnoticed);
            }
            if rng.chance(self.duplicate) {
                out.push((self.time(rng), piece.clone()));
            }
            out.push((self.time(rng), piece));
        }
        out
    }

    fn time(&self, rng: &mut Rng) -> Duration {
        let jitter = self.jitter.as_micros() as u64;
        self.delay + Duration::from_micros(rng.below(jitter + 1))
    }

    fn stripped(&self, packet: Vec<u8>) -> Vec<u8> {
        let Ok(view) = View::parse(&packet) else {
            return packet;
        };
        let is_syn = view.flags().has(Flags::SYN);
        let has_ack = view.flags().has(Flags::ACK);
        let mut options = OptionBuf::from_header(view.options());
        for (kind, which) in &self.strip {
            let hit = match which {
                Which::Syn => is_syn && !has_ack,
                Which::SynAck => is_syn && has_ack,
                Which::Later => !is_syn,
                Which::All => true,
            };
            if hit {
                options.blank(*kind);
            }
        }
        if options.as_slice() == view.options() {
            return packet;
        }
        let mut rewrite = Rewrite::of(&view);
        rewrite.options = options;
        let mut out = Vec::new();
        assert!(rewrite.write(&[view.payload()], &mut out));
        out
    }
}

fn split(rng: &mut Rng, packet: Vec<u8>) -> Vec<Vec<u8>> {
    let Ok(view) = View::parse(&packet) else {
        return vec![packet];
    };
    let data = view.payload();
    if data.len() < 2 || view.flags().has(Flags::SYN) {
        return vec![packet];
    }
    let (a, b) = data.split_at(1 + rng.below(data.len() as u64 - 1) as usize);
    let mut first = Rewrite::of(&view);
    first.flags = first.flags.without(Flags::FIN | Flags::PSH);
    let mut second = Rewrite::of(&view);
    second.seq += a.len() as u32;
    let mut out = [Vec::new(), Vec::new()];
    assert!(first.write(&[a], &mut out[0]) && second.write(&[b], &mut out[1]));
    out.into()
}

/// Changes one bit of the data or, where there is none, of the TCP header behind the ports.
fn flip(rng: &mut Rng, packet: &mut Vec<u8>, unnoticed: bool) {
    let Ok(view) = View::parse(packet) else {
        return;
    };
    let from = if view.payload().is_empty() {
        view.ip_header().len() + 4
    } else {
        view.total_length() - view.payload().len()
    };
    let at = from + rng.below((packet.len() - from) as u64) as usize;
    packet[at] ^= 1 << rng.below(8);
    if unnoticed {
        let mut out = Vec::new();
        if let Ok(view) = View::parse(packet) {
            assert!(Rewrite::of(&view).write(&[view.payload()], &mut out));
            *packet = out;
        }
    }
}

/// Both as one packet, if the second directly follows the first and nothing else tells them apart.
pub(crate) fn merged(first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    let (a, b) = (View::parse(first).ok()?, View::parse(second).ok()?);
    let plain = |v: &View<'_>| v.flags().without(Flags::PSH) == Flags::ACK;
    let same = a.source() == b.source()
        && a.tuple(tcpcrypt_proto::packet::Direction::Out)
            == b.tuple(tcpcrypt_proto::packet::Direction::Out)
        && a.ack() == b.ack()
        && a.end() == b.seq()
        && a.options() == b.options()
        && options::find(a.options(), options::SACK).is_none();
    let some = !a.payload().is_empty() && !b.payload().is_empty();
    if !(same && some && plain(&a) && plain(&b)) || first.len() + second.len() > 60_000 {
        return None;
    }
    // The last thing to look at: all that is under way is tried with each packet, and hardly any fits.
    if !checksums_are_right(first) || !checksums_are_right(second) {
        return None;
    }
    let mut whole = Rewrite::of(&a);
    whole.flags |= b.flags();
    whole.window = b.window();
    let mut out = Vec::new();
    whole
        .write(&[a.payload(), b.payload()], &mut out)
        .then_some(out)
}
