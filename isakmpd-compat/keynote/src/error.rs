//! What can be wrong with an assertion.

/// Why an assertion has to be left out (isakmpd-policy 3: errors in the field structure).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There is nothing in it.
    #[error("empty assertion")]
    Empty,
    /// Longer than [`MOST_ASSERTION`](crate::MOST_ASSERTION).
    #[error("assertion too long")]
    TooLong,
    /// A NUL octet.
    #[error("NUL octet in an assertion")]
    Nul,
    /// White space before the first field.
    #[error("field does not begin in the first column")]
    Indented,
    /// A line that begins with no known field name.
    #[error("unknown field")]
    UnknownField,
    /// A field for the second time.
    #[error("duplicate field")]
    Duplicate,
    /// `KeyNote-Version` after another field.
    #[error("KeyNote-Version is not the first field")]
    VersionNotFirst,
    /// A version other than 2.
    #[error("unknown version")]
    Version,
    /// No `Authorizer`.
    #[error("no Authorizer field")]
    NoAuthorizer,
    /// The authorizer is no principal.
    #[error("Authorizer: {0}")]
    Authorizer(SyntaxError),
    /// Not a list of assignments.
    #[error("Local-Constants: {0}")]
    LocalConstants(SyntaxError),
    /// A constant whose name begins with `_`.
    #[error("Local-Constants: reserved name")]
    ReservedConstant,
    /// A constant for the second time.
    #[error("Local-Constants: duplicate name")]
    DuplicateConstant,
}

/// What is wrong inside a field. Positions are octets from the field's colon on, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// An octet that begins no token.
    #[error("unexpected octet 0x{0:02x}")]
    UnexpectedOctet(u8),
    /// A string literal without its closing quote.
    #[error("string without end")]
    OpenString,
    /// A token that does not belong there.
    #[error("syntax error at octet {0}")]
    Unexpected(usize),
    /// The field ends too early: a missing `;` for instance.
    #[error("field ends too early")]
    UnexpectedEnd,
    /// More parentheses, braces or prefix operators around one another than are reasonable.
    #[error("nested too deeply")]
    TooDeep,
    /// A value where something true or false belongs.
    #[error("not a test")]
    NoTest,
    /// Something else where a string belongs.
    #[error("not a string")]
    NoString,
    /// Operands of different kinds, or an operator that their kind does not have.
    #[error("operands do not fit")]
    Mismatch,
    /// `K-of` with fewer than K principals.
    #[error("fewer principals than the threshold")]
    Threshold,
    /// A key that cannot be decoded.
    #[error("key cannot be decoded")]
    Key,
    /// A signature that depends on attributes of the action.
    #[error("signature is not constant")]
    NotConstant,
}
