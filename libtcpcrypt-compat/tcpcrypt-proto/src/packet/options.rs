//! TCP options: read one by one, written into a space of 40 octets.

use crate::seq::Seq;

/// End of the list.
pub const EOL: u8 = 0;
/// Padding.
pub const NOP: u8 = 1;
/// Maximum segment size (RFC 9293 section 3.7.1).
pub const MSS: u8 = 2;
/// Window scale (RFC 7323).
pub const WINDOW_SCALE: u8 = 3;
/// SACK permitted (RFC 2018).
pub const SACK_PERMITTED: u8 = 4;
/// SACK blocks (RFC 2018).
pub const SACK: u8 = 5;
/// Timestamps (RFC 7323).
pub const TIMESTAMPS: u8 = 8;
/// A cookie of TCP Fast Open, or the request for one (RFC 7413).
pub const FAST_OPEN: u8 = 34;
/// Octets that a TCP header has for options.
pub const SPACE: usize = 40;

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOption<'a> {
    /// Its kind.
    pub kind: u8,
    /// What follows kind and length.
    pub data: &'a [u8],
    /// The whole of it, kind and length included.
    pub raw: &'a [u8],
    /// Where it begins among the options.
    pub at: usize,
}

/// Goes through options. Ends at EOL, and at an option whose length is below 2 or beyond the end:
/// what a receiver would not understand is not looked at either.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    octets: &'a [u8],
    at: usize,
}

/// Goes through the octets of a header's options; NOPs are left out.
pub fn each(octets: &[u8]) -> Options<'_> {
    Options { octets, at: 0 }
}

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        loop {
            let at = self.at;
            let rest = self.octets.get(at..)?;
            match *rest {
                [NOP, ..] => self.at = at.checked_add(1)?,
                [kind, length, ..] if kind != EOL => {
                    let raw = rest.get(..usize::from(length))?;
                    let data = raw.get(2..)?;
                    self.at = at.checked_add(raw.len())?;
                    return Some(TcpOption {
                        kind,
                        data,
                        raw,
                        at,
                    });
                }
                _ => return None,
            }
        }
    }
}

/// The first option of a kind.
pub fn find(octets: &[u8], kind: u8) -> Option<TcpOption<'_>> {
    each(octets).find(|o| o.kind == kind)
}

/// The maximum segment size that a SYN names.
pub fn mss(octets: &[u8]) -> Option<u16> {
    let data: [u8; 2] = find(octets, MSS)?.data.try_into().ok()?;
    Some(u16::from_be_bytes(data))
}

/// True when a SYN permits SACK.
pub fn sack_permitted(octets: &[u8]) -> bool {
    find(octets, SACK_PERMITTED).is_some()
}

/// Value and echo of the timestamps option.
pub fn timestamps(octets: &[u8]) -> Option<(u32, u32)> {
    let data: [u8; 8] = find(octets, TIMESTAMPS)?.data.try_into().ok()?;
    let value = u64::from_be_bytes(data);
    Some((
        u32::try_from(value >> 32).ok()?,
        u32::try_from(value & 0xffff_ffff).ok()?,
    ))
}

/// Left and right edges of the SACK blocks, at most four.
pub fn sack_blocks(octets: &[u8]) -> impl Iterator<Item = (Seq, Seq)> + '_ {
    let data = find(octets, SACK).map_or(&[][..], |o| o.data);
    data.chunks_exact(8).take(4).filter_map(|block| {
        let edges = u64::from_be_bytes(block.try_into().ok()?);
        Some((
            Seq(u32::try_from(edges >> 32).ok()?),
            Seq(u32::try_from(edges & 0xffff_ffff).ok()?),
        ))
    })
}

/// The options of a segment to be written: at most [`SPACE`] octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionBuf {
    octets: [u8; SPACE],
    length: usize,
}

impl Default for OptionBuf {
    fn default() -> OptionBuf {
        OptionBuf {
            octets: [0; SPACE],
            length: 0,
        }
    }
}

impl OptionBuf {
    /// Nothing yet.
    pub fn new() -> OptionBuf {
        OptionBuf::default()
    }

    /// Those of a header as they stand, padding included. More than 40 octets cannot come out of a
    /// header; they would be cut.
    pub fn from_header(octets: &[u8]) -> OptionBuf {
        let mut all = OptionBuf::new();
        let kept = octets.get(..SPACE).unwrap_or(octets);
        all.put(kept);
        all
    }

    fn put(&mut self, octets: &[u8]) -> bool {
        let end = self.length.saturating_add(octets.len());
        match self.octets.get_mut(self.length..end) {
            Some(room) => {
                room.copy_from_slice(octets);
                self.length = end;
                true
            }
            None => false,
        }
    }

    /// The octets so far, not padded.
    pub fn as_slice(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// Octets that they take in a header: a multiple of four.
    pub fn padded_len(&self) -> usize {
        self.length.next_multiple_of(4)
    }

    /// Octets that can still be pushed.
    pub fn room(&self) -> usize {
        SPACE.saturating_sub(self.length)
    }

    /// Drops padding at the end: EOL with what follows it, and NOPs.
    pub fn trim(&mut self) {
        let end = each(self.as_slice())
            .last()
            .map_or(0, |o| o.at.saturating_add(o.raw.len()));
        // What the iterator stopped at for being malformed stays as it is.
        let rest = self.as_slice().get(end..).unwrap_or_default();
        let filler = rest.iter().take_while(|b| **b == NOP).count();
        match rest.get(filler) {
            None | Some(&EOL) => self.length = end,
            Some(_) => {}
        }
    }

    /// Puts a whole option (kind, length, data) at the end, and says whether there was room.
    #[must_use]
    pub fn push(&mut self, option: &[u8]) -> bool {
        self.put(option)
    }

    /// Octets that the longest option may have that [`append`](Self::append) finds room for behind those of a header.
    #[must_use]
    pub fn room_in(header: &[u8]) -> usize {
        let mut options = OptionBuf::from_header(header);
        options.trim();
        options.room()
    }

    /// Puts a whole option behind the others, or into the padding behind them; says whether there was room.
    #[must_use]
    pub fn append(&mut self, option: &[u8]) -> bool {
        let mut trimmed = *self;
        trimmed.trim();
        let padding = self.as_slice().get(trimmed.length..);
        // Behind an end-of-list nobody would find it.
        let ends = padding.unwrap_or_default().contains(&EOL);
        if !ends && self.push(option) {
            return true;
        }
        *self = trimmed;
        self.push(option)
    }

    /// Overwrites every option of a kind with NOPs.
    pub fn blank(&mut self, kind: u8) {
        while let Some((at, length)) = self.place(kind) {
            if let Some(place) = self.octets.get_mut(at..at.saturating_add(length)) {
                place.fill(NOP);
            }
        }
    }

    /// Takes every option of a kind out; what follows moves up.
    pub fn remove(&mut self, kind: u8) {
        while let Some((at, length)) = self.place(kind) {
            let end = at.saturating_add(length);
            self.octets.copy_within(end..self.length, at);
            self.length = self.length.saturating_sub(length);
        }
    }

    fn place(&self, kind: u8) -> Option<(usize, usize)> {
        find(self.as_slice(), kind).map(|o| (o.at, o.raw.len()))
    }

    /// Lowers the maximum segment size by `reduction`, which must leave at least `floor`; one of more
    /// than `most` counts as that. Adds the option with `most` less the reduction if there is none and
    /// room for it; it is put in front of padding.
    pub fn lower_mss(&mut self, reduction: u16, floor: u16, most: u16) {
        let lowered = |mss: u16| mss.min(most).saturating_sub(reduction).max(floor.min(mss));
        match (mss(self.as_slice()), self.place(MSS)) {
            (Some(mss), Some((at, _))) => {
                let value = lowered(mss).to_be_bytes();
                let begin = at.saturating_add(2);
                if let Some(place) = self.octets.get_mut(begin..begin.saturating_add(2)) {
                    place.copy_from_slice(&value);
                }
            }
            _ => {
                let [high, low] = lowered(most).to_be_bytes();
                self.trim();
                let _added: bool = self.push(&[MSS, 4, high, low]);
            }
        }
    }

    /// Changes the value of the timestamps option, if there is one.
    pub fn set_timestamp(&mut self, value: u32) {
        self.set_in_timestamps(2, value);
    }

    /// Changes the value that the timestamps option repeats of the other end, if there is one.
    pub fn set_timestamp_reply(&mut self, value: u32) {
        self.set_in_timestamps(6, value);
    }

    fn set_in_timestamps(&mut self, offset: usize, value: u32) {
        if let Some((at, 10)) = self.place(TIMESTAMPS) {
            let begin = at.saturating_add(offset);
            if let Some(place) = self.octets.get_mut(begin..begin.saturating_add(4)) {
                place.copy_from_slice(&value.to_be_bytes());
            }
        }
    }

    /// Puts SACK blocks at the end, as many as there is room for behind two NOPs. Gives their
    /// number.
    pub fn push_sack(&mut self, blocks: &[(Seq, Seq)]) -> usize {
        self.trim();
        let count = blocks.len().min(self.room().saturating_sub(4) / 8).min(4);
        let length = count.saturating_mul(8).saturating_add(2);
        let (Ok(length), 1..) = (u8::try_from(length), count) else {
            return 0;
        };
        let mut pushed = self.put(&[NOP, NOP, SACK, length]);
        for (left, right) in blocks.iter().take(count) {
            pushed = pushed && self.put(&left.0.to_be_bytes()) && self.put(&right.0.to_be_bytes());
        }
        if pushed { count } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX_SYN: [u8; 20] = [
        2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
    ];

    #[test]
    fn a_syn_of_linux_is_read() {
        assert_eq!(mss(&LINUX_SYN), Some(1460));
        assert!(sack_permitted(&LINUX_SYN));
        assert_eq!(timestamps(&LINUX_SYN), Some((1, 0)));
        assert_eq!(each(&LINUX_SYN).count(), 4);
    }

    #[test]
    fn malformed_lists_end() {
        for octets in [
            &[253_u8, 0][..],
            &[253, 1],
            &[253, 5, 0],
            &[253],
            &[2, 4, 5],
        ] {
            assert_eq!(each(octets).count(), 0, "{octets:?}");
        }
        assert_eq!(each(&[1, 1, 0, 2, 4, 5, 0]).count(), 0, "EOL ends");
    }

    #[test]
    fn padding_is_reused() {
        let mut options = OptionBuf::from_header(&[2, 4, 5, 0xb4, 1, 1, 0, 9]);
        options.trim();
        assert_eq!(options.as_slice(), [2, 4, 5, 0xb4]);
        let mut none = OptionBuf::from_header(&[1, 1, 1, 1]);
        none.trim();
        assert_eq!(none.as_slice(), []);
        let mut full = OptionBuf::from_header(&[8; 40]);
        assert!(!full.push(&[253, 2]));
    }

    #[test]
    fn mss_is_lowered_or_added() {
        let mut options = OptionBuf::from_header(&LINUX_SYN);
        options.lower_mss(40, 64, 1460);
        assert_eq!(mss(options.as_slice()), Some(1420));
        let mut jumbo = OptionBuf::from_header(&[2, 4, 0x23, 0]);
        jumbo.lower_mss(40, 64, 1460);
        assert_eq!(mss(jumbo.as_slice()), Some(1420));
        let mut none = OptionBuf::new();
        none.lower_mss(40, 64, 536);
        assert_eq!(none.as_slice(), [2, 4, 1, 0xf0]);
        let mut tiny = OptionBuf::from_header(&[2, 4, 0, 70]);
        tiny.lower_mss(40, 64, 536);
        assert_eq!(mss(tiny.as_slice()), Some(64));
    }

    #[test]
    fn options_are_taken_out_or_blanked() {
        let mut options = OptionBuf::from_header(&LINUX_SYN);
        options.blank(SACK_PERMITTED);
        assert_eq!(options.as_slice().get(4..6), Some(&[1, 1][..]));
        options.remove(TIMESTAMPS);
        assert_eq!(options.as_slice(), [2, 4, 5, 0xb4, 1, 1, 1, 3, 3, 7]);
    }

    #[test]
    fn sack_blocks_fill_the_room() {
        let blocks = [
            (Seq(1), Seq(2)),
            (Seq(3), Seq(4)),
            (Seq(5), Seq(6)),
            (Seq(7), Seq(8)),
        ];
        let mut options = OptionBuf::new();
        assert_eq!(options.push_sack(&blocks), 4);
        assert!(sack_blocks(options.as_slice()).eq(blocks));
        let mut beside = OptionBuf::from_header(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(beside.push_sack(&blocks), 3);
        assert_eq!(beside.padded_len(), 40);
        assert_eq!(OptionBuf::new().push_sack(&[]), 0);
    }

    #[test]
    fn a_timestamp_is_changed_in_place() {
        let mut options = OptionBuf::from_header(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        options.set_timestamp(0x0102_0304);
        assert_eq!(options.as_slice(), [1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 2]);
        for other in [&[8, 4, 0, 0][..], &[1, 1], &[8, 10, 0]] {
            let mut options = OptionBuf::from_header(other);
            options.set_timestamp(7);
            assert_eq!(options.as_slice(), other);
        }
    }

    #[test]
    fn room_and_padding() {
        const HELLO: [u8; 6] = [253, 6, 0x45, 0x4e, 0x21, 0x22];
        for (before, at) in [
            (vec![], Some(0)),
            (vec![2, 4, 5, 0xb4], Some(4)),
            // Padding stays as long as there is room behind it.
            (vec![2, 4, 5, 0xb4, 1, 1, 1, 1], Some(8)),
            (vec![3, 3, 7, 0], Some(3)),
            ([vec![8, 34], vec![7; 32], vec![0, 0]].concat(), Some(34)),
            ([vec![8, 30], vec![7; 28], vec![1; 10]].concat(), Some(30)),
            ([vec![8, 35], vec![7; 33], vec![0]].concat(), None),
            ([vec![8, 36], vec![7; 34]].concat(), None),
            ([vec![8, 40], vec![7; 38]].concat(), None),
        ] {
            let mut options = OptionBuf::from_header(&before);
            assert_eq!(options.append(&HELLO), at.is_some(), "{before:?}");
            let room = OptionBuf::room_in(&before);
            assert_eq!(room >= HELLO.len(), at.is_some(), "{before:?}");
            if let Some(at) = at {
                assert_eq!(options.as_slice()[at..], HELLO);
                assert_eq!(options.as_slice()[..at], before[..at]);
            }
        }
    }
}
