//! The kernel by NETLINK_XFRM: requests through the monitor, since the kernel wants CAP_NET_ADMIN of who sends them;
//! notices come to the child itself (isakmpd-xfrm 8).

use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use kx_sys::xfrm::{self, Direction, Message, Notice, Notices, Policy, Sa, Selector};

use crate::monitor::Remote;

use super::database::{Database, Found, Name};

/// Reqids of ours: what is found with one at the start is a predecessor's, and is removed.
pub const REQIDS: RangeInclusive<u32> = 0x6b78_0000..=0x6b7f_ffff;

/// The interface.
pub struct Xfrm {
    monitor: Rc<Remote>,
    notices: Notices,
}

impl Xfrm {
    /// Requests to the monitor, notices from a socket that was opened with its privileges.
    #[must_use]
    pub fn new(monitor: Rc<Remote>, notices: Notices) -> Xfrm {
        Xfrm { monitor, notices }
    }

    fn ask(&self, message: &Message) -> io::Result<Option<Found>> {
        self.monitor.kernel(message.octets())
    }
}

impl Database for Xfrm {
    fn interface(&self) -> &'static str {
        "XFRM"
    }

    fn reqids(&self) -> RangeInclusive<u32> {
        REQIDS
    }

    fn allocate_spi(&mut self, sa: &Sa<'_>, range: RangeInclusive<u32>) -> io::Result<u32> {
        let found = self.ask(&xfrm::allocate_spi(sa, range))?;
        let found = found.ok_or(ErrorKind::InvalidData)?;
        Ok(found.spi)
    }

    fn install(&mut self, sa: &Sa<'_>, update: bool) -> io::Result<()> {
        self.ask(&xfrm::install(sa, update)).map(drop)
    }

    fn remove(&mut self, name: &Name) -> io::Result<()> {
        self.ask(&name.pass(xfrm::remove)).map(drop)
    }

    fn look(&mut self, name: &Name) -> io::Result<Option<Found>> {
        self.ask(&name.pass(xfrm::look))
    }

    fn put_policy(&mut self, policy: &Policy, replace: bool) -> io::Result<()> {
        self.ask(&xfrm::put_policy(policy, replace)).map(drop)
    }

    fn remove_policy(&mut self, selector: &Selector, direction: Direction) -> io::Result<()> {
        self.ask(&xfrm::remove_policy(selector, direction))
            .map(drop)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.notices.as_fd())
    }

    fn notices(&mut self) -> io::Result<Vec<Notice>> {
        self.notices.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Direct, Rules};
    use crate::kernel::{Ipsec, Kernel, MARK};
    use crate::log::Log;
    use crate::monitor::{Guard, Interface, answer};
    use ike::kernel::{Flow, Installation};
    use isakmp_proto::identity::Identity;
    use kx_sys::descriptor_channel::DescriptorChannel;
    use kx_sys::xfrm::Subject;
    use std::net::SocketAddr;
    use std::sync::mpsc;

    use super::super::sa::tests::parameters;

    /// A kernel that writes down what it is asked, and has forgotten all larval SAs.
    struct Forgetful(mpsc::Sender<(Vec<u8>, Option<i32>)>);

    impl Interface for Forgetful {
        fn subject(&self, octets: &[u8]) -> Option<Subject> {
            Message::from_octets(octets.to_vec())?.subject()
        }

        fn ask(&mut self, octets: &[u8]) -> io::Result<Option<Found>> {
            let (answer, found) = match self.subject(octets) {
                Some(Subject::Make { name, .. }) if name.spi == 0 => (None, true),
                Some(Subject::Make { update: true, .. }) => (Some(libc::ESRCH), false),
                Some(Subject::State(_)) => (None, true),
                _ => (None, false),
            };
            let _ = self.0.send((octets.to_vec(), answer));
            match answer {
                Some(number) => Err(io::Error::from_raw_os_error(number)),
                None => Ok(found.then_some(Found {
                    spi: 0x777,
                    octets: 0,
                    packets: 3,
                })),
            }
        }

        fn remove_all(&mut self) -> io::Result<usize> {
            Ok(0)
        }

        fn reqids(&self) -> RangeInclusive<u32> {
            REQIDS
        }
    }

    /// Works with a kernel behind a monitor in another thread. Returns what that kernel was asked. None: nothing to hear
    /// the kernel with, which takes a privilege.
    fn with_monitor(work: impl FnOnce(Xfrm)) -> Option<Vec<(Vec<u8>, Option<i32>)>> {
        let notices = Notices::open()
            .inspect_err(|error| println!("skipped: {error}"))
            .ok()?;
        let (ours, theirs) = DescriptorChannel::pair().expect("pair");
        let (told, asked) = mpsc::channel();
        let monitor = std::thread::spawn(move || {
            let log = Rc::new(Log::memory());
            let files = Direct::new(Rules::default(), Rc::clone(&log));
            let mut guard = Guard::new(Box::new(Forgetful(told)), None, None);
            while answer(&theirs, &files, Some(&mut guard), &log).unwrap_or(false) {}
        });
        work(Xfrm::new(Rc::new(Remote::new(ours)), notices));
        monitor.join().expect("no panic");
        Some(asked.iter().collect())
    }

    fn side(third: u8) -> ike::sa::Selector {
        Identity::Ipv4Subnet([10, 0, third, 0].into(), [255, 255, 255, 0].into()).into()
    }

    /// The requests of a tunnel's life are the right ones with the right numbers, one after the other; the larval SA
    /// that ran out is made anew.
    #[test]
    fn each_request_is_the_one_that_is_meant() {
        let ends: [SocketAddr; 2] = [([192, 0, 2, 1], 500).into(), ([192, 0, 2, 2], 500).into()];
        let asked = with_monitor(|xfrm| {
            assert_eq!((xfrm.interface(), xfrm.reqids()), ("XFRM", REQIDS));
            let mut kernel = Ipsec::new(xfrm, Rc::new(Log::memory()));
            assert!(kernel.descriptor().is_some());
            let spi = kernel.allocate_spi(3, ends[0], ends[1]);
            assert_eq!(spi, Some(0x777));
            let installation = Installation {
                name: None,
                local: ends[0],
                remote: ends[1],
                incoming: vec![parameters(3, 0x777)],
                outgoing: vec![parameters(3, 0xa1)],
                flow: Flow {
                    local: side(1),
                    remote: side(2),
                    nat: None,
                },
                with_flow: true,
                local_id: Identity::Address(ends[0].ip()),
                remote_id: Identity::Address(ends[1].ip()),
            };
            kernel.install(&installation).expect("installed");
            assert!(kernel.last_use(3, 0x777, ends[0], ends[1]).is_some());
            kernel
                .install(&Installation {
                    remote: ([192, 0, 2, 3], 500).into(),
                    ..installation
                })
                .expect("moved");
            kernel.remove(ends[0], ends[1], &[(3, 0x777, 0xa1)], None);
        });
        let Some(asked) = asked else { return };
        let kinds: Vec<(u16, Option<i32>)> = asked
            .iter()
            .map(|(octets, answer)| (u16::from_ne_bytes([octets[4], octets[5]]), *answer))
            .collect();
        // ALLOCSPI, UPDSA and for want of it NEWSA, NEWSA, three NEWPOLICY; GETSA; NEWSA out, three UPDPOLICY; three
        // DELPOLICY, two DELSA.
        let (fine, gone) = (None, Some(libc::ESRCH));
        let expected = [
            (0x16, fine),
            (0x1a, gone),
            (0x10, fine),
            (0x10, fine),
            (0x13, fine),
            (0x13, fine),
            (0x13, fine),
            (0x12, fine),
            (0x10, fine),
            (0x19, fine),
            (0x19, fine),
            (0x19, fine),
            (0x14, fine),
            (0x14, fine),
            (0x14, fine),
            (0x11, fine),
            (0x11, fine),
        ];
        assert_eq!(kinds, expected);
        // The range is behind the SA; what is made anew is what was to be updated, with the mark.
        let number = |place: usize, at: usize| {
            let octets = &asked[place].0[16 + at..][..4];
            u32::from_ne_bytes(octets.try_into().expect("four octets"))
        };
        assert_eq!((number(0, 224), number(0, 228)), (0x100, 0xffff_ffff));
        assert_eq!(asked[1].0[16..], asked[2].0[16..]);
        assert_eq!(number(2, 204), MARK);
    }
}
