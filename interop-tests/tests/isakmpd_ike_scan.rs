//! ike-scan asks what isakmpd takes: another implementation's reading of the first two messages.

use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::daemon::{Daemon, Setup};
use interop_tests::isakmpd::implementation::{Implementation, subject};
use interop_tests::isakmpd::network::Network;
use interop_tests::peers::on_path;
use interop_tests::skip::skip;

fn ready(test: &str) -> Option<&'static Implementation> {
    let subject = subject(test)?;
    if !on_path("ike-scan") {
        skip(test, "no ike-scan");
        return None;
    }
    Some(subject)
}

fn scan(network: &Network, options: &str) -> String {
    network
        .left
        .output(&format!("ike-scan --nodns --retry=2 {options} 10.77.0.2"))
}

/// A responder that takes these transforms.
fn responder(
    network: &Network,
    subject: &Implementation,
    transforms: &str,
    exchange: &'static str,
) -> Daemon {
    let mut tunnel = Tunnel::right().with(transforms, "QM-ESP-AES-SHA-SUITE");
    tunnel.exchange = exchange;
    Daemon::start(&network.right, subject, &Setup::new(tunnel.text()))
}

#[test]
fn main_mode_handshake() {
    let Some(subject) = ready("main_mode_handshake") else {
        return;
    };
    let network = Network::cable();
    let _right = responder(&network, subject, "AES-SHA2-256-GRP14", "ID_PROT");
    let answer = scan(&network, "--trans='(1=7,14=128,2=4,3=1,4=14)'");
    assert!(answer.contains("Main Mode Handshake returned"), "{answer}");
    // ike-scan of 2013 knows no name for SHA2-256.
    for part in ["Enc=AES", "KeyLength=128", "Group=14:modp2048", "Auth=PSK"] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    // The vendor IDs, in the original's order.
    let ids = [
        "9826c552791aa1800ca6ff33aaf1e83b",
        "90cb80913ebb696e086381b5ec427b1f",
        "7d9419a65310ca6f2c179d9215529d56",
        "4a131c81070358455c5728f20e95452f",
        "afcad71368a1f1c96b8696fc77570100",
    ];
    let positions: Vec<Option<usize>> = ids.iter().map(|id| answer.find(id)).collect();
    assert!(
        positions.iter().all(Option::is_some) && positions.is_sorted(),
        "{answer}"
    );
}

#[test]
fn the_first_acceptable_of_the_initiators_transforms() {
    let Some(subject) = ready("the_first_acceptable_of_the_initiators_transforms") else {
        return;
    };
    let network = Network::cable();
    let _right = responder(&network, subject, "AES-SHA,3DES-SHA,AES-MD5", "ID_PROT");
    // ike-scan's own order: 3DES with SHA1 comes before 3DES with MD5, AES is not offered.
    let answer = scan(&network, "");
    assert!(
        answer.contains("Enc=3DES Hash=SHA1 Auth=PSK Group=2:modp1024"),
        "{answer}"
    );
    assert!(
        answer.contains("LifeDuration=28800") || answer.contains("LifeDuration(4)=0x00007080"),
        "{answer}"
    );
}

#[test]
fn nothing_acceptable() {
    let Some(subject) = ready("nothing_acceptable") else {
        return;
    };
    let network = Network::cable();
    let right = responder(&network, subject, "AES-SHA2-256-GRP14", "ID_PROT");
    let answer = scan(&network, "--trans=5,2,1,2");
    right.wait_for("due to notification type NO_PROPOSAL_CHOSEN");
    assert!(!answer.contains("Handshake returned"), "{answer}");
}

#[test]
fn aggressive_mode_handshake() {
    let Some(subject) = ready("aggressive_mode_handshake") else {
        return;
    };
    let network = Network::cable();
    let _right = responder(&network, subject, "AES-SHA-GRP14", "AGGRESSIVE");
    let answer = scan(
        &network,
        "--aggressive --dhgroup=14 --trans='(1=7,14=128,2=2,3=1,4=14)' --id=0x0a4d0001 --idtype=1",
    );
    assert!(
        answer.contains("Aggressive Mode Handshake returned"),
        "{answer}"
    );
    assert!(answer.contains("Hash(20 bytes)"), "{answer}");
    assert!(
        answer.contains("ID(Type=ID_IPV4_ADDR, Value=10.77.0.2)"),
        "{answer}"
    );
}

#[test]
fn the_wrong_exchange_gets_no_answer() {
    let Some(subject) = ready("the_wrong_exchange_gets_no_answer") else {
        return;
    };
    let network = Network::cable();
    let right = responder(&network, subject, "AES-SHA-GRP14", "ID_PROT");
    let answer = scan(
        &network,
        "--aggressive --dhgroup=14 --trans='(1=7,14=128,2=2,3=1,4=14)' --id=x --idtype=2",
    );
    right.wait_for("exchange_setup_p1: expected exchange type ID_PROT got AGGRESSIVE");
    assert!(!answer.contains("Handshake returned"), "{answer}");
}

#[test]
fn an_ike_2_message_gets_no_handshake() {
    let Some(subject) = ready("an_ike_2_message_gets_no_handshake") else {
        return;
    };
    let network = Network::cable();
    let mut right = responder(&network, subject, "AES-SHA-GRP14", "ID_PROT");
    let answer = scan(&network, "--ikev2");
    assert!(!answer.contains("Handshake returned"), "{answer}");
    right.wait_for("due to notification type INVALID_");
    assert!(right.runs());
}
