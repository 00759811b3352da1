//! What becomes of a packet.

/// The decision about one packet of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it is.
    Accept,
    /// What was appended goes on in its place.
    Replace,
    /// It goes nowhere.
    Drop,
}

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From this host's TCP to the wire.
    Out,
    /// From the wire to this host's TCP.
    In,
}
