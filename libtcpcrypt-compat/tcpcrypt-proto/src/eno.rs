//! The ENO option of either kind, and what it says in the dialect of the original (tcpcrypt spec 4.1): which key
//! exchanges a host offers, what it chooses, which earlier session it would resume. What it says in the standard
//! is for RFC 8547.
//!
//! The option is the first thing a stranger sends. Nothing in here can fail in another way than by an
//! error, and whatever the list holds, what we choose is something we offered.

use kx_crypto::ecdh::Curve;

/// The TCP option kind: the second one reserved for experiments (RFC 4727).
pub const KIND: u8 = 253;

/// The experiment's identifier behind kind and length (RFC 6994).
pub const EXID: [u8; 2] = [0x45, 0x4e];

/// The kind that RFC 8547 has for the same purpose. A segment with both is one without ENO.
pub const RFC_KIND: u8 = 69;

/// The two forms of the option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// 253 with an identifier behind it.
    Experimental,
    /// 69.
    Standard,
}

impl Kind {
    /// Octets before the first suboption: kind and length, with 253 the identifier too.
    #[must_use]
    pub fn header_len(self) -> usize {
        match self {
            Kind::Experimental => 4,
            Kind::Standard => 2,
        }
    }
}

/// Octets of the TCP options of a segment, and so of the longest ENO option.
pub const MAX_LEN: usize = 40;

/// In the octet of a TEP: data follow (RFC 8547 section 4.1), in this dialect the rest of an identifier.
const VARIABLE: u8 = 0x80;

/// The global suboption that says "my application knows of this" (spec 4.1).
const APP_AWARE: u8 = 0x02;

/// A key exchange ("TCP encryption protocol", RFC 8547).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tep {
    /// 0x21, ECDHE on P-256.
    P256,
    /// 0x22, ECDHE on P-521.
    P521,
    /// 0x23, ECDHE by X25519. The original has not got it.
    X25519,
    /// 0x24, ECDHE by X448. The original has not got it.
    X448,
}

impl Tep {
    /// Every one that we know, in the order of their numbers.
    pub const ALL: [Tep; 4] = [Tep::P256, Tep::P521, Tep::X25519, Tep::X448];

    /// What a fresh daemon offers the original, in this order.
    pub const DEFAULT: [Tep; 2] = [Tep::P256, Tep::P521];

    /// The octet on the wire, without the bit that says that data follow.
    #[must_use]
    pub fn octet(self) -> u8 {
        match self {
            Tep::P256 => 0x21,
            Tep::P521 => 0x22,
            Tep::X25519 => 0x23,
            Tep::X448 => 0x24,
        }
    }

    /// The key exchange with this octet.
    #[must_use]
    pub fn from_octet(octet: u8) -> Option<Tep> {
        match octet {
            0x21 => Some(Tep::P256),
            0x22 => Some(Tep::P521),
            0x23 => Some(Tep::X25519),
            0x24 => Some(Tep::X448),
            _ => None,
        }
    }

    /// The octet as it stands in front of an identifier and as the answer that accepts one.
    #[must_use]
    pub fn resumed_octet(self) -> u8 {
        self.octet() | VARIABLE
    }

    /// The curve the keys are on.
    #[must_use]
    pub fn curve(self) -> Curve {
        match self {
            Tep::P256 => Curve::P256,
            Tep::P521 => Curve::P521,
            Tep::X25519 => Curve::X25519,
            Tep::X448 => Curve::X448,
        }
    }
}

/// The name of a session to be resumed, as it stands in a SYN: the first octets of the session id that
/// the connection would have (spec 4.4). Everybody on the way may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResumeId(pub [u8; ResumeId::LEN]);

impl ResumeId {
    /// Octets of it.
    pub const LEN: usize = 10;

    /// The name of a session of the standard: there the octets behind the first are the half of an identifier
    /// (RFC 8548 section 3.5).
    pub(crate) fn new(tep: Tep, half: &[u8; 9]) -> Self {
        let mut id = [tep.resumed_octet(); ResumeId::LEN];
        for (to, from) in id.iter_mut().skip(1).zip(half) {
            *to = *from;
        }
        Self(id)
    }

    /// The octet that a peer answers alone when it accepts.
    fn acceptance(&self) -> u8 {
        let [first, ..] = self.0;
        first
    }
}

/// Why an ENO option cannot be read. The connection is plain then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnoError {
    /// The length octet does not agree with the octets that are there.
    #[error("ENO option of a wrong length")]
    Length,
    /// The kind is another, or the experiment is.
    #[error("not an ENO option")]
    Other,
    /// More than one ENO option in one SYN (RFC 8547 section 4.1), of one dialect or of both.
    #[error("more than one ENO option")]
    Several,
}

/// One ENO option, octet for octet as on the wire: that is what goes into the transcript.
#[derive(Debug, Clone, Copy)]
pub struct EnoOption {
    octets: [u8; MAX_LEN],
    len: u8,
}

impl PartialEq for EnoOption {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for EnoOption {}

impl EnoOption {
    /// The option without suboptions, `FD 04 45 4E`: on the first segment behind the SYNs.
    #[must_use]
    pub fn bare() -> Self {
        Self::with(&[])
    }

    /// A server's answer that chooses `tep`.
    #[must_use]
    pub fn accept(tep: Tep, app_aware: bool) -> Self {
        // The TEP first: the original misreads a list that begins otherwise.
        let list = [tep.octet(), APP_AWARE];
        Self::with(if app_aware { &list } else { &list[..1] })
    }

    /// A server's answer that resumes the session it was asked for in `syn`, which was of `tep`.
    ///
    /// A bit beside ours repeats what the original takes for the client's: it looks for that in the octets of
    /// the identifier too, so one resumption in some thirty has it. Nobody reads it.
    #[must_use]
    pub fn accept_resumption(tep: Tep, app_aware: bool, syn: &EnoOption) -> Self {
        let ours = if app_aware { APP_AWARE } else { 0 };
        let seen = syn.suboptions().iter().copied().any(says_app_aware);
        let global = if seen { ours | APP_AWARE << 1 } else { ours };
        // The TEP last: that is where the original looks.
        let list = [global, tep.resumed_octet()];
        Self::with(if global == 0 { &list[1..] } else { &list })
    }

    /// The option of kind 253 with these suboptions. What does not fit into a segment is left out.
    fn with(suboptions: &[u8]) -> Self {
        Self::of(Kind::Experimental, suboptions)
    }

    /// The option of this kind with these suboptions. What does not fit into a segment is left out.
    #[must_use]
    pub fn of(kind: Kind, suboptions: &[u8]) -> Self {
        let mut octets = [0; MAX_LEN];
        let head: &[u8] = match kind {
            Kind::Experimental => &[KIND, 0, EXID[0], EXID[1]],
            Kind::Standard => &[RFC_KIND, 0],
        };
        let mut len = 0u8;
        for (to, from) in octets.iter_mut().zip(head.iter().chain(suboptions)) {
            *to = *from;
            len += 1;
        }
        octets[1] = len;
        Self { octets, len }
    }

    /// Reads a whole option of kind 253: kind, length, content.
    ///
    /// # Errors
    /// [`EnoError::Length`], [`EnoError::Other`].
    pub fn parse(option: &[u8]) -> Result<Self, EnoError> {
        match option.first() {
            Some(&KIND) => Self::parse_any(option),
            _ => Err(EnoError::Other),
        }
    }

    /// Reads a whole option of either kind.
    ///
    /// # Errors
    /// [`EnoError::Length`], [`EnoError::Other`].
    pub fn parse_any(option: &[u8]) -> Result<Self, EnoError> {
        let (kind, len, content) = match option {
            [KIND, len, content @ ..] => (Kind::Experimental, len, content),
            [RFC_KIND, len, content @ ..] => (Kind::Standard, len, content),
            _ => return Err(EnoError::Other),
        };
        if option.len() > MAX_LEN || usize::from(*len) != option.len() {
            return Err(EnoError::Length);
        }
        match kind {
            Kind::Standard => Ok(Self::of(kind, content)),
            Kind::Experimental => match content.strip_prefix(&EXID) {
                Some(suboptions) => Ok(Self::of(kind, suboptions)),
                None => Err(EnoError::Other),
            },
        }
    }

    /// Looks for the ENO option of kind 253 among the TCP options of a segment, as
    /// [`find_any`](Self::find_any) does. One of kind 69 is passed over if it is the only one.
    ///
    /// # Errors
    /// [`EnoError::Several`].
    pub fn find(options: &[u8]) -> Result<Option<Self>, EnoError> {
        Ok(Self::find_any(options)?.filter(|eno| eno.kind() == Kind::Experimental))
    }

    /// Looks for the ENO option of either kind among the TCP options of a segment. Experiments with another
    /// identifier are passed over. Reading ends without complaint at an end-of-list octet or where lengths make
    /// no sense.
    ///
    /// # Errors
    /// [`EnoError::Several`]: two of one kind, or one of each.
    pub fn find_any(options: &[u8]) -> Result<Option<Self>, EnoError> {
        let mut found = None;
        let mut rest = options;
        while let [kind, behind @ ..] = rest {
            match kind {
                0 => break,
                1 => {
                    rest = behind;
                    continue;
                }
                _ => {}
            }
            let len = behind.first().copied().map_or(0, usize::from);
            let Some((option, others)) = rest.split_at_checked(len) else {
                break;
            };
            if len < 2 {
                break;
            }
            rest = others;
            match Self::parse_any(option) {
                Ok(eno) if found.is_none() => found = Some(eno),
                Ok(_) => return Err(EnoError::Several),
                Err(_) => {}
            }
        }
        Ok(found)
    }

    /// Which form it has.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.octets.first() {
            Some(&RFC_KIND) => Kind::Standard,
            _ => Kind::Experimental,
        }
    }

    /// The whole option, as it goes into a segment and into the transcript.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.octets
            .get(..usize::from(self.len))
            .unwrap_or(&self.octets)
    }

    /// The suboptions.
    #[must_use]
    pub fn suboptions(&self) -> &[u8] {
        self.as_bytes()
            .get(self.kind().header_len()..)
            .unwrap_or(&[])
    }

    /// Whether there is no suboption, as on the first segment behind the SYNs.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.suboptions().is_empty()
    }

    /// The suboptions of one octet: all before the first one with data, which reach to the end.
    ///
    /// Without this the octets of an identifier would be taken for key exchanges and flags, as the original
    /// does.
    fn simple(&self) -> impl Iterator<Item = u8> + '_ {
        let octets = self.suboptions().iter().copied();
        octets.take_while(|octet| octet & VARIABLE == 0)
    }

    /// The key exchanges that we know, in the peer's order.
    pub fn teps(&self) -> impl Iterator<Item = Tep> + '_ {
        self.simple().filter_map(Tep::from_octet)
    }

    /// Whether the peer's application knows of encryption.
    #[must_use]
    pub fn app_aware(&self) -> bool {
        self.simple().any(says_app_aware)
    }

    /// The server's choice: the first that the client names and `ours` holds.
    #[must_use]
    pub fn choose(&self, ours: &[Tep]) -> Option<Tep> {
        self.teps().find(|tep| ours.contains(tep))
    }

    /// Everything that may be the name of a session to resume. The original tries every octet with the
    /// topmost bit as the first of a name; so clients that other octets stand in front of may be served.
    pub fn resume_ids(&self) -> impl Iterator<Item = ResumeId> + '_ {
        self.suboptions()
            .windows(ResumeId::LEN)
            .filter_map(|window| {
                let octets = <[u8; ResumeId::LEN]>::try_from(window).ok()?;
                let id = ResumeId(octets);
                (id.acceptance() & VARIABLE != 0).then_some(id)
            })
    }
}

/// Whether this octet, as a suboption, is a global one with the bit.
fn says_app_aware(octet: u8) -> bool {
    octet & 0xf0 == 0 && octet & APP_AWARE != 0
}

/// What a client offers in its SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The key exchanges, the preferred one first. Each once.
    pub teps: &'a [Tep],
    /// Whether the application asked to know.
    pub app_aware: bool,
    /// A session to resume.
    pub resume: Option<ResumeId>,
}

/// What a server answered, seen by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing that was offered: the connection is plain.
    Plain,
    /// This key exchange.
    Exchange(Tep),
    /// The session that was named is resumed.
    Resumed,
}

impl Offer<'_> {
    /// The option for the SYN.
    #[must_use]
    pub fn build(&self) -> EnoOption {
        let mut list = [0; MAX_LEN];
        let mut len = 0;
        let teps = self.teps.iter().map(|tep| tep.octet());
        let app_aware = self.app_aware.then_some(APP_AWARE);
        // The identifier last, as its octets have no end of their own.
        let resume = self.resume.iter().flat_map(|id| id.0);
        for (to, from) in list.iter_mut().zip(teps.chain(app_aware).chain(resume)) {
            *to = from;
            len += 1;
        }
        EnoOption::with(list.get(..len).unwrap_or(&[]))
    }

    /// Reads the option of the SYN-ACK.
    #[must_use]
    pub fn answer(&self, reply: &EnoOption) -> Answer {
        let last = reply.suboptions().last().copied();
        if let Some(id) = &self.resume {
            if last == Some(id.acceptance()) {
                return Answer::Resumed;
            }
        }
        reply
            .choose(self.teps)
            .map_or(Answer::Plain, Answer::Exchange)
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, EnoError, EnoOption, Kind, Offer, ResumeId, Tep};

    const ID: ResumeId = ResumeId([0xa1, 0xa2, 0x4f, 0xd1, 0xb5, 0x76, 0xe8, 0x02, 0x22, 0x01]);

    fn eno(suboptions: &[u8]) -> EnoOption {
        let len = u8::try_from(4 + suboptions.len()).unwrap();
        let mut option = vec![253, len, 0x45, 0x4e];
        option.extend_from_slice(suboptions);
        let parsed = EnoOption::parse(&option).unwrap();
        assert_eq!(parsed.as_bytes(), option);
        parsed
    }

    #[test]
    fn every_form() {
        let offer = |app_aware, resume| {
            let teps = &Tep::DEFAULT;
            Offer {
                teps,
                app_aware,
                resume,
            }
            .build()
        };
        assert_eq!(offer(false, None), eno(&[0x21, 0x22]));
        assert_eq!(offer(true, None), eno(&[0x21, 0x22, 2]));
        let mut list = vec![0x21, 0x22];
        list.extend_from_slice(&ID.0);
        assert_eq!(offer(false, Some(ID)), eno(&list));
        list.insert(2, 2);
        assert_eq!(offer(true, Some(ID)), eno(&list));
        assert_eq!(EnoOption::accept(Tep::P521, false), eno(&[0x22]));
        assert_eq!(EnoOption::accept(Tep::P256, true), eno(&[0x21, 2]));
        let resumed = |tep, app_aware, syn: &[u8]| {
            let reply = EnoOption::accept_resumption(tep, app_aware, &eno(syn));
            assert_eq!(reply.app_aware(), app_aware);
            reply
        };
        assert_eq!(resumed(Tep::P256, false, &[0x21]), eno(&[0xa1]));
        assert_eq!(resumed(Tep::P521, true, &[0x22]), eno(&[2, 0xa2]));
        assert_eq!(resumed(Tep::P256, false, &ID.0), eno(&[4, 0xa1]));
        assert_eq!(resumed(Tep::P256, true, &[0x21, 2]), eno(&[6, 0xa1]));
        assert_eq!(EnoOption::bare().as_bytes(), [0xfd, 4, 0x45, 0x4e]);
        assert!(EnoOption::bare().is_bare() && !EnoOption::accept(Tep::P256, false).is_bare());
    }

    /// Each of these kills the original.
    #[test]
    fn lists_that_kill_the_original() {
        let ours = &Tep::DEFAULT;
        assert_eq!(eno(&[0x25, 0x26]).choose(ours), None);
        assert_eq!(eno(&[0x30, 0x21]).choose(ours), Some(Tep::P256));
        let full = eno(&[0xa1; 28]);
        assert_eq!(full.choose(ours), None);
        assert_eq!(full.resume_ids().count(), 19);
        assert!(!full.app_aware());
        assert_eq!(eno(&[]).choose(ours), None);
    }

    #[test]
    fn server_follows_the_client() {
        let ours = &Tep::DEFAULT;
        assert_eq!(eno(&[0x22, 0x21]).choose(ours), Some(Tep::P521));
        assert_eq!(eno(&[0x21, 0x22]).choose(&[Tep::P521]), Some(Tep::P521));
        // The identifier holds 0x22 and 0x02, which say nothing there.
        let mut list = vec![0x23];
        list.extend_from_slice(&ID.0);
        assert_eq!(eno(&list).choose(ours), None);
        assert!(!eno(&list).app_aware());
        assert!(eno(&[0x21, 2]).app_aware() && eno(&[0x06, 0xa1]).app_aware());
        assert!(!eno(&[0x21, 0x12]).app_aware());
    }

    #[test]
    fn names_at_every_position() {
        for before in 0..=20 {
            let mut list = vec![0x21; before];
            list.extend_from_slice(&ID.0);
            let option = eno(&list);
            assert!(option.resume_ids().any(|id| id == ID), "{before}");
            // 0xa1, 0xa2, 0xd1, 0xb5 and 0xe8 may all begin a name, but only the first has ten octets.
            assert_eq!(option.resume_ids().count(), 1);
        }
        assert_eq!(eno(&ID.0[..9]).resume_ids().count(), 0);
    }

    #[test]
    fn client_reads_the_answer() {
        let offer = Offer {
            teps: &Tep::DEFAULT,
            app_aware: false,
            resume: Some(ID),
        };
        assert_eq!(offer.answer(&eno(&[0xa1])), Answer::Resumed);
        assert_eq!(offer.answer(&eno(&[2, 0xa1])), Answer::Resumed);
        assert_eq!(offer.answer(&eno(&[0xa2])), Answer::Plain);
        let exchange = Answer::Exchange(Tep::P521);
        assert_eq!(offer.answer(&eno(&[0x22])), exchange);
        assert_eq!(offer.answer(&eno(&[0x22, 2])), exchange);
        assert_eq!(offer.answer(&eno(&[0x24, 0x22, 0x21])), exchange);
        assert_eq!(offer.answer(&eno(&[])), Answer::Plain);
        assert_eq!(offer.answer(&eno(&[0x23])), Answer::Plain);
        let fresh = Offer {
            teps: &[Tep::P256],
            resume: None,
            ..offer
        };
        assert_eq!(fresh.answer(&eno(&[0xa1])), Answer::Plain);
        assert_eq!(fresh.answer(&eno(&[0x22])), Answer::Plain);
    }

    #[test]
    fn damaged() {
        let parse = |option: &[u8]| EnoOption::parse(option).unwrap_err();
        assert_eq!(parse(&[]), EnoError::Other);
        assert_eq!(parse(&[253]), EnoError::Other);
        assert_eq!(parse(&[253, 0]), EnoError::Length);
        assert_eq!(parse(&[253, 2]), EnoError::Other);
        assert_eq!(parse(&[253, 3, 0x45]), EnoError::Other);
        assert_eq!(parse(&[253, 4, 0x45, 0x4f]), EnoError::Other);
        assert_eq!(parse(&[253, 5, 0x45, 0x4e]), EnoError::Length);
        assert_eq!(parse(&[69, 4, 0x45, 0x4e]), EnoError::Other);
        let mut long = [0; 41];
        long[..4].copy_from_slice(&[253, 41, 0x45, 0x4e]);
        assert_eq!(parse(&long), EnoError::Length);
    }

    #[test]
    fn either_kind() {
        let standard = EnoOption::parse_any(&[69, 3, 0x23]).unwrap();
        assert_eq!(standard, EnoOption::of(Kind::Standard, &[0x23]));
        assert_eq!(standard.kind(), Kind::Standard);
        assert_eq!(standard.suboptions(), [0x23]);
        assert_eq!(standard.as_bytes(), [69, 3, 0x23]);
        assert_eq!(EnoOption::of(Kind::Standard, &[]).as_bytes(), [69, 2]);
        assert!(EnoOption::of(Kind::Standard, &[]).is_bare());
        assert_eq!(eno(&[0x21]).kind(), Kind::Experimental);
        let parse = |option: &[u8]| EnoOption::parse_any(option).unwrap_err();
        assert_eq!(parse(&[69]), EnoError::Other);
        assert_eq!(parse(&[69, 1]), EnoError::Length);
        assert_eq!(parse(&[69, 3]), EnoError::Length);
        assert_eq!(parse(&[2, 4, 5, 180]), EnoError::Other);
        let mut long = [0x21; 41];
        long[..2].copy_from_slice(&[69, 41]);
        assert_eq!(parse(&long), EnoError::Length);
        let find = EnoOption::find_any;
        assert_eq!(find(&[2, 4, 5, 180, 1, 69, 3, 0x23, 0]), Ok(Some(standard)));
        assert_eq!(
            find(&[253, 5, 0x45, 0x4e, 0x21, 1, 1]),
            Ok(Some(eno(&[0x21])))
        );
        assert_eq!(find(&[253, 4, 1, 2, 69, 3, 0x23]), Ok(Some(standard)));
        assert_eq!(find(&[69, 2, 69, 2]), Err(EnoError::Several));
        assert_eq!(find(&[69, 2, 253, 4, 0x45, 0x4e]), Err(EnoError::Several));
        for none in [&[69][..], &[69, 1], &[69, 4, 0x23], &[0, 69, 2]] {
            assert_eq!(find(none), Ok(None), "{none:?}");
        }
    }

    #[test]
    fn among_other_options() {
        let find = EnoOption::find;
        let wanted = Ok(Some(eno(&[0x21])));
        let one = [2, 4, 5, 180, 1, 253, 5, 0x45, 0x4e, 0x21, 0, 0];
        assert_eq!(find(&one), wanted);
        assert_eq!(find(&[253, 4, 1, 2, 253, 5, 0x45, 0x4e, 0x21]), wanted);
        for none in [
            &[][..],
            &[1, 1, 1],
            &[0, 253, 4, 0x45, 0x4e],
            &[8, 0, 253, 4, 0x45, 0x4e],
            &[8, 1, 253, 4, 0x45, 0x4e],
            &[8],
            &[253, 5, 0x45, 0x4e],
            &[69, 3, 0x21],
        ] {
            assert_eq!(find(none), Ok(None), "{none:?}");
        }
        for several in [
            &[253, 4, 0x45, 0x4e, 253, 4, 0x45, 0x4e][..],
            &[253, 4, 0x45, 0x4e, 69, 2],
            &[69, 2, 1, 253, 4, 0x45, 0x4e],
        ] {
            assert_eq!(find(several), Err(EnoError::Several), "{several:?}");
        }
    }
}
