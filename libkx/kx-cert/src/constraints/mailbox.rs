//! Mail addresses of certificates (RFC 2821 section 4.1.2, with the leniency of RFC 3696).

use super::is_domain;

/// An address in its two parts, quoting undone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    pub(super) local: Vec<u8>,
    pub(super) domain: String,
}

impl Mailbox {
    pub(super) fn parse(text: &str) -> Option<Mailbox> {
        let (local, rest) = match text.strip_prefix('"') {
            Some(rest) => quoted(rest.as_bytes())?,
            None => dotted(text.as_bytes())?,
        };
        let domain = std::str::from_utf8(rest.strip_prefix(b"@")?).ok()?;
        is_domain(domain).then(|| Mailbox {
            local,
            domain: domain.to_owned(),
        })
    }
}

/// Control characters that a mail line may hold: all but NUL, LF and CR.
fn is_control(octet: u8) -> bool {
    matches!(octet, 1..=8 | 11 | 12 | 14..=31)
}

fn quoted(mut text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut local = Vec::new();
    loop {
        let (&octet, rest) = text.split_first()?;
        text = rest;
        match octet {
            b'"' => return Some((local, text)),
            b'\\' => {
                let (&escaped, rest) = text.split_first()?;
                if !(is_control(escaped) || matches!(escaped, b'\t' | b' '..=127)) {
                    return None;
                }
                local.push(escaped);
                text = rest;
            }
            // Blanks should not stand here by the grammar, but addresses in the field have them.
            b' '..=127 => local.push(octet),
            _ if is_control(octet) => local.push(octet),
            _ => return None,
        }
    }
}

fn dotted(mut text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut local = Vec::new();
    while let Some((&octet, rest)) = text.split_first() {
        if octet == b'\\' {
            let (&escaped, rest) = rest.split_first()?;
            local.push(escaped);
            text = rest;
        } else if octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&octet) {
            local.push(octet);
            text = rest;
        } else {
            break;
        }
    }
    let dots = local.is_empty()
        || local.starts_with(b".")
        || local.ends_with(b".")
        || local.windows(2).any(|pair| pair == b"..");
    (!dots).then_some((local, text))
}

#[cfg(test)]
mod tests {
    use super::Mailbox;

    #[test]
    fn addresses() {
        let parse =
            |text| Mailbox::parse(text).map(|m| (String::from_utf8(m.local).unwrap(), m.domain));
        let some = |local: &str, domain: &str| Some((local.to_owned(), domain.to_owned()));
        assert_eq!(parse("a.b@c.d"), some("a.b", "c.d"));
        assert_eq!(parse(r#""a \"b"@c"#), some("a \"b", "c"));
        assert_eq!(parse(r"a\@b@c"), some("a@b", "c"));
        for bad in [
            "", "a", "@b", ".a@b", "a.@b", "a..b@c", "\"a@b", "a@b.", "a b@c", "a\\",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
