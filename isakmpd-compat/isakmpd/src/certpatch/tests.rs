use super::*;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::rsa::Rsa;
use openssl::x509::X509NameBuilder;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};

fn rsa() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap()
}

/// A certificate of version 1 (0) or 3 (2), the latter with extensions.
fn certificate(key: &PKey<Private>, version: i32, digest: MessageDigest) -> X509 {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "somehost.somedomain")
        .unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(version).unwrap();
    let serial = BigNum::from_u32(300).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(9).unwrap())
        .unwrap();
    builder.set_pubkey(key).unwrap();
    if version == 2 {
        let context = builder.x509v3_context(None, None);
        let names = SubjectAlternativeName::new()
            .dns("old.example")
            .dns("b")
            .build(&context)
            .unwrap();
        builder
            .append_extension(BasicConstraints::new().ca().build().unwrap())
            .unwrap();
        builder.append_extension(names).unwrap();
    }
    builder.sign(key, digest).unwrap();
    builder.build()
}

fn changed(certificate: &X509, name: &Name, key: &PKey<Private>) -> X509 {
    let patched = patch(certificate, name, key).unwrap();
    let changed = X509::from_pem(&patched.pem).unwrap();
    assert!(changed.verify(key).unwrap());
    assert_eq!(patched.signature_len, changed.signature().as_slice().len());
    assert_eq!(changed.version(), 2);
    let text = |certificate: &X509| {
        (
            certificate.subject_name().to_der().unwrap(),
            certificate.issuer_name().to_der().unwrap(),
            certificate.not_before().to_string(),
            certificate.not_after().to_string(),
            certificate.serial_number().to_bn().unwrap(),
            certificate
                .public_key()
                .unwrap()
                .public_key_to_der()
                .unwrap(),
            certificate.signature_algorithm().object().nid(),
        )
    };
    assert_eq!(text(&changed), text(certificate));
    changed
}

#[test]
fn each_kind_of_name() {
    let key = rsa();
    let plain = certificate(&key, 0, MessageDigest::sha256());
    let names = |name: Name| changed(&plain, &name, &key).subject_alt_names().unwrap();
    let found = names(Name::new("IP", "10.1.2.3").unwrap());
    assert_eq!(
        (found.len(), found[0].ipaddress()),
        (1, Some(&[10, 1, 2, 3][..]))
    );
    let found = names(Name::new("ip", "2001:db8::1").unwrap());
    let octets = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!((found.len(), found[0].ipaddress()), (1, Some(&octets[..])));
    let found = names(Name::new("fqdn", "somehost.somedomain").unwrap());
    assert_eq!(found[0].dnsname(), Some("somehost.somedomain"));
    let found = names(Name::new("UFqdn", "user@somedomain").unwrap());
    assert_eq!(found[0].email(), Some("user@somedomain"));
}

#[test]
fn an_old_name_is_replaced_and_the_rest_kept() {
    let key = rsa();
    for digest in [MessageDigest::sha1(), MessageDigest::sha512()] {
        let old = certificate(&key, 2, digest);
        let name = Name::new("fqdn", &"x".repeat(MAX_IDENTITY)).unwrap();
        let new = changed(&old, &name, &key);
        let names = new.subject_alt_names().unwrap();
        assert_eq!(names.len(), 1);
        assert_eq!(names[0].dnsname().map(str::len), Some(MAX_IDENTITY));
        let text = String::from_utf8(new.to_text().unwrap()).unwrap();
        assert!(
            text.contains("Subject Alternative Name: critical"),
            "{text}"
        );
        assert!(text.contains("CA:TRUE"), "{text}");
        // Once more changes nothing but the signature's own length.
        assert_eq!(
            changed(&new, &name, &key).to_der().unwrap().len(),
            new.to_der().unwrap().len()
        );
    }
}

#[test]
fn another_kind_of_key_signs_with_the_same_digest() {
    let rsa = rsa();
    let group = openssl::ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let ec = PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
    let old = certificate(&rsa, 2, MessageDigest::sha256());
    let patched = patch(&old, &Name::Address([1, 2, 3, 4].into()), &ec).unwrap();
    let new = X509::from_pem(&patched.pem).unwrap();
    assert!(new.verify(&ec).unwrap());
    let own = PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
    let back = patch(&new, &Name::Address([1, 2, 3, 4].into()), &own).unwrap();
    assert!(X509::from_pem(&back.pem).unwrap().verify(&own).unwrap());
    let other = PKey::generate_ed25519().unwrap();
    assert!(matches!(
        patch(&old, &Name::Address([1, 2, 3, 4].into()), &other),
        Err(Error::Signature)
    ));
}

#[test]
fn identities_that_are_none() {
    let refused = |kind: &str, identity: &str| Name::new(kind, identity).unwrap_err().to_string();
    for address in ["10.1.2.300", "2001:db8::g", "fe80::1%eth0", "[::1]"] {
        assert_eq!(refused("ip", address), "inet_aton () failed\n");
    }
    for (kind, identity) in [("ip", ""), ("fqdn", ""), ("dn", "x"), ("", "x")] {
        assert_eq!(refused(kind, identity), "wrong id type or missing id\n");
    }
    let long = "x".repeat(MAX_IDENTITY + 1);
    assert!(matches!(
        Name::new("fqdn", &long),
        Err(Error::IdentityOctets)
    ));
    assert!(matches!(Name::new("fqdn", "é"), Err(Error::IdentityOctets)));
}

struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = rsa();
        let old = certificate(&key, 0, MessageDigest::sha256());
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("ca.key"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        std::fs::write(path("a.crt"), old.to_pem().unwrap()).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn run(&self, words: &[&str]) -> (String, Result<(), String>) {
        let mut out = Vec::new();
        let words = std::iter::once(&"certpatch")
            .chain(words)
            .map(OsString::from);
        let result = run(words, false, &mut out).map_err(|error| error.to_string());
        (String::from_utf8(out).unwrap(), result)
    }
}

#[test]
fn the_whole_program() {
    let files = Files::new();
    let (key, old, new) = (
        files.path("ca.key"),
        files.path("a.crt"),
        files.path("b.crt"),
    );
    for output in [&new, &old] {
        let (said, result) = files.run(&["-i", "10.0.0.1", "-k", &key, &old, output]);
        assert_eq!(result, Ok(()));
        assert_eq!(
            said,
            format!(
                "Reading ssleay created certificate {old} and modify it\n\
                 Creating Signature: PKEY_TYPE = RSA: X509_sign: 128 OKAY \n\
                 Writing new certificate to {output}\n"
            )
        );
    }
    assert_eq!(std::fs::read(&old).unwrap(), std::fs::read(&new).unwrap());
    let written = X509::from_pem(&std::fs::read(&new).unwrap()).unwrap();
    assert_eq!(
        written.subject_alt_names().unwrap()[0].ipaddress(),
        Some(&[10, 0, 0, 1][..])
    );
}

#[test]
fn what_goes_wrong() {
    let files = Files::new();
    let (key, old, new) = (
        files.path("ca.key"),
        files.path("a.crt"),
        files.path("b.crt"),
    );
    let error = |words: &[&str]| files.run(words).1.unwrap_err();
    assert_eq!(error(&[]), USAGE);
    assert_eq!(error(&["-i", "10.0.0.1", &old, &new]), USAGE);
    assert_eq!(
        error(&["-x"]),
        format!("certpatch: invalid option -- 'x'\n{USAGE}")
    );
    assert_eq!(
        error(&["-k", &key, &old, &new]),
        "wrong id type or missing id\n"
    );
    assert_eq!(
        error(&["-t", "dn", "-i", "x", "-k", &key, &old, &new]),
        "wrong id type or missing id\n"
    );
    let none = files.path("none");
    assert_eq!(
        error(&["-i", "10.0.0.1", "-k", &key, &none, &new]),
        "PEM_read_bio_X509 () failed\n"
    );
    assert_eq!(
        error(&["-i", "10.0.0.1", "-k", &old, &old, &new]),
        format!("Can not read private key {old}\n")
    );
    let nowhere = files.path("none/b.crt");
    assert_eq!(
        error(&["-i", "10.0.0.1", "-k", &key, &old, &nowhere]),
        format!("{nowhere}: No such file or directory\n")
    );
    assert!(!Path::new(&new).exists());
}
