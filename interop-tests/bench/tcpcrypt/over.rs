//! What the applications talk over: TCP as it is, or TLS 1.3 in the applications themselves, which is what
//! somebody would do who has no tcpcrypt.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use interop_tests::certificates::{self, Recipe};
use openssl::error::ErrorStack;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslSession, SslSessionCacheMode, SslStream,
    SslVersion,
};

/// The curve and the cipher that tcpcrypt agrees on by default.
const GROUP: &str = "P-256";
const SUITE: &str = "TLS_AES_128_GCM_SHA256";

/// How streams are made of connections.
pub(crate) enum Over {
    Tcp,
    Tls(Tls),
}

/// Both ends of TLS 1.3, with a P-256 certificate that nobody checks.
pub(crate) struct Tls {
    client: SslContext,
    server: SslContext,
    /// What the next connection resumes; nothing if it is not to.
    last: Arc<Mutex<Option<SslSession>>>,
}

impl Tls {
    pub(crate) fn new(resume: bool) -> Result<Tls, ErrorStack> {
        let last = Arc::new(Mutex::new(None));
        let mut client = context(SslMethod::tls_client())?;
        client.set_groups_list(GROUP)?;
        client.set_session_cache_mode(SslSessionCacheMode::CLIENT);
        let kept = Arc::clone(&last);
        client.set_new_session_callback(move |_, session| {
            if let Ok(mut kept) = kept.lock() {
                *kept = Some(session);
            }
        });
        let mut server = context(SslMethod::tls_server())?;
        server.set_groups_list(GROUP)?;
        server.set_num_tickets(usize::from(resume))?;
        let pair = Recipe::new("kx-bench")
            .key(&certificates::p256_key())
            .make();
        server.set_certificate(&pair.cert)?;
        server.set_private_key(&pair.key)?;
        Ok(Tls {
            client: client.build(),
            server: server.build(),
            last,
        })
    }
}

fn context(method: SslMethod) -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContext::builder(method)?;
    context.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    context.set_ciphersuites(SUITE)?;
    Ok(context)
}

impl Over {
    /// The end that opened the connection.
    pub(crate) fn client(&self, stream: TcpStream) -> io::Result<Stream> {
        let Over::Tls(tls) = self else {
            return Ok(Stream::Tcp(stream));
        };
        let mut ssl = Ssl::new(&tls.client)?;
        // A ticket of TLS 1.3 is for one connection.
        let session = tls.last.lock().ok().and_then(|mut last| last.take());
        if let Some(session) = session {
            resume(&mut ssl, &session)?;
        }
        ssl.connect(stream)
            .map(Stream::tls)
            .map_err(io::Error::other)
    }

    /// The end that accepted it.
    pub(crate) fn server(&self, stream: TcpStream) -> io::Result<Stream> {
        let Over::Tls(tls) = self else {
            return Ok(Stream::Tcp(stream));
        };
        let ssl = Ssl::new(&tls.server)?;
        ssl.accept(stream)
            .map(Stream::tls)
            .map_err(io::Error::other)
    }
}

#[allow(unsafe_code)]
fn resume(ssl: &mut Ssl, session: &SslSession) -> Result<(), ErrorStack> {
    // SAFETY: the session comes from the one client context, as this connection does.
    unsafe { ssl.set_session(session) }
}

/// One end.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
}

impl Stream {
    fn tls(stream: SslStream<TcpStream>) -> Stream {
        Stream::Tls(Box::new(stream))
    }

    /// The connection below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream.get_ref(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(octets),
            Stream::Tls(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
