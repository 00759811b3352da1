//! Numbers, keys, certificates and authinfo files that Inferno wrote (interop-tests/vectors/keysrv).

use inferno_auth::attribute;
use inferno_auth::authinfo::AuthInfo;
use inferno_auth::certificate::Certificate;
use inferno_auth::floor::{BelowFloor, Floor, Warning};
use inferno_auth::generate;
use inferno_auth::key::{Algorithm, PrivateKey, PublicKey, PublicNumbers, Signature};
use inferno_auth::number::{self, NumberError};
use kx_crypto::bignum::BigNum;
use serde_json::Value;

const ALGORITHMS: [&str; 2] = ["rsa", "elgamal"];

fn path(name: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop-tests");
    format!("{root}/vectors/keysrv/{name}")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&read(name)).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}"))
}

fn octets(hex: &str) -> Vec<u8> {
    let padded = format!("{}{hex}", if hex.len() % 2 == 1 { "0" } else { "" });
    (0..padded.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&padded[at..at + 2], 16).unwrap())
        .collect()
}

fn number(hex: &str) -> BigNum {
    BigNum::from_bytes(&octets(hex)).unwrap()
}

/// A key of the vectors by its name.
fn vector_key(name: &str) -> Value {
    let keys = json("keys.json");
    let found = list(&keys).iter().find(|key| key["name"] == name);
    found.unwrap().clone()
}

#[test]
fn numbers_are_written() {
    let vectors = json("numbers.json");
    let cases = list(&vectors["write"]);
    assert!(cases.len() > 10);
    for case in cases {
        let value = number(text(case, "value_hex"));
        assert_eq!(number::text_z(&value), text(case, "text_Z"));
        assert_eq!(number::text_p(&value), text(case, "text_P"));
        assert_eq!(value.to_bytes(), octets(text(case, "bytes_hex")));
        for form in ["text_Z", "text_P"] {
            let field = text(case, form).as_bytes();
            assert_eq!(number::read_field(field).as_ref(), Ok(&value));
        }
    }
}

#[test]
fn numbers_are_read() {
    let vectors = json("numbers.json");
    let cases = list(&vectors["read_standalone"]);
    assert!(cases.len() > 10);
    for case in cases {
        let read = number::read_login(text(case, "text").as_bytes());
        let wanted = match case["value_hex"].as_str() {
            None => Err(NumberError::NotANumber),
            Some(hex) if hex.starts_with('-') => Err(NumberError::Negative),
            Some(hex) => Ok(number(hex)),
        };
        assert_eq!(read, wanted, "{case}");
    }
}

#[test]
fn keys_come_out_as_they_went_in() {
    for key in list(&json("keys.json")) {
        let name = text(key, "name");
        let public_text = text(key, "public_text").as_bytes();
        let private_text = text(key, "private_text").as_bytes();
        let public = PublicKey::parse(public_text).unwrap();
        let private = PrivateKey::parse(private_text).unwrap();
        assert_eq!(public.owner(), format!("signer of {name}"));
        assert_eq!(public.canonical_text(), public_text);
        assert!(private.text().ct_eq(private_text));
        assert_eq!(private.public().text(), public_text);
        assert_eq!(private.owner(), public.owner());
        let user = text(key, "user_key_from_this_public").as_bytes();
        let user = user
            .strip_suffix(b"\n\n")
            .map_or(user, |_| &user[..user.len() - 1]);
        let user_key = PrivateKey::parse(user).unwrap();
        assert!(user_key.text().ct_eq(user));
        assert_eq!(user_key.owner(), "user");
        assert_eq!(user_key.public().algorithm(), public.algorithm());
    }
}

#[test]
fn certificates_verify_and_come_out_as_they_went_in() {
    let mut seen = 0;
    for key in list(&json("keys.json")) {
        let public = PublicKey::parse(text(key, "public_text").as_bytes()).unwrap();
        for case in list(&key["certs"]) {
            let cert_text = text(case, "cert_text");
            let certificate = Certificate::parse(cert_text.as_bytes()).unwrap();
            assert_eq!(certificate.text(), cert_text.as_bytes());
            assert_eq!(certificate.hash().name(), text(case, "hash"));
            assert_eq!(
                i64::from(certificate.expiry()),
                case["exp"].as_i64().unwrap()
            );
            assert_eq!(certificate.signer(), public.owner());
            let data = text(case, "data_utf8").as_bytes();
            // The original's verdict before it damages DSA keys.
            assert_eq!(case["verify_in_memory"], 1);
            assert!(certificate.verify(&public, data), "{case}");
            assert!(!certificate.verify(&public, &data[1..]));
            let date = format!("\n{}\n", certificate.expiry());
            for (part, other) in [
                (format!("\n{}\n", certificate.signer()), "\nsomebody else\n"),
                (date.clone(), "\n77\n"),
                (format!("\n{}\n", certificate.hash().name()), "\nsha2\n"),
            ] {
                let forged = cert_text.replacen(&part, other, 1);
                assert_ne!(forged, cert_text);
                let forged = Certificate::parse(forged.as_bytes()).unwrap();
                assert!(!forged.verify(&public, data), "{case} {other}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 48);
}

#[test]
fn certificates_of_one_key_are_nothing_to_another() {
    let keys = json("keys.json");
    for key in list(&keys) {
        let public = PublicKey::parse(text(key, "public_text").as_bytes()).unwrap();
        for other in list(&keys).iter().filter(|other| *other != key) {
            let case = &other["certs"][0];
            let certificate = Certificate::parse(text(case, "cert_text").as_bytes()).unwrap();
            assert!(!certificate.verify(&public, text(case, "data_utf8").as_bytes()));
        }
    }
}

/// The same signature as a larger number.
#[test]
fn a_signature_has_one_form() {
    let key = vector_key("rsa1024");
    let public = PublicKey::parse(text(&key, "public_text").as_bytes()).unwrap();
    let case = &key["certs"][0];
    let certificate = Certificate::parse(text(case, "cert_text").as_bytes()).unwrap();
    let (PublicNumbers::Rsa(rsa), Signature::Rsa(val)) =
        (public.numbers(), certificate.signature())
    else {
        panic!("not RSA");
    };
    let larger = number::text_z(&val.plus(&rsa.n).unwrap());
    let larger = text(case, "cert_text").replace(&number::text_z(val), &larger);
    let larger = Certificate::parse(larger.as_bytes()).unwrap();
    let data = text(case, "data_utf8").as_bytes();
    assert_ne!(larger, certificate);
    assert!(certificate.verify(&public, data) && !larger.verify(&public, data));
}

/// The right key in a wrong name.
#[test]
fn a_signer_signs_in_its_own_name() {
    let mut signer = AuthInfo::parse(&read("authinfo/signerkey.rsa")).unwrap();
    let text = signer.private_key.text();
    let text = String::from_utf8_lossy(text.as_slice());
    let other = text.replacen("signer.rsa.example", "other", 1);
    let other = PrivateKey::parse(other.as_bytes()).unwrap();
    signer.certificate = Certificate::sign(&other, 0, signer.public_key().text()).unwrap();
    assert!(signer.is_certified() && !signer.is_signer());
}

#[test]
fn every_algorithm_signs() {
    for key in list(&json("keys.json")) {
        let private = PrivateKey::parse(text(key, "private_text").as_bytes()).unwrap();
        let user = PrivateKey::parse(text(key, "user_key_from_this_public").as_bytes()).unwrap();
        for private in [private, user] {
            for expiry in [0, 1_893_456_000, -5] {
                let certificate = Certificate::sign(&private, expiry, b"data").unwrap();
                assert!(certificate.verify(private.public(), b"data"));
                let again = Certificate::parse(&certificate.text()).unwrap();
                assert_eq!(again, certificate);
                assert!(!again.verify(private.public(), b"other"));
            }
        }
    }
    // RSA has no random part: ours is the very certificate of the original.
    let key = vector_key("rsa1024");
    let private = PrivateKey::parse(text(&key, "private_text").as_bytes()).unwrap();
    for case in list(&key["certs"])
        .iter()
        .filter(|case| case["hash"] == "sha1")
    {
        let expiry = i32::try_from(case["exp"].as_i64().unwrap()).unwrap();
        let data = text(case, "data_utf8").as_bytes();
        let certificate = Certificate::sign(&private, expiry, data).unwrap();
        assert_eq!(certificate.text(), text(case, "cert_text").as_bytes());
    }
}

#[test]
fn attributes() {
    for key in list(&json("keys.json")) {
        let private = PrivateKey::parse(text(key, "private_text").as_bytes()).unwrap();
        let dated = list(&key["certs"])
            .iter()
            .find(|case| case["hash"] == "sha1" && case["exp"] == 1_893_456_000)
            .unwrap();
        let certificate = Certificate::parse(text(dated, "cert_text").as_bytes()).unwrap();
        let wanted = list(&key["attributes"]);
        assert_eq!(wanted[0], attribute::certificate(&certificate));
        assert_eq!(wanted[1], attribute::public_key(private.public()));
        let secret = attribute::private_key(&private);
        assert!(secret.ct_eq(wanted[2].as_str().unwrap().as_bytes()));
    }
}

#[test]
fn authinfo_files_come_out_as_they_went_in() {
    let mut seen = 0;
    for algorithm in ALGORITHMS {
        let signer_file = read(&format!("authinfo/signerkey.{algorithm}"));
        let signer = AuthInfo::parse(&signer_file).unwrap();
        assert!(signer.is_signer());
        let written = signer.to_bytes().unwrap();
        if algorithm == "rsa" {
            // createsignerkey writes c2 in the other form (spec 1.1).
            assert!(!written.ct_eq(&signer_file));
            let again = AuthInfo::parse(written.as_slice()).unwrap();
            assert!(again.to_bytes().unwrap().ct_eq(written.as_slice()));
            assert!(written.len().abs_diff(signer_file.len()) <= 4);
        } else {
            assert!(written.ct_eq(&signer_file));
        }
        let users = ["alice", "bob", "carol", "empty", "ghost", "expired"];
        let files = users.map(|user| format!("authinfo/{user}.{algorithm}.authinfo"));
        let own = format!("authinfo/keysrv_default.{algorithm}");
        for name in files.iter().chain([&own]) {
            let file = read(name);
            let info = AuthInfo::parse(&file).unwrap();
            assert!(info.to_bytes().unwrap().ct_eq(&file), "{name}");
            assert!(info.is_certified() && !info.is_signer(), "{name}");
            assert_eq!(info.signer_key.text(), signer.signer_key.text());
            assert_eq!(info.group.p, signer.group.p);
            assert_eq!(info.group.alpha, signer.group.alpha);
            assert!(info.group.check());
            // 2026; the one is of 2017.
            let expired = info.certificate.is_expired(1_795_000_000);
            assert_eq!(expired, name.contains("expired"), "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 14);
}

#[test]
fn authinfo_files_that_are_none() {
    let file = read("authinfo/alice.rsa.authinfo");
    for len in 0..file.len() {
        assert!(AuthInfo::parse(&file[..len]).is_err(), "{len}");
    }
    let mut longer = file.clone();
    longer.extend_from_slice(b"what follows is ignored");
    assert!(AuthInfo::parse(&longer).is_ok());
    // Somebody else's certificate.
    let other = read("authinfo/bob.rsa.authinfo");
    let part = |file: &[u8], at: usize| {
        let mut rest = file;
        for _ in 0..at {
            let length: usize = std::str::from_utf8(&rest[..4]).unwrap().parse().unwrap();
            rest = &rest[5 + length..];
        }
        let length: usize = std::str::from_utf8(&rest[..4]).unwrap().parse().unwrap();
        rest[..5 + length].to_vec()
    };
    let mixed: Vec<u8> = (0..5)
        .flat_map(|at| part(if at == 1 { &other } else { &file }, at))
        .collect();
    assert!(!AuthInfo::parse(&mixed).unwrap().is_certified());
}

#[test]
fn expiry_rules_differ_by_a_second() {
    let key = vector_key("rsa");
    let private = PrivateKey::parse(text(&key, "private_text").as_bytes()).unwrap();
    let certificate = |expiry| Certificate::sign(&private, expiry, b"").unwrap();
    let dated = certificate(1000);
    for (now, expired, past) in [(999, false, false), (1000, true, false), (1001, true, true)] {
        assert_eq!((dated.is_expired(now), dated.is_past(now)), (expired, past));
    }
    assert!(!certificate(0).is_expired(i64::MAX) && !certificate(0).is_past(i64::MAX));
    // What the text calls 2147483648 is long past.
    let far = String::from_utf8(dated.text()).unwrap();
    let far = far.replacen("\n1000\n", "\n2147483648\n", 1);
    let far = Certificate::parse(far.as_bytes()).unwrap();
    assert!(far.is_expired(0) && far.is_past(0));
}

#[test]
fn user_keys_are_made_after_the_signers() {
    for name in ["rsa", "rsa1024", "elgamal", "dsa"] {
        let signer = vector_key(name);
        let signer = PrivateKey::parse(text(&signer, "private_text").as_bytes()).unwrap();
        let user = generate::key_from(signer.public(), "new user").unwrap();
        assert_eq!(user.owner(), "new user");
        assert_eq!(user.public().bits(), signer.public().bits());
        let certificate = Certificate::sign(&user, 0, b"data").unwrap();
        assert!(certificate.verify(user.public(), b"data"));
        let again = PrivateKey::parse(user.text().as_slice()).unwrap();
        assert!(again.text().ct_eq(user.text().as_slice()));
        let floor = Floor {
            min_bits: 0,
            allow_weak_certificate: false,
        };
        let warnings = floor.check_key(user.public()).unwrap();
        assert!(!warnings.contains(&Warning::Exponent));
    }
    let dsa = generate::key(Algorithm::Dsa, 1024, "a");
    assert!(dsa.is_err());
    for owner in ["", "two\nlines", "zero\0"] {
        assert!(generate::key(Algorithm::Elgamal, 64, owner).is_err());
    }
}

#[test]
fn signers_certify_themselves_and_users() {
    let group = generate::GroupChoice::Compatible;
    for (algorithm, bits) in [(Algorithm::Rsa, 1024), (Algorithm::Elgamal, 256)] {
        let signer = generate::signer(algorithm, bits, "the signer", 7, group).unwrap();
        assert!(signer.is_signer());
        assert_eq!(signer.certificate.expiry(), 7);
        assert_eq!(signer.group.p.bits(), 1024);
        assert_eq!(signer.group.alpha.bits(), 160);
        let order = signer.group.p.less_one().unwrap();
        assert!(order.modulo(&signer.group.alpha).unwrap().is_zero());
        let user = generate::user(&signer, "bob", 9).unwrap();
        assert!(user.is_certified() && !user.is_signer());
        assert_eq!(user.group.p, signer.group.p);
        assert_eq!(
            (user.certificate.expiry(), user.certificate.signer()),
            (9, "the signer")
        );
        let file = user.to_bytes().unwrap();
        let again = AuthInfo::parse(file.as_slice()).unwrap();
        assert!(again.is_certified());
    }
}

/// The largest key that may be asked for fits its message.
#[test]
fn no_message_outgrows_its_header() {
    let modp = generate::GroupChoice::Modp2048;
    let name = "x".repeat(200);
    let signer = generate::signer(Algorithm::Rsa, 2048, &name, 0, modp).unwrap();
    let text = signer.private_key.text().len();
    // Of these 2048 bits less than half of a message: twice as many fit.
    assert!(text < 2000, "{text}");
    assert!(signer.to_bytes().is_ok());
}

#[test]
fn the_floor() {
    let floor = Floor::default();
    let judge = |name: &str| {
        let key = vector_key(name);
        let key = PublicKey::parse(text(&key, "public_text").as_bytes()).unwrap();
        floor.check_key(&key)
    };
    let weak = vec![Warning::Bits { bits: 512 }, Warning::Exponent];
    assert_eq!(judge("rsa"), Ok(weak));
    assert_eq!(judge("rsa1024"), Ok(vec![Warning::Exponent]));
    assert_eq!(judge("elgamal"), Ok(vec![Warning::Bits { bits: 512 }]));
    assert_eq!(judge("dsa"), Ok(vec![Warning::Dsa]));
    let high = Floor {
        min_bits: 513,
        allow_weak_certificate: true,
    };
    let key = vector_key("rsa");
    let key = PublicKey::parse(text(&key, "public_text").as_bytes()).unwrap();
    let refused = BelowFloor::Bits {
        bits: 512,
        least: 513,
    };
    assert_eq!(high.check_key(&key), Err(refused));
    for case in list(&vector_key("rsa")["certs"]) {
        let certificate = Certificate::parse(text(case, "cert_text").as_bytes()).unwrap();
        let weak = ["md5", "md4"].contains(&text(case, "hash"));
        assert_eq!(floor.check_certificate(&certificate).is_err(), weak);
        assert_eq!(high.check_certificate(&certificate), Ok(()));
    }
}
