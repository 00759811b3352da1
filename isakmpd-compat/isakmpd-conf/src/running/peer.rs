//! ISAKMP-peer sections (isakmpd-config 3), and which one an address belongs to.

use std::rc::Rc;

use ike::config::{ConfigError, Peer};
use ike::event::Address;
use kx_secret::SecretBytes;

use super::identity::Whose;
use super::view::{View, error};
use crate::text::octets;
use crate::value::number;

/// What a peer without `Configuration` has.
const DEFAULT_CONFIGURATION: &str = "Default-phase-1-configuration";

const UDP: u8 = 17;

impl View<'_> {
    /// The section for a first message from `address`. IPv6 addresses are looked for as the original prints them,
    /// link-local ones without their zone if there is none with it.
    pub(super) fn peer_for_address(&self, address: Address) -> Option<(String, bool)> {
        let text = self.host.interfaces.text(address);
        let listed = self.owned("Phase 1", &text);
        let on_any_link = || self.owned("Phase 1", &address.ip.to_string());
        let elsewhere = || on_any_link().filter(|_| address.zone != 0);
        if let Some(section) = listed.or_else(elsewhere) {
            return Some((section, true));
        }
        self.owned("Phase 1", "Default")
            .map(|section| (section, false))
    }

    pub(super) fn peer(&self, name: &str) -> Result<Peer, ConfigError> {
        let phase = self.store.number(name, "Phase", 0);
        if phase != 1 {
            return error(format!(
                "exchange_establish: peer \"{name}\" does not have a correct phase ({phase})"
            ));
        }
        if let Some(transport) = self.text(name, "Transport") {
            if !transport.eq_ignore_ascii_case("udp") {
                return error(format!(
                    "exchange_establish: transport \"{transport}\" for peer \"{name}\" could not be created"
                ));
            }
        }
        let own_id = self
            .owned(name, "ID")
            .or_else(|| self.owned("General", "Default-phase-1-ID"));
        let own_id = own_id
            .map(|section| self.phase1_identity(&section, Whose::Ours))
            .transpose()?;
        let remote_id = self.owned(name, "Remote-ID");
        let remote_id = remote_id
            .map(|section| self.phase1_identity(&section, Whose::Peers))
            .transpose()?;
        Ok(Peer {
            name: name.to_owned(),
            address: self.peer_address(name, "Address")?,
            port: self.peer_port(name)?,
            local_address: self.peer_address(name, "Local-address")?,
            configuration: self
                .owned(name, "Configuration")
                .unwrap_or_else(|| DEFAULT_CONFIGURATION.to_owned()),
            authentication: self.authentication(name)?,
            id: own_id,
            remote_id,
            ikecfg: self.flags(name).ikecfg,
        })
    }

    fn peer_address(&self, name: &str, tag: &str) -> Result<Option<Address>, ConfigError> {
        let Some(text) = self.text(name, tag) else {
            return Ok(None);
        };
        match self.host.interfaces.address(&text, None) {
            Some(address) => Ok(Some(address)),
            None => error(format!("udp_create: address \"{text}\" not understood")),
        }
    }

    fn peer_port(&self, name: &str) -> Result<u16, ConfigError> {
        let Some(text) = self.text(name, "Port") else {
            return Ok(self.host.listen_port());
        };
        match self.host.names.port(&text, UDP) {
            Some(port) => Ok(port),
            None => error(format!("udp_create: port \"{text}\" not understood")),
        }
    }

    /// The pre-shared key of a section: `0x` and hex digits, or the text as it is.
    ///
    /// The original writes a bad key into its log; we do not.
    pub(super) fn authentication(
        &self,
        section: &str,
    ) -> Result<Option<Rc<SecretBytes>>, ConfigError> {
        let Some(text) = self.text(section, "Authentication") else {
            return Ok(None);
        };
        let key = match text.split_at_checked(2) {
            Some((prefix, digits)) if prefix.eq_ignore_ascii_case("0x") => match hex_key(digits) {
                Some(key) => key,
                None => return error(format!("ike_auth_get_key: invalid hex key in [{section}]")),
            },
            _ => SecretBytes::from(octets(&text)),
        };
        Ok(Some(Rc::new(key)))
    }

    /// Whether a section is one that phase 1 can be made with.
    pub(super) fn is_phase_1(&self, section: &str) -> bool {
        self.text(section, "Phase")
            .is_some_and(|phase| number(&phase) == 1)
    }
}

/// Hex digits, an odd one alone in the first octet.
fn hex_key(digits: &str) -> Option<SecretBytes> {
    let nibble = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let digits = digits.as_bytes();
    let mut key = SecretBytes::with_capacity(digits.len().div_ceil(2));
    let (odd, pairs) = digits.split_at_checked(digits.len() % 2)?;
    for digit in odd {
        key.extend_from_slice(&[nibble(*digit)?]);
    }
    for pair in pairs.chunks_exact(2) {
        if let [high, low] = pair {
            key.extend_from_slice(&[(nibble(*high)? << 4) | nibble(*low)?]);
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_keys_are_aligned_to_the_right() {
        let key = |digits| hex_key(digits).map(|key| key.as_slice().to_vec());
        assert_eq!(key("0102fF"), Some(vec![1, 2, 255]));
        assert_eq!(key("abc"), Some(vec![0x0a, 0xbc]));
        assert_eq!(key(""), Some(vec![]));
        for bad in ["0g", "g", "0x01", "é1", " 1"] {
            assert_eq!(key(bad), None, "{bad}");
        }
    }
}
