//! Name spaces for one round: an /etc and a /run of its own, with ways out of the two directories, and what is to stay
//! untouched.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, makedev, mknodat};

pub(crate) const USER: &str = "_isakmpd";

/// Laid over: what the process finds there is made here.
const PLACES: [&str; 3] = ["/etc", "/run", "/mnt"];

/// Why this cannot be had here, if so.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::getuid().is_root() {
        return Some("only root can be a monitor".to_owned());
    }
    let script = "mount -t tmpfs none /mnt";
    let made = Command::new("unshare")
        .args(["--mount", "--net", "sh", "-c", script])
        .status();
    match made {
        Ok(status) if status.success() => None,
        made => Some(format!("no name spaces can be made here: {made:?}")),
    }
}

/// Runs this program again in name spaces of its own, with this variable. Panics if it fails.
pub(crate) fn start(variable: &str, value: &str) {
    let script =
        "for place in $PLACES; do mount -t tmpfs -o mode=755 none $place; done; exec \"$0\"";
    // One that does not come to its end is a failure, too.
    let status = Command::new("timeout")
        .args(["-s", "KILL", "120", "unshare", "--mount", "--net"])
        .args(["--propagation", "private", "sh", "-ec", script])
        .arg(std::env::current_exe().expect("this program"))
        .env(variable, value)
        .env("PLACES", PLACES.join(" "))
        .status()
        .expect("timeout of coreutils");
    assert!(status.success(), "round {value}: {status}");
}

/// A path with what can be seen of it: kind and mode, size, when it changed, the content of a file.
type Seen = BTreeMap<PathBuf, (u32, u64, (i64, i64), Vec<u8>)>;

pub(crate) struct Stage {
    log: tempfile::NamedTempFile,
}

impl Stage {
    pub(crate) fn build() -> Stage {
        for directory in [
            "/etc/isakmpd/sub",
            "/run/other",
            "/run/isakmpd-site",
            "/mnt/jail",
        ] {
            fs::create_dir_all(directory).expect(directory);
        }
        for (path, content, mode) in [
            (
                "/etc/passwd",
                "root:x:0:0::/:\n_isakmpd:x:64997:64997::/mnt/jail:\n",
                0o644,
            ),
            ("/etc/group", "root:x:0:\n_isakmpd:x:64997:\n", 0o644),
            ("/etc/nsswitch.conf", "passwd: files\ngroup: files\n", 0o644),
            ("/etc/shadow", "secret", 0o600),
            ("/etc/isakmpd/isakmpd.conf", "text", 0o600),
            ("/run/isakmpd-site/isakmpd.conf", "site", 0o600),
            ("/run/other/secret", "secret", 0o600),
            ("/run/other.pid", "1", 0o644),
            ("/mnt/secret", "secret", 0o644),
        ] {
            fs::write(path, content).expect(path);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect(path);
        }
        for (target, link) in [
            ("/etc/shadow", "/etc/isakmpd/shadow"),
            ("/mnt", "/etc/isakmpd/out"),
            ("loop", "/etc/isakmpd/loop"),
            ("/mnt/secret", "/run/secret"),
            ("/mnt", "/run/out"),
            ("/mnt/new", "/run/leads-nowhere"),
            ("/etc/isakmpd/isakmpd.conf", "/run/isakmpd.conf"),
            ("/run/other", "/run/isakmpd-other"),
        ] {
            symlink(target, link).expect(link);
        }
        for directory in ["/etc/isakmpd", "/run"].map(Path::new) {
            let node = |name, kind, device| {
                mknodat(CWD, directory.join(name), kind, 0o666.into(), device).expect("made");
            };
            node("fifo", FileType::Fifo, 0);
            // As /dev/zero.
            node("device", FileType::CharacterDevice, makedev(1, 5));
        }
        drop(UnixListener::bind("/run/socket").expect("bound"));
        Stage {
            log: tempfile::NamedTempFile::new().expect("a file"),
        }
    }

    pub(crate) fn log_file(&self) -> &File {
        self.log.as_file()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log.path()).expect("the log")
    }

    /// All that there is in the places of this round.
    pub(crate) fn look(&self) -> Seen {
        let mut seen = BTreeMap::new();
        for place in PLACES {
            look(Path::new(place), &mut seen);
        }
        seen
    }
}

fn look(path: &Path, seen: &mut Seen) {
    let data = fs::symlink_metadata(path).expect("there");
    let mut content = Vec::new();
    if data.is_file() {
        content = fs::read(path).expect("read");
    }
    // Directories change with what is in them.
    let changed = match data.is_dir() {
        true => (0, 0),
        false => (data.mtime(), data.mtime_nsec()),
    };
    let size = if data.is_dir() { 0 } else { data.len() };
    seen.insert(path.to_owned(), (data.mode(), size, changed, content));
    if data.is_dir() {
        for entry in fs::read_dir(path).expect("listed") {
            look(&entry.expect("an entry").path(), seen);
        }
    }
}

/// Paths that are new, gone or not as they were.
pub(crate) fn changes(before: &Seen, after: &Seen) -> Vec<PathBuf> {
    let paths: std::collections::BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    let changed = |path: &&PathBuf| before.get(*path) != after.get(*path);
    paths.into_iter().filter(changed).cloned().collect()
}
