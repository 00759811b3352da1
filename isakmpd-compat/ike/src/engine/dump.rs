//! What debugging shows of exchanges and octets, in the original's form (isakmpd.md 3).

use isakmp_proto::header::Header;
use isakmp_proto::number::{Flags as HeaderFlags, IkeAttribute, IpsecAttribute};
use isakmp_proto::outline::{Item, outline};
use isakmp_proto::sa::Transform;

use super::{Engine, contents};
use crate::exchange::{Exchange, State};
use crate::journal::{Class, Journal};
use crate::sa::Role;

impl Engine {
    /// What there is to say of an exchange, class Exch level 10.
    pub(crate) fn dump_exchange(&mut self, what: &str, exchange: &Exchange) {
        self.journal.debug(Class::Exchange, 10, || {
            let policy = match &exchange.state {
                State::Main(n) | State::Aggressive(n) => n.policy.name.as_str(),
                _ => "<no policy>",
            };
            let role = if exchange.role == Role::Initiator {
                "initiator"
            } else {
                "responder"
            };
            format!(
                "{what}: {} {} {policy} policy {role} phase {} doi 1 exchange {} step {}",
                exchange.id,
                exchange.display_name(),
                exchange.state.phase(),
                exchange.state.exchange_type().0,
                exchange.step
            )
        });
        self.journal.debug(Class::Exchange, 10, || {
            format!(
                "{what}: icookie {} rcookie {}",
                exchange.initiator_cookie, exchange.responder_cookie
            )
        });
        self.journal.debug(Class::Exchange, 10, || {
            format!("{what}: msgid {:08x} ", exchange.message_id)
        });
    }

    /// Octets of a message to the log, class Mesg level 70.
    pub(crate) fn dump_raw(&mut self, what: &str, octets: &[u8]) {
        if !self.journal.wants(Class::Message, 70) {
            return;
        }
        if let Ok(header) = Header::parse(octets) {
            dump_header(&mut self.journal, &header);
        }
        for line in octets.chunks(32) {
            let text = hex_groups(line);
            self.journal
                .debug(Class::Message, 70, || format!("{what}: {text}"));
        }
    }

    /// The payloads and attributes of a received message, class Mesg level 50; their contents at 60 and 70.
    pub(crate) fn dump_payloads(&mut self, header: &Header, clear: &[u8]) {
        if !self.journal.wants(Class::Message, 30) {
            return;
        }
        let with_fields = self.journal.wants(Class::Message, 70);
        for item in outline(header, clear, MOST_ITEMS) {
            let level = match item {
                Item::Ignored { .. } => 30,
                Item::Contents { .. } => 60,
                _ => 50,
            };
            self.journal
                .debug(Class::Message, level, || item_text(item, header));
            if let (Item::Contents { ty, octets, .. }, true) = (item, with_fields) {
                for line in contents::fields(ty, octets) {
                    self.journal.debug(Class::Message, 70, || line);
                }
            }
        }
    }

    /// The transforms that an SA is made of, class Misc level 20.
    pub(crate) fn dump_chosen<'t>(&mut self, chosen: impl IntoIterator<Item = &'t Transform>) {
        for transform in chosen {
            self.journal.debug(Class::Misc, 20, || {
                format!(
                    "ipsec_decode_transform: transform {} chosen",
                    transform.number
                )
            });
        }
    }

    /// Named octets to the log, as the original dumps buffers. Never for keys.
    pub(crate) fn dump(&mut self, class: Class, level: u8, name: &str, octets: &[u8]) {
        if !self.journal.wants(class, level) {
            return;
        }
        self.journal.debug(class, level, || format!("{name}:"));
        for line in octets.chunks(32) {
            let text = hex_groups(line);
            self.journal.debug(class, level, || text);
        }
    }
}

/// Of a message with more in it only the beginning is shown.
const MOST_ITEMS: usize = 1024;

fn item_text(item: Item<'_>, header: &Header) -> String {
    match item {
        Item::Payload { offset, ty } => {
            format!("message_parse_payloads: offset {offset} payload {ty}")
        }
        Item::Ignored { next, of } => format!(
            "message_parse_payloads: private next payload type {next} in payload of type {} ignored",
            of.0
        ),
        Item::Transform { number } => format!("Transform {number}'s attributes"),
        Item::Attribute { ty, value } => {
            let name = if header.is_phase_1() {
                IkeAttribute(ty).to_string()
            } else {
                IpsecAttribute(ty).to_string()
            };
            let value =
                value.map_or_else(|| "unrepresentable".to_owned(), |value| value.to_string());
            format!("Attribute {name} value {value}")
        }
        Item::Contents { offset, ty, .. } => format!(
            "message_validate_payloads: payload {ty} at {offset} of message {:08x}",
            header.message_id
        ),
    }
}

/// Groups of four octets in lower-case hexadecimal.
fn hex_groups(octets: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(octets.len().saturating_mul(3));
    for (index, octet) in octets.iter().enumerate() {
        if index != 0 && index % 4 == 0 {
            text.push(' ');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

fn dump_header(journal: &mut Journal, header: &Header) {
    let mut line = |text: String| journal.debug(Class::Message, 70, || text);
    line(format!("ICOOKIE: {}", header.initiator_cookie));
    line(format!("RCOOKIE: {}", header.responder_cookie));
    line(format!("NEXT_PAYLOAD: {}", header.next_payload));
    line(format!("VERSION: {}", header.version));
    line(format!("EXCH_TYPE: {}", header.exchange.base_name()));
    line(format!("FLAGS: [ {}]", flag_names(header.flags)));
    line(format!("MESSAGE_ID: {:08x}", header.message_id));
    line(format!("LENGTH: {}", header.length));
}

fn flag_names(flags: u8) -> String {
    [
        (HeaderFlags::ENCRYPTED, "ENC "),
        (HeaderFlags::COMMIT, "COMMIT "),
        (HeaderFlags::AUTH_ONLY, "AUTH_ONLY "),
    ]
    .into_iter()
    .filter(|(bit, _)| flags & bit != 0)
    .map(|(_, name)| name)
    .collect()
}
