//! What Conditions are worth for an action (RFC 2704 sections 4.6.5 and 5.3.4).

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::assertion::Constants;
use crate::expression::{Arithmetic, Clause, Float, Integer, Number, Program, Test, Text, Worth};
use crate::lexer::float;
use crate::query::Attributes;
use crate::regex::{Regex, RegexError};

/// Octets of a string while it is worked with.
const MOST_TEXT: usize = 1024 * 1024;
/// Subexpressions whose text can be had, as in the original.
const MOST_GROUPS: usize = 31;

/// Why a test has no result; its clause is worth the minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exception {
    DivisionByZero,
    /// An integer outside of 32 bits.
    Overflow,
    Regex(RegexError),
    TooLong,
    /// The work that one query may do is done.
    OutOfWork,
}

/// All that is the same for every assertion of a query.
pub(crate) struct Environment<'a> {
    pub(crate) values: &'a [&'a str],
    /// `_VALUES`
    pub(crate) value_list: String,
    /// `_ACTION_AUTHORIZERS`
    pub(crate) authorizer_list: Zeroizing<Vec<u8>>,
    pub(crate) attributes: &'a Attributes,
}

impl Environment<'_> {
    /// Index of the greatest value.
    pub(crate) fn maximum(&self) -> usize {
        self.values.len().saturating_sub(1)
    }

    fn special(&self, name: &[u8]) -> Option<&[u8]> {
        match name {
            b"_MIN_TRUST" => self.values.first().map(|value| value.as_bytes()),
            b"_MAX_TRUST" => self.values.last().map(|value| value.as_bytes()),
            b"_VALUES" => Some(self.value_list.as_bytes()),
            b"_ACTION_AUTHORIZERS" => Some(&self.authorizer_list),
            _ => None,
        }
    }
}

/// `_0`, `_1`... of the last regular expression that matched in this clause.
#[derive(Clone, Default)]
struct Groups {
    count: Option<Vec<u8>>,
    texts: Vec<Option<Vec<u8>>>,
}

impl Groups {
    fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let digits = name.strip_prefix(b"_")?;
        if digits == b"0" {
            return self.count.as_deref();
        }
        if digits.starts_with(b"0") {
            return None;
        }
        let number: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        self.texts.get(number.checked_sub(1)?)?.as_deref()
    }
}

/// Evaluates one assertion.
pub(crate) struct Evaluation<'a> {
    environment: &'a Environment<'a>,
    constants: &'a Constants,
    groups: Groups,
    /// Steps left, for the whole query.
    work: &'a mut u64,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(
        environment: &'a Environment<'a>,
        constants: &'a Constants,
        work: &'a mut u64,
    ) -> Self {
        Evaluation {
            environment,
            constants,
            groups: Groups::default(),
            work,
        }
    }

    fn spend(&mut self, steps: usize) -> Result<(), Exception> {
        *self.work = self
            .work
            .checked_sub(steps as u64)
            .ok_or(Exception::OutOfWork)?;
        Ok(())
    }

    /// Index of the greatest value among the clauses, the minimum without any.
    pub(crate) fn program(&mut self, program: &Program) -> usize {
        let mut greatest = 0;
        for clause in program {
            let before = self.groups.clone();
            greatest = greatest.max(self.clause(clause).unwrap_or(0));
            self.groups = before;
            if greatest == self.environment.maximum() {
                break;
            }
        }
        greatest
    }

    fn clause(&mut self, clause: &Clause) -> Result<usize, Exception> {
        if !self.test(&clause.test)? {
            return Ok(0);
        }
        match &clause.worth {
            Worth::Maximum => Ok(self.environment.maximum()),
            Worth::Block(program) => Ok(self.program(program)),
            Worth::Value(text) => {
                let name = self.text(text)?.into_owned();
                let place = self
                    .environment
                    .values
                    .iter()
                    .position(|value| value.as_bytes() == name);
                Ok(place.unwrap_or(0))
            }
        }
    }

    fn test(&mut self, test: &Test) -> Result<bool, Exception> {
        self.spend(1)?;
        match test {
            Test::Literal(value) => Ok(*value),
            Test::Not(inside) => Ok(!self.test(inside)?),
            Test::All(tests) => {
                for test in tests {
                    if !self.test(test)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Test::Any(tests) => {
                for test in tests {
                    if self.test(test)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Test::Integers(comparison, left, right) => {
                let (left, right) = (self.integer(left)?, self.integer(right)?);
                Ok(comparison.holds(left.cmp(&right)))
            }
            Test::Floats(comparison, left, right) => {
                let (left, right) = (self.float(left)?, self.float(right)?);
                // What is not a number compares to nothing.
                Ok(left
                    .partial_cmp(&right)
                    .is_some_and(|order| comparison.holds(order)))
            }
            Test::Texts(comparison, left, right) => {
                let (left, right) = (self.text(left)?.into_owned(), self.text(right)?);
                Ok(comparison.holds(left.as_slice().cmp(&right)))
            }
            Test::Matches(text, pattern) => self.matches(text, pattern),
        }
    }

    fn matches(&mut self, text: &Text, pattern: &Text) -> Result<bool, Exception> {
        let text = self.text(text)?.into_owned();
        let pattern = self.text(pattern)?.into_owned();
        self.spend(pattern.len())?;
        let regex = Regex::new(&pattern).map_err(Exception::Regex)?;
        self.groups = Groups::default();
        let Some(found) = regex.find(&text, self.work).map_err(Exception::Regex)? else {
            return Ok(false);
        };
        self.groups = Groups {
            count: Some(found.groups().to_string().into_bytes()),
            texts: (1..=found.groups().min(MOST_GROUPS))
                .map(|group| found.group(group, &text).map(<[u8]>::to_vec))
                .collect(),
        };
        Ok(true)
    }

    /// An attribute; what is not set is empty.
    fn attribute(&self, name: &[u8]) -> &[u8] {
        self.environment
            .special(name)
            .or_else(|| self.groups.get(name))
            .or_else(|| self.constants.get(name).map(|value| value.as_slice()))
            .or_else(|| self.environment.attributes.get(name))
            .unwrap_or_default()
    }

    /// The value of a string expression.
    pub(crate) fn text<'s>(&'s mut self, text: &'s Text) -> Result<Cow<'s, [u8]>, Exception> {
        match text {
            Text::Literal(value) => {
                self.spend(1)?;
                Ok(Cow::Borrowed(value.as_slice()))
            }
            Text::Attribute(name) => {
                self.spend(1)?;
                Ok(Cow::Borrowed(self.attribute(name)))
            }
            Text::Indirect(name) => {
                self.spend(1)?;
                let name = self.text(name)?.into_owned();
                Ok(Cow::Borrowed(self.attribute(&name)))
            }
            Text::Joined(parts) => {
                let mut joined = Vec::new();
                for part in parts {
                    joined.extend_from_slice(&self.text(part)?);
                    if joined.len() > MOST_TEXT {
                        return Err(Exception::TooLong);
                    }
                }
                self.spend(joined.len() / 16)?;
                Ok(Cow::Owned(joined))
            }
        }
    }

    fn integer(&mut self, number: &Integer) -> Result<i32, Exception> {
        self.spend(1)?;
        match number {
            Number::Literal(value) => value.ok_or(Exception::Overflow),
            Number::Of(text) => {
                let text = self.text(text)?;
                // Rounded down; what is too great is the greatest number, so that it still compares as
                // great.
                #[allow(clippy::cast_possible_truncation)]
                Ok(float(&text).floor() as i32)
            }
            Number::Negated(inside) => self
                .integer(inside)?
                .checked_neg()
                .ok_or(Exception::Overflow),
            Number::Chain(first, parts) => {
                let mut value = self.integer(first)?;
                for (operator, part) in parts {
                    let right = self.integer(part)?;
                    value = calculate(*operator, value, right)?;
                }
                Ok(value)
            }
        }
    }

    fn float(&mut self, number: &Float) -> Result<f64, Exception> {
        self.spend(1)?;
        match number {
            Number::Literal(value) => Ok(*value),
            Number::Of(text) => Ok(float(&self.text(text)?)),
            Number::Negated(inside) => Ok(-self.float(inside)?),
            Number::Chain(first, parts) => {
                let mut value = self.float(first)?;
                for (operator, part) in parts {
                    let right = self.float(part)?;
                    value = match operator {
                        Arithmetic::Add => value + right,
                        Arithmetic::Subtract => value - right,
                        Arithmetic::Multiply => value * right,
                        Arithmetic::Divide | Arithmetic::Remainder if right == 0.0 => {
                            return Err(Exception::DivisionByZero);
                        }
                        Arithmetic::Divide => value / right,
                        Arithmetic::Remainder => value % right,
                        Arithmetic::Raise => value.powf(right),
                    };
                }
                Ok(value)
            }
        }
    }
}

fn calculate(operator: Arithmetic, left: i32, right: i32) -> Result<i32, Exception> {
    let value = match operator {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
        Arithmetic::Divide | Arithmetic::Remainder if right == 0 => {
            return Err(Exception::DivisionByZero);
        }
        Arithmetic::Divide => left.checked_div(right),
        Arithmetic::Remainder => left.checked_rem(right),
        Arithmetic::Raise => match u32::try_from(right) {
            Ok(exponent) => left.checked_pow(exponent),
            // The original's reading of a fraction.
            Err(_) => Some(0),
        },
    };
    value.ok_or(Exception::Overflow)
}
