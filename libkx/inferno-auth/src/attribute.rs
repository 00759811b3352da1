//! Keys and certificates as factotum has them (keysrv spec 1.4): `name=value` after `name=value`, the names of
//! secrets beginning with `!`.

use std::borrow::Cow;

use kx_crypto::secret::SecretBytes;

use crate::certificate::{Certificate, Hash};
use crate::key::{PrivateKey, PublicKey};
use crate::number;

/// A word as Inferno's shell and factotum read it: in quotes if it is empty or has blanks or quotes, each quote
/// inside doubled.
#[must_use]
pub fn quoted(word: &str) -> Cow<'_, str> {
    if word.is_empty() || word.contains(|c: char| c <= ' ' || c == '\'') {
        Cow::Owned(format!("'{}'", word.replace('\'', "''")))
    } else {
        Cow::Borrowed(word)
    }
}

/// `alg=rsa owner=name n=hex ek=hex`
#[must_use]
pub fn public_key(key: &PublicKey) -> String {
    let mut text = format!(
        "alg={} owner={}",
        key.algorithm().name(),
        quoted(key.owner())
    );
    for (name, value) in key.numbers().named() {
        push(&mut text, name, &number::hex_z(value));
    }
    text
}

/// As [`public_key`], with the secrets.
#[must_use]
pub fn private_key(key: &PrivateKey) -> SecretBytes {
    let mut text = SecretBytes::default();
    text.extend_from_slice(public_key(key.public()).as_bytes());
    for (name, value) in key.secrets() {
        text.push(b' ');
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        text.extend_from_slice(number::hex_z(value).as_slice());
    }
    text
}

/// `sigalg=rsa-sha1 signer=name expires=seconds val=hex`
#[must_use]
pub fn certificate(certificate: &Certificate) -> String {
    let mut text = format!(
        "sigalg={} signer={} expires={}",
        signature_algorithm(certificate),
        quoted(certificate.signer()),
        u32::from_ne_bytes(certificate.expiry().to_ne_bytes()),
    );
    for (name, value) in certificate.signature().named() {
        push(&mut text, name, &number::hex_z(value));
    }
    text
}

/// `rsa-sha1`
#[must_use]
pub fn signature_algorithm(certificate: &Certificate) -> String {
    let hash = match certificate.hash() {
        Hash::Sha => Hash::Sha1.name(),
        other => other.name(),
    };
    format!("{}-{hash}", certificate.signature().algorithm().name())
}

fn push(text: &mut String, name: &str, hex: &SecretBytes) {
    text.push(' ');
    text.push_str(name);
    text.push('=');
    text.push_str(&String::from_utf8_lossy(hex.as_slice()));
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn quotes() {
        for (word, wanted) in [
            ("alice", "alice"),
            ("", "''"),
            ("signer of rsa", "'signer of rsa'"),
            ("o'neill", "'o''neill'"),
            ("a=b", "a=b"),
            ("tab\there", "'tab\there'"),
        ] {
            assert_eq!(quoted(word), wanted);
        }
    }
}
