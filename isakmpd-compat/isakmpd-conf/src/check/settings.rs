//! Settings one by one: tags that nobody knows, values that mean nothing.

use std::collections::HashSet;
use std::net::IpAddr;

use isakmp_proto::number::{
    AhTransform, Encapsulation, EspTransform, ExchangeType, GroupDescription, GroupType, IdType,
    IkeAuth, IkeEncryption, IkeHash, IpcompTransform, IpsecAuth, LifeType, Protocol,
};

use super::references::References;
use super::sections::{Kind, Refers};
use super::{Code, Findings, elements};
use crate::host::{Interfaces, link_local};
use crate::store::{SettingRef, Store};
use crate::value::OfferAccept;

impl Findings {
    pub(super) fn settings(
        &mut self,
        store: &Store,
        references: &References,
        interfaces: &Interfaces,
    ) {
        for setting in store.settings() {
            let kinds = references.kinds(setting.section);
            // Without a tag, or in a section of no use, there is nothing to say about the tag.
            if setting.tag.is_empty() || kinds.is_empty() {
                continue;
            }
            let known: Vec<(Kind, Refers)> = kinds
                .iter()
                .filter_map(|kind| kind.tag(setting.tag).map(|refers| (*kind, refers)))
                .collect();
            if kinds.contains(&Kind::Phase1) && known.is_empty() {
                self.address_of_phase1(&setting, interfaces);
            } else if known.is_empty() {
                let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                let text = format!(
                    "[{}]:{} is no tag of {} sections: ignored",
                    setting.section,
                    setting.tag,
                    names.join(", ")
                );
                self.setting(Code::UnknownTag, &setting, text);
            }
            for (kind, refers) in known {
                match refers {
                    Refers::Ignored => {
                        let text = format!(
                            "[{}]:{} has no effect on this system",
                            setting.section, setting.tag
                        );
                        self.setting(Code::IgnoredTag, &setting, text);
                    }
                    Refers::Words | Refers::Each(_) | Refers::EachOrAny(_) => {
                        self.list(kind, &setting)
                    }
                    Refers::Nothing | Refers::One(_) => {}
                }
                self.name(store, kind, &setting);
                self.number(kind, &setting);
                self.zones(&setting, interfaces);
                self.reached(store, kind, &setting);
            }
        }
    }

    fn setting(&mut self, code: Code, setting: &SettingRef<'_>, text: String) {
        self.add(code, setting.lines.map(|lines| lines.first), text);
    }

    /// Zones of addresses: the interface is not there (yet), or there cannot be one.
    fn zones(&mut self, setting: &SettingRef<'_>, interfaces: &Interfaces) {
        let is = |tag: &str| setting.tag.eq_ignore_ascii_case(tag);
        if !(is("Address") || is("Local-address") || is("Listen-on")) {
            return;
        }
        for word in elements(setting.value).0 {
            self.zone(setting, &word, interfaces);
        }
    }

    fn zone(&mut self, setting: &SettingRef<'_>, word: &str, interfaces: &Interfaces) {
        let Some((address, zone)) = word.split_once('%') else {
            return;
        };
        let place = match word == setting.tag {
            true => format!("[{}]", setting.section),
            false => format!("[{}]:{}", setting.section, setting.tag),
        };
        if link_local(address).is_none() {
            let text = format!("{place}: {word}: only link-local IPv6 addresses have a zone");
            self.setting(Code::UnknownInterface, setting, text);
        } else if interfaces.zone(zone).is_none() {
            let text = format!("{place}: {word}: no interface {zone} has a link-local address");
            self.setting(Code::UnknownInterface, setting, text);
        }
    }

    fn address_of_phase1(&mut self, setting: &SettingRef<'_>, interfaces: &Interfaces) {
        let plain = || setting.tag.parse().ok().map(IpAddr::into);
        let address = match setting.tag.contains('%') {
            true => interfaces.address(setting.tag, None),
            false => plain(),
        };
        match address.map(|address| interfaces.text(address)) {
            Some(address) if address.eq_ignore_ascii_case(setting.tag) => {}
            Some(address) => {
                let text = format!(
                    "[Phase 1]:{} is never matched: the address is written {address}",
                    setting.tag
                );
                self.setting(Code::NeverUsed, setting, text);
            }
            None if setting.tag.contains('%') => self.zone(setting, setting.tag, interfaces),
            None => {
                let text = format!(
                    "[Phase 1]:{} is neither an address nor Default: ignored",
                    setting.tag
                );
                self.setting(Code::UnknownTag, setting, text);
            }
        }
    }

    fn list(&mut self, kind: Kind, setting: &SettingRef<'_>) {
        let place = format!("[{}]:{}", setting.section, setting.tag);
        let (elements, has_empty) = elements(setting.value);
        if has_empty {
            self.setting(
                Code::EmptyElement,
                setting,
                format!("{place} has an empty element"),
            );
        }
        let mut seen = HashSet::new();
        for element in &elements {
            if !seen.insert(element.to_ascii_lowercase()) {
                self.setting(
                    Code::NeverUsed,
                    setting,
                    format!("{place} has {element} twice"),
                );
            }
        }
        if setting.tag.eq_ignore_ascii_case("Flags") {
            let known: &[&str] = if kind == Kind::Peer {
                &["ikecfg"]
            } else {
                &["Active-only", "Loose-IDs", "__ondemand"]
            };
            for flag in elements
                .iter()
                .filter(|flag| !known.iter().any(|known| known.eq_ignore_ascii_case(flag)))
            {
                self.setting(
                    Code::UnknownFlag,
                    setting,
                    format!("{place}: {flag} is unknown: ignored"),
                );
            }
        }
    }

    /// Names out of tables.
    fn name(&mut self, store: &Store, kind: Kind, setting: &SettingRef<'_>) {
        let tag = setting.tag.to_ascii_uppercase();
        let name = setting.value;
        let is_known = match (kind, tag.as_str()) {
            (_, "ID-TYPE") => IdType::from_name(name).is_some(),
            (Kind::Phase1Configuration | Kind::QuickModeConfiguration, "DOI") => {
                ["IPSEC", "ISAKMP"]
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(name))
            }
            (_, "EXCHANGE_TYPE") => ExchangeType::from_name(name).is_some(),
            (_, "ENCRYPTION_ALGORITHM") => is_any(name) || IkeEncryption::from_name(name).is_some(),
            (_, "HASH_ALGORITHM") => is_any(name) || IkeHash::from_name(name).is_some(),
            (_, "AUTHENTICATION_METHOD") => is_any(name) || IkeAuth::from_name(name).is_some(),
            (_, "GROUP_DESCRIPTION") => is_any(name) || GroupDescription::from_name(name).is_some(),
            (_, "GROUP_TYPE") => is_any(name) || GroupType::from_name(name).is_some(),
            (_, "PRF") => is_any(name),
            (Kind::Lifetime, "LIFE_TYPE") => LifeType::from_name(name).is_some(),
            (_, "PROTOCOL_ID") => Protocol::from_name(name).is_some(),
            (_, "ENCAPSULATION_MODE") => is_any(name) || Encapsulation::from_name(name).is_some(),
            (_, "AUTHENTICATION_ALGORITHM") => is_any(name) || IpsecAuth::from_name(name).is_some(),
            (_, "TRANSFORM_ID") => {
                EspTransform::from_name(name).is_some()
                    || AhTransform::from_name(name).is_some()
                    || IpcompTransform::from_name(name).is_some()
            }
            _ => return,
        };
        if !is_known {
            let text = format!(
                "[{}]:{}: {name} is no known name",
                setting.section, setting.tag
            );
            self.setting(Code::UnknownName, setting, text);
        }
        if tag == "LIFE_TYPE" && !store.is_defined(setting.section, "LIFE_DURATION") {
            let text = format!(
                "[{}] has no LIFE_DURATION: nothing matches it",
                setting.section
            );
            self.setting(Code::NeverUsed, setting, text);
        }
    }

    /// Numbers that are to be offered and accepted, and plain ones.
    fn number(&mut self, kind: Kind, setting: &SettingRef<'_>) {
        let tag = setting.tag.to_ascii_lowercase();
        let offers = matches!(
            (kind, tag.as_str()),
            (
                Kind::General,
                "default-phase-1-lifetime" | "default-phase-2-lifetime"
            ) | (Kind::Lifetime, "life_duration")
                | (
                    Kind::Phase1Transform,
                    "key_length" | "field_size" | "group_order"
                )
                | (Kind::IpsecTransform, "key_length" | "key_rounds")
        );
        let counts = matches!(
            (kind, tag.as_str()),
            (
                Kind::General,
                "check-interval"
                    | "dpd-check-interval"
                    | "exchange-max-time"
                    | "nat-t-keepalive"
                    | "retransmits"
            ) | (Kind::Peer | Kind::Connection, "phase")
                | (Kind::Protocol, "replaywindow")
                | (Kind::ModeConfig, "lifetime" | "prefix")
        );
        let place = format!("[{}]:{}", setting.section, setting.tag);
        if offers && !is_any(setting.value) {
            match OfferAccept::parse(setting.value) {
                None => {
                    let text = format!(
                        "{place}: {} is neither X nor X,Y:Z: nothing matches it",
                        setting.value
                    );
                    self.setting(Code::InvalidNumber, setting, text);
                }
                Some(spec) if !spec.accepts(spec.offer) => {
                    let text = format!(
                        "{place}: {} is not within {}:{}",
                        spec.offer, spec.min, spec.max
                    );
                    self.setting(Code::InvalidNumber, setting, text);
                }
                Some(_) => {}
            }
        } else if counts && setting.value.parse::<u32>().is_err() {
            let text = format!(
                "{place}: {} counts as {}",
                setting.value,
                crate::value::number(setting.value)
            );
            self.setting(Code::InvalidNumber, setting, text);
        }
    }

    /// Values that are not looked at because of others, and directories.
    fn reached(&mut self, store: &Store, kind: Kind, setting: &SettingRef<'_>) {
        let is = |tag: &str| setting.tag.eq_ignore_ascii_case(tag);
        let place = format!("[{}]:{}", setting.section, setting.tag);
        let text = match kind {
            Kind::IpsecId if is("Port") && !store.is_defined(setting.section, "Protocol") => {
                format!("{place} counts only together with Protocol")
            }
            Kind::IpsecId | Kind::Phase1Id
                if is("Address") || is("Network") || is("Netmask") || is("Name") =>
            {
                let id_type = store.get(setting.section, "ID-type").unwrap_or_default();
                let Some(id_type) = IdType::from_name(&id_type) else {
                    return;
                };
                let wants: &[&str] = match id_type {
                    IdType::IPV4_ADDR | IdType::IPV6_ADDR => &["Address"],
                    IdType::IPV4_ADDR_SUBNET | IdType::IPV6_ADDR_SUBNET => &["Network", "Netmask"],
                    _ => &["Name"],
                };
                if wants.iter().any(|tag| is(tag)) {
                    return;
                }
                format!("{place} is not looked at: the section is of type {id_type}")
            }
            Kind::General
                if is("Default-phase-1-lifetime")
                    && is_set(store, "LIFE_MAIN_MODE", "LIFE_DURATION") =>
            {
                format!("{place} counts for nothing: [LIFE_MAIN_MODE]:LIFE_DURATION is set")
            }
            Kind::General
                if is("Default-phase-2-lifetime")
                    && is_set(store, "LIFE_QUICK_MODE", "LIFE_DURATION") =>
            {
                format!("{place} counts for nothing: [LIFE_QUICK_MODE]:LIFE_DURATION is set")
            }
            Kind::X509
                if setting.tag.to_ascii_lowercase().ends_with("-directory")
                    && !setting.value.ends_with('/') =>
            {
                let text = format!(
                    "{place}: the original finds nothing in a directory without a slash at its end"
                );
                return self.setting(Code::NoSlash, setting, text);
            }
            _ => return,
        };
        self.setting(Code::NeverUsed, setting, text);
    }
}

fn is_any(name: &str) -> bool {
    name == "ANY"
}

fn is_set(store: &Store, section: &str, tag: &str) -> bool {
    store.setting(section, tag).is_some()
}
