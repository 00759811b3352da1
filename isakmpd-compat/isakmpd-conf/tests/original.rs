//! The original and ours side by side: the same files and FIFO commands, the same log lines, result files and report.

use isakmpd_conf::{Command, Store, octets};

const RECORDED: &str = include_str!("recorded/grammar.txt");

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((plain, more)) = rest.split_once("\\x") {
        out.extend_from_slice(plain.as_bytes());
        let (digits, more) = more.split_at(2);
        out.push(u8::from_str_radix(digits, 16).unwrap());
        rest = more;
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

#[derive(Default)]
struct Case {
    conf: Vec<u8>,
    commands: Vec<Vec<u8>>,
    log: Vec<Vec<u8>>,
    results: Vec<Vec<u8>>,
    set: Vec<Vec<u8>>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        if line == "case" {
            cases.push(Case::default());
            continue;
        }
        let (word, text) = line.split_once(' ').unwrap();
        let case = cases.last_mut().unwrap();
        match word {
            "conf" => case.conf = unescape(text),
            "command" => case.commands.push(unescape(text)),
            "log" => case.log.push(unescape(text)),
            "result" => case.results.push(unescape(text)),
            "set" => case.set.push(unescape(text)),
            _ => panic!("{line}"),
        }
    }
    cases
}

#[test]
fn the_same_of_every_file_and_command() {
    let cases = cases();
    assert_eq!(cases.len(), 80);
    let (mut lines, mut settings) = (0, 0);
    for (number, case) in cases.iter().enumerate() {
        let (mut store, problems) = Store::parse(&case.conf);
        let mut log: Vec<Vec<u8>> = problems
            .iter()
            .map(|problem| octets(&problem.to_string()))
            .collect();
        let mut results = Vec::new();
        for command in &case.commands {
            match Command::parse(command) {
                Err(malformed) => log.push(octets(&malformed.to_string())),
                Ok(command) => {
                    let applied = store.apply(command);
                    log.extend(
                        applied
                            .problems
                            .iter()
                            .map(|problem| octets(&problem.to_string())),
                    );
                    results.extend(
                        applied
                            .result
                            .map(|result| octets(result.trim_end_matches('\n'))),
                    );
                }
            }
        }
        let mut set: Vec<Vec<u8>> = store
            .settings()
            .iter()
            .map(|one| {
                octets(&format!(
                    "[{}] {}=\t{}",
                    one.section.to_ascii_lowercase(),
                    one.tag,
                    one.value
                ))
            })
            .collect();
        set.sort();
        let mut expected = case.set.clone();
        expected.sort();
        assert_eq!(log, case.log, "log of case {number}");
        assert_eq!(results, case.results, "results of case {number}");
        assert_eq!(set, expected, "report of case {number}");
        lines += log.len();
        settings += set.len();
    }
    assert!(lines > 400 && settings > 250, "{lines} {settings}");
}
