//! The program at the end that connects, and which end it is at.

use super::super::instruction::{Label, When, Width};
use super::super::record;
use super::Register::{R0, R1, R2, R3, R6, R7, R8, R9, R10};
use super::find::Of;
use super::{EXPERIMENT, EXPERIMENT_ID, HAS_DATA, STANDARD, Writer, context, stack};

/// `BPF_WRITE_HDR_TCP_SYNACK_COOKIE`
const IS_COOKIE: i32 = 2;
const FLAG_SYN: i32 = 0x02;
const FLAG_ACK: i32 = 0x10;

impl Writer<'_> {
    /// The SYN-ACK is here.
    pub(super) fn active(&mut self) {
        let [plain, standard, six, third, done] = std::array::from_fn(|_| self.a.label());
        self.storage();
        self.only_role(record::OPENER);
        self.a.load(Width::Octet, R1, R7, record::SYN_LENGTH);
        self.a.jump_if(R1, When::Equal, 0, plain);
        self.find_either(Of::Segment, plain);
        // An answer is of the kind of its question.
        self.a.load(Width::Octet, R1, R10, stack::FOUND);
        self.a.load(Width::Octet, R2, R7, record::SYN);
        self.a.jump_if_register(R1, When::NotEqual, R2, plain);
        self.a.store(Width::Octet, R7, record::SYN_ACK_LENGTH, R8);
        self.copy((R7, record::SYN_ACK), (R10, stack::FOUND));
        self.note_numbers();
        let octet = |this: &mut Self, offset: i16, octet: u8| {
            this.a
                .store_number(Width::Octet, R7, offset, i32::from(octet));
        };
        self.a.jump_if(R9, When::NotEqual, 0, standard);
        // In the original's dialect a resumed connection has no option behind the SYNs. The answer
        // is one octet then, with another in front at most.
        let last = stack::FOUND + 4;
        self.a.jump_if(R8, When::Greater, 6, third);
        self.a.jump_if(R8, When::Equal, 6, six);
        self.a.load(Width::Octet, R1, R10, last);
        self.a.jump_if(R1, When::AnyBit, HAS_DATA, plain);
        self.a.jump(third);
        self.a.place(six);
        self.a.load(Width::Octet, R1, R10, last + 1);
        self.a.jump_if(R1, When::AnyBit, HAS_DATA, plain);
        self.a.place(third);
        octet(self, record::THIRD, EXPERIMENT);
        octet(self, record::THIRD + 1, 4);
        octet(self, record::THIRD + 2, EXPERIMENT_ID[0]);
        octet(self, record::THIRD + 3, EXPERIMENT_ID[1]);
        octet(self, record::THIRD_LENGTH, 4);
        self.a.jump(done);
        self.a.place(standard);
        octet(self, record::THIRD, STANDARD);
        octet(self, record::THIRD + 1, 2);
        octet(self, record::THIRD_LENGTH, 2);
        self.a.place(done);
        self.out();
        self.a.place(plain);
        self.stop_calls();
        self.out();
    }

    /// Goes to `request` if the options are those of a SYN-ACK of a port of ours, to `syn` if they are
    /// of an opener's SYN; what follows is for a segment behind. [`R7`] is what is stored.
    fn which_segment(&mut self, request: Label, syn: Label) {
        let full = self.a.label();
        self.a.load(Width::Word, R1, R6, context::IS_FULL_SOCKET);
        self.a.jump_if(R1, When::NotEqual, 0, full);
        self.a.load(Width::Word, R1, R6, context::ARGUMENT);
        self.out_if(R1, When::Equal, IS_COOKIE);
        self.a.load(Width::Word, R1, R6, context::LOCAL_PORT);
        self.a.store(Width::Word, R10, stack::KEY, R1);
        self.look_up(self.maps.ports, stack::KEY);
        self.out_if(R0, When::Equal, 0);
        self.a.jump(request);
        self.a.place(full);
        self.storage();
        self.only_role(record::OPENER);
        self.a.load(Width::Word, R8, R6, context::TCP_FLAGS);
        self.a.jump_if(R8, When::AnyBit, FLAG_SYN, syn);
    }

    /// How much room does the option need?
    pub(super) fn length(&mut self, choose: Label) {
        let [syn, stop] = std::array::from_fn(|_| self.a.label());
        self.which_segment(choose, syn);
        // Also when the kernel only wants to know how much data fit.
        self.a.load(Width::Octet, R2, R7, record::THIRD_LENGTH);
        self.out_if(R2, When::Equal, 0);
        self.a.load(Width::Word, R1, R6, context::DATA_SEGMENTS_IN);
        self.a.jump_if(R1, When::NotEqual, 0, stop);
        self.a.load(Width::Word, R1, R6, context::SND_UNA);
        self.a.load(Width::Word, R3, R7, record::OURS);
        self.a.jump_if_register(R1, When::NotEqual, R3, stop);
        self.reserve();
        self.out();
        self.a.place(stop);
        // The peer has sent something behind its SYN-ACK.
        self.stop_calls();
        self.out();
        self.a.place(syn);
        self.out_if(R8, When::AnyBit, FLAG_ACK);
        self.a.load(Width::Octet, R2, R7, record::OFFER_LENGTH);
        self.reserve();
        self.out();
    }

    /// Room was made: write it.
    pub(super) fn write_option(&mut self, choose: Label) {
        let syn = self.a.label();
        self.which_segment(choose, syn);
        self.a.load(Width::Octet, R3, R7, record::THIRD_LENGTH);
        self.store_from((R7, record::THIRD));
        self.out();
        self.a.place(syn);
        self.out_if(R8, When::AnyBit, FLAG_ACK);
        self.a.load(Width::Octet, R3, R7, record::OFFER_LENGTH);
        self.store_from((R7, record::OFFER));
        // What was not written was not asked.
        self.out_if(R0, When::NotEqual, 0);
        self.copy((R7, record::SYN), (R7, record::OFFER));
        self.a.load(Width::Octet, R1, R7, record::OFFER_LENGTH);
        self.a.store(Width::Octet, R7, record::SYN_LENGTH, R1);
        self.out();
    }
}
