//! `-t 0` and `-t 1`: how fast this machine encrypts and authenticates; `-t 2`: the daemon loses
//! packets on purpose.

use std::io;
use std::time::{Duration, Instant};

use kx_crypto::aead::{self, Algorithm, NonceLen, Seal};
use kx_crypto::hkdf::hmac;
use kx_sys::signals::{Signals, number};

use crate::log::Log;
use crate::options::Options;

/// As much as fits a segment of an Ethernet.
const DATA: usize = 1420;
/// Operations between two looks at the clock.
const BETWEEN_LOOKS: u32 = 256;
/// Rates of which the average is printed.
const AVERAGED: u64 = 5;

/// Why a self test ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The cryptographic library does not work.
    #[error(transparent)]
    Aead(#[from] aead::Error),
    /// The system's.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Test 0: seals segments until a signal ends it.
///
/// # Errors
/// See [`TestError`].
pub fn cipher_throughput(log: &Log, signals: &Signals) -> Result<(), TestError> {
    let algorithm = Algorithm::Aes128Gcm;
    let key = vec![0; algorithm.key_len()];
    let mut seal = Seal::new(algorithm, &key, NonceLen::Eight)?;
    let mut data = vec![0; DATA];
    let mut nonce = 0u64;
    log.say(0, format_args!("Encrypting {DATA} bytes of data"));
    measure(log, signals, DATA, || {
        nonce = nonce.wrapping_add(1);
        std::hint::black_box(seal.seal(&nonce.to_le_bytes(), &[], &mut data)?);
        Ok(())
    })
}

/// Test 1: authenticates pieces (`-T length`, `-T number`) until a signal ends it.
///
/// # Errors
/// See [`TestError`].
pub fn mac_throughput(log: &Log, signals: &Signals, options: &Options) -> Result<(), TestError> {
    let limited = |value: i32, most: usize| usize::try_from(value).unwrap_or(0).min(most);
    let length = limited(options.test_param(0, 8), 1 << 24);
    let count = limited(options.test_param(1, 1), 1024);
    log.say(
        0,
        format_args!("MACing {count} iovecs of {length} bytes each"),
    );
    let piece = vec![0; length];
    let pieces = vec![piece.as_slice(); count];
    measure(log, signals, DATA_OF_MAC, || {
        std::hint::black_box(hmac(&[0; 20], &pieces));
        Ok(())
    })
}

/// The original never sets the size for this test, so that its lines say `0 Mbit/s`.
const DATA_OF_MAC: usize = 0;

/// Runs an operation for ever and prints a line per second: how often, how many bits that is, and
/// after every fifth line the average of those.
fn measure(
    log: &Log,
    signals: &Signals,
    octets: usize,
    mut operation: impl FnMut() -> Result<(), TestError>,
) -> Result<(), TestError> {
    let mut start = Instant::now();
    let mut done = 0u64;
    let mut rates: Vec<u64> = Vec::new();
    loop {
        for _ in 0..BETWEEN_LOOKS {
            operation()?;
        }
        done += u64::from(BETWEEN_LOOKS);
        let passed = start.elapsed();
        if passed < Duration::from_secs(1) {
            continue;
        }
        if ended(signals)? {
            return Ok(());
        }
        let microseconds = passed.as_micros().max(1);
        let rate = u64::try_from(u128::from(done) * 1_000_000 / microseconds).unwrap_or(u64::MAX);
        let megabits = rate.saturating_mul(octets as u64).saturating_mul(8) / 1_000_000;
        let average = if rates.len() as u64 >= AVERAGED {
            let average = rates.iter().sum::<u64>() / AVERAGED;
            rates.clear();
            average
        } else {
            0
        };
        let line = format_args!("{rate} ops / sec ({megabits} Mbit/s) [avg {average}]");
        log.say(0, line);
        rates.push(rate);
        start = Instant::now();
        done = 0;
    }
}

fn ended(signals: &Signals) -> io::Result<bool> {
    while let Some(signal) = signals.next()? {
        // The state is not shown while a test runs, and nothing is encrypted that could leak without rules.
        if !matches!(signal, number::USER1 | number::USER2) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Test 2: which packets are lost. `-T` first packet (1 is the first), `-T` how many, `-T` which
/// packets are counted: 0 before, 1 after they were looked at, else incoming ones before and
/// outgoing ones after.
#[derive(Debug, Clone)]
pub struct Dropper {
    until: i32,
    times: i32,
    hook: i32,
}

/// Where a packet is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Before the daemon looks at it.
    Before,
    /// Afterwards.
    After,
}

impl Dropper {
    /// By the parameters of the command line; `None` if the first one is missing.
    #[must_use]
    pub fn new(options: &Options) -> Option<Dropper> {
        let dropper = Dropper {
            until: options.test_param(0, 0),
            times: options.test_param(1, 1),
            hook: options.test_param(2, -1),
        };
        (dropper.until > 0).then_some(dropper)
    }

    /// True if this packet is to be lost.
    pub fn drops(&mut self, point: Point, inward: bool) -> bool {
        let counted = match self.hook {
            0 => point == Point::Before,
            1 => point == Point::After,
            _ => inward == (point == Point::Before),
        };
        if !counted {
            return false;
        }
        if self.until != 1 {
            self.until = self.until.saturating_sub(1);
            return false;
        }
        if self.times == 0 {
            return false;
        }
        // Once only, however large the second parameter: the original counts on below 1, too.
        self.until = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(parameters: &[&str], point: Point, inward: bool) -> Vec<bool> {
        let options = Options {
            test_params: parameters.iter().map(Into::into).collect(),
            ..Options::default()
        };
        let mut dropper = Dropper::new(&options).expect("a number");
        (0..5).map(|_| dropper.drops(point, inward)).collect()
    }

    #[test]
    fn the_packets_asked_for_are_lost() {
        let none = [false; 5];
        let second = [false, true, false, false, false];
        assert_eq!(dropped(&["2"], Point::Before, true), second);
        assert_eq!(dropped(&["2", "2"], Point::After, false), second);
        assert_eq!(dropped(&["2", "-1"], Point::After, false), second);
        assert_eq!(dropped(&["2", "0"], Point::After, false), none);
        assert_eq!(dropped(&["2", "2"], Point::Before, false), none);
        assert_eq!(dropped(&["2", "2"], Point::After, true), none);
        assert!(dropped(&["1", "1", "0"], Point::Before, false)[0]);
        assert_eq!(dropped(&["1", "1", "1"], Point::Before, false), none);
        assert!(Dropper::new(&Options::default()).is_none());
    }
}
