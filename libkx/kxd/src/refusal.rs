//! Why a request gets no key: status, body and log text of each row of kxd spec 3.

use kx_cert::Certificate;
use kx_cert::anchors::NoCertificate;
use kx_cert::verify::VerifyError;
use kx_http::router::KeyPathError;

use crate::email::SendError;
use crate::hook::HookError;
use crate::key_store::{LookupError, ReadError};
use kx_log::goquote::quote;

/// A refused request. `Display` is the line for the log, after `REMOTE PATH `.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Row 1. TLS refuses such a client before it comes so far.
    #[error("Rejecting request without certificate")]
    NoCertificate,
    /// More requests from the address than `--rate_limit` allows (ours).
    #[error("Too many requests, limit is {0} per second")]
    RateLimit(u32),
    /// Row 2.
    #[error("Rejecting request with invalid key path: {0}")]
    InvalidKeyPath(KeyPathError),
    /// Row 3: there is no such key.
    #[error("Unknown key path {}", quote(.0))]
    UnknownKey(Vec<u8>),
    /// Row 3: whether there is one could not be found out.
    #[error("Error checking key path {}: {source}", quote(.key_path))]
    CheckingKey {
        /// As asked for, cleaned.
        key_path: Vec<u8>,
        /// What the system says.
        source: LookupError,
    },
    /// Row 4: `allowed_clients` cannot be read.
    #[error("Error loading certs: {0}")]
    ReadingCerts(ReadError),
    /// Row 4: `allowed_clients` holds no certificate.
    #[error("Error loading certs: {0}")]
    NoCerts(NoCertificate),
    /// Row 5.
    #[error("Error loading allowed hosts: {0}")]
    LoadingHosts(ReadError),
    /// Row 6.
    #[error("Host not allowed: host {} not allowed", quote(.0.as_bytes()))]
    HostNotAllowed(String),
    /// Row 7. One certificate is judged (deviation D1); a second line says why it failed.
    #[error("No allowed certificate found (checked 1 certs)")]
    CertificateNotAllowed(Certificate, VerifyError),
    /// Row 8.
    #[error("Error getting key data: {0}")]
    ReadingKey(ReadError),
    /// Row 9.
    #[error("Prevented by hook: {0}")]
    Hook(HookError),
    /// Row 9, ours: so many hooks run that this one never had its turn.
    #[error("Prevented by hook: too many hooks running")]
    HookQueue,
    /// Row 11: whom to write to cannot be read.
    #[error("Error sending notification: {0}")]
    ReadingEmailTo(ReadError),
    /// Row 11: the mail server did not take it.
    #[error("Error sending notification: {0}")]
    Notification(SendError),
    /// Row 11, ours: so many mails are under way that this one never had its turn.
    #[error("Error sending notification: too many mails under way")]
    MailQueue,
}

impl Refusal {
    /// Status code of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::NoCertificate | Refusal::InvalidKeyPath(_) => 406,
            Refusal::RateLimit(_) => 429,
            Refusal::UnknownKey(_) => 404,
            Refusal::HostNotAllowed(_)
            | Refusal::CertificateNotAllowed(..)
            | Refusal::Hook(_)
            | Refusal::HookQueue => 403,
            Refusal::CheckingKey { .. }
            | Refusal::ReadingCerts(_)
            | Refusal::NoCerts(_)
            | Refusal::LoadingHosts(_)
            | Refusal::ReadingKey(_)
            | Refusal::ReadingEmailTo(_)
            | Refusal::Notification(_)
            | Refusal::MailQueue => 500,
        }
    }

    /// Body of the answer, without the line feed at its end.
    pub fn body(&self) -> &'static str {
        match self {
            Refusal::NoCertificate => "Client certificate not provided",
            Refusal::RateLimit(_) => "Too many requests",
            Refusal::InvalidKeyPath(_) => "Invalid key path",
            Refusal::UnknownKey(_) => "Unknown key",
            Refusal::CheckingKey { .. } => "Error checking key",
            Refusal::ReadingCerts(_) | Refusal::NoCerts(_) => "Error loading certs",
            Refusal::LoadingHosts(_) => "Error loading allowed hosts",
            Refusal::HostNotAllowed(_) => "Host not allowed",
            Refusal::CertificateNotAllowed(..) => "No allowed certificate found",
            Refusal::ReadingKey(_) => "Error getting key data",
            Refusal::Hook(_) | Refusal::HookQueue => "Prevented by hook",
            Refusal::ReadingEmailTo(_) | Refusal::Notification(_) | Refusal::MailQueue => {
                "Error sending notification"
            }
        }
    }

    /// One word for the access log.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::NoCertificate => "no_certificate",
            Refusal::RateLimit(_) => "rate_limit",
            Refusal::InvalidKeyPath(_) => "invalid_key_path",
            Refusal::UnknownKey(_) => "unknown_key",
            Refusal::CheckingKey { .. } => "key_error",
            Refusal::ReadingCerts(_) | Refusal::NoCerts(_) => "allowed_clients_error",
            Refusal::LoadingHosts(_) => "allowed_hosts_error",
            Refusal::HostNotAllowed(_) => "host_not_allowed",
            Refusal::CertificateNotAllowed(..) => "certificate_not_allowed",
            Refusal::ReadingKey(_) => "key_unreadable",
            Refusal::Hook(_) | Refusal::HookQueue => "hook",
            Refusal::ReadingEmailTo(_) | Refusal::Notification(_) | Refusal::MailQueue => {
                "notification"
            }
        }
    }
}
