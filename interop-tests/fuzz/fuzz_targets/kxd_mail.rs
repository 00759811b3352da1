//! The mail about any access. The input is, with NULs between: key path, subject, email_to.
#![no_main]
use std::sync::LazyLock;

use chrono::{DateTime, FixedOffset};
use kxd::email::smtp::SmtpClient;
use kxd::email::{Notification, address, recipients};
use libfuzzer_sys::fuzz_target;

static TIME: LazyLock<DateTime<FixedOffset>> =
    LazyLock::new(|| DateTime::parse_from_rfc3339("2026-11-21T00:28:39+01:00").expect("a time"));

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |octet| *octet == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (key_path, subject, email_to) = (part(), part(), part());
    let subject = String::from_utf8_lossy(subject);
    if let Ok((host, port)) = address::split_host_port(&subject) {
        assert!(host.len() + port.len() < subject.len());
        let _ = address::parse_port(port, Some(host));
    }

    let to = recipients(email_to);
    let mail = Notification {
        sender: "kxd@127.0.0.1",
        recipients: &to,
        key_path,
        remote_addr: "127.0.0.1:48966",
        signature_hex: "0123456789abcdef",
        subject: &subject,
        chains: &[subject.clone().into_owned()],
        time: *TIME,
    }
    .to_bytes();
    // An address that could begin a line of its own is refused before anything is sent.
    if SmtpClient::new(b"kxd@127.0.0.1", to, mail.clone()).is_err() {
        return;
    }
    let breaks = mail.iter().filter(|octet| b"\r\n".contains(octet)).count();
    let pairs = mail.windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!((breaks, pairs), (34, 17), "a line more or less than meant");
});
