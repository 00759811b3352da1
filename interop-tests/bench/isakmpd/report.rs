//! Medians and ratios as tables that go into BENCHMARKS.md as they are.

use std::fmt::Write as _;

/// Rows in the order in which they were first measured; for each subject the values of all rounds.
#[derive(Debug)]
pub(crate) struct Table {
    subjects: Vec<String>,
    rows: Vec<(String, usize, Vec<Vec<f64>>)>,
}

impl Table {
    /// Without rows.
    pub(crate) fn new(subjects: &[&str]) -> Table {
        Table {
            subjects: subjects.iter().map(|name| (*name).to_owned()).collect(),
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

    /// What `of` makes of the values of all rounds; in the last columns ours to each of the others.
    pub(crate) fn text(&self, of: fn(&[f64]) -> f64) -> String {
        let others = self.subjects.iter().filter(|name| *name != "kx");
        let others: Vec<&str> = others.map(String::as_str).collect();
        let ratios: Vec<String> = others.iter().map(|other| format!("kx / {other}")).collect();
        let columns = self.subjects.len() + others.len();
        let mut out = format!(
            "| | {} | {} |\n",
            self.subjects.join(" | "),
            ratios.join(" | ")
        );
        let _ = writeln!(out, "| --- |{}", " ---: |".repeat(columns));
        for (label, digits, values) in &self.rows {
            let values: Vec<f64> = values.iter().map(|values| of(values)).collect();
            let _ = write!(out, "| {label} |");
            for value in &values {
                out.push_str(&cell(*value, *digits));
            }
            let value = |name: &str| {
                let at = self.subjects.iter().position(|s| s == name);
                at.and_then(|at| values.get(at).copied())
                    .unwrap_or(f64::NAN)
            };
            for other in &others {
                out.push_str(&cell(value("kx") / value(other), 2));
            }
            out.push('\n');
        }
        out
    }
}

/// The one in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The least.
pub(crate) fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}

fn cell(value: f64, digits: usize) -> String {
    match value {
        v if v.is_nan() => " - |".to_owned(),
        v if v.is_infinite() => " never |".to_owned(),
        v => format!(" {v:.digits$} |"),
    }
}
