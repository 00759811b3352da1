//! The reader's side of a vpcd connection: what pcscd's driver does (xkek spec 15).

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use xkek::card::Card;

use crate::Error;
use crate::vpcd::{Decoder, frame};

/// How long a wait for a connection sleeps between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// A card at the other end of a socket, with power on.
#[derive(Debug)]
pub struct VpcdHost {
    socket: TcpStream,
    decoder: Decoder,
    limit: Duration,
    atr: Vec<u8>,
}

impl VpcdHost {
    /// Connects to a card that listens (`kx-vcard --listen`) and powers it up. `limit` is for this and
    /// for each command.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::TimedOut`], [`Error::Removed`].
    pub fn connect(address: &str, limit: Duration) -> Result<Self, Error> {
        let mut last = std::io::Error::from(ErrorKind::NotFound);
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, limit) {
                Ok(socket) => return Self::power_up(socket, limit),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    /// Waits at `address` until a card connects, and powers it up.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn listen(address: &str, limit: Duration) -> Result<Self, Error> {
        let listener = TcpListener::bind(address)?;
        Self::accept(&listener, limit)
    }

    /// As [`listen`](Self::listen), with a socket that listens already.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn accept(listener: &TcpListener, limit: Duration) -> Result<Self, Error> {
        listener.set_nonblocking(true)?;
        let end = Instant::now().checked_add(limit);
        loop {
            match listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(false)?;
                    return Self::power_up(socket, limit);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if end.is_some_and(|end| Instant::now() >= end) {
                        return Err(Error::TimedOut);
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn power_up(socket: TcpStream, limit: Duration) -> Result<Self, Error> {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(limit))?;
        let (decoder, atr) = (Decoder::default(), Vec::new());
        let mut host = Self {
            socket,
            decoder,
            limit,
            atr,
        };
        host.send(&[1])?;
        host.send(&[4])?;
        host.atr = host.receive()?;
        Ok(host)
    }

    /// The card's answer to reset.
    #[must_use]
    pub fn atr(&self) -> &[u8] {
        &self.atr
    }

    /// Resets the card: all that was verified is forgotten.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn reset(&mut self) -> Result<(), Error> {
        self.send(&[2])
    }

    fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        let framed = frame(message).ok_or(Error::TooLong)?;
        self.socket.write_all(&framed).map_err(gone)
    }

    fn receive(&mut self) -> Result<Vec<u8>, Error> {
        let end = Instant::now().checked_add(self.limit);
        let mut piece = [0; 4096];
        loop {
            if let Some(message) = self.decoder.next_message() {
                return Ok(message);
            }
            let left = match end {
                Some(end) => end.saturating_duration_since(Instant::now()),
                None => self.limit,
            };
            if left.is_zero() {
                return Err(Error::TimedOut);
            }
            self.socket.set_read_timeout(Some(left))?;
            let count = self.socket.read(&mut piece).map_err(gone)?;
            if count == 0 {
                return Err(Error::Removed);
            }
            self.decoder.push(piece.get(..count).unwrap_or_default());
        }
    }
}

/// A closed socket is a card that was taken out.
fn gone(error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::TimedOut,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
            Error::Removed
        }
        _ => Error::Io(error),
    }
}

impl Card for VpcdHost {
    type Error = Error;

    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), Error> {
        // Messages of one octet are for the power, not for the card.
        if command.len() < 2 {
            return Err(Error::TooShort);
        }
        // An answer that came too late must not be taken for this one's.
        if self.decoder.is_in_message() {
            return Err(Error::Removed);
        }
        self.send(command)?;
        match self.receive() {
            Ok(answer) => {
                *response = answer;
                Ok(())
            }
            Err(error) => {
                // What still comes belongs to no command.
                let _ = self.socket.shutdown(std::net::Shutdown::Both);
                Err(error)
            }
        }
    }
}
