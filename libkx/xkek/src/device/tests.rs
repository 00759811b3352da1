//! The device by its commands (xkek spec 1 to 6 and 11).

mod conditions;
mod trust;

use super::{Authority, Config, Device, DeviceCurve, State, SystemRandom};
use crate::apdu::Command;
use crate::cvc::{Body, Certificate, Reference, Request};
use crate::key::{EcPrivate, Key};
use crate::rng::{Rng, Unavailable};
use crate::tlv;
use proptest::prelude::*;

const PIN: &[u8] = b"648219";
const SO_PIN: &[u8] = b"57621880";

struct Card {
    device: Device,
    authority: Authority,
}

impl Card {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let rng = &mut SystemRandom;
        let mut authority = Authority::create(DeviceCurve::Secp256r1, rng).unwrap();
        let state = State::personalise(&mut authority, DeviceCurve::Secp256r1, rng).unwrap();
        let mut device = Device::new(state, config);
        device.power_on();
        Self { device, authority }
    }

    fn raw(&mut self, command: &[u8]) -> (Vec<u8>, u16) {
        let response = self.device.transmit(&mut SystemRandom, command);
        let (data, word) = response.split_last_chunk::<2>().unwrap();
        (data.to_vec(), u16::from_be_bytes(*word))
    }

    fn send(&mut self, cla: u8, ins: u8, p1: u8, p2: u8, data: &[u8]) -> (Vec<u8>, u16) {
        let command = Command::new(cla, ins, p1, p2).with_data(data);
        self.raw(&command.with_le(65_536).encode().unwrap())
    }

    /// The status word alone, of which most tests are about.
    fn word(&mut self, cla: u8, ins: u8, p1: u8, p2: u8, data: &[u8]) -> u16 {
        self.send(cla, ins, p1, p2, data).1
    }

    fn select(&mut self) {
        assert_eq!(self.word(0, 0xA4, 4, 0, &super::AID), 0x9000);
    }

    fn initialise(&mut self, options: u16, more: &[u8]) -> u16 {
        self.select();
        let mut data = tlv::encode(0x80, &options.to_be_bytes());
        tlv::push(&mut data, 0x82, SO_PIN);
        data.extend_from_slice(more);
        self.word(0x80, 0x50, 0, 0, &data)
    }

    fn ready(options: u16, more: &[u8]) -> Self {
        let mut card = Self::new();
        let pin = tlv::encode(0x81, PIN);
        assert_eq!(card.initialise(options, &[&pin, more].concat()), 0x9000);
        card
    }

    fn login(&mut self) {
        assert_eq!(self.word(0, 0x20, 0, 0x81, PIN), 0x9000);
    }
}

#[test]
fn only_the_applet_answers_once_it_is_selected() {
    let mut card = Card::new();
    assert_eq!(card.word(0, 0x20, 0, 0x81, &[]), 0x6E00);
    assert_eq!(card.word(0, 0xA4, 4, 0, &[0xA0, 0, 0, 0, 1, 1]), 0x6A82);
    let (fci, word) = card.send(0, 0xA4, 4, 0, &super::AID);
    assert_eq!(word, 0x9000);
    let content = tlv::only(&fci, 0x62).unwrap().value;
    assert_eq!(tlv::require(content, 0x84).unwrap().value, super::AID);
    assert_eq!(
        tlv::require(content, 0x85).unwrap().value,
        [0, 0, 0xFF, 3, 5]
    );
    assert_eq!(
        card.word(0, 0x20, 0, 0x81, &[]),
        0x6A88,
        "never initialised"
    );
    assert_eq!(card.word(0, 0x99, 0, 0, &[]), 0x6D00);
    assert_eq!(card.word(0x84, 0x20, 0, 0x81, &[]), 0x6E00);
    assert_eq!(card.raw(&[0, 0xA4]).1, 0x6700);
    assert_eq!(card.word(0x80, 0x52, 0, 0, &[]), 0x6B00);
    // Another applet's name leaves the session as it is; this one's ends it.
    let mut card = Card::ready(0, &[]);
    card.login();
    assert_eq!(card.word(0, 0xA4, 4, 0, &[0xA0, 0, 0, 0, 1, 1]), 0x6A82);
    assert_eq!(card.word(0, 0x20, 0, 0x81, &[]), 0x9000);
    card.select();
    assert_eq!(card.word(0, 0x20, 0, 0x81, &[]), 0x63C3);
    card.login();
    card.device.reset();
    assert_eq!(card.word(0, 0x20, 0, 0x81, &[]), 0x6E00);
}

#[test]
fn no_more_than_le_and_the_rest_by_get_response() {
    let mut card = Card::ready(0, &[]);
    let (whole, word) = card.send(0, 0xB1, 0x2F, 0x02, &[0x54, 2, 0, 0]);
    assert_eq!(word, 0x9000);
    assert!(whole.len() > 512);
    // A read gives what was asked for, which is no cut.
    let (part, word) = card.raw(&[0, 0xB1, 0x2F, 0x02, 4, 0x54, 2, 0, 0, 0]);
    assert_eq!((part.as_slice(), word), (&whole[..256], 0x9000));
    assert_eq!(
        card.word(0, 0xB1, 0x2F, 0x02, &[0x54, 2, 0x0F, 0xFF]),
        0x6282
    );
    let (fci, _) = card.send(0, 0xA4, 4, 0, &super::AID);
    let mut select = vec![0, 0xA4, 4, 0, 11];
    select.extend_from_slice(&super::AID);
    select.push(10);
    let (first, word) = card.raw(&select);
    assert_eq!(first, fci[..10]);
    assert_eq!(usize::from(word), 0x6100 + fci.len() - 10);
    let (rest, word) = card.raw(&[0, 0xC0, 0, 0, 0]);
    assert_eq!(([first, rest].concat(), word), (fci, 0x9000));
    assert_eq!(card.raw(&[0, 0xC0, 0, 0, 0]).1, 0x6985, "nothing is left");
}

#[test]
fn the_longest_answer_fits_in_a_message() {
    let mut card = Card::ready(0, &[]);
    card.login();
    let piece = vec![7; 65_500];
    for (offset, len) in [(0u16, 65_500), (65_500, 35)] {
        let mut data = tlv::encode(0x54, &offset.to_be_bytes());
        tlv::push(&mut data, 0x53, &piece[..len]);
        assert_eq!(card.word(0, 0xD7, 0xCF, 1, &data), 0x9000);
    }
    let read = Command::new(0, 0xB1, 0xCF, 1).with_data(&[0x54, 2, 0, 0]);
    let (data, word) = card.raw(&read.with_le(65_536).encode().unwrap());
    assert_eq!((data.len(), word), (65_533, 0x6102));
    assert_eq!(card.raw(&[0, 0xC0, 0, 0, 0]), (vec![7, 7], 0x9000));
}

#[test]
fn files_and_who_may_do_what() {
    let mut card = Card::ready(0, &[]);
    let write = [0x54, 2, 0, 0, 0x53, 3, 1, 2, 3];
    let read = [0x54, 2, 0, 0];
    assert_eq!(card.word(0, 0xD7, 0xCF, 1, &write), 0x6982);
    card.login();
    for kind in [0xC4, 0xC8, 0xC9, 0xCA, 0xCD, 0xCE, 0xCF] {
        assert_eq!(card.word(0, 0xD7, kind, 1, &write), 0x9000);
        assert_eq!(card.send(0, 0xB1, kind, 1, &read), (vec![1, 2, 3], 0x9000));
    }
    for (kind, word) in [
        (0xCB, 0x6982),
        (0xCC, 0x6982),
        (0xC5, 0x6A82),
        (0x10, 0x6A82),
    ] {
        assert_eq!(card.word(0, 0xD7, kind, 1, &write), word);
    }
    assert_eq!(
        card.word(0, 0xD7, 0x2F, 0x02, &write),
        0x6982,
        "no --provision"
    );
    // What is below the offset stays, what is above goes; no holes.
    let (at_one, at_nine) = ([0x54, 2, 0, 1, 0x53, 1, 9], [0x54, 2, 0, 9, 0x53, 1, 9]);
    assert_eq!(card.word(0, 0xD7, 0xCF, 1, &at_one), 0x9000);
    assert_eq!(card.send(0, 0xB1, 0xCF, 1, &read).0, [1, 9]);
    assert_eq!(card.word(0, 0xD7, 0xCF, 1, &at_nine), 0x6B00);
    // Created empty, then written by what is selected.
    assert_eq!(
        card.word(0, 0xD7, 0xCF, 2, &[0x54, 2, 0, 0, 0x53, 0]),
        0x9000
    );
    assert_eq!(card.word(0, 0xD7, 0, 0, &write), 0x9000);
    assert_eq!(card.raw(&[0, 0xB0, 0, 1, 0]), (vec![2, 3], 0x9000));
    let (list, _) = card.send(0x80, 0x58, 0, 0, &[]);
    let ids: Vec<_> = list.chunks(2).map(|id| (id[0], id[1])).collect();
    assert_eq!((ids[0], ids[ids.len() - 1]), ((0x2F, 2), (0xCC, 0)));
    assert!(ids.contains(&(0xCF, 2)) && ids.contains(&(0xC4, 1)));
    assert_eq!(
        card.word(0, 0xE4, 2, 0, &[0xCC, 0]),
        0x6982,
        "the device's own key"
    );
    assert_eq!(card.word(0, 0xE4, 2, 0, &[0xCC, 7]), 0x6A82);
    assert_eq!(card.word(0, 0xE4, 2, 0, &[0xCF, 2]), 0x9000);
    assert_eq!(card.word(0, 0xB1, 0xCF, 2, &read), 0x6A82);
    card.select();
    assert_eq!(card.send(0, 0xB1, 0xC4, 1, &read), (vec![1, 2, 3], 0x9000));
    assert_eq!(card.word(0, 0xB1, 0xCD, 1, &read), 0x6982, "private data");
    assert_eq!(card.word(0, 0xE4, 2, 0, &[0xCF, 1]), 0x6982);
    assert_eq!(card.word(0, 0xB1, 0xCC, 0, &read), 0x6982);
}

#[test]
fn initialisation_is_refused_before_anything_is_changed() {
    let mut card = Card::ready(1, &[0x92, 1, 1]);
    for (wrong, why) in [
        (tlv::encode(0x81, b"12345"), "too short"),
        (tlv::encode(0x81, &[b'1'; 17]), "too long"),
        (
            [tlv::encode(0x81, PIN), vec![0x91, 1, 4]].concat(),
            "too many tries",
        ),
        (vec![0x93, 2, 1, 2], "more keys needed than there are"),
        (vec![], "neither PIN nor keys"),
    ] {
        assert_eq!(card.initialise(0, &wrong), 0x6A80, "{why}");
    }
    assert!(
        card.device.poll_save().is_some(),
        "by the first initialisation"
    );
    let mut data = tlv::encode(0x81, PIN);
    tlv::push(&mut data, 0x82, b"11111111");
    assert_eq!(card.word(0x80, 0x50, 0, 0, &data), 0x6982, "another SO-PIN");
    assert_eq!(card.word(0, 0x20, 0, 0x88, &[]), 0x63CE);
    assert!(card.device.poll_save().is_some(), "the try is kept");
    card.login();
    assert_eq!(
        card.send(0x80, 0x52, 0, 0, &[]).0.get(..2),
        Some(&[1, 1][..])
    );
    assert_eq!(card.word(0x80, 0x52, 0, 1, &[]), 0x6A86);
    // No key before all shares are there.
    assert_eq!(card.word(0, 0x48, 1, 0xB2, &[]), 0x6985);
    assert_eq!(card.word(0x80, 0x52, 0, 0, &[5; 32]), 0x9000);
    assert_eq!(card.word(0, 0x48, 1, 0xB2, &[]), 0x9000);
    assert_eq!(card.word(0x80, 0x52, 3, 0, &[]), 0x6A89);
}

#[test]
fn options_of_the_initialisation() {
    // A transport PIN opens nothing but its own change.
    let mut card = Card::ready(0x0003, &[]);
    assert_eq!(card.word(0, 0x20, 0, 0x81, PIN), 0x6984);
    assert_eq!(card.word(0, 0x24, 0, 0x81, b"64821987654321"), 0x9000);
    assert_eq!(card.word(0, 0x20, 0, 0x81, PIN), 0x63C2);
    assert_eq!(card.word(0, 0x20, 0, 0x81, b"87654321"), 0x9000);
    // Without option 0001 the SO-PIN resets nothing; with 0020 only the counter.
    let reset = [SO_PIN, b"111111"].concat();
    let mut card = Card::ready(0, &[]);
    assert_eq!(card.word(0, 0x2C, 0, 0x81, &reset), 0x6986);
    let mut card = Card::ready(0x0021, &[]);
    assert_eq!(card.word(0, 0x20, 0, 0x81, b"000000"), 0x63C2);
    assert_eq!(card.word(0, 0x2C, 0, 0x81, &reset), 0x6986);
    assert_eq!(card.word(0, 0x2C, 1, 0x81, SO_PIN), 0x9000);
    assert_eq!(card.word(0, 0x20, 0, 0x81, &[]), 0x63C3);
    card.login();
    assert_eq!(
        card.word(0, 0x24, 0, 0x88, &[SO_PIN, b"87654321"].concat()),
        0x9000
    );
    assert_eq!(card.word(0, 0x20, 0, 0x88, SO_PIN), 0x63CE);
}

/// An officer's key in a device of the card's authority, and its request with the device's certificate.
struct Officer {
    key: Key,
    request: Request,
    device: Certificate,
}

fn officer(authority: &mut Authority, number: u8) -> Officer {
    let rng = &mut SystemRandom;
    let state = State::personalise(authority, DeviceCurve::Secp256r1, rng).unwrap();
    let key = Key::Ec(EcPrivate::generate(crate::curve::Curve::Secp256r1, rng).unwrap());
    let chr = Reference::new(format!("UTOFFICER{number:05}").as_bytes()).unwrap();
    let body = Body::request(chr.clone(), chr, &key.public().unwrap());
    let car = state.identity.chr.clone();
    let request = Request::make(body, &key, car, &state.identity.key).unwrap();
    let (device, _) = tlv::read(&state.identity.certificates).unwrap();
    let device = Certificate::parse(device.encoded).unwrap();
    Officer {
        key,
        request,
        device,
    }
}

impl Card {
    fn register(&mut self, officer: &Officer) -> u16 {
        let name = |name: &Reference| tlv::encode(0x83, name.as_bytes());
        let car = name(&officer.device.body().car);
        assert_eq!(self.word(0, 0x22, 0x81, 0xB6, &car), 0x9000);
        assert_eq!(
            self.word(0, 0x2A, 0, 0xBE, officer.device.content()),
            0x9000
        );
        self.word(0x80, 0x54, 0, 0, officer.request.content())
    }

    fn authenticate(&mut self, officer: &Officer, change: u8) -> u16 {
        let chr = tlv::encode(0x83, officer.request.body().chr.as_bytes());
        let chosen = self.word(0, 0x22, 0x81, 0xA4, &chr);
        if chosen != 0x9000 {
            return chosen;
        }
        let (challenge, _) = self.raw(&[0, 0x84, 0, 0, 8]);
        let id = self.device.state.identity.chr.as_bytes().to_vec();
        let mut signature = officer.key.sign_sha256(&[id, challenge].concat()).unwrap();
        signature[40] ^= change;
        self.word(0, 0x82, 0, 0, &signature)
    }
}

#[test]
fn two_of_three_officers_log_in() {
    let mut card = Card::new();
    assert_eq!(card.initialise(0, &[0x93, 2, 3, 2]), 0x9000);
    assert_eq!(card.word(0, 0x20, 0, 0x81, &[]), 0x6400, "there is no PIN");
    let officers = [1, 2, 3].map(|number| officer(&mut card.authority, number));
    assert_eq!(
        card.word(0x80, 0x54, 0, 0, officers[0].request.content()),
        0x6985
    );
    for officer in &officers {
        assert_eq!(card.register(officer), 0x9000);
    }
    assert_eq!(card.register(&officers[0]), 0x6A84, "all slots are taken");
    assert_eq!(
        card.authenticate(&officers[0], 1),
        0x6985,
        "a wrong signature"
    );
    assert_eq!(card.authenticate(&officers[0], 0), 0x9000);
    assert_eq!(card.authenticate(&officers[0], 0), 0x6985, "one is not two");
    assert_eq!(card.word(0, 0x48, 1, 0xB0, &[]), 0x6982);
    assert_eq!(card.send(0x80, 0x54, 2, 0, &[]).1, 0x9001, "logged in");
    assert_eq!(
        card.send(0x80, 0x54, 2, 1, &[]),
        (b"UTOFFICER00002".to_vec(), 0x9000)
    );
    assert_eq!(card.authenticate(&officers[2], 0), 0x9000);
    assert_eq!(card.send(0x80, 0x54, 0, 0, &[]), (vec![3, 0, 2, 2], 0x9000));
    assert_eq!(card.word(0, 0x20, 0, 0x81, &[]), 0x9000);
    assert_eq!(
        card.word(0, 0x48, 1, 0xB0, &[]),
        0x9000,
        "they are the user"
    );
    assert_eq!(
        card.word(0x80, 0x54, 1, 0, &[]),
        0x6986,
        "no replacement without the option"
    );
    card.select();
    assert_eq!(card.word(0, 0x48, 2, 0xB0, &[]), 0x6982);
}

#[test]
fn pin_and_officer_where_both_are_asked_for() {
    let mut card = Card::ready(0x0010, &[0x93, 2, 1, 1]);
    let officer = officer(&mut card.authority, 1);
    assert_eq!(card.register(&officer), 0x9000);
    card.login();
    assert_eq!(card.word(0, 0x48, 1, 0xB0, &[]), 0x6982);
    assert_eq!(card.authenticate(&officer, 0), 0x9000);
    assert_eq!(card.word(0, 0x48, 1, 0xB0, &[]), 0x9000);
}

#[test]
fn certificates_are_replaced_by_those_of_its_own_key_only() {
    let mut card = Card::with(Config {
        provision: true,
        ..Config::default()
    });
    assert_eq!(card.initialise(0, &tlv::encode(0x81, PIN)), 0x9000);
    let rng = &mut SystemRandom;
    let mut other = Authority::create(DeviceCurve::Secp256k1, rng).unwrap();
    let theirs = State::personalise(&mut other, DeviceCurve::Secp256r1, rng).unwrap();
    let write = |chain: &[u8]| {
        let mut data = vec![0x54, 2, 0, 0];
        tlv::push(&mut data, 0x53, chain);
        data
    };
    let own = [
        card.device.state.identity.certificates.clone(),
        card.authority.root().to_vec(),
    ];
    assert_eq!(card.word(0, 0xD7, 0x2F, 2, &write(&own.concat())), 0x6982);
    card.login();
    assert_eq!(card.word(0, 0xD7, 0x2F, 2, &write(&own.concat())), 0x9000);
    let strange = [theirs.identity.certificates.clone(), other.root().to_vec()].concat();
    assert_eq!(
        card.word(0, 0xD7, 0x2F, 2, &write(&strange)),
        0x6985,
        "another's key"
    );
    assert_eq!(card.word(0, 0xD7, 0x2F, 2, &write(&own[0][..90])), 0x6A80);
    assert_eq!(card.send(0, 0xB1, 0x2F, 2, &[0x54, 2, 0, 0]).0, own[0]);
}

#[test]
fn a_state_is_read_as_it_was_written_and_no_other_is() {
    let mut card = Card::ready(1, &[0x92, 1, 0, 0x93, 2, 2, 1, 0x97, 1, 3]);
    card.login();
    let officer = officer(&mut card.authority, 1);
    assert_eq!(card.register(&officer), 0x9000);
    assert_eq!(
        card.word(0, 0x48, 1, 0xB1, &[0x91, 1, 0x10, 0x90, 4, 0, 0, 0, 5]),
        0x9000
    );
    let encoded = card.device.poll_save().unwrap();
    let state = State::decode(encoded.as_slice()).unwrap();
    assert!(state.encode().ct_eq(encoded.as_slice()));
    for end in 0..encoded.len() {
        assert!(
            State::decode(&encoded.as_slice()[..end]).is_err(),
            "cut at {end}"
        );
    }
    assert!(State::decode(&[encoded.as_slice(), &[0]].concat()).is_err());
    let mut later = encoded.as_slice().to_vec();
    later[0] = 2;
    assert_eq!(
        State::decode(&later).unwrap_err().to_string(),
        "state of version 2, which is not known"
    );
}

/// Gives the same octets each time.
struct Fixed(u8);

impl Rng for Fixed {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        for octet in out {
            self.0 = self.0.wrapping_mul(5).wrapping_add(3);
            *octet = self.0;
        }
        Ok(())
    }
}

#[test]
fn the_same_random_octets_give_the_same_device() {
    let make = || {
        let rng = &mut Fixed(1);
        let mut authority = Authority::create(DeviceCurve::default(), rng).unwrap();
        let state = State::personalise(&mut authority, DeviceCurve::default(), rng).unwrap();
        let Key::Ec(key) = &state.identity.key else {
            panic!("on a curve");
        };
        (key.public().point().to_vec(), state.identity.chr)
    };
    assert_eq!(make(), make());
}

proptest! {
    #[test]
    fn anything_is_answered(commands in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let mut card = Card::ready(0, &[0x97, 1, 2]);
        card.login();
        for command in commands {
            prop_assert!(card.device.transmit(&mut Fixed(7), &command).len() >= 2);
        }
    }
}
