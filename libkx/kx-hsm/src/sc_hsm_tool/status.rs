//! sc-hsm-tool without an action: what the device is and how many tries are left.

use xkek::card::Card;

use super::channel::{Applet, Channel, DomainState, PinState};
use super::console::Console;
use super::opensc_error::OpenscError;

const NEVER: &str = "SmartCard-HSM has never been initialized. Please use --initialize to set SO-PIN and user PIN.\n";

/// Shows it.
pub fn show<C: Card>(applet: Applet, card: &mut Channel<C>, console: &mut dyn Console) {
    let Applet { major, minor, .. } = applet;
    console.out(&format!("Version              : {major}.{minor}\n"));
    match applet.options {
        Some(options) => {
            config(options, console);
            pins(card, console);
        }
        None => match card.pin_state(0x81) {
            Ok(PinState::Other(OpenscError::NotUsable)) => console.out(NEVER),
            state => tries("User PIN", state, console),
        },
    }
    match card.domain(0, None) {
        // No domain that shares could be for.
        Err(OpenscError::Instruction) => {}
        Err(error) => {
            console.err(&format!(
                "sc_card_ctl(*, SC_CARDCTL_SC_HSM_IMPORT_DKEK_SHARE, *) failed with {error}\n"
            ));
            domain(DomainState::default(), console);
        }
        Ok(state) => domain(state, console),
    }
}

fn config(options: u8, console: &mut dyn Console) {
    if options != 0 {
        console.out("Config options       :\n");
    }
    if options & 1 != 0 {
        console.out("  User PIN reset with SO-PIN enabled\n");
    }
    if options & 2 != 0 {
        console.out("  Transport-PIN mode enabled\n");
    }
}

fn pins<C: Card>(card: &mut Channel<C>, console: &mut dyn Console) {
    match card.pin_state(0x88) {
        Ok(PinState::Other(OpenscError::ObjectNotFound)) => console.out(NEVER),
        so => {
            tries("SO-PIN", so, console);
            match card.pin_state(0x81) {
                Ok(PinState::Other(OpenscError::CommandFailed)) => {
                    console.out("Public key authentication active.\n");
                }
                Ok(PinState::Other(OpenscError::NotUsable)) => {
                    console.out("Transport-PIN active. Please change to user selected PIN first.\n")
                }
                user => tries("User PIN", user, console),
            }
        }
    }
}

fn tries(name: &str, state: Result<PinState, OpenscError>, console: &mut dyn Console) {
    match state {
        // The original shows 0 tries for what it could not find out.
        Ok(PinState::Tries(0) | PinState::Other(_)) | Err(_) => {
            console.out(&format!("{name} locked\n"));
        }
        Ok(PinState::Verified) => {}
        Ok(PinState::Tries(left)) => {
            console.out(&format!("{:<21}: {left}\n", format!("{name} tries left")));
        }
    }
}

/// Shows the state of a domain.
pub fn domain(state: DomainState, console: &mut dyn Console) {
    let DomainState {
        shares, missing, ..
    } = state;
    console.out(&format!("DKEK shares          : {shares}\n"));
    if missing > 0 {
        console.out(&format!(
            "DKEK import pending, {missing} share(s) still missing\n"
        ));
    } else {
        let value: String = state
            .check_value
            .iter()
            .map(|octet| format!("{octet:02X}"))
            .collect();
        console.out(&format!("DKEK key check value : {value}\n"));
    }
}
