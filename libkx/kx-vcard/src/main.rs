//! `kx-vcard`: a SmartCard-HSM in software, behind a virtual reader (xkek spec 12 and 15). Not a secure
//! element.
#![forbid(unsafe_code)]

mod options;
mod serve;

use std::io::Write;
use std::process::ExitCode;

use kx_sys::hardening;
use kx_sys::signals::{Signals, number};
use xkek_io::software::SoftwareCard;

use options::{HELP, Options, Stop};

/// Said at every start: who comes upon this card must not take it for one.
const WARNING: &str = "WARNING: this is a smart card in SOFTWARE, not a secure element. \
Whoever can read its state directory has all its keys. For tests and training only.";

fn main() -> ExitCode {
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(Stop::Help) => {
            // With stdout closed nobody wants it.
            let _ = std::io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(stop @ Stop::Usage(_)) => {
            say(&stop.to_string());
            say("--help shows the options");
            return ExitCode::from(2);
        }
        Err(stop) => return fail(&stop),
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error),
    }
}

fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    // Before anything is made, so that a signal at any moment finds the card between two commands.
    let signals = Signals::collect(&[number::TERMINATE, number::INTERRUPT])?;
    // Where it is not allowed the card is still of use.
    let _ = hardening::forbid_core_dumps();
    say(WARNING);
    if !options::is_usual(&options.card.config) {
        say("this answer to reset is not the usual one; some clients will not know the card");
    }
    let mut card = SoftwareCard::open(&options.state, options.card)?;
    if card.was_cut_short() {
        say(
            "the last change was not written whole (or the state is damaged): going on from the state before it",
        );
    }
    serve::serve(&mut card, &options.reader, &signals, &mut say)?;
    say("ended by a signal");
    Ok(())
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    say(&error.to_string());
    ExitCode::FAILURE
}

/// A line on stderr.
fn say(text: &str) {
    // With stderr closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "kx-vcard: {text}");
}
