//! Two engines, a network between them, kernels that only remember, and a clock that stands still until told.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod sections;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ike::config::Configuration;
use ike::event::{Event, Path};
use ike::job::{Job, JobResult};
use ike::journal::Kind;
use ike::kernel::{Request, SaParameters};
use ike::policy::Policy;
use ike::random::{Purpose, Random};
use ike::{Engine, Options, Setup};
use kx_crypto::key_exchange_group::KeyPair;
use kx_secret::SecretBytes;

use sections::{Sections, esp, network, phase1, protocol, quick_mode};

/// A small generator, the same in every run.
#[derive(Clone)]
pub struct Lcg(pub Rc<Cell<u64>>);

impl Lcg {
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(Cell::new(seed.wrapping_mul(2).wrapping_add(1))))
    }

    pub fn next(&self) -> u32 {
        let state = self
            .0
            .get()
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0.set(state);
        let mixed = (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 32) as u32
    }

    /// Below `limit`.
    pub fn below(&self, limit: u32) -> u32 {
        self.next() % limit.max(1)
    }
}

impl Random for Lcg {
    fn fill(&mut self, _: Purpose, octets: &mut [u8]) {
        for octet in octets {
            *octet = self.next() as u8;
        }
    }
}

/// Does public-key work without doing it: every pair agrees on the same secret.
pub fn imitated(job: Job) -> JobResult {
    fn public(group: kx_crypto::key_exchange_group::Group) -> Vec<u8> {
        vec![7; group.public_len()]
    }
    thread_local! {
        static PAIRS: std::cell::RefCell<BTreeMap<u16, Vec<u8>>> = const { std::cell::RefCell::new(BTreeMap::new()) };
    }
    match job {
        Job::Generate(group) => {
            // The pair is only a passenger; one real secret for each group is made once.
            let secret = PAIRS.with_borrow_mut(|pairs| {
                pairs
                    .entry(group.number())
                    .or_insert_with(|| vec![9; 20])
                    .clone()
            });
            let pair = KeyPair::from_secret(group, &secret)
                .or_else(|_| KeyPair::generate(group))
                .expect("a key pair");
            JobResult::Generated(public(group), Box::new(pair))
        }
        Job::GenerateAndAgree(group, _) => JobResult::GeneratedAndAgreed(Some((
            public(group),
            SecretBytes::from(vec![5; group.secret_len()]),
        ))),
        Job::Agree(pair, _) => {
            JobResult::Agreed(Some(SecretBytes::from(vec![5; pair.group().secret_len()])))
        }
        other => other.run(),
    }
}

/// One direction as the kernel got it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Direction {
    pub protocol: u8,
    pub spi: u32,
    pub tunnel: bool,
    pub udp: bool,
    pub encryption: Vec<u8>,
    pub authentication: Vec<u8>,
}

impl Direction {
    fn of(sa: &SaParameters) -> Self {
        Self {
            protocol: sa.protocol,
            spi: sa.spi,
            tunnel: sa.tunnel,
            udp: sa.udp_encapsulation,
            encryption: sa.encryption_key.as_slice().to_vec(),
            authentication: sa.authentication_key.as_slice().to_vec(),
        }
    }
}

/// A suite in a kernel: what it receives with and what it sends with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Installed {
    pub name: Option<String>,
    pub incoming: Vec<Direction>,
    pub outgoing: Vec<Direction>,
    pub flow: bool,
}

/// From where, to where, and the protocols and SPIs of the SAs.
pub type Move = (SocketAddr, SocketAddr, Vec<(u8, u32, u32)>);

/// A kernel that remembers.
#[derive(Default)]
pub struct Kernel {
    next_spi: u32,
    /// By the first incoming SPI.
    pub installed: BTreeMap<u32, Installed>,
    pub spis: BTreeSet<(u8, u32)>,
    pub refuse_install: bool,
    pub refuse_spi: bool,
    pub idle: Option<Duration>,
    pub installations: usize,
    /// Where peers went.
    pub moves: Vec<Move>,
    /// Incoming SAs that came before their suite.
    pub early: Vec<Direction>,
}

/// One end.
pub struct Host {
    pub engine: Engine,
    pub address: SocketAddr,
    pub kernel: Kernel,
    pub log: Vec<String>,
    pub drained: bool,
    pub sent: usize,
}

impl Host {
    pub fn new(
        address: &str,
        configuration: Rc<dyn Configuration>,
        policy: Option<Rc<dyn Policy>>,
        random: Lcg,
        options: Options,
        now: Instant,
    ) -> Self {
        let address: SocketAddr = address.parse().expect("an address");
        let spi = random.next() % 1_000_000;
        let mut engine = Engine::new(
            Setup {
                configuration,
                credentials: Rc::new(sections::NoCredentials),
                policy,
                random: Box::new(random),
                options,
            },
            now,
        );
        engine.set_local_addresses(vec![address]);
        engine.set_verbose(true);
        Self {
            engine,
            address,
            kernel: Kernel {
                next_spi: 0x1000 + spi,
                ..Kernel::default()
            },
            log: Vec::new(),
            drained: false,
            sent: 0,
        }
    }

    pub fn said(&self, text: &str) -> bool {
        self.log.iter().any(|line| line.contains(text))
    }

    pub fn sas(&self, now: Instant) -> String {
        let mut text = String::new();
        self.engine.write_sas(now, &mut text);
        text
    }

    fn kernel_request(&mut self, now: Instant, request: Request) {
        match request {
            Request::AllocateSpi {
                ticket, protocol, ..
            } => {
                let spi = (!self.kernel.refuse_spi).then(|| {
                    self.kernel.next_spi += 1;
                    let spi = self.kernel.next_spi;
                    let spi = if protocol == 4 {
                        256 + spi % 60_000
                    } else {
                        spi
                    };
                    self.kernel.spis.insert((protocol, spi));
                    spi
                });
                self.engine.handle_spi(now, ticket, spi);
            }
            Request::ReleaseSpi { protocol, spi, .. } => {
                assert!(
                    self.kernel.spis.remove(&(protocol, spi)),
                    "released twice: {spi:x}"
                );
            }
            Request::InstallIncoming(installation) => {
                assert!(installation.outgoing.is_empty());
                let early = installation.incoming.iter().map(Direction::of);
                self.kernel.early.extend(early);
            }
            Request::Install(ticket, installation) => {
                if self.kernel.refuse_install {
                    let refused = Err("kernel: no memory".to_owned());
                    return self.engine.handle_installed(now, ticket, refused);
                }
                let suite = Installed {
                    name: installation.name.clone(),
                    incoming: installation.incoming.iter().map(Direction::of).collect(),
                    outgoing: installation.outgoing.iter().map(Direction::of).collect(),
                    flow: installation.with_flow,
                };
                self.kernel.installations += 1;
                self.kernel.installed.insert(suite.incoming[0].spi, suite);
                self.engine.handle_installed(now, ticket, Ok(()));
            }
            Request::Remove { protocols, .. } => {
                for (protocol, incoming, _) in protocols {
                    self.kernel.installed.remove(&incoming);
                    self.kernel.spis.remove(&(protocol, incoming));
                }
            }
            Request::Move {
                from,
                to,
                protocols,
                ..
            } => self.kernel.moves.push((from, to, protocols)),
            Request::LastUse { ticket, .. } => {
                let idle = self.kernel.idle;
                self.engine.handle_last_use(now, ticket, idle);
            }
        }
    }

    /// Does everything the engine asks for; messages come back.
    pub fn settle(&mut self, now: Instant, work: fn(Job) -> JobResult) -> Vec<(Path, Vec<u8>)> {
        let mut messages = Vec::new();
        let mut octets = Vec::new();
        loop {
            if let Some(event) = self.engine.poll_event() {
                match event {
                    Event::Log(record) => {
                        if !matches!(record.kind, Kind::Debug(..)) {
                            self.log.push(record.text);
                        }
                    }
                    Event::Kernel(request) => self.kernel_request(now, request),
                    Event::Capture(_) => {}
                    Event::Drained => self.drained = true,
                }
            } else if let Some((id, job)) = self.engine.poll_job() {
                self.engine.handle_job(now, id, work(job));
            } else if let Some(transmit) = self.engine.poll_transmit(&mut octets) {
                self.sent += 1;
                if !transmit.keepalive {
                    messages.push((transmit.path, octets.clone()));
                }
            } else {
                return messages;
            }
        }
    }
}

/// What the network does to a datagram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Of a hundred.
    pub lost: u32,
    /// Of a hundred.
    pub duplicated: u32,
    /// Milliseconds, at most; different delays reorder.
    pub delay: u32,
}

/// A datagram under way.
#[derive(Clone, Debug)]
struct Datagram {
    to: usize,
    path: Path,
    octets: Vec<u8>,
}

/// Two hosts and what is between them.
pub struct World {
    pub now: Instant,
    pub hosts: Vec<Host>,
    pub faults: Faults,
    /// A NAT in front of the first host: its address, and what it adds to ports.
    pub nat: Option<(IpAddr, u16)>,
    pub random: Lcg,
    pub work: fn(Job) -> JobResult,
    /// Everything that was on the wire.
    pub capture: Vec<(usize, Vec<u8>)>,
    pub keep_capture: bool,
    wire: BTreeMap<(Instant, u64), Datagram>,
    next: u64,
}

impl World {
    pub fn new(hosts: Vec<Host>, now: Instant, random: Lcg) -> Self {
        Self {
            now,
            hosts,
            faults: Faults::default(),
            nat: None,
            random,
            work: imitated,
            capture: Vec::new(),
            keep_capture: false,
            wire: BTreeMap::new(),
            next: 0,
        }
    }

    fn put_on_wire(&mut self, to: usize, path: Path, octets: &[u8]) {
        let copies = 1 + u32::from(self.random.below(100) < self.faults.duplicated);
        for _ in 0..copies {
            if self.random.below(100) < self.faults.lost {
                continue;
            }
            let delay = Duration::from_millis(u64::from(self.random.below(self.faults.delay + 1)));
            self.next += 1;
            let datagram = Datagram {
                to,
                path,
                octets: octets.to_vec(),
            };
            self.wire.insert((self.now + delay, self.next), datagram);
        }
    }

    /// Delivers a datagram of nobody's to a host, as if it came from `from`.
    pub fn inject(&mut self, to: usize, from: SocketAddr, octets: &[u8]) {
        let path = Path {
            local: self.hosts[to].address,
            remote: from,
            encapsulated: false,
        };
        self.hosts[to]
            .engine
            .handle_datagram(self.now, path, octets);
        self.settle();
    }

    /// Which host a message gets to, and what that sees. None: it has nowhere to go.
    fn route(&self, from: usize, path: Path) -> Option<(usize, Path)> {
        let (mut source, mut target) = (path.local, path.remote);
        if let Some((address, more)) = self.nat {
            if from == 0 {
                source = SocketAddr::new(address, source.port() + more);
            } else {
                let port = target.port().checked_sub(more)?;
                if target.ip() != address || ![500, 4500].contains(&port) {
                    return None;
                }
                target = SocketAddr::new(self.hosts[0].address.ip(), port);
            }
        }
        let mut hosts = self.hosts.iter();
        let to = hosts.position(|host| host.address.ip() == target.ip())?;
        let seen = Path {
            local: target,
            remote: source,
            encapsulated: path.encapsulated,
        };
        Some((to, seen))
    }

    /// Everything that happens without time going on.
    pub fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for from in 0..self.hosts.len() {
                let messages = self.hosts[from].settle(self.now, self.work);
                for (path, octets) in messages {
                    quiet = false;
                    if self.keep_capture {
                        self.capture.push((from, octets.clone()));
                    }
                    if let Some((to, seen)) = self.route(from, path) {
                        self.put_on_wire(to, seen, &octets);
                    }
                }
            }
            while let Some(entry) = self.wire.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                quiet = false;
                let datagram = entry.remove();
                let host = &mut self.hosts[datagram.to];
                host.engine
                    .handle_datagram(self.now, datagram.path, &datagram.octets);
            }
            if quiet {
                return;
            }
        }
    }

    /// When something happens next.
    fn next_event(&self) -> Option<Instant> {
        let timeouts = self
            .hosts
            .iter()
            .filter_map(|host| host.engine.poll_timeout());
        let wire = self.wire.first_key_value().map(|((due, _), _)| *due);
        timeouts.chain(wire).min()
    }

    /// Lets time go on.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some(due) = self.next_event().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            for host in &mut self.hosts {
                if host
                    .engine
                    .poll_timeout()
                    .is_some_and(|due| due <= self.now)
                {
                    host.engine.handle_timeout(self.now);
                }
            }
            self.settle();
        }
        self.now = end;
    }

    /// `c NAME` at a host, and what follows at once.
    pub fn connect(&mut self, host: usize, name: &str) {
        self.hosts[host].engine.keep_up(self.now, name);
        self.run(Duration::ZERO);
    }

    /// Every suite of each kernel has its counterpart with the same keys in the other.
    pub fn same_sas(&self) -> Result<(), String> {
        let [a, b] = &self.hosts[..] else {
            return Err("two hosts".into());
        };
        for (one, other, name) in [(a, b, "a"), (b, a, "b")] {
            for (spi, suite) in &one.kernel.installed {
                let found = other.kernel.installed.values().any(|theirs| {
                    theirs.incoming == suite.outgoing && theirs.outgoing == suite.incoming
                });
                if !found {
                    return Err(format!("{name} alone has {spi:x} ({:?})", suite.name));
                }
            }
        }
        Ok(())
    }
}

/// The other end's address.
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Name of a connection of [`pair`].
pub fn tunnel(n: u32) -> String {
    format!("tunnel-{n}")
}

/// 10.0.0.1 and 10.0.0.2 with so many connections to each other. Lives in seconds: of the suites, of the ISAKMP SA.
pub fn pair(connections: u32, life: (u32, u32), group: Option<u16>, dpd: u64, seed: u64) -> World {
    let qm = quick_mode(vec![vec![protocol(3, vec![esp(life.0, group)])]]);
    let a = Sections::new(ip("10.0.0.2"), phase1(2, life.1));
    let b = Sections::new(ip("10.0.0.1"), phase1(2, life.1));
    for n in 0..connections {
        let (ours, theirs) = (network(0, n), network(1, n));
        for (sections, local, remote) in [(&a, &ours, &theirs), (&b, &theirs, &ours)] {
            let ids = (Some(local.clone()), Some(remote.clone()));
            sections.connection(&tunnel(n), "peer", ids.0, ids.1, &qm);
        }
    }
    for sections in [&a, &b] {
        sections.change_general(|general| {
            general.dpd_check_interval = Some(Duration::from_secs(dpd));
        });
    }
    let now = Instant::now();
    let host = |address, sections: Sections, more| {
        let random = Lcg::new(seed.wrapping_add(more));
        let options = Options::default();
        Host::new(address, Rc::new(sections), None, random, options, now)
    };
    let hosts = vec![host("10.0.0.1:500", a, 1), host("10.0.0.2:500", b, 2)];
    World::new(hosts, now, Lcg::new(seed))
}
