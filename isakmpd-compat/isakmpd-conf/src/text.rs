//! Octets of the file as text and back.
//!
//! The grammar knows octets only, and those above 127 pass through (isakmpd-config 1), while the
//! engine and the program handle names as text. An octet that is no UTF-8 becomes a character of
//! its own in the private range U+EF80..U+EFFF, so that nothing is lost and equal octets are equal
//! text. Characters of that range in a file are kept octet by octet the same way.

const ESCAPE: u32 = 0xef00;

fn escaped(character: char) -> Option<u8> {
    let low = u32::from(character).checked_sub(ESCAPE)?;
    u8::try_from(low).ok().filter(|octet| *octet >= 0x80)
}

/// The text that stands for `octets`. [`octets`] is the way back.
#[must_use]
pub fn text(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len());
    let escape = |out: &mut String, octets: &[u8]| {
        out.extend(
            octets
                .iter()
                .filter_map(|octet| char::from_u32(ESCAPE + u32::from(*octet))),
        );
    };
    for chunk in octets.utf8_chunks() {
        let mut utf8 = [0; 4];
        for character in chunk.valid().chars() {
            if escaped(character).is_some() {
                escape(&mut out, character.encode_utf8(&mut utf8).as_bytes());
            } else {
                out.push(character);
            }
        }
        escape(&mut out, chunk.invalid());
    }
    out
}

/// The octets that `text` stands for.
#[must_use]
pub fn octets(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut utf8 = [0; 4];
    for character in text.chars() {
        match escaped(character) {
            Some(octet) => out.push(octet),
            None => out.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn latin_1_and_utf_8_side_by_side() {
        assert_eq!(text("Håkan".as_bytes()), "Håkan");
        assert_eq!(text(b"H\xe5kan"), "H\u{efe5}kan");
        assert_eq!(octets("H\u{efe5}kan"), b"H\xe5kan");
    }

    proptest! {
        #[test]
        fn nothing_is_lost(all in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(octets(&text(&all)), all);
        }

        #[test]
        fn not_even_of_text(all in "[a\u{ef00}-\u{efff}]{0,40}") {
            prop_assert_eq!(octets(&text(all.as_bytes())), all.as_bytes());
        }
    }
}
