//! The child's side.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kx_sys::descriptor_channel::DescriptorChannel;
use kx_sys::udp::Udp;

use zeroize::Zeroizing;

use crate::files::{Access, Entry, Files};
use crate::kernel::Found;

use super::message::{
    Confidential, MAX_MESSAGE, MOST_CHOICES, MOST_PATHS, Reply, Request, may_be_asked,
};

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

    fn receive_all(&self) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let mut buffer = [0; MAX_MESSAGE];
        let received = self.0.receive_all(&mut buffer)?;
        let (length, descriptors) = received.ok_or(ErrorKind::BrokenPipe)?;
        let reply = buffer.get(..length).and_then(Reply::decode);
        match reply.ok_or(ErrorKind::InvalidData)? {
            Reply::Failed(number) => Err(io::Error::from_raw_os_error(number)),
            reply => Ok((reply, descriptors)),
        }
    }

    fn receive(&self) -> io::Result<(Reply, Option<OwnedFd>)> {
        let (reply, mut descriptors) = self.receive_all()?;
        Ok((reply, descriptors.pop()))
    }

    fn send(&self, request: &Request) -> io::Result<()> {
        let octets = Zeroizing::new(request.encode());
        let is_path = match request {
            Request::Open(_, path) | Request::ReadDirectory(path) => {
                may_be_asked(path.as_os_str().as_bytes())
            }
            _ => true,
        };
        if !is_path || octets.len() > MAX_MESSAGE {
            return Err(too_long());
        }
        self.0.send(&octets, None)
    }

    fn ask(&self, request: &Request) -> io::Result<(Reply, Option<OwnedFd>)> {
        self.send(request)?;
        self.receive()
    }

    /// The files of some choices that can be asked for.
    fn ask_each(&self, choices: &[Vec<PathBuf>]) -> io::Result<Vec<(usize, io::Result<File>)>> {
        self.send(&Request::OpenFirst(choices.to_vec()))?;
        let (Reply::First(found), files) = self.receive_all()? else {
            return Err(ErrorKind::InvalidData.into());
        };
        let there = found.iter().filter(|(_, error)| error.is_none()).count();
        if found.len() != choices.len() || there != files.len() {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut files = files.into_iter();
        let opened = found.into_iter().map(|(place, error)| {
            let file = match error {
                Some(number) => Err(io::Error::from_raw_os_error(number)),
                None => files.next().map(File::from).ok_or_else(too_long),
            };
            (usize::from(place), file)
        });
        Ok(opened.collect())
    }

    fn ask_for(&self, request: &Request) -> io::Result<OwnedFd> {
        match self.ask(request)? {
            (Reply::Done, Some(descriptor)) => Ok(descriptor),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// What opening a path says that no system knows.
fn too_long() -> io::Error {
    io::Error::from_raw_os_error(libc::ENAMETOOLONG)
}

impl Files for Remote {
    fn open(&self, path: &Path, access: Access) -> io::Result<File> {
        let request = Request::Open(access, path.to_owned());
        self.ask_for(&request).map(File::from)
    }

    fn open_first(&self, paths: &[PathBuf]) -> (usize, io::Result<File>) {
        let first = paths.get(..paths.len().min(MOST_PATHS)).unwrap_or(paths);
        let is_path = |path: &PathBuf| may_be_asked(path.as_os_str().as_bytes());
        if let Some(place) = first.iter().position(|path| !is_path(path)) {
            return (place, Err(too_long()));
        }
        if first.is_empty() {
            return (0, Err(ErrorKind::NotFound.into()));
        }
        match self.ask_each(&[first.to_vec()]) {
            Ok(mut opened) => opened.pop().unwrap_or_else(|| (0, Err(too_long()))),
            Err(error) => (0, Err(error)),
        }
    }

    fn open_each(&self, choices: &[Vec<PathBuf>]) -> Vec<(usize, io::Result<File>)> {
        let mut paths = choices.iter().flatten();
        let fits = (1..=MOST_CHOICES).contains(&choices.len())
            && choices
                .iter()
                .all(|paths| (1..=MOST_PATHS).contains(&paths.len()))
            && paths.all(|path| may_be_asked(path.as_os_str().as_bytes()));
        match fits.then(|| self.ask_each(choices)) {
            Some(Ok(opened)) => opened,
            // Together they are too long, or one of them is no path: each for itself.
            _ => choices.iter().map(|paths| self.open_first(paths)).collect(),
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
