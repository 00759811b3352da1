//! The one loop: listeners, the sniffer, and connections that may each ask one thing.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use kx_sys::local_time::LocalTime;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use tcpcrypt::{Client, Ends, Opt};

use crate::conversation::{self, LONGEST, Request};
use crate::sniffed::{self, Offers, Ports};

/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);

/// Connections at a time; the oldest gives way to a new one.
const CONNECTIONS: usize = 512;

/// What is taken from the sniffer or a listener before others have their turn. SYNs come first, so
/// that they are known when their connections are.
const TURN: usize = 1024;

/// Room for a session id.
const ID_ROOM: usize = 64;

/// A connection that has not asked yet.
#[derive(Debug)]
struct Waiting {
    stream: TcpStream,
    peer: SocketAddr,
    port: u16,
    since: Instant,
    offered: bool,
    said: Vec<u8>,
}

/// Sockets that see SYNs, as far as there are any.
#[derive(Debug, Default)]
pub(crate) struct Sniffers {
    /// They come with their IP headers.
    pub(crate) v4: Option<OwnedFd>,
    /// They come without.
    pub(crate) v6: Option<OwnedFd>,
}

/// The test server.
#[derive(Debug)]
pub(crate) struct Server {
    sniffers: Sniffers,
    listeners: Vec<(TcpListener, u16)>,
    control: Client,
    offers: Offers,
    waiting: VecDeque<Waiting>,
}

/// How a turn with a connection ended.
enum Turn {
    Wait,
    Close,
    Answered(String),
}

impl Server {
    /// Over sockets that do not block. Without sniffers no SYN is seen.
    pub(crate) fn new(
        sniffers: Sniffers,
        listeners: Vec<(TcpListener, u16)>,
        control: Client,
    ) -> Self {
        Self {
            sniffers,
            listeners,
            control,
            offers: Offers::default(),
            waiting: VecDeque::new(),
        }
    }

    /// Waits for something to do, and does it; `log` gets a line for each answer.
    pub(crate) fn turn(&mut self, log: &mut impl FnMut(&str)) -> io::Result<()> {
        let listening = self.listeners.len();
        let mut sockets = Vec::with_capacity(1 + listening + self.waiting.len());
        sockets.extend(self.listeners.iter().map(|(l, _)| l.as_fd()));
        sockets.extend(self.waiting.iter().map(|w| w.stream.as_fd()));
        let sniffers = [&self.sniffers.v4, &self.sniffers.v6];
        sockets.extend(sniffers.into_iter().flatten().map(AsFd::as_fd));
        let mut polled: Vec<_> = sockets
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        match poll(&mut polled, Some(&self.patience(Instant::now()))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|p| !p.revents().is_empty()).collect();
        let now = Instant::now();
        self.sniff(now);
        // The order in which they were polled; new connections come behind them.
        let mut still = VecDeque::with_capacity(self.waiting.len());
        let turns = ready.get(listening..).unwrap_or_default();
        for (mut waiting, ready) in std::mem::take(&mut self.waiting).into_iter().zip(turns) {
            let turn = if *ready {
                self.serve(&mut waiting)
            } else if now.saturating_duration_since(waiting.since) > IDLE {
                Turn::Close
            } else {
                Turn::Wait
            };
            match turn {
                Turn::Wait => still.push_back(waiting),
                Turn::Close => {}
                Turn::Answered(line) => log(&line),
            }
        }
        self.waiting = still;
        for index in (0..listening).filter(|&i| ready.get(i) == Some(&true)) {
            self.accept(index, now);
        }
        Ok(())
    }

    /// Until the next connection has been idle for too long, at most; a little later.
    fn patience(&self, now: Instant) -> Timespec {
        let oldest = self.waiting.front().map_or(now, |w| w.since);
        let left = (oldest + IDLE).saturating_duration_since(now) + Duration::from_millis(1);
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        }
    }

    fn sniff(&mut self, now: Instant) {
        let of_packet: fn(&[u8]) -> Option<Ports> = sniffed::offer;
        let kinds = [
            (&self.sniffers.v4, of_packet),
            (&self.sniffers.v6, sniffed::offer_of_segment),
        ];
        // Headers of the largest size; what is behind them does not matter.
        let mut packet = [0; 120];
        for (sniffer, offer) in kinds {
            let Some(sniffer) = sniffer else {
                continue;
            };
            for _ in 0..TURN {
                match rustix::net::recv(sniffer, &mut packet[..], RecvFlags::DONTWAIT) {
                    Ok((len, _)) => {
                        let seen = packet.get(..len).unwrap_or_default();
                        if let Some(ports) = offer(seen) {
                            self.offers.add(now, ports);
                        }
                    }
                    Err(Errno::INTR) => {}
                    Err(_) => break,
                }
            }
        }
    }

    fn accept(&mut self, index: usize, now: Instant) {
        let Some((listener, port)) = self.listeners.get(index) else {
            return;
        };
        for _ in 0..TURN {
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    // Perhaps there are no descriptors: one becomes free, and nothing spins.
                    self.waiting.pop_front();
                    std::thread::sleep(Duration::from_millis(10));
                    return;
                }
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let offered = self.offers.take(
                now,
                Ports {
                    source: peer.port(),
                    destination: *port,
                },
            );
            if self.waiting.len() >= CONNECTIONS {
                self.waiting.pop_front();
            }
            self.waiting.push_back(Waiting {
                stream,
                peer,
                port: *port,
                since: now,
                offered,
                said: Vec::new(),
            });
        }
    }

    /// Reads what there is, and answers once it is a request.
    fn serve(&mut self, waiting: &mut Waiting) -> Turn {
        let mut buffer = [0; LONGEST + 1];
        match waiting.stream.read(&mut buffer) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Turn::Wait;
            }
            Ok(0) | Err(_) => return Turn::Close,
            Ok(len) => waiting
                .said
                .extend_from_slice(buffer.get(..len).unwrap_or_default()),
        }
        let number = match conversation::request(&waiting.said) {
            Request::Known(number) => number,
            Request::Begun => return Turn::Wait,
            Request::Unknown => return Turn::Close,
        };
        let encrypted = self.is_encrypted(&waiting.stream);
        // A socket that nothing was written to takes twenty octets.
        let answer = conversation::answer(waiting.offered);
        if !matches!(waiting.stream.write(&answer), Ok(len) if len == answer.len()) {
            return Turn::Close;
        }
        Turn::Answered(log_line(LocalTime::now(), waiting, number, encrypted))
    }

    fn is_encrypted(&mut self, stream: &TcpStream) -> bool {
        let Ok(ends) = Ends::of(stream.as_fd()) else {
            return false;
        };
        let mut id = [0; ID_ROOM];
        self.control
            .get(ends, Opt::SessionId.number(), &mut id)
            .is_ok()
    }
}

fn log_line(now: LocalTime, waiting: &Waiting, number: usize, encrypted: bool) -> String {
    format!(
        "[{:02}/{:02}/{:02} {:02}:{:02}:{:02}] GOT {} - {:>4} [MSG {number}] crypt {} flags {}",
        now.month,
        now.day,
        now.year.rem_euclid(100),
        now.hour,
        now.minute,
        now.second,
        waiting.peer,
        waiting.port,
        u8::from(encrypted),
        u8::from(waiting.offered),
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::startup;

    fn server() -> (Server, SocketAddr) {
        let listener = startup::listener(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let address = listener.local_addr().unwrap();
        let control = Client::at(b"/does/not/exist").unwrap();
        let server = Server::new(Sniffers::default(), vec![(listener, 80)], control);
        (server, address)
    }

    fn turn(server: &mut Server) -> Vec<String> {
        let mut lines = Vec::new();
        server
            .turn(&mut |line| lines.push(line.to_owned()))
            .unwrap();
        lines
    }

    #[test]
    fn a_request_in_pieces_and_its_line() {
        let (mut server, address) = server();
        let mut client = TcpStream::connect(address).unwrap();
        let ports = Ports {
            source: client.local_addr().unwrap().port(),
            destination: 80,
        };
        server.offers.add(Instant::now(), ports);
        assert!(turn(&mut server).is_empty());
        client.write_all(b"GHGHHGHGHGHREHEHG").unwrap();
        assert!(turn(&mut server).is_empty());
        assert_eq!(server.waiting.len(), 1);
        client.write_all(b"EHRGHERHGHERG").unwrap();
        let lines = turn(&mut server);
        assert_eq!(lines.len(), 1);
        let wanted = format!(
            "] GOT {} -   80 [MSG 2] crypt 0 flags 1",
            client.local_addr().unwrap()
        );
        assert!(lines[0].ends_with(&wanted), "{lines:?}");
        assert_eq!(lines[0].find(']'), Some(18));
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HTTP/1.0 200 OK\r\n\r\n1");
    }

    #[test]
    fn other_requests_end_without_answer() {
        let (mut server, address) = server();
        let mut client = TcpStream::connect(address).unwrap();
        turn(&mut server);
        client.write_all(b"GET / HTTP/1.0\r\n").unwrap();
        assert!(turn(&mut server).is_empty());
        assert!(server.waiting.is_empty());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn silent_connections_end() {
        let (mut server, address) = server();
        let mut client = TcpStream::connect(address).unwrap();
        turn(&mut server);
        server.waiting[0].since = Instant::now() - IDLE;
        turn(&mut server);
        assert!(server.waiting.is_empty());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn no_more_connections_than_that() {
        let (mut server, address) = server();
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS + 10 {
            clients.push(TcpStream::connect(address).unwrap());
            while server.waiting.back().map(|w| w.peer)
                != Some(clients.last().unwrap().local_addr().unwrap())
            {
                turn(&mut server);
            }
        }
        assert_eq!(server.waiting.len(), CONNECTIONS);
        assert_eq!(clients[9].read(&mut [0]).unwrap(), 0);
    }
}
