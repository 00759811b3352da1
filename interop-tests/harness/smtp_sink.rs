//! A mail server of a few lines that writes the dialogue down.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext, SslMethod};

use crate::certificates::Recipe;
use crate::normalize::latin1;
use crate::wait::{self, SOON};

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct Manners {
    /// First line; `None` closes at once.
    pub greeting: Option<&'static str>,
    /// Extensions named after EHLO; `None` refuses EHLO.
    pub extensions: Option<Vec<&'static str>>,
    /// Answer to MAIL.
    pub mail: &'static str,
    /// Answer to RCPT.
    pub rcpt: &'static str,
    /// Answer after the message.
    pub queued: &'static str,
    /// Wait before every answer.
    pub delay: Duration,
    /// End of the server's lines; careless servers send a bare LF.
    pub line_end: &'static str,
}

impl Default for Manners {
    fn default() -> Self {
        Manners {
            greeting: Some("220 sink ESMTP"),
            extensions: Some(Vec::new()),
            mail: "250 ok",
            rcpt: "250 ok",
            queued: "250 queued",
            delay: Duration::ZERO,
            line_end: "\r\n",
        }
    }
}

/// What was said and received.
#[derive(Debug, Default, Clone)]
pub struct Received {
    /// `S: ` and `C: ` lines; the client's with their line ends made visible.
    pub talk: Vec<String>,
    /// Messages with their final dot, as Latin-1 text.
    pub messages: Vec<String>,
    /// Conversations that have ended.
    pub ended: usize,
}

/// A running sink.
#[derive(Debug)]
pub struct Sink {
    /// Its port on 127.0.0.1.
    pub port: u16,
    received: Arc<Mutex<Received>>,
}

impl Sink {
    /// Starts a server with these manners. It ends with the test process.
    pub fn start(manners: Manners) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the mail sink");
        let port = listener.local_addr().expect("its address").port();
        let received = Arc::new(Mutex::new(Received::default()));
        let shared = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let manners = manners.clone();
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let mut talk = Conversation {
                        manners,
                        shared: Arc::clone(&shared),
                    };
                    // The other side may go away at any time; that is written down.
                    let _ = talk.serve(stream);
                    shared.lock().expect("sink").ended += 1;
                });
            }
        });
        Sink { port, received }
    }

    /// What came so far, after `conversations` have ended.
    pub fn received(&self, conversations: usize) -> Received {
        wait::until(SOON, || {
            (self.received.lock().expect("sink").ended >= conversations).then_some(())
        });
        self.received.lock().expect("sink").clone()
    }
}

struct Conversation {
    manners: Manners,
    shared: Arc<Mutex<Received>>,
}

impl Conversation {
    fn note(&self, line: String) {
        self.shared.lock().expect("sink").talk.push(line);
    }

    fn say(&self, stream: &mut TcpStream, line: &str) -> std::io::Result<()> {
        std::thread::sleep(self.manners.delay);
        self.note(format!("S: {line}"));
        stream.write_all(format!("{line}{}", self.manners.line_end).as_bytes())
    }

    fn serve(&mut self, mut stream: TcpStream) -> std::io::Result<()> {
        let Some(greeting) = self.manners.greeting else {
            return Ok(());
        };
        stream.set_read_timeout(Some(Duration::from_secs(100)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        self.say(&mut stream, greeting)?;
        loop {
            let mut line = Vec::new();
            if !reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                self.note("(closed)".to_owned());
                return Ok(());
            }
            let text = latin1(&line);
            self.note(format!(
                "C: {}",
                text.replace('\r', "\\r").replace('\n', "\\n")
            ));
            let verb = text.split([' ', '\r', '\n']).next().unwrap_or("");
            match verb {
                "EHLO" => self.hello(&mut stream)?,
                "HELO" => self.say(&mut stream, "250 sink")?,
                "MAIL" => self.say(&mut stream, self.manners.mail)?,
                "RCPT" => self.say(&mut stream, self.manners.rcpt)?,
                "DATA" => {
                    self.say(&mut stream, "354 go")?;
                    self.message(&mut reader)?;
                    self.say(&mut stream, self.manners.queued)?;
                }
                "QUIT" => return self.say(&mut stream, "221 bye"),
                "STARTTLS" => {
                    self.say(&mut stream, "220 go")?;
                    return self.start_tls(stream);
                }
                _ => self.say(&mut stream, "500 what")?,
            }
        }
    }

    fn hello(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let Some(extensions) = self.manners.extensions.clone() else {
            return self.say(stream, "502 no");
        };
        let mut lines = vec!["sink"];
        lines.extend(extensions);
        for (i, line) in lines.iter().enumerate() {
            let mark = if i + 1 == lines.len() { ' ' } else { '-' };
            self.say(stream, &format!("250{mark}{line}"))?;
        }
        Ok(())
    }

    fn message(&self, reader: &mut BufReader<TcpStream>) -> std::io::Result<()> {
        let mut message = Vec::new();
        while !message.ends_with(b"\r\n.\r\n") {
            if reader.read_until(b'\n', &mut message)? == 0 {
                break;
            }
        }
        self.shared
            .lock()
            .expect("sink")
            .messages
            .push(latin1(&message));
        Ok(())
    }

    fn start_tls(&self, stream: TcpStream) -> std::io::Result<()> {
        let outcome = (|| {
            let mut b = SslContext::builder(SslMethod::tls_server())?;
            let pair = Recipe::new("mail").ip("127.0.0.1").dns("localhost").make();
            b.set_certificate(&pair.cert)?;
            b.set_private_key(&pair.key)?;
            Ssl::new(&b.build())
        })();
        let ssl = outcome.map_err(std::io::Error::other)?;
        let mut failed = None;
        match ssl.accept(stream) {
            Ok(mut tls) => {
                // In TLS 1.3 the client's alert comes after the handshake.
                if let Err(e) = tls.ssl_read(&mut [0u8; 512]) {
                    failed = e.ssl_error().cloned();
                }
            }
            Err(openssl::ssl::HandshakeError::Failure(mid)) => {
                failed = mid.error().ssl_error().cloned();
            }
            Err(_) => {}
        }
        let reason = failed.and_then(|s| s.errors().first().and_then(|e| e.reason()));
        let reason = reason.unwrap_or("unknown").to_uppercase().replace(' ', "_");
        self.note(format!("(tls failed: {reason})"));
        Ok(())
    }
}
