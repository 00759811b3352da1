//! Our programs on terminals: every question, every complaint, every exit status
//! ("keysrv spec 10.1, 12, 13").

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use interop_tests::inferno::database::{self, User};
use interop_tests::inferno::domain::{Domain, MASTER};
use interop_tests::inferno::keys::{AuthInfo, hex, sha1, verifies};
use interop_tests::inferno::ninep::dial;
use interop_tests::inferno::ours::Root;
use interop_tests::inferno::terminal::Dialog;
use interop_tests::program::{Finished, signal};
use interop_tests::wait::{self, SOON};

const BOB: &str = "bob's old password";
const NEW: &str = "a rather new password";

/// Ends well, and nothing secret was shown.
fn well(dialog: Dialog) -> String {
    let (status, screen) = dialog.end();
    assert_eq!(status, 0, "{screen}");
    for secret in [BOB, NEW, MASTER] {
        assert!(!screen.contains(secret), "shown: {screen}");
    }
    screen
}

/// Ends with a status and these last words.
fn badly(dialog: Dialog, wanted: i32, last: &str) {
    let (status, screen) = dialog.end();
    assert!(
        status == wanted && screen.ends_with(last),
        "{status}, {screen:?}"
    );
}

fn refused(done: &Finished, status: i32, text: &str) {
    let said = done.stderr_text();
    assert!(
        done.rc == status && said == text,
        "{} {said:?} for {text:?}",
        done.rc
    );
}

// keyfs

#[test]
fn keyfs_asks_twice_for_a_new_database() {
    let root = Root::new();
    root.put("keydb/keys", b"");
    let mut mismatch = root.dialog("keyfs", &["-F"]);
    mismatch.ask("Key: ", MASTER);
    mismatch.ask("Confirm key: ", "something else");
    badly(mismatch, 1, "keyfs: key mismatch\n");

    let mut nothing = root.dialog("keyfs", &["-F"]);
    nothing.ask("Key: ", "");
    assert_eq!(nothing.end().0, 0);

    let mut running = root.dialog("keyfs", &["-F"]);
    // BS deletes.
    running.expect("Key: ");
    running.keys(format!("{MASTER}xy\u{8}\u{8}\n").as_bytes());
    running.expect("Confirm key: ");
    running.answer(MASTER);
    let socket = wait::until(SOON * 2, || UnixStream::connect(root.keys_socket()).ok());
    assert!(socket.is_some(), "no socket");
    let (mut client, top) = dial(&root.keys_socket());
    let fid = client.walk(top, &[]).expect("a copy");
    client
        .create(fid, "alice", 0x8000_01c0, 0)
        .expect("created");
    client
        .store(top, &["alice", "secret"], b"x")
        .expect("stored");
    assert_eq!(root.users(MASTER), [User::new("alice", b"x")]);
    signal(running.child().id(), "TERM");
    well(running);

    // Once there is something in it, one question is enough.
    let mut wrong = root.dialog("keyfs", &["-F"]);
    wrong.ask("Key: ", "not the password");
    let path = root.path("keydb/keys");
    let text = format!(
        "keyfs: {}: incorrect key or corrupt/damaged keyfile\n",
        path.display()
    );
    badly(wrong, 1, &text);
    assert_eq!(root.users(MASTER), [User::new("alice", b"x")]);
}

#[test]
fn keyfs_goes_on_in_the_background() {
    let root = Root::new();
    root.fill(&[User::new("alice", b"x")], MASTER);
    let mut dialog = root.dialog("keyfs", &[]);
    dialog.ask("Key: ", MASTER);
    well(dialog);
    UnixStream::connect(root.keys_socket()).expect("the socket is there at once");
    let (mut client, top) = dial(&root.keys_socket());
    assert_eq!(
        client.contents(top, &["alice", "secret"]),
        Ok(b"x".to_vec())
    );
    // A second one does not fight with it.
    let nvram = root.path("keydb/nvram").display().to_string();
    let second = root.run("keyfs", &["-F", "-n", &nvram, "-m", "/nowhere/at/all"]);
    assert_eq!(second.rc, 1, "{}", second.stderr_text());
    let background = root.processes();
    assert_eq!(background.len(), 1, "{background:?}");
    signal(background[0], "TERM");
    let gone = wait::until(SOON, || {
        UnixStream::connect(root.keys_socket())
            .is_err()
            .then_some(())
    });
    assert!(gone.is_some(), "it goes on");
}

#[test]
fn keyfs_takes_its_key_from_a_file() {
    let root = Root::new();
    let nvram = root.path("keydb/nvram").display().to_string();
    // All of the file counts, the end of the line too.
    root.put("keydb/nvram", "word\n");
    root.put(
        "keydb/keys",
        database::write(&[User::new("a", b"b")], "word\n"),
    );
    root.keyfs().stop();
    root.put("keydb/nvram", "word");
    let path = root.path("keydb/keys");
    let before = root.get("keydb/keys");
    let text = format!(
        "keyfs: {}: incorrect key or corrupt/damaged keyfile\n",
        path.display()
    );
    refused(&root.run("keyfs", &["-F", "-n", &nvram]), 1, &text);
    assert_eq!(root.get("keydb/keys"), before);
    let missing = root.run("keyfs", &["-F", "-n", "/no/such/file"]);
    assert!(
        missing
            .stderr_text()
            .starts_with("keyfs: can't read /no/such/file: ")
    );
    assert_eq!(missing.rc, 1);
    std::fs::remove_file(&path).expect("removed");
    let missing = root.run("keyfs", &["-F", "-n", &nvram]);
    let text = format!("keyfs: can't open {}: ", path.display());
    assert!(missing.rc == 1 && missing.stderr_text().starts_with(&text));
    let usage = "Usage: keyfs [-D] [-m mountpoint] [keyfile]\n";
    refused(&root.run("keyfs", &["-z"]), 2, usage);
}

// changelogin, convpasswd

#[test]
fn changelogin_makes_and_changes_accounts() {
    let root = Root::new();
    root.fill(&[User::new("carol", b"x")], MASTER);
    let none = root.run("changelogin", &["bob"]);
    assert_eq!(none.rc, 1, "without keyfs: {}", none.stderr_text());
    let _keyfs = root.keyfs();
    let expires = "expires [DDMMYYYY/permanent, return = ";

    let mut mismatch = root.dialog("changelogin", &["bob"]);
    mismatch.expect("new account\n");
    mismatch.ask("secret: ", "short");
    mismatch.expect("!secret must be at least 8 characters\n");
    mismatch.ask("secret: ", BOB);
    mismatch.ask("confirm: ", "something else");
    badly(
        mismatch,
        1,
        "Entries do not match. Authinfo record unchanged.\n",
    );
    assert_eq!(root.users(MASTER).len(), 1);

    let mut bob = root.dialog("changelogin", &["bob"]);
    bob.ask("secret: ", BOB);
    bob.ask("confirm: ", BOB);
    for (answer, complaint) in [
        ("1234567", "!bad date format 1234567\n"),
        ("32012030", "!bad day of month 32\n"),
        ("00012030", "!bad day of month 0\n"),
        ("01132030", "!bad month 13\n"),
        (
            "01011969",
            "!bad year 1969 (year may be no earlier than 1970)\n",
        ),
        (
            "01012000",
            "!bad expiration date 01012000 (must be between ",
        ),
    ] {
        bob.ask(expires, answer);
        bob.expect(complaint);
    }
    bob.ask(expires, "17012037");
    assert!(well(bob).ends_with("change written\n"));
    let entry = root.user("bob", MASTER);
    assert_eq!(entry.secret, sha1(BOB.as_bytes()));
    assert_eq!(
        entry.expire, 2_115_849_599,
        "the last second of the day, UTC"
    );

    // Return keeps both, to the second.
    let mut same = root.dialog("changelogin", &["bob"]);
    same.ask("secret [default = don't change]: ", "");
    same.ask("expires [DDMMYYYY/permanent, return = 17012037]: ", "");
    well(same);
    assert_eq!(root.user("bob", MASTER), entry);

    let mut forever = root.dialog("changelogin", &["bob"]);
    forever.ask("secret [default = don't change]: ", NEW);
    forever.ask("confirm: ", NEW);
    forever.ask(expires, "permanent");
    well(forever);
    assert_eq!(root.user("bob", MASTER), User::hashed("bob", NEW));
    assert_eq!(root.run("changelogin", &[]).rc, 2);
}

#[test]
fn convpasswd_reads_the_third_edition() {
    let root = Root::new();
    root.fill(&[User::new("there", b"already")], MASTER);
    let _keyfs = root.keyfs();
    // A digest that starts with a zero octet is one octet short in such a file.
    let short = openssl::base64::encode_block(&[7; 19]);
    let whole = openssl::base64::encode_block(&[9; 20]);
    let lines = format!("one:{whole}:2000000000:other\ntwo:{short}:0\nthere:{whole}:0\n");
    root.put("keydb/password", lines);
    let done = root.run("convpasswd", &["-v"]);
    assert_eq!(done.rc, 0, "{}", done.stderr_text());
    let expire = User {
        expire: 2_000_000_000,
        ..User::new("one", &[9; 20])
    };
    let mut padded = [7; 20];
    padded[0] = 0;
    let there = User::new("there", b"already");
    assert_eq!(
        root.users(MASTER),
        [there, expire, User::new("two", &padded)]
    );
    assert_eq!(root.run("convpasswd", &["-f"]).rc, 0);
    assert_eq!(root.user("there", MASTER).secret, [9; 20]);
}

// passwd, getauthinfo

fn domain() -> Domain {
    let disabled = User {
        status: 1,
        ..User::hashed("mallory", BOB)
    };
    Domain::new(&[
        User::hashed("bob", BOB),
        User::new("alice", b"alice in wonderland"),
        User::new("empty", b""),
        disabled,
    ])
}

fn passwd(domain: &Domain, user: &str) -> Dialog {
    let file = format!("usr/root/keyring/{user}");
    domain.root.put(&file, domain.issue_quickly(user).file());
    let address = format!("tcp!127.0.0.1!{}", domain.service.ports().key);
    domain.root.dialog("passwd", &["-s", &address, user])
}

#[test]
fn passwd_changes_a_secret() {
    let domain = domain();
    let mut bob = passwd(&domain, "bob");
    bob.expect("key owner: bob\n");
    bob.ask("Inferno secret: ", "something else");
    bob.expect("!wrong secret\n");
    bob.ask("Inferno secret: ", BOB);
    let question = "new secret [default = don't change]: ";
    bob.ask(question, "1234567");
    bob.expect("!secret must be at least 8 characters\n");
    bob.ask(question, NEW);
    bob.ask("confirm: ", "something else");
    bob.expect("!entries didn't match\n");
    bob.ask(question, NEW);
    bob.ask("confirm: ", NEW);
    assert!(well(bob).ends_with("confirm: \n"), "success is silent");
    assert_eq!(domain.root.user("bob", MASTER).secret, sha1(NEW.as_bytes()));
    assert!(domain.login("bob", NEW).is_ok());
    assert!(domain.login("bob", BOB).is_err());

    for (answers, what) in [
        (&[("Inferno secret: ", "")][..], "no answer"),
        (&[("Inferno secret: ", NEW), (question, "")], "no new one"),
        (
            &[
                ("Inferno secret: ", NEW),
                (question, NEW),
                ("confirm: ", NEW),
            ],
            "the same one",
        ),
    ] {
        let before = domain.root.get("keydb/keys");
        let mut bob = passwd(&domain, "bob");
        for (question, answer) in answers {
            bob.ask(question, answer);
        }
        well(bob);
        assert_eq!(domain.root.get("keydb/keys"), before, "{what}");
    }
}

#[test]
fn passwd_says_why_it_cannot() {
    let domain = domain();
    for (user, last) in [
        ("ghost", "passwd: user not registered: ghost\n"),
        ("empty", "passwd: no existing secret\n"),
        (
            "mallory",
            "passwd: error reading mallory/secret: user disabled\n",
        ),
    ] {
        let mut client = passwd(&domain, user);
        client.ask("Inferno secret: ", BOB);
        badly(client, 1, last);
    }
    let address = format!("tcp!127.0.0.1!{}", domain.service.ports().key);
    let missing = domain.root.run("passwd", &["-s", &address, "missing"]);
    let file = domain.root.path("usr/root/keyring/missing");
    let text = format!("passwd: can't read certificate from {}: ", file.display());
    assert!(
        missing.rc == 1 && missing.stderr_text().starts_with(&text),
        "{missing:?}"
    );

    let expired = domain.signer.key.owned_by("bob");
    let expired = domain.signer.issue_for(expired, 1_500_000_000);
    domain.root.put("usr/root/keyring/expired", expired.file());
    let refused = domain.root.run("passwd", &["-s", &address, "expired"]);
    let text = format!("passwd: can't authenticate with {address}: remote: certificate expired\n");
    assert!(
        refused.rc == 1 && refused.stderr_text() == text,
        "{refused:?}"
    );

    domain
        .root
        .put("usr/root/keyring/bob", domain.issue_quickly("bob").file());
    let closed = "tcp!127.0.0.1!1";
    let refused = domain.root.run("passwd", &["-s", closed, "bob"]);
    let text = format!("passwd: can't dial {closed}: ");
    assert!(
        refused.rc == 1 && refused.stderr_text().starts_with(&text),
        "{refused:?}"
    );
    // Whose certificate the server shows can be asked for.
    let stranger = ["--server-name", "somebody", "-s", &address, "bob"];
    assert_eq!(domain.root.run("passwd", &stranger).rc, 1);
    assert_eq!(domain.root.run("passwd", &["-z"]).rc, 2);
}

#[test]
fn getauthinfo_gets_a_certificate() {
    let domain = domain();
    let signer = format!("tcp!127.0.0.1!{}", domain.service.ports().login);
    let mut client = domain.root.dialog("getauthinfo", &["given"]);
    client.ask("use signer [$SIGNER]: ", &signer);
    client.ask("remote user name [root]: ", "bob");
    client.ask("password: ", "not the password");
    client.expect(
        "getauthinfo: failed to authenticate: name or secret incorrect (alpha**r0 mod p)\n",
    );
    // What was answered is offered.
    client.ask(&format!("use signer [{signer}]: "), "");
    client.ask("remote user name [bob]: ", "");
    client.ask("password: ", BOB);
    client.ask("save in file [yes]: ", "");
    well(client);
    let path = domain.root.path("usr/root/keyring/given");
    let mode = path.metadata().expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let info = AuthInfo::read(&domain.root.get("usr/root/keyring/given"));
    assert!(verifies(
        &info.signer,
        &info.certificate,
        info.key.public().as_bytes()
    ));
    let mut session = domain.session(&info).expect("a session");
    assert_eq!(session.check(BOB.as_bytes()), Ok(0));

    // Not to be kept: somewhere that ends with the session, and it says where.
    let mut client = domain.root.dialog("getauthinfo", &["other"]);
    client.ask("use signer [$SIGNER]: ", &signer);
    client.ask("remote user name [root]: ", "bob");
    client.ask("password: ", BOB);
    client.ask("save in file [yes]: ", "no");
    let screen = well(client);
    assert!(!domain.root.path("usr/root/keyring/other").exists());
    let stored = domain.root.path("inferno/keyring/other");
    assert!(screen.contains(&stored.display().to_string()), "{screen}");
    AuthInfo::read(&domain.root.get("inferno/keyring/other"));
    let usage = "usage: getauthinfo {net!hostname | default | /file}\n";
    refused(&domain.root.run("getauthinfo", &[]), 2, usage);
}

/// The same by ElGamal, with keys as long as those by RSA.
#[test]
fn a_domain_by_elgamal_of_1024_bits() {
    let root = Root::new();
    root.elgamal_signer();
    root.fill(&[User::hashed("bob", BOB)], MASTER);
    let _keyfs = root.keyfs();
    let service = root.serve(&[]);
    let mut login = root.dialog("getauthinfo", &["given"]);
    let signer = format!("tcp!127.0.0.1!{}", service.ports().login);
    login.ask("use signer [$SIGNER]: ", &signer);
    login.ask("remote user name [root]: ", "bob");
    login.ask("password: ", BOB);
    login.ask("save in file [yes]: ", "");
    well(login);
    let given = root.get("usr/root/keyring/given");
    assert!(given.windows(11).any(|part| part == b"elgamal\nbob"));
    let address = format!("tcp!127.0.0.1!{}", service.ports().key);
    let mut passwd = root.dialog("passwd", &["-s", &address, "given"]);
    passwd.ask("Inferno secret: ", BOB);
    passwd.ask("new secret [default = don't change]: ", NEW);
    passwd.ask("confirm: ", NEW);
    well(passwd);
    assert_eq!(root.user("bob", MASTER).secret, sha1(NEW.as_bytes()));
}

// Key tools

#[test]
fn createsignerkey_and_its_complaints() {
    let root = Root::new();
    for (args, status, text) in [
        (
            &["-b", "31", "x"][..],
            1,
            "createsignerkey: modulus must be in the range of 32 to 4096 bits\n",
        ),
        (
            &["-b", "4097", "x"],
            1,
            "createsignerkey: modulus must be in the range of 32 to 4096 bits\n",
        ),
        (
            &["-a", "dh", "x"],
            1,
            "createsignerkey: unknown algorithm: dh\n",
        ),
    ] {
        refused(&root.run("createsignerkey", args), status, text);
    }
    for (date, text) in [
        ("1012030", "!date must be in form ddmmyyyy\n"),
        ("32012030", "!bad day of month\n"),
        ("01132030", "!bad month\n"),
        ("01011960", "!bad year\n"),
        ("01012000", "!expiration date must be in the future\n"),
    ] {
        let done = root.run("createsignerkey", &["-e", date, "x"]);
        let said = done.stderr_text() + &done.stdout_text();
        assert!(done.rc != 0 && said.contains(text), "{date}: {said:?}");
    }
    assert_eq!(root.run("createsignerkey", &[]).rc, 2);
    assert!(!root.path("keydb/signerkey").exists());

    let made = root.run("createsignerkey", &["-e", "01012030", "signer.example"]);
    assert_eq!(made.rc, 0, "{}", made.stderr_text());
    let mode = root.path("keydb/signerkey").metadata().expect("the file");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let info = AuthInfo::read(&root.get("keydb/signerkey"));
    let public = info.key.public();
    assert_eq!(info.signer, public, "its own signer");
    assert!(verifies(&info.signer, &info.certificate, public.as_bytes()));
    let lines: Vec<&str> = info.certificate.lines().collect();
    // 24:59:59 of that day.
    assert_eq!(lines[..4], ["rsa", "sha1", "signer.example", "1893545999"]);
    assert_eq!(
        info.p,
        openssl::bn::BigNum::get_rfc3526_prime_2048().expect("a number")
    );
    assert_eq!(
        info.alpha,
        openssl::bn::BigNum::from_u32(2).expect("a number")
    );
    assert!(public.ends_with("\nAQAB\n"), "65537: {public}");
}

#[test]
fn mkauthinfo_and_getpk() {
    let root = Root::new();
    assert_eq!(
        root.run("createsignerkey", &["-b", "1024", "signer.example"])
            .rc,
        0
    );
    let made = root.run("mkauthinfo", &["-k", &root.signer_spec(), "bob smith"]);
    assert_eq!(made.rc, 0, "{}", made.stderr_text());
    let info = AuthInfo::read(&made.stdout);
    assert_eq!(info.key.owner, "bob smith");
    let public = info.key.public();
    assert!(verifies(&info.signer, &info.certificate, public.as_bytes()));

    let path = root.path("bob").display().to_string();
    let made = root.run("mkauthinfo", &["-k", &root.signer_spec(), "bob", &path]);
    assert!(made.rc == 0 && made.stdout.is_empty(), "{made:?}");
    let bob = AuthInfo::read(&root.get("bob"));
    let public = bob.key.public();
    let said = |args: &[&str]| root.run("getpk", args).stdout_text();
    assert_eq!(said(&[&path]).trim_end(), hex(&sha1(public.as_bytes())));
    assert_eq!(
        said(&["-s", &path]).trim_end(),
        hex(&sha1(bob.signer.as_bytes()))
    );
    assert!(said(&["-a", &path]).contains(public.trim_end()));
    assert!(said(&["-u", &path]).trim_end().ends_with("bob"));
    let two = said(&[&path, &path]);
    assert_eq!(
        two.lines()
            .filter(|l| l.starts_with(&format!("{path}: ")))
            .count(),
        2
    );
    // It goes on with the next file, and ends well, as the original.
    let missing = root.run("getpk", &["/no/such/file"]);
    let text = "getpk: cannot read /no/such/file: ";
    assert!(
        missing.rc == 0 && missing.stderr_text().starts_with(text),
        "{missing:?}"
    );

    let line = root.run("ai2key", &[&path]).stdout_text();
    assert!(line.starts_with("key proto=infauth "), "{line}");
    for part in [
        "sigalg=rsa-sha1",
        "user=bob",
        "signer=signer.example",
        "!sk=",
        "dh-alpha=",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn the_name_says_which_program() {
    let root = Root::new();
    let program = interop_tests::subject::subject().program("inferno-auth");
    let link = root.path("getpk");
    std::os::unix::fs::symlink(program, &link).expect("a link");
    let path = root.path("none").display().to_string();
    let by_name = interop_tests::program::run(&link, &[&path]);
    let by_word = root.run("getpk", &[&path]);
    assert_eq!((by_name.rc, by_name.stderr), (by_word.rc, by_word.stderr));
    assert_eq!(root.run("nonsense", &[]).rc, 2);
}
