//! Questions and answers: the rules of keyfs for its key (keysrv spec 10.1) and of the dialogs (12).

use std::io;

use kx_secret::SecretBytes;
use kx_sys::terminal::Terminal;

use crate::program::Environment;

/// Octets of a master key at most.
pub const KEY_LIMIT: usize = 256;
/// Octets of an answer that getauthinfo takes.
pub const STRING_LIMIT: usize = 128;
/// Octets of an answer that passwd and changelogin take.
pub const LINE_LIMIT: usize = 8192;

/// Somebody to ask.
pub trait Console: Send {
    /// Shows all of a text.
    ///
    /// # Errors
    /// The system's.
    fn write(&mut self, text: &[u8]) -> io::Result<()>;

    /// The next octet of the answers; `None` at their end.
    ///
    /// # Errors
    /// The system's.
    fn read(&mut self) -> io::Result<Option<u8>>;

    /// Whether what is typed can be seen. It can at the beginning.
    ///
    /// # Errors
    /// The system's.
    fn set_echo(&mut self, on: bool) -> io::Result<()>;
}

impl Console for Terminal {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        Terminal::write(self, text)
    }

    fn read(&mut self) -> io::Result<Option<u8>> {
        Terminal::read(self)
    }

    fn set_echo(&mut self, on: bool) -> io::Result<()> {
        Terminal::set_echo(self, on)
    }
}

/// Who is not there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Console for Nobody {
    fn write(&mut self, _text: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn read(&mut self) -> io::Result<Option<u8>> {
        Ok(None)
    }

    fn set_echo(&mut self, _on: bool) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the answer may be seen while it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// It may.
    Shown,
    /// It is a secret. A line feed is written after it, since that of the answer is not seen either.
    Hidden,
}

/// Why there is no master key. `Display` is what stands after `keyfs: couldn't get key: `.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// DEL was typed.
    #[error("interrupt")]
    Interrupt,
    /// More than [`KEY_LIMIT`] octets.
    #[error("line too long")]
    TooLong,
    /// The console does not work.
    #[error("can't read cons: {0}")]
    Console(#[from] io::Error),
}

/// Asks for a master key as keyfs does. The answer ends at a line feed, a carriage return, ^D or the
/// end of the input; a backspace takes back an octet. A terminal handles its own erase and interrupt
/// characters before we see them. Empty: nothing was given.
///
/// # Errors
/// [`KeyError`].
pub fn key(console: &mut dyn Console, prompt: &str) -> Result<SecretBytes, KeyError> {
    // Echo first: who answers when the prompt is seen must not be seen.
    console.set_echo(false)?;
    let result = console
        .write(prompt.as_bytes())
        .map_err(KeyError::from)
        .and_then(|()| key_line(console));
    // As the original: the line feed first.
    let end = console.write(b"\n");
    console.set_echo(true)?;
    let key = result?;
    end?;
    Ok(key)
}

fn key_line(console: &mut dyn Console) -> Result<SecretBytes, KeyError> {
    let mut key = SecretBytes::with_capacity(KEY_LIMIT);
    loop {
        match console.read()? {
            None | Some(b'\n' | b'\r' | 0x04) => return Ok(key),
            Some(0x7f) => return Err(KeyError::Interrupt),
            Some(0x08) => key.truncate(key.len().saturating_sub(1)),
            Some(_) if key.len() >= KEY_LIMIT => return Err(KeyError::TooLong),
            Some(octet) => key.push(octet),
        }
    }
}

/// Shows `prompt` and takes a line of at most `limit` octets (the rest is left for the next question,
/// as in the original) without its line feed; `None` if the answers end before one.
///
/// # Errors
/// The console's.
pub fn line(
    console: &mut dyn Console,
    prompt: &str,
    echo: Echo,
    limit: usize,
) -> io::Result<Option<SecretBytes>> {
    if echo == Echo::Shown {
        console.write(prompt.as_bytes())?;
        return answer(console, limit);
    }
    console.set_echo(false)?;
    let result = console
        .write(prompt.as_bytes())
        .and_then(|()| answer(console, limit));
    let end = match &result {
        Ok(Some(_)) => console.write(b"\n"),
        _ => Ok(()),
    };
    console.set_echo(true)?;
    end?;
    result
}

fn answer(console: &mut dyn Console, limit: usize) -> io::Result<Option<SecretBytes>> {
    let mut line = SecretBytes::with_capacity(limit.min(STRING_LIMIT));
    while line.len() < limit {
        match console.read()? {
            None => return Ok(None),
            Some(b'\n') => break,
            Some(octet) => line.push(octet),
        }
    }
    Ok(Some(line))
}

/// What passwd and changelogin say when the answers end, without a line feed, as the originals.
pub fn complain_of_end(environment: &mut Environment) {
    let _ = environment
        .stderr
        .write_all(b"error read from console mode");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::fake::Script;

    fn key_of(input: &[u8]) -> Result<Vec<u8>, String> {
        let mut script = Script::new(input);
        let result = key(&mut script, "Key: ");
        assert_eq!(script.shown(), b"<hidden>Key: \n</hidden>");
        match result {
            Ok(key) => Ok(key.as_slice().to_vec()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_key_ends_at_its_line_and_is_edited() {
        for (input, expected) in [
            (&b"abc\nrest"[..], &b"abc"[..]),
            (b"abc\rrest", b"abc"),
            (b"abc\x04rest", b"abc"),
            (b"abc", b"abc"),
            (b"", b""),
            (b"\n", b""),
            (b"\x08ab\x08\x08\x08c d\n", b"c d"),
        ] {
            assert_eq!(key_of(input).expect("a key"), expected);
        }
        assert_eq!(key_of(&[b'x'; 257]).expect_err("too long"), "line too long");
        assert_eq!(key_of(&[b'x'; 256]).expect("long").len(), 256);
        assert_eq!(key_of(b"ab\x7fc\n").expect_err("DEL"), "interrupt");
    }

    #[test]
    fn lines_end_with_a_line_feed_or_at_the_limit() {
        let mut script = Script::new(b"one\ntwo\nthreefour");
        let mut next = |echo| {
            let line = line(&mut script, "? ", echo, 5).expect("console");
            line.map(|line| String::from_utf8(line.as_slice().to_vec()).expect("text"))
        };
        assert_eq!(next(Echo::Shown).as_deref(), Some("one"));
        assert_eq!(next(Echo::Hidden).as_deref(), Some("two"));
        assert_eq!(next(Echo::Shown).as_deref(), Some("three"));
        assert_eq!(next(Echo::Hidden), None);
        assert_eq!(
            script.shown(),
            b"? <hidden>? \n</hidden>? <hidden>? </hidden>"
        );
    }
}
