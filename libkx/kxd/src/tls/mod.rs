//! TLS of the server: settings of kxd spec 4.1, with deviation D4 (TLS 1.2 and up unless asked).
//!
//! OpenSSL parses nothing that decides: it proves that the client has the key of the first
//! certificate. Whether that certificate may have a key is [`crate::authz`]'s business.

mod client_certs;
mod handshake_error;
mod stream;

pub use client_certs::{ClientCerts, HandshakeNotes, IntermediateMemory};
pub use handshake_error::{Answer, HandshakeFailure, describe};
pub use stream::{NotTls, TlsStream, Transport};

use std::path::{Path, PathBuf};

use kx_cert::pair::{self, KeyPair, PairError};
use kx_log::golog::format_errno;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{
    AlpnError, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions,
    SslSessionCacheMode, SslVersion,
};
use zeroize::Zeroizing;

/// The lowest TLS version the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMin {
    /// TLS 1.2 and 1.3, forward secret cipher suites only (deviation D4, the default).
    #[default]
    Tls12,
    /// As the original: TLS 1.0 to 1.3, and RSA key exchange.
    Tls10,
    /// TLS 1.3 only.
    Tls13,
}

impl std::str::FromStr for TlsMin {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        match s {
            "1.0" => Ok(TlsMin::Tls10),
            "1.2" => Ok(TlsMin::Tls12),
            "1.3" => Ok(TlsMin::Tls13),
            _ => Err(()),
        }
    }
}

/// Cipher suites up to TLS 1.2, in the order in which the server chooses (kxd spec 4.1).
const SUITES: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
    ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
    ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
    ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA";

/// Those that the original offers too, only with [`TlsMin::Tls10`]: the session key is the server
/// key's to give away.
const SUITES_RSA_KEY_EXCHANGE: &str = ":AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA:AES256-SHA";

#[cfg(not(feature = "aws-lc"))]
const SUITES_TLS13: &str =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

/// Signature algorithms of the certificate request, in the original's order.
#[cfg(not(feature = "aws-lc"))]
const SIGNATURE_ALGORITHMS: &str = "RSA-PSS+SHA256:ECDSA+SHA256:ed25519:RSA-PSS+SHA384:\
    RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512:ECDSA+SHA384:ECDSA+SHA512:RSA+SHA1:ECDSA+SHA1";

/// The original's groups, and P-224 behind them: OpenSSL takes client certificates of the curves in this
/// list only, and the original takes P-224 (kxd spec 4.1). TLS 1.3 has no P-224.
#[cfg(not(feature = "aws-lc"))]
const GROUPS: &str = "X25519:P-256:P-384:P-521:P-224";
#[cfg(feature = "aws-lc")]
const GROUPS: &str = "X25519:P-256:P-384:P-521";

/// Ties resumed sessions to this server (RFC 5077 tickets are refused by OpenSSL without it).
const SESSION_ID_CONTEXT: &[u8] = b"kxd";

/// Why a server context could not be made. The text is what the original logs before it exits.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// A file could not be read.
    #[error("open {}: {}", .0.display(), format_errno(.1))]
    Open(PathBuf, std::io::Error),
    /// Certificate and key are not a pair, or not PEM.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// OpenSSL refuses the certificate, the key or a setting.
    #[error("tls: {0}")]
    OpenSsl(#[from] ErrorStack),
}

/// The server's certificate, key and settings: made at start and on SIGHUP, shared by all connections.
pub struct ServerContext {
    context: SslContext,
    offered: Index<Ssl, Vec<u8>>,
}

impl ServerContext {
    /// Reads `cert` and `key` and prepares the handshake.
    ///
    /// # Errors
    /// With the original's text (kxd spec 2.1).
    pub fn load(cert: &Path, key: &Path, min: TlsMin) -> Result<ServerContext, ContextError> {
        let (pair, builder) = alongside(
            || load_pair(cert, key),
            || SslContext::builder(SslMethod::tls_server()),
        );
        let KeyPair { chain, key, .. } = pair?;
        let mut b = builder?;
        set_versions(&mut b, min)?;
        let mut chain = chain.into_iter();
        if let Some(leaf) = chain.next() {
            b.set_certificate(&leaf)?;
        }
        for extra in chain {
            b.add_extra_chain_cert(extra)?;
        }
        b.set_private_key(&key)?;
        b.set_groups_list(GROUPS)?;
        b.set_mode(
            SslMode::AUTO_RETRY
                | SslMode::ACCEPT_MOVING_WRITE_BUFFER
                | SslMode::ENABLE_PARTIAL_WRITE
                | SslMode::RELEASE_BUFFERS,
        );
        b.set_options(SslOptions::CIPHER_SERVER_PREFERENCE | SslOptions::NO_RENEGOTIATION);
        // A record's header and body in one system call.
        b.set_read_ahead(true);
        // Tickets carry the session; the server remembers nothing.
        b.set_session_cache_mode(SslSessionCacheMode::OFF);
        b.set_session_id_context(SESSION_ID_CONTEXT)?;
        b.verify_param_mut().set_host(client_certs::NO_NAME)?;

        let offered = Ssl::new_ex_index::<Vec<u8>>()?;
        b.set_alpn_select_callback(move |ssl, client| {
            choose_protocol(client).ok_or_else(|| {
                ssl.set_ex_data(offered, client.to_vec());
                AlpnError::ALERT_FATAL
            })
        });
        Ok(ServerContext {
            context: b.build(),
            offered,
        })
    }

    /// A new connection's TLS state, which will require a client certificate.
    ///
    /// # Errors
    /// When OpenSSL has no memory.
    pub fn connection(&self, notes: &std::sync::Arc<HandshakeNotes>) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        client_certs::require(&mut ssl, notes);
        Ok(ssl)
    }

    /// The protocols a client offered by ALPN, when none of them was ours: wire form of RFC 7301.
    pub fn refused_protocols<'a>(&self, ssl: &'a openssl::ssl::SslRef) -> Option<&'a [u8]> {
        ssl.ex_data(self.offered).map(Vec::as_slice)
    }
}

fn load_pair(cert: &Path, key: &Path) -> Result<KeyPair, ContextError> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|e| ContextError::Open(path.to_owned(), e));
    let cert_pem = read(cert)?;
    let key_pem = Zeroizing::new(read(key)?);
    Ok(pair::load(&cert_pem, &key_pem)?)
}

/// Both results. At start each takes a good millisecond, in which OpenSSL gathers its algorithms for the
/// one and its decoders for the other; if there is a second processor they need not wait for each other.
fn alongside<A, B: Send>(here: impl FnOnce() -> A, there: impl Fn() -> B + Sync) -> (A, B) {
    std::thread::scope(|scope| {
        let other = std::thread::Builder::new().spawn_scoped(scope, &there);
        let here = here();
        let there = match other.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            // No thread to be had.
            _ => there(),
        };
        (here, there)
    })
}

#[cfg(not(feature = "aws-lc"))]
fn set_versions(b: &mut SslContextBuilder, min: TlsMin) -> Result<(), ErrorStack> {
    b.set_options(SslOptions::NO_COMPRESSION);
    // Level 0: which client certificates are good is decided by our rules, not by key size.
    b.set_security_level(0);
    b.set_ciphersuites(SUITES_TLS13)?;
    b.set_sigalgs_list(SIGNATURE_ALGORITHMS)?;
    // One ticket: with none, a client that has Nagle's algorithm on waits 40 ms for the
    // acknowledgement of its Finished before it sends the request; a second costs CPU for nothing.
    b.set_num_tickets(1)?;
    set_versions_common(b, min)
}

#[cfg(feature = "aws-lc")]
fn set_versions(b: &mut SslContextBuilder, min: TlsMin) -> Result<(), ErrorStack> {
    set_versions_common(b, min)
}

fn set_versions_common(b: &mut SslContextBuilder, min: TlsMin) -> Result<(), ErrorStack> {
    let (version, suites) = match min {
        TlsMin::Tls10 => (
            SslVersion::TLS1,
            format!("{SUITES}{SUITES_RSA_KEY_EXCHANGE}"),
        ),
        TlsMin::Tls12 => (SslVersion::TLS1_2, SUITES.to_owned()),
        TlsMin::Tls13 => (SslVersion::TLS1_3, SUITES.to_owned()),
    };
    b.set_min_proto_version(Some(version))?;
    b.set_cipher_list(&suites)
}

/// The server's choice among the client's ALPN list (RFC 7301 wire form): `h2`, else `http/1.1`.
fn choose_protocol(client: &[u8]) -> Option<&[u8]> {
    ["h2", "http/1.1"]
        .iter()
        .find_map(|wanted| alpn_names(client).find(|name| *name == wanted.as_bytes()))
}

/// The names in an ALPN list; a list that breaks off ends there.
fn alpn_names(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&len, rest) = list.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(len))?;
        list = rest;
        Some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_prefers_h2_whatever_the_clients_order() {
        assert_eq!(choose_protocol(b"\x08http/1.1\x02h2"), Some(&b"h2"[..]));
        assert_eq!(
            choose_protocol(b"\x03foo\x08http/1.1"),
            Some(&b"http/1.1"[..])
        );
        assert_eq!(choose_protocol(b"\x08http/1.0"), None);
        assert_eq!(choose_protocol(b"\x09http/1.1"), None);
    }
}
