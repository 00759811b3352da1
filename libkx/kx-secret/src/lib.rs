//! Octets that must not outlive their use.
//!
//! [`SecretBytes`] is what keys, passwords and the buffers they pass through are held in. It is a crate
//! of its own so that a review of what happens to secrets has one place to look at, and so that
//! parsers can use it without linking a cryptographic library.
//!
//! ```
//! use kx_secret::SecretBytes;
//! let mut key = SecretBytes::with_capacity(4);
//! key.extend_from_slice(b"open");
//! assert!(key.ct_eq(b"open"));
//! ```
#![forbid(unsafe_code)]

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret of any length, wiped when dropped (its spare capacity too).
///
/// There is no `Clone` and no way to print the content. Growing never leaves an unwiped copy
/// behind.
#[derive(Default)]
pub struct SecretBytes(Vec<u8>);

/// Overwrites everything the vector has room for, in whole words: `zeroize` writes octet by octet,
/// which shows on a server that wipes three buffers a request. The barrier is that crate's, and
/// keeps the compiler from leaving the writes out.
fn wipe(octets: &mut Vec<u8>) {
    octets.fill(0);
    octets.resize(octets.capacity(), 0);
    zeroize::optimization_barrier(octets.as_slice());
    octets.clear();
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl SecretBytes {
    /// An empty secret with room for `capacity` octets.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// `len` zero octets, to be filled through [`as_mut_slice`](Self::as_mut_slice).
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self(vec![0; len])
    }

    /// The octets.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The octets, to write into.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Number of octets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no octet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes room for at least `more` octets.
    ///
    /// A `Vec` would move its content on growth and free the old place as it is; here the old place
    /// is wiped.
    pub fn reserve(&mut self, more: usize) {
        let needed = self.0.len().saturating_add(more);
        if needed > self.0.capacity() {
            let room = needed.max(self.0.capacity().saturating_mul(2));
            let mut grown = Self::with_capacity(room);
            grown.0.extend_from_slice(&self.0);
            *self = grown;
        }
    }

    /// Appends `octets`.
    pub fn extend_from_slice(&mut self, octets: &[u8]) {
        self.reserve(octets.len());
        self.0.extend_from_slice(octets);
    }

    /// Appends one octet.
    pub fn push(&mut self, octet: u8) {
        self.extend_from_slice(&[octet]);
    }

    /// Removes the first `len` octets, or all if there are not so many.
    pub fn drop_front(&mut self, len: usize) {
        let len = len.min(self.0.len());
        self.0.copy_within(len.., 0);
        self.truncate(self.0.len().saturating_sub(len));
    }

    /// Room for octets before the next growth, those that are there included.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Keeps the first `len` octets and wipes the others. Nothing happens when there are not so
    /// many.
    pub fn truncate(&mut self, len: usize) {
        if let Some(tail) = self.0.get_mut(len..) {
            tail.fill(0);
            zeroize::optimization_barrier(&*tail);
            self.0.truncate(len);
        }
    }

    /// Compares in a time that depends on the lengths only.
    #[must_use]
    pub fn ct_eq(&self, other: &[u8]) -> bool {
        self.0.as_slice().ct_eq(other).into()
    }
}

impl From<Vec<u8>> for SecretBytes {
    /// Takes the vector over; no copy is made.
    fn from(octets: Vec<u8>) -> Self {
        Self(octets)
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(mut octets: Zeroizing<Vec<u8>>) -> Self {
        Self(std::mem::take(&mut *octets))
    }
}

impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} octets)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::SecretBytes;

    #[test]
    fn grows_and_shrinks() {
        let mut secret = SecretBytes::with_capacity(2);
        for part in [&b"ab"[..], b"", b"cdefg", b"h"] {
            secret.extend_from_slice(part);
        }
        assert_eq!(secret.as_slice(), b"abcdefgh");
        secret.truncate(100);
        assert_eq!(secret.len(), 8);
        secret.truncate(3);
        assert_eq!(secret.as_slice(), b"abc");
        assert!(!secret.is_empty());
    }

    #[test]
    fn loses_its_front() {
        let mut secret = SecretBytes::from(b"abcdef".to_vec());
        secret.drop_front(2);
        assert_eq!(secret.as_slice(), b"cdef");
        secret.drop_front(9);
        assert!(secret.is_empty());
    }

    #[test]
    fn compares() {
        let secret = SecretBytes::from(b"abc".to_vec());
        assert!(secret.ct_eq(b"abc"));
        assert!(!secret.ct_eq(b"abd"));
        assert!(!secret.ct_eq(b"ab"));
        assert!(SecretBytes::default().ct_eq(b""));
    }

    #[test]
    fn debug_shows_no_content() {
        let text = format!("{:?}", SecretBytes::from(b"geheim".to_vec()));
        assert!(!text.contains("geheim") && !text.contains("103"), "{text}");
    }

    #[test]
    fn zeroed_can_be_filled() {
        let mut secret = SecretBytes::zeroed(3);
        secret.as_mut_slice().copy_from_slice(b"xyz");
        assert!(secret.ct_eq(b"xyz"));
    }
}
