//! Which connection wants to be called when.
//!
//! Most packets move a deadline further away. Such moves are not entered: the connection is called at the old
//! time, finds nothing due, and is entered anew. So a packet costs no work here.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::packet::FourTuple;

/// Entries in order.
#[derive(Default)]
pub(super) struct Timers {
    entries: BTreeSet<(Instant, FourTuple)>,
}

impl Timers {
    /// Sees to it that `tuple` is called at `wanted` or before. `entered` is the entry it has.
    pub(super) fn want(
        &mut self,
        tuple: &FourTuple,
        wanted: Option<Instant>,
        entered: &mut Option<Instant>,
    ) {
        let Some(wanted) = wanted else {
            return;
        };
        match *entered {
            Some(at) if at <= wanted => return,
            Some(at) => {
                self.entries.remove(&(at, *tuple));
            }
            None => {}
        }
        self.entries.insert((wanted, *tuple));
        *entered = Some(wanted);
    }

    pub(super) fn forget(&mut self, tuple: &FourTuple, entered: Option<Instant>) {
        if let Some(at) = entered {
            self.entries.remove(&(at, *tuple));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// Takes the first entry that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<FourTuple> {
        self.entries.first().filter(|(at, _)| *at <= now)?;
        self.entries.pop_first().map(|(_, tuple)| tuple)
    }
}
