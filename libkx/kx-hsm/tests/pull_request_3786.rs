//! The options that OpenSC has merged after its last release (pull request 3786), on a software device.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use kx_hsm::sc_hsm_tool::console::Console;
use kx_hsm::sc_hsm_tool::run;
use kx_secret::SecretBytes;
use xkek::algorithm;
use xkek::hsm::{Hsm, Pin, PinState, options};
use xkek_io::{Limits, Spec, Transport};

const PIN: &str = "648219";
const INIT: &str = "--initialize --so-pin 3537363231383830 --pin 648219";

/// Both streams in one.
#[derive(Default)]
struct Heard(String);

impl Console for Heard {
    fn out(&mut self, text: &str) {
        self.0.push_str(text);
    }
    fn err(&mut self, text: &str) {
        self.0.push_str(text);
    }
    fn line(&mut self) -> Option<SecretBytes> {
        None
    }
    fn secret(&mut self) -> Option<SecretBytes> {
        None
    }
    fn clear(&mut self) {}
}

struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Exit status, and what was said.
    fn tool(&self, line: &str) -> (u8, String) {
        let reader = format!("-rvcard:{}", self.path("card").display());
        let words = line.split_whitespace().map(|word| {
            let file = word.ends_with(".wky");
            OsString::from(if file { self.path(word) } else { word.into() })
        });
        let words: Vec<OsString> = words.chain([OsString::from(reader)]).collect();
        let mut heard = Heard::default();
        let status = run(OsStr::new("sc-hsm-tool"), words, &|_| None, &mut heard);
        (status, heard.0)
    }

    fn must(&self, line: &str) -> String {
        let (status, said) = self.tool(line);
        assert_eq!(status, 0, "{line}: {said}");
        said
    }

    fn refused(&self, line: &str, text: &str) {
        let (status, said) = self.tool(line);
        assert_eq!(status, 1, "{line}: {said}");
        assert!(said.contains(text), "{line}: {said}");
    }

    /// The card itself, selected; and the options it was initialized with.
    fn card(&self) -> (Hsm<Transport>, u16) {
        let spec = Spec::Vcard {
            state: self.path("card"),
            authority: None,
        };
        let mut hsm = Hsm::new(Transport::open(&spec, Limits::default()).expect("the card"));
        let applet = hsm.select().expect("selected");
        (hsm, applet.options)
    }
}

#[test]
fn what_the_device_is_initialized_for() {
    let lab = Lab::new();
    for (words, wanted) in [
        ("", options::RESET_RETRY_COUNTER),
        ("--no-rrc", 0),
        (
            "--transport-pin",
            options::RESET_RETRY_COUNTER | options::TRANSPORT_PIN,
        ),
        ("--no-pin-reset", options::RESET_RETRY_COUNTER | 0x20),
        (
            "--public-key-auth 2 --replace-key-allowed",
            options::RESET_RETRY_COUNTER | 8,
        ),
        (
            "--public-key-auth 2 --require-pka-and-pin",
            options::RESET_RETRY_COUNTER | 0x10,
        ),
    ] {
        lab.must(&format!("{INIT} {words}"));
        let (mut hsm, found) = lab.card();
        assert_eq!(found, wanted, "{words}");
        // What they do.
        let so_pin = b"57621880";
        let cleared = hsm.reset_retry_counter(so_pin, None);
        assert_eq!(cleared.is_ok(), wanted & 0x21 != 0, "{words}: {cleared:?}");
        let replaced = hsm.reset_retry_counter(so_pin, Some(b"123456"));
        assert_eq!(
            replaced.is_ok(),
            wanted & 0x21 == 1,
            "{words}: {replaced:?}"
        );
        if words == "--transport-pin" {
            assert!(lab.tool("").1.contains("retry") || replaced.is_ok());
        }
    }
    lab.must(&format!("{INIT} --transport-pin"));
    let (mut hsm, _) = lab.card();
    assert_eq!(
        hsm.pin_state(Pin::User).expect("asked"),
        PinState::Transport
    );
    drop(hsm);
    assert!(
        lab.must("")
            .contains("Transport-PIN active. Please change to user selected PIN first.\n")
    );
    assert!(lab.must("").contains("  Transport-PIN mode enabled\n"));
}

#[test]
fn key_domains_are_made_used_and_deleted() {
    let lab = Lab::new();
    lab.must(&format!("{INIT} --key-domain 3"));
    assert_eq!(lab.card().0.domains().expect("asked").len(), 3);
    let on = |number: u8| format!("--key-domain {number} --pin {PIN}");
    lab.refused(
        &format!("--create-dkek-key-domain {}", on(1)),
        "--create-dkek-key-domain requires option -s (--dkek-shares)",
    );
    lab.refused(
        "--clear-kek --key-domain 256 --pin 648219",
        "Invalid key domain",
    );
    let said = lab.must(&format!("--create-dkek-key-domain -s 1 {}", on(1)));
    assert!(
        said.contains("DKEK import pending, 1 share(s) still missing\n"),
        "{said}"
    );
    assert!(said.ends_with("Key domain 1 created\n"), "{said}");
    lab.refused(
        &format!("--create-dkek-key-domain -s 1 {}", on(9)),
        "Key domain 9: failed with",
    );
    let share =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop-tests/vectors/xkek/dkek/s1.pbe");
    let said = lab.must(&format!(
        "--import-dkek-share {} --password share-one-pw {}",
        share.display(),
        on(1)
    ));
    assert!(said.contains("DKEK key check value"), "{said}");
    let value = lab.card().0.domain(1).expect("asked").kcv().expect("a key");
    assert!(said.contains(&value.to_string()), "{said}");

    // A key of two uses in it, by its label.
    lab.refused(
        &format!("--generate-key dsa:1 {}", on(1)),
        "Unknown key type dsa:1, use rsa:<bits> or ec:<curve>",
    );
    let said = lab.must(&format!(
        "--generate-key ec:secp256r1 --key-use-counter 2 --label twice {}",
        on(1)
    ));
    assert!(
        said.ends_with("Key generated with key reference 1\n"),
        "{said}"
    );
    let said = lab.must(&format!(
        "--generate-key ec:secp256r1 -i 7 -l other {}",
        on(1)
    ));
    assert!(
        said.ends_with("Key generated with key reference 7\n"),
        "{said}"
    );
    let (mut hsm, _) = lab.card();
    hsm.verify(Pin::User, PIN.as_bytes()).expect("logged in");
    let attributes = hsm.key_attributes(1).expect("asked").expect("a key");
    assert_eq!(
        (attributes.domain, attributes.use_counter),
        (Some(1), Some(2))
    );
    for _ in 0..2 {
        hsm.sign(1, algorithm::ECDSA_SHA256, b"text")
            .expect("signed");
    }
    let third = hsm
        .sign(1, algorithm::ECDSA_SHA256, b"text")
        .expect_err("refused");
    assert_eq!(third.sw().map(|sw| sw.0), Some(0x6984));
    drop(hsm);

    lab.refused(&format!("--wrap-key k.wky --label none --pin {PIN}"), "");
    lab.must(&format!("--wrap-key k.wky --label other --pin {PIN}"));
    // Without a reference the lowest free one.
    lab.must(&format!("--unwrap-key k.wky --pin {PIN}"));
    let (mut hsm, _) = lab.card();
    assert!(hsm.key_attributes(2).expect("asked").is_some());
    assert_eq!(hsm.key_attributes(3).expect("asked"), None);
    drop(hsm);

    lab.refused(
        &format!("--delete-key-domain {}", on(1)),
        "Key domain 1 still has keys",
    );
    let said = lab.must(&format!("--clear-kek {}", on(1)));
    assert!(
        said.ends_with("Key domain 1 has no key encryption key any more\n"),
        "{said}"
    );
    assert_eq!(lab.card().0.domain(1).expect("asked").kcv(), None);
    lab.refused(&format!("--wrap-key l.wky -i 7 --pin {PIN}"), "failed with");
    assert!(!lab.path("l.wky").exists());
    let (mut hsm, _) = lab.card();
    hsm.verify(Pin::User, PIN.as_bytes()).expect("logged in");
    for id in [1, 2, 7] {
        assert!(hsm.delete(0xcc00 | id).expect("deleted"));
    }
    drop(hsm);
    let said = lab.must(&format!("--delete-key-domain {}", on(1)));
    assert!(said.ends_with("Key domain 1 deleted\n"), "{said}");
}
