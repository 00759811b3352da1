//! ENO options on the kernel's own TCP, between two network namespaces.

mod cable;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use kx_sys::sock_ops::{RawOption, Seen, SessionName, SockOps, SockOpsError};

use cable::{CGROUP, Cable, PATIENCE, Segment, attach};

const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 99, 0, 2));
const BARE: [u8; 4] = [253, 4, 0x45, 0x4e];

/// An option of kind 253 with these suboptions.
fn eno(suboptions: &[u8]) -> RawOption {
    let mut octets = BARE.to_vec();
    octets.extend_from_slice(suboptions);
    octets[1] = u8::try_from(octets.len()).expect("short");
    RawOption::new(&octets).expect("an option")
}

/// One of kind 69.
fn standard(suboptions: &[u8]) -> RawOption {
    let mut octets = vec![69, 0];
    octets.extend_from_slice(suboptions);
    octets[1] = u8::try_from(octets.len()).expect("short");
    RawOption::new(&octets).expect("an option")
}

/// A laboratory with a program that answers 21, 22 and 23, or `None` where it cannot be had.
fn lab() -> Option<(Cable, SockOps)> {
    let sock_ops = attach()?;
    for suboption in [0x21, 0x22, 0x23] {
        let answer = eno(&[suboption]);
        sock_ops.answer(suboption, &answer).expect("an answer");
        let answer = standard(&[1, suboption]);
        sock_ops.answer(suboption, &answer).expect("an answer");
    }
    Some((Cable::new()?, sock_ops))
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

/// A question and an answer.
fn talk(client: &mut TcpStream, server: &mut TcpStream) {
    for text in [b"ping", b"more"] {
        let mut received = [0; 4];
        client.write_all(text).expect("sent");
        server.read_exact(&mut received).expect("received");
        server.write_all(&received).expect("sent");
        client.read_exact(&mut received).expect("received");
        assert_eq!(&received, text);
    }
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("address")
}

fn seen(syn: RawOption, syn_ack: RawOption, third: Option<&[u8]>) -> Seen {
    let third = third.map(|octets| RawOption::new(octets).expect("an option"));
    Seen {
        syn: Some(syn),
        syn_ack: Some(syn_ack),
        third,
    }
}

/// The ENO options of the SYNs, of the SYN-ACKs, and of what the client sends behind, each once.
fn on_the_wire(segments: &[Segment]) -> [Vec<Vec<u8>>; 3] {
    let pick = |want: fn(&Segment) -> bool| {
        let mut found = Vec::new();
        for segment in segments.iter().filter(|it| want(it)) {
            assert!(segment.eno.len() <= 1, "{segment:?}");
            found.extend(segment.eno.iter().cloned());
        }
        found.dedup();
        found
    };
    let others: fn(&Segment) -> bool = |it| !it.is_syn() && !it.is_syn_ack();
    [
        pick(Segment::is_syn),
        pick(Segment::is_syn_ack),
        pick(others),
    ]
}

/// No segment has an option behind the first one that came from the server with something new.
fn assert_silent_behind_handshake(segments: &[Segment]) {
    let is_reply = |it: &Segment| it.from_server && !it.is_syn_ack();
    let reply = segments.iter().position(is_reply).expect("a reply");
    let (_, behind) = segments.split_at(reply);
    assert!(behind.len() > 3);
    // The client may have sent before the reply came to it.
    let late = behind.iter().skip(2).find(|it| !it.eno.is_empty());
    assert!(late.is_none(), "{late:?}");
    let from_server = segments
        .iter()
        .filter(|it| is_reply(it) && !it.eno.is_empty());
    assert_eq!(from_server.count(), 0);
}

fn handshake_at(ip: IpAddr, offer: RawOption, answer: RawOption, bare: &[u8]) {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), ip);
    let capture = cable.capture();
    let mut client = cable.connect(Some((&sock_ops, &offer)), address(&listener));
    assert_eq!(
        sock_ops.seen(&client).expect("looked up"),
        seen(offer, answer, Some(bare))
    );
    let mut server = accept(&listener);
    assert_eq!(
        sock_ops.seen(&server).expect("looked up"),
        seen(offer, answer, Some(bare))
    );
    talk(&mut client, &mut server);
    let segments = capture.segments(address(&listener));
    let expected = [
        vec![offer.as_bytes().to_vec()],
        vec![answer.as_bytes().to_vec()],
        vec![bare.to_vec()],
    ];
    assert_eq!(on_the_wire(&segments), expected);
    assert_silent_behind_handshake(&segments);
    // The segment that makes the connection is the one that has it.
    let third = segments.iter().find(|it| !it.is_syn() && !it.is_syn_ack());
    assert_eq!(third.expect("a third segment").eno, [bare]);
}

#[test]
fn the_experimental_kind_is_in_the_three_segments_and_in_no_other() {
    handshake_at(SERVER, eno(&[0x21, 0x22]), eno(&[0x21]), &BARE);
}

#[test]
fn the_kind_of_the_standard_too() {
    let (offer, answer) = (standard(&[0x23, 0x21]), standard(&[1, 0x23]));
    handshake_at(SERVER, offer, answer, &[69, 2]);
}

#[test]
fn both_kinds_over_ipv6() {
    let server = "fd99::2".parse().expect("an address");
    handshake_at(server, eno(&[0x22, 0x21]), eno(&[0x22]), &BARE);
    let (offer, answer) = (standard(&[0x21]), standard(&[1, 0x21]));
    handshake_at(server, offer, answer, &[69, 2]);
}

#[test]
fn a_socket_for_ipv6_that_ipv4_comes_to() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), "::".parse().expect("an address"));
    let to = SocketAddr::new(SERVER, address(&listener).port());
    let name = session(7);
    let resumed = eno(&[0xa1]);
    sock_ops.add_session(&name, &resumed).expect("added");
    let offer = naming(&name);
    let client = cable.connect(Some((&sock_ops, &offer)), to);
    let expected = seen(offer, resumed, None);
    assert_eq!(sock_ops.seen(&client).expect("looked up"), expected);
    let server = accept(&listener);
    assert_eq!(sock_ops.seen(&server).expect("looked up"), expected);
}

#[test]
fn the_third_segment_carries_the_option_and_data_together() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let capture = cable.capture();
    let socket = cable.client_socket(SERVER);
    sock_ops.offer(&socket, &eno(&[0x21])).expect("offered");
    rustix::net::sockopt::set_tcp_quickack(&socket, false).expect("set");
    rustix::net::connect(&socket, &address(&listener)).expect("connected");
    let mut client = TcpStream::from(socket);
    client.write_all(b"INIT1").expect("sent");
    let mut server = accept(&listener);
    let mut received = [0; 5];
    server.read_exact(&mut received).expect("received");
    let third = sock_ops.seen(&server).expect("looked up").third;
    assert_eq!(third.expect("seen").as_bytes(), BARE);
    let segments = capture.segments(address(&listener));
    let third = segments.iter().find(|it| !it.is_syn() && !it.is_syn_ack());
    let third = third.expect("a third segment");
    assert_eq!((third.data, &third.eno), (5, &vec![BARE.to_vec()]));
}

#[test]
fn the_clients_first_suboption_that_has_an_answer_is_answered() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let answered = |offer: &[u8]| {
        let client = cable.connect(Some((&sock_ops, &eno(offer))), address(&listener));
        let at_client = sock_ops.seen(&client).expect("looked up").syn_ack;
        let at_server = sock_ops.seen(accept(&listener)).expect("looked up");
        assert_eq!(at_client, at_server.syn_ack);
        assert_eq!(at_server.syn.is_some(), at_server.syn_ack.is_some());
        at_client
    };
    let only = |octet: u8| Some(eno(&[octet]));
    assert_eq!(answered(&[0x22, 0x21]), only(0x22));
    assert_eq!(answered(&[0x02, 0x25, 0x23, 0x22, 0x21]), only(0x23));
    assert_eq!(answered(&[0x25, 0x26]), None);
    assert_eq!(answered(&[]), None);
    // The identifier is no suboption, nor is what stands behind a length or in somebody's data.
    sock_ops.answer(0x45, &eno(&[0x45])).expect("an answer");
    assert_eq!(answered(&[0x26]), None);
    assert_eq!(answered(&[0x80, 0x21]), None);
    assert_eq!(answered(&[0x26, 0xa5, 0x21]), None);
    assert_eq!(answered(&[0x22, 0xa5, 0x21]), only(0x22));
    // All the room that is left.
    let mut full = [0x26; 16];
    full[15] = 0x21;
    assert_eq!(answered(&full), only(0x21));
    // One more does not fit: the connection is plain.
    let client = cable.connect(Some((&sock_ops, &eno(&[0x21; 17]))), address(&listener));
    assert_eq!(sock_ops.seen(&client).expect("looked up"), Seen::default());
    let server = accept(&listener);
    assert_eq!(sock_ops.seen(&server).expect("looked up"), Seen::default());
}

#[test]
fn two_options_in_a_syn_are_none() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let Some(other) = attach() else { return };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let capture = cable.capture();
    let socket = cable.client_socket(SERVER);
    sock_ops.offer(&socket, &eno(&[0x21])).expect("offered");
    other.offer(&socket, &standard(&[0x21])).expect("offered");
    rustix::net::connect(&socket, &address(&listener)).expect("connected");
    let mut client = TcpStream::from(socket);
    let mut server = accept(&listener);
    talk(&mut client, &mut server);
    let segments = capture.segments(address(&listener));
    assert_eq!(segments.first().expect("a SYN").eno.len(), 2);
    assert!(segments.iter().skip(1).all(|it| it.eno.is_empty()));
    assert_eq!(sock_ops.seen(&server).expect("looked up"), Seen::default());
}

#[test]
fn peers_without_eno_and_sockets_that_were_not_named_are_left_alone() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let capture = cable.capture();
    let (knowing, plain) = (
        cable.listen(Some(&sock_ops), SERVER),
        cable.listen(None, SERVER),
    );
    // A plain client.
    let mut client = cable.connect(None, address(&knowing));
    let mut server = accept(&knowing);
    talk(&mut client, &mut server);
    assert_eq!(sock_ops.seen(&client).expect("looked up"), Seen::default());
    assert_eq!(sock_ops.seen(&server).expect("looked up"), Seen::default());
    let segments = capture.segments(address(&knowing));
    assert!(segments.len() > 6 && segments.iter().all(|it| it.eno.is_empty()));
    // A plain server: one offer, and nothing behind.
    let offer = eno(&[0x21]);
    let mut client = cable.connect(Some((&sock_ops, &offer)), address(&plain));
    let mut server = accept(&plain);
    talk(&mut client, &mut server);
    let at_client = sock_ops.seen(&client).expect("looked up");
    assert_eq!((at_client.syn, at_client.syn_ack), (Some(offer), None));
    assert_eq!(sock_ops.seen(&server).expect("looked up"), Seen::default());
    let segments = capture.segments(address(&plain));
    let [syn, syn_ack, behind] = on_the_wire(&segments);
    assert_eq!((syn.len(), syn_ack.len(), behind.len()), (1, 0, 0));
    // Both plain, in the same cgroup.
    let mut client = cable.connect(None, address(&plain));
    let mut server = accept(&plain);
    talk(&mut client, &mut server);
    let segments = capture.segments(address(&plain));
    assert!(segments.len() > 6 && segments.iter().all(|it| it.eno.is_empty()));
}

fn session(number: u32) -> SessionName {
    let mut name = [0xa1, 0x21, 0x22, 0x23, 9, 9, 0, 0, 0, 0];
    name[6..].copy_from_slice(&number.to_be_bytes());
    name
}

/// What the original's client sends to resume a session.
fn naming(name: &SessionName) -> RawOption {
    let mut suboptions = vec![0x21, 0x22];
    suboptions.extend_from_slice(name);
    eno(&suboptions)
}

#[test]
fn a_known_session_is_resumed_once() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let capture = cable.capture();
    let (name, resumed) = (session(1), eno(&[0xa1]));
    let offer = naming(&name);
    sock_ops.add_session(&name, &resumed).expect("added");
    let mut client = cable.connect(Some((&sock_ops, &offer)), address(&listener));
    let mut server = accept(&listener);
    talk(&mut client, &mut server);
    let expected = seen(offer, resumed, None);
    assert_eq!(sock_ops.seen(&client).expect("looked up"), expected);
    assert_eq!(sock_ops.seen(&server).expect("looked up"), expected);
    // The original has no option on the third segment then.
    let [_, syn_ack, behind] = on_the_wire(&capture.segments(address(&listener)));
    assert_eq!(syn_ack, [resumed.as_bytes()]);
    assert!(behind.is_empty());
    // The second time it is a full exchange.
    let client = cable.connect(Some((&sock_ops, &offer)), address(&listener));
    let expected = seen(offer, eno(&[0x21]), Some(&BARE));
    assert_eq!(sock_ops.seen(&client).expect("looked up"), expected);
    assert_eq!(
        sock_ops.seen(accept(&listener)).expect("looked up"),
        expected
    );
    assert!(sock_ops.remove_session(&name).expect("removed"));
    // One that was taken back, and one that can be added again.
    for (add, answer) in [(false, eno(&[0x21])), (true, resumed)] {
        sock_ops.add_session(&name, &resumed).expect("added");
        assert!(sock_ops.remove_session(&name).expect("removed"));
        if add {
            sock_ops.add_session(&name, &resumed).expect("added");
        }
        let client = cable.connect(Some((&sock_ops, &offer)), address(&listener));
        let answered = sock_ops.seen(&client).expect("looked up").syn_ack;
        assert_eq!(answered, Some(answer));
        accept(&listener);
    }
}

#[test]
fn a_session_of_the_standard_is_answered_with_its_octets() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let mut suboptions = vec![0xa3, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    let name: SessionName = suboptions.clone().try_into().expect("ten");
    // A nonce follows.
    suboptions.extend_from_slice(&[0x55; 8]);
    let offer = standard(&suboptions);
    let answer = standard(&[1, 0xa3, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0x66, 0x66, 0x66, 0x66]);
    sock_ops.add_session(&name, &answer).expect("added");
    let client = cable.connect(Some((&sock_ops, &offer)), address(&listener));
    // There the third segment has one in any case.
    let expected = seen(offer, answer, Some(&[69, 2]));
    assert_eq!(sock_ops.seen(&client).expect("looked up"), expected);
    assert_eq!(
        sock_ops.seen(accept(&listener)).expect("looked up"),
        expected
    );
}

#[test]
fn repeated_syns_carry_the_same() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), "0.0.0.0".parse().expect("an address"));
    // The server is not there yet.
    cable.at_client("ip neigh add 10.99.0.3 lladdr 02:00:00:00:00:02 dev wire");
    let capture = cable.capture();
    let offer = eno(&[0x22, 0x21]);
    let to: SocketAddr = ([10, 99, 0, 3], address(&listener).port()).into();
    let client = std::thread::scope(|scope| {
        let client = scope.spawn(|| cable.connect(Some((&sock_ops, &offer)), to));
        std::thread::sleep(Duration::from_millis(1500));
        cable.at_server("ip addr add 10.99.0.3/24 dev wire");
        client.join().expect("connected")
    });
    let server = accept(&listener);
    let expected = seen(offer, eno(&[0x22]), Some(&BARE));
    assert_eq!(sock_ops.seen(&client).expect("looked up"), expected);
    assert_eq!(sock_ops.seen(&server).expect("looked up"), expected);
    let segments = capture.segments(to);
    let syns: Vec<&Segment> = segments.iter().filter(|it| it.is_syn()).collect();
    assert!(syns.len() >= 3, "{}", syns.len());
    assert!(syns.iter().all(|it| it.eno == [offer.as_bytes()]));
}

#[test]
fn repeated_answers_are_the_same_and_a_session_stays_with_its_syn() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let (name, resumed) = (session(3), eno(&[0xa1]));
    sock_ops.add_session(&name, &resumed).expect("added");
    // What the server says goes to nobody.
    cable.at_server("ip neigh replace 10.99.0.1 lladdr 02:00:00:00:00:77 dev wire");
    let capture = cable.capture();
    let (offer, to) = (naming(&name), address(&listener));
    let connect = || cable.connect(Some((&sock_ops, &offer)), to);
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(connect);
        std::thread::sleep(Duration::from_millis(300));
        // It is a SYN's already.
        assert!(!sock_ops.remove_session(&name).expect("asked"));
        let second = scope.spawn(connect);
        std::thread::sleep(Duration::from_millis(1500));
        cable.at_server("ip neigh replace 10.99.0.1 lladdr 02:00:00:00:00:01 dev wire");
        let joined = (first.join(), second.join());
        (joined.0.expect("connected"), joined.1.expect("connected"))
    });
    let expected = |client: &TcpStream| sock_ops.seen(client).expect("looked up");
    assert_eq!(expected(&first), seen(offer, resumed, None));
    let declined = seen(offer, eno(&[0x21]), Some(&BARE));
    assert_eq!(expected(&second), declined);
    for _ in 0..2 {
        let server = accept(&listener);
        let peer = server.peer_addr().expect("connected");
        let client = [&first, &second]
            .into_iter()
            .find(|it| it.local_addr().ok() == Some(peer));
        let client = client.expect("one of the two");
        let at_server = sock_ops.seen(&server).expect("looked up");
        assert_eq!(at_server, expected(client));
    }
    let segments = capture.segments(to);
    let answers = segments.iter().filter(|it| it.is_syn_ack());
    assert!(answers.clone().count() >= 4);
    assert!(answers.clone().all(|it| it.eno.len() == 1));
    let port = first.local_addr().expect("address").port();
    for answer in answers {
        let expected = if answer.client == port {
            resumed
        } else {
            eno(&[0x21])
        };
        assert_eq!(answer.eno, [expected.as_bytes()]);
    }
    // It can be added again, so nothing is left of it.
    sock_ops.add_session(&name, &resumed).expect("added");
    let client = cable.connect(Some((&sock_ops, &offer)), to);
    assert_eq!(expected(&client).syn_ack, Some(resumed));
}

#[test]
fn syn_cookies_make_plain_connections() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    cable.at_server("echo 2 > /proc/sys/net/ipv4/tcp_syncookies");
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let capture = cable.capture();
    let name = session(4);
    sock_ops.add_session(&name, &eno(&[0xa1])).expect("added");
    for offer in [eno(&[0x21]), naming(&name)] {
        let mut client = cable.connect(Some((&sock_ops, &offer)), address(&listener));
        let mut server = accept(&listener);
        talk(&mut client, &mut server);
        let at_client = sock_ops.seen(&client).expect("looked up");
        assert_eq!((at_client.syn, at_client.syn_ack), (Some(offer), None));
        assert_eq!(sock_ops.seen(&server).expect("looked up"), Seen::default());
        let [syn, syn_ack, behind] = on_the_wire(&capture.segments(address(&listener)));
        assert_eq!((syn.len(), syn_ack.len(), behind.len()), (1, 0, 0));
    }
    // Nobody got it.
    assert!(sock_ops.remove_session(&name).expect("removed"));
}

#[test]
fn bulk_in_both_directions_carries_no_options() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    for upward in [true, false] {
        let capture = cable.capture();
        let offer = eno(&[0x21]);
        let client = cable.connect(Some((&sock_ops, &offer)), address(&listener));
        let server = accept(&listener);
        let (mut from, mut to) = if upward {
            (client, server)
        } else {
            (server, client)
        };
        let octets = 4 << 20;
        std::thread::scope(|scope| {
            scope.spawn(move || from.write_all(&vec![7; octets]).expect("sent"));
            let mut received = Vec::new();
            to.read_to_end(&mut received).expect("received");
            assert_eq!(received.len(), octets);
        });
        let segments = capture.segments(address(&listener));
        let with_option = segments.iter().filter(|it| !it.eno.is_empty());
        let data = with_option.map(|it| it.data).sum::<usize>();
        // What the client sends before it hears from the server has one: its first window.
        assert!(data <= 64 << 10, "{data}");
        assert!(segments.iter().filter(|it| it.data > 0).count() > 30);
        let (_, end) = segments.split_at(segments.len() / 2);
        assert!(end.iter().all(|it| it.eno.is_empty()));
    }
}

#[test]
fn a_thousand_connections_each_with_its_own() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let begun = Instant::now();
    let mut resumed = 0;
    for number in 0..1000 {
        let name = session(number);
        let is_known = number % 2 == 0;
        let answer = if is_known {
            sock_ops.add_session(&name, &eno(&[0xa1])).expect("added");
            resumed += 1;
            seen(naming(&name), eno(&[0xa1]), None)
        } else {
            seen(naming(&name), eno(&[0x21]), Some(&BARE))
        };
        let client = cable.connect(Some((&sock_ops, &naming(&name))), address(&listener));
        let server = accept(&listener);
        assert_eq!(sock_ops.seen(&client).expect("looked up"), answer);
        assert_eq!(sock_ops.seen(&server).expect("looked up"), answer);
    }
    assert_eq!(resumed, 500);
    println!("1000 connections in {:?}", begun.elapsed());
    assert!(begun.elapsed() < PATIENCE);
}

/// What a daemon can still do when it has dropped its privileges.
#[test]
fn nothing_is_needed_after_the_beginning() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let socket = cable.client_socket(SERVER);
    let offer = eno(&[0x21]);
    let at_client = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
            let none = CapabilitySet::empty();
            let sets = CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            };
            set_capabilities(None, sets).expect("dropped");
            let refused = SockOps::attach(listener.as_fd()).expect_err("not permitted");
            assert!(matches!(refused, SockOpsError::NotPermitted { .. }));
            sock_ops.offer(&socket, &offer).expect("offered");
            sock_ops
                .add_session(&session(5), &eno(&[0xa1]))
                .expect("added");
            rustix::net::connect(&socket, &address(&listener)).expect("connected");
            sock_ops.seen(&socket).expect("looked up")
        });
        thread.join().expect("done")
    });
    assert_eq!(at_client, seen(offer, eno(&[0x21]), Some(&BARE)));
}

/// Not a test by itself: what the next one runs in a cgroup of its own.
#[test]
fn counted() {
    if std::env::var_os(CGROUP).is_none() {
        return;
    }
    std::fs::write(
        Path::new(&std::env::var_os(CGROUP).expect("set")).join("cgroup.procs"),
        std::process::id().to_string(),
    )
    .expect("entered");
    let (cable, sock_ops) = lab().expect("had before");
    let _counting = call_bpf(ENABLE_STATISTICS, 0).expect("counting");
    let number = sock_ops.program_id().expect("a number");
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let mut client = cable.connect(Some((&sock_ops, &eno(&[0x21]))), address(&listener));
    let mut server = accept(&listener);
    talk(&mut client, &mut server);
    let before = runs(number);
    assert!(before > 8, "{before}");
    for _ in 0..100 {
        talk(&mut client, &mut server);
    }
    assert_eq!(runs(number), before);
}

/// How often the program was called since it is counted.
fn runs(program: u32) -> u64 {
    let descriptor = call_bpf(PROGRAM_BY_ID, program).expect("ours");
    let path = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
    let info = std::fs::read_to_string(path).expect("described");
    let mut lines = info.lines();
    let runs = lines.find_map(|line| line.strip_prefix("run_cnt:")?.trim().parse().ok());
    runs.expect("counted")
}

#[test]
fn behind_the_handshake_the_program_is_not_called() {
    let Some(sock_ops) = attach() else { return };
    drop(sock_ops);
    let own = kx_sys::sock_ops::own_cgroup().expect("found before");
    let own = std::fs::read_link(format!("/proc/self/fd/{}", own.as_raw_fd())).expect("a path");
    let cgroup = own.join(format!("kxbpf-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&cgroup) {
        return println!("skipped: {}: {error}", cgroup.display());
    }
    let child = std::process::Command::new(std::env::current_exe().expect("ourselves"))
        .args(["--exact", "counted"])
        .env(CGROUP, &cgroup)
        .output()
        .expect("started");
    std::fs::remove_dir(&cgroup).expect("empty again");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
}

/// `BPF_PROG_GET_FD_BY_ID`
const PROGRAM_BY_ID: libc::c_int = 13;
/// `BPF_ENABLE_STATS`
const ENABLE_STATISTICS: libc::c_int = 32;

/// A command that takes a number and makes a descriptor.
fn call_bpf(command: libc::c_int, number: u32) -> Option<OwnedFd> {
    let attributes = [number, 0, 0];
    // SAFETY: the structure of these commands: a number, and words that are zero.
    #[allow(unsafe_code)]
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    let descriptor = libc::c_int::try_from(descriptor)
        .ok()
        .filter(|it| *it >= 0)?;
    // SAFETY: the call just made it.
    #[allow(unsafe_code)]
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Whether the kernel still has the program with this number.
fn is_loaded(program: u32) -> bool {
    call_bpf(PROGRAM_BY_ID, program).is_some()
}

const HOLDER: &str = "KX_SOCK_OPS_HOLDER";

/// Not a test by itself: the process that the next one kills.
#[test]
fn holder() {
    if std::env::var_os(HOLDER).is_none() {
        return;
    }
    let sock_ops = attach().expect("attached");
    println!("\nprogram {}", sock_ops.program_id().expect("a number"));
    std::thread::sleep(PATIENCE);
}

#[test]
fn the_program_goes_with_its_owner() {
    use std::io::BufRead;
    let Some(sock_ops) = attach() else { return };
    let number = sock_ops.program_id().expect("a number");
    assert!(is_loaded(number));
    drop(sock_ops);
    wait_until_gone(number);
    let mut child = std::process::Command::new(std::env::current_exe().expect("ourselves"))
        .args(["--exact", "holder", "--nocapture"])
        .env(HOLDER, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let output = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut lines = output.lines().map_while(Result::ok);
    let number = lines.find_map(|line| line.strip_prefix("program ")?.parse().ok());
    let number = number.expect("a number");
    assert!(is_loaded(number));
    child.kill().expect("killed");
    child.wait().expect("gone");
    wait_until_gone(number);
}

/// The kernel cleans up a little later.
fn wait_until_gone(program: u32) {
    let begun = Instant::now();
    while is_loaded(program) {
        assert!(begun.elapsed() < PATIENCE, "still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}
