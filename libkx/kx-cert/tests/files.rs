//! Certificate files: PEM as `allowed_clients` may hold it, places for `--check`, and pairs of
//! certificate and key.

use std::fs;
use std::path::{Path, PathBuf};

use kx_cert::anchors::{self, EntryProblem};
use kx_cert::pair::{self, PairError};
use kx_cert::pem::{self, Reason};
use kx_cert::{Certificate, ParseError, PublicKeyError};
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use proptest::prelude::*;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../interop-tests/vectors/kxd/clientcerts")
        .join(name)
}

fn read(name: &str, file: &str) -> Vec<u8> {
    fs::read(case(name).join(file)).unwrap()
}

fn certificates(text: &[u8]) -> usize {
    anchors::parse_allowed_clients(text).map_or(0, |all| all.len())
}

#[test]
fn verdicts_on_files() {
    for (name, count) in [
        ("file-baddr-then-good", 1),
        ("file-bom", 0),
        ("file-bom-then-two", 1),
        ("file-cr", 0),
        ("file-crlf", 1),
        ("file-der", 0),
        ("file-empty", 0),
        ("file-good-then-truncated", 1),
        ("file-header", 0),
        ("file-key-then-cert", 1),
        ("file-trusted-label", 0),
        ("file-twice", 2),
    ] {
        assert_eq!(
            certificates(&read(name, "allowed_clients")),
            count,
            "{name}"
        );
    }
}

#[test]
fn places_and_reasons() {
    let good = String::from_utf8(read("self-p256", "cert.pem")).unwrap();
    let lines = good.lines().count();
    let curve = String::from_utf8(read("self-k256", "cert.pem")).unwrap();
    let text = format!(
        "# comment\n-----BEGIN CERTIFICATE-----\nAAAA\n{good}-----BEGIN OTHER-----\n-----END OTHER-----\n \
         -----BEGIN CERTIFICATE-----\n{curve}-----BEGIN CERTIFICATE-----\nA: b\n\n-----END CERTIFICATE-----\n\
         -----BEGIN CERTIFICATE-----\nA!A\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nAAAA\n"
    );
    let curve_lines = curve.lines().count();
    let found: Vec<(usize, String)> = anchors::entries(text.as_bytes())
        .into_iter()
        .map(|entry| {
            let verdict = entry.verdict.map(|certificate| certificate.subject_log());
            (
                entry.line,
                verdict.unwrap_or_else(|problem| format!("{problem}")),
            )
        })
        .collect();
    let second = 4 + lines;
    let third = second + 3 + curve_lines;
    let expected: Vec<(usize, String)> = [
        (2, "BEGIN has no END line"),
        (4, "O=self-p256"),
        (second, "block is labelled \"OTHER\", not \"CERTIFICATE\""),
        (second + 2, "BEGIN does not stand at the start of its line"),
        (second + 3, "x509: unsupported elliptic curve"),
        (third, "block has header lines"),
        (third + 4, "the content is not base64"),
        (third + 7, "BEGIN has no END line"),
    ]
    .map(|(line, text)| (line, text.to_owned()))
    .to_vec();
    assert_eq!(found, expected);
}

#[test]
fn a_block_that_ends_otherwise_has_its_line_told() {
    let text = b"\n-----END X-----\n-----BEGIN A-----\nAAAA\n-----END B-----\n-----BEGIN A\nAAAA\n-----END A-----\n";
    let found: Vec<(usize, Reason)> = pem::items(text)
        .into_iter()
        .map(|item| match item {
            pem::Item::Malformed(malformed) => (malformed.line, malformed.reason),
            pem::Item::Block(block) => panic!("{block:?}"),
        })
        .collect();
    assert_eq!(
        found,
        [
            (2, Reason::NoBegin),
            (3, Reason::EndDiffers),
            (6, Reason::BeginNotClosed)
        ]
    );
}

fn key_pem(label: &str, der: &[u8]) -> Vec<u8> {
    pem::encode(label, der).into_bytes()
}

fn private_key(name: &str) -> PKey<Private> {
    PKey::private_key_from_pem(&read(name, "key.pem")).unwrap()
}

#[test]
fn pairs_of_every_kind() {
    for (name, id) in [
        ("self-p224", Id::EC),
        ("self-p256", Id::EC),
        ("self-p384", Id::EC),
        ("self-p521", Id::EC),
        ("self-ed25519", Id::ED25519),
        ("self-rsa1024", Id::RSA),
        ("self-rsa3072", Id::RSA),
        ("self-v1", Id::RSA),
        ("self-serial-negative", Id::RSA),
    ] {
        let certificate = read(name, "cert.pem");
        let pair = pair::load(&certificate, &read(name, "key.pem")).unwrap();
        assert_eq!((pair.key.id(), pair.chain.len()), (id, 1), "{name}");
        assert_eq!(pair.chain[0].to_der().unwrap(), pair.leaf.der());

        let key = private_key(name);
        let pkcs8 = key_pem("PRIVATE KEY", &key.private_key_to_pkcs8().unwrap());
        assert_eq!(
            pair::load(&certificate, &pkcs8).unwrap().key.id(),
            id,
            "{name}"
        );
        let old_form = match id {
            Id::RSA => key_pem(
                "RSA PRIVATE KEY",
                &key.rsa().unwrap().private_key_to_der().unwrap(),
            ),
            Id::EC => key_pem(
                "EC PRIVATE KEY",
                &key.ec_key().unwrap().private_key_to_der().unwrap(),
            ),
            _ => continue,
        };
        assert_eq!(
            pair::load(&certificate, &old_form).unwrap().key.id(),
            id,
            "{name}"
        );
    }
}

#[test]
fn the_chain_is_sent_whole_and_the_first_key_counts() {
    let chain = read("int-allowed-chain", "cert.pem");
    let key = read("int-allowed-chain", "key.pem");
    let mut keys = key_pem("JUNK", b"x");
    keys.extend_from_slice(&key);
    keys.extend_from_slice(&read("self-p256", "key.pem"));
    let pair = pair::load(&chain, &keys).unwrap();
    assert_eq!(pair.chain.len(), 2);
    assert_eq!(pair.leaf.subject_log(), "O=leafI");
}

#[test]
fn texts_of_bad_pairs() {
    let certificate = read("self-p256", "cert.pem");
    let key = read("self-p256", "key.pem");
    let error = |certificate: &[u8], key: &[u8]| {
        pair::load(certificate, key)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let both = [key.as_slice(), key.as_slice()].concat();
    let rsa = key_pem(
        "RSA PRIVATE KEY",
        &Rsa::generate(2048).unwrap().private_key_to_der().unwrap(),
    );
    let x25519 = PKey::generate_x25519()
        .unwrap()
        .private_key_to_pkcs8()
        .unwrap();
    for (text, certificate, key) in [
        (
            "tls: failed to find any PEM data in certificate input",
            &b"x"[..],
            &key[..],
        ),
        (
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs \
             may have been switched",
            &key,
            &certificate,
        ),
        (
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the \
             following types: [PRIVATE KEY PRIVATE KEY]",
            &both,
            &key,
        ),
        (
            "tls: failed to find any PEM data in key input",
            &certificate,
            b"",
        ),
        (
            "tls: found a certificate rather than a key in the PEM for the private key",
            &certificate,
            &certificate,
        ),
        (
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks \
             of the following types: [A B]",
            &certificate,
            &[key_pem("A", b""), key_pem("B", b"")].concat(),
        ),
        (
            "x509: malformed tbs certificate",
            &key_pem("CERTIFICATE", &[0x30, 0]),
            &key,
        ),
        (
            "tls: failed to parse private key",
            &certificate,
            &key_pem("PRIVATE KEY", b"junk"),
        ),
        (
            "tls: found unknown private key type in PKCS#8 wrapping",
            &certificate,
            &key_pem("PRIVATE KEY", &x25519),
        ),
        (
            "tls: private key does not match public key",
            &certificate,
            &read("self-p384", "key.pem"),
        ),
        (
            "tls: private key type does not match public key type",
            &certificate,
            &rsa,
        ),
        (
            "tls: unknown public key algorithm",
            &read("self-ed448", "cert.pem"),
            &key,
        ),
    ] {
        assert_eq!(error(certificate, key), text);
    }
    let other = key_pem(
        "RSA PRIVATE KEY",
        &Rsa::generate(1024).unwrap().private_key_to_der().unwrap(),
    );
    assert_eq!(
        pair::load(&read("self-rsa1024", "cert.pem"), &other).unwrap_err(),
        PairError::Mismatch
    );
}

#[test]
fn parse_errors_have_types() {
    let text = read("self-k256", "cert.pem");
    let block = pem::blocks(&text).next().unwrap();
    assert_eq!(
        Certificate::parse(&block.der).unwrap_err(),
        ParseError::PublicKey(PublicKeyError::UnsupportedCurve)
    );
    let entry = anchors::entries(&text).remove(0);
    assert!(matches!(entry.verdict, Err(EntryProblem::Certificate(_))));
}

/// The certificates of all cases, in DER.
fn all_certificates() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(case("")).unwrap() {
        let text = fs::read(entry.unwrap().path().join("cert.pem")).unwrap();
        all.extend(pem::blocks(&text).map(|block| block.der));
    }
    all.sort();
    all.dedup();
    assert!(all.len() > 80);
    all
}

/// All verdicts on one certificate, good or bad; for the tests that ask for nothing but an end
/// without a panic.
fn exercise(der: &[u8]) {
    if let Ok(certificate) = Certificate::parse(der) {
        let now = "2026-11-21T00:00:00Z".parse().unwrap();
        let _ = (
            certificate.short(),
            certificate.subject_full(),
            certificate.serial_text(),
        );
        let pool = [certificate.clone()];
        let name = kx_cert::ServerName::new("localhost");
        let _ = kx_cert::verify::verify(&certificate, &pool, &[], Some(&name), &now);
        let _ = kx_cert::verify::verify(&certificate, &[], &pool, None, &now);
    }
}

#[test]
fn cut_certificates_never_parse() {
    let all = all_certificates();
    for der in all.iter().step_by(10) {
        for end in 0..der.len() {
            assert!(Certificate::parse(&der[..end]).is_err());
        }
        let mut longer = der.clone();
        longer.push(0);
        // A certificate that was bad before is bad for its first reason.
        match Certificate::parse(der) {
            Ok(_) => assert_eq!(Certificate::parse(&longer), Err(ParseError::TrailingData)),
            Err(error) => assert_eq!(Certificate::parse(&longer), Err(error)),
        }
    }
}

proptest! {
    #[test]
    fn pem_gives_back_what_was_written(
        contents in prop::collection::vec(
            ("[A-Z][A-Z0-9 ]{0,12}", prop::collection::vec(any::<u8>(), 0..200)), 0..5),
        between in "[ a-z\r\n#]{0,20}",
        crlf in any::<bool>(),
    ) {
        let mut text = String::new();
        for (label, der) in &contents {
            text.push_str(&between);
            text.push('\n');
            text.push_str(&pem::encode(label, der));
        }
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        let read: Vec<(String, Vec<u8>)> = pem::blocks(text.as_bytes())
            .map(|block| (String::from_utf8(block.label.to_vec()).unwrap(), block.der))
            .collect();
        prop_assert_eq!(read, contents);
    }

    #[test]
    fn pem_of_anything(text in prop::collection::vec(
        prop_oneof![
            Just("-----BEGIN A-----"), Just("-----END A-----"), Just("\n"), Just("\r\n"), Just("-----BEGIN "),
            Just("-----END "), Just("-----"), Just("AAAA"), Just("AA=="), Just("a: b"), Just(":"), Just(" "), Just("é"),
        ], 0..40)) {
        let text = text.concat();
        let blocks: Vec<_> = pem::blocks(text.as_bytes()).collect();
        let items: Vec<_> = pem::items(text.as_bytes()).into_iter().filter_map(|item| match item {
            pem::Item::Block(block) => Some(block),
            pem::Item::Malformed(_) => None,
        }).collect();
        prop_assert_eq!(blocks, items);
    }

    #[test]
    fn mutated_certificates(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        thread_local!(static ALL: Vec<Vec<u8>> = all_certificates());
        let mut der = ALL.with(|all| which.get(all).clone());
        for (place, octet) in changes {
            *{ let at = place.index(der.len()); &mut der[at] } = octet;
        }
        exercise(&der);
    }

    #[test]
    fn octets(der in prop::collection::vec(any::<u8>(), 0..300)) {
        exercise(&der);
    }
}
