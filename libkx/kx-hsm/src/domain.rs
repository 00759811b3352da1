//! `kx-hsm domain`: key domains are made and unmade.

use crate::error::Result;
use crate::membership;
use crate::status::text;
use crate::task::Task;

/// Makes a domain whose key comes from shares.
///
/// # Errors
/// [`crate::error::Error`].
pub fn create_dkek(task: &mut Task) -> Result<()> {
    let domain = task.domain()?;
    let shares = task.octet("shares")?;
    if task.dry(&format!(
        "make key domain {domain} a DKEK domain of {shares} share(s)"
    )) {
        return Ok(());
    }
    let mut device = task.logged_in()?;
    task.unsure(
        &device,
        &["making a DKEK domain after initialization (80 52 01)"],
    );
    device.ask(|hsm| hsm.create_dkek_domain(domain, shares))?;
    let done = format!(
        "Key domain {domain} of {} waits for {shares} share(s).",
        device.name
    );
    task.report.step(&done, "kx-hsm status");
    Ok(())
}

/// Makes a domain whose key comes from an exchange.
///
/// # Errors
/// [`crate::error::Error`].
pub fn create_xkek(task: &mut Task) -> Result<()> {
    let file = task.arguments.path("membership")?;
    membership::install_file(task, &file)
}

/// Deletes a domain without keys.
///
/// # Errors
/// [`crate::error::Error`].
pub fn delete(task: &mut Task) -> Result<()> {
    let domain = task.domain()?;
    if task.dry(&format!("delete key domain {domain}")) {
        return Ok(());
    }
    let mut device = task.device()?;
    let state = device.ask(|hsm| hsm.domain(domain))?;
    task.confirm(&format!(
        "Key domain {domain} of {} ({}) will be deleted.",
        device.name,
        text(&state)
    ))?;
    device.login(&task.arguments.secret("pin")?)?;
    device.ask(|hsm| hsm.delete_domain(domain))?;
    let done = format!("Key domain {domain} of {} is empty.", device.name);
    task.report.step(&done, "kx-hsm status");
    Ok(())
}

/// Deletes the key encryption key of a domain.
///
/// # Errors
/// [`crate::error::Error`].
pub fn clear_kek(task: &mut Task) -> Result<()> {
    let domain = task.domain()?;
    if task.dry(&format!(
        "delete the key encryption key of key domain {domain}"
    )) {
        return Ok(());
    }
    let mut device = task.device()?;
    let state = device.ask(|hsm| hsm.domain(domain))?;
    task.confirm(&format!(
        "The key encryption key of key domain {domain} of {} ({}) will be deleted. The keys in it stay, but \
         cannot be wrapped until the domain has a key again.",
        device.name,
        text(&state)
    ))?;
    device.login(&task.arguments.secret("pin")?)?;
    device.ask(|hsm| hsm.clear_kek(domain))?;
    let state = device.ask(|hsm| hsm.domain(domain))?;
    let done = format!("Key domain {domain} of {}: {}.", device.name, text(&state));
    task.report.step(&done, "kx-hsm status");
    Ok(())
}
