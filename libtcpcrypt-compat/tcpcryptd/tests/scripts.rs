//! The rule script and the launcher, as far as a dry run shows them; and the rules themselves, in a
//! network name space, where that is allowed.

use std::process::{Command, Output};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/iptables.sh");
const BASE: &[(&str, &str)] = &[("DAEMON_USER", "u"), ("DIVERT_PORT", "666")];
const VARIABLES: [&str; 12] = [
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
    "IPV6",
    "IP6TABLES",
];
const NO_IPV6: (&str, &str) = ("IPV6", "no");

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
        (&[], &[BASE, &ports, &[("IPV6", "maybe")]]),
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
    let (code, started) = dry(&[], &[ports, ("RULES", "iptables"), NO_IPV6]);
    let expected = "\
iptables -t mangle -A INPUT -p icmp --icmp-type fragmentation-needed -j NFQUEUE --queue-num 666 --queue-bypass
iptables -t mangle -A INPUT ! -i lo -p tcp -m multiport ! --ports 22,992:995 -j NFQUEUE --queue-num 666 --queue-bypass
iptables -t mangle -A OUTPUT ! -o lo -p tcp -m multiport ! --ports 22,992:995 -m mark ! --mark 0x74637001 -j NFQUEUE --queue-num 666 --queue-bypass
iptables -t mangle -A OUTPUT ! -o lo -p tcp -m multiport ! --ports 22,992:995 -m mark --mark 0x74637001 -j MARK --set-xmark 0x0
";
    assert_eq!((code, started.as_str()), (Some(0), expected));
    // Those for IPv6 are the same, behind them.
    let both = [ports, ("RULES", "iptables"), ("IPV6", "yes")];
    let (code, started) = dry(&[], &both);
    let six = expected.replace("iptables", "ip6tables").replace(
        "icmp --icmp-type fragmentation-needed",
        "icmpv6 --icmpv6-type packet-too-big",
    );
    assert_eq!((code, started), (Some(0), format!("{expected}{six}")));
    for more in [
        &[][..],
        &[("MARK", "0x10")],
        &[("MARK", "10"), ("PLAIN_MARK", "0x20")],
        &[("IPV6", "yes")],
        &[NO_IPV6],
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
    for (ipv6, family) in [("no", "ip"), ("yes", "inet")] {
        let ipv6 = ("IPV6", ipv6);
        let (_, text) = dry(&["start"], &[("ONLY_PORTS", "80"), nft, ipv6]);
        let begin = format!("nft -f - <<END\ntable {family} tcpcryptd {{\n");
        assert!(text.starts_with(&begin), "{text}");
        let (_, text) = dry(&["stop"], &[("ONLY_PORTS", "80"), nft, ipv6]);
        assert_eq!(text, format!("nft delete table {family} tcpcryptd\n"));
    }
    let (_, text) = dry(&["start"], &[("ONLY_PORTS", "80,8000:8100"), nft]);
    let rule = "tcp dport { 80, 8000-8100 } queue num 666 bypass\n";
    assert_eq!(text.matches(rule).count(), 2, "{text}");
    // Our own packets, before anything is asked about them, and only on their way out.
    let own = "meta l4proto != tcp accept\nmeta mark 0x74637001 meta mark set 0 accept\n";
    assert_eq!(text.matches(own).count(), 1, "{text}");
    let (_, text) = dry(&["start"], &[("OMIT_PORTS", "22"), nft]);
    assert_eq!(
        text.matches("tcp sport { 22 } accept\nqueue num 666 bypass\n")
            .count(),
        2,
        "{text}"
    );
}

#[test]
fn redirect_mode_has_rules_of_its_own() {
    let mode = ("MODE", "redirect");
    let iptables = ("RULES", "iptables");
    for ports in [("ONLY_PORTS", "80,8000:8100"), ("OMIT_PORTS", "22")] {
        let (code, started) = dry(&["start"], &[mode, iptables, ports, NO_IPV6]);
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
        let (code, stopped) = dry(&["stop"], &[mode, iptables, ports, NO_IPV6]);
        let rules = |text: &str| {
            let (rules, routes): (Vec<_>, Vec<_>) =
                text.lines().partition(|line| line.starts_with("iptables "));
            (rules.join("\n"), routes.join("\n"))
        };
        let ((started, way), (stopped, way_back)) = (rules(&started), rules(&stopped));
        assert_eq!((code, stopped), (Some(0), started.replace(" -A ", " -D ")));
        // The way for connections in the name of clients: what is added is deleted.
        for line in way.lines().filter(|line| line.contains(" add ")) {
            assert!(way_back.contains(&line.replace(" add ", " del ")), "{line}");
        }
        assert!(way.ends_with("dev lo src 127.0.0.1 table 65530"), "{way}");
        // Those for IPv6 are the same, behind them.
        let six = [mode, iptables, ports, ("IPV6", "yes")];
        let (_, both) = dry(&["start"], &six);
        let both = rules(&both.replace("ip6tables", "iptables"));
        assert_eq!(both.0, format!("{started}\n{started}"));
        assert!(both.1.ends_with("dev lo src ::1 table 65530"), "{both:?}");
        let (_, back) = dry(&["stop"], &six);
        for line in both.1.lines().filter(|line| line.contains(" add ")) {
            assert!(back.contains(&line.replace(" add ", " del ")), "{line}");
        }
        let (code, text) = dry(&["start"], &[mode, ("RULES", "nft"), ports, NO_IPV6]);
        assert_eq!(code, Some(0));
        assert_eq!(
            text.matches("queue num 666 bypass\n").count(),
            queues,
            "{text}"
        );
        assert_eq!(text.matches("redirect to :65530\n").count(), 2, "{text}");
        // Handshakes of a program in the kernel stay out of the queue, and no third segment of them is empty. The
        // proxy's own resets come there before connection tracking sees them.
        for (text, parts) in [
            (
                &started,
                [
                    "-m mark ! --mark 0x20000/0x20000 -j NFQUEUE",
                    "-m connmark ! --mark 0x20000/0x20000 -j NFQUEUE",
                    "-m mark --mark 0x20000/0x20000 -m length --length 0:100 -j DROP",
                    "-t raw -A OUTPUT -p tcp --sport 65530 --tcp-flags SYN,ACK,RST,FIN RST -j NFQUEUE",
                ],
            ),
            (
                &text,
                [
                    "meta mark & 0x20000 == 0 queue num 666 bypass",
                    "ct mark & 0x20000 == 0 queue num 666 bypass",
                    "meta mark & 0x20000 == 0x20000 meta length <= 100 drop",
                    "tcp sport 65530 tcp flags & (syn | ack | rst | fin) == rst queue num 666 bypass",
                ],
            ),
        ] {
            for part in parts {
                let lines = text.lines().filter(|line| line.contains(part));
                assert!(lines.count() >= 1, "{part}: {text}");
            }
        }
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
    let list = "for i in iptables ip6tables; do $i-save -t mangle 2>/dev/null | grep -c NFQUEUE; done; \
                nft list tables 2>/dev/null | grep -c tcpcryptd";
    let commands = format!("{RULES} start && {{ {list}; {RULES} stop; echo $?; {list}; }}");
    let marks = [("MARK", "10"), ("PLAIN_MARK", "20")];
    for (more, four, six) in [
        (&[][..], "3", None),
        (&marks[..], "3", None),
        (&[("IPV6", "yes")], "3", Some("3")),
        (&[NO_IPV6], "3", Some("0")),
        (&[("MODE", "redirect"), NO_IPV6], "8", Some("0")),
        (&[("MODE", "redirect"), ("IPV6", "yes")], "8", Some("8")),
    ] {
        let ports = [("OMIT_PORTS", "22,992:995")];
        let mut program = Command::new("unshare");
        let arguments = ["--net", "--", "sh", "-c", &commands];
        let output = script(&mut program, &arguments, &[BASE, &ports, more]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            [ipv4, ipv6, "0", "0", "0", "0", "0"] if ipv4 != "0" => {
                assert_eq!(ipv4, four);
                assert!(six.is_none_or(|six| six == ipv6), "{text}");
                assert!(ipv6 == "0" || ipv6 == four, "{text}");
            }
            ["0", "0", "1", "0", "0", "0", "0"] => {}
            [] => {
                println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
                return;
            }
            _ => panic!("{text}"),
        }
    }
}

/// Where there is nothing for IPv6, the rules for IPv4 do their work, unless both were asked for.
#[test]
fn ipv6_that_is_not_there() {
    let start = format!("{RULES} start; echo $?; iptables-save -t mangle | grep -c NFQUEUE");
    for (ipv6, expected) in [("auto", "0\n3\n"), ("yes", "1\n0\n")] {
        let variables = [
            ("OMIT_PORTS", "22"),
            ("RULES", "iptables"),
            ("IP6TABLES", "false"),
            ("IPV6", ipv6),
        ];
        let mut program = Command::new("unshare");
        let arguments = ["--net", "--", "sh", "-c", &start];
        let output = script(&mut program, &arguments, &[BASE, &variables]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.is_empty() || text.ends_with("1\n0\n") && ipv6 == "auto" {
            println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        assert_eq!(text, expected);
    }
}
