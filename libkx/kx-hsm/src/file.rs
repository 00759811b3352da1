//! `kx-hsm file`: what a file is and whether it is sound, without a card.

use std::path::{Path, PathBuf};

use xkek::algorithm;
use xkek::blob::Blob;
use xkek::chain::Roots;
use xkek::cvc::{Certificate, Request};
use xkek::dkek::ShareFile;
use xkek::kdm::Membership;
use xkek::pka::{AttestedKey, Form};
use xkek::tlv;
use xkek::wky::WrappedKey;

use crate::arguments::ArgumentError;
use crate::error::{Error, Result};
use crate::key_type;
use crate::membership;
use crate::report::hex;
use crate::task::Task;
use crate::trust;

/// A file of a kind that is known.
enum Known {
    Share,
    Wrapped(WrappedKey),
    Membership(Box<Membership>),
    Attested(Box<AttestedKey>, Form),
    Request(Box<Request>),
    Certificates(Vec<Certificate>),
    Blob(Blob),
}

fn recognise(content: &[u8]) -> Option<Known> {
    if ShareFile::parse(content).is_ok() {
        return Some(Known::Share);
    }
    if let Ok(file) = Membership::parse(content) {
        return Some(Known::Membership(Box::new(file)));
    }
    if let Ok(file) = WrappedKey::parse(content) {
        return Some(Known::Wrapped(file));
    }
    if let Ok((key, form)) = AttestedKey::parse(content) {
        return Some(Known::Attested(Box::new(key), form));
    }
    if content.first() == Some(&0x67) {
        return Request::parse(content)
            .ok()
            .map(|it| Known::Request(Box::new(it)));
    }
    let list: Option<Vec<Certificate>> = tlv::elements(content)
        .map(|element| Certificate::parse(element.ok()?.encoded).ok())
        .collect();
    match list {
        Some(list) if !list.is_empty() => Some(Known::Certificates(list)),
        _ => Blob::parse(content).ok().map(Known::Blob),
    }
}

fn each(
    task: &mut Task,
    mut action: impl FnMut(&mut Task, &Path, &Known) -> Result<()>,
) -> Result<()> {
    let files: Vec<PathBuf> = task.files.clone();
    if files.is_empty() {
        return Err(ArgumentError::Operands("which file?".to_owned()).into());
    }
    for path in files {
        let content = task.read(&path)?;
        let known = recognise(&content);
        let known = known.ok_or_else(|| {
            Error::file(
                &path,
                "no DKEK share, wrapped key, membership, request or certificate",
            )
        })?;
        task.report.line(&format!("{}:", path.display()));
        show_one(task, &known);
        action(task, &path, &known)?;
    }
    Ok(())
}

/// Shows files.
///
/// # Errors
/// [`Error`].
pub fn show(task: &mut Task) -> Result<()> {
    each(task, |_, _, _| Ok(()))
}

fn show_one(task: &mut Task, known: &Known) {
    let report = &mut task.report;
    match known {
        Known::Share => report.value("kind", "Kind", "DKEK share, sealed by a password"),
        Known::Wrapped(file) => {
            report.value("kind", "Kind", "wrapped key");
            if let Ok(blob) = Blob::parse(&file.blob) {
                blob_lines(task, &blob);
            }
            let label = file.description.as_deref().and_then(key_type::label);
            if let Some(label) = label {
                task.report.value("label", "Label", label);
            }
            let certificate = if file.certificate.is_some() {
                "yes"
            } else {
                "no"
            };
            task.report.value("certificate", "Certificate", certificate);
        }
        Known::Blob(blob) => {
            report.value("kind", "Kind", "key blob");
            blob_lines(task, blob);
        }
        Known::Membership(file) => {
            report.value("kind", "Kind", "key domain membership (KDM)");
            membership::describe(task, file);
        }
        Known::Attested(key, form) => {
            let kind = match (form, key.request.body().key_domain_uid()) {
                (_, Some(_)) => "exchange key with its device's certificates",
                (Form::Sequence, None) => "public key with its device's certificates (PKA)",
                (Form::Plain, None) => "public key with its device's certificates",
            };
            report.value("kind", "Kind", kind);
            request_lines(task, &key.request);
            let device = key.device.body().chr.to_string();
            task.report.value("device", "Device", device);
            let issuer = key.issuer.body();
            let issuer = format!("{} under {}", issuer.chr, issuer.car);
            task.report.value("issuer", "Issued by", issuer);
        }
        Known::Request(request) => {
            report.value("kind", "Kind", "request");
            request_lines(task, request);
        }
        Known::Certificates(list) => {
            report.value("kind", "Kind", "certificate");
            for certificate in list {
                let body = certificate.body();
                let line = format!("{} signed by {}", body.chr, body.car);
                task.report.value("holder", "Certificate", line);
            }
        }
    }
}

fn blob_lines(task: &mut Task, blob: &Blob) {
    task.report.value("type", "Key", format!("{:?}", blob.kind));
    task.report
        .value("kcv", "Needs key check value", blob.kcv.to_string());
    let names: Vec<String> = blob
        .attributes
        .algorithms
        .iter()
        .map(|&code| algorithm::name(code).map_or(format!("{code:02X}"), str::to_owned))
        .collect();
    let names = if names.is_empty() {
        "all".to_owned()
    } else {
        names.join(",")
    };
    task.report.value("algorithms", "Algorithms", names);
}

fn request_lines(task: &mut Task, request: &Request) {
    task.report
        .value("holder", "Holder", request.body().chr.to_string());
    if let Ok(key) = request.public_key() {
        task.report.value("type", "Key", key_type::text(&key));
    }
    if let Some(outer) = request.outer() {
        task.report
            .value("attested_by", "Attested by", outer.car.to_string());
    }
    if let Some(uid) = request.body().key_domain_uid() {
        task.report.value("group", "Group", hex(uid));
    }
}

/// Verifies files: signatures, chain to a trusted root, form.
///
/// # Errors
/// [`Error`].
pub fn verify(task: &mut Task) -> Result<()> {
    let roots = trust::roots(task)?;
    each(task, |task, path, known| {
        let text = verify_one(&roots, known).map_err(|error| Error::file(path, error))?;
        task.report.step(&format!("  {text}"), "");
        Ok(())
    })
}

fn verify_one(roots: &Roots, known: &Known) -> std::result::Result<String, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    match known {
        Known::Share => Ok("Form is good. Only its password tells more.".to_owned()),
        Known::Wrapped(_) | Known::Blob(_) => {
            Ok("Form is good. Only the device with that key check value tells more.".to_owned())
        }
        Known::Membership(file) => {
            let (device, _) = file
                .verify_signer(roots, None)
                .map_err(|error| text(&error))?;
            Ok(format!(
                "The group signer is a key of {} under {}.",
                device.name, device.root
            ))
        }
        Known::Attested(key, _) => {
            let (device, _) = key.verify(roots, None).map_err(|error| text(&error))?;
            Ok(format!("A key of {} under {}.", device.name, device.root))
        }
        Known::Request(request) => {
            request.verify_inner().map_err(|error| text(&error))?;
            Ok(
                "The holder signed it. Who attests it cannot be checked without certificates."
                    .to_owned(),
            )
        }
        Known::Certificates(list) => match list.as_slice() {
            [device, issuer, ..] => {
                let chain = xkek::chain::verify_device(device, issuer, roots, None);
                let device = chain.map_err(|error| text(&error))?;
                Ok(format!(
                    "{} is a device under {}.",
                    device.name, device.root
                ))
            }
            [root] => {
                let key = root.public_key(None).map_err(|error| text(&error))?;
                root.verify(&key).map_err(|error| text(&error))?;
                Ok("It is signed with its own key.".to_owned())
            }
            [] => Err("nothing in it".to_owned()),
        },
    }
}
