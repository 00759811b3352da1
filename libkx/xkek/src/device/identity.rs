//! Who a device is: its key, the certificate of its issuer (DICA) and the root above (xkek spec 8), and the
//! software authority that makes new devices.

use kx_secret::SecretBytes;

use super::encoding::{Reader, Writer};
use super::state::{Identity, State, StateError};
use crate::curve::Curve;
use crate::cvc::{Body, Certificate, Chat, Date, OID_DEVICE_ROLE, Reference};
use crate::key::{EcPrivate, EcPublic, Key, PublicKey};
use crate::rng::Rng;

/// Curve of the keys of devices and authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceCurve {
    /// brainpoolP256r1, the vendor's.
    #[default]
    BrainpoolP256r1,
    /// secp256r1.
    Secp256r1,
    /// secp256k1, the imitation's.
    Secp256k1,
}

/// A name that is no curve of devices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: not a curve of devices (brainpoolP256r1, secp256r1, secp256k1)")]
pub struct UnknownCurve(pub String);

impl DeviceCurve {
    fn curve(self) -> Curve {
        match self {
            Self::BrainpoolP256r1 => Curve::BrainpoolP256r1,
            Self::Secp256r1 => Curve::Secp256r1,
            Self::Secp256k1 => Curve::Secp256k1,
        }
    }
}

impl std::str::FromStr for DeviceCurve {
    type Err = UnknownCurve;

    fn from_str(name: &str) -> Result<Self, UnknownCurve> {
        [Self::BrainpoolP256r1, Self::Secp256r1, Self::Secp256k1]
            .into_iter()
            .find(|curve| curve.curve().name() == name)
            .ok_or_else(|| UnknownCurve(name.to_owned()))
    }
}

/// Making keys or certificates failed: no random numbers, no memory, or no serial number left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library refuses, or the authority has no serial numbers left")]
pub struct PersonaliseError;

impl From<crate::crypto::Unavailable> for PersonaliseError {
    fn from(_: crate::crypto::Unavailable) -> Self {
        Self
    }
}

/// Version of the authority's encoding.
const VERSION: u8 = 1;
/// Rights: root, issuer of devices, device.
const ROOT: u8 = 0xC0;
const ISSUER: u8 = 0x80;
const DEVICE: u8 = 0x00;
/// Software certificates do not end: nobody could renew them.
const EFFECTIVE: Date = Date {
    year: 26,
    month: 1,
    day: 1,
};
const EXPIRATION: Date = Date {
    year: 99,
    month: 12,
    day: 31,
};

/// A certificate with all domain parameters, so that it can be read by itself.
fn certificate(
    (car, issuer): (&Reference, &Key),
    (chr, key): (&Reference, &EcPublic),
    rights: u8,
) -> Result<Vec<u8>, PersonaliseError> {
    let body = Body {
        chat: Some(Chat {
            oid: OID_DEVICE_ROLE.to_vec(),
            rights: vec![rights],
        }),
        effective: Some(EFFECTIVE),
        expiration: Some(EXPIRATION),
        ..Body::request(car.clone(), chr.clone(), &PublicKey::Ec(key.clone()))
    };
    let certificate = Certificate::issue(body, issuer).map_err(|_| PersonaliseError)?;
    Ok(certificate.encoded().to_vec())
}

fn reference(name: &str) -> Result<Reference, PersonaliseError> {
    Reference::new(name.as_bytes()).map_err(|_| PersonaliseError)
}

/// A software scheme root with its device issuer. Devices it made trust each other, and no others do.
#[derive(Debug)]
pub struct Authority {
    pub(super) issuer: Key,
    pub(super) issuer_chr: Reference,
    pub(super) issuer_certificate: Vec<u8>,
    root: Vec<u8>,
    /// What this authority's devices are named by, besides their number.
    mark: Vec<u8>,
    devices: u32,
}

impl Authority {
    /// A new root and issuer. The root's key signs one certificate and is then forgotten.
    ///
    /// # Errors
    /// [`PersonaliseError`].
    pub fn create(curve: DeviceCurve, mut rng: &mut dyn Rng) -> Result<Self, PersonaliseError> {
        let curve = curve.curve();
        let root_key = EcPrivate::generate(curve, &mut rng)?;
        let issuer = EcPrivate::generate(curve, &mut rng)?;
        // Roots are told apart by their names: one authority's must not be another's.
        let mut random = [0; 2];
        rng.fill(&mut random).map_err(|_| PersonaliseError)?;
        let mark = random
            .iter()
            .map(|octet| format!("{octet:02X}"))
            .collect::<String>();
        let root_chr = reference(&format!("UTKXR{mark}00001"))?;
        let issuer_chr = reference(&format!("UTKXI{mark}00001"))?;
        let (root_public, issuer_public) = (root_key.public().clone(), issuer.public().clone());
        let root_key = Key::Ec(root_key);
        let signer = (&root_chr, &root_key);
        let root = certificate(signer, (&root_chr, &root_public), ROOT)?;
        let issuer_certificate = certificate(signer, (&issuer_chr, &issuer_public), ISSUER)?;
        Ok(Self {
            issuer: Key::Ec(issuer),
            issuer_chr,
            issuer_certificate,
            root,
            mark: mark.into_bytes(),
            devices: 0,
        })
    }

    /// The root certificate, for a trust bundle.
    #[must_use]
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// The authority as octets. They hold its key in clear.
    #[must_use]
    pub fn encode(&self) -> SecretBytes {
        let mut out = Writer::default();
        out.byte(VERSION);
        if let Key::Ec(issuer) = &self.issuer {
            out.ec_private(issuer);
        }
        out.octets(self.issuer_chr.as_bytes());
        out.octets(&self.issuer_certificate);
        out.octets(&self.root);
        out.octets(&self.mark);
        out.long(self.devices);
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
        let authority = Self {
            issuer: Key::Ec(input.ec_private()?),
            issuer_chr: Reference::new(input.octets()?).map_err(|_| StateError::Malformed)?,
            issuer_certificate: input.octets()?.to_vec(),
            root: input.octets()?.to_vec(),
            mark: input.octets()?.to_vec(),
            devices: input.long()?,
        };
        input.finish()?;
        Ok(authority)
    }
}

impl State {
    /// A new device with a key of its own and a certificate from `authority`, not initialised.
    ///
    /// # Errors
    /// [`PersonaliseError`].
    pub fn personalise(
        authority: &mut Authority,
        curve: DeviceCurve,
        mut rng: &mut dyn Rng,
    ) -> Result<Self, PersonaliseError> {
        let number = authority.devices.checked_add(1).ok_or(PersonaliseError)?;
        if number > 99_999 {
            return Err(PersonaliseError);
        }
        let key = EcPrivate::generate(curve.curve(), &mut rng)?;
        // Country, holder of at most nine characters, sequence of five.
        let mark = String::from_utf8_lossy(&authority.mark);
        let chr = reference(&format!("UT{mark}{number:05}00001"))?;
        let issuer = (&authority.issuer_chr, &authority.issuer);
        let certificate = certificate(issuer, (&chr, key.public()), DEVICE)?;
        authority.devices = number;
        Ok(Self::new(Identity {
            key: Key::Ec(key),
            chr,
            certificates: [certificate, authority.issuer_certificate.clone()].concat(),
            root: authority.root.clone(),
        }))
    }
}
