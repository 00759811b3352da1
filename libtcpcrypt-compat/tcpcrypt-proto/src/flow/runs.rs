//! Ciphertext that came before what precedes it.

use std::collections::VecDeque;

/// Gaps in the stream that are kept track of. A sender with SACK makes a few; only a hostile one makes more.
const MAX_RUNS: usize = 256;

/// What the pieces of a run behind the first hold at least.
const PIECE: usize = 8 * 1024;

/// What a piece costs beside its octets: its place in the queue, which may be half empty, and the allocator's
/// part. Without it, a stream that comes backwards octet by octet would hold many times the limit.
const PIECE_COST: usize = 2 * size_of::<Vec<u8>>() + 32;

/// Octets without a gap.
pub(super) struct Run {
    start: i64,
    end: i64,
    pieces: VecDeque<Vec<u8>>,
    /// When it last grew, for the order of SACK blocks.
    stamp: u64,
}

impl Run {
    /// From where to where it goes.
    pub(super) fn range(&self) -> (i64, i64) {
        (self.start, self.end)
    }

    /// The octets, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(Vec::as_slice)
    }

    fn room(&self) -> usize {
        let octets: usize = self.pieces.iter().map(Vec::capacity).sum();
        octets.saturating_add(self.pieces.len().saturating_mul(PIECE_COST))
    }

    fn push(&mut self, octets: &[u8], stamp: u64) -> usize {
        self.end = self.end.saturating_add_unsigned(octets.len() as u64);
        self.stamp = stamp;
        match self.pieces.back_mut() {
            Some(last) if last.capacity() - last.len() >= octets.len() => {
                last.extend_from_slice(octets);
                0
            }
            before => {
                let need = match before {
                    Some(_) => octets.len().max(PIECE),
                    None => octets.len(),
                };
                let mut piece = Vec::with_capacity(need);
                piece.extend_from_slice(octets);
                let room = piece.capacity().saturating_add(PIECE_COST);
                self.pieces.push_back(piece);
                room
            }
        }
    }
}

/// All runs, in order and with gaps between them. The first octet to come for a place is the one that counts.
pub(super) struct Runs {
    runs: Vec<Run>,
    held: usize,
    stamp: u64,
}

impl Runs {
    pub(super) fn new() -> Self {
        Self {
            runs: Vec::new(),
            held: 0,
            stamp: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Where the first run begins.
    pub(super) fn start(&self) -> Option<i64> {
        self.runs.first().map(|run| run.start)
    }

    /// Stores octets of which some may be there. Those that would make it hold more than `limit`, or make one
    /// gap too many, are left out: they will be sent again.
    pub(super) fn insert(&mut self, start: i64, octets: &[u8], limit: usize) {
        self.stamp += 1;
        let mut place = start;
        let mut rest = octets;
        while !rest.is_empty() {
            // The run that `place` lies in or that is the last before it, and where the next one begins.
            let after = self.runs.partition_point(|run| run.start <= place);
            let next = self.runs.get(after).map(|run| run.start);
            let before = after.checked_sub(1);
            if let Some(run) = before.and_then(|index| self.runs.get_mut(index)) {
                let known = usize::try_from(run.end.saturating_sub(place)).unwrap_or(0);
                if known > 0 {
                    run.stamp = self.stamp;
                    rest = rest.get(known..).unwrap_or_default();
                    place = run.end;
                    continue;
                }
            }
            let gap = match next {
                Some(next) => usize::try_from(next.saturating_sub(place)).unwrap_or(0),
                None => rest.len(),
            };
            let (part, more) = rest.split_at(gap.min(rest.len()));
            if self.held.saturating_add(part.len()) > limit || !self.insert_part(after, place, part)
            {
                return;
            }
            place = place.saturating_add_unsigned(part.len() as u64);
            rest = more;
        }
    }

    /// Puts octets into the gap in front of the run at `after`, which has room for them.
    fn insert_part(&mut self, after: usize, place: i64, part: &[u8]) -> bool {
        let end = place.saturating_add_unsigned(part.len() as u64);
        let touches_next = self.runs.get(after).is_some_and(|run| run.start == end);
        let before = after
            .checked_sub(1)
            .filter(|index| self.runs.get(*index).is_some_and(|run| run.end == place));
        let grown = match before {
            Some(before) => before,
            None => {
                if self.runs.len() >= MAX_RUNS && !touches_next {
                    return false;
                }
                self.runs.insert(
                    after,
                    Run {
                        start: place,
                        end: place,
                        pieces: VecDeque::new(),
                        stamp: 0,
                    },
                );
                after
            }
        };
        if let Some(run) = self.runs.get_mut(grown) {
            self.held += run.push(part, self.stamp);
        }
        if touches_next {
            let mut next = self.runs.remove(grown + 1);
            if let Some(run) = self.runs.get_mut(grown) {
                run.end = next.end;
                // The shorter one is moved: a stream that comes backwards would else move all of it each time.
                if run.pieces.len() < next.pieces.len() {
                    while let Some(piece) = run.pieces.pop_back() {
                        next.pieces.push_front(piece);
                    }
                    run.pieces = next.pieces;
                } else {
                    run.pieces.append(&mut next.pieces);
                }
            }
        }
        true
    }

    /// Takes out the first run if it reaches to `place`.
    pub(super) fn take(&mut self, place: i64) -> Option<Run> {
        if self.start()? > place {
            return None;
        }
        let run = self.runs.remove(0);
        self.held = self.held.saturating_sub(run.room());
        if self.runs.is_empty() {
            self.runs = Vec::new();
            self.held = 0;
        }
        Some(run)
    }

    /// The runs in the order of SACK blocks: the one that grew last first (RFC 2018 section 4). Says how many
    /// there are.
    pub(super) fn latest(&self, blocks: &mut [(i64, i64)]) -> usize {
        let mut used = 0;
        let mut below = u64::MAX;
        for block in blocks {
            let next = self
                .runs
                .iter()
                .filter(|run| run.stamp < below)
                .max_by_key(|run| run.stamp);
            let Some(run) = next else { break };
            below = run.stamp;
            *block = run.range();
            used += 1;
        }
        used
    }

    /// Octets of memory held.
    pub(super) fn footprint(&self) -> usize {
        self.held + self.runs.capacity() * size_of::<Run>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(run: &Run) -> Vec<u8> {
        run.pieces().collect::<Vec<_>>().concat()
    }

    #[test]
    fn the_first_to_come_counts() {
        let mut runs = Runs::new();
        runs.insert(10, b"bbb", 1 << 20);
        runs.insert(20, b"ccc", 1 << 20);
        runs.insert(8, b"AAAAAAAAAAAAAAAAAAAA", 1 << 20);
        let run = runs.take(8).expect("one run");
        assert_eq!(run.range(), (8, 28));
        assert_eq!(octets(&run), b"AAbbbAAAAAAAcccAAAAA");
        assert!(runs.take(99).is_none());
        assert_eq!(runs.footprint(), 0);
    }

    #[test]
    fn the_latest_block_is_first() {
        let mut runs = Runs::new();
        runs.insert(10, b"a", 1 << 20);
        runs.insert(20, b"b", 1 << 20);
        runs.insert(30, b"c", 1 << 20);
        runs.insert(21, b"b", 1 << 20);
        let mut blocks = [(0, 0); 3];
        assert_eq!(runs.latest(&mut blocks), 3);
        assert_eq!(blocks, [(20, 22), (30, 31), (10, 11)]);
    }

    #[test]
    fn backwards_by_single_octets_is_one_run() {
        let mut runs = Runs::new();
        for place in (0..2000).rev() {
            runs.insert(place, &[place as u8], 1 << 20);
        }
        let run = runs.take(0).expect("all");
        assert_eq!(run.range(), (0, 2000));
        assert!(octets(&run).iter().enumerate().all(|(i, o)| *o == i as u8));
    }

    /// A queue of single octets costs far more than the octets.
    #[test]
    fn backwards_is_bounded_too() {
        let mut runs = Runs::new();
        for place in (0..10_000).rev() {
            runs.insert(place, b"x", 100_000);
        }
        let pieces = runs.runs.iter().map(|run| run.pieces.capacity());
        let cost = pieces.sum::<usize>() * size_of::<Vec<u8>>();
        assert!(cost < 100_000, "{cost}");
        assert!(runs.footprint() < 101_000);
    }

    #[test]
    fn bounded_in_octets_and_gaps() {
        let mut runs = Runs::new();
        for i in 0..10_000 {
            runs.insert(i * 2, b"x", 1 << 20);
        }
        assert_eq!(runs.runs.len(), MAX_RUNS);
        let mut runs = Runs::new();
        for i in 0..100 {
            runs.insert(10 + i * 1000, &[0; 1000], 20_000);
        }
        assert!(runs.footprint() < 30_000);
    }
}
