//! What a peer's certificates and credentials tell the policy (isakmpd-policy 5 and 6).
//!
//! The PKI makes the texts of a peer here and hands them to the engine as its principals.

use isakmp_proto::identity::Identity;
use keynote::signature::SignatureError;
use keynote::{Assertion, Encoding, Malformed, Principal, RsaKey};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::x509::{X509NameRef, X509Ref};

use super::action::gmt;

/// Before an assertion that we made ourselves.
pub const LOCAL: &str = "local assertion:";
/// Before an assertion that came from outside and whose signature counts.
pub const SIGNED: &str = "signed assertion:";

/// Octets of the credentials of one peer.
pub const MOST_CREDENTIALS: usize = 64 * 1024;
/// Assertions of one peer.
pub const MOST_ASSERTIONS: usize = 64;

/// Why credentials are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Too long, or too many.
    #[error("credentials too long")]
    TooLong,
    /// There is none.
    #[error("no credential")]
    Empty,
    /// Not text.
    #[error("credentials are no text")]
    NoText,
    /// One of them cannot be read.
    #[error("credential {0}: {1}")]
    Malformed(usize, Malformed),
    /// One of them is not signed by its authorizer.
    #[error("credential {0}: {1}")]
    Signature(usize, SignatureError),
    /// The last one licenses no RSA key.
    #[error("last credential has no RSA licensee")]
    NoKey,
}

/// Credentials that verified.
pub struct Credentials {
    /// The key they are for, which the peer must prove to have.
    pub key: RsaKey,
    /// Texts for [`ike::policy::Question::principals`].
    pub texts: Vec<String>,
}

/// Reads credentials as a CERT payload of encoding 11 or a `credentials` file holds them; each must verify.
///
/// # Errors
/// [`CredentialsError`]: none of them counts.
pub fn keynote(text: &[u8]) -> Result<Credentials, CredentialsError> {
    // The original sends the NUL at the end of its string too.
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    let pieces = keynote::split(text);
    if text.len() > MOST_CREDENTIALS || pieces.len() > MOST_ASSERTIONS {
        return Err(CredentialsError::TooLong);
    }
    let mut last = None;
    let mut assertions = Vec::new();
    for (index, piece) in pieces.into_iter().enumerate() {
        let number = index.saturating_add(1);
        let assertion =
            Assertion::parse(piece).map_err(|error| CredentialsError::Malformed(number, error))?;
        keynote::signature::verify(&assertion)
            .map_err(|error| CredentialsError::Signature(number, error))?;
        let piece = std::str::from_utf8(piece).map_err(|_| CredentialsError::NoText)?;
        assertions.push(format!("{SIGNED}{piece}"));
        last = Some(assertion);
    }
    let last = last.ok_or(CredentialsError::Empty)?;
    let key = last
        .licensees()
        .into_iter()
        .find_map(|licensee| match licensee {
            Principal::Rsa(key) => Some(key.clone()),
            _ => None,
        })
        .ok_or(CredentialsError::NoKey)?;
    let mut texts = vec![key.text(Encoding::Hex)];
    texts.append(&mut assertions);
    Ok(Credentials { key, texts })
}

/// Texts for a peer that proved to have the key of the first certificate of a chain that was verified:
/// its key, its name, and for each certificate what its issuer says about it.
#[must_use]
pub fn x509(chain: &[&X509Ref]) -> Vec<String> {
    let mut texts = Vec::new();
    if let Some(leaf) = chain.first() {
        texts.extend(rsa_text(leaf));
        texts.extend(dn_text(leaf.subject_name()));
    }
    for pair in chain.windows(2) {
        if let [certificate, issuer] = pair {
            texts.extend(issued(certificate, issuer).unwrap_or_default());
        }
    }
    texts
}

fn rsa_text(certificate: &X509Ref) -> Option<String> {
    let der = certificate.to_der().ok()?;
    Some(RsaKey::from_certificate(&der).ok()?.text(Encoding::Hex))
}

/// `DN:` and the one-line form, cut as everywhere.
fn dn_text(name: &X509NameRef) -> Option<String> {
    let identity = Identity::Dn(name.to_der().ok()?);
    identity.prefixed_text()?;
    Some(format!("DN:{identity}"))
}

/// The two assertions about a certificate: in terms of keys and of names. None for one that signed itself.
fn issued(certificate: &X509Ref, issuer: &X509Ref) -> Option<Vec<String>> {
    let names = (
        dn_text(issuer.subject_name())?,
        dn_text(certificate.subject_name())?,
    );
    if names.0 == names.1 {
        return None;
    }
    let keys = (rsa_text(issuer)?, rsa_text(certificate)?);
    let from = moment(certificate.not_before())?;
    let to = moment(certificate.not_after())?;
    let assertion = |(authorizer, licensee): &(String, String)| {
        format!(
            "{LOCAL}Authorizer: {}\nLicensees: {}\nConditions: GMTTimeOfDay >= \"{from}\" && GMTTimeOfDay <= \"{to}\";\n",
            quoted(authorizer),
            quoted(licensee)
        )
    };
    Some([keys, names].iter().map(assertion).collect())
}

/// A time of a certificate as 14 digits.
fn moment(time: &Asn1TimeRef) -> Option<String> {
    let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    let seconds = i64::from(since.days)
        .checked_mul(86_400)?
        .checked_add(i64::from(since.secs))?;
    Some(gmt(seconds))
}

/// A string literal of KeyNote. A name may hold quotes, which the original did not think of.
fn quoted(text: &str) -> String {
    let mut literal = String::from("\"");
    for octet in text.bytes() {
        match octet {
            b'"' | b'\\' => {
                literal.push('\\');
                literal.push(char::from(octet));
            }
            0x20..0x7f => literal.push(char::from(octet)),
            other => literal.push_str(&format!("\\{other:03o}")),
        }
    }
    literal.push('"');
    literal
}
