//! `kx-hsm group`: the group signer, and `kx-hsm device export`.

use xkek::curve::Curve;
use xkek::group_signer::CURVES;
use xkek::pka::{AttestedKey, Form};

use crate::arguments::ArgumentError;
use crate::device::Device;
use crate::error::Result;
use crate::task::Task;

/// Makes a group signer on a card, and its file with the chain of today: a device's certificate changes
/// when its firmware is updated.
///
/// # Errors
/// [`crate::error::Error`].
pub fn create(task: &mut Task) -> Result<()> {
    let out = task.output()?;
    let curve = match task.arguments.text("type") {
        None => Curve::BrainpoolP256r1,
        Some(value) => value
            .strip_prefix("ec:")
            .and_then(Curve::from_name)
            .filter(|curve| CURVES.contains(curve))
            .ok_or_else(|| ArgumentError::Value {
                option: "type",
                value: value.clone(),
                why: "a group signer is ec:brainpoolP256r1 or ec:secp256r1".to_owned(),
            })?,
    };
    let id = task.arguments.octet("id")?;
    if task.dry("make a group signer") {
        return Ok(());
    }
    let mut device = task.logged_in()?;
    let id = device.free_key(id)?;
    let label = task
        .arguments
        .text("label")
        .unwrap_or_else(|| "group signer".to_owned());
    let key = device.ask(|hsm| hsm.create_group_signer(id, curve, &label))?;
    task.write(&out, &key.encode(Form::Sequence))?;
    task.report.value("id", "Key reference", id);
    let done = format!(
        "Key {id} of {} is a group signer; {} has its public part and the certificates of its device.",
        device.name,
        out.display()
    );
    task.report.step(&done, "kx-hsm file show FILE");
    Ok(())
}

/// The request of a key that is on a card, with the certificates of its device.
///
/// # Errors
/// [`crate::error::Error`].
pub fn stored(device: &mut Device, id: u8) -> Result<AttestedKey> {
    let key = device.ask(|hsm| hsm.stored_key(id))?;
    key.ok_or_else(|| device.wrong(&format!("there is no request of key {id}")))
}

/// Writes the file of a group signer again.
///
/// # Errors
/// [`crate::error::Error`].
pub fn export(task: &mut Task) -> Result<()> {
    let (id, out) = (task.octet("id")?, task.output()?);
    let mut device = task.device()?;
    let key = stored(&mut device, id)?;
    task.write(&out, &key.encode(Form::Sequence))?;
    let done = format!("Key {id} of {} is in {}.", device.name, out.display());
    task.report.step(&done, "kx-hsm file show FILE");
    Ok(())
}

/// Writes the certificates of a device, for who is to make it a member.
///
/// # Errors
/// [`crate::error::Error`].
pub fn export_device(task: &mut Task) -> Result<()> {
    let out = task.output()?;
    let mut device = task.device()?;
    let (certificate, issuer) = device.certificates()?;
    let content = [certificate.encoded(), issuer.encoded()].concat();
    task.write(&out, &content)?;
    let done = format!(
        "The certificates of {} are in {}.",
        device.name,
        out.display()
    );
    task.report.step(&done, "kx-hsm file show FILE");
    Ok(())
}
