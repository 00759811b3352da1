//! Packets that cannot be worked on: those of encrypted connections go nowhere, others pass.

#[allow(dead_code)]
#[path = "handshake/host.rs"]
mod host;

use host::{ACK, CLIENT_ISN, Pair, SERVER_ISN, Segment};
use tcpcrypt_proto::packet::Direction;
use tcpcrypt_proto::verdict::Verdict;

fn over_ipv6() -> Pair {
    let (one, other) = ("[fd00::1]:40000", "[fd00::2]:80");
    let mut pair = Pair::default();
    for (host, own, peer) in [
        (&mut pair.client, one, other),
        (&mut pair.server, other, one),
    ] {
        (host.own, host.peer) = (own.parse().unwrap(), peer.parse().unwrap());
    }
    pair
}

/// The first fragment of a segment, whose other one has its last octets.
fn first_fragment(segment: &Segment, more: bool) -> Vec<u8> {
    let packet = segment.packet();
    let mut out = packet[..40].to_vec();
    out[6] = 44;
    out.extend([6, 0, 0, u8::from(more), 0, 0, 0, 9]);
    out.extend(&packet[40..]);
    let length = u16::try_from(out.len() - 40).unwrap();
    out[4..6].copy_from_slice(&length.to_be_bytes());
    out
}

/// The kernel puts fragments over IPv6 together behind the queue: what an attacker sends that way would reach
/// the application in the middle of a stream that is encrypted.
#[test]
fn plaintext_in_fragments_does_not_get_into_an_encrypted_connection() {
    let mut pair = over_ipv6();
    let attack = |pair: &mut Pair, more: bool| {
        let (seq, ack) = (CLIENT_ISN.wrapping_add(1), SERVER_ISN + 1);
        let forged = pair.client.says(ACK, seq, ack);
        let forged = forged.with(|segment| segment.payload = b"an attacker's".to_vec());
        let packet = first_fragment(&forged, more);
        let mut out = Vec::new();
        let now = pair.server.now;
        let endpoint = &mut pair.server.endpoint;
        let verdict = endpoint.handle_packet(now, Direction::In, &packet, &mut out);
        let shows = |text: &[u8]| out.windows(text.len()).any(|w| w == text);
        assert!(!shows(b"attacker"));
        verdict
    };
    assert_eq!(attack(&mut pair, true), Verdict::Accept, "nothing of ours");
    pair.connect();
    assert_eq!(attack(&mut pair, true), Verdict::Drop);
    pair.talk();
    // The kernel takes the one fragment that is all of the packet for a packet, and so do we: it should have been
    // a record.
    assert_ne!(attack(&mut pair, false), Verdict::Accept);
}
