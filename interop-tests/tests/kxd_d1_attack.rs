//! D1, the reason to change over (kxd spec 12): somebody who merely *has a copy* of an allowed
//! certificate - certificates are public - sends it behind his own. The original gives him the
//! key. Ours judges the certificate whose private key was proven, the first, and refuses.

use interop_tests::certificates::{Pair, Recipe};
use interop_tests::config::{Config, client_pair};
use interop_tests::daemon::{Kxd, kxd};
use interop_tests::http_text::Answer;
use interop_tests::subject::ours;
use interop_tests::tls_client::Client;
use openssl::ssl::SslVersion;

const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];

fn data_directory() -> Config {
    let config = Config::new();
    config.key("k", "KEY");
    config
}

/// Proves his own key; the allowed certificate comes after his own.
fn attacker(server: &Kxd, version: SslVersion) -> Client {
    let own: Pair = Recipe::new("stranger").make();
    let list = vec![own.cert, client_pair().cert.clone()];
    server.client().version(version).identity(list, own.key)
}

/// What the original does, and what ours does.
fn assert_verdict(answer: &Answer, when: &str) {
    if ours() {
        assert_eq!(answer.status, "HTTP/1.1 403 Forbidden", "{when}");
        assert_eq!(answer.body, b"No allowed certificate found\n", "{when}");
    } else {
        assert_eq!(
            answer.body, b"KEY",
            "{when}: the original's hole is closed?"
        );
    }
}

#[test]
fn a_copy_of_an_allowed_certificate_behind_ones_own_opens_nothing() {
    let config = data_directory();
    let server = kxd(&config).start();
    for version in VERSIONS {
        let answer = attacker(&server, version).get("/v1/k");
        assert_verdict(&answer, &format!("fresh {version:?}"));
    }
    if ours() {
        server.await_line("No allowed certificate found (checked 1 certs)");
        assert!(!server.log_contains("Allowing"));
    }
}

#[test]
fn neither_does_it_in_a_resumed_session() {
    let config = data_directory();
    let server = kxd(&config).start();
    for version in VERSIONS {
        let client = attacker(&server, version);
        let mut first = client.connect().expect("first handshake");
        assert_verdict(&first.get("/v1/k"), &format!("fresh {version:?}"));
        let mut second = client.resume(&first).expect("second handshake");
        assert!(
            second.stream.ssl().session_reused(),
            "{version:?}: not resumed"
        );
        assert_verdict(&second.get("/v1/k"), &format!("resumed {version:?}"));
    }
}

#[test]
fn nor_over_many_requests_of_one_connection() {
    let config = data_directory();
    let server = kxd(&config).start();
    let mut connection = attacker(&server, SslVersion::TLS1_3)
        .connect()
        .expect("handshake");
    for n in 0..5 {
        assert_verdict(&connection.get_keep_alive("/v1/k"), &format!("request {n}"));
    }
}

#[test]
fn nor_with_the_allowed_certificate_as_a_pretended_issuer() {
    let config = data_directory();
    let server = kxd(&config).start();
    // His certificate names the allowed one as issuer; the signature is his own.
    let forged_issuer = Pair {
        cert: client_pair().cert.clone(),
        key: Recipe::new("x").make().key,
    };
    let own = Recipe::new("stranger").issued_by(&forged_issuer).make();
    for version in VERSIONS {
        let list = vec![own.cert.clone(), client_pair().cert.clone()];
        let client = server
            .client()
            .version(version)
            .identity(list, own.key.clone());
        assert_verdict(&client.get("/v1/k"), &format!("{version:?}"));
    }
}

#[test]
fn the_one_honest_use_of_a_list_still_works() {
    // The root is allowed; the client sends its leaf and the intermediate between them.
    let config = Config::new();
    let root = Recipe::new("root")
        .authority()
        .eku(Some(&["serverAuth"]))
        .make();
    let middle = Recipe::new("middle").authority().issued_by(&root).make();
    let leaf = Recipe::new("leaf").issued_by(&middle).make();
    config.bare_key("k", "KEY");
    config.write("data/k/allowed_clients", root.cert_pem());
    let server = kxd(&config).start();
    for version in VERSIONS {
        let list = vec![leaf.cert.clone(), middle.cert.clone()];
        let client = server
            .client()
            .version(version)
            .identity(list, leaf.key.clone());
        assert_eq!(client.get("/v1/k").body, b"KEY", "{version:?}");
    }
}

#[test]
fn the_owner_of_the_allowed_certificate_is_let_in_before_and_after() {
    let config = data_directory();
    let server = kxd(&config).start();
    for version in VERSIONS {
        let owner = server.client().version(version);
        assert_eq!(owner.get("/v1/k").body, b"KEY");
        assert_verdict(&attacker(&server, version).get("/v1/k"), "between");
        assert_eq!(owner.get("/v1/k").body, b"KEY");
    }
}
