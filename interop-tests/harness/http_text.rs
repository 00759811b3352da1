//! Takes the raw bytes of an HTTP/1.1 conversation apart, keeping order and spelling.

use serde_json::{Value, json};

use crate::normalize::latin1;

/// One answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The whole status line; empty when no answer came.
    pub status: String,
    /// Header lines in order.
    pub headers: Vec<(String, String)>,
    /// Body after transfer decoding.
    pub body: Vec<u8>,
    /// Why there is no (whole) answer: the alert or socket error.
    pub error: Option<String>,
}

impl Answer {
    /// An answer that did not come.
    pub fn failed(error: String) -> Answer {
        Answer {
            error: Some(error),
            ..Answer::default()
        }
    }

    /// The status number, 0 when there is none.
    pub fn code(&self) -> u16 {
        self.status
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or(0)
    }

    /// Value of a header, compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, v)| v.as_str())
    }

    /// Body as Latin-1 text.
    pub fn body_text(&self) -> String {
        latin1(&self.body)
    }

    /// The shape in which http.json records answers, dates replaced.
    pub fn record(&self) -> Value {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(n, v)| {
                json!([
                    n,
                    if n.eq_ignore_ascii_case("date") {
                        "DATE"
                    } else {
                        v
                    }
                ])
            })
            .collect();
        json!({"status": self.status, "headers": headers, "body": self.body_text()})
    }
}

/// Splits everything a server sent into answers. `methods` are those of the requests, in
/// order (HEAD answers have no body).
pub fn parse(bytes: &[u8], methods: &[&str]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let method = methods.get(answers.len()).copied().unwrap_or("GET");
        let (answer, tail) = one(rest, method);
        answers.push(answer);
        rest = tail;
    }
    answers
}

/// Takes one answer from the front; returns it and what follows.
fn one<'a>(bytes: &'a [u8], method: &str) -> (Answer, &'a [u8]) {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return (
            Answer::failed(format!("not an answer: {:?}", latin1(bytes))),
            &[],
        );
    };
    let (head, body) = bytes.split_at(end);
    let body = body.get(4..).unwrap_or_default();
    let head = latin1(head);
    let mut lines = head.split("\r\n");
    let mut answer = Answer {
        status: lines.next().unwrap_or("").to_owned(),
        ..Answer::default()
    };
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        answer.headers.push((name.to_owned(), value.to_owned()));
    }
    let code = answer.code();
    if method == "HEAD" || code < 200 || code == 204 || code == 304 {
        return (answer, body);
    }
    if answer.header("Transfer-Encoding") == Some("chunked") {
        let (decoded, tail) = unchunk(body);
        answer.body = decoded;
        return (answer, tail);
    }
    let length = answer.header("Content-Length").and_then(|v| v.parse().ok());
    let length = length.unwrap_or(body.len()).min(body.len());
    let (content, tail) = body.split_at(length);
    answer.body = content.to_vec();
    (answer, tail)
}

fn unchunk(mut rest: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut out = Vec::new();
    while let Some(eol) = find(rest, b"\r\n") {
        let (size, tail) = rest.split_at(eol);
        let size = usize::from_str_radix(&latin1(size), 16).unwrap_or(0);
        let tail = tail.get(2..).unwrap_or_default();
        out.extend_from_slice(tail.get(..size).unwrap_or(tail));
        rest = tail.get(size.saturating_add(2)..).unwrap_or_default();
        if size == 0 {
            break;
        }
    }
    (out, rest)
}

/// Where `needle` starts.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelined_answers_are_told_apart() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 404 No\r\n\
            Transfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n";
        let answers = parse(bytes, &["GET", "GET"]);
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[0].body, b"ab");
        assert_eq!(
            (answers[1].code(), answers[1].body.as_slice()),
            (404, b"xyz".as_slice())
        );
    }
}
