//! Long strings as they stand in an assertion: quoted, cut into lines that a backslash continues.

use std::ffi::OsStr;

use kx_cli::getopt::atoi;
use zeroize::Zeroizing;

use crate::Failure;

/// Where and how wide a string is printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Blanks before each line.
    pub(crate) offset: usize,
    /// Octets of a line after them.
    pub(crate) length: usize,
}

impl Layout {
    /// From the two optional arguments.
    pub(crate) fn parse(offset: Option<&OsStr>, length: Option<&OsStr>) -> Result<Layout, Failure> {
        let offset = offset.map_or(Ok(12), |text| usize::try_from(atoi(text)));
        let length = length.map_or(Ok(50), |text| usize::try_from(atoi(text)));
        Ok(Layout {
            offset: offset
                .map_err(|_| Failure::new("Erroneous value for print-offset parameter.\n"))?,
            length: length
                .ok()
                .filter(|length| *length > 0)
                .ok_or_else(|| Failure::new("Erroneous value for print-length parameter.\n"))?,
        })
    }

    /// The quoted string. `name`, the algorithm, is never cut.
    pub(crate) fn quote(self, name: &str, value: &[u8]) -> Zeroizing<Vec<u8>> {
        let blanks = vec![b' '; self.offset];
        let mut text = Zeroizing::new(blanks.clone());
        text.push(b'"');
        text.extend_from_slice(name.as_bytes());
        // The quote and the backslash count too; continued lines have no quote before them.
        let mut column = name.len().saturating_add(2);
        for octet in value {
            if column == self.length {
                text.extend_from_slice(b"\\\n");
                text.extend_from_slice(&blanks);
                column = 1;
            }
            text.push(*octet);
            column = column.saturating_add(1);
        }
        text.extend_from_slice(b"\"\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Layout;

    #[test]
    fn lines() {
        let layout = Layout {
            offset: 2,
            length: 8,
        };
        let text = layout.quote("a:", b"0123456789012");
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            "  \"a:0123\\\n  4567890\\\n  12\"\n"
        );
        assert_eq!(keynote::quoted_string(&text).unwrap(), b"a:0123456789012");
        let text = layout.quote("longer than that:", b"01");
        assert_eq!(
            keynote::quoted_string(&text).unwrap(),
            b"longer than that:01"
        );
    }

    #[test]
    fn arguments() {
        let parse = |offset: &str, length: &str| {
            Layout::parse(Some(offset.as_ref()), Some(length.as_ref())).ok()
        };
        let layout = Layout::parse(None, None).ok().unwrap();
        assert_eq!((layout.offset, layout.length), (12, 50));
        assert_eq!(parse("0", "1").unwrap().length, 1);
        assert!(
            parse("-1", "1").is_none() && parse("0", "0").is_none() && parse("0", "x").is_none()
        );
    }
}
