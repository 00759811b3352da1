//! Octets of a stream from when they come until they are acknowledged, in pieces, so that a connection that
//! has nothing under way holds little, and one at rest nothing.

use std::collections::VecDeque;

/// What the first piece holds at least: most connections carry a few short messages. A store that needed no more
/// keeps it, so that the next message costs nothing.
const FIRST_PIECE: usize = 256;

/// So many times as much as the last one the next piece holds, up to [`PIECE`].
const GROWTH: usize = 8;

/// What pieces of a store hold at least that had more than two of them.
pub(super) const PIECE: usize = 16 * 1024;

/// Pieces that a store has a place for without being asked to give it back.
const SMALL: usize = 4;

/// A drained store gives back more room for pieces than this.
const KEPT_PIECES: usize = 16;

/// Slices that one packet is put together from. The pieces behind the first two hold [`PIECE`] octets, so this is
/// enough for a packet of 64 kB.
pub(super) const MAX_SLICES: usize = 8;

struct Piece {
    start: i64,
    octets: Vec<u8>,
}

impl Piece {
    fn end(&self) -> i64 {
        self.start.saturating_add_unsigned(self.octets.len() as u64)
    }
}

/// A first-in first-out store of octets, found by their place in the stream. What is appended at once lies in
/// one piece.
pub(super) struct ByteStore {
    pieces: VecDeque<Piece>,
    end: i64,
    /// A used piece for the next turn, of [`PIECE`] octets at most: who asks and answers would else pay for a
    /// piece with each word.
    spare: Option<Vec<u8>>,
}

impl ByteStore {
    pub(super) fn new() -> Self {
        Self {
            pieces: VecDeque::new(),
            end: 0,
            spare: None,
        }
    }

    /// Has `write` append up to `need` octets. What it appends is stored if it says `Ok`.
    pub(super) fn append<T, E>(
        &mut self,
        need: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
    ) -> Result<T, E> {
        let fits = self
            .pieces
            .back()
            .is_some_and(|last| last.octets.capacity() - last.octets.len() >= need);
        if !fits {
            let last = self.pieces.back().map(|last| last.octets.capacity());
            let room = last.map_or(FIRST_PIECE, |last| last.saturating_mul(GROWTH).min(PIECE));
            let least = if last.is_none() { need } else { need.max(room) };
            let octets = match self.spare.take().filter(|spare| spare.capacity() >= least) {
                Some(spare) => spare,
                None => Vec::with_capacity(need.max(room)),
            };
            self.pieces.push_back(Piece {
                start: self.end,
                octets,
            });
        }
        let Some(last) = self.pieces.back_mut() else {
            // Not reached: there is a piece by now.
            return write(&mut Vec::new());
        };
        let before = last.octets.len();
        let written = write(&mut last.octets);
        if written.is_err() {
            last.octets.truncate(before);
        }
        self.end = last.end();
        if last.octets.is_empty() {
            self.pieces.pop_back();
        }
        written
    }

    /// The octets from one place to another. Says how many slices were filled in; they may cover less where
    /// there are more slices than fit, or where octets are gone.
    pub(super) fn slices<'a>(
        &'a self,
        from: i64,
        to: i64,
        slices: &mut [&'a [u8]; MAX_SLICES],
    ) -> usize {
        let mut place = from;
        let mut used = 0;
        let first = self.pieces.partition_point(|piece| piece.end() <= from);
        for (piece, slot) in self.pieces.range(first..).zip(slices.iter_mut()) {
            if place >= to || place < piece.start {
                break;
            }
            let end = to.min(piece.end());
            let range = usize::try_from(place - piece.start)
                .ok()
                .zip(usize::try_from(end - piece.start).ok());
            let Some(part) = range.and_then(|(from, to)| piece.octets.get(from..to)) else {
                break;
            };
            *slot = part;
            used += 1;
            place = end;
        }
        used
    }

    /// Forgets the octets before a place, by whole pieces.
    pub(super) fn release(&mut self, place: i64) {
        while self
            .pieces
            .front()
            .is_some_and(|piece| piece.end() <= place)
        {
            let gone = self.pieces.pop_front();
            let best = self.spare.as_ref().map_or(0, Vec::capacity);
            if let Some(mut gone) =
                gone.filter(|piece| (best..=PIECE).contains(&piece.octets.capacity()))
            {
                gone.octets.clear();
                self.spare = Some(gone.octets);
            }
        }
        if self.pieces.is_empty() && self.pieces.capacity() > KEPT_PIECES {
            self.pieces = VecDeque::new();
        }
    }

    /// Whether there is much to give back.
    pub(super) fn is_large(&self) -> bool {
        let spare = self.spare.as_ref().map_or(0, Vec::capacity);
        spare > FIRST_PIECE || self.pieces.capacity() > SMALL
    }

    /// Gives back what is kept for the next turn.
    pub(super) fn rest(&mut self) {
        self.spare = None;
        self.pieces.shrink_to_fit();
    }

    /// Octets of memory held.
    pub(super) fn footprint(&self) -> usize {
        let pieces: usize = self
            .pieces
            .iter()
            .map(|piece| piece.octets.capacity())
            .sum();
        pieces
            + self.spare.as_ref().map_or(0, Vec::capacity)
            + self.pieces.capacity() * size_of::<Piece>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(store: &mut ByteStore, octets: &[u8]) {
        let written: Result<(), ()> = store.append(octets.len(), |out| {
            out.extend_from_slice(octets);
            Ok(())
        });
        assert_eq!(written, Ok(()));
    }

    fn read(store: &ByteStore, from: i64, to: i64) -> Vec<u8> {
        let mut slices = [[].as_slice(); MAX_SLICES];
        let used = store.slices(from, to, &mut slices);
        slices[..used].concat()
    }

    #[test]
    fn gives_back_what_was_stored_and_the_memory() {
        let mut store = ByteStore::new();
        let stream: Vec<u8> = (0..200_000u32).map(|i| (i / 7) as u8).collect();
        for part in stream.chunks(1428) {
            append(&mut store, part);
        }
        assert_eq!(read(&store, 1000, 50_000), stream[1000..50_000]);
        store.release(100_000);
        assert_eq!(read(&store, 100_000, 130_000), stream[100_000..130_000]);
        assert!(read(&store, 1000, 1010).is_empty());
        assert!(store.footprint() < 170_000);
        store.release(200_000);
        assert!(store.footprint() < 17_000);
        store.rest();
        assert_eq!(store.footprint(), 0);
        append(&mut store, b"more");
        assert_eq!(read(&store, 200_000, 200_004), b"more");
        assert!(store.footprint() < 3000);
    }

    #[test]
    fn nothing_remains_of_a_write_that_failed() {
        let mut store = ByteStore::new();
        let failed: Result<(), ()> = store.append(5, |out| {
            out.extend_from_slice(b"wrong");
            Err(())
        });
        assert_eq!(failed, Err(()));
        append(&mut store, b"right");
        assert_eq!(read(&store, 0, 9), b"right");
    }
}
