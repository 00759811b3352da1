//! The program `keysrv`, with the connection on descriptor 0.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use inferno_auth::floor::Floor;
use inferno_auth::ssl::Policy;
use kx_cli::plan9::{Args, Opt};

use super::serve::{Options, Served, serve};
use crate::authinfo_file;
use crate::floor_options;
use crate::program::{Environment, Exit};

const USAGE: &str = "usage: keysrv [-v] [-k keyfile] [-m keydb] [--strict] [--idle seconds] \
     [--allow-weak-alg] [--allow-weak-cert] [--min-bits bits] [--count-failures]";
/// How long a client may say nothing, unless `--idle` says otherwise.
const IDLE: Duration = Duration::from_secs(10 * 60);

struct Arguments {
    key_file: PathBuf,
    verbose: bool,
    options: Options,
}

/// Runs it.
pub fn run(environment: &mut Environment, words: Vec<OsString>) -> Exit {
    let Some(Arguments {
        key_file,
        verbose,
        options,
    }) = arguments(environment, words)
    else {
        return environment.usage(USAGE);
    };
    let connection = match kx_sys::connection::inherited() {
        Ok(connection) => connection,
        Err(error) => {
            let why = kx_log::format_errno(&error);
            return environment.fail(format_args!("no connection on descriptor 0: {why}"));
        }
    };
    crate::logind::keep_errors_off_the_connection(environment);
    // The original's listener does it; without it a peer that has vanished is not missed.
    let _ = kx_sys::connection::keep_alive(&connection);
    let info = match authinfo_file::read(&key_file) {
        Ok(info) => Arc::new(info),
        Err(error) => {
            let file = key_file.display();
            return environment.fail(format_args!("can't read server key file {file}: {error}"));
        }
    };
    let confined = crate::confinement::confine(&options.accounts);
    if let Some(report) = confined.filter(|_| verbose) {
        environment.complain(report);
    }
    let peer = connection
        .peer_addr()
        .map_or_else(|_| "local".to_owned(), |address| address.ip().to_string());
    let clock = environment.clock;
    let mut log = |text: &str| environment.complain(format_args!("{peer}: {text}"));
    let served = serve(connection, info, &options, &clock, &mut log);
    match served {
        Ok(Served::Session) => {
            if verbose {
                environment.complain(format_args!("{peer}: session ends"));
            }
            Exit::Success
        }
        Ok(Served::NotAuthenticated(error)) => {
            environment.fail(format_args!("can't authenticate: {error}"))
        }
        Ok(Served::Broken(why)) => environment.fail(why),
        Err(error) => environment.fail(kx_log::format_errno(&error)),
    }
}

fn arguments(environment: &Environment, words: Vec<OsString>) -> Option<Arguments> {
    let mut key_file = environment.paths.authinfo("default".as_ref());
    let mut verbose = false;
    let mut options = Options {
        accounts: environment.paths.mounted_keys(),
        owner: environment.paths.user().to_owned(),
        strict: false,
        count_failures: false,
        policy: Policy::Exact,
        floor: Floor::default(),
        idle: Some(IDLE),
    };
    let mut args = Args::new(words);
    while let Some(option) = args.option() {
        match option {
            Opt::Letter('k') => key_file = args.value()?.into(),
            Opt::Letter('m') => options.accounts = args.value()?.into(),
            Opt::Letter('v') => verbose = true,
            Opt::Long(name) => match name.as_str() {
                "strict" => options.strict = true,
                "allow-weak-alg" => options.policy = Policy::Weak,
                "count-failures" => options.count_failures = true,
                "idle" => {
                    let seconds = args.text()?.parse().ok()?;
                    options.idle = (seconds > 0).then(|| Duration::from_secs(seconds));
                }
                other => floor_options::take(&mut options.floor, other, &mut args)?,
            },
            _ => return None,
        }
    }
    args.operands().is_empty().then_some(Arguments {
        key_file,
        verbose,
        options,
    })
}
