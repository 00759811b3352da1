//! What crashes, wedges or is abused in the original, against our servers on raw sockets
//! ("keysrv spec 4-6, 9.3"): each with its exact answer, and the service goes on.

use std::io::{Read, Write};
use std::net::TcpStream;

use interop_tests::inferno::database::User;
use interop_tests::inferno::domain::{Domain, MASTER, Session, as_inetd};
use interop_tests::inferno::framing::{Heard, send, send_error};
use interop_tests::inferno::keys::{Key, Signer, number_text};
use interop_tests::inferno::records::{Rc4, Records, digest};
use interop_tests::inferno::sts::{Bent, authenticate, connect, session, verdict};
use interop_tests::wait::{self, SOON};
use openssl::bn::BigNum;

fn users() -> Vec<User> {
    vec![
        User::new("alice", b"alice in wonderland"),
        User::new("bob", b"bob the builder"),
    ]
}

fn text(number: &BigNum) -> Vec<u8> {
    number_text(number).into_bytes()
}

fn some(bytes: impl Into<Vec<u8>>) -> Option<Vec<u8>> {
    Some(bytes.into())
}

/// The service still answers, at the latest when those who were refused are gone.
fn alive(domain: &Domain) {
    let alice = domain.issue_quickly("alice");
    let answer = wait::until(SOON * 2, || {
        let mut session = domain.session(&alice).ok()?;
        session.check(b"alice in wonderland").ok()
    });
    assert_eq!(answer, Some(0), "{}", domain.service.log.text());
}

/// The connection ends without another octet.
fn hung_up(mut stream: &TcpStream) {
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest);
    let reset = end.is_err_and(|e| e.kind() != std::io::ErrorKind::ConnectionReset);
    assert!(!reset, "the connection stays open");
    assert_eq!(rest, b"");
}

#[test]
fn every_lie_of_the_exchange_has_its_answer() {
    let domain = Domain::new(&users());
    let mine = domain.issue("alice");
    let p = &mine.p;
    let minus = |n: u32| p - &BigNum::from_u32(n).expect("a number");
    let plus = p + &BigNum::from_u32(2).expect("a number");
    let exponential = |text: Vec<u8>| Bent {
        exponential: Some(text),
        ..Bent::default()
    };
    let implausible = "implausible parameter value";
    let foreigner = Signer::new("signer.example");
    let stranger = Key::new("alice", 1024);
    let expired = mine.key.owned_by("alice");
    let expired = domain.signer.issue_for(expired, 1_500_000_000);
    let negative = domain.signer.issue_for(mine.key.clone(), -5);
    let cases: Vec<(&str, Bent, &str)> = vec![
        ("no number", exponential(b"!!!!".to_vec()), implausible),
        ("an empty one", exponential(b"".to_vec()), implausible),
        ("zero", exponential(b"AA==".to_vec()), implausible),
        ("one", exponential(b"AQ==".to_vec()), implausible),
        ("p - 1", exponential(text(&minus(1))), implausible),
        ("p", exponential(text(p)), implausible),
        ("p + 2", exponential(text(&plus)), implausible),
        (
            "a negative one",
            exponential(b"-BQ==".to_vec()),
            implausible,
        ),
        (
            "its own",
            Bent {
                reflect: true,
                ..Bent::default()
            },
            "possible replay attack",
        ),
        (
            "version 2",
            Bent {
                version: some("2"),
                ..Bent::default()
            },
            "incompatible authentication protocol",
        ),
        (
            "a long version",
            Bent {
                version: some("00001"),
                ..Bent::default()
            },
            "incompatible authentication protocol",
        ),
        (
            "no certificate",
            Bent {
                certificate: some("rsa\nsha1\n"),
                ..Bent::default()
            },
            "bad certificate syntax",
        ),
        (
            "no key",
            Bent {
                public_key: some("rsa\nalice\n"),
                ..Bent::default()
            },
            "bad public key",
        ),
        (
            "a key without an owner",
            Bent {
                public_key: some(mine.key.owned_by("").public()),
                ..Bent::default()
            },
            "bad public key",
        ),
        (
            "a key that was not certified",
            Bent {
                public_key: some(stranger.public()),
                ..Bent::default()
            },
            "pk doesn't match certificate",
        ),
        (
            "another domain's certificate",
            Bent {
                certificate: some(foreigner.key.certify(mine.key.public().as_bytes(), 0)),
                ..Bent::default()
            },
            "pk doesn't match certificate",
        ),
        (
            "an expired certificate",
            Bent {
                certificate: some(expired.certificate),
                ..Bent::default()
            },
            "certificate expired",
        ),
        (
            "a negative expiry",
            Bent {
                certificate: some(negative.certificate),
                ..Bent::default()
            },
            "certificate expired",
        ),
        (
            "no signature",
            Bent {
                signature: some("nonsense"),
                ..Bent::default()
            },
            "alpha**r1 doesn't match certificate",
        ),
        (
            "a signature of something else",
            Bent {
                signature: some(mine.key.certify(b"something else", 0)),
                ..Bent::default()
            },
            "bad certificate",
        ),
    ];
    for (what, bent, wanted) in cases {
        let attempt = || {
            let mut stream = connect(domain.key);
            match authenticate(&mut stream, &mine, &bent) {
                Err(said) => said,
                Ok(_) => match verdict(&mut stream) {
                    Heard::Error(said) => said,
                    other => panic!("{what}: {other:?}"),
                },
            }
        };
        // The server waits a second for what is still under way; on a busy machine it may be gone.
        let mut said = attempt();
        for _ in 0..3 {
            if said == "hungup" {
                said = attempt();
            }
        }
        assert_eq!(said, format!("remote: {wanted}"), "{what}");
    }
    alive(&domain);
}

#[test]
fn frames_that_are_none_are_refused() {
    let domain = Domain::new(&users());
    for bytes in [
        &b"abcd\nxxxx"[..],
        b"9999\n",
        b"4096\n",
        b"-001\n",
        b"0001x1",
        b"GET / HTTP/1.0\r\n\r\n",
    ] {
        let mut stream = connect(domain.key);
        stream.write_all(bytes).expect("sent");
        // What the original says of all that it cannot read.
        let wanted = Heard::Error("remote: missing your authentication data".to_owned());
        assert_eq!(
            verdict(&mut stream),
            wanted,
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
    // Half a message, and nothing at all, end a session and no more.
    for bytes in [&b"0010\nhalf"[..], b"00", b""] {
        let mut stream = connect(domain.key);
        stream.write_all(bytes).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("closed");
        assert!(!matches!(verdict(&mut stream), Heard::Text(_)));
    }
    alive(&domain);
}

#[test]
fn an_error_of_the_client_is_answered_and_ends_it() {
    let domain = Domain::new(&users());
    let mut stream = connect(domain.key);
    send(&mut stream, b"1").expect("sent");
    send_error(&mut stream, "no authentication information").expect("sent");
    let answer = "remote: missing your authentication data";
    assert_eq!(verdict(&mut stream), Heard::Error(answer.to_owned()));
    hung_up(&stream);
    alive(&domain);
}

#[test]
fn messages_instead_of_ok_are_skipped_eight_times() {
    let domain = Domain::new(&users());
    let mine = domain.issue("alice");
    let bent = Bent {
        status: some("not yet"),
        ..Bent::default()
    };
    for (more, good) in [(3, true), (100, false)] {
        let mut stream = connect(domain.key);
        let done = authenticate(&mut stream, &mine, &bent).expect("authenticated");
        for _ in 0..more {
            let _ = send(&mut stream, b"not yet");
        }
        let _ = send(&mut stream, b"OK");
        let _ = send(&mut stream, b"sha1/rc4_256");
        let mut records = Records::new(stream);
        records.protect(&done.secret, true, Some(&done.secret));
        match good {
            true => assert_eq!(
                Session::start(records)
                    .expect("a session")
                    .check(b"alice in wonderland"),
                Ok(0)
            ),
            false => assert!(verdict(&mut records.stream) != Heard::Text(b"OK".to_vec())),
        }
    }
    alive(&domain);
}

#[test]
fn only_both_algorithms_make_a_session() {
    let domain = Domain::new(&users());
    let mine = domain.issue("alice");
    for line in [
        " ",
        "/",
        " / ",
        "sha1",
        "rc4_256",
        "none",
        "clear",
        "sha1 none",
        "sha1/rc4_128",
        "SHA1/RC4_256",
        "md5/rc4_256",
        "sha/rc4_256",
        "sha1,rc4_256",
        "sha1/rc4_256/rc4_40",
        "",
    ] {
        let mut records = session(connect(domain.key), &mine, line).expect("STS");
        // In whatever mode the client believes to be: nothing is answered.
        let _ = records.send(&interop_tests::inferno::ninep::message(
            100,
            u16::MAX,
            &[&8216u32.to_le_bytes(), &[6, 0], b"9P2000"],
        ));
        hung_up(&records.stream);
    }
    for line in ["sha1 rc4_256", "rc4_256/sha1", "/sha1// rc4_256 sha1"] {
        let records = session(connect(domain.key), &mine, line).expect("STS");
        let mut alice = Session::start(records).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        assert_eq!(alice.check(b"alice in wonderland"), Ok(0), "{line:?}");
    }
}

#[test]
fn weak_algorithms_can_be_allowed_but_never_none() {
    let domain = Domain::new(&users());
    let mine = domain.issue("alice");
    for (line, good) in [
        ("sha1", true),
        ("rc4_256", true),
        ("sha1/rc4_256", true),
        ("/", false),
        (" ", false),
        ("rc4_128", false),
        ("none", false),
    ] {
        let (stream, _child, mut log) = as_inetd(&domain.root, "keysrv", &["--allow-weak-alg"]);
        let records = session(stream, &mine, line).expect("STS");
        let session = Session::start(records);
        assert_eq!(session.is_ok(), good, "{line:?}");
        if let Ok(mut alice) = session {
            assert_eq!(alice.check(b"alice in wonderland"), Ok(0), "{line:?}");
        } else if line.contains('_') || line == "none" {
            log.expect(&format!(
                "keysrv: can't authenticate: unsupported client algorithm: {line}"
            ));
        }
    }
}

#[test]
fn a_bad_record_ends_its_session_only() {
    let domain = Domain::new(&users());
    let mine = domain.issue("alice");
    let mut neighbour = domain.session_of("bob");
    let open = || {
        let mut stream = connect(domain.key);
        let done = authenticate(&mut stream, &mine, &Bent::default()).expect("STS");
        send(&mut stream, b"sha1/rc4_256").expect("sent");
        (stream, done.secret)
    };
    let version = interop_tests::inferno::ninep::message(
        100,
        u16::MAX,
        &[&8216u32.to_le_bytes(), &[6, 0], b"9P2000"],
    );
    let sealed = |secret: &[u8], number: u32, pad: usize| {
        let mut data = version.clone();
        data.resize(version.len() + pad, 7);
        let mut body = digest(secret, &data, number).to_vec();
        body.extend_from_slice(&data);
        Rc4::new(secret).apply(&mut body);
        body
    };
    let framed = |body: &[u8]| {
        let length = u16::try_from(body.len()).expect("short") | 0x8000;
        [&length.to_be_bytes()[..], body].concat()
    };
    type Forge<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let cases: [(&str, Forge<'_>); 7] = [
        // The original never answers anybody again.
        ("empty", &|_| vec![0x80, 0]),
        ("shorter than a digest", &|_| framed(&[1; 19])),
        ("a digest and nothing", &|_| framed(&[1; 20])),
        ("a changed octet", &|secret| {
            let mut body = sealed(secret, 0, 0);
            body[25] ^= 1;
            framed(&body)
        }),
        ("another number", &|secret| framed(&sealed(secret, 1, 0))),
        ("more padding than data", &|secret| {
            let body = sealed(secret, 0, 0);
            [&[0, body.len() as u8, 200][..], &body].concat()
        }),
        ("in clear", &|_| framed(&version)),
    ];
    for (what, forge) in cases {
        let (mut stream, secret) = open();
        stream.write_all(&forge(&secret)).expect("sent");
        hung_up(&stream);
        assert_eq!(neighbour.check(b"bob the builder"), Ok(0), "after {what}");
    }
    // A padded record is in order, though nobody pads for RC4.
    let (mut stream, secret) = open();
    let body = sealed(&secret, 0, 5);
    let record = [&[0, body.len() as u8, 5][..], &body].concat();
    stream.write_all(&record).expect("sent");
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("an answer");
    assert_eq!(head[0] & 0x80, 0x80);
}

#[test]
fn a_record_sent_twice_ends_the_session() {
    let domain = Domain::new(&users());
    let mut alice = domain.session_of("alice");
    let records = &mut alice.client.carrier;
    let request = interop_tests::inferno::ninep::message(116, 1, &[&[0; 16]]);
    let record = records.seal(&request);
    records.stream.write_all(&record).expect("sent");
    assert!(records.receive().is_some(), "an answer");
    records.stream.write_all(&record).expect("sent");
    hung_up(&records.stream);
    alive(&domain);
}

#[test]
fn names_that_are_paths_are_nobody() {
    let domain = Domain::new(&users());
    let long = "a".repeat(256);
    for owner in [
        "alice/../bob",
        "../keys/bob",
        "bob/",
        "/bob",
        "..",
        ".",
        "bob\u{1}",
        "b\u{7f}b",
        &long,
    ] {
        let mut session = domain.session_of(owner);
        let mut wanted = format!("user not registered: {owner}");
        if wanted.len() > 126 {
            // As the original cuts it.
            wanted.truncate(123);
            wanted.push_str("...");
        }
        let wanted = Err(wanted);
        assert_eq!(session.check(b"bob the builder"), wanted);
        assert_eq!(session.change(b"bob the builder", b"a new secret"), wanted);
    }
    assert_eq!(domain.root.users(MASTER), users(), "nothing has changed");
}

#[test]
fn a_key_below_the_floor_is_refused() {
    let domain = Domain::new(&users());
    let key = Key::new("alice", 512);
    let mine = domain.signer.issue_for(key, 0);
    let mut stream = connect(domain.key);
    assert!(
        authenticate(&mut stream, &mine, &Bent::default()).is_ok(),
        "512 bits are the floor"
    );
    let (mut stream, _child, _log) = as_inetd(&domain.root, "keysrv", &["--min-bits", "1024"]);
    let refused = match authenticate(&mut stream, &mine, &Bent::default()) {
        Ok(_) => verdict(&mut stream),
        Err(text) => Heard::Error(text),
    };
    assert!(matches!(refused, Heard::Error(_)), "{refused:?}");
}

#[test]
fn certificates_by_md5_need_an_option() {
    let domain = Domain::new(&users());
    let key = Key::new("alice", 1024);
    let mut mine = domain.signer.issue_for(key, 0);
    let public = mine.key.public();
    let signer = &domain.signer.key;
    mine.certificate = signer.certify_as("signer.example", "md5", public.as_bytes(), 0);
    let (mut stream, _child, _log) = as_inetd(&domain.root, "keysrv", &[]);
    let refused = match authenticate(&mut stream, &mine, &Bent::default()) {
        Ok(_) => verdict(&mut stream),
        Err(text) => Heard::Error(text),
    };
    assert!(matches!(refused, Heard::Error(_)), "{refused:?}");
    let (mut stream, _child, _log) = as_inetd(&domain.root, "keysrv", &["--allow-weak-cert"]);
    assert!(authenticate(&mut stream, &mine, &Bent::default()).is_ok());
}

#[test]
fn a_thousand_broken_clients_leave_nothing_behind() {
    let domain = Domain::new(&users());
    for n in 0..1000 {
        let mut stream = connect(domain.key);
        let _ = stream.write_all(match n % 4 {
            0 => b"0001\n1".as_slice(),
            1 => b"\x80\x00",
            2 => b"!005\nhello",
            _ => b"",
        });
    }
    alive(&domain);
}
