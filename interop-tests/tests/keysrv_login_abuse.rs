//! logind and signer with clients that lie, on raw sockets ("keysrv spec 7, 11, 15").

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use interop_tests::inferno::database::User;
use interop_tests::inferno::domain::{Domain, MASTER, as_inetd};
use interop_tests::inferno::framing::{self, Heard};
use interop_tests::inferno::keys::{Key, plain_number_text, verifies};
use interop_tests::inferno::login::{self, Bent, put, take};
use interop_tests::inferno::records::Records;
use interop_tests::inferno::sts::connect;
use openssl::bn::BigNum;
use openssl::hash::{MessageDigest, hash};

const PASSWORD: &str = "bob the builder";

fn domain() -> Domain {
    Domain::new(&users())
}

fn users() -> Vec<User> {
    let disabled = User {
        status: 1,
        ..User::hashed("mallory", PASSWORD)
    };
    let expired = User {
        expire: 1_500_000_000,
        ..User::hashed("oscar", PASSWORD)
    };
    let expiring = User {
        expire: 2_114_380_799,
        ..User::hashed("eve", PASSWORD)
    };
    vec![
        User::hashed("bob", PASSWORD),
        User::new("alice", b"stored in clear"),
        User::new("empty", b""),
        disabled,
        expired,
        expiring,
    ]
}

fn attempt(domain: &Domain, name: &str, bent: &Bent) -> Option<String> {
    let stream = connect(domain.login);
    let key = domain.signer.key.owned_by(name);
    login::login(stream, key, PASSWORD.as_bytes(), bent).err()
}

fn alive(domain: &Domain) {
    assert_eq!(attempt(domain, "bob", &Bent::default()), None);
}

#[test]
fn certificates_say_when_the_account_ends() {
    let domain = domain();
    for (user, expiry) in [("bob", "0"), ("eve", "2114380799")] {
        let info = domain.login(user, PASSWORD).expect("logged in");
        let lines: Vec<&str> = info.certificate.lines().collect();
        assert_eq!(lines[..4], ["rsa", "sha1", "signer.example", expiry]);
    }
    let wrong = domain.login("bob", "another password").err();
    assert_eq!(wrong.as_deref(), Some("name or secret incorrect"));
}

#[test]
fn users_without_a_usable_account_are_told() {
    let domain = domain();
    let missing = |name: &str| {
        format!("no password entry for {name}: '/mnt/keys/{name}' file does not exist")
    };
    for (name, wanted) in [
        ("nobody", missing("nobody")),
        ("../keys/bob", missing("../keys/bob")),
        ("bob/../bob", missing("bob/../bob")),
        ("..", missing("..")),
        (
            "mallory",
            "no password entry for mallory: user disabled".to_owned(),
        ),
        (
            "oscar",
            "no password entry for oscar: user expired".to_owned(),
        ),
        (
            "alice",
            "bad password for alice: not SHA1 hashed?".to_owned(),
        ),
        (
            "empty",
            "bad password for empty: not SHA1 hashed?".to_owned(),
        ),
    ] {
        assert_eq!(attempt(&domain, name, &Bent::default()), Some(wanted));
    }
    alive(&domain);
}

#[test]
fn users_can_be_hidden() {
    let domain = domain();
    for name in ["nobody", "mallory", "oscar", "bob"] {
        let (stream, _child, _log) = as_inetd(&domain.root, "logind", &["--hide-users"]);
        let mut records = Records::new(stream);
        put(&mut records, name.as_bytes());
        assert_eq!(take(&mut records).as_deref(), Ok(name));
        put(&mut records, b"8 octets");
        let fourth = records.receive().expect("a record");
        assert!(
            fourth.len() > 100,
            "{name}: a number, encrypted: {fourth:?}"
        );
        assert!(
            take(&mut records).is_ok() && take(&mut records).is_ok(),
            "{name}"
        );
    }
}

#[test]
fn every_lie_of_a_login_has_its_answer() {
    let domain = domain();
    let p = BigNum::get_rfc2409_prime_1024().expect("a number");
    let minus_one = &p - &BigNum::from_u32(1).expect("a number");
    let mut cases = Vec::new();
    for vector in [&b""[..], b"7 octet", b"9 octets.", &[0; 1000]] {
        let bent = Bent {
            vector: Some(vector.to_vec()),
            ..Bent::default()
        };
        cases.push((
            bent,
            "can't get initialization vector: input or format error",
        ));
    }
    let texts = [
        b"AA==".to_vec(),
        b"AQ==".to_vec(),
        plain_number_text(&minus_one).into_bytes(),
        plain_number_text(&p).into_bytes(),
        b"-BQ==".to_vec(),
        b"!!!!".to_vec(),
        Vec::new(),
    ];
    for text in texts {
        let bent = Bent {
            exponential: Some(text),
            ..Bent::default()
        };
        cases.push((
            bent,
            "can't get alpha**r1 mod p:implausible parameter value",
        ));
    }
    let other = domain.signer.key.owned_by("eve").public();
    let mine = domain.signer.key.owned_by("bob").public();
    for (text, wanted) in [
        ("nonsense".to_owned(), "client public key: bad public key"),
        ("rsa\nbob\n".to_owned(), "client public key: bad public key"),
        (
            "dsa\nbob\nAQ==\n".to_owned(),
            "client public key: bad public key",
        ),
        // Behind the last field: where a longer digest could put it (keysrv spec 18).
        (mine + "more", "client public key: bad public key"),
        (other, "pk name doesn't match user name"),
    ] {
        let bent = Bent {
            public_key: Some(text.into_bytes()),
            ..Bent::default()
        };
        cases.push((bent, wanted));
    }
    for (bent, wanted) in cases {
        assert_eq!(
            attempt(&domain, "bob", &bent).as_deref(),
            Some(wanted),
            "{bent:?}"
        );
    }
    alive(&domain);
}

#[test]
fn records_that_are_no_messages_end_a_login() {
    let domain = domain();
    let begin = || Records::new(connect(domain.login));
    // Neither a message nor an error.
    let mut records = begin();
    records.send(b"\x07bob").expect("sent");
    assert_eq!(take(&mut records), Err("failure".to_owned()));
    // An error is given back.
    let mut records = begin();
    records.send(b"\xffno such luck").expect("sent");
    assert_eq!(take(&mut records), Err("no such luck".to_owned()));
    for raw in [&[0x80, 0][..], &[0, 1, 200, 0], b"GET / HTTP/1.0\r\n\r\n"] {
        let mut stream = connect(domain.login);
        stream.write_all(raw).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("closed");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    alive(&domain);
}

#[test]
fn a_false_digest_ends_a_login() {
    let domain = domain();
    let mut records = Records::new(connect(domain.login));
    put(&mut records, b"bob");
    take(&mut records).expect("the name");
    put(&mut records, b"8 octets");
    records.receive().expect("step 4");
    take(&mut records).expect("alpha");
    take(&mut records).expect("p");
    let three = BigNum::from_u32(3).expect("a number");
    put(&mut records, plain_number_text(&three).as_bytes());
    // Whoever does not know the secret cannot make step 9.
    records.receive().expect("step 8");
    records.protect(b"not the secret", true, None);
    put(
        &mut records,
        domain.signer.key.owned_by("bob").public().as_bytes(),
    );
    records.protect(&[], false, None);
    assert_eq!(records.receive(), None);
    alive(&domain);
}

// signer

fn signer_session(domain: &Domain) -> TcpStream {
    let address = (Ipv4Addr::LOCALHOST, domain.service.ports().signer);
    connect(address.into())
}

#[test]
fn signer_is_off_unless_asked_for() {
    let domain = domain();
    let ports = domain.service.ports();
    for port in [ports.signer, ports.countersigner] {
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }
}

#[test]
fn signer_enrols_and_keeps_to_its_directory() {
    let domain = Domain::with(&users(), &["--signer"]);
    for dir in ["keydb/signed", "keydb/countersigned"] {
        std::fs::create_dir_all(domain.root.path(dir)).expect("a directory");
    }
    let before = domain.root.get("keydb/keys");
    let enrol = |owner: &str| {
        let key = Key::new(owner, 512);
        let mut stream = signer_session(&domain);
        let signer = framing::receive(&mut stream)
            .text()
            .expect("the signer's key");
        assert_eq!(signer, domain.signer.key.public().as_bytes());
        for _ in 0..2 {
            framing::receive(&mut stream).text().expect("the group");
        }
        framing::send(&mut stream, key.public().as_bytes()).expect("sent");
        (key, framing::receive(&mut stream))
    };
    for owner in [
        "../x",
        "../keys",
        "a/b",
        "..",
        ".",
        "/etc/passwd",
        "../signerkey",
    ] {
        let (_, answer) = enrol(owner);
        assert!(!matches!(answer, Heard::Text(_)), "{owner}: {answer:?}");
    }
    assert_eq!(domain.root.get("keydb/keys"), before);
    let names = |dir: &str| {
        let all = std::fs::read_dir(domain.root.path(dir))
            .expect("a directory")
            .flatten();
        all.map(|e| e.file_name().to_string_lossy().into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("keydb/signed"), Vec::<String>::new());
    let mut keydb = names("keydb");
    keydb.retain(|name| !name.ends_with(".lock"));
    keydb.sort();
    assert_eq!(
        keydb,
        ["countersigned", "keys", "nvram", "signed", "signerkey"]
    );

    let (key, answer) = enrol("box");
    let Heard::Text(blinded) = answer else {
        panic!("{answer:?}");
    };
    let stored = framing::messages(&domain.root.get("keydb/signed/box"));
    assert_eq!(stored.len(), 2);
    let certificate: Vec<u8> = stored[0].iter().zip(&blinded).map(|(a, b)| a ^ b).collect();
    let certificate = String::from_utf8(certificate).expect("a certificate");
    let signer = domain.signer.key.public();
    assert!(verifies(&signer, &certificate, key.public().as_bytes()));
    let digested = [signer.as_bytes(), key.public().as_bytes(), &blinded].concat();
    let digest = hash(MessageDigest::md5(), &digested).expect("MD5");
    assert_eq!(stored[1], digest.to_vec());

    // The administrator compares the words, accepts, and the box gets its blind.
    let mut verify = domain.root.dialog("verify", &["box"]);
    verify.ask("accept (y or n)? ", "y");
    let (status, screen) = verify.end();
    assert_eq!(status, 0, "{screen}");
    let port = domain.service.ports().countersigner;
    let fetch = |name: &[u8]| {
        let mut stream = connect((Ipv4Addr::LOCALHOST, port).into());
        framing::send(&mut stream, name).expect("sent");
        framing::receive(&mut stream)
    };
    assert_eq!(fetch(b"box"), Heard::Text(stored[0].clone()));
    for name in [&b"../keys"[..], b"../../etc/passwd", b"..", b"other", b""] {
        assert!(!matches!(fetch(name), Heard::Text(_)), "{name:?}");
    }
    assert_eq!(domain.root.users(MASTER), users());
}
