//! kxd: a disk is unlocked with a key from the network; strangers and impostors are refused.

use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use interop_tests::smtp_sink::{Manners, Sink};
use interop_tests::tls_client::Client;
use openssl::pkey::PKey;
use openssl::ssl::SslVersion;
use openssl::x509::X509;

use crate::show::{answer, command, meaning, step, title};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The server, ended when the demo ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where everything is.
struct Stage<'a> {
    bin: &'a Path,
    dir: &'a Path,
}

impl Stage<'_> {
    /// Runs a program of ours in the demo's directory and shows it as typed.
    fn run(&self, program: &str, args: &[&str]) -> Outcome<Output> {
        command(&format!("{program} {}", args.join(" ")));
        let output = Command::new(self.bin.join(program))
            .args(args)
            .current_dir(self.dir)
            .output()?;
        answer(&String::from_utf8_lossy(&output.stderr));
        Ok(output)
    }

    fn must(&self, program: &str, args: &[&str]) -> Outcome<Vec<u8>> {
        let output = self.run(program, args)?;
        if !output.status.success() {
            return Err(format!("{program} ended with {}", output.status).into());
        }
        Ok(output.stdout)
    }
}

/// The whole story.
pub(crate) fn run(bin: &Path) -> Outcome<()> {
    let temporary = tempfile::tempdir()?;
    let dir = temporary.path();
    let stage = Stage {
        bin: &bin.canonicalize()?,
        dir,
    };
    let sink = Sink::start(Manners::default());
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let url = format!("kxd://localhost:{port}/laptop/disk");

    title("kxd hands out the keys of encrypted disks, over the network, to the machines it knows.");

    step(
        1,
        "A certificate for the server, one for the laptop whose disk is encrypted.",
    );
    stage.must(
        "kxgencert",
        &[
            "-host=localhost",
            "-organization=kxd@server",
            "-cert=server.pem",
            "-key=server.key",
        ],
    )?;
    stage.must(
        "kxgencert",
        &[
            "-organization=kxc@laptop",
            "-cert=laptop.pem",
            "-key=laptop.key",
        ],
    )?;
    meaning("the private keys are readable by their owner only");

    step(
        2,
        "The server gets a key of 2048 random octets, and may give it to the laptop. Somebody wants a mail.",
    );
    add_client(dir)?;
    command("ls data/laptop/disk");
    answer("allowed_clients  email_to  key");

    command(
        "kxd -cert=server.pem -key=server.key -data_dir=data -logfile=log -port=... -smtp_addr=...",
    );
    let _server = start_server(&stage, port, sink.port)?;
    meaning("listening, and nobody gets a key without a certificate");

    step(
        3,
        "The laptop's disk is formatted with that key (a LUKS header in a file).",
    );
    luks_format(dir)?;

    step(
        4,
        "The laptop boots: it fetches the key and unlocks the disk. The key is never on the laptop.",
    );
    let fetch = [
        "-client_cert=laptop.pem",
        "-client_key=laptop.key",
        "-server_cert=server.pem",
        &url,
    ];
    let key = stage.must("kxc", &fetch)?;
    if key != fs::read(dir.join("data/laptop/disk/key"))? {
        return Err("the key came out changed".into());
    }
    command("kxc ... | cryptsetup open --test-passphrase --key-file=- disk.img");
    if !opens(dir, &key)? {
        return Err("cryptsetup refuses the key".into());
    }
    meaning("2048 octets came over TLS, and the disk opens");

    step(5, "The mail that was asked for has arrived.");
    let mail = sink
        .received(1)
        .messages
        .into_iter()
        .next()
        .ok_or("no mail came")?;
    answer(
        &mail
            .lines()
            .filter(|l| !l.is_empty() && *l != ".")
            .collect::<Vec<_>>()
            .join("\n"),
    );
    println!();

    step(
        6,
        "A stranger with a certificate of his own asks for the key.",
    );
    stage.must(
        "kxgencert",
        &[
            "-organization=stranger",
            "-cert=stranger.pem",
            "-key=stranger.key",
        ],
    )?;
    let refused = stage.run(
        "kxc",
        &[
            "-client_cert=stranger.pem",
            "-client_key=stranger.key",
            "-server_cert=server.pem",
            &url,
        ],
    )?;
    if refused.status.success() || !refused.stdout.is_empty() {
        return Err("the stranger got the key".into());
    }
    meaning("refused");

    step(
        7,
        "The stranger has found a copy of the laptop's certificate (not its private key) and sends it behind his own.",
    );
    for (version, name) in [
        (SslVersion::TLS1_2, "TLS 1.2"),
        (SslVersion::TLS1_3, "TLS 1.3"),
    ] {
        let status = impostor(dir, port, version)?;
        answer(&format!("{name}: {status}"));
        if !status.contains(" 403 ") {
            return Err("the impostor was not refused".into());
        }
    }
    meaning(
        "refused: only the certificate whose key was proven counts. The original kxd gives him the disk's key",
    );

    step(8, "What the server's log says.");
    command("cut -d' ' -f3- log");
    let log = fs::read_to_string(dir.join("log"))?;
    for line in log.lines() {
        answer(line.splitn(3, ' ').nth(2).unwrap_or(line));
    }
    println!();
    Ok(())
}

fn add_client(dir: &Path) -> Outcome<()> {
    let key_dir = dir.join("data/laptop/disk");
    command("mkdir -p data/laptop/disk && cd data/laptop/disk");
    fs::create_dir_all(&key_dir)?;
    command(
        "head -c 2048 /dev/urandom > key && cp laptop.pem allowed_clients && echo root@localhost > email_to",
    );
    let mut key = vec![0; 2048];
    openssl::rand::rand_bytes(&mut key)?;
    fs::write(key_dir.join("key"), key)?;
    fs::copy(dir.join("laptop.pem"), key_dir.join("allowed_clients"))?;
    fs::write(key_dir.join("email_to"), "root@localhost\n")?;
    Ok(())
}

fn start_server(stage: &Stage<'_>, port: u16, smtp: u16) -> Outcome<Server> {
    let socket = stage.dir.join("notify");
    let ready = UnixDatagram::bind(&socket)?;
    ready.set_read_timeout(Some(Duration::from_secs(5)))?;
    let server = Server(
        Command::new(stage.bin.join("kxd"))
            .args([
                "-cert=server.pem",
                "-key=server.key",
                "-data_dir=data",
                "-logfile=log",
                "-hook=",
            ])
            .arg("-ip_addr=127.0.0.1")
            .arg(format!("-port={port}"))
            .arg(format!("-smtp_addr=127.0.0.1:{smtp}"))
            .env("NOTIFY_SOCKET", socket)
            .current_dir(stage.dir)
            .stdin(Stdio::null())
            .spawn()?,
    );
    // The daemon says when it is ready, as to systemd (sd_notify(3)).
    let mut message = [0; 64];
    let n = ready
        .recv(&mut message)
        .map_err(|e| format!("the server is not ready: {e}"))?;
    if !message[..n].starts_with(b"READY=1") {
        return Err("the server said something else than READY=1".into());
    }
    Ok(server)
}

fn luks_format(dir: &Path) -> Outcome<()> {
    let image = fs::File::create(dir.join("disk.img"))?;
    image.set_len(20 << 20)?;
    command("cryptsetup luksFormat disk.img data/laptop/disk/key");
    // Few iterations: the key is random, and this is a demo.
    let output = cryptsetup(&[
        "luksFormat",
        "--batch-mode",
        "--type=luks2",
        "--pbkdf=pbkdf2",
        "--pbkdf-force-iterations=1000",
        "disk.img",
        "data/laptop/disk/key",
    ])
    .current_dir(dir)
    .output()
    .map_err(|e| format!("cryptsetup (package cryptsetup-bin): {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    println!();
    Ok(())
}

fn opens(dir: &Path, key: &[u8]) -> Outcome<bool> {
    use std::io::Write;
    let mut child = cryptsetup(&["open", "--test-passphrase", "--key-file=-", "disk.img"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(key)?;
    }
    Ok(child.wait()?.success())
}

fn cryptsetup(args: &[&str]) -> Command {
    let mut command = Command::new("cryptsetup");
    // An ordinary user's PATH lacks the place where Debian has it.
    command
        .args(args)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    command
}

/// Sends [stranger, laptop], proving the stranger's key; tells the answer's first line.
fn impostor(dir: &Path, port: u16, version: SslVersion) -> Outcome<String> {
    let cert = |name: &str| Outcome::Ok(X509::from_pem(&fs::read(dir.join(name))?)?);
    let key = PKey::private_key_from_pem(&fs::read(dir.join("stranger.key"))?)?;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let answer = Client::to(address)
        .version(version)
        .identity(vec![cert("stranger.pem")?, cert("laptop.pem")?], key)
        .get("/v1/laptop/disk");
    if answer.body.len() >= 2048 {
        return Err("the impostor got the key".into());
    }
    Ok(answer.status)
}
