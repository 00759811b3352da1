//! HTTP/1.1 on an established connection: moves octets between TLS and the machine of `kx-http`.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use kx_crypto::secret::SecretBytes;
use kx_http::router;
use kx_http::server::{Connection, Limits, Request, Step};
use tokio::time::{Instant, timeout};

use super::LARGE_HEAD;
use super::connection::Established;
use super::fault::{self, Fault};
use crate::clock::http_date;
use crate::handler::{self, Caller, Exchange};

/// How long a peer may take to read a piece of an answer; for the whole see [`crate::options::Options::answer_limit`].
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection is idle before it gives memory back that it may need no more.
const REST_AFTER: Duration = Duration::from_millis(200);

/// Octets read at once; one buffer per worker, not per connection.
const READ_SIZE: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

/// Serves requests until the peer closes, errs or is too slow.
pub(super) async fn serve(mut established: Established) {
    let mut http = Connection::new(Limits::default());
    // When this is reached the connection ends; `None` while waiting for a first octet.
    let mut header_deadline = None;
    let shared = Arc::clone(&established.shared);
    // Octets of the header that is arriving, and its place among the large ones once it is one.
    let mut head_octets = 0;
    let mut large_head = None;
    // Whether the connection has been idle for so long that it has given back what it can.
    let mut at_rest = false;
    loop {
        match http.poll() {
            Step::NeedInput => {
                let options = &shared.options;
                let limit = if http.is_idle() {
                    header_deadline = None;
                    if at_rest {
                        options.idle_timeout.saturating_sub(REST_AFTER)
                    } else {
                        REST_AFTER.min(options.idle_timeout)
                    }
                } else {
                    let now = Instant::now();
                    let deadline = *header_deadline.get_or_insert(now + options.header_timeout);
                    deadline.saturating_duration_since(now)
                };
                let n = match read(&mut established, &mut http, limit).await {
                    Ok(n) => n,
                    Err(ReadError::Timeout) if http.is_idle() && !at_rest => {
                        established.forget_client();
                        at_rest = true;
                        continue;
                    }
                    Err(ReadError::Timeout) if !http.is_idle() => {
                        tell(&mut established, &Fault::HeaderTimeout);
                        break;
                    }
                    Err(_) => break,
                };
                head_octets += n;
                if head_octets > LARGE_HEAD && large_head.is_none() {
                    let Ok(place) = shared.large_heads.try_acquire() else {
                        tell(&mut established, &Fault::LargeHeaders);
                        break;
                    };
                    large_head = Some(place);
                }
            }
            Step::Request(request) => {
                header_deadline = None;
                at_rest = false;
                head_octets = 0;
                large_head = None;
                if !Box::pin(answer(&mut established, &mut http, request)).await {
                    break;
                }
            }
            Step::Reject(reject) => {
                if let Some(status) = reject.status {
                    tell(&mut established, &Fault::Malformed(status));
                }
                let sent = write(&mut established, &reject.bytes).await;
                if reject.linger && sent.is_ok() {
                    linger(&mut established).await;
                }
                break;
            }
        }
    }
    established.tls.close();
}

/// Answers one request; tells whether the connection goes on.
async fn answer(established: &mut Established, http: &mut Connection, request: Request) -> bool {
    if let Some(interim) = http.poll_interim()
        && write(established, interim).await.is_err()
    {
        return false;
    }
    // A body that the request announced is taken in first, within one header's time.
    let limit = established.shared.options.header_timeout;
    let deadline = Instant::now() + limit;
    while !http.ready_to_respond() {
        let rest = deadline.saturating_duration_since(Instant::now());
        match read(established, http, rest).await {
            Ok(_) => {}
            Err(why) => {
                if let ReadError::Timeout = why {
                    tell(established, &Fault::BodyTimeout);
                }
                return false;
            }
        }
    }
    let Ok(client) = established.client().map(|c| c.cloned()) else {
        return false;
    };
    let exchange = Exchange {
        method: String::from_utf8_lossy(&request.method).into_owned(),
        http_version: if request.version.minor == 0 {
            "HTTP/1.0"
        } else {
            "HTTP/1.1"
        },
        route: router::route(&request),
    };
    let caller = Caller {
        peer: &established.peer,
        client: client.as_ref(),
        tls_version: established.tls.ssl().version_str(),
    };
    let response = handler::respond(&established.shared, &caller, exchange).await;
    // Made anew for each answer: an idle connection holds no buffer, and no key.
    let mut out = SecretBytes::default();
    http.respond(&response, &http_date(), &mut out);
    drop(response);
    let limit = established.shared.options.answer_limit(out.len());
    let sent = match timeout(limit, write(established, out.as_slice())).await {
        Ok(sent) => sent,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    if let Err(e) = sent {
        if e.kind() == io::ErrorKind::TimedOut {
            tell(established, &Fault::AnswerTimeout);
        }
        return false;
    }
    if !http.keep_alive() && http.linger() {
        linger(established).await;
    }
    http.keep_alive()
}

/// Why there is nothing to go on with.
enum ReadError {
    /// Nothing came in time.
    Timeout,
    /// The peer is gone, or sends what nobody asked for.
    Broken,
}

/// One read into the machine, and how many octets it gave.
async fn read(
    established: &mut Established,
    http: &mut Connection,
    limit: Duration,
) -> Result<usize, ReadError> {
    let read = poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let n = ready!(established.tls.poll_read_slice(cx, scratch))?;
            let bytes = scratch.get(..n).unwrap_or_default();
            if bytes.is_empty() {
                http.handle_eof();
                return Poll::Ready(Ok(0));
            }
            Poll::Ready(
                http.handle_input(bytes)
                    .map(|()| n)
                    .map_err(io::Error::other),
            )
        })
    });
    match timeout(limit, read).await {
        Ok(read) => read.map_err(|_| ReadError::Broken),
        Err(_) => Err(ReadError::Timeout),
    }
}

fn tell(established: &mut Established, fault: &Fault) {
    let client = established.client().ok().flatten().cloned();
    let caller = Caller {
        peer: &established.peer,
        client: client.as_ref(),
        tls_version: established.tls.ssl().version_str(),
    };
    fault::tell(&established.shared, &caller, fault);
}

async fn write(established: &mut Established, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let piece = poll_fn(|cx| established.tls.poll_write_slice(cx, bytes));
        let n = timeout(WRITE_TIMEOUT, piece)
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        bytes = bytes.get(n..).unwrap_or_default();
    }
    Ok(())
}

/// After refusing a request whose rest may still be on its way: half-close and let the peer read the
/// answer, as the original does (half a second).
async fn linger(established: &mut Established) {
    const LINGER: Duration = Duration::from_millis(500);
    established.tls.close();
    let discard = async {
        loop {
            let more = poll_fn(|cx| {
                SCRATCH.with_borrow_mut(|scratch| established.tls.poll_read_slice(cx, scratch))
            });
            match more.await {
                Ok(n) if n > 0 => {}
                _ => return,
            }
        }
    };
    let _ = timeout(LINGER, discard).await;
}
