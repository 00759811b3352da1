//! What goes wrong, and what a card with a key domain must then do: say so, and change nothing (xkek spec
//! 6, 7, 8, and the "It must show").

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use interop_tests::program::Guarded;
use interop_tests::subject::subject;
use openssl::ecdsa::EcdsaSig;
use tempfile::TempDir;
use xkek::apdu::Command;
use xkek::card::Card;
use xkek::curve::Curve;
use xkek::cvc::{
    Body, Certificate, Extension, GenerationRequest, KeyAttributes, KeySpec, Reference, Request,
};
use xkek::key::{EcPrivate, Key};
use xkek::rng::System;
use xkek::tlv;
use xkek_io::Error;
use xkek_io::software::{Options, SoftwareCard};
use xkek_io::vpcd_host::VpcdHost;

const AID: [u8; 11] = [
    0xE8, 0x2B, 0x06, 0x01, 0x04, 0x01, 0x81, 0xC3, 0x1F, 0x02, 0x01,
];
const PIN: &[u8] = b"648219";
const SO_PIN: &[u8] = b"57621880";
const LIMIT: Duration = Duration::from_secs(60);

/// Sends a command; data and status word.
fn send<C: Card>(card: &mut C, command: Command) -> (Vec<u8>, u16) {
    let command = command.encode().expect("short enough");
    let mut response = Vec::new();
    card.transmit(&command, &mut response).expect("an answer");
    let (data, word) = response.split_last_chunk::<2>().expect("a word");
    (data.to_vec(), u16::from_be_bytes(*word))
}

fn command(cla: u8, ins: u8, p1: u8, p2: u8, data: &[u8]) -> Command {
    Command::new(cla, ins, p1, p2)
        .with_data(data)
        .with_le(65_536)
}

fn select<C: Card>(card: &mut C) {
    let (_, word) = send(card, command(0, 0xA4, 4, 0, &AID));
    assert_eq!(word, 0x9000);
}

fn login<C: Card>(card: &mut C) {
    let (_, word) = send(card, Command::new(0, 0x20, 0, 0x81).with_data(PIN));
    assert_eq!(word, 0x9000);
}

/// Initialises with `more` elements and logs in.
fn initialise<C: Card>(card: &mut C, more: &[u8]) {
    select(card);
    let mut data = vec![0x80, 2, 0, 1, 0x91, 1, 3];
    tlv::push(&mut data, 0x81, PIN);
    tlv::push(&mut data, 0x82, SO_PIN);
    data.extend_from_slice(more);
    let (_, word) = send(card, Command::new(0x80, 0x50, 0, 0).with_data(&data));
    assert_eq!(word, 0x9000);
    login(card);
}

/// A software card in this process, and where its state is.
struct Local {
    card: SoftwareCard,
    state: PathBuf,
}

impl Local {
    /// A new card under the authority in `ca`.
    fn new(dir: &TempDir, name: &str, ca: &str) -> Self {
        let path = dir.path().join(name);
        let options = Options {
            authority: Some(dir.path().join(ca)),
            ..Options::default()
        };
        let mut card = SoftwareCard::open(&path, options).expect("a card");
        initialise(&mut card, &[0x97, 1, 2]);
        let state = path.join("state");
        Self { card, state }
    }

    fn send(&mut self, command: Command) -> (Vec<u8>, u16) {
        send(&mut self.card, command)
    }

    /// Sends a command that must be refused with `word` and must not change what is kept.
    fn refused(&mut self, command: Command, word: u16, why: &str) {
        let before = fs::read(&self.state).expect("state");
        let (data, answer) = self.send(command);
        assert_eq!(format!("{answer:04X}"), format!("{word:04X}"), "{why}");
        assert!(data.is_empty(), "{why}");
        assert_eq!(fs::read(&self.state).expect("state"), before, "{why}");
    }

    /// Device and issuer certificate.
    fn chain(&mut self) -> Vec<Certificate> {
        let (data, word) = self.send(command(0, 0xB1, 0x2F, 0x02, &[0x54, 2, 0, 0]));
        assert_eq!(word, 0x9000);
        tlv::elements(&data)
            .map(|element| Certificate::parse(element.expect("whole").encoded).expect("good"))
            .collect()
    }

    /// Shows this card another's certificates; the last status word.
    fn learn(&mut self, chain: &[Certificate]) -> u16 {
        let mut last = 0;
        for certificate in chain.iter().rev() {
            let reference = |name: &Reference| tlv::encode(0x83, name.as_bytes());
            let body = certificate.body();
            let known = command(0, 0x22, 0x81, 0xB6, &reference(&body.chr));
            last = self.send(known).1;
            if last == 0x9000 {
                continue;
            }
            let issuer = command(0, 0x22, 0x81, 0xB6, &reference(&body.car));
            last = self.send(issuer).1;
            if last != 0x9000 {
                return last;
            }
            last = self
                .send(command(0, 0x2A, 0, 0xBE, certificate.content()))
                .1;
        }
        last
    }

    /// Makes a key pair; its request.
    fn generate(&mut self, id: u8, attributes: KeyAttributes) -> (Vec<u8>, u16) {
        let request = GenerationRequest {
            car: Reference::new(b"UTCA00001").expect("short"),
            chr: Reference::new(format!("UTKEY{id:05}").as_bytes()).expect("short"),
            key: KeySpec::Ec(Curve::BrainpoolP256r1),
            outer_car: None,
            attributes,
        };
        self.send(command(0, 0x46, id, 0, &request.encode()))
    }

    fn exchange_key(&mut self, id: u8, domain: u8) -> Vec<u8> {
        let attributes = KeyAttributes {
            algorithms: vec![0x84],
            domain: Some(domain),
            ..KeyAttributes::default()
        };
        let (request, word) = self.generate(id, attributes);
        assert_eq!(word, 0x9000);
        request
    }

    fn status(&mut self, domain: u8) -> (Vec<u8>, u16) {
        self.send(command(0x80, 0x52, 0, domain, &[]))
    }
}

/// Two members, a group signer's card, and a card of another root.
struct Group {
    _dir: TempDir,
    a: Local,
    b: Local,
    signer: Local,
    stranger: Local,
    /// The group signer's request, 67.
    request: Vec<u8>,
}

impl Group {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let a = Local::new(&dir, "a", "ca");
        let b = Local::new(&dir, "b", "ca");
        let mut signer = Local::new(&dir, "signer", "ca");
        let stranger = Local::new(&dir, "stranger", "other-ca");
        let (request, word) = signer.generate(1, KeyAttributes::default());
        assert_eq!(word, 0x9000);
        Self {
            _dir: dir,
            a,
            b,
            signer,
            stranger,
            request,
        }
    }

    /// The signer's word for the device with that certificate.
    fn membership(&mut self, device: &Certificate) -> Vec<u8> {
        let key = device.public_key(None).expect("a key");
        let x = key.as_ec().expect("on a curve").x().to_vec();
        let signed = [&[0x54], x.as_slice()].concat();
        let (der, word) = self.signer.send(command(0x80, 0x68, 1, 0x73, &signed));
        assert_eq!(word, 0x9000);
        let signature = EcdsaSig::from_der(&der).expect("a signature");
        let half = |number: &openssl::bn::BigNumRef| number.to_vec_padded(32).expect("32 octets");
        [half(signature.r()), half(signature.s())].concat()
    }

    /// What CREATE DOMAIN carries.
    fn create(&self, signature: &[u8]) -> Vec<u8> {
        let request = Request::parse(&self.request).expect("a request");
        [request.content(), &tlv::encode(0x54, signature)].concat()
    }

    /// Makes both members' domain 1 the group's.
    fn join(&mut self) {
        let signer = self.signer.chain();
        for member in [true, false] {
            let card = if member { &mut self.a } else { &mut self.b };
            let own = card.chain();
            let own = own.first().expect("device").clone();
            let signature = self.membership(&own);
            let data = self.create(&signature);
            let card = if member { &mut self.a } else { &mut self.b };
            assert_eq!(card.learn(&signer), 0x9000);
            let (status, word) = card.send(command(0x80, 0x52, 2, 1, &data));
            assert_eq!(word, 0x9000);
            assert_eq!(
                status.get(..10),
                Some(&[0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0][..])
            );
            assert_eq!(status.len(), 10 + 64, "identifier of the group");
        }
    }
}

#[test]
fn a_key_moves_between_two_cards_of_a_group() {
    let mut group = Group::new();
    group.join();
    let (mut a, mut b) = (group.a, group.b);
    let (from_a, from_b) = (a.exchange_key(1, 1), b.exchange_key(1, 1));
    let (chain_a, chain_b) = (a.chain(), b.chain());
    assert_eq!(a.learn(&chain_b), 0x9000);
    assert_eq!(b.learn(&chain_a), 0x9000);
    let (_, word) = a.send(command(0x80, 0x62, 1, 0x84, &from_b));
    assert_eq!(word, 0x9000);
    let (_, word) = b.send(command(0x80, 0x62, 1, 0x84, &from_a));
    assert_eq!(word, 0x9000);
    let (status, _) = a.status(1);
    assert_eq!(b.status(1).0, status, "one KEK, one group");
    assert_ne!(status.get(2..10), Some(&[0; 8][..]), "a KEK is there");

    let attributes = KeyAttributes {
        domain: Some(1),
        ..KeyAttributes::default()
    };
    let (request, word) = a.generate(5, attributes);
    assert_eq!(word, 0x9000);
    let (blob, word) = a.send(command(0x80, 0x72, 5, 0x92, &[]));
    assert_eq!(word, 0x9000, "a real card wraps in its groups' domains");
    b.refused(
        command(0x80, 0x74, 0, 0x93, &blob),
        0x6985,
        "the device's own key",
    );
    let (_, word) = b.send(command(0x80, 0x74, 9, 0x93, &blob));
    assert_eq!(word, 0x9000);
    let (signature, word) = b.send(command(0x80, 0x68, 9, 0x73, b"text"));
    assert_eq!(word, 0x9000);
    let public = Request::parse(&request).expect("a request").public_key();
    let public = public.expect("a key").as_ec().expect("on a curve").clone();
    let signature = EcdsaSig::from_der(&signature).expect("a signature");
    let half = |number: &openssl::bn::BigNumRef| number.to_vec_padded(32).expect("32 octets");
    let plain = [half(signature.r()), half(signature.s())].concat();
    let digest = openssl::sha::sha256(b"text");
    assert_eq!(
        public.verify_digest(&digest, &plain),
        Ok(true),
        "it is the same key"
    );

    // The exchange key does nothing else and goes nowhere.
    a.refused(
        command(0x80, 0x72, 1, 0x92, &[]),
        0x6985,
        "wrap of an exchange key",
    );
    a.refused(
        command(0x80, 0x68, 1, 0x73, b"text"),
        0x6985,
        "signature of an exchange key",
    );
    a.refused(command(0x80, 0x52, 3, 1, &[]), 0x6A89, "a domain with keys");
    let (_, word) = a.send(command(0x80, 0x52, 4, 1, &[]));
    assert_eq!(word, 0x9000);
    a.refused(command(0x80, 0x72, 5, 0x92, &[]), 0x6A88, "no KEK any more");
}

#[test]
fn blobs_that_were_changed_or_are_anothers() {
    let mut group = Group::new();
    let card = &mut group.a;
    card.send(command(0x80, 0x52, 1, 0, &[1]));
    let (_, word) = card.send(command(0x80, 0x52, 0, 0, &[7; 32]));
    assert_eq!(word, 0x9000);
    let (_, word) = card.generate(1, KeyAttributes::default());
    assert_eq!(word, 0x9000);
    let (blob, word) = card.send(command(0x80, 0x72, 1, 0x92, &[]));
    assert_eq!(word, 0x9000);
    for at in 0..blob.len() {
        let mut damaged = blob.clone();
        if let Some(octet) = damaged.get_mut(at) {
            *octet ^= 1;
        }
        let unwrap = command(0x80, 0x74, 2, 0x93, &damaged);
        card.refused(unwrap, 0x6A80, &format!("octet {at} changed"));
        if at > 0 {
            let cut = blob.get(..at).expect("within");
            card.refused(
                command(0x80, 0x74, 2, 0x93, cut),
                0x6A80,
                &format!("cut at {at}"),
            );
        }
    }
    card.refused(
        command(0x80, 0x74, 2, 0x93, &[]),
        0x6A80,
        "no blob and no scratch file",
    );
    let other = &mut group.b;
    other.send(command(0x80, 0x52, 1, 0, &[1]));
    other.refused(command(0x80, 0x74, 2, 0x93, &blob), 0x6A80, "no KEK yet");
    other.send(command(0x80, 0x52, 0, 0, &[8; 32]));
    other.refused(command(0x80, 0x74, 2, 0x93, &blob), 0x6A80, "another KEK");
    other.refused(
        command(0x80, 0x52, 0, 0, &[7; 32]),
        0x6986,
        "all shares are there",
    );
    other.refused(
        command(0x80, 0x52, 0, 0, &[7; 31]),
        0x6700,
        "a share that is short",
    );
    // A key with a counter would come back with all its uses.
    let counted = KeyAttributes {
        use_counter: Some(1),
        ..KeyAttributes::default()
    };
    assert_eq!(card.generate(3, counted).1, 0x9000);
    card.refused(command(0x80, 0x72, 3, 0x92, &[]), 0x6985, "a counted key");
    assert_eq!(card.send(command(0x80, 0x68, 3, 0x73, b"once")).1, 0x9000);
    card.refused(command(0x80, 0x68, 3, 0x73, b"twice"), 0x6984, "used up");
    let again = GenerationRequest {
        car: Reference::default(),
        chr: Reference::new(b"UTAGAIN00001").expect("short"),
        key: KeySpec::Ec(Curve::Secp256r1),
        outer_car: None,
        attributes: KeyAttributes::default(),
    };
    card.refused(
        command(0, 0x46, 1, 0, &again.encode()),
        0x6A89,
        "a key is there",
    );
}

#[test]
fn memberships_that_are_forged_or_anothers() {
    let mut group = Group::new();
    let a = group.a.chain();
    let b = group.b.chain();
    let (own, other) = (a.first().expect("device"), b.first().expect("device"));
    let good = group.membership(own);
    let for_b = group.membership(other);
    let create = |data: &[u8]| command(0x80, 0x52, 2, 1, data);
    let data = group.create(&good);
    // The card of the group signer is not known yet.
    group
        .a
        .refused(create(&data), 0x6985, "an attestation by nobody known");
    let signer = group.signer.chain();
    assert_eq!(group.a.learn(&signer), 0x9000);
    let data_for_b = group.create(&for_b);
    group
        .a
        .refused(create(&data_for_b), 0x6985, "another device's membership");
    for at in [0, 31, 32, 63] {
        let mut forged = good.clone();
        if let Some(octet) = forged.get_mut(at) {
            *octet ^= 1;
        }
        let data = group.create(&forged);
        group
            .a
            .refused(create(&data), 0x6985, "a forged membership");
    }
    let data = group.create(&[]);
    group.a.refused(create(&data), 0x6985, "an empty signature");
    let request = Request::parse(&group.request).expect("a request");
    group
        .a
        .refused(create(request.content()), 0x6A80, "no signature");

    // A group signer in software, which only says that a card attests it.
    let mut rng = System;
    let key = EcPrivate::generate(Curve::BrainpoolP256r1, &mut rng).expect("a key");
    let key = Key::Ec(key);
    let name = Reference::new(b"UTGROUP00001").expect("short");
    let public = key.public().expect("public");
    let body = Body::request(name.clone(), name, &public);
    let device = signer.first().expect("device").body().chr.clone();
    let forged = Request::make(body, &key, device, &key).expect("made");
    let x = own.public_key(None).expect("a key");
    let x = x.as_ec().expect("on a curve").x().to_vec();
    let signature = key
        .sign_sha256(&[&[0x54], x.as_slice()].concat())
        .expect("signed");
    let data = [forged.content(), &tlv::encode(0x54, &signature)].concat();
    group
        .a
        .refused(create(&data), 0x6985, "an attestation that is forged");

    // Of another root.
    let stranger = group.stranger.chain();
    assert_ne!(group.a.learn(&stranger), 0x9000, "a chain to another root");

    // And the good one, once.
    let data = group.create(&good);
    assert_eq!(group.a.send(create(&data)).1, 0x9000);
    group.a.refused(create(&data), 0x6985, "the slot is taken");
    // Only the user may.
    select(&mut group.a.card);
    let (_, word) = group.a.send(command(0x80, 0x52, 3, 1, &[]));
    assert_eq!(word, 0x6985);
}

#[test]
fn exchange_keys_that_are_forged_or_of_another_group() {
    let mut group = Group::new();
    group.join();
    let (mut a, mut b) = (group.a, group.b);
    let (own, from_b) = (a.exchange_key(1, 1), b.exchange_key(1, 1));
    let derive = |data: &[u8]| command(0x80, 0x62, 1, 0x84, data);
    a.refused(derive(&from_b), 0x6985, "a device that is not known");
    let chain_b = b.chain();
    assert_eq!(a.learn(&chain_b), 0x9000);
    a.refused(derive(&own), 0x6985, "its own key");
    a.refused(derive(&[]), 0x6A80, "nothing");
    a.refused(
        derive(from_b.get(..200).expect("long")),
        0x6A80,
        "half of it",
    );

    let device = chain_b.first().expect("device").body().chr.clone();
    let uid = Request::parse(&from_b).expect("a request");
    let uid = uid.body().key_domain_uid().expect("a group").to_vec();
    let mut rng = System;
    let key = EcPrivate::generate(Curve::BrainpoolP256r1, &mut rng).expect("a key");
    let key = Key::Ec(key);
    let name = Reference::new(b"UTFORGED00001").expect("short");
    let mut body = Body::request(name.clone(), name, &key.public().expect("public"));
    let bare = Request::make(body.clone(), &key, device.clone(), &key).expect("made");
    a.refused(derive(bare.encoded()), 0x6A80, "of no group");
    body.extensions = vec![Extension::key_domain(&[1; 64])];
    let other = Request::make(body.clone(), &key, device.clone(), &key).expect("made");
    a.refused(derive(other.encoded()), 0x6A88, "of another group");
    body.extensions = vec![Extension::key_domain(&uid)];
    let forged = Request::make(body, &key, device, &key).expect("made");
    a.refused(derive(forged.encoded()), 0x6985, "a forged attestation");

    // Every place where one octet can be changed, above all in the point: off the curve or another key.
    for at in 0..from_b.len() {
        let mut changed = from_b.clone();
        if let Some(octet) = changed.get_mut(at) {
            *octet ^= 1;
        }
        let before = fs::read(&a.state).expect("state");
        let (_, word) = a.send(derive(&changed));
        assert!(
            matches!(word, 0x6985 | 0x6A80 | 0x6A88),
            "octet {at}: {word:04X}"
        );
        assert_eq!(fs::read(&a.state).expect("state"), before, "octet {at}");
    }
    assert_eq!(a.status(1).0.get(2..10), Some(&[0; 8][..]), "still no KEK");

    // Points in plain key agreement.
    let (_, word) = a.generate(6, KeyAttributes::default());
    assert_eq!(word, 0x9000);
    let mut point = vec![4; 65];
    a.refused(
        command(0x80, 0x62, 6, 0x80, &point),
        0x6A80,
        "a point off the curve",
    );
    point.truncate(64);
    a.refused(command(0x80, 0x62, 6, 0x80, &point), 0x6A80, "half a point");
    a.refused(
        command(0x80, 0x62, 6, 0x80, &[0]),
        0x6A80,
        "the point at infinity",
    );
    assert_eq!(a.send(derive(&from_b)).1, 0x9000, "and the true one");
}

#[test]
fn pins_are_counted_on_disk() {
    let dir = tempfile::tempdir().expect("directory");
    let mut local = Local::new(&dir, "card", "ca");
    let wrong = || Command::new(0, 0x20, 0, 0x81).with_data(b"111111");
    let state = |word: u16| format!("{word:04X}");
    assert_eq!(state(local.send(wrong()).1), "63C2");
    // Pulling the card does not bring a try back.
    drop(local);
    let reopen = || {
        let mut card = SoftwareCard::open(&dir.path().join("card"), Options::default());
        select(card.as_mut().expect("there"));
        card.expect("there")
    };
    let mut card = reopen();
    assert_eq!(
        state(send(&mut card, Command::new(0, 0x20, 0, 0x81)).1),
        "63C2"
    );
    assert_eq!(state(send(&mut card, wrong()).1), "63C1");
    assert_eq!(state(send(&mut card, wrong()).1), "63C0");
    drop(card);
    let mut card = reopen();
    let right = || Command::new(0, 0x20, 0, 0x81).with_data(PIN);
    assert_eq!(state(send(&mut card, right()).1), "6983");
    let unlock = [SO_PIN, b"12345678"].concat();
    let mut bad = unlock.clone();
    bad[0] ^= 1;
    assert_eq!(
        state(send(&mut card, command(0, 0x2C, 0, 0x81, &bad)).1),
        "63CE"
    );
    assert_eq!(
        state(send(&mut card, command(0, 0x2C, 0, 0x81, &unlock)).1),
        "9000"
    );
    assert_eq!(
        state(send(&mut card, right()).1),
        "63C2",
        "the old PIN is gone"
    );
    for left in (0..15u16).rev() {
        bad[0] = bad[0].wrapping_add(2) | 1;
        let word = send(&mut card, command(0, 0x2C, 0, 0x81, &bad)).1;
        assert_eq!(state(word), state(0x63C0 | left));
    }
    assert_eq!(
        state(send(&mut card, command(0, 0x2C, 0, 0x81, &unlock)).1),
        "6983"
    );
}

/// `kx-vcard` as a process, and this test as its reader.
struct Remote {
    process: Guarded,
    host: VpcdHost,
}

fn remote(listener: &TcpListener, state: &Path) -> Remote {
    let address = listener.local_addr().expect("address").to_string();
    let process = Process::new(subject().program("kx-vcard"))
        .arg("--state")
        .arg(state)
        .args(["--vpcd", &address])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("kx-vcard");
    let process = Guarded(process);
    let host = VpcdHost::accept(listener, LIMIT).expect("a card");
    Remote { process, host }
}

#[test]
fn a_card_removed_in_the_middle_of_a_command() {
    let dir = tempfile::tempdir().expect("directory");
    let state = dir.path().join("card");
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let mut card = remote(&listener, &state);
    initialise(&mut card.host, &[]);
    let before = fs::read(state.join("state")).expect("state");
    let generate = GenerationRequest {
        car: Reference::default(),
        chr: Reference::new(b"UTLONG00001").expect("short"),
        key: KeySpec::Rsa {
            bits: 4096,
            exponent: None,
        },
        outer_car: None,
        attributes: KeyAttributes::default(),
    };
    let generate = command(0, 0x46, 1, 0, &generate.encode());
    let generate = generate.encode().expect("short enough");
    // It is busy for longer than it takes to kill it, or it has finished: then the key must be there.
    let mut process = card.process;
    let killer = std::thread::spawn(move || {
        process.0.kill().expect("killed");
        process.0.wait().expect("ended");
    });
    let mut response = Vec::new();
    let answer = card.host.transmit(&generate, &mut response);
    killer.join().expect("killer");
    let mut again = remote(&listener, &state);
    select(&mut again.host);
    let (list, _) = send(&mut again.host, Command::new(0x80, 0x58, 0, 0).with_le(256));
    match answer {
        Ok(()) => assert_eq!(list, [0x2F, 2, 0xCE, 1, 0xCC, 0, 0xCC, 1]),
        Err(error) => {
            assert!(matches!(error, Error::Removed), "{error}");
            assert_eq!(error.to_string(), "the card was removed");
            if fs::read(state.join("state")).expect("state") == before {
                assert_eq!(list, [0x2F, 2, 0xCC, 0]);
            }
        }
    }
    login(&mut again.host);
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().expect("directory");
    let state = dir.path().join("card");
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let mut acknowledged = 0u32;
    for round in 0..25u64 {
        let mut card = remote(&listener, &state);
        if round == 0 {
            initialise(&mut card.host, &[]);
        } else {
            select(&mut card.host);
            login(&mut card.host);
            let (kept, word) = send(
                &mut card.host,
                command(0, 0xB1, 0xCF, 0x01, &[0x54, 2, 0, 0]),
            );
            assert_eq!(word, 0x9000);
            let kept = u32::from_be_bytes(kept.try_into().expect("a number"));
            assert!(
                kept == acknowledged || kept == acknowledged + 1,
                "{kept} is kept, {acknowledged} was acknowledged"
            );
            acknowledged = kept;
        }
        let mut process = card.process;
        let first = acknowledged;
        let (started, start) = std::sync::mpsc::channel();
        let killer = std::thread::spawn(move || {
            start.recv().expect("started");
            // Another moment each time; what is tested holds at all of them.
            std::thread::sleep(Duration::from_micros(round * 977 % 20_000));
            process.0.kill().expect("killed");
            process.0.wait().expect("ended");
        });
        loop {
            let next = acknowledged + 1;
            let mut data = vec![0x54, 2, 0, 0, 0x53, 4];
            data.extend_from_slice(&next.to_be_bytes());
            let update = command(0, 0xD7, 0xCF, 0x01, &data).encode().expect("short");
            let mut response = Vec::new();
            match card.host.transmit(&update, &mut response) {
                Ok(()) => {
                    assert_eq!(response, [0x90, 0]);
                    acknowledged = next;
                    if acknowledged == first + 1 {
                        started.send(()).expect("the killer waits");
                    }
                }
                Err(error) => {
                    assert!(matches!(error, Error::Removed | Error::Io(_)), "{error}");
                    break;
                }
            }
        }
        killer.join().expect("killer");
    }
    assert!(acknowledged >= 25, "something was done in each round");
}
