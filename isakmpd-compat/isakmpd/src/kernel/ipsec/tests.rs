//! What is asked of the data base, written down; some of it fails.

use super::*;
use crate::kernel::Found;
use crate::kernel::sa::tests::parameters;
use isakmp_proto::identity::Identity;
use kx_sys::xfrm::{Algorithm, Direction};
use std::cell::RefCell;

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    /// What fails, by the beginning of its line.
    fails: Vec<(&'static str, i32)>,
    packets: u64,
    notices: Vec<xfrm::Notice>,
    next_spi: u32,
}

#[derive(Clone, Default)]
struct Paper(Rc<RefCell<Written>>);

impl Paper {
    fn write(&self, line: String) -> io::Result<()> {
        let mut written = self.0.borrow_mut();
        let fails = written
            .fails
            .iter()
            .find(|(start, _)| line.starts_with(start));
        let result = match fails {
            Some((_, number)) => Err(io::Error::from_raw_os_error(*number)),
            None => Ok(()),
        };
        written.lines.push(match &result {
            Ok(()) => line,
            Err(_) => format!("{line} FAILS"),
        });
        result
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().lines)
    }
}

impl Database for Paper {
    fn interface(&self) -> &'static str {
        "paper"
    }

    fn reqids(&self) -> RangeInclusive<u32> {
        100..=102
    }

    fn allocate_spi(&mut self, sa: &Sa<'_>, range: RangeInclusive<u32>) -> io::Result<u32> {
        self.0.borrow_mut().next_spi += 1;
        let spi = 0x1000 + self.0.borrow().next_spi;
        assert!(range.contains(&spi));
        self.write(format!("allocate {} {spi:x}", sa.protocol))?;
        Ok(spi)
    }

    fn install(&mut self, sa: &Sa<'_>, update: bool) -> io::Result<()> {
        assert_eq!(sa.sequence, MARK);
        let what = if update { "update" } else { "new" };
        let sides = sa.selector.map_or(String::new(), |selector| {
            format!(" for {} -> {}", selector.source.0, selector.destination.0)
        });
        let udp = sa.encapsulation.map_or(String::new(), |(from, to)| {
            let keys: Vec<String> = sa.algorithms.iter().map(key_of).collect();
            format!(" in UDP {from} {to} keys {}", keys.join(" "))
        });
        self.write(format!(
            "{what} {} {:x} to {} reqid {}{sides}{udp}",
            sa.protocol, sa.spi, sa.destination, sa.reqid
        ))
    }

    fn remove(&mut self, name: &Name) -> io::Result<()> {
        self.write(format!(
            "remove {} {:x} to {}",
            name.protocol, name.spi, name.destination
        ))
    }

    fn look(&mut self, name: &Name) -> io::Result<Option<Found>> {
        self.write(format!("look {:x}", name.spi))?;
        Ok(Some(Found {
            spi: name.spi,
            octets: 0,
            packets: self.0.borrow().packets,
        }))
    }

    fn put_policy(&mut self, policy: &Policy, replace: bool) -> io::Result<()> {
        let what = if replace { "replace" } else { "put" };
        let direction = policy.direction;
        let ends = policy.templates.first().map(|one| one.destination);
        self.write(format!(
            "{what} {direction:?} {} to {}",
            policy.selector.destination.0,
            ends.expect("a template")
        ))
    }

    fn remove_policy(&mut self, selector: &Selector, direction: Direction) -> io::Result<()> {
        self.write(format!("take {direction:?} {}", selector.destination.0))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn notices(&mut self) -> io::Result<Vec<xfrm::Notice>> {
        Ok(std::mem::take(&mut self.0.borrow_mut().notices))
    }
}

/// Length and first octet of a key.
fn key_of(algorithm: &Algorithm<'_>) -> String {
    use Algorithm::{Aead, Authentication, Cipher, Compression};
    match algorithm {
        Cipher(_, key) | Authentication(_, key, _) | Aead(_, key, _) => {
            format!("{}:{}", key.len(), key[0])
        }
        Compression(_) => String::new(),
    }
}

fn local() -> SocketAddr {
    ([192, 0, 2, 1], 500).into()
}

fn remote() -> SocketAddr {
    ([192, 0, 2, 2], 500).into()
}

fn side(third: u8) -> ike::sa::Selector {
    Identity::Ipv4Subnet([10, 0, third, 0].into(), [255, 255, 255, 0].into()).into()
}

fn installation(incoming: u32, outgoing: u32) -> Installation {
    Installation {
        name: Some("tunnel".to_owned()),
        local: local(),
        remote: remote(),
        incoming: vec![parameters(3, incoming)],
        outgoing: vec![parameters(3, outgoing)],
        flow: Flow {
            local: side(1),
            remote: side(2),
            nat: None,
        },
        with_flow: true,
        local_id: Identity::Address(local().ip()),
        remote_id: Identity::Address(remote().ip()),
    }
}

fn kernel() -> (Ipsec<Paper>, Paper) {
    let paper = Paper::default();
    let kernel = Ipsec::new(paper.clone(), Rc::new(Log::memory()));
    (kernel, paper)
}

fn allocated(kernel: &mut Ipsec<Paper>) -> u32 {
    kernel.allocate_spi(3, local(), remote()).expect("an SPI")
}

#[test]
fn a_rekeyed_flow_keeps_its_policies_until_nobody_carries_it() {
    let (mut kernel, paper) = kernel();
    let first = allocated(&mut kernel);
    kernel
        .install(&installation(first, 0xa1))
        .expect("installed");
    assert_eq!(
        paper.take(),
        [
            "allocate 50 1001",
            "update 50 1001 to 192.0.2.1 reqid 101",
            "new 50 a1 to 192.0.2.2 reqid 101",
            "put In 10.0.1.0 to 192.0.2.1",
            "put Forward 10.0.1.0 to 192.0.2.1",
            "put Out 10.0.2.0 to 192.0.2.2",
        ]
    );
    // The responder of the second one: its way in first, the rest later.
    let second = allocated(&mut kernel);
    let mut early = installation(second, 0xa2);
    early.outgoing.clear();
    kernel.install_incoming(&early);
    assert_eq!(
        paper.take(),
        ["allocate 50 1002", "update 50 1002 to 192.0.2.1 reqid 101"]
    );
    kernel
        .install(&installation(second, 0xa2))
        .expect("installed");
    assert_eq!(paper.take(), ["new 50 a2 to 192.0.2.2 reqid 101"]);
    kernel.remove(local(), remote(), &[(3, first, 0xa1)], None);
    assert_eq!(
        paper.take(),
        ["remove 50 a1 to 192.0.2.2", "remove 50 1001 to 192.0.2.1"]
    );
    kernel.remove(local(), remote(), &[(3, second, 0xa2)], None);
    assert_eq!(
        paper.take(),
        [
            "take Out 10.0.2.0",
            "take Forward 10.0.1.0",
            "take In 10.0.1.0",
            "remove 50 a2 to 192.0.2.2",
            "remove 50 1002 to 192.0.2.1",
        ]
    );
    assert!(kernel.flows.is_empty() && kernel.by_reqid.is_empty() && kernel.ways_in.is_empty());
}

#[test]
fn a_peer_at_a_new_address_takes_the_flow_over() {
    let (mut kernel, paper) = kernel();
    let first = allocated(&mut kernel);
    kernel
        .install(&installation(first, 0xa1))
        .expect("installed");
    paper.take();
    let second = allocated(&mut kernel);
    let moved = Installation {
        remote: ([192, 0, 2, 77], 500).into(),
        ..installation(second, 0xa2)
    };
    kernel.install(&moved).expect("installed");
    assert_eq!(
        paper.take()[3..],
        [
            "replace In 10.0.1.0 to 192.0.2.1",
            "replace Forward 10.0.1.0 to 192.0.2.1",
            "replace Out 10.0.2.0 to 192.0.2.77"
        ]
        .map(str::to_owned)
    );
}

#[test]
fn the_sas_of_a_peer_behind_a_nat_get_its_new_port() {
    let (mut kernel, paper) = kernel();
    let ends = |port: u16| -> [SocketAddr; 2] {
        [(local().ip(), 4500).into(), (remote().ip(), port).into()]
    };
    let [ours, before] = ends(20_001);
    let [_, after] = ends(40_002);
    let spi = allocated(&mut kernel);
    let mut in_udp = Installation {
        local: ours,
        remote: before,
        ..installation(spi, 0xa1)
    };
    for one in in_udp.incoming.iter_mut().chain(&mut in_udp.outgoing) {
        one.udp_encapsulation = true;
    }
    kernel.install(&in_udp).expect("installed");
    assert_eq!(
        paper.take()[1..3],
        [
            "update 50 1001 to 192.0.2.1 reqid 101 in UDP 20001 4500 keys 32:2 16:1",
            "new 50 a1 to 192.0.2.2 reqid 101 in UDP 4500 20001 keys 32:2 16:1",
        ]
        .map(str::to_owned)
    );
    // What is not there, or not in UDP, has no ports.
    kernel.move_peer(ours, before, after, &[(3, spi + 1, 0xa2)]);
    assert_eq!(paper.take(), Vec::<String>::new());
    // The keys are kept nowhere: those that it names are others of the same length.
    let protocols = [(3, spi, 0xa1)];
    kernel.move_peer(ours, before, after, &protocols);
    assert_eq!(
        paper.take(),
        [
            "update 50 a1 to 192.0.2.2 reqid 101 in UDP 4500 40002 keys 32:0 16:0",
            "update 50 1001 to 192.0.2.1 reqid 101 in UDP 40002 4500 keys 32:0 16:0",
        ]
    );
    kernel.remove(ours, after, &protocols, None);
    assert!(kernel.in_udp.is_empty());
    paper.take();
    kernel.move_peer(ours, after, before, &protocols);
    assert_eq!(paper.take(), Vec::<String>::new());
}

#[test]
fn what_fails_leaves_nothing() {
    for (what, number, expected) in [
        ("update", libc::EPROTONOSUPPORT, "this kernel has no ESP"),
        ("new", libc::ENOMEM, "Cannot allocate memory"),
        ("put In", libc::EEXIST, "another program has one"),
        ("put Out", libc::EPERM, "policy Out"),
    ] {
        let (mut kernel, paper) = kernel();
        let spi = allocated(&mut kernel);
        let mut early = installation(spi, 0xa1);
        early.outgoing.clear();
        kernel.install_incoming(&early);
        paper.0.borrow_mut().fails.push((what, number));
        if what == "update" {
            // This time it is the early one that fails.
            kernel.release_spi(3, spi, local(), remote());
            let spi = allocated(&mut kernel);
            early.incoming = vec![parameters(3, spi)];
            kernel.install_incoming(&early);
            let error = kernel.install(&installation(spi, 0xa1)).expect_err(what);
            assert!(error.contains(expected), "{error}");
            kernel.release_spi(3, spi, local(), remote());
        } else {
            let error = kernel.install(&installation(spi, 0xa1)).expect_err(what);
            assert!(error.contains(expected), "{error}");
            kernel.release_spi(3, spi, local(), remote());
        }
        // Each thing that was put was taken as often.
        let mut there: Vec<String> = Vec::new();
        for line in paper.take() {
            let words: Vec<&str> = line.split(' ').collect();
            let key = match words[..] {
                [.., "FAILS"] => continue,
                ["allocate", protocol, spi] | ["new", protocol, spi, ..] => {
                    there.push(format!("{protocol} {spi}"));
                    continue;
                }
                ["put", direction, to, ..] => {
                    there.push(format!("{direction} {to}"));
                    continue;
                }
                ["remove", protocol, spi, ..] => format!("{protocol} {spi}"),
                ["take", direction, to] => format!("{direction} {to}"),
                _ => continue,
            };
            there.retain(|one| *one != key);
        }
        assert_eq!(there, Vec::<String>::new(), "{what}");
        assert!(
            kernel.flows.is_empty() && kernel.by_reqid.is_empty(),
            "{what}"
        );
        assert!(kernel.ways_in.is_empty(), "{what}");
    }
}

#[test]
fn a_larval_sa_that_ran_out_is_made_anew() {
    let (mut kernel, paper) = kernel();
    let spi = allocated(&mut kernel);
    paper.0.borrow_mut().fails.push(("update", libc::ESRCH));
    kernel.install(&installation(spi, 0xa1)).expect("installed");
    assert_eq!(
        paper.take()[1..3],
        [
            "update 50 1001 to 192.0.2.1 reqid 101 FAILS",
            "new 50 1001 to 192.0.2.1 reqid 101"
        ]
        .map(str::to_owned)
    );
}

#[test]
fn nothing_else_is_tried_twice() {
    for (what, number) in [("new", libc::ESRCH), ("update", libc::EINVAL)] {
        let (mut kernel, paper) = kernel();
        let spi = allocated(&mut kernel);
        paper.0.borrow_mut().fails.push((what, number));
        let failed = kernel.install(&installation(spi, 0xa1));
        assert!(failed.is_err(), "{what}");
        let lines = paper.take();
        let tries = lines.iter().filter(|line| line.ends_with("FAILS"));
        assert_eq!(tries.count(), 1, "{lines:#?}");
        assert!(what == "new" || !lines.iter().any(|line| line.starts_with("new")));
    }
}

#[test]
fn reqids_are_used_again_and_end() {
    let (mut kernel, _) = kernel();
    let other = |third: u8, spi: u32| {
        let mut other = installation(spi, spi + 1);
        other.flow.remote = side(third);
        other
    };
    let spis = [1, 2, 3].map(|_| allocated(&mut kernel));
    kernel.install(&other(2, spis[0])).expect("the first");
    kernel.install(&other(3, spis[1])).expect("the second");
    let error = kernel.install(&other(4, spis[2])).expect_err("no more");
    assert_eq!(error, "no reqid is left");
    kernel.remove(local(), remote(), &[(3, spis[0], spis[0] + 1)], None);
    kernel.install(&other(4, spis[2])).expect("room again");
}

#[test]
fn use_is_seen_by_the_packets() {
    let (mut kernel, paper) = kernel();
    let spi = allocated(&mut kernel);
    kernel.install(&installation(spi, 0xa1)).expect("installed");
    let mut used = |packets| {
        paper.0.borrow_mut().packets = packets;
        kernel.last_use(3, spi, local(), remote())
    };
    assert_eq!(used(0), None);
    assert_eq!(used(5), Some(std::time::Duration::ZERO));
    assert!(used(5).expect("used") > std::time::Duration::ZERO);
    assert_eq!(used(6), Some(std::time::Duration::ZERO));
    assert_eq!(kernel.last_use(3, 0x9999, local(), remote()), None);
}

fn asked(reqid: u32) -> xfrm::Notice {
    xfrm::Notice::Acquire {
        source: local().ip(),
        destination: remote().ip(),
        protocol: 50,
        mode: Mode::Tunnel,
        reqid,
        sequence: 3,
        selector: Selector {
            source: ([10, 0, 1, 0].into(), 24),
            destination: ([10, 0, 2, 0].into(), 24),
            protocol: 17,
            source_port: 0,
            destination_port: 53,
        },
    }
}

#[test]
fn questions_about_our_flows_and_those_of_others() {
    let (mut kernel, paper) = kernel();
    let spi = allocated(&mut kernel);
    kernel.install(&installation(spi, 0xa1)).expect("installed");
    let expire = |spi| xfrm::Notice::Expire {
        destination: remote().ip(),
        spi,
        protocol: 50,
        hard: true,
        packets: 1,
    };
    paper.0.borrow_mut().notices = vec![asked(101), asked(102), expire(0), expire(7), asked(7)];
    let mut all = kernel.notices();
    let Some(Notice::Acquire(acquired)) = all.pop() else {
        panic!("{all:?}");
    };
    let expected = Expire {
        protocol: 3,
        spi: 7,
        destination: remote().ip(),
        hard: true,
        used: true,
    };
    assert_eq!(
        all,
        [Notice::Lost("tunnel".to_owned()), Notice::Expire(expected)]
    );
    assert_eq!((acquired.reqid, &acquired.known), (7, &None));
    assert_eq!(acquired.question.source, Some(local().ip()));
    assert_eq!(acquired.question.remote.port, 53);
    kernel.acquired("Connection-0", &acquired);
    // SAs for it are such that the policy finds them, and that they carry nothing else.
    paper.take();
    let spi = allocated(&mut kernel);
    let on_demand = Installation {
        name: Some("Connection-0".to_owned()),
        with_flow: false,
        ..installation(spi, 0xa2)
    };
    kernel.install(&on_demand).expect("installed");
    assert_eq!(
        paper.take()[1..],
        [
            "update 50 1002 to 192.0.2.1 reqid 7 for 10.0.2.0 -> 10.0.1.0",
            "new 50 a2 to 192.0.2.2 reqid 7 for 10.0.1.0 -> 10.0.2.0",
        ]
        .map(str::to_owned)
    );
    paper.0.borrow_mut().notices = vec![asked(7)];
    let again = kernel.notices();
    let [Notice::Acquire(again)] = &again[..] else {
        panic!("{again:?}");
    };
    assert_eq!(again.known.as_deref(), Some("Connection-0"));
}
