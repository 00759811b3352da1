//! The login protocol (keysrv spec 7): with a name and a password to a certificate of a new key.
//!
//! One message is one record of [`crate::ssl`]; what protects it changes from step to step.

mod client;
mod message;
mod server;

use std::time::Duration;

use kx_crypto::digest;
use kx_secret::SecretBytes;

pub use self::client::{Client, ClientChoices, ClientError, ClientEvent, MakeKey};
pub use self::server::{Account, Lookup, Server, ServerConfig, ServerError, ServerEvent};

/// How long a peer may be silent where a message of it is due.
pub const READ_TIME: Duration = Duration::from_secs(30);
/// How long a whole login may take.
pub const LOGIN_TIME: Duration = Duration::from_secs(5 * 60);
/// Octets of the initialization vector of step 3.
pub const VECTOR_LEN: usize = 8;
/// Octets of what an account keeps of its password.
pub const HASH_LEN: usize = digest::SHA1_LEN;

/// What an account keeps of its password.
#[must_use]
pub fn password_hash(password: &[u8]) -> SecretBytes {
    SecretBytes::from(digest::sha1(&[password]).to_vec())
}

/// The secret of step 4's record, of which its cipher takes 5 octets. Of a longer hash the first 20
/// octets matter; of a shorter one what is missing counts as zero.
fn step4_secret(hash: &[u8], vector: [u8; VECTOR_LEN]) -> SecretBytes {
    let at = |place: usize| hash.get(place).copied().unwrap_or(0);
    let mut secret = SecretBytes::zeroed(VECTOR_LEN);
    for (place, (octet, mixed)) in secret.as_mut_slice().iter_mut().zip(vector).enumerate() {
        // The hash has no octets for the third part of the last four.
        let third = if place < 4 { at(16 + place) } else { 0 };
        *octet = at(place) ^ at(8 + place) ^ third ^ mixed;
    }
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_secret() {
        // interop-tests/vectors/keysrv/login/rsa_login_alice.json
        let hash = password_hash(b"correct horse");
        let secret = step4_secret(
            hash.as_slice(),
            [0x63, 0xe9, 0x34, 0x38, 0xf2, 0x3f, 0xec, 0x1e],
        );
        assert!(secret.ct_eq(&[0xa5, 0xe0, 0x08, 0x6c, 0xc8, 0xc0, 0x64, 0x14]));
    }
}
