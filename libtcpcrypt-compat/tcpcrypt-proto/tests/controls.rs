//! The control socket against the recorded transactions of the original, and what the original gets wrong
//! (tcpcrypt spec 3.3).

#[path = "handshake/host.rs"]
#[allow(dead_code)]
mod host;

use std::net::SocketAddrV4;
use std::path::Path;

use serde_json::Value;
use tcpcrypt_control::netstat::{self, PageRequest};
use tcpcrypt_control::{Datagram, GENERIC_FAILURE, Header, OptionName, SET};
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::endpoint::ClientId;

use host::{Host, Pair};

const EINVAL: i32 = 22;
const ENOBUFS: i32 = 105;
const ENOTCONN: i32 = 107;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

fn transact(host: &mut Host, request: &[u8]) -> Option<Vec<u8>> {
    let now = host.now;
    host.endpoint.handle_control(now, ClientId(9), request);
    let mut reply = Vec::new();
    let client = host.endpoint.poll_control(&mut reply)?;
    assert_eq!(client, ClientId(9));
    Some(reply)
}

/// The original gives the same error for everything; where it fails, we do.
fn recorded_error(name: &str) -> Option<i32> {
    Some(match name {
        "get SESSID, unconnected port" | "get APP_SUPPORT, unconnected port" => ENOTCONN,
        "get APP_SUPPORT room 33" => ENOBUFS,
        _ => EINVAL,
    })
}

/// The recording's connection, with the application-aware bit of the client.
fn connected() -> Pair {
    let mut pair = Pair::default();
    pair.client.own = "10.77.0.1:44617".parse().unwrap();
    pair.client.peer = "10.77.0.2:5202".parse().unwrap();
    (pair.server.own, pair.server.peer) = (pair.client.peer, pair.client.own);
    pair
}

#[cfg(target_endian = "little")]
#[test]
fn the_recorded_transactions() {
    let path = "../../interop-tests/vectors/tcpcrypt/control.json";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(path).expect("the recording");
    let recording: Value = serde_json::from_str(&text).unwrap();
    let mut pair = connected();
    let mut seen = 0;
    let mut id = Vec::new();
    for transaction in recording.as_array().unwrap() {
        let Some(name) = transaction["name"].as_str() else {
            continue;
        };
        let Some(request) = transaction["request"].as_str().map(hex) else {
            continue;
        };
        if name == "get SESSID" && id.is_empty() {
            pair.connect();
            id = pair.assert_same_id();
        }
        let reply = transact(&mut pair.client, &request);
        let Some(recorded) = transaction["reply"].as_str().map(hex) else {
            assert_eq!(reply, None, "{name}");
            continue;
        };
        let reply = reply.unwrap_or_else(|| panic!("{name}: no answer"));
        let (ours, original) = (
            Datagram::parse(&reply).unwrap(),
            Datagram::parse(&recorded).unwrap(),
        );
        seen += 1;
        if original.header.error == GENERIC_FAILURE {
            assert_eq!(Some(ours.header.error), recorded_error(name), "{name}");
            let error = ours.header.error;
            let header = Header {
                error,
                ..original.header
            };
            assert_eq!((ours.header, ours.data), (header, original.data), "{name}");
            continue;
        }
        assert_eq!(ours.header, original.header, "{name}");
        // Another session id, and zeros where the original has padding from the stack.
        let mut expected = original.data.to_vec();
        let at = expected
            .windows(4)
            .position(|w| w == [0x21, 0x41, 0xd5, 0x6c]);
        if let Some(at) = at {
            let len = expected.len() - at;
            expected[at..].copy_from_slice(&id[..len]);
        }
        if name.starts_with("get NETSTAT") && expected.len() > 8 {
            expected[6..8].fill(0);
        }
        assert_eq!(ours.data, expected, "{name}");
    }
    assert!(seen >= 24, "only {seen} transactions");
}

fn ask(host: &mut Host, set: bool, local: &str, remote: &str, name: u32, value: &[u8]) -> Vec<u8> {
    let (local, remote): (SocketAddrV4, SocketAddrV4) =
        (local.parse().unwrap(), remote.parse().unwrap());
    let mut header = Header::request(3, local, remote, name);
    header.flags = if set { SET } else { 0 };
    let mut request = Vec::new();
    Datagram::write(&header, value, &mut request);
    transact(host, &request).expect("an answer")
}

fn about_port(host: &mut Host, set: bool, name: OptionName, value: &[u8]) -> Result<Vec<u8>, i32> {
    let reply = ask(host, set, "0.0.0.0:80", "0.0.0.0:0", name.number(), value);
    let reply = Datagram::parse(&reply).unwrap();
    match reply.header.error {
        0 => Ok(reply.data.to_vec()),
        error => Err(error),
    }
}

const ONE: [u8; 4] = 1u32.to_ne_bytes();
const ZERO: [u8; 4] = [0; 4];

#[test]
fn settings_of_a_port() {
    let mut host = Pair::default().client;
    let host = &mut host;
    use OptionName::{AppSupport, Cmode, Enable, NoCache, Reset, RsaKey, SessionId};
    assert_eq!(
        about_port(host, true, Reset, &[]),
        Err(EINVAL),
        "nothing there"
    );
    for name in [Cmode, NoCache] {
        assert_eq!(about_port(host, false, name, &ZERO), Ok(ZERO.to_vec()));
        assert_eq!(about_port(host, true, name, &ONE), Ok(ONE.to_vec()));
        assert_eq!(about_port(host, false, name, &ZERO), Ok(ONE.to_vec()));
        assert_eq!(about_port(host, false, name, &[0; 9]), Ok(ONE.to_vec()));
        assert_eq!(
            about_port(host, false, name, &[0; 2]),
            Ok(ONE[..2].to_vec())
        );
        assert_eq!(about_port(host, true, name, &[0; 5]), Err(EINVAL));
    }
    assert_eq!(about_port(host, true, AppSupport, &ONE), Ok(ONE.to_vec()));
    assert_eq!(about_port(host, false, AppSupport, &[0; 64]), Err(ENOTCONN));
    assert_eq!(about_port(host, false, SessionId, &[0; 64]), Err(ENOTCONN));
    assert_eq!(about_port(host, true, SessionId, &ONE), Err(EINVAL));
    assert_eq!(about_port(host, true, RsaKey, &ONE), Err(EINVAL));
    assert_eq!(about_port(host, false, RsaKey, &ONE), Err(EINVAL));
    assert_eq!(
        about_port(host, true, OptionName::Netstat, &[]),
        Err(EINVAL)
    );
    assert_eq!(about_port(host, false, Reset, &[]), Err(EINVAL));
    // Enabling does nothing; disabling cannot be undone, but for RESET.
    assert_eq!(about_port(host, true, Enable, &ONE), Ok(ONE.to_vec()));
    assert_eq!(
        about_port(host, true, Enable, &[0]),
        Ok(vec![0]),
        "a short zero"
    );
    assert_eq!(about_port(host, true, Enable, &ONE), Ok(ONE.to_vec()));
    assert_eq!(about_port(host, false, Enable, &ZERO), Ok(ZERO.to_vec()));
    assert_eq!(about_port(host, true, Cmode, &ONE), Err(EINVAL));
    assert_eq!(about_port(host, false, NoCache, &ONE), Err(EINVAL));
    assert_eq!(host.endpoint.stats().ports, 1);
    assert_eq!(about_port(host, true, Reset, &[]), Ok(vec![]));
    assert_eq!(about_port(host, false, Enable, &ZERO), Ok(ONE.to_vec()));
    assert_eq!(about_port(host, false, Cmode, &ONE), Ok(ZERO.to_vec()));
    // Unknown options, and port 0.
    let reply = ask(host, false, "0.0.0.0:80", "0.0.0.0:0", 16, &[7; 5]);
    let reply = Datagram::parse(&reply).unwrap();
    assert_eq!((reply.header.error, reply.data), (EINVAL, &[7; 5][..]));
    for set in [true, false] {
        let reply = ask(host, set, "0.0.0.0:0", "0.0.0.0:0", 0, &ONE);
        assert_eq!(Datagram::parse(&reply).unwrap().header.error, EINVAL);
    }
}

#[test]
fn a_connection_that_is_encrypted() {
    use OptionName::{AppSupport, Cmode, Enable, NoCache, SessionId};
    let mut pair = Pair::default();
    pair.connect();
    let host = &mut pair.client;
    assert_eq!(host.control(false, Enable, &ZERO), Ok(ONE.to_vec()));
    assert_eq!(host.control(true, Enable, &ZERO), Ok(ZERO.to_vec()));
    assert_eq!(host.control(true, Enable, &[0; 8]), Err(EINVAL));
    assert_eq!(host.control(false, Enable, &ZERO), Ok(ONE.to_vec()));
    assert_eq!(host.control(false, SessionId, &[0; 7]).unwrap().len(), 7);
    assert_eq!(host.control(false, SessionId, &[]), Ok(vec![]));
    assert_eq!(host.control(true, SessionId, &ONE), Err(EINVAL));
    assert_eq!(host.control(false, AppSupport, &[0; 33]), Err(ENOBUFS));
    assert_eq!(host.control(false, AppSupport, &[0; 34]).unwrap()[0], 0);
    for name in [Cmode, NoCache, AppSupport] {
        assert_eq!(host.control(true, name, &ONE), Err(EINVAL));
    }
    for name in [Cmode, NoCache] {
        assert_eq!(host.control(false, name, &ONE), Err(EINVAL));
    }
    // A program asks for the port it listens on: that is not the connection.
    assert_eq!(pair.server.endpoint.stats().ports, 0);
}

#[test]
fn datagrams_that_are_none() {
    let mut host = Pair::default().client;
    for len in 0..36 {
        assert_eq!(transact(&mut host, &vec![0; len]), None);
    }
    let nowhere = "0.0.0.0:0".parse().unwrap();
    let mut request = Vec::new();
    Datagram::write(
        &Header::request(1, nowhere, nowhere, 102),
        &[0; 8],
        &mut request,
    );
    request.pop();
    assert_eq!(transact(&mut host, &request), None);
    request.extend([0, 0]);
    assert_eq!(transact(&mut host, &request), None);
}

#[test]
fn lists_and_pages() {
    let config = Config {
        session_cache: false,
        ..Config::default()
    };
    let mut pair = Pair::new(config, config);
    let mut wanted = Vec::new();
    for _ in 0..60 {
        pair.connect();
        pair.client.log();
        wanted.push((pair.client.own, pair.client.session_id().unwrap()));
        pair.next_port();
    }
    let host = &mut pair.client;
    for (room, fit) in [(0, 0), (48, 0), (49, 1), (1200, 24), (4060, 60)] {
        let list = host.control(false, OptionName::Netstat, &vec![0; room]);
        assert_eq!(netstat::rows(&list.unwrap()).count(), fit);
    }
    let mut request = PageRequest::first(500);
    let mut seen = Vec::new();
    loop {
        let list = host.control(false, OptionName::NetstatPage, &request.to_bytes());
        let list = list.unwrap();
        let rows: Vec<_> = netstat::rows(&list).map(Result::unwrap).collect();
        let Some(last) = rows.last() else { break };
        request.after = (last.local, last.remote);
        seen.extend(
            rows.iter()
                .map(|row| (row.local.into(), row.session_id.to_vec())),
        );
    }
    assert_eq!(seen, wanted);
    let wrong = host.control(false, OptionName::NetstatPage, &[0; 15]);
    assert_eq!(wrong, Err(EINVAL));
    let huge = PageRequest::first(u32::MAX).to_bytes();
    let list = host.control(false, OptionName::NetstatPage, &huge).unwrap();
    assert_eq!(netstat::rows(&list).count(), 60);
}
