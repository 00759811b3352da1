//! The client's side of the login protocol ("keysrv spec 7"), honest or not.

use std::net::TcpStream;

use super::keys::{
    AuthInfo, Key, number, plain_number_text, power, random_exponent, sha1, verifies,
};
use super::records::Records;

/// What is sent in place of the right thing.
#[derive(Debug, Default, Clone)]
pub struct Bent {
    /// Step 3.
    pub vector: Option<Vec<u8>>,
    /// Text of step 7.
    pub exponential: Option<Vec<u8>>,
    /// Text of step 9.
    pub public_key: Option<Vec<u8>>,
}

/// Sends one message; a server that is gone is found at the next read.
pub fn put(records: &mut Records<TcpStream>, text: &[u8]) {
    let _ = records.send(&[&[0], text].concat());
}

/// One message, or the error in its place.
///
/// # Errors
///
/// The text sent; `hungup`; `failure` for what is neither.
pub fn take(records: &mut Records<TcpStream>) -> Result<String, String> {
    let record = records.receive().ok_or("hungup")?;
    let text = String::from_utf8_lossy(record.get(1..).unwrap_or_default()).into_owned();
    match record.first() {
        Some(0) => Ok(text),
        Some(255) => Err(text),
        _ => Err("failure".to_owned()),
    }
}

/// Key of step 4, before RC4 takes its first five octets.
pub fn key_of(password: &[u8], vector: &[u8]) -> [u8; 8] {
    let h = sha1(password);
    std::array::from_fn(|i| h[i] ^ h[8 + i] ^ if i < 4 { h[16 + i] } else { 0 } ^ vector[i])
}

/// The whole login. In a clear session an error of step 4 is read as it is, where a real client
/// would see garbage: the tests want to know what was sent.
///
/// # Errors
///
/// What the server said.
pub fn login(
    stream: TcpStream,
    key: Key,
    password: &[u8],
    bent: &Bent,
) -> Result<AuthInfo, String> {
    let mut records = Records::new(stream);
    put(&mut records, key.owner.as_bytes());
    assert_eq!(take(&mut records)?, key.owner, "the name comes back");
    let vector = bent.vector.clone().unwrap_or_else(|| b"8 octets".to_vec());
    put(&mut records, &vector);
    let record = records.receive().ok_or("hungup")?;
    if record.first() == Some(&255) {
        return Err(String::from_utf8_lossy(&record[1..]).into_owned());
    }
    let mut plain = record;
    let mut first_eight = vector;
    first_eight.resize(8, 0);
    super::records::Rc4::new(&key_of(password, &first_eight)[..5]).apply(&mut plain);
    if plain.first() != Some(&0) {
        return Err("name or secret incorrect".to_owned());
    }
    let theirs = number(&String::from_utf8_lossy(&plain[1..]));
    let alpha = number(&take(&mut records)?);
    let p = number(&take(&mut records)?);
    let r1 = random_exponent(&p);
    let mine = plain_number_text(&power(&alpha, &r1, &p)).into_bytes();
    put(&mut records, &bent.exponential.clone().unwrap_or(mine));
    let secret = power(&theirs, &r1, &p).to_vec();
    records.protect(&secret, true, None);
    if bent.exponential.is_some() {
        // The secrets differ now; only an error in clear can still be read.
        records.protect(&[], false, None);
    }
    let signer = take(&mut records)?;
    let public = key.public().into_bytes();
    put(&mut records, &bent.public_key.clone().unwrap_or(public));
    let certificate = take(&mut records)?;
    assert!(
        verifies(&signer, &certificate, key.public().as_bytes()),
        "the certificate"
    );
    Ok(AuthInfo {
        signer,
        certificate,
        key,
        alpha,
        p,
    })
}
