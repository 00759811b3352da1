//! `kx-sc-hsm-tool`: a drop-in for OpenSC's sc-hsm-tool (xkek spec 12). Same options, texts and commands to
//! the card; what it does not keep of the original's bugs stands in COMPATIBILITY.md.

pub mod channel;
pub mod console;
pub mod custodians;
pub mod domains;
pub mod generate;
pub mod hexadecimal;
pub mod initialize;
pub mod keys;
pub mod opensc_error;
pub mod options;
pub mod public_keys;
pub mod shares;
pub mod status;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use xkek::card::Card;
use xkek_io::{Limits, Spec, Transport};

use channel::Channel;
use console::Console;
use options::{Action, Options, Usage};

/// Something did not work, and it has been said what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

impl Failed {
    /// Says it.
    pub fn say(console: &mut dyn Console, text: &str) -> Self {
        console.err(&format!("{text}\n"));
        Self
    }
}

/// What perror(3) says of a file: Rust adds the number.
fn perror(file: &Path, error: &std::io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    format!("{}: {}", file.display(), text.get(..end).unwrap_or(&text))
}

/// Runs the tool. Returns its exit status: 0, 1 for a failure, 2 for a wrong command line.
pub fn run(
    argv0: &OsStr,
    words: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&OsStr) -> Option<OsString>,
    console: &mut dyn Console,
) -> u8 {
    let options = match options::read(argv0, words, environment, console) {
        Ok(options) => options,
        Err(Usage(status)) => return status,
    };
    if options.help {
        console.out(&options::usage());
        return 0;
    }
    if options.version {
        console.out(concat!("kx-sc-hsm-tool ", env!("CARGO_PKG_VERSION"), "\n"));
        return 0;
    }
    let done = connect(&options, environment, console)
        .and_then(|card| act(&options, &mut Channel::new(card), console));
    match done {
        Ok(()) => 0,
        Err(Failed) => 1,
    }
}

/// Opens the card that `-r` names: a number, the beginning of a reader's name, or a SPEC as kx-hsm takes.
fn connect(
    options: &Options,
    environment: &dyn Fn(&OsStr) -> Option<OsString>,
    console: &mut dyn Console,
) -> Result<Transport, Failed> {
    let by_variable = environment(OsStr::new("KX_CARD"));
    let named = options.reader.as_ref().or(by_variable.as_ref());
    let name = named.map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let spec = name.parse().unwrap_or_else(|_| Spec::Pcsc(name.clone()));
    let mut limits = Limits::default();
    if options.wait {
        limits.card = Duration::from_secs(365 * 24 * 3600);
        console.err("Waiting for a card to be inserted...\n");
    }
    match Transport::open(&spec, limits) {
        Ok(card) => {
            if options.reader.is_none() && !options.wait {
                console.err(&format!("Using reader with a card: {}\n", card.name()));
            }
            if options.verbose > 0 {
                console.out(&format!(
                    "Connecting to card in reader {}...\n",
                    card.name()
                ));
                console.out("Using card driver SmartCard-HSM.\n");
            }
            Ok(card)
        }
        Err(error) => {
            use xkek_io::Error as E;
            let why = match &error {
                E::NoReader(name) if name.is_empty() => {
                    console.err("No smart card readers found.\n");
                    "No readers found".to_owned()
                }
                E::NoReader(name) => {
                    let count = xkek_io::pcsc_reader::readers().map_or(0, |names| names.len());
                    console.err(&format!(
                        "Reader \"{name}\" not found ({count} reader(s) detected)\n"
                    ));
                    "Generic reader error".to_owned()
                }
                E::NoCard => {
                    console.err("Card not present.\n");
                    "Card not present".to_owned()
                }
                other => other.to_string(),
            };
            // The original says "Success" here, and ends with 0.
            Err(Failed::say(
                console,
                &format!("Failed to connect to card: {why}"),
            ))
        }
    }
}

/// Does what was asked of a card, in the original's order.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn act<C: Card>(
    options: &Options,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<(), Failed> {
    let applet = card
        .select_applet()
        .map_err(|error| Failed::say(console, &format!("Failed to select application: {error}")))?;
    if options.actions.is_empty() {
        status::show(applet, card, console);
        return Ok(());
    }
    let file = Path::new(options.file.as_deref().unwrap_or_default());
    for &action in &options.actions {
        match action {
            Action::Initialize => initialize::initialize(options, card, console)?,
            Action::CreateDomain | Action::ClearKek | Action::DeleteDomain => {
                domains::manage(action, options, card, console)?;
            }
            Action::CreateShare => shares::create(options, file, card, console)?,
            Action::ImportShare => shares::import(options, file, card, console)?,
            Action::PrintShare => shares::print(options, file, console)?,
            Action::Generate => generate::generate(options, card, console)?,
            Action::Wrap => keys::wrap(options, file, card, console)?,
            Action::Unwrap => keys::unwrap(options, file, card, console)?,
            Action::Export => public_keys::export(options, file, card, console)?,
            Action::Register => public_keys::register(file, card, console)?,
            Action::PublicKeyStatus => public_keys::status(card, console)?,
        }
    }
    Ok(())
}
