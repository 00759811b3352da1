//! What peers send to prove who they are, and what lies in isakmpd's directories. The first octet says what the rest
//! is: a certificate or credentials that came, a file of certs/, crls/ or pubkeys/. Nobody is believed whom no
//! authority of ours vouches for, nothing unsigned revokes or brings back, and no line of the log can be faked.
#![no_main]
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Seek, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ike::credentials::{Certificate, Credentials, PeerKey};
use ike::journal::Journal;
use isakmp_proto::identity::Identity;
use isakmpd::files::{Access, Entry, Files};
use isakmpd::pki::{Pki, Settings};
use isakmpd::policy::credentials::{LOCAL, SIGNED};
use keynote::Assertion;
use kx_fuzz::has_control;
use kx_sys::udp::Udp;
use libfuzzer_sys::fuzz_target;

macro_rules! ours {
    ($name:literal) => {
        include_bytes!(concat!(
            "../../../isakmpd-compat/isakmpd/src/pki/testdata/",
            $name
        ))
    };
}
macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!(
            "../../vectors/isakmpd/mm-rsa-x509-aes256-sha256-g14-pfs/",
            $name
        ))
    };
}

const AUTHORITIES: [(&str, &[u8]); 3] = [
    ("/etc/isakmpd/ca/root.crt", ours!("root.crt")),
    ("/etc/isakmpd/ca/inter.crt", ours!("inter.crt")),
    ("/etc/isakmpd/ca/ca.crt", recorded!("ca.crt")),
];
/// All that they signed.
const HOSTS: [(&str, &[u8]); 4] = [
    ("/etc/isakmpd/certs/leaf.crt", ours!("leaf.crt")),
    ("/etc/isakmpd/certs/revoked.crt", ours!("revoked.crt")),
    ("/etc/isakmpd/certs/A.crt", recorded!("A.crt")),
    ("/etc/isakmpd/certs/B.crt", recorded!("B.crt")),
];
const LISTS: [(&str, &[u8]); 2] = [
    ("/etc/isakmpd/crls/root.crl", ours!("root.crl")),
    ("/etc/isakmpd/crls/inter.crl", ours!("inter.crl")),
];

/// Files that are nowhere but here.
#[derive(Default)]
struct Memory(HashMap<PathBuf, Vec<u8>>);

impl Files for Memory {
    fn open(&self, path: &Path, _: Access) -> io::Result<File> {
        let content = self.0.get(path).ok_or(ErrorKind::NotFound)?;
        // Not on a disk, and gone when it is closed.
        let path = format!("/dev/shm/kx-fuzz-{}", std::process::id());
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        file.write_all(content)?;
        file.rewind()?;
        Ok(file)
    }

    fn read_directory(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let paths = self.0.keys().filter(|path| path.starts_with(directory));
        let mut paths: Vec<PathBuf> = paths.cloned().collect();
        paths.sort();
        let entry = |path: PathBuf| {
            let file = self.open(&path, Access::Read);
            (path, file)
        };
        Ok(paths.into_iter().map(entry).collect())
    }

    fn bind(&self, _: SocketAddr, _: bool) -> io::Result<Udp> {
        Err(ErrorKind::Unsupported.into())
    }

    fn default_interfaces(&self) -> [Option<String>; 2] {
        [None, None]
    }
}

fn pki(accept_self_signed: bool, files: &[&[(&str, &[u8])]]) -> Pki {
    let settings = Settings {
        accept_self_signed,
        ..Settings::default()
    };
    let files = files.iter().copied().flatten();
    let files = files.map(|(path, content)| (PathBuf::from(path), content.to_vec()));
    let pki = Pki::load(
        settings,
        Rc::new(Memory(files.collect())),
        Journal::default(),
    );
    quiet(&pki);
    pki
}

/// The log is short, and no line of it looks as two.
fn quiet(pki: &Pki) {
    let lines: Vec<_> = std::iter::from_fn(|| pki.pop_log()).collect();
    assert!(lines.len() < 40);
    assert!(lines.iter().all(|line| !has_control(&line.text)));
}

fn peers() -> Vec<Identity> {
    let address = |text: &str| Identity::Address(text.parse().expect("an address"));
    let name = |text: &str| Identity::Fqdn(text.as_bytes().to_vec());
    vec![
        name("leaf.example"),
        name("revoked.example"),
        address("10.77.0.1"),
        address("10.77.0.2"),
        Identity::UserFqdn(b"self@example".to_vec()),
        address("2001:db8::1"),
    ]
}

/// The certificate that each of [`HOSTS`] would send.
fn hosts() -> Vec<Certificate> {
    let pki = pki(false, &[&HOSTS]);
    let own = peers().into_iter().take(HOSTS.len());
    own.map(|own| pki.certificate_of(&own, &[]).expect("one of HOSTS"))
        .collect()
}

/// Tag, length and content of the first element.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, length) = match *der.get(1)? {
        short @ 0..=0x7f => (2, usize::from(short)),
        long => {
            let count = usize::from(long & 0x7f);
            let octets = der.get(2..2 + count)?;
            let add = |length: usize, octet: &u8| {
                length.checked_mul(256)?.checked_add(usize::from(*octet))
            };
            (2 + count, octets.iter().try_fold(0, add)?)
        }
    };
    let whole = der.get(..header.checked_add(length)?)?;
    Some((whole, &whole[header..]))
}

/// What an authority signs of a certificate.
fn signed_part(der: &[u8]) -> Option<&[u8]> {
    Some(element(element(der)?.1)?.0)
}

fn judged(pki: &Pki, peer: &Identity, received: &Certificate) -> Option<PeerKey> {
    let key = pki.key_of(peer, std::slice::from_ref(received)).ok();
    quiet(pki);
    let key = key?;
    assert!(key.principals[0].starts_with("rsa-hex:"));
    for text in &key.principals {
        if let Some(text) = text.strip_prefix(LOCAL).or(text.strip_prefix(SIGNED)) {
            Assertion::parse(text.as_bytes()).expect("made or verified by us");
        }
    }
    no_signature(&key);
    Some(key)
}

/// What is no signature verifies with no key.
fn no_signature(key: &PeerKey) {
    let length = key.verifier.signature_len();
    for signature in [Vec::new(), vec![0; length], vec![0xff; length], vec![1; 7]] {
        assert!(!key.verifier.verify(&[7; 20], &signature));
    }
}

struct Fixed {
    trusting: Pki,
    /// Takes anybody who signed himself.
    easy: Pki,
    empty: Pki,
    hosts: Vec<Certificate>,
}

fn received(fixed: &Fixed, data: &[u8]) {
    let certificate = Certificate {
        encoding: 4,
        data: data.to_vec(),
    };
    for peer in peers() {
        assert!(judged(&fixed.empty, &peer, &certificate).is_none());
        if judged(&fixed.trusting, &peer, &certificate).is_some() {
            let part = signed_part(data).expect("read by the library");
            let mut known = fixed.hosts.iter().filter_map(|one| signed_part(&one.data));
            assert!(known.any(|known| known == part), "nobody signed that");
        }
        if let Some(key) = judged(&fixed.easy, &peer, &certificate) {
            // Nobody issued it: there is nothing to be said about that.
            assert!(key.principals.iter().all(|text| !text.starts_with(LOCAL)));
        }
    }
}

fn credentials(fixed: &Fixed, data: &[u8]) {
    let certificate = |parts: &[&[u8]]| Certificate {
        encoding: 11,
        data: parts.concat(),
    };
    let peer = &peers()[0];
    let text = data.strip_suffix(b"\0").unwrap_or(data);
    let Some(key) = judged(&fixed.empty, peer, &certificate(&[text])) else {
        return;
    };
    let with_zero = judged(&fixed.empty, peer, &certificate(&[text, b"\0"]));
    assert_eq!(with_zero.expect("the same").principals, key.principals);
    // One that nobody signed spoils all.
    let unsigned = b"\n\nAuthorizer: \"a\"\nLicensees: \"b\"\n";
    assert!(judged(&fixed.empty, peer, &certificate(&[text, unsigned])).is_none());
}

fn list(fixed: &Fixed, data: &[u8]) {
    let with = pki(
        false,
        &[&AUTHORITIES[..2], &LISTS, &[("/etc/isakmpd/crls/x", data)]],
    );
    let alone = pki(
        false,
        &[&AUTHORITIES[..2], &[("/etc/isakmpd/crls/x", data)]],
    );
    let peers = peers();
    let leaf = judged(&with, &peers[0], &fixed.hosts[0]);
    assert!(leaf.is_some(), "revoked by nobody");
    assert!(judged(&with, &peers[1], &fixed.hosts[1]).is_none());
    // One list says nothing of the authority's own certificate, or of the host's.
    if judged(&alone, &peers[0], &fixed.hosts[0]).is_some() {
        assert!(judged(&alone, &peers[1], &fixed.hosts[1]).is_some());
    }
}

fn stored(data: &[u8]) {
    let pki = pki(false, &[&[("/etc/isakmpd/certs/x", data)]]);
    for peer in peers() {
        let key = pki.key_of(&peer, &[]).ok();
        let sent = pki.certificate_of(&peer, &[]);
        assert!(key.is_none() || sent.is_some());
        if let Some(key) = key {
            no_signature(&key);
        }
        quiet(&pki);
    }
}

fn raw(data: &[u8]) {
    let pki = pki(false, &[&[("/etc/isakmpd/pubkeys/ipv4/10.77.0.1", data)]]);
    for peer in peers() {
        let key = pki.key_of(&peer, &[]).ok();
        quiet(&pki);
        if let Some(key) = key {
            assert_eq!(peer, peers()[2]);
            assert!(key.principals.len() == 1 && key.principals[0].starts_with("rsa-hex:"));
            no_signature(&key);
        }
    }
}

thread_local! {
    static FIXED: Fixed = Fixed {
        trusting: pki(false, &[&AUTHORITIES]),
        easy: pki(true, &[]),
        empty: pki(false, &[]),
        hosts: hosts(),
    };
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    FIXED.with(|fixed| match kind % 5 {
        0 => received(fixed, data),
        1 => credentials(fixed, data),
        2 => list(fixed, data),
        3 => stored(data),
        _ => raw(data),
    });
});
