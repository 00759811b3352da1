//! Inferno's authentication service: an account, a login, a change of secret, and the database
//! taken apart by hand.

use std::error::Error;

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use interop_tests::inferno::database;
use interop_tests::inferno::keys::{AuthInfo, hex, sha1, verifies};
use interop_tests::inferno::login::{self, Bent};
use interop_tests::inferno::original::{Machine, Ports, original};
use interop_tests::inferno::ours::Root;
use interop_tests::inferno::sts::connect;
use interop_tests::inferno::terminal::Dialog;
use interop_tests::program::signal;
use interop_tests::wait;

use crate::show::{answer, command, meaning, step, title};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Opens the database.
const MASTER: &str = "the administrator's word";
const OLD: &str = "correct horse";
const NEW: &str = "battery staple";

/// The whole story.
pub(crate) fn run(bin: &Path) -> Outcome<()> {
    title("keysrv and its company: accounts and certificates for Inferno, on Linux.");
    let root = Root::of(&bin.canonicalize()?.join("inferno-auth"));
    let ports = Ports::free();

    step(
        1,
        "The domain gets a signer, and the server a key that he has certified.",
    );
    tool(&root, "createsignerkey", &["signer.example"])?;
    let default = root.path("usr/root/keyring/default").display().to_string();
    tool(
        &root,
        "mkauthinfo",
        &["-k", &root.signer_spec(), "root", &default],
    )?;
    root.put("keydb/keys", b"");
    meaning("files that a real Inferno reads as well");

    step(
        2,
        "The service starts: keyfs asks for the word that encrypts the database.",
    );
    let numbers = [ports.login, ports.key, ports.signer, ports.countersigner];
    let numbers = numbers.map(|port| port.to_string()).join(",");
    let args = ["--bind", "127.0.0.1", "--ports", &numbers];
    let mut service = start(&root, "svc-auth", &args);
    service.ask("Key: ", MASTER);
    service.ask("Confirm key: ", MASTER);
    let key = (Ipv4Addr::LOCALHOST, ports.key);
    let there = wait::until(Duration::from_secs(20), || TcpStream::connect(key).ok());
    there.ok_or("nobody listens")?;
    meaning("keyfs serves the accounts on a socket of its own, logind and keysrv on TCP");

    step(3, "The administrator makes an account.");
    let mut dialog = start(&root, "changelogin", &["bob"]);
    dialog.expect("new account");
    dialog.ask("secret: ", OLD);
    dialog.ask("confirm: ", OLD);
    dialog.ask("return = ", "permanent");
    finish(dialog)?;
    meaning("stored before the program ends");

    step(
        4,
        "Bob logs in: for his password he gets a certificate of a key that he made himself.",
    );
    let mut dialog = start(&root, "getauthinfo", &["bob"]);
    dialog.ask("use signer", &format!("tcp!127.0.0.1!{}", ports.login));
    dialog.ask("remote user name", "bob");
    dialog.ask("password: ", OLD);
    dialog.ask("save in file", "yes");
    finish(dialog)?;
    let info = AuthInfo::read(&root.get("usr/root/keyring/bob"));
    let public = info.key.public();
    if info.key.owner != "bob" || !verifies(&info.signer, &info.certificate, public.as_bytes()) {
        return Err("the certificate is not good".into());
    }
    let lines: Vec<&str> = info.certificate.lines().take(4).collect();
    answer(&format!("certificate: {} ...", lines.join(" ")));
    meaning("the signature is checked here with OpenSSL's numbers, and right");

    step(
        5,
        "With the certificate he authenticates to keysrv and changes his secret.",
    );
    let address = format!("tcp!127.0.0.1!{}", ports.key);
    let mut dialog = start(&root, "passwd", &["-s", &address, "bob"]);
    dialog.ask("Inferno secret: ", OLD);
    dialog.ask("new secret", NEW);
    dialog.ask("confirm: ", NEW);
    finish(dialog)?;
    meaning("station-to-station authentication, then 9P in encrypted records");

    step(6, "The old secret is refused, the new one is good.");
    let mut dialog = start(&root, "passwd", &["-s", &address, "bob"]);
    dialog.ask("Inferno secret: ", OLD);
    dialog.expect("!wrong secret");
    dialog.ask("Inferno secret: ", "");
    finish(dialog)?;
    for (password, good) in [(OLD, false), (NEW, true)] {
        let stream = connect((Ipv4Addr::LOCALHOST, ports.login).into());
        let key = info.key.owned_by("bob");
        let done = login::login(stream, key, password.as_bytes(), &Bent::default());
        if done.is_ok() != good {
            return Err(format!("a login with {password:?}: {:?}", done.err()).into());
        }
        let outcome = done.err().unwrap_or_else(|| "a certificate".to_owned());
        answer(&format!("login with {password:?}: {outcome}"));
    }
    meaning("passwd and login agree, which they never did in the original");

    step(
        7,
        "The database on disk, by hand, with nothing but SHA1 and AES.",
    );
    take_apart(&root.get("keydb/keys"))?;
    by_the_original(&root)?;

    signal(service.child().id(), "TERM");
    let (status, screen) = service.end();
    match status {
        0 => Ok(()),
        _ => Err(format!("svc-auth ended with {status}: {screen}").into()),
    }
}

/// Runs a program that asks nothing.
fn tool(root: &Root, program: &str, args: &[&str]) -> Outcome<()> {
    command(&format!("inferno-auth {program} {}", args.join(" ")));
    let done = root.run(program, args);
    answer(&done.stderr_text());
    match done.rc {
        0 => Ok(()),
        status => Err(format!("{program} ended with {status}").into()),
    }
}

/// Starts one that asks.
fn start(root: &Root, program: &str, args: &[&str]) -> Dialog {
    command(&format!("inferno-auth {program} {}", args.join(" ")));
    root.dialog(program, args)
}

/// What was on its screen; secrets are never on it.
fn finish(dialog: Dialog) -> Outcome<()> {
    let (status, screen) = dialog.end();
    answer(&screen);
    if screen.contains(OLD) || screen.contains(NEW) {
        return Err("a secret was shown".into());
    }
    match status {
        0 => Ok(()),
        _ => Err(format!("it ended with {status}").into()),
    }
}

/// The original's format, one step after the other.
fn take_apart(file: &[u8]) -> Outcome<()> {
    let key = database::key(MASTER.as_bytes());
    answer(&format!(
        "SHA1(\"aescbc file\" + word), first 16 octets: {}",
        hex(&key)
    ));
    let iv = file.get(..16).ok_or("too short")?;
    answer(&format!(
        "the file's first 16 octets, the IV:           {}",
        hex(iv)
    ));
    let plain = database::decrypt(&key, file);
    answer(&format!(
        "AES-128-CBC of the other {}: {}",
        plain.len(),
        hex(&plain)
    ));
    let users = database::users(&plain).ok_or("not the original's format")?;
    answer("it ends with 16 times \"X\": the word was right; before that a user:");
    let [bob] = users.as_slice() else {
        return Err(format!("one user was made, not {}", users.len()).into());
    };
    answer(&format!(
        "  status {}, failures {}, expires {}",
        bob.status, bob.failed, bob.expire
    ));
    answer(&format!("  name   {} octets: {}", bob.name.len(), bob.name));
    answer(&format!(
        "  secret {} octets: {}",
        bob.secret.len(),
        hex(&bob.secret)
    ));
    let digest = sha1(NEW.as_bytes());
    answer(&format!("SHA1({NEW:?}):        {}", hex(&digest)));
    if bob.secret != digest {
        return Err("the secret is not the digest of the new one".into());
    }
    meaning("the original's format, octet for octet");
    Ok(())
}

/// Where there is an original, it has the last word.
fn by_the_original(root: &Root) -> Outcome<()> {
    let Some(original) = original() else {
        return Ok(());
    };
    step(8, "An Inferno opens the same file.");
    let machine = Machine::new(original, Ports::free());
    machine.put("keydb/keys", root.get("keydb/keys"));
    machine.put("keydb/nvram", MASTER);
    let lines =
        "auth/keyfs -n /keydb/nvram /keydb/keys; ls -l /mnt/keys/bob; cat /mnt/keys/bob/status";
    command(lines);
    let said = machine.run(&lines.replace("auth/", "").replace("; ", "\n"));
    answer(&said);
    if !said.contains("20 ") || !said.trim_end().ends_with("ok") {
        return Err("the original does not read it".into());
    }

    meaning("it finds bob and a secret of 20 octets");
    Ok(())
}
