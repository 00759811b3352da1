//! One mail over one connection: dials, moves octets for [`SmtpClient`], keeps the limits of time.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use kx_log::golog::format_errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::address::{AddressError, parse_port, split_host_port};
use super::smtp::{Event, SmtpClient, SmtpError};
use super::tls::{TlsConnection, connector};

/// How long finding the server's addresses and connecting to one may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the server may take for one reply, to take what it is sent, or for its part of the TLS
/// handshake.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a mail may take from looking up the server to its good bye.
pub const MAIL_TIMEOUT: Duration = Duration::from_secs(120);

/// Addresses of a server's name that are tried.
const MAX_ADDRESSES: usize = 16;

/// Octets of /etc/services that are read, if a port is given by name.
const MAX_SERVICES: u64 = 1024 * 1024;

/// The limits of time; the original has none (deviation D5).
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// See [`CONNECT_TIMEOUT`].
    pub connect: Duration,
    /// See [`REPLY_TIMEOUT`].
    pub reply: Duration,
    /// See [`MAIL_TIMEOUT`].
    pub mail: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: CONNECT_TIMEOUT,
            reply: REPLY_TIMEOUT,
            mail: MAIL_TIMEOUT,
        }
    }
}

/// Why a mail was not sent. `Display` is the original's text, or its shape.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The dialogue failed, or an address has a line break in it.
    #[error(transparent)]
    Smtp(#[from] SmtpError),
    /// `--smtp_addr` is not `host:port`. The text is the whole address, or the port alone when that
    /// is what is wrong.
    #[error("dial tcp: address {0}: {1}")]
    Address(String, AddressError),
    /// The port's name is not known.
    #[error("dial tcp: lookup tcp/{0}: unknown port")]
    UnknownPort(String),
    /// The server's name has no address.
    #[error("dial tcp: lookup {host}: {why}")]
    Lookup {
        /// Name asked for.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// No address took the connection; the first one's error.
    #[error("dial tcp {address}: connect: {}", format_errno(.error))]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Connecting took too long.
    #[error("dial tcp {0}: i/o timeout")]
    ConnectTimeout(String),
    /// Reading or writing failed.
    #[error("{verb} tcp {ends}: {verb}: {}", format_errno(.error))]
    Socket {
        /// `read` or `write`.
        verb: &'static str,
        /// `local->remote`.
        ends: String,
        /// What the system said.
        error: io::Error,
    },
    /// The server was silent too long.
    #[error("{verb} tcp {ends}: i/o timeout")]
    ReplyTimeout {
        /// `read` or `write`.
        verb: &'static str,
        /// `local->remote`.
        ends: String,
    },
    /// The whole took too long, though each step was in time.
    #[error("smtp: mail not accepted within {} s", .0.as_secs_f64())]
    MailTimeout(Duration),
    /// TLS could not be set up, or the server's certificate is not trusted.
    #[error("{0}")]
    Tls(String),
}

/// The server that takes our mail.
#[derive(Debug, Clone)]
pub struct MailServer {
    /// `host:port` (`--smtp_addr`).
    pub address: String,
    /// Limits of time.
    pub timeouts: Timeouts,
    /// A PEM file of trusted authorities that takes the place of the system's.
    pub roots: Option<PathBuf>,
}

impl MailServer {
    /// The server at `address` (`host:port`), with the limits and authorities that are the default.
    pub fn new(address: impl Into<String>) -> Self {
        MailServer {
            address: address.into(),
            timeouts: Timeouts::default(),
            roots: None,
        }
    }

    /// Sends one mail; returns when the server has accepted it.
    ///
    /// Needs a tokio runtime with I/O and time. Dropping the future closes the connection.
    ///
    /// # Errors
    /// [`SendError`]; the mail may have been accepted if the good bye failed.
    pub async fn send(
        &self,
        sender: &str,
        recipients: &[Vec<u8>],
        message: Vec<u8>,
    ) -> Result<(), SendError> {
        let smtp = SmtpClient::new(sender.as_bytes(), recipients.to_vec(), message)?;
        // On the heap: the connection that waits for this need not be as big when there is no mail.
        match timeout(self.timeouts.mail, Box::pin(self.deliver(smtp))).await {
            Ok(result) => result,
            Err(_) => Err(SendError::MailTimeout(self.timeouts.mail)),
        }
    }

    async fn deliver(&self, mut smtp: SmtpClient) -> Result<(), SendError> {
        let (host, port) = split_host_port(&self.address)
            .map_err(|e| SendError::Address(self.address.clone(), e))?;
        let tcp = self.dial(host, port).await?;
        let mut wire = Wire::new(tcp, self.timeouts.reply);
        let mut out = Vec::new();
        let mut buffer = [0u8; 2048];
        loop {
            while let Some(event) = smtp.poll_event() {
                match event {
                    Event::Sent => {
                        wire.close();
                        return Ok(());
                    }
                    Event::StartTls => {
                        wire = self.start_tls(wire, host).await?;
                        smtp.handle_tls_established();
                    }
                }
            }
            if smtp.poll_transmit(&mut out) {
                wire.write_all(&out).await?;
                out.clear();
            }
            match wire.read(&mut buffer).await? {
                0 => smtp.handle_eof()?,
                n => smtp.handle_input(buffer.get(..n).unwrap_or_default())?,
            }
        }
    }

    async fn start_tls(&self, wire: Wire, host: &str) -> Result<Wire, SendError> {
        let Wire {
            channel: Channel::Plain(tcp),
            ends,
            reply,
        } = wire
        else {
            return Ok(wire);
        };
        let roots = self.roots.clone();
        let settings = tokio::task::spawn_blocking(move || connector(roots.as_deref()))
            .await
            .map_err(|e| SendError::Tls(format!("tls: {e}")))?
            .map_err(|e| SendError::Tls(format!("tls: {e}")))?;
        match timeout(reply, TlsConnection::connect(&settings, host, tcp)).await {
            Ok(Ok(tls)) => Ok(Wire {
                channel: Channel::Tls(tls),
                ends,
                reply,
            }),
            Ok(Err(text)) => Err(SendError::Tls(text)),
            Err(_) => Err(SendError::ReplyTimeout { verb: "read", ends }),
        }
    }

    async fn dial(&self, host: &str, port: &str) -> Result<TcpStream, SendError> {
        let deadline = Instant::now() + self.timeouts.connect;
        let late = |_| SendError::ConnectTimeout(self.address.clone());
        let addresses = timeout_at(deadline, resolve(host, port))
            .await
            .map_err(late)??;
        let mut first_error = None;
        let mut left = addresses.len();
        for address in addresses {
            // Each address gets its part of what is left, so that a dead one does not eat it all.
            let part = deadline.saturating_duration_since(Instant::now());
            let part = part / u32::try_from(left).unwrap_or(1).max(1);
            left = left.saturating_sub(1);
            let error = match timeout(part, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => SendError::Connect { address, error },
                Err(_) => SendError::ConnectTimeout(address.to_string()),
            };
            first_error.get_or_insert(error);
        }
        Err(first_error.unwrap_or_else(|| no_such_host(host)))
    }
}

fn no_such_host(host: &str) -> SendError {
    SendError::Lookup {
        host: host.to_owned(),
        why: "no such host".to_owned(),
    }
}

/// The addresses to try, in the resolver's order. The resolver blocks, so it runs on another thread;
/// when nobody waits any more it ends by its own limits (resolv.conf).
async fn resolve(host: &str, port: &str) -> Result<Vec<SocketAddr>, SendError> {
    let named = !port.bytes().all(|b| b.is_ascii_digit());
    let literal = match host {
        // An empty host is this one.
        "" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => host.parse().ok(),
    };
    if let (Some(ip), false) = (literal, named) {
        let port = parse_port(port, None).map_err(|e| port_error(port, e))?;
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (host_owned, port_owned) = (host.to_owned(), port.to_owned());
    let lookup = tokio::task::spawn_blocking(move || {
        let services = if named { read_services() } else { None };
        let port =
            parse_port(&port_owned, services.as_deref()).map_err(|e| port_error(&port_owned, e))?;
        if let Some(ip) = literal {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        match (host_owned.as_str(), port).to_socket_addrs() {
            Ok(found) => Ok(found.take(MAX_ADDRESSES).collect()),
            Err(e) => Err(lookup_error(&host_owned, &e)),
        }
    });
    lookup.await.map_err(|e| SendError::Lookup {
        host: host.to_owned(),
        why: e.to_string(),
    })?
}

fn port_error(port: &str, error: AddressError) -> SendError {
    match error {
        AddressError::UnknownPort => SendError::UnknownPort(port.to_owned()),
        other => SendError::Address(port.to_owned(), other),
    }
}

fn lookup_error(host: &str, error: &io::Error) -> SendError {
    let text = error.to_string();
    let why = text
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(&text);
    match why {
        "Name or service not known" | "No address associated with hostname" => no_such_host(host),
        why => SendError::Lookup {
            host: host.to_owned(),
            why: why.to_lowercase(),
        },
    }
}

fn read_services() -> Option<String> {
    use std::io::Read;
    let mut text = Vec::new();
    let file = std::fs::File::open("/etc/services").ok()?;
    file.take(MAX_SERVICES).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The connection, in the clear or not, with its limit of time.
#[derive(Debug)]
struct Wire {
    channel: Channel,
    /// `local->remote`, for error texts.
    ends: String,
    reply: Duration,
}

#[derive(Debug)]
enum Channel {
    Plain(TcpStream),
    Tls(TlsConnection),
}

impl Wire {
    fn new(tcp: TcpStream, reply: Duration) -> Self {
        let text = |addr: io::Result<SocketAddr>| addr.map(|a| a.to_string()).unwrap_or_default();
        let ends = format!("{}->{}", text(tcp.local_addr()), text(tcp.peer_addr()));
        Wire {
            channel: Channel::Plain(tcp),
            ends,
            reply,
        }
    }

    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SendError> {
        match &mut self.channel {
            Channel::Plain(tcp) => in_time("read", &self.ends, self.reply, tcp.read(buffer)).await,
            Channel::Tls(tls) => in_time("read", &self.ends, self.reply, tls.read(buffer)).await,
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        match &mut self.channel {
            Channel::Plain(tcp) => {
                in_time("write", &self.ends, self.reply, tcp.write_all(bytes)).await
            }
            Channel::Tls(tls) => {
                in_time("write", &self.ends, self.reply, tls.write_all(bytes)).await
            }
        }
    }

    fn close(&mut self) {
        if let Channel::Tls(tls) = &mut self.channel {
            tls.close();
        }
    }
}

async fn in_time<T>(
    verb: &'static str,
    ends: &str,
    limit: Duration,
    operation: impl Future<Output = io::Result<T>>,
) -> Result<T, SendError> {
    match timeout(limit, operation).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(SendError::Socket {
            verb,
            ends: ends.to_owned(),
            error,
        }),
        Err(_) => Err(SendError::ReplyTimeout {
            verb,
            ends: ends.to_owned(),
        }),
    }
}
