//! Where sc-hsm-tool's texts go and its answers come from: the three standard streams, unbuffered as the
//! original's, so that they come in the same order when they are one.

use std::io::{self, IsTerminal, Write};

use kx_secret::SecretBytes;
use kx_sys::terminal::Terminal;

/// Octets of an answer at most.
const ANSWER: usize = 4096;

/// Somebody to talk to.
pub trait Console {
    /// Says something on standard output. A reader that went away is no concern of the card's.
    fn out(&mut self, text: &str);
    /// Says something on standard error.
    fn err(&mut self, text: &str);
    /// The next line without its end; `None` when there is none.
    fn line(&mut self) -> Option<SecretBytes>;
    /// The next line, not to be seen while it is typed.
    fn secret(&mut self) -> Option<SecretBytes>;
    /// Takes what was shown from the screen, for the eyes of the next custodian.
    fn clear(&mut self);
}

/// The standard streams.
#[derive(Debug)]
pub struct Streams {
    terminal: Terminal,
    shown: bool,
}

impl Streams {
    /// Those of this process.
    ///
    /// # Errors
    /// The system's: one of them is closed.
    pub fn standard() -> io::Result<Self> {
        Ok(Self {
            terminal: Terminal::standard()?,
            shown: io::stdout().is_terminal(),
        })
    }

    fn answer(&mut self) -> Option<SecretBytes> {
        let mut line = SecretBytes::with_capacity(128);
        let mut some = false;
        while line.len() < ANSWER {
            match self.terminal.read() {
                Ok(Some(b'\n')) => return Some(line),
                Ok(Some(b'\r')) => some = true,
                Ok(Some(octet)) => {
                    some = true;
                    line.push(octet);
                }
                Ok(None) | Err(_) => break,
            }
        }
        some.then_some(line)
    }
}

impl Console for Streams {
    fn out(&mut self, text: &str) {
        let _ = self.terminal.write(text.as_bytes());
    }

    fn err(&mut self, text: &str) {
        let _ = io::stderr().write_all(text.as_bytes());
    }

    fn line(&mut self) -> Option<SecretBytes> {
        self.answer()
    }

    fn secret(&mut self) -> Option<SecretBytes> {
        if self.terminal.set_echo(false).is_err() {
            return None;
        }
        let answer = self.answer();
        let _ = self.terminal.set_echo(true);
        if self.shown {
            self.out("\n");
        }
        answer
    }

    fn clear(&mut self) {
        // The original starts clear(1), which says where there is no terminal that there is none.
        if self.shown {
            self.out("\x1b[H\x1b[2J\x1b[3J");
        }
    }
}
