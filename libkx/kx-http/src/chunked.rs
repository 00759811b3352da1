//! The chunked transfer coding, read from a buffer that fills up (RFC 9112 section 7.1), as strict as the
//! original: lines end with CR LF only, and a sender that wraps little data in much framing is refused.

use crate::token::field;

/// Longest chunk size line, its end left out. One octet more is refused.
const MAX_LINE: usize = 4096;
/// Longest trailer section.
const MAX_TRAILER: usize = 4096;
/// Framing beyond the allowance that is borne with.
const MAX_EXCESS: u64 = 16 * 1024;

/// Why chunked content cannot be read. The texts are the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// No digits in a size line.
    #[error("empty hex number for chunk length")]
    EmptySize,
    /// Something else than digits there.
    #[error("invalid byte in chunk length")]
    BadSize,
    /// More than 16 digits.
    #[error("http chunk length too large")]
    SizeTooLarge,
    /// A size line of 4 KiB or more.
    #[error("header line too long")]
    LineTooLong,
    /// A line that ends with LF alone.
    #[error("chunked line ends with bare LF")]
    BareLf,
    /// A CR elsewhere.
    #[error("invalid CR in chunked line")]
    StrayCr,
    /// No CR LF after the data of a chunk.
    #[error("malformed chunked encoding")]
    Malformed,
    /// Too much framing.
    #[error("chunked encoding contains too much non-data")]
    TooMuchFraming,
    /// The trailer section does not end soon enough.
    #[error("http: suspiciously long trailer after chunked body")]
    LongTrailer,
    /// The trailer section holds something that is no header.
    #[error("malformed MIME header")]
    BadTrailer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

/// What a call of [`Decoder::decode`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress<'a> {
    /// Content. There may be more right behind it.
    Data(&'a [u8]),
    /// The input does not go further.
    NeedInput,
    /// That was all; what follows is not of this message.
    Done,
}

/// The decoder. It holds no data.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    state: State,
    excess: u64,
    /// Octets at the front of the input that were searched for a line end before.
    searched: usize,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Decoder {
            state: State::Size,
            excess: 0,
            searched: 0,
        }
    }

    /// Whether only the trailer section is missing.
    pub(crate) fn is_at_trailer(&self) -> bool {
        self.state == State::Trailer
    }

    /// Reads on from `input`. Returns how many octets of it were used up (they must not be given again) and
    /// what they meant. Unused octets must be given again, with more behind them.
    pub(crate) fn decode<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<(usize, Progress<'a>), ChunkError> {
        let mut used: usize = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            match self.state {
                State::Size => {
                    let Some(line_end) = self.find_line(rest)? else {
                        return Ok((used, Progress::NeedInput));
                    };
                    let line = rest.get(..line_end).unwrap_or_default();
                    let size = self.size_line(line)?;
                    used = used.saturating_add(line_end);
                    self.state = match size {
                        0 => State::Trailer,
                        size => State::Data(size),
                    };
                }
                State::Data(left) => {
                    if rest.is_empty() {
                        return Ok((used, Progress::NeedInput));
                    }
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
                    self.state = match left {
                        0 => State::DataEnd,
                        left => State::Data(left),
                    };
                    let data = rest.get(..take).unwrap_or_default();
                    return Ok((used.saturating_add(take), Progress::Data(data)));
                }
                State::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        used = used.saturating_add(2);
                        self.state = State::Size;
                    }
                    [_, _, ..] => return Err(ChunkError::Malformed),
                    _ => return Ok((used, Progress::NeedInput)),
                },
                State::Trailer => {
                    let Some(taken) = self.trailer(rest)? else {
                        return Ok((used, Progress::NeedInput));
                    };
                    used = used.saturating_add(taken);
                    self.state = State::Done;
                }
                State::Done => return Ok((used, Progress::Done)),
            }
        }
    }

    /// The length of the size line at the front, its end included.
    fn find_line(&mut self, rest: &[u8]) -> Result<Option<usize>, ChunkError> {
        let unsearched = rest.get(self.searched..).unwrap_or_default();
        let Some(found) = unsearched.iter().position(|&octet| octet == b'\n') else {
            if rest.len() >= MAX_LINE {
                return Err(ChunkError::LineTooLong);
            }
            self.searched = rest.len();
            return Ok(None);
        };
        let end = self.searched.saturating_add(found).saturating_add(1);
        self.searched = 0;
        if end > MAX_LINE {
            return Err(ChunkError::LineTooLong);
        }
        Ok(Some(end))
    }

    fn size_line(&mut self, line: &[u8]) -> Result<u64, ChunkError> {
        let text = match line.iter().position(|&octet| octet == b'\r') {
            None => return Err(ChunkError::BareLf),
            Some(at) if at.saturating_add(2) != line.len() => return Err(ChunkError::StrayCr),
            Some(at) => line.get(..at).unwrap_or_default(),
        };
        let framing = u64::try_from(text.len())
            .unwrap_or(u64::MAX)
            .saturating_add(2);
        let mut text = text;
        while let [shorter @ .., b' ' | b'\t'] = text {
            text = shorter;
        }
        let digits = text
            .split(|&octet| octet == b';')
            .next()
            .unwrap_or_default();
        let size = hexadecimal(digits)?;
        let allowance = size.saturating_mul(2).saturating_add(16);
        self.excess = self
            .excess
            .saturating_add(framing)
            .saturating_sub(allowance);
        if self.excess > MAX_EXCESS {
            return Err(ChunkError::TooMuchFraming);
        }
        Ok(size)
    }

    /// Octets of the trailer section including the empty line behind it, once it is all there.
    fn trailer(&mut self, rest: &[u8]) -> Result<Option<usize>, ChunkError> {
        if rest.starts_with(b"\r\n") {
            return Ok(Some(2));
        }
        let window = rest.get(..rest.len().min(MAX_TRAILER)).unwrap_or_default();
        // Three octets of an end may have been there at the last search.
        let from = self.searched.saturating_sub(3);
        let unsearched = window.get(from..).unwrap_or_default();
        if !unsearched.windows(4).any(|end| end == b"\r\n\r\n") {
            if window.len() >= MAX_TRAILER {
                return Err(ChunkError::LongTrailer);
            }
            self.searched = window.len();
            return Ok(None);
        }
        let mut used: usize = 0;
        for line in window.split_inclusive(|&octet| octet == b'\n') {
            used = used.saturating_add(line.len());
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.is_empty() {
                return Ok(Some(used));
            }
            let is_first = used == line.len();
            let folded = matches!(text.first(), Some(b' ' | b'\t'));
            // What a folded line holds is judged with the line it belongs to, and that is only its octets.
            let good = if folded {
                !is_first && text.iter().copied().all(crate::token::is_value_octet)
            } else {
                field(text).is_some()
            };
            if !good {
                return Err(ChunkError::BadTrailer);
            }
        }
        Err(ChunkError::BadTrailer)
    }
}

fn hexadecimal(digits: &[u8]) -> Result<u64, ChunkError> {
    if digits.is_empty() {
        return Err(ChunkError::EmptySize);
    }
    let mut number: u64 = 0;
    for (index, octet) in digits.iter().enumerate() {
        let digit = char::from(*octet).to_digit(16).ok_or(ChunkError::BadSize)?;
        if index >= 16 {
            return Err(ChunkError::SizeTooLarge);
        }
        number = (number << 4) | u64::from(digit);
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::{ChunkError, Decoder, Progress};

    fn run(input: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>, bool), ChunkError> {
        let (mut decoder, mut content, mut buffer) = (Decoder::new(), Vec::new(), Vec::new());
        let mut parts = input.chunks(step);
        loop {
            let (used, progress) = decoder.decode(&buffer)?;
            let done = match progress {
                Progress::Data(data) => {
                    content.extend_from_slice(data);
                    None
                }
                Progress::NeedInput => Some(false),
                Progress::Done => Some(true),
            };
            buffer.drain(..used);
            match (done, parts.next()) {
                (Some(true), part) => {
                    buffer.extend_from_slice(part.unwrap_or_default());
                    parts.for_each(|part| buffer.extend_from_slice(part));
                    return Ok((content, buffer, true));
                }
                (Some(false), None) => return Ok((content, buffer, false)),
                (_, part) => buffer.extend_from_slice(part.unwrap_or_default()),
            }
        }
    }

    #[test]
    fn whole_and_in_pieces() {
        let input = b"3\r\nabc\r\nA;x=\"y\" \r\n0123456789\r\n0\r\na: b\r\n c\r\n\r\nrest";
        for step in 1..input.len() {
            let (content, rest, done) = run(input, step).unwrap();
            assert_eq!(content, b"abc0123456789");
            assert_eq!(rest, b"rest");
            assert!(done);
        }
        assert_eq!(
            run(b"0\r\n\r\nx", 100).unwrap(),
            (vec![], b"x".to_vec(), true)
        );
        assert!(!run(b"3\r\nab", 100).unwrap().2);
    }

    #[test]
    fn refused() {
        let long = [&b"1;"[..], &[b'x'; 5000], b"\r\na\r\n"].concat();
        let trailer = [&b"0\r\na: "[..], &[b'x'; 5000], b"\r\n\r\n"].concat();
        let wasteful = [&b"1;"[..], &[b'x'; 3000], b"\r\na\r\n"].concat().repeat(6);
        for (input, error) in [
            (&b"3\nabc\r\n"[..], ChunkError::BareLf),
            (b"3\r \r\nabc", ChunkError::StrayCr),
            (b"\r\n", ChunkError::EmptySize),
            (b";\r\n", ChunkError::EmptySize),
            (b"-1\r\n", ChunkError::BadSize),
            (b" 1\r\n", ChunkError::BadSize),
            (b"00000000000000001\r\n", ChunkError::SizeTooLarge),
            (b"1\r\nab\r\n", ChunkError::Malformed),
            (b"0\r\n a\r\n\r\n", ChunkError::BadTrailer),
            (b"0\r\nab\r\n\r\n", ChunkError::BadTrailer),
            (&long, ChunkError::LineTooLong),
            (&trailer, ChunkError::LongTrailer),
            (&wasteful, ChunkError::TooMuchFraming),
        ] {
            for step in [1, 7, input.len()] {
                assert_eq!(
                    run(input, step).unwrap_err(),
                    error,
                    "{:?}",
                    &input[..input.len().min(20)]
                );
            }
        }
    }
}
