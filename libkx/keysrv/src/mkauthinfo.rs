//! `mkauthinfo`: a key for a user, made and certified by the signer himself (keysrv spec 13).

use std::ffi::OsString;
use std::path::PathBuf;

use inferno_auth::floor::Floor;
use inferno_auth::generate;
use inferno_auth::key::is_account_name;
use kx_cli::plan9::{Args, Opt};

use crate::authinfo_file;
use crate::clock::Clock;
use crate::expiry_date::{self, DateError};
use crate::keyring::KeySpec;
use crate::program::{Environment, Exit};

const USAGE: &str = "usage: auth/mkauthinfo [-k keyspec] [-e ddmmyyyy] user [keyfile]";

/// Writes the authinfo to the key file, or to standard output if none is named (where the original always
/// writes).
pub fn run(env: &mut Environment, words: Vec<OsString>) -> Exit {
    let mut spec = "key=default".to_owned();
    let mut expires = 0;
    let mut args = Args::new(words);
    while let Some(option) = args.option() {
        let value = args.text();
        match (option, value) {
            (Opt::Letter('k'), Some(value)) => spec = value,
            (Opt::Letter('e'), Some(value)) => match expiry(&env.clock, &value) {
                Ok(time) => expires = time,
                Err(complaint) => return env.fail(complaint),
            },
            _ => return env.usage(USAGE),
        }
    }
    let operands = args.operands();
    let (user, file) = match operands.as_slice() {
        [] => return env.usage(USAGE),
        [user, rest @ ..] => (user, rest.first().map(PathBuf::from)),
    };
    match user.to_str().filter(|user| is_account_name(user)) {
        Some(user) => make(env, &spec, expires, user, file),
        None => env.fail("bad user name"),
    }
}

fn make(
    env: &mut Environment,
    spec: &str,
    expires: i32,
    user: &str,
    file: Option<PathBuf>,
) -> Exit {
    // The original calls itself so here.
    "sign".clone_into(&mut env.name);
    let signer = match authinfo_file::read(&KeySpec::parse(spec).file(&env.paths)) {
        Ok(signer) => signer,
        Err(error) => {
            let spec = inferno_auth::attribute::quoted(spec);
            return env.fail(format!("can't find key matching {spec}: {error}"));
        }
    };
    match Floor::default().check_key(signer.public_key()) {
        Ok(warnings) => warnings
            .iter()
            .for_each(|warning| env.complain(format!("warning: signer's {warning}"))),
        Err(refused) => return env.fail(refused),
    }
    if !signer.is_signer() {
        env.complain("warning: not a signer's key: nobody will accept what it certifies");
    }
    let info = match generate::user(&signer, user, expires) {
        Ok(info) => info,
        Err(error) => return env.fail(error),
    };
    let written = match file {
        Some(file) => authinfo_file::write(&file, &info).map_err(|error| error.to_string()),
        None => info
            .to_bytes()
            .map_err(|error| error.to_string())
            .and_then(|content| {
                env.print(content.as_slice())
                    .map_err(|error| kx_log::format_errno(&error))
            }),
    };
    match written {
        Ok(()) => Exit::Success,
        Err(error) => env.fail(format!("error writing certificate: {error}")),
    }
}

/// That day, at the present time of day and a minute more, as the original has it; `permanent` is never.
fn expiry(clock: &Clock, date: &str) -> Result<i32, String> {
    const PASSED: &str = "expiry date has already passed";
    if date == "permanent" {
        return Ok(0);
    }
    let end = expiry_date::parse(clock, date).map_err(|error| match error {
        DateError::Format(date) => format!("bad date format {date} (expected DDMMYYYY)"),
        DateError::Day(day) => format!("bad day of month {day}"),
        DateError::Month(month) => format!("bad month {month}"),
        DateError::Year(year) => format!("bad year {year} (year may be no earlier than 1970)"),
        DateError::Range { .. } => PASSED.to_owned(),
    })?;
    let now = clock.local(clock.now());
    let then = clock.local(end).date().and_time(now.time());
    let expiry = clock.unix(then).saturating_add(60);
    i32::try_from(expiry).map_err(|_| PASSED.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use inferno_auth::authinfo::AuthInfo;
    use inferno_auth::generate::RSA_EXPONENT;
    use inferno_auth::key::PublicNumbers;

    use crate::authinfo_file;
    use crate::program::{Exit, fake};

    const GOLDEN: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/keysrv/authinfo"
    );

    fn run(root: &Path, words: &[&str]) -> (Exit, Vec<u8>, String) {
        let (mut env, stdout, stderr) = fake::environment("mkauthinfo", root, b"");
        let words = words.iter().map(Into::into).collect();
        let exit = super::run(&mut env, words);
        (exit, stdout.octets(), stderr.text())
    }

    #[test]
    fn certifies_users_as_the_original_does() {
        let root = tempfile::tempdir().unwrap();
        for algorithm in ["rsa", "elgamal"] {
            let spec = format!("key={GOLDEN}/signerkey.{algorithm}");
            let words = ["-k", &spec, "-e", "22112026", "bob"];
            let (exit, stdout, stderr) = run(root.path(), &words);
            assert_eq!(exit, Exit::Success);
            assert!(stderr.starts_with("sign: warning: signer's weak key: "));
            let signer = authinfo_file::read(Path::new(&spec[4..])).unwrap();
            let info = AuthInfo::parse(&stdout).unwrap();
            assert!(info.is_certified());
            assert_eq!(info.signer_key.text(), signer.signer_key.text());
            assert_eq!(info.group.p, signer.group.p);
            assert_eq!(info.public_key().owner(), "bob");
            // Tomorrow noon and a minute.
            assert_eq!(info.certificate.expiry(), 1_795_348_860);
            if let PublicNumbers::Rsa(key) = info.public_key().numbers() {
                assert_eq!(key.e.to_bytes(), RSA_EXPONENT.to_be_bytes()[1..]);
            }
        }
    }

    #[test]
    fn writes_the_file_that_is_named() {
        let root = tempfile::tempdir().unwrap();
        let keyring = root.path().join("usr/alice/keyring");
        std::fs::create_dir_all(&keyring).unwrap();
        std::fs::copy(
            format!("{GOLDEN}/signerkey.elgamal"),
            keyring.join("default"),
        )
        .unwrap();
        let file = root.path().join("carol");
        let (exit, stdout, _) = run(root.path(), &["carol", file.to_str().unwrap()]);
        assert_eq!((exit, stdout), (Exit::Success, Vec::new()));
        let info = authinfo_file::read(&file).unwrap();
        assert!(info.is_certified());
        assert_eq!(info.certificate.expiry(), 0);
        let (exit, _, stderr) = run(root.path(), &["-epermanent", "dave", "/nowhere/dave"]);
        assert_eq!(exit, Exit::Error);
        let wanted = "sign: error writing certificate: no such file or directory\n";
        assert!(stderr.ends_with(wanted), "{stderr}");
        // What is certified with a user's key convinces nobody.
        std::fs::copy(&file, keyring.join("default")).unwrap();
        let (exit, _, stderr) = run(root.path(), &["eve"]);
        assert_eq!(exit, Exit::Success);
        assert!(stderr.contains("not a signer's key"), "{stderr}");
    }

    #[test]
    fn complaints() {
        let root = tempfile::tempdir().unwrap();
        for (words, wanted) in [
            (
                &["-e", "1", "u"][..],
                "bad date format 1 (expected DDMMYYYY)",
            ),
            (&["-e", "32012027", "u"], "bad day of month 32"),
            (&["-e", "01132027", "u"], "bad month 13"),
            (
                &["-e", "01011960", "u"],
                "bad year 1960 (year may be no earlier than 1970)",
            ),
            (&["-e", "20112026", "u"], "expiry date has already passed"),
            (&["-e", "01012099", "u"], "expiry date has already passed"),
            (&["../bob"], "bad user name"),
            (&[""], "bad user name"),
        ] {
            let (exit, _, stderr) = run(root.path(), words);
            assert_eq!(exit, Exit::Error);
            assert_eq!(stderr, format!("mkauthinfo: {wanted}\n"), "{words:?}");
        }
        for words in [&[][..], &["-k"], &["-x", "u"], &["--help"]] {
            let (exit, _, stderr) = run(root.path(), words);
            let usage = format!("{}\n", super::USAGE);
            assert_eq!((exit, stderr), (Exit::Usage, usage), "{words:?}");
        }
        let (exit, stdout, stderr) = run(root.path(), &["-k", "server=a dom='b c'", "u"]);
        assert_eq!((exit, stdout.len()), (Exit::Error, 0));
        let start = "sign: can't find key matching 'server=a dom=''b c''': ";
        assert!(stderr.starts_with(start), "{stderr}");
    }
}
