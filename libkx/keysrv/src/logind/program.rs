//! The program `logind`, with the connection on descriptor 0.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use inferno_auth::floor::Floor;
use kx_cli::plan9::{Args, Opt};

use super::serve::{Options, serve};
use crate::authinfo_file;
use crate::floor_options;
use crate::program::{Environment, Exit};
use inferno_auth::peer_text::one_line;

const USAGE: &str = "usage: logind [-v] [-k keyfile] [-m keydb] [--hide-users] [--min-bits bits]";

struct Arguments {
    key_file: PathBuf,
    options: Options,
}

/// Runs it.
pub fn run(environment: &mut Environment, words: Vec<OsString>) -> Exit {
    let Some(Arguments { key_file, options }) = arguments(environment, words) else {
        return environment.usage(USAGE);
    };
    let connection = match kx_sys::connection::inherited() {
        Ok(connection) => connection,
        Err(error) => {
            let why = kx_log::format_errno(&error);
            return environment.fail(format_args!("no connection on descriptor 0: {why}"));
        }
    };
    keep_errors_off_the_connection(environment);
    let _ = kx_sys::connection::keep_alive(&connection);
    let peer = connection
        .peer_addr()
        .map_or_else(|_| "local".to_owned(), |address| address.ip().to_string());
    let signer = authinfo_file::read(&key_file)
        .map(Arc::new)
        .map_err(|error| error.to_string());
    // What could be done of it is said by a keysrv with -v.
    let _ = crate::confinement::confine(&options.accounts);
    match serve(connection, signer, &options, environment.clock.now()) {
        Ok(Ok(user)) => {
            environment.complain(format_args!("{peer}: {}: certified", one_line(&user)));
            Exit::Success
        }
        Ok(Err(error)) => {
            let text = error.to_string();
            environment.fail(one_line(&text))
        }
        Err(error) => environment.fail(kx_log::format_errno(&error)),
    }
}

fn arguments(environment: &Environment, words: Vec<OsString>) -> Option<Arguments> {
    let mut key_file = environment.paths.signer_key();
    let mut options = Options {
        accounts: environment.paths.mounted_keys(),
        hide_users: false,
        floor: Floor::default(),
    };
    let mut args = Args::new(words);
    while let Some(option) = args.option() {
        match option {
            Opt::Letter('k') => key_file = args.value()?.into(),
            Opt::Letter('m') => options.accounts = args.value()?.into(),
            // A login is always logged; the letter is for all programs of the service alike.
            Opt::Letter('v') => {}
            Opt::Long(name) => match name.as_str() {
                "hide-users" => options.hide_users = true,
                other => floor_options::take(&mut options.floor, other, &mut args)?,
            },
            _ => return None,
        }
    }
    args.operands()
        .is_empty()
        .then_some(Arguments { key_file, options })
}

/// inetd puts the connection on standard error too, where what we report would go to the peer in the
/// middle of the protocol.
pub(crate) fn keep_errors_off_the_connection(environment: &mut Environment) {
    let file = |descriptor: u8| fs::read_link(format!("/proc/self/fd/{descriptor}")).ok();
    if file(2).is_some_and(|errors| file(0).is_some_and(|connection| connection == errors)) {
        environment.stderr = Box::new(io::sink());
    }
}
