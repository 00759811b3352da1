//! Two machines joined in memory, with any fragmentation, and every refusal on both sides.

mod recorded;

use std::time::{Duration, Instant};

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::certificate::Certificate;
use inferno_auth::floor::Floor;
use inferno_auth::framing;
use inferno_auth::number;
use inferno_auth::session::{Event, Role, Session};
use inferno_auth::ssl::{Algorithms, Policy, Sealer};
use inferno_auth::sts::{self, Config, Exchange, Fresh, READ_TIME, Sts};
use kx_crypto::bignum::BigNum;
use proptest::prelude::*;

use recorded::{NOW, Recorded, auth_info, config, now};

/// One end with what came out of it.
struct End {
    machine: Session,
    owner: Option<String>,
    data: Vec<u8>,
    failure: Option<String>,
    closed: bool,
}

impl End {
    fn new(role: Role, config: Config) -> Self {
        Self::over(Session::new(role, config, now()))
    }

    fn over(machine: Session) -> Self {
        Self {
            machine,
            owner: None,
            data: Vec::new(),
            failure: None,
            closed: false,
        }
    }

    fn follow(&mut self, greeting: &[u8]) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Authenticated { owner, .. } => self.owner = Some(owner),
                Event::Ready(_) => self.machine.send(greeting).unwrap(),
                Event::Data(data) => self.data.extend_from_slice(&data),
                Event::Failed(error) => self.failure = Some(error.to_string()),
                Event::Closed => self.closed = true,
            }
        }
    }

    fn transmit(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.machine.poll_transmit(&mut out);
        out
    }
}

fn client(config: Config) -> End {
    End::new(Role::Client { server_name: None }, config)
}

fn server(config: Config) -> End {
    End::new(
        Role::Server {
            policy: Policy::Exact,
            idle: None,
        },
        config,
    )
}

/// Moves a piece on; an end that has closed hangs up behind its last octet.
fn pass(from: &mut End, to: &mut End, wire: &mut Vec<u8>, size: usize, greeting: &[u8]) {
    let size = size.min(wire.len());
    to.machine.receive(now(), &wire[..size]);
    wire.drain(..size);
    to.follow(greeting);
    if wire.is_empty() && from.closed && !to.closed {
        to.machine.receive_end(now());
        to.follow(greeting);
    }
}

/// Moves octets in pieces of these sizes until both are silent; an end that has closed hangs up.
fn talk(one: &mut End, other: &mut End, pieces: &[usize]) {
    let mut sizes = pieces.iter().copied().cycle();
    let (mut to_other, mut to_one) = (one.transmit(), other.transmit());
    while !to_other.is_empty() || !to_one.is_empty() {
        pass(
            one,
            other,
            &mut to_other,
            sizes.next().unwrap(),
            b"from the server",
        );
        pass(
            other,
            one,
            &mut to_one,
            sizes.next().unwrap(),
            b"from the client",
        );
        to_other.extend(one.transmit());
        to_one.extend(other.transmit());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_fragmentation(
        pieces in prop::collection::vec(1usize..900, 1..12),
        algorithm in prop::sample::select(vec!["rsa", "elgamal"]),
    ) {
        let mut one = client(config(auth_info(&format!("carol.{algorithm}.authinfo"))));
        let mut other = server(config(auth_info(&format!("keysrv_default.{algorithm}"))));
        talk(&mut one, &mut other, &pieces);
        prop_assert_eq!(&one.failure, &None);
        prop_assert_eq!(&other.failure, &None);
        prop_assert_eq!(other.owner.as_deref(), Some("carol"));
        let name = format!("keysrv.{algorithm}");
        prop_assert_eq!(one.owner.as_deref(), Some(&*name));
        prop_assert_eq!(&other.data, b"from the client");
        prop_assert_eq!(&one.data, b"from the server");
    }
}

/// What a refused client and its server report.
fn refusal(one: Config, other: Config) -> (Option<String>, Option<String>) {
    let (mut one, mut other) = (client(one), server(other));
    talk(&mut one, &mut other, &[5, 1000, 17]);
    // Who waits for the other's last word gets the end of the connection.
    assert!(
        one.closed || other.closed,
        "{:?} {:?}",
        one.failure,
        other.failure
    );
    for end in [&mut one, &mut other] {
        end.machine.receive_end(now());
        end.follow(b"");
    }
    assert!(one.closed && other.closed);
    assert!(one.data.is_empty() && other.data.is_empty());
    (one.failure, other.failure)
}

fn texts(one: &str, other: &str) -> (Option<String>, Option<String>) {
    (Some(one.to_owned()), Some(other.to_owned()))
}

fn carol() -> AuthInfo {
    auth_info("carol.rsa.authinfo")
}

fn keysrv() -> AuthInfo {
    auth_info("keysrv_default.rsa")
}

#[test]
fn without_keys() {
    let none = Config {
        auth_info: None,
        floor: Floor::default(),
        unix_now: NOW,
    };
    assert_eq!(
        refusal(none, config(keysrv())),
        texts(
            "no authentication information",
            "remote: no authentication information"
        )
    );
}

#[test]
fn expired_at_either_end() {
    assert_eq!(
        refusal(config(auth_info("expired.rsa.authinfo")), config(keysrv())),
        texts("remote: certificate expired", "certificate expired")
    );
    let mut info = keysrv();
    let signer = auth_info("signerkey.rsa");
    let text = info.public_key().text().to_vec();
    // From 2038 on a time is negative, and always past.
    for expiry in [i32::try_from(NOW).unwrap(), -1, i32::MIN] {
        info.certificate = Certificate::sign(&signer.private_key, expiry, &text).unwrap();
        let file = info.to_bytes().unwrap();
        let copy = AuthInfo::parse(file.as_slice()).unwrap();
        assert_eq!(
            refusal(config(carol()), config(copy)),
            texts("certificate expired", "remote: certificate expired")
        );
    }
    info.certificate =
        Certificate::sign(&signer.private_key, i32::try_from(NOW).unwrap() + 1, &text).unwrap();
    let (mut one, mut other) = (client(config(carol())), server(config(info)));
    talk(&mut one, &mut other, &[300]);
    assert_eq!(one.failure, None);
}

#[test]
fn of_another_signer() {
    assert_eq!(
        refusal(
            config(auth_info("carol.elgamal.authinfo")),
            config(keysrv())
        ),
        texts(
            // Both find out, and each has told the other before it hears.
            "pk doesn't match certificate",
            "pk doesn't match certificate"
        )
    );
    let mut foreign = carol();
    foreign.certificate = Certificate::sign(&foreign.private_key, 0, b"something else").unwrap();
    assert_eq!(
        refusal(config(foreign), config(keysrv())),
        texts(
            "remote: pk doesn't match certificate",
            "pk doesn't match certificate"
        )
    );
}

#[test]
fn below_the_floor() {
    let strict = Config {
        floor: Floor {
            min_bits: 1100,
            ..Floor::default()
        },
        ..config(keysrv())
    };
    assert_eq!(
        refusal(config(carol()), strict),
        texts("remote: bad public key", "bad public key")
    );
}

/// What the machine says to a peer that sends these messages after its version.
fn against(machine: &mut Sts, messages: &[&[u8]]) -> (Vec<u8>, Option<String>) {
    let mut wire = Vec::new();
    for message in messages {
        framing::write(&mut wire, message).unwrap();
    }
    raw(machine, &wire)
}

fn raw(machine: &mut Sts, wire: &[u8]) -> (Vec<u8>, Option<String>) {
    machine.receive(now(), wire);
    let mut sent = Vec::new();
    machine.poll_transmit(&mut sent);
    let failure = std::iter::from_fn(|| machine.poll_event()).find_map(|event| match event {
        sts::Event::Failed(error) => Some(error.to_string()),
        _ => None,
    });
    (sent, failure)
}

fn machine() -> Sts {
    Sts::new(config(keysrv()), now())
}

/// The machine refuses with `text` and tells the peer.
fn refuses(machine: &mut Sts, messages: &[&[u8]], text: &str) {
    let (sent, failure) = against(machine, messages);
    assert_eq!(failure.as_deref(), Some(text));
    let mut told = Vec::new();
    framing::write_error(&mut told, text);
    assert!(sent.ends_with(&told), "{}", String::from_utf8_lossy(&sent));
}

#[test]
fn versions() {
    for version in ["2", "0", "", "11", "-1", "x", "1    ", "00001", "99999"] {
        refuses(
            &mut machine(),
            &[version.as_bytes()],
            "incompatible authentication protocol",
        );
    }
    for version in ["1", "01", "1x", " 1", "+1"] {
        let (sent, failure) = against(&mut machine(), &[version.as_bytes()]);
        assert_eq!(failure, None, "{version}");
        assert!(sent.len() > 500);
    }
}

/// A machine whose own exponential is 5, in a group of one prime.
fn small() -> (Sts, BigNum) {
    let info = keysrv();
    let p = info.group.p.try_clone().unwrap();
    let exchange = Recorded {
        exponential: BigNum::from_u32(5).unwrap(),
        secret: vec![1],
    };
    let machine = Sts::with_exchange(config(info), Box::new(exchange), now());
    (machine, p)
}

#[test]
fn exponentials() {
    let (_, p) = small();
    let one = BigNum::from_u32(1).unwrap();
    let bad = [
        "".to_owned(),
        "====".to_owned(),
        "\u{ff}\u{0}".to_owned(),
        "-BQ==".to_owned(),
        number::text_z(&BigNum::from_u32(0).unwrap()),
        number::text_z(&one),
        number::text_z(&p.less_one().unwrap()),
        number::text_z(&p),
        number::text_z(&p.plus(&one).unwrap()),
        "z".repeat(4000),
    ];
    for text in bad {
        let (mut machine, _) = small();
        refuses(
            &mut machine,
            &[b"1", text.as_bytes()],
            "implausible parameter value",
        );
    }
    let (mut machine, _) = small();
    refuses(&mut machine, &[b"1", b"BQ=="], "possible replay attack");
    // Blanks may stand before it, and whatever after it.
    let (mut machine, _) = small();
    let (_, failure) = against(&mut machine, &[b"1", b" \tBg==!"]);
    assert_eq!(failure, None);
}

#[test]
fn certificates_and_keys() {
    let carol = carol();
    let (certificate, key) = (carol.certificate.text(), carol.public_key().text());
    for broken in [&b""[..], b"rsa\n", b"rsa\nsha1\nx\n0\n\n", &[0xff; 4000]] {
        let messages = [&b"1"[..], b"Bg==", broken];
        refuses(&mut machine(), &messages, "bad certificate syntax");
        let messages = [&b"1"[..], b"Bg==", &certificate, broken];
        refuses(&mut machine(), &messages, "bad public key");
        let messages = [&b"1"[..], b"Bg==", &certificate, key, broken];
        refuses(
            &mut machine(),
            &messages,
            "alpha**r1 doesn't match certificate",
        );
    }
    // Verified as it was sent: a newline more is another key.
    let longer = [key, b"\n"].concat();
    let messages = [&b"1"[..], b"Bg==", &certificate, &longer];
    refuses(&mut machine(), &messages, "pk doesn't match certificate");
    let messages = [&b"1"[..], b"Bg==", &certificate, key, &certificate];
    refuses(&mut machine(), &messages, "bad certificate");
}

/// A peer that is honest up to its signature, with a machine that waits for the status.
fn almost_done(form: fn(&BigNum) -> String) -> Sts {
    let (mut machine, _) = small();
    let carol = carol();
    let his = BigNum::from_bytes(&[0xf0, 1]).unwrap();
    let mine = BigNum::from_u32(5).unwrap();
    let signed = form(&his) + &form(&mine);
    let signature = Certificate::sign(&carol.private_key, 0, signed.as_bytes()).unwrap();
    let shown = form(&his);
    let messages: [&[u8]; 5] = [
        b"1",
        shown.as_bytes(),
        &carol.certificate.text(),
        carol.public_key().text(),
        &signature.text(),
    ];
    let (sent, failure) = against(&mut machine, &messages);
    assert_eq!(failure, None);
    assert!(sent.ends_with(b"0002\nOK"));
    machine
}

#[test]
fn factotum_signs_without_leading_zeroes() {
    for form in [number::text_z, number::text_p] {
        let mut machine = almost_done(form);
        machine.receive(now(), b"0002\nOK\x80\x01rest");
        let Some(sts::Event::Authenticated(peer)) = machine.poll_event() else {
            panic!("not authenticated");
        };
        assert_eq!(peer.owner, "carol");
        assert_eq!(peer.rest, b"\x80\x01rest");
        assert!(machine.poll_timeout().is_none());
    }
}

#[test]
fn before_the_status() {
    let mut patient = almost_done(number::text_z);
    let (_, failure) = against(&mut patient, &[&b"x"[..]; 8]);
    assert_eq!(failure, None);
    patient.receive(now(), b"!000\n");
    let (_, failure) = raw(&mut patient, b"");
    assert_eq!(failure.as_deref(), Some("input or format error"));
    for (wire, text) in [
        (&b"!001\nx"[..], "input or format error"),
        (b"!002\nno", "no"),
        (b"!005\n\x1b[31m", "\\u{1b}[31m"),
        (b"GET / HTTP/1.1\n", "input or format error"),
        (b"9999\n", "input or format error"),
    ] {
        let (sent, failure) = raw(&mut almost_done(number::text_z), wire);
        assert_eq!(failure.as_deref(), Some(text));
        assert_eq!(sent, b"!040\nremote: missing your authentication data");
    }
    let mut left = almost_done(number::text_z);
    left.receive_end(now());
    let Some(sts::Event::Failed(error)) = left.poll_event() else {
        panic!("not failed");
    };
    assert_eq!(error.to_string(), "input or format error");
    assert!(matches!(left.poll_event(), Some(sts::Event::Closed)));
}

#[test]
fn leaving_early() {
    for (wire, text) in [
        (&b""[..], "hungup"),
        (b"00", "input or format error"),
        (b"0001\n", "input or format error"),
        (b"0001\n1", "hungup"),
    ] {
        let mut machine = machine();
        machine.receive(now(), wire);
        machine.receive_end(now());
        let Some(sts::Event::Failed(error)) = machine.poll_event() else {
            panic!("not failed");
        };
        assert_eq!(error.to_string(), text, "{wire:?}");
        assert!(matches!(machine.poll_event(), Some(sts::Event::Closed)));
    }
}

#[test]
fn a_refused_peer_is_listened_to_for_a_while() {
    let start = Instant::now();
    let mut machine = Sts::new(config(keysrv()), start);
    machine.receive(start, b"0001\n2");
    assert!(matches!(machine.poll_event(), Some(sts::Event::Failed(_))));
    assert!(machine.poll_event().is_none());
    let later = start + Duration::from_millis(900);
    machine.receive(later, b"0001\nx0001\ny");
    assert_eq!(machine.poll_timeout(), Some(start + sts::DRAIN_TIME));
    machine.handle_timeout(later);
    assert!(machine.poll_event().is_none());
    machine.handle_timeout(start + sts::DRAIN_TIME);
    assert!(matches!(machine.poll_event(), Some(sts::Event::Closed)));
    // An error, OK, something else, and too much of anything end it at once.
    for wire in [
        b"!004\nwell".to_vec(),
        b"0002\nOK".to_vec(),
        b"x".to_vec(),
        b"0000\n".repeat(9),
    ] {
        let mut machine = Sts::new(config(keysrv()), start);
        machine.receive(start, b"0001\n2");
        machine.receive(start, &wire);
        assert!(matches!(machine.poll_event(), Some(sts::Event::Failed(_))));
        assert!(matches!(machine.poll_event(), Some(sts::Event::Closed)));
        assert!(machine.poll_timeout().is_none());
    }
}

#[test]
fn silence() {
    let start = Instant::now();
    let mut machine = Sts::new(config(keysrv()), start);
    // Octets that make no message win no time.
    machine.receive(start + READ_TIME / 2, b"0001\n");
    assert_eq!(machine.poll_timeout(), Some(start + READ_TIME));
    machine.receive(start + READ_TIME / 2, b"1");
    assert_eq!(
        machine.poll_timeout(),
        Some(start + READ_TIME / 2 + READ_TIME)
    );
    machine.handle_timeout(start + READ_TIME);
    assert!(machine.poll_event().is_none());
    machine.handle_timeout(start + READ_TIME * 2);
    let Some(sts::Event::Failed(error)) = machine.poll_event() else {
        panic!("not failed");
    };
    assert_eq!(error.to_string(), "timed out");
}

/// A server after its client's authentication, and the client's machine without its line.
fn authenticated(policy: Policy, idle: Option<Duration>) -> (Session, Vec<u8>) {
    let role = Role::Server { policy, idle };
    let mut server = Session::new(role, config(keysrv()), now());
    let mut client = Sts::new(config(carol()), now());
    let mut wire = Vec::new();
    loop {
        wire.clear();
        let more = server.poll_transmit(&mut wire);
        client.receive(now(), &wire);
        wire.clear();
        if !client.poll_transmit(&mut wire) && !more {
            break;
        }
        server.receive(now(), &wire);
    }
    let Some(sts::Event::Authenticated(peer)) = client.poll_event() else {
        panic!("not authenticated");
    };
    assert!(matches!(
        server.poll_event(),
        Some(Event::Authenticated { .. })
    ));
    (server, peer.secret.as_slice().to_vec())
}

#[test]
fn algorithm_lines() {
    for (wire, text) in [
        (
            &b"0001\n "[..],
            "can't read client ssl algorithm: no algorithm named",
        ),
        (
            b"0001\n/",
            "can't read client ssl algorithm: no algorithm named",
        ),
        (
            b"0000\n",
            "can't read client ssl algorithm: no algorithm named",
        ),
        (b"!003\nbad", "can't read client ssl algorithm: bad"),
        (
            b"9",
            "can't read client ssl algorithm: input or format error",
        ),
        (b"", "can't read client ssl algorithm: hungup"),
        (b"0004\nnone", "unsupported client algorithm: none"),
        (b"0008\nsha1/md5", "unsupported client algorithm: md5"),
        (b"0004\nsha1", "client algorithms are too weak: sha1"),
    ] {
        let (mut server, _) = authenticated(Policy::Exact, None);
        server.receive(now(), wire);
        server.receive_end(now());
        let Some(Event::Failed(error)) = server.poll_event() else {
            panic!("not failed");
        };
        assert_eq!(error.to_string(), text);
        assert!(matches!(server.poll_event(), Some(Event::Closed)));
        // The client sees the end of the connection only.
        assert!(!server.poll_transmit(&mut Vec::new()));
    }
}

#[test]
fn records_that_end_a_session() {
    for (wire, text) in [
        (&[0x80, 0][..], "hungup"),
        (&[0x80, 30], "hungup"),
        (&[0x80, 4, 1, 2, 3, 4], "ssl message too short"),
        (&[0, 1, 9, 0], "bad pad in ssl message"),
    ] {
        let (mut server, _) = authenticated(Policy::Exact, None);
        server.receive(now(), b"0012\nsha1/rc4_256");
        assert!(matches!(server.poll_event(), Some(Event::Ready(_))));
        server.receive(now(), wire);
        server.receive_end(now());
        let Some(Event::Failed(error)) = server.poll_event() else {
            panic!("not failed");
        };
        assert_eq!(error.to_string(), text);
        assert!(matches!(server.poll_event(), Some(Event::Closed)));
        assert!(!server.poll_transmit(&mut Vec::new()));
    }
}

#[test]
fn idle_sessions_end() {
    let idle = Duration::from_secs(600);
    let (mut server, secret) = authenticated(Policy::Exact, Some(idle));
    let start = now();
    server.receive(start, b"0012\nsha1/rc4_256");
    assert!(matches!(server.poll_event(), Some(Event::Ready(_))));
    assert_eq!(server.poll_timeout(), Some(start + idle));
    // A record begins the time anew, a piece of one does not.
    let (mut sealer, mut wire) = (Sealer::new(), Vec::new());
    sealer.protect(Algorithms::SHA1_RC4_256, &secret).unwrap();
    sealer.seal(b"data", &mut wire).unwrap();
    let start = start + idle / 2;
    server.receive(start, &wire);
    assert!(matches!(server.poll_event(), Some(Event::Data(_))));
    assert_eq!(server.poll_timeout(), Some(start + idle));
    server.receive(start + idle / 2, &[0x80]);
    assert_eq!(server.poll_timeout(), Some(start + idle));
    server.handle_timeout(start + idle);
    let Some(Event::Failed(error)) = server.poll_event() else {
        panic!("not failed");
    };
    assert_eq!(error.to_string(), "timed out");
}

#[test]
fn an_exchange_is_drawn_once_and_forgotten() {
    let group = keysrv().group;
    let mut fresh = Fresh::default();
    let mine = fresh.exponential(&group).unwrap();
    assert!(group.is_plausible(&mine));
    assert!(fresh.agree(&group, &mine).is_ok());
    assert!(fresh.agree(&group, &mine).is_err());
}
