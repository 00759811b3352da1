//! Debian's libreswan as the peer, in both roles: phase 1, and the Quick Mode as far as a kernel without ESP lets
//! pluto go.

use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::daemon::{Daemon, Setup};
use interop_tests::isakmpd::implementation::{Implementation, subject};
use interop_tests::isakmpd::libreswan::{Libreswan, SECRETS, conf, libreswan};
use interop_tests::isakmpd::network::Network;
use interop_tests::skip::skip;

fn ready(test: &str) -> Option<&'static Implementation> {
    let subject = subject(test)?;
    if libreswan().is_none() {
        skip(
            test,
            "no libreswan in target/peers (interop-tests/peers.sh)",
        );
        return None;
    }
    Some(subject)
}

fn initiates(subject: &Implementation, tunnel: &Tunnel, conf: &str) {
    let network = Network::cable();
    let swan = Libreswan::start(&network.right, conf, SECRETS, &["x"]);
    let ours = Daemon::start(&network.left, subject, &Setup::new(tunnel.text()));
    ours.command("c conn-x");
    ours.wait_for("isakmpd: phase 1 done: initiator id 10.77.0.1, responder id 10.77.0.2");
    assert_eq!(ours.count(1), 1);
    swan.wait_for("IKE SA established");
}

fn responds(subject: &Implementation, tunnel: &Tunnel, conf: &str) {
    let network = Network::cable();
    let swan = Libreswan::start(&network.right, conf, SECRETS, &["x"]);
    let ours = Daemon::start(&network.left, subject, &Setup::new(tunnel.text()));
    let asked = swan.whack(
        &network.right,
        &["--asynchronous", "--initiate", "--name", "x"],
    );
    assert_eq!(asked.rc, 0, "{}", asked.stderr_text());
    ours.wait_for(
        "isakmpd: phase 1 done (as responder): initiator id 10.77.0.2, responder id 10.77.0.1",
    );
    assert_eq!(ours.count(1), 1);
    swan.wait_for("IKE SA established");
}

macro_rules! transforms {
    ($($test:ident: $transform:literal $ike:literal, $suite:literal $esp:literal;)*) => {$(
        #[test]
        fn $test() {
            let Some(subject) = ready(stringify!($test)) else { return };
            let tunnel = Tunnel::left().with($transform, $suite);
            let conf = conf($ike, $esp, "pfs=no");
            initiates(subject, &tunnel, &conf);
            responds(subject, &tunnel, &conf);
        }
    )*};
}

transforms! {
    aes_sha256_group_14: "AES-SHA2-256-GRP14" "aes128-sha2_256-modp2048", "QM-ESP-AES-SHA2-256-SUITE" "aes128-sha2_256";
    aes256_sha256_group_19: "AES-256-SHA2-256-GRP19" "aes256-sha2_256-dh19", "QM-ESP-AES-256-SHA2-256-SUITE" "aes256-sha2_256";
    aes_sha1_group_5: "AES-SHA-GRP5" "aes128-sha1-modp1536", "QM-ESP-AES-SHA-SUITE" "aes128-sha1";
    triple_des_group_14: "3DES-SHA-GRP14" "3des-sha1-modp2048", "QM-ESP-3DES-SHA-SUITE" "3des-sha1";
}

fn sha2_512(test: &str, transform: &str, ike: &str) {
    let Some(subject) = ready(test) else { return };
    if subject.original {
        eprintln!(
            "{test}: the original's HMAC of SHA2-384 and SHA2-512 is not the RFC's, so that it cannot"
        );
        return;
    }
    let tunnel = Tunnel::left().with(transform, "QM-ESP-AES-SHA2-256-SUITE");
    let conf = conf(ike, "aes128-sha2_256", "pfs=no");
    initiates(subject, &tunnel, &conf);
    responds(subject, &tunnel, &conf);
}

#[test]
fn aes256_sha512_group_14() {
    sha2_512(
        "aes256_sha512_group_14",
        "AES-256-SHA2-512-GRP14",
        "aes256-sha2_512-modp2048",
    );
}

#[test]
fn aes256_sha384_group_20() {
    sha2_512(
        "aes256_sha384_group_20",
        "AES-256-SHA2-384-GRP20",
        "aes256-sha2_384-dh20",
    );
}

#[test]
fn aggressive_mode() {
    let Some(subject) = ready("aggressive_mode") else {
        return;
    };
    let mut tunnel = Tunnel::left().with("AES-SHA2-256-GRP14", "QM-ESP-AES-SHA2-256-SUITE");
    tunnel.exchange = "AGGRESSIVE";
    let conf = conf(
        "aes128-sha2_256-modp2048",
        "aes128-sha2_256",
        "pfs=no\naggressive=yes",
    );
    initiates(subject, &tunnel, &conf);
    responds(subject, &tunnel, &conf);
}

#[test]
fn its_own_proposals() {
    let Some(subject) = ready("its_own_proposals") else {
        return;
    };
    let network = Network::cable();
    let conf = conf("", "", "")
        .replace("\tike=\n", "")
        .replace("\tesp=\n", "");
    let tunnel = Tunnel::left().with(
        "AES-256-SHA2-256-GRP14",
        "QM-ESP-AES-256-SHA2-256-PFS-GRP14-SUITE",
    );
    let swan = Libreswan::start(&network.right, &conf, SECRETS, &["x"]);
    let ours = Daemon::start(&network.left, subject, &Setup::new(tunnel.text()));
    ours.command("c conn-x");
    ours.wait_for("isakmpd: phase 1 done: ");
    swan.wait_for("IKE SA established");
}
