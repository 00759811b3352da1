//! What all the programs have in common: their surroundings and their exit codes.

pub mod fake;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};

use kx_sys::terminal::Terminal;

use crate::clock::Clock;
use crate::paths::{DEFAULT_ROOT, Paths};
use crate::prompt::{Console, Nobody};

/// How a program ended (keysrv spec 17): the originals' status texts have no equivalent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0.
    Success,
    /// 1; the reason has been said.
    Error,
    /// 2: wrong options or operands.
    Usage,
}

impl Exit {
    /// The number for the system.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Error => 1,
            Exit::Usage => 2,
        }
    }
}

/// What a program finds around itself, so that tests can make it up.
pub struct Environment {
    /// The name it was called by, for its messages (`keysrv`).
    pub name: String,
    /// Standard output. Unbuffered or by lines.
    pub stdout: Box<dyn Write + Send>,
    /// Standard error.
    pub stderr: Box<dyn Write + Send>,
    /// Who answers questions: standard input and output (`/dev/cons`).
    pub console: Box<dyn Console>,
    /// Who is asked for a master key: the terminal if there is one (keysrv spec 19.3), else as
    /// `console`.
    pub key_console: Box<dyn Console>,
    /// Environment variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// The root and the local user.
    pub paths: Paths,
    /// Time and zone.
    pub clock: Clock,
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("name", &self.name)
            .field("paths", &self.paths)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// This process's, for the program `name`.
    #[must_use]
    pub fn of_process(name: &str) -> Environment {
        let variables: BTreeMap<_, _> = std::env::vars_os().collect();
        let root = non_empty(&variables, "INFERNO_ROOT").unwrap_or(DEFAULT_ROOT.into());
        let user = match non_empty(&variables, "INFERNO_USER") {
            Some(user) => user,
            None => kx_sys::user_name::effective()
                .ok()
                .flatten()
                .unwrap_or_else(|| "nobody".into()),
        };
        Environment {
            name: name.to_owned(),
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            console: standard_console(),
            key_console: match Terminal::controlling() {
                Ok(terminal) => Box::new(terminal),
                Err(_) => standard_console(),
            },
            paths: Paths::new(root, user.to_string_lossy()),
            clock: Clock::of_host(),
            variables,
        }
    }

    /// A copy for who needs variables, paths and time, but says and asks nothing.
    #[must_use]
    pub fn for_network(&self) -> Environment {
        Environment {
            name: self.name.clone(),
            stdout: Box::new(io::sink()),
            stderr: Box::new(io::sink()),
            console: Box::new(Nobody),
            key_console: Box::new(Nobody),
            variables: self.variables.clone(),
            paths: self.paths.clone(),
            clock: self.clock,
        }
    }

    /// That of a program for one connection, in a copy of this process: nobody is asked anything, and it
    /// does not see the variables in `ours_alone`.
    #[must_use]
    pub fn for_session(&self, name: &str, ours_alone: &[&str]) -> Environment {
        let mut environment = Environment {
            name: name.to_owned(),
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            ..self.for_network()
        };
        for name in ours_alone {
            environment.variables.remove(OsStr::new(name));
        }
        environment
    }

    /// The value of a variable that is set and not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// Writes `NAME: TEXT` and a line feed to standard error. That nobody reads it is no reason to end.
    pub fn complain(&mut self, text: impl fmt::Display) {
        let line = format!("{}: {text}\n", self.name);
        let _ = self.stderr.write_all(line.as_bytes());
    }

    /// [`Environment::complain`] for errors that end the program.
    pub fn fail(&mut self, text: impl fmt::Display) -> Exit {
        self.complain(text);
        Exit::Error
    }

    /// Writes the line and a line feed to standard error, for wrong options and operands. The line is the
    /// original's, with `usage: ` or what it has instead.
    pub fn usage(&mut self, line: &str) -> Exit {
        let _ = self.stderr.write_all(format!("{line}\n").as_bytes());
        Exit::Usage
    }

    /// Writes to standard output.
    ///
    /// # Errors
    /// The system's.
    pub fn print(&mut self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.stdout.write_all(text.as_ref())?;
        self.stdout.flush()
    }
}

fn non_empty(variables: &BTreeMap<OsString, OsString>, name: &str) -> Option<OsString> {
    let value = variables.get(OsStr::new(name))?;
    (!value.is_empty()).then(|| value.clone())
}

fn standard_console() -> Box<dyn Console> {
    match Terminal::standard() {
        Ok(terminal) => Box::new(terminal),
        Err(_) => Box::new(Nobody),
    }
}

/// One of the programs: it gets its surroundings and its words (without its name).
pub type Run = fn(&mut Environment, Vec<OsString>) -> Exit;

/// A name and what it stands for.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// As in keysrv spec 19.1.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// It.
    pub run: Run,
}
