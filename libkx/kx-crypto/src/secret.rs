//! Octets that must not outlive their use.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// A secret of any length, wiped when dropped (its spare capacity too).
///
/// There is no `Clone` and no way to print the content. Growing never leaves an unwiped copy
/// behind.
#[derive(Default)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// An empty secret with room for `capacity` octets.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// `len` zero octets, to be filled through [`as_mut_slice`](Self::as_mut_slice).
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self(Zeroizing::new(vec![0; len]))
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

    /// Appends `octets`.
    ///
    /// A `Vec` would move its content on growth and free the old place as it is; here the old place
    /// is wiped.
    pub fn extend_from_slice(&mut self, octets: &[u8]) {
        let needed = self.0.len().saturating_add(octets.len());
        if needed > self.0.capacity() {
            let room = needed.max(self.0.capacity().saturating_mul(2));
            let mut grown = Zeroizing::new(Vec::with_capacity(room));
            grown.extend_from_slice(&self.0);
            self.0 = grown;
        }
        self.0.extend_from_slice(octets);
    }

    /// Keeps the first `len` octets and wipes the others. Nothing happens when there are not so
    /// many.
    pub fn truncate(&mut self, len: usize) {
        if let Some(tail) = self.0.get_mut(len..) {
            tail.zeroize();
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
        Self(Zeroizing::new(octets))
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(octets: Zeroizing<Vec<u8>>) -> Self {
        Self(octets)
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
