//! The command line of sc-hsm-tool: OpenSC 0.23 to 0.27.1, and the options of its pull request 3786
//! (xkek spec 12).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use kx_cli::getopt::atoi;
use kx_cli::getopt_long::{LongOption, parse};
use kx_secret::SecretBytes;

use super::console::Console;

const LETTERS: &str = "XC:I:P:W:U:K:n:e:g:Ss:i:l:fr:wv";

/// What an option without a letter stands for.
mod value {
    pub(super) const SO_PIN: u32 = 0x100;
    pub(super) const PIN: u32 = 0x101;
    pub(super) const RETRY: u32 = 0x102;
    pub(super) const BIO1: u32 = 0x103;
    pub(super) const BIO2: u32 = 0x104;
    pub(super) const PASSWORD: u32 = 0x105;
    pub(super) const THRESHOLD: u32 = 0x106;
    pub(super) const TOTAL: u32 = 0x107;
    pub(super) const NO_RRC: u32 = 0x108;
    pub(super) const NO_PIN_RESET: u32 = 0x109;
    pub(super) const REPLACE_KEY: u32 = 0x10a;
    pub(super) const PKA_AND_PIN: u32 = 0x10b;
    pub(super) const TRANSPORT_PIN: u32 = 0x10c;
    pub(super) const KEY_DOMAIN: u32 = 0x10d;
    pub(super) const CREATE_DOMAIN: u32 = 0x10e;
    pub(super) const DELETE_DOMAIN: u32 = 0x10f;
    pub(super) const CLEAR_KEK: u32 = 0x110;
    pub(super) const GENERATE: u32 = 0x111;
    pub(super) const USE_COUNTER: u32 = 0x112;
}

const fn flag(name: &'static str, value: u32) -> LongOption {
    LongOption {
        name,
        argument: false,
        value,
    }
}

const fn with(name: &'static str, value: u32) -> LongOption {
    LongOption {
        name,
        argument: true,
        value,
    }
}

/// Option and what the usage says of it; an empty text is not shown.
const OPTIONS: [(LongOption, &str); 39] = [
    (flag("initialize", b'X' as u32), "Initialize token"),
    (
        with("create-dkek-share", b'C' as u32),
        "Create DKEK key share and save to <filename>",
    ),
    (
        with("import-dkek-share", b'I' as u32),
        "Import DKEK key share <filename>",
    ),
    (with("print-dkek-share", b'P' as u32), ""),
    (
        with("wrap-key", b'W' as u32),
        "Wrap key and save to <filename>",
    ),
    (
        with("unwrap-key", b'U' as u32),
        "Unwrap key read from <filename>",
    ),
    (
        with("public-key-auth", b'K' as u32),
        "Use public key authentication, set total number of public keys",
    ),
    (
        with("required-pub-keys", b'n' as u32),
        "Number of public keys required for authentication [1]",
    ),
    (
        with("export-for-pub-key-auth", b'e' as u32),
        "Export key for public key authentication",
    ),
    (
        with("register-public-key", b'g' as u32),
        "Register public key for public key authentication (PKA file)",
    ),
    (
        flag("public-key-auth-status", b'S' as u32),
        "Show status of public key authentication",
    ),
    (
        with("dkek-shares", b's' as u32),
        "Number of DKEK shares [No DKEK]",
    ),
    (
        with("so-pin", value::SO_PIN),
        "Define security officer PIN (SO-PIN)",
    ),
    (with("pin", value::PIN), "Define user PIN"),
    (
        with("pin-retry", value::RETRY),
        "Define user PIN retry counter",
    ),
    (
        with("bio-server1", value::BIO1),
        "AID of biometric server for template 1 (hex)",
    ),
    (
        with("bio-server2", value::BIO2),
        "AID of biometric server for template 2 (hex)",
    ),
    (
        with("password", value::PASSWORD),
        "Define password for DKEK share",
    ),
    (
        with("pwd-shares-threshold", value::THRESHOLD),
        "Define threshold for number of password shares required for reconstruction",
    ),
    (
        with("pwd-shares-total", value::TOTAL),
        "Define number of password shares",
    ),
    (
        with("key-reference", b'i' as u32),
        "Key reference for key wrap/unwrap/export",
    ),
    (with("label", b'l' as u32), "Token label for --initialize"),
    (
        flag("force", b'f' as u32),
        "Force replacement of key and certificate",
    ),
    (with("reader", b'r' as u32), "Uses reader number <arg> [0]"),
    (flag("wait", b'w' as u32), "Wait for a card to be inserted"),
    (
        flag("verbose", b'v' as u32),
        "Verbose operation, may be used several times",
    ),
    // Those of the pull request, after the ones that all versions have, so that the usage begins as theirs.
    (flag("no-rrc", value::NO_RRC), "Disable RESET RETRY COUNTER"),
    (
        flag("no-pin-reset", value::NO_PIN_RESET),
        "Only reset the counter, never set a new User-PIN",
    ),
    (
        flag("replace-key-allowed", value::REPLACE_KEY),
        "Allow replacing a registered public key",
    ),
    (
        flag("require-pka-and-pin", value::PKA_AND_PIN),
        "Require both User-PIN and public keys",
    ),
    (
        flag("transport-pin", value::TRANSPORT_PIN),
        "Enable transport-PIN mode",
    ),
    (
        with("key-domain", value::KEY_DOMAIN),
        "Number of key domains for --initialize, otherwise the key domain to use [0]",
    ),
    (
        flag("create-dkek-key-domain", value::CREATE_DOMAIN),
        "Create a DKEK key domain",
    ),
    (
        flag("delete-key-domain", value::DELETE_DOMAIN),
        "Delete an empty key domain",
    ),
    (
        flag("clear-kek", value::CLEAR_KEK),
        "Delete the key encryption key of a key domain",
    ),
    (
        with("generate-key", value::GENERATE),
        "Generate key of type rsa:<bits> or ec:<curve>",
    ),
    (
        with("key-use-counter", value::USE_COUNTER),
        "Number of uses of the generated key",
    ),
    // Ours.
    (flag("help", b'h' as u32), ""),
    (flag("version", b'V' as u32), ""),
];

/// What is to be done; in the order in which it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// -X
    Initialize,
    /// --create-dkek-key-domain
    CreateDomain,
    /// --clear-kek
    ClearKek,
    /// --delete-key-domain
    DeleteDomain,
    /// -C
    CreateShare,
    /// -I
    ImportShare,
    /// -P
    PrintShare,
    /// --generate-key
    Generate,
    /// -W
    Wrap,
    /// -U
    Unwrap,
    /// -e
    Export,
    /// -g
    Register,
    /// -S
    PublicKeyStatus,
}

/// A command line.
#[derive(Default)]
pub struct Options {
    /// What to do; none: show the status.
    pub actions: Vec<Action>,
    /// The file of the action that names one; the last one given counts, as in the original.
    pub file: Option<OsString>,
    /// --so-pin
    pub so_pin: Option<SecretBytes>,
    /// --pin
    pub pin: Option<SecretBytes>,
    /// --password
    pub password: Option<SecretBytes>,
    /// --pin-retry
    pub retry: i32,
    /// --bio-server1
    pub bio1: Option<OsString>,
    /// --bio-server2
    pub bio2: Option<OsString>,
    /// -K; -1 if not given.
    pub public_keys: i32,
    /// -n
    pub required: i32,
    /// -s; -1 if not given.
    pub shares: i32,
    /// -i; -1 if not given.
    pub key: i32,
    /// --pwd-shares-threshold; -1 if not given.
    pub threshold: i32,
    /// --pwd-shares-total; -1 if not given.
    pub total: i32,
    /// -l
    pub label: Option<OsString>,
    /// -f
    pub force: bool,
    /// -r
    pub reader: Option<OsString>,
    /// -w
    pub wait: bool,
    /// -v
    pub verbose: u32,
    /// --no-rrc
    pub no_rrc: bool,
    /// --no-pin-reset
    pub no_pin_reset: bool,
    /// --replace-key-allowed
    pub replace_key: bool,
    /// --require-pka-and-pin
    pub pka_and_pin: bool,
    /// --transport-pin
    pub transport_pin: bool,
    /// --key-domain; -1 if not given.
    pub domain: i32,
    /// --generate-key
    pub generate: Option<OsString>,
    /// --key-use-counter
    pub use_counter: Option<u32>,
    /// --help
    pub help: bool,
    /// --version
    pub version: bool,
}

/// A command line that is none; the complaint has been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage(
    /// The exit status.
    pub u8,
);

/// Reads a command line, and says what is wrong with it. `environment` looks variables up.
///
/// # Errors
/// [`Usage`].
pub fn read(
    argv0: &OsStr,
    words: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&OsStr) -> Option<OsString>,
    console: &mut dyn Console,
) -> Result<Options, Usage> {
    let long: Vec<LongOption> = OPTIONS.iter().map(|(option, _)| *option).collect();
    let posix = environment(OsStr::new("POSIXLY_CORRECT")).is_some();
    let mut options = Options {
        retry: 3,
        public_keys: -1,
        required: 1,
        shares: -1,
        key: -1,
        threshold: -1,
        total: -1,
        domain: -1,
        ..Options::default()
    };
    for found in parse(LETTERS, &long, words, posix).found {
        match found {
            Ok(found) => apply(&mut options, found.value, found.argument, environment),
            Err(error) => {
                console.err(&String::from_utf8_lossy(&error.line(argv0)));
                console.out(&usage());
                return Err(Usage(2));
            }
        }
    }
    options.actions.sort_unstable();
    if let Some(complaint) = contradiction(&options) {
        console.err(&format!("{complaint}\n"));
        return Err(Usage(1));
    }
    Ok(options)
}

/// A PIN or password: `env:NAME` is a variable.
fn secret(text: &OsStr, environment: &dyn Fn(&OsStr) -> Option<OsString>) -> Option<SecretBytes> {
    let octets = text.as_bytes();
    let value = match octets.split_at_checked(4) {
        Some((prefix, name)) if prefix.eq_ignore_ascii_case(b"env:") && !name.is_empty() => {
            environment(OsStr::from_bytes(name))?
        }
        _ => text.to_owned(),
    };
    Some(SecretBytes::from(value.as_bytes().to_vec()))
}

fn apply(
    options: &mut Options,
    value: u32,
    argument: Option<OsString>,
    environment: &dyn Fn(&OsStr) -> Option<OsString>,
) {
    let mut act = |action: Action| options.actions.push(action);
    let letter = u8::try_from(value).unwrap_or(0);
    match letter {
        b'X' => act(Action::Initialize),
        b'C' => act(Action::CreateShare),
        b'I' => act(Action::ImportShare),
        b'P' => act(Action::PrintShare),
        b'W' => act(Action::Wrap),
        b'U' => act(Action::Unwrap),
        b'e' => act(Action::Export),
        b'g' => act(Action::Register),
        b'S' => act(Action::PublicKeyStatus),
        b'f' => options.force = true,
        b'w' => options.wait = true,
        b'v' => options.verbose = options.verbose.saturating_add(1),
        b'h' => options.help = true,
        b'V' => options.version = true,
        _ => {}
    }
    match value {
        value::NO_RRC => options.no_rrc = true,
        value::NO_PIN_RESET => options.no_pin_reset = true,
        value::REPLACE_KEY => options.replace_key = true,
        value::PKA_AND_PIN => options.pka_and_pin = true,
        value::TRANSPORT_PIN => options.transport_pin = true,
        value::CREATE_DOMAIN => options.actions.push(Action::CreateDomain),
        value::DELETE_DOMAIN => options.actions.push(Action::DeleteDomain),
        value::CLEAR_KEK => options.actions.push(Action::ClearKek),
        value::GENERATE => options.actions.push(Action::Generate),
        _ => {}
    }
    let Some(argument) = argument else { return };
    match (letter, value) {
        (b'K', _) => options.public_keys = atoi(&argument),
        (b'n', _) => options.required = atoi(&argument),
        (b's', _) => options.shares = atoi(&argument),
        (b'i', _) => options.key = atoi(&argument),
        (b'l', _) => options.label = Some(argument),
        (b'r', _) => options.reader = Some(argument),
        (b'C' | b'I' | b'P' | b'W' | b'U' | b'e' | b'g', _) => options.file = Some(argument),
        (_, value::PASSWORD) => options.password = secret(&argument, environment),
        (_, value::SO_PIN) => options.so_pin = secret(&argument, environment),
        (_, value::PIN) => options.pin = secret(&argument, environment),
        (_, value::RETRY) => options.retry = atoi(&argument),
        (_, value::BIO1) => options.bio1 = Some(argument),
        (_, value::BIO2) => options.bio2 = Some(argument),
        (_, value::THRESHOLD) => options.threshold = atoi(&argument),
        (_, value::TOTAL) => options.total = atoi(&argument),
        (_, value::KEY_DOMAIN) => options.domain = atoi(&argument),
        (_, value::GENERATE) => options.generate = Some(argument),
        (_, value::USE_COUNTER) => {
            options.use_counter = argument.to_str().and_then(|text| text.parse().ok());
        }
        _ => {}
    }
}

/// The first of the original's rules that is broken.
fn contradiction(options: &Options) -> Option<&'static str> {
    use Action::{Export, Initialize, PublicKeyStatus, Register, Unwrap, Wrap};
    let has = |action: Action| options.actions.contains(&action);
    let rules = [
        (
            !has(Initialize) && options.public_keys != -1,
            "Option -K (--public-key-auth) requires option -X",
        ),
        (
            !has(Initialize) && options.required != 1,
            "Option -n (--required-pub-keys) requires option -X",
        ),
        (
            has(Initialize) && has(Export),
            "Option -e (--export-for-pub-key-auth) excludes option -X",
        ),
        (
            has(Wrap) && has(Export),
            "Option -e (--export-for-pub-key-auth) excludes option -W",
        ),
        (
            has(Unwrap) && has(Export),
            "Option -e (--export-for-pub-key-auth) excludes option -U",
        ),
        (
            has(Export) && options.key == -1,
            "Option -e (--export-for-pub-key-auth) requires option -i",
        ),
        (
            has(Initialize) && has(Register),
            "Option -g (--register-public-key) excludes option -X",
        ),
        (
            has(Wrap) && has(Register),
            "Option -g (--register-public-key) excludes option -W",
        ),
        (
            has(Unwrap) && has(Register),
            "Option -g (--register-public-key) excludes option -U",
        ),
        (
            has(Export) && has(Register),
            "Option -g (--register-public-key) excludes option -e",
        ),
        (
            has(Initialize) && has(PublicKeyStatus),
            "Option -S (--public-key-auth-status) excludes option -X",
        ),
        (
            has(Wrap) && has(PublicKeyStatus),
            "Option -S (--public-key-auth-status) excludes option -W",
        ),
        (
            has(Unwrap) && has(PublicKeyStatus),
            "Option -S (--public-key-auth-status) excludes option -U",
        ),
        (
            has(Export) && has(PublicKeyStatus),
            "Option -S (--public-key-auth-status) excludes option -e",
        ),
        (
            has(Register) && has(PublicKeyStatus),
            "Option -S (--public-key-auth-status) excludes option -g",
        ),
    ];
    let broken = rules.into_iter().find(|(broken, _)| *broken);
    broken.map(|(_, text)| text)
}

/// The usage, as OpenSC's tools lay it out.
#[must_use]
pub fn usage() -> String {
    let mut text = String::from("Usage: sc-hsm-tool [OPTIONS]\nOptions:\n");
    for (option, help) in OPTIONS {
        if help.is_empty() {
            continue;
        }
        let letter = match u8::try_from(option.value) {
            Ok(letter) => format!("-{}, ", char::from(letter)),
            Err(_) => "    ".to_owned(),
        };
        let argument = if option.argument { " <arg>" } else { "" };
        let mut left = format!("{letter}--{}{argument}", option.name);
        if left.len() > 28 {
            text.push_str(&format!("  {left}\n"));
            left.clear();
        }
        text.push_str(&format!("  {left:<28}  {help}\n"));
    }
    text
}
