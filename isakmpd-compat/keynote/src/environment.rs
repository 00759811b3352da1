//! Small files of the `keynote` command: an action in a file, and a key.

use crate::SyntaxError;
use crate::lexer::{Symbol, Token, tokens};
use crate::query::Attributes;

/// The line, from 1, on which an environment file is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in line {0}")]
pub struct BadLine(pub usize);

/// Reads `name = "value"` again and again, with comments. A name may also begin with a digit, as in the
/// original, though no assertion can ask for it.
///
/// # Errors
/// [`BadLine`]
pub fn environment(text: &[u8]) -> Result<Attributes, BadLine> {
    let line_of = |octet: usize| {
        let before = text.get(..octet).unwrap_or(text);
        BadLine(
            before
                .iter()
                .filter(|octet| **octet == b'\n')
                .count()
                .saturating_add(1),
        )
    };
    let tokens = tokens(text).map_err(|_| line_of(text.len()))?;
    let mut attributes = Attributes::default();
    let mut rest = tokens.as_slice();
    while let Some(first) = rest.first() {
        // Digits in front of a name are a token of their own.
        let (name, after) = match rest {
            [digits, name, after @ ..]
                if matches!(
                    (&digits.token, &name.token),
                    (Token::Integer(_), Token::Name(_))
                ) && digits.end == name.start =>
            {
                (text.get(digits.start..name.end), after)
            }
            [only, after @ ..] => match only.token {
                Token::Name(name) | Token::Integer(name) => (Some(name), after),
                _ => (None, after),
            },
            [] => (None, rest),
        };
        let wrong = line_of(first.start);
        let name = name.filter(|name| !name.starts_with(b"_")).ok_or(wrong)?;
        let [sign, value, after @ ..] = after else {
            return Err(line_of(text.len()));
        };
        let (Token::Symbol(Symbol::Assign), Token::Text(value)) = (&sign.token, &value.token)
        else {
            return Err(line_of(sign.start));
        };
        attributes.set(name, value);
        rest = after;
    }
    Ok(attributes)
}

/// Reads a file that holds one quoted string, such as a key, and perhaps comments.
///
/// # Errors
/// [`SyntaxError`]
pub fn quoted_string(text: &[u8]) -> Result<Vec<u8>, SyntaxError> {
    let mut tokens = tokens(text)?;
    let second = tokens.get(1).map(|spanned| spanned.start);
    match (tokens.pop().map(|spanned| spanned.token), second) {
        (Some(Token::Text(value)), None) => Ok(value.to_vec()),
        (Some(_), second) => Err(SyntaxError::Unexpected(second.unwrap_or(0))),
        (None, _) => Err(SyntaxError::UnexpectedEnd),
    }
}

#[cfg(test)]
mod tests {
    use super::{BadLine, environment, quoted_string};

    #[test]
    fn environments() {
        let text =
            "# the action\napp_domain = \"test\\\n\t ing\"\n1x=\"y\" 2 = \"z\"\nb=\"c\" # end";
        let attributes = environment(text.as_bytes()).unwrap();
        assert_eq!(attributes.get(b"app_domain").unwrap(), b"testing");
        assert_eq!(attributes.get(b"b").unwrap(), b"c");
        for (text, line) in [
            ("a", 1),
            ("a =", 1),
            ("\na = b", 2),
            ("a=\"b\"\n\nc=\"d\" = \"e\"", 3),
            ("_a = \"b\"", 1),
            ("a = \"b", 1),
            ("\"a\" = \"b\"", 1),
        ] {
            assert_eq!(
                environment(text.as_bytes()).err(),
                Some(BadLine(line)),
                "{text}"
            );
        }
        assert!(environment(b"").is_ok());
    }

    #[test]
    fn strings() {
        assert_eq!(quoted_string(b" \"a\\\n  b\" # key\n").unwrap(), b"ab");
        for text in ["", "x", "\"a\" \"b\"", "\"a"] {
            assert!(quoted_string(text.as_bytes()).is_err(), "{text}");
        }
    }
}
