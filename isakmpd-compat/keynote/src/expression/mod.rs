//! What may stand in Conditions, Licensees and Authorizer, as trees, and how they are read
//! (RFC 2704 sections 4.3.2 and 4.6).
//!
//! Chains of one operator are lists, so that only parentheses, braces and prefix operators make a tree
//! deeper, and those are counted.

mod parse;

use zeroize::Zeroizing;

pub(crate) use parse::Parser;

/// Parentheses, braces and prefix operators around one another.
pub(crate) const MOST_NESTED: usize = 100;

/// A string.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Text {
    Literal(Zeroizing<Vec<u8>>),
    /// The value of the attribute of this name.
    Attribute(Vec<u8>),
    /// `$`: the value of the attribute whose name this is.
    Indirect(Box<Text>),
    /// `.`
    Joined(Vec<Text>),
}

/// What `.` and the arithmetic operators do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Raise,
}

/// An integer or floating point expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Number<L> {
    Literal(L),
    /// `@` or `&`: a string as number.
    Of(Text),
    Negated(Box<Number<L>>),
    /// Operators of one precedence, from left to right.
    Chain(Box<Number<L>>, Vec<(Arithmetic, Number<L>)>),
}

/// Integers: a literal that does not fit makes the test an error when it is evaluated.
pub(crate) type Integer = Number<Option<i32>>;
/// Floating point.
pub(crate) type Float = Number<f64>;

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    Greater,
    LessEqual,
    GreaterEqual,
}

impl Comparison {
    /// Whether it holds between things that compare so.
    pub(crate) fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::Greater => order.is_gt(),
            Comparison::LessEqual => order.is_le(),
            Comparison::GreaterEqual => order.is_ge(),
        }
    }
}

/// What is true or false.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Literal(bool),
    Not(Box<Test>),
    All(Vec<Test>),
    Any(Vec<Test>),
    Integers(Comparison, Integer, Integer),
    Floats(Comparison, Float, Float),
    Texts(Comparison, Text, Text),
    /// `~=`
    Matches(Text, Text),
}

/// What a clause is worth whose test holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Worth {
    Maximum,
    Value(Text),
    Block(Program),
}

/// One clause of Conditions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Clause {
    pub(crate) test: Test,
    pub(crate) worth: Worth,
}

/// The content of Conditions or of a pair of braces.
pub(crate) type Program = Vec<Clause>;

/// An expression over principals, `P` being how one is given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Licensees<P> {
    One(P),
    All(Vec<Licensees<P>>),
    Any(Vec<Licensees<P>>),
    /// At least so many of them.
    Threshold(usize, Vec<P>),
}

impl<P> Licensees<P> {
    /// The same expression with every principal replaced.
    pub(crate) fn map<Q, E>(
        &self,
        change: &mut impl FnMut(&P) -> Result<Q, E>,
    ) -> Result<Licensees<Q>, E> {
        Ok(match self {
            Licensees::One(principal) => Licensees::One(change(principal)?),
            Licensees::All(parts) => Licensees::All(
                parts
                    .iter()
                    .map(|part| part.map(change))
                    .collect::<Result<_, E>>()?,
            ),
            Licensees::Any(parts) => Licensees::Any(
                parts
                    .iter()
                    .map(|part| part.map(change))
                    .collect::<Result<_, E>>()?,
            ),
            Licensees::Threshold(least, principals) => Licensees::Threshold(
                *least,
                principals.iter().map(change).collect::<Result<_, E>>()?,
            ),
        })
    }

    /// Calls `see` with every principal.
    pub(crate) fn each<'a>(&'a self, see: &mut impl FnMut(&'a P)) {
        match self {
            Licensees::One(principal) => see(principal),
            Licensees::All(parts) | Licensees::Any(parts) => {
                for part in parts {
                    part.each(see);
                }
            }
            Licensees::Threshold(_, principals) => principals.iter().for_each(see),
        }
    }
}
