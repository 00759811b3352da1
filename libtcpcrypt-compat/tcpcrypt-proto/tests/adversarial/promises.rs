//! What every test asks at its end.

use std::time::Duration;

use proptest::prelude::ProptestConfig;
use tcpcrypt_proto::config::Config;

use crate::model::rng::Rng;
use crate::model::{Conn, End, Host, Lab, Network, SIDES, Side, is_standard};

/// Stands every few octets in what applications send.
pub(crate) const MARKER: &[u8] = b"in clear";

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Text of an application: different all over, and easily seen on the wire.
pub(crate) fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut out = Vec::with_capacity(length + 16);
    while out.len() < length {
        out.extend_from_slice(MARKER);
        out.extend_from_slice(&rng.next().to_be_bytes());
    }
    out.truncate(length);
    out
}

pub(crate) fn ours() -> Host {
    Host::tcpcrypt(Config::default())
}

/// Two hosts with tcpcrypt.
pub(crate) fn pair(seed: u64) -> Lab {
    Lab::new(seed).client(ours()).server(ours())
}

/// One host with tcpcrypt and one without, on a network that loses a little.
pub(crate) fn with_a_plain_host(seed: u64, ours_at: Side) -> Lab {
    let lab = Lab::new(seed).network(Network::lossy(0.05));
    match ours_at {
        Side::Client => lab.client(ours()),
        Side::Server => lab.server(ours()),
    }
}

/// The first octet of a session id; in the standard, where each host has another preference, as if it were that of P-256.
pub(crate) fn tep(id: &[u8]) -> u8 {
    if is_standard() {
        id[0] & 0x80 | 0x21
    } else {
        id[0]
    }
}

pub(crate) fn is_over(lab: &Lab, conn: Conn) -> bool {
    SIDES.into_iter().all(|side| lab.end(conn, side).is_some())
}

/// Both ends name the same session.
#[track_caller]
pub(crate) fn assert_encrypted(lab: &mut Lab, conn: Conn) -> Vec<u8> {
    let [a, b] = SIDES.map(|side| lab.session_id(conn, side));
    assert!(a.is_some(), "the client's end is not encrypted");
    assert_eq!(a, b, "session ids");
    a.unwrap()
}

/// Nothing that applications sent was to be seen, everything was in records, one to a segment, and
/// nothing was sent twice with different octets.
#[track_caller]
pub(crate) fn assert_nothing_shown(lab: &Lab) {
    assert_eq!(lab.tap.showing(0, MARKER), 0, "plaintext on the wire");
    for (_, stream) in lab.tap.streams() {
        stream.assert_records_in_segments();
    }
}

/// What arrived at a side is the beginning of `sent`, and what was repeated was the same.
#[track_caller]
pub(crate) fn assert_prefix(lab: &Lab, conn: Conn, side: Side, sent: &[u8]) {
    let got = lab.received(conn, side);
    assert!(got.len() <= sent.len(), "more than was sent");
    let differs = got.iter().zip(sent).position(|(a, b)| a != b);
    assert_eq!(differs, None, "what arrived is not what was sent");
    if let Some(socket) = lab.socket(conn, side) {
        let wrong = socket.receive.as_ref().map(|r| r.contradictions);
        assert_eq!(
            wrong.unwrap_or(0),
            0,
            "the kernel was told different things"
        );
    }
}

/// Sends both ways and closes. All of it must arrive within `limit`, and both ends must see a
/// regular end.
#[track_caller]
pub(crate) fn exchange(lab: &mut Lab, conn: Conn, up: &[u8], down: &[u8], limit: Duration) {
    lab.send(conn, Side::Client, up);
    lab.send(conn, Side::Server, down);
    lab.finish(conn, Side::Client);
    lab.finish(conn, Side::Server);
    complete(lab, conn, up, down, limit);
}

#[track_caller]
pub(crate) fn complete(lab: &mut Lab, conn: Conn, up: &[u8], down: &[u8], limit: Duration) {
    lab.run_until(limit, |lab| is_over(lab, conn));
    assert_prefix(lab, conn, Side::Server, up);
    assert_prefix(lab, conn, Side::Client, down);
    let got = |side| lab.received(conn, side).len();
    let state = SIDES.map(|side| (lab.state(conn, side), lab.end(conn, side)));
    assert_eq!(
        (got(Side::Server), got(Side::Client)),
        (up.len(), down.len()),
        "what arrived; {state:?}"
    );
    for side in SIDES {
        assert_eq!(
            lab.end(conn, side),
            Some(End::Closed),
            "{side:?}, {state:?}"
        );
    }
}

/// Long after the last connection nothing is left of it.
#[track_caller]
pub(crate) fn assert_forgotten(lab: &mut Lab) {
    lab.set_network(Network::clean());
    lab.run(seconds(400));
    for side in SIDES {
        let stats = lab.endpoint(side).stats();
        let left = (stats.half_open, stats.encrypted, stats.tombstones);
        assert_eq!(left, (0, 0, 0), "{side:?}");
    }
}

/// `KX_SLOW=1` asks for more cases.
pub(crate) fn cases(few: u32) -> ProptestConfig {
    let more = std::env::var_os("KX_SLOW").is_some_and(|value| value == "1");
    ProptestConfig {
        cases: if more { 4 * few } else { few },
        ..ProptestConfig::default()
    }
}
