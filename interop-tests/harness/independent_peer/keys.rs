//! Key exchange, key schedule and records of the legacy dialect ("tcpcrypt spec 4.2-4.5").

use openssl::bn::BigNumContext;
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use openssl::symm;

use crate::lab::wire_checks::{INIT1, INIT2};

/// TEP of ECDHE with P-256.
pub const P256: u8 = 0x21;
/// TEP of ECDHE with P-521.
pub const P521: u8 = 0x22;
/// AES-128-GCM
pub const AES128: u8 = 1;
/// AES-256-GCM
pub const AES256: u8 = 2;
/// Bit of a TEP byte that means resumption.
pub const RESUMED: u8 = 0x80;

/// HMAC-SHA256.
pub fn hmac(key: &[u8], data: &[&[u8]]) -> Vec<u8> {
    let key = PKey::hmac(key).expect("an HMAC key");
    let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("HMAC");
    for part in data {
        signer.update(part).expect("HMAC");
    }
    signer.sign_to_vec().expect("HMAC")
}

fn derive(key: &[u8], constant: u8) -> Vec<u8> {
    hmac(key, &[&[constant, 1]])
}

/// An ephemeral key pair.
#[derive(Debug)]
pub struct KeyPair {
    key: EcKey<Private>,
}

fn group(tep: u8) -> EcGroup {
    let nid = match tep & !RESUMED {
        P256 => Nid::X9_62_PRIME256V1,
        P521 => Nid::SECP521R1,
        other => panic!("no curve for TEP {other:#x}"),
    };
    EcGroup::from_curve_name(nid).expect("the curve")
}

impl KeyPair {
    /// A new one on the curve of a TEP.
    pub fn new(tep: u8) -> KeyPair {
        let key = EcKey::generate(&group(tep)).expect("a key pair");
        KeyPair { key }
    }

    /// The public key as INIT carries it: its length, itself included, and the point.
    pub fn field(&self) -> Vec<u8> {
        let mut context = BigNumContext::new().expect("numbers");
        let form = PointConversionForm::UNCOMPRESSED;
        let point = self.key.public_key();
        let point = point.to_bytes(self.key.group(), form, &mut context);
        let point = point.expect("the point");
        let length = u16::try_from(point.len() + 2).expect("a short point");
        [&length.to_be_bytes(), point.as_slice()].concat()
    }

    /// The shared secret with the other's field.
    pub fn agree(&self, field: &[u8]) -> Vec<u8> {
        let (length, point) = field.split_at(2);
        assert_eq!(
            usize::from(u16::from_be_bytes([length[0], length[1]])),
            field.len()
        );
        let mut context = BigNumContext::new().expect("numbers");
        let group = self.key.group();
        let point = EcPoint::from_bytes(group, point, &mut context).expect("a point");
        let other = EcKey::from_public_key(group, &point).expect("a public key");
        let own = PKey::from_ec_key(self.key.clone()).expect("own key");
        let other = PKey::from_ec_key(other).expect("the other's key");
        let mut deriver = Deriver::new(&own).expect("ECDH");
        deriver.set_peer(&other).expect("ECDH");
        deriver.derive_to_vec().expect("ECDH")
    }
}

/// INIT1.
pub fn init1(ciphers: &[u8], nonce: &[u8; 32], field: &[u8]) -> Vec<u8> {
    let count = u8::try_from(ciphers.len()).expect("few ciphers");
    message(&INIT1, &[&[count], ciphers, nonce, field])
}

/// INIT2.
pub fn init2(cipher: u8, nonce: &[u8; 32], field: &[u8]) -> Vec<u8> {
    message(&INIT2, &[&[cipher], nonce, field])
}

fn message(magic: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(body.len() + 8).expect("a short message");
    [magic.as_slice(), &length.to_be_bytes(), &body].concat()
}

/// What INIT1 says: ciphers, nonce, public key field.
pub fn read_init1(message: &[u8]) -> (Vec<u8>, [u8; 32], Vec<u8>) {
    let body = body(message, INIT1);
    let (ciphers, rest) = body[1..].split_at(usize::from(body[0]));
    let (nonce, field) = rest.split_at(32);
    (
        ciphers.to_vec(),
        nonce.try_into().expect("32 bytes"),
        field.to_vec(),
    )
}

/// What INIT2 says: cipher and public key field.
pub fn read_init2(message: &[u8]) -> (u8, Vec<u8>) {
    let body = body(message, INIT2);
    (body[0], body[33..].to_vec())
}

fn body(message: &[u8], magic: [u8; 4]) -> &[u8] {
    assert_eq!(message.get(..4), Some(magic.as_slice()), "the magic");
    let length = u32::try_from(message.len()).expect("a short message");
    assert_eq!(message[4..8], length.to_be_bytes(), "the length");
    &message[8..]
}

/// One session's secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    /// Session id, 33 bytes.
    pub id: Vec<u8>,
    /// Master key.
    pub mk: Vec<u8>,
    /// Root of the next session.
    pub next: Vec<u8>,
    /// The cipher.
    pub cipher: u8,
}

impl Secrets {
    /// After a full exchange. `options` are the ENO options of SYN and SYN-ACK.
    pub fn exchanged(
        tep: u8,
        cipher: u8,
        options: [&[u8]; 2],
        nonce: &[u8; 32],
        messages: [&[u8]; 2],
        es: &[u8],
    ) -> Secrets {
        let short = [0xfd, 4, 0x45, 0x4e];
        let transcript = [options[0], &short, options[1], &short].concat();
        let prk = hmac(nonce, &[&transcript, messages[0], messages[1], es]);
        Secrets::rooted(tep, cipher, &prk)
    }

    fn rooted(tep: u8, cipher: u8, root: &[u8]) -> Secrets {
        Secrets {
            id: [vec![tep], derive(root, 2)].concat(),
            mk: derive(root, 3),
            next: derive(root, 1),
            cipher,
        }
    }

    /// The session that resumes this one.
    pub fn resumed(&self) -> Secrets {
        let tep = self.id[0] | RESUMED;
        Secrets::rooted(tep, self.cipher, &self.next)
    }

    /// Key of one direction.
    pub fn key(&self, of_client: bool) -> Vec<u8> {
        derive(&self.mk, if of_client { 4 } else { 5 })
    }

    fn algorithm(&self) -> (symm::Cipher, usize) {
        match self.cipher {
            AES128 => (symm::Cipher::aes_128_gcm(), 16),
            AES256 => (symm::Cipher::aes_256_gcm(), 32),
            other => panic!("no cipher {other}"),
        }
    }

    /// A whole record. `urgent` sets the flag and adds the pointer.
    pub fn seal(
        &self,
        of_client: bool,
        offset: u64,
        fin: bool,
        urgent: Option<u16>,
        data: &[u8],
    ) -> Vec<u8> {
        let mut inner = vec![u8::from(fin) | u8::from(urgent.is_some()) << 1];
        if let Some(urgent) = urgent {
            inner.extend(urgent.to_be_bytes());
        }
        inner.extend(data);
        let length = u16::try_from(inner.len() + 16)
            .expect("a short record")
            .to_be_bytes();
        let header = [0, length[0], length[1]];
        let (cipher, size) = self.algorithm();
        let key = self.key(of_client);
        let (iv, mut tag) = (offset.to_le_bytes(), [0; 16]);
        let sealed = symm::encrypt_aead(cipher, &key[..size], Some(&iv), &header, &inner, &mut tag);
        [header.as_slice(), &sealed.expect("sealing"), &tag].concat()
    }

    /// Flags byte and data of a whole record; nothing if it is not authentic.
    pub fn open(&self, of_client: bool, offset: u64, record: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (header, sealed) = record.split_at_checked(3)?;
        let (sealed, tag) = sealed.split_at_checked(sealed.len().checked_sub(16)?)?;
        let (cipher, size) = self.algorithm();
        let key = self.key(of_client);
        let iv = offset.to_le_bytes();
        let inner = symm::decrypt_aead(cipher, &key[..size], Some(&iv), header, sealed, tag);
        let inner = inner.ok()?;
        let (flags, rest) = inner.split_first()?;
        let pointer = if flags & 2 == 0 { 0 } else { 2 };
        Some((*flags, rest.get(pointer..)?.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Secrets, read_init1, read_init2};
    use crate::lab::segment::unhex;
    use serde_json::Value;

    fn recorded(name: &str) -> Vec<Value> {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/tcpcrypt/");
        let text = std::fs::read_to_string(format!("{dir}{name}.json")).expect("the vectors");
        serde_json::from_str(&text).expect("the vectors")
    }

    fn bytes(value: &Value, name: &str) -> Vec<u8> {
        unhex(value[name].as_str().unwrap_or_else(|| panic!("no {name}")))
    }

    #[test]
    fn recorded_sessions_come_out_the_same() {
        for name in [
            "divert-p256",
            "divert-p256-aes256",
            "divert-p521",
            "redirect-p256",
        ] {
            let connections = recorded(name);
            let full = &connections[0];
            let messages = [bytes(full, "init1"), bytes(full, "init2")];
            let (_, nonce, field) = read_init1(&messages[0]);
            assert_eq!(field[2..], bytes(full, "pub_c"));
            let (cipher, _) = read_init2(&messages[1]);
            let options = [bytes(full, "syn_eno"), bytes(full, "synack_eno")];
            let tep = u8::try_from(full["tep"].as_u64().expect("a TEP")).expect("a byte");
            let mut secrets = Secrets::exchanged(
                tep,
                cipher,
                [&options[0], &options[1]],
                &nonce,
                [&messages[0], &messages[1]],
                &bytes(full, "es"),
            );
            for (number, connection) in connections.iter().enumerate() {
                if number > 0 {
                    secrets = secrets.resumed();
                }
                assert_eq!(secrets.id, bytes(connection, "session_id"), "{name}");
                for (side, of_client) in [("c2s", true), ("s2c", false)] {
                    let frames = connection[side]["frames"].as_array().expect("frames");
                    for frame in frames {
                        let offset = frame["offset"].as_u64().expect("an offset");
                        let (data, record) = (bytes(frame, "data"), bytes(frame, "frame"));
                        let flags = frame["flags"].as_u64().expect("flags");
                        let opened = secrets.open(of_client, offset, &record);
                        assert_eq!(opened, Some((flags as u8, data.clone())), "{name}");
                        let fin = flags & 1 != 0;
                        let sealed = secrets.seal(of_client, offset, fin, None, &data);
                        assert_eq!(sealed, record, "{name}");
                        let mut altered = record;
                        altered[5] ^= 1;
                        assert_eq!(secrets.open(of_client, offset, &altered), None);
                    }
                }
            }
        }
    }
}
