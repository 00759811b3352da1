//! What is made is read again, for every kind of key and every number of shares.

use proptest::prelude::*;
use xkek::blob::{self, Attributes, Blob};
use xkek::curve::Curve;
use xkek::dkek::{ShareFile, no_progress};
use xkek::kek::Kek;
use xkek::key::{AesKey, EcPrivate, Key, RsaPrivate};
use xkek::rng::System;
use xkek::rotation;
use xkek::shamir::{self, Share, combine, split};

fn round_trip(key: &Key, algorithms: &[u8]) {
    let kek = Kek::generate(&mut System).unwrap();
    let attributes = Attributes {
        algorithms: algorithms.to_vec(),
        access_conditions: vec![1, 2],
        key_oid: vec![3],
    };
    let sealed = blob::seal(&kek, key, &attributes, &mut System).unwrap();
    let opened = Blob::parse(&sealed)
        .unwrap()
        .open(&kek, &mut System)
        .unwrap();
    assert_eq!(opened.attributes, attributes);
    match (key, &opened.key) {
        (Key::Aes(before), Key::Aes(after)) => assert_eq!(before.as_slice(), after.as_slice()),
        (Key::Ec(before), Key::Ec(after)) => {
            assert!(
                before
                    .scalar()
                    .unwrap()
                    .ct_eq(after.scalar().unwrap().as_slice())
            );
        }
        (Key::Rsa(before), Key::Rsa(after)) => {
            assert_eq!(before.public(), after.public());
            assert!(
                before
                    .exponent()
                    .unwrap()
                    .ct_eq(after.exponent().unwrap().as_slice())
            );
        }
        _ => panic!("another kind of key"),
    }
    let other = Kek::generate(&mut System).unwrap();
    let refused = Blob::parse(&sealed).unwrap().open(&other, &mut System);
    assert!(matches!(refused, Err(blob::Error::Kcv { .. })));
}

#[test]
fn every_curve_every_length() {
    for curve in Curve::ALL {
        let key = EcPrivate::generate(curve, &mut System).unwrap();
        round_trip(&Key::Ec(key), &[0x73, 0x92]);
        let one = EcPrivate::from_scalar(curve, &[1]).unwrap();
        assert_eq!(one.public().point(), curve.domain().g);
        round_trip(&Key::Ec(one), &[]);
        assert!(EcPrivate::from_scalar(curve, curve.domain().n).is_err());
        assert!(EcPrivate::from_scalar(curve, &[0]).is_err());
    }
    for bits in [1024, 2048] {
        round_trip(&Key::Rsa(RsaPrivate::generate(bits).unwrap()), &[]);
    }
    assert!(RsaPrivate::generate(512).is_err());
}

/// A custodian's note, written down and typed again.
fn typed(share: &Share) -> Share {
    Share::parse(
        &share.prime_text(),
        &share.id.to_string(),
        &share.value_text(),
    )
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn keys_in_blobs(octets in proptest::collection::vec(any::<u8>(), 32), len in prop_oneof![Just(16usize), Just(24), Just(32)], algorithms in proptest::collection::vec(any::<u8>(), 0..12)) {
        round_trip(&Key::Aes(AesKey::new(&octets[..len]).unwrap()), &algorithms);
        if octets[..32].iter().any(|octet| *octet != 0) {
            if let Ok(key) = EcPrivate::from_scalar(Curve::BrainpoolP256r1, &octets) {
                round_trip(&Key::Ec(key), &algorithms);
            }
        }
    }

    #[test]
    fn any_octets_are_a_blob_or_not(octets in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = Blob::parse(&octets);
        let _ = xkek::file::File::parse(&octets);
    }

    /// Leading zero octets, IDs over 9, every threshold.
    #[test]
    fn passwords_in_parts(password in any::<[u8; 8]>(), zeros in 0usize..9, total in 3u32..=24, pick in any::<u32>(), turn in any::<u32>()) {
        let mut password = password;
        password[0] &= 0x7f;
        password[..zeros].fill(0);
        let threshold = 2 + pick % (total - 1);
        let shares = split(&password, threshold, total, &mut System).unwrap();
        prop_assert_eq!(shares.len(), total as usize);
        let mut notes: Vec<Share> = shares.iter().map(typed).collect();
        notes.rotate_left((turn % total) as usize);
        let some = &notes[..threshold as usize];
        prop_assert!(combine(some).unwrap().ct_eq(&password));
        prop_assert!(combine(&notes).unwrap().ct_eq(&password));
        // One less gives nothing but by a chance of one in 2^64.
        if threshold > 2 {
            prop_assert!(!combine(&some[1..]).unwrap().ct_eq(&password));
        }
    }
}

#[test]
fn numbers_of_shares_and_mixed_sets() {
    let password = [7; 8];
    let refused = |threshold, total| split(&password, threshold, total, &mut System).unwrap_err();
    assert_eq!(refused(2, 2), shamir::Error::Total);
    assert_eq!(refused(1, 3), shamir::Error::Threshold);
    assert_eq!(refused(4, 3), shamir::Error::Threshold);
    assert_eq!(refused(2, 256), shamir::Error::Total);
    let one = split(&password, 2, 3, &mut System).unwrap();
    let other = split(&password, 2, 3, &mut System).unwrap();
    let mixed = [typed(&one[0]), typed(&other[1])];
    assert_eq!(combine(&mixed).unwrap_err(), shamir::Error::OtherSet);
    let reused = [typed(&one[0]), typed(&one[0])];
    assert_eq!(
        combine(&reused).unwrap_err().to_string(),
        "share 1 was given twice"
    );
    assert_eq!(combine(&one[..1]).unwrap_err(), shamir::Error::TooFew);
    let even = [("10", "1", "3"), ("10", "2", "3")].map(|(p, i, v)| Share::parse(p, i, v).unwrap());
    assert_eq!(combine(&even).unwrap_err(), shamir::Error::NotPrime);
    for (prime, id, value) in [
        ("", "1", "1"),
        ("zz", "1", "1"),
        ("11", "x", "1"),
        ("11", "", "1"),
    ] {
        assert!(Share::parse(prime, id, value).is_err());
    }
    let zero = [("11", "0", "3"), ("11", "2", "3")].map(|(p, i, v)| Share::parse(p, i, v).unwrap());
    assert_eq!(combine(&zero).unwrap_err(), shamir::Error::Id);
}

/// What the reference does to IDs and leading zeros is tried after what is right.
#[test]
fn old_notes_have_several_meanings() {
    let password = [0, 0, 1, 2, 3, 4, 5, 6];
    let shares = split(&password, 2, 12, &mut System).unwrap();
    let mut misread = [typed(&shares[2]), typed(&shares[9])];
    let meanings = shamir::candidates(&misread).unwrap();
    assert!(meanings[0].ct_eq(&password));
    assert!(meanings[1].ct_eq(&password[2..]));
    assert!(meanings.len() >= 3);
    // A note made by something that counts in hexadecimal digits: 16 written as 10.
    let shares = split(&password, 2, 16, &mut System).unwrap();
    misread = [typed(&shares[2]), typed(&shares[15])];
    misread[1].id = 10;
    let meanings = shamir::candidates(&misread).unwrap();
    assert!(meanings.iter().any(|meaning| meaning.ct_eq(&password)));
    assert!(!meanings[0].ct_eq(&password));
}

#[test]
fn custodians_change() {
    let share = Kek::generate(&mut System).unwrap();
    let (file, shares) = rotation::seal(&share, 2, 3, &mut System, &mut no_progress).unwrap();
    let old: Vec<Share> = shares[1..].iter().map(typed).collect();
    let (new_file, new) =
        rotation::rotate(&file, &old, 4, 12, &mut System, &mut no_progress).unwrap();
    assert_ne!(new_file, file);
    assert_eq!(new.len(), 12);
    let last: Vec<Share> = new[8..].iter().map(typed).collect();
    let (opened, _) = rotation::open(&new_file, &last, &mut no_progress).unwrap();
    assert!(opened.ct_eq(&share));
    // Old parts do not open the new file; they open the old one for ever.
    let refused = rotation::open(&new_file, &old, &mut no_progress);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "Error decrypting DKEK share. Password correct ?"
    );
    let copy = ShareFile::parse(&file.encode()).unwrap();
    assert!(
        rotation::open(&copy, &old, &mut no_progress)
            .unwrap()
            .0
            .ct_eq(&share)
    );
}

#[test]
fn an_id_too_long_for_hexadecimal_digits_is_read_as_it_is() {
    let notes = [("5", "502450245", "3"), ("5", "3", "3")];
    let shares = notes.map(|(p, i, v)| Share::parse(p, i, v).unwrap());
    let combined = combine(&shares).unwrap();
    let meanings = shamir::candidates(&shares).unwrap();
    assert!(meanings[0].ct_eq(combined.as_slice()));
}
