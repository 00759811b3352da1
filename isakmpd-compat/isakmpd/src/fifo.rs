//! The control FIFO (isakmpd 4): lines become commands.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use isakmpd_conf::{Command as ConfigCommand, text};

use crate::log::system_text;
use crate::scan::Scan;

/// Octets of a word.
const WORD: usize = 200;

/// Octets of a line. The original grows without end.
const MAX_LINE: usize = 64 << 10;

/// Octets read at a time; then the others get their turn.
const CHUNK: usize = 16 << 10;

/// Of what an SA is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// ISAKMP SAs.
    Main,
    /// IPsec SAs.
    Quick,
}

/// A command.
pub enum Command {
    /// `c`: keep up.
    Connect(String),
    /// `C`, and the line for the log.
    Config(ConfigCommand, String),
    /// `d`: cookies, message ID.
    Delete {
        /// Of the initiator and the responder.
        cookies: [u8; 16],
        /// Of the Quick Mode; none for phase 1.
        message_id: Option<u32>,
    },
    /// `D CLASS LEVEL`
    Level(i32, i32),
    /// `D A LEVEL`
    AllLevels(i32),
    /// `D T`
    ToggleLevels,
    /// `M`: active, or passive.
    Mode(bool),
    /// `p on`, `p on=PATH`
    CaptureOn(Option<PathBuf>),
    /// `p off`
    CaptureOff,
    /// `p` and another word: nothing.
    Nothing,
    /// `Q`
    Shutdown,
    /// `R`
    Reinitialize,
    /// `S`
    Sas,
    /// `r`
    Report,
    /// `t`: a name or an address.
    TearDown(Phase, String),
    /// `T`
    TearDownAll,
}

/// A line that is no command. The text is the original's for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A command that does not go on as it must.
    #[error("ui_{0}: command \"{1}\" malformed")]
    Malformed(&'static str, String),
    /// `d` with digits that are none.
    #[error("ui_delete: command \"{0}\" has bad arguments")]
    BadArguments(String),
    /// No such letter. Of an empty line the original shows the zero octet that ends it, and so nothing more.
    #[error("ui_handle_messages: unrecognized command: '{}", unknown(*.0))]
    Unknown(u8),
    /// Ours.
    #[error("ui_handler: line too long, ignored")]
    TooLong,
}

fn unknown(letter: u8) -> String {
    match letter {
        0 => String::new(),
        letter => format!("{}'", text(&[letter])),
    }
}

impl Command {
    /// Reads a line, without its line feed. It ends at its first zero octet.
    ///
    /// # Errors
    /// What is to be logged.
    pub fn parse(line: &[u8]) -> Result<Command, CommandError> {
        let line = line.split(|octet| *octet == 0).next().unwrap_or_default();
        let malformed = |name| move || CommandError::Malformed(name, redacted(line));
        let mut scan = Scan::new(line);
        let letter = line.first().copied().unwrap_or(0);
        let _ = scan.literal(&[letter]);
        Ok(match letter {
            b'c' => Command::Connect(text(scan.word(WORD).ok_or_else(malformed("connect"))?)),
            b'C' => match ConfigCommand::parse(line) {
                Ok(command) => Command::Config(command, redacted(line)),
                Err(_) => return Err(malformed("config")()),
            },
            b'd' => delete(scan).ok_or_else(malformed("delete"))?.map_or_else(
                || Err(CommandError::BadArguments(text(line))),
                |(cookies, message_id)| {
                    Ok(Command::Delete {
                        cookies,
                        message_id,
                    })
                },
            )?,
            b'D' => debug(scan).ok_or_else(malformed("debug"))?,
            b'M' => {
                let word = scan.word(10).unwrap_or_default();
                match (word.starts_with(b"active"), word.starts_with(b"passive")) {
                    (false, false) => return Err(malformed("setmode")()),
                    (active, _) => Command::Mode(active),
                }
            }
            b'p' => capture(scan.word(WORD).ok_or_else(malformed("packetlog"))?),
            b'Q' if line.len() == 1 => Command::Shutdown,
            b'Q' => return Err(malformed("shutdown_daemon")()),
            b'R' => Command::Reinitialize,
            b'S' => Command::Sas,
            b'r' => Command::Report,
            b't' => tear_down(scan).ok_or_else(malformed("teardown"))?,
            b'T' => Command::TearDownAll,
            other => return Err(CommandError::Unknown(other)),
        })
    }
}

/// A line as the log may have it: a key stays out of it.
fn redacted(line: &[u8]) -> String {
    const SECRET: &[u8] = b"authentication=";
    let place = line
        .windows(SECRET.len())
        .position(|window| window.eq_ignore_ascii_case(SECRET));
    match place.and_then(|place| line.get(..place.saturating_add(SECRET.len()))) {
        Some(head) => format!("{}...", text(head)),
        None => text(line),
    }
}

/// None: a word is missing. Some(None): digits are wrong.
type Deleted = Option<([u8; 16], Option<u32>)>;

fn delete(mut scan: Scan<'_>) -> Option<Deleted> {
    let cookies = hexadecimal::<16>(scan.word(32)?);
    let message_id = match scan.word(8)? {
        b"-" => Some(None),
        word => hexadecimal::<4>(word).map(|octets| Some(u32::from_be_bytes(octets))),
    };
    Some(cookies.zip(message_id))
}

/// Digits, the last one at the end; what is missing in front is zero.
fn hexadecimal<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut value = [0u8; N];
    let mut digits = digits.iter().rev();
    for octet in value.iter_mut().rev() {
        let mut digit = || match digits.next() {
            None => Some(0),
            Some(digit) => char::from(*digit).to_digit(16),
        };
        let (low, high) = (digit()?, digit()?);
        *octet = u8::try_from(high << 4 | low).ok()?;
    }
    Some(value)
}

fn debug(scan: Scan<'_>) -> Option<Command> {
    let both = |mut scan: Scan<'_>| Some(Command::Level(scan.number()?, scan.number()?));
    both(scan).or_else(|| {
        let mut scan = scan;
        let word = scan.word(2)?;
        match (word.first(), scan.number()) {
            (Some(b'A'), Some(level)) => Some(Command::AllLevels(level)),
            // As in the original, a number behind the T is one too many.
            (Some(b'T'), None) => Some(Command::ToggleLevels),
            _ => None,
        }
    })
}

fn capture(word: &[u8]) -> Command {
    let (head, path) = word.split_at_checked(3).unwrap_or((word, &[]));
    if head.eq_ignore_ascii_case(b"on=") {
        use std::os::unix::ffi::OsStrExt;
        Command::CaptureOn(Some(OsStr::from_bytes(path).into()))
    } else if word.eq_ignore_ascii_case(b"on") {
        Command::CaptureOn(None)
    } else if word.eq_ignore_ascii_case(b"off") {
        Command::CaptureOff
    } else {
        Command::Nothing
    }
}

fn tear_down(scan: Scan<'_>) -> Option<Command> {
    let after = |word: &[u8]| {
        let mut scan = scan;
        scan.space();
        scan.literal(word)?;
        scan.word(WORD)
    };
    let (phase, name) = match (after(b"main"), after(b"quick")) {
        (Some(name), _) => (Phase::Main, name),
        (None, Some(name)) => (Phase::Quick, name),
        (None, None) => (Phase::Quick, after(b"")?),
    };
    Some(Command::TearDown(phase, text(name)))
}

/// Why there is no FIFO. The text is the original's.
#[derive(Debug, thiserror::Error)]
pub enum FifoError {
    /// A file is there that is none.
    #[error("ui_init: could not create FIFO \"{}\": {}", path.display(), system_text(source))]
    Exists {
        /// Where.
        path: PathBuf,
        /// Always the same.
        source: io::Error,
    },
    /// It cannot be made.
    #[error("ui_init: mkfifo (\"{}\", 0600) failed: {}", path.display(), system_text(source))]
    Make {
        /// Where.
        path: PathBuf,
        /// The system's.
        source: io::Error,
    },
    /// It cannot be opened.
    #[error("ui_init: open (\"{}\", O_RDWR | O_NONBLOCK, 0) failed: {}", path.display(), system_text(source))]
    Open {
        /// Where.
        path: PathBuf,
        /// The system's.
        source: io::Error,
    },
}

/// Where commands come from.
#[derive(Debug)]
pub struct Fifo {
    file: File,
    path: Option<PathBuf>,
    line: Vec<u8>,
    /// The rest of a line that is too long.
    skipping: bool,
    ended: bool,
}

impl Fifo {
    /// Makes the FIFO, in place of whatever is there but a file. `-` is standard input.
    ///
    /// # Errors
    /// See there.
    pub fn open(path: &OsStr) -> Result<Fifo, FifoError> {
        if path == "-" {
            let file = rustix::io::dup(rustix::stdio::stdin()).map(File::from);
            let file = file.map_err(|error| FifoError::Open {
                path: path.into(),
                source: error.into(),
            })?;
            return Ok(Fifo::new(file, None));
        }
        let path = Path::new(path);
        if std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_file()) {
            return Err(FifoError::Exists {
                path: path.to_owned(),
                source: io::Error::from_raw_os_error(libc::EEXIST),
            });
        }
        // Whether there was something does not matter.
        let _ = std::fs::remove_file(path);
        let mode = rustix::fs::Mode::from_bits_truncate(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).map_err(
            |error| FifoError::Make {
                path: path.to_owned(),
                source: error.into(),
            },
        )?;
        let failed = |source| FifoError::Open {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
            .open(path)
            .map_err(failed)?;
        let is_fifo = file.metadata().is_ok_and(|data| data.file_type().is_fifo());
        if !is_fifo {
            return Err(failed(io::Error::from_raw_os_error(libc::EEXIST)));
        }
        Ok(Fifo::new(file, Some(path.to_owned())))
    }

    fn new(file: File, path: Option<PathBuf>) -> Fifo {
        Fifo {
            file,
            path,
            line: Vec::new(),
            skipping: false,
            ended: false,
        }
    }

    /// Its path, to be removed at the end; none for standard input.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Standard input is at its end: nothing more comes.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reads what is there, once, and gives the lines that are whole.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&mut self) -> io::Result<Vec<Result<Command, CommandError>>> {
        let mut chunk = zeroize::Zeroizing::new([0u8; CHUNK]);
        let count = match self.file.read(chunk.as_mut_slice()) {
            Ok(0) => {
                self.ended = true;
                0
            }
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                0
            }
            Err(error) => return Err(error),
        };
        Ok(self.take(chunk.get(..count).unwrap_or_default()))
    }

    fn take(&mut self, octets: &[u8]) -> Vec<Result<Command, CommandError>> {
        let mut commands = Vec::new();
        for piece in octets.split_inclusive(|octet| *octet == b'\n') {
            let (piece, whole) = match piece.strip_suffix(b"\n") {
                Some(piece) => (piece, true),
                None => (piece, false),
            };
            if self.line.len().saturating_add(piece.len()) > MAX_LINE {
                self.skipping = true;
                self.line.clear();
            }
            if !self.skipping {
                self.line.extend_from_slice(piece);
            }
            if whole {
                commands.push(match std::mem::take(&mut self.skipping) {
                    true => Err(CommandError::TooLong),
                    false => Command::parse(&self.line),
                });
                self.line.clear();
            }
        }
        commands
    }
}

impl AsFd for Fifo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    fn shown(command: Result<Command, CommandError>) -> String {
        match command {
            Err(error) => error.to_string(),
            Ok(Command::Connect(name)) => format!("connect {name}"),
            Ok(Command::Config(_, line)) => format!("config {line}"),
            Ok(Command::Delete {
                cookies,
                message_id,
            }) => format!("delete {cookies:02x?} {message_id:?}"),
            Ok(Command::Level(class, level)) => format!("level {class} {level}"),
            Ok(Command::AllLevels(level)) => format!("levels {level}"),
            Ok(Command::ToggleLevels) => "toggle".to_owned(),
            Ok(Command::Mode(active)) => format!("active {active}"),
            Ok(Command::CaptureOn(path)) => format!("on {path:?}"),
            Ok(Command::CaptureOff) => "off".to_owned(),
            Ok(Command::Nothing) => "nothing".to_owned(),
            Ok(Command::Shutdown) => "shutdown".to_owned(),
            Ok(Command::Reinitialize) => "reinitialize".to_owned(),
            Ok(Command::Sas) => "sas".to_owned(),
            Ok(Command::Report) => "report".to_owned(),
            Ok(Command::TearDown(phase, name)) => format!("{phase:?} {name}"),
            Ok(Command::TearDownAll) => "all".to_owned(),
        }
    }

    #[test]
    fn every_command() {
        for (line, expected) in [
            ("c conn-x", "connect conn-x"),
            ("c  a b", "connect a"),
            ("cconn", "connect conn"),
            ("c", "ui_connect: command \"c\" malformed"),
            (
                "C get [General]:Retransmits",
                "config C get [General]:Retransmits",
            ),
            (
                "C set [peer]:AUTHENTICATION=key force",
                "config C set [peer]:AUTHENTICATION=...",
            ),
            (
                "C set peer:Authentication=key",
                "ui_config: command \"C set peer:Authentication=...\" malformed",
            ),
            ("C", "ui_config: command \"C\" malformed"),
            (
                "C what [a]:b",
                "ui_config: command \"C what [a]:b\" malformed",
            ),
            ("D 3 50", "level 3 50"),
            ("D 3x 50", "ui_debug: command \"D 3x 50\" malformed"),
            ("D -1 -2", "level -1 -2"),
            ("D A 7", "levels 7"),
            ("D T", "toggle"),
            ("D Tx", "toggle"),
            ("D T 5", "ui_debug: command \"D T 5\" malformed"),
            ("D X", "ui_debug: command \"D X\" malformed"),
            ("M active", "active true"),
            ("M passive", "active false"),
            ("M passivel", "active false"),
            ("M x", "ui_setmode: command \"M x\" malformed"),
            ("p on", "on None"),
            ("p ON=/var/run/x", "on Some(\"/var/run/x\")"),
            ("p off", "off"),
            ("p maybe", "nothing"),
            ("p", "ui_packetlog: command \"p\" malformed"),
            ("Q", "shutdown"),
            ("Q ", "ui_shutdown_daemon: command \"Q \" malformed"),
            ("R anything", "reinitialize"),
            ("S", "sas"),
            ("r", "report"),
            ("t conn-x", "Quick conn-x"),
            ("t quick conn-x", "Quick conn-x"),
            ("t main 192.0.2.1", "Main 192.0.2.1"),
            ("t main", "Quick main"),
            ("t mainly", "Main ly"),
            ("t", "ui_teardown: command \"t\" malformed"),
            ("T", "all"),
            ("x", "ui_handle_messages: unrecognized command: 'x'"),
            (" S", "ui_handle_messages: unrecognized command: ' '"),
            ("", "ui_handle_messages: unrecognized command: '"),
            ("S\0Q", "sas"),
        ] {
            assert_eq!(shown(Command::parse(line.as_bytes())), expected, "{line}");
        }
    }

    #[test]
    fn sas_to_delete() {
        let cookies = "dce26f834bcb794a9e3464ee4795fc91";
        let shown = |text: String| shown(Command::parse(text.as_bytes()));
        let octets = "[dc, e2, 6f, 83, 4b, cb, 79, 4a, 9e, 34, 64, ee, 47, 95, fc, 91]";
        assert_eq!(
            shown(format!("d {cookies} 0A0b0c0d")),
            format!("delete {octets} Some({})", 0x0a0b_0c0d)
        );
        assert_eq!(
            shown(format!("d {cookies} -")),
            format!("delete {octets} None")
        );
        assert_eq!(
            shown("d 1 -".to_owned()),
            format!(
                "delete {} None",
                "[00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 01]"
            )
        );
        assert_eq!(
            shown(format!("d {cookies}")),
            format!("ui_delete: command \"d {cookies}\" malformed")
        );
        assert_eq!(
            shown("d xyz -".to_owned()),
            "ui_delete: command \"d xyz -\" has bad arguments"
        );
        assert_eq!(
            shown(format!("d {cookies} 0g")),
            format!("ui_delete: command \"d {cookies} 0g\" has bad arguments")
        );
    }

    #[test]
    fn words_are_cut_at_200_octets() {
        let long = format!("c {}", "x".repeat(300));
        assert_eq!(
            shown(Command::parse(long.as_bytes())),
            format!("connect {}", "x".repeat(200))
        );
    }

    #[test]
    fn the_fifo_gives_whole_lines() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("fifo");
        let mut fifo = Fifo::open(path.as_os_str()).expect("opened");
        let data = std::fs::metadata(&path).expect("there");
        assert!(data.file_type().is_fifo());
        assert_eq!(data.mode() & 0o777, 0o600);
        assert!(fifo.read().expect("read").is_empty());
        let mut writer = OpenOptions::new().write(true).open(&path).expect("writer");
        writer.write_all(b"S\nc conn").expect("written");
        let lines: Vec<_> = fifo.read().expect("read").into_iter().map(shown).collect();
        assert_eq!(lines, ["sas"]);
        writer.write_all(b"-x\n\nT\n").expect("written");
        drop(writer);
        let lines: Vec<_> = fifo.read().expect("read").into_iter().map(shown).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            (lines[0].as_str(), lines[2].as_str()),
            ("connect conn-x", "all")
        );
        assert!(fifo.read().expect("read").is_empty() && !fifo.has_ended());
        // A second daemon takes the place.
        Fifo::open(path.as_os_str()).expect("replaced");
        let file = directory.path().join("file");
        std::fs::write(&file, "kept").expect("written");
        let error = Fifo::open(file.as_os_str())
            .expect_err("a file")
            .to_string();
        let expected = format!(
            "ui_init: could not create FIFO \"{}\": File exists",
            file.display()
        );
        assert_eq!(error, expected);
        assert_eq!(std::fs::read(&file).expect("kept"), b"kept");
        let nowhere = directory.path().join("none/fifo");
        let error = Fifo::open(nowhere.as_os_str()).expect_err("nowhere");
        assert!(
            error
                .to_string()
                .ends_with(", 0600) failed: No such file or directory")
        );
    }

    #[test]
    fn a_line_without_end_is_skipped() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("fifo");
        let mut fifo = Fifo::open(path.as_os_str()).expect("opened");
        for _ in 0..MAX_LINE / 1000 + 5 {
            assert!(fifo.take(&[b'x'; 1000]).is_empty());
            assert!(fifo.line.len() <= MAX_LINE);
        }
        let lines: Vec<_> = fifo.take(b"x\nS\n").into_iter().map(shown).collect();
        assert_eq!(lines, ["ui_handler: line too long, ignored", "sas"]);
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_stumble(line in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = Command::parse(&line);
        }

        #[test]
        fn lines_do_not_depend_on_how_they_come(text in "[cCdDMpQRSrtT \n\\[\\]:=a-c0-9]{0,80}", cut in 0usize..80) {
            let directory = tempfile::tempdir().expect("directory");
            let fifo = || Fifo::open(directory.path().join("fifo").as_os_str()).expect("opened");
            let all = |fifo: &mut Fifo, octets: &[u8]| fifo.take(octets).into_iter().map(shown).collect::<Vec<_>>();
            let (mut one, mut two) = (fifo(), fifo());
            let (head, tail) = text.as_bytes().split_at(cut.min(text.len()));
            let whole = all(&mut one, text.as_bytes());
            let mut parts = all(&mut two, head);
            parts.extend(all(&mut two, tail));
            proptest::prop_assert_eq!(whole, parts);
        }
    }
}
