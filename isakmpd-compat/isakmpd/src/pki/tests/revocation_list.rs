//! Lists with extensions, made here.

use super::*;

/// An authority of the test's own, which signs lists of any kind.
struct Authority {
    key: openssl::pkey::PKey<openssl::pkey::Private>,
    certificate: openssl::x509::X509,
}

impl Authority {
    fn new() -> Self {
        use openssl::asn1::{Asn1Integer, Asn1Time};
        use openssl::bn::BigNum;
        use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
        let rsa = openssl::rsa::Rsa::generate(1024).unwrap();
        let key = openssl::pkey::PKey::from_rsa(rsa).unwrap();
        let mut name = openssl::x509::X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "lists").unwrap();
        let name = name.build();
        let mut builder = openssl::x509::X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        let serial = Asn1Integer::from_bn(&BigNum::from_u32(5).unwrap()).unwrap();
        builder.set_serial_number(&serial).unwrap();
        let (from, to) = (Asn1Time::from_unix(0), Asn1Time::days_from_now(30));
        builder.set_not_before(&from.unwrap()).unwrap();
        builder.set_not_after(&to.unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        let mut usage = KeyUsage::new();
        let usage = usage.key_cert_sign().crl_sign().build().unwrap();
        let basic = BasicConstraints::new().critical().ca().build().unwrap();
        let context = builder.x509v3_context(None, None);
        let alternative = SubjectAlternativeName::new()
            .dns("lists.example")
            .build(&context);
        let alternative = alternative.unwrap();
        for extension in [usage, basic, alternative] {
            builder.append_extension(extension).unwrap();
        }
        let digest = openssl::hash::MessageDigest::sha256();
        builder.sign(&key, digest).unwrap();
        Self {
            key,
            certificate: builder.build(),
        }
    }

    /// In PEM: revoked are serial numbers, each with extensions; `extensions` are those of the list.
    fn list(&self, revoked: &[(u8, Vec<u8>)], extensions: &[Vec<u8>]) -> Vec<u8> {
        use crate::der::{BIT_STRING, INTEGER, NULL, OBJECT_IDENTIFIER, SEQUENCE, element};
        let sha256_with_rsa = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
        let algorithm = [element(OBJECT_IDENTIFIER, &sha256_with_rsa), NULL.to_vec()].concat();
        let algorithm = element(SEQUENCE, &algorithm);
        let time = |text: &str| element(0x18, text.as_bytes());
        let entry = |(serial, extensions): &(u8, Vec<u8>)| {
            let mut entry = [element(INTEGER, &[*serial]), time("20200101000000Z")].concat();
            if !extensions.is_empty() {
                entry.extend(element(SEQUENCE, extensions));
            }
            element(SEQUENCE, &entry)
        };
        let entries: Vec<u8> = revoked.iter().flat_map(entry).collect();
        let mut body = [
            element(INTEGER, &[1]),
            algorithm.clone(),
            self.certificate.subject_name().to_der().unwrap(),
            time("20200101000000Z"),
            time("21200101000000Z"),
        ]
        .concat();
        if !entries.is_empty() {
            body.extend(element(SEQUENCE, &entries));
        }
        if !extensions.is_empty() {
            body.extend(element(0xa0, &element(SEQUENCE, &extensions.concat())));
        }
        let body = element(SEQUENCE, &body);
        let digest = openssl::hash::MessageDigest::sha256();
        let mut signer = openssl::sign::Signer::new(digest, &self.key).unwrap();
        let signature = signer.sign_oneshot_to_vec(&body).unwrap();
        let bits = element(BIT_STRING, &[&[0], &signature[..]].concat());
        let list = element(SEQUENCE, &[body, algorithm, bits].concat());
        openssl::x509::X509Crl::from_der(&list)
            .unwrap()
            .to_pem()
            .unwrap()
    }
}

/// An extension by the content of its object identifier.
fn extension(kind: &[u8], is_critical: bool, value: &[u8]) -> Vec<u8> {
    use crate::der::{BOOLEAN, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, element};
    let mut parts = element(OBJECT_IDENTIFIER, kind);
    if is_critical {
        parts.extend(element(BOOLEAN, &[0xff]));
    }
    parts.extend(element(OCTET_STRING, value));
    element(SEQUENCE, &parts)
}

#[test]
fn a_list_that_is_not_understood_says_nothing() {
    let (number, delta) = ([0x55, 0x1d, 20], [0x55, 0x1d, 27]);
    let (point, issuer) = ([0x55, 0x1d, 28], [0x55, 0x1d, 29]);
    let one = [2, 1, 1];
    // The first of its two names is example.com.
    let other = [0x30, 0x0d, 0x82, 0x0b]
        .iter()
        .chain(b"example.com")
        .copied()
        .collect::<Vec<u8>>();
    let authority = Authority::new();
    let place = Place::new();
    place.put("ca/lists.crt", &authority.certificate.to_pem().unwrap());
    let own = fqdn("lists.example");
    let received = [Certificate {
        encoding: 4,
        data: authority.certificate.to_der().unwrap(),
    }];
    let verdict = |pki: &Pki| {
        let loaded = lines(pki);
        let key = pki.key_of(&own, &received);
        (loaded, key.map(drop).map_err(|_| lines(pki)[0].clone()))
    };
    assert_eq!(verdict(&place.pki()), (Vec::new(), Ok(())));
    let plain = authority.list(&[(9, Vec::new())], &[extension(&number, false, &one)]);
    for (name, revoked, extensions, why) in [
        (
            "unknown",
            vec![],
            vec![extension(&[0x2a, 0x03, 0x88, 0x37], true, &one)],
            "it has the critical extension 1.2.3.1079",
        ),
        (
            "point",
            vec![],
            vec![extension(&point, true, &[0x30, 3, 0x81, 1, 0xff])],
            "it has an issuingDistributionPoint",
        ),
        (
            "plain point",
            vec![],
            vec![extension(&point, false, &[0x30, 3, 0x82, 1, 0xff])],
            "it has an issuingDistributionPoint",
        ),
        (
            "delta",
            vec![],
            vec![
                extension(&number, false, &one),
                extension(&delta, true, &one),
            ],
            "it is a delta CRL",
        ),
        (
            "indirect",
            vec![(9, extension(&issuer, true, &other))],
            vec![],
            "it is an indirect CRL",
        ),
        (
            "entry",
            vec![
                (8, Vec::new()),
                (9, extension(&[0x2a, 0x03, 1], true, &one)),
            ],
            vec![],
            "it has the critical extension 1.2.3.1",
        ),
    ] {
        let path = place.put("crls/this", &authority.list(&revoked, &extensions));
        let path = path.display();
        let line = format!("x509_read_crls_from_dir: CRL {path} is not used: {why}");
        let refused = "x509_cert_validate: unhandled critical CRL extension";
        let expected = (vec![line.clone()], Err(refused.to_owned()));
        assert_eq!(verdict(&place.pki()), expected, "{name}");
        // Another one of the same authority says what there is to be said.
        place.put("crls/whole", &plain);
        assert_eq!(verdict(&place.pki()), (vec![line], Ok(())), "{name}");
        std::fs::remove_file(place.etc().join("crls/whole")).unwrap();
    }
    // What is understood, and what may be ignored.
    let reason = extension(&[0x55, 0x1d, 21], false, &[0x0a, 1, 1]);
    let unknown = extension(&[0x2a, 0x03, 1], false, &one);
    let numbers = [extension(&number, true, &one), unknown];
    place.put(
        "crls/this",
        &authority.list(&[(9, reason.clone())], &numbers),
    );
    assert_eq!(verdict(&place.pki()), (Vec::new(), Ok(())));
    place.put("crls/this", &authority.list(&[(5, reason)], &numbers));
    let refused = "x509_cert_validate: certificate revoked".to_owned();
    assert_eq!(verdict(&place.pki()), (Vec::new(), Err(refused)));
}
