//! Lines of the small configuration files: split at line feeds, white space (Unicode's, as Go's
//! `strings.TrimSpace` has it) cut off at both ends. The text need not be UTF-8.

/// The lines, trimmed; empty ones too.
pub(crate) fn trimmed(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&octet| octet == b'\n').map(trim)
}

fn trim(line: &[u8]) -> &[u8] {
    let mut line = line;
    // An invalid octet is no white space: trimming ends there.
    if let Some(first) = line.utf8_chunks().next() {
        let valid = first.valid();
        let cut = valid.len() - valid.trim_start().len();
        line = line.get(cut..).unwrap_or_default();
    }
    if let Some(last) = line.utf8_chunks().last() {
        if last.invalid().is_empty() {
            let valid = last.valid();
            let cut = valid.len() - valid.trim_end().len();
            line = line
                .get(..line.len().saturating_sub(cut))
                .unwrap_or_default();
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_of_every_kind_goes() {
        for (line, rest) in [
            (&b""[..], &b""[..]),
            (b" \t\r\x0b\x0c", b""),
            (b"\ta b\r", b"a b"),
            (
                "\u{a0}\u{85}x\u{2003}\u{3000}\u{feff}".as_bytes(),
                "x\u{2003}\u{3000}\u{feff}".as_bytes(),
            ),
            ("\u{2028}x\u{202f}".as_bytes(), b"x"),
            (b" \xff x \xff ", b"\xff x \xff"),
            (b"\xa0x\x85", b"\xa0x\x85"),
            (b"\xe1\xc2\xa0", b"\xe1"),
            ("\u{200b}x".as_bytes(), "\u{200b}x".as_bytes()),
        ] {
            assert_eq!(trim(line), rest, "{line:?}");
        }
    }

    #[test]
    fn only_line_feeds_split() {
        let lines: Vec<&[u8]> = trimmed(b"a\r\n b\rc \n\n").collect();
        assert_eq!(lines, [&b"a"[..], b"b\rc", b"", b""]);
    }
}
