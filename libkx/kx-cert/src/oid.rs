//! Object identifiers.

use std::fmt;

use crate::der;

/// An object identifier in its DER form (content octets only). Shown as dotted numbers.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Oid(Box<[u8]>);

impl Oid {
    /// The content octets.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.0
    }

    /// Takes content octets that the reader has found well formed.
    pub(crate) fn from_checked(content: &[u8]) -> Self {
        Oid(content.into())
    }
}

impl PartialEq<[u8]> for Oid {
    fn eq(&self, other: &[u8]) -> bool {
        *self.0 == *other
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, arc) in der::arcs(&self.0).unwrap_or_default().iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            write!(f, "{arc}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}
