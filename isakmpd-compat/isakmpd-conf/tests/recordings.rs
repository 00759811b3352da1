//! The configurations that the recordings were made with load through the typed face.

use std::fs;
use std::path::PathBuf;

use ike::config::{Amount, Configuration, IdMatch, Value};
use isakmpd_conf::check::{Severity, check};
use isakmpd_conf::host::Host;
use isakmpd_conf::{Running, Store};

fn configurations() -> Vec<PathBuf> {
    let root = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/isakmpd"
    );
    let directories = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = directories
        .filter(|path| path.is_dir())
        .flat_map(|path| fs::read_dir(path).unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "conf")
        })
        .collect()
}

fn load(path: &PathBuf) -> Running {
    let (store, problems) = Store::parse(&fs::read(path).unwrap());
    assert!(problems.is_empty(), "{path:?}");
    Running::new(store, Host::default())
}

#[test]
fn all_of_them() {
    let files = configurations();
    assert!(files.len() >= 40, "{}", files.len());
    for path in files {
        let running = load(&path);
        let passive = running.passive_connections();
        assert_eq!(passive, ["conn-x"], "{path:?}");
        let connection = running
            .connection("conn-x")
            .unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let (local, remote) = (
            connection.local_id.as_ref().unwrap(),
            connection.remote_id.as_ref().unwrap(),
        );
        let quick_mode = running
            .quick_mode(&connection.configuration)
            .unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(!quick_mode.suites.is_empty(), "{path:?}");
        let peer = running
            .peer(&connection.peer)
            .unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let phase1 = running
            .phase1(&peer.configuration)
            .unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(!phase1.transforms.is_empty(), "{path:?}");
        // Where the address is not listed the peer is the default one.
        let (found, listed) = running.peer_for_address(peer.address.unwrap()).unwrap();
        assert!(!listed || found == "peer-x", "{path:?}");
        for (initiator, responder) in [(local, remote), (remote, local)] {
            match running.connection_for_ids(&initiator.identity, &responder.identity, None) {
                IdMatch::Both(found) => assert_eq!(found.name, "conn-x"),
                other => panic!("{path:?}: {other:?}"),
            }
        }
        assert!(running.take_warnings().is_empty(), "{path:?}");
    }
}

#[test]
fn nothing_worse_than_weak_is_found_in_them() {
    for path in configurations() {
        let file = fs::read(&path).unwrap();
        let report = check(&file, &Host::default());
        for finding in &report.findings {
            assert!(
                finding.code.severity() > Severity::Error,
                "{path:?}: {}",
                finding.line("file")
            );
        }
        let text = report.text("file");
        assert!(
            text.contains("peer peer-x") && text.contains("connection conn-x"),
            "{text}"
        );
        assert!(!text.contains("mekmitasdigoat"), "{text}");
    }
}

#[test]
fn what_was_offered_in_one() {
    let files = configurations();
    let path = files
        .iter()
        .find(|path| path.ends_with("mm-psk-aes128-sha256-g14/initiator.conf"))
        .unwrap();
    let running = load(path);
    let peer = running.peer("peer-x").unwrap();
    assert_eq!(
        peer.authentication.as_ref().unwrap().as_slice(),
        b"mekmitasdigoat"
    );
    assert_eq!(peer.port, 500);
    assert_eq!(peer.id, None);
    let phase1 = running.phase1(&peer.configuration).unwrap();
    assert_eq!(phase1.exchange_type, 2);
    let transform = phase1.transforms.first().unwrap();
    // As README of the recordings and isakmpd-wire 2.1 have it: 1=7,2=4,3=1,4=14,11=1,12=3600,14=128.
    assert_eq!(transform.encryption, Some(Value::Is(7)));
    assert_eq!(transform.hash, Some(Value::Is(4)));
    assert_eq!(transform.authentication, Some(Value::Is(1)));
    assert_eq!(transform.group, Some(Value::Is(14)));
    assert_eq!(
        transform.key_length,
        Some(Amount::Number {
            offer: 128,
            accept: 128..=256
        })
    );
}
