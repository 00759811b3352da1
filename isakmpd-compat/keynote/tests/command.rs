//! keynote(1) from outside.

use std::path::Path;
use std::process::{Command, Output};

use std::os::unix::fs::PermissionsExt;

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Desk {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    fn get(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn keynote(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_keynote"))
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap()
    }

    /// Standard output of a call that goes well.
    fn good(&self, arguments: &[&str]) -> String {
        let output = self.keynote(arguments);
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert!(output.status.success(), "{arguments:?}");
        text(&output.stdout)
    }

    /// Standard error of a call that does not, and its exit status.
    fn bad(&self, arguments: &[&str]) -> String {
        let output = self.keynote(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        text(&output.stderr)
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn keys_signatures_and_a_question() {
    let desk = Desk::new();
    for (algorithm, signature, bits) in [
        ("rsa-base64:", "sig-rsa-sha1-hex:", "2048"),
        ("dsa-hex:", "sig-dsa-sha1-base64:", "1024"),
    ] {
        desk.put("private", "");
        assert_eq!(
            desk.good(&["keygen", algorithm, bits, "public", "private"]),
            ""
        );
        let mode = std::fs::metadata(desk.path().join("private"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let public = desk.get("public");
        assert!(public.starts_with(&format!("            \"{algorithm}")));
        assert!(public.lines().all(|line| line.len() <= 62), "{public}");
        let body = format!(
            "KeyNote-Version: 2\nAuthorizer:\n{public}Licensees: \"bob\"\nConditions: app == \"x\" -> \"maybe\";\nSignature:\n"
        );
        desk.put("assertion", &body);
        let signed = desk.good(&["sign", "-v", signature, "assertion", "private"]);
        assert!(signed.starts_with(&format!("            \"{signature}")));
        desk.put("credential", &format!("{body}{signed}"));
        assert_eq!(
            desk.good(&["sigver", "credential"]),
            "Signature verified.\n"
        );
        desk.put(
            "policy",
            &format!("Authorizer: \"POLICY\"\nLicensees:\n{public}"),
        );
        desk.put("bob", "\"bob\" # who\n");
        desk.put("action", "app = \"x\"\n");
        let question = [
            "verify",
            "-r",
            "no,maybe,yes",
            "-e",
            "action",
            "-l",
            "policy",
            "-k",
            "bob",
        ];
        assert_eq!(
            desk.good(&[&question[..], &["credential"]].concat()),
            "Query result = maybe\n"
        );
        assert_eq!(desk.good(&question), "Query result = no\n");
        let mut asks_itself = question;
        asks_itself[8] = "public";
        assert_eq!(desk.good(&asks_itself), "Query result = yes\n");
        // A credential that somebody changed.
        desk.put(
            "changed",
            &format!("{body}{signed}").replace("maybe", "yes"),
        );
        assert_eq!(
            desk.good(&[&question[..], &["changed"]].concat()),
            "Query result = no\nFailed assertion 1 due to signature verification failure.\n"
        );
        let output = desk.keynote(&["sigver", "changed"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "Signature did not verify!\n");
    }
}

#[test]
fn both_keys_to_standard_output() {
    let desk = Desk::new();
    let output = desk.good(&["keygen", "rsa-hex:", "1024", "-", "-", "0", "30"]);
    let (public, private) = output.split_once("===========================\n").unwrap();
    assert!(public.starts_with("\"rsa-hex:30"));
    assert!(private.starts_with("\"private-rsa-hex:30"));
    assert!(output.lines().all(|line| line.len() <= 30));
}

#[test]
fn usage() {
    let desk = Desk::new();
    let main = "Usage:\n\tsign ...\n\tsigver ...\n\tverify ...\n\tkeygen ...\nIssue one of the commands by itself to get more help, e.g., keynote sign\n";
    assert_eq!(desk.bad(&[]), main);
    assert_eq!(desk.bad(&["nothing"]), main);
    let sign = "Arguments:\n\t[-v] <AlgorithmName> <AssertionFile> <PrivateKeyFile> [<print-offset>] [<print-length>]\n";
    assert_eq!(desk.bad(&["sign"]), sign);
    assert_eq!(desk.bad(&["sign", "1", "2", "3", "4", "5", "6"]), sign);
    assert_eq!(desk.bad(&["sigver"]), "Arguments:\n\t<AssertionFile>\n");
    assert!(
        desk.bad(&["keygen"])
            .starts_with("Arguments:\n\t<AlgorithmName> <keysize> <PublicKeyFile>")
    );
    let verify = desk.bad(&["verify"]);
    assert!(verify.starts_with("Arguments:\n\t-h:             This message\n\t-r <valuelist>:"));
    assert_eq!(desk.bad(&["verify", "-x"]), verify);
    assert_eq!(desk.bad(&["verify", "-q"]), verify);
    assert_eq!(desk.bad(&["verify", "-r"]), verify);
    let output = desk.keynote(&["verify", "-h"]);
    assert!(output.status.success() && text(&output.stderr) == verify);
}

#[test]
fn what_is_refused() {
    let desk = Desk::new();
    desk.put("empty", "");
    desk.put("blank", "\n");
    desk.put("key", "\"bob\"");
    desk.put("action", "a = \"b\"\n");
    desk.put("policy", "Authorizer: \"POLICY\"\n");
    desk.put(
        "broken",
        "Authorizer: \"POLICY\"\nConditions: true\n\nLicensees: \"x\"\n",
    );
    for (arguments, message) in [
        (
            &["verify", "-k", "key"][..],
            "Should set return values before evaluations begin.\n",
        ),
        (
            &["verify", "-r", "a,b"],
            "Should set environment before evaluations begin.\n",
        ),
        (
            &["verify", "-r", "a,b", "-e", "action"],
            "Should specify at least one action authorizer.\n",
        ),
        (
            &["verify", "-r", "a,b", "-e", "action", "-k", "key"],
            "Should specify at least one trusted assertion (POLICY).\n",
        ),
        (
            &["verify", "-r", "a", "-r", "b"],
            "Do not define two sets of return values.\n",
        ),
        (
            &["verify", "-k", "action"],
            "Syntax error adding authorizer action\n",
        ),
        (
            &["verify", "-e", "key"],
            "Syntax error in environment file <key>, line 1\n",
        ),
        (
            &["verify", "-e", "missing"],
            "missing: No such file or directory\n",
        ),
        (&["sigver", "empty"], "Illegal assertion-file size 0\n"),
        (
            &["sigver", "blank"],
            "Syntax error while parsing the assertion.\nempty assertion\n",
        ),
        (
            &["sign", "sig-rsa-sha1-hex:", "empty", "key"],
            "Error: zero-sized assertion-file.\n",
        ),
        (
            &["sign", "sig-rsa-sha1-hex:", "policy", "empty"],
            "Illegal key-file size 0\n",
        ),
        (
            &["sign", "a:", "b", "c", "-1"],
            "Erroneous value for print-offset parameter.\n",
        ),
        (
            &["sign", "a:", "b", "c", "1", "0"],
            "Erroneous value for print-length parameter.\n",
        ),
        (
            &["sign", "a:", "policy", "key"],
            "Bad assertion or algorithm format, or unsupported algorithm while creating signature.\nprivate key cannot be decoded\n",
        ),
        (
            &["keygen", "rsa-hex:", "x", "-", "-"],
            "Invalid specified keysize 0\n",
        ),
        (
            &["keygen", "rsa-hex:", "-5", "-", "-"],
            "Invalid specified keysize -5\n",
        ),
        (
            &["keygen", "elgamal-hex:", "1024", "-", "-"],
            "Unknown/unsupported algorithm [elgamal-hex:]\n",
        ),
        (
            &["keygen", "rsa-hex:", "1024", "-", "-", "0", "9"],
            "Parameter ``print-length'' should be larger than the length of AlgorithmName (8)\n",
        ),
        (
            &["keygen", "rsa", "1024", "-", "-"],
            "Algorithm name [rsa] should be terminated with a colon, fixing.\nUnknown/unsupported algorithm [rsa:]\n",
        ),
    ] {
        assert_eq!(desk.bad(arguments), message, "{arguments:?}");
    }
    let output = desk.keynote(&[
        "verify", "-r", "a,b", "-e", "action", "-k", "key", "-l", "broken", "-l", "policy",
    ]);
    assert_eq!(
        text(&output.stdout),
        "Query result = b\nFailed assertion 0 due to syntax or semantic error.\n"
    );
    assert_eq!(
        text(&output.stderr),
        "Error for assertion in file <broken>, errno -2.\nbroken: no Authorizer field\n"
    );
}
