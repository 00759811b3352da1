//! Sets of octets as ranges that do not touch.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Default)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a range, and says whether any of it was new.
    pub(crate) fn add(&mut self, mut from: u64, mut to: u64) -> bool {
        if from >= to || self.holds(from, to) {
            return false;
        }
        while let Some((start, end)) = self.0.range(..=to).next_back().map(|(s, e)| (*s, *e)) {
            if end < from {
                break;
            }
            self.0.remove(&start);
            from = from.min(start);
            to = to.max(end);
        }
        self.0.insert(from, to);
        true
    }

    pub(crate) fn holds(&self, from: u64, to: u64) -> bool {
        self.around(from).is_some_and(|(_, end)| end >= to)
    }

    /// The range that has `at` in it.
    pub(crate) fn around(&self, at: u64) -> Option<(u64, u64)> {
        let (start, end) = self.0.range(..=at).next_back()?;
        (*end > at).then_some((*start, *end))
    }

    /// The first range that begins behind `at`.
    pub(crate) fn next_start(&self, at: u64) -> Option<u64> {
        self.0.range(at..).next().map(|(start, _)| *start)
    }

    pub(crate) fn forget_below(&mut self, floor: u64) {
        while let Some((start, end)) = self.0.iter().next().map(|(s, e)| (*s, *e)) {
            if start >= floor {
                break;
            }
            self.0.remove(&start);
            if end > floor {
                self.0.insert(floor, end);
            }
        }
    }

    pub(crate) fn octets_between(&self, from: u64, to: u64) -> u64 {
        let pieces = self.0.iter().map(|(s, e)| (*s.max(&from), *e.min(&to)));
        pieces.map(|(s, e)| e.saturating_sub(s)).sum()
    }

    pub(crate) fn highest(&self) -> Option<u64> {
        self.0.iter().next_back().map(|(_, end)| *end)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(s, e)| (*s, *e))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
