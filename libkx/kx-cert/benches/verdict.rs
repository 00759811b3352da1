//! What the verdict on a client costs: its certificate, the file of those that are allowed, the chain.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use kx_cert::anchors::Anchors;
use kx_cert::{Certificate, pem};

/// A file of a recorded case.
fn vector(case: &str, file: &str) -> Vec<u8> {
    let root = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/kxd/clientcerts"
    );
    std::fs::read(format!("{root}/{case}/{file}")).expect("the vectors are there")
}

fn first(text: &[u8]) -> Vec<u8> {
    pem::blocks(text).next().expect("a certificate").der
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(40)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let now = "2026-11-21T00:00:00Z".parse().expect("a time");
    let parse = |der: &[u8]| Certificate::parse(der).expect("a certificate");

    let mut group = criterion.benchmark_group("kx-cert");
    for (name, case) in [
        ("parse, P-256", "self-p256"),
        ("parse, RSA 3072", "self-rsa3072"),
    ] {
        let der = first(&vector(case, "cert.pem"));
        group.bench_function(name, |b| b.iter(|| parse(black_box(&der))));
    }

    // Both with the file read from the start, as the server does it for each request.
    for (name, case) in [
        ("load and verify, pinned", "self-p256"),
        ("load and verify, by its CA", "ca-leaf"),
    ] {
        let leaf = parse(&first(&vector(case, "cert.pem")));
        let allowed = vector(case, "allowed_clients");
        let judge = || {
            let anchors = Anchors::load(black_box(&allowed), &leaf).expect("certificates");
            anchors.verify(&leaf, &[], &now).expect("an allowed client")
        };
        group.bench_function(name, |b| b.iter(judge));
    }

    let mut hundred = Vec::new();
    for _ in 0..99 {
        hundred.extend_from_slice(&vector("self-rsa3072", "cert.pem"));
    }
    hundred.extend_from_slice(&vector("self-p256", "cert.pem"));
    group.bench_function("PEM of 100 certificates", |b| {
        b.iter(|| pem::blocks(black_box(&hundred)).count());
    });
    let leaf = parse(&first(&vector("self-p256", "cert.pem")));
    group.bench_function("load and verify, pinned, the last of 100", |b| {
        b.iter(|| {
            let anchors = Anchors::load(black_box(&hundred), &leaf).expect("certificates");
            anchors.verify(&leaf, &[], &now).expect("an allowed client")
        });
    });
    group.finish();
    criterion.final_summary();
}
