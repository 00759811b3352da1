//! What a started program sees, and what its parent sees of it.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kx_sys::spawn::{Child, Command, ExitStatus, SpawnError};

const LIMIT: Duration = Duration::from_secs(20);

fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
    path
}

/// Everything until the other end is closed, though the descriptor does not block.
fn drain(descriptor: OwnedFd) -> String {
    let mut file = std::fs::File::from(descriptor);
    let (mut content, mut piece, start) = (Vec::new(), [0u8; 4096], Instant::now());
    loop {
        match file.read(&mut piece) {
            Ok(0) => return String::from_utf8_lossy(&content).into_owned(),
            Ok(count) => content.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                assert!(start.elapsed() < LIMIT, "still open");
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn finish(mut child: Child) -> (ExitStatus, String, String) {
    let stdout = drain(child.take_stdout().expect("first time"));
    let stderr = drain(child.take_stderr().expect("first time"));
    let status = child.wait_blocking(LIMIT).expect("waited").expect("ended");
    assert_eq!(
        child.try_wait().expect("again"),
        Some(status),
        "the status stays"
    );
    (status, stdout, stderr)
}

/// Busy because another test's thread forked while we had the script open for writing.
fn spawn(command: &Command) -> Child {
    let start = Instant::now();
    loop {
        match command.spawn() {
            Err(SpawnError::Execute { source, .. })
                if source.raw_os_error() == Some(libc::ETXTBSY) && start.elapsed() < LIMIT =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result.expect("started"),
        }
    }
}

#[test]
fn environment_arguments_directory_and_output_are_exact() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = script(
        directory.path(),
        "program",
        "#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ\necho \"$#\"\npwd -P\nreadlink /proc/$$/fd/0\necho err >&2\nexit 7\n",
    );
    let mut command = Command::new(&path);
    command
        .environment("ZED", "1")
        .environment("ALPHA", "x=y z\n")
        .environment(
            "BYTES",
            <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff"),
        )
        .environment("EMPTY", "")
        .directory(directory.path());
    let (status, stdout, stderr) = finish(spawn(&command));
    let place = std::fs::canonicalize(directory.path()).expect("path");
    let expected = format!(
        "ZED=1\nALPHA=x=y z\n\nBYTES=\u{fffd}\nEMPTY=\n0\n{}\n/dev/null\n",
        place.display()
    );
    assert_eq!(stdout, expected);
    assert_eq!(stderr, "err\n");
    assert_eq!(status, ExitStatus::Exited(7));
}

#[test]
fn nothing_is_open_but_the_three() {
    // One that is not close-on-exec: as a shell or a service manager may leave it.
    let leaky = std::fs::File::open("/dev/zero").expect("file");
    rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).expect("flags");
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = script(directory.path(), "program", "#!/bin/sh\nls /proc/$$/fd\n");
    let mut command = Command::new(&path);
    command.environment("PATH", "/usr/bin:/bin");
    let (_, stdout, _) = finish(spawn(&command));
    let numbers: Vec<&str> = stdout.split_whitespace().collect();
    // The shell itself reads its script by a high descriptor.
    let few: Vec<&&str> = numbers.iter().filter(|number| number.len() == 1).collect();
    assert_eq!(few, [&"0", &"1", &"2"], "{numbers:?}");
    assert!(numbers.len() <= 4, "{numbers:?}");
    drop(leaky);
}

#[test]
fn signals_are_as_after_login() {
    let directory = tempfile::tempdir().expect("temporary directory");
    // `exec`, since a shell blocks signals of its own while it forks.
    let text = "#!/bin/sh\nexec grep -E 'Sig(Blk|Ign)' /proc/self/status\n";
    let path = script(directory.path(), "program", text);
    let mut command = Command::new(&path);
    command.environment("PATH", "/usr/bin:/bin");
    let (_, stdout, _) = finish(spawn(&command));
    // 32 and 33 belong to the C library, which leaves them ignored in every child it spawns.
    let internal = 0b11 << 31;
    for line in stdout.lines() {
        let mask = u64::from_str_radix(line.split_whitespace().nth(1).expect("mask"), 16);
        assert_eq!(mask.expect("hexadecimal") & !internal, 0, "{stdout}");
    }
    assert_eq!(stdout.lines().count(), 2);
}

#[test]
fn limits_are_those_from_before_we_raised_ours() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(777),
            maximum: hard,
        },
    )
    .expect("lowered");
    kx_sys::hardening::raise_descriptor_limit().expect("raised");
    let directory = tempfile::tempdir().expect("temporary directory");
    // The limit is set right after the start, so a program may see it a moment later.
    let text = "#!/bin/sh\nsleep 0.2\nulimit -n\n";
    let path = script(directory.path(), "program", text);
    let mut command = Command::new(&path);
    command.environment("PATH", "/usr/bin:/bin");
    let (_, stdout, _) = finish(spawn(&command));
    assert_eq!(stdout, "777\n");
}

#[test]
fn a_killed_program_has_its_signal() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = script(directory.path(), "program", "#!/bin/sh\nexec sleep 100\n");
    let mut command = Command::new(&path);
    command.environment("PATH", "/usr/bin:/bin");
    let mut child = spawn(&command);
    assert_eq!(child.try_wait().expect("asked"), None);
    child.kill().expect("killed");
    let pidfd = child.take_pidfd().expect("this kernel has them");
    let mut polled = [rustix::event::PollFd::new(
        &pidfd,
        rustix::event::PollFlags::IN,
    )];
    let wait = rustix::event::Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    assert_eq!(
        rustix::event::poll(&mut polled, Some(&wait)).expect("polled"),
        1
    );
    let status = child.try_wait().expect("asked");
    assert_eq!(
        status,
        Some(ExitStatus::Signaled {
            signal: 9,
            core_dumped: false
        })
    );
    child.kill().expect("nothing to do");
}

fn refused(command: &Command) -> (String, Option<i32>) {
    match command.spawn().expect_err("refused") {
        SpawnError::Execute { path, source } => (
            format!("fork/exec {}", path.display()),
            source.raw_os_error(),
        ),
        SpawnError::Directory { path, source } => {
            (format!("chdir {}", path.display()), source.raw_os_error())
        }
        other => (other.to_string(), None),
    }
}

#[test]
fn what_cannot_start_says_why() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let place = directory.path();
    let missing = place.join("missing");
    let (text, code) = refused(&Command::new(&missing));
    assert_eq!(
        (text, code),
        (
            format!("fork/exec {}", missing.display()),
            Some(libc::ENOENT)
        )
    );

    let unmarked = place.join("unmarked");
    std::fs::write(&unmarked, "#!/bin/sh\n").expect("written");
    assert_eq!(refused(&Command::new(&unmarked)).1, Some(libc::EACCES));
    assert_eq!(refused(&Command::new(place)).1, Some(libc::EACCES));

    let settle = |path: &Path| {
        let start = Instant::now();
        loop {
            let code = refused(&Command::new(path)).1;
            if code != Some(libc::ETXTBSY) || start.elapsed() > LIMIT {
                return code;
            }
        }
    };
    let no_interpreter = script(place, "no-interpreter", "exit 0\n");
    assert_eq!(
        settle(&no_interpreter),
        Some(libc::ENOEXEC),
        "no shell steps in"
    );
    let empty = script(place, "empty", "");
    assert_eq!(settle(&empty), Some(libc::ENOEXEC));
    let bad = script(place, "bad", "#!/no/such/interpreter\n");
    assert_eq!(settle(&bad), Some(libc::ENOENT));

    let good = script(place, "good", "#!/bin/sh\nexit 0\n");
    let mut command = Command::new(&good);
    command.directory(&missing);
    let (text, code) = refused(&command);
    assert_eq!(
        (text, code),
        (format!("chdir {}", missing.display()), Some(libc::ENOENT))
    );

    let mut command = Command::new(&good);
    command.environment("A", "b\0c");
    assert!(matches!(command.spawn(), Err(SpawnError::EnvironmentNul)));
    assert!(matches!(
        Command::new("/bin/sh\0").spawn(),
        Err(SpawnError::ArgumentNul)
    ));
    let mut command = Command::new(&good);
    command.argument("\0");
    assert!(matches!(command.spawn(), Err(SpawnError::ArgumentNul)));
}
