//! `kx-hsm selftest`: known answers, and with a card whether it answers as it should. Changes nothing.

use xkek::blob::{self, Attributes, Blob};
use xkek::curve::Curve;
use xkek::hsm::Hsm;
use xkek::kek::{Kdf, Kek};
use xkek::key::{EcPrivate, Key};
use xkek::rng::System;
use xkek::shamir::{self, Share};

use crate::error::{Error, Result};
use crate::task::Task;
use crate::trust;

/// A recorded 3-of-5 split of OpenSC's sc-hsm-tool, and its password.
const PRIME: &str = "de:93:50:66:dd:72:15:d3";
const NOTES: [(&str, &str); 3] = [
    ("1", "03:ce:0f:b1:ce:bf:a5:19"),
    ("3", "8a:83:31:dc:48:67:8a:8a"),
    ("5", "33:28:04:20:2a:46:59:50"),
];
const PASSWORD: [u8; 8] = [0x2f, 0xee, 0x47, 0x00, 0x1a, 0xc4, 0x1c, 0xf9];
/// KCV of a key of zeros: SHA-256 of 32 zeros.
const ZEROS: &str = "66687AADF862BD77";

/// A name, and what is to be true.
type Check = (&'static str, fn() -> bool);

/// Runs all checks.
///
/// # Errors
/// [`Error::Failed`] naming those that failed.
pub fn selftest(task: &mut Task) -> Result<()> {
    let mut failed = Vec::new();
    let checks: [Check; 4] = [
        ("password shares", password_shares),
        ("key check value", check_value),
        ("key blob", key_blob),
        ("key agreement on every curve", agreement),
    ];
    for (name, check) in checks {
        let good = check();
        task.report.line(&format!(
            "{name:<30}: {}",
            if good { "good" } else { "WRONG" }
        ));
        if !good {
            failed.push(name);
        }
    }
    if task.arguments.has("card") || task.arguments.has("reader") {
        let mut device = task.device()?;
        let (certificate, issuer) = device.certificates()?;
        let chain = xkek::chain::verify_device(&certificate, &issuer, &trust::roots(task)?, None);
        let text = match chain {
            Ok(known) => format!("{} is a device under {}", known.name, known.root),
            Err(error) => error.to_string(),
        };
        task.report.value("chain", "Certificates", text);
        let first = device.ask(|hsm| hsm.challenge(32))?;
        let second = device.ask(|hsm| hsm.challenge(32))?;
        if first == second {
            failed.push("random numbers of the card");
        }
        let domains = device.ask(Hsm::domains)?.len();
        task.report.value("domains", "Key domains", domains);
    }
    if failed.is_empty() {
        task.report.step("Everything is as it should be.", "");
        Ok(())
    } else {
        Err(Error::Failed(format!("wrong: {}", failed.join(", "))))
    }
}

fn password_shares() -> bool {
    let shares: std::result::Result<Vec<Share>, _> = NOTES
        .iter()
        .map(|(id, value)| Share::parse(PRIME, id, value))
        .collect();
    let password = shares.and_then(|shares| shamir::combine(&shares));
    password.is_ok_and(|password| password.ct_eq(&PASSWORD))
}

fn check_value() -> bool {
    Kek::zero().kcv().to_string() == ZEROS
}

fn key_blob() -> bool {
    let mut rng = System;
    let (Ok(kek), Ok(key)) = (
        Kek::generate(&mut rng),
        EcPrivate::generate(Curve::Secp256r1, &mut rng),
    ) else {
        return false;
    };
    let public = key.public().clone();
    let Ok(sealed) = blob::seal(&kek, &Key::Ec(key), &Attributes::default(), &mut rng) else {
        return false;
    };
    let opened = Blob::parse(&sealed).and_then(|blob| blob.open(&kek, &mut rng));
    matches!(opened.map(|opened| opened.key), Ok(Key::Ec(key)) if *key.public() == public)
}

fn agreement() -> bool {
    Curve::ALL.into_iter().all(|curve| {
        let mut rng = System;
        let (Ok(one), Ok(other)) = (
            EcPrivate::generate(curve, &mut rng),
            EcPrivate::generate(curve, &mut rng),
        ) else {
            return false;
        };
        let here = Kdf::RawX.agree(&one, other.public());
        let there = Kdf::RawX.agree(&other, one.public());
        matches!((here, there), (Ok(here), Ok(there)) if here.ct_eq(&there))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_are_found() {
        assert!(password_shares());
        assert!(check_value());
        assert!(key_blob());
        assert!(agreement());
    }
}
