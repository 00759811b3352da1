//! Authinfo files (keysrv spec 3): all that one needs to authenticate. Five messages: the signer's public key, the
//! certificate of one's own, the private key, and the Diffie-Hellman group of the domain.

use kx_crypto::dh::Group;
use kx_crypto::secret::SecretBytes;

use crate::certificate::Certificate;
use crate::framing::{self, FILE_LIMIT, HEADER, Message};
use crate::key::{PrivateKey, PublicKey};
use crate::number;

/// Most octets that five messages can take.
pub const AUTHINFO_LIMIT: usize = 5 * (HEADER + FILE_LIMIT);

/// The octets are no authinfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("input or format error")]
pub struct BadAuthInfo;

/// What an authinfo file holds. That of a signer is about one key: the signer's own, certified by itself.
pub struct AuthInfo {
    /// The public key of the signer.
    pub signer_key: PublicKey,
    /// What the signer says about the public key.
    pub certificate: Certificate,
    /// One's own key.
    pub private_key: PrivateKey,
    /// The group of the domain.
    pub group: Group,
}

impl AuthInfo {
    /// Reads a file. What follows the fifth message is ignored. Nothing is verified.
    ///
    /// # Errors
    /// [`BadAuthInfo`].
    pub fn parse(file: &[u8]) -> Result<Self, BadAuthInfo> {
        let mut rest = file;
        let mut next = || -> Result<&[u8], BadAuthInfo> {
            match framing::split(rest, FILE_LIMIT) {
                Ok(Some((Message::Text(text), after))) => {
                    rest = after;
                    Ok(text)
                }
                _ => Err(BadAuthInfo),
            }
        };
        Ok(Self {
            signer_key: PublicKey::parse(next()?).map_err(|_| BadAuthInfo)?,
            certificate: Certificate::parse(next()?).map_err(|_| BadAuthInfo)?,
            private_key: PrivateKey::parse(next()?).map_err(|_| BadAuthInfo)?,
            group: Group {
                alpha: number::read_standalone(next()?).map_err(|_| BadAuthInfo)?,
                p: number::read_standalone(next()?).map_err(|_| BadAuthInfo)?,
            },
        })
    }

    /// The file.
    ///
    /// # Errors
    /// [`BadAuthInfo`] when a message becomes too long.
    pub fn to_bytes(&self) -> Result<SecretBytes, BadAuthInfo> {
        // As large as it can become, so that no copy of the key is left behind.
        let mut file = Vec::with_capacity(AUTHINFO_LIMIT);
        let private_key = self.private_key.text();
        let alpha = number::text_z(&self.group.alpha);
        let p = number::text_z(&self.group.p);
        let written = [
            self.signer_key.canonical_text().as_slice(),
            &self.certificate.text(),
            private_key.as_slice(),
            alpha.as_bytes(),
            p.as_bytes(),
        ]
        .into_iter()
        .try_for_each(|text| framing::write(&mut file, text));
        let file = SecretBytes::from(file);
        written.map(|()| file).map_err(|_| BadAuthInfo)
    }

    /// One's own public key, in the form in which it is sent.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        self.private_key.public()
    }

    /// Whether the certificate is the signer's, about the public key.
    #[must_use]
    pub fn is_certified(&self) -> bool {
        self.certificate
            .verify(&self.signer_key, self.public_key().text())
    }

    /// Whether it is that of a signer: certified by the key itself, in the owner's name.
    #[must_use]
    pub fn is_signer(&self) -> bool {
        self.signer_key.canonical_text() == self.public_key().text()
            && self.certificate.signer() == self.signer_key.owner()
            && self.is_certified()
    }
}
