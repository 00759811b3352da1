//! The mail's octets (kxd spec 6), a pure function of what happened.

use chrono::{DateTime, FixedOffset};
use kx_log::goquote::escape_control;

use crate::key_store::lines;

/// An access to a key, as the mail tells it.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    /// Address the mail comes from (`--email_from`).
    pub sender: &'a str,
    /// Addresses as [`recipients`] found them.
    pub recipients: &'a [Vec<u8>],
    /// Cleaned key path, without `/v1/`.
    pub key_path: &'a [u8],
    /// The client, `ip:port`.
    pub remote_addr: &'a str,
    /// Whole signature of the client's certificate, lower-case hex.
    pub signature_hex: &'a str,
    /// Its subject, in the form of the hook's `CLIENT_CERT_SUBJECT`.
    pub subject: &'a str,
    /// The chains that authorised it, as `(0x.. ..) -> (0x.. ..)`.
    pub chains: &'a [String],
    /// When, in the zone the mail shows.
    pub time: DateTime<FixedOffset>,
}

/// Hex digits of the signature that the mail shows.
const SIGNATURE_DIGITS: usize = 16;

impl Notification<'_> {
    /// Header and body, lines ending in CR LF, dots not yet doubled.
    ///
    /// Octet for octet the original's, but for deviation D2: control characters (and octets that are
    /// not UTF-8) in the key path, the subject and the chains are written as in the log, so
    /// that a directory named `a\nBcc: x@y` gives `Subject: Access to key a\nBcc: x@y` with a
    /// backslash and an `n`, and not a header line more.
    pub fn to_bytes(&self) -> Vec<u8> {
        // RFC 1123 with a numeric zone and two digits of day.
        let date = self.time.format("%a, %d %b %Y %H:%M:%S %z").to_string();
        let key_path = escape_control(self.key_path);
        let signature = self
            .signature_hex
            .get(..SIGNATURE_DIGITS)
            .unwrap_or(self.signature_hex);
        let subject = escape_control(self.subject.as_bytes());
        let to = self.recipients.join(&b", "[..]);

        let mut out = Vec::with_capacity(512);
        let mut line = |parts: &[&[u8]]| {
            parts.iter().for_each(|part| out.extend_from_slice(part));
            out.extend_from_slice(b"\r\n");
        };
        line(&[b"Date: ", date.as_bytes()]);
        line(&[b"From: Key Exchange Daemon <", self.sender.as_bytes(), b">"]);
        line(&[b"To: ", &to]);
        line(&[b"Subject: Access to key ", key_path.as_bytes()]);
        line(&[]);
        line(&[b"Key: ", key_path.as_bytes()]);
        line(&[b"Accessed by: ", self.remote_addr.as_bytes()]);
        line(&[b"On: ", date.as_bytes()]);
        line(&[]);
        line(&[b"Client certificate:"]);
        line(&[b"  Signature: ", signature.as_bytes(), b"..."]);
        line(&[b"  Subject: ", subject.as_bytes()]);
        line(&[]);
        line(&[b"Authorizing chains:"]);
        for chain in self.chains {
            line(&[b"  ", escape_control(chain.as_bytes()).as_bytes()]);
        }
        line(&[]);
        line(&[]);
        out
    }
}

/// The addresses in an `email_to` file: every line with an `@`, as it stands but for white space at
/// both ends. There are no comments (kxd spec 6).
pub fn recipients(email_to: &[u8]) -> Vec<Vec<u8>> {
    lines::trimmed(email_to)
        .filter(|line| line.contains(&b'@'))
        .map(<[u8]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification<'a>(key_path: &'a [u8], recipients: &'a [Vec<u8>]) -> Notification<'a> {
        Notification {
            sender: "kxd@127.0.0.1",
            recipients,
            key_path,
            remote_addr: "127.0.0.1:48966",
            signature_hex: "0123456789abcdef0123",
            subject: "O=cli",
            chains: &[],
            time: DateTime::parse_from_rfc3339("2026-11-01T00:28:39+01:00").unwrap(),
        }
    }

    #[test]
    fn message_is_the_recorded_one() {
        let to = [b"me@example.com".to_vec(), b"you@example.net".to_vec()];
        let chains = [
            "(0x01234567 O=cli)".to_owned(),
            "(0x1 O=a) -> (0x2 O=b)".to_owned(),
        ];
        let mail = Notification {
            chains: &chains,
            ..notification(b"m/k", &to)
        }
        .to_bytes();
        let want = "Date: Sun, 01 Nov 2026 00:28:39 +0100\r\n\
            From: Key Exchange Daemon <kxd@127.0.0.1>\r\n\
            To: me@example.com, you@example.net\r\n\
            Subject: Access to key m/k\r\n\r\n\
            Key: m/k\r\n\
            Accessed by: 127.0.0.1:48966\r\n\
            On: Sun, 01 Nov 2026 00:28:39 +0100\r\n\r\n\
            Client certificate:\r\n  Signature: 0123456789abcdef...\r\n  Subject: O=cli\r\n\r\n\
            Authorizing chains:\r\n  (0x01234567 O=cli)\r\n  (0x1 O=a) -> (0x2 O=b)\r\n\r\n\r\n";
        assert_eq!(String::from_utf8(mail).unwrap(), want);
    }

    #[test]
    fn line_breaks_in_a_key_path_make_no_header() {
        let mail = notification(b"a\r\nBcc: x@y\x00\x1b\x7f", &[]).to_bytes();
        let text = String::from_utf8(mail).unwrap();
        assert!(text.contains("\r\nSubject: Access to key a\\r\\nBcc: x@y\\x00\\x1b\\x7f\r\n\r\n"));
        assert!(!text.contains("\nBcc"));
        assert!(
            text.chars()
                .all(|c| !c.is_control() || c == '\r' || c == '\n')
        );
    }

    #[test]
    fn line_breaks_in_a_subject_make_no_line() {
        let to = [];
        let mail = Notification {
            subject: "CN=a\n.\r\nb",
            ..notification(b"k", &to)
        }
        .to_bytes();
        assert!(
            String::from_utf8(mail)
                .unwrap()
                .contains("\r\n  Subject: CN=a\\n.\\r\\nb\r\n")
        );
    }

    #[test]
    fn recipients_are_the_lines_with_an_at_sign() {
        let text =
            "a@b\r\n\n  # c@d\t\nnobody\n\u{a0}j\u{f6}@e\u{2003}\nMe <f@g>\nh@\ri".as_bytes();
        let want: [&[u8]; 5] = [
            b"a@b",
            b"# c@d",
            "j\u{f6}@e".as_bytes(),
            b"Me <f@g>",
            b"h@\ri",
        ];
        assert_eq!(recipients(text), want);
        assert_eq!(recipients(b" \xff@\xa0 \n"), [b"\xff@\xa0"]);
        assert!(recipients(b"").is_empty());
    }
}
