//! Sessions that clients name.

use super::*;

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
    assert_eq!(look(&sock_ops, &client), expected);
    assert_eq!(look(&sock_ops, &server), expected);
    // The original has no option on the third segment then.
    let [_, syn_ack, behind] = on_the_wire(&capture.segments(address(&listener)));
    assert_eq!(syn_ack, [resumed.as_bytes()]);
    assert!(behind.is_empty());
    // The second time it is a full exchange.
    let client = cable.connect(Some((&sock_ops, &offer)), address(&listener));
    let expected = seen(offer, eno(&[0x21]), Some(&BARE));
    assert_eq!(look(&sock_ops, &client), expected);
    assert_eq!(look(&sock_ops, accept(&listener)), expected);
    assert!(sock_ops.remove_session(&name).expect("removed"));
    // One that was taken back, and one that can be added again.
    for (add, answer) in [(false, eno(&[0x21])), (true, resumed)] {
        sock_ops.add_session(&name, &resumed).expect("added");
        assert!(sock_ops.remove_session(&name).expect("removed"));
        if add {
            sock_ops.add_session(&name, &resumed).expect("added");
        }
        let client = cable.connect(Some((&sock_ops, &offer)), address(&listener));
        let answered = look(&sock_ops, &client).syn_ack;
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
    assert_eq!(look(&sock_ops, &client), expected);
    assert_eq!(look(&sock_ops, accept(&listener)), expected);
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
    let expected = |client: &TcpStream| look(&sock_ops, client);
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
        let at_server = look(&sock_ops, &server);
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
fn a_session_of_a_connection_that_never_comes_can_be_dropped() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let (name, resumed) = (session(6), eno(&[0xa1]));
    sock_ops.add_session(&name, &resumed).expect("added");
    cable.at_server("ip neigh replace 10.99.0.1 lladdr 02:00:00:00:00:77 dev wire");
    let capture = cable.capture();
    let socket = cable.client_socket(SERVER);
    sock_ops.offer(&socket, &naming(&name)).expect("offered");
    rustix::io::ioctl_fionbio(&socket, true).expect("set");
    let begun = rustix::net::connect(&socket, &address(&listener));
    assert_eq!(begun, Err(rustix::io::Errno::INPROGRESS));
    let answer = capture.next(address(&listener), Segment::is_syn_ack);
    assert_eq!(answer.eno, [resumed.as_bytes()]);
    drop(socket);
    assert!(!sock_ops.remove_session(&name).expect("asked"));
    sock_ops.drop_session(&name).expect("dropped");
    // As if it had never been.
    sock_ops.add_session(&name, &resumed).expect("added");
    assert!(sock_ops.remove_session(&name).expect("removed"));
}
