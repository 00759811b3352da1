//! The URLs of `interop-tests/vectors/kxd/cli.json` as kxc takes them, and the answers and the request of
//! `side.json`.

use std::fs;

use kx_http::client::get;
use kx_http::url::Url;
use serde_json::Value;

fn cases(file: &str) -> Vec<(String, Value)> {
    let directory = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/kxd/"
    );
    let json: Value =
        serde_json::from_slice(&fs::read(format!("{directory}{file}")).unwrap()).unwrap();
    let cases = json["cases"].as_object().unwrap().iter();
    cases
        .map(|(name, case)| (name.clone(), case.clone()))
        .collect()
}

/// Ports that the recording has names for.
fn with_ports(text: &str) -> String {
    text.replace("SRVPORT", "1111")
        .replace("FREEPORT", "2222")
        .replace("PORT", "1111")
}

/// What kxc says if the URL alone decides it.
fn refusal(url: &str) -> Result<Url, String> {
    let url = Url::for_key(url.as_bytes())
        .map_err(|error| format!("STAMP Failed to extract the URL: {error}\n"))?;
    match url.target() {
        Ok(_) => Ok(url),
        Err(error) => {
            let text = String::from_utf8(url.to_redacted()).unwrap();
            Err(format!(
                "STAMP Failed to get key: Get \"{text}\": {error}\n"
            ))
        }
    }
}

#[test]
fn urls_of_the_command_line() {
    let mut seen = 0;
    for (name, case) in cases("cli.json") {
        if !name.starts_with("kxc url ") {
            continue;
        }
        seen += 1;
        let url = with_ports(
            case["args"]
                .as_array()
                .unwrap()
                .last()
                .unwrap()
                .as_str()
                .unwrap(),
        );
        let recorded = with_ports(case["stderr"].as_str().unwrap());
        match refusal(&url) {
            Err(error) => assert_eq!(error, recorded, "{name}"),
            Ok(url) => {
                assert!(!recorded.contains("Failed to extract"), "{name}");
                let target = url.target().unwrap();
                let display = String::from_utf8(target.display.clone()).unwrap();
                if recorded.contains("Failed to get key") {
                    let shown = format!("STAMP Failed to get key: Get \"{display}\": ");
                    assert!(recorded.starts_with(&shown), "{name}: {display}");
                }
                // A connection that was tried and refused tells which one it was.
                if let Some((_, dialled)) = recorded.split_once(": dial tcp 127.0.0.1:") {
                    let port = String::from_utf8(target.port).unwrap();
                    assert!(dialled.starts_with(&format!("{port}: ")), "{name}: {port}");
                }
            }
        }
    }
    assert_eq!(seen, 60);
}

#[test]
fn request_of_kxc() {
    let (_, case) = cases("side.json")
        .into_iter()
        .find(|(name, _)| name == "kxc request")
        .unwrap();
    let url = Url::for_key(b"kxd://localhost:1111/k").unwrap();
    let sent = get(&url.target().unwrap(), None);
    let recorded = with_ports(case["bytes"].as_str().unwrap());
    assert_eq!(String::from_utf8_lossy(&sent), recorded);
}

#[test]
fn redirects_of_the_recording() {
    let start = Url::for_key(b"kxd://localhost:1111/k").unwrap();
    let other = start.redirect(b"/v1/other").unwrap().target().unwrap();
    assert!(get(&other, None).starts_with(b"GET /v1/other HTTP/1.1\r\nHost: localhost:1111\r\n"));
    let clear = start
        .redirect(b"http://127.0.0.1:1/k")
        .unwrap()
        .target()
        .unwrap();
    assert_eq!(clear.display, b"http://127.0.0.1:1/k");
}
