//! listen: runs a command for every connection to an address (keysrv spec 14.2, 19.4).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use inferno_auth::ssl::Names;
use kx_cli::plan9::{Args, Opt};
use kx_sys::background::{self, Side};
use kx_sys::notify::Notifier;
use kx_sys::spawn::Command;

use crate::acceptor::{self, Acceptor, Limits, Run, Service};
use crate::dial::Address;
use crate::listen_session;
use crate::program::{Environment, Exit};

const USAGE: &str =
    "usage: listen [-i {initscript}] [-Ast] [-k keyfile] [-a alg]... addr command [arg...]";
/// What blocks are for; the original has Inferno's.
const SHELL: &str = "/bin/sh";

/// What the command line says.
#[derive(Debug, Default)]
struct Options {
    /// `-A`: the command does its own.
    no_authentication: bool,
    algorithms: Vec<String>,
    key_file: Option<OsString>,
    /// `-s`.
    foreground: bool,
    /// `-i`.
    first: Option<OsString>,
    verbose: bool,
    limits: Limits,
    address: String,
    command: Vec<OsString>,
}

fn options(words: Vec<OsString>) -> Option<Options> {
    let mut options = Options::default();
    let mut args = Args::new(words);
    while let Some(option) = args.option() {
        match option {
            Opt::Letter('A') => options.no_authentication = true,
            Opt::Letter('a') => options.algorithms.push(args.text()?),
            Opt::Letter('k' | 'f') => options.key_file = Some(args.value()?),
            Opt::Letter('s') => options.foreground = true,
            Opt::Letter('i') => options.first = Some(args.value()?),
            // Whether the command sees /mnt/keys: there are no name spaces here, it does.
            Opt::Letter('t') => {}
            Opt::Letter('v') => options.verbose = true,
            Opt::Long(name) => match name.as_str() {
                "max-conn" => options.limits.total = Some(positive(&mut args)?),
                "max-per-address" => options.limits.per_address = Some(positive(&mut args)?),
                _ => return None,
            },
            _ => return None,
        }
    }
    let mut operands = args.operands().into_iter();
    options.address = operands.next()?.into_string().ok()?;
    options.command = operands.collect();
    (!options.command.is_empty()).then_some(options)
}

fn positive(args: &mut Args) -> Option<usize> {
    args.text()?.parse().ok().filter(|&number| number > 0)
}

/// The program: `listen [-i block] [-Astv] [-a alg]... [-k keyfile] addr command [arg...]`; ours: `--max-conn`,
/// `--max-per-address`. Without `-s` it returns when its sockets are bound and goes on in the
/// background.
pub fn run(environment: &mut Environment, words: Vec<OsString>) -> Exit {
    let Some(options) = options(words) else {
        return environment.usage(USAGE);
    };
    let mut options = options;
    options.command = without_braces(options.command);
    let Some(program) = find_program(environment, &options.command) else {
        let name = options.command.first().cloned().unwrap_or_default();
        return environment.fail(format_args!("{}: not found", name.to_string_lossy()));
    };
    serve(environment, &options, &program)
}

/// Binds the sockets and serves.
fn serve(environment: &mut Environment, options: &Options, program: &Path) -> Exit {
    let mut command = match authenticated(environment, options) {
        Ok(Some(mut command)) => {
            command.argument(program);
            command
        }
        Ok(None) => {
            let mut command = acceptor::command(environment, program);
            command.called(options.command.first().cloned().unwrap_or_default());
            command
        }
        Err(exit) => return exit,
    };
    for argument in options.command.iter().skip(1) {
        command.argument(argument);
    }
    let listeners = Address::resolve(environment, &options.address)
        .and_then(|address| address.addresses())
        .map_err(|error| error.to_string())
        .and_then(|addresses| acceptor::bind(&addresses));
    let listeners = match listeners {
        Ok(listeners) => listeners,
        Err(error) => {
            let address = &options.address;
            return environment.fail(format_args!("failed to announce on '{address}': {error}"));
        }
    };
    // As the original: when the sockets are there, before anybody is served, whatever comes of it.
    if let Some(block) = &options.first {
        let mut first = std::process::Command::new(SHELL);
        first.arg("-c").arg(inside(block).unwrap_or(block));
        first.env("net", &options.address);
        match first.status() {
            Ok(status) if status.success() => {}
            Ok(status) => environment.complain(format_args!("-i: {status}")),
            Err(error) => {
                environment.complain(format_args!("-i: {}", kx_log::format_errno(&error)))
            }
        }
    }
    if !options.foreground {
        match go_on_in_background() {
            Ok(None) => {}
            Ok(Some(exit)) => return exit,
            Err(error) => return environment.fail(kx_log::format_errno(&error)),
        }
    }
    let signals = match acceptor::collect_signals() {
        Ok(signals) => signals,
        Err(error) => return environment.fail(kx_log::format_errno(&error)),
    };
    let notifier = Notifier::new(environment.variable("NOTIFY_SOCKET"));
    let _ = notifier.ready();
    let address = options.address.clone();
    let service = Service {
        address,
        listeners,
        run: Run::Command(Box::new(command)),
    };
    let mut acceptor = Acceptor::new(vec![service], options.limits, options.verbose, signals);
    acceptor.run(environment, &notifier)
}

/// The first of two processes gets its exit.
fn go_on_in_background() -> io::Result<Option<Exit>> {
    let directory = std::env::current_dir()?;
    match background::split()? {
        Side::Started(true) => Ok(Some(Exit::Success)),
        Side::Started(false) => Ok(Some(Exit::Error)),
        Side::Background(ready) => {
            // Commands and their arguments may count from where we were started.
            std::env::set_current_dir(directory)?;
            ready.tell();
            Ok(None)
        }
    }
}

/// With `-A` and no `-a` nobody authenticates here. Else a process of ours stands between the
/// connection and the command.
fn authenticated(
    environment: &mut Environment,
    options: &Options,
) -> Result<Option<Command>, Exit> {
    if options.no_authentication && options.algorithms.is_empty() {
        return Ok(None);
    }
    let key_file = match &options.key_file {
        Some(given) => environment.paths.authinfo(given),
        None => environment.paths.keyring().join("default"),
    };
    if let Err(error) = crate::authinfo_file::read(&key_file) {
        let file = key_file.display();
        return Err(environment.fail(format_args!("cannot read {file}: {error}")));
    }
    // All others are refused by the session: say so before anybody comes.
    if let Err(other) = Names::of(options.algorithms.iter().map(String::as_str)) {
        return Err(environment.fail(format_args!("unsupported algorithm: {other}")));
    }
    if options.algorithms.iter().all(String::is_empty) {
        environment.complain("warning: clients may choose weak algorithms; -a names what is taken");
    }
    let mut command = acceptor::ourselves(environment, listen_session::NAME);
    command.argument(key_file).argument(&options.address);
    command.argument(if options.verbose { "-v" } else { "--" });
    command.argument(match options.algorithms.as_slice() {
        [] => "*".to_owned(),
        names => names.join(","),
    });
    Ok(Some(command))
}

/// What stands in a block in braces; nothing if it is none.
fn inside(block: &OsStr) -> Option<&OsStr> {
    let octets = block.as_bytes().trim_ascii();
    let inside = octets.strip_prefix(b"{")?.strip_suffix(b"}")?;
    Some(OsStr::from_bytes(inside))
}

/// A command that is a block is for the shell, which gets the words after it as `$1` and so on.
fn without_braces(command: Vec<OsString>) -> Vec<OsString> {
    let Some(block) = command.first().and_then(|first| inside(first)) else {
        return command;
    };
    let mut words: Vec<OsString> = vec![SHELL.into(), "-c".into(), block.into(), "listen".into()];
    words.extend(command.into_iter().skip(1));
    words
}

/// The file that execvp(3) would run.
fn find_program(environment: &Environment, command: &[OsString]) -> Option<PathBuf> {
    let name = command.first()?;
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name));
    }
    let path = environment
        .variable("PATH")
        .unwrap_or(OsStr::new("/usr/bin:/bin"));
    let mut places = std::env::split_paths(path).map(|directory| directory.join(name));
    places.find(|place| kx_sys::dir::check_executable(place).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Option<Options> {
        options(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn blocks_are_for_the_shell() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let plain = words(&["cat", "{x}"]);
        assert_eq!(without_braces(plain.clone()), plain);
        assert_eq!(
            without_braces(words(&[" {echo $1; cat} ", "a b"])),
            words(&["/bin/sh", "-c", "echo $1; cat", "listen", "a b"])
        );
        assert_eq!(inside(OsStr::new("{x")), None);
        let parsed = parse(&["-i", "{echo on $net}", "-A", "a", "c"]).expect("options");
        assert_eq!(parsed.first.as_deref(), Some(OsStr::new("{echo on $net}")));
    }

    #[test]
    fn options_are_the_originals() {
        let parsed = parse(&["-v", "-t", "-A", "tcp!*!infkey", "prog", "-x"]).expect("options");
        assert!(parsed.no_authentication && parsed.verbose && !parsed.foreground);
        assert_eq!(parsed.address, "tcp!*!infkey");
        assert_eq!(parsed.command, ["prog", "-x"]);
        let parsed = parse(&[
            "-asha1",
            "-a",
            "rc4_256",
            "-sk",
            "f",
            "--max-conn=3",
            "a",
            "c",
        ]);
        let parsed = parsed.expect("options");
        assert_eq!(parsed.algorithms, ["sha1", "rc4_256"]);
        assert_eq!(parsed.key_file.as_deref(), Some(OsStr::new("f")));
        assert!(parsed.foreground);
        assert_eq!(parsed.limits.total, Some(3));
        for wrong in [
            &["-A"][..],
            &["-A", "addr"],
            &["-q", "a", "c"],
            &["--max-conn=0", "a", "c"],
        ] {
            assert!(parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
