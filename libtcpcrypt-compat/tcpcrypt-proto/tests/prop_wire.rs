//! What is built is read back the same, and nothing that comes from outside makes a parser fail in another
//! way than by its error.

use kx_crypto::aead::Algorithm;
use kx_crypto::ecdh::Curve;
use kx_crypto::hkdf::Key;
use proptest::collection::vec;
use proptest::prelude::*;
use tcpcrypt_proto::eno::{Answer, EnoOption, Offer, ResumeId, Tep};
use tcpcrypt_proto::legacy::init::{Init1, Init2, InitError, Message};
use tcpcrypt_proto::legacy::keys::{Role, Suite, TrafficKeys};
use tcpcrypt_proto::legacy::record::{self, Flags, OffsetForm, Opener, RecordError, Sealer};

fn tep() -> impl Strategy<Value = Tep> {
    prop_oneof![Just(Tep::P256), Just(Tep::P521)]
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![Just(Algorithm::Aes128Gcm), Just(Algorithm::Aes256Gcm)]
}

fn tep_list() -> impl Strategy<Value = Vec<Tep>> {
    prop_oneof![
        Just(vec![Tep::P256]),
        Just(vec![Tep::P521]),
        Just(vec![Tep::P256, Tep::P521]),
        Just(vec![Tep::P521, Tep::P256]),
    ]
}

fn resume_id() -> impl Strategy<Value = ResumeId> {
    (tep(), any::<[u8; 9]>()).prop_map(|(tep, rest)| {
        let mut id = [tep.resumed_octet(); 10];
        id[1..].copy_from_slice(&rest);
        ResumeId(id)
    })
}

fn point(curve: Curve) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), curve.public_len()).prop_map(|mut point| {
        point[0] = 4;
        point
    })
}

fn flags() -> impl Strategy<Value = Flags> {
    (any::<bool>(), any::<Option<u16>>()).prop_map(|(fin, urgent)| Flags { fin, urgent })
}

/// Both ends of one direction.
fn ends(algorithm: Algorithm, start: u32) -> (Sealer, Opener) {
    let keys = |role| {
        let suite = Suite {
            role,
            tep: Tep::P256,
            algorithm,
        };
        TrafficKeys::derive(&Key::from(&[3; 32]), suite)
    };
    let (sealer, _) = keys(Role::Client).split(start, 0).unwrap();
    let (_, opener) = keys(Role::Server).split(0, start).unwrap();
    (sealer, opener)
}

proptest! {
    #[test]
    fn eno_never_fails(option in vec(any::<u8>(), 0..60), ours in tep_list()) {
        let found = EnoOption::find(&option);
        for eno in [EnoOption::parse(&option).ok(), found.ok().flatten()].into_iter().flatten() {
            let _ = (eno.choose(&ours), eno.app_aware(), eno.is_bare());
            prop_assert!(eno.resume_ids().count() <= 36);
            prop_assert_eq!(EnoOption::parse(eno.as_bytes()), Ok(eno));
        }
    }

    /// Whatever the suboptions are, the choice is one that both sides named.
    #[test]
    fn eno_suboptions(list in vec(any::<u8>(), 0..=36), ours in tep_list(), id in resume_id()) {
        let mut option = vec![253, 4 + u8::try_from(list.len()).unwrap(), 0x45, 0x4e];
        option.extend_from_slice(&list);
        let eno = EnoOption::parse(&option).unwrap();
        prop_assert_eq!(eno.as_bytes(), &option);
        prop_assert_eq!(eno.suboptions(), &list);
        prop_assert_eq!(EnoOption::find(&option), Ok(Some(eno)));
        if let Some(chosen) = eno.choose(&ours) {
            prop_assert!(ours.contains(&chosen) && list.contains(&chosen.octet()));
        }
        let windows = list.windows(10).filter(|window| window[0] >= 0x80).count();
        prop_assert_eq!(eno.resume_ids().count(), windows);
        let offer = Offer { teps: &ours, app_aware: false, resume: Some(id) };
        match offer.answer(&eno) {
            Answer::Resumed => prop_assert_eq!(list.last(), Some(&id.0[0])),
            Answer::Exchange(tep) => prop_assert!(ours.contains(&tep)),
            Answer::Plain => prop_assert_eq!(eno.choose(&ours), None),
        }
    }

    #[test]
    fn eno_offers(
        teps in tep_list(),
        app_aware: bool,
        resume in proptest::option::of(resume_id()),
        ours in tep_list(),
        before in vec(Just(1u8), 0..4),
    ) {
        let offer = Offer { teps: &teps, app_aware, resume };
        let eno = offer.build();
        prop_assert!(eno.as_bytes().len() <= 40 - 19, "fits beside the usual options");
        prop_assert!(eno.suboptions()[0] == 0x21 || eno.suboptions()[0] == 0x22);
        let mut options = before;
        options.extend_from_slice(eno.as_bytes());
        options.push(0);
        prop_assert_eq!(EnoOption::find(&options), Ok(Some(eno)));
        prop_assert_eq!(eno.teps().collect::<Vec<_>>(), teps.clone());
        prop_assert_eq!(eno.app_aware(), app_aware);
        prop_assert_eq!(resume.is_none_or(|id| eno.resume_ids().any(|named| named == id)), true);
        match eno.choose(&ours) {
            Some(tep) => {
                prop_assert_eq!(Some(&tep), teps.iter().find(|tep| ours.contains(tep)));
                for aware in [false, true] {
                    let reply = EnoOption::accept(tep, aware);
                    prop_assert_eq!(offer.answer(&reply), Answer::Exchange(tep));
                    prop_assert_eq!(reply.app_aware(), aware);
                }
            }
            None => prop_assert!(!teps.iter().any(|tep| ours.contains(tep))),
        }
        for (tep, aware) in [(Tep::P256, false), (Tep::P521, true)] {
            let reply = EnoOption::accept_resumption(tep, aware, &eno);
            let named = resume.is_some_and(|id| id.0[0] == tep.resumed_octet());
            let wanted = if named { Answer::Resumed } else { Answer::Plain };
            prop_assert_eq!(offer.answer(&reply), wanted);
            prop_assert_eq!(reply.app_aware(), aware);
        }
    }

    #[test]
    fn init_never_fails(message in vec(any::<u8>(), 0..500), good_magic: bool, good_len: bool, tep in tep()) {
        let mut message = message;
        for (which, magic) in [(Message::Init1, [0x15, 0x10, 0x1a, 0x0e]), (Message::Init2, [9, 0x71, 5, 0xe0])] {
            if good_magic && message.len() >= 8 {
                message[..4].copy_from_slice(&magic);
                if good_len {
                    let len = u32::try_from(message.len()).unwrap();
                    message[4..8].copy_from_slice(&len.to_be_bytes());
                }
            }
            let len = which.len(&message);
            if let Ok(Some(len)) = len {
                prop_assert!((8..=431).contains(&len));
            }
            let read = Init1::parse(&message, tep.curve()).is_ok()
                || Init2::parse(&message, tep.curve()).is_ok();
            if read {
                prop_assert_eq!(len, Ok(Some(message.len())));
            }
        }
    }

    #[test]
    fn init_messages(
        (tep, public) in tep().prop_flat_map(|tep| (Just(tep), point(tep.curve()))),
        ciphers in vec(any::<u8>(), 0..=255),
        cipher: u8,
        nonce: [u8; 32],
        at: prop::sample::Index,
        bit in 0..8u32,
    ) {
        let init1 = Init1 { ciphers: &ciphers, nonce: &nonce, public: &public };
        let mut message = Vec::new();
        init1.build(&mut message);
        prop_assert_eq!(Init1::parse(&message, tep.curve()), Ok(init1));
        prop_assert_eq!(Init2::parse(&message, tep.curve()), Err(InitError::Magic));
        prop_assert_eq!(Message::Init1.len(&message), Ok(Some(message.len())));
        let cut = at.index(message.len());
        prop_assert_eq!(Init1::parse(&message[..cut], tep.curve()), Err(InitError::Length));
        // No octet is without meaning: one other bit is another message or none.
        let at = at.index(message.len());
        let mut changed = message.clone();
        changed[at] ^= 1 << bit;
        prop_assert_ne!(Init1::parse(&changed, tep.curve()), Ok(init1));

        let init2 = Init2 { cipher, nonce: &nonce, public: &public };
        let mut message = Vec::new();
        init2.build(&mut message);
        prop_assert_eq!(Init2::parse(&message, tep.curve()), Ok(init2));
        prop_assert_eq!(Init1::parse(&message, tep.curve()), Err(InitError::Magic));
    }

    #[test]
    fn records_never_fail(octets in vec(any::<u8>(), 0..200), whole: bool, offset: u64, start: u32) {
        let mut octets = octets;
        if whole && octets.len() >= 20 {
            let [high, low] = u16::try_from(octets.len() - 3).unwrap().to_be_bytes();
            octets[..3].copy_from_slice(&[0, high, low]);
            prop_assert_eq!(record::len(&octets), Ok(Some(octets.len())));
        }
        let (_, mut opener) = ends(Algorithm::Aes128Gcm, start);
        let mut out = vec![1, 2, 3];
        let opened = opener.open(offset, &octets, &mut out);
        prop_assert!(matches!(opened, Err(RecordError::Mac | RecordError::Malformed)));
        prop_assert_eq!(out, [1, 2, 3]);
    }

    #[test]
    fn records(
        algorithm in algorithm(),
        start: u32,
        subtracted: bool,
        list in vec((flags(), vec(any::<u8>(), 0..300), 0..u64::from(u32::MAX)), 1..6),
        cut: prop::sample::Index,
    ) {
        let (mut sealer, mut opener) = ends(algorithm, start);
        if subtracted {
            sealer.set_form(OffsetForm::Subtracted);
        }
        let mut offset = 0;
        for (flags, data, gap) in list {
            let mut wire = Vec::new();
            let sealed = sealer.seal(offset, flags, &data, &mut wire);
            if subtracted && offset >= 1 << 32 {
                prop_assert_eq!(sealed, Err(RecordError::UsedUp));
                break;
            }
            prop_assert_eq!(sealed, Ok(()));
            prop_assert_eq!(wire.len(), data.len() + flags.overhead());
            let short = cut.index(wire.len());
            match record::len(&wire[..short]) {
                Ok(len) => prop_assert_eq!(len, (short >= 3).then_some(wire.len())),
                Err(error) => prop_assert!(false, "{}", error),
            }
            let mut out = vec![9];
            prop_assert_eq!(opener.open(offset, &wire, &mut out), Ok(flags));
            prop_assert_eq!(&out[1..], &data[..]);
            prop_assert_eq!(sealer.seal(offset, flags, &data, &mut out), Err(RecordError::Reused));
            offset += wire.len() as u64 + gap;
        }
    }
}
