//! Messages on a bare connection ("keysrv spec 4").

use std::io::{Read, Write};

/// Sends one message.
pub fn send(stream: &mut impl Write, text: &[u8]) -> std::io::Result<()> {
    let mut all = format!("{:04}\n", text.len()).into_bytes();
    all.extend_from_slice(text);
    stream.write_all(&all)
}

/// Sends one error, counted and marked as the original does.
pub fn send_error(stream: &mut impl Write, text: &str) -> std::io::Result<()> {
    let text = format!("remote: {text}");
    stream.write_all(format!("!{:03}\n{text}", text.len()).as_bytes())
}

/// What one read gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Text(Vec<u8>),
    /// An error message.
    Error(String),
    /// The connection is closed, or was reset.
    End,
}

impl Heard {
    /// The message; an error's text, or `hungup`.
    ///
    /// # Errors
    ///
    /// As said.
    pub fn text(self) -> Result<Vec<u8>, String> {
        match self {
            Heard::Text(text) => Ok(text),
            Heard::Error(text) => Err(text),
            Heard::End => Err("hungup".to_owned()),
        }
    }
}

/// Reads one message.
pub fn receive(stream: &mut impl Read) -> Heard {
    let mut header = [0; 5];
    if stream.read_exact(&mut header).is_err() {
        return Heard::End;
    }
    let text = String::from_utf8_lossy(&header).into_owned();
    let (error, digits) = match text.strip_prefix('!') {
        Some(rest) => (true, rest.to_owned()),
        None => (false, text.clone()),
    };
    let Ok(length) = digits.trim_end().parse() else {
        panic!("not the head of a message: {text:?}");
    };
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).is_err() {
        return Heard::End;
    }
    match error {
        true => Heard::Error(String::from_utf8_lossy(&body).into_owned()),
        false => Heard::Text(body),
    }
}

/// All messages of a file, such as an authinfo file.
pub fn messages(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Heard::Text(text) = receive(&mut file) {
        all.push(text);
    }
    all
}
