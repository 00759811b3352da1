//! What stands around messages on UDP port 4500 (RFC 3948; isakmpd-wire 4.5).

/// What precedes an IKE message on port 4500; anything else there is ESP.
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// The whole content of a keepalive datagram.
pub const KEEPALIVE: [u8; 1] = [0xff];

/// What a datagram on port 4500 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulated<'a> {
    /// An IKE message, the marker taken off.
    Ike(&'a [u8]),
    /// A keepalive, to be dropped.
    Keepalive,
    /// ESP, for the kernel.
    Esp,
    /// Too short to be anything.
    Short,
}

/// Sorts a datagram that came in on port 4500.
#[must_use]
pub fn classify(datagram: &[u8]) -> Encapsulated<'_> {
    if datagram == KEEPALIVE {
        return Encapsulated::Keepalive;
    }
    match datagram.split_first_chunk::<4>() {
        Some((&NON_ESP_MARKER, message)) => Encapsulated::Ike(message),
        Some(_) => Encapsulated::Esp,
        None => Encapsulated::Short,
    }
}

/// A message as it goes out on port 4500.
#[must_use]
pub fn encapsulate(message: &[u8]) -> Vec<u8> {
    [&NON_ESP_MARKER, message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_by_marker() {
        assert_eq!(
            classify(&encapsulate(b"message")),
            Encapsulated::Ike(b"message")
        );
        assert_eq!(classify(&[0xff]), Encapsulated::Keepalive);
        assert_eq!(classify(&[0, 0, 0, 1, 0]), Encapsulated::Esp);
        assert_eq!(classify(&[0xff, 0xff]), Encapsulated::Short);
        assert_eq!(classify(&[]), Encapsulated::Short);
    }
}
