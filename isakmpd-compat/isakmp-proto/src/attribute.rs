//! Data attributes of transforms and of mode-config (RFC 2408 section 3.3; isakmpd-wire 2).

use crate::octets::Reader;

/// The most attributes one transform or ATTRIBUTE payload may have. Known ones number 17.
pub const MAX_ATTRIBUTES: usize = 256;

/// An attribute's value with the form it has on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// 16 bits in place of a length (AF=1).
    Basic(u16),
    /// A length and so many octets (AF=0).
    Variable(Vec<u8>),
}

/// One attribute. The type is below 0x8000; its meaning depends on where the attribute stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Attribute type without the form bit.
    pub ty: u16,
    /// The value.
    pub value: AttributeValue,
}

impl Attribute {
    /// An attribute of 16 bits, in basic form.
    #[must_use]
    pub fn basic(ty: impl Into<u16>, value: u16) -> Self {
        Self {
            ty: ty.into(),
            value: AttributeValue::Basic(value),
        }
    }

    /// An attribute of any octets, in variable form.
    #[must_use]
    pub fn variable(ty: impl Into<u16>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            ty: ty.into(),
            value: AttributeValue::Variable(value.into()),
        }
    }

    /// A number as the original sends it: basic form if it fits 16 bits, else variable form of 4 octets.
    #[must_use]
    pub fn number(ty: impl Into<u16>, value: u32) -> Self {
        match u16::try_from(value) {
            Ok(short) => Self::basic(ty, short),
            Err(_) => Self::variable(ty, value.to_be_bytes()),
        }
    }

    /// The value as a number: basic form, or variable form of 2 or 4 octets. `None` for any other length.
    #[must_use]
    pub fn as_number(&self) -> Option<u32> {
        match &self.value {
            AttributeValue::Basic(value) => Some(u32::from(*value)),
            AttributeValue::Variable(octets) => match octets.as_slice() {
                [a, b] => Some(u32::from(u16::from_be_bytes([*a, *b]))),
                [a, b, c, d] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
                _ => None,
            },
        }
    }

    /// The value's octets, whichever form it has.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        match &self.value {
            AttributeValue::Basic(value) => value.to_be_bytes().to_vec(),
            AttributeValue::Variable(octets) => octets.clone(),
        }
    }

    /// Whether two attributes say the same: form and leading zeroes of a number do not matter
    /// (isakmpd-wire 4.1, what the responder returns).
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.ty == other.ty
            && match (self.as_number(), other.as_number()) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => self.octets() == other.octets(),
            }
    }

    /// Appends the attribute's octets. A value above 65535 octets is cut there: no message can hold it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let ty = self.ty & 0x7fff;
        match &self.value {
            AttributeValue::Basic(value) => {
                out.extend((ty | 0x8000).to_be_bytes());
                out.extend(value.to_be_bytes());
            }
            AttributeValue::Variable(octets) => {
                let length = u16::try_from(octets.len()).unwrap_or(u16::MAX);
                out.extend(ty.to_be_bytes());
                out.extend(length.to_be_bytes());
                out.extend(octets.iter().take(usize::from(length)));
            }
        }
    }
}

/// Why attributes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadAttributes {
    /// One reaches beyond the payload.
    Overrun,
    /// More than [`MAX_ATTRIBUTES`].
    TooMany,
}

pub(crate) fn parse(octets: &[u8]) -> Result<Vec<Attribute>, BadAttributes> {
    let mut reader = Reader::new(octets);
    let mut attributes = Vec::new();
    while !reader.is_empty() {
        if attributes.len() == MAX_ATTRIBUTES {
            return Err(BadAttributes::TooMany);
        }
        attributes.push(parse_one(&mut reader).ok_or(BadAttributes::Overrun)?);
    }
    Ok(attributes)
}

fn parse_one(reader: &mut Reader<'_>) -> Option<Attribute> {
    let ty = reader.u16()?;
    let value = reader.u16()?;
    Some(if ty & 0x8000 != 0 {
        Attribute::basic(ty & 0x7fff, value)
    } else {
        Attribute::variable(ty, reader.take(usize::from(value))?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_shortest_form() {
        assert_eq!(
            Attribute::number(12_u16, 3600),
            Attribute::basic(12_u16, 3600)
        );
        let long = Attribute::number(12_u16, 86_400);
        assert_eq!(long, Attribute::variable(12_u16, [0, 1, 0x51, 0x80]));
        let mut octets = Vec::new();
        long.encode(&mut octets);
        assert_eq!(octets, [0, 12, 0, 4, 0, 1, 0x51, 0x80]);
        assert_eq!(parse(&octets), Ok(vec![long]));
    }

    #[test]
    fn form_does_not_matter_for_the_value() {
        let basic = Attribute::basic(12_u16, 3600);
        assert!(basic.says_the_same(&Attribute::variable(12_u16, [0, 0, 14, 16])));
        assert!(!basic.says_the_same(&Attribute::variable(12_u16, [0, 0, 14, 17])));
        assert!(!basic.says_the_same(&Attribute::basic(11_u16, 3600)));
        let odd = Attribute::variable(12_u16, [1, 2, 3]);
        assert_eq!(odd.as_number(), None);
        assert!(odd.says_the_same(&odd));
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!(
            parse(&[0, 1, 0, 5, 1, 2, 3, 4]),
            Err(BadAttributes::Overrun)
        );
        assert_eq!(parse(&[0x80, 1, 0]), Err(BadAttributes::Overrun));
        let many = [0x80, 1, 0, 1].repeat(MAX_ATTRIBUTES + 1);
        assert_eq!(parse(&many), Err(BadAttributes::TooMany));
        assert_eq!(parse(&many[4..]).map(|a| a.len()), Ok(MAX_ATTRIBUTES));
    }
}
