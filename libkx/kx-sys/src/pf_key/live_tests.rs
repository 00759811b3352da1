//! With a kernel that has PF_KEY and ESP, as that of the kernel VM; elsewhere they are skipped.

use super::*;
use crate::xfrm::live_tests::{errno, in_own_network, with_a_wire};
use crate::xfrm::tests::{ip, larval, web};
use crate::xfrm::{Algorithm, Direction, Lifetime, Mode, Notice, Sa, Selector, Template};

use std::net::{IpAddr, UdpSocket};
use std::process::Command;

/// What iproute2 says there is.
fn shown(what: &str) -> String {
    let output = Command::new("ip").args(["xfrm", what]).output();
    String::from_utf8(output.expect("ip").stdout).expect("text")
}

#[test]
fn sas_come_and_go() {
    in_own_network(Requests::open, |mut requests| {
        let sa = larval();
        let (from, to) = (sa.source, sa.destination);
        let one = requests.ask(&allocate_spi(&sa, 0x100..=0x1000));
        let one = one.expect("answered").expect("an SA");
        assert!((0x100..=0x1000).contains(&one.spi), "{one:?}");
        assert_eq!((one.source, one.destination, one.reqid), (from, to, 7));
        let two = requests.ask(&allocate_spi(&sa, 0x100..=u32::MAX));
        assert_ne!(two.expect("answered").expect("an SA").spi, one.spi);
        let taken = requests.ask(&allocate_spi(&sa, one.spi..=one.spi));
        assert!(taken.is_err(), "{taken:?}");
        let (cipher_key, authentication_key) = ([1; 16], [2; 20]);
        let whole = Sa {
            spi: one.spi,
            reqid: 9,
            algorithms: vec![
                Algorithm::Cipher("cbc(aes)", &cipher_key),
                Algorithm::Authentication("hmac(sha1)", &authentication_key, 96),
            ],
            replay_window: 16,
            encapsulation: Some((4500, 4501)),
            lifetime: Lifetime {
                soft_octets: Some(1000),
                hard_octets: Some(2000),
                soft_seconds: Some(300),
                hard_seconds: Some(400),
            },
            sequence: 0x6b78_0000,
            ..larval()
        };
        let update = install(&whole, true).expect("known");
        requests.ask(&update).expect("installed");
        let text = shown("state");
        let spi = format!("spi 0x{:08x} reqid 9 mode tunnel", one.spi);
        for piece in [
            spi.as_str(),
            "replay-window 16",
            "auth-trunc hmac(sha1) 0x0202020202020202020202020202020202020202 96",
            "enc cbc(aes) 0x01010101010101010101010101010101",
            "encap type espinudp sport 4500 dport 4501",
        ] {
            assert!(text.contains(piece), "{piece} in {text}");
        }
        let limits = Command::new("ip").args(["-s", "xfrm", "state"]).output();
        let limits = String::from_utf8(limits.expect("ip").stdout).expect("text");
        for piece in [
            "limit: soft 1000(bytes), hard 2000(bytes)",
            "expire add: soft 300(sec), hard 400(sec)",
        ] {
            assert!(limits.contains(piece), "{piece} in {limits}");
        }
        let look = look(from, to, 50, one.spi);
        let found = requests.ask(&look).expect("answered").expect("an SA");
        assert_eq!((found.spi, found.reqid, found.packets), (one.spi, 9, 0));
        // No larval one, or one too many.
        let late = Sa {
            spi: 0x2000,
            ..whole.clone()
        };
        let message = install(&late, true).expect("known");
        assert_eq!(errno(requests.ask(&message)), libc::ESRCH);
        let message = install(&late, false).expect("known");
        requests.ask(&message).expect("installed");
        assert_eq!(errno(requests.ask(&message)), libc::EEXIST);
        let remove = remove(from, to, 50, one.spi);
        assert_eq!(requests.ask(&remove).expect("removed"), None);
        assert_eq!(errno(requests.ask(&remove)), libc::ESRCH);
        assert_eq!(errno(requests.ask(&look)), libc::ESRCH);
    });
}

/// Every algorithm that has a number is one that the kernel takes, with the bits that are told of it.
#[test]
fn all_algorithms_are_known_to_the_kernel() {
    in_own_network(Requests::open, |mut requests| {
        let key = [5; 64];
        let aes = Algorithm::Cipher("cbc(aes)", &key[..16]);
        let mut spi = 0x1000;
        let mut put = |protocol, algorithms: Vec<Algorithm<'_>>| {
            spi += 1;
            let sa = Sa {
                spi,
                protocol,
                algorithms,
                ..larval()
            };
            let message = install(&sa, false).expect("known");
            requests
                .ask(&message)
                .map_err(|error| format!("{spi:x}: {error}"))
        };
        for (name, length) in [
            ("cbc(des)", 8),
            ("cbc(des3_ede)", 24),
            ("cbc(cast5)", 16),
            ("cbc(blowfish)", 16),
            ("cbc(blowfish)", 56),
            ("ecb(cipher_null)", 0),
            ("cbc(aes)", 32),
            ("rfc3686(ctr(aes))", 20),
        ] {
            // Of single DES all keys are weak or equal enough: these are not.
            let key: Vec<u8> = (1u8..).step_by(2).take(length).collect();
            put(50, vec![Algorithm::Cipher(name, &key)]).expect(name);
        }
        for (name, length, bits) in [
            ("hmac(md5)", 16, 96),
            ("hmac(sha1)", 20, 96),
            ("hmac(sha256)", 32, 96),
            ("hmac(sha384)", 48, 192),
            ("hmac(sha512)", 64, 256),
            ("hmac(rmd160)", 20, 96),
        ] {
            for protocol in [50, 51] {
                let mut algorithms = vec![Algorithm::Authentication(name, &key[..length], bits)];
                if protocol == 50 {
                    algorithms.insert(0, aes);
                }
                put(protocol, algorithms).expect(name);
            }
            let digits = "05".repeat(length);
            let line = format!("auth-trunc {name} 0x{digits} {bits}");
            let text = shown("state");
            assert_eq!(text.matches(&line).count(), 2, "{line} in {text}");
        }
        spi_of_compression(&mut requests);
    });
}

fn spi_of_compression(requests: &mut Requests) {
    let sa = Sa {
        protocol: 108,
        ..larval()
    };
    let found = requests.ask(&allocate_spi(&sa, 0x100..=0xefff));
    let spi = found.expect("answered").expect("an SA").spi;
    let whole = Sa {
        spi,
        algorithms: vec![Algorithm::Compression("deflate")],
        ..sa
    };
    let message = install(&whole, true).expect("known");
    requests.ask(&message).expect("installed");
    assert!(shown("state").contains("comp deflate"));
}

#[test]
fn policies_come_and_go_and_leftovers_are_removed() {
    in_own_network(Requests::open, |mut requests| {
        let web = web();
        let put = |replace| put_policy(&web, replace).expect("sayable");
        requests.ask(&put(false)).expect("put");
        assert_eq!(errno(requests.ask(&put(false))), libc::EEXIST);
        requests.ask(&put(true)).expect("replaced");
        let text = shown("policy");
        for piece in [
            "src 10.1.0.0/16 dst 10.2.0.0/24 proto tcp dport 80",
            "dir out priority 1000",
            "tmpl src 192.0.2.1 dst 192.0.2.2",
            "proto esp reqid 7 mode tunnel",
            "level use",
        ] {
            assert!(text.contains(piece), "{piece} in {text}");
        }
        let gone = remove_policy(&web.selector, web.direction);
        requests.ask(&gone).expect("removed");
        assert_eq!(errno(requests.ask(&gone)), libc::ENOENT);
        // Those of IPv6, and through this host.
        let mut six = web.clone();
        six.selector.source = (ip("2001:db8:1::"), 48);
        six.selector.destination = (ip("::"), 0);
        six.direction = Direction::Forward;
        six.templates = vec![Template {
            source: ip("2001:db8::1"),
            destination: ip("2001:db8::2"),
            ..web.templates[0]
        }];
        requests
            .ask(&put_policy(&six, false).expect("sayable"))
            .expect("put");
        let text = shown("policy");
        for piece in [
            "src 2001:db8:1::/48 dst ::/0",
            "dir fwd",
            "tmpl src 2001:db8::1 dst 2001:db8::2",
        ] {
            assert!(text.contains(piece), "{piece} in {text}");
        }
        // What a killed process left; those of sockets are told, too.
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("bound");
        for direction in [Direction::In, Direction::Out] {
            crate::xfrm::live_tests::set_ip_option(&socket, 16, &bypass(direction)).expect("set");
        }
        for (reqid, third) in [(19, 1), (20, 2), (25, 3), (30, 4), (31, 5)] {
            let mut policy = web.clone();
            policy.selector.source = (IpAddr::from([10, 9, third, 0]), 24);
            policy.templates.truncate(1);
            policy.templates[0].reqid = reqid;
            requests
                .ask(&put_policy(&policy, false).expect("sayable"))
                .expect("put");
        }
        for reqid in [20, 31] {
            let sa = Sa { reqid, ..larval() };
            let made = requests.ask(&allocate_spi(&sa, 0x100..=0xffff));
            made.expect("allocated");
        }
        assert_eq!(requests.remove_all(&(20..=30)).expect("removed"), 4);
        assert_eq!(requests.remove_all(&(20..=30)).expect("none"), 0);
        assert_eq!(requests.remove_all(&(7..=31)).expect("removed"), 4);
        assert_eq!(shown("policy").matches("dir ").count(), 0);
    });
}

/// More than a socket takes at once.
#[test]
fn many_policies_are_removed() {
    in_own_network(Requests::open, |mut requests| {
        for number in 0..400u16 {
            let [high, low] = number.to_be_bytes();
            let mut policy = web();
            policy.selector.destination = (IpAddr::from([10, 7, high, low]), 32);
            requests
                .ask(&put_policy(&policy, false).expect("sayable"))
                .expect("put");
        }
        assert_eq!(requests.remove_all(&(7..=7)).expect("removed"), 400);
        assert_eq!(requests.remove_all(&(7..=7)).expect("none"), 0);
    });
}

#[test]
fn the_kernel_tells_what_is_wanted_and_what_is_gone() {
    in_own_network(Requests::open, |mut requests| {
        assert!(with_a_wire());
        let told = Notices::open().expect("registered");
        let policy = crate::xfrm::Policy {
            selector: Selector {
                protocol: 0,
                destination_port: 0,
                ..web().selector
            },
            templates: vec![web().templates[0]],
            ..web()
        };
        requests
            .ask(&put_policy(&policy, false).expect("sayable"))
            .expect("put");
        let socket = UdpSocket::bind(("10.1.0.1", 0)).expect("bound");
        let _ = socket.send_to(b"x", ("10.2.0.9", 9));
        let mut wait_for = |is_wanted: &dyn Fn(&Notice) -> bool| {
            let end = Instant::now() + Duration::from_secs(20);
            while Instant::now() < end {
                let all = told.take(&mut requests).expect("read");
                if all
                    .iter()
                    .flat_map(|one| notices(one))
                    .any(|one| is_wanted(&one))
                {
                    return true;
                }
                let _ = wait(&told.0, end);
            }
            false
        };
        let (ours, peer) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert!(wait_for(&|notice| matches!(
            notice,
            Notice::Acquire { source, destination, protocol: 50, mode: Mode::Tunnel, reqid: 7, sequence: 1.., selector }
                if (*source, *destination, *selector) == (ours, peer, policy.selector)
        )));
        assert!(wait_for(&|notice| matches!(
            notice,
            Notice::Expire { destination, spi: 0, protocol: 50, hard: true, packets: 0 } if *destination == peer
        )));
        let key = [1; 16];
        let short = Sa {
            spi: 0x1234,
            algorithms: vec![Algorithm::Cipher("cbc(aes)", &key)],
            lifetime: Lifetime {
                soft_seconds: Some(1),
                hard_seconds: Some(2),
                ..Lifetime::default()
            },
            ..larval()
        };
        let mut other = Requests::open().expect("opened");
        other
            .ask(&install(&short, false).expect("known"))
            .expect("installed");
        for wanted in [false, true] {
            assert!(wait_for(&|notice| matches!(
                notice,
                Notice::Expire { destination, spi: 0x1234, protocol: 50, hard, packets: 0 }
                    if *destination == short.destination && *hard == wanted
            )));
        }
    });
}
