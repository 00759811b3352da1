//! `make bench` for isakmpd: whole daemons in two network namespaces, without a kernel's SAs (`-n -K -T -v`). Ours,
//! and the original if `KX_REF_ISAKMPD` names one, take turns in each round, each with its own kind at both ends; so
//! does strongSwan's charon as a responder to ours, if `interop-tests/peers.sh` could unpack it. Printed are medians. A
//! Main Mode is the difference between a tunnel to a new peer and a second one to the same.
//!
//! `-many`: only ours with so many peers. `-only KIND`: only ours, group14, ecp256 or rsa2048, with 200 peers or as
//! `-peers` says, and the least of each figure, too, which other work on the machine changes the least. Other builds of
//! ours, given as NAME=DIRECTORY before the last one, take their turns, too.
//!
//! usage: kx-bench-isakmpd [-rounds N] [-quick] [-many N] [-only KIND] [-peers N] [NAME=DIRECTORY] ... DIRECTORY-OF-OURS

mod arguments;
mod flood;
mod load;
mod report;
mod rows;
mod site;
mod usage;

use std::process::ExitCode;

use interop_tests::isakmpd::implementation::{Implementation, original};
use interop_tests::isakmpd::missing;
use interop_tests::isakmpd::strongswan::strongswan;
use rustix::process::{Resource, getrlimit, setrlimit};

use arguments::{Amounts, Arguments, USAGE};
use load::Pair;
use report::{Table, least, median};
use site::Kind;

fn main() -> ExitCode {
    let Some(Arguments {
        rounds,
        amounts,
        ours,
    }) = Arguments::parse(std::env::args().skip(1))
    else {
        eprintln!("{USAGE}");
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
    let mut subjects: Vec<(&str, &Implementation)> = ours.iter().map(|(n, i)| (&**n, i)).collect();
    let mut charon = None;
    if !amounts.alone {
        match original() {
            Some(original) => subjects.insert(0, ("original", original)),
            None => println!("KX_REF_ISAKMPD names no original; it is left out.\n"),
        }
        match strongswan() {
            Some(_) => charon = Some(subjects.len()),
            None => println!(
                "No strongSwan in target/peers (interop-tests/peers.sh); charon is left out.\n"
            ),
        }
    }
    let mut names: Vec<&str> = subjects.iter().map(|s| s.0).collect();
    names.extend(charon.map(|_| "charon"));
    let mut table = Table::new(&names);
    for round in 1..=rounds {
        one_round(
            &mut table,
            &amounts,
            &subjects,
            charon,
            &format!("round {round}/{rounds}"),
        );
    }
    println!(
        "Medians of {rounds} rounds; CPU of all threads of both processes of a daemon; {} negotiations under way at \
         once, {} seconds of flood.\n",
        load::WINDOW,
        amounts.flood.as_secs()
    );
    print!("{}", table.text(median));
    if amounts.alone {
        print!("\nThe least of them:\n\n{}", table.text(least));
    }
    ExitCode::SUCCESS
}

/// All subjects, the last of which is ours, take their turns with everything. `charon`: its column.
fn one_round(
    table: &mut Table,
    amounts: &Amounts,
    subjects: &[(&str, &Implementation)],
    charon: Option<usize>,
    round: &str,
) {
    let Some((last, (_, ours))) = subjects.iter().enumerate().next_back() else {
        return;
    };
    for &kind in &amounts.kinds {
        for &peers in &amounts.peers {
            let what = format!("{}, {peers} peers", kind.name());
            for (at, (name, isakmpd)) in subjects.iter().enumerate() {
                eprintln!("{round}: {name}, {what}");
                let figures = load::measure(&Pair::start([isakmpd, isakmpd], kind, peers));
                rows::enter(table, at, kind, peers, &figures);
            }
            if let Some(at) = charon {
                eprintln!("{round}: charon, {what}");
                let figures = load::measure(&Pair::with_charon(ours, kind, peers));
                rows::enter_charon(table, at, kind, peers, &figures);
            }
        }
    }
    if !amounts.flood.is_zero() {
        for (at, (name, isakmpd)) in subjects.iter().enumerate() {
            eprintln!("{round}: {name}, flood");
            rows::enter_flood(table, at, isakmpd, amounts.flood);
        }
    }
    if amounts.many > 0 {
        // The original would need some minutes.
        eprintln!("{round}: kx, {} peers", amounts.many);
        let figures = load::measure(&Pair::start([ours, ours], Kind::Group14, amounts.many));
        rows::enter(table, last, Kind::Group14, amounts.many, &figures);
    }
}
