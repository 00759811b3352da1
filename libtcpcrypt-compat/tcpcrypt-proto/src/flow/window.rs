//! Windows, which pass as they are but for one kind of peer.

use super::Flow;
use super::closing::Peer;

/// Octets under way that the original copes with. It remembers the numbers of the last 100 segments, and one
/// that is acknowledged or sent again after more than that stops the connection for ever: seen in transfers of
/// 100 MB. This is 70 segments of Ethernet's size.
const ORIGINAL_KEEPS: u32 = 96 * 1024;

impl Flow {
    /// A window for whoever sends to, or as, a peer that may be the original in divert mode. It is the same for
    /// both directions, since the original remembers both. A window never falls back by this: it is bounded
    /// from the first packet on.
    pub(super) fn bounded(&self, window: u16, scale: Option<u8>) -> u16 {
        if self.peer == Peer::Ordinary {
            return window;
        }
        let most = ORIGINAL_KEEPS >> scale.unwrap_or(0).min(14);
        u16::try_from(most).map_or(window, |most| window.min(most.max(1)))
    }
}
