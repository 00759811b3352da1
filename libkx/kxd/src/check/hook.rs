//! The hook.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::Access;

use super::CheckConfig;
use super::files;
use super::report::Report;

/// Octets of a hook that tell how the kernel would run it (execve(2): a `#!` line has 255).
const HEAD: u64 = 256;

pub(super) fn check(report: &mut Report, config: &CheckConfig) {
    let path = config.hook.as_path();
    if path.as_os_str().is_empty() {
        return;
    }
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if path.is_symlink() {
                let problem = "hook is a link to nothing, so keys are given without asking it";
                report.error(path, problem, "mend or remove the link");
            } else if config.hook_expected {
                let problem = "hook does not exist, so keys are given without asking it";
                report.warning(path, problem, "make it, or give --hook=");
            }
            return;
        }
        Err(e) => {
            let problem = format!(
                "hook cannot be run, so no key is given: {}",
                files::text(&e)
            );
            report.error(path, problem, "mend the path");
            return;
        }
    };
    if path.parent() == Some(Path::new("")) {
        let problem = "name without a slash: it is searched in PATH and not run from here";
        report.error(path, problem, "give the whole path, from /");
        return;
    }
    files::check_writable(report, path, &metadata);
    if !metadata.is_file() {
        report.error(
            path,
            "hook is not a file, so no key is given",
            "make it a program",
        );
        return;
    }
    if rustix::fs::access(path, Access::EXEC_OK).is_err() {
        report.error(
            path,
            "hook is not executable, so no key is given",
            "chmod +x",
        );
        return;
    }
    check_format(report, path);
}

/// A hook is executed without a shell, so a script needs its `#!`.
fn check_format(report: &mut Report, path: &Path) {
    // What may be executed need not be readable.
    let Ok(file) = files::open(path) else { return };
    let mut head = Vec::new();
    if file.take(HEAD).read_to_end(&mut head).is_err() || head.starts_with(b"\x7fELF") {
        return;
    }
    let Some(line) = head.strip_prefix(b"#!") else {
        let problem = "hook is neither a program nor a script with \"#!\", so no key is given";
        report.error((path, 1), problem, "begin it with #!/bin/sh");
        return;
    };
    let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        let problem = "the hook's first line ends in CR, so no key is given";
        report.error((path, 1), problem, "use line feeds alone");
        return;
    }
    let mut words = line
        .split(|b| matches!(b, b' ' | b'\t'))
        .filter(|w| !w.is_empty());
    let interpreter = Path::new(std::ffi::OsStr::from_bytes(
        words.next().unwrap_or_default(),
    ));
    if !interpreter.is_file() {
        let problem = format!(
            "the hook's interpreter {:?} does not exist, so no key is given",
            interpreter.display()
        );
        report.error((path, 1), problem, "name one that does");
    }
}
