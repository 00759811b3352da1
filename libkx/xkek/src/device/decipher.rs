//! DECIPHER and key agreement (xkek spec 5).

use openssl::encrypt::Decrypter;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};

use super::usable_key::refused;
use super::{Answer, Device};
use crate::apdu::{Command, StatusWord};
use crate::key::{EcPrivate, EcPublic, Key as Material};

/// Agreement on a key-encryption key.
pub(super) const AGREE_KEK: u8 = 0x84;

fn rsa(key: &Rsa<Private>, algorithm: u8, data: &[u8]) -> Answer {
    if usize::try_from(key.size()) != Ok(data.len()) {
        return Err(StatusWord::LENGTH);
    }
    let open = || -> Result<Vec<u8>, ErrorStack> {
        let key = PKey::from_rsa(key.clone())?;
        let mut decrypter = Decrypter::new(&key)?;
        match algorithm {
            0x21 => decrypter.set_rsa_padding(Padding::NONE)?,
            0x22 => decrypter.set_rsa_padding(Padding::PKCS1)?,
            _ => {
                decrypter.set_rsa_padding(Padding::PKCS1_OAEP)?;
                decrypter.set_rsa_oaep_md(MessageDigest::sha256())?;
                decrypter.set_rsa_mgf1_md(MessageDigest::sha256())?;
            }
        }
        let mut text = vec![0; decrypter.decrypt_len(data)?];
        let length = decrypter.decrypt(data, &mut text)?;
        text.truncate(length);
        Ok(text)
    };
    open().map_err(refused)
}

/// The agreed point, uncompressed.
fn agree(key: &EcPrivate, point: &[u8]) -> Answer {
    let wrong = |_| StatusWord::WRONG_DATA;
    let peer = EcPublic::from_point(key.curve(), point).map_err(wrong)?;
    let shared = key.agree(&peer).map_err(wrong)?;
    Ok([&[4], shared.as_slice()].concat())
}

impl Device {
    pub(super) fn decipher(&mut self, command: &Command) -> Answer {
        let (id, algorithm, data) = (command.p1, command.p2, &command.data);
        if algorithm == AGREE_KEK {
            return self.agree_on_kek(id, data);
        }
        let key = self.usable_key(id, algorithm)?;
        let out = match (&key.material, algorithm) {
            (Material::Rsa(key), 0x21..=0x23) => rsa(key.inner(), algorithm, data),
            (Material::Ec(key), 0x80) => agree(key, data),
            (_, 0x21..=0x23 | 0x80) => Err(StatusWord::CONDITIONS),
            _ => Err(StatusWord::NOT_SUPPORTED),
        }?;
        self.count_use(id);
        Ok(out)
    }
}
