//! `make bench` for tcpcrypt: two hosts in network namespaces, joined by a cable, whole daemons at both ends.
//!
//! Six ways over the same cable with the same settings take turns in each round: bare TCP; TLS 1.3 with the
//! same curve and cipher; a queue whose packets are all accepted unchanged, at both ends; the original, if
//! `KX_REF_TCPCRYPTD` names one; ours in divert mode, and in redirect mode by the standard.
//! Printed are medians over the rounds, with the ratio to bare TCP in brackets, and ours to the original and to
//! other builds. CPU time is the scheduler's own (nanoseconds, all threads).
//!
//! `-only`: only these parts: bulk, streams, full, resumed, far, lossy, idle, many.
//! `-apart`: for streams and short connections each host has a processor of its own.
//! `-ways`: only these ways: bare, tls, queue, original, kx, redirect, and redirect0, which is redirect mode with
//! `--threads=0` and is measured only if named. Other builds of ours, given as NAME=DIRECTORY before the last one,
//! take their turns in the same modes.
//!
//! usage: kx-bench-tcpcrypt [-rounds N] [-quick] [-only PART,...] [-ways WAY,...] [-offload off|nic|on]
//!        [-apart] [NAME=DIRECTORY] ... DIRECTORY-OF-OURS

mod accept_all;
mod apart;
mod far;
mod holders;
mod load;
mod over;
mod report;
mod streams;
mod way;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use interop_tests::lab::implementation::{Implementation, original};
use interop_tests::lab::{Offload, Settings, missing};

use way::{Amounts, Mode, Way};

fn main() -> ExitCode {
    let mut rounds = 3;
    let mut amounts = Amounts {
        bulk: Duration::from_millis(1500),
        short: Duration::from_millis(1000),
        idle: 3000,
        questions: 20_000,
        many: 50_000,
    };
    let mut only = None;
    let mut offload = Offload::Off;
    let mut chosen: Option<String> = None;
    let mut builds: Vec<(&'static str, &'static Implementation)> = Vec::new();
    let mut ours = None;
    let mut args = std::env::args().skip(1);
    while let Some(word) = args.next() {
        match word.as_str() {
            // What the program calls itself with, inside a host.
            "-accept-all" => return accept_all::run(),
            "-delay" => return far::run(),
            "-hold" => return holders::run(),
            "-rounds" => rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(rounds),
            "-only" => only = args.next(),
            "-apart" => apart::ask(),
            "-ways" => chosen = args.next(),
            // "tcpcrypt-datapath spec 0"
            "-offload" => {
                offload = match args.next().as_deref() {
                    Some("on") => Offload::On,
                    Some("nic") => Offload::Nic,
                    _ => Offload::Off,
                }
            }
            "-quick" => {
                amounts = Amounts {
                    bulk: Duration::from_millis(400),
                    short: Duration::from_millis(300),
                    idle: 300,
                    questions: 1000,
                    many: 300,
                }
            }
            dir if dir.starts_with('-') => ours = None,
            dir => match dir.split_once('=') {
                Some((name, dir)) => {
                    let Some(other) = Implementation::in_directory(Path::new(dir)) else {
                        eprintln!("kx-bench-tcpcrypt: no tcpcryptd in {dir}");
                        return ExitCode::from(2);
                    };
                    // For as long as this program runs.
                    let name = Box::leak(Box::from(name));
                    builds.push((name, Box::leak(Box::new(other))));
                }
                None => ours = Implementation::in_directory(Path::new(dir)),
            },
        }
    }
    let Some(ours) = ours else {
        eprintln!(
            "usage: kx-bench-tcpcrypt [-rounds N] [-quick] [-only PART,...] [-ways WAY,...] [-offload off|nic|on] \
             [-apart] [NAME=DIRECTORY] ... DIRECTORY"
        );
        return ExitCode::from(2);
    };
    if let Some(reason) = missing() {
        println!("tcpcrypt was not measured: {reason}");
        return ExitCode::SUCCESS;
    }
    let settings = Settings {
        offload,
        ..Settings::default()
    };
    builds.push(("kx", Box::leak(Box::new(ours))));
    let is_chosen = |way| {
        let chosen = chosen.as_deref();
        chosen.map_or(way != Mode::RedirectAlone.way(), |chosen| {
            chosen.split(',').any(|one| one == way)
        })
    };
    let mut ways = Vec::new();
    ways.extend(is_chosen("bare").then_some(Way::Bare));
    ways.extend(is_chosen("tls").then_some(Way::Tls));
    ways.extend(is_chosen("queue").then_some(Way::Queue));
    match original().filter(|_| is_chosen("original")) {
        Some(original) => ways.push(Way::Daemon("original", original, Mode::Divert)),
        None if chosen.is_some() => {}
        None => println!("KX_REF_TCPCRYPTD names no original; it is left out.\n"),
    }
    for mode in Mode::ALL.into_iter().filter(|mode| is_chosen(mode.way())) {
        ways.extend(
            builds
                .iter()
                .map(|(name, build)| Way::Daemon(name, build, mode)),
        );
    }
    let mut all = vec![Vec::new(); ways.len()];
    for round in 1..=rounds {
        for (way, figures) in ways.iter().zip(&mut all) {
            report::progress(&format!("round {round}/{rounds}: {}", way.name()));
            figures.push(way::measure(
                way,
                settings,
                amounts,
                only.as_deref(),
                round == 1,
            ));
        }
    }
    report::progress("");
    print!("{}", report::table(settings, &ways, &all, amounts));
    ExitCode::SUCCESS
}
