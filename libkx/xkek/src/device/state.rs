//! What a device keeps when the power goes, and how it is written down.

use std::collections::BTreeMap;

use kx_secret::SecretBytes;

use super::encoding::{Reader, Writer};
use crate::cvc::{KeyAttributes, Reference};
use crate::kek::Kek;
use crate::key::{AesKey, EcPublic, Key as Material, RsaPrivate};

/// Version of the encoding.
const VERSION: u8 = 1;
/// Tries of the SO-PIN (xkek spec 3).
pub(super) const SO_TRIES: u8 = 15;

/// An encoding that is no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Written by a later version.
    #[error("state of version {0}, which is not known")]
    Version(u8),
    /// Damaged.
    #[error("malformed state")]
    Malformed,
}

/// A PIN with its tries.
pub(super) struct Pin {
    pub(super) value: SecretBytes,
    pub(super) left: u8,
    pub(super) tries: u8,
}

impl Pin {
    pub(super) fn new(value: &[u8], tries: u8) -> Self {
        Self {
            value: SecretBytes::from(value.to_vec()),
            left: tries,
            tries,
        }
    }

    /// Compares; a wrong one costs a try, the right one brings all tries back. A blocked one is never
    /// right.
    pub(super) fn verify(&mut self, given: &[u8]) -> bool {
        if self.left == 0 {
            return false;
        }
        if self.value.ct_eq(given) {
            self.left = self.tries;
            true
        } else {
            self.left = self.left.saturating_sub(1);
            false
        }
    }

    fn encode(&self, out: &mut Writer) {
        out.octets(self.value.as_slice());
        out.byte(self.left);
        out.byte(self.tries);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, StateError> {
        let pin = Self {
            value: input.secret()?,
            left: input.byte()?,
            tries: input.byte()?,
        };
        if pin.left > pin.tries {
            return Err(StateError::Malformed);
        }
        Ok(pin)
    }
}

/// A key domain slot (xkek spec 3 and 6).
pub(super) enum Domain {
    Empty,
    Dkek {
        shares: u8,
        missing: u8,
        /// The sum of the shares that came; the KEK once none is missing.
        sum: Kek,
        /// Whether it came with INITIALIZE and still waits for its first shares.
        initial: bool,
    },
    Xkek {
        uid: Vec<u8>,
        kek: Option<Kek>,
    },
}

impl Domain {
    /// A domain that waits for `shares` shares.
    pub(super) fn dkek(shares: u8, initial: bool) -> Self {
        Self::Dkek {
            shares,
            missing: shares,
            sum: Kek::zero(),
            initial,
        }
    }

    /// The KEK, when it is whole.
    pub(super) fn kek(&self) -> Option<&Kek> {
        match self {
            Self::Dkek {
                missing: 0, sum, ..
            } => Some(sum),
            Self::Xkek { kek, .. } => kek.as_ref(),
            _ => None,
        }
    }

    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Empty => out.byte(0),
            Self::Dkek {
                shares,
                missing,
                sum,
                initial,
            } => {
                out.byte(1);
                out.byte(*shares);
                out.byte(*missing);
                out.octets(sum.as_slice());
                out.flag(*initial);
            }
            Self::Xkek { uid, kek } => {
                out.byte(2);
                out.octets(uid);
                out.option(kek.as_ref(), |out, kek| out.octets(kek.as_slice()));
            }
        }
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, StateError> {
        match input.byte()? {
            0 => Ok(Self::Empty),
            1 => Ok(Self::Dkek {
                shares: input.byte()?,
                missing: input.byte()?,
                sum: kek(input)?,
                initial: input.flag()?,
            }),
            2 => Ok(Self::Xkek {
                uid: input.octets()?.to_vec(),
                kek: input.option(kek)?,
            }),
            _ => Err(StateError::Malformed),
        }
    }
}

/// A public key registered for authentication (xkek spec 11).
pub(super) struct Registered {
    pub(super) chr: Reference,
    pub(super) key: EcPublic,
}

/// Public key authentication, if the device was initialised with it.
pub(super) struct PublicKeys {
    pub(super) required: u8,
    pub(super) slots: Vec<Option<Registered>>,
}

/// A key and what it may be used for (xkek spec 4).
pub(super) struct Key {
    pub(super) material: Material,
    pub(super) attributes: KeyAttributes,
    /// Access conditions and key OID of the blob it came in.
    pub(super) blob_extras: (Vec<u8>, Vec<u8>),
}

impl Key {
    fn encode(&self, out: &mut Writer) {
        match &self.material {
            Material::Rsa(key) => {
                out.byte(0);
                let key = key.inner();
                for prime in [key.p(), key.q()] {
                    let prime = prime.map(|prime| SecretBytes::from(prime.to_vec()));
                    out.octets(prime.as_ref().map_or(&[], SecretBytes::as_slice));
                }
                out.octets(&key.e().to_vec());
            }
            Material::Ec(key) => {
                out.byte(1);
                out.ec_private(key);
            }
            Material::Aes(key) => {
                out.byte(2);
                out.octets(key.as_slice());
            }
        }
        out.octets(&self.attributes.encode());
        out.octets(&self.blob_extras.0);
        out.octets(&self.blob_extras.1);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, StateError> {
        let malformed = |_| StateError::Malformed;
        let material = match input.byte()? {
            0 => {
                let (p, q, e) = (input.octets()?, input.octets()?, input.octets()?);
                Material::Rsa(RsaPrivate::from_primes(p, q, e).map_err(malformed)?)
            }
            1 => Material::Ec(input.ec_private()?),
            2 => Material::Aes(AesKey::new(input.octets()?).map_err(malformed)?),
            _ => return Err(StateError::Malformed),
        };
        let attributes = KeyAttributes::parse(input.octets()?);
        Ok(Self {
            material,
            attributes: attributes.map_err(|_| StateError::Malformed)?,
            blob_extras: (input.octets()?.to_vec(), input.octets()?.to_vec()),
        })
    }
}

fn reference(input: &mut Reader<'_>) -> Result<Reference, StateError> {
    Reference::new(input.octets()?).map_err(|_| StateError::Malformed)
}

fn kek(input: &mut Reader<'_>) -> Result<Kek, StateError> {
    let octets = input.octets()?.try_into();
    octets
        .map(Kek::from_bytes)
        .map_err(|_| StateError::Malformed)
}

/// The device's own key and certificates.
pub(super) struct Identity {
    /// Always one on a curve.
    pub(super) key: Material,
    /// Holder of the device certificate.
    pub(super) chr: Reference,
    /// EF.C_DevAut: device certificate and the one of its issuer.
    pub(super) certificates: Vec<u8>,
    /// The root above them.
    pub(super) root: Vec<u8>,
}

/// All that a device keeps. Nothing of it can be looked at but through the device.
pub struct State {
    pub(super) identity: Identity,
    pub(super) options: u16,
    pub(super) so_pin: Option<Pin>,
    pub(super) user_pin: Option<Pin>,
    /// Whether the user PIN is a transport PIN that nobody has changed yet.
    pub(super) transport_pin: bool,
    /// The key domain slots; none when INITIALIZE asked for none.
    pub(super) domains: Vec<Domain>,
    pub(super) public_keys: Option<PublicKeys>,
    pub(super) keys: BTreeMap<u8, Key>,
    pub(super) files: BTreeMap<u16, Vec<u8>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("keys", &self.keys.len())
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            options: 0,
            so_pin: None,
            user_pin: None,
            transport_pin: false,
            domains: Vec::new(),
            public_keys: None,
            keys: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// The state as octets. They hold every key in clear: seal them before they are written anywhere.
    #[must_use]
    pub fn encode(&self) -> SecretBytes {
        let mut out = Writer::default();
        out.byte(VERSION);
        if let Material::Ec(key) = &self.identity.key {
            out.ec_private(key);
        }
        out.octets(self.identity.chr.as_bytes());
        out.octets(&self.identity.certificates);
        out.octets(&self.identity.root);
        out.short(self.options);
        let pin = |out: &mut Writer, pin: &Pin| pin.encode(out);
        out.option(self.so_pin.as_ref(), pin);
        out.option(self.user_pin.as_ref(), pin);
        out.flag(self.transport_pin);
        out.count(self.domains.len());
        for domain in &self.domains {
            domain.encode(&mut out);
        }
        out.option(self.public_keys.as_ref(), |out, keys| {
            out.byte(keys.required);
            out.count(keys.slots.len());
            for slot in &keys.slots {
                out.option(slot.as_ref(), |out, key| {
                    out.octets(key.chr.as_bytes());
                    out.octets(key.key.curve().name().as_bytes());
                    out.octets(key.key.point());
                });
            }
        });
        out.count(self.keys.len());
        for (id, key) in &self.keys {
            out.byte(*id);
            key.encode(&mut out);
        }
        out.count(self.files.len());
        for (id, content) in &self.files {
            out.short(*id);
            out.octets(content);
        }
        out.finish()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn decode(octets: &[u8]) -> Result<Self, StateError> {
        let mut input = Reader::new(octets);
        match input.byte()? {
            VERSION => {}
            other => return Err(StateError::Version(other)),
        }
        let identity = Identity {
            key: Material::Ec(input.ec_private()?),
            chr: reference(&mut input)?,
            certificates: input.octets()?.to_vec(),
            root: input.octets()?.to_vec(),
        };
        let mut state = Self::new(identity);
        state.options = input.short()?;
        state.so_pin = input.option(Pin::decode)?;
        state.user_pin = input.option(Pin::decode)?;
        state.transport_pin = input.flag()?;
        for _ in 0..input.count()? {
            state.domains.push(Domain::decode(&mut input)?);
        }
        state.public_keys = input.option(public_keys)?;
        for _ in 0..input.count()? {
            let id = input.byte()?;
            state.keys.insert(id, Key::decode(&mut input)?);
        }
        for _ in 0..input.count()? {
            let id = input.short()?;
            state.files.insert(id, input.octets()?.to_vec());
        }
        input.finish()?;
        Ok(state)
    }
}

fn public_keys(input: &mut Reader<'_>) -> Result<PublicKeys, StateError> {
    let required = input.byte()?;
    let mut slots = Vec::new();
    for _ in 0..input.count()? {
        slots.push(input.option(|input| {
            let chr = reference(input)?;
            let key = EcPublic::from_point(input.curve()?, input.octets()?);
            let key = key.map_err(|_| StateError::Malformed)?;
            Ok(Registered { chr, key })
        })?);
    }
    Ok(PublicKeys { required, slots })
}
