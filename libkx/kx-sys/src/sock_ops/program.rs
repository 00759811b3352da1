//! The program that the kernel runs at events of TCP connections.
//!
//! It touches sockets that were named to it and no others: those that connect are known by what is
//! stored with them, those that listen by it and by their port, since a SYN-ACK is written before
//! there is a socket to store anything with.
//!
//! An opener's SYN carries its offer. When the SYN-ACK has an answer, the segments behind carry the
//! bare option until the peer has shown that it got one of them; then, and at once without an answer,
//! the program has itself called no more.
//!
//! At the other end the answer is the same function of the SYN in the three events of a handshake:
//! when room is made in the SYN-ACK, when it is written, and when the connection stands. It is the
//! answer to the first of the client's suboptions that we have one for. A client that names a session
//! gets the answer stored with that, if it is the first that claims it: the claim says whose it is, and
//! both stay until the connection stands. Strangers cannot make claims to what there is not, so none
//! is ever pushed out. A SYN cookie leaves no trace of the SYN, so such a SYN-ACK has no answer.

use super::instruction::{Alu, Assembler, AssemblyError, Label, Register, When, Width};
use super::record;

use Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};

/// The descriptors of the maps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maps {
    /// What is stored with sockets.
    pub(super) sockets: i32,
    /// Ports that are listened on.
    pub(super) ports: i32,
    /// The answer to a suboption, by [`answer_key`].
    pub(super) answers: i32,
    /// The answer to a client that names a session.
    pub(super) sessions: i32,
    /// Which connection has got a session: the peer's port and ours.
    pub(super) claims: i32,
}

/// Octets of the name of a session in a SYN.
pub(super) const SESSION: usize = 10;
/// Octets of a claim.
pub(super) const CLAIM: usize = 8;
/// How many places the answers have.
pub(super) const ANSWERS: u32 = 512;

/// The kind reserved for experiments, and the identifier of ours (RFC 6994).
pub(super) const EXPERIMENT: u8 = 253;
pub(super) const EXPERIMENT_ID: [u8; 2] = [0x45, 0x4e];
/// The kind of RFC 8547.
pub(super) const STANDARD: u8 = 69;

/// Where the answer is to a suboption in an option of the standard kind or the other.
pub(super) fn answer_key(is_standard: bool, suboption: u8) -> u32 {
    (if is_standard { STANDARD_BASE as u32 } else { 0 }) + u32::from(suboption)
}

const STANDARD_BASE: i32 = 256;

/// Fields of `struct bpf_sock_ops`.
mod context {
    pub(super) const OPERATION: i16 = 0;
    pub(super) const ARGUMENT: i16 = 4;
    pub(super) const REMOTE_PORT: i16 = 64;
    pub(super) const LOCAL_PORT: i16 = 68;
    pub(super) const IS_FULL_SOCKET: i16 = 72;
    pub(super) const CALLBACKS: i16 = 84;
    pub(super) const SND_UNA: i16 = 108;
    pub(super) const DATA_SEGMENTS_IN: i16 = 144;
    pub(super) const SOCKET: i16 = 184;
    pub(super) const TCP_FLAGS: i16 = 212;
}

/// Events, `BPF_SOCK_OPS_..._CB`.
mod event {
    pub(super) const CONNECT: i32 = 3;
    pub(super) const ACTIVE_ESTABLISHED: i32 = 4;
    pub(super) const PASSIVE_ESTABLISHED: i32 = 5;
    pub(super) const LISTEN: i32 = 11;
    pub(super) const OPTION_LENGTH: i32 = 14;
    pub(super) const OPTION_WRITE: i32 = 15;
}

/// Functions of the kernel, `BPF_FUNC_...`.
mod function {
    pub(super) const MAP_LOOKUP: i32 = 1;
    pub(super) const MAP_UPDATE: i32 = 2;
    pub(super) const MAP_DELETE: i32 = 3;
    pub(super) const SET_CALLBACKS: i32 = 59;
    pub(super) const SOCKET_STORAGE: i32 = 107;
    pub(super) const LOAD_OPTION: i32 = 142;
    pub(super) const STORE_OPTION: i32 = 143;
    pub(super) const RESERVE_OPTION: i32 = 144;
}

/// `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`: have us called when options are written.
const CALL_FOR_OPTIONS: i32 = 1 << 6;
/// `BPF_WRITE_HDR_TCP_SYNACK_COOKIE`
const IS_COOKIE: i32 = 2;
/// `BPF_LOAD_HDR_OPT_TCP_SYN`: of the SYN, not of the segment at hand.
const OF_SYN: i32 = 1;
const OF_SEGMENT: i32 = 0;
/// `BPF_NOEXIST`: not in place of another value.
const ONLY_NEW: i32 = 1;

const FLAG_SYN: i32 = 0x02;
const FLAG_ACK: i32 = 0x10;
/// In a suboption: data follow.
const HAS_DATA: i32 = 0x80;
/// Suboptions with data below this one are lengths, not key exchanges.
const FIRST_WITH_DATA: i32 = 0xa0;

const OPTION: i32 = 40;
const WORDS: i16 = 5;

/// Places on the stack.
mod stack {
    /// An option of the experimental kind that was found; later, whichever it is.
    pub(super) const FOUND: i16 = -48;
    /// One of the standard kind.
    pub(super) const OTHER: i16 = -96;
    /// The name of a session.
    pub(super) const NAME: i16 = -112;
    /// A claim to it.
    pub(super) const CLAIM: i16 = -120;
    /// A key of 32 bits.
    pub(super) const KEY: i16 = -128;
    /// An answer as it stands in maps.
    pub(super) const ANSWER: i16 = -176;
}

/// Writes the program.
pub(super) fn program(maps: &Maps) -> Result<Vec<u8>, AssemblyError> {
    let mut a = Assembler::default();
    let out = a.label();
    Writer {
        a: &mut a,
        maps,
        out,
    }
    .write();
    a.finish()
}

struct Writer<'a> {
    a: &'a mut Assembler,
    maps: &'a Maps,
    /// Ends the program.
    out: Label,
}

impl Writer<'_> {
    fn write(mut self) {
        let [connect, listen, active, passive, length, write, choose] =
            std::array::from_fn(|_| self.a.label());
        self.a.alu_register(Alu::Move, R6, R1);
        self.a.load(Width::Word, R2, R6, context::OPERATION);
        for (number, label) in [
            (event::OPTION_LENGTH, length),
            (event::OPTION_WRITE, write),
            (event::CONNECT, connect),
            (event::LISTEN, listen),
            (event::ACTIVE_ESTABLISHED, active),
            (event::PASSIVE_ESTABLISHED, passive),
        ] {
            self.a.jump_if(R2, When::Equal, number, label);
        }
        let out = self.out;
        self.a.place(out);
        // What other programs of the cgroup said stands.
        self.a.alu(Alu::Move, R0, 1);
        self.a.exit();

        self.a.place(connect);
        self.begin(record::OPENER);
        self.a.place(listen);
        self.begin(record::LISTENER);
        self.a.place(active);
        self.active();
        self.a.place(length);
        self.length(choose);
        self.a.place(write);
        self.write_option(choose);
        self.a.place(passive);
        self.storage();
        self.only_role(record::LISTENER);
        self.stop_calls();
        self.a.place(choose);
        self.choose();
    }

    fn out(&mut self) {
        self.a.jump(self.out);
    }

    fn out_if(&mut self, left: Register, when: When, number: i32) {
        self.a.jump_if(left, when, number, self.out);
    }

    /// [`R7`] = what is stored with the socket at hand, or out.
    fn storage(&mut self) {
        self.a.load(Width::Double, R2, R6, context::SOCKET);
        self.out_if(R2, When::Equal, 0);
        self.a.map(R1, self.maps.sockets);
        self.a.alu(Alu::Move, R3, 0);
        self.a.alu(Alu::Move, R4, 0);
        self.a.call(function::SOCKET_STORAGE);
        self.out_if(R0, When::Equal, 0);
        self.a.alu_register(Alu::Move, R7, R0);
    }

    fn only_role(&mut self, role: u8) {
        self.a.load(Width::Octet, R1, R7, record::ROLE);
        self.out_if(R1, When::NotEqual, i32::from(role));
    }

    /// A socket that was named to us has us called when its options are written.
    fn begin(&mut self, role: u8) {
        self.storage();
        self.only_role(role);
        self.a.load(Width::Word, R2, R6, context::CALLBACKS);
        self.a.alu(Alu::Or, R2, CALL_FOR_OPTIONS);
        self.set_calls();
        self.out();
    }

    fn stop_calls(&mut self) {
        self.a.load(Width::Word, R2, R6, context::CALLBACKS);
        self.a.alu(Alu::And, R2, !CALL_FOR_OPTIONS);
        self.set_calls();
    }

    fn set_calls(&mut self) {
        self.a.alu_register(Alu::Move, R1, R6);
        self.a.call(function::SET_CALLBACKS);
    }

    /// Copies 40 octets.
    fn copy(&mut self, to: (Register, i16), from: (Register, i16)) {
        for word in 0..WORDS {
            let at = word * 8;
            self.a.load(Width::Double, R1, from.0, from.1 + at);
            self.a.store(Width::Double, to.0, to.1 + at, R1);
        }
    }

    fn clear(&mut self, at: i16, words: i16) {
        for word in 0..words {
            self.a.store_number(Width::Double, R10, at + word * 8, 0);
        }
    }

    /// Looks for the option of a kind in the segment at hand or the SYN. [`R0`] is its length, or less
    /// than 1.
    fn find(&mut self, kind: u8, at: i16, of: i32) {
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
        self.a.alu(Alu::Move, R4, of);
        self.a.call(function::LOAD_OPTION);
    }

    fn stack_address(&mut self, to: Register, at: i16) {
        self.a.alu_register(Alu::Move, to, R10);
        self.a.alu(Alu::Add, to, i32::from(at));
    }

    /// [`R0`] = the value of the key at `at`, or 0.
    fn look_up(&mut self, map: i32, at: i16) {
        self.a.map(R1, map);
        self.stack_address(R2, at);
        self.a.call(function::MAP_LOOKUP);
    }

    /// [`R0`] is 0 if the key at `at` was there.
    fn remove(&mut self, map: i32, at: i16) {
        self.a.map(R1, map);
        self.stack_address(R2, at);
        self.a.call(function::MAP_DELETE);
    }

    /// Finds the one ENO option, of whichever kind, and puts it at [`stack::FOUND`]. [`R8`] = its
    /// length, [`R9`] = where the answers of its kind begin. Else to `none`.
    fn find_either(&mut self, of: i32, none: Label) {
        let [standard, found] = std::array::from_fn(|_| self.a.label());
        self.find(EXPERIMENT, stack::FOUND, of);
        self.a.alu_register(Alu::Move, R8, R0);
        self.find(STANDARD, stack::OTHER, of);
        self.a.jump_if(R8, When::SignedLess, 1, standard);
        // Both: RFC 8547 section 4.6 has none then.
        self.a.jump_if(R0, When::SignedGreater, 0, none);
        self.a.alu(Alu::Move, R9, 0);
        self.a.jump(found);
        self.a.place(standard);
        self.a.jump_if(R0, When::SignedLess, 1, none);
        self.a.alu_register(Alu::Move, R8, R0);
        self.a.alu(Alu::Move, R9, STANDARD_BASE);
        self.copy((R10, stack::FOUND), (R10, stack::OTHER));
        self.a.place(found);
        self.a.jump_if(R8, When::Greater, OPTION, none);
    }

    /// The SYN-ACK is here.
    fn active(&mut self) {
        let [plain, standard, six, third, done] = std::array::from_fn(|_| self.a.label());
        self.storage();
        self.only_role(record::OPENER);
        self.a.load(Width::Octet, R1, R7, record::SYN_LENGTH);
        self.a.jump_if(R1, When::Equal, 0, plain);
        self.find_either(OF_SEGMENT, plain);
        // An answer is of the kind of its question.
        self.a.load(Width::Octet, R1, R10, stack::FOUND);
        self.a.load(Width::Octet, R2, R7, record::SYN);
        self.a.jump_if_register(R1, When::NotEqual, R2, plain);
        self.a.store(Width::Octet, R7, record::SYN_ACK_LENGTH, R8);
        self.copy((R7, record::SYN_ACK), (R10, stack::FOUND));
        self.a.load(Width::Word, R1, R6, context::SND_UNA);
        self.a.store(Width::Word, R7, record::UNACKNOWLEDGED, R1);
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
    fn length(&mut self, choose: Label) {
        let [syn, stop] = std::array::from_fn(|_| self.a.label());
        self.which_segment(choose, syn);
        // Also when the kernel only wants to know how much data fit.
        self.a.load(Width::Octet, R2, R7, record::THIRD_LENGTH);
        self.out_if(R2, When::Equal, 0);
        self.a.load(Width::Word, R1, R6, context::DATA_SEGMENTS_IN);
        self.a.jump_if(R1, When::NotEqual, 0, stop);
        self.a.load(Width::Word, R1, R6, context::SND_UNA);
        self.a.load(Width::Word, R3, R7, record::UNACKNOWLEDGED);
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

    /// Makes room for [`R2`] octets.
    fn reserve(&mut self) {
        self.a.alu_register(Alu::Move, R1, R6);
        self.a.alu(Alu::Move, R3, 0);
        self.a.call(function::RESERVE_OPTION);
    }

    /// Room was made: write it.
    fn write_option(&mut self, choose: Label) {
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

    /// Writes the option of [`R3`] octets, or out.
    fn store_from(&mut self, from: (Register, i16)) {
        self.out_if(R3, When::Equal, 0);
        self.out_if(R3, When::Greater, OPTION);
        self.a.alu_register(Alu::Move, R1, R6);
        self.a.alu_register(Alu::Move, R2, from.0);
        self.a.alu(Alu::Add, R2, i32::from(from.1));
        self.a.alu(Alu::Move, R4, 0);
        self.a.call(function::STORE_OPTION);
    }

    /// The answer to the SYN, and then what the event wants.
    fn choose(&mut self) {
        let [session, choice, answered] = std::array::from_fn(|_| self.a.label());
        self.find_either(OF_SYN, self.out);
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
        self.a.store(Width::Octet, R7, record::SYN_LENGTH, R8);
        self.copy((R7, record::SYN), (R10, stack::FOUND));
        self.a.store(Width::Octet, R7, record::SYN_ACK_LENGTH, R9);
        let octets = stack::ANSWER + record::SLOT_OCTETS;
        self.copy((R7, record::SYN_ACK), (R10, octets));
        self.a.load(Width::Octet, R1, R10, stack::FOUND);
        self.a
            .jump_if(R1, When::Equal, i32::from(STANDARD), standard);
        self.find(EXPERIMENT, stack::OTHER, OF_SEGMENT);
        self.a.jump(third);
        self.a.place(standard);
        self.find(STANDARD, stack::OTHER, OF_SEGMENT);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_can_be_written_down() {
        let maps = Maps {
            sockets: 3,
            ports: 4,
            answers: 5,
            sessions: 6,
            claims: 7,
        };
        let code = program(&maps).expect("well made");
        // The limit of kernels before 5.2, and far below what a verifier walks.
        assert!(code.len() / 8 < 4096, "{}", code.len() / 8);
    }

    #[test]
    fn answers_of_both_kinds_have_their_places() {
        assert_eq!(answer_key(false, 0x21), 0x21);
        assert_eq!(answer_key(true, 0xff), ANSWERS - 1);
    }
}
