//! The hook cases of `interop-tests/vectors/kxd/side.json`, at function level; what sleeps a minute
//! there runs with a shorter limit here.

use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kx_cert::verify::Chain;
use kx_cert::{Certificate, pem};
use kxd::hook::{self, HookError, Request};

const LIMIT: Duration = Duration::from_secs(30);
const KILLED: &str = r#"exited with error: signal: killed -- stderr: """#;

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("runtime").block_on(future)
}

fn certificate() -> Certificate {
    let case = "../../interop-tests/vectors/kxd/clientcerts/self-subject-rich/cert.pem";
    let text = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(case)).expect("vector");
    let block = pem::blocks(&text).next().expect("a block");
    Certificate::parse(&block.der).expect("a certificate")
}

struct Place {
    directory: tempfile::TempDir,
    data: PathBuf,
    path: PathBuf,
    client: Certificate,
    chains: Vec<Chain>,
    email_to: Vec<Vec<u8>>,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (data, path) = (directory.path().join("data"), directory.path().join("hook"));
        std::fs::create_dir(&data).expect("directory");
        let client = certificate();
        let chains = vec![vec![client.clone()]];
        Place {
            directory,
            data,
            path,
            client,
            chains,
            email_to: Vec::new(),
        }
    }

    fn script(&self, text: &str) {
        std::fs::write(&self.path, text).expect("written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&self.path, mode).expect("mode");
    }

    fn request(&self) -> Request<'_> {
        Request {
            path: &self.path,
            data_dir: &self.data,
            key_path: b"h/k",
            remote_addr: "127.0.0.1:4711",
            mail_from: "from@x",
            email_to: &self.email_to,
            client: &self.client,
            chains: &self.chains,
        }
    }

    async fn verdict(&self, limit: Duration) -> Result<(), HookError> {
        // A process that another test starts just now may hold the script open for writing.
        loop {
            match hook::run_limited(&self.request(), (), limit).await {
                Err(HookError::Execute(_, source))
                    if source.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                result => return result,
            }
        }
    }

    fn says(&self, script: &str) -> String {
        self.script(script);
        run(self.verdict(LIMIT)).map_or_else(|error| error.to_string(), |()| "allowed".to_owned())
    }

    fn cannot_start(&self, why: &str) {
        let text = run(self.verdict(LIMIT)).expect_err("refused").to_string();
        assert_eq!(text, format!("fork/exec {}: {why}", self.path.display()));
    }
}

#[test]
fn the_hook_sees_exactly_this() {
    let mut place = Place::new();
    let seen = place.directory.path().join("seen");
    place.script(&format!(
        "#!/bin/sh\nexec > {}\ntr '\\0' '\\n' < /proc/$$/environ\npwd -P\necho $# $0\nreadlink /proc/$$/fd/0\n",
        seen.display()
    ));
    place.email_to = vec![b"a@b.c".to_vec(), b"#x@y".to_vec(), b"d@e f".to_vec()];
    place
        .chains
        .insert(0, vec![place.client.clone(), place.client.clone()]);
    run(place.verdict(LIMIT)).expect("allowed");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let short = place.client.short();
    let expected = [
        format!("USER={}", variable("USER")),
        format!("PWD={}", variable("PWD")),
        format!("SHELL={}", variable("SHELL")),
        format!("PATH={}", variable("PATH")),
        "KEY_PATH=h/k".to_owned(),
        "REMOTE_ADDR=127.0.0.1:4711".to_owned(),
        "MAIL_FROM=from@x".to_owned(),
        "EMAIL_TO=a@b.c #x@y d@e f".to_owned(),
        format!("CLIENT_CERT_SIGNATURE={}", place.client.signature_hex()),
        format!("CLIENT_CERT_SUBJECT={}", place.client.subject_full()),
        format!("CHAIN_0={short} -> {short}"),
        format!("CHAIN_1={short}"),
        std::fs::canonicalize(&place.data)
            .expect("path")
            .display()
            .to_string(),
        format!("0 {}", place.path.display()),
        "/dev/null".to_owned(),
    ];
    let text = std::fs::read_to_string(&seen).expect("written by the hook");
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn only_three_descriptors_reach_the_hook() {
    // One without close-on-exec, as somebody's library may open it.
    let leaky = std::fs::File::open("/dev/zero").expect("file");
    rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).expect("flags");
    let place = Place::new();
    let leaked = std::os::fd::AsRawFd::as_raw_fd(&leaky);
    // The shell reads the script by a descriptor of its own from 10 on.
    let text = place.says(&format!(
        "#!/bin/sh\nfor n in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && echo $n >&2; done\n\
         [ \"$(readlink /proc/$$/fd/{leaked})\" = /dev/zero ] && echo leak >&2\nexit 1\n"
    ));
    assert_eq!(
        text,
        r#"exited with error: exit status 1 -- stderr: "0\n1\n2\n""#
    );
    drop(leaky);
}

#[test]
fn email_to_is_unset_without_addresses() {
    assert_eq!(
        Place::new().says("#!/bin/sh\n[ -z \"${EMAIL_TO+x}\" ]\n"),
        "allowed"
    );
}

#[test]
fn the_exit_status_decides_and_stderr_is_quoted() {
    let place = Place::new();
    for (script, text) in [
        ("exit 0", "allowed"),
        (
            "exit 1",
            r#"exited with error: exit status 1 -- stderr: """#,
        ),
        (
            "printf 'bad \"thing\"\\nx\\t\\001' >&2; exit 3",
            r#"exited with error: exit status 3 -- stderr: "bad \"thing\"\nx\t\x01""#,
        ),
        ("kill -9 $$", KILLED),
        (
            "kill -TERM $$",
            r#"exited with error: signal: terminated -- stderr: """#,
        ),
    ] {
        assert_eq!(place.says(&format!("#!/bin/sh\n{script}\n")), text);
    }
}

#[test]
fn output_of_any_size_is_taken() {
    let place = Place::new();
    let text = place.says("#!/bin/sh\nhead -c 200000 /dev/zero | tr '\\0' e >&2\nexit 3\n");
    let kept = "e".repeat(32768);
    assert_eq!(
        text,
        format!(
            "exited with error: exit status 3 -- stderr: \
             \"{kept}\\n... omitting 134464 bytes ...\\n{kept}\""
        )
    );
    assert_eq!(
        place.says("#!/bin/sh\nhead -c 3000000 /dev/zero\n"),
        "allowed"
    );
}

#[test]
fn what_cannot_be_executed_refuses() {
    let place = Place::new();
    std::fs::write(&place.path, "#!/bin/sh\n").expect("written");
    place.cannot_start("permission denied");
    place.script("exit 0\n");
    place.cannot_start("exec format error");
    place.script("");
    place.cannot_start("exec format error");
    place.script("#!/no/such/interpreter\n");
    place.cannot_start("no such file or directory");
    std::fs::remove_file(&place.path).expect("removed");
    std::fs::create_dir(&place.path).expect("directory");
    assert!(!hook::is_absent(&place.path));
    place.cannot_start("permission denied");
    std::fs::remove_dir(&place.path).expect("removed");
    place.script("#!/bin/sh\n");
    std::fs::remove_dir(&place.data).expect("removed");
    let text = run(place.verdict(LIMIT)).expect_err("refused").to_string();
    assert_eq!(
        text,
        format!("chdir {}: no such file or directory", place.data.display())
    );
}

#[test]
fn a_hook_that_is_not_there_is_absent() {
    let place = Place::new();
    assert!(hook::is_absent(&place.path));
    std::os::unix::fs::symlink("nowhere", &place.path).expect("link");
    assert!(hook::is_absent(&place.path), "a dangling link");
    std::fs::remove_file(&place.path).expect("removed");
    place.script("");
    assert!(!hook::is_absent(&place.path));
    assert!(
        !hook::is_absent(&place.path.join("below")),
        "an error other than absence"
    );
}

#[test]
fn a_slow_hook_is_killed_and_others_go_on() {
    let (slow, quick) = (Place::new(), Place::new());
    slow.script("#!/bin/sh\nexec sleep 100\n");
    quick.script("#!/bin/sh\nexit 0\n");
    let start = Instant::now();
    run(async {
        let (slow, ()) = tokio::join!(slow.verdict(Duration::from_secs(1)), async {
            quick.verdict(LIMIT).await.expect("allowed");
            assert!(start.elapsed() < Duration::from_millis(900), "not held up");
        });
        assert_eq!(slow.expect_err("refused").to_string(), KILLED);
    });
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(4),
        "{took:?}"
    );
}

#[test]
fn a_hook_that_writes_without_end_does_not_keep_the_thread() {
    let place = Place::new();
    place.script("#!/bin/sh\nexec cat /dev/zero\n");
    run(async {
        let most = async {
            let mut most = Duration::ZERO;
            for _ in 0..50 {
                let start = Instant::now();
                tokio::time::sleep(Duration::from_millis(10)).await;
                most = most.max(start.elapsed());
            }
            most
        };
        let (verdict, most) = tokio::join!(place.verdict(Duration::from_secs(1)), most);
        assert_eq!(verdict.expect_err("refused").to_string(), KILLED);
        assert!(most < Duration::from_millis(500), "{most:?}");
    });
}

#[test]
fn a_child_left_behind_does_not_hold_up_the_verdict() {
    let place = Place::new();
    let start = Instant::now();
    // The shell is killed, its child lives on with the pipes: the original waits for the child.
    place.script("#!/bin/sh\nsleep 15\nexit 0\n");
    let text = run(place.verdict(Duration::from_secs(1)))
        .expect_err("refused")
        .to_string();
    assert_eq!(text, KILLED);
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );

    let start = Instant::now();
    assert_eq!(
        place.says("#!/bin/sh\nsleep 15 &\nexit 0\n"),
        "allowed",
        "its own end decides"
    );
    let took = start.elapsed();
    assert!(
        took >= hook::OUTPUT_GRACE && took < Duration::from_secs(6),
        "{took:?}"
    );
}

#[test]
fn a_child_left_behind_may_write_on() {
    let place = Place::new();
    let mark = place.directory.path().join("mark");
    place.script(&format!(
        "#!/bin/sh\n(sleep 3; echo out; echo err >&2; echo done > {}) &\nexit 0\n",
        mark.display()
    ));
    run(async {
        place.verdict(LIMIT).await.expect("allowed");
        let start = Instant::now();
        while !mark.exists() {
            assert!(start.elapsed() < LIMIT, "died of SIGPIPE");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let place = Place::new();
    let pid_file = place.directory.path().join("pid");
    place.script(&format!(
        "#!/bin/sh\necho $$ > {}\nexec sleep 100\n",
        pid_file.display()
    ));
    let permits = Arc::new(tokio::sync::Semaphore::new(1));
    run(async {
        let permit = Arc::clone(&permits).acquire_owned().await.expect("open");
        let request = place.request();
        let waiting = hook::run_limited(&request, permit, Duration::from_secs(2));
        tokio::time::timeout(Duration::from_secs(1), waiting)
            .await
            .expect_err("gone away");
        assert_eq!(
            permits.available_permits(),
            0,
            "the hook still runs and still counts"
        );
        let text = std::fs::read_to_string(&pid_file).expect("started");
        let process = PathBuf::from("/proc").join(text.trim());
        assert!(process.exists());
        let start = Instant::now();
        while permits.available_permits() == 0 {
            assert!(start.elapsed() < LIMIT);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!process.exists(), "killed and reaped: no zombie");
    });
}
