//! What of a measurement goes into which row.

use std::time::Duration;

use interop_tests::isakmpd::implementation::Implementation;

use crate::flood;
use crate::load::{Cost, Figures};
use crate::report::Table;
use crate::site::Kind;

/// Rows of one kind with so many peers, of one subject.
struct Rows<'a> {
    table: &'a mut Table,
    subject: usize,
    kind: Kind,
    peers: usize,
}

impl Rows<'_> {
    fn add(&mut self, label: &str, digits: usize, value: f64) {
        let label = format!("{}, {} peers: {label}", self.kind.name(), self.peers);
        self.table.add(self.subject, label, digits, value);
    }

    fn speed(&mut self, both: &Cost) {
        self.add(
            "negotiations per second",
            0,
            both.done as f64 / both.seconds,
        );
        if self.kind == Kind::Group14 {
            self.add("all tunnels (s)", 2, both.seconds);
        }
    }
}

/// All of it.
pub(crate) fn enter(table: &mut Table, subject: usize, kind: Kind, peers: usize, all: &Figures) {
    let [both, quick, renewed] = came_up("", peers, all);
    let mut rows = Rows {
        table,
        subject,
        kind,
        peers,
    };
    let main_mode = both.responder - quick.responder;
    rows.add("Main Mode, responder (CPU ms)", 3, main_mode);
    let main_mode = both.initiator - quick.initiator;
    rows.add("Main Mode, initiator (CPU ms)", 3, main_mode);
    rows.add("with Quick Mode, responder (CPU ms)", 3, both.responder);
    rows.add("with Quick Mode, initiator (CPU ms)", 3, both.initiator);
    rows.speed(both);
    if kind == Kind::Group14 {
        rows.add("rekey, responder (CPU ms)", 3, renewed.responder);
        rows.add("rekey, initiator (CPU ms)", 3, renewed.initiator);
        rows.add("memory per tunnel, responder (KiB)", 1, all.memory[1]);
        rows.add("memory per tunnel, initiator (KiB)", 1, all.memory[0]);
        rows.add(
            "memory in all, responder (MiB)",
            2,
            all.resident[1] / 1024.0,
        );
        rows.add(
            "memory in all, initiator (MiB)",
            2,
            all.resident[0] / 1024.0,
        );
        rows.add("longest round trip meanwhile (ms)", 1, all.stall);
    }
}

/// What was charon's part in it: the initiator is ours, its ESP is encapsulated, and so its figures are not asked for.
pub(crate) fn enter_charon(
    table: &mut Table,
    subject: usize,
    kind: Kind,
    peers: usize,
    all: &Figures,
) {
    let [both, quick, renewed] = came_up("charon: ", peers, all);
    let mut rows = Rows {
        table,
        subject,
        kind,
        peers,
    };
    let main_mode = both.responder - quick.responder;
    rows.add("Main Mode, responder (CPU ms)", 3, main_mode);
    rows.add("with Quick Mode, responder (CPU ms)", 3, both.responder);
    rows.speed(both);
    if kind == Kind::Group14 {
        rows.add("rekey, responder (CPU ms)", 3, renewed.responder);
        rows.add("memory per tunnel, responder (KiB)", 1, all.memory[1]);
    }
}

/// The three runs; says it if one was not whole.
fn came_up<'a>(who: &str, peers: usize, all: &'a Figures) -> [&'a Cost; 3] {
    let runs = [&all.both, &all.quick, &all.renewed];
    if runs.iter().any(|run| run.done < peers) {
        let done = runs.map(|run| run.done);
        eprintln!("{who}only {done:?} of {peers} came up");
    }
    runs
}

/// A flood.
pub(crate) fn enter_flood(table: &mut Table, at: usize, isakmpd: &Implementation, lasts: Duration) {
    let flood = flood::measure([isakmpd, isakmpd], lasts);
    let mut add = |label: &str, digits, value| {
        table.add(at, format!("flood: {label}"), digits, value);
    };
    add("spoofed messages per second", 0, flood.sent);
    add("rekey without it, median (ms)", 1, flood.quiet);
    add("rekeys that were done", 0, flood.rekeys as f64);
    add("rekey, median (ms)", 1, flood.middle);
    add("rekey, longest (ms)", 1, flood.longest);
    add("responder's memory before (MiB)", 1, flood.before / 1024.0);
    add("responder's memory at most (MiB)", 1, flood.most / 1024.0);
}
