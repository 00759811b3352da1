//! Key domains: --create-dkek-key-domain, --clear-kek, --delete-key-domain of OpenSC's pull request 3786
//! (xkek spec 6, 12).

use xkek::card::Card;

use super::Failed;
use super::channel::Channel;
use super::console::Console;
use super::keys;
use super::opensc_error::OpenscError;
use super::options::{Action, Options};
use super::status;

/// Does it.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn manage<C: Card>(
    action: Action,
    options: &Options,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<(), Failed> {
    let number = number(options, console)?;
    let shares = match action {
        Action::CreateDomain => match u8::try_from(options.shares) {
            Ok(shares) if shares > 0 => Some([shares]),
            _ => {
                let text = "--create-dkek-key-domain requires option -s (--dkek-shares)";
                return Err(Failed::say(console, text));
            }
        },
        _ => None,
    };
    keys::verify(options, card, console)?;
    let operation = match action {
        Action::CreateDomain => 1,
        Action::DeleteDomain => 3,
        _ => 4,
    };
    match card.manage_domain(operation, number, shares.as_ref().map(<[u8; 1]>::as_slice)) {
        Ok(Some(state)) => status::domain(state, console),
        // Deleted: there is no state any more, which some say with an error.
        Ok(None) => {}
        Err(OpenscError::ObjectNotFound) if action == Action::DeleteDomain => {}
        Err(OpenscError::FileExists) => {
            let text = format!("Key domain {number} still has keys");
            return Err(Failed::say(console, &text));
        }
        Err(error) => {
            let text = format!("Key domain {number}: failed with {error}");
            return Err(Failed::say(console, &text));
        }
    }
    let done = match action {
        Action::CreateDomain => "created",
        Action::DeleteDomain => "deleted",
        _ => "has no key encryption key any more",
    };
    console.out(&format!("Key domain {number} {done}\n"));
    Ok(())
}

/// The domain that is meant.
pub(super) fn number(options: &Options, console: &mut dyn Console) -> Result<u8, Failed> {
    match options.domain {
        -1 => Ok(0),
        number => u8::try_from(number)
            .map_err(|_| Failed::say(console, "Invalid key domain (must be 0 <= domain <= 255)")),
    }
}
