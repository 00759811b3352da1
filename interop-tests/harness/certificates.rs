//! Makes the certificates that tests need, in the shape kxgencert gives them unless told
//! otherwise.

use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509NameBuilder};

/// A certificate and its private key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub cert: X509,
    /// Its private key.
    pub key: PKey<Private>,
}

impl Pair {
    /// The certificate in PEM.
    pub fn cert_pem(&self) -> Vec<u8> {
        self.cert.to_pem().expect("certificate to PEM")
    }

    /// The key in PEM (PKCS#8).
    pub fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().expect("key to PEM")
    }

    /// The certificate's signature value in lower-case hex, as logs and hooks show it.
    pub fn signature_hex(&self) -> String {
        signature_hex(&self.cert)
    }
}

/// The signature value of a certificate in lower-case hex.
pub fn signature_hex(cert: &X509) -> String {
    cert.signature()
        .as_slice()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// A fresh RSA key of 2048 bits.
pub fn rsa_key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).expect("RSA key")).expect("RSA key")
}

/// A fresh P-256 key.
pub fn p256_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("P-256");
    PKey::from_ec_key(EcKey::generate(&group).expect("EC key")).expect("EC key")
}

/// Recipe for one certificate.
#[derive(Clone)]
pub struct Recipe<'a> {
    organization: Option<&'a str>,
    common_name: Option<&'a str>,
    sans: Vec<San<'a>>,
    eku: Option<&'a [&'a str]>,
    usages: bool,
    ca: bool,
    digest: MessageDigest,
    not_after: i64,
    issuer: Option<&'a Pair>,
    key: Option<PKey<Private>>,
    spoil: bool,
}

#[derive(Clone, Copy)]
enum San<'a> {
    Dns(&'a str),
    Ip(&'a str),
    Email(&'a str),
}

impl<'a> Recipe<'a> {
    /// What `kxgencert -organization ORGANIZATION -host=` would make, without names.
    pub fn new(organization: &'a str) -> Self {
        Recipe {
            organization: Some(organization),
            common_name: None,
            sans: Vec::new(),
            eku: Some(&["serverAuth"]),
            usages: true,
            ca: false,
            digest: MessageDigest::sha256(),
            not_after: 4_700_000_000,
            issuer: None,
            key: None,
            spoil: false,
        }
    }

    /// Adds a DNS name.
    pub fn dns(mut self, name: &'a str) -> Self {
        self.sans.push(San::Dns(name));
        self
    }

    /// Adds an IP address.
    pub fn ip(mut self, address: &'a str) -> Self {
        self.sans.push(San::Ip(address));
        self
    }

    /// Adds an e-mail address.
    pub fn email(mut self, address: &'a str) -> Self {
        self.sans.push(San::Email(address));
        self
    }

    /// Uses a CN instead of the organization.
    pub fn common_name(mut self, name: &'a str) -> Self {
        self.common_name = Some(name);
        self.organization = None;
        self
    }

    /// Replaces the extended key usage; `None` leaves the extension out.
    pub fn eku(mut self, eku: Option<&'a [&'a str]>) -> Self {
        self.eku = eku;
        self
    }

    /// Leaves out key usage, extended key usage and basic constraints.
    pub fn without_usages(mut self) -> Self {
        self.usages = false;
        self
    }

    /// Makes an authority.
    pub fn authority(mut self) -> Self {
        self.ca = true;
        self.eku = None;
        self
    }

    /// Ends the validity at this Unix time.
    pub fn not_after(mut self, unix: i64) -> Self {
        self.not_after = unix;
        self
    }

    /// Signs with this digest.
    pub fn digest(mut self, digest: MessageDigest) -> Self {
        self.digest = digest;
        self
    }

    /// Signs by an authority instead of itself.
    pub fn issued_by(mut self, issuer: &'a Pair) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// Uses this key instead of a fresh one.
    pub fn key(mut self, key: &PKey<Private>) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// Spoils the signature.
    pub fn wrong_signature(mut self) -> Self {
        self.spoil = true;
        self
    }

    /// Makes the certificate.
    pub fn make(self) -> Pair {
        let key = self.key.clone().unwrap_or_else(p256_key);
        self.build(&key)
            .map(|cert| Pair { cert, key })
            .expect("making a test certificate")
    }

    fn build(self, key: &PKey<Private>) -> Result<X509, openssl::error::ErrorStack> {
        let mut name = X509NameBuilder::new()?;
        if let Some(o) = self.organization {
            name.append_entry_by_nid(Nid::ORGANIZATIONNAME, o)?;
        }
        if let Some(cn) = self.common_name {
            name.append_entry_by_nid(Nid::COMMONNAME, cn)?;
        }
        let name = name.build();
        let mut b = X509Builder::new()?;
        b.set_version(2)?;
        let mut serial = BigNum::new()?;
        serial.rand(62, openssl::bn::MsbOption::MAYBE_ZERO, false)?;
        b.set_serial_number(&*Asn1Integer::from_bn(&serial)?)?;
        b.set_subject_name(&name)?;
        b.set_issuer_name(self.issuer.map_or(&name, |i| i.cert.subject_name()))?;
        b.set_not_before(&*Asn1Time::from_unix(1_577_836_800)?)?;
        b.set_not_after(&*Asn1Time::from_unix(self.not_after)?)?;
        b.set_pubkey(key)?;
        if self.usages {
            let mut usage = KeyUsage::new();
            usage
                .critical()
                .digital_signature()
                .key_encipherment()
                .key_cert_sign();
            b.append_extension(usage.build()?)?;
            if let Some(list) = self.eku {
                let mut eku = ExtendedKeyUsage::new();
                for purpose in list {
                    eku.other(purpose);
                }
                b.append_extension(eku.build()?)?;
            }
            let mut basic = BasicConstraints::new();
            basic.critical();
            if self.ca {
                basic.ca();
            }
            b.append_extension(basic.build()?)?;
        }
        if !self.sans.is_empty() {
            b.append_extension(subject_alternative_name(&self.sans)?)?;
        }
        b.sign(self.issuer.map_or(key, |i| &i.key), self.digest)?;
        let cert = b.build();
        if !self.spoil {
            return Ok(cert);
        }
        let mut der = cert.to_der()?;
        if let Some(last) = der.last_mut() {
            *last ^= 1;
        }
        X509::from_der(&der)
    }
}

fn subject_alternative_name(sans: &[San<'_>]) -> Result<X509Extension, openssl::error::ErrorStack> {
    // OpenSSL's own builder splits names at commas and knows wildcards only by luck; DER is
    // as short.
    let plain = sans
        .iter()
        .all(|s| !matches!(s, San::Dns(n) if n.contains(['*', ','])));
    if plain {
        let mut list = SubjectAlternativeName::new();
        for san in sans {
            match san {
                San::Dns(n) => list.dns(n),
                San::Ip(a) => list.ip(a),
                San::Email(a) => list.email(a),
            };
        }
        let ctx_builder = X509Builder::new()?;
        return list.build(&ctx_builder.x509v3_context(None, None));
    }
    let mut body = Vec::new();
    for san in sans {
        if let San::Dns(n) = san {
            body.push(0x82);
            body.push(u8::try_from(n.len()).unwrap_or(0));
            body.extend_from_slice(n.as_bytes());
        }
    }
    let mut der = vec![0x30, u8::try_from(body.len()).unwrap_or(0)];
    der.extend(body);
    X509Extension::new_from_der(
        Asn1Object::from_str("2.5.29.17")?.as_ref(),
        false,
        &*Asn1OctetString::new_from_bytes(&der)?,
    )
}
