//! `ai2key`: authinfo files as lines for factotum (keysrv spec 13, 16).

use std::ffi::OsString;
use std::path::Path;

use inferno_auth::attribute::{quoted, signature_algorithm};
use inferno_auth::authinfo::AuthInfo;
use inferno_auth::number;
use kx_cli::plan9::{Args, Opt};
use kx_crypto::bignum::BigNum;
use kx_secret::SecretBytes;

use crate::authinfo_file;
use crate::program::{Environment, Exit};

const USAGE: &str = "usage: ai2key [-t 'attr=value attr=value ...'] keyfile ...";

/// Prints a line for each file whose certificate has not expired.
pub fn run(env: &mut Environment, words: Vec<OsString>) -> Exit {
    let mut tag = String::new();
    let mut args = Args::new(words);
    while let Some(option) = args.option() {
        match (option, args.text()) {
            (Opt::Letter('t'), Some(value)) => tag = value,
            _ => return env.usage(USAGE),
        }
    }
    let files = args.operands();
    if files.is_empty() {
        return env.usage(USAGE);
    }
    let now = env.clock.now();
    for file in files.iter().map(Path::new) {
        let info = match authinfo_file::read(file) {
            Ok(info) => info,
            Err(error) => return env.fail(format!("cannot read {}: {error}", file.display())),
        };
        if info.certificate.is_expired(now) {
            let file = file.display();
            env.complain(format!("{file}: certificate expired -- key ignored"));
            continue;
        }
        let line = key_line(&tag, file, &info);
        if let Err(error) = env.print(line.as_slice()) {
            return env.fail(kx_log::format_errno(&error));
        }
    }
    Exit::Success
}

fn key_line(tag: &str, file: &Path, info: &AuthInfo) -> SecretBytes {
    let certificate = &info.certificate;
    let name = file.file_name().unwrap_or(file.as_os_str());
    let tag = if tag.is_empty() {
        String::new()
    } else {
        format!(" {tag}")
    };
    let expires = match certificate.expiry() {
        0 => String::new(),
        seconds => format!(" expires={seconds}"),
    };
    let mut line = SecretBytes::default();
    let mut push = |text: &str| line.extend_from_slice(text.as_bytes());
    push(&format!(
        "key proto=infauth{tag} {} sigalg={} user={} signer={} pk=",
        locations(&name.to_string_lossy()),
        signature_algorithm(certificate),
        quoted(info.public_key().owner()),
        quoted(info.signer_key.owner()),
    ));
    push_text(&mut line, info.public_key().text());
    line.extend_from_slice(b" !sk=");
    push_text(&mut line, info.private_key.text().as_slice());
    line.extend_from_slice(b" spk=");
    push_text(&mut line, &info.signer_key.canonical_text());
    line.extend_from_slice(b" cert=");
    push_text(&mut line, &certificate.text());
    line.extend_from_slice(b" dh-alpha=");
    line.extend_from_slice(hex(&info.group.alpha).as_bytes());
    line.extend_from_slice(b" dh-p=");
    line.extend_from_slice(hex(&info.group.p).as_bytes());
    line.extend_from_slice(expires.as_bytes());
    line.push(b'\n');
    line
}

/// A text on one line: `^` for each line feed but those at its end. Owners with blanks are quoted, which the
/// original forgets.
fn push_text(line: &mut SecretBytes, text: &[u8]) {
    let end = text
        .iter()
        .rposition(|octet| !matches!(octet, b'\n' | b'^'));
    let text = text.get(..=end.unwrap_or(0)).unwrap_or_default();
    let quotes = text
        .iter()
        .any(|octet| matches!(octet, b'\'' | 0..=b' ') && *octet != b'\n');
    if quotes {
        line.push(b'\'');
    }
    for octet in text {
        match octet {
            b'\n' => line.push(b'^'),
            b'\'' => line.extend_from_slice(b"''"),
            other => line.push(*other),
        }
    }
    if quotes {
        line.push(b'\'');
    }
}

/// Upper-case digits without leading zeros.
fn hex(number: &BigNum) -> String {
    let text = number::hex_z(number);
    let text = String::from_utf8_lossy(text.as_slice());
    match text.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

/// Where the key may be used, guessed from the name of its file.
fn locations(name: &str) -> String {
    if name == "default" {
        return "dom=* server=*".to_owned();
    }
    let parts: Vec<&str> = name.split('!').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [_, host] => server(host),
        [_, host, service] => format!("{} service={}", server(host), quoted(service)),
        _ => server(name),
    }
}

/// A name with dots is taken for a domain, too.
fn server(name: &str) -> String {
    let host = quoted(name);
    if name.split('.').filter(|part| !part.is_empty()).count() > 1 {
        format!("dom={host} server={host}")
    } else {
        format!("server={host}")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::locations;
    use crate::program::{Exit, fake};

    const GOLDEN: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/keysrv/authinfo"
    );

    fn run(words: &[&str]) -> (Exit, String, String) {
        let (mut env, stdout, stderr) = fake::environment("ai2key", Path::new("/none"), b"");
        let words = words.iter().map(Into::into).collect();
        let exit = super::run(&mut env, words);
        (exit, stdout.text(), stderr.text())
    }

    #[test]
    fn a_line_for_factotum() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("default");
        std::fs::copy(format!("{GOLDEN}/bob.elgamal.authinfo"), &file).unwrap();
        let (exit, stdout, stderr) = run(&["-t", "a=b", file.to_str().unwrap()]);
        assert_eq!((exit, stderr), (Exit::Success, String::new()));
        let start = "key proto=infauth a=b dom=* server=* sigalg=elgamal-sha1 user=bob \
                     signer=signer.elgamal.example pk=elgamal^bob^AKvp";
        assert!(stdout.starts_with(start), "{stdout}");
        let words: Vec<&str> = stdout.trim_end().split(' ').collect();
        let names: Vec<&str> = words
            .iter()
            .map(|word| word.split('=').next().unwrap())
            .collect();
        let wanted =
            "key proto a dom server sigalg user signer pk !sk spk cert dh-alpha dh-p expires";
        assert_eq!(names.join(" "), wanted);
        assert!(words.iter().all(|word| !word.ends_with('^')));
        let secret = words[9].strip_prefix("!sk=").unwrap().replace('^', "\n") + "\n";
        let content = std::fs::read_to_string(&file).unwrap();
        assert!(content.contains(&secret));
        assert!(words[11].starts_with("cert=elgamal^sha1^signer.elgamal.example^"));
        assert!(words[12].starts_with("dh-alpha=DC0E14E69EDF8410"));
        assert_eq!(words[14], "expires=2114380799");
    }

    #[test]
    fn files_that_do_not_serve() {
        let expired = format!("{GOLDEN}/expired.rsa.authinfo");
        let alice = format!("{GOLDEN}/alice.rsa.authinfo");
        let (exit, stdout, stderr) = run(&[&expired, &alice]);
        assert_eq!((exit, stdout.lines().count()), (Exit::Success, 1));
        assert!(!stdout.contains("expires="));
        let wanted = format!("ai2key: {expired}: certificate expired -- key ignored\n");
        assert_eq!(stderr, wanted);
        let (exit, stdout, stderr) = run(&["/nowhere", &alice]);
        assert_eq!((exit, stdout.as_str()), (Exit::Error, ""));
        assert!(stderr.starts_with("ai2key: cannot read /nowhere: "));
        for words in [&[][..], &["-t"], &["-x", "f"]] {
            let usage = format!("{}\n", super::USAGE);
            assert_eq!(run(words), (Exit::Usage, String::new(), usage));
        }
    }

    #[test]
    fn where_a_key_belongs() {
        for (name, wanted) in [
            ("default", "dom=* server=*"),
            ("host", "server=host"),
            ("a.example", "dom=a.example server=a.example"),
            ("net!host", "server=host"),
            (
                "tcp!a.example!infkey",
                "dom=a.example server=a.example service=infkey",
            ),
            ("a!b!c!d", "server=a!b!c!d"),
            ("with blank", "server='with blank'"),
        ] {
            assert_eq!(locations(name), wanted);
        }
    }

    #[test]
    fn texts_on_a_line() {
        for (text, wanted) in [
            (&b"rsa\nbob\nAQ==\n"[..], "rsa^bob^AQ=="),
            (b"rsa\na b\nAQ==\n\n", "'rsa^a b^AQ=='"),
            (b"rsa\no'n\nAQ==^\n", "'rsa^o''n^AQ=='"),
            (b"", ""),
        ] {
            let mut line = kx_secret::SecretBytes::default();
            super::push_text(&mut line, text);
            assert_eq!(line.as_slice(), wanted.as_bytes());
        }
    }
}
