//! ISAKMP-configuration, ISAKMP-transform and Lifetime sections (isakmpd-config 3).

use ike::config::{ConfigError, Life, Lives, Phase1, Phase1Transform, Value};
use isakmp_proto::number::{
    ExchangeType, GroupDescription, GroupType, IkeAuth, IkeEncryption, IkeHash, LifeType,
};

use super::view::{View, error};
use crate::defaults;

/// DOI numbers.
const ISAKMP: u32 = 0;
const IPSEC: u32 = 1;

impl View<'_> {
    /// `DOI` of a configuration. `place` is where the original complains.
    pub(super) fn doi(&self, section: &str, place: &str) -> Result<u32, ConfigError> {
        match self.text(section, "DOI") {
            None => Ok(IPSEC),
            Some(doi) if doi.eq_ignore_ascii_case("IPSEC") => Ok(IPSEC),
            Some(doi) if doi.eq_ignore_ascii_case("ISAKMP") => Ok(ISAKMP),
            Some(doi) => error(format!("{place}: DOI \"{doi}\" unsupported")),
        }
    }

    /// `EXCHANGE_TYPE` of a configuration, one of `known`.
    pub(super) fn exchange_type(
        &self,
        section: &str,
        place: &str,
        known: &[ExchangeType],
    ) -> Result<ExchangeType, ConfigError> {
        let Some(name) = self.text(section, "EXCHANGE_TYPE") else {
            return error(format!(
                "{place}: no \"EXCHANGE_TYPE\" tag in [{section}] section"
            ));
        };
        match ExchangeType::from_name(&name).filter(|exchange| known.contains(exchange)) {
            Some(exchange) => Ok(exchange),
            None => error(format!("{place}: unknown exchange type {name}")),
        }
    }

    pub(super) fn phase1(&self, name: &str) -> Result<Phase1, ConfigError> {
        let place = "exchange_establish_p1";
        let doi = self.doi(name, place)?;
        let exchange = self.exchange_type(
            name,
            place,
            &[ExchangeType::ID_PROT, ExchangeType::AGGRESSIVE],
        )?;
        // The original fails here without a word.
        let Some(transforms) = self.list(name, "Transforms") else {
            return error(format!(
                "ike_phase_1_initiator_send_SA: no \"Transforms\" tag in [{name}] section"
            ));
        };
        Ok(Phase1 {
            name: name.to_owned(),
            doi,
            exchange_type: exchange.0,
            transforms: transforms
                .iter()
                .map(|transform| self.phase1_transform(transform))
                .collect(),
        })
    }

    fn phase1_transform(&self, name: &str) -> Phase1Transform {
        if defaults::is_refused(name) && !self.store.has_section(name) {
            self.warn(format!(
                "transform {name}: single DES is refused, see DES-compat in isakmpd.conf(5)"
            ));
        }
        Phase1Transform {
            name: name.to_owned(),
            encryption: self.constant(name, "ENCRYPTION_ALGORITHM", IkeEncryption::from_name),
            hash: self.constant(name, "HASH_ALGORITHM", IkeHash::from_name),
            authentication: self.constant(name, "AUTHENTICATION_METHOD", IkeAuth::from_name),
            group: self.constant(name, "GROUP_DESCRIPTION", GroupDescription::from_name),
            group_type: self.constant(name, "GROUP_TYPE", GroupType::from_name),
            // There is no name in that table.
            prf: self.constant(name, "PRF", |_| None::<u16>),
            key_length: self.amount(name, "KEY_LENGTH"),
            field_size: self.amount(name, "FIELD_SIZE"),
            group_order: self.amount(name, "GROUP_ORDER"),
            lives: self.lives(name),
        }
    }

    /// The Lifetime sections of a transform. One without a type that is known can be neither offered nor matched.
    pub(super) fn lives(&self, transform: &str) -> Lives {
        if self
            .text(transform, "Life")
            .is_some_and(|life| *life == *"ANY")
        {
            return Lives::Any;
        }
        let lives = self.list(transform, "Life").unwrap_or_default();
        Lives::These(lives.iter().filter_map(|life| self.life(life)).collect())
    }

    fn life(&self, section: &str) -> Option<Life> {
        let life_type = match self.constant(section, "LIFE_TYPE", LifeType::from_name) {
            // `ANY` is no type, to the original either.
            Some(Value::Is(0) | Value::Any) => return None,
            Some(life_type) => life_type,
            None => {
                self.warn(format!(
                    "attribute_unacceptable: section [{section}] has no LIFE_TYPE"
                ));
                return None;
            }
        };
        let duration = self.amount(section, "LIFE_DURATION").unwrap_or_else(|| {
            self.warn(format!(
                "attribute_unacceptable: section [{section}] has no LIFE_DURATION"
            ));
            ike::config::Amount::Invalid
        });
        Some(Life {
            life_type,
            duration,
        })
    }
}
