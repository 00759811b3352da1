//! The policies of the recordings, with the log that the original wrote, and credentials.

use ike::policy::{Phase1Facts, Policy, PolicyLog, Question, passphrase_principals};
use ike::sa::Selector;
use isakmp_proto::attribute::Attribute;
use isakmp_proto::identity::Identity;
use isakmp_proto::number::{EspTransform, IpsecAttribute, Protocol};
use isakmp_proto::sa::{Proposal, Transform};
use isakmpd::policy::action::TimeOfDay;
use isakmpd::policy::credentials::{self, CredentialsError};
use isakmpd::policy::{KeynotePolicy, Problem};
use keynote::signature::{SigningKey, sign};
use keynote::{Assertion, Encoding, Principal};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Name};

/// Level of the lines that say why.
const WHY: u8 = 0;

fn vector(name: &str) -> String {
    let path = format!("../../interop-tests/vectors/isakmpd/{name}");
    std::fs::read_to_string(path).unwrap()
}

fn noon() -> TimeOfDay {
    TimeOfDay {
        gmt: "20261121120000".into(),
        local: "20261121130000".into(),
    }
}

fn policy(text: &str) -> KeynotePolicy {
    let (policy, findings) = KeynotePolicy::from_text(text.as_bytes());
    assert_eq!(findings, [], "{text}");
    policy.with_time(noon)
}

fn subnet(network: &str) -> Selector {
    Identity::Ipv4Subnet(network.parse().unwrap(), "255.255.255.0".parse().unwrap()).into()
}

fn proposal(protocol: Protocol, id: u8, attributes: &[(IpsecAttribute, u32)]) -> Proposal {
    Proposal {
        number: 1,
        protocol,
        spi: vec![0; 4],
        transforms: vec![Transform {
            number: 1,
            id,
            attributes: attributes
                .iter()
                .map(|(ty, value)| Attribute::number(*ty, *value))
                .collect(),
        }],
    }
}

/// Ends of the recordings keynote-accept and keynote-deny.
const ENDS: (&str, &str) = ("10.77.0.2:500", "10.77.0.1:500");

fn id(end: &str) -> Identity {
    let end: std::net::SocketAddr = end.parse().unwrap();
    Identity::Address(end.ip())
}

/// Asks about a suite between these ends.
fn ask_about(
    policy: &KeynotePolicy,
    principals: &[String],
    suite: &[Proposal],
) -> (bool, Vec<(u8, String)>) {
    ask_for(policy, principals, suite, &id(ENDS.1).into())
}

/// The same, of a peer that authenticated as `remote_id`.
fn ask_for(
    policy: &KeynotePolicy,
    principals: &[String],
    suite: &[Proposal],
    remote_id: &Selector,
) -> (bool, Vec<(u8, String)>) {
    let (local, remote) = ENDS;
    let question = Question {
        suite,
        aggressive: false,
        peer: "peer-x",
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        local_id: &id(local),
        remote_id,
        local_filter: &subnet("192.168.102.0"),
        remote_filter: &subnet("192.168.101.0"),
        initiator: false,
        group: 14,
        phase1: Phase1Facts {
            group: 14,
            ..Phase1Facts::default()
        },
        principals,
    };
    // Whoever asks for less gets the same answer and less to read.
    let mut quiet = PolicyLog::new(0);
    let unlogged = policy.permits(&question, &mut quiet);
    let mut log = PolicyLog::new(99);
    let answer = policy.permits(&question, &mut log);
    let lines = log.into_lines();
    let plain: Vec<_> = lines
        .iter()
        .filter(|(level, _)| *level == 0)
        .cloned()
        .collect();
    assert_eq!((unlogged, quiet.into_lines()), (answer, plain));
    (answer, lines)
}

fn recorded_suite() -> Proposal {
    let attributes = [
        (IpsecAttribute::SA_LIFE_TYPE, 1),
        (IpsecAttribute::SA_LIFE_DURATION, 1200),
        (IpsecAttribute::ENCAPSULATION_MODE, 1),
        (IpsecAttribute::AUTHENTICATION_ALGORITHM, 2),
        (IpsecAttribute::GROUP_DESCRIPTION, 14),
        (IpsecAttribute::KEY_LENGTH, 128),
    ];
    proposal(Protocol::ESP, EspTransform::AES.0, &attributes)
}

fn ask(policy: &KeynotePolicy, principals: &[String]) -> (bool, Vec<(u8, String)>) {
    ask_about(policy, principals, &[recorded_suite()])
}

fn recorded() -> Vec<String> {
    passphrase_principals(b"mekmitasdigoat")
}

/// The first question in the original's debug log: level and text. Passphrases are ours not to show.
fn recorded_lines(name: &str) -> Vec<(u8, String)> {
    let log = vector(name);
    let mut first = Vec::new();
    for line in log.lines().skip(1) {
        let (_, rest) = line.split_once(" Plcy ").unwrap();
        let (level, text) = rest.split_once(' ').unwrap();
        let shown = match text
            .split_once('[')
            .and_then(|(_, key)| key.split_once(':'))
        {
            Some((kind, _)) => format!("check_policy: adding authorizer [{kind}:...]"),
            None => text.to_owned(),
        };
        let last = shown.contains("kn_do_query");
        first.push((level.parse().unwrap(), shown));
        if last {
            break;
        }
    }
    first
}

#[test]
fn recorded_policies() {
    for (name, permitted) in [("keynote-accept", true), ("keynote-deny", false)] {
        let policy = policy(&vector(&format!("{name}/responder.policy")));
        let (answer, lines) = ask(&policy, &recorded());
        assert_eq!(answer, permitted, "{name}");
        let (why, lines): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|(level, _)| *level == WHY);
        assert_eq!(
            lines,
            recorded_lines(&format!("{name}/responder-policy-log.txt")),
            "{name}"
        );
        if permitted {
            assert!(why.is_empty());
        } else {
            let line = "check_policy: policy assertion 1 (allow psk peers with real encryption): its conditions do not hold";
            assert_eq!(why, [(WHY, line.to_owned())]);
        }
    }
}

#[test]
fn of_many_assertions_the_first_are_explained_to_all() {
    let text = "Authorizer: \"POLICY\"\nLicensees: \"passphrase:nobody\"\n\n".repeat(70);
    let (_, lines) = ask(&policy(&text), &recorded());
    let of_level = |wanted: u8| {
        let lines = lines.iter().filter(|(level, _)| *level == wanted);
        lines.map(|(_, line)| line.as_str()).collect::<Vec<_>>()
    };
    let (all, some) = (of_level(0), of_level(20));
    assert_eq!((all.len(), some.len()), (9, 56));
    assert_eq!(
        all[7],
        "check_policy: policy assertion 8: none of its licensees asked"
    );
    assert_eq!(all[8], "check_policy: and 62 more assertions");
    assert!(some[0].starts_with("check_policy: policy assertion 9: "));
}

#[test]
fn protocol_and_port_of_the_peers_identity() {
    let policy = policy(
        "Authorizer: \"POLICY\"\nLicensees: \"passphrase:mekmitasdigoat\"\n\
         Conditions: remote_id_proto == \"udp\" && remote_id_port == \"500\";\n",
    );
    let asks_as = |protocol, port| {
        let remote_id = Selector {
            identity: id(ENDS.1),
            protocol,
            port,
        };
        ask_for(&policy, &recorded(), &[recorded_suite()], &remote_id).0
    };
    assert!(asks_as(17, 500));
    assert!(!asks_as(0, 0) && !asks_as(17, 4500) && !asks_as(6, 500));
}

#[test]
fn passphrases_by_digest() {
    for licensee in [
        "passphrase:mekmitasdigoat",
        "passphrase-md5-hex:227f500abfe58f5f5d61e7f6053d8d85",
        "passphrase-sha1-hex:bf1091800d1221f9a35ec087a67e2d6209d6478e",
    ] {
        let policy = policy(&format!(
            "Authorizer: \"POLICY\"\nLicensees: \"{licensee}\"\n"
        ));
        assert!(ask(&policy, &recorded()).0, "{licensee}");
        assert!(
            !ask(&policy, &passphrase_principals(b"foobar")).0,
            "{licensee}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_file() {
    let text = "Authorizer: \"POLICY\"\nLicensees: \"a\"\n\n\n# x\nLicensees: \"a\"\n\nAuthorizer: \"POLICY\"\nConditions: true\n";
    let (policy, findings) = KeynotePolicy::from_text(text.as_bytes());
    assert!(!policy.is_empty());
    let shown: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "policy assertion 2 (line 5): left out: no Authorizer field",
            "policy assertion 3 (line 8): allows nothing: field ends too early",
        ]
    );
    assert!(matches!(findings[0].problem, Problem::Malformed(_)));
    let (_, lines) = ask(&policy, &recorded());
    let why: Vec<_> = lines
        .into_iter()
        .filter(|(level, _)| *level == WHY)
        .map(|(_, line)| line)
        .collect();
    assert_eq!(
        why,
        [
            "check_policy: policy assertion 1: none of its licensees asked",
            "check_policy: policy assertion 3: allows nothing: field ends too early"
        ]
    );
    let (empty, findings) = KeynotePolicy::from_text(b"\n\n");
    assert!(empty.is_empty() && findings.is_empty());
    assert!(!ask(&empty, &recorded()).0);
}

/// Whether a condition holds for a suite.
fn holds(condition: &str, suite: &[Proposal]) -> bool {
    let policy = policy(&format!(
        "Authorizer: \"POLICY\"\nConditions: {condition};\n"
    ));
    ask_about(&policy, &recorded(), suite).0
}

#[test]
fn time_and_ends() {
    let suite = [recorded_suite()];
    for (condition, permitted) in [
        ("GMTTimeOfDay == \"20261121120000\"", true),
        ("LocalTimeOfDay == \"20261121130000\"", true),
        (
            "GMTTimeOfDay > \"20261121115959\" && GMTTimeOfDay < \"2027\"",
            true,
        ),
        ("phase_1 == \"main\" && doi == \"ipsec\"", true),
        ("app_domain == \"IPsec policy\"", true),
        ("remote_ike_address == remote_negotiation_address", true),
        ("local_ike_address == \"010.077.000.002\"", true),
        ("phase_1 == \"aggressive\"", false),
    ] {
        assert_eq!(holds(condition, &suite), permitted, "{condition}");
    }
    let now = TimeOfDay::now();
    assert!([now.gmt, now.local].iter().all(|time| time.len() == 14));
}

#[test]
fn bundles() {
    use IpsecAttribute as A;
    let suite = [
        proposal(
            Protocol::AH,
            5,
            &[
                (A::AUTHENTICATION_ALGORITHM, 5),
                (A::SA_LIFE_TYPE, 2),
                (A::SA_LIFE_DURATION, 4_000_000_000),
                (A::ENCAPSULATION_MODE, 2),
                (A::KEY_ROUNDS, 8),
                (A::ECN_TUNNEL, 1),
            ],
        ),
        proposal(
            Protocol::ESP,
            EspTransform::AES_GCM_16.0,
            &[(A::ENCAPSULATION_MODE, 61443), (A::KEY_LENGTH, 288)],
        ),
        proposal(
            Protocol::IPCOMP,
            2,
            &[
                (A::ENCAPSULATION_MODE, 4),
                (A::COMPRESS_DICTIONARY_SIZE, 15),
                (A::COMPRESS_PRIVATE_ALGORITHM, 3),
                (A::GROUP_DESCRIPTION, 5),
            ],
        ),
    ];
    for condition in [
        "ah_present == \"yes\" && esp_present == \"yes\" && comp_present == \"yes\"",
        "ah_hash_alg == \"sha2-256\" && ah_auth_alg == \"hmac-sha2-256\"",
        "ah_life_kbytes == \"4000000000\" && ah_life_seconds == \"\"",
        // Beyond 32 bits: the greatest number there is.
        "@ah_life_kbytes == 2147483647 && @ah_life_seconds == 0",
        "ah_encapsulation == \"transport\" && ah_key_rounds == \"8\" && ah_ecn == \"yes\"",
        "esp_enc_alg == \"aes\" && esp_auth_alg == \"\" && @esp_key_length >= 256",
        "esp_encapsulation == \"udp-encap-tunnel\" && esp_ecn == \"no\"",
        "comp_alg == \"deflate\" && comp_encapsulation == \"transport\"",
        "comp_dict_size == \"15\" && comp_private_alg == \"3\" && comp_group_desc == \"5\"",
    ] {
        assert!(holds(condition, &suite), "{condition}");
        assert!(!holds(condition, &[recorded_suite()]), "{condition}");
    }
}

fn name(common_name: &str) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("C", "SE").unwrap();
    name.append_entry_by_text("CN", common_name).unwrap();
    name.build()
}

fn certificate(
    subject: &X509Name,
    key: &PKey<Private>,
    issuer: &X509Name,
    issuer_key: &PKey<Private>,
    days: (i64, i64),
) -> X509 {
    let mut builder = X509::builder().unwrap();
    let moment = |days: i64| Asn1Time::from_unix(days * 86_400).unwrap();
    let serial = Asn1Integer::from_bn(&BigNum::from_u32(1).unwrap()).unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(subject).unwrap();
    builder.set_issuer_name(issuer).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&moment(days.0)).unwrap();
    builder.set_not_after(&moment(days.1)).unwrap();
    builder.sign(issuer_key, MessageDigest::sha256()).unwrap();
    builder.build()
}

fn new_key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

/// The key of a certificate as a principal.
fn key_text(certificate: &X509) -> String {
    let der = Encoding::Hex.encode(&certificate.to_der().unwrap());
    let principal = Principal::parse(format!("x509-hex:{der}").as_bytes()).ok();
    principal.and_then(|key| key.key_text()).unwrap()
}

#[test]
fn certificates() {
    // Days since 1970 of 2026-11-01 and 2026-12-01.
    let month = (20_758, 20_788);
    let (ca_key, key) = (new_key(), new_key());
    let (ca_name, subject) = (name("CA \"x\\"), name("gw\u{e9}"));
    let ca = certificate(&ca_name, &ca_key, &ca_name, &ca_key, (20_000, 30_000));
    let leaf = certificate(&subject, &key, &ca_name, &ca_key, month);
    let texts = credentials::x509(&[&leaf, &ca]);
    assert_eq!(texts.len(), 4);
    assert_eq!(texts[0], key_text(&leaf));
    assert!(texts[1].starts_with("DN:/C=SE/CN=gw\\x"), "{}", texts[1]);
    let asks = |licensee: &str, texts: &[String]| {
        let policy = policy(&format!(
            "Authorizer: \"POLICY\"\nLicensees: \"{licensee}\"\n"
        ));
        ask(&policy, texts).0
    };
    for licensee in [
        key_text(&leaf).as_str(),
        &texts[1].replace('\\', "\\\\"),
        // What the certificates say: by the authority's key and name.
        &key_text(&ca),
        "DN:/C=SE/CN=CA \\\"x\\\\",
    ] {
        assert!(asks(licensee, &texts), "{licensee}");
    }
    assert!(!asks("DN:/C=SE/CN=other", &texts));
    // Not any more, not yet, and nothing about one that signed itself.
    for days in [(20_000, 20_757), (20_790, 20_800)] {
        let leaf = certificate(&subject, &key, &ca_name, &ca_key, days);
        assert!(!asks(&key_text(&ca), &credentials::x509(&[&leaf, &ca])));
    }
    assert_eq!(credentials::x509(&[&ca, &ca]).len(), 2);
    assert!(credentials::x509(&[]).is_empty());
}

fn signed(key: &SigningKey, licensees: &str, conditions: &str) -> String {
    let authorizer = key.public().key_text().unwrap();
    let body = format!(
        "KeyNote-Version: 2\nAuthorizer: \"{authorizer}\"\nLicensees: {licensees}\nConditions: {conditions}\nSignature: "
    );
    let assertion = Assertion::parse(format!("{body}\"\"\n").as_bytes()).unwrap();
    let signature = sign(&assertion, b"sig-rsa-sha1-base64:", key).unwrap();
    format!("{body}\"{signature}\"\n")
}

#[test]
fn keynote_credentials() {
    let key = || SigningKey::generate_rsa(2048).unwrap();
    let (boss, middle, peer) = (key(), key(), key());
    let text = |key: &SigningKey| key.public().key_text().unwrap();
    let first = signed(
        &boss,
        &format!("\"{}\"", text(&middle)),
        "esp_present == \"yes\";",
    );
    let second = signed(&middle, &format!("\"x\" || \"{}\"", text(&peer)), "true;");
    let file = format!("{first}\n{second}");
    let found = credentials::keynote(file.as_bytes()).ok().unwrap();
    assert!(Principal::Rsa(found.key.clone()) == peer.public());
    assert!(credentials::keynote(format!("{file}\0").as_bytes()).is_ok());
    let policy = policy(&format!(
        "Authorizer: \"POLICY\"\nLicensees: \"{}\"\n",
        text(&boss)
    ));
    assert!(ask(&policy, &found.texts).0);
    // Without one link of the chain.
    let alone = credentials::keynote(second.as_bytes()).ok().unwrap();
    assert!(!ask(&policy, &alone.texts).0);
    // Not signed, changed, none, no key at the end, too many.
    let refuse = |text: &str| credentials::keynote(text.as_bytes()).err().unwrap();
    let unsigned = format!("Authorizer: \"{}\"\nLicensees: \"x\"\n", text(&boss));
    assert!(matches!(
        refuse(&unsigned),
        CredentialsError::Signature(1, _)
    ));
    assert!(matches!(
        refuse(&file.replace("true;", "true; ")),
        CredentialsError::Signature(2, _)
    ));
    assert!(matches!(
        refuse("rubbish"),
        CredentialsError::Malformed(1, _)
    ));
    assert_eq!(refuse(""), CredentialsError::Empty);
    let no_key = signed(&boss, "\"x\"", "true;");
    assert_eq!(refuse(&no_key), CredentialsError::NoKey);
    let long = "x".repeat(credentials::MOST_CREDENTIALS + 1);
    assert_eq!(refuse(&long), CredentialsError::TooLong);
    assert_eq!(refuse(&"x\n\n".repeat(65)), CredentialsError::TooLong);
    // What is said to be signed is checked again.
    let forged = format!("{}Authorizer: \"POLICY\"\n", credentials::SIGNED);
    assert!(!ask(&policy, &[forged, "x".into()]).0);
}
