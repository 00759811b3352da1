//! `--access_log`: one JSON object per request, failed handshake or bad request, one per line (ours).
//!
//! Fields, in this order; those without a value are left out:
//!
//! | field | what |
//! | --- | --- |
//! | `time` | RFC 3339, local zone, microseconds; when the answer was ready |
//! | `event` | `request`; `handshake_failed`; `bad_request`: it never became one that could be decided; `answer_cut`: the client did not take the answer of the `request` line before |
//! | `remote` | `ip:port`, IPv6 in brackets |
//! | `method` | as received |
//! | `path` | percent-decoded, at most 2048 octets; what is not UTF-8 is U+FFFD |
//! | `path_hex` | its octets in hex, only if `path` is not UTF-8 |
//! | `path_truncated` | true if the path was longer |
//! | `key_path` | the key asked for (same rules, without `_hex`) |
//! | `status` | of the answer |
//! | `reason` | one word, why no key was given ([`crate::refusal::Refusal::reason`]); `ok` if it was; of the other events: `handshake`, `malformed`, `http2`, `header_timeout`, `body_timeout`, `large_headers`, `answer_timeout` |
//! | `error` | text of a failed handshake or of an error in HTTP/2 |
//! | `certificate` | the client's, `(0xSIG8 SUBJECT)` as in the log |
//! | `fingerprint` | SHA-256 of the client's certificate, hex |
//! | `tls` | `TLSv1.3`, ... |
//! | `http` | `HTTP/1.1`, ... |
//! | `duration_us` | from the request's last octet to the answer, microseconds |
//! | `bytes` | length of the body that is sent (0 for HEAD) |
//!
//! Never anything of a key. Control characters are escaped, also those that JSON lets through (DEL,
//! C1, line and paragraph separator), so that a line is safe on a terminal.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, FixedOffset, SecondsFormat};
use kx_cert::Certificate;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Octets of a path that are logged.
const MAX_PATH: usize = 2048;

/// Octets of an error's text that are logged.
const MAX_ERROR: usize = 1024;

/// One answered request.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// When the answer was ready.
    pub time: DateTime<FixedOffset>,
    /// The client, `ip:port`.
    pub remote: &'a str,
    /// Request method.
    pub method: &'a str,
    /// Percent-decoded path as received.
    pub path: &'a [u8],
    /// Cleaned key path, if the request got as far as having one.
    pub key_path: Option<&'a [u8]>,
    /// Status of the answer.
    pub status: u16,
    /// One word.
    pub reason: &'a str,
    /// The certificate whose key the client proved.
    pub certificate: Option<&'a Certificate>,
    /// TLS version as OpenSSL names it.
    pub tls_version: &'a str,
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0`.
    pub http_version: &'a str,
    /// Time the answer took.
    pub duration: Duration,
    /// Length of the answer's body.
    pub bytes: u64,
}

/// A request that could not be decided, or an answer that was not taken.
#[derive(Debug, Clone, Copy)]
pub struct FaultEntry<'a> {
    /// When it was noticed.
    pub time: DateTime<FixedOffset>,
    /// `bad_request` or `answer_cut`.
    pub event: &'static str,
    /// The client, `ip:port`.
    pub remote: &'a str,
    /// Status of the answer, if there was one.
    pub status: Option<u16>,
    /// One word.
    pub reason: &'a str,
    /// What was wrong, if more can be said.
    pub error: Option<&'a str>,
    /// The certificate whose key the client proved.
    pub certificate: Option<&'a Certificate>,
    /// TLS version as OpenSSL names it.
    pub tls_version: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    remote: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    path_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

impl<'a> Line<'a> {
    fn request(entry: &Entry<'a>) -> Self {
        let shown = cut(entry.path, MAX_PATH);
        let hex = std::str::from_utf8(shown).is_err().then(|| hex(shown));
        Line {
            time: stamp(entry.time),
            event: "request",
            remote: entry.remote,
            method: Some(String::from_utf8_lossy(cut(
                entry.method.as_bytes(),
                MAX_PATH,
            ))),
            path: Some(String::from_utf8_lossy(shown)),
            path_hex: hex,
            path_truncated: shown.len() < entry.path.len(),
            key_path: entry
                .key_path
                .map(|p| String::from_utf8_lossy(cut(p, MAX_PATH))),
            status: Some(entry.status),
            reason: entry.reason,
            error: None,
            certificate: entry.certificate.map(Certificate::short),
            fingerprint: entry.certificate.map(|c| hex_sha256(c.der())),
            tls: Some(entry.tls_version),
            http: Some(entry.http_version),
            duration_us: Some(u64::try_from(entry.duration.as_micros()).unwrap_or(u64::MAX)),
            bytes: Some(entry.bytes),
        }
    }

    fn handshake_failed(time: DateTime<FixedOffset>, remote: &'a str, error: &'a str) -> Self {
        Line {
            error: Some(String::from_utf8_lossy(cut(error.as_bytes(), MAX_ERROR))),
            ..Line::event(time, "handshake_failed", remote, "handshake")
        }
    }

    fn fault(entry: &FaultEntry<'a>) -> Self {
        let shown = |e: &'a str| String::from_utf8_lossy(cut(e.as_bytes(), MAX_ERROR));
        Line {
            status: entry.status,
            error: entry.error.map(shown),
            certificate: entry.certificate.map(Certificate::short),
            fingerprint: entry.certificate.map(|c| hex_sha256(c.der())),
            tls: Some(entry.tls_version),
            ..Line::event(entry.time, entry.event, entry.remote, entry.reason)
        }
    }

    /// A line with nothing but what each has.
    fn event(
        time: DateTime<FixedOffset>,
        event: &'static str,
        remote: &'a str,
        reason: &'a str,
    ) -> Self {
        Line {
            time: stamp(time),
            event,
            remote,
            method: None,
            path: None,
            path_hex: None,
            path_truncated: false,
            key_path: None,
            status: None,
            reason,
            error: None,
            certificate: None,
            fingerprint: None,
            tls: None,
            http: None,
            duration_us: None,
            bytes: None,
        }
    }

    /// The object and a line feed. `None` cannot happen with fields like these, and is not worth an
    /// unwrap.
    fn to_json(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(512);
        self.serialize(&mut Serializer::with_formatter(&mut out, TerminalSafe))
            .ok()?;
        out.push(b'\n');
        Some(out)
    }
}

fn stamp(time: DateTime<FixedOffset>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The first `most` octets, and not half of a character.
fn cut(bytes: &[u8], most: usize) -> &[u8] {
    let Some(mut head) = bytes.get(..most) else {
        return bytes;
    };
    if std::str::from_utf8(head).is_err_and(|e| e.error_len().is_none()) {
        let end = std::str::from_utf8(head).map_or_else(|e| e.valid_up_to(), str::len);
        head = head.get(..end).unwrap_or_default();
    }
    head
}

fn hex_sha256(bytes: &[u8]) -> String {
    hex(&openssl::sha::sha256(bytes))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(
        String::with_capacity(bytes.len().saturating_mul(2)),
        |mut text, b| {
            // Writing to a String does not fail.
            let _ = write!(text, "{b:02x}");
            text
        },
    )
}

/// Compact JSON that escapes more than it must.
struct TerminalSafe;

impl Formatter for TerminalSafe {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let unsafe_char = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}');
        for piece in fragment.split_inclusive(unsafe_char) {
            match piece.chars().next_back().filter(|c| unsafe_char(*c)) {
                None => writer.write_all(piece.as_bytes())?,
                Some(c) => {
                    writer.write_all(piece.trim_end_matches(c).as_bytes())?;
                    write!(writer, "\\u{:04x}", u32::from(c))?;
                }
            }
        }
        Ok(())
    }
}

/// Where the lines go. It may be used from any thread; a line is one write(2).
#[derive(Debug)]
pub struct AccessLog {
    /// `None` is stdout.
    path: Option<PathBuf>,
    sink: Mutex<Sink>,
    lost: AtomicU64,
}

#[derive(Debug)]
struct Sink {
    file: File,
    /// The last write ended in the middle of a line.
    torn: bool,
}

impl AccessLog {
    /// Opens for appending; made with mode 0640 less the umask if it does not exist. `-` is stdout.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<AccessLog> {
        let (path, file) = if path.as_os_str() == "-" {
            (None, File::from(io::stdout().as_fd().try_clone_to_owned()?))
        } else {
            (Some(path.to_owned()), open_file(path)?)
        };
        let sink = Mutex::new(Sink { file, torn: false });
        Ok(AccessLog {
            path,
            sink,
            lost: AtomicU64::new(0),
        })
    }

    /// Opens the path anew, after it was renamed by log rotation. Nothing to do for stdout.
    ///
    /// # Errors
    /// The system's; lines then go where they went before.
    pub fn reopen(&self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let file = open_file(path)?;
            *self.lock() = Sink { file, torn: false };
        }
        Ok(())
    }

    /// Logs an answered request.
    pub fn request(&self, entry: &Entry<'_>) {
        self.write(&Line::request(entry));
    }

    /// Logs a handshake that failed, with the text of the log.
    pub fn handshake_failed(&self, remote: &str, error: &str) {
        self.write(&Line::handshake_failed(crate::clock::now(), remote, error));
    }

    /// Logs a request that could not be decided, or an answer that was not taken.
    pub fn fault(&self, entry: &FaultEntry<'_>) {
        self.write(&Line::fault(entry));
    }

    /// Lines that could not be written: the disk is full, or who reads the pipe is too slow.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, line: &Line<'_>) {
        let written = line
            .to_json()
            .is_some_and(|json| self.lock().write_line(json).is_ok());
        if !written {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // Not waiting for the reader of a named pipe; writing to a file is not changed by it.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

impl Sink {
    fn write_line(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        // A full pipe must not hold up the clients, and its flags are shared with other programs.
        const AT_ONCE: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut ready = [PollFd::new(&self.file, PollFlags::OUT)];
        if poll(&mut ready, Some(&AT_ONCE))? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.torn {
            line.insert(0, b'\n');
        }
        let n = self.file.write(&line)?;
        self.torn = n > 0 && n < line.len();
        if n < line.len() {
            Err(io::ErrorKind::WriteZero.into())
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn entry<'a>(path: &'a [u8], reason: &'a str) -> Entry<'a> {
        Entry {
            time: DateTime::parse_from_rfc3339("2026-11-21T00:28:39.000042+01:00").unwrap(),
            remote: "127.0.0.1:48966",
            method: "GET",
            path,
            key_path: Some(b"k"),
            status: 200,
            reason,
            certificate: None,
            tls_version: "TLSv1.3",
            http_version: "HTTP/1.1",
            duration: Duration::from_micros(1500),
            bytes: 32,
        }
    }

    #[test]
    fn line_has_the_documented_fields_in_order() {
        let json = Line::request(&entry(b"/v1/k", "ok")).to_json().unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            "{\"time\":\"2026-11-21T00:28:39.000042+01:00\",\"event\":\"request\",\
             \"remote\":\"127.0.0.1:48966\",\"method\":\"GET\",\"path\":\"/v1/k\",\
             \"key_path\":\"k\",\"status\":200,\"reason\":\"ok\",\"tls\":\"TLSv1.3\",\
             \"http\":\"HTTP/1.1\",\"duration_us\":1500,\"bytes\":32}\n"
        );
    }

    #[test]
    fn hostile_paths_stay_on_one_line_of_plain_text() {
        let path = "/v1/a\n\"\\\x1b\x7f\u{9b}\u{2028}\u{e9}".as_bytes();
        let json = Line::request(&entry(path, "ok")).to_json().unwrap();
        let text = String::from_utf8(json.clone()).unwrap();
        assert!(
            text.trim_end_matches('\n')
                .chars()
                .all(|c| !c.is_control() && c != '\u{2028}')
        );
        let value: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["path"].as_str().unwrap().as_bytes(), path);
        assert!(value.get("path_hex").is_none());
    }

    #[test]
    fn path_that_is_not_utf8_stands_in_hex_too() {
        let json = Line::request(&entry(b"/v1/\xff\x00", "ok"))
            .to_json()
            .unwrap();
        let value: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["path"], "/v1/\u{fffd}\0");
        assert_eq!(value["path_hex"], "2f76312fff00");
    }

    #[test]
    fn long_path_is_cut_at_a_character() {
        let path = "\u{e9}".repeat(5000);
        let path = format!("/{path}");
        let json = Line::request(&entry(path.as_bytes(), "ok"))
            .to_json()
            .unwrap();
        let value: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["path"].as_str().unwrap().len(), 2047);
        assert_eq!(value["path_truncated"], true);
        assert!(json.len() < 4096);
    }

    #[test]
    fn lines_are_appended_and_follow_the_name_after_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.json");
        std::fs::write(&path, "before\n").unwrap();
        let log = AccessLog::open(&path).unwrap();
        log.request(&entry(b"/v1/a", "ok"));
        let rotated = dir.path().join("access.json.1");
        std::fs::rename(&path, &rotated).unwrap();
        log.handshake_failed("[::1]:5", "EOF");
        log.reopen().unwrap();
        log.request(&entry(b"/v1/b", "unknown_key"));
        let old = std::fs::read_to_string(&rotated).unwrap();
        let lines: Vec<&str> = old.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "before");
        let failed: Value = serde_json::from_str(lines[2]).unwrap();
        assert_eq!(failed["event"], "handshake_failed");
        assert_eq!(failed["error"], "EOF");
        let new: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(new["reason"], "unknown_key");
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn full_disk_loses_lines_and_counts_them() {
        let log = AccessLog::open(Path::new("/dev/full")).unwrap();
        log.request(&entry(b"/v1/a", "ok"));
        log.request(&entry(b"/v1/a", "ok"));
        assert_eq!(log.lost(), 2);
    }

    #[test]
    fn half_line_does_not_spoil_the_next() {
        let file = tempfile::tempfile().unwrap();
        let mut reader = file.try_clone().unwrap();
        let mut sink = Sink { file, torn: true };
        sink.write_line(b"{}\n".to_vec()).unwrap();
        sink.write_line(b"[]\n".to_vec()).unwrap();
        io::Seek::rewind(&mut reader).unwrap();
        assert_eq!(io::read_to_string(reader).unwrap(), "\n{}\n[]\n");
    }

    #[test]
    fn full_pipe_does_not_block() {
        let (reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let sink = Mutex::new(Sink { file, torn: false });
        let log = AccessLog {
            path: None,
            sink,
            lost: AtomicU64::new(0),
        };
        for _ in 0..2000 {
            log.request(&entry(b"/v1/a", "ok"));
        }
        assert!(log.lost() > 0);
        drop(reader);
    }
}
