//! What `--check` finds, as values.

use super::sections::Kind;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something does not work.
    Error,
    /// It works otherwise than it looks, or not well.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What is wrong. The codes, which the text has in brackets, stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// A line that the grammar does not know, or a bracket without its end.
    Syntax,
    /// An assignment in front of the first section.
    NoSection,
    /// The file does not end with a newline.
    Unterminated,
    /// A tag set before.
    Duplicate,
    /// A line that begins with a blank has no tag.
    Indented,
    /// What looks like a comment is part of the value.
    HashInValue,
    /// A section name with blanks around it is another name.
    BlankInSection,
    /// Text behind a section's bracket.
    AfterSection,
    /// A tag that nobody looks at.
    UnknownTag,
    /// A tag of the 2004 version or of another system that has no meaning here.
    IgnoredTag,
    /// A section that nobody refers to.
    UnusedSection,
    /// A connection in neither list.
    UnlistedConnection,
    /// A reference to nothing.
    MissingSection,
    /// A section that cannot be used, in the words of the log.
    Unusable,
    /// A name that is in no table.
    UnknownName,
    /// The zone of an address is no interface with a link-local address.
    UnknownInterface,
    /// An algorithm that is known by name only.
    Unsupported,
    /// A number that is neither `X` nor `X,Y:Z`.
    InvalidNumber,
    /// An empty element of a list.
    EmptyElement,
    /// A word in `Flags` that nobody knows.
    UnknownFlag,
    /// A value that is never reached.
    NeverUsed,
    /// Transforms of one offer that differ in their group.
    DifferingGroups,
    /// Pre-shared keys without a key.
    NoKey,
    /// An algorithm that is too weak today.
    Weak,
    /// Aggressive Mode with a pre-shared key: it can be guessed at leisure.
    AggressivePreShared,
    /// The name of a directory without a slash at its end.
    NoSlash,
    /// A system of today refuses what is offered.
    PeerRefuses,
}

impl Code {
    /// The word in brackets.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::NoSection => "no-section",
            Self::Unterminated => "unterminated",
            Self::Duplicate => "duplicate",
            Self::Indented => "indented",
            Self::HashInValue => "hash-in-value",
            Self::BlankInSection => "blank-in-section",
            Self::AfterSection => "after-section",
            Self::UnknownTag => "unknown-tag",
            Self::IgnoredTag => "ignored-tag",
            Self::UnusedSection => "unused-section",
            Self::UnlistedConnection => "unlisted-connection",
            Self::MissingSection => "missing-section",
            Self::Unusable => "unusable",
            Self::UnknownName => "unknown-name",
            Self::UnknownInterface => "unknown-interface",
            Self::Unsupported => "unsupported",
            Self::InvalidNumber => "invalid-number",
            Self::EmptyElement => "empty-element",
            Self::UnknownFlag => "unknown-flag",
            Self::NeverUsed => "never-used",
            Self::DifferingGroups => "differing-groups",
            Self::NoKey => "no-key",
            Self::Weak => "weak",
            Self::AggressivePreShared => "aggressive-psk",
            Self::NoSlash => "no-slash",
            Self::PeerRefuses => "peer-refuses",
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Syntax
            | Self::NoSection
            | Self::Unterminated
            | Self::Indented
            | Self::MissingSection
            | Self::Unusable
            | Self::UnknownName
            | Self::Unsupported
            | Self::DifferingGroups
            | Self::NoKey => Severity::Error,
            Self::IgnoredTag | Self::UnlistedConnection | Self::NoSlash | Self::PeerRefuses => {
                Severity::Note
            }
            _ => Severity::Warning,
        }
    }
}

/// One thing found. No text has a secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub code: Code,
    /// Where in the file, if it is about a line.
    pub line: Option<u32>,
    /// In which section, if it is about one.
    pub section: Option<String>,
    /// What kind of section that is taken for.
    pub kind: Option<Kind>,
    /// One sentence.
    pub text: String,
}

impl Finding {
    /// The finding as a line: `FILE:LINE: SEVERITY: TEXT [CODE]`.
    #[must_use]
    pub fn line(&self, file: &str) -> String {
        let place = self
            .line
            .map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"));
        format!(
            "{place}: {}: {} [{}]",
            self.code.severity().name(),
            self.text,
            self.code.name()
        )
    }
}
