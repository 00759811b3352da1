//! Blobs and exported keys of the recorded reference, octet for octet.
mod support;

use support::{Fixed, file, json, octets};
use xkek::blob::{self, Attributes, Blob};
use xkek::curve::Curve;
use xkek::kek::Kek;
use xkek::key::{AesKey, EcPrivate, Key, RsaPrivate};
use xkek::rng::System;

fn dkek() -> Kek {
    let values = json("blobs/values.json");
    Kek::from_bytes(octets(&values["kek"])[..].try_into().unwrap())
}

/// What of a key is secret, without leading zeros.
fn secret(key: &Key) -> Vec<u8> {
    match key {
        Key::Rsa(key) => key.exponent().unwrap().as_slice().to_vec(),
        Key::Ec(key) => key.scalar().unwrap().as_slice().to_vec(),
        Key::Aes(key) => key.as_slice().to_vec(),
    }
}

#[test]
fn opened_and_made_again() {
    let values = json("blobs/values.json");
    for (name, case) in values["cases"].as_object().unwrap() {
        let encoded = file(&format!("blobs/{name}.blob"));
        let opened = Blob::parse(&encoded)
            .unwrap()
            .open(&dkek(), &mut System)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(secret(&opened.key), octets(&case["secret"]), "{name}");
        assert_eq!(opened.attributes.algorithms, octets(&case["algos"]));
        assert!(opened.nonce.ct_eq(&octets(&case["nonce"])));
        let mut rng = Fixed(octets(&case["nonce"]));
        let again = blob::seal(&dkek(), &opened.key, &opened.attributes, &mut rng).unwrap();
        assert_eq!(again, encoded, "{name}");
    }
}

/// The same from the numbers alone, so that nothing of the opened blob helps.
#[test]
fn made_from_the_numbers() {
    let values = json("blobs/values.json");
    for (name, case) in values["cases"].as_object().unwrap() {
        let number = octets(&case["secret"]);
        let ec = |curve| Key::Ec(EcPrivate::from_scalar(curve, &number).unwrap());
        let key = match name.as_str() {
            "ec-secp256k1" => ec(Curve::Secp256k1),
            "ec-brainpool" => ec(Curve::BrainpoolP256r1),
            "ec-secp256r1" | "ec-smalld" => ec(Curve::Secp256r1),
            "rsa2048" => continue,
            _ => Key::Aes(AesKey::new(&number).unwrap()),
        };
        let attributes = Attributes {
            algorithms: octets(&case["algos"]),
            ..Attributes::default()
        };
        let mut rng = Fixed(octets(&case["nonce"]));
        let made = blob::seal(&dkek(), &key, &attributes, &mut rng).unwrap();
        assert_eq!(made, file(&format!("blobs/{name}.blob")), "{name}");
    }
}

/// What the reference exports after it has imported ours: short coefficients and numbers.
#[test]
fn the_references_own_writing_is_read() {
    let values = json("blobs/values.json");
    for (name, case) in values["cases"].as_object().unwrap() {
        if case["reference_rewrap"] != "9000" {
            continue;
        }
        let encoded = file(&format!("blobs/{name}.rewrapped-by-reference.blob"));
        let opened = Blob::parse(&encoded)
            .unwrap()
            .open(&dkek(), &mut System)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(secret(&opened.key), octets(&case["secret"]), "{name}");
    }
}

#[test]
fn the_two_keys_of_a_dkek() {
    let values = json("dkek/dkek.json");
    let shares = ["s1.pbe", "s2.pbe"].map(|name| octets(&values[name]["share"]));
    let mut kek = Kek::zero();
    for share in &shares {
        kek.add(&Kek::from_bytes(share[..].try_into().unwrap()));
    }
    assert_eq!(kek.as_slice(), octets(&values["dkek"]));
    assert_eq!(kek.kcv().0[..], octets(&values["kcv"]));
    assert_eq!(kek.kcv().to_string(), "78EFA959628F14F6");
    assert!(kek.encryption_key().ct_eq(&octets(&values["kenc"])));
    assert!(kek.mac_key().ct_eq(&octets(&values["kmac"])));
}

#[test]
fn the_key_moved_under_a_kek() {
    let values = json("xkek/values.json");
    let kek = Kek::from_bytes(octets(&values["kek"])[..].try_into().unwrap());
    assert_eq!(kek.kcv().0[..], octets(&values["kcv"]));
    assert!(kek.encryption_key().ct_eq(&octets(&values["kenc"])));
    let opened = Blob::parse(&file("xkek/moved.blob"))
        .unwrap()
        .open(&kek, &mut System)
        .unwrap();
    assert_eq!(secret(&opened.key), octets(&values["moved_key_d"]));
    assert_eq!(
        Blob::parse(&file("xkek/moved.blob"))
            .unwrap()
            .open(&dkek(), &mut System)
            .unwrap_err()
            .to_string(),
        "wrapped key does not match: its key check value is 2D6678BFE92769A0, not 78EFA959628F14F6"
    );
}

#[test]
fn any_change_is_noticed() {
    let kek = dkek();
    for name in ["aes128", "ec-smalld"] {
        let encoded = file(&format!("blobs/{name}.blob"));
        for at in 0..encoded.len() {
            let mut changed = encoded.clone();
            changed[at] ^= 1;
            let opened = Blob::parse(&changed).and_then(|blob| blob.open(&kek, &mut System));
            assert!(opened.is_err(), "{name}: octet {at}");
            let cut = Blob::parse(&encoded[..at]).and_then(|blob| blob.open(&kek, &mut System));
            assert!(cut.is_err(), "{name}: {at} octets");
        }
        let mut longer = encoded.clone();
        longer.extend_from_slice(&[0; 16]);
        let opened = Blob::parse(&longer).unwrap().open(&kek, &mut System);
        assert_eq!(opened.err(), Some(blob::Error::Mac));
    }
}

#[test]
fn an_rsa_key_by_its_primes() {
    let made = RsaPrivate::generate(1024).unwrap();
    let inner = made.inner();
    let (p, q) = (inner.p().unwrap().to_vec(), inner.q().unwrap().to_vec());
    let again = RsaPrivate::from_primes(&q, &p, &[1, 0, 1]).unwrap();
    assert_eq!(again.public(), made.public());
    let n = made.public().modulus();
    let d = made.exponent().unwrap();
    RsaPrivate::from_exponents(n, &[1, 0, 1], d.as_slice(), &mut System).unwrap();
    let mut wrong = d.as_slice().to_vec();
    wrong[100] ^= 1;
    assert!(RsaPrivate::from_exponents(n, &[1, 0, 1], &wrong, &mut System).is_err());
}

/// A blob of kind 6, sealed by hand: no recording has one (xkek spec 7).
fn crt_blob(key: &RsaPrivate, change: impl FnOnce(&mut [Vec<u8>])) -> Vec<u8> {
    use xkek::crypto::{aes_cmac, aes256_cbc_encrypt};
    let rsa = key.inner();
    let some = |number: Option<&openssl::bn::BigNumRef>| number.unwrap().to_vec();
    // The one program that writes such blobs has other values in the first two places.
    let mut fields = vec![
        vec![1, 2, 3],
        vec![],
        some(rsa.p()),
        some(rsa.iqmp()),
        some(rsa.q()),
        rsa.n().to_vec(),
        rsa.e().to_vec(),
    ];
    change(&mut fields);
    let mut plain = vec![7; 8];
    plain.extend_from_slice(&1024u16.to_be_bytes());
    for field in &fields {
        plain.extend_from_slice(&u16::try_from(field.len()).unwrap().to_be_bytes());
        plain.extend_from_slice(field);
    }
    plain.push(0x80);
    plain.resize(plain.len().next_multiple_of(16), 0);
    let mut blob = dkek().kcv().0.to_vec();
    blob.extend_from_slice(&[6, 0, 10, 4, 0, 0x7f, 0, 7, 2, 2, 2, 1, 2]);
    blob.extend_from_slice(&[0, 1, 0x92, 0, 0, 0, 0]);
    let key = dkek().encryption_key();
    let sealed = aes256_cbc_encrypt(key.as_slice(), &[0; 16], &plain).unwrap();
    blob.extend_from_slice(sealed.as_slice());
    let mac = aes_cmac(dkek().mac_key().as_slice(), &blob).unwrap();
    blob.extend_from_slice(&mac);
    blob
}

#[test]
fn rsa_keys_with_primes_are_made_again_from_them() {
    let key = RsaPrivate::generate(1024).unwrap();
    let open = |blob: &[u8]| Blob::parse(blob).unwrap().open(&dkek(), &mut System);
    let blob = crt_blob(&key, |_| {});
    assert_eq!(Blob::parse(&blob).unwrap().kind, blob::Kind::RsaCrt);
    let opened = open(&blob).unwrap();
    assert_eq!(opened.attributes.algorithms, [0x92]);
    let again = Key::Rsa(
        RsaPrivate::from_primes(
            &key.inner().p().unwrap().to_vec(),
            &key.inner().q().unwrap().to_vec(),
            &key.inner().e().to_vec(),
        )
        .unwrap(),
    );
    assert_eq!(secret(&opened.key), secret(&again));
    assert_eq!(opened.key.public(), again.public());
    let exchanged = open(&crt_blob(&key, |fields| fields.swap(2, 4))).unwrap();
    assert_eq!(
        secret(&exchanged.key),
        secret(&again),
        "whichever comes first"
    );
    // Another modulus, a prime that is none, and an exponent without inverse.
    let other = RsaPrivate::generate(1024).unwrap();
    let modulus = crt_blob(&key, |fields| fields[5] = other.public().modulus().to_vec());
    assert!(matches!(open(&modulus), Err(blob::Error::Key(_))));
    let composite = crt_blob(&key, |fields| {
        *fields[2].last_mut().unwrap() ^= 2;
        fields[5] = vec![0xff; 128];
    });
    assert!(matches!(open(&composite), Err(blob::Error::Key(_))));
    let even = crt_blob(&key, |fields| fields[6] = vec![4]);
    assert!(matches!(open(&even), Err(blob::Error::Key(_))));
}
