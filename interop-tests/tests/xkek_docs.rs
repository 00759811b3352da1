//! docs/xkek.md: each case runs as it stands there, with software devices, and answers what it says.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use interop_tests::program::{Guarded, collect};
use interop_tests::subject::{subject, workspace};

/// Longest run of a case. Deriving from a password takes seconds, more in a debug build.
const LIMIT: Duration = Duration::from_secs(300);

/// A command and what the page says that it answers.
#[derive(Debug)]
struct Shown {
    command: String,
    answers: Vec<String>,
}

/// The commands of a case, in their order.
fn case(number: u32) -> Vec<Shown> {
    let page = fs::read_to_string(workspace().join("docs/xkek.md")).expect("docs/xkek.md");
    let heading = format!("\n## Case {number}\n");
    let (_, rest) = page.split_once(&heading).expect("the case");
    let text = rest.split("\n## ").next().unwrap_or(rest);
    let mut shown: Vec<Shown> = Vec::new();
    for block in text.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or(block);
        for line in block.replace("\\\n", " ").lines() {
            match (line.strip_prefix("$ "), shown.last_mut()) {
                (Some(command), _) => shown.push(Shown {
                    command: command.to_owned(),
                    answers: Vec::new(),
                }),
                (None, Some(last)) => last.answers.push(line.to_owned()),
                (None, None) => panic!("an answer before a command: {line}"),
            }
        }
    }
    assert!(!shown.is_empty(), "case {number} has no commands");
    shown
}

/// Whether a line is the one of the page, where `...` is anything.
fn alike(wanted: &str, line: &str) -> bool {
    let mut rest = line;
    let mut parts = wanted.split("...");
    let first = parts.next().unwrap_or_default();
    match rest.strip_prefix(first) {
        Some(after) => rest = after,
        None => return false,
    }
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match rest.find(part) {
            Some(place) => rest = rest.get(place + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    open || rest.is_empty()
}

fn run(number: u32) {
    let directory = tempfile::tempdir().expect("directory");
    for shown in case(number) {
        let output = shell(&shown.command, directory.path());
        let mut lines = output.lines();
        for answer in &shown.answers {
            assert!(
                lines.any(|line| alike(answer, line)),
                "case {number}: {}\nsays\n{output}and not\n{answer}",
                shown.command
            );
        }
    }
}

/// What a command says on both streams; it must succeed.
fn shell(command: &str, directory: &Path) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &format!("{{ {command}\n}} 2>&1")])
        .current_dir(directory)
        .env("PATH", format!("{}:{path}", subject().bin.display()))
        .env("PIN", "648219")
        .env("SO", "3537363231383830")
        .env("PW", "correct horse")
        .env("ROOT", "ca/root.cvc")
        .env_remove("KX_CARD")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for card in ["A", "B", "C", "G"] {
        shell.env(card, format!("vcard:{card},ca=ca"));
    }
    let done = collect(Guarded(shell.spawn().expect("bash")), LIMIT);
    let output = done.stdout_text();
    assert_eq!(done.rc, 0, "{command}\n{output}{}", done.stderr_text());
    output
}

#[test]
fn case_1_backup_with_one_share() {
    run(1);
}

#[test]
fn case_2_three_of_five_custodians() {
    run(2);
}

#[test]
fn case_3_one_custodian_leaves() {
    run(3);
}

#[test]
fn case_4_too_many_custodians_leave() {
    run(4);
}

#[test]
fn case_5_two_devices_with_different_dkeks() {
    run(5);
}

#[test]
fn case_6_the_group_signer_stays_offline() {
    run(6);
}

#[test]
fn case_7_firmware_update() {
    run(7);
}

#[test]
fn case_8_the_group_signer_is_lost() {
    run(8);
}

#[test]
fn case_9_more_than_two_devices() {
    run(9);
}

#[test]
fn the_manual_has_the_same_commands() {
    let manual = fs::read_to_string(workspace().join("libkx/kx-hsm/man/kx-hsm.7"));
    let manual = manual.expect("kx-hsm(7)").replace("\\e\n", " ");
    let told: Vec<&str> = manual
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .collect();
    let shown: Vec<String> = (1..=9).flat_map(case).map(|it| it.command).collect();
    assert_eq!(told, shown);
}

#[test]
fn lines_are_compared_with_gaps() {
    assert!(alike("a ... b", "a x b"));
    assert!(alike("... end", "the end"));
    assert!(alike("start ...", "start anything"));
    assert!(!alike("start", "start anything"));
    assert!(!alike("a ... b", "a x c"));
}
