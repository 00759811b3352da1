//! What stands between a kernel and the wire: nothing, or an endpoint.

use std::time::Instant;

use kx_crypto::ecdh::{self, Curve, PrivateKey};
use kx_crypto::random::Unavailable;
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::dialect::Policy;
use tcpcrypt_proto::endpoint::Endpoint;
use tcpcrypt_proto::eno::Tep;
use tcpcrypt_proto::entropy::Entropy;
use tcpcrypt_proto::packet::Notes;
use tcpcrypt_proto::rfc8548::frame::KeyLimits;
use tcpcrypt_proto::verdict::{Direction, Verdict};

use super::family::{INTERFACE, interface, is_standard, is_upgrade};
use super::rng::Rng;

/// The face of an [`Endpoint`], so that a test can put something else there.
pub(crate) trait Front {
    fn packet(
        &mut self,
        now: Instant,
        direction: Direction,
        packet: &[u8],
        out: &mut Vec<u8>,
    ) -> Verdict;
    /// A packet that the kernel said more of.
    fn noted(
        &mut self,
        now: Instant,
        direction: Direction,
        packet: &[u8],
        _: Notes,
        out: &mut Vec<u8>,
    ) -> Verdict {
        self.packet(now, direction, packet, out)
    }
    fn transmit(&mut self, out: &mut Vec<u8>) -> Option<Direction>;
    fn deadline(&self) -> Option<Instant>;
    fn time_out(&mut self, now: Instant);
    fn endpoint(&mut self) -> Option<&mut Endpoint> {
        None
    }
}

/// No daemon.
pub(crate) struct Nothing;

impl Front for Nothing {
    fn packet(&mut self, _: Instant, _: Direction, _: &[u8], _: &mut Vec<u8>) -> Verdict {
        Verdict::Accept
    }

    fn transmit(&mut self, _: &mut Vec<u8>) -> Option<Direction> {
        None
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn time_out(&mut self, _: Instant) {}
}

impl Front for Endpoint {
    fn packet(
        &mut self,
        now: Instant,
        direction: Direction,
        packet: &[u8],
        out: &mut Vec<u8>,
    ) -> Verdict {
        self.noted(now, direction, packet, Notes::default(), out)
    }

    fn noted(
        &mut self,
        now: Instant,
        direction: Direction,
        packet: &[u8],
        notes: Notes,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let notes = Notes {
            interface: INTERFACE,
            ..notes
        };
        self.handle_noted_packet(now, direction, packet, notes, out)
    }

    fn transmit(&mut self, out: &mut Vec<u8>) -> Option<Direction> {
        let (direction, on) = self.poll_transmit_on(out)?;
        assert_eq!(on, interface());
        Some(direction)
    }

    fn deadline(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn time_out(&mut self, now: Instant) {
        self.handle_timeout(now);
    }

    fn endpoint(&mut self) -> Option<&mut Endpoint> {
        Some(self)
    }
}

/// Nonces and keys that a seed decides.
pub(crate) struct Seeded(pub(crate) Rng);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        out.fill_with(|| self.0.next() as u8);
        Ok(())
    }

    fn private_key(&mut self, curve: Curve) -> Result<PrivateKey, ecdh::Error> {
        let mut scalar = self.0.octets(curve.secret_len());
        // Below the order of the group.
        scalar[0] = 0;
        PrivateKey::from_scalar(curve, &scalar)
    }
}

pub(crate) fn endpoint(mut config: Config, now: Instant, mut rng: Rng) -> Endpoint {
    if is_standard() {
        let (eno, teps) = match is_upgrade() {
            true => (Policy::Auto, &Tep::ALL[2..]),
            false => (Policy::Standard, &Tep::ALL[..]),
        };
        config.eno = eno;
        config.prefer = Some(teps[rng.below(teps.len() as u64) as usize]);
        config.standard_ciphers.rotate_left(rng.below(3) as usize);
        config.key_limits = KeyLimits {
            frames: 1 + rng.below(60),
            octets: 100_000,
        };
    }
    Endpoint::new(config, Box::new(Seeded(rng)), now)
}
