//! `ip_addr:port` as the original takes it: the two texts joined and taken apart again (kxd spec 2).

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use kx_log::golog::format_errno;

/// Why nothing listens. The text is what the original logs before it exits.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    /// More than one colon, and no brackets.
    #[error("listen tcp: address {0}: too many colons in address")]
    TooManyColons(String),
    /// An opening bracket without its closing one, or with something behind that.
    #[error("listen tcp: address {0}: missing ']' in address")]
    MissingBracket(String),
    /// Not 0 to 65535.
    #[error("listen tcp: address {0}: invalid port")]
    InvalidPort(i64),
    /// The name does not resolve.
    #[error("listen tcp: lookup {0}: no such host")]
    NoSuchHost(String),
    /// The system refuses.
    #[error("listen tcp {addr}: {call}: {}", format_errno(.source))]
    System {
        /// What was asked for.
        addr: String,
        /// The system call.
        call: &'static str,
        /// Its error.
        source: std::io::Error,
    },
}

/// Opens the listening socket. An empty host is all addresses of both families.
///
/// # Errors
/// [`ListenError`].
pub(super) fn bind(host: &str, port: i64) -> Result<TcpListener, ListenError> {
    let joined = format!("{host}:{port}");
    let host = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .ok_or_else(|| ListenError::MissingBracket(joined.clone()))?,
        None if host.contains(':') => return Err(ListenError::TooManyColons(joined)),
        None => host,
    };
    let port_number = u16::try_from(port).map_err(|_| ListenError::InvalidPort(port))?;
    let open = |addr: SocketAddr, shown: String| {
        kx_sys::listen::bind(addr, false).map_err(|e| ListenError::System {
            addr: shown,
            call: e.call,
            source: e.source,
        })
    };
    if host.is_empty() {
        return open(
            SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port_number),
            joined,
        );
    }
    let addr =
        resolve(host, port_number).ok_or_else(|| ListenError::NoSuchHost(host.to_owned()))?;
    open(addr, addr.to_string())
}

/// The address of a socket that we did not open ourselves. All addresses are shown as the original's
/// default, without a host.
pub(super) fn of(socket: &TcpListener) -> String {
    match socket.local_addr() {
        Ok(addr) if addr.ip().is_unspecified() => format!(":{}", addr.port()),
        Ok(addr) => super::Peer::new(addr).text,
        // It was looked at when it was taken over; but a line is not worth an end.
        Err(e) => format!("a passed socket ({})", format_errno(&e)),
    }
}

/// The first IPv4 address of a name, else the first of all, as the original picks it.
fn resolve(host: &str, port: u16) -> Option<SocketAddr> {
    let all: Vec<SocketAddr> = (host, port).to_socket_addrs().ok()?.collect();
    all.iter().find(|a| a.is_ipv4()).or(all.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(host: &str, port: i64) -> String {
        bind(host, port).map_or_else(|e| e.to_string(), |_| "bound".to_owned())
    }

    #[test]
    fn refusals_read_as_the_originals() {
        assert_eq!(
            text("::1", 1),
            "listen tcp: address ::1:1: too many colons in address"
        );
        assert_eq!(text("", 99999), "listen tcp: address 99999: invalid port");
        assert_eq!(text("", -1), "listen tcp: address -1: invalid port");
        assert_eq!(
            text("192.0.2.1", 9),
            "listen tcp 192.0.2.1:9: bind: cannot assign requested address"
        );
    }

    #[test]
    fn a_port_in_use_is_refused() {
        let first = bind("127.0.0.1", 0).expect("a free port");
        let port = first.local_addr().expect("bound").port();
        assert_eq!(
            text("127.0.0.1", port.into()),
            format!("listen tcp 127.0.0.1:{port}: bind: address already in use")
        );
    }
}
