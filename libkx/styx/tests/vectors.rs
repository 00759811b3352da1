//! Messages that the original's client and server have sent each other
//! (interop-tests/vectors/keysrv/sts): each is understood, and built again octet for octet.

use std::path::PathBuf;

use kx_secret::SecretBytes;
use serde_json::Value;
use styx::message::{Reply, Request, Rmessage, Stat, Tmessage};

fn sessions() -> Vec<(String, Value)> {
    let directory =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../interop-tests/vectors/keysrv/sts");
    let files = std::fs::read_dir(directory).expect("vectors");
    let files = files.map(|file| file.expect("entry").path());
    let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    let session = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("read");
        (
            path.display().to_string(),
            serde_json::from_str(&text).expect("JSON"),
        )
    };
    files.map(session).collect()
}

/// What one side sent after the authentication, with the names of the messages.
fn messages(session: &Value, side: &str) -> Vec<(String, Vec<u8>)> {
    let records = session[side]["records"].as_array().expect("records");
    let message = |record: &Value| {
        let digits = record["plain_hex"].as_str()?.as_bytes();
        let octet = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect("hex")
        };
        let kind = record["type"].as_str()?.to_owned();
        Some((kind, digits.chunks(2).map(octet).collect()))
    };
    records.iter().filter_map(message).collect()
}

#[test]
fn requests_of_the_originals_client() {
    let mut count = 0;
    for (file, session) in sessions() {
        for (kind, octets) in messages(&session, "client") {
            let request = Request::parse(&octets).unwrap_or_else(|error| panic!("{file}: {error}"));
            let shown = request.to_string();
            let name = kind.trim_start_matches('T').to_lowercase();
            assert!(
                shown.to_lowercase().starts_with(&format!("tmsg.{name}(")),
                "{shown}"
            );
            let tag = if matches!(request.body, Tmessage::Version { .. }) {
                0xffff
            } else {
                1
            };
            assert_eq!(request.tag, tag);
            let mut built = SecretBytes::default();
            request.build(&mut built).expect("built");
            assert_eq!(built.as_slice(), octets);
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn replies_of_the_originals_server() {
    let (mut count, mut entries) = (0, 0);
    for (file, session) in sessions() {
        for (kind, octets) in messages(&session, "server") {
            let reply = Reply::parse(&octets).unwrap_or_else(|error| panic!("{file}: {error}"));
            let shown = reply.to_string();
            let name = kind.trim_start_matches('R').to_lowercase();
            assert!(
                shown.to_lowercase().starts_with(&format!("rmsg.{name}(")),
                "{shown}"
            );
            let mut built = SecretBytes::default();
            reply.build(&mut built).expect("built");
            assert_eq!(built.as_slice(), octets);
            count += 1;
            if let Rmessage::Read { data } = reply.body {
                // Only the directory has a content; it is of entries.
                let listed = Stat::parse_all(data).expect("entries");
                for entry in &listed {
                    assert_eq!(entry.name, b"secret");
                    assert_eq!((entry.mode, entry.kind), (0o660, u16::from(b's')));
                }
                entries += listed.len();
            }
        }
    }
    assert!(count > 100 && entries >= 4, "{count} {entries}");
}
