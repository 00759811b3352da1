//! The kernel's data base of SAs and policies, as far as the child may have it changed: what is the child's own, and
//! nothing else (isakmpd-xfrm 8).

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};

use kx_sys::udp::Udp;
use kx_sys::xfrm::{self, Message, Notice, Notices, PolicyName, Requests, StateName, Subject};

use crate::kernel::{Found, MARK, XFRM_REQIDS};
use crate::log::Log;

use super::pf_key::Relay;

/// SAs and policies that a child may have at a time.
const MOST: usize = 1 << 18;
/// Reqids of others' policies that asked for an SA.
const MOST_FOREIGN: usize = 4096;

/// An interface of the kernel's, with the privileges that it wants.
pub trait Interface {
    /// What a request is about; None: it is no request, or one of a kind that nobody makes here.
    fn subject(&self, octets: &[u8]) -> Option<Subject>;

    /// Sends a request and waits for its end.
    ///
    /// # Errors
    /// The kernel's.
    fn ask(&mut self, octets: &[u8]) -> io::Result<Option<Found>>;

    /// Removes everything of ours. Returns how much that was.
    ///
    /// # Errors
    /// The kernel's.
    fn remove_all(&mut self) -> io::Result<usize>;

    /// Reqids of ours.
    fn reqids(&self) -> RangeInclusive<u32>;
}

impl Interface for Requests {
    fn subject(&self, octets: &[u8]) -> Option<Subject> {
        Message::from_octets(octets.to_vec())?.subject()
    }

    fn ask(&mut self, octets: &[u8]) -> io::Result<Option<Found>> {
        let message = Message::from_octets(octets.to_vec()).ok_or(ErrorKind::InvalidData)?;
        let found = Requests::ask(self, &message)?;
        Ok(found.map(|state: xfrm::State| Found {
            spi: state.spi,
            octets: state.octets,
            packets: state.packets,
        }))
    }

    fn remove_all(&mut self) -> io::Result<usize> {
        Requests::remove_all(self, &XFRM_REQIDS, MARK)
    }

    fn reqids(&self) -> RangeInclusive<u32> {
        XFRM_REQIDS
    }
}

/// Lets through what is the child's.
pub struct Guard {
    interface: Box<dyn Interface>,
    /// Tells whose policies asked for SAs, from the kernel itself.
    acquires: Option<Notices>,
    foreign: HashSet<u32>,
    states: HashSet<StateName>,
    policies: HashSet<PolicyName>,
    /// Its sockets get ESP, too.
    nat_t_port: Option<u16>,
    /// Where the child cannot hear the kernel itself.
    relay: Option<Relay>,
}

impl Guard {
    /// Nothing is the child's yet.
    #[must_use]
    pub fn new(
        interface: Box<dyn Interface>,
        acquires: Option<Notices>,
        nat_t_port: Option<u16>,
    ) -> Guard {
        Guard {
            interface,
            acquires,
            foreign: HashSet::new(),
            states: HashSet::new(),
            policies: HashSet::new(),
            nat_t_port,
            relay: None,
        }
    }

    /// With notices to be passed on.
    #[must_use]
    pub fn with_relay(self, relay: Relay) -> Guard {
        Guard {
            relay: Some(relay),
            ..self
        }
    }

    /// What becomes readable when there are notices to be passed on.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.relay.as_ref().map(Relay::as_fd)
    }

    /// Passes notices on. What they ask for may be asked for from then on.
    pub fn pass_on(&mut self) {
        let told = self.relay.as_mut().map(Relay::pass_on);
        for notice in told.unwrap_or_default() {
            self.learn(&notice);
        }
    }

    /// Removes what a predecessor or the child left.
    pub fn clean_up(&mut self, log: &Log) {
        match self.interface.remove_all() {
            Ok(0) => {}
            Ok(count) => log.print(format!(
                "isakmpd: {count} SAs and policies removed that were left in the kernel"
            )),
            Err(error) => log.error("isakmpd: what was left in the kernel stays", &error),
        }
        self.states.clear();
        self.policies.clear();
    }

    /// A new socket of the daemon's: policies leave its messages alone.
    ///
    /// # Errors
    /// The system's.
    pub fn prepare(&self, socket: &Udp) -> io::Result<()> {
        socket.bypass_ipsec()?;
        if self.nat_t_port == Some(socket.local().port()) {
            socket.take_esp()?;
        }
        Ok(())
    }

    /// Passes a request on, if it may be.
    ///
    /// # Errors
    /// The kernel's; [`ErrorKind::PermissionDenied`] for what is not the child's.
    pub fn ask(&mut self, octets: &[u8], log: &Log) -> io::Result<Option<Found>> {
        self.hear();
        let subject = self.interface.subject(octets);
        let Some(subject) = subject.filter(|subject| self.permits(subject)) else {
            log.print("monitor_loop: kernel request refused");
            return Err(ErrorKind::PermissionDenied.into());
        };
        let answer = self.interface.ask(octets);
        self.remember(subject, &answer);
        answer
    }

    /// Whose policies asked for SAs meanwhile.
    fn hear(&mut self) {
        let told = self.acquires.as_ref().map(Notices::take);
        for notice in told.and_then(Result::ok).unwrap_or_default() {
            self.learn(&notice);
        }
    }

    fn learn(&mut self, notice: &Notice) {
        if let Notice::Acquire { reqid, .. } = notice {
            if self.foreign.len() < MOST_FOREIGN {
                self.foreign.insert(*reqid);
            }
        }
    }

    fn permits(&self, subject: &Subject) -> bool {
        let ours = |reqid: &u32| self.interface.reqids().contains(reqid);
        match subject {
            Subject::Make {
                name,
                update,
                reqid,
                mark,
            } => {
                // Policies of others, that is of root, may ask for our SAs; 0 is what those have that name none.
                let may_have = ours(reqid) || *reqid == 0 || self.foreign.contains(reqid);
                let is_its_own = self.states.contains(name);
                // By the mark it is found when the child is gone; a larval one goes by itself.
                let is_marked = *mark == MARK || name.spi == 0;
                let may_have = may_have && is_marked;
                may_have && (!*update || is_its_own) && self.states.len() < MOST
            }
            Subject::State(name) => self.states.contains(name),
            Subject::Policy {
                name,
                replace,
                reqids,
            } => {
                let is_its_own = self.policies.contains(name);
                reqids.iter().all(ours) && (!*replace || is_its_own) && self.policies.len() < MOST
            }
            Subject::NoPolicy(name) => self.policies.contains(name),
        }
    }

    fn remember(&mut self, subject: Subject, answer: &io::Result<Option<Found>>) {
        let gone =
            |error: &io::Error| matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT));
        match (subject, answer) {
            (Subject::Make { name, .. }, Ok(found)) => {
                // Of a larval one the kernel tells the SPI.
                let spi = match (name.spi, found) {
                    (0, Some(found)) => found.spi,
                    (spi, _) => spi,
                };
                self.states.insert(StateName { spi, ..name });
            }
            (Subject::Policy { name, .. }, Ok(_)) => {
                self.policies.insert(name);
            }
            (Subject::State(name), Err(error)) if gone(error) => {
                self.states.remove(&name);
            }
            (Subject::NoPolicy(name), Err(error)) if gone(error) => {
                self.policies.remove(&name);
            }
            (Subject::NoPolicy(name), Ok(_)) => {
                self.policies.remove(&name);
            }
            // An SA that was looked at is there; one that was removed is not, and the next request says so.
            (Subject::State(name), Ok(None)) => {
                self.states.remove(&name);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kx_sys::xfrm::{
        Direction, Lifetime, Mode, Policy, Sa, Selector, Template, allocate_spi, install, look,
        put_policy, remove, remove_policy,
    };
    use std::cell::RefCell;
    use std::net::IpAddr;
    use std::rc::Rc;

    /// Counts what was sent.
    #[derive(Clone, Default)]
    struct Counter(Rc<RefCell<(usize, Option<i32>)>>);

    impl Interface for Counter {
        fn subject(&self, octets: &[u8]) -> Option<Subject> {
            Message::from_octets(octets.to_vec())?.subject()
        }

        fn ask(&mut self, octets: &[u8]) -> io::Result<Option<Found>> {
            self.0.borrow_mut().0 += 1;
            if let Some(number) = self.0.borrow().1 {
                return Err(io::Error::from_raw_os_error(number));
            }
            let tells = match self.subject(octets) {
                Some(Subject::Make { name, .. }) => name.spi == 0,
                _ => false,
            };
            Ok(tells.then_some(Found {
                spi: 0x777,
                octets: 0,
                packets: 0,
            }))
        }

        fn remove_all(&mut self) -> io::Result<usize> {
            Ok(3)
        }

        fn reqids(&self) -> RangeInclusive<u32> {
            XFRM_REQIDS
        }
    }

    const US: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn sa(spi: u32, reqid: u32) -> Sa<'static> {
        Sa {
            source: PEER,
            destination: US,
            spi,
            protocol: 50,
            mode: Mode::Tunnel,
            reqid,
            replay_window: 16,
            algorithms: Vec::new(),
            encapsulation: None,
            lifetime: Lifetime::default(),
            selector: None,
            sequence: MARK,
        }
    }

    fn policy(reqid: u32) -> Policy {
        Policy {
            selector: Selector {
                source: (US, 32),
                destination: (PEER, 32),
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
                reqid,
                optional: false,
            }],
        }
    }

    #[test]
    fn only_the_childs_own_is_let_through() {
        let counter = Counter::default();
        let mut guard = Guard::new(Box::new(counter.clone()), None, None);
        let log = Log::memory();
        let ours = *XFRM_REQIDS.start();
        let mut passes = |message: Message, expected: bool| {
            let before = counter.0.borrow().0;
            let answer = guard.ask(message.octets(), &log);
            assert_eq!(answer.is_ok(), expected);
            assert_eq!(counter.0.borrow().0 > before, expected);
        };
        // Nothing is its own yet.
        passes(remove(PEER, US, 50, 0x777), false);
        passes(look(PEER, US, 50, 0x777), false);
        passes(install(&sa(0x777, ours), true), false);
        passes(allocate_spi(&sa(0, 99), 0x100..=0xfff), false);
        passes(allocate_spi(&sa(0, ours), 0x100..=0xfff), true);
        passes(look(PEER, US, 50, 0x778), false);
        passes(install(&sa(0x777, ours + 1), true), true);
        passes(install(&sa(0x777, 99), true), false);
        // Another port of a peer behind a NAT, of its own SAs alone.
        let in_udp = |spi| Sa {
            encapsulation: Some((40_002, 4500)),
            ..sa(spi, ours + 1)
        };
        passes(install(&in_udp(0x777), true), true);
        passes(install(&in_udp(0x778), true), false);
        passes(install(&sa(0x888, 0), false), true);
        let unmarked = Sa {
            sequence: 0,
            ..sa(0x999, 0)
        };
        passes(install(&unmarked, false), false);
        passes(remove(PEER, US, 50, 0x888), true);
        passes(remove(PEER, US, 50, 0x888), false);
        passes(remove(PEER, US, 51, 0x777), false);
        let one = policy(ours + 1);
        passes(remove_policy(&one.selector, one.direction), false);
        passes(put_policy(&one, true), false);
        passes(put_policy(&policy(0), false), false);
        passes(put_policy(&policy(99), false), false);
        passes(put_policy(&one, false), true);
        passes(put_policy(&one, true), true);
        passes(remove_policy(&one.selector, Direction::In), false);
        passes(remove_policy(&one.selector, one.direction), true);
        passes(remove_policy(&one.selector, one.direction), false);
        assert!(guard.ask(&[0; 40], &log).is_err());
        assert!(log.texts().iter().all(|text| text.contains("refused")));
        guard.clean_up(&log);
        let last = log.texts().pop().expect("a line");
        assert!(last.contains("3 SAs and policies removed"), "{last}");
    }

    #[test]
    fn what_ran_out_is_forgotten() {
        let counter = Counter::default();
        let mut guard = Guard::new(Box::new(counter.clone()), None, None);
        let log = Log::memory();
        let whole = install(&sa(5, *XFRM_REQIDS.start()), false);
        guard.ask(whole.octets(), &log).expect("installed");
        counter.0.borrow_mut().1 = Some(libc::ENOMEM);
        assert!(guard.ask(remove(PEER, US, 50, 5).octets(), &log).is_err());
        assert_eq!(guard.states.len(), 1);
        counter.0.borrow_mut().1 = Some(libc::ESRCH);
        assert!(guard.ask(remove(PEER, US, 50, 5).octets(), &log).is_err());
        assert!(guard.states.is_empty());
    }
}
