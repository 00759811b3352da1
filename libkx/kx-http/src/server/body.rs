//! Taking in the body of a request. kxd looks at no body, yet it must be off the connection before the answer
//! goes out and a next request is read.

use super::headers::{BodyLength, Framing};
use crate::chunked::{Decoder, Progress};

#[derive(Debug, Clone)]
enum Source {
    Nothing,
    Length(u64),
    Chunked(Decoder),
    UntilEnd,
}

/// How far the body of the present request was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    /// To its end; the next octet is of the next request.
    Complete,
    /// Not yet.
    Pending,
    /// It is not going to be: the answer is the last one.
    Abandoned,
    /// The same, because it is too big.
    TooBig,
}

/// A request body on its way to nowhere.
#[derive(Debug)]
pub(super) struct RequestBody {
    source: Source,
    taken: u64,
    limit: u64,
    intake: Intake,
}

impl RequestBody {
    /// No body.
    pub(super) fn none() -> RequestBody {
        RequestBody {
            source: Source::Nothing,
            taken: 0,
            limit: 0,
            intake: Intake::Complete,
        }
    }

    /// The body of a request that is answered without a look at it. `closing`: nothing is read after this
    /// request, so neither is the body.
    pub(super) fn discarded(framing: &Framing, closing: bool, limit: u64) -> RequestBody {
        let source = match framing.body {
            BodyLength::Exact(0) => return RequestBody::none(),
            BodyLength::Unknown if !closing => return RequestBody::none(),
            BodyLength::Exact(length) => Source::Length(length),
            BodyLength::Chunked => Source::Chunked(Decoder::new()),
            BodyLength::Unknown => Source::UntilEnd,
        };
        let intake = match source {
            _ if closing => Intake::Abandoned,
            Source::Length(length) if length >= limit => Intake::TooBig,
            _ => Intake::Pending,
        };
        RequestBody {
            source,
            taken: 0,
            limit,
            intake,
        }
    }

    /// The body of a request whose body is read before it is answered (`OPTIONS *`), whatever follows.
    pub(super) fn read(framing: &Framing, limit: u64) -> RequestBody {
        let source = match framing.body {
            BodyLength::Exact(0) => return RequestBody::none(),
            BodyLength::Unknown if !framing.wants_close => return RequestBody::none(),
            BodyLength::Exact(length) => Source::Length(length),
            BodyLength::Chunked => Source::Chunked(Decoder::new()),
            BodyLength::Unknown => Source::UntilEnd,
        };
        RequestBody {
            source,
            taken: 0,
            limit,
            intake: Intake::Pending,
        }
    }

    pub(super) fn intake(&self) -> Intake {
        self.intake
    }

    /// The client sends nothing more.
    pub(super) fn end(&mut self) {
        if self.intake == Intake::Pending {
            self.intake = match self.source {
                Source::UntilEnd => Intake::Complete,
                _ => Intake::Abandoned,
            };
        }
    }

    /// Whether the client has sent all of it, `input` being what is not taken yet.
    pub(super) fn is_received(&self, input: &[u8]) -> bool {
        match self.source {
            Source::Length(left) => u64::try_from(input.len()).unwrap_or(u64::MAX) >= left,
            _ => self.intake == Intake::Complete,
        }
    }

    /// Takes what belongs to the body from the front of `input`; returns how much that is.
    pub(super) fn take(&mut self, input: &[u8]) -> usize {
        let mut used: usize = 0;
        while self.intake == Intake::Pending {
            let rest = input.get(used..).unwrap_or_default();
            let (consumed, content, finished) = match &mut self.source {
                Source::Nothing => (0, 0, true),
                Source::UntilEnd => (rest.len(), rest.len(), false),
                Source::Length(left) => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
                    (take, take, *left == 0)
                }
                Source::Chunked(decoder) => match decoder.decode(rest) {
                    Ok((consumed, Progress::Data(data))) => (consumed, data.len(), false),
                    Ok((consumed, Progress::NeedInput)) => (consumed, 0, false),
                    Ok((consumed, Progress::Done)) => (consumed, 0, true),
                    Err(_) => {
                        self.intake = Intake::Abandoned;
                        break;
                    }
                },
            };
            used = used.saturating_add(consumed);
            self.taken = self
                .taken
                .saturating_add(u64::try_from(content).unwrap_or(u64::MAX));
            if self.taken > self.limit {
                self.intake = Intake::TooBig;
            } else if finished {
                self.intake = Intake::Complete;
            } else if content == 0 {
                break;
            }
        }
        used
    }
}
