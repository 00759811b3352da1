//! What a tap must and must not see of an encrypted connection.

use crate::lab::segment::{ACK, RST, SYN, Segment};

/// First bytes of INIT1 ("tcpcrypt spec 4.2").
pub const INIT1: [u8; 4] = [0x15, 0x10, 0x1a, 0x0e];
/// First bytes of INIT2.
pub const INIT2: [u8; 4] = [0x09, 0x71, 0x05, 0xe0];

/// How a connection began, as seen on the cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// ENO option of the SYN.
    pub syn: Option<Vec<u8>>,
    /// ENO option of the SYN-ACK.
    pub syn_ack: Option<Vec<u8>>,
    /// Whether INIT1 and INIT2 were exchanged.
    pub exchanged: bool,
}

/// The opening of the connection from this client port.
pub fn opening(segments: &[Segment], client_port: u16) -> Opening {
    let mut found = Opening {
        syn: None,
        syn_ack: None,
        exchanged: false,
    };
    let mut first_two = (false, false);
    for s in of_port(segments, client_port) {
        if s.has(SYN | ACK) {
            found.syn_ack = s.eno().map(<[u8]>::to_vec);
        } else if s.has(SYN) {
            found.syn = s.eno().map(<[u8]>::to_vec);
        }
        first_two.0 |= s.payload.starts_with(&INIT1);
        first_two.1 |= s.payload.starts_with(&INIT2);
    }
    found.exchanged = first_two == (true, true);
    found
}

/// The segments of one client port, both directions.
pub fn of_port(segments: &[Segment], port: u16) -> impl Iterator<Item = &Segment> {
    segments
        .iter()
        .filter(move |s| s.source.port() == port || s.destination.port() == port)
}

/// True for one whole record and nothing else. In the standard one may be the first under a new key.
pub fn is_record(payload: &[u8]) -> bool {
    match payload {
        [0 | 1, high, low, rest @ ..] => {
            usize::from(u16::from_be_bytes([*high, *low])) == rest.len()
        }
        _ => false,
    }
}

/// Panics when a segment of an encrypted connection carries anything but INIT1, INIT2 or one
/// whole record.
pub fn assert_only_records(segments: &[Segment], client_port: u16) {
    for s in of_port(segments, client_port) {
        let data = &s.payload;
        // A reset may explain itself; nobody delivers that.
        let fine = data.is_empty()
            || s.has(RST)
            || data.starts_with(&INIT1)
            || data.starts_with(&INIT2)
            || is_record(data);
        assert!(
            fine,
            "not a record: {s:?}: {:02x?}",
            data.get(..data.len().min(40))
        );
    }
}
