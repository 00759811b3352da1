//! Negotiations between two daemons of the same kind, and what they cost each of them.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use interop_tests::isakmpd::daemon::Daemon;
use interop_tests::isakmpd::implementation::Implementation;
use interop_tests::isakmpd::network::Network;
use interop_tests::isakmpd::packets::{first_message, socket};
use interop_tests::isakmpd::strongswan::StrongSwan;

use crate::site::{Kind, RESPONDER, network, setups, with_charon};
use crate::usage::Processes;

/// Negotiations under way at once. More would overflow the socket buffers of the original.
pub(crate) const WINDOW: usize = 32;
/// Without progress for so long nothing more is waited for.
const LIMIT: Duration = Duration::from_secs(40);
const QUICK_MODE: &str = "isakmpd: quick mode done (as responder): ";

/// CPU of both ends, in ms for each negotiation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// The initiator's.
    pub initiator: f64,
    /// The responder's.
    pub responder: f64,
    /// Seconds for all of them.
    pub seconds: f64,
    /// How many came up.
    pub done: usize,
}

/// Some peers, each with a Main Mode, then a Quick Mode, then another one in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Main Mode and Quick Mode.
    pub both: Cost,
    /// One more Quick Mode.
    pub quick: Cost,
    pub renewed: Cost,
    /// KiB for each tunnel with its ISAKMP SA: the initiator's, the responder's.
    pub memory: [f64; 2],
    /// All of their memory with the tunnels, KiB.
    pub resident: [f64; 2],
    /// Longest round trip of a question to the responder while it negotiated, ms.
    pub stall: f64,
}

/// What answers.
pub(crate) enum Responder {
    /// An isakmpd.
    Isakmpd(Daemon),
    /// strongSwan's daemon, to which isakmpd is the initiator.
    Charon(StrongSwan),
}

/// Two daemons that are up.
pub(crate) struct Pair {
    pub network: Network,
    pub left: Daemon,
    pub right: Responder,
    pub peers: usize,
}

impl Pair {
    /// Starts a responder and an initiator that know so many peers.
    pub(crate) fn start(isakmpd: [&Implementation; 2], kind: Kind, peers: usize) -> Pair {
        let network = network(peers);
        let [left, right] = setups(kind, peers);
        let right = Responder::Isakmpd(Daemon::start(&network.right, isakmpd[1], &right));
        let left = Daemon::start(&network.left, isakmpd[0], &left);
        Pair {
            network,
            left,
            right,
            peers,
        }
    }

    /// The same with charon as responder.
    pub(crate) fn with_charon(isakmpd: &Implementation, kind: Kind, peers: usize) -> Pair {
        let network = network(peers);
        let (left, conf, files) = with_charon(kind, peers);
        // An address in what each tunnel offers, without which charon takes none.
        network
            .right
            .script("ip addr add 192.168.102.1/32 dev lo; ip addr add 192.168.103.1/32 dev lo");
        let files: Vec<(&str, &[u8])> = files.iter().map(|(n, c)| (*n, c.as_slice())).collect();
        let right = StrongSwan::start_quiet(&network.right, &conf, &files);
        let left = Daemon::start(&network.left, isakmpd, &left);
        Pair {
            network,
            left,
            right: Responder::Charon(right),
            peers,
        }
    }

    /// Processes of the initiator and of the responder.
    pub(crate) fn processes(&self) -> [Processes; 2] {
        let of = |daemon: &Daemon| {
            let worker = daemon.worker();
            Processes([daemon.pid()].into_iter().chain(worker).collect())
        };
        let right = match &self.right {
            Responder::Isakmpd(daemon) => of(daemon),
            Responder::Charon(charon) => Processes(vec![charon.pid()]),
        };
        [of(&self.left), right]
    }

    /// Where the end of a tunnel is seen, its log so far, and the text that says it.
    fn witness(&self) -> (&Daemon, usize, &'static str) {
        match &self.right {
            Responder::Isakmpd(daemon) => (daemon, daemon.mark(), QUICK_MODE),
            Responder::Charon(_) => (&self.left, self.left.mark(), "isakmpd: quick mode done: "),
        }
    }

    /// Gives a command for every peer to the initiator, and counts what is done at the responder.
    fn negotiate(&self, command: impl Fn(usize) -> String) -> Cost {
        let processes = self.processes();
        let before = processes.each_ref().map(Processes::cpu_ms);
        let (witness, mark, text) = self.witness();
        let began = Instant::now();
        let (mut asked, mut done) = (0, 0);
        let mut progress = Instant::now();
        while done < self.peers && progress.elapsed() < LIMIT {
            let next = self.peers.min(done + WINDOW);
            if asked < next {
                let commands: Vec<String> = (asked..next).map(&command).collect();
                self.left.send(&commands.join("\n"));
                asked = next;
            }
            std::thread::sleep(Duration::from_millis(2));
            let now = witness.count_since(mark, text);
            if now > done {
                done = now;
                progress = Instant::now();
            }
        }
        let right = match &self.right {
            Responder::Isakmpd(daemon) => daemon.lines(),
            Responder::Charon(charon) => charon.lines(),
        };
        if done < self.peers {
            for lines in [self.left.lines(), right] {
                eprintln!("{:#?}", lines.get(lines.len().saturating_sub(5)..));
            }
        }
        let seconds = (progress - began).as_secs_f64();
        // What is left to do for the last of them.
        self.left.command("D 0 0");
        match &self.right {
            Responder::Isakmpd(daemon) => {
                daemon.command("D 0 0");
            }
            Responder::Charon(_) => std::thread::sleep(Duration::from_millis(200)),
        }
        let after = processes.each_ref().map(Processes::cpu_ms);
        let each = |n: usize| (after[n] - before[n]) / done.max(1) as f64;
        Cost {
            initiator: each(0),
            responder: each(1),
            seconds,
            done,
        }
    }
}

/// All of [`Figures`].
pub(crate) fn measure(pair: &Pair) -> Figures {
    let processes = pair.processes();
    let before = processes.each_ref().map(Processes::resident_kib);
    let asker = Asker::new(&pair.network);
    let over = AtomicBool::new(false);
    let (both, stall) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| asker.longest(&over));
        let both = pair.negotiate(|n| format!("c conn-{n}"));
        over.store(true, Ordering::Relaxed);
        (both, asking.join().unwrap_or(f64::NAN))
    });
    let after = processes.each_ref().map(Processes::resident_kib);
    let quick = pair.negotiate(|n| format!("c more-{n}"));
    let renewed = pair.negotiate(|n| format!("t quick conn-{n}\nc conn-{n}"));
    let memory = [0, 1].map(|n| (after[n] - before[n]) / both.done.max(1) as f64);
    Figures {
        both,
        quick,
        renewed,
        memory,
        resident: after,
        stall,
    }
}

/// Asks the responder for something that it answers at once: a message with cookies that it does not know.
struct Asker(UdpSocket);

impl Asker {
    fn new(network: &Network) -> Asker {
        let socket = socket(&network.left, 7501);
        socket
            .set_read_timeout(Some(Duration::from_secs(3)))
            .expect("a limit");
        Asker(socket)
    }

    /// The longest round trip until it is over, in ms; NaN if nothing was answered.
    fn longest(&self, over: &AtomicBool) -> f64 {
        let mut longest = f64::NAN;
        let mut cookie = 0x7000_0000_0000_0001_u64;
        while !over.load(Ordering::Relaxed) {
            cookie += 1;
            let mut question = first_message(cookie);
            question[8..16].copy_from_slice(&cookie.to_be_bytes());
            let asked = Instant::now();
            if self.0.send_to(&question, (RESPONDER, 500)).is_err() {
                continue;
            }
            let mut answer = [0; 2000];
            if self.0.recv(&mut answer).is_ok() {
                longest = longest.max(asked.elapsed().as_secs_f64() * 1e3);
            }
            // Fewer than the notifications that are sent in a second.
            std::thread::sleep(Duration::from_millis(20));
        }
        longest
    }
}
