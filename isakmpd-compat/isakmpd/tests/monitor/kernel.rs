//! Requests to the kernel's IPsec: those of the child's own SAs and policies, and all others. A stand-in for the
//! kernel notes what the guard lets through.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::rc::Rc;

use isakmpd::kernel::{Found, MARK, PF_KEY_REQIDS, XFRM_REQIDS};
use isakmpd::monitor::Interface;
use kx_sys::xfrm::{Algorithm, Direction, Lifetime, Mode, Policy, Sa, Selector, Subject, Template};
use kx_sys::{pf_key, xfrm};

/// How the kernel is spoken to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Xfrm,
    PfKey,
}

/// What was let through.
pub(crate) type Asked = Rc<RefCell<Vec<Vec<u8>>>>;

/// In place of the kernel.
pub(crate) struct Recorder {
    speech: Speech,
    asked: Asked,
}

impl Recorder {
    pub(crate) fn new(speech: Speech, asked: &Asked) -> Recorder {
        Recorder {
            speech,
            asked: Rc::clone(asked),
        }
    }
}

impl Interface for Recorder {
    fn subject(&self, octets: &[u8]) -> Option<Subject> {
        let octets = octets.to_vec();
        match self.speech {
            Speech::Xfrm => xfrm::Message::from_octets(octets)?.subject(),
            Speech::PfKey => pf_key::Message::from_octets(octets)?.subject(),
        }
    }

    fn ask(&mut self, octets: &[u8]) -> io::Result<Option<Found>> {
        self.asked.borrow_mut().push(octets.to_vec());
        Ok(tells(self.speech, octets))
    }

    fn remove_all(&mut self) -> io::Result<usize> {
        Ok(0)
    }

    fn reqids(&self) -> RangeInclusive<u32> {
        reqids(self.speech)
    }
}

fn reqids(speech: Speech) -> RangeInclusive<u32> {
    match speech {
        Speech::Xfrm => XFRM_REQIDS,
        Speech::PfKey => PF_KEY_REQIDS,
    }
}

/// The SA that is told of: a larval one, and one that is looked at.
pub(crate) fn tells(speech: Speech, octets: &[u8]) -> Option<Found> {
    let ours = *reqids(speech).start();
    let told = [speech.allocate(&sa(0, ours)), speech.look(SPI)];
    told.iter().any(|one| one == octets).then_some(Found {
        spi: SPI,
        octets: 0,
        packets: 0,
    })
}

const SPI: u32 = 0x1234;
const US: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const KEY: [u8; 32] = [7; 32];

fn sa(spi: u32, reqid: u32) -> Sa<'static> {
    Sa {
        source: PEER,
        destination: US,
        spi,
        protocol: 50,
        mode: Mode::Tunnel,
        reqid,
        replay_window: 32,
        algorithms: vec![
            Algorithm::Cipher("cbc(aes)", &KEY),
            Algorithm::Authentication("hmac(sha1)", &KEY[..20], 96),
        ],
        encapsulation: None,
        lifetime: Lifetime::default(),
        selector: None,
        sequence: if spi == 0 { 0 } else { MARK },
    }
}

fn policy(reqid: u32) -> Policy {
    Policy {
        selector: Selector {
            source: (US, 32),
            destination: (PEER, 32),
            protocol: 0,
            source_port: 0,
            destination_port: 0,
        },
        direction: Direction::Out,
        priority: 1,
        templates: vec![Template {
            source: US,
            destination: PEER,
            protocol: 50,
            mode: Mode::Tunnel,
            reqid,
            optional: false,
        }],
    }
}

impl Speech {
    fn allocate(self, sa: &Sa<'_>) -> Vec<u8> {
        match self {
            Speech::Xfrm => xfrm::allocate_spi(sa, 0x100..=0xffff).octets().to_vec(),
            Speech::PfKey => pf_key::allocate_spi(sa, 0x100..=0xffff).octets().to_vec(),
        }
    }

    fn install(self, sa: &Sa<'_>, update: bool) -> Vec<u8> {
        match self {
            Speech::Xfrm => xfrm::install(sa, update).octets().to_vec(),
            Speech::PfKey => pf_key::install(sa, update)
                .expect("known")
                .octets()
                .to_vec(),
        }
    }

    fn remove(self, spi: u32) -> Vec<u8> {
        match self {
            Speech::Xfrm => xfrm::remove(PEER, US, 50, spi).octets().to_vec(),
            Speech::PfKey => pf_key::remove(PEER, US, 50, spi).octets().to_vec(),
        }
    }

    fn look(self, spi: u32) -> Vec<u8> {
        match self {
            Speech::Xfrm => xfrm::look(PEER, US, 50, spi).octets().to_vec(),
            Speech::PfKey => pf_key::look(PEER, US, 50, spi).octets().to_vec(),
        }
    }

    fn put(self, policy: &Policy, replace: bool) -> Vec<u8> {
        match self {
            Speech::Xfrm => xfrm::put_policy(policy, replace).octets().to_vec(),
            Speech::PfKey => {
                let message = pf_key::put_policy(policy, replace).expect("a reqid");
                message.octets().to_vec()
            }
        }
    }

    fn take(self, policy: &Policy) -> Vec<u8> {
        let (selector, direction) = (&policy.selector, policy.direction);
        match self {
            Speech::Xfrm => xfrm::remove_policy(selector, direction).octets().to_vec(),
            Speech::PfKey => pf_key::remove_policy(selector, direction).octets().to_vec(),
        }
    }
}

/// A negotiation's, from its SPI to its end: all is the child's own.
pub(crate) fn own(speech: Speech) -> Vec<Vec<u8>> {
    let reqid = *reqids(speech).start();
    let policy = policy(reqid);
    vec![
        speech.allocate(&sa(0, reqid)),
        speech.install(&sa(SPI, reqid), true),
        speech.put(&policy, false),
        speech.put(&policy, true),
        speech.look(SPI),
        speech.take(&policy),
        speech.remove(SPI),
    ]
}

/// What a child may not ask for that has nothing yet.
pub(crate) fn foreign(speech: Speech) -> Vec<Vec<u8>> {
    let ours = *reqids(speech).start();
    let foreign = *reqids(speech).end() + 1;
    let one = policy(ours);
    let mut all = vec![
        Vec::new(),
        // SAs and policies of others.
        speech.remove(SPI),
        speech.look(SPI),
        speech.install(&sa(SPI, ours), true),
        speech.take(&one),
        speech.put(&one, true),
        // What would be theirs.
        speech.allocate(&sa(0, foreign)),
        speech.install(&sa(SPI, foreign), false),
        speech.install(&sa(SPI, 99), false),
        speech.put(&policy(99), false),
        // What nobody would find again when the child is gone.
        speech.install(
            &Sa {
                sequence: 1,
                ..sa(SPI, ours)
            },
            false,
        ),
        // Longer than any.
        vec![0xff; 4100],
    ];
    let whole = speech.allocate(&sa(0, ours));
    // Too short by any number of octets, as it says and as it is.
    for length in 0..whole.len() {
        all.push(whole[..length].to_vec());
        let mut cut = whole[..length].to_vec();
        set_length(speech, &mut cut);
        if cut.len() % 8 == 0 {
            all.push(cut);
        }
    }
    // A second message behind one that may pass: everything is to be flushed.
    for (speech, flush) in [
        (Speech::Xfrm, &flush_xfrm()[..]),
        (
            Speech::PfKey,
            &[2, 9, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..],
        ),
    ] {
        all.push(flush.to_vec());
        let mut both = [&whole[..], flush].concat();
        all.push(both.clone());
        set_length(speech, &mut both);
        all.push(both);
    }
    // Every other kind: flushes, dumps, defaults, and what other families of netlink mean by these numbers.
    let (at, kinds, known) = match speech {
        Speech::Xfrm => (4, 0..=0x200, 0x16_u16),
        Speech::PfKey => (1, 0..=0xff, 1),
    };
    for kind in kinds.filter(|kind| *kind != known) {
        for body in [&whole[..], &whole[..16], &whole[..24]] {
            let mut octets = body.to_vec();
            octets[at] = kind.to_ne_bytes()[0];
            if speech == Speech::Xfrm {
                octets[at + 1] = kind.to_ne_bytes()[1];
            }
            set_length(speech, &mut octets);
            all.push(octets);
        }
    }
    if speech == Speech::Xfrm {
        // Any flags but those of a request that wants an answer: dumps, replacements.
        for flags in (0..0x1000_u16).filter(|flags| *flags != 0x5).step_by(7) {
            let mut octets = whole.clone();
            octets[6..8].copy_from_slice(&flags.to_ne_bytes());
            all.push(octets);
        }
        // Attributes that reach beyond the SA: security context, mark, device, interface, name space.
        for attribute in [8_u16, 21, 26, 28, 29, 31, 32, 0x7fff] {
            let [low, high] = attribute.to_ne_bytes();
            let mut octets = [&whole[..], &[8, 0, low, high, 1, 0, 0, 0]].concat();
            set_length(speech, &mut octets);
            all.push(octets);
        }
    }
    all
}

fn flush_xfrm() -> [u8; 20] {
    let mut octets = [0; 20];
    octets[0] = 20;
    octets[4] = 0x1c;
    octets[6] = 5;
    octets[16] = 255;
    octets
}

/// The length in the header is that of the octets.
fn set_length(speech: Speech, octets: &mut [u8]) {
    let length = octets.len();
    match speech {
        Speech::Xfrm if length >= 4 => {
            octets[..4].copy_from_slice(&u32::try_from(length).expect("short").to_ne_bytes());
        }
        Speech::PfKey if length >= 6 => {
            octets[4..6].copy_from_slice(&u16::try_from(length / 8).expect("short").to_ne_bytes());
        }
        _ => {}
    }
}
