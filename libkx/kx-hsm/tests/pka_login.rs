//! `kx-hsm pka login` with the private key of a file, in each form that OpenSSL writes; wrong ones change nothing.

use std::path::Path;
use std::process::{Command, Output};

use openssl::ec::EcKey;
use openssl::pkey::PKey;
use openssl::symm::Cipher;
use xkek::blob::Blob;
use xkek::curve::Curve;
use xkek::cvc::{GenerationRequest, KeyAttributes, KeySpec};
use xkek::hsm::{Hsm, Initialization, Pin};
use xkek::kek::Kek;
use xkek::pka::Form;
use xkek::rng::System;
use xkek_io::{Limits, Spec, Transport};

const PIN: &[u8] = b"648219";

fn kx_hsm(dir: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kx-hsm"))
        .args(line.split_whitespace())
        .current_dir(dir)
        .env("PIN", "648219")
        .env("SO", "3537363231383830")
        .env("PASSPHRASE", "not a PIN")
        .env_remove("KX_CARD")
        .output()
        .expect("kx-hsm")
}

fn must(dir: &Path, line: &str) -> String {
    let done = kx_hsm(dir, line);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(0), "{line}: {said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn refused(dir: &Path, line: &str, status: i32, text: &str) {
    let done = kx_hsm(dir, line);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(status), "{line}: {said}");
    assert!(said.contains(text), "{line}: {said}");
}

/// The key pair of an officer, made on a card whose DKEK is known here, so that it can be taken out; and what
/// registers it.
fn officer(dir: &Path) -> (EcKey<openssl::pkey::Private>, Vec<u8>, String) {
    let spec = Spec::Vcard {
        state: dir.join("officer"),
        authority: Some(dir.join("ca")),
    };
    let mut hsm = Hsm::new(Transport::open(&spec, Limits::default()).expect("card"));
    hsm.select().expect("selected");
    hsm.initialize(&Initialization {
        options: 1,
        user_pin: Some(PIN.to_vec().into()),
        so_pin: b"57621880".to_vec().into(),
        retries: 3,
        dkek_shares: Some(1),
        public_keys: None,
        biometric_servers: [None, None],
        key_domains: None,
    })
    .expect("initialized");
    let kek = Kek::from_bytes(&[7; 32]);
    hsm.import_share(0, &kek).expect("imported");
    hsm.verify(Pin::User, PIN).expect("logged in");
    let name = hsm.key_name(1).expect("name");
    let request = GenerationRequest {
        car: name.clone(),
        chr: name.clone(),
        key: KeySpec::Ec(Curve::Secp256r1),
        outer_car: None,
        attributes: KeyAttributes::default(),
    };
    let made = hsm.generate_key_pair(1, &request).expect("made");
    let file = hsm.attested(made).expect("chain").encode(Form::Sequence);
    let blob = hsm.wrap(1).expect("wrapped");
    let opened = Blob::parse(&blob).expect("blob").open(&kek, &mut System);
    let der = opened.expect("opened").key.to_octets().expect("octets");
    let key = PKey::private_key_from_pkcs8(der.as_slice()).expect("key");
    (key.ec_key().expect("EC"), file, name.to_string())
}

#[test]
fn officers_log_in_with_keys_in_files() {
    let dir = tempfile::tempdir().expect("directory");
    let dir = dir.path();
    let (ec, file, name) = officer(dir);
    std::fs::write(dir.join("officer.pka"), file).expect("written");
    let card = "--card vcard:shared,ca=ca";
    must(
        dir,
        &format!("init {card} --so-pin env:SO --pin env:PIN --public-keys 2 --required 1 --yes"),
    );
    let card = "--card vcard:shared";
    must(
        dir,
        &format!("pka register officer.pka {card} --pin env:PIN"),
    );

    let key = PKey::from_ec_key(ec.clone()).expect("key");
    let (cipher, word) = (Cipher::aes_256_cbc(), b"not a PIN");
    let group = ec.group();
    let stranger = PKey::from_ec_key(EcKey::generate(group).expect("made")).expect("key");
    for (name, content) in [
        ("key.pem", key.private_key_to_pem_pkcs8()),
        ("old.der", ec.private_key_to_der()),
        ("key.der", key.private_key_to_pkcs8()),
        (
            "sealed.pem",
            key.private_key_to_pem_pkcs8_passphrase(cipher, word),
        ),
        (
            "sealed.der",
            key.private_key_to_pkcs8_passphrase(cipher, word),
        ),
        ("stranger.der", stranger.private_key_to_pkcs8()),
    ] {
        std::fs::write(dir.join(name), content.expect("written")).expect("written");
    }
    let login = format!("pka login {card} --label {name} --key");
    for file in ["key.pem", "old.der", "key.der"] {
        let said = must(dir, &format!("{login} {file}"));
        assert!(said.contains("is authenticated (1)"), "{file}: {said}");
    }
    for file in ["sealed.pem", "sealed.der"] {
        let said = must(
            dir,
            &format!("{login} {file} --key-password env:PASSPHRASE"),
        );
        assert!(said.contains("is authenticated (1)"), "{file}: {said}");
        let wrong = format!("{login} {file} --key-password env:PIN");
        refused(dir, &wrong, 1, &format!("{file}: wrong passphrase"));
        let none = format!("{login} {file} --key-password env:KX_NO_SUCH");
        refused(dir, &none, 4, "no variable KX_NO_SUCH");
    }
    refused(dir, &format!("{login} stranger.der"), 1, "6985");
    refused(
        dir,
        &format!("{login} officer.pka"),
        1,
        "officer.pka: no private key",
    );
    let other = format!("pka login {card} --label UTNOBODY00001 --key key.der");
    refused(dir, &other, 1, "not registered");
}
