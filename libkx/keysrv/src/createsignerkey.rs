//! `createsignerkey`: the key that a domain's certificates are signed with (keysrv spec 13).

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use inferno_auth::floor::{BelowFloor, Floor};
use inferno_auth::generate::{self, GroupChoice};
use inferno_auth::key::Algorithm;
use kx_cli::plan9::{Args, Opt};

use crate::authinfo_file;
use crate::clock::Clock;
use crate::expiry_date::{self, DateError};
use crate::program::{Environment, Exit};

const USAGE: &str = "usage: createsignerkey [-a algorithm] [-f keyfile] [-e ddmmyyyy] [-b size-in-bits] \
                     [--compat] name-of-owner";

/// Sizes of keys that the original takes.
const BITS: RangeInclusive<u32> = 32..=4096;

struct Choice {
    algorithm: Algorithm,
    file: PathBuf,
    expiry: i32,
    bits: Option<u32>,
    compatible: bool,
}

/// Makes the key and writes it to `/keydb/signerkey` or `-f`. ElGamal's takes minutes.
pub fn run(env: &mut Environment, words: Vec<OsString>) -> Exit {
    let mut choice = Choice {
        algorithm: Algorithm::Rsa,
        file: env.paths.signer_key(),
        expiry: 0,
        bits: None,
        compatible: false,
    };
    let mut args = Args::new(words);
    while let Some(option) = args.option() {
        let taken = match option {
            Opt::Letter('a') => args.text().map(|name| choice.set_algorithm(&name)),
            Opt::Letter('f' | 'k') => args.value().map(|file| {
                choice.file = file.into();
                Ok(())
            }),
            Opt::Letter('e') => args.text().map(|date| {
                choice.expiry = expiry(&env.clock, &date)?;
                Ok(())
            }),
            Opt::Letter('b') => args.text().map(|bits| choice.set_bits(&bits)),
            Opt::Long(name) if name == "compat" => {
                choice.compatible = true;
                Some(Ok(()))
            }
            _ => None,
        };
        match taken {
            Some(Ok(())) => {}
            Some(Err(complaint)) => return env.fail(complaint),
            None => return env.usage(USAGE),
        }
    }
    let operands = args.operands();
    let Some(owner) = operands.first() else {
        return env.usage(USAGE);
    };
    match owner.to_str() {
        Some(owner) => create(env, &choice, owner),
        None => env.fail("bad owner name"),
    }
}

impl Choice {
    fn set_algorithm(&mut self, name: &str) -> Result<(), String> {
        // DSA keys are of no use to the original.
        self.algorithm = Algorithm::named(name.as_bytes())
            .filter(|algorithm| *algorithm != Algorithm::Dsa)
            .ok_or_else(|| format!("unknown algorithm: {name}"))?;
        Ok(())
    }

    fn set_bits(&mut self, text: &str) -> Result<(), String> {
        let digits = text
            .trim_start()
            .split(|c: char| !c.is_ascii_digit())
            .next();
        let bits = digits.and_then(|digits| digits.parse().ok());
        self.bits = bits.filter(|bits| BITS.contains(bits));
        match self.bits {
            Some(_) => Ok(()),
            None => Err("modulus must be in the range of 32 to 4096 bits".to_owned()),
        }
    }
}

fn create(env: &mut Environment, choice: &Choice, owner: &str) -> Exit {
    let (usual, group) = if choice.compatible {
        (generate::COMPATIBLE_BITS, GroupChoice::Compatible)
    } else {
        (generate::SIGNER_BITS, GroupChoice::Modp2048)
    };
    let bits = choice.bits.unwrap_or(usual);
    // Our other programs refuse the key unless they are told not to.
    let least = Floor::default().min_bits;
    if bits < least {
        env.complain(format_args!(
            "warning: {}; it is taken with --min-bits={bits} only",
            BelowFloor::Bits { bits, least }
        ));
    }
    let info = match generate::signer(choice.algorithm, bits, owner, choice.expiry, group) {
        Ok(info) => info,
        Err(error) => return env.fail(error),
    };
    match authinfo_file::write(&choice.file, &info) {
        Ok(()) => Exit::Success,
        Err(error) => {
            let file = choice.file.display();
            env.fail(format!("can't write signerkey file {file}: {error}"))
        }
    }
}

/// The end of a day and an hour more, as the original has it.
fn expiry(clock: &Clock, date: &str) -> Result<i32, String> {
    let complaint = match expiry_date::parse(clock, date) {
        Ok(end) => match i32::try_from(end.saturating_add(3600)) {
            Ok(expiry) => return Ok(expiry),
            Err(_) => "!expiration date must be in the future",
        },
        Err(DateError::Format(_)) => "!date must be in form ddmmyyyy",
        Err(DateError::Day(_)) => "!bad day of month",
        Err(DateError::Month(_)) => "!bad month",
        Err(DateError::Year(_)) => "!bad year",
        // Also what is later than 2038, where its seconds become negative.
        Err(DateError::Range { .. }) => "!expiration date must be in the future",
    };
    Err(complaint.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use inferno_auth::key::Algorithm;

    use crate::authinfo_file;
    use crate::program::{Exit, fake};

    fn run(root: &Path, words: &[&str]) -> (Exit, String) {
        let (mut env, stdout, stderr) = fake::environment("createsignerkey", root, b"");
        let words = words.iter().map(Into::into).collect();
        let exit = super::run(&mut env, words);
        assert_eq!(stdout.text(), "");
        (exit, stderr.text())
    }

    #[test]
    fn makes_a_signer() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("keydb")).unwrap();
        let made = run(root.path(), &["-b1024", "signer of tests"]);
        assert_eq!(made, (Exit::Success, String::new()));
        let path = root.path().join("keydb/signerkey");
        let info = authinfo_file::read(&path).unwrap();
        assert!(info.is_signer());
        assert_eq!(info.signer_key.owner(), "signer of tests");
        assert_eq!(info.signer_key.bits(), 1024);
        assert_eq!(info.certificate.expiry(), 0);
        assert_eq!((info.group.p.bits(), info.group.alpha.bits()), (2048, 2));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn defaults_and_those_of_the_original() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("key");
        let name = file.to_str().unwrap();
        let made = run(root.path(), &["-f", name, "s"]);
        assert_eq!(made, (Exit::Success, String::new()));
        let info = authinfo_file::read(&file).unwrap();
        assert_eq!((info.signer_key.bits(), info.group.p.bits()), (2048, 2048));
        let made = run(
            root.path(),
            &["--compat", "-k", name, "-e", "22112026", "s"],
        );
        assert_eq!(made, (Exit::Success, String::new()));
        let info = authinfo_file::read(&file).unwrap();
        assert_eq!((info.signer_key.bits(), info.group.p.bits()), (1024, 1024));
        assert_eq!(info.group.alpha.bits(), 160);
        // 2026-11-23 00:59:59
        assert_eq!(info.certificate.expiry(), 1_795_395_599);
    }

    #[test]
    fn short_keys_are_made_with_a_warning() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("key");
        let name = file.to_str().unwrap();
        for (bits, algorithm) in [(32, "rsa"), (33, "rsa"), (511, "rsa"), (64, "elgamal")] {
            let option = format!("-b{bits}");
            let made = run(root.path(), &[&option, "-a", algorithm, "-f", name, "s"]);
            let wanted = format!(
                "createsignerkey: warning: key of {bits} bits is too short (need 512); it is taken with \
                 --min-bits={bits} only\n"
            );
            assert_eq!(made, (Exit::Success, wanted));
            let info = authinfo_file::read(&file).unwrap();
            assert_eq!(info.signer_key.bits(), bits);
            // A modulus shorter than a digest signs what nobody can verify, in the original too.
            assert_eq!(
                info.is_signer(),
                bits > 160 || algorithm == "elgamal",
                "{bits}"
            );
        }
    }

    #[test]
    fn elgamal() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("key");
        let name = file.to_str().unwrap();
        let made = run(root.path(), &["-aelgamal", "-b", "512", "-f", name, "s"]);
        assert_eq!(made, (Exit::Success, String::new()));
        let info = authinfo_file::read(&file).unwrap();
        assert_eq!(info.signer_key.algorithm(), Algorithm::Elgamal);
        assert!(info.is_signer());
    }

    #[test]
    fn complaints() {
        let root = tempfile::tempdir().unwrap();
        let range = "modulus must be in the range of 32 to 4096 bits";
        let future = "!expiration date must be in the future";
        for (words, wanted) in [
            (&["-a", "dsa", "s"][..], "unknown algorithm: dsa"),
            (&["-a", "ed25519", "s"], "unknown algorithm: ed25519"),
            (&["-b", "31", "s"], range),
            (&["-b", "4097", "s"], range),
            (&["-b", "many", "s"], range),
            (&["-e", "1112026", "s"], "!date must be in form ddmmyyyy"),
            (&["-e", "00112026", "s"], "!bad day of month"),
            (&["-e", "01132026", "s"], "!bad month"),
            (&["-e", "01011969", "s"], "!bad year"),
            (&["-e", "01012026", "s"], future),
            (&["-e", "01012050", "s"], future),
            (&["-b", "512", ""], "bad owner name"),
            (&["-b", "512", "two\nlines"], "bad owner name"),
        ] {
            let wanted = format!("createsignerkey: {wanted}\n");
            assert_eq!(run(root.path(), words), (Exit::Error, wanted), "{words:?}");
        }
        for words in [&[][..], &["-x", "s"], &["-b"], &["--other", "s"]] {
            let (exit, text) = run(root.path(), words);
            assert_eq!(exit, Exit::Usage);
            assert!(text.starts_with("usage: createsignerkey [-a "), "{text}");
        }
        let (exit, text) = run(root.path(), &["-b512", "s"]);
        let file = root.path().join("keydb/signerkey");
        let wanted = format!(
            "createsignerkey: can't write signerkey file {}: no such file or directory\n",
            file.display()
        );
        assert_eq!((exit, text), (Exit::Error, wanted));
    }
}
