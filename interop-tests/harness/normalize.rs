//! Takes out of logs and messages what differs from run to run, with the same replacement
//! words as the vectors (`vectors/kxd/README.md`).

/// Bytes as text; those that are not UTF-8 become `\xNN`.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out
}

/// Octets as a string of Latin-1 characters, as bodies stand in the vectors.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

/// The inverse of [`latin1`]; panics on other characters.
pub fn octets(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).expect("Latin-1 in the vectors"))
        .collect()
}

/// Length of `pattern` matched at the start of `text`: `0` stands for one digit, `+` for one
/// or more digits, everything else for itself.
fn matches_at(text: &str, pattern: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    for p in pattern.bytes() {
        let b = bytes.get(at).copied();
        match p {
            b'0' if b.is_some_and(|b| b.is_ascii_digit()) => at += 1,
            b'+' => {
                let digits = bytes
                    .iter()
                    .skip(at)
                    .take_while(|b| b.is_ascii_digit())
                    .count();
                if digits == 0 {
                    return None;
                }
                at += digits;
            }
            b'0' => return None,
            _ if b == Some(p) => at += 1,
            _ => return None,
        }
    }
    Some(at)
}

/// Replaces every match of `pattern` (see [`matches_at`]) by `word`.
pub fn replace(text: &str, pattern: &str, word: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(n) = matches_at(rest, pattern) {
            out.push_str(word);
            rest = rest.get(n..).unwrap_or("");
        } else {
            out.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or("");
        }
    }
    out
}

/// A log file as lines without time stamps: `kxd.go:N: 127.0.0.1:PORT /v1/k ...`, with `dir`
/// shown as DIR; lines beyond 400 characters are abbreviated as in the vectors.
pub fn log(bytes: &[u8], dir: &str) -> Vec<String> {
    let dir = dir.trim_end_matches('/');
    let whole = text(bytes).replace(dir, "DIR");
    whole.lines().map(log_line).collect()
}

fn log_line(line: &str) -> String {
    let line = match matches_at(line, "0000/00/00 00:00:00.000000 ") {
        Some(n) => without_line_number(line.get(n..).unwrap_or("")),
        None => line.to_owned(),
    };
    let line = replace(&line, "127.0.0.1:+", "127.0.0.1:PORT");
    let line = replace(&line, "[::1]:+", "[::1]:PORT");
    let line = line.replace("e".repeat(32768).as_str(), "e*32768");
    let length = line.chars().count();
    if length > 400 {
        let head: String = line.chars().take(60).collect();
        return format!("{head}...len={length}");
    }
    line
}

/// `kxd.go:172: x` to `kxd.go:N: x`.
pub fn without_line_number(line: &str) -> String {
    let Some((file, rest)) = line.split_once(".go:") else {
        return line.to_owned();
    };
    match matches_at(rest, "+: ") {
        Some(n) if !file.contains(' ') => {
            format!("{file}.go:N: {}", rest.get(n..).unwrap_or(""))
        }
        _ => line.to_owned(),
    }
}

/// Command line output: STAMP6 and STAMP for the two forms of time, source lines as N.
pub fn output(text: &str) -> String {
    let text = replace(text, "0000/00/00 00:00:00.000000", "STAMP6");
    let text = replace(&text, "0000/00/00 00:00:00", "STAMP");
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        match line.strip_prefix("STAMP6 ") {
            Some(rest) => out.push_str(&format!("STAMP6 {}", without_line_number(rest))),
            None => out.push_str(line),
        }
    }
    out
}

/// Replaces what stands between `after` and the next `until`.
pub fn between(text: &str, after: &str, until: &str, word: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once(after) {
        out.push_str(head);
        out.push_str(after);
        match tail.split_once(until) {
            Some((_, end)) => {
                out.push_str(word);
                out.push_str(until);
                rest = end;
            }
            None => {
                rest = tail;
                break;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_loses_its_stamp_source_line_and_port() {
        let line = b"2026/11/21 00:28:39.123456 kxd.go:172: 127.0.0.1:48966 /v1/k Unknown\n";
        assert_eq!(log(line, "/d"), ["kxd.go:N: 127.0.0.1:PORT /v1/k Unknown"]);
    }

    #[test]
    fn a_stamp_without_microseconds_is_told_apart() {
        assert_eq!(output("2026/11/21 00:28:39 x\n"), "STAMP x\n");
        assert_eq!(
            output("2026/11/21 00:28:39.000001 a.go:1: x\n"),
            "STAMP6 a.go:N: x\n"
        );
    }

    #[test]
    fn octets_that_are_not_utf8_stay_visible() {
        assert_eq!(text(b"a\xffb"), "a\\xffb");
    }
}
