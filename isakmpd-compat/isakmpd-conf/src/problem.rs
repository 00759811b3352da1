//! What is wrong with a configuration file or a transaction, in the words of the original.

use thiserror::Error;

/// Lines or settings that are ignored (isakmpd-config 1). None is fatal.
///
/// The text is that of the original's log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// A `[` without its `]`.
    #[error("conf_parse_line: {line}:unmatched ']', ignoring until next section")]
    UnmatchedBracket {
        /// Where.
        line: u32,
    },
    /// An assignment in front of the first section.
    #[error("conf_parse_line: {line}: ignoring line due to no section")]
    NoSection {
        /// Where.
        line: u32,
    },
    /// Neither comment nor section nor assignment.
    #[error("conf_parse_line: {line}: syntax error")]
    Syntax {
        /// Where.
        line: u32,
    },
    /// The file does not end with a newline.
    #[error("conf_parse: last line unterminated, ignored.")]
    Unterminated {
        /// Where the line begins.
        line: u32,
    },
    /// The tag is set already: the first setting counts.
    #[error("conf_set_now: duplicate tag [{section}]:{tag}, ignoring...")]
    Duplicate {
        /// Where, if it was in a file.
        line: Option<u32>,
        /// The section, as spelled here.
        section: String,
        /// The tag, as spelled here.
        tag: String,
    },
}

impl Problem {
    /// The line of the file, if it is about one.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        match self {
            Self::UnmatchedBracket { line }
            | Self::NoSection { line }
            | Self::Syntax { line }
            | Self::Unterminated { line } => Some(*line),
            Self::Duplicate { line, .. } => *line,
        }
    }
}
