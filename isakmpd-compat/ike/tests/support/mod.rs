//! What the tests of the engine share: recordings of the original, a source of recorded octets, jobs answered
//! from a recording or done at once, and an engine with a configuration file.
#![allow(dead_code, unreachable_pub, unused_imports)]

pub mod cipher;
mod replay;

pub use replay::Replay;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path as FilePath, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ike::credentials::{Certificate, CredentialError, Credentials, PeerKey, Signer, Verifier};
use ike::event::{Event, Path};
use ike::job::{Job, JobResult};
use ike::journal::{Kind, Record};
use ike::policy::{Policy, PolicyLog, Question};
use ike::random::{Purpose, Random};
use ike::sa::Role;
use ike::{Engine, Options, Setup};
use isakmp_proto::identity::Identity;
use isakmpd_conf::host::Host;
use isakmpd_conf::{Running, Store};
use kx_crypto::key_exchange_group::{Group, KeyPair};
use kx_crypto::rsa_block_type_1::{SigningKey, VerifyingKey};
use kx_secret::SecretBytes;

/// All recordings.
pub fn recordings() -> Vec<PathBuf> {
    let root =
        FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../interop-tests/vectors/isakmpd");
    let mut found: Vec<PathBuf> = std::fs::read_dir(root)
        .expect("the recordings")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("wire.pcap").exists())
        .collect();
    found.sort();
    found
}

/// One recording by its name.
pub fn recording(name: &str) -> PathBuf {
    recordings()
        .into_iter()
        .find(|path| path.ends_with(name))
        .unwrap_or_else(|| panic!("no recording {name}"))
}

pub fn name_of(directory: &FilePath) -> String {
    directory
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

/// A datagram with an ISAKMP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Since the first one.
    pub at: Duration,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// Without marker.
    pub message: Vec<u8>,
}

impl Packet {
    pub fn exchange(&self) -> u8 {
        self.message[18]
    }

    pub fn message_id(&self) -> u32 {
        u32::from_be_bytes(self.message[20..24].try_into().expect("four octets"))
    }

    pub fn is_encrypted(&self) -> bool {
        self.message[19] & 1 != 0
    }

    /// Of phase 1, or an error in clear about it.
    pub fn is_phase_1(&self) -> bool {
        matches!(self.exchange(), 2 | 4) || (self.exchange() == 5 && !self.is_encrypted())
    }

    pub fn encapsulated(&self) -> bool {
        self.from.port() == 4500 || self.to.port() == 4500
    }
}

/// The ISAKMP messages of a Linux cooked v2 capture, in order, retransmissions included.
pub fn packets(directory: &FilePath) -> Vec<Packet> {
    let octets = std::fs::read(directory.join("wire.pcap")).expect("wire.pcap");
    let word = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().expect("a word"));
    assert_eq!(word(20), 276, "Linux cooked v2");
    let (mut at, mut first, mut found) = (24, None, Vec::new());
    while at < octets.len() {
        let time = Duration::new(word(at).into(), word(at + 4) * 1000);
        let length = word(at + 8) as usize;
        let packet = &octets[at + 16 + 20..at + 16 + length];
        at += 16 + length;
        let (from, to, udp): (IpAddr, IpAddr, &[u8]) = if packet[0] >> 4 == 4 {
            let address = |at: usize| {
                Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("an address"))
            };
            let header = usize::from(packet[0] & 15) * 4;
            (address(12).into(), address(16).into(), &packet[header..])
        } else {
            let address = |at: usize| {
                Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("an address"))
            };
            (address(8).into(), address(24).into(), &packet[40..])
        };
        let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        let (from, to) = (SocketAddr::new(from, port(0)), SocketAddr::new(to, port(2)));
        let encapsulated = from.port() == 4500 || to.port() == 4500;
        let message = if encapsulated {
            if udp.len() < 12 || udp[8..12] != [0; 4] {
                continue;
            }
            &udp[12..]
        } else {
            &udp[8..]
        };
        let first = *first.get_or_insert(time);
        found.push(Packet {
            at: time - first,
            from,
            to,
            message: message.to_vec(),
        });
    }
    found
}

/// `*-keys.txt`: names and values in their order.
pub fn key_file(directory: &FilePath, role: Role) -> Vec<(String, Vec<u8>)> {
    let name = format!("{}-keys.txt", role_name(role));
    std::fs::read_to_string(directory.join(name))
        .expect("a key file")
        .lines()
        .map(|line| {
            let (name, value) = line.split_once(' ').expect("a name and a value");
            (name.to_owned(), unhex(value))
        })
        .collect()
}

pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Initiator => "initiator",
        Role::Responder => "responder",
    }
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect()
}

/// Octets by queue for each purpose; when a queue is empty, octets of a counter that never repeat.
#[derive(Clone, Default)]
pub struct Queued {
    queues: Rc<RefCell<HashMap<Purpose, VecDeque<Vec<u8>>>>>,
    counter: Rc<RefCell<u64>>,
}

impl Queued {
    /// Counts from elsewhere: another engine's octets are different ones.
    pub fn seeded(seed: u64) -> Self {
        Self {
            counter: Rc::new(RefCell::new(seed << 32)),
            ..Self::default()
        }
    }

    pub fn push(&self, purpose: Purpose, octets: &[u8]) {
        self.queues
            .borrow_mut()
            .entry(purpose)
            .or_default()
            .push_back(octets.to_vec());
    }
}

impl Random for Queued {
    fn fill(&mut self, purpose: Purpose, octets: &mut [u8]) {
        let queued = self
            .queues
            .borrow_mut()
            .get_mut(&purpose)
            .and_then(VecDeque::pop_front)
            .filter(|queued| queued.len() == octets.len());
        if let Some(queued) = queued {
            octets.copy_from_slice(&queued);
            return;
        }
        for chunk in octets.chunks_mut(8) {
            let mut counter = self.counter.borrow_mut();
            *counter += 1;
            // A bijection that spreads the bits: tests only.
            let mut mixed = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^= mixed >> 29;
            chunk.copy_from_slice(&mixed.to_be_bytes()[..chunk.len()]);
        }
    }
}

/// How jobs are done.
pub enum Jobs {
    /// At once, for real.
    Run,
    /// Key exchanges as recorded: our public value and g^xy, one pair per exchange, in order.
    Recorded(VecDeque<(Vec<u8>, Vec<u8>)>),
}

impl Jobs {
    pub fn run(&mut self, job: Job) -> JobResult {
        let Self::Recorded(recorded) = self else {
            return job.run();
        };
        let secret = |octets: &[u8]| SecretBytes::from(octets.to_vec());
        match job {
            Job::Generate(_) => {
                let (public, _) = recorded.front().expect("a recorded public value");
                // Any pair will do: the secret is recorded, too.
                let group = Group::from_number(19).expect("ECP-256");
                let pair = KeyPair::generate(group).expect("a pair");
                JobResult::Generated(public.clone(), Box::new(pair))
            }
            Job::GenerateAndAgree(..) => {
                let (public, shared) = recorded.pop_front().expect("a recorded key exchange");
                JobResult::GeneratedAndAgreed(Some((public, secret(&shared))))
            }
            Job::Agree(..) => {
                let (_, shared) = recorded.pop_front().expect("a recorded key exchange");
                JobResult::Agreed(Some(secret(&shared)))
            }
            other => other.run(),
        }
    }
}

/// Keys from PEM, one own and one of the peer; no CA, so that no CERTREQ is sent (the original sends none).
#[derive(Default)]
pub struct Keys {
    pub own: Option<SigningKey>,
    pub peer: Option<VerifyingKey>,
    pub certificate: Option<Vec<u8>>,
    pub ca: bool,
}

struct Own(SigningKey);
struct Peers(VerifyingKey, usize);

impl Signer for Own {
    fn signature_len(&self) -> usize {
        self.0.modulus_len()
    }

    fn sign(&self, hash: &[u8]) -> Result<Vec<u8>, CredentialError> {
        self.0
            .sign(hash)
            .map_err(|error| CredentialError(error.to_string()))
    }
}

impl Verifier for Peers {
    fn signature_len(&self) -> usize {
        self.1
    }

    fn verify(&self, hash: &[u8], signature: &[u8]) -> bool {
        self.0.verify(hash, signature)
    }
}

impl Credentials for Keys {
    fn has_ca(&self) -> bool {
        self.ca
    }

    fn certificate_of(&self, _own: &Identity, _requests: &[Vec<u8>]) -> Option<Certificate> {
        let data = self.certificate.clone()?;
        Some(Certificate { encoding: 4, data })
    }

    fn signer_of(&self, _own: &Identity) -> Result<Arc<dyn Signer>, CredentialError> {
        let none = || CredentialError("no private key".to_owned());
        Ok(Arc::new(Own(self.own.clone().ok_or_else(none)?)))
    }

    fn key_of(&self, _: &Identity, _: &[Certificate]) -> Result<PeerKey, CredentialError> {
        let none = || CredentialError("no public key".to_owned());
        let key = self.peer.clone().ok_or_else(none)?;
        Ok(PeerKey {
            verifier: Arc::new(Peers(key, 256)),
            principals: Vec::new(),
        })
    }
}

/// An engine with its configuration.
pub struct Side {
    pub engine: Engine,
    pub random: Queued,
    pub jobs: Jobs,
    pub log: Vec<Record>,
    pub requests: Vec<ike::kernel::Request>,
    pub drained: bool,
}

impl Side {
    pub fn new(
        configuration: &[u8],
        keys: Keys,
        options: Options,
        random: Queued,
        now: Instant,
    ) -> Self {
        Self::with_policy(configuration, keys, options, random, None, now)
    }

    pub fn with_policy(
        configuration: &[u8],
        keys: Keys,
        options: Options,
        random: Queued,
        policy: Option<Rc<dyn Policy>>,
        now: Instant,
    ) -> Self {
        let (store, problems) = Store::parse(configuration);
        assert!(problems.is_empty(), "{problems:?}");
        let host = Host {
            port: 500,
            ..Host::default()
        };
        let setup = Setup {
            configuration: Rc::new(Running::new(store, host)),
            credentials: Rc::new(keys),
            policy,
            random: Box::new(random.clone()),
            options,
        };
        let mut engine = Engine::new(setup, now);
        engine.set_verbose(true);
        Self {
            engine,
            random,
            jobs: Jobs::Run,
            log: Vec::new(),
            requests: Vec::new(),
            drained: false,
        }
    }

    /// Does jobs, answers the kernel's questions as `-n` does, keeps log lines; what is to be sent comes out.
    pub fn turn(&mut self, now: Instant) -> Vec<(Path, Vec<u8>)> {
        let mut sent = Vec::new();
        loop {
            let mut idle = true;
            while let Some((id, job)) = self.engine.poll_job() {
                idle = false;
                let result = self.jobs.run(job);
                self.engine.handle_job(now, id, result);
            }
            while let Some(event) = self.engine.poll_event() {
                idle = false;
                match event {
                    Event::Log(record) => self.log.push(record),
                    Event::Kernel(request) => self.answer(now, request),
                    Event::Capture(_) => {}
                    Event::Drained => self.drained = true,
                }
            }
            let mut octets = Vec::new();
            while let Some(transmit) = self.engine.poll_transmit(&mut octets) {
                idle = false;
                if !transmit.keepalive {
                    sent.push((transmit.path, octets.clone()));
                }
            }
            if idle {
                return sent;
            }
        }
    }

    fn answer(&mut self, now: Instant, request: ike::kernel::Request) {
        use ike::kernel::Request;
        match &request {
            Request::AllocateSpi { ticket, .. } => {
                let mut spi = [0; 4];
                self.random.fill(Purpose::Spi, &mut spi);
                self.engine
                    .handle_spi(now, *ticket, Some(u32::from_be_bytes(spi)));
            }
            Request::Install(ticket, _) => self.engine.handle_installed(now, *ticket, Ok(())),
            Request::LastUse { ticket, .. } => self.engine.handle_last_use(now, *ticket, None),
            Request::ReleaseSpi { .. }
            | Request::Remove { .. }
            | Request::Move { .. }
            | Request::InstallIncoming(_) => {}
        }
        self.requests.push(request);
    }

    /// Plain and verbose lines so far.
    pub fn lines(&self) -> Vec<&str> {
        self.log
            .iter()
            .filter(|record| !matches!(record.kind, Kind::Debug(..)))
            .map(|record| record.text.as_str())
            .collect()
    }
}

/// A policy that permits nothing.
pub struct Deny;

impl Policy for Deny {
    fn permits(&self, _: &Question<'_>, _: &mut PolicyLog) -> bool {
        false
    }
}

/// Credentials of a recording.
pub fn keys_of(directory: &FilePath, role: Role) -> Keys {
    let (ours, theirs) = match role {
        Role::Initiator => ("A", "B"),
        Role::Responder => ("B", "A"),
    };
    let read = |name: &str, end: &str| std::fs::read(directory.join(format!("{name}.{end}")));
    let Ok(own) = read(ours, "key") else {
        return Keys::default();
    };
    let theirs = read(theirs, "key").expect("the peer's key");
    let theirs = SigningKey::from_pem(&theirs).expect("the peer's key");
    let certificate = name_of(directory).contains("x509").then(|| {
        let pem = read(ours, "crt").expect("a certificate");
        unpem(&String::from_utf8(pem).expect("PEM"))
    });
    Keys {
        own: Some(SigningKey::from_pem(&own).expect("a key")),
        peer: Some(theirs.verifying_key().expect("a public key")),
        certificate,
        ca: false,
    }
}

/// The octets of the first PEM block.
fn unpem(pem: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut octets) = (0_u32, 0, Vec::new());
    for line in pem
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
    {
        if line.starts_with("-----") {
            break;
        }
        for digit in line
            .bytes()
            .filter_map(|c| alphabet.iter().position(|a| *a == c))
        {
            bits = bits << 6 | u32::try_from(digit).expect("six bits");
            count += 6;
            if count >= 8 {
                count -= 8;
                octets.push((bits >> count & 0xff) as u8);
            }
        }
    }
    octets
}
