//! Bounds: in number, in time, in memory.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use tcpcrypt_control::OptionName;
use tcpcrypt_proto::config::{Config, Limits};

use crate::host::{ACK, CLIENT_ISN, Pair, SERVER_ISN, resets};

fn limited(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = Config::default();
    change(&mut config.limits);
    config
}

#[test]
fn handshakes_of_one_peer_give_way() {
    let config = limited(|limits| limits.half_open_per_peer = 3);
    let mut pair = Pair::new(Config::default(), config);
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    let flood = |pair: &mut Pair, port: u16, address: [u8; 4]| {
        let syn = syn.clone().with(|syn| syn.from = (address, port).into());
        pair.server.get(&syn).unwrap();
    };
    for port in 1..=3 {
        flood(&mut pair, port, [10, 77, 0, 1]);
    }
    flood(&mut pair, 1, [10, 77, 0, 9]);
    assert_eq!(pair.server.endpoint.stats().half_open, 4);
    assert_eq!(pair.server.log(), [""; 0]);
    // The first has got its answer, the second has not.
    pair.server.peer = ([10, 77, 0, 1], 1).into();
    let syn_ack = pair.server.syn_ack();
    pair.server.out(&syn_ack).unwrap();
    flood(&mut pair, 4, [10, 77, 0, 1]);
    assert_eq!(pair.server.endpoint.stats().half_open, 4);
    assert_eq!(pair.server.log(), ["Too many handshakes"]);
    assert_eq!(resets(&pair.server.sent()), (0, 1), "the local TCP alone");
    flood(&mut pair, 5, [10, 77, 0, 1]);
    assert_eq!(pair.server.sent(), []);
    assert_eq!(pair.server.endpoint.stats().half_open, 4);
}

/// Over IPv6 a host has as many addresses as it likes.
#[test]
fn handshakes_of_one_network_give_way() {
    let config = limited(|limits| limits.half_open_per_peer = 3);
    let mut pair = Pair::new(Config::default(), config);
    let ends = ["[2001:db8::1]:40000", "[2001:db8:1::1]:80"].map(|end| end.parse().unwrap());
    (pair.client.own, pair.client.peer) = (ends[0], ends[1]);
    (pair.server.own, pair.server.peer) = (ends[1], ends[0]);
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    let flood = |pair: &mut Pair, network: u16, host: u16| {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host);
        let syn = syn.clone().with(|syn| syn.from = (address, 9).into());
        pair.server.get(&syn).unwrap();
    };
    for host in 1..=9 {
        flood(&mut pair, 0, host);
    }
    assert_eq!(pair.server.endpoint.stats().half_open, 3);
    for network in 1..=9 {
        flood(&mut pair, network, 1);
    }
    assert_eq!(pair.server.endpoint.stats().half_open, 12);
}

#[test]
fn handshakes_of_all_peers_give_way() {
    let config = limited(|limits| limits.half_open = 100);
    let mut pair = Pair::new(Config::default(), config);
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    for number in 0..1000u32 {
        let address = Ipv4Addr::from_bits(0x0b00_0000 + number);
        let syn = syn.clone().with(|syn| syn.from = (address, 1).into());
        pair.server.get(&syn).unwrap();
    }
    assert_eq!(pair.server.endpoint.stats().half_open, 100);
    pair.server.pass(Duration::from_secs(131));
    assert_eq!(pair.server.endpoint.stats().half_open, 0);
    assert_eq!(pair.server.endpoint.poll_timeout(), None);
}

#[test]
fn a_full_table_lets_new_connections_pass() {
    let config = limited(|limits| limits.connections = 2);
    let mut pair = Pair::new(config, config);
    for number in 0..3 {
        let syn = pair.client.out(&pair.client.syn()).unwrap();
        assert_eq!(syn.eno().is_some(), number < 2);
        pair.next_port();
    }
    assert!(
        pair.client
            .log()
            .contains(&"Too many connections".to_owned())
    );
    pair.client.pass(Duration::from_secs(131));
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    assert!(syn.eno().is_some());
}

#[test]
fn tombstones_are_bounded() {
    let config = limited(|limits| limits.tombstones = 5);
    let mut pair = Pair::new(config, config);
    for _ in 0..20 {
        pair.init1();
        pair.client.control(true, OptionName::Reset, &[]).unwrap();
        pair.next_port();
    }
    assert_eq!(pair.client.endpoint.stats().tombstones, 5);
}

/// Many closes in a short time; the original aborts.
#[test]
fn three_thousand_closes() {
    let mut pair = Pair::default();
    for _ in 0..3000 {
        pair.init1();
        pair.client.control(true, OptionName::Reset, &[]).unwrap();
        pair.client.sent();
        pair.next_port();
    }
    assert_eq!(pair.client.endpoint.stats().tombstones, 3000);
    pair.client.pass(Duration::from_secs(132));
    assert_eq!(pair.client.endpoint.stats().tombstones, 0);
}

#[test]
fn events_are_bounded() {
    let config = limited(|limits| limits.events = 10);
    let mut pair = Pair::new(config, config);
    for _ in 0..100 {
        pair.client.out(&pair.client.syn()).unwrap();
        pair.next_port();
    }
    let log = pair.client.log();
    assert_eq!(log.len(), 11);
    assert_eq!(log[10], "90 events not shown");
}

#[test]
fn requests_wait_for_the_handshake() {
    let mut pair = Pair::default();
    let init2 = pair.init2();
    pair.client.ask(5, false, OptionName::SessionId, &[0; 40]);
    pair.client.ask(6, false, OptionName::Enable, &[0; 4]);
    assert_eq!(pair.client.answer(), None);
    assert_eq!(pair.client.endpoint.stats().waiting_requests, 2);
    pair.client.get(&init2).unwrap();
    let (client, id) = pair.client.answer().unwrap();
    assert_eq!((client, id.unwrap().len()), (5, 33));
    assert_eq!(pair.client.answer(), Some((6, Ok(vec![1, 0, 0, 0]))));
    assert_eq!(pair.client.answer(), None);
    assert_eq!(pair.client.endpoint.stats().waiting_requests, 0);

    // Those that were answered take no place.
    let config = limited(|limits| limits.waiting_requests = 1);
    let mut busy = Pair::new(config, config);
    for _ in 0..2 {
        busy.client.out(&busy.client.syn()).unwrap();
        busy.client.ask(1, false, OptionName::Enable, &[0; 4]);
        assert_eq!(busy.client.answer(), None);
        let syn_ack = busy.server.syn_ack();
        busy.client.get(&syn_ack).unwrap();
        assert_eq!(busy.client.answer(), Some((1, Ok(vec![0; 4]))));
        busy.next_port();
    }
    // Decided the other way.
    let mut pair = Pair::default();
    pair.client.out(&pair.client.syn()).unwrap();
    pair.client.ask(5, false, OptionName::SessionId, &[0; 40]);
    pair.client.ask(6, false, OptionName::Enable, &[0; 4]);
    let syn_ack = pair.server.syn_ack();
    pair.client.get(&syn_ack).unwrap();
    assert_eq!(pair.client.answer(), Some((5, Err(107))));
    assert_eq!(pair.client.answer(), Some((6, Ok(vec![0; 4]))));
}

#[test]
fn requests_do_not_wait_for_ever_nor_without_number() {
    let config = limited(|limits| limits.waiting_requests = 3);
    let mut pair = Pair::new(config, config);
    pair.client.out(&pair.client.syn()).unwrap();
    for client in 0..4 {
        pair.client
            .ask(client, false, OptionName::SessionId, &[0; 40]);
    }
    assert_eq!(pair.client.answer(), Some((3, Err(16))));
    assert_eq!(pair.client.answer(), None);
    pair.client.pass(Duration::from_millis(3999));
    assert_eq!(pair.client.answer(), None);
    pair.client.pass(Duration::from_millis(1));
    for client in 0..3 {
        assert_eq!(pair.client.answer(), Some((client, Err(16))));
    }
    assert_eq!(pair.client.endpoint.stats().waiting_requests, 0);
}

#[test]
fn an_idle_connection_is_reset_after_days() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    pair.client.sent();
    let days = Duration::from_secs(5 * 24 * 60 * 60);
    pair.client.pass(days - Duration::from_secs(10));
    assert_eq!(pair.client.netstat(), 1);
    pair.client.pass(Duration::from_secs(10));
    assert_eq!(pair.client.netstat(), 0);
    assert_eq!(resets(&pair.client.sent()), (1, 1));
}

/// A packet costs the same with many connections as with few.
#[test]
fn cost_does_not_grow() {
    let mut pair = Pair::new(
        Config::default(),
        limited(|l| l.half_open_per_peer = 60_000),
    );
    pair.connect();
    pair.talk();
    let word = pair.third().with(|segment| {
        segment.seq = CLIENT_ISN.wrapping_add(6);
        segment.ack = SERVER_ISN + 6;
    });
    let own = pair.client.own;
    let time = |pair: &mut Pair| {
        let packet = word.packet();
        let mut out = Vec::with_capacity(2000);
        let start = Instant::now();
        for _ in 0..5000 {
            out.clear();
            let direction = tcpcrypt_proto::verdict::Direction::Out;
            let endpoint = &mut pair.client.endpoint;
            endpoint.handle_packet(pair.client.now, direction, &packet, &mut out);
            while endpoint.poll_transmit(&mut out).is_some() {}
        }
        start.elapsed()
    };
    time(&mut pair);
    let few = time(&mut pair);
    for number in 0..50_000u32 {
        pair.client
            .own
            .set_ip(Ipv4Addr::from_bits(0x0a80_0000 + number).into());
        pair.client.out(&pair.client.syn()).unwrap();
    }
    pair.client.own = own;
    let many = time(&mut pair);
    // Wide enough for a busy machine; a scan of the table would cost a thousand times as much.
    assert!(many < few * 20, "{few:?}, then {many:?}");
    assert_eq!(word.flags, ACK);
}
