//! Text with octets of a peer in it, as it may be shown and logged.

/// The same text in one line: what is not to be seen, or would move the cursor, is escaped. Quotes stay, since
/// the original's texts have them, and backslashes, so that a text that has been through here stays as it is.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\'' | '"' | '\\' => line.push(character),
            _ => line.extend(character.escape_debug()),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn quotes_stay_and_lines_do_not_break() {
        let text = "can't read signer's own key: readauthinfo '/k' \"x\"";
        assert_eq!(one_line(text), text);
        let shown = "a\\nb\\u{1b}[0m\\u{2028}\\";
        assert_eq!(one_line("a\nb\x1b[0m\u{2028}\\"), shown);
        assert_eq!(one_line(shown), shown, "once is enough");
        assert_eq!(one_line("Алиса"), "Алиса");
    }
}
