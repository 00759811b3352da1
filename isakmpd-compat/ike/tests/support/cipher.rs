//! Encrypted messages of a recording, opened with its keys: where ours must not be the original's octets, the clear
//! text says how far they are the same. All recordings that need it use AES-128 and SHA.

use std::collections::HashMap;
use std::path::Path as FilePath;

use ike::sa::Role;
use kx_crypto::cbc::Algorithm;
use kx_crypto::digest::sha1;

use super::key_file;

const BLOCK: usize = 16;
const HEADER: usize = 28;

/// One value of a key file, the first of that name.
pub fn key(directory: &FilePath, role: Role, wanted: &str) -> Vec<u8> {
    key_file(directory, role)
        .into_iter()
        .find(|(name, _)| name == wanted)
        .unwrap_or_else(|| panic!("no {wanted}"))
        .1
}

/// What follows the header of a message, decrypted.
pub fn open(message: &[u8], key: &[u8], iv: &[u8]) -> Vec<u8> {
    let mut text = message[HEADER..].to_vec();
    Algorithm::Aes
        .decrypt(key, &mut iv.to_vec(), &mut text)
        .expect("decrypted");
    text
}

/// The IV of what comes after a message.
pub fn last_block(message: &[u8]) -> &[u8] {
    &message[message.len() - BLOCK..]
}

/// A payload with its generic header.
pub fn payload(next: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).expect("short");
    [&[next, 0], &length.to_be_bytes()[..], body].concat()
}

/// Text with zeroes up to whole blocks.
pub fn padded(mut text: Vec<u8>) -> Vec<u8> {
    text.resize(text.len().next_multiple_of(BLOCK), 0);
    text
}

/// Phase 2 of two runs that differ in the last block of phase 1 and so in every IV, and in nothing else.
pub struct Reciphered {
    key: Vec<u8>,
    /// Last block of phase 1, ours and the recorded one.
    phase1: [Vec<u8>; 2],
    /// Where the exchanges are, by message ID.
    ivs: HashMap<Vec<u8>, [Vec<u8>; 2]>,
}

impl Reciphered {
    /// After these last messages of phase 1.
    pub fn new(directory: &FilePath, role: Role, ours: &[u8], recorded: &[u8]) -> Self {
        Self {
            key: key(directory, role, "enc_key"),
            phase1: [ours, recorded].map(|message| last_block(message).to_vec()),
            ivs: HashMap::new(),
        }
    }

    fn ivs(&mut self, message: &[u8]) -> &mut [Vec<u8>; 2] {
        let id = message[20..24].to_vec();
        let phase1 = &self.phase1;
        self.ivs.entry(id.clone()).or_insert_with(|| {
            std::array::from_fn(|side| sha1(&[&phase1[side], &id])[..BLOCK].to_vec())
        })
    }

    /// One message that we sent: another cipher text, the same header and clear text as recorded.
    pub fn compare(&mut self, ours: &[u8], recorded: &[u8], place: &str) {
        let key = self.key.clone();
        let ivs = self.ivs(recorded);
        let texts = [open(ours, &key, &ivs[0]), open(recorded, &key, &ivs[1])];
        assert_eq!(ours[..HEADER], recorded[..HEADER], "{place}");
        assert_eq!(texts[0], texts[1], "{place}");
        assert_ne!(ours, recorded, "{place}");
        *ivs = [last_block(ours).to_vec(), last_block(recorded).to_vec()];
    }

    /// A recorded message of the peer's as it would have been under our IV.
    pub fn peers(&mut self, recorded: &[u8]) -> Vec<u8> {
        let key = self.key.clone();
        let ivs = self.ivs(recorded);
        let mut text = open(recorded, &key, &ivs[1]);
        Algorithm::Aes
            .encrypt(&key, &mut ivs[0].clone(), &mut text)
            .expect("encrypted");
        let message = [&recorded[..HEADER], &text].concat();
        *ivs = [last_block(&message).to_vec(), last_block(recorded).to_vec()];
        message
    }
}
