//! What stands in a record of the login protocol, and the records of one end.

use std::time::Instant;

use thiserror::Error;
use zeroize::Zeroizing;

use super::{LOGIN_TIME, READ_TIME};
use crate::ssl::{Algorithms, Opener, Sealer, SslError};

const PAYLOAD: u8 = 0;
const ERROR: u8 = 0xff;
/// Most octets of a payload.
const PAYLOAD_LIMIT: usize = 4095;
/// The original keeps this much of an error it receives.
const ERROR_LIMIT: usize = 63;

/// Why there is no payload, in the original's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Received {
    /// The peer's own error.
    #[error("{0}")]
    Error(String),
    /// Neither payload nor error: mostly decrypted with a wrong key.
    #[error("failure")]
    Failure,
    /// The peer left, or its records do not hold together.
    #[error("hungup")]
    HungUp,
}

/// The payload of a record.
pub(super) fn parse(record: &[u8]) -> Result<&[u8], Received> {
    match record.split_first() {
        None => Err(Received::HungUp),
        Some((&PAYLOAD, payload)) if payload.len() <= PAYLOAD_LIMIT => Ok(payload),
        Some((&ERROR, [])) => Err(Received::Error("unknown".to_owned())),
        Some((&ERROR, text)) => {
            let text = text.get(..ERROR_LIMIT).unwrap_or(text);
            Err(Received::Error(String::from_utf8_lossy(text).into_owned()))
        }
        Some(_) => Err(Received::Failure),
    }
}

/// Both directions of one end, and the time it gives its peer.
pub(super) struct Records {
    sealer: Sealer,
    opener: Opener,
    out: Vec<u8>,
    read_deadline: Instant,
    deadline: Instant,
    /// A record was wrong: the original's device is dead then, and says nothing more either.
    broken: bool,
}

impl Records {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sealer: Sealer::new(),
            opener: Opener::new(),
            out: Vec::new(),
            read_deadline: now + READ_TIME,
            deadline: now + LOGIN_TIME,
            broken: false,
        }
    }

    pub(super) fn receive(&mut self, octets: &[u8]) {
        self.opener.receive(octets);
    }

    /// The next record, or why there will be none: for the original the reason is always the same.
    pub(super) fn next(&mut self, now: Instant) -> Result<Option<Zeroizing<Vec<u8>>>, Received> {
        let record = self.opener.open().map_err(|error| {
            // What is empty is read as an end, which the original answers.
            self.broken = error != SslError::Empty;
            Received::HungUp
        })?;
        if record.is_some() {
            self.read_deadline = now + READ_TIME;
        }
        Ok(record)
    }

    /// What is received from here on is protected so.
    pub(super) fn expect(&mut self, algorithms: Algorithms, secret: &[u8]) -> Result<(), SslError> {
        self.opener.protect(algorithms, secret)
    }

    /// What is sent from here on is protected so.
    pub(super) fn protect(
        &mut self,
        algorithms: Algorithms,
        secret: &[u8],
    ) -> Result<(), SslError> {
        self.sealer.protect(algorithms, secret)
    }

    pub(super) fn send(&mut self, payload: &[u8]) -> Result<(), SslError> {
        self.put(PAYLOAD, payload)
    }

    pub(super) fn send_error(&mut self, text: &str) -> Result<(), SslError> {
        self.put(ERROR, text.as_bytes())
    }

    fn put(&mut self, kind: u8, content: &[u8]) -> Result<(), SslError> {
        if self.broken {
            return Ok(());
        }
        let content = content.get(..PAYLOAD_LIMIT).unwrap_or(content);
        let mut record = Zeroizing::new(Vec::with_capacity(1 + content.len()));
        record.push(kind);
        record.extend_from_slice(content);
        self.sealer.seal(&record, &mut self.out)
    }

    pub(super) fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let any = !self.out.is_empty();
        out.append(&mut self.out);
        any
    }

    pub(super) fn timeout(&self) -> Instant {
        self.deadline.min(self.read_deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        assert_eq!(parse(b"\0alice"), Ok(&b"alice"[..]));
        assert_eq!(parse(b"\0"), Ok(&b""[..]));
        assert_eq!(parse(b""), Err(Received::HungUp));
        assert_eq!(parse(b"\x01x"), Err(Received::Failure));
        assert_eq!(parse(b"\xffno"), Err(Received::Error("no".to_owned())));
        assert_eq!(parse(b"\xff"), Err(Received::Error("unknown".to_owned())));
        let mut long = vec![0xff];
        long.extend_from_slice(&[b'x'; 100]);
        assert_eq!(parse(&long), Err(Received::Error("x".repeat(63))));
        assert_eq!(parse(&[0; 4097]), Err(Received::Failure));
        assert!(parse(&[0; 4096]).is_ok());
    }
}
