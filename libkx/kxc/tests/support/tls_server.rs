//! A small scripted TLS server: one thread, one answer per connection, notes of what it saw.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::X509;

use super::test_certs::Identity;

/// What to do with a request.
pub enum Reply {
    /// Send this, then close properly.
    Send(Vec<u8>),
    /// Send this, then close the TCP connection without TLS's close_notify.
    SendAndDrop(Vec<u8>),
    /// Send this, then nothing more for as long.
    SendAndStall(Vec<u8>, Duration),
}

/// What the server saw.
#[derive(Default, Debug)]
pub struct Seen {
    /// The requests' octets, in order.
    pub requests: Vec<Vec<u8>>,
    /// The server names that clients indicated.
    pub names: Vec<Option<String>>,
    /// Whether the client showed a certificate, for each connection.
    pub client_certs: Vec<bool>,
    /// Texts of failed handshakes.
    pub failures: Vec<String>,
    /// Connections that are over.
    pub connections: usize,
}

/// A running server. It stops when dropped.
pub struct TlsServer {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How a server shall be.
pub struct Setup {
    /// Its certificate and key.
    pub identity: Identity,
    /// Certificates sent behind its own.
    pub extra: Vec<X509>,
    /// Whether it asks for a client certificate.
    pub ask_client: bool,
    /// Whether it refuses whatever client certificate comes.
    pub refuse_client: bool,
    /// The one version it speaks.
    pub version: Option<SslVersion>,
    /// Octets sent in clear in place of a handshake.
    pub clear_answer: Option<Vec<u8>>,
}

impl Setup {
    /// A server that asks for a client certificate and takes any.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            extra: Vec::new(),
            ask_client: true,
            refuse_client: false,
            version: None,
            clear_answer: None,
        }
    }

    /// Starts it on a free port of 127.0.0.1. `reply` gets the request's head.
    pub fn start(self, reply: impl Fn(&[u8]) -> Reply + Send + 'static) -> TlsServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.start_on(listener, reply)
    }

    /// Starts it on a listener.
    pub fn start_on(
        self,
        listener: TcpListener,
        reply: impl Fn(&[u8]) -> Reply + Send + 'static,
    ) -> TlsServer {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || {
                let context = self.context();
                for tcp in listener.incoming().flatten() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    self.serve(tcp, &context, &seen, &reply);
                    seen.lock().unwrap().connections += 1;
                }
            })
        };
        TlsServer {
            address,
            seen,
            stop,
            thread: Some(thread),
        }
    }

    fn context(&self) -> SslContext {
        let mut builder: SslContextBuilder = SslContext::builder(SslMethod::tls_server()).unwrap();
        #[cfg(not(feature = "aws-lc"))]
        builder.set_security_level(0);
        builder.set_certificate(&self.identity.cert).unwrap();
        builder.set_private_key(&self.identity.key).unwrap();
        for cert in &self.extra {
            builder.add_extra_chain_cert(cert.clone()).unwrap();
        }
        builder.set_min_proto_version(self.version).unwrap();
        builder.set_max_proto_version(self.version).unwrap();
        #[cfg(not(feature = "aws-lc"))]
        builder.set_num_tickets(1).unwrap();
        if self.ask_client {
            let take = !self.refuse_client;
            builder.set_verify_callback(
                SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
                move |_, _| take,
            );
        }
        builder.build()
    }

    fn serve(
        &self,
        mut tcp: TcpStream,
        context: &SslContext,
        seen: &Mutex<Seen>,
        reply: &impl Fn(&[u8]) -> Reply,
    ) {
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        if let Some(clear) = &self.clear_answer {
            let _ = tcp.read(&mut [0; 1024]);
            let _ = tcp.write_all(clear);
            return;
        }
        let mut stream = SslStream::new(Ssl::new(context).unwrap(), tcp).unwrap();
        let accepted = stream.accept();
        {
            let mut seen = seen.lock().unwrap();
            let name = stream.ssl().servername(openssl::ssl::NameType::HOST_NAME);
            seen.names.push(name.map(str::to_owned));
            seen.client_certs
                .push(stream.ssl().peer_certificate().is_some());
            if let Err(e) = accepted {
                seen.failures.push(e.to_string());
                return;
            }
        }
        let mut request = Vec::new();
        let mut part = [0; 4096];
        while !request.windows(4).any(|w| w == b"\r\n\r\n") {
            match stream.read(&mut part) {
                Ok(n) if n > 0 => request.extend_from_slice(&part[..n]),
                _ => break,
            }
        }
        let answer = reply(&request);
        seen.lock().unwrap().requests.push(request);
        match answer {
            Reply::Send(octets) => {
                let _ = stream.write_all(&octets);
                let _ = stream.shutdown();
            }
            Reply::SendAndDrop(octets) => {
                let _ = stream.write_all(&octets);
            }
            Reply::SendAndStall(octets, time) => {
                let _ = stream.write_all(&octets);
                std::thread::sleep(time);
            }
        }
    }
}

impl TlsServer {
    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Waits until so many connections are over: the client may be through before the server is.
    pub fn wait(&self, connections: usize) -> &Self {
        for _ in 0..1000 {
            if self.seen(|s| s.connections >= connections) {
                return self;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server did not get {connections} connections");
    }

    /// Looks at what it has seen so far.
    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An answer of status 200 with a Content-Length.
pub fn ok(body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}
