//! A TLS client that does what it is told: any version, any suite, any certificate list,
//! security level 0, no judgement of the server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    ErrorCode, HandshakeError, Ssl, SslContext, SslMethod, SslSession, SslSessionCacheMode,
    SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::X509;

use crate::config::client_pair;
use crate::http_text::{self, Answer};

/// Longest wait for a server's bytes; beyond it a test has found a hang.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// What the client is told to do.
#[derive(Clone)]
pub struct Client {
    /// Server.
    pub address: SocketAddr,
    /// Exactly this version; `None`: TLS 1.0 to 1.3.
    pub version: Option<SslVersion>,
    /// Suites of TLS 1.2 and below.
    pub ciphers: String,
    /// Groups in OpenSSL's notation.
    pub groups: Option<String>,
    /// Protocols offered.
    pub alpn: Vec<String>,
    /// Server name sent.
    pub sni: Option<String>,
    /// Certificate list sent, leaf first, as given; may be empty.
    pub chain: Vec<X509>,
    /// Key of the first certificate.
    pub key: Option<PKey<Private>>,
}

impl Client {
    /// Presents the usual client certificate.
    pub fn to(address: SocketAddr) -> Client {
        Client {
            address,
            version: None,
            ciphers: "ALL:@SECLEVEL=0".to_owned(),
            groups: None,
            alpn: Vec::new(),
            sni: Some("localhost".to_owned()),
            chain: vec![client_pair().cert.clone()],
            key: Some(client_pair().key.clone()),
        }
    }

    /// Uses exactly this version.
    pub fn version(mut self, version: SslVersion) -> Client {
        self.version = Some(version);
        self
    }

    /// Sends this certificate list, signing with `key`.
    pub fn identity(mut self, chain: Vec<X509>, key: PKey<Private>) -> Client {
        self.chain = chain;
        self.key = Some(key);
        self
    }

    /// Sends no certificate.
    pub fn anonymous(mut self) -> Client {
        self.chain.clear();
        self.key = None;
        self
    }

    /// Offers these protocols.
    pub fn alpn(mut self, names: &[&str]) -> Client {
        self.alpn = names.iter().map(|n| (*n).to_owned()).collect();
        self
    }

    /// Connects and does the handshake. The error is OpenSSL's reason in the words of the
    /// vectors, such as `SSLV3_ALERT_BAD_CERTIFICATE`, or `cannot load: ...` when OpenSSL
    /// refuses the client's own certificate.
    pub fn connect(&self) -> Result<Connection, String> {
        let sessions = Sessions::default();
        let context = self
            .context(Arc::clone(&sessions))
            .map_err(|e| format!("cannot load: {}", reason(&e)))?;
        let ssl = Ssl::new(&context).map_err(|e| reason(&e))?;
        self.handshake(ssl, context, sessions)
    }

    /// Connects again, offering the session of an earlier connection of this client.
    #[allow(unsafe_code)]
    pub fn resume(&self, earlier: &Connection) -> Result<Connection, String> {
        let session = earlier.sessions.lock().ok().and_then(|s| s.clone());
        let session = session.ok_or("the server gave no session")?;
        let mut ssl = Ssl::new(&earlier.context).map_err(|e| reason(&e))?;
        // SAFETY: the session was made under `earlier.context`, and `ssl` was made from it
        // two lines above.
        unsafe { ssl.set_session(&session) }.map_err(|e| reason(&e))?;
        self.handshake(ssl, earlier.context.clone(), Arc::clone(&earlier.sessions))
    }

    fn handshake(
        &self,
        mut ssl: Ssl,
        context: SslContext,
        sessions: Sessions,
    ) -> Result<Connection, String> {
        if let Some(name) = &self.sni {
            ssl.set_hostname(name).map_err(|e| reason(&e))?;
        }
        let tcp = TcpStream::connect_timeout(&self.address, Duration::from_secs(10))
            .map_err(|e| e.to_string())?;
        tcp.set_read_timeout(Some(PATIENCE))
            .map_err(|e| e.to_string())?;
        tcp.set_write_timeout(Some(PATIENCE))
            .map_err(|e| e.to_string())?;
        tcp.set_nodelay(true).map_err(|e| e.to_string())?;
        match ssl.connect(tcp) {
            Ok(stream) => Ok(Connection {
                stream,
                context,
                sessions,
                error: None,
            }),
            Err(HandshakeError::Failure(mid)) => Err(describe(mid.error())),
            Err(HandshakeError::SetupFailure(stack)) => Err(reason(&stack)),
            Err(HandshakeError::WouldBlock(_)) => Err("handshake timed out".to_owned()),
        }
    }

    fn context(&self, sessions: Sessions) -> Result<SslContext, openssl::error::ErrorStack> {
        let mut b = SslContext::builder(SslMethod::tls_client())?;
        b.set_security_level(0);
        b.set_verify(SslVerifyMode::NONE);
        b.set_cipher_list(&self.ciphers)?;
        b.set_min_proto_version(Some(self.version.unwrap_or(SslVersion::TLS1)))?;
        b.set_max_proto_version(self.version)?;
        if let Some(groups) = &self.groups {
            b.set_groups_list(groups)?;
        }
        if !self.alpn.is_empty() {
            let mut wire = Vec::new();
            for name in &self.alpn {
                wire.push(u8::try_from(name.len()).unwrap_or(0));
                wire.extend_from_slice(name.as_bytes());
            }
            b.set_alpn_protos(&wire)?;
        }
        if let Some((leaf, others)) = self.chain.split_first() {
            b.set_certificate(leaf)?;
            for cert in others {
                b.add_extra_chain_cert(cert.clone())?;
            }
        }
        if let Some(key) = &self.key {
            b.set_private_key(key)?;
        }
        b.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        b.set_new_session_callback(move |_, session| {
            if let Ok(mut newest) = sessions.lock() {
                *newest = Some(session);
            }
        });
        Ok(b.build())
    }

    /// One GET on a connection of its own.
    pub fn get(&self, path: &str) -> Answer {
        match self.connect() {
            Ok(mut connection) => connection.get(path),
            Err(error) => Answer::failed(error),
        }
    }

    /// Sends raw bytes on a connection of its own and takes everything until the end.
    pub fn exchange(&self, bytes: &[u8], methods: &[&str]) -> Result<Vec<Answer>, String> {
        self.connect()?.exchange(bytes, methods)
    }
}

type Sessions = Arc<Mutex<Option<SslSession>>>;

/// An open connection.
pub struct Connection {
    /// The stream.
    pub stream: SslStream<TcpStream>,
    context: SslContext,
    sessions: Sessions,
    error: Option<String>,
}

impl Connection {
    /// Sends raw bytes, then takes everything until the server ends the connection. The error
    /// is why no byte came: an alert, in the words of the vectors.
    pub fn exchange(&mut self, bytes: &[u8], methods: &[&str]) -> Result<Vec<Answer>, String> {
        let sent = self.stream.write_all(bytes);
        let received = self.read_to_end();
        if !received.is_empty() {
            return Ok(http_text::parse(&received, methods));
        }
        let error = self
            .error
            .take()
            .or_else(|| sent.err().map(|e| e.to_string()));
        error.map_or_else(|| Ok(Vec::new()), Err)
    }

    /// Sends nothing and waits for the server to end the connection: why it did.
    ///
    /// A client that writes while the server refuses it may lose the alert to a reset.
    pub fn verdict(&mut self) -> Option<String> {
        self.read_to_end();
        self.error.take()
    }

    /// One GET; the connection is closed after it.
    pub fn get(&mut self, path: &str) -> Answer {
        match self.exchange(get_request(path).as_bytes(), &["GET"]) {
            Ok(list) => list.into_iter().next().unwrap_or_default(),
            Err(error) => Answer::failed(error),
        }
    }

    /// One GET that leaves the connection open; panics on an answer without Content-Length.
    pub fn get_keep_alive(&mut self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        if let Err(e) = self.stream.write_all(request.as_bytes()) {
            return Answer::failed(e.to_string());
        }
        let mut received = Vec::new();
        let mut byte = [0u8; 1];
        let mut wanted = None;
        while wanted.is_none_or(|n| received.len() < n) {
            match self.stream.read(&mut byte) {
                Ok(0) => return Answer::failed("closed".to_owned()),
                Ok(_) => received.extend_from_slice(&byte),
                Err(e) => return Answer::failed(e.to_string()),
            }
            if wanted.is_none() && received.ends_with(b"\r\n\r\n") {
                let head = http_text::parse(&received, &["HEAD"]);
                let length = head
                    .first()
                    .and_then(|a| a.header("Content-Length")?.parse().ok());
                let length: usize = length.expect("an answer with Content-Length");
                wanted = Some(received.len() + length);
            }
        }
        http_text::parse(&received, &["GET"])
            .into_iter()
            .next()
            .unwrap_or_default()
    }

    /// Everything until the end; why it ended, unless in order, is kept for the caller.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut received = Vec::new();
        let mut buffer = [0u8; 16384];
        loop {
            match self.stream.ssl_read(&mut buffer) {
                Ok(n) => received.extend_from_slice(buffer.get(..n).unwrap_or_default()),
                Err(e) => {
                    if e.code() != ErrorCode::ZERO_RETURN {
                        self.error = Some(describe(&e));
                    }
                    return received;
                }
            }
        }
    }
}

/// The bytes of a plain GET that closes the connection.
pub fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// OpenSSL's reason in the vectors' spelling: upper case with underscores.
fn reason(stack: &openssl::error::ErrorStack) -> String {
    let last = stack
        .errors()
        .first()
        .and_then(|e| e.reason())
        .unwrap_or("unknown");
    last.to_uppercase().replace([' ', '-'], "_")
}

fn describe(error: &openssl::ssl::Error) -> String {
    match (error.ssl_error(), error.io_error()) {
        (Some(stack), _) if !stack.errors().is_empty() => reason(stack),
        (_, Some(io)) => io.to_string(),
        _ => "closed without a word".to_owned(),
    }
}
