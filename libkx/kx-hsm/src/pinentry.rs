//! Asking through a pinentry program, by the Assuan protocol: lines both ways over its standard streams,
//! `OK`, `ERR number text`, `D data` with `%XX` for what cannot stand in a line.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use kx_secret::SecretBytes;

/// Octets of a line at most, as the protocol has it.
const LINE: u64 = 1000;
/// GPG_ERR_CANCELED, and NOT_CONFIRMED, in the low 16 bits of the number.
const CANCELED: [u32; 2] = [99, 114];

/// Why nothing was asked.
#[derive(Debug, thiserror::Error)]
pub enum PinentryError {
    /// It cannot be started, or went away.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
    /// Somebody said no.
    #[error("cancelled")]
    Cancelled,
    /// It says something else.
    #[error("pinentry: {0}")]
    Refused(String),
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// A sentence above the field.
    pub description: &'a str,
    /// Before the field.
    pub prompt: &'a str,
}

/// Asks with the program `name`; on a terminal it draws on `terminal` if it needs one.
///
/// # Errors
/// [`PinentryError`].
pub fn ask(
    name: &str,
    terminal: Option<&str>,
    question: Question<'_>,
) -> Result<SecretBytes, PinentryError> {
    let io = |error| PinentryError::Io(name.to_owned(), error);
    let mut child = Command::new(name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map(Guard)
        .map_err(io)?;
    let (Some(input), Some(output)) = (child.0.stdin.take(), child.0.stdout.take()) else {
        return Err(io(std::io::ErrorKind::BrokenPipe.into()));
    };
    let mut talk = Talk {
        input,
        output: BufReader::new(output),
    };
    let secret = talk
        .question(terminal, question)
        .map_err(|error| match error {
            TalkError::Io(error) => io(error),
            TalkError::Refused(number, _) if CANCELED.contains(&(number & 0xffff)) => {
                PinentryError::Cancelled
            }
            TalkError::Refused(_, text) => PinentryError::Refused(text),
        });
    let _ = talk.input.write_all(b"BYE\n");
    drop(talk);
    let _ = child.0.wait();
    secret
}

/// Ends with the question.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

enum TalkError {
    Io(std::io::Error),
    Refused(u32, String),
}

impl From<std::io::Error> for TalkError {
    fn from(error: std::io::Error) -> Self {
        TalkError::Io(error)
    }
}

struct Talk<I, O> {
    input: I,
    output: O,
}

impl<I: Write, O: BufRead> Talk<I, O> {
    fn question(
        &mut self,
        terminal: Option<&str>,
        question: Question<'_>,
    ) -> Result<SecretBytes, TalkError> {
        self.answer()?;
        if let Some(terminal) = terminal {
            // Only drawing is lost without it.
            let _ = self.command("OPTION ttyname=", terminal);
        }
        self.command("SETTITLE ", "kx-hsm")?;
        self.command("SETDESC ", question.description)?;
        self.command("SETPROMPT ", question.prompt)?;
        self.command("GETPIN", "")
    }

    fn command(&mut self, verb: &str, argument: &str) -> Result<SecretBytes, TalkError> {
        let mut line = verb.to_owned();
        for character in argument.chars() {
            if character == '%' || character.is_control() {
                let mut octets = [0; 4];
                for octet in character.encode_utf8(&mut octets).bytes() {
                    line.push_str(&format!("%{octet:02X}"));
                }
            } else {
                line.push(character);
            }
        }
        line.push('\n');
        self.input.write_all(line.as_bytes())?;
        self.input.flush()?;
        self.answer()
    }

    /// The data up to `OK`.
    fn answer(&mut self) -> Result<SecretBytes, TalkError> {
        let mut data = SecretBytes::with_capacity(256);
        loop {
            let mut line = Vec::with_capacity(1024);
            self.output
                .by_ref()
                .take(LINE.saturating_add(2))
                .read_until(b'\n', &mut line)?;
            let line = SecretBytes::from(line);
            let Some(text) = line.as_slice().strip_suffix(b"\n") else {
                return Err(TalkError::Io(std::io::ErrorKind::UnexpectedEof.into()));
            };
            if let Some(rest) = text.strip_prefix(b"D ") {
                unescape(rest, &mut data);
            } else if text == b"OK" || text.starts_with(b"OK ") {
                return Ok(data);
            } else if let Some(rest) = text.strip_prefix(b"ERR ") {
                let text = String::from_utf8_lossy(rest);
                let (number, text) = text.split_once(' ').unwrap_or((&text, ""));
                return Err(TalkError::Refused(
                    number.parse().unwrap_or(0),
                    text.to_owned(),
                ));
            }
            // Comments and status lines.
        }
    }
}

fn unescape(text: &[u8], data: &mut SecretBytes) {
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let escaped = match after {
            [high, low, ..] if *first == b'%' => {
                let digit = |octet: u8| char::from(octet).to_digit(16);
                digit(*high).zip(digit(*low))
            }
            _ => None,
        };
        match escaped.and_then(|(high, low)| u8::try_from(high << 4 | low).ok()) {
            Some(octet) => {
                data.push(octet);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                data.push(*first);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(answers: &str) -> (Result<Vec<u8>, String>, String) {
        let mut sent = Vec::new();
        let mut talk = Talk {
            input: &mut sent,
            output: answers.as_bytes(),
        };
        let question = Question {
            description: "100%\nsure",
            prompt: "PIN:",
        };
        let result = match talk.question(None, question) {
            Ok(secret) => Ok(secret.as_slice().to_vec()),
            Err(TalkError::Io(error)) => Err(error.to_string()),
            Err(TalkError::Refused(number, text)) => Err(format!("{number} {text}")),
        };
        (result, String::from_utf8(sent).expect("text"))
    }

    #[test]
    fn a_pin_comes_back_as_it_was_typed() {
        let (result, sent) = talk("OK hello\nOK\nOK\nOK\n# wait\nD 12%25%0A4%\nOK\n");
        assert_eq!(result, Ok(b"12%\n4%".to_vec()));
        assert_eq!(
            sent,
            "SETTITLE kx-hsm\nSETDESC 100%25%0Asure\nSETPROMPT PIN:\nGETPIN\n"
        );
    }

    #[test]
    fn refusals_and_ends_are_told() {
        let (result, _) = talk("OK\nOK\nOK\nOK\nERR 83886179 Operation cancelled\n");
        assert_eq!(result, Err("83886179 Operation cancelled".to_owned()));
        assert!(CANCELED.contains(&(83_886_179 & 0xffff)));
        assert!(talk("OK\nOK\n").0.is_err());
        assert!(talk(&"x".repeat(5000)).0.is_err());
    }
}
