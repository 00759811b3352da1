//! The recorded command lines of kxd, kxc and kxgencert (`interop-tests/vectors/kxd/cli.json`), as far as the parser
//! decides them.

use std::ffi::{OsStr, OsString};

use kx_cli::goflag::{Flag, Kind, Parsed, Stop, parse};
use serde_json::Value;

const fn string(name: &'static str, default: &'static str, usage: &'static str) -> Flag {
    Flag {
        name,
        kind: Kind::String(default),
        usage,
    }
}

const KXD: [Flag; 10] = [
    Flag {
        name: "port",
        kind: Kind::Int(19840),
        usage: "Port to listen on",
    },
    string("ip_addr", "", "IP address to listen on"),
    string("data_dir", "/etc/kxd/data", "Data directory"),
    string("key", "/etc/kxd/key.pem", "Private key"),
    string("cert", "/etc/kxd/cert.pem", "Certificate"),
    string(
        "smtp_addr",
        "",
        "Address of the SMTP server to use to send emails",
    ),
    string("email_from", "", "Email address to send email from"),
    string("logfile", "", "File to write logs to, use '-' for stdout"),
    string(
        "hook",
        "/etc/kxd/hook",
        "Hook to run before authorizing keys (skipped if it doesn't exist)",
    ),
    Flag {
        name: "version",
        kind: Kind::Bool(false),
        usage: "Print version and exit",
    },
];

const KXC: [Flag; 3] = [
    string(
        "server_cert",
        "",
        "File containing valid server certificate(s)",
    ),
    string("client_cert", "", "File containing the client certificate"),
    string("client_key", "", "File containing the client private key"),
];

const KXGENCERT: [Flag; 5] = [
    string(
        "host",
        "localhost",
        "Hostnames/IPs to generate the certificate for (comma separated)",
    ),
    Flag {
        name: "validfor",
        kind: Kind::Duration(315_360_000_000_000_000),
        usage: "How long will the certificate be valid for (default: 10y)",
    },
    string(
        "organization",
        "",
        "Organization to use in the certificate, useful for debugging",
    ),
    string(
        "cert",
        "cert.pem",
        "Where to write the generated certificate",
    ),
    string("key", "key.pem", "Where to write the generated key"),
];

fn run(program: &str, args: &[&str]) -> Result<Parsed, Stop> {
    let table: &[Flag] = match program {
        "kxd" => &KXD,
        "kxc" => &KXC,
        "kxgencert" => &KXGENCERT,
        other => panic!("{other}"),
    };
    let argv0 = format!("BIN/{program}");
    parse(OsStr::new(&argv0), table, args.iter().map(OsString::from))
}

#[test]
fn recorded_command_lines() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/kxd/cli.json"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let recorded: Value = serde_json::from_str(&text).unwrap();
    let mut stops = 0;
    for (name, case) in recorded["cases"].as_object().unwrap() {
        let Some(args) = case["args"].as_array() else {
            continue;
        };
        // A port number was replaced in the record.
        let args = args
            .iter()
            .map(|arg| arg.as_str().unwrap().replace("FREEPORT", "1234"));
        let args: Vec<String> = args.collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let program = name.split(' ').next().unwrap();
        let stderr = case["stderr"].as_str().unwrap_or_default();
        match run(program, &args) {
            Ok(_) => assert!(!stderr.contains("Usage of"), "{name}"),
            Err(stop) => {
                stops += 1;
                assert_eq!(Some(i64::from(stop.code)), case["rc"].as_i64(), "{name}");
                assert_eq!(String::from_utf8_lossy(&stop.stderr), stderr, "{name}");
            }
        }
    }
    assert_eq!(stops, 18);
}

#[test]
fn values_of_recorded_command_lines() {
    let kxd = run("kxd", &["-port=0x4d80", "--logfile", "-", "word", "-nope"]).unwrap();
    assert_eq!(kxd.int("port"), 19840);
    assert_eq!(kxd.string("logfile"), "-");
    assert_eq!(kxd.rest(), ["word", "-nope"]);
    assert!(!kxd.bool("version"));
    let kxc = run("kxc", &["-client_key", "k", "kxd://h/k", "--nope"]).unwrap();
    assert_eq!(kxc.string("client_key"), "k");
    assert_eq!(kxc.rest(), ["kxd://h/k", "--nope"]);
    let kxgencert = run("kxgencert", &["-validfor=1h30m2.0s"]).unwrap();
    assert_eq!(kxgencert.duration("validfor"), 5_402_000_000_000);
    assert_eq!(kxgencert.string("host"), "localhost");
}
