//! Surroundings that a test makes up.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Environment;
use crate::clock::Clock;
use crate::paths::Paths;
use crate::prompt::Console;

/// What was written, for several writers.
#[derive(Debug, Clone, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All so far.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        self.lock().clone()
    }

    /// All so far as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }
}

impl Write for Written {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Somebody whose answers are known before, and who sees `<hidden>` and `</hidden>` where echo goes
/// off and on.
#[derive(Debug, Default)]
pub struct Script {
    answers: VecDeque<u8>,
    shown: Written,
}

impl Script {
    /// With these answers.
    #[must_use]
    pub fn new(answers: &[u8]) -> Script {
        Script::into(answers, Written::default())
    }

    /// The same; questions go where others write, too.
    #[must_use]
    pub fn into(answers: &[u8], shown: Written) -> Script {
        Script {
            answers: answers.iter().copied().collect(),
            shown,
        }
    }

    /// Everything shown so far.
    #[must_use]
    pub fn shown(&self) -> Vec<u8> {
        self.shown.octets()
    }
}

impl Console for Script {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.shown.write_all(text)
    }

    fn read(&mut self) -> io::Result<Option<u8>> {
        Ok(self.answers.pop_front())
    }

    fn set_echo(&mut self, on: bool) -> io::Result<()> {
        self.write(if on { b"</hidden>" } else { b"<hidden>" })
    }
}

/// Made-up surroundings of the program `name` and what it writes: standard output with the
/// questions, and standard error. The user is `alice`, the time 2026-11-21 12:00:00 in Greenwich.
#[must_use]
pub fn environment(name: &str, root: &Path, answers: &[u8]) -> (Environment, Written, Written) {
    let (stdout, stderr) = (Written::default(), Written::default());
    let environment = Environment {
        name: name.to_owned(),
        stdout: Box::new(stdout.clone()),
        stderr: Box::new(stderr.clone()),
        console: Box::new(Script::into(answers, stdout.clone())),
        key_console: Box::new(Script::into(answers, stdout.clone())),
        variables: BTreeMap::new(),
        paths: Paths::new(root, "alice"),
        clock: Clock::fixed(1_795_262_400, 0),
    };
    (environment, stdout, stderr)
}
