//! `kx-sc-hsm-tool` beside OpenSC's sc-hsm-tool: each on a software card of its own in the same reader, the
//! same commands, the same texts on the same streams, the same exit status; each opens the other's files.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use interop_tests::program::{Finished, Guarded, collect};
use interop_tests::smart_card::SmartCardReader;
use interop_tests::subject::{subject, workspace};

const PIN: &str = "648219";
const SO_PIN: &str = "3537363231383830";
const LIMIT: Duration = Duration::from_secs(180);

fn vector(name: &str) -> String {
    let path = workspace().join("interop-tests/vectors/xkek").join(name);
    let path = fs::canonicalize(path).expect("vector");
    path.to_string_lossy().into_owned()
}

fn ours() -> String {
    let path: PathBuf = subject().program("kx-sc-hsm-tool");
    path.to_string_lossy().into_owned()
}

/// Runs a tool with somebody who types `input`.
fn run(reader: &SmartCardReader, tool: &str, args: &[&str], input: &str) -> Finished {
    let mut child = reader
        .command(tool, args)
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool");
    let mut stdin = child.stdin.take().expect("stdin");
    // A tool that does not read is no failure here.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    collect(Guarded(child), LIMIT)
}

/// What the two must have in common: the original starts clear(1) or cls for a screen that is none, shows
/// OpenSSL's errors with the address of a thread, and calls itself by another name.
fn common(finished: &Finished) -> (i32, String, Vec<String>) {
    let noise = [
        "clear",
        "cls: not found",
        "Clearing the screen",
        ":error:",
        "TERM ",
    ];
    let stderr = finished.stderr_text();
    let stderr = stderr
        .lines()
        .filter(|line| !noise.iter().any(|noise| line.contains(noise)))
        .map(str::to_owned)
        .collect();
    (finished.rc, finished.stdout_text(), stderr)
}

#[test]
fn the_same_texts_and_statuses() {
    let Some(mut reader) = SmartCardReader::start("the_same_texts_and_statuses") else {
        return;
    };
    let (one, two) = (vector("dkek/s1.pbe"), vector("dkek/s2.pbe"));
    let wrapped = vector("wky/ec-secp256r1.wky");
    let split = vector("nofm/3of5.pbe");
    let init = ["--initialize", "--so-pin", SO_PIN, "--pin", PIN];
    let with = |more: &[&str]| -> Vec<String> {
        let all = [&init[..], more].concat();
        all.iter().map(|&word| word.to_owned()).collect()
    };
    let words = |words: &[&str]| -> Vec<String> { words.iter().map(|&w| w.to_owned()).collect() };
    let notes = "de:93:50:66:dd:72:15:d3\n\n1\n03:ce:0f:b1:ce:bf:a5:19\n\n3\n8a:83:31:dc:48:67:8a:8a\n\n5\n\
                 33:28:04:20:2a:46:59:50\n";
    let steps: Vec<(Vec<String>, &str)> = vec![
        (words(&[]), ""),
        (with(&["--pin-retry", "5"]), ""),
        (with(&["--dkek-shares", "2"]), ""),
        (words(&[]), ""),
        (
            words(&["--import-dkek-share", &one, "--password", "wrong-password"]),
            "",
        ),
        (
            words(&["--import-dkek-share", &one, "--password", "share-one-pw"]),
            "",
        ),
        (
            words(&["--import-dkek-share", &two, "--password", "share-two-pw"]),
            "",
        ),
        (
            words(&["--import-dkek-share", &two, "--password", "share-two-pw"]),
            "",
        ),
        (words(&[]), ""),
        (
            words(&[
                "--unwrap-key",
                &wrapped,
                "--key-reference",
                "1",
                "--pin",
                PIN,
            ]),
            "",
        ),
        (
            words(&[
                "--unwrap-key",
                &wrapped,
                "--key-reference",
                "1",
                "--pin",
                PIN,
            ]),
            "",
        ),
        (
            words(&["-U", &wrapped, "-i", "1", "--pin", PIN, "--force"]),
            "",
        ),
        (
            words(&["--unwrap-key", &one, "--key-reference", "2", "--pin", PIN]),
            "",
        ),
        (
            words(&[
                "--unwrap-key",
                "/nowhere/k",
                "--key-reference",
                "2",
                "--pin",
                PIN,
            ]),
            "",
        ),
        (
            words(&["--wrap-key", "/dev/null", "-i", "9", "--pin", PIN]),
            "",
        ),
        (
            words(&["--wrap-key", "/dev/null", "-i", "0", "--pin", PIN]),
            "",
        ),
        (
            words(&["--wrap-key", "/dev/null", "-i", "1", "--pin", "111111"]),
            "",
        ),
        (words(&["--public-key-auth-status"]), ""),
        (words(&["-e", "/dev/null", "-i", "1"]), ""),
        (words(&["-e", "/dev/null"]), ""),
        (words(&["-K", "2"]), ""),
        (words(&[]), ""),
        (with(&["--dkek-shares", "1"]), ""),
        (
            words(&["--import-dkek-share", &split, "--pwd-shares-total", "3"]),
            notes,
        ),
        (
            words(&["--import-dkek-share", &split, "--pwd-shares-total", "1"]),
            "",
        ),
        (
            words(&[
                "-C",
                "/dev/null",
                "--pwd-shares-total",
                "2",
                "--pwd-shares-threshold",
                "2",
            ]),
            "",
        ),
        (words(&["-C", "/dev/null", "--pwd-shares-total", "5"]), ""),
        (
            with(&["--public-key-auth", "3", "--required-pub-keys", "2"]),
            "",
        ),
        (words(&["--public-key-auth-status"]), ""),
        (words(&[]), ""),
        (
            with(&["--public-key-auth", "1", "--required-pub-keys", "2"]),
            "",
        ),
        (words(&["--initialize", "--so-pin", "35", "--pin", PIN]), ""),
        (words(&["--initialize", "--so-pin", "xx", "--pin", PIN]), ""),
        (
            words(&["--initialize", "--so-pin", SO_PIN, "--pin", "12345"]),
            "",
        ),
    ];
    let mut said: Vec<Vec<(i32, String, Vec<String>)>> = Vec::new();
    for (state, tool) in [("theirs", "sc-hsm-tool".to_owned()), ("ours", ours())] {
        reader.insert(state, &[]);
        let all = steps.iter().map(|(args, input)| {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            common(&run(&reader, &tool, &args, input))
        });
        said.push(all.collect());
        reader.remove();
    }
    let [theirs, ours] = said.as_slice() else {
        panic!("two tools");
    };
    // Their two errors that we do not make (COMPATIBILITY.md): 0 after a refused initialization.
    for (((args, _), theirs), ours) in steps.iter().zip(theirs).zip(ours) {
        assert_eq!(ours, theirs, "ours, theirs: {args:?}");
    }
}

#[test]
fn each_opens_what_the_other_made() {
    let Some(mut reader) = SmartCardReader::start("each_opens_what_the_other_made") else {
        return;
    };
    reader.insert("card", &[]);
    let pairs = [
        ("sc-hsm-tool".to_owned(), ours()),
        (ours(), "sc-hsm-tool".to_owned()),
    ];
    for (number, (maker, opener)) in pairs.iter().enumerate() {
        let init = ["-X", "--so-pin", SO_PIN, "--pin", PIN, "--dkek-shares", "1"];
        assert_eq!(run(&reader, opener, &init, "").rc, 0);
        let file = reader.text(&format!("{number}.pbe"));
        let made = run(
            &reader,
            maker,
            &["-C", &file, "--password", "between us"],
            "",
        );
        assert_eq!(made.rc, 0, "{maker}: {}", made.stderr_text());
        let opened = run(
            &reader,
            opener,
            &["-I", &file, "--password", "between us"],
            "",
        );
        let text = opened.stdout_text();
        assert!(text.contains("DKEK share imported"), "{opener}: {text}");
        let key = ["--keypairgen", "--key-type", "EC:prime256v1", "--id", "01"];
        reader.pkcs11(PIN, &key);
        let blob = reader.text(&format!("{number}.wky"));
        let wrapped = run(&reader, maker, &["-W", &blob, "-i", "1", "--pin", PIN], "");
        assert_eq!(wrapped.rc, 0, "{maker}: {}", wrapped.stderr_text());
        let back = run(&reader, opener, &["-U", &blob, "-i", "7", "--pin", PIN], "");
        let text = back.stdout_text();
        assert!(
            text.ends_with("Key successfully imported\n"),
            "{opener}: {text}"
        );
    }
}

/// Where we differ on purpose (COMPATIBILITY.md X1, X2): the original ends with 0.
#[test]
fn what_was_not_done_ends_with_1() {
    let directory = tempfile::tempdir().expect("directory");
    let card = format!("vcard:{}", directory.path().join("card").display());
    let tool = |card: &str, so_pin: &str| {
        let mut command = std::process::Command::new(ours());
        command
            .args(["-X", "--so-pin", so_pin, "--pin", PIN])
            .env("KX_CARD", card);
        interop_tests::program::run_command(&mut command)
    };
    assert_eq!(tool(&card, SO_PIN).rc, 0);
    let refused = tool(&card, "0000000000000000");
    let text = refused.stderr_text();
    assert!(
        text.contains("SC_CARDCTL_SC_HSM_INITIALIZE, *) failed with PIN code or key incorrect"),
        "{text}"
    );
    assert_eq!(refused.rc, 1);
    let absent = tool("vpcd:127.0.0.1:1", SO_PIN);
    let text = absent.stderr_text();
    assert!(text.starts_with("Failed to connect to card: "), "{text}");
    assert_eq!(absent.rc, 1);
}
