//! A CRL, and whether all of it is understood (RFC 5280 5.2 and 5.3): one that is not says nothing of any certificate.

use openssl::x509::X509Crl;

use crate::der::{BOOLEAN, OBJECT_IDENTIFIER, SEQUENCE, content_of, next};

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXTENSIONS: u8 = 0xa0;

/// Extensions by the last number of id-ce, 2.5.29.
const DELTA_CRL_INDICATOR: u8 = 27;
const ISSUING_DISTRIBUTION_POINT: u8 = 28;
const CERTIFICATE_ISSUER: u8 = 29;
/// They change nothing of what a list says: issuerAltName, cRLNumber, reasonCode, holdInstructionCode,
/// invalidityDate, authorityKeyIdentifier.
const HARMLESS: [u8; 6] = [18, 20, 21, 23, 24, 35];

/// Why a list is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotUnderstood {
    /// It lists what changed since another one.
    #[error("it is a delta CRL")]
    Delta,
    /// It is about some of the certificates only, or about those of other issuers, too.
    #[error("it has an issuingDistributionPoint")]
    Scope,
    /// An entry is about another issuer's certificate.
    #[error("it is an indirect CRL")]
    Indirect,
    /// Nobody here knows it.
    #[error("it has the critical extension {0}")]
    Critical(String),
    /// The library reads it, nobody else.
    #[error("it cannot be taken apart")]
    Malformed,
}

/// A list of which we know what it says, or why not.
pub(super) struct RevocationList {
    pub(super) list: X509Crl,
    pub(super) understood: Result<(), NotUnderstood>,
}

impl RevocationList {
    /// The first CRL in PEM.
    pub(super) fn from_pem(pem: &[u8]) -> Option<Self> {
        let list = X509Crl::from_pem(pem).ok()?;
        let understood = understood(&list.to_der().ok()?);
        Some(Self { list, understood })
    }
}

fn understood(der: &[u8]) -> Result<(), NotUnderstood> {
    let parts = || {
        let mut outer = content_of(&mut &*der, SEQUENCE)?;
        content_of(&mut outer, SEQUENCE)
    };
    let mut fields = parts().ok_or(NotUnderstood::Malformed)?;
    let mut is_after_time = false;
    while !fields.is_empty() {
        let (tag, whole) = next(&mut fields).ok_or(NotUnderstood::Malformed)?;
        match tag {
            UTC_TIME | GENERALIZED_TIME => is_after_time = true,
            SEQUENCE if is_after_time => entries(whole)?,
            EXTENSIONS => {
                let content = content_of(&mut &*whole, EXTENSIONS);
                extensions(content.ok_or(NotUnderstood::Malformed)?)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// revokedCertificates
fn entries(whole: &[u8]) -> Result<(), NotUnderstood> {
    let list = content_of(&mut &*whole, SEQUENCE);
    let mut list = list.ok_or(NotUnderstood::Malformed)?;
    while !list.is_empty() {
        let entry = content_of(&mut list, SEQUENCE);
        let mut entry = entry.ok_or(NotUnderstood::Malformed)?;
        // Serial number and date.
        let head = next(&mut entry).and_then(|_| next(&mut entry));
        head.ok_or(NotUnderstood::Malformed)?;
        if !entry.is_empty() {
            extensions(entry)?;
        }
    }
    Ok(())
}

fn extensions(whole: &[u8]) -> Result<(), NotUnderstood> {
    let list = content_of(&mut &*whole, SEQUENCE);
    let mut list = list.ok_or(NotUnderstood::Malformed)?;
    while !list.is_empty() {
        let extension = content_of(&mut list, SEQUENCE);
        let mut extension = extension.ok_or(NotUnderstood::Malformed)?;
        let kind = content_of(&mut extension, OBJECT_IDENTIFIER);
        let kind = kind.ok_or(NotUnderstood::Malformed)?;
        let critical = content_of(&mut &*extension, BOOLEAN);
        let is_critical = critical.is_some_and(|value| value != [0]);
        match *kind {
            // Whoever does not say that these are critical means the same by them.
            [0x55, 0x1d, DELTA_CRL_INDICATOR] => return Err(NotUnderstood::Delta),
            [0x55, 0x1d, ISSUING_DISTRIBUTION_POINT] => return Err(NotUnderstood::Scope),
            [0x55, 0x1d, CERTIFICATE_ISSUER] => return Err(NotUnderstood::Indirect),
            [0x55, 0x1d, last] if HARMLESS.contains(&last) => {}
            _ if is_critical => return Err(NotUnderstood::Critical(dotted(kind))),
            _ => {}
        }
    }
    Ok(())
}

/// An object identifier in digits, cut where it gets too long.
fn dotted(octets: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    for octet in octets.iter().take(32) {
        number = number.wrapping_shl(7) | u64::from(octet & 0x7f);
        if octet & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    let mut text = Vec::new();
    for (place, number) in numbers.into_iter().enumerate() {
        // The first two are one number (X.690 8.19.4).
        let first = (number / 40).min(2);
        if place == 0 {
            text.push(first.to_string());
        }
        let rest = if place == 0 {
            number.saturating_sub(first.saturating_mul(40))
        } else {
            number
        };
        text.push(rest.to_string());
    }
    text.join(".")
}
