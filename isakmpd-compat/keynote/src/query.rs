//! Assertions together, and the question put to them (RFC 2704 section 5).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::assertion::{Assertion, Field, Name};
use crate::evaluate::{Environment, Evaluation};
use crate::expression::Licensees;
use crate::lexer::is_name;
use crate::principal::Principal;
use crate::signature::{self, SignatureError};

/// Steps of evaluation that a query may take, a few nanoseconds each. A policy of a hundred assertions
/// needs some thousands.
const MOST_WORK: u64 = 8_000_000;

/// The action: names and values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(BTreeMap<Vec<u8>, Vec<u8>>);

impl Attributes {
    /// Sets an attribute. Names that cannot be written in an assertion and those that begin with `_` are not
    /// for the application (RFC 2704 section 3): nothing is set and the result is false.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> bool {
        let name = name.as_ref();
        let possible = is_name(name) && !name.starts_with(b"_");
        if possible {
            self.0.insert(name.to_vec(), value.as_ref().to_vec());
        }
        possible
    }

    /// Adds the attributes of another action; those of the same name change.
    pub fn extend(&mut self, other: Attributes) {
        self.0.extend(other.0);
    }

    /// The value of an attribute.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

/// Who wants to do what.
pub struct Query<'a> {
    /// Compliance values, the least first; without any nothing is ever allowed.
    pub values: &'a [&'a str],
    /// Who asks. A text that announces a key but holds none is nobody.
    pub authorizers: &'a [&'a str],
    /// What they want.
    pub attributes: &'a Attributes,
}

/// What the assertions say to a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Index into the query's values.
    pub value: usize,
    /// What became of each assertion, in the order in which they were added.
    pub verdicts: Vec<Verdict>,
}

/// What an assertion contributes, as indices into the query's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Value of its Licensees.
    pub licensees: usize,
    /// Value of its Conditions; `None` where the Licensees made them superfluous.
    pub conditions: Option<usize>,
}

impl Verdict {
    /// The lesser of both: the assertion's value.
    #[must_use]
    pub fn value(&self) -> usize {
        self.conditions
            .map_or(0, |conditions| conditions.min(self.licensees))
    }
}

/// The assertions that hold. Copies share them.
#[derive(Clone, Default)]
pub struct Session {
    assertions: Vec<Arc<Assertion>>,
}

/// Where a principal stands among those of a query.
type PrincipalId = usize;

/// An assertion made ready for one query.
struct Prepared {
    authorizer: PrincipalId,
    /// `None`: it is worth the minimum.
    licensees: Option<Field<Licensees<PrincipalId>>>,
}

impl Session {
    /// Adds an assertion that is trusted without a signature.
    pub fn add_policy(&mut self, assertion: Assertion) {
        self.assertions.push(Arc::new(assertion));
    }

    /// Adds an assertion of which nobody knows where it came from.
    ///
    /// # Errors
    /// [`SignatureError`]: its signature is missing or wrong; it is not added.
    pub fn add_credential(&mut self, assertion: Assertion) -> Result<(), SignatureError> {
        signature::verify(&assertion)?;
        self.assertions.push(Arc::new(assertion));
        Ok(())
    }

    /// The assertions, in the order in which they were added.
    #[must_use]
    pub fn assertions(&self) -> &[Arc<Assertion>] {
        &self.assertions
    }

    /// The value of `POLICY` (RFC 2704 section 5.3): the least solution, so that a delegation in a circle
    /// gives nothing.
    #[must_use]
    pub fn evaluate(&self, query: &Query<'_>) -> Answer {
        let environment = Environment {
            values: query.values,
            value_list: query.values.join(","),
            authorizer_list: authorizer_list(query.authorizers),
            attributes: query.attributes,
        };
        let mut work = MOST_WORK;
        let mut graph = Graph::default();
        let root = graph.id(&Principal::Opaque(b"POLICY".to_vec()));
        let prepared: Vec<Option<Prepared>> = self
            .assertions
            .iter()
            .map(|assertion| prepare(assertion, &environment, &mut graph, &mut work))
            .collect();
        // Nobody asks as POLICY.
        for asker in query.authorizers {
            if let Ok(principal) = Principal::parse(asker.as_bytes()) {
                let id = graph.id(&principal);
                if id != root {
                    graph.raise(id, environment.maximum());
                }
            }
        }
        let verdicts = graph.settle(self, &prepared, &environment, &mut work);
        Answer {
            value: graph.value(root),
            verdicts,
        }
    }
}

/// The original puts the last one added in front.
fn authorizer_list(authorizers: &[&str]) -> Zeroizing<Vec<u8>> {
    let names: Vec<&str> = authorizers.iter().rev().copied().collect();
    Zeroizing::new(names.join(",").into_bytes())
}

/// Gives numbers to the principals of an assertion. `None`: its authorizer is nobody.
fn prepare(
    assertion: &Assertion,
    environment: &Environment<'_>,
    graph: &mut Graph,
    work: &mut u64,
) -> Option<Prepared> {
    let mut resolve = |name: &Name| -> Result<PrincipalId, ()> {
        match name {
            Name::Fixed(principal) => Ok(graph.id(principal)),
            Name::Computed(text) => {
                let mut evaluation = Evaluation::new(environment, &assertion.constants, work);
                let text = evaluation.text(text).map_err(|_| ())?;
                Principal::parse(&text)
                    .map(|principal| graph.id(&principal))
                    .map_err(|_| ())
            }
        }
    };
    let authorizer = resolve(&assertion.authorizer).ok()?;
    let licensees = match &assertion.licensees {
        Field::Absent => Some(Field::Absent),
        Field::Empty => Some(Field::Empty),
        Field::Wrong(_) => None,
        Field::Present(licensees) => licensees.map(&mut resolve).map(Field::Present).ok(),
    };
    Some(Prepared {
        authorizer,
        licensees,
    })
}

/// Principals and what they are worth so far.
#[derive(Default)]
struct Graph {
    ids: HashMap<Principal, PrincipalId>,
    values: Vec<usize>,
}

impl Graph {
    fn id(&mut self, principal: &Principal) -> PrincipalId {
        if let Some(id) = self.ids.get(principal) {
            return *id;
        }
        let id = self.values.len();
        self.values.push(0);
        self.ids.insert(principal.clone(), id);
        id
    }

    fn value(&self, id: PrincipalId) -> usize {
        self.values.get(id).copied().unwrap_or(0)
    }

    /// Whether that was news.
    fn raise(&mut self, id: PrincipalId, value: usize) -> bool {
        match self.values.get_mut(id) {
            Some(known) if *known < value => {
                *known = value;
                true
            }
            _ => false,
        }
    }

    /// Evaluates assertions until nothing changes any more, each again when one of its licensees rose.
    fn settle(
        &mut self,
        session: &Session,
        prepared: &[Option<Prepared>],
        environment: &Environment<'_>,
        work: &mut u64,
    ) -> Vec<Verdict> {
        let mut named_by: Vec<Vec<usize>> = vec![Vec::new(); self.values.len()];
        for (index, prepared) in prepared.iter().enumerate() {
            if let Some(Prepared {
                licensees: Some(Field::Present(licensees)),
                ..
            }) = prepared
            {
                licensees.each(&mut |id| {
                    if let Some(list) = named_by.get_mut(*id) {
                        if list.last() != Some(&index) {
                            list.push(index);
                        }
                    }
                });
            }
        }
        let nothing = Verdict {
            licensees: 0,
            conditions: None,
        };
        let mut verdicts = vec![nothing; prepared.len()];
        let mut waits = vec![true; prepared.len()];
        let mut queue: VecDeque<usize> = (0..prepared.len()).collect();
        while let Some(index) = queue.pop_front() {
            if let Some(waits) = waits.get_mut(index) {
                *waits = false;
            }
            let (Some(Some(prepared)), Some(assertion), Some(verdict)) = (
                prepared.get(index),
                session.assertions.get(index),
                verdicts.get_mut(index),
            ) else {
                continue;
            };
            verdict.licensees = match &prepared.licensees {
                None | Some(Field::Empty | Field::Wrong(_)) => 0,
                Some(Field::Absent) => environment.maximum(),
                Some(Field::Present(licensees)) => self.worth(licensees, work),
            };
            if verdict.licensees > 0 && verdict.conditions.is_none() {
                verdict.conditions = Some(conditions(assertion, environment, work));
            }
            if self.raise(prepared.authorizer, verdict.value()) {
                for other in named_by.get(prepared.authorizer).into_iter().flatten() {
                    if let Some(waits) = waits.get_mut(*other).filter(|waits| !**waits) {
                        *waits = true;
                        queue.push_back(*other);
                    }
                }
            }
        }
        verdicts
    }

    /// RFC 2704 section 5.3.5. Without work left the principals are worth nothing.
    fn worth(&self, licensees: &Licensees<PrincipalId>, work: &mut u64) -> usize {
        match work.checked_sub(1) {
            Some(left) => *work = left,
            None => return 0,
        }
        match licensees {
            Licensees::One(id) => self.value(*id),
            Licensees::All(parts) => parts
                .iter()
                .map(|part| self.worth(part, work))
                .min()
                .unwrap_or(0),
            Licensees::Any(parts) => parts
                .iter()
                .map(|part| self.worth(part, work))
                .max()
                .unwrap_or(0),
            Licensees::Threshold(least, ids) => {
                *work = work.saturating_sub(ids.len() as u64);
                let mut values: Vec<usize> = ids.iter().map(|id| self.value(*id)).collect();
                values.sort_unstable_by(|one, two| two.cmp(one));
                least
                    .checked_sub(1)
                    .and_then(|place| values.get(place))
                    .copied()
                    .unwrap_or(0)
            }
        }
    }
}

/// RFC 2704 section 5.3.4.
fn conditions(assertion: &Assertion, environment: &Environment<'_>, work: &mut u64) -> usize {
    match &assertion.conditions {
        Field::Absent => environment.maximum(),
        Field::Empty | Field::Wrong(_) => 0,
        Field::Present(program) => {
            Evaluation::new(environment, &assertion.constants, work).program(program)
        }
    }
}
