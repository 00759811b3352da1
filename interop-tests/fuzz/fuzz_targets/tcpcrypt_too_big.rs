//! What a router says of a packet that is too long, read and written with another number; and the same with the
//! checksum made right, which inputs seldom have by chance.
#![no_main]
use libfuzzer_sys::fuzz_target;
use tcpcrypt_proto::packet::{Seq, TooBig, View};

/// Octets in front of the message, if there can be one.
fn headers(packet: &[u8]) -> Option<usize> {
    match packet.first()? >> 4 {
        4 => Some(usize::from(packet[0] & 15) * 4),
        6 => Some(40),
        _ => None,
    }
}

/// The IP packet as long as it says, with a checksum that is right.
fn mended(data: &[u8]) -> Option<Vec<u8>> {
    let at = headers(data)?;
    let field = |at: usize| {
        Some(usize::from(u16::from_be_bytes(
            *data.get(at..)?.first_chunk()?,
        )))
    };
    let is_ipv6 = data[0] >> 4 == 6;
    let length = if is_ipv6 { field(4)? + 40 } else { field(2)? };
    let mut packet = data.get(..length)?.to_vec();
    packet.get_mut(at + 2..at + 4)?.fill(0);
    let mut summed = packet[at..].to_vec();
    if summed.len() % 2 == 1 {
        summed.push(0);
    }
    if is_ipv6 {
        summed.extend_from_slice(&packet[8..40]);
        summed.extend_from_slice(&u32::try_from(length - at).ok()?.to_be_bytes());
        summed.extend_from_slice(&[0, 0, 0, 58]);
    }
    let mut sum: u64 = summed
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[at + 2..at + 4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    Some(packet)
}

fn check(packet: &[u8]) {
    let Some(read) = TooBig::parse(packet) else {
        return;
    };
    assert!(View::parse(packet).is_err(), "TCP, too");
    let mut same = vec![7];
    read.write(read.seq(), &mut same);
    let same = &same[1..];
    assert!(same.len() <= packet.len());
    let changed = (0..same.len())
        .filter(|at| same[*at] != packet[*at])
        .count();
    // 0 and 0xffff are the same sum.
    assert!(changed == 0 || changed == 2, "{changed} octets");
    let mut other = Vec::new();
    read.write(Seq(!read.seq().0), &mut other);
    let again = TooBig::parse(&other).expect("what was written");
    assert_eq!(again.seq(), Seq(!read.seq().0));
    assert_eq!((again.ends(), again.mtu()), (read.ends(), read.mtu()));
    let changed = (0..other.len())
        .filter(|at| other[*at] != packet[*at])
        .count();
    assert!(other.len() == same.len() && changed <= 6);
}

fuzz_target!(|data: &[u8]| {
    check(data);
    if let Some(packet) = mended(data) {
        check(&packet);
    }
});
