//! What happens when the daemon is killed or crashes: a companion process, which holds the same queue,
//! resets the encrypted connections at both ends.
//!
//! Without it they would stall at best. At worst, with rules that let packets pass when no daemon is
//! there, plain text would leave on them, in the middle of what the other end takes for ciphertext. The
//! companion holds the queue open, so that nothing passes before it looked at it. It shares the [`Table`]
//! with the daemon and does nothing until the daemon is gone; when the daemon ends in good order it ends
//! too. Connections that were plain go on.

mod table;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kx_sys::companion::{Ending, Watch};
use kx_sys::conntrack::LiberalTracking;
use kx_sys::nfqueue::{Batch, Message, Messages, Packet, Queue, Verdict};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tcpcrypt_proto::packet::{Direction, Flags, FourTuple, Fresh, Seq, View};

pub use table::{Entry, Outcome, Table};

use crate::divert::Divert;
use crate::injector::Injector;
use crate::log::Log;

/// The companion's name among processes; no script that looks for the daemon finds it.
pub const NAME: &std::ffi::CStr = c"tcpcrypt-guard";

/// How long the companion serves the queue afterwards.
const LONGEST: Duration = Duration::from_secs(2);
/// So long without a packet, and it is done.
const QUIET: Duration = Duration::from_millis(50);
/// Connections reset before the queue is looked at: it must hold what we send.
const AT_ONCE: usize = 64;

/// What the companion needs, all opened by the daemon.
pub struct Guard {
    /// The queue that the daemon serves.
    pub queue: Queue,
    /// Lets packets go on as the daemon would.
    pub divert: Divert,
    /// For the resets.
    pub injector: Injector,
    /// What the daemon wrote.
    pub table: Table,
    /// To be put back.
    pub tracking: Option<LiberalTracking>,
    /// Where packets are made.
    pub packet: Vec<u8>,
}

impl Guard {
    /// Waits for the daemon's end, and does what there is to do.
    pub fn stand_by(mut self, mut watch: Watch, log: &Log) {
        if watch.wait() == Ending::Orderly {
            return;
        }
        let entries: HashMap<FourTuple, Entry> = self
            .table
            .entries()
            .map(|entry| (entry.ends, entry))
            .collect();
        let mut waiting: Vec<&Entry> = entries.values().collect();
        let mut batch = Batch::new(AT_ONCE);
        let end = Instant::now() + LONGEST;
        loop {
            let rest = waiting.len().saturating_sub(AT_ONCE);
            for entry in waiting.drain(rest..) {
                self.reset(entry);
            }
            let served = self.serve(&mut batch, &entries);
            if waiting.is_empty() && !served || Instant::now() > end {
                break;
            }
        }
        if let Some(tracking) = &mut self.tracking {
            // Nobody is left to be told.
            let _ = tracking.restore();
        }
        let count = entries.len();
        log.complain(format_args!(
            "the daemon is gone; reset {count} encrypted connections"
        ));
    }

    /// This host first: what it still sends must not get out.
    fn reset(&mut self, entry: &Entry) {
        let (plain, wire) = (
            (entry.plain_in, entry.plain_out),
            (entry.wire_out, entry.wire_in),
        );
        self.send_reset(entry.ends, Direction::In, plain);
        self.send_reset(entry.ends, Direction::Out, wire);
    }

    fn send_reset(&mut self, ends: FourTuple, direction: Direction, (seq, ack): (Seq, Seq)) {
        let reset = Fresh {
            seq,
            ack,
            flags: Flags::RST | Flags::ACK,
            ..Fresh::new(ends, direction)
        };
        self.packet.clear();
        if reset.write(&[], &mut self.packet) {
            self.injector
                .send(direction, ends.interface(), &self.packet);
        }
    }

    /// Serves the queue once; false if nothing came for a while.
    fn serve(&mut self, batch: &mut Batch, entries: &HashMap<FourTuple, Entry>) -> bool {
        let mut ready = [PollFd::new(&self.queue, PollFlags::IN)];
        let wait = Timespec::try_from(QUIET).ok();
        if !matches!(poll(&mut ready, wait.as_ref()), Ok(1..)) {
            return false;
        }
        let mut verdicts = self.queue.verdicts();
        let mut answers = Vec::new();
        if !matches!(self.queue.receive(batch), Ok(1..)) {
            return false;
        }
        for datagram in batch.datagrams() {
            for message in Messages::new(datagram) {
                let Ok(Message::Packet(packet)) = message else {
                    continue;
                };
                match outlived(&packet, entries) {
                    None => {
                        let decision = self.divert.let_pass(&packet);
                        verdicts.give(packet.id, decision.verdict, decision.mark);
                    }
                    Some((ends, direction, numbers)) => {
                        verdicts.give(packet.id, Verdict::Drop, None);
                        answers.push((ends, direction, numbers));
                    }
                }
            }
        }
        let sent = self.queue.send(&mut verdicts).is_ok();
        for (ends, direction, numbers) in answers {
            self.send_reset(ends, direction, numbers);
        }
        sent
    }
}

/// A packet of an encrypted connection that must not pass, since it would show plain text or be taken
/// for it: the reset that answers it. Its sender says with it which number it expects, also when it only
/// asks whether an earlier reset was meant (RFC 5961 3.2).
fn outlived(
    packet: &Packet<'_>,
    entries: &HashMap<FourTuple, Entry>,
) -> Option<(FourTuple, Direction, (Seq, Seq))> {
    let view = View::parse(packet.payload).ok()?;
    let (from, back) = if packet.hook.is_inward() {
        (Direction::In, Direction::Out)
    } else {
        (Direction::Out, Direction::In)
    };
    let ends = view.tuple(from).on_interface(packet.interface);
    // A SYN begins another connection between the same ends.
    if view.flags().has(Flags::RST) || view.flags().has(Flags::SYN) || !entries.contains_key(&ends)
    {
        return None;
    }
    Some((ends, back, (view.ack(), view.end())))
}
