//! Timestamps toward the local TCP (RFC 7323).
//!
//! It throws away what has an older timestamp than a packet that it took before (section 5). Here packets change
//! their place in the stream: one that came too early becomes a word about what is old, and what fills a hole
//! may have been sent before it. With their own timestamps the first would have the second thrown away, and all
//! that the second brings.

use crate::packet::{OptionBuf, Seq, View};

use super::Flow;

/// A value that is older by more than this was not just overtaken: the peer's clock began anew, or wrapped while
/// nothing was said. Then the local TCP has to decide.
const OVERTAKEN: u32 = 1 << 24;

/// The timestamps that the local TCP gets to see.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stamps {
    /// The latest.
    shown: Option<u32>,
}

impl Stamps {
    /// The value for a packet that stands where it stood in the peer's stream: its own, or the latest.
    fn in_order(&mut self, value: u32) -> u32 {
        let shown = match self.shown {
            Some(shown) if is_overtaken(value, shown) => shown,
            _ => value,
        };
        self.shown = Some(shown);
        shown
    }

    /// The value for a packet that stands elsewhere, and so says nothing of the time: the latest.
    fn elsewhere(&mut self, value: u32) -> u32 {
        *self.shown.get_or_insert(value)
    }
}

fn is_overtaken(value: u32, by: u32) -> bool {
    Seq(value).lt(Seq(by)) && by.wrapping_sub(value) < OVERTAKEN
}

impl Flow {
    /// Puts the timestamp into the options of a packet for the local TCP that is good for it there. `in_order`
    /// if it stands where the peer's stream goes on, or before.
    pub(super) fn stamp(&mut self, packet: &View<'_>, in_order: bool, changed: &mut OptionBuf) {
        let Some((value, _)) = self.timestamps_of(packet) else {
            return;
        };
        let shown = match in_order {
            true => self.stamps.in_order(value),
            false => self.stamps.elsewhere(value),
        };
        if shown != value {
            changed.set_timestamp(shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Stamps;

    #[test]
    fn they_never_fall_back_but_with_the_clock() {
        let mut stamps = Stamps::default();
        assert_eq!(stamps.elsewhere(100), 100);
        assert_eq!(stamps.in_order(90), 100);
        assert_eq!(stamps.in_order(110), 110);
        assert_eq!(stamps.elsewhere(200), 110);
        assert_eq!(stamps.in_order(u32::MAX), 110);
        // Far back: not late, but another clock.
        assert_eq!(stamps.in_order(0x8000_1000), 0x8000_1000);
        assert_eq!(stamps.in_order(u32::MAX), u32::MAX);
        assert_eq!(stamps.in_order(3), 3);
    }
}
