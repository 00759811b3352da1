//! Medians and ratios as tables that go into BENCHMARKS.md as they are.

use std::fmt::Write as _;

/// Rows in the order in which they were first measured; for each subject the values of all rounds.
#[derive(Debug)]
pub(crate) struct Table {
    subjects: Vec<&'static str>,
    rows: Vec<(String, usize, Vec<Vec<f64>>)>,
}

impl Table {
    /// Without rows.
    pub(crate) fn new(subjects: Vec<&'static str>) -> Table {
        Table {
            subjects,
            rows: Vec::new(),
        }
    }

    /// A value of one subject with so many digits behind the point.
    pub(crate) fn add(&mut self, subject: usize, label: String, digits: usize, value: f64) {
        let at = self.rows.iter().position(|row| row.0 == label);
        let at = at.unwrap_or_else(|| {
            self.rows
                .push((label, digits, vec![Vec::new(); self.subjects.len()]));
            self.rows.len() - 1
        });
        self.rows[at].2[subject].push(value);
    }

    /// Medians; in the last columns ours to the original, and to charon if that was measured.
    pub(crate) fn text(&self) -> String {
        let mut others = vec!["original"];
        others.extend(self.subjects.iter().filter(|name| **name == "charon"));
        let ratios: Vec<String> = others.iter().map(|other| format!("kx / {other}")).collect();
        let columns = self.subjects.len() + others.len();
        let mut out = format!(
            "| | {} | {} |\n",
            self.subjects.join(" | "),
            ratios.join(" | ")
        );
        let _ = writeln!(out, "| --- |{}", " ---: |".repeat(columns));
        for (label, digits, values) in &self.rows {
            let medians: Vec<f64> = values.iter().map(|v| median(v)).collect();
            let _ = write!(out, "| {label} |");
            for value in &medians {
                out.push_str(&cell(*value, *digits));
            }
            let of = |name: &str| {
                let at = self.subjects.iter().position(|s| *s == name);
                at.and_then(|at| medians.get(at).copied())
                    .unwrap_or(f64::NAN)
            };
            for other in &others {
                out.push_str(&cell(of("kx") / of(other), 2));
            }
            out.push('\n');
        }
        out
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn cell(value: f64, digits: usize) -> String {
    match value {
        v if v.is_nan() => " - |".to_owned(),
        v if v.is_infinite() => " never |".to_owned(),
        v => format!(" {v:.digits$} |"),
    }
}
