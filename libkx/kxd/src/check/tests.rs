//! Each kind of problem, by the line that tells of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::{CheckConfig, run};

const VECTORS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../interop-tests/vectors/kxd/clientcerts"
);

fn vector(case: &str, file: &str) -> Vec<u8> {
    fs::read(format!("{VECTORS}/{case}/{file}")).unwrap()
}

/// A configuration without a fault, in a directory that others get to.
struct Site {
    dir: tempfile::TempDir,
    config: CheckConfig,
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o755);
        let at = |name: &str| dir.path().join(name);
        fs::write(at("cert.pem"), vector("self-eku-server", "cert.pem")).unwrap();
        fs::write(at("key.pem"), vector("self-eku-server", "key.pem")).unwrap();
        set_mode(&at("key.pem"), 0o600);
        fs::create_dir_all(at("data/h/k")).unwrap();
        let config = CheckConfig {
            cert: at("cert.pem"),
            key: at("key.pem"),
            data_dir: at("data"),
            hook: at("hook"),
            hook_expected: false,
            ip_addr: String::new(),
            port: 19840,
            smtp_addr: "127.0.0.1:25".to_owned(),
            email_from: "kxd@example.com".to_owned(),
            logs: vec![at("log")],
            now: "2026-11-21T00:00:00+01:00".parse().unwrap(),
        };
        let site = Site { dir, config };
        site.put("key", b"secret");
        set_mode(&site.file("key"), 0o600);
        site.put("allowed_clients", &vector("self-noext", "cert.pem"));
        site
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("data/h/k").join(name)
    }

    fn put(&self, name: &str, content: &[u8]) {
        fs::write(self.file(name), content).unwrap();
        set_mode(&self.file(name), 0o644);
    }

    /// Verdict and text, with the directory's name taken out.
    fn check(&self) -> (bool, String) {
        let mut out = Vec::new();
        let good = run(&self.config, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        (
            good,
            text.replace(&format!("{}/", self.dir.path().display()), ""),
        )
    }

    fn assert_line(&self, severity: &str, place: &str, problem: &str) {
        let (good, text) = self.check();
        let start = format!("{place}: {severity}: ");
        let found = text
            .lines()
            .any(|l| l.starts_with(&start) && l.contains(problem));
        assert!(found, "no {start:?} with {problem:?} in\n{text}");
        assert!(!good || severity == "warning", "{text}");
    }

    fn assert_error(&self, place: &str, problem: &str) {
        self.assert_line("error", place, problem);
    }

    fn assert_warning(&self, place: &str, problem: &str) {
        self.assert_line("warning", place, problem);
    }
}

/// The certificate of the site has no host name; that is its only fault.
const NO_HOST: &str = "cert.pem:1: warning: certificate names no host";

#[test]
fn good_site_has_no_errors() {
    let site = Site::new();
    site.put("allowed_hosts", b"127.0.0.1\n\nlocalhost\n");
    site.put("email_to", b"me@example.com\n");
    let (good, text) = site.check();
    assert!(good, "{text}");
    let others: Vec<&str> = text.lines().filter(|l| !l.starts_with(NO_HOST)).collect();
    assert_eq!(others.len(), 1, "{text}");
    assert!(others[0].starts_with("1 key checked, 0 errors, "), "{text}");
}

#[test]
fn server_certificate_and_key() {
    let mut site = Site::new();
    let cert = site.config.cert.clone();
    let key = site.config.key.clone();

    fs::write(&key, vector("self-rsa1024", "key.pem")).unwrap();
    site.assert_error("key.pem", "tls: private key does not match public key");
    fs::write(&key, vector("self-p256", "key.pem")).unwrap();
    site.assert_error(
        "key.pem",
        "tls: private key type does not match public key type",
    );
    fs::write(&key, "junk").unwrap();
    site.assert_error("key.pem", "tls: failed to find any PEM data in key input");
    fs::remove_file(&key).unwrap();
    site.assert_error("key.pem", "no such file or directory");
    fs::write(&key, vector("self-eku-server", "key.pem")).unwrap();
    set_mode(&key, 0o644);
    site.assert_error("key.pem", "everybody on this machine can read it");
    set_mode(&key, 0o602);
    site.assert_error("key.pem", "everybody on this machine can change it");
    set_mode(&key, 0o600);

    fs::write(&cert, vector("self-eku-client", "cert.pem")).unwrap();
    site.assert_error("cert.pem:1", "lacks serverAuth");
    fs::write(&cert, vector("self-expired", "cert.pem")).unwrap();
    site.assert_error("cert.pem:1", "certificate expired on 20");
    fs::write(&cert, vector("self-notyet", "cert.pem")).unwrap();
    site.assert_error("cert.pem:1", "certificate is not valid before ");
    fs::write(&cert, "junk").unwrap();
    site.assert_error(
        "cert.pem",
        "tls: failed to find any PEM data in certificate input",
    );
    fs::write(&cert, fs::read(&key).unwrap()).unwrap();
    site.assert_error("cert.pem", "PEM inputs may have been switched");
    fs::remove_file(&cert).unwrap();
    site.assert_error("cert.pem", "no such file or directory");
    site.config.cert = site.dir.path().to_owned();
    assert!(site.check().1.contains("error: not a regular file"));
}

#[test]
fn certificate_that_ends_soon() {
    let mut site = Site::new();
    let pem = vector("self-eku-server", "cert.pem");
    let der = kx_cert::pem::blocks(&pem).next().unwrap().der;
    let end = kx_cert::Certificate::parse(&der).unwrap().not_after();
    site.config.now = end - chrono::TimeDelta::days(29);
    site.assert_warning("cert.pem:1", "certificate expires on ");
    site.config.now = end - chrono::TimeDelta::days(31);
    assert!(!site.check().1.contains("expires on"));
}

#[test]
fn secret_behind_a_closed_directory_is_not_exposed() {
    let site = Site::new();
    set_mode(&site.config.key, 0o644);
    set_mode(site.dir.path(), 0o700);
    assert!(!site.check().1.contains("everybody"));
}

#[test]
fn key_files() {
    let site = Site::new();
    let key = site.file("key");
    set_mode(&key, 0o604);
    site.assert_error("data/h/k/key", "everybody on this machine can read it");
    set_mode(&key, 0o600);
    fs::write(&key, "").unwrap();
    site.assert_warning("data/h/k/key", "key is empty");
    fs::remove_file(&key).unwrap();
    site.assert_error(
        "data/h/k/key",
        "no such file or directory, so there is no key",
    );
    symlink("nowhere", &key).unwrap();
    site.assert_error("data/h/k/key", "link to nothing");
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    site.assert_error("data/h/k/key", "not a regular file");
    fs::remove_dir(&key).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &key, 0o600.into()).unwrap();
    site.assert_error("data/h/k/key", "not a regular file");
    fs::remove_file(&key).unwrap();
    fs::File::create(&key)
        .unwrap()
        .set_len(crate::key_store::KEY_LIMIT + 1)
        .unwrap();
    site.assert_error("data/h/k/key", "longer than");
}

#[test]
fn data_directory() {
    let mut site = Site::new();
    let data = site.config.data_dir.clone();
    fs::create_dir_all(data.join("a..b")).unwrap();
    fs::write(data.join("a..b/key"), "x").unwrap();
    site.assert_error("data/a..b", "two dots in a row");
    fs::write(data.join("key"), "x").unwrap();
    site.assert_warning("data", "right in the data directory");
    symlink(".", data.join("loop")).unwrap();
    symlink("../..", data.join("h/up")).unwrap();
    fs::create_dir_all(data.join("h/k/below")).unwrap();
    fs::write(data.join("h/k/below/email_to"), "").unwrap();
    site.assert_error("data/h/k/below/key", "no such file");
    let (_, text) = site.check();
    assert!(text.contains("\n3 keys checked, "), "{text}");
    set_mode(&site.dir.path().join("data/h/k"), 0o777);
    site.assert_error("data/h/k", "everybody on this machine can change it");
    site.config.data_dir = site.dir.path().join("nowhere");
    site.assert_error("nowhere", "no such file or directory");
}

#[test]
fn names_cannot_forge_lines() {
    let site = Site::new();
    let dir = site.config.data_dir.join("x\n0 errors\x1b[2J");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("allowed_clients"), "").unwrap();
    let (_, text) = site.check();
    assert!(
        text.contains("data/x\\n0 errors\\x1b[2J/key: error: "),
        "{text}"
    );
    assert!(!text.contains('\x1b'));
}

#[test]
fn allowed_clients() {
    let site = Site::new();
    let put = |text: &[u8]| site.put("allowed_clients", text);
    let place = |line: usize| format!("data/h/k/allowed_clients:{line}");
    let good = vector("self-noext", "cert.pem");
    let lines = good.iter().filter(|b| **b == b'\n').count();

    let after_good = |more: &[u8]| [&good, more].concat();
    let second = place(lines + 1);
    put(&after_good(&good));
    site.assert_warning(&second, "same certificate as in line 1");
    put(&after_good(&vector("self-eku-client", "cert.pem")));
    site.assert_error(&second, "incompatible key usage");
    put(&after_good(&vector("self-expired", "cert.pem")));
    site.assert_error(&second, "certificate expired");
    put(&after_good(&vector("self-crit-unknown", "cert.pem")));
    site.assert_error(&second, "unhandled critical extension");
    put(&after_good(
        b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
    ));
    site.assert_error(&second, "block is ignored: the content is not base64");
    put(&after_good(
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ));
    site.assert_error(&second, "block is ignored: x509: ");
    put(&after_good(b"-----BEGIN CERTIFICATE-----\nAAAA\n"));
    site.assert_error(&second, "block is ignored: BEGIN has no END line");
    put(&after_good(
        b"-----BEGIN X509 CERTIFICATE-----\nAAAA\n-----END X509 CERTIFICATE-----\n",
    ));
    site.assert_error(&second, "block is labelled");
    put(&after_good(
        b"-----BEGIN CERTIFICATE-----\na: b\n\nAAAA\n-----END CERTIFICATE-----\n",
    ));
    site.assert_error(&second, "block has header lines");
    put(&after_good(&vector("self-noext", "key.pem")));
    site.assert_error(&second, "a client's secret");
    put(b"# nothing\n");
    site.assert_error("data/h/k/allowed_clients", "holds no certificate");
    fs::remove_file(site.file("allowed_clients")).unwrap();
    site.assert_warning("data/h/k/allowed_clients", "does not exist");
    symlink("nowhere", site.file("allowed_clients")).unwrap();
    site.assert_error("data/h/k/allowed_clients", "link to nothing");
    fs::remove_file(site.file("allowed_clients")).unwrap();
    fs::create_dir(site.file("allowed_clients")).unwrap();
    site.assert_error(
        "data/h/k/allowed_clients",
        "cannot be read: not a regular file",
    );
}

#[test]
fn allowed_hosts() {
    let site = Site::new();
    site.put(
        "allowed_hosts",
        b"127.0.0.1\n\n10.0.0.0/8\r\n127.0.0.01\n# no\n*.x\n::FFFF\n",
    );
    for (line, problem) in [
        (3, "networks are not supported"),
        (4, "not an address"),
        (5, "no comments"),
        (6, "wildcards"),
        (7, "compared as text"),
    ] {
        site.assert_error(&format!("data/h/k/allowed_hosts:{line}"), problem);
    }
    assert!(!site.check().1.contains("no line can match"));
    site.put("allowed_hosts", b"\n10.0.0.0/8\n");
    site.assert_error("data/h/k/allowed_hosts", "no line can match");
    site.put("allowed_hosts", b"");
    site.assert_error("data/h/k/allowed_hosts", "no line can match");
}

#[test]
fn email_to() {
    let mut site = Site::new();
    site.put(
        "email_to",
        "a@b\nme\n# c@d\nMe <e@f>\ng@h\ri\nj\u{f6}@k\n@x\n".as_bytes(),
    );
    site.assert_warning("data/h/k/email_to:2", "has no @");
    site.assert_error("data/h/k/email_to:3", "no comments");
    site.assert_error("data/h/k/email_to:4", "more than a plain address");
    site.assert_error("data/h/k/email_to:5", "CR or NUL");
    site.assert_warning("data/h/k/email_to:6", "not ASCII");
    site.assert_error("data/h/k/email_to:7", "lacks a name or host");
    site.put("email_to", b"\n");
    site.assert_warning("data/h/k/email_to", "holds no address");
    site.put("email_to", b"a@b");
    site.config.smtp_addr = String::new();
    site.assert_warning("data/h/k/email_to", "no mail server");
}

#[test]
fn hook() {
    let mut site = Site::new();
    let hook = site.config.hook.clone();
    assert!(!site.check().1.contains("hook"));
    site.config.hook_expected = true;
    site.assert_warning("hook", "hook does not exist");
    symlink("nowhere", &hook).unwrap();
    site.assert_error("hook", "link to nothing");
    fs::remove_file(&hook).unwrap();
    fs::create_dir(&hook).unwrap();
    site.assert_error("hook", "hook is not a file");
    fs::remove_dir(&hook).unwrap();
    fs::write(&hook, "#!/bin/sh\n").unwrap();
    set_mode(&hook, 0o644);
    site.assert_error("hook", "not executable");
    set_mode(&hook, 0o757);
    site.assert_error("hook", "everybody on this machine can change it");
    set_mode(&hook, 0o755);
    assert!(!site.check().1.contains("hook"));
    for (script, problem) in [
        ("", "neither a program nor a script"),
        ("echo\n", "neither a program nor a script"),
        ("#!/bin/sh\r\n", "ends in CR"),
        ("#! /no/such/sh -e\n", "\"/no/such/sh\" does not exist"),
    ] {
        fs::write(&hook, script).unwrap();
        site.assert_error("hook:1", problem);
    }
    site.config.hook = Path::new("").to_owned();
    assert!(!site.check().1.contains("hook"));
}

#[test]
fn group_that_can_change_the_hook() {
    let site = Site::new();
    let hook = site.config.hook.clone();
    fs::write(&hook, "#!/bin/sh\n").unwrap();
    set_mode(&hook, 0o775);
    // Root's own group is root.
    let group = if rustix::process::getuid().is_root() {
        65534
    } else {
        rustix::process::getgid().as_raw()
    };
    std::os::unix::fs::chown(&hook, None, Some(group)).unwrap();
    site.assert_warning("hook", &format!("group {group} can change it"));
}

#[test]
fn settings() {
    let mut site = Site::new();
    site.config.ip_addr = "::1".to_owned();
    site.assert_error("--ip_addr", "too many colons in address");
    site.config.ip_addr = "[::1]".to_owned();
    assert!(!site.check().1.contains("--ip_addr"));
    site.config.port = 65536;
    site.assert_error("--port", "65536 is no port");
    site.config.port = 0;
    site.assert_warning("--port", "another free port");
    site.config.smtp_addr = "mail.example".to_owned();
    site.assert_error("--smtp_addr", "missing port in address");
    site.config.smtp_addr = "mail.example:nosuch".to_owned();
    site.assert_error("--smtp_addr", "unknown port");
    site.config.email_from = "a@b\r\nc".to_owned();
    site.assert_error("--email_from", "line break");
    site.config.email_from = "kxd@".to_owned();
    site.assert_warning("--email_from", "no mail address");
    site.config.logs = vec![site.dir.path().join("none/log")];
    site.assert_error("none/log", "cannot be made: no such file or directory");
    site.config.logs = vec![site.config.data_dir.clone()];
    site.assert_error("data", "log file is a directory");
}
