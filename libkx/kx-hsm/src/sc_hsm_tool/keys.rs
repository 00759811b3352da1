//! --wrap-key and --unwrap-key.

use std::ffi::OsStr;
use std::path::Path;

use kx_secret::SecretBytes;
use xkek::card::Card;
use xkek::tlv;

use super::channel::Channel;
use super::console::Console;
use super::opensc_error::OpenscError;
use super::options::Options;
use super::{Failed, perror};
use crate::{files, key_type};

/// First octet of the FID of a key's description, its certificate, the key itself.
const DESCRIPTION: u8 = 0xc4;
const CERTIFICATE: u8 = 0xce;
const KEY: u8 = 0xcc;
/// What the original reads of each at most.
const DESCRIPTION_ROOM: usize = 256;
const CERTIFICATE_ROOM: usize = 4096;

/// The key that `-i` names.
fn reference(options: &Options, console: &mut dyn Console) -> Result<u8, Failed> {
    match u8::try_from(options.key) {
        Ok(key) if key > 0 => Ok(key),
        _ => Err(Failed::say(
            console,
            "Invalid key reference (must be 0 < keyid <= 255)",
        )),
    }
}

/// Verifies the user's PIN, asking for it if it was not given.
pub(super) fn verify<C: Card>(
    options: &Options,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<(), Failed> {
    let asked;
    let pin: &SecretBytes = match &options.pin {
        Some(pin) => pin,
        None => {
            console.out("Enter User PIN : ");
            asked = console.secret().unwrap_or_default();
            console.out("\n");
            &asked
        }
    };
    card.verify(pin)
        .map_err(|error| Failed::say(console, &format!("PIN verification failed with {error}")))
}

/// What stands in an EF up to the end of its first TLV; nothing if there is no such EF.
fn first_tlv<C: Card>(
    card: &mut Channel<C>,
    prefix: u8,
    key: u8,
    room: usize,
) -> Result<Vec<u8>, OpenscError> {
    if card.select(prefix, key).is_err() {
        return Ok(Vec::new());
    }
    let mut content = card.read(room)?;
    let length = tlv::read(&content).map_or(0, |(tlv, _)| tlv.encoded.len());
    content.truncate(length);
    Ok(content)
}

/// Wraps a key into a file with its description and certificate.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn wrap<C: Card>(
    options: &Options,
    file: &Path,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<(), Failed> {
    let key = match &options.label {
        Some(label) if options.key == -1 => labelled(label, card, console)?,
        _ => reference(options, console)?,
    };
    verify(options, card, console)?;
    let blob = match card.wrap(key) {
        Ok(blob) => blob,
        Err(OpenscError::Instruction) => {
            return Err(Failed::say(console, "Card not initialized for key wrap"));
        }
        Err(error) => {
            let text = format!("sc_card_ctl(*, SC_CARDCTL_SC_HSM_WRAP_KEY, *) failed with {error}");
            return Err(Failed::say(console, &text));
        }
    };
    let description = first_tlv(card, DESCRIPTION, key, DESCRIPTION_ROOM).unwrap_or_else(|error| {
        console.err(&format!("Error reading PRKD file {error}. Skipping.\n"));
        Vec::new()
    });
    let certificate = first_tlv(card, CERTIFICATE, key, CERTIFICATE_ROOM).unwrap_or_else(|error| {
        console.err(&format!("Error reading certificate {error}. Skipping\n"));
        Vec::new()
    });
    let mut content = tlv::encode(0x04, &blob);
    content.extend_from_slice(&description);
    content.extend_from_slice(&certificate);
    files::write(file, &tlv::encode(0x30, &content))
        .map_err(|error| Failed::say(console, &perror(file, &error)))
}

/// The key whose description has this label.
fn labelled<C: Card>(
    label: &OsStr,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<u8, Failed> {
    let list = card
        .files()
        .map_err(|error| Failed::say(console, &format!("Listing the keys failed with {error}")))?;
    for [prefix, key] in list {
        if prefix != KEY || key == 0 {
            continue;
        }
        let found = first_tlv(card, DESCRIPTION, key, DESCRIPTION_ROOM).unwrap_or_default();
        if key_type::label(&found).as_deref() == label.to_str() {
            return Ok(key);
        }
    }
    Err(Failed::say(
        console,
        &format!("No key with label {}", label.to_string_lossy()),
    ))
}

/// What a file of --wrap-key holds.
struct Wrapped<'a> {
    blob: &'a [u8],
    description: &'a [u8],
    certificate: &'a [u8],
}

fn parts(content: &[u8]) -> Result<Wrapped<'_>, &'static str> {
    let (outer, _) = tlv::read(content)
        .ok()
        .filter(|(tlv, _)| tlv.tag == 0x30)
        .ok_or("Invalid wrapped key format (Outer sequence).")?;
    let (blob, rest) = tlv::read(outer.value)
        .ok()
        .filter(|(tlv, _)| tlv.tag == 0x04)
        .ok_or("Invalid wrapped key format (Key binary).")?;
    let next = |input| tlv::read(input).map_or((&[][..], input), |(tlv, rest)| (tlv.encoded, rest));
    let (description, rest) = next(rest);
    let (certificate, _) = next(rest);
    Ok(Wrapped {
        blob: blob.value,
        description,
        certificate,
    })
}

/// Unwraps a file into a key.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn unwrap<C: Card>(
    options: &Options,
    file: &Path,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<(), Failed> {
    let key = match options.key {
        // Without a reference: a free one, but where a rule says which.
        -1 if !options.force => free(card, console)?,
        _ => reference(options, console)?,
    };
    let content = files::read(file, files::WRAPPED_KEY)
        .map_err(|error| Failed::say(console, &perror(file, &error)))?;
    let wrapped = parts(&content).map_err(|complaint| Failed::say(console, complaint))?;
    console.out("Wrapped key contains:\n  Key blob\n");
    if !wrapped.description.is_empty() {
        console.out("  Private Key Description (PRKD)\n");
    }
    if !wrapped.certificate.is_empty() {
        console.out("  Certificate\n");
    }
    if !options.force {
        let what = "private key description";
        occupied(
            what,
            "key",
            DESCRIPTION,
            wrapped.description,
            key,
            card,
            console,
        )?;
        let what = "certificate";
        occupied(
            what,
            what,
            CERTIFICATE,
            wrapped.certificate,
            key,
            card,
            console,
        )?;
    }
    verify(options, card, console)?;
    if options.force {
        // If there is none, there is nothing to delete.
        let _ = card.delete(KEY, key);
    }
    card.unwrap(key, wrapped.blob).map_err(|error| {
        let text = match error {
            OpenscError::Instruction => "Card not initialized for key wrap".to_owned(),
            OpenscError::Parameters => "Wrapped key does not match DKEK".to_owned(),
            error => {
                format!("sc_card_ctl(*, SC_CARDCTL_SC_HSM_UNWRAP_KEY, *) failed with {error}")
            }
        };
        Failed::say(console, &text)
    })?;
    for (what, prefix, content) in [
        ("private key description", DESCRIPTION, wrapped.description),
        ("certificate", CERTIFICATE, wrapped.certificate),
    ] {
        if content.is_empty() {
            continue;
        }
        card.write(prefix, key, options.force, content)
            .map_err(|error| {
                Failed::say(console, &format!("Updating {what} failed with {error}"))
            })?;
    }
    console.out("Key successfully imported\n");
    Ok(())
}

fn occupied<C: Card>(
    what: &str,
    short: &str,
    prefix: u8,
    content: &[u8],
    key: u8,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<(), Failed> {
    if content.is_empty() || card.select(prefix, key).is_err() {
        return Ok(());
    }
    let text = format!(
        "Found existing {what} in EF with fid {prefix:02x}{key:02x}. Please remove {short} first, select unused key reference or use --force."
    );
    Err(Failed::say(console, &text))
}

/// The lowest key reference that nothing on the device has.
pub(super) fn free<C: Card>(
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<u8, Failed> {
    let list = card
        .files()
        .map_err(|error| Failed::say(console, &format!("Listing the keys failed with {error}")))?;
    let taken = |key: u8| {
        let of_key = |fid: &[u8; 2]| matches!(fid[0], KEY | DESCRIPTION | CERTIFICATE);
        list.iter().any(|fid| of_key(fid) && fid[1] == key)
    };
    (1..=u8::MAX)
        .find(|&key| !taken(key))
        .ok_or_else(|| Failed::say(console, "No free key reference"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_fall_into_their_parts() {
        let file = [0x30, 9, 0x04, 2, 1, 2, 0xa0, 0, 0x67, 1, 9, 0, 0];
        let wrapped = parts(&file).expect("a file");
        assert_eq!(wrapped.blob, [1, 2]);
        assert_eq!(wrapped.description, [0xa0, 0]);
        assert_eq!(wrapped.certificate, [0x67, 1, 9]);
        assert_eq!(
            parts(b"junk").err(),
            Some("Invalid wrapped key format (Outer sequence).")
        );
        let error = parts(&[0x30, 2, 0x30, 0]).err();
        assert_eq!(error, Some("Invalid wrapped key format (Key binary)."));
    }
}
