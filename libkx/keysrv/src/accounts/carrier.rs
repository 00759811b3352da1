//! Messages of 9P2000 over the socket of keyfs.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use kx_secret::SecretBytes;
use rustix::net::RecvFlags;
use styx::client::{self, Call, Post};
use styx::message::Malformed;

/// Octets of the longest message that is asked for: as much as Inferno's servers give.
pub(super) const MSIZE: u32 = 8216;
/// The tag of the read by which keyfs says that something has changed.
pub(super) const NOTICE: u16 = 2;
/// Octets that are read at once: more than any reply about one user has.
const PIECE: usize = 512;
/// Where a message has its tag.
const TAG: std::ops::Range<usize> = 5..7;

/// Whole messages over a Unix socket. Only one reply is on its way at any time, and besides it perhaps a
/// notice.
#[derive(Debug)]
pub(super) struct Carrier {
    stream: UnixStream,
    /// What came, from the start of a message on.
    input: SecretBytes,
    /// What is to be sent before the next request.
    posted: SecretBytes,
    /// Whether a notice is still to come.
    awaiting: bool,
}

impl Carrier {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            input: SecretBytes::default(),
            posted: SecretBytes::default(),
            awaiting: false,
        }
    }

    /// Whether a notice was asked for that has not come.
    pub(super) fn is_awaiting(&self) -> bool {
        self.awaiting
    }

    /// Whether a notice was asked for and nothing at all has come since the last call, the end of the
    /// connection included.
    pub(super) fn is_quiet(&mut self) -> bool {
        if !self.awaiting || !self.input.is_empty() {
            return false;
        }
        let mut room = [0; PIECE];
        match rustix::net::recv(&self.stream, &mut room, RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::WOULDBLOCK) => true,
            Ok((count, _)) => {
                // Only a notice can come unasked, and in it is nothing secret.
                let octets = room.get(..count).unwrap_or_default();
                self.input.extend_from_slice(octets);
                // What is wrong with it the next call will say.
                let _ = self.reply();
                false
            }
            // The next call will meet it.
            Err(_) => false,
        }
    }

    /// The length of the reply that has come as a whole. Notices before it are taken away.
    fn reply(&mut self) -> io::Result<Option<usize>> {
        let senseless = |malformed| io::Error::new(io::ErrorKind::InvalidData, malformed);
        loop {
            let message = client::message_len(self.input.as_slice(), MSIZE).map_err(senseless)?;
            let Some(len) = message.filter(|len| self.input.len() >= *len) else {
                return Ok(None);
            };
            if self.input.as_slice().get(TAG) != Some(&NOTICE.to_le_bytes()) {
                return Ok(Some(len));
            }
            if !self.awaiting {
                return Err(senseless(Malformed::Size));
            }
            self.awaiting = false;
            self.input.drop_front(len);
        }
    }
}

impl Call for Carrier {
    type Error = io::Error;

    fn call(&mut self, request: &[u8], reply: &mut SecretBytes) -> io::Result<()> {
        if self.reply()?.is_some() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, Malformed::Size));
        }
        if self.posted.is_empty() {
            self.stream.write_all(request)?;
        } else {
            self.posted.extend_from_slice(request);
            self.stream.write_all(self.posted.as_slice())?;
            self.posted.truncate(0);
        }
        let mut room = SecretBytes::zeroed(PIECE);
        let len = loop {
            if let Some(len) = self.reply()? {
                break len;
            }
            let count = match self.stream.read(room.as_mut_slice()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let octets = room.as_slice().get(..count).unwrap_or_default();
            self.input.extend_from_slice(octets);
        };
        reply.extend_from_slice(self.input.as_slice().get(..len).unwrap_or_default());
        self.input.drop_front(len);
        Ok(())
    }
}

impl Post for Carrier {
    /// The request must be a read with the tag [`NOTICE`].
    fn post(&mut self, request: &[u8]) -> io::Result<()> {
        self.posted.extend_from_slice(request);
        self.awaiting = true;
        Ok(())
    }
}
