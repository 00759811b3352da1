//! The command line.

use std::path::Path;
use std::time::Duration;

use interop_tests::isakmpd::implementation::Implementation;

use crate::site::Kind;

/// How it is called.
pub(crate) const USAGE: &str = "usage: kx-bench-isakmpd [-rounds N] [-quick] [-many N] [-only KIND] [-peers N] \
     [NAME=DIRECTORY] ... DIRECTORY";

/// How much of everything.
pub(crate) struct Amounts {
    pub kinds: Vec<Kind>,
    pub peers: Vec<usize>,
    /// Peers of one more measurement of ours; 0: none.
    pub many: usize,
    /// How long; zero: none.
    pub flood: Duration,
    /// Neither the original nor charon.
    pub alone: bool,
}

/// What it says.
pub(crate) struct Arguments {
    pub rounds: usize,
    pub amounts: Amounts,
    /// Builds of ours by their names; the last one is what all of it is about.
    pub ours: Vec<(String, Implementation)>,
}

impl Arguments {
    /// None: it is called in another way.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
        let mut rounds = 3;
        let mut amounts = Amounts {
            kinds: Kind::ALL.to_vec(),
            peers: vec![200, 1000],
            many: 10_000,
            flood: Duration::from_secs(5),
            alone: false,
        };
        let mut ours = Vec::new();
        while let Some(word) = words.next() {
            let mut number = || words.next()?.parse::<usize>().ok();
            match word.as_str() {
                "-rounds" => rounds = number()?,
                "-quick" => {
                    amounts.peers = vec![50];
                    amounts.many = 200;
                    amounts.flood = Duration::from_secs(2);
                }
                "-many" => {
                    amounts.peers.clear();
                    amounts.flood = Duration::ZERO;
                    amounts.many = number()?;
                }
                "-only" => {
                    let kind = words.next()?;
                    amounts.kinds = vec![Kind::ALL.into_iter().find(|k| k.word() == kind)?];
                    amounts.peers = vec![200];
                    amounts.many = 0;
                    amounts.flood = Duration::ZERO;
                    amounts.alone = true;
                }
                "-peers" => amounts.peers = vec![number()?],
                directory => {
                    let (name, directory) = directory.split_once('=').unwrap_or(("kx", directory));
                    let isakmpd = std::path::absolute(Path::new(directory).join("isakmpd")).ok()?;
                    if !isakmpd.is_file() {
                        return None;
                    }
                    let original = false;
                    ours.push((name.to_owned(), Implementation { isakmpd, original }));
                }
            }
        }
        (!ours.is_empty()).then_some(Arguments {
            rounds,
            amounts,
            ours,
        })
    }
}
