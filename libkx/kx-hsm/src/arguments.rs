//! The command line of kx-hsm: words that say what to do, and options with long names, in any order.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use kx_cli::getopt_long::{LongOption, parse};
use xkek_io::Spec;

use crate::secret_source::{SecretError, SecretSource};

/// An option and what it is for.
pub struct OptionText {
    /// Its name.
    pub name: &'static str,
    /// What its argument is called; none: it takes none.
    pub argument: Option<&'static str>,
    /// What it is for.
    pub text: &'static str,
}

macro_rules! options {
    ($($name:literal $argument:expr, $text:literal;)*) => {
        /// All options.
        pub const OPTIONS: &[OptionText] = &[
            $(OptionText { name: $name, argument: $argument, text: $text }),*
        ];
    };
}

options! {
    "card" Some("SPEC"), "the card: pcsc:READER, vcard:DIRECTORY, vpcd:HOST:PORT";
    "reader" Some("NAME"), "the card in a reader whose name begins so, or with that number";
    "pin" Some("SECRET"), "user PIN";
    "new-pin" Some("SECRET"), "user PIN to be set";
    "so-pin" Some("SECRET"), "SO-PIN, 16 hexadecimal digits";
    "password" Some("SECRET"), "password of a share file";
    "new-password" Some("SECRET"), "password of the new share file";
    "domain" Some("N"), "key domain, 0 if not given";
    "domains" Some("N"), "how many key domains to make room for";
    "id" Some("N"), "key reference on the card";
    "label" Some("TEXT"), "label of the key or of the device";
    "type" Some("TYPE"), "rsa:BITS, ec:CURVE or aes:BITS";
    "algorithms" Some("LIST"), "what the key may be used for, names or numbers with commas";
    "use-counter" Some("N"), "how often the key can be used";
    "shares" Some("N"), "shares that the key domain waits for";
    "threshold" Some("T"), "custodians that are needed";
    "total" Some("M"), "custodians in all";
    "share" Some("SECRET"), "a custodian's share of the password, ID:VALUE; once for each";
    "prime" Some("SECRET"), "the prime of the shares of the password";
    "notes" Some("DIRECTORY"), "write one note for each custodian there instead of showing them";
    "out" Some("FILE"), "file to write";
    "peer" Some("FILE"), "exchange key of the other device";
    "group" Some("FILE"), "group signer's file";
    "group-id" Some("N"), "key reference of the group signer";
    "membership" Some("FILE"), "membership file (KDM)";
    "member" Some("FILE"), "device certificates of the new member";
    "trust-root" Some("FILE"), "a root certificate to trust in addition; may be repeated";
    "trust-test-root" None, "trust the vendor's test root too";
    "from" Some("SPEC"), "the card a key moves from";
    "to" Some("SPEC"), "the card it moves to";
    "from-pin" Some("SECRET"), "its user PIN";
    "to-pin" Some("SECRET"), "its user PIN";
    "to-id" Some("M"), "key reference on the other card; a free one if not given";
    "to-domain" Some("N"), "key domain on the other card";
    "delete-source" None, "after the move delete the key on the card it came from";
    "retries" Some("N"), "how often a wrong PIN may be given";
    "required" Some("N"), "registered public keys that are needed to log in";
    "public-keys" Some("N"), "public keys that can be registered";
    "key" Some("FILE"), "a private key (PEM or DER)";
    "key-password" Some("SECRET"), "its passphrase, if it has one";
    "index" Some("N"), "place of a registered public key";
    "transport-pin" None, "the user has to change the PIN first";
    "no-pin-reset" None, "the SO-PIN cannot unblock the user PIN";
    "json" None, "say it as JSON";
    "dry-run" None, "say what would be done, and do nothing that changes the card";
    "yes" None, "do not ask before something is destroyed";
    "force" None, "replace what is there";
    "help" None, "say how it is used";
    "version" None, "say which version this is";
}

/// Why a command line is none. `Display` says it to whom typed it.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentError {
    /// As getopt_long says it.
    #[error("{0}")]
    Option(String),
    /// Not of this verb.
    #[error("{verb}: there is no option --{option} here")]
    NotHere {
        /// The words of the verb.
        verb: String,
        /// The option.
        option: &'static str,
    },
    /// An option that is needed.
    #[error("--{0} is missing")]
    Missing(&'static str),
    /// A file that is needed, or one too many.
    #[error("{0}")]
    Operands(String),
    /// A value that is none.
    #[error("--{option} {value}: {why}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What is wrong.
        why: String,
    },
    /// A place for a secret that is none.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// What was typed.
#[derive(Debug, Default)]
pub struct Arguments {
    /// Words that are no options.
    pub words: Vec<OsString>,
    given: BTreeMap<&'static str, Vec<OsString>>,
}

impl Arguments {
    /// Takes a command line apart.
    ///
    /// # Errors
    /// [`ArgumentError::Option`].
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, ArgumentError> {
        let long: Vec<LongOption> = (0x100..)
            .zip(OPTIONS)
            .map(|(value, option)| LongOption {
                name: option.name,
                argument: option.argument.is_some(),
                value,
            })
            .collect();
        let mut arguments = Self::default();
        let parsed = parse("d:yh", &long, words, false);
        for found in parsed.found {
            let found = found.map_err(|error| ArgumentError::Option(error.to_string()))?;
            let name = match u8::try_from(found.value) {
                Ok(b'd') => "domain",
                Ok(b'y') => "yes",
                Ok(_) => "help",
                Err(_) => {
                    let place = usize::try_from(found.value).unwrap_or(0).checked_sub(0x100);
                    let Some(option) = place.and_then(|place| OPTIONS.get(place)) else {
                        continue;
                    };
                    option.name
                }
            };
            let values = arguments.given.entry(name).or_default();
            values.push(found.argument.unwrap_or_default());
        }
        arguments.words = parsed.operands;
        Ok(arguments)
    }

    /// Refuses options that the verb does not have.
    ///
    /// # Errors
    /// [`ArgumentError::NotHere`].
    pub fn allow(&self, verb: &str, options: &[&str]) -> Result<(), ArgumentError> {
        match self.given.keys().find(|name| !options.contains(name)) {
            Some(&option) => Err(ArgumentError::NotHere {
                verb: verb.to_owned(),
                option,
            }),
            None => Ok(()),
        }
    }

    /// Whether an option was given.
    #[must_use]
    pub fn has(&self, option: &'static str) -> bool {
        self.given.contains_key(option)
    }

    /// All values of an option that may be repeated.
    #[must_use]
    pub fn all(&self, option: &'static str) -> &[OsString] {
        self.given
            .get(option)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// The last value of an option.
    #[must_use]
    pub fn value(&self, option: &'static str) -> Option<&OsStr> {
        self.all(option).last().map(OsString::as_os_str)
    }

    /// As [`value`](Self::value), as text.
    #[must_use]
    pub fn text(&self, option: &'static str) -> Option<String> {
        let value = self.value(option)?;
        Some(value.to_string_lossy().into_owned())
    }

    /// A value that is needed.
    ///
    /// # Errors
    /// [`ArgumentError::Missing`].
    pub fn needed(&self, option: &'static str) -> Result<String, ArgumentError> {
        self.text(option).ok_or(ArgumentError::Missing(option))
    }

    /// A file that is needed.
    ///
    /// # Errors
    /// [`ArgumentError::Missing`].
    pub fn path(&self, option: &'static str) -> Result<PathBuf, ArgumentError> {
        let value = self.value(option).ok_or(ArgumentError::Missing(option))?;
        Ok(PathBuf::from(value))
    }

    /// A number up to 255.
    ///
    /// # Errors
    /// [`ArgumentError::Value`].
    pub fn octet(&self, option: &'static str) -> Result<Option<u8>, ArgumentError> {
        self.number(option)
    }

    /// A number.
    ///
    /// # Errors
    /// [`ArgumentError::Value`].
    pub fn number<N: std::str::FromStr<Err = std::num::ParseIntError>>(
        &self,
        option: &'static str,
    ) -> Result<Option<N>, ArgumentError> {
        let Some(value) = self.text(option) else {
            return Ok(None);
        };
        let number = value.parse::<N>();
        number.map(Some).map_err(|error| ArgumentError::Value {
            option,
            value,
            why: error.to_string(),
        })
    }

    /// Where a secret comes from; the terminal if nothing was given.
    ///
    /// # Errors
    /// [`ArgumentError::Secret`].
    pub fn secret(&self, option: &'static str) -> Result<SecretSource, ArgumentError> {
        match self.value(option) {
            Some(word) => Ok(SecretSource::parse(word)?),
            None => Ok(SecretSource::Ask),
        }
    }

    /// The card of `--card` or `--reader`, else of the variable `KX_CARD`, else the first in a reader.
    ///
    /// # Errors
    /// [`ArgumentError::Value`].
    pub fn card(&self) -> Result<Spec, ArgumentError> {
        if let Some(reader) = self.text("reader") {
            return Ok(Spec::Pcsc(reader));
        }
        if self.has("card") {
            return self.spec("card");
        }
        match std::env::var("KX_CARD") {
            Ok(text) => text.parse().map_err(|error: xkek_io::SpecError| {
                ArgumentError::Operands(format!("KX_CARD: {error}"))
            }),
            Err(_) => Ok(Spec::Pcsc(String::new())),
        }
    }

    /// The card that an option names.
    ///
    /// # Errors
    /// [`ArgumentError`].
    pub fn spec(&self, option: &'static str) -> Result<Spec, ArgumentError> {
        let value = self.needed(option)?;
        value.parse().map_err(|error: xkek_io::SpecError| {
            ArgumentError::Operands(format!("--{option}: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Arguments, ArgumentError> {
        Arguments::read(words.iter().map(OsString::from))
    }

    #[test]
    fn words_and_options_mix() {
        let arguments = read(&[
            "share", "--card", "vcard:/a", "import", "f", "-d", "2", "--yes",
        ])
        .expect("a command line");
        assert_eq!(arguments.words, ["share", "import", "f"]);
        assert_eq!(arguments.octet("domain").expect("number"), Some(2));
        assert!(arguments.has("yes"));
        assert!(matches!(arguments.card(), Ok(Spec::Vcard { .. })));
        let wrong = arguments.allow("share import", &["card", "domain"]);
        assert_eq!(
            wrong.expect_err("an option").to_string(),
            "share import: there is no option --yes here"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, complaint) in [
            (&["--nothing"][..], "unrecognized option '--nothing'"),
            (&["--id"], "option '--id' requires an argument"),
        ] {
            assert_eq!(read(words).expect_err("wrong").to_string(), complaint);
        }
        let arguments = read(&["--id", "300"]).expect("options");
        let error = arguments.octet("id").expect_err("too large").to_string();
        assert_eq!(error, "--id 300: number too large to fit in target type");
        let error = arguments.needed("out").expect_err("missing").to_string();
        assert_eq!(error, "--out is missing");
    }
}
