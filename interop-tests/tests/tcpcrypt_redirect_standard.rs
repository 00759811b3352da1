//! Redirect mode (`-e`) where both ends speak the standard: what the wire shows of it, who speaks what with whom, and
//! what programs are told. That everything else holds as in the original's dialect is in `tcpcrypt_redirect.rs`.

use std::io::Write;

use interop_tests::lab::applications::{accept, exchange, local, read_exactly, remote, talk};
use interop_tests::lab::case::case;
use interop_tests::lab::control::{CACHE_FLUSH, CIPHER, DIALECT, KEY_EXCHANGE, ROLE};
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::redirect::Mode::{self, Divert, Redirect, RedirectByProgram};
use interop_tests::lab::redirect::{Speech, agreed_id, speaking};
use interop_tests::lab::scenarios::{ANSWER, QUESTION, assert_secret, close_both};
use interop_tests::lab::segment::{SYN, Segment};
use interop_tests::lab::wire_checks::{INIT1, INIT2};
use interop_tests::lab::{PORT, Settings};
use interop_tests::wait::SOON;

/// The option of the segments behind the SYN.
const BARE: [u8; 2] = [69, 2];

/// RFC 8547 section 4: each segment has the option until one without SYN has come, and the passive opener's says so.
#[test]
fn redirect_the_standard_looks_as_its_rfc_says() {
    let name = "redirect_the_standard_looks_as_its_rfc_says";
    for speech in [Speech::STANDARD, Speech::STANDARD_IPV6] {
        speaking(name, speech, |lab, client, server| {
            let listener = lab.server.listen(PORT);
            for round in 0..3 {
                let tap = lab.tap();
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                // More than a segment, in one go.
                (&near).write_all(&[b'x'; 100_000]).expect("writing");
                read_exactly(&far, &[b'x'; 100_000]).expect("reading");
                close_both(near, far);
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                agreed_id(client, server, &near);
                close_both(near, far);
                assert_secret(&tap);
                let seen = tap.segments();
                check_opening(&seen, round == 0);
            }
        });
    }
}

/// The first connection of a capture.
fn check_opening(seen: &[Segment], is_exchange: bool) {
    let port = seen.first().expect("a SYN").source.port();
    let first = seen
        .iter()
        .filter(|s| s.source.port() == port || s.destination.port() == port);
    let (mut answered, mut checked) = (false, 0);
    for segment in first {
        let by_client = segment.source.port() == port;
        match (by_client, segment.has(SYN)) {
            (true, true) => assert_eq!(segment.eno().expect("an offer")[0], 69),
            (false, true) => {
                let answer = segment.eno().expect("an answer");
                assert_eq!((answer[0], answer[2]), (69, 1), "the passive role");
            }
            (false, false) => answered = true,
            (true, false) if !answered => {
                assert_eq!(segment.eno(), Some(&BARE[..]), "{segment:?}");
                assert_eq!(is_exchange, segment.payload.starts_with(&INIT1));
                checked += 1;
            }
            (true, false) => {}
        }
    }
    assert!(checked > 0 && answered);
    let has_init2 = seen.iter().any(|s| s.payload.starts_with(&INIT2));
    assert_eq!(has_init2, is_exchange);
}

/// RFC 8548 section 3.5: a program can have the session forgotten that its connection leaves behind.
#[test]
fn redirect_a_session_is_forgotten() {
    let name = "redirect_a_session_is_forgotten";
    speaking(name, Speech::STANDARD, |lab, client, server| {
        let listener = lab.server.listen(PORT);
        for forgets in [false, true] {
            let (near, far) = lab.connect_to(&listener).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            agreed_id(client, server, &near);
            if forgets {
                let (from, to) = (local(&near), remote(&near));
                let reply = client.client().set(CACHE_FLUSH, from, to, 1);
                assert_eq!(reply.expect("a reply").error, 0);
            }
            close_both(near, far);
            let tap = lab.tap();
            let (near, far) = lab.connect_to(&listener).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            close_both(near, far);
            let seen = tap.segments();
            let anew = seen.iter().any(|s| s.payload.starts_with(&INIT2));
            assert_eq!(anew, forgets);
        }
    });
}

/// Who speaks what with whom: the rows of tcpcrypt spec 7.7, with a proxy at either end or both.
#[test]
fn redirect_who_speaks_what_with_whom() {
    let name = "redirect_who_speaks_what_with_whom";
    let (legacy, standard) = (Some("legacy"), Some("rfc8548"));
    for (opener, other, dialect) in [
        ("legacy", "legacy", legacy),
        ("legacy", "auto", legacy),
        ("legacy", "rfc", None),
        ("auto", "legacy", legacy),
        ("auto", "auto", standard),
        ("auto", "rfc", standard),
        ("auto", "off", None),
        ("rfc", "auto", standard),
        ("rfc", "rfc", standard),
        ("rfc", "legacy", None),
        ("off", "auto", None),
    ] {
        let all_modes = [
            (Redirect, Redirect),
            (Redirect, Divert),
            (Divert, Redirect),
            (RedirectByProgram, RedirectByProgram),
        ];
        let is_possible = |modes: &(Mode, Mode)| modes.0.is_possible() && modes.1.is_possible();
        for modes in all_modes.into_iter().filter(is_possible) {
            case(name, Settings::default(), |lab, pair| {
                eprintln!("{opener} {other} {modes:?}");
                let [opener, other] = [opener, other].map(|eno| format!("--eno={eno}"));
                let start = |host, mode: Mode, eno: &str| {
                    let mut options = mode.options(&["-v"]);
                    let eno: &'static str = Box::leak(eno.to_owned().into_boxed_str());
                    options.push(eno);
                    mode.rules(host);
                    Daemon::start(host, pair.client, &options)
                };
                let client = start(&lab.client, modes.0, &opener);
                let server = start(&lab.server, modes.1, &other);
                let tap = lab.tap();
                let listener = lab.server.listen(PORT);
                for _ in 0..3 {
                    let (near, far) = lab.connect_to(&listener).expect("connecting");
                    talk(&near, &far, QUESTION, ANSWER).expect("talking");
                    match dialect {
                        Some(dialect) => {
                            agreed_id(&client, &server, &near);
                            assert_eq!(client.about(&near, DIALECT), dialect);
                        }
                        None => assert_eq!((client.netstat(), server.netstat()), (vec![], vec![])),
                    }
                    close_both(near, far);
                }
                match dialect {
                    Some(_) => assert_secret(&tap),
                    None => assert!(tap.contains(QUESTION)),
                }
                client.assert_well("the test");
                server.assert_well("the test");
            });
        }
    }
}

/// Every key exchange and cipher, and what programs are told of them.
#[test]
fn redirect_every_key_exchange_and_cipher() {
    let name = "redirect_every_key_exchange_and_cipher";
    for (tep, exchange_name, aead, cipher) in [
        (
            "-C0x21",
            "TCPCRYPT_ECDHE_P256",
            "--aead=aes-128-gcm",
            "AEAD_AES_128_GCM",
        ),
        (
            "-C0x22",
            "TCPCRYPT_ECDHE_P521",
            "--aead=aes-256-gcm",
            "AEAD_AES_256_GCM",
        ),
        (
            "-C0x23",
            "TCPCRYPT_ECDHE_Curve25519",
            "--aead=chacha20-poly1305",
            "AEAD_CHACHA20_POLY1305",
        ),
        (
            "-C0x24",
            "TCPCRYPT_ECDHE_Curve448",
            "--aead=aes-256-gcm",
            "AEAD_AES_256_GCM",
        ),
    ] {
        case(name, Speech::STANDARD_IPV6.settings(), |lab, pair| {
            let options = Redirect.options(&["-v", "--eno=rfc", tep, aead]);
            let client = Daemon::start(&lab.client, pair.client, &options);
            let server = Daemon::start(&lab.server, pair.server, &options);
            lab.redirect(&PORT.to_string());
            let listener = lab.server.listen(PORT);
            // Both families at the same time.
            for to in [lab.server_address(PORT), (lab.server.address, PORT).into()] {
                for _ in 0..3 {
                    let near = lab.client.connect(to).expect("connecting");
                    let far = accept(&listener, SOON).expect("accepting");
                    talk(&near, &far, QUESTION, ANSWER).expect("talking");
                    assert_eq!(remote(&far).ip().to_canonical(), local(&near).ip());
                    assert_eq!(client.about(&near, KEY_EXCHANGE), exchange_name);
                    assert_eq!(client.about(&near, CIPHER), cipher);
                    assert_eq!(client.about(&near, DIALECT), "rfc8548");
                    assert_eq!(client.about(&near, ROLE), "A");
                    assert_eq!(server.about(&far, ROLE), "B");
                    exchange(&near, &far, 300_000, 300_000).expect("exchanging");
                }
            }
        });
    }
}

/// What is needed to read a capture.
#[test]
fn redirect_keys_are_logged_where_it_is_asked_for() {
    let name = "redirect_keys_are_logged_where_it_is_asked_for";
    case(name, Settings::default(), |lab, pair| {
        let paths = lab.hosts().map(|host| host.dir().join("keys"));
        let options = Redirect.options(&["-v", "--eno=rfc"]);
        let hosts = [(&lab.client, pair.client), (&lab.server, pair.server)];
        let _daemons: Vec<_> = hosts
            .into_iter()
            .zip(&paths)
            .map(|((host, implementation), path)| {
                let keys = [("TCPCRYPT_KEYLOG", path.as_os_str())];
                Daemon::start_in(host, implementation, &options, &keys)
            })
            .collect();
        lab.redirect(&PORT.to_string());
        let (near, far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        let secrets = paths.map(|path| {
            let text = std::fs::read_to_string(path).expect("a file");
            let keys: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            keys["es"].as_str().expect("the secret").to_owned()
        });
        assert_eq!(secrets[0], secrets[1]);
    });
}
