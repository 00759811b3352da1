//! The load: ApacheBench for rates and latencies, TLS clients of our own for the rest.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVerifyMode};

use crate::CLIENTS;
use crate::server::Setup;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const REQUEST_CLOSE: &[u8] =
    b"GET /v1/host/disk HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const REQUEST: &[u8] = b"GET /v1/host/disk HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A client that holds the allowed certificate.
pub(crate) struct Client {
    context: SslContext,
    addr: SocketAddr,
}

/// Rate and latency of a phase.
pub(crate) struct Phase {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Client {
    pub(crate) fn new(setup: &Setup, addr: SocketAddr) -> Outcome<Client> {
        let mut b = SslContext::builder(SslMethod::tls_client())?;
        b.set_certificate(&setup.client.cert)?;
        b.set_private_key(&setup.client.key)?;
        b.set_verify(SslVerifyMode::NONE);
        Ok(Client {
            context: b.build(),
            addr,
        })
    }

    fn connect(&self) -> Outcome<SslStream<TcpStream>> {
        let tcp = TcpStream::connect(self.addr)?;
        tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut stream = SslStream::new(Ssl::new(&self.context)?, tcp)?;
        stream.connect()?;
        Ok(stream)
    }

    /// One key over a connection of its own.
    pub(crate) fn once(&self) -> Outcome<()> {
        let mut stream = self.connect()?;
        stream.write_all(REQUEST_CLOSE)?;
        let mut answer = Vec::with_capacity(4096);
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            // A close without close_notify after the whole answer is fine.
            Err(_) if answer.len() > 2048 => {}
            Err(e) => return Err(e.into()),
        }
        check(&answer)
    }
}

fn check(answer: &[u8]) -> Outcome<()> {
    if answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(&[0x5a; 2048]) {
        Ok(())
    } else {
        Err(format!("not the key: {:?}", String::from_utf8_lossy(answer)).into())
    }
}

/// Reads one answer of a keep-alive connection.
fn read_answer(stream: &mut SslStream<TcpStream>, buf: &mut Vec<u8>) -> Outcome<()> {
    buf.clear();
    let mut piece = [0; 4096];
    loop {
        let n = stream.read(&mut piece)?;
        if n == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        buf.extend_from_slice(&piece[..n]);
        if let Some(head) = buf.windows(4).position(|w| w == b"\r\n\r\n")
            && buf.len() >= head + 4 + 2048
        {
            return check(buf);
        }
    }
}

/// `total` keys, each over a fresh mutual-TLS connection, by [`CLIENTS`] clients.
pub(crate) fn fresh(setup: &Setup, addr: SocketAddr, total: usize) -> Outcome<Phase> {
    ab(setup, addr, total, &[])
}

/// `total` keys over [`CLIENTS`] connections that stay open.
pub(crate) fn keep_alive(setup: &Setup, addr: SocketAddr, total: usize) -> Outcome<Phase> {
    ab(setup, addr, total, &["-k"])
}

/// `n` connections that got a key each and then stay silent.
pub(crate) fn hold_idle(client: &Client, n: usize) -> Outcome<Vec<SslStream<TcpStream>>> {
    let mut buf = Vec::new();
    (0..n)
        .map(|_| {
            let mut stream = client.connect()?;
            stream.write_all(REQUEST)?;
            read_answer(&mut stream, &mut buf)?;
            Ok(stream)
        })
        .collect()
}

/// ApacheBench: one thread that keeps [`CLIENTS`] connections busy, so that the client's own threads
/// do not compete with the server for the processors.
fn ab(setup: &Setup, addr: SocketAddr, total: usize, more: &[&str]) -> Outcome<Phase> {
    let percentiles = setup.path("percentiles.csv");
    let output = Command::new("ab")
        .args(["-q", "-c", &CLIENTS.to_string(), "-n", &total.to_string()])
        .args(more)
        .arg("-E")
        .arg(setup.path("client-both.pem"))
        .arg("-e")
        .arg(&percentiles)
        .arg(format!("https://{addr}/v1/host/disk"))
        .output()
        .map_err(|e| format!("ab (package apache2-utils): {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = |label: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(label))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|n| n.parse::<f64>().ok())
    };
    let all_good = figure("Failed requests:") == Some(0.0)
        && figure("Complete requests:") == Some(total as f64)
        && figure("Non-2xx responses:").is_none();
    if !all_good {
        let trouble = String::from_utf8_lossy(&output.stderr);
        return Err(format!("ab: {text}{trouble}").into());
    }
    let csv = std::fs::read_to_string(percentiles)?;
    let at = |percent: &str| {
        csv.lines()
            .find_map(|l| l.strip_prefix(percent)?.strip_prefix(','))
            .and_then(|n| n.trim().parse::<f64>().ok())
            .ok_or("ab: no percentiles")
    };
    Ok(Phase {
        per_second: figure("Requests per second:").ok_or("ab: no rate")?,
        p50_ms: at("50")?,
        p99_ms: at("99")?,
    })
}
