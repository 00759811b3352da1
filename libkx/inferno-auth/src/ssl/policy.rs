//! What a server takes from a client's algorithm line (keysrv spec 5.5).

use thiserror::Error;

use super::{Algorithms, SslError};

/// Which lines are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// `sha1` and `rc4_256`, both and nothing else, in any order and as often as one likes.
    #[default]
    Exact,
    /// As the original: any of the two. A line of separators only, with which the original goes on
    /// in clear, is refused here too.
    Weak,
    /// As the original's `listen`: any of these. A line of separators only, and `none`, are refused.
    Listed(Names),
}

/// Which of the names of digests and ciphers are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names(u32);

impl Names {
    /// All that the record layer knows.
    pub const ALL: Self = Self(u32::MAX);
    /// What it knows, in the order of the original's lists.
    const KNOWN: [&'static str; 17] = [
        "des_56_cbc",
        "descbc",
        "des_56_ecb",
        "desecb",
        "des_40_cbc",
        "des_40_ecb",
        "ideacbc",
        "ideaecb",
        "rc4_40",
        "rc4",
        "rc4_128",
        "rc4_256",
        "sha1",
        "sha",
        "md5",
        "md4",
        // Spelled as a reminder that it is known, and never taken.
        "none",
    ];

    fn bit(name: &[u8]) -> Option<u32> {
        let place = Self::KNOWN
            .iter()
            .position(|known| known.as_bytes() == name)?;
        1u32.checked_shl(u32::try_from(place).ok()?)
    }

    /// These.
    ///
    /// # Errors
    /// The first that the record layer does not know.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut all = 0;
        for name in names {
            all |= Self::bit(name.as_bytes())
                .filter(|_| name != "none")
                .ok_or(name)?;
        }
        Ok(Self(all))
    }

    fn has(self, name: &[u8]) -> bool {
        name != b"none" && Self::bit(name).is_some_and(|bit| self.0 & bit != 0)
    }
}

/// Why a line is refused. Stays at home: the client sees the connection close.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A token that is not in the server's list.
    #[error("unsupported client algorithm: {0}")]
    Unsupported(String),
    /// No token at all.
    #[error("can't read client ssl algorithm: no algorithm named")]
    Nothing,
    /// A good token, and another missing without which the session would be weak.
    #[error("client algorithms are too weak: {0}")]
    Weak(String),
    /// The record layer does not take the list.
    #[error("can't set ssl algorithm: {0}")]
    Device(#[from] SslError),
}

impl Policy {
    /// What the records of the connection are protected with from here on.
    ///
    /// # Errors
    ///
    /// A [`PolicyError`] whose text is for the log. Octets of the client in it are escaped and few.
    pub fn choose(self, line: &[u8]) -> Result<Algorithms, PolicyError> {
        let tokens: Vec<&[u8]> = line
            .split(|octet| matches!(octet, b' ' | b'/'))
            .filter(|token| !token.is_empty())
            .collect();
        let (mut digest, mut cipher) = (false, false);
        for &token in &tokens {
            match (self, token) {
                (Self::Listed(names), token) if names.has(token) => {}
                (Self::Exact | Self::Weak, b"sha1") => digest = true,
                (Self::Exact | Self::Weak, b"rc4_256") => cipher = true,
                _ => {
                    let short = token.get(..64).unwrap_or(token);
                    return Err(PolicyError::Unsupported(short.escape_ascii().to_string()));
                }
            }
        }
        let joined = String::from_utf8_lossy(&tokens.join(&b' ')).into_owned();
        if tokens.is_empty() {
            return Err(PolicyError::Nothing);
        }
        if self == Self::Exact && !(digest && cipher) {
            return Err(PolicyError::Weak(joined));
        }
        Ok(Algorithms::parse(&joined)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_in_any_order() {
        for line in [
            "sha1/rc4_256",
            "sha1 rc4_256",
            "rc4_256 sha1",
            " //sha1 / rc4_256/ ",
            "sha1 rc4_256 sha1",
        ] {
            for policy in [Policy::Exact, Policy::Weak] {
                assert_eq!(
                    policy.choose(line.as_bytes()),
                    Ok(Algorithms::SHA1_RC4_256),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn one_alone_only_if_asked_for() {
        for line in ["sha1", "rc4_256", "sha1 sha1"] {
            assert_eq!(
                Policy::Exact.choose(line.as_bytes()),
                Err(PolicyError::Weak(line.to_owned()))
            );
            assert!(Policy::Weak.choose(line.as_bytes()).is_ok());
        }
    }

    #[test]
    fn those_of_a_list() {
        let all = Policy::Listed(Names::ALL);
        for line in [
            "sha1 rc4_256",
            "md5/rc4_128",
            "des_56_cbc sha",
            "md4",
            "ideaecb",
        ] {
            assert!(all.choose(line.as_bytes()).is_ok(), "{line}");
        }
        for line in ["none", "clear", "sha1 none", "sha2", "SHA1"] {
            let error = all.choose(line.as_bytes()).unwrap_err();
            assert!(
                matches!(error, PolicyError::Unsupported(_)),
                "{line}: {error}"
            );
        }
        let some = Policy::Listed(Names::of(["md5", "rc4_40"]).unwrap());
        assert!(some.choose(b"md5 rc4_40").is_ok() && some.choose(b"rc4_40").is_ok());
        for line in ["sha1 rc4_256", "md5 rc4", "md4"] {
            assert!(some.choose(line.as_bytes()).is_err(), "{line}");
        }
        for policy in [all, some] {
            assert_eq!(policy.choose(b" /"), Err(PolicyError::Nothing));
        }
        assert_eq!(Names::of(["sha1", "none"]), Err("none"));
        assert_eq!(Names::of(["sha3"]), Err("sha3"));
    }

    #[test]
    fn never_in_clear() {
        for line in ["", " ", "/", " / "] {
            for policy in [Policy::Exact, Policy::Weak] {
                assert_eq!(policy.choose(line.as_bytes()), Err(PolicyError::Nothing));
            }
        }
    }

    #[test]
    fn other_tokens_are_named() {
        for (line, token) in [
            ("none", "none"),
            ("clear", "clear"),
            ("sha1 rc4_128", "rc4_128"),
            ("md5/rc4_256", "md5"),
            ("SHA1 rc4_256", "SHA1"),
            ("sha1\nrc4_256", "sha1\\nrc4_256"),
        ] {
            for policy in [Policy::Exact, Policy::Weak] {
                let error = policy.choose(line.as_bytes()).unwrap_err();
                assert_eq!(
                    error.to_string(),
                    format!("unsupported client algorithm: {token}")
                );
            }
        }
    }

    #[test]
    fn the_device_has_a_limit() {
        assert_eq!(
            Policy::Weak.choose(b"sha1 rc4_256 sha1 rc4_256 sha1"),
            Err(PolicyError::Device(SslError::BadAlgorithm))
        );
    }
}
