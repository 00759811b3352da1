//! Why a verb ended without success, and the exit status that tells it.

use std::path::{Path, PathBuf};

use xkek::apdu::StatusWord;
use xkek::hsm;

use crate::apdu_log::Logged;
use crate::arguments::ArgumentError;
use crate::secret_source::SecretError;

/// What is wrong. `Display` names the file or the card.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line.
    #[error(transparent)]
    Argument(#[from] ArgumentError),
    /// A PIN or password could not be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A card could not be opened.
    #[error("{card}: {error}")]
    Connect {
        /// How it was named.
        card: String,
        /// Why.
        error: xkek_io::Error,
    },
    /// A card does not want to, or does not answer.
    #[error("{card}: {text}")]
    Card {
        /// How it was named.
        card: String,
        /// What it says.
        text: String,
        /// Its word.
        sw: Option<StatusWord>,
    },
    /// A file.
    #[error("{}: {text}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// Somebody said no, or could not be asked.
    #[error("not done: {0}")]
    NotConfirmed(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// The exit status: 1 refused or wrong, 2 command line, 3 not confirmed, 4 PIN, 5 no card.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Argument(_) => 2,
            Self::NotConfirmed(_) => 3,
            Self::Secret(_) => 4,
            Self::Card { sw: Some(sw), .. }
                if sw.tries_left().is_some()
                    || [StatusWord::BLOCKED, StatusWord::SECURITY].contains(sw) =>
            {
                4
            }
            Self::Connect { .. } | Self::Card { sw: None, .. } => 5,
            _ => 1,
        }
    }

    /// Of a card.
    #[must_use]
    pub fn card(card: &str, error: hsm::Error<xkek_io::Error>) -> Self {
        let sw = error.sw();
        match error {
            hsm::Error::Card(error) => Self::Connect {
                card: card.to_owned(),
                error,
            },
            // Not an answer of the card: what it answered is no certificate or the like.
            other => Self::Card {
                card: card.to_owned(),
                sw: sw.or(Some(StatusWord::UNKNOWN)),
                text: other.to_string(),
            },
        }
    }

    /// Of a file.
    pub fn file(file: &Path, error: impl ToString) -> Self {
        Self::File {
            file: file.to_owned(),
            text: error.to_string(),
        }
    }
}

/// What verbs give.
pub type Result<T> = std::result::Result<T, Error>;

/// What commands to a card give.
pub type CardResult<T> = hsm::Result<T, Logged>;
