//! Makes a self-signed RSA certificate for kxd or kxc and its key: the library under the `kxgencert` program
//! (kxd spec 9).
//!
//! ```no_run
//! use std::time::SystemTime;
//! use kxgencert::{Hosts, Request};
//!
//! let pair = kxgencert::generate(&Request {
//!     organization: b"Keys",
//!     hosts: Hosts::from_list(b"localhost,127.0.0.1"),
//!     now: SystemTime::now(),
//!     valid_for: 3600 * 1_000_000_000,
//! })?;
//! assert!(pair.certificate_pem().starts_with(b"-----BEGIN CERTIFICATE-----\n"));
//! # Ok::<(), kxgencert::GenerateError>(())
//! ```
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use kx_crypto::secret::SecretBytes;
use kx_log::goquote::quote;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::sign::Signer;

mod certificate;
mod der;
pub mod files;

use certificate::Template;

const KEY_BITS: u32 = 2048;

/// What a certificate is asked to say.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// O of issuer and subject, UTF-8, may be empty.
    pub organization: &'a [u8],
    /// The names it is for.
    pub hosts: Hosts,
    /// When it begins to be valid.
    pub now: SystemTime,
    /// How long it is valid from then, in nanoseconds; may be negative.
    pub valid_for: i64,
}

/// The names of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// ASCII, otherwise [`generate`] refuses them; may be wild cards.
    pub dns_names: Vec<Vec<u8>>,
    /// IPv4 addresses in IPv6 form count as IPv4.
    pub addresses: Vec<IpAddr>,
}

impl Hosts {
    /// Splits a list at its commas. What is an address in its whole is one, all else is a DNS name: blanks are kept
    /// and an empty list is one empty name.
    #[must_use]
    pub fn from_list(list: &[u8]) -> Self {
        let mut hosts = Self::default();
        for host in list.split(|&octet| octet == b',') {
            let text = std::str::from_utf8(host).unwrap_or_default();
            match text.parse() {
                Ok(address) => hosts.addresses.push(address),
                Err(_) => hosts.dns_names.push(host.to_vec()),
            }
        }
        hosts
    }
}

/// Why there is no certificate; the text is what kxgencert prints.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// No random number.
    #[error("Error generating serial number: {0}")]
    Serial(#[source] ErrorStack),
    /// No key.
    #[error("Error generating key: {0}")]
    Key(#[source] ErrorStack),
    /// The organization is not UTF-8.
    #[error("Failed to create certificate: asn1: string not valid UTF-8")]
    Organization,
    /// A DNS name is not ASCII.
    #[error(
        "Failed to create certificate: x509: {} cannot be encoded as an IA5String",
        quote(name)
    )]
    Host {
        /// The name.
        name: Vec<u8>,
    },
    /// It would begin or end outside of the years 0 to 9999.
    #[error(
        "Failed to create certificate: asn1: structure error: cannot represent time as GeneralizedTime"
    )]
    Time,
    /// The new key does not sign.
    #[error("Failed to create certificate: {0}")]
    Sign(#[source] ErrorStack),
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Pair {
    certificate_der: Vec<u8>,
    certificate_pem: Vec<u8>,
    key_pem: SecretBytes,
}

impl Pair {
    /// The certificate in DER.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate_der
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &[u8] {
        &self.certificate_pem
    }

    /// The private key in PEM (PKCS#1, `RSA PRIVATE KEY`).
    #[must_use]
    pub fn key_pem(&self) -> &SecretBytes {
        &self.key_pem
    }
}

/// Makes a key (RSA, 2048 bits, e = 65537) and a certificate for it, signed by itself.
///
/// # Errors
///
/// [`GenerateError`]; what is wrong with the request is found before the key is made.
pub fn generate(request: &Request<'_>) -> Result<Pair, GenerateError> {
    let not_before = unix_nanoseconds(request.now);
    let not_after = not_before
        .checked_add(request.valid_for.into())
        .ok_or(GenerateError::Time)?;
    let template = Template::new(
        request.organization,
        &request.hosts,
        seconds(not_before)?,
        seconds(not_after)?,
    )?;
    let serial = random_serial().map_err(GenerateError::Serial)?;
    let key = Rsa::generate(KEY_BITS).map_err(GenerateError::Key)?;
    let public_key = key.public_key_to_der().map_err(GenerateError::Key)?;
    let key_pem = key.private_key_to_pem().map_err(GenerateError::Key)?;
    let key_pem = SecretBytes::from(key_pem);

    let to_be_signed = template.to_be_signed(serial, &public_key);
    let sign = || {
        let key = PKey::from_rsa(key)?;
        Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(&to_be_signed)
    };
    let signature = sign().map_err(GenerateError::Sign)?;
    let certificate_der = certificate::signed(&to_be_signed, &signature);
    Ok(Pair {
        certificate_pem: pem("CERTIFICATE", &certificate_der),
        certificate_der,
        key_pem,
    })
}

/// 1 to 2^62 - 1.
fn random_serial() -> Result<u64, ErrorStack> {
    loop {
        let mut octets = [0; 8];
        openssl::rand::rand_bytes(&mut octets)?;
        let serial = u64::from_be_bytes(octets) >> 2;
        if serial != 0 {
            return Ok(serial);
        }
    }
}

/// Of public octets: the lines are not wiped.
fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = openssl::base64::encode_block(der);
    let mut pem = format!("-----BEGIN {label}-----\n").into_bytes();
    for line in text.as_bytes().chunks(64) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    pem
}

fn unix_nanoseconds(time: SystemTime) -> i128 {
    let magnitude =
        |duration: std::time::Duration| i128::try_from(duration.as_nanos()).unwrap_or(0);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => magnitude(after),
        Err(before) => -magnitude(before.duration()),
    }
}

fn seconds(nanoseconds: i128) -> Result<i64, GenerateError> {
    i64::try_from(nanoseconds.div_euclid(1_000_000_000)).map_err(|_| GenerateError::Time)
}

#[cfg(test)]
mod tests {
    use super::Hosts;

    /// What Go's `net.ParseIP` takes as an address, and what it does not.
    #[test]
    fn addresses_and_names() {
        for address in [
            "1.2.3.4",
            "::1",
            "::ffff:1.2.3.4",
            "2001:db8::1",
            "1:2:3:4:5:6:7::",
        ] {
            let hosts = Hosts::from_list(address.as_bytes());
            assert_eq!(
                hosts.addresses,
                [address.parse::<std::net::IpAddr>().unwrap()]
            );
            assert!(hosts.dns_names.is_empty());
        }
        for name in [
            "",
            " ",
            "01.2.3.4",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            " 1.2.3.4",
            "fe80::1%eth0",
            "[::1]",
            "1:2:3:4::5:6:7:8",
            "12345::",
            ":::",
            "*",
            "*.b.example",
            "é",
        ] {
            let hosts = Hosts::from_list(name.as_bytes());
            assert_eq!(hosts.dns_names, [name.as_bytes()]);
            assert!(hosts.addresses.is_empty());
        }
        let hosts = Hosts::from_list(b"a,,::1, b,\xff,1.2.3.4");
        assert_eq!(hosts.dns_names, [&b"a"[..], b"", b" b", b"\xff"]);
        assert_eq!(hosts.addresses.len(), 2);
    }
}
