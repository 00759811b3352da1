//! The file of keyfs ("keysrv spec 10.2"), read and written one block at a time over OpenSSL's AES.

use openssl::symm::{Cipher, Crypter, Mode};

use super::keys::sha1;

/// What stands at the end of every good file.
pub const END: [u8; 16] = [b'X'; 16];

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// 0 is good, 1 disabled.
    pub status: u8,
    /// Failed logins.
    pub failed: u8,
    /// Unix time; 0 is never.
    pub expire: u32,
    /// Name.
    pub name: String,
    /// Secret.
    pub secret: Vec<u8>,
}

impl User {
    /// In good standing for ever.
    pub fn new(name: &str, secret: &[u8]) -> User {
        User {
            status: 0,
            failed: 0,
            expire: 0,
            name: name.to_owned(),
            secret: secret.to_vec(),
        }
    }

    /// With the digest of a password in place of the password, as changelogin stores it.
    pub fn hashed(name: &str, password: &str) -> User {
        User::new(name, &sha1(password.as_bytes()))
    }
}

/// The key of a password.
pub fn key(password: &[u8]) -> [u8; 16] {
    let digest = sha1(&[b"aescbc file".as_slice(), password].concat());
    std::array::from_fn(|i| digest[i])
}

/// One block of AES-128, no chaining.
fn block(key: &[u8; 16], mode: Mode, input: &[u8]) -> Vec<u8> {
    let mut aes = Crypter::new(Cipher::aes_128_ecb(), mode, key, None).expect("AES");
    aes.pad(false);
    let mut out = vec![0; 32];
    let n = aes.update(input, &mut out).expect("AES");
    out.truncate(n);
    out
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// The plaintext of a file.
pub fn decrypt(key: &[u8; 16], file: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut previous = file.get(..16).expect("an IV").to_vec();
    for part in file.get(16..).unwrap_or_default().chunks(16) {
        if part.len() == 16 {
            out.extend(xor(&block(key, Mode::Decrypt, part), &previous));
            previous = part.to_vec();
        } else {
            out.extend(xor(part, &block(key, Mode::Encrypt, &previous)));
        }
    }
    out
}

/// The file of a plaintext.
pub fn encrypt(key: &[u8; 16], iv: [u8; 16], plain: &[u8]) -> Vec<u8> {
    let mut out = iv.to_vec();
    let mut previous = iv.to_vec();
    for part in plain.chunks(16) {
        if part.len() == 16 {
            previous = block(key, Mode::Encrypt, &xor(part, &previous));
            out.extend_from_slice(&previous);
        } else {
            out.extend(xor(part, &block(key, Mode::Encrypt, &previous)));
        }
    }
    out
}

/// The users in a plaintext, or none if it is no database.
pub fn users(plain: &[u8]) -> Option<Vec<User>> {
    let mut rest = plain.strip_suffix(&END)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<7>()?;
        let [status, failed, e0, e1, e2, e3, length] = *head;
        let (name, after) = after.split_at_checked(usize::from(length))?;
        let (length, after) = after.split_first()?;
        let (secret, after) = after.split_at_checked(usize::from(*length))?;
        all.push(User {
            status,
            failed,
            expire: u32::from_le_bytes([e0, e1, e2, e3]),
            name: String::from_utf8(name.to_vec()).ok()?,
            secret: secret.to_vec(),
        });
        rest = after;
    }
    Some(all)
}

/// The users in a file; panics if the password does not fit.
pub fn read(file: &[u8], password: &str) -> Vec<User> {
    if file.is_empty() {
        return Vec::new();
    }
    users(&decrypt(&key(password.as_bytes()), file)).expect("a database under this password")
}

/// A file with these users.
pub fn write(users: &[User], password: &str) -> Vec<u8> {
    let mut plain = Vec::new();
    for user in users {
        plain.extend([user.status, user.failed]);
        plain.extend(user.expire.to_le_bytes());
        for field in [user.name.as_bytes(), &user.secret] {
            plain.push(u8::try_from(field.len()).expect("a short field"));
            plain.extend_from_slice(field);
        }
    }
    plain.extend(END);
    encrypt(&key(password.as_bytes()), *b"any sixteen will", &plain)
}
