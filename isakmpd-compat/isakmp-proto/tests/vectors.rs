//! Every message of the recordings, read and written again: the octets must be the same.

use std::path::{Path, PathBuf};

use isakmp_proto::header::{HEADER_LENGTH, Header};
use isakmp_proto::malformed::Reaction;
use isakmp_proto::message::{Builder, Message};
use isakmp_proto::nat_t::{Encapsulated, classify};
use isakmp_proto::number::{NotifyType, PayloadType};

/// ISAKMP messages of a capture, in order.
fn messages(capture: &Path) -> Vec<Vec<u8>> {
    let octets = std::fs::read(capture).unwrap_or_else(|error| panic!("{capture:?}: {error}"));
    let number = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(number(0), 0xa1b2_c3d4, "{capture:?}");
    // Octets before the IP header: LOOP, Linux cooked v2.
    let link = match number(20) {
        108 => 4,
        276 => 20,
        other => panic!("{capture:?}: link type {other}"),
    };
    let mut found = Vec::new();
    let mut at = 24;
    while at < octets.len() {
        let length = number(at + 8);
        let packet = &octets[at + 16 + link..at + 16 + length];
        at += 16 + length;
        let udp = if packet[0] >> 4 == 4 {
            &packet[usize::from(packet[0] & 15) * 4..]
        } else {
            &packet[40..]
        };
        let natted = [&udp[..2], &udp[2..4]].contains(&&4500_u16.to_be_bytes()[..]);
        let payload = &udp[8..];
        if !natted {
            found.push(payload.to_vec());
        } else if let Encapsulated::Ike(message) = classify(payload) {
            found.push(message.to_vec());
        }
    }
    found
}

fn directories() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop-tests/vectors/isakmpd");
    let mut directories: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("wire.pcap").exists())
        .collect();
    directories.sort();
    assert!(directories.len() >= 20, "{directories:?}");
    directories
}

/// Reads, checks and writes; the result must be what was read, padding left out.
fn again(octets: &[u8], place: &str) -> Message {
    let message = Message::parse(octets).unwrap_or_else(|refused| panic!("{place}: {refused}"));
    message
        .check()
        .unwrap_or_else(|refused| panic!("{place}: {refused}"));
    let mut builder = Builder::new(message.header);
    for placed in &message.payloads {
        builder.push(placed.payload.clone());
    }
    let built = builder.build().unwrap();
    let mut wanted = octets[..message.octets().len()].to_vec();
    let length = u32::try_from(wanted.len()).unwrap();
    wanted[HEADER_LENGTH - 4..HEADER_LENGTH].copy_from_slice(&length.to_be_bytes());
    assert_eq!(built.octets(), wanted, "{place}");
    let padding = &octets[message.octets().len()..];
    assert!(
        padding.len() < 16 && padding.iter().all(|octet| *octet == 0),
        "{place}"
    );
    message
}

#[test]
fn the_daemons_own_captures() {
    let mut count = 0;
    for directory in directories() {
        for role in ["initiator", "responder"] {
            let capture = directory.join(format!("{role}-cleartext.pcap"));
            for (index, octets) in messages(&capture).iter().enumerate() {
                // What a wrong key made of a message is the next test's.
                if directory.ends_with("fail-wrong-psk") && Message::parse(octets).is_err() {
                    continue;
                }
                again(octets, &format!("{} {index}", capture.display()));
                count += 1;
            }
        }
    }
    assert!(count > 300, "{count}");
}

#[test]
fn what_is_in_clear_on_the_wire() {
    let mut count = 0;
    for directory in directories() {
        let capture = directory.join("wire.pcap");
        for (index, octets) in messages(&capture).iter().enumerate() {
            let header = Header::parse(octets).unwrap();
            header.check().unwrap();
            assert_eq!(header.encode(), octets[..HEADER_LENGTH]);
            if !header.is_encrypted() {
                again(octets, &format!("{} {index}", capture.display()));
                count += 1;
            }
        }
    }
    assert!(count > 60, "{count}");
}

#[test]
fn a_wrong_key_is_refused_as_recorded() {
    let directory = directories()
        .into_iter()
        .find(|directory| directory.ends_with("fail-wrong-psk"))
        .unwrap();
    let log = std::fs::read_to_string(directory.join("responder-log.txt")).unwrap();
    let refused: Vec<_> = messages(&directory.join("responder-cleartext.pcap"))
        .iter()
        .filter_map(|octets| Message::parse(octets).err())
        .collect();
    assert!(!refused.is_empty());
    for refused in refused {
        for line in refused.log_lines() {
            assert!(log.contains(&format!("Default {line}\n")), "{line}");
        }
        let Reaction::Notify(notify) = refused.reaction() else {
            panic!("{refused:?}")
        };
        assert!(
            log.contains(&format!("due to notification type {notify}\n")),
            "{notify}"
        );
        assert_eq!(notify, NotifyType::PAYLOAD_MALFORMED);
    }
}

#[test]
fn offsets_are_those_of_the_octets() {
    let directory = directories()
        .into_iter()
        .find(|d| d.ends_with("mm-psk-dpd"))
        .unwrap();
    let octets = &messages(&directory.join("wire.pcap"))[0];
    let message = Message::parse(octets).unwrap();
    let sa = message.index_of(PayloadType::SA).unwrap();
    let length = usize::from(u16::from_be_bytes([octets[30], octets[31]]));
    assert_eq!(message.body(sa), &octets[32..28 + length]);
    assert_eq!(message.whole(sa), &octets[28..28 + length]);
    assert_eq!(message.rest_after(sa), &octets[28 + length..]);
    assert_eq!(message.all(PayloadType::VENDOR_ID).count(), 5);
    assert_eq!(message.rest_after(99), []);
}
