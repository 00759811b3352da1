//! `interop-tests/hardware-test` with two running kx-vcard in place of real devices, so that the script is not found
//! broken by the first who has two. It proves nothing about real devices.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use interop_tests::program::{Finished, Guarded, collect};
use interop_tests::subject::{subject, workspace};
use interop_tests::wait;
use xkek_io::{Limits, Spec, Transport};

/// A share's password is derived from twice.
const LIMIT: Duration = Duration::from_secs(300);

/// A card, and how kx-hsm names it.
fn card(directory: &Path, name: &str) -> (Guarded, String) {
    for _ in 0..5 {
        let port = TcpListener::bind("127.0.0.1:0").expect("port");
        let address = port.local_addr().expect("address").to_string();
        drop(port);
        let process = Command::new(subject().program("kx-vcard"))
            .args(["--state", name, "--ca", "ca", "--listen", &address])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("kx-vcard");
        let mut process = Guarded(process);
        // Somebody else may have got the port meanwhile; then it ends.
        let answers = wait::until(wait::SOON, || {
            let ended = process.0.try_wait().expect("a child").is_some();
            let open = Transport::open(&Spec::Vpcd(address.clone()), Limits::default()).is_ok();
            (ended || open).then_some(open)
        });
        if answers == Some(true) {
            return (process, format!("vpcd:{address}"));
        }
    }
    panic!("no kx-vcard");
}

fn script(directory: &Path, variables: &[(&str, &str)]) -> Finished {
    let mut script = Command::new(workspace().join("interop-tests/hardware-test"));
    script
        .arg(&subject().bin)
        .current_dir(directory)
        .env_remove("KX_CARD")
        .env_remove("KX_YES")
        .env_remove("KX_HARDWARE_A")
        .env_remove("KX_HARDWARE_B")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    collect(Guarded(script.spawn().expect("script")), LIMIT)
}

#[test]
fn the_script_for_real_devices_runs_on_software_devices() {
    let directory = tempfile::tempdir().expect("directory");
    let directory = directory.path();
    let none = script(directory, &[]);
    assert_eq!(none.rc, 0, "{none:?}");
    assert!(none.stdout_text().starts_with("SKIPPED"), "{none:?}");

    let (_one, a) = card(directory, "one");
    let (_two, b) = card(directory, "two");
    let both = [("KX_HARDWARE_A", a.as_str()), ("KX_HARDWARE_B", b.as_str())];
    let nowhere = [
        ("KX_HARDWARE_A", a.as_str()),
        ("KX_HARDWARE_B", "vpcd:127.0.0.1:1"),
    ];
    let skipped = script(directory, &nowhere);
    assert_eq!(skipped.rc, 0, "{skipped:?}");
    assert!(skipped.stdout_text().contains("SKIPPED"), "{skipped:?}");

    // Nobody typed the word.
    let before = fs::read(directory.join("one/state")).expect("state");
    let unasked = script(directory, &both);
    assert_eq!(unasked.rc, 1, "{unasked:?}");
    let after = fs::read(directory.join("one/state")).expect("state");
    assert_eq!(before, after, "nothing was deleted");

    let more = [("KX_YES", "DELETE"), ("KX_TRUST_ROOT", "ca/root.cvc")];
    let done = script(directory, &[&both[..], &more].concat());
    assert_eq!(done.rc, 0, "{done:?}");
    let said = done.stdout_text();
    assert!(said.contains("Verified OK"), "{said}");
    assert!(said.contains("Both work as docs/xkek.md says"), "{said}");

    let log = fs::read_to_string(directory.join("hardware-test.apdu")).expect("log");
    assert!(log.contains("# ") && log.contains("> 8052"), "{log}");
    let hex: String = log.chars().filter(|c| !c.is_whitespace()).collect();
    let hex = hex.to_uppercase();
    for secret in [&b"648219"[..], b"57621880"] {
        let digits: String = secret.iter().map(|octet| format!("{octet:02X}")).collect();
        assert!(!hex.contains(&digits), "a PIN is in the log");
    }
}
