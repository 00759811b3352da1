//! What the log is told: lines with the original's texts and levels, and keys when they are asked for.

use std::collections::VecDeque;
use std::fmt;

use kx_crypto::secret::SecretBytes;

/// Something that happened. `Display` is the line.
pub struct Event {
    /// The verbosity from which on the line is shown: 0 always, 1 default, 2 debug, 3 one line per packet.
    pub level: u8,
    /// In debug mode (`-D`): the original aborts here.
    pub fatal: bool,
    /// What it was.
    pub kind: EventKind,
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(formatter)
    }
}

/// What can happen.
pub enum EventKind {
    /// A line.
    Line(Line),
    /// A key exchange took place. Only when configured; the line is one JSON object in the format of the
    /// recorded key logs (spec 9).
    KeyLog(KeyLog),
    /// Events that were not kept, because nobody read them.
    Lost(u64),
}

impl fmt::Display for EventKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventKind::Line(line) => line.fmt(formatter),
            EventKind::KeyLog(keys) => keys.fmt(formatter),
            EventKind::Lost(count) => write!(formatter, "{count} events not shown"),
        }
    }
}

/// The lines. Where the original has one for the case, it is the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Line {
    /// Not a TCP packet as its lengths say.
    BadPacket,
    /// No room for our option in a SYN; the connection is plain.
    NoSpaceForHello,
    /// No room for our option in a later segment.
    NoSpaceForEno,
    /// The peer offers no key exchange that we have.
    NoCipher,
    /// No stored session for the host we connect to.
    NoSession,
    /// The peer did not take the session we named.
    SessionCachingFailed,
    /// An answer did not come although we asked again and again.
    RetransmitTimeout,
    /// A record is not genuine.
    MacCheckFailed,
    /// The third segment came without our option; the connection is plain.
    NoEnoInInit1,
    /// The handshake failed after both had agreed to encrypt, for this reason. The connection is reset.
    HandshakeFailed(&'static str),
    /// The stream of records broke, for this reason. The connection is reset.
    Broken(&'static str),
    /// A connection is reset.
    SendingRst,
    /// The message to be sent again.
    Retransmitting,
    /// The table is full; the connection is plain.
    TableFull,
    /// A connection in the handshake gave way to a newer one.
    HalfOpenEvicted,
    /// In debug mode: a connection ended up plain.
    Plain,
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Line::BadPacket => "Bad packet 2",
            Line::NoSpaceForHello => "No space for hello",
            Line::NoSpaceForEno => "No space for ENO",
            Line::NoCipher => "No cipher",
            Line::NoSession => "Can't find session for host",
            Line::SessionCachingFailed => "Session caching failed",
            Line::RetransmitTimeout => "Retransmit timeout",
            Line::MacCheckFailed => "MAC check failed",
            Line::NoEnoInInit1 => "No ENO option found in expected INIT1",
            Line::HandshakeFailed(reason) | Line::Broken(reason) => reason,
            Line::SendingRst => "Sending RST",
            Line::Retransmitting => "Retransmitting",
            Line::TableFull => "Too many connections",
            Line::HalfOpenEvicted => "Too many handshakes",
            Line::Plain => "Connection is not encrypted",
        })
    }
}

impl Line {
    /// The verbosity from which on the line is shown, as in the original.
    #[must_use]
    pub fn level(self) -> u8 {
        match self {
            Line::BadPacket
            | Line::NoSpaceForHello
            | Line::NoSpaceForEno
            | Line::NoCipher
            | Line::MacCheckFailed
            | Line::HandshakeFailed(_)
            | Line::Broken(_)
            | Line::TableFull
            | Line::Plain => 0,
            Line::SessionCachingFailed | Line::RetransmitTimeout | Line::HalfOpenEvicted => 1,
            Line::NoSession | Line::NoEnoInInit1 | Line::SendingRst | Line::Retransmitting => 2,
        }
    }

    /// Whether the original aborts here when it is run with `-D`.
    fn is_fatal_in_debug_mode(self) -> bool {
        matches!(
            self,
            Line::MacCheckFailed | Line::Broken(_) | Line::HandshakeFailed(_) | Line::Plain
        )
    }
}

/// Events that wait to be read, a bounded number of them.
pub(crate) struct Events {
    queue: VecDeque<Event>,
    limit: usize,
    lost: u64,
    debug: bool,
}

impl Events {
    pub(crate) fn new(limit: usize, debug: bool) -> Self {
        Self {
            queue: VecDeque::new(),
            limit,
            lost: 0,
            debug,
        }
    }

    pub(crate) fn line(&mut self, line: Line) {
        self.push(Event {
            level: line.level(),
            fatal: self.debug && line.is_fatal_in_debug_mode(),
            kind: EventKind::Line(line),
        });
    }

    pub(crate) fn keys(&mut self, keys: KeyLog) {
        self.push(Event {
            level: 0,
            fatal: false,
            kind: EventKind::KeyLog(keys),
        });
    }

    fn push(&mut self, event: Event) {
        if self.queue.len() < self.limit {
            self.queue.push_back(event);
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        if let Some(event) = self.queue.pop_front() {
            return Some(event);
        }
        match std::mem::take(&mut self.lost) {
            0 => None,
            lost => Some(Event {
                level: 1,
                fatal: false,
                kind: EventKind::Lost(lost),
            }),
        }
    }
}

/// The keys of one exchange, as in the recorded key logs: `{"priv":..,"pub":..,"peer":..,"es":..}`.
pub struct KeyLog {
    pub(crate) private: SecretBytes,
    pub(crate) public: Vec<u8>,
    pub(crate) peer: Vec<u8>,
    pub(crate) shared: SecretBytes,
}

impl fmt::Display for KeyLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("priv", self.private.as_slice()),
            ("pub", &self.public),
            ("peer", &self.peer),
            ("es", self.shared.as_slice()),
        ];
        let mut before = '{';
        for (name, octets) in fields {
            write!(formatter, "{before}\"{name}\":\"")?;
            for octet in octets {
                write!(formatter, "{octet:02x}")?;
            }
            formatter.write_str("\"")?;
            before = ',';
        }
        formatter.write_str("}")
    }
}
