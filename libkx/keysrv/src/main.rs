//! `inferno-auth`: all programs of the service in one; the name it is called by, or else its first
//! argument, says which (keysrv spec 19.1).
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use keysrv::program::{Environment, Exit, Program};
use keysrv::{programs, svc_auth};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let called = words.next().unwrap_or_default();
    let mut words: Vec<OsString> = words.collect();
    let by_name = Path::new(&called).file_name().and_then(program);
    let program = match by_name {
        Some(program) => program,
        None => match words.first().map(OsString::as_os_str).and_then(program) {
            Some(program) => {
                words.remove(0);
                program
            }
            None => return ExitCode::from(list(&words).code()),
        },
    };
    // The name under which it is found: a child of svc-auth was executed by a link without one.
    if let Ok(name) = std::ffi::CString::new(program.name) {
        let _ = rustix::thread::set_name(&name);
    }
    end_with_parent();
    // Secrets pass through all of them. Where it is not allowed the program is still of use.
    let _ = kx_sys::hardening::forbid_core_dumps();
    let mut environment = Environment::of_process(program.name);
    ExitCode::from((program.run)(&mut environment, words).code())
}

/// svc-auth's keyfs ends with svc-auth, also when that is killed. Best effort, as it is the way of
/// service managers, too.
fn end_with_parent() {
    let parent = std::env::var(svc_auth::PARENT).ok();
    let Some(parent) = parent.and_then(|number| number.parse::<u32>().ok()) else {
        return;
    };
    let signal = Some(rustix::process::Signal::TERM);
    let _ = rustix::process::set_parent_process_death_signal(signal);
    // It may have gone before that.
    if std::os::unix::process::parent_id() != parent {
        std::process::exit(i32::from(Exit::Error.code()));
    }
}

fn program(name: &OsStr) -> Option<&'static Program> {
    programs::find(name.to_str()?)
}

/// What there is, for those who asked for nothing or for what there is not.
fn list(words: &[OsString]) -> Exit {
    let mut text = String::from("usage: inferno-auth PROGRAM [ARGUMENT...]\n\n");
    for program in programs::PROGRAMS {
        text.push_str(&format!("  {:<16} {}\n", program.name, program.summary));
    }
    let asked = words
        .first()
        .is_some_and(|word| word == "--help" || word == "-h" || word == "help");
    if asked {
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Exit::Success;
    }
    if let Some(word) = words.first() {
        let complaint = format!("inferno-auth: no program {}\n", word.to_string_lossy());
        text.insert_str(0, &complaint);
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
    Exit::Usage
}
