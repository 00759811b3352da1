//! The safe face of the library: requests to a daemon.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tcpcrypt_control::netstat::{self, PageRequest, ROW_HEADER_LEN, Row};
use tcpcrypt_control::{Address, Datagram, Header, OptionName, SET, VALUE_MAX};

use crate::control_path;
use crate::control_socket::ControlSocket;
use crate::ends::Ends;
use crate::error::Error;
use crate::reply::{self, Reply};

/// How long C programs wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A row that is longer does not exist in either dialect. A list that has less room left than that
/// may have been cut off.
const LONGEST_ROW: usize = ROW_HEADER_LEN + 64;

/// Requests of this process, of all threads. A child of a fork goes on from where its parent was;
/// that does no harm, because sockets are not shared.
static SEQ: AtomicU32 = AtomicU32::new(0);

/// A conversation with a daemon. It connects at the first request, or before, by
/// [`Client::connect`]; what it asks once it is connected needs no path any more.
#[derive(Debug)]
pub struct Client {
    address: Address,
    patience: Duration,
    socket: Option<ControlSocket>,
}

impl Client {
    /// A client of the daemon at an address, written as in [`Address::parse`].
    ///
    /// # Errors
    /// The text is no address.
    pub fn at(text: &[u8]) -> Result<Self, Error> {
        control_path::read(text).map(Self::new)
    }

    /// A client of the daemon that the process uses: by `tcpcrypt_setparam`, or else the default.
    ///
    /// # Errors
    /// What was set is no address.
    pub fn of_process() -> Result<Self, Error> {
        control_path::current().map(Self::new)
    }

    fn new(address: Address) -> Self {
        Self {
            address,
            patience: PATIENCE,
            socket: None,
        }
    }

    /// Sets how long to wait for each answer; five seconds otherwise.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Connects, if it is not done.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(&mut self) -> Result<(), Error> {
        self.connected().map(drop)
    }

    fn connected(&mut self) -> Result<&ControlSocket, Error> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => ControlSocket::connect(&self.address)?,
        };
        Ok(self.socket.insert(socket))
    }

    /// Gets an option's value into `value`; its length in octets.
    ///
    /// # Errors
    /// As [`Error`] says. Those of the daemon that has gone are final for this socket only: the next
    /// request connects again.
    pub fn get(&mut self, ends: Ends, optname: u32, value: &mut [u8]) -> Result<usize, Error> {
        if value.len() > VALUE_MAX {
            return Err(Error::TooLong);
        }
        // The room is offered as so many octets. The original sends the caller's memory.
        value.fill(0);
        let request = request(ends, optname);
        let mut buffer = vec![0; reply::longest(value.len())];
        let seen = self.exchange(&request, value, value.len(), &mut buffer)?;
        Ok(copy(seen, value))
    }

    /// Sets an option's value.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn set(&mut self, ends: Ends, optname: u32, value: &[u8]) -> Result<(), Error> {
        if value.len() > VALUE_MAX {
            return Err(Error::TooLong);
        }
        let mut request = request(ends, optname);
        request.flags = SET;
        let mut buffer = vec![0; reply::longest(VALUE_MAX)];
        self.exchange(&request, value, VALUE_MAX, &mut buffer)
            .map(drop)
    }

    /// Shows all encrypted connections to `visit` until that breaks off.
    ///
    /// A daemon that knows no pages shows as many as fit 1200 octets: 24.
    ///
    /// # Errors
    /// As [`Client::get`]; nothing has been shown then, unless the daemon failed between pages.
    pub fn connections(
        &mut self,
        ends: Ends,
        mut visit: impl FnMut(&Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut first = [0; VALUE_MAX];
        let len = self.get(ends, OptionName::Netstat.number(), &mut first)?;
        if may_go_on(len) {
            match self.pages(&mut visit) {
                // Another daemon; or one that has just ended, and then the list stands too.
                Err((_, false)) => {}
                Err((error, true)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
        show(first.get(..len).unwrap_or_default(), visit).map(drop)
    }

    /// The list of all encrypted connections, of at most `room` octets, as C programs get it.
    ///
    /// # Errors
    /// As [`Client::connections`].
    pub fn list(&mut self, ends: Ends, room: usize) -> Result<Vec<u8>, Error> {
        let mut list = vec![0; room.min(VALUE_MAX)];
        let len = self.get(ends, OptionName::Netstat.number(), &mut list)?;
        list.truncate(len);
        if room <= VALUE_MAX || !may_go_on(len) {
            return Ok(list);
        }
        let mut longer = Vec::new();
        let paged = self.pages(&mut |row| {
            if netstat::push(&mut longer, 0, room, row) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        match paged {
            Err((error, true)) => Err(error),
            Err((_, false)) => Ok(list),
            Ok(()) => Ok(longer),
        }
    }

    /// The same by pages. The error comes with whether anything was shown.
    fn pages(
        &mut self,
        visit: &mut impl FnMut(&Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), (Error, bool)> {
        let room = usize::try_from(PageRequest::ROOM_MAX).unwrap_or(0);
        let mut page = PageRequest::first(PageRequest::ROOM_MAX);
        let mut buffer = vec![0; reply::longest(room)];
        let mut shown = false;
        loop {
            let request = request(Ends::NONE, OptionName::NetstatPage.number());
            let list = self
                .exchange(&request, &page.to_bytes(), room, &mut buffer)
                .map_err(|e| (e, shown))?;
            let start = page.after;
            let end = show(list, |row| {
                page.after = (row.local, row.remote);
                visit(row)
            });
            match end {
                Err(error) => return Err((error, true)),
                Ok(ControlFlow::Break(())) => return Ok(()),
                // Nothing more; or a daemon that would go round in a circle.
                Ok(ControlFlow::Continue(())) if page.after <= start => return Ok(()),
                Ok(ControlFlow::Continue(())) => shown = true,
            }
        }
    }

    /// Sends a request and waits for its answer, whose value it gives.
    fn exchange<'b>(
        &mut self,
        request: &Header,
        data: &[u8],
        room: usize,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], Error> {
        let mut datagram = Vec::with_capacity(reply::longest(data.len()));
        Datagram::write(request, data, &mut datagram);
        let result = self.converse(request, &datagram, room, buffer);
        if !matches!(result, Ok(_) | Err(Error::Refused(_))) {
            // Late answers go to a socket that is not there any more.
            self.socket = None;
        }
        let value = result?;
        Ok(buffer.get(value).unwrap_or_default())
    }

    /// The place of the value in `buffer`.
    fn converse(
        &mut self,
        request: &Header,
        datagram: &[u8],
        room: usize,
        buffer: &mut [u8],
    ) -> Result<std::ops::Range<usize>, Error> {
        let deadline = Instant::now() + self.patience;
        let was_connected = self.socket.is_some();
        match self.connected()?.send(datagram, deadline) {
            // The daemon that we were connected to has ended; there may be another one.
            Err(Error::System(_)) if was_connected => {
                self.socket = None;
                self.connected()?.send(datagram, deadline)?;
            }
            result => result?,
        }
        let socket = self.connected()?;
        loop {
            let (received, whole) = socket.receive(buffer, deadline)?;
            if let Reply::Value(value) = reply::judge(received, whole, request, room)? {
                return Ok(received.len() - value.len()..received.len());
            }
            // A daemon that sends other answers without end.
            if Instant::now() >= deadline {
                return Err(Error::Silent);
            }
        }
    }
}

/// Whether a list of `len` octets may have been cut off.
fn may_go_on(len: usize) -> bool {
    VALUE_MAX.saturating_sub(len) < LONGEST_ROW
}

fn request(ends: Ends, optname: u32) -> Header {
    let seq = SEQ.fetch_add(1, Ordering::Relaxed);
    Header::request(seq, ends.local, ends.remote, optname)
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let len = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..len), to.get_mut(..len)) {
        to.copy_from_slice(from);
    }
    len
}

fn show(
    list: &[u8],
    mut visit: impl FnMut(&Row<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    for row in netstat::rows(list) {
        if visit(&row.map_err(|_| Error::Answer)?).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
