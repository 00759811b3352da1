//! Dead peer detection (RFC 3706; isakmpd-wire 4.4): what one ISAKMP SA remembers of it.

use std::time::Duration;

use crate::sa::SaId;

/// How often one probe is sent before the peer counts as dead.
pub(crate) const MOST_PROBES: u32 = 5;

/// How long a probe waits for its ACK.
pub(crate) const PROBE_WAIT: Duration = Duration::from_secs(5);

/// More repetitions of one R-U-THERE than this are not answered.
const MOST_REPETITIONS: u32 = 5;

/// Of how many SAs the kernel is asked when they were used, before the peer is asked itself.
pub(crate) const MOST_QUESTIONS: usize = 16;

/// What is going on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Doing {
    /// No probes: not configured, or the peer does not speak DPD, or a newer SA does it.
    #[default]
    Nothing,
    /// Until the timer runs out.
    Waiting,
    /// The kernel is asked about the first of these SAs; the others come next.
    Asking(Vec<SaId>),
    /// A probe is on its way.
    Probing,
}

/// Both directions of DPD on one ISAKMP SA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dpd {
    /// What is going on.
    pub(crate) doing: Doing,
    sequence: Option<u32>,
    unanswered: u32,
    peer_sequence: u32,
    peer_repetitions: u32,
}

impl Dpd {
    /// A received R-U-THERE: it is to be answered, or (`Err`) its number is too low or came too often; the
    /// number in the error is the last good one.
    ///
    /// # Errors
    /// As said: `dpd_handle_notify: bad R_U_THERE seqno N <= M`.
    pub(crate) fn r_u_there(&mut self, sequence: u32) -> Result<(), u32> {
        if sequence < self.peer_sequence {
            return Err(self.peer_sequence);
        }
        if sequence == self.peer_sequence {
            self.peer_repetitions = self.peer_repetitions.saturating_add(1);
            if self.peer_repetitions >= MOST_REPETITIONS {
                return Err(self.peer_sequence);
            }
            return Ok(());
        }
        self.peer_sequence = sequence;
        self.peer_repetitions = 0;
        Ok(())
    }

    /// A received ACK: whether it is one of our probe.
    ///
    /// # Errors
    /// The number that it should have had.
    pub(crate) fn acknowledged(&mut self, sequence: u32) -> Result<(), u32> {
        match self.sequence {
            Some(expected) if expected == sequence => {
                self.unanswered = 0;
                Ok(())
            }
            expected => Err(expected.unwrap_or(0)),
        }
    }

    /// The number of a new probe; the first one comes of `random`.
    pub(crate) fn next_sequence(&mut self, random: [u8; 2]) -> u32 {
        let next = match self.sequence {
            None | Some(0) => u32::from(u16::from_be_bytes(random) & 0x7fff),
            Some(last) => last.wrapping_add(1),
        };
        self.sequence = Some(next);
        self.unanswered = 0;
        next
    }

    /// The current probe was not answered in time: the number to send again, or `None` when the peer is dead.
    pub(crate) fn unanswered(&mut self) -> Option<u32> {
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered < MOST_PROBES {
            self.sequence
        } else {
            None
        }
    }

    /// The peer showed that it lives.
    pub(crate) fn alive(&mut self) {
        self.unanswered = 0;
    }
}

/// How long to wait for the next look, when the SAs carried something `idle` ago; at least a second.
#[must_use]
pub(crate) fn remainder(interval: Duration, idle: Duration) -> Duration {
    interval.saturating_sub(idle).max(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_repeated_four_times_with_its_number() {
        let mut dpd = Dpd::default();
        assert_eq!(dpd.next_sequence([0xff, 0xfe]), 0x7ffe);
        for _ in 1..MOST_PROBES {
            assert_eq!(dpd.unanswered(), Some(0x7ffe));
        }
        assert_eq!(dpd.unanswered(), None);
    }

    #[test]
    fn numbers_go_up_by_one() {
        let mut dpd = Dpd::default();
        dpd.next_sequence([0, 7]);
        assert_eq!(dpd.acknowledged(7), Ok(()));
        assert_eq!(dpd.acknowledged(8), Err(7));
        assert_eq!(dpd.next_sequence([9, 9]), 8);
        assert_eq!(dpd.acknowledged(8), Ok(()));
    }

    #[test]
    fn an_ack_without_a_probe_is_none() {
        assert_eq!(Dpd::default().acknowledged(0), Err(0));
    }

    #[test]
    fn a_question_is_answered_five_times() {
        let mut dpd = Dpd::default();
        for _ in 0..5 {
            assert_eq!(dpd.r_u_there(10), Ok(()));
        }
        assert_eq!(dpd.r_u_there(10), Err(10));
        assert_eq!(dpd.r_u_there(9), Err(10));
        assert_eq!(dpd.r_u_there(11), Ok(()));
    }

    #[test]
    fn at_least_a_second_is_waited() {
        let seconds = Duration::from_secs;
        assert_eq!(remainder(seconds(30), seconds(10)), seconds(20));
        assert_eq!(remainder(seconds(3), seconds(3)), seconds(1));
        assert_eq!(remainder(seconds(3), seconds(9)), seconds(1));
    }
}
