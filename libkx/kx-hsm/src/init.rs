//! `kx-hsm init`.

use kx_secret::SecretBytes;
use xkek::hsm::{EF_TOKEN_INFO, Initialization, Pin, options};

use crate::arguments::ArgumentError;
use crate::error::Result;
use crate::sc_hsm_tool::hexadecimal;
use crate::sc_hsm_tool::initialize::token_info;
use crate::task::Task;

/// Deletes all keys, files and domains of a device, and sets its PINs.
///
/// # Errors
/// [`crate::error::Error`].
pub fn init(task: &mut Task) -> Result<()> {
    let mut device = task.device()?;
    let arguments = &task.arguments;
    let mut bits = options::RESET_RETRY_COUNTER;
    if arguments.has("no-pin-reset") {
        bits = 0;
    }
    if arguments.has("transport-pin") {
        bits |= options::TRANSPORT_PIN;
    }
    let public_keys = match (
        arguments.octet("public-keys")?,
        arguments.octet("required")?,
    ) {
        (None, None) => None,
        (Some(total), required) => {
            let required = required.unwrap_or(1);
            if required == 0 || required > total {
                let text = "--required must be from 1 to --public-keys".to_owned();
                return Err(ArgumentError::Operands(text).into());
            }
            Some((total, required))
        }
        (None, Some(_)) => return Err(ArgumentError::Missing("public-keys").into()),
    };
    let retries = arguments.octet("retries")?.unwrap_or(3);
    let (shares, domains) = (arguments.octet("shares")?, arguments.octet("domains")?);
    let label = arguments.text("label");
    if task.dry(&format!(
        "delete every key, certificate and key domain of {} and set new PINs",
        device.name
    )) {
        return Ok(());
    }
    task.unsure(
        &device,
        &[
            "the number of key domains (tag 97) is known from an imitation and from OpenSC",
            "what the options besides \"RESET RETRY COUNTER\" do is known from an imitation",
        ],
    );
    task.confirm(&format!(
        "Every key, certificate and key domain of {} will be deleted.",
        device.name
    ))?;
    let so_pin = so_pin(task, &device.name)?;
    let user_pin = task
        .arguments
        .secret("pin")?
        .read_new(&format!("New user PIN of {}", device.name))?;
    check_pin(&user_pin, retries)?;
    let keep = user_pin.as_slice().to_vec();
    let keep = SecretBytes::from(keep);
    let how = Initialization {
        options: bits,
        user_pin: Some(user_pin),
        so_pin,
        retries,
        dkek_shares: shares,
        public_keys,
        biometric_servers: [None, None],
        key_domains: domains,
    };
    device.ask(|hsm| hsm.initialize(&how))?;
    if let Some(label) = label {
        device.ask(|hsm| hsm.verify(Pin::User, keep.as_slice()))?;
        device.ask(|hsm| hsm.write(EF_TOKEN_INFO, &token_info(label.as_bytes())))?;
    }
    let done = format!("{} is initialized and empty.", device.name);
    task.report
        .step(&done, "kx-hsm status shows the tries and the key domains");
    Ok(())
}

/// The initialization code of `--so-pin`.
///
/// # Errors
/// [`crate::error::Error`].
pub(crate) fn so_pin(task: &Task, name: &str) -> Result<SecretBytes> {
    let text = task
        .arguments
        .secret("so-pin")?
        .read(&format!("SO-PIN of {name}"))?;
    match hexadecimal::read(text.as_slice(), 8) {
        Ok(code) if code.len() == 8 => Ok(code),
        _ => {
            let text = "the SO-PIN is 16 hexadecimal digits".to_owned();
            Err(ArgumentError::Operands(text).into())
        }
    }
}

/// OpenSC's rules (xkek spec 3).
fn check_pin(pin: &SecretBytes, retries: u8) -> Result<()> {
    let complaint = match (pin.len(), retries) {
        (..6 | 17.., _) => "the user PIN has 6 to 16 characters",
        (_, 0) => "--retries must not be 0",
        (6, 4..) => "a PIN of 6 characters may have 3 tries at most",
        (7, 6..) => "a PIN of 7 characters may have 5 tries at most",
        (_, 11..) => "--retries must not exceed 10",
        _ => return Ok(()),
    };
    Err(ArgumentError::Operands(complaint.to_owned()).into())
}
