//! Whom the device believes (xkek spec 8 and 11): everything here is signed by somebody, only not by who should.

use super::super::{Authority, Config, DeviceCurve, State, SystemRandom};
use super::conditions::generation;
use super::{Card, PIN, officer};
use crate::curve::Curve;
use crate::cvc::{
    Body, Certificate, Extension, KeyAttributes, KeySpec, OID_DEVICE_ROLE, Reference, Request,
};
use crate::kdm::Version;
use crate::key::{EcPrivate, Key, PublicKey};
use crate::tlv;

/// A device whose key is at hand.
struct Peer {
    name: Reference,
    key: Key,
    certificate: Certificate,
}

fn peer(authority: &mut Authority) -> Peer {
    let state = State::personalise(authority, DeviceCurve::Secp256r1, &mut SystemRandom).unwrap();
    let (device, _) = tlv::read(&state.identity.certificates).unwrap();
    Peer {
        name: state.identity.chr.clone(),
        certificate: Certificate::parse(device.encoded).unwrap(),
        key: state.identity.key,
    }
}

fn pair(curve: Curve) -> Key {
    Key::Ec(EcPrivate::generate(curve, &mut SystemRandom).unwrap())
}

fn body(key: &Key, uid: Option<&[u8]>) -> Body {
    let name = Reference::new(b"UTEXCHANGE00001").unwrap();
    let mut body = Body::request(name.clone(), name, &key.public().unwrap());
    body.extensions = uid.map(Extension::key_domain).into_iter().collect();
    body
}

fn select_key(name: &Reference) -> Vec<u8> {
    tlv::encode(0x83, name.as_bytes())
}

impl Card {
    /// Shows a certificate; the word of MANAGE SE or of PSO VERIFY CERTIFICATE.
    fn show(&mut self, certificate: &Certificate) -> u16 {
        let signer = select_key(&certificate.body().car);
        match self.word(0, 0x22, 0x81, 0xB6, &signer) {
            0x9000 => self.word(0, 0x2A, 0, 0xBE, certificate.content()),
            word => word,
        }
    }
}

/// A logged-in member with an exchange key in domain 0; the group's identifier; a peer that is known.
fn member(config: Config) -> (Card, Vec<u8>, Peer) {
    let mut card = Card::with(config);
    let more = [&tlv::encode(0x81, PIN)[..], &[0x97, 1, 2]].concat();
    assert_eq!(card.initialise(0x0008, &more), 0x9000);
    card.login();
    let peer = peer(&mut card.authority);
    assert_eq!(card.show(&peer.certificate), 0x9000);
    let signer = pair(Curve::BrainpoolP256r1);
    let request = Request::make(body(&signer, None), &signer, peer.name.clone(), &peer.key);
    let own = card.device.state.identity.key.public().unwrap();
    let own = own.as_ec().unwrap();
    let word = signer.sign_sha256(&Version::V1.signed(own)).unwrap();
    let data = [request.unwrap().content(), &tlv::encode(0x54, &word)].concat();
    let (status, word) = card.send(0x80, 0x52, 2, 0, &data);
    assert_eq!(word, 0x9000);
    let exchange = KeyAttributes {
        algorithms: vec![0x84],
        domain: Some(0),
        ..KeyAttributes::default()
    };
    let exchange = generation(KeySpec::Ec(Curve::BrainpoolP256r1), exchange);
    assert_eq!(card.word(0, 0x46, 1, 0, &exchange), 0x9000);
    card.device.poll_save();
    (card, status[10..].to_vec(), peer)
}

#[test]
fn an_exchange_key_is_taken_with_all_its_signatures_only() {
    let (mut card, uid, peer) = member(Config::default());
    let second = self::peer(&mut card.authority);
    assert_eq!(card.show(&second.certificate), 0x9000);
    let key = pair(Curve::BrainpoolP256r1);
    let other = pair(Curve::BrainpoolP256r1);
    let wide = pair(Curve::Secp256r1);
    let good = body(&key, Some(&uid));
    let device = || peer.name.clone();
    let issuer = card.authority.issuer_chr.clone();
    let cases = [
        ("signed by another key than its own", {
            Request::make(good.clone(), &other, device(), &peer.key)
        }),
        ("attested by the issuer of devices", {
            Request::make(good.clone(), &key, issuer, &card.authority.issuer)
        }),
        ("attested by another device than it names", {
            Request::make(good.clone(), &key, device(), &second.key)
        }),
        ("attested by itself", {
            Request::make(good.clone(), &key, device(), &key)
        }),
        ("on another curve", {
            Request::make(body(&wide, Some(&uid)), &wide, device(), &peer.key)
        }),
    ];
    for (why, request) in cases {
        let word = card.word(0x80, 0x62, 1, 0x84, request.unwrap().content());
        assert_eq!(word, 0x6985, "{why}");
    }
    let none = Request::make(body(&key, None), &key, device(), &peer.key).unwrap();
    assert_eq!(card.word(0x80, 0x62, 1, 0x84, none.content()), 0x6A80);
    let strange = Request::make(body(&key, Some(&[1; 64])), &key, device(), &peer.key).unwrap();
    assert_eq!(card.word(0x80, 0x62, 1, 0x84, strange.content()), 0x6A88);
    // Its own, properly attested.
    let (own, _) = card.send(0, 0xB1, 0xCE, 1, &[0x54, 2, 0, 0]);
    assert_eq!(card.word(0x80, 0x62, 1, 0x84, &own), 0x6985, "our own");
    assert!(card.device.poll_save().is_none(), "nothing was changed");

    let good = Request::make(good, &key, device(), &peer.key).unwrap();
    assert_eq!(card.word(0x80, 0x62, 1, 0x84, good.content()), 0x9000);
    let (with, _) = card.send(0x80, 0x52, 0, 0, &[]);
    assert_ne!(with[2..10], [0; 8]);
    assert_eq!(card.word(0x80, 0x52, 4, 0, &[]), 0x9000);
    let (without, _) = card.send(0x80, 0x52, 0, 0, &[]);
    assert_eq!(without[2..10], [0; 8], "the KEK is gone");
    // What was learnt ends with the session.
    card.select();
    card.login();
    assert_eq!(card.word(0x80, 0x62, 1, 0x84, good.content()), 0x6985);
}

#[test]
fn a_membership_is_the_signers_word_for_this_device() {
    let (mut card, _, peer) = member(Config::default());
    let signer = pair(Curve::BrainpoolP256r1);
    let other = pair(Curve::BrainpoolP256r1);
    let own = card.device.state.identity.key.public().unwrap();
    let own = Version::V1.signed(own.as_ec().unwrap());
    let peers = peer.key.public().unwrap();
    let peers = Version::V1.signed(peers.as_ec().unwrap());
    let attested = |signed: &Key, by: &Key| {
        Request::make(body(&signer, None), signed, peer.name.clone(), by).unwrap()
    };
    let good = attested(&signer, &peer.key);
    for (why, request, signature) in [
        ("another signer", &good, other.sign_sha256(&own)),
        ("another device", &good, signer.sign_sha256(&peers)),
        (
            "a request by another key",
            &attested(&other, &peer.key),
            signer.sign_sha256(&own),
        ),
        (
            "a request nobody attests",
            &attested(&signer, &signer),
            signer.sign_sha256(&own),
        ),
    ] {
        let signature = tlv::encode(0x54, &signature.unwrap());
        let data = [request.content(), &signature].concat();
        assert_eq!(card.word(0x80, 0x52, 2, 1, &data), 0x6985, "{why}");
    }
    let signature = tlv::encode(0x54, &signer.sign_sha256(&own).unwrap());
    let behind = [good.content(), &signature, &[0x55, 0]].concat();
    assert_eq!(card.word(0x80, 0x52, 2, 1, &behind), 0x6A80);
    assert!(card.device.poll_save().is_none(), "nothing was changed");
    let data = [good.content(), &signature].concat();
    assert_eq!(card.word(0x80, 0x52, 2, 1, &data), 0x9000);
}

#[test]
fn certificates_are_learnt_from_who_may_sign_them() {
    let rng = &mut SystemRandom;
    let mut friend = Authority::create(DeviceCurve::Secp256r1, rng).unwrap();
    // A root that another key signed.
    let (key, other) = (pair(Curve::Secp256r1), pair(Curve::Secp256r1));
    let name = Reference::new(b"UTFALSE00001").unwrap();
    let false_root = Body::request(name.clone(), name.clone(), &key.public().unwrap());
    let false_root = Certificate::issue(false_root, &other).unwrap();
    let roots = [friend.root(), false_root.encoded()];
    let (mut card, _, peer) = member(Config {
        trust_roots: roots.map(<[u8]>::to_vec).to_vec(),
        ..Config::default()
    });
    assert_eq!(card.word(0, 0x22, 0x81, 0xB6, &select_key(&name)), 0x6A88);
    // The friend's devices are believed once the issuer is known.
    let theirs = self::peer(&mut friend);
    assert_eq!(card.show(&theirs.certificate), 0x6A88, "an unknown issuer");
    let issuer = Certificate::parse(&friend.issuer_certificate).unwrap();
    assert_eq!(card.show(&issuer), 0x9000);

    let ours = card.authority.issuer_chr.clone();
    let issue = |car: &Reference, by: &Key| {
        let chr = Reference::new(b"UTSTRANGE00001").unwrap();
        let public = pair(Curve::Secp256r1).public().unwrap();
        let mut body = Body::request(car.clone(), chr, &public);
        body.chat = Some(crate::cvc::Chat {
            oid: OID_DEVICE_ROLE.to_vec(),
            rights: vec![0],
        });
        Certificate::issue(body, by).unwrap()
    };
    for (why, certificate) in [
        ("signed by nobody known", issue(&ours, &other)),
        ("signed by another issuer", issue(&ours, &friend.issuer)),
        ("signed by a device", issue(&peer.name, &peer.key)),
    ] {
        assert_eq!(card.show(&certificate), 0x6985, "{why}");
    }
    // The key that was chosen is not the one that signed.
    assert_eq!(card.word(0, 0x22, 0x81, 0xB6, &select_key(&ours)), 0x9000);
    let content = theirs.certificate.content();
    assert_eq!(card.word(0, 0x2A, 0, 0xBE, content), 0x6985);
    assert_eq!(card.word(0, 0x2A, 0, 0xBE, content), 0x6985, "and no more");
    assert_eq!(card.show(&theirs.certificate), 0x9000);
}

#[test]
fn officers_keys_are_theirs_alone() {
    let mut card = Card::new();
    let more = [&tlv::encode(0x81, PIN)[..], &[0x93, 2, 3, 1]].concat();
    assert_eq!(card.initialise(0x0008, &more), 0x9000);
    let first = officer(&mut card.authority, 1);
    assert_eq!(card.register(&first), 0x9000);
    assert_eq!(card.register(&first), 0x6985, "one key is not two");
    // The same key under another name, another key under the same.
    let twin = |key: &Key, name: &[u8], device: &Peer| {
        let name = Reference::new(name).unwrap();
        let body = Body::request(name.clone(), name, &key.public().unwrap());
        Request::make(body, key, device.name.clone(), &device.key).unwrap()
    };
    let peer = peer(&mut card.authority);
    assert_eq!(card.show(&peer.certificate), 0x9000);
    let renamed = twin(&first.key, b"UTANOTHER00001", &peer);
    assert_eq!(card.word(0x80, 0x54, 0, 0, renamed.content()), 0x6985);
    let other = pair(Curve::Secp256r1);
    let namesake = twin(&other, first.request.body().chr.as_bytes(), &peer);
    assert_eq!(card.word(0x80, 0x54, 0, 0, namesake.content()), 0x6985);
    // Another takes the place only for who may.
    let next = twin(&other, b"UTNEXT00001", &peer);
    assert_eq!(card.word(0x80, 0x54, 1, 0, next.content()), 0x6982);

    // A challenge is good for one try, with the device's name, in this session.
    let chosen = select_key(&first.request.body().chr);
    let id = card.device.state.identity.chr.as_bytes().to_vec();
    assert_eq!(card.word(0, 0x22, 0x81, 0xA4, &chosen), 0x9000);
    let (challenge, _) = card.raw(&[0, 0x84, 0, 0, 8]);
    let nameless = first.key.sign_sha256(&challenge).unwrap();
    assert_eq!(card.word(0, 0x82, 0, 0, &nameless), 0x6985);
    let signature = first.key.sign_sha256(&[id, challenge].concat()).unwrap();
    assert_eq!(card.word(0, 0x82, 0, 0, &signature), 0x6985, "used up");
    assert_eq!(card.word(0, 0x48, 1, 0xB0, &[]), 0x6982);
    assert_eq!(card.authenticate(&first, 0), 0x9000);
    assert_eq!(card.word(0, 0x48, 1, 0xB0, &[]), 0x9000);
    // Who is replaced is not logged in any more.
    assert_eq!(card.word(0x80, 0x54, 1, 0, next.content()), 0x9000);
    assert_eq!(card.word(0, 0x48, 2, 0xB0, &[]), 0x6982);
}

#[test]
fn a_pin_is_changed_by_who_knows_it() {
    let mut card = Card::ready(0, &[]);
    assert_eq!(card.word(0, 0x24, 0, 0x81, b"000000111111"), 0x63C2);
    assert_eq!(card.word(0, 0x20, 0, 0x81, PIN), 0x9000);
    let so = [&b"00000000"[..], b"11111111"].concat();
    assert_eq!(card.word(0, 0x24, 0, 0x88, &so), 0x63CE);
    let mut card = Card::ready(1, &[]);
    let reset = [&b"00000000"[..], b"111111"].concat();
    assert_eq!(
        card.word(0, 0x2C, 0, 0x81, &reset),
        0x63CE,
        "another SO-PIN"
    );
    assert_eq!(card.word(0, 0x2C, 1, 0x81, b"00000000"), 0x63CD);
    assert_eq!(card.word(0, 0x20, 0, 0x81, PIN), 0x9000, "as it was");
    // A blocked one stays so, the right one included.
    for left in [2, 1, 0] {
        assert_eq!(card.word(0, 0x20, 0, 0x81, b"000000"), 0x63C0 | left);
    }
    assert_eq!(card.word(0, 0x20, 0, 0x81, PIN), 0x6983);
    assert_eq!(
        card.word(0, 0x24, 0, 0x81, &[PIN, b"111111"].concat()),
        0x6983
    );
}

#[test]
fn a_derived_key_takes_nobodys_place() {
    let mut card = Card::ready(0, &[]);
    card.login();
    let curve = KeySpec::Ec(Curve::Secp256r1);
    let made = generation(curve, KeyAttributes::default());
    let mut keys = Vec::new();
    for id in [1, 2] {
        let (request, word) = card.send(0, 0x46, id, 0, &made);
        assert_eq!(word, 0x9000);
        keys.push(request);
    }
    assert_eq!(card.word(0x80, 0x76, 1, 2, &[0x98, 5]), 0x6A89);
    let (kept, _) = card.send(0, 0xB1, 0xCE, 2, &[0x54, 2, 0, 0]);
    assert_eq!(kept, keys[1]);
    assert_eq!(card.word(0x80, 0x76, 1, 3, &[0x98, 5]), 0x9000);
    let (derived, _) = card.send(0, 0xB1, 0xCE, 3, &[0x54, 2, 0, 0]);
    let key = Request::parse(&derived).unwrap().verify_inner().unwrap();
    assert!(matches!(key, PublicKey::Ec(_)));
}
