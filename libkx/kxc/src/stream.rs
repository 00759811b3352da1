//! A TCP connection with a deadline, which remembers how it ended.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use kx_log::golog::format_errno;
use rustix::event::{PollFd, PollFlags, poll};

use crate::dial::timespec_until;

/// First octets kept to tell what kind of server answered.
const HEAD: usize = 8;

/// A non-blocking socket whose reads and writes wait, but not beyond the deadline.
#[derive(Debug)]
pub(crate) struct TimedStream {
    tcp: TcpStream,
    /// `A->B`; asked at the start, since a reset connection no longer knows its ends.
    ends: String,
    deadline: Option<Instant>,
    ended: Option<Ended>,
    records: RecordTracker,
    head: Vec<u8>,
}

/// How the connection below TLS ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The peer closed; true between two TLS records, where the original takes it as a proper end.
    Eof { at_boundary: bool },
    /// The deadline passed.
    Timeout,
    /// `read tcp A->B: read: ERROR`, as the original says it.
    Failed(String),
}

impl TimedStream {
    pub(crate) fn new(tcp: TcpStream, deadline: Option<Instant>) -> Self {
        let shown = |a: io::Result<SocketAddr>| a.map(|a| a.to_string()).unwrap_or_default();
        let ends = format!("{}->{}", shown(tcp.local_addr()), shown(tcp.peer_addr()));
        let records = RecordTracker::default();
        Self {
            tcp,
            ends,
            deadline,
            ended: None,
            records,
            head: Vec::new(),
        }
    }

    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// The first octets that came.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    fn wait(&mut self, what: PollFlags) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.tcp, what)];
        let left = timespec_until(self.deadline);
        match poll(&mut fds, left.as_ref()) {
            Ok(0) => {
                self.ended.get_or_insert(Ended::Timeout);
                Err(io::ErrorKind::TimedOut.into())
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn fail(&mut self, operation: &str, error: &io::Error) {
        let text = format!(
            "{operation} tcp {}: {operation}: {}",
            self.ends,
            format_errno(error)
        );
        self.ended.get_or_insert(Ended::Failed(text));
    }
}

impl Read for TimedStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tcp.read(into) {
                Ok(0) if !into.is_empty() => {
                    self.ended.get_or_insert(Ended::Eof {
                        at_boundary: self.records.between(),
                    });
                    return Ok(0);
                }
                Ok(n) => {
                    let came = into.get(..n).unwrap_or_default();
                    let room = HEAD.saturating_sub(self.head.len());
                    self.head.extend(came.iter().take(room));
                    self.records.take(came);
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::IN)?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.fail("read", &e);
                    return Err(e);
                }
            }
        }
    }
}

impl Write for TimedStream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        loop {
            match self.tcp.write(from) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::OUT)?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.fail("write", &e);
                    return Err(e);
                }
                Ok(n) => return Ok(n),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Follows the frame of TLS records (RFC 8446 section 5.1) only to know whether one is incomplete.
#[derive(Debug, Default)]
struct RecordTracker {
    header: Vec<u8>,
    body_left: usize,
}

impl RecordTracker {
    const HEADER: usize = 5;

    fn take(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            if self.body_left > 0 {
                let n = self.body_left.min(octets.len());
                self.body_left -= n;
                octets = octets.get(n..).unwrap_or_default();
                continue;
            }
            let n = (Self::HEADER - self.header.len()).min(octets.len());
            let (now, later) = octets.split_at(n);
            self.header.extend_from_slice(now);
            octets = later;
            if let [_, _, _, high, low] = self.header[..] {
                self.body_left = usize::from(u16::from_be_bytes([high, low]));
                self.header.clear();
            }
        }
    }

    fn between(&self) -> bool {
        self.header.is_empty() && self.body_left == 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn records_are_followed_across_reads() {
        let mut tracker = RecordTracker::default();
        assert!(tracker.between());
        tracker.take(&[23, 3, 3, 0]);
        assert!(!tracker.between());
        tracker.take(&[2, 1]);
        assert!(!tracker.between());
        tracker.take(&[1, 21, 3, 3, 0, 0]);
        assert!(tracker.between());
    }

    #[test]
    fn a_read_ends_with_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let started = Instant::now();
        let mut stream = TimedStream::new(tcp, Some(started + Duration::from_millis(60)));
        let error = stream.read(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(stream.ended(), Some(&Ended::Timeout));
        assert!(started.elapsed() >= Duration::from_millis(60));
    }
}
