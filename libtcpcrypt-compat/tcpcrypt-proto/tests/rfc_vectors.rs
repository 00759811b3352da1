//! The vectors of the standard dialect, which a program independent of this one computed, against the pure
//! functions: options, messages, keys, session ids, resumption, frames with a rekeying among them.

mod recorded;

use kx_crypto::ecdh::PrivateKey;
use kx_crypto::secret::SecretBytes;
use serde_json::Value;
use tcpcrypt_proto::eno::{EnoOption, Kind, ResumeId, Tep};
use tcpcrypt_proto::rfc8547::{self, Host};
use tcpcrypt_proto::rfc8548::frame::{self, Flags, Opener, Sealer};
use tcpcrypt_proto::rfc8548::init::{self, Init1, Init2, Message, cipher_list};
use tcpcrypt_proto::rfc8548::keys::{Enabled, Exchange, Keys, Pending, Session, Suite};
use tcpcrypt_proto::rfc8548::negotiation::{
    Offer, Resumption, ResumptionNonce, choose, named, settle,
};

use kx_crypto::aead::Algorithm;
use recorded::{json, octets};

const CIPHERS: [Algorithm; 3] = [
    Algorithm::Aes128Gcm,
    Algorithm::Aes256Gcm,
    Algorithm::ChaCha20Poly1305,
];

fn array<const N: usize>(value: &Value, field: &str) -> [u8; N] {
    octets(value, field).try_into().unwrap()
}

/// What is the same for all of a vector.
struct Case<'v> {
    vector: &'v Value,
    kind: Kind,
    tep: Tep,
    algorithm: Algorithm,
}

impl<'v> Case<'v> {
    fn new(vector: &'v Value) -> Self {
        let number = |field: &str| u16::try_from(vector[field].as_u64().unwrap()).unwrap();
        Self {
            vector,
            kind: match number("option_kind") {
                69 => Kind::Standard,
                253 => Kind::Experimental,
                other => panic!("kind {other}"),
            },
            tep: Tep::from_octet(number("tep").try_into().unwrap()).unwrap(),
            algorithm: init::algorithm(number("aead")).unwrap(),
        }
    }

    fn suite(&self, host: Host) -> Suite {
        Suite {
            host,
            tep: self.tep,
            algorithm: self.algorithm,
        }
    }

    /// The options as both hosts build and read them.
    fn options(&self) -> (EnoOption, EnoOption) {
        let offer = Offer {
            kind: self.kind,
            passive_role: false,
            app_aware: false,
            teps: &Tep::ALL,
            resume: None,
        };
        let a = offer.build().unwrap();
        assert_eq!(a.as_bytes(), octets(self.vector, "eno_a"));
        let tep = choose(&a, &[self.tep]).unwrap();
        let answer = Offer {
            passive_role: true,
            teps: &[tep],
            ..offer
        };
        let b = answer.build().unwrap();
        assert_eq!(b.as_bytes(), octets(self.vector, "eno_b"));
        for (opener, host, ours, theirs) in [(true, Host::A, &a, &b), (false, Host::B, &b, &a)] {
            let settled = settle(opener, ours, theirs, None).unwrap();
            assert_eq!(settled.host, host);
            assert_eq!((settled.tep, settled.tep_octet), (tep, tep.octet()));
            assert_eq!(settled.resumed, None);
        }
        assert_eq!(
            rfc8547::transcript(&a, &b),
            octets(self.vector, "transcript")
        );
        (a, b)
    }

    /// A private key whose public key stands in the message as the vector says.
    fn key(&self, private: &str, field: &str) -> PrivateKey {
        let key = PrivateKey::from_scalar(self.tep.curve(), &octets(self.vector, private)).unwrap();
        let sent = octets(self.vector, field);
        assert!(sent.ends_with(&key.compressed_public()));
        key
    }

    /// The first session of both hosts, A's first.
    fn exchange(&self) -> [Pending; 2] {
        let (a, b) = self.options();
        let curve = self.tep.curve();
        let (key_a, key_b) = (
            self.key("priv_a", "pub_a_field"),
            self.key("priv_b", "pub_b_field"),
        );
        let (nonce_a, nonce_b) = (array(self.vector, "nonce_a"), array(self.vector, "nonce_b"));

        let message1 = Init1 {
            ciphers: &cipher_list(&CIPHERS),
            nonce: &nonce_a,
            public: &key_a.compressed_public(),
        };
        let mut init1 = Vec::new();
        message1.build(curve, &mut init1);
        assert_eq!(init1, octets(self.vector, "init1"));
        assert!(init1.ends_with(&octets(self.vector, "pub_a_field")));
        assert_eq!(init::len(Message::Init1, &init1), Ok(Some(init1.len())));
        assert_eq!(Init1::parse(&init1, curve), Ok(message1));
        assert_eq!(message1.choose(&[self.algorithm]), Ok(self.algorithm));

        let message2 = Init2 {
            cipher: init::aead_id(self.algorithm),
            nonce: &nonce_b,
            public: &key_b.compressed_public(),
        };
        let mut init2 = Vec::new();
        message2.build(curve, &mut init2);
        assert_eq!(init2, octets(self.vector, "init2"));
        assert!(init2.ends_with(&octets(self.vector, "pub_b_field")));
        assert_eq!(Init2::parse(&init2, curve), Ok(message2));
        assert_eq!(message2.chosen(&CIPHERS), Ok(self.algorithm));

        let wanted = octets(self.vector, "es");
        let secret = |ours: &PrivateKey, theirs: &[u8]| -> SecretBytes {
            let secret = ours.agree(theirs).unwrap();
            assert!(secret.ct_eq(&wanted));
            secret
        };
        let sides = [
            (Host::A, secret(&key_a, message2.public)),
            (Host::B, secret(&key_b, message1.public)),
        ];
        sides.map(|(host, shared_secret)| {
            let exchange = Exchange {
                a: &a,
                b: &b,
                init1: &init1,
                init2: &init2,
                nonce_a: &nonce_a,
                shared_secret: &shared_secret,
            };
            let prk = exchange.prk();
            assert_eq!(prk.as_bytes().as_slice(), octets(self.vector, "prk"));
            assert_eq!(
                octets(self.vector, "prk"),
                octets(&self.vector["fresh"], "ss")
            );
            let pending = exchange.session(self.suite(host), self.tep.octet());
            assert!(!pending.is_resumed());
            pending
        })
    }

    /// Names the stored session by both hosts; whichever opens the connection.
    fn resume(&self, sessions: [Session; 2], opener: Host) -> [Pending; 2] {
        let identifier = octets(self.vector, "resume1");
        let suboption = |host: &str| {
            octets(
                self.vector,
                &format!("resumption_suboption_from_original_{host}"),
            )
        };
        let [a, b] = ["a", "b"].map(|host| {
            let sent = suboption(host);
            assert_eq!(sent[0], self.tep.resumed_octet());
            Resumption::parse(&sent[1..]).unwrap()
        });
        let [session_a, session_b] = &sessions;
        assert_eq!(
            (session_a.our_half(), session_b.our_half()),
            (a.half, b.half)
        );
        assert_eq!([a.half, b.half].concat(), identifier);
        let asked = |half: &[u8]| {
            ResumeId(
                [&[self.tep.resumed_octet()], half]
                    .concat()
                    .try_into()
                    .unwrap(),
            )
        };
        assert_eq!(session_b.asked_by(), asked(&a.half));
        assert_eq!(session_a.asked_by(), asked(&b.half));
        let nonces = [a.nonce.as_bytes(), b.nonce.as_bytes()].concat();
        assert_eq!(nonces, octets(&self.vector["resumed"], "sn"));

        let offer = |host: Host| Offer {
            kind: self.kind,
            passive_role: host != opener,
            app_aware: false,
            // A kind 253 has to begin with the original's.
            teps: if host == opener { &Tep::DEFAULT } else { &[] },
            resume: Some((self.tep, if host == Host::A { a } else { b })),
        };
        let [option_a, option_b] = [Host::A, Host::B].map(|host| offer(host).build().unwrap());
        for (host, option) in [("a", &option_a), ("b", &option_b)] {
            assert!(option.suboptions().ends_with(&suboption(host)));
        }
        let mut hosts = [
            (Host::A, &option_a, &option_b, a, b),
            (Host::B, &option_b, &option_a, b, a),
        ]
        .into_iter();
        sessions.map(|session| {
            let (host, ours, theirs, our_half, their_half) = hosts.next().unwrap();
            assert_eq!(session.suite(), self.suite(host));
            assert!(named(theirs).any(|named| named == (self.tep, their_half)));
            let awaited = Some((self.tep, session.peer_half()));
            let settled = settle(host == opener, ours, theirs, awaited).unwrap();
            // The opener is A in this connection, whatever it was in the first.
            let wanted = if host == opener { Host::A } else { Host::B };
            assert_eq!((settled.host, settled.tep), (wanted, self.tep));
            let nonce = settled.resumed.unwrap();
            assert_eq!(nonce, their_half.nonce);
            session.resume(settled.tep_octet, our_half.nonce, nonce)
        })
    }
}

/// The session id and the keys, then the frames of both directions; gives the next sessions.
fn connection(wanted: &Value, pending: [Pending; 2]) -> [Session; 2] {
    for side in &pending {
        assert_eq!(
            side.id().as_bytes().as_slice(),
            octets(wanted, "session_id")
        );
        assert_eq!(
            side.master_key().as_bytes().as_slice(),
            octets(wanted, "mk0")
        );
    }
    let master = array(wanted, "mk1");
    let [a, b] = pending.map(Pending::enable);
    for side in [&a, &b] {
        assert_eq!(side.id.as_bytes().as_slice(), octets(wanted, "session_id"));
    }
    let [
        Enabled {
            keys: keys_a,
            next: next_a,
            ..
        },
        Enabled {
            keys: keys_b,
            next: next_b,
            ..
        },
    ] = [a, b];
    let suites = [keys_a.suite(), keys_b.suite()];
    let (mut a_out, mut a_in) = keys_a.split().unwrap();
    let (mut b_out, mut b_in) = keys_b.split().unwrap();
    frames(&wanted["frames_a_to_b"], &mut a_out, &mut b_in);
    frames(&wanted["frames_b_to_a"], &mut b_out, &mut a_in);

    // The frames under the second key, opened by one who begins there.
    for (direction, suite) in [("frames_a_to_b", suites[1]), ("frames_b_to_a", suites[0])] {
        let later = &wanted[direction][3];
        let keys = Keys::new((&master).into(), suite);
        let (_, mut opener) = keys.split().unwrap();
        let mut out = Vec::new();
        let offset = later["offset"].as_u64().unwrap();
        opener
            .open(offset, &octets(later, "frame"), &mut out)
            .unwrap();
        assert!(octets(later, "plaintext").ends_with(&out));
    }
    [next_a, next_b]
}

/// Seals and opens each frame of one direction.
fn frames(frames: &Value, sealer: &mut Sealer, opener: &mut Opener) {
    let frames = frames.as_array().unwrap();
    assert_eq!(frames.len(), 5);
    let mut next = 0;
    for wanted in frames {
        let offset = wanted["offset"].as_u64().unwrap();
        assert_eq!(offset, next, "frames stand one behind the other");
        let plaintext = octets(wanted, "plaintext");
        let urgent = plaintext[0] & 2 != 0;
        let flags = Flags {
            fin: plaintext[0] & 1 != 0,
            urgent: urgent.then(|| u16::from_be_bytes([plaintext[1], plaintext[2]])),
        };
        let data = &plaintext[if urgent { 3 } else { 1 }..];
        if octets(wanted, "aad")[0] & 1 != 0 {
            sealer.rekey();
        }
        let mut sealed = Vec::new();
        sealer.seal(offset, flags, data, &mut sealed).unwrap();
        assert_eq!(sealed, octets(wanted, "frame"), "frame at {offset}");
        assert_eq!(sealed[..3], octets(wanted, "aad"));
        assert_eq!(frame::len(&sealed), Ok(Some(sealed.len())));
        let mut out = Vec::new();
        assert_eq!(opener.open(offset, &sealed, &mut out), Ok(flags));
        assert_eq!(out, data);
        assert_eq!(opener.generation(), sealer.generation());
        next = offset + sealed.len() as u64;
    }
    assert_eq!(sealer.generation(), 1);
    assert!(sealer.is_finished() && opener.is_finished());
}

#[test]
fn all_of_the_vectors() {
    let vectors = json("rfc8548");
    let vectors = vectors.as_array().unwrap();
    assert_eq!(vectors.len(), 6);
    let mut seen = Vec::new();
    for vector in vectors {
        let case = Case::new(vector);
        seen.push((case.kind, case.tep, case.algorithm));
        let next = connection(&vector["fresh"], case.exchange());
        let resumed = case.resume(next, Host::A);
        assert!(resumed.iter().all(Pending::is_resumed));
        let third = connection(&vector["resumed"], resumed);
        // The chain goes on: the names of the third session come from a secret that is in the vector.
        let secret = (&array::<32>(vector, "ss2")).into();
        let names = kx_crypto::hkdf::expand_key(&secret, &[&[6]]);
        assert_eq!(third[0].our_half(), names.as_bytes()[..9]);
        assert_eq!(third[1].our_half(), names.as_bytes()[9..18]);
    }
    for tep in Tep::ALL {
        assert!(seen.iter().any(|(_, seen, _)| *seen == tep), "{tep:?}");
    }
    for algorithm in CIPHERS {
        assert!(seen.iter().any(|(.., seen)| *seen == algorithm));
    }
    for kind in [Kind::Standard, Kind::Experimental] {
        assert!(seen.iter().any(|(seen, ..)| *seen == kind));
    }
}

/// The first opener's peer opens the next connection: keys and session id are the same.
#[test]
fn resumed_by_the_other_host() {
    let vectors = json("rfc8548");
    for vector in vectors.as_array().unwrap() {
        let case = Case::new(vector);
        let next = case.exchange().map(|pending| pending.enable().next);
        connection(&vector["resumed"], case.resume(next, Host::B));
    }
}

/// A session that was named in vain is passed over; its successor is what comes after it in the chain.
#[test]
fn successors() {
    let vectors = json("rfc8548");
    let case = Case::new(&vectors[0]);
    let [first, _] = case.exchange();
    let first = first.enable().next;
    let successor = first.successor();
    assert_ne!(first.our_half(), successor.our_half());
    let empty = ResumptionNonce::default();
    let after = first.resume(0xa3, empty, empty).enable().next;
    assert_eq!(after.our_half(), successor.our_half());
    assert_eq!(after.peer_half(), successor.peer_half());
}
