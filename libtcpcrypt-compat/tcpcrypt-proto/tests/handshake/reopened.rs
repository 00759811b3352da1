//! Addresses that have a connection and get another; both ends on one host.

use std::time::Duration;

use tcpcrypt_control::OptionName;
use tcpcrypt_proto::packet::{Direction, Flags};

use crate::host::{ACK, CLIENT_ISN, FIN, Host, LINUX, Pair, RST, SERVER_ISN, SYN, Segment, resets};

/// A SYN for a live connection changes nothing until the local TCP answers it.
#[test]
fn a_forged_syn() {
    let mut pair = Pair::default();
    pair.connect();
    for options in [
        LINUX.to_vec(),
        [&LINUX[..], &[0xfd, 5, 0x45, 0x4e, 0x21]].concat(),
    ] {
        let forged = pair.client.syn().with(|syn| {
            syn.seq = 77;
            syn.options = options;
        });
        pair.server.get(&forged).unwrap();
        // The TCP's answer is translated, like anything of the old connection.
        let (seq, ack) = (SERVER_ISN + 1, CLIENT_ISN.wrapping_add(1));
        let challenge = pair.server.says(ACK, seq, ack);
        let challenge = pair.server.out(&challenge).unwrap();
        assert_eq!(challenge.seq, SERVER_ISN + 1 + 108);
    }
    pair.talk();
}

/// Such a SYN makes something that waits for the answer, but not for days.
#[test]
fn a_forged_syn_is_forgotten() {
    for wait in [100, 132] {
        let mut pair = Pair::default();
        pair.connect();
        let options = [&LINUX[..], &[0xfd, 5, 0x45, 0x4e, 0x21]].concat();
        let forged = pair.client.syn().with(|syn| {
            syn.seq = 77;
            syn.options = options;
        });
        pair.server.get(&forged).unwrap();
        pair.server.pass(Duration::from_secs(wait));
        let syn_ack = pair.server.syn_ack().with(|syn| syn.ack = 78);
        assert_eq!(pair.server.out(&syn_ack).is_some(), wait < 130);
        assert_eq!(pair.server.netstat(), usize::from(wait > 130));
    }
}

/// The client's host was started anew and uses the same port.
#[test]
fn the_local_tcp_takes_a_new_connection() {
    for tcpcrypt in [true, false] {
        let mut pair = Pair::default();
        pair.connect();
        pair.talk();
        let id = pair.assert_same_id();
        let new = Pair::default().client;
        pair.client.endpoint = new.endpoint;
        let syn = pair.client.syn().with(|syn| syn.seq = 100);
        let syn = match tcpcrypt {
            true => pair.client.out(&syn).unwrap(),
            false => syn,
        };
        pair.server.get(&syn).unwrap();
        assert_eq!(pair.server.session_id(), Ok(id.clone()), "still there");
        let syn_ack = pair.server.syn_ack().with(|syn| {
            syn.seq = 9000;
            syn.ack = 101;
        });
        let syn_ack = pair.server.out(&syn_ack).unwrap();
        assert_eq!(syn_ack.eno().is_some(), tcpcrypt);
        assert_eq!(pair.server.netstat(), 0);
        if !tcpcrypt {
            let data = pair.client.says(ACK, 101, 9001);
            let data = data.with(|segment| segment.payload = b"plain".to_vec());
            assert_eq!(pair.server.get(&data), Some(data.clone()));
            continue;
        }
        pair.client.get(&syn_ack).unwrap();
        let third = pair.client.says(ACK, 101, 9001);
        let init1 = pair.client.out(&third).unwrap();
        pair.server.get(&init1).unwrap();
        let init2 = pair.server.sent_one();
        pair.client.get(&init2).unwrap();
        let ack = pair.client.sent_one();
        pair.server.get(&ack).unwrap();
        assert_ne!(pair.assert_same_id(), id);
    }
}

#[test]
fn a_refused_successor() {
    let mut pair = Pair::default();
    pair.connect();
    let syn = pair.client.syn().with(|syn| syn.seq = 100);
    pair.server.get(&syn).unwrap();
    let refused = pair.server.says(RST | ACK, 0, 101);
    assert_eq!(pair.server.out(&refused), Some(refused.clone()));
    pair.talk();
}

#[test]
fn the_local_tcp_opens_again() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    let syn = pair.client.syn().with(|syn| syn.seq = 4711);
    let syn = pair.client.out(&syn).unwrap();
    assert!(syn.eno().is_some());
    assert_eq!(pair.client.netstat(), 0);
}

fn close(pair: &mut Pair) {
    let (client, server) = (CLIENT_ISN.wrapping_add(1), SERVER_ISN + 1);
    let fin = pair.client.says(FIN | ACK, client, server);
    let fin = pair.client.out(&fin).unwrap();
    pair.server.get(&fin).unwrap();
    let answer = pair.server.says(FIN | ACK, server, client + 1);
    let answer = pair.server.out(&answer).unwrap();
    pair.client.get(&answer).unwrap();
    let last = pair.client.says(ACK, client + 1, server + 1);
    let last = pair.client.out(&last).unwrap();
    pair.server.get(&last).unwrap();
    pair.client.sent();
    pair.server.sent();
}

/// After the end nothing comes out in the clear, and the tombstones go away.
#[test]
fn closed() {
    let mut pair = Pair::default();
    pair.connect();
    let id = pair.assert_same_id();
    close(&mut pair);
    for host in [&mut pair.client, &mut pair.server] {
        assert_eq!(host.netstat(), 0);
        assert_eq!(host.endpoint.stats().tombstones, 1);
        assert_eq!(host.endpoint.stats().encrypted, 0);
        assert_eq!(host.session_id(), Ok(id.clone()), "for a little while");
        let late = host.says(ACK, SERVER_ISN + 1, CLIENT_ISN);
        let late = late.with(|segment| segment.payload = b"secret".to_vec());
        let silent = host
            .out(&late)
            .is_none_or(|segment| segment.payload.is_empty());
        assert!(silent);
        let late = late.with(|segment| std::mem::swap(&mut segment.from, &mut segment.to));
        assert_eq!(host.get(&late).map(|s| s.payload), Some(vec![]));
        host.pass(Duration::from_secs(132));
        assert_eq!(host.endpoint.stats().tombstones, 0);
        assert_eq!(host.endpoint.poll_timeout(), None);
    }
    // The same port again, while the tombstones stand.
    let mut pair = Pair::default();
    pair.connect();
    close(&mut pair);
    let syn = pair.client.syn().with(|syn| syn.seq = 200);
    let syn = pair.client.out(&syn).unwrap();
    pair.server.get(&syn).unwrap();
    let syn_ack = pair.server.syn_ack().with(|syn| syn.ack = 201);
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    assert!(syn_ack.eno().is_some());
}

/// Both ends on this host: each packet of the loopback interface comes twice, once as one end's and once as
/// the other's. They are two connections with the ends exchanged, and encrypted like any.
#[test]
fn both_ends_here() {
    let mut host = Host::new(Default::default(), "127.0.0.1:40000", "127.0.0.1:80");
    let (client, server) = (host.own, host.peer);
    let cross = |host: &mut Host, segment: &Segment| {
        let wire = host.out(segment)?;
        host.get(&wire)
    };
    let flip = |mut segment: Segment| {
        (segment.from, segment.to) = (server, client);
        segment
    };
    let syn = host.syn();
    assert_eq!(cross(&mut host, &syn).unwrap().window, 0);
    let syn_ack = flip(host.syn_ack());
    assert_eq!(cross(&mut host, &syn_ack).unwrap().window, 0);
    let (one, other) = (CLIENT_ISN.wrapping_add(1), SERVER_ISN + 1);
    let third = host.says(ACK, one, other);
    assert_eq!(cross(&mut host, &third).unwrap().payload, b"");
    // What is injected comes in again, once marked as ours and then as any packet from the wire.
    for _ in 0..2 {
        let packet = host.sent_one();
        host.get(&packet).unwrap();
    }
    assert_eq!(host.sent(), []);
    let word = host.says(ACK, one, other);
    let word = word.with(|segment| segment.payload = b"word".to_vec());
    let wire = host.out(&word).unwrap();
    assert_ne!(wire.payload, b"word");
    assert_eq!(host.get(&wire).unwrap().payload, b"word");
    assert_eq!(host.netstat(), 2);
    let id = host.session_id().unwrap();
    (host.own, host.peer) = (server, client);
    assert_eq!(host.session_id(), Ok(id));
    // Resumed as well: the cache keeps the two roles apart.
    host.own = client;
    host.peer = server;
    host.own.set_port(40001);
    let syn = host.syn();
    let wire = host.out(&syn).unwrap();
    assert!(wire.eno().unwrap().resume_ids().count() > 0);
}

/// A socket that is connected to itself.
#[test]
fn one_end_is_the_other() {
    let mut host = Host::new(Default::default(), "127.0.0.1:40000", "127.0.0.1:40000");
    let syn = host.syn();
    let wire = host.out(&syn).unwrap();
    assert_eq!(host.get(&wire), Some(wire.clone()));
    let answer = host.says(SYN | ACK, CLIENT_ISN, CLIENT_ISN.wrapping_add(1));
    assert_eq!(host.out(&answer), Some(answer.clone()));
    assert_eq!(host.get(&answer), Some(answer.clone()));
    let data = host.says(ACK, CLIENT_ISN.wrapping_add(1), 0);
    let data = data.with(|segment| segment.payload = b"plain".to_vec());
    assert_eq!(host.out(&data), Some(data.clone()));
}

#[test]
fn shutdown_resets_all() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    pair.server.endpoint.shutdown();
    pair.server.collect();
    let sent = pair.server.sent();
    assert_eq!(resets(&sent), (1, 1));
    for (direction, segment) in &sent {
        match direction {
            Direction::In => {
                assert_eq!(segment.seq, CLIENT_ISN.wrapping_add(6));
            }
            Direction::Out => {
                // Exact on the wire, so that the peer's TCP believes it.
                let seen = pair.client.get(segment).unwrap();
                assert_eq!((seen.seq, seen.flags.has(RST)), (SERVER_ISN + 6, true));
            }
        }
    }
    let mut pair = Pair::default();
    pair.init2();
    pair.client.endpoint.shutdown();
    pair.client.collect();
    assert_eq!(resets(&pair.client.sent()), (2, 1));
    pair.server.endpoint.shutdown();
    pair.server.collect();
    assert_eq!(resets(&pair.server.sent()), (2, 1));
}

#[test]
fn reset_by_a_program() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    assert_eq!(
        pair.client.control(true, OptionName::Reset, &[]),
        Ok(vec![])
    );
    assert_eq!(resets(&pair.client.sent()), (1, 1));
    assert_eq!(pair.client.netstat(), 0);
    assert_eq!(pair.client.control(true, OptionName::Reset, &[]), Err(22));
    // In mid-handshake as well.
    let mut pair = Pair::default();
    pair.init1();
    assert_eq!(
        pair.client.control(true, OptionName::Reset, &[]),
        Ok(vec![])
    );
    assert_eq!(resets(&pair.client.sent()), (2, 1));
}

#[test]
fn a_bad_record_resets_both_ends() {
    let mut pair = Pair::default();
    pair.connect();
    let word = pair
        .third()
        .with(|segment| segment.payload = b"word".to_vec());
    let record = pair.client.out(&word).unwrap();
    let bad = record.with(|segment| segment.payload[9] ^= 1);
    pair.server.log();
    assert_eq!(pair.server.get(&bad), None);
    assert_eq!(resets(&pair.server.sent()), (1, 1));
    assert_eq!(pair.server.log()[0], "MAC check failed");
    let reply = pair.server.says(ACK | Flags::PSH, SERVER_ISN + 1, 0);
    let reply = reply.with(|segment| segment.payload = b"secret".to_vec());
    assert_eq!(pair.server.out(&reply), None);
}

/// Before anything was promised there is nothing to reset.
#[test]
fn reset_by_a_program_before_the_answer() {
    let mut pair = Pair::default();
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    pair.server.get(&syn).unwrap();
    for host in [&mut pair.client, &mut pair.server] {
        assert_eq!(host.control(true, OptionName::Reset, &[]), Ok(vec![]));
        assert_eq!(host.sent(), []);
        assert_eq!(host.endpoint.stats().half_open, 0);
        assert_eq!(host.endpoint.stats().tombstones, 0);
    }
}

/// The second tombstone of the same addresses stands as long as the first did.
#[test]
fn every_tombstone_has_its_own_time() {
    let mut pair = Pair::default();
    pair.init1();
    pair.client.control(true, OptionName::Reset, &[]).unwrap();
    pair.client.pass(Duration::from_secs(100));
    let syn = pair.client.syn();
    pair.client.out(&syn).unwrap();
    let syn_ack = pair.server.syn_ack();
    let answered = syn_ack.with(|syn| syn.options = vec![0xfd, 5, 0x45, 0x4e, 0x21, 0, 0, 0]);
    pair.client.get(&answered).unwrap();
    pair.client.control(true, OptionName::Reset, &[]).unwrap();
    pair.client.pass(Duration::from_secs(35));
    assert_eq!(pair.client.endpoint.stats().tombstones, 1);
    pair.client.pass(Duration::from_secs(100));
    assert_eq!(pair.client.endpoint.stats().tombstones, 0);
}

/// The last acknowledgement of the peer's FIN goes out in both numberings, though the connection is over with
/// the first.
#[test]
fn the_last_packet_of_a_flow() {
    let mut pair = Pair::default();
    let no_sack = |syn: &mut Segment| syn.options = vec![2, 4, 5, 0xb4];
    let syn = pair.client.syn().with(no_sack);
    let syn = pair.client.out(&syn).unwrap();
    pair.server.get(&syn).unwrap();
    let syn_ack = pair.server.syn_ack().with(no_sack);
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    pair.client.get(&syn_ack).unwrap();
    let third = pair.third();
    let init1 = pair.client.out(&third).unwrap();
    pair.server.get(&init1).unwrap();
    let init2 = pair.server.sent_one();
    pair.client.get(&init2).unwrap();
    let ack = pair.client.sent_one();
    pair.server.get(&ack).unwrap();
    // The client says nothing, so that the acknowledgement of its FIN tells it nothing of the server.
    let (client, server) = (CLIENT_ISN.wrapping_add(1), SERVER_ISN + 6);
    let word = pair.server.says(ACK, SERVER_ISN + 1, client);
    let word = word.with(|segment| segment.payload = b"world".to_vec());
    let word = pair.server.out(&word).unwrap();
    pair.client.get(&word).unwrap();
    let fin = pair.client.says(FIN | ACK, client, server);
    let fin = pair.client.out(&fin).unwrap();
    pair.server.get(&fin).unwrap();
    pair.client.sent();
    pair.server.sent();
    let answer = pair.server.says(FIN | ACK, server, client + 1);
    let answer = pair.server.out(&answer).unwrap();
    for (_, segment) in pair.server.sent() {
        pair.client.get(&segment);
    }
    pair.client.get(&answer).unwrap();
    pair.client.sent();
    let last = pair.client.says(ACK, client + 1, server + 1);
    let last = pair.client.out(&last).unwrap();
    assert_eq!(pair.client.endpoint.stats().tombstones, 1);
    let other = pair.client.sent_one();
    let difference = other.ack.wrapping_sub(last.ack);
    assert_eq!(difference, 20, "the overhead of one record");
}
