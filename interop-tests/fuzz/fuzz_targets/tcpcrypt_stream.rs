//! Two proxies' streams and a wire on which somebody cuts, changes, repeats and invents octets. What arrives is a
//! beginning of what was sent, and nothing arrives behind the first octet that is not as it was sealed.
#![no_main]
#![allow(clippy::cast_possible_truncation)]
use std::net::SocketAddr;
use std::time::Instant;

use kx_crypto::ecdh::{self, Curve, PrivateKey};
use kx_crypto::random::Unavailable;
use libfuzzer_sys::fuzz_target;
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::dialect::Policy;
use tcpcrypt_proto::endpoint::Endpoint;
use tcpcrypt_proto::entropy::Entropy;
use tcpcrypt_proto::packet::Seq;
use tcpcrypt_proto::stream::{Client, READ_ROOM, Server, Stream, first_unit};

/// The same numbers in each run, others in each use.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        self.0 = self.0.wrapping_add(1);
        out.fill(self.0);
        Ok(())
    }

    fn private_key(&mut self, curve: Curve) -> Result<PrivateKey, ecdh::Error> {
        self.0 = self.0.wrapping_add(1);
        let mut scalar = vec![0; curve.secret_len()];
        if let Some(last) = scalar.last_mut() {
            *last = self.0.max(2);
        }
        PrivateKey::from_scalar(curve, &scalar)
    }
}

#[derive(Default)]
struct Way {
    wire: Vec<u8>,
    unread: Vec<u8>,
    sent: Vec<u8>,
    got: Vec<u8>,
    touched: bool,
    over: bool,
}

fn peer(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

struct Pair {
    hosts: [Endpoint; 2],
    streams: [Stream; 2],
    ways: [Way; 2],
    now: Instant,
}

fn open(mut hosts: [Endpoint; 2], now: Instant) -> Option<Pair> {
    let [near, far] = &mut hosts;
    let mut client = Client::new(near, now, 40_000, peer(2))?;
    let syn = client.offer(near, now, 40)?;
    let mut server = Server::new(far, now, 80, peer(1), syn)?;
    client.answered(near, now, server.answer(far, now, 40));
    let numbers = (Seq(u32::MAX - 5000), Seq(7));
    let mut ways = [Way::default(), Way::default()];
    let near_stream = client.begin(near, now, numbers, &mut ways[1].wire).ok()?;
    let far_stream = server.begin(far, now, (numbers.1, numbers.0)).ok()?;
    Some(Pair {
        hosts,
        streams: [near_stream, far_stream],
        ways,
        now,
    })
}

impl Pair {
    fn deliver(&mut self, to: usize, most: usize) {
        let [one, two] = &mut self.ways;
        let (way, back) = if to == 0 { (one, two) } else { (two, one) };
        if way.over {
            way.wire.clear();
            return;
        }
        let count = way.wire.len().min(most);
        way.unread.extend(way.wire.drain(..count));
        let (host, stream) = (&mut self.hosts[to], &mut self.streams[to]);
        let result = stream.receive(
            host,
            self.now,
            &way.unread,
            usize::MAX,
            &mut way.got,
            &mut back.wire,
        );
        match result {
            Ok(received) => {
                way.unread.drain(..received.consumed);
                assert!(way.unread.len() < READ_ROOM, "grows");
                if stream.owes() {
                    stream.pay(&mut back.wire).expect("sealed");
                }
            }
            Err(_) => {
                way.over = true;
                assert!(stream.session().is_none(), "goes on");
            }
        }
        // A server takes what is no INIT1 for plain text: its answer may not have come through.
        if stream.session().is_some() || way.over {
            assert!(way.sent.starts_with(&way.got), "altered");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let now = Instant::now();
    // The last octet says in which dialect.
    let (dialect, data) = match data.split_last() {
        Some((last, rest)) => (*last % 3, rest),
        None => (0, data),
    };
    let config = Config {
        eno: [Policy::Legacy, Policy::Standard, Policy::Auto][usize::from(dialect)],
        ..Config::default()
    };
    let hosts = [1, 100].map(|from| Endpoint::new(config, Box::new(Counting(from)), now));
    let Some(mut pair) = open(hosts, now) else {
        return;
    };
    let mut octets = data.iter().copied();
    let mut next = || octets.next();
    // Most of it is about what comes behind the handshake.
    if next().is_some_and(|first| first % 4 != 0) {
        for to in [1, 0, 1, 0] {
            pair.deliver(to, usize::MAX);
        }
        assert!(pair.streams.iter().all(Stream::is_ready), "agreed");
    }
    while let (Some(what), Some(a), Some(b)) = (next(), next(), next()) {
        let (end, number) = (usize::from(what & 1), usize::from(a) << 8 | usize::from(b));
        match what >> 1 & 7 {
            0 | 1 => {
                let stream = &mut pair.streams[1 - end];
                let way = &mut pair.ways[end];
                if !stream.is_ready() || stream.is_plain() {
                    continue;
                }
                let from = way.sent.len();
                let text: Vec<u8> = (from..from + number % 9000)
                    .map(|at| (at * 7 + at / 251) as u8)
                    .collect();
                let start = way.wire.len();
                if stream
                    .send(&text, usize::from(what).max(1) * 16, &mut way.wire)
                    .is_ok()
                {
                    way.sent.extend_from_slice(&text);
                }
                let mut at = start;
                while at < way.wire.len() {
                    at += first_unit(stream.shape(), &way.wire[at..]);
                }
                assert_eq!(at, way.wire.len(), "borders");
            }
            2 | 3 => pair.deliver(end, number),
            4 => {
                let way = &mut pair.ways[end];
                if let Some(octet) = way.wire.get_mut(number) {
                    *octet ^= what.max(1);
                    way.touched = true;
                }
            }
            5 => {
                let way = &mut pair.ways[end];
                let at = number.min(way.wire.len());
                way.wire.splice(at..at, [a, b, what]);
                way.touched = true;
            }
            6 => {
                let way = &mut pair.ways[end];
                let at = usize::from(a).min(way.wire.len());
                let to = (at + usize::from(b)).min(way.wire.len());
                let piece: Vec<u8> = way.wire.drain(at..to).collect();
                if what & 16 != 0 {
                    way.wire.extend_from_slice(&piece);
                }
                way.touched = true;
            }
            _ => pair.streams[end].rekey(),
        }
    }
    // Whom nobody disturbed gets everything, and is told that it was all.
    for to in [1, 0, 1, 0] {
        pair.deliver(to, usize::MAX);
    }
    for to in 0..2 {
        let (stream, way) = (&mut pair.streams[1 - to], &mut pair.ways[to]);
        if stream.is_ready() {
            stream.finish(&mut way.wire).expect("finished");
        }
    }
    for to in [1, 0, 1, 0] {
        pair.deliver(to, usize::MAX);
    }
    if !pair.ways.iter().any(|way| way.touched) {
        for (way, stream) in pair.ways.iter().zip(&mut pair.streams) {
            assert!(way.got == way.sent && !way.over, "lost");
            assert!(stream.end(&way.unread).is_ok(), "cut");
        }
    }
});
