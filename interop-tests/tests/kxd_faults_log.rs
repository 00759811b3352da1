//! A log that nobody reads (issue 2, "Faults"): the original writes to it as to any file and waits for
//! ever, and its clients with it. Ours delays nobody and tells how many lines were lost.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use interop_tests::config::Config;
use interop_tests::daemon::{Kxd, kxd};
use interop_tests::program::run;
use interop_tests::subject::ours;
use interop_tests::undisturbed::{assert_prompt, with_key};
use interop_tests::wait::{self, SOON};

/// A FIFO, open for both so that it lives without another reader.
fn fifo(config: &Config) -> (PathBuf, File) {
    let path = config.join("fifo");
    assert_eq!(run("mkfifo", &[&path]).rc, 0);
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path);
    (path, file.expect("a FIFO"))
}

/// What is in the FIFO now.
fn drain(mut fifo: &File) -> String {
    let mut octets = Vec::new();
    let mut buffer = [0; 65536];
    while let Ok(n @ 1..) = fifo.read(&mut buffer) {
        octets.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8(octets).expect("a log in UTF-8")
}

/// Asks for `/v1/N` until far more lines were written than pipe and memory hold; gives the number.
fn ask(server: &Kxd) -> usize {
    const REQUESTS: usize = 4000;
    let mut connection = server.client().connect().expect("handshake");
    for n in 0..REQUESTS {
        assert_eq!(connection.get_keep_alive(&format!("/v1/{n}")).code(), 404);
    }
    REQUESTS
}

/// The numbers of [`ask`] in the log's order.
fn numbers(log: &str) -> Vec<usize> {
    let number = |line: &str| {
        let (_, rest) = line.split_once(" /v1/")?;
        rest.split(' ').next()?.parse().ok()
    };
    log.lines().filter_map(number).collect()
}

fn assert_nobody_waits(mut server: Kxd, fifo: &File) {
    let asked = ask(&server);
    assert_prompt(&server, "a log that nobody reads");
    let mut log = String::new();
    let told = wait::until(SOON, || {
        log.push_str(&drain(fifo));
        assert_prompt(&server, "a log that is read again");
        log.contains("log lines lost: ").then_some(())
    });
    assert!(told.is_some(), "{}", log.lines().count());
    log.push_str(&drain(fifo));
    let kept = numbers(&log);
    assert!(kept.len() > 100 && kept.len() < asked, "{}", kept.len());
    let order: Vec<usize> = (0..kept.len()).collect();
    assert_eq!(kept, order, "the first ones, whole and in order");
    // What was written before the end is there, whoever reads it.
    assert_eq!(server.get("/v1/last").code(), 404);
    server.signal("TERM");
    assert_eq!(server.wait(SOON), Some(0));
    let end = drain(fifo);
    assert!(end.contains(" Unknown key path \"last\"\n"), "{end}");
    assert!(
        end.ends_with(" Received signal terminated, exiting\n"),
        "{end}"
    );
}

#[test]
fn a_fifo_that_nobody_reads_delays_nobody() {
    if !ours() {
        return;
    }
    let config = with_key();
    let (path, fifo) = fifo(&config);
    let server = kxd(&config)
        .arg(format!("--logfile={}", path.display()))
        .start();
    assert_nobody_waits(server, &fifo);
}

#[test]
fn a_standard_output_that_nobody_reads_delays_nobody() {
    if !ours() {
        return;
    }
    let config = with_key();
    let (path, fifo) = fifo(&config);
    let words = format!("exec \"$0\" \"$@\" >{}", path.display());
    let server = kxd(&config)
        .through(&["sh", "-c", &words])
        .arg("--logfile=-")
        .start();
    assert_nobody_waits(server, &fifo);
}

#[test]
fn without_a_reader_the_daemon_still_ends_in_order() {
    if !ours() {
        return;
    }
    let config = with_key();
    let (path, fifo) = fifo(&config);
    let mut server = kxd(&config)
        .arg(format!("--logfile={}", path.display()))
        .start();
    ask(&server);
    server.signal("TERM");
    assert_eq!(server.wait(Duration::from_secs(3)), Some(0));
    drop(fifo);
}
