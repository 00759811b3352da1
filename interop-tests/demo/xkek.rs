//! SmartCard-HSM key domains: two software devices with different DKEKs form a group, and keys that were
//! made in it move from one to the other.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Output};

use crate::show::{answer, command, meaning, step, title};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The whole story.
pub(crate) fn run(bin: &Path) -> Outcome<()> {
    title("xkek: key domains of the SmartCard-HSM and Nitrokey HSM 2, on software devices.");
    let directory = tempfile::tempdir()?;
    let lab = Lab {
        bin: &bin.canonicalize()?,
        directory: directory.path(),
    };

    step(
        1,
        "Two devices under one root, each with a DKEK of its own that nobody knows.",
    );
    let mut values = Vec::new();
    for card in ["a", "b"] {
        let init = "--so-pin env:SO --pin env:PIN --shares 0 --domains 2 --yes";
        lab.hsm(&format!("init --card vcard:{card},ca=ca {init}"))?;
        let status = lab.quiet(&format!("status --card vcard:{card},ca=ca -d 0"))?;
        let line = status.lines().find(|line| line.contains("Key domain 0"));
        let line = line.ok_or("no key domain 0")?.to_owned();
        answer(&line);
        values.push(line);
    }
    if values.first() == values.get(1) {
        return Err("both have the same DKEK".into());
    }
    meaning("a key of either domain 0 can never get into the other's: their check values differ");

    step(
        2,
        "A group: its signer, here a key on the first device, makes both members.",
    );
    lab.hsm("group create --card vcard:a,ca=ca --out group.pka --pin env:PIN")?;
    for card in ["a", "b"] {
        lab.hsm(&format!(
            "device export --card vcard:{card},ca=ca --out {card}.dev"
        ))?;
        lab.hsm(&format!(
            "membership sign --card vcard:a,ca=ca --group group.pka --group-id 1 --member {card}.dev --out {card}.kdm \
             --trust-root ca/root.cvc --pin env:PIN"
        ))?;
        lab.hsm(&format!(
            "membership install {card}.kdm --card vcard:{card},ca=ca -d 1 --pin env:PIN"
        ))?;
    }
    meaning("each device has checked the chain of certificates and both signatures itself");

    step(
        3,
        "Each makes an exchange key and derives from the other's: no human has the key.",
    );
    let mut values = Vec::new();
    for card in ["a", "b"] {
        lab.hsm(&format!(
            "exchange-key create --card vcard:{card},ca=ca -d 1 --id 9 --out {card}.xk --pin env:PIN"
        ))?;
    }
    for (card, peer) in [("a", "b"), ("b", "a")] {
        let said = lab.hsm(&format!(
            "derive --card vcard:{card},ca=ca --id 9 --peer {peer}.xk --pin env:PIN"
        ))?;
        let value = said
            .lines()
            .find(|line| line.starts_with("Key check value"));
        values.push(value.ok_or("no key check value")?.to_owned());
    }
    if values.first() != values.get(1) {
        return Err("the key check values differ".into());
    }
    meaning("the same key check value at both: the same key");

    step(
        4,
        "A P-256 and an AES key, made in the group's domain, move with one command each.",
    );
    let made = "--card vcard:a,ca=ca -d 1 --pin env:PIN";
    lab.hsm(&format!(
        "key generate {made} --type ec:secp256r1 --label signing --id 2"
    ))?;
    lab.hsm(&format!(
        "key generate {made} --type aes:256 --label sealing --id 3"
    ))?;
    for id in [2, 3] {
        lab.hsm(&format!(
            "key move --from vcard:a,ca=ca --to vcard:b,ca=ca --id {id} --to-id {id} --from-pin env:PIN --to-pin env:PIN"
        ))?;
    }
    lab.hsm("key list --card vcard:b,ca=ca")?;
    meaning("fresh exchange keys, derivation, wrap, unwrap, comparison: all in that command");

    step(
        5,
        "The second device signs with the key that was made on the first.",
    );
    std::fs::write(
        directory.path().join("letter"),
        "moved, not copied by hand\n",
    )?;
    lab.hsm("key public --card vcard:a,ca=ca --id 2 --out public.pem")?;
    lab.hsm("key sign letter --card vcard:b,ca=ca --id 2 --out letter.sig --pin env:PIN")?;
    let line = "openssl dgst -sha256 -verify public.pem -signature letter.sig letter";
    command(line);
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    let done = lab.start(Command::new("openssl").args(words))?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    answer(&said);
    if !done.status.success() || !said.contains("Verified OK") {
        return Err("openssl does not verify the signature".into());
    }
    meaning("verified by OpenSSL with the public key as the first device attested it");

    step(
        6,
        "A stranger, a device under another root, gets a membership by mistake.",
    );
    let init = "--so-pin env:SO --pin env:PIN --domains 2 --yes";
    lab.hsm(&format!("init --card vcard:stranger {init}"))?;
    lab.hsm("device export --card vcard:stranger --out stranger.dev")?;
    lab.hsm(
        "membership sign --card vcard:a,ca=ca --group group.pka --group-id 1 --member stranger.dev --out stranger.kdm \
         --pin env:PIN",
    )?;
    lab.refused("membership install stranger.kdm --card vcard:stranger -d 1 --pin env:PIN")?;
    meaning(
        "devices of different roots cannot join: refused by the device, not by the tool's grace",
    );
    Ok(())
}

struct Lab<'a> {
    bin: &'a Path,
    directory: &'a Path,
}

impl Lab<'_> {
    fn start(&self, program: &mut Command) -> Outcome<Output> {
        program
            .current_dir(self.directory)
            .env("PIN", "648219")
            .env("SO", "3537363231383830");
        Ok(program.output()?)
    }

    fn tool(&self, line: &str) -> Outcome<Output> {
        self.start(Command::new(self.bin.join("kx-hsm")).args(line.split_whitespace()))
    }

    /// Runs kx-hsm, which must succeed; what it said.
    fn quiet(&self, line: &str) -> Outcome<String> {
        let done = self.tool(line)?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            return Err(format!("kx-hsm {line}: {said}").into());
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// As [`quiet`](Self::quiet), shown.
    fn hsm(&self, line: &str) -> Outcome<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        command(&format!("kx-hsm {}", words.join(" ")));
        let said = self.quiet(line)?;
        // How to check it is for those who do it by hand.
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| !line.starts_with("  To check"))
            .collect();
        answer(&lines.join("\n"));
        Ok(said)
    }

    /// Runs kx-hsm, which must fail.
    fn refused(&self, line: &str) -> Outcome<()> {
        command(&format!("kx-hsm {line}"));
        let done = self.tool(line)?;
        answer(&String::from_utf8_lossy(&done.stderr));
        match done.status.code() {
            Some(1) => Ok(()),
            other => Err(format!("it ended with {other:?}").into()),
        }
    }
}
