//! Two isakmpd over IPv6 addresses that are only good on their link: as peers, to listen on, and the same ones on two
//! links.

use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::daemon::{Daemon, Setup};
use interop_tests::isakmpd::implementation::subject;
use interop_tests::isakmpd::network::Network;

#[test]
fn a_peer_on_a_link() {
    let Some(isakmpd) = subject("a_peer_on_a_link") else {
        return;
    };
    let network = Network::cable();
    network.link_local("wire");
    let (ours, theirs) = ("fd01::", "fd02::");
    let left = Tunnel::between("fe80::1%wire", "fe80::2%wire", ours, theirs);
    let right = Tunnel::between("fe80::2%wire", "fe80::1%wire", theirs, ours);
    let mut responder = Daemon::start(&network.right, isakmpd, &Setup::new(right.text()));
    let mut initiator = Daemon::start(&network.left, isakmpd, &Setup::new(left.text()));
    initiator.command("c conn-x");
    initiator.wait_for("isakmpd: quick mode done: ");
    responder.wait_for("isakmpd: quick mode done (as responder): ");
    for daemon in [&initiator, &responder] {
        assert_eq!((daemon.count(1), daemon.count(2)), (1, 1));
    }
    assert!(
        responder
            .result("S")
            .contains("SA name: peer-x (Phase 1/Responder)")
    );
    // Both ends are where they should be, and the peer's last words arrive.
    assert_eq!(initiator.quit(), 0);
    responder.wait_for("made us delete live SA peer-x for proto 1");
    assert_eq!(responder.quit(), 0);
}

/// The same address on two links is two peers, each with its own secret; every address is listened on.
#[test]
fn the_same_addresses_on_two_links() {
    let Some(isakmpd) = subject("the_same_addresses_on_two_links") else {
        return;
    };
    let network = Network::cable();
    let links = ["wire", "other"];
    links.iter().for_each(|link| network.link_local(link));
    let text = |local: &str, peer: &str, [own, other]: [u8; 2]| {
        let mut text =
            String::from("[Phase 2]\nPassive-connections= conn-wire,conn-other\n[Phase 1]\n");
        for link in links {
            text += &format!("{peer}%{link}= peer-{link}\n");
        }
        for (number, link) in links.iter().enumerate() {
            text += &format!(
                "[peer-{link}]\nPhase= 1\nAddress= {peer}%{link}\nLocal-address= {local}%{link}\n\
                 Configuration= mm\nAuthentication= of-{link}\n\
                 [conn-{link}]\nPhase= 2\nISAKMP-peer= peer-{link}\nConfiguration= qm\nLocal-ID= l-{link}\n\
                 Remote-ID= r-{link}\n\
                 [l-{link}]\nID-type= IPV4_ADDR_SUBNET\nNetwork= 192.168.{own}{number}.0\nNetmask= 255.255.255.0\n\
                 [r-{link}]\nID-type= IPV4_ADDR_SUBNET\nNetwork= 192.168.{other}{number}.0\nNetmask= 255.255.255.0\n"
            );
        }
        text + "[mm]\nEXCHANGE_TYPE= ID_PROT\nTransforms= AES-SHA2-256-GRP14\n\
                [qm]\nEXCHANGE_TYPE= QUICK_MODE\nSuites= QM-ESP-AES-SHA2-256-SUITE\n"
    };
    let (left, right) = (
        text("fe80::1", "fe80::2", [1, 2]),
        text("fe80::2", "fe80::1", [2, 1]),
    );
    let responder = Daemon::start(&network.right, isakmpd, &Setup::new(right));
    let initiator = Daemon::start(&network.left, isakmpd, &Setup::new(left));
    for link in links {
        initiator.command(&format!("c conn-{link}"));
    }
    for daemon in [&initiator, &responder] {
        daemon.eventually("both tunnels", || {
            let sas = daemon.result("S");
            links.iter().all(|link| {
                sas.contains(&format!("SA name: conn-{link} (Phase 2)"))
                    && sas.contains(&format!("SA name: peer-{link} (Phase 1/"))
            })
        });
        assert_eq!((daemon.count(1), daemon.count(2)), (2, 2));
        assert!(
            !daemon
                .texts()
                .iter()
                .any(|line| line.contains("dropped message"))
        );
    }
    // One link goes: what was on the other stays.
    initiator.command("t main peer-other");
    responder.wait_for("made us delete live SA peer-other for proto 1");
    let sas = responder.result("S");
    assert!(sas.contains("SA name: peer-wire (Phase 1/"), "{sas}");
    assert!(!sas.contains("SA name: peer-other (Phase 1/"), "{sas}");
}
