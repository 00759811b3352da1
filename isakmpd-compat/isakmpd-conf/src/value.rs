//! Values: numbers, lists, and what is offered or accepted (isakmpd-config 1).

use thiserror::Error;

use crate::grammar::is_space;

/// The leading white space and integer of `text`, as C's `strtol` reads it, and what follows.
/// Numbers too large for 32 bits become the largest there is.
fn leading_integer(text: &str) -> Option<(i32, &str)> {
    let text =
        text.trim_start_matches(|character: char| u8::try_from(character).is_ok_and(is_space));
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if digits.is_empty() {
        return None;
    }
    let number = digits.bytes().fold(0_i32, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(i32::from(digit.wrapping_sub(b'0')))
    });
    Some((
        if negative {
            number.saturating_neg()
        } else {
            number
        },
        rest,
    ))
}

/// The leading integer of a value (`atoi`): 0 if there is none.
#[must_use]
pub fn number(value: &str) -> i32 {
    leading_integer(value).map_or(0, |(number, _)| number)
}

/// A comma separated list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// The elements that are not empty, without white space around them.
    pub elements: Vec<String>,
    /// How many were empty: each is worth a [`EMPTY_FIELD`] in the log.
    pub empty: usize,
}

/// What the original logs for an empty element of a list.
pub const EMPTY_FIELD: &str = "conf_get_list: empty field, ignoring...";

/// Splits a list. White space on both sides of an element is dropped (the original means to, and
/// keeps it in front of a comma).
#[must_use]
pub fn list(value: &str) -> List {
    let mut list = List::default();
    for element in value.split(',') {
        let element =
            element.trim_matches(|character: char| u8::try_from(character).is_ok_and(is_space));
        if element.is_empty() {
            list.empty = list.empty.saturating_add(1);
        } else {
            list.elements.push(element.to_owned());
        }
    }
    list
}

/// `X,Y:Z`: offer X, accept from Y to Z. `X`: offer and accept X.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferAccept {
    /// What to offer.
    pub offer: i32,
    /// The least to accept.
    pub min: i32,
    /// The most to accept.
    pub max: i32,
}

/// Neither `X` nor `X,Y:Z`: nothing matches it. It is still a number to be offered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("conf_match_num: section {section} tag {tag}: invalid number spec {value}")]
pub struct InvalidNumber {
    /// Where it stands.
    pub section: String,
    /// Where it stands.
    pub tag: String,
    /// What it says.
    pub value: String,
}

impl OfferAccept {
    /// Reads a specification as `sscanf` with `%d,%d:%d` does: what follows `X` or `X,Y:Z` is ignored, and
    /// `X,Y` is nothing.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (offer, rest) = leading_integer(value)?;
        let Some(rest) = rest.strip_prefix(',') else {
            return Some(Self {
                offer,
                min: offer,
                max: offer,
            });
        };
        let Some((min, rest)) = leading_integer(rest) else {
            return Some(Self {
                offer,
                min: offer,
                max: offer,
            });
        };
        let (max, _) = leading_integer(rest.strip_prefix(':')?)?;
        Some(Self { offer, min, max })
    }

    /// Whether a peer's `number` will do.
    #[must_use]
    pub fn accepts(&self, number: i32) -> bool {
        (self.min..=self.max).contains(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_leading_integers() {
        for (value, expected) in [
            ("3600,60:86400", 3600),
            ("60", 60),
            (" \t60s", 60),
            ("-5", -5),
            ("+5", 5),
            ("", 0),
            ("no", 0),
            ("- 5", 0),
            ("0x10", 0),
            ("4294967296", i32::MAX),
            ("-99999999999999999999", -i32::MAX),
        ] {
            assert_eq!(number(value), expected, "{value}");
        }
    }

    #[test]
    fn lists_lose_white_space_and_empty_elements() {
        let list = list("a , b,,\tc d ,");
        assert_eq!(list.elements, ["a", "b", "c d"]);
        assert_eq!(list.empty, 2);
        assert_eq!(
            super::list(""),
            List {
                elements: Vec::new(),
                empty: 1
            }
        );
    }

    #[test]
    fn offer_and_accept() {
        let spec = |offer, min, max| Some(OfferAccept { offer, min, max });
        for (value, expected) in [
            ("3600,60:86400", spec(3600, 60, 86400)),
            ("3600, 60: 86400 and so on", spec(3600, 60, 86400)),
            ("128", spec(128, 128, 128)),
            ("128 ,96:192", spec(128, 128, 128)),
            ("128,x", spec(128, 128, 128)),
            ("128,96", None),
            ("128,96:", None),
            ("128,96-192", None),
            ("", None),
            ("ANY", None),
        ] {
            assert_eq!(OfferAccept::parse(value), expected, "{value}");
        }
        let range = OfferAccept {
            offer: 1,
            min: 60,
            max: 70,
        };
        assert!(!range.accepts(59) && range.accepts(60) && range.accepts(70) && !range.accepts(71));
        // An offer outside its own range is the user's business.
        assert!(!range.accepts(1));
    }
}
