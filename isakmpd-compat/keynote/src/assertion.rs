//! An assertion: its fields, where they begin and end, and what they say (RFC 2704 sections 4.1 and 4.6).

use std::collections::BTreeMap;
use std::ops::Range;

use zeroize::Zeroizing;

use crate::expression::{Licensees, Parser, Program, Text};
use crate::lexer::{Symbol, Token, is_space, tokens};
use crate::principal::{Principal, strip_prefix_ignoring_case};
use crate::{Malformed, SyntaxError};

/// Octets of one assertion. A certificate in base64 has 2000 to 4000.
pub const MOST_ASSERTION: usize = 256 * 1024;

/// Names and values that hold in one assertion.
pub(crate) type Constants = BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>;

/// A field that may be missing, empty or wrong without making the assertion invalid.
#[derive(Clone)]
pub(crate) enum Field<T> {
    Absent,
    Empty,
    Present(T),
    /// The assertion is worth the minimum.
    Wrong(SyntaxError),
}

/// A principal, or an expression that depends on the action.
#[derive(Clone)]
pub(crate) enum Name {
    Fixed(Principal),
    Computed(Text),
}

/// A KeyNote assertion whose structure is good. Conditions or Licensees with a syntax error stay in it
/// and make it worth the minimum; [`fault`](Self::fault) says so.
#[derive(Clone)]
pub struct Assertion {
    /// Passphrases and all.
    pub(crate) text: Zeroizing<Vec<u8>>,
    /// What a signature covers.
    pub(crate) signed: Range<usize>,
    pub(crate) constants: Constants,
    pub(crate) authorizer: Name,
    pub(crate) licensees: Field<Licensees<Name>>,
    pub(crate) conditions: Field<Program>,
    /// The value of the Signature field.
    pub(crate) signature: Field<Vec<u8>>,
    comment: Option<Vec<u8>>,
}

/// Fields of an assertion and how they are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldName {
    Version,
    LocalConstants,
    Authorizer,
    Licensees,
    Conditions,
    Comment,
    Signature,
}

const FIELD_NAMES: [(&[u8], FieldName); 7] = [
    (b"keynote-version:", FieldName::Version),
    (b"local-constants:", FieldName::LocalConstants),
    (b"authorizer:", FieldName::Authorizer),
    (b"licensees:", FieldName::Licensees),
    (b"conditions:", FieldName::Conditions),
    (b"comment:", FieldName::Comment),
    (b"signature:", FieldName::Signature),
];

/// Where the fields stand.
#[derive(Default)]
struct Fields<'a> {
    found: Vec<(FieldName, &'a [u8])>,
    signed: Range<usize>,
}

impl<'a> Fields<'a> {
    fn get(&self, name: FieldName) -> Option<&'a [u8]> {
        self.found
            .iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| *value)
    }
}

/// Cuts a text into assertions: two line feeds in a row are between them (isakmpd-policy 2). What holds
/// nothing but white space is no assertion.
#[must_use]
pub fn split(text: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .windows(2)
            .position(|pair| pair == b"\n\n")
            .map_or(rest.len(), |line_feed| line_feed.saturating_add(1));
        let (piece, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        if !piece.iter().all(|octet| is_space(*octet)) {
            found.push(piece);
        }
        rest = after;
    }
    found
}

impl Assertion {
    /// Reads one assertion. Text after an empty line or after the Signature field is not part of it.
    ///
    /// # Errors
    /// [`Malformed`]: the assertion has to be left out.
    pub fn parse(text: &[u8]) -> Result<Assertion, Malformed> {
        if text.len() > MOST_ASSERTION {
            return Err(Malformed::TooLong);
        }
        if text.contains(&0) {
            return Err(Malformed::Nul);
        }
        let fields = fields(text)?;
        if let Some(version) = fields.get(FieldName::Version) {
            check_version(version)?;
        }
        let constants = match fields.get(FieldName::LocalConstants) {
            Some(field) => local_constants(field)?,
            None => Constants::new(),
        };
        let authorizer = fields
            .get(FieldName::Authorizer)
            .ok_or(Malformed::NoAuthorizer)
            .and_then(|field| authorizer(field, &constants).map_err(Malformed::Authorizer))?;
        let licensees = match fields.get(FieldName::Licensees) {
            None => Field::Absent,
            Some(field) => licensees(field, &constants).unwrap_or_else(Field::Wrong),
        };
        let conditions = match fields.get(FieldName::Conditions) {
            None => Field::Absent,
            Some(field) => conditions(field).unwrap_or_else(Field::Wrong),
        };
        let signature = match fields.get(FieldName::Signature) {
            None => Field::Absent,
            Some(field) => signature(field, &constants).unwrap_or_else(Field::Wrong),
        };
        Ok(Assertion {
            signed: fields.signed.clone(),
            constants,
            authorizer,
            licensees,
            conditions,
            signature,
            comment: fields.get(FieldName::Comment).map(<[u8]>::to_vec),
            text: Zeroizing::new(text.to_vec()),
        })
    }

    /// The syntax error because of which the assertion is worth the minimum.
    #[must_use]
    pub fn fault(&self) -> Option<SyntaxError> {
        match (&self.licensees, &self.conditions) {
            (Field::Wrong(error), _) | (_, Field::Wrong(error)) => Some(*error),
            _ => None,
        }
    }

    /// What the Comment field says, white space around it removed.
    #[must_use]
    pub fn comment(&self) -> Option<&[u8]> {
        self.comment.as_deref().map(<[u8]>::trim_ascii)
    }

    /// The authorizer, if it does not depend on the action.
    #[must_use]
    pub fn authorizer(&self) -> Option<&Principal> {
        match &self.authorizer {
            Name::Fixed(principal) => Some(principal),
            Name::Computed(_) => None,
        }
    }

    /// The principals that Licensees names, in their order, without those that depend on the action.
    #[must_use]
    pub fn licensees(&self) -> Vec<&Principal> {
        let mut found = Vec::new();
        if let Field::Present(licensees) = &self.licensees {
            licensees.each(&mut |name| {
                if let Name::Fixed(principal) = name {
                    found.push(principal);
                }
            });
        }
        found
    }

    /// Whether it has a Signature field.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        !matches!(self.signature, Field::Absent)
    }

    /// The whole text it was read from.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

/// Finds the fields and checks what can be said about them without looking inside.
fn fields(text: &[u8]) -> Result<Fields<'_>, Malformed> {
    let start = text
        .iter()
        .position(|octet| !is_space(*octet))
        .ok_or(Malformed::Empty)?;
    if start > 0 && text.get(start.saturating_sub(1)) != Some(&b'\n') {
        return Err(Malformed::Indented);
    }
    let mut fields = Fields {
        signed: start..text.len(),
        ..Fields::default()
    };
    let mut at = start;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.first() == Some(&b'\n') {
            break;
        }
        if rest.first() == Some(&b'#') {
            at = at.saturating_add(line_len(rest));
            continue;
        }
        if rest.first().is_some_and(|octet| is_space(*octet)) {
            return Err(Malformed::Indented);
        }
        let (name, value) = FIELD_NAMES
            .iter()
            .find_map(|(name, field)| {
                strip_prefix_ignoring_case(rest, name).map(|value| (*field, value))
            })
            .ok_or(Malformed::UnknownField)?;
        if fields.get(name).is_some() {
            return Err(Malformed::Duplicate);
        }
        if name == FieldName::Version && !fields.found.is_empty() {
            return Err(Malformed::VersionNotFirst);
        }
        let len = field_len(value);
        fields
            .found
            .push((name, value.get(..len).unwrap_or_default()));
        if name == FieldName::Signature {
            fields.signed.end = at;
            break;
        }
        let before = rest.len().saturating_sub(value.len());
        at = at
            .saturating_add(before)
            .saturating_add(len)
            .saturating_add(1);
    }
    Ok(fields)
}

/// Octets up to and with the next line feed.
fn line_len(text: &[u8]) -> usize {
    text.iter()
        .position(|octet| *octet == b'\n')
        .map_or(text.len(), |at| at.saturating_add(1))
}

/// Octets of a field's value: it ends before a line feed that is followed by another one or by something
/// that is neither blank nor a comment, or where the text ends.
fn field_len(value: &[u8]) -> usize {
    value
        .windows(2)
        .position(|pair| match pair {
            [b'\n', b'\n'] => true,
            [b'\n', next] => !is_space(*next) && *next != b'#',
            _ => false,
        })
        .unwrap_or(value.len())
}

fn check_version(field: &[u8]) -> Result<(), Malformed> {
    let tokens = tokens(field).map_err(|_| Malformed::Version)?;
    let version: &[u8] = match tokens.as_slice() {
        [only] => match &only.token {
            Token::Text(version) => version,
            Token::Integer(version) => version,
            _ => return Err(Malformed::Version),
        },
        _ => return Err(Malformed::Version),
    };
    if version == b"2" {
        Ok(())
    } else {
        Err(Malformed::Version)
    }
}

fn local_constants(field: &[u8]) -> Result<Constants, Malformed> {
    let mut constants = Constants::new();
    let tokens = tokens(field).map_err(Malformed::LocalConstants)?;
    for assignment in tokens.chunks(3) {
        let [name, sign, value] = assignment else {
            return Err(Malformed::LocalConstants(SyntaxError::UnexpectedEnd));
        };
        let (Token::Name(name), Token::Symbol(Symbol::Assign), Token::Text(value)) =
            (&name.token, &sign.token, &value.token)
        else {
            return Err(Malformed::LocalConstants(SyntaxError::Unexpected(
                name.start,
            )));
        };
        if name.starts_with(b"_") {
            return Err(Malformed::ReservedConstant);
        }
        if constants.insert(name.to_vec(), value.clone()).is_some() {
            return Err(Malformed::DuplicateConstant);
        }
    }
    Ok(constants)
}

fn authorizer(field: &[u8], constants: &Constants) -> Result<Name, SyntaxError> {
    let tokens = tokens(field)?;
    name(&Parser::new(&tokens).only_text()?, constants)
}

fn licensees(field: &[u8], constants: &Constants) -> Result<Field<Licensees<Name>>, SyntaxError> {
    let tokens = tokens(field)?;
    if tokens.is_empty() {
        return Ok(Field::Empty);
    }
    Parser::new(&tokens)
        .licensees()?
        .map(&mut |text| name(text, constants))
        .map(Field::Present)
}

fn conditions(field: &[u8]) -> Result<Field<Program>, SyntaxError> {
    let tokens = tokens(field)?;
    let program = Parser::new(&tokens).conditions()?;
    Ok(if program.is_empty() {
        Field::Empty
    } else {
        Field::Present(program)
    })
}

fn signature(field: &[u8], constants: &Constants) -> Result<Field<Vec<u8>>, SyntaxError> {
    let tokens = tokens(field)?;
    if tokens.is_empty() {
        return Ok(Field::Empty);
    }
    let text = Parser::new(&tokens).only_text()?;
    let value = constant(&text, constants).ok_or(SyntaxError::NotConstant)?;
    Ok(Field::Present(value.to_vec()))
}

/// Decodes keys that do not depend on the action once and for all.
fn name(text: &Text, constants: &Constants) -> Result<Name, SyntaxError> {
    match constant(text, constants) {
        Some(value) => Principal::parse(&value)
            .map(Name::Fixed)
            .map_err(|_| SyntaxError::Key),
        None => Ok(Name::Computed(text.clone())),
    }
}

/// The value of a string that needs nothing but literals and Local-Constants.
fn constant(text: &Text, constants: &Constants) -> Option<Zeroizing<Vec<u8>>> {
    match text {
        Text::Literal(value) => Some(value.clone()),
        Text::Attribute(name) => constants.get(name).cloned(),
        Text::Indirect(name) => constants
            .get(constant(name, constants)?.as_slice())
            .cloned(),
        Text::Joined(parts) => {
            let mut value = Zeroizing::new(Vec::new());
            for part in parts {
                value.extend_from_slice(&constant(part, constants)?);
                if value.len() > MOST_ASSERTION {
                    return None;
                }
            }
            Some(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Assertion, split};
    use crate::{Malformed, SyntaxError};

    fn parse(text: &str) -> Result<Assertion, Malformed> {
        Assertion::parse(text.as_bytes())
    }

    #[test]
    fn pieces_of_a_file() {
        assert_eq!(split(b"\n\n\na\nb\n\n\n\nc"), [&b"\na\nb\n"[..], b"\nc"]);
        assert_eq!(split(b"a\n \nb\n").len(), 1);
        assert!(split(b"").is_empty() && split(b"\n").is_empty() && split(b" \n\n \n").is_empty());
    }

    #[test]
    fn structure() {
        let good = "KeyNote-Version: \"2\"\nComment: x\n y\nAuthorizer: \"POLICY\"\n";
        let assertion = parse(good).unwrap();
        assert!(assertion.authorizer().unwrap().is_policy());
        assert_eq!(assertion.comment().unwrap(), b"x\n y");
        assert!(!assertion.is_signed());
        for (text, error) in [
            ("", Malformed::Empty),
            ("\n\n", Malformed::Empty),
            (" Authorizer: \"POLICY\"", Malformed::Indented),
            ("# x\n Authorizer: \"POLICY\"", Malformed::Indented),
            ("Authorizer: \"a\"\nauthorizer: \"a\"", Malformed::Duplicate),
            ("Authorizer: \"a\"\nX: \"a\"", Malformed::UnknownField),
            ("Authorizer : \"a\"", Malformed::UnknownField),
            ("Authorizer", Malformed::UnknownField),
            ("Comment: x", Malformed::NoAuthorizer),
            (
                "Authorizer: \"a\"\nKeyNote-Version: 2",
                Malformed::VersionNotFirst,
            ),
            ("KeyNote-Version: 3\nAuthorizer: \"a\"", Malformed::Version),
            (
                "KeyNote-Version: 2 2\nAuthorizer: \"a\"",
                Malformed::Version,
            ),
            ("KeyNote-Version: 02\nAuthorizer: \"a\"", Malformed::Version),
            ("KeyNote-Version:\nAuthorizer: \"a\"", Malformed::Version),
            (
                "Local-Constants: _a = \"x\"\nAuthorizer: \"a\"",
                Malformed::ReservedConstant,
            ),
            (
                "Local-Constants: a = \"x\" a = \"x\"\nAuthorizer: \"a\"",
                Malformed::DuplicateConstant,
            ),
            (
                "Local-Constants: a =\nAuthorizer: \"a\"",
                Malformed::LocalConstants(SyntaxError::UnexpectedEnd),
            ),
            (
                "Local-Constants: a = b\nAuthorizer: \"a\"",
                Malformed::LocalConstants(SyntaxError::Unexpected(1)),
            ),
            (
                "Authorizer:",
                Malformed::Authorizer(SyntaxError::UnexpectedEnd),
            ),
            (
                "Authorizer: \"a\" \"b\"",
                Malformed::Authorizer(SyntaxError::Unexpected(5)),
            ),
            (
                "Authorizer: \"rsa-hex:00\"",
                Malformed::Authorizer(SyntaxError::Key),
            ),
            ("Authorizer: \"a\0\"", Malformed::Nul),
        ] {
            assert_eq!(parse(text).err(), Some(error), "{text}");
        }
        assert_eq!(
            Assertion::parse(&vec![b'#'; super::MOST_ASSERTION + 1]).err(),
            Some(Malformed::TooLong)
        );
    }

    #[test]
    fn what_follows_is_not_part_of_it() {
        let text = "Authorizer: \"a\"\nSignature: \"x\"\nrubbish";
        let assertion = parse(text).unwrap();
        assert!(assertion.is_signed());
        assert_eq!(&text[assertion.signed.clone()], "Authorizer: \"a\"\n");
        let assertion = parse("# c\nAuthorizer: \"a\"\n\nrubbish").unwrap();
        assert!(!assertion.is_signed());
    }

    #[test]
    fn comments_between_and_in_fields() {
        let text = "# one\nAuthorizer: # two\n# three\n\t\"a\"\n# four\nLicensees: \"b\" # five\n#six\n || \"c\"";
        let assertion = parse(text).unwrap();
        assert_eq!(assertion.fault(), None);
        assert_eq!(assertion.licensees().len(), 2);
    }

    #[test]
    fn faults() {
        for (field, error) in [
            ("Conditions: a", SyntaxError::NoTest),
            ("Conditions: true", SyntaxError::UnexpectedEnd),
            ("Conditions: a == 1;", SyntaxError::Mismatch),
            ("Conditions: 1.0 == 1.0;", SyntaxError::Mismatch),
            ("Conditions: 1.0 < 1;", SyntaxError::Mismatch),
            ("Conditions: 1.0 % 1.0 < 1.0;", SyntaxError::Mismatch),
            ("Conditions: a . 1 == a;", SyntaxError::Unexpected(5)),
            ("Conditions: (a == b) == c;", SyntaxError::Mismatch),
            ("Conditions: a == b == c;", SyntaxError::Unexpected(8)),
            ("Conditions: true -> { true; ;", SyntaxError::Unexpected(17)),
            ("Conditions: true -> 1;", SyntaxError::Unexpected(9)),
            ("Conditions: a = = b;", SyntaxError::NoTest),
            ("Conditions: !a;", SyntaxError::NoTest),
            ("Conditions: a ~= 1;", SyntaxError::NoString),
            ("Conditions: \"", SyntaxError::OpenString),
            ("Conditions: [", SyntaxError::UnexpectedOctet(b'[')),
            ("Licensees: 3-of(\"a\", \"b\")", SyntaxError::Threshold),
            ("Licensees: 0-of(\"a\")", SyntaxError::Unexpected(1)),
            ("Licensees: 1 -of(\"a\")", SyntaxError::Unexpected(1)),
            ("Licensees: 1-of()", SyntaxError::Unexpected(6)),
            (
                "Licensees: 1-of(\"a\" && \"b\")",
                SyntaxError::Unexpected(10),
            ),
            (
                "Licensees: 99999999999999999999-of(\"a\")",
                SyntaxError::Threshold,
            ),
            ("Licensees: \"a\" \"b\"", SyntaxError::Unexpected(5)),
            ("Licensees: \"rsa-hex:00\"", SyntaxError::Key),
            (
                "Licensees: (\"a\" && \"b\") . \"c\"",
                SyntaxError::Unexpected(14),
            ),
        ] {
            let assertion = parse(&format!("Authorizer: \"POLICY\"\n{field}")).unwrap();
            assert_eq!(assertion.fault(), Some(error), "{field}");
        }
        for field in [
            "Conditions:",
            "Conditions: # nothing",
            "Conditions: true == \"\" && False . a == a && !false;",
            "Conditions: ((a)) . (b . (c)) == $$a;",
            "Conditions: ((((1)) + @a) * -2 ^ 2 % 3 < @(a . b));",
            "Conditions: true -> {}; true -> { true -> { true; }; };",
            "Licensees:",
            "Licensees: (\"a\") . \"b\" && (c || $d) || 2-OF(\"a\", b . \"c\")",
        ] {
            let assertion = parse(&format!("Authorizer: \"POLICY\"\n{field}")).unwrap();
            assert_eq!(assertion.fault(), None, "{field}");
        }
    }

    #[test]
    fn depth() {
        let nested = |count: usize, open: &str, inside: &str, close: &str| {
            let text = format!(
                "Authorizer: \"a\"\nConditions: {}{inside}{};",
                open.repeat(count),
                close.repeat(count)
            );
            parse(&text).unwrap().fault()
        };
        for (open, inside, close) in [
            ("(", "a == b", ")"),
            ("!", "true", ""),
            ("true -> {", "true;", "};"),
        ] {
            let most = super::super::expression::MOST_NESTED;
            let close = close.replace("};", ";}");
            let (inside, close) = if open == "true -> {" {
                ("true", close.as_str())
            } else {
                (inside, close.as_str())
            };
            assert_eq!(nested(most, open, inside, close), None, "{open}");
            for count in [most + 1, 10_000] {
                assert_eq!(
                    nested(count, open, inside, close),
                    Some(SyntaxError::TooDeep),
                    "{open}"
                );
            }
        }
        let nested = |open: &str, inside: &str| {
            let text = format!(
                "Authorizer: \"a\"\nConditions: {}{inside};",
                open.repeat(10_000)
            );
            parse(&text).unwrap().fault()
        };
        assert_eq!(nested("$", "a == b"), Some(SyntaxError::TooDeep));
        assert_eq!(nested("-", "1 == 2"), Some(SyntaxError::TooDeep));
    }
}
