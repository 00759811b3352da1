//! Files that custodians keep: exported keys, memberships, attested keys, exchange keys; their chains.
mod support;

use support::{file, json, octets};
use xkek::blob::Blob;
use xkek::chain::{self, Roots, verify_device};
use xkek::curve::Curve;
use xkek::cvc::{Certificate, Date, Request};
use xkek::exchange::{self, agree, verify_peer};
use xkek::file::{Error, File};
use xkek::kdm::{self, Membership};
use xkek::kek::{Kdf, Kek};
use xkek::key::{EcPrivate, EcPublic, Key};
use xkek::pka::{AttestedKey, Form};
use xkek::pkcs15::KeyDescription;
use xkek::rng::System;
use xkek::wky::WrappedKey;

fn certificate(name: &str) -> Certificate {
    Certificate::parse(&file(name)).unwrap()
}

fn roots() -> Roots {
    let mut roots = Roots::none();
    roots.add(certificate("xkek/root.cvc")).unwrap();
    roots
}

fn device(name: &str) -> chain::Device {
    let dica = certificate("xkek/dica.cvc");
    verify_device(&certificate(name), &dica, &roots(), None).unwrap()
}

#[test]
fn exported_keys() {
    let kek: [u8; 32] = octets(&json("dkek/dkek.json")["dkek"]).try_into().unwrap();
    let kek = Kek::from_bytes(&kek);
    let values = json("wky/values.json");
    for (name, case) in values.as_object().unwrap() {
        let content = file(&format!("wky/{name}"));
        let wrapped = WrappedKey::parse(&content).unwrap();
        assert_eq!(wrapped.encode(), content, "{name}");
        let description = wrapped.description.as_deref().unwrap();
        assert_eq!(description, octets(&case["prkd"]));
        // Usage is as OpenSC has it, so written again the description is the same but for one field.
        let read = KeyDescription::parse(description).unwrap();
        assert_eq!(
            u64::from(read.bits.unwrap()),
            case["size"].as_u64().unwrap()
        );
        let request = Request::parse(wrapped.certificate.as_deref().unwrap()).unwrap();
        let opened = Blob::parse(&wrapped.blob)
            .unwrap()
            .open(&kek, &mut System)
            .unwrap();
        assert_eq!(
            opened.key.public().unwrap(),
            request.verify_inner().unwrap()
        );
        let (Key::Ec(_) | Key::Rsa(_)) = &opened.key else {
            panic!("{name}");
        };
        if let Key::Ec(key) = &opened.key {
            assert_eq!(key.scalar().unwrap().as_slice(), octets(&case["d"]));
            assert_eq!(key.public().point(), octets(&case["Q"]));
        }
        for len in 0..content.len() {
            assert!(WrappedKey::parse(&content[..len]).is_err(), "{len}");
        }
    }
}

#[test]
fn the_one_public_membership() {
    let content = file("cvc/public-example.kdm");
    let membership = Membership::parse(&content).unwrap();
    assert_eq!(membership.encode(), content);
    let mut roots = Roots::none();
    let untrusted = membership.verify_signer(&roots, None).unwrap_err();
    assert_eq!(
        untrusted.to_string(),
        "certificate ESPICOHSMDV00002 is signed by ESPICOHSMCA00002, which is not a trusted root"
    );
    // Its root is not public; the issuer is taken as one.
    roots
        .add_anchor(membership.issuer.clone(), Some(Curve::Secp256k1))
        .unwrap();
    let (holder, signer) = membership.verify_signer(&roots, None).unwrap();
    assert_eq!(signer.as_ec().unwrap().curve(), Curve::BrainpoolP256r1);
    let member = holder.key.as_ec().unwrap();
    assert_eq!(membership.verify_member(member), Ok(kdm::Version::V1));
    let other = device("xkek/devB.cvc");
    assert_eq!(
        membership.verify_member(other.key.as_ec().unwrap()),
        Err(kdm::Error::Forged)
    );
}

#[test]
fn a_membership_whose_signer_nobody_attests() {
    let values = json("xkek/values.json");
    let content = file("xkek/A.kdm");
    let membership = Membership::parse(&content).unwrap();
    assert_eq!(membership.encode(), content);
    let own = device("xkek/devA.cvc");
    let member = own.key.as_ec().unwrap();
    assert_eq!(member.point(), octets(&values["devA_public"]));
    assert_eq!(
        kdm::Version::V1.signed(member),
        octets(&values["kdm_signed_bytes"])
    );
    membership.verify_member(member).unwrap();
    // The imitation does not look at who attests the group signer.
    assert_eq!(
        membership
            .verify_signer(&roots(), None)
            .unwrap_err()
            .to_string(),
        "wrong attestation of the request XXGROUP00001"
    );
    let mut forged = membership.clone();
    forged.signature[40] ^= 1;
    assert_eq!(forged.verify_member(member), Err(kdm::Error::Forged));
    // Of a version that is not known: kept as it is.
    forged.signature = vec![1; 100];
    forged.unknown = vec![0x55, 1, 2];
    let again = Membership::parse(&forged.encode()).unwrap();
    assert_eq!(again, forged);
    assert_eq!(again.verify_member(member), Err(kdm::Error::Forged));
    // Our own signature by the recorded key.
    let d = octets(&values["group_signer_d"]);
    let signer = Key::Ec(EcPrivate::from_scalar(Curve::BrainpoolP256r1, &d).unwrap());
    let mut ours = membership.clone();
    ours.signature = kdm::sign(&signer, member, kdm::Version::V1).unwrap();
    ours.verify_member(member).unwrap();
    for len in 0..content.len() {
        assert!(Membership::parse(&content[..len]).is_err(), "{len}");
    }
}

#[test]
fn the_recorded_exchange() {
    let values = json("xkek/values.json");
    let uid = octets(&values["uid"]);
    let request = |name| Request::parse(&file(name)).unwrap();
    let (a, b) = (request("xkek/exchangeA.req"), request("xkek/exchangeB.req"));
    let (device_a, device_b) = (device("xkek/devA.cvc"), device("xkek/devB.cvc"));
    let own_b =
        EcPrivate::from_scalar(Curve::BrainpoolP256r1, &octets(&values["exchangeB_d"])).unwrap();
    let kek = agree(&own_b, &uid, &a, &device_a, Kdf::RawX).unwrap();
    assert_eq!(kek.as_slice(), octets(&values["kek"]));
    assert_eq!(kek.kcv().0[..], octets(&values["kcv"]));

    let own = own_b.public();
    let refused = |result: Result<EcPublic, exchange::Error>| result.unwrap_err();
    assert_eq!(
        refused(verify_peer(&a, &device_a, b"other", own)),
        exchange::Error::OtherDomain
    );
    assert_eq!(
        refused(verify_peer(&b, &device_b, &uid, own)),
        exchange::Error::Own
    );
    assert!(matches!(
        refused(verify_peer(&a, &device_b, &uid, own)),
        exchange::Error::Chain(chain::Error::OtherDevice { .. })
    ));
    let elsewhere = EcPrivate::generate(Curve::Secp256r1, &mut System).unwrap();
    assert_eq!(
        refused(verify_peer(&a, &device_a, &uid, elsewhere.public())),
        exchange::Error::Curve
    );
    // Another key under the device's name.
    let impostor = chain::Device {
        key: device_b.key.clone(),
        ..device_a.clone()
    };
    assert!(
        refused(verify_peer(&a, &impostor, &uid, own))
            .to_string()
            .starts_with("wrong attestation of the request")
    );
    let signer = request("xkek/groupsigner.req");
    assert!(matches!(
        refused(verify_peer(&signer, &device_a, &uid, own)),
        exchange::Error::Chain(_)
    ));
}

#[test]
fn chains_that_do_not_hold() {
    let (dica, device_a) = (certificate("xkek/dica.cvc"), certificate("xkek/devA.cvc"));
    let production = Roots::production().unwrap();
    assert_eq!(
        verify_device(&device_a, &dica, &production, None)
            .unwrap_err()
            .to_string(),
        "certificate XXDICA00001 is signed by XXSRCA00001, which is not a trusted root"
    );
    let other = certificate("xkek/devB.cvc");
    assert!(matches!(
        verify_device(&device_a, &other, &roots(), None),
        Err(chain::Error::NotIssuer { .. })
    ));
    let day = |year| {
        Some(Date {
            year,
            month: 1,
            day: 1,
        })
    };
    for (year, valid) in [(19, false), (26, true), (99, false)] {
        let verified = verify_device(&device_a, &dica, &roots(), day(year));
        assert_eq!(verified.is_ok(), valid, "{year}");
    }
    // A root is one only if it signed itself.
    assert!(Roots::none().add(dica).is_err());
    let mut with_test = production;
    with_test.add_test().unwrap();
    let names: Vec<_> = with_test
        .certificates()
        .map(|root| root.body().chr.to_string())
        .collect();
    assert_eq!(names, ["DESRCACC100001", "UTSRCACC100001"]);
}

#[test]
fn keys_for_authentication() {
    for name in ["pka/key0.pka", "pka/key1.pka"] {
        let content = file(name);
        let (key, form) = AttestedKey::parse(&content).unwrap();
        assert_eq!(form, Form::Sequence);
        assert_eq!(key.encode(form), content);
        key.verify(&roots(), None)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let plain = key.encode(Form::Plain);
        assert_eq!(AttestedKey::parse(&plain).unwrap(), (key, Form::Plain));
        for len in 0..content.len() {
            assert!(AttestedKey::parse(&content[..len]).is_err());
        }
    }
}

#[test]
fn every_file_tells_what_it_is() {
    for (name, kind) in [
        ("dkek/s1.pbe", "DKEK share"),
        ("wky/rsa2048.wky", "wrapped key"),
        ("wky/ec-secp256r1.wky", "wrapped key"),
        ("blobs/aes128.blob", "key blob"),
        ("xkek/moved.blob", "key blob"),
        ("xkek/A.kdm", "key domain membership"),
        ("cvc/public-example.kdm", "key domain membership"),
        ("pka/key0.pka", "public key for authentication"),
        ("xkek/exchangeA.req", "certificate request"),
        (
            "cvc/srca-DESRCACC100001.cvc",
            "card verifiable certificates",
        ),
    ] {
        let content = file(name);
        assert_eq!(File::parse(&content).unwrap().kind(), kind, "{name}");
        for len in 0..content.len() {
            // A blob's last blocks can be missing without anything that tells before it is opened.
            match File::parse(&content[..len]) {
                Err(_) | Ok(File::Blob(_)) => {}
                Ok(other) => panic!("{name}: {len} octets are a {}", other.kind()),
            }
        }
    }
    let exchange = [
        file("xkek/exchangeA.req"),
        file("xkek/devA.cvc"),
        file("xkek/dica.cvc"),
    ]
    .concat();
    assert_eq!(File::parse(&exchange).unwrap().kind(), "exchange key");
    assert_eq!(File::parse(b""), Err(Error::Unknown));
    assert_eq!(File::parse(&vec![0x30; 70_000]), Err(Error::Unknown));
}
