//! The program against recorded runs of the original (`interop-tests/vectors/kxd/cli.json`), and its certificates octet by octet.
//!
//! With `KX_REF` naming a directory that holds the original's `kxgencert`, that one is run beside ours.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::X509;
use serde_json::Value;

const OURS: &str = env!("CARGO_BIN_EXE_kxgencert");

/// Runs a program in `dir` with a umask of 022.
fn run_program<S: AsRef<OsStr>>(program: &OsStr, dir: &Path, args: &[S]) -> Output {
    Command::new("sh")
        .args(["-c", "umask 022; exec \"$0\" \"$@\""])
        .arg(program)
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap()
}

fn run<S: AsRef<OsStr>>(dir: &Path, args: &[S]) -> Output {
    run_program(OURS.as_ref(), dir, args)
}

fn run_well<S: AsRef<OsStr>>(dir: &Path, args: &[S]) {
    let output = run(dir, args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn certificate(path: &Path) -> X509 {
    X509::from_pem(&fs::read(path).unwrap()).unwrap()
}

/// Whether the certificate is signed by the key of the file, which is its own.
fn assert_pair(cert: &Path, key: &Path) {
    let cert = certificate(cert);
    let key = Rsa::private_key_from_pem(&fs::read(key).unwrap()).unwrap();
    assert!(key.check_key().unwrap());
    assert_eq!(
        (key.size(), key.e().to_dec_str().unwrap().as_ref()),
        (256, "65537")
    );
    let key = PKey::from_rsa(key).unwrap();
    assert!(cert.public_key().unwrap().public_eq(&key));
    assert!(cert.verify(&key).unwrap());
}

#[test]
fn recorded_runs() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/kxd/cli.json"
    );
    let recorded: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut count = 0;
    for (name, case) in recorded["cases"].as_object().unwrap() {
        if !name.starts_with("kxgencert") {
            continue;
        }
        count += 1;
        let dir = tempfile::tempdir().unwrap();
        let args: Vec<&str> = case["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|arg| arg.as_str().unwrap())
            .collect();
        let output = run(dir.path(), &args);
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).replace(OURS, "BIN/kxgencert");
        assert_eq!(
            output.status.code().map(i64::from),
            case["rc"].as_i64(),
            "{name}"
        );
        assert_eq!(text(&output.stdout), case["stdout"], "{name}");
        assert_eq!(text(&output.stderr), case["stderr"], "{name}");
        let mut files: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let wanted = case["files"].as_object().cloned().unwrap_or_default();
        assert!(files.iter().eq(wanted.keys()), "{name}: {files:?}");
        for (file, wanted) in &wanted {
            check_file(name, &dir.path().join(file), wanted);
        }
        if let [cert, key] = files.as_slice() {
            assert_pair(&dir.path().join(cert), &dir.path().join(key));
        }
    }
    assert_eq!(count, 19);
}

fn check_file(name: &str, path: &Path, wanted: &Value) {
    let pem = fs::read_to_string(path).unwrap();
    assert_eq!(pem.lines().next(), wanted["first"].as_str(), "{name}");
    assert!(
        pem.ends_with("-----\n") && pem.lines().all(|line| line.len() <= 64),
        "{name}"
    );
    let Some(text) = wanted["text"].as_array() else {
        // The key: the original's mode is 644 (spec D3).
        assert_eq!(mode(path), 0o600, "{name}");
        return;
    };
    assert_eq!(
        format!("{:o}", mode(path)),
        wanted["mode"].as_str().unwrap(),
        "{name}"
    );
    let cert = certificate(path);
    let ours = String::from_utf8(cert.to_text().unwrap())
        .unwrap()
        .replace("O = ", "O=")
        .replace("\\x", "\\");
    let mut lines = ours.lines().map(str::trim);
    for wanted in text {
        let wanted = wanted.as_str().unwrap().trim_end_matches('X');
        assert!(
            lines.any(|line| line == wanted || wanted.ends_with(": ") && line.starts_with(wanted)),
            "{name}: {wanted} in {ours}"
        );
    }
    let valid = cert.not_before().diff(cert.not_after()).unwrap();
    let seconds = i64::from(valid.days) * 86_400 + i64::from(valid.secs);
    assert_eq!(Some(seconds), wanted["valid_seconds"].as_i64(), "{name}");
    let serial = cert.serial_number().to_bn().unwrap();
    assert!(serial.num_bits() <= 62 && serial.num_bits() > 0, "{name}");
}

/// The elements one after the other in `der`: tag, content, all octets.
fn elements(mut der: &[u8]) -> Vec<(u8, &[u8], &[u8])> {
    let mut found = Vec::new();
    while let [tag, first, ..] = *der {
        let more = if first < 0x80 {
            0
        } else {
            usize::from(first & 0x7f)
        };
        let length = match more {
            0 => usize::from(first),
            _ => der[2..2 + more]
                .iter()
                .fold(0, |length, &octet| length << 8 | usize::from(octet)),
        };
        let end = 2 + more + length;
        found.push((tag, &der[2 + more..end], &der[..end]));
        der = &der[end..];
    }
    found
}

/// The parts of a certificate that do not depend on time and chance, in hexadecimal: version, signature algorithm, issuer, tags and lengths of the times,
/// subject, begin of the public key, extensions, tags and lengths of the outermost elements.
fn fixed_parts(cert: &X509) -> Vec<String> {
    let hex =
        |octets: &[u8]| -> String { octets.iter().map(|octet| format!("{octet:02x}")).collect() };
    let der = cert.to_der().unwrap();
    let outer = elements(elements(&der)[0].1);
    let inner = elements(outer[0].1);
    assert_eq!((outer.len(), inner.len()), (3, 8));
    assert_eq!(inner[1].0, 2);
    let times: Vec<String> = elements(inner[4].1)
        .iter()
        .map(|time| hex(&time.2[..2]))
        .collect();
    vec![
        hex(inner[0].2),
        hex(inner[2].2),
        hex(inner[3].2),
        times.concat(),
        hex(inner[5].2),
        hex(&inner[6].2[..33]),
        hex(inner[7].2),
        hex(outer[1].2),
        hex(&outer[2].2[..5]),
    ]
}

/// Command line; name; begin of the extensions and the value of the last one.
const RECORDED_DER: [(&[&str], &str, &str, &str); 4] = [
    (
        &[],
        "300b31093007060355040a1300",
        "a34b3049",
        "30140603551d11040d300b82096c6f63616c686f7374",
    ),
    (
        &["-host=*", "-organization=a*b"],
        "300e310c300a060355040a0c03612a62",
        "a3433041",
        "300c0603551d110405300382012a",
    ),
    (
        &[
            "-host=a.example,192.0.2.7,2001:db8::1,*.b.example,::ffff:1.2.3.4,,fe80::1%eth0,01.2.3.4, b",
            "-organization=été",
        ],
        "3010310e300c060355040a0c05c3a974c3a9",
        "a38195308192",
        "305d0603551d11045630548209612e6578616d706c65820b2a2e622e6578616d706c658200820c666538303a3a312565746830820830312e322e332e34820220628704c0000207871020010db8000000000000000000000001870401020304",
    ),
    (
        &["-organization=A-b c'()+,./:=?", "-validfor=876000h"],
        "301a31183016060355040a130f412d6220632728292b2c2e2f3a3d3f",
        "a34b3049",
        "30140603551d11040d300b82096c6f63616c686f7374",
    ),
];

/// Recorded from the original.
#[test]
fn octets_of_certificates() {
    let algorithm = "300d06092a864886f70d01010b0500";
    let usages = "300e0603551d0f0101ff0404030202a430130603551d25040c300a06082b06010505070301300c0603551d130101ff04023000";
    for (args, name, begin, names) in RECORDED_DER {
        let dir = tempfile::tempdir().unwrap();
        run_well(dir.path(), args);
        let long = args.contains(&"-validfor=876000h");
        let expected = [
            "a003020102",
            algorithm,
            name,
            if long { "170d180f" } else { "170d170d" },
            name,
            "30820122300d06092a864886f70d01010105000382010f003082010a0282010100",
            &format!("{begin}{usages}{names}"),
            algorithm,
            "0382010100",
        ];
        assert_eq!(
            fixed_parts(&certificate(&dir.path().join("cert.pem"))),
            expected,
            "{args:?}"
        );
    }
}

#[test]
fn as_the_original_when_it_is_here() {
    let Some(reference) = std::env::var_os("KX_REF") else {
        return;
    };
    let reference = PathBuf::from(reference).join("kxgencert");
    let words: [&[&[u8]]; 11] = [
        &[],
        &[b"-host=a&b,x y"],
        &[b"-organization=\xff"],
        &[b"-organization=\xff", b"-host=\xff"],
        &[b"-host=a\xff\n"],
        &[b"-validfor=-2000000h"],
        &[b"-validfor=2562047h47m16s"],
        &[b"-host=,,1:2:3:4:5:6:7::,::1.2.3.4,1.2.3.256"],
        &[b"-cert=no\"dir\xff\n/c"],
        &[b"-key=."],
        &[b"-cert", b"-key"],
    ];
    for words in words {
        let words: Vec<&OsStr> = words.iter().map(|word| OsStr::from_bytes(word)).collect();
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let a = run(ours.path(), &words);
        let b = run_program(reference.as_ref(), theirs.path(), &words);
        assert_eq!(
            (a.status, a.stdout, a.stderr),
            (b.status, b.stdout, b.stderr),
            "{words:?}"
        );
        let certificate_of = |dir: &Path| {
            ["cert.pem", "-key"]
                .iter()
                .map(|name| dir.join(name))
                .find(|path| path.exists())
                .map(|path| fixed_parts(&certificate(&path)))
        };
        assert_eq!(
            certificate_of(ours.path()),
            certificate_of(theirs.path()),
            "{words:?}"
        );
        assert_eq!(
            ours.path().join("key.pem").exists(),
            theirs.path().join("key.pem").exists()
        );
    }
}

#[test]
fn existing_files_keep_mode_and_links() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (name, mode) in [("real-cert", 0o640), ("real-key", 0o644)] {
        fs::write(path(name), "x".repeat(10_000)).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("real-cert", path("cert.pem")).unwrap();
    symlink("real-key", path("key.pem")).unwrap();
    run_well::<&str>(dir.path(), &[]);
    assert_eq!(
        (mode(&path("real-cert")), mode(&path("real-key"))),
        (0o640, 0o644)
    );
    assert!(path("cert.pem").is_symlink() && path("key.pem").is_symlink());
    assert_pair(&path("real-cert"), &path("real-key"));

    // A link to nothing makes the file it names.
    fs::remove_file(path("real-key")).unwrap();
    run_well::<&str>(dir.path(), &[]);
    assert_eq!(mode(&path("real-key")), 0o600);
    assert!(path("key.pem").is_symlink());
}

#[test]
fn both_to_one_stream() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["-cert=/dev/stdout", "-key=/dev/stdout"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let cert = text.find("-----BEGIN CERTIFICATE-----\n");
    let key = text.find("-----BEGIN RSA PRIVATE KEY-----\n");
    assert!(cert == Some(0) && key > cert, "{text}");
}

/// The original says nothing and exits with 0.
#[test]
fn full_disk_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["-cert=/dev/full"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "Failed to write \"/dev/full\": write /dev/full: no space left on device\n"
    );
    assert!(!dir.path().join("key.pem").exists());
}

#[test]
fn closed_outputs_are_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    for (args, redirection, code) in [
        ("-host=é", ">/dev/full", 1),
        ("-host=é", ">&-", 1),
        ("-nope", "2>/dev/full", 2),
        ("-h", "2>&-", 0),
    ] {
        let output = Command::new("sh")
            .args([
                "-c",
                &format!("exec \"$0\" \"$1\" {redirection}"),
                OURS,
                args,
            ])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{args} {redirection}");
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
}

#[test]
fn serials_and_keys_differ() {
    let dir = tempfile::tempdir().unwrap();
    run_well::<&str>(dir.path(), &[]);
    let first = certificate(&dir.path().join("cert.pem"));
    run_well::<&str>(dir.path(), &[]);
    let second = certificate(&dir.path().join("cert.pem"));
    assert_ne!(
        first.serial_number().to_bn().unwrap(),
        second.serial_number().to_bn().unwrap()
    );
    assert!(
        !first
            .public_key()
            .unwrap()
            .public_eq(&second.public_key().unwrap())
    );
    assert_eq!(
        first
            .issuer_name()
            .entries_by_nid(Nid::ORGANIZATIONNAME)
            .count(),
        1
    );
}
