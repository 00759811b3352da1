//! The clients people have, against `kx-vcard` in a virtual reader: sc-hsm-tool, pkcs11-tool, pkcs15-tool,
//! opensc-explorer, and openssl through PKCS#11 (xkek spec 12 and 14a).

use std::fs;

use interop_tests::smart_card::{PKCS11_MODULE, SmartCardReader};
use interop_tests::subject::workspace;

const PIN: &str = "648219";
const SO_PIN: &str = "3537363231383830";

/// A reader with a card that was initialised with these options.
fn initialised(name: &str, options: &[&str]) -> Option<SmartCardReader> {
    let mut reader = SmartCardReader::start(name)?;
    reader.insert("card", &[]);
    initialise(&reader, options);
    Some(reader)
}

fn initialise(reader: &SmartCardReader, options: &[&str]) {
    let args = ["--initialize", "--so-pin", SO_PIN, "--pin", PIN];
    let said = reader.must("sc-hsm-tool", &[&args[..], options].concat());
    assert!(!said.contains("failed"), "{said}");
}

/// The public key of an object, as a DER file.
fn public_key(reader: &SmartCardReader, id: &str, file: &str) -> String {
    let path = reader.text(file);
    let read = [
        "--module",
        PKCS11_MODULE,
        "--read-object",
        "--type",
        "pubkey",
        "--id",
        id,
        "-o",
        &path,
    ];
    reader.must("pkcs11-tool", &read);
    path
}

#[test]
fn status_before_and_after_initialisation() {
    let Some(mut reader) = SmartCardReader::start("status_before_and_after_initialisation") else {
        return;
    };
    reader.insert("card", &[]);
    let said = reader.must("sc-hsm-tool", &[]);
    assert!(
        said.contains("SmartCard-HSM has never been initialized."),
        "{said}"
    );
    initialise(&reader, &["--dkek-shares", "2"]);
    let said = reader.run("sc-hsm-tool", &[]).stdout_text();
    assert_eq!(
        said,
        "Version              : 3.5\n\
         Config options       :\n  User PIN reset with SO-PIN enabled\n\
         SO-PIN tries left    : 15\n\
         User PIN tries left  : 3\n\
         DKEK shares          : 2\n\
         DKEK import pending, 2 share(s) still missing\n"
    );
    assert_eq!(reader.remove(), 0, "SIGTERM ends it without an error");
    let log = reader.card_log();
    assert!(log.contains("not a secure element"), "{log}");
    // Another version is told where one is asked for.
    reader.insert("card", &["--version", "6.2"]);
    let said = reader.must("sc-hsm-tool", &[]);
    assert!(said.contains("Version              : 6.2\n"), "{said}");
    assert!(
        said.contains("DKEK shares          : 2\n"),
        "it is the same card: {said}"
    );
}

#[test]
fn shares_wrap_and_unwrap() {
    let Some(reader) = initialised("shares_wrap_and_unwrap", &["--dkek-shares", "2"]) else {
        return;
    };
    let generate = ["--keypairgen", "--key-type", "EC:prime256v1", "--id", "01"];
    let login = ["--module", PKCS11_MODULE, "--login", "--pin", PIN];
    let early = reader.run("pkcs11-tool", &[&login[..], &generate].concat());
    assert_ne!(early.rc, 0, "no key before all shares are there");
    for (file, password) in [("one.pbe", "share-one"), ("two.pbe", "share-two")] {
        let file = reader.text(file);
        reader.must(
            "sc-hsm-tool",
            &["--create-dkek-share", &file, "--password", password],
        );
        let said = reader.must(
            "sc-hsm-tool",
            &["--import-dkek-share", &file, "--password", password],
        );
        assert!(said.contains("DKEK share imported"), "{said}");
    }
    let status = reader.must("sc-hsm-tool", &[]);
    let kcv = |status: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with("DKEK key check"));
        line.expect("a check value").to_owned()
    };
    assert!(!kcv(&status).ends_with(": 0000000000000000"), "{status}");
    reader.pkcs11(PIN, &[&generate[..], &["--label", "moved"]].concat());
    let public = public_key(&reader, "01", "before.der");
    let blob = reader.text("key.wky");
    let wrap = ["--wrap-key", &blob, "--key-reference", "1", "--pin", PIN];
    reader.must("sc-hsm-tool", &wrap);

    // What is there is not replaced unless that is asked for.
    let unwrap = ["--unwrap-key", &blob, "--key-reference", "1", "--pin", PIN];
    let said = reader.run("sc-hsm-tool", &unwrap);
    let text = said.stdout_text() + &said.stderr_text();
    assert!(
        text.contains("Found existing private key description"),
        "{text}"
    );
    let said = reader.must("sc-hsm-tool", &[&unwrap[..], &["--force"]].concat());
    assert!(said.contains("Key successfully imported"), "{said}");

    // A second card under the same DKEK.
    let mut reader = reader;
    assert_eq!(reader.remove(), 0);
    reader.insert("second", &[]);
    initialise(&reader, &["--dkek-shares", "2"]);
    for (file, password) in [("two.pbe", "share-two"), ("one.pbe", "share-one")] {
        let file = reader.text(file);
        reader.must(
            "sc-hsm-tool",
            &["--import-dkek-share", &file, "--password", password],
        );
    }
    assert_eq!(kcv(&reader.must("sc-hsm-tool", &[])), kcv(&status));
    let said = reader.must(
        "sc-hsm-tool",
        &["--unwrap-key", &blob, "--key-reference", "7", "--pin", PIN],
    );
    assert!(said.contains("Key successfully imported"), "{said}");
    let after = public_key(&reader, "01", "after.der");
    assert_eq!(
        fs::read(after).expect("key"),
        fs::read(public).expect("key"),
        "the same public key"
    );

    // A changed octet of the blob.
    let mut damaged = fs::read(&blob).expect("blob");
    if let Some(octet) = damaged.get_mut(200) {
        *octet ^= 1;
    }
    let file = reader.text("damaged.wky");
    fs::write(&file, damaged).expect("written");
    let said = reader.run(
        "sc-hsm-tool",
        &["--unwrap-key", &file, "--key-reference", "8", "--pin", PIN],
    );
    let text = said.stdout_text() + &said.stderr_text();
    assert_ne!(said.rc, 0, "{text}");
    assert!(text.contains("Wrapped key does not match DKEK"), "{text}");
}

/// The share file and the shares are recorded ones: of 128 new files the reference cannot open one (xkek
/// spec 10).
#[test]
fn three_of_five_custodians_bring_the_dkek() {
    let name = "three_of_five_custodians_bring_the_dkek";
    let Some(reader) = initialised(name, &["--dkek-shares", "1"]) else {
        return;
    };
    let vectors = workspace().join("interop-tests/vectors/xkek/nofm");
    let text = fs::read_to_string(vectors.join("3of5.json")).expect("vectors");
    let values: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let text = |value: Option<&serde_json::Value>| -> String {
        let text = value.and_then(|value| value.as_str());
        text.expect("a recorded value").to_owned()
    };
    let mut answers = format!("{}\n", text(values.get("prime")));
    for id in ["5", "1", "3"] {
        let share = values.get("shares").and_then(|shares| shares.get(id));
        answers.push_str(&format!("\n{id}\n{}\n", text(share)));
    }
    let file = fs::canonicalize(vectors.join("3of5.pbe")).expect("the file");
    let file = file.to_string_lossy().into_owned();
    let import = ["--import-dkek-share", &file, "--pwd-shares-total", "3"];
    let done = reader.dialogue("sc-hsm-tool", &import, &answers);
    let said = done.stdout_text();
    assert!(
        said.contains("DKEK share imported"),
        "{said} {}",
        done.stderr_text()
    );
    let kcv = text(values.get("kcv_if_only_share")).to_uppercase();
    assert!(
        said.contains(&format!("DKEK key check value : {kcv}")),
        "{said}"
    );
}

#[test]
fn pkcs11_makes_uses_and_deletes_keys() {
    let Some(reader) = initialised("pkcs11_makes_uses_and_deletes_keys", &["--label", "kx"]) else {
        return;
    };
    let slots = reader.must("pkcs11-tool", &["--module", PKCS11_MODULE, "-L"]);
    assert!(slots.contains("kx (UserPIN)"), "{slots}");
    for (kind, id, label) in [
        ("EC:prime256v1", "01", "ec"),
        // Whose public key OpenSC 0.23 cannot give to OpenSSL 3.
        ("EC:brainpoolP384r1", "02", "brainpool"),
        ("EC:secp521r1", "03", "wide"),
        ("rsa:2048", "04", "rsa"),
    ] {
        let generate = [
            "--keypairgen",
            "--key-type",
            kind,
            "--id",
            id,
            "--label",
            label,
        ];
        let said = reader.pkcs11(PIN, &generate);
        assert!(said.contains("Key pair generated"), "{said}");
    }
    let said = reader.pkcs11(PIN, &["--test"]);
    assert!(said.contains("No errors"), "{said}");

    let input = reader.text("input");
    fs::write(&input, b"a text to be signed\n").expect("written");
    let signature = reader.text("signature");
    for (id, mechanism) in [
        ("01", "ECDSA-SHA256"),
        ("03", "ECDSA-SHA512"),
        ("04", "SHA256-RSA-PKCS"),
    ] {
        let public = public_key(&reader, id, "public.der");
        let mut sign = vec!["--sign", "-m", mechanism, "--id", id];
        sign.extend(["-i", &input, "-o", &signature]);
        sign.extend(["--signature-format", "openssl"]);
        reader.pkcs11(PIN, &sign);
        let digest = format!(
            "-sha{}",
            mechanism.split("SHA").nth(1).map_or("", |d| &d[..3])
        );
        let verify = [
            "dgst",
            &digest,
            "-verify",
            &public,
            "-keyform",
            "DER",
            "-signature",
            &signature,
            &input,
        ];
        let said = reader.must("openssl", &verify);
        assert!(said.contains("Verified OK"), "{mechanism}: {said}");
    }

    let sealed = reader.text("sealed");
    let public = public_key(&reader, "04", "rsa.der");
    let mut encrypt = vec!["pkeyutl", "-encrypt", "-pubin", "-keyform", "DER"];
    encrypt.extend(["-inkey", &public, "-in", &input, "-out", &sealed]);
    reader.must("openssl", &encrypt);
    let said = reader.pkcs11(
        PIN,
        &["--decrypt", "-m", "RSA-PKCS", "--id", "04", "-i", &sealed],
    );
    assert!(said.contains("a text to be signed"), "{said}");

    let peer = reader.text("peer.pem");
    let peer_public = reader.text("peer.der");
    let own = public_key(&reader, "01", "own.der");
    let (secret, same) = (reader.text("secret"), reader.text("same"));
    reader.must(
        "openssl",
        &[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            &peer,
        ],
    );
    reader.must(
        "openssl",
        &[
            "ec",
            "-in",
            &peer,
            "-pubout",
            "-outform",
            "DER",
            "-out",
            &peer_public,
        ],
    );
    let derive = ["--derive", "-m", "ECDH1-DERIVE", "--id", "01"];
    reader.pkcs11(
        PIN,
        &[&derive[..], &["-i", &peer_public, "-o", &secret]].concat(),
    );
    let mut derive = vec!["pkeyutl", "-derive", "-inkey", &peer, "-peerkey", &own];
    derive.extend(["-peerform", "DER", "-out", &same]);
    reader.must("openssl", &derive);
    assert_eq!(
        fs::read(&secret).expect("secret"),
        fs::read(&same).expect("secret"),
        "both ends agree"
    );

    reader.pkcs11(PIN, &["--delete-object", "--type", "privkey", "--id", "02"]);
    let objects = reader.pkcs11(PIN, &["--list-objects", "--type", "privkey"]);
    assert!(
        objects.contains("wide") && !objects.contains("brainpool"),
        "{objects}"
    );
}

/// AES keys too, which OpenSC's module cannot make on these devices.
#[test]
fn the_vendors_module_makes_uses_and_deletes_keys() {
    let name = "the_vendors_module_makes_uses_and_deletes_keys";
    let Some(module) = std::env::var_os("KX_REF_SC_HSM") else {
        let why = "KX_REF_SC_HSM names no libsc-hsm-pkcs11.so (CardContact's sc-hsm-embedded)";
        interop_tests::skip::skip(name, why);
        return;
    };
    let Some(reader) = initialised(name, &["--label", "kx"]) else {
        return;
    };
    let module = module.to_string_lossy().into_owned();
    let tool = |args: &[&str]| {
        let login = ["--module", &module, "--login", "--pin", PIN];
        reader.must("pkcs11-tool", &[&login[..], args].concat())
    };
    let said = tool(&[
        "--keygen",
        "--key-type",
        "AES:32",
        "--id",
        "05",
        "--label",
        "aes",
    ]);
    assert!(said.contains("AES length 32"), "{said}");
    for (kind, id, label) in [("EC:prime256v1", "06", "ec"), ("rsa:2048", "07", "rsa")] {
        let generate = [
            "--keypairgen",
            "--key-type",
            kind,
            "--id",
            id,
            "--label",
            label,
        ];
        let said = tool(&generate);
        assert!(said.contains("Key pair generated"), "{said}");
    }
    let (plain, sealed) = (reader.text("plain"), reader.text("sealed"));
    let again = reader.text("again");
    fs::write(&plain, [7; 32]).expect("written");
    let iv = "00000000000000000000000000000000";
    let cipher = ["-m", "AES-CBC", "--id", "05", "--iv", iv];
    for (what, from, to) in [
        ("--encrypt", &plain, &sealed),
        ("--decrypt", &sealed, &again),
    ] {
        tool(&[&[what][..], &cipher, &["-i", from, "-o", to]].concat());
    }
    assert_eq!(fs::read(&again).expect("decrypted"), [7; 32]);
    assert_ne!(fs::read(&sealed).expect("encrypted"), [7; 32]);
    let signature = reader.text("signature");
    for (id, mechanism, digest) in [
        ("06", "ECDSA-SHA1", "-sha1"),
        ("07", "SHA256-RSA-PKCS", "-sha256"),
    ] {
        // OpenSC reads the public keys as the card attested them.
        let public = public_key(&reader, id, "public.der");
        let sign = [
            "--sign",
            "-m",
            mechanism,
            "--id",
            id,
            "--signature-format",
            "openssl",
        ];
        tool(&[&sign[..], &["-i", &plain, "-o", &signature]].concat());
        let verify = ["dgst", digest, "-verify", &public, "-keyform", "DER"];
        let verify = [&verify[..], &["-signature", &signature, &plain]].concat();
        let said = reader.must("openssl", &verify);
        assert!(said.contains("Verified OK"), "{mechanism}: {said}");
    }
    for (kind, id) in [("secrkey", "05"), ("privkey", "06")] {
        tool(&["--delete-object", "--type", kind, "--id", id]);
    }
    let left = tool(&["--list-objects"]);
    assert!(left.contains("rsa") && !left.contains("aes"), "{left}");
}

#[test]
fn openssl_signs_through_pkcs11_and_files_stay() {
    let name = "openssl_signs_through_pkcs11_and_files_stay";
    if !std::path::Path::new("/usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so").exists() {
        interop_tests::skip::skip(name, "package libengine-pkcs11-openssl is missing");
        return;
    }
    let Some(mut reader) = initialised(name, &[]) else {
        return;
    };
    let generate = ["--keypairgen", "--key-type", "EC:prime256v1", "--id", "01"];
    reader.pkcs11(PIN, &[&generate[..], &["--label", "ca"]].concat());
    let (pem, der) = (reader.text("cert.pem"), reader.text("cert.der"));
    let key = format!("pkcs11:id=%01;type=private;pin-value={PIN}");
    let mut request = vec![
        "req", "-engine", "pkcs11", "-keyform", "engine", "-key", &key,
    ];
    request.extend(["-new", "-x509", "-subj", "/CN=kx", "-sha256", "-out", &pem]);
    reader.must("openssl", &request);
    reader.must("openssl", &["verify", "-CAfile", &pem, &pem]);
    reader.must(
        "openssl",
        &["x509", "-in", &pem, "-outform", "DER", "-out", &der],
    );
    let write = ["--type", "cert", "--id", "01", "--label", "ca"];
    reader.pkcs11(PIN, &[&["--write-object", &der], &write[..]].concat());
    let text = reader.text("text");
    fs::write(&text, b"data for everybody").expect("written");
    let write = ["--write-object", &text, "--type", "data", "--label", "note"];
    reader.pkcs11(PIN, &write);

    // Without power nothing is lost.
    assert_eq!(reader.remove(), 0);
    reader.insert("card", &[]);
    let said = reader.must("pkcs15-tool", &["--list-certificates", "--list-keys"]);
    assert!(said.contains("X.509 Certificate [ca]"), "{said}");
    let read = reader.must("pkcs15-tool", &["--read-certificate", "01"]);
    let wanted = fs::read_to_string(&pem).expect("certificate");
    assert!(read.contains(wanted.trim()), "{read}");
    let read = [
        "--read-object",
        "--type",
        "data",
        "--label",
        "note",
        "--module",
        PKCS11_MODULE,
    ];
    assert!(
        reader
            .must("pkcs11-tool", &read)
            .contains("data for everybody")
    );
    let script = reader.text("script");
    fs::write(&script, "ls\ncat 2F02\nget CF00 /dev/null\nquit\n").expect("written");
    let said = reader.must("opensc-explorer", &[&script]);
    for file in ["2F02", "C401", "CE01", "CC00", "CC01", "CF00"] {
        assert!(said.contains(&format!(" {file} ")), "{file}: {said}");
    }
}

#[test]
fn pins_are_counted_locked_and_unlocked() {
    let Some(reader) = initialised("pins_are_counted_locked_and_unlocked", &[]) else {
        return;
    };
    let login = ["--module", PKCS11_MODULE, "--login"];
    for left in ["2", "1"] {
        let wrong = reader.run(
            "pkcs11-tool",
            &[&login[..], &["--pin", "111111", "-O"]].concat(),
        );
        assert!(
            wrong.stderr_text().contains("CKR_PIN_INCORRECT"),
            "{wrong:?}"
        );
        let said = reader.must("sc-hsm-tool", &[]);
        assert!(
            said.contains(&format!("User PIN tries left  : {left}\n")),
            "{said}"
        );
    }
    reader.run(
        "pkcs11-tool",
        &[&login[..], &["--pin", "111111", "-O"]].concat(),
    );
    let said = reader.must("sc-hsm-tool", &[]);
    assert!(said.contains("User PIN locked\n"), "{said}");
    let right = reader.run("pkcs11-tool", &[&login[..], &["--pin", PIN, "-O"]].concat());
    assert!(right.stderr_text().contains("CKR_PIN_LOCKED"), "{right:?}");

    let unlock = [
        "--login-type",
        "so",
        "--so-pin",
        SO_PIN,
        "--init-pin",
        "--new-pin",
        "12345678",
    ];
    reader.must("pkcs11-tool", &[&login[..], &unlock].concat());
    reader.pkcs11("12345678", &["--change-pin", "--new-pin", "87654321"]);
    reader.pkcs11("87654321", &["-O"]);

    // A wrong SO-PIN changes nothing and costs a try.
    let other = ["--initialize", "--so-pin", "3537363231383831", "--pin", PIN];
    let said = reader.run("sc-hsm-tool", &other);
    assert!(
        (said.stdout_text() + &said.stderr_text()).contains("failed"),
        "{said:?}"
    );
    reader.pkcs11("87654321", &["-O"]);
    let said = reader.must("sc-hsm-tool", &[]);
    assert!(said.contains("SO-PIN tries left    : 14\n"), "{said}");
}

#[test]
fn token_initialised_by_pkcs11_and_public_keys_registered() {
    let name = "token_initialised_by_pkcs11_and_public_keys_registered";
    let Some(mut reader) = initialised(name, &[]) else {
        return;
    };
    let token = [
        "--module",
        PKCS11_MODULE,
        "--init-token",
        "--so-pin",
        SO_PIN,
        "--label",
        "new",
    ];
    reader.must("pkcs11-tool", &token);
    let login = ["--module", PKCS11_MODULE, "--login", "--login-type", "so"];
    let pin = ["--so-pin", SO_PIN, "--init-pin", "--new-pin", PIN];
    reader.must("pkcs11-tool", &[&login[..], &pin].concat());
    let generate = ["--keypairgen", "--key-type", "EC:prime256v1", "--id", "01"];
    reader.pkcs11(PIN, &[&generate[..], &["--label", "officer"]].concat());
    let file = reader.text("officer.pka");
    let export = ["--export-for-pub-key-auth", &file, "--key-reference", "1"];
    reader.must("sc-hsm-tool", &[&export[..], &["--pin", PIN]].concat());
    assert!(fs::read(&file).expect("exported").starts_with(&[0x30]));

    // Another card of the same authority takes the officer's key.
    assert_eq!(reader.remove(), 0);
    let ca = reader.text("card/ca");
    reader.insert("second", &["--ca", &ca]);
    initialise(
        &reader,
        &["--public-key-auth", "2", "--required-pub-keys", "1"],
    );
    let register = ["--register-public-key", &file, "--pin", PIN];
    let said = reader.must("sc-hsm-tool", &register);
    assert!(said.contains("Missing public keys:       1"), "{said}");
    let again = reader.run("sc-hsm-tool", &register);
    assert_ne!(again.rc, 0, "one key is not two of n: {again:?}");
    let said = reader.must("sc-hsm-tool", &["--public-key-auth-status"]);
    assert!(
        said.contains("Number of public keys:     2\nMissing public keys:       1\n"),
        "{said}"
    );

    // A card with a root of its own does not.
    assert_eq!(reader.remove(), 0);
    reader.insert("stranger", &[]);
    initialise(
        &reader,
        &["--public-key-auth", "2", "--required-pub-keys", "1"],
    );
    let refused = reader.run("sc-hsm-tool", &register);
    assert_ne!(refused.rc, 0, "{refused:?}");
    let said = reader.must("sc-hsm-tool", &["--public-key-auth-status"]);
    assert!(said.contains("Missing public keys:       2"), "{said}");
}

#[test]
fn cards_come_and_go() {
    let Some(mut reader) = initialised("cards_come_and_go", &[]) else {
        return;
    };
    let generate = ["--keypairgen", "--key-type", "EC:prime256v1", "--id", "01"];
    reader.pkcs11(PIN, &[&generate[..], &["--label", "kept"]].concat());
    reader.kill_card();
    let gone = reader.run("sc-hsm-tool", &["--reader", "0"]);
    assert!(gone.stderr_text().contains("Card not present"), "{gone:?}");
    reader.insert("card", &[]);
    let objects = reader.pkcs11(PIN, &["--list-objects", "--type", "privkey"]);
    assert!(objects.contains("kept"), "{objects}");
}
