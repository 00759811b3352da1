//! TLS towards a kxd server: OpenSSL does the protocol, the server is judged by our own rules.
//!
//! The judgment (kxd spec section 8, rules in `kx_cert::verify`) happens while the server's
//! certificate is being processed. A server that fails it gets the alert bad_certificate, as the
//! original sends, and never sees the client's certificate. Nothing of OpenSSL's own opinion counts,
//! and no trust store, security level or configuration file of the system does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, FixedOffset, Local};
use kx_cert::Certificate;
use kx_cert::anchors::ServerCertificates;
use kx_cert::pair::KeyPair;
use kx_cert::server_name::ServerName;
use kx_cert::verify::verify;
use openssl::error::ErrorStack;
use openssl::ssl::{
    Ssl, SslContext, SslMethod, SslOptions, SslRef, SslSessionCacheMode, SslStream, SslVerifyMode,
    SslVersion,
};
use openssl::x509::X509StoreContextRef;
use thiserror::Error;

use crate::stream::{Ended, TimedStream};

/// A name that no certificate should have. Checking for it makes OpenSSL call back exactly at the
/// point where the chain is built, with an error whose alert is bad_certificate (42). The `openssl`
/// crate gives safe code no other way to choose the alert.
const NO_NAME: &str = "no-name.kxc.invalid";
/// `X509_V_ERR_HOSTNAME_MISMATCH`, X509_verify_cert_error_string(3).
const HOSTNAME_MISMATCH: i32 = 62;
/// Reason codes of received alerts are this plus the alert, in OpenSSL and in AWS-LC.
const ALERT_REASONS: i32 = 1000;
/// `SSL_R_UNSUPPORTED_PROTOCOL`: the server chose a version below ours.
const UNSUPPORTED_PROTOCOL: i32 = 258;
/// `SSL_OP_CLEANSE_PLAINTEXT`, SSL_CTX_set_options(3), which the `openssl` crate does not name: what has
/// been handed over is wiped from the library's own buffer. AWS-LC has no such option.
#[cfg(not(feature = "aws-lc"))]
const CLEANSE_PLAINTEXT: u64 = 1 << 1;
/// Forward secret suites of TLS 1.2 with AES or ChaCha20; deviation D4 leaves the others out.
const TLS12_SUITES: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!eNULL";

/// Why the server is not the one we want to talk to. Display is the original's text.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum UntrustedServer {
    /// It does not pass against the server certificates given.
    #[error("{}{error}", if *.any_name { "" } else { "tls: failed to verify certificate: " })]
    Verify {
        /// What is wrong with it.
        error: kx_cert::verify::VerifyError,
        /// The star rule was on; the original's text is then shorter.
        any_name: bool,
    },
    /// One of its certificates is not well-formed.
    #[error("tls: failed to parse certificate from server: {0}")]
    Parse(kx_cert::ParseError),
    /// The name to look for is missing (a URL without a host).
    #[error("tls: either ServerName or InsecureSkipVerify must be specified in the tls.Config")]
    NoName,
    /// It sent none, or it was never judged.
    #[error("tls: received empty certificates message")]
    NoCertificate,
}

/// Why there is no TLS connection, or why it ended. Display is the original's text where it has one.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The server is not trusted; the certificate of the client was not sent.
    #[error(transparent)]
    Untrusted(#[from] UntrustedServer),
    /// The server sent an alert.
    #[error("remote error: tls: {}", kx_crypto::alert::text(*.0))]
    Alert(u8),
    /// The server answers in clear HTTP.
    #[error("http: server gave HTTP response to HTTPS client")]
    PlainHttp,
    /// The server answers something that is no TLS.
    #[error("tls: first record does not look like a TLS handshake")]
    NotTls,
    /// The server speaks no version that we do.
    #[error("tls: server selected unsupported protocol version")]
    Version,
    /// The server closed.
    #[error("EOF")]
    Eof,
    /// The server closed in the middle of a record.
    #[error("unexpected EOF")]
    UnexpectedEof,
    /// `read tcp A->B: read: ERROR`.
    #[error("{0}")]
    Connection(String),
    /// The time limit passed.
    #[error("net/http: TLS handshake timeout")]
    Timeout,
    /// Anything else, in the TLS library's words.
    #[error("tls: {0}")]
    Library(String),
}

/// The key agreements that the original offers. OpenSSL's own list has slower ones too.
const GROUPS: &str = "X25519:P-256:P-384:P-521";
/// The signatures that the original takes from a server. Level 0 would also allow DSA and SHA-224.
#[cfg(not(feature = "aws-lc"))]
const SIGNATURES: &str = "RSA-PSS+SHA256:ECDSA+SHA256:ed25519:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:\
    RSA+SHA384:RSA+SHA512:ECDSA+SHA384:ECDSA+SHA512:RSA+SHA1:ECDSA+SHA1";

/// What every connection of a client shares.
pub(crate) struct TlsConfig {
    context: SslContext,
    trusted: Arc<ServerCertificates>,
}

impl TlsConfig {
    /// TLS 1.2 and 1.3, no ALPN, our certificate and key.
    ///
    /// # Errors
    /// The library's (out of memory, a key it cannot use).
    pub(crate) fn new(
        pair: &KeyPair,
        trusted: Arc<ServerCertificates>,
    ) -> Result<Self, ErrorStack> {
        let mut builder = SslContext::builder(SslMethod::tls_client())?;
        // First of all: at a higher level RSA 1024 or SHA-1 of our own pair would be refused below.
        #[cfg(not(feature = "aws-lc"))]
        builder.set_security_level(0);
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_max_proto_version(Some(SslVersion::TLS1_3))?;
        builder.set_cipher_list(TLS12_SUITES)?;
        builder.set_groups_list(GROUPS)?;
        #[cfg(not(feature = "aws-lc"))]
        builder.set_sigalgs_list(SIGNATURES)?;
        builder.set_options(SslOptions::NO_RENEGOTIATION);
        #[cfg(not(feature = "aws-lc"))]
        builder.set_options(SslOptions::from_bits_retain(CLEANSE_PLAINTEXT));
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        // One system call for several records.
        builder.set_read_ahead(true);
        for (i, cert) in pair.chain.iter().enumerate() {
            if i == 0 {
                builder.set_certificate(cert)?;
            } else {
                builder.add_extra_chain_cert(cert.clone())?;
            }
        }
        builder.set_private_key(&pair.key)?;
        Ok(Self {
            context: builder.build(),
            trusted,
        })
    }

    /// The handshake with the server called `host` (a name or an address without brackets).
    ///
    /// # Errors
    /// [`TlsError`].
    pub(crate) fn connect(
        &self,
        host: &str,
        stream: TimedStream,
    ) -> Result<SslStream<TimedStream>, TlsError> {
        if host.is_empty() && !self.trusted.any_name {
            return Err(UntrustedServer::NoName.into());
        }
        let verdict = Arc::new(Mutex::new(Err(UntrustedServer::NoCertificate)));
        let ssl = self
            .prepare(host, &verdict)
            .map_err(|e| library_error(&e))?;
        let mut stream = SslStream::new(ssl, stream).map_err(|e| library_error(&e))?;
        let connected = stream.connect();
        let verdict = verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match connected {
            // The handshake has succeeded; without our own consent it does not count.
            Ok(()) => verdict.map(|()| stream).map_err(TlsError::from),
            Err(e) => Err(match verdict {
                Err(untrusted) if !matches!(untrusted, UntrustedServer::NoCertificate) => {
                    untrusted.into()
                }
                _ => classify(stream.get_ref(), e.ssl_error()),
            }),
        }
    }

    fn prepare(&self, host: &str, verdict: &Arc<Mutex<Verdict>>) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        if let Some(name) = name_indication(host) {
            ssl.set_hostname(name)?;
        }
        ssl.param_mut().set_host(NO_NAME)?;
        let name = if self.trusted.any_name {
            None
        } else {
            Some(ServerName::new(host))
        };
        let judge = Judge {
            trusted: Arc::clone(&self.trusted),
            name,
            verdict: Arc::clone(verdict),
        };
        set_judge(&mut ssl, judge);
        Ok(ssl)
    }
}

type Verdict = Result<(), UntrustedServer>;

struct Judge {
    trusted: Arc<ServerCertificates>,
    name: Option<ServerName>,
    verdict: Arc<Mutex<Verdict>>,
}

fn set_judge(ssl: &mut SslRef, judge: Judge) {
    ssl.set_verify_callback(SslVerifyMode::PEER, move |_, context| {
        if context.error().as_raw() != HOSTNAME_MISMATCH {
            // OpenSSL's opinion on the way to the complete chain.
            return true;
        }
        // A panic must not run through the C code that called us.
        let judged = catch_unwind(AssertUnwindSafe(|| judge.judge(context)));
        let judged = judged.unwrap_or(Err(UntrustedServer::NoCertificate));
        let accepted = judged.is_ok();
        *judge.verdict.lock().unwrap_or_else(PoisonError::into_inner) = judged;
        accepted
    });
}

impl Judge {
    fn judge(&self, context: &X509StoreContextRef) -> Verdict {
        let mut sent = Vec::new();
        for cert in context.chain().into_iter().flatten() {
            let der = cert.to_der().map_err(|_| UntrustedServer::NoCertificate)?;
            sent.push(Certificate::parse(&der).map_err(UntrustedServer::Parse)?);
        }
        let (leaf, intermediates) = sent.split_first().ok_or(UntrustedServer::NoCertificate)?;
        let now: DateTime<FixedOffset> = Local::now().fixed_offset();
        verify(
            leaf,
            &self.trusted.anchors,
            intermediates,
            self.name.as_ref(),
            &now,
        )
        .map(|_| ())
        .map_err(|error| UntrustedServer::Verify {
            error,
            any_name: self.trusted.any_name,
        })
    }
}

/// What goes out as server name: host names only (RFC 6066 section 3), without the root's dot.
fn name_indication(host: &str) -> Option<&str> {
    let address = host.split('%').next().unwrap_or_default();
    if address.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let name = host.trim_end_matches('.');
    (!name.is_empty() && !name.contains('\0')).then_some(name)
}

fn library_error(stack: &ErrorStack) -> TlsError {
    let text = stack
        .errors()
        .first()
        .and_then(|e| e.reason())
        .unwrap_or("library error");
    TlsError::Library(text.to_owned())
}

/// The original's words for a failure of the handshake, or of a later read or write.
pub(crate) fn classify(stream: &TimedStream, stack: Option<&ErrorStack>) -> TlsError {
    let reasons = || {
        stack
            .into_iter()
            .flat_map(ErrorStack::errors)
            .map(|e| e.reason_code())
    };
    let alert = reasons().find_map(|r| u8::try_from(r.checked_sub(ALERT_REASONS)?).ok());
    if let Some(alert) = alert {
        return TlsError::Alert(alert);
    }
    match stream.ended() {
        Some(Ended::Timeout) => return TlsError::Timeout,
        Some(Ended::Failed(text)) => return TlsError::Connection(text.clone()),
        Some(Ended::Eof { at_boundary: true }) => return TlsError::Eof,
        Some(Ended::Eof { at_boundary: false }) | None => {}
    }
    let head = stream.head();
    if head.starts_with(b"HTTP/") {
        return TlsError::PlainHttp;
    }
    // A record begins with its type (20 to 23) and major version 3.
    match head {
        [20..=23, 3, ..] | [] => {}
        _ => return TlsError::NotTls,
    }
    if stream.ended().is_some() {
        return TlsError::UnexpectedEof;
    }
    if reasons().any(|r| r == UNSUPPORTED_PROTOCOL) {
        return TlsError::Version;
    }
    match stack {
        Some(stack) => library_error(stack),
        // Nothing went wrong but the server's close_notify.
        None => TlsError::Eof,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_indicated() {
        assert_eq!(name_indication("localhost"), Some("localhost"));
        assert_eq!(name_indication("a.example."), Some("a.example"));
        for none in ["127.0.0.1", "::1", "fe80::1%eth0", "", "."] {
            assert_eq!(name_indication(none), None, "{none}");
        }
    }

    #[test]
    fn alerts_have_the_original_names() {
        assert_eq!(
            TlsError::Alert(42).to_string(),
            "remote error: tls: bad certificate"
        );
        assert_eq!(
            TlsError::Alert(116).to_string(),
            "remote error: tls: certificate required"
        );
        assert_eq!(
            TlsError::Alert(200).to_string(),
            "remote error: tls: alert(200)"
        );
    }
}
