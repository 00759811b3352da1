//! Key files: our private keys, and the raw public keys of peers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ike::credentials::{CredentialError, Signer, Verifier};
use isakmp_proto::identity::Identity;
use kx_crypto::rsa_block_type_1::{SigningKey, VerifyingKey};
use kx_secret::SecretBytes;
use openssl::pkey::{PKey, Public};

use super::Settings;
use crate::files::{Files, MAX_FILE, secret_of};
use crate::log::system_text;

/// A private key of RSA.
pub(super) struct RsaSigner(SigningKey);

impl Signer for RsaSigner {
    fn signature_len(&self) -> usize {
        self.0.modulus_len()
    }

    fn sign(&self, hash: &[u8]) -> Result<Vec<u8>, CredentialError> {
        let failed = |_| "rsa_sig_encode_hash: RSA_private_encrypt () failed";
        self.0
            .sign(hash)
            .map_err(failed)
            .map_err(|text| CredentialError(text.to_owned()))
    }
}

/// Private keys that were read before. The file is read for each negotiation, so that a new one counts at once, but
/// what does not change is not decoded again: that costs half as much as a signature.
#[derive(Default)]
pub(super) struct KnownSigners(RefCell<HashMap<PathBuf, (SecretBytes, Arc<RsaSigner>)>>);

impl KnownSigners {
    /// More than anybody has identities.
    const MOST: usize = 256;

    fn get<E>(
        &self,
        path: &Path,
        content: SecretBytes,
        decode: impl FnOnce(&[u8]) -> Result<RsaSigner, E>,
    ) -> Result<Arc<RsaSigner>, E> {
        let mut known = self.0.borrow_mut();
        if let Some((before, signer)) = known.get(path) {
            if before.ct_eq(content.as_slice()) {
                return Ok(Arc::clone(signer));
            }
        }
        let signer = Arc::new(decode(content.as_slice())?);
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(path.to_owned(), (content, Arc::clone(&signer)));
        Ok(signer)
    }
}

/// A public key of RSA, and the name a policy has for it.
pub(super) struct RsaVerifier {
    key: VerifyingKey,
    principal: String,
}

impl RsaVerifier {
    pub(super) fn from_public_key(key: &PKey<Public>) -> Option<Self> {
        let rsa = key.rsa().ok()?;
        Self::from_numbers(&rsa.n().to_vec(), &rsa.e().to_vec())
    }

    pub(super) fn from_numbers(n: &[u8], e: &[u8]) -> Option<Self> {
        let key = VerifyingKey::from_numbers(n, e).ok()?;
        let named = keynote::RsaKey {
            n: n.to_vec(),
            e: e.to_vec(),
        };
        Some(Self {
            key,
            principal: named.text(keynote::Encoding::Hex),
        })
    }

    /// PEM, SubjectPublicKeyInfo or PKCS #1.
    pub(super) fn from_pem(pem: &[u8]) -> Option<Self> {
        use openssl::rsa::Rsa;
        let rsa = Rsa::public_key_from_pem(pem).or_else(|_| Rsa::public_key_from_pem_pkcs1(pem));
        let rsa = rsa.ok()?;
        Self::from_numbers(&rsa.n().to_vec(), &rsa.e().to_vec())
    }

    /// `rsa-hex:` and the key.
    pub(super) fn principal(&self) -> String {
        self.principal.clone()
    }
}

impl Verifier for RsaVerifier {
    fn signature_len(&self) -> usize {
        self.key.modulus_len()
    }

    fn verify(&self, hash: &[u8], signature: &[u8]) -> bool {
        self.key.verify(hash, signature)
    }
}

/// All of a file that is not secret; `None` if it cannot be read or is too long.
pub(super) fn content(file: File) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    file.take(MAX_FILE.saturating_add(1))
        .read_to_end(&mut content)
        .ok()?;
    (content.len() as u64 <= MAX_FILE).then_some(content)
}

/// Octets of the longest name in a directory (NAME_MAX).
const MOST_NAME: usize = 255;

/// The name of files about an identity: address, domain name or user@domain, as it is. Peers say who they are,
/// so a name that could lead elsewhere, or that no file can have, is none.
pub(super) fn file_name(identity: &Identity) -> Option<String> {
    let name = match identity {
        Identity::Address(address) => address.to_string(),
        Identity::Fqdn(name) | Identity::UserFqdn(name) => String::from_utf8(name.clone()).ok()?,
        _ => return None,
    };
    let plain = (1..=MOST_NAME).contains(&name.len())
        && !name.contains(['/', '\0'])
        && name != "."
        && name != "..";
    plain.then_some(name)
}

/// Where the raw public key of a peer would be.
pub(super) fn raw_key_path(directory: &Path, peer: &Identity) -> Option<PathBuf> {
    let name = file_name(peer)?;
    let kind = match peer {
        Identity::Address(address) if address.is_ipv4() => "ipv4",
        Identity::Address(_) => "ipv6",
        Identity::Fqdn(_) => "fqdn",
        _ => "ufqdn",
    };
    Some(directory.join(kind).join(name))
}

/// Why a raw public key cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RawKeyError {
    #[error("get_raw_key_from_file: monitor_fopen (\"{}\", \"r\") failed: {}", .0.display(), system_text(.1))]
    Open(PathBuf, io::Error),
    #[error("get_raw_key_from_file: failed to get public key {}", .0.display())]
    Key(PathBuf),
}

/// Files that are asked for with one question, since it goes to another process, and used one after the other.
#[derive(Default)]
pub(super) struct Asked(Vec<(Vec<PathBuf>, Opened)>);

/// The place of a file among several, and the file.
type Opened = (usize, io::Result<File>);

impl Asked {
    /// Asks for the first of each of these that is there.
    pub(super) fn of(files: &dyn Files, choices: Vec<Vec<PathBuf>>) -> Self {
        let opened = files.open_each(&choices);
        Self(choices.into_iter().zip(opened).collect())
    }

    /// The first of these that is there. What was not asked for is now.
    fn open_first(&mut self, files: &dyn Files, paths: &[PathBuf]) -> Opened {
        match self.0.iter().position(|(asked, _)| asked == paths) {
            Some(place) => self.0.swap_remove(place).1,
            None => files.open_first(paths),
        }
    }

    /// A file that is alone.
    pub(super) fn open(&mut self, files: &dyn Files, path: &Path) -> io::Result<File> {
        self.open_first(files, &[path.to_owned()]).1
    }
}

/// The key in a file; `None` if there is no such file.
pub(super) fn read_raw_key(
    opened: io::Result<File>,
    path: &Path,
) -> Result<Option<RsaVerifier>, RawKeyError> {
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RawKeyError::Open(path.to_owned(), error)),
    };
    let key = content(file).and_then(|pem| RsaVerifier::from_pem(&pem));
    key.map(Some)
        .ok_or_else(|| RawKeyError::Key(path.to_owned()))
}

/// Where our private key may be: `keynote/ID/private_key`, `private/ID`, `private/local.key`.
pub(super) fn private_key_paths(settings: &Settings, own: &Identity) -> Option<Vec<PathBuf>> {
    let name = file_name(own)?;
    let of_keynote = settings.credential_directory.as_ref();
    let of_keynote = of_keynote.map(|directory| directory.join(&name).join("private_key"));
    let own_key = settings.private_key_directory.join(&name);
    let paths = of_keynote.iter().chain([&own_key, &settings.private_key]);
    Some(paths.cloned().collect())
}

/// Our private key: the first that is there.
///
/// # Errors
/// The lines of the log that say why there is none.
pub(super) fn find_private_key(
    files: &dyn Files,
    settings: &Settings,
    known: &KnownSigners,
    own: &Identity,
    asked: &mut Asked,
) -> Result<Arc<RsaSigner>, Vec<String>> {
    // The original has no private key for other identities, not even the default one.
    let paths = private_key_paths(settings, own).ok_or_else(Vec::new)?;
    let of_keynote = settings.credential_directory.as_ref().and(paths.first());
    let mut lines = Vec::new();
    let mut rest = paths.as_slice();
    while !rest.is_empty() {
        let (place, opened) = asked.open_first(files, rest);
        let Some((path, others)) = rest.get(place..).and_then(<[PathBuf]>::split_first) else {
            return Err(lines);
        };
        rest = others;
        let is_keynote = of_keynote == Some(path);
        match opened.map(|file| secret_of(file, path)) {
            Ok(Ok(text)) if is_keynote => {
                let decoded = known.get(path, text, |text| keynote_key(text, path));
                return decoded.map_err(|line| vec![line]);
            }
            Ok(Ok(pem)) => {
                let decoded = known.get(path, pem, |pem| SigningKey::from_pem(pem).map(RsaSigner));
                return decoded.map_err(|_| {
                    lines.push("ike_auth_get_key: PEM_read_bio_RSAPrivateKey failed".to_owned());
                    lines
                });
            }
            Ok(Err(error)) => {
                lines.push(error.to_string());
                return Err(lines);
            }
            // A key of our own that is not there is no news; the default one is the last.
            Err(error) if error.kind() == ErrorKind::NotFound && !others.is_empty() => {}
            Err(_) if is_keynote => {}
            Err(_) => lines.push(format!(
                "ike_auth_get_key: failed opening \"{}\"",
                path.display()
            )),
        }
    }
    Err(lines)
}

fn keynote_key(text: &[u8], path: &Path) -> Result<RsaSigner, String> {
    use keynote::signature::SigningKey as Key;
    let path = path.display();
    match Key::parse(text) {
        Ok(Key::Rsa(rsa)) => rsa
            .private_key_to_pem()
            .ok()
            .map(zeroize::Zeroizing::new)
            .and_then(|pem| SigningKey::from_pem(&pem).ok())
            .map(RsaSigner)
            .ok_or_else(|| format!("ike_auth_get_key: failed decoding key in \"{path}\"")),
        Ok(_) => Err(format!(
            "ike_auth_get_key: wrong algorithm type in \"{path}\""
        )),
        Err(_) => Err(format!(
            "ike_auth_get_key: failed decoding key in \"{path}\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_elsewhere() {
        let fqdn = |name: &str| Identity::Fqdn(name.as_bytes().to_vec());
        for bad in [
            "",
            ".",
            "..",
            "../private/local.key",
            "a/b",
            "/etc/passwd",
            "a\0b",
        ] {
            assert_eq!(file_name(&fqdn(bad)), None, "{bad}");
        }
        assert_eq!(file_name(&Identity::Fqdn(vec![0xff])), None);
        assert_eq!(file_name(&fqdn(&"a".repeat(256))), None);
        assert!(file_name(&fqdn(&"a".repeat(255))).is_some());
        assert_eq!(file_name(&Identity::KeyId(b"x".to_vec())), None);
        assert_eq!(file_name(&fqdn("..a")).as_deref(), Some("..a"));
    }

    #[test]
    fn raw_keys_by_kind() {
        let path = |identity: &Identity| raw_key_path(Path::new("/p"), identity).unwrap();
        let address = |text: &str| Identity::Address(text.parse().unwrap());
        assert_eq!(path(&address("10.0.0.1")), Path::new("/p/ipv4/10.0.0.1"));
        assert_eq!(path(&address("fd00:0:0::1")), Path::new("/p/ipv6/fd00::1"));
        assert_eq!(
            path(&Identity::Fqdn(b"a.b".to_vec())),
            Path::new("/p/fqdn/a.b")
        );
        assert_eq!(
            path(&Identity::UserFqdn(b"u@a".to_vec())),
            Path::new("/p/ufqdn/u@a")
        );
    }
}
