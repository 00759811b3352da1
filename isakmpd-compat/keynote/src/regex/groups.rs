//! What the subexpressions matched, given where the whole match is: each as long as possible, those
//! that begin earlier first (POSIX.1 chapter 9.1).

use std::collections::HashMap;
use std::ops::Range;

use super::{Node, NodeId, RegexError, spend};

/// A set of positions in the match.
#[derive(Clone, PartialEq, Eq)]
struct Positions(Vec<u64>);

impl Positions {
    fn none(count: usize) -> Positions {
        Positions(vec![0; count.div_ceil(64)])
    }

    fn insert(&mut self, position: usize) {
        if let Some(word) = self.0.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    fn contains(&self, position: usize) -> bool {
        self.0
            .get(position / 64)
            .is_some_and(|word| word & (1 << (position % 64)) != 0)
    }

    fn add(&mut self, other: &Positions) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    fn meets(&self, other: &Positions) -> bool {
        self.0.iter().zip(&other.0).any(|(one, two)| one & two != 0)
    }

    /// The last position that is in both.
    fn last_common(&self, other: &Positions) -> Option<usize> {
        self.0
            .iter()
            .zip(&other.0)
            .enumerate()
            .rev()
            .find_map(|(index, (one, two))| {
                let word = one & two;
                let bit = usize::try_from(word.checked_ilog2()?).ok()?;
                index.checked_mul(64)?.checked_add(bit)
            })
    }
}

pub(super) fn locate(
    nodes: &[Node],
    root: NodeId,
    text: &[u8],
    whole: &Range<usize>,
    spans: &mut [Option<Range<usize>>],
    work: &mut u64,
) -> Result<(), RegexError> {
    let mut locator = Locator {
        nodes,
        text: text.get(whole.clone()).unwrap_or_default(),
        at_start: whole.start == 0,
        at_end: whole.end == text.len(),
        offset: whole.start,
        ends: HashMap::new(),
        spans,
        work,
    };
    let len = locator.text.len();
    locator.node(root, 0, len)
}

struct Locator<'a> {
    nodes: &'a [Node],
    /// The octets of the match; positions count from its beginning.
    text: &'a [u8],
    at_start: bool,
    at_end: bool,
    offset: usize,
    /// Where a node can end that begins at a position.
    ends: HashMap<(NodeId, usize), Positions>,
    spans: &'a mut [Option<Range<usize>>],
    work: &'a mut u64,
}

impl Locator<'_> {
    /// An empty set, paid for.
    fn nowhere(&mut self) -> Result<Positions, RegexError> {
        let count = self.text.len().saturating_add(1);
        spend(self.work, (count as u64 / 64).saturating_add(4))?;
        Ok(Positions::none(count))
    }

    fn just(&mut self, position: usize) -> Result<Positions, RegexError> {
        let mut positions = self.nowhere()?;
        positions.insert(position);
        Ok(positions)
    }

    /// Where the node can end when it begins at `from`.
    fn ends(&mut self, id: NodeId, from: usize) -> Result<Positions, RegexError> {
        if let Some(known) = self.ends.get(&(id, from)) {
            let words = known.0.len() as u64;
            let known = known.clone();
            spend(self.work, words.saturating_add(1))?;
            return Ok(known);
        }
        let nodes = self.nodes;
        let found = match nodes.get(id) {
            None => self.nowhere()?,
            Some(Node::One(octets)) => {
                let fits = self
                    .text
                    .get(from)
                    .is_some_and(|octet| octets.contains(*octet));
                return if fits {
                    self.just(from.saturating_add(1))
                } else {
                    self.nowhere()
                };
            }
            Some(Node::Start) => self.anchor(self.at_start && from == 0, from)?,
            Some(Node::End) => self.anchor(self.at_end && from == self.text.len(), from)?,
            Some(Node::Group(inside, _)) => self.ends(*inside, from)?,
            Some(Node::Sequence(parts)) => {
                let mut now = self.just(from)?;
                for part in parts {
                    now = self.step(*part, &now)?;
                }
                now
            }
            Some(Node::Either(branches)) => {
                let mut found = self.nowhere()?;
                for branch in branches {
                    let ends = self.ends(*branch, from)?;
                    found.add(&ends);
                }
                found
            }
            Some(Node::Repeat(inside, least, most)) => {
                self.repeated(*inside, *least, *most, from)?
            }
        };
        self.ends.insert((id, from), found.clone());
        Ok(found)
    }

    fn anchor(&mut self, holds: bool, from: usize) -> Result<Positions, RegexError> {
        if holds {
            self.just(from)
        } else {
            self.nowhere()
        }
    }

    /// Where the node can end that begins at one of `from`.
    fn step(&mut self, id: NodeId, from: &Positions) -> Result<Positions, RegexError> {
        let mut found = self.nowhere()?;
        for position in 0..=self.text.len() {
            spend(self.work, 1)?;
            if from.contains(position) {
                let ends = self.ends(id, position)?;
                found.add(&ends);
            }
        }
        Ok(found)
    }

    fn repeated(
        &mut self,
        inside: NodeId,
        least: u32,
        most: Option<u32>,
        from: usize,
    ) -> Result<Positions, RegexError> {
        let mut now = self.just(from)?;
        for _ in 0..least {
            now = self.step(inside, &now)?;
        }
        // Without a limit it ends when nothing new is reached, after as many steps as there are octets.
        let more = most.map_or(u32::MAX, |most| most.saturating_sub(least));
        let mut found = now.clone();
        for _ in 0..more {
            now = self.step(inside, &now)?;
            let before = found.clone();
            found.add(&now);
            if found == before {
                break;
            }
        }
        Ok(found)
    }

    /// Positions from which the node leads into `goals`.
    fn leading(
        &mut self,
        id: NodeId,
        goals: &Positions,
        from: usize,
    ) -> Result<Positions, RegexError> {
        let mut found = self.nowhere()?;
        for position in from..=self.text.len() {
            spend(self.work, 1)?;
            if self.ends(id, position)?.meets(goals) {
                found.insert(position);
            }
        }
        Ok(found)
    }

    /// Sets the subexpressions of a node that matches from `from` to `to`.
    fn node(&mut self, id: NodeId, from: usize, to: usize) -> Result<(), RegexError> {
        let nodes = self.nodes;
        match nodes.get(id) {
            Some(Node::Group(inside, number)) => {
                let span = self.offset.saturating_add(from)..self.offset.saturating_add(to);
                if let Some(place) = self.spans.get_mut(*number) {
                    *place = Some(span);
                }
                self.node(*inside, from, to)
            }
            Some(Node::Sequence(parts)) => self.sequence(parts, from, to),
            Some(Node::Either(branches)) => {
                for branch in branches {
                    if self.ends(*branch, from)?.contains(to) {
                        return self.node(*branch, from, to);
                    }
                }
                Ok(())
            }
            Some(Node::Repeat(inside, least, most)) => {
                self.repeat(*inside, *least, *most, from, to)
            }
            _ => Ok(()),
        }
    }

    fn sequence(&mut self, parts: &[NodeId], from: usize, to: usize) -> Result<(), RegexError> {
        // For every part, from behind: where the ones after it can begin.
        let mut goals = vec![self.just(to)?];
        for part in parts.iter().skip(1).rev() {
            let next = match goals.last() {
                Some(after) => {
                    let after = after.clone();
                    self.leading(*part, &after, from)?
                }
                None => return Ok(()),
            };
            goals.push(next);
        }
        let mut at = from;
        for part in parts {
            let Some(goal) = goals.pop() else {
                return Ok(());
            };
            let Some(end) = self.ends(*part, at)?.last_common(&goal) else {
                return Ok(());
            };
            self.node(*part, at, end)?;
            at = end;
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        inside: NodeId,
        least: u32,
        most: Option<u32>,
        from: usize,
        to: usize,
    ) -> Result<(), RegexError> {
        let goals = self.goals(inside, least, most, from, to)?;
        let last = goals.len().saturating_sub(1);
        let mut at = from;
        let mut done: usize = 0;
        // The last repetition is the one whose subexpressions stay. An empty one is only made if there are not
        // enough others.
        let enough = usize::try_from(least).unwrap_or(usize::MAX).max(1);
        while at < to || done < enough {
            // How often it still may be: without a limit the last goal stays in force.
            let next = match most {
                Some(_) => done.saturating_add(1),
                None => done.saturating_add(1).min(last),
            };
            let Some(goal) = goals.get(next) else {
                return Ok(());
            };
            let Some(end) = self.ends(inside, at)?.last_common(goal) else {
                return Ok(());
            };
            self.node(inside, at, end)?;
            if end == at && next == last {
                return Ok(());
            }
            at = end;
            done = done.saturating_add(1);
        }
        Ok(())
    }

    /// After 0, 1, 2... repetitions: where one may stand so that `to` can still be reached in the number of
    /// repetitions that is left.
    fn goals(
        &mut self,
        inside: NodeId,
        least: u32,
        most: Option<u32>,
        from: usize,
        to: usize,
    ) -> Result<Vec<Positions>, RegexError> {
        let mut goals = vec![match most {
            Some(_) => self.just(to)?,
            None => self.closure(inside, from, to)?,
        }];
        for done in (0..most.unwrap_or(least)).rev() {
            let after = match goals.last() {
                Some(after) => after.clone(),
                None => return Ok(goals),
            };
            let mut next = self.leading(inside, &after, from)?;
            if done >= least {
                next.insert(to);
            }
            goals.push(next);
        }
        goals.reverse();
        Ok(goals)
    }

    /// Positions from which any number of repetitions leads to `to`.
    fn closure(&mut self, inside: NodeId, from: usize, to: usize) -> Result<Positions, RegexError> {
        let mut found = self.just(to)?;
        for position in (from..to).rev() {
            spend(self.work, 1)?;
            if self.ends(inside, position)?.meets(&found) {
                found.insert(position);
            }
        }
        Ok(found)
    }
}
