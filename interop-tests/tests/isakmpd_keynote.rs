//! KeyNote credentials on the wire (CERT 11, "isakmpd-policy 6"): two daemons that know one issuer and each its own
//! key and credential, made with the keynote command. With `KX_REF_ISAKMPD` each of them against the original, too.

use std::path::Path;
use std::process::Command;

use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::daemon::{Daemon, Setup};
use interop_tests::isakmpd::implementation::{Implementation, crossings, subject};
use interop_tests::isakmpd::network::Network;
use interop_tests::program::run_command;
use interop_tests::skip::skip;

/// Who signs the credentials.
struct Issuer<'a> {
    keynote: &'a Path,
    directory: &'a Path,
}

impl Issuer<'_> {
    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.keynote);
        let done = run_command(command.current_dir(self.directory).args(arguments));
        assert_eq!(done.rc, 0, "keynote {arguments:?}: {}", done.stderr_text());
        done.stdout_text()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).expect(name)
    }

    /// A pair of keys in files NAME.pub and NAME.key.
    fn key(&self, name: &str) {
        let files = [format!("{name}.pub"), format!("{name}.key")];
        self.run(&["keygen", "rsa-base64:", "2048", &files[0], &files[1]]);
    }

    /// A credential for the key NAME.
    fn credential(&self, name: &str, conditions: &str) -> String {
        let text = format!(
            "KeyNote-Version: 2\nAuthorizer: {}\nLicensees: {}\nConditions: {conditions};\nSignature:\n",
            self.read("issuer.pub").trim(),
            self.read(&format!("{name}.pub")).trim()
        );
        std::fs::write(self.directory.join("draft"), &text).expect("written");
        let signature = self.run(&["sign", "sig-rsa-sha1-base64:", "draft", "issuer.key"]);
        text + &signature
    }
}

/// Negotiates once with good credentials, once with one that does not license what is asked for, once with one that
/// was changed after it was signed.
fn exchange(test: &str, [left, right]: [&Implementation; 2], keynote: &Path) {
    let directory = tempfile::tempdir().expect("a directory");
    let issuer = Issuer {
        keynote,
        directory: directory.path(),
    };
    for name in ["issuer", "left", "right"] {
        issuer.key(name);
    }
    let policy = format!(
        "KeyNote-Version: 2\nComment: whom the issuer trusts\nAuthorizer: \"POLICY\"\nLicensees: {}\n\
         Conditions: app_domain == \"IPsec policy\" && esp_present == \"yes\";\n",
        issuer.read("issuer.pub").trim()
    );
    let setup = |tunnel: Tunnel, name: &str, credential: &str| {
        let mut tunnel = tunnel.with("AES-SHA2-256-GRP14-RSA_SIG", "QM-ESP-AES-SHA2-256-SUITE");
        tunnel.key = None;
        let own = format!("keynote/{}", tunnel.local);
        Setup::new(tunnel.text())
            .policy(policy.as_str())
            .file(
                &format!("{own}/private_key"),
                issuer.read(&format!("{name}.key")),
                0o600,
            )
            .file(&format!("{own}/credentials"), credential, 0o600)
    };
    let ipsec = "app_domain == \"IPsec policy\"";
    let good = issuer.credential("right", ipsec);
    let null_only = "app_domain == \"IPsec policy\" && esp_enc_alg == \"null\"";
    for (credential, finished) in [
        (issuer.credential("left", ipsec), [true, true]),
        (issuer.credential("left", null_only), [true, false]),
        (
            issuer.credential("left", null_only).replace("null", "aes"),
            [false, false],
        ),
    ] {
        let network = Network::cable();
        let responder = Daemon::start(
            &network.right,
            right,
            &setup(Tunnel::right(), "right", &good),
        );
        let initiator = Daemon::start(
            &network.left,
            left,
            &setup(Tunnel::left(), "left", &credential),
        );
        initiator.command("c conn-x");
        match finished {
            [true, true] => {
                responder.wait_for("isakmpd: quick mode done (as responder): ");
                initiator.wait_for("isakmpd: quick mode done: ");
                assert_eq!((initiator.count(2), responder.count(2)), (1, 1), "{test}");
            }
            [true, false] => {
                responder.wait_for("check_policy: negotiated SA failed policy check");
                assert_eq!((initiator.count(2), responder.count(2)), (0, 0), "{test}");
            }
            _ => {
                responder.wait_for("rsa_sig_decode_hash: ");
                assert_eq!((initiator.count(2), responder.count(1)), (0, 0), "{test}");
            }
        }
    }
}

fn keynote(test: &str, subject: &Implementation) -> Option<std::path::PathBuf> {
    let keynote = subject.isakmpd.with_file_name("keynote");
    if !keynote.is_file() {
        skip(test, "no keynote is built beside isakmpd");
        return None;
    }
    Some(keynote)
}

#[test]
fn credentials_are_exchanged() {
    let test = "credentials_are_exchanged";
    let Some(subject) = subject(test).filter(|subject| !subject.original) else {
        return;
    };
    if let Some(keynote) = keynote(test, subject) {
        exchange(test, [subject, subject], &keynote);
    }
}

#[test]
fn original_credentials_are_exchanged() {
    let test = "original_credentials_are_exchanged";
    for pair in crossings(test) {
        let ours = pair.into_iter().find(|one| !one.original);
        if let Some(keynote) = ours.and_then(|ours| keynote(test, ours)) {
            eprintln!("{} and {}", pair[0].name(), pair[1].name());
            exchange(test, pair, &keynote);
        }
    }
}
