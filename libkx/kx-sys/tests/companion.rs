//! A process and its companion. No test harness: it has threads, and a companion is only started by
//! a process that has one.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kx_sys::companion::{Ending, Side, start};
use kx_sys::shared_words::SharedWords;

const SEEN: u64 = 1;
const ORDERLY: u64 = 2;
const SUDDEN: u64 = 3;

fn main() {
    let shared = SharedWords::new(2).expect("memory");
    orderly(&shared);
    sudden(&shared);
    several_threads();
    println!("companion: ok");
}

fn watch(shared: &SharedWords, mut watch: kx_sys::companion::Watch) -> ! {
    let words = shared.words();
    words[0].store(SEEN, Ordering::SeqCst);
    words[1].store(
        match watch.wait() {
            Ending::Orderly => ORDERLY,
            Ending::Sudden => SUDDEN,
        },
        Ordering::SeqCst,
    );
    std::process::exit(0)
}

fn wait_for(shared: &SharedWords, index: usize, value: u64) {
    let end = Instant::now() + Duration::from_secs(10);
    while shared.words()[index].swap(0, Ordering::SeqCst) != value {
        assert!(Instant::now() < end, "no {value} at {index}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn orderly(shared: &SharedWords) {
    match start(c"kx-companion").expect("started") {
        Side::Companion(line) => watch(shared, line),
        Side::First(companion) => {
            wait_for(shared, 0, SEEN);
            companion.dismiss(Duration::from_secs(10));
            assert_eq!(shared.words()[1].swap(0, Ordering::SeqCst), ORDERLY);
        }
    }
}

fn sudden(shared: &SharedWords) {
    match start(c"kx-companion").expect("started") {
        Side::Companion(line) => watch(shared, line),
        Side::First(companion) => {
            wait_for(shared, 0, SEEN);
            // As when this process is gone: nothing is said.
            drop(companion);
            wait_for(shared, 1, SUDDEN);
        }
    }
}

fn several_threads() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || receiver.recv());
    let error = start(c"kx-companion").expect_err("two threads");
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    drop(sender);
    let _ = thread.join();
}
