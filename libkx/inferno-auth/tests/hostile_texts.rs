//! Texts of keys and certificates from anybody: what is read is written and read again as the same, and nothing
//! breaks.

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::certificate::Certificate;
use inferno_auth::key::{PrivateKey, PublicKey, TEXT_LIMIT};
use proptest::prelude::*;

const PUBLIC: &str = "rsa\nbob\nAQ==\nAw==\n";

#[test]
fn public_keys_that_are_none() {
    assert_eq!(PublicKey::parse(PUBLIC.as_bytes()).unwrap().owner(), "bob");
    for text in [
        "",
        "\n",
        "rsa",
        "rsa\n",
        "rsa\nbob",
        "rsa\nbob\n",
        "rsa\nbob\nAQ==",
        "rsa\nbob\nAQ==\n",
        "rsa\nbob\nAQ==\n\n",
        "rsa\nbob\n\nAw==\n",
        "rsa\n\nAQ==\nAw==\n",
        "\nbob\nAQ==\nAw==\n",
        "RSA\nbob\nAQ==\nAw==\n",
        "rsa \nbob\nAQ==\nAw==\n",
        "aaaaaaaaaaaaaaaaaaaa\nbob\nAQ==\nAw==\n",
        "elgamal\nbob\nAQ==\nAw==\n",
        "dsa\nbob\nAQ==\nAw==\nAw==\n",
        "rsa\nb\0b\nAQ==\nAw==\n",
    ] {
        assert!(PublicKey::parse(text.as_bytes()).is_err(), "{text:?}");
        assert!(PublicKey::parse_exact(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(PublicKey::parse(b"rsa\nb\xffb\nAQ==\nAw==\n").is_err());
    let owner = "x".repeat(TEXT_LIMIT - 15);
    let long = format!("rsa\n{owner}\nAQ==\nAw==\n");
    assert_eq!(long.len(), TEXT_LIMIT);
    assert!(PublicKey::parse(long.as_bytes()).is_ok());
    assert!(PublicKey::parse(format!("{long}x").as_bytes()).is_err());
}

#[test]
fn what_follows_a_key() {
    // The last newline may be missing.
    let bare = PUBLIC.trim_end();
    assert!(PublicKey::parse_exact(bare.as_bytes()).is_ok());
    let key = PublicKey::parse_exact(PUBLIC.as_bytes()).unwrap();
    assert_eq!(key.text(), key.canonical_text());
    for tail in ["\n", "x", "AQ==\n", "\u{80}"] {
        let text = format!("{PUBLIC}{tail}");
        assert!(PublicKey::parse_exact(text.as_bytes()).is_err());
        let key = PublicKey::parse(text.as_bytes()).unwrap();
        assert_eq!(key.text(), text.as_bytes());
        assert_eq!(key.canonical_text(), PUBLIC.as_bytes());
    }
}

/// Keys that can be read and no honest program makes.
#[test]
fn impossible_keys_verify_nothing() {
    for n in ["AA==", "AQ==", "Ag==", "AAAA", "===="] {
        for e in ["AA==", "AQ==", "Aw=="] {
            for tail in ["", "Aw==\nAw==\n"] {
                for algorithm in ["rsa", "elgamal", "dsa"] {
                    let text = format!("{algorithm}\nbob\n{n}\n{e}\n{tail}");
                    let Ok(key) = PublicKey::parse(text.as_bytes()) else {
                        continue;
                    };
                    for value in ["AA==", "AQ==", "Ag=="] {
                        let cert = format!("{algorithm}\nsha1\nbob\n0\n{value}\n{value}\n");
                        let cert = Certificate::parse(cert.as_bytes()).unwrap();
                        assert!(!cert.verify(&key, b"data"), "{text} {value}");
                    }
                }
            }
        }
    }
    let zeros = "AA==\n".repeat(8);
    for algorithm in ["rsa", "elgamal", "dsa"] {
        let text = format!("{algorithm}\nbob\n{zeros}");
        if let Ok(key) = PrivateKey::parse(text.as_bytes()) {
            assert!(Certificate::sign(&key, 0, b"data").is_err());
        }
    }
}

#[test]
fn certificates_that_are_none() {
    let good = "rsa\nsha1\nsigner\n0\nAQ==\n";
    let certificate = Certificate::parse(good.as_bytes()).unwrap();
    assert_eq!(certificate.text(), good.as_bytes());
    for text in [
        "",
        "rsa\nsha1\nsigner\n0\n",
        "rsa\nsha1\nsigner\n0\n\n",
        "rsa\nsha1\nsigner\n\nAQ==\n",
        "rsa\nsha1\nsigner\nsoon\nAQ==\n",
        "rsa\nsha1\n\n0\nAQ==\n",
        "rsa\n\nsigner\n0\nAQ==\n",
        "elgamal\nsha1\nsigner\n0\nAQ==\n",
        "ed25519\nsha1\nsigner\n0\nAQ==\n",
    ] {
        assert!(Certificate::parse(text.as_bytes()).is_err(), "{text:?}");
    }
}

/// Texts that have much of a key or certificate.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("rsa".to_owned()),
        Just("elgamal".to_owned()),
        Just("dsa".to_owned()),
        Just("sha1".to_owned()),
        Just("bob".to_owned()),
        "-?[0-9]{1,12}",
        "[A-Za-z0-9+/]{0,40}={0,2}",
        "\\PC{0,20}",
    ];
    let first = prop_oneof![Just("rsa"), Just("elgamal"), Just("dsa")];
    (first, prop::collection::vec(line, 0..10)).prop_map(|(first, lines)| {
        let lines: Vec<_> = std::iter::once(first)
            .chain(lines.iter().map(String::as_str))
            .collect();
        lines.join("\n").into_bytes()
    })
}

proptest! {
    #[test]
    fn keys_and_certificates(text in nearly()) {
        if let Ok(key) = PublicKey::parse(&text) {
            let again = PublicKey::parse_exact(&key.canonical_text()).unwrap();
            prop_assert_eq!(again.text(), key.canonical_text());
            prop_assert_eq!(again.owner(), key.owner());
        }
        if let Ok(key) = PrivateKey::parse(&text) {
            let again = PrivateKey::parse(key.text().as_slice()).unwrap();
            prop_assert!(again.text().ct_eq(key.text().as_slice()));
        }
        if let Ok(certificate) = Certificate::parse(&text) {
            prop_assert_eq!(Certificate::parse(&certificate.text()), Ok(certificate));
        }
    }

    #[test]
    fn anything(text in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(PublicKey::parse(&text).is_err());
        prop_assert!(PrivateKey::parse(&text).is_err());
        prop_assert!(Certificate::parse(&text).is_err());
        prop_assert!(AuthInfo::parse(&text).is_err());
    }
}
