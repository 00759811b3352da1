//! isakmpd.policy(5): what the policy file and the peer's credentials say to a proposal (isakmpd-policy).
//!
//! Texts in [`Question::principals`] are principals (`passphrase:KEY`, `rsa-hex:...`, `DN:...`), or
//! assertions that came with them, as [`credentials`] makes them: marked, so that nothing a peer sends can
//! be taken for one.

pub mod action;
pub mod credentials;

use ike::policy::{Policy, PolicyLog, Question};
use keynote::{Answer, Assertion, Attributes, Malformed, Query, Session, Verdict};

use self::action::TimeOfDay;

/// Possible answers, the lesser first.
const VALUES: [&str; 2] = ["false", "true"];

/// Something in the policy file that has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// Which assertion of the file, from 1.
    pub assertion: usize,
    /// Line of the file on which it begins, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with an assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is left out.
    #[error("left out: {0}")]
    Malformed(#[from] Malformed),
    /// It is there but allows nothing.
    #[error("allows nothing: {0}")]
    Syntax(keynote::SyntaxError),
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Finding {
            assertion,
            line,
            problem,
        } = self;
        write!(f, "policy assertion {assertion} (line {line}): {problem}")
    }
}

/// A policy file in force.
#[derive(Clone)]
pub struct KeynotePolicy {
    session: Session,
    /// For log lines: which assertion of the file each of the session is.
    numbers: Vec<usize>,
    time: fn() -> TimeOfDay,
}

impl KeynotePolicy {
    /// Reads a policy file. An assertion that is wrong does not harm the others; the findings say which.
    #[must_use]
    pub fn from_text(text: &[u8]) -> (KeynotePolicy, Vec<Finding>) {
        let mut session = Session::default();
        let mut numbers = Vec::new();
        let mut findings = Vec::new();
        let mut line = 1;
        let mut rest = text;
        for (index, piece) in keynote::split(text).into_iter().enumerate() {
            let number = index.saturating_add(1);
            // Pieces come in the order of the file.
            let before = rest
                .windows(piece.len())
                .position(|window| window == piece)
                .unwrap_or(0);
            let blank = piece.iter().take_while(|octet| octet.is_ascii_whitespace());
            let at = before.saturating_add(blank.count());
            line += line_feeds(rest.get(..at));
            let mut found = |problem| {
                findings.push(Finding {
                    assertion: number,
                    line,
                    problem,
                });
            };
            match Assertion::parse(piece) {
                Ok(assertion) => {
                    if let Some(error) = assertion.fault() {
                        found(Problem::Syntax(error));
                    }
                    session.add_policy(assertion);
                    numbers.push(number);
                }
                Err(error) => found(Problem::Malformed(error)),
            }
            let end = before.saturating_add(piece.len());
            line += line_feeds(rest.get(at..end));
            rest = rest.get(end..).unwrap_or_default();
        }
        let policy = KeynotePolicy {
            session,
            numbers,
            time: TimeOfDay::now,
        };
        (policy, findings)
    }

    /// Whether there is no assertion at all: then nothing is permitted, and the original says
    /// `policy_init: all policies flushed` when it reads such a file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.session.assertions().is_empty()
    }

    /// The same policy with another clock, for tests and for asking what would be.
    #[must_use]
    pub fn with_time(mut self, time: fn() -> TimeOfDay) -> KeynotePolicy {
        self.time = time;
        self
    }

    /// The session with what came with the peer's principals, and those principals.
    fn session<'t>(&self, texts: &'t [String]) -> (Session, Vec<&'t str>) {
        let mut session = self.session.clone();
        let mut authorizers = Vec::new();
        for text in texts {
            if let Some(assertion) = text.strip_prefix(credentials::LOCAL) {
                if let Ok(assertion) = Assertion::parse(assertion.as_bytes()) {
                    session.add_policy(assertion);
                }
            } else if let Some(assertion) = text.strip_prefix(credentials::SIGNED) {
                // Those that do not verify were refused when they came.
                if let Ok(assertion) = Assertion::parse(assertion.as_bytes()) {
                    let _ = session.add_credential(assertion);
                }
            } else {
                authorizers.push(text.as_str());
            }
        }
        (session, authorizers)
    }

    /// Says of each assertion of the file why it did not permit.
    fn explain(&self, session: &Session, answer: &Answer, log: &mut PolicyLog) {
        let all = session.assertions().iter().zip(&answer.verdicts);
        for (index, (assertion, verdict)) in all.enumerate() {
            if index == EXPLAINED_TO_ALL {
                let more = answer.verdicts.len().saturating_sub(index);
                log.plain(format!("check_policy: and {more} more assertions"));
            }
            if index == MOST_EXPLAINED {
                break;
            }
            let line = || self.explanation(index, assertion, verdict);
            if index < EXPLAINED_TO_ALL {
                log.plain(line());
            } else {
                log.debug(EXPLANATION, line);
            }
        }
    }

    /// Why one assertion did not permit.
    fn explanation(&self, index: usize, assertion: &Assertion, verdict: &Verdict) -> String {
        let which = match self.numbers.get(index) {
            Some(number) => format!("policy assertion {number}"),
            None => format!(
                "credential {}",
                index.saturating_sub(self.numbers.len()).saturating_add(1)
            ),
        };
        let comment = assertion
            .comment()
            .map(|comment| format!(" ({})", first_line(comment)))
            .unwrap_or_default();
        let why = match (assertion.fault(), verdict.licensees, verdict.conditions) {
            (Some(error), ..) => format!("allows nothing: {error}"),
            (None, 0, _) => "none of its licensees asked".to_owned(),
            (None, _, Some(0)) => "its conditions do not hold".to_owned(),
            _ => "holds, but nothing that POLICY trusts leads to it".to_owned(),
        };
        format!("check_policy: {which}{comment}: {why}")
    }
}

/// Assertions of which every log says why they did not permit; the original never does.
const EXPLAINED_TO_ALL: usize = 8;

/// Assertions of which is said so at all,
const MOST_EXPLAINED: usize = 64;

/// and the level from which on the others are.
const EXPLANATION: u8 = 20;

fn line_feeds(text: Option<&[u8]>) -> usize {
    text.unwrap_or_default()
        .iter()
        .filter(|octet| **octet == b'\n')
        .count()
}

fn first_line(text: &[u8]) -> String {
    let line = text.split(|octet| *octet == b'\n').next();
    action::printable(line.unwrap_or_default())
}

/// A principal as log lines may show it: the original writes the passphrase.
fn log_text(principal: &str) -> String {
    match principal.split_once(':') {
        Some((kind, _)) if kind.starts_with("passphrase") => format!("{kind}:..."),
        _ => action::printable(principal.as_bytes()),
    }
}

impl Policy for KeynotePolicy {
    fn permits(&self, question: &Question<'_>, log: &mut PolicyLog) -> bool {
        let (session, authorizers) = self.session(question.principals);
        for authorizer in &authorizers {
            log.debug(40, || {
                let text = log_text(authorizer);
                format!("check_policy: adding authorizer [{text}]")
            });
        }
        let attributes = action::attributes(question, &(self.time)());
        // The original finds them out when an assertion wants to know one.
        log.debug(80, || "Policy context (action attributes):".to_owned());
        let mut set = Attributes::default();
        for attribute in &attributes {
            if attribute.logged {
                log.debug(80, || {
                    format!(
                        "{} == {}",
                        attribute.name,
                        action::printable(&attribute.value)
                    )
                });
            }
            set.set(attribute.name, &attribute.value);
        }
        let answer = session.evaluate(&Query {
            values: &VALUES,
            authorizers: &authorizers,
            attributes: &set,
        });
        log.debug(40, || {
            format!("check_policy: kn_do_query returned {}", answer.value)
        });
        if answer.value == 0 {
            self.explain(&session, &answer, log);
        }
        answer.value > 0
    }
}
