//! Accepting connections, also when descriptors run out.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::{Peer, Shared, connection};
use crate::log_source as at;

/// The first pause after a failed accept; it doubles up to [`LONGEST_PAUSE`], as the original's.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts until the process ends, one task a connection.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let mut pause = FIRST_PAUSE;
    loop {
        match listener.accept().await {
            Ok((tcp, addr)) => {
                pause = FIRST_PAUSE;
                tokio::spawn(connection::serve(Arc::clone(&shared), tcp, Peer::new(addr)));
                // The new connection's handshake goes first, so that several workers share a burst.
                tokio::task::yield_now().await;
            }
            // The peer gave up before it was accepted; the next one may be fine.
            Err(e) if is_about_one_peer(&e) => {}
            Err(e) => {
                let addr = listener
                    .local_addr()
                    .map(|a| a.to_string())
                    .unwrap_or_default();
                shared.log.line(
                    at::ACCEPT,
                    format_args!(
                        "http: Accept error: accept tcp {addr}: accept4: {}; retrying in {}",
                        kx_log::golog::format_errno(&e),
                        in_milliseconds(pause),
                    ),
                );
                shared.metrics.accept_error();
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn is_about_one_peer(e: &std::io::Error) -> bool {
    use std::io::ErrorKind as K;
    matches!(
        e.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::Interrupted
    )
}

/// A duration of 5 ms to 1 s as Go prints it.
fn in_milliseconds(d: Duration) -> String {
    if d >= Duration::from_secs(1) {
        "1s".to_owned()
    } else {
        format!("{}ms", d.as_millis())
    }
}
