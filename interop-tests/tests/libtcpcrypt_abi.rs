//! libtcpcrypt as C and C++ programs see it: names, soname, needed libraries; programs built by each
//! compiler against our header, run as they are and under valgrind, before a daemon that a test
//! scripts; the same compiled program before the original library where `KX_REF_LIBTCPCRYPT` names it
//! (the file or its directory).
//!
//! Uses this build's library, or the one in `KX_LIB_DIR`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use interop_tests::skip::skip;
use interop_tests::subject::workspace;
use interop_tests::{peers::on_path, program};

#[path = "libtcpcrypt_abi/scripted_daemon.rs"]
mod scripted_daemon;

use scripted_daemon::{Request, Script, ScriptedDaemon, echo, many, usual};

const WARNINGS: [&str; 6] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g"];
/// The compiler, its language and standard.
const COMPILERS: [[&str; 3]; 4] = [
    ["gcc", "c", "c11"],
    ["g++", "c++", "c++17"],
    ["clang", "c", "c11"],
    ["clang++", "c++", "c++17"],
];
const VALGRIND: [&str; 6] = [
    "valgrind",
    "-q",
    "--error-exitcode=1",
    "--leak-check=full",
    "--show-leak-kinds=definite,indirect",
    "--errors-for-leak-kinds=definite,indirect",
];

/// Where `libtcpcrypt.so`, `tcnetstat` and `tcs` are, built once.
fn library_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        if let Some(dir) = std::env::var_os("KX_LIB_DIR") {
            return dir.into();
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--quiet", "-p", "libtcpcrypt", "-p", "tcnetstat"])
            .current_dir(workspace());
        assert!(cargo.status().unwrap().success(), "it does not build");
        // This test runs from target/PROFILE/deps.
        let exe = std::env::current_exe().unwrap();
        exe.ancestors().nth(3).unwrap().join("debug")
    })
}

/// The directory of the original library.
fn original() -> Option<PathBuf> {
    let given = PathBuf::from(std::env::var_os("KX_REF_LIBTCPCRYPT")?);
    let dir = match given.parent() {
        Some(parent) if given.is_file() => parent.to_owned(),
        _ => given,
    };
    assert!(dir.join("libtcpcrypt.so.0").exists(), "{}", dir.display());
    Some(dir)
}

fn stdout(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn run(program: &str, arguments: &[&OsStr]) -> String {
    stdout(&Command::new(program).args(arguments).output().unwrap())
}

#[test]
fn exactly_four_symbols_are_exported() {
    let library = library_dir().join("libtcpcrypt.so");
    let out = run(
        "nm",
        &["-D".as_ref(), "--defined-only".as_ref(), library.as_ref()],
    );
    let exported: BTreeSet<&str> = out
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    let symbols = workspace().join("libtcpcrypt-compat/libtcpcrypt/symbols.txt");
    let list = fs::read_to_string(symbols).unwrap();
    assert_eq!(exported, list.lines().collect());
    assert_eq!(exported.len(), 4);
    assert!(out.lines().all(|line| line.contains(" T ")), "{out}");
}

#[test]
fn soname_and_needed_libraries() {
    let library = library_dir().join("libtcpcrypt.so");
    let out = run("readelf", &["-dW".as_ref(), library.as_ref()]);
    assert!(out.contains("Library soname: [libtcpcrypt.so.0]"), "{out}");
    for line in out.lines().filter(|line| line.contains("(NEEDED)")) {
        let name = line.split(['[', ']']).nth(1).unwrap();
        let known = ["libc.so.", "libgcc_s.so.", "ld-linux"];
        assert!(known.iter().any(|k| name.starts_with(k)), "{name}");
    }
}

#[test]
fn abidiff_finds_no_difference() {
    let Some(original) = original() else {
        return skip("abidiff_finds_no_difference", "no KX_REF_LIBTCPCRYPT");
    };
    if !on_path("abidiff") {
        return skip("abidiff_finds_no_difference", "no program abidiff");
    }
    run(
        "abidiff",
        &[
            "--no-unreferenced-symbols".as_ref(),
            original.join("libtcpcrypt.so.0").as_ref(),
            library_dir().join("libtcpcrypt.so").as_ref(),
        ],
    );
}

/// Header and library as they are installed, and a place for a daemon's socket.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("include/tcpcrypt")).unwrap();
        fs::create_dir_all(path("lib")).unwrap();
        let header = "include/tcpcrypt/tcpcrypt.h";
        fs::copy(workspace().join(header), path(header)).unwrap();
        let library = library_dir().join("libtcpcrypt.so");
        fs::copy(library, path("lib/libtcpcrypt.so.0.0.0")).unwrap();
        for link in ["libtcpcrypt.so.0", "libtcpcrypt.so"] {
            std::os::unix::fs::symlink("libtcpcrypt.so.0.0.0", path("lib").join(link)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn daemon(&self, script: Script) -> ScriptedDaemon {
        ScriptedDaemon::start(&self.path("control"), script)
    }

    /// Builds a program; the result's path.
    fn build(&self, name: &str, compiler: [&str; 3]) -> PathBuf {
        self.build_with(name, compiler, "")
    }

    /// The same with more libraries.
    fn build_with(
        &self,
        name: &str,
        [compiler, language, standard]: [&str; 3],
        libraries: &str,
    ) -> PathBuf {
        let exe = self.path(&format!("{name}-{compiler}"));
        let output = Command::new(compiler)
            .args(WARNINGS)
            .arg(format!("-std={standard}"))
            .arg("-D_POSIX_C_SOURCE=200809L")
            .arg("-D_DEFAULT_SOURCE")
            .args(["-x", language])
            .arg(workspace().join(format!("interop-tests/c/{name}.c")))
            .args(["-x", "none", "-I"])
            .arg(self.path("include"))
            .arg("-L")
            .arg(self.path("lib"))
            .args(["-ltcpcrypt", "-pthread"])
            .args(libraries.split_whitespace())
            .arg("-o")
            .arg(&exe)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{compiler} {name}: {errors}");
        exe
    }

    fn command(&self, wrapper: &[&str], exe: &Path, arguments: &[&str]) -> Command {
        let (first, others) = match wrapper.split_first() {
            Some((first, others)) => (OsStr::new(first), others),
            None => (exe.as_os_str(), &[][..]),
        };
        let mut command = Command::new(first);
        command.args(others);
        if !wrapper.is_empty() {
            command.arg(exe);
        }
        command
            .args(arguments)
            .env("LC_ALL", "C")
            .env("LD_LIBRARY_PATH", self.path("lib"));
        command
    }

    /// Runs a program whose output is `ok` and nothing else.
    fn succeeds(&self, wrapper: &[&str], exe: &Path, arguments: &[&str]) {
        let done = program::run_command(&mut self.command(wrapper, exe, arguments));
        let errors = done.stderr_text();
        let what = format!("{} {arguments:?}: {errors}", exe.display());
        assert_eq!(done.rc, 0, "{what}");
        assert_eq!(done.stdout_text(), "ok\n", "{what}");
        assert_eq!(errors, "", "the library prints nothing");
    }

    fn compilers() -> impl Iterator<Item = [&'static str; 3]> {
        COMPILERS.into_iter().filter(|&[compiler, ..]| {
            let there = on_path(compiler);
            if !there {
                skip("a_compiler_of_libtcpcrypt_abi", compiler);
            }
            there
        })
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn misuse_is_an_error_and_nothing_more() {
    let scene = Scene::new();
    for compiler in Scene::compilers() {
        let exe = scene.build("tcpcrypt_abi", compiler);
        scene.succeeds(&[], &exe, &[text(&scene.path("absent"))]);
    }
}

#[test]
fn threads_and_forks() {
    let scene = Scene::new();
    let daemon = scene.daemon(echo());
    for compiler in Scene::compilers() {
        let exe = scene.build("tcpcrypt_threads", compiler);
        scene.succeeds(&[], &exe, &[text(daemon.path()), "200", "8"]);
    }
}

#[test]
fn clean_under_valgrind() {
    if !on_path("valgrind") {
        return skip("clean_under_valgrind", "no program valgrind");
    }
    let scene = Scene::new();
    let exe = scene.build("tcpcrypt_abi", COMPILERS[0]);
    scene.succeeds(&VALGRIND, &exe, &[text(&scene.path("absent"))]);
    let daemon = scene.daemon(echo());
    let exe = scene.build("tcpcrypt_threads", COMPILERS[0]);
    scene.succeeds(&VALGRIND, &exe, &[text(daemon.path()), "3", "0"]);
    // A child has the memory of its parent's threads, but not the threads.
    scene.succeeds(&VALGRIND[..3], &exe, &[text(daemon.path()), "3", "3"]);
    drop(daemon);
    let faults = scene.build("tcpcrypt_faults", COMPILERS[0]);
    let daemon = scene.daemon(many(true));
    scene.succeeds(&VALGRIND, &faults, &[text(daemon.path()), "rows"]);
    drop(daemon);
    let daemon = scene.daemon(usual());
    let exe = scene.build("tcpcrypt_calls", COMPILERS[0]);
    let mut command = scene.command(&VALGRIND, &exe, &[text(daemon.path())]);
    let done = program::run_command(&mut command);
    assert_eq!(done.rc, 0, "{}", done.stderr_text());
}

/// With the link line of the pkg-config file (pkgs/package.mk).
#[test]
fn the_static_library_links() {
    let scene = Scene::new();
    fs::remove_file(scene.path("lib/libtcpcrypt.so")).unwrap();
    let library = library_dir().join("libtcpcrypt.a");
    std::os::unix::fs::symlink(library, scene.path("lib/libtcpcrypt.a")).unwrap();
    let makefile = fs::read_to_string(workspace().join("pkgs/package.mk")).unwrap();
    let libraries = makefile
        .lines()
        .find_map(|line| line.strip_prefix("KX_TCPCRYPT_LIBS_PRIVATE := "))
        .unwrap();
    let exe = scene.build_with("tcpcrypt_abi", COMPILERS[0], libraries);
    scene.succeeds(&[], &exe, &[text(&scene.path("absent"))]);
}

/// Output of `tcpcrypt_calls` over a library, and what the daemon got.
fn calls(scene: &Scene, exe: &Path, library: &Path) -> (String, Vec<Request>) {
    let daemon = scene.daemon(usual());
    let mut command = scene.command(&[], exe, &[text(daemon.path())]);
    let done = program::run_command(command.env("LD_LIBRARY_PATH", library));
    assert_eq!(done.rc, 0, "{}", done.stderr_text());
    assert_eq!(done.stderr_text(), "");
    (done.stdout_text(), daemon.requests())
}

#[test]
fn calls_give_what_they_should() {
    let scene = Scene::new();
    for compiler in Scene::compilers() {
        let exe = scene.build("tcpcrypt_calls", compiler);
        let (printed, requests) = calls(&scene, &exe, &scene.path("lib"));
        let wanted = workspace().join("interop-tests/c/tcpcrypt_calls.expected");
        if std::env::var_os("KX_BLESS").is_some() {
            fs::write(&wanted, &printed).unwrap();
        }
        let wanted = fs::read_to_string(wanted).unwrap();
        assert_eq!(printed, wanted, "{compiler:?}");
        for (number, request) in requests.iter().enumerate() {
            assert_eq!(request.seq() as usize, number, "a counter from 0");
            if !request.sets() {
                assert!(request.data().iter().all(|&b| b == 0), "{request:?}");
            }
        }
    }
}

#[test]
fn the_original_library_gives_the_same() {
    let Some(original) = original() else {
        return skip(
            "the_original_library_gives_the_same",
            "no KX_REF_LIBTCPCRYPT",
        );
    };
    let scene = Scene::new();
    let exe = scene.build("tcpcrypt_calls", COMPILERS[0]);
    let (ours, our_requests) = calls(&scene, &exe, &scene.path("lib"));
    let (theirs, their_requests) = calls(&scene, &exe, &original);
    assert_eq!(ours, theirs);
    let normalized = |r: &[Request]| r.iter().map(Request::normalized).collect::<Vec<_>>();
    assert_eq!(normalized(&our_requests), normalized(&their_requests));
}

#[test]
fn more_connections_than_the_original_can_list() {
    let scene = Scene::new();
    let exe = scene.build("tcpcrypt_faults", COMPILERS[0]);
    for (pages, mode) in [(true, "rows"), (false, "few-rows")] {
        let daemon = scene.daemon(many(pages));
        scene.succeeds(&[], &exe, &[text(daemon.path()), mode]);
    }
}

#[test]
fn a_silent_daemon_is_waited_for_five_seconds() {
    let scene = Scene::new();
    let exe = scene.build("tcpcrypt_faults", COMPILERS[0]);
    let silent = scene.daemon(Box::new(|_| Vec::new()));
    scene.succeeds(&[], &exe, &[text(silent.path()), "silent"]);
    drop(silent);
    // One that answers what nobody asked, without end, is silent too.
    let chatty = scene.daemon(Box::new(|request| {
        let mut other = request.reply(&[1, 0, 0, 0]);
        other[0] ^= 0x80;
        vec![other; 5]
    }));
    scene.succeeds(&[], &exe, &[text(chatty.path()), "silent"]);
}

/// What a daemon makes of a request, and which errno that is.
fn answers() -> Vec<(&'static str, i32, Script)> {
    let one = 1u32.to_ne_bytes();
    let reply = |f: fn(Vec<u8>, &Request) -> Vec<Vec<u8>>| -> Script {
        Box::new(move |request| f(request.reply(&1u32.to_ne_bytes()), request))
    };
    vec![
        ("well", 0, reply(|good, _| vec![good])),
        (
            "late answers to others first",
            0,
            reply(|good, _| {
                let mut late = good.clone();
                late[0] ^= 1;
                late[36] = 9;
                vec![late.clone(), late, good]
            }),
        ),
        (
            "nothing in it",
            libc::EPROTO,
            reply(|_, _| vec![Vec::new()]),
        ),
        (
            "less than a header",
            libc::EPROTO,
            reply(|good, _| vec![good[..35].to_vec()]),
        ),
        (
            "cut off",
            libc::EPROTO,
            reply(|good, _| vec![good[..38].to_vec()]),
        ),
        (
            "longer than it says",
            libc::EPROTO,
            reply(|good, _| vec![[good, vec![0]].concat()]),
        ),
        (
            "more than there is room for",
            libc::EPROTO,
            Box::new(|request| vec![request.reply(&[1; 5])]),
        ),
        (
            "a length without bounds",
            libc::EPROTO,
            reply(|mut good, _| {
                good[32..36].fill(0xff);
                vec![good]
            }),
        ),
        (
            "ENOBUFS",
            libc::ENOBUFS,
            reply(|_, request| vec![request.error(libc::ENOBUFS)]),
        ),
        (
            "the original's only error",
            libc::EINVAL,
            reply(|_, request| vec![request.error(-1)]),
        ),
        (
            "an errno that is none",
            libc::EINVAL,
            reply(|_, request| vec![request.error(i32::MAX)]),
        ),
        (
            "value and error",
            libc::EPERM,
            Box::new(move |request| {
                let mut bytes = request.reply(&one);
                bytes[24..28].copy_from_slice(&libc::EPERM.to_ne_bytes());
                vec![bytes]
            }),
        ),
    ]
}

#[test]
fn answers_good_and_bad() {
    let scene = Scene::new();
    let exe = scene.build("tcpcrypt_faults", COMPILERS[0]);
    for (what, errno, script) in answers() {
        eprintln!("{what}");
        let daemon = scene.daemon(script);
        scene.succeeds(&[], &exe, &[text(daemon.path()), &errno.to_string()]);
    }
}

#[test]
fn a_daemon_that_is_restarted() {
    let scene = Scene::new();
    let exe = scene.build("tcpcrypt_faults", COMPILERS[0]);
    let mut daemon = Some(scene.daemon(usual()));
    let control = scene.path("control");
    let mut child = program::Guarded(
        scene
            .command(&[], &exe, &[text(&control), "restarted"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut out = BufReader::new(child.0.stdout.take().unwrap());
    let mut into = child.0.stdin.take().unwrap();
    for step in 0..3 {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "next\n", "step {step}");
        match step {
            0 => daemon = None,
            1 => fs::remove_file(&control).unwrap(),
            _ => daemon = Some(scene.daemon(usual())),
        }
        into.write_all(b"go\n").unwrap();
    }
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "ok\n");
    assert!(daemon.is_some());
}

#[test]
fn tcnetstat_prints_the_originals_table() {
    let scene = Scene::new();
    let ours = library_dir().join("tcnetstat");
    let table = |program: &Path, library: &Path, arguments: &[&str]| {
        let mut command = scene.command(&[], program, arguments);
        program::run_command(command.env("LD_LIBRARY_PATH", library))
    };
    let lib = scene.path("lib");
    let control = scene.path("control");
    let cases = [
        vec!["-u", text(&control)],
        vec!["-u", text(&control), "-h"],
        vec!["-u", "/does/not/exist"],
        vec!["-u", "nonsense"],
        vec!["-u", ":x"],
    ];
    let daemon = scene.daemon(usual());
    let seen: Vec<_> = cases.iter().map(|c| table(&ours, &lib, c)).collect();
    let id: String = (0x21..0x21 + 33).map(|b| format!("{b:02X}")).collect();
    let rows = format!(
        "Local address\t\tForeign address\t\tSID\n\
         10.77.0.1:34000      \t10.77.0.2:8080       \t{id}\n\
         10.77.0.1:34001      \t10.77.0.2:8081       \t{}\n",
        "AB".repeat(33)
    );
    assert_eq!(seen[0].stdout_text(), rows);
    assert_eq!((seen[0].rc, seen[2].rc, seen[3].rc), (0, 1, 1));
    assert_eq!(
        seen[2].stderr_text(),
        "tcnetstat: tcpcrypt_getsockopt(): No such file or directory\n"
    );
    if let Some(original) = original().filter(|dir| dir.join("tcnetstat").exists()) {
        for (case, seen) in cases.iter().zip(&seen) {
            let program = original.join("tcnetstat");
            assert_eq!(*seen, table(&program, &original, case), "{case:?}");
            // Theirs over our library, where that does not end the process.
            if seen.rc == 0 {
                assert_eq!(*seen, table(&program, &lib, case), "{case:?}");
            }
        }
    }
    drop(daemon);
    let _daemon = scene.daemon(many(true));
    let all = table(&ours, &lib, &cases[0]);
    assert_eq!(all.stdout_text().lines().count(), 301);
}
