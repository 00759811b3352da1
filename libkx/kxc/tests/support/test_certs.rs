//! Certificates made on the spot, with every property that the recorded cases ask for.

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use openssl::x509::{X509, X509Name};

/// A certificate and its key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub cert: X509,
    /// Its key.
    pub key: PKey<Private>,
}

/// What a certificate shall be. The default: self-signed, P-256, SHA-256, valid, no extension.
#[derive(Clone, Default)]
pub struct Spec {
    /// Common name.
    pub cn: String,
    /// DNS names.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ip: Vec<String>,
    /// Some(true) is serverAuth, Some(false) clientAuth.
    pub eku_server: Option<bool>,
    /// basicConstraints CA:TRUE with keyCertSign.
    pub ca: bool,
    /// Over since 2021.
    pub expired: bool,
    /// Signed with SHA-1.
    pub sha1: bool,
    /// RSA of so many bits.
    pub rsa: Option<u32>,
}

impl Spec {
    /// A server's certificate for these DNS names.
    pub fn server(dns: &[&str]) -> Self {
        Self {
            cn: "srv".to_owned(),
            dns: dns.iter().map(|&n| n.to_owned()).collect(),
            eku_server: Some(true),
            ..Self::default()
        }
    }

    /// Makes a fresh key and a self-signed certificate.
    pub fn self_signed(&self) -> Identity {
        let key = self.new_key();
        let cert = self.build(&key, None);
        Identity { cert, key }
    }

    /// Makes a fresh key and a certificate signed by `issuer`.
    pub fn signed_by(&self, issuer: &Identity) -> Identity {
        let key = self.new_key();
        let cert = self.build(&key, Some(issuer));
        Identity { cert, key }
    }

    /// Makes another certificate for a key.
    pub fn for_key(&self, key: &PKey<Private>) -> Identity {
        Identity {
            cert: self.build(key, None),
            key: key.clone(),
        }
    }

    fn new_key(&self) -> PKey<Private> {
        match self.rsa {
            Some(bits) => PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(),
            None => {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
                PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
            }
        }
    }

    fn build(&self, key: &PKey<Private>, issuer: Option<&Identity>) -> X509 {
        let mut name = X509Name::builder().unwrap();
        if !self.cn.is_empty() {
            name.append_entry_by_nid(Nid::COMMONNAME, &self.cn).unwrap();
        }
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(62, openssl::bn::MsbOption::ONE, false).unwrap();
        builder
            .set_serial_number(&Asn1Integer::from_bn(&serial).unwrap())
            .unwrap();
        builder.set_subject_name(&name).unwrap();
        builder
            .set_issuer_name(issuer.map_or(&name, |i| i.cert.subject_name()))
            .unwrap();
        builder.set_pubkey(key).unwrap();
        builder
            .set_not_before(&Asn1Time::from_str("20200101000000Z").unwrap())
            .unwrap();
        let end = if self.expired {
            "20210101000000Z"
        } else {
            "20600101000000Z"
        };
        builder
            .set_not_after(&Asn1Time::from_str(end).unwrap())
            .unwrap();
        if self.ca {
            builder
                .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
                .unwrap();
            builder
                .append_extension(KeyUsage::new().critical().key_cert_sign().build().unwrap())
                .unwrap();
        }
        match self.eku_server {
            Some(true) => builder
                .append_extension(ExtendedKeyUsage::new().server_auth().build().unwrap())
                .unwrap(),
            Some(false) => builder
                .append_extension(ExtendedKeyUsage::new().client_auth().build().unwrap())
                .unwrap(),
            None => {}
        }
        if !self.dns.is_empty() || !self.ip.is_empty() {
            let mut san = SubjectAlternativeName::new();
            for name in &self.dns {
                san.dns(name);
            }
            for address in &self.ip {
                san.ip(address);
            }
            let context = builder.x509v3_context(None, None);
            let san = san.build(&context).unwrap();
            builder.append_extension(san).unwrap();
        }
        let digest = if self.sha1 {
            MessageDigest::sha1()
        } else {
            MessageDigest::sha256()
        };
        builder
            .sign(issuer.map_or(key, |i| &i.key), digest)
            .unwrap();
        builder.build()
    }
}

impl Identity {
    /// The certificate in PEM form.
    pub fn cert_pem(&self) -> Vec<u8> {
        self.cert.to_pem().unwrap()
    }

    /// The key in PEM form.
    pub fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }

    /// The same with the last octet of the signature changed.
    pub fn with_wrong_signature(&self) -> Identity {
        let mut der = self.cert.to_der().unwrap();
        if let Some(last) = der.last_mut() {
            *last ^= 1;
        }
        Identity {
            cert: X509::from_der(&der).unwrap(),
            key: self.key.clone(),
        }
    }
}
