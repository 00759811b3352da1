//! X.509 certificates, refused as strictly as Go's `crypto/x509` refuses them (kxd spec 4.1).

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, FixedOffset};

use crate::algorithm::{AlgorithmIdentifier, CertificateSignature, PublicKeyKind};
use crate::der::{Reader, tag};
use crate::error::ParseError;
use crate::extensions::{Extension, Extensions};
use crate::name::{Name, push_hex};
use crate::oid::Oid;

/// A certificate that was parsed. Clones share one allocation.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    der: Vec<u8>,
    signed_part: Range<usize>,
    raw_issuer: Range<usize>,
    raw_subject: Range<usize>,
    public_key_info: Range<usize>,
    version: u8,
    serial: Vec<u8>,
    signature_algorithm: CertificateSignature,
    issuer: Name,
    subject: Name,
    not_before: DateTime<FixedOffset>,
    not_after: DateTime<FixedOffset>,
    public_key: PublicKeyKind,
    extensions: Extensions,
    signature: Vec<u8>,
}

impl PartialEq for Certificate {
    /// Octet for octet.
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Certificate {}

/// The longest serial number whose decimal form is worked out; the time for it grows with the
/// square.
const MAX_DECIMAL_SERIAL: usize = 128;

impl Certificate {
    /// Reads one certificate in DER. The signature is not checked.
    ///
    /// # Errors
    /// [`ParseError`], shown in the original's words.
    pub fn parse(der: &[u8]) -> Result<Certificate, ParseError> {
        use ParseError::Malformed;

        let mut outer = Reader::new(der);
        let whole = outer.whole(tag::SEQUENCE).ok_or(Malformed("certificate"))?;
        let has_trailer = !outer.is_empty();
        let mut outer = Reader::new(whole)
            .inside(tag::SEQUENCE)
            .ok_or(Malformed("certificate"))?;
        let signed = outer
            .whole(tag::SEQUENCE)
            .ok_or(Malformed("tbs certificate"))?;
        let mut tbs = Reader::new(signed)
            .inside(tag::SEQUENCE)
            .ok_or(Malformed("tbs certificate"))?;

        let version = version(&mut tbs)?;
        let serial = tbs.integer().ok_or(Malformed("serial number"))?;

        let inner_algorithm = tbs
            .content(tag::SEQUENCE)
            .ok_or(Malformed("signature algorithm identifier"))?;
        let outer_algorithm = outer
            .content(tag::SEQUENCE)
            .ok_or(Malformed("algorithm identifier"))?;
        if inner_algorithm != outer_algorithm {
            return Err(ParseError::AlgorithmMismatch);
        }
        let algorithm =
            AlgorithmIdentifier::parse(Reader::new(inner_algorithm)).map_err(Malformed)?;

        let raw_issuer = tbs.whole(tag::SEQUENCE).ok_or(Malformed("issuer"))?;
        let issuer = Name::parse(raw_issuer)?;
        let mut validity = tbs.inside(tag::SEQUENCE).ok_or(Malformed("validity"))?;
        let not_before = time(&mut validity)?;
        let not_after = time(&mut validity)?;
        // The original says "issuer" here as well.
        let raw_subject = tbs.whole(tag::SEQUENCE).ok_or(Malformed("issuer"))?;
        let subject = Name::parse(raw_subject)?;

        let public_key_info = tbs.whole(tag::SEQUENCE).ok_or(Malformed("spki"))?;
        let public_key = public_key(public_key_info)?;
        let extensions = extensions(version, &mut tbs)?;
        let signature = outer
            .bit_string()
            .ok_or(Malformed("signature"))?
            .right_aligned();
        if has_trailer {
            return Err(ParseError::TrailingData);
        }

        Ok(Certificate(Arc::new(Inner {
            signed_part: place(der, signed),
            raw_issuer: place(der, raw_issuer),
            raw_subject: place(der, raw_subject),
            public_key_info: place(der, public_key_info),
            der: der.to_vec(),
            version,
            serial: serial.to_vec(),
            signature_algorithm: CertificateSignature::from_identifier(&algorithm),
            issuer,
            subject,
            not_before,
            not_after,
            public_key,
            extensions,
            signature,
        })))
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.0.der.get(range.clone()).unwrap_or_default()
    }

    /// The whole certificate.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The part that is signed (TBSCertificate).
    #[must_use]
    pub fn signed_part(&self) -> &[u8] {
        self.part(&self.0.signed_part)
    }

    /// The signature's octets.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.0.signature
    }

    /// All of the signature in lower-case hex: CLIENT_CERT_SIGNATURE of kxd spec 5.
    #[must_use]
    pub fn signature_hex(&self) -> String {
        let mut text = String::with_capacity(2 * self.0.signature.len());
        push_hex(&mut text, &self.0.signature);
        text
    }

    /// At most the first `digits` digits of [`signature_hex`](Self::signature_hex).
    #[must_use]
    pub fn signature_prefix(&self, digits: usize) -> String {
        let octets = digits.div_ceil(2).min(self.0.signature.len());
        let mut text = String::new();
        push_hex(
            &mut text,
            self.0.signature.get(..octets).unwrap_or_default(),
        );
        text.truncate(digits);
        text
    }

    /// How log lines name a certificate: `(0xSIG SUBJECT)` of kxd spec 4.2.
    #[must_use]
    pub fn short(&self) -> String {
        format!("(0x{} {})", self.signature_prefix(8), self.subject_log())
    }

    /// SUBJECT of kxd spec 4.2. It can hold control characters.
    #[must_use]
    pub fn subject_log(&self) -> String {
        self.0.subject.log_text()
    }

    /// CLIENT_CERT_SUBJECT of kxd spec 5. It can hold control characters.
    #[must_use]
    pub fn subject_full(&self) -> String {
        self.0.subject.full_text()
    }

    /// The subject.
    #[must_use]
    pub fn subject(&self) -> &Name {
        &self.0.subject
    }

    /// The issuer.
    #[must_use]
    pub fn issuer(&self) -> &Name {
        &self.0.issuer
    }

    /// The subject's DER.
    #[must_use]
    pub fn raw_subject(&self) -> &[u8] {
        self.part(&self.0.raw_subject)
    }

    /// The issuer's DER.
    #[must_use]
    pub fn raw_issuer(&self) -> &[u8] {
        self.part(&self.0.raw_issuer)
    }

    /// The subject's last common name as octets; empty when there is none.
    #[must_use]
    pub fn common_name(&self) -> &[u8] {
        self.0.subject.common_name()
    }

    /// 1, 2 or 3.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0.version
    }

    /// The serial number in decimal, or in hex (`0x...`, two's complement) when it has more than
    /// 128 octets.
    #[must_use]
    pub fn serial_text(&self) -> String {
        decimal(&self.0.serial)
    }

    /// Start of the validity.
    #[must_use]
    pub fn not_before(&self) -> DateTime<FixedOffset> {
        self.0.not_before
    }

    /// End of the validity; this second still belongs to it.
    #[must_use]
    pub fn not_after(&self) -> DateTime<FixedOffset> {
        self.0.not_after
    }

    /// Whether the validity has ended.
    #[must_use]
    pub fn is_expired(&self, now: &DateTime<FixedOffset>) -> bool {
        *now > self.0.not_after
    }

    /// SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn public_key_info(&self) -> &[u8] {
        self.part(&self.0.public_key_info)
    }

    /// What kind of key is certified.
    #[must_use]
    pub fn public_key(&self) -> PublicKeyKind {
        self.0.public_key
    }

    /// How the certificate is signed.
    #[must_use]
    pub fn signature_algorithm(&self) -> CertificateSignature {
        self.0.signature_algorithm
    }

    /// Subject alternative names of type dNSName; all ASCII, but not otherwise checked.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        self.0
            .extensions
            .alternative_names
            .as_ref()
            .map_or(&[], |names| &names.dns)
    }

    /// Subject alternative names of type iPAddress.
    #[must_use]
    pub fn ip_addresses(&self) -> &[IpAddr] {
        self.0
            .extensions
            .alternative_names
            .as_ref()
            .map_or(&[], |names| &names.ip)
    }

    /// Whether there is a subjectAltName extension, however empty.
    #[must_use]
    pub fn has_alternative_names(&self) -> bool {
        self.0.extensions.alternative_names.is_some()
    }

    /// The extended key usages; empty when anything goes.
    #[must_use]
    pub fn extended_key_usages(&self) -> &[Oid] {
        &self.0.extensions.extended_key_usages
    }

    /// Critical extensions that no rule covers; with any of them the certificate is not to be used.
    #[must_use]
    pub fn unhandled_critical_extensions(&self) -> &[Oid] {
        &self.0.extensions.unhandled_critical
    }

    pub(crate) fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }
}

fn version(tbs: &mut Reader<'_>) -> Result<u8, ParseError> {
    let malformed = || ParseError::Malformed("version");
    let number = match tbs
        .optional(tag::context_constructed(0))
        .ok_or_else(malformed)?
    {
        None => 0,
        Some(content) => {
            let mut inside = Reader::new(content);
            let number = inside.int64().filter(|_| inside.is_empty());
            number.ok_or_else(malformed)?
        }
    };
    match number {
        0 => Ok(1),
        1 => Ok(2),
        2 => Ok(3),
        negative if negative < 0 => Err(malformed()),
        _ => Err(ParseError::InvalidVersion),
    }
}

fn time(validity: &mut Reader<'_>) -> Result<DateTime<FixedOffset>, ParseError> {
    if validity.peek(tag::UTC_TIME) {
        validity.utc_time().ok_or(ParseError::Malformed("UTCTime"))
    } else if validity.peek(tag::GENERALIZED_TIME) {
        validity
            .generalized_time()
            .ok_or(ParseError::Malformed("GeneralizedTime"))
    } else {
        Err(ParseError::UnsupportedTime)
    }
}

fn public_key(info: &[u8]) -> Result<PublicKeyKind, ParseError> {
    use ParseError::Malformed;
    let mut inside = Reader::new(info)
        .inside(tag::SEQUENCE)
        .ok_or(Malformed("spki"))?;
    let identifier = inside
        .inside(tag::SEQUENCE)
        .ok_or(Malformed("public key algorithm identifier"))?;
    let identifier = AlgorithmIdentifier::parse(identifier).map_err(Malformed)?;
    let key = inside.bit_string().ok_or(Malformed("subjectPublicKey"))?;
    PublicKeyKind::parse(&identifier, &key).map_err(ParseError::PublicKey)
}

/// What follows the public key, as far as the version allows it.
fn extensions(version: u8, tbs: &mut Reader<'_>) -> Result<Extensions, ParseError> {
    use ParseError::Malformed;
    if version > 1 {
        tbs.optional(tag::context(1))
            .ok_or(Malformed("issuerUniqueID"))?;
        tbs.optional(tag::context(2))
            .ok_or(Malformed("subjectUniqueID"))?;
    }
    if version < 3 {
        return Ok(Extensions::default());
    }
    let content = tbs
        .optional(tag::context_constructed(3))
        .ok_or(Malformed("extensions"))?;
    let Some(content) = content else {
        return Ok(Extensions::default());
    };
    let mut list = Reader::new(content)
        .inside(tag::SEQUENCE)
        .ok_or(Malformed("extensions"))?;
    let mut all: Vec<Extension<'_>> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    while !list.is_empty() {
        let extension = list.inside(tag::SEQUENCE).ok_or(Malformed("extension"))?;
        let extension = Extension::parse(extension)?;
        if !seen.insert(extension.oid) {
            let oid = Oid::from_checked(extension.oid).to_string();
            return Err(ParseError::DuplicateExtension(oid));
        }
        all.push(extension);
    }
    Extensions::parse(&all)
}

/// Where `part`, a piece of `whole`, stands in it.
fn place(whole: &[u8], part: &[u8]) -> Range<usize> {
    // Addresses are only compared, never followed; a piece from elsewhere would give an empty or
    // wrong range and no more.
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start.saturating_add(part.len())
}

/// A two's complement number in decimal.
fn decimal(number: &[u8]) -> String {
    if number.len() > MAX_DECIMAL_SERIAL {
        let mut text = String::from("0x");
        push_hex(&mut text, number);
        return text;
    }
    let negative = number.first().is_some_and(|octet| octet & 0x80 != 0);
    let mut magnitude = number.to_vec();
    if negative {
        let mut carry = true;
        for octet in magnitude.iter_mut().rev() {
            let (sum, overflow) = (!*octet).overflowing_add(u8::from(carry));
            (*octet, carry) = (sum, overflow);
        }
    }
    // Division by ten, digit after digit from the right.
    let mut digits = Vec::new();
    while magnitude.iter().any(|&octet| octet != 0) {
        let mut rest = 0u16;
        for octet in &mut magnitude {
            let value = rest << 8 | u16::from(*octet);
            *octet = u8::try_from(value / 10).unwrap_or(u8::MAX);
            rest = value % 10;
        }
        digits.push(char::from_digit(u32::from(rest), 10).unwrap_or('0'));
    }
    if digits.is_empty() {
        digits.push('0');
    }
    if negative {
        digits.push('-');
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn serial_numbers() {
        assert_eq!(decimal(&[0]), "0");
        assert_eq!(decimal(&[0xfb]), "-5");
        assert_eq!(decimal(&[0x80]), "-128");
        assert_eq!(decimal(&[0, 0x80]), "128");
        assert_eq!(
            decimal(&[1, 0, 0, 0, 0, 0, 0, 0, 0]),
            "18446744073709551616"
        );
        assert_eq!(decimal(&[0xff, 0]), "-256");
        let long = decimal(&[0x11; 129]);
        assert!(long.starts_with("0x1111") && long.len() == 2 + 2 * 129);
    }
}
