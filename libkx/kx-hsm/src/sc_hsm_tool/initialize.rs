//! --initialize.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use kx_secret::SecretBytes;
use xkek::card::Card;
use xkek::tlv;

use super::Failed;
use super::channel::Channel;
use super::console::Console;
use super::hexadecimal;
use super::options::Options;

const RRC: u8 = 0x01;
const TRANSPORT_PIN: u8 = 0x02;
const SESSION_PIN: u8 = 0x04;
const REPLACE_KEY: u8 = 0x08;
const PKA_AND_PIN: u8 = 0x10;
const NO_NEW_PIN: u8 = 0x20;

/// Deletes everything on the device and sets its PINs.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn initialize<C: Card>(
    options: &Options,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<(), Failed> {
    if let Some(complaint) = wrong_keys(options.public_keys, options.required) {
        return Err(Failed::say(console, complaint));
    }
    let code = so_pin(options, console)?;
    let asked;
    let pin = match &options.pin {
        Some(pin) => pin,
        None => {
            console.out("Enter initial User-PIN (6 - 16 characters) : ");
            asked = console.secret().unwrap_or_default();
            console.out("\n");
            &asked
        }
    };
    if let Some(complaint) = wrong_pin(pin.len(), options.retry) {
        return Err(Failed::say(console, complaint));
    }
    let bio1 = biometric(1, options.bio1.as_deref(), console)?;
    let bio2 = biometric(2, options.bio2.as_deref(), console)?;

    let mut bits = if options.no_rrc { 0 } else { RRC };
    for (wanted, bit) in [
        (options.transport_pin, TRANSPORT_PIN),
        (!bio1.is_empty() || !bio2.is_empty(), SESSION_PIN),
        (options.replace_key, REPLACE_KEY),
        (options.pka_and_pin, PKA_AND_PIN),
        (options.no_pin_reset, NO_NEW_PIN),
    ] {
        bits |= if wanted { bit } else { 0 };
    }
    // The original's casts: the low octet of whatever number was given.
    let low = |number: i32| number.to_le_bytes()[0];
    let mut plain = Vec::with_capacity(128);
    tlv::push(&mut plain, 0x80, &[0, bits]);
    tlv::push(&mut plain, 0x81, pin.as_slice());
    tlv::push(&mut plain, 0x82, code.as_slice());
    tlv::push(&mut plain, 0x91, &[low(options.retry)]);
    if options.shares >= 0 {
        tlv::push(&mut plain, 0x92, &[low(options.shares)]);
    }
    if options.public_keys > 0 {
        tlv::push(
            &mut plain,
            0x93,
            &[low(options.public_keys), low(options.required)],
        );
    }
    for (tag, aid) in [(0x95, &bio1), (0x96, &bio2)] {
        if !aid.is_empty() {
            tlv::push(&mut plain, tag, aid);
        }
    }
    if options.domain >= 0 {
        tlv::push(&mut plain, 0x97, &[low(options.domain)]);
    }
    let data = SecretBytes::from(plain);
    let result = card.initialize(data.as_slice()).and_then(|()| {
        let Some(label) = &options.label else {
            return Ok(());
        };
        card.verify(pin)?;
        card.write_token_info(&token_info(label.as_bytes()))
    });
    // Unlike the original, which says so and ends with 0 (spec 12).
    result.map_err(|error| {
        Failed::say(
            console,
            &format!("sc_card_ctl(*, SC_CARDCTL_SC_HSM_INITIALIZE, *) failed with {error}"),
        )
    })
}

fn wrong_keys(total: i32, required: i32) -> Option<&'static str> {
    if total != -1 && !(1..=90).contains(&total) {
        Some("Total number of public keys for authentication must be between 1 and 90")
    } else if !(1..=90).contains(&required) {
        Some("Number of public keys required for authentication must be between 1 and 90")
    } else if total != -1 && required > total {
        Some("Required public keys must be <= total number of public keys")
    } else {
        None
    }
}

fn wrong_pin(length: usize, retry: i32) -> Option<&'static str> {
    match (length, retry) {
        (..6, _) => Some("PIN must be at least 6 characters long"),
        (17.., _) => Some("PIN must not be longer than 16 characters"),
        (6, 4..) => Some(
            "Retry counter must not exceed 3 for a 6 digit PIN. Use a longer PIN for a higher retry counter.",
        ),
        (7, 6..) => Some(
            "Retry counter must not exceed 5 for a 7 digit PIN. Use a longer PIN for a higher retry counter.",
        ),
        (_, 11..) => Some("Retry counter must not exceed 10"),
        _ => None,
    }
}

fn so_pin(options: &Options, console: &mut dyn Console) -> Result<SecretBytes, Failed> {
    let asked;
    let text = match &options.so_pin {
        Some(text) => text,
        None => {
            console.out("Enter SO-PIN (16 hexadecimal characters) : ");
            asked = console.secret().unwrap_or_default();
            console.out("\n");
            &asked
        }
    };
    match hexadecimal::read(text.as_slice(), 8) {
        Err(error) => Err(Failed::say(
            console,
            &format!("Error decoding initialization code ({error})"),
        )),
        Ok(code) if code.len() != 8 => Err(Failed::say(
            console,
            "SO-PIN must be a hexadecimal string of 16 characters",
        )),
        Ok(code) => Ok(code),
    }
}

fn biometric(
    number: u8,
    text: Option<&OsStr>,
    console: &mut dyn Console,
) -> Result<Vec<u8>, Failed> {
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    match hexadecimal::read(text.as_bytes(), 16) {
        Ok(aid) => Ok(aid.as_slice().to_vec()),
        Err(error) => Err(Failed::say(
            console,
            &format!("Error decoding AID of biometric server for template {number} ({error})"),
        )),
    }
}

/// PKCS#15 TokenInfo with a label and the flag that random numbers can be had.
pub(crate) fn token_info(label: &[u8]) -> Vec<u8> {
    let mut content = vec![0x02, 0x01, 0x00, 0x04, 0x00];
    tlv::push(&mut content, 0x80, label);
    content.extend_from_slice(&[0x03, 0x02, 0x05, 0x20]);
    tlv::encode(0x30, &content)
}
