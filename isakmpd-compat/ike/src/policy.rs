//! What the engine asks of the policy (isakmpd.policy(5)); the program's KeyNote answers. Without one
//! (`-K`) every proposal passes and identities must match a connection.

use std::net::SocketAddr;

use isakmp_proto::identity::Identity;
use isakmp_proto::sa::Proposal;
use kx_crypto::prf::Hash;

use crate::sa::Selector;

/// One alternative under judgement: the proposals of one number, each with exactly one transform.
pub struct Question<'a> {
    /// The protocols of the suite, as they would be agreed.
    pub suite: &'a [Proposal],
    /// Whether both were authenticated in Aggressive Mode.
    pub aggressive: bool,
    /// Section of the phase 1 peer.
    pub peer: &'a str,
    /// Ends of phase 1.
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
    /// Phase 1 identities.
    pub local_id: &'a Identity,
    /// The peer's, with protocol and port of its ID payload.
    pub remote_id: &'a Selector,
    /// Quick Mode identities, ours and theirs; the addresses of phase 1 where none were sent.
    pub local_filter: &'a Selector,
    /// The peer's.
    pub remote_filter: &'a Selector,
    /// We began.
    pub initiator: bool,
    /// Group of a KE payload, 0 without one.
    pub group: u16,
    /// Phase 1: encryption, hash, authentication method and group numbers, key length in bits (0: none).
    pub phase1: Phase1Facts,
    /// Licensees the peer authenticated as (`credentials::PeerKey`), or the passphrase for PSK.
    pub principals: &'a [String],
}

/// What phase 1 agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Phase1Facts {
    /// isakmpd-wire 1.3
    pub encryption: u16,
    /// isakmpd-wire 1.3
    pub hash: u16,
    /// isakmpd-wire 1.3
    pub authentication: u16,
    /// isakmpd-wire 1.3
    pub group: u16,
    /// Bits; 0: not said.
    pub key_length: u16,
}

/// A policy in force.
pub trait Policy {
    /// Whether this alternative may be agreed on, and what the log is to say about it.
    fn permits(&self, question: &Question<'_>, log: &mut PolicyLog) -> bool;
}

/// What the log is to say about one question: plain lines and debugging ones of class Plcy.
#[derive(Debug)]
pub struct PolicyLog {
    level: u8,
    lines: Vec<(u8, String)>,
}

impl PolicyLog {
    /// Without lines; debugging ones are kept up to `level`, 0 is none.
    #[must_use]
    pub fn new(level: u8) -> Self {
        Self {
            level,
            lines: Vec::new(),
        }
    }

    /// A plain line.
    pub fn plain(&mut self, text: String) {
        self.lines.push((0, text));
    }

    /// A debugging line of a level above 0; the text is only made when it is wanted.
    pub fn debug(&mut self, level: u8, text: impl FnOnce() -> String) {
        if level <= self.level {
            self.lines.push((level, text()));
        }
    }

    /// The lines in their order with their levels, plain ones with 0.
    #[must_use]
    pub fn into_lines(self) -> Vec<(u8, String)> {
        self.lines
    }
}

/// The principals of a peer that authenticated with a pre-shared key (isakmpd-policy 5): the key itself and
/// its two digests, of the octets up to the first NUL. A key that is no text can be named by its digests.
#[must_use]
pub fn passphrase_principals(key: &[u8]) -> Vec<String> {
    let key = key.split(|octet| *octet == 0).next().unwrap_or_default();
    let mut principals = vec![format!("passphrase:{}", String::from_utf8_lossy(key))];
    for (name, hash) in [("md5", Hash::Md5), ("sha1", Hash::Sha1)] {
        // Both are always there.
        let digest = hash.digest(&[key]).unwrap_or_default();
        let digits: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        principals.push(format!("passphrase-{name}-hex:{digits}"));
    }
    principals
}

#[cfg(test)]
mod tests {
    use super::passphrase_principals;

    #[test]
    fn digests_as_recorded() {
        // isakmpd-policy 5
        assert_eq!(
            passphrase_principals(b"mekmitasdigoat\0rest"),
            [
                "passphrase:mekmitasdigoat",
                "passphrase-md5-hex:227f500abfe58f5f5d61e7f6053d8d85",
                "passphrase-sha1-hex:bf1091800d1221f9a35ec087a67e2d6209d6478e",
            ]
        );
        assert_eq!(
            passphrase_principals(b"foobar")[2],
            "passphrase-sha1-hex:8843d7f92416211de9ebb963ff4ce28125932878"
        );
    }
}
