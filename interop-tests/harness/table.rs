//! Tables of recorded cases: what is expected of the subject, and every case that differs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::subject::{Kind, subject};

/// Where the recorded cases are.
pub fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/kxd")
}

/// One recorded table, with the expectations that hold for the subject.
#[derive(Debug)]
pub struct Table {
    name: String,
    cases: Map<String, Value>,
    differs: Map<String, Value>,
    wanted: Map<String, Value>,
    checked: usize,
    used: BTreeSet<String>,
    failures: Vec<String>,
}

fn read_json(path: &Path) -> Value {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|e| panic!("reading {}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("parsing {}: {e}", path.display()))
}

fn object(value: Option<&Value>) -> Map<String, Value> {
    value
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

/// The whole list of wanted differences.
pub fn wanted_differences() -> Value {
    read_json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wanted_differences.json"))
}

impl Table {
    /// Reads `vectors/kxd/NAME.json`. For the original's Debian builds the results in
    /// `differs` go before those of HEAD; for this project the results in
    /// `tests/wanted_differences.json`, section `NAME`, do.
    pub fn load(name: &str) -> Table {
        let file = read_json(&vectors().join(format!("{name}.json")));
        Self::from_parts(name, object(file.get("cases")), &file)
    }

    /// A table made in the test itself, with a section of wanted differences.
    pub fn inline(name: &str, cases: Value) -> Table {
        Self::from_parts(name, object(Some(&cases)), &Value::Null)
    }

    fn from_parts(name: &str, cases: Map<String, Value>, file: &Value) -> Table {
        let kind = subject().kind;
        let differs = kind
            .differs_key()
            .and_then(|key| file.get("differs")?.get(key));
        let differs = object(differs);
        let wanted = match kind {
            Kind::Ours => object(wanted_differences().get(name)),
            _ => Map::new(),
        };
        Table {
            name: name.to_owned(),
            cases,
            differs,
            wanted,
            checked: 0,
            used: BTreeSet::new(),
            failures: Vec::new(),
        }
    }

    /// Keeps only the cases whose name passes; wanted differences of the others are put
    /// aside with them.
    pub fn only(mut self, keep: impl Fn(&str) -> bool) -> Table {
        self.cases.retain(|name, _| keep(name));
        let cases = &self.cases;
        self.wanted
            .retain(|name, _| keep(name) || !cases.contains_key(name) && keep(name));
        self
    }

    /// Puts aside the wanted differences whose reason starts with `deviation`: an option has
    /// switched the original's behaviour on.
    pub fn without_deviation(mut self, deviation: &str) -> Table {
        let reason = |w: &Value| w.get("reason").and_then(Value::as_str).map(str::to_owned);
        self.wanted
            .retain(|_, w| !reason(w).is_some_and(|r| r.starts_with(deviation)));
        self
    }

    /// Names of the cases, in alphabetical order.
    pub fn names(&self) -> Vec<String> {
        self.cases.keys().cloned().collect()
    }

    /// What the subject is expected to show, for cases that are lists of lines.
    pub fn expected_list(&self, name: &str) -> Vec<String> {
        let case = self.wanted.get(name).and_then(|w| w.get("lines"));
        let case = case
            .or_else(|| self.differs.get(name))
            .or_else(|| self.cases.get(name));
        let lines = case.and_then(Value::as_array).cloned().unwrap_or_default();
        lines
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    /// What was recorded of a case: HEAD's, with the Debian build's in front.
    pub fn original(&self, name: &str) -> Value {
        let mut case = object(self.cases.get(name));
        case.extend(object(self.differs.get(name)));
        Value::Object(case)
    }

    /// What the subject is expected to do.
    pub fn expected(&self, name: &str) -> Value {
        let mut case = object(Some(&self.original(name)));
        case.extend(object(self.wanted.get(name)));
        Value::Object(case)
    }

    /// A field of a case as text; empty when it is not there.
    pub fn text(&self, name: &str, field: &str) -> String {
        let case = self.expected(name);
        case.get(field)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    }

    /// Compares the fields of `got` with the expected ones. A field that the case does not
    /// have counts as null.
    pub fn check(&mut self, name: &str, got: &Value) {
        let expected = self.expected(name);
        self.check_against(name, &expected, got);
    }

    /// The same against an expectation that the test has worked on. A wanted difference that
    /// does not differ from what the original does is stale, and fails.
    pub fn check_against(&mut self, name: &str, expected: &Value, got: &Value) {
        self.checked += 1;
        for (field, value) in &object(Some(got)) {
            let wanted = expected.get(field).unwrap_or(&Value::Null);
            if wanted != value {
                self.failures.push(format!(
                    "{name}: {field}\n  expected {}\n  got      {}",
                    shown(wanted),
                    shown(value)
                ));
            }
        }
        if let Some(difference) = self.wanted.get(name) {
            self.used.insert(name.to_owned());
            let original = self.original(name);
            let fields = object(Some(difference));
            let real = fields
                .iter()
                .any(|(k, v)| original.get(k) != Some(v) && k != "reason");
            if !real || !fields.contains_key("reason") {
                self.failures
                    .push(format!("{name}: stale or unexplained wanted difference"));
            }
        }
    }

    /// Counts a case that the test compared by itself.
    pub fn record(&mut self, name: &str, problem: Option<String>) {
        self.checked += 1;
        if self.wanted.contains_key(name) {
            self.used.insert(name.to_owned());
        }
        if let Some(problem) = problem {
            self.failures.push(format!("{name}: {problem}"));
        }
    }

    /// Takes over the results of another part of the same table.
    pub fn absorb(&mut self, other: Table) {
        self.checked += other.checked;
        self.used.extend(other.used);
        self.failures.extend(other.failures);
    }

    /// With `KX_TLS_LIBRARY=aws-lc` the subject is our build over AWS-LC, which differs from the one
    /// over OpenSSL in the cases that `tests/aws_lc_differences.json` names, each with its reason.
    fn put_aside_aws_lc(&mut self) {
        if std::env::var_os("KX_TLS_LIBRARY").is_none_or(|l| l != "aws-lc") {
            return;
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws_lc_differences.json");
        let listed = object(read_json(&path).get(&self.name));
        self.failures.retain(|failure| {
            let reason = listed
                .iter()
                .find(|(case, _)| failure.starts_with(&format!("{case}: ")));
            if let Some((case, reason)) = reason {
                eprintln!("{case}: {reason}");
            }
            reason.is_none()
        });
    }

    /// Fails with every case that differed.
    pub fn finish(mut self) {
        for name in self.wanted.keys() {
            if !self.used.contains(name) {
                self.failures
                    .push(format!("{name}: a wanted difference of no case"));
            }
        }
        eprintln!(
            "{}: {} comparisons, {} wanted differences, {} failures",
            self.name,
            self.checked,
            self.used.len(),
            self.failures.len()
        );
        self.put_aside_aws_lc();
        assert!(self.checked > 0, "{}: nothing was compared", self.name);
        assert!(
            self.failures.is_empty(),
            "{} of {} differ in {}:\n{}",
            self.failures.len(),
            self.checked,
            self.name,
            self.failures.join("\n")
        );
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 1500 {
        return text;
    }
    let head: String = text.chars().take(1500).collect();
    format!("{head}... ({} octets)", text.len())
}
