//! The same words: tools of ours and of the original with the same answers ("keysrv spec 12, 13, 15"),
//! and domains by ElGamal. Needs an Inferno with its emulator in `KX_REF_INFERNO`.

use std::net::Ipv4Addr;
use std::time::Duration;

use interop_tests::inferno::database::{self, User};
use interop_tests::inferno::domain::{Domain, MASTER};
use interop_tests::inferno::framing;
use interop_tests::inferno::keys::{Key, sha1, verifies};
use interop_tests::inferno::original::{Machine, Original, Ports, original_or_skip};
use interop_tests::inferno::ours::Root;
use interop_tests::inferno::sts::connect;
use interop_tests::subject::workspace;

const BOB: &str = "bob's old password";
const NEW: &str = "a rather new password";

/// What stands behind the last line that only one of both has.
fn after<'a>(screen: &'a str, mark: &str) -> &'a str {
    screen.split_once(mark).map_or(screen, |(_, rest)| rest)
}

#[test]
fn changelogin_says_the_same() {
    let Some(original) = original_or_skip("changelogin_says_the_same") else {
        return;
    };
    let dialogs: [&[(&str, &str)]; 4] = [
        &[
            ("secret: ", "short"),
            ("secret: ", BOB),
            ("confirm: ", BOB),
            ("]: ", "1234567"),
            ("]: ", "32012030"),
            ("]: ", "00012030"),
            ("]: ", "01132030"),
            ("]: ", "01011969"),
            ("]: ", "01012000"),
            ("]: ", "xxxxxxxx"),
            ("]: ", "17012037"),
        ],
        &[("]: ", ""), ("]: ", "permanent")],
        &[("]: ", NEW), ("confirm: ", NEW), ("]: ", "31122036")],
        &[("]: ", NEW), ("confirm: ", "no")],
    ];
    let machine = Machine::new(original, Ports::free());
    machine.put("keydb/keys", b"");
    machine.put("keydb/nvram", MASTER);
    let root = Root::new();
    root.put("keydb/keys", b"");
    root.put("keydb/nvram", MASTER);
    let keyfs = root.keyfs();
    for answers in dialogs {
        let mut theirs = machine.start(
            "keyfs -n /keydb/nvram /keydb/keys\necho BEGIN\nchangelogin bob\necho halt > /dev/sysctl",
        );
        let mut ours = root.dialog("changelogin", &["bob"]);
        for (question, answer) in answers {
            theirs.ask(question, answer);
            ours.ask(question, answer);
        }
        let (mut theirs, (_, ours)) = (theirs.end(), ours.end());
        // It asks first and then puts the echo off: what is typed at once may be seen.
        for (question, answer) in answers.iter().filter(|(q, _)| *q != "]: ") {
            theirs = theirs.replace(&format!("{question}{answer}\n\n"), &format!("{question}\n"));
        }
        // So is the answer to the question for a secret that there is already.
        if let Some((_, answer)) = answers.first() {
            let question = "don't change]: ";
            theirs = theirs.replace(&format!("{question}{answer}\n\n"), &format!("{question}\n"));
        }
        assert_eq!(ours, after(&theirs, "BEGIN\n"), "{answers:?}");
        // The day: once the original has refused a date it forgets that days end at midnight.
        let days = |users: Vec<User>| {
            let days = users.into_iter().map(|user| User {
                expire: user.expire / 86400,
                ..user
            });
            days.collect::<Vec<_>>()
        };
        let stored = database::read(&machine.get("keydb/keys"), MASTER);
        assert_eq!(days(root.users(MASTER)), days(stored), "{answers:?}");
    }
    keyfs.stop();
}

#[test]
fn createsignerkey_complains_the_same() {
    let Some(original) = original_or_skip("createsignerkey_complains_the_same") else {
        return;
    };
    let machine = Machine::new(original, Ports::free());
    let root = Root::new();
    for args in [
        &["-b", "31", "x"][..],
        &["-b", "4097", "x"],
        &["-a", "dh", "x"],
        &["-e", "1012030", "x"],
        &["-e", "32012030", "x"],
        &["-e", "01132030", "x"],
        &["-e", "01011960", "x"],
        &["-e", "01012000", "x"],
    ] {
        let theirs = machine.run(&format!("createsignerkey {}", args.join(" ")));
        let ours = root.run("createsignerkey", args);
        assert_eq!(ours.stdout_text() + &ours.stderr_text(), theirs, "{args:?}");
        assert_ne!(ours.rc, 0, "{args:?}");
    }
}

#[test]
fn verify_shows_the_same_words() {
    let Some(original) = original_or_skip("verify_shows_the_same_words") else {
        return;
    };
    let machine = Machine::new(original, Ports::free());
    let root = Root::new();
    for dir in ["keydb/signed", "keydb/countersigned"] {
        std::fs::create_dir_all(root.path(dir)).expect("a directory");
    }
    for digest in [
        [0u8; 16],
        [0xff; 16],
        std::array::from_fn(|i| (i * 37 + 11) as u8),
    ] {
        let mut file = Vec::new();
        framing::send(&mut file, b"what hides the certificate").expect("memory");
        framing::send(&mut file, &digest).expect("memory");
        machine.put("keydb/signed/box", &file);
        root.put("keydb/signed/box", &file);
        let mut theirs = machine.start("verify box\necho halt > /dev/sysctl");
        let mut ours = root.dialog("verify", &["box"]);
        let question = "accept (y or n)? ";
        assert_eq!(ours.ask(question, "y"), theirs.ask(question, "y"));
        theirs.end();
        assert_eq!(ours.end().0, 0);
        let name = "keydb/countersigned/box";
        assert_eq!(root.get(name), machine.get(name));
    }
}

/// A set-top box is enrolled by the programs of either: its messages are the tests' own, since the boxes' program
/// (register) is not among what is left of the original.
#[test]
fn signer_and_countersigner_say_the_same_to_a_box() {
    let Some(original) = original_or_skip("signer_and_countersigner_say_the_same_to_a_box") else {
        return;
    };
    let ports = Ports::free();
    let machine = Machine::new(original, ports);
    machine.make_signer();
    let domain = Domain::with(&[], &["--signer"]);
    for dir in ["keydb/signed", "keydb/countersigned"] {
        std::fs::create_dir_all(domain.root.path(dir)).expect("a directory");
        std::fs::create_dir_all(machine.path(dir)).expect("a directory");
    }
    let mut running = machine.start(
        "ndb/cs\n\
         listen -v -A -t 'tcp!127.0.0.1!infsigner' {signer&}\n\
         listen -v -A -t 'tcp!127.0.0.1!infcsigner' {countersigner&}\n\
         echo READY\n",
    );
    running.expect("READY");
    let here = |port| (Ipv4Addr::LOCALHOST, port).into();
    let ours = domain.service.ports();
    for (name, signer, countersigner) in [
        ("original", ports.signer, ports.countersigner),
        ("ours", ours.signer, ours.countersigner),
    ] {
        let mut stream = connect(here(signer));
        // The original's random numbers take their time.
        let limit = Some(Duration::from_secs(120));
        stream.set_read_timeout(limit).expect("a limit");
        let mut hear = || {
            let heard = framing::receive(&mut stream);
            heard.text().expect(name)
        };
        let own = String::from_utf8(hear()).expect("a key");
        let (alpha, p) = (hear(), hear());
        assert!(alpha.len() <= p.len(), "{name}");
        let key = Key::new("box", 512);
        let mut stream = &stream;
        framing::send(&mut stream, key.public().as_bytes()).expect("sent");
        let blinded = framing::receive(&mut stream).text().expect("a certificate");
        let accept = "verify box\necho halt > /dev/sysctl";
        if name == "original" {
            // An emulator of its own on the same tree.
            let mut verify = machine.start(accept);
            verify.ask("accept (y or n)? ", "y");
            verify.end();
        } else {
            let mut verify = domain.root.dialog("verify", &["box"]);
            verify.ask("accept (y or n)? ", "y");
            assert_eq!(verify.end().0, 0);
        }
        let mut stream = connect(here(countersigner));
        framing::send(&mut stream, b"box").expect("sent");
        let blind = framing::receive(&mut stream).text().expect("the blind");
        assert_eq!(blind.len(), blinded.len(), "{name}");
        let certificate: Vec<u8> = blind.iter().zip(&blinded).map(|(a, b)| a ^ b).collect();
        let certificate = String::from_utf8(certificate).expect("a certificate");
        assert!(
            verifies(&own, &certificate, key.public().as_bytes()),
            "{name}: {certificate}"
        );
        // For ever, and of nobody else.
        assert_eq!(certificate.lines().nth(3), Some("0"), "{name}");
    }
}

/// To make a safe prime takes the original minutes: it made these when the vectors were recorded.
#[test]
fn elgamal_domains_work_both_ways() {
    let Some(original) = original_or_skip("elgamal_domains_work_both_ways") else {
        return;
    };
    let vectors = workspace().join("interop-tests/vectors/keysrv/authinfo");
    let file = |name: &str| std::fs::read(vectors.join(name)).expect(name);
    elgamal_domain(
        original,
        &file("signerkey.elgamal"),
        &file("keysrv_default.elgamal"),
    );
}

/// Ours makes a safe prime of this size in some seconds.
#[test]
fn elgamal_domains_of_1024_bits_work_both_ways() {
    let Some(original) = original_or_skip("elgamal_domains_of_1024_bits_work_both_ways") else {
        return;
    };
    let root = Root::new();
    root.elgamal_signer();
    elgamal_domain(
        original,
        &root.get("keydb/signerkey"),
        &root.get("usr/root/keyring/default"),
    );
}

fn elgamal_domain(original: &'static Original, signer: &[u8], server: &[u8]) {
    let ports = Ports::free();
    let machine = Machine::new(original, ports);
    for (key, file) in [
        (signer, "keydb/signerkey"),
        (server, "usr/root/keyring/default"),
    ] {
        machine.put(file, key);
    }
    let users = [
        User::hashed("bob", BOB),
        User::new("alice", b"alice in wonderland"),
    ];

    // The original's clients at our servers.
    let root = Root::new();
    for file in ["keydb/signerkey", "usr/root/keyring/default"] {
        root.put(file, machine.get(file));
    }
    root.fill(&users, MASTER);
    let keyfs = root.keyfs();
    let service = root.serve_on(ports, &[]);
    let mut login = machine.start("ndb/cs\ngetauthinfo given\necho halt > /dev/sysctl");
    login.ask("use signer [$SIGNER]: ", "127.0.0.1");
    login.ask("remote user name [root]: ", "bob");
    login.ask("password: ", BOB);
    login.ask("save in file [yes]: ", "yes");
    login.end();
    assert!(
        machine
            .get("usr/root/keyring/given")
            .windows(11)
            .any(|w| w == b"elgamal\nbob")
    );
    let mut passwd = machine.start(&format!(
        "ndb/cs\npasswd -s 'tcp!127.0.0.1!{}' given\necho halt > /dev/sysctl",
        ports.key
    ));
    passwd.ask("Inferno secret: ", BOB);
    passwd.ask("new secret [default = don't change]: ", NEW);
    passwd.ask("confirm: ", NEW);
    passwd.end();
    assert_eq!(root.user("bob", MASTER).secret, sha1(NEW.as_bytes()));
    let changed = root.get("keydb/keys");
    service.stop();
    keyfs.stop();

    // Ours at the original's servers, with the database that ours has written.
    let _running = machine.serve(&changed, MASTER);
    let mut login = root.dialog("getauthinfo", &["given"]);
    login.ask(
        "use signer [$SIGNER]: ",
        &format!("tcp!127.0.0.1!{}", ports.login),
    );
    login.ask("remote user name [root]: ", "bob");
    login.ask("password: ", NEW);
    login.ask("save in file [yes]: ", "");
    let (status, screen) = login.end();
    assert_eq!(status, 0, "{screen}");
    let made = root.run("mkauthinfo", &["-k", &root.signer_spec(), "alice"]);
    assert_eq!(made.rc, 0, "{}", made.stderr_text());
    root.put("usr/root/keyring/alice", &made.stdout);
    let address = format!("tcp!127.0.0.1!{}", ports.key);
    let mut passwd = root.dialog("passwd", &["-s", &address, "alice"]);
    passwd.ask("Inferno secret: ", "alice in wonderland");
    passwd.ask("new secret [default = don't change]: ", NEW);
    passwd.ask("confirm: ", NEW);
    let (status, screen) = passwd.end();
    assert_eq!(status, 0, "{screen}");
    let stored = database::read(&machine.get("keydb/keys"), MASTER);
    assert_eq!(stored[1], User::new("alice", NEW.as_bytes()));
}
