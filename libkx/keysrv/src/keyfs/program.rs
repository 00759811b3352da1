//! The program: options, messages and the way into the background (keysrv spec 10.1 and 19.3).

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use kx_cli::plan9::{Args, Opt};
use kx_log::format_errno;
use kx_sys::background::{self, Side};
use kx_sys::notify::Notifier;
use kx_sys::signals::{Signals, number};

use super::master_key;
use super::serve::{Listener, Service};
use super::store::Store;
use crate::program::{Environment, Exit};

const USAGE: &str = "Usage: keyfs [-D] [-m mountpoint] [keyfile]";
/// Said in place of the other one where an option's value is missing.
const USAGE_VALUE: &str = "usage: keyfs [-m mntpt] [-D] [-n nvramfile] [keyfile]";

struct Options {
    trace: bool,
    foreground: bool,
    place: PathBuf,
    nvram: Option<PathBuf>,
    file: PathBuf,
}

fn options(environment: &Environment, words: Vec<OsString>) -> Result<Options, &'static str> {
    let mut options = Options {
        trace: false,
        foreground: false,
        place: environment.paths.mounted_keys(),
        nvram: None,
        file: environment.paths.keys(),
    };
    let mut args = Args::new(words);
    while let Some(option) = args.option() {
        match option {
            Opt::Letter('D') => options.trace = true,
            Opt::Letter('F') => options.foreground = true,
            Opt::Letter('m') => options.place = args.value().ok_or(USAGE_VALUE)?.into(),
            Opt::Letter('n') => options.nvram = Some(args.value().ok_or(USAGE_VALUE)?.into()),
            _ => return Err(USAGE),
        }
    }
    if let Some(file) = args.operands().into_iter().next() {
        options.file = file.into();
    }
    Ok(options)
}

/// keyfs: gets the key, opens the database, and serves it until it is told to end. Without `-F` the
/// program ends with success as soon as the tree can be reached, and another process goes on.
pub fn run(environment: &mut Environment, words: Vec<OsString>) -> Exit {
    let options = match options(environment, words) {
        Ok(options) => options,
        Err(usage) => return environment.usage(usage),
    };
    // Whatever fails here, the work can be done without.
    let _ = kx_sys::hardening::forbid_core_dumps();
    let key = master_key::obtain(environment, options.nvram.as_deref(), &options.file);
    let key = match key {
        Ok(key) => key,
        Err(exit) => return exit,
    };
    let store = match Store::open(&options.file, key) {
        Ok(store) => store,
        Err(error) => return environment.fail(error),
    };
    // The background has another directory.
    let place = std::path::absolute(&options.place).unwrap_or(options.place);
    let listener = match Listener::bind(&place) {
        Ok(listener) => listener,
        Err(error) => {
            let (place, reason) = (place.display(), format_errno(&error));
            return environment.fail(format_args!("mount on {place} failed: {reason}"));
        }
    };
    let service = Service {
        store: Arc::new(store),
        owner: environment.paths.user().as_bytes().into(),
        trace: options.trace,
        clock: environment.clock,
    };
    if options.foreground {
        let notifier = Notifier::new(environment.variable("NOTIFY_SOCKET"));
        return serve(environment, &service, &listener, || {
            let _ = notifier.ready();
        });
    }
    match background::split() {
        Ok(Side::Started(ready)) => {
            // The socket's file belongs to the other one now.
            std::mem::forget(listener);
            if ready { Exit::Success } else { Exit::Error }
        }
        Ok(Side::Background(ready)) => serve(environment, &service, &listener, || ready.tell()),
        Err(error) => environment.fail(format_errno(&error)),
    }
}

fn serve(
    environment: &mut Environment,
    service: &Service,
    listener: &Listener,
    ready: impl FnOnce(),
) -> Exit {
    // What cannot be raised bounds the number of clients.
    let _ = kx_sys::hardening::raise_descriptor_limit();
    let served = Signals::collect(&[number::TERMINATE, number::INTERRUPT]).and_then(|signals| {
        ready();
        // Each client has a thread: more arenas would come with the most clients there ever were, and stay.
        kx_sys::memory::limit_arenas(2);
        service.run(listener, &signals)
    });
    match served {
        Ok(()) => Exit::Success,
        Err(error) => environment.fail(format_errno(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::fake;

    fn said(words: &[&str], answers: &[u8], root: &std::path::Path) -> (String, Exit) {
        let (mut environment, _, stderr) = fake::environment("keyfs", root, answers);
        let words = words.iter().map(OsString::from).collect();
        let exit = run(&mut environment, words);
        (stderr.text(), exit)
    }

    #[test]
    fn wrong_options_get_the_originals_lines() {
        let root = std::path::Path::new("/nonexistent");
        for (words, line) in [
            (&["-x"][..], USAGE),
            (&["--help"], USAGE),
            (&["-D", "-q", "file"], USAGE),
            (&["-m"], USAGE_VALUE),
            (&["-n"], USAGE_VALUE),
        ] {
            assert_eq!(said(words, b"", root), (format!("{line}\n"), Exit::Usage));
        }
    }

    #[test]
    fn a_missing_key_file_is_an_error_even_after_confirmation() {
        let root = tempfile::tempdir().expect("temporary directory");
        let file = root.path().join("keydb/keys");
        let file = file.display();
        let expected = format!("keyfs: can't open {file}: '{file}' does not exist\n");
        assert_eq!(said(&[], b"k\nk\n", root.path()), (expected, Exit::Error));
    }

    #[test]
    fn the_wrong_key_is_told_and_nothing_changed() {
        let vector = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../interop-tests/vectors/keysrv/keyfs/various.keys"
        );
        let content = std::fs::read(vector).expect("vector");
        let root = tempfile::tempdir().expect("temporary directory");
        let file = root.path().join("keys");
        kx_sys::atomic_file::write(
            &file,
            &content,
            kx_sys::atomic_file::Permissions::Exact(0o600),
        )
        .expect("written");
        let name = file.to_str().expect("text");
        let expected = format!("keyfs: {name}: incorrect key or corrupt/damaged keyfile\n");
        let (text, exit) = said(&[name], b"wrong\n", root.path());
        assert_eq!((text, exit), (expected, Exit::Error));
        assert_eq!(std::fs::read(&file).expect("read"), content);
    }
}
