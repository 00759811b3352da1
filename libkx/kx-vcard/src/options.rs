//! The command line (xkek spec 12).

use std::ffi::OsString;
use std::path::PathBuf;

use xkek::device::{Config, DeviceCurve};
use xkek_io::software;

/// Where pcscd's driver listens for the card in its first slot.
const VPCD: &str = "127.0.0.1:35963";

/// What `--help` prints.
pub(crate) const HELP: &str = "\
usage: kx-vcard --state DIR [OPTION]...

A SmartCard-HSM in software, for tests and training. It is not a secure element.

  --state DIR            where the card keeps its state; made on first start
  --vpcd HOST:PORT       the reader to connect to (default 127.0.0.1:35963)
  --listen HOST:PORT     wait there for the reader instead
  --ca DIR               certification authority of a new card, shared by several
  --device-curve CURVE   of a new card: brainpoolP256r1, secp256r1, secp256k1
  --atr HEX              answer to reset
  --version MAJOR.MINOR  version the card tells (default 3.5)
  --kdf NAME             key derivation of XKEK: raw-x, x963-sha256, sha256-x
  --trust-root FILE      another root that peers may have; can be repeated
  --provision            the user may replace the device certificate
  --help                 show this
";

/// Which end connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The card does.
    Connect(String),
    /// The reader does.
    Listen(String),
}

/// What the program is to do.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) state: PathBuf,
    pub(crate) reader: Reader,
    pub(crate) card: software::Options,
}

/// Why there is nothing to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// Help was asked for.
    #[error("")]
    Help,
    /// A wrong word.
    #[error("{0}")]
    Usage(String),
    /// A file of a root certificate that cannot be read.
    #[error("{}: {}", .0.display(), .1)]
    TrustRoot(PathBuf, std::io::Error),
}

/// Reads the words after the program's name.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Options, Stop> {
    let usage = |text: String| Stop::Usage(text);
    let mut state = None;
    let mut reader = Reader::Connect(VPCD.to_owned());
    let mut card = software::Options::default();
    let mut words = words;
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        // A value follows after `=` or as the next word.
        let (name, given) = match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(OsString::from(value))),
            None => (text, None),
        };
        match name.as_str() {
            "--help" | "-h" => return Err(Stop::Help),
            "--provision" if given.is_none() => {
                card.config.provision = true;
                continue;
            }
            _ => {}
        }
        let mut value = || {
            given
                .clone()
                .or_else(|| words.next())
                .ok_or_else(|| usage(format!("{name}: value missing")))
        };
        let wrong = |value: &str, what: &str| usage(format!("{name} {value}: {what}"));
        match name.as_str() {
            "--state" => state = Some(PathBuf::from(value()?)),
            "--ca" => card.authority = Some(PathBuf::from(value()?)),
            "--vpcd" => reader = Reader::Connect(address(&name, value()?)?),
            "--listen" => reader = Reader::Listen(address(&name, value()?)?),
            "--trust-root" => {
                let path = PathBuf::from(value()?);
                let root = std::fs::read(&path).map_err(|error| Stop::TrustRoot(path, error))?;
                card.config.trust_roots.push(root);
            }
            "--atr" => {
                let value = value()?.to_string_lossy().into_owned();
                let atr = octets(&value).filter(|atr| (2..=33).contains(&atr.len()));
                card.config.atr = atr
                    .ok_or_else(|| wrong(&value, "not the 2 to 33 octets of an answer to reset"))?;
            }
            "--version" => {
                let value = value()?.to_string_lossy().into_owned();
                card.config.version =
                    version(&value).ok_or_else(|| wrong(&value, "not MAJOR.MINOR"))?;
            }
            "--kdf" => {
                let value = value()?.to_string_lossy().into_owned();
                let kdf = value.parse();
                card.config.kdf = kdf.map_err(|error| usage(format!("{name} {value}: {error}")))?;
            }
            "--device-curve" => {
                let value = value()?.to_string_lossy().into_owned();
                let curve = value.parse::<DeviceCurve>();
                card.device_curve = curve.map_err(|error| usage(error.to_string()))?;
            }
            _ => return Err(usage(format!("{name}: no such option"))),
        }
    }
    let state = state.ok_or_else(|| usage("--state is missing".to_owned()))?;
    Ok(Options {
        state,
        reader,
        card,
    })
}

fn address(name: &str, value: OsString) -> Result<String, Stop> {
    let value = value.to_string_lossy().into_owned();
    match value.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(value),
        _ => Err(Stop::Usage(format!("{name} {value}: not HOST:PORT"))),
    }
}

fn version(text: &str) -> Option<(u8, u8)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn octets(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|octet| !matches!(octet, b' ' | b':'))
        .map(|octet| {
            char::from(octet)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        })
        .collect::<Option<_>>()?;
    let pairs = digits.chunks(2).map(|pair| match *pair {
        [high, low] => Some(high << 4 | low),
        _ => None,
    });
    pairs.collect()
}

/// The ATR that clients know, for the log.
pub(crate) fn is_usual(config: &Config) -> bool {
    config.atr == Config::default().atr
}

#[cfg(test)]
mod tests {
    use super::{Reader, Stop, VPCD, parse};

    fn read(words: &str) -> Result<super::Options, Stop> {
        parse(words.split_whitespace().map(Into::into))
    }

    #[test]
    fn every_option_is_taken() {
        let usual = read("--state a").expect("enough");
        assert_eq!(usual.reader, Reader::Connect(VPCD.to_owned()));
        assert!(!usual.card.config.provision);
        let all = read(
            "--state=a --listen localhost:1 --ca b --device-curve secp256k1 --atr 3B00 \
             --version 6.2 --kdf sha256-x --provision",
        )
        .expect("good");
        assert_eq!(all.reader, Reader::Listen("localhost:1".to_owned()));
        assert_eq!(all.card.config.version, (6, 2));
        assert_eq!(all.card.config.atr, [0x3B, 0]);
        assert_eq!(all.card.config.kdf.name(), "sha256-x");
        assert!(all.card.config.provision && all.card.authority.is_some());
    }

    #[test]
    fn wrong_words_are_named() {
        for (words, text) in [
            ("", "--state is missing"),
            ("--state", "--state: value missing"),
            ("--state a b", "b: no such option"),
            ("--state a --vpcd host", "--vpcd host: not HOST:PORT"),
            ("--state a --version 6", "--version 6: not MAJOR.MINOR"),
            (
                "--state a --atr 3",
                "--atr 3: not the 2 to 33 octets of an answer to reset",
            ),
        ] {
            match read(words) {
                Err(Stop::Usage(said)) => assert_eq!(said, text),
                other => panic!("{words}: {other:?}"),
            }
        }
        assert!(matches!(read("--kdf x --state a"), Err(Stop::Usage(_))));
        assert!(matches!(
            read("--state a --trust-root /nowhere/at/all"),
            Err(Stop::TrustRoot(..))
        ));
        assert!(matches!(read("--help"), Err(Stop::Help)));
    }
}
