//! From a SYN-ACK that waits to a connection with two halves.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use kx_sys::conntrack_lookup::Ends;
use kx_sys::nfqueue::{Decision, Verdict, Verdicts};
use kx_sys::tcp_proxy::ProxySocket;
use tcpcrypt_proto::endpoint::Fate;
use tcpcrypt_proto::packet::{Direction, FourTuple, Seq, View};
use tcpcrypt_proto::stream::{Client, Server, Settled, Stream};

use super::carry::Trouble;
use super::connection::{Answer, Connection, Held, Redirected, Sign, Way};
use super::end::End;
use super::packets::{eno, room_in, with_option};
use super::program::Seen;
use super::table::{Key, Side};
use super::{
    ACCEPTING, ANSWERING, CONNECTING, HANDSHAKE_TOS, INIT1_PATIENCE, MARK_NEAR, MARK_PROGRAM, PORT,
    Proxy, SMALLEST_MSS, SYN_ROOM,
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
    ) -> io::Result<()> {
        let way = match redirected.here.ip().is_loopback() {
            true => Way::Out,
            false => Way::In,
        };
        self.catch_up(now);
        let (to, opener) = (original.destination, original.source);
        let (mut client, mut server) = (None, None);
        let isn = syn_ack.map(|view| view.ack() + u32::MAX);
        let syn = isn.and_then(|isn| self.syns.take(redirected.opener, isn));
        let asked = syn.is_some_and(|syn| syn.asked);
        let mut sack = true;
        match way {
            Way::Out => {
                if !self.host.is_plain_peer(now, &to) {
                    client = Client::new(&mut self.host, now, opener.port(), to);
                }
            }
            Way::In => {
                if let Some(syn) = &syn {
                    let (port, peer) = (to.port(), opener);
                    sack = syn.sack;
                    let offer = syn.offer;
                    server = offer.and_then(|it| Server::new(&mut self.host, now, port, peer, it));
                }
            }
        }
        let begun = match way {
            // An application that chose its address keeps it.
            Way::Out => self.connect(now, opener.ip(), to, &mut client, asked),
            // Only with our rules the answers would find their way.
            Way::In if self.near_routes.lead_to(now, opener.ip()) => {
                ProxySocket::connect_as(opener, to, MARK_NEAR).map(|socket| (socket, Sign::None))
            }
            Way::In => ProxySocket::connect(None, to, 0, false).map(|socket| (socket, Sign::None)),
        };
        let begun = begun.and_then(|(socket, sign)| Ok((socket.local()?, End::new(socket), sign)));
        let (local, end, sign) = match begun {
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
            sign,
            client,
            server,
            agreed,
            following: None,
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
            queued: false,
            fate: Fate::Undecided,
        });
        self.counters.redirected += 1;
        // An earlier connection of the same ends.
        self.ending.remove(&connection.onward);
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

    /// Begins the half that goes on to a peer, and says how it is known. By the program only with rules that `asked`
    /// about it, so ours: they let no acknowledgement pass that the original would take for INIT1.
    fn connect(
        &mut self,
        now: Instant,
        from: IpAddr,
        to: SocketAddr,
        client: &mut Option<Client>,
        asked: bool,
    ) -> io::Result<(ProxySocket, Sign)> {
        let Some(asking) = client else {
            let socket = ProxySocket::connect(Some(from), to, 0, false)?;
            return Ok((socket, Sign::None));
        };
        if let Some(program) = self.program.as_ref().filter(|_| asked) {
            let socket = ProxySocket::unconnected(Some(from), to)?;
            let Some(offer) = asking.offer(&mut self.host, now, SYN_ROOM) else {
                asking.give_up(&mut self.host, now);
                *client = None;
                socket.begin(to)?;
                return Ok((socket, Sign::None));
            };
            // Where the program does not take it, there is the queue.
            if program.offer(&socket, &offer).is_ok() {
                socket.set_mark(MARK_PROGRAM)?;
                socket.be_quiet()?;
                socket.begin(to)?;
                return Ok((socket, Sign::Mark));
            }
        }
        let socket = ProxySocket::connect(Some(from), to, HANDSHAKE_TOS, true)?;
        Ok((socket, Sign::Tos))
    }

    /// What the program saw of the half that goes on, which stands.
    fn hear(&mut self, now: Instant, connection: &mut Connection) -> Result<(), Trouble> {
        let (Some(program), Some(far), Sign::Mark) =
            (&self.program, &connection.far, connection.sign)
        else {
            return Ok(());
        };
        let seen = program.seen(&far.socket);
        let has_room = far.socket.segment_size()? >= usize::from(SMALLEST_MSS);
        let answer = Answer {
            option: seen.syn_ack.filter(|_| has_room),
            end: seen.numbers.1,
            sack: seen.sack,
        };
        if seen.syn.is_none() {
            // What was not written was not asked, so nothing is learned of the peer.
            if let Some(mut client) = connection.client.take() {
                client.give_up(&mut self.host, now);
            }
            return Ok(());
        }
        connection.numbers.0 = seen.numbers.0;
        connection.answered(&mut self.host, now, answer);
        if connection.following == seen.third {
            return Ok(());
        }
        match (&connection.far, connection.following) {
            // The peer must not believe that we took its answer.
            (Some(far), None) => Ok(program.withdraw(&far.socket)?),
            _ => Err(Trouble::System),
        }
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
            Way::Out => self
                .hear(now, connection)
                .and_then(|()| self.begin_stream(now, key, connection)),
            // A SYN-ACK that nobody held.
            Way::In if connection.far.is_some() => self.begin_answering(now, connection),
            Way::In => Ok(()),
        };
        if begun.is_err() {
            connection.connected = false;
            self.refuse(connection, verdicts, true);
            return true;
        }
        let patience = match (connection.way, &connection.stream) {
            // INIT1 has to come.
            (Way::In, Some(stream)) if !stream.is_ready() => INIT1_PATIENCE,
            _ => ACCEPTING,
        };
        let deadline = now.checked_add(patience);
        self.table.set_deadline(key, connection, deadline);
        self.release(now, connection, verdicts);
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
        let stream = match connection.client.take() {
            Some(client) => client.begin(&mut self.host, now, numbers, &mut wire)?,
            None => Stream::plain(),
        };
        let shape = stream.shape();
        far.together = connection.sack;
        far.write(shape, &wire, &mut self.buffers)?;
        let is_ready = stream.is_ready();
        connection.stream = Some(stream);
        if is_ready {
            connection.settled(&mut self.host);
            if let Some(far) = &connection.far {
                // Nothing goes with the third segment, so it has to go by itself.
                far.socket.acknowledge_now();
            }
        }
        Ok(())
    }

    /// The wire's half of a connection that comes in stands.
    fn begin_answering(
        &mut self,
        now: Instant,
        connection: &mut Connection,
    ) -> Result<(), Trouble> {
        let numbers = connection.numbers;
        let stream = match connection.server.take() {
            Some(server) => server.begin(&mut self.host, now, numbers)?,
            None => Stream::plain(),
        };
        let is_ready = stream.is_ready();
        connection.stream = Some(stream);
        if is_ready {
            connection.settled(&mut self.host);
        }
        Ok(())
    }

    /// The opener gets its SYN-ACK.
    fn release(&mut self, now: Instant, connection: &mut Connection, verdicts: &mut Verdicts) {
        let id = self.take_held(connection);
        let Ok(view) = View::parse(&connection.held.packet) else {
            // It was not seen.
            return;
        };
        let server = &mut connection.server;
        let room = room_in(&view);
        let answer = server
            .as_mut()
            .and_then(|it| it.answer(&mut self.host, now, room));
        let mut packet = Vec::new();
        let with = answer.is_some_and(|answer| with_option(&view, Some(&answer), &mut packet));
        if !with {
            if let Some(server) = server.take() {
                server.give_up(&mut self.host, now);
            }
            packet.clear();
            with_option(&view, None, &mut packet);
        }
        // The program may have written just this.
        let replace = eno(&view) != answer.filter(|_| with);
        match id {
            Some(id) => verdicts.decide(id, |buffer| {
                self.counters.replaced += u64::from(replace);
                if replace {
                    buffer.extend_from_slice(&packet);
                }
                Decision {
                    verdict: Verdict::Accept,
                    mark: None,
                    replace,
                }
            }),
            // It had no place in the queue: another of the kind is made.
            None => self.injector.send(Direction::Out, 0, &packet),
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
    /// alone. The other half follows. Only the program can have answered a peer's offer.
    fn accepted_unseen(&mut self, now: Instant, socket: ProxySocket, redirected: Redirected) {
        let Ok(destination) = socket.original_destination(redirected.here) else {
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
        if connection.way == Way::In
            && self
                .hear_answer(&socket, original, &mut connection)
                .is_err()
        {
            return self.destroy(now, key, connection, None);
        }
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

    /// What the program has answered to a peer, which must come true.
    fn hear_answer(
        &mut self,
        socket: &ProxySocket,
        original: Ends,
        connection: &mut Connection,
    ) -> Result<(), Trouble> {
        let Some(program) = &self.program else {
            return Ok(());
        };
        let Seen {
            syn: Some(offer),
            syn_ack: Some(answer),
            third,
            numbers,
            sack,
        } = program.seen(socket)
        else {
            return Ok(());
        };
        let (port, peer) = (original.destination.port(), original.source);
        let server = Server::answered(&mut self.host, port, peer, (offer, answer));
        if let Some(mut server) = server {
            if third.is_some() {
                server.third_segment(third);
            }
            connection.server = Some(server);
            connection.agreed = Settled::Exchange;
            connection.numbers = numbers;
            connection.sack = sack;
        }
        Ok(())
    }

    /// An opener's half stands.
    pub(super) fn accepted(&mut self, now: Instant, socket: ProxySocket, opener: SocketAddr) {
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
        let agrees = socket.original_destination(here).ok() == Some(meant);
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
                if let (Some(program), Some(far), Some(server)) =
                    (&self.program, &connection.far, &mut connection.server)
                {
                    let third = program.seen(&far.socket).third;
                    if third.is_some() {
                        server.third_segment(third);
                    }
                }
                if let Err(trouble) = self.begin_answering(now, &mut connection) {
                    return self.destroy(now, key, connection, Some(trouble));
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

fn tuple(local: SocketAddr, remote: SocketAddr) -> FourTuple {
    FourTuple { local, remote }
}
