//! Medians and ratios as a table that goes into BENCHMARKS.md as it is.

use std::fmt::Write as _;

use crate::load::{Amounts, CLIENTS, CROWD, Figures, Subject};

/// What it is, digits behind the point, where it is found.
type Row = (&'static str, usize, fn(&Figures) -> f64);

const ROWS: &[Row] = &[
    ("authenticated sessions per second", 0, |f| f.sessions),
    ("logins per second", 0, |f| f.logins),
    ("checks of a secret per second, one client", 0, |f| f.checks),
    ("the same, all clients", 0, |f| f.checks_at_once),
    ("the service's processor time for each (us)", 1, |f| {
        f.check_us
    }),
    ("the clients' processor time for each (us)", 1, |f| {
        f.client_us
    }),
    ("changes of a secret per second, one client", 0, |f| {
        f.changes
    }),
    ("the same, all clients", 0, |f| f.changes_at_once),
    ("the same, the crowd", 0, |f| f.changes_of_crowd),
    ("fsyncs for each change, one client", 1, |f| f.syncs),
    ("start with the large database (s)", 2, |f| f.large_start),
    ("checks per second there, one client", 0, |f| f.large_checks),
    ("changes per second there, one client", 0, |f| {
        f.large_changes
    }),
    ("memory, nobody connected (kB)", 0, |f| f.idle_kb),
    ("more for each session (kB)", 1, |f| f.session_kb),
];

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn cell(value: f64, digits: usize) -> String {
    match value.is_finite() {
        true => format!(" {value:.digits$} |"),
        false => " - |".to_owned(),
    }
}

/// Medians of all rounds; ours to the original in the last column.
pub(crate) fn table(subjects: &[Subject], all: &[Vec<Figures>], amounts: Amounts) -> String {
    let rounds = all.first().map_or(0, Vec::len);
    let Amounts {
        each,
        users,
        connections,
    } = amounts;
    let mut out = format!(
        "Medians of {rounds} rounds of {each:?} for each figure. Keys and group of 1024 bits; {CLIENTS} clients, which \
         run on the same machine and whose work is in the figures, a crowd of {CROWD}; the large database has {users} users; memory is \
         PSS of all processes, with {connections} sessions.\n\n"
    );
    let names: Vec<_> = subjects.iter().map(Subject::name).collect();
    let _ = writeln!(out, "| | {} | ratio |", names.join(" | "));
    let _ = writeln!(out, "| --- |{}", " ---: |".repeat(names.len() + 1));
    for (label, digits, of) in ROWS {
        let medians: Vec<f64> = all.iter().map(|f| median(f.iter().map(of))).collect();
        let _ = write!(out, "| {label} |");
        for value in &medians {
            out.push_str(&cell(*value, *digits));
        }
        let ratio = match medians.as_slice() {
            [original, ours] => ours / original,
            _ => f64::NAN,
        };
        let _ = writeln!(out, "{}", cell(ratio, 2));
    }
    out
}
