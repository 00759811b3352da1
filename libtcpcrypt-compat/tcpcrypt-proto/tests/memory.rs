//! What an idle encrypted connection costs, as the kernel sees it. Alone in its process.

#[path = "handshake/host.rs"]
#[allow(dead_code)]
mod host;

use std::time::Duration;

use host::Pair;

/// Octets of memory in use by this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: usize = line
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .expect("a number");
    kib * 1024
}

#[test]
fn an_idle_connection_takes_less_than_four_kibioctets() {
    let mut pair = Pair::default();
    let open = |pair: &mut Pair, count: usize| {
        for number in 0..count {
            // Idle connections give large buffers back; the next ones take them.
            if number % 50 == 0 {
                pair.client.pass(Duration::from_secs(30));
                pair.server.pass(Duration::from_secs(30));
            }
            pair.client.own.set_port(pair.client.own.port() + 1);
            pair.server.peer = pair.client.own;
            pair.connect();
            pair.talk();
            // All that was said is acknowledged.
            let ack = pair.third().with(|segment| {
                segment.seq = segment.seq.wrapping_add(5);
                segment.ack += 5;
            });
            let ack = pair.client.out(&ack).expect("an acknowledgement");
            pair.server.get(&ack).expect("an acknowledgement");
            pair.client.sent();
            pair.server.sent();
            pair.client.log();
        }
        pair.client.pass(Duration::from_secs(30));
        pair.server.pass(Duration::from_secs(30));
    };
    let peer = |pair: &mut Pair, number: u8| {
        pair.client.peer.set_ip([10, 78, 0, number].into());
        pair.server.own = pair.client.peer;
        pair.client.own.set_port(1000);
    };
    let no_cache = |pair: &mut Pair| {
        let config = tcpcrypt_proto::config::Config {
            session_cache: false,
            ..Default::default()
        };
        *pair = Pair::new(config, config);
    };
    no_cache(&mut pair);
    peer(&mut pair, 1);
    open(&mut pair, 500);
    let before = resident();
    let count = 3000;
    peer(&mut pair, 2);
    open(&mut pair, count);
    let each = resident().saturating_sub(before) / (2 * count);
    println!("{each} octets per connection");
    assert_eq!(pair.client.endpoint.stats().encrypted, 500 + count);
    assert!(each < 4096, "{each} octets");
}
