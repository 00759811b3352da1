//! Two hosts in memory, and a connection between them that becomes encrypted on the way.
//!
//! In place of their TCPs stand a few packets made by hand: what `tcpcryptd` gets from the kernel's queue.

use std::time::Instant;

use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::endpoint::Endpoint;
use tcpcrypt_proto::entropy::System;
use tcpcrypt_proto::packet::{Flags, FourTuple, Fresh, Seq, View};
use tcpcrypt_proto::verdict::{Direction, Verdict};

/// Gives a packet to an endpoint; what goes on in its place, if anything does.
fn pass(endpoint: &mut Endpoint, direction: Direction, packet: Vec<u8>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match endpoint.handle_packet(Instant::now(), direction, &packet, &mut out) {
        Verdict::Accept => Some(packet),
        Verdict::Replace => Some(out),
        Verdict::Drop => None,
    }
}

/// From the TCP of one host through both endpoints to the TCP of the other.
fn cross(from: &mut Endpoint, to: &mut Endpoint, packet: Vec<u8>) -> Option<Vec<u8>> {
    let wire = pass(from, Direction::Out, packet)?;
    if let Ok(view) = View::parse(&wire) {
        println!("{:?} on the wire: {:02x?}", view.flags(), view.payload());
    }
    let local = pass(to, Direction::In, wire);
    // What they sent themselves: INIT2, and its acknowledgement.
    let (mut packet, mut other) = (Vec::new(), Vec::new());
    loop {
        if to.poll_transmit(&mut packet).is_some() {
            pass(from, Direction::In, std::mem::take(&mut packet));
        } else if from.poll_transmit(&mut other).is_some() {
            pass(to, Direction::In, std::mem::take(&mut other));
        } else {
            return local;
        }
    }
}

fn main() {
    let now = Instant::now();
    let host = || Endpoint::new(Config::default(), Box::new(System::default()), now);
    let (mut client, mut server) = (host(), host());
    let here = FourTuple {
        local: ([10, 77, 0, 1], 40000).into(),
        remote: ([10, 77, 0, 2], 80).into(),
    };
    let there = FourTuple {
        local: here.remote,
        remote: here.local,
    };
    let segment = |tuple, flags, seq, ack, data: &[u8]| {
        let mut fresh = Fresh::new(tuple, Direction::Out);
        (fresh.flags, fresh.seq, fresh.ack) = (flags, Seq(seq), Seq(ack));
        fresh.window = 1000;
        let mut packet = Vec::new();
        fresh.write(&[data], &mut packet);
        packet
    };
    let (syn, ack) = (Flags::SYN, Flags::ACK);
    cross(&mut client, &mut server, segment(here, syn, 1000, 0, b""));
    let syn_ack = segment(there, syn | ack, 5000, 1001, b"");
    cross(&mut server, &mut client, syn_ack);
    cross(
        &mut client,
        &mut server,
        segment(here, ack, 1001, 5001, b""),
    );
    let hello = segment(here, ack, 1001, 5001, b"hello");
    let heard = cross(&mut client, &mut server, hello).expect("the word");
    let heard = View::parse(&heard).expect("a packet").payload().to_vec();
    println!("heard: {}", String::from_utf8_lossy(&heard));
    println!("client {:?}", client.stats());
    assert_eq!(heard, b"hello");
    assert_eq!((client.stats().encrypted, server.stats().encrypted), (1, 1));
}
