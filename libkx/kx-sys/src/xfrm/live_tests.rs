//! With the kernel of this host, in a network of its own: what it can do without transforms ("isakmpd-xfrm 10").

use super::tests::{ip, larval, web};
use super::*;

use std::net::{IpAddr, UdpSocket};
use std::process::Command;

use rustix::thread::UnshareFlags;

/// Runs in a network name space of this thread's own, or says why it cannot.
#[allow(unsafe_code)]
pub(crate) fn in_own_network<T>(
    open: impl FnOnce() -> io::Result<T> + Send + 'static,
    work: impl FnOnce(T) + Send + 'static,
) {
    std::thread::spawn(|| {
        // SAFETY: only this thread's network is another one now.
        let own = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
        if let Err(error) = own {
            return println!("skipped: {error}");
        }
        match open() {
            Ok(opened) => work(opened),
            Err(error) => println!("skipped: no such interface here: {error}"),
        }
    })
    .join()
    .expect("no panic");
}

pub(crate) fn run(line: &str) -> bool {
    let mut words = line.split(' ');
    let program = words.next().expect("a program");
    let done = Command::new(program).args(words).status();
    done.is_ok_and(|status| status.success())
}

/// 10.1.0.1 with a route to 10.2.0.0/24; larval SAs live two seconds, not thirty.
pub(crate) fn with_a_wire() -> bool {
    run("ip link add wire type veth peer name other")
        && run("ip link set wire up")
        && run("ip link set other up")
        && run("ip address add 10.1.0.1/16 dev wire")
        && run("ip route add 10.2.0.0/24 dev wire")
        && std::fs::write("/proc/sys/net/core/xfrm_acq_expires", "2").is_ok()
}

#[track_caller]
pub(crate) fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    let error = result.expect_err("an error");
    error.raw_os_error().expect("the system's")
}

#[test]
fn the_kernel_gives_spis() {
    in_own_network(Requests::open, |mut requests| {
        let sa = larval();
        let one = requests.ask(&allocate_spi(&sa, 0x100..=0x1000));
        let one = one.expect("answered").expect("an SA");
        assert!((0x100..=0x1000).contains(&one.spi), "{one:?}");
        let expected = State {
            source: sa.source,
            destination: sa.destination,
            protocol: 50,
            reqid: 7,
            sequence: 0,
            spi: one.spi,
            octets: 0,
            packets: 0,
        };
        assert_eq!(one, expected);
        let two = requests.ask(&allocate_spi(&sa, 0x100..=u32::MAX));
        assert_ne!(two.expect("answered").expect("an SA").spi, one.spi);
        let look = look(sa.source, sa.destination, 50, one.spi);
        assert_eq!(requests.ask(&look).expect("answered"), Some(expected));
        // The only one of the range is taken.
        let taken = requests.ask(&allocate_spi(&sa, one.spi..=one.spi));
        assert!(taken.is_err(), "{taken:?}");
        let remove = remove(sa.source, sa.destination, 50, one.spi);
        assert_eq!(requests.ask(&remove).expect("removed"), None);
        assert_eq!(errno(requests.ask(&remove)), libc::ESRCH);
        assert_eq!(errno(requests.ask(&look)), libc::ESRCH);
        // For what is larval no more this kernel may have no transform.
        let key = [7; 16];
        let whole = Sa {
            spi: 0x0102_0304,
            algorithms: vec![
                Algorithm::Cipher("cbc(aes)", &key),
                Algorithm::Authentication("hmac(sha1)", &key, 96),
            ],
            replay_window: 64,
            ..larval()
        };
        match requests.ask(&install(&whole, false)) {
            Ok(answer) => {
                assert_eq!(answer, None);
                assert_eq!(errno(requests.ask(&install(&whole, false))), libc::EEXIST);
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT)),
        }
    });
}

#[test]
fn the_kernel_keeps_policies_until_they_are_removed() {
    in_own_network(Requests::open, |mut requests| {
        let web = web();
        let with_reqid = |reqid, third: u8| {
            let mut policy = web.clone();
            policy.selector.source = (IpAddr::from([10, 9, third, 0]), 24);
            for template in &mut policy.templates {
                template.reqid = reqid;
                template.optional = false;
            }
            put_policy(&policy, false)
        };
        requests.ask(&put_policy(&web, false)).expect("put");
        assert_eq!(errno(requests.ask(&put_policy(&web, false))), libc::EEXIST);
        requests.ask(&put_policy(&web, true)).expect("replaced");
        let remove = remove_policy(&web.selector, web.direction);
        requests.ask(&remove).expect("removed");
        assert_eq!(errno(requests.ask(&remove)), libc::ENOENT);
        // What a killed process left is removed, and nothing else: not those of sockets, which a dump tells, too.
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("bound");
        let policy = bypass(false, Direction::Out);
        set_ip_option(&socket, 17, &policy).expect("set");
        for (reqid, third) in [(19, 1), (20, 2), (25, 3), (30, 4), (31, 5)] {
            requests.ask(&with_reqid(reqid, third)).expect("put");
        }
        for reqid in [20, 31] {
            let sa = Sa { reqid, ..larval() };
            let made = requests.ask(&allocate_spi(&sa, 0x100..=0xffff));
            made.expect("allocated");
        }
        assert_eq!(requests.remove_all(&(20..=30), 99).expect("removed"), 4);
        assert_eq!(requests.remove_all(&(20..=30), 99).expect("none"), 0);
        assert_eq!(requests.remove_all(&(19..=31), 99).expect("removed"), 3);
    });
}

/// More than one datagram of a dump.
#[test]
fn many_policies_are_removed() {
    in_own_network(Requests::open, |mut requests| {
        for number in 0..400u16 {
            let [high, low] = number.to_be_bytes();
            let mut policy = web();
            policy.selector.destination = (IpAddr::from([10, 7, high, low]), 32);
            requests.ask(&put_policy(&policy, false)).expect("put");
        }
        assert_eq!(requests.remove_all(&(7..=7), 99).expect("removed"), 400);
    });
}

#[allow(unsafe_code)]
pub(crate) fn set_ip_option(socket: &UdpSocket, option: i32, value: &[u8]) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let length = libc::socklen_t::try_from(value.len()).expect("short");
    // SAFETY: the value is read as long as it is.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            option,
            value.as_ptr().cast(),
            length,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[test]
fn the_kernel_tells_what_is_wanted_and_what_is_gone() {
    in_own_network(Requests::open, |mut requests| {
        let notices = match Notices::open() {
            Ok(notices) => notices,
            Err(error) => return println!("skipped: no groups: {error}"),
        };
        if !with_a_wire() {
            return println!("skipped: no ip here, or no settings");
        }
        let mut policy = web();
        policy.selector.protocol = 0;
        policy.selector.destination_port = 0;
        policy.templates.truncate(1);
        requests.ask(&put_policy(&policy, false)).expect("put");
        let socket = UdpSocket::bind(("10.1.0.1", 0)).expect("bound");
        // It is dropped, or held; that there was one is told.
        let _ = socket.send_to(b"x", ("10.2.0.9", 9));
        let wait_for = |is_wanted: &dyn Fn(&Notice) -> bool| {
            let end = Instant::now() + Duration::from_secs(20);
            while Instant::now() < end {
                if notices.take().expect("read").iter().any(is_wanted) {
                    return true;
                }
                let _ = wait(&notices.0, end);
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
    });
}
