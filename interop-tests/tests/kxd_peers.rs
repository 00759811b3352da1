//! Live, in both directions: the subject against Debian's kxd and kxc, curl (HTTP/2 and 1.1)
//! and openssl. A peer that is not there is told as a skip (interop-tests/peers.sh fetches
//! them).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use interop_tests::config::Config;
use interop_tests::daemon::{Kxd, kxd};
use interop_tests::peers::{debian_original, on_path};
use interop_tests::program::{Finished, Guarded, collect, run, run_command};
use interop_tests::skip::skip;
use interop_tests::subject::subject;
use interop_tests::tls_client::get_request;

const KEY: &[u8] = b"a key of some octets\x00\xff\n";

/// Directories with the programs of both sides: (server's, client's, certificates').
fn crossings(test: &str) -> Vec<(PathBuf, PathBuf, PathBuf)> {
    let own = subject().bin.clone();
    let Some(other) = debian_original() else {
        skip(test, "Debian's kxd is not there (interop-tests/peers.sh)");
        return Vec::new();
    };
    vec![
        (own.clone(), other.clone(), other.clone()),
        (other.clone(), own.clone(), own.clone()),
        (own.clone(), other.clone(), own.clone()),
        (other.clone(), own, other),
    ]
}

fn generate(bin: &Path, config: &Config, dir: &str, host: &str) {
    let made = run(
        bin.join("kxgencert"),
        &[
            format!("-host={host}"),
            "-organization=someone@somewhere".to_owned(),
            format!("-cert={}", config.text(&format!("{dir}cert.pem"))),
            format!("-key={}", config.text(&format!("{dir}key.pem"))),
        ],
    );
    assert_eq!(made.rc, 0, "{}", made.stdout_text());
}

/// A directory whose certificates come from `bin`'s kxgencert.
fn generated(bin: &Path) -> Config {
    let config = Config::new();
    generate(bin, &config, "", "localhost,127.0.0.1");
    generate(bin, &config, "client/", "client.example");
    config.bare_key("host/disk", KEY);
    let allowed = config.join("data/host/disk/allowed_clients");
    std::fs::copy(config.join("client/cert.pem"), allowed).expect("allowing the client");
    config.write("data/host/disk/allowed_hosts", "127.0.0.1\n");
    config
}

fn kxc(bin: &Path, config: &Config, url: &str) -> Finished {
    run_command(
        Command::new(bin.join("kxc"))
            .arg(format!("--client_cert={}", config.text("client/cert.pem")))
            .arg(format!("--client_key={}", config.text("client/key.pem")))
            .arg(format!("--server_cert={}", config.text("cert.pem")))
            .arg(url),
    )
}

#[test]
fn each_sides_kxc_fetches_a_key_from_the_others_kxd() {
    for (server, client, certificates) in
        crossings("each_sides_kxc_fetches_a_key_from_the_others_kxd")
    {
        let config = generated(&certificates);
        let server = kxd(&config).program(server.join("kxd")).start();
        for host in ["localhost", "127.0.0.1"] {
            let url = format!("kxd://{host}:{}/host/disk", server.port);
            let got = kxc(&client, &config, &url);
            assert_eq!((got.rc, got.stderr_text().as_str()), (0, ""), "{client:?}");
            assert_eq!(got.stdout, KEY);
        }
    }
}

#[test]
fn each_sides_kxc_reports_the_others_refusals_in_the_same_words() {
    for (server, client, certificates) in
        crossings("each_sides_kxc_reports_the_others_refusals_in_the_same_words")
    {
        let config = generated(&certificates);
        config.bare_key("nobody", KEY);
        config.write("data/host/far/key", KEY);
        let allowed = config.join("data/host/far/allowed_clients");
        std::fs::copy(config.join("client/cert.pem"), allowed).expect("allowing");
        config.write("data/host/far/allowed_hosts", "10.9.9.9\n");
        let server = kxd(&config).program(server.join("kxd")).start();
        for (path, text) in [
            (
                "none",
                "HTTP error \"404 Not Found\" getting key: Unknown key\n",
            ),
            (
                "nobody",
                "HTTP error \"403 Forbidden\" getting key: No allowed certificate found\n",
            ),
            (
                "host/far",
                "HTTP error \"403 Forbidden\" getting key: Host not allowed\n",
            ),
            (
                "a..b",
                "HTTP error \"406 Not Acceptable\" getting key: Invalid key path\n",
            ),
        ] {
            let url = format!("kxd://localhost:{}/{path}", server.port);
            let got = kxc(&client, &config, &url);
            assert_eq!((got.rc, got.stdout.len()), (1, 0), "{path}");
            assert!(
                got.stderr_text().ends_with(text),
                "{path}: {}",
                got.stderr_text()
            );
        }
    }
}

#[test]
fn each_sides_kxc_refuses_a_server_that_is_not_the_pinned_one() {
    for (server, client, certificates) in
        crossings("each_sides_kxc_refuses_a_server_that_is_not_the_pinned_one")
    {
        let config = generated(&certificates);
        let server = kxd(&config).program(server.join("kxd")).start();
        // A new certificate under the old name.
        generate(&certificates, &config, "", "localhost");
        let got = kxc(
            &client,
            &config,
            &format!("kxd://localhost:{}/host/disk", server.port),
        );
        assert_eq!((got.rc, got.stdout.len()), (1, 0));
        assert!(
            got.stderr_text()
                .contains("certificate signed by unknown authority")
        );
    }
}

fn curl(config: &Config, server: &Kxd, args: &[&str]) -> Finished {
    run_command(
        Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20"])
            .args(["--cacert", &config.text("cert.pem")])
            .args(["--cert", &config.text("client/cert.pem")])
            .args(["--key", &config.text("client/key.pem")])
            .args(args)
            .arg(format!("https://localhost:{}/v1/host/disk", server.port)),
    )
}

#[test]
fn curl_fetches_the_key_over_h2_and_h1_verifying_the_server() {
    if !on_path("curl") {
        return skip(
            "curl_fetches_the_key_over_h2_and_h1_verifying_the_server",
            "no curl",
        );
    }
    let config = generated(&subject().bin);
    let server = kxd(&config).start();
    for (option, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let got = curl(&config, &server, &[option]);
        assert_eq!(
            (got.rc, got.stdout.as_slice()),
            (0, KEY),
            "{}",
            got.stderr_text()
        );
        let told = curl(
            &config,
            &server,
            &[option, "-o", "/dev/null", "-w", "%{http_version}"],
        );
        assert_eq!(told.stdout_text(), version);
    }
}

#[test]
fn curl_reuses_one_connection_for_many_keys() {
    if !on_path("curl") {
        return skip("curl_reuses_one_connection_for_many_keys", "no curl");
    }
    let config = generated(&subject().bin);
    let server = kxd(&config).start();
    let url = format!("https://localhost:{}/v1/host/disk", server.port);
    for option in ["--http2", "--http1.1"] {
        let got = curl(
            &config,
            &server,
            &[option, "-w", "%{num_connects}", &url, &url, &url],
        );
        assert_eq!(got.rc, 0, "{}", got.stderr_text());
        let text = String::from_utf8_lossy(&got.stdout).into_owned();
        let connects: usize = text.split('\n').filter(|p| p.starts_with('1')).count();
        assert_eq!(connects, 1, "{option}: {text:?}");
    }
}

#[test]
fn openssl_s_client_fetches_the_key_in_each_version() {
    if !on_path("openssl") {
        return skip(
            "openssl_s_client_fetches_the_key_in_each_version",
            "no openssl",
        );
    }
    let config = generated(&subject().bin);
    let server = kxd(&config).start();
    for version in ["-tls1_2", "-tls1_3"] {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", version, "-verify_return_error"])
            .args([
                "-connect",
                &server.address().to_string(),
                "-servername",
                "localhost",
            ])
            .args(["-CAfile", &config.text("cert.pem")])
            .args(["-cert", &config.text("client/cert.pem")])
            .args(["-key", &config.text("client/key.pem")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl s_client");
        let mut stdin = child.stdin.take().expect("stdin");
        std::io::Write::write_all(&mut stdin, get_request("/v1/host/disk").as_bytes())
            .expect("request");
        let got = collect(Guarded(child), Duration::from_secs(20));
        drop(stdin);
        assert!(
            got.stdout.ends_with(KEY),
            "{version}: {}",
            got.stderr_text()
        );
    }
}
