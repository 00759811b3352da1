//! Medians and ratios as a table that goes into BENCHMARKS.md as it is.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use crate::server::Subject;
use crate::{Amounts, CLIENTS};

/// What one subject showed in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) fresh_cpu_ms: f64,
    pub(crate) fresh_per_second: f64,
    pub(crate) fresh_p50_ms: f64,
    pub(crate) fresh_p99_ms: f64,
    pub(crate) keep_alive_cpu_us: f64,
    pub(crate) keep_alive_per_second: f64,
    pub(crate) keep_alive_p50_ms: f64,
    pub(crate) keep_alive_p99_ms: f64,
    pub(crate) start_ms: f64,
    pub(crate) rss_idle_mb: f64,
    pub(crate) rss_first_mb: f64,
    pub(crate) rss_after_mb: f64,
    pub(crate) rss_with_idle_mb: f64,
    pub(crate) kxc_ms: f64,
}

/// A row of the table: what it is and where it is found.
type Row = (&'static str, fn(&Figures) -> f64);

const ROWS: &[Row] = &[
    ("server CPU per key, fresh connection (ms)", |f| {
        f.fresh_cpu_ms
    }),
    ("fresh connections per second", |f| f.fresh_per_second),
    ("fresh p50 (ms)", |f| f.fresh_p50_ms),
    ("fresh p99 (ms)", |f| f.fresh_p99_ms),
    ("server CPU per key, keep-alive (us)", |f| {
        f.keep_alive_cpu_us
    }),
    ("keep-alive requests per second", |f| {
        f.keep_alive_per_second
    }),
    ("keep-alive p50 (ms)", |f| f.keep_alive_p50_ms),
    ("keep-alive p99 (ms)", |f| f.keep_alive_p99_ms),
    ("start to first answer (ms)", |f| f.start_ms),
    ("RSS idle, before the first connection (MB)", |f| {
        f.rss_idle_mb
    }),
    ("RSS after the first answer (MB)", |f| f.rss_first_mb),
    ("RSS after the load (MB)", |f| f.rss_after_mb),
    ("RSS with idle connections (MB)", |f| f.rss_with_idle_mb),
    ("kxc, whole process (ms)", |f| f.kxc_ms),
];

/// A line on the terminal that the next one replaces; nothing in a pipe.
pub(crate) fn progress(text: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K{text}");
        let _ = err.flush();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Medians of all rounds, with the ratio to the first subject behind the others.
pub(crate) fn table(subjects: &[Subject], all: &[Vec<Figures>], amounts: Amounts) -> String {
    let mut out = String::new();
    let rounds = all.first().map_or(0, Vec::len);
    let _ = writeln!(
        out,
        "Medians of {rounds} rounds; {} fresh connections, {} keep-alive requests, {} idle connections, {CLIENTS} clients.\n",
        amounts.fresh, amounts.keep_alive, amounts.idle
    );
    let names: Vec<_> = subjects.iter().map(|s| s.name.as_str()).collect();
    let _ = writeln!(out, "| | {} |", names.join(" | "));
    let _ = writeln!(out, "| --- |{}", " ---: |".repeat(names.len()));
    for (label, of) in ROWS {
        let _ = write!(out, "| {label} |");
        let mut first = None;
        for figures in all {
            let value = median(figures.iter().map(of).collect());
            match first {
                None => {
                    first = Some(value);
                    let _ = write!(out, " {value:.3} |");
                }
                Some(base) => {
                    let _ = write!(out, " {value:.3} ({:.2}) |", value / base);
                }
            }
        }
        out.push('\n');
    }
    out
}
