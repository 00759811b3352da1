//! --generate-key of OpenSC's pull request 3786.

use xkek::card::Card;
use xkek::cvc::{GenerationRequest, KeyAttributes, Reference, Request};

use super::Failed;
use super::channel::Channel;
use super::console::Console;
use super::options::Options;
use super::{domains, keys};
use crate::key_type::KeyType;

/// Makes a key pair.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn generate<C: Card>(
    options: &Options,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<(), Failed> {
    let text = options
        .generate
        .as_deref()
        .unwrap_or_default()
        .to_string_lossy();
    let spec = match text.parse::<KeyType>() {
        Ok(KeyType::Pair(spec)) => spec,
        _ => {
            let text = format!("Unknown key type {text}, use rsa:<bits> or ec:<curve>");
            return Err(Failed::say(console, &text));
        }
    };
    let domain = match options.domain {
        -1 => None,
        _ => Some(domains::number(options, console)?),
    };
    keys::verify(options, card, console)?;
    let key = match u8::try_from(options.key) {
        Ok(key) if key > 0 => key,
        _ => keys::free(card, console)?,
    };
    let bad = |console: &mut dyn Console| Failed::say(console, "Key generation failed");
    // The names that OpenSC uses.
    let request = GenerationRequest {
        car: Reference::new(b"UTCA00001").map_err(|_| bad(console))?,
        chr: Reference::new(b"UTCA00001").map_err(|_| bad(console))?,
        key: spec,
        outer_car: None,
        attributes: KeyAttributes {
            use_counter: options.use_counter,
            algorithms: Vec::new(),
            domain,
            wrapping_keys: Vec::new(),
        },
    };
    let answer = card
        .generate(key, &request.encode())
        .map_err(|error| Failed::say(console, &format!("Key generation failed with {error}")))?;
    let made = Request::parse(&answer).map_err(|_| bad(console))?;
    let label = options
        .label
        .as_deref()
        .unwrap_or_default()
        .to_string_lossy();
    let public = made.public_key().map_err(|_| bad(console))?;
    let description = xkek::pkcs15::KeyDescription::of_pair(&public, &label, key).encode();
    for (what, prefix, content) in [
        ("private key description", 0xc4, description.as_slice()),
        ("certificate", 0xce, &answer),
    ] {
        card.write(prefix, key, true, content).map_err(|error| {
            Failed::say(console, &format!("Updating {what} failed with {error}"))
        })?;
    }
    console.out(&format!("Key generated with key reference {key}\n"));
    Ok(())
}
