//! Spoofed first messages, each from another address, while an established peer rekeys.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use interop_tests::isakmpd::implementation::Implementation;
use interop_tests::isakmpd::packets::{Spoofer, first_message};
use interop_tests::wait;

use crate::load::{Pair, Responder};
use crate::site::{Kind, RESPONDER};

/// Messages in a ms.
const RATE: u32 = 10;
const DONE: &str = "isakmpd: quick mode done: ";

/// What a flood does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flood {
    /// Spoofed messages per second that were sent.
    pub sent: f64,
    /// Rekeys that were done while it lasted.
    pub rekeys: usize,
    /// The middle one and the longest, ms.
    pub middle: f64,
    pub longest: f64,
    /// The same without a flood.
    pub quiet: f64,
    /// Responder's memory before, and at most, KiB.
    pub before: f64,
    pub most: f64,
}

fn rekey(pair: &Pair) -> f64 {
    let mark = pair.left.mark();
    let began = Instant::now();
    pair.left.send("t quick conn-0\nc conn-0");
    let done = wait::until(Duration::from_secs(30), || {
        (pair.left.count_since(mark, DONE) > 0).then_some(())
    });
    match done {
        Some(()) => began.elapsed().as_secs_f64() * 1e3,
        None => f64::INFINITY,
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A flood that lasts so long.
pub(crate) fn measure(isakmpd: [&Implementation; 2], lasts: Duration) -> Flood {
    let pair = Pair::start(isakmpd, Kind::Group14, 1);
    pair.left.command("c conn-0");
    if let Responder::Isakmpd(right) = &pair.right {
        right.wait_for("isakmpd: quick mode done (as responder): ");
    }
    let [_, responder] = pair.processes();
    let quiet = middle((0..5).map(|_| rekey(&pair)).collect());
    let before = responder.resident_kib();
    let over = AtomicBool::new(false);
    let sent = AtomicU32::new(0);
    let began = Instant::now();
    let (mut took, mut most) = (Vec::new(), before);
    let rate = std::thread::scope(|scope| {
        let spoofer = Spoofer::new(&pair.network.left);
        let (over, sent) = (&over, &sent);
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let ms = u32::try_from(began.elapsed().as_millis()).unwrap_or(0);
                for number in sent.load(Ordering::Relaxed)..ms.saturating_mul(RATE) {
                    let source = Ipv4Addr::from(0xac10_0000 + number % 0x000f_0000);
                    let first = first_message(u64::from(number) + 1);
                    let _ = spoofer.send((source, 500), (RESPONDER, 500), &first);
                    sent.store(number + 1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        while began.elapsed() < lasts {
            std::thread::sleep(Duration::from_millis(200));
            took.push(rekey(&pair));
            most = most.max(responder.resident_kib());
        }
        let rate = f64::from(sent.load(Ordering::Relaxed)) / began.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        rate
    });
    Flood {
        sent: rate,
        rekeys: took.iter().filter(|t| t.is_finite()).count(),
        longest: took.iter().copied().fold(0.0, f64::max),
        middle: middle(took),
        quiet,
        before,
        most,
    }
}
