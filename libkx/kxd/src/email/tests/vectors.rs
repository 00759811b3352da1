//! The `mail ...` cases of interop-tests/vectors/kxd/side.json.

use serde_json::Value;

/// One recorded exchange.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// What the original logged as the reason for sending no mail.
    pub(super) error: Option<String>,
    /// `S: ` and `C: ` lines; octets as Latin-1.
    pub(super) talk: Vec<String>,
    /// The DATA of each mail, placeholders in it.
    pub(super) messages: Vec<String>,
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/kxd/side.json"
    );
    let text = std::fs::read(path).unwrap();
    let json: Value = serde_json::from_slice(&text).unwrap();
    let strings = |v: &Value| -> Vec<String> {
        v.as_array()
            .unwrap()
            .iter()
            .map(|s| s.as_str().unwrap().to_owned())
            .collect()
    };
    let cases = json["cases"].as_object().unwrap();
    let mail = cases.iter().filter(|(name, _)| name.starts_with("mail "));
    mail.map(|(name, case)| Case {
        name: name.clone(),
        error: strings(&case["log"])
            .iter()
            .find_map(|line| line.split_once("Error sending notification: "))
            .map(|(_, error)| error.to_owned()),
        talk: strings(&case["talk"]),
        messages: strings(&case["messages"]),
    })
    .collect()
}

/// What the configuration of a case was; the recording tells only what came of it.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) email_to: Vec<u8>,
    pub(super) sender: &'static str,
    pub(super) host: &'static str,
    pub(super) key_path: &'static [u8],
}

impl Case {
    pub(super) fn setup(&self) -> Setup {
        let email_to: &str = match self.name.as_str() {
            "mail no email_to" | "mail email_to empty" => "",
            "mail email_to without @" => "me\n",
            "mail email_to comment with @" => "# me@example.com\n",
            "mail email_to crlf" => "me@example.com\r\n you@x \r\n",
            "mail email_to with name" => "Me <me@example.com>\n",
            "mail email_to injection by cr" => "me@example.com\rRCPT TO:<x@y>\n",
            "mail email_to utf8" => "j\u{f6}@example.com\n",
            _ => "me@example.com\nyou@example.net\n",
        };
        let sender = match self.name.as_str() {
            "mail email_from" => "boss@corp.example",
            "mail server by name" => "kxd@localhost",
            _ => "kxd@127.0.0.1",
        };
        let host = if self.name == "mail server by name" {
            "localhost"
        } else {
            "127.0.0.1"
        };
        let key_path: &[u8] = match self.name.as_str() {
            "mail key name with dot line" => b"a/.b",
            "mail key name with line feed" => b"a\nBcc: x@y",
            _ => b"m/k",
        };
        Setup {
            email_to: email_to.as_bytes().to_vec(),
            sender,
            host,
            key_path,
        }
    }

    /// The DATA that must go out: the recorded one, but for deviation D2.
    pub(super) fn wanted_data(&self, date: &str) -> Option<Vec<u8>> {
        let text = self.messages.first()?.replace("RFC1123Z", date);
        let text = match self.name.as_str() {
            "mail key name with line feed" => text.replace("a\r\nBcc: x@y", "a\\nBcc: x@y"),
            _ => text,
        };
        Some(latin1(&text))
    }
}

/// The octets of a recorded text.
pub(super) fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect()
}

/// The octets of a `C: ` line.
pub(super) fn client_line(line: &str) -> Vec<u8> {
    latin1(&line.replace("\\r\\n", "\r\n"))
}
