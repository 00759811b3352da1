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
}

/// The generators of the cryptographic library, which the operating system seeds.
#[derive(Default)]
pub struct System {
    extra: Option<(Key, u64)>,
}

impl System {
    /// A source whose nonces depend on `extra` as well (option `-r` of the daemon, tcpcrypt spec 2.1). It
    /// is never the only source, and private keys are left to the library.
    #[must_use]
    pub fn with_extra(extra: &[u8]) -> Self {
        let key = hkdf::extract(b"tcpcryptd random device", &[extra]);
        Self {
            extra: Some((key, 0)),
        }
    }
}

impl Entropy for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        random::fill(out)?;
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
        PrivateKey::generate(curve)
    }
}

#[cfg(test)]
mod tests {
    use kx_crypto::ecdh::Curve;

    use super::{Entropy, System};

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
}
