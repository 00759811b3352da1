use std::os::unix::fs::PermissionsExt;

use isakmp_proto::message::Message;
use isakmp_proto::number::PayloadType;

use super::*;
use crate::files::{Direct, Rules};
use crate::log::Log;

mod questions;
mod revocation_list;

/// /etc/isakmpd somewhere else.
struct Place {
    directory: tempfile::TempDir,
    log: Rc<Log>,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "ca",
            "certs",
            "crls",
            "private",
            "pubkeys/ipv4",
            "pubkeys/fqdn",
            "keynote",
        ] {
            std::fs::create_dir_all(directory.path().join("etc").join(name)).unwrap();
        }
        std::fs::create_dir(directory.path().join("run")).unwrap();
        Self {
            directory,
            log: Rc::new(Log::memory()),
        }
    }

    fn etc(&self) -> PathBuf {
        self.directory.path().join("etc")
    }

    fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.etc().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn settings(&self) -> Settings {
        let etc = self.etc();
        let text = |path: PathBuf| Some(path.to_str().unwrap().to_owned());
        Settings::from_lookup(|section, tag| match (section, tag) {
            ("X509-certificates", "CA-directory") => text(etc.join("ca")),
            ("X509-certificates", "Cert-directory") => text(etc.join("certs")),
            ("X509-certificates", "CRL-directory") => text(etc.join("crls")),
            ("X509-certificates", "Private-key-directory") => text(etc.join("private")),
            ("X509-certificates", "Private-key") => text(etc.join("private/local.key")),
            ("General", "Pubkey-directory") => text(etc.join("pubkeys")),
            ("KeyNote", "Credential-directory") => text(etc.join("keynote")),
            _ => None,
        })
    }

    fn pki(&self) -> Pki {
        let rules = Rules::new(self.etc(), self.directory.path().join("run"));
        Pki::load(
            self.settings(),
            Rc::new(Direct::new(rules, Rc::clone(&self.log))),
            Journal::default(),
        )
    }
}

fn ours(name: &str) -> Vec<u8> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pki/testdata");
    std::fs::read(Path::new(directory).join(name)).unwrap()
}

fn recorded(directory: &str, name: &str) -> Vec<u8> {
    let root = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/isakmpd"
    );
    std::fs::read(Path::new(root).join(directory).join(name)).unwrap()
}

fn sent(pem: &[u8]) -> Certificate {
    let data = openssl::x509::X509::from_pem(pem)
        .unwrap()
        .to_der()
        .unwrap();
    Certificate { encoding: 4, data }
}

fn fqdn(name: &str) -> Identity {
    Identity::Fqdn(name.as_bytes().to_vec())
}

fn address(text: &str) -> Identity {
    Identity::Address(text.parse().unwrap())
}

fn lines(pki: &Pki) -> Vec<String> {
    std::iter::from_fn(|| pki.pop_log())
        .map(|record| record.text)
        .collect()
}

/// Why a certificate that came for an identity is not taken.
fn refusal(pki: &Pki, identity: &Identity, certificate: &str) -> Vec<String> {
    let _ = lines(pki);
    let refused = pki
        .key_of(identity, &[sent(&ours(certificate))])
        .err()
        .unwrap();
    assert_eq!(
        refused.to_string(),
        "rsa_sig_decode_hash: no public key found"
    );
    lines(pki)
}

fn accepted(pki: &Pki, identity: &Identity, certificate: &str) -> PeerKey {
    let key = pki.key_of(identity, &[sent(&ours(certificate))]);
    key.unwrap_or_else(|refused| panic!("{refused}: {:?}", lines(pki)))
}

#[test]
fn a_chain_to_an_authority_holds() {
    let place = Place::new();
    assert!(!place.pki().has_ca());
    place.put("ca/root.crt", &ours("root.crt"));
    let pki = place.pki();
    assert!(pki.has_ca());
    let leaf = fqdn("leaf.example");
    assert_eq!(
        refusal(&pki, &leaf, "leaf.crt"),
        [
            "x509_cert_validate: unable to get local issuer certificate",
            "rsa_sig_decode_hash: received CERT can't be validated"
        ]
    );
    place.put("ca/inter.crt", &ours("inter.crt"));
    let mut pki = place.pki();
    let key = accepted(&pki, &leaf, "leaf.crt");
    assert_eq!(key.verifier.signature_len(), 128);
    assert!(
        key.principals[0].starts_with("rsa-hex:3081"),
        "{}",
        key.principals[0]
    );
    assert_eq!(key.principals[1], "DN:/C=SE/O=kx test/CN=leaf");
    // The second name does not count, and neither does another type with the same octets.
    for other in [
        fqdn("second.example"),
        Identity::UserFqdn(b"leaf.example".to_vec()),
    ] {
        assert_eq!(
            refusal(&pki, &other, "leaf.crt"),
            ["rsa_sig_decode_hash: no CERT subject match the ID"]
        );
    }
    let subject = openssl::x509::X509::from_pem(&ours("leaf.crt")).unwrap();
    let dn = Identity::Dn(subject.subject_name().to_der().unwrap());
    accepted(&pki, &dn, "leaf.crt");
    // Gone on HUP.
    std::fs::remove_file(place.etc().join("ca/inter.crt")).unwrap();
    pki.reload(None);
    assert!(pki.key_of(&leaf, &[sent(&ours("leaf.crt"))]).is_err());
}

#[test]
fn a_policy_learns_who_issued_what() {
    let place = Place::new();
    place.put("ca/root.crt", &ours("root.crt"));
    place.put("ca/inter.crt", &ours("inter.crt"));
    let pki = place.pki();
    let key = accepted(&pki, &fqdn("leaf.example"), "leaf.crt");
    let assertions: Vec<&str> = key
        .principals
        .iter()
        .filter_map(|text| text.strip_prefix(credentials::LOCAL))
        .collect();
    assert_eq!(assertions.len(), 4);
    assert_eq!(key.principals.len(), 6);
    let named: Vec<Vec<&str>> = assertions
        .iter()
        .map(|assertion| assertion.lines().collect())
        .collect();
    assert_eq!(named[1][0], "Authorizer: \"DN:/C=SE/O=kx test/CN=inter\"");
    assert_eq!(named[1][1], "Licensees: \"DN:/C=SE/O=kx test/CN=leaf\"");
    assert_eq!(named[3][0], "Authorizer: \"DN:/C=SE/O=kx test/CN=root\"");
    assert_eq!(named[0][1], format!("Licensees: \"{}\"", key.principals[0]));
    for assertion in &assertions {
        keynote::Assertion::parse(assertion.as_bytes()).unwrap();
        assert!(
            assertion.contains("\nConditions: GMTTimeOfDay >= \"2026"),
            "{assertion}"
        );
    }
}

#[test]
fn revocation_counts_once_there_is_a_crl() {
    let place = Place::new();
    place.put("ca/root.crt", &ours("root.crt"));
    place.put("ca/inter.crt", &ours("inter.crt"));
    let (leaf, revoked) = (fqdn("leaf.example"), fqdn("revoked.example"));
    accepted(&place.pki(), &revoked, "revoked.crt");
    let why = |identity: &Identity, certificate: &str| {
        let lines = refusal(&place.pki(), identity, certificate);
        lines[0]
            .strip_prefix("x509_cert_validate: ")
            .unwrap()
            .to_owned()
    };
    place.put("crls/root.crl", &ours("root.crl"));
    assert_eq!(why(&leaf, "leaf.crt"), "unable to get certificate CRL");
    place.put("crls/old.crl", &ours("inter-expired.crl"));
    assert_eq!(why(&leaf, "leaf.crt"), "CRL has expired");
    place.put("crls/inter.crl", &ours("inter.crl"));
    accepted(&place.pki(), &leaf, "leaf.crt");
    assert_eq!(why(&revoked, "revoked.crt"), "certificate revoked");
    std::fs::remove_file(place.etc().join("crls/root.crl")).unwrap();
    assert_eq!(why(&leaf, "leaf.crt"), "unable to get certificate CRL");
}

#[test]
fn only_who_may_sign_crls_does() {
    let place = Place::new();
    place.put("ca/root.crt", &ours("no-crl-sign.crt"));
    let under = fqdn("under.example");
    accepted(&place.pki(), &under, "under-no-crl-sign.crt");
    place.put("crls/root.crl", &ours("no-crl-sign.crl"));
    assert_eq!(
        refusal(&place.pki(), &under, "under-no-crl-sign.crt")[0],
        "x509_cert_validate: key usage does not include CRL signing"
    );
}

#[test]
fn self_signed_ones_only_when_told() {
    let place = Place::new();
    let mut pki = place.pki();
    let own = Identity::UserFqdn(b"self@example".to_vec());
    assert_eq!(
        refusal(&pki, &own, "self.crt")[0],
        "x509_cert_validate: self-signed certificate"
    );
    pki.reload(Some(Settings {
        accept_self_signed: true,
        ..place.settings()
    }));
    let key = accepted(&pki, &own, "self.crt");
    assert_eq!(key.principals.len(), 2);
    // Not for one that only lacks its issuer.
    assert_eq!(
        refusal(&pki, &fqdn("leaf.example"), "leaf.crt")[0],
        "x509_cert_validate: unable to get local issuer certificate"
    );
}

#[test]
fn a_stored_certificate_is_trusted_as_it_is() {
    let place = Place::new();
    place.put("certs/leaf.crt", &ours("leaf.crt"));
    let pki = place.pki();
    assert!(pki.key_of(&fqdn("leaf.example"), &[]).is_ok());
    let own = pki
        .certificate_of(&fqdn("leaf.example"), &[Vec::new()])
        .unwrap();
    assert_eq!(own, sent(&ours("leaf.crt")));
    assert_eq!(pki.certificate_of(&fqdn("other.example"), &[]), None);
    // It comes before a received one, whatever that is worth.
    assert!(
        pki.key_of(&fqdn("leaf.example"), &[sent(&ours("self.crt"))])
            .is_ok()
    );
}

#[test]
fn a_certificate_from_certpatch_is_found_by_its_address() {
    use crate::certpatch::{Name, patch};
    let place = Place::new();
    let certificate = openssl::x509::X509::from_pem(&ours("leaf.crt")).unwrap();
    let key = openssl::pkey::PKey::private_key_from_pem(&ours("leaf.key")).unwrap();
    for text in ["192.0.2.1", "2001:db8::1"] {
        let name = Name::new("ip", text).unwrap();
        let patched = patch(&certificate, &name, &key).unwrap();
        place.put("certs/patched.crt", &patched.pem);
        let pki = place.pki();
        let own = pki.certificate_of(&address(text), &[]);
        assert_eq!(own, Some(sent(&patched.pem)));
    }
}

#[test]
fn what_cannot_be_read_is_logged() {
    let place = Place::new();
    let junk = place.put("ca/junk", b"junk");
    let crl = place.put("crls/junk", b"junk");
    let leaf = place.put(
        "certs/junk",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let read = lines(&place.pki());
    assert_eq!(
        read,
        [
            format!(
                "x509_read_from_dir: PEM_read_X509 failed for {}",
                junk.display()
            ),
            format!(
                "x509_read_from_dir: PEM_read_X509 failed for {}",
                leaf.display()
            ),
            format!(
                "x509_read_crls_from_dir: PEM_read_X509_CRL failed for {}",
                crl.display()
            ),
        ]
    );
    std::fs::remove_dir_all(place.etc().join("ca")).unwrap();
    let read = lines(&place.pki());
    assert_eq!(read[0], "x509_cert_init: x509_read_from_dir failed");
    let pki = place.pki();
    let wrong = Certificate {
        encoding: 4,
        data: b"junk".to_vec(),
    };
    let _ = lines(&pki);
    assert!(pki.key_of(&fqdn("leaf.example"), &[wrong]).is_err());
    assert_eq!(
        lines(&pki),
        ["rsa_sig_decode_hash: can not get data from CERT"]
    );
}

#[test]
fn only_so_many_certificates_are_looked_at() {
    let place = Place::new();
    place.put("ca/root.crt", &ours("root.crt"));
    place.put("ca/inter.crt", &ours("inter.crt"));
    let pki = place.pki();
    let mut received = vec![sent(&ours("self.crt")); MOST_RECEIVED];
    received.push(sent(&ours("leaf.crt")));
    let leaf = fqdn("leaf.example");
    assert!(pki.key_of(&leaf, &received).is_err());
    assert!(pki.key_of(&leaf, &received[1..]).is_ok());
}

#[test]
fn private_keys_and_their_modes() {
    let place = Place::new();
    let pki = place.pki();
    let own = fqdn("leaf.example");
    let default = place.etc().join("private/local.key");
    let refused = |pki: &Pki| {
        let refused = pki.signer_of(&own).err().unwrap().to_string();
        assert_eq!(refused, "rsa_sig_encode_hash: could not get private key");
        lines(pki)
    };
    let opening = format!("ike_auth_get_key: failed opening \"{}\"", default.display());
    assert_eq!(refused(&pki), [opening]);
    place.put("private/local.key", b"junk");
    assert_eq!(
        refused(&pki),
        ["ike_auth_get_key: PEM_read_bio_RSAPrivateKey failed"]
    );
    // A new file counts at once, and the identity's own comes first.
    let path = place.put("private/leaf.example", &ours("leaf.key"));
    let signer = pki.signer_of(&own).unwrap();
    let signature = signer.sign(&[7; 32]).unwrap();
    assert_eq!(signature.len(), signer.signature_len());
    place.put("certs/leaf.crt", &ours("leaf.crt"));
    let verifier = place.pki().key_of(&own, &[]).unwrap().verifier;
    assert!(verifier.verify(&[7; 32], &signature));
    assert!(!verifier.verify(&[8; 32], &signature));
    assert!(signer.sign(&[0; 128]).is_err());
    // The same file gives the same key, another one in its place another.
    let again = pki.signer_of(&own).unwrap();
    assert!(Arc::ptr_eq(&signer, &again));
    let another = openssl::rsa::Rsa::generate(1024).unwrap();
    place.put(
        "private/leaf.example",
        &another.private_key_to_pem().unwrap(),
    );
    let other = pki.signer_of(&own).unwrap().sign(&[7; 32]).unwrap();
    assert!(!verifier.verify(&[7; 32], &other));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let text = "too open permissions";
    assert_eq!(
        refused(&pki),
        [format!(
            "check_file_secrecy_fd: not loading {} - {text}",
            path.display()
        )]
    );
    assert!(pki.signer_of(&Identity::KeyId(b"x".to_vec())).is_err());
}

#[test]
fn raw_keys_of_peers() {
    let place = Place::new();
    let pki = place.pki();
    let peer = address("10.77.0.2");
    assert!(pki.key_of(&peer, &[]).is_err());
    let pem = recorded("mm-rsa-rawpubkey", "B.pub");
    place.put("pubkeys/ipv4/10.77.0.2", &pem);
    let key = pki.key_of(&peer, &[]).unwrap();
    assert_eq!(key.principals.len(), 1);
    let rsa = openssl::rsa::Rsa::public_key_from_pem(&pem).unwrap();
    place.put(
        "pubkeys/fqdn/b.example",
        &rsa.public_key_to_pem_pkcs1().unwrap(),
    );
    assert_eq!(
        pki.key_of(&fqdn("b.example"), &[]).unwrap().principals,
        key.principals
    );
    let junk = place.put("pubkeys/fqdn/c.example", b"junk");
    let _ = lines(&pki);
    assert!(pki.key_of(&fqdn("c.example"), &[]).is_err());
    assert_eq!(
        lines(&pki),
        [format!(
            "get_raw_key_from_file: failed to get public key {}",
            junk.display()
        )]
    );
    // Who a peer says it is leads nowhere else.
    for name in ["../ipv4/10.77.0.2", "..", "/etc/passwd"] {
        assert!(pki.key_of(&fqdn(name), &[]).is_err());
    }
    assert!(place.log.texts().is_empty());
}

#[test]
fn keynote_credentials_and_keys() {
    use keynote::signature::SigningKey;
    let place = Place::new();
    let own = fqdn("k.example");
    let (issuer, ours) = (
        SigningKey::generate_rsa(1024).unwrap(),
        SigningKey::generate_rsa(1024).unwrap(),
    );
    let private = ours.private_text(keynote::Encoding::Hex).unwrap();
    let private = format!("\"{}\"\n", std::str::from_utf8(private.as_slice()).unwrap());
    place.put("keynote/k.example/private_key", private.as_bytes());
    let name = |key: &SigningKey| key.public().key_text().unwrap();
    let unsigned = format!(
        "KeyNote-Version: 2\nAuthorizer: \"{}\"\nLicensees: \"{}\"\nConditions: app_domain == \"IPsec policy\";\n",
        name(&issuer),
        name(&ours)
    );
    let credential = signed(&unsigned, &issuer);
    place.put("keynote/k.example/credentials", credential.as_bytes());
    let pki = place.pki();
    let certificate = pki.certificate_of(&own, &[]).unwrap();
    assert_eq!(
        (certificate.encoding, &certificate.data[..]),
        (11, credential.as_bytes())
    );
    let signature = pki.signer_of(&own).unwrap().sign(&[1; 20]).unwrap();
    let key = pki.key_of(&own, &[certificate]).unwrap();
    assert!(key.verifier.verify(&[1; 20], &signature));
    let assertion = format!("{}{credential}", credentials::SIGNED);
    assert_eq!(key.principals, [name(&ours), assertion]);
    // Changed on the way.
    let broken = credential.replace("IPsec policy", "anything");
    let broken = Certificate {
        encoding: 11,
        data: broken.into_bytes(),
    };
    assert!(pki.key_of(&own, &[broken]).is_err());
}

fn signed(text: &str, key: &keynote::signature::SigningKey) -> String {
    let draft = format!("{text}Signature: \"sig-rsa-sha1-hex:00\"\n");
    let assertion = keynote::Assertion::parse(draft.as_bytes()).unwrap();
    let signature = keynote::signature::sign(&assertion, b"sig-rsa-sha1-hex:", key).unwrap();
    format!("{text}Signature: \"{signature}\"\n")
}

/// The signatures of the recordings, by their own certificates and raw keys.
#[test]
fn recorded_signatures_verify() {
    for directory in ["mm-rsa-x509-aes256-sha256-g14-pfs", "mm-rsa-rawpubkey"] {
        let place = Place::new();
        let x509 = directory.contains("x509");
        if x509 {
            place.put("ca/ca.crt", &recorded(directory, "ca.crt"));
        } else {
            place.put("pubkeys/ipv4/10.77.0.1", &recorded(directory, "A.pub"));
            place.put("pubkeys/ipv4/10.77.0.2", &recorded(directory, "B.pub"));
        }
        place.put("private/10.77.0.1", &recorded(directory, "A.key"));
        place.put("private/local.key", &recorded(directory, "B.key"));
        let pki = place.pki();
        let keys = String::from_utf8(recorded(directory, "initiator-keys.txt")).unwrap();
        let hash = |name: &str| {
            let line = keys
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            (0..line.len() / 2)
                .map(|at| u8::from_str_radix(&line[2 * at..2 * at + 2], 16).unwrap())
                .collect::<Vec<u8>>()
        };
        let hashes = [hash("hash_i "), hash("hash_r ")];
        let peers = [address("10.77.0.1"), address("10.77.0.2")];
        let mut seen = 0;
        for message in messages(&recorded(directory, "initiator-cleartext.pcap")) {
            let Some(signature) = message.index_of(PayloadType::SIGNATURE) else {
                continue;
            };
            let received: Vec<Certificate> = message
                .all(PayloadType::CERT)
                .map(|(index, _)| Certificate {
                    encoding: 4,
                    data: message.body(index)[1..].to_vec(),
                })
                .collect();
            assert_eq!(received.len(), usize::from(x509));
            let key = pki.key_of(&peers[seen], &received).unwrap();
            assert!(key.verifier.verify(&hashes[seen], message.body(signature)));
            // PKCS #1 padding of type 1 is the same each time.
            let signer = pki.signer_of(&peers[seen]).unwrap();
            assert_eq!(signer.sign(&hashes[seen]).unwrap(), message.body(signature));
            seen += 1;
        }
        assert_eq!(seen, 2);
    }
}

/// Messages of a capture of the daemon's own.
fn messages(capture: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    let mut at = 24;
    while at < capture.len() {
        let length = u32::from_le_bytes(capture[at + 8..at + 12].try_into().unwrap()) as usize;
        // Record header, family, IPv4, UDP.
        found.push(Message::parse(&capture[at + 16 + 4 + 28..at + 16 + length]).unwrap());
        at += 16 + length;
    }
    found
}
