//! The grammar of isakmpd.conf (isakmpd-config 1), octet for octet as the original reads it.

use std::rc::Rc;

use zeroize::Zeroizing;

use crate::problem::Problem;
use crate::text::text;

/// White space as C's `isspace` has it: what is dropped around values.
pub(crate) fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// Lines of the file, counted from 1: where something begins and, with joined lines, where it ends.
/// The original's messages name the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lines {
    /// The first.
    pub first: u32,
    /// The last, which the messages name.
    pub last: u32,
}

/// One assignment. The value may be a secret, so there is no `Debug`.
pub struct Assignment {
    /// Name of the section, as spelled above the line.
    pub section: Rc<str>,
    /// What stands in front of the first blank, tab or `=`. Empty for a line that is indented.
    pub tag: String,
    /// What stands behind the `=`, trimmed.
    pub value: Zeroizing<String>,
    /// Where.
    pub lines: Lines,
}

/// What a section header said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name between the brackets, untrimmed.
    pub section: String,
    /// Where.
    pub lines: Lines,
    /// Whether more than white space follows the `]`. It is ignored.
    pub trailing: bool,
}

/// A whole file, read.
#[derive(Default)]
pub struct Parsed {
    /// The section headers, in order.
    pub headers: Vec<Header>,
    /// The assignments, in order, duplicates among them.
    pub assignments: Vec<Assignment>,
    /// What is wrong, in the order of the lines.
    pub problems: Vec<Problem>,
    /// The section at the end: it goes on at the start of the next file read (a quirk of the original).
    pub section: Option<Rc<str>>,
}

/// Reads a file. `section` is the [`Parsed::section`] of the file read before, if there was one.
#[must_use]
pub fn parse(octets: &[u8], section: Option<Rc<str>>) -> Parsed {
    let mut assignments = Vec::new();
    let parsed = parse_each(octets, section, &mut |assignment| {
        assignments.push(assignment)
    });
    Parsed {
        assignments,
        ..parsed
    }
}

/// The same, with the assignments handed over one by one: those of ten thousand peers need not be there twice.
pub(crate) fn parse_each(
    octets: &[u8],
    section: Option<Rc<str>>,
    each: &mut dyn FnMut(Assignment),
) -> Parsed {
    let mut parsed = Parsed {
        section,
        ..Parsed::default()
    };
    let mut joined: Zeroizing<Vec<u8>> = Zeroizing::default();
    let mut lines = Lines { first: 1, last: 1 };
    let mut rest = octets;
    while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
        let (line, more) = rest.split_at(end);
        rest = more.get(1..).unwrap_or_default();
        match line.split_last() {
            // Of a line that was joined before, only what follows counts: a backslash was made a blank.
            Some((b'\\', line)) => {
                joined.extend_from_slice(line);
                joined.extend_from_slice(b"  ");
            }
            _ if joined.is_empty() => {
                parsed.line(line, lines, each);
                lines.first = lines.last.saturating_add(1);
            }
            _ => {
                joined.extend_from_slice(line);
                parsed.line(&joined, lines, each);
                joined = Zeroizing::default();
                lines.first = lines.last.saturating_add(1);
            }
        }
        lines.last = lines.last.saturating_add(1);
    }
    if !rest.is_empty() || !joined.is_empty() {
        parsed
            .problems
            .push(Problem::Unterminated { line: lines.first });
    }
    parsed
}

/// A string of C ends at its first zero octet.
fn c_string(octets: &[u8]) -> &[u8] {
    octets.split(|octet| *octet == 0).next().unwrap_or_default()
}

/// The value out of what follows the `=`: leading blanks and tabs dropped, trailing white space
/// dropped, except that a first octet is never taken for trailing.
fn trimmed(value: &[u8]) -> &[u8] {
    let start = value
        .iter()
        .position(|octet| !is_blank(*octet))
        .unwrap_or(value.len());
    let value = value.get(start..).unwrap_or_default();
    let end = value
        .iter()
        .rposition(|octet| !is_space(*octet))
        .map_or(1, |last| last.saturating_add(1));
    c_string(value.get(..end).unwrap_or(value))
}

impl Parsed {
    fn line(&mut self, line: &[u8], lines: Lines, each: &mut dyn FnMut(Assignment)) {
        match line.first() {
            Some(b'#' | b';') => return,
            Some(b'[') => return self.header(line, lines),
            _ => {}
        }
        if let Some(equals) = line.iter().position(|octet| *octet == b'=') {
            let Some(section) = &self.section else {
                self.problems.push(Problem::NoSection { line: lines.last });
                return;
            };
            let tag = line
                .split(|octet| matches!(octet, b' ' | b'\t' | b'=' | 0))
                .next()
                .unwrap_or_default();
            let value = trimmed(line.get(equals.saturating_add(1)..).unwrap_or_default());
            each(Assignment {
                section: Rc::clone(section),
                tag: text(tag),
                value: Zeroizing::new(text(value)),
                lines,
            });
        } else if c_string(line).iter().any(|octet| !is_blank(*octet)) {
            self.problems.push(Problem::Syntax { line: lines.last });
        }
    }

    fn header(&mut self, line: &[u8], lines: Lines) {
        let Some(end) = line.iter().position(|octet| *octet == b']') else {
            self.section = None;
            self.problems
                .push(Problem::UnmatchedBracket { line: lines.last });
            return;
        };
        let section = text(c_string(line.get(1..end).unwrap_or_default()));
        let trailing = line.iter().skip(end).skip(1).any(|octet| !is_space(*octet));
        self.section = Some(section.as_str().into());
        self.headers.push(Header {
            section,
            lines,
            trailing,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &[u8]) -> Vec<(String, String, String)> {
        let parsed = parse(file, None);
        parsed
            .assignments
            .into_iter()
            .map(|one| (one.section.to_string(), one.tag, one.value.to_string()))
            .collect()
    }

    fn problems(file: &[u8]) -> Vec<String> {
        parse(file, None)
            .problems
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[track_caller]
    fn value(line: &[u8], tag: &str, value: &str) {
        let mut file = b"[S]\n".to_vec();
        file.extend_from_slice(line);
        file.push(b'\n');
        assert_eq!(
            read(&file),
            [("S".to_owned(), tag.to_owned(), value.to_owned())]
        );
        assert!(problems(&file).is_empty());
    }

    #[test]
    fn tags_and_values() {
        value(b"T=v", "T", "v");
        value(b"T= \t v \t\r", "T", "v");
        value(b"T \t= v w  x ", "T", "v w  x");
        value(b"T and more = v", "T", "v");
        value(b"T=a=b", "T", "a=b");
        value(b"T=", "T", "");
        value(b"T= \t ", "T", "");
        value(b"T=v # no comment", "T", "v # no comment");
        value(b"T=v ; none either", "T", "v ; none either");
        value(b"T=\"v\"", "T", "\"v\"");
        value(b"T=[v]", "T", "[v]");
        value(b"=v", "", "v");
    }

    #[test]
    fn an_indented_line_has_an_empty_tag() {
        value(b" T=v", "", "v");
        value(b"\tT = v", "", "v");
        // Neither is an indented mark a comment, nor an indented bracket a section.
        value(b" #T=v", "", "v");
        value(b" [X]=v", "", "v");
    }

    #[test]
    fn a_first_octet_is_never_trailing_space() {
        value(b"T=\r", "T", "\r");
        value(b"T=\x0b\x0c", "T", "\u{b}");
        value(b"T=a\x0b\x0c", "T", "a");
    }

    #[test]
    fn zero_octets_end_strings() {
        value(b"T=a\0b", "T", "a");
        value(b"T\0x=a", "T", "a");
        value(b"\0T=a", "", "a");
        // The trailing space in front of it is not trailing any more.
        value(b"T=a \0", "T", "a ");
        assert_eq!(parse(b"[S\0]T]\n", None).section.as_deref(), Some("S"));
        assert!(problems(b"[S]\n\0garbage\n").is_empty());
    }

    #[test]
    fn octets_above_127_pass() {
        value(b"T\xe5=\xff\xfe", "T\u{efe5}", "\u{efff}\u{effe}");
        value("T=åäö".as_bytes(), "T", "åäö");
        // A no-break space of Latin 1 is no space in C.
        value(b"T=a\xa0", "T", "a\u{efa0}");
    }

    #[test]
    fn comments() {
        assert!(read(b"[S]\n#T=v\n;T=v\n").is_empty());
        assert!(problems(b"#anything\n;[\n").is_empty());
        // What is joined to a comment is comment.
        assert!(read(b"[S]\n#T=v\\\nT=v\n").is_empty());
    }

    #[test]
    fn joined_lines() {
        value(b"T=a,\\\n\tb", "T", "a,  \tb");
        value(b"T=a\\\n\\\nb", "T", "a    b");
        value(b"T\\\n=a", "T", "a");
        value(b"T=a\\\n", "T", "a");
        value(b"\\\nT=a", "", "a");
        // Only the backslash right before the newline joins.
        assert_eq!(
            problems(b"[S]\nT=a\\\r\nb\n"),
            ["conf_parse_line: 3: syntax error"]
        );
        assert_eq!(
            read(b"[S]\nT=a\\\r\n"),
            [("S".into(), "T".into(), "a\\".into())]
        );
        assert_eq!(parse(b"[S\\\nx]\n", None).section.as_deref(), Some("S  x"));
    }

    #[test]
    fn sections() {
        assert_eq!(parse(b"[ S ]\n", None).section.as_deref(), Some(" S "));
        assert_eq!(parse(b"[]\n", None).section.as_deref(), Some(""));
        assert_eq!(parse(b"[[S]]\n", None).section.as_deref(), Some("[S"));
        let parsed = parse(b"[S] T=v\n[X]\t\r\n", None);
        assert!(parsed.assignments.is_empty());
        let trailing: Vec<_> = parsed
            .headers
            .iter()
            .map(|header| header.trailing)
            .collect();
        assert_eq!(trailing, [true, false]);
    }

    #[test]
    fn messages_name_the_line() {
        assert_eq!(
            problems(b"\nT=v\n"),
            ["conf_parse_line: 2: ignoring line due to no section"]
        );
        assert_eq!(
            problems(b"[S\nT=v\n[X]\nT=v\n"),
            [
                "conf_parse_line: 1:unmatched ']', ignoring until next section",
                "conf_parse_line: 2: ignoring line due to no section"
            ]
        );
        assert_eq!(
            problems(b"[S]\n \t\n\ntext\n \r\n"),
            [
                "conf_parse_line: 4: syntax error",
                "conf_parse_line: 5: syntax error"
            ]
        );
        // The number is that of the last of the joined lines.
        assert_eq!(
            problems(b"a\\\nb\\\nc\nd\n"),
            [
                "conf_parse_line: 3: syntax error",
                "conf_parse_line: 4: syntax error"
            ]
        );
    }

    #[test]
    fn the_last_line_needs_its_newline() {
        let unterminated = ["conf_parse: last line unterminated, ignored."];
        assert_eq!(problems(b"[S]\nT=v"), unterminated);
        assert!(read(b"[S]\nT=v").is_empty());
        assert_eq!(problems(b"[S]\nT=v\\\n"), unterminated);
        assert_eq!(problems(b"#"), unterminated);
        assert!(problems(b"").is_empty());
        assert!(problems(b"\n").is_empty());
    }

    #[test]
    fn where_assignments_stand() {
        let parsed = parse(b"[S]\nA=1,\\\n2\nB=3\n", None);
        let lines: Vec<_> = parsed
            .assignments
            .iter()
            .map(|one| (one.lines.first, one.lines.last))
            .collect();
        assert_eq!(lines, [(2, 3), (4, 4)]);
    }

    #[test]
    fn the_section_survives_to_the_next_file() {
        let first = parse(b"[S]\n", None);
        let second = parse(b"T=v\n[X\n", first.section);
        assert_eq!(
            second.assignments.first().map(|one| &*one.section),
            Some("S")
        );
        assert_eq!(second.section, None);
    }
}
