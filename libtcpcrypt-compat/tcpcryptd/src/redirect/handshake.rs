//! From a SYN-ACK that waits to a connection with two halves.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Instant;

use kx_sys::conntrack_lookup::Ends;
use kx_sys::nfqueue::{Decision, Verdict, Verdicts};
use kx_sys::tcp_proxy::{ProxySocket, stays_here};
use tcpcrypt_proto::endpoint::Fate;
use tcpcrypt_proto::packet::options;
use tcpcrypt_proto::packet::{Direction, FourTuple, Rewrite, Seq, View};
use tcpcrypt_proto::stream::{Client, Server, Settled, Stream};

use super::carry::Trouble;
use super::connection::{Connection, Held, Redirected, Way};
use super::end::End;
use super::table::{Key, Side};
use super::{
    ACCEPTING, ANSWERING, CONNECTING, HANDSHAKE_TOS, INIT1_PATIENCE, MARK_NEAR, PORT, Proxy,
};

impl Proxy {
    /// Opens the half that goes on.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        redirected: Redirected,
        original: Ends,
        syn_ack: Option<&View<'_>>,
        held: Held,
    ) -> std::io::Result<()> {
        let way = match redirected.here.ip().is_loopback() {
            true => Way::Out,
            false => Way::In,
        };
        let (to, opener) = (original.destination, original.source);
        let (mut client, mut server) = (None, None);
        let mut sack = true;
        match way {
            Way::Out => {
                if !self.host.is_plain_peer(now, &to.into()) {
                    client = Client::new(&mut self.host, now, opener.port(), to.into());
                }
            }
            Way::In => {
                let isn = syn_ack.map(|view| view.ack() + u32::MAX);
                let syn = isn.and_then(|isn| self.syns.take(redirected.opener, isn));
                if let Some(syn) = syn {
                    let (port, peer) = (to.port(), opener.into());
                    let options = syn.options.as_slice();
                    sack = options::sack_permitted(options);
                    server = Server::new(&mut self.host, now, port, peer, options);
                }
            }
        }
        let marked = client.is_some();
        let tos = if marked { HANDSHAKE_TOS } else { 0 };
        let begun = match way {
            // An application that chose its address keeps it.
            Way::Out => ProxySocket::connect(Some(*opener.ip()), to, tos, marked),
            // Only with our rules the answers would find their way.
            Way::In if stays_here(*opener.ip(), MARK_NEAR).unwrap_or(false) => {
                ProxySocket::connect_as(opener, to, MARK_NEAR)
            }
            Way::In => ProxySocket::connect(None, to, tos, marked),
        };
        let begun = begun.and_then(|socket| Ok((socket.local()?, End::new(socket))));
        let (local, end) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                if let Some(mut client) = client {
                    client.give_up(&mut self.host, now);
                }
                if let Some(server) = server {
                    server.give_up(&mut self.host, now);
                }
                return Err(error);
            }
        };
        let (near, far, listed, alias) = match way {
            Way::Out => (None, Some(end), tuple(opener, to), None),
            Way::In => {
                let (listed, seen) = (tuple(to, opener), tuple(to, local));
                (Some(end), None, listed, (seen != listed).then_some(seen))
            }
        };
        let agreed = match (&server, way) {
            (None, Way::In) => Settled::Plain,
            _ => Settled::Exchange,
        };
        let connection = Box::new(Connection {
            way,
            redirected,
            listed,
            alias,
            onward: tuple(local, to),
            near,
            far,
            held,
            connected: false,
            marked,
            client,
            server,
            agreed,
            numbers: match (way, syn_ack) {
                (Way::In, Some(view)) => (view.end(), view.ack()),
                _ => (Seq(0), Seq(0)),
            },
            sack,
            stream: None,
            partial: Vec::new(),
            unread: Vec::new(),
            quirk: None,
            deadline: None,
            used: now,
            queued: false,
            fate: Fate::Undecided,
        });
        self.counters.redirected += 1;
        let key = self.table.insert(connection);
        self.host.redirected(listed, alias, Fate::Undecided);
        let Some(mut connection) = self.table.take(key) else {
            return Ok(());
        };
        let watched = match (&connection.near, &connection.far) {
            (Some(near), _) => Proxy::watch(&self.epoll, key, Side::Near, near),
            (_, Some(far)) => Proxy::watch(&self.epoll, key, Side::Far, far),
            _ => Ok(()),
        };
        if let Err(error) = watched {
            // Its packet is for the caller to decide.
            connection.held.id = None;
            self.destroy(now, key, connection, None);
            return Err(error);
        }
        let deadline = now.checked_add(CONNECTING);
        self.table.set_deadline(key, &mut connection, deadline);
        self.table.put_back(key, connection);
        Ok(())
    }

    /// Looks whether the half that we open stands. False: not yet. If it never will, the opener is told, and
    /// the connection is still not [`connected`](Connection::connected).
    pub(super) fn is_connected(
        &mut self,
        now: Instant,
        key: Key,
        connection: &mut Connection,
        verdicts: &mut Verdicts,
    ) -> bool {
        let end = match connection.way {
            Way::Out => &mut connection.far,
            Way::In => &mut connection.near,
        };
        let Some(end) = end else { return true };
        if !end.writable && !end.readable {
            return false;
        }
        if end.socket.outcome().is_err() || !end.writable {
            self.refuse(connection, verdicts, true);
            return true;
        }
        connection.connected = true;
        let begun = match connection.way {
            Way::Out => self.begin_stream(now, key, connection),
            Way::In => {
                if connection.far.is_some() {
                    connection.stream = Some(Stream::plain());
                    connection.settled(&mut self.host, now);
                }
                Ok(())
            }
        };
        if begun.is_err() {
            connection.connected = false;
            self.refuse(connection, verdicts, true);
            return true;
        }
        let deadline = now.checked_add(ACCEPTING);
        self.table.set_deadline(key, connection, deadline);
        self.release(connection, verdicts);
        true
    }

    /// The wire's half of a connection that goes out stands: what is sent first is sent.
    fn begin_stream(
        &mut self,
        now: Instant,
        _key: Key,
        connection: &mut Connection,
    ) -> Result<(), Trouble> {
        let Some(far) = &mut connection.far else {
            return Ok(());
        };
        let mut wire = Vec::new();
        let numbers = connection.numbers;
        let mut stream = match connection.client.take() {
            Some(client) => client.begin(&mut self.host, now, numbers, &mut wire)?,
            None => Stream::plain(),
        };
        let shape = stream.shape();
        far.together = connection.sack;
        far.write(shape, &wire, &mut self.buffers)?;
        let is_ready = stream.is_ready();
        if is_ready {
            // Nothing goes with the third segment, so it has to go by itself.
            far.socket.acknowledge_now();
        }
        stream.rest();
        connection.stream = Some(stream);
        if is_ready {
            connection.settled(&mut self.host, now);
        }
        Ok(())
    }

    /// The opener gets its SYN-ACK.
    fn release(&mut self, connection: &mut Connection, verdicts: &mut Verdicts) {
        let Some(id) = self.take_held(connection) else {
            return self.send_held(connection);
        };
        let accept = Decision {
            verdict: Verdict::Accept,
            mark: None,
            replace: false,
        };
        let host = &mut self.host;
        let (server, packet) = (&mut connection.server, &connection.held.packet);
        verdicts.decide(id, |buffer| {
            let (Some(choice), Ok(view)) = (&server, View::parse(packet)) else {
                return accept;
            };
            let mut rewrite = Rewrite::of(&view);
            if !choice.syn_ack(host, &mut rewrite.options) || !rewrite.write(&[], buffer) {
                *server = None;
                return accept;
            }
            Decision {
                replace: true,
                ..accept
            }
        });
    }

    /// The same for a SYN-ACK that had no place in the queue: another of the kind is made.
    fn send_held(&mut self, connection: &mut Connection) {
        let Ok(view) = View::parse(&connection.held.packet) else {
            return;
        };
        let mut rewrite = Rewrite::of(&view);
        if let Some(server) = &connection.server {
            if !server.syn_ack(&mut self.host, &mut rewrite.options) {
                connection.server = None;
            }
        }
        let mut packet = Vec::new();
        if rewrite.write(&[], &mut packet) {
            self.injector.send(Direction::Out, 0, &packet);
        }
    }

    fn take_held(&mut self, connection: &mut Connection) -> Option<u32> {
        let id = connection.held.id.take()?;
        self.held = self.held.saturating_sub(1);
        Some(id)
    }

    pub(super) fn drop_held(&mut self, connection: &mut Connection, verdicts: &mut Verdicts) {
        if let Some(id) = self.take_held(connection) {
            verdicts.give(id, Verdict::Drop, None);
        }
    }

    /// The opener gets no SYN-ACK; with `tell` it gets a reset.
    pub(super) fn refuse(
        &mut self,
        connection: &mut Connection,
        verdicts: &mut Verdicts,
        tell: bool,
    ) {
        self.drop_held(connection, verdicts);
        let redirected = connection.redirected;
        let tuple = tuple(redirected.here, redirected.opener);
        if let (true, Ok(view)) = (tell, View::parse(&connection.held.packet)) {
            self.turn_away(tuple, &view);
        }
    }

    /// An opener's half stands, and its SYN-ACK did not come by: the original's rules leave those with ECN bits
    /// alone. The other half follows; a peer cannot have got our answer to its offer.
    fn accepted_unseen(&mut self, now: Instant, socket: ProxySocket, redirected: Redirected) {
        let Ok(destination) = socket.original_destination() else {
            // Reset by dropping it.
            return;
        };
        if destination.port() == PORT || self.is_full() {
            return;
        }
        let original = Ends {
            source: redirected.opener,
            destination,
        };
        let held = Held {
            id: None,
            packet: Vec::new(),
        };
        if self.begin(now, redirected, original, None, held).is_err() {
            return;
        }
        let key = self.table.by_redirected.get(&redirected).copied();
        let Some((key, mut connection)) = key.and_then(|key| Some((key, self.table.take(key)?)))
        else {
            return;
        };
        self.table.accepted(key, &connection);
        let end = End::new(socket);
        let (side, place) = match connection.way {
            Way::Out => (Side::Near, &mut connection.near),
            Way::In => (Side::Far, &mut connection.far),
        };
        let watched = Proxy::watch(&self.epoll, key, side, &end);
        *place = Some(end);
        match watched {
            Ok(()) => self.table.put_back(key, connection),
            Err(_) => self.destroy(now, key, connection, None),
        }
    }

    /// An opener's half stands.
    pub(super) fn accepted(&mut self, now: Instant, socket: ProxySocket, opener: SocketAddrV4) {
        let Ok(here) = socket.local() else { return };
        let redirected = Redirected { here, opener };
        let Some(key) = self.table.by_redirected.get(&redirected).copied() else {
            return self.accepted_unseen(now, socket, redirected);
        };
        let Some(mut connection) = self.table.take(key) else {
            return;
        };
        let meant = match connection.way {
            Way::Out => connection.listed.remote,
            Way::In => connection.listed.local,
        };
        let agrees = socket.original_destination().map(SocketAddr::V4).ok() == Some(meant);
        if !agrees || !connection.connected {
            return self.destroy(now, key, connection, None);
        }
        self.table.accepted(key, &connection);
        connection.held.packet = Vec::new();
        // It may have that of the SYN, which has done its work.
        let _ = socket.set_mark(0);
        let end = End::new(socket);
        let side = match connection.way {
            Way::Out => Side::Near,
            Way::In => Side::Far,
        };
        if Proxy::watch(&self.epoll, key, side, &end).is_err() {
            return self.destroy(now, key, connection, None);
        }
        let mut deadline = now.checked_add(ANSWERING);
        match connection.way {
            Way::Out => connection.near = Some(end),
            Way::In => {
                connection.far = Some(end);
                if let Some(far) = &mut connection.far {
                    far.together = connection.sack;
                }
                let numbers = connection.numbers;
                let begun = match connection.server.take() {
                    Some(server) => server.begin(&mut self.host, now, numbers),
                    None => Ok(Stream::plain()),
                };
                match begun {
                    Ok(stream) => {
                        let is_ready = stream.is_ready();
                        connection.stream = Some(stream);
                        if is_ready {
                            connection.settled(&mut self.host, now);
                        }
                    }
                    Err(broken) => {
                        let trouble = Some(broken.into());
                        return self.destroy(now, key, connection, trouble);
                    }
                }
                deadline = now.checked_add(INIT1_PATIENCE);
            }
        }
        if connection
            .stream
            .as_ref()
            .is_some_and(|stream| stream.is_ready())
        {
            deadline = None;
        }
        self.table.set_deadline(key, &mut connection, deadline);
        self.carry(now, key, connection);
    }
}

fn tuple(local: SocketAddrV4, remote: SocketAddrV4) -> FourTuple {
    FourTuple {
        local: local.into(),
        remote: remote.into(),
    }
}
