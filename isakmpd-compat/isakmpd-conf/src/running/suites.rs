//! IPsec-configuration, IPsec-suite, IPsec-protocol and IPsec-transform sections (isakmpd-config 3).

use ike::config::{ConfigError, Protocol, QuickMode, Suite, Transform, Value};
use isakmp_proto::number::{
    self, AhTransform, Encapsulation, EspTransform, ExchangeType, GroupDescription,
    IpcompTransform, IpsecAuth,
};

use super::view::{View, error};
use crate::defaults;

/// The original's ReplayWindow.
const REPLAY_WINDOW: i32 = 16;

const PLACE: &str = "initiator_send_HASH_SA_NONCE";

/// A tag that must be there. The original fails without a word.
fn missing<T>(tag: &str, section: &str) -> Result<T, ConfigError> {
    error(format!("{PLACE}: no \"{tag}\" tag in [{section}] section"))
}

impl View<'_> {
    pub(super) fn quick_mode(&self, name: &str) -> Result<QuickMode, ConfigError> {
        let place = "exchange_establish_p2";
        self.doi(name, place)?;
        self.exchange_type(name, place, &[ExchangeType::QUICK_MODE])?;
        let Some(suites) = self.list(name, "Suites") else {
            return missing("Suites", name);
        };
        let suites = suites
            .iter()
            .map(|suite| self.suite(suite))
            .collect::<Result<_, _>>()?;
        Ok(QuickMode {
            name: name.to_owned(),
            suites,
        })
    }

    fn suite(&self, name: &str) -> Result<Suite, ConfigError> {
        let Some(protocols) = self.list(name, "Protocols") else {
            if defaults::is_refused(name) {
                return error(format!(
                    "suite {name}: single DES is refused, see DES-compat in isakmpd.conf(5)"
                ));
            }
            return missing("Protocols", name);
        };
        let protocols = protocols
            .iter()
            .map(|protocol| self.protocol(protocol))
            .collect::<Result<_, _>>()?;
        Ok(Suite {
            name: name.to_owned(),
            protocols,
        })
    }

    fn protocol(&self, name: &str) -> Result<Protocol, ConfigError> {
        let Some(protocol_id) = self.text(name, "PROTOCOL_ID") else {
            return missing("PROTOCOL_ID", name);
        };
        let known = [
            number::Protocol::AH,
            number::Protocol::ESP,
            number::Protocol::IPCOMP,
        ];
        let Some(protocol) =
            number::Protocol::from_name(&protocol_id).filter(|protocol| known.contains(protocol))
        else {
            // Spelled so.
            return error(format!("{PLACE}: invalid PROTCOL_ID: {protocol_id}"));
        };
        let Some(transforms) = self.list(name, "Transforms") else {
            return missing("Transforms", name);
        };
        let transforms = transforms
            .iter()
            .map(|transform| self.ipsec_transform(transform, protocol))
            .collect::<Result<_, _>>()?;
        Ok(Protocol {
            name: name.to_owned(),
            protocol: protocol.0,
            replay_window: u32::try_from(self.store.number(name, "ReplayWindow", REPLAY_WINDOW))
                .unwrap_or(0),
            transforms,
        })
    }

    fn ipsec_transform(
        &self,
        name: &str,
        protocol: number::Protocol,
    ) -> Result<Transform, ConfigError> {
        let Some(transform_id) = self.text(name, "TRANSFORM_ID") else {
            return missing("TRANSFORM_ID", name);
        };
        let id = match protocol {
            number::Protocol::AH => AhTransform::from_name(&transform_id).map(u8::from),
            number::Protocol::ESP => EspTransform::from_name(&transform_id).map(u8::from),
            _ => IpcompTransform::from_name(&transform_id).map(u8::from),
        };
        // The original offers number 0, which no peer knows.
        let Some(id) = id else {
            return error(format!(
                "{PLACE}: section [{name}] has unsupported attribute(s): TRANSFORM_ID {transform_id}"
            ));
        };
        let transform = Transform {
            name: name.to_owned(),
            id,
            encapsulation: self.constant(name, "ENCAPSULATION_MODE", Encapsulation::from_name),
            authentication: self.constant(name, "AUTHENTICATION_ALGORITHM", IpsecAuth::from_name),
            group: self.constant(name, "GROUP_DESCRIPTION", GroupDescription::from_name),
            key_length: self.amount(name, "KEY_LENGTH"),
            key_rounds: self.amount(name, "KEY_ROUNDS"),
            compress_dictionary_size: self.amount(name, "COMPRESS_DICTIONARY_SIZE"),
            compress_private_algorithm: self.amount(name, "COMPRESS_PRIVATE_ALGORITHM"),
            // A number, where the others have names.
            ecn_tunnel: self
                .text(name, "ECN_TUNNEL")
                .map(|text| Value::Is(u16::try_from(crate::value::number(&text)).unwrap_or(0))),
            lives: self.lives(name),
        };
        let named = [
            ("ENCAPSULATION_MODE", transform.encapsulation),
            ("AUTHENTICATION_ALGORITHM", transform.authentication),
            ("GROUP_DESCRIPTION", transform.group),
        ];
        for (tag, value) in named {
            if value == Some(Value::Is(0)) {
                let text = self.owned(name, tag).unwrap_or_default();
                return error(format!(
                    "{PLACE}: section [{name}] has unsupported attribute(s): {tag} {text}"
                ));
            }
        }
        Ok(transform)
    }
}
