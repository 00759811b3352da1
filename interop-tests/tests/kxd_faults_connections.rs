//! Faults of connections, signals and the clock: for each, what the client sees and what the log
//! says (issue 2, "Faults"). The others are in kxd_faults.rs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use interop_tests::certificates::{Recipe, rsa_key};
use interop_tests::config::Config;
use interop_tests::daemon::{Kxd, kxd};
use interop_tests::skip::skip;
use interop_tests::subject::{Kind, ours, subject};
use interop_tests::undisturbed::{assert_prompt, with_key};
use interop_tests::wait::{self, SOON};

// --- signals ---------------------------------------------------------------------------------

/// Lets clients fetch the key until told to stop; gives how many got it and how many failed,
/// and panics on an answer that is neither the whole key nor an error of the connection.
fn load(server: &Kxd, stop: &AtomicBool, given: &AtomicUsize, failed: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let answer = server.get("/v1/k");
        match (&answer.error, answer.body.as_slice()) {
            (None, b"KEY") => given.fetch_add(1, Ordering::Relaxed),
            (None, b"") if answer.status.is_empty() => failed.fetch_add(1, Ordering::Relaxed),
            (Some(_), _) => failed.fetch_add(1, Ordering::Relaxed),
            _ => panic!("half an answer: {answer:?}"),
        };
    }
}

#[test]
fn sigterm_under_load_ends_it_at_once_and_in_order() {
    let config = with_key();
    let mut server = kxd(&config).start();
    let (stop, given, failed) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let pid = server.pid();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| load(&server, &stop, &given, &failed));
        }
        wait::until(SOON, || (given.load(Ordering::Relaxed) > 50).then_some(()));
        interop_tests::program::signal(pid, "TERM");
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
    });
    let rc = server.wait(Duration::from_secs(5));
    // 0.15 dies of the signal; newer ones log and exit 0.
    assert_eq!(rc, Some(if subject().kind == Kind::V015 { -15 } else { 0 }));
    if subject().kind != Kind::V015 {
        server.await_line("Received signal terminated, exiting");
    }
    assert!(given.load(Ordering::Relaxed) > 50);
}

#[test]
fn sighup_under_load_reloads_the_certificate_and_drops_nobody() {
    let config = with_key();
    let mut server = kxd(&config).start();
    if !ours() {
        // The original dies of it (spec 2.1).
        server.signal("HUP");
        assert_eq!(server.wait(SOON), Some(-1));
        return;
    }
    let (stop, given, failed) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let mut old_connection = server.client().connect().expect("handshake");
    assert_eq!(old_connection.get_keep_alive("/v1/k").body, b"KEY");
    let fresh = Recipe::new("renewed")
        .dns("localhost")
        .key(&rsa_key())
        .make();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| load(&server, &stop, &given, &failed));
        }
        config.write("key.pem", fresh.key_pem());
        config.write("cert.pem", fresh.cert_pem());
        server.signal("HUP");
        let renewed = wait::until(SOON, || {
            let connection = server.client().connect().ok()?;
            let shown = connection.stream.ssl().peer_certificate()?.to_der().ok()?;
            (shown == fresh.cert.to_der().ok()?).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        assert!(renewed.is_some(), "the new certificate is not shown");
    });
    assert!(server.is_running());
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {given:?} requests");
    assert_eq!(
        old_connection.get_keep_alive("/v1/k").body,
        b"KEY",
        "the old connection"
    );
}

#[test]
fn sighup_with_a_broken_certificate_keeps_the_old_one() {
    if !ours() {
        return;
    }
    let config = with_key();
    let mut server = kxd(&config).start();
    config.write("cert.pem", "nonsense\n");
    server.signal("HUP");
    server.await_line("tls: failed to find any PEM data in certificate input");
    assert!(server.is_running());
    assert_prompt(&server, "a broken new certificate");
}

#[test]
fn sighup_reopens_the_log_after_rotation() {
    if !ours() {
        return;
    }
    let config = with_key();
    let server = kxd(&config).start();
    std::fs::rename(config.join("log"), config.join("log.1")).expect("rotation");
    server.signal("HUP");
    let again = wait::until(SOON, || {
        assert_eq!(server.get("/v1/k").body, b"KEY");
        server.log_contains("Allowing request").then_some(())
    });
    assert!(again.is_some(), "nothing in the new log file");
}

// --- connections -----------------------------------------------------------------------------

#[test]
fn a_thousand_idle_connections_hinder_nobody() {
    let config = with_key();
    let server = kxd(&config).start();
    let mut idle = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let connect = |_| server.client().connect().expect("handshake");
                    (0..250).map(connect).collect::<Vec<_>>()
                })
            })
            .collect();
        for worker in workers {
            idle.extend(worker.join().expect("worker"));
        }
    });
    assert_eq!(idle.len(), 1000);
    for _ in 0..10 {
        assert_prompt(&server, "a thousand idle connections");
    }
    // They are all still served.
    for connection in idle.iter_mut().step_by(100) {
        assert_eq!(connection.get_keep_alive("/v1/k").body, b"KEY");
    }
}

#[test]
fn out_of_descriptors_it_recovers_as_soon_as_some_are_free() {
    let config = with_key();
    // Half of them are for connections; ours has about 24 others, and one of the rest takes what it refuses.
    let words = ["sh", "-c", "ulimit -n 80; exec \"$0\" \"$@\""];
    let mut server = kxd(&config).through(&words).start();
    let sockets: Vec<TcpStream> = (0..100)
        .filter_map(|_| TcpStream::connect(server.address()).ok())
        .collect();
    assert_eq!(sockets.len(), 100, "the kernel's queue takes them");
    // Ours sees it coming and refuses connections; the original goes on accepting until it cannot.
    let text = if ours() {
        "Refusing connection"
    } else {
        "too many open files"
    };
    let told = wait::until(SOON, || server.log_contains(text).then_some(()));
    assert!(told.is_some(), "the log does not tell");
    assert!(server.is_running());
    drop(sockets);
    let again = wait::until(SOON, || (server.get("/v1/k").body == b"KEY").then_some(()));
    assert!(
        again.is_some(),
        "no key after the descriptors were free again"
    );
}

#[test]
fn garbage_before_tls_is_refused_and_told_once_each() {
    let config = with_key();
    let server = kxd(&config).start();
    let mut seed = 12345u32;
    for size in [1usize, 5, 6, 100, 1000, 20_000] {
        for first in [0x00, 0x16, 0x80, 0xff] {
            let mut bytes: Vec<u8> = (0..size)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    seed.to_be_bytes()[0]
                })
                .collect();
            bytes[0] = first;
            let mut stream = TcpStream::connect(server.address()).expect("connection");
            // It may be closed before all was taken.
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            stream
                .set_read_timeout(Some(Duration::from_secs(15)))
                .expect("timeout");
            let mut answer = Vec::new();
            let ended = stream.read_to_end(&mut answer);
            let timed_out = ended.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
            assert!(!timed_out, "{size} octets after {first:#x}: not closed");
        }
    }
    server.await_line("http: TLS handshake error from 127.0.0.1:");
    assert_prompt(&server, "garbage");
}

#[test]
fn clients_that_stop_in_the_middle_delay_nobody_else() {
    let config = with_key();
    config.key("big", vec![b'x'; 8_000_000]);
    let server = kxd(&config).start();
    // Nothing at all; the start of a hello; a header without its end; a big key not taken.
    let silent: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(server.address()).expect("connection"))
        .collect();
    let mut half_hello: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(server.address()).expect("connection"))
        .collect();
    for stream in &mut half_hello {
        stream
            .write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
            .expect("half a hello");
    }
    let mut half_header = Vec::new();
    let mut not_reading = Vec::new();
    for _ in 0..20 {
        let mut connection = server.client().connect().expect("handshake");
        connection
            .stream
            .write_all(b"GET /v1/k HTTP/1.1\r\nHost:")
            .expect("half a header");
        half_header.push(connection);
        let mut connection = server.client().connect().expect("handshake");
        let request = interop_tests::tls_client::get_request("/v1/big");
        connection
            .stream
            .write_all(request.as_bytes())
            .expect("request");
        not_reading.push(connection);
    }
    for _ in 0..20 {
        assert_prompt(&server, "140 clients that stopped in the middle");
    }
    drop((silent, half_hello, half_header, not_reading));
    assert_prompt(&server, "after they left");
}

#[test]
fn a_handshake_that_does_not_go_on_is_ended_by_ours() {
    // The original waits for ever.
    if !ours() {
        return;
    }
    let config = with_key();
    let server = kxd(&config).arg("--handshake_timeout=1s").start();
    let mut stream = TcpStream::connect(server.address()).expect("connection");
    stream.write_all(&[0x16, 0x03, 0x01]).expect("half a hello");
    stream.set_read_timeout(Some(SOON)).expect("timeout");
    let ended = stream.read(&mut [0; 16]);
    assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock));
}

#[test]
fn a_header_that_does_not_end_and_an_idle_connection_are_ended_by_ours() {
    if !ours() {
        return;
    }
    let config = with_key();
    let server = kxd(&config)
        .arg("--header_timeout=1s")
        .arg("--idle_timeout=1s")
        .start();
    let mut half = server.client().connect().expect("handshake");
    half.stream
        .write_all(b"GET /v1/k HTTP/1.1\r\n")
        .expect("half a header");
    let mut idle = server.client().connect().expect("handshake");
    let begin = Instant::now();
    half.read_to_end();
    idle.read_to_end();
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert_prompt(&server, "after the limits");
}

// --- clock -----------------------------------------------------------------------------------

#[test]
fn a_clock_stepped_over_the_end_of_a_certificate_acts_at_once_and_back() {
    const NAME: &str = "a_clock_stepped_over_the_end_of_a_certificate_acts_at_once_and_back";
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    if !std::path::Path::new(library).exists() {
        return skip(
            NAME,
            "libfaketime is not installed (interop-tests/peers.sh)",
        );
    }
    if !ours() {
        // The original asks the kernel without libc, so its clock cannot be stepped alone.
        return;
    }
    let config = Config::new();
    let client = Recipe::new("cli").not_after(1_893_456_000).make(); // 2030
    config.bare_key("k", "KEY");
    config.write("data/k/allowed_clients", client.cert_pem());
    let clock = config.write("clock", "+0");
    let server = kxd(&config)
        .env(&[
            ("PATH", "/usr/bin:/bin"),
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", &clock.to_string_lossy()),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ])
        .start();
    let owner = || {
        server
            .client()
            .identity(vec![client.cert.clone()], client.key.clone())
    };
    let mut open = owner().connect().expect("handshake");
    assert_eq!(open.get_keep_alive("/v1/k").body, b"KEY");
    config.write("clock", "+10y");
    assert_eq!(owner().get("/v1/k").code(), 403, "ten years later");
    assert_eq!(
        open.get_keep_alive("/v1/k").code(),
        403,
        "the open connection too"
    );
    server.await_line("x509: certificate has expired or is not yet valid: current time 203");
    config.write("clock", "-20y");
    assert_eq!(
        open.get_keep_alive("/v1/k").code(),
        403,
        "before it was valid"
    );
    config.write("clock", "+0");
    assert_eq!(open.get_keep_alive("/v1/k").body, b"KEY", "back again");
    assert_eq!(owner().get("/v1/k").body, b"KEY");
}
