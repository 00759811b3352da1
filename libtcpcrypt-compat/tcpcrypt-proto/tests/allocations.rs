//! What packets of an encrypted connection cost in allocations: nothing. Alone in its process.

#[path = "handshake/host.rs"]
#[allow(dead_code)]
mod host;

use std::time::Duration;

use host::{ACK, CLIENT_ISN, Host, Pair, SERVER_ISN, STAMPS};
use kx_sys::counting_alloc::CountingAllocator;
use tcpcrypt_proto::packet::{Direction, FourTuple, Fresh, OptionBuf, Seq};
use tcpcrypt_proto::verdict::Verdict;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Octets of data per segment; a record of it fits the path.
const DATA: usize = 1380;
/// Segments under way before they are acknowledged.
const BURST: u32 = 8;

/// Room for one packet at each stage, used again and again.
#[derive(Default)]
struct Buffers {
    made: Vec<u8>,
    wire: Vec<u8>,
    local: Vec<u8>,
}

/// From the TCP of one host to the TCP of the other.
fn cross(from: &mut Host, to: &mut Host, buffers: &mut Buffers, segment: (u32, u32), data: &[u8]) {
    let mut fresh = Fresh::new(
        FourTuple {
            local: from.own,
            remote: from.peer,
        },
        Direction::Out,
    );
    (fresh.seq, fresh.ack) = (Seq(segment.0), Seq(segment.1));
    (fresh.flags, fresh.window) = (ACK, 500);
    fresh.options = OptionBuf::from_header(&STAMPS);
    buffers.made.clear();
    assert!(fresh.write(&[data], &mut buffers.made));
    buffers.wire.clear();
    let verdict =
        from.endpoint
            .handle_packet(from.now, Direction::Out, &buffers.made, &mut buffers.wire);
    assert_eq!(verdict, Verdict::Replace);
    buffers.local.clear();
    let verdict =
        to.endpoint
            .handle_packet(to.now, Direction::In, &buffers.wire, &mut buffers.local);
    assert_eq!(verdict, Verdict::Replace);
    assert!(data.is_empty() || buffers.local.ends_with(data));
    // As the daemon does after each batch.
    for host in [from, to] {
        buffers.made.clear();
        assert_eq!(host.endpoint.poll_transmit(&mut buffers.made), None);
        host.now += Duration::from_micros(50);
        let now = host.now;
        if host.endpoint.poll_timeout().is_some_and(|due| due <= now) {
            host.endpoint.handle_timeout(now);
        }
        assert!(host.endpoint.poll_event().is_none());
    }
}

/// Sends `bursts` bursts each way and says what was allocated per 1000 packets. `behind`: how many octets of
/// each direction are always under way.
fn allocations(pair: &mut Pair, next: &mut (u32, u32), bursts: u32, behind: u32) -> u64 {
    let data = vec![7; DATA];
    let mut buffers = Buffers::default();
    let size = u32::try_from(DATA).expect("short");
    // The first packets bring the buffers of this test to their size.
    let (mut before, mut packets) = (0, 0);
    let (up, down) = next;
    for burst in 0..bursts + 20 {
        if burst == 20 {
            (before, packets) = (CountingAllocator::asked(), 0);
        }
        let Pair { client, server } = &mut *pair;
        // Nothing came back yet that could be acknowledged late.
        let late = if burst == 0 { 0 } else { behind };
        for _ in 0..BURST {
            let ack = down.wrapping_sub(late);
            cross(client, server, &mut buffers, (*up, ack), &data);
            *up = up.wrapping_add(size);
        }
        for _ in 0..BURST {
            let ack = up.wrapping_sub(behind);
            cross(server, client, &mut buffers, (*down, ack), &data);
            *down = down.wrapping_add(size);
        }
        packets += u64::from(BURST) * 4;
    }
    (CountingAllocator::asked() - before) * 1000 / packets
}

#[test]
fn packets_are_not_allocated_for() {
    let mut pair = Pair::default();
    pair.connect();
    let _ = (pair.client.log(), pair.server.log());
    let mut next = (CLIENT_ISN.wrapping_add(1), SERVER_ISN + 1);
    // Bulk: there is always something under way.
    let behind = 4 * u32::try_from(DATA).expect("short");
    let bulk = allocations(&mut pair, &mut next, 200, behind);
    println!("bulk: {bulk} allocations per 1000 packets");
    assert_eq!(bulk, 0);
    // Question and answer: all that is under way is acknowledged each time.
    let talk = allocations(&mut pair, &mut next, 200, 0);
    println!("talk: {talk} allocations per 1000 packets");
    assert_eq!(talk, 0);
}
