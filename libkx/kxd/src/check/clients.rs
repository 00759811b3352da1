//! `allowed_clients`: the verdict on each block, which the server does not tell.

use std::collections::HashMap;
use std::path::PathBuf;

use kx_cert::anchors::{EntryProblem, entries};
use kx_cert::verify;

use super::report::Report;
use super::{CheckConfig, data_dir, server_pair};
use crate::key_store::ALLOWED_CLIENTS_LIMIT;

pub(super) fn check(report: &mut Report, config: &CheckConfig, path: &PathBuf) {
    let Some(text) = data_dir::read_list(report, path, ALLOWED_CLIENTS_LIMIT) else {
        return;
    };
    let mut lines = HashMap::new();
    for entry in entries(&text) {
        let place = (path.as_path(), entry.line);
        let certificate = match entry.verdict {
            Ok(certificate) => certificate,
            Err(EntryProblem::Label(label)) if label.ends_with("PRIVATE KEY") => {
                let problem = format!("block is ignored: it is a client's secret ({label})");
                report.error(place, problem, "remove it, it belongs to the client alone");
                continue;
            }
            Err(problem) => {
                let problem = format!("block is ignored: {problem}");
                report.error(place, problem, "copy the client's certificate anew");
                continue;
            }
        };
        if let Some(first) = lines.insert(certificate.der().to_vec(), entry.line) {
            let problem = format!("same certificate as in line {first}");
            report.warning(place, problem, "remove one");
            continue;
        }
        server_pair::check_validity(report, place, &certificate, config);
        if !certificate.unhandled_critical_extensions().is_empty() {
            let problem = "certificate never passes: x509: unhandled critical extension";
            report.error(place, problem, "make it without that extension");
        }
        // It must pass as the client's own certificate and as the end of a chain; for both the
        // usage that counts is the server's.
        if !verify::serves(&certificate) {
            let problem =
                "certificate never passes: x509: certificate specifies an incompatible key usage";
            let advice =
                "make it without extended key usage or with serverAuth (clientAuth does not count)";
            report.error(place, problem, advice);
        }
    }
    if lines.is_empty() {
        let problem = "holds no certificate, so every request for the key fails";
        report.error(
            path.as_path(),
            problem,
            "add a client with kxd-add-client-key",
        );
    }
}
