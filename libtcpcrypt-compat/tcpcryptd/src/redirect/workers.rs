//! The threads that carry, as the one sees them that has the endpoint.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rustix::fd::{AsFd, BorrowedFd};

use super::buffers::Buffers;
use super::connection::Connection;
use super::mailbox::Mailbox;
use super::table::Key;
use super::worker::{Order, Report, Worker};

/// Connections that wait for a thread to take them, at most. With more the thread has enough to do.
const WAITING: usize = 256;

/// All of them.
pub(super) struct Workers {
    hired: Vec<Hired>,
    reports: Arc<Mailbox<Report>>,
}

struct Hired {
    orders: Arc<Mailbox<Order>>,
    thread: Option<JoinHandle<()>>,
    /// Connections that it has or will have.
    carries: usize,
    is_gone: bool,
}

impl Workers {
    /// Starts so many threads. Each gives up rights by itself; `said` is told of the first.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn start(count: usize, said: impl FnOnce(&str)) -> io::Result<Workers> {
        let mut workers = Workers {
            hired: Vec::new(),
            reports: Arc::new(Mailbox::new()?),
        };
        let (confined, all_confined) = mpsc::channel();
        for index in 0..count {
            let orders = Arc::new(Mailbox::new()?);
            let buffers = Buffers::shared_by(count);
            let reports = Arc::clone(&workers.reports);
            let worker = Worker::new(index, Arc::clone(&orders), reports, buffers)?;
            let confined = confined.clone();
            let thread = std::thread::Builder::new().name(format!("carry-{index}"));
            let thread = thread.spawn(move || {
                let _ = confined.send(Worker::confine());
                // Before it works: nobody is waiting for it any more.
                drop(confined);
                // Why it ended is of no use to anybody; that it did is reported.
                let _ = worker.run();
            })?;
            workers.hired.push(Hired {
                orders,
                thread: Some(thread),
                carries: 0,
                is_gone: false,
            });
        }
        drop(confined);
        let reports: Vec<String> = all_confined.iter().collect();
        if let Some(first) = reports.first() {
            said(first);
        }
        Ok(workers)
    }

    /// The thread that has the least to carry, if it can take one more.
    pub(super) fn free(&self) -> Option<usize> {
        let living = self.hired.iter().enumerate().filter(|(_, it)| !it.is_gone);
        let (index, least) = living.min_by_key(|(_, it)| it.carries)?;
        (least.orders.len() < WAITING).then_some(index)
    }

    /// Gives it a connection. Only after [`free`](Self::free) has named it: nobody else gives it any.
    pub(super) fn give(&mut self, index: usize, key: Key, connection: Box<Connection>) {
        if let Some(hired) = self.hired.get_mut(index) {
            hired.carries = hired.carries.saturating_add(1);
            hired.orders.post(Order::Carry(key, connection));
        }
    }

    /// One of a thread's connections is known no more. With `tell` that thread is to reset it.
    pub(super) fn ended(&mut self, index: usize, key: Key, tell: bool) {
        if let Some(hired) = self.hired.get_mut(index) {
            hired.carries = hired.carries.saturating_sub(1);
            if tell {
                hired.orders.post(Order::End(key));
            }
        }
    }

    /// Whether the threads have told something.
    pub(super) fn have_told(&self) -> bool {
        self.reports.len() > 0
    }

    /// What the threads have told.
    pub(super) fn reports(&self) -> impl Iterator<Item = Report> + use<> {
        self.reports.take().into_iter()
    }

    /// A thread has ended: returns the connections that it did not take any more.
    pub(super) fn gone(&mut self, index: usize) -> Vec<(Key, Box<Connection>)> {
        let Some(hired) = self.hired.get_mut(index) else {
            return Vec::new();
        };
        hired.is_gone = true;
        let left = hired.orders.take().into_iter();
        let left = left.filter_map(|order| match order {
            Order::Carry(key, connection) => Some((key, connection)),
            _ => None,
        });
        left.collect()
    }

    /// How many connections each carries.
    pub(super) fn carried(&self) -> impl Iterator<Item = usize> + '_ {
        self.hired.iter().map(|it| it.carries)
    }

    /// Resets what the threads carry and ends them.
    pub(super) fn stop(&mut self) {
        for hired in &self.hired {
            hired.orders.post(Order::Stop);
        }
        for hired in &mut self.hired {
            if let Some(thread) = hired.thread.take() {
                // One that panicked has reset its connections, too.
                let _ = thread.join();
            }
        }
        self.hired.clear();
    }
}

impl AsFd for Workers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reports.as_fd()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::Duration;

    use kx_sys::tcp_proxy::ProxySocket;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use tcpcrypt_proto::endpoint::Fate;
    use tcpcrypt_proto::packet::{FourTuple, Seq};
    use tcpcrypt_proto::stream::{Settled, Stream};

    use super::super::connection::{Held, Redirected, Sign, Way};
    use super::super::end::End;
    use super::*;

    fn key(number: u64) -> Key {
        Key::of_token(1 << 32 | number << 1).0
    }

    /// One end, and who is at the other.
    pub(in super::super) fn end() -> (End, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let to = listener.local_addr().expect("address");
        let socket = ProxySocket::connect(None, to, 0, false).expect("begun");
        let (peer, _) = listener.accept().expect("accepted");
        let limit = Some(Duration::from_secs(5));
        peer.set_read_timeout(limit).expect("set");
        peer.set_write_timeout(limit).expect("set");
        (End::new(socket), peer)
    }

    /// A plain one that stands, as the handshake leaves it.
    pub(in super::super) fn connection(near: Option<End>, far: Option<End>) -> Box<Connection> {
        let end = "10.0.0.1:1".parse().expect("address");
        let tuple = FourTuple {
            local: end,
            remote: end,
        };
        Box::new(Connection {
            way: Way::Out,
            redirected: Redirected {
                here: end,
                opener: end,
            },
            listed: tuple,
            alias: None,
            onward: tuple,
            near,
            far,
            held: Held {
                id: None,
                packet: Vec::new(),
            },
            connected: true,
            sign: Sign::None,
            client: None,
            server: None,
            agreed: Settled::Plain,
            following: None,
            numbers: (Seq(0), Seq(0)),
            sack: true,
            stream: Some(Stream::plain()),
            partial: Vec::new(),
            unread: Vec::new(),
            quirk: None,
            deadline: None,
            queued: false,
            fate: Fate::Plain,
        })
    }

    /// A thread carries a connection between these two.
    fn given(workers: &mut Workers, number: u64) -> (TcpStream, TcpStream) {
        let ((near, left), (far, right)) = (end(), end());
        let free = workers.free().expect("room");
        workers.give(free, key(number), connection(Some(near), Some(far)));
        (left, right)
    }

    fn talk(mut from: &TcpStream, mut to: &TcpStream) {
        let text = vec![7; 300_000];
        std::thread::scope(|scope| {
            scope.spawn(|| from.write_all(&text).expect("written"));
            let mut got = vec![0; text.len()];
            to.read_exact(&mut got).expect("read");
            assert_eq!(got, text);
        });
    }

    fn next_reports(workers: &Workers) -> Vec<Report> {
        let timeout = Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(workers, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&timeout)), Ok(1), "no report");
        workers.reports().collect()
    }

    fn is_reset(mut stream: &TcpStream) -> bool {
        let end = stream.read(&mut [0; 4]).map_err(|error| error.kind());
        end == Err(io::ErrorKind::ConnectionReset)
    }

    fn start(count: usize) -> Workers {
        let mut said = String::new();
        let workers = Workers::start(count, |text| text.clone_into(&mut said)).expect("started");
        assert!(
            said.starts_with("no capabilities; no_new_privs on"),
            "{said}"
        );
        workers
    }

    #[test]
    fn connections_are_carried_on_all_threads_to_their_ends() {
        let mut workers = start(2);
        let pairs: Vec<_> = (0..4).map(|it| given(&mut workers, it)).collect();
        assert_eq!(workers.carried().collect::<Vec<_>>(), [2, 2]);
        for (left, right) in &pairs {
            talk(left, right);
            talk(right, left);
        }
        for (number, (left, right)) in (0..).zip(&pairs) {
            left.shutdown(Shutdown::Write).expect("open");
            assert_eq!((&*right).read(&mut [0; 4]).expect("the end"), 0);
            talk(right, left);
            right.shutdown(Shutdown::Write).expect("open");
            assert_eq!((&*left).read(&mut [0; 4]).expect("the end"), 0);
            assert_eq!(next_reports(&workers), [Report::Ended(key(number), None)]);
        }
        // One is reset by its peer, and one as was asked for, without a word.
        let (left, right) = given(&mut workers, 7);
        talk(&left, &right);
        rustix::net::sockopt::set_socket_linger(&left, Some(Duration::ZERO)).expect("set");
        drop(left);
        assert!(is_reset(&right));
        assert_eq!(next_reports(&workers), [Report::Ended(key(7), None)]);
        let index = workers.free().expect("room");
        let (left, right) = given(&mut workers, 8);
        talk(&left, &right);
        workers.ended(index, key(8), true);
        assert!(is_reset(&left) && is_reset(&right));
        assert_eq!(workers.reports().count(), 0);
    }

    #[test]
    fn a_thread_that_does_not_keep_up_gets_no_more_and_loses_nothing() {
        let mut workers = Workers {
            hired: vec![Hired {
                orders: Arc::new(Mailbox::new().expect("made")),
                thread: None,
                carries: 0,
                is_gone: false,
            }],
            reports: Arc::new(Mailbox::new().expect("made")),
        };
        let mut count = 0;
        while let Some(index) = workers.free() {
            assert!(count < 100_000, "no bound");
            workers.give(index, key(count), connection(None, None));
            count += 1;
        }
        assert_eq!(count, WAITING as u64);
        // What concerns those that it has is told all the same.
        workers.ended(0, key(0), true);
        let left = workers.gone(0);
        assert!(left.iter().map(|(key, _)| *key).eq((0..count).map(key)));
        assert_eq!(workers.free(), None);
    }

    #[test]
    fn a_thread_that_panics_resets_its_connections_and_says_so() {
        let mut workers = start(2);
        let (left, right) = given(&mut workers, 1);
        let (other_left, other_right) = given(&mut workers, 2);
        talk(&left, &right);
        workers.hired[0].orders.post(Order::Panic);
        assert_eq!(next_reports(&workers), [Report::Gone(0)]);
        assert!(is_reset(&left) && is_reset(&right));
        assert_eq!(workers.gone(0).len(), 0);
        assert_eq!(workers.free(), Some(1));
        talk(&other_left, &other_right);
        workers.stop();
        assert!(is_reset(&other_left) && is_reset(&other_right));
    }
}
