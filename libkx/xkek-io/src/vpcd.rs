//! The messages of the vpcd socket (xkek spec 15): length (2 octets, big endian), then that many octets.
//! Bytes in, messages out; the sockets are in [`vpcd_host`](crate::vpcd_host) and
//! [`vpcd_card`](crate::vpcd_card).

/// Octets of the longest message in either direction: what the length field can say.
pub const MAX_MESSAGE: usize = 65_535;

/// What the reader's side sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromHost {
    /// The card's power goes.
    PowerOff,
    /// Power comes.
    PowerOn,
    /// A reset.
    Reset,
    /// The card shall answer with its ATR.
    GetAtr,
    /// A message of one octet that means nothing: answered with nothing.
    Unknown(u8),
    /// A command, to be answered with its response.
    Apdu(Vec<u8>),
}

impl FromHost {
    /// What a message says. One of a single octet is never a command.
    #[must_use]
    pub fn parse(message: Vec<u8>) -> FromHost {
        match message.as_slice() {
            [0] => FromHost::PowerOff,
            [1] => FromHost::PowerOn,
            [2] => FromHost::Reset,
            [4] => FromHost::GetAtr,
            [other] => FromHost::Unknown(*other),
            _ => FromHost::Apdu(message),
        }
    }
}

/// A message with its length before it; `None` when it is longer than [`MAX_MESSAGE`].
#[must_use]
pub fn frame(message: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len()).ok()?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    Some(framed)
}

/// Takes octets as they come and gives whole messages.
#[derive(Debug, Default)]
pub struct Decoder {
    waiting: Vec<u8>,
}

impl Decoder {
    /// Octets from the socket. What waits is at most one message and what came with it.
    pub fn push(&mut self, octets: &[u8]) {
        self.waiting.extend_from_slice(octets);
    }

    /// The next whole message.
    pub fn next_message(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.waiting.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let message = rest.get(..length)?.to_vec();
        self.waiting.drain(..length.saturating_add(2));
        Some(message)
    }

    /// Whether part of a message waits for the rest.
    #[must_use]
    pub fn is_in_message(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoder, FromHost, MAX_MESSAGE, frame};
    use proptest::prelude::*;

    #[test]
    fn one_octet_is_never_a_command() {
        assert_eq!(FromHost::parse(vec![0]), FromHost::PowerOff);
        assert_eq!(FromHost::parse(vec![1]), FromHost::PowerOn);
        assert_eq!(FromHost::parse(vec![2]), FromHost::Reset);
        assert_eq!(FromHost::parse(vec![4]), FromHost::GetAtr);
        assert_eq!(FromHost::parse(vec![3]), FromHost::Unknown(3));
        assert_eq!(
            FromHost::parse(vec![0, 0x84]),
            FromHost::Apdu(vec![0, 0x84])
        );
        assert_eq!(FromHost::parse(vec![]), FromHost::Apdu(vec![]));
    }

    #[test]
    fn the_longest_message_fits_and_no_longer_one() {
        assert_eq!(
            frame(&vec![7; MAX_MESSAGE]).map(|f| f.len()),
            Some(MAX_MESSAGE + 2)
        );
        assert_eq!(frame(&vec![7; MAX_MESSAGE + 1]), None);
    }

    proptest! {
        #[test]
        fn messages_come_out_however_the_stream_is_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6),
            cut in 1usize..50,
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                stream.extend(frame(message).expect("short"));
            }
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.push(piece);
                while let Some(message) = decoder.next_message() {
                    found.push(message);
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert!(!decoder.is_in_message());
        }
    }
}
