//! What `-D` shows of the messages of recordings, in the original's words (isakmpd.md 3). Offsets and values of the
//! first test were read in the recording's clear text by hand; the original's own debugging lines were recorded for
//! the policy only (see the tests of isakmpd's policy).

mod support;

use ike::journal::{Class, Kind};
use ike::random::Purpose;
use ike::sa::Role;
use support::{Replay, recording};

/// Lines of a class up to a level that a side logs, with their levels, until the Quick Mode is done.
fn lines(name: &str, role: Role, class: Class, level: u8) -> Vec<(u8, String)> {
    let mut replay = Replay::new(&recording(name), role);
    replay.side.engine.set_log_level(class, level);
    if role == Role::Initiator {
        // The peer's answer goes on from our cipher text.
        let random = &replay.side.random;
        let (identifiers, spis): (&[u16], &[u32]) = match name {
            MULTIPLE => (&[], &[0x3c1c_e903, 0x0d4d_db98]),
            "modecfg-set" => (&[0x8ad7], &[0x1bd1_b8cd]),
            "modecfg-request" => (&[0x83f5], &[0x459f_a82e]),
            _ => (&[], &[]),
        };
        for identifier in identifiers {
            random.push(Purpose::TransactionIdentifier, &identifier.to_be_bytes());
        }
        for spi in spis {
            random.push(Purpose::Spi, &spi.to_be_bytes());
        }
        replay.side.engine.keep_up(replay.start, "conn-x");
    }
    // As responder our SPIs are others, and so is what covers them.
    replay.play_comparing(|packet| packet.exchange() != 5, |_, _, _| ());
    let debugging = replay
        .side
        .log
        .iter()
        .filter_map(|record| match record.kind {
            Kind::Debug(_, level) => Some((level, record.text.clone())),
            _ => None,
        });
    debugging.collect()
}

fn at_level(lines: &[(u8, String)], wanted: u8) -> Vec<&str> {
    lines
        .iter()
        .filter(|(level, _)| *level == wanted)
        .map(|(_, text)| text.as_str())
        .collect()
}

/// `offset TYPE`, `Transform N` and `ATTRIBUTE=VALUE` in the original's words.
fn in_words(short: &str) -> Vec<String> {
    short
        .split_whitespace()
        .map(|item| {
            if let Some((attribute, value)) = item.split_once('=') {
                format!("Attribute {attribute} value {value}")
            } else if let Some((offset, payload)) = item.split_once(':') {
                format!("message_parse_payloads: offset {offset} payload {payload}")
            } else {
                format!("Transform {item}'s attributes")
            }
        })
        .collect()
}

const MULTIPLE: &str = "mm-multi-transform-multi-suite";

const CHOSEN: &str = "48:TRANSFORM 2 ENCRYPTION_ALGORITHM=7 HASH_ALGORITHM=2 AUTHENTICATION_METHOD=1 \
    GROUP_DESCRIPTION=2 LIFE_TYPE=1 LIFE_DURATION=3600 KEY_LENGTH=128";

const KEY_EXCHANGE: &str = "28:KEY_EXCH 160:NONCE 180:NAT_D 204:NAT_D 28:ID 40:HASH 64:NOTIFY";

#[test]
fn payloads_and_attributes_as_responder() {
    let offered = "28:SA 148:VENDOR 168:VENDOR 188:VENDOR 208:VENDOR 228:VENDOR 40:PROPOSAL \
        48:TRANSFORM 0 ENCRYPTION_ALGORITHM=5 HASH_ALGORITHM=1 AUTHENTICATION_METHOD=1 \
        GROUP_DESCRIPTION=2 LIFE_TYPE=1 LIFE_DURATION=3600 \
        80:TRANSFORM 1 ENCRYPTION_ALGORITHM=6 HASH_ALGORITHM=2 AUTHENTICATION_METHOD=1 \
        GROUP_DESCRIPTION=2 LIFE_TYPE=1 LIFE_DURATION=3600";
    let quick_mode = "28:HASH 52:SA 140:NONCE 160:ID 176:ID 64:PROPOSAL \
        76:TRANSFORM 1 SA_LIFE_TYPE=1 SA_LIFE_DURATION=1200 ENCAPSULATION_MODE=1 \
        AUTHENTICATION_ALGORITHM=2 KEY_LENGTH=128 104:PROPOSAL \
        116:TRANSFORM 1 SA_LIFE_TYPE=1 SA_LIFE_DURATION=1200 ENCAPSULATION_MODE=1 \
        AUTHENTICATION_ALGORITHM=1 28:HASH";
    let chosen = CHOSEN.replace("48:", "112:");
    let expected = in_words(&format!("{offered} {chosen} {KEY_EXCHANGE} {quick_mode}"));
    let shown = lines(MULTIPLE, Role::Responder, Class::Message, 50);
    assert_eq!(at_level(&shown, 50), expected);
    // Below that level, and in other classes, nobody looks.
    let shown = lines(MULTIPLE, Role::Responder, Class::Message, 49);
    assert!(at_level(&shown, 50).is_empty());
    let shown = lines(MULTIPLE, Role::Responder, Class::Exchange, 99);
    assert!(!shown.iter().any(|(_, text)| text.contains("offset")));
}

/// The contents of all payloads of a message come by type; those of the recording's second message were read by hand.
#[test]
fn contents_of_payloads() {
    let shown = lines(MULTIPLE, Role::Initiator, Class::Message, 70);
    let mut shown = shown.iter().skip_while(|(_, text)| {
        text != "message_validate_payloads: payload SA at 28 of message 00000000"
    });
    let expected = [
        (
            60,
            "message_validate_payloads: payload SA at 28 of message 00000000",
        ),
        (70, "NEXT_PAYLOAD: VENDOR"),
        (70, "LENGTH: 56"),
        (70, "DOI: 1"),
        (70, "SIT: "),
        (50, "message_parse_payloads: offset 40 payload PROPOSAL"),
        (50, "message_parse_payloads: offset 48 payload TRANSFORM"),
        (50, "Transform 2's attributes"),
    ];
    for (level, text) in expected {
        assert_eq!(shown.next(), Some(&(level, text.to_owned())));
    }
    let mut shown = shown.skip_while(|(level, _)| *level == 50);
    let expected = [
        (
            60,
            "message_validate_payloads: payload PROPOSAL at 40 of message 00000000",
        ),
        (70, "NEXT_PAYLOAD: NONE"),
        (70, "LENGTH: 44"),
        (70, "NO: 1"),
        (70, "PROTO: ISAKMP"),
        (70, "SPI_SZ: 0"),
        (70, "NTRANSFORMS: 1"),
        (70, "SPI: "),
        (
            60,
            "message_validate_payloads: payload TRANSFORM at 48 of message 00000000",
        ),
        (70, "NEXT_PAYLOAD: NONE"),
        (70, "LENGTH: 36"),
        (70, "NO: 2"),
        (70, "ID: 1"),
        (70, "SA_ATTRS: "),
        (
            60,
            "message_validate_payloads: payload VENDOR at 84 of message 00000000",
        ),
        (70, "NEXT_PAYLOAD: VENDOR"),
        (70, "LENGTH: 20"),
        (70, "ID: "),
    ];
    for (level, text) in expected {
        assert_eq!(shown.next(), Some(&(level, text.to_owned())));
    }
    // Level by level.
    let below = lines(MULTIPLE, Role::Initiator, Class::Message, 69);
    assert!(!at_level(&below, 60).is_empty());
    assert!(
        !below
            .iter()
            .any(|(_, text)| text.starts_with("NEXT_PAYLOAD: "))
    );
}

/// Of phase 1, then of phase 2.
#[test]
fn transforms_that_are_chosen() {
    for role in [Role::Responder, Role::Initiator] {
        let shown = lines(MULTIPLE, role, Class::Misc, 20);
        let chosen = at_level(&shown, 20);
        let line = |n: u8| format!("ipsec_decode_transform: transform {n} chosen");
        assert_eq!(chosen, [line(2), line(1)], "{role:?}");
    }
}

#[test]
fn payloads_and_attributes_as_initiator() {
    let answer = "28:SA 84:VENDOR 104:VENDOR 124:VENDOR 144:VENDOR 164:VENDOR 40:PROPOSAL";
    let quick_mode = "28:HASH 52:SA 104:NONCE 124:ID 140:ID 64:PROPOSAL \
        76:TRANSFORM 1 SA_LIFE_TYPE=1 SA_LIFE_DURATION=1200 ENCAPSULATION_MODE=1 \
        AUTHENTICATION_ALGORITHM=2 KEY_LENGTH=128";
    let expected = in_words(&format!("{answer} {CHOSEN} {KEY_EXCHANGE} {quick_mode}"));
    let shown = lines(MULTIPLE, Role::Initiator, Class::Message, 50);
    assert_eq!(at_level(&shown, 50), expected);
}

#[test]
fn mode_config() {
    let shown = |name, role| {
        lines(name, role, Class::Negotiation, 50)
            .into_iter()
            .filter(|(_, text)| text.starts_with("cfg_"))
            .collect::<Vec<_>>()
    };
    let mode = |mode| (10, format!("cfg_initiator_send_ATTR: {mode} mode"));
    // In the reverse order of the REPLY, which is that of the REQUEST. Behind them the recorded one has zeroes.
    let end = "cfg_decode_attribute: invalid attr type 0".to_owned();
    let replied = "IP4_ADDRESS IP4_NETMASK IP4_DNS IP4_NBNS ADDRESS_EXPIRY IP4_DHCP IP6_ADDRESS \
        IP6_NETMASK IP6_DNS IP6_NBNS IP6_DHCP";
    let replied = replied.split_whitespace().map(|attribute| {
        let line = "cfg_initiator_recv_ATTR: server 10.77.0.2 replied with attribute INTERNAL_";
        (50, format!("{line}{attribute}"))
    });
    let expected: Vec<_> = [mode("REQ/REPLY"), (30, end)]
        .into_iter()
        .chain(replied)
        .collect();
    assert_eq!(shown("modecfg-request", Role::Initiator), expected);
    // Once for each family.
    let missing = "cfg_responder_send_ATTR: attribute not found: DHCP-server";
    assert_eq!(
        shown("modecfg-request", Role::Responder),
        [(10, missing.to_owned()), (10, missing.to_owned())]
    );
    assert_eq!(shown("modecfg-set", Role::Initiator), [mode("SET/ACK")]);
    let asked = "ADDRESS_EXPIRY IP4_NBNS IP4_DNS IP4_NETMASK IP4_ADDRESS";
    let asked = asked.split_whitespace().map(|attribute| {
        let line = "cfg_responder_recv_ATTR: server 10.77.0.1 asks us to SET attribute INTERNAL_";
        (50, format!("{line}{attribute}"))
    });
    let expected: Vec<_> = asked.collect();
    assert_eq!(shown("modecfg-set", Role::Responder), expected);
}

/// A message that is refused is shown as far as it can be read, one that is too long in part.
#[test]
fn what_cannot_be_read_ends_the_list() {
    let name = "mm-psk-aes128-sha256-g14";
    let shown = |change: fn(&mut Vec<u8>)| {
        let mut replay = Replay::new(&recording(name), Role::Responder);
        replay.side.engine.set_log_level(Class::Message, 50);
        let packet = replay.packets[0].clone();
        let (path, mut message) = (replay.path(&packet), packet.message);
        change(&mut message);
        let length = u32::try_from(message.len()).expect("short");
        message[24..28].copy_from_slice(&length.to_be_bytes());
        let now = replay.start;
        replay.side.engine.handle_datagram(now, path, &message);
        replay.side.turn(now);
        let debugging = replay.side.log.iter();
        debugging
            .filter(|record| record.kind == Kind::Debug(Class::Message, 50))
            .map(|record| record.text.clone())
            .collect::<Vec<_>>()
    };
    let chain = "28:SA 84:VENDOR 104:VENDOR 124:VENDOR 144:VENDOR 164:VENDOR";
    // A reserved octet that is not zero: in the third vendor ID, and in the transform.
    let expected = in_words("28:SA 84:VENDOR 104:VENDOR 124:VENDOR");
    assert_eq!(shown(|message| message[125] = 1), expected);
    let expected = in_words(&format!("{chain} 40:PROPOSAL 48:TRANSFORM"));
    assert_eq!(shown(|message| message[49] = 1), expected);
    // A private payload is in the list, and that it is passed over stands at level 30.
    let expected = in_words(&format!("{chain} 184:<Unknown_200> 40:PROPOSAL"));
    let private = shown(|message| {
        message[164] = 200;
        message.extend([0, 0, 0, 4]);
    });
    let expected: Vec<_> = expected
        .iter()
        .map(|line| line.replace("<Unknown_", "<Unknown "))
        .collect();
    assert_eq!(private[..expected.len()], expected);
    // Vendor IDs without end.
    let many = shown(|message| {
        message[164] = 13;
        message.extend([13, 0, 0, 4].repeat(5000));
        message.extend([0, 0, 0, 4]);
    });
    assert_eq!(many.len(), 1024);
}
