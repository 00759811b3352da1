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

pub use crate::packet::Direction;
