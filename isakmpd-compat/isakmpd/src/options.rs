//! The command line (isakmpd 1).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use kx_cli::getopt::{Found, Getopt, GetoptError};

use crate::scan::Scan;

/// Of both versions; `P` and `r` are those of 2004.
const LETTERS: &str = "46ac:dD:f:i:KnN:p:Ll:R:STvP:r:";

/// Default configuration file.
pub const CONFIGURATION: &str = "/etc/isakmpd/isakmpd.conf";
/// Default control FIFO.
pub const FIFO: &str = "/var/run/isakmpd.fifo";
/// Default file of the process number.
pub const PID_FILE: &str = "/var/run/isakmpd.pid";
/// Default capture file.
pub const CAPTURE: &str = "/var/run/isakmpd.pcap";
/// Default report file.
pub const REPORT: &str = "/var/run/isakmpd.report";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `-4` or neither letter.
    pub ipv4: bool,
    /// `-6` or neither letter.
    pub ipv6: bool,
    /// `-a`: no flows.
    pub acquire_only: bool,
    /// `-c`
    pub configuration: PathBuf,
    /// `-d`, counted: 1 foreground, 2 and more for a debugger.
    pub foreground: u8,
    /// `-D`, in order.
    pub levels: Vec<Level>,
    /// `-f`; `-` is standard input.
    pub fifo: OsString,
    /// `-i`
    pub pid_file: PathBuf,
    /// `-K`: no policy.
    pub no_policy: bool,
    /// `-L` and `-l`: capture from the start.
    pub capture: Option<PathBuf>,
    /// `-N`: port of NAT traversal, number or name.
    pub nat_t_port: OsString,
    /// `-n`: no kernel.
    pub no_kernel: bool,
    /// `-p`: port, number or name.
    pub port: OsString,
    /// `-R`
    pub report: PathBuf,
    /// `-S`: begin passive, and delete no SAs at the end.
    pub passive: bool,
    /// `-T`: no NAT traversal.
    pub no_nat_t: bool,
    /// `-v`
    pub verbose: bool,
    /// `-r`, which counts in no program of ours.
    pub seed: bool,
    /// `--check`: say what the configuration means, and end.
    pub check: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ipv4: true,
            ipv6: true,
            acquire_only: false,
            configuration: CONFIGURATION.into(),
            foreground: 0,
            levels: Vec::new(),
            fifo: FIFO.into(),
            pid_file: PID_FILE.into(),
            no_policy: false,
            capture: None,
            nat_t_port: "4500".into(),
            no_kernel: false,
            port: "500".into(),
            report: REPORT.into(),
            passive: false,
            no_nat_t: false,
            verbose: false,
            seed: false,
            check: false,
        }
    }
}

/// What `-D`, `Loglevel` and the FIFO's `D` ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    /// `class=level`
    One(i32, i32),
    /// `A=level`
    All(i32),
    /// Neither.
    Wrong(String),
}

impl Level {
    /// Reads `class=level` or `A=level`.
    #[must_use]
    pub fn parse(text: &OsStr) -> Level {
        let one = |mut scan: Scan<'_>| {
            let class = scan.number()?;
            scan.literal(b"=")?;
            Some(Level::One(class, scan.number()?))
        };
        let all = |mut scan: Scan<'_>| {
            scan.literal(b"A=")?;
            scan.number().map(Level::All)
        };
        let scan = Scan::new(text.as_bytes());
        one(scan)
            .or_else(|| all(scan))
            .unwrap_or_else(|| Level::Wrong(text.to_string_lossy().into_owned()))
    }
}

/// Why there is nothing to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// An operand.
    Operand,
    /// An option that is none.
    Getopt(GetoptError),
}

/// The usage text. `argv0` as the program was called.
#[must_use]
pub fn usage(argv0: &OsStr) -> Vec<u8> {
    let name = argv0.as_bytes().rsplit(|octet| *octet == b'/').next();
    let mut out = b"usage: ".to_vec();
    out.extend_from_slice(name.unwrap_or_default());
    out.extend_from_slice(
        b" [-46adKLnSTv] [-c config-file] [-D class=level] [-f fifo]\n\
          \x20         [-i pid-file] [-l packetlog-file] [-N udpencap-port]\n\
          \x20         [-p listen-port] [-R report-file]\n",
    );
    out
}

impl Options {
    /// Reads the arguments, without the program's name. `posix`: options end at the first operand.
    ///
    /// # Errors
    /// What ends the program instead, with the levels that were asked for before.
    pub fn parse(words: Vec<OsString>, posix: bool) -> Result<Options, (Stop, Vec<Level>)> {
        let mut options = Options::default();
        let words = match ours(words, &mut options) {
            Ok(words) => words,
            Err(stop) => return Err((stop, Vec::new())),
        };
        let mut getopt = Getopt::new(LETTERS, words.into_iter(), posix);
        let (mut four, mut six) = (false, false);
        let (mut capture, mut capture_file) = (false, None);
        for found in getopt.by_ref() {
            let Found { letter, argument } = match found {
                Ok(found) => found,
                Err(error) => return Err((Stop::Getopt(error), options.levels)),
            };
            let argument = argument.unwrap_or_default();
            match letter {
                b'4' => four = true,
                b'6' => six = true,
                b'a' => options.acquire_only = true,
                b'c' => options.configuration = argument.into(),
                b'd' => options.foreground = options.foreground.saturating_add(1),
                b'D' => options.levels.push(Level::parse(&argument)),
                b'f' => options.fifo = argument,
                b'i' => options.pid_file = argument.into(),
                b'K' => options.no_policy = true,
                b'L' => capture = true,
                b'l' => {
                    capture = true;
                    capture_file = Some(PathBuf::from(argument));
                }
                b'N' => options.nat_t_port = argument,
                b'n' => options.no_kernel = true,
                b'p' => options.port = argument,
                b'R' => options.report = argument.into(),
                b'S' => options.passive = true,
                b'T' => options.no_nat_t = true,
                b'v' => options.verbose = true,
                b'r' => options.seed = true,
                // -P, which did nothing.
                _ => {}
            }
        }
        if !getopt.into_operands().is_empty() {
            return Err((Stop::Operand, options.levels));
        }
        // Both are the same as neither.
        if four != six {
            (options.ipv4, options.ipv6) = (four, six);
        }
        options.capture = capture.then(|| capture_file.unwrap_or_else(|| CAPTURE.into()));
        Ok(options)
    }
}

/// Takes our words out: whole ones, in front of `--` and not the argument of a letter.
fn ours(words: Vec<OsString>, options: &mut Options) -> Result<Vec<OsString>, Stop> {
    let mut rest = Vec::with_capacity(words.len());
    let (mut ended, mut argument) = (false, false);
    for word in words {
        if ended || argument {
            argument = false;
        } else {
            match word.as_bytes() {
                b"--help" => return Err(Stop::Help),
                b"--version" => return Err(Stop::Version),
                b"--check" => {
                    options.check = true;
                    continue;
                }
                b"--" => ended = true,
                octets => argument = wants_argument(octets),
            }
        }
        rest.push(word);
    }
    Ok(rest)
}

/// Whether the word is options of which the last one takes the next word.
fn wants_argument(word: &[u8]) -> bool {
    let takes = |letter: &u8| {
        let place = LETTERS.bytes().position(|known| known == *letter);
        place.is_some_and(|place| LETTERS.as_bytes().get(place.saturating_add(1)) == Some(&b':'))
    };
    match word {
        [b'-', letters @ ..] => {
            let place = letters.iter().position(takes);
            place.is_some_and(|place| place.saturating_add(1) == letters.len())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, Stop> {
        Options::parse(words.iter().map(OsString::from).collect(), false).map_err(|stop| stop.0)
    }

    #[test]
    fn defaults_are_the_originals() {
        let options = parse(&[]).expect("nothing wrong");
        assert_eq!(options, Options::default());
        assert_eq!(options.configuration.to_str(), Some(CONFIGURATION));
        assert!(options.ipv4 && options.ipv6 && options.capture.is_none());
    }

    #[test]
    fn everything_can_be_said_at_once() {
        let options = parse(&[
            "-46adKLnSTvd",
            "-cC",
            "-f",
            "-",
            "-i",
            "/run/x",
            "-D",
            "3=50",
            "-DA=9",
            "-Dx",
            "-l/run/l",
            "-N",
            "4501",
            "-p",
            "isakmp",
            "-R",
            "--check",
            "-P",
            "1",
            "-r",
            "5",
        ])
        .expect("nothing wrong");
        assert!(options.ipv4 && options.ipv6 && options.acquire_only && options.no_policy);
        assert!(options.no_kernel && options.passive && options.no_nat_t && options.verbose);
        assert_eq!((options.foreground, options.fifo.to_str()), (2, Some("-")));
        let levels = [
            Level::One(3, 50),
            Level::All(9),
            Level::Wrong("x".to_owned()),
        ];
        assert_eq!(options.levels, levels);
        assert_eq!(options.capture, Some("/run/l".into()));
        assert_eq!(
            (options.nat_t_port, options.port),
            ("4501".into(), "isakmp".into())
        );
        // An argument is an argument.
        assert_eq!((options.report, options.check), ("--check".into(), false));
        assert!(options.seed);
    }

    #[test]
    fn one_family() {
        let options = parse(&["-6"]).expect("fine");
        assert!(!options.ipv4 && options.ipv6);
        let options = parse(&["-4"]).expect("fine");
        assert!(options.ipv4 && !options.ipv6);
        assert_eq!(parse(&["-L"]).expect("fine").capture, Some(CAPTURE.into()));
    }

    #[test]
    fn what_is_wrong_ends_it() {
        assert_eq!(parse(&["x"]), Err(Stop::Operand));
        assert_eq!(parse(&["--", "--help"]), Err(Stop::Operand));
        assert_eq!(
            parse(&["-h"]),
            Err(Stop::Getopt(GetoptError::Invalid(b'h')))
        );
        let missing = Stop::Getopt(GetoptError::MissingArgument(b'c'));
        assert_eq!(parse(&["-dc"]), Err(missing));
        assert_eq!(parse(&["-d", "--help"]), Err(Stop::Help));
        assert_eq!(parse(&["--version"]), Err(Stop::Version));
        assert_eq!(
            parse(&["--checks"]),
            Err(Stop::Getopt(GetoptError::Invalid(b'-')))
        );
        assert!(parse(&["--check", "-c", "x"]).expect("fine").check);
        let (_, levels) = Options::parse(vec!["-D1=2".into(), "-q".into()], false).expect_err("q");
        assert_eq!(levels, [Level::One(1, 2)]);
    }

    #[test]
    fn levels_are_read_as_by_sscanf() {
        let level = |text: &str| Level::parse(OsStr::new(text));
        assert_eq!(level(" 3= 4x"), Level::One(3, 4));
        assert_eq!(level("-1=70"), Level::One(-1, 70));
        assert_eq!(level("A=-5"), Level::All(-5));
        for wrong in ["a=5", "A", "3", "3 =4", "", "A =5"] {
            assert_eq!(level(wrong), Level::Wrong(wrong.to_owned()), "{wrong}");
        }
    }

    #[test]
    fn usage_is_three_lines_with_the_programs_name() {
        let text = usage(OsStr::new("/usr/sbin/isakmpd"));
        let text = String::from_utf8(text).expect("text");
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with(
            "usage: isakmpd [-46adKLnSTv] [-c config-file] [-D class=level] [-f fifo]\n          [-i"
        ));
        assert!(text.ends_with("\n          [-p listen-port] [-R report-file]\n"));
    }
}
