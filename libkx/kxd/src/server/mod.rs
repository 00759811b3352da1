//! The daemon: listening socket, worker threads, signals.
//!
//! Each worker runs a single-threaded tokio runtime and accepts from the one listening socket, so a
//! connection lives on one thread and never waits for another. What is slow by nature (hook, mail,
//! name look-ups) is awaited, never blocked on.

mod accept;
mod connection;
mod fault;
mod http1;
mod http2;
mod listen_address;
mod signals;
mod startup;

pub use startup::{VERSION, run};

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use kx_log::golog::GoLog;
use kx_sys::notify::Notifier;
use tokio::sync::Semaphore;

use crate::access_log::AccessLog;
use crate::key_store::KeyStore;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::tls::{IntermediateMemory, ServerContext};
use crate::turns::Turns;

/// Hooks that run at once, over all workers and for one client; further requests wait their turn
/// (and not longer than [`HOOK_QUEUE_WAIT`]).
const HOOKS_AT_ONCE: usize = 64;
const HOOKS_AT_ONCE_PER_CLIENT: usize = 16;

/// How long a request waits for its turn to run the hook before it is refused.
pub(crate) const HOOK_QUEUE_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// Mails under way at once, over all workers and for one client.
const MAILS_AT_ONCE: usize = 64;
const MAILS_AT_ONCE_PER_CLIENT: usize = 16;

/// Request headers above [`LARGE_HEAD`] that may arrive at once. The original takes a megabyte from
/// anybody; so do we, but not from everybody at the same time.
const LARGE_HEADS_AT_ONCE: usize = 64;

/// A request header above this many octets is a large one.
pub(crate) const LARGE_HEAD: usize = 64 * 1024;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) log: GoLog,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) keys: KeyStore,
    pub(crate) intermediates: IntermediateMemory,
    pub(crate) hooks: Turns,
    pub(crate) mails: Turns,
    pub(crate) large_heads: Semaphore,
    notifier: Notifier,
    tls: RwLock<Arc<ServerContext>>,
}

impl Shared {
    fn new(
        options: Options,
        log: GoLog,
        tls: ServerContext,
        access_log: Option<AccessLog>,
    ) -> Self {
        Shared {
            keys: KeyStore::new(&options.data_dir),
            limits: Limits::new(
                options.max_connections,
                options.max_connections_per_addr,
                options.rate_limit,
            ),
            options,
            log,
            access_log,
            metrics: Arc::new(Metrics::default()),
            intermediates: IntermediateMemory::default(),
            hooks: Turns::new(HOOKS_AT_ONCE, HOOKS_AT_ONCE_PER_CLIENT),
            mails: Turns::new(MAILS_AT_ONCE, MAILS_AT_ONCE_PER_CLIENT),
            large_heads: Semaphore::new(LARGE_HEADS_AT_ONCE),
            notifier: Notifier::from_environment(),
            tls: RwLock::new(Arc::new(tls)),
        }
    }

    /// Certificate and key as of the last (re)load; a connection keeps the one it began with.
    fn tls(&self) -> Arc<ServerContext> {
        Arc::clone(&self.tls.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace_tls(&self, context: ServerContext) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(context);
    }
}

/// Who is at the other end, as the log, the hook and the mail show it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// The address; an IPv4 client of a dual-stack socket has its IPv4 address.
    pub(crate) addr: SocketAddr,
    /// Without the port: what `allowed_hosts` is compared with. A zone stands by its name.
    pub(crate) host: String,
    /// `host:port`, IPv6 in brackets.
    pub(crate) text: String,
}

impl Peer {
    fn new(addr: SocketAddr) -> Peer {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let zone = match addr {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(zone_name(v6.scope_id())),
            _ => None,
        };
        let host = match zone {
            Some(zone) => format!("{}%{zone}", addr.ip()),
            None => addr.ip().to_string(),
        };
        let text = match addr {
            SocketAddr::V4(_) => format!("{host}:{}", addr.port()),
            SocketAddr::V6(_) => format!("[{host}]:{}", addr.port()),
        };
        Peer { addr, host, text }
    }
}

/// The zone of a link-local address as the original prints it: the interface's name, else its number.
fn zone_name(index: u32) -> String {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    socket(AddressFamily::INET, SocketType::DGRAM, None)
        .and_then(|any| netdevice::index_to_name(&any, index))
        .unwrap_or_else(|_| index.to_string())
}
