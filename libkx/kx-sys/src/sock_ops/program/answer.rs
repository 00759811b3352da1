//! The program at the end that is connected to.

use super::super::instruction::{Alu, Label, When, Width};
use super::super::record;
use super::Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};
use super::find::Of;
use super::{
    ANSWERS, EXPERIMENT, HAS_DATA, OPTION, SESSION, STANDARD, Writer, context, event, function,
    stack,
};

/// Suboptions with data below this one are lengths, not key exchanges.
const FIRST_WITH_DATA: i32 = 0xa0;
/// `BPF_NOEXIST`: not in place of another value.
const ONLY_NEW: i32 = 1;

impl Writer<'_> {
    /// The answer to the SYN, and then what the event wants.
    pub(super) fn choose(&mut self) {
        let [session, choice, answered] = std::array::from_fn(|_| self.a.label());
        self.find_either(Of::Syn, self.out);
        // R7 = the place of the first answer; behind the last one as long as there is none.
        self.a.alu(Alu::Move, R7, ANSWERS as i32);
        self.scan(session, choice);

        self.a.place(choice);
        self.out_if(R7, When::Equal, ANSWERS as i32);
        self.copy_choice();
        self.a.jump(answered);

        self.a.place(session);
        self.session(answered, choice);

        self.a.place(answered);
        self.answer();
    }

    /// Walks along the suboptions: to `session` with [`R9`] = the place of a session's name, at the end
    /// to `end`. [`R7`] = the place of the first answer.
    fn scan(&mut self, session: Label, end: Label) {
        let behind_identifier = self.a.label();
        let name = SESSION as i16;
        self.a.jump_if(R9, When::Equal, 0, behind_identifier);
        for at in 2..OPTION as i16 {
            let [next, plain] = std::array::from_fn(|_| self.a.label());
            if at == 4 {
                self.a.place(behind_identifier);
            }
            self.a.jump_if(R8, When::Less, i32::from(at) + 1, end);
            self.a.load(Width::Octet, R1, R10, stack::FOUND + at);
            self.a.jump_if(R1, When::Less, HAS_DATA, plain);
            // The rest of the option belongs to it.
            if at + name <= OPTION as i16 {
                self.a.jump_if(R1, When::Less, FIRST_WITH_DATA, end);
                self.a.jump_if(R8, When::Less, i32::from(at + name), end);
                self.stack_address(R9, stack::FOUND + at);
                self.a.jump(session);
            } else {
                self.a.jump(end);
            }
            self.a.place(plain);
            self.a.jump_if(R7, When::NotEqual, ANSWERS as i32, next);
            self.a.alu_register(Alu::Add, R1, R9);
            self.a.store(Width::Word, R10, stack::KEY, R1);
            self.look_up(self.maps.answers, stack::KEY);
            self.a.jump_if(R0, When::Equal, 0, next);
            self.a.load(Width::Octet, R1, R0, 0);
            self.a.jump_if(R1, When::Equal, 0, next);
            self.a.load(Width::Word, R7, R10, stack::KEY);
            self.a.place(next);
        }
        self.a.jump(end);
    }

    /// Copies the answer at the place [`R7`], or out.
    fn copy_choice(&mut self) {
        self.a.store(Width::Word, R10, stack::KEY, R7);
        self.look_up(self.maps.answers, stack::KEY);
        self.out_if(R0, When::Equal, 0);
        self.copy_answer();
    }

    /// Copies the answer at [`R0`].
    fn copy_answer(&mut self) {
        self.a.load(Width::Double, R1, R0, 0);
        self.a.store(Width::Double, R10, stack::ANSWER, R1);
        let octets = record::SLOT_OCTETS;
        self.copy((R10, stack::ANSWER + octets), (R0, octets));
    }

    /// The answer to a client that names the session at [`R9`]; to `declined` if it does not get it.
    fn session(&mut self, answered: Label, declined: Label) {
        let [claim, mine] = std::array::from_fn(|_| self.a.label());
        for at in 0..SESSION as i16 {
            self.a.load(Width::Octet, R1, R9, at);
            self.a.store(Width::Octet, R10, stack::NAME + at, R1);
        }
        self.a.load(Width::Word, R1, R6, context::REMOTE_PORT);
        self.a.store(Width::Word, R10, stack::CLAIM, R1);
        self.a.load(Width::Word, R1, R6, context::LOCAL_PORT);
        self.a.store(Width::Word, R10, stack::CLAIM + 4, R1);
        self.look_up(self.maps.sessions, stack::NAME);
        self.a.jump_if(R0, When::Equal, 0, declined);
        self.copy_answer();
        self.a.load(Width::Word, R1, R6, context::OPERATION);
        self.a.jump_if(R1, When::Equal, event::OPTION_LENGTH, claim);
        self.a.place(mine);
        self.look_up(self.maps.claims, stack::NAME);
        self.a.jump_if(R0, When::Equal, 0, declined);
        self.a.load(Width::Double, R1, R0, 0);
        self.a.load(Width::Double, R2, R10, stack::CLAIM);
        self.a.jump_if_register(R1, When::NotEqual, R2, declined);
        self.a.load(Width::Word, R1, R6, context::OPERATION);
        self.a
            .jump_if(R1, When::NotEqual, event::PASSIVE_ESTABLISHED, answered);
        // It is used up.
        self.remove(self.maps.sessions, stack::NAME);
        self.remove(self.maps.claims, stack::NAME);
        self.a.jump(answered);

        self.a.place(claim);
        self.a.map(R1, self.maps.claims);
        self.stack_address(R2, stack::NAME);
        self.stack_address(R3, stack::CLAIM);
        self.a.alu(Alu::Move, R4, ONLY_NEW);
        self.a.call(function::MAP_UPDATE);
        // Somebody's already: of this connection, if the SYN or its answer is repeated.
        self.a.jump_if(R0, When::NotEqual, 0, mine);
        // It may have been taken back since we found it.
        self.look_up(self.maps.sessions, stack::NAME);
        self.a.jump_if(R0, When::NotEqual, 0, answered);
        self.remove(self.maps.claims, stack::NAME);
        self.a.jump(declined);
    }

    /// The answer is known: make room for it, write it, or note it. [`R8`] is the length of the
    /// client's option.
    fn answer(&mut self) {
        let [length, write, standard, third] = std::array::from_fn(|_| self.a.label());
        self.a.load(Width::Octet, R9, R10, stack::ANSWER);
        self.out_if(R9, When::Equal, 0);
        self.out_if(R9, When::Greater, OPTION);
        self.a.load(Width::Word, R1, R6, context::OPERATION);
        self.a
            .jump_if(R1, When::Equal, event::OPTION_LENGTH, length);
        self.a.jump_if(R1, When::Equal, event::OPTION_WRITE, write);

        self.storage();
        self.note_numbers();
        self.a.store(Width::Octet, R7, record::SYN_LENGTH, R8);
        self.copy((R7, record::SYN), (R10, stack::FOUND));
        self.a.store(Width::Octet, R7, record::SYN_ACK_LENGTH, R9);
        let octets = stack::ANSWER + record::SLOT_OCTETS;
        self.copy((R7, record::SYN_ACK), (R10, octets));
        self.a.load(Width::Octet, R1, R10, stack::FOUND);
        self.a
            .jump_if(R1, When::Equal, i32::from(STANDARD), standard);
        self.find(EXPERIMENT, stack::OTHER, Of::Segment);
        self.a.jump(third);
        self.a.place(standard);
        self.find(STANDARD, stack::OTHER, Of::Segment);
        self.a.place(third);
        self.out_if(R0, When::SignedLessOrEqual, 0);
        self.a.store(Width::Octet, R7, record::THIRD_LENGTH, R0);
        self.copy((R7, record::THIRD), (R10, stack::OTHER));
        self.out();

        self.a.place(length);
        self.a.alu_register(Alu::Move, R2, R9);
        self.reserve();
        self.out();

        self.a.place(write);
        self.a.alu_register(Alu::Move, R3, R9);
        self.store_from((R10, octets));
        self.out();
    }
}
