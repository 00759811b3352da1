//! Certificates and requests of the vendor and of the recorded reference.
mod support;

use support::{file, hex, json, octets};
use xkek::curve::Curve;
use xkek::cvc::{Certificate, Error, GenerationRequest, KeySpec, Request};
use xkek::key::PublicKey;

fn certificate(name: &str) -> Certificate {
    let octets = file(name);
    let certificate = Certificate::parse(&octets).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(certificate.encoded(), octets);
    // The body written again is the body that was signed.
    let body = certificate.body().encode();
    assert_eq!(certificate.content()[..body.len()], body, "{name}");
    certificate
}

#[test]
fn the_vendors_roots_are_signed_by_themselves() {
    for (name, chr) in [
        ("cvc/srca-DESRCACC100001.cvc", "DESRCACC100001"),
        ("cvc/srca-UTSRCACC100001.cvc", "UTSRCACC100001"),
    ] {
        let root = certificate(name);
        assert_eq!(root.body().chr.to_string(), chr);
        assert_eq!(root.body().car, root.body().chr);
        assert_eq!(root.body().key.curve(), Some(Curve::BrainpoolP256r1));
        assert_eq!(root.body().chat.as_ref().unwrap().rights, [0xc0]);
        root.verify(&root.public_key(None).unwrap()).unwrap();
    }
    let test = certificate("cvc/srca-UTSRCACC100001.cvc");
    assert_eq!(test.body().effective.unwrap().to_string(), "2012-11-09");
}

#[test]
fn a_chain_step_by_step() {
    let root = certificate("xkek/root.cvc");
    let dica = certificate("xkek/dica.cvc");
    let device = certificate("xkek/devA.cvc");
    assert_eq!(
        dica.public_key(None),
        Err(Error::NoDomain(dica.body().chr.clone()))
    );
    let curve = root.body().key.curve();
    assert_eq!(curve, Some(Curve::Secp256k1));
    root.verify(&root.public_key(None).unwrap()).unwrap();
    dica.verify(&root.public_key(None).unwrap()).unwrap();
    device.verify(&dica.public_key(curve).unwrap()).unwrap();
    let wrong = device.verify(&root.public_key(None).unwrap());
    assert_eq!(
        wrong.unwrap_err().to_string(),
        "wrong signature on certificate XXDEVA00001"
    );
    assert_eq!(device.body().chr.serial().unwrap(), b"XXDEVA");
}

#[test]
fn requests_and_their_attestation() {
    let values = json("xkek/values.json");
    let curve = Some(Curve::Secp256k1);
    for (name, device) in [
        // The attestation that names the device was made by its issuer: the imitation does not look.
        ("xkek/groupsigner.req", "xkek/dica.cvc"),
        ("xkek/exchangeA.req", "xkek/devA.cvc"),
        ("xkek/exchangeB.req", "xkek/devB.cvc"),
    ] {
        let octets_in = file(name);
        let request = Request::parse(&octets_in).unwrap();
        assert_eq!(request.encoded(), octets_in);
        assert_eq!(Request::parse_content(request.content()).unwrap(), request);
        let key = request.verify_inner().unwrap();
        assert_eq!(key.as_ec().unwrap().curve(), Curve::BrainpoolP256r1);
        let device = certificate(device).public_key(curve).unwrap();
        request.verify_outer(&device).unwrap();
        assert!(matches!(
            request.verify_outer(&key),
            Err(Error::Attestation(_))
        ));
        let bare = Request::parse(request.certificate().encoded()).unwrap();
        bare.verify_inner().unwrap();
        assert!(bare.verify_outer(&device).is_err());
        if name.contains("exchange") {
            assert_eq!(
                request.body().key_domain_uid().unwrap(),
                octets(&values["uid"])
            );
        }
    }
}

/// A card's own file: a request without an outer name before the certificate; an RSA request.
#[test]
fn what_the_imitation_writes() {
    let pka = file("pka/exported-by-sc-hsm-tool.pka");
    let content = xkek::tlv::only(&pka, 0x30).unwrap().value;
    let (rsa, rest) = xkek::tlv::expect(content, 0x67).unwrap();
    let rsa = Request::parse(rsa.encoded).unwrap();
    assert!(matches!(rsa.verify_inner().unwrap(), PublicKey::Rsa(_)));
    let (own, rest) = xkek::tlv::expect(rest, 0x67).unwrap();
    let own = Request::parse(own.encoded).unwrap();
    let key = own.verify_inner().unwrap();
    assert!(own.outer().unwrap().car.as_bytes().is_empty());
    rsa.verify_outer(&key).unwrap();
    let device = Certificate::parse(rest).unwrap();
    device.verify(&key).unwrap();
}

#[test]
fn generation_requests_of_opensc() {
    for (name, spec) in [
        ("apdu/05-genec.apdu", KeySpec::Ec(Curve::Secp256r1)),
        (
            "apdu/06-genrsa.apdu",
            KeySpec::Rsa {
                bits: 2048,
                exponent: Some(vec![1, 0, 1]),
            },
        ),
        ("xkek/reference-A.apdu", KeySpec::Ec(Curve::BrainpoolP256r1)),
    ] {
        let text = support::text(name);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("> 0046"))
            .unwrap();
        let command = xkek::apdu::Command::parse(&hex(&format!("0046{line}"))).unwrap();
        let request = GenerationRequest::parse(&command.data).unwrap();
        assert_eq!(request.key, spec, "{name}");
        assert_eq!(request.encode(), command.data[..], "{name}");
        if name.starts_with("xkek") {
            assert_eq!(request.attributes.algorithms, [0x84]);
            assert_eq!(request.attributes.domain, Some(0));
        }
    }
}

#[test]
fn hostile_certificates() {
    let octets = file("xkek/devA.cvc");
    let root = certificate("xkek/root.cvc");
    let dica = certificate("xkek/dica.cvc");
    let signer = dica.public_key(root.body().key.curve()).unwrap();
    for at in 0..octets.len() {
        assert!(Certificate::parse(&octets[..at]).is_err(), "{at} octets");
        let mut changed = octets.clone();
        changed[at] ^= 1;
        if let Ok(changed) = Certificate::parse(&changed) {
            assert!(changed.verify(&signer).is_err(), "octet {at}");
        }
    }
    // A point that satisfies no curve's equation.
    let request = file("xkek/exchangeB.req");
    let at = request
        .windows(4)
        .position(|window| window == [0x86, 0x41, 4, 0x45] || window[..3] == [0x86, 0x41, 4])
        .unwrap();
    let mut off = request.clone();
    off[at + 20] ^= 1;
    assert_eq!(
        Request::parse(&off)
            .unwrap()
            .verify_inner()
            .unwrap_err()
            .to_string(),
        "certificate has a bad public key: point is not on the curve"
    );
}
