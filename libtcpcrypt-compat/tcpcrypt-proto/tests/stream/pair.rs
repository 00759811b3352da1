//! Two ends of a stream, and what is on its way between them.

use std::net::SocketAddr;
use std::time::Instant;

use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::dialect::Policy;
use tcpcrypt_proto::endpoint::Endpoint;
use tcpcrypt_proto::eno::EnoOption;
use tcpcrypt_proto::entropy::System;
use tcpcrypt_proto::legacy::keys::SessionId;
use tcpcrypt_proto::packet::Seq;
use tcpcrypt_proto::stream::{Broken, Client, READ_ROOM, Server, Settled, Stream};

pub(crate) const PORT: u16 = 40_000;
/// What the kernel's options leave in a SYN.
pub(crate) const ROOM: usize = 20;
pub(crate) const NUMBERS: (Seq, Seq) = (Seq(0xffff_ff00), Seq(77));

pub(crate) fn peer(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, last], 8080))
}

pub(crate) fn endpoint(config: Config) -> Endpoint {
    Endpoint::new(config, Box::new(System::default()), Instant::now())
}

/// What one end has on its way to the other, and what its application got.
#[derive(Default)]
pub(crate) struct Way {
    pub(crate) wire: Vec<u8>,
    pub(crate) unread: Vec<u8>,
    pub(crate) got: Vec<u8>,
}

/// Both ends of a connection.
pub(crate) struct Pair {
    pub(crate) hosts: [Endpoint; 2],
    pub(crate) streams: [Stream; 2],
    pub(crate) ways: [Way; 2],
    pub(crate) settled: Settled,
}

/// Opens a connection; `strip` takes the option out of the SYN-ACK behind the server.
pub(crate) fn open(mut hosts: [Endpoint; 2], strip: bool) -> Pair {
    let now = Instant::now();
    let [near, far] = &mut hosts;
    let mut client = Client::new(near, now, PORT, peer(2)).expect("wanted");
    let syn = client.offer(near, now, ROOM).expect("room");
    assert_eq!(client.offer(near, now, ROOM), Some(syn));
    assert!(Server::is_wanted(far, 8080, &syn));
    let mut server = Server::new(far, now, 8080, peer(1), syn).expect("wanted");
    let answer = server.answer(far, now, ROOM).expect("room");
    assert_eq!(server.answer(far, now, ROOM), Some(answer));
    let settled = client.answered(near, now, Some(answer).filter(|_| !strip));
    let mut wire = Vec::new();
    let near_stream = client.begin(near, now, NUMBERS, &mut wire).expect("begun");
    let far_stream = server
        .begin(far, now, (NUMBERS.1, NUMBERS.0))
        .expect("begun");
    let mut ways = [Way::default(), Way::default()];
    ways[1].wire = wire;
    Pair {
        hosts,
        streams: [near_stream, far_stream],
        ways,
        settled,
    }
}

pub(crate) fn id_of(stream: &Stream) -> Option<SessionId> {
    stream.session().map(|session| session.id)
}

pub(crate) fn option(octets: &[u8]) -> Option<EnoOption> {
    EnoOption::find_any(octets).expect("one option")
}

/// Both in the original's dialect.
pub(crate) fn hosts() -> [Endpoint; 2] {
    speaking(Policy::Legacy)
}

/// Both with the same policy.
pub(crate) fn speaking(eno: Policy) -> [Endpoint; 2] {
    let config = Config {
        eno,
        ..Config::default()
    };
    [endpoint(config), endpoint(config)]
}

impl Pair {
    /// Gives the next `most` octets on the wire to end `to`.
    pub(crate) fn deliver(&mut self, to: usize, most: usize) -> Result<(), Broken> {
        let way = &mut self.ways[to];
        let count = way.wire.len().min(most);
        way.unread.extend(way.wire.drain(..count));
        let mut reply = Vec::new();
        let received = self.streams[to].receive(
            &mut self.hosts[to],
            Instant::now(),
            &way.unread,
            usize::MAX,
            &mut way.got,
            &mut reply,
        )?;
        way.unread.drain(..received.consumed);
        assert!(way.unread.len() < READ_ROOM);
        let stream = &mut self.streams[to];
        while stream.owes() {
            stream.pay(&mut reply)?;
        }
        self.ways[1 - to].wire.extend(reply);
        Ok(())
    }

    pub(crate) fn settle(&mut self) {
        for _ in 0..4 {
            for to in [1, 0] {
                self.deliver(to, usize::MAX).expect("genuine");
            }
        }
        assert!(self.streams.iter().all(Stream::is_ready));
    }

    /// Nothing more comes from this end.
    pub(crate) fn finish(&mut self, from: usize) {
        let wire = &mut self.ways[1 - from].wire;
        self.streams[from].finish(wire).expect("finished");
    }

    pub(crate) fn send(&mut self, from: usize, data: &[u8], most: usize) {
        let wire = &mut self.ways[1 - from].wire;
        self.streams[from].send(data, most, wire).expect("sent");
    }
}
