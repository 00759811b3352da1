//! Public-key work in threads of its own, so that the one that talks to the network never waits for it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use ike::job::{Job, JobId, JobResult};
use kx_crypto::key_exchange_group::Group;
use rustix::event::EventfdFlags;

/// Jobs that wait for each thread; the engine keeps the others.
const WAITING: usize = 64;

#[derive(Default)]
struct Work {
    jobs: VecDeque<(JobId, Job)>,
    results: Vec<(JobId, JobResult)>,
    ended: bool,
}

struct Shared {
    work: Mutex<Work>,
    come: Condvar,
    /// Readable while there are results.
    done: OwnedFd,
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        // A thread that panicked did so outside of the lock.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Jobs whose result was not taken.
    outstanding: usize,
}

impl Workers {
    /// Starts `count` of them, with the signals blocked that are blocked here. Each does `first` first.
    ///
    /// # Errors
    /// The system's.
    pub fn start(count: usize, first: fn()) -> io::Result<Workers> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let mut workers = Workers {
            shared: Arc::new(Shared {
                work: Mutex::default(),
                come: Condvar::new(),
                done: rustix::event::eventfd(0, flags)?,
            }),
            threads: Vec::new(),
            outstanding: 0,
        };
        for _ in 0..count.max(1) {
            let shared = Arc::clone(&workers.shared);
            let thread = std::thread::Builder::new().name("isakmpd-crypto".to_owned());
            workers.threads.push(thread.spawn(move || {
                first();
                // What the library and we make at the first use is made before a peer waits for it.
                let _ = Job::Generate(Group::Modp2048).run();
                run(&shared);
            })?);
        }
        Ok(workers)
    }

    /// Whether another job may be handed in.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.outstanding < self.threads.len().saturating_mul(WAITING)
    }

    /// Hands a job in.
    pub fn submit(&mut self, id: JobId, job: Job) {
        self.outstanding = self.outstanding.saturating_add(1);
        self.shared.work().jobs.push_back((id, job));
        self.shared.come.notify_one();
    }

    /// The results that are there.
    pub fn results(&mut self) -> Vec<(JobId, JobResult)> {
        let mut count = [0; 8];
        // Nothing to read is nothing done.
        let _ = rustix::io::read(&self.shared.done, &mut count);
        let results = std::mem::take(&mut self.shared.work().results);
        self.outstanding = self.outstanding.saturating_sub(results.len());
        results
    }
}

impl AsFd for Workers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.done.as_fd()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        {
            let mut work = self.shared.work();
            work.ended = true;
            work.jobs.clear();
        }
        self.shared.come.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared) {
    loop {
        let (id, job) = {
            let mut work = shared.work();
            loop {
                if work.ended {
                    return;
                }
                match work.jobs.pop_front() {
                    Some(job) => break job,
                    None => {
                        work = shared
                            .come
                            .wait(work)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                }
            }
        };
        // A panic is an error of the library's or ours; the negotiation fails, the daemon goes on.
        let result = catch_unwind(AssertUnwindSafe(|| job.run())).unwrap_or(JobResult::Failed);
        shared.work().results.push((id, result));
        // It cannot be full: it is read before it counts to 2^64.
        let _ = rustix::io::write(&shared.done, &1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ike::credentials::{CredentialError, Signer};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    struct Reverse;

    impl Signer for Reverse {
        fn signature_len(&self) -> usize {
            1
        }

        fn sign(&self, hash: &[u8]) -> Result<Vec<u8>, CredentialError> {
            assert!(!hash.is_empty(), "a job that panics");
            Ok(hash.iter().rev().copied().collect())
        }
    }

    #[test]
    fn jobs_are_done_and_a_panic_is_a_failure() {
        let mut workers = Workers::start(2, || {}).expect("started");
        let signer = Arc::new(Reverse);
        for number in 0..10 {
            assert!(workers.has_room());
            let hash = vec![1; number];
            workers.submit(JobId(number as u64), Job::Sign(signer.clone(), hash));
        }
        let mut done = Vec::new();
        let patience = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        while done.len() < 10 {
            let mut wanted = [PollFd::new(&workers, PollFlags::IN)];
            assert_eq!(poll(&mut wanted, Some(&patience)), Ok(1));
            done.extend(workers.results());
        }
        done.sort_by_key(|one| one.0);
        for (id, result) in done {
            match result {
                JobResult::Failed => assert_eq!(id, JobId(0)),
                JobResult::Signed(Ok(signature)) => assert_eq!(signature.len() as u64, id.0),
                _ => panic!("another result"),
            }
        }
        assert_eq!(workers.outstanding, 0);
        assert!(workers.results().is_empty());
    }

    #[test]
    fn room_ends() {
        let mut workers = Workers::start(1, || {}).expect("started");
        let mut count = 0u64;
        while workers.has_room() {
            workers.submit(JobId(count), Job::Sign(Arc::new(Reverse), vec![1]));
            count += 1;
        }
        assert_eq!(count, WAITING as u64);
    }
}
