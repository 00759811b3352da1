//! Datagrams into an initiator and a responder that also talk to each other: nothing panics, tables stay bounded, and
//! when the forgeries end, the two come to an SA.
//!
//! The input is steps: an octet says what happens. 0x00-0x3f: so many tenths of a second pass. 0x40-0x7f: the next
//! datagram of a side is lost, doubled or changed. 0x80-0xff: octets of the input, raw or in place of a datagram's end,
//! go to a side.
#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ike::credentials::{Certificate, CredentialError, Credentials, PeerKey, Signer};
use ike::event::{Event, Path};
use ike::kernel::Request;
use ike::random::{Purpose, Random};
use ike::{Engine, Options, Setup};
use isakmp_proto::identity::Identity;
use isakmpd_conf::host::Host;
use isakmpd_conf::{Running, Store};
use libfuzzer_sys::fuzz_target;

struct Nothing;

impl Credentials for Nothing {
    fn has_ca(&self) -> bool {
        false
    }
    fn certificate_of(&self, _: &Identity, _: &[Vec<u8>]) -> Option<Certificate> {
        None
    }
    fn signer_of(&self, _: &Identity) -> Result<Arc<dyn Signer>, CredentialError> {
        Err(CredentialError("none".into()))
    }
    fn key_of(&self, _: &Identity, _: &[Certificate]) -> Result<PeerKey, CredentialError> {
        Err(CredentialError("none".into()))
    }
}

/// The same octets for the same input.
struct Counted(Arc<AtomicU64>);

impl Random for Counted {
    fn fill(&mut self, _: Purpose, octets: &mut [u8]) {
        for chunk in octets.chunks_mut(8) {
            let number = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (number ^ number >> 29).to_be_bytes();
            chunk.copy_from_slice(&mixed[..chunk.len()]);
        }
    }
}

struct Side {
    engine: Engine,
    random: Counted,
    sent: Vec<(Path, Vec<u8>)>,
    done: bool,
}

const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

impl Side {
    fn new(index: usize, aggressive: bool, now: Instant) -> Self {
        let remote = ADDRESSES[1 - index];
        let (mine, theirs) = (index + 1, 2 - index);
        let mode = if aggressive { "AGGRESSIVE" } else { "ID_PROT" };
        let text = format!(
            "[Phase 1]\n{remote}= p\n[Phase 2]\nPassive-connections= c\n[p]\nPhase= 1\nAddress= {remote}\n\
             Configuration= m\nAuthentication= secret\n[m]\nEXCHANGE_TYPE= {mode}\nTransforms= AES-SHA2-256-GRP19\n\
             [c]\nPhase= 2\nISAKMP-peer= p\nConfiguration= q\nLocal-ID= n{mine}\nRemote-ID= n{theirs}\n\
             [n1]\nID-type= IPV4_ADDR\nAddress= 10.0.0.1\n[n2]\nID-type= IPV4_ADDR\nAddress= 10.0.0.2\n\
             [q]\nEXCHANGE_TYPE= QUICK_MODE\nSuites= QM-ESP-AES-SHA2-256-SUITE\n"
        );
        let (store, _) = Store::parse(text.as_bytes());
        let counter = Arc::new(AtomicU64::new(1 + ((index as u64) << 32)));
        let setup = Setup {
            configuration: Rc::new(Running::new(store, Host::default())),
            credentials: Rc::new(Nothing),
            policy: None,
            random: Box::new(Counted(Arc::clone(&counter))),
            options: Options::default(),
        };
        let mut engine = Engine::new(setup, now);
        engine.set_verbose(true);
        engine.set_capture(true);
        engine.set_local_addresses(vec![address(index, false)]);
        Self {
            engine,
            random: Counted(counter),
            sent: Vec::new(),
            done: false,
        }
    }

    fn turn(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        loop {
            let mut idle = true;
            while let Some((id, job)) = self.engine.poll_job() {
                idle = false;
                self.engine.handle_job(now, id, job.run());
            }
            while let Some(event) = self.engine.poll_event() {
                idle = false;
                match event {
                    Event::Log(record) => {
                        self.done |= record.text.starts_with("isakmpd: phase 1 done");
                    }
                    Event::Kernel(Request::AllocateSpi { ticket, .. }) => {
                        let mut spi = [0; 4];
                        self.random.fill(Purpose::Spi, &mut spi);
                        self.engine
                            .handle_spi(now, ticket, Some(u32::from_be_bytes(spi)));
                    }
                    Event::Kernel(Request::Install(ticket, _)) => {
                        self.engine.handle_installed(now, ticket, Ok(()));
                    }
                    _ => {}
                }
            }
            let mut octets = Vec::new();
            while let Some(transmit) = self.engine.poll_transmit(&mut octets) {
                idle = false;
                if !transmit.keepalive {
                    self.sent.push((transmit.path, octets.clone()));
                }
            }
            if idle {
                break;
            }
        }
        assert!(
            self.engine.exchange_summaries().count() < 400,
            "exchanges without bound"
        );
    }
}

fn address(index: usize, encapsulated: bool) -> SocketAddr {
    let ip: IpAddr = ADDRESSES[index].parse().expect("an address");
    SocketAddr::new(ip, if encapsulated { 4500 } else { 500 })
}

fn path_to(index: usize, encapsulated: bool) -> Path {
    Path {
        local: address(index, encapsulated),
        remote: address(1 - index, encapsulated),
        encapsulated,
    }
}

fn deliver(sides: &mut [Side; 2], now: Instant) {
    for index in 0..2 {
        for (path, octets) in std::mem::take(&mut sides[index].sent) {
            let to = path_to(1 - index, path.encapsulated);
            sides[1 - index].engine.handle_datagram(now, to, &octets);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((first, mut data)) = data.split_first() else {
        return;
    };
    let mut now = Instant::now();
    let mut sides = [
        Side::new(0, first & 1 != 0, now),
        Side::new(1, first & 1 != 0, now),
    ];
    sides[0].engine.keep_up(now, "c");
    let mut forged = 0;
    for _ in 0..64 {
        let Some((step, rest)) = data.split_first() else {
            break;
        };
        data = rest;
        sides.iter_mut().for_each(|side| side.turn(now));
        let index = usize::from(step & 1);
        match step {
            0x00..=0x3f => {
                now += Duration::from_millis(100 * u64::from(*step));
                deliver(&mut sides, now);
            }
            0x40..=0x7f => {
                let Some((path, mut octets)) = sides[index].sent.pop() else {
                    continue;
                };
                let to = path_to(1 - index, path.encapsulated);
                if step & 2 != 0 {
                    sides[1 - index].engine.handle_datagram(now, to, &octets);
                }
                if let ([at, value, ..], true) = (data, step & 4 != 0) {
                    let at = usize::from(*at) * octets.len() / 256;
                    octets[at] ^= value;
                    data = &data[2..];
                    forged += 1;
                    sides[1 - index].engine.handle_datagram(now, to, &octets);
                }
            }
            _ => {
                let length = usize::from(step >> 1 & 0x3f).min(data.len());
                let (piece, rest) = data.split_at(length);
                data = rest;
                forged += 1;
                let to = path_to(1 - index, step & 1 != 0);
                // In place of the end of a genuine one, its length right.
                let mut octets = match sides[index].sent.last() {
                    Some((_, genuine)) => {
                        let keep = genuine.len().saturating_sub(length);
                        [&genuine[..keep], piece].concat()
                    }
                    None => piece.to_vec(),
                };
                if octets.len() >= 28 {
                    let length = u32::try_from(octets.len()).unwrap_or(0).to_be_bytes();
                    octets[24..28].copy_from_slice(&length);
                }
                sides[1 - index].engine.handle_datagram(now, to, &octets);
            }
        }
    }
    // Then the network is good; the connection is tried again every minute.
    for _ in 0..900 {
        if sides.iter().all(|side| side.done) {
            break;
        }
        sides.iter_mut().for_each(|side| side.turn(now));
        deliver(&mut sides, now);
        now += Duration::from_millis(500);
    }
    assert!(
        sides.iter().all(|side| side.done),
        "no SA after {forged} forged messages"
    );
    // And every exchange ends.
    for _ in 0..140 {
        now += Duration::from_secs(1);
        sides[1].turn(now);
    }
    let left = sides[1]
        .engine
        .exchange_summaries()
        .filter(|exchange| exchange.phase == 1)
        .count();
    assert_eq!(left, 0, "exchanges outlive Exchange-max-time");
});
