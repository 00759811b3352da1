//! Why authentication fails, in the original's words.

use thiserror::Error;

use crate::framing::FramingError;
use crate::peer_text::one_line;

/// What is reported at home (keysrv spec 5.2). What the peer is told is in [`StsError::to_peer`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StsError {
    /// The peer speaks another version than 1.
    #[error("incompatible authentication protocol")]
    Version,
    /// We have no keys to show.
    #[error("no authentication information")]
    NoAuthInfo,
    /// The peer's exponential is no number or none of an honest peer.
    #[error("implausible parameter value")]
    Implausible,
    /// The peer sent our own exponential back.
    #[error("possible replay attack")]
    Replay,
    /// The peer's certificate cannot be read.
    #[error("bad certificate syntax")]
    CertificateSyntax,
    /// The peer's key cannot be read, or is below the floor.
    #[error("bad public key")]
    PublicKey,
    /// The certificate is not our signer's signature of this key.
    #[error("pk doesn't match certificate")]
    KeyMismatch,
    /// The certificate's time is over.
    #[error("certificate expired")]
    Expired,
    /// The signature of the exponentials cannot be read.
    #[error("alpha**r1 doesn't match certificate")]
    SignatureSyntax,
    /// The signature is not the peer's, or of something else.
    #[error("bad certificate")]
    Signature,
    /// Our own numbers cannot be computed with, or our messages are too long.
    #[error("bad conversion")]
    Conversion,
    /// Not the protocol's messages, or too many of them where only the status is due.
    #[error("input or format error")]
    Format,
    /// The peer left.
    #[error("hungup")]
    HungUp,
    /// The peer's error, as it came; what is not to be seen is escaped.
    #[error("{0}")]
    Peer(String),
    /// The peer has been silent for too long.
    #[error("timed out")]
    TimedOut,
}

impl StsError {
    /// What the peer is told. The original tells it nothing of errors that came out of the
    /// connection itself.
    #[must_use]
    pub fn to_peer(&self) -> String {
        match self {
            Self::Peer(_) | Self::Format | Self::HungUp => {
                "missing your authentication data".to_owned()
            }
            other => other.to_string(),
        }
    }

    /// The error in a message of the peer.
    pub(crate) fn from_peer(text: &[u8]) -> Self {
        Self::Peer(one_line(&String::from_utf8_lossy(text)))
    }
}

impl From<FramingError> for StsError {
    fn from(error: FramingError) -> Self {
        match error {
            FramingError::Format => Self::Format,
            FramingError::HungUp => Self::HungUp,
        }
    }
}
