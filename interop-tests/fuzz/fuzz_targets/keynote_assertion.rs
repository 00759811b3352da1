//! Files of assertions, as policy and as credentials: whatever is read gives an answer, in bounded work, and
//! nothing that is added lessens it.
#![no_main]
use keynote::{Assertion, Attributes, Query, Session, split};
use libfuzzer_sys::fuzz_target;

const VALUES: [&str; 3] = ["no", "maybe", "yes"];

fn answer(session: &Session) -> usize {
    let mut attributes = Attributes::default();
    for (name, value) in [
        ("app_domain", "IPsec policy"),
        ("esp_enc_alg", "aes"),
        ("a", "1.5"),
    ] {
        attributes.set(name, value);
    }
    let answer = session.evaluate(&Query {
        values: &VALUES,
        authorizers: &["passphrase:secret", "a"],
        attributes: &attributes,
    });
    assert!(answer.value < VALUES.len());
    assert_eq!(answer.verdicts.len(), session.assertions().len());
    answer.value
}

fuzz_target!(|data: &[u8]| {
    let mut session = Session::default();
    let mut before = 0;
    for piece in split(data).into_iter().take(8) {
        let Ok(assertion) = Assertion::parse(piece) else {
            continue;
        };
        let again = Assertion::parse(assertion.text()).expect("read just now");
        assert_eq!(again.fault(), assertion.fault());
        let _ = Session::default().add_credential(again);
        session.add_policy(assertion);
        let now = answer(&session);
        assert!(now >= before);
        before = now;
    }
});
