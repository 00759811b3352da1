//! Messages between two processes of a program, with open descriptors in each where they are wanted.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Descriptors that a message may have with it.
const MOST: usize = 4;

/// One end. Messages keep their bounds and their order.
#[derive(Debug)]
pub struct DescriptorChannel(OwnedFd);

impl DescriptorChannel {
    /// Both ends.
    ///
    /// # Errors
    /// The system's.
    pub fn pair() -> io::Result<(DescriptorChannel, DescriptorChannel)> {
        let (one, other) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((DescriptorChannel(one), DescriptorChannel(other)))
    }

    /// Sends a message, which must not be empty, and waits until there is room for it.
    ///
    /// # Errors
    /// The system's; the other end is gone.
    pub fn send(&self, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.send_all(message, descriptor.as_slice())
    }

    /// The same with up to four descriptors.
    ///
    /// # Errors
    /// As [`DescriptorChannel::send`]; [`ErrorKind::InvalidInput`] for more of them.
    pub fn send_all(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let rights = SendAncillaryMessage::ScmRights(descriptors);
        if descriptors.len() > MOST || !descriptors.is_empty() && !control.push(rights) {
            return Err(ErrorKind::InvalidInput.into());
        }
        loop {
            let parts = [IoSlice::new(message)];
            match rustix::net::sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next message, once there is one: its length, and the descriptor that came with it. None: the other end
    /// is gone.
    ///
    /// # Errors
    /// The system's; [`ErrorKind::InvalidData`] if the message is longer than the buffer.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Option<OwnedFd>)>> {
        let received = self.receive_all(buffer)?;
        Ok(received.map(|(length, mut descriptors)| (length, descriptors.pop())))
    }

    /// The same with all descriptors that came with it, in their order.
    ///
    /// # Errors
    /// As [`DescriptorChannel::receive`].
    pub fn receive_all(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(buffer)];
            match rustix::net::recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                // What a socket says whose other end died with messages unread.
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                received => break received?,
            }
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(ErrorKind::InvalidData.into());
        }
        match received.bytes {
            0 => Ok(None),
            length => Ok(Some((length, descriptors))),
        }
    }
}

/// One end that was inherited, or for a process that is to inherit it. The first must be of a
/// [pair](DescriptorChannel::pair).
impl From<OwnedFd> for DescriptorChannel {
    fn from(end: OwnedFd) -> DescriptorChannel {
        DescriptorChannel(end)
    }
}

impl From<DescriptorChannel> for OwnedFd {
    fn from(channel: DescriptorChannel) -> OwnedFd {
        channel.0
    }
}

impl AsFd for DescriptorChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, SeekFrom, Write};

    #[test]
    fn messages_and_descriptors_arrive_and_the_end_is_seen() {
        let (one, other) = DescriptorChannel::pair().expect("pair");
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(b"content").expect("written");
        file.rewind().expect("rewound");
        one.send(b"first", Some(file.as_fd())).expect("sent");
        one.send(b"second", None).expect("sent");
        drop(file);
        let mut buffer = [0; 16];
        let (length, descriptor) = other.receive(&mut buffer).expect("received").expect("one");
        assert_eq!(&buffer[..length], b"first");
        let mut file = std::fs::File::from(descriptor.expect("a descriptor"));
        let mut content = String::new();
        file.read_to_string(&mut content).expect("read");
        assert_eq!(content, "content");
        let (length, descriptor) = other.receive(&mut buffer).expect("received").expect("one");
        assert_eq!(
            (&buffer[..length], descriptor.is_some()),
            (&b"second"[..], false)
        );
        let null = std::fs::File::open("/dev/null").expect("opened");
        one.send_all(b"both", &[file.as_fd(), null.as_fd()])
            .expect("sent");
        let (length, descriptors) = other
            .receive_all(&mut buffer)
            .expect("received")
            .expect("one");
        let ends = descriptors.into_iter().map(|one| {
            let end = std::fs::File::from(one).seek(SeekFrom::End(0));
            end.expect("sought")
        });
        assert_eq!(
            (&buffer[..length], ends.collect::<Vec<_>>()),
            (&b"both"[..], vec![7, 0])
        );
        let error = one.send_all(b"x", &[null.as_fd(); MOST + 1]);
        assert_eq!(error.expect_err("too many").kind(), ErrorKind::InvalidInput);
        one.send(&[7; 17], None).expect("sent");
        let error = other.receive(&mut buffer).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        other.send(b"unread", None).expect("sent");
        drop(one);
        assert!(other.receive(&mut buffer).expect("the end").is_none());
        assert!(other.send(b"x", None).is_err());
    }
}
