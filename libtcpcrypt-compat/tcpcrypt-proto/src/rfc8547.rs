//! What an ENO option says in the standard (RFC 8547): global bits, key exchanges with and without data, who is
//! host A, and which key exchange was agreed on. It holds for options of either kind, as hosts that find each other
//! under kind 253 can go on in the standard (tcpcrypt spec 7.7).
//!
//! Nothing in here knows what the data of a key exchange mean; that is for [`rfc8548`](crate::rfc8548).

use crate::eno::{EnoOption, Kind, MAX_LEN};

/// In a suboption's first octet: data follow, or it is a length (RFC 8547 section 4.1).
pub const VARIABLE: u8 = 0x80;

/// The first number that names a key exchange.
const FIRST_TEP: u8 = 0x20;

/// The bits of a length octet that say how long, less 1.
const LENGTH: u8 = 0x1f;

/// Octets of data that a length octet can stand for.
const MAX_COUNTED: usize = 32;

const PASSIVE_ROLE: u8 = 0x01;
const APP_AWARE: u8 = 0x02;

/// The two roles in the encryption protocol. Who opened the connection does not matter for them in the standard,
/// although the opener is A unless an application chose otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// The one with b = 0.
    A,
    /// The one with b = 1.
    B,
}

impl Host {
    /// The other one.
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Host::A => Host::B,
            Host::B => Host::A,
        }
    }
}

/// The global suboption (RFC 8547 section 4.2). The default stands for one that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Global {
    /// The bit b: host B.
    pub passive_role: bool,
    /// The bit a: the application knows of encryption.
    pub app_aware: bool,
}

impl Global {
    /// The octet. The reserved bits are zero.
    #[must_use]
    pub fn octet(self) -> u8 {
        let bit = |set, bit| if set { bit } else { 0 };
        bit(self.passive_role, PASSIVE_ROLE) | bit(self.app_aware, APP_AWARE)
    }

    /// What the octet says. The reserved bits say nothing.
    fn from_octet(octet: u8) -> Self {
        Self {
            passive_role: octet & PASSIVE_ROLE != 0,
            app_aware: octet & APP_AWARE != 0,
        }
    }
}

/// A suboption that names a key exchange ("TEP"), known to us or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TepSuboption<'a> {
    /// As on the wire, with the bit [`VARIABLE`].
    pub octet: u8,
    /// What follows. Empty without that bit, and it may be empty with it.
    pub data: &'a [u8],
}

impl TepSuboption<'_> {
    /// The number of the key exchange, from 0x20 to 0x7f.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.octet & !VARIABLE
    }
}

/// The option's content contradicts itself. Encryption is disabled then (RFC 8547 section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ill-formed ENO option")]
pub struct IllFormed;

enum Suboption<'a> {
    Global(Global),
    Tep(TepSuboption<'a>),
}

/// Takes the first suboption off. `None` at the end.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Suboption<'a>>, IllFormed> {
    let Some((&octet, behind)) = rest.split_first() else {
        return Ok(None);
    };
    *rest = behind;
    let tep = |octet, data| Ok(Some(Suboption::Tep(TepSuboption { octet, data })));
    match (octet & VARIABLE != 0, octet & !VARIABLE >= FIRST_TEP) {
        (false, false) => Ok(Some(Suboption::Global(Global::from_octet(octet)))),
        (false, true) => tep(octet, &[]),
        (true, true) => tep(octet, std::mem::take(rest)),
        (true, false) => {
            let len = usize::from(octet & LENGTH) + 1;
            let (&octet, behind) = behind.split_first().ok_or(IllFormed)?;
            if octet < VARIABLE | FIRST_TEP {
                return Err(IllFormed);
            }
            let (data, behind) = behind.split_at_checked(len).ok_or(IllFormed)?;
            *rest = behind;
            tep(octet, data)
        }
    }
}

/// The content of the option in a SYN or SYN-ACK.
#[derive(Debug, Clone, Copy)]
pub struct SynForm<'a> {
    global: Global,
    content: &'a [u8],
}

impl<'a> SynForm<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// [`IllFormed`].
    pub fn read(option: &'a EnoOption) -> Result<Self, IllFormed> {
        let content = option.suboptions();
        let mut global = None;
        let mut rest = content;
        while let Some(suboption) = next(&mut rest)? {
            if let Suboption::Global(said) = suboption {
                // Only the first one counts.
                global.get_or_insert(said);
            }
        }
        Ok(Self {
            global: global.unwrap_or_default(),
            content,
        })
    }

    /// The global bits.
    #[must_use]
    pub fn global(&self) -> Global {
        self.global
    }

    /// The key exchanges, in their order.
    pub fn teps(&self) -> impl Iterator<Item = TepSuboption<'a>> + use<'a> {
        let mut rest = self.content;
        std::iter::from_fn(move || {
            loop {
                match next(&mut rest) {
                    Ok(Some(Suboption::Tep(tep))) => return Some(tep),
                    Ok(Some(Suboption::Global(_))) => {}
                    // It was read to its end before.
                    Ok(None) | Err(IllFormed) => return None,
                }
            }
        })
    }

    /// Whether a key exchange is in the list, with data or without.
    #[must_use]
    pub fn names(&self, id: u8) -> bool {
        self.teps().any(|tep| tep.id() == id)
    }
}

/// Builds the option for a SYN or SYN-ACK.
///
/// Data of the last suboption reach to its end; others get a length octet. A global octet of zero is left out. In
/// kind 253 it stands behind the first key exchanges, because the original misreads a list that begins otherwise.
///
/// Gives `None` if it is longer than the options of a segment, or if data that are not the last are not of 1 to 32
/// octets.
#[must_use]
pub fn build(kind: Kind, global: Global, teps: &[TepSuboption<'_>]) -> Option<EnoOption> {
    let mut content = Vec::with_capacity(MAX_LEN);
    let mut global = Some(global.octet()).filter(|octet| *octet != 0);
    let mut left = teps.len();
    for tep in teps {
        left -= 1;
        let with_data = tep.octet & VARIABLE != 0;
        if with_data || kind == Kind::Standard {
            content.extend(global.take());
        }
        if with_data && left > 0 {
            if tep.data.is_empty() || tep.data.len() > MAX_COUNTED {
                return None;
            }
            let len = u8::try_from(tep.data.len() - 1).ok()?;
            content.push(VARIABLE | len);
        }
        content.push(tep.octet);
        if with_data {
            content.extend_from_slice(tep.data);
        }
    }
    content.extend(global);
    let fits = content.len() <= MAX_LEN - kind.header_len();
    fits.then(|| EnoOption::of(kind, &content))
}

/// Which host we are. `None` if both have the same bit: the connection is plain then (RFC 8547 section 4.3).
///
/// Under kind 253 the bit says nothing and the opener is A.
#[must_use]
pub fn role(kind: Kind, opener: bool, ours: Global, theirs: Global) -> Option<Host> {
    match (kind, opener, ours.passive_role, theirs.passive_role) {
        (Kind::Experimental, true, _, _) | (Kind::Standard, _, false, true) => Some(Host::A),
        (Kind::Experimental, false, _, _) | (Kind::Standard, _, true, false) => Some(Host::B),
        (Kind::Standard, _, false, false) | (Kind::Standard, _, true, true) => None,
    }
}

/// Which host the sender of this option in a SYN would be. `None` under kind 253, where the opener is A, and if it
/// cannot be read.
#[must_use]
pub fn host(option: &EnoOption) -> Option<Host> {
    let form = SynForm::read(option).ok()?;
    match (option.kind(), form.global().passive_role) {
        (Kind::Experimental, _) => None,
        (Kind::Standard, false) => Some(Host::A),
        (Kind::Standard, true) => Some(Host::B),
    }
}

/// The key exchange that was agreed on, as host B wrote it: the last in its list that is valid (RFC 8547 section
/// 4.5). One is if host A has it in its list as well and `valid` says so about what B wrote.
pub fn negotiated<'b>(
    a: &SynForm<'_>,
    b: &SynForm<'b>,
    valid: impl Fn(&TepSuboption<'b>) -> bool,
) -> Option<TepSuboption<'b>> {
    b.teps()
        .filter(|tep| a.names(tep.id()) && valid(tep))
        .last()
}

/// The transcript of the negotiation, which goes into the keys: both options of the SYNs, kind and length included
/// (RFC 8547 section 4.8).
#[must_use]
pub fn transcript(a: &EnoOption, b: &EnoOption) -> Vec<u8> {
    [a.as_bytes(), b.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::{Global, Host, SynForm, TepSuboption, build, negotiated, role, transcript};
    use crate::eno::{EnoOption, Kind};

    fn eno(content: &[u8]) -> EnoOption {
        EnoOption::of(Kind::Standard, content)
    }

    /// Octet and data of each key exchange; `None` if it is ill-formed.
    fn teps(content: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
        let option = eno(content);
        let form = SynForm::read(&option).ok()?;
        Some(form.teps().map(|t| (t.octet, t.data.to_vec())).collect())
    }

    #[test]
    fn suboptions() {
        let none: Vec<u8> = Vec::new();
        assert_eq!(teps(&[]), Some(vec![]));
        assert_eq!(
            teps(&[0x21, 1, 0x7f]),
            Some(vec![(0x21, none.clone()), (0x7f, none.clone())])
        );
        // Data to the end; nothing in them is read.
        assert_eq!(
            teps(&[0x20, 0xa3, 0x21, 0x81]),
            Some(vec![(0x20, none.clone()), (0xa3, vec![0x21, 0x81])])
        );
        assert_eq!(teps(&[0xa3]), Some(vec![(0xa3, none.clone())]));
        // A length octet, and suboptions behind the data.
        assert_eq!(
            teps(&[0x81, 0xa3, 1, 2, 0x24, 0x80, 0xff, 9, 0xa1]),
            Some(vec![
                (0xa3, vec![1, 2]),
                (0x24, none.clone()),
                (0xff, vec![9]),
                (0xa1, none)
            ])
        );
        let mut longest = vec![0x9f, 0xa0];
        longest.extend([7; 32]);
        assert_eq!(teps(&longest), Some(vec![(0xa0, vec![7; 32])]));
    }

    #[test]
    fn ill_formed() {
        for content in [
            &[0x80][..],
            // Behind a length no key exchange with data.
            &[0x80, 0x21, 1],
            &[0x80, 0x9f, 1],
            &[0x80, 0x01, 1],
            // Data that are not there.
            &[0x80, 0xa0],
            &[0x81, 0xa0, 1],
            &[0x9f, 0xa0, 1, 2, 3],
            // Ill-formed behind what would do.
            &[0x01, 0x23, 0x85],
            &[0x80, 0xa3, 1, 0x80],
        ] {
            assert_eq!(teps(content), None, "{content:02x?}");
        }
    }

    #[test]
    fn first_global_counts() {
        let global = |content: &[u8]| {
            let option = eno(content);
            let global = SynForm::read(&option).unwrap().global();
            (global.passive_role, global.app_aware)
        };
        assert_eq!(global(&[]), (false, false));
        assert_eq!(global(&[0x23]), (false, false));
        assert_eq!(global(&[0x01]), (true, false));
        assert_eq!(global(&[0x23, 0x02, 0x01]), (false, true));
        assert_eq!(global(&[0x1f]), (true, true));
        assert_eq!(global(&[0x1c, 0x03]), (false, false));
        // What stands in data is none.
        assert_eq!(global(&[0xa3, 0x01]), (false, false));
        assert_eq!(global(&[0x80, 0xa3, 0x01, 0x02]), (false, true));
    }

    #[test]
    fn roles() {
        let bits = |passive_role| Global {
            passive_role,
            app_aware: true,
        };
        for opener in [false, true] {
            let standard = |ours, theirs| role(Kind::Standard, opener, bits(ours), bits(theirs));
            assert_eq!(standard(false, true), Some(Host::A));
            assert_eq!(standard(true, false), Some(Host::B));
            assert_eq!(standard(false, false), None);
            assert_eq!(standard(true, true), None);
            for (ours, theirs) in [(false, false), (true, true), (true, false), (false, true)] {
                let host = role(Kind::Experimental, opener, bits(ours), bits(theirs));
                assert_eq!(host, Some(if opener { Host::A } else { Host::B }));
            }
        }
        assert_eq!(Host::A.peer(), Host::B);
        assert_eq!(Host::B.peer(), Host::A);
    }

    #[test]
    fn last_of_b_that_a_has() {
        let agreed = |a: &[u8], b: &[u8], not: u8| {
            let (a, b) = (eno(a), eno(b));
            let (a, b) = (SynForm::read(&a).unwrap(), SynForm::read(&b).unwrap());
            negotiated(&a, &b, |tep| tep.octet != not).map(|tep| tep.octet)
        };
        let all = [0x21, 0x22, 0x23, 0x24];
        assert_eq!(agreed(&all, &[1, 0x23], 0), Some(0x23));
        assert_eq!(agreed(&all, &[1, 0x24, 0x21], 0), Some(0x21));
        assert_eq!(agreed(&all, &[1, 0x21, 0x25], 0), Some(0x21));
        assert_eq!(agreed(&all, &[1, 0x22, 0x21], 0x21), Some(0x22));
        assert_eq!(agreed(&[0x21], &[1, 0x23], 0), None);
        assert_eq!(agreed(&all, &[1], 0), None);
        assert_eq!(agreed(&[], &all, 0), None);
        // The number counts, not whether there are data.
        assert_eq!(agreed(&[0xa3, 9], &[1, 0x23], 0), Some(0x23));
        assert_eq!(agreed(&[0x23], &[0x21, 0xa3, 9], 0), Some(0xa3));
        assert_eq!(agreed(&all, &[1, 0x23, 0xa3, 9], 0xa3), Some(0x23));
    }

    #[test]
    fn building() {
        let plain = |octet| TepSuboption { octet, data: &[] };
        let data = |octet, data| TepSuboption { octet, data };
        let both = Global {
            passive_role: true,
            app_aware: true,
        };
        let aware = Global {
            passive_role: false,
            app_aware: true,
        };
        let standard = |global, teps: &[TepSuboption<'_>]| {
            build(Kind::Standard, global, teps).map(|o| o.suboptions().to_vec())
        };
        let old = |teps: &[TepSuboption<'_>]| {
            build(Kind::Experimental, aware, teps).map(|o| o.suboptions().to_vec())
        };
        let none = Global::default();
        assert_eq!(standard(none, &[]), Some(vec![]));
        assert_eq!(
            standard(both, &[plain(0x21), data(0xa3, &[5, 6])]),
            Some(vec![3, 0x21, 0xa3, 5, 6])
        );
        assert_eq!(
            standard(none, &[data(0xa3, &[5, 6]), plain(0x21)]),
            Some(vec![0x81, 0xa3, 5, 6, 0x21])
        );
        assert_eq!(standard(none, &[data(0xa3, &[]), plain(0x21)]), None);
        assert_eq!(standard(none, &[data(0xa3, &[1; 33]), plain(0x21)]), None);
        assert_eq!(
            old(&[plain(0x21), plain(0x22), data(0xa3, &[1])]),
            Some(vec![0x21, 0x22, 2, 0xa3, 1])
        );
        assert_eq!(old(&[plain(0x23)]), Some(vec![0x23, 2]));
        assert_eq!(standard(none, &[data(0xa3, &[1; 37])]).unwrap().len(), 38);
        assert_eq!(standard(none, &[data(0xa3, &[1; 38])]), None);
        assert_eq!(
            build(Kind::Experimental, none, &[data(0xa3, &[1; 36])]),
            None
        );
    }

    #[test]
    fn transcripts() {
        let a = eno(&[0x21, 0x22, 0x23, 0x24]);
        let b = eno(&[1, 0x23]);
        let wanted = [69, 6, 0x21, 0x22, 0x23, 0x24, 69, 4, 1, 0x23];
        assert_eq!(transcript(&a, &b), wanted);
    }
}
