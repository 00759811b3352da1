//! Names of algorithms, and what they stand for.

/// A record's digest: `sha1` or `sha`, `md5`, `md4`.
pub use kx_crypto::digest::Algorithm as Digest;

use super::SslError;

/// What the original's device copies of a control message, less `alg ` and the end.
const DEVICE_LIMIT: usize = 27;

fn parse_digest(token: &str) -> Option<Digest> {
    Some(match token {
        "sha1" | "sha" => Digest::Sha1,
        "md5" => Digest::Md5,
        "md4" => Digest::Md4,
        _ => return None,
    })
}

/// A record's cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// `rc4_256`: the whole secret is the key, whatever the name says.
    Rc4,
    /// `rc4_128`: the secret's first 16 octets.
    Rc4Short128,
    /// `rc4_40` or `rc4`: the secret's first 5 octets.
    Rc4Short40,
    /// `des_56_cbc` or `descbc`.
    DesCbc,
    /// `des_56_ecb` or `desecb`.
    DesEcb,
    /// `des_40_cbc`.
    Des40Cbc,
    /// `des_40_ecb`.
    Des40Ecb,
    /// `ideacbc`.
    IdeaCbc,
    /// `ideaecb`.
    IdeaEcb,
}

impl Cipher {
    /// Octets of a block; 1 where the cipher makes a stream.
    #[must_use]
    pub fn block(self) -> usize {
        match self {
            Self::Rc4 | Self::Rc4Short128 | Self::Rc4Short40 => 1,
            _ => 8,
        }
    }

    fn parse(token: &str) -> Option<Self> {
        Some(match token {
            "rc4_256" => Self::Rc4,
            "rc4_128" => Self::Rc4Short128,
            "rc4_40" | "rc4" => Self::Rc4Short40,
            "des_56_cbc" | "descbc" => Self::DesCbc,
            "des_56_ecb" | "desecb" => Self::DesEcb,
            "des_40_cbc" => Self::Des40Cbc,
            "des_40_ecb" => Self::Des40Ecb,
            "ideacbc" => Self::IdeaCbc,
            "ideaecb" => Self::IdeaEcb,
            _ => return None,
        })
    }
}

/// What protects the records of a direction. Both `None`: nothing does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Algorithms {
    /// Over the plaintext; what is sent first.
    pub digest: Option<Digest>,
    /// Over digest, data and padding.
    pub cipher: Option<Cipher>,
}

impl Algorithms {
    /// Records with their lengths only.
    pub const CLEAR: Self = Self {
        digest: None,
        cipher: None,
    };
    /// What `keysrv` and its clients use.
    pub const SHA1_RC4_256: Self = Self {
        digest: Some(Digest::Sha1),
        cipher: Some(Cipher::Rc4),
    };
    /// Steps 8 to 10 of login.
    pub const SHA1: Self = Self {
        digest: Some(Digest::Sha1),
        cipher: None,
    };
    /// Step 4 of login.
    pub const RC4: Self = Self {
        digest: None,
        cipher: Some(Cipher::Rc4Short40),
    };

    /// Reads a list as the original's device does: tokens with one blank or `/` between two, the last
    /// of a kind counts. `clear` alone is [`Algorithms::CLEAR`].
    ///
    /// # Errors
    ///
    /// [`SslError::BadAlgorithm`] for anything else, more than 27 octets, or an empty token.
    pub fn parse(list: &str) -> Result<Self, SslError> {
        if list.len() > DEVICE_LIMIT {
            return Err(SslError::BadAlgorithm);
        }
        if list == "clear" {
            return Ok(Self::CLEAR);
        }
        let mut algorithms = Self::CLEAR;
        for token in list.split([' ', '/']) {
            if let Some(digest) = parse_digest(token) {
                algorithms.digest = Some(digest);
            } else if let Some(cipher) = Cipher::parse(token) {
                algorithms.cipher = Some(cipher);
            } else {
                return Err(SslError::BadAlgorithm);
            }
        }
        Ok(algorithms)
    }

    /// Octets in front of the data of each record.
    pub(super) fn digest_len(self) -> usize {
        self.digest.map_or(0, Digest::len)
    }

    /// Octets of which a body must be a multiple.
    pub(super) fn block(self) -> usize {
        self.cipher.map_or(1, Cipher::block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_original() {
        for (list, digest, cipher) in [
            ("sha1", Some(Digest::Sha1), None),
            ("sha", Some(Digest::Sha1), None),
            ("md5", Some(Digest::Md5), None),
            ("md4", Some(Digest::Md4), None),
            ("rc4_256", None, Some(Cipher::Rc4)),
            ("rc4_128", None, Some(Cipher::Rc4Short128)),
            ("rc4_40", None, Some(Cipher::Rc4Short40)),
            ("rc4", None, Some(Cipher::Rc4Short40)),
            ("descbc", None, Some(Cipher::DesCbc)),
            ("desecb", None, Some(Cipher::DesEcb)),
            ("des_56_cbc", None, Some(Cipher::DesCbc)),
            ("des_56_ecb", None, Some(Cipher::DesEcb)),
            ("des_40_cbc", None, Some(Cipher::Des40Cbc)),
            ("des_40_ecb", None, Some(Cipher::Des40Ecb)),
            ("ideacbc", None, Some(Cipher::IdeaCbc)),
            ("ideaecb", None, Some(Cipher::IdeaEcb)),
            ("clear", None, None),
            ("sha1/rc4_256", Some(Digest::Sha1), Some(Cipher::Rc4)),
            ("rc4_256 sha1", Some(Digest::Sha1), Some(Cipher::Rc4)),
            ("sha1 md5", Some(Digest::Md5), None),
        ] {
            assert_eq!(
                Algorithms::parse(list),
                Ok(Algorithms { digest, cipher }),
                "{list}"
            );
        }
    }

    #[test]
    fn other_lists_are_refused() {
        for list in [
            "",
            " ",
            "SHA1",
            "none",
            "sha1  rc4",
            "sha1 clear",
            "rc4_512",
            "sha1 sha1 sha1 sha1 sha1 sha1",
        ] {
            assert_eq!(
                Algorithms::parse(list),
                Err(SslError::BadAlgorithm),
                "{list:?}"
            );
        }
    }
}
