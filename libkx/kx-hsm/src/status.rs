//! `kx-hsm status`.

use serde_json::json;
use xkek::hsm::{DomainState, Hsm, Pin, PinState};

use crate::error::Result;
use crate::report::hex;
use crate::task::Task;

/// Shows what the device is, its PINs, and its key domains.
///
/// # Errors
/// [`crate::error::Error`].
pub fn status(task: &mut Task) -> Result<()> {
    let mut device = task.device()?;
    let applet = device.applet;
    let version = format!("{}.{}", applet.major, applet.minor);
    task.report.value("card", "Card", device.name.clone());
    task.report.value("version", "Version", version);
    task.report.value("options", "", applet.options);
    let (certificate, issuer) = device.certificates()?;
    let chr = certificate.body().chr.to_string();
    task.report.value("device", "Device", chr);
    let issuer = issuer.body();
    let issuers = format!("{} under {}", issuer.chr, issuer.car);
    task.report.value("issuer", "Issued by", issuers);
    for (name, label, pin) in [
        ("so_pin", "SO-PIN", Pin::SecurityOfficer),
        ("user_pin", "User PIN", Pin::User),
    ] {
        let state = device.ask(|hsm| hsm.pin_state(pin))?;
        let text = match state {
            PinState::Verified => "verified".to_owned(),
            PinState::Tries(left) => format!("{left} tries left"),
            PinState::Blocked => "blocked".to_owned(),
            PinState::Transport => "to be changed before use (transport PIN)".to_owned(),
            PinState::NotInitialized => "the device was never initialized".to_owned(),
            PinState::Other(sw) => format!("public key authentication, or {sw}"),
        };
        task.report.value(name, label, text);
    }
    if let Some(login) = device.ask(Hsm::login_status)? {
        let text = format!(
            "{} of {} registered, {} needed, {} authenticated",
            login.total.saturating_sub(login.missing),
            login.total,
            login.required,
            login.authenticated
        );
        task.report.value("public_keys", "Public keys", text);
    }
    let domains = device.ask(Hsm::domains)?;
    if domains.is_empty() {
        task.report
            .line("No key domains: initialize with --shares or --domains to have some.");
    }
    let wanted = task.arguments.octet("domain")?;
    let mut list = Vec::new();
    for (number, state) in (0u8..=u8::MAX).zip(&domains) {
        if wanted.is_some_and(|wanted| wanted != number) {
            continue;
        }
        let label = format!("Key domain {number}");
        task.report.line(&format!("{label:<24}: {}", text(state)));
        list.push(as_json(number, state));
    }
    task.report.value("domains", "", list);
    Ok(())
}

/// A domain's state for people.
#[must_use]
pub fn text(state: &DomainState) -> String {
    match state {
        DomainState::Unsupported => "the device has none".to_owned(),
        DomainState::NotAllocated => "there is no such slot".to_owned(),
        DomainState::Empty => "empty".to_owned(),
        DomainState::Dkek {
            total,
            missing: 0,
            kcv,
        } => format!("DKEK of {total} share(s), key check value {kcv}"),
        DomainState::Dkek { total, missing, .. } => {
            format!("DKEK, {missing} of {total} share(s) missing")
        }
        DomainState::Xkek { kcv, uid } => {
            let key = match kcv {
                Some(kcv) => format!("key check value {kcv}"),
                None => "no key yet".to_owned(),
            };
            let start = uid.get(..uid.len().min(8)).unwrap_or_default();
            format!("XKEK, {key}, group {}...", hex(start))
        }
    }
}

fn as_json(number: u8, state: &DomainState) -> serde_json::Value {
    let kcv = state.kcv().map(|kcv| kcv.to_string());
    match state {
        DomainState::Dkek { total, missing, .. } => json!({
            "number": number, "kind": "dkek", "shares": total, "missing": missing, "kcv": kcv
        }),
        DomainState::Xkek { uid, .. } => {
            json!({ "number": number, "kind": "xkek", "kcv": kcv, "uid": hex(uid) })
        }
        _ => json!({ "number": number, "kind": "empty" }),
    }
}
