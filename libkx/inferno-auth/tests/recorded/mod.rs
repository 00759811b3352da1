//! Conversations recorded between programs of Inferno (interop-tests/vectors/keysrv), and what a replay
//! needs of them.
#![allow(dead_code)]

use std::sync::Arc;
use std::time::Instant;

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use inferno_auth::framing;
use inferno_auth::sts::{Config, Exchange};
use kx_crypto::bignum::{BigNum, Error};
use kx_crypto::dh::Group;
use kx_crypto::secret::SecretBytes;
use serde_json::Value;

/// A moment after the recordings, in seconds since 1970.
pub(crate) const NOW: i64 = 1_795_000_000;

pub(crate) fn path(name: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop-tests");
    format!("{root}/vectors/keysrv/{name}")
}

pub(crate) fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

/// The recordings in a directory, with their names.
pub(crate) fn all(directory: &str) -> Vec<(String, Value)> {
    let mut names: Vec<String> = std::fs::read_dir(path(directory))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    names
        .into_iter()
        .map(|name| {
            let value = json(&format!("{directory}/{name}"));
            (name, value)
        })
        .collect()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub(crate) fn octets(hex: &Value) -> Vec<u8> {
    let hex = text(hex);
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

pub(crate) fn auth_info(name: &str) -> AuthInfo {
    AuthInfo::parse(&std::fs::read(path(&format!("authinfo/{name}"))).unwrap()).unwrap()
}

/// The authinfo from which this certificate and this key were shown.
pub(crate) fn auth_info_of(certificate: &str, key: &str) -> Option<AuthInfo> {
    std::fs::read_dir(path("authinfo"))
        .unwrap()
        .find_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let info = auth_info(&name);
            (info.public_key().text() == key.as_bytes()
                && info.certificate.text() == certificate.as_bytes())
            .then_some(info)
        })
}

/// A message of `sts/` as it was on the wire.
pub(crate) fn wire_of(message: &Value) -> Vec<u8> {
    let body = text(&message["text"]).as_bytes();
    let mut wire = Vec::new();
    if message["error"] == true {
        wire.extend_from_slice(format!("!{:03}\n", body.len()).as_bytes());
        wire.extend_from_slice(body);
    } else {
        framing::write(&mut wire, body).unwrap();
    }
    wire
}

/// One end's part of an exchange of which only the results are known.
pub(crate) struct Recorded {
    pub(crate) exponential: BigNum,
    pub(crate) secret: Vec<u8>,
}

impl Exchange for Recorded {
    fn exponential(&mut self, _: &Group) -> Result<BigNum, Error> {
        self.exponential.try_clone()
    }

    fn agree(&mut self, _: &Group, _: &BigNum) -> Result<SecretBytes, Error> {
        Ok(SecretBytes::from(self.secret.clone()))
    }
}

pub(crate) fn config(info: AuthInfo) -> Config {
    Config {
        auth_info: Some(Arc::new(info)),
        floor: Floor::default(),
        unix_now: NOW,
    }
}

pub(crate) fn now() -> Instant {
    Instant::now()
}
