//! Who has an address: bounds on what one peer may cause have to hold for all addresses that are his.

use std::net::{IpAddr, Ipv6Addr};

/// The first address of those that one host can have at will: all of a /64 over IPv6 (RFC 4291 section 2.5.1),
/// the one over IPv4.
pub(crate) fn of_host(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => {
            let prefix = six.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(prefix).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::of_host;

    #[test]
    fn networks() {
        for (one, other, same) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("::1", "10.0.0.1", false),
        ] {
            let [one, other] = [one, other].map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(of_host(one) == of_host(other), same, "{one} {other}");
        }
    }
}
