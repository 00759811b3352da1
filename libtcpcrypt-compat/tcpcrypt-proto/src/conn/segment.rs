//! Segments of a handshake as the wire and the local TCP get them (tcpcrypt spec 4.1 and 5.1).

use std::time::Duration;

use crate::config::Config;
use crate::eno::{EnoOption, RFC_KIND};
use crate::flow::FlowOptions;
use crate::packet::options::{self, EOL};
use crate::packet::{Flags, FourTuple, OptionBuf, Rewrite, Seq, View};
use crate::verdict::Verdict;

/// How much less the local TCP is to put into a segment: room for a record's overhead, and what the original
/// takes off.
const MSS_REDUCTION: u16 = 40;

/// With less than this an INIT message or a record with data is not sure to fit a segment: such peers get
/// plain TCP.
const SMALLEST_MSS: u16 = 256;

/// No path takes longer, for our purposes.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(60);

/// What a SYN says of the TCP that sent it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syn {
    pub isn: Seq,
    sack: bool,
    timestamps: bool,
    window_scale: Option<u8>,
    window: u16,
    /// Octets of the longest packets that it takes: what its link carries, usually.
    packet: Option<u16>,
}

impl Syn {
    pub(super) fn of(view: &View<'_>) -> Self {
        let each = view.options();
        let window_scale = options::find(each, options::WINDOW_SCALE)
            .and_then(|option| option.data.first().copied());
        Self {
            isn: view.seq(),
            sack: options::sack_permitted(each),
            timestamps: options::timestamps(each).is_some(),
            window_scale,
            window: view.window(),
            packet: options::mss(each)
                .map(|mss| mss.max(SMALLEST_MSS).saturating_add(headers_len(view))),
        }
    }

    /// The longest packets on a path that is said to carry `mtu` octets, and has this SYN's sender at one end. What
    /// the local TCP makes fits its own link, which may be a tunnel; as a record it has to fit it still.
    pub(super) fn bounded_mtu(&self, mtu: u16) -> u16 {
        self.packet.map_or(mtu, |packet| packet.min(mtu))
    }

    /// What an INIT2 says of the window of this SYN's sender, bounded by what its SYN said. The original's has
    /// a copy of the client's own (spec 5.1), which the server need not have.
    pub(super) fn bounded_window(&self, other: &Syn, copied: u16) -> u16 {
        let own = match (self.window_scale, other.window_scale) {
            (Some(scale), Some(_)) => self.window >> scale.min(14),
            _ => self.window,
        };
        // One that was closed at first (a proxy's) says nothing of later.
        if own == 0 { copied } else { own.min(copied) }
    }
}

/// What two SYNs settle for the flow.
pub(super) fn flow_options(
    config: &Config,
    tuple: FourTuple,
    local: &Syn,
    remote: &Syn,
) -> FlowOptions {
    FlowOptions {
        sack: local.sack && remote.sack,
        timestamps: local.timestamps && remote.timestamps,
        mtu: local.bounded_mtu(remote.bounded_mtu(config.mtu)),
        local_window_scale: local.window_scale.filter(|_| remote.window_scale.is_some()),
        remote_window_scale: remote.window_scale.filter(|_| local.window_scale.is_some()),
        ..FlowOptions::new(tuple)
    }
}

/// Whether the sender of a SYN takes segments that are long enough for us.
pub(super) fn has_room_for_records(view: &View<'_>) -> bool {
    options::mss(view.options()).is_none_or(|mss| mss >= SMALLEST_MSS)
}

/// The ENO option of a segment. Two of them, or one that cannot be read, are none.
pub(super) fn eno(view: &View<'_>) -> Option<EnoOption> {
    EnoOption::find(view.options()).ok().flatten()
}

/// Whether a segment of the local TCP negotiates by itself, in either dialect. That is somebody else's business.
pub(super) fn has_own_eno(view: &View<'_>) -> bool {
    EnoOption::find(view.options()) != Ok(None) || options::find(view.options(), RFC_KIND).is_some()
}

/// Puts the option behind the others, or into the padding behind them; says whether there was room.
pub(crate) fn append(options: &mut OptionBuf, option: &EnoOption) -> bool {
    let mut trimmed = *options;
    trimmed.trim();
    let padding = options.as_slice().get(trimmed.as_slice().len()..);
    // Behind an end-of-list nobody would find it.
    let ends = padding.unwrap_or_default().contains(&EOL);
    if !ends && options.push(option.as_bytes()) {
        return true;
    }
    *options = trimmed;
    options.push(option.as_bytes())
}

/// The same segment with the option. `None` if there is no room.
pub(super) fn with_option<'v>(
    config: &Config,
    view: &View<'v>,
    option: &EnoOption,
) -> Option<Rewrite<'v>> {
    let mut rewrite = Rewrite::of(view);
    let fits = append(&mut rewrite.options, option);
    let len = rewrite.length(view.payload().len());
    (fits && len <= usize::from(config.mtu)).then_some(rewrite)
}

/// Octets of the IP and the TCP header without options.
fn headers_len(view: &View<'_>) -> u16 {
    20 + if view.source().is_ipv4() { 20 } else { 40 }
}

/// A received SYN or SYN-ACK for the local TCP: it is to make shorter segments, and data that came with it are
/// not for it.
pub(super) fn syn_for_local<'v>(mtu: u16, view: &View<'v>) -> Rewrite<'v> {
    let mut rewrite = Rewrite::of(view);
    // Longer segments would be cut into records of the path's size, the most of which we had to send.
    let most = mtu.saturating_sub(headers_len(view));
    rewrite
        .options
        .lower_mss(MSS_REDUCTION, SMALLEST_MSS - MSS_REDUCTION, most);
    rewrite.flags = rewrite.flags.without(Flags::PSH | Flags::FIN | Flags::URG);
    rewrite
}

/// A received segment of the handshake for the local TCP, without the data, which are ours, and with a window
/// that keeps it from sending.
pub(super) fn closed_ack_for_local<'v>(view: &View<'v>, seq: Seq, ack: Seq) -> Rewrite<'v> {
    let mut rewrite = Rewrite::of(view);
    rewrite.seq = seq;
    rewrite.ack = ack;
    rewrite.window = 0;
    rewrite.urgent = 0;
    rewrite.flags = rewrite.flags.without(Flags::PSH | Flags::FIN | Flags::URG);
    rewrite
}

/// Writes a segment; what cannot be written goes nowhere.
pub(super) fn replace(rewrite: &Rewrite<'_>, payload: &[&[u8]], out: &mut Vec<u8>) -> Verdict {
    if rewrite.write(payload, out) {
        Verdict::Replace
    } else {
        Verdict::Drop
    }
}

/// The beginning of the peer's stream, which has its INIT message.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    octets: Vec<u8>,
}

impl Prefix {
    /// Adds what a segment has that comes next. `first` is the number of the stream's first octet. Octets
    /// beyond `limit` are not kept.
    pub(super) fn add(&mut self, first: Seq, view: &View<'_>, limit: usize) {
        let offset = view.seq().since(first);
        let Ok(have) = u32::try_from(self.octets.len()) else {
            return;
        };
        // A segment that begins before the stream, or leaves a hole, is not for here.
        if offset > have {
            return;
        }
        let skip = usize::try_from(have - offset).unwrap_or(usize::MAX);
        let new = view.payload().get(skip..).unwrap_or_default();
        let room = limit.saturating_sub(self.octets.len());
        self.octets
            .extend_from_slice(new.get(..room).unwrap_or(new));
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }
}

/// Bounds a measured round trip.
pub(super) fn round_trip(time: Duration) -> Duration {
    time.min(LONGEST_ROUND_TRIP)
}

#[cfg(test)]
mod tests {
    use super::append;
    use crate::eno::{EnoOption, Offer, Tep};
    use crate::packet::OptionBuf;

    fn hello() -> EnoOption {
        Offer {
            teps: &Tep::DEFAULT,
            app_aware: false,
            resume: None,
        }
        .build()
    }

    #[test]
    fn room_and_padding() {
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
            assert_eq!(append(&mut options, &hello()), at.is_some(), "{before:?}");
            if let Some(at) = at {
                assert_eq!(&options.as_slice()[at..], hello().as_bytes());
                assert_eq!(options.as_slice()[..at], before[..at]);
            }
        }
    }
}
