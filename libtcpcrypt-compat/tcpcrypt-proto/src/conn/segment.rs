//! Segments of a handshake as the wire and the local TCP get them (tcpcrypt spec 4.1 and 5.1).

use std::time::Duration;

use crate::config::Config;
use crate::eno::{EnoOption, Kind, RFC_KIND};
use crate::flow::FlowOptions;
use crate::packet::options;
use crate::packet::{Flags, FourTuple, OptionBuf, Rewrite, Seq, View};
use crate::verdict::Verdict;

/// How much less the local TCP is to put into a segment, as a rule: room for a record's overhead, and what the
/// original takes off.
const MSS_REDUCTION: u16 = 40;

/// The least that can be taken off: a record's overhead with an urgent pointer, and a little room.
const LEAST_REDUCTION: u16 = 24;

/// The most that is taken off.
const MOST_REDUCTION: u16 = 80;

/// What a record adds to its data.
const OVERHEAD: usize = 20;

/// The data that Linux puts into a super-packet at most: 64 kB less the room for headers that it leaves, which
/// depends on how the kernel was built, in whole segments. This is with the least room.
const SUPER_PACKET: usize = 65_536 - 1 - 192;

/// A super-packet that replaces another (tcpcrypt-datapath 2.3).
const LONGEST_PACKET: usize = 0xffff - 4;

/// The longest options of TCP, but for those that are only in SYNs: timestamps, and room to spare.
const OPTIONS: usize = 20;

/// With less than this an INIT message or a record with data is not sure to fit a segment: such peers get
/// plain TCP.
const SMALLEST_MSS: u16 = 256;

/// No path takes longer, for our purposes.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(60);

/// What a SYN says of the TCP that sent it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syn {
    pub isn: Seq,
    mss: Option<u16>,
    /// Of IP and TCP, without options.
    headers: u16,
    sack: bool,
    timestamps: bool,
    window_scale: Option<u8>,
    window: u16,
}

impl Syn {
    pub(super) fn of(view: &View<'_>) -> Self {
        let each = view.options();
        let window_scale = options::find(each, options::WINDOW_SCALE)
            .and_then(|option| option.data.first().copied());
        Self {
            isn: view.seq(),
            mss: options::mss(each),
            headers: if view.source().is_ipv4() { 40 } else { 60 },
            sack: options::sack_permitted(each),
            timestamps: options::timestamps(each).is_some(),
            window_scale,
            window: view.window(),
        }
    }

    /// The longest packets on a path that is said to carry `mtu` octets, and has this SYN's sender at one end. What
    /// the local TCP makes fits its own link, which may be a tunnel; as a record it has to fit it still.
    pub(super) fn bounded_mtu(&self, mtu: u16) -> u16 {
        let carried = |mss: u16| mss.max(SMALLEST_MSS).saturating_add(self.headers);
        self.mss.map_or(mtu, |mss| carried(mss).min(mtu))
    }

    /// The MSS of this SYN, as far as packets of our size let it be used.
    fn usable_mss(&self, mtu: u16) -> u16 {
        let most = mtu.saturating_sub(self.headers);
        self.mss.map_or(most, |mss| mss.min(most))
    }

    /// How much is taken off the MSS of this SYN before the local TCP gets to see it. As much as the original
    /// does, if then all records of the longest super-packet fit the packet that replaces it: else some would
    /// have to go by themselves, and behind the next super-packet.
    fn reduction(&self, mtu: u16) -> u16 {
        let mss = self.usable_mss(mtu);
        let fits = |reduction: &u16| {
            // Whoever offers timestamps as a rule meets somebody who agrees.
            let options = if self.timestamps { 12 } else { 0 };
            let segment = usize::from(mss.saturating_sub(*reduction)).saturating_sub(options);
            records_fit(segment, self.headers)
        };
        let less = (LEAST_REDUCTION..=MSS_REDUCTION).rev();
        let mut all = less.chain(MSS_REDUCTION..=MOST_REDUCTION);
        all.find(fits).unwrap_or(MSS_REDUCTION)
    }

    /// The MSS that the local TCP gets to see.
    fn shown_mss(&self, mtu: u16) -> u16 {
        let mss = self.usable_mss(mtu);
        let floor = SMALLEST_MSS - MSS_REDUCTION;
        let lowered = mss.saturating_sub(self.reduction(mtu));
        lowered.max(floor.min(mss))
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

/// Whether what the local TCP puts into one super-packet can go on in one, in records of `segment` octets behind
/// `headers` octets of headers without options.
fn records_fit(segment: usize, headers: u16) -> bool {
    let Some(per_record) = segment.checked_sub(OVERHEAD).filter(|data| *data > 0) else {
        return false;
    };
    let data = SUPER_PACKET / segment * segment;
    let records = data + data.div_ceil(per_record) * OVERHEAD;
    usize::from(headers) + OPTIONS + records <= LONGEST_PACKET
}

/// What two SYNs settle for the flow. `shown` is the MTU by which the remote SYN's MSS was lowered.
pub(super) fn flow_options(
    config: &Config,
    tuple: FourTuple,
    local: &Syn,
    remote: &Syn,
    shown: u16,
) -> FlowOptions {
    FlowOptions {
        sack: local.sack && remote.sack,
        timestamps: local.timestamps && remote.timestamps,
        mtu: local.bounded_mtu(remote.bounded_mtu(config.mtu)),
        segment: local
            .mss
            .map(|mss| mss.min(remote.shown_mss(shown)))
            .filter(|mss| remote.window == 0 || remote.window / 2 >= *mss),
        local_window_scale: local.window_scale.filter(|_| remote.window_scale.is_some()),
        remote_window_scale: remote.window_scale.filter(|_| local.window_scale.is_some()),
        ..FlowOptions::new(tuple)
    }
}

/// Whether the sender of a SYN takes segments that are long enough for us.
pub(super) fn has_room_for_records(view: &View<'_>) -> bool {
    options::mss(view.options()).is_none_or(|mss| mss >= SMALLEST_MSS)
}

/// The ENO option of a segment, of either kind. Two of them, or one that cannot be read, are none.
pub(super) fn eno(view: &View<'_>) -> Option<EnoOption> {
    EnoOption::find_any(view.options()).ok().flatten()
}

/// Whether a segment has an option of this kind. Behind the SYNs several are the same as one, and what they say is
/// ignored (RFC 8547 section 4.1).
pub(super) fn says_eno(view: &View<'_>, kind: Kind) -> bool {
    options::each(view.options())
        .filter_map(|option| EnoOption::parse_any(option.raw).ok())
        .any(|option| option.kind() == kind)
}

/// Whether data came with a SYN that has the option, readable or not. In none of the key exchanges that we know do they
/// mean anything, so nobody may get them (RFC 8547 section 4.7).
pub(crate) fn has_data_beside_eno(view: &View<'_>) -> bool {
    view.flags().has(Flags::SYN) && !view.payload().is_empty() && has_own_eno(view)
}

/// The same SYN without data.
pub(crate) fn without_data(view: &View<'_>, out: &mut Vec<u8>) -> Verdict {
    let mut rewrite = Rewrite::of(view);
    rewrite.flags = rewrite.flags.without(Flags::PSH | Flags::FIN | Flags::URG);
    rewrite.urgent = 0;
    replace(&rewrite, &[], out)
}

/// Whether a segment of the local TCP negotiates by itself, in either dialect. That is somebody else's business.
pub(super) fn has_own_eno(view: &View<'_>) -> bool {
    EnoOption::find_any(view.options()) != Ok(None)
        || options::find(view.options(), RFC_KIND).is_some()
}

/// Octets that the longest option may have that there is room for.
pub(super) fn room(view: &View<'_>) -> usize {
    OptionBuf::room_in(view.options())
}

/// The same segment with the option. `None` if there is no room.
pub(super) fn with_option<'v>(
    config: &Config,
    view: &View<'v>,
    option: &EnoOption,
) -> Option<Rewrite<'v>> {
    let mut rewrite = Rewrite::of(view);
    // No cookie may stand beside it (RFC 8547 section 4.7); a request for one may.
    if options::find(view.options(), options::FAST_OPEN).is_some_and(|it| !it.data.is_empty()) {
        rewrite.options.remove(options::FAST_OPEN);
    }
    let fits = rewrite.options.append(option.as_bytes());
    let len = rewrite.length(view.payload().len());
    (fits && len <= usize::from(config.mtu)).then_some(rewrite)
}

/// A received SYN or SYN-ACK for the local TCP: it is to make shorter segments, and data that came with it are
/// not for it.
pub(super) fn syn_for_local<'v>(mtu: u16, view: &View<'v>) -> Rewrite<'v> {
    let mut rewrite = Rewrite::of(view);
    let syn = Syn::of(view);
    // Longer segments would be cut into records of the path's size, the most of which we had to send.
    let most = mtu.saturating_sub(syn.headers);
    let (reduction, floor) = (syn.reduction(mtu), SMALLEST_MSS - MSS_REDUCTION);
    rewrite.options.lower_mss(reduction, floor, most);
    // A cookie must not stand in the answer, nor be of use for a later SYN, whose data would be in the clear.
    rewrite.options.remove(options::FAST_OPEN);
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
    use super::{Syn, records_fit, syn_for_local};
    use crate::config::Config;
    use crate::packet::{Direction, Flags, FourTuple, Fresh, View, options};

    /// As the local TCP is shown an MSS, and as the flow knows it.
    fn shown(mss: Option<u16>, timestamps: bool) -> u16 {
        let address = |text: &str| text.parse().expect("an address");
        let tuple = FourTuple {
            local: address("10.0.0.1:80"),
            remote: address("10.0.0.2:1000"),
        };
        let mut fresh = Fresh::new(tuple, Direction::In);
        fresh.flags = Flags::SYN;
        if let Some(mss) = mss {
            let [high, low] = mss.to_be_bytes();
            assert!(fresh.options.push(&[options::MSS, 4, high, low]));
        }
        if timestamps {
            let option = [options::TIMESTAMPS, 10, 0, 0, 0, 1, 0, 0, 0, 0];
            assert!(fresh.options.push(&option));
        }
        let (mut packet, mut out) = (Vec::new(), Vec::new());
        assert!(fresh.write(&[], &mut packet));
        let view = View::parse(&packet).expect("a packet");
        let mtu = Config::default().mtu;
        assert!(syn_for_local(mtu, &view).write(&[], &mut out));
        let shown = View::parse(&out).expect("a packet");
        let shown = options::mss(shown.options()).expect("an MSS");
        assert_eq!(Syn::of(&view).shown_mss(mtu), shown);
        shown
    }

    #[test]
    fn the_longest_super_packet_has_room_for_its_records() {
        // 46 segments of 1420 octets would need 47 records; 45 of 1421 need 46, which fit.
        assert!(!records_fit(1408, 40) && !records_fit(1420, 40) && records_fit(1421, 40));
        assert_eq!(shown(Some(1460), true), 1433);
        assert_eq!(shown(Some(1460), false), 1421);
        assert_eq!(shown(Some(9000), true), 1433);
        assert_eq!(shown(None, false), 1421);
        assert_eq!(shown(Some(260), false), 220);
        for mss in 340..=1460 {
            let shown = shown(Some(mss), true);
            assert!((24..=80).contains(&(mss - shown)), "{mss} {shown}");
            // For those of real networks there is one.
            assert!(
                mss < 1150 || records_fit(usize::from(shown) - 12, 40),
                "{mss}"
            );
        }
    }
}
