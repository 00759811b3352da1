//! Which dialect a connection speaks (tcpcrypt spec 7.7): that of the original or the standard, by the operator's
//! choice, what the peer sent and what is remembered of it.
//!
//! The kind of the ENO option and the key exchange tell the dialect, and nothing else does; the messages begin alike.
//! Under kind 253 the key exchanges 0x21 and 0x22 are the original's dialect. 0x23 and 0x24, which the original never
//! chooses, are the standard: so two of us reach it without either asking by a kind that the original ignores.

mod memory;

use std::str::FromStr;

use crate::eno::{EnoOption, Kind, Tep};
use crate::rfc8548::negotiation::choose;

pub use memory::Memory;

/// The key exchanges that are the standard under kind 253, in the order in which a host that answers prefers them.
const UPGRADES: [Tep; 2] = [Tep::X25519, Tep::X448];

/// What a host that answers prefers under kind 69.
const PREFERRED: [Tep; 4] = [Tep::X25519, Tep::X448, Tep::P256, Tep::P521];

/// What the operator allows (`--eno`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// `legacy`: as the original.
    Legacy,
    /// `rfc`: the standard only. Asks under kind 69, and answers under 253 too if the standard can follow.
    Standard,
    /// `auto`: whatever the peer speaks. Asks under kind 253, which the hosts of today understand, unless the peer is
    /// known to speak the standard under 69.
    #[default]
    Auto,
    /// `off`: no encryption.
    Off,
}

/// There is no such policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither legacy nor rfc nor auto nor off")]
pub struct UnknownPolicy;

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        match text {
            "legacy" => Ok(Policy::Legacy),
            "rfc" => Ok(Policy::Standard),
            "auto" => Ok(Policy::Auto),
            "off" => Ok(Policy::Off),
            _ => Err(UnknownPolicy),
        }
    }
}

/// What is known of a peer, for an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Connections with it were encrypted under this kind.
    Speaks(Kind),
    /// It answered a SYN with kind 69 by a SYN-ACK without ENO.
    DeclinedStandard,
}

/// What goes into our SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// No option.
    Plain,
    /// Kind 253, as the original has it.
    Legacy,
    /// Kind 253 with the key exchanges of the standard behind those of the original.
    Upgrade,
    /// Kind 69.
    Standard,
}

impl Asking {
    /// The kind of the option, if there is one.
    #[must_use]
    pub fn kind(self) -> Option<Kind> {
        match self {
            Asking::Plain => None,
            Asking::Legacy | Asking::Upgrade => Some(Kind::Experimental),
            Asking::Standard => Some(Kind::Standard),
        }
    }

    /// The key exchanges in the option, in their order. `prefer` (`-C`) goes to the front, under kind 253 to the
    /// front of those that are of the same dialect: the original's must stand first there.
    #[must_use]
    pub fn teps(self, prefer: Option<Tep>) -> Vec<Tep> {
        let preferred_first = |list: &[Tep]| -> Vec<Tep> {
            let first = prefer.filter(|tep| list.contains(tep));
            let others = list.iter().copied().filter(|tep| Some(*tep) != first);
            first.into_iter().chain(others).collect()
        };
        match self {
            Asking::Plain => Vec::new(),
            Asking::Legacy => preferred_first(&Tep::DEFAULT),
            Asking::Upgrade => [Tep::DEFAULT, UPGRADES]
                .map(|l| preferred_first(&l))
                .concat(),
            Asking::Standard => preferred_first(&Tep::ALL),
        }
    }

    /// Whether the option may name a session of the original's dialect.
    #[must_use]
    pub fn resumes_legacy(self) -> bool {
        matches!(self, Asking::Legacy | Asking::Upgrade)
    }

    /// Whether the option may name a session of the standard that began with this key exchange. Under kind 253 it
    /// would be mistaken for the original's if that is one of its own.
    #[must_use]
    pub fn resumes_standard(self, tep: Tep) -> bool {
        match self {
            Asking::Plain | Asking::Legacy => false,
            Asking::Upgrade => UPGRADES.contains(&tep),
            Asking::Standard => true,
        }
    }
}

/// How a connection begins that we open.
#[must_use]
pub fn asking(policy: Policy, known: Option<Known>) -> Asking {
    match (policy, known) {
        (Policy::Off, _) => Asking::Plain,
        (Policy::Legacy, _) => Asking::Legacy,
        (Policy::Standard, _) | (Policy::Auto, Some(Known::Speaks(Kind::Standard))) => {
            Asking::Standard
        }
        (Policy::Auto, _) => Asking::Upgrade,
    }
}

/// What we make of a peer's SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// No option in the SYN-ACK.
    Plain,
    /// The original's dialect, under kind 253.
    Legacy,
    /// The standard with this key exchange, under the kind of the SYN.
    Standard(Tep),
}

/// How a connection goes on that a peer opens with this option in its SYN, by a fresh exchange. `prefer` is our own
/// preference (`-C`). A SYN with two options is one without (RFC 8547 section 4.1).
///
/// Whether a session that it names is resumed instead comes before this; [`may_resume`] says in which dialects.
#[must_use]
pub fn answering(policy: Policy, syn: &EnoOption, prefer: Option<Tep>) -> Answering {
    let (legacy, standard) = may_resume(policy, syn.kind());
    let prefers_legacy = prefer.is_some_and(|tep| !UPGRADES.contains(&tep));
    let legacy = legacy && syn.choose(&Tep::DEFAULT).is_some();
    match syn.kind() {
        Kind::Experimental if legacy && prefers_legacy => Answering::Legacy,
        _ if standard => {
            let preferred: Vec<Tep> = prefer.into_iter().chain(PREFERRED).collect();
            match choose(syn, &preferred) {
                Some(tep) => Answering::Standard(tep),
                None if legacy => Answering::Legacy,
                None => Answering::Plain,
            }
        }
        _ if legacy => Answering::Legacy,
        _ => Answering::Plain,
    }
}

/// Whether a session of the original's dialect and whether one of the standard may be resumed that is named in a SYN
/// under this kind.
#[must_use]
pub fn may_resume(policy: Policy, kind: Kind) -> (bool, bool) {
    let legacy = matches!(policy, Policy::Legacy | Policy::Auto) && kind == Kind::Experimental;
    let standard = matches!(policy, Policy::Standard | Policy::Auto);
    (legacy, standard)
}

/// The dialect of the SYN-ACK to our SYN. What it says is for that dialect to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// There is no option, or one of another kind than ours.
    Plain,
    /// The original's: for [`Offer::answer`](crate::eno::Offer::answer).
    Legacy,
    /// The standard: for [`settle`](crate::rfc8548::negotiation::settle).
    Standard,
}

/// In which dialect a peer answered what we asked.
#[must_use]
pub fn answered(asked: Asking, syn_ack: Option<&EnoOption>) -> Answered {
    let Some(syn_ack) = syn_ack.filter(|option| asked.kind() == Some(option.kind())) else {
        return Answered::Plain;
    };
    match asked {
        Asking::Plain => Answered::Plain,
        Asking::Legacy => Answered::Legacy,
        Asking::Standard => Answered::Standard,
        // Nobody chooses one of each.
        Asking::Upgrade if syn_ack.choose(&Tep::DEFAULT).is_some() => Answered::Legacy,
        Asking::Upgrade if choose(syn_ack, &UPGRADES).is_some() => Answered::Standard,
        Asking::Upgrade => Answered::Legacy,
    }
}

/// What a SYN-ACK without ENO teaches about the peer. (That one with ENO was encrypted is
/// [`Known::Speaks`], to be remembered once a frame of the peer was genuine: anybody can send a SYN in another's name,
/// and what it taught would turn the next connection into a plain one.)
#[must_use]
pub fn learned_of_silence(asked: Asking) -> Option<Known> {
    match asked {
        Asking::Standard => Some(Known::DeclinedStandard),
        Asking::Plain | Asking::Legacy | Asking::Upgrade => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Answered, Answering, Asking, Known, Policy, UnknownPolicy, answered, answering, asking,
        learned_of_silence, may_resume,
    };
    use crate::eno::{EnoOption, Kind, Tep};

    const POLICIES: [Policy; 4] = [Policy::Legacy, Policy::Standard, Policy::Auto, Policy::Off];

    fn old(content: &[u8]) -> EnoOption {
        EnoOption::of(Kind::Experimental, content)
    }

    fn standard(content: &[u8]) -> EnoOption {
        EnoOption::of(Kind::Standard, content)
    }

    #[test]
    fn names() {
        let parsed = ["legacy", "rfc", "auto", "off"].map(|text| text.parse());
        assert_eq!(parsed, POLICIES.map(Ok));
        for other in ["", "RFC", "standard", "on", "auto "] {
            assert_eq!(other.parse::<Policy>(), Err(UnknownPolicy));
        }
        assert_eq!(Policy::default(), Policy::Auto);
    }

    /// The table of what goes into our SYN: one line for each thing known, one column for each policy.
    #[test]
    fn what_we_ask() {
        use Asking::{Legacy, Plain, Standard, Upgrade};
        for (known, wanted) in [
            (None, [Legacy, Standard, Upgrade, Plain]),
            (
                Some(Known::Speaks(Kind::Experimental)),
                [Legacy, Standard, Upgrade, Plain],
            ),
            (
                Some(Known::Speaks(Kind::Standard)),
                [Legacy, Standard, Standard, Plain],
            ),
            (
                Some(Known::DeclinedStandard),
                [Legacy, Standard, Upgrade, Plain],
            ),
        ] {
            assert_eq!(POLICIES.map(|policy| asking(policy, known)), wanted);
        }
    }

    #[test]
    fn lists() {
        use Tep::{P256, P521, X448, X25519};
        let list = |asking: Asking, prefer| asking.teps(prefer);
        assert_eq!(list(Asking::Plain, Some(P256)), []);
        for (prefer, legacy, upgrade, standard) in [
            (
                None,
                [P256, P521],
                [P256, P521, X25519, X448],
                [P256, P521, X25519, X448],
            ),
            (
                Some(P521),
                [P521, P256],
                [P521, P256, X25519, X448],
                [P521, P256, X25519, X448],
            ),
            (
                Some(X448),
                [P256, P521],
                [P256, P521, X448, X25519],
                [X448, P256, P521, X25519],
            ),
        ] {
            assert_eq!(list(Asking::Legacy, prefer), legacy);
            assert_eq!(list(Asking::Upgrade, prefer), upgrade);
            assert_eq!(list(Asking::Standard, prefer), standard);
        }
        assert_eq!(Asking::Plain.kind(), None);
        assert_eq!(Asking::Legacy.kind(), Some(Kind::Experimental));
        assert_eq!(Asking::Upgrade.kind(), Some(Kind::Experimental));
        assert_eq!(Asking::Standard.kind(), Some(Kind::Standard));
    }

    /// The table of what we answer: one line for each SYN, one column for each policy.
    #[test]
    fn what_we_answer() {
        use Answering::{Legacy, Plain};
        let x25519 = Answering::Standard(Tep::X25519);
        let x448 = Answering::Standard(Tep::X448);
        let p521 = Answering::Standard(Tep::P521);
        for (syn, wanted) in [
            // The original, and ours with --eno=legacy.
            (old(&[0x21, 0x22]), [Legacy, Plain, Legacy, Plain]),
            (old(&[0x22]), [Legacy, Plain, Legacy, Plain]),
            // Ours with --eno=auto.
            (
                old(&[0x21, 0x22, 0x23, 0x24]),
                [Legacy, x25519, x25519, Plain],
            ),
            (old(&[0x21, 0x22, 2, 0x24]), [Legacy, x448, x448, Plain]),
            // It names a session of the standard that is not known.
            (
                old(&[0x21, 0x22, 0xa4, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
                [Legacy, x448, x448, Plain],
            ),
            // A session of the original; its octets say nothing.
            (
                old(&[0x21, 0x22, 0xa1, 0x23, 0x24, 3, 4, 5, 6, 7, 8, 9]),
                [Legacy, Plain, Legacy, Plain],
            ),
            // Ill-formed in the standard, and the original does not mind.
            (old(&[0x21, 0x23, 0x9f]), [Legacy, Plain, Legacy, Plain]),
            (old(&[0x25, 0x26]), [Plain; 4]),
            (old(&[0x23]), [Plain, x25519, x25519, Plain]),
            (old(&[]), [Plain; 4]),
            // The standard.
            (
                standard(&[0x21, 0x22, 0x23, 0x24]),
                [Plain, x25519, x25519, Plain],
            ),
            (standard(&[0x22]), [Plain, p521, p521, Plain]),
            (standard(&[0x30]), [Plain; 4]),
            (standard(&[0x23, 0x80]), [Plain; 4]),
            (standard(&[]), [Plain; 4]),
        ] {
            let answers = POLICIES.map(|policy| answering(policy, &syn, None));
            assert_eq!(answers, wanted, "{syn:?}");
        }
    }

    #[test]
    fn what_we_prefer() {
        let syn = [0x21, 0x22, 0x23, 0x24];
        for (prefer, under_old, under_standard) in [
            (Tep::P256, Answering::Legacy, Answering::Standard(Tep::P256)),
            (Tep::P521, Answering::Legacy, Answering::Standard(Tep::P521)),
            (
                Tep::X448,
                Answering::Standard(Tep::X448),
                Answering::Standard(Tep::X448),
            ),
        ] {
            let answer = |syn: &EnoOption| answering(Policy::Auto, syn, Some(prefer));
            assert_eq!(answer(&old(&syn)), under_old);
            assert_eq!(answer(&standard(&syn)), under_standard);
            // What is not there cannot be had.
            assert_eq!(answer(&old(&[0x21, 0x22])), Answering::Legacy);
            let only = Answering::Standard(Tep::X25519);
            assert_eq!(answer(&standard(&[0x23])), only);
            assert_eq!(answer(&old(&[0x23])), only);
            // Without the original's dialect the standard is what is left.
            let left = answering(Policy::Standard, &old(&syn), Some(prefer));
            assert!(matches!(left, Answering::Standard(Tep::X25519 | Tep::X448)));
        }
    }

    #[test]
    fn resumption() {
        let kinds = [Kind::Experimental, Kind::Standard];
        let table = POLICIES.map(|policy| kinds.map(|kind| may_resume(policy, kind)));
        assert_eq!(
            table,
            [
                [(true, false), (false, false)],
                [(false, true), (false, true)],
                [(true, true), (false, true)],
                [(false, false), (false, false)],
            ]
        );
        for (asking, legacy, p256, x25519) in [
            (Asking::Plain, false, false, false),
            (Asking::Legacy, true, false, false),
            (Asking::Upgrade, true, false, true),
            (Asking::Standard, false, true, true),
        ] {
            assert_eq!(asking.resumes_legacy(), legacy);
            assert_eq!(asking.resumes_standard(Tep::P256), p256);
            assert_eq!(asking.resumes_standard(Tep::X25519), x25519);
        }
    }

    /// The table of what was answered: one line for each SYN-ACK, one column for each SYN.
    #[test]
    fn what_was_answered() {
        use Answered::{Legacy, Plain, Standard};
        let resumed = [0xa3, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        for (syn_ack, wanted) in [
            (None, [Plain; 4]),
            (Some(old(&[0x21])), [Plain, Legacy, Legacy, Plain]),
            (Some(old(&[0x22, 2])), [Plain, Legacy, Legacy, Plain]),
            (Some(old(&[0xa1])), [Plain, Legacy, Legacy, Plain]),
            (Some(old(&[6, 0xa1])), [Plain, Legacy, Legacy, Plain]),
            (Some(old(&[0x23])), [Plain, Legacy, Standard, Plain]),
            (Some(old(&[0x24, 2])), [Plain, Legacy, Standard, Plain]),
            (Some(old(&resumed)), [Plain, Legacy, Standard, Plain]),
            (Some(old(&[0x21, 0x23])), [Plain, Legacy, Legacy, Plain]),
            (Some(old(&[])), [Plain, Legacy, Legacy, Plain]),
            (Some(standard(&[1, 0x23])), [Plain, Plain, Plain, Standard]),
            (Some(standard(&[1, 0x21])), [Plain, Plain, Plain, Standard]),
        ] {
            let asked = [
                Asking::Plain,
                Asking::Legacy,
                Asking::Upgrade,
                Asking::Standard,
            ];
            let answers = asked.map(|asked| answered(asked, syn_ack.as_ref()));
            assert_eq!(answers, wanted, "{syn_ack:?}");
        }
    }

    /// Whatever two of us are set to: both ends take the connection for the same, and nothing is lost by `auto`.
    #[test]
    fn two_of_us() {
        for opener in POLICIES {
            for known in [
                None,
                Some(Known::Speaks(Kind::Standard)),
                Some(Known::DeclinedStandard),
            ] {
                for other in POLICIES {
                    let asked = asking(opener, known);
                    let list: Vec<u8> = asked.teps(None).iter().map(|tep| tep.octet()).collect();
                    let syn = asked.kind().map(|kind| EnoOption::of(kind, &list));
                    let answer = syn.map_or(Answering::Plain, |syn| answering(other, &syn, None));
                    let kind = asked.kind().unwrap_or(Kind::Standard);
                    let syn_ack = match answer {
                        Answering::Plain => None,
                        Answering::Legacy => Some(EnoOption::accept(Tep::P256, false)),
                        Answering::Standard(tep) => Some(EnoOption::of(kind, &[tep.octet()])),
                    };
                    let wanted = match answer {
                        Answering::Plain => Answered::Plain,
                        Answering::Legacy => Answered::Legacy,
                        Answering::Standard(_) => Answered::Standard,
                    };
                    assert_eq!(answered(asked, syn_ack.as_ref()), wanted);
                    let plain = [opener, other].contains(&Policy::Off)
                        || (opener, other) == (Policy::Legacy, Policy::Standard)
                        || (asked, other) == (Asking::Standard, Policy::Legacy);
                    assert_eq!(answer == Answering::Plain, plain, "{opener:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn silence() {
        assert_eq!(
            learned_of_silence(Asking::Standard),
            Some(Known::DeclinedStandard)
        );
        for asked in [Asking::Plain, Asking::Legacy, Asking::Upgrade] {
            assert_eq!(learned_of_silence(asked), None);
        }
    }
}
