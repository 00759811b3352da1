//! Daemons whose clock goes forward when a test says so.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::lab::daemon::Daemon;
use crate::peers::on_path;
use crate::program::run_command;
use crate::subject::workspace;

/// A clock that all processes have that were started with [its environment](Clock::environment).
pub struct Clock {
    library: PathBuf,
    path: PathBuf,
    file: File,
    seconds: i64,
}

impl Clock {
    /// Needs a directory, and a C compiler: `None` if there is none.
    pub fn new(dir: &Path) -> Option<Clock> {
        let compiler = ["cc", "gcc", "clang"].into_iter().find(|c| on_path(c))?;
        let library = dir.join("later.so");
        let done = run_command(
            Command::new(compiler)
                .args([
                    "-Wall", "-Wextra", "-Werror", "-std=c11", "-shared", "-fPIC",
                ])
                .arg(workspace().join("interop-tests/c/later.c"))
                .arg("-o")
                .arg(&library),
        );
        assert_eq!(done.rc, 0, "{}", done.stderr_text());
        let path = dir.join("later");
        fs::write(&path, 0_i64.to_ne_bytes()).expect("a file");
        let file = File::options().write(true).open(&path).expect("a file");
        Some(Clock {
            library,
            path,
            file,
            seconds: 0,
        })
    }

    /// What a process needs to have it.
    pub fn environment(&self) -> [(&str, &OsStr); 2] {
        [
            ("LD_PRELOAD", self.library.as_os_str()),
            ("KX_LATER", self.path.as_os_str()),
        ]
    }

    /// So much time passes for them, an hour at a time; these daemons look at their clocks each time.
    pub fn pass(&mut self, hours: u32, daemons: &[&Daemon<'_>]) {
        for _ in 0..hours {
            self.seconds += Duration::from_secs(3600).as_secs() as i64;
            let now = self.seconds.to_ne_bytes();
            self.file.write_all_at(&now, 0).expect("written");
            for daemon in daemons {
                daemon.netstat();
            }
        }
    }
}
