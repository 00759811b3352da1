//! Medians and ratios as a table that goes into BENCHMARKS.md as it is.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use interop_tests::lab::{Lab, Settings};

use crate::apart;
use crate::load::LOSSY;
use crate::way::{Amounts, CLIENTS, Figures, LOSS, Way};

/// A row of the table: what it is, digits behind the point, and where it is found.
type Row = (&'static str, usize, fn(&Figures) -> f64);

const ROWS: &[Row] = &[
    ("bulk, one stream (Gbit/s)", 2, |f| f.bulk.gbit),
    ("streams that stood still for good, per round", 2, |f| {
        f.bulk.stalls
    }),
    ("CPU per GB, applications and daemons (s)", 2, |f| {
        f.bulk.cpu
    }),
    ("CPU per GB, both daemons (s)", 2, |f| f.bulk.daemon_cpu),
    ("4 streams at once (Gbit/s)", 2, |f| f.streams.several.gbit),
    (
        "the same, CPU per GB, applications and daemons (s)",
        2,
        |f| f.streams.several.cpu,
    ),
    ("the same, CPU per GB, both daemons (s)", 2, |f| {
        f.streams.several.daemon_cpu
    }),
    ("a stream alone (Gbit/s)", 2, |f| f.streams.alone.gbit),
    ("its longest pause (ms)", 2, |f| f.streams.alone.pause_ms),
    (
        "a stream beside 8 that open connections, full exchange (Gbit/s)",
        2,
        |f| f.streams.beside.gbit,
    ),
    ("its longest pause (ms)", 2, |f| f.streams.beside.pause_ms),
    ("connections per second beside it", 0, |f| {
        f.streams.opened_per_second
    }),
    ("short connections per second, full exchange", 0, |f| {
        f.full.per_second
    }),
    ("the same, resumed", 0, |f| f.resumed.per_second),
    ("8 at once, full exchange", 0, |f| f.full.at_once_per_second),
    ("8 at once, resumed where a session is there", 0, |f| {
        f.resumed.at_once_per_second
    }),
    ("connect to first answer, full, p50 (us)", 0, |f| {
        f.full.p50_us
    }),
    ("the same, p99 (us)", 0, |f| f.full.p99_us),
    ("connect to first answer, resumed, p50 (us)", 0, |f| {
        f.resumed.p50_us
    }),
    ("the same, p99 (us)", 0, |f| f.resumed.p99_us),
    (
        "a millisecond away: connect to first answer, full, p50 (us)",
        0,
        |f| f.far_us[0],
    ),
    ("the same, resumed", 0, |f| f.far_us[1]),
    ("CPU per connection, both daemons, full (us)", 0, |f| {
        f.full.daemon_cpu_us
    }),
    ("CPU per connection, both daemons, resumed (us)", 0, |f| {
        f.resumed.daemon_cpu_us
    }),
    ("20 MB under loss (s)", 2, |f| f.lossy_s),
    (
        "memory per silent connection, one daemon (octets)",
        0,
        |f| f.idle,
    ),
    (
        "CPU per question and answer among 10 connections, both daemons (us)",
        1,
        |f| f.among_us[0],
    ),
    ("the same among 1,000 (the original: 800)", 1, |f| {
        f.among_us[1]
    }),
    ("the same among 9,900", 1, |f| f.among_us[2]),
    ("the same among 50,000", 1, |f| f.among_us[3]),
];

/// A line on the terminal that the next one replaces; nothing in a pipe.
pub(crate) fn progress(text: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K{text}");
        let _ = err.flush();
    }
}

/// Of what was finished.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What the cable and the hosts were set to, as they say themselves.
fn setting(settings: Settings) -> String {
    let lab = Lab::new(settings);
    let offload = lab.client.output(
        "ethtool -k wire | grep -E '^(tcp-segmentation|generic-segmentation|generic-receive)-offload'",
    );
    let offload: Vec<_> = offload.lines().map(str::trim).collect();
    let route = lab.client.output("ip route show 10.77.0.0/24");
    let congestion = route.split("congctl ").nth(1);
    let congestion = congestion.and_then(|rest| rest.split_whitespace().next());
    let kernel = lab.client.output("uname -r");
    format!(
        "Linux {}, veth with MTU 1500, {}; congestion control {}{}",
        kernel.trim(),
        offload.join(", "),
        congestion.unwrap_or("of the system"),
        if apart::is_asked() {
            "; each host on a processor of its own"
        } else {
            ""
        }
    )
}

/// Columns of ours and of each other daemon in the same mode, and what their ratio is called. Ours is the last of
/// a mode.
fn pairs(ways: &[Way]) -> Vec<(usize, usize, String)> {
    let pair = |(theirs, way): (usize, &Way)| {
        let Way::Daemon(whose, ..) = way else {
            return None;
        };
        let ours = ways.iter().rposition(|other| other.mode() == way.mode())?;
        let title = format!("{} / {whose}", ways.get(ours)?.name());
        (ours != theirs).then_some((ours, theirs, title))
    };
    ways.iter().enumerate().filter_map(pair).collect()
}

/// Medians of all rounds, with ratios.
pub(crate) fn table(
    settings: Settings,
    ways: &[Way],
    all: &[Vec<Figures>],
    amounts: Amounts,
) -> String {
    let mut out = String::new();
    let rounds = all.first().map_or(0, Vec::len);
    let _ = writeln!(
        out,
        "{}. Medians of {rounds} rounds: a stream of {:?}; connections that carry four octets each way, one \
         after the other and {CLIENTS} at once, for {:?}; {} MB while {} % of the packets are lost on arrival \
         at each end; up to {} silent connections. In brackets the ratio to bare TCP.\n",
        setting(settings),
        amounts.bulk,
        amounts.short,
        LOSSY / 1_000_000,
        LOSS * 100.0,
        amounts.idle,
    );
    let names: Vec<_> = ways.iter().map(Way::name).collect();
    let pairs = pairs(ways);
    let _ = write!(out, "| | {} |", names.join(" | "));
    for (_, _, title) in &pairs {
        let _ = write!(out, " {title} |");
    }
    let columns = names.len() + pairs.len();
    out.push('\n');
    let _ = writeln!(out, "| --- |{}", " ---: |".repeat(columns));
    for (label, digits, of) in ROWS {
        let medians: Vec<f64> = all.iter().map(|f| median(f.iter().map(of))).collect();
        if medians.iter().all(|value| value.is_nan()) {
            continue;
        }
        let _ = write!(out, "| {label} |");
        let bare = match ways.first() {
            Some(Way::Bare) => medians.first().copied().unwrap_or(f64::NAN),
            _ => f64::NAN,
        };
        for (column, &value) in medians.iter().enumerate() {
            let _ = match (value.is_nan(), column == 0 || !(value / bare).is_finite()) {
                (true, _) => write!(out, " - |"),
                (false, true) => write!(out, " {value:.digits$} |"),
                (false, false) => write!(out, " {value:.digits$} ({:.2}) |", value / bare),
            };
        }
        for (ours, theirs, _) in &pairs {
            let at = |column: usize| medians.get(column).copied().unwrap_or(f64::NAN);
            let ratio = at(*ours) / at(*theirs);
            let _ = match ratio.is_nan() {
                true => write!(out, " - |"),
                false => write!(out, " {ratio:.2} |"),
            };
        }
        out.push('\n');
    }
    out
}
