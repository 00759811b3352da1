//! What the two processes say to each other. Neither believes that the other one keeps to it.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::files::Access;
use crate::kernel::Found;

/// Octets of a path.
const MAX_PATH: usize = 4096;

/// Files of one choice.
pub(super) const MOST_PATHS: usize = 8;

/// Choices of files that are asked for at one time: no more than the descriptors of a message.
pub(super) const MOST_CHOICES: usize = 4;

/// Most octets of an interface's name. The kernel's have 15.
const MAX_INTERFACE: usize = 32;

/// Octets of the longest message.
pub const MAX_MESSAGE: usize = MAX_PATH + 64;

/// What the child asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A file. Answered by [`Reply::Done`] with it.
    Open(Access, PathBuf),
    /// All files of a directory. Answered by an [`Reply::Entry`] for each and [`Reply::Done`].
    ReadDirectory(PathBuf),
    /// A bound socket: whether alone, and where. Answered by [`Reply::Done`] with it.
    Bind(bool, SocketAddr),
    /// Interfaces of the default routes. Answered by [`Reply::Interfaces`].
    DefaultInterfaces,
    /// Of each of these the first file that is there, for reading; no path is empty. Answered by [`Reply::First`].
    OpenFirst(Vec<Vec<PathBuf>>),
    /// A connection to the system's log, when ours broke. Answered by [`Reply::Done`] with it.
    SystemLog,
    /// A request to the kernel's IPsec. Answered by [`Reply::Found`] if it tells of an SA, or [`Reply::Done`].
    Kernel(Confidential),
}

/// Octets that may have keys in them: wiped, and not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Confidential(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Confidential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

/// What the monitor answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// It is not, for this error of the system's.
    Failed(i32),
    /// A file of a directory; with it comes the file, or there is an error.
    Entry(Option<i32>, PathBuf),
    /// Names, of IPv4 and IPv6.
    Interfaces([Option<String>; 2]),
    /// An SA of the kernel's.
    Found(Found),
    /// For each choice the place of a file among those asked for; with it comes the file, or there is an error.
    First(Vec<(u8, Option<i32>)>),
}

/// The error of the system's that stands for an error.
#[must_use]
pub(super) fn number_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(match error.kind() {
        ErrorKind::PermissionDenied => libc::EACCES,
        ErrorKind::NotFound => libc::ENOENT,
        _ => libc::EIO,
    })
}

impl Request {
    /// As octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Request::Open(access, path) => with_path(&[1, *access as u8], path),
            Request::ReadDirectory(path) => with_path(&[2], path),
            Request::Bind(exclusive, address) => {
                let mut octets = vec![3, u8::from(*exclusive)];
                octets.extend_from_slice(&address.port().to_be_bytes());
                match address {
                    SocketAddr::V4(address) => octets.extend_from_slice(&address.ip().octets()),
                    SocketAddr::V6(address) => {
                        octets.extend_from_slice(&address.ip().octets());
                        octets.extend_from_slice(&address.scope_id().to_be_bytes());
                    }
                }
                octets
            }
            Request::DefaultInterfaces => vec![4],
            Request::SystemLog => vec![7],
            Request::Kernel(octets) => [&[5], octets.0.as_slice()].concat(),
            Request::OpenFirst(choices) => {
                let choices: Vec<Vec<u8>> = choices
                    .iter()
                    .map(|paths| {
                        let paths = paths.iter().map(|path| path.as_os_str().as_bytes());
                        paths.collect::<Vec<_>>().join(&0)
                    })
                    .collect();
                [&[6], choices.join(&b"\0\0"[..]).as_slice()].concat()
            }
        }
    }

    /// From octets; none if they are no request.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Request> {
        Some(match octets {
            [1, access, path @ ..] => {
                let access = match access {
                    0 => Access::Read,
                    1 => Access::Public,
                    2 => Access::Private,
                    3 => Access::Append,
                    _ => return None,
                };
                Request::Open(access, path_of(path)?)
            }
            [2, path @ ..] => Request::ReadDirectory(path_of(path)?),
            [3, exclusive @ (0 | 1), high, low, address @ ..] => {
                let port = u16::from_be_bytes([*high, *low]);
                let address = match address.len() {
                    4 => {
                        let octets: [u8; 4] = address.try_into().ok()?;
                        SocketAddr::new(IpAddr::from(octets), port)
                    }
                    20 => {
                        let (octets, scope) = address.split_first_chunk::<16>()?;
                        let scope = u32::from_be_bytes(scope.try_into().ok()?);
                        SocketAddrV6::new((*octets).into(), port, 0, scope).into()
                    }
                    _ => return None,
                };
                Request::Bind(*exclusive == 1, address)
            }
            [4] => Request::DefaultInterfaces,
            [7] => Request::SystemLog,
            [5, octets @ ..] => Request::Kernel(Confidential(Zeroizing::new(octets.to_vec()))),
            [6, paths @ ..] => {
                let mut choices = vec![Vec::new()];
                for path in paths.split(|octet| *octet == 0) {
                    match choices.last_mut() {
                        // Between two choices there is nothing.
                        Some(paths) if path.is_empty() && !paths.is_empty() => {
                            choices.push(Vec::new());
                        }
                        Some(paths) => paths.push(path_of(path)?),
                        None => return None,
                    }
                }
                let fits = |paths: &Vec<PathBuf>| (1..=MOST_PATHS).contains(&paths.len());
                if choices.len() > MOST_CHOICES || !choices.iter().all(fits) {
                    return None;
                }
                Request::OpenFirst(choices)
            }
            _ => return None,
        })
    }
}

impl Reply {
    /// As octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Reply::Done => vec![1],
            Reply::Failed(number) => {
                let mut octets = vec![2];
                octets.extend_from_slice(&number.to_be_bytes());
                octets
            }
            Reply::Entry(error, path) => {
                let mut head = vec![3];
                head.extend_from_slice(&error.unwrap_or(0).to_be_bytes());
                with_path(&head, path)
            }
            Reply::Interfaces(names) => {
                let mut octets = vec![4];
                for name in names {
                    let name = name.as_deref().unwrap_or_default().as_bytes();
                    let name = name
                        .get(..name.len().min(MAX_INTERFACE))
                        .unwrap_or_default();
                    octets.push(u8::try_from(name.len()).unwrap_or(0));
                    octets.extend_from_slice(name);
                }
                octets
            }
            Reply::Found(found) => {
                let mut octets = vec![5];
                octets.extend_from_slice(&found.spi.to_be_bytes());
                octets.extend_from_slice(&found.octets.to_be_bytes());
                octets.extend_from_slice(&found.packets.to_be_bytes());
                octets
            }
            Reply::First(found) => {
                let mut octets = vec![6];
                for (place, error) in found {
                    octets.push(*place);
                    octets.extend_from_slice(&error.unwrap_or(0).to_be_bytes());
                }
                octets
            }
        }
    }

    /// From octets; none if they are no reply.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Reply> {
        let (first, rest) = octets.split_first()?;
        let number = |octets: &[u8]| octets.try_into().ok().map(i32::from_be_bytes);
        Some(match first {
            1 if rest.is_empty() => Reply::Done,
            2 => Reply::Failed(number(rest)?),
            3 => {
                let (error, path) = rest.split_at_checked(4)?;
                let error = number(error)?;
                Reply::Entry((error != 0).then_some(error), path_of(path)?)
            }
            4 => {
                let mut rest = rest;
                let mut name = || {
                    let (length, others) = rest.split_first()?;
                    let length = usize::from(*length);
                    if length > MAX_INTERFACE {
                        return None;
                    }
                    let (name, others) = others.split_at_checked(length)?;
                    rest = others;
                    let name = std::str::from_utf8(name).ok()?;
                    Some((!name.is_empty()).then(|| name.to_owned()))
                };
                let names = [name()?, name()?];
                if !rest.is_empty() {
                    return None;
                }
                Reply::Interfaces(names)
            }
            5 => {
                let (spi, rest) = rest.split_first_chunk()?;
                let (octets, packets) = rest.split_first_chunk()?;
                Reply::Found(Found {
                    spi: u32::from_be_bytes(*spi),
                    octets: u64::from_be_bytes(*octets),
                    packets: u64::from_be_bytes(packets.try_into().ok()?),
                })
            }
            6 if !rest.is_empty() => {
                let found = rest.chunks(5).map(|one| {
                    let (place, error) = one.split_first()?;
                    let error = number(error)?;
                    Some((*place, (error != 0).then_some(error)))
                });
                Reply::First(found.collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}

fn with_path(head: &[u8], path: &std::path::Path) -> Vec<u8> {
    let mut octets = head.to_vec();
    octets.extend_from_slice(path.as_os_str().as_bytes());
    octets
}

fn path_of(octets: &[u8]) -> Option<PathBuf> {
    may_be_asked(octets).then(|| OsStr::from_bytes(octets).into())
}

/// Whether the other side takes it for a path.
pub(super) fn may_be_asked(path: &[u8]) -> bool {
    !path.is_empty() && path.len() <= MAX_PATH && !path.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let link_local = SocketAddrV6::new("fe80::1".parse().expect("address"), 500, 0, 7);
        for request in [
            Request::Open(Access::Read, "/etc/isakmpd/x".into()),
            Request::Open(Access::Append, "/var/run/y".into()),
            Request::ReadDirectory("/etc/isakmpd/ca/".into()),
            Request::Bind(true, ([192, 0, 2, 1], 500).into()),
            Request::Bind(false, link_local.into()),
            Request::DefaultInterfaces,
            Request::SystemLog,
            Request::OpenFirst(vec![vec!["/etc/isakmpd/x".into(), "/y".into()]]),
            Request::OpenFirst(vec![vec!["/x".into()], vec!["/y".into(), "/z".into()]]),
            Request::Kernel(Confidential(Zeroizing::new(vec![1, 2, 3]))),
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        for reply in [
            Reply::Done,
            Reply::Failed(libc::EACCES),
            Reply::Entry(None, "/a".into()),
            Reply::Entry(Some(13), "/b".into()),
            Reply::Interfaces([Some("eth0".to_owned()), None]),
            Reply::Interfaces([None, Some("wg".to_owned())]),
            Reply::First(vec![(2, None)]),
            Reply::First(vec![(0, Some(libc::EACCES)), (1, None)]),
            Reply::Found(Found {
                spi: 0x0102_0304,
                octets: 1 << 40,
                packets: 7,
            }),
        ] {
            assert_eq!(Reply::decode(&reply.encode()), Some(reply));
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for octets in [
            &b""[..],
            b"\x01",
            b"\x01\x00",
            b"\x01\x04/x",
            b"\x01\x00/x\0y",
            b"\x02",
            b"\x03\x02\x01\xf4\x7f\0\0\x01",
            b"\x03\x01\x01\xf4\x7f\0\0",
            b"\x04\x00",
            b"\x06",
            b"\x06/x\0",
            b"\x06\0/x",
            b"\x06/x\0\0\0/y",
            b"\x06/x\0\0",
            b"\x06/1\0\0/2\0\0/3\0\0/4\0\0/5",
            b"\x06/1\0/2\0/3\0/4\0/5\0/6\0/7\0/8\0/9",
            b"\x07\x00",
            b"\x08",
        ] {
            assert_eq!(Request::decode(octets), None, "{octets:?}");
        }
        let long = [&b"\x02/"[..], &[b'x'; MAX_PATH]].concat();
        assert_eq!(Request::decode(&long), None);
        for octets in [
            &b""[..],
            b"\x01\x01",
            b"\x02\0",
            b"\x03\0\0\0\0",
            b"\x04\x01",
            b"\x04\0\0\0",
            b"\x04\x21this name has thirty-three octets\0",
            b"\x05\0\0\0\x01",
            b"\x06",
            b"\x06\0\0\0\0",
        ] {
            assert_eq!(Reply::decode(octets), None, "{octets:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_octets_make_it_stumble(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            if let Some(request) = Request::decode(&octets) {
                proptest::prop_assert_eq!(request.encode(), octets.clone());
            }
            let _ = Reply::decode(&octets);
        }
    }
}
