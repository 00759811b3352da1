//! The server against clients that want to wear it down: what they hold, and for how long.
//!
//! Ours only: the original has no limits of time, and other ones of number.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use interop_tests::certificates::Recipe;
use interop_tests::daemon::{Kxd, kxd};
use interop_tests::skip::skip;
use interop_tests::subject::ours;
use interop_tests::tls_client::Connection;
use interop_tests::undisturbed::with_key;
use interop_tests::wait;
use openssl::ssl::SslStream;

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// An HTTP/2 connection whose preface is sent.
fn h2(server: &Kxd) -> Connection {
    let mut connection = server.client().alpn(&["h2"]).connect().expect("handshake");
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    hello.extend(frame(SETTINGS, 0, 0, &[]));
    connection.stream.write_all(&hello).expect("preface");
    connection
}

/// `GET https://h/PATH` by HPACK's static table and plain literals (RFC 7541), and `more` behind.
fn get(path: &str, more: &[u8]) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 1, 1, b'h', 4];
    block.push(u8::try_from(path.len()).expect("a short path"));
    block.extend(path.bytes());
    block.extend(more);
    block
}

/// The header block in as many frames as it takes.
fn headers(stream: u32, block: &[u8], flags: u8) -> Vec<u8> {
    let pieces: Vec<&[u8]> = block.chunks(16_384).collect();
    let mut out = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        let last = if i + 1 == pieces.len() {
            END_HEADERS
        } else {
            0
        };
        let (kind, first) = if i == 0 {
            (HEADERS, flags)
        } else {
            (CONTINUATION, 0)
        };
        out.extend(frame(kind, first | last, stream, piece));
    }
    out
}

fn read_frame(stream: &mut SslStream<TcpStream>) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0u8; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], id, payload))
}

fn resident_kib(server: &Kxd) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("status");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let number = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
    number.expect("VmRSS")
}

#[test]
fn flood_of_pings_leaves_the_worker_time_for_others() {
    if !ours() {
        return;
    }
    let config = with_key();
    let server = kxd(&config).arg("--workers=1").start();
    let began = Instant::now();
    let served = AtomicBool::new(false);
    let flood = |mut connection: Connection| {
        let pings = frame(PING, 1, 0, b"12345678").repeat(2000);
        while !served.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(20) {
            if connection.stream.write_all(&pings).is_err() {
                break;
            }
        }
    };
    std::thread::scope(|scope| {
        // One alone does not always keep ahead of the server.
        for connection in [h2(&server), h2(&server), h2(&server)] {
            scope.spawn(|| flood(connection));
        }
        std::thread::sleep(Duration::from_millis(500));
        let answer = server.get("/v1/k");
        let took = began.elapsed();
        served.store(true, Ordering::Relaxed);
        assert_eq!(answer.body, b"KEY", "{answer:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}

#[test]
fn headers_are_not_kept_while_a_request_waits() {
    if !ours() {
        return;
    }
    let config = with_key();
    let server = kxd(&config).start();
    let before = resident_kib(&server);
    let mut connection = h2(&server);
    // The first puts `a:` into the dynamic table, all refer to it 29,000 times by one octet each, and
    // none ends its stream: the server waits for their bodies.
    let references = vec![0xbe; 29_000];
    let mut first = vec![0x40, 1, b'a', 0];
    first.extend(&references);
    let mut out = headers(1, &get("/v1/nokey", &first), 0);
    for n in 1..200 {
        out.extend(headers(1 + 2 * n, &get("/v1/nokey", &references), 0));
    }
    // Refused lists of this size soon end the connection, perhaps before all is sent.
    let _ = connection.stream.write_all(&out);
    let mut answers = 0;
    while answers < 200 {
        match read_frame(&mut connection.stream) {
            Some((DATA, ..)) => answers += 1,
            Some(_) => {}
            None => break,
        }
    }
    let grown = resident_kib(&server).saturating_sub(before);
    assert!(grown < 100 * 1024, "{grown} KiB more for one connection");
}

#[test]
fn who_opens_and_resets_streams_without_end_is_told_to_calm_down() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    if !ours() {
        return;
    }
    let config = with_key();
    let slow = config.script("slow", "#!/bin/sh\nexec sleep 20\n");
    let server = kxd(&config)
        .arg(format!("--hook={}", slow.display()))
        .start();
    let mut connection = h2(&server);
    let mut sent = 0;
    let told = 'sending: {
        for round in 0..40u32 {
            let ids = (0..100u32).map(|n| 1 + 2 * (100 * round + n));
            let open: Vec<u8> = ids
                .clone()
                .flat_map(|id| headers(id, &get("/v1/k", &[]), END_STREAM))
                .collect();
            let reset: Vec<u8> = ids
                .flat_map(|id| frame(RST_STREAM, 0, id, &[0, 0, 0, 8]))
                .collect();
            if connection.stream.write_all(&open).is_err() {
                break 'sending true;
            }
            std::thread::sleep(Duration::from_millis(100));
            if connection.stream.write_all(&reset).is_err() {
                break 'sending true;
            }
            sent += 100;
        }
        false
    };
    assert!(told, "{sent} streams were taken");
    assert!((400..=1500).contains(&sent), "ended after {sent} streams");
    let code = std::iter::from_fn(|| read_frame(&mut connection.stream))
        .find(|(kind, ..)| *kind == GOAWAY)
        .and_then(|(_, _, payload)| payload.get(4..8)?.try_into().ok())
        .map(u32::from_be_bytes);
    // The rest of what we sent may have turned the server's last words into a reset.
    assert!(
        code.is_none_or(|code| code == ENHANCE_YOUR_CALM),
        "{code:?}"
    );
}

#[test]
fn idle_http2_connection_ends_with_goaway() {
    if !ours() {
        return;
    }
    let config = with_key();
    let server = kxd(&config).arg("--idle_timeout=1s").start();
    let mut connection = h2(&server);
    let began = Instant::now();
    let frames: Vec<u8> = std::iter::from_fn(|| read_frame(&mut connection.stream))
        .map(|(kind, ..)| kind)
        .collect();
    assert!(frames.contains(&GOAWAY), "{frames:?}");
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn no_octet_of_a_key_stays_in_memory_once_its_connection_has_ended() {
    if !ours() {
        return;
    }
    let config = with_key();
    let key: String = (0u32..50)
        .map(|n| format!("{:08x}", n.wrapping_mul(0x9e37_79b9)))
        .collect();
    config.key("long", &key);
    let server = kxd(&config).start();
    let Ok(memory) = std::fs::File::open(format!("/proc/{}/mem", server.pid())) else {
        return skip(
            "no_octet_of_a_key_stays_in_memory_once_its_connection_has_ended",
            "cannot read another process' memory (needs root)",
        );
    };
    for protocol in ["http/1.1", "h2"] {
        if protocol == "h2" {
            let mut connection = h2(&server);
            let request = headers(1, &get("/v1/long", &[]), END_STREAM);
            connection.stream.write_all(&request).expect("sent");
            let body = std::iter::from_fn(|| read_frame(&mut connection.stream))
                .find(|(kind, ..)| *kind == DATA)
                .map(|(.., body)| body);
            assert_eq!(body.as_deref(), Some(key.as_bytes()));
        } else {
            assert_eq!(server.get("/v1/long").body, key.as_bytes());
        }
        let gone = wait::until(Duration::from_secs(5), || {
            (!holds(&server, &memory, key.as_bytes())).then_some(())
        });
        assert!(gone.is_some(), "key in memory after {protocol}");
    }
}

/// Whether the first, the middle or the last 16 octets of `key` are in the writable memory of the server.
fn holds(server: &Kxd, memory: &std::fs::File, key: &[u8]) -> bool {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", server.pid())).expect("maps");
    let pieces = [0, key.len() / 2, key.len() - 16].map(|at| &key[at..at + 16]);
    maps.lines()
        .filter(|line| line.contains(" rw"))
        .any(|line| {
            let range = line.split(' ').next().unwrap_or_default();
            let (start, end) = range.split_once('-').expect("a range");
            let address = |hex| u64::from_str_radix(hex, 16).expect("an address");
            let mut octets = vec![0; usize::try_from(address(end) - address(start)).expect("fits")];
            // What cannot be read ([vvar] and the like) holds nothing of ours.
            memory.read_exact_at(&mut octets, address(start)).is_ok()
                && octets
                    .windows(16)
                    .any(|window| window[0] != 0 && pieces.contains(&window))
        })
}

#[test]
fn a_connection_that_rested_is_judged_as_before() {
    // Ours gives back the parsed certificate of a connection at rest.
    let config = with_key();
    let server = kxd(&config).start();
    let intermediate = Recipe::new("intermediate").make();
    let mut chain = server.client();
    chain.chain.push(intermediate.cert);
    let stranger = Recipe::new("stranger").make();
    let stranger = server.client().identity(vec![stranger.cert], stranger.key);
    for (client, code) in [(server.client(), 200), (chain, 200), (stranger, 403)] {
        let mut connection = client.connect().expect("handshake");
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(350));
            assert_eq!(connection.get_keep_alive("/v1/k").code(), code);
        }
        let mut again = client.resume(&connection).expect("handshake");
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(350));
            assert_eq!(again.get_keep_alive("/v1/k").code(), code);
        }
    }
}
