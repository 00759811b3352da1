//! The command line (tcpcrypt spec 2.1).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use kx_cli::getopt::{Found, Getopt, GetoptError, atoi, strtoul};
use kx_crypto::aead::Algorithm;
use tcpcrypt_proto::dialect::{Policy, UnknownPolicy};

use crate::redirect::MOST_THREADS;
use crate::usage;

/// The option of ours.
const ENO: &[u8] = b"--eno=";

/// Another.
const AEAD: &[u8] = b"--aead=";

/// Another.
const ENO_BY: &[u8] = b"--eno-by=";

/// Another.
const THREADS: &[u8] = b"--threads=";

/// How many `-x` there may be, and how many `-T`.
const MAX_PARAMETERS: usize = 12;

/// How the options of handshakes get into the segments of redirect mode, and out of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnoBy {
    /// By a program in the kernel where that can be had, else by the queue.
    Auto,
    /// By a program in the kernel, or the daemon does not start.
    Program,
    /// By the queue.
    Queue,
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// `-p`: number of the queue. Its low 16 bits count, as in the original.
    pub divert_port: i32,
    /// `-v`, counted: 0 always, 1 default, 2 debug, 3 a line per packet.
    pub verbosity: u8,
    /// `-d`: leave new connections alone.
    pub disable: bool,
    /// `-c`: no resumption.
    pub no_cache: bool,
    /// `-a`: every packet is accepted.
    pub accept: bool,
    /// `-m`: every packet is replaced by itself.
    pub modify: bool,
    /// `-u`: where the control socket is.
    pub control: OsString,
    /// `-t`: a self test instead of the daemon.
    pub test: Option<i32>,
    /// `-T`: parameters of the self test.
    pub test_params: Vec<OsString>,
    /// `-D`: end when a check fails.
    pub debug: bool,
    /// `-x`: on Linux the first is a mark for packets that were looked at, the second (ours) a mark in
    /// addition for those of connections that are plain for good.
    pub driver_params: Vec<OsString>,
    /// `-C`: the key exchange to offer first.
    pub prefer: Option<u8>,
    /// `-r`: where additional randomness comes from.
    pub random_path: Option<OsString>,
    /// `-i`: nothing is repeated or forgotten by time.
    pub disable_timers: bool,
    /// `-U`: the user to become.
    pub jail_user: OsString,
    /// `-J`: the root directory to be.
    pub jail_dir: OsString,
    /// `-e`: act as a proxy.
    pub redirect: bool,
    /// `--eno=`: which dialects are spoken. The original has no such option.
    pub eno: Policy,
    /// `--aead=`: the cipher to offer first in the dialect of RFC 8548. The original has no such option.
    pub aead: Option<Algorithm>,
    /// `--eno-by=`: how redirect mode does its handshakes; without it [`EnoBy::Auto`]. The original has no such
    /// option.
    pub eno_by: Option<EnoBy>,
    /// `--threads=`: how many threads carry the streams of redirect mode; without it as many as there are processors.
    /// The original has no such option.
    pub threads: Option<usize>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            divert_port: atoi(OsStr::new(usage::DIVERT_PORT)),
            verbosity: 0,
            disable: false,
            no_cache: false,
            accept: false,
            modify: false,
            control: usage::CONTROL_SOCKET.into(),
            test: None,
            test_params: Vec::new(),
            debug: false,
            driver_params: Vec::new(),
            prefer: None,
            random_path: None,
            disable_timers: false,
            jail_user: usage::JAIL_USER.into(),
            jail_dir: usage::JAIL_DIR.into(),
            redirect: false,
            eno: Policy::Auto,
            aead: None,
            eno_by: None,
            threads: None,
        }
    }
}

/// Why the daemon does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The help text was asked for.
    #[error("help")]
    Help,
    /// The version was asked for.
    #[error("version")]
    Version,
    /// A single `--word` that is not known.
    #[error("unknown option")]
    UnknownWord,
    /// getopt(3) complains.
    #[error(transparent)]
    Getopt(#[from] GetoptError),
    /// Too many `-x` or `-T`. The line feed at the end is the original's.
    #[error("too many parameters\n")]
    TooManyParameters,
    /// `-C` with something else than a key exchange.
    #[error(
        "unknown key exchange '{0}': -C takes 0x21 (ECDHE with P-256), 0x22 (P-521), 0x23 (Curve25519) or 0x24 (Curve448)"
    )]
    UnknownKeyExchange(String),
    /// `-C` with a key exchange of RFC 8548 that `--eno=legacy` leaves no use for.
    #[error("key exchange {0:#x} (-C) belongs to RFC 8548, which --eno=legacy does not speak")]
    NotLegacyKeyExchange(u8),
    /// `--aead=` that `--eno=legacy` leaves no use for.
    #[error("--aead belongs to RFC 8548, which --eno=legacy does not speak")]
    NotLegacyAead,
    /// `--eno=` with something else than a policy.
    #[error("--eno takes legacy, rfc, auto or off, not '{0}'")]
    UnknownEno(String),
    /// `--aead=` with something else than a cipher.
    #[error("--aead takes aes-128-gcm, aes-256-gcm or chacha20-poly1305, not '{0}'")]
    UnknownAead(String),
    /// `--eno-by=` with something else than a way.
    #[error("--eno-by takes auto, ebpf or queue, not '{0}'")]
    UnknownEnoBy(String),
    /// `--eno-by=` without `-e`.
    #[error("--eno-by belongs to redirect mode (-e)")]
    NotRedirectEnoBy,
    /// `--threads=` with something else than such a number.
    #[error("--threads takes a number from 0 to {MOST_THREADS}, not '{0}'")]
    UnknownThreads(String),
    /// `--threads=` without `-e`.
    #[error("--threads belongs to redirect mode (-e)")]
    NotRedirectThreads,
}

impl Options {
    /// Reads the arguments (without the program's name). `posix` as in [`Getopt::new`].
    ///
    /// # Errors
    /// What ends the program instead.
    pub fn parse(arguments: Vec<OsString>, posix: bool) -> Result<Options, Stop> {
        if let [word] = arguments.as_slice() {
            match word.as_bytes() {
                b"--help" => return Err(Stop::Help),
                b"--version" => return Err(Stop::Version),
                word if [ENO, AEAD, ENO_BY, THREADS]
                    .iter()
                    .any(|name| word.starts_with(name)) => {}
                [b'-', b'-', ..] => return Err(Stop::UnknownWord),
                _ => {}
            }
        }
        let mut options = Options::default();
        let mut arguments = arguments;
        options.take_words(&mut arguments)?;
        let mut prefer = OsString::new();
        for found in Getopt::new(usage::LETTERS, arguments.into_iter(), posix) {
            let Found { letter, argument } = found?;
            let argument = argument.unwrap_or_default();
            match letter {
                b'h' => return Err(Stop::Help),
                b'V' => return Err(Stop::Version),
                b'p' => options.divert_port = atoi(&argument),
                b'v' => options.verbosity = options.verbosity.saturating_add(1),
                b'd' => options.disable = true,
                b'c' => options.no_cache = true,
                b'a' => options.accept = true,
                b'm' => options.modify = true,
                b'u' => options.control = argument,
                b't' => options.test = Some(atoi(&argument)),
                b'T' => add(&mut options.test_params, argument)?,
                b'D' => options.debug = true,
                b'x' => add(&mut options.driver_params, argument)?,
                b'C' => prefer = argument,
                b'r' => options.random_path = Some(argument),
                b'i' => options.disable_timers = true,
                b'U' => options.jail_user = argument,
                b'J' => options.jail_dir = argument,
                b'e' => options.redirect = true,
                // Taken, without effect: -n -P -S -N -M -R -f -s. There is no network test to
                // switch off or to send elsewhere.
                _ => {}
            }
        }
        // -1 is how the original says "no test".
        options.test = options.test.filter(|&number| number != -1);
        options.prefer = key_exchange(&prefer)?;
        if let (Policy::Legacy, Some(tep @ 0x23..)) = (options.eno, options.prefer) {
            return Err(Stop::NotLegacyKeyExchange(tep));
        }
        if options.eno == Policy::Legacy && options.aead.is_some() {
            return Err(Stop::NotLegacyAead);
        }
        if options.eno_by.is_some() && !options.redirect {
            return Err(Stop::NotRedirectEnoBy);
        }
        if options.threads.is_some() && !options.redirect {
            return Err(Stop::NotRedirectThreads);
        }
        Ok(options)
    }

    /// Takes `--eno=` and the like out, in front of `--` wherever they stand: getopt(3) knows no long options.
    fn take_words(&mut self, arguments: &mut Vec<OsString>) -> Result<(), Stop> {
        let ends = arguments.iter().position(|word| word == "--");
        let mut place = 0;
        let mut wrong = None;
        arguments.retain(|word| {
            let is_option = ends.is_none_or(|end| place < end);
            place += 1;
            let word = word.as_bytes();
            let value = |name| word.strip_prefix(name).filter(|_| is_option);
            let text = |value| String::from_utf8_lossy(value).into_owned();
            if let Some(value) = value(ENO) {
                match text(value).parse() {
                    Ok(eno) => self.eno = eno,
                    Err(UnknownPolicy) => wrong = Some(Stop::UnknownEno(text(value))),
                }
            } else if let Some(value) = value(AEAD) {
                self.aead = aead(value);
                if self.aead.is_none() {
                    wrong = Some(Stop::UnknownAead(text(value)));
                }
            } else if let Some(value) = value(ENO_BY) {
                match value {
                    b"auto" => self.eno_by = Some(EnoBy::Auto),
                    b"ebpf" => self.eno_by = Some(EnoBy::Program),
                    b"queue" => self.eno_by = Some(EnoBy::Queue),
                    _ => wrong = Some(Stop::UnknownEnoBy(text(value))),
                }
            } else if let Some(value) = value(THREADS) {
                let number = text(value).parse().ok();
                self.threads = number.filter(|number| *number <= MOST_THREADS);
                if self.threads.is_none() {
                    wrong = Some(Stop::UnknownThreads(text(value)));
                }
            } else {
                return true;
            }
            false
        });
        wrong.map_or(Ok(()), Err)
    }

    /// The number of the queue as the kernel takes it.
    #[must_use]
    pub fn queue_number(&self) -> u16 {
        let octets = self.divert_port.to_le_bytes();
        u16::from_le_bytes([octets[0], octets[1]])
    }

    /// The mark that packets get before they go through the rules again; `None` lets them go on.
    #[must_use]
    pub fn repeat_mark(&self) -> Option<u32> {
        self.mark(0)
    }

    /// The mark in addition for packets of connections that are plain for good, so that rules can
    /// take them out of the queue.
    #[must_use]
    pub fn plain_mark(&self) -> Option<u32> {
        self.repeat_mark().and(self.mark(1))
    }

    fn mark(&self, index: usize) -> Option<u32> {
        let octets = strtoul(self.driver_params.get(index)?, 16).to_le_bytes();
        let mark = u32::from_le_bytes([octets[0], octets[1], octets[2], octets[3]]);
        (mark != 0).then_some(mark)
    }

    /// Parameter `index` of the self test, or a default.
    #[must_use]
    pub fn test_param(&self, index: usize, default: i32) -> i32 {
        match self.test_params.get(index) {
            Some(text) => atoi(text),
            None => default,
        }
    }
}

fn add(parameters: &mut Vec<OsString>, parameter: OsString) -> Result<(), Stop> {
    if parameters.len() >= MAX_PARAMETERS {
        return Err(Stop::TooManyParameters);
    }
    parameters.push(parameter);
    Ok(())
}

fn aead(name: &[u8]) -> Option<Algorithm> {
    match name {
        b"aes-128-gcm" => Some(Algorithm::Aes128Gcm),
        b"aes-256-gcm" => Some(Algorithm::Aes256Gcm),
        b"chacha20-poly1305" => Some(Algorithm::ChaCha20Poly1305),
        _ => None,
    }
}

/// 0, as in the original, and what is no number are no preference.
fn key_exchange(text: &OsStr) -> Result<Option<u8>, Stop> {
    match strtoul(text, 0) {
        0 => Ok(None),
        0x21 => Ok(Some(0x21)),
        0x22 => Ok(Some(0x22)),
        0x23 => Ok(Some(0x23)),
        0x24 => Ok(Some(0x24)),
        _ => Err(Stop::UnknownKeyExchange(
            text.to_string_lossy().into_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, Stop> {
        Options::parse(words.iter().map(OsString::from).collect(), false)
    }

    #[test]
    fn defaults_are_the_originals() {
        let options = parse(&[]).expect("nothing wrong");
        assert_eq!(options.queue_number(), 666);
        assert_eq!(options.control, "/var/run/tcpcryptd.control");
        assert_eq!(options.jail_dir, "/var/run/tcpcryptd");
        assert_eq!(options.jail_user, "tcpcryptd");
        assert_eq!(options.repeat_mark(), None);
        assert_eq!((options.test, options.verbosity), (None, 0));
    }

    #[test]
    fn everything_can_be_said_at_once() {
        let options = parse(&[
            "-vvdcamnPDNRif",
            "-p",
            "70000",
            "-u@x",
            "-t2",
            "-T3",
            "-T",
            "4",
            "-S1",
            "-x",
            "0x10",
            "-x",
            "zz",
            "-C",
            "0x22",
            "-M7",
            "-r/r",
            "-s",
            "host",
            "-U",
            "me",
            "-J/j",
            "operand",
        ])
        .expect("nothing wrong");
        assert_eq!(options.queue_number(), 70000u32 as u16);
        assert_eq!(options.verbosity, 2);
        assert!(options.disable && options.no_cache && options.accept && options.modify);
        assert!(options.debug && options.disable_timers);
        assert_eq!((options.test, options.test_param(1, 9)), (Some(2), 4));
        assert_eq!(options.test_param(2, 9), 9);
        assert_eq!(options.repeat_mark(), Some(0x10));
        assert_eq!(options.plain_mark(), None);
        let marks = parse(&["-x10", "-x", "20"]).expect("nothing wrong");
        assert_eq!(
            (marks.repeat_mark(), marks.plain_mark()),
            (Some(0x10), Some(0x20))
        );
        assert_eq!(parse(&["-x0", "-x20"]).expect("fine").plain_mark(), None);
        assert_eq!(options.prefer, Some(0x22));
        assert_eq!(options.random_path, Some("/r".into()));
        assert_eq!(options.jail_user, "me");
    }

    #[test]
    fn words_count_only_alone() {
        assert_eq!(parse(&["--help"]).expect_err("help"), Stop::Help);
        assert_eq!(parse(&["--version"]).expect_err("version"), Stop::Version);
        assert_eq!(parse(&["--"]).expect_err("alone"), Stop::UnknownWord);
        let hyphen = Stop::Getopt(GetoptError::Invalid(b'-'));
        assert_eq!(parse(&["--help", "-v"]).expect_err("not alone"), hyphen);
        assert!(parse(&["--", "-h"]).is_ok());
    }

    #[test]
    fn the_first_thing_that_ends_the_program_counts() {
        assert_eq!(parse(&["-hq"]).expect_err("help"), Stop::Help);
        let invalid = Stop::Getopt(GetoptError::Invalid(b'q'));
        assert_eq!(parse(&["-qh"]).expect_err("unknown"), invalid);
        assert_eq!(parse(&["-eV"]).expect_err("version"), Stop::Version);
        assert!(parse(&["-e"]).expect("redirect").redirect);
        let many = ["-x1"; 13];
        assert_eq!(parse(&many).expect_err("many"), Stop::TooManyParameters);
        assert!(parse(&many[1..]).is_ok());
    }

    #[test]
    fn dialects() {
        let eno = |words: &[&str]| parse(words).map(|options| options.eno);
        assert_eq!(eno(&[]), Ok(Policy::Auto));
        assert_eq!(eno(&["--eno=rfc"]), Ok(Policy::Standard));
        assert_eq!(eno(&["-v", "--eno=legacy", "-d"]), Ok(Policy::Legacy));
        assert_eq!(
            eno(&["--eno=off", "operand", "--eno=auto"]),
            Ok(Policy::Auto)
        );
        assert_eq!(eno(&["--", "--eno=off"]), Ok(Policy::Auto));
        for wrong in ["", "RFC", "on"] {
            let word = format!("--eno={wrong}");
            assert_eq!(eno(&[&word]), Err(Stop::UnknownEno(wrong.into())));
        }
        assert_eq!(eno(&["--eno"]), Err(Stop::UnknownWord));
        let aead = |words: &[&str]| parse(words).map(|options| options.aead);
        assert_eq!(aead(&["-v"]), Ok(None));
        let chacha = Some(Algorithm::ChaCha20Poly1305);
        assert_eq!(aead(&["--aead=chacha20-poly1305"]), Ok(chacha));
        let unknown = Stop::UnknownAead("des".into());
        assert_eq!(aead(&["-v", "--aead=des"]), Err(unknown));
    }

    #[test]
    fn ways_of_handshakes() {
        let by = |words: &[&str]| parse(words).map(|options| options.eno_by);
        assert_eq!(by(&["-e"]), Ok(None));
        for (word, way) in [
            ("--eno-by=auto", EnoBy::Auto),
            ("--eno-by=ebpf", EnoBy::Program),
            ("--eno-by=queue", EnoBy::Queue),
        ] {
            assert_eq!(by(&["-e", word]), Ok(Some(way)));
            assert_eq!(by(&[word, "-e"]), Ok(Some(way)));
            assert_eq!(by(&[word]), Err(Stop::NotRedirectEnoBy));
        }
        let unknown = Stop::UnknownEnoBy("bpf".into());
        assert_eq!(by(&["-e", "--eno-by=bpf"]), Err(unknown));
    }

    #[test]
    fn threads_are_a_number() {
        let threads = |words: &[&str]| parse(words).map(|options| options.threads);
        assert_eq!(threads(&["-e"]), Ok(None));
        assert_eq!(threads(&["-e", "--threads=0"]), Ok(Some(0)));
        assert_eq!(threads(&["--threads=64", "-e"]), Ok(Some(64)));
        assert_eq!(threads(&["--threads=1"]), Err(Stop::NotRedirectThreads));
        for wrong in ["65", "", "-1", "x", "18446744073709551617"] {
            let unknown = Stop::UnknownThreads(wrong.into());
            assert_eq!(
                threads(&["-e", &format!("--threads={wrong}")]),
                Err(unknown)
            );
        }
    }

    #[test]
    fn key_exchanges_are_known_or_refused() {
        for (text, prefer) in [
            ("0", None),
            ("33", Some(0x21)),
            ("0x22", Some(0x22)),
            ("0x23", Some(0x23)),
            ("36", Some(0x24)),
            ("x", None),
        ] {
            assert_eq!(parse(&["-C", text]).expect(text).prefer, prefer);
        }
        assert_eq!(
            parse(&["-C0x23", "--eno=legacy"]).expect_err("rfc"),
            Stop::NotLegacyKeyExchange(0x23)
        );
        let unknown = Stop::UnknownKeyExchange("1".into());
        assert_eq!(parse(&["-C1"]).expect_err("unknown"), unknown);
        assert_eq!(parse(&["-t-1"]).expect("no test").test, None);
    }
}
