//! The effective configuration in words: what is offered to whom, from which line, by which default.

use std::collections::HashSet;

use ike::config::{Amount, Configuration, Life, Lives, Phase1Transform, Suite, Value};
use isakmp_proto::number::{
    AhTransform, Encapsulation, EspTransform, ExchangeType, GroupDescription, IkeAuth,
    IkeEncryption, IkeHash, IpcompTransform, IpsecAuth, LifeType, Protocol,
};

use super::references::{References, line_of};
use super::sections::Kind;
use crate::running::Running;

pub(super) fn explain(running: &Running, references: &References) -> Vec<String> {
    let mut lines = Vec::new();
    let folded = |names: Vec<String>| -> HashSet<String> {
        names.iter().map(|name| name.to_ascii_lowercase()).collect()
    };
    let (kept, accepted) = (
        folded(running.connections()),
        folded(running.passive_connections()),
    );
    for (kind, section) in &references.order {
        let listed = |names: &HashSet<String>| names.contains(&section.to_ascii_lowercase());
        match kind {
            Kind::Peer => peer(running, section, &mut lines),
            Kind::Connection => {
                connection(
                    running,
                    section,
                    (listed(&kept), listed(&accepted)),
                    &mut lines,
                );
            }
            _ => {}
        }
    }
    lines
}

/// Where a value is from.
fn origin(running: &Running, section: &str, tag: &str) -> String {
    line_of(&running.store(), section, tag)
        .map_or_else(|| "default".to_owned(), |line| format!("line {line}"))
}

fn title(running: &Running, kind: &str, section: &str) -> String {
    match running.store().line_of_section(section) {
        Some(line) => format!("{kind} {section} (line {line}):"),
        None => format!("{kind} {section} (default):"),
    }
}

fn value(value: Option<Value>, name: impl Fn(u16) -> String) -> String {
    match value {
        Some(Value::Is(number)) => name(number),
        Some(Value::Any) => "any".to_owned(),
        None => "none".to_owned(),
    }
}

fn amount(amount: &Amount, unit: &str) -> String {
    match amount {
        Amount::Any => format!("any number of {unit}"),
        Amount::Number { offer, accept } if accept.start() == accept.end() => {
            format!("{offer} {unit}")
        }
        Amount::Number { offer, accept } if accept.is_empty() => {
            format!("{offer} {unit} (accepts none)")
        }
        Amount::Number { offer, accept } => {
            format!(
                "{offer} {unit} (accepts {} to {})",
                accept.start(),
                accept.end()
            )
        }
        Amount::Invalid => format!("no valid number of {unit}"),
    }
}

fn lives(lives: &Lives) -> String {
    let life = |life: &Life| match life.life_type {
        Value::Is(number) => amount(
            &life.duration,
            &LifeType(number).to_string().to_ascii_lowercase(),
        ),
        Value::Any => amount(&life.duration, "seconds or kilobytes"),
    };
    match lives {
        Lives::Any => "any life".to_owned(),
        Lives::These(these) if these.is_empty() => "no life".to_owned(),
        Lives::These(these) => format!(
            "life {}",
            these.iter().map(life).collect::<Vec<_>>().join(" and ")
        ),
    }
}

fn key_length(length: Option<&Amount>) -> String {
    length
        .map(|length| format!(" {}", amount(length, "bits")))
        .unwrap_or_default()
}

fn phase1_transform(running: &Running, transform: &Phase1Transform) -> String {
    format!(
        "    {} ({}): {}{}, {}, {}, {}, {}",
        transform.name,
        origin_of_section(running, &transform.name),
        value(transform.encryption, |number| IkeEncryption(number)
            .to_string()),
        key_length(transform.key_length.as_ref()),
        value(transform.hash, |number| IkeHash(number).to_string()),
        value(transform.authentication, |number| IkeAuth(number)
            .to_string()),
        value(transform.group, |number| GroupDescription(number)
            .to_string()),
        lives(&transform.lives),
    )
}

fn origin_of_section(running: &Running, section: &str) -> String {
    let store = running.store();
    match store.line_of_section(section) {
        Some(line) => format!("line {line}"),
        None if store.has_section(section) => "built in".to_owned(),
        None => "not defined".to_owned(),
    }
}

fn peer(running: &Running, section: &str, lines: &mut Vec<String>) {
    lines.push(title(running, "peer", section));
    let Ok(peer) = running.peer(section) else {
        lines.push("  cannot be used".to_owned());
        return;
    };
    match peer.address {
        Some(address) => {
            lines.push(format!(
                "  address {} port {} ({})",
                running.address_text(address),
                peer.port,
                origin(running, section, "Address")
            ));
        }
        None => lines.push("  no address: can only be answered".to_owned()),
    }
    if let Some(address) = peer.local_address {
        lines.push(format!(
            "  from {} ({})",
            running.address_text(address),
            origin(running, section, "Local-address")
        ));
    }
    match &peer.id {
        Some(id) => lines.push(format!("  we are {id}")),
        None => lines.push("  we are the address we send from (default)".to_owned()),
    }
    match &peer.remote_id {
        Some(id) => lines.push(format!(
            "  the peer has to be {id} ({})",
            origin(running, section, "Remote-ID")
        )),
        None => lines.push("  the peer may be anybody with the key (default)".to_owned()),
    }
    if peer.authentication.is_some() {
        lines.push(format!(
            "  pre-shared key ({})",
            origin(running, section, "Authentication")
        ));
    }
    let origin = origin(running, section, "Configuration");
    match running.phase1(&peer.configuration) {
        Ok(phase1) => {
            let mode = if phase1.exchange_type == ExchangeType::AGGRESSIVE.0 {
                "Aggressive Mode"
            } else {
                "Main Mode"
            };
            lines.push(format!(
                "  {mode} by [{}] ({origin}), in this order:",
                peer.configuration
            ));
            lines.extend(
                phase1
                    .transforms
                    .iter()
                    .map(|transform| phase1_transform(running, transform)),
            );
        }
        Err(failure) => lines.push(format!(
            "  no phase 1 by [{}] ({origin}): {failure}",
            peer.configuration
        )),
    }
}

/// `listed`: among those to keep up, among those that peers may ask for.
fn connection(running: &Running, section: &str, listed: (bool, bool), lines: &mut Vec<String>) {
    lines.push(title(running, "connection", section));
    let Ok(connection) = running.connection(section) else {
        lines.push("  cannot be negotiated".to_owned());
        return;
    };
    lines.push(
        match listed {
            (true, true) => "  kept up, and accepted from the peer",
            (true, false) => "  kept up, not accepted from the peer",
            (false, true) => "  accepted from the peer",
            (false, false) => "  neither kept up nor accepted",
        }
        .to_owned(),
    );
    let end = |selector: &Option<ike::sa::Selector>| match selector {
        None => "none".to_owned(),
        Some(selector) => {
            let mut text = selector.identity.to_string();
            if selector.protocol != 0 {
                text.push_str(&format!(" protocol {}", selector.protocol));
            }
            if selector.port != 0 {
                text.push_str(&format!(" port {}", selector.port));
            }
            text
        }
    };
    lines.push(format!(
        "  from {} to {} by peer {}",
        end(&connection.local_id),
        end(&connection.remote_id),
        connection.peer
    ));
    let origin = origin(running, section, "Configuration");
    match running.quick_mode(&connection.configuration) {
        Ok(quick_mode) => {
            lines.push(format!(
                "  Quick Mode by [{}] ({origin}), in this order:",
                connection.configuration
            ));
            for one in &quick_mode.suites {
                suite(running, one, lines);
            }
        }
        Err(failure) => lines.push(format!(
            "  no Quick Mode by [{}] ({origin}): {failure}",
            connection.configuration
        )),
    }
}

fn suite(running: &Running, suite: &Suite, lines: &mut Vec<String>) {
    lines.push(format!(
        "    {} ({})",
        suite.name,
        origin_of_section(running, &suite.name)
    ));
    for protocol in &suite.protocols {
        for transform in &protocol.transforms {
            let id = match Protocol(protocol.protocol) {
                Protocol::AH => AhTransform(transform.id).to_string(),
                Protocol::ESP => EspTransform(transform.id).to_string(),
                _ => IpcompTransform(transform.id).to_string(),
            };
            let mut words = vec![format!(
                "{} {id}{}",
                Protocol(protocol.protocol),
                key_length(transform.key_length.as_ref())
            )];
            if transform.authentication.is_some() {
                words.push(value(transform.authentication, |number| {
                    IpsecAuth(number).to_string()
                }));
            }
            words.push(value(transform.encapsulation, |number| {
                Encapsulation(number).to_string().to_ascii_lowercase()
            }));
            words.push(match transform.group {
                None => "no perfect forward secrecy".to_owned(),
                group => value(group, |number| GroupDescription(number).to_string()),
            });
            words.push(lives(&transform.lives));
            lines.push(format!("      {}", words.join(", ")));
        }
    }
}
