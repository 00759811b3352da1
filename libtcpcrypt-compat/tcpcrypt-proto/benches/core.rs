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
use tcpcrypt_proto::dialect::Policy;
use tcpcrypt_proto::legacy::record::{Flags, OVERHEAD, Opener, Sealer};
use tcpcrypt_proto::packet::{Checksum, Notes};
use tcpcrypt_proto::verdict::{Direction, Verdict};

use host::{Host, Pair};

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

/// 45 segments in one packet from one local TCP to the other, and its acknowledgement back: records as long as segments in
/// the original's dialect, long ones in the standard.
fn super_packets(criterion: &mut Criterion) {
    const SEGMENT: usize = 1421;
    let mut group = criterion.benchmark_group("tcpcrypt-proto, a super-packet through both ends");
    group.throughput(Throughput::Bytes(45 * SEGMENT as u64));
    let notes = Notes {
        checksum: Checksum::Verified,
        is_super: true,
        ..Notes::default()
    };
    for (name, eno) in [("legacy", Policy::Legacy), ("rfc", Policy::Standard)] {
        let config = Config {
            eno,
            ..without_cache()
        };
        let mut pair = Pair::new(config, config);
        pair.connect();
        let first = pair.third();
        let mut said = first
            .clone()
            .with(|said| said.payload = vec![0x5a; 45 * SEGMENT]);
        let mut heard = pair.server.says(first.flags, first.ack, first.seq);
        heard.window = u16::MAX;
        let through = |host: &mut Host, direction, packet: &[u8], out: &mut Vec<u8>| {
            out.clear();
            let now = host.now;
            let verdict = host
                .endpoint
                .handle_noted_packet(now, direction, packet, notes, out);
            assert_eq!(verdict, Verdict::Replace);
        };
        let (mut wire, mut local) = (Vec::new(), Vec::new());
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                through(&mut pair.client, Direction::Out, &said.packet(), &mut wire);
                through(&mut pair.server, Direction::In, &wire, &mut local);
                said.seq = said.seq.wrapping_add(45 * SEGMENT as u32);
                heard.ack = said.seq;
                through(&mut pair.server, Direction::Out, &heard.packet(), &mut wire);
                through(&mut pair.client, Direction::In, &wire, &mut local);
                local.len()
            });
        });
    }
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
    super_packets(&mut criterion);
    table(&mut criterion);
    criterion.final_summary();
}
