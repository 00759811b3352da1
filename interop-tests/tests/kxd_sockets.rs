//! Sockets that a service manager passes (sd_listen_fds(3)). Ours only.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use interop_tests::config::Config;
use interop_tests::subject::{ours, subject};
use interop_tests::tls_client::Client;
use interop_tests::undisturbed::with_key;
use interop_tests::wait::{self, SOON};

/// Killed when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts kxd with two sockets as its descriptors 3 and 4. The flags name another port.
fn activated(config: &Config, sockets: [TcpListener; 2]) -> Daemon {
    let [first, second] = sockets.map(|socket| Stdio::from(OwnedFd::from(socket)));
    let script = "exec 3<&0 4>&2 </dev/null 2>/dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"";
    let child = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(subject().program("kxd"))
        .arg(format!("--cert={}", config.text("cert.pem")))
        .arg(format!("--key={}", config.text("key.pem")))
        .arg(format!("--data_dir={}", config.text("data")))
        .arg(format!("--hook={}", config.text("nohook")))
        .arg(format!("--logfile={}", config.text("log")))
        .args(["--ip_addr=192.0.2.1", "--port=9"])
        .stdin(first)
        .stderr(second)
        .stdout(Stdio::null())
        .spawn();
    Daemon(child.expect("kxd"))
}

#[test]
fn the_log_names_the_sockets_that_were_passed() {
    if !ours() {
        return;
    }
    let config = with_key();
    let any = |address: &str| TcpListener::bind(address).expect("a socket");
    let sockets = [any("127.0.0.1:0"), any("0.0.0.0:0")];
    let ports = [0, 1].map(|i| sockets[i].local_addr().expect("its address").port());
    let _daemon = activated(&config, sockets);
    for port in ports {
        let answer = Client::to(SocketAddr::from(([127, 0, 0, 1], port))).get("/v1/k");
        assert_eq!(answer.body, b"KEY", "{answer:?}");
    }
    let lines = wait::until(SOON, || {
        let log = std::fs::read_to_string(config.join("log")).ok()?;
        let (_, lines) = log.split_once("Listening on ")?;
        Some(lines.to_owned())
    });
    let log = format!("Listening on {}", lines.expect("a line"));
    let said: Vec<&str> = log
        .lines()
        .filter_map(|line| Some(line.split_once("Listening on ")?.1))
        .collect();
    let wanted = [format!("127.0.0.1:{}", ports[0]), format!(":{}", ports[1])];
    assert_eq!(said, wanted);
}
