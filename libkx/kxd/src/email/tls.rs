//! TLS as a client on a tokio socket, for STARTTLS.
//!
//! OpenSSL reads and writes with tokio's `try_read` and `try_write`, which answer `WouldBlock` at
//! once; the wait for the readiness that it then asks for is done here. So no context pointer has to
//! travel through the library and no `unsafe` is needed.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::ssl::{self, ErrorCode, SslConnector, SslMethod, SslStream, SslVersion};
use tokio::net::TcpStream;

/// Where distributions keep the certificates of the authorities that they trust: the list of the
/// original's library, which takes the first that exists.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Settings for one connection. Reads the authorities' file, so it is slow (10 ms) and may block.
///
/// `roots` takes the place of the system's authorities.
pub(super) fn connector(roots: Option<&Path>) -> Result<SslConnector, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    match roots {
        Some(file) => {
            builder.set_cert_store(openssl::x509::store::X509StoreBuilder::new()?.build());
            builder.set_ca_file(file)?;
        }
        // OpenSSL's default paths (with SSL_CERT_FILE and SSL_CERT_DIR) are in already. They lead
        // nowhere when the library was not built by the distribution.
        None if std::env::var_os("SSL_CERT_FILE").is_none() => {
            if let Some(file) = BUNDLES.iter().map(PathBuf::from).find(|f| f.exists()) {
                builder.set_ca_file(file)?;
            }
        }
        None => {}
    }
    Ok(builder.build())
}

/// The socket as OpenSSL sees it.
#[derive(Debug)]
struct Socket(TcpStream);

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client's TLS connection.
#[derive(Debug)]
pub(super) struct TlsConnection(SslStream<Socket>);

impl TlsConnection {
    /// Shakes hands; the server's certificate must be good for `host`. No limit of time.
    ///
    /// # Errors
    /// What is wrong, worded as the original does.
    pub(super) async fn connect(
        connector: &SslConnector,
        host: &str,
        tcp: TcpStream,
    ) -> Result<Self, String> {
        let ssl = connector
            .configure()
            .and_then(|c| c.into_ssl(host))
            .map_err(|e| format!("tls: {e}"))?;
        let stream = SslStream::new(ssl, Socket(tcp)).map_err(|e| format!("tls: {e}"))?;
        let mut tls = TlsConnection(stream);
        match tls.drive(SslStream::connect).await {
            Ok(()) => Ok(tls),
            Err(e) => Err(handshake_text(&tls.0, host, e)),
        }
    }

    /// Reads decrypted octets; 0 is the end.
    pub(super) async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.drive(|tls| tls.ssl_read(buf)).await {
            Ok(n) => Ok(n),
            Err(e) => match e.code() {
                ErrorCode::ZERO_RETURN => Ok(0),
                _ => Err(e
                    .into_io_error()
                    .unwrap_or_else(|_| io::ErrorKind::UnexpectedEof.into())),
            },
        }
    }

    /// Encrypts and sends all of `bytes`.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = self
                .drive(|tls| tls.ssl_write(bytes))
                .await
                .map_err(|e| e.into_io_error().unwrap_or_else(io::Error::other))?;
            bytes = bytes.get(n..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends close_notify if the socket takes it at once.
    pub(super) fn close(&mut self) {
        // The mail is accepted; a server that is gone already changes nothing.
        let _ = self.0.shutdown();
    }

    /// Repeats `operation` until it need not wait for the socket any more.
    async fn drive<T>(
        &mut self,
        mut operation: impl FnMut(&mut SslStream<Socket>) -> Result<T, ssl::Error>,
    ) -> Result<T, ssl::Error> {
        loop {
            let error = match operation(&mut self.0) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let tcp = &self.0.get_ref().0;
            let ready = match error.code() {
                ErrorCode::WANT_READ => tcp.readable().await,
                ErrorCode::WANT_WRITE => tcp.writable().await,
                _ => return Err(error),
            };
            if ready.is_err() {
                return Err(error);
            }
        }
    }
}

// X509_verify_cert_error_string(3): the results that the original words in its own way.
const NOT_YET_VALID: i32 = 9;
const HAS_EXPIRED: i32 = 10;
const NO_ISSUER: [i32; 4] = [18, 19, 20, 21];
const INVALID_PURPOSE: i32 = 26;
const HOSTNAME_MISMATCH: i32 = 62;
const IP_ADDRESS_MISMATCH: i32 = 64;

fn handshake_text(stream: &SslStream<Socket>, host: &str, error: ssl::Error) -> String {
    let result = stream.ssl().verify_result();
    let why = match result.as_raw() {
        0 => {
            return match error.into_io_error() {
                Ok(e) => kx_log::golog::format_errno(&e),
                Err(e) if e.ssl_error().is_none_or(|stack| stack.errors().is_empty()) => {
                    "EOF".to_owned()
                }
                Err(e) => format!("tls: {e}"),
            };
        }
        NOT_YET_VALID | HAS_EXPIRED => "certificate has expired or is not yet valid".to_owned(),
        code if NO_ISSUER.contains(&code) => "certificate signed by unknown authority".to_owned(),
        INVALID_PURPOSE => "certificate specifies an incompatible key usage".to_owned(),
        HOSTNAME_MISMATCH => format!("certificate is not valid for {host}"),
        IP_ADDRESS_MISMATCH => {
            format!("cannot validate certificate for {host} because it doesn't contain that IP SAN")
        }
        _ => result.error_string().to_owned(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}
