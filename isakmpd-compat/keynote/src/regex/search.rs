//! Where the leftmost longest match is: every way through the pattern at once, one step per octet.

use std::ops::Range;

use super::{Node, NodeId, Octets, RegexError, spend};

/// Instructions of a pattern; repetitions are written out.
const MOST_INSTRUCTIONS: usize = 20_000;

/// A step of the machine; the numbers are places in the program.
#[derive(Debug, Clone, Copy)]
pub(super) enum Instruction {
    One(Octets),
    Start,
    End,
    Jump(usize),
    /// Both.
    Split(usize, usize),
    Match,
}

pub(super) fn compile(nodes: &[Node], root: NodeId) -> Result<Vec<Instruction>, RegexError> {
    let mut compiler = Compiler {
        nodes,
        program: Vec::new(),
    };
    compiler.node(root)?;
    compiler.push(Instruction::Match)?;
    Ok(compiler.program)
}

struct Compiler<'n> {
    nodes: &'n [Node],
    program: Vec<Instruction>,
}

impl Compiler<'_> {
    fn push(&mut self, instruction: Instruction) -> Result<usize, RegexError> {
        let at = self.program.len();
        if at >= MOST_INSTRUCTIONS {
            return Err(RegexError::TooBig);
        }
        self.program.push(instruction);
        Ok(at)
    }

    fn set(&mut self, at: usize, instruction: Instruction) {
        if let Some(place) = self.program.get_mut(at) {
            *place = instruction;
        }
    }

    fn node(&mut self, id: NodeId) -> Result<(), RegexError> {
        let nodes = self.nodes;
        match nodes.get(id) {
            None => {}
            Some(Node::One(octets)) => {
                self.push(Instruction::One(*octets))?;
            }
            Some(Node::Start) => {
                self.push(Instruction::Start)?;
            }
            Some(Node::End) => {
                self.push(Instruction::End)?;
            }
            Some(Node::Sequence(parts)) => {
                for part in parts {
                    self.node(*part)?;
                }
            }
            Some(Node::Group(inside, _)) => self.node(*inside)?,
            Some(Node::Either(branches)) => self.either(branches)?,
            Some(Node::Repeat(inside, least, most)) => self.repeat(*inside, *least, *most)?,
        }
        Ok(())
    }

    fn either(&mut self, branches: &[NodeId]) -> Result<(), RegexError> {
        let mut jumps = Vec::new();
        let Some((last, others)) = branches.split_last() else {
            return Ok(());
        };
        for branch in others {
            let split = self.push(Instruction::Match)?;
            self.node(*branch)?;
            jumps.push(self.push(Instruction::Match)?);
            let next = self.program.len();
            self.set(split, Instruction::Split(split.saturating_add(1), next));
        }
        self.node(*last)?;
        let end = self.program.len();
        for jump in jumps {
            self.set(jump, Instruction::Jump(end));
        }
        Ok(())
    }

    fn repeat(&mut self, inside: NodeId, least: u32, most: Option<u32>) -> Result<(), RegexError> {
        for _ in 0..least {
            self.node(inside)?;
        }
        let Some(most) = most else {
            let split = self.push(Instruction::Match)?;
            self.node(inside)?;
            self.push(Instruction::Jump(split))?;
            let end = self.program.len();
            self.set(split, Instruction::Split(split.saturating_add(1), end));
            return Ok(());
        };
        let mut splits = Vec::new();
        for _ in least..most {
            splits.push(self.push(Instruction::Match)?);
            self.node(inside)?;
        }
        let end = self.program.len();
        for split in splits {
            self.set(split, Instruction::Split(split.saturating_add(1), end));
        }
        Ok(())
    }
}

/// The ways that are open before an octet, by where they began; each place of the program once, for the
/// earliest beginning.
struct Ways {
    /// Places that wait for an octet, and beginnings in ascending order.
    waiting: Vec<(usize, usize)>,
    /// The position at which a place was last reached, plus one.
    reached: Vec<usize>,
    /// Places to look at.
    stack: Vec<usize>,
}

impl Ways {
    fn new(len: usize) -> Ways {
        Ways {
            waiting: Vec::new(),
            reached: vec![0; len],
            stack: Vec::new(),
        }
    }
}

pub(super) fn find(
    program: &[Instruction],
    text: &[u8],
    work: &mut u64,
) -> Result<Option<Range<usize>>, RegexError> {
    let mut ways = Ways::new(program.len());
    let mut best: Option<Range<usize>> = None;
    let mut before = Vec::new();
    for position in 0..=text.len() {
        // Ways that go on from the octet before, and a new one as long as nothing was found.
        std::mem::swap(&mut before, &mut ways.waiting);
        ways.waiting.clear();
        let octet = position.checked_sub(1).and_then(|at| text.get(at));
        for (place, start) in before.drain(..) {
            spend(work, 1)?;
            let goes_on = match (program.get(place), octet) {
                (Some(Instruction::One(octets)), Some(octet)) => octets.contains(*octet),
                _ => false,
            };
            let hopeless = best.as_ref().is_some_and(|best| best.start < start);
            if goes_on && !hopeless {
                let place = place.saturating_add(1);
                follow(
                    program,
                    &mut ways,
                    place,
                    start,
                    position,
                    text.len(),
                    &mut best,
                    work,
                )?;
            }
        }
        if best.is_none() {
            follow(
                program,
                &mut ways,
                0,
                position,
                position,
                text.len(),
                &mut best,
                work,
            )?;
        }
        if ways.waiting.is_empty() && best.is_some() {
            break;
        }
    }
    Ok(best)
}

/// All that can be reached from a place without an octet.
#[allow(clippy::too_many_arguments)]
fn follow(
    program: &[Instruction],
    ways: &mut Ways,
    place: usize,
    start: usize,
    position: usize,
    len: usize,
    best: &mut Option<Range<usize>>,
    work: &mut u64,
) -> Result<(), RegexError> {
    let mark = position.saturating_add(1);
    ways.stack.push(place);
    while let Some(place) = ways.stack.pop() {
        spend(work, 1)?;
        match ways.reached.get_mut(place) {
            Some(reached) if *reached != mark => *reached = mark,
            _ => continue,
        }
        let next = place.saturating_add(1);
        match program.get(place) {
            Some(Instruction::One(_)) => ways.waiting.push((place, start)),
            Some(Instruction::Start) if position == 0 => ways.stack.push(next),
            Some(Instruction::End) if position == len => ways.stack.push(next),
            Some(Instruction::Jump(to)) => ways.stack.push(*to),
            Some(Instruction::Split(one, other)) => {
                ways.stack.push(*other);
                ways.stack.push(*one);
            }
            // Beginnings come in ascending order, so that the first one to end here is the best one here; a
            // later end of the same beginning is longer, and an earlier beginning is better in any case.
            Some(Instruction::Match) if best.as_ref().is_none_or(|best| start <= best.start) => {
                *best = Some(start..position);
            }
            _ => {}
        }
    }
    Ok(())
}
