//! Waits for the reader, serves it, and does so again when it is gone, until a signal ends it.

use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use kx_sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use xkek_io::software::SoftwareCard;
use xkek_io::vpcd_card::VpcdCard;

use crate::options::Reader;

/// First and longest pause between two tries to reach a reader that is not there.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a reader may take to accept a connection, or an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the card looks for the next command before it goes to sleep.
const SPIN: Duration = Duration::from_micros(50);
/// After how many commands without a pause it looks for a signal.
const SIGNALS_EVERY: u32 = 64;

/// Why a wait ended.
#[derive(PartialEq, Eq)]
enum Woken {
    /// The descriptor has something.
    Ready,
    /// The time is over.
    TimedOut,
    /// The program shall end.
    Signal,
}

/// Waits for `descriptor`, a signal, or the end of `limit`.
fn wait(
    signals: &Signals,
    descriptor: Option<&dyn AsFd>,
    limit: Option<Duration>,
) -> io::Result<Woken> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    // poll(2) needs two places; with nothing else to watch both are the signals'.
    let second = descriptor.map_or(signals.as_fd(), AsFd::as_fd);
    loop {
        let mut watched = [
            PollFd::new(signals, PollFlags::IN),
            PollFd::from_borrowed_fd(second, PollFlags::IN),
        ];
        match poll(&mut watched, limit.as_ref()) {
            Ok(0) => return Ok(Woken::TimedOut),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let [signal, other] = &watched;
        if !signal.revents().is_empty() && signals.next()?.is_some() {
            return Ok(Woken::Signal);
        }
        if descriptor.is_some() && !other.revents().is_empty() {
            return Ok(Woken::Ready);
        }
    }
}

/// Takes what the reader sent, without waiting longer than [`SPIN`].
///
/// A client in the middle of a task sends its next command within microseconds. To be put to sleep and
/// woken on another processor takes longer than that, so the first look is not the last.
fn take(socket: &TcpStream, piece: &mut [u8], spin: bool) -> rustix::io::Result<usize> {
    let mut end = None;
    loop {
        match rustix::net::recv(socket, &mut *piece, RecvFlags::DONTWAIT) {
            Ok((count, _)) => return Ok(count),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) if spin => {}
            Err(error) => return Err(error),
        }
        let now = Instant::now();
        if now >= *end.get_or_insert(now + SPIN) {
            return Err(Errno::AGAIN);
        }
        // With a single processor the client can go on only when this gives way.
        std::thread::yield_now();
    }
}

/// Serves until a signal comes.
///
/// # Errors
/// What makes going on useless: no address to listen on, a state directory that cannot be used any more.
pub(crate) fn serve(
    card: &mut SoftwareCard,
    reader: &Reader,
    signals: &Signals,
    say: &mut dyn FnMut(&str),
) -> io::Result<()> {
    match reader {
        Reader::Connect(address) => connect(card, address, signals, say),
        Reader::Listen(address) => {
            let listener = TcpListener::bind(address.as_str())?;
            say(&format!("listening on {}", listener.local_addr()?));
            listener.set_nonblocking(true)?;
            loop {
                match listener.accept() {
                    Ok((mut socket, _)) => {
                        socket.set_nonblocking(false)?;
                        if session(card, &mut socket, signals, say)? {
                            return Ok(());
                        }
                    }
                    Err(error) if is_passing(&error) => {
                        if wait(signals, Some(&listener), None)? == Woken::Signal {
                            return Ok(());
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// Errors of `accept` that say nothing about the listener.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
    )
}

fn connect(
    card: &mut SoftwareCard,
    address: &str,
    signals: &Signals,
    say: &mut dyn FnMut(&str),
) -> io::Result<()> {
    let mut pause = FIRST_PAUSE;
    let mut said = false;
    loop {
        match reach(address) {
            Ok(mut socket) => {
                (pause, said) = (FIRST_PAUSE, false);
                if session(card, &mut socket, signals, say)? {
                    return Ok(());
                }
            }
            Err(error) if !said => {
                say(&format!("waiting for a reader at {address}: {error}"));
                said = true;
            }
            Err(_) => {}
        }
        if wait(signals, None, Some(pause))? == Woken::Signal {
            return Ok(());
        }
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

fn reach(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            // A port of the ephemeral range that nobody listens on can be given to our own end: TCP then
            // connects us with ourselves, and the reader finds its port taken.
            Ok(socket) if socket.local_addr()? == address => {
                last = ErrorKind::ConnectionRefused.into();
            }
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Serves one connection. `true`: a signal ended it.
fn session(
    card: &mut SoftwareCard,
    socket: &mut TcpStream,
    signals: &Signals,
    say: &mut dyn FnMut(&str),
) -> io::Result<bool> {
    // Answers are small and waited for. A socket that refuses is as good as gone, which shows below.
    let _ = socket.set_nodelay(true);
    let _ = socket.set_write_timeout(Some(PATIENCE));
    say("reader connected");
    let mut connection = VpcdCard::default();
    let mut piece = [0; 4096];
    let mut commands = 0u32;
    let mut spin = false;
    let signalled = loop {
        // As long as commands come without a pause none of the waits below sees a signal.
        if commands % SIGNALS_EVERY == 0 && signals.next()?.is_some() {
            break true;
        }
        let count = match take(socket, &mut piece, spin) {
            Ok(0) => break false,
            Ok(count) => count,
            Err(Errno::AGAIN) => {
                if wait(signals, Some(socket), None)? == Woken::Signal {
                    break true;
                }
                spin = false;
                continue;
            }
            Err(_) => break false,
        };
        (commands, spin) = (commands.wrapping_add(1), true);
        // An error here is the state directory's: without it the card must not go on.
        let octets = piece.get(..count).unwrap_or_default();
        let answer = connection.handle_input(octets, card)?;
        zeroize::Zeroize::zeroize(&mut piece[..]);
        if socket.write_all(&answer).is_err() {
            break false;
        }
    };
    // Without a reader there is no power.
    xkek_io::vpcd_card::Responder::power_off(card);
    if !signalled {
        say("reader gone");
    }
    Ok(signalled)
}
