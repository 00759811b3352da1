//! `keynote keygen`

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::ExitCode;

use keynote::signature::SigningKey;
use keynote::{Encoding, Principal};
use kx_cli::getopt::atoi;

use crate::print::Layout;
use crate::{Failure, Outcome, algorithm_name, show, system_text};

const USAGE: &str = "Arguments:\n\
    \t<AlgorithmName> <keysize> <PublicKeyFile> <PrivateKeyFile> [<print-offset>] [<print-length>]\n";

pub(crate) fn run(arguments: &[OsString]) -> Outcome {
    let [name, size, public_file, private_file, layout @ ..] = arguments else {
        return Err(Failure::new(USAGE));
    };
    if layout.len() > 2 {
        return Err(Failure::new(USAGE));
    }
    let name = algorithm_name(name);
    let argument = |index: usize| layout.get(index).map(OsString::as_os_str);
    let layout = Layout::parse(argument(0), argument(1))?;
    if name.len().saturating_add(2) > layout.length {
        return Err(Failure::new(format!(
            "Parameter ``print-length'' should be larger than the length of AlgorithmName ({})\n",
            name.len()
        )));
    }
    let bits = u32::try_from(atoi(size)).unwrap_or(0);
    if bits == 0 {
        return Err(Failure::new(format!(
            "Invalid specified keysize {}\n",
            atoi(size)
        )));
    }
    let lower = name.to_ascii_lowercase();
    let (key, encoding) = match lower.as_str() {
        "rsa-hex:" => (SigningKey::generate_rsa(bits), Encoding::Hex),
        "rsa-base64:" => (SigningKey::generate_rsa(bits), Encoding::Base64),
        "dsa-hex:" => (SigningKey::generate_dsa(bits), Encoding::Hex),
        "dsa-base64:" => (SigningKey::generate_dsa(bits), Encoding::Base64),
        _ => {
            return Err(Failure::new(format!(
                "Unknown/unsupported algorithm [{name}]\n"
            )));
        }
    };
    let key = key.map_err(|error| Failure::new(format!("Error generating key: {error}\n")))?;
    let public = match &key.public() {
        Principal::Rsa(key) => key.text(encoding),
        Principal::Dsa(key) => key.text(encoding),
        Principal::Opaque(_) | Principal::Binary(_) => String::new(),
    };
    let private = key
        .private_text(encoding)
        .map_err(|error| Failure::new(format!("Error encoding key: {error}\n")))?;
    let value = |text: &[u8]| {
        text.iter()
            .position(|octet| *octet == b':')
            .map_or(0, |at| at + 1)
    };
    let digits = public.as_bytes().get(value(public.as_bytes())..);
    write(
        public_file,
        &layout.quote(&name, digits.unwrap_or_default()),
        0o666,
    )?;
    if public_file == "-" && private_file == "-" {
        show(b"===========================\n")?;
    }
    let digits = private.as_slice().get(value(private.as_slice())..);
    let text = layout.quote(&format!("private-{name}"), digits.unwrap_or_default());
    write(private_file, &text, 0o600)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a file, or standard output for `-`. A private one is nobody else's to read, even if it was there
/// before.
fn write(path: &OsStr, text: &[u8], mode: u32) -> Result<(), Failure> {
    if path == "-" {
        return show(text);
    }
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            let about = file.metadata()?;
            if mode == 0o600 && about.is_file() {
                file.set_permissions(std::fs::Permissions::from_mode(mode))?;
            }
            file.write_all(text)
        })
        .map_err(|error| {
            let path = path.to_string_lossy();
            Failure::new(format!("{path}: {}\n", system_text(&error)))
        })
}
