//! The extensions that the rules look at (RFC 5280 section 4.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::constraints::{NameConstraints, uri};
use crate::der::{Reader, tag, to_int64};
use crate::error::ParseError;
use crate::oid::Oid;

/// An extension as it stands in the certificate.
#[derive(Debug, Clone)]
pub(crate) struct Extension<'a> {
    pub(crate) oid: &'a [u8],
    pub(crate) critical: bool,
    pub(crate) value: &'a [u8],
}

/// What the extensions of one certificate say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extensions {
    /// Bit n is bit n of KeyUsage; 0 also when there is none.
    pub(crate) key_usage: u16,
    pub(crate) basic_constraints: Option<BasicConstraints>,
    pub(crate) alternative_names: Option<AlternativeNames>,
    pub(crate) name_constraints: Option<NameConstraints>,
    pub(crate) subject_key_id: Vec<u8>,
    pub(crate) authority_key_id: Vec<u8>,
    pub(crate) extended_key_usages: Vec<Oid>,
    pub(crate) policies: Vec<Oid>,
    pub(crate) policy_mappings: Vec<(Oid, Oid)>,
    pub(crate) require_explicit_policy: Option<i64>,
    pub(crate) inhibit_policy_mapping: Option<i64>,
    pub(crate) inhibit_any_policy: Option<i64>,
    pub(crate) unhandled_critical: Vec<Oid>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct BasicConstraints {
    pub(crate) is_ca: bool,
    /// `None` without a limit.
    pub(crate) path_length: Option<i64>,
}

/// Subject alternative names of the kinds known, and the extension's value for comparisons.
#[derive(Debug, Clone, Default)]
pub(crate) struct AlternativeNames {
    pub(crate) value: Vec<u8>,
    /// In the order of the certificate, since name constraints are checked in it.
    pub(crate) names: Vec<AlternativeName>,
    pub(crate) dns: Vec<String>,
    pub(crate) ip: Vec<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AlternativeName {
    Email(String),
    Dns(usize),
    Ip(usize),
    /// The text and its host part.
    Uri {
        text: String,
        host: String,
    },
}

/// Bit of KeyUsage that lets a key sign certificates.
pub(crate) const KEY_CERT_SIGN: u16 = 1 << 5;

/// id-ce without its last arc.
const ID_CE: [u8; 2] = [0x55, 29];
const AUTHORITY_INFO_ACCESS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];

impl<'a> Extension<'a> {
    pub(crate) fn parse(mut inside: Reader<'a>) -> Result<Self, ParseError> {
        let oid = inside
            .oid()
            .ok_or(ParseError::Malformed("extension OID field"))?;
        let mut critical = false;
        if inside.peek(tag::BOOLEAN) {
            critical = inside
                .boolean()
                .ok_or(ParseError::Malformed("extension critical field"))?;
        }
        let value = inside
            .content(tag::OCTET_STRING)
            .ok_or(ParseError::Malformed("extension value field"))?;
        Ok(Extension {
            oid,
            critical,
            value,
        })
    }
}

impl Extensions {
    /// Reads all of them, in order; the first error counts.
    pub(crate) fn parse(extensions: &[Extension<'_>]) -> Result<Self, ParseError> {
        let mut all = Extensions::default();
        for extension in extensions {
            let handled = all.add(extension)?;
            if extension.critical && !handled {
                all.unhandled_critical
                    .push(Oid::from_checked(extension.oid));
            }
        }
        Ok(all)
    }

    /// Reads one; the answer says whether its whole meaning is understood.
    fn add(&mut self, extension: &Extension<'_>) -> Result<bool, ParseError> {
        let value = Reader::new(extension.value);
        let arc = match extension.oid {
            [a, b, arc] if [*a, *b] == ID_CE => *arc,
            AUTHORITY_INFO_ACCESS => {
                if extension.critical {
                    return Err(ParseError::MarkedCritical("authority info access"));
                }
                let invalid = ParseError::Invalid("authority info access");
                authority_info_access(value).ok_or(invalid)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        let mut value = value;
        match arc {
            14 => {
                if extension.critical {
                    return Err(ParseError::MarkedCritical("subject key identifier"));
                }
                let id = value.content(tag::OCTET_STRING);
                let id = id.ok_or(ParseError::Invalid("subject key identifier"))?;
                self.subject_key_id = id.to_vec();
            }
            15 => {
                let bits = value.bit_string().ok_or(ParseError::Invalid("key usage"))?;
                self.key_usage = (0..9)
                    .filter(|&n| bits.bit(n))
                    .fold(0, |usage, n| usage | 1 << n);
            }
            17 => {
                let names = AlternativeNames::parse(extension.value)?;
                let understood = !names.names.is_empty();
                self.alternative_names = Some(names);
                return Ok(understood);
            }
            19 => {
                let invalid = ParseError::Invalid("basic constraints");
                self.basic_constraints = Some(basic_constraints(value).ok_or(invalid)?);
            }
            30 => {
                let (constraints, understood) = NameConstraints::parse(extension.value)?;
                self.name_constraints = Some(constraints);
                return Ok(understood);
            }
            31 => distribution_points(value)?,
            32 => {
                let invalid = ParseError::Invalid("certificate policies");
                self.policies = policies(value).ok_or(invalid)?;
            }
            33 => {
                let invalid = ParseError::Invalid("policy mappings extension");
                self.policy_mappings = policy_mappings(value).ok_or(invalid)?;
            }
            35 => {
                if extension.critical {
                    return Err(ParseError::MarkedCritical("authority key identifier"));
                }
                let invalid = ParseError::Invalid("authority key identifier");
                let id = value
                    .inside(tag::SEQUENCE)
                    .and_then(|mut inside| inside.optional(tag::context(0)))
                    .ok_or(invalid)?;
                self.authority_key_id = id.unwrap_or_default().to_vec();
            }
            36 => {
                let invalid = ParseError::Invalid("policy constraints extension");
                let (explicit, mapping) = policy_constraints(value).ok_or(invalid)?;
                self.require_explicit_policy = explicit;
                self.inhibit_policy_mapping = mapping;
            }
            37 => {
                let invalid = ParseError::Invalid("extended key usages");
                self.extended_key_usages = key_purposes(value).ok_or(invalid)?;
            }
            54 => {
                let skip = value.int64();
                self.inhibit_any_policy =
                    Some(skip.ok_or(ParseError::Invalid("inhibit any policy extension"))?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn basic_constraints(mut value: Reader<'_>) -> Option<BasicConstraints> {
    let mut inside = value.inside(tag::SEQUENCE)?;
    let is_ca = if inside.peek(tag::BOOLEAN) {
        inside.boolean()?
    } else {
        false
    };
    let path_length = if inside.peek(tag::INTEGER) {
        Some(inside.int64()?)
    } else {
        None
    };
    // A negative limit is taken for none.
    Some(BasicConstraints {
        is_ca,
        path_length: path_length.filter(|&limit| limit >= 0),
    })
}

impl AlternativeNames {
    fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let mut all = AlternativeNames {
            value: value.to_vec(),
            ..Default::default()
        };
        let mut inside = Reader::new(value)
            .inside(tag::SEQUENCE)
            .ok_or(ParseError::Invalid("subject alternative names"))?;
        let ascii = |content: &[u8], what| match std::str::from_utf8(content) {
            Ok(text) if text.is_ascii() => Ok(text.to_owned()),
            _ => Err(ParseError::MalformedSan(what)),
        };
        while !inside.is_empty() {
            let name = inside
                .any()
                .ok_or(ParseError::Invalid("subject alternative name"))?;
            // GeneralName (RFC 5280 section 4.2.1.6); kinds not listed are passed over.
            match name.tag ^ 0x80 {
                1 => all
                    .names
                    .push(AlternativeName::Email(ascii(name.content, "rfc822Name")?)),
                2 => {
                    all.names.push(AlternativeName::Dns(all.dns.len()));
                    all.dns.push(ascii(name.content, "dNSName")?);
                }
                6 => {
                    let text = ascii(name.content, "uniformResourceIdentifier")?;
                    match uri::host(&text) {
                        Ok(host) => {
                            let host = host.to_owned();
                            all.names.push(AlternativeName::Uri { text, host });
                        }
                        Err(reason) => return Err(ParseError::Uri { uri: text, reason }),
                    }
                }
                7 => {
                    all.names.push(AlternativeName::Ip(all.ip.len()));
                    let length = ParseError::IpAddressLength(name.content.len());
                    all.ip.push(address(name.content).ok_or(length)?);
                }
                _ => {}
            }
        }
        Ok(all)
    }
}

/// An address of 4 or 16 octets.
pub(crate) fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::V4(Ipv4Addr::from(four)));
    }
    <[u8; 16]>::try_from(octets)
        .ok()
        .map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
}

fn key_purposes(mut value: Reader<'_>) -> Option<Vec<Oid>> {
    let mut inside = value.inside(tag::SEQUENCE)?;
    let mut purposes = Vec::new();
    while !inside.is_empty() {
        purposes.push(Oid::from_checked(inside.oid()?));
    }
    Some(purposes)
}

fn policies(mut value: Reader<'_>) -> Option<Vec<Oid>> {
    let mut inside = value.inside(tag::SEQUENCE)?;
    let mut policies = Vec::new();
    let mut seen = std::collections::HashSet::new();
    while !inside.is_empty() {
        let policy = policy_oid(&mut inside.inside(tag::SEQUENCE)?)?;
        if !seen.insert(policy.clone()) {
            return None;
        }
        policies.push(policy);
    }
    Some(policies)
}

/// Policies may have arcs of any size, so only the shape is checked.
fn policy_oid(inside: &mut Reader<'_>) -> Option<Oid> {
    let octets = inside.content(tag::OBJECT_IDENTIFIER)?;
    let mut fresh = true;
    for &octet in octets {
        if fresh && octet == 0x80 {
            return None;
        }
        fresh = octet & 0x80 == 0;
    }
    (fresh && !octets.is_empty()).then(|| Oid::from_checked(octets))
}

fn policy_mappings(mut value: Reader<'_>) -> Option<Vec<(Oid, Oid)>> {
    let mut inside = value.inside(tag::SEQUENCE)?;
    let mut mappings = Vec::new();
    while !inside.is_empty() {
        let mut pair = inside.inside(tag::SEQUENCE)?;
        let issuer = pair.content(tag::OBJECT_IDENTIFIER)?;
        let subject = pair.content(tag::OBJECT_IDENTIFIER)?;
        mappings.push((Oid::from_checked(issuer), Oid::from_checked(subject)));
    }
    Some(mappings)
}

fn policy_constraints(mut value: Reader<'_>) -> Option<(Option<i64>, Option<i64>)> {
    let mut inside = value.inside(tag::SEQUENCE)?;
    let mut limit = |n| {
        if !inside.peek(tag::context(n)) {
            return Some(None);
        }
        let number = to_int64(inside.integer_tagged(tag::context(n))?)?;
        Some(Some(number).filter(|&number| number >= 0))
    };
    Some((limit(0)?, limit(1)?))
}

/// Only the shape is checked; revocation lists are not fetched.
fn distribution_points(mut value: Reader<'_>) -> Result<(), ParseError> {
    let many = ParseError::Invalid("CRL distribution points");
    let mut points = value.inside(tag::SEQUENCE).ok_or(many)?;
    let point = |points: &mut Reader<'_>| {
        let mut point = points.inside(tag::SEQUENCE)?;
        let Some(name) = point.optional(tag::context_constructed(0))? else {
            return Some(());
        };
        let mut names = Reader::new(name).inside(tag::context_constructed(0))?;
        while names.peek(tag::context(6)) {
            names.any()?;
        }
        Some(())
    };
    while !points.is_empty() {
        point(&mut points).ok_or(ParseError::Invalid("CRL distribution point"))?;
    }
    Ok(())
}

/// Only the shape is checked.
fn authority_info_access(mut value: Reader<'_>) -> Option<()> {
    let mut inside = value.inside(tag::SEQUENCE)?;
    while !inside.is_empty() {
        let mut description = inside.inside(tag::SEQUENCE)?;
        description.oid()?;
        if description.peek(tag::context(6)) {
            description.any()?;
        }
    }
    Some(())
}
