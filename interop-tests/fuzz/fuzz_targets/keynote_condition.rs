//! The content of Conditions and Licensees: one test is true, false or neither, and clauses do not disturb one
//! another.
#![no_main]
use keynote::{Assertion, Attributes, Query, Session};
use libfuzzer_sys::fuzz_target;

/// Whether the assertion holds; `None`: it has a syntax error.
fn holds(field: &[u8], name: &[u8]) -> Option<bool> {
    let text = [b"Authorizer: \"POLICY\"\n", name, b": ", field, b"\n"].concat();
    let assertion = Assertion::parse(&text).expect("fields are in order");
    if assertion.fault().is_some() {
        return None;
    }
    let mut session = Session::default();
    session.add_policy(assertion);
    let mut attributes = Attributes::default();
    for (name, value) in [
        ("a", "12"),
        ("b", "a"),
        ("c", "gw.example.org"),
        ("d", "1.5"),
    ] {
        attributes.set(name, value);
    }
    let answer = session.evaluate(&Query {
        values: &["false", "true"],
        authorizers: &["a"],
        attributes: &attributes,
    });
    Some(answer.value == 1)
}

fuzz_target!(|data: &[u8]| {
    // A line feed at most begins a line that goes on; there is no NUL.
    let mut field = Vec::new();
    for octet in data.iter().copied().filter(|octet| *octet != 0) {
        field.push(octet);
        if octet == b'\n' {
            field.push(b' ');
        }
    }
    if field.len() > 4096 {
        return;
    }
    let _ = holds(&field, b"Licensees");
    let clauses =
        |before: &[u8], after: &[u8]| holds(&[before, &field, after].concat(), b"Conditions");
    let Some(alone) = clauses(b"", b";") else {
        return;
    };
    // Comments or strings that are open at the end would swallow what follows.
    if field.contains(&b'#') || field.contains(&b';') || field.contains(&b'-') {
        return;
    }
    let negated = clauses(b"!(", b");");
    assert!(!(alone && negated == Some(true)), "both hold");
    assert_eq!(clauses(b"false; ", b"; 1 / 0 == 0;"), Some(alone));
    assert_eq!(clauses(b"true -> { ", b"; };"), Some(alone));
});
