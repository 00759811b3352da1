//! Offers and answers.

use super::*;

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
    assert_eq!(look(&sock_ops, &client), seen(offer, answer, Some(bare)));
    let mut server = accept(&listener);
    assert_eq!(look(&sock_ops, &server), seen(offer, answer, Some(bare)));
    talk(&mut client, &mut server);
    let segments = capture.segments(address(&listener));
    // The streams begin behind the SYNs.
    let begin = |want: fn(&Segment) -> bool| {
        let first = segments.iter().find(|it| want(it)).expect("one");
        first.number.wrapping_add(1)
    };
    let (of_client, of_server) = (begin(Segment::is_syn), begin(Segment::is_syn_ack));
    let numbers = sock_ops.seen(&client).expect("looked up").numbers;
    assert_eq!(numbers, (of_client, of_server));
    let numbers = sock_ops.seen(&server).expect("looked up").numbers;
    assert_eq!(numbers, (of_server, of_client));
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
    assert_eq!(look(&sock_ops, &client), expected);
    let server = accept(&listener);
    assert_eq!(look(&sock_ops, &server), expected);
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
    let third = look(&sock_ops, &server).third;
    assert_eq!(third.expect("seen").as_bytes(), BARE);
    let numbers = sock_ops.seen(&client).expect("looked up").numbers;
    let at_server = sock_ops.seen(&server).expect("looked up").numbers;
    assert_eq!(at_server, (numbers.1, numbers.0));
    let segments = capture.segments(address(&listener));
    let third = segments.iter().find(|it| !it.is_syn() && !it.is_syn_ack());
    let third = third.expect("a third segment");
    assert_eq!((third.data, &third.eno), (5, &vec![BARE.to_vec()]));
}

#[test]
fn an_offer_that_is_withdrawn_is_not_confirmed() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let capture = cable.capture();
    let socket = cable.client_socket(SERVER);
    sock_ops.offer(&socket, &eno(&[0x21])).expect("offered");
    rustix::net::sockopt::set_tcp_quickack(&socket, false).expect("set");
    rustix::net::connect(&socket, &address(&listener)).expect("connected");
    let answered = look(&sock_ops, &socket).syn_ack;
    assert_eq!(answered, Some(eno(&[0x21])));
    sock_ops.withdraw(&socket).expect("withdrawn");
    assert_eq!(look(&sock_ops, &socket), Seen::default());
    // Once more is no mistake.
    sock_ops.withdraw(&socket).expect("withdrawn");
    let mut client = TcpStream::from(socket);
    client.write_all(b"ping").expect("sent");
    let mut server = accept(&listener);
    let mut received = [0; 4];
    server.read_exact(&mut received).expect("received");
    assert_eq!(look(&sock_ops, &server).third, None);
    let [_, answers, behind] = on_the_wire(&capture.segments(address(&listener)));
    assert_eq!(answers, [eno(&[0x21]).as_bytes()]);
    assert_eq!(behind, [[0_u8; 0]; 0]);
}

#[test]
fn the_clients_first_suboption_that_has_an_answer_is_answered() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let answered = |offer: &[u8]| {
        let client = cable.connect(Some((&sock_ops, &eno(offer))), address(&listener));
        let at_client = look(&sock_ops, &client).syn_ack;
        let at_server = look(&sock_ops, accept(&listener));
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
    assert_eq!(look(&sock_ops, &client), Seen::default());
    let server = accept(&listener);
    assert_eq!(look(&sock_ops, &server), Seen::default());
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
    assert_eq!(look(&sock_ops, &server), Seen::default());
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
    assert_eq!(look(&sock_ops, &client), Seen::default());
    assert_eq!(look(&sock_ops, &server), Seen::default());
    let segments = capture.segments(address(&knowing));
    assert!(segments.len() > 6 && segments.iter().all(|it| it.eno.is_empty()));
    // A plain server: one offer, and nothing behind.
    let offer = eno(&[0x21]);
    let mut client = cable.connect(Some((&sock_ops, &offer)), address(&plain));
    let mut server = accept(&plain);
    talk(&mut client, &mut server);
    let at_client = look(&sock_ops, &client);
    assert_eq!((at_client.syn, at_client.syn_ack), (Some(offer), None));
    assert_eq!(look(&sock_ops, &server), Seen::default());
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
    assert_eq!(look(&sock_ops, &client), expected);
    assert_eq!(look(&sock_ops, &server), expected);
    let segments = capture.segments(to);
    let syns: Vec<&Segment> = segments.iter().filter(|it| it.is_syn()).collect();
    assert!(syns.len() >= 3, "{}", syns.len());
    assert!(syns.iter().all(|it| it.eno == [offer.as_bytes()]));
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
        let at_client = look(&sock_ops, &client);
        assert_eq!((at_client.syn, at_client.syn_ack), (Some(offer), None));
        assert_eq!(look(&sock_ops, &server), Seen::default());
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
        assert_eq!(look(&sock_ops, &client), answer);
        assert_eq!(look(&sock_ops, &server), answer);
    }
    assert_eq!(resumed, 500);
    println!("1000 connections in {:?}", begun.elapsed());
    assert!(begun.elapsed() < PATIENCE);
}
