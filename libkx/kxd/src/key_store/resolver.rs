//! Names to addresses by the system's resolver (hosts file, DNS, whatever is configured), with a
//! limit for everything: a dead DNS server delays those who ask for its names, nobody else.
//!
//! A look-up by the C library cannot be cancelled. So each runs in a thread of its own, and who
//! asks for a name that is being looked up already joins that one: there are never more threads
//! than names in the configuration, nor than [`THREADS`]. Nothing is remembered after an answer
//! has come: every request asks anew.

use std::collections::HashMap;
use std::net::ToSocketAddrs;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use kx_sys::peer;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How long one request waits for one name.
const NAME_LIMIT: Duration = Duration::from_secs(5);
/// How long one request waits for all of its names.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// Names that one request looks up at the same time.
const NAMES_AT_ONCE: usize = 8;
/// Look-ups at the same time, of all requests.
const THREADS: usize = 64;
/// Enough for the name service modules of the C library.
const STACK: usize = 1 << 20;

/// Not yet there, or the addresses as text; none at all if the look-up failed.
type Answer = Option<Arc<Vec<String>>>;
type Lookup = dyn Fn(&str) -> Vec<String> + Send + Sync;

/// Looks names up; a cheap handle, to be shared by everybody who does.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    lookup: Box<Lookup>,
    under_way: Mutex<HashMap<String, watch::Receiver<Answer>>>,
    threads: Arc<Semaphore>,
    name_limit: Duration,
}

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver::new()
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// The one for the whole process: its bounds count over all workers.
    pub fn system() -> &'static Resolver {
        static SYSTEM: OnceLock<Resolver> = OnceLock::new();
        SYSTEM.get_or_init(Resolver::new)
    }

    /// One that asks the system.
    #[must_use]
    pub fn new() -> Resolver {
        Resolver::with(system_lookup, NAME_LIMIT)
    }

    /// One that asks `lookup`, which may block, and gives up on a name after `name_limit`.
    #[must_use]
    pub fn with(
        lookup: impl Fn(&str) -> Vec<String> + Send + Sync + 'static,
        name_limit: Duration,
    ) -> Resolver {
        Resolver(Arc::new(Shared {
            lookup: Box::new(lookup),
            under_way: Mutex::default(),
            threads: Arc::new(Semaphore::new(THREADS)),
            name_limit,
        }))
    }

    /// All addresses of `name` as text in the original's manner; none if it cannot be resolved or not
    /// in time.
    pub async fn addresses(&self, name: &str) -> Vec<String> {
        let waiting = async {
            let mut answer = self.ask(name).await?;
            let ready = answer.wait_for(Option::is_some).await.ok()?;
            ready.as_ref().map(|addresses| addresses.to_vec())
        };
        tokio::time::timeout(self.0.name_limit, waiting)
            .await
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// Whether any of `names` has the address `peer`.
    pub(super) async fn any_is(&self, names: &[String], peer: &str) -> bool {
        let searching = async {
            let mut names = names.iter();
            let mut lookups = JoinSet::new();
            loop {
                while lookups.len() < NAMES_AT_ONCE {
                    let Some(name) = names.next().cloned() else {
                        break;
                    };
                    let resolver = self.clone();
                    lookups.spawn(async move { resolver.addresses(&name).await });
                }
                match lookups.join_next().await {
                    None => return false,
                    Some(Ok(addresses)) if addresses.iter().any(|address| address == peer) => {
                        return true;
                    }
                    Some(_) => {}
                }
            }
        };
        tokio::time::timeout(REQUEST_LIMIT, searching)
            .await
            .unwrap_or(false)
    }

    /// Joins the look-up of this name, or starts one as soon as there is a free thread.
    async fn ask(&self, name: &str) -> Option<watch::Receiver<Answer>> {
        if let Some(answer) = self.joined(name) {
            return Some(answer);
        }
        let permit = Arc::clone(&self.0.threads).acquire_owned().await.ok()?;
        let sender = {
            let mut under_way = self
                .0
                .under_way
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Somebody else may have asked while we waited for the permit.
            if let Some(answer) = under_way.get(name) {
                return Some(answer.clone());
            }
            let (sender, receiver) = watch::channel(None);
            under_way.insert(name.to_owned(), receiver);
            sender
        };
        let receiver = sender.subscribe();
        let (shared, owned) = (Arc::clone(&self.0), name.to_owned());
        let thread = std::thread::Builder::new()
            .name("resolver".into())
            .stack_size(STACK);
        let started = thread.spawn(move || {
            let _permit = permit;
            let _entry = Entry {
                shared: &shared,
                name: &owned,
            };
            let addresses = (shared.lookup)(&owned);
            let _ = sender.send(Some(Arc::new(addresses)));
        });
        if started.is_err() {
            // Out of threads: as if the name did not exist. The closure is gone, and with it the sender.
            drop(Entry {
                shared: &self.0,
                name,
            });
            return None;
        }
        Some(receiver)
    }

    fn joined(&self, name: &str) -> Option<watch::Receiver<Answer>> {
        self.0
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }
}

/// Takes the look-up off the list, even if it panics.
struct Entry<'a> {
    shared: &'a Shared,
    name: &'a str,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.shared
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(self.name);
    }
}

fn system_lookup(name: &str) -> Vec<String> {
    let found = (name, 0u16).to_socket_addrs();
    let mut addresses: Vec<String> = Vec::new();
    for address in found.into_iter().flatten() {
        let text = peer::ip_text(&address);
        if !addresses.contains(&text) {
            addresses.push(text);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_store::AllowedHosts;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime")
            .block_on(future)
    }

    /// `dead*` hangs for a while, `box` has an address, all others have none.
    fn slow(counter: &Arc<AtomicUsize>, limit: Duration) -> Resolver {
        let counter = Arc::clone(counter);
        let lookup = move |name: &str| {
            counter.fetch_add(1, Ordering::SeqCst);
            if name.starts_with("dead") {
                std::thread::sleep(Duration::from_secs(3));
            }
            if name == "box" {
                vec!["192.0.2.1".to_owned()]
            } else {
                Vec::new()
            }
        };
        Resolver::with(lookup, limit)
    }

    #[test]
    fn the_systems_names_resolve() {
        let addresses = run(Resolver::new().addresses("localhost"));
        assert!(
            addresses
                .iter()
                .any(|address| address == "127.0.0.1" || address == "::1"),
            "{addresses:?}"
        );
        assert!(run(Resolver::new().addresses("no-such-host.invalid")).is_empty());
    }

    #[test]
    fn a_dead_server_delays_only_who_needs_it() {
        let counter = Arc::new(AtomicUsize::new(0));
        let resolver = slow(&counter, Duration::from_millis(300));
        let start = Instant::now();
        run(async {
            let stuck = AllowedHosts::parse(b"dead1\ndead2\n");
            let good = AllowedHosts::parse(b"dead1\nbox\n");
            let literal = AllowedHosts::parse(b"dead1\n192.0.2.1\n");
            let quick = async {
                literal
                    .check("192.0.2.1", &resolver)
                    .await
                    .expect("the address itself");
                assert!(start.elapsed() < Duration::from_millis(200), "not asked");
                good.check("192.0.2.1", &resolver)
                    .await
                    .expect("the first that fits");
                assert!(
                    start.elapsed() < Duration::from_millis(250),
                    "not waited for"
                );
            };
            let (refused, ()) = tokio::join!(stuck.check("192.0.2.1", &resolver), quick);
            refused.expect_err("no answer is no");
        });
        let took = start.elapsed();
        assert!(
            took >= Duration::from_millis(300) && took < Duration::from_secs(2),
            "{took:?}"
        );
    }

    #[test]
    fn a_name_is_asked_for_once_at_a_time_and_anew_afterwards() {
        let counter = Arc::new(AtomicUsize::new(0));
        let resolver = slow(&counter, Duration::from_millis(100));
        run(async {
            for _ in 0..5 {
                assert!(resolver.addresses("dead").await.is_empty());
            }
            assert_eq!(counter.load(Ordering::SeqCst), 1, "the others joined");
            for _ in 0..3 {
                assert_eq!(resolver.addresses("box").await, ["192.0.2.1"]);
                // The answer is there a moment before the thread takes its name off the list.
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            assert_eq!(counter.load(Ordering::SeqCst), 4, "nothing is remembered");
        });
    }

    #[test]
    fn a_panic_in_a_lookup_is_no_answer() {
        let resolver = Resolver::with(|_| panic!("in the C library"), Duration::from_secs(2));
        let start = Instant::now();
        run(async {
            assert!(resolver.addresses("x").await.is_empty());
            assert!(resolver.addresses("x").await.is_empty());
        });
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "the sender is gone: no wait"
        );
    }

    #[test]
    fn many_names_do_not_mean_many_threads() {
        let most = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let lookup = move |_: &str| {
            let now = seen.0.fetch_add(1, Ordering::SeqCst) + 1;
            seen.1.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            seen.0.fetch_sub(1, Ordering::SeqCst);
            Vec::new()
        };
        let resolver = Resolver::with(lookup, Duration::from_secs(5));
        let names: Vec<String> = (0..100).map(|number| format!("h{number}")).collect();
        assert!(!run(resolver.any_is(&names, "192.0.2.1")));
        assert!(most.1.load(Ordering::SeqCst) <= NAMES_AT_ONCE);
    }
}
