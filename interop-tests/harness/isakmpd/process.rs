//! A daemon in the foreground whose log is read as it comes.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::program::{Guarded, status_number};
use crate::wait;

/// A process group of its own; killed when dropped, its log shown when that is by a panic.
#[derive(Debug)]
pub struct Process {
    child: Guarded,
    group: Pid,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts a command; its stderr is the log.
    pub fn start(command: &mut Command) -> Process {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().expect("starting a daemon");
        let stderr = child.stderr.take().expect("a daemon's log");
        let log = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    log.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(line);
                }
            }
        });
        Process {
            group: Pid::from_child(&child),
            child: Guarded(child),
            log,
            reader: Some(reader),
        }
    }

    /// The process that was started.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Its log so far.
    pub fn lines(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many lines of its log contain `text`, from line number `mark` on.
    pub fn count(&self, mark: usize, text: &str) -> usize {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let new = log.get(mark..).unwrap_or_default();
        new.iter().filter(|l| l.contains(text)).count()
    }

    /// How many lines its log has.
    pub fn mark(&self) -> usize {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Waits for a line of its log that contains `text`, from line number `mark` on.
    pub fn wait_for(&self, mark: usize, text: &str, limit: Duration) -> Option<String> {
        wait::until(limit, || {
            let lines = self.lines();
            let new = lines.get(mark..).unwrap_or_default();
            new.iter().find(|l| l.contains(text)).cloned()
        })
    }

    /// Waits for its end and returns its status.
    pub fn wait_end(&mut self, limit: Duration) -> Option<i32> {
        let status = wait::until(limit, || self.child.0.try_wait().ok().flatten())?;
        self.wait_for_the_rest();
        Some(status_number(status))
    }

    /// When nobody holds its pipe any more the log is whole and the last process is gone.
    fn wait_for_the_rest(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = wait::until(Duration::from_secs(5), || {
                reader.is_finished().then_some(())
            });
        }
    }

    /// What Ctrl-C at its terminal does.
    pub fn interrupt(&self) {
        let _ = kill_process_group(self.group, Signal::INT);
    }

    /// All of its processes vanish without a word.
    pub fn kill(&mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.0.wait();
        self.wait_for_the_rest();
    }

    /// True while it runs.
    pub fn runs(&mut self) -> bool {
        self.child.0.try_wait().is_ok_and(|status| status.is_none())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let lines = self.lines();
            let last = lines.get(lines.len().saturating_sub(200)..);
            eprintln!("log of {}: {last:#?}", self.pid());
        }
    }
}
