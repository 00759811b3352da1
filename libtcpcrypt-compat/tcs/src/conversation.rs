//! What clients of the test ask, and what they are told.

/// The requests that are known, by number.
const REQUESTS: [&[u8]; 3] = [
    b"GET /check HTTP/1.0\r\nHost: check.tcpcrypt.org\r\n\r\n",
    b"MORTEasldkfjasldkfjaslkfjaslfkjasdlfkjas",
    b"GHGHHGHGHGHREHEHGEHRGHERHGHERG",
];

/// The longest of them, in octets.
pub(crate) const LONGEST: usize = {
    let mut longest = 0;
    let mut i = 0;
    while i < REQUESTS.len() {
        if REQUESTS[i].len() > longest {
            longest = REQUESTS[i].len();
        }
        i += 1;
    }
    longest
};

/// What octets of a client are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// One that is known, with its number.
    Known(usize),
    /// The beginning of one.
    Begun,
    /// Nothing that is known.
    Unknown,
}

/// Compares with the requests that are known; all octets count.
pub(crate) fn request(octets: &[u8]) -> Request {
    if let Some(number) = REQUESTS.iter().position(|known| *known == octets) {
        Request::Known(number)
    } else if REQUESTS.iter().any(|known| known.starts_with(octets)) {
        Request::Begun
    } else {
        Request::Unknown
    }
}

/// The answer: whether the client's SYN offered tcpcrypt.
pub(crate) fn answer(offered: bool) -> [u8; 20] {
    let mut answer = *b"HTTP/1.0 200 OK\r\n\r\n0";
    answer[19] += u8::from(offered);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_compared_exactly() {
        for (number, known) in REQUESTS.iter().enumerate() {
            assert_eq!(request(known), Request::Known(number));
            assert_eq!(request(&known[..known.len() - 1]), Request::Begun);
            assert_eq!(request(&[known, &b"\n"[..]].concat()), Request::Unknown);
            assert!(known.len() <= LONGEST);
        }
        assert_eq!(request(b""), Request::Begun);
        assert_eq!(request(b"GET / HTTP/1.0\r\n\r\n"), Request::Unknown);
        assert_eq!(REQUESTS[0].len(), 49);
    }

    #[test]
    fn answers() {
        assert_eq!(&answer(true), b"HTTP/1.0 200 OK\r\n\r\n1");
        assert_eq!(&answer(false), b"HTTP/1.0 200 OK\r\n\r\n0");
    }
}
