//! Every recorded command line of kxd, kxc and kxgencert (vectors/kxd/cli.json; kxd spec 1, 2,
//! 8, 9): exit status, stdout, stderr, log and files made.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use interop_tests::certificates::{Pair, Recipe, p256_key, rsa_key};
use interop_tests::config::{Config, client_pair, server_pair};
use interop_tests::daemon::{Kxd, free_port, kxd, listening};
use interop_tests::normalize;
use interop_tests::program::{Finished, Guarded, collect, run_command, signal};
use interop_tests::subject::{ours, subject};
use interop_tests::table::{Table, wanted_differences};
use interop_tests::wait::{self, SOON};
use openssl::pkey::{PKey, Private};
use serde_json::{Value, json};

static OTHER_KEY: LazyLock<PKey<Private>> = LazyLock::new(rsa_key);

/// `DIR` of the recorded command lines.
fn directory() -> Config {
    let c = Config::new();
    for name in [
        "k", "d/e", "v1", "sp ace", "hé", "a%b", "q?x", "h#x", "x/v1/y", "hostdeny",
    ] {
        c.key(name, format!("KEY:{name}"));
    }
    c.write("data/hostdeny/allowed_hosts", "10.9.9.9\n");
    c.key("bin", (0..=255u8).collect::<Vec<u8>>());
    c.key("empty", "");
    c.key("noeol", "no newline %s %d");
    let pem = |pair: &Pair| (pair.cert_pem(), pair.key_pem());
    let (ec_cert, ec_key) = pem(&Recipe::new("srv").dns("localhost").key(&p256_key()).make());
    c.write("ec.cert", ec_cert);
    c.write("ec.key", ec_key);
    let (ed_cert, ed_key) = ed25519();
    c.write("ed.cert", ed_cert);
    c.write("ed.key", ed_key);
    c.write(
        "otherkey.pem",
        OTHER_KEY.private_key_to_pem_pkcs8().expect("PEM"),
    );
    c.write("garbage", "no PEM here\n");
    c.write("empty", "");
    c.write(
        "badblock",
        "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n",
    );
    let rsa = server_pair()
        .key
        .rsa()
        .and_then(|r| r.private_key_to_pem())
        .expect("PKCS#1");
    c.write("keyfirst", [rsa, server_pair().cert_pem()].concat());
    let text = [
        b"text before\n".to_vec(),
        server_pair().cert_pem(),
        b"text after\n".to_vec(),
    ];
    c.write("textaround", text.concat());
    c
}

/// By the command line tool: the crate's builder wants a digest, which Ed25519 has none of.
fn ed25519() -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().expect("directory");
    let (cert, key) = (dir.path().join("c"), dir.path().join("k"));
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/O=srv", "-days", "99",
        ])
        .args([Path::new("-out"), &cert, Path::new("-keyout"), &key])
        .output();
    assert!(
        made.is_ok_and(|o| o.status.success()),
        "openssl req for Ed25519"
    );
    let read = |p: &Path| fs::read(p).expect("a file that openssl made");
    assert!(PKey::private_key_from_pem(&read(&key)).is_ok());
    (read(&cert), read(&key))
}

/// What stands for something else in the recorded arguments and texts.
struct Words {
    dir: String,
    server_port: String,
    free_port: String,
}

impl Words {
    fn fill(&self, text: &str) -> String {
        let hex = self
            .free_port
            .parse::<u16>()
            .map_or(String::new(), |p| format!("{p:x}"));
        text.replace("DIR", &self.dir)
            .replace("0xFREEPORT", &format!("0x{hex}"))
            .replace("FREEPORT", &self.free_port)
            .replace("SRVPORT", &self.server_port)
    }

    /// The reverse, for what the program wrote.
    fn mask(&self, text: &str) -> String {
        let bin = subject().bin.to_string_lossy().into_owned();
        let text = normalize::output(text)
            .replace(&self.dir, "DIR")
            .replace(&self.server_port, "SRVPORT")
            .replace(&self.free_port, "FREEPORT")
            .replace(&format!("Usage of {bin}/"), "Usage of BIN/");
        let text = normalize::between(&text, "kxd version ", "\n", "VERSION");
        normalize::between(&text, " on ", ": no such host", "DNS")
    }
}

/// Splits the table over threads: most of its time is waiting for processes.
fn in_parallel(table: Table, one: impl Fn(&Table, &str) -> (Value, Value) + Sync) -> Table {
    let names = table.names();
    let next = AtomicUsize::new(0);
    let mut results = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                        mine.push((name.clone(), one(&table, name)));
                    }
                    mine
                })
            })
            .collect();
        for worker in workers {
            results.extend(worker.join().expect("a worker panicked"));
        }
    });
    let mut table = table;
    for (name, (expected, got)) in results {
        table.check_against(&name, &expected, &got);
    }
    table
}

fn arguments(expected: &Value, name: &str, words: &Words) -> Vec<String> {
    let list: Vec<String> = serde_json::from_value(expected["args"].clone()).unwrap_or_default();
    list.iter()
        .map(|a| match a.strip_prefix("--port=") {
            // Recorded as the number it was that day.
            Some(_) if name == "kxd port used" => format!("--port={}", words.server_port),
            _ => words.fill(a),
        })
        .collect()
}

/// Flags that only this project has, taken out of a usage text; each must be there.
fn without_our_flags(program: &str, usage: &str) -> String {
    let list = wanted_differences()["extension_flags"][program].clone();
    let flags: Vec<String> = serde_json::from_value(list).unwrap_or_default();
    let mut out = String::new();
    let mut seen = Vec::new();
    let mut lines = usage.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let flag = line
            .strip_prefix("  -")
            .and_then(|l| l.split_whitespace().next());
        match flag.filter(|f| flags.iter().any(|x| x == f)) {
            Some(flag) => {
                seen.push(flag.to_owned());
                // The second line of the entry.
                let _ = lines.next();
            }
            None => out.push_str(line),
        }
    }
    for flag in flags {
        if !seen.contains(&flag) {
            out.push_str(&format!(
                "(the listed extension -{flag} is not in the usage)\n"
            ));
        }
    }
    out
}

fn outcome(program: &str, finished: &Finished, words: &Words) -> Value {
    let mut stderr = words.mask(&normalize::text(&finished.stderr));
    if ours() && stderr.contains("Usage of ") {
        stderr = without_our_flags(program, &stderr);
    }
    let stdout = words.mask(&normalize::text(&finished.stdout));
    json!({"rc": finished.rc, "stdout": stdout, "stderr": stderr})
}

// --- kxd -------------------------------------------------------------------------------------

/// Runs kxd; when it is to keep running, sends it the case's signal once it listens.
fn run_kxd(name: &str, expected: &Value, config: &Config, words: &Words) -> Finished {
    let child = Command::new(subject().program("kxd"))
        .args(arguments(expected, name, words))
        .current_dir(config.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("starting kxd: {e}"));
    let mut child = Guarded(child);
    let port: u16 = words.free_port.parse().unwrap_or(0);
    let stopped = wait::until(SOON, || {
        let ended = child.0.try_wait().ok().flatten().is_some();
        (ended || listening(port)).then_some(ended)
    });
    if stopped == Some(false) {
        stop(&mut child.0, name);
    }
    collect(child, SOON)
}

fn stop(child: &mut Child, name: &str) {
    match name.strip_prefix("kxd signal ") {
        Some(word @ ("USR1" | "PIPE")) => {
            signal(child.id(), word);
            // Recorded: still running after it, then killed by the recorder.
            let ended = wait::until(Duration::from_millis(300), || {
                child.try_wait().ok().flatten()
            });
            if ended.is_none() {
                signal(child.id(), "KILL");
            }
        }
        Some("HUP") => {
            signal(child.id(), "HUP");
            // The original dies of it, at once.
            let limit = Duration::from_millis(500);
            if wait::until(limit, || child.try_wait().ok().flatten()).is_none() {
                signal(child.id(), "TERM");
            }
        }
        Some(word) => signal(child.id(), word),
        None => signal(child.id(), "TERM"),
    }
}

#[test]
fn kxd_command_lines() {
    let table = Table::load("cli").only(|n| n.starts_with("kxd "));
    let base = directory();
    let occupant = kxd(&base).start();
    in_parallel(table, |table, name| {
        let config = directory();
        let words = Words {
            dir: config.path().to_string_lossy().into_owned(),
            server_port: occupant.port.to_string(),
            free_port: free_port().to_string(),
        };
        let expected = table.expected(name);
        let finished = run_kxd(name, &expected, &config, &words);
        let mut got = outcome("kxd", &finished, &words);
        let log = fs::read(config.join("l")).unwrap_or_default();
        got["log"] = json!(words.mask(&normalize::text(&log)));
        let mut expected = expected;
        if expected["log"].is_null() {
            expected["log"] = json!("");
        }
        (expected, got)
    })
    .finish();
}

#[test]
fn the_log_file_is_appended_to_and_made_with_the_umask() {
    let config = directory();
    config.write("log", "what was there\n");
    drop(kxd(&config).start());
    let log = fs::read_to_string(config.join("log")).expect("log");
    assert!(log.starts_with("what was there\n20"), "{log}");
    fs::remove_file(config.join("log")).expect("removing the log");
    drop(
        kxd(&config)
            .through(&["sh", "-c", "umask 027; exec \"$0\" \"$@\""])
            .start(),
    );
    let mode = fs::metadata(config.join("log"))
        .expect("log")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
}

// --- kxc -------------------------------------------------------------------------------------

fn run_kxc(name: &str, expected: &Value, words: &Words) -> Finished {
    let mut command = Command::new(subject().program("kxc"));
    command.args(arguments(expected, name, words));
    if name == "kxc proxy env is not used" {
        for variable in [
            "http_proxy",
            "https_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "all_proxy",
        ] {
            command.env(variable, "http://127.0.0.1:1");
        }
    }
    run_command(&mut command)
}

#[test]
fn kxc_command_lines() {
    let mut table = Table::load("cli").only(|n| n.starts_with("kxc "));
    let config = directory();
    let v4 = kxd(&config).address("").start();
    table = in_parallel(table, |table, name| {
        let words = Words {
            dir: config.path().to_string_lossy().into_owned(),
            server_port: v4.port.to_string(),
            free_port: free_port().to_string(),
        };
        let expected = table.expected(name);
        let finished = run_kxc(name, &expected, &words);
        (expected, outcome("kxc", &finished, &words))
    });
    table.finish();
}

fn kxc_get(config: &Config, server: &Kxd, path: &str) -> Finished {
    run_command(
        Command::new(subject().program("kxc"))
            .arg(format!("--client_cert={}", config.text("client/cert.pem")))
            .arg(format!("--client_key={}", config.text("client/key.pem")))
            .arg(format!("--server_cert={}", config.text("cert.pem")))
            .arg(format!("kxd://localhost:{}/{path}", server.port)),
    )
}

#[test]
fn kxc_writes_the_key_and_nothing_else() {
    let config = directory();
    let key: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
    config.key("large", &key);
    let server = kxd(&config).start();
    let finished = kxc_get(&config, &server, "large");
    assert_eq!((finished.rc, finished.stderr_text().as_str()), (0, ""));
    assert_eq!(finished.stdout, key);
}

#[test]
fn kxc_fails_when_stdout_is_full() {
    let config = directory();
    let server = kxd(&config).start();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let child = Command::new(subject().program("kxc"))
        .arg(format!("--client_cert={}", config.text("client/cert.pem")))
        .arg(format!("--client_key={}", config.text("client/key.pem")))
        .arg(format!("--server_cert={}", config.text("cert.pem")))
        .arg(format!("kxd://localhost:{}/k", server.port))
        .stdout(Stdio::from(full))
        .stderr(Stdio::piped())
        .spawn()
        .expect("kxc");
    let finished = collect(Guarded(child), SOON);
    // The original does not look at the result of the write; ours says so and fails.
    assert_eq!(finished.rc, i32::from(ours()), "{}", finished.stderr_text());
}

// --- kxgencert -------------------------------------------------------------------------------

/// `openssl x509 -text` without what is random: serial, public key, signature, dates.
fn certificate_text(path: &Path) -> Vec<String> {
    let out = Command::new("openssl")
        .args(["x509", "-noout", "-text", "-nameopt", "RFC2253", "-in"])
        .arg(path)
        .output()
        .expect("openssl x509");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut lines = Vec::new();
    let mut keep = true;
    for line in text.lines().map(str::trim) {
        if line.starts_with("Serial Number: ") {
            continue;
        }
        match line {
            "Serial Number:" | "Subject Public Key Info:" => keep = false,
            "X509v3 extensions:" => keep = true,
            _ if line.starts_with("Signature Algorithm:") => {
                keep = lines.len() < 6;
            }
            _ => {}
        }
        let shown = match line.split_once(" : ").or_else(|| line.split_once(": ")) {
            Some(("Not Before", _)) => "Not Before: X",
            Some(("Not After", _)) => "Not After : X",
            _ => line,
        };
        if keep && !line.is_empty() {
            lines.push(shown.to_owned());
        }
    }
    lines
}

fn valid_seconds(path: &Path) -> Option<i64> {
    let cert = openssl::x509::X509::from_pem(&fs::read(path).ok()?).ok()?;
    let diff = cert.not_before().diff(cert.not_after()).ok()?;
    Some(i64::from(diff.days) * 86400 + i64::from(diff.secs))
}

fn files_made(dir: &Path) -> Value {
    let mut files = json!({});
    for entry in fs::read_dir(dir).expect("directory").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let content = fs::read_to_string(entry.path()).unwrap_or_default();
        let mode = entry.metadata().expect("metadata").permissions().mode() & 0o777;
        let first = content.lines().next().unwrap_or("");
        let mut file = json!({"mode": format!("{mode:o}"), "first": first});
        if first == "-----BEGIN CERTIFICATE-----" {
            file["text"] = json!(certificate_text(&entry.path()));
            file["valid_seconds"] = json!(valid_seconds(&entry.path()));
        }
        files[name] = file;
    }
    files
}

/// D3: our keys are readable by their owner alone, in every case that makes one.
fn with_our_key_mode(mut expected: Value) -> Value {
    if let (true, Some(files)) = (ours(), expected["files"].as_object_mut()) {
        for file in files.values_mut().filter(|f| f["text"].is_null()) {
            assert_eq!(file["mode"], "644", "the difference D3 is stale");
            file["mode"] = json!("600");
        }
    }
    expected
}

#[test]
fn kxgencert_command_lines() {
    let table = Table::load("cli").only(|n| n.starts_with("kxgencert "));
    in_parallel(table, |table, name| {
        let dir = tempfile::tempdir().expect("directory");
        let words = Words {
            dir: dir.path().to_string_lossy().into_owned(),
            server_port: "no port".to_owned(),
            free_port: "no port".to_owned(),
        };
        let mut expected = with_our_key_mode(table.expected(name));
        if expected["files"].is_null() {
            expected["files"] = json!({});
        }
        let finished = run_command(
            Command::new("sh")
                .args(["-c", "umask 022; exec \"$0\" \"$@\""])
                .arg(subject().program("kxgencert"))
                .args(arguments(&expected, name, &words))
                .current_dir(dir.path()),
        );
        let mut got = outcome("kxgencert", &finished, &words);
        got["files"] = files_made(dir.path());
        (expected, got)
    })
    .finish();
}

#[test]
fn kxgencert_keeps_the_mode_of_files_that_are_there() {
    let dir = tempfile::tempdir().expect("directory");
    for (name, mode) in [("cert.pem", 0o640), ("key.pem", 0o400)] {
        let path = dir.path().join(name);
        fs::write(&path, "old and longer than nothing").expect("old file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let finished =
        run_command(Command::new(subject().program("kxgencert")).current_dir(dir.path()));
    assert_eq!((finished.rc, finished.stdout_text().as_str()), (0, ""));
    let mode = |n: &str| {
        fs::metadata(dir.path().join(n))
            .expect(n)
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("cert.pem"), mode("key.pem")), (0o640, 0o400));
    let key = fs::read(dir.path().join("key.pem")).expect("key");
    assert!(PKey::private_key_from_pem(&key).is_ok_and(|k| k.bits() == 2048));
}

#[test]
fn a_certificate_and_key_of_kxgencert_serve_kxd_and_kxc() {
    let config = Config::new();
    for dir in ["", "client/"] {
        let made = run_command(
            Command::new(subject().program("kxgencert"))
                .arg("-host=localhost")
                .arg(format!("-cert={}", config.text(&format!("{dir}cert.pem"))))
                .arg(format!("-key={}", config.text(&format!("{dir}key.pem")))),
        );
        assert_eq!(made.rc, 0, "{}", made.stdout_text());
    }
    config.key("k", "KEY");
    fs::copy(
        config.join("client/cert.pem"),
        config.join("data/k/allowed_clients"),
    )
    .expect("copy");
    let server = kxd(&config).start();
    assert_eq!(kxc_get(&config, &server, "k").stdout, b"KEY");
    assert_ne!(
        client_pair().cert_pem(),
        fs::read(config.join("client/cert.pem")).expect("cert")
    );
}
