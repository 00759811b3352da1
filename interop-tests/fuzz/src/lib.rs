//! What several fuzz targets share.
#![forbid(unsafe_code)]

use std::hash::{DefaultHasher, Hasher};

/// `data` in pieces of 1 to 16 octets. Where it is cut depends on nothing but `data`, so that a crash comes
/// again, and no octet of it is spent on that, so that a seed is plain input.
pub fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut hasher = DefaultHasher::new();
    hasher.write(data);
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        hasher.write_u8(1);
        let size = usize::try_from(hasher.finish() % 16).unwrap_or(0) + 1;
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        Some(piece)
    })
}

/// Whether a line of the log could be faked by `text`.
#[must_use]
pub fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}
