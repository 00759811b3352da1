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

mod answer;
mod find;
mod opener;

use super::instruction::{Alu, Assembler, AssemblyError, Label, Register, When, Width};
use super::record;

use Register::{R0, R1, R2, R3, R4, R6, R7, R10};

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
    pub(super) const RCV_NXT: i16 = 100;
    pub(super) const SND_UNA: i16 = 108;
    pub(super) const DATA_SEGMENTS_IN: i16 = 144;
    pub(super) const SOCKET: i16 = 184;
    pub(super) const DATA: i16 = 192;
    pub(super) const DATA_END: i16 = 200;
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
    pub(super) const GET_OPTION: i32 = 57;
    pub(super) const SET_CALLBACKS: i32 = 59;
    pub(super) const SOCKET_STORAGE: i32 = 107;
    pub(super) const LOAD_OPTION: i32 = 142;
    pub(super) const STORE_OPTION: i32 = 143;
    pub(super) const RESERVE_OPTION: i32 = 144;
}

/// `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`: have us called when options are written.
const CALL_FOR_OPTIONS: i32 = 1 << 6;

/// In a suboption: data follow.
const HAS_DATA: i32 = 0x80;

const OPTION: i32 = 40;
const WORDS: i16 = 5;

/// Places on the stack.
mod stack {
    /// The option that was found.
    pub(super) const FOUND: i16 = -48;
    /// That of the third segment.
    pub(super) const OTHER: i16 = -96;
    /// The name of a session.
    pub(super) const NAME: i16 = -112;
    /// A claim to it.
    pub(super) const CLAIM: i16 = -120;
    /// A key of 32 bits.
    pub(super) const KEY: i16 = -128;
    /// An answer as it stands in maps.
    pub(super) const ANSWER: i16 = -176;
    /// A TCP header, and four octets to be copied by eight.
    pub(super) const HEADER: i16 = -240;
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

    /// Notes in [`R7`] where the streams begin, as long as nothing was received behind the SYNs.
    fn note_numbers(&mut self) {
        for (field, place) in [
            (context::SND_UNA, record::OURS),
            (context::RCV_NXT, record::THEIRS),
        ] {
            self.a.load(Width::Word, R1, R6, field);
            self.a.store(Width::Word, R7, place, R1);
        }
    }

    /// Makes room for [`R2`] octets.
    fn reserve(&mut self) {
        self.a.alu_register(Alu::Move, R1, R6);
        self.a.alu(Alu::Move, R3, 0);
        self.a.call(function::RESERVE_OPTION);
    }

    /// Writes the option of [`R3`] octets, or out.
    fn store_from(&mut self, from: (Register, i16)) {
        // Older verifiers learn no bound from "not equal".
        self.out_if(R3, When::Less, 1);
        self.out_if(R3, When::Greater, OPTION);
        self.a.alu_register(Alu::Move, R1, R6);
        self.a.alu_register(Alu::Move, R2, from.0);
        self.a.alu(Alu::Add, R2, i32::from(from.1));
        self.a.alu(Alu::Move, R4, 0);
        self.a.call(function::STORE_OPTION);
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
