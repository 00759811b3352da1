//! IKECFG-ID sections (isakmpd-config 3, isakmpd-wire 2.6).

use ike::config::ModeConfig;
use isakmp_proto::identity::Identity;

use super::view::View;
use crate::value::number;

impl View<'_> {
    /// The section of a peer's identity, if there is one.
    pub(super) fn mode_config(&self, peer_id: &Identity) -> Option<ModeConfig> {
        let section = peer_id
            .prefixed_text()
            .filter(|section| self.store.has_section(section))?;
        let address = |tag: &str| {
            let text = self.text(&section, tag)?;
            let address = self.host.interfaces.address(&text, None)?;
            Some(address.ip)
        };
        let amount = |tag: &str| self.text(&section, tag).map(|text| number(&text));
        Some(ModeConfig {
            request: self
                .text(&section, "Mode")
                .is_some_and(|mode| *mode != *"SET"),
            attributes: self.list(&section, "Attributes").unwrap_or_default(),
            address: address("Address"),
            netmask: address("Netmask"),
            nameserver: address("Nameserver"),
            wins_server: address("WINS-server"),
            dhcp_server: address("DHCP-server"),
            network: address("Network"),
            prefix: amount("Prefix")
                .and_then(|prefix| u8::try_from(prefix).ok())
                .filter(|prefix| *prefix <= 128),
            lifetime: amount("Lifetime").map(|seconds| u32::try_from(seconds).unwrap_or(0)),
            name: section,
        })
    }
}
