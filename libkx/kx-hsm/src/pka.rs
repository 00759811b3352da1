//! `kx-hsm pka`: public key authentication, so many of so many keys (xkek spec 11).

use openssl::hash::MessageDigest;
use openssl::sign::Signer;
use xkek::cvc::Reference;
use xkek::hsm::Hsm;
use xkek::pka::{AttestedKey, Form};

use crate::arguments::ArgumentError;
use crate::error::{Error, Result};
use crate::group;
use crate::private_key::{self, PrivateKeyError};
use crate::task::Task;

/// Shows how far the login is.
///
/// # Errors
/// [`Error`].
pub fn status(task: &mut Task) -> Result<()> {
    let mut device = task.device()?;
    let Some(status) = device.ask(Hsm::login_status)? else {
        return Err(device.wrong("it was not initialized with --public-keys"));
    };
    for (name, label, number) in [
        ("total", "Public keys", status.total),
        ("missing", "Missing", status.missing),
        ("required", "Needed to log in", status.required),
        ("authenticated", "Authenticated", status.authenticated),
    ] {
        task.report.value(name, label, number);
    }
    for slot in 0..status.total {
        if let Some(key) = device.ask(|hsm| hsm.public_key_slot(slot))? {
            let state = if key.authenticated {
                "authenticated"
            } else {
                "-"
            };
            task.report
                .line(&format!("{slot:3}  {}  {state}", key.name));
        }
    }
    Ok(())
}

/// Writes a key with the certificates of its device.
///
/// # Errors
/// [`Error`].
pub fn export(task: &mut Task) -> Result<()> {
    let (id, out) = (task.octet("id")?, task.output()?);
    let mut device = task.device()?;
    let key = group::stored(&mut device, id)?;
    task.write(&out, &key.encode(Form::Sequence))?;
    let done = format!("Key {id} of {} is in {}.", device.name, out.display());
    task.report.step(&done, "kx-hsm file verify FILE");
    Ok(())
}

/// Registers a key.
///
/// # Errors
/// [`Error`].
pub fn register(task: &mut Task) -> Result<()> {
    let (path, index) = (task.file()?, task.arguments.octet("index")?);
    let content = task.read(&path)?;
    let (key, _) = AttestedKey::parse(&content).map_err(|error| Error::file(&path, error))?;
    if task.dry(&format!("register {}", key.request.body().chr)) {
        return Ok(());
    }
    let mut device = task.device()?;
    if let Some(index) = index {
        task.confirm(&format!(
            "Public key {index} of {} will be replaced.",
            device.name
        ))?;
    }
    device.login(&task.arguments.secret("pin")?)?;
    device.ask(|hsm| hsm.show_chain(&key.issuer, &key.device))?;
    let status = device.ask(|hsm| hsm.register_public_key(&key.request, index))?;
    let name = &key.request.body().chr;
    let done = format!("{name} is registered; {} more to go.", status.missing);
    task.report.step(&done, "kx-hsm pka status");
    Ok(())
}

/// Authenticates with a private key of a file.
///
/// # Errors
/// [`Error`].
pub fn login(task: &mut Task) -> Result<()> {
    let path = task.arguments.path("key")?;
    let name = task.arguments.needed("label")?;
    let content = kx_secret::SecretBytes::from(task.read(&path)?);
    let passphrase = task.arguments.secret("key-password")?;
    let key = match private_key::read(content.as_slice(), &passphrase) {
        Ok(key) => key,
        Err(PrivateKeyError::Secret(error)) => return Err(error.into()),
        Err(error) => return Err(Error::file(&path, error)),
    };
    let name = Reference::new(name.as_bytes()).map_err(|error| ArgumentError::Value {
        option: "label",
        value: name.clone(),
        why: error.to_string(),
    })?;
    let mut device = task.device()?;
    let (certificate, _) = device.certificates()?;
    let own = certificate.body().chr.clone();
    let challenge = device.ask(|hsm| hsm.login_challenge(&name, &own))?;
    let Some(challenge) = challenge else {
        return Err(device.wrong(&format!(
            "{name} is not registered, or has logged in already"
        )));
    };
    let sign = || -> std::result::Result<Vec<u8>, openssl::error::ErrorStack> {
        let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
        signer.update(&challenge)?;
        let signature = openssl::ecdsa::EcdsaSig::from_der(&signer.sign_to_vec()?)?;
        let width = i32::try_from(key.bits().div_ceil(8)).unwrap_or(32);
        Ok([
            signature.r().to_vec_padded(width)?,
            signature.s().to_vec_padded(width)?,
        ]
        .concat())
    };
    let signature = sign().map_err(|_| Error::file(&path, "it is no EC key"))?;
    device.ask(|hsm| hsm.login(&signature))?;
    let status = device.ask(Hsm::login_status)?;
    let count = status.map_or(0, |status| status.authenticated);
    let done = format!("{name} is authenticated ({count}). It ends with this command's session.");
    task.report.step(&done, "");
    Ok(())
}
