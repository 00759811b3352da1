//! Hosts with a way between them: what arrives waits in a queue of its own, in front of everything else, as long as the
//! way would take. The kernel of the measured machine may have no discipline that does it (netem).

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use interop_tests::lab::Lab;
use interop_tests::program::Guarded;
use kx_sys::nfqueue::{Batch, Message, Messages, Verdict};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::accept_all;
use crate::way;

/// How long a packet takes from one host to the other, beside what the hosts themselves need.
pub(crate) const AWAY: Duration = Duration::from_millis(1);
/// The daemons' is 666.
const QUEUE: u16 = 667;

/// Moves the hosts apart, as long as the result lives.
pub(crate) fn move_apart(lab: &Lab) -> Vec<Guarded> {
    let children = lab.hosts().map(|host| {
        let child = Guarded(way::queue_process(host, "-delay", QUEUE));
        host.rule(&format!(
            "-t raw -A PREROUTING -i wire -p tcp -j NFQUEUE --queue-num {QUEUE}"
        ));
        child
    });
    children.into()
}

/// Lets packets go [`AWAY`] after they have come, until it is killed.
pub(crate) fn run() -> ExitCode {
    let Some(queue) = accept_all::open(QUEUE) else {
        return ExitCode::FAILURE;
    };
    let mut batch = Batch::new(64);
    let mut verdicts = queue.verdicts();
    let mut waiting = VecDeque::new();
    loop {
        let now = Instant::now();
        while let Some((_, id)) = waiting.front().filter(|(due, _)| *due <= now) {
            verdicts.give(*id, Verdict::Accept, None);
            waiting.pop_front();
        }
        let _ = queue.send(&mut verdicts);
        let wait = waiting.front().map(|(due, _)| *due - now);
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let _ = poll(&mut [PollFd::new(&queue, PollFlags::IN)], wait.as_ref());
        while let Ok(1..) = queue.receive(&mut batch) {
            let due = Instant::now() + AWAY;
            for message in batch.datagrams().flat_map(Messages::new) {
                if let Ok(Message::Packet(packet)) = message {
                    waiting.push_back((due, packet.id));
                }
            }
        }
    }
}
