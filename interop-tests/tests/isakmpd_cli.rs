//! isakmpd's options, usage text, exit statuses and what is fatal at its start ("isakmpd.md 1" and 2).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::daemon::{Daemon, Setup, Site, text_of};
use interop_tests::isakmpd::implementation::{Implementation, subject};
use interop_tests::isakmpd::network::Network;
use interop_tests::program::Finished;

const USAGE: &str = "usage: isakmpd [-46adKLnSTv] [-c config-file] [-D class=level] [-f fifo]
          [-i pid-file] [-l packetlog-file] [-N udpencap-port]
          [-p listen-port] [-R report-file]
";

/// The usual configuration.
fn setup() -> Setup {
    Setup::new(Tunnel::left().text())
}

/// Runs isakmpd with these options to its end.
fn run(subject: &Implementation, network: &Network, setup: &Setup, options: &[&str]) -> Finished {
    Site::new(&network.left, setup).run(&network.left, subject, options)
}

/// Lines of stderr without times.
fn texts(finished: &Finished) -> Vec<String> {
    finished.stderr_text().lines().map(text_of).collect()
}

/// It ends with status 1, having said this.
fn is_fatal(test: &str, options: &[&str], setup: &Setup, expected: &str) {
    let Some(subject) = subject(test) else { return };
    let network = Network::cable();
    let finished = run(subject, &network, setup, options);
    let texts = texts(&finished);
    assert_eq!(finished.rc, 1, "{options:?}: {texts:#?}");
    assert!(
        texts
            .iter()
            .any(|t| t.trim_end_matches(" [priv]") == expected),
        "{options:?}: no {expected:?}: {texts:#?}"
    );
}

#[test]
fn usage() {
    let Some(subject) = subject("usage") else {
        return;
    };
    let network = Network::cable();
    let wrong: [&[&str]; 7] = [
        &["-h"],
        &["-x"],
        &["operand"],
        &["-d", "-n", "operand"],
        &["-p"],
        &["-dnx"],
        &["-"],
    ];
    for options in wrong {
        let finished = run(subject, &network, &setup(), options);
        assert_eq!(finished.rc, 1, "{options:?}");
        let stderr = finished.stderr_text();
        assert!(stderr.ends_with(USAGE), "{options:?}: {stderr}");
        assert!(finished.stdout.is_empty(), "{options:?}");
    }
}

#[test]
fn options_cluster_and_take_their_value_either_way() {
    let Some(subject) = subject("options_cluster_and_take_their_value_either_way") else {
        return;
    };
    for options in [
        &["-nKv", "-p500", "-N", "4500"][..],
        &["-nKvp", "500"],
        &["-v4n6K"],
    ] {
        let network = Network::cable();
        let site = Site::new(&network.left, &setup());
        let mut daemon = Daemon::start_in(site, &network.left, subject, options);
        daemon.wait_for("isakmpd: starting");
        daemon.ready();
        assert_eq!(daemon.quit(), 0, "{options:?}: {:#?}", daemon.lines());
        let texts = daemon.texts();
        let last = texts.last().map(|t| t.trim_end_matches(" [priv]"));
        assert_eq!(last, Some("isakmpd: exit"));
    }
}

#[test]
fn options_of_2004_are_accepted() {
    let Some(subject) = subject("options_of_2004_are_accepted") else {
        return;
    };
    for options in [&["-nK", "-P", "500"][..], &["-nK", "-r", "1"]] {
        let network = Network::cable();
        let site = Site::new(&network.left, &setup());
        if subject.original {
            // An expected difference: the original of 2019 no longer has them.
            let finished = site.run(&network.left, subject, options);
            assert!(finished.stderr_text().ends_with(USAGE));
            continue;
        }
        let mut daemon = Daemon::start_in(site, &network.left, subject, options);
        daemon.ready();
        assert_eq!(daemon.quit(), 0, "{options:?}");
    }
}

#[test]
fn debug_levels() {
    let Some(subject) = subject("debug_levels") else {
        return;
    };
    let network = Network::cable();
    let mut setup = setup();
    for option in [
        "-D", "foo", "-D", "A=x", "-D", "99=5", "-D", "7=-1", "-D", "7=0", "-D", "8=5",
    ] {
        setup = setup.option(option);
    }
    let daemon = Daemon::start(&network.left, subject, &setup);
    let texts: Vec<String> = daemon
        .texts()
        .iter()
        .map(|t| t.trim_end_matches(" [priv]").to_owned())
        .collect();
    for expected in [
        "parse_args: -D argument unparseable: foo",
        "parse_args: -D argument unparseable: A=x",
        "log_debug_cmd: invalid debugging class 99",
        "log_debug_cmd: invalid debugging level -1 for class 7",
        "log_debug_cmd: log level unchanged for class 7",
        "log_debug_cmd: log level changed from 0 to 5 for class 8",
    ] {
        assert!(
            texts.iter().any(|t| t == expected),
            "{expected}: {texts:#?}"
        );
    }
}

#[test]
fn pid_file_is_written_anew_and_removed() {
    let Some(subject) = subject("pid_file_is_written_anew_and_removed") else {
        return;
    };
    let network = Network::cable();
    let site = Site::new(&network.left, &setup());
    let pid_file = site.run_dir().join("isakmpd.pid");
    fs::write(&pid_file, "1 is what an old one says\n").expect("an old pid file");
    let mut daemon = Daemon::start_in(site, &network.left, subject, &["-nKv"]);
    daemon.ready();
    let text = fs::read_to_string(&pid_file).expect("the pid file");
    assert_eq!(text, format!("{}\n", daemon.pid()));
    let mode = pid_file
        .metadata()
        .expect("the pid file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
    let fifo = daemon.site().run_dir().join("isakmpd.fifo");
    let mode = fifo.metadata().expect("the FIFO").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(daemon.quit(), 0);
    assert!(!pid_file.exists() && !fifo.exists());
}

#[test]
fn files_at_other_places() {
    let Some(subject) = subject("files_at_other_places") else {
        return;
    };
    let network = Network::cable();
    let setup = setup().file(
        "other.conf",
        Tunnel::left().general("Retransmits= 7").text(),
        0o600,
    );
    let site = Site::new(&network.left, &setup);
    let run = site.run_dir();
    let options = [
        "-nKv",
        "-c",
        "/etc/isakmpd/other.conf",
        "-i",
        "/run/other.pid",
        "-l",
        "/var/run/other.pcap",
        "-R",
        "/var/run/other.report",
    ];
    let mut daemon = Daemon::start_in(site, &network.left, subject, &options);
    daemon.ready();
    assert_eq!(daemon.result("C get [General]:Retransmits"), "7\n");
    daemon.signal("USR1");
    daemon.wait_for("SIGUSR1 received");
    let report = run.join("other.report");
    daemon.eventually("the report", || report.exists());
    let mode = report.metadata().expect("the report").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(run.join("other.pid").exists());
    let mode = run
        .join("other.pcap")
        .metadata()
        .expect("the capture")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(daemon.quit(), 0);
}

#[test]
fn paths_outside_are_refused() {
    let Some(subject) = subject("paths_outside_are_refused") else {
        return;
    };
    let network = Network::cable();
    let site = Site::new(&network.left, &setup());
    let options = [
        "-nKv",
        "-c",
        "/tmp/x.conf",
        "-l",
        "/tmp/x.pcap",
        "-R",
        "/tmp/x.report",
    ];
    let mut daemon = Daemon::start_in(site, &network.left, subject, &options);
    daemon.ready();
    daemon.wait_for("m_priv_getfd: illegal path \"/tmp/x.conf\"");
    daemon.wait_for("m_priv_getfd: illegal path \"/tmp/x.pcap\"");
    daemon.signal("USR1");
    daemon.wait_for("m_priv_getfd: illegal path \"/tmp/x.report\"");
    // Without its configuration it goes on, with what is built in.
    assert_eq!(daemon.result("C get [General]:Listen-on"), "");
    assert_eq!(daemon.quit(), 0);
}

#[test]
fn a_configuration_others_can_read_is_as_none() {
    let Some(subject) = subject("a_configuration_others_can_read_is_as_none") else {
        return;
    };
    let network = Network::cable();
    let mut setup = setup();
    let text = setup.configuration.take().expect("a configuration");
    let setup = setup.file("isakmpd.conf", text, 0o640);
    let daemon = Daemon::start(&network.left, subject, &setup);
    daemon.wait_for(
        "check_file_secrecy_fd: not loading /etc/isakmpd/isakmpd.conf - too open permissions",
    );
    assert_eq!(daemon.result("C get [General]:Listen-on"), "");
    assert_eq!(daemon.result("C get [General]:Retransmits"), "3\n");
}

#[test]
fn no_configuration_is_no_error() {
    let Some(subject) = subject("no_configuration_is_no_error") else {
        return;
    };
    let network = Network::cable();
    let mut setup = setup();
    setup.configuration = None;
    let mut daemon = Daemon::start(&network.left, subject, &setup);
    assert_eq!(
        daemon.result("C get [Phase 1]:Default"),
        "Default-phase-1\n"
    );
    assert_eq!(daemon.quit(), 0);
}

#[test]
fn other_ports() {
    let Some(subject) = subject("other_ports") else {
        return;
    };
    let network = Network::cable();
    let setup = setup()
        .option("-p")
        .option("2500")
        .option("-N")
        .option("24500");
    let daemon = Daemon::start(&network.left, subject, &setup);
    let sockets = network.left.output("ss -Hlnu");
    for port in [":2500 ", ":24500 "] {
        assert!(sockets.contains(&format!("10.77.0.1{port}")), "{sockets}");
    }
    assert!(
        !sockets.contains(":500 ") && !sockets.contains(":4500 "),
        "{sockets}"
    );
    drop(daemon);
}

#[test]
fn without_nat_t_port_4500_is_not_bound() {
    let Some(subject) = subject("without_nat_t_port_4500_is_not_bound") else {
        return;
    };
    let network = Network::cable();
    let _daemon = Daemon::start(&network.left, subject, &setup().option("-T"));
    let sockets = network.left.output("ss -Hlnu");
    assert!(sockets.contains("10.77.0.1:500 "), "{sockets}");
    assert!(!sockets.contains(":4500 "), "{sockets}");
}

#[test]
fn one_family_only() {
    let Some(subject) = subject("one_family_only") else {
        return;
    };
    for (option, here, not_here) in [
        ("-4", "10.77.0.1:500 ", "]:500 "),
        ("-6", "[fd77::1]:500 ", ".1:500 "),
    ] {
        let network = Network::cable();
        let mut setup = setup().option(option);
        setup.configuration = None;
        let _daemon = Daemon::start(&network.left, subject, &setup);
        let sockets = network.left.output("ss -Hlnu");
        assert!(sockets.contains(here), "{option}: {sockets}");
        assert!(!sockets.contains(not_here), "{option}: {sockets}");
    }
}

#[test]
fn commands_on_stdin_end_it_too() {
    let Some(subject) = subject("commands_on_stdin_end_it_too") else {
        return;
    };
    let network = Network::cable();
    let site = Site::new(&network.left, &setup());
    let mut command = site.stage().command(&network.left, "sh");
    command.args([
        "-c",
        "(echo 'C get [General]:Retransmits'; sleep 0.2; echo Q; sleep 20) | \"$0\" -d -nKv -f -",
    ]);
    command.arg(&subject.isakmpd);
    let mut daemon = interop_tests::isakmpd::process::Process::start(&mut command);
    let said = daemon.wait_for(
        0,
        "ui_shutdown_daemon: received shutdown command",
        interop_tests::isakmpd::PATIENCE,
    );
    assert!(said.is_some(), "{:#?}", daemon.lines());
    let said = daemon.wait_for(0, "isakmpd: exit", interop_tests::isakmpd::PATIENCE);
    assert!(said.is_some(), "{:#?}", daemon.lines());
    daemon.kill();
    let result = fs::read_to_string(site.run_dir().join("isakmpd.result")).expect("the result");
    assert_eq!(result, "3\n");
}

#[test]
fn as_a_daemon_it_goes_to_the_background() {
    let Some(subject) = subject("as_a_daemon_it_goes_to_the_background") else {
        return;
    };
    let network = Network::cable();
    let site = Site::new(&network.left, &setup());
    let finished = site.run(&network.left, subject, &["-nK"]);
    assert_eq!((finished.rc, finished.stderr_text()), (0, String::new()));
    let pid_file = site.run_dir().join("isakmpd.pid");
    let pid: u32 = interop_tests::wait::until(interop_tests::isakmpd::PATIENCE, || {
        fs::read_to_string(&pid_file).ok()?.trim().parse().ok()
    })
    .expect("a pid file");
    interop_tests::program::signal(pid, "TERM");
    let gone = interop_tests::wait::until(interop_tests::isakmpd::PATIENCE, || {
        (!pid_file.exists()).then_some(())
    });
    assert!(gone.is_some(), "it does not end");
}

#[test]
fn signals() {
    let Some(subject) = subject("signals") else {
        return;
    };
    for interrupted in [false, true] {
        let network = Network::cable();
        let mut daemon = Daemon::start(&network.left, subject, &setup());
        daemon.signal("HUP");
        daemon.wait_for("SIGHUP received");
        daemon.wait_for("isakmpd: reinitializing daemon");
        if interrupted {
            daemon.interrupt();
        } else {
            daemon.signal("TERM");
        }
        let status = daemon.wait_end();
        if interrupted && subject.original {
            // An expected difference: the original's privileged half has no handler for SIGINT and dies of it.
            assert_eq!(status, -2);
            continue;
        }
        assert_eq!(status, 0, "{:#?}", daemon.lines());
        daemon.wait_for("isakmpd: exit");
        let texts = daemon.texts();
        let end: Vec<&str> = texts
            .iter()
            .rev()
            .take(2)
            .map(|t| t.trim_end_matches(" [priv]"))
            .collect();
        assert_eq!(end, ["isakmpd: exit", "isakmpd: shutting down..."]);
    }
}

#[test]
fn fatal_without_a_policy_file() {
    let mut setup = setup();
    setup.options.clear();
    is_fatal(
        "fatal_without_a_policy_file",
        &["-d", "-n"],
        &setup,
        "policy_init: open (\"/etc/isakmpd/isakmpd.policy\", O_RDONLY) failed: No such file or directory",
    );
}

#[test]
fn fatal_with_a_policy_file_others_can_read() {
    is_fatal(
        "fatal_with_a_policy_file_others_can_read",
        &["-d", "-n"],
        &setup().file("isakmpd.policy", "Authorizer: \"POLICY\"\n", 0o644),
        "check_file_secrecy_fd: not loading /etc/isakmpd/isakmpd.policy - too open permissions",
    );
}

#[test]
fn fatal_pid_file() {
    is_fatal(
        "fatal_pid_file",
        &["-d", "-nK", "-i", "/nosuch/pid"],
        &setup(),
        "write_pid_file: fopen (\"/nosuch/pid\", \"w\") failed: No such file or directory",
    );
}

#[test]
fn fatal_fifo() {
    is_fatal(
        "fatal_fifo",
        &["-d", "-nK", "-f", "/nosuch/fifo"],
        &setup(),
        "ui_init: mkfifo (\"/nosuch/fifo\", 0600) failed: No such file or directory",
    );
}

#[test]
fn fatal_where_the_fifo_is_a_file() {
    is_fatal(
        "fatal_where_the_fifo_is_a_file",
        &["-d", "-nK", "-f", "/etc/isakmpd/a-file"],
        &setup().file("a-file", "", 0o600),
        "ui_init: could not create FIFO \"/etc/isakmpd/a-file\": File exists",
    );
}

#[test]
fn fatal_ports() {
    for (options, expected) in [
        (["-p", "600"], "Disallowed port 600"),
        (["-N", "80"], "Disallowed port 80"),
        (["-p", "nosuch"], "virtual_bind: bad port \"nosuch\""),
        (["-p", "70000"], "text2port: port 70000 out of range"),
        (["-N", "x"], "virtual_bind: bad encap port \"x\""),
    ] {
        let options = ["-d", "-nK", options[0], options[1]];
        is_fatal("fatal_ports", &options, &setup(), expected);
    }
}

/// An interface of the kernel's that there is not, and what is said of it.
#[test]
fn fatal_interface_of_the_kernel() {
    let test = "fatal_interface_of_the_kernel";
    if subject(test).is_none_or(|subject| subject.original) {
        return;
    }
    let setup = setup().variable("KX_ISAKMPD_KERNEL", "netlink");
    let expected = "app_init: KX_ISAKMPD_KERNEL=netlink is neither xfrm nor pfkey";
    is_fatal(test, &["-d", "-K"], &setup, expected);
}

/// True while the daemon is one process: then there is nobody to become another user, and all lines are of the
/// privileged half.
fn one_process(test: &str, daemon: &Daemon) -> bool {
    let one = daemon.worker().is_none();
    if one {
        eprintln!("{test}: no privilege separation yet");
    }
    one
}

#[test]
fn lines_of_the_privileged_half_say_so() {
    let test = "lines_of_the_privileged_half_say_so";
    let Some(subject) = subject(test) else { return };
    let network = Network::cable();
    let daemon = Daemon::start(&network.left, subject, &setup().option("-L"));
    if one_process(test, &daemon) {
        return;
    }
    daemon.command("p off\np on=/tmp/x\nD 0 0");
    let texts = daemon.texts();
    for expected in [
        "isakmpd: starting [priv]",
        "m_priv_getfd: illegal path \"/tmp/x\" [priv]",
        "log_packet_init: starting IKE packet capture to file \"/var/run/isakmpd.pcap\"",
        "log_debug_cmd: log level unchanged for class 0",
    ] {
        assert!(
            texts.iter().any(|t| t == expected),
            "{expected}: {texts:#?}"
        );
    }
}

#[test]
fn fatal_without_the_account() {
    let test = "fatal_without_the_account";
    let Some(subject) = subject(test) else { return };
    let network = Network::cable();
    let usual = Daemon::start(&network.right, subject, &setup());
    if one_process(test, &usual) {
        return;
    }
    let site = Site::new(&network.left, &setup());
    site.stage().without_account();
    let finished = site.run(&network.left, subject, &["-d", "-nK"]);
    let texts = texts(&finished);
    assert_eq!(finished.rc, 1, "{texts:#?}");
    let expected = "monitor_init: getpwnam(\"_isakmpd\") failed";
    assert!(texts.iter().any(|t| t.starts_with(expected)), "{texts:#?}");
}
