//! `getpk`: the public keys of authinfo files (keysrv spec 13).

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use kx_cli::plan9::{Args, Opt};
use kx_crypto::digest;

use crate::authinfo_file;
use crate::program::{Environment, Exit};

const USAGE: &str = "usage: getpk [-asu] file...";

/// Prints a line for each file: the digest of its own key or, with `-s`, of its signer's; with `-a` the text
/// itself. A file that cannot be read is no reason to end, nor to fail.
pub fn run(env: &mut Environment, words: Vec<OsString>) -> Exit {
    let (mut whole, mut of_signer, mut with_owner) = (false, false, false);
    let mut args = Args::new(words);
    while let Some(option) = args.option() {
        match option {
            Opt::Letter('a') => whole = true,
            Opt::Letter('s') => of_signer = true,
            Opt::Letter('u') => with_owner = true,
            _ => return env.usage(USAGE),
        }
    }
    let files = args.operands();
    if files.is_empty() {
        return env.usage(USAGE);
    }
    for file in files.iter().map(Path::new) {
        let info = match authinfo_file::read(file) {
            Ok(info) => info,
            Err(error) => {
                env.complain(format!("cannot read {}: {error}", file.display()));
                continue;
            }
        };
        let key = if of_signer {
            &info.signer_key
        } else {
            info.public_key()
        };
        let text = key.canonical_text();
        let mut line = String::new();
        if files.len() > 1 {
            let _ = write!(line, "{}: ", file.display());
        }
        if whole {
            line.push_str(&String::from_utf8_lossy(&text));
        } else {
            for octet in digest::sha1(&[&text]) {
                let _ = write!(line, "{octet:02x}");
            }
        }
        if with_owner {
            let _ = write!(line, " {}", key.owner());
        }
        line.push('\n');
        if let Err(error) = env.print(line) {
            return env.fail(kx_log::format_errno(&error));
        }
    }
    Exit::Success
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::program::{Exit, fake};

    const GOLDEN: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/keysrv/authinfo"
    );

    fn run(words: &[&str]) -> (Exit, String, String) {
        let (mut env, stdout, stderr) = fake::environment("getpk", Path::new("/none"), b"");
        let words = words.iter().map(Into::into).collect();
        let exit = super::run(&mut env, words);
        (exit, stdout.text(), stderr.text())
    }

    #[test]
    fn digests_and_texts() {
        let alice = format!("{GOLDEN}/alice.rsa.authinfo");
        let signer = format!("{GOLDEN}/signerkey.rsa");
        let (_, own, _) = run(&["-s", &alice]);
        assert_eq!(run(&[&signer]), (Exit::Success, own.clone(), String::new()));
        assert_eq!(own.len(), 41);
        let (_, other, _) = run(&[&alice]);
        assert_ne!(other, own);
        let (_, text, _) = run(&["-a", &alice]);
        assert!(text.starts_with("rsa\nalice\nAN89") && text.ends_with("\nCw==\n\n"));
        let (_, named, _) = run(&["-u", &alice, &signer]);
        let (other, own) = (other.trim(), own.trim());
        let wanted = format!("{alice}: {other} alice\n{signer}: {own} signer.rsa.example\n");
        assert_eq!(named, wanted);
    }

    #[test]
    fn goes_on_after_a_file_that_is_none() {
        let (exit, stdout, stderr) = run(&["/nowhere", &format!("{GOLDEN}/signerkey.rsa")]);
        assert_eq!((exit, stdout.lines().count()), (Exit::Success, 1));
        assert!(
            stderr.starts_with("getpk: cannot read /nowhere: "),
            "{stderr}"
        );
        for words in [&[][..], &["-x", "f"], &["-a"]] {
            let usage = format!("{}\n", super::USAGE);
            assert_eq!(run(words), (Exit::Usage, String::new(), usage));
        }
    }
}
