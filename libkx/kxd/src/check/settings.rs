//! What stands on the command line itself: addresses and log files.

use std::path::Path;

use rustix::fs::Access;

use super::CheckConfig;
use super::files;
use super::report::Report;
use crate::email::address::{AddressError, parse_port, split_host_port};

pub(super) fn check(report: &mut Report, config: &CheckConfig) {
    check_listen_address(report, config);
    check_mail(report, config);
    for log in &config.logs {
        check_log(report, log);
    }
}

fn check_listen_address(report: &mut Report, config: &CheckConfig) {
    let joined = format!("{}:{}", config.ip_addr, config.port);
    if let Err(e) = split_host_port(&joined) {
        let advice = match e {
            AddressError::TooManyColons => "put an IPv6 address in brackets",
            _ => "give an address, or an IPv6 address in brackets",
        };
        report.error("--ip_addr", format_args!("{joined}: {e}"), advice);
    }
    if !(0..=65535).contains(&config.port) {
        report.error(
            "--port",
            format_args!("{} is no port", config.port),
            "use 1 to 65535",
        );
    } else if config.port == 0 {
        let problem = "port 0 is another free port at each start";
        report.warning("--port", problem, "give a port that clients can know");
    }
}

fn check_mail(report: &mut Report, config: &CheckConfig) {
    if config.smtp_addr.is_empty() {
        return;
    }
    let services = files::read(Path::new("/etc/services"), 1 << 20).ok();
    let services = services.map(|text| String::from_utf8_lossy(&text).into_owned());
    let parsed = split_host_port(&config.smtp_addr)
        .and_then(|(_, port)| parse_port(port, services.as_deref()));
    if let Err(e) = parsed {
        let problem = format!(
            "{}: {e}, so no key with an email_to is given",
            config.smtp_addr
        );
        report.error("--smtp_addr", problem, "write HOST:PORT");
    }
    let from = &config.email_from;
    if from.contains(['\r', '\n']) {
        report.error(
            "--email_from",
            "has a line break, so no mail can be sent",
            "remove it",
        );
    } else if !from.contains('@') || from.ends_with('@') || from.starts_with('@') {
        let problem = format!("{from:?} is no mail address");
        report.warning("--email_from", problem, "write NAME@HOST");
    }
}

/// Whether a log file can be appended to, or made. It is not made here.
fn check_log(report: &mut Report, path: &Path) {
    let (wanted, what) = if path.exists() {
        (path, "cannot be written to")
    } else {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        (parent.unwrap_or(Path::new(".")), "cannot be made")
    };
    if path.is_dir() {
        report.error(path, "log file is a directory", "name a file in it");
    } else if let Err(e) = rustix::fs::access(wanted, Access::WRITE_OK) {
        let why = files::text(&e.into());
        report.error(
            path,
            format_args!("log file {what}: {why}"),
            "choose another, or its modes",
        );
    }
}
