//! Messages on a bare connection and in authinfo files (keysrv spec 4): `nnnn\n` and as many
//! octets, or `!nnn\n` and as many octets of error text.

use thiserror::Error;

/// Length of the header in front of each message.
pub const HEADER: usize = 5;
/// Most octets of one message on a connection; a longer one the original's reader refuses.
pub const CONNECTION_LIMIT: usize = 4094;
/// Most octets of one message in a file, and of the algorithm line.
pub const FILE_LIMIT: usize = 4095;
/// What the sender of an error puts in front of its text.
pub const REMOTE: &str = "remote: ";

const ERROR_LIMIT: usize = 999;

/// Why no message can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FramingError {
    /// The header is no header, the length is over the limit, or the input ends inside a message.
    #[error("input or format error")]
    Format,
    /// The input ends where a message could begin.
    #[error("hungup")]
    HungUp,
}

/// One message; the content still stands in the reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// An ordinary message.
    Text(&'a [u8]),
    /// An error, with its text as sent (mostly beginning with [`REMOTE`]). Never empty: the
    /// original takes `!000` for an empty message.
    Error(&'a [u8]),
}

/// Splits one message from the front of `input`, and gives it with what follows it.
///
/// `Ok(None)` says that more octets are needed.
///
/// # Errors
///
/// [`FramingError::Format`] as soon as the header shows it.
pub fn split(input: &[u8], limit: usize) -> Result<Option<(Message<'_>, &[u8])>, FramingError> {
    // What is there of the header must be right at once, so that a stranger is not waited for.
    for (place, &octet) in input.iter().take(HEADER).enumerate() {
        let good = match place {
            0 => octet == b'!' || octet.is_ascii_digit(),
            4 => octet == b'\n',
            _ => octet.is_ascii_digit(),
        };
        if !good {
            return Err(FramingError::Format);
        }
    }
    let Some((&[first, a, b, c, _], rest)) = input.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let digit = |octet: u8| usize::from(octet.wrapping_sub(b'0'));
    let is_error = first == b'!';
    let thousands = if is_error { 0 } else { digit(first) };
    let length = thousands * 1000 + digit(a) * 100 + digit(b) * 10 + digit(c);
    if length > limit {
        return Err(FramingError::Format);
    }
    let Some((content, rest)) = rest.split_at_checked(length) else {
        return Ok(None);
    };
    let message = if is_error && length > 0 {
        Message::Error(content)
    } else {
        Message::Text(content)
    };
    Ok(Some((message, rest)))
}

/// What an end of the input means after `left`, the octets no whole message could be made of.
#[must_use]
pub fn at_end(left: &[u8]) -> FramingError {
    if left.is_empty() {
        FramingError::HungUp
    } else {
        FramingError::Format
    }
}

/// Appends one message.
///
/// # Errors
///
/// [`FramingError::Format`] for a text over [`FILE_LIMIT`]; nothing is appended then.
pub fn write(out: &mut Vec<u8>, text: &[u8]) -> Result<(), FramingError> {
    if text.len() > FILE_LIMIT {
        return Err(FramingError::Format);
    }
    out.extend_from_slice(format!("{:04}\n", text.len()).as_bytes());
    out.extend_from_slice(text);
    Ok(())
}

/// Appends an error: `text` with [`REMOTE`] in front, cut to what a header can say.
pub fn write_error(out: &mut Vec<u8>, text: &str) {
    let mut whole = format!("{REMOTE}{text}");
    let mut end = whole.len().min(ERROR_LIMIT);
    while !whole.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    whole.truncate(end);
    out.extend_from_slice(format!("!{:03}\n", whole.len()).as_bytes());
    out.extend_from_slice(whole.as_bytes());
}

/// Puts messages together from pieces of any size.
#[derive(Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    consumed: usize,
    limit: usize,
}

impl Reader {
    /// A reader of messages of at most `limit` octets.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            consumed: 0,
            limit,
        }
    }

    /// Other messages may have another limit from here on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes octets in. The caller bounds how many wait here by taking messages out.
    pub fn receive(&mut self, octets: &[u8]) {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        self.buffer.extend_from_slice(octets);
    }

    /// The next message, `None` while it is not whole.
    ///
    /// # Errors
    ///
    /// [`FramingError::Format`]; nothing is consumed, so that it stays.
    pub fn next_message(&mut self) -> Result<Option<Message<'_>>, FramingError> {
        let waiting = self.buffer.get(self.consumed..).unwrap_or_default();
        let Some((message, rest)) = split(waiting, self.limit)? else {
            return Ok(None);
        };
        self.consumed = self.buffer.len().saturating_sub(rest.len());
        Ok(Some(message))
    }

    /// What the end of the connection means now.
    #[must_use]
    pub fn at_end(&self) -> FramingError {
        at_end(self.buffer.get(self.consumed..).unwrap_or_default())
    }

    /// The octets after the last message: what follows in another format.
    #[must_use]
    pub fn into_rest(mut self) -> Vec<u8> {
        self.buffer.drain(..self.consumed);
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_original_writes() {
        assert_eq!(
            split(b"0001\n10028\nx", CONNECTION_LIMIT),
            Ok(Some((Message::Text(b"1"), &b"0028\nx"[..])))
        );
        assert_eq!(
            split(b"!027\nremote: certificate expired", CONNECTION_LIMIT),
            Ok(Some((
                Message::Error(b"remote: certificate expired"),
                &b""[..]
            )))
        );
        // The sign is carried in the length, so that nothing has none.
        assert_eq!(
            split(b"!000\n", CONNECTION_LIMIT),
            Ok(Some((Message::Text(b""), &b""[..])))
        );
    }

    #[test]
    fn refuses_other_headers_at_their_first_wrong_octet() {
        for header in [
            &b"abcd\n"[..],
            b"-001\n",
            b" 001\n",
            b"!!00\n",
            b"!-01\n",
            b"00x",
            b"0001x",
            b"0001\r",
            b"+001\n",
            b"G",
        ] {
            assert_eq!(
                split(header, CONNECTION_LIMIT),
                Err(FramingError::Format),
                "{header:?}"
            );
        }
        assert_eq!(split(b"000", CONNECTION_LIMIT), Ok(None));
    }

    #[test]
    fn limits_are_of_the_place() {
        assert_eq!(split(b"4094\n", CONNECTION_LIMIT), Ok(None));
        assert_eq!(
            split(b"4095\n", CONNECTION_LIMIT),
            Err(FramingError::Format)
        );
        assert_eq!(split(b"4095\n", FILE_LIMIT), Ok(None));
        assert_eq!(split(b"4096\n", FILE_LIMIT), Err(FramingError::Format));
        assert_eq!(
            write(&mut Vec::new(), &[0; FILE_LIMIT + 1]),
            Err(FramingError::Format)
        );
    }

    #[test]
    fn errors_carry_their_origin_and_never_outgrow_the_header() {
        let mut out = Vec::new();
        write_error(&mut out, "certificate expired");
        assert_eq!(out, b"!027\nremote: certificate expired");
        out.clear();
        write_error(&mut out, &"ü".repeat(700));
        // 8 octets, then pairs: 999 would cut one in two.
        assert!(out.starts_with(b"!998\nremote: "));
        assert_eq!(out.len(), HEADER + 998);
    }

    #[test]
    fn an_end_means_something_else_inside_a_message() {
        let mut reader = Reader::new(CONNECTION_LIMIT);
        assert_eq!(reader.at_end(), FramingError::HungUp);
        reader.receive(b"0001\n1");
        assert_eq!(reader.at_end(), FramingError::Format);
        assert_eq!(reader.next_message(), Ok(Some(Message::Text(b"1"))));
        assert_eq!(reader.at_end(), FramingError::HungUp);
        reader.receive(b"!0");
        assert_eq!(reader.at_end(), FramingError::Format);
        assert_eq!(reader.into_rest(), b"!0");
    }

    proptest! {
        #[test]
        fn any_fragmentation_gives_the_same_messages(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
            pieces in prop::collection::vec(1usize..40, 1..50),
        ) {
            let mut wire = Vec::new();
            for text in &texts {
                write(&mut wire, text).unwrap();
            }
            let mut reader = Reader::new(CONNECTION_LIMIT);
            let mut got = Vec::new();
            let mut left = wire.as_slice();
            for piece in pieces.iter().cycle() {
                if left.is_empty() {
                    break;
                }
                let (now, later) = left.split_at(left.len().min(*piece));
                reader.receive(now);
                left = later;
                while let Some(message) = reader.next_message().unwrap() {
                    let Message::Text(text) = message else { panic!("an error") };
                    got.push(text.to_vec());
                }
            }
            prop_assert_eq!(got, texts);
            prop_assert_eq!(reader.at_end(), FramingError::HungUp);
        }

        #[test]
        fn hostile_octets_do_not_matter(wire in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some((Message::Text(text) | Message::Error(text), rest))) = split(&wire, FILE_LIMIT) {
                prop_assert_eq!(HEADER + text.len() + rest.len(), wire.len());
            }
        }
    }
}
