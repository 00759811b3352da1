//! The places, attributes and contents of a message's payloads, for debugging logs: also of a message that is refused,
//! as far as it can be read. Nobody else needs where proposals and transforms stand.

use crate::attribute;
use crate::header::{HEADER_LENGTH, Header};
use crate::number::{Doi, PayloadType};
use crate::octets::Reader;
use crate::payload::{GENERIC_LENGTH, generic_header};

/// One thing that reading a message comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A payload, those inside SA included.
    Payload {
        /// Octets of the message before its generic header.
        offset: usize,
        /// What the payload or header before it says that it is.
        ty: PayloadType,
    },
    /// A private payload is next, which nobody looks at.
    Ignored {
        /// Its type.
        next: PayloadType,
        /// The type of the payload before it.
        of: PayloadType,
    },
    /// The attributes of a transform come next.
    Transform {
        /// The transform's number.
        number: u8,
    },
    /// One of them.
    Attribute {
        /// Its type, without the bit for the form.
        ty: u16,
        /// Its value, if it is one of 2 or 4 octets.
        value: Option<u32>,
    },
    /// What a payload holds that was an [`Item::Payload`] before.
    Contents {
        /// Octets of the message before its generic header.
        offset: usize,
        /// Its type.
        ty: PayloadType,
        /// The payload from its generic header on.
        octets: &'a [u8],
    },
}

/// What is in a message in clear text: the chain of payloads, what is inside SA, then the contents of all by type, in
/// the order in which the original shows them. At most `limit` items, not counting contents, of which each payload has
/// one. Ends before what cannot be read.
#[must_use]
pub fn outline<'a>(header: &Header, clear_text: &'a [u8], limit: usize) -> Vec<Item<'a>> {
    let mut outline = Outline {
        items: Vec::new(),
        counted: 0,
        limit,
        contents: Vec::new(),
    };
    // An end before the last payload is no error here.
    let _ = outline.message(header, clear_text);
    outline.items
}

struct Outline<'a> {
    items: Vec<Item<'a>>,
    /// How many of them are no contents.
    counted: usize,
    limit: usize,
    /// Of all payloads but SA, in the order of the message.
    contents: Vec<(PayloadType, Item<'a>)>,
}

/// `None`: nothing more can be read, or is wanted.
type More = Option<()>;

impl<'a> Outline<'a> {
    fn push(&mut self, item: Item<'a>) -> More {
        if self.counted >= self.limit {
            return None;
        }
        self.counted = self.counted.saturating_add(1);
        self.items.push(item);
        Some(())
    }

    fn message(&mut self, header: &Header, clear_text: &'a [u8]) -> More {
        let chain = clear_text.get(HEADER_LENGTH..)?;
        let mut sas = Vec::new();
        self.chain(
            HEADER_LENGTH,
            header.next_payload,
            chain,
            |_, at, ty, body| {
                if ty == PayloadType::SA {
                    sas.push((at, body));
                }
                Some(())
            },
        )?;
        let (of_sas, mut others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.contents)
            .into_iter()
            .partition(|(ty, _)| *ty == PayloadType::SA);
        for ((_, contents), (at, body)) in of_sas.into_iter().zip(sas) {
            self.items.push(contents);
            self.sa(at, body)?;
        }
        others.append(&mut self.contents);
        // Stable: those of one type stay in the order of the message.
        others.sort_by_key(|(ty, _)| *ty);
        self.items
            .extend(others.into_iter().map(|(_, contents)| contents));
        Some(())
    }

    /// Payloads one after the other; `at` is the first one's offset, those of the bodies go to `each`.
    fn chain(
        &mut self,
        at: usize,
        first: PayloadType,
        octets: &'a [u8],
        mut each: impl FnMut(&mut Self, usize, PayloadType, &'a [u8]) -> More,
    ) -> More {
        let mut reader = Reader::new(octets);
        let mut ty = first;
        while ty != PayloadType::NONE {
            let read = octets.len().saturating_sub(reader.rest().len());
            let offset = at.saturating_add(read);
            self.push(Item::Payload { offset, ty })?;
            let from = reader.rest();
            let generic = generic_header(&mut reader, ty).ok()?;
            let length = GENERIC_LENGTH.saturating_add(generic.body.len());
            let octets = from.get(..length)?;
            self.contents
                .push((ty, Item::Contents { offset, ty, octets }));
            if generic.next.is_unknown_private() {
                let next = generic.next;
                self.push(Item::Ignored { next, of: ty })?;
            }
            each(
                self,
                offset.saturating_add(GENERIC_LENGTH),
                ty,
                generic.body,
            )?;
            ty = generic.next;
        }
        Some(())
    }

    fn sa(&mut self, at: usize, body: &'a [u8]) -> More {
        let mut reader = Reader::new(body);
        if Doi(reader.u32()?) != Doi::ISAKMP {
            reader.u32()?;
        }
        let inside = |reader: &Reader<'_>, at: usize, body: &[u8]| {
            at.saturating_add(body.len().saturating_sub(reader.rest().len()))
        };
        let proposals = reader.rest();
        let start = inside(&reader, at, body);
        self.chain(
            start,
            PayloadType::PROPOSAL,
            proposals,
            |outline, at, _, body| {
                let mut reader = Reader::new(body);
                let [_, _, spi_size, _] = reader.array()?;
                reader.take(usize::from(spi_size))?;
                let start = inside(&reader, at, body);
                let transforms = reader.rest();
                outline.chain(
                    start,
                    PayloadType::TRANSFORM,
                    transforms,
                    |outline, _, _, body| outline.transform(body),
                )
            },
        )
    }

    fn transform(&mut self, body: &[u8]) -> More {
        let mut reader = Reader::new(body);
        let [number, ..] = reader.array::<4>()?;
        self.push(Item::Transform { number })?;
        let attributes = attribute::parse(reader.rest()).ok()?;
        attributes.iter().try_for_each(|attribute| {
            self.push(Item::Attribute {
                ty: attribute.ty,
                value: attribute.as_number(),
            })
        })
    }
}
