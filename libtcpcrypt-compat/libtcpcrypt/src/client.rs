//! The safe face of the library: requests to a daemon.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tcpcrypt_control::netstat::{self, PageRequest, ROW_HEADER_LEN};
use tcpcrypt_control::{Address, Datagram, Header, OptionName, SET, VALUE_MAX, wide};

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

/// An encrypted connection, as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Its session id.
    pub session_id: &'a [u8],
}

impl<'a> From<&netstat::Row<'a>> for Row<'a> {
    fn from(row: &netstat::Row<'a>) -> Self {
        Self {
            local: row.local.into(),
            remote: row.remote.into(),
            session_id: row.session_id,
        }
    }
}

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

    /// Gets an option's value into `value`; its length in octets. A list is always that of the original, of
    /// connections over IPv4.
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
        let name = OptionName::from_number(optname);
        let is_list = matches!(name, Some(OptionName::Netstat | OptionName::NetstatPage));
        if ends.narrow().is_none() && !is_list {
            let mut buffer = vec![0; reply::longest(value.len().saturating_add(wide::REPLY_LEN))];
            let asked = wide_request(ends, optname, value.len(), &[]);
            if let Some(seen) = self.exchange_wide(false, &asked, value.len(), &mut buffer)? {
                return Ok(copy(seen, value));
            }
        }
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
        let mut buffer = vec![0; reply::longest(VALUE_MAX.saturating_add(wide::REPLY_LEN))];
        if ends.narrow().is_none() {
            let asked = wide_request(ends, optname, 0, value);
            if self
                .exchange_wide(true, &asked, VALUE_MAX, &mut buffer)?
                .is_some()
            {
                return Ok(());
            }
        }
        let mut request = request(ends, optname);
        request.flags = SET;
        self.exchange(&request, value, VALUE_MAX, &mut buffer)
            .map(drop)
    }

    /// Shows all encrypted connections to `visit` until that breaks off, those over IPv4 first.
    ///
    /// A daemon that knows no pages shows as many as fit 1200 octets: 24; one that knows no IPv6 has none of it.
    ///
    /// # Errors
    /// As [`Client::get`]; nothing has been shown then, unless the daemon failed between pages.
    pub fn connections(
        &mut self,
        ends: Ends,
        mut visit: impl FnMut(&Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        match self.connections_v4(ends, &mut visit)? {
            ControlFlow::Continue(()) => self.connections_v6(&mut visit),
            ControlFlow::Break(()) => Ok(()),
        }
    }

    /// Those over IPv4.
    pub(crate) fn connections_v4(
        &mut self,
        ends: Ends,
        visit: &mut impl FnMut(&Row<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let mut first = [0; VALUE_MAX];
        let len = self.get(ends, OptionName::Netstat.number(), &mut first)?;
        let mut narrow = |row: &netstat::Row<'_>| visit(&row.into());
        if may_go_on(len) {
            match self.pages(&mut narrow) {
                // Another daemon; or one that has just ended, and then the list stands too.
                Err((_, false)) => {}
                Err((error, true)) => return Err(error),
                Ok(end) => return Ok(end),
            }
        }
        show(first.get(..len).unwrap_or_default(), narrow)
    }

    /// Those over IPv6, by pages. A daemon that does not understand the question has none.
    pub(crate) fn connections_v6(
        &mut self,
        visit: &mut impl FnMut(&Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let room = usize::try_from(PageRequest::ROOM_MAX).unwrap_or(0);
        let mut buffer = vec![0; reply::longest(room.saturating_add(wide::REPLY_LEN))];
        // Behind all of IPv4, in front of all of IPv6.
        let mut after = Ends {
            local: wide::NOWHERE,
            remote: wide::NOWHERE,
        };
        let mut shown = false;
        loop {
            let asked = wide_request(after, OptionName::NetstatPage.number(), room, &[]);
            let list = match self.exchange_wide(false, &asked, room, &mut buffer) {
                Ok(Some(list)) => list,
                Err(error) if shown => return Err(error),
                Ok(None) | Err(_) => return Ok(()),
            };
            let start = after;
            for row in wide::rows(list) {
                let row = row.map_err(|_| Error::Answer)?;
                (after.local, after.remote) = (row.local, row.remote);
                shown = true;
                let row = Row {
                    local: row.local,
                    remote: row.remote,
                    session_id: row.session_id,
                };
                if visit(&row).is_break() {
                    return Ok(());
                }
            }
            // Nothing more; or a daemon that would go round in a circle.
            if (after.local, after.remote) <= (start.local, start.remote) {
                return Ok(());
            }
        }
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
            Ok(_) => Ok(longer),
        }
    }

    /// The same by pages. The error comes with whether anything was shown.
    fn pages(
        &mut self,
        visit: &mut impl FnMut(&netstat::Row<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, (Error, bool)> {
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
                Ok(end @ ControlFlow::Break(())) => return Ok(end),
                // Nothing more; or a daemon that would go round in a circle.
                Ok(end @ ControlFlow::Continue(())) if page.after <= start => return Ok(end),
                Ok(ControlFlow::Continue(())) => shown = true,
            }
        }
    }

    /// The same with a request of the wider form. `None` if the daemon does not understand it.
    fn exchange_wide<'b>(
        &mut self,
        set: bool,
        asked: &wide::Request<'_>,
        room: usize,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, Error> {
        let mut data = Vec::new();
        asked.write(&mut data);
        let mut request = request(Ends::NONE, OptionName::Wide.number());
        request.flags = if set { SET } else { 0 };
        let room = room.saturating_add(wide::REPLY_LEN);
        match self.exchange(&request, &data, room, buffer) {
            Err(Error::Refused(_)) => Ok(None),
            Err(error) => Err(error),
            Ok(value) => {
                let reply = wide::Reply::parse(value).ok_or(Error::Answer)?;
                match reply.error {
                    0 => Ok(Some(reply.value)),
                    error => Err(Error::refused(error, asked.optname, set)),
                }
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
    let (local, remote) = ends.reduced();
    Header::request(seq, local, remote, optname)
}

fn wide_request(ends: Ends, optname: u32, room: usize, value: &[u8]) -> wide::Request<'_> {
    wide::Request {
        local: ends.local,
        remote: ends.remote,
        optname,
        room: u32::try_from(room).unwrap_or(u32::MAX),
        value,
    }
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
    mut visit: impl FnMut(&netstat::Row<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    for row in netstat::rows(list) {
        if visit(&row.map_err(|_| Error::Answer)?).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
