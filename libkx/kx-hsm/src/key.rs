//! `kx-hsm key`: made, listed, used, wrapped, unwrapped, deleted. Moving is in [`crate::move_key`].

use serde_json::json;
use xkek::blob::Blob;
use xkek::cvc::{GenerationRequest, KeyAttributes, Request};
use xkek::hsm::{file_id, kind};
use xkek::key::PublicKey;
use xkek::pkcs15::KeyDescription;
use xkek::wky::WrappedKey;
use xkek::{algorithm, tlv};

use crate::arguments::ArgumentError;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::key_type::{self, KeyType};
use crate::public_key::pem;
use crate::task::Task;

/// Makes a key.
///
/// # Errors
/// [`Error`].
pub fn generate(task: &mut Task) -> Result<()> {
    let text = task.arguments.needed("type")?;
    let wanted: KeyType = text.parse().map_err(|error| ArgumentError::Value {
        option: "type",
        value: text.clone(),
        why: format!("{error}"),
    })?;
    let domain = task.arguments.octet("domain")?;
    let attributes = KeyAttributes {
        use_counter: task.arguments.number("use-counter")?,
        algorithms: algorithms(task)?,
        domain,
        wrapping_keys: Vec::new(),
    };
    let id = task.arguments.octet("id")?;
    if task.dry(&format!("make a key {text}")) {
        return Ok(());
    }
    let mut device = task.logged_in()?;
    let id = device.free_key(id)?;
    let label = task
        .arguments
        .text("label")
        .unwrap_or_else(|| format!("key {id}"));
    match wanted {
        KeyType::Pair(spec) => {
            let made = pair(&mut device, id, spec, attributes)?;
            let public = made
                .public_key()
                .map_err(|error| device.wrong(&error.to_string()))?;
            describe(
                &mut device,
                id,
                &KeyDescription::of_pair(&public, &label, id).encode(),
                Some(made.encoded()),
            )?;
        }
        KeyType::Aes(octets) => {
            device.ask(|hsm| hsm.generate_aes_key(id, octets, &attributes))?;
            describe(
                &mut device,
                id,
                &KeyDescription::of_aes(octets, &label, id).encode(),
                None,
            )?;
        }
    }
    task.report.value("id", "Key reference", id);
    let place = domain
        .map(|domain| format!(" in key domain {domain}"))
        .unwrap_or_default();
    let done = format!("{} has a new key {id} ({text}){place}.", device.name);
    task.report.step(&done, "kx-hsm key list");
    Ok(())
}

/// Makes a key pair; the attested request for it.
///
/// # Errors
/// [`Error`].
pub fn pair(
    device: &mut Device,
    id: u8,
    key: xkek::cvc::KeySpec,
    attributes: KeyAttributes,
) -> Result<Request> {
    // The imitation looks for domain parameters in the certificate that the authority names, so it is the
    // holder (xkek spec 8). Two keys of one device have different names (spec 11).
    let name = device.ask(|hsm| hsm.key_name(id))?;
    let request = GenerationRequest {
        car: name.clone(),
        chr: name,
        key,
        outer_car: None,
        attributes,
    };
    device.ask(|hsm| hsm.generate_key_pair(id, &request))
}

/// Writes what makes a key visible.
///
/// # Errors
/// [`Error`].
pub fn describe(
    device: &mut Device,
    id: u8,
    description: &[u8],
    certificate: Option<&[u8]>,
) -> Result<()> {
    device.ask(|hsm| hsm.describe_key(id, description, certificate))
}

fn algorithms(task: &Task) -> Result<Vec<u8>> {
    let Some(list) = task.arguments.text("algorithms") else {
        return Ok(Vec::new());
    };
    let read = |word: &str| {
        let word = word.trim();
        let number = word.strip_prefix("0x").unwrap_or(word);
        algorithm::from_name(word)
            .or_else(|| u8::from_str_radix(number, 16).ok())
            .ok_or_else(|| ArgumentError::Value {
                option: "algorithms",
                value: word.to_owned(),
                why: "no such algorithm".to_owned(),
            })
    };
    Ok(list
        .split(',')
        .map(read)
        .collect::<std::result::Result<_, _>>()?)
}

/// What is known of a key from its certificate or request: its public part.
///
/// # Errors
/// [`Error`].
pub fn public(device: &mut Device, id: u8) -> Result<Option<PublicKey>> {
    let Some(content) = device.ask(|hsm| hsm.read(file_id(kind::CERTIFICATE, id)))? else {
        return Ok(None);
    };
    let Ok((element, _)) = tlv::read(&content) else {
        return Ok(None);
    };
    match element.tag {
        0x67 | 0x7f21 => {
            let request = Request::parse(element.encoded);
            Ok(request.ok().and_then(|request| request.public_key().ok()))
        }
        // X.509: whoever wrote it there knows.
        _ => Ok(None),
    }
}

/// Lists the keys.
///
/// # Errors
/// [`Error`].
pub fn list(task: &mut Task) -> Result<()> {
    let mut device = task.device()?;
    let mut keys = Vec::new();
    for id in device.keys()? {
        let described = device.ask(|hsm| hsm.read(file_id(kind::KEY_DESCRIPTION, id)))?;
        let label = described.as_deref().and_then(key_type::label);
        let public = public(&mut device, id)?;
        let what = match (&public, described.as_deref()) {
            (Some(public), _) => key_type::text(public),
            (None, Some([0xa8, ..])) => "AES".to_owned(),
            _ => "unknown".to_owned(),
        };
        let attributes = device
            .ask(|hsm| hsm.key_attributes(id))?
            .unwrap_or_default();
        let domain = attributes.domain;
        let names: Vec<String> = attributes
            .algorithms
            .iter()
            .map(|&code| algorithm::name(code).map_or(format!("{code:02X}"), str::to_owned))
            .collect();
        let shown = label
            .clone()
            .unwrap_or_else(|| "(no description)".to_owned());
        let place = domain.map_or("-".to_owned(), |domain| domain.to_string());
        let uses = if names.is_empty() {
            "all".to_owned()
        } else {
            names.join(",")
        };
        task.report.line(&format!(
            "{id:3}  {what:<20} domain {place:<3} {shown}  [{uses}]"
        ));
        keys.push(json!({
            "id": id, "label": label, "type": what, "domain": domain,
            "algorithms": names, "use_counter": attributes.use_counter
        }));
    }
    if keys.is_empty() {
        task.report.line("No keys.");
    }
    task.report.value("keys", "", keys);
    Ok(())
}

/// Wraps a key into a file.
///
/// # Errors
/// [`Error`].
pub fn wrap(task: &mut Task) -> Result<()> {
    let (id, out) = (task.octet("id")?, task.output()?);
    if task.dry(&format!("wrap key {id} into {}", out.display())) {
        return Ok(());
    }
    let mut device = task.logged_in()?;
    let blob = device.ask(|hsm| hsm.wrap(id))?;
    let file = WrappedKey {
        blob,
        description: first_element(&mut device, kind::KEY_DESCRIPTION, id)?,
        certificate: first_element(&mut device, kind::CERTIFICATE, id)?,
    };
    task.write(&out, &file.encode())?;
    let done = format!(
        "Key {id} of {} is wrapped in {}.",
        device.name,
        out.display()
    );
    task.report.step(
        &done,
        "kx-hsm file show FILE names the key check value it needs",
    );
    Ok(())
}

/// The first element of a file of a key; what follows is no matter.
///
/// # Errors
/// [`Error`].
pub fn first_element(device: &mut Device, kind: u8, id: u8) -> Result<Option<Vec<u8>>> {
    let content = device
        .ask(|hsm| hsm.read(file_id(kind, id)))?
        .unwrap_or_default();
    let first = tlv::read(&content).map(|(element, _)| element.encoded.to_vec());
    Ok(first.ok())
}

/// Unwraps a file into a key.
///
/// # Errors
/// [`Error`].
pub fn unwrap(task: &mut Task) -> Result<()> {
    let file = task.file()?;
    let content = task.read(&file)?;
    let parts = WrappedKey::parse(&content).map_err(|error| Error::file(&file, error))?;
    let blob = Blob::parse(&parts.blob).map_err(|error| Error::file(&file, error))?;
    let id = task.arguments.octet("id")?;
    let mut device = task.device()?;
    let domains = device.ask(|hsm| hsm.domains())?;
    let place = domains
        .iter()
        .position(|state| state.kcv() == Some(blob.kcv));
    let Some(place) = place else {
        return Err(device.wrong(&format!(
            "no key domain has the key check value {} that {} needs",
            blob.kcv,
            file.display()
        )));
    };
    if task.dry(&format!(
        "unwrap {} into key domain {place}",
        file.display()
    )) {
        return Ok(());
    }
    let replaced = match id {
        Some(id) if task.arguments.has("force") && device.keys()?.contains(&id) => {
            task.confirm(&format!("Key {id} of {} will be replaced.", device.name))?;
            true
        }
        _ => false,
    };
    device.login(&task.arguments.secret("pin")?)?;
    let id = match id {
        Some(id) if replaced => {
            device.delete_key(id)?;
            id
        }
        id => device.free_key(id)?,
    };
    device.ask(|hsm| hsm.unwrap(id, &parts.blob))?;
    if let Some(description) = &parts.description {
        describe(&mut device, id, description, parts.certificate.as_deref())?;
    }
    task.report.value("id", "Key reference", id);
    let done = format!("{} has key {id} in key domain {place}.", device.name);
    task.report.step(&done, "kx-hsm key list");
    Ok(())
}

/// Deletes a key.
///
/// # Errors
/// [`Error`].
pub fn delete(task: &mut Task) -> Result<()> {
    let id = task.octet("id")?;
    if task.dry(&format!("delete key {id}")) {
        return Ok(());
    }
    let mut device = task.device()?;
    task.confirm(&format!("Key {id} of {} will be deleted.", device.name))?;
    device.login(&task.arguments.secret("pin")?)?;
    if !device.delete_key(id)? {
        return Err(device.wrong(&format!("there is no key {id}")));
    }
    let done = format!("Key {id} of {} is deleted.", device.name);
    task.report.step(&done, "kx-hsm key list");
    Ok(())
}

/// Writes the public part of a key.
///
/// # Errors
/// [`Error`].
pub fn export_public(task: &mut Task) -> Result<()> {
    let (id, out) = (task.octet("id")?, task.output()?);
    let mut device = task.device()?;
    let key = public(&mut device, id)?;
    let key = key.ok_or_else(|| device.wrong(&format!("no public part of key {id} is there")))?;
    let text = pem(&key).map_err(|error| Error::Failed(error.to_string()))?;
    task.write(&out, &text)?;
    let done = format!("The public part of key {id} is in {}.", out.display());
    task.report
        .step(&done, "openssl pkey -pubin -in FILE -text -noout");
    Ok(())
}

/// Signs a file: ECDSA or RSA PKCS#1 v1.5, with SHA-256.
///
/// # Errors
/// [`Error`].
pub fn sign(task: &mut Task) -> Result<()> {
    let (id, file, out) = (task.octet("id")?, task.file()?, task.output()?);
    let data = task.read(&file)?;
    if task.dry(&format!("sign {} with key {id}", file.display())) {
        return Ok(());
    }
    let mut device = task.logged_in()?;
    let digest = xkek::crypto::sha256(&[&data]);
    let signature = match public(&mut device, id)? {
        Some(PublicKey::Rsa(_)) => {
            // DigestInfo for SHA-256 (PKCS#1).
            let mut info = vec![
                0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
                0x01, 0x05, 0x00, 0x04, 0x20,
            ];
            info.extend_from_slice(&digest);
            device.ask(|hsm| hsm.sign(id, algorithm::RSA_V15, &info))?
        }
        _ => device.ask(|hsm| hsm.sign(id, algorithm::ECDSA, &digest))?,
    };
    task.write(&out, &signature)?;
    let done = format!(
        "The signature of {} is in {}.",
        file.display(),
        out.display()
    );
    let check = "openssl dgst -sha256 -verify PUBLIC -signature SIGNATURE FILE";
    task.report.step(&done, check);
    Ok(())
}
