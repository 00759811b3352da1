//! Addresses of peers as text, in the way the original writes them (kxd spec 2 and 3.2): the text
//! goes to logs and hooks, and `allowed_hosts` is compared with it.

use std::net::{IpAddr, SocketAddr};

/// The address without port: IPv4 also when it came mapped into IPv6, lower-case compressed IPv6
/// with the zone's interface name (`fe80::1%eth0`).
#[must_use]
pub fn ip_text(address: &SocketAddr) -> String {
    match (address.ip().to_canonical(), address) {
        (IpAddr::V6(ip), SocketAddr::V6(whole)) if whole.scope_id() != 0 => {
            format!("{ip}%{}", interface_name(whole.scope_id()))
        }
        (ip, _) => ip.to_string(),
    }
}

/// The address with port: `127.0.0.1:1234`, `[::1]:1234`, `[fe80::1%eth0]:1234`.
#[must_use]
pub fn address_text(address: &SocketAddr) -> String {
    let ip = ip_text(address);
    if ip.contains(':') {
        format!("[{ip}]:{}", address.port())
    } else {
        format!("{ip}:{}", address.port())
    }
}

/// The name of a network interface; its number if it has none (any more).
fn interface_name(index: u32) -> String {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    );
    socket
        .and_then(|socket| rustix::net::netdevice::index_to_name(&socket, index))
        .unwrap_or_else(|_| index.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_original_does() {
        for (given, ip, whole) in [
            ("127.0.0.1:1234", "127.0.0.1", "127.0.0.1:1234"),
            ("[::ffff:127.0.0.1]:1234", "127.0.0.1", "127.0.0.1:1234"),
            ("[::1]:1234", "::1", "[::1]:1234"),
            (
                "[2001:DB8:0:0:1:0:0:1]:1",
                "2001:db8::1:0:0:1",
                "[2001:db8::1:0:0:1]:1",
            ),
            ("[fe80::1%1]:5", "fe80::1%lo", "[fe80::1%lo]:5"),
            ("[fe80::1%999999]:5", "fe80::1%999999", "[fe80::1%999999]:5"),
        ] {
            let address: SocketAddr = given.parse().expect(given);
            assert_eq!(ip_text(&address), ip);
            assert_eq!(address_text(&address), whole);
        }
    }
}
