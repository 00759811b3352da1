//! The whole service over loopback, from nothing to an old secret that is refused, with our own
//! programs at both ends.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_inferno-auth");
const SOON: Duration = Duration::from_secs(20);

/// A process that does not outlive its test.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Site {
    root: tempfile::TempDir,
    login: u16,
    key: u16,
}

impl Site {
    fn new() -> Site {
        let root = tempfile::tempdir().expect("a directory");
        for directory in ["keydb", "mnt"] {
            std::fs::create_dir(root.path().join(directory)).expect("a directory");
        }
        std::fs::write(root.path().join("master"), "the master key").expect("a file");
        let port = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            listener.local_addr().expect("its number").port()
        };
        let (login, key) = (port(), port());
        Site { root, login, key }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(words)
            .env("INFERNO_ROOT", self.root.path())
            .env("INFERNO_USER", "alice")
            // No terminal: keyfs would ask there.
            .stdin(Stdio::null());
        command
    }

    /// Runs it with these answers; exit code, standard output and error.
    fn talk(&self, words: &[&str], answers: &str) -> (Option<i32>, String, String) {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut stdin = child.stdin.take().expect("piped");
        // It may end before it has read all.
        let _ = stdin.write_all(answers.as_bytes());
        drop(stdin);
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().expect("it ends");
        let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
        (status.code(), text(stdout), text(stderr))
    }

    fn serve(&self) -> Guarded {
        let (ports, master) = (format!("{},{}", self.login, self.key), self.path("master"));
        let words = [
            "svc-auth",
            "--bind=127.0.0.1",
            "--ports",
            &ports,
            "--nvram",
            master.to_str().expect("text"),
        ];
        let child = self.command(&words).stderr(Stdio::piped()).spawn();
        let mut service = Guarded(child.expect("it runs"));
        // The warning comes when all listens.
        let mut heard = Vec::new();
        let mut stderr = service.0.stderr.take().expect("piped");
        while !heard.ends_with(b"\n") {
            let mut octet = [0];
            assert_eq!(
                stderr.read(&mut octet).expect("readable"),
                1,
                "it has ended"
            );
            heard.push(octet[0]);
        }
        let line = String::from_utf8_lossy(&heard).into_owned();
        assert!(line.starts_with("auth: warning: weak transport"), "{line}");
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        service
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

#[test]
fn from_a_signer_to_a_changed_secret() {
    let site = Site::new();
    let (code, _, errors) = site.talk(&["svc-auth"], "");
    assert_eq!(errors, "auth: need to use createsignerkey(8)\n");
    assert_eq!(code, Some(1));
    let (code, _, errors) = site.talk(&["createsignerkey", "--compat", "signer.example"], "");
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    std::fs::write(site.path("keydb/keys"), "").expect("a file");

    let mut service = site.serve();
    let (code, shown, errors) = site.talk(&["changelogin", "alice"], "password\npassword\n\n");
    assert!(
        shown.starts_with("new account\nsecret: \nconfirm: \nexpires ["),
        "{shown}"
    );
    assert!(shown.ends_with("]: change written\n"), "{shown}");
    assert_eq!((code, errors.as_str()), (Some(0), ""));

    let login = format!("tcp!127.0.0.1!{}", site.login);
    let logging_in = |password: &str| {
        let answers = format!("{login}\nalice\n{password}\nyes\n");
        let (_, _, errors) = site.talk(&["getauthinfo", "default"], &answers);
        errors
    };
    let wrong = "getauthinfo: failed to authenticate: name or secret incorrect (alpha**r0 mod p)\n";
    assert_eq!(logging_in("another"), wrong);
    assert_eq!(logging_in("password"), "");

    let key = format!("tcp!127.0.0.1!{}", site.key);
    let words = ["passwd", "-s", &key, "--server-name", "signer.example"];
    let (code, shown, errors) = site.talk(&words, "password\nnew password\nnew password\n");
    let dialog =
        "key owner: alice\nInferno secret: \nnew secret [default = don't change]: \nconfirm: \n";
    assert_eq!(
        (code, shown.as_str(), errors.as_str()),
        (Some(0), dialog, "")
    );

    // The old one is refused, here and at the login; the new one is not.
    let (_, _, errors) = site.talk(&words, "password\n");
    assert!(errors.starts_with("!wrong secret\n"), "{errors}");
    let (code, _, errors) = site.talk(&words, "new password\n\n");
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert_eq!(logging_in("password"), wrong);
    assert_eq!(logging_in("new password"), "");
    let (code, _, errors) = site.talk(&["passwd", "-s", &key, "--server-name=other"], "");
    let text = format!("passwd: can't authenticate with {key}: server is signer.example\n");
    assert_eq!((code, errors), (Some(1), text));

    let number = i32::try_from(service.0.id()).expect("a process number");
    let process = rustix::process::Pid::from_raw(number).expect("a process number");
    rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("ours");
    assert_eq!(service.0.wait().expect("it ends").code(), Some(0));
    assert!(
        !is_socket(&site.path("mnt/keys")),
        "keyfs has ended with it"
    );
    let (code, _, errors) = site.talk(&words, "");
    let text = format!("passwd: can't dial {key}: connection refused\n");
    assert_eq!((code, errors), (Some(1), text));
}

#[test]
fn the_end_of_keyfs_is_the_end_of_the_service() {
    let site = Site::new();
    let (code, _, _) = site.talk(&["createsignerkey", "--compat", "signer.example"], "");
    assert_eq!(code, Some(0));
    std::fs::write(site.path("keydb/keys"), "").expect("a file");
    let mut service = site.serve();
    // Its only child.
    let children = format!("/proc/{0}/task/{0}/children", service.0.id());
    let keyfs = std::fs::read_to_string(children).expect("children");
    let number = keyfs.trim().parse().expect("one child");
    let process = rustix::process::Pid::from_raw(number).expect("a process number");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("ours");
    let start = Instant::now();
    let status = loop {
        if let Some(status) = service.0.try_wait().expect("asked") {
            break status;
        }
        assert!(start.elapsed() < SOON, "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(1));
}

#[test]
fn who_serves_a_connection_can_do_nothing_else() {
    let site = Site::new();
    let (code, _, _) = site.talk(&["createsignerkey", "--compat", "signer.example"], "");
    assert_eq!(code, Some(0));
    std::fs::write(site.path("keydb/keys"), "").expect("a file");
    let service = site.serve();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", site.key)).expect("connected");
    stream.write_all(b"0001\n1").expect("sent");
    stream.read_exact(&mut [0; 6]).expect("its version");

    let children = format!("/proc/{0}/task/{0}/children", service.0.id());
    let children = std::fs::read_to_string(children).expect("children");
    let statuses = children
        .split_whitespace()
        .map(|child| std::fs::read_to_string(format!("/proc/{child}/status")).expect("a status"));
    let mut sessions = statuses.filter(|status| status.starts_with("Name:\tkeysrv\n"));
    let session = sessions.next().expect("a session");
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(session.lines().any(|found| found == line), "{session}");
    }

    // keyfs does not outlive a service that is killed.
    drop(service);
    let start = Instant::now();
    while std::os::unix::net::UnixStream::connect(site.path("mnt/keys")).is_ok() {
        assert!(start.elapsed() < SOON, "keyfs goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}
