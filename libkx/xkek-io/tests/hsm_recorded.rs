//! [`Hsm`] against the recorded conversations of the imitation: each call sends the command that was
//! recorded (whatever the encoding of the lengths) and understands the answer; and public key
//! authentication between three software cards.

use std::path::{Path, PathBuf};

use kx_secret::SecretBytes;
use xkek::apdu::{Command, StatusWord};
use xkek::blob::Blob;
use xkek::card::Card;
use xkek::curve::Curve;
use xkek::cvc::{GenerationRequest, KeyAttributes, KeySpec, Reference, Request};
use xkek::hsm::{DomainState, Hsm, Initialization, LoginStatus, Pin, PinState, file_id, kind};
use xkek::kdm::Membership;
use xkek::pka::AttestedKey;
use xkek::{algorithm, tlv};
use xkek_io::transcript::{Exchange, parse};
use xkek_io::{Limits, Spec, Transport};

const PIN: &[u8] = b"648219";
const SO_PIN: &[u8] = b"57621880";

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../interop-tests/vectors/xkek")
        .join(name)
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(vector(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A recording, read on from the last command that was found. Steps that our calls leave out are passed.
struct Recording {
    exchanges: Vec<Exchange>,
    at: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("not recorded from here on: {0:02X?}")]
struct NotRecorded(Vec<u8>);

impl Recording {
    fn open(name: &str) -> Hsm<Self> {
        let text = String::from_utf8(file(name)).expect("text");
        let exchanges = parse(&text).expect("a recording");
        Hsm::new(Self { exchanges, at: 0 })
    }

    /// Data of the next command.
    fn next_data(&self) -> Vec<u8> {
        let command = &self.exchanges[self.at].command;
        Command::parse(command).expect("a command").data.to_vec()
    }

    fn left(&self) -> usize {
        self.exchanges.len() - self.at
    }
}

impl Card for Recording {
    type Error = NotRecorded;

    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), NotRecorded> {
        let sent = Command::parse(command).expect("a command");
        let same = |exchange: &Exchange| {
            let recorded = Command::parse(&exchange.command).expect("a command");
            (recorded.cla, recorded.ins, recorded.p1, recorded.p2)
                == (sent.cla, sent.ins, sent.p1, sent.p2)
                && recorded.data == sent.data
        };
        let rest = &self.exchanges[self.at..];
        let Some(found) = rest.iter().position(same) else {
            // To ask for the same once more changes nothing.
            let last = self.at.checked_sub(1).map(|last| &self.exchanges[last]);
            if let Some(last) = last.filter(|last| same(last) && sent.ins == 0x22) {
                response.clone_from(&last.response);
                return Ok(());
            }
            // Ours reads until the end is told, the one that was recorded knew the length.
            if (sent.ins, sent.data.first()) == (0xb1, Some(&0x54)) && !sent.data.ends_with(&[0, 0])
            {
                *response = vec![0x90, 0];
                return Ok(());
            }
            return Err(NotRecorded(command.to_vec()));
        };
        response.clone_from(&rest[found].response);
        self.at += found + 1;
        Ok(())
    }
}

fn initialization() -> Initialization {
    Initialization {
        options: 1,
        user_pin: Some(SecretBytes::from(PIN.to_vec())),
        so_pin: SecretBytes::from(SO_PIN.to_vec()),
        retries: 3,
        dkek_shares: None,
        public_keys: None,
        biometric_servers: [None, None],
        key_domains: None,
    }
}

#[test]
fn key_domains_as_recorded() {
    let mut hsm = Recording::open("xkek/reference-A.apdu");
    let applet = hsm.select().expect("selected");
    assert_eq!((applet.major, applet.minor), (6, 2));
    hsm.initialize(&Initialization {
        key_domains: Some(3),
        ..initialization()
    })
    .expect("initialized");
    hsm.verify(Pin::User, PIN).expect("logged in");
    let own = hsm.read(0x2f02).expect("read").expect("there");
    assert!(own.starts_with(&[0x67]));
    hsm.select().expect("selected");
    hsm.verify(Pin::User, PIN).expect("logged in");
    let states = hsm.domains().expect("asked");
    assert_eq!(
        states,
        [DomainState::Empty, DomainState::Empty, DomainState::Empty]
    );

    let membership = Membership::parse(&file("xkek/A.kdm")).expect("a membership");
    hsm.show_chain(&membership.issuer, &membership.holder)
        .expect("shown");
    let made = hsm
        .create_xkek_domain(0, &membership.group_signer, &membership.signature)
        .expect("made");
    let DomainState::Xkek { kcv: None, uid } = &made else {
        panic!("{made:?}");
    };
    assert_eq!(uid.len(), 64);
    // With a signature that is another's.
    let data = hsm.card_mut().next_data();
    let forged = tlv::require(&data, 0x54).expect("a signature").value;
    let refused = hsm.create_xkek_domain(1, &membership.group_signer, forged);
    assert_eq!(
        refused.expect_err("refused").sw(),
        Some(StatusWord::CONDITIONS)
    );

    let peer = Request::parse(&file("xkek/exchangeB.req")).expect("a request");
    hsm.derive_kek(1, &peer).expect("agreed");
    let state = hsm.domain(0).expect("asked");
    assert_eq!(state.kcv().expect("a key").to_string(), "2D6678BFE92769A0");

    let blob = file("xkek/moved.blob");
    assert_eq!(Some(Blob::parse(&blob).expect("a blob").kcv), state.kcv());
    hsm.unwrap(2, &blob).expect("unwrapped");
    let request = hsm.read(file_id(kind::CERTIFICATE, 2)).expect("read");
    Request::parse(&request.expect("there")).expect("a request");
    let signed = hsm
        .sign(2, algorithm::ECDSA_SHA256, b"moved")
        .expect("signed");
    assert!(tlv::only(&signed, 0x30).is_ok());
    let forbidden = hsm.sign(2, 0x75, b"moved").expect_err("refused");
    assert_eq!(forbidden.sw(), Some(StatusWord::CONDITIONS));
    let kept = hsm.wrap(2).expect_err("refused");
    assert_eq!(
        kept.to_string(),
        "wrap the key: 6A88 (referenced data not found)"
    );
    assert_eq!(
        hsm.delete_domain(0).expect_err("refused").sw(),
        Some(StatusWord(0x6a89))
    );
    hsm.clear_kek(0).expect("deleted");
    assert_eq!(hsm.domain(0).expect("asked").kcv(), None);
    for id in [1, 2] {
        assert!(hsm.delete(file_id(kind::KEY, id)).expect("deleted"));
    }
    hsm.delete_domain(0).expect("deleted");
    assert_eq!(hsm.domain(0).expect("asked"), DomainState::Empty);
    hsm.create_dkek_domain(1, 2).expect("made");
    let state = hsm.domain(1).expect("asked");
    assert!(
        matches!(
            state,
            DomainState::Dkek {
                total: 2,
                missing: 2,
                ..
            }
        ),
        "{state:?}"
    );
    assert_eq!(
        hsm.create_dkek_domain(1, 2).expect_err("refused").sw(),
        Some(StatusWord::P1_P2)
    );
    assert_eq!(hsm.domain(9).expect("asked"), DomainState::NotAllocated);
    assert_eq!(hsm.card_mut().left(), 0, "to the end");
}

#[test]
fn public_key_authentication_as_recorded() {
    let mut hsm = Recording::open("pka/reference.apdu");
    hsm.select().expect("selected");
    assert_eq!(hsm.login_status().expect("asked"), None);
    hsm.initialize(&Initialization {
        public_keys: Some((3, 2)),
        ..initialization()
    })
    .expect("initialized");
    hsm.verify(Pin::User, PIN).expect("logged in");
    let status = |total, missing, required, authenticated| LoginStatus {
        total,
        missing,
        required,
        authenticated,
    };
    assert_eq!(hsm.login_status().expect("asked"), Some(status(3, 3, 2, 0)));
    let key = |name: &str| AttestedKey::parse(&file(name)).expect("a key").0;
    let (zero, one) = (key("pka/key0.pka"), key("pka/key1.pka"));
    // The imitation takes a key twice; ours does not.
    for (missing, key) in [(2, &zero), (1, &one), (0, &zero)] {
        if missing > 0 {
            hsm.show_chain(&key.issuer, &key.device).expect("shown");
        }
        let now = hsm.register_public_key(&key.request, None).expect("taken");
        assert_eq!(now, status(3, missing, 2, 0));
    }
    let names: Vec<Reference> = (0..4)
        .map_while(|slot| hsm.public_key_slot(slot).expect("asked"))
        .inspect(|slot| assert!(!slot.authenticated))
        .map(|slot| slot.name)
        .collect();
    let (first, second) = (&zero.request.body().chr, &one.request.body().chr);
    assert_eq!(names, [first.clone(), second.clone(), first.clone()]);

    hsm.select().expect("selected");
    assert_eq!(hsm.login_status().expect("asked"), Some(status(3, 0, 2, 0)));
    assert_eq!(hsm.pin_state(Pin::User).expect("asked"), PinState::Tries(3));
    let device = Reference::new(b"ESPICOHSMTR00001").expect("a name");
    for (authenticated, name) in [(1, first), (2, second)] {
        let challenge = hsm.login_challenge(name, &device).expect("asked");
        let challenge = challenge.expect("known");
        assert!(challenge.starts_with(device.as_bytes()));
        assert_eq!(challenge.len(), device.as_bytes().len() + 8);
        // What was signed is recorded twice: refused, then taken.
        let signature = hsm.card_mut().next_data();
        let refused = hsm.login(&signature).expect_err("refused");
        assert_eq!(refused.sw(), Some(StatusWord::CONDITIONS));
        let signature = hsm.card_mut().next_data();
        hsm.login(&signature).expect("authenticated");
        let now = hsm.login_status().expect("asked");
        assert_eq!(now, Some(status(3, 0, 2, authenticated)));
        // Nobody counts twice.
        assert_eq!(hsm.login_challenge(name, &device).expect("asked"), None);
    }
    assert!(!hsm.delete(0xcf77).expect("asked"));
    assert_eq!(hsm.pin_state(Pin::User).expect("asked"), PinState::Tries(3));
    assert_eq!(hsm.card_mut().left(), 0, "to the end");
}

/// A software card, initialized.
fn card(dir: &Path, name: &str, how: &Initialization) -> Hsm<Transport> {
    let spec = Spec::Vcard {
        state: dir.join(name),
        authority: Some(dir.join("ca")),
    };
    let mut hsm = Hsm::new(Transport::open(&spec, Limits::default()).expect("a card"));
    hsm.select().expect("selected");
    hsm.initialize(how).expect("initialized");
    hsm.select().expect("selected");
    hsm
}

/// An officer's key is made on the officer's card, registered on another, and logs in there: by what the
/// officer's card signs.
#[test]
fn public_keys_of_officers_log_in_without_a_pin() {
    let dir = tempfile::tempdir().expect("directory");
    let mut officers = Vec::new();
    for name in ["one", "two"] {
        let mut officer = card(dir.path(), name, &initialization());
        officer.verify(Pin::User, PIN).expect("logged in");
        let name = officer.key_name(1).expect("a name");
        let request = GenerationRequest {
            car: name.clone(),
            chr: name,
            key: KeySpec::Ec(Curve::Secp256r1),
            outer_car: None,
            attributes: KeyAttributes::default(),
        };
        let made = officer.generate_key_pair(1, &request).expect("made");
        let key = officer.attested(made).expect("with its chain");
        officers.push((officer, key));
    }
    let both = Initialization {
        public_keys: Some((2, 2)),
        ..initialization()
    };
    let mut hsm = card(dir.path(), "shared", &both);
    let (own, _) = hsm.certificate_pair().expect("certificates");
    let own = own.body().chr.clone();
    hsm.verify(Pin::User, PIN).expect("logged in");
    for (_, key) in &officers {
        hsm.show_chain(&key.issuer, &key.device).expect("shown");
        hsm.register_public_key(&key.request, None).expect("taken");
    }
    let (_, known) = officers.first().expect("one");
    assert!(hsm.register_public_key(&known.request, None).is_err());
    // A new session: nobody is logged in.
    hsm.select().expect("selected");
    let attributes = KeyAttributes::default();
    let early = hsm
        .generate_aes_key(3, 16, &attributes)
        .expect_err("refused");
    assert_eq!(early.sw(), Some(StatusWord::SECURITY));
    for (authenticated, (officer, key)) in (1..).zip(&mut officers) {
        let name = &key.request.body().chr;
        let mut sign = |hsm: &mut Hsm<Transport>| {
            let challenge = hsm.login_challenge(name, &own).expect("asked");
            let challenge = challenge.expect("known");
            let der = officer.sign(1, algorithm::ECDSA_SHA256, &challenge);
            xkek::hsm::plain_signature(&der.expect("signed"), 32).expect("a signature")
        };
        // The signature of another challenge is none.
        let stale = sign(&mut hsm);
        let signature = sign(&mut hsm);
        assert_eq!(
            hsm.login(&stale).expect_err("refused").sw(),
            Some(StatusWord::CONDITIONS)
        );
        let again = sign(&mut hsm);
        assert_ne!(again, signature);
        hsm.login(&again).expect("authenticated");
        let status = hsm.login_status().expect("asked").expect("set up");
        assert_eq!(status.authenticated, authenticated);
        if authenticated == 1 {
            // One of two is not enough.
            let one = hsm
                .generate_aes_key(3, 16, &attributes)
                .expect_err("refused");
            assert_eq!(one.sw(), Some(StatusWord::SECURITY));
        }
    }
    hsm.generate_aes_key(3, 16, &attributes)
        .expect("both are there");
    let slot = hsm.public_key_slot(1).expect("asked").expect("there");
    assert!(slot.authenticated);
    // It ends with the session.
    hsm.select().expect("selected");
    assert!(hsm.generate_aes_key(4, 16, &attributes).is_err());
}

/// What counts its uses is not exported, since the blob does not hold the count; nothing takes the place of the
/// device's own key.
#[test]
fn counted_keys_stay_and_so_does_the_devices_own() {
    let dir = tempfile::tempdir().expect("directory");
    let how = Initialization {
        dkek_shares: Some(0),
        ..initialization()
    };
    let mut hsm = card(dir.path(), "card", &how);
    hsm.verify(Pin::User, PIN).expect("logged in");
    let free = KeyAttributes::default();
    let counted = KeyAttributes {
        use_counter: Some(5),
        ..KeyAttributes::default()
    };
    hsm.generate_aes_key(1, 16, &free).expect("made");
    hsm.generate_aes_key(2, 16, &counted).expect("made");
    let blob = hsm.wrap(1).expect("wrapped");
    let kept = hsm.wrap(2).expect_err("refused");
    assert_eq!(kept.sw(), Some(StatusWord::CONDITIONS));
    let own = hsm.unwrap(0, &blob).expect_err("refused");
    assert_eq!(own.sw(), Some(StatusWord::CONDITIONS));
    hsm.unwrap(3, &blob).expect("unwrapped");
    // Initialized again it has none of them.
    hsm.initialize(&how).expect("initialized");
    hsm.select().expect("selected");
    for id in [1, 2, 3] {
        assert_eq!(hsm.key_attributes(id).expect("asked"), None, "key {id}");
    }
}
