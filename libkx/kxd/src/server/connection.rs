//! One connection: admission, handshake, then HTTP/1.1 or HTTP/2.

use std::sync::Arc;

use kx_cert::client_chain::ClientChainError;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Peer, Shared, http1, http2};
use crate::log_source as at;
use crate::tls::{Answer, ClientCerts, HandshakeNotes, TlsStream, describe};

/// What is known of a connection once its handshake is done.
pub(super) struct Established {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Peer,
    pub(super) tls: TlsStream,
    notes: Arc<HandshakeNotes>,
    client: Option<ClientCerts>,
}

impl Established {
    /// The client's certificates, parsed at the first request: a connection that never asks for a
    /// key costs no memory for them.
    ///
    /// # Errors
    /// The original's text, when a certificate does not parse by its rules.
    pub(super) fn client(&mut self) -> Result<Option<&ClientCerts>, ClientChainError> {
        if self.client.is_none() {
            self.client = ClientCerts::of(self.tls.ssl(), &self.notes, &self.shared.intermediates)?;
        }
        Ok(self.client.as_ref())
    }

    /// Gives back the memory of what a further request would make anew in microseconds: a tenth of what a
    /// connection takes.
    pub(super) fn forget_client(&mut self) {
        self.notes.forget_leaf();
        // Those that came with a ticket, or a longer list, might not be the same again.
        let same_again = !self.tls.ssl().session_reused();
        if same_again
            && let Some(client) = &self.client
            && client.intermediates.is_empty()
        {
            self.client = None;
        }
    }
}

/// Serves one accepted socket to its end. Every wait in here has a limit.
pub(super) async fn serve(shared: Arc<Shared>, tcp: TcpStream, peer: Peer) {
    // Kept until the connection ends: it counts against the limits.
    let admitted = match shared.limits.admit(peer.addr.ip()) {
        Ok(guard) => guard,
        Err(refused) => {
            shared.metrics.connections_refused();
            if refused.worth_a_line {
                shared.log.line(
                    at::ACCEPT,
                    format_args!("{} Refusing connection: {refused}", peer.text),
                );
            }
            return;
        }
    };
    let _open = shared.metrics.connection_opened();
    let Some(established) = Box::pin(handshake(shared, tcp, peer)).await else {
        return;
    };
    match established.tls.ssl().selected_alpn_protocol() {
        Some(b"h2") => Box::pin(http2::serve(established, admitted)).await,
        _ => http1::serve(established).await,
    }
}

async fn handshake(shared: Arc<Shared>, tcp: TcpStream, peer: Peer) -> Option<Established> {
    // An answer is one write; nothing is gained by waiting for more of it.
    let _ = tcp.set_nodelay(true);
    let notes = Arc::new(HandshakeNotes::default());
    let context = shared.tls();
    let tls = context
        .connection(&notes)
        .and_then(|ssl| TlsStream::new(ssl, tcp));
    let mut tls = match tls {
        Ok(tls) => tls,
        Err(e) => {
            failed(&shared, &peer, &format!("tls: {e}"));
            return None;
        }
    };
    match timeout(shared.options.handshake_timeout, tls.accept()).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => {
            let failure = describe(&e, &tls, &context, &notes);
            failed(&shared, &peer, &failure.text);
            if failure.answer != Answer::None {
                // A few octets into an empty socket buffer: they fit or the peer is gone.
                let _ = tls.transport().tcp().try_write(failure.answer.bytes());
            }
            drain_briefly(&tls).await;
            return None;
        }
        Err(_) => {
            let from_to = tls.transport().tcp().local_addr().map_or_else(
                |_| peer.text.clone(),
                |local| format!("{}->{}", Peer::new(local).text, peer.text),
            );
            failed(&shared, &peer, &format!("read tcp {from_to}: i/o timeout"));
            return None;
        }
    }
    if cfg!(feature = "aws-lc") {
        // AWS-LC keeps its ticket back until the first answer. A client with Nagle's algorithm on then
        // sends its request only when its Finished was acknowledged, and we would do that 40 ms later.
        let _ = rustix::net::sockopt::set_tcp_quickack(tls.transport().tcp(), true);
    }
    let mut established = Established {
        shared,
        peer,
        tls,
        notes,
        client: None,
    };
    // The callback saw the chain that OpenSSL built, or nothing if the client's certificate has the
    // very name that it is checked for; what else was sent is parsed here.
    let ssl = established.tls.ssl();
    let more_sent = ssl.peer_cert_chain().is_some_and(|c| !c.is_empty());
    let unseen = !ssl.session_reused() && !established.notes.has_leaf();
    if (more_sent || unseen)
        && let Err(e) = established.client()
    {
        // The original sends the alert bad_certificate. OpenSSL sends alerts of its own choice only, and
        // shows its callback no certificate that it could not put into a chain; so the peer sees an end.
        failed(&established.shared, &established.peer, &e.to_string());
        drain_briefly(&established.tls).await;
        return None;
    }
    established.shared.metrics.handshake_done();
    Some(established)
}

fn failed(shared: &Shared, peer: &Peer, text: &str) {
    shared.metrics.handshake_failed();
    shared.log.line(
        at::TLS_HANDSHAKE,
        format_args!("http: TLS handshake error from {}: {text}", peer.text),
    );
    if let Some(log) = &shared.access_log {
        log.handshake_failed(&peer.text, text);
    }
}

/// Closing a socket with unread octets in it makes the kernel send a reset, which can overtake the
/// alert or the hint that was just written. So the sending side is closed first and what the peer
/// still has under way is read, for a moment.
async fn drain_briefly(tls: &TlsStream) {
    const MOMENT: std::time::Duration = std::time::Duration::from_millis(500);
    const MOST: usize = 64 * 1024;
    let tcp = tls.transport().tcp();
    if rustix::net::shutdown(tcp, rustix::net::Shutdown::Write).is_err() {
        return;
    }
    let drain = async {
        let mut total = 0;
        let mut scratch = [0u8; 1024];
        while total < MOST && tcp.readable().await.is_ok() {
            match tcp.try_read(&mut scratch) {
                Ok(0) => return,
                Ok(n) => total += n,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = timeout(MOMENT, drain).await;
}
