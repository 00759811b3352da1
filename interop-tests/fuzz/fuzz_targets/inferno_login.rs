//! A login between programs of Inferno with something else in it, at either end. The first octet says which
//! end is ours, and whether the rest is what the peer sends or changes to what it sent.
#![no_main]
use std::sync::Arc;
use std::time::Instant;

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use inferno_auth::login::{
    Account, Client, ClientChoices, Server, ServerConfig, ServerEvent, password_hash,
};
use inferno_auth::number;
use inferno_auth::sts::Exchange;
use kx_crypto::bignum::{BigNum, Error};
use kx_crypto::dh::{Exponent, Group};
use kx_crypto::secret::SecretBytes;
use kx_fuzz::{changed, json_texts, pieces, unhex};
use libfuzzer_sys::fuzz_target;

const RECORDED: &str = include_str!("../../vectors/keysrv/login/rsa_login_alice.json");
const SIGNER: &[u8] = include_bytes!("../../vectors/keysrv/authinfo/signerkey.rsa");
const ALICE: &[u8] = include_bytes!("../../vectors/keysrv/authinfo/alice.rsa.authinfo");

struct Known {
    exponential: String,
    secret: Vec<u8>,
}

impl Exchange for Known {
    fn exponential(&mut self, _: &Group) -> Result<BigNum, Error> {
        number::read_login(self.exponential.as_bytes()).map_err(|_| Error::Library)
    }

    fn agree(&mut self, _: &Group, _: &BigNum) -> Result<SecretBytes, Error> {
        Ok(SecretBytes::from(self.secret.clone()))
    }
}

fn one(field: &str) -> String {
    json_texts(RECORDED, field)[0].clone()
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    let (client, server) = RECORDED.split_once("\"server\":").expect("both ends");
    let theirs = if first & 1 == 0 { client } else { server };
    let wire = if first & 2 == 0 {
        let records = json_texts(theirs, "wire_hex");
        changed(
            records.iter().flat_map(|record| unhex(record)).collect(),
            rest,
        )
    } else {
        rest.to_vec()
    };
    let now = Instant::now();
    if first & 1 == 0 {
        let exchange = Known {
            exponential: json_texts(server, "payload_text")[1].clone(),
            secret: unhex(&one("dh_secret_hex")),
        };
        let config = ServerConfig {
            signer: Ok(Arc::new(AuthInfo::parse(SIGNER).expect("recorded"))),
            hide_users: first & 4 != 0,
            floor: Floor::default(),
            unix_now: 1_795_000_000,
        };
        let mut server = Server::new(config, Box::new(exchange), now);
        let mut ended = false;
        for piece in pieces(&wire).map(Some).chain([None]) {
            match piece {
                Some(piece) => server.receive(now, piece),
                None => server.receive_end(),
            }
            while let Some(event) = server.poll_event() {
                assert!(!ended, "events after the end");
                match event {
                    ServerEvent::Lookup(_) => {
                        let account = Account {
                            secret: password_hash(b"correct horse"),
                            expire: 0,
                        };
                        server.answer(now, Ok(account));
                    }
                    ServerEvent::Done(_) | ServerEvent::Failed(_) => ended = true,
                }
            }
        }
        assert!(ended && server.poll_timeout().is_none());
    } else {
        let choices = ClientChoices {
            vector: unhex(&one("ivec_hex")).try_into().expect("8 octets"),
            exchange: Box::new(Exponent::from_bytes(&unhex(&one("r1_hex"))).expect("number")),
            make_key: Box::new(|_, _| Ok(AuthInfo::parse(ALICE).expect("recorded").private_key)),
        };
        let mut client = Client::new("alice", b"correct horse", Floor::default(), choices, now);
        for piece in pieces(&wire) {
            client.receive(now, piece);
        }
        client.receive_end();
        assert!(client.poll_event().is_some() && client.poll_event().is_none());
        assert!(client.poll_timeout().is_none());
    }
});
