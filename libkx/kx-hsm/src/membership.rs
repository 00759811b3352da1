//! `kx-hsm membership`: a device becomes a member of a group (xkek spec 8).

use std::path::Path;

use xkek::chain::verify_device;
use xkek::cvc::Certificate;
use xkek::hsm::{DomainState, certificates_of_file, device_key};
use xkek::kdm::Membership;
use xkek::pka::AttestedKey;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::status::text;
use crate::task::Task;
use crate::trust;

/// What is not the vendor's word about this.
const FACTS: [&str; 2] = [
    "the signed data (54 and the X coordinate of the device's key) agree with the one membership file that is \
     public; firmware 3.4 and later may want something else, and then refuses",
    "which order of certificates the device wants is known from an imitation",
];

/// Device certificate and issuer of a file: two certificates one after another, or the file of a key.
///
/// # Errors
/// [`Error::File`].
pub fn certificates(task: &Task, path: &Path) -> Result<(Certificate, Certificate)> {
    let content = task.read(path)?;
    certificates_of_file(&content).map_err(|error| Error::file(path, error))
}

/// Signs a membership with the group signer's card.
///
/// # Errors
/// [`Error`].
pub fn sign(task: &mut Task) -> Result<()> {
    let (group, member) = (
        task.arguments.path("group")?,
        task.arguments.path("member")?,
    );
    let (id, out) = (task.octet("group-id")?, task.output()?);
    let content = task.read(&group)?;
    let (signer, _) = AttestedKey::parse(&content).map_err(|error| Error::file(&group, error))?;
    let (certificate, issuer) = certificates(task, &member)?;
    let key = device_key(&certificate, &issuer)
        .ok_or_else(|| Error::file(&member, "the device's key is on no curve"))?;
    // Who is made a member should be a device and no program that says it is one.
    match verify_device(&certificate, &issuer, &trust::roots(task)?, None) {
        Ok(device) => task.report.line(&format!(
            "{} is a device under root {}.",
            device.name, device.root
        )),
        Err(error) => task.report.warn(&format!(
            "{}: {error}; --trust-root FILE names who is trusted. The other devices will check it themselves",
            member.display()
        )),
    }
    let name = certificate.body().chr.to_string();
    if task.dry(&format!("sign that {name} is a member")) {
        return Ok(());
    }
    let mut device = task.logged_in()?;
    let file = device.ask(|hsm| hsm.sign_membership(id, &signer, &key))?;
    let file = file.ok_or_else(|| {
        device.wrong(&format!(
            "key {id} is not the group signer of {}",
            group.display()
        ))
    })?;
    task.write(&out, &file.encode())?;
    let done = format!("{} makes {name} a member.", out.display());
    task.report.step(&done, "kx-hsm membership show FILE");
    Ok(())
}

fn read(task: &Task, path: &Path) -> Result<Membership> {
    let content = task.read(path)?;
    Membership::parse(&content).map_err(|error| Error::file(path, error))
}

/// Shows a membership file.
///
/// # Errors
/// [`Error`].
pub fn show(task: &mut Task) -> Result<()> {
    let path = task.file()?;
    let file = read(task, &path)?;
    describe(task, &file);
    Ok(())
}

/// Says what is in a membership file.
pub fn describe(task: &mut Task, file: &Membership) {
    let signer = file.group_signer.body().chr.to_string();
    task.report.value("group_signer", "Group signer", signer);
    let holder = file.holder.body().chr.to_string();
    task.report.value("held_by", "Held by device", holder);
    let issuer = file.issuer.body();
    let issuer = format!("{} under {}", issuer.chr, issuer.car);
    task.report.value("issuer", "Issued by", issuer);
    let inner = match file.group_signer.verify_inner() {
        Ok(_) => "good".to_owned(),
        Err(error) => error.to_string(),
    };
    task.report.value("self_signature", "Self signature", inner);
    let own =
        device_key(&file.holder, &file.issuer).is_some_and(|key| file.verify_member(&key).is_ok());
    let member = if own {
        "that device itself"
    } else {
        "another device"
    };
    task.report.value("member", "Member", member);
}

/// Makes a key domain of the group in a slot.
///
/// # Errors
/// [`Error`].
pub fn install(task: &mut Task) -> Result<()> {
    let path = task.file()?;
    install_file(task, &path)
}

/// As [`install`], of a given file.
///
/// # Errors
/// [`Error`].
pub fn install_file(task: &mut Task, path: &Path) -> Result<()> {
    let domain = task.domain()?;
    let file = read(task, path)?;
    if task.dry(&format!(
        "make key domain {domain} an XKEK domain by {}",
        path.display()
    )) {
        return Ok(());
    }
    let mut device = task.logged_in()?;
    task.unsure(&device, &FACTS);
    let state = enter(&mut device, domain, &file, path)?;
    let done = format!("Key domain {domain} of {}: {}.", device.name, text(&state));
    task.report.step(&done, "kx-hsm status");
    Ok(())
}

/// Makes the domain on an opened card.
///
/// # Errors
/// [`Error`].
pub fn enter(
    device: &mut Device,
    domain: u8,
    file: &Membership,
    path: &Path,
) -> Result<DomainState> {
    let (own, issuer) = device.certificates()?;
    let member = device_key(&own, &issuer).is_some_and(|key| file.verify_member(&key).is_ok());
    if !member && !device.real {
        // A real device may know a version of the signed data that we do not.
        let text = "this membership is not for this device";
        return Err(Error::file(path, format!("{}: {text}", device.name)));
    }
    device.ask(|hsm| hsm.show_chain(&file.issuer, &file.holder))?;
    device.ask(|hsm| hsm.create_xkek_domain(domain, &file.group_signer, &file.signature))
}
