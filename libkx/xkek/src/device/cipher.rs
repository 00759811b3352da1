//! SYMMETRIC CIPHER (xkek spec 5).

use kx_crypto::hkdf;

use super::usable_key::refused;
use super::{Answer, Device};
use crate::apdu::{Command, StatusWord};
use crate::crypto::{aes_cbc, aes_cmac};
use crate::key::Key as Material;

/// AES-CBC with a zero initialization vector.
const ENCRYPT: u8 = 0x10;
/// The reverse.
const DECRYPT: u8 = 0x11;
/// AES-CMAC.
const MAC: u8 = 0x18;
/// Derivation of another secret.
const DERIVE: u8 = 0x99;

impl Device {
    pub(super) fn symmetric_cipher(&mut self, command: &Command) -> Answer {
        let (id, algorithm, data) = (command.p1, command.p2, &command.data);
        let key = self.usable_key(id, algorithm)?;
        let Material::Aes(key) = &key.material else {
            return Err(StatusWord::CONDITIONS);
        };
        let key = key.as_slice();
        let whole_blocks = !data.is_empty() && data.len() % 16 == 0;
        let out = match algorithm {
            ENCRYPT | DECRYPT if !whole_blocks => return Err(StatusWord::LENGTH),
            ENCRYPT | DECRYPT => aes_cbc(key, algorithm == ENCRYPT, data)
                .map_err(refused)?
                .as_slice()
                .to_vec(),
            MAC => aes_cmac(key, data).map_err(refused)?.to_vec(),
            // What goes in is not published; as the imitation: HKDF with SHA-256, as many octets as came.
            DERIVE => {
                let secret = hkdf::extract(&[], &[key]);
                let mut out = vec![0; data.len()];
                hkdf::expand(&secret, &[data], &mut out).map_err(|_| StatusWord::LENGTH)?;
                out
            }
            _ => return Err(StatusWord::NOT_SUPPORTED),
        };
        self.count_use(id);
        Ok(out)
    }
}
