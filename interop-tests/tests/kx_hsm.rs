//! `kx-hsm` on software devices: what it refuses, with which exit status, and that nothing is changed then.

use std::process::Command;

use interop_tests::program::{Finished, run_command};
use interop_tests::subject::{subject, workspace};
use tempfile::TempDir;

/// Devices in a directory of their own.
struct Lab(TempDir);

impl Lab {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("directory"))
    }

    fn run(&self, line: &str) -> Finished {
        run_command(
            Command::new(subject().program("kx-hsm"))
                .args(line.split_whitespace())
                .current_dir(self.0.path())
                .env("PIN", "648219")
                .env("SO", "3537363231383830")
                .env_remove("KX_CARD"),
        )
    }

    fn must(&self, line: &str) -> String {
        let done = self.run(line);
        assert_eq!(done.rc, 0, "{line}: {}", done.stderr_text());
        done.stdout_text()
    }

    /// It must fail so, and say so.
    fn refused(&self, line: &str, rc: i32, text: &str) {
        let done = self.run(line);
        let said = done.stderr_text();
        assert_eq!(done.rc, rc, "{line}: {said}");
        assert!(said.contains(text), "{line}: {said}");
    }

    fn initialized(&self, card: &str) {
        self.must(&format!(
            "init --card vcard:{card},ca=ca --so-pin env:SO --pin env:PIN --shares 0 --domains 2 --yes"
        ));
    }

    /// A member of the group whose signer is key 1 of `a`.
    fn member(&self, card: &str) {
        self.must(&format!(
            "device export --card vcard:{card},ca=ca --out {card}.dev"
        ));
        self.must(&format!(
            "membership sign --card vcard:a,ca=ca --group group.pka --group-id 1 --member {card}.dev --out {card}.kdm \
             --trust-root ca/root.cvc --pin env:PIN"
        ));
        self.must(&format!(
            "membership install {card}.kdm --card vcard:{card},ca=ca -d 1 --pin env:PIN"
        ));
    }
}

#[test]
fn command_lines_that_are_none_touch_nothing() {
    let lab = Lab::new();
    for (line, text) in [
        ("", "what is to be done?"),
        ("frobnicate", "frobnicate: no such verb"),
        ("status --peer x", "there is no option --peer here"),
        ("key wrap --card vcard:a --out f", "--id is missing"),
        ("status --card usb:1", "usb:1: no card."),
        ("key generate --card vcard:a --type dsa:1", "not rsa:BITS"),
        ("share import", "which file?"),
    ] {
        lab.refused(line, 2, text);
    }
    let left = std::fs::read_dir(lab.0.path()).expect("list").count();
    assert_eq!(left, 0, "no card was made");
}

#[test]
fn pins_are_counted_and_nothing_is_destroyed_unasked() {
    let lab = Lab::new();
    lab.initialized("a");
    let card = "--card vcard:a,ca=ca";
    let generate = format!("key generate {card} --type ec:secp256r1");
    lab.refused(&format!("{generate} --pin 000000"), 4, "63C2");
    lab.refused(&format!("{generate} --pin 000000"), 4, "63C1");
    assert!(lab.must(&format!("status {card}")).contains("1 tries left"));
    lab.must(&format!("{generate} --pin env:PIN"));
    // Nobody is there to say yes.
    lab.refused(
        &format!("key delete {card} --id 1 --pin env:PIN"),
        3,
        "not done",
    );
    lab.refused(
        &format!("init {card} --so-pin env:SO --pin env:PIN"),
        3,
        "not done",
    );
    lab.must(&format!("key delete {card} --id 1 --pin env:PIN --dry-run"));
    assert!(
        lab.must(&format!("key list {card}"))
            .contains("EC secp256r1")
    );
    lab.refused(
        &format!("key delete {card} --id 9 --pin env:PIN --yes"),
        1,
        "no key 9",
    );
    lab.refused("status --card vpcd:127.0.0.1:1", 5, "vpcd:127.0.0.1:1");
    lab.refused(
        &format!("{generate} --pin env:KX_NO_SUCH"),
        4,
        "no variable KX_NO_SUCH",
    );
}

#[test]
fn what_is_forged_or_of_others_is_refused() {
    let lab = Lab::new();
    for card in ["a", "b"] {
        lab.initialized(card);
    }
    lab.must("group create --card vcard:a,ca=ca --id 1 --out group.pka --pin env:PIN");
    lab.member("a");
    let card = "--card vcard:b,ca=ca";
    // A membership of another device, and one whose signature was changed.
    lab.refused(
        &format!("membership install a.kdm {card} -d 1 --pin env:PIN"),
        1,
        "not for this device",
    );
    lab.member("b");
    let path = lab.0.path().join("b.kdm");
    let mut forged = std::fs::read(&path).expect("file");
    *forged.last_mut().expect("octets") ^= 1;
    std::fs::write(&path, forged).expect("written");
    lab.refused(
        &format!("membership install b.kdm {card} -d 0 --pin env:PIN"),
        1,
        "b.kdm",
    );
    // A key stays in its domain; a blob of another DKEK finds none.
    lab.must("key generate --card vcard:a,ca=ca -d 0 --id 2 --type ec:secp256r1 --pin env:PIN");
    let ways = "--from vcard:a,ca=ca --to vcard:b,ca=ca --from-pin env:PIN --to-pin env:PIN";
    lab.refused(
        &format!("key move {ways} --id 2"),
        1,
        "A key stays in the domain it was made in",
    );
    lab.must("key wrap --card vcard:a,ca=ca --id 2 --out two.wky --pin env:PIN");
    lab.refused(
        &format!("key unwrap two.wky {card} --pin env:PIN"),
        1,
        "no key domain has",
    );
    let path = lab.0.path().join("two.wky");
    let whole = std::fs::read(&path).expect("file");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    lab.refused(
        &format!("key unwrap two.wky {card} --pin env:PIN"),
        1,
        "two.wky",
    );
    // A move that fails leaves no exchange keys behind.
    lab.must("key generate --card vcard:a,ca=ca -d 1 --id 3 --type ec:secp256r1 --pin env:PIN");
    let wrong = "--from vcard:a,ca=ca --to vcard:b,ca=ca --from-pin env:PIN --to-pin 000000";
    lab.refused(&format!("key move {wrong} --id 3"), 4, "vcard:b");
    let list = lab.must("key list --card vcard:a,ca=ca");
    assert!(!list.contains("exchange key"), "{list}");
    lab.must(&format!("key move {ways} --id 3"));
    let list = lab.must(&format!("key list {card}")) + &lab.must("key list --card vcard:a,ca=ca");
    assert!(!list.contains("exchange key"), "{list}");
}

#[test]
fn recorded_files_are_recognised() {
    let lab = Lab::new();
    let vectors = workspace().join("interop-tests/vectors/xkek");
    let vectors = vectors.canonicalize().expect("vectors");
    for (file, text) in [
        ("dkek/s1.pbe", "DKEK share"),
        ("wky/rsa2048.wky", "78EFA959628F14F6"),
        ("cvc/public-example.kdm", "key domain membership"),
        (
            "pka/key0.pka",
            "public key with its device's certificates (PKA)",
        ),
        ("xkek/exchangeA.req", "Group"),
        ("xkek/dica.cvc", "certificate"),
        ("blobs/aes256.blob", "key blob"),
    ] {
        let said = lab.must(&format!("file show {}", vectors.join(file).display()));
        assert!(said.contains(text), "{file}: {said}");
    }
    let root = vectors.join("cvc/srca-DESRCACC100001.cvc");
    let said = lab.must(&format!("file verify {}", root.display()));
    assert!(said.contains("It is signed with its own key."), "{said}");
    let said = lab.must(&format!("file show --json {}", root.display()));
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(json.get("ok"), Some(&true.into()));
    std::fs::write(lab.0.path().join("junk"), "junk").expect("written");
    lab.refused("file show junk", 1, "junk: no DKEK share");
}
