//! The key exchange of both hosts (RFC 8548 section 3.3): messages in, messages and a session out. Host A begins,
//! which is the opener unless an application chose otherwise.

use kx_crypto::aead::Algorithm;
use kx_crypto::ecdh::{self, PrivateKey};
use kx_crypto::random::Unavailable;
use kx_crypto::secret::SecretBytes;

use crate::eno::{EnoOption, Tep};
use crate::entropy::Entropy;
use crate::rfc8547::Host;
use crate::rfc8548::init::{Init1, Init2, InitError, NONCE_LEN, aead_id, cipher_list};
use crate::rfc8548::keys::{Exchange, Pending, Suite};

/// Why there is no session. The connection must be aborted: both options promised encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The peer's message cannot be taken. A point that is not on the curve and a key of low order are
    /// [`InitError::PublicKey`] too.
    #[error(transparent)]
    Init(#[from] InitError),
    /// There are no random numbers or no memory.
    #[error("cryptographic library failed")]
    Library,
}

impl From<ecdh::Error> for ExchangeError {
    fn from(error: ecdh::Error) -> Self {
        match error {
            ecdh::Error::PublicKey | ecdh::Error::PrivateKey => InitError::PublicKey.into(),
            ecdh::Error::Library => ExchangeError::Library,
        }
    }
}

impl From<Unavailable> for ExchangeError {
    fn from(_: Unavailable) -> Self {
        ExchangeError::Library
    }
}

/// What the options of the SYNs agreed on.
#[derive(Debug, Clone, Copy)]
pub struct Agreed<'a> {
    /// The option of host A, the last one that was sent.
    pub a: &'a EnoOption,
    /// The option of host B.
    pub b: &'a EnoOption,
    /// The key exchange.
    pub tep: Tep,
    /// Its octet as host B sent it ([`Settled`](crate::rfc8548::negotiation::Settled)).
    pub tep_octet: u8,
}

/// For a key log: our key, the peer's public key and the shared secret.
pub type Log<'a> = &'a mut dyn FnMut(&PrivateKey, &[u8], &SecretBytes);

/// What host A keeps between Init1 and Init2.
pub struct Question {
    tep: Tep,
    key: PrivateKey,
    nonce: [u8; NONCE_LEN],
    ciphers: Vec<Algorithm>,
    init1: Vec<u8>,
}

impl Question {
    /// Draws a key and a nonce. `ciphers` are offered in this order.
    ///
    /// # Errors
    /// [`ExchangeError::Library`].
    pub fn new(
        entropy: &mut dyn Entropy,
        tep: Tep,
        ciphers: &[Algorithm],
    ) -> Result<Self, ExchangeError> {
        let key = entropy.private_key(tep.curve())?;
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce)?;
        let mut init1 = Vec::new();
        Init1 {
            ciphers: &cipher_list(ciphers),
            nonce: &nonce,
            public: &key.compressed_public(),
        }
        .build(tep.curve(), &mut init1);
        Ok(Self {
            tep,
            key,
            nonce,
            ciphers: ciphers.to_vec(),
            init1,
        })
    }

    /// Init1, the same in each repetition.
    #[must_use]
    pub fn init1(&self) -> &[u8] {
        &self.init1
    }

    /// Reads Init2, from its first octet to its last.
    ///
    /// # Errors
    /// All of [`ExchangeError`].
    pub fn answered(
        &self,
        agreed: Agreed<'_>,
        init2: &[u8],
        log: Log<'_>,
    ) -> Result<Pending, ExchangeError> {
        let message = Init2::parse(init2, self.tep.curve())?;
        let algorithm = message.chosen(&self.ciphers)?;
        let shared_secret = self.key.agree(message.public)?;
        log(&self.key, message.public, &shared_secret);
        let exchange = Exchange {
            a: agreed.a,
            b: agreed.b,
            init1: &self.init1,
            init2,
            nonce_a: &self.nonce,
            shared_secret: &shared_secret,
        };
        let suite = Suite {
            host: Host::A,
            tep: self.tep,
            algorithm,
        };
        Ok(exchange.session(suite, agreed.tep_octet))
    }
}

/// What host B keeps from Init1 to the moment it has the keys.
///
/// Init2 can be sent before the secret is known: what it says does not depend on it, and host A needs as long for the
/// same multiplication.
pub struct Reply {
    tep: Tep,
    algorithm: Algorithm,
    key: PrivateKey,
    init1: Vec<u8>,
    init2: Vec<u8>,
}

impl Reply {
    /// To Init1, given from its first octet to its last. `ciphers` are those that we take, the preferred one first. That a point is on its
    /// curve is known then; with the other curves only the secret shows whether a key can be agreed with.
    ///
    /// # Errors
    /// All of [`ExchangeError`].
    pub fn new(
        entropy: &mut dyn Entropy,
        tep: Tep,
        ciphers: &[Algorithm],
        init1: &[u8],
    ) -> Result<Self, ExchangeError> {
        let curve = tep.curve();
        let message = Init1::parse(init1, curve)?;
        let algorithm = message.choose(ciphers)?;
        if matches!(tep, Tep::P256 | Tep::P521) {
            ecdh::check_point(curve, message.public)?;
        }
        let key = entropy.private_key(curve)?;
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce)?;
        let mut init2 = Vec::new();
        Init2 {
            cipher: aead_id(algorithm),
            nonce: &nonce,
            public: &key.compressed_public(),
        }
        .build(curve, &mut init2);
        Ok(Self {
            tep,
            algorithm,
            key,
            init1: init1.to_vec(),
            init2,
        })
    }

    /// Init2, the same in each repetition.
    #[must_use]
    pub fn init2(&self) -> &[u8] {
        &self.init2
    }

    /// The multiplication, and the session.
    ///
    /// # Errors
    /// All of [`ExchangeError`].
    pub fn session(&self, agreed: Agreed<'_>, log: Log<'_>) -> Result<Pending, ExchangeError> {
        let message = Init1::parse(&self.init1, self.tep.curve())?;
        let shared_secret = self.key.agree(message.public)?;
        log(&self.key, message.public, &shared_secret);
        let exchange = Exchange {
            a: agreed.a,
            b: agreed.b,
            init1: &self.init1,
            init2: &self.init2,
            nonce_a: message.nonce,
            shared_secret: &shared_secret,
        };
        let suite = Suite {
            host: Host::B,
            tep: self.tep,
            algorithm: self.algorithm,
        };
        Ok(exchange.session(suite, agreed.tep_octet))
    }
}

/// Answers Init1 at once, as host B: the session and Init2.
///
/// # Errors
/// All of [`ExchangeError`].
pub fn answer(
    entropy: &mut dyn Entropy,
    agreed: Agreed<'_>,
    ciphers: &[Algorithm],
    init1: &[u8],
    log: Log<'_>,
) -> Result<(Pending, Vec<u8>), ExchangeError> {
    let reply = Reply::new(entropy, agreed.tep, ciphers, init1)?;
    let pending = reply.session(agreed, log)?;
    Ok((pending, reply.init2))
}

#[cfg(test)]
mod tests {
    use kx_crypto::aead::Algorithm;
    use kx_crypto::ecdh::{self, Curve, PrivateKey};
    use kx_crypto::random::Unavailable;
    use kx_crypto::secret::SecretBytes;

    use super::{Agreed, ExchangeError, Question, answer};
    use crate::eno::{EnoOption, Kind, Tep};
    use crate::entropy::{Entropy, System};
    use crate::rfc8548::frame::Flags;
    use crate::rfc8548::init::InitError;

    const CIPHERS: [Algorithm; 3] = [
        Algorithm::ChaCha20Poly1305,
        Algorithm::Aes256Gcm,
        Algorithm::Aes128Gcm,
    ];

    fn options(tep: Tep) -> (EnoOption, EnoOption) {
        (
            EnoOption::of(Kind::Standard, &[0x21, 0x22, 0x23, 0x24]),
            EnoOption::of(Kind::Standard, &[1, tep.octet()]),
        )
    }

    fn unlogged(_: &PrivateKey, _: &[u8], _: &SecretBytes) {}

    /// Both hosts, each with the options as it saw them; the keys must fit each other.
    fn run(
        tep: Tep,
        offered: &[Algorithm],
        taken: &[Algorithm],
        b_saw: &EnoOption,
        change: impl Fn(&mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<(bool, Algorithm), ExchangeError> {
        let (a, b) = options(tep);
        let agreed = Agreed {
            a: &a,
            b: &b,
            tep,
            tep_octet: tep.octet(),
        };
        let mut logged = Vec::new();
        let mut log = |key: &PrivateKey, peer: &[u8], shared: &SecretBytes| {
            assert!(key.agree(peer).unwrap().ct_eq(shared.as_slice()));
            logged.push(shared.as_slice().to_vec());
        };
        let question = Question::new(&mut System::default(), tep, offered)?;
        let (mut init1, mut none) = (question.init1().to_vec(), Vec::new());
        change(&mut init1, &mut none);
        let b_agreed = Agreed { a: b_saw, ..agreed };
        let entropy = &mut System::default();
        let (b_session, mut init2) = answer(entropy, b_agreed, taken, &init1, &mut log)?;
        change(&mut none, &mut init2);
        let a_session = question.answered(agreed, &init2, &mut log)?;
        assert_eq!(logged[0], logged[1]);
        let algorithm = a_session.suite().algorithm;
        assert_eq!(b_session.suite().algorithm, algorithm);
        let same = a_session.id() == b_session.id();
        let (mut sealer, _) = a_session.enable().keys.split().unwrap();
        let (_, mut opener) = b_session.enable().keys.split().unwrap();
        let (mut wire, mut out) = (Vec::new(), Vec::new());
        sealer
            .seal(0, Flags::default(), b"data", &mut wire)
            .unwrap();
        assert_eq!(opener.open(0, &wire, &mut out).is_ok(), same);
        Ok((same, algorithm))
    }

    #[test]
    fn every_key_exchange_and_cipher() {
        for tep in Tep::ALL {
            let (a, _) = options(tep);
            for cipher in CIPHERS {
                let result = run(tep, &CIPHERS, &[cipher], &a, |_, _| {});
                assert_eq!(result, Ok((true, cipher)));
            }
            let result = run(tep, &CIPHERS, &CIPHERS, &a, |_, _| {});
            assert_eq!(result, Ok((true, CIPHERS[0])));
            let other = [CIPHERS[2], CIPHERS[0]];
            let result = run(tep, &CIPHERS, &other, &a, |_, _| {});
            assert_eq!(result, Ok((true, CIPHERS[2])), "host B's order");
            let result = run(tep, &CIPHERS[..1], &CIPHERS[1..], &a, |_, _| {});
            assert_eq!(result, Err(InitError::NoCipher.into()));
        }
    }

    /// Who changes an option or a message on the way has two hosts that do not understand each other.
    #[test]
    fn changed_on_the_way() {
        for tep in Tep::ALL {
            let (a, _) = options(tep);
            let shorter = EnoOption::of(Kind::Standard, &[0x21, 0x22]);
            let result = run(tep, &CIPHERS, &CIPHERS, &shorter, |_, _| {});
            assert_eq!(result.map(|(same, _)| same), Ok(false));
            // The first cipher taken out of the list, by a number that nobody knows.
            let result = run(tep, &CIPHERS, &CIPHERS, &a, |init1, _| {
                if let Some(octet) = init1.get_mut(9) {
                    *octet = 0xee;
                }
            });
            assert_eq!(result, Ok((false, CIPHERS[1])));
            // What stands behind the key is ignored but counts.
            let result = run(tep, &CIPHERS, &CIPHERS, &a, |init1, _| {
                if !init1.is_empty() {
                    init1.push(0);
                    init1[7] += 1;
                }
            });
            assert_eq!(result.map(|(same, _)| same), Ok(false));
            let result = run(tep, &CIPHERS[..1], &CIPHERS, &a, |_, init2| {
                if let Some(octet) = init2.get_mut(9) {
                    *octet = 1;
                }
            });
            assert_eq!(result, Err(InitError::UnofferedCipher.into()));
        }
    }

    /// An x beyond the prime on the NIST curves, zeros, which are of low order, on the others.
    #[test]
    fn bad_keys() {
        for tep in Tep::ALL {
            let (a, _) = options(tep);
            let curve = tep.curve();
            let bad = |message: &mut Vec<u8>| {
                let len = message.len();
                if let Some(key) = len.checked_sub(curve.compressed_len()) {
                    match curve {
                        Curve::P256 | Curve::P521 => message[key + 1..].fill(0xff),
                        Curve::X25519 | Curve::X448 => message[key..].fill(0),
                    }
                }
            };
            let wanted = Err(InitError::PublicKey.into());
            let result = run(tep, &CIPHERS, &CIPHERS, &a, |init1, _| bad(init1));
            assert_eq!(result, wanted, "{tep:?}");
            let result = run(tep, &CIPHERS, &CIPHERS, &a, |_, init2| bad(init2));
            assert_eq!(result, wanted, "{tep:?}");
        }
    }

    /// Fails at the draw of this number.
    struct Broken(u32);

    impl Entropy for Broken {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
            self.0 = self.0.checked_sub(1).ok_or(Unavailable)?;
            System::default().fill(out)
        }

        fn private_key(&mut self, curve: Curve) -> Result<PrivateKey, ecdh::Error> {
            self.0 = self.0.checked_sub(1).ok_or(ecdh::Error::Library)?;
            PrivateKey::generate(curve)
        }
    }

    #[test]
    fn no_random_numbers() {
        let (a, b) = options(Tep::X25519);
        let agreed = Agreed {
            a: &a,
            b: &b,
            tep: Tep::X25519,
            tep_octet: 0x23,
        };
        let question = Question::new(&mut System::default(), Tep::X25519, &CIPHERS).unwrap();
        let init1 = question.init1();
        for draws in 0..=2 {
            let wanted = (draws < 2).then_some(ExchangeError::Library);
            let entropy = &mut Broken(draws);
            let asked = Question::new(entropy, Tep::X25519, &CIPHERS);
            assert_eq!(asked.err(), wanted);
            let entropy = &mut Broken(draws);
            let answered = answer(entropy, agreed, &CIPHERS, init1, &mut unlogged);
            assert_eq!(answered.err(), wanted);
        }
    }
}
