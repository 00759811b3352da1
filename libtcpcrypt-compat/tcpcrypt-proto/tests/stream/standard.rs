//! What only the standard has (RFC 8548): an end that is said, new keys, an option that shows that the answer was seen.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use tcpcrypt_control::{Datagram, Header, OptionName, SET};
use tcpcrypt_proto::dialect::Policy;
use tcpcrypt_proto::endpoint::ClientId;
use tcpcrypt_proto::eno::{EnoOption, Kind};
use tcpcrypt_proto::event::Line;
use tcpcrypt_proto::records::Dialect;
use tcpcrypt_proto::stream::{Broken, Client, Server, Settled, Shape};

use crate::pair::{NUMBERS, PORT, Pair, ROOM, id_of, open, peer, speaking};

const TRUNCATED: Broken = Broken(Line::Broken("connection closed inside a record"));

fn pair() -> Pair {
    let mut pair = open(speaking(Policy::Standard), false);
    pair.settle();
    pair
}

#[test]
fn both_ends_agree_and_resume_in_the_standard() {
    for (policy, kind) in [
        (Policy::Standard, Kind::Standard),
        (Policy::Auto, Kind::Experimental),
    ] {
        let mut all = speaking(policy);
        let now = Instant::now();
        let mut client = Client::new(&mut all[0], now, PORT, peer(2)).expect("wanted");
        let offer = client.offer(&mut all[0], now, ROOM).expect("room");
        assert_eq!(offer.kind(), kind);
        for number in 0..4 {
            let mut pair = open(all, false);
            assert_eq!(pair.settled == Settled::Resumed, number > 0);
            pair.settle();
            for (end, stream) in pair.streams.iter().enumerate() {
                assert_eq!(stream.dialect(), Some(Dialect::Standard));
                assert_eq!(stream.shape(), Shape::Stream);
                assert_eq!(id_of(stream), id_of(&pair.streams[1 - end]));
            }
            pair.send(0, b"question", 1000);
            pair.send(1, b"answer", 1000);
            pair.settle();
            assert_eq!(pair.ways[1].got, b"question");
            assert_eq!(pair.ways[0].got, b"answer");
            all = pair.hosts;
        }
    }
}

/// Whoever forgets it, the next connection begins anew, whether the session was in the cache already or not.
#[test]
fn a_session_is_forgotten() {
    for policy in [Policy::Standard, Policy::Legacy] {
        for end in [0, 1] {
            for after_data in [true, false] {
                let mut pair = open(speaking(policy), false);
                pair.settle();
                if after_data {
                    pair.send(0, b"question", 1000);
                    pair.send(1, b"answer", 1000);
                    pair.settle();
                }
                let now = Instant::now();
                pair.streams[end].forget_session(&mut pair.hosts[end], now);
                pair.send(0, b"more", 1000);
                pair.send(1, b"more", 1000);
                pair.settle();
                assert_eq!(pair.hosts[end].stats().sessions, 0);
                assert_eq!(pair.hosts[1 - end].stats().sessions, 1);
                let next = open(pair.hosts, false);
                assert_ne!(next.settled, Settled::Resumed);
            }
        }
    }
}

/// The end of the TCP stream is the end of the data only where the last frame said so.
#[test]
fn the_end_has_to_be_said() {
    let mut cut = pair();
    cut.send(0, b"data", 1000);
    cut.settle();
    assert!(!cut.streams[1].has_finished());
    assert_eq!(cut.streams[1].end(&[]), Err(TRUNCATED));
    let mut said = pair();
    said.send(0, b"data", 1000);
    said.finish(0);
    said.finish(0);
    said.settle();
    assert!(said.streams[1].has_finished() && !said.streams[0].has_finished());
    assert_eq!(said.streams[1].end(&[]), Ok(()));
    // The other direction goes on.
    said.send(1, b"more", 1000);
    said.settle();
    assert_eq!(said.ways[0].got, b"more");
    assert!(said.streams[0].send(b"x", 1000, &mut Vec::new()).is_err());
}

/// What stands behind the last frame ends the connection, whatever it is.
#[test]
fn nothing_comes_behind_the_end() {
    let mut ended = pair();
    ended.finish(0);
    ended.ways[1].wire.extend([0; 40]);
    assert!(ended.deliver(1, usize::MAX).is_err());
    assert!(!ended.streams[1].has_finished());
}

/// A peer that changes its key again and again gets one frame for each change, and no more than it waits for.
#[test]
fn new_keys_are_followed() {
    let mut pair = pair();
    for number in 0..20_u8 {
        pair.streams[0].rekey();
        pair.send(0, &[number], 1000);
    }
    // As they come, without a chance to answer in between.
    let unread = std::mem::take(&mut pair.ways[1].wire);
    let (mut got, mut reply) = (Vec::new(), Vec::new());
    let stream = &mut pair.streams[1];
    let received = stream.receive(
        &mut pair.hosts[1],
        Instant::now(),
        &unread,
        usize::MAX,
        &mut got,
        &mut reply,
    );
    assert_eq!(received.expect("genuine").consumed, unread.len());
    assert!(reply.is_empty(), "only when it is asked for");
    assert_eq!(got.len(), 20);
    let mut rounds = 0;
    while stream.owes() {
        let before = reply.len();
        stream.pay(&mut reply).expect("sealed");
        assert!(reply.len() - before <= 80, "not much at once");
        rounds += 1;
    }
    assert_eq!(rounds, 5);
    pair.ways[0].wire = reply;
    pair.settle();
    pair.send(1, b"after", 1000);
    pair.settle();
    assert_eq!(pair.ways[0].got, b"after");
    assert!(!pair.streams[0].owes() && !pair.streams[1].owes());
}

/// The opener's first segment behind its SYN was seen.
#[test]
fn the_third_segment_counts() {
    let now = Instant::now();
    let mut all = speaking(Policy::Standard);
    for (number, option, init1) in [
        (0, Some(Kind::Standard), true),
        (1, None, false),
        (2, None, true),
        (3, Some(Kind::Experimental), false),
    ] {
        let [near, far] = &mut all;
        let mut client = Client::new(near, now, PORT, peer(20 + number)).expect("wanted");
        let offer = client.offer(near, now, ROOM).expect("room");
        let mut server = Server::new(far, now, 8080, peer(1), offer).expect("wanted");
        let answer = server.answer(far, now, ROOM);
        assert_eq!(client.answered(near, now, answer), Settled::Exchange);
        assert_eq!(client.following(), Some(EnoOption::of(Kind::Standard, &[])));
        server.third_segment(option.map(|kind| EnoOption::of(kind, &[])));
        let mut wire = Vec::new();
        let begun = client.begin(near, now, NUMBERS, &mut wire);
        assert!(begun.is_ok());
        let mut stream = server.begin(far, now, NUMBERS).expect("begun");
        let input = if init1 { &wire[..] } else { b"GET / HTTP/1.0" };
        let (mut got, mut reply) = (Vec::new(), Vec::new());
        let received = stream.receive(far, now, input, 1000, &mut got, &mut reply);
        match number {
            0 => assert!(received.is_ok() && stream.session().is_some()),
            2 => assert_eq!(received, Err(Broken(Line::SendingRst))),
            _ => assert!(stream.is_plain() && got == input),
        }
    }
}

/// An opener whose application asked to be host B, and somebody who answers as if he were host A: a kernel's TCP, which
/// carries the stream, meets no SYN with a SYN of its own.
#[test]
fn an_opener_that_would_be_host_b() {
    let now = Instant::now();
    let [mut near, _] = speaking(Policy::Standard);
    let own = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), PORT);
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    let mut header = Header::request(1, own, any, OptionName::PassiveRole.number());
    header.flags = SET;
    let mut request = Vec::new();
    Datagram::write(&header, &1_u32.to_ne_bytes(), &mut request);
    near.handle_control(now, ClientId(1), &request);
    let mut client = Client::new(&mut near, now, PORT, peer(2)).expect("wanted");
    let offer = client.offer(&mut near, now, ROOM).expect("room");
    assert_eq!(offer.as_bytes()[..3], [69, 7, 1]);
    let answer = EnoOption::of(Kind::Standard, &[0x23]);
    assert_eq!(
        client.answered(&mut near, now, Some(answer)),
        Settled::Plain
    );
}

/// In a session that goes on there is no message that could tell.
#[test]
fn the_third_segment_of_a_session_that_goes_on() {
    let now = Instant::now();
    for seen in [true, false] {
        let [mut near, mut far] = pair().hosts;
        let mut client = Client::new(&mut near, now, PORT, peer(2)).expect("wanted");
        let offer = client.offer(&mut near, now, ROOM).expect("room");
        let mut server = Server::new(&mut far, now, 8080, peer(1), offer).expect("wanted");
        let answer = server.answer(&mut far, now, ROOM);
        assert_eq!(client.answered(&mut near, now, answer), Settled::Resumed);
        let option = client.following();
        assert_eq!(option, Some(EnoOption::of(Kind::Standard, &[])));
        server.third_segment(option.filter(|_| seen));
        let stream = server.begin(&mut far, now, NUMBERS).expect("begun");
        assert_eq!(
            (stream.session().is_some(), stream.is_plain()),
            (seen, !seen)
        );
    }
}

/// A host that knows its peer to speak the standard under its own kind asks for that; if it gets no answer it asks
/// otherwise the next time, and if it gets none then either, not at all.
#[test]
fn what_is_remembered_of_peers() {
    let now = Instant::now();
    let mut far = speaking(Policy::Standard);
    let mut near = speaking(Policy::Auto);
    // The other one opens, and so shows what it speaks.
    std::mem::swap(&mut near[1], &mut far[0]);
    let [auto, standard] = near;
    let mut pair = open([standard, auto], false);
    pair.settle();
    pair.send(0, b"genuine", 1000);
    pair.settle();
    let [_, mut near] = pair.hosts;
    // The server knows its peer by the address that the connection came from.
    for (kind, is_plain) in [(Kind::Standard, false), (Kind::Experimental, true)] {
        assert!(!near.is_plain_peer(now, &peer(1)));
        let mut client = Client::new(&mut near, now, PORT, peer(1)).expect("wanted");
        let offer = client.offer(&mut near, now, ROOM).expect("room");
        assert_eq!(offer.kind(), kind);
        assert_eq!(client.answered(&mut near, now, None), Settled::Plain);
        let stream = client.begin(&mut near, now, NUMBERS, &mut Vec::new());
        assert!(stream.expect("plain").is_plain());
        assert_eq!(near.is_plain_peer(now, &peer(1)), is_plain);
    }
}
