//! HTTP/2 on an established connection, by the `h2` crate; routing and decisions are the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use http::{HeaderValue, Request, StatusCode, header};
use kx_crypto::secret::SecretBytes;
use kx_http::router;
use kx_http::server::Response;
use tokio::time::{Instant, timeout};

use super::connection::Established;
use super::fault::{self, Fault};
use super::{Peer, Shared};
use crate::clock::http_date;
use crate::handler::{self, Caller, Exchange};
use crate::limits::Admitted;
use crate::tls::ClientCerts;

/// Requests of one connection that are worked on at once; the original's number.
const STREAMS_AT_ONCE: u32 = 250;

/// Limit of a request's header list. The original's is a megabyte, as in HTTP/1.1; but here one
/// connection can have many requests under way, and each list is held in memory while it is read.
const HEADER_LIST_OCTETS: u32 = 64 * 1024;

/// Answers up to this size carry a content-length (kxd spec 7).
const CONTENT_LENGTH_UP_TO: usize = 4096;

/// Octets of a request's body that are read and thrown away.
const DISCARDED_BODY: usize = 256 << 10;

/// How long the peer may leave an answer without window.
const WINDOW_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the peer may take to send the body that nobody reads.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Streams whose answers are being made, those included that the peer has reset: it may open others
/// in their place at once, while their answers still wait for a hook or a name. Who goes on so is
/// told to calm down, as by the original.
const ACTIVE_AT_ONCE: usize = 2 * STREAMS_AT_ONCE as usize;

/// How long a connection that we end may take to hear of it.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the streams of a connection share.
struct Connection {
    /// Streams outlive the connection by their hook or name look-up, and so does its place.
    _admitted: Admitted,
    shared: Arc<Shared>,
    peer: Peer,
    client: Option<ClientCerts>,
    tls_version: &'static str,
    /// Streams being answered.
    active: AtomicUsize,
}

impl Connection {
    fn caller(&self) -> Caller<'_> {
        Caller {
            peer: &self.peer,
            client: self.client.as_ref(),
            tls_version: self.tls_version,
        }
    }

    fn tell(&self, fault: &Fault) {
        fault::tell(&self.shared, &self.caller(), fault);
    }

    /// Only what breaks the protocol: who resets his connection or goes away says so himself.
    fn tell_of(&self, e: &h2::Error) {
        if e.is_library() {
            self.tell(&Fault::Http2(e.to_string()));
        }
    }
}

/// Serves streams until the peer closes, errs or stays idle.
pub(super) async fn serve(mut established: Established, admitted: Admitted) {
    let Ok(client) = established.client().map(Option::<&ClientCerts>::cloned) else {
        return;
    };
    let connection = Arc::new(Connection {
        _admitted: admitted,
        client,
        tls_version: established.tls.ssl().version_str(),
        shared: Arc::clone(&established.shared),
        peer: established.peer.clone(),
        active: AtomicUsize::new(0),
    });
    let options = &connection.shared.options;
    let handshake = Builder::new()
        .max_concurrent_streams(STREAMS_AT_ONCE)
        .max_header_list_size(HEADER_LIST_OCTETS)
        .handshake::<_, Bytes>(established.tls);
    let mut h2 = match timeout(options.header_timeout, handshake).await {
        Ok(Ok(h2)) => h2,
        Ok(Err(e)) => return connection.tell_of(&e),
        Err(_) => return connection.tell(&Fault::HeaderTimeout),
    };
    loop {
        match timeout(options.idle_timeout, h2.accept()).await {
            Ok(Some(Ok(_))) if connection.active.load(Ordering::Relaxed) >= ACTIVE_AT_ONCE => {
                h2.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                break;
            }
            Ok(Some(Ok((request, respond)))) => {
                let connection = Arc::clone(&connection);
                connection.active.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let active = Active(connection);
                    answer(&active.0, request, respond).await;
                });
            }
            Ok(Some(Err(e))) => return connection.tell_of(&e),
            Ok(None) => return,
            // Nothing new for the whole time; a stream may still wait for its hook.
            Err(_) if connection.active.load(Ordering::Relaxed) > 0 => {}
            Err(_) => {
                h2.graceful_shutdown();
                break;
            }
        }
    }
    let _ = timeout(GOODBYE, std::future::poll_fn(|cx| h2.poll_closed(cx))).await;
}

/// Counts a stream as done when it ends, however it ends.
struct Active(Arc<Connection>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn answer(
    connection: &Connection,
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let head_only = request.method() == http::Method::HEAD;
    let (exchange, body) = take_apart(request);
    let response = handler::respond(&connection.shared, &connection.caller(), exchange).await;
    let limit = connection
        .shared
        .options
        .answer_limit(response.body.as_ref().len());
    let deadline = Instant::now() + limit;
    match send(&mut respond, &response, head_only, deadline).await {
        // An error here is the peer's reset or its end: there is nobody to tell.
        Ok(Sent::Whole | Sent::Unwanted) | Err(_) => {}
        Ok(Sent::Cut) => connection.tell(&Fault::AnswerTimeout),
    }
    drop(response);
    let _ = timeout(BODY_TIMEOUT, discard(body)).await;
}

/// What decides, and the body. The headers end here: a few octets of compressed ones can stand for
/// megabytes, which must not wait with the request.
fn take_apart(request: Request<h2::RecvStream>) -> (Exchange, h2::RecvStream) {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let exchange = Exchange {
        method: parts.method.to_string(),
        http_version: "HTTP/2.0",
        route: router::route_target(parts.method.as_str().as_bytes(), target.as_bytes()),
    };
    (exchange, body)
}

/// Takes in what is left of a request's body: giving up the stream before its end would make the
/// client see an error although it has the answer. Bounded like a body of HTTP/1.1.
async fn discard(mut body: h2::RecvStream) {
    let mut total = 0;
    while total <= DISCARDED_BODY {
        let Some(Ok(piece)) = body.data().await else {
            return;
        };
        total += piece.len();
        if body.flow_control().release_capacity(piece.len()).is_err() {
            return;
        }
    }
}

/// How an answer ended.
enum Sent {
    /// It was given to the connection, to its end.
    Whole,
    /// The peer has ended the stream.
    Unwanted,
    /// The peer gave no window for the rest in time.
    Cut,
}

async fn send(
    respond: &mut SendResponse<Bytes>,
    response: &Response,
    head_only: bool,
    deadline: Instant,
) -> Result<Sent, h2::Error> {
    let body = response.body.as_ref();
    let mut head = http::Response::new(());
    *head.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::OK);
    let headers = head.headers_mut();
    for (name, value) in response.headers() {
        let name = header::HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    }
    if body.len() <= CONTENT_LENGTH_UP_TO {
        headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    if let Ok(date) = HeaderValue::from_str(&http_date()) {
        headers.insert(header::DATE, date);
    }
    let empty = head_only || body.is_empty();
    let mut stream = respond.send_response(head, empty)?;
    let mut rest = if empty { &[][..] } else { body };
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let window = std::future::poll_fn(|cx| stream.poll_capacity(cx));
        let limit = deadline
            .saturating_duration_since(Instant::now())
            .min(WINDOW_TIMEOUT);
        let granted = match limit {
            Duration::ZERO => None,
            limit => timeout(limit, window).await.ok(),
        };
        let n = match granted {
            Some(Some(granted)) => granted?.min(rest.len()),
            Some(None) => return Ok(Sent::Unwanted),
            None => {
                stream.send_reset(h2::Reason::CANCEL);
                return Ok(Sent::Cut);
            }
        };
        let (piece, after) = rest.split_at_checked(n).unwrap_or((rest, &[]));
        rest = after;
        // The frame owns its octets until they are encrypted; they are wiped then.
        stream.send_data(
            Bytes::from_owner(SecretBytes::from(piece.to_vec())),
            rest.is_empty(),
        )?;
    }
    Ok(Sent::Whole)
}
