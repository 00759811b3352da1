//! The recorded policy questions, each with the answer a replacement has to give.

use keynote::{Assertion, Attributes, Query, Session, split};
use serde_json::Value;

fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect()
}

#[test]
fn recorded_queries() {
    let path = "../../interop-tests/vectors/isakmpd/keynote-queries/queries.json";
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut attributes = Attributes::default();
    for (name, value) in file["attributes"].as_object().unwrap() {
        assert!(attributes.set(name, value.as_str().unwrap()));
    }
    let values = texts(&file["values"]);
    let queries = file["queries"].as_array().unwrap();
    // The README says 57; there are 56.
    assert_eq!(queries.len(), 56);
    for query in queries {
        let name = &query["name"];
        let pieces = split(query["policy"].as_str().unwrap().as_bytes());
        assert_eq!(
            Some(pieces.len() as u64),
            query["assertions"].as_u64(),
            "{name}"
        );
        let mut session = Session::default();
        for piece in pieces {
            if let Ok(assertion) = Assertion::parse(piece) {
                session.add_policy(assertion);
            }
        }
        let accepted = session.assertions().len() as u64;
        assert_eq!(
            Some(accepted),
            query["accepted_assertions"].as_u64(),
            "{name}"
        );
        let answer = session.evaluate(&Query {
            values: &values,
            authorizers: &texts(&query["authorizers"]),
            attributes: &attributes,
        });
        assert_eq!(values[answer.value], query["expected"], "{name}");
    }
}
