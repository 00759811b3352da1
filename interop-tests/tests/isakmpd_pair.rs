//! Two isakmpd: the scenarios of the recordings run again give the same log lines and the same `S`, and what else
//! two of them do to each other. With `KX_ISAKMPD=original` both are the original.

use interop_tests::isakmpd::daemon::Daemon;
use interop_tests::isakmpd::implementation::{Implementation, crossings, subject};
use interop_tests::isakmpd::network::Network;
use interop_tests::isakmpd::recorded::{Recording, normalized_sas};

/// Which lines of a log are compared: not one that comes only where phase 2 timers run, which the stub kernel of
/// most recordings did not start. Which half logged a line is another test's.
fn comparable(lines: &[String]) -> Vec<String> {
    let phase_2 = |l: &&String| l.contains("made us delete live SA") && !l.contains("for proto 1,");
    let others = lines.iter().filter(|l| !phase_2(l));
    others
        .map(|l| l.trim_end_matches(" [priv]").to_owned())
        .collect()
}

/// Runs a recording again: `c conn-x`, `S` on both sides, `Q` on the initiator, then on the responder.
fn replay(name: &str, [left, right]: [&Implementation; 2]) {
    let recording = Recording::new(name);
    let network = if name.starts_with("natt-") {
        Network::masqueraded()
    } else {
        Network::cable()
    };
    let mut responder = Daemon::start(&network.right, right, &recording.setup("responder"));
    let mut initiator = Daemon::start(&network.left, left, &recording.setup("initiator"));
    initiator.command("c conn-x");
    initiator.wait_for("isakmpd: quick mode done: ");
    responder.wait_for("isakmpd: quick mode done (as responder): ");
    for (daemon, role) in [(&initiator, "initiator"), (&responder, "responder")] {
        let sas = normalized_sas(&daemon.result("S"));
        assert_eq!(sas, recording.sas(role), "{name}: S of the {role}");
    }
    assert_eq!(initiator.quit(), 0);
    responder.wait_for("made us delete live SA peer-x for proto 1");
    assert_eq!(responder.quit(), 0);
    for (daemon, role) in [(&initiator, "initiator"), (&responder, "responder")] {
        let texts = comparable(&daemon.texts());
        let texts: Vec<&String> = texts
            .iter()
            .filter(|t| !t.contains("command: 'Z'"))
            .collect();
        let recorded = comparable(&recording.log(role));
        assert_eq!(
            texts,
            recorded.iter().collect::<Vec<_>>(),
            "{name}: log of the {role}"
        );
    }
}

fn replays(test: &str, name: &str) {
    let Some(subject) = subject(test) else { return };
    replay(name, [subject, subject]);
}

macro_rules! recorded {
    ($($test:ident, $with_original:ident, $name:literal;)*) => {$(
        #[test]
        fn $test() {
            replays(stringify!($test), $name);
        }

        #[test]
        fn $with_original() {
            for pair in crossings(stringify!($with_original)) {
                eprintln!("{}: {} and {}", $name, pair[0].name(), pair[1].name());
                replay($name, pair);
            }
        }
    )*};
}

recorded! {
    main_mode_psk, original_main_mode_psk, "mm-psk-aes128-sha256-g14";
    main_mode_psk_3des_pfs, original_main_mode_psk_3des_pfs, "mm-psk-3des-sha1-g2-pfs";
    main_mode_rsa_x509, original_main_mode_rsa_x509, "mm-rsa-x509-aes256-sha256-g14-pfs";
    main_mode_rsa_raw_key, original_main_mode_rsa_raw_key, "mm-rsa-rawpubkey";
    aggressive_mode_psk, original_aggressive_mode_psk, "am-psk-aes128-sha1-g14";
    main_mode_ecp256, original_main_mode_ecp256, "mm-psk-aes128-sha256-ecp256-pfs19";
    main_mode_sha512_gcm, original_main_mode_sha512_gcm, "mm-psk-aes256-sha512-g14-gcm";
    quick_mode_ah, original_quick_mode_ah, "mm-psk-ah-sha256";
    several_transforms_and_suites, original_several_transforms_and_suites, "mm-multi-transform-multi-suite";
    mode_config_set, original_mode_config_set, "modecfg-set";
    mode_config_request, original_mode_config_request, "modecfg-request";
    nat_traversal, original_nat_traversal, "natt-mm-psk";
    ipv6_with_pfs, original_ipv6_with_pfs, "ipv6-mm-psk-pfs";
    policy_accepts, original_policy_accepts, "keynote-accept";
}
