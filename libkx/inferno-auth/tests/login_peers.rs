//! Logins with peers that know the secrets and do not keep to the rules (keysrv spec 7, 11).

mod recorded;

use std::sync::Arc;

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::certificate::Certificate;
use inferno_auth::floor::Floor;
use inferno_auth::login::{
    Account, Client, ClientChoices, ClientEvent, Lookup, Server, ServerConfig, ServerEvent,
    password_hash,
};
use inferno_auth::number::text_p;
use inferno_auth::ssl::{Algorithms, Opener, Sealer};
use kx_crypto::bignum::BigNum;
use kx_crypto::dh::{Exponent, Group};

use recorded::{NOW, auth_info, now};

const PASSWORD: &[u8] = b"correct horse";
const VECTOR: [u8; 8] = [7; 8];

fn exponent(value: u8) -> Exponent {
    Exponent::from_bytes(&[value]).unwrap()
}

fn number(value: u32) -> BigNum {
    BigNum::from_u32(value).unwrap()
}

fn seal(sealer: &mut Sealer, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    sealer.seal(&[b"\0", payload].concat(), &mut wire).unwrap();
    wire
}

/// The secret of step 4 for a stored secret, by the formula of the specification.
fn step4(stored: &[u8]) -> Vec<u8> {
    (0..8)
        .map(|i| stored[i] ^ stored[8 + i] ^ if i < 4 { stored[16 + i] } else { 0 } ^ VECTOR[i])
        .collect()
}

/// A user's end that shows `key` at step 9 to the account `alice`; what the server says of it.
fn shows(key: &[u8], hide_users: bool, account: Result<Account, Lookup>) -> Result<String, String> {
    let signer = auth_info("signerkey.rsa");
    let (r0, r1) = (exponent(5), exponent(6));
    let his = r0.exponential(&signer.group).unwrap();
    let secret = r1.agree(&signer.group, &his).unwrap();
    let mine = text_p(&r1.exponential(&signer.group).unwrap());
    let mut sealer = Sealer::new();
    let mut wire = seal(&mut sealer, b"alice");
    wire.extend(seal(&mut sealer, &VECTOR));
    wire.extend(seal(&mut sealer, mine.as_bytes()));
    sealer.protect(Algorithms::SHA1, secret.as_slice()).unwrap();
    wire.extend(seal(&mut sealer, key));
    let config = ServerConfig {
        signer: Ok(Arc::new(signer)),
        hide_users,
        floor: Floor::default(),
        unix_now: NOW,
    };
    let mut server = Server::new(config, Box::new(r0), now());
    server.receive(now(), &wire);
    let mut account = Some(account);
    loop {
        match server.poll_event().expect("a result") {
            ServerEvent::Lookup(_) => server.answer(now(), account.take().unwrap()),
            ServerEvent::Done(user) => return Ok(user),
            ServerEvent::Failed(error) => return Err(error.to_string()),
        }
    }
}

fn alice() -> Result<Account, Lookup> {
    Ok(Account {
        secret: password_hash(PASSWORD),
        expire: 0,
    })
}

#[test]
fn keys_that_are_not_certified() {
    let own = auth_info("alice.rsa.authinfo");
    let text = own.public_key().text();
    assert_eq!(shows(text, false, alice()), Ok("alice".to_owned()));
    // The digest of its record can be made for something longer without knowing the secret.
    for key in [
        &[text, b"\n"].concat()[..],
        &[text, b"\x80\0\0\0"].concat(),
        &text[..text.len() - 30],
        b"",
        b"rsa\nalice\nAA==\nAA==\n",
    ] {
        assert_eq!(
            shows(key, false, alice()),
            Err("client public key: bad public key".to_owned())
        );
    }
    let other = auth_info("bob.rsa.authinfo");
    assert_eq!(
        shows(other.public_key().text(), false, alice()),
        Err("pk name doesn't match user name".to_owned())
    );
    // Who guesses all of a hidden user's exchange gets nothing either.
    let nobody = || Err(Lookup::Secret("user disabled".to_owned()));
    assert_eq!(
        shows(text, true, nobody()),
        Err("client public key: bad public key".to_owned())
    );
    assert_eq!(shows(text, true, alice()), Ok("alice".to_owned()));
}

#[test]
fn of_a_longer_stored_secret_the_front_counts() {
    let signer = auth_info("signerkey.rsa");
    let r0 = exponent(5);
    let wanted = text_p(&r0.exponential(&signer.group).unwrap());
    let stored: Vec<u8> = (100..140).collect();
    let mut sealer = Sealer::new();
    let mut wire = seal(&mut sealer, b"alice");
    wire.extend(seal(&mut sealer, &VECTOR));
    let config = ServerConfig {
        signer: Ok(Arc::new(signer)),
        hide_users: false,
        floor: Floor::default(),
        unix_now: NOW,
    };
    let mut server = Server::new(config, Box::new(r0), now());
    server.receive(now(), &wire);
    assert!(matches!(server.poll_event(), Some(ServerEvent::Lookup(_))));
    let account = Account {
        secret: stored.clone().into(),
        expire: 0,
    };
    server.answer(now(), Ok(account));
    let mut sent = Vec::new();
    server.poll_transmit(&mut sent);
    let mut opener = Opener::new();
    opener.receive(&sent);
    assert_eq!(*opener.open().unwrap().unwrap(), b"\0alice");
    opener.protect(Algorithms::RC4, &step4(&stored)).unwrap();
    let record = opener.open().unwrap().unwrap();
    assert_eq!(*record, [b"\0", wanted.as_bytes()].concat());
}

/// What a server says at steps 4 to 6.
struct Said {
    exponential: BigNum,
    group: Group,
}

impl Said {
    fn wire(&self, sealer: &mut Sealer) -> Vec<u8> {
        let mut wire = seal(sealer, b"alice");
        let key = step4(password_hash(PASSWORD).as_slice());
        sealer.protect(Algorithms::RC4, &key).unwrap();
        wire.extend(seal(sealer, text_p(&self.exponential).as_bytes()));
        sealer.protect(Algorithms::CLEAR, &[]).unwrap();
        wire.extend(seal(sealer, text_p(&self.group.alpha).as_bytes()));
        wire.extend(seal(sealer, text_p(&self.group.p).as_bytes()));
        wire
    }
}

fn client(floor: Floor) -> Client {
    let choices = ClientChoices {
        vector: VECTOR,
        exchange: Box::new(exponent(6)),
        make_key: Box::new(|_, _| Ok(auth_info("alice.rsa.authinfo").private_key)),
    };
    Client::new("alice", PASSWORD, floor, choices, now())
}

fn end(client: &mut Client) -> Result<Box<AuthInfo>, String> {
    client.receive_end();
    match client.poll_event().expect("a result") {
        ClientEvent::Done(info) => Ok(info),
        ClientEvent::Failed(error) => Err(error.to_string()),
    }
}

#[test]
fn groups_in_which_nothing_is_secret() {
    let signer = auth_info("signerkey.rsa");
    let p = || signer.group.p.try_clone().unwrap();
    let alpha = || signer.group.alpha.try_clone().unwrap();
    let one = number(1);
    let power = |at: u32| number(2).mod_exp(&number(at), &p()).unwrap();
    for (exponential, alpha, p) in [
        (number(4), number(1), p()),
        (number(4), number(0), p()),
        (number(4), p(), p()),
        (number(4), p().less_one().unwrap(), p()),
        (number(4), p().plus(&one).unwrap(), p()),
        (number(4), alpha(), p().less_one().unwrap()),
        (number(4), number(2), number(23)),
        // 511 bits, odd.
        (number(4), number(2), power(510).plus(&one).unwrap()),
        (number(0), alpha(), p()),
        (number(1), alpha(), p()),
        (p().less_one().unwrap(), alpha(), p()),
        (p(), alpha(), p()),
    ] {
        let mut client = client(Floor::default());
        let group = Group { alpha, p };
        let said = Said { exponential, group };
        let mut before = Vec::new();
        client.poll_transmit(&mut before);
        client.receive(now(), &said.wire(&mut Sealer::new()));
        let mut sent = Vec::new();
        client.poll_transmit(&mut sent);
        assert_eq!(
            end(&mut client).err().as_deref(),
            Some("bogus diffie hellman constants")
        );
        assert!(sent.len() < 20, "only the vector was said");
    }
    // 512 bits, odd: good enough to go on.
    let mut client = client(Floor::default());
    let p = power(511).plus(&one).unwrap();
    let group = Group {
        alpha: number(2),
        p,
    };
    let exponential = number(4);
    client.receive(now(), &Said { exponential, group }.wire(&mut Sealer::new()));
    assert_eq!(
        end(&mut client).err().as_deref(),
        Some("can't get signer's public key: hungup")
    );
}

/// A whole login in which the server shows this key and gives this certificate.
fn given(key: &[u8], certificate: &[u8], floor: Floor) -> Result<Box<AuthInfo>, String> {
    let group = auth_info("signerkey.rsa").group;
    let (r0, r1) = (exponent(5), exponent(6));
    let exponential = r0.exponential(&group).unwrap();
    let secret = r1.agree(&group, &exponential).unwrap();
    let mut sealer = Sealer::new();
    let mut wire = Said { exponential, group }.wire(&mut sealer);
    sealer.protect(Algorithms::SHA1, secret.as_slice()).unwrap();
    wire.extend(seal(&mut sealer, key));
    wire.extend(seal(&mut sealer, certificate));
    let mut client = client(floor);
    client.receive(now(), &wire);
    end(&mut client)
}

#[test]
fn certificates_that_are_none() {
    let signer = auth_info("signerkey.rsa");
    let key = signer.public_key().text();
    let own = auth_info("alice.rsa.authinfo");
    let certificate = own.certificate.text();
    let info = given(key, &certificate, Floor::default()).unwrap();
    assert!(info.is_certified());
    let mismatch = "can't get certificate: pk doesn't match certificate";
    let forged = Certificate::sign(&own.private_key, 0, own.public_key().text()).unwrap();
    for (certificate, text) in [
        (auth_info("bob.rsa.authinfo").certificate.text(), mismatch),
        (forged.text(), mismatch),
        (
            b"nothing".to_vec(),
            "can't get certificate: bad certificate syntax",
        ),
    ] {
        let result = given(key, &certificate, Floor::default());
        assert_eq!(result.err().as_deref(), Some(text));
    }
    for (key, floor, text) in [
        (
            &b"nothing"[..],
            Floor::default(),
            "can't get signer's public key: bad public key",
        ),
        (
            key,
            Floor {
                min_bits: 1100,
                ..Floor::default()
            },
            "can't get signer's public key: key of 1024 bits is too short (need 1100)",
        ),
    ] {
        let result = given(key, &certificate, floor);
        let error = result.err().unwrap();
        assert_eq!(error.replace("1025", "1024"), text);
    }
}
