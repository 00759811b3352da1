//! A session between programs of Inferno with something else in it, at either end. The first octet says
//! which end is ours, and whether the rest is what the peer sends or changes to what it sent.
#![no_main]
use std::sync::Arc;
use std::time::Instant;

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use inferno_auth::session::{Event, Role, Session};
use inferno_auth::ssl::Policy;
use inferno_auth::sts::{Config, Exchange};
use inferno_auth::{framing, number};
use kx_crypto::bignum::{BigNum, Error};
use kx_crypto::dh::Group;
use kx_crypto::secret::SecretBytes;
use kx_fuzz::{changed, json_texts, pieces, unhex};
use libfuzzer_sys::fuzz_target;

const RECORDED: &str = include_str!("../../vectors/keysrv/sts/rsa_passwd_change.json");
const SERVER: &[u8] = include_bytes!("../../vectors/keysrv/authinfo/keysrv_default.rsa");
const CLIENT: &[u8] = include_bytes!("../../vectors/keysrv/authinfo/carol.rsa.authinfo");

struct Known {
    exponential: String,
    secret: Vec<u8>,
}

impl Exchange for Known {
    fn exponential(&mut self, _: &Group) -> Result<BigNum, Error> {
        number::read_standalone(self.exponential.as_bytes()).map_err(|_| Error::Library)
    }

    fn agree(&mut self, _: &Group, _: &BigNum) -> Result<SecretBytes, Error> {
        Ok(SecretBytes::from(self.secret.clone()))
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    let (before, after) = RECORDED.split_once("\"server\":").expect("both ends");
    let (ours, theirs, info, role) = if first & 1 == 0 {
        let role = Role::Server {
            policy: Policy::Weak,
            idle: None,
        };
        (after, before, SERVER, role)
    } else {
        (before, after, CLIENT, Role::Client { server_name: None })
    };
    let exchange = Known {
        exponential: json_texts(ours, "text")[1].clone(),
        secret: unhex(&json_texts(RECORDED, "shared_secret_hex")[0]),
    };
    let wire = if first & 2 == 0 {
        let mut wire = Vec::new();
        for text in json_texts(theirs, "text") {
            framing::write(&mut wire, text.as_bytes()).expect("short enough");
        }
        for record in json_texts(theirs, "wire_hex") {
            wire.extend(unhex(&record));
        }
        changed(wire, rest)
    } else {
        rest.to_vec()
    };
    let config = Config {
        auth_info: Some(Arc::new(AuthInfo::parse(info).expect("recorded"))),
        floor: Floor::default(),
        unix_now: 1_795_000_000,
    };
    let now = Instant::now();
    let mut session = Session::with_exchange(role, config, Box::new(exchange), now);
    let mut sent = Vec::new();
    let (mut failed, mut closed) = (false, false);
    for piece in pieces(&wire).map(Some).chain([None]) {
        match piece {
            Some(piece) => session.receive(now, piece),
            None => session.receive_end(now),
        }
        session.poll_transmit(&mut sent);
        while let Some(event) = session.poll_event() {
            assert!(!closed, "events after the end");
            match event {
                Event::Failed(_) => {
                    assert!(!failed, "failed twice");
                    failed = true;
                }
                Event::Closed => closed = true,
                Event::Data(_) => assert!(!failed),
                Event::Authenticated { .. } | Event::Ready(_) => {}
            }
        }
    }
    assert!(closed && session.poll_timeout().is_none());
    assert!(sent.len() < 3000, "says too much");
});
