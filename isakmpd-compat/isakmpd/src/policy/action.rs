//! The action attributes of a Quick Mode proposal (isakmpd-policy 4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use ike::policy::Question;
use ike::sa::Selector;
use isakmp_proto::identity::Identity;
use isakmp_proto::number::{
    AhTransform, Encapsulation, EspTransform, IpcompTransform, IpsecAttribute, IpsecAuth, LifeType,
    Protocol,
};
use isakmp_proto::sa::{Proposal, Transform};
use kx_sys::local_time::LocalTime;

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name in the policy.
    pub name: &'static str,
    /// Its value.
    pub value: Vec<u8>,
    /// Whether the original's debug log lists it.
    pub logged: bool,
}

/// The date and time of a question, YYYYMMDDHHmmSS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeOfDay {
    /// `GMTTimeOfDay`
    pub gmt: String,
    /// `LocalTimeOfDay`
    pub local: String,
}

impl TimeOfDay {
    /// Now.
    #[must_use]
    pub fn now() -> TimeOfDay {
        let now = SystemTime::now();
        let local = LocalTime::at(now);
        let seconds = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
        TimeOfDay {
            gmt: gmt(seconds),
            local: format!(
                "{:04}{:02}{:02}{:02}{:02}{:02}",
                local.year, local.month, local.day, local.hour, local.minute, local.second
            ),
        }
    }
}

/// The 14 digits of a moment, given as seconds since 1970.
#[must_use]
pub fn gmt(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1 March of the year 0, in years that begin in March: the leap day is the last of a year.
    let days = days.saturating_add(719_468);
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}{month:02}{day:02}{:02}{:02}{:02}",
        era.saturating_mul(400).saturating_add(year + next),
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// What a transform of one protocol says.
#[derive(Default)]
struct ProtocolFacts {
    present: bool,
    life_seconds: String,
    life_kbytes: String,
    encapsulation: &'static str,
    key_length: String,
    key_rounds: String,
    group_desc: String,
    ecn: bool,
    auth_alg: &'static str,
    dict_size: String,
    private_alg: String,
    /// Transform ID.
    id: u8,
}

impl ProtocolFacts {
    fn of(suite: &[Proposal], protocol: Protocol) -> ProtocolFacts {
        let mut facts = ProtocolFacts::default();
        for proposal in suite
            .iter()
            .filter(|proposal| proposal.protocol == protocol)
        {
            facts.present = true;
            if let Some(transform) = proposal.transforms.first() {
                facts.add(transform);
            }
        }
        facts
    }

    fn add(&mut self, transform: &Transform) {
        self.id = transform.id;
        let mut life_type = 0;
        for attribute in &transform.attributes {
            let Some(number) = attribute.as_number() else {
                continue;
            };
            let text = number.to_string();
            match IpsecAttribute(attribute.ty) {
                IpsecAttribute::SA_LIFE_TYPE => life_type = number,
                IpsecAttribute::SA_LIFE_DURATION if life_type == LifeType::SECONDS.0.into() => {
                    self.life_seconds = text;
                }
                IpsecAttribute::SA_LIFE_DURATION => self.life_kbytes = text,
                IpsecAttribute::GROUP_DESCRIPTION => self.group_desc = text,
                IpsecAttribute::ECN_TUNNEL => self.ecn = number != 0,
                IpsecAttribute::ENCAPSULATION_MODE => self.encapsulation = encapsulation(number),
                IpsecAttribute::AUTHENTICATION_ALGORITHM => self.auth_alg = auth_alg(number),
                IpsecAttribute::KEY_LENGTH => self.key_length = text,
                IpsecAttribute::KEY_ROUNDS => self.key_rounds = text,
                IpsecAttribute::COMPRESS_DICTIONARY_SIZE => self.dict_size = text,
                IpsecAttribute::COMPRESS_PRIVATE_ALGORITHM => self.private_alg = text,
                _ => {}
            }
        }
    }
}

fn encapsulation(number: u32) -> &'static str {
    match u16::try_from(number).map(Encapsulation) {
        Ok(Encapsulation::TUNNEL) => "tunnel",
        Ok(Encapsulation::UDP_ENCAP_TUNNEL | Encapsulation::UDP_ENCAP_TUNNEL_DRAFT) => {
            "udp-encap-tunnel"
        }
        _ => "transport",
    }
}

fn auth_alg(number: u32) -> &'static str {
    match u16::try_from(number).map(IpsecAuth) {
        Ok(IpsecAuth::HMAC_MD5) => "hmac-md5",
        Ok(IpsecAuth::HMAC_SHA) => "hmac-sha",
        Ok(IpsecAuth::DES_MAC) => "des-mac",
        Ok(IpsecAuth::KPDK) => "kpdk",
        Ok(IpsecAuth::HMAC_SHA2_256) => "hmac-sha2-256",
        Ok(IpsecAuth::HMAC_SHA2_384) => "hmac-sha2-384",
        Ok(IpsecAuth::HMAC_SHA2_512) => "hmac-sha2-512",
        Ok(IpsecAuth::HMAC_RIPEMD) => "hmac-ripemd",
        _ => "",
    }
}

fn ah_hash_alg(id: u8) -> &'static str {
    match AhTransform(id) {
        AhTransform::MD5 => "md5",
        AhTransform::SHA => "sha",
        AhTransform::RIPEMD => "ripemd",
        AhTransform::DES => "des",
        AhTransform::SHA2_256 => "sha2-256",
        AhTransform::SHA2_384 => "sha2-384",
        AhTransform::SHA2_512 => "sha2-512",
        _ => "",
    }
}

fn esp_enc_alg(id: u8) -> &'static str {
    match EspTransform(id) {
        EspTransform::DES_IV64 => "des-iv64",
        EspTransform::DES => "des",
        EspTransform::DES3 => "3des",
        EspTransform::RC5 => "rc5",
        EspTransform::IDEA => "idea",
        EspTransform::CAST => "cast",
        EspTransform::BLOWFISH => "blowfish",
        EspTransform::IDEA3 => "3idea",
        EspTransform::DES_IV32 => "des-iv32",
        EspTransform::RC4 => "rc4",
        EspTransform::NULL => "null",
        EspTransform::AES
        | EspTransform::AES_CTR
        | EspTransform::AES_GCM_16
        | EspTransform::AES_GMAC => "aes",
        _ => "",
    }
}

fn comp_alg(id: u8) -> &'static str {
    match IpcompTransform(id) {
        IpcompTransform::OUI => "oui",
        IpcompTransform::DEFLATE => "deflate",
        IpcompTransform::LZS => "lzs",
        IpcompTransform::V42BIS => "v42bis",
        _ => "",
    }
}

/// What an identity says.
#[derive(Default)]
struct IdentityFacts {
    kind: &'static str,
    lower: String,
    upper: String,
    text: Vec<u8>,
}

impl IdentityFacts {
    fn of(identity: &Identity) -> IdentityFacts {
        match identity {
            Identity::Address(IpAddr::V4(address)) => Self::address("IPv4 address", v4(*address)),
            Identity::Address(IpAddr::V6(address)) => Self::address("IPv6 address", v6(*address)),
            Identity::Ipv4Subnet(network, mask) => {
                let (network, mask) = (u32::from(*network), u32::from(*mask));
                let (lower, upper) = (network & mask, network & mask | !mask);
                Self::range("IPv4 subnet", v4(lower.into()), v4(upper.into()))
            }
            Identity::Ipv6Subnet(network, mask) => {
                let (network, mask) = (u128::from(*network), u128::from(*mask));
                let (lower, upper) = (network & mask, network & mask | !mask);
                Self::range("IPv6 subnet", v6(lower.into()), v6(upper.into()))
            }
            Identity::Ipv4Range(lower, upper) => Self::range("IPv4 range", v4(*lower), v4(*upper)),
            Identity::Ipv6Range(lower, upper) => Self::range("IPv6 range", v6(*lower), v6(*upper)),
            Identity::Fqdn(name) => Self::name("FQDN", before_nul(name)),
            Identity::UserFqdn(name) => Self::name("User FQDN", before_nul(name)),
            Identity::Dn(_) => {
                // What cannot be read is no name.
                let readable = identity.prefixed_text().is_some();
                let text = if readable {
                    identity.to_string()
                } else {
                    String::new()
                };
                Self::name("ASN1 DN", text.into_bytes())
            }
            Identity::GeneralName(_) => Self::name("ASN1 GN", Vec::new()),
            Identity::KeyId(octets) => {
                let text = if octets.iter().all(|octet| (0x20..0x7f).contains(octet)) {
                    octets.clone()
                } else {
                    keynote::hex_digits(octets).into_bytes()
                };
                Self::name("Key ID", text)
            }
        }
    }

    fn address(kind: &'static str, address: String) -> IdentityFacts {
        IdentityFacts {
            kind,
            text: address.clone().into_bytes(),
            lower: address.clone(),
            upper: address,
        }
    }

    fn range(kind: &'static str, lower: String, upper: String) -> IdentityFacts {
        IdentityFacts {
            kind,
            text: format!("{lower}-{upper}").into_bytes(),
            lower,
            upper,
        }
    }

    fn name(kind: &'static str, text: Vec<u8>) -> IdentityFacts {
        IdentityFacts {
            kind,
            text,
            ..IdentityFacts::default()
        }
    }
}

/// Names are C strings to the original.
fn before_nul(octets: &[u8]) -> Vec<u8> {
    octets
        .split(|octet| *octet == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}

/// Three digits a part.
fn v4(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{a:03}.{b:03}.{c:03}.{d:03}")
}

/// Four lower-case digits a group.
fn v6(address: Ipv6Addr) -> String {
    let groups = address.segments().map(|group| format!("{group:04x}"));
    groups.join(":")
}

fn address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

/// An IP protocol as attributes name it.
fn protocol(number: u8) -> String {
    match number {
        6 => "tcp".into(),
        17 => "udp".into(),
        97 => "etherip".into(),
        other => other.to_string(),
    }
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// Octets as a log line shows them.
#[must_use]
pub fn printable(octets: &[u8]) -> String {
    octets
        .iter()
        .map(|octet| match octet {
            0x20..0x7f => char::from(*octet).to_string(),
            other => format!("\\x{other:02x}"),
        })
        .collect()
}

/// All attributes, those that the original logs first and in its order.
#[must_use]
pub fn attributes(question: &Question<'_>, time: &TimeOfDay) -> Vec<Attribute> {
    let mut list = List::default();
    list.protocols(question.suite);
    list.filter(&REMOTE_FILTER, question.remote_filter);
    list.filter(&LOCAL_FILTER, question.local_filter);
    list.filter(&REMOTE_ID, question.remote_id);
    let (remote, local) = (address(question.remote.ip()), address(question.local.ip()));
    list.add("remote_negotiation_address", &remote);
    list.add("local_negotiation_address", &local);
    list.add("pfs", yes(question.group != 0));
    list.add("initiator", yes(question.initiator));
    list.add("phase1_group_desc", question.phase1.group.to_string());
    list.logged = false;
    list.add("app_domain", "IPsec policy");
    list.add("doi", "ipsec");
    list.add(
        "phase_1",
        if question.aggressive {
            "aggressive"
        } else {
            "main"
        },
    );
    list.add("remote_ike_address", &remote);
    list.add("local_ike_address", &local);
    list.add("GMTTimeOfDay", &time.gmt);
    list.add("LocalTimeOfDay", &time.local);
    list.attributes
}

/// Names of the attributes of an identity, in the order of the log: type, upper and lower address, text,
/// port, protocol.
type IdentityNames = [&'static str; 6];

const REMOTE_FILTER: IdentityNames = [
    "remote_filter_type",
    "remote_filter_addr_upper",
    "remote_filter_addr_lower",
    "remote_filter",
    "remote_filter_port",
    "remote_filter_proto",
];
const LOCAL_FILTER: IdentityNames = [
    "local_filter_type",
    "local_filter_addr_upper",
    "local_filter_addr_lower",
    "local_filter",
    "local_filter_port",
    "local_filter_proto",
];
const REMOTE_ID: IdentityNames = [
    "remote_id_type",
    "remote_id_addr_upper",
    "remote_id_addr_lower",
    "remote_id",
    "remote_id_port",
    "remote_id_proto",
];

struct List {
    attributes: Vec<Attribute>,
    logged: bool,
}

impl Default for List {
    fn default() -> List {
        List {
            attributes: Vec::new(),
            logged: true,
        }
    }
}

impl List {
    fn add(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        self.attributes.push(Attribute {
            name,
            value: value.as_ref().to_vec(),
            logged: self.logged,
        });
    }

    fn protocols(&mut self, suite: &[Proposal]) {
        let ah = ProtocolFacts::of(suite, Protocol::AH);
        let esp = ProtocolFacts::of(suite, Protocol::ESP);
        let comp = ProtocolFacts::of(suite, Protocol::IPCOMP);
        self.add("esp_present", yes(esp.present));
        self.add("ah_present", yes(ah.present));
        self.add("comp_present", yes(comp.present));
        self.add("ah_hash_alg", ah_hash_alg(ah.id));
        self.add("esp_enc_alg", esp_enc_alg(esp.id));
        self.add("comp_alg", comp_alg(comp.id));
        self.add("ah_auth_alg", ah.auth_alg);
        self.add("esp_auth_alg", esp.auth_alg);
        self.add("ah_life_seconds", &ah.life_seconds);
        self.add("ah_life_kbytes", &ah.life_kbytes);
        self.add("esp_life_seconds", &esp.life_seconds);
        self.add("esp_life_kbytes", &esp.life_kbytes);
        self.add("comp_life_seconds", &comp.life_seconds);
        self.add("comp_life_kbytes", &comp.life_kbytes);
        self.add("ah_encapsulation", ah.encapsulation);
        self.add("esp_encapsulation", esp.encapsulation);
        self.add("comp_encapsulation", comp.encapsulation);
        self.add("comp_dict_size", &comp.dict_size);
        self.add("comp_private_alg", &comp.private_alg);
        self.add("ah_key_length", &ah.key_length);
        self.add("ah_key_rounds", &ah.key_rounds);
        self.add("esp_key_length", &esp.key_length);
        self.add("esp_key_rounds", &esp.key_rounds);
        self.add("ah_group_desc", &ah.group_desc);
        self.add("esp_group_desc", &esp.group_desc);
        self.add("comp_group_desc", &comp.group_desc);
        self.add("ah_ecn", yes(ah.ecn));
        self.add("esp_ecn", yes(esp.ecn));
        self.add("comp_ecn", yes(comp.ecn));
    }

    fn filter(&mut self, names: &IdentityNames, selector: &Selector) {
        let facts = IdentityFacts::of(&selector.identity);
        let [kind, upper, lower, text, port, proto] = *names;
        self.add(kind, facts.kind);
        self.add(upper, &facts.upper);
        self.add(lower, &facts.lower);
        self.add(text, &facts.text);
        self.add(port, selector.port.to_string());
        self.add(proto, protocol(selector.protocol));
    }
}

#[cfg(test)]
mod tests {
    use isakmp_proto::identity::Identity;

    use super::{IdentityFacts, gmt, printable, protocol};

    #[test]
    fn moments() {
        for (seconds, text) in [
            (0, "19700101000000"),
            (951_782_399, "20000228235959"),
            (951_782_400, "20000229000000"),
            (951_868_800, "20000301000000"),
            (1_078_012_800, "20040229000000"),
            (1_735_689_599, "20241231235959"),
            (1_735_689_600, "20250101000000"),
            (4_107_542_400, "21000301000000"),
            (-1, "19691231235959"),
        ] {
            assert_eq!(gmt(seconds), text);
        }
    }

    #[test]
    fn identities() {
        let text = |identity: Identity| {
            let facts = IdentityFacts::of(&identity);
            let text = String::from_utf8(facts.text).unwrap();
            format!("{}|{}|{}|{text}", facts.kind, facts.lower, facts.upper)
        };
        let v4 = |text: &str| text.parse().unwrap();
        let v6 = |text: &str| text.parse().unwrap();
        for (identity, expected) in [
            (
                Identity::Address("10.77.0.1".parse().unwrap()),
                "IPv4 address|010.077.000.001|010.077.000.001|010.077.000.001",
            ),
            (
                Identity::Address("fd00::A1".parse().unwrap()),
                "IPv6 address|fd00:0000:0000:0000:0000:0000:0000:00a1|\
                 fd00:0000:0000:0000:0000:0000:0000:00a1|fd00:0000:0000:0000:0000:0000:0000:00a1",
            ),
            (
                Identity::Ipv4Subnet(v4("192.168.1.77"), v4("255.255.255.0")),
                "IPv4 subnet|192.168.001.000|192.168.001.255|192.168.001.000-192.168.001.255",
            ),
            (
                Identity::Ipv6Subnet(v6("fd00::5"), v6("ffff::")),
                "IPv6 subnet|fd00:0000:0000:0000:0000:0000:0000:0000|\
                 fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff|fd00:0000:0000:0000:0000:0000:0000:0000-\
                 fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            ),
            (
                Identity::Ipv4Range(v4("1.2.3.4"), v4("1.2.3.5")),
                "IPv4 range|001.002.003.004|001.002.003.005|001.002.003.004-001.002.003.005",
            ),
            (
                Identity::Fqdn(b"gw.example\0x".to_vec()),
                "FQDN|||gw.example",
            ),
            (Identity::UserFqdn(b"u@x".to_vec()), "User FQDN|||u@x"),
            (Identity::KeyId(b"plain".to_vec()), "Key ID|||plain"),
            (Identity::KeyId(b"\x01\xabz".to_vec()), "Key ID|||01ab7a"),
            (Identity::GeneralName(b"x".to_vec()), "ASN1 GN|||"),
            (Identity::Dn(b"junk".to_vec()), "ASN1 DN|||"),
        ] {
            assert_eq!(text(identity), expected);
        }
        assert_eq!(
            [6, 17, 97, 0, 50].map(protocol),
            ["tcp", "udp", "etherip", "0", "50"]
        );
        assert_eq!(printable(b"a\n\xe9"), "a\\x0a\\xe9");
    }
}
