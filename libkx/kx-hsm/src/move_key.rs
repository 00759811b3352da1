//! `kx-hsm key move`: a key goes from one card to another in one command. Fresh exchange keys on both, both
//! derive, the check values are compared, the key is wrapped and unwrapped, the exchange keys go (xkek spec 12).

use std::path::Path;

use xkek::hsm::{DomainState, file_id, kind};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::exchange_key::{self, FACTS};
use crate::key::{describe, first_element, public};
use crate::report::hex;
use crate::task::Task;

/// Moves a key.
///
/// # Errors
/// [`Error`].
pub fn move_key(task: &mut Task) -> Result<()> {
    let (from, to) = (task.arguments.spec("from")?, task.arguments.spec("to")?);
    let id = task.octet("id")?;
    let to_id = task.arguments.octet("to-id")?;
    let mut from = Device::open(&from)?;
    let mut to = Device::open(&to)?;
    let attributes = from.ask(|hsm| hsm.key_attributes(id))?;
    let attributes = attributes.ok_or_else(|| from.wrong(&format!("there is no key {id}")))?;
    // A device that does not tell the domain of a key needs to be told.
    let domain = match (attributes.domain, task.arguments.octet("domain")?) {
        (Some(has), Some(wanted)) if has != wanted => {
            return Err(from.wrong(&format!(
                "key {id} belongs to key domain {has}, not {wanted}"
            )));
        }
        (has, wanted) => has.or(wanted).unwrap_or(0),
    };
    let DomainState::Xkek { uid, .. } = from.ask(|hsm| hsm.domain(domain))? else {
        return Err(from.wrong(&format!(
            "key {id} belongs to key domain {domain}, which is no XKEK domain. A key stays in the domain it \
             was made in"
        )));
    };
    let to_domain = same_group(task, &mut to, &uid)?;
    if let Some(label) = attributes.use_counter {
        return Err(from.wrong(&format!(
            "key {id} counts its uses ({label} left): it cannot move"
        )));
    }
    let destination = to.free_key(to_id)?;
    task.report.value("group", "Group", hex(&uid));
    if task.dry(&format!(
        "move key {id} of {} (key domain {domain}) to key {destination} of {} (key domain {to_domain})",
        from.name, to.name
    )) {
        return Ok(());
    }
    task.unsure(&from, &FACTS);
    if task.arguments.has("delete-source") {
        task.confirm(&format!(
            "After the move key {id} of {} will be deleted.",
            from.name
        ))?;
    }
    from.login(&task.arguments.secret("from-pin")?)?;
    to.login(&task.arguments.secret("to-pin")?)?;

    let (own, own_key) = exchange_key::make(&mut from, domain, None)?;
    // The receiver's must be another than the place that the key goes to.
    let made = match free_beside(&mut to, destination) {
        Ok(place) => exchange_key::make(&mut to, to_domain, Some(place)),
        Err(error) => Err(error),
    };
    let moved = made.and_then(|(peer, peer_key)| {
        let place = Place {
            id,
            destination,
            own,
            peer,
        };
        let moved = transfer(task, &mut from, &mut to, &place, [&own_key, &peer_key]);
        // They are for this one transfer, whatever came of it.
        let gone = to.delete_key(peer);
        moved.and(gone.map(drop))
    });
    let gone = from.delete_key(own);
    moved?;
    gone?;
    task.report.step("The exchange keys are deleted.", "");
    if task.arguments.has("delete-source") {
        from.delete_key(id)?;
        task.report.step(
            &format!("Key {id} of {} is deleted.", from.name),
            "kx-hsm key list",
        );
    }
    task.report.value("id", "Key reference", destination);
    let done = format!(
        "Key {id} of {} is key {destination} of {}.",
        from.name, to.name
    );
    task.report.step(
        &done,
        "a signature by either verifies with the same public key",
    );
    Ok(())
}

/// The key domain of the other card that is of the same group.
fn same_group(task: &Task, to: &mut Device, uid: &[u8]) -> Result<u8> {
    let domains = to.ask(|hsm| hsm.domains())?;
    let wanted = task.arguments.octet("to-domain")?;
    let is_it = |(number, state): &(u8, &DomainState)| {
        let named = wanted.is_none_or(|wanted| wanted == *number);
        named && matches!(state, DomainState::Xkek { uid: it, .. } if it == uid)
    };
    match (0u8..=u8::MAX).zip(&domains).find(is_it) {
        Some((number, _)) => Ok(number),
        None => Err(to.wrong(&format!("no XKEK domain of group {}", hex(uid)))),
    }
}

fn free_beside(device: &mut Device, taken: u8) -> Result<u8> {
    let keys = device.keys()?;
    (1..=u8::MAX)
        .find(|id| *id != taken && !keys.contains(id))
        .ok_or_else(|| device.wrong("no free key reference"))
}

/// Which keys take part.
struct Place {
    id: u8,
    destination: u8,
    own: u8,
    peer: u8,
}

fn transfer(
    task: &mut Task,
    from: &mut Device,
    to: &mut Device,
    place: &Place,
    [own_key, peer_key]: [&xkek::pka::AttestedKey; 2],
) -> Result<()> {
    let nowhere = Path::new("exchange key");
    task.report.step("Both have a fresh exchange key.", "");
    let (_, kcv) = exchange_key::agree(from, place.own, peer_key, nowhere)?;
    let (_, other) = exchange_key::agree(to, place.peer, own_key, nowhere)?;
    task.report
        .value("kcv_from", "Key check value there", kcv.to_string());
    task.report
        .value("kcv_to", "Key check value here", other.to_string());
    if kcv != other {
        return Err(Error::Failed(format!(
            "{} and {} derived different keys: nothing was moved",
            from.name, to.name
        )));
    }
    task.report
        .step("Both have derived the same key encryption key.", "");
    let blob = from.ask(|hsm| hsm.wrap(place.id))?;
    to.ask(|hsm| hsm.unwrap(place.destination, &blob))?;
    let source = public(from, place.id)?;
    let arrived = public(to, place.destination)?;
    if let (Some(source), Some(arrived)) = (&source, &arrived) {
        if source != arrived {
            to.delete_key(place.destination)?;
            let text = "what arrived is another key; it is deleted again".to_owned();
            return Err(Error::Failed(text));
        }
        task.report
            .step("The public keys on both are the same.", "");
    }
    let description = first_element(from, kind::KEY_DESCRIPTION, place.id)?;
    if let Some(description) = description {
        let certificate = first_element(from, kind::CERTIFICATE, place.id)?;
        describe(to, place.destination, &description, certificate.as_deref())?;
    }
    let there = to.ask(|hsm| hsm.file(file_id(kind::KEY, place.destination)))?;
    if there.is_none() {
        return Err(to.wrong("the key is not there after unwrapping"));
    }
    Ok(())
}
