//! Keys of IPsec SAs: how long they are, and which octets of KEYMAT they are (isakmpd-wire 3).

use isakmp_proto::number::{EspTransform, IpcompTransform, IpsecAuth, Protocol};
use kx_secret::SecretBytes;

use crate::kernel::SaParameters;
use crate::phase2::proposal::{self, Agreed, ah_transform_matches};
use crate::sa::{Lifetime, ProtocolSa};

/// Octets of salt that AES in counter modes takes of KEYMAT.
const SALT: usize = 4;

/// Octets of one direction's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lengths {
    /// Encryption key, with its salt where there is one.
    pub(crate) encryption: usize,
    /// Authentication key.
    pub(crate) authentication: usize,
}

/// Key lengths of a protocol; `None` for what no implementation has: unknown ciphers, key lengths that a cipher
/// does not have, AH whose algorithms contradict each other, ESP that neither encrypts nor authenticates.
#[must_use]
pub(crate) fn lengths(agreed: &Agreed) -> Option<Lengths> {
    match Protocol(agreed.protocol) {
        Protocol::ESP => {
            let encryption = encryption_key_length(agreed)?;
            let authentication = authentication_key_length(agreed.authentication)?;
            let protects = encryption != 0 || authentication != 0;
            protects.then_some(Lengths {
                encryption,
                authentication,
            })
        }
        // Without an algorithm attribute the original refuses with its own words, later.
        Protocol::AH if agreed.authentication == 0 => Some(Lengths::default()),
        Protocol::AH => {
            let matches = ah_transform_matches(agreed.transform, agreed.authentication);
            let authentication = authentication_key_length(agreed.authentication)?;
            matches.then_some(Lengths {
                encryption: 0,
                authentication,
            })
        }
        Protocol::IPCOMP => (IpcompTransform(agreed.transform) != IpcompTransform::OUI)
            .then_some(Lengths::default()),
        _ => None,
    }
}

fn encryption_key_length(agreed: &Agreed) -> Option<usize> {
    let bits = agreed.key_length;
    let octets = usize::from(bits) / 8;
    let whole = bits % 8 == 0;
    let aes = || match bits {
        0 => Some(16),
        128 | 192 | 256 => Some(octets),
        _ => None,
    };
    match EspTransform(agreed.transform) {
        EspTransform::DES3 => Some(24),
        EspTransform::CAST if bits == 0 => Some(16),
        EspTransform::CAST => (whole && (40..=128).contains(&bits)).then_some(octets),
        EspTransform::BLOWFISH => (whole && (40..=448).contains(&bits)).then_some(octets),
        EspTransform::AES => aes(),
        EspTransform::AES_CTR | EspTransform::AES_GCM_16 | EspTransform::AES_GMAC => {
            aes()?.checked_add(SALT)
        }
        EspTransform::NULL => Some(0),
        _ => None,
    }
}

fn authentication_key_length(authentication: u16) -> Option<usize> {
    match IpsecAuth(authentication) {
        IpsecAuth(0) => Some(0),
        IpsecAuth::HMAC_MD5 => Some(16),
        IpsecAuth::HMAC_SHA | IpsecAuth::HMAC_RIPEMD => Some(20),
        IpsecAuth::HMAC_SHA2_256 => Some(32),
        IpsecAuth::HMAC_SHA2_384 => Some(48),
        IpsecAuth::HMAC_SHA2_512 => Some(64),
        _ => None,
    }
}

/// One direction for the kernel: `keymat` has the encryption key first, then the authentication key; `tunnel` is
/// that of [`tunnel_of`].
#[must_use]
pub(crate) fn parameters(
    sa: &ProtocolSa,
    spi: u32,
    keymat: &SecretBytes,
    lifetime: Lifetime,
    tunnel: bool,
) -> Option<SaParameters> {
    let (encryption, rest) = keymat.as_slice().split_at_checked(sa.encryption_key_len)?;
    let authentication = rest.get(..sa.authentication_key_len)?;
    Some(SaParameters {
        protocol: sa.protocol,
        spi,
        transform: sa.transform,
        authentication: sa.authentication,
        encryption_key: SecretBytes::from(encryption.to_vec()),
        authentication_key: SecretBytes::from(authentication.to_vec()),
        tunnel,
        udp_encapsulation: mode(sa).is_in_udp(),
        replay_window: sa.replay_window,
        seconds: lifetime.seconds,
        kilobytes: lifetime.kilobytes,
    })
}

/// Protocols as a packet goes through them.
pub(crate) fn innermost_first(protocols: &mut [ProtocolSa]) {
    protocols.sort_by_key(|sa| proposal::inside_out(sa.protocol));
}

/// The one place among protocols, innermost first, that carries the tunnel; the others go around it. `None`:
/// transport mode.
#[must_use]
pub(crate) fn tunnel_of(protocols: &[ProtocolSa]) -> Option<usize> {
    let tunnel = protocols.iter().position(|sa| mode(sa).is_tunnel())?;
    let first = protocols
        .iter()
        .take(tunnel)
        .position(|sa| mode(sa).follows());
    Some(first.unwrap_or(tunnel))
}

/// A protocol with its mode, and nothing else.
fn mode(sa: &ProtocolSa) -> Agreed {
    Agreed {
        protocol: sa.protocol,
        encapsulation: sa.encapsulation,
        ..Agreed::default()
    }
}
