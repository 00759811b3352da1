//! Hostile and invented text: nothing panics, nothing takes long, what is printed reads back.

use keynote::regex::Regex;
use keynote::{Assertion, Attributes, Encoding, Query, Session, split};
use proptest::prelude::*;

fn evaluate(session: &Session, authorizers: &[&str]) -> usize {
    let mut attributes = Attributes::default();
    attributes.set("a", "x".repeat(2000));
    session
        .evaluate(&Query {
            values: &["false", "true"],
            authorizers,
            attributes: &attributes,
        })
        .value
}

fn policy(text: &str) -> Session {
    let mut session = Session::default();
    for piece in split(text.as_bytes()) {
        if let Ok(assertion) = Assertion::parse(piece) {
            session.add_policy(assertion);
        }
    }
    session
}

/// Things of which assertions are made.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\"a\"".to_owned()),
        Just("a".to_owned()),
        Just("1".to_owned()),
        Just("2.5".to_owned()),
        Just("true".to_owned()),
        Just("_1".to_owned()),
        Just("\n".to_owned()),
        Just("# x\n".to_owned()),
        "(\\(|\\)|\\{|\\}|&&|\\|\\||!|==|!=|<|>|<=|>=|~=|->|;|\\+|-|\\*|/|%|\\^|@|&|\\$|\\.|,)",
        "[1-3]-of\\(",
        "\"[(|)*+?^$a\\[\\]{}0-9-]{0,8}\"",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_octets(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        for piece in split(&octets) {
            if let Ok(assertion) = Assertion::parse(piece) {
                let mut session = Session::default();
                session.add_policy(assertion.clone());
                evaluate(&session, &["a"]);
                let _ = session.add_credential(assertion);
            }
        }
    }

    #[test]
    fn any_fields(conditions in proptest::collection::vec(fragment(), 0..40),
                  licensees in proptest::collection::vec(fragment(), 0..12)) {
        let text = format!(
            "Authorizer: \"POLICY\"\nConditions: {};\nLicensees: {}\n",
            conditions.join(" ").replace('\n', "\n "),
            licensees.join(" ").replace('\n', "\n ")
        );
        let session = policy(&text);
        prop_assert_eq!(session.assertions().len(), 1);
        evaluate(&session, &["a"]);
    }

    #[test]
    fn strings_read_back(value in proptest::collection::vec(1u8.., 0..200)) {
        // As octal escapes, and as they are where that is possible.
        let mut literal = String::from("\"");
        for octet in &value {
            match octet {
                b'"' | b'\\' => { literal.push('\\'); literal.push(char::from(*octet)); }
                0x20..0x7f => literal.push(char::from(*octet)),
                octet => literal.push_str(&format!("\\{octet:03o}")),
            }
        }
        literal.push('"');
        prop_assert_eq!(keynote::quoted_string(literal.as_bytes()).unwrap(), value);
    }

    #[test]
    fn encodings_read_back(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
        for encoding in [Encoding::Hex, Encoding::Base64] {
            prop_assert_eq!(encoding.decode(encoding.encode(&octets).as_bytes()).unwrap(), octets.clone());
        }
    }

    #[test]
    fn comparisons_agree_with_numbers(left in -1000i32..1000, right in -1000i32..1000) {
        let number = |n: i32| if n < 0 { format!("-{}", -n) } else { n.to_string() };
        for (operator, expected) in [("==", left == right), ("!=", left != right), ("<", left < right),
                                     (">", left > right), ("<=", left <= right), (">=", left >= right)] {
            let text = format!("Authorizer: \"POLICY\"\nConditions: {} {operator} {};\n", number(left), number(right));
            prop_assert_eq!(evaluate(&policy(&text), &[]) == 1, expected);
        }
        if right != 0 {
            let text = format!("Authorizer: \"POLICY\"\nConditions: {0} / ({1}) * ({1}) + {0} % ({1}) == {0};\n",
                               number(left), number(right));
            prop_assert_eq!(evaluate(&policy(&text), &[]), 1);
        }
    }

    /// Against the definition: a literal pattern matches where the text has it.
    #[test]
    fn literal_patterns(pattern in "[ab]{1,3}", text in "[ab]{0,12}") {
        let found = Regex::new(pattern.as_bytes()).unwrap().find(text.as_bytes(), &mut 10_000).unwrap();
        prop_assert_eq!(found.map(|found| found.span(0).unwrap().start), text.find(&pattern));
    }

    /// Against the definition: of all matches the leftmost and longest.
    #[test]
    fn alternatives(words in proptest::collection::vec("[ab]{1,4}", 1..5), text in "[ab]{0,12}") {
        let pattern = format!("({})", words.join("|"));
        let regex = Regex::new(pattern.as_bytes()).unwrap();
        let found = regex.find(text.as_bytes(), &mut 100_000).unwrap();
        let expected = (0..text.len()).find_map(|start| {
            let rest = &text[start..];
            let longest = words.iter().filter(|word| rest.starts_with(*word)).map(String::len).max();
            longest.map(|len| start..start + len)
        });
        prop_assert_eq!(found.as_ref().and_then(|found| found.span(0)), expected.clone());
        prop_assert_eq!(found.and_then(|found| found.span(1)), expected);
    }

    #[test]
    fn any_pattern(pattern in "[ab().*+?|^$\\[\\]{}0-9,\\\\-]{0,20}", text in "[ab]{0,20}") {
        if let Ok(regex) = Regex::new(pattern.as_bytes()) {
            if let Ok(Some(found)) = regex.find(text.as_bytes(), &mut 1_000_000) {
                let whole = found.span(0).unwrap();
                prop_assert!(whole.end <= text.len());
                for group in 1..=found.groups() {
                    if let Some(span) = found.span(group) {
                        prop_assert!(whole.start <= span.start && span.start <= span.end && span.end <= whole.end);
                    }
                }
            }
        }
    }
}

#[test]
fn bounded_work() {
    // Each would run for minutes, or not end, without a limit.
    let clause = "a ~= \"(x*)*(x*)*(x*)*(x*)*y\" -> \"false\"; ";
    let many = format!(
        "Authorizer: \"POLICY\"\nConditions: {}\n",
        clause.repeat(3000)
    );
    assert_eq!(evaluate(&policy(&many), &[]), 0);
    let joined = format!(
        "Authorizer: \"POLICY\"\nConditions: {} == \"\";\n",
        vec!["a"; 50_000].join(" . ")
    );
    assert_eq!(evaluate(&policy(&joined), &[]), 0);
    let names: Vec<String> = (0..20_000).map(|n| format!("\"p{n}\"")).collect();
    let threshold = format!(
        "Authorizer: \"POLICY\"\nLicensees: 20000-of({})\n",
        names.join(",")
    );
    assert_eq!(evaluate(&policy(&threshold), &["p1"]), 0);
    let any = format!("Authorizer: \"POLICY\"\nLicensees: {}\n", names.join("||"));
    assert_eq!(evaluate(&policy(&any), &["p19999"]), 1);
    // A chain of delegation from behind, in which each step makes the one before worth something.
    let mut chain = String::from("Authorizer: \"POLICY\"\nLicensees: \"p0\"\n\n");
    for n in 0..5000 {
        chain.push_str(&format!(
            "Authorizer: \"p{n}\"\nLicensees: \"p{}\"\n\n",
            n + 1
        ));
    }
    assert_eq!(evaluate(&policy(&chain), &["p5000"]), 1);
    // What is not true because the work ran out stays not true under `!`.
    let denied = format!(
        "Authorizer: \"POLICY\"\nConditions: !(a ~= \"{}\");\n",
        "(x?)".repeat(300) + &"x".repeat(1990)
    );
    assert_eq!(evaluate(&policy(&denied), &[]), 0);
}
