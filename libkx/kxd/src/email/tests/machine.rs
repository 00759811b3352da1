//! The machine without a network: recorded servers, odd servers, random servers.

use chrono::DateTime;
use proptest::prelude::*;

use super::vectors::{Case, cases, client_line};
use crate::email::message::{Notification, recipients};
use crate::email::smtp::{Event, MAX_LINE, MAX_REPLY, SmtpClient, SmtpError};

const DATE: &str = "Sat, 21 Nov 2026 00:28:39 +0000";

fn client_of(case: &Case) -> Option<Result<SmtpClient, SmtpError>> {
    let setup = case.setup();
    let to = recipients(&setup.email_to);
    let mail = Notification {
        sender: setup.sender,
        recipients: &to,
        key_path: setup.key_path,
        remote_addr: "127.0.0.1:PORT",
        signature_hex: "SIG16",
        subject: "O=cli",
        chains: &["(0xSIG8 O=cli)".to_owned()],
        time: DateTime::parse_from_rfc2822(DATE).unwrap(),
    };
    let message = mail.to_bytes();
    (!to.is_empty()).then(|| SmtpClient::new(setup.sender.as_bytes(), to, message))
}

/// What the machine sent, and how it ended.
#[derive(Debug, PartialEq)]
struct Outcome {
    sent: Vec<u8>,
    end: Result<Option<Event>, SmtpError>,
}

/// Feeds `server` in pieces of `size`, then the end.
fn run(mut client: SmtpClient, server: &[u8], size: usize) -> Outcome {
    let mut sent = Vec::new();
    let fed = server.chunks(size).try_for_each(|piece| {
        let result = client.handle_input(piece);
        client.poll_transmit(&mut sent);
        result
    });
    let event = client.poll_event();
    let end = match (fed, event) {
        (Err(e), _) => Err(e),
        (Ok(()), Some(event)) => Ok(Some(event)),
        (Ok(()), None) => client.handle_eof().map(|()| client.poll_event()),
    };
    Outcome { sent, end }
}

#[test]
fn dialogues_and_messages_are_the_recorded_ones() {
    let cases = cases();
    assert_eq!(cases.len(), 25);
    for case in &cases {
        let name = &case.name;
        let client = match client_of(case) {
            None => {
                assert!(case.talk.is_empty() && case.error.is_none(), "{name}");
                continue;
            }
            Some(Err(e)) => {
                assert_eq!(case.error, Some(e.to_string()), "{name}");
                assert!(case.talk.is_empty(), "{name}");
                continue;
            }
            Some(Ok(client)) => client,
        };
        if case
            .error
            .as_deref()
            .is_some_and(|e| e.starts_with("dial "))
        {
            continue; // No dialogue; see the live tests.
        }
        // The recording in one piece: what the server says, and what must be said to it.
        let (mut server, mut wanted) = (Vec::new(), Vec::new());
        for line in &case.talk {
            if let Some(text) = line.strip_prefix("S: ") {
                server.extend_from_slice(text.as_bytes());
                server.extend_from_slice(b"\r\n");
                if text.starts_with("354") {
                    wanted.extend(case.wanted_data(DATE).unwrap());
                }
            } else if let Some(text) = line.strip_prefix("C: ") {
                wanted.extend(client_line(text));
            }
        }
        for size in [usize::MAX, 1, 2, 7] {
            let outcome = run(client_of(case).unwrap().unwrap(), &server, size);
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            assert_eq!(text(&outcome.sent), text(&wanted), "{name}");
            match (&outcome.end, &case.error) {
                (Ok(Some(Event::Sent)), None) => {}
                // The handshake's outcome is the program's business.
                (Ok(Some(Event::StartTls)), Some(e)) => assert!(e.starts_with("tls: "), "{name}"),
                (Err(e), Some(recorded)) => assert_eq!(&e.to_string(), recorded, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        drop(client);
    }
}

fn client() -> SmtpClient {
    SmtpClient::new(
        b"a@x",
        vec![b"b@y".to_vec()],
        b"S: t\r\n\r\n.\nx\n".to_vec(),
    )
    .unwrap()
}

fn end(server: &[u8]) -> Outcome {
    run(client(), server, usize::MAX)
}

fn error(server: &[u8]) -> String {
    end(server).end.unwrap_err().to_string()
}

#[test]
fn tls_starts_over_and_forgets_what_came_in_the_clear() {
    let mut client = client();
    let mut out = Vec::new();
    // Injected behind the answer to STARTTLS: it must not count as said over TLS.
    client
        .handle_input(b"220 x\r\n250-x\r\n250-8BITMIME\r\n250 STARTTLS\r\n220 go\r\n250 x\r\n")
        .unwrap();
    client.poll_transmit(&mut out);
    assert_eq!(out, b"EHLO localhost\r\nSTARTTLS\r\n");
    assert_eq!(client.poll_event(), Some(Event::StartTls));
    client
        .handle_input(b"250-x\r\n250-8BITMIME\r\n250-")
        .unwrap();
    out.clear();
    assert!(!client.poll_transmit(&mut out));
    client.handle_tls_established();
    client.handle_input(b"250-x\r\n250 STARTTLS\r\n").unwrap();
    client.poll_transmit(&mut out);
    assert_eq!(out, b"EHLO localhost\r\nMAIL FROM:<a@x>\r\n");
}

#[test]
fn refused_starttls_or_second_ehlo_ends_it() {
    assert_eq!(
        error(b"220 x\n250-x\n250 STARTTLS\n454 later\n"),
        "454 later"
    );
    let mut client = client();
    client
        .handle_input(b"220 x\n250-x\n250 STARTTLS\n220 go\n")
        .unwrap();
    client.handle_tls_established();
    let error = client.handle_input(b"502 no\n").unwrap_err();
    assert_eq!(error.to_string(), "502 no");
}

#[test]
fn bare_line_feeds_and_a_leading_dot() {
    let outcome = end(b"220 x\n250 x\n250 x\n251 y\n354 x\n250 x\n221 x\n");
    assert_eq!(outcome.end, Ok(Some(Event::Sent)));
    let data = b"DATA\r\nS: t\r\n\r\n..\r\nx\r\n.\r\nQUIT\r\n";
    assert!(
        outcome.sent.ends_with(data),
        "{}",
        outcome.sent.escape_ascii()
    );
}

#[test]
fn reply_texts_of_more_lines_are_joined() {
    assert_eq!(
        error(b"554-no\r\n554-never\r\n554 ever\r\n"),
        "554 no\nnever\never"
    );
    // RFC 959, 4.2: lines without the code are text.
    assert_eq!(
        error(b"554-a\r\nb\r\n250 c\r\n554 d\r\n"),
        "554 a\nb\n250 c\nd"
    );
}

#[test]
fn extensions_are_words_at_the_start_of_later_lines() {
    let greets = |ehlo: &str| {
        let outcome = end(format!("220 x\n{ehlo}").as_bytes());
        String::from_utf8(outcome.sent).unwrap()
    };
    let plain = "EHLO localhost\r\nMAIL FROM:<a@x>\r\n";
    assert_eq!(greets("250 STARTTLS\n"), plain);
    assert_eq!(greets("250-x\n250 starttls\n"), plain);
    assert_eq!(greets("250-x\n250 XSTARTTLS\n"), plain);
    assert_eq!(
        greets("250-x\n250 SMTPUTF8 yes\n"),
        "EHLO localhost\r\nMAIL FROM:<a@x> SMTPUTF8\r\n"
    );
    // HELO has no extensions.
    assert_eq!(
        greets("502-x\n502 8BITMIME\n250-x\n250 8BITMIME\n"),
        "EHLO localhost\r\nHELO localhost\r\nMAIL FROM:<a@x>\r\n"
    );
}

#[test]
fn garbage_has_the_originals_texts() {
    assert_eq!(error(b"hi\r\n"), "short response: hi");
    assert_eq!(error(b"220\r\n"), "short response: 220");
    assert_eq!(error(b"2200 x\r\n"), "short response: 2200 x");
    assert_eq!(error(b"abc x\r\n"), "invalid response code: abc x");
    assert_eq!(error(b"099 x\r\n"), "invalid response code: 099 x");
    assert_eq!(error(b"+22 x\r\n"), "invalid response code: +22 x");
    assert_eq!(error(b"221 bye\r\n"), "221 bye");
    assert_eq!(error(b""), "EOF");
    assert_eq!(error(b"22"), "short response: 22");
    assert_eq!(error(b"220 x\n250 x\n250 "), "EOF");
    assert_eq!(error(b"220-x\n"), "EOF");
    assert_eq!(
        error(b"220 x\n250 x\n250 x\n250 x\n354 x\n250 x\n500 no bye\n"),
        "500 no bye"
    );
}

#[test]
fn endless_lines_and_replies_are_cut_off() {
    let mut client = client();
    assert_eq!(
        client.handle_input(&[b'2'; MAX_LINE + 1]),
        Err(SmtpError::LineTooLong)
    );
    assert_eq!(
        client.handle_input(b"220 x\r\n"),
        Ok(()),
        "closed: input is ignored"
    );
    let mut out = Vec::new();
    assert!(!client.poll_transmit(&mut out));
    let endless = b"220-\n".repeat(MAX_REPLY + 2);
    assert_eq!(end(&endless).end, Err(SmtpError::ReplyTooLong));
}

#[test]
fn addresses_with_line_breaks_never_get_out() {
    for bad in [&b"a\n@x"[..], b"a@x\r", b"\r\n@"] {
        let good = b"a@x".to_vec();
        assert_eq!(
            SmtpClient::new(bad, vec![good.clone()], Vec::new()).err(),
            Some(SmtpError::LineBreak)
        );
        assert_eq!(
            SmtpClient::new(&good, vec![good.clone(), bad.to_vec()], Vec::new()).err(),
            Some(SmtpError::LineBreak)
        );
    }
}

/// Lines that get far into a dialogue, mixed with anything.
fn server_bytes() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just(b"220 x\r\n".to_vec()),
        Just(b"250 x\n".to_vec()),
        Just(b"250-x\r\n250-STARTTLS\r\n250 8BITMIME\r\n".to_vec()),
        Just(b"354 go\r\n".to_vec()),
        Just(b"502 no\r\n".to_vec()),
        Just(b"221 bye\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(line, 0..20).prop_map(|lines| lines.concat())
}

proptest! {
    /// The outcome does not depend on how the network cuts the octets up; nothing panics.
    #[test]
    fn pieces_do_not_matter(server in server_bytes(), size in 1usize..20) {
        prop_assert_eq!(run(client(), &server, size), run(client(), &server, usize::MAX));
    }

    /// Nothing but the dialogue's own lines goes out, whatever the server says.
    #[test]
    fn output_is_bounded(server in server_bytes()) {
        let outcome = run(client(), &server, usize::MAX);
        prop_assert!(outcome.sent.len() < 300);
        prop_assert!(outcome.sent.is_empty() || outcome.sent.starts_with(b"EHLO localhost\r\n"));
    }

    /// TLS at any moment, and again: no panic.
    #[test]
    fn unasked_tls_is_harmless(server in server_bytes(), at in any::<prop::sample::Index>()) {
        let mut client = client();
        let (before, after) = server.split_at(at.index(server.len() + 1));
        client.handle_tls_established();
        let _ = client.handle_input(before);
        client.handle_tls_established();
        let _ = client.handle_input(after);
        let _ = client.handle_eof();
    }
}
