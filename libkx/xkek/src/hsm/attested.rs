//! Key pairs that others are shown: group signers, exchange keys, and the files about them (xkek spec 8).

use super::{Error, Hsm, Result, file_id, kind};
use crate::card::Card;
use crate::crypto::{padded, significant};
use crate::curve::Curve;
use crate::cvc::{Certificate, GenerationRequest, Reference, Request};
use crate::kdm::{Membership, Version};
use crate::key::{EcPublic, PublicKey};
use crate::pka::AttestedKey;
use crate::pkcs15::KeyDescription;
use crate::{algorithm, exchange, group_signer, tlv};

impl<C: Card> Hsm<C> {
    /// The device's certificate and its issuer's.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Answer`] if there are not two.
    pub fn certificate_pair(&mut self) -> Result<(Certificate, Certificate), C> {
        let mut list = self.device_certificates()?.into_iter();
        match (list.next(), list.next()) {
            (Some(device), Some(issuer)) => Ok((device, issuer)),
            _ => Err(Error::Answer("read the certificate of the device's issuer")),
        }
    }

    /// A name for key `id` of this device that no other key of it has.
    ///
    /// # Errors
    /// [`Error`].
    pub fn key_name(&mut self, id: u8) -> Result<Reference, C> {
        let (certificate, _) = self.certificate_pair()?;
        let own = certificate.body().chr.clone();
        let serial = own.serial().unwrap_or(own.as_bytes());
        // Not digits only, as in the device's own name.
        let name = [serial, format!("K{id:04}").as_bytes()].concat();
        Ok(Reference::new(&name)?)
    }

    /// A key with the certificates of its device, as they are today: they change when the firmware is
    /// updated.
    ///
    /// # Errors
    /// [`Error`].
    pub fn attested(&mut self, request: Request) -> Result<AttestedKey, C> {
        let (device, issuer) = self.certificate_pair()?;
        Ok(AttestedKey {
            request,
            device,
            issuer,
        })
    }

    /// The request that is kept with key `id`, with the certificates of its device; nothing if there is
    /// none.
    ///
    /// # Errors
    /// [`Error`].
    pub fn stored_key(&mut self, id: u8) -> Result<Option<AttestedKey>, C> {
        match self.read(file_id(kind::CERTIFICATE, id))? {
            None => Ok(None),
            Some(content) => {
                let request = Request::parse(&content)?;
                self.attested(request).map(Some)
            }
        }
    }

    /// Makes a group signer as key `id`, which must be free.
    ///
    /// # Errors
    /// [`Error`].
    pub fn create_group_signer(
        &mut self,
        id: u8,
        curve: Curve,
        label: &str,
    ) -> Result<AttestedKey, C> {
        let name = self.key_name(id)?;
        self.create_shown(id, &group_signer::generation_request(curve, name), label)
    }

    /// Makes an exchange key in an XKEK domain as key `id`, which must be free.
    ///
    /// # Errors
    /// [`Error`].
    pub fn create_exchange_key(&mut self, id: u8, domain: u8) -> Result<AttestedKey, C> {
        let name = self.key_name(id)?;
        let curve = Curve::BrainpoolP256r1;
        let request = exchange::generation_request(domain, curve, name.clone(), name);
        self.create_shown(id, &request, "exchange key")
    }

    fn create_shown(
        &mut self,
        id: u8,
        request: &GenerationRequest,
        label: &str,
    ) -> Result<AttestedKey, C> {
        let made = self.generate_key_pair(id, request)?;
        let description = KeyDescription::of_pair(&made.public_key()?, label, id);
        self.describe_key(id, &description.encode(), Some(made.encoded()))?;
        self.attested(made)
    }

    /// Writes what makes a key visible: its description, and the request or certificate if it has one.
    ///
    /// # Errors
    /// [`Error`].
    pub fn describe_key(
        &mut self,
        id: u8,
        description: &[u8],
        certificate: Option<&[u8]>,
    ) -> Result<(), C> {
        self.write(file_id(kind::KEY_DESCRIPTION, id), description)?;
        match certificate {
            Some(certificate) => self.write(file_id(kind::CERTIFICATE, id), certificate),
            None => Ok(()),
        }
    }

    /// Signs with group signer `id`, whose file is `signer`, that the device with that key is a member.
    /// The file is checked before it is given out: nothing for a key that is not that signer.
    ///
    /// # Errors
    /// [`Error`].
    pub fn sign_membership(
        &mut self,
        id: u8,
        signer: &AttestedKey,
        member: &EcPublic,
    ) -> Result<Option<Membership>, C> {
        let der = self.sign(id, algorithm::ECDSA_SHA256, &Version::V1.signed(member))?;
        let width = signer.request.body().key.curve().map_or(32, Curve::len);
        let signature = plain_signature(&der, width).ok_or(Error::Answer("sign"))?;
        let file = group_signer::membership(signer, signature);
        Ok(file.verify_member(member).is_ok().then_some(file))
    }
}

/// r and s of an ECDSA signature as the card gives it, DER, each of `width` octets: the form that
/// certificates, memberships and logins carry. Nothing if it is none.
#[must_use]
pub fn plain_signature(der: &[u8], width: usize) -> Option<Vec<u8>> {
    let outer = tlv::only(der, 0x30).ok()?;
    let (r, rest) = tlv::expect(outer.value, 0x02).ok()?;
    let s = tlv::only(rest, 0x02).ok()?;
    let mut out = padded(significant(r.value), width)?.to_vec();
    out.extend_from_slice(&padded(significant(s.value), width)?);
    Some(out)
}

/// Certificate of a device and of its issuer, from what people send: the two one after another, or the
/// file of a key.
///
/// # Errors
/// [`crate::cvc::Error`].
pub fn certificates_of_file(
    content: &[u8],
) -> std::result::Result<(Certificate, Certificate), crate::cvc::Error> {
    if let Ok((key, _)) = AttestedKey::parse(content) {
        return Ok((key.device, key.issuer));
    }
    let (device, rest) = tlv::expect(content, 0x7f21)?;
    let (issuer, _) = tlv::expect(rest, 0x7f21)?;
    Ok((
        Certificate::parse(device.encoded)?,
        Certificate::parse(issuer.encoded)?,
    ))
}

/// The point of a device's key. Where neither certificate names a curve, each that fits is tried; the
/// coordinate that a membership signs is the same.
#[must_use]
pub fn device_key(device: &Certificate, issuer: &Certificate) -> Option<EcPublic> {
    let named = device
        .body()
        .key
        .curve()
        .or_else(|| issuer.body().key.curve());
    named
        .into_iter()
        .chain(Curve::ALL)
        .find_map(|curve| match device.public_key(Some(curve)) {
            Ok(PublicKey::Ec(key)) => Some(key),
            _ => None,
        })
}
