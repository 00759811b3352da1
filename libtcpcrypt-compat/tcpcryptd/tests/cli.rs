//! The command line: every option, text and exit code of tcpcrypt spec 2.1. What needs a queue runs
//! in a network name space of its own and is left out, with a word, where that is not allowed.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tcpcryptd");

const DUMP: &str = "==== DUMPING STATE ====\n=======================\n";
const START: &str = "Initializing...\nReading random seed from /dev/urandom \n";

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .arg0("tcpcryptd")
        .args(arguments)
        .env_remove("POSIXLY_CORRECT")
        .output()
        .expect("started")
}

/// In a network name space of its own.
fn isolated(arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--", PROGRAM]).args(arguments);
    command.stdin(Stdio::null());
    command
}

/// True, with a word, if there can be no name space of our own and so no queue.
fn skipped() -> bool {
    let allowed = Command::new("unshare")
        .args(["--net", "--", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !allowed {
        println!("skipped: no network name spaces for us");
    }
    !allowed
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn usage() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../interop-tests/vectors/tcpcrypt/tcpcryptd-h.txt");
    std::fs::read_to_string(path).expect("the recorded text")
}

#[test]
fn help_is_the_recorded_text() {
    for arguments in [&["-h"][..], &["--help"], &["-v", "operand", "-h", "-q"]] {
        let expected = (Some(0), usage(), String::new());
        assert_eq!(texts(&run(arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn the_version_begins_with_two_words() {
    let expected = (Some(0), "tcpcrypt version 0.5\n".into(), String::new());
    for arguments in [&["-V"][..], &["--version"], &["-", "x", "-aV"]] {
        assert_eq!(texts(&run(arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn wrong_options_show_the_usage() {
    for (arguments, complaint) in [
        (&["--foo"][..], ""),
        (&["--"], ""),
        (&["-q"], "tcpcryptd: invalid option -- 'q'\n"),
        (&["-vvq"], "tcpcryptd: invalid option -- 'q'\n"),
        (&["--help", "-h"], "tcpcryptd: invalid option -- '-'\n"),
        (&["-p"], "tcpcryptd: option requires an argument -- 'p'\n"),
        (&["-vJ"], "tcpcryptd: option requires an argument -- 'J'\n"),
    ] {
        let expected = (Some(1), usage(), complaint.into());
        assert_eq!(texts(&run(arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn the_program_is_named_as_it_was_called() {
    let output = Command::new(PROGRAM).arg("-q").output().expect("started");
    let (_, out, err) = texts(&output);
    assert!(
        out.starts_with(&format!("Usage: {PROGRAM} <opt>\n")),
        "{out}"
    );
    assert_eq!(err, format!("{PROGRAM}: invalid option -- 'q'\n"));
}

#[test]
fn operands_end_the_options_only_for_posix() {
    let output = Command::new(PROGRAM)
        .args(["-t7", "x", "-V"])
        .env("POSIXLY_CORRECT", "1")
        .output()
        .expect("started");
    assert_eq!(texts(&output).2, "tcpcryptd: Test 7 out of range\n");
}

#[test]
fn what_is_refused_before_anything_is_done() {
    let (code, out, err) = texts(&run(&["-x", "1"].repeat(13)));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(err, "tcpcryptd: too many parameters\n\n");
    let (code, _, err) = texts(&run(&["-T1"; 13]));
    assert_eq!(
        (code, err.as_str()),
        (Some(1), "tcpcryptd: too many parameters\n\n")
    );
    for (arguments, part) in [
        (
            &["--eno=legacy", "--aead=aes-256-gcm"][..],
            "--aead belongs to RFC 8548",
        ),
        (&["-C", "1"], "unknown key exchange '1'"),
        (&["-C0x23", "--eno=legacy"], "RFC 8548"),
        (
            &["-e", "--eno-by=x"],
            "--eno-by takes auto, ebpf or queue, not 'x'",
        ),
        (&["--eno-by=ebpf"], "--eno-by belongs to redirect mode (-e)"),
        (
            &["-e", "--threads=65"],
            "--threads takes a number from 0 to 64, not '65'",
        ),
        (&["--threads=4"], "--threads belongs to redirect mode (-e)"),
        (
            &["--eno=x"],
            "--eno takes legacy, rfc, auto or off, not 'x'",
        ),
    ] {
        let (code, out, err) = texts(&run(arguments));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(
            err.starts_with("tcpcryptd: ") && err.contains(part),
            "{err}"
        );
    }
}

#[test]
fn the_random_device_is_read_as_announced() {
    let (code, out, err) = texts(&run(&["-r", "/nonexistent"]));
    assert_eq!((code, out), (Some(1), format!("Initializing...\n{DUMP}")));
    let text = "tcpcryptd: Could not open random device /nonexistent: No such file or directory\n";
    assert_eq!(err, text);

    let (code, out, err) = texts(&run(&["-r/dev/null"]));
    let begun = format!("Initializing...\nReading random seed from /dev/null {DUMP}");
    assert_eq!((code, out), (Some(1), begun));
    assert_eq!(
        err,
        "tcpcryptd: Could not read random seed from /dev/null\n"
    );

    let (code, out, err) = texts(&run(&["-r", "/dev/zero"]));
    let read = format!("Initializing...\nReading random seed from /dev/zero \n{DUMP}");
    assert_eq!((code, out), (Some(1), read));
    assert_eq!(err, "tcpcryptd: Could not provide random seed\n");
}

#[test]
fn tests_have_numbers_and_parameters() {
    for number in ["3", "-2", "1000"] {
        let (code, out, err) = texts(&run(&["-t", number]));
        assert_eq!((code, out), (Some(1), format!("{START}{DUMP}")));
        assert_eq!(err, format!("tcpcryptd: Test {number} out of range\n"));
    }
    let (code, out, err) = texts(&run(&["-t2"]));
    let begun = format!("{START}Running test 2: Packet dropper\n{DUMP}");
    assert_eq!((code, out), (Some(1), begun));
    let text = "tcpcryptd: Need a packet number parameter.  1 is first.\n";
    assert_eq!(err, text);
}

/// A running program whose lines are read one by one.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Running { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill").success());
    }

    fn rest(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("the rest");
        (self.child.wait().expect("ended").code(), rest)
    }
}

#[test]
fn throughput_is_measured_until_a_signal() {
    for (arguments, first, unit) in [
        (
            &["-t0"][..],
            "Encrypting 1420 bytes of data\n",
            " Mbit/s) [avg 0]\n",
        ),
        (
            &["-t", "1"],
            "MACing 1 iovecs of 8 bytes each\n",
            " (0 Mbit/s) [avg 0]\n",
        ),
        (
            &["-t1", "-T20", "-T3"],
            "MACing 3 iovecs of 20 bytes each\n",
            "[avg 0]\n",
        ),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(arguments);
        let mut program = Running::start(command);
        let lines: Vec<String> = (0..5).map(|_| program.line()).collect();
        assert_eq!(lines[..2].concat(), START);
        assert!(lines[2].starts_with("Running test "), "{}", lines[2]);
        assert_eq!(lines[3], first);
        let (rate, rest) = lines[4].split_once(" ops / sec (").expect(&lines[4]);
        assert!(rate.parse::<u64>().expect(rate) > 0);
        assert!(rest.ends_with(unit.trim_start_matches(" (")), "{rest}");
        program.signal("TERM");
        assert_eq!(program.rest(), (Some(0), format!("\n{DUMP}")));
    }
}

#[test]
fn without_the_capability_the_queue_is_not_opened() {
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
        PROGRAM,
    ]);
    let output = match command.output() {
        Ok(output) if !output.stderr.starts_with(b"setpriv") => output,
        _ => {
            println!("skipped: setpriv does not work here");
            return;
        }
    };
    let (code, out, err) = texts(&output);
    assert_eq!((code, out), (Some(1), format!("{START}{DUMP}")));
    assert_eq!(err, "tcpcryptd: nfq_unbind_pf(): Operation not permitted\n");
}

#[test]
fn what_is_wrong_with_the_surroundings_is_said() {
    if skipped() {
        return;
    }
    let long = "/".repeat(120);
    let directory = tempfile::tempdir().expect("directory");
    let control = directory.path().join("control");
    let control = control.to_str().expect("UTF-8");
    for (arguments, complaint) in [
        (
            vec!["-u", "bad"],
            "interpreting socket address 'bad': couldn't understand socket description".to_owned(),
        ),
        (
            vec!["-u", ":no"],
            "interpreting socket address ':no': couldn't parse port number from 'no'".into(),
        ),
        (
            vec!["-u", ":65536"],
            "interpreting socket address ':65536': couldn't parse port number from '65536'".into(),
        ),
        (
            vec!["-u", ""],
            "interpreting socket address '': empty description".into(),
        ),
        (
            vec!["-u", &long],
            format!("interpreting socket address '{long}': unix-domain path too long"),
        ),
        (
            vec!["-u", "/nonexistent/x"],
            "bind(): No such file or directory".into(),
        ),
        (
            vec!["-u", "/proc/version"],
            "bind(): Address already in use".into(),
        ),
        (
            vec!["-u", control, "-U", "no-such-user"],
            "Can't find user 'no-such-user'".into(),
        ),
        (
            vec!["-u", control, "-U", "nobody", "-J", "/nonexistent"],
            "Could not chroot to /nonexistent: No such file or directory".into(),
        ),
    ] {
        let output = isolated(&arguments).output().expect("started");
        let (code, out, err) = texts(&output);
        assert_eq!(
            (code, out),
            (Some(1), format!("{START}{DUMP}")),
            "{arguments:?}"
        );
        assert_eq!(err, format!("tcpcryptd: {complaint}\n"));
    }
}

#[test]
fn a_queue_has_one_owner() {
    if skipped() {
        return;
    }
    let jail = tempfile::tempdir().expect("directory");
    let jail = jail.path().to_str().expect("UTF-8");
    let script = r#"
        "$0" -U nobody -J "$1" -u @kx-cli-owner-$$ >/dev/null & first=$!
        for i in $(seq 100); do grep -q ' 666 ' /proc/net/netfilter/nfnetlink_queue && break; sleep 0.1; done
        "$0" -U nobody -J "$1" -u @kx-cli-second-$$; code=$?
        kill $first; wait $first; exit $code
    "#;
    let output = Command::new("unshare")
        .args(["--net", "--", "sh", "-c", script, PROGRAM, jail])
        .output()
        .expect("started");
    let (code, _, err) = texts(&output);
    let complaint = "tcpcryptd: nfq_create_queue(): Operation not permitted\n";
    assert_eq!((code, err.as_str()), (Some(1), complaint));
}

#[test]
fn it_starts_dumps_and_ends_as_the_original_does() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("directory");
    let jail = directory.path().to_str().expect("UTF-8");
    let control = directory.path().join("control");
    let address = control.to_str().expect("UTF-8");
    let arguments = ["-v", "-x", "10", "-U", "nobody", "-J", jail, "-u", address];
    // Left by somebody else: it is taken over.
    drop(std::os::unix::net::UnixDatagram::bind(&control).expect("bound"));
    for end in ["INT", "TERM"] {
        let mut program = Running::start(isolated(&arguments));
        let mut started = String::new();
        while !started.ends_with("Running\n") {
            let line = program.line();
            assert!(!line.is_empty(), "ended after {started}");
            if !line.contains("nf_conntrack") {
                started.push_str(&line);
            }
        }
        let expected = format!(
            "{START}Divert packets using iptables -j NFQUEUE --queue-num 666\n\
             Also, add -m mark --mark 0x0/0x10\nOpening control socket at {address}\n\
             Attempting to drop privileges with chroot={jail} and user=nobody\nRunning\n"
        );
        assert_eq!(started, expected);

        let data = std::fs::metadata(&control).expect("the socket");
        assert!(data.file_type().is_socket());
        assert_eq!(data.permissions().mode() & 0o777, 0o777);
        let status = std::fs::read_to_string(format!("/proc/{}/status", program.child.id()));
        let status = status.expect("status");
        for line in [
            "CapInh:\t0000000000001000",
            "CapPrm:\t0000000000001000",
            "CapEff:\t0000000000001000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "Uid:\t65534\t65534\t65534\t65534",
            "Gid:\t65534\t65534\t65534\t65534",
        ] {
            assert!(status.contains(line), "{line} not in {status}");
        }

        program.signal("USR1");
        let mut dump = String::new();
        while !dump.ends_with("=======================\n") {
            dump.push_str(&program.line());
        }
        assert!(dump.starts_with("==== DUMPING STATE ====\nFD "), "{dump}");
        assert_eq!(dump.matches(" state 1\n").count(), 2, "{dump}");
        program.signal(end);
        let (code, rest) = program.rest();
        assert_eq!(code, Some(0));
        assert!(rest.starts_with("\n==== DUMPING STATE ====\nFD "), "{rest}");
        assert!(control.exists(), "the socket stays");
    }
}

#[test]
fn a_closed_standard_output_does_not_stop_it() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("directory");
    let jail = directory.path().to_str().expect("UTF-8");
    let name = format!("@kx-cli-closed-{}", std::process::id());
    let mut program = Running::start(isolated(&["-U", "nobody", "-J", jail, "-u", &name]));
    while program.line() != "Running\n" {}
    let Running { mut child, lines } = program;
    drop(lines);
    let pid = child.id().to_string();
    for signal in ["USR1", "PIPE", "USR1"] {
        Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .expect("kill");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(child.try_wait().expect("asked").is_none(), "it goes on");
    Command::new("kill").arg(&pid).status().expect("kill");
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        if let Some(status) = child.try_wait().expect("asked") {
            assert_eq!(status.code(), Some(0));
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("killed");
    panic!("it did not end");
}

#[test]
fn the_service_manager_is_told() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("directory");
    let jail = directory.path().to_str().expect("UTF-8");
    let path = directory.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).expect("bound");
    manager
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("timeout");
    let name = format!("@kx-cli-notify-{}", std::process::id());
    let mut command = isolated(&["-U", "nobody", "-J", jail, "-u", &name]);
    command.env("NOTIFY_SOCKET", &path);
    let program = Running::start(command);
    let mut buffer = [0; 64];
    let count = manager.recv(&mut buffer).expect("ready");
    assert_eq!(&buffer[..count], b"READY=1");
    program.signal("TERM");
    let count = manager.recv(&mut buffer).expect("stopping");
    assert_eq!(&buffer[..count], b"STOPPING=1");
    assert_eq!(program.rest().0, Some(0));
}

#[test]
fn the_queue_is_free_when_it_has_ended_and_also_when_it_was_killed() {
    if skipped() {
        return;
    }
    let jail = tempfile::tempdir().expect("directory");
    let jail = jail.path().to_str().expect("UTF-8");
    let script = r#"
        queue=/proc/net/netfilter/nfnetlink_queue
        for signal in TERM KILL; do
            "$0" -U nobody -J "$1" -u "@kx-cli-free-$$" >/dev/null & daemon=$!
            for i in $(seq 100); do grep -q ' 666 ' $queue && break; sleep 0.1; done
            sleep 0.3
            kill -$signal $daemon
            wait $daemon 2>/dev/null
            # Its companion holds the queue a little longer, after a kill about a second.
            for i in $(seq 200); do grep -q ' 666 ' $queue || break; sleep 0.1; done
            grep -c ' 666 ' $queue
        done
    "#;
    let output = Command::new("unshare")
        .args(["--net", "--", "sh", "-c", script, PROGRAM, jail])
        .output()
        .expect("started");
    let (_, out, err) = texts(&output);
    assert_eq!(out, "0\n0\n");
    let report = "tcpcryptd: the daemon is gone; reset 0 encrypted connections\n";
    assert!(err.contains(report), "{err}");
}
