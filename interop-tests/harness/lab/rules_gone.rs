//! What must hold when the packet filter's rules of a host go away while daemons run.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::lab::applications::{local, talk};
use crate::lab::capture::Capture;
use crate::lab::daemon::Daemon;
use crate::lab::scenarios::{ANSWER, QUESTION, id_of};
use crate::lab::{Lab, PORT};
use crate::wait::{SOON, until};

/// How long plain text may leave after somebody else took the rules: a tenth of a second is promised, the
/// rest is for a busy machine.
pub const LEAK: Duration = Duration::from_millis(900);
/// What the daemon says then.
pub const GONE: &str = "The packet filter's rules are gone";
/// A port beside the rules' one: its connections are plain.
pub const OTHER_PORT: u16 = 8081;

/// An encrypted connection, proven to be one, and a plain one.
pub struct Both {
    /// Client's and server's end.
    pub encrypted: (TcpStream, TcpStream),
    /// The same of the other one.
    pub plain: (TcpStream, TcpStream),
}

/// Waits until the daemon has reset what the rules left behind, for the `times`-th time. A tenth of a second is
/// promised; how long it takes on a busy machine is nobody's fault.
#[track_caller]
pub fn wait_for_resets(daemon: &Daemon<'_>, times: usize) {
    let said = until(SOON, || {
        (daemon.log().matches(GONE).count() >= times).then_some(())
    });
    assert!(said.is_some(), "no word of rules: {}", daemon.log());
}

/// Opens both.
pub fn open_both(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) -> Both {
    let plain = lab.connection(OTHER_PORT).expect("connecting");
    talk(&plain.0, &plain.1, b"hello", b"hello").expect("talking");
    let encrypted = lab.connection(PORT).expect("connecting");
    talk(&encrypted.0, &encrypted.1, QUESTION, ANSWER).expect("talking");
    id_of(client, server, &encrypted.0);
    Both { encrypted, plain }
}

/// Writes numbered lines until the stream says no; gives the time of that.
pub fn write_until_reset(mut stream: &TcpStream, limit: Duration) -> Option<Instant> {
    let end = Instant::now() + limit;
    let mut number = 0_u32;
    while Instant::now() < end {
        if writeln!(stream, "a secret line, number {number:08}").is_err() {
            return Some(Instant::now());
        }
        number += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// The encrypted connection is reset at both ends, the plain one is not.
pub fn assert_reset_and_others_go_on(both: &Both) {
    for stream in [&both.encrypted.0, &both.encrypted.1] {
        expect_reset_whatever_was_heard(stream);
    }
    talk(&both.plain.0, &both.plain.1, b"still", b"here").expect("the plain connection goes on");
}

/// What came before may be there to be read.
fn expect_reset_whatever_was_heard(mut stream: &TcpStream) {
    let mut heard = Vec::new();
    let read = stream.read_to_end(&mut heard);
    let wrote = stream.write_all(b"after the end");
    assert!(read.is_err() || wrote.is_err(), "{read:?} {wrote:?}");
}

/// New connections are plain, and work.
pub fn assert_plain_now(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) {
    let (near, far) = lab.connection(PORT).expect("connecting without rules");
    talk(&near, &far, b"in the clear", b"as well").expect("talking without rules");
    let here = local(&near);
    for daemon in [client, server] {
        daemon.assert_well("the loss of the rules");
        let rows = daemon.netstat();
        assert!(
            !rows
                .iter()
                .any(|row| row.local == here || row.remote == here)
        );
    }
}

/// Numbers of the lines that a tap saw in the clear.
fn lines_seen(tap: &Capture) -> usize {
    let text = b"a secret line";
    let seen = tap.segments();
    let with_line = |payload: &[u8]| payload.windows(text.len()).any(|w| w == text);
    seen.iter().filter(|s| with_line(&s.payload)).count()
}

/// Somebody takes the rules of the client's host away while both ends write. Plain text leaves for `leak` at most.
pub fn assert_short_leak(
    lab: &Lab,
    client: &Daemon<'_>,
    server: &Daemon<'_>,
    remove: &str,
    leak: Duration,
) {
    let both = open_both(lab, client, server);
    let before = client.log().matches(GONE).count();
    let tap = lab.tap();
    let (near, far) = &both.encrypted;
    std::thread::scope(|scope| {
        let writers =
            [near, far].map(|stream| scope.spawn(move || write_until_reset(stream, SOON)));
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(lines_seen(&tap), 0);
        lab.client.script(remove);
        let gone = Instant::now();
        for (writer, end) in writers.into_iter().zip(["near", "far"]) {
            let reset = writer.join().expect("the writer").expect("a reset");
            let late = reset.saturating_duration_since(gone);
            eprintln!("{end} end: reset after {late:?}");
            assert!(late < leak, "{end} end: reset only after {late:?}");
        }
    });
    let seen = lines_seen(&tap);
    eprintln!("{seen} segments in the clear");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(lines_seen(&tap), seen, "and later still");
    assert_reset_and_others_go_on(&both);
    // The server, which has its rules, may have been the one that reset it.
    wait_for_resets(client, before + 1);
    assert!(!server.log().contains(GONE), "its own rules are there");
    assert_plain_now(lab, client, server);
}
