//! Two engines in one process bring up a tunnel and take it down again. Run it with
//! `cargo run -p ike --example back_to_back`.
//!
//! It shows all that a program has to do for an engine: carry datagrams, do its public-key work, answer what it asks of
//! the kernel, log its lines, and wake it up when it wants to be woken.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::time::Instant;

use ike::credentials::{Certificate, CredentialError, Credentials, PeerKey, Signer};
use ike::event::{Event, Path};
use ike::kernel::Request;
use ike::random::{Purpose, Random};
use ike::{Engine, Options, Phase, Setup};
use isakmp_proto::identity::Identity;
use isakmpd_conf::host::Host;
use isakmpd_conf::{Running, Store};

/// What both ends have in common; `LOCAL` and `REMOTE` differ.
const CONFIGURATION: &str = "
[Phase 1]
REMOTE= the-peer

[Phase 2]
Passive-connections= tunnel

[the-peer]
Phase= 1
Address= REMOTE
Configuration= main-mode
Authentication= correct horse battery staple

[main-mode]
EXCHANGE_TYPE= ID_PROT
Transforms= AES-SHA2-256-GRP14

[tunnel]
Phase= 2
ISAKMP-peer= the-peer
Configuration= quick-mode
Local-ID= net-LOCAL
Remote-ID= net-REMOTE

[quick-mode]
EXCHANGE_TYPE= QUICK_MODE
Suites= QM-ESP-AES-SHA2-256-SUITE

[net-192.0.2.1]
ID-type= IPV4_ADDR_SUBNET
Network= 10.1.0.0
Netmask= 255.255.0.0

[net-192.0.2.2]
ID-type= IPV4_ADDR_SUBNET
Network= 10.2.0.0
Netmask= 255.255.0.0
";

/// No certificates: the peers know a pre-shared key.
struct NoCertificates;

impl Credentials for NoCertificates {
    fn has_ca(&self) -> bool {
        false
    }

    fn certificate_of(&self, _: &Identity, _: &[Vec<u8>]) -> Option<Certificate> {
        None
    }

    fn signer_of(&self, _: &Identity) -> Result<std::sync::Arc<dyn Signer>, CredentialError> {
        Err(CredentialError("no private key".into()))
    }

    fn key_of(&self, _: &Identity, _: &[Certificate]) -> Result<PeerKey, CredentialError> {
        Err(CredentialError("no public key".into()))
    }
}

/// A counter. A real program takes octets that nobody can guess.
struct Counter(u64);

impl Random for Counter {
    fn fill(&mut self, _: Purpose, octets: &mut [u8]) {
        for octet in octets {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *octet = (self.0 >> 56) as u8;
        }
    }
}

/// One end of the tunnel.
struct End {
    name: &'static str,
    engine: Engine,
    next_spi: u32,
}

impl End {
    fn new(name: &'static str, local: &str, remote: &str, seed: u64, now: Instant) -> Self {
        let text = CONFIGURATION
            .replace("LOCAL", local)
            .replace("REMOTE", remote);
        let (store, problems) = Store::parse(text.as_bytes());
        assert!(problems.is_empty(), "{problems:?}");
        let host = Host {
            port: 500,
            ..Host::default()
        };
        let setup = Setup {
            configuration: Rc::new(Running::new(store, host)),
            credentials: Rc::new(NoCertificates),
            policy: None,
            random: Box::new(Counter(seed)),
            options: Options::default(),
        };
        let mut engine = Engine::new(setup, now);
        let socket = format!("{local}:500").parse().expect("an address");
        engine.set_local_addresses(vec![socket]);
        engine.set_verbose(true);
        Self {
            name,
            engine,
            next_spi: 0x1000,
        }
    }

    /// Does all that the engine asks for; what is to be sent comes out.
    fn work(&mut self, now: Instant) -> Vec<(Path, Vec<u8>)> {
        let mut datagrams = Vec::new();
        let mut octets = Vec::new();
        loop {
            if let Some(event) = self.engine.poll_event() {
                self.event(now, event);
            } else if let Some((id, job)) = self.engine.poll_job() {
                // A daemon does this in another thread and goes on meanwhile.
                self.engine.handle_job(now, id, job.run());
            } else if let Some(transmit) = self.engine.poll_transmit(&mut octets) {
                datagrams.push((transmit.path, octets.clone()));
            } else {
                return datagrams;
            }
        }
    }

    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Log(record) => println!("{}: {}", self.name, record.text),
            Event::Kernel(Request::AllocateSpi { ticket, .. }) => {
                self.next_spi += 1;
                self.engine.handle_spi(now, ticket, Some(self.next_spi));
            }
            Event::Kernel(Request::Install(ticket, suite)) => {
                println!("{}: installs {} SAs", self.name, 2 * suite.incoming.len());
                self.engine.handle_installed(now, ticket, Ok(()));
            }
            Event::Kernel(Request::Remove { protocols, .. }) => {
                println!("{}: removes {} SAs", self.name, 2 * protocols.len());
            }
            Event::Kernel(Request::LastUse { ticket, .. }) => {
                self.engine.handle_last_use(now, ticket, None);
            }
            Event::Kernel(
                Request::ReleaseSpi { .. } | Request::InstallIncoming(_) | Request::Move { .. },
            )
            | Event::Capture(_)
            | Event::Drained => {}
        }
    }
}

/// Carries datagrams until both ends have nothing more to say. What one end sends from its address arrives at the
/// other as coming from there.
fn carry(ends: &mut [End; 2], now: Instant) {
    loop {
        let mut quiet = true;
        for from in 0..2 {
            for (path, octets) in ends[from].work(now) {
                quiet = false;
                let arrived = Path {
                    local: path.remote,
                    remote: path.local,
                    ..path
                };
                ends[1 - from].engine.handle_datagram(now, arrived, &octets);
            }
        }
        if quiet {
            return;
        }
    }
}

fn main() {
    let now = Instant::now();
    let (a, b) = ("192.0.2.1", "192.0.2.2");
    let mut ends = [
        End::new("left", a, b, 1, now),
        End::new("right", b, a, 2, now),
    ];

    // As `c tunnel` in the FIFO does. A program calls `handle_timeout` when `poll_timeout` says.
    ends[0].engine.keep_up(now, "tunnel");
    ends[0].engine.handle_timeout(now);
    carry(&mut ends, now);

    let mut status = String::new();
    ends[1].engine.write_sas(now, &mut status);
    println!("\nright has\n\n{status}");

    // As `t tunnel`.
    ends[0].engine.teardown(now, Phase::Two, "tunnel");
    carry(&mut ends, now);
}
