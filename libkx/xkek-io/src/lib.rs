//! Ways to a card: PC/SC, the vpcd socket in both roles, a recorded transcript, and a software device in
//! this process. What is said over them is the crate [`xkek`]'s.
//!
//! [`Spec`] is how a user names a card; [`Transport::open`] opens it, and [`Transport`] is a
//! [`Card`](xkek::card::Card).
#![forbid(unsafe_code)]

pub mod alternating_file;
pub mod pcsc_reader;
pub mod software;
pub mod spec;
pub mod state_dir;
pub mod transcript;
pub mod vpcd;
pub mod vpcd_card;
pub mod vpcd_host;

use std::time::Duration;

use xkek::card::Card;

pub use spec::{Spec, SpecError};

/// Why a card could not be opened, or a command got no answer. After any of these in the middle of a
/// command it is open whether the card did it: ask the card.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// PC/SC says no.
    #[error("card reader: {0}")]
    Reader(#[source] pcsc::Error),
    /// No reader of this name; empty: none at all.
    #[error("{}", no_reader(.0))]
    NoReader(String),
    /// The reader is empty.
    #[error("no card in the reader")]
    NoCard,
    /// The card was taken out, or its software ended.
    #[error("the card was removed")]
    Removed,
    /// No answer within the limit.
    #[error("the card does not answer")]
    TimedOut,
    /// A command that does not fit in the transport.
    #[error("the command is too long for this way to the card")]
    TooLong,
    /// No command at all.
    #[error("a command has at least two octets")]
    TooShort,
    /// Line of a transcript that is none.
    #[error("transcript: line {0} is wrong")]
    Transcript(usize),
    /// The transcript goes on otherwise.
    #[error("transcript: this command is not the next one recorded")]
    NotRecorded,
    /// The state directory of a software card.
    #[error(transparent)]
    State(#[from] state_dir::Error),
    /// The socket or file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn no_reader(name: &str) -> String {
    if name.is_empty() {
        "no card reader".to_owned()
    } else {
        format!("no card reader {name}")
    }
}

impl From<pcsc::Error> for Error {
    fn from(error: pcsc::Error) -> Self {
        match error {
            pcsc::Error::RemovedCard
            | pcsc::Error::NoSmartcard
            | pcsc::Error::ResetCard
            | pcsc::Error::ReaderUnavailable
            | pcsc::Error::UnpoweredCard => Error::Removed,
            pcsc::Error::Timeout => Error::TimedOut,
            other => Error::Reader(other),
        }
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a card is there; zero: it must be there already.
    pub card: Duration,
    /// For one command. Generating an RSA key of 4096 bits takes a real card minutes.
    pub command: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            card: Duration::ZERO,
            command: Duration::from_secs(300),
        }
    }
}

/// An opened card of any kind.
#[derive(Debug)]
pub enum Transport {
    /// In a reader.
    Pcsc(pcsc_reader::PcscCard),
    /// Software in this process.
    Software(Box<software::SoftwareCard>),
    /// Software behind a socket.
    Vpcd(vpcd_host::VpcdHost),
    /// A recording.
    Replay(transcript::Replay),
}

impl Transport {
    /// Opens what `spec` names.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(spec: &Spec, limits: Limits) -> Result<Self, Error> {
        match spec {
            Spec::Pcsc(reader) => {
                pcsc_reader::PcscCard::open(reader, limits.card, limits.command).map(Self::Pcsc)
            }
            Spec::Vcard { state, authority } => {
                let mut options = software::Options::default();
                options.authority.clone_from(authority);
                let card = software::SoftwareCard::open(state, options)?;
                Ok(Self::Software(Box::new(card)))
            }
            Spec::Vpcd(address) => {
                vpcd_host::VpcdHost::connect(address, limits.command).map(Self::Vpcd)
            }
            Spec::VpcdListen(address) => {
                let limit = limits.command.max(limits.card);
                vpcd_host::VpcdHost::listen(address, limit).map(Self::Vpcd)
            }
            Spec::Transcript(file) => {
                let text = std::fs::read_to_string(file)?;
                let exchanges = transcript::parse(&text)?;
                Ok(Self::Replay(transcript::Replay::new(exchanges)))
            }
        }
    }

    /// What a user would call this card's place, for "Using reader with a card: %s".
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Pcsc(card) => card.reader(),
            Self::Software(_) => "software card",
            Self::Vpcd(_) => "software card (vpcd)",
            Self::Replay(_) => "transcript",
        }
    }
}

impl Card for Transport {
    type Error = Error;

    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Self::Pcsc(card) => card.transmit(command, response),
            Self::Software(card) => card.transmit(command, response),
            Self::Vpcd(card) => card.transmit(command, response),
            Self::Replay(card) => card.transmit(command, response),
        }
    }
}
