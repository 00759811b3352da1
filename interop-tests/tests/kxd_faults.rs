//! Faults: for each, what the client sees and what the log says (issue 2, "Faults").
//!
//! Where the original has no limit or dies, the test says what it does and what ours does.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use interop_tests::config::Config;
use interop_tests::daemon::{Kxd, kxd};
use interop_tests::program::run;
use interop_tests::skip::skip;
use interop_tests::smtp_sink::{Manners, Sink};
use interop_tests::subject::ours;
use interop_tests::undisturbed::{assert_prompt, is_root, with_key};
use interop_tests::wait::{self, SOON};

// --- log -------------------------------------------------------------------------------------

#[test]
fn with_the_log_disk_full_keys_are_still_given() {
    let config = with_key();
    let server = kxd(&config).arg("--logfile=/dev/full").start();
    for _ in 0..10 {
        assert_prompt(&server, "log disk full");
    }
}

#[test]
fn ours_says_how_many_log_lines_were_lost_once_it_can() {
    const NAME: &str = "ours_says_how_many_log_lines_were_lost_once_it_can";
    if !ours() {
        return;
    }
    let config = with_key();
    let disk = config.join("disk");
    std::fs::create_dir(&disk).expect("directory");
    let Some(_guard) = Mounted::small_disk(&disk) else {
        return skip(NAME, "cannot mount a small tmpfs (needs root)");
    };
    let server = kxd(&config)
        .arg(format!("--logfile={}", disk.join("log").display()))
        .start();
    let log = || std::fs::read_to_string(disk.join("log")).unwrap_or_default();
    assert_prompt(&server, "room in the log");
    let before = log().len();
    std::fs::write(disk.join("filler"), vec![0; 80_000]).expect_err("the disk is small");
    for _ in 0..200 {
        assert_eq!(server.get("/v1/k").body, b"KEY");
    }
    assert!(log().len() < before + 8192, "the disk was not full");
    std::fs::remove_file(disk.join("filler")).expect("making room");
    assert_prompt(&server, "room again");
    let told = wait::until(SOON, || log().contains("log lines lost: ").then_some(()));
    assert!(told.is_some(), "{}", log());
}

/// A mount that is taken away again.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn small_disk(at: &std::path::Path) -> Option<Mounted> {
        let words = ["-t", "tmpfs", "-o", "size=64k", "tmpfs"];
        let done = Command::new("mount").args(words).arg(at).output();
        done.is_ok_and(|o| o.status.success())
            .then(|| Mounted(at.to_path_buf()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

// --- files -----------------------------------------------------------------------------------

/// A server that runs as nobody, so that file modes bind it.
fn as_nobody(config: &Config) -> Kxd {
    for dir in ["", "client", "data"] {
        let path = config.join(dir);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    std::fs::write(config.join("log"), "").expect("log");
    std::fs::set_permissions(config.join("log"), std::fs::Permissions::from_mode(0o666))
        .expect("chmod");
    let words = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    kxd(config).through(&words).start()
}

fn no_access(config: &Config, name: &str) {
    let mode = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(config.join(name), mode).expect("chmod");
}

#[test]
fn an_unreadable_key_is_an_error_of_the_server_and_the_log_says_which() {
    if !is_root() {
        return skip(
            "an_unreadable_key_is_an_error_of_the_server_and_the_log_says_which",
            "needs root to become somebody else",
        );
    }
    let config = with_key();
    config.key("closed/x", "KEY");
    no_access(&config, "data/k/key");
    no_access(&config, "data/closed");
    let server = as_nobody(&config);
    let answer = server.get("/v1/k");
    assert_eq!(answer.status, "HTTP/1.1 500 Internal Server Error");
    assert_eq!(answer.body, b"Error getting key data\n");
    server.await_line(&format!(
        "/v1/k Error getting key data: open {}: permission denied",
        config.text("data/k/key")
    ));
    let answer = server.get("/v1/closed/x");
    assert_eq!(answer.body, b"Error checking key\n");
    server.await_line("Error checking key path \"closed/x\": stat ");
    std::fs::set_permissions(
        config.join("data/k/key"),
        std::fs::Permissions::from_mode(0o644),
    )
    .expect("chmod");
    assert_prompt(&server, "readable again");
}

#[test]
fn an_unreadable_allowed_clients_is_an_error_and_lets_nobody_in() {
    if !is_root() {
        return skip(
            "an_unreadable_allowed_clients_is_an_error_and_lets_nobody_in",
            "needs root",
        );
    }
    let config = with_key();
    no_access(&config, "data/k/allowed_clients");
    let server = as_nobody(&config);
    let answer = server.get("/v1/k");
    assert_eq!(
        (answer.code(), answer.body.as_slice()),
        (500, b"Error loading certs\n".as_slice())
    );
    server.await_line("Error loading certs: open ");
    server.await_line("allowed_clients: permission denied");
}

#[test]
fn a_key_that_vanishes_between_check_and_read_is_never_half_given() {
    let config = with_key();
    let content = vec![b'A'; 60_000];
    config.key("k", &content);
    let server = kxd(&config).start();
    let stop = AtomicBool::new(false);
    let path = config.join("data/k/key");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = std::fs::remove_file(&path);
                let staged = config.write("data/k/staged", &content);
                let _ = std::fs::rename(staged, &path);
            }
        });
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            let answer = server.get("/v1/k");
            let whole = answer.code() == 200 && answer.body == content;
            let unknown = answer.code() == 404 && answer.body == b"Unknown key\n";
            let missing = answer.code() == 500 && answer.body == b"Error getting key data\n";
            assert!(
                whole || unknown || missing,
                "{} {}",
                answer.status,
                answer.body.len()
            );
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_key_replaced_by_rename_is_the_old_or_the_new_one() {
    let config = with_key();
    let (old, new) = (vec![b'A'; 30_000], vec![b'B'; 50_000]);
    config.key("k", &old);
    let server = kxd(&config).start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0u32.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let staged = config.write("data/k/staged", if n % 2 == 0 { &new } else { &old });
                std::fs::rename(staged, config.join("data/k/key")).expect("rename");
            }
        });
        for _ in 0..300 {
            let body = server.get("/v1/k").body;
            assert!(
                body == old || body == new,
                "a mixture of {} octets",
                body.len()
            );
        }
        stop.store(true, Ordering::Relaxed);
    });
}

// --- mail ------------------------------------------------------------------------------------

fn with_mail() -> Config {
    let config = with_key();
    config.key("m", "MAILED");
    config.write("data/m/email_to", "me@example.com\n");
    config
}

#[test]
fn a_mail_server_that_is_down_withholds_the_key_and_the_log_says_why() {
    let config = with_mail();
    let port = interop_tests::daemon::free_port();
    let server = kxd(&config)
        .arg(format!("--smtp_addr=127.0.0.1:{port}"))
        .start();
    let answer = server.get("/v1/m");
    assert_eq!(answer.body, b"Error sending notification\n");
    server.await_line(&format!(
        "Error sending notification: dial tcp 127.0.0.1:{port}: connect: connection refused"
    ));
    assert_prompt(&server, "mail server down");
}

#[test]
fn a_mail_server_that_refuses_withholds_the_key() {
    let config = with_mail();
    let sink = Sink::start(Manners {
        rcpt: "450 later",
        ..Manners::default()
    });
    let server = kxd(&config)
        .arg(format!("--smtp_addr=127.0.0.1:{}", sink.port))
        .start();
    assert_eq!(server.get("/v1/m").code(), 500);
    server.await_line("Error sending notification: 450 later");
}

#[test]
fn a_mail_server_that_is_slow_delays_nobody_else() {
    let config = with_mail();
    let delay = Duration::from_millis(700);
    let sink = Sink::start(Manners {
        delay,
        ..Manners::default()
    });
    let server = kxd(&config)
        .arg(format!("--smtp_addr=127.0.0.1:{}", sink.port))
        .start();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| server.get("/v1/m")))
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        for _ in 0..10 {
            assert_prompt(&server, "eight clients wait for a slow mail server");
        }
        for client in waiting {
            assert_eq!(client.join().expect("client").body, b"MAILED");
        }
    });
}

#[test]
fn a_mail_server_that_says_nothing_at_all_is_given_up_by_ours() {
    const NAME: &str = "a_mail_server_that_says_nothing_at_all_is_given_up_by_ours";
    // The original waits for ever.
    if !ours() {
        return;
    }
    if std::env::var_os("KX_SLOW").is_none() {
        return skip(NAME, "waits for the limit on mail; KX_SLOW=1 runs it");
    }
    let config = with_mail();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("address").port();
    let server = kxd(&config)
        .arg(format!("--smtp_addr=127.0.0.1:{port}"))
        .start();
    let begin = Instant::now();
    let answer = server.get("/v1/m");
    assert_eq!(answer.body, b"Error sending notification\n", "{answer:?}");
    assert!(begin.elapsed() < Duration::from_secs(90));
    server.await_line("Error sending notification: ");
}

// --- hook ------------------------------------------------------------------------------------

fn with_hook(text: &str) -> (Config, String) {
    let config = with_key();
    let hook = config.script("hook", text);
    (config, format!("--hook={}", hook.display()))
}

#[test]
fn a_missing_hook_is_told_and_the_key_is_given() {
    let config = with_key();
    let server = kxd(&config).start();
    assert_prompt(&server, "no hook");
    server.await_line("/v1/k Hook not present, skipping");
}

#[test]
fn a_slow_hook_delays_nobody_else() {
    let (config, hook) = with_hook("#!/bin/sh\ncase $KEY_PATH in slow*) sleep 3;; esac\nexit 0\n");
    config.key("slow", "SLOW");
    let server = kxd(&config).arg(hook).start();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| server.get("/v1/slow")))
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        for _ in 0..10 {
            assert_prompt(&server, "eight clients wait for a slow hook");
        }
        for client in waiting {
            assert_eq!(client.join().expect("client").body, b"SLOW");
        }
    });
}

#[test]
fn a_killed_hook_refuses_the_key() {
    let (config, hook) = with_hook("#!/bin/sh\nkill -SEGV $$\n");
    let server = kxd(&config).arg(hook).start();
    let answer = server.get("/v1/k");
    assert_eq!(answer.body, b"Prevented by hook\n");
    server.await_line("Prevented by hook: exited with error: signal: segmentation fault");
}

#[test]
fn a_hook_that_leaves_a_child_behind_still_gives_its_verdict() {
    // The child holds the hook's stdout for three seconds.
    let (config, hook) = with_hook("#!/bin/sh\nsleep 3 &\nexit 0\n");
    let server = kxd(&config).arg(hook).start();
    let begin = Instant::now();
    assert_eq!(server.get("/v1/k").body, b"KEY");
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(
        ours() || took >= Duration::from_secs(2),
        "the original waits for the pipe: {took:?}"
    );
}

#[test]
fn a_client_that_leaves_while_the_hook_runs_harms_nobody() {
    let (config, hook) = with_hook("#!/bin/sh\nsleep 1\n");
    let server = kxd(&config).arg(hook).start();
    for _ in 0..20 {
        let mut connection = server.client().connect().expect("handshake");
        let request = interop_tests::tls_client::get_request("/v1/k");
        connection
            .stream
            .write_all(request.as_bytes())
            .expect("request");
        // Dropped without waiting.
    }
    assert_eq!(server.get("/v1/k").body, b"KEY");
}

// --- names -----------------------------------------------------------------------------------

#[test]
fn a_name_that_does_not_resolve_counts_as_not_listed() {
    let config = with_key();
    config.write("data/k/allowed_hosts", "no-such-host.invalid\n127.0.0.1\n");
    config.key("deny", "KEY");
    config.write("data/deny/allowed_hosts", "no-such-host.invalid\n");
    let server = kxd(&config).start();
    assert_eq!(server.get("/v1/k").body, b"KEY");
    assert_eq!(server.get("/v1/deny").body, b"Host not allowed\n");
    server.await_line("Host not allowed: host \"127.0.0.1\" not allowed");
}

#[test]
fn a_name_server_that_does_not_answer_delays_nobody_else() {
    const NAME: &str = "a_name_server_that_does_not_answer_delays_nobody_else";
    let config = with_key();
    config.key("named", "NAMED");
    config.write("data/named/allowed_hosts", "some.name.example\n");
    // 192.0.2.0/24 is for documentation: nobody answers there.
    config.write(
        "resolv.conf",
        "nameserver 192.0.2.1\noptions timeout:3 attempts:1\n",
    );
    let script = format!(
        "mount --bind {} /etc/resolv.conf && exec \"$0\" \"$@\"",
        config.text("resolv.conf")
    );
    let words = ["unshare", "--mount", "sh", "-c", &script];
    if !is_root() || run(words[0], &["--mount", "true"]).rc != 0 {
        return skip(NAME, "needs root and mount namespaces");
    }
    let server = kxd(&config).through(&words).start();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| server.get("/v1/named")))
            .collect();
        std::thread::sleep(Duration::from_millis(200));
        for _ in 0..10 {
            assert_prompt(&server, "four clients wait for the name server");
        }
        for client in waiting {
            assert_eq!(client.join().expect("client").body, b"Host not allowed\n");
        }
    });
}
