//! Two hosts and the network between them, in a time of their own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use tcpcrypt_control::{Datagram, Header, OptionName, wide};
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::endpoint::{ClientId, Endpoint};
use tcpcrypt_proto::packet::{Checksum, FourTuple, Notes, View};
use tcpcrypt_proto::verdict::{Direction, Verdict};

use super::family::{address, scoped};
use super::front::{Front, Nothing, endpoint};
use super::kernel::{End, Kernel, Settings, Socket, State, checksums_are_right};
use super::narrow::{self, Narrow};
use super::network::{Loopback, Network, merged};
use super::offload::{Burst, bursts, cut, without_checksum};
use super::rng::Rng;
use super::tap::{Seen, Tap};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    fn index(self) -> usize {
        match self {
            Side::Client => 0,
            Side::Server => 1,
        }
    }
}

pub(crate) const SIDES: [Side; 2] = [Side::Client, Side::Server];
pub(crate) const PORT: u16 = 80;

/// How a host is made.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) settings: Settings,
    tcpcrypt: Option<Config>,
}

impl Host {
    /// Without a daemon.
    pub(crate) fn plain() -> Host {
        Host {
            settings: Settings::default(),
            tcpcrypt: None,
        }
    }

    pub(crate) fn tcpcrypt(config: Config) -> Host {
        Host {
            tcpcrypt: Some(config),
            ..Host::plain()
        }
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut Settings)) -> Host {
        change(&mut self.settings);
        self
    }
}

struct Machine {
    kernel: Kernel,
    front: Box<dyn Front>,
    network: Network,
    last_arrival: Duration,
    /// The network card drops what is damaged, else the kernel does, behind the daemon.
    card_checks: bool,
}

/// A connection, named by the socket that opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conn {
    opener: Side,
    socket: usize,
    /// The socket of the other side if that was opened actively, too.
    other: Option<usize>,
}

/// What a test puts into the network: for each packet, those that go on.
pub(crate) type Middlebox = Box<dyn FnMut(Side, Vec<u8>) -> Vec<Vec<u8>>>;

pub(crate) struct Lab {
    begin: Instant,
    now: Duration,
    pub(super) rng: Rng,
    machines: [Machine; 2],
    events: BTreeMap<(Duration, u64), (Side, Vec<u8>)>,
    count: u64,
    middlebox: Option<Middlebox>,
    /// A link of the path.
    pub(crate) narrow: Option<Narrow>,
    pub(crate) tap: Tap,
    next_port: u16,
    at_once: u32,
    /// Super-packets that were replaced on their way out.
    pub(crate) super_packets: u64,
    /// The longest packet that the links carry.
    pub(crate) mtu: usize,
    /// What happens to the packets that daemons make for their own kernels.
    pub(crate) loopback: Loopback,
    looped: BTreeMap<(Duration, u64), (Side, Vec<u8>)>,
}

impl Lab {
    /// Two plain hosts on a clean network.
    pub(crate) fn new(seed: u64) -> Lab {
        let mut rng = Rng::new(seed);
        let begin = Instant::now();
        let mut machine = |last| Machine {
            kernel: Kernel::new(Settings::default(), address(last), rng.split()),
            front: Box::new(Nothing),
            network: Network::clean(),
            last_arrival: Duration::ZERO,
            card_checks: true,
        };
        Lab {
            begin,
            // Some time has passed since the machines were switched on.
            now: Duration::from_secs(1),
            machines: [machine(1), machine(2)],
            rng,
            events: BTreeMap::new(),
            count: 0,
            middlebox: None,
            narrow: None,
            tap: Tap::default(),
            next_port: 40_000,
            at_once: 0,
            super_packets: 0,
            mtu: 1500,
            loopback: Loopback::default(),
            looped: BTreeMap::new(),
        }
    }

    fn host(mut self, side: Side, host: Host) -> Lab {
        let rng = self.rng.split();
        let now = self.instant();
        let machine = &mut self.machines[side.index()];
        machine.kernel.settings = host.settings;
        if let Some(config) = host.tcpcrypt {
            machine.front = Box::new(endpoint(config, now, rng));
        }
        self
    }

    pub(crate) fn client(self, host: Host) -> Lab {
        self.host(Side::Client, host)
    }

    pub(crate) fn server(self, host: Host) -> Lab {
        self.host(Side::Server, host)
    }

    pub(crate) fn network(mut self, network: Network) -> Lab {
        self.set_network(network);
        self
    }

    /// What happens from now on to packets of both directions.
    pub(crate) fn set_network(&mut self, network: Network) {
        for side in SIDES {
            self.set_network_from(side, network.clone());
        }
    }

    /// What happens from now on to packets from one side.
    pub(crate) fn set_network_from(&mut self, side: Side, network: Network) {
        self.machines[side.index()].network = network;
    }

    pub(crate) fn set_middlebox(&mut self, middlebox: Middlebox) {
        self.middlebox = Some(middlebox);
    }

    pub(crate) fn remove_middlebox(&mut self) {
        self.middlebox = None;
    }

    /// The network cards do not look at checksums.
    pub(crate) fn set_cheap_cards(&mut self) {
        for machine in &mut self.machines {
            machine.card_checks = false;
        }
    }

    /// Puts something else in front of a kernel.
    pub(crate) fn set_front(&mut self, side: Side, front: Box<dyn Front>) {
        self.machines[side.index()].front = front;
    }

    pub(crate) fn endpoint(&mut self, side: Side) -> &mut Endpoint {
        let front = &mut self.machines[side.index()].front;
        front.endpoint().expect("this host has tcpcrypt")
    }

    pub(super) fn front(&mut self, side: Side) -> &mut dyn Front {
        self.machines[side.index()].front.as_mut()
    }

    pub(crate) fn kernel(&mut self, side: Side) -> &mut Kernel {
        &mut self.machines[side.index()].kernel
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    pub(crate) fn instant(&self) -> Instant {
        self.begin + self.now
    }

    // Connections.

    /// Opens a connection from a port; nothing is sent before [`Lab::run`].
    pub(crate) fn open_from(&mut self, opener: Side, port: u16) -> Conn {
        let remote = self.machines[opener.other().index()].kernel.address;
        self.machines[opener.other().index()].kernel.listen(PORT);
        let remote = SocketAddr::new(remote, PORT);
        let now = self.now;
        let socket = self.kernel(opener).connect(now, port, remote);
        Conn {
            opener,
            socket,
            other: None,
        }
    }

    /// Opens a connection from the client; nothing is sent before [`Lab::run`].
    pub(crate) fn open(&mut self) -> Conn {
        self.next_port += 1;
        self.open_from(Side::Client, self.next_port)
    }

    /// Both ends open the same connection at the same time.
    pub(crate) fn open_simultaneously(&mut self) -> Conn {
        let address = |lab: &mut Lab, side| SocketAddr::new(lab.kernel(side).address, 4000);
        let ends = SIDES.map(|side| address(self, side));
        let now = self.now;
        let socket = self.kernel(Side::Client).connect(now, 4000, ends[1]);
        let other = self.kernel(Side::Server).connect(now, 4000, ends[0]);
        Conn {
            opener: Side::Client,
            socket,
            other: Some(other),
        }
    }

    /// Opens a connection from the client and runs until both ends have it, for two minutes at
    /// most.
    pub(crate) fn connect(&mut self) -> Conn {
        let conn = self.open();
        self.run_until(Duration::from_secs(120), |lab| lab.is_established(conn));
        assert!(self.is_established(conn), "no connection after two minutes");
        conn
    }

    pub(crate) fn is_established(&self, conn: Conn) -> bool {
        let up = |side| self.state(conn, side) == Some(State::Established);
        SIDES.into_iter().all(up)
    }

    fn find(&self, conn: Conn, side: Side) -> Option<usize> {
        if side == conn.opener {
            return Some(conn.socket);
        }
        if conn.other.is_some() {
            return conn.other;
        }
        let opener = &self.machines[conn.opener.index()].kernel.sockets[conn.socket];
        let sockets = &self.machines[side.index()].kernel.sockets;
        sockets.iter().rposition(|s| {
            (s.tuple.local, s.tuple.remote) == (opener.tuple.remote, opener.tuple.local)
                && s.receive.as_ref().is_some_and(|r| r.seq(0) == opener.iss)
        })
    }

    pub(crate) fn socket(&self, conn: Conn, side: Side) -> Option<&Socket> {
        let id = self.find(conn, side)?;
        self.machines[side.index()].kernel.sockets.get(id)
    }

    pub(crate) fn state(&self, conn: Conn, side: Side) -> Option<State> {
        self.socket(conn, side).map(|s| s.state)
    }

    pub(crate) fn end(&self, conn: Conn, side: Side) -> Option<End> {
        self.socket(conn, side).and_then(|s| s.end)
    }

    /// What the application of a side has got so far.
    pub(crate) fn received(&self, conn: Conn, side: Side) -> &[u8] {
        let receive = self.socket(conn, side).and_then(|s| s.receive.as_ref());
        receive.map_or(&[], |r| r.data())
    }

    /// Whether a side has seen the end of what the other sends.
    pub(crate) fn saw_end(&self, conn: Conn, side: Side) -> bool {
        let receive = self.socket(conn, side).and_then(|s| s.receive.as_ref());
        receive.is_some_and(|r| r.is_finished())
    }

    fn with(&mut self, conn: Conn, side: Side, act: impl FnOnce(Duration, &mut Socket)) {
        let id = self.find(conn, side).expect("this side has the connection");
        act(
            self.now,
            &mut self.machines[side.index()].kernel.sockets[id],
        );
        self.push_out(side);
    }

    pub(crate) fn send(&mut self, conn: Conn, side: Side, data: &[u8]) {
        self.with(conn, side, |now, socket| socket.write(now, data));
    }

    /// The application has no more to send, and still reads.
    pub(crate) fn finish(&mut self, conn: Conn, side: Side) {
        self.with(conn, side, |now, socket| socket.shutdown(now));
    }

    /// The application neither sends nor reads any more.
    pub(crate) fn close(&mut self, conn: Conn, side: Side) {
        self.with(conn, side, |now, socket| socket.close(now));
    }

    pub(crate) fn abort(&mut self, conn: Conn, side: Side) {
        self.with(conn, side, |now, socket| socket.abort(now));
    }

    pub(crate) fn set_reading(&mut self, conn: Conn, side: Side, reading: bool) {
        self.with(conn, side, |now, socket| socket.set_reading(now, reading));
    }

    // Control socket.

    /// Asks the daemon of a side, as libtcpcrypt does.
    pub(crate) fn get(
        &mut self,
        conn: Conn,
        side: Side,
        option: OptionName,
    ) -> Result<Vec<u8>, i32> {
        let tuple = self.socket(conn, side).expect("a socket").tuple;
        let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (tuple.local, tuple.remote) else {
            return self.get_wide(tuple, side, option);
        };
        let header = Header::request(1, local, remote, option.number());
        let mut request = Vec::new();
        Datagram::write(&header, &[0; 64], &mut request);
        self.ask(side, &request)
    }

    fn get_wide(
        &mut self,
        tuple: FourTuple,
        side: Side,
        option: OptionName,
    ) -> Result<Vec<u8>, i32> {
        let inner = wide::Request {
            local: scoped(tuple.local),
            remote: scoped(tuple.remote),
            optname: option.number(),
            room: 64,
            value: &[],
        };
        let mut value = Vec::new();
        inner.write(&mut value);
        let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let header = Header::request(1, nobody, nobody, OptionName::Wide.number());
        let mut request = Vec::new();
        Datagram::write(&header, &value, &mut request);
        let answer = self.ask(side, &request)?;
        let answer = wide::Reply::parse(&answer).expect("an answer within");
        match answer.error {
            0 => Ok(answer.value.to_vec()),
            error => Err(error),
        }
    }

    fn ask(&mut self, side: Side, request: &[u8]) -> Result<Vec<u8>, i32> {
        let now = self.instant();
        let endpoint = self.endpoint(side);
        endpoint.handle_control(now, ClientId(1), request);
        let mut answer = Vec::new();
        let Some(ClientId(1)) = endpoint.poll_control(&mut answer) else {
            return Err(0);
        };
        let answer = Datagram::parse(&answer).expect("an answer");
        match answer.header.error {
            0 => Ok(answer.data.to_vec()),
            error => Err(error),
        }
    }

    /// The session id at one end of a connection that is encrypted.
    pub(crate) fn session_id(&mut self, conn: Conn, side: Side) -> Option<Vec<u8>> {
        self.get(conn, side, OptionName::SessionId).ok()
    }

    /// Lines of the daemon's log.
    pub(crate) fn log(&mut self, side: Side) -> Vec<String> {
        let endpoint = self.endpoint(side);
        let lines = std::iter::from_fn(|| endpoint.poll_event());
        lines.map(|event| event.to_string()).collect()
    }

    // Time.

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Lets time pass until something is so, and says whether it is.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Lab) -> bool) -> bool {
        let limit = self.now + limit;
        loop {
            for side in SIDES {
                self.push_out(side);
            }
            if done(self) {
                return true;
            }
            let next = self.next_event().filter(|at| *at <= limit);
            let Some(at) = next else {
                self.now = limit;
                return done(self);
            };
            if at > self.now {
                self.now = at;
                self.at_once = 0;
            }
            self.at_once += 1;
            assert!(
                self.at_once < 100_000,
                "time stands still at {:?}",
                self.now
            );
            self.happen();
        }
    }

    fn next_event(&self) -> Option<Duration> {
        let arrivals = [&self.events, &self.looped].map(|events| events.keys().next());
        let arrivals = arrivals.into_iter().flatten().map(|(at, _)| Some(*at));
        let timers = self.machines.iter().flat_map(|machine| {
            let front = machine.front.deadline();
            let front = front.map(|at| at.saturating_duration_since(self.begin));
            [machine.kernel.next_timer(), front]
        });
        let next = timers.chain(arrivals).flatten().min()?;
        Some(next.max(self.now))
    }

    fn happen(&mut self) {
        let now = self.now;
        let instant = self.instant();
        for side in SIDES {
            let machine = &mut self.machines[side.index()];
            if machine.kernel.next_timer().is_some_and(|at| at <= now) {
                machine.kernel.time_out(now);
            }
            if machine.front.deadline().is_some_and(|at| at <= instant) {
                machine.front.time_out(instant);
            }
            self.push_out(side);
        }
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (side, packet) = entry.remove();
            self.arrive(side, &packet);
            self.push_out(side);
        }
        while let Some(entry) = self.looped.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (side, packet) = entry.remove();
            self.kernel(side).packet(now, &packet);
            self.push_out(side);
        }
    }

    // Packets.

    /// Everything that a machine has to send goes out, through what stands in front of it.
    fn push_out(&mut self, side: Side) {
        let instant = self.instant();
        for round in 0.. {
            assert!(round < 10_000, "a machine talks to itself");
            let kernel = &mut self.machines[side.index()].kernel;
            let packets = kernel.take_packets();
            if kernel.settings.super_packets {
                let done = packets.is_empty();
                let bursts = bursts(packets, |view| kernel.segment_size(view));
                for burst in bursts {
                    self.push_burst(side, burst);
                    self.own_packets(side);
                }
                self.own_packets(side);
                if done {
                    break;
                }
                continue;
            }
            for packet in &packets {
                let mut out = Vec::new();
                let front = &mut self.machines[side.index()].front;
                let verdict = front.packet(instant, Direction::Out, packet, &mut out);
                if let Some(packet) = judged(verdict, packet, out) {
                    self.wire(side, packet);
                }
                self.own_packets(side);
            }
            self.own_packets(side);
            if packets.is_empty() {
                break;
            }
        }
    }

    /// Segments that leave together, behind which the device does its work.
    fn push_burst(&mut self, side: Side, burst: Burst) {
        let instant = self.instant();
        let notes = Notes {
            checksum: Checksum::Missing,
            is_super: burst.size.is_some(),
            ..Notes::default()
        };
        let packet = without_checksum(&burst.packet);
        let mut out = Vec::new();
        let front = &mut self.machines[side.index()].front;
        let verdict = front.noted(instant, Direction::Out, &packet, notes, &mut out);
        let segments = match (judged(verdict, &packet, out), verdict, burst.size) {
            (None, ..) => Vec::new(),
            (Some(_), Verdict::Accept, _) => burst.segments,
            (Some(packet), _, None) => vec![packet],
            (Some(packet), _, Some(size)) => cut(&packet, size),
        };
        self.super_packets += u64::from(burst.size.is_some() && verdict == Verdict::Replace);
        for segment in segments {
            self.wire(side, segment);
        }
    }

    /// The packets that the daemon makes itself.
    fn own_packets(&mut self, side: Side) {
        for round in 0.. {
            assert!(round < 100_000, "a daemon has no end of packets");
            let mut out = Vec::new();
            let Some(direction) = self.machines[side.index()].front.transmit(&mut out) else {
                assert_eq!(out, [], "no packet, and yet octets");
                break;
            };
            assert!(is_whole(&out), "a packet of the daemon's own: {out:02x?}");
            match direction {
                Direction::Out => self.wire(side, out),
                Direction::In => self.loop_back(side, out),
            }
        }
    }

    fn loop_back(&mut self, side: Side, packet: Vec<u8>) {
        let Loopback { loss, delay } = self.loopback;
        if loss > 0.0 && self.rng.chance(loss) {
            return;
        }
        if delay.is_zero() {
            let now = self.now;
            self.kernel(side).packet(now, &packet);
            return;
        }
        self.count += 1;
        let at = (self.now + delay, self.count);
        self.looped.insert(at, (side, packet));
    }

    fn arrive(&mut self, side: Side, packet: &[u8]) {
        if narrow::is_message(packet) {
            self.hear(side, packet);
            return;
        }
        let now = self.now;
        let instant = self.instant();
        let machine = &mut self.machines[side.index()];
        if machine.card_checks && !checksums_are_right(packet) {
            machine.kernel.bad_checksums += 1;
            return;
        }
        let mut out = Vec::new();
        let verdict = if machine.kernel.settings.super_packets && packet.len() > self.mtu {
            // The card has put it together from segments that it found right.
            let notes = Notes {
                checksum: Checksum::Missing,
                is_super: true,
                ..Notes::default()
            };
            let packet = without_checksum(packet);
            machine
                .front
                .noted(instant, Direction::In, &packet, notes, &mut out)
        } else {
            machine
                .front
                .packet(instant, Direction::In, packet, &mut out)
        };
        if let Some(packet) = judged(verdict, packet, out) {
            machine.kernel.packet(now, &packet);
        }
        self.own_packets(side);
    }

    fn wire(&mut self, from: Side, packet: Vec<u8>) {
        assert!(
            packet.len() <= self.mtu,
            "{} octets on the wire",
            packet.len()
        );
        self.tap.seen.push(Seen {
            at: self.now,
            from,
            packet: packet.clone(),
        });
        let passed = match &mut self.middlebox {
            Some(middlebox) => middlebox(from, packet),
            None => vec![packet],
        };
        for packet in passed {
            self.transport(from, packet);
        }
    }

    /// Puts an attacker's packet onto the wire, behind the tap.
    pub(crate) fn inject(&mut self, from: Side, packet: Vec<u8>) {
        self.transport(from, packet);
    }

    /// Hands a packet to a host as the network does that harms nothing.
    pub(super) fn arrive_later(&mut self, to: Side, packet: Vec<u8>) {
        self.count += 1;
        let at = self.now + Network::clean().delay;
        self.events.insert((at, self.count), (to, packet));
    }

    fn transport(&mut self, from: Side, packet: Vec<u8>) {
        if !self.comes_through(from, &packet) {
            return;
        }
        let machine = &mut self.machines[from.index()];
        let network = machine.network.clone();
        for (delay, packet) in network.carry(&mut self.rng, packet) {
            let mut at = self.now + delay;
            if self.rng.chance(network.reorder) {
                at += delay * (1 + self.rng.below(4) as u32) / 4;
            } else {
                let machine = &mut self.machines[from.index()];
                at = at.max(machine.last_arrival);
                machine.last_arrival = at;
            }
            let to = from.other();
            if self.rng.chance(network.merge) && self.merge(to, &packet) {
                continue;
            }
            self.count += 1;
            self.events.insert((at, self.count), (to, packet));
            let under_way = self.events.len();
            assert!(under_way < 50_000, "a storm at {:?}", self.now);
        }
    }

    /// Puts a packet together with one that is under way.
    fn merge(&mut self, to: Side, packet: &[u8]) -> bool {
        for (side, before) in self.events.values_mut().rev() {
            if *side == to {
                if let Some(whole) = merged(before, packet) {
                    *before = whole;
                    return true;
                }
            }
        }
        false
    }
}

/// What goes on after a verdict. Checks what an endpoint promises about it.
fn judged(verdict: Verdict, packet: &[u8], out: Vec<u8>) -> Option<Vec<u8>> {
    match verdict {
        Verdict::Replace => {
            assert!(is_whole(&out), "a replaced packet: {out:02x?}");
            Some(out)
        }
        Verdict::Accept => {
            assert_eq!(out, [], "accepted, and yet octets");
            Some(packet.to_vec())
        }
        Verdict::Drop => {
            assert_eq!(out, [], "dropped, and yet octets");
            None
        }
    }
}

fn is_whole(packet: &[u8]) -> bool {
    View::parse(packet).is_ok_and(|view| view.total_length() == packet.len())
        && checksums_are_right(packet)
}
