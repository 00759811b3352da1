//! A private view of the file system for one daemon: its own /run, its own directories below /etc, the account
//! `_isakmpd`, and the files of packages that are unpacked and not installed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::lab::host::Host;
use crate::program::run;

/// Directories that a daemon sees in place of the machine's.
#[derive(Debug)]
pub struct Stage {
    dir: PathBuf,
    /// What is laid over /usr, if anything.
    usr: Option<PathBuf>,
    /// Directory of ours, path that the daemon sees.
    places: Vec<(PathBuf, &'static str)>,
}

/// Why daemons cannot be given views of their own here, if so.
pub fn missing() -> Option<String> {
    static WORKS: LazyLock<bool> = LazyLock::new(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let script = format!(
            "mount -t overlay overlay -o lowerdir={}:/etc /etc",
            dir.path().display()
        );
        run("unshare", &["-m", "sh", "-c", &script]).rc == 0
    });
    (!*WORKS).then(|| "no overlay mounts can be made here".to_owned())
}

impl Stage {
    /// A view with a /run of its own, below `dir`.
    pub fn new(dir: &Path) -> Stage {
        let stage = Stage {
            dir: dir.to_owned(),
            usr: None,
            places: vec![(dir.join("run"), "/run")],
        };
        for (sub, mode) in [("etc", 0o755), ("run", 0o755), ("jail", 0o755)] {
            make(&dir.join(sub), mode);
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("the stage's mode");
        let jail = dir.join("jail");
        let jail = jail.display();
        stage.account(
            "passwd",
            &format!("_isakmpd:x:64997:64997::{jail}:/usr/sbin/nologin"),
        );
        stage.account("group", "_isakmpd:x:64997:");
        stage
    }

    fn account(&self, file: &str, line: &str) {
        let text = fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
        let others = text.lines().filter(|l| !l.starts_with("_isakmpd:"));
        let lines: Vec<&str> = others.chain([line]).collect();
        self.etc(file, &(lines.join("\n") + "\n"));
    }

    /// The account `_isakmpd` does not exist in this view.
    pub fn without_account(&self) {
        for file in ["passwd", "group"] {
            let text = fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
            let lines: Vec<&str> = text
                .lines()
                .filter(|l| !l.starts_with("_isakmpd:"))
                .collect();
            self.etc(file, &(lines.join("\n") + "\n"));
        }
    }

    /// A file below /etc in this view; for all to read.
    pub fn etc(&self, file: &str, text: &str) {
        let path = self.dir.join("etc").join(file);
        fs::create_dir_all(path.parent().unwrap_or(&path)).expect("a directory of the stage");
        fs::write(path, text).expect("a file of the stage");
    }

    /// A directory of its own at `place` (below /etc), empty. Returns where it really is.
    pub fn directory(&mut self, place: &'static str, mode: u32) -> PathBuf {
        let below = place.strip_prefix("/etc/").expect("a place below /etc");
        make(&self.dir.join("etc").join(below), 0o755);
        let own = self.dir.join(below.replace('/', "-"));
        make(&own, mode);
        self.places.push((own.clone(), place));
        own
    }

    /// Files of an unpacked package: its /usr is laid over the machine's.
    pub fn lay_over_usr(&mut self, unpacked: &Path) {
        self.usr = Some(unpacked.join("usr"));
    }

    /// Where /run really is.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// A command that will run on `host` with this view.
    pub fn command(&self, host: &Host, program: impl AsRef<OsStr>) -> Command {
        let mut script = format!(
            "mount -t overlay overlay -o lowerdir={}:/etc /etc\n",
            self.dir.join("etc").display()
        );
        if let Some(usr) = &self.usr {
            let usr = usr.display();
            script += &format!("mount -t overlay overlay -o lowerdir={usr}:/usr /usr\n");
        }
        // /run last: it hides the namespaces' names.
        for (own, place) in self.places.iter().rev() {
            script += &format!("mount --bind {} {place}\n", own.display());
        }
        script += "exec \"$@\"";
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", host.namespace))
            .args(["--", "unshare", "-m", "--propagation", "private", "--"])
            .args(["sh", "-euc", &script, "sh"])
            .arg(program);
        command
    }
}

fn make(dir: &Path, mode: u32) {
    fs::create_dir_all(dir).expect("a directory of the stage");
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).expect("a directory's mode");
}
