//! Ours against the original ("keysrv spec 9-13"): clients, servers, databases and key files both
//! ways round. Needs an Inferno with its emulator in `KX_REF_INFERNO`.

use interop_tests::inferno::database::{self, User};
use interop_tests::inferno::keys::{AuthInfo, Key, hex, sha1, verifies};
use interop_tests::inferno::login;
use interop_tests::inferno::ninep::NineP;
use interop_tests::inferno::original::{Machine, Ports, Running, original_or_skip};
use interop_tests::inferno::ours::{Root, Service};
use interop_tests::inferno::sts::{self, connect};

/// Password of every database here.
const MASTER: &str = "the master's password";
const BOB: &str = "bob's old password";
const NEW: &str = "a rather new password";

/// One of every sort: a clear secret, hashed ones, an empty one, a disabled and an expired account.
fn everybody() -> Vec<User> {
    let disabled = User {
        status: 1,
        ..User::hashed("mallory", BOB)
    };
    let expired = User {
        expire: 1_500_000_000,
        ..User::hashed("oscar", BOB)
    };
    let expiring = User {
        expire: 2_114_380_799,
        ..User::hashed("eve", BOB)
    };
    vec![
        User::new("alice", b"alice in wonderland"),
        User::hashed("bob", BOB),
        User::new("empty", b""),
        disabled,
        expired,
        expiring,
    ]
}

fn local(port: u16) -> std::net::SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, port).into()
}

/// The original with a signer, everybody in its database, logind and keysrv running.
fn original_server(test: &str) -> Option<(Machine, Ports, Running)> {
    let ports = Ports::free();
    let machine = Machine::new(original_or_skip(test)?, ports);
    machine.make_signer();
    let running = machine.serve(&database::write(&everybody(), MASTER), MASTER);
    Some((machine, ports, running))
}

/// Ours with the key files of an original's signer, everybody in its database.
fn our_server(machine: &Machine, ports: Ports) -> (Root, Service, Service) {
    let root = Root::new();
    root.put("keydb/signerkey", machine.get("keydb/signerkey"));
    root.put(
        "usr/root/keyring/default",
        machine.get("usr/root/keyring/default"),
    );
    root.fill(&everybody(), MASTER);
    let keyfs = root.keyfs();
    let service = root.serve_on(ports, &[]);
    (root, keyfs, service)
}

/// An original that is only a client of the ports, with a signer's key files to make others from.
fn original_client(test: &str) -> Option<(Machine, Ports)> {
    let ports = Ports::free();
    let machine = Machine::new(original_or_skip(test)?, ports);
    machine.make_signer();
    Some((machine, ports))
}

/// The original's mkauthinfo for each user, into its keyring.
fn make_authinfo(machine: &Machine, users: &[&str]) {
    let lines: Vec<String> = users
        .iter()
        .map(|user| {
            format!("mkauthinfo -k 'key=/keydb/signerkey' {user} > /usr/root/keyring/{user}\n")
        })
        .collect();
    machine.run(&lines.concat());
}

/// Starts the original's passwd under one of its key files.
fn original_passwd(machine: &Machine, ports: Ports, user: &str) -> Running {
    machine.start(&format!(
        "ndb/cs\npasswd -s 'tcp!127.0.0.1!{}' {user}\necho status $status.\necho halt > /dev/sysctl",
        ports.key
    ))
}

/// Starts the original's getauthinfo up to its question for the password.
fn original_getauthinfo(machine: &Machine, user: &str) -> Running {
    let mut client =
        machine.start("ndb/cs\ngetauthinfo given\necho status $status.\necho halt > /dev/sysctl");
    client.ask("use signer [$SIGNER]: ", "127.0.0.1");
    client.ask("remote user name [root]: ", user);
    client
}

/// Checks a secret through the client of the tests' own.
fn check(address: std::net::SocketAddr, info: &AuthInfo, secret: &[u8]) -> Result<u32, String> {
    let records = sts::session(connect(address), info, "sha1/rc4_256")?;
    let mut client = NineP::new(records);
    client.version(8216, "9P2000")?;
    let root = client.attach("test")?;
    client.store(root, &["secret"], hex(&sha1(secret)).as_bytes())
}

/// What proves that the tests' own client is a client at all.
#[test]
fn original_server_takes_the_tests_own_client() {
    let test = "original_server_takes_the_tests_own_client";
    let Some((machine, ports, _running)) = original_server(test) else {
        return;
    };
    make_authinfo(&machine, &["alice"]);
    let alice = AuthInfo::read(&machine.get("usr/root/keyring/alice"));
    assert_eq!(
        check(local(ports.key), &alice, b"alice in wonderland"),
        Ok(0)
    );
    let wrong = check(local(ports.key), &alice, b"bob in wonderland");
    assert_eq!(wrong, Err("wrong secret".to_owned()));

    let bent = login::Bent::default();
    let stream = connect(local(ports.login));
    let eve = login::login(stream, Key::new("eve", 1024), BOB.as_bytes(), &bent);
    let eve = eve.expect("logged in");
    assert!(
        eve.certificate.contains("\n2114380799\n"),
        "{}",
        eve.certificate
    );
    let stream = connect(local(ports.login));
    let nobody = login::login(stream, Key::new("nobody", 1024), b"x", &bent);
    let text = "no password entry for nobody: '/mnt/keys/nobody' file does not exist";
    assert_eq!(nobody.err().as_deref(), Some(text));
}

#[test]
fn original_passwd_changes_secrets_on_our_server() {
    let test = "original_passwd_changes_secrets_on_our_server";
    let Some((machine, ports)) = original_client(test) else {
        return;
    };
    make_authinfo(&machine, &["alice", "bob", "ghost", "empty"]);
    let (root, _keyfs, _service) = our_server(&machine, ports);

    // The reference rule: the stored secret is the password itself.
    let mut alice = original_passwd(&machine, ports, "alice");
    alice.expect("key owner: alice\n");
    alice.ask("Inferno secret: ", "no wonderland");
    alice.expect("!wrong secret\n");
    alice.ask("Inferno secret: ", "alice in wonderland");
    alice.ask("new secret [default = don't change]: ", "short");
    alice.expect("!secret must be at least 8 characters\n");
    alice.ask("new secret [default = don't change]: ", NEW);
    alice.ask("confirm: ", NEW);
    assert!(alice.end().contains("status ."));
    assert_eq!(root.user("alice", MASTER).secret, NEW.as_bytes());

    // The fixed rule: the stored secret is the password's digest, and stays one.
    let mut bob = original_passwd(&machine, ports, "bob");
    bob.ask("Inferno secret: ", BOB);
    bob.ask("new secret [default = don't change]: ", NEW);
    bob.ask("confirm: ", NEW);
    assert!(bob.end().contains("status ."));
    assert_eq!(root.user("bob", MASTER).secret, sha1(NEW.as_bytes()));

    for (user, text) in [
        ("ghost", "passwd: user not registered: ghost\n"),
        ("empty", "passwd: no existing secret\n"),
    ] {
        let mut client = original_passwd(&machine, ports, user);
        client.ask("Inferno secret: ", "whatever it is");
        client.expect(text);
        assert!(client.end().contains("status error."));
    }
}

#[test]
fn original_passwd_with_an_expired_certificate_is_refused_by_our_server() {
    let test = "original_passwd_with_an_expired_certificate_is_refused_by_our_server";
    let Some((machine, ports)) = original_client(test) else {
        return;
    };
    let signer = AuthInfo::read(&machine.get("keydb/signerkey"));
    let key = Key::new("alice", 1024);
    let info = AuthInfo {
        certificate: signer.key.certify(key.public().as_bytes(), 1_500_000_000),
        key,
        ..signer
    };
    machine.put("usr/root/keyring/expired", info.file());
    let (_root, _keyfs, mut service) = our_server(&machine, ports);
    let mut client = original_passwd(&machine, ports, "expired");
    // What it says after this text is of no meaning (keysrv spec 12.1).
    client.expect("passwd: can't authenticate with tcp!127.0.0.1!");
    assert!(client.end().contains("status error."));
    service
        .log
        .expect("keysrv: can't authenticate: certificate expired");
}

#[test]
fn original_getauthinfo_logs_in_at_our_server() {
    let test = "original_getauthinfo_logs_in_at_our_server";
    let Some((machine, ports)) = original_client(test) else {
        return;
    };
    let (root, _keyfs, service) = our_server(&machine, ports);
    for (user, expiry) in [("bob", "0"), ("eve", "2114380799")] {
        let mut client = original_getauthinfo(&machine, user);
        client.ask("password: ", BOB);
        client.ask("save in file [yes]: ", "yes");
        assert!(client.end().contains("status ."));
        let info = AuthInfo::read(&machine.get("usr/root/keyring/given"));
        assert_eq!(info.key.owner, user);
        let lines: Vec<&str> = info.certificate.lines().collect();
        assert_eq!(lines[1..4], ["sha1", "signer.example", expiry]);
        let public = info.key.public();
        assert!(verifies(&info.signer, &info.certificate, public.as_bytes()));
        // And it is good for keysrv.
        assert_eq!(check(service.key(), &info, &sha1(BOB.as_bytes())), Ok(0));
        std::fs::remove_file(machine.path("usr/root/keyring/given")).expect("removed");
    }
    for user in ["bob", "nobody", "mallory", "oscar", "alice", "empty"] {
        let mut client = original_getauthinfo(&machine, user);
        client.ask("password: ", "not the password");
        client.expect(
            "getauthinfo: failed to authenticate: name or secret incorrect (alpha**r0 mod p)\n",
        );
        client.expect("use signer [127.0.0.1]: ");
    }
    assert_eq!(root.users(MASTER), everybody(), "nothing has changed");
}

#[test]
fn our_passwd_changes_secrets_on_the_original_server() {
    let test = "our_passwd_changes_secrets_on_the_original_server";
    let Some((machine, ports, _running)) = original_server(test) else {
        return;
    };
    make_authinfo(
        &machine,
        &["alice", "bob", "ghost", "empty", "mallory", "oscar"],
    );
    let root = Root::new();
    let address = format!("tcp!127.0.0.1!{}", ports.key);
    let passwd = |user: &str| {
        let file = format!("usr/root/keyring/{user}");
        root.put(&file, machine.get(&file));
        root.dialog("passwd", &["-s", &address, user])
    };
    let mut alice = passwd("alice");
    alice.expect("key owner: alice\n");
    alice.ask("Inferno secret: ", "no wonderland");
    alice.expect("!wrong secret\n");
    alice.ask("Inferno secret: ", "alice in wonderland");
    alice.ask("new secret [default = don't change]: ", NEW);
    alice.ask("confirm: ", NEW);
    let (status, screen) = alice.end();
    assert_eq!(status, 0, "{screen}");
    assert!(!screen.contains(NEW), "echoed: {screen}");
    let users = database::read(&machine.get("keydb/keys"), MASTER);
    assert_eq!(users[0].secret, NEW.as_bytes());

    for (user, text) in [
        ("ghost", "passwd: user not registered: ghost\n"),
        ("empty", "passwd: no existing secret\n"),
        ("mallory", "user disabled\n"),
        ("oscar", "user expired\n"),
        // Its rule knows no digests (keysrv spec 9.2).
        ("bob", "!wrong secret\n"),
    ] {
        let mut client = passwd(user);
        client.ask("Inferno secret: ", BOB);
        client.expect(text);
        if user == "bob" {
            client.ask("Inferno secret: ", "");
        }
        let (status, screen) = client.end();
        assert_eq!(status, i32::from(user != "bob"), "{screen}");
    }
}

#[test]
fn our_getauthinfo_logs_in_at_the_original_server() {
    let test = "our_getauthinfo_logs_in_at_the_original_server";
    let Some((_machine, ports, _running)) = original_server(test) else {
        return;
    };
    let root = Root::new();
    let signer = format!("tcp!127.0.0.1!{}", ports.login);
    let begin = |user: &str, password: &str| {
        let mut client = root.dialog("getauthinfo", &["given"]);
        client.ask("use signer [$SIGNER]: ", &signer);
        client.ask("remote user name [root]: ", user);
        client.ask("password: ", password);
        client
    };
    let mut client = begin("eve", BOB);
    client.ask("save in file [yes]: ", "");
    let (status, screen) = client.end();
    assert_eq!(status, 0, "{screen}");
    assert!(!screen.contains(BOB), "echoed: {screen}");
    let info = AuthInfo::read(&root.get("usr/root/keyring/given"));
    assert!(info.certificate.contains("\n2114380799\n"));
    // A second opinion: the original's keysrv takes it. (keysrv wants the digest of what is stored.)
    assert_eq!(check(local(ports.key), &info, &sha1(BOB.as_bytes())), Ok(0));

    for user in ["bob", "nobody", "mallory"] {
        let mut client = begin(user, "not the password");
        client.expect(
            "getauthinfo: failed to authenticate: name or secret incorrect (alpha**r0 mod p)\n",
        );
        // All questions again, the answers are the defaults.
        client.expect(&format!("use signer [{signer}]: "));
    }
}

#[test]
fn databases_go_both_ways() {
    let Some((machine, ports)) = original_client("databases_go_both_ways") else {
        return;
    };
    // Ours changes what the original wrote.
    let shell = "mkdir /mnt/keys/carol\necho -n 'carol was here' > /mnt/keys/carol/secret\n\
                 echo 2000000000 > /mnt/keys/carol/expire\necho bad > /mnt/keys/carol/log\n\
                 mkdir '/mnt/keys/d e'\necho disabled > '/mnt/keys/d e/status'\necho WRITTEN";
    machine.put("keydb/keys", b"");
    machine.put("keydb/nvram", MASTER);
    let said = machine.run(&format!("keyfs -n /keydb/nvram /keydb/keys\n{shell}"));
    assert!(said.contains("WRITTEN"), "{said}");
    let theirs = database::read(&machine.get("keydb/keys"), MASTER);
    let carol = User {
        failed: 1,
        expire: 2_000_000_000,
        ..User::new("carol", b"carol was here")
    };
    assert_eq!(theirs[0], carol);

    let root = Root::new();
    root.put("keydb/keys", machine.get("keydb/keys"));
    root.put("keydb/nvram", MASTER);
    let keyfs = root.keyfs();
    let mut change = root.dialog("changelogin", &["bob"]);
    change.expect("new account\n");
    change.ask("secret: ", BOB);
    change.ask("confirm: ", BOB);
    change.ask("expires [DDMMYYYY/permanent, return = ", "permanent");
    let (status, screen) = change.end();
    assert!(
        status == 0 && screen.contains("change written\n"),
        "{screen}"
    );
    assert_eq!(keyfs.stop().0, 0);
    let ours = root.users(MASTER);
    assert_eq!(ours[..2], theirs[..2], "what was there stays");
    assert_eq!(ours[2], User::hashed("bob", BOB));

    // The original reads what ours wrote, and bob logs in there.
    let mut running = machine.serve(&root.get("keydb/keys"), MASTER);
    let info = login::login(
        connect(local(ports.login)),
        Key::new("bob", 1024),
        BOB.as_bytes(),
        &login::Bent::default(),
    );
    assert_eq!(info.expect("logged in").key.owner, "bob");
    running.expect("listen: got connection");
    drop(running);
    let said = machine.run(
        "keyfs -n /keydb/nvram /keydb/keys\nls /mnt/keys\ncat /mnt/keys/carol/secret\n\
         for(f in status expire log){echo ' '^$f^' '^`{cat '/mnt/keys/carol/'^$f}}\n\
         cat '/mnt/keys/d e/status'",
    );
    for part in [
        "/mnt/keys/carol\n",
        "carol was here",
        "expire 2000000000",
        "log 1",
        "status ok",
        "disabled",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    // A wrong password is told, and nothing changes.
    machine.put("keydb/nvram", "another");
    let before = machine.get("keydb/keys");
    let said = machine.run("keyfs -n /keydb/nvram /keydb/keys");
    let refused = "keyfs: /keydb/keys: incorrect key or corrupt/damaged keyfile";
    assert!(said.contains(refused), "{said}");
    assert_eq!(machine.get("keydb/keys"), before);
}

#[test]
fn key_files_of_ours_serve_the_original() {
    let test = "key_files_of_ours_serve_the_original";
    let Some(original) = original_or_skip(test) else {
        return;
    };
    for compat in [true, false] {
        let ports = Ports::free();
        let machine = Machine::new(original, ports);
        let root = Root::new();
        let mut args = vec!["signer.example"];
        if compat {
            args.insert(0, "--compat");
        }
        let made = root.run("createsignerkey", &args);
        assert_eq!(made.rc, 0, "{}", made.stderr_text());
        let made = root.run("mkauthinfo", &["-k", &root.signer_spec(), "root"]);
        assert_eq!(made.rc, 0, "{}", made.stderr_text());
        machine.put("usr/root/keyring/default", &made.stdout);
        machine.put("keydb/signerkey", root.get("keydb/signerkey"));
        let _running = machine.serve(&database::write(&everybody(), MASTER), MASTER);
        // The original prints the same digest of the key.
        let said = machine.run("getpk -s /keydb/signerkey");
        let ours = root.run(
            "getpk",
            &["-s", &root.path("keydb/signerkey").display().to_string()],
        );
        assert_eq!(said, ours.stdout_text(), "getpk");

        let client = Machine::new(original, ports);
        let mut login = original_getauthinfo(&client, "bob");
        login.ask("password: ", BOB);
        login.ask("save in file [yes]: ", "yes");
        assert!(login.end().contains("status ."));
        let alice = root.run("mkauthinfo", &["-k", &root.signer_spec(), "alice"]);
        client.put("usr/root/keyring/alice", &alice.stdout);
        let mut change = original_passwd(&client, ports, "alice");
        change.ask("Inferno secret: ", "alice in wonderland");
        change.ask("new secret [default = don't change]: ", NEW);
        change.ask("confirm: ", NEW);
        assert!(change.end().contains("status ."), "compat {compat}");
        let users = database::read(&machine.get("keydb/keys"), MASTER);
        assert_eq!(users[0].secret, NEW.as_bytes(), "compat {compat}");
    }
}

#[test]
fn key_files_of_the_original_serve_ours() {
    let Some((machine, ports)) = original_client("key_files_of_the_original_serve_ours") else {
        return;
    };
    let (root, _keyfs, service) = our_server(&machine, ports);
    // Ours makes a user's key from the original's signer; the digests printed are the same.
    let made = root.run("mkauthinfo", &["-k", &root.signer_spec(), "alice"]);
    assert_eq!(made.rc, 0, "{}", made.stderr_text());
    machine.put("usr/root/keyring/alice", &made.stdout);
    root.put("usr/root/keyring/alice", &made.stdout);
    let alice = root.path("usr/root/keyring/alice").display().to_string();
    for option in ["", "-s", "-a", "-as"] {
        let theirs = machine.run(&format!("getpk {option} /usr/root/keyring/alice"));
        let mut args = vec![alice.as_str()];
        if !option.is_empty() {
            args.insert(0, option);
        }
        assert_eq!(
            root.run("getpk", &args).stdout_text(),
            theirs,
            "getpk {option}"
        );
    }
    let info = AuthInfo::read(&made.stdout);
    assert_eq!(check(service.key(), &info, b"alice in wonderland"), Ok(0));
    let mut passwd = original_passwd(&machine, ports, "alice");
    passwd.ask("Inferno secret: ", "alice in wonderland");
    passwd.ask("new secret [default = don't change]: ", "");
    assert!(passwd.end().contains("status ."));
}

#[test]
fn original_mount_shows_the_same_on_both_servers() {
    let test = "original_mount_shows_the_same_on_both_servers";
    let Some((machine, ports, running)) = original_server(test) else {
        return;
    };
    make_authinfo(&machine, &["alice"]);
    let hash = hex(&sha1(b"alice in wonderland"));
    let look = || {
        let said = machine.run(&format!(
            "ndb/cs\nmount -C 'sha1/rc4_256' -k /usr/root/keyring/alice 'tcp!127.0.0.1!{}' /n/local\n\
             ls /n/local\nls -l /n/local | sed 's/ [A-Z][a-z][a-z] .*:.. / /'\ncat /n/local/secret\n\
             echo -n wrong > /n/local/secret\necho -n {hash} > /n/local/secret\n\
             echo -n {hash}' short' > /n/local/secret\nmkdir /n/local/x\nrm /n/local\ncat /n/local/other",
            ports.key
        ));
        for part in ["/n/local/secret", "wrong secret", "unacceptable secret"] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        said
    };
    let theirs = look();
    drop(running);
    let (_root, _keyfs, _service) = our_server(&machine, ports);
    assert_eq!(look(), theirs);
}
