//! `signer`: certifies the key of a set-top box that asks on descriptor 0 (keysrv spec 15). Nobody has been
//! authenticated: the certificate goes out blinded, and what must still be compared goes to a file.

use std::ffi::OsString;
use std::net::TcpStream;

use inferno_auth::certificate::Certificate;
use inferno_auth::floor::Floor;
use inferno_auth::key::PublicKey;
use inferno_auth::number;
use kx_cli::plan9::Args;
use kx_crypto::digest::Algorithm;
use kx_crypto::random;
use kx_sys::connection;

use crate::authinfo_file;
use crate::enrolment::{self, SIGNED};
use crate::program::{Environment, Exit};

/// Serves the connection on descriptor 0.
pub fn run(env: &mut Environment, words: Vec<OsString>) -> Exit {
    if Args::new(words).option().is_some() {
        return env.usage("usage: signer");
    }
    match connection::inherited() {
        Ok(mut connection) => serve(env, &mut connection),
        Err(error) => env.fail(kx_log::format_errno(&error)),
    }
}

/// Serves one connection.
pub fn serve(env: &mut Environment, connection: &mut TcpStream) -> Exit {
    match sign(env, connection) {
        Ok(()) => Exit::Success,
        Err(text) => env.fail(text),
    }
}

fn sign(env: &Environment, connection: &mut TcpStream) -> Result<(), String> {
    if !env.paths.built_in("/keydb").is_dir() {
        return Err("no key database".to_owned());
    }
    // Without a key the original makes one of 512 bits.
    let info = authinfo_file::read(&env.paths.signer_key())
        .map_err(|error| format!("can't read key: {error}"))?;
    if info.certificate.is_past(env.clock.now()) {
        return Err("signer key expired".to_owned());
    }
    let own = info.public_key().text();
    let alpha = number::text_p(&info.group.alpha);
    let p = number::text_p(&info.group.p);
    enrolment::send(connection, &[own, alpha.as_bytes(), p.as_bytes()])
        .map_err(|error| kx_log::format_errno(&error))?;

    let theirs = enrolment::receive(connection).ok_or("caller hung up")?;
    let key = PublicKey::parse(&theirs).map_err(|_| "illegal caller PK")?;
    let file = enrolment::file(env, SIGNED, key.owner())?;
    Floor::default()
        .check_key(&key)
        .map_err(|refused| format!("illegal caller PK: {refused}"))?;

    let certificate =
        Certificate::sign(&info.private_key, 0, &theirs).map_err(|_| "bad signer certificate")?;
    let mut blinded = certificate.text();
    let mut blind = vec![0; blinded.len()];
    random::fill_private(&mut blind).map_err(|error| error.to_string())?;
    for (octet, other) in blinded.iter_mut().zip(&blind) {
        *octet ^= other;
    }
    let sum = Algorithm::Md5
        .digest(&[own, &theirs, &blinded])
        .map_err(|error| error.to_string())?;
    enrolment::store(&file, &[&blind, &sum]).map_err(|error| {
        let name = key.owner();
        let error = kx_log::format_errno(&error);
        format!("can't create {SIGNED}/{name}: {error}")
    })?;
    enrolment::send(connection, &[&blinded]).map_err(|error| kx_log::format_errno(&error))
}
