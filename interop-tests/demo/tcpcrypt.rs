//! tcpcrypt: two hosts encrypt every connection between them, and no program on them knows.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use interop_tests::lab::capture::Capture;
use interop_tests::lab::daemon::{Daemon, Row};
use interop_tests::lab::host::Host;
use interop_tests::lab::implementation::Implementation;
use interop_tests::lab::{self, Lab, Settings, applications};
use interop_tests::peers;
use interop_tests::subject::workspace;
use interop_tests::wait;

use crate::show::{answer, command, meaning, skipped, step, title};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Where the web server listens.
const WEB: u16 = 8080;
/// Where the program with the password listens.
const PASSWORD: u16 = 8081;
/// What is fetched, and must not be seen on the wire.
const LETTER: &str = "Dear Alice, the vault opens with 4711.\n";

/// A process that ends with the demo.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The whole story.
pub(crate) fn run(bin: &Path) -> Outcome<()> {
    title(
        "tcpcrypt encrypts TCP connections between hosts that both have it. No program is changed.",
    );
    if let Some(why) = lab::missing().or_else(no_program) {
        skipped(&format!(
            "{why}: not shown here (as root, interop-tests/peers.sh installs it)"
        ));
        return Ok(());
    }
    let ours = Implementation::in_directory(bin).ok_or("tcpcryptd is not built")?;
    // The laboratory keeps references to it as long as the process lives.
    let ours: &'static Implementation = Box::leak(Box::new(ours));
    let lab = Lab::new(Settings::default());

    step(
        1,
        "Two hosts on a cable, one with a web server. Somebody listens on the cable.",
    );
    fs::write(lab.dir().join("letter"), LETTER)?;
    let _web = web_server(&lab)?;
    let tap = lab.tap();
    fetch(&lab)?;
    seen(&tap, true)?;
    meaning("he reads everything");

    step(
        2,
        "tcpcryptd on both hosts, and a rule that sends them these packets.",
    );
    lab.divert(&format!("{WEB},{PASSWORD}"));
    command(&format!(
        "iptables -A OUTPUT -p tcp -m multiport --ports {WEB},{PASSWORD} -j NFQUEUE --queue-num 666 --queue-bypass"
    ));
    command("iptables -A INPUT  ... the same; tcpcryptd -p 666 &");
    let client = Daemon::start(&lab.client, ours, &[]);
    let server = Daemon::start(&lab.server, ours, &[]);
    answer(&server.log());
    meaning("running, without root's rights, in an empty directory");

    step(3, "The same web server and the same curl again.");
    let tap = lab.tap();
    fetch(&lab)?;
    seen(&tap, false)?;
    meaning("the SYN offers encryption (option 253), a key exchange follows, then noise");

    step(4, "While a connection is open, both hosts name it alike.");
    let (mut near, far) = lab.connection(PASSWORD)?;
    applications::talk(&near, &far, b"hello", b"hello yourself")?;
    let row = both_ids(&client, &server, &near)?;
    meaning("one session id at both ends; with somebody in between there would be two");

    step(
        5,
        "A program may ask for the id, and so find out who is at the other end: here by a password (a C program with libtcpcrypt).",
    );
    let program = compile(&lab, ours)?;
    for (theirs, good) in [("rosebud", true), ("guess", false)] {
        authenticate(&lab, ours, &program, &client, &server, theirs, good)?;
    }
    meaning("a password that never crossed the wire, bound to this very session");

    step(
        6,
        "The other host's daemon is killed (kill -9) in the middle.",
    );
    server.kill();
    let broken = end_of(&mut near);
    answer(&format!("connection {}: {broken}", row.local));
    if !broken.contains("reset") {
        return Err("an encrypted connection outlived its daemon".into());
    }
    drop(far);
    meaning("what was encrypted is reset, never continued in the clear");

    step(7, "That host is one without tcpcrypt now.");
    let tap = lab.tap();
    fetch(&lab)?;
    seen(&tap, true)?;
    let (mut near, mut far) = lab.connection(PASSWORD)?;
    applications::talk(&near, &far, b"hello", b"hello yourself")?;
    client.kill();
    near.write_all(b"still here")?;
    let mut text = [0; 10];
    far.read_exact(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let local = near.local_addr()?;
    answer(&format!(
        "this host's daemon is killed too; plain connection {local}: \"{text}\""
    ));
    fetch(&lab)?;
    meaning("its peers talk to it as ever, in plain TCP, also when their own daemon is gone");
    Ok(())
}

/// What the story needs beyond a laboratory and is not installed, if anything.
fn no_program() -> Option<String> {
    let needed = ["curl", "python3", "cc"];
    let missing = needed.into_iter().find(|program| !peers::on_path(program));
    missing.map(|program| format!("no program {program}"))
}

fn web_server(lab: &Lab) -> Outcome<Running> {
    command(&format!("python3 -m http.server {WEB} &"));
    let mut web = lab.server.command("python3");
    web.args(["-m", "http.server", "--protocol", "HTTP/1.1"])
        .arg(WEB.to_string())
        .current_dir(lab.dir())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let web = Running(web.spawn()?);
    let up = wait::until(Duration::from_secs(10), || {
        lab.client.connect(lab.server_address(WEB)).ok()
    });
    up.ok_or("the web server does not start")?;
    Ok(web)
}

fn fetch(lab: &Lab) -> Outcome<()> {
    let url = format!("http://{}:{WEB}/letter", lab.server.address);
    command(&format!("curl {url}"));
    let done = lab
        .client
        .command("curl")
        .args(["-sS", "--max-time", "10", &url])
        .output()?;
    answer(&String::from_utf8_lossy(&done.stderr));
    answer(&String::from_utf8_lossy(&done.stdout));
    if done.stdout == LETTER.as_bytes() {
        Ok(())
    } else {
        Err("curl did not get the letter".into())
    }
}

/// Shows what a tap saw of the last request, and demands that it is clear, or not.
fn seen(tap: &Capture, clear: bool) -> Outcome<()> {
    let asked = |text: &[u8]| tap.contains(text);
    wait::until(Duration::from_secs(1), || {
        (asked(b"4711") || !clear).then_some(())
    });
    answer("on the cable:");
    for segment in tap.segments() {
        let eno = segment.eno().map_or_else(String::new, |option| {
            let digits: Vec<String> = option.iter().map(|b| format!("{b:02x}")).collect();
            format!("  option {}", digits.join(" "))
        });
        if segment.payload.is_empty() && eno.is_empty() {
            continue;
        }
        let sender = if segment.source.port() == WEB {
            "server"
        } else {
            "client"
        };
        answer(&format!("  {sender}{eno}  {}", printable(&segment.payload)));
    }
    if (asked(b"GET /letter") && asked(b"4711")) == clear
        && (clear || !(asked(b"GET /letter") || asked(b"4711")))
    {
        Ok(())
    } else if clear {
        Err("the plain connection was not seen on the cable".into())
    } else {
        Err("the letter was seen on the cable".into())
    }
}

/// The beginning of some bytes, as a person can read them.
fn printable(bytes: &[u8]) -> String {
    let shown = bytes.get(..bytes.len().min(60)).unwrap_or_default();
    let text: String = shown
        .iter()
        .map(|b| {
            if b.is_ascii_graphic() || *b == b' ' {
                char::from(*b)
            } else {
                '.'
            }
        })
        .collect();
    let more = if bytes.len() > shown.len() { "..." } else { "" };
    format!("{text}{more}")
}

fn both_ids(client: &Daemon<'_>, server: &Daemon<'_>, near: &TcpStream) -> Outcome<Row> {
    let (local, remote) = (applications::local(near), applications::remote(near));
    let here = client
        .row_of(local, remote)
        .ok_or("not encrypted at the client")?;
    let there = server
        .row_of(remote, local)
        .ok_or("not encrypted at the server")?;
    for row in [&here, &there] {
        command("tcnetstat");
        answer(&format!(
            "{:<21} {:<21} {}",
            row.local.to_string(),
            row.remote.to_string(),
            row.id
        ));
    }
    if here.id == there.id {
        Ok(here)
    } else {
        Err("the session ids differ".into())
    }
}

/// Builds the C program against our header and library.
fn compile(lab: &Lab, ours: &Implementation) -> Outcome<PathBuf> {
    let library = lab.dir().join("libtcpcrypt.so.0");
    fs::copy(ours.library.join("libtcpcrypt.so"), &library)?;
    let program = lab.dir().join("tcpcrypt_password");
    let root = workspace();
    let source = root.join("interop-tests/c/tcpcrypt_password.c");
    command("cc tcpcrypt_password.c -ltcpcrypt -lcrypto");
    let done = Command::new("cc")
        .arg("-I")
        .arg(root.join("include"))
        .args([source.as_path(), library.as_path()])
        .args(["-lcrypto", "-Wl,-rpath,$ORIGIN", "-o"])
        .arg(&program)
        .output()?;
    answer(&String::from_utf8_lossy(&done.stderr));
    if done.status.success() {
        Ok(program)
    } else {
        Err("the C program does not compile".into())
    }
}

/// Both ends of the C program; the listening one knows "rosebud".
fn authenticate(
    lab: &Lab,
    ours: &Implementation,
    program: &Path,
    client: &Daemon<'_>,
    server: &Daemon<'_>,
    password: &str,
    good: bool,
) -> Outcome<()> {
    let start = |host: &Host, args: &[&str]| {
        let mut command = host.command(program);
        command
            .args(args)
            .env("LD_LIBRARY_PATH", &ours.library)
            .stdout(Stdio::piped());
        command.spawn()
    };
    let path = |d: &Daemon<'_>| d.control.to_string_lossy().into_owned();
    let port = PASSWORD.to_string();
    let mut far = Running(start(
        &lab.server,
        &[&path(server), "rosebud", "listen", &port],
    )?);
    let mut heard = BufReader::new(far.0.stdout.take().ok_or("no output")?);
    heard.read_line(&mut String::new())?;
    let address = lab.server.address.to_string();
    command(&format!(
        "tcpcrypt_password ... {password} connect {address} {port}"
    ));
    let near = start(
        &lab.client,
        &[&path(client), password, "connect", &address, &port],
    )?;
    let done = near.wait_with_output()?;
    answer(&String::from_utf8_lossy(&done.stdout));
    far.0.wait()?;
    if done.status.success() == good {
        Ok(())
    } else {
        Err("the C program's verdict is wrong".into())
    }
}

/// What a program sees of its connection when it goes on using it.
fn end_of(stream: &mut TcpStream) -> String {
    let limit = Some(Duration::from_millis(200));
    if let Err(e) = stream.set_read_timeout(limit) {
        return e.to_string();
    }
    for _ in 0..25 {
        // The other host's kernel must be told, or it would not answer anything.
        if let Err(e) = stream.write_all(b"are you there?") {
            return e.to_string();
        }
        match stream.read(&mut [0; 64]) {
            Ok(0) => return "closed".to_owned(),
            Ok(_) => return "went on".to_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return e.to_string(),
        }
    }
    "silence".to_owned()
}
