//! The kernel by PF_KEY (RFC 2367), where NETLINK_XFRM is not to be had. Requests go through the monitor, and so do
//! notices: whoever has a socket of PF_KEY may do everything with it and is told everybody's keys.

use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use kx_sys::descriptor_channel::DescriptorChannel;
use kx_sys::pf_key::{self, MOST_REQID, Message, Unsupported};
use kx_sys::xfrm::{Direction, Notice, Policy, Sa, Selector};

use crate::monitor::{MAX_NOTICE, Remote};

use super::database::{Database, Found, Name};

/// Reqids of ours: what is found with one at the start is a predecessor's, and is removed.
pub const REQIDS: RangeInclusive<u32> = 0x2000..=MOST_REQID;

/// The interface.
pub struct PfKey {
    monitor: Rc<Remote>,
    notices: DescriptorChannel,
}

impl PfKey {
    /// Requests to the monitor, notices from it over a line that does not block.
    #[must_use]
    pub fn new(monitor: Rc<Remote>, notices: DescriptorChannel) -> PfKey {
        PfKey { monitor, notices }
    }

    fn ask(&self, message: &Message) -> io::Result<Option<Found>> {
        self.monitor.kernel(message.octets())
    }
}

fn unsupported(error: Unsupported) -> io::Error {
    io::Error::new(ErrorKind::Unsupported, error)
}

impl Database for PfKey {
    fn interface(&self) -> &'static str {
        "PF_KEY"
    }

    fn reqids(&self) -> RangeInclusive<u32> {
        REQIDS
    }

    fn allocate_spi(&mut self, sa: &Sa<'_>, range: RangeInclusive<u32>) -> io::Result<u32> {
        let found = self.ask(&pf_key::allocate_spi(sa, range))?;
        let found = found.ok_or(ErrorKind::InvalidData)?;
        Ok(found.spi)
    }

    fn install(&mut self, sa: &Sa<'_>, update: bool) -> io::Result<()> {
        let message = pf_key::install(sa, update).map_err(unsupported)?;
        self.ask(&message).map(drop)
    }

    fn remove(&mut self, name: &Name) -> io::Result<()> {
        self.ask(&name.pass(pf_key::remove)).map(drop)
    }

    fn look(&mut self, name: &Name) -> io::Result<Option<Found>> {
        self.ask(&name.pass(pf_key::look))
    }

    fn put_policy(&mut self, policy: &Policy, replace: bool) -> io::Result<()> {
        let message = pf_key::put_policy(policy, replace).map_err(unsupported)?;
        self.ask(&message).map(drop)
    }

    fn remove_policy(&mut self, selector: &Selector, direction: Direction) -> io::Result<()> {
        self.ask(&pf_key::remove_policy(selector, direction))
            .map(drop)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.notices.as_fd())
    }

    fn notices(&mut self) -> io::Result<Vec<Notice>> {
        let mut all = Vec::new();
        let mut buffer = vec![0; MAX_NOTICE];
        loop {
            match self.notices.receive(&mut buffer) {
                Ok(Some((length, _))) => {
                    all.extend(pf_key::notices(buffer.get(..length).unwrap_or_default()));
                }
                // The monitor is gone; whoever waits for its other line sees it.
                Ok(None) => return Ok(all),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(all),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kx_sys::xfrm::{Algorithm, Lifetime, Mode, Template};
    use std::net::IpAddr;

    const US: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    /// Nobody answers at the other end of the monitor's line.
    fn alone() -> (PfKey, DescriptorChannel) {
        let (line, _) = DescriptorChannel::pair().expect("pair");
        let (notices, relay) = DescriptorChannel::pair().expect("pair");
        rustix::io::ioctl_fionbio(&notices, true).expect("set");
        (PfKey::new(Rc::new(Remote::new(line)), notices), relay)
    }

    #[test]
    fn what_pf_key_cannot_say_is_an_error_with_its_name() {
        let (mut kernel, _) = alone();
        let key = [0; 36];
        let sa = Sa {
            source: PEER,
            destination: US,
            spi: 0x1000,
            protocol: 50,
            mode: Mode::Tunnel,
            reqid: 0x2000,
            replay_window: 16,
            algorithms: vec![Algorithm::Aead("rfc4106(gcm(aes))", &key, 128)],
            encapsulation: None,
            lifetime: Lifetime::default(),
            selector: None,
            sequence: 0,
        };
        let error = kernel.install(&sa, true).expect_err("refused");
        assert_eq!(error.to_string(), "PF_KEY has no rfc4106(gcm(aes))");
        let any = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let policy = Policy {
            selector: Selector {
                source: (any, 0),
                destination: (any, 0),
                protocol: 0,
                source_port: 0,
                destination_port: 0,
            },
            direction: Direction::Out,
            priority: 1,
            templates: vec![Template {
                source: US,
                destination: PEER,
                protocol: 50,
                mode: Mode::Tunnel,
                reqid: 0x6b78_0000,
                optional: false,
            }],
        };
        let error = kernel.put_policy(&policy, false).expect_err("refused");
        let text = error.to_string();
        assert_eq!(text, "PF_KEY has no reqid 1803026432 for policies");
    }

    #[test]
    fn notices_are_read_until_there_are_no_more() {
        let (mut kernel, relay) = alone();
        assert_eq!(kernel.notices().expect("read"), []);
        // An EXPIRE, hard, of SPI 0x01020304 to 192.0.2.1, as it is told; and something else.
        let mut expire = vec![2, 8, 0, 3];
        expire.extend(11u16.to_ne_bytes());
        expire.extend([0; 10]);
        let mut extension = |units: u16, kind: u16, octets: &[u8]| {
            expire.extend(units.to_ne_bytes());
            expire.extend(kind.to_ne_bytes());
            expire.extend(octets);
        };
        extension(2, 1, &[1, 2, 3, 4, 0, 2, 0, 0, 0, 0, 0, 0]);
        extension(4, 3, &[0; 28]);
        let family = 2u16.to_ne_bytes();
        extension(
            3,
            6,
            &[&[0, 32, 0, 0], &family[..], &[0, 0, 192, 0, 2, 1], &[0; 8]].concat(),
        );
        relay.send(&expire, None).expect("sent");
        relay.send(b"nonsense", None).expect("sent");
        relay.send(&expire, None).expect("sent");
        let gone = Notice::Expire {
            destination: US,
            spi: 0x0102_0304,
            protocol: 50,
            hard: true,
            packets: 0,
        };
        assert_eq!(kernel.notices().expect("read"), [gone.clone(), gone]);
        drop(relay);
        assert_eq!(kernel.notices().expect("the end"), []);
    }
}
