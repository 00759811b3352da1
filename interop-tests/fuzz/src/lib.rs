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

/// The texts of one field of a JSON file as ours are written, in their order, with `\n` as the only escape.
#[must_use]
pub fn json_texts(json: &str, field: &str) -> Vec<String> {
    let name = format!("\"{field}\": \"");
    json.split(&name)
        .skip(1)
        .filter_map(|behind| behind.split_once('"'))
        .map(|(text, _)| text.replace("\\n", "\n"))
        .collect()
}

/// What hexadecimal digits stand for.
#[must_use]
pub fn unhex(digits: &str) -> Vec<u8> {
    digits
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// `wire` with changes: of each five octets the first three say where and how, the other two are what.
#[must_use]
pub fn changed(mut wire: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    for change in changes.chunks_exact(5) {
        if wire.is_empty() {
            break;
        }
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % wire.len();
        match change[2] % 4 {
            0 => wire[at] = change[3],
            1 => wire.truncate(at),
            2 => drop(wire.splice(at..at, [change[3], change[4]])),
            _ => drop(wire.drain(at..wire.len().min(at + usize::from(change[3])))),
        }
    }
    wire
}
