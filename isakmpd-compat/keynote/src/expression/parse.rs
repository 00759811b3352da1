//! How the trees are read: precedence climbing over the tokens of a field.

use super::{
    Arithmetic, Clause, Comparison, Float, Integer, Licensees, MOST_NESTED, Number, Program, Test,
    Text, Worth,
};
use crate::SyntaxError;
use crate::lexer::{Spanned, Symbol, Token};

/// Something in parentheses can be any of these; what it is shows only inside.
enum Node {
    Test(Test),
    Integer(Integer),
    Float(Float),
    Text(Text),
}

impl Node {
    fn into_test(self) -> Result<Test, SyntaxError> {
        match self {
            Node::Test(test) => Ok(test),
            _ => Err(SyntaxError::NoTest),
        }
    }

    fn into_text(self) -> Result<Text, SyntaxError> {
        match self {
            Node::Text(text) => Ok(text),
            _ => Err(SyntaxError::NoString),
        }
    }
}

/// Like [`Node`] in Licensees.
enum Leaf {
    Text(Text),
    Expression(Licensees<Text>),
}

impl Leaf {
    fn into_licensees(self) -> Licensees<Text> {
        match self {
            Leaf::Text(text) => Licensees::One(text),
            Leaf::Expression(expression) => expression,
        }
    }
}

/// Reads the tokens of one field.
pub(crate) struct Parser<'t, 'a> {
    tokens: &'t [Spanned<'a>],
    at: usize,
    depth: usize,
}

impl<'t, 'a> Parser<'t, 'a> {
    pub(crate) fn new(tokens: &'t [Spanned<'a>]) -> Self {
        Parser {
            tokens,
            at: 0,
            depth: 0,
        }
    }

    /// Conditions: every clause with its semicolon.
    pub(crate) fn conditions(mut self) -> Result<Program, SyntaxError> {
        let program = self.program()?;
        self.end()?;
        Ok(program)
    }

    /// Licensees, of which there is at least one.
    pub(crate) fn licensees(mut self) -> Result<Licensees<Text>, SyntaxError> {
        let found = self.any_licensees()?.into_licensees();
        self.end()?;
        Ok(found)
    }

    /// A single string expression.
    pub(crate) fn only_text(mut self) -> Result<Text, SyntaxError> {
        let text = self.text()?;
        self.end()?;
        Ok(text)
    }

    fn peek(&self) -> Option<&'t Token<'a>> {
        self.tokens.get(self.at).map(|spanned| &spanned.token)
    }

    fn peek_symbol(&self) -> Option<Symbol> {
        match self.peek() {
            Some(Token::Symbol(symbol)) => Some(*symbol),
            _ => None,
        }
    }

    fn advance(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn accept(&mut self, symbol: Symbol) -> bool {
        let there = self.peek_symbol() == Some(symbol);
        if there {
            self.advance();
        }
        there
    }

    fn expect(&mut self, symbol: Symbol) -> Result<(), SyntaxError> {
        if self.accept(symbol) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn end(&self) -> Result<(), SyntaxError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected()),
        }
    }

    fn unexpected(&self) -> SyntaxError {
        match self.tokens.get(self.at) {
            Some(spanned) => SyntaxError::Unexpected(spanned.start),
            None => SyntaxError::UnexpectedEnd,
        }
    }

    fn deeper<T>(
        &mut self,
        inside: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        if self.depth >= MOST_NESTED {
            return Err(SyntaxError::TooDeep);
        }
        self.depth = self.depth.saturating_add(1);
        let result = inside(self);
        self.depth = self.depth.saturating_sub(1);
        result
    }

    fn program(&mut self) -> Result<Program, SyntaxError> {
        let mut program = Vec::new();
        while self.peek().is_some() && self.peek_symbol() != Some(Symbol::CloseBlock) {
            let test = self.any()?.into_test()?;
            let worth = if !self.accept(Symbol::Arrow) {
                Worth::Maximum
            } else if self.accept(Symbol::OpenBlock) {
                let block = self.deeper(Self::program)?;
                self.expect(Symbol::CloseBlock)?;
                Worth::Block(block)
            } else {
                Worth::Value(self.text()?)
            };
            self.expect(Symbol::Semicolon)?;
            program.push(Clause { test, worth });
        }
        Ok(program)
    }

    /// A list of at least one `part` with `symbol` between them.
    fn list(
        &mut self,
        symbol: Symbol,
        part: fn(&mut Self) -> Result<Node, SyntaxError>,
        join: fn(Vec<Test>) -> Test,
    ) -> Result<Node, SyntaxError> {
        let first = part(self)?;
        if self.peek_symbol() != Some(symbol) {
            return Ok(first);
        }
        let mut tests = vec![first.into_test()?];
        while self.accept(symbol) {
            tests.push(part(self)?.into_test()?);
        }
        Ok(Node::Test(join(tests)))
    }

    fn any(&mut self) -> Result<Node, SyntaxError> {
        self.list(Symbol::Or, Self::all, Test::Any)
    }

    fn all(&mut self) -> Result<Node, SyntaxError> {
        self.list(Symbol::And, Self::negation, Test::All)
    }

    fn negation(&mut self) -> Result<Node, SyntaxError> {
        if !self.accept(Symbol::Not) {
            return self.relation();
        }
        let test = self.deeper(Self::negation)?.into_test()?;
        Ok(Node::Test(Test::Not(Box::new(test))))
    }

    fn relation(&mut self) -> Result<Node, SyntaxError> {
        let left = self.sum()?;
        let comparison = match self.peek_symbol() {
            Some(Symbol::Equal) => Comparison::Equal,
            Some(Symbol::NotEqual) => Comparison::NotEqual,
            Some(Symbol::Less) => Comparison::Less,
            Some(Symbol::Greater) => Comparison::Greater,
            Some(Symbol::LessEqual) => Comparison::LessEqual,
            Some(Symbol::GreaterEqual) => Comparison::GreaterEqual,
            Some(Symbol::Matches) => {
                self.advance();
                let pattern = self.sum()?.into_text()?;
                return Ok(Node::Test(Test::Matches(left.into_text()?, pattern)));
            }
            _ => return Ok(left),
        };
        self.advance();
        let test = match (left, self.sum()?) {
            (Node::Integer(left), Node::Integer(right)) => Test::Integers(comparison, left, right),
            (Node::Text(left), Node::Text(right)) => Test::Texts(comparison, left, right),
            // There is no equality of floating point numbers.
            (Node::Float(left), Node::Float(right))
                if !matches!(comparison, Comparison::Equal | Comparison::NotEqual) =>
            {
                Test::Floats(comparison, left, right)
            }
            _ => return Err(SyntaxError::Mismatch),
        };
        Ok(Node::Test(test))
    }

    fn sum(&mut self) -> Result<Node, SyntaxError> {
        let first = self.product()?;
        match first {
            Node::Text(text) => self.joined(text).map(Node::Text),
            first => self.chain(first, Self::product, |symbol| match symbol {
                Symbol::Plus => Some(Arithmetic::Add),
                Symbol::Minus => Some(Arithmetic::Subtract),
                _ => None,
            }),
        }
    }

    fn product(&mut self) -> Result<Node, SyntaxError> {
        let first = self.power()?;
        self.chain(first, Self::power, |symbol| match symbol {
            Symbol::Times => Some(Arithmetic::Multiply),
            Symbol::Divide => Some(Arithmetic::Divide),
            Symbol::Modulo => Some(Arithmetic::Remainder),
            _ => None,
        })
    }

    fn power(&mut self) -> Result<Node, SyntaxError> {
        let first = self.unary()?;
        self.chain(first, Self::unary, |symbol| {
            (symbol == Symbol::Power).then_some(Arithmetic::Raise)
        })
    }

    /// Operators of one precedence between numbers of one kind.
    fn chain(
        &mut self,
        first: Node,
        part: fn(&mut Self) -> Result<Node, SyntaxError>,
        operator: fn(Symbol) -> Option<Arithmetic>,
    ) -> Result<Node, SyntaxError> {
        let mut parts = Vec::new();
        while let Some(operator) = self.peek_symbol().and_then(operator) {
            self.advance();
            parts.push((operator, part(self)?));
        }
        if parts.is_empty() {
            return Ok(first);
        }
        match first {
            Node::Integer(first) => {
                let parts = numbers(parts, |node| match node {
                    Node::Integer(number) => Some(number),
                    _ => None,
                })?;
                Ok(Node::Integer(Number::Chain(Box::new(first), parts)))
            }
            Node::Float(first) => {
                let parts = numbers(parts, |node| match node {
                    Node::Float(number) => Some(number),
                    _ => None,
                })?;
                if parts
                    .iter()
                    .any(|(operator, _)| *operator == Arithmetic::Remainder)
                {
                    return Err(SyntaxError::Mismatch);
                }
                Ok(Node::Float(Number::Chain(Box::new(first), parts)))
            }
            _ => Err(SyntaxError::Mismatch),
        }
    }

    fn unary(&mut self) -> Result<Node, SyntaxError> {
        match self.peek_symbol() {
            Some(Symbol::Minus) => {
                self.advance();
                match self.deeper(Self::unary)? {
                    Node::Integer(number) => Ok(Node::Integer(Number::Negated(Box::new(number)))),
                    Node::Float(number) => Ok(Node::Float(Number::Negated(Box::new(number)))),
                    _ => Err(SyntaxError::Mismatch),
                }
            }
            Some(Symbol::At) => {
                self.advance();
                Ok(Node::Integer(Number::Of(self.text_operand()?)))
            }
            Some(Symbol::Ampersand) => {
                self.advance();
                Ok(Node::Float(Number::Of(self.text_operand()?)))
            }
            _ => self.primary(),
        }
    }

    fn primary(&mut self) -> Result<Node, SyntaxError> {
        match self.peek() {
            Some(Token::Integer(digits)) => {
                self.advance();
                Ok(Node::Integer(Number::Literal(integer(digits))))
            }
            Some(Token::Float(number)) => {
                self.advance();
                Ok(Node::Float(Number::Literal(*number)))
            }
            Some(Token::Symbol(Symbol::Open)) => {
                self.advance();
                let inside = self.deeper(Self::any)?;
                self.expect(Symbol::Close)?;
                Ok(inside)
            }
            Some(Token::Name(name)) => match keyword(name) {
                Some(value) if !self.is_operand_of_text() => {
                    self.advance();
                    Ok(Node::Test(Test::Literal(value)))
                }
                _ => self.text_operand().map(Node::Text),
            },
            _ => self.text_operand().map(Node::Text),
        }
    }

    /// `true` and `false` are not reserved (RFC 2704 section 4.6.5): beside an operator on strings they
    /// are attributes.
    fn is_operand_of_text(&self) -> bool {
        let next = self
            .at
            .checked_add(1)
            .and_then(|at| self.tokens.get(at))
            .map(|spanned| &spanned.token);
        let before = self
            .at
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at))
            .map(|spanned| &spanned.token);
        [next, before].into_iter().flatten().any(|token| {
            matches!(
                token,
                Token::Symbol(
                    Symbol::Equal
                        | Symbol::NotEqual
                        | Symbol::Less
                        | Symbol::Greater
                        | Symbol::LessEqual
                        | Symbol::GreaterEqual
                        | Symbol::Matches
                        | Symbol::Dot
                )
            )
        })
    }

    /// Strings with `.` between them.
    fn text(&mut self) -> Result<Text, SyntaxError> {
        let first = self.text_operand()?;
        self.joined(first)
    }

    fn joined(&mut self, first: Text) -> Result<Text, SyntaxError> {
        if self.peek_symbol() != Some(Symbol::Dot) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.accept(Symbol::Dot) {
            parts.push(self.text_operand()?);
        }
        Ok(Text::Joined(parts))
    }

    fn text_operand(&mut self) -> Result<Text, SyntaxError> {
        match self.peek() {
            Some(Token::Text(value)) => {
                self.advance();
                Ok(Text::Literal(value.clone()))
            }
            Some(Token::Name(name)) => {
                self.advance();
                Ok(Text::Attribute(name.to_vec()))
            }
            Some(Token::Symbol(Symbol::Dollar)) => {
                self.advance();
                let name = self.deeper(Self::text_operand)?;
                Ok(Text::Indirect(Box::new(name)))
            }
            Some(Token::Symbol(Symbol::Open)) => {
                self.advance();
                let inside = self.deeper(Self::text)?;
                self.expect(Symbol::Close)?;
                Ok(inside)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn any_licensees(&mut self) -> Result<Leaf, SyntaxError> {
        self.licensee_list(Symbol::Or, Self::all_licensees, Licensees::Any)
    }

    fn all_licensees(&mut self) -> Result<Leaf, SyntaxError> {
        self.licensee_list(Symbol::And, Self::licensee, Licensees::All)
    }

    fn licensee_list(
        &mut self,
        symbol: Symbol,
        part: fn(&mut Self) -> Result<Leaf, SyntaxError>,
        join: fn(Vec<Licensees<Text>>) -> Licensees<Text>,
    ) -> Result<Leaf, SyntaxError> {
        let first = part(self)?;
        if self.peek_symbol() != Some(symbol) {
            return Ok(first);
        }
        let mut parts = vec![first.into_licensees()];
        while self.accept(symbol) {
            parts.push(part(self)?.into_licensees());
        }
        Ok(Leaf::Expression(join(parts)))
    }

    fn licensee(&mut self) -> Result<Leaf, SyntaxError> {
        let first = match self.peek() {
            Some(Token::Integer(_)) => return self.threshold().map(Leaf::Expression),
            Some(Token::Symbol(Symbol::Open)) => {
                self.advance();
                let inside = self.deeper(Self::any_licensees)?;
                self.expect(Symbol::Close)?;
                inside
            }
            _ => Leaf::Text(self.text_operand()?),
        };
        match first {
            Leaf::Text(text) => self.joined(text).map(Leaf::Text),
            expression => Ok(expression),
        }
    }

    /// `K-of(...)`; `K-of` is one word.
    fn threshold(&mut self) -> Result<Licensees<Text>, SyntaxError> {
        let word = self.tokens.get(self.at..).and_then(|rest| rest.get(..3));
        let Some(
            [
                Spanned {
                    token: Token::Integer(digits),
                    end: digits_end,
                    ..
                },
                Spanned {
                    token: Token::Symbol(Symbol::Minus),
                    start: minus,
                    end: minus_end,
                },
                Spanned {
                    token: Token::Name(of),
                    start: of_start,
                    ..
                },
            ],
        ) = word
        else {
            return Err(self.unexpected());
        };
        let one_word = digits_end == minus && minus_end == of_start;
        if !one_word || !of.eq_ignore_ascii_case(b"of") || digits.first() == Some(&b'0') {
            return Err(self.unexpected());
        }
        self.at = self.at.saturating_add(3);
        self.expect(Symbol::Open)?;
        let mut principals = vec![self.text()?];
        while self.accept(Symbol::Comma) {
            principals.push(self.text()?);
        }
        self.expect(Symbol::Close)?;
        let least = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .filter(|least| *least <= principals.len())
            .ok_or(SyntaxError::Threshold)?;
        Ok(Licensees::Threshold(least, principals))
    }
}

/// The numbers of one kind out of the parts of a chain.
fn numbers<L>(
    parts: Vec<(Arithmetic, Node)>,
    take: fn(Node) -> Option<Number<L>>,
) -> Result<Vec<(Arithmetic, Number<L>)>, SyntaxError> {
    parts
        .into_iter()
        .map(|(operator, node)| {
            take(node)
                .map(|number| (operator, number))
                .ok_or(SyntaxError::Mismatch)
        })
        .collect()
}

fn integer(digits: &[u8]) -> Option<i32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn keyword(name: &[u8]) -> Option<bool> {
    if name.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if name.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}
