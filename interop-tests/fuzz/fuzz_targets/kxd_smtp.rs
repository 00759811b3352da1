//! Any mail server. The input is, with NULs between: what the server says in the clear, what it says in TLS,
//! the mail.
#![no_main]
use kxd::email::smtp::{Event, SmtpClient, SmtpError};
use libfuzzer_sys::fuzz_target;

/// What the client said, a piece for each time it spoke, and how it ended.
#[derive(Debug, PartialEq)]
struct Outcome {
    said: Vec<Vec<u8>>,
    end: Result<bool, SmtpError>,
}

fn converse<'a>(
    mail: &[u8],
    clear: impl Iterator<Item = &'a [u8]>,
    encrypted: impl Iterator<Item = &'a [u8]>,
) -> Outcome {
    let recipients = vec![b"b@y".to_vec(), b"c@z".to_vec()];
    let mut smtp = SmtpClient::new(b"a@x", recipients, mail.to_vec()).expect("good addresses");
    let mut said = Vec::new();
    let mut in_tls = false;
    let mut sent = false;
    let mut feed = |smtp: &mut SmtpClient, bytes: Option<&[u8]>| {
        let fed = match bytes {
            Some(bytes) => smtp.handle_input(bytes),
            None => smtp.handle_eof(),
        };
        let mut out = Vec::new();
        assert_eq!(smtp.poll_transmit(&mut out), !out.is_empty());
        if !out.is_empty() {
            said.push(out);
        }
        while let Some(event) = smtp.poll_event() {
            match event {
                Event::StartTls => {
                    assert!(!in_tls, "TLS within TLS");
                    in_tls = true;
                }
                Event::Sent => {
                    assert!(!sent);
                    sent = true;
                }
            }
        }
        fed
    };
    let run = || {
        for bytes in clear {
            feed(&mut smtp, Some(bytes))?;
        }
        smtp.handle_tls_established();
        for bytes in encrypted {
            feed(&mut smtp, Some(bytes))?;
        }
        feed(&mut smtp, None)
    };
    let end = run();
    Outcome {
        said,
        end: end.map(|()| sent),
    }
}

/// The mail that a server finds in what stands behind DATA.
fn unstuffed(data: &[u8]) -> Vec<u8> {
    let lines = data.strip_suffix(b".\r\n").expect("the end of the mail");
    let mut mail = Vec::new();
    for line in lines.split_inclusive(|octet| *octet == b'\n') {
        assert!(line.ends_with(b"\r\n"), "a bare LF");
        assert_ne!(line, b".\r\n", "an end before the end");
        mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    mail
}

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |octet| *octet == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (clear, encrypted, mail) = (part(), part(), part());

    let whole = converse(mail, std::iter::once(clear), std::iter::once(encrypted));
    let single = converse(mail, clear.chunks(1), encrypted.chunks(1));
    let pieces = converse(mail, kx_fuzz::pieces(clear), kx_fuzz::pieces(encrypted));
    for other in [&single, &pieces] {
        assert_eq!(whole.said.concat(), other.said.concat());
        assert_eq!(whole.end, other.end);
    }

    // Fed by single octets, each word of the client stands alone.
    let mut behind_data = false;
    for said in &single.said {
        if behind_data {
            let without_cr = |text: &[u8]| -> Vec<u8> {
                text.iter()
                    .copied()
                    .filter(|octet| *octet != b'\r')
                    .collect()
            };
            let mut wanted = without_cr(mail);
            if !mail.is_empty() && !mail.ends_with(b"\n") {
                wanted.push(b'\n');
            }
            assert_eq!(without_cr(&unstuffed(said)), wanted);
        } else {
            let command = said.strip_suffix(b"\r\n").expect("a line");
            assert!(!command.iter().any(u8::is_ascii_control), "two commands");
        }
        behind_data = said == b"DATA\r\n";
    }
});
