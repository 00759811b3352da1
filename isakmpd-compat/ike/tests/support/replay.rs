//! One side of a recording, played against the other.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::Path as FilePath;
use std::rc::Rc;
use std::time::Instant;

use ike::Options;
use ike::event::Path;
use ike::policy::Policy;
use ike::random::Purpose;
use ike::sa::Role;

use super::{
    Deny, Jobs, Packet, Queued, Side, key_file, keys_of, name_of, packets, role_name, unhex,
};

/// One side of a recording, to be played against the other side's recorded messages.
pub struct Replay {
    pub side: Side,
    pub packets: Vec<Packet>,
    pub role: Role,
    pub start: Instant,
    /// Packets that the original repeated and we do not, left out of `packets`: the first of them, and a repetition.
    pub repeated: Vec<(Packet, Packet)>,
    /// Address of our side as the recording shows it, and as we know it ourselves.
    ours: IpAddr,
    /// The peer's address as recorded, and as we see it.
    theirs: (IpAddr, IpAddr),
}

impl Replay {
    pub fn new(directory: &FilePath, role: Role) -> Self {
        Self::with(directory, role, "")
    }

    /// With lines put before the configuration.
    pub fn with(directory: &FilePath, role: Role, more: &str) -> Self {
        let start = Instant::now();
        let mut packets = packets(directory);
        let denied = name_of(directory) == "keynote-deny" && role == Role::Responder;
        let repeated = if denied {
            take_repeated(&mut packets)
        } else {
            Vec::new()
        };
        let first = packets.first().expect("a packet");
        let (initiator, responder) = (first.from.ip(), first.to.ip());
        let (ours, theirs) = match role {
            Role::Initiator => (initiator, responder),
            Role::Responder => (responder, initiator),
        };
        // The masquerading router between them.
        let seen = if name_of(directory).starts_with("natt") && role == Role::Responder {
            "10.79.0.1".parse().expect("an address")
        } else {
            theirs
        };
        let mut configuration = more.as_bytes().to_vec();
        let file = directory.join(format!("{}.conf", role_name(role)));
        configuration.extend(std::fs::read(file).expect("a configuration"));
        let random = Queued::default();
        let keys = key_file(directory, role);
        if role == Role::Responder && packets.iter().all(|packet| packet.message[8..16] == [0; 8]) {
            // Its cookie never left it, but `S` shows it.
            random.push(Purpose::Cookie, &responder_cookie_of_status(directory));
        }
        fill(&random, &packets, &keys, role);
        let deny: Option<Rc<dyn Policy>> = denied.then(|| Rc::new(Deny) as _);
        let mut side = Side::with_policy(
            &configuration,
            keys_of(directory, role),
            Options::default(),
            random,
            deny,
            start,
        );
        side.jobs = Jobs::Recorded(key_exchanges(&keys, role));
        side.engine
            .set_local_addresses(vec![SocketAddr::new(ours, 500)]);
        Self {
            side,
            packets,
            role,
            start,
            repeated,
            ours,
            theirs: (theirs, seen),
        }
    }

    pub fn is_ours(&self, packet: &Packet) -> bool {
        packet.from.ip() == self.ours
    }

    /// The path of a recorded packet as this side sees it.
    pub fn path(&self, packet: &Packet) -> Path {
        let (local, mut remote) = if self.is_ours(packet) {
            (packet.from, packet.to)
        } else {
            (packet.to, packet.from)
        };
        if remote.ip() == self.theirs.0 {
            remote.set_ip(self.theirs.1);
        }
        Path {
            local,
            remote,
            encapsulated: packet.encapsulated(),
        }
    }

    /// Plays the packets that `wanted` picks (they must be all up to some point): each of ours must come out as it
    /// was, each of the peer's goes in.
    pub fn play(&mut self, wanted: impl Fn(&Packet) -> bool) {
        self.play_comparing(wanted, |ours, recorded, place| {
            assert_eq!(ours, recorded, "{place}");
        });
    }

    pub fn play_comparing(
        &mut self,
        wanted: impl Fn(&Packet) -> bool,
        mut compare: impl FnMut(&[u8], &[u8], &str),
    ) {
        let mut pending: VecDeque<(Path, Vec<u8>)> = VecDeque::new();
        let packets: Vec<Packet> = self.packets.iter().filter(|p| wanted(p)).cloned().collect();
        for (index, packet) in packets.iter().enumerate() {
            let now = self.start + packet.at;
            self.side.engine.handle_timeout(now);
            pending.extend(self.side.turn(now));
            let place = format!("packet {index} at {:?}", packet.at);
            if self.is_ours(packet) {
                let (path, ours) = pending.pop_front().unwrap_or_else(|| {
                    panic!("{place}: nothing sent; log {:?}", self.side.lines())
                });
                compare(&ours, &packet.message, &place);
                assert_eq!(path, self.path(packet), "{place}");
            } else {
                assert!(
                    pending.is_empty(),
                    "{place}: sent {pending:?}; log {:?}",
                    self.side.lines()
                );
                let path = self.path(packet);
                self.side.engine.handle_datagram(now, path, &packet.message);
                pending.extend(self.side.turn(now));
            }
        }
    }
}

/// Takes out the INFORMATIONALs that follow another one of the same side's.
fn take_repeated(packets: &mut Vec<Packet>) -> Vec<(Packet, Packet)> {
    let (mut kept, mut repeated): (Vec<Packet>, _) = (Vec::new(), Vec::new());
    let responder = packets.first().expect("a packet").to;
    for packet in std::mem::take(packets) {
        let before = kept.last().filter(|before| {
            [*before, &packet]
                .iter()
                .all(|packet| packet.exchange() == 5 && packet.from == responder)
        });
        match before {
            Some(before) => repeated.push((before.clone(), packet)),
            None => kept.push(packet),
        }
    }
    *packets = kept;
    repeated
}

/// The responder's own cookie in its result of `S`, that of the first SA.
fn responder_cookie_of_status(directory: &FilePath) -> Vec<u8> {
    let text = std::fs::read_to_string(directory.join("responder-S-result.txt")).expect("a result");
    let (_, cookie) = text.split_once(" rcookie ").expect("a cookie");
    unhex(&cookie[..16])
}

/// Cookies, nonces and message IDs that this side chose, in their order.
fn fill(random: &Queued, packets: &[Packet], keys: &[(String, Vec<u8>)], role: Role) {
    let initiator = packets.first().expect("a packet").from.ip();
    let mut known = Vec::new();
    for packet in packets {
        let ours = (packet.from.ip() == initiator) == (role == Role::Initiator);
        let cookie = match role {
            _ if packet.exchange() == 5 && !packet.is_encrypted() => &packet.message[..8],
            Role::Initiator => &packet.message[..8],
            Role::Responder => &packet.message[8..16],
        };
        if ours && !known.contains(&cookie.to_vec()) {
            known.push(cookie.to_vec());
            random.push(Purpose::Cookie, cookie);
        }
        let id = packet.message[20..24].to_vec();
        let begins = packet.message_id() != 0 && !known.contains(&id);
        if begins {
            known.push(id.clone());
            if ours {
                random.push(Purpose::MessageId, &id);
            }
        }
    }
    let nonce = match role {
        Role::Initiator => "nonce_i",
        Role::Responder => "nonce_r",
    };
    for (_, value) in keys.iter().filter(|(name, _)| name == nonce) {
        random.push(Purpose::Nonce, value);
    }
}

/// Our public values with their secrets, phase 1 first.
fn key_exchanges(keys: &[(String, Vec<u8>)], role: Role) -> VecDeque<(Vec<u8>, Vec<u8>)> {
    let own = match role {
        Role::Initiator => "g_xi",
        Role::Responder => "g_xr",
    };
    let public = keys.iter().filter(|(name, _)| name == own);
    let secret = keys
        .iter()
        .filter(|(name, _)| name == "g_xy" || name == "qm_g_xy")
        .map(|(_, secret)| secret.clone())
        // A key exchange that nobody answered has none.
        .chain(std::iter::repeat(Vec::new()));
    public
        .zip(secret)
        .map(|((_, public), secret)| (public.clone(), secret))
        .collect()
}
