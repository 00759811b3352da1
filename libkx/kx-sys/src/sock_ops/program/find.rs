//! Finding the ENO option of a segment.

use super::super::instruction::{Alu, Label, When, Width};
use super::Register::{R0, R1, R2, R3, R4, R5, R6, R8, R9, R10};
use super::{
    EXPERIMENT, EXPERIMENT_ID, OPTION, STANDARD, STANDARD_BASE, WORDS, Writer, context, function,
    stack,
};

/// Where an option is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// In the segment at hand.
    Segment = 0,
    /// In the SYN, `BPF_LOAD_HDR_OPT_TCP_SYN`.
    Syn = 1,
}

/// `SOL_TCP`
const LEVEL_TCP: i32 = 6;
/// `TCP_BPF_SYN`: the TCP header of the SYN.
const SYN_HEADER: i32 = 1005;
/// Octets of a TCP header at most; its options begin with the 20th.
const HEADER: i16 = 60;
const FIRST: i16 = 20;

impl Writer<'_> {
    /// Looks for the option of a kind in the segment at hand or the SYN. [`R0`] is its length, or less
    /// than 1.
    pub(super) fn find(&mut self, kind: u8, at: i16, of: Of) {
        self.clear(at, WORDS);
        let octet = |this: &mut Self, offset: i16, octet: u8| {
            this.a
                .store_number(Width::Octet, R10, at + offset, i32::from(octet));
        };
        octet(self, 0, kind);
        if kind == EXPERIMENT {
            octet(self, 1, 4);
            octet(self, 2, EXPERIMENT_ID[0]);
            octet(self, 3, EXPERIMENT_ID[1]);
        }
        self.a.alu_register(Alu::Move, R1, R6);
        self.stack_address(R2, at);
        self.a.alu(Alu::Move, R3, OPTION);
        self.a.alu(Alu::Move, R4, of as i32);
        self.a.call(function::LOAD_OPTION);
    }

    /// Finds the one ENO option, of whichever kind, and puts it at [`stack::FOUND`]. [`R8`] = its
    /// length, [`R9`] = where the answers of its kind begin. Else to `none`.
    pub(super) fn find_either(&mut self, of: Of, none: Label) {
        let [standard, found] = std::array::from_fn(|_| self.a.label());
        self.find(EXPERIMENT, stack::FOUND, of);
        self.a.alu_register(Alu::Move, R8, R0);
        self.a.alu(Alu::Move, R9, 0);
        self.a.jump_if(R8, When::SignedLess, 1, standard);
        self.a.jump(found);
        self.a.place(standard);
        self.find(STANDARD, stack::FOUND, of);
        self.a.alu_register(Alu::Move, R8, R0);
        self.a.alu(Alu::Move, R9, STANDARD_BASE);
        self.a.jump_if(R8, When::SignedLess, 1, none);
        self.a.place(found);
        self.a.jump_if(R8, When::Greater, OPTION, none);
        self.only_one(of, none);
    }

    /// To `several` if the segment has more than one ENO option (RFC 8547 section 4.6): the kernel finds
    /// the first of a kind and stops. Keeps all registers that calls keep.
    fn only_one(&mut self, of: Of, several: Label) {
        let [read, done] = std::array::from_fn(|_| self.a.label());
        // What is not there is zero, the end of options.
        self.clear(stack::HEADER, 8);
        match of {
            Of::Syn => {
                self.a.alu_register(Alu::Move, R1, R6);
                self.a.alu(Alu::Move, R2, LEVEL_TCP);
                self.a.alu(Alu::Move, R3, SYN_HEADER);
                self.stack_address(R4, stack::HEADER);
                self.a.alu(Alu::Move, R5, i32::from(HEADER));
                self.a.call(function::GET_OPTION);
            }
            Of::Segment => {
                self.a.load(Width::Double, R1, R6, context::DATA);
                self.a.load(Width::Double, R2, R6, context::DATA_END);
                for at in FIRST..HEADER {
                    self.a.alu_register(Alu::Move, R3, R1);
                    self.a.alu(Alu::Add, R3, i32::from(at) + 1);
                    self.a.jump_if_register(R3, When::Greater, R2, read);
                    self.a.load(Width::Octet, R3, R1, at);
                    self.a.store(Width::Octet, R10, stack::HEADER + at, R3);
                }
            }
        }
        self.a.place(read);
        // R3 = where the next option begins, R4 = how many were ours.
        self.a.alu(Alu::Move, R3, i32::from(FIRST));
        self.a.alu(Alu::Move, R4, 0);
        // The shortest has two octets.
        for at in FIRST..HEADER - 1 {
            let [next, padding, ours] = std::array::from_fn(|_| self.a.label());
            let octet = stack::HEADER + at;
            self.a.jump_if(R3, When::NotEqual, i32::from(at), next);
            self.a.load(Width::Octet, R1, R10, octet);
            self.a.jump_if(R1, When::Equal, 0, done);
            self.a.jump_if(R1, When::Equal, 1, padding);
            self.a.load(Width::Octet, R2, R10, octet + 1);
            self.a.jump_if(R2, When::Less, 2, done);
            self.a.alu_register(Alu::Add, R3, R2);
            self.a.jump_if(R1, When::Equal, i32::from(STANDARD), ours);
            self.a
                .jump_if(R1, When::NotEqual, i32::from(EXPERIMENT), next);
            if at + 4 > HEADER {
                self.a.jump(done);
            } else {
                for (at, expected) in [(2, EXPERIMENT_ID[0]), (3, EXPERIMENT_ID[1])] {
                    self.a.load(Width::Octet, R1, R10, octet + at);
                    self.a
                        .jump_if(R1, When::NotEqual, i32::from(expected), next);
                }
            }
            self.a.place(ours);
            self.a.jump_if(R4, When::NotEqual, 0, several);
            self.a.alu(Alu::Move, R4, 1);
            self.a.jump(next);
            self.a.place(padding);
            self.a.alu(Alu::Add, R3, 1);
            self.a.place(next);
        }
        self.a.place(done);
    }
}
