//! Hooks: what a hook sees and what its end means (vectors/kxd/side.json "hook ..."; kxd spec
//! 5). The two cases that take a minute run with `KX_SLOW=1` only.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use interop_tests::config::{Config, client_pair};
use interop_tests::daemon::{Starter, kxd};
use interop_tests::http_text::Answer;
use interop_tests::normalize;
use interop_tests::skip::skip;
use interop_tests::table::Table;
use serde_json::{Value, json};

/// A hook that writes down what it sees, as the recorded one did: directory, environment,
/// number of arguments, stdin.
const WITNESS: &str = "#!/bin/sh\n{ pwd -P; tr '\\0' '\\n' < /proc/$$/environ | sort; \
    echo \"args $#\"; readlink /proc/$$/fd/0; wc -c; } > SEEN\n";

fn data_directory() -> Config {
    let c = Config::new();
    c.key("h/k", "KEY");
    c.key("h/mail", "KEY");
    c.write("data/h/mail/email_to", "a@b.c\nnobody\n#x@y\n\nd@e f\n");
    c
}

fn start<'a>(config: &'a Config, hook: &str) -> Starter<'a> {
    kxd(config)
        .arg(format!("--hook={hook}"))
        .arg("--email_from=from@x")
        .env(&[
            ("USER", "u1"),
            ("PWD", "/pw"),
            ("SHELL", "/bin/sh1"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("SECRET_OF_KXD", "must not reach the hook"),
        ])
}

/// The signature of the usual client under its words in the vectors.
fn mask(text: &str) -> String {
    let hex = client_pair().signature_hex();
    let short = hex.get(..8).unwrap_or("").to_owned();
    text.replace(&hex, "SIGHEX")
        .replace(&format!("0x{short}"), "0xSIG8")
}

fn record(answer: &Answer, log: &[String]) -> Value {
    let log: Vec<String> = log.iter().map(|l| mask(l)).collect();
    json!({
        "status": answer.status, "body": answer.body_text(), "error": answer.error, "log": log,
    })
}

fn script_of(case: &str) -> Option<String> {
    let text = match case {
        "hook exit 1" => "#!/bin/sh\nexit 1\n",
        "hook exit 3 with stderr" => "#!/bin/sh\nprintf 'bad \"thing\"\\nx\\t\\001' >&2\nexit 3\n",
        "hook big stderr" => "#!/bin/sh\nhead -c 200000 /dev/zero | tr '\\0' e >&2\nexit 3\n",
        "hook big stdout exit 0" => "#!/bin/sh\nhead -c 3000000 /dev/zero\nexit 0\n",
        "hook killed by signal" => "#!/bin/sh\nkill -KILL $$\n",
        "hook no shebang" => "exit 0\n",
        "hook empty" => "",
        "hook bad interpreter" => "#!/nonexistent/sh\nexit 0\n",
        "hook sleeps 100 s" => "#!/bin/sh\nexec sleep 100\n",
        "hook child sleeps 70 s" => "#!/bin/sh\nsleep 70\n",
        name if name.starts_with("hook env")
            || name == "hook trailing slash path"
            || name == "hook not run when client refused"
            || name == "hook not executable" =>
        {
            WITNESS
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// Puts the case's hook in place and gives the option that names it.
fn place_hook(case: &str, config: &Config) -> String {
    let path = config.text("hook");
    if let Some(script) = script_of(case) {
        config.script("hook", &script.replace("SEEN", &config.text("seen")));
    }
    match case {
        "hook not executable" => {
            let mode = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(&path, mode).expect("chmod");
        }
        "hook is a directory" => std::fs::create_dir(&path).expect("directory"),
        "hook dangling link" => config.link("nowhere", "hook"),
        "hook empty option" => return String::new(),
        _ => {}
    }
    path
}

/// What the witness wrote, restricted to what the case recorded of it.
fn seen(case: &str, config: &Config) -> Vec<String> {
    let bytes = std::fs::read(config.join("seen")).unwrap_or_default();
    let dir = config
        .path()
        .canonicalize()
        .expect("path")
        .to_string_lossy()
        .into_owned();
    let text = normalize::text(&bytes).replace(&dir, "DIR");
    let text = normalize::replace(&mask(&text), "127.0.0.1:+", "127.0.0.1:PORT");
    let lines = text.lines().map(|l| l.trim().to_owned());
    match case {
        "hook env with email_to" => lines
            .filter(|l| l.starts_with("EMAIL_TO=") || l.starts_with("MAIL_FROM="))
            .collect(),
        "hook trailing slash path" => lines
            .filter_map(|l| l.strip_prefix("KEY_PATH=").map(str::to_owned))
            .collect(),
        _ => lines.collect(),
    }
}

fn path_of(case: &str) -> &'static str {
    match case {
        "hook env with email_to" => "/v1/h/mail",
        "hook trailing slash path" => "/v1/h/k/",
        "hook not run when client refused" => "/v1/h/none",
        _ => "/v1/h/k",
    }
}

fn run(case: &str, expected: &Value) -> Value {
    let config = data_directory();
    let hook = place_hook(case, &config);
    let server = start(&config, &hook).start();
    let begin = Instant::now();
    let answer = server.get(path_of(case));
    let seconds = begin.elapsed().as_secs();
    let log = server.new_lines(expected["log"].as_array().map_or(0, Vec::len));
    let mut got = record(&answer, &log);
    if !expected["seen"].is_null() {
        got["seen"] = json!(seen(case, &config));
    }
    if !expected["seconds"].is_null() {
        // A second more or less is the machine's.
        let recorded = expected["seconds"].as_u64().unwrap_or(0);
        let near = seconds.abs_diff(recorded) <= 1;
        got["seconds"] = json!(if near { recorded } else { seconds });
    }
    got
}

fn is_slow(name: &str) -> bool {
    name.contains("sleeps")
}

#[test]
fn recorded_hooks_end_as_recorded() {
    let mut table = Table::load("side").only(|n| n.starts_with("hook ") && !is_slow(n));
    for name in table.names() {
        let got = run(&name, &table.expected(&name));
        table.check(&name, &got);
    }
    table.finish();
}

#[test]
fn a_hook_gets_a_minute() {
    if std::env::var_os("KX_SLOW").is_none() {
        return skip("a_hook_gets_a_minute", "takes 70 s; KX_SLOW=1 runs it");
    }
    let mut table = Table::load("side").only(|n| n.starts_with("hook ") && is_slow(n));
    let results: Vec<(String, Value)> = std::thread::scope(|scope| {
        let table = &table;
        let runs: Vec<_> = table
            .names()
            .into_iter()
            .map(|n| scope.spawn(move || (n.clone(), run(&n, &table.expected(&n)))))
            .collect();
        runs.into_iter().map(|r| r.join().expect("a run")).collect()
    });
    for (name, got) in results {
        table.check(&name, &got);
    }
    table.finish();
}

#[test]
fn the_environment_has_exactly_these_variables_in_this_order() {
    let config = data_directory();
    let hook = config.script(
        "hook",
        &format!(
            "#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ > {}\n",
            config.text("seen")
        ),
    );
    let server = start(&config, &hook.to_string_lossy()).start();
    assert_eq!(server.get("/v1/h/mail").code(), 200);
    let text = std::fs::read_to_string(config.join("seen")).expect("what the hook saw");
    let names: Vec<&str> = text.lines().filter_map(|l| l.split('=').next()).collect();
    let expected = "USER PWD SHELL PATH KEY_PATH REMOTE_ADDR MAIL_FROM EMAIL_TO \
        CLIENT_CERT_SIGNATURE CLIENT_CERT_SUBJECT CHAIN_0";
    assert_eq!(names.join(" "), expected);
}

#[test]
fn a_variable_that_kxd_does_not_have_is_empty_for_the_hook() {
    let config = data_directory();
    let hook = config.script(
        "hook",
        &format!(
            "#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ > {}\n",
            config.text("seen")
        ),
    );
    let hook = format!("--hook={}", hook.display());
    let server = kxd(&config)
        .arg(hook)
        .env(&[("PATH", "/usr/bin:/bin")])
        .start();
    assert_eq!(server.get("/v1/h/k").code(), 200);
    let text = std::fs::read_to_string(config.join("seen")).expect("what the hook saw");
    for line in ["USER=", "PWD=", "SHELL=", "MAIL_FROM=kxd@"] {
        assert!(
            text.lines().any(|l| l == line),
            "{line:?} is missing in {text}"
        );
    }
}

#[test]
fn the_hook_runs_after_the_key_was_read() {
    let config = data_directory();
    // A hook that removes the key: it was read before, so it is given.
    let hook = config.script(
        "hook",
        &format!("#!/bin/sh\nrm {}\n", config.text("data/h/k/key")),
    );
    let server = start(&config, &hook.to_string_lossy()).start();
    assert_eq!(server.get("/v1/h/k").body, b"KEY");
    assert_eq!(server.get("/v1/h/k").code(), 404);
}

#[test]
fn a_hook_leaks_no_descriptor_of_kxd() {
    let config = data_directory();
    let hook = config.script(
        "hook",
        &format!("#!/bin/sh\nls /proc/$$/fd > {}\n", config.text("seen")),
    );
    let server = start(&config, &hook.to_string_lossy()).start();
    let held: Vec<_> = (0..5)
        .map(|_| server.client().connect().expect("handshake"))
        .collect();
    assert_eq!(server.get("/v1/h/k").code(), 200);
    let text = std::fs::read_to_string(config.join("seen")).expect("what the hook saw");
    let mut open: Vec<u32> = text.lines().filter_map(|l| l.parse().ok()).collect();
    // 10 and above are the shell's own: the script.
    open.retain(|fd| *fd > 2 && *fd < 10);
    assert!(open.is_empty(), "descriptors {open:?} reach the hook");
    drop(held);
}
