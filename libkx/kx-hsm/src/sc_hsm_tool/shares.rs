//! DKEK share files: --create-dkek-share, --import-dkek-share, --print-dkek-share (xkek spec 9).

use std::path::Path;

use kx_secret::SecretBytes;
use xkek::card::Card;
use xkek::dkek::{FILE_LEN, ShareFile};
use xkek::kek::Kek;
use xkek::rng::{Rng, Unavailable};

use super::channel::Channel;
use super::console::Console;
use super::custodians;
use super::opensc_error::OpenscError;
use super::options::Options;
use super::status;
use super::{Failed, perror};
use crate::files;
use crate::progress::{self, Bar};

/// Makes a share and writes it into a file.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn create<C: Card>(
    options: &Options,
    file: &Path,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<(), Failed> {
    let mut made = None;
    let password = match &options.password {
        Some(password) => password,
        None if options.threshold == -1 && options.total == -1 => made.insert(ask_twice(console)?),
        None => made.insert(
            custodians::split(options.threshold, options.total, card, console)
                .map_err(|Failed| Failed::say(console, "Creating DKEK share failed"))?,
        ),
    };
    let mut random = |count: usize, console: &mut dyn Console| {
        mixed(card, count).map_err(|error| {
            Failed::say(
                console,
                &format!("Error generating random number failed with {error}"),
            )
        })
    };
    let salt = random(8, console)?;
    console.out("Enciphering DKEK share, please wait...\n");
    let secret = random(32, console)?;
    let sealed = secret.as_slice().first_chunk().map(|secret| {
        let mut bar = Bar::new(true);
        let share = Kek::from_bytes(secret);
        ShareFile::seal(&share, password.as_slice(), &mut Drawn(salt), &mut |done| {
            bar.draw(done)
        })
    });
    let Some(Ok(sealed)) = sealed else {
        return Err(Failed::say(console, "Error encrypting DKEK share"));
    };
    files::write(file, &sealed.encode())
        .map_err(|error| Failed::say(console, &perror(file, &error)))?;
    console.out(&format!(
        "DKEK share created and saved to {}\n",
        file.display()
    ));
    Ok(())
}

/// Random octets that were fetched before.
struct Drawn(SecretBytes);

impl Rng for Drawn {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        let octets = self.0.as_slice().get(..out.len()).ok_or(Unavailable)?;
        out.copy_from_slice(octets);
        self.0.drop_front(out.len());
        Ok(())
    }
}

/// Random octets of the card and of this machine, so that neither alone decides (spec 9).
pub(super) fn mixed<C: Card>(
    card: &mut Channel<C>,
    count: usize,
) -> Result<SecretBytes, OpenscError> {
    let mut octets = card.challenge(count)?;
    let mut ours = SecretBytes::zeroed(count);
    kx_crypto::random::fill_private(ours.as_mut_slice()).map_err(|_| OpenscError::CommandFailed)?;
    for (octet, more) in octets.as_mut_slice().iter_mut().zip(ours.as_slice()) {
        *octet ^= more;
    }
    Ok(octets)
}

fn ask_twice(console: &mut dyn Console) -> Result<SecretBytes, Failed> {
    console.out(concat!(
        "\nThe DKEK share will be enciphered using a key derived from a user supplied password.\n",
        "The security of the DKEK share relies on a well chosen and sufficiently long password.\n",
        "The recommended length is more than 10 characters, which are mixed letters, numbers and\n",
        "symbols.\n\n",
        "Please keep the generated DKEK share file in a safe location. We also recommend to keep a\n",
        "paper printout, in case the electronic version becomes unavailable. A printable version\n",
        "of the file can be generated using \"openssl base64 -in <filename>\".\n",
    ));
    loop {
        console.out("Enter password to encrypt DKEK share : ");
        // The original asks on and on when the answers have ended.
        let password = console.secret().ok_or(Failed)?;
        console.out("\n");
        if password.len() < 6 {
            console.out("Password way to short. Please retry.\n");
            continue;
        }
        console.out("Please retype password to confirm : ");
        let again = console.secret().ok_or(Failed)?;
        console.out("\n");
        if password.ct_eq(again.as_slice()) {
            return Ok(password);
        }
        console.out("Passwords do not match. Please retry.\n");
    }
}

/// Deciphers a share file, with all the dialog that is needed for its password.
fn open(options: &Options, file: &Path, console: &mut dyn Console) -> Result<Kek, Failed> {
    let complain = |console: &mut dyn Console, error: std::io::Error| {
        Failed::say(console, &perror(file, &error))
    };
    let content =
        files::read(file, files::WRAPPED_KEY).map_err(|error| complain(console, error))?;
    // As the original: what follows the 64 octets does not matter.
    let Some(content) = content.get(..FILE_LEN) else {
        // It says "Success" here.
        return Err(complain(console, std::io::ErrorKind::UnexpectedEof.into()));
    };
    let Ok(sealed) = ShareFile::parse(content) else {
        let text = format!("File {} is not a DKEK share", file.display());
        return Err(Failed::say(console, &text));
    };
    let asked;
    let passwords = match &options.password {
        Some(password) => std::slice::from_ref(password),
        None if options.total == -1 => {
            console.out("Enter password to decrypt DKEK share : ");
            asked = vec![console.secret().unwrap_or_default()];
            console.out("\n");
            &asked
        }
        None => {
            asked = custodians::recreate(options.total, console)?;
            &asked
        }
    };
    console.out("Deciphering DKEK share, please wait...\n");
    progress::open(&sealed, passwords, true)
        .map_err(|_| Failed::say(console, "Error decrypting DKEK share. Password correct ?"))
}

/// Imports a share into the device.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn import<C: Card>(
    options: &Options,
    file: &Path,
    card: &mut Channel<C>,
    console: &mut dyn Console,
) -> Result<(), Failed> {
    let domain = super::domains::number(options, console)?;
    let secret = open(options, file, console)?;
    match card.domain(domain, Some(secret.as_slice())) {
        Ok(state) => {
            console.out("DKEK share imported\n");
            status::domain(state, console);
            Ok(())
        }
        Err(OpenscError::Instruction) => Err(Failed::say(
            console,
            "Not supported by card or card not initialized for key share usage",
        )),
        Err(error) => {
            let call = "SC_CARDCTL_SC_HSM_IMPORT_DKEK_SHARE";
            let text = format!("sc_card_ctl(*, {call}, *) failed with {error}");
            Err(Failed::say(console, &text))
        }
    }
}

/// Shows a share.
///
/// # Errors
/// [`Failed`]; it has been said why.
pub fn print(options: &Options, file: &Path, console: &mut dyn Console) -> Result<(), Failed> {
    let secret = open(options, file, console)?;
    console.out("DKEK Share HEX: \n\n");
    for octet in secret.as_slice() {
        console.out(&format!("{octet:02X}"));
    }
    console.out("\n\n");
    Ok(())
}
