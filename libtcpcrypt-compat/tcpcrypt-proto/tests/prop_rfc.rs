//! The standard dialect: what is built is read back the same, both hosts come to the same result, and nothing that
//! comes from outside makes a parser fail in another way than by its error.

use kx_crypto::aead::Algorithm;
use kx_crypto::ecdh::Curve;
use kx_crypto::hkdf::Key;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tcpcrypt_proto::eno::{EnoOption, Kind, Tep};
use tcpcrypt_proto::rfc8547::{self, Global, Host, SynForm, TepSuboption};
use tcpcrypt_proto::rfc8548::frame::{self, Flags, KeyLimits, Opener, RecordError, Sealer};
use tcpcrypt_proto::rfc8548::init::{self, Init1, Init2, InitError, Message};
use tcpcrypt_proto::rfc8548::keys::{Keys, Suite};
use tcpcrypt_proto::rfc8548::negotiation::{
    Offer, Resumption, ResumptionNonce, choose, named, settle,
};

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Standard), Just(Kind::Experimental)]
}

fn tep() -> impl Strategy<Value = Tep> {
    proptest::sample::select(Tep::ALL.to_vec())
}

fn tep_list() -> impl Strategy<Value = Vec<Tep>> {
    proptest::sample::subsequence(Tep::ALL.to_vec(), 0..=4).prop_shuffle()
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![
        Just(Algorithm::Aes128Gcm),
        Just(Algorithm::Aes256Gcm),
        Just(Algorithm::ChaCha20Poly1305)
    ]
}

fn resumption() -> impl Strategy<Value = Resumption> {
    (any::<[u8; 9]>(), vec(any::<u8>(), 0..=8)).prop_map(|(half, nonce)| Resumption {
        half,
        nonce: ResumptionNonce::new(&nonce).unwrap(),
    })
}

/// Content that is often well formed and about what we know.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        3 => 0x20..=0x25u8,
        2 => 0xa0..=0xa5u8,
        2 => 0x00..=0x03u8,
        1 => 0x80..=0x9fu8,
        1 => any::<u8>(),
    ];
    vec(octet, 0..=36)
}

fn public(curve: Curve) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), curve.compressed_len()).prop_map(move |mut public| {
        if matches!(curve, Curve::P256 | Curve::P521) {
            public[0] = 2 | (public[0] & 1);
        }
        public
    })
}

fn split(host: Host, algorithm: Algorithm) -> (Sealer, Opener) {
    let suite = Suite {
        host,
        tep: Tep::X25519,
        algorithm,
    };
    Keys::new(Key::from(&[3; 32]), suite).split().unwrap()
}

proptest! {
    /// Whatever can be read can be built, and says the same then.
    #[test]
    fn eno_content(kind in kind(), content in content()) {
        let option = EnoOption::of(kind, &content);
        prop_assert_eq!(option.suboptions(), &content);
        prop_assert_eq!(EnoOption::parse_any(option.as_bytes()), Ok(option));
        let Ok(form) = SynForm::read(&option) else { return Ok(()) };
        let teps: Vec<TepSuboption<'_>> = form.teps().collect();
        let rebuilt = rfc8547::build(kind, form.global(), &teps).unwrap();
        prop_assert!(rebuilt.as_bytes().len() <= option.as_bytes().len());
        let again = SynForm::read(&rebuilt).unwrap();
        prop_assert_eq!(again.global(), form.global());
        prop_assert_eq!(again.teps().collect::<Vec<_>>(), teps);
    }

    #[test]
    fn eno_among_options(options in vec(any::<u8>(), 0..60)) {
        if let Ok(Some(eno)) = EnoOption::find_any(&options) {
            let len = eno.as_bytes().len();
            prop_assert!(options.windows(len).any(|window| window == eno.as_bytes()));
            if let Ok(form) = SynForm::read(&eno) {
                prop_assert!(form.teps().count() <= 38);
            }
        }
    }

    /// Two options, whatever they are: both hosts come to the same result, and to opposite roles.
    #[test]
    fn both_hosts_agree(kind in kind(), ours in content(), theirs in content(), other in kind()) {
        let (a, b) = (EnoOption::of(kind, &ours), EnoOption::of(other, &theirs));
        let results = [settle(true, &a, &b, None), settle(false, &b, &a, None)];
        let [one, two] = results;
        prop_assert_eq!(one.map(|s| (s.tep, s.tep_octet, s.host)), two.map(|s| (s.tep, s.tep_octet, s.host.peer())));
        if let Some(settled) = one {
            prop_assert_eq!(kind, other);
            prop_assert_eq!(settled.resumed, None);
            for option in [&a, &b] {
                prop_assert!(SynForm::read(option).unwrap().names(settled.tep.octet()));
            }
        }
    }

    #[test]
    fn offers_and_answers(
        teps in tep_list(),
        preferred in tep_list(),
        app_aware: bool,
        peer_app_aware: bool,
        resume in option::of((tep(), resumption())),
        acceptance in resumption(),
        accepts: bool,
    ) {
        let kind = Kind::Standard;
        let offer = Offer { kind, passive_role: false, app_aware, teps: &teps, resume };
        let syn = offer.build().unwrap();
        let form = SynForm::read(&syn).unwrap();
        prop_assert_eq!(form.global(), Global { passive_role: false, app_aware });
        let names: Vec<_> = named(&syn).collect();
        prop_assert_eq!(&names, &Vec::from_iter(resume));
        let resumed = resume.filter(|_| accepts);
        let chosen = choose(&syn, &preferred);
        let each = |tep: &Tep| teps.contains(tep) || resume.is_some_and(|(of, _)| of == *tep);
        prop_assert_eq!(chosen, preferred.iter().copied().find(each));
        let answer = Offer {
            kind,
            passive_role: true,
            app_aware: peer_app_aware,
            teps: &Vec::from_iter(chosen),
            resume: resumed.map(|(tep, _)| (tep, acceptance)),
        };
        let syn_ack = answer.build().unwrap();
        let awaited = resume.map(|(tep, _)| (tep, acceptance.half));
        let client = settle(true, &syn, &syn_ack, awaited);
        let server = settle(false, &syn_ack, &syn, resumed.map(|(tep, r)| (tep, r.half)));
        prop_assert_eq!(client.map(|s| (s.tep, s.tep_octet)), server.map(|s| (s.tep, s.tep_octet)));
        match (resumed, chosen) {
            (Some((tep, named)), _) => {
                prop_assert_eq!(client.map(|s| s.tep), Some(tep));
                prop_assert_eq!(client.and_then(|s| s.resumed), Some(acceptance.nonce));
                prop_assert_eq!(server.and_then(|s| s.resumed), Some(named.nonce));
            }
            (None, chosen) => {
                prop_assert_eq!(client.map(|s| (s.tep, s.resumed)), chosen.map(|tep| (tep, None)));
                prop_assert_eq!(server.map(|s| (s.tep, s.resumed)), chosen.map(|tep| (tep, None)));
            }
        }
        if let (Some(client), Some(server)) = (client, server) {
            prop_assert_eq!((client.host, server.host), (Host::A, Host::B));
            prop_assert_eq!((client.peer_app_aware, server.peer_app_aware), (peer_app_aware, app_aware));
        }
    }

    #[test]
    fn init_never_fails(message in vec(any::<u8>(), 0..300), good_magic: bool, good_len: bool, tep in tep()) {
        let mut message = message;
        for (which, magic) in [(Message::Init1, [0x15, 0x10, 0x1a, 0x0e]), (Message::Init2, [9, 0x71, 5, 0xe0])] {
            if good_magic && message.len() >= 8 {
                message[..4].copy_from_slice(&magic);
                if good_len {
                    let len = u32::try_from(message.len()).unwrap();
                    message[4..8].copy_from_slice(&len.to_be_bytes());
                }
            }
            let len = init::len(which, &message);
            let read = Init1::parse(&message, tep.curve()).is_ok()
                || Init2::parse(&message, tep.curve()).is_ok();
            if read {
                prop_assert_eq!(len, Ok(Some(message.len())));
            }
        }
    }

    #[test]
    fn init_messages(
        (tep, public) in tep().prop_flat_map(|tep| (Just(tep), public(tep.curve()))),
        ciphers in vec(any::<[u8; 2]>(), 0..=255),
        cipher: u16,
        nonce: [u8; 32],
        ignored in vec(any::<u8>(), 0..40),
        at: prop::sample::Index,
        bit in 0..8u32,
    ) {
        let curve = tep.curve();
        let ciphers = ciphers.concat();
        let init1 = Init1 { ciphers: &ciphers, nonce: &nonce, public: &public };
        let mut message = Vec::new();
        init1.build(curve, &mut message);
        prop_assert_eq!(Init1::parse(&message, curve), Ok(init1));
        prop_assert_eq!(Init2::parse(&message, curve), Err(InitError::Magic));
        let cut = at.index(message.len());
        prop_assert_eq!(Init1::parse(&message[..cut], curve), Err(InitError::Length));
        let mut changed = message.clone();
        let place = at.index(message.len());
        changed[place] ^= 1 << bit;
        prop_assert_ne!(Init1::parse(&changed, curve), Ok(init1));
        message.extend_from_slice(&ignored);
        let len = u32::try_from(message.len()).unwrap();
        message[4..8].copy_from_slice(&len.to_be_bytes());
        prop_assert_eq!(Init1::parse(&message, curve), Ok(init1));

        let init2 = Init2 { cipher, nonce: &nonce, public: &public };
        let mut message = Vec::new();
        init2.build(curve, &mut message);
        prop_assert_eq!(Init2::parse(&message, curve), Ok(init2));
        prop_assert_eq!(Init1::parse(&message, curve), Err(InitError::Magic));
    }

    #[test]
    fn frames_never_fail(octets in vec(any::<u8>(), 0..200), whole: bool, offset: u64) {
        let mut octets = octets;
        if whole && octets.len() >= 20 {
            let [high, low] = u16::try_from(octets.len() - 3).unwrap().to_be_bytes();
            octets[1..3].copy_from_slice(&[high, low]);
            prop_assert_eq!(frame::len(&octets), Ok(Some(octets.len())));
        }
        let (_, mut opener) = split(Host::B, Algorithm::Aes128Gcm);
        let mut out = vec![1];
        prop_assert!(opener.open(offset, &octets, &mut out).is_err());
        prop_assert_eq!(out, [1]);
        prop_assert_eq!(opener.generation(), 0);
    }

    /// Two hosts that send in turns, rekey when they like and by limits, and follow each other.
    #[test]
    fn conversation(
        algorithm in algorithm(),
        frames in 1..6u64,
        turns in vec((any::<bool>(), any::<bool>(), any::<Option<u16>>(), vec(any::<u8>(), 0..50)), 0..40),
        at: prop::sample::Index,
        bit in 0..8u32,
    ) {
        let mut ends = [split(Host::A, algorithm), split(Host::B, algorithm)];
        let mut offsets = [0u64; 2];
        let limits = KeyLimits { frames, ..KeyLimits::default() };
        ends[0].0.set_limits(limits);
        let mut pass = |ends: &mut [(Sealer, Opener); 2], from: usize, flags: Flags, data: &[u8]| {
            let mut wire = Vec::new();
            ends[from].0.seal(offsets[from], flags, data, &mut wire).unwrap();
            let to = &mut ends[1 - from];
            let mut changed = wire.clone();
            changed[at.index(wire.len())] ^= 1 << bit;
            let mut out = Vec::new();
            let generation = to.1.generation();
            assert!(to.1.open(offsets[from], &changed, &mut out).is_err());
            assert_eq!(to.1.generation(), generation);
            assert_eq!(to.1.open(offsets[from] ^ 1, &wire, &mut out), Err(RecordError::Mac));
            assert_eq!(to.1.open(offsets[from], &wire, &mut out), Ok(flags));
            assert_eq!(out, data);
            to.0.follow(to.1.generation());
            offsets[from] += wire.len() as u64;
        };
        for (second, rekey, urgent, data) in turns {
            let from = usize::from(second);
            if rekey {
                ends[from].0.rekey();
            }
            pass(&mut ends, from, Flags { fin: false, urgent }, &data);
            // Who is behind answers at once, and that ends.
            for _ in 0..2 {
                for from in [1 - from, from] {
                    if ends[from].0.is_rekey_due() {
                        pass(&mut ends, from, Flags::default(), &[]);
                    }
                }
            }
            prop_assert!(!ends[0].0.is_rekey_due() && !ends[1].0.is_rekey_due());
            prop_assert_eq!(ends[0].0.generation(), ends[1].0.generation());
            prop_assert_eq!(ends[0].1.generation(), ends[1].1.generation());
        }
        let fin = Flags { fin: true, urgent: None };
        for from in [0, 1] {
            pass(&mut ends, from, fin, b"end");
            prop_assert!(ends[from].0.is_finished() && ends[1 - from].1.is_finished());
        }
    }
}
