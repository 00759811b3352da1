//! One X.509 certificate, and the identities it proves (isakmpd-wire 6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use isakmp_proto::identity::Identity;
use openssl::x509::{X509, X509Ref};

use super::keys::RsaVerifier;

/// Of a certificate that proves its subject's name only.
pub(super) const NO_ALTERNATIVE_NAME: &str =
    "x509_cert_subjectaltname: certificate does not contain subjectAltName";

/// The first subjectAltName is an address of no known family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("x509_cert_get_subject: invalid subjectAltName IPaddress length {0} ")]
pub(super) struct BadAddress(usize);

/// A certificate.
pub(super) struct Stored(X509);

impl Stored {
    /// The first certificate in PEM.
    pub(super) fn from_pem(pem: &[u8]) -> Option<Self> {
        X509::from_pem(pem).ok().map(Self)
    }

    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        X509::from_der(der).ok().map(Self)
    }

    pub(super) fn from_library(certificate: &X509Ref) -> Self {
        Self(certificate.to_owned())
    }

    pub(super) fn library(&self) -> &X509Ref {
        &self.0
    }

    pub(super) fn to_der(&self) -> Option<Vec<u8>> {
        self.0.to_der().ok()
    }

    /// The name of its subject, and its *first* subjectAltName if that is one of the three kinds.
    pub(super) fn identities(&self) -> Result<Vec<Identity>, BadAddress> {
        let mut identities = Vec::new();
        if let Ok(name) = self.0.subject_name().to_der() {
            identities.push(Identity::Dn(name));
        }
        let names = self.0.subject_alt_names();
        let Some(first) = names.as_ref().and_then(|names| names.iter().next()) else {
            return Ok(identities);
        };
        if let Some(name) = first.dnsname() {
            identities.push(Identity::Fqdn(name.as_bytes().to_vec()));
        } else if let Some(name) = first.email() {
            identities.push(Identity::UserFqdn(name.as_bytes().to_vec()));
        } else if let Some(octets) = first.ipaddress() {
            identities.push(Identity::Address(
                address(octets).ok_or(BadAddress(octets.len()))?,
            ));
        }
        Ok(identities)
    }

    /// Its key, if that is one of RSA.
    pub(super) fn rsa_key(&self) -> Option<RsaVerifier> {
        RsaVerifier::from_public_key(&self.0.public_key().ok()?)
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.is_issued_by(self)
    }

    /// Whether the names fit: the signature is not looked at.
    pub(super) fn is_issued_by(&self, issuer: &Stored) -> bool {
        let (ours, theirs) = (self.0.issuer_name(), issuer.0.subject_name());
        ours.try_cmp(theirs).is_ok_and(|order| order.is_eq())
    }

    /// Whether `issuer` signed it.
    pub(super) fn is_signed_by(&self, issuer: &Stored) -> bool {
        let key = issuer.0.public_key();
        key.is_ok_and(|key| self.0.verify(&key).unwrap_or(false))
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(octets)
        .ok()
        .map(|octets| Ipv6Addr::from(octets).into())
}
