//! How a kernel's TCP is set up.

use std::time::Duration;

use crate::model::family::longer_header;

/// What stands in a probe of a closed window and in a keep-alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Nothing: the number before the next one, as Linux does it.
    Empty,
    /// One octet of data: the next one for a window probe, one that is long acknowledged for a
    /// keep-alive, as BSD and Windows do it.
    OneOctet,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) mss: u16,
    pub(crate) timestamps: bool,
    pub(crate) sack: bool,
    pub(crate) window_scale: Option<u8>,
    /// Octets that are kept for the application at most.
    pub(crate) receive_buffer: usize,
    /// The first sequence number; else a random one.
    pub(crate) isn: Option<u32>,
    pub(crate) delayed_ack: Duration,
    pub(crate) min_rto: Duration,
    /// Time-outs in a row after which a connection is given up.
    pub(crate) retries: u32,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) probe: Probe,
    /// Retransmissions are cut at other places than the first time.
    pub(crate) resegment: bool,
    /// Segments leave as super-packets and come as such, and checksums are the device's affair.
    pub(crate) super_packets: bool,
    pub(crate) time_wait: Duration,
    /// Further options in SYNs, as they go onto the wire.
    pub(crate) syn_options: Vec<u8>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mss: 1460 - longer_header(),
            timestamps: true,
            sack: true,
            window_scale: Some(7),
            receive_buffer: 256 * 1024,
            isn: None,
            delayed_ack: Duration::from_millis(40),
            min_rto: Duration::from_millis(200),
            retries: 15,
            keep_alive: None,
            probe: Probe::Empty,
            resegment: true,
            super_packets: false,
            time_wait: Duration::from_secs(60),
            syn_options: Vec::new(),
        }
    }
}
