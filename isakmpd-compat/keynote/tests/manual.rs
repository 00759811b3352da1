//! The policies of the manual pages: ours as they stand there, the original's in our own spelling.

use keynote::{Assertion, Attributes, Query, Session, split};

fn session(text: &str) -> Session {
    let mut session = Session::default();
    for piece in split(text.as_bytes()) {
        let assertion = Assertion::parse(piece).unwrap();
        assert_eq!(assertion.fault(), None, "{text}");
        session.add_policy(assertion);
    }
    session
}

/// A proposal that most policies like; `changes` to it.
fn permits(session: &Session, authorizers: &[&str], changes: &[(&str, &str)]) -> bool {
    let mut attributes = Attributes::default();
    for (name, value) in [
        ("app_domain", "IPsec policy"),
        ("doi", "ipsec"),
        ("pfs", "yes"),
        ("esp_present", "yes"),
        ("ah_present", "no"),
        ("esp_enc_alg", "aes"),
        ("esp_key_length", "128"),
        ("esp_auth_alg", "hmac-sha2-256"),
        ("remote_filter_type", "IPv4 subnet"),
        ("remote_filter_addr_lower", "192.168.101.000"),
        ("remote_filter_addr_upper", "192.168.101.255"),
        ("remote_negotiation_address", "010.077.000.001"),
        ("LocalTimeOfDay", "20261121120000"),
    ] {
        attributes.set(name, value);
    }
    for (name, value) in changes {
        attributes.set(name, value);
    }
    let query = Query {
        values: &["false", "true"],
        authorizers,
        attributes: &attributes,
    };
    session.evaluate(&query).value == 1
}

/// The literal blocks of the EXAMPLES section of isakmpd.policy(5).
fn examples() -> Vec<Session> {
    let page = std::fs::read_to_string("../isakmpd/man/isakmpd.policy.5").unwrap();
    let (_, section) = page.split_once(".Sh EXAMPLES\n").unwrap();
    let (section, _) = section.split_once("\n.Sh ").unwrap();
    section
        .split(".Bd -literal\n")
        .skip(1)
        .map(|block| session(&block.split_once(".Ed").unwrap().0.replace("\\e", "\\")))
        .collect()
}

#[test]
fn our_examples() {
    let examples = examples();
    let [everything, branch, warriors, delegated] = examples.as_slice() else {
        panic!("{} examples", examples.len());
    };
    assert!(permits(everything, &["anybody"], &[]));

    let foobar = ["passphrase-sha1-hex:8843d7f92416211de9ebb963ff4ce28125932878"];
    assert!(permits(branch, &foobar, &[]));
    assert!(!permits(branch, &["passphrase:foobar"], &[]));
    for change in [
        ("esp_enc_alg", "null"),
        ("esp_present", "no"),
        ("remote_filter_addr_lower", "192.168.100.000"),
        ("remote_filter_addr_upper", "192.168.102.000"),
        ("remote_filter_type", "IPv4 address"),
    ] {
        assert!(!permits(branch, &foobar, &[change]), "{change:?}");
    }

    let ca = ["DN:/C=SE/O=Example/CN=Example CA"];
    assert!(permits(warriors, &ca, &[]));
    for change in [
        ("esp_key_length", ""),
        ("esp_key_length", "127"),
        ("esp_enc_alg", "3des"),
        ("pfs", "no"),
        ("ah_present", "yes"),
        ("LocalTimeOfDay", "20261121075959"),
        ("LocalTimeOfDay", "20261121180000"),
    ] {
        assert!(!permits(warriors, &ca, &[change]), "{change:?}");
    }

    let gw2 = ["DN:/C=SE/O=Example/CN=gw2"];
    assert!(permits(delegated, &gw2, &[]));
    assert!(!permits(delegated, &gw2, &[("esp_auth_alg", "hmac-md5")]));
    assert!(!permits(delegated, &["DN:/C=SE/O=Example/CN=gw3"], &[]));
    let old = ["passphrase:mekmitasdigoat"];
    assert!(permits(delegated, &old, &[("esp_auth_alg", "hmac-md5")]));
    let outside = ("remote_negotiation_address", "192.000.002.001");
    assert!(!permits(delegated, &old, &[outside]));
}

#[test]
fn original_examples() {
    // A digest or a passphrase, any encryption.
    let one = session(
        "Authorizer: \"POLICY\"\nLicensees: \"passphrase:foobar\" ||\n  \"passphrase-md5-hex:3858f62230ac3c915f300c664312c63f\"\n\
         Conditions: app_domain == \"IPsec policy\" && esp_present == \"yes\"\n\t&& esp_enc_alg != \"null\" -> \"true\";\n",
    );
    for asker in [
        "passphrase:foobar",
        "passphrase-md5-hex:3858f62230ac3c915f300c664312c63f",
    ] {
        assert!(permits(&one, &[asker], &[]));
        assert!(!permits(&one, &[asker], &[("esp_enc_alg", "null")]));
    }
    assert!(!permits(&one, &["passphrase:Foobar"], &[]));

    // Subpolicies without a key; fields in another order; nested clauses.
    let two = session(
        "Authorizer: \"POLICY\"\nLicensees: \"subpolicy1\" || \"subpolicy2\"\nComment: in\n  two parts\n\
         Conditions: app_domain == \"IPsec policy\";\n\n\n\n\
         KeyNote-Version: 2\nLicensees: \"passphrase:one\"\nConditions: esp_present == \"yes\" -> \"true\";\nAuthorizer: \"subpolicy1\"\n\n\
         Conditions: ah_present == \"yes\" ->\n   {\n     ah_auth_alg == \"md5\" -> \"true\";\n     ah_auth_alg == \"sha\" &&\n     esp_present == \"no\" -> \"true\";\n   };\n\
         Licensees: \"passphrase:other\" ||\n   \"passphrase-sha1-hex:f5ed\"\nAuthorizer: \"subpolicy2\"\n",
    );
    assert!(permits(&two, &["passphrase:one"], &[]));
    assert!(!permits(
        &two,
        &["passphrase:one"],
        &[("esp_present", "no")]
    ));
    assert!(!permits(&two, &["passphrase:other"], &[]));
    let md5 = [("ah_present", "yes"), ("ah_auth_alg", "md5")];
    let sha = [("ah_present", "yes"), ("ah_auth_alg", "sha")];
    assert!(permits(&two, &["passphrase:other"], &md5));
    assert!(!permits(&two, &["passphrase-sha1-hex:f5ed"], &sha));
    let without_esp = [sha[0], sha[1], ("esp_present", "no")];
    assert!(permits(&two, &["passphrase-sha1-hex:f5ed"], &without_esp));

    // Lower-case field names, a name with an e-mail address.
    let three = session(
        "keynote-version: 2\ncomment: a name\nauthorizer: \"POLICY\"\nlicensees: \"DN:/CN=CA Certificate/emailAddress=ca@foo.example\"\n",
    );
    assert!(permits(
        &three,
        &["DN:/CN=CA Certificate/emailAddress=ca@foo.example"],
        &[]
    ));
}

#[test]
fn a_licensee_that_is_no_key_spoils_the_assertion() {
    // The manual's own first example has one; the original's library refuses the field.
    let text =
        "Authorizer: \"POLICY\"\nLicensees: \"passphrase:foobar\" || \"x509-base64:abcd==\"\n";
    let assertion = Assertion::parse(text.as_bytes()).unwrap();
    assert_eq!(assertion.fault(), Some(keynote::SyntaxError::Key));
    let mut session = Session::default();
    session.add_policy(assertion);
    assert!(!permits(&session, &["passphrase:foobar"], &[]));
}
