//! Octets of strangers: nothing panics, and every machine comes to an end.

mod recorded;

use std::sync::Arc;

use inferno_auth::floor::Floor;
use inferno_auth::login::{
    Account, Client, ClientChoices, Lookup, Server, ServerConfig, ServerEvent, password_hash,
};
use inferno_auth::session::{Event, Role, Session};
use inferno_auth::ssl::Policy;
use inferno_auth::sts::Fresh;
use kx_crypto::dh::Exponent;
use proptest::prelude::*;
use serde_json::Value;

use recorded::{NOW, auth_info, config, json, list, now, octets, wire_of};

fn role(server: bool) -> Role {
    if server {
        Role::Server {
            policy: Policy::Weak,
            idle: None,
        }
    } else {
        Role::Client { server_name: None }
    }
}

/// Gives a session these octets and the end of the connection; it must close.
fn session_ends(server: bool, wire: &[u8]) {
    let info = auth_info("keysrv_default.rsa");
    let mut session = Session::new(role(server), config(info), now());
    session.receive(now(), wire);
    session.receive_end(now());
    let mut closed = false;
    while let Some(event) = session.poll_event() {
        assert!(!closed);
        closed = matches!(event, Event::Closed);
    }
    assert!(closed);
    assert!(session.poll_timeout().is_none());
    let mut sent = Vec::new();
    session.poll_transmit(&mut sent);
    assert!(sent.len() < 3000);
}

fn login_client() -> Client {
    let choices = ClientChoices {
        vector: [7; 8],
        exchange: Box::new(Exponent::from_bytes(&[5]).unwrap()),
        make_key: Box::new(|_, _| Ok(auth_info("alice.rsa.authinfo").private_key)),
    };
    Client::new("alice", b"pass", Floor::default(), choices, now())
}

fn client_ends(wire: &[u8]) {
    let mut client = login_client();
    client.receive(now(), wire);
    client.receive_end();
    assert!(client.poll_event().is_some());
    assert!(client.poll_event().is_none());
}

fn login_server(hide_users: bool, account: Result<Account, Lookup>, wire: &[u8]) -> Option<String> {
    let config = ServerConfig {
        signer: Ok(Arc::new(auth_info("signerkey.rsa"))),
        hide_users,
        floor: Floor::default(),
        unix_now: NOW,
    };
    let mut server = Server::new(config, Box::new(Fresh::default()), now());
    server.receive(now(), wire);
    let mut account = Some(account);
    let mut failure = None;
    for _ in 0..2 {
        while let Some(event) = server.poll_event() {
            match event {
                ServerEvent::Lookup(_) => server.answer(now(), account.take().unwrap()),
                ServerEvent::Failed(error) => failure = Some(error.to_string()),
                ServerEvent::Done(_) => {}
            }
        }
        server.receive_end();
    }
    assert!(server.poll_timeout().is_none());
    failure
}

fn alice() -> Result<Account, Lookup> {
    Ok(Account {
        secret: password_hash(b"correct horse"),
        expire: 0,
    })
}

fn record(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap() | 0x8000;
    [&length.to_be_bytes()[..], payload].concat()
}

/// A recorded conversation of one end as it was on the wire.
fn recorded_wire(file: &str, end: &str) -> Vec<u8> {
    let session: Value = json(file);
    let mut wire = Vec::new();
    match &session[end]["messages"] {
        Value::Array(messages) => {
            wire.extend(messages.iter().flat_map(wire_of));
            for record in list(&session[end]["records"]) {
                wire.extend(octets(&record["wire_hex"]));
            }
        }
        _ => {
            for record in list(&session[end]) {
                wire.extend(octets(&record["wire_hex"]));
            }
        }
    }
    wire
}

#[test]
fn login_refusals() {
    let name = record(b"\0alice");
    let after = |more: &[u8]| [&name[..], more].concat();
    let vector = |octets: &[u8]| after(&record(&[&b"\0"[..], octets].concat()));
    let exponential = |text: &[u8]| {
        let mut wire = vector(b"12345678");
        wire.extend(record(&[&b"\0"[..], text].concat()));
        wire
    };
    let p = auth_info("signerkey.rsa").group.p;
    let top = inferno_auth::number::text_p(&p.less_one().unwrap());
    for (wire, text) in [
        (record(b"\xffmy error"), "my error"),
        (record(b"\xff"), "unknown"),
        (record(b"x"), "failure"),
        (vec![0x80, 0], "hungup"),
        (vec![], "hungup"),
        (vec![0x80, 200, 0], "hungup"),
        (name.clone(), "can't get initialization vector: hungup"),
        (
            vector(b"1234567"),
            "can't get initialization vector: input or format error",
        ),
        (
            vector(b"123456789"),
            "can't get initialization vector: input or format error",
        ),
        (
            after(&record(b"\xffno")),
            "can't get initialization vector: no",
        ),
        (vector(b"12345678"), "can't get alpha**r1 mod p:hungup"),
        (
            exponential(b"AQ=="),
            "can't get alpha**r1 mod p:implausible parameter value",
        ),
        (
            exponential(b"nonsense!"),
            "can't get alpha**r1 mod p:implausible parameter value",
        ),
        (
            exponential(top.as_bytes()),
            "can't get alpha**r1 mod p:implausible parameter value",
        ),
        (exponential(b"BQ=="), "client public key: hungup"),
    ] {
        assert_eq!(
            login_server(false, alice(), &wire).as_deref(),
            Some(text),
            "{wire:?}"
        );
    }
    let wire = vector(b"12345678");
    for (account, text) in [
        (
            Err(Lookup::Secret("user disabled".to_owned())),
            "no password entry for alice: user disabled",
        ),
        (
            Err(Lookup::Expiry("gone".to_owned())),
            "expiry time for alice: gone",
        ),
        (
            Ok(Account {
                secret: vec![1; 19].into(),
                expire: 0,
            }),
            "bad password for alice: not SHA1 hashed?",
        ),
    ] {
        assert_eq!(login_server(false, account, &wire).as_deref(), Some(text));
    }
    // Hidden, the same users get as far as with a wrong password.
    for account in [
        Err(Lookup::Secret("user disabled".to_owned())),
        Err(Lookup::Expiry("gone".to_owned())),
    ] {
        assert_eq!(
            login_server(true, account, &wire).as_deref(),
            Some("can't get alpha**r1 mod p:hungup")
        );
    }
}

#[test]
fn a_false_record_is_answered_with_nothing() {
    let mut wire = recorded_wire("login/rsa_login_alice.json", "client");
    // Into the digest of step 9; and a record with more padding than content.
    let place = wire.len() - 100;
    wire[place] ^= 1;
    for wire in [&wire[..], b"\0\x01\x02x"] {
        let config = ServerConfig {
            signer: Ok(Arc::new(auth_info("signerkey.rsa"))),
            hide_users: false,
            floor: Floor::default(),
            unix_now: NOW,
        };
        let mut server = Server::new(config, Box::new(Fresh::default()), now());
        let mut sent = Vec::new();
        server.receive(now(), wire);
        let mut failure = None;
        while let Some(event) = server.poll_event() {
            match event {
                ServerEvent::Lookup(_) => {
                    server.answer(now(), alice());
                }
                ServerEvent::Failed(error) => failure = Some(error.to_string()),
                ServerEvent::Done(_) => panic!("done"),
            }
        }
        server.poll_transmit(&mut sent);
        assert!(failure.unwrap().ends_with("hungup"));
        let error = b"\xffclient public key";
        assert!(!sent.windows(error.len()).any(|part| part == error));
        assert!(sent.is_empty() == (wire.len() == 4));
    }
}

#[test]
fn without_a_signer() {
    let config = |signer, unix_now| ServerConfig {
        signer,
        hide_users: false,
        floor: Floor::default(),
        unix_now,
    };
    for (config, text) in [
        (
            config(Err("readauthinfo no such file".to_owned()), NOW),
            "can't read signer's own key: readauthinfo no such file",
        ),
        (
            config(Ok(Arc::new(auth_info("expired.rsa.authinfo"))), NOW),
            "can't read signer's own key: signer key expired",
        ),
    ] {
        let mut server = Server::new(config, Box::new(Fresh::default()), now());
        let Some(ServerEvent::Failed(error)) = server.poll_event() else {
            panic!("not failed");
        };
        assert_eq!(error.to_string(), text);
        let mut sent = Vec::new();
        server.poll_transmit(&mut sent);
        assert_eq!(sent, record(&[b"\xff", text.as_bytes()].concat()));
    }
}

#[test]
fn client_refusals() {
    let acknowledged = record(b"\0alice");
    for (wire, text) in [
        (record(b"\xffgo away"), "remote: go away"),
        (record(b"\0bob"), "unexpected reply from signer: bob"),
        (record(b"?"), "remote: failure"),
        (vec![], "remote: hungup"),
        (
            [
                &acknowledged[..],
                &record(b"\xffno password entry for alice: ..."),
            ]
            .concat(),
            "name or secret incorrect (alpha**r0 mod p)",
        ),
        (acknowledged.clone(), "remote: hungup"),
    ] {
        let mut client = login_client();
        client.receive(now(), &wire);
        client.receive_end();
        let Some(inferno_auth::login::ClientEvent::Failed(error)) = client.poll_event() else {
            panic!("not failed");
        };
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn logins_have_an_end() {
    let start = now();
    let mut client = login_client();
    let deadline = client.poll_timeout().unwrap();
    assert!(deadline > start && deadline <= now() + inferno_auth::login::READ_TIME);
    client.handle_timeout(deadline);
    let Some(inferno_auth::login::ClientEvent::Failed(error)) = client.poll_event() else {
        panic!("not failed");
    };
    assert_eq!(error.to_string(), "login timed out");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn noise(wire in prop::collection::vec(any::<u8>(), 0..400)) {
        for server in [false, true] {
            session_ends(server, &wire);
            let mut after_version = b"0001\n1".to_vec();
            after_version.extend_from_slice(&wire);
            session_ends(server, &after_version);
        }
        client_ends(&wire);
        login_server(false, alice(), &wire);
    }

    #[test]
    fn recordings_with_something_else_in_them(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        for (file, from) in [
            ("sts/rsa_passwd_change.json", "client"),
            ("sts/rsa_passwd_change.json", "server"),
            ("login/rsa_login_alice.json", "client"),
            ("login/rsa_login_alice.json", "server"),
        ] {
            let mut wire = recorded_wire(file, from);
            for (place, octet) in &places {
                let place = place.index(wire.len());
                wire[place] = *octet;
            }
            wire.truncate(end.index(wire.len()) + 1);
            match (file.starts_with("sts"), from) {
                (true, from) => session_ends(from == "client", &wire),
                (false, "client") => drop(login_server(false, alice(), &wire)),
                (false, _) => client_ends(&wire),
            }
        }
    }
}
