//! Where nonces and private keys come from. The state machines ask for them here, so that a recorded
//! session can be played again.

use kx_crypto::ecdh::{self, Curve, PrivateKey};
use kx_crypto::hkdf::{self, Key};
use kx_crypto::random::{self, Unavailable};

/// A source of random numbers.
pub trait Entropy {
    /// Fills `out` with octets that may be shown, such as a nonce.
    ///
    /// # Errors
    /// [`Unavailable`]; `out` must not be used then.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable>;

    /// A private key for one exchange.
    ///
    /// # Errors
    /// [`ecdh::Error::Library`] when there are no random numbers.
    fn private_key(&mut self, curve: Curve) -> Result<PrivateKey, ecdh::Error>;

    /// Whether [`prepare`](Self::prepare) would do something.
    fn wants_to_prepare(&self) -> bool {
        false
    }

    /// Makes a key ahead, if it is likely that one will be asked for.
    fn prepare(&mut self) {}
}

/// Keys that may lie ready. As many as key exchanges that begin before there is leisure again.
const READY: usize = 16;

/// Octets that are drawn at once: a call of the library costs as much as some hundred of them.
const DRAWN: usize = 512;

/// The generators of the cryptographic library, which the operating system seeds.
#[derive(Default)]
pub struct System {
    /// Drawn and not given to anybody.
    drawn: Vec<u8>,
    extra: Option<(Key, u64)>,
    /// Keys that nobody has seen, each for one exchange, all on `curve`.
    ready: Vec<PrivateKey>,
    /// How many there should be: as many as were asked for lately, when there were too few.
    wanted: usize,
    /// What was asked for last.
    curve: Option<Curve>,
}

impl System {
    /// A source whose nonces depend on `extra` as well (option `-r` of the daemon, tcpcrypt spec 2.1). It
    /// is never the only source, and private keys are left to the library.
    #[must_use]
    pub fn with_extra(extra: &[u8]) -> Self {
        let key = hkdf::extract(b"tcpcryptd random device", &[extra]);
        Self {
            extra: Some((key, 0)),
            ..Self::default()
        }
    }
}

impl System {
    fn draw(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        if out.len() > DRAWN {
            return random::fill(out);
        }
        if out.len() > self.drawn.len() {
            self.drawn.resize(DRAWN, 0);
            if let Err(error) = random::fill(&mut self.drawn) {
                self.drawn.clear();
                return Err(error);
            }
        }
        let left = self.drawn.len().saturating_sub(out.len());
        let taken = self.drawn.get_mut(left..).unwrap_or_default();
        out.copy_from_slice(taken);
        hkdf::wipe(taken);
        self.drawn.truncate(left);
        Ok(())
    }
}

impl Entropy for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        self.draw(out)?;
        if let Some((key, counter)) = &mut self.extra {
            for piece in out.chunks_mut(hkdf::KEY_LEN) {
                *counter = counter.wrapping_add(1);
                let mask = hkdf::hmac(key.as_bytes(), &[&counter.to_be_bytes()]);
                for (octet, mask) in piece.iter_mut().zip(mask.as_bytes()) {
                    *octet ^= mask;
                }
            }
        }
        Ok(())
    }

    fn private_key(&mut self, curve: Curve) -> Result<PrivateKey, ecdh::Error> {
        if self.curve != Some(curve) {
            self.ready.clear();
            self.wanted = 0;
            self.curve = Some(curve);
        }
        if let Some(key) = self.ready.pop() {
            return Ok(key);
        }
        self.wanted = self.wanted.saturating_add(1).min(READY);
        PrivateKey::generate(curve)
    }

    fn wants_to_prepare(&self) -> bool {
        self.ready.len() < self.wanted
    }

    fn prepare(&mut self) {
        let Some(curve) = self.curve.filter(|_| self.wants_to_prepare()) else {
            return;
        };
        match PrivateKey::generate(curve) {
            Ok(key) => self.ready.push(key),
            // Whoever asks for one will learn why.
            Err(_) => self.wanted = self.ready.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use kx_crypto::ecdh::Curve;

    use super::{DRAWN, Entropy, READY, System};

    #[test]
    fn never_the_same() {
        let drawn: Vec<[u8; 40]> = [
            System::default(),
            System::with_extra(b"seed"),
            System::with_extra(b"seed"),
        ]
        .iter_mut()
        .map(|source| {
            let mut out = [0; 40];
            source.fill(&mut out).unwrap();
            out
        })
        .collect();
        assert_ne!(drawn[0], drawn[1]);
        assert_ne!(drawn[1], drawn[2]);
        let key = System::default().private_key(Curve::P256).unwrap();
        assert_eq!(key.public().len(), 65);
    }

    #[test]
    fn what_is_drawn_at_once_is_given_once() {
        let mut source = System::default();
        let mut seen = std::collections::HashSet::new();
        for length in [9, 16, DRAWN - 1, DRAWN, DRAWN + 1].repeat(40) {
            let mut out = vec![0; length];
            source.fill(&mut out).unwrap();
            for piece in out.chunks_exact(8) {
                assert!(seen.insert(piece.to_vec()), "twice the same");
            }
            assert!(source.drawn.len() <= DRAWN);
        }
    }

    #[test]
    fn keys_made_ahead() {
        let mut source = System::default();
        source.prepare();
        assert!(!source.wants_to_prepare(), "nobody asked for any");
        let mut seen = Vec::new();
        for round in 0..3 {
            for _ in 0..READY + 4 {
                let key = source.private_key(Curve::P256).unwrap();
                assert!(!seen.contains(&key.public().to_vec()), "twice the same");
                seen.push(key.public().to_vec());
            }
            let mut made = 0;
            while source.wants_to_prepare() {
                source.prepare();
                made += 1;
            }
            assert_eq!((made, source.ready.len()), (READY, READY), "{round}");
        }
        let key = source.private_key(Curve::P521).unwrap();
        assert_eq!((key.curve(), source.ready.len()), (Curve::P521, 0));
        source.prepare();
        assert_eq!(source.ready[0].curve(), Curve::P521);
        assert!(!source.wants_to_prepare());
    }
}
