//! certpatch(8) (isakmpd 8): puts a subjectAltName into a certificate and signs it again.
//!
//! The certificate is taken apart and put together as DER, since everything but the extension, the version and
//! the signature stays as it was, octet for octet.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use kx_cli::getopt::{Found, Getopt};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::sign::Signer;
use openssl::x509::{X509, X509Ref};
use zeroize::Zeroizing;

use crate::der::{
    BIT_STRING, BOOLEAN, INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, content_of,
    element, next,
};

/// The synopsis.
pub const USAGE: &str = "usage: certpatch [-t ip|fqdn|ufqdn] -i identity -k signing-key \
                         input-certificate output-certificate\n";

/// Octets of an identity: its length must be one octet of DER, which is all that old daemons read.
const MAX_IDENTITY: usize = 127;

const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// id-ce-subjectAltName, 2.5.29.17.
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// What ends the program with status 1; the text goes to standard error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Options or operands that it does not have.
    #[error("{USAGE}")]
    Usage,
    /// The option that the C library complains about, and then the usage.
    #[error("{line}{USAGE}")]
    Option {
        /// The library's line.
        line: String,
    },
    /// No identity, or a type it does not know.
    #[error("wrong id type or missing id\n")]
    Identity,
    /// More than 127 octets, or not ASCII.
    #[error("identity is longer than 127 octets or not ASCII\n")]
    IdentityOctets,
    /// Not an address.
    #[error("inet_aton () failed\n")]
    Address,
    /// The input is not there or holds no certificate.
    #[error("PEM_read_bio_X509 () failed\n")]
    Certificate,
    /// The key is not there, or no private key.
    #[error("Can not read private key {0}\n")]
    Key(String),
    /// The digest of the old signature with this kind of key is nothing that can be made.
    #[error("the certificate cannot be signed\n")]
    Signature,
    /// The output cannot be written.
    #[error("{0}: {1}\n")]
    Output(String, String),
}

/// What the subject is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// iPAddress.
    Address(IpAddr),
    /// dNSName.
    Fqdn(String),
    /// rfc822Name.
    UserFqdn(String),
}

impl Name {
    /// By the words of the command line.
    ///
    /// # Errors
    /// [`Error::Identity`], [`Error::IdentityOctets`], [`Error::Address`].
    pub fn new(kind: &str, identity: &str) -> Result<Self, Error> {
        let plain = || match identity.len() {
            0 => Err(Error::Identity),
            1..=MAX_IDENTITY if identity.is_ascii() => Ok(identity.to_owned()),
            _ => Err(Error::IdentityOctets),
        };
        match kind.to_ascii_lowercase().as_str() {
            "ip" if !identity.is_empty() => identity
                .parse()
                .map(Name::Address)
                .map_err(|_| Error::Address),
            "fqdn" => plain().map(Name::Fqdn),
            "ufqdn" => plain().map(Name::UserFqdn),
            _ => Err(Error::Identity),
        }
    }

    /// The whole extension, critical, in DER.
    fn extension(&self) -> Vec<u8> {
        let name = match self {
            Name::UserFqdn(name) => element(0x81, name.as_bytes()),
            Name::Fqdn(name) => element(0x82, name.as_bytes()),
            Name::Address(IpAddr::V4(address)) => element(0x87, &address.octets()),
            Name::Address(IpAddr::V6(address)) => element(0x87, &address.octets()),
        };
        let names = element(SEQUENCE, &name);
        let parts = [
            element(OBJECT_IDENTIFIER, &SUBJECT_ALT_NAME),
            element(BOOLEAN, &[0xff]),
            element(OCTET_STRING, &names),
        ];
        element(SEQUENCE, &parts.concat())
    }
}

/// A certificate signed anew, and how long the signature is.
pub struct Patched {
    /// In PEM.
    pub pem: Vec<u8>,
    /// Octets of the signature.
    pub signature_len: usize,
}

/// The certificate with this name in place of any subjectAltName it has, version 3, signed with the digest of the
/// old signature.
///
/// # Errors
/// [`Error::Signature`]; [`Error::Certificate`] for one that the library reads but nobody else.
pub fn patch(certificate: &X509Ref, name: &Name, key: &PKey<Private>) -> Result<Patched, Error> {
    let old = certificate.signature_algorithm().object().nid();
    let digest = old
        .signature_algorithms()
        .map(|algorithms| algorithms.digest);
    let (digest, algorithm) = digest
        .and_then(|digest| algorithm(key.id(), digest))
        .ok_or(Error::Signature)?;
    let der = certificate.to_der().map_err(|_| Error::Certificate)?;
    let body = named(&der, name, &algorithm).ok_or(Error::Certificate)?;
    let sign = || {
        let mut signer = Signer::new(digest, key)?;
        signer.sign_oneshot_to_vec(&body)
    };
    let signature = sign().map_err(|_| Error::Signature)?;
    let bits = element(BIT_STRING, &[&[0], &signature[..]].concat());
    let signed = element(SEQUENCE, &[&body[..], &algorithm, &bits].concat());
    let pem = X509::from_der(&signed).and_then(|signed| signed.to_pem());
    Ok(Patched {
        pem: pem.map_err(|_| Error::Signature)?,
        signature_len: signature.len(),
    })
}

/// The library's digest and the AlgorithmIdentifier of a signature with such a key.
fn algorithm(key: Id, digest: Nid) -> Option<(MessageDigest, Vec<u8>)> {
    let pkcs1 = |last: u8| {
        let oid = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last];
        element(
            SEQUENCE,
            &[element(OBJECT_IDENTIFIER, &oid), NULL.to_vec()].concat(),
        )
    };
    let ecdsa = |rest: &[u8]| {
        let oid = [&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4], rest].concat();
        element(SEQUENCE, &element(OBJECT_IDENTIFIER, &oid))
    };
    let identifier = match (key, digest) {
        (Id::RSA, Nid::MD5) => pkcs1(4),
        (Id::RSA, Nid::SHA1) => pkcs1(5),
        (Id::RSA, Nid::SHA256) => pkcs1(11),
        (Id::RSA, Nid::SHA384) => pkcs1(12),
        (Id::RSA, Nid::SHA512) => pkcs1(13),
        (Id::RSA, Nid::SHA224) => pkcs1(14),
        (Id::EC, Nid::SHA1) => ecdsa(&[1]),
        (Id::EC, Nid::SHA224) => ecdsa(&[3, 1]),
        (Id::EC, Nid::SHA256) => ecdsa(&[3, 2]),
        (Id::EC, Nid::SHA384) => ecdsa(&[3, 3]),
        (Id::EC, Nid::SHA512) => ecdsa(&[3, 4]),
        _ => return None,
    };
    Some((MessageDigest::from_nid(digest)?, identifier))
}

/// The part of the certificate that is signed, changed.
fn named(certificate: &[u8], name: &Name, algorithm: &[u8]) -> Option<Vec<u8>> {
    let mut outer = content_of(&mut &certificate[..], SEQUENCE)?;
    let mut fields = content_of(&mut outer, SEQUENCE)?;
    let mut changed = element(VERSION, &element(INTEGER, &[2]));
    let mut place = 0;
    let mut extensions = Vec::new();
    while let Some((tag, whole)) = next(&mut fields) {
        match (tag, place) {
            (VERSION, _) => continue,
            (EXTENSIONS, _) => {
                let mut inside = content_of(&mut &whole[..], EXTENSIONS)?;
                let mut list = content_of(&mut inside, SEQUENCE)?;
                while let Some((_, extension)) = next(&mut list) {
                    let mut parts = content_of(&mut &extension[..], SEQUENCE)?;
                    if content_of(&mut parts, OBJECT_IDENTIFIER)? != SUBJECT_ALT_NAME {
                        extensions.extend(extension);
                    }
                }
                continue;
            }
            // Serial number, then the algorithm.
            (_, 1) => changed.extend(algorithm),
            _ => changed.extend(whole),
        }
        place += 1;
    }
    // Serial, algorithm, issuer, validity, subject, key.
    if place < 6 {
        return None;
    }
    extensions.extend(name.extension());
    changed.extend(element(EXTENSIONS, &element(SEQUENCE, &extensions)));
    Some(element(SEQUENCE, &changed))
}

/// The command line.
struct Arguments {
    name: Name,
    key: OsString,
    input: OsString,
    output: OsString,
}

fn arguments(
    argv0: &OsStr,
    words: impl Iterator<Item = OsString>,
    posix: bool,
) -> Result<Arguments, Error> {
    let (mut kind, mut identity, mut key) = ("ip".to_owned(), None, None);
    let mut getopt = Getopt::new("t:i:k:", words, posix);
    for found in getopt.by_ref() {
        let Found { letter, argument } = found.map_err(|error| Error::Option {
            line: String::from_utf8_lossy(&error.line(argv0)).into_owned(),
        })?;
        let argument = argument.unwrap_or_default();
        match letter {
            b't' => kind = argument.to_string_lossy().into_owned(),
            b'i' => identity = Some(argument),
            _ => key = Some(argument),
        }
    }
    let [input, output] =
        <[OsString; 2]>::try_from(getopt.into_operands()).map_err(|_| Error::Usage)?;
    let key = key.ok_or(Error::Usage)?;
    let identity = identity.ok_or(Error::Identity)?;
    let name = Name::new(&kind, &identity.to_string_lossy())?;
    Ok(Arguments {
        name,
        key,
        input,
        output,
    })
}

/// Runs the program. What it says goes to `out`, as it goes on. The original's exit status is 1 even when all
/// went well; ours is not.
///
/// # Errors
/// What ends it with status 1.
pub fn run(
    mut words: impl Iterator<Item = OsString>,
    posix: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let argv0 = words.next().unwrap_or_else(|| "certpatch".into());
    let Arguments {
        name,
        key,
        input,
        output,
    } = arguments(&argv0, words, posix)?;
    let (input_text, output_text) = (input.to_string_lossy(), output.to_string_lossy());
    let mut say = |text: String| {
        // Nobody reads it: no reason to leave the work half done.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    };
    say(format!(
        "Reading ssleay created certificate {input_text} and modify it\n"
    ));
    let certificate = std::fs::read(Path::new(&input)).map_err(|_| Error::Certificate)?;
    let certificate = X509::from_pem(&certificate).map_err(|_| Error::Certificate)?;
    let unreadable = || Error::Key(key.to_string_lossy().into_owned());
    let pem = Zeroizing::new(std::fs::read(Path::new(&key)).map_err(|_| unreadable())?);
    let key = PKey::private_key_from_pem(&pem).map_err(|_| unreadable())?;
    let kind = if key.id() == Id::RSA {
        "RSA"
    } else {
        "unknown"
    };
    let patched = patch(&certificate, &name, &key);
    let (size, verdict) = match &patched {
        Ok(patched) => (patched.signature_len, "OKAY "),
        Err(_) => (0, "FAILED "),
    };
    say(format!(
        "Creating Signature: PKEY_TYPE = {kind}: X509_sign: {size} {verdict}\n"
    ));
    let pem = patched?.pem;
    say(format!("Writing new certificate to {output_text}\n"));
    std::fs::write(Path::new(&output), pem)
        .map_err(|error| Error::Output(output_text.into_owned(), crate::log::system_text(&error)))
}

#[cfg(test)]
mod tests;
