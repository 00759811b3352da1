//! `kx-bench-xkek`: the software SmartCard-HSM in process and over the vpcd socket, beside what the
//! reference's emulation did (xkek spec 14b); the derivation from a share's password beside OpenSSL's; and the tools
//! beside the card that they wait for. `KX_BIN` names the same directory.
//!
//! `kx-bench-xkek [-rounds N] DIRECTORY-OF-THE-PROGRAMS`

mod overhead;

use std::error::Error;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use interop_tests::program::Guarded;
use interop_tests::wait;
use openssl::hash::MessageDigest;
use openssl::symm::Cipher;
use xkek::algorithm;
use xkek::card::Card;
use xkek::curve::Curve;
use xkek::cvc::{GenerationRequest, KeyAttributes, KeySpec, Reference};
use xkek::dkek::{ITERATIONS, ShareFile, no_progress};
use xkek::hsm::{Hsm, Initialization, Pin};
use xkek::kek::Kek;
use xkek::rng::System;
use xkek_io::{Limits, Spec, Transport};

type Outcome<T> = Result<T, Box<dyn Error>>;

const PIN: &[u8] = b"648219";
const SO_PIN: &[u8] = b"57621880";
/// What spec 14b measured, in the order of the rows, a second.
const REFERENCE: [f64; 6] = [33_000.0, 1000.0, 1970.0, 18.2, 230.0, 3850.0];
const ROWS: [&str; 6] = [
    "empty VERIFY",
    "P-256 key generation",
    "ECDSA P-256 signature",
    "RSA-2048 key generation",
    "RSA-2048 signature",
    "WRAP of an EC key",
];

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let mut rounds = 3;
    if words.first().is_some_and(|word| word == "-rounds") {
        rounds = words
            .get(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(rounds);
        words.drain(..2.min(words.len()));
    }
    let [bin] = words.as_slice() else {
        eprintln!("usage: kx-bench-xkek [-rounds N] DIRECTORY-OF-THE-PROGRAMS");
        return ExitCode::from(2);
    };
    match run(Path::new(bin), rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kx-bench-xkek: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(bin: &Path, rounds: u32) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("process");
    let spec = Spec::Vcard {
        state,
        authority: None,
    };
    let inside = best(rounds, Transport::open(&spec, Limits::default())?)?;

    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = format!("127.0.0.1:{port}");
    let card = start(bin, &directory.path().join("socket"), &address)?;
    let over = wait::until(Duration::from_secs(20), || {
        Transport::open(&Spec::Vpcd(address.clone()), Limits::default()).ok()
    });
    let over = best(rounds, over.ok_or("kx-vcard does not listen")?)?;
    drop(card);

    println!("| a second | reference | in process | over vpcd |");
    println!("| --- | ---: | ---: | ---: |");
    for (((row, reference), inside), over) in ROWS.iter().zip(REFERENCE).zip(inside).zip(over) {
        println!("| {row} | {reference:.0} | {inside:.0} | {over:.0} |");
    }
    let (openssl, ours) = derivation(rounds)?;
    println!();
    println!("| seconds | EVP_BytesToKey | ours |");
    println!("| --- | ---: | ---: |");
    println!("| DKEK share, 30 million MD5 | {openssl:.2} | {ours:.2} |");
    println!();
    overhead::table(bin)
}

fn start(bin: &Path, state: &Path, address: &str) -> Outcome<Guarded> {
    let program: PathBuf = bin.join("kx-vcard");
    let child = Command::new(&program)
        .arg("--state")
        .arg(state)
        .args(["--listen", address])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(Guarded(child))
}

/// The best of several rounds for each row.
fn best(rounds: u32, card: Transport) -> Outcome<[f64; 6]> {
    let mut hsm = Hsm::new(card);
    hsm.select()?;
    hsm.initialize(&Initialization {
        options: 1,
        user_pin: Some(PIN.to_vec().into()),
        so_pin: SO_PIN.to_vec().into(),
        retries: 3,
        // A DKEK that the card makes itself, so that keys can be wrapped.
        dkek_shares: Some(0),
        public_keys: None,
        biometric_servers: [None, None],
        key_domains: None,
    })?;
    hsm.verify(Pin::User, PIN)?;
    let mut best = [0f64; 6];
    for _ in 0..rounds {
        for (best, speed) in best.iter_mut().zip(round(&mut hsm)?) {
            *best = best.max(speed);
        }
    }
    Ok(best)
}

fn request(key: KeySpec) -> Outcome<GenerationRequest> {
    Ok(GenerationRequest {
        car: Reference::new(b"UTCA00001")?,
        chr: Reference::new(b"UTCA00001")?,
        key,
        outer_car: None,
        attributes: KeyAttributes::default(),
    })
}

fn round<C: Card>(hsm: &mut Hsm<C>) -> Outcome<[f64; 6]> {
    let ec = request(KeySpec::Ec(Curve::Secp256r1))?;
    let rsa = request(KeySpec::Rsa {
        bits: 2048,
        exponent: None,
    })?;
    let verify = speed(5000, || Ok(hsm.pin_state(Pin::User)?))?;
    let made_ec = generations(hsm, 200, 1, &ec)?;
    let digest = [7; 32];
    let ecdsa = speed(1000, || Ok(hsm.sign(1, algorithm::ECDSA, &digest)?))?;
    let made_rsa = generations(hsm, 10, 2, &rsa)?;
    let block = [0x30; 51];
    let signed = speed(300, || Ok(hsm.sign(2, algorithm::RSA_V15, &block)?))?;
    let wrap = speed(1000, || Ok(hsm.wrap(1)?))?;
    Ok([verify, made_ec, ecdsa, made_rsa, signed, wrap])
}

/// Keys made a second; deleting the one before is not counted.
fn generations<C: Card>(
    hsm: &mut Hsm<C>,
    count: u32,
    id: u8,
    request: &GenerationRequest,
) -> Outcome<f64> {
    let mut sum = 0.0;
    for _ in 0..count {
        // A key that is there is not replaced.
        hsm.delete(u16::from_be_bytes([0xcc, id]))?;
        let began = Instant::now();
        hsm.generate_key_pair(id, request)?;
        sum += began.elapsed().as_secs_f64();
    }
    Ok(f64::from(count) / sum)
}

/// How often a second.
fn speed<T>(count: u32, mut action: impl FnMut() -> Outcome<T>) -> Outcome<f64> {
    let began = Instant::now();
    for _ in 0..count {
        action()?;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

/// Seconds of OpenSSL's function and of ours, the best of the rounds.
fn derivation(rounds: u32) -> Outcome<(f64, f64)> {
    let (mut openssl, mut ours) = (f64::INFINITY, f64::INFINITY);
    let share = Kek::generate(&mut System)?;
    for _ in 0..rounds {
        let began = Instant::now();
        openssl::pkcs5::bytes_to_key(
            Cipher::aes_256_cbc(),
            MessageDigest::md5(),
            b"a password",
            Some(&[7; 8]),
            i32::try_from(ITERATIONS)?,
        )?;
        openssl = openssl.min(began.elapsed().as_secs_f64());
        let began = Instant::now();
        ShareFile::seal(&share, b"a password", &mut System, &mut no_progress)?;
        ours = ours.min(began.elapsed().as_secs_f64());
    }
    Ok((openssl, ours))
}
