//! Which algorithms are weak, which are names only, and what systems of today refuse (isakmpd-wire 1 and 7).

use ike::config::{Phase1Transform, Suite, Value};
use isakmp_proto::number::{
    AhTransform, EspTransform, GroupDescription, IkeAuth, IkeEncryption, IkeHash, IpsecAuth,
    Protocol,
};

fn is(value: Option<Value>, number: u16) -> bool {
    value == Some(Value::Is(number))
}

/// Whether the group can be negotiated at all.
fn group_is_usable(group: u16) -> bool {
    matches!(group, 1 | 2 | 5 | 14..=21 | 25..=30)
}

fn group_is_weak(group: u16) -> bool {
    matches!(group, 1 | 2 | 5 | 25)
}

fn group_names(group: Option<Value>, weak: &mut Vec<String>, unsupported: &mut Vec<String>) {
    if let Some(Value::Is(group)) = group {
        let name = GroupDescription(group).to_string();
        if !group_is_usable(group) {
            unsupported.push(name);
        } else if group_is_weak(group) {
            weak.push(name);
        }
    }
}

/// Names of weak algorithms, and of those that cannot be used.
pub(super) fn of_phase1(transform: &Phase1Transform) -> (Vec<String>, Vec<String>) {
    let (mut weak, mut unsupported) = (Vec::new(), Vec::new());
    if let Some(Value::Is(number)) = transform.encryption {
        let cipher = IkeEncryption(number);
        match cipher {
            IkeEncryption::AES_CBC => {}
            IkeEncryption::DES_CBC
            | IkeEncryption::BLOWFISH_CBC
            | IkeEncryption::DES3_CBC
            | IkeEncryption::CAST_CBC => {
                weak.push(cipher.to_string());
            }
            _ => unsupported.push(cipher.to_string()),
        }
    }
    if let Some(Value::Is(number)) = transform.hash {
        let hash = IkeHash(number);
        match hash {
            IkeHash::MD5 => weak.push(hash.to_string()),
            IkeHash::SHA | IkeHash::SHA2_256 | IkeHash::SHA2_384 | IkeHash::SHA2_512 => {}
            _ => unsupported.push(hash.to_string()),
        }
    }
    if let Some(Value::Is(number)) = transform.authentication {
        let method = IkeAuth(number);
        if method != IkeAuth::PRE_SHARED && method != IkeAuth::RSA_SIG {
            unsupported.push(method.to_string());
        }
    }
    group_names(transform.group, &mut weak, &mut unsupported);
    // Number 0 is an unknown name, which is said elsewhere.
    unsupported.retain(|name| !name.starts_with("<Unknown 0"));
    (weak, unsupported)
}

/// The same of a suite.
pub(super) fn of_suite(suite: &Suite) -> (Vec<String>, Vec<String>) {
    let (mut weak, mut unsupported) = (Vec::new(), Vec::new());
    for protocol in &suite.protocols {
        for transform in &protocol.transforms {
            if protocol.protocol == Protocol::ESP.0 {
                let cipher = EspTransform(transform.id);
                match cipher {
                    EspTransform::AES
                    | EspTransform::AES_CTR
                    | EspTransform::AES_GCM_16
                    | EspTransform::AES_GMAC => {}
                    EspTransform::DES
                    | EspTransform::DES3
                    | EspTransform::CAST
                    | EspTransform::BLOWFISH
                    | EspTransform::NULL => weak.push(cipher.to_string()),
                    _ => unsupported.push(cipher.to_string()),
                }
                let authenticates =
                    matches!(cipher, EspTransform::AES_GCM_16 | EspTransform::AES_GMAC);
                if transform.authentication.is_none() && !authenticates {
                    weak.push("no authentication".to_owned());
                }
            } else if protocol.protocol == Protocol::AH.0 {
                match AhTransform(transform.id) {
                    AhTransform::MD5 => weak.push("MD5".to_owned()),
                    AhTransform::DES => unsupported.push("DES".to_owned()),
                    _ => {}
                }
            }
            if let Some(Value::Is(number)) = transform.authentication {
                match IpsecAuth(number) {
                    IpsecAuth::HMAC_MD5 => weak.push(IpsecAuth::HMAC_MD5.to_string()),
                    method @ (IpsecAuth::DES_MAC | IpsecAuth::KPDK) => {
                        unsupported.push(method.to_string())
                    }
                    _ => {}
                }
            }
            group_names(transform.group, &mut weak, &mut unsupported);
        }
    }
    weak.dedup();
    unsupported.dedup();
    (weak, unsupported)
}

/// What a system does with an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Refuses,
    /// Nobody has tried.
    NotMeasured,
    Accepts,
}

/// A system whose defaults were measured.
struct System {
    name: &'static str,
    phase1: fn(&Phase1Transform) -> Verdict,
    suite: fn(&Suite) -> Verdict,
}

const SYSTEMS: [System; 2] = [
    System {
        name: "strongSwan 5.9",
        phase1: strongswan_phase1,
        suite: strongswan_suite,
    },
    System {
        name: "libreswan 4.10",
        phase1: libreswan_phase1,
        suite: libreswan_suite,
    },
];

fn strongswan_phase1(transform: &Phase1Transform) -> Verdict {
    let Some(Value::Is(group)) = transform.group else {
        return Verdict::NotMeasured;
    };
    if !is(transform.encryption, IkeEncryption::AES_CBC.0) || matches!(group, 1 | 2 | 5 | 25 | 26) {
        return Verdict::Refuses;
    }
    let hash = is(transform.hash, IkeHash::SHA.0) && group == 14;
    let sha2 = is(transform.hash, IkeHash::SHA2_256.0) && matches!(group, 14 | 15 | 16 | 19 | 28);
    let long = is(transform.hash, IkeHash::SHA2_384.0) || is(transform.hash, IkeHash::SHA2_512.0);
    if hash || sha2 || (long && group == 14) {
        Verdict::Accepts
    } else {
        Verdict::NotMeasured
    }
}

fn libreswan_phase1(transform: &Phase1Transform) -> Verdict {
    let Some(Value::Is(group)) = transform.group else {
        return Verdict::NotMeasured;
    };
    let aes = is(transform.encryption, IkeEncryption::AES_CBC.0);
    let sha = is(transform.hash, IkeHash::SHA.0);
    let sha2 = is(transform.hash, IkeHash::SHA2_256.0);
    match group {
        1 | 2 => Verdict::Refuses,
        5 if aes && sha => Verdict::Accepts,
        14 if (aes && sha2) || (is(transform.encryption, IkeEncryption::DES3_CBC.0) && sha) => {
            Verdict::Accepts
        }
        19 if aes && sha2 => Verdict::Accepts,
        _ => Verdict::NotMeasured,
    }
}

fn has_pfs(suite: &Suite) -> bool {
    suite
        .protocols
        .iter()
        .flat_map(|protocol| &protocol.transforms)
        .any(|transform| transform.group.is_some())
}

fn strongswan_suite(suite: &Suite) -> Verdict {
    let is_ah = suite
        .protocols
        .iter()
        .any(|protocol| protocol.protocol == Protocol::AH.0);
    if is_ah || has_pfs(suite) {
        return Verdict::Refuses;
    }
    let accepted = suite
        .protocols
        .iter()
        .flat_map(|protocol| &protocol.transforms)
        .all(|transform| match EspTransform(transform.id) {
            EspTransform::AES_GCM_16 => true,
            EspTransform::AES => matches!(
                transform.authentication,
                Some(Value::Is(number)) if (2..=7).contains(&number) && number != 3 && number != 4
            ),
            _ => false,
        });
    if accepted {
        Verdict::Accepts
    } else {
        Verdict::NotMeasured
    }
}

fn libreswan_suite(suite: &Suite) -> Verdict {
    let mut groups = suite
        .protocols
        .iter()
        .flat_map(|protocol| &protocol.transforms)
        .map(|transform| transform.group);
    if !has_pfs(suite) || groups.any(|group| is(group, 1) || is(group, 2)) {
        return Verdict::Refuses;
    }
    Verdict::NotMeasured
}

fn refusing(verdict: impl Fn(&System) -> Option<Verdict>) -> Vec<&'static str> {
    SYSTEMS
        .iter()
        .filter(|system| verdict(system) == Some(Verdict::Refuses))
        .map(|system| system.name)
        .collect()
}

/// The systems that refuse all of these transforms.
pub(super) fn refusing_phase1(transforms: &[Phase1Transform]) -> Vec<&'static str> {
    refusing(|system| transforms.iter().map(system.phase1).max())
}

/// The systems that refuse all of these suites.
pub(super) fn refusing_suites(suites: &[Suite]) -> Vec<&'static str> {
    refusing(|system| suites.iter().map(system.suite).max())
}
