//! Chains that the recordings do not have: policies, repeated candidates, keys of another kind.

use chrono::{DateTime, FixedOffset};
use kx_cert::{Certificate, CertificateSignature, PublicKeyKind, chain_text, verify};
use kx_crypto::curve::Curve;
use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Extension, X509NameBuilder};

fn now() -> DateTime<FixedOffset> {
    "2026-11-21T00:28:39Z".parse().unwrap()
}

/// An extension in raw octets: dotted identifier, critical, value.
type Raw = (&'static str, bool, &'static [u8]);

const CA: Raw = ("2.5.29.19", true, &[0x30, 3, 1, 1, 0xff]);
const ANY_POLICY: Raw = (
    "2.5.29.32",
    false,
    &[0x30, 8, 0x30, 6, 6, 4, 0x55, 29, 32, 0],
);
const POLICY_1: Raw = ("2.5.29.32", false, &[0x30, 6, 0x30, 4, 6, 2, 0x2a, 3]);
const POLICY_2: Raw = ("2.5.29.32", false, &[0x30, 6, 0x30, 4, 6, 2, 0x2a, 4]);
const MAP_1_TO_2: Raw = (
    "2.5.29.33",
    false,
    &[0x30, 10, 0x30, 8, 6, 2, 0x2a, 3, 6, 2, 0x2a, 4],
);
const MAP_ANY: Raw = (
    "2.5.29.33",
    false,
    &[0x30, 12, 0x30, 10, 6, 4, 0x55, 29, 32, 0, 6, 2, 0x2a, 4],
);
const EXPLICIT_0: Raw = ("2.5.29.36", true, &[0x30, 3, 0x80, 1, 0]);
const INHIBIT_ANY_0: Raw = ("2.5.29.54", true, &[2, 1, 0]);

struct Made {
    certificate: Certificate,
    x509: X509,
    key: PKey<Private>,
}

fn make(name: &str, extensions: &[Raw], issuer: Option<&Made>) -> Made {
    make_version(3, name, extensions, issuer)
}

fn make_version(version: i32, name: &str, extensions: &[Raw], issuer: Option<&Made>) -> Made {
    let key = {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    };
    let mut subject = X509NameBuilder::new().unwrap();
    if !name.is_empty() {
        subject
            .append_entry_by_nid(Nid::ORGANIZATIONNAME, name)
            .unwrap();
    }
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(version - 1).unwrap();
    let serial = Asn1Integer::from_bn(&BigNum::from_u32(77).unwrap()).unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    let issuer_name = issuer.map_or(&*subject, |issuer| issuer.x509.subject_name());
    builder.set_issuer_name(issuer_name).unwrap();
    builder
        .set_not_before(&Asn1Time::from_str_x509("20200101000000Z").unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::from_str_x509("20400101000000Z").unwrap())
        .unwrap();
    builder.set_pubkey(&key).unwrap();
    for (oid, critical, value) in extensions {
        let oid = Asn1Object::from_str(oid).unwrap();
        let value = Asn1OctetString::new_from_bytes(value).unwrap();
        let extension = X509Extension::new_from_der(&oid, *critical, &value).unwrap();
        builder.append_extension(extension).unwrap();
    }
    builder
        .sign(
            issuer.map_or(&key, |issuer| &issuer.key),
            MessageDigest::sha256(),
        )
        .unwrap();
    let x509 = builder.build();
    Made {
        certificate: Certificate::parse(&x509.to_der().unwrap()).unwrap(),
        x509,
        key,
    }
}

/// Root, intermediate with these extensions, leaf with those.
fn over_intermediate(intermediate: &[Raw], leaf: &[Raw]) -> Result<usize, String> {
    let root = make("root", &[CA], None);
    let with_ca = [&[CA], intermediate].concat();
    let intermediate = make("intermediate", &with_ca, Some(&root));
    let leaf = make("leaf", leaf, Some(&intermediate));
    let anchors = [root.certificate];
    // Repeats make no more chains.
    let others = [intermediate.certificate.clone(), intermediate.certificate];
    verify::verify(&leaf.certificate, &anchors, &others, None, &now())
        .map(|chains| chains.len())
        .map_err(|error| error.to_string())
}

#[test]
fn policies() {
    let none =
        Err("x509: no valid chains built: all candidate chains have invalid policies".into());
    assert_eq!(over_intermediate(&[], &[]), Ok(1));
    assert_eq!(over_intermediate(&[POLICY_1], &[POLICY_2]), Ok(1));
    assert_eq!(
        over_intermediate(&[POLICY_1, EXPLICIT_0], &[POLICY_1]),
        Ok(1)
    );
    assert_eq!(
        over_intermediate(&[POLICY_1, EXPLICIT_0], &[ANY_POLICY]),
        Ok(1)
    );
    assert_eq!(
        over_intermediate(&[ANY_POLICY, EXPLICIT_0], &[POLICY_2]),
        Ok(1)
    );
    assert_eq!(
        over_intermediate(&[POLICY_1, EXPLICIT_0], &[POLICY_2]),
        none
    );
    assert_eq!(over_intermediate(&[POLICY_1, EXPLICIT_0], &[]), none);
    assert_eq!(over_intermediate(&[EXPLICIT_0], &[POLICY_1]), none);
    assert_eq!(over_intermediate(&[POLICY_1], &[EXPLICIT_0]), none);
    let mapped = [POLICY_1, MAP_1_TO_2, EXPLICIT_0];
    assert_eq!(over_intermediate(&mapped, &[POLICY_2]), Ok(1));
    assert_eq!(over_intermediate(&mapped, &[POLICY_1]), none);
    assert_eq!(over_intermediate(&[POLICY_1, MAP_ANY], &[POLICY_1]), none);
    let no_any = [POLICY_1, INHIBIT_ANY_0, EXPLICIT_0];
    assert_eq!(over_intermediate(&no_any, &[ANY_POLICY]), none);
}

#[test]
fn several_anchors_give_several_chains() {
    let root = make("root", &[CA], None);
    let crossed = make("intermediate", &[CA], Some(&root));
    let leaf = make("leaf", &[], Some(&crossed));
    let anchors = [root.certificate.clone(), crossed.certificate.clone()];
    let others = [crossed.certificate.clone()];
    let chains = verify::verify(&leaf.certificate, &anchors, &others, None, &now()).unwrap();
    let texts: Vec<String> = chains
        .iter()
        .map(|chain| chain_text::chain(chain))
        .collect();
    let [leaf, crossed, root] = [leaf, crossed, root].map(|made| made.certificate.short());
    assert_eq!(
        texts,
        [
            format!("{leaf} -> {crossed}"),
            format!("{leaf} -> {crossed} -> {root}")
        ]
    );
}

#[test]
fn version_1_signs_as_an_anchor_only() {
    let root = make("root", &[CA], None);
    let old = make_version(1, "old", &[], Some(&root));
    let leaf = make("leaf", &[], Some(&old)).certificate;
    let judge = |anchors: &[Certificate], others: &[Certificate]| {
        verify::verify(&leaf, anchors, others, None, &now())
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let (root, old) = ([root.certificate], [old.certificate]);
    assert_eq!(judge(&old, &[]), Ok(()));
    let refused = "x509: certificate is not authorized to sign other certificates";
    assert_eq!(judge(&root, &old), Err(refused.to_owned()));
}

#[test]
fn path_length() {
    const NO_AUTHORITY_BELOW: Raw = ("2.5.29.19", true, &[0x30, 6, 1, 1, 0xff, 2, 1, 0]);
    let root = make("root", &[NO_AUTHORITY_BELOW], None);
    let intermediate = make("intermediate", &[NO_AUTHORITY_BELOW], Some(&root));
    let leaf = make("leaf", &[], Some(&intermediate)).certificate;
    let (root, intermediate) = ([root.certificate], [intermediate.certificate]);
    assert!(verify::verify(&leaf, &intermediate, &[], None, &now()).is_ok());
    let error = verify::verify(&leaf, &root, &intermediate, None, &now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "x509: too many intermediates for path length constraint"
    );
}

#[test]
fn hints_name_the_first_candidate() {
    // The same name and another key; the name is empty, so that the serial number stands for it.
    let root = make("", &[CA], None);
    let impostor = make("", &[CA], None);
    let leaf = make("leaf", &[], Some(&root));
    let refuse = |anchors: &[Certificate]| {
        verify::verify(&leaf.certificate, anchors, &[], None, &now())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refuse(&[impostor.certificate]),
        "x509: certificate signed by unknown authority (possibly because of \"x509: \
         ECDSA verification failure\" \
         while trying to verify candidate authority certificate \"serial:77\")"
    );
    assert_eq!(refuse(&[]), "x509: certificate signed by unknown authority");
    assert!(verify::verify(&leaf.certificate, &[root.certificate], &[], None, &now()).is_ok());
}

#[test]
fn what_a_certificate_tells() {
    let made = make("x", &[CA, POLICY_1], None);
    let certificate = &made.certificate;
    assert_eq!(certificate.public_key(), PublicKeyKind::Ecdsa(Curve::P256));
    assert!(matches!(
        certificate.signature_algorithm(),
        CertificateSignature::Known(_)
    ));
    assert_eq!(certificate.serial_text(), "77");
    assert_eq!(certificate.version(), 3);
    assert_eq!(
        certificate.signature_hex().len(),
        2 * certificate.signature().len()
    );
    assert_eq!(
        certificate.signature_prefix(16),
        certificate.signature_hex()[..16]
    );
    assert_eq!(
        certificate.signature_prefix(999),
        certificate.signature_hex()
    );
    assert_eq!(
        certificate.public_key_info(),
        made.key.public_key_to_der().unwrap()
    );
    assert_eq!(
        certificate.short(),
        format!("(0x{} O=x)", certificate.signature_prefix(8))
    );
    assert!(verify::serves(certificate));
}
