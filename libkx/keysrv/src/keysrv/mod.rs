//! keysrv: lets users who show a certificate check and change their secret (keysrv spec 9).

mod account;
mod program;
mod serve;
mod tree;

use kx_crypto::digest::sha1;
use kx_secret::SecretBytes;

pub use program::run;
pub(crate) use serve::authenticate;
pub use serve::{Options, Served, serve};

/// What keysrv wants to see of a secret: its SHA-1 in lower-case hexadecimal digits. Who has it can
/// change the secret.
pub(crate) fn hash_text(secret: &[u8]) -> SecretBytes {
    hex(&sha1(&[secret]))
}

/// Octets in lower-case hexadecimal digits.
fn hex(octets: &[u8]) -> SecretBytes {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = SecretBytes::with_capacity(octets.len().saturating_mul(2));
    for octet in octets {
        for digit in [octet >> 4, octet & 15] {
            text.push(DIGITS.get(usize::from(digit)).copied().unwrap_or_default());
        }
    }
    text
}
