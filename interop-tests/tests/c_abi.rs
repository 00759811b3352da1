//! libkx as C and C++ programs see it: names, soname, needed libraries, and six programs built by
//! each compiler against the header, run as they are and under valgrind.
//!
//! Uses the shared library of this build (target/debug/libkx.so), or the one in `KX_LIB_DIR`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use interop_tests::subject::subject;

#[path = "../../libkx/kxc/tests/support/mod.rs"]
mod support;

use support::test_certs::{Identity, Spec};
use support::tls_server::{Reply, Setup, TlsServer, ok};

const KEY: &str = "the key of the C programs";
const PROGRAMS: [&str; 6] = [
    "fetch_files",
    "fetch_threads",
    "inferno",
    "misuse",
    "smart_card",
    "wiped",
];
/// What the account of `inferno` has for a secret, and what it is changed to.
const SECRETS: [&str; 2] = ["clear text secret", "another clear secret"];
const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Werror", "-O1", "-g"];
/// The compiler, its language and standard.
const COMPILERS: [[&str; 3]; 4] = [
    ["gcc", "c", "c11"],
    ["g++", "c++", "c++17"],
    ["clang", "c", "c11"],
    ["clang++", "c++", "c++17"],
];

/// More than one TLS record; no piece of it is like another.
fn long_key() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..40_000).map(step).collect()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where `libkx.so` is, built once.
fn library_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        if let Some(dir) = std::env::var_os("KX_LIB_DIR") {
            return dir.into();
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--quiet", "-p", "libkx"])
            .current_dir(workspace());
        assert!(cargo.status().unwrap().success(), "libkx does not build");
        // This test runs from target/PROFILE/deps.
        let exe = std::env::current_exe().unwrap();
        let dir = exe.ancestors().nth(3).unwrap().join("debug");
        assert!(
            dir.join("libkx.so").exists(),
            "no libkx.so in {}",
            dir.display()
        );
        dir
    })
}

fn run(program: impl AsRef<OsStr>, arguments: &[&OsStr]) -> Output {
    let program = program.as_ref();
    Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|e| panic!("{program:?}: {e}"))
}

fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn have(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success())
}

#[test]
fn exactly_the_listed_symbols_are_exported() {
    let library = library_dir().join("libkx.so");
    let out = stdout(&run(
        "nm",
        &[
            "-D".as_ref(),
            "--defined-only".as_ref(),
            library.as_os_str(),
        ],
    ));
    let exported: BTreeSet<&str> = out
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    let list = fs::read_to_string(workspace().join("libkx/libkx/symbols.txt")).unwrap();
    assert_eq!(exported, list.lines().collect());
    assert!(out.lines().all(|line| line.contains(" T ")), "{out}");
}

#[test]
fn soname_and_needed_libraries() {
    let library = library_dir().join("libkx.so");
    let out = stdout(&run(
        "readelf",
        &["-d".as_ref(), "-W".as_ref(), library.as_os_str()],
    ));
    assert!(out.contains("Library soname: [libkx.so.0]"), "{out}");
    for line in out.lines().filter(|line| line.contains("(NEEDED)")) {
        let name = line.split(['[', ']']).nth(1).unwrap();
        let known = [
            "libc.so.",
            "libgcc_s.so.",
            "ld-linux",
            "libssl.so.",
            "libcrypto.so.",
            "libpcsclite.so.",
            "libm.so.",
        ];
        assert!(known.iter().any(|k| name.starts_with(k)), "{name}");
    }
}

struct Scene {
    dir: tempfile::TempDir,
    server: TlsServer,
    keysrv: u16,
}

fn inferno_key(name: &str) -> PathBuf {
    workspace()
        .join("interop-tests/vectors/keysrv/authinfo")
        .join(name)
}

/// A keysrv for each connection to the port that is returned, over the files of `keys`.
fn start_keysrv(keys: &Path) -> u16 {
    let user = keys.join("carol");
    fs::create_dir_all(&user).unwrap();
    fs::write(user.join("secret"), SECRETS[0]).unwrap();
    let keys = keys.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let program = subject().program("inferno-auth");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut keysrv = Command::new(&program)
                .args(["keysrv", "-k"])
                .arg(inferno_key("keysrv_default.rsa"))
                .arg("-m")
                .arg(&keys)
                .stdin(OwnedFd::from(connection.unwrap()))
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::spawn(move || keysrv.wait());
        }
    });
    port
}

impl Scene {
    /// Installs header and library in a directory of their own and starts a server.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("include")).unwrap();
        fs::create_dir_all(path("lib")).unwrap();
        fs::copy(workspace().join("include/kx.h"), path("include/kx.h")).unwrap();
        let library = library_dir();
        fs::copy(library.join("libkx.so"), path("lib/libkx.so.0.0.0")).unwrap();
        for link in ["libkx.so.0", "libkx.so"] {
            std::os::unix::fs::symlink("libkx.so.0.0.0", path("lib").join(link)).unwrap();
        }
        let client: Identity = Spec {
            cn: "client".to_owned(),
            ..Spec::default()
        }
        .self_signed();
        let identity = Spec::server(&["localhost"]).self_signed();
        fs::write(path("cert.pem"), client.cert_pem()).unwrap();
        fs::write(path("key.pem"), client.key_pem()).unwrap();
        fs::write(path("server.pem"), identity.cert_pem()).unwrap();
        let server = Setup::new(identity).start(|request| {
            if request.starts_with(b"GET /v1/refused ") {
                Reply::Send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n".to_vec())
            } else if request.starts_with(b"GET /v1/long ") {
                Reply::Send(ok(&long_key()))
            } else {
                Reply::Send(ok(KEY.as_bytes()))
            }
        });
        let keysrv = start_keysrv(&path("keys"));
        Self {
            dir,
            server,
            keysrv,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Builds a program; the result's path.
    fn build(&self, program: &str, [compiler, language, standard]: [&str; 3]) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("c")
            .join(format!("{program}.c"));
        let exe = self.path(&format!("{program}-{compiler}"));
        let output = Command::new(compiler)
            .args(WARNINGS)
            .arg(format!("-std={standard}"))
            .arg("-D_POSIX_C_SOURCE=200809L")
            .args(["-x", language])
            .arg(source)
            .args(["-x", "none", "-I"])
            .arg(self.path("include"))
            .arg("-L")
            .arg(self.path("lib"))
            // With lazy binding the dynamic linker saves vector registers, which may hold a piece of the
            // key from a copy just made, on the program's stack; `wiped` would find them there.
            .args(["-lkx", "-pthread", "-Wl,-z,now", "-o"])
            .arg(&exe)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{compiler} {program}: {errors}");
        exe
    }

    fn arguments(&self, program: &str) -> Vec<String> {
        let file = |name: &str| self.path(name).display().to_string();
        let url = |port: u16, path: &str| format!("kxd://localhost:{port}/{path}");
        let port = self.server.port();
        let files = [file("cert.pem"), file("key.pem"), file("server.pem")];
        match program {
            "fetch_files" => files.into_iter().chain([url(port, "k")]).collect(),
            "wiped" => files.into_iter().chain([url(port, "long")]).collect(),
            "fetch_threads" => files
                .into_iter()
                .chain([
                    KEY.to_owned(),
                    url(1, "k"),
                    url(port, "k"),
                    url(port, "refused"),
                ])
                .collect(),
            "inferno" => {
                let info = inferno_key("carol.rsa.authinfo");
                let [old, new] = SECRETS.map(str::to_owned);
                vec![
                    self.keysrv.to_string(),
                    info.display().to_string(),
                    old,
                    new,
                ]
            }
            "smart_card" => vec![format!("vcard:{}", self.path("card").display())],
            _ => vec!["1".to_owned()],
        }
    }

    fn run(&self, wrapper: &[&str], exe: &Path, program: &str) {
        let mut words: Vec<&OsStr> = wrapper.iter().map(OsStr::new).collect();
        words.push(exe.as_os_str());
        let (first, others) = words.split_first().unwrap();
        let output = Command::new(first)
            .args(others)
            .args(self.arguments(program))
            .env("LD_LIBRARY_PATH", self.path("lib"))
            .env("KX_TEST_CERT", self.path("cert.pem"))
            .env("KX_TEST_KEY", self.path("key.pem"))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}: {}\n{errors}",
            exe.display(),
            output.status
        );
        let expected = if program == "fetch_files" {
            KEY
        } else {
            "ok\n"
        };
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        if wrapper.is_empty() {
            assert_eq!(errors, "", "the library prints nothing");
        }
    }
}

#[test]
fn the_programs_run_with_every_compiler() {
    let scene = Scene::new();
    for compiler in COMPILERS {
        if !have(compiler[0]) {
            eprintln!("{} is not installed, left out", compiler[0]);
            continue;
        }
        for program in PROGRAMS {
            let exe = scene.build(program, compiler);
            scene.run(&[], &exe, program);
        }
    }
}

#[test]
fn the_programs_run_clean_under_valgrind() {
    if !have("valgrind") {
        eprintln!("valgrind is not installed, left out");
        return;
    }
    let scene = Scene::new();
    // Valgrind has other memory than the program's own, so the search in it says nothing there.
    for program in PROGRAMS.into_iter().filter(|&p| p != "wiped") {
        let exe = scene.build(program, COMPILERS[0]);
        // What the TLS library and the standard library keep for the whole process is reachable, in
        // parts only through pointers into the middle of a block ("possibly lost").
        let valgrind = [
            "valgrind",
            "-q",
            "--error-exitcode=1",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
        ];
        scene.run(&valgrind, &exe, program);
    }
}
