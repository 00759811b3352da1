//! Starts a subject, measures it from outside, ends it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use interop_tests::certificates::{Pair, Recipe, rsa_key};

use crate::report::Figures;
use crate::{Amounts, load};

/// A program under test: the directory that holds its `kxd` and `kxc`.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) bin: PathBuf,
}

/// Certificates, key and data directory, the same for all.
pub(crate) struct Setup {
    dir: tempfile::TempDir,
    pub(crate) client: Pair,
}

impl Setup {
    pub(crate) fn make() -> Result<Setup, Box<dyn std::error::Error + Send + Sync>> {
        let dir = tempfile::tempdir()?;
        // As kxgencert makes them: RSA 2048, self-signed.
        let server = Recipe::new("bench server")
            .key(&rsa_key())
            .dns("localhost")
            .ip("127.0.0.1")
            .make();
        let client = Recipe::new("bench client").key(&rsa_key()).make();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes);
        write("cert.pem", &server.cert_pem())?;
        write("key.pem", &server.key_pem())?;
        write("client.pem", &client.cert_pem())?;
        write("client-key.pem", &client.key_pem())?;
        write(
            "client-both.pem",
            &[client.cert_pem(), client.key_pem()].concat(),
        )?;
        fs::create_dir_all(dir.path().join("data/host/disk"))?;
        write("data/host/disk/key", &[0x5a; 2048])?;
        write("data/host/disk/allowed_clients", &client.cert_pem())?;
        Ok(Setup { dir, client })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn start(setup: &Setup, subject: &Subject) -> io::Result<Server> {
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(subject.bin.join("kxd"))
            .arg(format!("-cert={}", setup.path("cert.pem").display()))
            .arg(format!("-key={}", setup.path("key.pem").display()))
            .arg(format!("-data_dir={}", setup.path("data").display()))
            .arg(format!("-hook={}", setup.path("no-hook").display()))
            .arg(format!("-logfile={}", setup.path("log").display()))
            .arg("-ip_addr=127.0.0.1")
            .arg(format!("-port={}", addr.port()))
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Server { child, addr })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the whole programme of one subject once.
pub(crate) fn measure(
    setup: &Setup,
    subject: &Subject,
    amounts: Amounts,
) -> Result<Figures, Box<dyn std::error::Error + Send + Sync>> {
    let idle = Server::start(setup, subject)?;
    std::thread::sleep(Duration::from_millis(300));
    let rss_idle = resident(idle.child.id())?;
    drop(idle);

    let began = Instant::now();
    let server = Server::start(setup, subject)?;
    let pid = server.child.id();
    let client = load::Client::new(setup, server.addr)?;
    let start = first_answer(&client, began)?;
    let rss_first = resident(pid)?;
    std::thread::sleep(Duration::from_millis(200));

    let before = cpu(pid)?;
    let fresh = load::fresh(setup, server.addr, amounts.fresh)?;
    let fresh_cpu = (cpu(pid)? - before).as_secs_f64() / amounts.fresh as f64;

    let before = cpu(pid)?;
    let keep_alive = load::keep_alive(setup, server.addr, amounts.keep_alive)?;
    let keep_alive_cpu = (cpu(pid)? - before).as_secs_f64() / amounts.keep_alive as f64;
    let rss_after = resident(pid)?;

    let idle = load::hold_idle(&client, amounts.idle)?;
    std::thread::sleep(Duration::from_millis(500));
    let rss_with_idle = resident(pid)?;
    drop(idle);

    let mut runs = Vec::new();
    for _ in 0..20 {
        runs.push(kxc(setup, subject, server.addr)?);
    }
    runs.sort();
    Ok(Figures {
        fresh_cpu_ms: fresh_cpu * 1e3,
        fresh_per_second: fresh.per_second,
        fresh_p50_ms: fresh.p50_ms,
        fresh_p99_ms: fresh.p99_ms,
        keep_alive_cpu_us: keep_alive_cpu * 1e6,
        keep_alive_per_second: keep_alive.per_second,
        keep_alive_p50_ms: keep_alive.p50_ms,
        keep_alive_p99_ms: keep_alive.p99_ms,
        start_ms: start.as_secs_f64() * 1e3,
        rss_idle_mb: rss_idle,
        rss_first_mb: rss_first,
        rss_after_mb: rss_after,
        rss_with_idle_mb: rss_with_idle,
        kxc_ms: runs[runs.len() / 2].as_secs_f64() * 1e3,
    })
}

fn first_answer(client: &load::Client, began: Instant) -> Result<Duration, String> {
    while began.elapsed() < Duration::from_secs(10) {
        if client.once().is_ok() {
            return Ok(began.elapsed());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Err("the server does not answer".to_owned())
}

/// One run of kxc, from start to exit.
fn kxc(setup: &Setup, subject: &Subject, addr: SocketAddr) -> Result<Duration, String> {
    let began = Instant::now();
    let output = Command::new(subject.bin.join("kxc"))
        .arg(format!(
            "-client_cert={}",
            setup.path("client.pem").display()
        ))
        .arg(format!(
            "-client_key={}",
            setup.path("client-key.pem").display()
        ))
        .arg(format!("-server_cert={}", setup.path("cert.pem").display()))
        .arg(format!("kxd://localhost:{}/host/disk", addr.port()))
        .output()
        .map_err(|e| e.to_string())?;
    if output.stdout.len() != 2048 {
        return Err(format!("kxc: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(began.elapsed())
}

/// CPU time of all threads of a process, as the scheduler counts it.
fn cpu(pid: u32) -> io::Result<Duration> {
    let mut total = 0u64;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        total += text
            .split_whitespace()
            .next()
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// Resident memory in MB (10^6 octets).
fn resident(pid: u32) -> io::Result<f64> {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let kib = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|l| l.split_whitespace().next())
        .and_then(|n| n.parse::<f64>().ok())
        .unwrap_or(0.0);
    Ok(kib * 1024.0 / 1e6)
}
