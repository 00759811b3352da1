//! Logins recorded between programs of Inferno, replayed at either end.

mod recorded;

use std::sync::Arc;

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use inferno_auth::generate::GenerateError;
use inferno_auth::key::{Algorithm, PrivateKey};
use inferno_auth::login::{
    Account, Client, ClientChoices, ClientEvent, Lookup, Server, ServerConfig, ServerEvent,
    password_hash,
};
use inferno_auth::number;
use inferno_auth::ssl::{Algorithms, Opener, Sealer};
use kx_crypto::bignum::BigNum;
use kx_crypto::dh::Exponent;
use serde_json::Value;

use recorded::{NOW, Recorded, all, auth_info, list, now, octets, text};

fn wire(records: &[Value]) -> Vec<u8> {
    records
        .iter()
        .flat_map(|record| octets(&record["wire_hex"]))
        .collect()
}

fn algorithm(name: &str) -> &str {
    name.split('_').next().unwrap()
}

/// What steps 8 to 10 of this login ended in.
fn result(name: &str, session: &Value) -> AuthInfo {
    let user = text(&session["user"]);
    auth_info(&format!("{user}.{}.authinfo", algorithm(name)))
}

fn secret_of(mode: &str, session: &Value) -> (Algorithms, Vec<u8>) {
    match mode {
        "clear" => (Algorithms::CLEAR, Vec::new()),
        "rc4" => (Algorithms::RC4, octets(&session["rc4_secret_hex"])),
        "sha1" => (Algorithms::SHA1, octets(&session["dh_secret_hex"])),
        other => panic!("{other}"),
    }
}

#[test]
fn records_open_and_seal_to_the_same_octets() {
    for (name, session) in all("login") {
        for end in ["client", "server"] {
            let (mut sealer, mut opener) = (Sealer::new(), Opener::new());
            let mut mode = "clear";
            for record in list(&session[end]) {
                if mode != record["mode"] {
                    mode = text(&record["mode"]);
                    let (algorithms, secret) = secret_of(mode, &session);
                    sealer.protect(algorithms, &secret).unwrap();
                    opener.protect(algorithms, &secret).unwrap();
                }
                let (wire, payload) = (octets(&record["wire_hex"]), octets(&record["payload_hex"]));
                assert_eq!(record["mid"], opener.number());
                opener.receive(&wire);
                assert_eq!(*opener.open().unwrap().unwrap(), payload, "{name}");
                let mut ours = Vec::new();
                sealer.seal(&payload, &mut ours).unwrap();
                assert_eq!(ours, wire, "{name}");
            }
        }
    }
}

#[test]
fn the_clients_end_says_the_same() {
    for (name, session) in all("login") {
        for step in [1, 13, 100_000] {
            let r1 = session["r1_hex"].as_str().unwrap_or("3");
            let padded = format!("{}{r1}", "0".repeat(r1.len() % 2));
            let exponent = octets(&Value::from(padded));
            let key = (session["r1_hex"].is_string()).then(|| result(&name, &session).private_key);
            let choices = ClientChoices {
                vector: octets(&session["ivec_hex"]).try_into().unwrap(),
                exchange: Box::new(Exponent::from_bytes(&exponent).unwrap()),
                make_key: Box::new(move |_, owner| {
                    let key: PrivateKey = key.ok_or(GenerateError::Owner)?;
                    assert_eq!(key.owner(), owner);
                    Ok(key)
                }),
            };
            let mut client = Client::new(
                text(&session["user"]),
                text(&session["password"]).as_bytes(),
                Floor::default(),
                choices,
                now(),
            );
            let mut sent = Vec::new();
            for piece in wire(list(&session["server"])).chunks(step) {
                client.receive(now(), piece);
            }
            client.poll_transmit(&mut sent);
            assert_eq!(sent, wire(list(&session["client"])), "{name}");
            match client.poll_event().unwrap() {
                ClientEvent::Done(info) => {
                    let original = result(&name, &session);
                    let file = original.to_bytes().unwrap();
                    assert!(info.to_bytes().unwrap().ct_eq(file.as_slice()), "{name}");
                }
                ClientEvent::Failed(error) => {
                    assert!(session["r1_hex"].is_null(), "{name}: {error}");
                    assert_eq!(
                        error.to_string(),
                        "name or secret incorrect (alpha**r0 mod p)"
                    );
                }
            }
            assert!(client.poll_event().is_none());
            assert!(client.poll_timeout().is_none());
        }
    }
}

#[test]
fn the_servers_end_says_the_same() {
    for (name, session) in all("login") {
        for step in [1, 17, 100_000] {
            let algorithm = algorithm(&name);
            let server = list(&session["server"]);
            let number = |place: usize| {
                let digits = server.get(place).and_then(|it| it["payload_text"].as_str());
                // Where there is none in the recording none is asked for.
                number::read_login(digits.unwrap_or_default().as_bytes())
                    .unwrap_or_else(|_| BigNum::from_u32(3).unwrap())
            };
            // With a wrong password the exponential cannot be known from the recording: its record is
            // made with the right one.
            let exchange = Recorded {
                exponential: if name.contains("wrongpw") {
                    opened_with_password(&session, b"correct horse")
                } else {
                    number(1)
                },
                secret: match session["dh_secret_hex"].as_str() {
                    Some(_) => octets(&session["dh_secret_hex"]),
                    None => vec![1],
                },
            };
            let signer = auth_info(&format!("signerkey.{algorithm}"));
            let config = ServerConfig {
                signer: Ok(Arc::new(signer)),
                hide_users: false,
                floor: Floor::default(),
                unix_now: NOW,
            };
            let mut machine = Server::new(config, Box::new(exchange), now());
            let (mut sent, mut done, mut failed) = (Vec::new(), None, None);
            for piece in wire(list(&session["client"])).chunks(step) {
                machine.receive(now(), piece);
                while let Some(event) = machine.poll_event() {
                    match event {
                        ServerEvent::Lookup(user) => machine.answer(now(), account(&user)),
                        ServerEvent::Done(user) => done = Some(user),
                        ServerEvent::Failed(error) => failed = Some(error.to_string()),
                    }
                }
            }
            machine.poll_transmit(&mut sent);
            let mut theirs = wire(server);
            // A capture may end before all that was sent; a signature of elgamal is another each time.
            let same = if name.starts_with("elgamal") && session["r1_hex"].is_string() {
                wire(&server[..server.len() - 1]).len()
            } else {
                theirs.len()
            };
            theirs.truncate(same);
            assert!(sent.len() >= same, "{name}");
            assert_eq!(sent[..same], theirs, "{name}");
            let user = text(&session["user"]);
            if session["r1_hex"].is_string() {
                assert_eq!(done.as_deref(), Some(user), "{name}");
                assert_eq!(failed, None);
            } else if name.contains("nouser") {
                assert_eq!(failed.as_deref(), server[1]["payload_text"].as_str());
            } else {
                assert_eq!((done, failed), (None, None));
            }
        }
    }
}

/// alpha ** r0 of a login whose client had another password.
fn opened_with_password(session: &Value, password: &[u8]) -> BigNum {
    let hash = password_hash(password);
    let at = |place: usize| hash.as_slice().get(place).copied().unwrap_or(0);
    let vector = octets(&session["ivec_hex"]);
    let key: Vec<u8> = (0..8)
        .map(|i| at(i) ^ at(8 + i) ^ if i < 4 { at(16 + i) } else { 0 } ^ vector[i])
        .collect();
    let mut opener = Opener::new();
    let server = list(&session["server"]);
    opener.receive(&wire(&server[..1]));
    opener.open().unwrap().unwrap();
    opener.protect(Algorithms::RC4, &key).unwrap();
    opener.receive(&wire(&server[1..2]));
    let payload = opener.open().unwrap().unwrap();
    number::read_login(&payload[1..]).unwrap()
}

fn account(user: &str) -> Result<Account, Lookup> {
    let (password, expire) = match user {
        "alice" => (&b"correct horse"[..], 0),
        "bob" => (&b"bobs password"[..], 2_114_380_799),
        _ => {
            let why = format!("'/mnt/keys/{user}' file does not exist");
            return Err(Lookup::Secret(why));
        }
    };
    Ok(Account {
        secret: password_hash(password),
        expire,
    })
}

#[test]
fn certificates_end_when_the_account_ends() {
    for name in ["rsa_login_bob_expiring", "elgamal_login_bob_expiring"] {
        let algorithm = algorithm(name);
        let info = auth_info(&format!("bob.{algorithm}.authinfo"));
        assert_eq!(info.certificate.expiry(), 2_114_380_799);
        assert!(info.is_certified());
        let wanted = Algorithm::named(algorithm.as_bytes()).unwrap();
        assert_eq!(info.public_key().algorithm(), wanted);
    }
}
