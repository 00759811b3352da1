//! `host:port` taken apart the way the original's library does it, and with its texts.

/// What is wrong with an address. `Display` is what stands behind `address X: `.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no `:PORT` at the end.
    #[error("missing port in address")]
    MissingPort,
    /// An IPv6 address without brackets, or something behind the port.
    #[error("too many colons in address")]
    TooManyColons,
    /// `[` without `]`.
    #[error("missing ']' in address")]
    MissingBracket,
    /// A second `[`.
    #[error("unexpected '[' in address")]
    UnexpectedOpen,
    /// `]` without `[`.
    #[error("unexpected ']' in address")]
    UnexpectedClose,
    /// A number that is no port.
    #[error("invalid port")]
    InvalidPort,
    /// A name that is no known service.
    #[error("unknown port")]
    UnknownPort,
}

/// Splits `host:port`, `[v6]:port` or `:port`; the brackets are taken off the host.
///
/// # Errors
/// [`AddressError`], never the two about the port's value.
pub fn split_host_port(address: &str) -> Result<(&str, &str), AddressError> {
    let (before, port) = address.rsplit_once(':').ok_or(AddressError::MissingPort)?;
    let Some(inner) = address.strip_prefix('[') else {
        if before.contains(':') {
            return Err(AddressError::TooManyColons);
        }
        reject_brackets(address, address)?;
        return Ok((before, port));
    };
    let (host, behind) = inner.split_once(']').ok_or(AddressError::MissingBracket)?;
    match behind.strip_prefix(':') {
        None => return Err(AddressError::MissingPort),
        Some(rest) if rest != port => return Err(AddressError::TooManyColons),
        Some(_) => {}
    }
    reject_brackets(inner, behind)?;
    Ok((host, port))
}

fn reject_brackets(no_open: &str, no_close: &str) -> Result<(), AddressError> {
    if no_open.contains('[') {
        return Err(AddressError::UnexpectedOpen);
    }
    if no_close.contains(']') {
        return Err(AddressError::UnexpectedClose);
    }
    Ok(())
}

/// Services by which people name a mail server's port; others are looked up in `services`.
const SERVICES: &[(&str, u16)] = &[
    ("smtp", 25),
    ("submission", 587),
    ("submissions", 465),
    ("ssmtp", 465),
];

/// The number of a port given as a number or as a service name. An empty port is 0, as in the
/// original. `services` is the text of /etc/services, if there is one.
///
/// # Errors
/// [`AddressError::InvalidPort`], [`AddressError::UnknownPort`].
pub fn parse_port(port: &str, services: Option<&str>) -> Result<u16, AddressError> {
    let digits = port.strip_prefix(['+', '-']).unwrap_or(port);
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        if port.is_empty() {
            return Ok(0);
        }
        return port.parse().map_err(|_| AddressError::InvalidPort);
    }
    let listed = services
        .into_iter()
        .flat_map(str::lines)
        .find_map(|line| service(line, port));
    let built_in = || {
        SERVICES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(port))
    };
    listed
        .or_else(|| built_in().map(|(_, number)| *number))
        .ok_or(AddressError::UnknownPort)
}

/// The port of `wanted` if this line of services(5) defines it for TCP.
fn service(line: &str, wanted: &str) -> Option<u16> {
    let mut words = line.split('#').next()?.split_ascii_whitespace();
    let name = words.next()?;
    let number = words.next()?.strip_suffix("/tcp")?;
    (name == wanted || words.any(|alias| alias == wanted)).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_split_as_the_original_splits_them() {
        use AddressError as E;
        let table = [
            ("mail.example:25", Ok(("mail.example", "25"))),
            ("127.0.0.1:smtp", Ok(("127.0.0.1", "smtp"))),
            ("[::1]:25", Ok(("::1", "25"))),
            ("[fe80::1%eth0]:25", Ok(("fe80::1%eth0", "25"))),
            (":25", Ok(("", "25"))),
            ("host:", Ok(("host", ""))),
            ("127.0.0.1", Err(E::MissingPort)),
            ("", Err(E::MissingPort)),
            ("[::1]", Err(E::MissingPort)),
            ("[::1]25", Err(E::MissingPort)),
            ("::1:25", Err(E::TooManyColons)),
            ("a:b:25", Err(E::TooManyColons)),
            ("[::1]:1:2", Err(E::TooManyColons)),
            ("[::1:25", Err(E::MissingBracket)),
            ("a[b:25", Err(E::UnexpectedOpen)),
            ("a]b:25", Err(E::UnexpectedClose)),
            ("[[::1]:25", Err(E::UnexpectedOpen)),
            ("[::1]:25]", Err(E::UnexpectedClose)),
        ];
        for (address, want) in table {
            assert_eq!(split_host_port(address), want, "{address}");
        }
    }

    #[test]
    fn ports_are_numbers_or_services() {
        let services = "# list\nfoo 99/udp\nfoo 98/tcp bar # baz\nbad x/tcp\n";
        let port = |p| parse_port(p, Some(services));
        assert_eq!(port("25"), Ok(25));
        assert_eq!(port(""), Ok(0));
        assert_eq!(port("smtp"), Ok(25));
        assert_eq!(port("foo"), Ok(98));
        assert_eq!(port("bar"), Ok(98));
        assert_eq!(port("baz"), Err(AddressError::UnknownPort));
        assert_eq!(port("bad"), Err(AddressError::UnknownPort));
        assert_eq!(port("99999"), Err(AddressError::InvalidPort));
        assert_eq!(port("-1"), Err(AddressError::InvalidPort));
    }
}
