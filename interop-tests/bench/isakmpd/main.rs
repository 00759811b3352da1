//! `make bench` for isakmpd: whole daemons in two network namespaces, without a kernel's SAs (`-n -K -T -v`). Ours,
//! and the original if `KX_REF_ISAKMPD` names one, take turns in each round, each with its own kind at both ends; so
//! does strongSwan's charon as a responder to ours, if `interop-tests/peers.sh` could unpack it. Printed are medians. `-many`: only ours with so many peers. A Main Mode is the difference between a tunnel to a new peer and a second one to the same.
//!
//! usage: kx-bench-isakmpd [-rounds N] [-quick] [-many N] DIRECTORY-OF-OURS

mod flood;
mod load;
mod report;
mod site;
mod usage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use interop_tests::isakmpd::implementation::{Implementation, original};
use interop_tests::isakmpd::missing;
use interop_tests::isakmpd::strongswan::strongswan;
use rustix::process::{Resource, getrlimit, setrlimit};

use load::{Figures, Pair};
use report::Table;
use site::Kind;

/// How much of everything.
struct Amounts {
    peers: Vec<usize>,
    many: usize,
    flood: Duration,
}

fn main() -> ExitCode {
    let mut rounds = 3;
    let mut amounts = Amounts {
        peers: vec![200, 1000],
        many: 10_000,
        flood: Duration::from_secs(5),
    };
    let mut ours: Option<PathBuf> = None;
    let mut args = std::env::args().skip(1);
    while let Some(word) = args.next() {
        match word.as_str() {
            "-rounds" => rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(rounds),
            "-quick" => {
                amounts = Amounts {
                    peers: vec![50],
                    many: 200,
                    flood: Duration::from_secs(2),
                }
            }
            "-many" => {
                amounts.peers.clear();
                amounts.flood = Duration::ZERO;
                amounts.many = args.next().and_then(|n| n.parse().ok()).unwrap_or(0);
            }
            dir => ours = std::path::absolute(Path::new(dir).join("isakmpd")).ok(),
        }
    }
    let Some(ours) = ours.filter(|program| program.is_file()) else {
        eprintln!("usage: kx-bench-isakmpd [-rounds N] [-quick] [-many N] DIRECTORY");
        return ExitCode::from(2);
    };
    if let Some(reason) = missing() {
        eprintln!("kx-bench-isakmpd: {reason}");
        return ExitCode::FAILURE;
    }
    // A socket for each address of the initiator.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, files) {
        eprintln!("kx-bench-isakmpd: descriptors: {e}");
    }
    let ours = Implementation {
        isakmpd: ours,
        original: false,
    };
    let mut subjects = vec![("kx", &ours)];
    match original() {
        Some(original) => subjects.insert(0, ("original", original)),
        None => println!("KX_REF_ISAKMPD names no original; it is left out.\n"),
    }
    let mut names: Vec<&'static str> = subjects.iter().map(|s| s.0).collect();
    match strongswan() {
        Some(_) => names.push("charon"),
        None => println!(
            "No strongSwan in target/peers (interop-tests/peers.sh); charon is left out.\n"
        ),
    }
    let charon = names.iter().position(|name| *name == "charon");
    let mut table = Table::new(names);
    for round in 1..=rounds {
        for kind in Kind::ALL {
            for &peers in &amounts.peers {
                for (at, (name, isakmpd)) in subjects.iter().enumerate() {
                    eprintln!(
                        "round {round}/{rounds}: {name}, {}, {peers} peers",
                        kind.name()
                    );
                    let figures = load::measure(&Pair::start([isakmpd, isakmpd], kind, peers));
                    enter(&mut table, at, kind, peers, &figures);
                }
                if let Some(at) = charon {
                    eprintln!(
                        "round {round}/{rounds}: charon, {}, {peers} peers",
                        kind.name()
                    );
                    let figures = load::measure(&Pair::with_charon(&ours, kind, peers));
                    enter_charon(&mut table, at, kind, peers, &figures);
                }
            }
        }
        for (at, (name, isakmpd)) in subjects.iter().enumerate() {
            if amounts.flood.is_zero() {
                continue;
            }
            eprintln!("round {round}/{rounds}: {name}, flood");
            enter_flood(&mut table, at, isakmpd, amounts.flood);
        }
        // The original would need some minutes.
        eprintln!("round {round}/{rounds}: kx, {} peers", amounts.many);
        let figures = load::measure(&Pair::start([&ours, &ours], Kind::Group14, amounts.many));
        enter(
            &mut table,
            subjects.len() - 1,
            Kind::Group14,
            amounts.many,
            &figures,
        );
    }
    println!(
        "Medians of {rounds} rounds; CPU of all threads of both processes of a daemon; {} negotiations under way at \
         once, {} seconds of flood.\n",
        load::WINDOW,
        amounts.flood.as_secs()
    );
    print!("{}", table.text());
    ExitCode::SUCCESS
}

fn enter(table: &mut Table, at: usize, kind: Kind, peers: usize, figures: &Figures) {
    let Figures {
        both,
        quick,
        renewed,
        memory,
        stall,
    } = figures;
    let name = kind.name();
    if both.done < peers || quick.done < peers || renewed.done < peers {
        eprintln!(
            "only {}, {}, {} of {peers} came up",
            both.done, quick.done, renewed.done
        );
    }
    let mut add = |label: &str, digits, value| {
        table.add(at, format!("{name}, {peers} peers: {label}"), digits, value);
    };
    add(
        "Main Mode, responder (CPU ms)",
        3,
        both.responder - quick.responder,
    );
    add(
        "Main Mode, initiator (CPU ms)",
        3,
        both.initiator - quick.initiator,
    );
    add("with Quick Mode, responder (CPU ms)", 3, both.responder);
    add("with Quick Mode, initiator (CPU ms)", 3, both.initiator);
    add(
        "negotiations per second",
        0,
        both.done as f64 / both.seconds,
    );
    if kind == Kind::Group14 {
        add("all tunnels (s)", 2, both.seconds);
        add("rekey, responder (CPU ms)", 3, renewed.responder);
        add("rekey, initiator (CPU ms)", 3, renewed.initiator);
        add("memory per tunnel, responder (KiB)", 1, memory[1]);
        add("memory per tunnel, initiator (KiB)", 1, memory[0]);
        add("longest round trip meanwhile (ms)", 1, *stall);
    }
}

/// What was charon's part in it: the initiator is ours, its ESP is encapsulated, and so its figures are not asked for.
fn enter_charon(table: &mut Table, at: usize, kind: Kind, peers: usize, figures: &Figures) {
    let Figures {
        both,
        quick,
        renewed,
        ..
    } = figures;
    let name = kind.name();
    if both.done < peers || quick.done < peers || renewed.done < peers {
        eprintln!(
            "charon: only {}, {}, {} of {peers} came up",
            both.done, quick.done, renewed.done
        );
    }
    let mut add = |label: &str, digits, value| {
        table.add(at, format!("{name}, {peers} peers: {label}"), digits, value);
    };
    let main_mode = both.responder - quick.responder;
    add("Main Mode, responder (CPU ms)", 3, main_mode);
    add("with Quick Mode, responder (CPU ms)", 3, both.responder);
    add(
        "negotiations per second",
        0,
        both.done as f64 / both.seconds,
    );
    if kind == Kind::Group14 {
        add("all tunnels (s)", 2, both.seconds);
        add("rekey, responder (CPU ms)", 3, renewed.responder);
        add("memory per tunnel, responder (KiB)", 1, figures.memory[1]);
    }
}

fn enter_flood(table: &mut Table, at: usize, isakmpd: &Implementation, lasts: Duration) {
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
