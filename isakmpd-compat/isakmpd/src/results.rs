//! Files that answer: the result of a command, the report.

use std::io::Write;
use std::path::Path;

use crate::files::{Access, Files};
use crate::log::Log;

/// Answers to `S` and `C get` are here.
pub const RESULT: &str = "/var/run/isakmpd.result";

/// Replaces the content of the result file. What is wrong is logged.
pub fn write_result(content: &[u8], files: &dyn Files, log: &Log) {
    let written = files
        .open(Path::new(RESULT), Access::Public)
        .and_then(|mut file| file.write_all(content));
    if let Err(error) = written {
        log.error("ui_open_result: fopen() failed", &error);
    }
}

/// Replaces the content of the report file.
pub fn write_report<'a>(
    path: &Path,
    lines: impl Iterator<Item = &'a str>,
    files: &dyn Files,
    log: &Log,
) {
    // It may have secrets.
    let mut content = zeroize::Zeroizing::new(Vec::new());
    for line in lines {
        content.extend_from_slice(&log.report_line(line));
    }
    let written = files
        .open(path, Access::Private)
        .and_then(|mut file| file.write_all(&content));
    if let Err(error) = written {
        log.error(
            format!("report: fopen (\"{}\", \"w\") failed", path.display()),
            &error,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::rc::Rc;

    use super::*;
    use crate::files::{Direct, Rules};

    #[test]
    fn a_report_is_roots_alone_and_replaced() {
        let directory = tempfile::tempdir().expect("directory");
        let log = Rc::new(Log::memory());
        let rules = Rules::new("/none".into(), directory.path().to_owned());
        let files = Direct::new(rules, Rc::clone(&log));
        let path = directory.path().join("report");
        for lines in [&["sa_report: a", "b"][..], &["c"]] {
            write_report(&path, lines.iter().copied(), &files, &log);
            let text = std::fs::read_to_string(&path).expect("written");
            let written: Vec<&str> = text.lines().map(|line| &line[14..]).collect();
            let expected: Vec<String> =
                lines.iter().map(|line| format!("Report> {line}")).collect();
            assert_eq!(written, expected);
        }
        assert_eq!(
            std::fs::metadata(&path).expect("there").mode() & 0o777,
            0o600
        );
        write_report(Path::new("/none/x"), [].into_iter(), &files, &log);
        let texts = log.texts();
        let failed = "Default report: fopen (\"/none/x\", \"w\") failed: ";
        assert!(
            texts.iter().any(|line| line.starts_with(failed)),
            "{texts:?}"
        );
    }
}
