//! What a verb says: sentences for people, or one JSON value.

use std::io::{IsTerminal, Write};

use serde_json::{Map, Value, json};

/// Gathers or shows what was done.
#[derive(Debug)]
pub struct Report {
    json: bool,
    verb: String,
    steps: Vec<Value>,
    values: Map<String, Value>,
}

impl Report {
    /// Of a verb.
    #[must_use]
    pub fn new(verb: &str, json: bool) -> Self {
        Self {
            json,
            verb: verb.to_owned(),
            steps: Vec::new(),
            values: Map::new(),
        }
    }

    /// Shows a line to people; JSON has it by [`value`](Self::value).
    pub fn line(&mut self, text: &str) {
        if !self.json {
            // A reader that went away is no concern of the card's.
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    /// A step that was done, and how to see that it was.
    pub fn step(&mut self, done: &str, check: &str) {
        self.line(done);
        if !check.is_empty() {
            self.line(&format!("  To check: {check}"));
        }
        self.steps.push(json!({ "done": done, "check": check }));
    }

    /// A value under a name, also shown as `Name: value` when `label` is not empty.
    pub fn value(&mut self, name: &str, label: &str, value: impl Into<Value>) {
        let value = value.into();
        if !label.is_empty() {
            let text = match &value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            self.line(&format!("{label:<24}: {text}"));
        }
        self.values.insert(name.to_owned(), value);
    }

    /// Something to think of, on standard error.
    pub fn warn(&mut self, text: &str) {
        let _ = writeln!(std::io::stderr(), "kx-hsm: {text}");
        self.steps.push(json!({ "warning": text }));
    }

    /// The end: with JSON, the one value.
    pub fn finish(self, failure: Option<&str>) {
        if !self.json {
            return;
        }
        let mut object = Map::new();
        object.insert("verb".to_owned(), self.verb.into());
        object.insert("ok".to_owned(), failure.is_none().into());
        if let Some(failure) = failure {
            object.insert("error".to_owned(), failure.into());
        }
        object.insert("steps".to_owned(), self.steps.into());
        object.extend(self.values);
        let _ = writeln!(std::io::stdout(), "{}", Value::Object(object));
    }

    /// Whether progress can be shown: only to somebody at a terminal.
    #[must_use]
    pub fn progress(&self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }
}

/// Octets in hexadecimal.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}
