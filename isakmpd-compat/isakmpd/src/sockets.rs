//! The sockets (isakmpd 7): a pair at each local address, ports 500 and 4500, and a pair for all addresses
//! behind them, through which the first message to a new address comes.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use ike::event::{Address, Path, Transmit};
use ike::journal::Class;
use isakmp_proto::nat_t;
use isakmpd_conf::host::{Interfaces, Names, is_link_local};
use kx_cli::getopt::strtoul;
use kx_sys::interface_addresses::InterfaceAddress;
use kx_sys::udp::{Udp, UdpBatch};
use rustix::event::{Timespec, epoll};

use crate::files::Files;
use crate::log::Log;

/// Datagrams received with one call.
const BATCH: usize = 32;
/// Calls after which the others get their turn.
const BATCHES_IN_A_ROW: usize = 8;

/// Sockets that are served before the others get their turn.
const READY_AT_ONCE: usize = 64;

/// Number of UDP among the protocols.
const UDP: u8 = 17;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// IPv4
    pub ipv4: bool,
    /// IPv6
    pub ipv6: bool,
    /// `-p`
    pub port: u16,
    /// `-N`; none with `-T`.
    pub nat_t_port: Option<u16>,
}

/// There is nothing to listen with. The text is the original's.
#[derive(Debug, thiserror::Error)]
#[error("virtual_init: could not bind the ISAKMP port(s) on all interfaces")]
pub struct NoSockets(#[source] pub io::Error);

struct End {
    socket: Udp,
    encapsulated: bool,
    wildcard: bool,
}

/// All sockets.
pub struct Sockets {
    listening: Listening,
    ends: Vec<End>,
    /// Place of the socket at an address.
    places: HashMap<SocketAddr, usize>,
    /// The same by its number.
    numbers: HashMap<RawFd, usize>,
    /// The kernel's list of them all: a gateway may have thousands of addresses, and most are silent.
    list: OwnedFd,
    batch: UdpBatch,
}

/// What the sockets need of the rest of the program.
pub struct Surroundings<'a> {
    /// Who may bind.
    pub files: &'a dyn Files,
    /// Where it is told.
    pub log: &'a Log,
}

impl Sockets {
    /// None yet; [`Sockets::scan`] opens them.
    ///
    /// # Errors
    /// The system's.
    pub fn new(listening: Listening) -> io::Result<Sockets> {
        Ok(Sockets {
            listening,
            ends: Vec::new(),
            places: HashMap::new(),
            numbers: HashMap::new(),
            list: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            batch: UdpBatch::new(BATCH),
        })
    }

    /// Opens what is missing and closes what is gone. `listen_on`: only at these addresses, if there are any.
    ///
    /// # Errors
    /// The first time: an address or port cannot be had.
    pub fn scan(
        &mut self,
        addresses: &[InterfaceAddress],
        listen_on: Option<&[Address]>,
        first: bool,
        around: &Surroundings<'_>,
    ) -> Result<(), NoSockets> {
        let mut wanted: Vec<SocketAddr> = Vec::new();
        let mut known = HashSet::new();
        for one in addresses {
            around.log.debug(Class::Transport, 90, || {
                let family = if one.address.is_ipv4() { "v4" } else { "v6" };
                let (interface, address) = (&one.interface, one.address.ip());
                format!("virtual_bind_if: interface {interface} family {family} address {address}")
            });
            let address = one.address.ip();
            let of_family = match address {
                IpAddr::V4(address) => {
                    self.listening.ipv4 && !address.is_unspecified() && !address.is_broadcast()
                }
                IpAddr::V6(_) => self.listening.ipv6,
            };
            let listed = listen_on.is_none_or(|listed| {
                listed.contains(&one.address.into()) || listed.contains(&address.into())
            });
            if one.up && of_family && listed && known.insert(one.address) {
                wanted.push(one.address);
            }
        }
        self.close_unless(|end| {
            let mut at = end.socket.local();
            at.set_port(0);
            end.wildcard || known.contains(&at)
        });
        let mut failed = None;
        for address in wanted {
            if let Err(error) = self.open_pair(address, first, around) {
                around.log.print(format!(
                    "virtual_bind_if: failed to create a socket on {}",
                    address.ip()
                ));
                failed = Some(error);
            }
        }
        // Later than the others: these share the ports with them.
        if listen_on.is_some() {
            self.close_unless(|end| !end.wildcard);
            around.log.debug(
                Class::Transport,
                50,
                || "virtual_init: not binding ISAKMP port(s) to ADDR_ANY",
            );
        } else {
            let families: [(bool, IpAddr, &str); 2] = [
                (self.listening.ipv4, Ipv4Addr::UNSPECIFIED.into(), "4"),
                (self.listening.ipv6, Ipv6Addr::UNSPECIFIED.into(), "6"),
            ];
            for (wanted, address, version) in families {
                if !wanted {
                    continue;
                }
                if let Err(error) = self.open_pair(SocketAddr::new(address, 0), false, around) {
                    // A kernel without IPv6 is no reason to complain of anything.
                    if first && error.raw_os_error() != Some(libc::EAFNOSUPPORT) {
                        around.log.error(
                            format!(
                                "virtual_bind_ADDR_ANY: could not allocate default IPv{version} ISAKMP port(s)"
                            ),
                            &error,
                        );
                    }
                }
            }
        }
        match failed {
            Some(error) => Err(NoSockets(error)),
            None => Ok(()),
        }
    }

    /// Opens both sockets of an address, or none.
    fn open_pair(
        &mut self,
        address: SocketAddr,
        exclusive: bool,
        around: &Surroundings<'_>,
    ) -> io::Result<()> {
        let ports = [
            Some((self.listening.port, false)),
            self.listening.nat_t_port.map(|port| (port, true)),
        ];
        let mut opened = Vec::new();
        for (port, encapsulated) in ports.into_iter().flatten() {
            let mut at = address;
            at.set_port(port);
            if self.places.contains_key(&at) {
                around
                    .log
                    .debug(Class::Transport, 90, || "virtual_bind_if: already bound");
                continue;
            }
            let socket = match around.files.bind(at, exclusive) {
                Ok(socket) => socket,
                // An IPv6 address that is not sure to be unique yet: we are told when it is.
                Err(error) if at.is_ipv6() && error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
                    around.log.debug(Class::Transport, 20, || {
                        format!("virtual_bind_if: IPv6 address {} not ready", at.ip())
                    });
                    return Ok(());
                }
                Err(error) => {
                    let family = if at.is_ipv4() {
                        libc::AF_INET
                    } else {
                        libc::AF_INET6
                    };
                    if error.raw_os_error() != Some(libc::EAFNOSUPPORT) {
                        let make = if encapsulated {
                            "udp_encap_make"
                        } else {
                            "udp_make"
                        };
                        around
                            .log
                            .error(format!("{make}: bind ({family}, {at})"), &error);
                    }
                    return Err(error);
                }
            };
            let make = if encapsulated {
                "udp_encap_make"
            } else {
                "udp_make"
            };
            around.log.debug(Class::Misc, 20, || {
                format!("{make}: transport ip {} port {port}", at.ip())
            });
            opened.push(End {
                socket,
                encapsulated,
                wildcard: address.ip().is_unspecified(),
            });
        }
        for end in opened {
            let number = end.socket.as_fd().as_raw_fd();
            let data = epoll::EventData::new_u64(u64::try_from(number).unwrap_or(0));
            epoll::add(&self.list, &end.socket, data, epoll::EventFlags::IN)?;
            self.places.insert(end.socket.local(), self.ends.len());
            self.numbers.insert(number, self.ends.len());
            self.ends.push(end);
        }
        Ok(())
    }

    fn close_unless(&mut self, mut stays: impl FnMut(&End) -> bool) {
        let before = self.ends.len();
        self.ends.retain(|end| {
            let stays = stays(end);
            if !stays {
                // It is closed in a moment, which does the same.
                let _ = epoll::delete(&self.list, &end.socket);
            }
            stays
        });
        if self.ends.len() == before {
            return;
        }
        let ends = || self.ends.iter().enumerate();
        self.places = ends()
            .map(|(place, end)| (end.socket.local(), place))
            .collect();
        self.numbers = ends()
            .map(|(place, end)| (end.socket.as_fd().as_raw_fd(), place))
            .collect();
    }

    /// Places of sockets at which something has come, for [`Sockets::receive`].
    ///
    /// # Errors
    /// The system's.
    pub fn ready(&self) -> io::Result<Vec<usize>> {
        let mut events = Vec::with_capacity(READY_AT_ONCE);
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match epoll::wait(
            &self.list,
            rustix::buffer::spare_capacity(&mut events),
            Some(&at_once),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let numbers = events
            .iter()
            .filter_map(|event| RawFd::try_from(event.data.u64()).ok());
        Ok(numbers
            .filter_map(|number| self.numbers.get(&number).copied())
            .collect())
    }

    /// Addresses with the port of IKE, for the engine.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        let near = self
            .ends
            .iter()
            .filter(|end| !end.encapsulated && !end.wildcard);
        near.map(|end| end.socket.local()).collect()
    }

    /// Lines of the report.
    #[must_use]
    pub fn report(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for end in &self.ends {
            let name = if end.encapsulated {
                "udp_encap_report"
            } else {
                "udp_report"
            };
            let at = end.socket.local();
            lines.push("transport_report: transport flags 1 refcnt 1".to_owned());
            lines.push(format!(
                "{name}: listening on {} port {}",
                at.ip(),
                at.port()
            ));
        }
        lines
    }

    /// Receives what is at one socket. `each` gets messages without marker; it tells whether there is room for
    /// more. True if a message came to an address that has no socket of its own.
    ///
    /// # Errors
    /// The system's.
    pub fn receive(
        &mut self,
        place: usize,
        log: &Log,
        mut each: impl FnMut(Path, &[u8]),
    ) -> io::Result<bool> {
        let Some(end) = self.ends.get(place) else {
            return Ok(false);
        };
        let mut unknown = false;
        for _ in 0..BATCHES_IN_A_ROW {
            let more = match self.batch.receive(&end.socket) {
                Ok(more) => more,
                // Of an earlier datagram that nobody took; ICMP is not to be believed.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionRefused
                            | ErrorKind::HostUnreachable
                            | ErrorKind::NetworkUnreachable
                    ) =>
                {
                    true
                }
                Err(error) => return Err(error),
            };
            for datagram in self.batch.datagrams() {
                let mut local = end.socket.local();
                if end.wildcard {
                    // None: for more than this host, and not to be answered.
                    let Some(to) = datagram.to else { continue };
                    // Both ends of a link are link-local addresses, or neither is.
                    let zone = match is_link_local(to) {
                        true => Address::from(datagram.from).zone,
                        false => 0,
                    };
                    local = Address { ip: to, zone }.with_port(local.port());
                    unknown = true;
                }
                let octets = match end.encapsulated {
                    false => datagram.octets,
                    true => match strip_marker(datagram.octets, log) {
                        Some(octets) => octets,
                        None => continue,
                    },
                };
                let path = Path {
                    local,
                    remote: datagram.from,
                    encapsulated: end.encapsulated,
                };
                each(path, octets);
            }
            if !more {
                break;
            }
        }
        Ok(unknown)
    }

    /// Sends a message from where it is to come from. What cannot be sent now is sent again later, or not.
    pub fn send(&self, transmit: &Transmit, octets: &[u8], log: &Log) {
        let path = transmit.path;
        let wildcard = || {
            self.ends.iter().find(|end| {
                end.wildcard
                    && end.encapsulated == path.encapsulated
                    && end.socket.local().is_ipv4() == path.local.is_ipv4()
            })
        };
        let near = self
            .places
            .get(&path.local)
            .and_then(|place| self.ends.get(*place));
        let Some(end) = near.or_else(wildcard) else {
            log.debug(Class::Transport, 20, || {
                format!("udp_send_message: no socket at {}", path.local)
            });
            return;
        };
        let marker: &[u8] = match path.encapsulated && !transmit.keepalive {
            true => &nat_t::NON_ESP_MARKER,
            false => &[],
        };
        if let Err(error) = end
            .socket
            .send(path.local.ip(), path.remote, [marker, octets])
        {
            log.debug(Class::Transport, 10, || {
                let remote = path.remote;
                format!("sendmsg ({remote}): {}", crate::log::system_text(&error))
            });
        }
    }
}

impl AsFd for Sockets {
    /// Readable when something has come at one of them.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.list.as_fd()
    }
}

/// None: nothing for us.
fn strip_marker<'a>(octets: &'a [u8], log: &Log) -> Option<&'a [u8]> {
    // A keepalive (RFC 3948 2.3), for which the original has no eye.
    if octets == [0xff] {
        return None;
    }
    let Some(message) = octets.strip_prefix(&nat_t::NON_ESP_MARKER) else {
        log.debug(
            Class::Message,
            10,
            || "udp_encap_handle_message: Null-ESP marker not NULL or short message",
        );
        return None;
    };
    (message != [0xff]).then_some(message)
}

/// The addresses that `Listen-on` means; names of interfaces stand for their first IPv4 address.
#[must_use]
pub fn listen_on(list: &[String], interfaces: &Interfaces, log: &Log) -> Option<Vec<Address>> {
    if list.is_empty() {
        return None;
    }
    let mut addresses = Vec::new();
    for one in list {
        match interfaces.address(one, None) {
            Some(address) => addresses.push(address),
            None => log.print(format!(
                "virtual_bind_if: invalid address {one} in \"Listen-on\""
            )),
        }
    }
    Some(addresses)
}

/// A port that is none. The text is the original's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// No such name.
    #[error("text2port: service \"{0}\" unknown")]
    Unknown(String),
    /// No such number.
    #[error("text2port: port {0} out of range")]
    Range(i64),
}

/// A port by number (with 0x or 0 in front of other bases) or, of UDP, by name.
///
/// # Errors
/// See there.
pub fn port(text: &OsStr, names: &Names) -> Result<u16, PortError> {
    let octets = text.as_bytes();
    let unsigned = octets.strip_prefix(b"-").or(octets.strip_prefix(b"+"));
    let digits = unsigned.unwrap_or(octets);
    if digits.first().is_none_or(|digit| !digit.is_ascii_digit()) {
        let text = text.to_string_lossy().into_owned();
        return names.port(&text, UDP).ok_or(PortError::Unknown(text));
    }
    let magnitude = i64::try_from(strtoul(OsStr::from_bytes(digits), 0)).unwrap_or(i64::MAX);
    let number = match octets.first() {
        Some(b'-') => magnitude.saturating_neg(),
        _ => magnitude,
    };
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or(PortError::Range(number))
}

#[cfg(test)]
mod tests;
