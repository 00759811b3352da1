//! How often the files are asked for, and that what is in them counts at once all the same.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::net::SocketAddr;

use ike::credentials::Verifier;
use kx_sys::udp::Udp;

use super::*;
use crate::files::Access;

/// Counts questions, each of which goes to another process.
struct Counting(Direct, Cell<usize>);

impl Counting {
    fn count(&self) {
        self.1.set(self.1.get() + 1);
    }
}

impl Files for Counting {
    fn open(&self, path: &Path, access: Access) -> io::Result<File> {
        self.count();
        self.0.open(path, access)
    }

    fn open_first(&self, paths: &[PathBuf]) -> (usize, io::Result<File>) {
        self.count();
        self.0.open_first(paths)
    }

    fn open_each(&self, choices: &[Vec<PathBuf>]) -> Vec<(usize, io::Result<File>)> {
        self.count();
        self.0.open_each(choices)
    }

    fn read_directory(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        self.0.read_directory(directory)
    }

    fn bind(&self, address: SocketAddr, exclusive: bool) -> io::Result<Udp> {
        self.0.bind(address, exclusive)
    }

    fn default_interfaces(&self) -> [Option<String>; 2] {
        self.0.default_interfaces()
    }
}

#[test]
fn one_question_for_each_negotiation() {
    let place = Place::new();
    let rules = Rules::new(place.etc(), place.directory.path().join("run"));
    let files = Direct::new(rules, Rc::clone(&place.log));
    let files = Rc::new(Counting(files, Cell::new(0)));
    let asked: Rc<dyn Files> = files.clone();
    let pki = Pki::load(place.settings(), asked, Journal::default());
    let _ = lines(&pki);
    let (own, peer) = (address("10.77.0.1"), address("10.77.0.2"));
    let own_raw = recorded("mm-rsa-rawpubkey", "A.pub");
    let own_raw = keys::RsaVerifier::from_pem(&own_raw).unwrap();
    let both = || {
        let before = files.1.get();
        let found = pki.both_proofs((&own, &[]), (&peer, &[]));
        assert_eq!(files.1.get(), before + 1);
        found
    };
    assert!(both().is_err());
    place.put(
        "pubkeys/ipv4/10.77.0.2",
        &recorded("mm-rsa-rawpubkey", "B.pub"),
    );
    let (key, proof) = both().unwrap();
    assert!(proof.is_none());
    // What is missing of our own is told to those who need it.
    assert_eq!(lines(&pki), [""; 0]);
    assert!(pki.own_proof(&own, &[]).is_err());
    assert_eq!(lines(&pki).len(), 1);
    place.put("private/local.key", &recorded("mm-rsa-rawpubkey", "A.key"));
    let proof = both().unwrap().1.unwrap();
    assert_eq!(proof.certificate, None);
    let signature = proof.signer.sign(&[7; 32]).unwrap();
    assert!(own_raw.verify(&[7; 32], &signature));
    // Another key in place of the default one, and credentials.
    let another = openssl::rsa::Rsa::generate(1024).unwrap();
    place.put("private/10.77.0.1", &another.private_key_to_pem().unwrap());
    place.put("keynote/10.77.0.1/credentials", b"Authorizer: me\n");
    let before = files.1.get();
    for proof in [
        both().unwrap().1.unwrap(),
        pki.own_proof(&own, &[]).unwrap(),
    ] {
        assert_eq!(proof.signer.signature_len(), 128);
        let credentials = proof.certificate.unwrap();
        assert_eq!(credentials.encoding, CertEncoding::KEYNOTE.0);
        assert_eq!(credentials.data, b"Authorizer: me\n");
    }
    assert_eq!(files.1.get(), before + 2);
    // So does another key of the peer's.
    place.put(
        "pubkeys/ipv4/10.77.0.2",
        &recorded("mm-rsa-rawpubkey", "A.pub"),
    );
    assert_ne!(both().unwrap().0.principals, key.principals);
    std::fs::remove_file(place.etc().join("pubkeys/ipv4/10.77.0.2")).unwrap();
    assert!(both().is_err());
}
