//! The samples that the package installs: each loads, does what its head says, and fits its other half.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ike::config::{Configuration, IdMatch};
use isakmpd_conf::check::{Severity, check};
use isakmpd_conf::host::{Host, Names};
use isakmpd_conf::{Running, Store};

fn host() -> Host {
    let names = Names::parse(b"tcp 6 TCP\nudp 17 UDP\n", b"https 443/tcp\n");
    Host {
        names,
        ..Host::default()
    }
}

fn samples() -> Vec<PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../isakmpd/samples");
    let directories = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = directories
        .filter(|path| path.is_dir())
        .flat_map(|path| fs::read_dir(path).unwrap());
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn load(path: &Path) -> Running {
    Running::new(Store::parse(&fs::read(path).unwrap()).0, host())
}

#[test]
fn what_check_finds_is_what_the_head_says() {
    let samples = samples();
    assert!(samples.len() >= 40, "{}", samples.len());
    for path in samples {
        let file = fs::read(&path).unwrap();
        let head = String::from_utf8(file.clone()).unwrap();
        let said = head
            .lines()
            .find_map(|line| line.strip_prefix("# isakmpd --check finds here: "));
        let said: BTreeSet<&str> = said.unwrap_or_default().split_whitespace().collect();
        let report = check(&file, &host());
        let found: BTreeSet<&str> = report
            .findings
            .iter()
            .map(|finding| finding.code.name())
            .collect();
        assert_eq!(found, said, "{path:?}\n{}", report.text("file"));
        if !path.parent().unwrap().ends_with("year-2004") {
            assert_ne!(report.severity(), Some(Severity::Error), "{path:?}");
        }
        assert!(head.starts_with("# "), "{path:?} has no head");
    }
}

#[test]
fn every_section_can_be_used() {
    for path in samples() {
        let running = load(&path);
        let mut names = running.connections();
        names.extend(running.passive_connections());
        for name in &names {
            let connection = running
                .connection(name)
                .unwrap_or_else(|error| panic!("{path:?}: {error}"));
            running
                .quick_mode(&connection.configuration)
                .unwrap_or_else(|error| panic!("{path:?}: {error}"));
            let peer = running
                .peer(&connection.peer)
                .unwrap_or_else(|error| panic!("{path:?}: {error}"));
            running
                .phase1(&peer.configuration)
                .unwrap_or_else(|error| panic!("{path:?}: {error}"));
        }
        assert!(
            !names.is_empty() || path.parent().unwrap().ends_with("on-demand"),
            "{path:?}"
        );
        assert_eq!(running.take_warnings(), [""; 0], "{path:?}");
    }
}

/// What one side begins the other one knows, and has the same key and a transform and suite in common.
#[test]
fn the_halves_fit() {
    let mut pairs = 0;
    for (one, other) in [
        ("east", "west"),
        ("inside", "outside"),
        ("laptop", "gateway"),
        ("client", "server"),
        ("hub", "site-2"),
    ] {
        for path in samples()
            .into_iter()
            .filter(|path| path.file_stem().is_some_and(|stem| stem == one))
        {
            let other = path.with_file_name(format!("{other}.conf"));
            if !other.exists() {
                continue;
            }
            pairs += 1;
            let (initiator, responder) = (load(&path), load(&other));
            let begun = initiator.connections();
            let mut fits = false;
            for name in begun {
                let connection = initiator.connection(&name).unwrap();
                let remote = connection.remote_id.as_ref().unwrap();
                // Without an identity of its own it is the address of the day.
                let local = connection.local_id.as_ref().unwrap_or(remote);
                let found =
                    match responder.connection_for_ids(&local.identity, &remote.identity, None) {
                        IdMatch::Both(found) => found,
                        IdMatch::LocalOnly(found) if found.loose_ids => found,
                        // The other forty-nine sites of the hub.
                        _ => continue,
                    };
                fits = true;
                let ours = initiator.quick_mode(&connection.configuration).unwrap();
                let theirs = responder.quick_mode(&found.configuration).unwrap();
                assert_eq!(ours.suites, theirs.suites, "{path:?}");
                let (us, them) = (
                    initiator.peer(&connection.peer).unwrap(),
                    responder.peer(&found.peer).unwrap(),
                );
                let (ours, theirs) = (
                    initiator.phase1(&us.configuration).unwrap(),
                    responder.phase1(&them.configuration).unwrap(),
                );
                assert_eq!(ours.exchange_type, theirs.exchange_type, "{path:?}");
                assert_eq!(ours.transforms, theirs.transforms, "{path:?}");
                let their_key = them.authentication.clone().or_else(|| {
                    us.id
                        .as_ref()
                        .and_then(|id| responder.authentication_of(&id.to_string()))
                });
                let keys = [&us.authentication, &their_key]
                    .map(|key| key.as_ref().map(|key| key.as_slice().to_vec()));
                assert_eq!(keys[0], keys[1], "{path:?}");
                for (expected, is) in [(&us.remote_id, &them.id), (&them.remote_id, &us.id)] {
                    assert!(expected.is_none() || expected == is, "{path:?}");
                }
            }
            assert!(fits, "{path:?}");
        }
    }
    assert!(pairs >= 18, "{pairs}");
}
