//! ENO options on the kernel's own TCP, between two network namespaces.

mod cable;
mod crafted;
mod handshake;
mod program;
mod resumption;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use kx_sys::sock_ops::{RawOption, Seen, SessionName, SockOps};

use cable::{Cable, PATIENCE, Segment, attach};

const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 99, 0, 2));
const BARE: [u8; 4] = [253, 4, 0x45, 0x4e];

/// An option of kind 253 with these suboptions.
fn eno(suboptions: &[u8]) -> RawOption {
    let mut octets = BARE.to_vec();
    octets.extend_from_slice(suboptions);
    octets[1] = u8::try_from(octets.len()).expect("short");
    RawOption::new(&octets).expect("an option")
}

/// One of kind 69.
fn standard(suboptions: &[u8]) -> RawOption {
    let mut octets = vec![69, 0];
    octets.extend_from_slice(suboptions);
    octets[1] = u8::try_from(octets.len()).expect("short");
    RawOption::new(&octets).expect("an option")
}

/// A laboratory with a program that answers 21, 22 and 23, or `None` where it cannot be had.
fn lab() -> Option<(Cable, SockOps)> {
    let sock_ops = attach()?;
    for suboption in [0x21, 0x22, 0x23] {
        let answer = eno(&[suboption]);
        sock_ops.answer(suboption, &answer).expect("an answer");
        let answer = standard(&[1, suboption]);
        sock_ops.answer(suboption, &answer).expect("an answer");
    }
    Some((Cable::new()?, sock_ops))
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

/// A question and an answer.
fn talk(client: &mut TcpStream, server: &mut TcpStream) {
    for text in [b"ping", b"more"] {
        let mut received = [0; 4];
        client.write_all(text).expect("sent");
        server.read_exact(&mut received).expect("received");
        server.write_all(&received).expect("sent");
        client.read_exact(&mut received).expect("received");
        assert_eq!(&received, text);
    }
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("address")
}

fn seen(syn: RawOption, syn_ack: RawOption, third: Option<&[u8]>) -> Seen {
    let third = third.map(|octets| RawOption::new(octets).expect("an option"));
    Seen {
        syn: Some(syn),
        syn_ack: Some(syn_ack),
        third,
        numbers: (0, 0),
        permits_sack: false,
    }
}

/// What was seen of a socket's options, apart from numbers that nobody can foresee.
fn look(sock_ops: &SockOps, socket: impl AsFd) -> Seen {
    let seen = sock_ops.seen(socket).expect("looked up");
    assert_eq!(seen.numbers == (0, 0), seen.syn_ack.is_none());
    Seen {
        numbers: (0, 0),
        permits_sack: false,
        ..seen
    }
}

/// The ENO options of the SYNs, of the SYN-ACKs, and of what the client sends behind, each once.
fn on_the_wire(segments: &[Segment]) -> [Vec<Vec<u8>>; 3] {
    let pick = |want: fn(&Segment) -> bool| {
        let mut found = Vec::new();
        for segment in segments.iter().filter(|it| want(it)) {
            assert!(segment.eno.len() <= 1, "{segment:?}");
            found.extend(segment.eno.iter().cloned());
        }
        found.dedup();
        found
    };
    let others: fn(&Segment) -> bool = |it| !it.is_syn() && !it.is_syn_ack();
    [
        pick(Segment::is_syn),
        pick(Segment::is_syn_ack),
        pick(others),
    ]
}

fn session(number: u32) -> SessionName {
    let mut name = [0xa1, 0x21, 0x22, 0x23, 9, 9, 0, 0, 0, 0];
    name[6..].copy_from_slice(&number.to_be_bytes());
    name
}

/// What the original's client sends to resume a session.
fn naming(name: &SessionName) -> RawOption {
    let mut suboptions = vec![0x21, 0x22];
    suboptions.extend_from_slice(name);
    eno(&suboptions)
}
