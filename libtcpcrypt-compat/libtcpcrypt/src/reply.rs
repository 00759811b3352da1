//! Is a datagram the answer that was waited for?

use tcpcrypt_control::{Datagram, HEADER_LEN, Header};

use crate::error::Error;

/// What a datagram is to the request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// The answer to another request: wait on.
    Other,
    /// The answer: the value.
    Value(&'a [u8]),
}

/// Looks at a datagram of which `received` is what fitted the buffer and `whole` its length.
///
/// `room` is what may come as a value. A set request takes any.
pub(crate) fn judge<'a>(
    received: &'a [u8],
    whole: usize,
    request: &Header,
    room: usize,
) -> Result<Reply<'a>, Error> {
    let header = Header::parse(received).ok_or(Error::Answer)?;
    if header.seq != request.seq {
        return Ok(Reply::Other);
    }
    if whole != received.len() {
        return Err(Error::Answer);
    }
    let answer = Datagram::parse(received).map_err(|_| Error::Answer)?;
    if answer.header.error != 0 {
        let error = answer.header.error;
        return Err(Error::refused(error, request.optname, request.is_set()));
    }
    if !request.is_set() && answer.data.len() > room {
        return Err(Error::Answer);
    }
    Ok(Reply::Value(answer.data))
}

/// Octets to receive for an answer with a value of `room`.
pub(crate) fn longest(room: usize) -> usize {
    HEADER_LEN.saturating_add(room)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use proptest::prelude::*;
    use tcpcrypt_control::{GENERIC_FAILURE, SET};

    use super::*;

    const NOWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

    fn request() -> Header {
        Header::request(7, NOWHERE, NOWHERE, 2)
    }

    fn datagram(header: Header, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Datagram::write(&header, data, &mut out);
        out
    }

    #[test]
    fn the_answer_and_others() {
        let good = datagram(request(), b"id");
        assert_eq!(
            judge(&good, good.len(), &request(), 2),
            Ok(Reply::Value(b"id"))
        );
        let late = datagram(
            Header {
                seq: 6,
                ..request()
            },
            b"id",
        );
        assert_eq!(judge(&late, late.len(), &request(), 2), Ok(Reply::Other));
    }

    #[test]
    fn answers_that_are_none() {
        let good = datagram(request(), b"id");
        for (bytes, whole, room) in [
            (&good[..35], 35, 2),
            (&good[..37], 37, 2),
            (&good[..], good.len() + 1, 2),
            (&good[..], good.len(), 1),
            (&[][..], 0, 2),
        ] {
            assert_eq!(judge(bytes, whole, &request(), room), Err(Error::Answer));
        }
        // Of a set request nobody reads the value.
        let set = Header {
            flags: SET,
            ..request()
        };
        assert_eq!(judge(&good, good.len(), &set, 0), Ok(Reply::Value(b"id")));
    }

    #[test]
    fn refusals() {
        let bytes = datagram(
            Header {
                error: GENERIC_FAILURE,
                ..request()
            },
            b"longer than the room",
        );
        assert_eq!(
            judge(&bytes, bytes.len(), &request(), 2),
            Err(Error::Refused(libc::ENOTCONN))
        );
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "slow")]
        fn any_octets(bytes in proptest::collection::vec(any::<u8>(), 0..80), whole in 0usize..100, room in 0usize..50) {
            if let Ok(Reply::Value(value)) = judge(&bytes, whole, &request(), room) {
                prop_assert!(value.len() <= room);
            }
        }
    }
}
