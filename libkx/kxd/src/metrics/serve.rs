//! A minimal HTTP responder for the metrics, on a local address only.
//!
//! It answers `GET /metrics` and closes. A connection lives two seconds at most, there are eight
//! at most, and a request may have 4 KiB.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::email::address::{parse_port, split_host_port};

/// How long a connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 8;

/// Octets of a request's header.
const MAX_REQUEST: usize = 4096;

/// Pause after a failed accept, so that running out of descriptors does not eat a processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Where metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricsAddr {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Why a `--metrics_addr` is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsAddrError {
    /// Not `IP:PORT`, `localhost:PORT` or `unix:PATH`.
    #[error("must be 127.0.0.1:PORT, [::1]:PORT or unix:/PATH")]
    Malformed,
    /// An address that others could reach. Counters tell who asks for keys and when.
    #[error("must be a loopback address")]
    NotLocal,
    /// A relative path of a socket: the daemon has no working directory to speak of.
    #[error("the path of a socket must begin with /")]
    RelativePath,
}

impl std::str::FromStr for MetricsAddr {
    type Err = MetricsAddrError;

    fn from_str(text: &str) -> Result<Self, MetricsAddrError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(MetricsAddr::Unix(path))
            } else {
                Err(MetricsAddrError::RelativePath)
            };
        }
        let (host, port) = split_host_port(text).map_err(|_| MetricsAddrError::Malformed)?;
        let port = match port {
            "" => return Err(MetricsAddrError::Malformed),
            port => parse_port(port, None).map_err(|_| MetricsAddrError::Malformed)?,
        };
        let ip = match host {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            // All addresses, as elsewhere: not local.
            "" => return Err(MetricsAddrError::NotLocal),
            host => host.parse().map_err(|_| MetricsAddrError::Malformed)?,
        };
        if !ip.to_canonical().is_loopback() {
            return Err(MetricsAddrError::NotLocal);
        }
        Ok(MetricsAddr::Tcp(SocketAddr::new(ip, port)))
    }
}

/// A bound socket, not yet served: binding fails at start, before a runtime is there.
#[derive(Debug)]
pub enum MetricsListener {
    /// On a loopback address.
    Tcp(std::net::TcpListener),
    /// In the file system.
    Unix(std::os::unix::net::UnixListener),
}

impl MetricsListener {
    /// Binds. A socket file that nobody listens on any more is replaced; a new one has mode 0660.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(addr: &MetricsAddr) -> io::Result<MetricsListener> {
        match addr {
            MetricsAddr::Tcp(addr) => {
                let listener = std::net::TcpListener::bind(addr)?;
                listener.set_nonblocking(true)?;
                Ok(MetricsListener::Tcp(listener))
            }
            MetricsAddr::Unix(path) => {
                remove_stale(path)?;
                let listener = std::os::unix::net::UnixListener::bind(path)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
                listener.set_nonblocking(true)?;
                Ok(MetricsListener::Unix(listener))
            }
        }
    }

    /// The address, with the port that was picked for port 0.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            MetricsListener::Tcp(listener) => listener.local_addr().ok(),
            MetricsListener::Unix(_) => None,
        }
    }
}

/// Removes the socket of a daemon that died. Anything but a dead socket stays, and bind(2) fails.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = path
        .symlink_metadata()
        .is_ok_and(|m| m.file_type().is_socket());
    if is_socket
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Makes the page; called for every request.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Serves until the future is dropped.
///
/// # Errors
/// When the socket cannot be handed to the runtime.
pub async fn serve(listener: MetricsListener, render: Render) -> io::Result<()> {
    match listener {
        MetricsListener::Tcp(listener) => {
            accept_from(TcpListener::from_std(listener)?, render).await
        }
        MetricsListener::Unix(listener) => {
            accept_from(UnixListener::from_std(listener)?, render).await
        }
    }
}

/// A listening socket of either family.
trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn accept_one(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    async fn accept_one(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;
    async fn accept_one(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Answers each connection, not more than [`CONNECTIONS`] at a time.
async fn accept_from(listener: impl Accept, render: Render) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        match listener.accept_one().await {
            Ok(stream) => {
                let render = Arc::clone(&render);
                tokio::spawn(async move {
                    answer_in_time(stream, &render).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn answer_in_time(stream: impl AsyncRead + AsyncWrite + Unpin, render: &Render) {
    // Whoever is too slow or gone gets nothing, and there is nobody to tell.
    let _ = timeout(CONNECTION_TIMEOUT, answer(stream, render)).await;
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    render: &Render,
) -> io::Result<()> {
    let mut head = Vec::new();
    let mut piece = [0u8; 512];
    while !is_complete(&head) && head.len() < MAX_REQUEST {
        match stream.read(&mut piece).await? {
            0 => break,
            n => head.extend_from_slice(piece.get(..n).unwrap_or_default()),
        }
    }
    stream.write_all(response(&head, render).as_bytes()).await?;
    stream.shutdown().await
}

/// Whether an empty line has come.
fn is_complete(head: &[u8]) -> bool {
    head.windows(4).any(|w| w == b"\r\n\r\n") || head.windows(2).any(|w| w == b"\n\n")
}

fn response(head: &[u8], render: &Render) -> String {
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let (status, body) = match (is_complete(head), method, path) {
        (false, ..) => ("400 Bad Request", "Bad request\n".to_owned()),
        (true, Some("GET" | "HEAD"), "/metrics") => ("200 OK", render()),
        (true, Some("GET" | "HEAD"), _) => ("404 Not Found", "See /metrics\n".to_owned()),
        (true, ..) => ("405 Method Not Allowed", "Only GET\n".to_owned()),
    };
    let length = body.len();
    let body = if method == Some("HEAD") {
        String::new()
    } else {
        body
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn only_local_addresses_are_taken() {
        use MetricsAddrError as E;
        let good = [
            "127.0.0.1:1",
            "127.9.9.9:0",
            "[::1]:9",
            "localhost:80",
            "[::ffff:127.0.0.1]:5",
        ];
        for text in good {
            assert!(matches!(text.parse(), Ok(MetricsAddr::Tcp(_))), "{text}");
        }
        assert_eq!(
            "unix:/run/x".parse(),
            Ok(MetricsAddr::Unix("/run/x".into()))
        );
        let bad = [
            ("0.0.0.0:1", E::NotLocal),
            ("192.0.2.1:1", E::NotLocal),
            ("[::]:1", E::NotLocal),
            (":1", E::NotLocal),
            ("[2001:db8::1]:1", E::NotLocal),
            ("example.com:1", E::Malformed),
            ("127.0.0.1", E::Malformed),
            ("127.0.0.1:", E::Malformed),
            ("127.0.0.1:99999", E::Malformed),
            ("::1:1", E::Malformed),
            ("", E::Malformed),
            ("unix:x", E::RelativePath),
        ];
        for (text, error) in bad {
            assert_eq!(text.parse::<MetricsAddr>(), Err(error), "{text}");
        }
    }

    /// Serves on a thread that ends with the test program.
    fn start(addr: &str) -> Option<SocketAddr> {
        let listener = MetricsListener::bind(&addr.parse().unwrap()).unwrap();
        let addr = listener.local_addr();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve(listener, Arc::new(|| "kxd_x 1\n".to_owned())))
        });
        addr
    }

    fn ask(mut stream: impl Read + Write, request: &[u8]) -> String {
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn page_is_served_on_tcp() {
        let addr = start("127.0.0.1:0").unwrap();
        let get = |request: &[u8]| ask(std::net::TcpStream::connect(addr).unwrap(), request);
        let page = get(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(page.contains("\r\nContent-Length: 8\r\n"), "{page}");
        assert!(page.ends_with("\r\n\r\nkxd_x 1\n"), "{page}");
        assert!(get(b"HEAD /metrics HTTP/1.1\n\n").ends_with("\r\n\r\n"));
        assert!(get(b"GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(get(b"POST /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 405 "));
        assert!(get(&[b'x'; MAX_REQUEST]).starts_with("HTTP/1.1 400 "));
    }

    #[test]
    fn silent_clients_do_not_keep_others_out_for_long() {
        let addr = start("127.0.0.1:0").unwrap();
        let silent: Vec<_> = (0..CONNECTIONS)
            .map(|_| std::net::TcpStream::connect(addr).unwrap())
            .collect();
        let stream = std::net::TcpStream::connect(addr).unwrap();
        let page = ask(stream, b"GET /metrics HTTP/1.0\r\n\r\n");
        assert!(page.ends_with("kxd_x 1\n"), "{page}");
        drop(silent);
    }

    #[test]
    fn unix_socket_is_private_and_replaces_a_dead_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics");
        let addr = format!("unix:{}", path.display());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert_eq!(start(&addr), None);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
        let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(ask(stream, b"GET /metrics HTTP/1.0\r\n\r\n").ends_with("kxd_x 1\n"));
        // A living one and a file that is no socket stay.
        assert!(MetricsListener::bind(&addr.parse().unwrap()).is_err());
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(MetricsListener::bind(&MetricsAddr::Unix(file.clone())).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
    }
}
