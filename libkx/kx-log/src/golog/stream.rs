//! Lines to a pipe, a terminal or a socket, whose reader may be slow or gone: written without waiting.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{SendFlags, send};

use super::backlog::Outlet;

/// Octets that a pipe takes at once if it says that it takes any (`PIPE_BUF`).
const PIECE: usize = 4096;

pub(super) struct Stream {
    file: File,
    way: Way,
}

/// How not to wait.
enum Way {
    /// The open file is ours alone and set to non-blocking.
    NonBlocking,
    Socket,
    /// It is shared with other programs, which count on its mode: ask first.
    Poll,
}

/// Whether writing to `file` can make us wait for somebody.
pub(super) fn can_wait(file: &File) -> bool {
    // What cannot be looked at is taken for the usual thing.
    let kind = file.metadata().map(|metadata| metadata.file_type());
    kind.is_ok_and(|kind| !kind.is_file() && !kind.is_block_device())
}

impl Stream {
    /// Over a file that nobody else has open.
    pub(super) fn own(file: File) -> Self {
        let set = fcntl_getfl(&file).and_then(|old| fcntl_setfl(&file, old | OFlags::NONBLOCK));
        let way = if set.is_ok() {
            Way::NonBlocking
        } else {
            Way::Poll
        };
        Self { file, way }
    }

    /// Over standard output, which others may have too.
    pub(super) fn shared(file: File) -> Self {
        let kind = file.metadata().map(|metadata| metadata.file_type());
        if kind.is_ok_and(|kind| kind.is_socket()) {
            let way = Way::Socket;
            return Self { file, way };
        }
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let anew = OpenOptions::new()
            .append(true)
            .custom_flags(flags.bits() as i32)
            .open("/proc/self/fd/1");
        match anew {
            Ok(file) => {
                let way = Way::NonBlocking;
                Self { file, way }
            }
            Err(_) => {
                let way = Way::Poll;
                Self { file, way }
            }
        }
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self.way {
            Way::NonBlocking => self.file.write(octets),
            Way::Socket => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                Ok(send(&self.file, octets, flags)?)
            }
            Way::Poll => {
                const AT_ONCE: Timespec = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                let mut ready = [PollFd::new(&self.file, PollFlags::OUT)];
                if poll(&mut ready, Some(&AT_ONCE))? == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                self.file.write(octets.get(..PIECE).unwrap_or(octets))
            }
        }
    }
}

impl Outlet for Stream {
    const FULL: &'static str = "who reads the log does not take them";

    fn send(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while let Some(rest) = line.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => sent = sent.saturating_add(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                // The reader went away within a line: the next one shall see its rest.
                Err(_) if sent > 0 => return Ok(sent),
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Fills it until it takes no more, then reads that it was whole.
    fn fill(mut stream: Stream, mut reader: impl Read) {
        let line = [b'x'; 10_000];
        let mut taken = 0;
        loop {
            let sent = stream.send(&line).unwrap();
            taken += sent;
            if sent < line.len() {
                break;
            }
        }
        assert_eq!(stream.send(b"x").unwrap(), 0);
        drop(stream);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        assert!(taken > 0 && text.len() == taken);
    }

    #[test]
    fn a_socket_whose_reader_hangs_is_not_waited_for() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stream = Stream::shared(File::from(OwnedFd::from(ours)));
        assert!(matches!(stream.way, Way::Socket));
        fill(stream, theirs);
    }

    #[test]
    fn a_pipe_in_the_mode_of_others_is_not_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        let file = File::from(OwnedFd::from(writer));
        assert!(can_wait(&file));
        let way = Way::Poll;
        fill(Stream { file, way }, reader);
    }

    #[test]
    fn files_on_a_disk_are_not_streams() {
        assert!(!can_wait(&tempfile::tempfile().unwrap()));
        assert!(can_wait(&File::open("/dev/null").unwrap()));
    }
}
