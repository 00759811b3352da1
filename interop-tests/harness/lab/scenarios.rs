//! What must hold between any two daemons, ours or the original.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use crate::lab::applications::{accept, exchange, local, read_exactly, remote, talk};
use crate::lab::capture::Capture;
use crate::lab::case::Pair;
use crate::lab::control::{APP_SUPPORT, NOBODY, SESSID};
use crate::lab::daemon::Daemon;
use crate::lab::rule_script;
use crate::lab::segment::hex;
use crate::lab::wire_checks::{Opening, assert_only_records, opening};
use crate::lab::{Lab, PORT};
use crate::wait::{self, SOON};

/// What the client says.
pub const QUESTION: &[u8] = b"a question that nobody else may read";
/// What the server says.
pub const ANSWER: &[u8] = b"an answer that nobody else may read, either";

/// True with `KX_SLOW`: full sizes.
pub fn slow() -> bool {
    std::env::var_os("KX_SLOW").is_some()
}

/// Panics when a tap saw what the applications said.
pub fn assert_secret(tap: &Capture) {
    for text in [QUESTION, ANSWER] {
        assert!(!tap.contains(&text[..12]), "plaintext on the cable");
    }
}

/// Opens a connection, talks, compares the ids of both ends, closes in order. Gives the id
/// and the client's port.
pub fn one_talk(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) -> (String, u16) {
    one_talk_on(lab, client, server, &lab.server.listen(PORT))
}

/// The same with a listener that is there already.
pub fn one_talk_on(
    lab: &Lab,
    client: &Daemon<'_>,
    server: &Daemon<'_>,
    listener: &TcpListener,
) -> (String, u16) {
    let (near, far) = lab.connect_to(listener).expect("connecting");
    talk(&near, &far, QUESTION, ANSWER).expect("talking");
    let id = id_of(client, server, &near);
    let port = local(&near).port();
    close_both(near, far);
    (id, port)
}

/// The id of an open connection, the same at both ends.
pub fn id_of(client: &Daemon<'_>, server: &Daemon<'_>, near: &TcpStream) -> String {
    let (here, there) = (local(near), remote(near));
    let row = client.row_of(here, there).expect("the client's row");
    let other = server.row_of(there, here).expect("the server's row");
    assert_eq!(row.id, other.id);
    row.id
}

/// An orderly end, client first, seen by both.
pub fn close_both(mut near: TcpStream, mut far: TcpStream) {
    near.shutdown(Shutdown::Write).expect("closing");
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).expect("the client's end");
    drop(far);
    near.read_to_end(&mut rest).expect("the server's end");
    assert!(rest.is_empty());
}

/// Both hosts open the same connection, from [`PORT`] to [`PORT`]: the client's end and the server's.
pub fn open_at_once(lab: &Lab) -> (TcpStream, TcpStream) {
    // The first SYNs of both are lost on the way, so that both are there when the second ones arrive.
    lab.lose(1.0);
    let [near, far] = std::thread::scope(|scope| {
        let ends = [
            (&lab.client, lab.server.address),
            (&lab.server, lab.client.address),
        ];
        let threads =
            ends.map(|(host, other)| scope.spawn(move || host.connect_from(PORT, (other, PORT))));
        std::thread::sleep(Duration::from_millis(500));
        lab.client.lose_nothing();
        lab.server.lose_nothing();
        threads.map(|thread| thread.join().expect("a thread").expect("connecting"))
    });
    assert_eq!((local(&near), remote(&near)), (remote(&far), local(&far)));
    (near, far)
}

/// A full exchange with P-256, nothing but records afterwards, one id.
pub fn first_exchange(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) {
    let tap = lab.tap();
    let (id, port) = one_talk(lab, client, server);
    assert_eq!(&id[..2], "21");
    let seen = tap.segments();
    let opening = opening(&seen, port);
    assert_eq!(
        opening.syn.as_deref().map(hex).as_deref(),
        Some("fd06454e2122")
    );
    assert_eq!(
        opening.syn_ack.as_deref().map(hex).as_deref(),
        Some("fd05454e21")
    );
    assert!(opening.exchanged);
    assert_only_records(&seen, port);
    assert_secret(&tap);
}

/// Bulk up, bulk down, both at once; 100 MB each way with `KX_SLOW`.
pub fn bulk(lab: &Lab, _: &Daemon<'_>, _: &Daemon<'_>) {
    let size: u64 = if slow() { 100_000_000 } else { 8_000_000 };
    let listener = lab.server.listen(PORT);
    for (up, down) in [(size, 0), (0, size), (size / 4, size / 4)] {
        let (near, far) = lab.connect_to(&listener).expect("connecting");
        exchange(&near, &far, up, down).unwrap_or_else(|e| panic!("{up}/{down}: {e}"));
    }
}

/// 800 connections one after the other.
pub fn short_connections(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) {
    let listener = lab.server.listen(PORT);
    one_after_the_other(lab, &listener, 800);
    one_talk_on(lab, client, server, &listener);
}

/// So many connections, each with four octets both ways.
pub fn one_after_the_other(lab: &Lab, listener: &TcpListener, count: u32) {
    for number in 0..count {
        let one = || -> io::Result<(TcpStream, TcpStream)> {
            let (near, far) = lab.connect_to(listener)?;
            talk(&near, &far, &number.to_be_bytes(), b"four")?;
            Ok((near, far))
        };
        let (near, far) = one().unwrap_or_else(|e| panic!("connection {number}: {e}"));
        close_both(near, far);
    }
}

/// Twenty connections open together, all busy.
pub fn at_once(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) {
    let listener = lab.server.listen(PORT);
    busy_at_once(lab, &listener, 20, 60_000);
    one_talk_on(lab, client, server, &listener);
}

/// So many connections open together, each with so many octets both ways.
pub fn busy_at_once(lab: &Lab, listener: &TcpListener, count: usize, octets: u64) {
    let open = || lab.connect_to(listener).expect("connecting");
    let open: Vec<_> = (0..count).map(|_| open()).collect();
    std::thread::scope(|scope| {
        for (near, far) in &open {
            scope.spawn(move || exchange(near, far, octets, octets).expect("exchanging"));
        }
    });
}

/// A megabyte each way while packets are lost, then a connection without loss.
pub fn loss_is_repaired(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) {
    lab.lose(0.01);
    let (near, far) = lab.connection(PORT).expect("connecting");
    exchange(&near, &far, 1_000_000, 1_000_000).expect("exchanging");
    drop((near, far));
    for host in lab.hosts() {
        host.lose_nothing();
    }
    one_talk(lab, client, server);
}

/// The client half-closes and goes on reading.
pub fn client_closes_first(lab: &Lab, _: &Daemon<'_>, _: &Daemon<'_>) {
    let (near, far) = lab.connection(PORT).expect("connecting");
    talk(&near, &far, QUESTION, ANSWER).expect("talking");
    half_close(near, far);
}

/// The server half-closes and goes on reading.
pub fn server_closes_first(lab: &Lab, _: &Daemon<'_>, _: &Daemon<'_>) {
    let (near, far) = lab.connection(PORT).expect("connecting");
    talk(&near, &far, QUESTION, ANSWER).expect("talking");
    half_close(far, near);
}

fn half_close(mut first: TcpStream, mut second: TcpStream) {
    first.shutdown(Shutdown::Write).expect("half-closing");
    let mut rest = Vec::new();
    second.read_to_end(&mut rest).expect("the first one's end");
    for _ in 0..5 {
        second
            .write_all(ANSWER)
            .expect("writing after the other's end");
        read_exactly(&first, ANSWER).expect("reading after one's own end");
    }
    drop(second);
    first.read_to_end(&mut rest).expect("the second one's end");
    assert!(rest.is_empty());
}

/// Either end resets; the other's application learns it as a reset.
pub fn resets(lab: &Lab, _: &Daemon<'_>, _: &Daemon<'_>) {
    let listener = lab.server.listen(PORT);
    for by_client in [true, false] {
        let (near, far) = lab.connect_to(&listener).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        let (first, mut second) = if by_client { (near, far) } else { (far, near) };
        rustix::net::sockopt::set_socket_linger(&first, Some(Duration::ZERO)).expect("linger");
        drop(first);
        let end = second.read(&mut [0; 10]).map_err(|e| e.kind());
        assert_eq!(
            end,
            Err(io::ErrorKind::ConnectionReset),
            "by client: {by_client}"
        );
    }
}

/// One full exchange and five that resume, each with its own id, named by its beginning.
pub fn resumption(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) {
    let tap = lab.tap();
    let mut ids = Vec::new();
    for number in 0..6 {
        let (id, port) = one_talk(lab, client, server);
        let opening = opening(&tap.segments(), port);
        let syn = opening.syn.expect("ENO in the SYN");
        let syn_ack = hex(&opening.syn_ack.expect("ENO in the SYN-ACK"));
        if number == 0 {
            assert_eq!((&id[..2], syn.len(), &*syn_ack), ("21", 6, "fd05454e21"));
        } else {
            // The original reads the name's random bytes for the application-aware bit, too,
            // and then has one byte more in front.
            let plain = syn_ack == "fd05454ea1" || syn_ack == "fd06454e04a1";
            assert!(plain, "{syn_ack}");
            assert_eq!((&id[..2], syn.len()), ("A1", 16));
            assert_eq!(hex(&syn[6..]).to_uppercase(), id[..20]);
        }
        assert_eq!(opening.exchanged, number == 0);
        assert!(!ids.contains(&id), "the same id twice");
        ids.push(id);
        assert_only_records(&tap.segments(), port);
    }
    assert_secret(&tap);
}

/// Three connections, none resumed.
pub fn always_full(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) {
    let tap = lab.tap();
    for _ in 0..3 {
        let (id, port) = one_talk(lab, client, server);
        assert!(opening(&tap.segments(), port).exchanged);
        assert_eq!(&id[..2], "21");
    }
}

/// After a restart of the server's daemon: the client offers what the server no longer
/// knows, and gets a full exchange in the same connection.
pub fn after_server_restart(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) {
    let tap = lab.tap();
    let (id, port) = one_talk(lab, client, server);
    let seen = opening(&tap.segments(), port);
    assert_eq!(seen.syn.map(|o| o.len()), Some(16));
    assert_eq!(
        seen.syn_ack.as_deref().map(hex).as_deref(),
        Some("fd05454e21")
    );
    assert!(seen.exchanged);
    assert_eq!(&id[..2], "21");
    // And the new chain goes on.
    assert_eq!(&one_talk(lab, client, server).0[..2], "A1");
}

/// After a restart of the client's daemon: a new chain.
pub fn after_client_restart(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) {
    assert_eq!(&one_talk(lab, client, server).0[..2], "21");
    assert_eq!(&one_talk(lab, client, server).0[..2], "A1");
}

/// A middlebox in front of the server or of the client strips the option: plain TCP.
pub fn stripped(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) {
    for (host, flags) in [(&lab.server, "SYN"), (&lab.client, "SYN,ACK")] {
        host.strip_incoming(253, &format!("--tcp-flags SYN,ACK {flags}"));
        let (near, far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        exchange(&near, &far, 300_000, 300_000).expect("exchanging");
        assert_eq!((client.netstat(), server.netstat()), (vec![], vec![]));
        host.lose_nothing();
    }
    // And encrypted once it is gone.
    one_talk(lab, client, server);
}

/// Both applications say, before they connect, that they know of tcpcrypt, and learn it of each other. Gives
/// how the connection began.
pub fn aware_applications(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) -> Opening {
    let port = 31_002;
    let own = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    for (daemon, port) in [(client, port), (server, PORT)] {
        let reply = daemon.client().set(APP_SUPPORT, own(port), NOBODY, 1);
        assert_eq!(reply.expect("a reply").error, 0);
    }
    let listener = lab.server.listen(PORT);
    let tap = lab.tap();
    let to = lab.server_address(PORT);
    let near = lab.client.connect_from(port, to).expect("connecting");
    let far = accept(&listener, Duration::from_secs(5)).expect("accepting");
    talk(&near, &far, QUESTION, ANSWER).expect("talking");
    let seen = opening(&tap.segments(), port);
    assert_eq!(
        seen.syn.as_deref().map(hex).as_deref(),
        Some("fd07454e212202")
    );
    let id = id_of(client, server, &near);
    let (here, there) = (local(&near), remote(&near));
    for (daemon, from, to) in [(client, here, there), (server, there, here)] {
        let get = |option, room| {
            let reply = daemon.client().get(option, from, to, room);
            let reply = reply.expect("a reply");
            assert_eq!(reply.error, 0);
            reply.data
        };
        let aware = get(APP_SUPPORT, 64);
        assert_eq!((aware.len(), aware[0]), (34, 3));
        assert_eq!(hex(&aware[1..]).to_uppercase(), id);
        assert_eq!(hex(&get(SESSID, 33)).to_uppercase(), id);
    }
    seen
}

/// With two marks (`-x`) and the rules that our script makes for them, a connection that turned out to be
/// plain costs nothing more, and others are encrypted. `kind`: the script's variable for the kind of rules.
pub fn plain_connections_leave(lab: &Lab, pair: Pair, kind: &str) {
    if pair.client.original {
        // It has one mark only.
        return;
    }
    let variables = format!("MARK=10 PLAIN_MARK=20 {kind}");
    let marks = ["-v", "-x", "10", "-x", "20"];
    let client = Daemon::start(&lab.client, pair.client, &marks);
    rule_script::run(&lab.client, &variables, "start");
    let (near, far) = lab.connection(PORT).expect("connecting");
    exchange(&near, &far, 5_000_000, 5_000_000).expect("the exchange");
    client.signal("USR1");
    let queued = wait::until(SOON, || {
        let log = client.log();
        let (_, rest) = log.split_once("Packets: ")?;
        rest.split(' ').next()?.parse::<u64>().ok()
    });
    let queued = queued.expect("a dump of the state");
    assert!(
        (1..20).contains(&queued),
        "{queued} packets came to the queue"
    );
    let server = Daemon::start(&lab.server, pair.server, &marks);
    rule_script::run(&lab.server, &variables, "start");
    let tap = lab.tap();
    for _ in 0..2 {
        one_talk(lab, &client, &server);
    }
    assert_secret(&tap);
    for host in lab.hosts() {
        assert_ne!(rule_script::left(host), "");
        rule_script::run(host, &variables, "stop");
        assert_eq!(rule_script::left(host), "");
    }
}
