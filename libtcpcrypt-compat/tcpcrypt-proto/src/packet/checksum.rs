//! The Internet checksum (RFC 1071).

use std::net::IpAddr;

/// A sum under way. 64 bits hold the sum of any packet, so carries are folded once, at the end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    total: u64,
    odd: bool,
}

impl Sum {
    /// Adds octets. They continue where the last ones ended, also in the middle of a word.
    pub fn add(&mut self, mut octets: &[u8]) {
        if self.odd {
            if let Some((first, rest)) = octets.split_first() {
                self.word(u64::from(*first));
                self.odd = false;
                octets = rest;
            }
        }
        // The sum of 16 bit words is the folded sum of 32 bit words: half as many additions. In the
        // machine's order, since the octets of the sum can be swapped at the end (RFC 1071 section 2 (B)).
        let mut words = octets.chunks_exact(4);
        let mut sum = 0_u64;
        for word in &mut words {
            if let Ok(word) = <[u8; 4]>::try_from(word) {
                sum = sum.wrapping_add(u64::from(u32::from_ne_bytes(word)));
            }
        }
        self.word(u64::from(u16::from_be(folded(sum))));
        for pair in words.remainder().chunks(2) {
            match *pair {
                [high, low] => self.word(u64::from(u16::from_be_bytes([high, low]))),
                [high] => {
                    self.word(u64::from(high) << 8);
                    self.odd = true;
                }
                _ => {}
            }
        }
    }

    fn word(&mut self, value: u64) {
        self.total = self.total.wrapping_add(value);
    }

    /// The checksum: the complement of the folded sum.
    pub fn finish(self) -> u16 {
        !folded(self.total)
    }
}

/// The sum of the 16 bit words of a sum, until it is one itself.
fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

/// The sum over the pseudo header of a TCP segment of `length` octets (RFC 9293 section 3.1,
/// RFC 8200 section 8.1). Addresses of different families give a checksum that nobody accepts.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, length: usize) -> Sum {
    pseudo_header_of(6, source, destination, length)
}

/// The same for another protocol.
pub(super) fn pseudo_header_of(
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
    length: usize,
) -> Sum {
    let mut sum = Sum::default();
    for address in [source, destination] {
        match address {
            IpAddr::V4(a) => sum.add(&a.octets()),
            IpAddr::V6(a) => sum.add(&a.octets()),
        }
    }
    sum.word(u64::from(protocol));
    sum.word(u64::try_from(length).unwrap_or(0));
    sum
}

#[cfg(test)]
mod tests {
    use super::Sum;

    #[test]
    fn pieces_of_any_length_give_the_sum_of_the_whole() {
        // RFC 1071 section 3, and its complement.
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        let mut whole = Sum::default();
        whole.add(&octets);
        assert_eq!(whole.finish(), !0xddf2);
        for cut in 0..octets.len() {
            let (a, b) = octets.split_at(cut);
            let mut pieces = Sum::default();
            pieces.add(a);
            pieces.add(b);
            assert_eq!(pieces.finish(), whole.finish(), "cut at {cut}");
        }
    }
}
