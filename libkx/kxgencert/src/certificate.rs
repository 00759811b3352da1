//! The certificate's octets (RFC 5280 section 4.1, kxd spec 9).
//!
//! They are put together here and not by OpenSSL's certificate builder, which refuses what the original makes by
//! default: an organization that is the empty string.

use std::net::IpAddr;

use chrono::{DateTime, Datelike};

use crate::der::{self, element};
use crate::{GenerateError, Hosts};

const SHA256_WITH_RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const ORGANIZATION: [u8; 3] = [0x55, 4, 10];
const KEY_USAGE: [u8; 3] = [0x55, 29, 15];
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 29, 17];
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 29, 19];
const EXT_KEY_USAGE: [u8; 3] = [0x55, 29, 37];
const SERVER_AUTH: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 3, 1];

/// The parts of a certificate that are the same whatever its key.
pub(crate) struct Template {
    name: Vec<u8>,
    validity: Vec<u8>,
    extensions: Vec<u8>,
}

impl Template {
    /// `not_before` and `not_after` are Unix seconds.
    pub(crate) fn new(
        organization: &[u8],
        hosts: &Hosts,
        not_before: i64,
        not_after: i64,
    ) -> Result<Self, GenerateError> {
        let not_before = time(not_before)?;
        let not_after = time(not_after)?;
        Ok(Self {
            name: name(organization)?,
            extensions: extensions(hosts)?,
            validity: element(der::SEQUENCE, &[&not_before, &not_after]),
        })
    }

    /// The part to be signed. `public_key` is a SubjectPublicKeyInfo.
    pub(crate) fn to_be_signed(&self, serial: u64, public_key: &[u8]) -> Vec<u8> {
        let version = element(der::context_constructed(0), &[&der::unsigned(2)]);
        element(
            der::SEQUENCE,
            &[
                &version,
                &der::unsigned(serial),
                &signature_algorithm(),
                &self.name,
                &self.validity,
                &self.name,
                public_key,
                &self.extensions,
            ],
        )
    }
}

/// The certificate from its signed part and the signature.
pub(crate) fn signed(to_be_signed: &[u8], signature: &[u8]) -> Vec<u8> {
    let signature = element(der::BIT_STRING, &[&[0], signature]);
    element(
        der::SEQUENCE,
        &[to_be_signed, &signature_algorithm(), &signature],
    )
}

fn signature_algorithm() -> Vec<u8> {
    let identifier = element(der::OBJECT_IDENTIFIER, &[&SHA256_WITH_RSA]);
    element(der::SEQUENCE, &[&identifier, &element(der::NULL, &[])])
}

/// One attribute, present even if empty.
fn name(organization: &[u8]) -> Result<Vec<u8>, GenerateError> {
    let tag = if organization.iter().all(|&octet| is_printable_string(octet)) {
        der::PRINTABLE_STRING
    } else if std::str::from_utf8(organization).is_ok() {
        der::UTF8_STRING
    } else {
        return Err(GenerateError::Organization);
    };
    let identifier = element(der::OBJECT_IDENTIFIER, &[&ORGANIZATION]);
    let value = element(tag, &[organization]);
    let attribute = element(der::SEQUENCE, &[&identifier, &value]);
    let relative = element(der::SET, &[&attribute]);
    Ok(element(der::SEQUENCE, &[&relative]))
}

fn is_printable_string(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&octet)
}

/// UTCTime for the years 1950 to 2049, GeneralizedTime for others (RFC 5280 section 4.1.2.5).
fn time(unix: i64) -> Result<Vec<u8>, GenerateError> {
    let time = DateTime::from_timestamp(unix, 0).ok_or(GenerateError::Time)?;
    let (tag, format) = match time.year() {
        1950..2050 => (der::UTC_TIME, "%y%m%d%H%M%SZ"),
        0..10_000 => (der::GENERALIZED_TIME, "%Y%m%d%H%M%SZ"),
        _ => return Err(GenerateError::Time),
    };
    Ok(element(tag, &[time.format(format).to_string().as_bytes()]))
}

fn extensions(hosts: &Hosts) -> Result<Vec<u8>, GenerateError> {
    // digitalSignature, keyEncipherment, keyCertSign; the two last bits are unused.
    let key_usage = element(der::BIT_STRING, &[&[2, 0b1010_0100]]);
    let server_auth = element(der::OBJECT_IDENTIFIER, &[&SERVER_AUTH]);
    let list = [
        extension(&KEY_USAGE, true, &key_usage),
        extension(
            &EXT_KEY_USAGE,
            false,
            &element(der::SEQUENCE, &[&server_auth]),
        ),
        extension(&BASIC_CONSTRAINTS, true, &element(der::SEQUENCE, &[])),
        extension(&SUBJECT_ALT_NAME, false, &alternative_names(hosts)?),
    ];
    let list = element(der::SEQUENCE, &[&list.concat()]);
    Ok(element(der::context_constructed(3), &[&list]))
}

fn extension(identifier: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let identifier = element(der::OBJECT_IDENTIFIER, &[identifier]);
    let critical = if critical {
        element(der::BOOLEAN, &[&[0xff]])
    } else {
        Vec::new()
    };
    let value = element(der::OCTET_STRING, &[value]);
    element(der::SEQUENCE, &[&identifier, &critical, &value])
}

/// All DNS names, then all addresses.
fn alternative_names(hosts: &Hosts) -> Result<Vec<u8>, GenerateError> {
    let mut names = Vec::new();
    for name in &hosts.dns_names {
        if !name.is_ascii() {
            return Err(GenerateError::Host { name: name.clone() });
        }
        names.push(element(der::context(2), &[name]));
    }
    for address in &hosts.addresses {
        names.push(match address.to_canonical() {
            IpAddr::V4(address) => element(der::context(7), &[&address.octets()]),
            IpAddr::V6(address) => element(der::context(7), &[&address.octets()]),
        });
    }
    Ok(element(der::SEQUENCE, &[&names.concat()]))
}

#[cfg(test)]
mod tests {
    use super::{name, time};

    fn text(unix: i64) -> (u8, String) {
        let der = time(unix).unwrap();
        (der[0], String::from_utf8(der[2..].to_vec()).unwrap())
    }

    #[test]
    fn times() {
        for (unix, tag, shown) in [
            (0, 0x17, "700101000000Z"),
            (-631_152_000, 0x17, "500101000000Z"),
            (-631_152_001, 0x18, "19491231235959Z"),
            (2_524_607_999, 0x17, "491231235959Z"),
            (2_524_608_000, 0x18, "20500101000000Z"),
            (253_402_300_799, 0x18, "99991231235959Z"),
        ] {
            assert_eq!(text(unix), (tag, shown.to_owned()));
        }
        assert!(time(253_402_300_800).is_err());
        assert!(time(i64::MAX).is_err());
        assert!(time(i64::MIN).is_err());
    }

    #[test]
    fn string_types() {
        for (organization, tag) in [
            (&b""[..], 0x13),
            (b"Plain Org 1", 0x13),
            (b"A-b c'()+,./:=?", 0x13),
            (b"a*b", 0x0c),
            (b"a&b", 0x0c),
            (b"kxd@host", 0x0c),
            ("été".as_bytes(), 0x0c),
            (b"a\0", 0x0c),
        ] {
            let der = name(organization).unwrap();
            assert_eq!(
                der[..9],
                [0x30, der[1], 0x31, der[3], 0x30, der[5], 6, 3, 0x55]
            );
            assert_eq!(der[11], tag, "{organization:?}");
            assert_eq!(der[13..], *organization);
        }
        assert!(name(b"\xff").is_err());
    }
}
