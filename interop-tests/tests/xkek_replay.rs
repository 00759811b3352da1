//! Recorded conversations of OpenSC's tools with the imitation, played to our device in the same order:
//! the same status words, and the same data where no random number is in it (vectors/xkek/apdu).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use xkek::apdu::Command;
use xkek::device::{Authority, Config, Device, DeviceCurve, State, SystemRandom};
use xkek_io::transcript::{self, Exchange};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/xkek")
}

fn recording(path: &Path) -> Vec<Exchange> {
    let text = fs::read_to_string(path).expect("recording");
    transcript::parse(&text).expect("exchanges")
}

fn device() -> Device {
    let rng = &mut SystemRandom;
    let mut authority = Authority::create(DeviceCurve::Secp256k1, rng).expect("authority");
    let state = State::personalise(&mut authority, DeviceCurve::Secp256k1, rng).expect("device");
    let version = (6, 2);
    let mut device = Device::new(
        state,
        Config {
            version,
            ..Config::default()
        },
    );
    device.power_on();
    device
}

fn word(response: &[u8]) -> u16 {
    let last = response.last_chunk().expect("a status word");
    u16::from_be_bytes(*last)
}

/// What of an answer must be the same.
enum Compared {
    /// All of it: states of PINs, domains and registered keys; descriptions and data a client wrote.
    All,
    /// The status word: there are random numbers in the data, or names of the device.
    Word,
    /// Nothing: it is about files that the imitation makes by itself and ours does not (descriptions of its
    /// keys, EF.DIR, EF.TokenInfo), or about a file of another length.
    Nothing,
}

fn compared(command: &Command) -> Compared {
    match (command.cla, command.ins) {
        (0x00, 0x20) | (0x80, 0x52 | 0x54) => Compared::All,
        (0x00, 0xA4) if command.p1 != 4 => Compared::Nothing,
        (0x00, 0xB1) if (command.p1, command.p2) == (0, 0) => Compared::Nothing,
        (0x00, 0xB1) if matches!(command.p1, 0xC9 | 0xCD | 0xCF) => Compared::All,
        (0x00, 0xB1) => Compared::Nothing,
        _ => Compared::Word,
    }
}

/// The imitation shows no key check value before the PIN was verified, ours always does (xkek spec 6).
fn without_hidden_check_value(command: &Command, ours: &[u8], theirs: &[u8]) -> Vec<u8> {
    let mut ours = ours.to_vec();
    let is_status = (command.cla, command.ins) == (0x80, 0x52);
    if is_status && theirs.get(1..10) == Some(&[0; 9][..]) {
        if let Some(value) = ours.get_mut(2..10) {
            value.fill(0);
        }
    }
    ours
}

/// Makes the file that the imitation made by itself, so that the client's next commands meet what they met.
fn supply(device: &mut Device, exchange: &Exchange) -> Option<Vec<u8>> {
    let command = Command::parse(&exchange.command).ok()?;
    let file: [u8; 2] = command.data.as_slice().try_into().ok()?;
    if (command.ins, word(&exchange.response)) != (0xA4, 0x9000) {
        return None;
    }
    let create = Command::new(0, 0xD7, file[0], file[1]).with_data(&[0x54, 2, 0, 0, 0x53, 0]);
    device.transmit(&mut SystemRandom, &create.encode().ok()?);
    Some(device.transmit(&mut SystemRandom, &exchange.command))
}

/// Where ours answers otherwise, and why. File (its number), then position in it, then ours and theirs.
const OTHERWISE: &[(&str, u16, u16, &str)] = &[
    (
        "13",
        0x6A80,
        0x6400,
        "the word by which sc-hsm-tool knows that a blob does not match (xkek spec 2)",
    ),
    //
    (
        "27",
        0x6D00,
        0x9000,
        "a card without key domains does not know the command (xkek spec 6)",
    ),
    ("28", 0x6D00, 0x6986, "the same"),
    ("33", 0x6D00, 0x9000, "the same"),
];

#[test]
fn recorded_conversations_get_the_recorded_answers() {
    let mut files: Vec<_> = fs::read_dir(vectors().join("apdu"))
        .expect("vectors")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "apdu")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 30, "the recordings are there");
    let mut device = device();
    let mut differences = Vec::new();
    let mut used: BTreeMap<(&str, u16, u16), usize> = BTreeMap::new();
    let mut octets_compared = 0;
    for path in files {
        let name = path
            .file_stem()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        // Each command line is a connection of its own, which ends in a reset.
        device.reset();
        for exchange in recording(&path) {
            let mut response = device.transmit(&mut SystemRandom, &exchange.command);
            if word(&response) == 0x6A82 {
                response = supply(&mut device, &exchange).unwrap_or(response);
            }
            let (ours, theirs) = (word(&response), word(&exchange.response));
            let command = Command::parse(&exchange.command).expect("a command");
            let listed = OTHERWISE
                .iter()
                .find(|(file, a, b, _)| name.starts_with(file) && (*a, *b) == (ours, theirs));
            if let Some((file, a, b, _)) = listed {
                *used.entry((*file, *a, *b)).or_default() += 1;
                continue;
            }
            let same = match compared(&command) {
                Compared::All => {
                    octets_compared += 1;
                    let ours = without_hidden_check_value(&command, &response, &exchange.response);
                    ours == exchange.response
                }
                Compared::Word => ours == theirs,
                Compared::Nothing => true,
            };
            if !same {
                let hex = |octets: &[u8]| {
                    let all: String = octets.iter().map(|o| format!("{o:02X}")).collect();
                    all.chars().take(120).collect::<String>()
                };
                differences.push(format!(
                    "{name}: > {}\n  ours   {}\n  theirs {}",
                    hex(&exchange.command),
                    hex(&response),
                    hex(&exchange.response)
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(
        octets_compared > 40,
        "only {octets_compared} answers compared octet for octet"
    );
    for (file, ours, theirs, _) in OTHERWISE {
        assert!(
            used.contains_key(&(*file, *ours, *theirs)),
            "{file}: no such difference any more: {ours:04X} {theirs:04X}"
        );
    }
}

#[test]
fn recorded_blobs_are_taken_and_given_back() {
    let text = fs::read_to_string(vectors().join("blobs/values.json")).expect("values");
    let values: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let hex = |digits: &str| -> Vec<u8> {
        digits
            .as_bytes()
            .chunks(2)
            .map(|pair| {
                let pair = std::str::from_utf8(pair).expect("digits");
                u8::from_str_radix(pair, 16).expect("digits")
            })
            .collect()
    };
    let kek = values.get("kek").and_then(|kek| kek.as_str()).map(hex);
    let kek = kek.expect("the KEK");
    let mut device = device();
    let mut send = |command: Command| {
        let command = command.encode().expect("short enough");
        let response = device.transmit(&mut SystemRandom, &command);
        let data = response.get(..response.len() - 2).expect("word").to_vec();
        (data, word(&response))
    };
    let aid = hex("E82B0601040181C31F0201");
    let initialize = hex("80020001810636343832313982083537363231383830910103920101");
    send(Command::new(0, 0xA4, 4, 0).with_data(&aid).with_le(256));
    let (_, sw) = send(Command::new(0x80, 0x50, 0, 0).with_data(&initialize));
    assert_eq!(sw, 0x9000);
    let (_, sw) = send(Command::new(0x80, 0x52, 0, 0).with_data(&kek).with_le(256));
    assert_eq!(sw, 0x9000);
    let (_, sw) = send(Command::new(0, 0x20, 0, 0x81).with_data(b"648219"));
    assert_eq!(sw, 0x9000);
    let mut taken = 0;
    for entry in fs::read_dir(vectors().join("blobs")).expect("vectors") {
        let path = entry.expect("entry").path();
        let name = path
            .file_name()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        if !name.ends_with(".blob") {
            continue;
        }
        let blob = fs::read(&path).expect("blob");
        let (_, sw) = send(Command::new(0x80, 0x74, 1, 0x93).with_data(&blob));
        assert_eq!(sw, 0x9000, "{name}");
        let (again, sw) = send(Command::new(0x80, 0x72, 1, 0x92).with_le(65_536));
        if name.starts_with("aes128") {
            assert_eq!(sw, 0x6985, "{name}: its list forbids wrapping");
        } else {
            assert_eq!(sw, 0x9000, "{name}");
            assert_eq!(again.get(..9), blob.get(..9), "{name}: same KEK, same kind");
            let (_, sw) = send(Command::new(0x80, 0x74, 2, 0x93).with_data(&again));
            assert_eq!(sw, 0x9000, "{name}: our own");
        }
        taken += 1;
    }
    assert!(taken >= 10, "the blobs are there");
}
