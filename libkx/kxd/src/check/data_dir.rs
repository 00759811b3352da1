//! The data directory: which keys there are, and the files of each.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::CheckConfig;
use super::report::Report;
use super::{clients, files, hosts, mail};
use crate::key_store::KEY_LIMIT;

/// Directories that are looked into; a link can lead to a whole file system.
const MAX_DIRECTORIES: usize = 100_000;

/// Depth of directories that are looked into.
const MAX_DEPTH: usize = 64;

/// The files that make a directory a key.
const FILES: [&str; 4] = ["key", "allowed_clients", "allowed_hosts", "email_to"];

/// Checks all keys and tells how many there are.
pub(super) fn check(report: &mut Report, config: &CheckConfig) -> usize {
    let mut keys = 0;
    // Each directory is looked into once, so loops of links end.
    let mut seen = HashSet::new();
    let mut waiting = vec![(config.data_dir.clone(), 0)];
    while let Some((dir, depth)) = waiting.pop() {
        let metadata = match dir.metadata() {
            Ok(metadata) => metadata,
            Err(e) => {
                report.error(
                    &*dir,
                    files::text(&e),
                    "make the directory or mend its modes",
                );
                continue;
            }
        };
        if !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        if depth > MAX_DEPTH || seen.len() > MAX_DIRECTORIES {
            report.warning(
                &*dir,
                "not looked into",
                "the data directory is too large or deep",
            );
            continue;
        }
        let names = match names(&dir) {
            Ok(names) => names,
            Err(e) => {
                let problem = format!("cannot be listed: {}", files::text(&e));
                report.error(&*dir, problem, "make it readable for the daemon");
                continue;
            }
        };
        // The server takes no key path that is empty, so files in the top directory are nobody's.
        let has_files = names.iter().any(|n| FILES.iter().any(|f| n == f));
        if depth == 0 && has_files {
            let problem = "key files right in the data directory are not used";
            report.warning(
                &*dir,
                problem,
                "move them into a directory of the key's name",
            );
        } else if has_files {
            keys += 1;
            check_key(report, config, &dir, &names, &metadata);
        }
        for name in names.iter().rev() {
            let path = dir.join(name);
            if path.is_dir() && !(has_files && FILES.iter().any(|f| name == f)) {
                waiting.push((path, depth + 1));
            }
        }
    }
    keys
}

/// What is in a directory, sorted.
fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names: Vec<OsString> = dir
        .read_dir()?
        .map(|e| e.map(|e| e.file_name()))
        .collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

fn check_key(
    report: &mut Report,
    config: &CheckConfig,
    dir: &Path,
    names: &[OsString],
    metadata: &Metadata,
) {
    let key_path = dir.strip_prefix(&config.data_dir).unwrap_or(dir);
    if key_path
        .as_os_str()
        .as_bytes()
        .windows(2)
        .any(|w| w == b"..")
    {
        let problem = "the key path has two dots in a row, so every request is refused";
        report.error(dir, problem, "rename the directory");
    }
    files::check_writable(report, dir, metadata);
    check_secret_file(report, &dir.join("key"));
    let has = |name: &str| names.iter().any(|n| n == OsStr::new(name));
    let allowed_clients = dir.join("allowed_clients");
    if has("allowed_clients") {
        clients::check(report, config, &allowed_clients);
    } else {
        let problem = "does not exist, so nobody gets the key";
        report.warning(
            &*allowed_clients,
            problem,
            "add a client with kxd-add-client-key",
        );
    }
    if has("allowed_hosts") {
        hosts::check(report, &dir.join("allowed_hosts"));
    }
    if has("email_to") {
        mail::check(report, config, &dir.join("email_to"));
    }
}

fn check_secret_file(report: &mut Report, path: &Path) {
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(e) => {
            let problem = match e.kind() {
                io::ErrorKind::NotFound if path.is_symlink() => "link to nothing".to_owned(),
                _ => files::text(&e),
            };
            report.error(
                path,
                format_args!("{problem}, so there is no key"),
                "put the key there",
            );
            return;
        }
    };
    if !metadata.is_file() {
        let problem = "not a regular file, so there is no key";
        report.error(path, problem, "put the key in a plain file");
        return;
    }
    if metadata.len() == 0 {
        report.warning(path, "key is empty", "write the key into it");
    } else if metadata.len() > KEY_LIMIT {
        let problem = format!("key is longer than {KEY_LIMIT} octets, so it is not given");
        report.error(path, problem, "is it really a key?");
    }
    // Opened, not read.
    if let Err(e) = files::open(path) {
        let problem = format!(
            "key cannot be read, so it is not given: {}",
            files::text(&e)
        );
        report.error(path, problem, "make it readable for the daemon");
    }
    files::check_secret(report, path, &metadata);
}

/// Reads one of the small files, or says why the server cannot.
pub(super) fn read_list(report: &mut Report, path: &PathBuf, limit: usize) -> Option<Vec<u8>> {
    if let Ok(metadata) = path.metadata() {
        files::check_writable(report, path, &metadata);
    } else if path.is_symlink() {
        report.error(&**path, "link to nothing", "mend or remove the link");
        return None;
    }
    match files::read(path, limit) {
        Ok(text) => Some(text.to_vec()),
        Err(e) => {
            let problem = format!("cannot be read: {}", files::text(&e));
            report.error(
                &**path,
                problem,
                "make it a plain file that the daemon can read",
            );
            None
        }
    }
}
