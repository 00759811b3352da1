//! Instructions of the kernel's virtual machine, written one after the other with jumps to labels.
//!
//! Only what our programs need. Numbers are those of `linux/bpf.h` and `linux/bpf_common.h`; what
//! makes no sense (a jump to nowhere, one that is too far) is an error here, all else is for the
//! kernel's verifier to find.

/// One of the eleven registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Register {
    /// What a call returns, and the program.
    R0 = 0,
    /// First argument of a call; at the start, the context.
    R1 = 1,
    /// Second argument.
    R2 = 2,
    /// Third argument.
    R3 = 3,
    /// Fourth argument.
    R4 = 4,
    /// Fifth argument.
    R5 = 5,
    /// Kept by calls, as the three that follow.
    R6 = 6,
    R7 = 7,
    R8 = 8,
    R9 = 9,
    /// End of the stack, which lies below it.
    R10 = 10,
}

/// How wide a load or store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Width {
    /// One octet.
    Octet = 0x10,
    /// Four, aligned.
    Word = 0x00,
    /// Eight, aligned.
    Double = 0x18,
}

/// Arithmetic on 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Alu {
    Add = 0x00,
    Or = 0x40,
    And = 0x50,
    Move = 0xb0,
}

/// When a jump is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum When {
    Equal = 0x10,
    /// Without sign.
    Greater = 0x20,
    /// Some of the bits are set.
    AnyBit = 0x40,
    NotEqual = 0x50,
    /// Without sign.
    Less = 0xa0,
    /// With sign.
    SignedLess = 0xc0,
    /// With sign.
    SignedLessOrEqual = 0xd0,
}

/// A place to jump to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program that cannot be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum AssemblyError {
    /// A jump to a label that was never placed.
    #[error("a jump leads nowhere")]
    Unplaced,
    /// A jump over more than 32,767 instructions, or an operand's offset of more octets.
    #[error("a jump is too far")]
    TooFar,
}

const CLASS_LOAD: u8 = 0x01;
const CLASS_STORE_NUMBER: u8 = 0x02;
const CLASS_STORE: u8 = 0x03;
const CLASS_JUMP: u8 = 0x05;
const CLASS_ALU64: u8 = 0x07;
/// `BPF_MEM`, what loads and stores are.
const MODE_MEMORY: u8 = 0x60;
/// `BPF_X`: the second operand is a register.
const FROM_REGISTER: u8 = 0x08;
const CALL: u8 = 0x80 | CLASS_JUMP;
const EXIT: u8 = 0x90 | CLASS_JUMP;
const ALWAYS: u8 = CLASS_JUMP;
/// `BPF_LD | BPF_DW | BPF_IMM`: a number of 64 bits in two instructions.
const LOAD_WIDE: u8 = 0x18;
/// `BPF_PSEUDO_MAP_FD`, in place of the source register: the number is a map's descriptor.
const IS_MAP: u8 = 1;

/// Octets of an instruction.
pub(super) const INSTRUCTION: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    number: i32,
}

impl Instruction {
    fn octets(self) -> [u8; INSTRUCTION] {
        // Bit fields of C, which begin at the other end of the octet on machines of the other kind.
        let registers = if cfg!(target_endian = "little") {
            self.from << 4 | self.to
        } else {
            self.to << 4 | self.from
        };
        let [a, b] = self.offset.to_ne_bytes();
        let [c, d, e, f] = self.number.to_ne_bytes();
        [self.code, registers, a, b, c, d, e, f]
    }
}

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<Instruction>,
    /// Where each label is.
    labels: Vec<Option<usize>>,
    /// Jumps, by their place.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label that is placed later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The next instruction is what jumps to `label` lead to.
    pub(super) fn place(&mut self, label: Label) {
        let here = self.code.len();
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(here);
        }
    }

    fn push(&mut self, code: u8, to: Register, from: u8, offset: i16, number: i32) {
        self.code.push(Instruction {
            code,
            to: to as u8,
            from,
            offset,
            number,
        });
    }

    /// `to = *(from + offset)`
    pub(super) fn load(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        let code = CLASS_LOAD | MODE_MEMORY | width as u8;
        self.push(code, to, from as u8, offset, 0);
    }

    /// `*(to + offset) = from`
    pub(super) fn store(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        let code = CLASS_STORE | MODE_MEMORY | width as u8;
        self.push(code, to, from as u8, offset, 0);
    }

    /// `*(to + offset) = number`
    pub(super) fn store_number(&mut self, width: Width, to: Register, offset: i16, number: i32) {
        let code = CLASS_STORE_NUMBER | MODE_MEMORY | width as u8;
        self.push(code, to, 0, offset, number);
    }

    /// `to = to OP number`
    pub(super) fn alu(&mut self, operation: Alu, to: Register, number: i32) {
        self.push(CLASS_ALU64 | operation as u8, to, 0, 0, number);
    }

    /// `to = to OP from`
    pub(super) fn alu_register(&mut self, operation: Alu, to: Register, from: Register) {
        let code = CLASS_ALU64 | FROM_REGISTER | operation as u8;
        self.push(code, to, from as u8, 0, 0);
    }

    /// `to = ` the map with this descriptor.
    pub(super) fn map(&mut self, to: Register, descriptor: i32) {
        self.push(LOAD_WIDE, to, IS_MAP, 0, descriptor);
        // The number's other half.
        self.push(0, Register::R0, 0, 0, 0);
    }

    /// `goto label`
    pub(super) fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(ALWAYS, Register::R0, 0, 0, 0);
    }

    /// `if left WHEN number goto label`
    pub(super) fn jump_if(&mut self, left: Register, when: When, number: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(CLASS_JUMP | when as u8, left, 0, 0, number);
    }

    /// `if left WHEN right goto label`
    pub(super) fn jump_if_register(
        &mut self,
        left: Register,
        when: When,
        right: Register,
        label: Label,
    ) {
        self.jumps.push((self.code.len(), label));
        let code = CLASS_JUMP | FROM_REGISTER | when as u8;
        self.push(code, left, right as u8, 0, 0);
    }

    /// Calls a function of the kernel by its number.
    pub(super) fn call(&mut self, function: i32) {
        self.push(CALL, Register::R0, 0, 0, function);
    }

    /// Ends the program with what is in [`Register::R0`].
    pub(super) fn exit(&mut self) {
        self.push(EXIT, Register::R0, 0, 0, 0);
    }

    /// The program as the kernel wants it, [`INSTRUCTION`] octets each.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, AssemblyError> {
        for (place, label) in &self.jumps {
            let target = self.labels.get(label.0).copied().flatten();
            let target = target.ok_or(AssemblyError::Unplaced)?;
            // Counted from the instruction behind the jump.
            let offset = i64::try_from(target).map_err(|_| AssemblyError::TooFar)?
                - i64::try_from(*place).map_err(|_| AssemblyError::TooFar)?
                - 1;
            if let Some(jump) = self.code.get_mut(*place) {
                jump.offset = i16::try_from(offset).map_err(|_| AssemblyError::TooFar)?;
            }
        }
        let octets = self.code.iter().flat_map(|it| it.octets());
        Ok(octets.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(assembler: Assembler) -> Vec<[u8; INSTRUCTION]> {
        let octets = assembler.finish().expect("well made");
        let (words, rest) = octets.as_chunks_of_eight();
        assert!(rest.is_empty());
        words
    }

    /// `as_chunks` is younger than our oldest compiler.
    trait Chunks {
        fn as_chunks_of_eight(&self) -> (Vec<[u8; 8]>, &[u8]);
    }

    impl Chunks for Vec<u8> {
        fn as_chunks_of_eight(&self) -> (Vec<[u8; 8]>, &[u8]) {
            let chunks = self.chunks_exact(8);
            let rest = chunks.remainder();
            let words = chunks.map(|it| it.try_into().expect("eight")).collect();
            (words, rest)
        }
    }

    /// What clang makes of the same, seen with llvm-objdump.
    #[test]
    #[cfg(target_endian = "little")]
    fn each_kind_of_instruction_is_written_as_the_kernel_reads_it() {
        let mut a = Assembler::default();
        a.load(Width::Word, Register::R2, Register::R6, 84);
        a.load(Width::Double, Register::R1, Register::R10, -8);
        a.store(Width::Octet, Register::R7, 2, Register::R8);
        a.store_number(Width::Octet, Register::R10, -48, 253);
        a.alu(Alu::Move, Register::R0, 1);
        a.alu(Alu::And, Register::R2, !64);
        a.alu_register(Alu::Move, Register::R6, Register::R1);
        a.map(Register::R1, 7);
        a.call(142);
        a.exit();
        let expected = [
            [0x61, 0x62, 84, 0, 0, 0, 0, 0],
            [0x79, 0xa1, 0xf8, 0xff, 0, 0, 0, 0],
            [0x73, 0x87, 2, 0, 0, 0, 0, 0],
            [0x72, 0x0a, 0xd0, 0xff, 253, 0, 0, 0],
            [0xb7, 0, 0, 0, 1, 0, 0, 0],
            [0x57, 2, 0, 0, 0xbf, 0xff, 0xff, 0xff],
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0x18, 0x11, 0, 0, 7, 0, 0, 0],
            [0; 8],
            [0x85, 0, 0, 0, 142, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(words(a), expected);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn jumps_find_their_labels_in_both_directions() {
        let mut a = Assembler::default();
        let (back, ahead) = (a.label(), a.label());
        a.place(back);
        a.jump_if(Register::R8, When::SignedLess, -1, ahead);
        // Two places for one instruction of this kind.
        a.map(Register::R1, 3);
        a.jump_if_register(Register::R1, When::NotEqual, Register::R2, back);
        a.place(ahead);
        a.jump(ahead);
        a.exit();
        let words = words(a);
        assert_eq!(words[0], [0xc5, 8, 3, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(words[3], [0x5d, 0x21, 0xfc, 0xff, 0, 0, 0, 0]);
        assert_eq!(words[4], [0x05, 0, 0xff, 0xff, 0, 0, 0, 0]);
    }

    #[test]
    fn jumps_to_nowhere_and_too_far_are_refused() {
        let mut a = Assembler::default();
        let nowhere = a.label();
        a.jump(nowhere);
        assert_eq!(a.finish(), Err(AssemblyError::Unplaced));
        for (between, works) in [(32_767, true), (32_768, false)] {
            let mut a = Assembler::default();
            let end = a.label();
            a.jump(end);
            for _ in 0..between {
                a.exit();
            }
            a.place(end);
            a.exit();
            assert_eq!(a.finish().is_ok(), works, "{between}");
        }
    }
}
