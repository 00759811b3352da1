//! Requests and replies: a header in the memory layout of the original's C structure, native byte
//! order except for addresses and ports, then a value (tcpcrypt spec 3.3).

use std::net::{Ipv4Addr, SocketAddrV4};

use thiserror::Error;

/// Length of the header in octets.
pub const HEADER_LEN: usize = 36;

/// Bit of [`Header::flags`]: the request sets a value.
pub const SET: u32 = 2;

/// What the original's daemon puts into [`Header::error`] for every failure.
pub const GENERIC_FAILURE: i32 = -1;

/// What stands in front of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The client's counter; the reply repeats it.
    pub seq: u32,
    /// The connection's address on this host.
    pub local: SocketAddrV4,
    /// The connection's other end; port 0 for none.
    pub remote: SocketAddrV4,
    /// [`SET`] or 0. The original has a second bit, 1, which nothing reads.
    pub flags: u32,
    /// In a reply: 0, an errno value, or [`GENERIC_FAILURE`].
    pub error: i32,
    /// The option's number; see [`crate::OptionName`].
    pub optname: u32,
    /// Octets of the value behind the header. In a get request, the room offered for it: as many
    /// octets follow, which mean nothing.
    pub dlen: u32,
}

/// Why octets are not a datagram. The original drops it silently in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DatagramError {
    /// Shorter than a header.
    #[error("{have} octets are no header")]
    Short {
        /// How many there are.
        have: usize,
    },
    /// The length is not that of the header and the value.
    #[error("{have} octets in a datagram with a value of {dlen}")]
    Length {
        /// Octets of the datagram.
        have: usize,
        /// What its header says of the value.
        dlen: u32,
    },
}

impl Header {
    /// A request about the connection (`local`, `remote`).
    #[must_use]
    pub fn request(seq: u32, local: SocketAddrV4, remote: SocketAddrV4, optname: u32) -> Self {
        Self {
            seq,
            local,
            remote,
            flags: 0,
            error: 0,
            optname,
            dlen: 0,
        }
    }

    /// Whether the request sets a value.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.flags & SET != 0
    }

    /// Reads a header, whatever follows it. `None` for fewer than [`HEADER_LEN`] octets.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER_LEN>()?;
        let octets = |at: usize| bytes.get(at..at + 4)?.first_chunk::<4>().copied();
        let word = |at| octets(at).map(u32::from_ne_bytes);
        Some(Self {
            seq: word(0)?,
            local: endpoint(bytes.get(4..10)?)?,
            remote: endpoint(bytes.get(12..18)?)?,
            flags: word(20)?,
            error: i32::from_ne_bytes(octets(24)?),
            optname: word(28)?,
            dlen: word(32)?,
        })
    }

    /// The header as it is sent, padding zero.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let fields: [(usize, [u8; 4]); 7] = [
            (0, self.seq.to_ne_bytes()),
            (4, self.local.ip().octets()),
            (12, self.remote.ip().octets()),
            (20, self.flags.to_ne_bytes()),
            (24, self.error.to_ne_bytes()),
            (28, self.optname.to_ne_bytes()),
            (32, self.dlen.to_ne_bytes()),
        ];
        for (at, field) in fields {
            bytes[at..at + 4].copy_from_slice(&field);
        }
        bytes[8..10].copy_from_slice(&self.local.port().to_be_bytes());
        bytes[16..18].copy_from_slice(&self.remote.port().to_be_bytes());
        bytes
    }
}

/// A whole datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// What it is about.
    pub header: Header,
    /// The value, [`Header::dlen`] octets.
    pub data: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads a datagram whose length fits its header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DatagramError> {
        let have = bytes.len();
        let short = DatagramError::Short { have };
        let header = Header::parse(bytes).ok_or(short)?;
        let data = bytes.get(HEADER_LEN..).ok_or(short)?;
        if usize::try_from(header.dlen) != Ok(data.len()) {
            let dlen = header.dlen;
            return Err(DatagramError::Length { have, dlen });
        }
        Ok(Self { header, data })
    }

    /// Appends `header` and `data` to `out`, with the length of `data` in the header's place for it.
    pub fn write(header: &Header, data: &[u8], out: &mut Vec<u8>) {
        // Four gigabytes do not become a datagram; the kernel refuses them.
        let dlen = u32::try_from(data.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&Header { dlen, ..*header }.to_bytes());
        out.extend_from_slice(data);
    }

    /// Appends the reply that this request gets: its header with `result` in it, then the value; in a
    /// failure the octets of the request.
    pub fn write_reply(&self, result: Result<&[u8], i32>, out: &mut Vec<u8>) {
        let (error, data) = match result {
            Ok(value) => (0, value),
            Err(error) => (error, self.data),
        };
        Self::write(
            &Header {
                error,
                ..self.header
            },
            data,
            out,
        );
    }
}

fn endpoint(bytes: &[u8]) -> Option<SocketAddrV4> {
    let (ip, port) = bytes.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes(*port.first_chunk::<2>()?);
    Some(SocketAddrV4::new(Ipv4Addr::from(*ip), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_header() -> impl Strategy<Value = Header> {
        let endpoint = || {
            (any::<[u8; 4]>(), any::<u16>())
                .prop_map(|(ip, port)| SocketAddrV4::new(ip.into(), port))
        };
        (
            any::<u32>(),
            endpoint(),
            endpoint(),
            any::<u32>(),
            any::<i32>(),
            any::<u32>(),
        )
            .prop_map(|(seq, local, remote, flags, error, optname)| Header {
                seq,
                local,
                remote,
                flags,
                error,
                optname,
                dlen: 0,
            })
    }

    // Of interop-tests/vectors/tcpcrypt/control.json: set NOCACHE on a connection.
    #[cfg(target_endian = "little")]
    const RECORDED: &str =
        "180000000a4d0001ae4900000a4d0002145200000200000000000000650000000400000001000000";

    #[cfg(target_endian = "little")]
    #[test]
    fn a_recorded_request() {
        let bytes: Vec<u8> = (0..RECORDED.len() / 2)
            .map(|i| u8::from_str_radix(&RECORDED[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        let seen = Datagram::parse(&bytes).unwrap();
        assert_eq!(seen.header.seq, 0x18);
        assert_eq!(seen.header.local, "10.77.0.1:44617".parse().unwrap());
        assert_eq!(seen.header.remote, "10.77.0.2:5202".parse().unwrap());
        assert!(seen.header.is_set());
        assert_eq!(seen.header.optname, 101);
        assert_eq!(seen.data, [1, 0, 0, 0]);
        let mut out = Vec::new();
        Datagram::write(&seen.header, seen.data, &mut out);
        assert_eq!(out, bytes);
        out.clear();
        seen.write_reply(Err(GENERIC_FAILURE), &mut out);
        assert_eq!(out[24..28], [0xff; 4]);
        assert_eq!(out[36..], bytes[36..]);
    }

    #[test]
    fn lengths_that_do_not_fit() {
        assert_eq!(
            Datagram::parse(b"short"),
            Err(DatagramError::Short { have: 5 })
        );
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let header = Header {
            dlen: u32::MAX,
            ..Header::request(1, nowhere, nowhere, 0)
        };
        assert_eq!(
            Datagram::parse(&header.to_bytes()),
            Err(DatagramError::Length {
                have: HEADER_LEN,
                dlen: u32::MAX
            })
        );
    }

    proptest! {
        #[test]
        fn written_and_read(header in any_header(), data in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut out = Vec::new();
            Datagram::write(&header, &data, &mut out);
            let seen = Datagram::parse(&out).unwrap();
            prop_assert_eq!(seen.data, &data[..]);
            prop_assert_eq!(Header { dlen: 0, ..seen.header }, header);
        }

        #[test]
        fn any_octets(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(seen) = Datagram::parse(&bytes) {
                prop_assert_eq!(seen.data.len() + HEADER_LEN, bytes.len());
            }
        }
    }
}
