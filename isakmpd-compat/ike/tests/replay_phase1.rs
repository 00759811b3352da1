//! Phase 1 of every recording of the original, as both of its sides: the same randomness gives the same octets, the
//! same keys and the same log.

mod support;

use std::time::Duration;

use ike::sa::Role;
use support::{Replay, cipher, name_of, recording, recordings};

const ROLES: [Role; 2] = [Role::Initiator, Role::Responder];

fn play(name: &str, role: Role) -> Replay {
    let mut replay = Replay::new(&recording(name), role);
    if role == Role::Initiator {
        replay.side.engine.keep_up(replay.start, "conn-x");
    }
    replay
}

/// So long after the last message the recordings of failures asked for `S`, about: nothing in it counts down.
const ASKED: Duration = Duration::from_secs(1);

/// `Exchange-max-time`, unless the configuration says otherwise.
const EXCHANGE_MAX_TIME: Duration = Duration::from_secs(120);

/// The lines about phase 1 in a recorded log, without times.
fn recorded_lines(name: &str, role: Role) -> Vec<String> {
    let file = format!("{}-log.txt", support::role_name(role));
    let log = std::fs::read_to_string(recording(name).join(file)).expect("a log");
    log.lines()
        .filter_map(|line| {
            line.split_once(" Default ")
                .map(|(_, text)| text.to_owned())
        })
        .filter(|text| {
            ["isakmpd: phase 1", "attribute_", "message_", "dropped "]
                .iter()
                .any(|start| text.starts_with(start))
        })
        .collect()
}

/// Up to the end of phase 1.
fn about_phase_1(lines: Vec<String>) -> Vec<String> {
    let done = lines
        .iter()
        .position(|line| line.starts_with("isakmpd: phase 1 done"));
    let end = done.map_or(lines.len(), |at| at + 1);
    lines[..end].to_vec()
}

/// A negotiation that failed: what `S` shows of it while its exchange lives, octet for octet, cookies included.
fn compare_status(replay: &mut Replay, name: &str, role: Role) {
    let file = format!("{}-S-result.txt", support::role_name(role));
    let recorded = std::fs::read_to_string(recording(name).join(file)).expect("a result");
    let last = replay.packets.last().expect("a packet").at;
    let mut status = |after: Duration| {
        let now = replay.start + after;
        replay.side.engine.handle_timeout(now);
        replay.side.turn(now);
        let mut text = String::new();
        replay.side.engine.write_sas(now, &mut text);
        text
    };
    assert_eq!(status(last + ASKED), recorded, "{name} {role:?}");
    if role == Role::Responder {
        assert_eq!(status(EXCHANGE_MAX_TIME), "", "{name}");
    }
}

fn compare_log(replay: &Replay, name: &str, role: Role) {
    let ours = replay.side.lines().into_iter().map(str::to_owned).collect();
    let theirs = recorded_lines(name, role);
    assert_eq!(
        about_phase_1(ours),
        about_phase_1(theirs),
        "{name} {role:?}"
    );
}

#[test]
fn main_mode_octet_for_octet() {
    let mut played = 0;
    for directory in recordings() {
        let name = name_of(&directory);
        if name.starts_with("am-") {
            continue;
        }
        for role in ROLES {
            eprintln!("{name} {role:?}");
            let mut replay = play(&name, role);
            replay.play(|packet| packet.is_phase_1());
            compare_log(&replay, &name, role);
            if name.starts_with("fail-") {
                compare_status(&mut replay, &name, role);
            }
            played += 1;
        }
    }
    assert!(played >= 38, "{played}");
}

/// The same, but for the third message: ours has NAT-D after the HASH, since without them NAT traversal never comes
/// up in this mode (isakmpd-wire 4.5). Its HASH is the recorded one.
#[test]
fn aggressive_mode_octet_for_octet() {
    let name = "am-psk-aes128-sha1-g14";
    let directory = recording(name);
    for role in ROLES {
        let mut replay = play(name, role);
        let key = |wanted| cipher::key(&directory, role, wanted);
        let mut third = false;
        replay.play_comparing(
            |packet| packet.is_phase_1(),
            |ours, recorded, place| {
                if recorded[19] & 1 == 0 {
                    assert_eq!(ours, recorded, "{place}");
                    return;
                }
                third = true;
                let [ours_open, recorded_open] = [ours, recorded]
                    .map(|message| cipher::open(message, &key("enc_key"), &key("iv0")));
                let hash = key("hash_i");
                assert_eq!(
                    recorded_open,
                    cipher::padded(cipher::payload(0, &hash)),
                    "{place}"
                );
                let nat_d = |[a, b, c, d]: [u8; 4]| {
                    let end = [a, b, c, d, (500_u16 >> 8) as u8, 500_u16 as u8];
                    kx_crypto::digest::sha1(&[&recorded[..16], &end])
                };
                let text = [
                    cipher::payload(20, &hash),
                    cipher::payload(20, &nat_d([10, 77, 0, 2])),
                    cipher::payload(0, &nat_d([10, 77, 0, 1])),
                ];
                assert_eq!(ours_open, cipher::padded(text.concat()), "{place}");
                // All of the header but the length.
                assert_eq!(ours[..24], recorded[..24], "{place}");
                assert_eq!(
                    [ours, recorded].map(|message| u32::from_be_bytes(
                        message[24..28].try_into().expect("a length")
                    )),
                    [28 + 80, 28 + 32],
                    "{place}"
                );
            },
        );
        assert_eq!(third, role == Role::Initiator);
        compare_log(&replay, name, role);
    }
}
