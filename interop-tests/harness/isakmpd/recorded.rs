//! The recordings of the original: configurations to be run again, log lines and `S` results to compare with.

use std::fs;
use std::path::PathBuf;

use crate::isakmpd::daemon::{Setup, text_of};

/// One directory of `vectors/isakmpd`.
#[derive(Debug, Clone)]
pub struct Recording {
    dir: PathBuf,
}

impl Recording {
    /// The recording of this name.
    pub fn new(name: &str) -> Recording {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/isakmpd");
        Recording {
            dir: dir.join(name),
        }
    }

    fn text(&self, file: &str) -> String {
        let path = self.dir.join(file);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// How `role` (`initiator`, `responder`) was started.
    pub fn setup(&self, role: &str) -> Setup {
        let mut setup = Setup::new(self.text(&format!("{role}.conf"))).option("-L");
        if let Ok(policy) = fs::read(self.dir.join(format!("{role}.policy"))) {
            setup = setup.policy(policy);
        }
        let (own, other, others_address) = match role {
            "initiator" => ("A", "B", "10.77.0.2"),
            _ => ("B", "A", "10.77.0.1"),
        };
        let certificates = self.dir.ends_with("mm-rsa-x509-aes256-sha256-g14-pfs");
        if let Ok(key) = fs::read(self.dir.join(format!("{own}.key"))) {
            setup = setup.file("private/local.key", key, 0o600);
            if certificates {
                // Each has the other's certificate too: the original never asks for one.
                for name in ["A.crt", "B.crt"] {
                    setup = setup.file(&format!("certs/{name}"), self.text(name), 0o644);
                }
                setup = setup.file("ca/ca.crt", self.text("ca.crt"), 0o644);
            } else {
                let key = self.text(&format!("{other}.pub"));
                setup = setup.file(&format!("pubkeys/ipv4/{others_address}"), key, 0o644);
            }
        }
        setup
    }

    /// Log lines of `role`, without times.
    pub fn log(&self, role: &str) -> Vec<String> {
        self.text(&format!("{role}-log.txt"))
            .lines()
            .map(text_of)
            .collect()
    }

    /// The result of `S` of `role`, normalized.
    pub fn sas(&self, role: &str) -> Vec<String> {
        normalized_sas(&self.text(&format!("{role}-S-result.txt")))
    }
}

/// The result of `S` without what differs from run to run: order, SPIs, cookies, remaining times. Lines of
/// phase 2 timers are left out: the recordings' stub kernel did not always start them.
pub fn normalized_sas(text: &str) -> Vec<String> {
    let blocks = text.split("\n\n").filter(|b| !b.trim().is_empty());
    let mut sas: Vec<String> = blocks
        .map(|block| {
            let phase_2 = block.contains("(Phase 2)");
            let lines = block
                .lines()
                .filter(|l| !(phase_2 && l.contains(" timeout in ")));
            lines.map(normalized_line).collect::<Vec<_>>().join("\n")
        })
        .collect();
    sas.sort();
    sas
}

fn normalized_line(line: &str) -> String {
    let hexadecimal = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    for (prefix, digits) in [("SPI 0: ", 8), ("SPI 1: ", 8)] {
        let value = line.strip_prefix(prefix).and_then(|v| v.strip_suffix(' '));
        if value.is_some_and(|v| hexadecimal(v, digits)) {
            return format!("{prefix}SPI ");
        }
    }
    for prefix in ["Soft timeout in ", "Hard timeout in "] {
        let value = line
            .strip_prefix(prefix)
            .and_then(|v| v.strip_suffix(" seconds"));
        if value.is_some_and(|v| v.parse::<u32>().is_ok()) {
            return format!("{prefix}N seconds");
        }
    }
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["icookie", i, "rcookie", r] if hexadecimal(i, 16) && hexadecimal(r, 16) => {
            "icookie I rcookie R".to_owned()
        }
        _ => line.to_owned(),
    }
}
