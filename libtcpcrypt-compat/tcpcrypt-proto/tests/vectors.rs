//! All that the original's recorded sessions say, against the pure functions: options, messages, keys,
//! session ids, records.

mod recorded;

use kx_crypto::aead::Algorithm;
use kx_crypto::ecdh::PrivateKey;
use kx_crypto::secret::SecretBytes;
use serde_json::Value;
use tcpcrypt_proto::eno::{Answer, EnoOption, Offer, ResumeId, Tep};
use tcpcrypt_proto::legacy::init::{Init1, Init2, cipher_id};
use tcpcrypt_proto::legacy::keys::{
    Exchange, Role, Session, SessionId, TrafficKeys, master_key, next_key,
};
use tcpcrypt_proto::legacy::record::{self, Flags};

use recorded::{NAMES, hex, json, key_log, octets, pcap, segment};

/// The algorithms in the order this recording's hosts prefer them.
fn preferred(name: &str) -> [Algorithm; 2] {
    match name {
        "divert-p256-aes256" => [Algorithm::Aes256Gcm, Algorithm::Aes128Gcm],
        _ => [Algorithm::Aes128Gcm, Algorithm::Aes256Gcm],
    }
}

fn teps(name: &str) -> [Tep; 2] {
    match name {
        "divert-p521" => [Tep::P521, Tep::P256],
        _ => Tep::DEFAULT,
    }
}

/// The lines of the key log with this public key.
fn private_key(name: &str, tep: Tep, public: &[u8]) -> (PrivateKey, SecretBytes) {
    let line = key_log(name)
        .into_iter()
        .find(|line| octets(line, "pub") == public)
        .expect("in the key log");
    let key = PrivateKey::from_scalar(tep.curve(), &octets(&line, "priv")).unwrap();
    assert_eq!(key.public(), public);
    let secret = key.agree(&octets(&line, "peer")).unwrap();
    assert!(secret.ct_eq(&octets(&line, "es")));
    (key, secret)
}

/// The first session as both ends compute it, client first.
fn exchange(name: &str, connection: &Value) -> [Session; 2] {
    let (algorithms, teps) = (preferred(name), teps(name));
    let offer = Offer {
        teps: &teps,
        app_aware: false,
        resume: None,
    };
    let syn = offer.build();
    assert_eq!(syn.as_bytes(), octets(connection, "syn_eno"));
    let tep = syn.choose(&Tep::DEFAULT).unwrap();
    let syn_ack = EnoOption::accept(tep, false);
    assert_eq!(syn_ack.as_bytes(), octets(connection, "synack_eno"));
    assert_eq!(offer.answer(&syn_ack), Answer::Exchange(tep));
    assert_eq!(u64::from(tep.octet()), connection["tep"].as_u64().unwrap());

    let (public_c, public_s) = (octets(connection, "pub_c"), octets(connection, "pub_s"));
    let (key_c, secret_c) = private_key(name, tep, &public_c);
    let (key_s, secret_s) = private_key(name, tep, &public_s);
    for (key, field) in [(&key_c, "priv_c"), (&key_s, "priv_s")] {
        assert!(key.scalar().unwrap().ct_eq(&octets(connection, field)));
    }
    for secret in [&secret_c, &secret_s] {
        assert!(secret.ct_eq(&octets(connection, "es")));
    }

    let ciphers = algorithms.map(cipher_id);
    assert_eq!(octets(connection, "offered"), ciphers);
    let nonce_c: [u8; 32] = octets(connection, "nonce_c").try_into().unwrap();
    let nonce_s: [u8; 32] = octets(connection, "nonce_s").try_into().unwrap();
    let message1 = Init1 {
        ciphers: &ciphers,
        nonce: &nonce_c,
        public: key_c.public(),
    };
    let mut init1 = Vec::new();
    message1.build(&mut init1);
    assert_eq!(init1, octets(connection, "init1"));
    assert_eq!(Init1::parse(&init1, tep.curve()), Ok(message1));
    let algorithm = message1.choose(&algorithms).unwrap();
    let message2 = Init2 {
        cipher: cipher_id(algorithm),
        nonce: &nonce_s,
        public: key_s.public(),
    };
    let mut init2 = Vec::new();
    message2.build(&mut init2);
    assert_eq!(init2, octets(connection, "init2"));
    assert_eq!(Init2::parse(&init2, tep.curve()), Ok(message2));
    assert_eq!(message2.chosen(&algorithms), Ok(algorithm));
    assert_eq!(
        u64::from(cipher_id(algorithm)),
        connection["aead"].as_u64().unwrap()
    );
    assert_eq!(
        algorithm.key_len() as u64,
        connection["key_len"].as_u64().unwrap()
    );

    let sides = [(Role::Client, secret_c), (Role::Server, secret_s)];
    sides.map(|(role, secret)| {
        let exchange = Exchange {
            syn: &syn,
            syn_ack: &syn_ack,
            init1: &init1,
            init2: &init2,
            client_nonce: &nonce_c,
            shared_secret: &secret,
        };
        assert_eq!(exchange.transcript(), octets(connection, "transcript"));
        let prk = exchange.prk();
        assert_eq!(prk.as_bytes().as_slice(), octets(connection, "prk"));
        let master = master_key(&prk);
        assert_eq!(master.as_bytes().as_slice(), octets(connection, "mk"));
        let next = next_key(&prk);
        assert_eq!(next.as_bytes().as_slice(), octets(connection, "nextk"));
        let session = exchange.session(role, tep, algorithm);
        assert_eq!(
            *session.id(),
            SessionId::derive(tep.octet(), &prk),
            "two ways to the same id"
        );
        session
    })
}

/// The options of a resumed connection.
fn resumption(name: &str, connection: &Value, sessions: &[Session; 2]) {
    let teps = teps(name);
    let id = sessions[0].resume_id();
    assert_eq!(id, sessions[1].resume_id());
    let offer = Offer {
        teps: &teps,
        app_aware: false,
        resume: Some(id),
    };
    let syn = offer.build();
    assert_eq!(syn.as_bytes(), octets(connection, "syn_eno"));
    assert!(syn.resume_ids().any(|named| named == id));
    let tep = sessions[1].suite().tep;
    let syn_ack = EnoOption::accept_resumption(tep, false, &syn);
    assert_eq!(syn_ack.as_bytes(), octets(connection, "synack_eno"));
    assert_eq!(offer.answer(&syn_ack), Answer::Resumed);
}

/// Seals and opens every frame of one direction; gives the data.
fn frames(direction: &Value, sender: TrafficKeys, receiver: TrafficKeys) -> Vec<u8> {
    // Where the sequence numbers begin matters only behind 2^32.
    let (mut sealer, _) = sender.split(0, 0).unwrap();
    let (_, mut opener) = receiver.split(0, 0).unwrap();
    let mut plain = Vec::new();
    let frames = direction["frames"].as_array().unwrap();
    assert!(!frames.is_empty());
    for frame in frames {
        let offset = frame["offset"].as_u64().unwrap();
        let bits = frame["flags"].as_u64().unwrap();
        let flags = Flags {
            fin: bits & 1 != 0,
            urgent: frame["urgent"].as_u64().map(|at| at.try_into().unwrap()),
        };
        assert_eq!(bits & 2 != 0, flags.urgent.is_some());
        assert_eq!(octets(frame, "iv"), offset.to_le_bytes());
        let (data, wire) = (octets(frame, "data"), octets(frame, "frame"));
        let mut sealed = Vec::new();
        sealer.seal(offset, flags, &data, &mut sealed).unwrap();
        assert_eq!(sealed, wire, "frame at {offset}");
        assert_eq!(record::len(&wire), Ok(Some(wire.len())));
        assert_eq!(wire.len() as u64, 3 + frame["len"].as_u64().unwrap());
        let before = plain.len();
        assert_eq!(opener.open(offset, &wire, &mut plain), Ok(flags));
        assert_eq!(plain[before..], data);
    }
    assert_eq!(
        plain.len() as u64,
        direction["plaintext_len"].as_u64().unwrap()
    );
    plain
}

#[test]
fn recorded_connections() {
    let c2s = std::fs::read(recorded::path("plaintext-c2s.bin")).unwrap();
    let s2c = std::fs::read(recorded::path("plaintext-s2c.bin")).unwrap();
    let mut seen = 0;
    for name in NAMES {
        let recording = json(name);
        let mut next: Option<[Session; 2]> = None;
        for connection in recording.as_array().unwrap() {
            let sessions = if connection["resumed"].as_bool().unwrap() {
                let sessions = next.take().expect("a session to resume");
                resumption(name, connection, &sessions);
                sessions
            } else {
                exchange(name, connection)
            };
            let [client, server] = sessions.map(Session::enable);
            for enabled in [&client, &server] {
                let id = octets(connection, "session_id");
                assert_eq!(enabled.id.as_bytes().as_slice(), id, "{name}");
                let (key_c, key_s) = enabled.keys.as_keys();
                assert_eq!(key_c.as_bytes().as_slice(), octets(connection, "key_c"));
                assert_eq!(key_s.as_bytes().as_slice(), octets(connection, "key_s"));
                let next = octets(connection, "next_resume_id");
                assert_eq!(enabled.next.resume_id(), ResumeId(next.try_into().unwrap()));
            }
            // Each direction takes the keys away, so they are made a second time from the master key.
            let master = kx_crypto::hkdf::Key::from(
                &<[u8; 32]>::try_from(octets(connection, "mk")).unwrap(),
            );
            let again = |keys: &TrafficKeys| TrafficKeys::derive(&master, keys.suite());
            let (client2, server2) = (again(&client.keys), again(&server.keys));
            assert_eq!(frames(&connection["c2s"], client.keys, server.keys), c2s);
            assert_eq!(frames(&connection["s2c"], server2, client2), s2c);
            next = Some([client.next, server.next]);
            seen += 1;
        }
    }
    assert_eq!(seen, 8);
}

/// The ids that the original's tcnetstat printed at both ends, in the order of the connections.
#[test]
fn ids_of_tcnetstat() {
    for name in NAMES {
        for end in ["client", "server"] {
            let file = recorded::path(&format!("{name}.tcnetstat.{end}.txt"));
            let text = std::fs::read_to_string(file).unwrap();
            for connection in json(name).as_array().unwrap() {
                let id = connection["session_id"].as_str().unwrap();
                let id = SessionId(hex(id).try_into().unwrap());
                let shown: String = id.as_bytes().iter().map(|o| format!("{o:02X}")).collect();
                assert!(text.contains(&shown), "{name} {end}");
            }
        }
    }
}

/// The client there has the application-aware bit set, the server has not.
#[test]
fn application_aware_capture() {
    let packets = pcap("app-support.pcap");
    let mut options = packets.iter().filter_map(|packet| {
        let segment = segment(&packet.ip);
        EnoOption::find(segment.options)
            .unwrap()
            .map(|eno| (segment.flags, eno))
    });
    let (flags, syn) = options.next().unwrap();
    assert_eq!(flags & 0x12, 2);
    let offer = Offer {
        teps: &Tep::DEFAULT,
        app_aware: true,
        resume: None,
    };
    assert_eq!(syn, offer.build());
    assert!(syn.app_aware());
    assert_eq!(syn.choose(&Tep::DEFAULT), Some(Tep::P256));
    let (flags, syn_ack) = options.next().unwrap();
    assert_eq!(flags & 0x12, 0x12);
    assert_eq!(syn_ack, EnoOption::accept(Tep::P256, false));
    assert!(!syn_ack.app_aware());
    let (_, third) = options.next().unwrap();
    assert_eq!(third, EnoOption::bare());
    assert!(options.next().is_none());
}

/// Every ENO option of every capture is understood and built again the same.
#[test]
fn options_of_the_captures() {
    for name in NAMES {
        for packet in pcap(&format!("{name}.pcap")) {
            let options = segment(&packet.ip).options;
            let Some(eno) = EnoOption::find(options).unwrap() else {
                continue;
            };
            let len = eno.as_bytes().len();
            assert!(options.windows(len).any(|window| window == eno.as_bytes()));
            assert_eq!(EnoOption::parse(eno.as_bytes()), Ok(eno));
        }
    }
}
