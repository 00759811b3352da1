//! The load: TLS clients on threads of this process.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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
        b.set_certificate(&setup.client_cert)?;
        b.set_private_key(&setup.client_key)?;
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
pub(crate) fn fresh(client: &Client, total: usize) -> Outcome<Phase> {
    phase(total, |take| {
        let mut latencies = Vec::new();
        while take() {
            let began = Instant::now();
            client.once()?;
            latencies.push(began.elapsed());
        }
        Ok(latencies)
    })
}

/// `total` keys over [`CLIENTS`] connections that stay open.
pub(crate) fn keep_alive(client: &Client, total: usize) -> Outcome<Phase> {
    phase(total, |take| {
        let mut latencies = Vec::new();
        let mut stream = client.connect()?;
        let mut buf = Vec::new();
        while take() {
            let began = Instant::now();
            stream.write_all(REQUEST)?;
            read_answer(&mut stream, &mut buf)?;
            latencies.push(began.elapsed());
        }
        Ok(latencies)
    })
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

fn phase(
    total: usize,
    one: impl Fn(&dyn Fn() -> bool) -> Outcome<Vec<Duration>> + Sync,
) -> Outcome<Phase> {
    let left = AtomicUsize::new(total);
    let take = || {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            .is_ok()
    };
    let began = Instant::now();
    let mut latencies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| one(&take))).collect();
        let mut all = Vec::with_capacity(total);
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a client panicked")??);
        }
        Outcome::Ok(all)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    latencies.sort();
    let at = |part: f64| {
        let index =
            ((latencies.len() as f64 * part) as usize).min(latencies.len().saturating_sub(1));
        latencies.get(index).map_or(0.0, |d| d.as_secs_f64() * 1e3)
    };
    Ok(Phase {
        per_second: total as f64 / seconds,
        p50_ms: at(0.50),
        p99_ms: at(0.99),
    })
}
