//! Moves octets between a protocol machine and a blocking connection, and keeps the machine's time.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use inferno_auth::{login, session};

/// How long a peer may take to take what we send.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// What is read at once: a record of 9P's usual size and its neighbours.
const READ_LEN: usize = 16 * 1024;

/// What the machines of `inferno_auth` have in common.
pub trait Machine {
    /// Octets of the peer.
    fn receive(&mut self, now: Instant, octets: &[u8]);
    /// The peer says no more.
    fn receive_end(&mut self, now: Instant);
    /// Appends what the peer is to get.
    fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool;
    /// When to call [`handle_timeout`](Machine::handle_timeout).
    fn poll_timeout(&self) -> Option<Instant>;
    /// Time has passed.
    fn handle_timeout(&mut self, now: Instant);
}

/// The methods of those names, which each machine has.
macro_rules! machine {
    ($machine:ty, receive_end($($now:ident)?)) => {
        impl Machine for $machine {
            fn receive(&mut self, now: Instant, octets: &[u8]) {
                Self::receive(self, now, octets);
            }
            fn receive_end(&mut self, _now: Instant) {
                $(let $now = _now;)?
                Self::receive_end(self $(, $now)?);
            }
            fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
                Self::poll_transmit(self, out)
            }
            fn poll_timeout(&self) -> Option<Instant> {
                Self::poll_timeout(self)
            }
            fn handle_timeout(&mut self, now: Instant) {
                Self::handle_timeout(self, now);
            }
        }
    };
}

machine!(session::Session, receive_end(now));
machine!(login::Server, receive_end());
machine!(login::Client, receive_end());

/// A machine at a connection.
pub struct Driver<M> {
    /// It.
    pub machine: M,
    connection: TcpStream,
    out: Vec<u8>,
    input: Box<[u8]>,
    /// What reading is limited to at the moment.
    limit: Option<Duration>,
    /// Our own end of all waiting, beside the machine's.
    deadline: Option<Instant>,
    peer_is_gone: bool,
}

impl<M: Machine> Driver<M> {
    /// Joins them.
    ///
    /// # Errors
    /// The system's.
    pub fn new(machine: M, connection: TcpStream) -> io::Result<Self> {
        connection.set_write_timeout(Some(WRITE_TIME))?;
        connection.set_read_timeout(None)?;
        // Fails on a Unix socket, which has nothing to hold back.
        let _ = connection.set_nodelay(true);
        Ok(Self {
            machine,
            connection,
            out: Vec::new(),
            input: vec![0; READ_LEN].into_boxed_slice(),
            limit: None,
            deadline: None,
            peer_is_gone: false,
        })
    }

    /// Parts them, with all sent that there was to send. The connection may have a time limit for
    /// reading and writing.
    pub fn into_parts(mut self) -> (M, TcpStream) {
        self.flush();
        (self.machine, self.connection)
    }

    /// Nothing waits beyond this instant, in addition to what the machine wants.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Sends what the machine has to say. A peer that takes nothing more is found out about when it
    /// is read from: what it has said before may explain it.
    pub fn flush(&mut self) {
        while self.machine.poll_transmit(&mut self.out) {}
        if !self.out.is_empty() && !self.peer_is_gone {
            self.peer_is_gone = self.connection.write_all(&self.out).is_err();
        }
        self.out.clear();
    }

    /// Sends what there is to send, and waits for the peer or for the machine's time. Call it when the
    /// machine has no event. The machine hears of the end of the connection as often as it is met.
    ///
    /// # Errors
    /// `TimedOut` at the deadline of [`set_deadline`](Self::set_deadline).
    pub fn wait(&mut self) -> io::Result<()> {
        self.flush();
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let until = match (self.machine.poll_timeout(), self.deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let left = until.map(|until| until.saturating_duration_since(now));
        if left.is_some_and(|left| left.is_zero()) {
            self.machine.handle_timeout(now);
            return Ok(());
        }
        self.limit_reading(left)?;
        match self.connection.read(&mut self.input) {
            Ok(0) => self.machine.receive_end(Instant::now()),
            Ok(count) => {
                let octets = self.input.get(..count).unwrap_or_default();
                self.machine.receive(Instant::now(), octets);
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    self.machine.handle_timeout(Instant::now());
                }
                io::ErrorKind::Interrupted => {}
                _ => self.machine.receive_end(Instant::now()),
            },
        }
        Ok(())
    }

    /// Sets the time limit of a read, unless the one that is set is nearly as good: a read that ends
    /// too early is begun again, and a little later does not matter. An idle limit that begins anew
    /// with each record is then set once.
    fn limit_reading(&mut self, left: Option<Duration>) -> io::Result<()> {
        let good = match (self.limit, left) {
            (None, None) => true,
            (Some(limit), Some(left)) => left / 2 <= limit && limit <= left + left / 16,
            _ => false,
        };
        if !good {
            // A limit of nothing would be no limit.
            let limit = left.map(|left| left.max(Duration::from_millis(1)));
            self.connection.set_read_timeout(limit)?;
            self.limit = limit;
        }
        Ok(())
    }

    /// Tells the peer that nothing more comes, so that it reads our last words to their end.
    pub fn end_sending(&mut self) {
        self.flush();
        let _ = self.connection.shutdown(Shutdown::Write);
    }

    /// Listens for at most this long to a peer that has been told the last word: closing while it
    /// still talks could take the word from it.
    pub fn drain(&mut self, time: Duration) {
        self.end_sending();
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.connection.set_read_timeout(Some(left)).is_err() {
                return;
            }
            match self.connection.read(&mut self.input) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}
