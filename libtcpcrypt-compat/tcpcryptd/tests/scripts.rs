//! The rule script and the launcher, as far as a dry run shows them; and the rules themselves, in a
//! network name space, where that is allowed.

use std::process::{Command, Output};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/iptables.sh");
const BASE: &[(&str, &str)] = &[("DAEMON_USER", "u"), ("DIVERT_PORT", "666")];
const VARIABLES: [&str; 10] = [
    "MODE",
    "ONLY_PORTS",
    "OMIT_PORTS",
    "DAEMON_USER",
    "DIVERT_PORT",
    "MARK",
    "PLAIN_MARK",
    "RULES",
    "ECHO",
    "IPTABLES",
];

fn script(program: &mut Command, arguments: &[&str], variables: &[&[(&str, &str)]]) -> Output {
    for name in VARIABLES {
        program.env_remove(name);
    }
    let variables = variables.iter().flat_map(|some| some.iter().copied());
    let program = program.args(arguments).envs(variables);
    program.output().expect("started")
}

fn dry(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let echo = [("ECHO", "echo")];
    let output = script(
        &mut Command::new(RULES),
        arguments,
        &[BASE, &echo, variables],
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.stderr.is_empty(), "{output:?}");
    (output.status.code(), text)
}

#[test]
fn what_is_missing_or_too_much_is_said() {
    let ports = [("ONLY_PORTS", "80")];
    for (arguments, variables) in [
        (&["start"][..], &[BASE][..]),
        (&[], &[BASE]),
        (&["stop"], &[BASE]),
        (&[], &[BASE, &ports, &[("OMIT_PORTS", "22")]]),
        (&[], &[&ports, &[("DAEMON_USER", "u")]]),
        (&[], &[&ports, &[("DIVERT_PORT", "666")]]),
        (&["restart"], &[BASE, &ports]),
        (&[], &[BASE, &[("ONLY_PORTS", "80; reboot")]]),
        (&[], &[BASE, &ports, &[("RULES", "pf")]]),
    ] {
        let output = script(&mut Command::new(RULES), arguments, variables);
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {variables:?}");
        assert!(output.stdout.is_empty());
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn rules_go_as_they_came() {
    let ports = ("OMIT_PORTS", "22,992:995");
    let (code, started) = dry(&[], &[ports, ("RULES", "iptables")]);
    let expected = "\
iptables -t mangle -A INPUT ! -i lo -p tcp -m multiport ! --ports 22,992:995 -j NFQUEUE --queue-num 666 --queue-bypass
iptables -t mangle -A OUTPUT ! -o lo -p tcp -m multiport ! --ports 22,992:995 -j NFQUEUE --queue-num 666 --queue-bypass
";
    assert_eq!((code, started.as_str()), (Some(0), expected));
    for more in [
        &[][..],
        &[("MARK", "0x10")],
        &[("MARK", "10"), ("PLAIN_MARK", "0x20")],
    ] {
        let variables = [&[ports, ("RULES", "iptables")], more].concat();
        let (_, started) = dry(&["start"], &variables);
        for word in ["stop", "-f"] {
            let (code, stopped) = dry(&[word], &variables);
            assert_eq!((code, stopped), (Some(0), started.replace(" -A ", " -D ")));
        }
    }
}

#[test]
fn nftables_gets_one_table() {
    let nft = ("RULES", "nft");
    let (_, text) = dry(&["start"], &[("ONLY_PORTS", "80,8000:8100"), nft]);
    assert!(
        text.starts_with("nft -f - <<END\ntable ip tcpcryptd {\n"),
        "{text}"
    );
    let rule = "tcp dport { 80, 8000-8100 } queue num 666 bypass\n";
    assert_eq!(text.matches(rule).count(), 2, "{text}");
    let (_, text) = dry(&["start"], &[("OMIT_PORTS", "22"), nft]);
    assert_eq!(
        text.matches("tcp sport { 22 } accept\nqueue num 666 bypass\n")
            .count(),
        2,
        "{text}"
    );
    let (_, text) = dry(&["stop"], &[("OMIT_PORTS", "22"), nft]);
    assert_eq!(text, "nft delete table ip tcpcryptd\n");
}

#[test]
fn redirect_mode_has_rules_of_its_own() {
    let mode = ("MODE", "redirect");
    let iptables = ("RULES", "iptables");
    for ports in [("ONLY_PORTS", "80,8000:8100"), ("OMIT_PORTS", "22")] {
        let (code, started) = dry(&["start"], &[mode, iptables, ports]);
        assert_eq!(code, Some(0));
        // Nothing is redirected that the daemon did not mark, and nothing waits for one that is gone.
        let redirect = "--mark 0x80000/0x80000 -j REDIRECT --to-ports 65530";
        assert_eq!(started.matches(redirect).count(), 2, "{started}");
        assert_eq!(started.matches("REDIRECT").count(), 2, "{started}");
        let queues = started.matches("-j NFQUEUE").count();
        assert_eq!(
            started.matches("--queue-num 666 --queue-bypass").count(),
            queues
        );
        let (code, stopped) = dry(&["stop"], &[mode, iptables, ports]);
        assert_eq!((code, stopped), (Some(0), started.replace(" -A ", " -D ")));
        let (code, text) = dry(&["start"], &[mode, ("RULES", "nft"), ports]);
        assert_eq!(code, Some(0));
        assert_eq!(
            text.matches("queue num 666 bypass\n").count(),
            queues,
            "{text}"
        );
        assert_eq!(text.matches("redirect to :65530\n").count(), 2, "{text}");
    }
    let output = script(
        &mut Command::new(RULES),
        &["start"],
        &[BASE, &[("ONLY_PORTS", "80"), ("MODE", "proxy")]],
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_kernel_takes_the_rules_and_forgets_them() {
    let list = "iptables-save -t mangle | grep -c NFQUEUE; nft list tables | grep -c tcpcryptd";
    for (mode, count) in [("divert", 2), ("redirect", 8)] {
        let commands = format!("{RULES} start && {{ {list}; {RULES} stop; echo $?; {list}; }}");
        for marks in [&[][..], &[("MARK", "10"), ("PLAIN_MARK", "20")]] {
            let ports = [("OMIT_PORTS", "22,992:995")];
            let mut program = Command::new("unshare");
            let arguments = ["--net", "--", "sh", "-c", &commands];
            let mode = [("MODE", mode)];
            let output = script(&mut program, &arguments, &[BASE, &ports, marks, &mode]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if text.is_empty() {
                println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
                return;
            }
            assert!(
                text == format!("{count}\n0\n0\n0\n0\n") || text == "0\n1\n0\n0\n0\n",
                "{text}"
            );
        }
    }
}
