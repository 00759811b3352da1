//! The octets of the file (keysrv spec 10.1 and 10.2).

use std::sync::Arc;

use kx_crypto::{cbc, digest};
use kx_secret::SecretBytes;
use zeroize::Zeroizing;

use crate::database::{Database, User};

const BLOCK: usize = cbc::BLOCK;
/// Encrypted after the last record: who can read this has the right key.
const CHECK: [u8; 16] = [b'X'; 16];
/// Octets before a record's name: status, failures, expiry time, length of the name.
const FIXED: usize = 7;

/// Octets of the longest file that is looked at: some hundred thousand users with long secrets.
pub const MAX_FILE_LEN: usize = 1 << 28;

/// The key of a database.
#[derive(Debug)]
pub struct Key(SecretBytes);

impl Key {
    /// The key that belongs to the octets of a password (keysrv spec 10.1).
    #[must_use]
    pub fn from_password(password: &[u8]) -> Self {
        let hash = Zeroizing::new(digest::sha1(&[b"aescbc file", password]));
        let mut key = SecretBytes::with_capacity(BLOCK);
        key.extend_from_slice(hash.get(..BLOCK).unwrap_or_default());
        Self(key)
    }

    fn octets(&self) -> Result<&[u8; BLOCK], cbc::Unavailable> {
        self.0.as_slice().first_chunk().ok_or(cbc::Unavailable)
    }
}

/// A file that cannot be read: another key, or not whole. Nobody can tell which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("incorrect key or corrupt/damaged keyfile")]
pub struct Damaged;

impl Database {
    /// The users in a file. No octets at all are no users.
    ///
    /// The file has no digest: damage in its middle can go unnoticed, and gives a user nonsense in
    /// place of what was there.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn decode(key: &Key, file: &[u8]) -> Result<Self, Damaged> {
        if file.is_empty() {
            return Ok(Self::default());
        }
        if file.len() > MAX_FILE_LEN {
            return Err(Damaged);
        }
        let (iv, encrypted) = file.split_first_chunk::<BLOCK>().ok_or(Damaged)?;
        if encrypted.len() < CHECK.len() {
            return Err(Damaged);
        }
        let mut text = SecretBytes::with_capacity(encrypted.len());
        text.extend_from_slice(encrypted);
        decrypt(key, iv, text.as_mut_slice()).map_err(|_| Damaged)?;
        let (mut records, check) = text.as_slice().split_last_chunk().ok_or(Damaged)?;
        if *check != CHECK {
            return Err(Damaged);
        }
        let mut database = Self::default();
        while !records.is_empty() {
            let (user, rest) = parse_record(records).ok_or(Damaged)?;
            database.insert(user);
            records = rest;
        }
        Ok(database)
    }

    /// The whole file, encrypted with `iv`, which must be random and never used before. No users are no
    /// octets at all.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn encode(&self, key: &Key, iv: [u8; 16]) -> Result<Vec<u8>, cbc::Unavailable> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let len = |user: &User| {
            let named = FIXED.saturating_add(user.name.len());
            named.saturating_add(1).saturating_add(user.secret.len())
        };
        let len = self
            .users()
            .fold(BLOCK.saturating_add(CHECK.len()), |sum, (_, user)| {
                sum.saturating_add(len(user))
            });
        // Long enough at once: a vector that grows leaves copies behind.
        let mut text = SecretBytes::with_capacity(len.saturating_sub(BLOCK));
        for (_, user) in self.users() {
            put_record(&mut text, user);
        }
        text.extend_from_slice(&CHECK);
        encrypt(key, &iv, text.as_mut_slice())?;
        let mut file = Vec::with_capacity(len);
        file.extend_from_slice(&iv);
        file.extend_from_slice(text.as_slice());
        Ok(file)
    }
}

fn parse_record(octets: &[u8]) -> Option<(User, &[u8])> {
    let (&[status, failed, e0, e1, e2, e3, name_len], rest) =
        octets.split_first_chunk::<FIXED>()?;
    let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
    let (&secret_len, rest) = rest.split_first()?;
    let (secret, rest) = rest.split_at_checked(usize::from(secret_len))?;
    let mut kept = SecretBytes::with_capacity(secret.len());
    kept.extend_from_slice(secret);
    let mut user = User::new(name);
    user.secret = Arc::new(kept);
    user.status = status;
    user.failed = u32::from(failed);
    user.expire = i32::from_le_bytes([e0, e1, e2, e3]);
    Some((user, rest))
}

fn put_record(out: &mut SecretBytes, user: &User) {
    // Neither can be longer: they came through a length of 8 bits or through `apply`.
    let short = |octets: &[u8]| u8::try_from(octets.len()).unwrap_or(u8::MAX);
    let [failed, ..] = user.failed.to_le_bytes();
    let [e0, e1, e2, e3] = user.expire.to_le_bytes();
    let name_len = short(&user.name);
    out.extend_from_slice(&[user.status, failed, e0, e1, e2, e3, name_len]);
    out.extend_from_slice(&user.name);
    out.push(short(user.secret.as_slice()));
    out.extend_from_slice(user.secret.as_slice());
}

/// Splits off the octets after the last whole block.
fn split(text: &mut [u8]) -> (&mut [u8], &mut [u8]) {
    let whole = text.len().saturating_sub(text.len() % BLOCK);
    text.split_at_mut_checked(whole)
        .unwrap_or((&mut [], &mut []))
}

/// The tail is combined with the encryption of the ciphertext block before it, in both directions.
fn mask(
    key: &[u8; BLOCK],
    mut before: [u8; BLOCK],
    tail: &mut [u8],
) -> Result<(), cbc::Unavailable> {
    cbc::aes128_block(key, &mut before)?;
    for (octet, mask) in tail.iter_mut().zip(before) {
        *octet ^= mask;
    }
    Ok(())
}

fn last_block(blocks: &[u8], iv: &[u8; BLOCK]) -> [u8; BLOCK] {
    blocks.last_chunk().copied().unwrap_or(*iv)
}

fn encrypt(key: &Key, iv: &[u8; BLOCK], text: &mut [u8]) -> Result<(), cbc::Unavailable> {
    let key = key.octets()?;
    let (blocks, tail) = split(text);
    cbc::aes128_encrypt(key, iv, blocks)?;
    mask(key, last_block(blocks, iv), tail)
}

fn decrypt(key: &Key, iv: &[u8; BLOCK], text: &mut [u8]) -> Result<(), cbc::Unavailable> {
    let key = key.octets()?;
    let (blocks, tail) = split(text);
    let before = last_block(blocks, iv);
    cbc::aes128_decrypt(key, iv, blocks)?;
    mask(key, before, tail)
}
