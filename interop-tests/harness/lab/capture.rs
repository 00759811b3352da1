//! A tap on the cable.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType};

use crate::lab::host::Host;
use crate::lab::segment::Segment;
use crate::wait;

/// Most payload that a capture keeps; later packets are not seen.
const LIMIT: usize = 64 << 20;

/// Where the traffic does not pause, this long is enough to be given a list.
const CATCHING_UP: Duration = Duration::from_secs(3);

/// ETH_P_ALL: the only "protocol" that also sees what is sent.
const EVERYTHING: u16 = 3;

/// A socket that reads every packet that enters or leaves a host, without its link
/// header, behind the host's OUTPUT rules and in front of its INPUT rules.
pub(crate) fn packet_socket(host: &Host) -> File {
    socket_of(host, SocketType::DGRAM)
}

fn socket_of(host: &Host, kind: SocketType) -> File {
    let all = NonZeroU32::new(u32::from(EVERYTHING.to_be())).map(Protocol::from_raw);
    let socket = host.within(|| {
        let family = AddressFamily::PACKET;
        rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, all).expect("a packet socket")
    });
    set_socket_recv_buffer_size_force(&socket, 32 << 20).expect("the packet socket's buffer");
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(20)))
        .expect("the packet socket's limit");
    File::from(socket)
}

/// Every TCP segment seen since it was started.
#[derive(Debug)]
pub struct Capture {
    seen: Arc<Mutex<Vec<Segment>>>,
    /// How often there was nothing to read.
    idle: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Listens at a host's end of the cable.
    pub fn start(host: &Host) -> Capture {
        let socket = socket_of(host, SocketType::RAW);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let idle = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let (seen, idle, stop) = (Arc::clone(&seen), Arc::clone(&idle), Arc::clone(&stop));
            move || listen(socket, &seen, &idle, &stop)
        });
        Capture {
            seen,
            idle,
            stop,
            thread: Some(thread),
        }
    }

    /// What was seen so far, in order.
    pub fn segments(&self) -> Vec<Segment> {
        // The reader needs a moment for what the kernel already has, a long one on a busy machine. The first
        // time may have begun before this call.
        let before = self.idle.load(Ordering::Relaxed);
        let _ = wait::until(CATCHING_UP, || {
            (self.idle.load(Ordering::Relaxed) > before + 1).then_some(())
        });
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until a segment of some kind was seen.
    pub fn wait_for(&self, limit: Duration, wanted: impl Fn(&Segment) -> bool) -> Option<Segment> {
        wait::until(limit, || {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.iter().find(|s| wanted(s)).cloned()
        })
    }

    /// True when these bytes stood together in the data of some segment.
    pub fn contains(&self, text: &[u8]) -> bool {
        self.segments()
            .iter()
            .any(|s| s.payload.windows(text.len()).any(|w| w == text))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(mut socket: File, seen: &Mutex<Vec<Segment>>, idle: &AtomicU64, stop: &AtomicBool) {
    let mut packet = vec![0; 70_000];
    let mut kept = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = socket.read(&mut packet) else {
            idle.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let Some(packet) = on_the_cable(packet.get(..length).unwrap_or_default()) else {
            continue;
        };
        let Some(segment) = Segment::parse(packet) else {
            continue;
        };
        kept += segment.payload.len() + 128;
        if kept <= LIMIT {
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(segment);
        }
    }
}

/// What is behind the link header; nothing for the loopback interface, which has no link addresses. A proxy's
/// plain text goes there.
fn on_the_cable(frame: &[u8]) -> Option<&[u8]> {
    let (link, packet) = frame.split_at_checked(14)?;
    link.iter()
        .take(12)
        .any(|octet| *octet != 0)
        .then_some(packet)
}
