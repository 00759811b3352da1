//! Runs the kxc of this build.
#![allow(dead_code, unreachable_pub)]

use std::ffi::OsStr;
use std::process::{Command, Output};

/// Runs it with these words to its end.
pub fn kxc<S: AsRef<OsStr>>(words: &[S]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kxc"))
        .args(words)
        .env("https_proxy", "http://127.0.0.1:1/")
        .env("TZ", "UTC")
        .output()
        .unwrap()
}

/// The recorded form of a text: without time stamps and the like.
pub fn normalize(text: &str, port: u16, port_name: &str, dir: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let stamped = line.len() > 20 && is_stamp(&line.as_bytes()[..19]);
        out.push_str(&if stamped {
            format!("STAMP{}", &line[19..])
        } else {
            line.to_owned()
        });
    }
    let out = out.replace(&format!(":{port}"), &format!(":{port_name}"));
    let out = out
        .replace(dir, "DIR")
        .replace(env!("CARGO_BIN_EXE_kxc"), "BIN/kxc");
    let out = mask(&out, "current time ", ' ', "NOW");
    if out.contains(": lookup ") {
        mask(&out, " on ", ' ', "DNS:")
    } else {
        out
    }
}

fn is_stamp(text: &[u8]) -> bool {
    text.iter()
        .zip(b"0000/00/00 00:00:00")
        .all(|(c, form)| match form {
            b'0' => c.is_ascii_digit(),
            form => c == form,
        })
}

/// Puts `name` in place of what follows `before` up to `end`.
fn mask(text: &str, before: &str, end: char, name: &str) -> String {
    let Some((head, rest)) = text.split_once(before) else {
        return text.to_owned();
    };
    let tail = rest.split_once(end).map_or("", |(_, tail)| tail);
    format!("{head}{before}{name}{end}{tail}")
}
