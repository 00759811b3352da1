//! `kx-hsm exchange-key` and `kx-hsm derive`.

use std::path::Path;

use xkek::cvc::Request;
use xkek::hsm::{DomainState, file_id, kind};
use xkek::kek::Kcv;
use xkek::pka::{AttestedKey, Form};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::group;
use crate::report::hex;
use crate::task::Task;

/// What is not the vendor's word about this.
pub const FACTS: [&str; 2] = [
    "exchange key, command and answer (80 62 .. 84) are known from an imitation",
    "how the device makes the key from the agreement is not public; only the key check values tell that both \
     have the same",
];

/// Makes an exchange key in an XKEK domain.
///
/// # Errors
/// [`Error`].
pub fn create(task: &mut Task) -> Result<()> {
    let (domain, out, id) = (task.domain()?, task.output()?, task.arguments.octet("id")?);
    if task.dry(&format!("make an exchange key in key domain {domain}")) {
        return Ok(());
    }
    let mut device = task.logged_in()?;
    task.unsure(&device, &FACTS[..1]);
    let (id, key) = make(&mut device, domain, id)?;
    task.write(&out, &key.encode(Form::Plain))?;
    task.report.value("id", "Key reference", id);
    let done = format!(
        "Key {id} of {} is an exchange key; {} is for the peer.",
        device.name,
        out.display()
    );
    task.report.step(&done, "kx-hsm file show FILE");
    Ok(())
}

/// Makes an exchange key on an opened card.
///
/// # Errors
/// [`Error`].
pub fn make(device: &mut Device, domain: u8, id: Option<u8>) -> Result<(u8, AttestedKey)> {
    if !matches!(
        device.ask(|hsm| hsm.domain(domain))?,
        DomainState::Xkek { .. }
    ) {
        return Err(device.wrong(&format!("key domain {domain} is no XKEK domain")));
    }
    let id = device.free_key(id)?;
    let key = device.ask(|hsm| hsm.create_exchange_key(id, domain))?;
    Ok((id, key))
}

/// Writes the file of an exchange key again.
///
/// # Errors
/// [`Error`].
pub fn export(task: &mut Task) -> Result<()> {
    let (id, out) = (task.octet("id")?, task.output()?);
    let mut device = task.device()?;
    let key = group::stored(&mut device, id)?;
    if key.request.body().key_domain_uid().is_none() {
        return Err(device.wrong(&format!("key {id} is no exchange key")));
    }
    task.write(&out, &key.encode(Form::Plain))?;
    let done = format!(
        "Exchange key {id} of {} is in {}.",
        device.name,
        out.display()
    );
    task.report.step(&done, "kx-hsm file show FILE");
    Ok(())
}

/// Agrees with a peer on the key of the domain.
///
/// # Errors
/// [`Error`].
pub fn derive(task: &mut Task) -> Result<()> {
    let (path, id) = (task.arguments.path("peer")?, task.octet("id")?);
    let content = task.read(&path)?;
    let (peer, _) = AttestedKey::parse(&content).map_err(|error| Error::file(&path, error))?;
    if task.dry(&format!(
        "agree on a key encryption key with {}",
        peer.device.body().chr
    )) {
        return Ok(());
    }
    let mut device = task.logged_in()?;
    task.unsure(&device, &FACTS);
    let (domain, kcv) = agree(&mut device, id, &peer, &path)?;
    task.report.value("domain", "Key domain", domain);
    task.report.value("kcv", "Key check value", kcv.to_string());
    let done = format!(
        "{} has the key encryption key with {}.",
        device.name,
        peer.device.body().chr
    );
    task.report
        .step(&done, "the peer shows the same key check value");
    Ok(())
}

/// Agrees on an opened card; the domain and its check value.
///
/// # Errors
/// [`Error`].
pub fn agree(device: &mut Device, id: u8, peer: &AttestedKey, path: &Path) -> Result<(u8, Kcv)> {
    let own = device.ask(|hsm| hsm.read(file_id(kind::CERTIFICATE, id)))?;
    let own = own.and_then(|content| Request::parse(&content).ok());
    let own = own.ok_or_else(|| device.wrong(&format!("there is no exchange key {id}")))?;
    let uid = own.body().key_domain_uid().unwrap_or_default().to_vec();
    if peer.request.body().key_domain_uid() != Some(uid.as_slice()) {
        return Err(Error::file(
            path,
            format!(
                "not of the group {} of key {id} of {}",
                hex(&uid),
                device.name
            ),
        ));
    }
    device.ask(|hsm| hsm.show_chain(&peer.issuer, &peer.device))?;
    device.ask(|hsm| hsm.derive_kek(id, &peer.request))?;
    let domains = device.ask(|hsm| hsm.domains())?;
    let of_group =
        |state: &DomainState| matches!(state, DomainState::Xkek { uid: it, .. } if *it == uid);
    let found = (0u8..=u8::MAX)
        .zip(&domains)
        .find(|(_, state)| of_group(state));
    match found.and_then(|(number, state)| state.kcv().map(|kcv| (number, kcv))) {
        Some(found) => Ok(found),
        None => Err(device.wrong("it shows no key check value after the agreement")),
    }
}
