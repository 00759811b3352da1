//! `keynote verify`: asks a question.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use keynote::{
    Assertion, Attributes, Malformed, Principal, Query, Session, environment, quoted_string, split,
};
use kx_cli::getopt::Getopt;

use crate::{Failure, Outcome, read, show};

const USAGE: &str = "Arguments:\n\
    \t-h:             This message\n\
    \t-r <valuelist>: Comma separated, ordered return-value list\n\
    \t-e <filename>:  Environment settings\n\
    \t-l <filename>:  Trusted (local) assertion\n\
    \t-k <filename>:  File containing key\n\
    Followed by a list of:\n\
    \t<filename>:     Non-local assertion\n";

/// What the original's library calls a syntax error.
const ERROR_SYNTAX: i32 = -2;

#[derive(Default)]
struct Question {
    session: Session,
    attributes: Attributes,
    environment_given: bool,
    authorizers: Vec<String>,
    values: Option<Vec<String>>,
    local_given: bool,
    /// Number of the next assertion.
    number: usize,
    /// Lines about assertions that failed.
    syntax: Vec<String>,
    signature: Vec<String>,
}

pub(crate) fn run(arguments: Vec<OsString>) -> Outcome {
    if arguments.is_empty() {
        return Err(Failure::new(USAGE));
    }
    let mut question = Question::default();
    let mut options = Getopt::new("hqistl:e:k:r:", arguments.into_iter(), true);
    for found in options.by_ref() {
        let found = found.map_err(|_| Failure::new(USAGE))?;
        let argument = found.argument.unwrap_or_default();
        match found.letter {
            b'e' => question.environment(&argument)?,
            b'k' => question.key(&argument)?,
            b'r' => question.values(&argument)?,
            b'l' => question.assertions(&argument, true)?,
            b'h' => {
                // Asked for, yet on standard error, as in the original.
                eprint!("{USAGE}");
                return Ok(ExitCode::SUCCESS);
            }
            _ => return Err(Failure::new(USAGE)),
        }
    }
    let files = options.into_operands();
    question.is_complete()?;
    // From the last to the first: assertions are numbered in that order.
    for file in files.iter().rev() {
        question.assertions(file, false)?;
    }
    question.answer()
}

impl Question {
    fn environment(&mut self, file: &OsStr) -> Result<(), Failure> {
        let text = read(file.as_ref())?;
        let attributes = environment(&text).map_err(|error| {
            Failure::new(format!(
                "Syntax error in environment file <{}>, line {}\n",
                file.to_string_lossy(),
                error.0
            ))
        })?;
        self.attributes.extend(attributes);
        self.environment_given = true;
        Ok(())
    }

    fn key(&mut self, file: &OsStr) -> Result<(), Failure> {
        let text = read(file.as_ref())?;
        let bad = || {
            let file = file.to_string_lossy();
            Failure::new(format!("Syntax error adding authorizer {file}\n"))
        };
        let key = quoted_string(&text).map_err(|_| bad())?;
        Principal::parse(&key).map_err(|_| bad())?;
        self.authorizers
            .push(String::from_utf8(key).map_err(|_| bad())?);
        Ok(())
    }

    fn values(&mut self, list: &OsStr) -> Result<(), Failure> {
        if self.values.is_some() {
            return Err(Failure::new("Do not define two sets of return values.\n"));
        }
        let list = list.to_string_lossy();
        self.values = Some(list.split(',').map(str::to_owned).collect());
        Ok(())
    }

    fn assertions(&mut self, file: &OsStr, local: bool) -> Result<(), Failure> {
        let text = read(file.as_ref())?;
        self.local_given |= local;
        let pieces = split(&text);
        if pieces.is_empty() {
            complain(file, Malformed::Empty);
        }
        for piece in pieces {
            match Assertion::parse(piece) {
                Ok(assertion) => self.add(assertion, local),
                Err(error) => complain(file, error),
            }
        }
        Ok(())
    }

    fn add(&mut self, assertion: Assertion, local: bool) {
        let number = self.number;
        self.number = number.saturating_add(1);
        if assertion.fault().is_some() {
            self.syntax.push(format!(
                "Failed assertion {number} due to syntax or semantic error.\n"
            ));
        }
        if local {
            self.session.add_policy(assertion);
        } else if self.session.add_credential(assertion).is_err() {
            self.signature.push(format!(
                "Failed assertion {number} due to signature verification failure.\n"
            ));
        }
    }

    fn is_complete(&self) -> Result<(), Failure> {
        let missing = if self.values.is_none() {
            "Should set return values before evaluations begin.\n"
        } else if !self.environment_given {
            "Should set environment before evaluations begin.\n"
        } else if self.authorizers.is_empty() {
            "Should specify at least one action authorizer.\n"
        } else if !self.local_given {
            "Should specify at least one trusted assertion (POLICY).\n"
        } else {
            return Ok(());
        };
        Err(Failure::new(missing))
    }

    fn answer(self) -> Outcome {
        let values = self.values.unwrap_or_default();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let authorizers: Vec<&str> = self.authorizers.iter().map(String::as_str).collect();
        let answer = self.session.evaluate(&Query {
            values: &values,
            authorizers: &authorizers,
            attributes: &self.attributes,
        });
        let value = values.get(answer.value).copied().unwrap_or_default();
        let mut text = format!("Query result = {value}\n");
        text.extend(self.syntax);
        text.extend(self.signature);
        show(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The original's line, and one with the reason.
fn complain(file: &OsStr, error: Malformed) {
    let file = file.to_string_lossy();
    eprintln!("Error for assertion in file <{file}>, errno {ERROR_SYNTAX}.\n{file}: {error}");
}
