//! Packets sent and received beside the kernel's TCP.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Protocol, SendFlags, SocketType, ipproto};

use crate::lab::capture::packet_socket;
use crate::lab::host::Host;
use crate::lab::segment::Segment;

/// Time to live of what is sent here, by which a rule can know it.
pub const TTL: u8 = 77;

/// A host's cable, without the host's TCP.
#[derive(Debug)]
pub struct Wire {
    receiver: File,
    sender: OwnedFd,
    /// The host's address.
    pub address: Ipv4Addr,
    packet: Vec<u8>,
}

impl Wire {
    /// Takes the whole host: its kernel sees no TCP segment any more and so answers none.
    pub fn take(host: &Host) -> Wire {
        host.rule("-A INPUT -p tcp -j DROP");
        Wire::beside(host)
    }

    /// Sends and listens beside the host's kernel. What is sent passes the host's queue
    /// unseen.
    pub fn beside(host: &Host) -> Wire {
        host.rule(&format!("-I OUTPUT -p tcp -m ttl --ttl-eq {TTL} -j ACCEPT"));
        Wire::through_the_queue(host)
    }

    /// As [`Wire::beside`], but the host's own daemon sees what is sent.
    pub fn through_the_queue(host: &Host) -> Wire {
        let sender = host.within(|| {
            let raw: Option<Protocol> = Some(ipproto::RAW);
            rustix::net::socket(AddressFamily::INET, SocketType::RAW, raw).expect("a raw socket")
        });
        Wire {
            receiver: packet_socket(host),
            sender,
            address: host.address,
            packet: vec![0; 70_000],
        }
    }

    /// Sends a segment.
    pub fn send(&self, segment: &Segment) {
        let mut segment = segment.clone();
        segment.ttl = TTL;
        self.send_packet(&segment.write(), segment.destination);
    }

    /// Sends any IPv4 packet.
    pub fn send_packet(&self, packet: &[u8], to: SocketAddr) {
        let to = SocketAddr::new(to.ip(), 0);
        rustix::net::sendto(&self.sender, packet, SendFlags::empty(), &to)
            .unwrap_or_else(|e| panic!("sending {} bytes: {e}", packet.len()));
    }

    /// The next segment to `port` of this host until `end`.
    pub fn receive(&mut self, port: u16, end: Instant) -> Option<Segment> {
        let own = SocketAddr::new(self.address.into(), port);
        loop {
            if let Ok(length) = self.receiver.read(&mut self.packet) {
                let packet = self.packet.get(..length).unwrap_or_default();
                let segment = Segment::parse(packet).filter(|s| s.destination == own);
                if segment.is_some() {
                    return segment;
                }
            }
            if Instant::now() >= end {
                return None;
            }
        }
    }

    /// The next segment to `port` within `limit` that is wanted.
    pub fn wait(
        &mut self,
        port: u16,
        limit: Duration,
        wanted: impl Fn(&Segment) -> bool,
    ) -> Option<Segment> {
        let end = Instant::now() + limit;
        loop {
            let segment = self.receive(port, end)?;
            if wanted(&segment) {
                return Some(segment);
            }
        }
    }
}
