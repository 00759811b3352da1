//! Everything after phase 1 of every recording of the original, as both of its sides: Quick Mode with and without
//! perfect forward secrecy, rekeying, mode-config, DPD, notifications and DELETEs come out octet for octet with the
//! recorded randomness, and the text of `S` is the recorded one.

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path as FilePath;
use std::time::{Duration, Instant};

use ike::event::Path;
use ike::kernel::Request;
use ike::keys::PrfChoice;
use ike::random::Purpose;
use ike::sa::Role;
use isakmp_proto::header::Header;
use isakmp_proto::message::Message;
use isakmp_proto::number::{NotifyType, PayloadType};
use isakmp_proto::payload::Payload;
use kx_crypto::digest::sha1;
use kx_crypto::prf::{BlockSize, Hash};
use support::cipher::{self, Reciphered};
use support::{Packet, Replay, name_of, recording, recordings, role_name};

/// A message that came so soon before a timer of ours came before it.
const LATENESS: Duration = Duration::from_millis(20);

/// The body of the recorded REPLY: its type, the identifier of the REQUEST, and the attributes.
const REPLY: &str = "020083f5\
    000c0000000b0000000a00000009000000080000000600000005000400000258\
    00040004c0a8010b00030004c0a8010a00020004ffffff0000010004c0a8017b";

const ROLES: [Role; 2] = [Role::Initiator, Role::Responder];

/// Messages in clear of the daemon's own capture, in their order.
fn cleartext(directory: &FilePath, role: Role) -> Vec<Message> {
    let file = format!("{}-cleartext.pcap", role_name(role));
    let octets = std::fs::read(directory.join(file)).expect("a capture");
    let word = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().expect("a word"));
    let mut found = Vec::new();
    let mut at = 24;
    while at < octets.len() {
        let length = word(at + 8) as usize;
        let packet = &octets[at + 16 + 4..at + 16 + length];
        at += 16 + length;
        let udp = if packet[0] >> 4 == 4 {
            &packet[20..]
        } else {
            &packet[40..]
        };
        let marked = udp[..2] == 4500_u16.to_be_bytes() || udp[2..4] == 4500_u16.to_be_bytes();
        let message = if marked { &udp[12..] } else { &udp[8..] };
        let mut message = message.to_vec();
        // The length of received ones counts the padding, that of sent ones does not.
        let length = u32::try_from(message.len()).expect("short");
        message[24..28].copy_from_slice(&length.to_be_bytes());
        let Ok(header) = Header::parse(&message) else {
            continue;
        };
        found.extend(Message::parse_payloads(header, &message));
    }
    found
}

/// Whether the capture in clear (and the result of `S`) are of the same run as the wire: in one directory they are not.
fn is_of_one_run(directory: &FilePath, packets: &[Packet], role: Role) -> bool {
    cleartext(directory, role)
        .first()
        .map(|message| message.header.initiator_cookie.0.to_vec())
        == packets.first().map(|packet| packet.message[..8].to_vec())
}

/// Our SPIs by the key file: that of the other direction comes first.
fn spis_of_key_file(directory: &FilePath, role: Role) -> Vec<Vec<u8>> {
    let mut spis: Vec<Vec<u8>> = support::key_file(directory, role)
        .into_iter()
        .filter(|(name, _)| name == "keymat_spi")
        .map(|(_, spi)| spi)
        .collect();
    spis.dedup();
    spis.into_iter().skip(1).step_by(2).collect()
}

/// What this side chose in phase 2 besides nonces and message IDs, in its order.
fn fill(replay: &Replay, directory: &FilePath, role: Role) {
    let random = &replay.side.random;
    if !is_of_one_run(directory, &replay.packets, role) {
        for spi in spis_of_key_file(directory, role) {
            random.push(Purpose::Spi, &spi);
        }
        return;
    }
    let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
    let mut first_probe = true;
    for message in cleartext(directory, role) {
        let turn = seen.entry(message.header.message_id).or_default();
        *turn += 1;
        let ours = (*turn == 1) == (role == Role::Initiator);
        for placed in &message.payloads {
            match &placed.payload {
                Payload::Sa(sa) if message.header.message_id != 0 && ours => {
                    for proposal in &sa.proposals {
                        random.push(Purpose::Spi, &proposal.spi);
                    }
                }
                Payload::ModeConfig(payload) if *turn == 1 && role == Role::Initiator => {
                    random.push(
                        Purpose::TransactionIdentifier,
                        &payload.identifier.to_be_bytes(),
                    );
                }
                Payload::Notify(notify) if notify.notify_type == NotifyType::DPD_R_U_THERE => {
                    let own = replay.packets.iter().any(|packet| {
                        replay.is_ours(packet) && packet.message_id() == message.header.message_id
                    });
                    if own && first_probe {
                        random.push(Purpose::DpdSequence, &notify.data[2..4]);
                        first_probe = false;
                    }
                }
                _ => {}
            }
        }
    }
}

/// `SA name:` blocks of a text, sorted.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = text
        .split("\n\n")
        .map(|block| block.trim_end_matches('\n').to_owned())
        .filter(|b| !b.is_empty())
        .collect();
    blocks.sort();
    blocks
}

/// How long phase 1 had been ready when `S` was asked, and the soft expiries that it shows, in the order of making.
struct Status {
    /// `None`: of another run.
    text: Option<String>,
    elapsed: u64,
    soft: Option<u64>,
}

fn status(directory: &FilePath, role: Role) -> Status {
    let file = format!("{}-S-result.txt", role_name(role));
    let text = std::fs::read_to_string(directory.join(file)).expect("a result");
    let number = |what: &str| {
        let block = text.split("\n\n").find(|block| block.contains("Phase 1"))?;
        let line = block.lines().find(|line| line.starts_with(what))?;
        line.split_whitespace()
            .find_map(|word| word.parse::<u64>().ok())
    };
    let elapsed = match (number("Lifetime:"), number("Hard timeout")) {
        (Some(life), Some(left)) => life - left,
        _ => 4,
    };
    let soft = number("Soft timeout").map(|soft| soft + elapsed);
    let one_run = is_of_one_run(directory, &support::packets(directory), role);
    Status {
        text: one_run.then_some(text),
        elapsed,
        soft,
    }
}

/// Octets that make a soft expiry after so many seconds of `life`.
fn soft_octets(life: u64, soft: u64) -> [u8; 2] {
    let found = (0..100_u64).find(|n| life * (850 + n) / 1000 == soft);
    let found = found.unwrap_or_else(|| panic!("no {soft} of {life}"));
    u16::try_from(found).expect("small").to_be_bytes()
}

/// Plays a whole recording as one side. `S` is asked when it was, and given to `check`.
fn play(name: &str, role: Role) -> Replay {
    let directory = recording(name);
    let loose = if name.starts_with("qm-ids") {
        "[conn-x]\nFlags= Loose-IDs\n"
    } else {
        ""
    };
    let mut replay = Replay::with(&directory, role, loose);
    fill(&replay, &directory, role);
    let status = status(&directory, role);
    if let Some(soft) = status.soft {
        replay
            .side
            .random
            .push(Purpose::SoftExpiry, &soft_octets(3600, soft));
    }
    replay
        .side
        .engine
        .set_phase2_expiry(name.starts_with("rekey"));
    if name.starts_with("rekey") {
        for soft in [6, 6, 7, 7] {
            replay
                .side
                .random
                .push(Purpose::SoftExpiry, &soft_octets(8, soft));
        }
    }
    if role == Role::Initiator {
        replay.side.engine.keep_up(replay.start, "conn-x");
    }
    let packets: Vec<Packet> = replay.packets.clone();
    let mut pending: VecDeque<(Path, Vec<u8>)> = VecDeque::new();
    let phase1_done = packets
        .iter()
        .filter(|p| p.is_phase_1())
        .map(|p| p.at)
        .max()
        .expect("phase 1");
    // Seconds left are whole ones, rounded down.
    let asked = phase1_done + Duration::from_secs(status.elapsed) - Duration::from_millis(500);
    let shut = shutdown_of(&directory, &packets, &replay, role, asked);
    let mut checked = false;
    let mut reciphered: Option<Reciphered> = None;
    for (index, packet) in packets.iter().enumerate() {
        let now = replay.start + packet.at;
        let place = format!("{name} {role:?} packet {index} at {:?}", packet.at);
        if !checked && (packet.at > asked || shut == Some(index)) {
            checked = true;
            let at = replay.start + asked;
            check_status(&mut replay, &mut pending, at, &status, &place);
        }
        // The daemon's timers were late by some milliseconds.
        let crossed = name == "rekey-phase2" && role == Role::Responder && index == 20;
        let late = if replay.is_ours(packet) || crossed {
            Duration::ZERO
        } else {
            LATENESS
        };
        replay.side.engine.handle_timeout(now - late);
        if shut == Some(index) && role == Role::Initiator {
            replay.side.engine.shutdown(now);
        }
        pending.extend(replay.side.turn(now));
        if replay.is_ours(packet) {
            let (path, ours) = pending
                .pop_front()
                .unwrap_or_else(|| panic!("{place}: nothing sent; log {:?}", replay.side.lines()));
            let reply =
                name == "modecfg-request" && role == Role::Responder && packet.exchange() == 6;
            if reply {
                let request = &packets[index - 1].message;
                compare_reply(&directory, request, &ours, &packet.message);
            } else if let Some(reciphered) = &mut reciphered {
                reciphered.compare(&ours, &packet.message, &place);
            } else if packet.exchange() == 4 && packet.is_encrypted() {
                // Our NAT-D, which `replay_phase1` looks at.
                let (ours, recorded) = (&ours, &packet.message);
                reciphered = Some(Reciphered::new(&directory, role, ours, recorded));
            } else {
                assert_eq!(
                    ours,
                    packet.message,
                    "{place}: log {:?}",
                    replay.side.lines()
                );
            }
            assert_eq!(path, replay.path(packet), "{place}");
        } else {
            assert!(
                pending.is_empty() || crossed,
                "{place}: sent {pending:?}; log {:?}",
                replay.side.lines()
            );
            let path = replay.path(packet);
            let message = match &mut reciphered {
                Some(reciphered) => reciphered.peers(&packet.message),
                None => packet.message.clone(),
            };
            replay.side.engine.handle_datagram(now, path, &message);
            pending.extend(replay.side.turn(now));
        }
    }
    if !checked {
        let at = replay.start + asked;
        check_status(&mut replay, &mut pending, at, &status, name);
    }
    assert!(pending.is_empty(), "{name} {role:?}: {pending:?}");
    replay
}

/// The original leaves the room of attributes without a value at the end of a REPLY, as zeroes that read as attributes
/// of type 0. Ours is the same without them, so that HASH and lengths are others.
fn compare_reply(directory: &FilePath, request: &[u8], ours: &[u8], recorded: &[u8]) {
    let key = |wanted| cipher::key(directory, Role::Responder, wanted);
    let iv = cipher::last_block(request);
    let [ours_open, recorded_open] =
        [ours, recorded].map(|message| cipher::open(message, &key("enc_key"), iv));
    let text = |zeroes: usize| {
        let body = [&support::unhex(REPLY), &*vec![0; zeroes]].concat();
        let payload = cipher::payload(0, &body);
        protected(&key("skeyid_a"), recorded, PayloadType::ATTRIBUTE, payload)
    };
    // Six attributes without a value, for each of which there was room for the longest.
    assert_eq!(recorded_open, text(84));
    assert_eq!(ours_open, text(0));
    assert_eq!(ours[..24], recorded[..24], "headers but for the length");
}

/// HASH(1) of a message and the payload that it covers, as it is encrypted.
fn protected(key: &[u8], message: &[u8], ty: PayloadType, payload: Vec<u8>) -> Vec<u8> {
    let choice = PrfChoice {
        hash: Hash::Sha1,
        block: BlockSize::Standard,
    };
    let hash = choice
        .compute(key, &[&message[20..24], &payload])
        .expect("a hash");
    cipher::padded([cipher::payload(ty.0, hash.as_slice()), payload].concat())
}

/// The line that the original says before each repetition of a NO_PROPOSAL_CHOSEN.
const REPETITION: &str =
    "responder_recv_HASH_SA_NONCE: KEY_EXCH payload without a group desc. attribute";

/// A refused Quick Mode: the original sends NO_PROPOSAL_CHOSEN once more (twice for a retransmission) after the one
/// that ours sends as well. It is the same but for message ID, HASH and IV.
fn check_repeated(replay: &Replay, directory: &FilePath, role: Role, recorded: &mut Vec<String>) {
    let key = |wanted| cipher::key(directory, role, wanted);
    // DOI 1, protocol 1, no SPI, NO_PROPOSAL_CHOSEN.
    let notify = cipher::payload(0, &[0, 0, 0, 1, 1, 0, 0, 14]);
    for packet in replay
        .repeated
        .iter()
        .flat_map(|(first, again)| [first, again])
    {
        let message = &packet.message;
        let iv = &sha1(&[&key("phase1_last_iv"), &message[20..24]])[..16];
        assert_eq!(
            cipher::open(message, &key("enc_key"), iv),
            protected(
                &key("skeyid_a"),
                message,
                PayloadType::NOTIFY,
                notify.clone()
            )
        );
    }
    let first: Vec<usize> = (0..recorded.len())
        .rev()
        .filter(|at| recorded[*at] == REPETITION)
        .collect();
    assert_eq!((first.len(), replay.repeated.len()), (3, 3));
    for at in first {
        let lines: Vec<String> = recorded.drain(at..at + 2).collect();
        assert!(lines[1].ends_with("due to notification type NO_PROPOSAL_CHOSEN"));
    }
}

/// Keys that went to the kernel are the recorded KEYMAT.
fn check_keys(replay: &Replay, directory: &FilePath, role: Role) {
    let mut recorded: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut spi = Vec::new();
    for (name, value) in support::key_file(directory, role) {
        match name.as_str() {
            "keymat_spi" => spi = value,
            "keymat" => {
                recorded.insert(spi.clone(), value);
            }
            _ => {}
        }
    }
    let mut checked = 0;
    for request in &replay.side.requests {
        let Request::Install(_, installation) = request else {
            continue;
        };
        for sa in installation.incoming.iter().chain(&installation.outgoing) {
            let keymat = [
                sa.encryption_key.as_slice(),
                sa.authentication_key.as_slice(),
            ]
            .concat();
            let expected = &recorded[sa.spi.to_be_bytes().as_slice()];
            assert_eq!(&keymat, expected, "{directory:?} {role:?} {:x}", sa.spi);
            checked += 1;
        }
    }
    assert_eq!(checked, recorded.len(), "{directory:?} {role:?}");
}

/// The recorded lines of the log that are the engine's.
fn recorded_lines(directory: &FilePath, role: Role) -> Vec<String> {
    let file = format!("{}-log.txt", role_name(role));
    let log = std::fs::read_to_string(directory.join(file)).expect("a log");
    let program = [
        "isakmpd: starting",
        "log_packet",
        "ui_",
        "isakmpd: shutting",
        "isakmpd: exit",
    ];
    log.lines()
        .filter_map(|line| line.split_once(" Default ").map(|(_, text)| text))
        .filter(|text| !program.iter().any(|start| text.starts_with(start)))
        .map(str::to_owned)
        .collect()
}

fn check_status(
    replay: &mut Replay,
    pending: &mut VecDeque<(Path, Vec<u8>)>,
    at: Instant,
    status: &Status,
    place: &str,
) {
    pending.extend(replay.side.turn(at));
    let mut text = String::new();
    replay.side.engine.write_sas(at, &mut text);
    if let Some(recorded) = &status.text {
        let mut recorded = blocks(recorded);
        if !replay.repeated.is_empty() {
            // What the original began for each message that it refused: ours leaves nothing behind.
            let begun =
                "SA name: <unnamed> (Phase 2)\nsrc: 10.77.0.2 dst: 10.77.0.1\nFlags 0x00000000";
            let before = recorded.len();
            recorded.retain(|block| block != begun);
            assert_eq!(before - recorded.len(), 2, "{place}");
        }
        assert_eq!(blocks(&text), recorded, "{place}");
    }
}

/// Place of the first packet of the initiator's shutdown: from there on it only sends DELETEs. `S` was asked before.
fn shutdown_of(
    directory: &FilePath,
    packets: &[Packet],
    replay: &Replay,
    role: Role,
    asked: Duration,
) -> Option<usize> {
    let deletes: Vec<u32> = cleartext(directory, role)
        .iter()
        .filter(|message| message.index_of(PayloadType::DELETE).is_some())
        .map(|message| message.header.message_id)
        .collect();
    let one_run = is_of_one_run(directory, packets, role);
    packets.iter().position(|packet| {
        replay.is_ours(packet) == (role == Role::Initiator)
            && packet.message_id() != 0
            && packet.at + Duration::from_secs(1) > asked
            && packet.exchange() == 5
            && (!one_run || deletes.contains(&packet.message_id()))
    })
}

#[test]
fn whole_recordings_octet_for_octet() {
    let mut played = 0;
    for directory in recordings() {
        let name = name_of(&directory);
        // Phase 1 that fails is replayed elsewhere.
        if name.starts_with("fail-") {
            continue;
        }
        for role in ROLES {
            eprintln!("{name} {role:?}");
            let replay = play(&name, role);
            check_keys(&replay, &directory, role);
            let mut recorded = recorded_lines(&directory, role);
            if !replay.repeated.is_empty() {
                check_repeated(&replay, &directory, role, &mut recorded);
            }
            assert_eq!(replay.side.lines(), recorded, "{name} {role:?}");
            played += 1;
        }
    }
    assert_eq!(played, 2 * 18);
}
