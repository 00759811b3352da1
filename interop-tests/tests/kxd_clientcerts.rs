//! Which client certificate opens a key: every recorded case (vectors/kxd/clientcerts,
//! outcomes.json; kxd spec 3.1, 4.1, 4.2), in the highest TLS version and again in TLS 1.2.

use interop_tests::config::Config;
use interop_tests::daemon::{Kxd, kxd};
use interop_tests::http_text::Answer;
use interop_tests::subject::{Kind, subject};
use interop_tests::table::{Table, vectors, wanted_differences};
use interop_tests::tls_client::Client;
use openssl::pkey::PKey;
use openssl::ssl::SslVersion;
use openssl::x509::X509;
use serde_json::{Value, json};

/// Every case's allowed_clients, with the key `KEY`.
fn data_directory(table: &Table) -> Config {
    let config = Config::new();
    for name in table.names() {
        let allowed = vectors()
            .join("clientcerts")
            .join(&name)
            .join("allowed_clients");
        config.bare_key(&name, "KEY");
        let bytes = std::fs::read(allowed).expect("recorded allowed_clients");
        config.write(format!("data/{name}/allowed_clients"), bytes);
    }
    config
}

/// A client with the case's certificate list and key; the error is what the client's own
/// library says when it refuses the certificate.
fn client_of(case: &str, server: &Kxd) -> Result<Client, String> {
    let read = |file: &str| {
        let path = vectors().join("clientcerts").join(case).join(file);
        std::fs::read(path).expect("recorded certificate")
    };
    let unusable = |e: openssl::error::ErrorStack| format!("cannot load: {e}");
    let chain = X509::stack_from_pem(&read("cert.pem")).map_err(unusable)?;
    let key = PKey::private_key_from_pem(&read("key.pem")).map_err(unusable)?;
    Ok(server.client().identity(chain, key))
}

fn fetch(case: &str, server: &Kxd, version: Option<SslVersion>) -> Answer {
    let client = client_of(case, server).map(|c| match version {
        Some(v) => c.version(v),
        None => c,
    });
    let client = match client {
        Ok(client) => client,
        Err(error) => return Answer::failed(error),
    };
    // In 1.3 the server refuses after the client's handshake is done, so that the alert may be
    // lost to a reset when the request is under way already.
    let lost = |a: &Answer| {
        a.error
            .as_ref()
            .is_some_and(|e| e.contains("reset") || e.contains("Broken pipe"))
    };
    let mut answer = client.get(&format!("/v1/{case}"));
    for _ in 0..10 {
        if !lost(&answer) {
            break;
        }
        answer = client.get(&format!("/v1/{case}"));
    }
    answer
}

/// The case in the shape of outcomes.json.
fn outcome(answer: &Answer, log: &[String]) -> Value {
    match &answer.error {
        Some(e) if e.starts_with("cannot load") => json!({"client": "cannot load"}),
        Some(e) => json!({"error": format!("ssl:{e}")}),
        None => {
            let status = answer
                .status
                .strip_prefix("HTTP/1.1 ")
                .unwrap_or(&answer.status);
            json!({"status": status, "body": answer.body_text(), "log": log})
        }
    }
}

/// NOW in the error texts of validity.
fn without_time(lines: Vec<String>) -> Vec<String> {
    let one = |l: String| match l.split_once("current time ") {
        Some((head, tail)) => {
            let verdict = tail.split_once(" is ").map_or("", |(_, v)| v);
            format!("{head}current time NOW is {verdict}")
        }
        None => l,
    };
    lines.into_iter().map(one).collect()
}

fn normalised(name: &str, expected: &Value) -> Value {
    if name == "self-dup-ext" {
        // The client that made the record could not load this one; ours can, and the server
        // refuses to parse it (kxd spec 4.1).
        return json!({"error": "ssl:SSLV3_ALERT_BAD_CERTIFICATE"});
    }
    let mut expected = expected.clone();
    if expected["client"]
        .as_str()
        .is_some_and(|c| c.starts_with("cannot load"))
    {
        expected["client"] = json!("cannot load");
    }
    if let Ok(lines) = serde_json::from_value::<Vec<String>>(expected["log"].clone()) {
        expected["log"] = json!(without_time(lines));
    }
    expected
}

#[test]
fn every_recorded_certificate_has_its_recorded_outcome() {
    let mut table = Table::load("outcomes");
    let config = data_directory(&table);
    let server = kxd(&config).start();
    for name in table.names() {
        let expected = normalised(&name, &table.expected(&name));
        let answer = fetch(&name, &server, None);
        let wanted = expected["log"].as_array().map_or(0, Vec::len);
        let log = server.new_lines(if answer.error.is_some() { 0 } else { wanted });
        let log: Vec<String> = log
            .into_iter()
            .filter(|l| !l.starts_with("server.go"))
            .collect();
        let got = normalised(&name, &outcome(&answer, &without_time(log)));
        table.check_against(&name, &expected, &got);
    }
    table.finish();
}

/// What TLS 1.2 changes: the client may sign with keys that 1.3 has no scheme for, so these
/// certificates arrive (kxd spec 4.1, "Keys usable").
fn expected_in_1_2(name: &str, expected: Value) -> Value {
    let original = match name {
        "self-rsa512" | "self-p224" => json!({"status": "200 OK", "body": "KEY"}),
        "self-k256" | "self-ed448" => json!({"error": "ssl:SSLV3_ALERT_BAD_CERTIFICATE"}),
        _ => expected,
    };
    let ours = wanted_differences()["outcomes in TLS 1.2"][name].clone();
    if !ours.is_object() || subject().kind != Kind::Ours {
        return original;
    }
    assert_ne!(
        original["error"], ours["error"],
        "{name}: a stale wanted difference"
    );
    ours
}

#[test]
fn in_tls_1_2_the_outcomes_are_the_same_but_for_keys_only_1_2_can_use() {
    let mut table = Table::load("outcomes");
    let config = data_directory(&table);
    let server = kxd(&config).start();
    for name in table.names() {
        let expected = expected_in_1_2(&name, normalised(&name, &table.expected(&name)));
        let answer = fetch(&name, &server, Some(SslVersion::TLS1_2));
        let mut got = normalised(&name, &outcome(&answer, &[]));
        if let Some(fields) = got.as_object_mut() {
            fields.remove("log");
        }
        table.check_against(&name, &expected, &got);
    }
    table.finish();
}

#[test]
fn a_p224_certificate_is_accepted_in_1_2_from_a_client_that_offers_the_group() {
    let table = Table::load("outcomes");
    let config = data_directory(&table);
    let server = kxd(&config).start();
    let mut client = client_of("self-p224", &server).expect("client");
    client.version = Some(SslVersion::TLS1_2);
    client.groups = Some("X25519:P-256:P-224".to_owned());
    assert_eq!(client.get("/v1/self-p224").body, b"KEY");
}

#[test]
fn a_later_certificate_that_does_not_parse_ends_the_connection() {
    let config = Config::new();
    config.key("k", "KEY");
    let server = kxd(&config).start();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let mut client = server.client().version(version);
        let broken = client_of("self-algmismatch", &server)
            .expect("client")
            .chain;
        client.chain.extend(broken);
        let why = match client.connect() {
            Ok(mut connection) => connection.verdict(),
            Err(e) => Some(e),
        };
        let why = why.expect("an error");
        if subject().kind == Kind::Ours {
            // OpenSSL lets us choose no alert here: the end comes without a word, and in order.
            assert!(
                why.contains("EOF") || why.contains("without a word"),
                "{why}"
            );
        } else {
            assert_eq!(why, "SSLV3_ALERT_BAD_CERTIFICATE", "{version:?}");
        }
        let line = "tls: failed to parse client certificate: x509: inner and outer";
        let lines = server.new_lines(1);
        assert!(lines.iter().any(|l| l.contains(line)), "{lines:?}");
    }
}
