//! `kx-hsm pin`: changed, and unblocked by the SO-PIN.

use xkek::hsm::Pin;

use crate::error::Result;
use crate::init::so_pin;
use crate::task::Task;

/// Changes the user's PIN.
///
/// # Errors
/// [`crate::error::Error`].
pub fn change(task: &mut Task) -> Result<()> {
    if task.dry("change the user PIN") {
        return Ok(());
    }
    let mut device = task.device()?;
    let old = task
        .arguments
        .secret("pin")?
        .read(&format!("User PIN of {}", device.name))?;
    let what = format!("New user PIN of {}", device.name);
    let new = task.arguments.secret("new-pin")?.read_new(&what)?;
    device.ask(|hsm| hsm.change_pin(Pin::User, old.as_slice(), new.as_slice()))?;
    let done = format!("The user PIN of {} is changed.", device.name);
    task.report.step(&done, "kx-hsm status");
    Ok(())
}

/// Sets the tries of the user's PIN back by the SO-PIN, with a new PIN if there is one.
///
/// # Errors
/// [`crate::error::Error`].
pub fn unblock(task: &mut Task) -> Result<()> {
    if task.dry("set the tries of the user PIN back") {
        return Ok(());
    }
    let mut device = task.device()?;
    let code = so_pin(task, &device.name)?;
    let new = if task.arguments.has("new-pin") {
        let what = format!("New user PIN of {}", device.name);
        Some(task.arguments.secret("new-pin")?.read_new(&what)?)
    } else {
        None
    };
    device.ask(|hsm| {
        hsm.reset_retry_counter(
            code.as_slice(),
            new.as_ref().map(kx_secret::SecretBytes::as_slice),
        )
    })?;
    let done = format!("The user PIN of {} has all its tries.", device.name);
    task.report.step(&done, "kx-hsm status");
    Ok(())
}
