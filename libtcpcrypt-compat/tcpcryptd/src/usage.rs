//! What is compiled in, and the texts about how to call the daemon (tcpcrypt spec 2.1).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The line that `-V` prints.
pub const VERSION: &str = "tcpcrypt version 0.5\n";

/// The letters of the options, in getopt(3)'s notation.
pub const LETTERS: &str = "hp:vdu:camnPt:T:S:Dx:NC:M:r:Rifs:VU:J:e";

/// Queue number. `KX_TCPCRYPT_DIVERT_PORT` in the environment of the build sets another one.
pub const DIVERT_PORT: &str = or(option_env!("KX_TCPCRYPT_DIVERT_PORT"), "666");
/// Control socket (`KX_TCPCRYPT_CONTROL_SOCKET`).
pub const CONTROL_SOCKET: &str = tcpcrypt_control::DEFAULT_CONTROL_SOCKET;
/// Root directory to be (`KX_TCPCRYPT_JAIL_DIR`).
pub const JAIL_DIR: &str = or(option_env!("KX_TCPCRYPT_JAIL_DIR"), "/var/run/tcpcryptd");
/// User to become (`KX_TCPCRYPT_JAIL_USER`).
pub const JAIL_USER: &str = or(option_env!("KX_TCPCRYPT_JAIL_USER"), "tcpcryptd");
/// Server of the network test (`KX_TCPCRYPT_TEST_SERVER`).
pub const TEST_SERVER: &str = or(option_env!("KX_TCPCRYPT_TEST_SERVER"), "check.tcpcrypt.org");

const fn or(built: Option<&'static str>, default: &'static str) -> &'static str {
    match built {
        Some(text) => text,
        None => default,
    }
}

/// The self tests, by number.
pub const TESTS: [&str; 3] = [
    "Symmetric cipher throughput",
    "Symmetric MAC throughput",
    "Packet dropper",
];

/// Letter, what stands for it, and the default if it has one.
const OPTIONS: [(char, &str, Option<&str>); 27] = [
    ('h', "help (or --help)", None),
    ('p', "<divert port>", Some(DIVERT_PORT)),
    ('v', "verbose", None),
    ('d', "disable", None),
    ('c', "no cache", None),
    ('a', "divert accept (NOP)", None),
    ('m', "divert modify (NOP)", None),
    ('u', "<local control socket>", Some(CONTROL_SOCKET)),
    ('n', "no crypto", None),
    ('P', "profile", None),
    ('S', "profile time source (0 TSC, 1 gettimeofday)", None),
    ('t', "<test>", None),
    ('T', "<test param>", None),
    ('D', "debug", None),
    ('x', "<divert driver param>", None),
    ('N', "run as nat / middlebox", None),
    ('C', "<preferred cipher>", None),
    ('M', "<preferred MAC>", None),
    ('r', "<random device>", None),
    ('R', "RSA client hack", None),
    ('i', "disable timers", None),
    ('f', "disable network test", None),
    ('s', "<network test server>", Some(TEST_SERVER)),
    ('V', "show version (or --version)", None),
    ('U', "<jail username>", Some(JAIL_USER)),
    ('J', "<jail directory>", Some(JAIL_DIR)),
    ('e', "redirect", None),
];

/// The help text. `argv0` as the program was called.
#[must_use]
pub fn text(argv0: &OsStr) -> Vec<u8> {
    let mut out = b"Usage: ".to_vec();
    out.extend_from_slice(argv0.as_bytes());
    out.extend_from_slice(b" <opt>\n");
    for (letter, description, default) in OPTIONS {
        let line = match default {
            Some(default) => format!("-{letter}\t{description} (default: {default})\n"),
            None => format!("-{letter}\t{description}\n"),
        };
        out.extend_from_slice(line.as_bytes());
    }
    out.extend_from_slice(b"\nTests:\n");
    for (number, name) in TESTS.iter().enumerate() {
        out.extend_from_slice(format!("{number}) {name}\n").as_bytes());
    }
    out
}
