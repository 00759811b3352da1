// SPDX-License-Identifier: Apache-2.0
//! Both ends of an encrypted connection sign its session id, each with a key of its own that the other one knows,
//! as with ssh.
//!
//! ```text
//! key MY-KEY THEIR-PUBLIC-KEY listen PORT
//! key MY-KEY THEIR-PUBLIC-KEY connect HOST PORT
//! ```
//!
//! Keys are Ed25519, in PEM. It speaks with `key.c`. Exit status 0: the other end is who it should be. 1: it is
//! not, or the connection is not encrypted. 2: no connection, or something else went wrong.
#![forbid(unsafe_code)]

mod connection;

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::process::ExitCode;

use openssl::pkey::{Id, PKey, Private, Public};
use openssl::sign::{Signer, Verifier};

use connection::{Connection, Failure, Role};

/// Who uses these lines elsewhere takes words of his own, so that no signature is good for another program.
const PURPOSE: &str = "tcpcrypt example: key";
const SIGNATURE: usize = 64;

/// Ed25519(key, purpose | role | session id)
fn sign(connection: &Connection, key: &PKey<Private>) -> Result<Vec<u8>, Failure> {
    let text = connection.statement(PURPOSE, connection.role);
    Ok(Signer::new_without_digest(key)?.sign_oneshot_to_vec(&text)?)
}

/// Whether the signature is the other end's, for this session.
fn verify(connection: &Connection, key: &PKey<Public>, signature: &[u8]) -> Result<bool, Failure> {
    let text = connection.statement(PURPOSE, connection.role.other());
    let mut verifier = Verifier::new_without_digest(key)?;
    // What OpenSSL cannot read is no signature.
    Ok(verifier.verify_oneshot(signature, &text).unwrap_or(false))
}

/// Whether the other end has the key that belongs to `theirs`, and a connection with this session id: this one.
fn authenticate(
    connection: &mut Connection,
    mine: &PKey<Private>,
    theirs: &PKey<Public>,
) -> Result<bool, Failure> {
    let signature = sign(connection, mine)?;
    if connection.role == Role::A {
        connection.stream.write_all(&signature)?;
    }
    let mut received = [0; SIGNATURE];
    if connection.stream.read_exact(&mut received).is_err()
        || !verify(connection, theirs, &received)?
    {
        return Ok(false);
    }
    if connection.role == Role::B {
        connection.stream.write_all(&signature)?;
    }
    Ok(true)
}

fn run(words: &[String]) -> Result<(), Failure> {
    let [mine, theirs, words @ ..] = words else {
        return Err("usage: key MY-KEY THEIR-PUBLIC-KEY listen PORT | connect HOST PORT".into());
    };
    let mine = PKey::private_key_from_pem(&fs::read(mine)?)?;
    let theirs = PKey::public_key_from_pem(&fs::read(theirs)?)?;
    if mine.id() != Id::ED25519 || theirs.id() != Id::ED25519 {
        return Err("both keys have to be of Ed25519".into());
    }
    let mut connection = Connection::open(words)?;
    if !authenticate(&mut connection, &mine, &theirs)? {
        let why = "the other end has another key, or sees another session";
        return Err(Failure::Refused(why.to_owned()));
    }
    println!("the other end has its key and sees this session");
    Ok(connection.converse()?)
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    run(&words).map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
