//! The child's side.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use kx_sys::descriptor_channel::DescriptorChannel;
use kx_sys::udp::Udp;

use zeroize::Zeroizing;

use crate::files::{Access, Entry, Files};
use crate::kernel::Found;

use super::message::{Confidential, MAX_MESSAGE, MOST_PATHS, Reply, Request};

/// Entries of a directory.
const MAX_ENTRIES: usize = 65_536;

/// Asks the monitor, and waits for its answer.
#[derive(Debug)]
pub struct Remote(DescriptorChannel);

impl Remote {
    /// Over this line.
    #[must_use]
    pub fn new(line: DescriptorChannel) -> Remote {
        Remote(line)
    }

    /// A request to the kernel's IPsec, which may have keys in it.
    ///
    /// # Errors
    /// The kernel's; EACCES for what the monitor does not let through.
    pub fn kernel(&self, octets: &[u8]) -> io::Result<Option<Found>> {
        let request = Request::Kernel(Confidential(Zeroizing::new(octets.to_vec())));
        match self.ask(&request)? {
            (Reply::Done, None) => Ok(None),
            (Reply::Found(found), None) => Ok(Some(found)),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    fn receive(&self) -> io::Result<(Reply, Option<OwnedFd>)> {
        let mut buffer = [0; MAX_MESSAGE];
        let received = self.0.receive(&mut buffer)?;
        let (length, descriptor) = received.ok_or(ErrorKind::BrokenPipe)?;
        let reply = buffer.get(..length).and_then(Reply::decode);
        match reply.ok_or(ErrorKind::InvalidData)? {
            Reply::Failed(number) => Err(io::Error::from_raw_os_error(number)),
            reply => Ok((reply, descriptor)),
        }
    }

    fn ask(&self, request: &Request) -> io::Result<(Reply, Option<OwnedFd>)> {
        self.0.send(&Zeroizing::new(request.encode()), None)?;
        self.receive()
    }

    fn ask_for(&self, request: &Request) -> io::Result<OwnedFd> {
        match self.ask(request)? {
            (Reply::Done, Some(descriptor)) => Ok(descriptor),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }
}

impl Files for Remote {
    fn open(&self, path: &Path, access: Access) -> io::Result<File> {
        let request = Request::Open(access, path.to_owned());
        self.ask_for(&request).map(File::from)
    }

    fn open_first(&self, paths: &[PathBuf]) -> (usize, io::Result<File>) {
        let paths = paths.get(..paths.len().min(MOST_PATHS)).unwrap_or(paths);
        match self.ask(&Request::OpenFirst(paths.to_vec())) {
            Ok((Reply::First(place, None), Some(file))) => (place.into(), Ok(file.into())),
            Ok((Reply::First(place, Some(number)), None)) => {
                (place.into(), Err(io::Error::from_raw_os_error(number)))
            }
            Ok(_) => (0, Err(ErrorKind::InvalidData.into())),
            Err(error) => (0, Err(error)),
        }
    }

    fn read_directory(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let request = Request::ReadDirectory(directory.to_owned());
        let mut next = self.ask(&request)?;
        loop {
            match next {
                (Reply::Done, _) => return Ok(entries),
                (Reply::Entry(None, path), Some(file)) => entries.push((path, Ok(file.into()))),
                (Reply::Entry(Some(number), path), None) => {
                    entries.push((path, Err(io::Error::from_raw_os_error(number))));
                }
                _ => return Err(ErrorKind::InvalidData.into()),
            }
            if entries.len() > MAX_ENTRIES {
                return Err(ErrorKind::InvalidData.into());
            }
            next = self.receive()?;
        }
    }

    fn bind(&self, address: SocketAddr, exclusive: bool) -> io::Result<Udp> {
        let request = Request::Bind(exclusive, address);
        Udp::from_bound(self.ask_for(&request)?)
    }

    fn default_interfaces(&self) -> [Option<String>; 2] {
        match self.ask(&Request::DefaultInterfaces) {
            Ok((Reply::Interfaces(names), _)) => names,
            _ => [None, None],
        }
    }

    fn system_log(&self) -> io::Result<OwnedFd> {
        self.ask_for(&Request::SystemLog)
    }

    fn line(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}
