//! The machines as wholes: borders, hang-ups, bounds, and one end against the other.

mod support;

use kx_secret::SecretBytes;
use proptest::prelude::*;
use styx::client::{Client, Error};
use styx::message::{DMDIR, Malformed, NOTAG, OREAD, Request, Stat, Tmessage};
use styx::server::{Dialect, HangUp, Limits, Server};
use support::{Joined, Memory, NOW};

/// What passwd sends, and a few things more.
fn conversation() -> Vec<u8> {
    let bodies = [
        Tmessage::Version {
            msize: 8216,
            version: b"9P2000",
        },
        Tmessage::Attach {
            fid: 0x26,
            afid: u32::MAX,
            uname: b"owner",
            aname: b"",
        },
        Tmessage::Walk {
            fid: 0x26,
            newfid: 0x2b,
            names: vec![b"secret"],
        },
        Tmessage::Open {
            fid: 0x2b,
            mode: 0x11,
        },
        Tmessage::Write {
            fid: 0x2b,
            offset: 0,
            data: b"da39a3ee5e6b4b0d3255bfef95601890afd80709",
        },
        Tmessage::Clunk { fid: 0x2b },
        Tmessage::Stat { fid: 0x26 },
        Tmessage::Clunk { fid: 0x99 },
    ];
    let mut octets = SecretBytes::default();
    for (tag, body) in (1u16..).zip(bodies) {
        Request { tag, body }.build(&mut octets).expect("built");
    }
    octets.as_slice().to_vec()
}

fn replies(dialect: Dialect, pieces: &[&[u8]]) -> Vec<u8> {
    let mut server = Server::new(dialect, Memory::default());
    let mut out = SecretBytes::default();
    for piece in pieces {
        server.receive(piece).expect("taken");
        while server.poll_reply(NOW, &mut out).expect("no hang-up") {}
    }
    out.as_slice().to_vec()
}

#[test]
fn borders_do_not_matter() {
    let octets = conversation();
    for dialect in [Dialect::Exportfs, Dialect::Styxservers] {
        let whole = replies(dialect, &[&octets]);
        let single: Vec<&[u8]> = octets.chunks(1).collect();
        assert_eq!(replies(dialect, &single), whole);
        for at in 0..octets.len() {
            let (one, two) = octets.split_at(at);
            assert_eq!(replies(dialect, &[one, two]), whole, "{at}");
        }
    }
}

#[test]
fn each_call_gives_one_message() {
    let mut server = Server::new(Dialect::Exportfs, Memory::default());
    server.receive(&conversation()).expect("taken");
    let mut count = 0;
    loop {
        let mut out = SecretBytes::default();
        if !server.poll_reply(NOW, &mut out).expect("no hang-up") {
            assert!(out.is_empty());
            break;
        }
        let reply = styx::message::Reply::parse(out.as_slice()).expect("exactly one");
        count += 1;
        assert_eq!(reply.tag, count);
    }
    assert_eq!(count, 8);
}

#[test]
fn lengths_that_were_not_agreed_on_hang_up() {
    for (octets, expected) in [
        (&[4, 0, 0, 0][..], HangUp::Length(4)),
        (&[0, 0, 0, 0, 1, 2], HangUp::Length(0)),
        (&[0x19, 0x20, 0, 0], HangUp::Length(8217)),
        (&[255; 9], HangUp::Length(u32::MAX)),
        (
            &[7, 0, 0, 0, 106, 1, 0],
            HangUp::Malformed(Malformed::Type(106)),
        ),
        (
            &[7, 0, 0, 0, 101, 1, 0],
            HangUp::Malformed(Malformed::Type(101)),
        ),
        (&[5, 0, 0, 0, 100], HangUp::Malformed(Malformed::Short)),
    ] {
        let mut server = Server::new(Dialect::Exportfs, Memory::default());
        server.receive(octets).expect("not looked at yet");
        let mut out = SecretBytes::default();
        assert_eq!(server.poll_reply(NOW, &mut out), Err(expected));
        assert!(out.is_empty(), "nothing is sent");
        // And ever after.
        assert_eq!(server.receive(b""), Err(expected));
        assert_eq!(server.poll_reply(NOW, &mut out), Err(expected));
    }
}

#[test]
fn what_came_before_the_nonsense_is_answered() {
    let mut octets = conversation();
    octets.extend([1, 0, 0, 0]);
    let mut server = Server::new(Dialect::Exportfs, Memory::default());
    server.receive(&octets).expect("taken");
    let mut out = SecretBytes::default();
    for _ in 0..8 {
        assert_eq!(server.poll_reply(NOW, &mut out), Ok(true));
    }
    assert_eq!(server.poll_reply(NOW, &mut out), Err(HangUp::Length(1)));
}

#[test]
fn who_does_not_fetch_replies_is_stopped() {
    let limits = Limits {
        waiting: 100,
        ..Limits::default()
    };
    let mut server = Server::with_limits(Dialect::Exportfs, Memory::default(), limits);
    server
        .receive(&[0; 8316])
        .expect("one message and what may wait");
    assert_eq!(server.receive(&[0]), Err(HangUp::Overflow));
}

#[test]
fn traces_show_both_directions() {
    let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&lines);
    let mut server = Server::new(Dialect::Styxservers, Memory::default());
    server.set_trace(Box::new(move |line| {
        kept.lock().expect("lock").push(line.to_owned())
    }));
    server.receive(&conversation()).expect("taken");
    while server
        .poll_reply(NOW, &mut SecretBytes::default())
        .expect("no hang-up")
    {}
    let lines = lines.lock().expect("lock");
    assert_eq!(lines.len(), 16);
    assert_eq!(lines[0], "<- Tmsg.Version(1,8216,\"9P2000\")");
    assert_eq!(lines[1], "-> Rmsg.Version(1,8216,\"9P2000\")");
    assert_eq!(lines[8], "<- Tmsg.Write(5,43,0,array[40] of byte)");
    assert_eq!(lines[15], "-> Rmsg.Error(8,\"bad fid\")");
}

fn client(dialect: Dialect) -> Client<Joined> {
    Client::new(Joined::new(dialect), 8216).expect("agreed")
}

#[test]
fn a_client_reads_writes_and_lists() {
    for dialect in [Dialect::Exportfs, Dialect::Styxservers] {
        let mut client = client(dialect);
        let root = client.attach(b"owner", b"").expect("attached");
        let content = client
            .read_file(&root, &[b"dir", b"inner"], 100)
            .expect("read");
        assert_eq!(content.as_slice(), b"inside");
        assert_eq!(
            client
                .write_file(&root, &[b"secret"], b"new")
                .expect("written"),
            3
        );
        let content = client.read_file(&root, &[b"secret"], 100).expect("read");
        assert_eq!(content.as_slice(), b"new");
        let entries = client.list(&root, &[], 10).expect("listed");
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_slice()).collect();
        assert_eq!(names, [&b"dir"[..], b"secret", b"readonly", b"closed"]);
        assert!(matches!(client.list(&root, &[], 3), Err(Error::TooLong)));
        assert!(matches!(
            client.read_file(&root, &[b"dir", b"inner"], 5),
            Err(Error::TooLong)
        ));
        // Every fid but the root's was given back.
        let shown = format!("{:?}", client.carrier().0);
        assert!(shown.contains("fids: 1"), "{shown}");
    }
}

#[test]
fn a_client_uses_its_fids_again() {
    let mut client = client(Dialect::Styxservers);
    let root = client.attach(b"owner", b"").expect("attached");
    for _ in 0..10 {
        let place = client.walk(&root, &[b"secret"]).expect("walked");
        assert_eq!(format!("{place:?}"), "Fid(1)");
        client.clunk(place).expect("clunked");
        client.walk(&root, &[b"nothing"]).expect_err("refused");
        client
            .walk(&root, &[b"dir", b"nothing"])
            .expect_err("cut short");
    }
    client.clunk(root).expect("clunked");
    let root = client.attach(b"owner", b"").expect("attached");
    assert_eq!(format!("{root:?}"), "Fid(0)");
}

#[test]
fn a_client_makes_describes_and_removes() {
    let mut client = client(Dialect::Styxservers);
    let root = client.attach(b"owner", b"").expect("attached");
    let place = client.walk(&root, &[]).expect("cloned");
    client
        .create(&place, b"new", DMDIR | 0o700, OREAD)
        .expect("made");
    assert_eq!(client.stat(&place).expect("described").name, b"new");
    let renamed = Stat {
        name: b"other".to_vec(),
        ..Stat::unchanged()
    };
    client.wstat(&place, &renamed).expect("renamed");
    client.remove(place).expect("removed");
    assert_eq!(client.carrier().0.tree().deeds, ["rename 6", "remove 6"]);
}

#[test]
fn a_client_tells_the_servers_words() {
    let mut client = client(Dialect::Styxservers);
    let root = client.attach(b"owner", b"").expect("attached");
    let words = |result: Result<_, Error<HangUp>>| match result {
        Err(Error::Refused(text)) => text,
        _ => panic!(),
    };
    assert_eq!(
        words(client.walk(&root, &[b"x"]).map(|_| ())),
        "file does not exist"
    );
    // Told by a shorter list, and yet the same.
    assert_eq!(
        words(client.walk(&root, &[b"dir", b"x"]).map(|_| ())),
        "file does not exist"
    );
    assert_eq!(
        words(client.write_file(&root, &[b"secret"], b"bad").map(|_| ())),
        "wrong secret"
    );
    assert!(matches!(
        client.walk(&root, &[&b"x"[..]; 17]),
        Err(Error::Malformed(Malformed::Walk))
    ));
    let place = client.walk(&root, &[b"secret"]).expect("walked");
    assert!(matches!(
        client.write(&place, 0, &[0; 8193]),
        Err(Error::Malformed(Malformed::Long))
    ));
}

/// A server that says what it is told to.
struct Liar(Vec<u8>);

impl styx::client::Call for Liar {
    type Error = ();

    fn call(&mut self, _: &[u8], reply: &mut SecretBytes) -> Result<(), ()> {
        reply.extend_from_slice(&self.0);
        Ok(())
    }
}

#[test]
fn a_client_believes_no_nonsense() {
    use styx::message::{Reply, Rmessage};
    let version = |msize, version| Rmessage::Version { msize, version };
    let said = |tag, body| {
        let mut octets = SecretBytes::default();
        Reply { tag, body }.build(&mut octets).expect("built");
        Client::new(Liar(octets.as_slice().to_vec()), 1000)
    };
    assert!(said(NOTAG, version(1000, b"9P2000")).is_ok());
    assert!(matches!(
        said(NOTAG, version(1001, b"9P2000")),
        Err(Error::Version)
    ));
    assert!(matches!(
        said(NOTAG, version(24, b"9P2000")),
        Err(Error::Version)
    ));
    assert!(matches!(
        said(NOTAG, version(1000, b"unknown")),
        Err(Error::Version)
    ));
    assert!(matches!(
        said(1, version(1000, b"9P2000")),
        Err(Error::Unexpected)
    ));
    assert!(matches!(
        said(NOTAG, Rmessage::Flush),
        Err(Error::Unexpected)
    ));
    assert!(matches!(
        Client::new(Liar(vec![1, 2, 3]), 1000),
        Err(Error::Malformed(Malformed::Short))
    ));
}

#[test]
fn messages_are_cut_out_of_a_stream() {
    use styx::client::message_len;
    assert_eq!(message_len(&[1, 0, 0], 100), Ok(None));
    assert_eq!(message_len(&[7, 0, 0, 0, 9], 100), Ok(Some(7)));
    assert_eq!(message_len(&[100, 0, 0, 0], 100), Ok(Some(100)));
    assert_eq!(message_len(&[6, 0, 0, 0], 100), Err(Malformed::Size));
    assert_eq!(message_len(&[101, 0, 0, 0], 100), Err(Malformed::Size));
}

proptest! {
    /// Any octets at all: no panic, nothing unbounded, and the same whatever the borders.
    #[test]
    fn hostile_octets(octets in proptest::collection::vec(any::<u8>(), 0..600), at in 0usize..600) {
        for dialect in [Dialect::Exportfs, Dialect::Styxservers] {
            let mut input = conversation();
            input.extend(&octets);
            let run = |pieces: &[&[u8]]| {
                let mut server = Server::new(dialect, Memory::default());
                let mut out = SecretBytes::default();
                let mut end = None;
                for piece in pieces {
                    if server.receive(piece).is_err() {
                        break;
                    }
                    loop {
                        match server.poll_reply(NOW, &mut out) {
                            Ok(true) => {}
                            Ok(false) => break,
                            Err(reason) => {
                                end = Some(reason);
                                break;
                            }
                        }
                    }
                }
                (out.as_slice().to_vec(), end)
            };
            let (one, two) = input.split_at(at.min(input.len()));
            prop_assert_eq!(run(&[&input]), run(&[one, two]));
        }
    }
}
