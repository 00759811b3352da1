//! Public key authentication: --export-for-pub-key-auth, --register-public-key, --public-key-auth-status
//! (xkek spec 11).

use std::path::Path;

use xkek::card::Card;
use xkek::tlv;

use super::channel::Channel;
use super::console::Console;
use super::opensc_error::OpenscError;
use super::options::Options;
use super::{Failed, perror};
use crate::files;

/// Octets of an EF at most, as in the original.
const ROOM: usize = 4096;

/// Shows how many keys are registered.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn status<C: Card>(card: &mut Channel<C>, console: &mut dyn Console) -> Result<(), Failed> {
    match card.public_keys(None) {
        Ok(status) => {
            show(status, console);
            Ok(())
        }
        Err(error) => Err(refused(
            "SC_CARDCTL_SC_HSM_PUBLIC_KEY_AUTH_STATUS",
            error,
            console,
        )),
    }
}

fn show([total, missing, required, authenticated]: [u8; 4], console: &mut dyn Console) {
    console.out(&format!("Number of public keys:     {total}\n"));
    console.out(&format!("Missing public keys:       {missing}\n"));
    console.out(&format!("Required pubkeys for auth: {required}\n"));
    console.out(&format!("Authenticated public keys: {authenticated}\n"));
}

fn refused(call: &str, error: OpenscError, console: &mut dyn Console) -> Failed {
    let text = match error {
        OpenscError::Instruction => "Card not initialized for public key registration".to_owned(),
        error => format!("sc_card_ctl(*, {call}, *) failed with {error}"),
    };
    Failed::say(console, &text)
}

/// Writes the request of a key and the device's certificates into a new file.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn export<C: Card>(
    options: &Options,
    file: &Path,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<(), Failed> {
    let key = match u8::try_from(options.key) {
        Ok(key) if key > 0 => key,
        _ => {
            let text = "Invalid key reference (must be 0 < keyid <= 255)";
            return Err(Failed::say(console, text));
        }
    };
    if let Err(error) = card.select(0xce, key) {
        let text = format!("Wrong key reference (-i {key})? Failed to select file: {error}");
        return Err(Failed::say(console, &text));
    }
    let mut content = card.read(ROOM).unwrap_or_else(|error| {
        console.err(&format!("Error reading certificate {error}. Skipping\n"));
        Vec::new()
    });
    content.truncate(tlv::read(&content).map_or(0, |(tlv, _)| tlv.encoded.len()));
    if let Err(error) = card.select(0x2f, 0x02) {
        let text = format!("Failed to select certificates: {error}");
        return Err(Failed::say(console, &text));
    }
    let chain = card
        .read(ROOM)
        .map_err(|error| Failed::say(console, &format!("Error reading certificate: {error}")))?;
    let device = tlv::read(&chain).map_or(0, |(tlv, _)| tlv.encoded.len());
    if chain.len() == device {
        let text = "Could not determine device issuer certificate";
        return Err(Failed::say(console, text));
    }
    if file.exists() {
        let text = format!("Output file '{}' already exists", file.display());
        return Err(Failed::say(console, &text));
    }
    console.err("Warning: Device certificate chain not verified!\n");
    content.extend_from_slice(&chain);
    files::write(file, &tlv::encode(0x30, &content))
        .map_err(|error| Failed::say(console, &perror(file, &error)))
}

/// Registers the key of a file, after the device has checked where it is from.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn register<C: Card>(
    file: &Path,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<(), Failed> {
    // The original does not say why it cannot read the file.
    let content = files::read(file, files::WRAPPED_KEY)
        .map_err(|error| Failed::say(console, &perror(file, &error)))?;
    match checked(&content, card) {
        Ok(status) => {
            show(status, console);
            Ok(())
        }
        Err(error) => Err(refused(
            "SC_CARDCTL_SC_HSM_REGISTER_PUBLIC_KEY",
            error,
            console,
        )),
    }
}

fn checked<C: Card>(content: &[u8], card: &mut Channel<C>) -> Result<[u8; 4], OpenscError> {
    let bad = |_| OpenscError::Asn1;
    let (file, _) = tlv::expect(content, 0x30).map_err(bad)?;
    let (request, rest) = tlv::expect(file.value, 0x67).map_err(bad)?;
    let (device, rest) = tlv::expect(rest, 0x7f21).map_err(bad)?;
    let (issuer, _) = tlv::expect(rest, 0x7f21).map_err(bad)?;
    for certificate in [issuer, device] {
        let body = tlv::require(certificate.value, 0x7f4e).map_err(bad)?.value;
        let holder = tlv::require(body, 0x5f20).map_err(bad)?.value;
        let authority = tlv::require(body, 0x42).map_err(bad)?.value;
        match card.public_key(holder) {
            // It is known already.
            Ok(()) => continue,
            Err(OpenscError::Transmit) => return Err(OpenscError::Transmit),
            Err(_) => {}
        }
        card.public_key(authority)?;
        card.certificate(certificate.value)?;
    }
    let attester = tlv::require(request.value, 0x42).map_err(bad)?.value;
    card.public_key(attester)?;
    card.public_keys(Some(request.value))
}
