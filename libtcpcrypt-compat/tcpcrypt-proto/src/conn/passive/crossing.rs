//! What is different where this host has opened the connection as well and is host B (`crossed`).

use std::time::Instant;

use crate::conn::crossed::Crossed;
use crate::conn::plan::{Plan, Said};
use crate::conn::segment::{self, Syn};
use crate::conn::{Context, Move, Wish};
use crate::eno::EnoOption;
use crate::packet::{Flags, FourTuple, Seq, View};
use crate::verdict::Verdict;

use super::{Answer, Passive, Stage};

impl Passive {
    /// The peer's SYN met ours, which is our answer to it. `began`: our SYN, and when the handshake began; `view`: the
    /// peer's SYN or SYN-ACK, with `offer` in it.
    pub(in super::super) fn crossed(
        tuple: FourTuple,
        wish: Wish,
        (own, started): (Syn, Instant),
        view: &View<'_>,
        offer: EnoOption,
        (said, plan): (Said, Plan),
        crossed: Crossed,
    ) -> Self {
        let answer = Answer {
            syn: own,
            said,
            sent: started,
            stale: false,
        };
        Self {
            tuple,
            wish,
            started,
            syn: Syn::of(view),
            offer,
            plan,
            answer: Some(answer),
            withdrawn: false,
            crossed: Some(Box::new(crossed)),
            stage: Stage::Offered,
        }
    }

    /// Whether this is the number of a SYN of ours that met the peer's.
    pub(crate) fn has_crossed(&self, isn: Seq) -> bool {
        self.crossed.as_ref().is_some_and(|it| it.isn() == isn)
    }

    /// The peer that has opened the connection as well repeats its SYN, or answers ours.
    pub(super) fn syn_of_crossing_peer(&mut self, cx: &mut Context<'_>, view: &View<'_>) -> Move {
        let is_answer = view.flags().has(Flags::ACK);
        let is_its_own = view.seq() == self.syn.isn;
        match (&self.crossed, &self.stage) {
            (Some(crossed), _) if is_its_own && !is_answer => {
                crossed.send_answer(cx, &self.tuple);
                Move::stay(Verdict::Drop)
            }
            // It has not seen our option.
            (_, Stage::Offered) if is_its_own && !segment::says_eno(view, self.offer.kind()) => {
                Move::plain()
            }
            _ => Move::stay(Verdict::Drop),
        }
    }

    /// What segments of an opener carry: also ours, if we were one.
    pub(super) fn bare(&self) -> Option<EnoOption> {
        let bare = || EnoOption::of(self.offer.kind(), &[]);
        self.crossed.is_some().then(bare)
    }
}
