//! All recorded client certificate cases (interop-tests/vectors/kxd/outcomes.json): what the
//! original said about each of them in its log, the rules have to say too, except where the project
//! decides otherwise (kxd spec 12, D1).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset, SecondsFormat};
use kx_cert::anchors::{self, Anchors};
use kx_cert::{Certificate, client_chain, pem, verify};
use serde_json::Value;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop-tests/vectors/kxd")
}

fn now() -> DateTime<FixedOffset> {
    "2026-11-21T01:28:39.25+01:00".parse().unwrap()
}

/// What happens to a client with these certificates.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The handshake fails with this text.
    Handshake(String),
    /// `allowed_clients` cannot be used.
    NoAnchors(String),
    /// Refused: the certificate and why.
    Refused(String, String),
    /// Allowed: the certificate.
    Allowed(String),
}

fn judge(sent: &[u8], allowed_clients: &[u8]) -> Outcome {
    let sent: Vec<Vec<u8>> = pem::blocks(sent).map(|block| block.der).collect();
    let chain = match client_chain::parse(sent.iter().map(Vec::as_slice)) {
        Ok(chain) => chain,
        Err(error) => return Outcome::Handshake(error.to_string()),
    };
    let (leaf, intermediates) = chain.split_first().unwrap();
    let anchors = match Anchors::load(allowed_clients, leaf) {
        Ok(anchors) => anchors,
        Err(error) => {
            assert!(anchors::parse_allowed_clients(allowed_clients).is_err());
            return Outcome::NoAnchors(error.to_string());
        }
    };
    let verdict = anchors.verify(leaf, intermediates, &now());

    // The short way over the octets and the long way over all certificates of the file have to
    // agree.
    let all = anchors::parse_allowed_clients(allowed_clients).unwrap();
    assert_eq!(
        verdict,
        verify::verify(leaf, &all, intermediates, None, &now())
    );

    match verdict {
        Ok(chains) => {
            assert!(!chains.is_empty());
            for chain in &chains {
                assert_eq!(chain.first(), Some(leaf));
                assert!(all.contains(chain.last().unwrap()));
            }
            Outcome::Allowed(leaf.short())
        }
        Err(error) => Outcome::Refused(leaf.short(), error.to_string()),
    }
}

/// The outcome that the original's log tells of. `None` when the client of the recording never got
/// as far.
fn recorded(case: &Value) -> Option<Outcome> {
    let log: Vec<&str> = case["log"]
        .as_array()?
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    for line in &log {
        if let Some((_, name)) = line.split_once(" Allowing request to ") {
            return Some(Outcome::Allowed(name.to_owned()));
        }
        if let Some((_, text)) = line.split_once(" Error loading certs: ") {
            return Some(Outcome::NoAnchors(text.to_owned()));
        }
        if let Some((_, rest)) = line.split_once("   0: ") {
            let at = rest.find(") x509: ").unwrap() + 1;
            let (name, error) = rest.split_at(at);
            return Some(Outcome::Refused(
                name.to_owned(),
                error.trim_start().to_owned(),
            ));
        }
        if let Some((_, text)) = line.split_once(": tls: failed to parse client certificate: ") {
            let text = format!("tls: failed to parse client certificate: {text}");
            return Some(Outcome::Handshake(text));
        }
    }
    None
}

/// Where the recording says nothing, or the project decides otherwise.
fn wanted() -> BTreeMap<&'static str, Outcome> {
    let parse_error = |text: &str| {
        Outcome::Handshake(format!(
            "tls: failed to parse client certificate: x509: {text}"
        ))
    };
    let refused =
        |name: &str, text: &str| Outcome::Refused(name.to_owned(), format!("x509: {text}"));
    let allowed = |name: &str| Outcome::Allowed(name.to_owned());
    BTreeMap::from([
        // The test client refused to send these; the original's text is known from its source.
        (
            "self-badutf8",
            parse_error("invalid RDNSequence: invalid attribute value: invalid UTF-8 string"),
        ),
        (
            "self-dup-ext",
            parse_error(r#"certificate contains duplicate extension with OID "2.5.29.19""#),
        ),
        ("self-k256", parse_error("unsupported elliptic curve")),
        (
            "self-ed448",
            Outcome::Handshake(
                "tls: client certificate contains an unsupported public key of type <nil>".into(),
            ),
        ),
        // These work in TLS 1.2, where the client of the recording did not try.
        ("self-p224", allowed("(0x303c021c O=self-p224)")),
        ("self-rsa512", allowed("(0x685af3f9 O=self-rsa512)")),
        // D1: only the first certificate is judged; the others may be intermediates.
        (
            "chain-attacker-plus-allowed",
            refused(
                "(0xbbb74d78 O=B)",
                "certificate signed by unknown authority",
            ),
        ),
        ("int-root-allowed-chain", allowed("(0x5fd48186 O=leafI)")),
        (
            "int-nonca-chain",
            refused(
                "(0xabf770e6 O=x)",
                "certificate signed by unknown authority (possibly because of \"x509: invalid \
                 signature: parent certificate cannot sign this kind of certificate\" while \
                 trying to verify candidate authority certificate \"ee\")",
            ),
        ),
        // Refused by both, but the original does not look at the intermediate.
        (
            "int-eku-client-chain",
            refused(
                "(0x222d5d41 O=x)",
                "certificate specifies an incompatible key usage",
            ),
        ),
    ])
}

#[test]
fn every_recorded_case() {
    let outcomes = fs::read_to_string(vectors().join("outcomes.json")).unwrap();
    let outcomes: Value = serde_json::from_str(&outcomes).unwrap();
    let cases = outcomes["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 124);
    let mut wanted = wanted();
    let shown_now = now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut wrong = Vec::new();
    for (name, case) in cases {
        let directory = vectors().join("clientcerts").join(name);
        let sent = fs::read(directory.join("cert.pem")).unwrap();
        let allowed_clients = fs::read(directory.join("allowed_clients")).unwrap();
        let mut outcome = judge(&sent, &allowed_clients);
        if let Outcome::Refused(_, text) = &mut outcome {
            *text = text.replace(&shown_now, "NOW");
        }
        let expected = match wanted.remove(name.as_str()) {
            Some(ours) => {
                if let Some(status) = case["want"].as_str() {
                    assert_eq!(
                        matches!(ours, Outcome::Allowed(_)),
                        status == "200 OK",
                        "{name}"
                    );
                }
                ours
            }
            None => {
                let (status, want) = (case["status"].as_str(), case["want"].as_str());
                assert!(
                    want.is_none() || want == status,
                    "{name}: the decision is not in wanted()"
                );
                recorded(case).unwrap_or_else(|| panic!("{name}: nothing recorded"))
            }
        };
        if outcome != expected {
            wrong.push(format!(
                "{name}\n     got {outcome:?}\n  wanted {expected:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(wanted.is_empty(), "no such cases: {:?}", wanted.keys());
}

#[test]
fn validity_ends_with_its_last_second() {
    let text = fs::read(vectors().join("clientcerts/self-expired/cert.pem")).unwrap();
    let leaf = Certificate::parse(&pem::blocks(&text).next().unwrap().der).unwrap();
    let at = |text: &str| {
        let now = text.parse().unwrap();
        verify::verify(&leaf, std::slice::from_ref(&leaf), &[], None, &now)
            .map_err(|error| error.to_string())
    };
    assert!(at("2021-01-01T00:00:00Z").is_ok());
    let end = "x509: certificate has expired or is not yet valid: current time ";
    assert_eq!(
        at("2021-01-01T00:00:00.000000001Z").unwrap_err(),
        format!("{end}2021-01-01T00:00:00Z is after 2021-01-01T00:00:00Z")
    );
    assert_eq!(
        at("2021-01-01T02:00:01+02:00").unwrap_err(),
        format!("{end}2021-01-01T02:00:01+02:00 is after 2021-01-01T00:00:00Z")
    );
    assert!(leaf.is_expired(&"2021-01-01T00:00:01Z".parse().unwrap()));
    assert!(!leaf.is_expired(&leaf.not_after()));
}
