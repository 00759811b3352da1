//! A failed handshake in the words of the original's log, and what the peer gets in the clear.

use openssl::ssl::ErrorCode;

use super::{HandshakeNotes, NotTls, ServerContext, TlsStream};

/// Why a handshake failed.
#[derive(Debug)]
pub struct HandshakeFailure {
    /// The text after `http: TLS handshake error from REMOTE: `.
    pub text: String,
    /// What to send before closing, in the clear.
    pub answer: Answer,
}

/// What a peer that does not speak TLS gets (kxd spec 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing of ours; OpenSSL has sent its alert.
    None,
    /// A hint for people who typed `http://`.
    PlainHttp,
    /// The alert for an SSLv2 hello.
    Sslv2,
}

impl Answer {
    /// The octets to send.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Answer::None => b"",
            Answer::PlainHttp => {
                b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
            }
            // Alert record of TLS 1.0: fatal, protocol_version (70).
            Answer::Sslv2 => &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46],
        }
    }
}

/// First octets of the requests that the original takes for HTTP.
const HTTP_BEGINNINGS: [&[u8]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];

/// Says what went wrong, from OpenSSL's error and from what was seen on the way.
pub fn describe(
    e: &openssl::ssl::Error,
    stream: &TlsStream,
    context: &ServerContext,
    notes: &HandshakeNotes,
) -> HandshakeFailure {
    let plain = |text: &str| HandshakeFailure {
        text: text.to_owned(),
        answer: Answer::None,
    };
    if let Some(io_error) = e.io_error() {
        if io_error.get_ref().is_some_and(|inner| inner.is::<NotTls>()) {
            return not_tls(stream.transport().first_octets());
        }
        return plain(&format!("read: {}", kx_log::golog::format_errno(io_error)));
    }
    if let Some(refused) = notes.refused() {
        return plain(&refused.to_string());
    }
    if let Some(list) = context.refused_protocols(stream.ssl()) {
        let names: Vec<_> = super::alpn_names(list)
            .map(String::from_utf8_lossy)
            .collect();
        return plain(&format!(
            "tls: client requested unsupported application protocols ([{}])",
            names.join(" ")
        ));
    }
    match e.ssl_error().and_then(|stack| stack.errors().first()) {
        Some(error) => plain(&reason_text(error, stream)),
        None if e.code() == ErrorCode::SYSCALL || e.code() == ErrorCode::ZERO_RETURN => {
            plain("EOF")
        }
        None => plain(&e.to_string()),
    }
}

fn not_tls(first: &[u8]) -> HandshakeFailure {
    if HTTP_BEGINNINGS.contains(&first) {
        return HandshakeFailure {
            text: "client sent an HTTP request to an HTTPS server".to_owned(),
            answer: Answer::PlainHttp,
        };
    }
    // A two octet length with the high bit, then message type 1: CLIENT-HELLO of SSLv2.
    if let [length, _, 1, ..] = first
        && length & 0x80 != 0
    {
        return HandshakeFailure {
            text: "tls: unsupported SSLv2 handshake received".to_owned(),
            answer: Answer::Sslv2,
        };
    }
    HandshakeFailure {
        text: NotTls.to_string(),
        answer: Answer::None,
    }
}

/// OpenSSL's reason in the original's words, where it has words for it.
fn reason_text(error: &openssl::error::Error, stream: &TlsStream) -> String {
    let code = error.reason_code();
    if let Some(alert) = code
        .checked_sub(ALERT_REASONS)
        .and_then(|n| u8::try_from(n).ok())
    {
        return format!("remote error: tls: {}", kx_crypto::alert::text(alert));
    }
    let Some(reason) = error.reason() else {
        return format!("tls: {error}");
    };
    let known = reason.to_ascii_lowercase().replace('_', " ");
    match known.as_str() {
        "no shared cipher" => "tls: no cipher suite supported by both client and server".to_owned(),
        "peer did not return a certificate" => {
            "tls: client didn't provide a certificate".to_owned()
        }
        "unexpected eof while reading" | "unexpected eof" => "EOF".to_owned(),
        "bad signature"
        | "invalid signature"
        | "wrong signature length"
        | "padding check failed" => {
            let kind = match stream
                .ssl()
                .peer_certificate()
                .and_then(|c| c.public_key().ok())
            {
                Some(key) if key.rsa().is_ok() => "crypto/rsa: verification error",
                Some(key) if key.ec_key().is_ok() => "ECDSA verification failure",
                Some(_) => "Ed25519 verification failure",
                None => "crypto/rsa: verification error",
            };
            format!("tls: invalid signature by the client certificate: {kind}")
        }
        "unsupported protocol" | "version too low" => {
            "tls: client offered only unsupported versions".to_owned()
        }
        "no suitable key share" | "no shared group" | "no shared groups" => {
            "tls: no supported elliptic curves offered".to_owned()
        }
        "wrong signature type" => {
            "tls: client certificate used with invalid signature algorithm".to_owned()
        }
        _ => format!("tls: {known}"),
    }
}

/// OpenSSL's reason codes for alerts received are the alert number plus this (sslerr.h).
const ALERT_REASONS: i32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_tls_is_told_apart() {
        assert_eq!(not_tls(b"GET /").answer, Answer::PlainHttp);
        assert_eq!(not_tls(b"GET x").answer, Answer::None);
        assert_eq!(not_tls(&[0x80, 0x2e, 1, 0, 2]).answer, Answer::Sslv2);
        assert_eq!(
            not_tls(b"SSH-2").text,
            "tls: first record does not look like a TLS handshake"
        );
    }
}
