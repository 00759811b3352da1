//! Why a call fails, and which errno that is.

use std::io;

use tcpcrypt_control::{AddressError, OptionName};
use thiserror::Error;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The control socket's address, as it was set, is none.
    #[error("opening control socket '{text}': {reason}")]
    Address {
        /// The address.
        text: String,
        /// What is wrong with it.
        reason: AddressError,
    },
    /// The system refused something: the daemon is not there, the socket is none.
    #[error("{}", system_text(*.0))]
    System(i32),
    /// The daemon answered with this error, or with one that is no errno, for which this stands.
    #[error("{}", system_text(*.0))]
    Refused(i32),
    /// The daemon did not answer in time.
    #[error("{}", system_text(libc::ETIMEDOUT))]
    Silent,
    /// What the daemon sent is no answer to the request.
    #[error("{}", system_text(libc::EPROTO))]
    Answer,
    /// The value has more than 1200 octets.
    #[error("{}", system_text(libc::EMSGSIZE))]
    TooLong,
    /// The socket is of another family than IP.
    #[error("{}", system_text(libc::EAFNOSUPPORT))]
    Family,
}

impl Error {
    /// What C programs find in `errno`; never 0 or negative.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::Address { .. } => libc::EINVAL,
            Self::System(errno) | Self::Refused(errno) => *errno,
            Self::Silent => libc::ETIMEDOUT,
            Self::Answer => libc::EPROTO,
            Self::TooLong => libc::EMSGSIZE,
            Self::Family => libc::EAFNOSUPPORT,
        }
    }

    /// The system's last error in this thread.
    pub(crate) fn last() -> Self {
        let errno = io::Error::last_os_error().raw_os_error();
        Self::System(errno.filter(|&n| n > 0).unwrap_or(libc::EIO))
    }

    /// The daemon's. The original has one error for everything, -1; what callers most often want to
    /// know from it is that a connection is not encrypted.
    pub(crate) fn refused(error: i32, optname: u32, set: bool) -> Self {
        /// Linux has no larger errno.
        const ERRNO_MAX: i32 = 4095;
        let of_connection = matches!(
            OptionName::from_number(optname),
            Some(OptionName::SessionId | OptionName::AppSupport)
        );
        Self::Refused(match error {
            1..=ERRNO_MAX => error,
            _ if of_connection && !set => libc::ENOTCONN,
            _ => libc::EINVAL,
        })
    }
}

/// The system's text for an errno, as `strerror` has it.
#[must_use]
pub fn system_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let suffix = format!(" (os error {errno})");
    text.strip_suffix(&suffix).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_is_always_one() {
        for error in [0, -1, i32::MIN, i32::MAX, 4096] {
            assert_eq!(Error::refused(error, 0, false).errno(), libc::EINVAL);
            assert_eq!(Error::refused(error, 2, true).errno(), libc::EINVAL);
            assert_eq!(Error::refused(error, 2, false).errno(), libc::ENOTCONN);
            assert_eq!(Error::refused(error, 15, false).errno(), libc::ENOTCONN);
        }
        assert_eq!(
            Error::refused(libc::ENOBUFS, 2, false).errno(),
            libc::ENOBUFS
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "the text is the C library's")]
    fn texts_have_no_number() {
        assert_eq!(system_text(libc::ENOENT), "No such file or directory");
        assert_eq!(
            Error::System(libc::ECONNREFUSED).to_string(),
            "Connection refused"
        );
    }
}
