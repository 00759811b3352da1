//! SIGN (xkek spec 5).

use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::md::{Md, MdRef};
use openssl::pkey::{PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::{Padding, Rsa};
use openssl::sign::RsaPssSaltlen;

use super::usable_key::refused;
use super::{Answer, Device};
use crate::apdu::{Command, StatusWord};
use crate::key::{EcPrivate, Key as Material};

/// The hash that the low digit of an algorithm names; 0: the client hashed.
fn digest(algorithm: u8) -> Result<Option<MessageDigest>, StatusWord> {
    match algorithm & 0x0F {
        0 => Ok(None),
        1 => Ok(Some(MessageDigest::sha1())),
        2 => Ok(Some(MessageDigest::sha224())),
        3 => Ok(Some(MessageDigest::sha256())),
        4 => Ok(Some(MessageDigest::sha384())),
        5 => Ok(Some(MessageDigest::sha512())),
        _ => Err(StatusWord::NOT_SUPPORTED),
    }
}

/// The hash of this many octets, and how the library calls it.
fn by_length(octets: usize) -> Result<(&'static MdRef, i32), StatusWord> {
    match octets {
        20 => Ok((Md::sha1(), 20)),
        28 => Ok((Md::sha224(), 28)),
        32 => Ok((Md::sha256(), 32)),
        48 => Ok((Md::sha384(), 48)),
        64 => Ok((Md::sha512(), 64)),
        _ => Err(StatusWord::WRONG_DATA),
    }
}

/// The data, hashed if the algorithm says so.
fn hashed(algorithm: u8, data: &[u8]) -> Result<Vec<u8>, StatusWord> {
    match digest(algorithm)? {
        None => Ok(data.to_vec()),
        Some(digest) => hash(digest, data)
            .map(|hash| hash.to_vec())
            .map_err(refused),
    }
}

/// RSA with the padding done, or to be done by PKCS#1.
fn rsa_private(key: &Rsa<Private>, data: &[u8], padding: Padding) -> Answer {
    let size = usize::try_from(key.size()).map_err(|_| StatusWord::EXECUTION)?;
    if padding == Padding::NONE && data.len() != size {
        return Err(StatusWord::LENGTH);
    }
    let mut out = vec![0; size];
    let length = key
        .private_encrypt(data, &mut out, padding)
        .map_err(refused)?;
    out.truncate(length);
    Ok(out)
}

/// RSA PKCS#1 with the hash named in the signature.
fn rsa_pkcs1(key: &Rsa<Private>, algorithm: u8, data: &[u8]) -> Answer {
    if digest(algorithm)?.is_none() {
        return rsa_private(key, data, Padding::PKCS1);
    }
    let hash = hashed(algorithm, data)?;
    let (md, _) = by_length(hash.len())?;
    rsa_hash(key, &hash, |context| {
        context.set_rsa_padding(Padding::PKCS1)?;
        context.set_signature_md(md)
    })
}

fn rsa_pss(key: &Rsa<Private>, algorithm: u8, data: &[u8]) -> Answer {
    let hash = hashed(algorithm, data)?;
    let (md, length) = by_length(hash.len())?;
    rsa_hash(key, &hash, |context| {
        context.set_rsa_padding(Padding::PKCS1_PSS)?;
        context.set_signature_md(md)?;
        context.set_rsa_pss_saltlen(RsaPssSaltlen::custom(length))
    })
}

fn rsa_hash(
    key: &Rsa<Private>,
    hash: &[u8],
    prepare: impl FnOnce(&mut PkeyCtx<Private>) -> Result<(), ErrorStack>,
) -> Answer {
    let sign = || -> Result<Vec<u8>, ErrorStack> {
        let key = PKey::from_rsa(key.clone())?;
        let mut context = PkeyCtx::new(&key)?;
        context.sign_init()?;
        prepare(&mut context)?;
        let mut signature = Vec::new();
        context.sign_to_vec(hash, &mut signature)?;
        Ok(signature)
    };
    sign().map_err(refused)
}

/// ECDSA; clients take the DER form only.
fn ecdsa(key: &EcPrivate, algorithm: u8, data: &[u8]) -> Answer {
    let hash = hashed(algorithm, data)?;
    if hash.is_empty() {
        return Err(StatusWord::LENGTH);
    }
    EcdsaSig::sign(&hash, key.inner())
        .and_then(|signature| signature.to_der())
        .map_err(refused)
}

impl Device {
    pub(super) fn sign(&mut self, command: &Command) -> Answer {
        let (id, algorithm, data) = (command.p1, command.p2, &command.data);
        let key = self.usable_key(id, algorithm)?;
        let signature = match (&key.material, algorithm & 0xF0) {
            (Material::Rsa(key), _) if algorithm == 0x20 => {
                rsa_private(key.inner(), data, Padding::NONE)
            }
            (Material::Rsa(key), 0x30) => rsa_pkcs1(key.inner(), algorithm, data),
            (Material::Rsa(key), 0x40) => rsa_pss(key.inner(), algorithm, data),
            (Material::Ec(key), 0x70) => ecdsa(key, algorithm, data),
            (_, 0x20 | 0x30 | 0x40 | 0x70) => Err(StatusWord::CONDITIONS),
            _ => Err(StatusWord::NOT_SUPPORTED),
        }?;
        self.count_use(id);
        Ok(signature)
    }
}
