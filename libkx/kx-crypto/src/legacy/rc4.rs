//! RC4, with keys of any length.

use crate::hkdf::wipe;

/// A key stream that runs on from text to text. It is wiped when dropped.
pub struct Rc4 {
    state: [u8; 256],
    i: u8,
    j: u8,
}

impl Drop for Rc4 {
    fn drop(&mut self) {
        wipe(&mut self.state);
    }
}

impl Rc4 {
    /// The stream of this key. Of a key above 256 octets the first 256 matter. An empty key is taken as one zero
    /// octet.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let mut state = [0; 256];
        for (entry, value) in state.iter_mut().zip(0..=u8::MAX) {
            *entry = value;
        }
        let key = if key.is_empty() { &[0] } else { key };
        let mut j: u8 = 0;
        for (i, octet) in (0..=u8::MAX).zip(key.iter().cycle()) {
            j = j.wrapping_add(state[usize::from(i)]).wrapping_add(*octet);
            state.swap(usize::from(i), usize::from(j));
        }
        Self { state, i: 0, j: 0 }
    }

    /// Encrypts or decrypts in place with the next octets of the stream.
    pub fn apply(&mut self, text: &mut [u8]) {
        let Self { state, i, j } = self;
        let (mut at, mut other) = (*i, *j);
        for octet in text {
            at = at.wrapping_add(1);
            // An index of one octet is always within a table of 256.
            let a = state[usize::from(at)];
            other = other.wrapping_add(a);
            let b = state[usize::from(other)];
            state[usize::from(at)] = b;
            state[usize::from(other)] = a;
            *octet ^= state[usize::from(a.wrapping_add(b))];
        }
        (*i, *j) = (at, other);
    }
}

#[cfg(test)]
mod tests {
    use super::Rc4;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    /// RFC 6229 section 2: the first 32 octets and those at 4096, for keys of 40, 128 and 256 bits.
    #[test]
    fn published() {
        let cases = [
            (
                5,
                "b2396305f03dc027ccc3524a0a1118a86982944f18fc82d589c403a47a0d0919",
                "ff25b58995996707e51fbdf08b34d875",
            ),
            (
                16,
                "9ac7cc9a609d1ef7b2932899cde41b975248c4959014126a6e8a84f11d1a9e1c",
                "a36a4c301ae8ac13610ccbc12256cacc",
            ),
            (
                32,
                "eaa6bd25880bf93d3f5d1e4ca2611d91cfa45c9f7e714b54bdfa80027cb14380",
                "f3e4c0a2e02d1d01f7f0a74618af2b48",
            ),
        ];
        for (len, start, later) in cases {
            let key: Vec<u8> = (1..=len).collect();
            let mut stream = vec![0; 4112];
            Rc4::new(&key).apply(&mut stream);
            assert_eq!(stream[..32], hex(start));
            assert_eq!(stream[4096..], hex(later));
            // The state runs on over texts of any length.
            let mut pieces = vec![0; 4112];
            let mut rc4 = Rc4::new(&key);
            for piece in pieces.chunks_mut(7) {
                rc4.apply(piece);
                rc4.apply(&mut []);
            }
            assert_eq!(pieces, stream);
        }
    }

    #[test]
    fn keys_of_all_lengths() {
        let stream = |key: &[u8]| {
            let mut text = vec![0; 64];
            Rc4::new(key).apply(&mut text);
            text
        };
        let long: Vec<u8> = (0..600_u16).map(|at| (at * 7 % 251) as u8).collect();
        assert_eq!(stream(&long), stream(&long[..256]));
        assert_ne!(stream(&long[..256]), stream(&long[..255]));
        assert_ne!(stream(&long[..128]), stream(&long[..127]));
        assert_eq!(stream(&[1, 2]), stream(&[1, 2, 1, 2]));
        assert_eq!(stream(&[]), stream(&[0]));
    }
}
