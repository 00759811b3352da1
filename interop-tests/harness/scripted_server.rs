//! A TLS server that answers every request with bytes written beforehand: what kxc meets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;

use crate::certificates::Pair;
use crate::normalize::latin1;

/// Gives the bytes for the n-th request (from 0); then the connection is closed.
pub type Script = Box<dyn Fn(usize, &str) -> Vec<u8> + Send + Sync>;

/// A running server on 127.0.0.1.
pub struct Server {
    /// Its port.
    pub port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    offered: Arc<Mutex<Option<String>>>,
}

impl Server {
    /// Starts a server that shows `pair` and, after it, `others`, and asks for a client
    /// certificate. It ends with the test process.
    pub fn start(pair: &Pair, others: &[X509], max: Option<SslVersion>, script: Script) -> Server {
        let offered = Arc::new(Mutex::new(None));
        let context = context(pair, others, max, Arc::clone(&offered))
            .expect("TLS context of the scripted server");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&requests);
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (context, shared, script) =
                    (context.clone(), Arc::clone(&shared), Arc::clone(&script));
                std::thread::spawn(move || {
                    // A client that refuses the certificate ends the conversation early.
                    let _ = serve(&context, stream, &shared, &script);
                });
            }
        });
        Server {
            port,
            requests,
            offered,
        }
    }

    /// Protocols the client offered by ALPN, as on the wire; `None` when it offers none.
    pub fn offered_protocols(&self) -> Option<String> {
        self.offered.lock().expect("scripted server").clone()
    }

    /// Whole requests received, as Latin-1 text.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("scripted server").clone()
    }
}

fn context(
    pair: &Pair,
    others: &[X509],
    max: Option<SslVersion>,
    seen: Arc<Mutex<Option<String>>>,
) -> Result<SslContext, openssl::error::ErrorStack> {
    let mut b = SslContext::builder(SslMethod::tls_server())?;
    b.set_security_level(0);
    b.set_max_proto_version(max)?;
    b.set_certificate(&pair.cert)?;
    b.set_private_key(&pair.key)?;
    for cert in others {
        b.add_extra_chain_cert(cert.clone())?;
    }
    b.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
    b.set_alpn_select_callback(move |_, offered| {
        *seen.lock().expect("scripted server") = Some(latin1(offered));
        Err(openssl::ssl::AlpnError::NOACK)
    });
    Ok(b.build())
}

fn serve(
    context: &SslContext,
    stream: TcpStream,
    requests: &Mutex<Vec<String>>,
    script: &Script,
) -> Result<(), Box<dyn std::error::Error>> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut tls = Ssl::new(context)?.accept(stream)?;
    let mut request = Vec::new();
    let mut buffer = [0u8; 4096];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = tls.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        request.extend_from_slice(buffer.get(..n).unwrap_or_default());
    }
    let text = latin1(&request);
    let number = {
        let mut all = requests.lock().expect("scripted server");
        all.push(text.clone());
        all.len() - 1
    };
    tls.write_all(&script(number, &text))?;
    let _ = tls.shutdown();
    // Leave the client time to read before the socket goes.
    let _ = tls.get_mut().read(&mut buffer);
    Ok(())
}
