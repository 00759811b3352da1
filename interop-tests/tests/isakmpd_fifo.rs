//! Every command of the FIFO with its result files and log lines ("isakmpd.md 4").

use std::fs;

use interop_tests::isakmpd::PATIENCE;
use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::daemon::{Daemon, Setup, text_of};
use interop_tests::isakmpd::implementation::{Implementation, subject};
use interop_tests::isakmpd::network::Network;
use interop_tests::wait;

/// A daemon with nobody at the other end.
fn alone(test: &str) -> Option<(Network, Daemon)> {
    let subject = subject(test)?;
    let network = Network::cable();
    let daemon = Daemon::start(&network.left, subject, &Setup::new(Tunnel::left().text()));
    Some((network, daemon))
}

/// Two with a tunnel that the left one asked for.
fn two(test: &str) -> Option<(Network, Daemon, Daemon)> {
    let subject = subject(test)?;
    let (network, left, right) = connected(subject, &Tunnel::left(), &Tunnel::right());
    Some((network, left, right))
}

fn connected(subject: &Implementation, left: &Tunnel, right: &Tunnel) -> (Network, Daemon, Daemon) {
    let network = Network::cable();
    let right = Daemon::start(&network.right, subject, &Setup::new(right.text()));
    let left = Daemon::start(&network.left, subject, &Setup::new(left.text()));
    left.command("c conn-x");
    left.wait_for("isakmpd: quick mode done: ");
    right.wait_for("isakmpd: quick mode done (as responder): ");
    (network, left, right)
}

/// Commands and what they log, in order.
fn logs(daemon: &Daemon, cases: &[(&str, &[&str])]) {
    for (command, expected) in cases {
        let texts = daemon.command(command);
        let texts: Vec<&str> = texts
            .iter()
            .map(|t| t.trim_end_matches(" [priv]"))
            .collect();
        assert_eq!(&texts, expected, "{command}");
    }
}

/// Commands and what they leave in the result file.
fn results(daemon: &Daemon, cases: &[(&str, &str)]) {
    for (command, expected) in cases {
        assert_eq!(daemon.result(command), *expected, "{command}");
    }
}

#[test]
fn malformed_and_unknown_commands() {
    let Some((_network, daemon)) = alone("malformed_and_unknown_commands") else {
        return;
    };
    logs(
        &daemon,
        &[
            ("x", &["ui_handle_messages: unrecognized command: 'x'"]),
            (
                "  c conn-x",
                &["ui_handle_messages: unrecognized command: ' '"],
            ),
            ("c", &["ui_connect: command \"c\" malformed"]),
            ("t", &["ui_teardown: command \"t\" malformed"]),
            ("C", &["ui_config: command \"C\" malformed"]),
            ("C set", &["ui_config: command \"C set\" malformed"]),
            (
                "C set [a]:b",
                &["ui_config: command \"C set [a]:b\" malformed"],
            ),
            (
                "C frob [a]:b=c",
                &["ui_config: command \"C frob [a]:b=c\" malformed"],
            ),
            ("C get a:b", &["ui_config: command \"C get a:b\" malformed"]),
            ("C rm [a]", &["ui_config: command \"C rm [a]\" malformed"]),
            ("C rms a", &["ui_config: command \"C rms a\" malformed"]),
            ("d", &["ui_delete: command \"d\" malformed"]),
            (
                "d xyz -",
                &["ui_delete: command \"d xyz -\" has bad arguments"],
            ),
            (
                "d 00112233445566778899aabbccddeeff -",
                &["ui_delete: command \"d 00112233445566778899aabbccddeeff -\" found no SA"],
            ),
            ("D", &["ui_debug: command \"D\" malformed"]),
            ("D A", &["ui_debug: command \"D A\" malformed"]),
            ("D x 3", &["ui_debug: command \"D x 3\" malformed"]),
            ("M", &["ui_setmode: command \"M\" malformed"]),
            ("M other", &["ui_setmode: command \"M other\" malformed"]),
            ("p", &["ui_packetlog: command \"p\" malformed"]),
            (
                "Q now",
                &["ui_shutdown_daemon: command \"Q now\" malformed"],
            ),
        ],
    );
}

#[test]
fn debug_levels() {
    let Some((_network, daemon)) = alone("debug_levels") else {
        return;
    };
    logs(
        &daemon,
        &[
            (
                "D 10 20",
                &["log_debug_cmd: log level changed from 0 to 20 for class 10"],
            ),
            (
                "D 10 20",
                &["log_debug_cmd: log level unchanged for class 10"],
            ),
            (
                "D 10 0",
                &["log_debug_cmd: log level changed from 20 to 0 for class 10"],
            ),
            ("D 11 1", &["log_debug_cmd: invalid debugging class 11"]),
            ("D -1 1", &["log_debug_cmd: invalid debugging class -1"]),
            (
                "D 3 -1",
                &["log_debug_cmd: invalid debugging level -1 for class 3"],
            ),
        ],
    );
    let all = daemon.command("D A 1");
    let expected: Vec<String> = (0..11)
        .map(|class| format!("log_debug_cmd: log level changed from 0 to 1 for class {class}"))
        .collect();
    // A class may show something of its own at level 1.
    let all: Vec<String> = all
        .into_iter()
        .filter(|t| t.starts_with("log_debug_cmd"))
        .collect();
    assert_eq!(all, expected);
    daemon.command("D T");
    let all = daemon.command("D 10 0");
    assert_eq!(all, ["log_debug_cmd: log level unchanged for class 10"]);
    daemon.command("D T");
    let all = daemon.command("D 10 0");
    assert!(
        all.contains(&"log_debug_cmd: log level changed from 1 to 0 for class 10".to_owned()),
        "{all:#?}"
    );
}

#[test]
fn a_debug_line_has_class_and_level() {
    let Some((_network, daemon)) = alone("a_debug_line_has_class_and_level") else {
        return;
    };
    daemon.command("D 10 30");
    let texts = daemon.command("C get [General]:Retransmits\nM passive\nM active");
    for expected in [
        "UI   30 ui_config: \"C get [General]:Retransmits\"",
        "UI   20 ui_setmode: switching to passive mode",
        "UI   20 ui_setmode: switching to active mode",
    ] {
        assert!(
            texts.iter().any(|t| t == expected),
            "{expected}: {texts:#?}"
        );
    }
}

#[test]
fn configuration() {
    let Some((_network, daemon)) = alone("configuration") else {
        return;
    };
    results(
        &daemon,
        &[
            ("C get [General]:Retransmits", "3\n"),
            ("C get [general]:retransmits", "3\n"),
            ("C GET [General]:Exchange-max-time", "120\n"),
            ("C get [General]:Check-interval", ""),
            ("C get [General]:Listen-on", "10.77.0.1\n"),
            ("C get [peer-x]:Address", "10.77.0.2\n"),
            ("C get [peer-x]:nothing", ""),
            ("C get [Phase 1]:Default", "Default-phase-1\n"),
            (
                "C get [AES-SHA2-256-GRP14]:GROUP_DESCRIPTION",
                "MODP_2048\n",
            ),
            (
                "C get [AES-SHA2-256-GRP14-RSA_SIG]:AUTHENTICATION_METHOD",
                "RSA_SIG\n",
            ),
            ("C get [AES-SHA]:KEY_LENGTH", "128,128:256\n"),
            ("C get [3DES-SHA]:KEY_LENGTH", ""),
            (
                "C get [QM-ESP-AES-SHA2-256-SUITE]:Protocols",
                "QM-ESP-AES-SHA2-256\n",
            ),
            ("C get [QM-ESP-AES-SHA2-256]:PROTOCOL_ID", "IPSEC_ESP\n"),
            (
                "C get [QM-ESP-AES-SHA2-256-XF]:AUTHENTICATION_ALGORITHM",
                "HMAC_SHA2_256\n",
            ),
            (
                "C get [QM-ESP-TRP-AESGCM-256-XF]:ENCAPSULATION_MODE",
                "TRANSPORT\n",
            ),
            (
                "C get [QM-AH-RIPEMD-PFS-GRP5-XF]:GROUP_DESCRIPTION",
                "MODP_1536\n",
            ),
            ("C get [LIFE_MAIN_MODE]:LIFE_DURATION", "3600,60:86400\n"),
            ("C get [LIFE_QUICK_MODE]:LIFE_DURATION", "1200,60:86400\n"),
            (
                "C get [X509-certificates]:Private-key",
                "/etc/isakmpd/private/local.key\n",
            ),
            (
                "C get [KeyNote]:Credential-directory",
                "/etc/isakmpd/keynote/\n",
            ),
        ],
    );
    logs(
        &daemon,
        &[
            ("C set [new section]:Tag=value", &[]),
            (
                "C set [new section]:Tag=other",
                &["conf_set_now: duplicate tag [new section]:Tag, ignoring..."],
            ),
        ],
    );
    results(&daemon, &[("C get [new section]:Tag", "value\n")]);
    logs(&daemon, &[("C set [new section]:Tag=other force", &[])]);
    results(&daemon, &[("C get [NEW SECTION]:tag", "other\n")]);
    logs(
        &daemon,
        &[
            ("C add [new section]:Tag=more", &[]),
            ("C add [new section]:Tag=more", &[]),
        ],
    );
    results(&daemon, &[("C get [new section]:Tag", "other,more\n")]);
    logs(&daemon, &[("C rmv [new section]:Tag=other", &[])]);
    results(&daemon, &[("C get [new section]:Tag", "more\n")]);
    logs(&daemon, &[("C rmv [new section]:Tag=more", &[])]);
    results(&daemon, &[("C get [new section]:Tag", "")]);
    logs(
        &daemon,
        &[
            ("C add [new section]:Other=1", &[]),
            ("C set [new section]:Third=3", &[]),
            ("C rm [new section]:Other", &[]),
        ],
    );
    results(
        &daemon,
        &[
            ("C get [new section]:Other", ""),
            ("C get [new section]:Third", "3\n"),
        ],
    );
    logs(&daemon, &[("C rms [new section]", &[])]);
    results(&daemon, &[("C get [new section]:Third", "")]);
}

#[test]
fn reinitializing_forgets_what_was_set() {
    let Some((_network, daemon)) = alone("reinitializing_forgets_what_was_set") else {
        return;
    };
    daemon.command("C set [new]:Tag=value\nC set [General]:Retransmits=9 force");
    results(
        &daemon,
        &[
            ("C get [new]:Tag", "value\n"),
            ("C get [General]:Retransmits", "9\n"),
        ],
    );
    logs(&daemon, &[("R", &["isakmpd: reinitializing daemon"])]);
    results(
        &daemon,
        &[
            ("C get [new]:Tag", ""),
            ("C get [General]:Retransmits", "3\n"),
        ],
    );
    // What is changed in the file is what holds then.
    let text = Tunnel::left().general("Retransmits= 5").text();
    daemon.site().write("isakmpd.conf", text.as_bytes(), 0o600);
    logs(&daemon, &[("R", &["isakmpd: reinitializing daemon"])]);
    results(&daemon, &[("C get [General]:Retransmits", "5\n")]);
}

#[test]
fn a_connection_comes_by_configuration_alone() {
    let test = "a_connection_comes_by_configuration_alone";
    let Some(subject) = subject(test) else { return };
    let network = Network::cable();
    let right = Daemon::start(&network.right, subject, &Setup::new(Tunnel::right().text()));
    let left = Daemon::start(&network.left, subject, &Setup::new(Tunnel::left().text()));
    // The lists are read again 5 seconds later.
    left.command("C add [Phase 2]:Connections=conn-x");
    left.wait_for("isakmpd: quick mode done: ");
    right.wait_for("isakmpd: quick mode done (as responder): ");
}

#[test]
fn capture() {
    let Some((_network, daemon)) = alone("capture") else {
        return;
    };
    logs(
        &daemon,
        &[
            (
                "p on",
                &["log_packet_init: starting IKE packet capture to file \"/var/run/isakmpd.pcap\""],
            ),
            (
                "p on",
                &["log_packet_restart: capture already active on file \"/var/run/isakmpd.pcap\""],
            ),
            ("p off", &["log_packet_stop: stopped capture"]),
            ("p off", &[]),
            (
                "p on=/var/run/other.pcap",
                &["log_packet_init: starting IKE packet capture to file \"/var/run/other.pcap\""],
            ),
            ("p off", &["log_packet_stop: stopped capture"]),
            ("p nonsense", &[]),
        ],
    );
    for file in ["isakmpd.pcap", "other.pcap"] {
        let header = fs::read(daemon.site().run_dir().join(file)).expect("a capture");
        let link_type = 108_u32.to_ne_bytes();
        assert_eq!(
            header.get(..4),
            Some(&0xa1b2_c3d4_u32.to_ne_bytes()[..]),
            "{file}"
        );
        assert_eq!(header.get(20..24), Some(&link_type[..]), "{file}");
        assert_eq!(header.len(), 24);
    }
}

#[test]
fn teardown_of_a_connection() {
    let Some((_network, left, right)) = two("teardown_of_a_connection") else {
        return;
    };
    let mark = right.mark();
    left.command("t conn-x");
    right.wait_for_since(mark, "made us delete live SA conn-x for proto 3");
    assert_eq!((left.count(1), left.count(2)), (1, 0));
    assert_eq!((right.count(1), right.count(2)), (1, 0));
    // It comes again, with the phase 1 SA that is still there.
    let mark = left.mark();
    left.command("c conn-x");
    left.wait_for_since(mark, "isakmpd: quick mode done: ");
    assert!(
        !left
            .texts_since(mark)
            .iter()
            .any(|t| t.contains("phase 1 done"))
    );
    left.command("t quick conn-x");
    left.eventually("no phase 2 SA", || left.count(2) == 0);
}

#[test]
fn teardown_of_a_peer() {
    let Some((_network, left, right)) = two("teardown_of_a_peer") else {
        return;
    };
    let mark = right.mark();
    left.command("t main peer-x");
    right.wait_for_since(mark, "made us delete live SA peer-x for proto 1");
    assert_eq!((left.count(1), left.count(2)), (0, 1));
    right.eventually("no phase 1 SA", || {
        (right.count(1), right.count(2)) == (0, 1)
    });
}

#[test]
fn teardown_by_address() {
    let Some((_network, left, right)) = two("teardown_by_address") else {
        return;
    };
    left.command("t main 10.77.0.2");
    if left.is_original() {
        // An expected difference: it compares the port too, and none was given.
        assert_eq!(left.count(1), 1);
        return;
    }
    right.wait_for("made us delete live SA peer-x for proto 1");
    assert_eq!(left.count(1), 0);
}

#[test]
fn teardown_of_everything() {
    let Some((_network, left, right)) = two("teardown_of_everything") else {
        return;
    };
    let mark = right.mark();
    left.command("T");
    right.wait_for_since(mark, "made us delete live SA conn-x for proto 3");
    assert_eq!((left.count(1), left.count(2)), (1, 0));
}

#[test]
fn delete_by_cookies() {
    let Some((_network, left, right)) = two("delete_by_cookies") else {
        return;
    };
    let sas = left.sas();
    let line = sas
        .iter()
        .flatten()
        .find(|l| l.starts_with("icookie "))
        .expect("cookies");
    let words: Vec<&str> = line.split(' ').collect();
    let ["icookie", i, "rcookie", r] = words[..] else {
        panic!("{line}")
    };
    let mark = right.mark();
    left.command(&format!("d {i}{r} -"));
    right.wait_for_since(mark, "made us delete live SA peer-x for proto 1");
    assert_eq!((left.count(1), left.count(2)), (0, 1));
}

#[test]
fn passive_mode() {
    let Some(subject) = subject("passive_mode") else {
        return;
    };
    let network = Network::cable();
    let right = Daemon::start(&network.right, subject, &Setup::new(Tunnel::right().text()));
    let left = Daemon::start(&network.left, subject, &Setup::new(Tunnel::left().text()));
    left.command("M passive\nc conn-x");
    // The other side may ask.
    right.command("c conn-x");
    right.wait_for("isakmpd: quick mode done: ");
    assert!(!left.texts().iter().any(|t| t.contains("quick mode done: ")));
    right.command("t conn-x");
    left.wait_for("made us delete live SA conn-x for proto 3");
    let mark = left.mark();
    left.command("M active\nt conn-x\nc conn-x");
    left.wait_for_since(mark, "isakmpd: quick mode done: ");
}

#[test]
fn report() {
    let Some((_network, left, _right)) = two("report") else {
        return;
    };
    let by_signal: Vec<String> = left
        .report()
        .lines()
        .map(|line| text_of(line).trim_end_matches(" [priv]").to_owned())
        .collect();
    let mut by_command = left.command("r");
    by_command.retain(|line| line != "SIGUSR1 received");
    for (how, lines) in [("USR1", &by_signal), ("r", &by_command)] {
        assert!(
            lines.iter().all(|l| l.starts_with("Report> ")),
            "{how}: {lines:#?}"
        );
        let positions: Vec<Option<usize>> = [
            "Report> sa_report: ",
            "Report> transport_report: ",
            "Report> connection_report: connection conn-x next check ",
            "Report> timer_report: event ",
            "Report> conf_report: dumping running configuration",
        ]
        .iter()
        .map(|start| lines.iter().position(|l| l.starts_with(start)))
        .collect();
        assert!(
            positions.iter().all(Option::is_some) && positions.is_sorted(),
            "{how}: {positions:?} {lines:#?}"
        );
        // A wanted difference: secrets are shown in the file only, which is root's, and not in the log.
        let shown = left.is_original() || how == "USR1";
        let secret = if shown { "mekmitasdigoat" } else { "..." };
        for expected in [
            "Report> [peer-x]",
            "Report> Address=\t10.77.0.2",
            &format!("Report> Authentication=\t{secret}"),
        ] {
            assert!(
                lines.iter().any(|l| l == expected),
                "{how}: {expected}: {lines:#?}"
            );
        }
        // What is built in is not shown.
        assert!(!lines.iter().any(|l| l.contains("LIFE_MAIN_MODE")), "{how}");
    }
}

#[test]
fn many_commands_in_one_write() {
    let Some((_network, daemon)) = alone("many_commands_in_one_write") else {
        return;
    };
    let sets: Vec<String> = (0..40).map(|i| format!("C set [s{i}]:T={i}")).collect();
    daemon.command(&sets.join("\n"));
    results(
        &daemon,
        &[("C get [s0]:T", "0\n"), ("C get [s39]:T", "39\n")],
    );
}

#[test]
fn a_command_in_pieces() {
    let Some((_network, daemon)) = alone("a_command_in_pieces") else {
        return;
    };
    use std::io::Write;
    let fifo = daemon.site().run_dir().join("isakmpd.fifo");
    let mut fifo = fs::OpenOptions::new()
        .write(true)
        .open(fifo)
        .expect("the FIFO");
    for piece in ["C set [pie", "ce]:Ta", "g=whole", "\n"] {
        fifo.write_all(piece.as_bytes()).expect("writing");
        // The daemon has read what there was when the pipe is empty again.
        let empty = wait::until(PATIENCE, || {
            let pending = rustix::io::ioctl_fionread(&fifo).expect("the pipe's length");
            (pending == 0).then_some(())
        });
        assert!(empty.is_some());
    }
    results(&daemon, &[("C get [piece]:Tag", "whole\n")]);
}
