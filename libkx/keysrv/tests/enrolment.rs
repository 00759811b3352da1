//! signer, verify and countersigner together: how a set-top box gets its certificate (keysrv spec 15).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use inferno_auth::certificate::Certificate;
use inferno_auth::framing;
use inferno_auth::generate;
use inferno_auth::key::{PrivateKey, PublicKey};
use inferno_auth::number;
use keysrv::program::{Exit, fake};
use keysrv::{countersigner, signer, verify};
use kx_crypto::digest::Algorithm;

const GOLDEN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../interop-tests/vectors/keysrv/authinfo"
);

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in ["keydb/signed", "keydb/countersigned"] {
        std::fs::create_dir_all(root.path().join(name)).unwrap();
    }
    let key = root.path().join("keydb/signerkey");
    std::fs::copy(format!("{GOLDEN}/signerkey.rsa"), key).unwrap();
    root
}

/// What the box of the test sends and gets.
struct Peer(UnixStream);

impl Peer {
    fn send(&mut self, message: &[u8]) {
        let mut octets = Vec::new();
        framing::write(&mut octets, message).unwrap();
        self.0.write_all(&octets).unwrap();
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut header = [0; framing::HEADER];
        self.0.read_exact(&mut header).ok()?;
        let length: usize = std::str::from_utf8(&header[..4]).unwrap().parse().unwrap();
        let mut text = vec![0; length];
        self.0.read_exact(&mut text).unwrap();
        Some(text)
    }
}

type Serve = fn(&mut keysrv::program::Environment, &mut TcpStream) -> Exit;

/// Serves one connection; gives the exit and what was complained about.
fn serve(name: &str, root: &Path, with: Serve, talk: impl FnOnce(&mut Peer)) -> (Exit, String) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let (mut env, _, stderr) = fake::environment(name, root, b"");
    let server = thread::spawn(move || {
        let mut connection = TcpStream::from(OwnedFd::from(ours));
        with(&mut env, &mut connection)
    });
    talk(&mut Peer(theirs));
    let exit = server.join().unwrap();
    (exit, stderr.text())
}

fn look(root: &Path, name: &str, answer: &str) -> (Exit, String, String) {
    let (mut env, stdout, stderr) = fake::environment("verify", root, answer.as_bytes());
    let exit = verify::run(&mut env, vec![name.into()]);
    (exit, stdout.text(), stderr.text())
}

fn box_key(owner: &str) -> PrivateKey {
    let signer = std::fs::read(format!("{GOLDEN}/signerkey.rsa")).unwrap();
    let signer = inferno_auth::authinfo::AuthInfo::parse(&signer).unwrap();
    generate::key_from(signer.public_key(), owner).unwrap()
}

#[test]
fn a_box_gets_its_certificate() {
    let root = root();
    let key = box_key("box 1");
    let own = key.public().text();
    let (mut signer_key, mut blinded) = (Vec::new(), Vec::new());
    let served = serve("signer", root.path(), signer::serve, |peer| {
        signer_key = peer.receive().unwrap();
        let (alpha, p) = (peer.receive().unwrap(), peer.receive().unwrap());
        // Form P: the prime's first bit is set, and no octet stands before it.
        assert!(!p.starts_with(b"AI"));
        assert_eq!(number::read_login(&p).unwrap().bits(), 1024);
        assert_eq!(number::read_login(&alpha).unwrap().bits(), 160);
        peer.send(own);
        blinded = peer.receive().unwrap();
    });
    assert_eq!(served, (Exit::Success, String::new()));
    assert!(Certificate::parse(&blinded).is_err());

    // Nobody has looked yet.
    let ask = |name: &'static str, answer: &mut Option<Vec<u8>>| {
        let with = countersigner::serve;
        serve("countersigner", root.path(), with, |peer| {
            peer.send(name.as_bytes());
            *answer = peer.receive();
        })
    };
    let mut blind = None;
    let (exit, text) = ask("box 1", &mut blind);
    let wanted = "countersigner: can't open countersigned/box 1: no such file or directory\n";
    assert_eq!((exit, text.as_str(), &blind), (Exit::Error, wanted, &None));

    // What is shown is the digest of what both ends have seen.
    let sum = Algorithm::Md5
        .digest(&[&signer_key, own, &blinded])
        .unwrap();
    let (exit, shown, _) = look(root.path(), "box 1", "n\n");
    assert_eq!(exit, Exit::Error);
    assert!(
        shown.ends_with("\n\naccept (y or n)? \nrejected\n"),
        "{shown}"
    );
    assert_eq!(
        shown.lines().filter(|line| line.contains('\t')).count(),
        sum.len()
    );
    let first = shown.split([' ', '\t']).nth(1).unwrap();
    assert_eq!(
        u32::from(first.as_bytes()[0] - b'a'),
        u32::from(sum[0] >> 4)
    );
    assert_eq!(ask("box 1", &mut blind).0, Exit::Error);
    assert_eq!(look(root.path(), "box 1", "").0, Exit::Error);
    let (exit, shown, _) = look(root.path(), "box 1", "yes\n");
    assert_eq!(exit, Exit::Success);
    assert!(shown.ends_with("\naccepted\n"));

    let served = ask("box 1", &mut blind);
    assert_eq!(served, (Exit::Success, String::new()));
    let text: Vec<u8> = blinded
        .iter()
        .zip(blind.unwrap())
        .map(|(a, b)| a ^ b)
        .collect();
    let certificate = Certificate::parse(&text).unwrap();
    let signer_key = PublicKey::parse(&signer_key).unwrap();
    assert!(certificate.verify(&signer_key, own));
    assert_eq!(certificate.expiry(), 0);
    for file in ["signed/box 1", "countersigned/box 1"] {
        let found = std::fs::metadata(root.path().join("keydb").join(file)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }
}

/// The original writes `/keydb/keys` for whoever calls himself `../keys`.
#[test]
fn names_do_not_lead_elsewhere() {
    let root = root();
    let keys = root.path().join("keydb/keys");
    std::fs::write(&keys, "the data base").unwrap();
    for name in ["../keys", "..", ".", "a/b", "a\u{1}b"] {
        let key = box_key(name);
        let served = serve("signer", root.path(), signer::serve, |peer| {
            for _ in 0..3 {
                peer.receive().unwrap();
            }
            peer.send(key.public().text());
            assert_eq!(peer.receive(), None);
        });
        assert_eq!(served, (Exit::Error, "signer: illegal name\n".to_owned()));
        let served = serve("countersigner", root.path(), countersigner::serve, |peer| {
            peer.send(name.as_bytes());
            assert_eq!(peer.receive(), None);
        });
        let wanted = "countersigner: illegal name\n".to_owned();
        assert_eq!(served, (Exit::Error, wanted));
        let (exit, _, text) = look(root.path(), name, "y\n");
        assert_eq!(
            (exit, text.as_str()),
            (Exit::Error, "signer: illegal name\n")
        );
    }
    assert_eq!(std::fs::read(&keys).unwrap(), b"the data base");
    let signed = std::fs::read_dir(root.path().join("keydb/signed")).unwrap();
    assert_eq!(signed.count(), 0);
}

#[test]
fn what_boxes_send_amiss() {
    let root = root();
    let talk = |message: Option<&[u8]>| {
        serve("signer", root.path(), signer::serve, |peer| {
            for _ in 0..3 {
                peer.receive().unwrap();
            }
            if let Some(message) = message {
                peer.0.write_all(message).unwrap();
            }
            peer.0.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(peer.receive(), None);
        })
    };
    let short = b"0028\nrsa\nbox\nf/8=\nAQAB\n0123456789\n";
    for (message, wanted) in [
        (None, "caller hung up"),
        (Some(&b"0010\nrsa"[..]), "caller hung up"),
        (Some(b"!003\nbad"), "caller hung up"),
        (Some(b"hello\n"), "caller hung up"),
        (Some(b"0004\nrsa\n"), "illegal caller PK"),
        (
            Some(short),
            "illegal caller PK: key of 15 bits is too short (need 512)",
        ),
    ] {
        let (exit, text) = talk(message);
        assert_eq!((exit, text), (Exit::Error, format!("signer: {wanted}\n")));
    }
}

#[test]
fn without_a_data_base_or_key() {
    let empty = tempfile::tempdir().unwrap();
    for (name, with) in [
        ("signer", signer::serve as Serve),
        ("countersigner", countersigner::serve),
    ] {
        let (exit, text) = serve(name, empty.path(), with, |_| {});
        let wanted = format!("{name}: no key database\n");
        assert_eq!((exit, text), (Exit::Error, wanted));
    }
    let (exit, _, text) = look(empty.path(), "box", "y\n");
    assert_eq!(
        (exit, text.as_str()),
        (Exit::Error, "signer: no key database\n")
    );
    std::fs::create_dir_all(empty.path().join("keydb/signed")).unwrap();
    let (exit, text) = serve("signer", empty.path(), signer::serve, |_| {});
    assert_eq!(exit, Exit::Error);
    assert!(text.starts_with("signer: can't read key: "), "{text}");
    let (_, _, text) = look(empty.path(), "box", "y\n");
    assert_eq!(
        text,
        "signer: can't open signed/box: no such file or directory\n"
    );
    std::fs::write(empty.path().join("keydb/signed/box"), "0003\nabc").unwrap();
    let (_, _, text) = look(empty.path(), "box", "y\n");
    assert_eq!(
        text,
        "signer: can't read signed/box: input or format error\n"
    );
    let (mut env, _, stderr) = fake::environment("verify", empty.path(), b"");
    assert_eq!(verify::run(&mut env, Vec::new()), Exit::Usage);
    assert_eq!(stderr.text(), "usage: verify boxid\n");
}
