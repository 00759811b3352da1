//! What the HTTP front costs, from the first octet of a request to the last of its answer.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use kx_http::router::{Route, key_path, route};
use kx_http::server::{Connection, Limits, Response, Step};
use kx_secret::SecretBytes;

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// What kxc sends.
const REQUEST: &[u8] = b"GET /v1/host/disk HTTP/1.1\r\nHost: kxd.example:19840\r\n\
    User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n";

/// Takes in one request, in pieces of `size` octets, and answers it.
fn exchange(connection: &mut Connection, request: &[u8], size: usize, out: &mut SecretBytes) {
    let mut pieces = request.chunks(size);
    let request = loop {
        match connection.poll() {
            Step::NeedInput => {
                let piece = pieces.next().expect("the request has an end");
                assert!(connection.handle_input(piece).is_ok());
            }
            Step::Request(request) => break request,
            Step::Reject(_) => panic!("the request is good"),
        }
    };
    let Route::V1 { path } = route(&request) else {
        panic!("the request is for a key");
    };
    black_box(key_path(&path)).expect("the path is good");
    assert!(connection.ready_to_respond());
    out.truncate(0);
    connection.respond(&Response::key([7; 2048]), DATE, out);
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(40)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();

    let mut group = criterion.benchmark_group("kx-http");
    group.throughput(Throughput::Elements(1));
    let mut out = SecretBytes::default();
    for (name, size) in [
        ("keep-alive request, answer of 2 KiB", usize::MAX),
        ("the same, octet by octet", 1),
    ] {
        let mut connection = Connection::new(Limits::default());
        group.bench_function(name, |b| {
            b.iter(|| exchange(&mut connection, REQUEST, size, &mut out));
        });
    }

    // The worst that a client can do with a head of that size: each octet is a step of its own.
    let mut long = b"GET /v1/k HTTP/1.1\r\nHost: h\r\n".to_vec();
    for _ in 0..500 {
        long.extend_from_slice(b"X: yyyyyyyyyyyy\r\n y\r\n");
    }
    long.extend_from_slice(b"\r\n");
    group.throughput(Throughput::Bytes(long.len().try_into().unwrap_or(u64::MAX)));
    let mut connection = Connection::new(Limits::default());
    group.bench_function("head of 10 KiB, folded lines, octet by octet", |b| {
        b.iter(|| exchange(&mut connection, &long, 1, &mut out));
    });
    let line = [
        &b"GET /v1/"[..],
        &[b'k'; 10_000],
        b" HTTP/1.1\r\nHost: h\r\n\r\n",
    ]
    .concat();
    let mut connection = Connection::new(Limits::default());
    group.bench_function("request line of 10 KiB, octet by octet", |b| {
        b.iter(|| exchange(&mut connection, &line, 1, &mut out));
    });
    group.finish();
    criterion.final_summary();
}
