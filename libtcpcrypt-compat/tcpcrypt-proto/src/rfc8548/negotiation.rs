//! What tcpcrypt says in ENO options (RFC 8548 sections 3.2 and 3.5): key exchanges, and sessions to be resumed.

use crate::eno::{EnoOption, Kind, Tep};
use crate::rfc8547::{self, Global, Host, SynForm, TepSuboption};

/// Octets of the half of an identifier that one host sends.
pub const HALF_LEN: usize = 9;

/// What a host adds to the half of an identifier, so that the keys are new. May be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResumptionNonce {
    octets: [u8; ResumptionNonce::MAX_LEN],
    len: u8,
}

impl ResumptionNonce {
    /// Octets of the longest one, which is the default.
    pub const MAX_LEN: usize = 8;

    /// Octets of the shortest one that we send. Two hosts that shortened theirs so much have as many octets as one
    /// that did not.
    pub const SHORTEST: usize = 4;

    /// `None` if it is longer.
    #[must_use]
    pub fn new(octets: &[u8]) -> Option<Self> {
        let mut nonce = Self {
            octets: [0; Self::MAX_LEN],
            len: u8::try_from(octets.len()).ok()?,
        };
        let room = nonce.octets.get_mut(..octets.len())?;
        room.copy_from_slice(octets);
        Some(nonce)
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.octets
            .get(..usize::from(self.len))
            .unwrap_or(&self.octets)
    }
}

/// The data of a suboption that would resume a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumption {
    /// The sender's half of the identifier.
    pub half: [u8; HALF_LEN],
    /// The sender's nonce.
    pub nonce: ResumptionNonce,
}

impl Resumption {
    /// Reads it. Data of another length would resume nothing: shorter ones mean the same as none, and for longer
    /// ones the RFC has no meaning.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        let (half, nonce) = data.split_first_chunk::<HALF_LEN>()?;
        Some(Self {
            half: *half,
            nonce: ResumptionNonce::new(nonce)?,
        })
    }

    /// The data.
    #[must_use]
    pub fn to_data(&self) -> Vec<u8> {
        [self.half.as_slice(), self.nonce.as_bytes()].concat()
    }
}

/// What a host says in its SYN or SYN-ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The form of the option. That of a SYN-ACK is the same as in the SYN.
    pub kind: Kind,
    /// The host would be B: in each SYN-ACK, and in a SYN if the application chose so.
    pub passive_role: bool,
    /// The application knows of encryption.
    pub app_aware: bool,
    /// The key exchanges, in the order in which they are sent. If the host turns out to be B, the last one that A has
    /// is taken; so a SYN-ACK should have exactly one.
    pub teps: &'a [Tep],
    /// A session to resume and its key exchange, which need not be among `teps`: a peer that does not know the
    /// session can still take the key exchange.
    pub resume: Option<(Tep, Resumption)>,
}

impl Offer<'_> {
    /// The option. `None` if it is longer than the options of a segment.
    ///
    /// Under kind 253 the first key exchange must be one of the original's (tcpcrypt spec 4.1); that is for the
    /// caller, as a SYN-ACK that chooses another has no room for it.
    #[must_use]
    pub fn build(&self) -> Option<EnoOption> {
        let global = Global {
            passive_role: self.passive_role && self.kind == Kind::Standard,
            app_aware: self.app_aware,
        };
        let resumed = self.resume.map(|(tep, _)| tep);
        let data = self.resume.map(|(_, resumption)| resumption.to_data());
        let plain = self.teps.iter().filter(|tep| Some(**tep) != resumed);
        let mut list: Vec<_> = plain
            .map(|tep| TepSuboption {
                octet: tep.octet(),
                data: &[],
            })
            .collect();
        if let (Some(tep), Some(data)) = (resumed, &data) {
            list.push(TepSuboption {
                octet: tep.resumed_octet(),
                data,
            });
        }
        rfc8547::build(self.kind, global, &list)
    }

    /// The option in at most `room` octets, and the nonce in it if a session is named: it is cut short as far as it
    /// must be, but not below [`ResumptionNonce::SHORTEST`] (tcpcrypt spec 7.7). `None` if that is not enough; then
    /// the session is not to be named.
    #[must_use]
    pub fn build_within(&self, room: usize) -> Option<(EnoOption, Option<ResumptionNonce>)> {
        let fits = |offer: &Self| {
            offer
                .build()
                .filter(|option| option.as_bytes().len() <= room)
        };
        let Some((tep, resumption)) = self.resume else {
            return Some((fits(self)?, None));
        };
        let mut shortened = resumption;
        loop {
            let resume = Some((tep, shortened));
            if let Some(option) = fits(&Self { resume, ..*self }) {
                return Some((option, Some(shortened.nonce)));
            }
            let (_, shorter) = shortened.nonce.as_bytes().split_last()?;
            if shorter.len() < ResumptionNonce::SHORTEST {
                return None;
            }
            shortened.nonce = ResumptionNonce::new(shorter)?;
        }
    }
}

/// What two SYNs agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Which host we are in this connection.
    pub host: Host,
    /// The key exchange.
    pub tep: Tep,
    /// Its octet as host B sent it, for the session id.
    pub tep_octet: u8,
    /// The session that both named is resumed, with this nonce of the peer.
    pub resumed: Option<ResumptionNonce>,
    /// The peer's application knows of encryption.
    pub peer_app_aware: bool,
}

/// Whether a list names a key exchange in a way that has a meaning: once, and with no more data than an identifier and
/// a nonce have. Else it is not valid for the connection (RFC 8547 section 4.5).
fn is_usable(form: &SynForm<'_>, id: u8) -> bool {
    let mut all = form.teps().filter(|tep| tep.id() == id);
    let (first, second) = (all.next(), all.next());
    let fits = |tep: TepSuboption<'_>| tep.data.len() <= HALF_LEN + ResumptionNonce::MAX_LEN;
    second.is_none() && first.is_some_and(fits)
}

/// The key exchange of a suboption, if the standard has it under this kind. The original's are a matter of its own
/// dialect under kind 253.
fn known(kind: Kind, tep: &TepSuboption<'_>) -> Option<Tep> {
    let tep = Tep::from_octet(tep.id())?;
    match (kind, tep) {
        (Kind::Experimental, Tep::P256 | Tep::P521) => None,
        _ => Some(tep),
    }
}

/// The sessions that a peer names, for a look-up of what it asks for
/// ([`Session::asked_by`](crate::rfc8548::keys::Session::asked_by)).
pub fn named(theirs: &EnoOption) -> impl Iterator<Item = (Tep, Resumption)> + '_ {
    let kind = theirs.kind();
    let forms = SynForm::read(theirs).ok().into_iter();
    forms.flat_map(move |form| {
        form.teps().filter_map(move |tep| {
            let resumption = Resumption::parse(tep.data).filter(|_| is_usable(&form, tep.id()))?;
            Some((known(kind, &tep)?, resumption))
        })
    })
}

/// What a host that answers `theirs` chooses of it: the first of `preferred`.
#[must_use]
pub fn choose(theirs: &EnoOption, preferred: &[Tep]) -> Option<Tep> {
    let form = SynForm::read(theirs).ok()?;
    let offered = |tep: &Tep| {
        let named = |each| known(theirs.kind(), &each) == Some(*tep);
        form.teps().any(named) && is_usable(&form, tep.octet())
    };
    preferred.iter().copied().find(offered)
}

/// Reads both options, ours as it was sent and theirs as it came. `opener` says whether our SYN was the first.
/// `session` is the one named in ours: its key exchange, and what the peer must name it by.
///
/// `None` if nothing was agreed on: the connection is plain.
#[must_use]
pub fn settle(
    opener: bool,
    ours: &EnoOption,
    theirs: &EnoOption,
    session: Option<(Tep, [u8; HALF_LEN])>,
) -> Option<Settled> {
    let kind = ours.kind();
    if theirs.kind() != kind {
        return None;
    }
    let (our_form, their_form) = (SynForm::read(ours).ok()?, SynForm::read(theirs).ok()?);
    let host = rfc8547::role(kind, opener, our_form.global(), their_form.global())?;
    // The peer's nonce, if the peer names our session in this key exchange.
    let peer_nonce = |tep: Tep| {
        let (_, half) = session.filter(|(of, _)| *of == tep)?;
        named(theirs)
            .find(|(of, resumption)| *of == tep && resumption.half == half)
            .map(|(_, resumption)| resumption.nonce)
    };
    let would_resume = |tep: &TepSuboption<'_>| tep.data.len() >= HALF_LEN;
    let both_usable = |id| is_usable(&our_form, id) && is_usable(&their_form, id);
    let valid = |tep: &TepSuboption<'_>| match known(kind, tep) {
        None => false,
        Some(_) if !both_usable(tep.id()) => false,
        Some(_) if !would_resume(tep) => true,
        Some(of) => match host {
            // What we wrote counts if the peer named the session as well.
            Host::B => peer_nonce(of).is_some(),
            // What the peer wrote counts if it is what we await.
            Host::A => session.is_some_and(|(ours, half)| {
                ours == of && Resumption::parse(tep.data).is_some_and(|theirs| theirs.half == half)
            }),
        },
    };
    let (a, b) = match host {
        Host::A => (&our_form, &their_form),
        Host::B => (&their_form, &our_form),
    };
    let agreed = rfc8547::negotiated(a, b, valid)?;
    let tep = known(kind, &agreed)?;
    let resumed = match host {
        _ if !would_resume(&agreed) => None,
        Host::A => Resumption::parse(agreed.data).map(|theirs| theirs.nonce),
        Host::B => peer_nonce(tep),
    };
    Some(Settled {
        host,
        tep,
        tep_octet: agreed.octet,
        resumed,
        peer_app_aware: their_form.global().app_aware,
    })
}

#[cfg(test)]
mod tests {
    use super::{HALF_LEN, Offer, Resumption, ResumptionNonce, Settled, choose, named, settle};
    use crate::eno::{EnoOption, Kind, Tep};
    use crate::rfc8547::Host;

    const OUR_HALF: [u8; 9] = [0x24; 9];
    const PEER_HALF: [u8; 9] = [0x81; 9];

    fn nonce(octets: &[u8]) -> ResumptionNonce {
        ResumptionNonce::new(octets).unwrap()
    }

    fn resumption(half: [u8; 9], octets: &[u8]) -> Resumption {
        Resumption {
            half,
            nonce: nonce(octets),
        }
    }

    fn standard(content: &[u8]) -> EnoOption {
        EnoOption::of(Kind::Standard, content)
    }

    fn syn(resume: Option<Resumption>) -> EnoOption {
        Offer {
            kind: Kind::Standard,
            passive_role: false,
            app_aware: false,
            teps: &Tep::ALL,
            resume: resume.map(|resume| (Tep::X25519, resume)),
        }
        .build()
        .unwrap()
    }

    #[test]
    fn data_of_suboptions() {
        let mut data = vec![5; HALF_LEN];
        assert_eq!(Resumption::parse(&data[..8]), None);
        for len in 0..=8 {
            let parsed = Resumption::parse(&data).unwrap();
            assert_eq!(parsed, resumption([5; 9], &vec![6; len]));
            assert_eq!(parsed.to_data(), data);
            data.push(6);
        }
        assert_eq!(Resumption::parse(&data), None);
        assert_eq!(ResumptionNonce::new(&[0; 9]), None);
        assert_eq!(ResumptionNonce::new(&[0; 300]), None);
        assert_eq!(ResumptionNonce::default(), nonce(&[]));
    }

    #[test]
    fn options() {
        assert_eq!(syn(None), standard(&[0x21, 0x22, 0x23, 0x24]));
        let mut list = vec![0x21, 0x22, 0x24, 0xa3];
        list.extend(OUR_HALF);
        list.extend([1, 2]);
        assert_eq!(
            syn(Some(resumption(OUR_HALF, &[1, 2]))),
            standard(&list),
            "not named twice"
        );
        let answer = |kind, teps, app_aware, resume| {
            let offer = Offer {
                kind,
                passive_role: true,
                app_aware,
                teps,
                resume,
            };
            offer.build().unwrap().as_bytes().to_vec()
        };
        let tep = &[Tep::X448][..];
        assert_eq!(answer(Kind::Standard, tep, false, None), [69, 4, 1, 0x24]);
        assert_eq!(answer(Kind::Standard, tep, true, None), [69, 4, 3, 0x24]);
        assert_eq!(
            answer(Kind::Experimental, tep, true, None),
            [253, 6, 0x45, 0x4e, 0x24, 2]
        );
        let resumed = Some((Tep::X25519, resumption([7; 9], &[])));
        assert_eq!(
            answer(Kind::Standard, &[], false, resumed),
            [69, 13, 1, 0xa3, 7, 7, 7, 7, 7, 7, 7, 7, 7]
        );
        // With timestamps 20 octets are left (spec 7.7).
        let upgrade = Offer {
            kind: Kind::Experimental,
            passive_role: false,
            app_aware: false,
            teps: &Tep::DEFAULT,
            resume: Some((Tep::X25519, resumption([7; 9], &[1, 2, 3, 4]))),
        };
        let option = upgrade.build().unwrap();
        assert_eq!(option.as_bytes().len(), 20);
        assert_eq!(option.suboptions()[..3], [0x21, 0x22, 0xa3]);
    }

    #[test]
    fn as_much_nonce_as_there_is_room_for() {
        let long = [1, 2, 3, 4, 5, 6, 7, 8];
        let offer = |octets: &[u8]| Offer {
            kind: Kind::Experimental,
            passive_role: false,
            app_aware: false,
            teps: &Tep::DEFAULT,
            resume: Some((Tep::X25519, resumption([7; 9], octets))),
        };
        for (room, len) in [
            (19, None),
            (20, Some(4)),
            (22, Some(6)),
            (24, Some(8)),
            (40, Some(8)),
        ] {
            let built = offer(&long).build_within(room);
            let sent = built.map(|(option, nonce)| {
                let nonce = nonce.unwrap();
                assert!(option.suboptions().ends_with(nonce.as_bytes()));
                assert!(long.starts_with(nonce.as_bytes()));
                assert!(option.as_bytes().len() <= room);
                nonce.as_bytes().len()
            });
            assert_eq!(sent, len, "{room}");
        }
        // One that is short from the beginning.
        assert!(offer(&[1]).build_within(17).is_some());
        assert!(offer(&[1]).build_within(16).is_none());
        let fresh = Offer {
            resume: None,
            ..offer(&[])
        };
        assert_eq!(fresh.build_within(6).unwrap().1, None);
        assert!(fresh.build_within(5).is_none());
    }

    #[test]
    fn fresh_exchange() {
        let settled = |ours: &EnoOption, theirs: &[u8]| {
            let theirs = standard(theirs);
            let both = [
                settle(true, ours, &theirs, None),
                settle(false, &theirs, ours, None),
            ];
            assert_eq!(both[0].map(|s| s.tep), both[1].map(|s| s.tep));
            assert_eq!(
                both[0].map(|s| s.host),
                both[1].map(|s| s.host.peer()),
                "each host is another"
            );
            both[0]
        };
        let ours = syn(None);
        let wanted = Settled {
            host: Host::A,
            tep: Tep::X25519,
            tep_octet: 0x23,
            resumed: None,
            peer_app_aware: false,
        };
        assert_eq!(settled(&ours, &[1, 0x23]), Some(wanted));
        assert_eq!(
            settled(&ours, &[3, 0x23]),
            Some(Settled {
                peer_app_aware: true,
                ..wanted
            })
        );
        assert_eq!(settled(&ours, &[1, 0x24, 0x23]), Some(wanted));
        assert_eq!(settled(&ours, &[1, 0x23, 0x30]), Some(wanted));
        // Data too short to resume anything.
        let octet = |settled: Option<Settled>| settled.map(|s| (s.tep_octet, s.resumed));
        assert_eq!(
            octet(settled(&ours, &[1, 0xa3, 1, 2, 3, 4, 5, 6, 7, 8])),
            Some((0xa3, None))
        );
        // The role is not said, or nothing in common.
        assert_eq!(settled(&ours, &[0x23]), None);
        assert_eq!(settled(&ours, &[1]), None);
        assert_eq!(settled(&ours, &[1, 0x20, 0x30]), None);
        assert_eq!(settled(&standard(&[0x21]), &[1, 0x23]), None);
        assert_eq!(settled(&ours, &[1, 0x23, 0x80]), None, "ill-formed");
        // An opener that is host B.
        let b = standard(&[1, 0x21, 0x23]);
        let as_b = settle(true, &b, &standard(&[0x21, 0x22]), None).unwrap();
        assert_eq!((as_b.host, as_b.tep), (Host::B, Tep::P256));
    }

    #[test]
    fn resumed() {
        let (ours, theirs) = (
            resumption(OUR_HALF, &[1; 8]),
            resumption(PEER_HALF, &[2; 3]),
        );
        let syn = syn(Some(ours));
        assert_eq!(named(&syn).collect::<Vec<_>>(), [(Tep::X25519, ours)]);
        let answer = |half: [u8; 9], more: &[u8]| {
            let mut list = vec![1, 0xa3];
            list.extend(half);
            list.extend(more);
            standard(&list)
        };
        let accepted = answer(PEER_HALF, &[2; 3]);
        let session = Some((Tep::X25519, PEER_HALF));
        let wanted = Settled {
            host: Host::A,
            tep: Tep::X25519,
            tep_octet: 0xa3,
            resumed: Some(theirs.nonce),
            peer_app_aware: false,
        };
        assert_eq!(settle(true, &syn, &accepted, session), Some(wanted));
        // The other side of the same.
        let back = settle(false, &accepted, &syn, Some((Tep::X25519, OUR_HALF)));
        assert_eq!(
            back,
            Some(Settled {
                host: Host::B,
                resumed: Some(ours.nonce),
                ..wanted
            })
        );
        // Declined.
        let fresh = settle(true, &syn, &standard(&[1, 0x23]), session);
        assert_eq!(
            fresh,
            Some(Settled {
                tep_octet: 0x23,
                resumed: None,
                ..wanted
            })
        );
        let other = settle(true, &syn, &standard(&[1, 0x22]), session).unwrap();
        assert_eq!((other.tep, other.resumed), (Tep::P521, None));
        // Not what we await, or more than there can be, or nothing was named.
        for (option, session) in [
            (answer([0x80; 9], &[]), session),
            (answer(OUR_HALF, &[]), session),
            (answer(PEER_HALF, &[0; 9]), session),
            (accepted, None),
            (accepted, Some((Tep::X448, PEER_HALF))),
        ] {
            assert_eq!(settle(true, &syn, &option, session), None);
        }
        // What is wrong is passed over where there is more.
        let mut list = vec![1, 0x24, 0xa3];
        list.extend([0x80; 9]);
        let settled = settle(true, &syn, &standard(&list), session).unwrap();
        assert_eq!((settled.tep, settled.resumed), (Tep::X448, None));
        // We would resume what nobody asked for.
        let unasked = settle(false, &accepted, &standard(&[0x23]), session);
        assert_eq!(unasked, None);
    }

    #[test]
    fn under_the_other_kind() {
        let old = |content: &[u8]| EnoOption::of(Kind::Experimental, content);
        let syn = old(&[0x21, 0x22, 0x23, 0x24]);
        let settled = settle(true, &syn, &old(&[0x23]), None).unwrap();
        assert_eq!((settled.host, settled.tep), (Host::A, Tep::X25519));
        let settled = settle(false, &old(&[0x24, 2]), &syn, None).unwrap();
        assert_eq!((settled.host, settled.tep), (Host::B, Tep::X448));
        let aware = settle(true, &syn, &old(&[0x23, 2]), None).unwrap();
        assert!(aware.peer_app_aware);
        // The original's key exchanges are another dialect, and kinds are never mixed.
        assert_eq!(settle(true, &syn, &old(&[0x21]), None), None);
        assert_eq!(settle(true, &syn, &standard(&[1, 0x23]), None), None);
        let mut list = vec![0x22, 0x24, 0xa1];
        list.extend([0x23; 9]);
        assert_eq!(named(&old(&list)).count(), 0);
        assert_eq!(named(&standard(&list)).count(), 1);
        list[2] = 0xa4;
        // A key exchange that is named twice is as good as not named.
        assert_eq!(named(&old(&list)).count(), 0);
        assert_eq!(choose(&old(&list), &Tep::ALL), None);
        list[1] = 0x21;
        assert_eq!(named(&old(&list)).count(), 1);
        assert_eq!(choose(&old(&list), &Tep::ALL), Some(Tep::X448));
        assert_eq!(choose(&old(&[0x21, 0x22]), &Tep::ALL), None);
    }

    #[test]
    fn choosing() {
        let preferred = [Tep::X25519, Tep::X448, Tep::P256];
        let chosen = |content: &[u8]| choose(&standard(content), &preferred);
        assert_eq!(chosen(&[0x21, 0x22, 0x23, 0x24]), Some(Tep::X25519));
        assert_eq!(chosen(&[0x21, 0x24]), Some(Tep::X448));
        assert_eq!(chosen(&[0x22, 0x21]), Some(Tep::P256));
        assert_eq!(chosen(&[0x22, 0x30]), None);
        assert_eq!(chosen(&[0xa3]), Some(Tep::X25519));
        assert_eq!(chosen(&[0x23, 0x80]), None, "ill-formed");
        assert_eq!(chosen(&[]), None);
    }
}
