//! Messages between two processes of a program, with an open descriptor in each where one is wanted.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

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
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
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
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
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
        let mut descriptor = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                descriptor = descriptors.last().or(descriptor);
            }
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(ErrorKind::InvalidData.into());
        }
        match received.bytes {
            0 => Ok(None),
            length => Ok(Some((length, descriptor))),
        }
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
    use std::io::{Read, Seek, Write};

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
        one.send(&[7; 17], None).expect("sent");
        let error = other.receive(&mut buffer).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        other.send(b"unread", None).expect("sent");
        drop(one);
        assert!(other.receive(&mut buffer).expect("the end").is_none());
        assert!(other.send(b"x", None).is_err());
    }
}
