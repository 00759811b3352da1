//! The headers in front of TCP in an IPv6 packet (RFC 8200 section 4).
//!
//! Passed over, as the kernel passes them over on the way to its TCP: hop-by-hop options, destination options, a
//! routing header at the end of its route, and the header of a fragment that is all of the packet (RFC 6946).
//! What stands behind any other header is nothing of ours: it is encrypted, has another destination, or the
//! kernel refuses it. IPsec gives it back to the queue without the header.

use super::view::ParseError;

/// Octets of the fixed header.
pub(super) const FIXED: usize = 40;

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// What is asked of fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pieces {
    /// They are refused.
    Refused,
    /// The first one will do: it has the ports.
    FirstWillDo,
}

/// Octets in front of the TCP header. `packet` goes no further than its length field says. Each header has
/// eight octets or more, so this ends with the packet.
pub(super) fn headers(packet: &[u8], pieces: Pieces) -> Result<usize, ParseError> {
    let mut at = FIXED;
    let mut next = octet(packet, 6)?;
    loop {
        let length = match next {
            TCP => return Ok(at),
            HOP_BY_HOP if at == FIXED => length(packet, at)?,
            DESTINATION => length(packet, at)?,
            // The checksum is made with the last address of the route, which is not there yet.
            ROUTING if octet(packet, at.saturating_add(3))? == 0 => length(packet, at)?,
            FRAGMENT => {
                let high = octet(packet, at.saturating_add(2))?;
                let low = octet(packet, at.saturating_add(3))?;
                let is_first = high == 0 && low & 0xf8 == 0;
                let is_last = low & 1 == 0;
                if !is_first || !is_last && pieces == Pieces::Refused {
                    return Err(ParseError::Fragment);
                }
                8
            }
            other => return Err(ParseError::Protocol(other)),
        };
        next = octet(packet, at)?;
        at = at.saturating_add(length);
    }
}

/// Octets of an extension header that says its length in units of eight beyond the first.
fn length(packet: &[u8], at: usize) -> Result<usize, ParseError> {
    let units = usize::from(octet(packet, at.saturating_add(1))?);
    Ok(units.saturating_add(1).saturating_mul(8))
}

fn octet(packet: &[u8], at: usize) -> Result<u8, ParseError> {
    packet.get(at).copied().ok_or(ParseError::Short {
        need: at.saturating_add(1),
        have: packet.len(),
    })
}
