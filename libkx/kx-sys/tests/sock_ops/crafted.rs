//! Segments that no kernel sends.

use super::*;

/// A TCP segment without data over IPv4.
fn segment(
    from: SocketAddr,
    to: SocketAddr,
    numbers: (u32, u32),
    flags: u8,
    options: &[u8],
) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    let octets = |it: SocketAddr| match it.ip() {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => panic!("of the other family"),
    };
    let mut tcp = Vec::new();
    tcp.extend_from_slice(&from.port().to_be_bytes());
    tcp.extend_from_slice(&to.port().to_be_bytes());
    tcp.extend_from_slice(&numbers.0.to_be_bytes());
    tcp.extend_from_slice(&numbers.1.to_be_bytes());
    let words = u8::try_from(5 + options.len() / 4).expect("fits");
    tcp.extend_from_slice(&[words << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend_from_slice(&options);
    let length = u16::try_from(tcp.len()).expect("short");
    let mut pseudo = [octets(from), octets(to)].concat();
    pseudo.extend_from_slice(&[0, 6]);
    pseudo.extend_from_slice(&length.to_be_bytes());
    let pairs = pseudo.chunks(2).chain(tcp.chunks(2));
    let mut sum: u32 = pairs
        .map(|it| u32::from(it[0]) << 8 | u32::from(it[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).expect("folded");
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&(20 + length).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, 64, 6, 0, 0]);
    packet.extend_from_slice(&octets(from));
    packet.extend_from_slice(&octets(to));
    [packet, tcp].concat()
}

const MSS: [u8; 4] = [2, 4, 5, 0xb4];

/// Options of SYNs and SYN-ACKs that are read as the list of suboptions behind them, or as none.
const READ: [(&[u8], Option<&[u8]>); 12] = [
    (
        &[253, 5, 0x45, 0x4e, 0x21],
        Some(&[253, 5, 0x45, 0x4e, 0x21]),
    ),
    (&[69, 3, 0x21], Some(&[69, 3, 0x21])),
    (&[1, 69, 3, 0x21, 1, 1, 1], Some(&[69, 3, 0x21])),
    // Two of a kind, and one of each.
    (&[69, 3, 0x21, 69, 3, 0x21], None),
    (&[69, 3, 0x21, 1, 1, 69, 2], None),
    (&[253, 5, 0x45, 0x4e, 0x21, 253, 4, 0x45, 0x4e], None),
    (&[253, 5, 0x45, 0x4e, 0x21, 69, 2], None),
    (&[69, 2, 253, 5, 0x45, 0x4e, 0x21], None),
    // Other experiments are nobody's business.
    (&[253, 5, 0x45, 0x4f, 0x21], None),
    (
        &[253, 3, 9, 69, 3, 0x21, 254, 4, 0x45, 0x4e],
        Some(&[69, 3, 0x21]),
    ),
    // What looks like a second one inside of another.
    (&[69, 3, 0x21, 30, 6, 69, 3, 0x21, 0], Some(&[69, 3, 0x21])),
    // Behind the end there is nothing.
    (&[0, 69, 3, 0x21], None),
];

#[test]
fn strange_syns_are_read_as_one_option_or_none() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    cable.at_server("ip neigh add 10.99.0.9 lladdr 02:00:00:00:00:01 dev wire");
    let (raw, capture) = (cable.client_raw(), cable.capture());
    for (port, (options, read)) in (2000..).zip(READ) {
        let options = [&MSS, options].concat();
        let from = ([10, 99, 0, 9], port).into();
        let syn = segment(from, address(&listener), (7, 0), 2, &options);
        raw.send(&syn).expect("sent");
        let answer = loop {
            let answer = capture.next(address(&listener), Segment::is_syn_ack);
            // Those before are repeated meanwhile.
            if answer.client == port {
                break answer;
            }
        };
        let expected = read.map(|it| match it[0] {
            69 => standard(&[1, 0x21]),
            _ => eno(&[0x21]),
        });
        let expected: Vec<_> = expected.iter().map(|it| it.as_bytes().to_vec()).collect();
        assert_eq!(answer.eno, expected, "{options:?}");
    }
}

#[test]
fn strange_answers_are_read_as_one_option_or_none() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    cable.at_client("ip neigh add 10.99.0.3 lladdr 02:00:00:00:00:02 dev wire");
    let (raw, capture) = (cable.server_raw(), cable.capture());
    for (port, (options, read)) in (3000..).step_by(2).zip(READ) {
        for (port, offer) in [(port, eno(&[0x21])), (port + 1, standard(&[0x21]))] {
            let to: SocketAddr = ([10, 99, 0, 3], port).into();
            let socket = cable.client_socket(SERVER);
            sock_ops.offer(&socket, &offer).expect("offered");
            let client = std::thread::scope(|scope| {
                let connected = scope.spawn(|| rustix::net::connect(&socket, &to));
                let syn = capture.next(to, Segment::is_syn);
                assert_eq!(syn.eno, [offer.as_bytes()]);
                let client = ([10, 99, 0, 1], syn.client).into();
                let options = [&MSS, options].concat();
                let numbers = (1, syn.number.wrapping_add(1));
                let answer = segment(to, client, numbers, 0x12, &options);
                raw.send(&answer).expect("sent");
                connected.join().expect("done").expect("connected");
                client
            });
            let kind = offer.as_bytes()[0];
            // One of the other kind is no answer.
            let read = read.filter(|it| it[0] == kind);
            let answer = look(&sock_ops, &socket).syn_ack;
            let expected = read.map(|it| RawOption::new(it).expect("an option"));
            assert_eq!(answer, expected, "{options:?}");
            let third = capture.next(to, |it| it.flags == 0x10);
            assert_eq!(third.client, client.port());
            assert_eq!(third.eno.len(), usize::from(read.is_some()), "{options:?}");
        }
    }
}
