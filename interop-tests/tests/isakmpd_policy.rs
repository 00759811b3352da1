//! Policies in two running daemons: who asks, by passphrase, digest, key, name and authority; for which
//! algorithms and addresses; and what the log says of a refusal without being asked.

use interop_tests::isakmpd::daemon::Daemon;
use interop_tests::isakmpd::implementation::subject;
use interop_tests::isakmpd::network::Network;
use interop_tests::isakmpd::recorded::Recording;

/// Both sides of a recording, the responder with this policy, the initiator with one that accepts all.
fn negotiate(recording: &str, policy: &str, accepted: bool) -> Option<Vec<String>> {
    let subject = subject("isakmpd_policy")?;
    if subject.original {
        return None;
    }
    let recording = Recording::new(recording);
    let network = Network::cable();
    let setup = recording.setup("responder").policy(policy);
    let responder = Daemon::start(&network.right, subject, &setup);
    let setup = recording.setup("initiator");
    let setup = setup.policy("Authorizer: \"POLICY\"\n");
    let initiator = Daemon::start(&network.left, subject, &setup);
    initiator.command("c conn-x");
    if accepted {
        responder.wait_for("isakmpd: quick mode done (as responder): ");
        initiator.wait_for("isakmpd: quick mode done: ");
    } else {
        responder.wait_for("check_policy: negotiated SA failed policy check");
        initiator.wait_for("isakmpd: phase 1 done: ");
        assert_eq!((initiator.count(2), responder.count(2)), (0, 0), "{policy}");
    }
    Some(responder.texts())
}

fn policy(licensees: &str, conditions: &str) -> String {
    format!(
        "Authorizer: \"POLICY\"\nComment: test\nLicensees: {licensees}\nConditions: {conditions};\n"
    )
}

#[test]
fn passphrases_algorithms_and_addresses() {
    let digest = "\"passphrase-sha1-hex:bf1091800d1221f9a35ec087a67e2d6209d6478e\"";
    let good = "esp_enc_alg == \"aes\" && @esp_key_length >= 128 && esp_encapsulation == \"tunnel\" &&\n \
        remote_filter_addr_lower >= \"192.168.101.000\" && remote_filter_addr_upper <= \"192.168.101.255\" &&\n \
        remote_id == \"010.077.000.001\" && initiator == \"no\" && phase_1 == \"main\" && GMTTimeOfDay > \"2025\"";
    for (licensees, conditions, accepted) in [
        (digest, good, true),
        (
            "\"passphrase:mekmitasdigoat\"",
            "pfs == \"no\" || pfs == \"yes\"",
            true,
        ),
        ("\"passphrase:another\"", good, false),
        (digest, "@esp_key_length >= 256", false),
        (digest, "esp_enc_alg == \"3des\"", false),
        (
            digest,
            "remote_filter_addr_lower == \"192.168.102.000\"",
            false,
        ),
    ] {
        let text = policy(licensees, conditions);
        let Some(texts) = negotiate("mm-psk-aes128-sha256-g14", &text, accepted) else {
            return;
        };
        let why = texts
            .iter()
            .find(|text| text.contains("policy assertion 1 (test): "));
        assert_eq!(why.is_some(), !accepted, "{conditions}: {why:?}");
        assert!(!texts.iter().any(|text| text.contains("mekmitasdigoat")));
    }
}

#[test]
fn certificates_and_their_authority() {
    for (licensees, accepted) in [
        ("\"DN:/C=SE/O=KX test/CN=10.77.0.1\"", true),
        ("\"DN:/C=SE/O=KX test/CN=KX test CA\"", true),
        (
            "\"DN:/C=SE/O=KX test/CN=KX test CA\" && \"DN:/C=SE/O=KX test/CN=10.77.0.1\"",
            true,
        ),
        ("\"DN:/C=SE/O=KX test/CN=10.77.0.2\"", false),
        ("\"passphrase:mekmitasdigoat\"", false),
    ] {
        let text = policy(licensees, "pfs == \"yes\"");
        if negotiate("mm-rsa-x509-aes256-sha256-g14-pfs", &text, accepted).is_none() {
            return;
        }
    }
}
