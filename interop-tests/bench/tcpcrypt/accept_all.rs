//! "NFQUEUE alone": every packet goes up to a process and back, unchanged, in batches.

use std::process::ExitCode;

use kx_sys::nfqueue::{Batch, Message, Messages, Queue, Settings, Verdict};
use rustix::event::{PollFd, PollFlags, poll};

/// A queue of the host that this runs on; says why there is none.
pub(crate) fn open(number: u16) -> Option<Queue> {
    let queue = Queue::open(Settings::new(number));
    queue.map_err(|error| eprintln!("{error}")).ok()
}

/// Accepts what comes through queue 666 of the host it runs on, until it is killed.
pub(crate) fn run() -> ExitCode {
    let Some(queue) = open(666) else {
        return ExitCode::FAILURE;
    };
    let mut batch = Batch::new(64);
    let mut verdicts = queue.verdicts();
    println!("Running");
    loop {
        let _ = poll(&mut [PollFd::new(&queue, PollFlags::IN)], None);
        while let Ok(1..) = queue.receive(&mut batch) {
            for message in batch.datagrams().flat_map(Messages::new) {
                if let Ok(Message::Packet(packet)) = message {
                    verdicts.give(packet.id, Verdict::Accept, None);
                }
            }
            let _ = queue.send(&mut verdicts);
        }
    }
}
