//! Two daemons of the subject on hosts with IPv6: what holds over IPv4 holds there, on both families at the same
//! time, between link-local addresses, and for every program that asks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use interop_tests::lab::applications::{accept, exchange, expect_reset, local, remote, talk};
use interop_tests::lab::case::Pair;
use interop_tests::lab::control::{
    CIPHER, DIALECT, ENABLE, KEY_EXCHANGE, NETSTAT, PAGE, RESET, ROLE, SESSID,
};
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::host::Host;
use interop_tests::lab::implementation::Implementation;
use interop_tests::lab::scenarios::{self, ANSWER, QUESTION, assert_secret, close_both, id_of};
use interop_tests::lab::segment::{RST, SYN};
use interop_tests::lab::wire_checks::{INIT1, assert_only_records, of_port, opening};
use interop_tests::lab::{Lab, Offload, PORT, Settings};
use interop_tests::peers::on_path;
use interop_tests::program::{Guarded, run_command};
use interop_tests::skip::skip;
use interop_tests::subject::workspace;
use interop_tests::wait::{self, SOON};

/// A test on hosts with IPv6, which the original does not know.
fn case(name: &str, offload: Offload, body: impl Fn(&Lab, Pair)) {
    let settings = Settings {
        offload,
        ipv6: true,
        ..Settings::default()
    };
    interop_tests::lab::case::case(name, settings, |lab, pair| {
        if !pair.client.original {
            body(lab, pair);
        }
    });
}

/// Daemons on both hosts, rules for both families, and then what happens.
fn with_daemons(name: &str, body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>)) {
    with_offload(name, Offload::Off, body);
}

fn with_offload(name: &str, offload: Offload, body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>)) {
    case(name, offload, |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        lab.divert(&PORT.to_string());
        body(lab, &client, &server);
        client.assert_well("the test");
        server.assert_well("the test");
    });
}

/// The scenarios that hold over IPv4.
macro_rules! scenario {
    ($name:ident, $run:expr) => {
        #[test]
        fn $name() {
            with_daemons(stringify!($name), $run);
        }
    };
}

scenario!(
    a_connection_over_ipv6_is_encrypted,
    scenarios::first_exchange
);
scenario!(bulk_over_ipv6_arrives_unaltered, scenarios::bulk);
scenario!(short_connections_over_ipv6, scenarios::short_connections);
scenario!(many_connections_over_ipv6_at_once, scenarios::at_once);
scenario!(
    the_client_over_ipv6_closes_first_and_still_reads,
    scenarios::client_closes_first
);
scenario!(
    the_server_over_ipv6_closes_first_and_still_reads,
    scenarios::server_closes_first
);
scenario!(a_reset_over_ipv6_arrives, scenarios::resets);
scenario!(
    options_stripped_over_ipv6_give_plain_tcp,
    scenarios::stripped
);
scenario!(connections_over_ipv6_are_resumed, scenarios::resumption);

#[test]
fn bulk_over_ipv6_where_the_receiver_regroups() {
    let name = "bulk_over_ipv6_where_the_receiver_regroups";
    with_offload(name, Offload::Nic, scenarios::bulk);
}

#[test]
fn bulk_over_ipv6_where_the_device_segments() {
    let name = "bulk_over_ipv6_where_the_device_segments";
    with_offload(name, Offload::On, scenarios::bulk);
}

#[test]
fn loss_over_ipv6_is_repaired() {
    with_daemons("loss_over_ipv6_is_repaired", scenarios::loss_is_repaired);
}

/// A tunnel at one end: what its TCP makes fits the link, and has to fit it as a record, too.
#[test]
fn links_with_a_smaller_mtu() {
    with_daemons("links_with_a_smaller_mtu", |lab, client, server| {
        let listener = lab.server.listen(PORT);
        for host in lab.hosts() {
            host.script("ip link set wire mtu 1280");
            for to in [lab.server_address(PORT), (lab.server.address, PORT).into()] {
                // A full exchange, and one that is resumed.
                for _ in 0..2 {
                    let near = lab.client.connect(to).expect("connecting");
                    let far = accept(&listener, SOON).expect("accepting");
                    talk(&near, &far, QUESTION, ANSWER).expect("talking");
                    let ends = (local(&near), remote(&near));
                    assert!(client.row_of(ends.0, ends.1).is_some(), "not encrypted");
                    exchange(&near, &far, 300_000, 300_000)
                        .unwrap_or_else(|e| panic!("{to}, small at {}: {e}", host.address));
                }
            }
            host.script("ip link set wire mtu 1500");
        }
        server.assert_well("the test");
    });
}

#[test]
fn a_peer_over_ipv6_without_a_daemon_is_plain() {
    let name = "a_peer_over_ipv6_without_a_daemon_is_plain";
    case(name, Offload::Off, |lab, pair| {
        lab.divert(&PORT.to_string());
        for (on_client, host) in [(true, &lab.client), (false, &lab.server)] {
            let daemon = Daemon::start(host, pair.client, &[]);
            let tap = lab.tap();
            let (near, far) = lab.connection(PORT).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            exchange(&near, &far, 300_000, 300_000).expect("exchanging");
            assert_eq!(daemon.netstat(), []);
            let port = local(&near).port();
            assert_eq!(opening(&tap.segments(), port).syn.is_some(), on_client);
            assert!(tap.contains(QUESTION));
            assert_eq!(daemon.stop(), 0);
        }
    });
}

#[test]
fn a_port_over_ipv6_that_is_closed_refuses() {
    with_daemons("a_port_over_ipv6_that_is_closed_refuses", |lab, _, _| {
        let result = lab.client.connect(lab.server_address(PORT));
        let kind = result.map_err(|e| e.kind());
        assert_eq!(kind.err(), Some(std::io::ErrorKind::ConnectionRefused));
    });
}

/// A connection of either family to one listener, and what tcnetstat makes of them.
#[test]
fn both_families_at_the_same_time() {
    let name = "both_families_at_the_same_time";
    with_daemons(name, |lab, client, server| {
        let tap = lab.tap();
        let listener = lab.server.listen(PORT);
        let to = [lab.server_address(PORT), (lab.server.address, PORT).into()];
        let [(six, far_six), (four, far_four)] = to.map(|to| {
            let near = lab.client.connect(to).expect("connecting");
            let far = accept(&listener, SOON).expect("accepting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            (near, far)
        });
        assert_secret(&tap);
        let six_id = id_of(client, server, &six);
        let ends = (local(&four), remote(&four));
        let four_id = client.row_of(ends.0, ends.1).expect("a row").id;
        assert_ne!(six_id, four_id);

        // Those of IPv4 come first; their lines are what they were.
        let mut tcnetstat = client
            .implementation
            .tcnetstat(&lab.client, &client.control);
        let shown = run_command(&mut tcnetstat);
        let wanted = format!(
            "Local address\t\tForeign address\t\tSID\n\
             {:<21}\t{:<21}\t{four_id}\n\
             {:<21}\t{:<21}\t{six_id}\n",
            local(&four).to_string(),
            remote(&four).to_string(),
            format!("[fd77::1]:{}", local(&six).port()),
            "[fd77::2]:8080",
        );
        assert_eq!((shown.rc, shown.stdout_text()), (0, wanted));
        assert_eq!(shown.stderr_text(), "");

        // The original's list has no place for IPv6.
        let old = client.client().get(NETSTAT, nobody(), nobody(), 1200);
        assert_eq!(old.expect("the list").data.len(), 49);
        drop((six, far_six, four, far_four));
    });
}

fn nobody() -> SocketAddr {
    ([0, 0, 0, 0], 0).into()
}

#[test]
fn the_wider_requests() {
    with_daemons("the_wider_requests", |lab, client, server| {
        let (near, far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        let id = id_of(client, server, &near);
        let (here, there) = (local(&near), remote(&near));
        let mut ask = client.client();
        let mut get = |option, local, remote, room| {
            let reply = ask.wide(false, option, local, remote, &vec![0; room]);
            let reply = reply.expect("an answer");
            match reply.error {
                0 => Ok(reply.data),
                error => Err(error),
            }
        };
        let upper = |id: &[u8]| -> String { id.iter().map(|b| format!("{b:02X}")).collect() };
        assert_eq!(
            get(SESSID, here, there, 64).map(|id| upper(&id)),
            Ok(id.clone())
        );
        for (option, text) in [
            (ROLE, "A"),
            (DIALECT, "legacy"),
            (KEY_EXCHANGE, "TCPCRYPT_ECDHE_P256"),
            (CIPHER, "AEAD_AES_128_GCM"),
        ] {
            assert_eq!(get(option, here, there, 64), Ok(text.into()));
            assert_eq!(get(option, here, there, text.len() - 1), Err(ENOBUFS));
            assert_eq!(get(option, there, here, 64), Err(ENOTCONN));
        }
        assert_eq!(get(ENABLE, here, there, 4), Ok(vec![1, 0, 0, 0]));
        assert_eq!(
            get(1001, here, there, 64),
            Err(EINVAL),
            "none within another"
        );
        assert_eq!(get(77, here, there, 64), Err(EINVAL));

        // The list, from the beginning, behind the row, and with too little room.
        let rows = get(PAGE, nobody(), nobody(), 65_000).expect("rows");
        assert_eq!(rows.len(), 48 + 33);
        assert_eq!(upper(&rows[48..]), id);
        assert_eq!(rows[40..46], [1, b'A', 0x21, 0, 0, 1]);
        assert_eq!(get(PAGE, here, there, 65_000), Ok(vec![]));
        assert_eq!(get(PAGE, nobody(), nobody(), 80), Ok(vec![]));

        let theirs = server.client().wide(false, ROLE, there, here, &[0; 8]);
        assert_eq!(theirs.expect("an answer").data, b"B");

        // A reset ends the connection at both ends.
        let reset = client.client().wide(true, RESET, here, there, &[]);
        assert_eq!(reset.expect("an answer").error, 0);
        expect_reset(&near, b"?").expect("the client's end");
        expect_reset(&far, b"?").expect("the server's end");
    });
}

const EINVAL: i32 = 22;
const ENOBUFS: i32 = 105;
const ENOTCONN: i32 = 107;

/// Requests that are cut off, or of another version, are answered as unknown ones: the client knows then.
#[test]
fn wider_requests_that_are_none() {
    with_daemons("wider_requests_that_are_none", |_, client, _| {
        let mut inner = [0; 56];
        inner[0] = 1;
        for (length, version) in [(0, 1), (1, 1), (55, 1), (56, 0), (56, 2), (56, 255)] {
            let mut data = inner[..length].to_vec();
            if let Some(first) = data.first_mut() {
                *first = version;
            }
            for set in [false, true] {
                let mut ask = client.client();
                let four = ([0, 0, 0, 0], 0);
                ask.send(set, 1001, four, four, &data).expect("sent");
                let reply = ask.reply(SOON).expect("an answer");
                assert_eq!((reply.error, reply.data), (EINVAL, data.clone()));
            }
        }
    });
}

/// The same addresses may be there on another interface, so what is injected has to name it.
#[test]
fn link_local_addresses() {
    with_daemons("link_local_addresses", |lab, client, server| {
        let index = lab.client.output("cat /sys/class/net/wire/ifindex");
        let index: u32 = index.trim().parse().expect("a number");
        let ip: Ipv6Addr = "fe80::77:2".parse().expect("an address");
        let to = SocketAddrV6::new(ip, PORT, 0, index);
        let tap = lab.tap();
        let listener = lab.server.listen(PORT);
        for round in 0..3 {
            let near = lab.client.connect(to).expect("connecting");
            let far = accept(&listener, SOON).expect("accepting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            exchange(&near, &far, 200_000, 200_000).expect("exchanging");
            let seen = tap.segments();
            let begun = opening(&seen, local(&near).port());
            // INIT2 is one of the packets that nobody sent but the daemon.
            assert_eq!(begun.exchanged, round == 0);
            assert_only_records(&seen, local(&near).port());
        }
        assert_secret(&tap);
        let near = lab.client.connect(to).expect("connecting");
        let far = accept(&listener, SOON).expect("accepting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        let id = id_of(client, server, &near);
        let ends = (local(&near), remote(&near));
        assert!(
            ends.0
                .to_string()
                .starts_with(&format!("[fe80::77:1%{index}]:"))
        );
        let asked = client
            .client()
            .wide(false, SESSID, ends.0, ends.1, &[0; 64]);
        let asked: String = asked
            .expect("an id")
            .data
            .iter()
            .map(|b| format!("{b:02X}"))
            .collect();
        assert_eq!(asked, id);
        // Resets are injected into both directions.
        let reset = client.client().wide(true, RESET, ends.0, ends.1, &[]);
        assert_eq!(reset.expect("an answer").error, 0);
        expect_reset(&near, b"?").expect("the client's end");
        expect_reset(&far, b"?").expect("the server's end");
    });
}

/// A daemon that ends, and one that is killed, whose guard is left.
#[test]
fn the_end_of_a_daemon_resets_connections_over_ipv6() {
    let name = "the_end_of_a_daemon_resets_connections_over_ipv6";
    case(name, Offload::Off, |lab, pair| {
        lab.divert(&PORT.to_string());
        let _server = Daemon::start(&lab.server, pair.server, &[]);
        for killed in [false, true] {
            let client = Daemon::start(&lab.client, pair.client, &[]);
            let tap = lab.tap();
            let (near, far) = lab.connection(PORT).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            let port = local(&near).port();
            if killed {
                client.kill();
            } else {
                assert_eq!(client.stop(), 0);
            }
            expect_reset(&near, QUESTION).expect("the client's end");
            expect_reset(&far, ANSWER).expect("the server's end");
            assert_secret(&tap);
            let seen = tap.segments();
            assert!(of_port(&seen, port).any(|s| s.has(RST)), "killed: {killed}");
            // The guard of a daemon that was killed serves the queue a little longer.
            std::thread::sleep(Duration::from_secs(if killed { 3 } else { 0 }));
        }
    });
}

/// Plaintext in fragments, which the kernel puts together behind the queue, does not get into a connection.
#[test]
fn fragments_over_ipv6_are_not_delivered() {
    let name = "fragments_over_ipv6_are_not_delivered";
    with_daemons(name, |lab, client, server| {
        let tap = lab.tap();
        let (near, mut far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        id_of(client, server, &near);
        let port = local(&near).port();
        // As the server's TCP counts: what it acknowledged last, taken from the wire, less the overhead.
        let seen = tap.segments();
        let of_client: Vec<_> = of_port(&seen, port)
            .filter(|s| s.source == local(&near))
            .collect();
        let first = of_client.iter().find(|s| s.has(SYN)).expect("a SYN");
        let seq = first
            .seq
            .wrapping_add(1 + u32::try_from(QUESTION.len()).expect("short"));
        let ack = of_client.last().expect("a segment").ack;
        assert!(of_client.iter().any(|s| s.payload.starts_with(&INIT1)));
        let mut tcp = Vec::new();
        tcp.extend(port.to_be_bytes());
        tcp.extend(PORT.to_be_bytes());
        tcp.extend(seq.to_be_bytes());
        tcp.extend(ack.wrapping_sub(20 + 108).to_be_bytes());
        tcp.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend([b'x'; 40]);
        let from: Ipv6Addr = "fd77::1".parse().expect("an address");
        let to: Ipv6Addr = "fd77::2".parse().expect("an address");
        let length = u16::try_from(tcp.len()).expect("short");
        let sum = checksum(&[
            &from.octets(),
            &to.octets(),
            &[0, 6],
            &length.to_be_bytes(),
            &tcp,
        ]);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let (one, other) = tcp.split_at(32);
        send_raw(
            &lab.client,
            from,
            to,
            44,
            &[&[6, 0, 0, 1, 0, 0, 0, 9], one].concat(),
        );
        send_raw(
            &lab.client,
            from,
            to,
            44,
            &[&[6, 0, 0, 32, 0, 0, 0, 9], other].concat(),
        );
        std::thread::sleep(Duration::from_millis(300));
        far.set_read_timeout(Some(Duration::from_millis(300)))
            .expect("a limit");
        let heard = far.read(&mut [0; 100]).map_err(|e| e.kind());
        assert_eq!(
            heard,
            Err(std::io::ErrorKind::WouldBlock),
            "an attacker's text"
        );
        far.set_read_timeout(Some(SOON)).expect("a limit");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        close_both(near, far);
    });
}

fn checksum(parts: &[&[u8]]) -> u16 {
    let all = parts.concat();
    let mut sum: u32 = all
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// Sends an IPv6 packet past the rules of its host.
fn send_raw(host: &Host, from: Ipv6Addr, to: Ipv6Addr, next: u8, payload: &[u8]) {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    host.within(|| {
        use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto};
        let (family, kind) = (AddressFamily::INET6, SocketType::RAW);
        let socket = rustix::net::socket(family, kind, Some(ipproto::RAW)).expect("a socket");
        let to = SocketAddrV6::new(to, 0, 0, 0);
        rustix::net::sendto(&socket, &packet, SendFlags::empty(), &to).expect("sent");
    });
}

/// The library of the subject, as programs find it, and a program.
fn c_program(dir: &Path, subject: &Implementation) -> Option<PathBuf> {
    let library = subject.library.join("libtcpcrypt.so");
    let compiler = ["cc", "gcc", "clang"].into_iter().find(|c| on_path(c))?;
    std::os::unix::fs::symlink(&library, dir.join("libtcpcrypt.so.0")).expect("a link");
    let exe = dir.join("tcpcrypt_ipv6");
    let done = run_command(
        Command::new(compiler)
            .args([
                "-Wall",
                "-Wextra",
                "-Werror",
                "-D_DEFAULT_SOURCE",
                "-std=c11",
            ])
            .arg(workspace().join("interop-tests/c/tcpcrypt_ipv6.c"))
            .arg("-I")
            .arg(workspace().join("include"))
            .arg(&library)
            .arg("-o")
            .arg(&exe),
    );
    assert_eq!(done.rc, 0, "{}", done.stderr_text());
    Some(exe)
}

fn serve_pings(mut far: &TcpStream, pings: usize) {
    for _ in 0..pings {
        let mut word = [0; 4];
        far.read_exact(&mut word).expect("a word");
        assert_eq!(&word, b"ping");
        far.write_all(b"pong").expect("answering");
    }
}

#[test]
fn a_c_program_on_an_ipv6_socket() {
    let name = "a_c_program_on_an_ipv6_socket";
    with_daemons(name, |lab, client, _| {
        let Some(exe) = c_program(lab.dir(), client.implementation) else {
            return skip(name, "no C compiler");
        };
        let listener = lab.server.listen(PORT);
        let mut command = lab.client.command(&exe);
        command
            .arg(&client.control)
            .args(["fd77::2", &PORT.to_string()])
            .env("LD_LIBRARY_PATH", lab.dir());
        let (done, id) = std::thread::scope(|scope| {
            let program = scope.spawn(|| run_command(&mut command));
            let far = accept(&listener, SOON).expect("accepting");
            serve_pings(&far, 1);
            let row = client.row_of(remote(&far), local(&far)).expect("a row");
            serve_pings(&far, 1);
            (program.join().expect("the program"), row.id)
        });
        assert_eq!(done.stderr_text(), "");
        let wanted =
            format!("{id}\n1002 A\n1003 legacy\n1004 TCPCRYPT_ECDHE_P256\n1005 AEAD_AES_128_GCM\n");
        assert_eq!((done.rc, done.stdout_text()), (0, wanted));

        // Of a connection that is plain.
        lab.client
            .strip_incoming(253, "--tcp-flags SYN,ACK SYN,ACK");
        let done = std::thread::scope(|scope| {
            let program = scope.spawn(|| run_command(&mut command));
            let far = accept(&listener, SOON).expect("accepting");
            serve_pings(&far, 1);
            program.join().expect("the program")
        });
        assert_eq!(done.stderr_text(), "");
        assert_eq!(
            (done.rc, done.stdout_text()),
            (0, format!("errno {ENOTCONN}\n"))
        );
        lab.client.lose_nothing();
    });
}

#[test]
fn tcs_over_ipv6() {
    let name = "tcs_over_ipv6";
    let ports = "80";
    case(name, Offload::Off, |lab, pair| {
        if let Some(program) = ["unshare", "mount"].into_iter().find(|p| !on_path(p)) {
            return skip(name, program);
        }
        let _client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        lab.divert(ports);
        let tcs = pair.server.tcnetstat.with_file_name("tcs");
        // A /run of its own with the control socket in it, and a user tcpcryptd.
        let script = format!(
            "set -e
             mount -t tmpfs tmpfs /run
             : >/run/tcpcryptd.control; mount --bind {} /run/tcpcryptd.control
             grep -v ^tcpcryptd: /etc/passwd >/run/passwd
             echo tcpcryptd:x:64999:64999::/:/bin/false >>/run/passwd
             mount --bind /run/passwd /etc/passwd
             mkdir -m 711 /run/tcpcryptd
             exec {}",
            server.control.display(),
            tcs.display(),
        );
        let mut command = lab.server.command("unshare");
        command
            .args(["-m", "sh", "-c", &script])
            .env("LD_LIBRARY_PATH", &pair.server.library)
            .stdout(Stdio::piped());
        let mut child = Guarded(command.spawn().expect("tcs starts"));
        let mut out = BufReader::new(child.0.stdout.take().expect("its output"));
        for (to, bracketed) in [
            (SocketAddr::from((lab.server.ip(), 80)), true),
            ((lab.server.address, 80).into(), false),
        ] {
            let mut stream =
                wait::until(SOON, || lab.client.connect(to).ok()).expect("tcs listens");
            let request = b"GET /check HTTP/1.0\r\nHost: check.tcpcrypt.org\r\n\r\n";
            stream.write_all(request).expect("asking");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert_eq!(answer, "HTTP/1.0 200 OK\r\n\r\n1");
            let mut line = String::new();
            out.read_line(&mut line).expect("a line");
            let from = local(&stream);
            assert_eq!(from.is_ipv6(), bracketed);
            let wanted = format!("] GOT {from} -   80 [MSG 0] crypt 1 flags 1\n");
            assert!(line.ends_with(&wanted), "{line}");
        }
    });
}
