//! Mails over loopback: the recorded servers again, and slow, silent, refusing and encrypting ones.

use std::time::{Duration, Instant};

use super::scripted_server::{Identity, Sink, Step};
use super::vectors::cases;
use crate::email::message::recipients;
use crate::email::send::{MailServer, SendError, Timeouts};

const MESSAGE: &[u8] = b"Subject: t\r\n\r\nhello\r\n";

fn send(server: &MailServer, sender: &str, to: &[Vec<u8>]) -> Result<(), SendError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(server.send(sender, to, MESSAGE.to_vec()))
}

fn send_to(sink: &Sink) -> Result<(), SendError> {
    send(
        &MailServer::new(sink.addr.to_string()),
        "a@x",
        &[b"b@y".to_vec()],
    )
}

fn say(text: &str) -> Step {
    Step::Say(format!("{text}\r\n").into_bytes())
}

/// A server that accepts, from the answer to EHLO on.
fn rest_of_dialogue() -> Vec<Step> {
    use Step::{Data, Line};
    vec![
        Line,
        say("250 x"),
        Line,
        say("250 x"),
        Line,
        say("250 x"),
        Line,
        say("354 x"),
        Data,
        say("250 x"),
        Line,
        say("221 x"),
    ]
}

fn with_rest(mut steps: Vec<Step>) -> Vec<Step> {
    steps.extend(rest_of_dialogue());
    steps
}

const DIALOGUE: &str = "EHLO localhost\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n\
    Subject: t\r\n\r\nhello\r\n.\r\nQUIT\r\n";

#[test]
fn recorded_servers_get_the_recorded_dialogue() {
    let mut tried = 0;
    for case in cases() {
        let name = &case.name;
        let setup = case.setup();
        let to = recipients(&setup.email_to);
        let dials = case
            .error
            .as_deref()
            .is_some_and(|e| e.starts_with("dial "));
        if to.is_empty() || dials || name == "mail starttls untrusted" {
            continue;
        }
        let mut script = Vec::new();
        let mut wanted = String::new();
        for line in &case.talk {
            if let Some(text) = line.strip_prefix("S: ") {
                script.push(say(text));
                if text.starts_with("354") {
                    script.push(Step::Data);
                    wanted.push_str("Subject: t\r\n\r\nhello\r\n.\r\n");
                }
            } else if let Some(text) = line.strip_prefix("C: ") {
                script.push(Step::Line);
                wanted.push_str(&text.replace("\\r\\n", "\r\n"));
            }
        }
        let sink = Sink::start(script, None);
        let server = MailServer::new(format!("{}:{}", setup.host, sink.addr.port()));
        let result = send(&server, setup.sender, &to);
        assert_eq!(
            result.map_err(|e| e.to_string()).err(),
            case.error,
            "{name}"
        );
        if name == "mail email_to injection by cr" {
            continue; // Nobody connects.
        }
        let heard = sink
            .heard()
            .iter()
            .map(|b| char::from(*b))
            .collect::<String>();
        assert_eq!(heard, wanted, "{name}");
        tried += 1;
    }
    assert_eq!(tried, 18);
}

#[test]
fn dialling_fails_with_the_recorded_texts() {
    let text = |address: &str| {
        send(&MailServer::new(address), "a@x", &[b"b@y".to_vec()])
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        text("127.0.0.1"),
        "dial tcp: address 127.0.0.1: missing port in address"
    );
    assert_eq!(
        text("::1:25"),
        "dial tcp: address ::1:25: too many colons in address"
    );
    assert_eq!(
        text("127.0.0.1:99999"),
        "dial tcp: address 99999: invalid port"
    );
    assert_eq!(
        text("127.0.0.1:nosuch"),
        "dial tcp: lookup tcp/nosuch: unknown port"
    );
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(
        text(&free.to_string()),
        format!("dial tcp {free}: connect: connection refused")
    );
    let named = format!("localhost:{}", free.port());
    assert!(
        text(&named).ends_with(": connect: connection refused"),
        "{}",
        text(&named)
    );
    assert!(text("no-such-host.invalid:25").starts_with("dial tcp: lookup no-such-host.invalid: "));
}

#[test]
fn silent_server_is_given_up() {
    let sink = Sink::start(
        vec![
            say("220 x"),
            Step::Line,
            Step::Pause(Duration::from_secs(1)),
        ],
        None,
    );
    let mut server = MailServer::new(sink.addr.to_string());
    server.timeouts.reply = Duration::from_millis(200);
    let start = Instant::now();
    let text = send(&server, "a@x", &[b"b@y".to_vec()])
        .unwrap_err()
        .to_string();
    assert!(start.elapsed() < Duration::from_millis(800));
    assert!(text.starts_with("read tcp 127.0.0.1:"), "{text}");
    assert!(
        text.ends_with(&format!("->{}: i/o timeout", sink.addr)),
        "{text}"
    );
}

#[test]
fn dribbling_server_is_given_up() {
    let dribble = [
        Step::Say(b"2".to_vec()),
        Step::Pause(Duration::from_millis(50)),
    ];
    let sink = Sink::start(dribble.iter().cloned().cycle().take(100).collect(), None);
    let mut server = MailServer::new(sink.addr.to_string());
    server.timeouts = Timeouts {
        mail: Duration::from_millis(400),
        ..Timeouts::default()
    };
    let start = Instant::now();
    let text = send(&server, "a@x", &[b"b@y".to_vec()])
        .unwrap_err()
        .to_string();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(text, "smtp: mail not accepted within 0.4 s");
}

#[test]
fn dead_address_is_given_up() {
    // A listener whose queue is full: further connections get no answer.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let addr = listener.local_addr().unwrap();
    let _fill = std::net::TcpStream::connect(addr).unwrap();
    let mut server = MailServer::new(addr.to_string());
    server.timeouts.connect = Duration::from_millis(200);
    let text = send(&server, "a@x", &[b"b@y".to_vec()])
        .unwrap_err()
        .to_string();
    assert_eq!(text, format!("dial tcp {addr}: i/o timeout"));
}

#[test]
fn reset_connection_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        rustix::net::sockopt::set_socket_linger(&tcp, Some(Duration::ZERO)).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    });
    let text = send(
        &MailServer::new(addr.to_string()),
        "a@x",
        &[b"b@y".to_vec()],
    )
    .unwrap_err()
    .to_string();
    thread.join().unwrap();
    assert!(text.starts_with("read tcp 127.0.0.1:"), "{text}");
    assert!(text.ends_with(": read: connection reset by peer"), "{text}");
}

fn starttls() -> Vec<Step> {
    vec![
        say("220 x"),
        Step::Line,
        say("250-x\r\n250 STARTTLS"),
        Step::Line,
        say("220 go"),
        Step::Tls,
    ]
}

#[test]
fn mail_goes_over_tls_when_offered_and_trusted() {
    let identity = Identity::new("127.0.0.1");
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), identity.certificate.to_pem().unwrap()).unwrap();
    let sink = Sink::start(with_rest(starttls()), Some(identity));
    let mut server = MailServer::new(sink.addr.to_string());
    server.roots = Some(roots.path().to_owned());
    send(&server, "a@x", &[b"b@y".to_vec()]).unwrap();
    let heard = String::from_utf8(sink.heard()).unwrap();
    assert_eq!(heard, format!("EHLO localhost\r\nSTARTTLS\r\n{DIALOGUE}"));
}

#[test]
fn untrusted_tls_refuses_and_sends_nothing_more() {
    let sink = Sink::start(with_rest(starttls()), Some(Identity::new("127.0.0.1")));
    let recorded = cases()
        .into_iter()
        .find(|c| c.name == "mail starttls untrusted")
        .unwrap();
    assert_eq!(
        send_to(&sink).unwrap_err().to_string(),
        recorded.error.unwrap()
    );
    assert_eq!(sink.heard(), b"EHLO localhost\r\nSTARTTLS\r\n");
}

#[test]
fn certificate_for_another_address_refuses() {
    let identity = Identity::new("192.0.2.1");
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), identity.certificate.to_pem().unwrap()).unwrap();
    let sink = Sink::start(with_rest(starttls()), Some(identity));
    let mut server = MailServer::new(sink.addr.to_string());
    server.roots = Some(roots.path().to_owned());
    let text = send(&server, "a@x", &[b"b@y".to_vec()])
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with(
            "tls: failed to verify certificate: x509: cannot validate certificate for 127.0.0.1"
        ),
        "{text}"
    );
}

#[test]
fn server_that_hangs_in_the_handshake_is_given_up() {
    let mut script = starttls();
    script.pop();
    script.push(Step::Pause(Duration::from_secs(1)));
    let sink = Sink::start(script, None);
    let mut server = MailServer::new(sink.addr.to_string());
    server.timeouts.reply = Duration::from_millis(300);
    let text = send(&server, "a@x", &[b"b@y".to_vec()])
        .unwrap_err()
        .to_string();
    assert!(text.ends_with(": i/o timeout"), "{text}");
}

#[test]
fn slow_mails_do_not_wait_for_one_another() {
    let slow = || {
        let pause = Step::Pause(Duration::from_millis(300));
        Sink::start(with_rest(vec![pause, say("220 x")]), None)
    };
    let sinks: Vec<Sink> = (0..8).map(|_| slow()).collect();
    let servers: Vec<MailServer> = sinks
        .iter()
        .map(|s| MailServer::new(s.addr.to_string()))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let start = Instant::now();
    runtime.block_on(async {
        let mut mails = tokio::task::JoinSet::new();
        for server in servers {
            mails.spawn(async move {
                server
                    .send("a@x", &[b"b@y".to_vec()], MESSAGE.to_vec())
                    .await
            });
        }
        while let Some(mail) = mails.join_next().await {
            mail.unwrap().unwrap();
        }
    });
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
    for sink in sinks {
        assert_eq!(String::from_utf8(sink.heard()).unwrap(), DIALOGUE);
    }
}
