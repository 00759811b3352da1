//! XKEK domains: joining a group, and agreeing on a KEK with another of its devices (xkek spec 8).

use super::decipher::AGREE_KEK;
use super::state::Domain;
use super::{Answer, DONE, Device};
use crate::apdu::StatusWord;
use crate::crypto::sha256;
use crate::cvc::Request;
use crate::key::{Key as Material, PublicKey};
use crate::tlv;

impl Device {
    /// Makes a slot a domain of the group whose signer made this device a member.
    pub(super) fn create_xkek(&mut self, slot: usize, data: &[u8]) -> Result<(), StatusWord> {
        let wrong = |_| StatusWord::WRONG_DATA;
        let signature = tlv::require(data, 0x54).map_err(wrong)?;
        let before = data.len().saturating_sub(signature.encoded.len());
        let (request, last) = data.split_at_checked(before).unwrap_or_default();
        // The signature is the last element.
        if last != signature.encoded {
            return Err(StatusWord::WRONG_DATA);
        }
        let request = Request::parse_content(request).map_err(|_| StatusWord::WRONG_DATA)?;
        let PublicKey::Ec(signer) = self.attested_key(&request)? else {
            return Err(StatusWord::CONDITIONS);
        };
        let Material::Ec(own) = &self.state.identity.key else {
            return Err(StatusWord::EXECUTION);
        };
        let membership = sha256(&[&[0x54], own.public().x()]);
        if !matches!(signer.verify_digest(&membership, signature.value), Ok(true)) {
            return Err(StatusWord::CONDITIONS);
        }
        let uid = signer.point().get(1..).unwrap_or_default().to_vec();
        self.fill(slot, Domain::Xkek { uid, kek: None })
    }

    /// The identifier of the group whose domain a key is in.
    pub(super) fn group_of(&self, domain: Option<u8>) -> Option<&[u8]> {
        match self.state.domains.get(usize::from(domain?))? {
            Domain::Xkek { uid, .. } => Some(uid),
            _ => None,
        }
    }

    /// Agrees with the peer whose exchange key `data` attests. The KEK never leaves.
    pub(super) fn agree_on_kek(&mut self, id: u8, data: &[u8]) -> Answer {
        let key = self.usable_key(id, AGREE_KEK)?;
        let domain = key.attributes.domain;
        let Material::Ec(own) = &key.material else {
            return Err(StatusWord::CONDITIONS);
        };
        let group = self.group_of(domain).ok_or(StatusWord::CONDITIONS)?;
        let request = Request::parse_content(data).map_err(|_| StatusWord::WRONG_DATA)?;
        let peer_group = request
            .body()
            .key_domain_uid()
            .ok_or(StatusWord::WRONG_DATA)?;
        if peer_group != group {
            return Err(StatusWord::REFERENCE);
        }
        let PublicKey::Ec(peer) = self.attested_key(&request)? else {
            return Err(StatusWord::CONDITIONS);
        };
        // With itself a device would agree on what anybody who has both requests can send it.
        if peer == *own.public() || peer.curve() != own.curve() {
            return Err(StatusWord::CONDITIONS);
        }
        let agreed = self
            .config
            .kdf
            .agree(own, &peer)
            .map_err(|_| StatusWord::CONDITIONS)?;
        let slot = usize::from(domain.unwrap_or(u8::MAX));
        if let Domain::Xkek { kek, .. } = self.domain(slot)? {
            *kek = Some(agreed);
            self.changed = true;
        }
        self.count_use(id);
        DONE
    }
}
