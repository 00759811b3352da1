//! A program that talks to a person: it gets a terminal of its own, `/dev/tty` included.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::transcript::{PATIENCE, Transcript};
use crate::program::{Guarded, status_number};
use crate::wait;

fn other_side(name: &CStr) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    options
        .open(OsStr::from_bytes(name.to_bytes()))
        .expect("the terminal's other side")
}

/// A running program and the person's side of its terminal.
#[derive(Debug)]
pub struct Dialog {
    child: Guarded,
    keyboard: File,
    screen: Transcript,
    name: CString,
}

/// What is written behind all that a program said.
const END: &str = "\u{1}the end\u{1}";

impl Dialog {
    /// Starts a program on a new terminal.
    pub fn start(command: &Command) -> Dialog {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("ptsname");
        let open = || other_side(&name);
        // setsid makes its stdin the controlling terminal; it execs, so the process is the program.
        let mut through = Command::new("setsid");
        through.arg("--ctty").arg(command.get_program());
        through.args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => through.env(key, value),
                None => through.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            through.current_dir(dir);
        }
        let child = through
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()))
            .spawn()
            .expect("setsid");
        let keyboard = File::from(master);
        let screen = Transcript::default();
        screen.follow(keyboard.try_clone().expect("a copy of the terminal"));
        Dialog {
            child: Guarded(child),
            keyboard,
            screen,
            name,
        }
    }

    /// Waits for a text on the screen and gives what stands before it.
    pub fn expect(&mut self, text: &str) -> String {
        self.screen.expect(text)
    }

    /// Types a line.
    pub fn answer(&mut self, line: &str) {
        self.keys(format!("{line}\n").as_bytes());
    }

    /// Types keys as they are.
    pub fn keys(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("typing");
    }

    /// Waits for a question and answers it.
    pub fn ask(&mut self, question: &str, line: &str) -> String {
        let before = self.expect(question);
        self.answer(line);
        before
    }

    /// The process, to send it signals.
    pub fn child(&self) -> &Child {
        &self.child.0
    }

    /// Waits for its end; gives the exit status and the whole screen.
    pub fn end(mut self) -> (i32, String) {
        let status = wait::until(PATIENCE, || self.child.0.try_wait().ok().flatten());
        let Some(status) = status else {
            panic!("it goes on after:\n{}", self.screen.text());
        };
        // A process in the background may keep the terminal open: what is written now comes last.
        let _ = other_side(&self.name).write_all(END.as_bytes());
        let _ = self.screen.find(END, PATIENCE);
        let text = self.screen.text();
        let text = text.split(END).next().unwrap_or_default();
        (status_number(status), text.to_owned())
    }
}
