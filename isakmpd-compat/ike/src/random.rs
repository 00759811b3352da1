//! Randomness comes from outside, named by what it is for, so that a recording can be replayed.

/// What random octets are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// 8 octets of a cookie, never all zero.
    Cookie,
    /// A nonce.
    Nonce,
    /// 4 octets, never all zero.
    MessageId,
    /// 2 octets: the first DPD sequence number.
    DpdSequence,
    /// 2 octets: identifier of a Transaction exchange.
    TransactionIdentifier,
    /// 2 octets: where in 85.0 to 94.9 % a soft expiry comes.
    SoftExpiry,
    /// 4 octets: an SPI where no kernel gives one.
    Spi,
}

/// A source of octets that nobody can guess.
pub trait Random {
    /// Fills `octets`.
    fn fill(&mut self, purpose: Purpose, octets: &mut [u8]);
}
