//! The recorded golden data, and keys to try things with.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::PathBuf;

use xkek::rng::{Rng, Unavailable};

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../interop-tests/vectors/xkek")
        .join(name)
}

pub(crate) fn file(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn text(name: &str) -> String {
    String::from_utf8(file(name)).expect("text")
}

pub(crate) fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&file(name)).expect("JSON")
}

pub(crate) fn hex(digits: &str) -> Vec<u8> {
    assert!(digits.len() % 2 == 0);
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hex"))
        .collect()
}

/// The octets that a JSON string of digits names.
pub(crate) fn octets(value: &serde_json::Value) -> Vec<u8> {
    hex(value.as_str().expect("a string"))
}

/// The octets of a colon-separated note.
pub(crate) fn colons(value: &serde_json::Value) -> Vec<u8> {
    hex(&value.as_str().expect("a string").replace(':', ""))
}

/// Gives out what it was given, in order.
pub(crate) struct Fixed(pub(crate) Vec<u8>);

impl Rng for Fixed {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        if out.len() > self.0.len() {
            return Err(Unavailable);
        }
        let rest = self.0.split_off(out.len());
        out.copy_from_slice(&std::mem::replace(&mut self.0, rest));
        Ok(())
    }
}
