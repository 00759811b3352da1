//! The password of a share file, split between custodians (xkek spec 10).

use kx_secret::SecretBytes;
use xkek::card::Card;
use xkek::rng::System;
use xkek::shamir::{self, Share};

use super::Failed;
use super::channel::Channel;
use super::console::Console;
use super::shares::mixed;

/// Makes a password, and shows each custodian a share of it.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn split<C: Card>(
    threshold: i32,
    total: i32,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<SecretBytes, Failed> {
    let complaint = match (threshold, total) {
        (-1, _) | (_, -1) => {
            Some("Must specify both, --pwd-shares-total and --pwd-shares-threshold")
        }
        (_, ..3) => Some("--pwd-shares-total must be 3 or larger"),
        (..2, _) => Some("--pwd-shares-threshold must 2 or larger"),
        _ if threshold > total => {
            Some("--pwd-shares-threshold must be smaller or equal to --pwd-shares-total")
        }
        _ => None,
    };
    if let Some(complaint) = complaint {
        return Err(Failed::say(console, complaint));
    }
    console.out(&format!(
        concat!(
            "\nThe DKEK will be enciphered using a randomly generated 64 bit password.\n",
            "This password is split using a ({}-of-{}) threshold scheme.\n\n",
            "Please keep the generated and encrypted DKEK file in a safe location. We also recommend \n",
            "to keep a paper printout, in case the electronic version becomes unavailable. A printable version\n",
            "of the file can be generated using \"openssl base64 -in <filename>\".\n",
            "\n\nPress <enter> to continue",
        ),
        threshold, total
    ));
    console.line();
    let mut password = mixed(card, 8).map_err(|error| {
        Failed::say(
            console,
            &format!("Error generating random key failed with {error}"),
        )
    })?;
    if let Some(first) = password.as_mut_slice().first_mut() {
        *first &= 0x7f;
    }
    let (threshold, count) = (threshold.unsigned_abs(), total.unsigned_abs());
    let shares = shamir::split(password.as_slice(), threshold, count, &mut System)
        .map_err(|error| Failed::say(console, &format!("Error generating Shares. {error}")))?;
    for (number, share) in (1..).zip(&shares) {
        console.clear();
        console.out(&format!(
            "Press <enter> to display key share {number} of {total}\n\n"
        ));
        console.line();
        console.clear();
        console.out(&format!("Share {number} of {total}\n\n"));
        console.out(&format!("\nPrime       : {}\n", share.prime_text()));
        console.out(&format!("Share ID    : {}\n", share.id));
        console.out(&format!("Share value : {}\n", *share.value_text()));
        console.out("\n\nPlease note ALL values above and press <enter> when finished");
        console.line();
    }
    console.clear();
    Ok(password)
}

/// Asks custodians for their shares; the passwords that they may mean.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn recreate(count: i32, console: &mut dyn Console) -> Result<Vec<SecretBytes>, Failed> {
    if count < 2 {
        return Err(Failed::say(console, "--pwd-shares-total must 2 or larger"));
    }
    console.out(&format!(
        concat!(
            "\nDeciphering the DKEK for import into the SmartCard-HSM requires {} key custodians",
            "\nto present their share. Only the first key custodian needs to enter the public prime.",
            "\nPlease remember to present the share id as well as the share value.",
            "\n\nPlease enter prime: ",
        ),
        count
    ));
    let prime = answer(console)?;
    let mut shares = Vec::new();
    for place in 1..=count {
        console.clear();
        console.out(&format!(
            "Press <enter> to enter share {place} of {count}\n\n"
        ));
        console.line();
        console.clear();
        console.out(&format!("Share {place} of {count}\n\n"));
        console.out("Please enter share ID: ");
        let id = answer(console)?;
        console.out("Please enter share value: ");
        let value = answer(console)?;
        // The original takes what comes before a wrong digit; we say that there is one.
        let share = Share::parse(text(&prime), text(&id), text(&value));
        shares.push(share.map_err(|error| Failed::say(console, &error.to_string()))?);
    }
    console.clear();
    shamir::candidates(&shares).map_err(|error| {
        console.out("\nError during reconstruction of secret. Wrong shares?\n");
        Failed::say(console, &error.to_string())
    })
}

fn answer(console: &mut dyn Console) -> Result<SecretBytes, Failed> {
    match console.line() {
        Some(line) => Ok(line),
        None => Err(Failed::say(console, "Input aborted")),
    }
}

/// What is no text is no number either.
fn text(line: &SecretBytes) -> &str {
    std::str::from_utf8(line.as_slice()).unwrap_or("?")
}
