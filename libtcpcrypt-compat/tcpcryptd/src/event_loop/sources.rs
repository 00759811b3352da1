//! What the loop waits for. The kernel keeps the list: handing it over at each wake-up, as `poll` does, costs a
//! connection more than its decryption.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// One of the descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The queue.
    Packets,
    /// The control socket.
    Request,
    /// The signals.
    Signal,
    /// The guard process.
    Guard,
    /// What tells that rules changed.
    Rules,
}

const ALL: [Source; 5] = [
    Source::Packets,
    Source::Request,
    Source::Signal,
    Source::Guard,
    Source::Rules,
];

/// What [`Sources::wait`] found.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Ready {
    pub packets: bool,
    pub request: bool,
    pub signal: bool,
    pub guard: bool,
    pub rules: bool,
}

/// The descriptors that are waited for. Whoever closes one [`remove`](Sources::remove)s it before.
pub(super) struct Sources {
    list: OwnedFd,
}

impl Sources {
    /// An empty list.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn new() -> io::Result<Sources> {
        let list = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Sources { list })
    }

    /// # Errors
    /// The system's; one is that the descriptor is there already.
    pub(super) fn add(&self, descriptor: impl AsFd, source: Source) -> io::Result<()> {
        let data = EventData::new_u64(source as u64);
        Ok(epoll::add(&self.list, descriptor, data, EventFlags::IN)?)
    }

    pub(super) fn remove(&self, descriptor: impl AsFd) {
        // If it is not there, nothing has to be done.
        let _ = epoll::delete(&self.list, descriptor);
    }

    /// Waits until something is there, at most until `deadline`, which may be passed by a millisecond. One that
    /// lies in the past: looks only whether something is there.
    ///
    /// # Errors
    /// The system's, but for a signal's interruption.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> io::Result<Ready> {
        let timeout = deadline.map(|deadline| {
            let wait = deadline.saturating_duration_since(Instant::now());
            Timespec::try_from(wait.min(LONGEST)).unwrap_or_default()
        });
        let mut events = [Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        }; ALL.len()];
        let count = match epoll::wait(&self.list, events.as_mut_slice(), timeout.as_ref()) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut ready = Ready::default();
        for event in events.iter().take(count) {
            let token = event.data.u64();
            let source = ALL.into_iter().find(|source| *source as u64 == token);
            match source {
                Some(Source::Packets) => ready.packets = true,
                Some(Source::Request) => ready.request = true,
                Some(Source::Signal) => ready.signal = true,
                Some(Source::Guard) => ready.guard = true,
                Some(Source::Rules) => ready.rules = true,
                None => {}
            }
        }
        Ok(ready)
    }
}

/// The loop looks around at least so often.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(3600);
