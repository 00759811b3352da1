//! Authentications and sessions recorded between programs of Inferno, replayed at either end.

mod recorded;

use inferno_auth::certificate::Certificate;
use inferno_auth::key::PublicKey;
use inferno_auth::number;
use inferno_auth::session::{Event, Role, Session};
use inferno_auth::ssl::{Algorithms, Opener, Policy, Sealer};
use serde_json::Value;

use recorded::{Recorded, all, auth_info_of, config, list, now, octets, text, wire_of};

const SIGNATURE: usize = 4;

fn messages(end: &Value) -> &[Value] {
    list(&end["messages"])
}

/// What is shown in one message.
fn said(end: &Value, place: usize) -> &str {
    text(&messages(end)[place]["text"])
}

/// What one end has sent: framed messages, then records.
fn wire(end: &Value, with_records: bool) -> Vec<u8> {
    let mut wire: Vec<u8> = messages(end).iter().flat_map(wire_of).collect();
    if with_records {
        for record in list(&end["records"]) {
            wire.extend(octets(&record["wire_hex"]));
        }
    }
    wire
}

fn other(end: &str) -> &'static str {
    if end == "client" { "server" } else { "client" }
}

#[test]
fn signatures_are_the_peers() {
    for (name, session) in all("sts") {
        for end in ["client", "server"] {
            let (mine, his) = (&session[end], &session[other(end)]);
            let (certificate, key) = (said(mine, 2), said(mine, 3));
            let signer = auth_info_of(certificate, key).unwrap().signer_key;
            let key_certificate = Certificate::parse(certificate.as_bytes()).unwrap();
            assert!(key_certificate.verify(&signer, key.as_bytes()), "{name}");
            let key = PublicKey::parse(key.as_bytes()).unwrap();
            if messages(mine)[SIGNATURE]["error"] == true {
                continue;
            }
            let signature = Certificate::parse(said(mine, SIGNATURE).as_bytes()).unwrap();
            let signed = format!("{}{}", said(mine, 1), said(his, 1));
            assert!(signature.verify(&key, signed.as_bytes()), "{name}");
            let reversed = format!("{}{}", said(his, 1), said(mine, 1));
            assert!(!signature.verify(&key, reversed.as_bytes()), "{name}");
        }
    }
}

#[test]
fn records_open_and_seal_to_the_same_octets() {
    let mut count = 0;
    for (name, session) in all("sts") {
        let Some(line) = session["algorithm_line"].as_str() else {
            continue;
        };
        let algorithms = Algorithms::parse(line).unwrap();
        let secret = octets(&session["shared_secret_hex"]);
        for end in ["client", "server"] {
            let (mut sealer, mut opener) = (Sealer::new(), Opener::new());
            sealer.protect(algorithms, &secret).unwrap();
            opener.protect(algorithms, &secret).unwrap();
            for record in list(&session[end]["records"]) {
                let plain = octets(&record["plain_hex"]);
                let wire = octets(&record["wire_hex"]);
                assert_eq!(record["mid"], opener.number(), "{name}");
                opener.receive(&wire);
                assert_eq!(*opener.open().unwrap().unwrap(), plain, "{name}");
                let mut ours = Vec::new();
                sealer.seal(&plain, &mut ours).unwrap();
                assert_eq!(ours, wire, "{name}");
                count += 1;
            }
        }
    }
    assert!(count > 200);
}

/// What became of a replay.
#[derive(Default)]
struct Outcome {
    sent: Vec<u8>,
    owner: Option<String>,
    received: Vec<Vec<u8>>,
    failure: Option<String>,
    closed: bool,
}

/// Replays `end` of a session, in pieces of `step` octets from the peer.
fn replay(session: &Value, end: &str, role: Role, step: usize) -> Outcome {
    let (mine, his) = (&session[end], &session[other(end)]);
    let info = auth_info_of(said(mine, 2), said(mine, 3)).unwrap();
    let exchange = Recorded {
        exponential: number::read_standalone(said(mine, 1).as_bytes()).unwrap(),
        // Sessions that failed have none, and get so far that none is missed.
        secret: match session["shared_secret_hex"].as_str() {
            Some(_) => octets(&session["shared_secret_hex"]),
            None => vec![1],
        },
    };
    let mut machine = Session::with_exchange(role, config(info), Box::new(exchange), now());
    let mut outcome = Outcome::default();
    let mut to_send = list(&mine["records"]).iter();
    let mut follow = |machine: &mut Session, outcome: &mut Outcome| {
        while let Some(event) = machine.poll_event() {
            match event {
                Event::Authenticated { owner, .. } => outcome.owner = Some(owner),
                Event::Ready(_) => {
                    for record in to_send.by_ref() {
                        machine.send(&octets(&record["plain_hex"])).unwrap();
                    }
                }
                Event::Data(data) => outcome.received.push(data.to_vec()),
                Event::Failed(error) => outcome.failure = Some(error.to_string()),
                Event::Closed => outcome.closed = true,
            }
        }
        machine.poll_transmit(&mut outcome.sent);
    };
    for piece in wire(his, true).chunks(step) {
        machine.receive(now(), piece);
        follow(&mut machine, &mut outcome);
    }
    machine.receive_end(now());
    follow(&mut machine, &mut outcome);
    outcome
}

/// Takes what cannot be the same out of what both sent: elgamal's signatures, whose length varies too.
fn comparable(name: &str, end: &Value, ours: &[u8], theirs: &[u8]) -> (Vec<u8>, Vec<u8>) {
    if name.starts_with("rsa") {
        return (ours.to_vec(), theirs.to_vec());
    }
    let before: usize = (0..SIGNATURE)
        .map(|at| wire_of(&messages(end)[at]).len())
        .sum();
    let cut = |wire: &[u8]| {
        let (front, back) = wire.split_at(before.min(wire.len()));
        let length = match back.get(..4) {
            Some(header) if header[0] != b'!' => {
                5 + std::str::from_utf8(header)
                    .unwrap()
                    .parse::<usize>()
                    .unwrap()
            }
            _ => 0,
        };
        [front, &back[length..]].concat()
    };
    (cut(ours), cut(theirs))
}

#[test]
fn the_servers_end_says_the_same() {
    for (name, session) in all("sts") {
        for step in [1, 7, 100_000] {
            let role = Role::Server {
                policy: Policy::Weak,
                idle: None,
            };
            let outcome = replay(&session, "server", role, step);
            let theirs = wire(&session["server"], true);
            let (ours, theirs) = comparable(&name, &session["server"], &outcome.sent, &theirs);
            assert_eq!(ours, theirs, "{name}");
            assert!(outcome.closed);
            if name.contains("expired") {
                assert_eq!(outcome.failure.as_deref(), Some("certificate expired"));
                assert_eq!(outcome.owner, None);
                continue;
            }
            let owner = said(&session["client"], 3).lines().nth(1);
            assert_eq!(outcome.owner.as_deref(), owner, "{name}");
            if name.contains("refused") {
                assert_eq!(
                    outcome.failure.as_deref(),
                    Some("unsupported client algorithm: rc4_128")
                );
                continue;
            }
            assert_eq!(outcome.failure, None, "{name}");
            let plain: Vec<Vec<u8>> = list(&session["client"]["records"])
                .iter()
                .map(|record| octets(&record["plain_hex"]))
                .collect();
            assert_eq!(outcome.received, plain, "{name}");
        }
    }
}

#[test]
fn a_server_refuses_the_weak_ones_unless_told_otherwise() {
    for (name, session) in all("sts") {
        let Some(line) = session["algorithm_line"].as_str() else {
            continue;
        };
        let role = Role::Server {
            policy: Policy::Exact,
            idle: None,
        };
        let outcome = replay(&session, "server", role, 1000);
        let wanted = match line {
            "sha1/rc4_256" => None,
            "sha1/rc4_128" => Some("unsupported client algorithm: rc4_128".to_owned()),
            weak => Some(format!("client algorithms are too weak: {weak}")),
        };
        assert_eq!(outcome.failure, wanted, "{name}");
        assert_eq!(outcome.received.is_empty(), line != "sha1/rc4_256");
    }
}

#[test]
fn the_clients_end_says_the_same() {
    for (name, session) in all("sts") {
        // Our client names no other algorithms than passwd's.
        let line = session["algorithm_line"].as_str();
        if !matches!(line, None | Some("sha1/rc4_256")) {
            continue;
        }
        for step in [1, 11, 100_000] {
            let role = Role::Client { server_name: None };
            let outcome = replay(&session, "client", role, step);
            let theirs = wire(&session["client"], true);
            let (ours, theirs) = comparable(&name, &session["client"], &outcome.sent, &theirs);
            assert_eq!(ours, theirs, "{name}");
            if name.contains("expired") {
                assert_eq!(
                    outcome.failure.as_deref(),
                    Some("remote: certificate expired")
                );
                continue;
            }
            assert_eq!(outcome.failure, None, "{name}");
            let owner = said(&session["server"], 3).lines().nth(1);
            assert_eq!(outcome.owner.as_deref(), owner, "{name}");
            assert_eq!(
                outcome.received.len(),
                list(&session["server"]["records"]).len()
            );
        }
    }
}

#[test]
fn a_client_can_ask_for_one_server() {
    let (_, session) = &all("sts")
        .into_iter()
        .find(|(name, _)| name == "rsa_passwd_change.json")
        .unwrap();
    for (name, failure) in [
        ("keysrv.rsa", None),
        ("carol", Some("server is keysrv.rsa")),
    ] {
        let role = Role::Client {
            server_name: Some(name.to_owned()),
        };
        let outcome = replay(session, "client", role, 50);
        assert_eq!(outcome.failure.as_deref(), failure);
        assert_eq!(outcome.received.is_empty(), failure.is_some());
    }
}
