//! Under which conditions the device does what it is told, and that it changes nothing otherwise.

use super::{Card, PIN, SO_PIN};
use crate::apdu::Command;
use crate::cvc::{GenerationRequest, KeyAttributes, KeySpec, Reference, Request};
use crate::key::PublicKey;
use proptest::prelude::*;

/// A request for a key pair.
pub(super) fn generation(key: KeySpec, attributes: KeyAttributes) -> Vec<u8> {
    let name = Reference::new(b"UTKEY00001").unwrap();
    GenerationRequest {
        car: name.clone(),
        chr: name,
        key,
        outer_car: None,
        attributes,
    }
    .encode()
}

#[test]
fn rsa_keys_have_the_exponent_that_was_asked_for() {
    let mut card = Card::ready(0, &[]);
    card.login();
    let rsa = |exponent: Option<&[u8]>| {
        let exponent = exponent.map(<[u8]>::to_vec);
        let key = KeySpec::Rsa {
            bits: 1024,
            exponent,
        };
        generation(key, KeyAttributes::default())
    };
    let good: [(Option<&[u8]>, &[u8]); 5] = [
        (None, &[1, 0, 1]),
        (Some(&[0, 1, 0, 1]), &[1, 0, 1]),
        (Some(&[3]), &[3]),
        (Some(&[35]), &[35]),
        (Some(&[0xff, 0xff, 0xff, 0xff]), &[0xff, 0xff, 0xff, 0xff]),
    ];
    for (id, (asked, made)) in (1..).zip(good) {
        let (answer, word) = card.send(0, 0x46, id, 0, &rsa(asked));
        assert_eq!(word, 0x9000, "{asked:?}");
        // Signed with the private key: the two fit.
        let key = Request::parse(&answer).unwrap().verify_inner().unwrap();
        let PublicKey::Rsa(key) = key else {
            panic!("an RSA key");
        };
        assert_eq!(key.exponent(), made);
    }
    for (exponent, word) in [
        (&[][..], 0x6A80),
        (&[1], 0x6A80),
        (&[1, 0, 0], 0x6A80),
        (&[1, 0, 0, 0, 1], 0x6A81),
    ] {
        assert_eq!(card.word(0, 0x46, 9, 0, &rsa(Some(exponent))), word);
    }
    let (list, _) = card.send(0x80, 0x58, 0, 0, &[]);
    assert!(!list.chunks(2).any(|file| file == [0xCC, 9]));
}

#[test]
fn who_wants_no_answer_gets_the_word() {
    let mut card = Card::ready(0, &[]);
    card.login();
    let curve = KeySpec::Ec(crate::curve::Curve::Secp256r1);
    let pair = generation(curve, KeyAttributes::default());
    assert!(pair.len() < 256, "it goes in a short command");
    let command = Command::new(0, 0x46, 1, 0).with_data(&pair);
    let (answer, word) = card.raw(&command.encode().unwrap());
    assert_eq!((answer.as_slice(), word), (&[][..], 0x9000));
    assert_eq!(card.raw(&[0, 0xC0, 0, 0, 0]).1, 0x6985, "nothing waits");
    let (request, _) = card.send(0, 0xB1, 0xCE, 1, &[0x54, 2, 0, 0]);
    assert!(Request::parse(&request).unwrap().verify_inner().is_ok());
    // What fits is given.
    let (list, word) = card.raw(&[0x80, 0x58, 0, 0]);
    assert_eq!((list.len(), word), (8, 0x9000));
}

/// A key of each kind, by its number.
fn wrapped_and_back(kind: u8, domain: u8, list: &[u8]) {
    let mut card = Card::ready(0, &[0x97, 1, 4]);
    card.login();
    for slot in 0..4 {
        assert_eq!(card.word(0x80, 0x52, 1, slot, &[1]), 0x9000);
        assert_eq!(card.word(0x80, 0x52, 0, slot, &[slot + 1; 32]), 0x9000);
    }
    let attributes = KeyAttributes {
        algorithms: list.to_vec(),
        domain: Some(domain),
        ..KeyAttributes::default()
    };
    let made = match kind {
        0 => card.word(0, 0x48, 1, 0xB1, &attributes.encode()),
        _ => {
            let key = match kind {
                1 => KeySpec::Rsa {
                    bits: 1024,
                    exponent: None,
                },
                _ => KeySpec::Ec(crate::curve::Curve::ALL[usize::from(kind) - 2]),
            };
            card.word(0, 0x46, 1, 0, &generation(key, attributes.clone()))
        }
    };
    assert_eq!(made, 0x9000);
    let public = |card: &mut Card, id| {
        let (request, _) = card.send(0, 0xB1, 0xCE, id, &[0x54, 2, 0, 0]);
        Request::parse(&request).map(|request| request.verify_inner().unwrap())
    };
    let before = public(&mut card, 1);
    let (blob, word) = card.send(0x80, 0x72, 1, 0x92, &[]);
    assert_eq!(word, 0x9000);
    assert_eq!(card.word(0x80, 0x74, 2, 0x93, &blob), 0x9000);
    let key = &card.device.state.keys[&2];
    assert_eq!(key.attributes, attributes);
    if kind > 0 {
        assert_eq!(public(&mut card, 2).unwrap(), before.unwrap());
    }
    // Without the KEK of its domain it is of use to nobody.
    assert_eq!(card.word(0x80, 0x52, 4, domain, &[]), 0x9000);
    assert_eq!(card.word(0x80, 0x74, 3, 0x93, &blob), 0x6A80);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn keys_of_all_kinds_and_domains_are_wrapped_and_back(
        kind in 0..u8::try_from(crate::curve::Curve::ALL.len()).unwrap() + 2,
        domain in 0..4u8,
        mut list in proptest::collection::vec(any::<u8>(), 0..6),
    ) {
        // Agreement on a KEK is for the keys of groups; wrapping must be allowed.
        list.retain(|algorithm| *algorithm != 0x84);
        list.extend((!list.is_empty()).then_some(0x92));
        wrapped_and_back(kind, domain, &list);
    }
}

#[test]
fn nothing_without_the_pin() {
    let mut card = Card::ready(1, &[0x92, 1, 0]);
    card.login();
    assert_eq!(card.word(0, 0x48, 1, 0xB2, &[]), 0x9000);
    let curve = KeySpec::Ec(crate::curve::Curve::Secp256r1);
    let pair = generation(curve, KeyAttributes::default());
    assert_eq!(card.word(0, 0x46, 2, 0, &pair), 0x9000);
    let (blob, word) = card.send(0x80, 0x72, 2, 0x92, &[]);
    assert_eq!(word, 0x9000);
    let write = [0x54, 2, 0, 0, 0x53, 1, 7];
    assert_eq!(card.word(0, 0xD7, 0xCD, 1, &write), 0x9000);
    card.device.poll_save().unwrap();
    card.select();
    let digest = [7; 32];
    let block = [0; 16];
    let commands: [(u8, u8, u8, u8, &[u8]); 14] = [
        (0, 0x46, 3, 0, &pair),
        (0, 0x48, 3, 0xB2, &[]),
        (0x80, 0x68, 2, 0x70, &digest),
        (0x80, 0x62, 2, 0x80, &digest),
        (0x80, 0x62, 2, 0x84, &digest),
        (0x80, 0x78, 1, 0x10, &block),
        (0x80, 0x76, 2, 3, &[0x98, 1]),
        (0x80, 0x72, 2, 0x92, &[]),
        (0x80, 0x74, 3, 0x93, &blob),
        (0, 0xE4, 2, 0, &[0xCC, 1]),
        (0, 0xE4, 2, 0, &[0xCE, 2]),
        (0, 0xD7, 0xCD, 1, &write),
        (0, 0xB1, 0xCD, 1, &[0x54, 2, 0, 0]),
        (0, 0xD7, 0x2F, 0x02, &write),
    ];
    for (cla, ins, p1, p2, data) in commands {
        let word = card.word(cla, ins, p1, p2, data);
        assert_eq!(word, 0x6982, "{ins:02X} {p1:02X} {p2:02X}");
    }
    for operation in [1, 2, 3, 4] {
        let word = card.word(0x80, 0x52, operation, 0, &[1]);
        assert_eq!(word, 0x6985, "key domain, {operation}");
    }
    assert!(card.device.poll_save().is_none(), "nothing was changed");
    // A PIN that is wrong ends what the right one allowed.
    card.login();
    assert_eq!(card.word(0, 0x20, 0, 0x81, b"000000"), 0x63C2);
    assert_eq!(card.word(0x80, 0x72, 2, 0x92, &[]), 0x6982);
    // And so does a new one by the SO-PIN: it is somebody else's now.
    card.login();
    let reset = [SO_PIN, b"111111"].concat();
    assert_eq!(card.word(0, 0x2C, 0, 0x81, &reset), 0x9000);
    assert_eq!(card.word(0x80, 0x72, 2, 0x92, &[]), 0x6982);
}

#[test]
fn the_so_pin_opens_only_while_it_was_right() {
    let mut card = Card::ready(1, &[]);
    let new = b"111111";
    assert_eq!(card.word(0, 0x2C, 2, 0x81, new), 0x6982, "not verified");
    assert_eq!(card.word(0, 0x20, 0, 0x88, SO_PIN), 0x9000);
    assert_eq!(card.word(0, 0x20, 0, 0x88, b"00000000"), 0x63CE);
    assert_eq!(card.word(0, 0x2C, 2, 0x81, new), 0x6982, "wrong meanwhile");
    assert_eq!(card.word(0, 0x20, 0, 0x81, PIN), 0x9000, "as it was");
    assert_eq!(card.word(0, 0x20, 0, 0x88, SO_PIN), 0x9000);
    assert_eq!(card.word(0, 0x2C, 2, 0x81, new), 0x9000);
    assert_eq!(card.word(0, 0x20, 0, 0x81, new), 0x9000);
}

#[test]
fn a_counted_key_is_used_so_often_and_never_wrapped() {
    let mut card = Card::ready(0, &[0x92, 1, 0]);
    card.login();
    let counted = [0x90, 4, 0, 0, 0, 2];
    assert_eq!(card.word(0, 0x48, 1, 0xB0, &counted), 0x9000);
    assert_eq!(card.word(0x80, 0x72, 1, 0x92, &[]), 0x6985);
    for _ in 0..2 {
        assert_eq!(card.word(0x80, 0x78, 1, 0x10, &[0; 16]), 0x9000);
    }
    assert_eq!(card.word(0x80, 0x78, 1, 0x10, &[0; 16]), 0x6984);
    // What a list does not name is refused; so is another key's place, and the device's own.
    assert_eq!(card.word(0, 0x48, 2, 0xB0, &[0x91, 1, 0x18]), 0x9000);
    assert_eq!(card.word(0x80, 0x78, 2, 0x10, &[0; 16]), 0x6985);
    assert_eq!(card.word(0x80, 0x72, 2, 0x92, &[]), 0x6985);
    for place in [0, 1] {
        assert_eq!(card.word(0, 0x48, place, 0xB0, &[]), 0x6A89);
    }
    assert_eq!(card.word(0, 0x48, 3, 0xB0, &[]), 0x9000);
    let (blob, _) = card.send(0x80, 0x72, 3, 0x92, &[]);
    assert_eq!(card.word(0x80, 0x74, 0, 0x93, &blob), 0x6985);
    assert_eq!(card.word(0, 0xE4, 2, 0, &[0xCC, 0]), 0x6982);
}

#[test]
fn key_domains_keep_what_they_have() {
    let mut card = Card::ready(0, &[0x97, 1, 2]);
    card.login();
    let curve = KeySpec::Ec(crate::curve::Curve::Secp256r1);
    let in_domain = |domain| KeyAttributes {
        domain: Some(domain),
        ..KeyAttributes::default()
    };
    let pair = generation(curve.clone(), in_domain(1));
    assert_eq!(card.word(0, 0x46, 1, 0, &pair), 0x6A80, "an empty slot");
    let pair = generation(curve.clone(), in_domain(2));
    assert_eq!(card.word(0, 0x46, 1, 0, &pair), 0x6A80, "no slot");
    // An exchange key outside of a group.
    let exchange = KeyAttributes {
        algorithms: vec![0x84],
        ..in_domain(1)
    };
    assert_eq!(card.word(0x80, 0x52, 1, 1, &[2]), 0x9000);
    let pair = generation(curve.clone(), exchange);
    assert_eq!(card.word(0, 0x46, 1, 0, &pair), 0x6A80);
    assert_eq!(card.word(0x80, 0x52, 1, 1, &[1]), 0x6985, "not empty");
    assert_eq!(card.word(0x80, 0x52, 0, 1, &[1; 31]), 0x6700);
    let first = card.send(0x80, 0x52, 0, 1, &[1; 32]);
    assert_eq!((first.0.get(..2), first.1), (Some(&[2, 1][..]), 0x9000));
    let (status, _) = card.send(0x80, 0x52, 0, 1, &[2; 32]);
    assert_eq!(status.get(..2), Some(&[2, 0][..]));
    // One share too many changes nothing.
    card.device.poll_save();
    assert_eq!(card.word(0x80, 0x52, 0, 1, &[3; 32]), 0x6986);
    assert_eq!(card.send(0x80, 0x52, 0, 1, &[]), (status, 0x9000));
    let pair = generation(curve, in_domain(1));
    assert!(card.device.poll_save().is_none());
    assert_eq!(card.word(0, 0x46, 1, 0, &pair), 0x9000);
    assert_eq!(card.word(0x80, 0x52, 3, 1, &[]), 0x6A89, "a key is in it");
    assert_eq!(card.word(0x80, 0x52, 4, 1, &[]), 0x9000);
    assert_eq!(card.word(0x80, 0x72, 1, 0x92, &[]), 0x6A88, "no KEK");
    assert_eq!(card.word(0, 0xE4, 2, 0, &[0xCC, 1]), 0x9000);
    assert_eq!(card.word(0x80, 0x52, 3, 1, &[]), 0x9000);
    assert_eq!(card.word(0x80, 0x52, 0, 1, &[]), 0x6A88);
}
