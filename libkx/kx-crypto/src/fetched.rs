//! Algorithms of the library that were looked up once: otherwise each context does it again, by name and under a
//! lock, which takes longer than a short message does.

use openssl::cipher::{Cipher, CipherRef};
use openssl::error::ErrorStack;
use openssl::hash::{Hasher, MessageDigest};
use std::sync::OnceLock;

/// A place for a cipher, for a `static`.
// AWS-LC has nothing to look up: nothing is ever put there.
#[cfg_attr(feature = "aws-lc", allow(dead_code))]
pub(crate) struct Fetched(OnceLock<Option<Cipher>>);

impl Fetched {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The cipher of that name, or `unfetched` if it is not to be had by name.
    #[cfg(not(feature = "aws-lc"))]
    pub(crate) fn cipher(
        &'static self,
        name: &str,
        unfetched: fn() -> &'static CipherRef,
    ) -> &'static CipherRef {
        self.0
            .get_or_init(|| Cipher::fetch(None, name, None).ok())
            .as_deref()
            .unwrap_or_else(unfetched)
    }

    #[cfg(feature = "aws-lc")]
    pub(crate) fn cipher(
        &'static self,
        _: &str,
        unfetched: fn() -> &'static CipherRef,
    ) -> &'static CipherRef {
        unfetched()
    }
}

/// A place for the beginning of a hash, for a `static`.
pub(crate) struct Begun(OnceLock<Option<Hasher>>);

impl Begun {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// A hash that has begun. A copy of one knows its algorithm already.
    ///
    /// # Errors
    /// The library does not offer the hash.
    pub(crate) fn hasher(&'static self, hash: fn() -> MessageDigest) -> Result<Hasher, ErrorStack> {
        match self.0.get_or_init(|| Hasher::new(hash()).ok()) {
            Some(begun) => Ok(begun.clone()),
            None => Hasher::new(hash()),
        }
    }
}
