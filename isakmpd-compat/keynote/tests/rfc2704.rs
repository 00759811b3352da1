//! RFC 2704's examples (section 6) in our own spelling, and what its sections say about evaluation.

use keynote::{Assertion, Attributes, Query, Session, split};

fn session(text: &str) -> Session {
    let mut session = Session::default();
    for piece in split(text.as_bytes()) {
        let assertion = Assertion::parse(piece).unwrap();
        assert_eq!(
            assertion.fault(),
            None,
            "{}",
            String::from_utf8_lossy(piece)
        );
        session.add_policy(assertion);
    }
    session
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    let mut attributes = Attributes::default();
    for (name, value) in pairs {
        assert!(attributes.set(name, value));
    }
    attributes
}

/// The value's name.
fn ask<'v>(
    session: &Session,
    values: &'v [&'v str],
    authorizers: &[&str],
    pairs: &[(&str, &str)],
) -> &'v str {
    let answer = session.evaluate(&Query {
        values,
        authorizers,
        attributes: &attributes(pairs),
    });
    values[answer.value]
}

const MAIL: &str = r#"
Authorizer: "POLICY"
Licensees: "RSA:abc123"

KeyNote-Version: 2
Local-Constants: Alice = "DSA:4401ff92"  # a key
                 Bob = "RSA:d1234f"
Authorizer: "RSA:abc123"
Licensees: Alice || Bob
Conditions: (app_domain == "RFC822-EMAIL") &&
            (address ~=   # one domain only
              "^.*@keynote\\.research\\.example$");

KeyNote-Version: 2
Authorizer: "DSA:4401ff92"
Licensees: "DSA:12340987"
Conditions: ((app_domain == "RFC822-EMAIL") &&
             (name == "M. Blaze" || name == "") &&
             (address == "mab@keynote.research.example"));

KeyNote-Version: "2"
Authorizer: "DSA:4401ff92"
Licensees: "DSA:abc991" || "RSA:cde773" || "BFIK:fd091a"
Conditions: ((app_domain == "RFC822-EMAIL") &&
             (name == "J. Feigenbaum" || name == "") &&
             (address == "jf@keynote.research.example"));
"#;

#[test]
fn mail_authorities() {
    let session = session(MAIL);
    let values = ["no", "yes"];
    let mail = |key: &str, address: &str, name: Option<&str>| {
        let mut pairs = vec![("app_domain", "RFC822-EMAIL"), ("address", address)];
        pairs.extend(name.map(|name| ("name", name)));
        ask(&session, &values, &[key], &pairs) == "yes"
    };
    let mab = "mab@keynote.research.example";
    assert!(mail("DSA:12340987", mab, None));
    assert!(mail("DSA:12340987", mab, Some("M. Blaze")));
    assert!(mail("BFIK:fd091a", "jf@keynote.research.example", None));
    assert!(mail("RSA:d1234f", "x@keynote.research.example", None));
    assert!(!mail("DSA:12340987", "angelos@elsewhere.example", None));
    assert!(!mail("DSA:abc991", mab, Some("M. Blaze")));
    assert!(!mail("DSA:12340987", mab, Some("J. Feigenbaum")));
    assert!(!mail("RSA:d1234f", "x@keynote-research.example", None));
    assert!(
        !mail("dsa:12340987", mab, None),
        "names compare octet for octet"
    );
}

const SPEND: &str = r#"
Authorizer: "POLICY"
Licensees: "RSA:dab212"
Conditions: (app_domain=="SPEND") && (@dollars < 10000);

Authorizer: "RSA:dab212"
Licensees: "DSA:feed1234" && ("RSA:abc123" || "DSA:bcd987" || "DSA:cde333" || "DSA:def975" || "DSA:978add")
Conditions: (app_domain=="SPEND")
              -> { (@(dollars) < 2500) -> _MAX_TRUST;
                   (@(dollars) < 7500) -> "ApproveAndLog";
                 };

KeyNote-Version: 2
Authorizer: "POLICY"
Licensees: 2-of("DSA:feed1234", "RSA:abc123", "DSA:bcd987", "DSA:cde333", "DSA:def975", "DSA:978add")
Conditions: (app_domain=="SPEND") && (@(dollars) < 1000);

KeyNote-Version: 2
Authorizer: "RSA:dab212"
Licensees: "DSA:feed1234" || "RSA:abc123" || "DSA:bcd987" || "DSA:cde333" || "DSA:def975" || "DSA:978add"
Conditions: (app_domain == "SPEND")
              -> { (@(dollars) < 100) -> _MAX_TRUST;
                   (@(dollars) < 500) -> "ApproveAndLog";
                 };
"#;

#[test]
fn spending() {
    let session = session(SPEND);
    let values = ["Reject", "ApproveAndLog", "Approve"];
    for (authorizers, dollars, expected) in [
        (&["DSA:978add"][..], "45", "Approve"),
        (&["RSA:abc123", "DSA:cde333"], "550", "Approve"),
        (&["DSA:feed1234", "DSA:cde333"], "5500", "ApproveAndLog"),
        (&["DSA:cde333"], "150", "ApproveAndLog"),
        (&["DSA:def975"], "550", "Reject"),
        (&["DSA:cde333", "DSA:978add"], "5500", "Reject"),
        (&["RSA:dab212"], "9999", "Approve"),
        (&["RSA:dab212"], "10000", "Reject"),
    ] {
        let pairs = [
            ("app_domain", "SPEND"),
            ("dollars", dollars),
            ("other", "x"),
        ];
        assert_eq!(
            ask(&session, &values, authorizers, &pairs),
            expected,
            "{authorizers:?} {dollars}"
        );
    }
}

/// Whether a test holds for an action with some attributes.
fn holds(test: &str) -> bool {
    let text = format!(
        "Local-Constants: local = \"of the assertion\" shadowed = \"yes\"\nAuthorizer: \"POLICY\"\nConditions: {test};\n"
    );
    let session = session(&text);
    let pairs = [
        ("foo", "bar"),
        ("bar", "xyz"),
        ("xyz", "qua"),
        ("shadowed", "no"),
        ("int", "42"),
        ("fraction", "1.7"),
        ("large", "99999999999"),
        ("not_a_number", "12 "),
        ("negative", "-3"),
        ("name", "gw.example.org"),
    ];
    ask(&session, &["false", "true"], &["a", "b"], &pairs) == "true"
}

#[test]
fn tests_that_hold() {
    for test in [
        // Section 4.4
        "foo == \"bar\" && $(\"foo\") == \"bar\" && $foo == \"xyz\" && $(foo) == \"xyz\" && $$foo == \"qua\"",
        "$\"no such\" == \"\" && $\"\" == \"\" && nothing == \"\" && @nothing == 0 && &nothing <= 0.0",
        "local == \"of the assertion\" && shadowed == \"yes\"",
        // Numbers: rounded down, zero if they are none, the greatest if they are too great.
        "@int == 42 && @fraction == 1 && &fraction > 1.6 && &fraction < 1.8",
        "@not_a_number == 0 && @negative == 0 && @\"\" == 0 && @\"1.2.3\" == 0",
        "@large == 2147483647 && @\"2147483647\" == 2147483647",
        "@(\"4\" . \"2\") == @int && @$\"int\" == 42",
        // Precedence and the left-hand side first.
        "2 + 3 * 4 == 14 && (2 + 3) * 4 == 20 && 10 - 4 - 3 == 3 && 100 / 5 / 2 == 10",
        "2 ^ 3 ^ 2 == 64 && -2 ^ 2 == 4 && 2 * 3 ^ 2 == 18 && 7 % 4 == 3 && -7 % 4 == -3 && -7 / 2 == -3",
        "--1 == 1 && 2 ^ -1 == 0 && 0 ^ 0 == 1",
        "1.5 + 1.5 * 2.0 < 4.6 && 2.0 ^ 3.0 >= 8.0 && -1.5 < 0.0 && 1.0 / 4.0 <= 0.25",
        "2147483647 == 2147483647 && -2147483647 - 1 < -2147483647",
        // Strings: octets, concatenation after $.
        "\"a\" < \"b\" && \"Z\" < \"a\" && \"\" < \"a\" && \"a\" < \"ab\" && \"\\377\" > \"z\"",
        "\"a\" . foo . (\"c\" . \"d\") == \"abarcd\" && $\"f\" . \"oo\" == \"oo\"",
        "true && TRUE && !false && !False && (true) && !!true",
        "true == \"\" && \"x\" != false",
        "false || true && true",
        "false && 1 / 0 == 0 || true",
        // Section 5.1
        "_MIN_TRUST == \"false\" && _MAX_TRUST == \"true\" && _VALUES == \"false,true\"",
        "_ACTION_AUTHORIZERS == \"b,a\"",
        // Regular expressions
        "name ~= \"^([a-z]+)\\\\.(.*)$\" && _0 == \"2\" && _1 == \"gw\" && _2 == \"example.org\" && _3 == \"\"",
        "name ~= \"x|g\" && _0 == \"0\" && _1 == \"\"",
        "name ~= \"(x)?gw\" && _0 == \"1\" && _1 == \"\"",
        "name ~= \"(gw)\" && foo ~= \"(b)\" && _1 == \"b\"",
        "name ~= \"(gw)\" && !(foo ~= \"(x)\") && _1 == \"\"",
        "name ~= \"(gw)\" -> { _1 == \"no\"; _1 == \"gw\" -> \"true\"; }",
        "name ~= (\"^\" . \"gw\")",
        "@_0 == 0 && name ~= \"(g)(w)\" && @_0 == 2",
        "_00 == \"\" && name ~= \"(g)\" && _01 == \"\"",
        // Values and blocks
        "true -> \"tr\" . \"ue\"",
        "true -> _MAX_TRUST",
        "true -> { false; true -> { true; }; }",
        "1 / 0 == 0; true",
        "name ~= \"(\"; true",
    ] {
        assert!(holds(test), "{test}");
    }
}

#[test]
fn tests_that_do_not_hold() {
    for test in [
        // A runtime error makes the whole clause false, whatever is around it.
        "!(1 / 0 == 0)",
        "true || 1 / 0 == 0 -> { 1 % 0 == 0; }",
        "1 / 0 == 0 || true",
        "1.0 / 0.0 < 1.0",
        "!(2147483647 + 1 > 0)",
        "!(-2147483647 - 2 > 0)",
        "!(65536 * 65536 == 1)",
        "!(2 ^ 31 == 1)",
        "!((-2147483647 - 1) / -1 == 1)",
        "!(-(-2147483647 - 1) == 1)",
        "!((-2147483647 - 1) % -1 == 5)",
        "4294967296 == 0",
        "!(4294967296 == 0)",
        "name ~= \"(\"",
        "!(name ~= \"(\")",
        "!(name ~= \"a**\")",
        // Groups are of their clause only.
        "false; name ~= \"(gw)\" -> \"false\"; _1 == \"gw\"",
        "true -> { name ~= \"(gw)\" -> \"false\"; _1 == \"gw\"; }",
        // Names that are no values, values that are not there.
        "true -> \"maybe\"",
        "true -> \"TRUE\"",
        "true -> nothing",
        "true -> {}",
        "false",
        "true -> \"false\"",
        "true -> { false -> \"true\"; }",
    ] {
        assert!(!holds(test), "{test}");
    }
}

#[test]
fn several_values() {
    let values = ["no_access", "guest_access", "user_access", "full_access"];
    let session = session(
        "Authorizer: \"POLICY\"\nConditions:\n @user_id == 0 -> \"full_access\";\n @user_id < 1000 -> \"user_access\";\n\
         \t@user_id < 10000 -> \"guest_access\";\n user_name == \"root\" -> \"full_access\";\n",
    );
    for (id, name, expected) in [
        ("1073", "root", "full_access"),
        ("19283", "nobody", "no_access"),
        ("500", "x", "user_access"),
        ("1000", "x", "guest_access"),
        ("0", "x", "full_access"),
    ] {
        let pairs = [("user_id", id), ("user_name", name)];
        assert_eq!(ask(&session, &values, &["x"], &pairs), expected);
    }
}

#[test]
fn licensees() {
    // Each of p0, p1, p2 delegates to the one who asks as much as its number says.
    let values = ["0", "1", "2", "3"];
    let worth = |licensees: &str| {
        let mut text = format!("Authorizer: \"POLICY\"\nLicensees: {licensees}\n\n");
        for value in 0..4 {
            text.push_str(&format!(
                "Authorizer: \"p{value}\"\nLicensees: \"me\"\nConditions: true -> \"{value}\";\n\n"
            ));
        }
        ask(&session(&text), &values, &["me"], &[])
    };
    for (licensees, expected) in [
        ("\"p2\"", "2"),
        ("\"p2\" && \"p1\"", "1"),
        ("\"p2\" || \"p1\"", "2"),
        ("\"p0\" && \"p3\" || \"p1\"", "1"),
        ("\"p0\" && (\"p3\" || \"p1\")", "0"),
        ("\"me\" && \"p1\"", "1"),
        ("\"nobody\" || \"p1\"", "1"),
        ("1-of(\"p1\", \"p3\", \"p2\")", "3"),
        ("2-of(\"p1\", \"p3\", \"p2\")", "2"),
        ("3-of(\"p1\", \"p3\", \"p2\")", "1"),
        // The RFC's: with multiplicity.
        ("3-of(\"p0\", \"p1\", \"p2\", \"p2\", \"p3\")", "2"),
        ("\"p\" . \"3\"", "3"),
    ] {
        assert_eq!(worth(licensees), expected, "{licensees}");
    }
}

#[test]
fn circles_and_roots() {
    let yes = |text: &str, authorizers: &[&str]| {
        ask(&session(text), &["no", "yes"], authorizers, &[("who", "x")]) == "yes"
    };
    let circle = "Authorizer: \"POLICY\"\nLicensees: \"x\"\n\nAuthorizer: \"x\"\nLicensees: \"y\"\n\n\
        Authorizer: \"y\"\nLicensees: \"x\"\n";
    assert!(!yes(circle, &["me"]));
    // A way out of the circle counts, wherever it begins.
    for exit in ["x", "y"] {
        let text = format!("{circle}\nAuthorizer: \"{exit}\"\nLicensees: \"me\"\n");
        assert!(yes(&text, &["me"]), "{exit}");
    }
    // Nobody is POLICY by saying so; without somebody who asks nothing is decided by key.
    assert!(!yes(
        "Authorizer: \"x\"\nLicensees: \"me\"\n",
        &["me", "POLICY"]
    ));
    assert!(yes("Authorizer: \"POLICY\"\n", &[]));
    // Principals that depend on the action.
    assert!(yes("Authorizer: \"POLICY\"\nLicensees: who\n", &["x"]));
    assert!(yes(
        "Authorizer: \"POLICY\"\nLicensees: \"a\"\n\nAuthorizer: \"\" . $\"a\" . \"a\"\nLicensees: \"me\"\n",
        &["me"]
    ));
    assert!(!yes(
        "Authorizer: \"POLICY\"\nLicensees: \"rsa-hex:\" . who || \"me\"\n",
        &["me"]
    ));
    // Nobody without values.
    let query = Query {
        values: &[],
        authorizers: &["me"],
        attributes: &Attributes::default(),
    };
    assert_eq!(
        session("Authorizer: \"POLICY\"\n").evaluate(&query).value,
        0
    );
}

#[test]
fn removing_an_assertion_never_gives_more() {
    let pieces: Vec<&[u8]> = split(SPEND.as_bytes());
    let values = ["Reject", "ApproveAndLog", "Approve"];
    let worth = |without: Option<usize>| {
        let mut session = Session::default();
        for (index, piece) in pieces.iter().enumerate() {
            if Some(index) != without {
                session.add_policy(Assertion::parse(piece).unwrap());
            }
        }
        let attributes = attributes(&[("app_domain", "SPEND"), ("dollars", "450")]);
        let query = Query {
            values: &values,
            authorizers: &["DSA:cde333"],
            attributes: &attributes,
        };
        session.evaluate(&query).value
    };
    let whole = worth(None);
    assert_eq!(whole, 1);
    assert!((0..pieces.len()).all(|index| worth(Some(index)) <= whole));
}

#[test]
fn attributes_of_the_application() {
    let mut attributes = Attributes::default();
    for name in ["_MIN_TRUST", "_1", "", "9a", "a-b", "a b"] {
        assert!(!attributes.set(name, "x"), "{name}");
    }
    assert!(attributes.set("a_9", "x"));
    assert_eq!(attributes.get(b"a_9"), Some(&b"x"[..]));
}
