//! `email_to`: lines that are no address, and addresses that no mail server takes.

use std::path::PathBuf;

use super::report::Report;
use super::{CheckConfig, data_dir};
use crate::key_store::{LIST_LIMIT, lines};

pub(super) fn check(report: &mut Report, config: &CheckConfig, path: &PathBuf) {
    let Some(text) = data_dir::read_list(report, path, LIST_LIMIT) else {
        return;
    };
    let mut addresses = 0usize;
    for (i, line) in lines::trimmed(&text).enumerate() {
        let place = (path.as_path(), i + 1);
        if line.is_empty() {
            continue;
        }
        if !line.contains(&b'@') {
            report.warning(
                place,
                "line is ignored: it has no @",
                "write NAME@HOST or remove it",
            );
            continue;
        }
        addresses += 1;
        let blocks =
            |problem: &str| format!("{problem}, so the mail fails and the key is not given");
        if line.iter().any(|b| matches!(b, b'\r' | 0)) {
            report.error(
                place,
                blocks("address has a CR or NUL in it"),
                "use line feeds alone",
            );
        } else if line.starts_with(b"#") {
            report.error(
                place,
                blocks("there are no comments, it is an address"),
                "remove the line",
            );
        } else if line
            .iter()
            .any(|b| matches!(b, b'<' | b'>' | b' ' | b'\t' | b',' | b';'))
        {
            report.error(
                place,
                blocks("more than a plain address"),
                "write NAME@HOST alone",
            );
        } else if line.starts_with(b"@") || line.ends_with(b"@") {
            report.error(
                place,
                blocks("address lacks a name or host"),
                "write NAME@HOST",
            );
        } else if !line.is_ascii() {
            let problem = "address is not ASCII, few mail servers take it";
            report.warning(place, problem, "use an ASCII address");
        }
    }
    if addresses == 0 {
        report.warning(
            path.as_path(),
            "holds no address, so no mail is sent",
            "add one",
        );
    } else if config.smtp_addr.is_empty() {
        let problem = "no mail is sent, since there is no mail server";
        report.warning(path.as_path(), problem, "give --smtp_addr");
    }
}
