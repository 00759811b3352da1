//! What the core costs without a kernel: handshakes, records, and a packet among few and many connections.
#![forbid(unsafe_code)]

#[path = "../tests/handshake/host.rs"]
#[allow(dead_code)]
mod host;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use kx_crypto::aead::Algorithm;
use kx_crypto::hkdf::Key;
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::legacy::record::{Flags, OVERHEAD, Opener, Sealer};
use tcpcrypt_proto::verdict::Direction;

use host::Pair;

fn without_cache() -> Config {
    Config {
        session_cache: false,
        ..Config::default()
    }
}

/// Both ends, from the SYN to the last message of the exchange.
fn handshakes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tcpcrypt-proto, both ends");
    group.bench_function("full handshake", |b| {
        b.iter_batched_ref(
            || Pair::new(without_cache(), without_cache()),
            Pair::connect,
            BatchSize::SmallInput,
        );
    });
    let known = || {
        let mut pair = Pair::default();
        pair.connect();
        pair.talk();
        pair.next_port();
        pair
    };
    group.bench_function("resumed handshake", |b| {
        b.iter_batched_ref(
            known,
            |pair| {
                pair.resume();
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn records(criterion: &mut Criterion) {
    const LENGTH: usize = 1400;
    let mut group = criterion.benchmark_group("tcpcrypt-proto");
    group.throughput(Throughput::Bytes(LENGTH as u64));
    group.bench_function("seal and open a record of 1400", |b| {
        let key = Key::from(&[7; 32]);
        let new = || {
            let sealer = Sealer::new(Algorithm::Aes128Gcm, &key, 1).expect("a sealer");
            let opener = Opener::new(Algorithm::Aes128Gcm, &key, 1).expect("an opener");
            (sealer, opener, 0)
        };
        let (mut sealer, mut opener, mut offset) = new();
        let data = [0x5a; LENGTH];
        let (mut record, mut text) = (Vec::new(), Vec::new());
        b.iter(|| {
            // Behind the wrap of the sequence numbers are other rules.
            if offset > 1 << 31 {
                (sealer, opener, offset) = new();
            }
            record.clear();
            text.clear();
            let sealed = sealer.seal(offset, Flags::default(), black_box(&data), &mut record);
            sealed.expect("a record");
            opener
                .open(offset, &record, &mut text)
                .expect("its content");
            offset += (LENGTH + OVERHEAD) as u64;
            text.len()
        });
    });
    group.finish();
}

/// An acknowledgement of the local TCP, each time of another connection.
fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tcpcrypt-proto, a packet among connections");
    for count in [10, 50_000_usize] {
        let mut pair = Pair::default();
        let mut packets: Vec<Vec<u8>> = Vec::new();
        for number in 0..count {
            let port = u16::try_from(1000 + number).expect("a port");
            pair.client.own.set_port(port);
            pair.server.peer.set_port(port);
            match number {
                0 => pair.connect(),
                _ => {
                    pair.resume();
                }
            }
            pair.talk();
            let ack = pair.third().with(|segment| {
                segment.seq = segment.seq.wrapping_add(5);
                segment.ack += 5;
            });
            let wire = pair.client.out(&ack).expect("an acknowledgement");
            pair.server.get(&wire);
            packets.push(ack.packet());
            pair.client.sent();
            pair.server.sent();
            pair.client.log();
            pair.server.log();
        }
        assert_eq!(pair.client.endpoint.stats().encrypted, count);
        // Neighbours in time are none in memory; 7919 is prime to both counts.
        let mut at = 0;
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                at = (at + 7919) % count;
                out.clear();
                let now = pair.client.now;
                let endpoint = &mut pair.client.endpoint;
                endpoint.handle_packet(now, Direction::Out, &packets[at], &mut out)
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    handshakes(&mut criterion);
    records(&mut criterion);
    table(&mut criterion);
    criterion.final_summary();
}
