//! Recorded conversations of OpenSC's sc-hsm-tool: ours says the same and sends the same commands, all of
//! them, except for OpenSC's search for other applets.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use kx_hsm::sc_hsm_tool::channel::Channel;
use kx_hsm::sc_hsm_tool::console::Console;
use kx_hsm::sc_hsm_tool::{act, options};
use kx_secret::SecretBytes;
use xkek::tlv;
use xkek_io::transcript::{Exchange, Replay, parse};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop-tests/vectors/xkek")
}

/// Both streams in one, as they were recorded.
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

struct Session {
    name: String,
    words: Vec<String>,
    exchanges: Vec<Exchange>,
    output: String,
    status: u8,
}

/// The sessions of sc-hsm-tool.
fn sessions() -> Vec<Session> {
    let directory = vectors().join("apdu");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .expect("vectors")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension() == Some(OsStr::new("apdu")))
        .collect();
    files.sort();
    let text = std::fs::read_to_string(directory.join("transcript.txt")).expect("transcript");
    let mut printed = text.split("$ ").skip(1);
    let mut sessions = Vec::new();
    for file in files {
        let printed = printed.next().expect("as many outputs as files");
        let (command, rest) = printed.split_once('\n').expect("a command");
        let Some(arguments) = command.strip_prefix("sc-hsm-tool") else {
            continue;
        };
        let (output, status) = rest.rsplit_once("exit=").expect("an exit status");
        let output = output.replace("Using reader with a card: Virtual PCD 00 00\n", "");
        // What OpenSSL has in its queue of errors, with the address of a thread (COMPATIBILITY.md).
        let lines = output
            .lines()
            .filter(|line| !line.contains(":error:1C800064:"));
        let output = lines.map(|line| format!("{line}\n")).collect();
        let recorded = std::fs::read_to_string(&file).expect("recording");
        let mut exchanges = parse(&recorded).expect("a recording");
        // The search for other applets.
        exchanges.drain(..2);
        sessions.push(Session {
            name: file
                .file_stem()
                .expect("name")
                .to_string_lossy()
                .into_owned(),
            words: arguments.split_whitespace().map(str::to_owned).collect(),
            exchanges,
            output,
            status: status.trim().parse().expect("a number"),
        });
    }
    sessions
}

/// The files that a session needs, in a directory of their own.
fn prepare(session: &Session, directory: &Path) {
    let wrapped = std::fs::read(vectors().join("wky/ec-secp256r1.wky")).expect("vector");
    let unwrap = session
        .exchanges
        .iter()
        .find(|it| it.command.starts_with(&[0x80, 0x74]));
    let content = match unwrap {
        Some(exchange) => {
            let outer = tlv::only(&wrapped, 0x30).expect("a file");
            let (_, rest) = tlv::expect(outer.value, 0x04).expect("a blob");
            let mut content = tlv::encode(0x04, &exchange.command[7..]);
            content.extend_from_slice(rest);
            tlv::encode(0x30, &content)
        }
        None => wrapped,
    };
    for (name, content) in [
        ("k1.wky", content.as_slice()),
        ("bad.wky", &content),
        ("junk.wky", b"this is not a wrapped key"),
        ("p.pka", b""),
    ] {
        std::fs::write(directory.join(name), content).expect("written");
    }
    for share in ["s1.pbe", "s2.pbe"] {
        std::fs::copy(vectors().join("dkek").join(share), directory.join(share)).expect("copied");
    }
}

/// Runs a session; what was said, the exit status, how many recorded commands were not sent.
fn run(session: &Session, directory: &Path) -> (String, u8, usize) {
    let file_of = |word: &String| {
        let path = directory.join(word);
        let file = word.ends_with(".wky") || word.ends_with(".pbe") || word.ends_with(".pka");
        OsString::from(if file { path } else { PathBuf::from(word) })
    };
    let words: Vec<OsString> = session.words.iter().map(file_of).collect();
    let mut heard = Heard::default();
    let read = options::read(OsStr::new("sc-hsm-tool"), words, &|_| None, &mut heard);
    let options = read.unwrap_or_else(|_| panic!("{}: {}", session.name, heard.0));
    let mut replay = Replay::new(session.exchanges.clone());
    let done = act(&options, &mut Channel::new(&mut replay), &mut heard);
    let place = format!("{}/", directory.display());
    (
        heard.0.replace(&place, ""),
        u8::from(done.is_err()),
        replay.left(),
    )
}

#[test]
fn recorded_sessions_are_repeated() {
    let sessions = sessions();
    assert!(sessions.len() > 20, "{} sessions", sessions.len());
    for session in sessions {
        let directory = tempfile::tempdir().expect("directory");
        prepare(&session, directory.path());
        let (output, status, left) = run(&session, directory.path());
        assert_eq!(output, session.output, "{}", session.name);
        assert_eq!((status, left), (session.status, 0), "{}", session.name);
    }
}

#[test]
fn wrapped_files_are_the_originals() {
    for (name, file) in [("07-wrap", "ec-secp256r1.wky"), ("08-wrap2", "rsa2048.wky")] {
        let session = sessions()
            .into_iter()
            .find(|it| it.name == name)
            .expect("session");
        let directory = tempfile::tempdir().expect("directory");
        let (output, status, _) = run(&session, directory.path());
        assert_eq!((output.as_str(), status), ("", 0), "{name}");
        let written = directory.path().join(&session.words[1]);
        let expected = std::fs::read(vectors().join("wky").join(file)).expect("vector");
        assert!(
            std::fs::read(written).expect("written") == expected,
            "{name}"
        );
    }
}
