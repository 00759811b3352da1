//! A description of two types for the kernel ("BTF", `linux/btf.h`): storage of sockets is not had
//! without one.

/// What the key of such a map is called: the descriptor of a socket.
pub(super) const KEY: u32 = 1;
/// A value: some octets.
pub(super) const VALUE: u32 = 3;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// Octets of the header.
const HEADER: u32 = 24;
const KIND_INTEGER: u32 = 1 << 24;
const KIND_ARRAY: u32 = 3 << 24;
const SIGNED: u32 = 1 << 24;
/// Names, each with a zero octet behind it; the first one is none.
const NAMES: &[u8] = b"\0int\0char\0";
const NAME_INT: u32 = 1;
const NAME_CHAR: u32 = 5;

/// The description: an integer of 32 bits, an octet, and an array of `octets` octets.
pub(super) fn describe(octets: u32) -> Vec<u8> {
    let types: [u32; 14] = [
        // 1: name, kind, octets; sign and bits.
        NAME_INT,
        KIND_INTEGER,
        4,
        SIGNED | 32,
        // 2
        NAME_CHAR,
        KIND_INTEGER,
        1,
        8,
        // 3: no name, kind, nothing; type of an element, of an index, how many.
        0,
        KIND_ARRAY,
        0,
        2,
        KEY,
        octets,
    ];
    let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let length = |octets: &[u8]| u32::try_from(octets.len()).unwrap_or(u32::MAX);
    let mut out = MAGIC.to_ne_bytes().to_vec();
    out.extend_from_slice(&[VERSION, 0]);
    // Where types and names are, counted from the header's end.
    let lengths = [HEADER, 0, length(&types), length(&types), length(NAMES)];
    for word in lengths {
        out.extend_from_slice(&word.to_ne_bytes());
    }
    out.extend_from_slice(&types);
    out.extend_from_slice(NAMES);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_where_they_are_said_to_be() {
        let name = |at: u32| &NAMES[at as usize..];
        assert!(name(NAME_INT).starts_with(b"int\0"));
        assert!(name(NAME_CHAR).starts_with(b"char\0"));
        let octets = describe(176);
        assert_eq!(octets.len(), 24 + 14 * 4 + NAMES.len());
        assert_eq!(octets[20..24], 10u32.to_ne_bytes());
        assert_eq!(octets[24 + 13 * 4..][..4], 176u32.to_ne_bytes());
    }
}
