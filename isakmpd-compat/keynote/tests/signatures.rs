//! Signatures: every algorithm, every encoding, and what must not verify.

use keynote::signature::{SignatureError, SigningKey, sign, verify, verify_detached};
use keynote::{Assertion, Attributes, Encoding, Principal, Query, Session, hex_digits};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::{Padding, Rsa};
use openssl::sha::sha1;
use openssl::x509::{X509, X509Name};

fn rsa() -> SigningKey {
    SigningKey::generate_rsa(2048).unwrap()
}

fn text(key: &SigningKey) -> String {
    key.public().key_text().unwrap()
}

fn unsigned(authorizer: &str) -> String {
    format!(
        "# a credential\nKeyNote-Version: 2\nAuthorizer: \"{authorizer}\"\nLicensees: \"bob\"\nConditions: true;\n"
    )
}

fn parse(text: &str) -> Assertion {
    Assertion::parse(text.as_bytes()).unwrap()
}

fn signed(body: &str, name: &str, key: &SigningKey) -> Result<String, SignatureError> {
    let assertion = parse(&format!("{body}Signature:\n"));
    let signature = sign(&assertion, name.as_bytes(), key)?;
    assert_eq!(verify_detached(&assertion, &signature), Ok(()));
    Ok(format!("{body}Signature: \"{signature}\"\n"))
}

#[test]
fn every_algorithm() {
    let (rsa, dsa) = (rsa(), SigningKey::generate_dsa(1024).unwrap());
    for (name, key) in [
        ("sig-rsa-sha1-hex:", &rsa),
        ("sig-rsa-sha1-base64:", &rsa),
        ("sig-x509-sha1-hex:", &rsa),
        ("sig-x509-sha1-base64:", &rsa),
        ("SIG-RSA-SHA1-HEX:", &rsa),
        ("sig-dsa-sha1-hex:", &dsa),
        ("sig-dsa-sha1-base64:", &dsa),
    ] {
        let body = unsigned(&text(key));
        let good = signed(&body, name, key).unwrap();
        assert_eq!(verify(&parse(&good)), Ok(()), "{name}");
        // Any octet of the text counts, comments and blanks too; the algorithm's name too.
        for (from, to) in [
            ("# a", "# A"),
            ("\"bob\"", "\"eve\""),
            ("true;", "true; "),
            ("Licensees:", "licensees:"),
            (name, &name.to_uppercase()),
        ] {
            if from != to {
                let bad = good.replace(from, to);
                assert_eq!(
                    verify(&parse(&bad)),
                    Err(SignatureError::Wrong),
                    "{name} {from}"
                );
            }
        }
        // What follows the signature does not, nor white space before the first field.
        assert_eq!(verify(&parse(&format!("\n\n{good}\nmore"))), Ok(()));
    }
}

#[test]
fn layout_on_the_wire() {
    // RFC 2792 section 4.2 and the original: the digest as OCTET STRING, PKCS#1 type 1 padding.
    let key = Rsa::generate(2048).unwrap();
    let pem = key.private_key_to_pem().unwrap();
    let key_text = SigningKey::parse(&pem).unwrap();
    let body = unsigned(&text(&key_text));
    for (name, head) in [
        ("sig-rsa-sha1-hex:", "0414"),
        ("sig-x509-sha1-hex:", "3021300906052b0e03020f05000414"),
    ] {
        let signature = sign(
            &parse(&format!("{body}Signature:\n")),
            name.as_bytes(),
            &key_text,
        )
        .unwrap();
        let octets = Encoding::Hex
            .decode(&signature.as_bytes()[name.len()..])
            .unwrap();
        let mut content = vec![0; 256];
        let len = key
            .public_decrypt(&octets, &mut content, Padding::PKCS1)
            .unwrap();
        let digest = sha1(format!("{body}{name}").as_bytes());
        assert_eq!(
            hex_digits(&content[..len]),
            format!("{head}{}", hex_digits(&digest))
        );
    }
}

#[test]
fn md5_is_verified_but_not_made() {
    let key = Rsa::generate(2048).unwrap();
    let signer = SigningKey::parse(&key.private_key_to_pem().unwrap()).unwrap();
    let body = unsigned(&text(&signer));
    assert_eq!(
        signed(&body, "sig-rsa-md5-hex:", &signer),
        Err(SignatureError::Md5)
    );
    let name = "sig-rsa-md5-base64:";
    let digest =
        openssl::hash::hash(MessageDigest::md5(), format!("{body}{name}").as_bytes()).unwrap();
    let content = [&[4, 16][..], &digest].concat();
    let mut octets = vec![0; 256];
    key.private_encrypt(&content, &mut octets, Padding::PKCS1)
        .unwrap();
    let signature = Encoding::Base64.encode(&octets);
    assert_eq!(
        verify(&parse(&format!("{body}Signature: \"{name}{signature}\"\n"))),
        Ok(())
    );
}

#[test]
fn certificate_as_authorizer() {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "x").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    let serial = Asn1Integer::from_bn(&BigNum::from_u32(1).unwrap()).unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::from_unix(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::from_unix(1).unwrap())
        .unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let der = builder.build().to_der().unwrap();
    let signer = SigningKey::parse(&key.rsa().unwrap().private_key_to_pem().unwrap()).unwrap();
    let certificate = format!("x509-base64:{}", Encoding::Base64.encode(&der));
    let credential = signed(&unsigned(&certificate), "sig-x509-sha1-base64:", &signer).unwrap();
    // Licensed as a key, issued as a certificate.
    let mut session = Session::default();
    session.add_policy(parse(&format!(
        "Authorizer: \"POLICY\"\nLicensees: \"{}\"\n",
        text(&signer)
    )));
    session.add_credential(parse(&credential)).unwrap();
    let query = Query {
        values: &["no", "yes"],
        authorizers: &["bob"],
        attributes: &Attributes::default(),
    };
    assert_eq!(session.evaluate(&query).value, 1);
}

#[test]
fn what_is_no_credential() {
    let (key, other) = (rsa(), rsa());
    let body = unsigned(&text(&key));
    let good = signed(&body, "sig-rsa-sha1-hex:", &key).unwrap();
    let mut session = Session::default();
    for (text, error) in [
        (body.clone(), SignatureError::Missing),
        (format!("{body}Signature:\n"), SignatureError::Missing),
        (format!("{body}Signature: 1\n"), SignatureError::Missing),
        (
            format!("{body}Signature: attribute\n"),
            SignatureError::Missing,
        ),
        (
            format!("{body}Signature: \"x\"\n"),
            SignatureError::UnknownAlgorithm,
        ),
        (
            format!("{body}Signature: \"sig-rsa-sha1-hex:0\"\n"),
            SignatureError::Encoding,
        ),
        (
            format!("{body}Signature: \"sig-rsa-sha1-hex:\"\n"),
            SignatureError::Wrong,
        ),
        (
            format!("{body}Signature: \"sig-rsa-sha1-hex:00\"\n"),
            SignatureError::Wrong,
        ),
        (
            format!(
                "{body}Signature: \"sig-rsa-sha1-hex:{}\"\n",
                "f".repeat(512)
            ),
            SignatureError::Wrong,
        ),
        (
            format!("{body}Signature: \"sig-dsa-sha1-hex:00\"\n"),
            SignatureError::WrongKey,
        ),
        (
            good.replace(&text(&key), &text(&other)),
            SignatureError::Wrong,
        ),
        (
            good.replace(&text(&key), "POLICY"),
            SignatureError::WrongKey,
        ),
        (
            good.replace(&text(&key), "binary-hex:00"),
            SignatureError::WrongKey,
        ),
        (
            good.replace("sig-rsa-sha1", "sig-x509-sha1"),
            SignatureError::Wrong,
        ),
    ] {
        assert_eq!(session.add_credential(parse(&text)), Err(error), "{text}");
    }
    assert!(session.assertions().is_empty());
    assert_eq!(session.add_credential(parse(&good)), Ok(()));
    // Signing asks for a field to put it in, a name, and the authorizer's kind of key.
    let sign_text = |text: &str, name: &str| sign(&parse(text), name.as_bytes(), &key).err();
    assert_eq!(
        sign_text(&body, "sig-rsa-sha1-hex:"),
        Some(SignatureError::Missing)
    );
    assert_eq!(
        sign_text(&good, "sig-rsa-sha1-hex"),
        Some(SignatureError::UnknownAlgorithm)
    );
    assert_eq!(
        sign_text(&good, "sig-rsa-sha1-hex:x"),
        Some(SignatureError::UnknownAlgorithm)
    );
    assert_eq!(
        sign_text(&good, "sig-dsa-sha1-hex:"),
        Some(SignatureError::WrongKey)
    );
    let named = unsigned("name") + "Signature:\n";
    assert_eq!(
        sign_text(&named, "sig-rsa-sha1-hex:"),
        Some(SignatureError::WrongKey)
    );
}

#[test]
fn private_keys() {
    for key in [rsa(), SigningKey::generate_dsa(1024).unwrap()] {
        for encoding in [Encoding::Hex, Encoding::Base64] {
            let value = key.private_text(encoding).unwrap();
            let quoted = [b"\"", value.as_slice(), b"\" # mine\n"].concat();
            let again = SigningKey::parse(&quoted).ok().unwrap();
            assert!(again.public() == key.public());
            let authorizer = text(&key);
            let name = match key.public() {
                Principal::Rsa(_) => "sig-rsa-sha1-hex:",
                _ => "sig-dsa-sha1-hex:",
            };
            let credential = signed(&unsigned(&authorizer), name, &again).unwrap();
            assert_eq!(verify(&parse(&credential)), Ok(()));
        }
    }
    for bad in [
        "",
        "x",
        "\"x\"",
        "\"rsa-hex:00\"",
        "\"private-rsa-hex:00\"",
        "\"private-dsa-hex:3000\"",
        "\"private-x509-hex:00\"",
        "-----BEGIN RSA PRIVATE KEY-----",
    ] {
        assert_eq!(
            SigningKey::parse(bad.as_bytes()).err(),
            Some(SignatureError::PrivateKey),
            "{bad}"
        );
    }
}
