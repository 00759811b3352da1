//! Two processes of a program. No test harness: it has threads, and only a process with one can be split.

use std::time::Duration;

use kx_sys::process_pair::{Side, split};
use kx_sys::signals::number;

fn main() {
    a_child_answers_and_its_status_is_told();
    a_signal_is_passed_on();
    who_does_not_end_is_killed();
    several_threads();
    println!("process_pair: ok");
}

fn a_child_answers_and_its_status_is_told() {
    match split().expect("split") {
        Side::Child(line) => {
            let mut buffer = [0; 8];
            let (length, _) = line.receive(&mut buffer).expect("read").expect("a message");
            line.send(&buffer[..length], None).expect("answered");
            std::process::exit(7)
        }
        Side::Parent(child) => {
            child.line().send(b"ask", None).expect("asked");
            let mut buffer = [0; 8];
            let received = child.line().receive(&mut buffer).expect("read");
            let (length, _) = received.expect("an answer");
            assert_eq!(&buffer[..length], b"ask");
            assert!(
                child
                    .line()
                    .receive(&mut buffer)
                    .expect("the end")
                    .is_none()
            );
            assert_eq!(child.wait().expect("waited"), Some(7));
        }
    }
}

fn a_signal_is_passed_on() {
    match split().expect("split") {
        Side::Child(line) => {
            // Until the signal, or the parent's end.
            let _ = line.receive(&mut [0; 8]);
            std::process::exit(0)
        }
        Side::Parent(child) => {
            child.signal(number::TERMINATE);
            let end = child.line().receive(&mut [0; 8]).expect("the end");
            assert!(end.is_none());
            assert_eq!(child.wait().expect("waited"), None);
        }
    }
}

fn who_does_not_end_is_killed() {
    for stays in [false, true] {
        match split().expect("split") {
            Side::Child(line) => {
                drop(line);
                std::thread::sleep(Duration::from_secs(if stays { 600 } else { 0 }));
                std::process::exit(7)
            }
            Side::Parent(child) => {
                let end = child.line().receive(&mut [0; 8]).expect("the end");
                assert!(end.is_none());
                let patience = Duration::from_secs(if stays { 1 } else { 60 });
                let status = child.wait_or_kill(patience).expect("waited");
                assert_eq!(status, (!stays).then_some(7));
            }
        }
    }
}

fn several_threads() {
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv());
    let error = split().expect_err("another thread would be lost");
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    drop(stop);
    assert!(thread.join().expect("joined").is_err());
}
