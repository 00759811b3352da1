//! The client's side of an SMTP dialogue (RFC 5321), without a socket and without a clock.
//!
//! It says what the original's library says, no more (kxd spec 6): EHLO or else HELO, STARTTLS when
//! offered, one mail, QUIT; no AUTH. The program feeds it what the server sends, sends what it hands
//! out and does what its events ask for:
//!
//! ```
//! use kxd::email::smtp::{Event, SmtpClient};
//!
//! let mut smtp = SmtpClient::new(b"a@x", vec![b"b@y".to_vec()], b"Subject: hi\r\n\r\n".to_vec())?;
//! smtp.handle_input(b"220 here\r\n250 hello\r\n")?;
//! let mut out = Vec::new();
//! smtp.poll_transmit(&mut out);
//! assert_eq!(out, b"EHLO localhost\r\nMAIL FROM:<a@x>\r\n");
//! smtp.handle_input(b"250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n221 bye\r\n")?;
//! assert_eq!(smtp.poll_event(), Some(Event::Sent));
//! # Ok::<(), kxd::email::smtp::SmtpError>(())
//! ```

use std::collections::VecDeque;

/// Octets of a reply line without its end; RFC 5321 allows 510, servers are talkative.
pub const MAX_LINE: usize = 4096;

/// Octets of the text of one whole reply, over all of its lines.
pub const MAX_REPLY: usize = 64 * 1024;

/// Why the dialogue failed. `Display` is the original's text where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SmtpError {
    /// Sender or recipient could smuggle in a command; found before anything is sent.
    #[error("smtp: A line must not contain CR or LF")]
    LineBreak,
    /// The server said no.
    #[error("{code:03} {text}")]
    Refused {
        /// Reply code.
        code: u16,
        /// Text of all lines, joined by line feeds.
        text: String,
    },
    /// A line without code and text.
    #[error("short response: {0}")]
    ShortReply(String),
    /// A line that does not begin with a code from 100 to 999.
    #[error("invalid response code: {0}")]
    InvalidCode(String),
    /// The server closed the connection in the middle of the dialogue.
    #[error("EOF")]
    Eof,
    /// More than [`MAX_LINE`] octets without a line feed (ours).
    #[error("smtp: reply line too long")]
    LineTooLong,
    /// More than [`MAX_REPLY`] octets in one reply (ours).
    #[error("smtp: reply too long")]
    ReplyTooLong,
}

/// What the program must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Begin TLS on the connection, then call [`SmtpClient::handle_tls_established`].
    StartTls,
    /// The mail was accepted and the server has said good bye: close.
    Sent,
}

/// Which reply is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo {
        encrypted: bool,
    },
    Helo,
    StartTls,
    /// The program negotiates TLS.
    Handshake,
    MailFrom,
    /// Number of addresses accepted so far.
    RcptTo(usize),
    Data,
    Body,
    Quit,
    /// Over: mail sent or dialogue failed.
    Closed,
}

/// A reply of which more lines may come.
#[derive(Debug)]
struct Reply {
    code: u16,
    text: Vec<u8>,
}

/// One mail on one connection.
#[derive(Debug)]
pub struct SmtpClient {
    sender: Vec<u8>,
    recipients: Vec<Vec<u8>>,
    message: Vec<u8>,
    state: State,
    /// The begin of a line whose end has not come.
    line: Vec<u8>,
    reply: Option<Reply>,
    eight_bit_mime: bool,
    smtp_utf8: bool,
    transmit: Vec<u8>,
    events: VecDeque<Event>,
}

impl SmtpClient {
    /// A dialogue that will send `message` (lines ending in CR LF or LF, dots not doubled).
    ///
    /// # Errors
    /// [`SmtpError::LineBreak`] when an address has a CR or LF in it.
    pub fn new(
        sender: &[u8],
        recipients: Vec<Vec<u8>>,
        message: Vec<u8>,
    ) -> Result<Self, SmtpError> {
        let has_break = |address: &[u8]| address.iter().any(|b| matches!(b, b'\r' | b'\n'));
        if has_break(sender) || recipients.iter().any(|r| has_break(r)) {
            return Err(SmtpError::LineBreak);
        }
        Ok(SmtpClient {
            sender: sender.to_vec(),
            recipients,
            message,
            state: State::Greeting,
            line: Vec::new(),
            reply: None,
            eight_bit_mime: false,
            smtp_utf8: false,
            transmit: Vec::new(),
            events: VecDeque::new(),
        })
    }

    /// Takes octets from the server, in pieces of any size.
    ///
    /// What comes behind the answer to STARTTLS and before TLS is thrown away: whoever put it there,
    /// it was not sent over TLS.
    ///
    /// # Errors
    /// Why the dialogue is over; nothing more is queued for sending, not even QUIT.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), SmtpError> {
        self.take(bytes).inspect_err(|_| self.close())
    }

    /// The server has closed its side.
    ///
    /// # Errors
    /// [`SmtpError::Eof`], or what is wrong with a last line without an end. None if the mail was
    /// sent.
    pub fn handle_eof(&mut self) -> Result<(), SmtpError> {
        if self.state == State::Closed {
            return Ok(());
        }
        let last = std::mem::take(&mut self.line);
        if !last.is_empty() {
            self.handle_line(&last).inspect_err(|_| self.close())?;
        }
        if self.state == State::Closed {
            return Ok(());
        }
        self.close();
        Err(SmtpError::Eof)
    }

    /// TLS, asked for by [`Event::StartTls`], is established and the server's name was verified.
    pub fn handle_tls_established(&mut self) {
        if self.state == State::Handshake {
            // What was offered in the clear does not count any more.
            (self.eight_bit_mime, self.smtp_utf8) = (false, false);
            self.send(&[b"EHLO localhost"], State::Ehlo { encrypted: true });
        }
    }

    /// Moves what is to be sent to the end of `out`; false if there is nothing.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let some = !self.transmit.is_empty();
        out.append(&mut self.transmit);
        some
    }

    /// What the program must do next, if anything.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.line = Vec::new();
        self.reply = None;
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), SmtpError> {
        while !matches!(self.state, State::Handshake | State::Closed) {
            let Some(at) = bytes.iter().position(|b| *b == b'\n') else {
                if bytes.len() > MAX_LINE.saturating_sub(self.line.len()) {
                    return Err(SmtpError::LineTooLong);
                }
                self.line.extend_from_slice(bytes);
                return Ok(());
            };
            let (end, rest) = bytes.split_at_checked(at).unwrap_or_default();
            if end.len() > MAX_LINE.saturating_sub(self.line.len()) {
                return Err(SmtpError::LineTooLong);
            }
            bytes = rest.get(1..).unwrap_or_default();
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(end);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            self.handle_line(&line)?;
        }
        Ok(())
    }

    fn handle_line(&mut self, line: &[u8]) -> Result<(), SmtpError> {
        let parsed = parse_line(line);
        let (reply, more) = match self.reply.take() {
            None => match parsed {
                Ok((code, more, text)) => (
                    Reply {
                        code,
                        text: text.to_vec(),
                    },
                    more,
                ),
                // The original tries HELO after an EHLO answered with anything but 250.
                Err(_) if self.state == (State::Ehlo { encrypted: false }) => {
                    self.send(&[b"HELO localhost"], State::Helo);
                    return Ok(());
                }
                Err(e) => return Err(e),
            },
            Some(mut reply) => {
                // A line without the reply's own code is text of it (RFC 959, 4.2).
                let (text, more) = match parsed {
                    Ok((code, more, text)) if code == reply.code => (text, more),
                    _ => (line, true),
                };
                reply.text.push(b'\n');
                reply.text.extend_from_slice(text);
                (reply, more)
            }
        };
        if reply.text.len() > MAX_REPLY {
            return Err(SmtpError::ReplyTooLong);
        }
        if more {
            self.reply = Some(reply);
            return Ok(());
        }
        self.handle_reply(&reply)
    }

    fn handle_reply(&mut self, reply: &Reply) -> Result<(), SmtpError> {
        let good = match self.state {
            State::Greeting | State::StartTls => reply.code == 220,
            State::Ehlo { .. } | State::Helo | State::MailFrom | State::Body => reply.code == 250,
            State::RcptTo(_) => reply.code / 10 == 25,
            State::Data => reply.code == 354,
            State::Quit => reply.code == 221,
            State::Handshake | State::Closed => return Ok(()),
        };
        if !good && self.state == (State::Ehlo { encrypted: false }) {
            self.send(&[b"HELO localhost"], State::Helo);
            return Ok(());
        }
        if !good {
            let text = String::from_utf8_lossy(&reply.text).into_owned();
            return Err(SmtpError::Refused {
                code: reply.code,
                text,
            });
        }
        match self.state {
            State::Greeting => {
                self.send(&[b"EHLO localhost"], State::Ehlo { encrypted: false });
            }
            State::Ehlo { encrypted } => {
                self.eight_bit_mime = offers(reply, b"8BITMIME");
                self.smtp_utf8 = offers(reply, b"SMTPUTF8");
                if !encrypted && offers(reply, b"STARTTLS") {
                    self.send(&[b"STARTTLS"], State::StartTls);
                } else {
                    self.mail_from();
                }
            }
            State::Helo => self.mail_from(),
            State::StartTls => {
                self.state = State::Handshake;
                self.events.push_back(Event::StartTls);
            }
            State::MailFrom => self.next_recipient(0),
            State::RcptTo(accepted) => self.next_recipient(accepted.saturating_add(1)),
            State::Data => {
                let message = std::mem::take(&mut self.message);
                stuff_dots(&message, &mut self.transmit);
                self.state = State::Body;
            }
            State::Body => self.send(&[b"QUIT"], State::Quit),
            State::Quit => {
                self.close();
                self.events.push_back(Event::Sent);
            }
            State::Handshake | State::Closed => {}
        }
        Ok(())
    }

    fn mail_from(&mut self) {
        let sender = std::mem::take(&mut self.sender);
        let eight_bit: &[u8] = if self.eight_bit_mime {
            b" BODY=8BITMIME"
        } else {
            b""
        };
        let utf8: &[u8] = if self.smtp_utf8 { b" SMTPUTF8" } else { b"" };
        self.send(
            &[b"MAIL FROM:<", &sender, b">", eight_bit, utf8],
            State::MailFrom,
        );
    }

    fn next_recipient(&mut self, accepted: usize) {
        match self.recipients.get_mut(accepted).map(std::mem::take) {
            Some(address) => {
                self.send(&[b"RCPT TO:<", &address, b">"], State::RcptTo(accepted));
            }
            None => self.send(&[b"DATA"], State::Data),
        }
    }

    fn send(&mut self, command: &[&[u8]], then: State) {
        command
            .iter()
            .for_each(|part| self.transmit.extend_from_slice(part));
        self.transmit.extend_from_slice(b"\r\n");
        self.state = then;
    }
}

/// Code, "more lines follow", and text of a reply line.
fn parse_line(line: &[u8]) -> Result<(u16, bool, &[u8]), SmtpError> {
    let lossy = || String::from_utf8_lossy(line).into_owned();
    let Some((&[a, b, c, mark], text)) = line.split_first_chunk() else {
        return Err(SmtpError::ShortReply(lossy()));
    };
    if mark != b' ' && mark != b'-' {
        return Err(SmtpError::ShortReply(lossy()));
    }
    let code = [a, b, c]
        .iter()
        .try_fold(0u16, |n, d| {
            d.is_ascii_digit().then(|| n * 10 + u16::from(d - b'0'))
        })
        .filter(|code| *code >= 100)
        .ok_or_else(|| SmtpError::InvalidCode(lossy()))?;
    Ok((code, mark == b'-', text))
}

/// Whether an answer to EHLO offers an extension: the first word of a line that is not the first,
/// in upper case, as the original compares it.
fn offers(reply: &Reply, extension: &[u8]) -> bool {
    let mut lines = reply.text.split(|b| *b == b'\n').skip(1);
    lines.any(|line| line.split(|b| *b == b' ').next() == Some(extension))
}

/// Appends `message` as DATA wants it: lines end in CR LF, a dot at the start of a line is doubled,
/// a line with one dot ends it (RFC 5321, 4.5.2).
fn stuff_dots(message: &[u8], out: &mut Vec<u8>) {
    out.reserve(message.len().saturating_add(16));
    let mut at_start = true;
    let mut after_cr = false;
    for &b in message {
        if at_start && b == b'.' {
            out.push(b'.');
        }
        if b == b'\n' && !after_cr {
            out.push(b'\r');
        }
        out.push(b);
        at_start = b == b'\n';
        after_cr = b == b'\r';
    }
    if after_cr {
        out.push(b'\n');
    } else if !at_start {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
}
