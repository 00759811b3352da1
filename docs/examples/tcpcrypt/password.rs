// SPDX-License-Identifier: Apache-2.0
//! Both ends of an encrypted connection prove to each other that they know a password and see the same session.
//!
//! ```text
//! password FILE listen PORT
//! password FILE connect HOST PORT
//! ```
//!
//! It speaks with `password.c`. Exit status 0: the other end is who it should be. 1: it is not, or the connection
//! is not encrypted. 2: no connection, or something else went wrong.
#![forbid(unsafe_code)]

mod connection;

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::process::ExitCode;

use openssl::hash::MessageDigest;
use openssl::pkcs5::scrypt;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use connection::{Connection, Failure, Role};

/// Who uses these lines elsewhere takes words of his own, so that no proof is good for another program.
const PURPOSE: &str = "tcpcrypt example: password";
const KEY: usize = 32;
const PROOF: usize = 32;

/// The first line of a file, made a key by a function that is slow on purpose: passwords can be guessed.
fn read_key(path: &str) -> Result<[u8; KEY], Failure> {
    let text = fs::read_to_string(path)?;
    let password = text.lines().next().filter(|line| !line.is_empty());
    let password = password.ok_or(format!("{path}: no password"))?;
    let salt = format!("{PURPOSE}\0");
    let mut key = [0; KEY];
    scrypt(
        password.as_bytes(),
        salt.as_bytes(),
        1 << 15,
        8,
        1,
        64 << 20,
        &mut key,
    )?;
    Ok(key)
}

/// HMAC-SHA256(key, purpose | role | session id)
fn prove(connection: &Connection, key: &[u8], role: Role) -> Result<Vec<u8>, Failure> {
    let key = PKey::hmac(key)?;
    let mut hmac = Signer::new(MessageDigest::sha256(), &key)?;
    Ok(hmac.sign_oneshot_to_vec(&connection.statement(PURPOSE, role))?)
}

/// Whether the other end knows the key and has a connection with this session id: this one.
fn authenticate(connection: &mut Connection, key: &[u8]) -> Result<bool, Failure> {
    let mine = prove(connection, key, connection.role)?;
    let wanted = prove(connection, key, connection.role.other())?;
    // Who connects goes first: who listens tells nothing to strangers, not even something to guess from.
    if connection.role == Role::A {
        connection.stream.write_all(&mine)?;
    }
    let mut received = [0; PROOF];
    // A comparison that takes the same time wherever the first difference is.
    if connection.stream.read_exact(&mut received).is_err()
        || !openssl::memcmp::eq(&received, &wanted)
    {
        return Ok(false);
    }
    if connection.role == Role::B {
        connection.stream.write_all(&mine)?;
    }
    Ok(true)
}

fn run(words: &[String]) -> Result<(), Failure> {
    let [file, words @ ..] = words else {
        return Err("usage: password FILE listen PORT | connect HOST PORT".into());
    };
    let key = read_key(file)?;
    let mut connection = Connection::open(words)?;
    if !authenticate(&mut connection, &key)? {
        let why = "the other end does not know the password, or sees another session";
        return Err(Failure::Refused(why.to_owned()));
    }
    println!("the other end knows the password and sees this session");
    Ok(connection.converse()?)
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    run(&words).map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
