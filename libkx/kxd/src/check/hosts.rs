//! `allowed_hosts`: lines that never match anybody.

use std::net::IpAddr;
use std::path::PathBuf;

use super::data_dir;
use super::report::Report;
use crate::key_store::{LIST_LIMIT, lines};

pub(super) fn check(report: &mut Report, path: &PathBuf) {
    let Some(text) = data_dir::read_list(report, path, LIST_LIMIT) else {
        return;
    };
    let mut usable = false;
    for (i, line) in lines::trimmed(&text).enumerate() {
        if line.is_empty() {
            continue;
        }
        match judge(line) {
            Ok(()) => usable = true,
            Err(Verdict { problem, advice }) => {
                report.error(
                    (path.as_path(), i + 1),
                    format_args!("never matches: {problem}"),
                    advice,
                );
            }
        }
    }
    if !usable {
        let problem = "no line can match, so nobody gets the key";
        report.error(
            path.as_path(),
            problem,
            "remove the file to let all hosts pass",
        );
    }
}

#[derive(Debug)]
struct Verdict {
    problem: &'static str,
    advice: String,
}

/// Whether a line can match: an address as the server writes it, or what can be a host's name.
fn judge(line: &[u8]) -> Result<(), Verdict> {
    let no = |problem, advice: &str| {
        Err(Verdict {
            problem,
            advice: advice.to_owned(),
        })
    };
    let Ok(line) = std::str::from_utf8(line) else {
        return no("not UTF-8", "write an address or a host name");
    };
    if line.starts_with('\u{feff}') {
        return no("begins with a byte order mark", "save the file without it");
    }
    if line.starts_with('#') {
        return no(
            "there are no comments, it is looked up as a name",
            "remove the line",
        );
    }
    if line.contains('/') {
        return no("networks are not supported", "list each address");
    }
    if line.contains('*') {
        return no("wildcards are not supported", "list each host");
    }
    if line.contains(char::is_whitespace) || line.contains(',') {
        return no("more than one word", "write one host on each line");
    }
    let (address, zone) = line.split_once('%').unwrap_or((line, ""));
    if let Ok(ip) = address.parse::<IpAddr>() {
        let canonical = ip.to_canonical().to_string();
        if canonical != address {
            let advice = match zone {
                "" => format!("write {canonical}"),
                zone => format!("write {canonical}%{zone}"),
            };
            let problem = "addresses are compared as text, and this is not how one is written";
            return Err(Verdict { problem, advice });
        }
        return Ok(());
    }
    if line.starts_with('[') || line.parse::<std::net::SocketAddr>().is_ok() {
        return no(
            "brackets and ports do not belong there",
            "write the address alone",
        );
    }
    if line.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return no(
            "not an address",
            "write all four numbers, without leading zeros",
        );
    }
    if !line.is_ascii() {
        return no(
            "not a host name",
            "write the name in its ASCII form (xn--...)",
        );
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !line.chars().all(plain) || line.len() > 254 || line.starts_with('.') || line.contains("..")
    {
        return no("neither an address nor a host name", "write one of them");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_can_match_pass() {
        let good = [
            "127.0.0.1",
            "::1",
            "2001:db8::1",
            "fe80::1%eth0",
            "localhost",
            "a.example.com.",
            "a_b",
            "1a",
            "xn--bcher-kva.example",
        ];
        for line in good {
            assert!(judge(line.as_bytes()).is_ok(), "{line}");
        }
    }

    #[test]
    fn lines_that_never_match_are_told_with_the_right_spelling() {
        let table = [
            ("10.0.0.0/8", "networks"),
            ("2001:db8::/32", "networks"),
            ("# 127.0.0.1", "comments"),
            ("*.example.com", "wildcards"),
            ("\u{feff}127.0.0.1", "byte order mark"),
            ("127.0.0.1 ::1", "more than one word"),
            ("127.0.0.1,::1", "more than one word"),
            ("127.0.0.01", "not an address"),
            ("127.1", "not an address"),
            ("[::1]", "brackets"),
            ("127.0.0.1:80", "brackets and ports"),
            ("b\u{fc}cher.example", "not a host name"),
            ("a..b", "neither"),
            ("user@host", "neither"),
        ];
        for (line, problem) in table {
            let verdict = judge(line.as_bytes()).expect_err(line);
            assert!(
                verdict.problem.contains(problem),
                "{line}: {}",
                verdict.problem
            );
        }
        let advice = |line: &str| judge(line.as_bytes()).expect_err(line).advice;
        assert_eq!(advice("::ffff:127.0.0.1"), "write 127.0.0.1");
        assert_eq!(advice("0:0:0:0:0:0:0:1"), "write ::1");
        assert_eq!(advice("2001:DB8::1"), "write 2001:db8::1");
        assert_eq!(advice("FE80::1%eth0"), "write fe80::1%eth0");
        assert!(judge(b"\xff").is_err());
    }
}
