//! The notification mail: every recorded dialogue and message, octet by octet
//! (vectors/kxd/side.json "mail ..."; kxd spec 6).

use interop_tests::config::{Config, client_pair};
use interop_tests::daemon::{free_port, kxd};
use interop_tests::normalize;
use interop_tests::smtp_sink::{Manners, Sink};
use interop_tests::table::Table;
use serde_json::{Value, json};

/// How the server of a case behaves.
fn manners(case: &str) -> Manners {
    let usual = Manners::default();
    match case {
        "mail email_to utf8" | "mail 8bit server" => Manners {
            extensions: Some(vec!["8BITMIME", "SMTPUTF8"]),
            ..usual
        },
        "mail helo only server" => Manners {
            extensions: None,
            ..usual
        },
        "mail starttls untrusted" => Manners {
            extensions: Some(vec!["STARTTLS"]),
            ..usual
        },
        "mail auth offered" => Manners {
            extensions: Some(vec!["AUTH PLAIN LOGIN"]),
            ..usual
        },
        "mail rcpt refused" => Manners {
            rcpt: "550 no rcpt",
            ..usual
        },
        "mail mail refused" => Manners {
            mail: "550 no mail",
            ..usual
        },
        "mail data refused" => Manners {
            queued: "554 no data",
            ..usual
        },
        "mail greeting 554" => Manners {
            greeting: Some("554 no"),
            ..usual
        },
        "mail closes at once" => Manners {
            greeting: None,
            ..usual
        },
        _ => usual,
    }
}

fn email_to(case: &str) -> Option<&'static str> {
    Some(match case {
        "mail no email_to" => return None,
        "mail email_to empty" => "",
        "mail email_to without @" => "nobody\n",
        "mail email_to comment with @" => "# me@example.com\n",
        "mail email_to crlf" => "me@example.com\r\nyou@x\r\n",
        "mail email_to with name" => "Me <me@example.com>\n",
        "mail email_to injection by cr" => "me@example.com\rBcc: x@y\n",
        "mail email_to utf8" => "jö@example.com\n",
        _ => "me@example.com\nyou@example.net\n",
    })
}

/// Directory of the key, and the path that asks for it.
fn key_of(case: &str) -> (&'static str, &'static str) {
    match case {
        "mail key name with dot line" => ("a/.b", "/v1/a/.b"),
        "mail key name with line feed" => ("a\nBcc: x@y", "/v1/a%0aBcc:%20x@y"),
        _ => ("m/k", "/v1/m/k"),
    }
}

fn options(case: &str, port: u16) -> Vec<String> {
    let smtp = match case {
        "mail server by name" => format!("localhost:{port}"),
        "mail no port" => "127.0.0.1".to_owned(),
        "mail nobody listens" => format!("127.0.0.1:{}", free_port()),
        _ => format!("127.0.0.1:{port}"),
    };
    let mut list = vec![format!("--smtp_addr={smtp}")];
    match case {
        "mail email_from" => list.push("--email_from=boss@corp.example".to_owned()),
        "mail email_from empty host" => list.push("--email_from=".to_owned()),
        _ => {}
    }
    list
}

/// Everything that differs from run to run under its word of the vectors.
fn mask(text: &str) -> String {
    let hex = client_pair().signature_hex();
    let (eight, sixteen) = (hex.get(..8).unwrap_or(""), hex.get(..16).unwrap_or(""));
    let text = text
        .replace(&format!("Signature: {sixteen}..."), "Signature: SIG16...")
        .replace(&format!("0x{eight}"), "0xSIG8");
    let text = normalize::replace(&text, "127.0.0.1:+", "127.0.0.1:PORT");
    let lines = text
        .split_inclusive("\r\n")
        .map(|line| match line.split_once(": ") {
            Some((head @ ("Date" | "On"), date)) => {
                assert!(
                    is_rfc1123z(date.trim_end()),
                    "not a date of RFC 1123 with a zone: {date}"
                );
                format!("{head}: RFC1123Z\r\n")
            }
            _ => line.to_owned(),
        });
    lines.collect()
}

/// `Sat, 21 Nov 2026 00:28:39 +0000`.
fn is_rfc1123z(text: &str) -> bool {
    let shape = "Www, 00 Mmm 0000 00:00:00 +0000";
    text.len() == shape.len()
        && text.chars().zip(shape.chars()).all(|(c, s)| match s {
            '0' => c.is_ascii_digit(),
            'W' | 'M' => c.is_ascii_uppercase(),
            'w' | 'm' => c.is_ascii_lowercase(),
            '+' => c == '+' || c == '-',
            _ => c == s,
        })
}

fn run(case: &str, expected: &Value) -> Value {
    let config = Config::new();
    let (key, path) = key_of(case);
    config.key(key, "KEY");
    if let Some(addresses) = email_to(case) {
        config.write(format!("data/{key}/email_to"), addresses);
    }
    let sink = Sink::start(manners(case));
    let mut starter = kxd(&config);
    for option in options(case, sink.port) {
        starter = starter.arg(option);
    }
    let server = starter.start();
    let answer = server.get(path);
    let log = server.new_lines(expected["log"].as_array().map_or(0, Vec::len));
    let talked = expected["talk"].as_array().is_some_and(|t| !t.is_empty());
    let received = sink.received(usize::from(talked));
    let messages: Vec<String> = received.messages.iter().map(|m| mask(m)).collect();
    let log: Vec<String> = log.iter().map(|l| mask(l)).collect();
    json!({
        "status": answer.status, "body": answer.body_text(), "error": answer.error,
        "log": log, "talk": received.talk, "messages": messages,
    })
}

#[test]
fn recorded_mail_dialogues() {
    let mut table = Table::load("side").only(|n| n.starts_with("mail "));
    let results: Vec<(String, Value)> = std::thread::scope(|scope| {
        let table = &table;
        let runs: Vec<_> = table
            .names()
            .into_iter()
            .map(|n| scope.spawn(move || (n.clone(), run(&n, &table.expected(&n)))))
            .collect();
        runs.into_iter().map(|r| r.join().expect("a run")).collect()
    });
    for (name, got) in results {
        table.check(&name, &got);
    }
    table.finish();
}

#[test]
fn the_key_is_given_only_after_the_mail_was_taken() {
    let config = Config::new();
    config.key("k", "KEY");
    config.write("data/k/email_to", "me@example.com\n");
    let delay = std::time::Duration::from_millis(150);
    let sink = Sink::start(Manners {
        delay,
        ..Manners::default()
    });
    let server = kxd(&config)
        .arg(format!("--smtp_addr=127.0.0.1:{}", sink.port))
        .start();
    assert_eq!(server.get("/v1/k").body, b"KEY");
    assert_eq!(
        sink.received(0).messages.len(),
        1,
        "the key came before the message"
    );
}
