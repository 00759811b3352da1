//! `countersigner`: gives a set-top box, which asks on descriptor 0, the blind of its certificate once somebody has
//! accepted it with verify (keysrv spec 15).

use std::ffi::OsString;
use std::net::TcpStream;

use kx_cli::plan9::Args;
use kx_sys::connection;

use crate::enrolment::{self, COUNTERSIGNED};
use crate::program::{Environment, Exit};

/// Serves the connection on descriptor 0.
pub fn run(env: &mut Environment, words: Vec<OsString>) -> Exit {
    if Args::new(words).option().is_some() {
        return env.usage("usage: countersigner");
    }
    match connection::inherited() {
        Ok(mut connection) => serve(env, &mut connection),
        Err(error) => env.fail(kx_log::format_errno(&error)),
    }
}

/// Serves one connection.
pub fn serve(env: &mut Environment, connection: &mut TcpStream) -> Exit {
    match answer(env, connection) {
        Ok(()) => Exit::Success,
        Err(text) => env.fail(text),
    }
}

fn answer(env: &Environment, connection: &mut TcpStream) -> Result<(), String> {
    if !env.paths.built_in("/keydb").is_dir() {
        return Err("no key database".to_owned());
    }
    let name = enrolment::receive(connection).ok_or("client hung up")?;
    let name = String::from_utf8(name).map_err(|_| "illegal name")?;
    let file = enrolment::file(env, COUNTERSIGNED, &name)?;
    let [blind] = enrolment::load(&file).map_err(|error| {
        if error.kind() == std::io::ErrorKind::InvalidData {
            return format!("can't read {COUNTERSIGNED}/{name}");
        }
        let error = kx_log::format_errno(&error);
        format!("can't open {COUNTERSIGNED}/{name}: {error}")
    })?;
    enrolment::send(connection, &[&blind]).map_err(|error| kx_log::format_errno(&error))
}
