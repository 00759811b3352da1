//! Key domains (xkek spec 6 and 8).

use super::{Error, Hsm, Result};
use crate::algorithm;
use crate::apdu::{Command, EXTENDED_LE, SHORT_LE, StatusWord};
use crate::card::Card;
use crate::cvc::{Certificate, Reference, Request};
use crate::kek::{Kcv, Kek};
use crate::tlv;

/// What a slot for a key domain holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainState {
    /// The card has no key domains: no DKEK was asked for at its initialization.
    Unsupported,
    /// There is no slot of that number.
    NotAllocated,
    /// A slot without a domain.
    Empty,
    /// A domain whose key comes from shares.
    Dkek {
        /// Shares there are.
        total: u8,
        /// Shares not yet imported.
        missing: u8,
        /// Check value; zeros while shares are missing.
        kcv: Kcv,
    },
    /// A domain whose key comes from an exchange.
    Xkek {
        /// Check value; absent until a key was agreed on.
        kcv: Option<Kcv>,
        /// The domain's identifier. Opaque.
        uid: Vec<u8>,
    },
}

impl DomainState {
    /// The check value of a key that is there.
    #[must_use]
    pub fn kcv(&self) -> Option<Kcv> {
        match self {
            Self::Dkek {
                missing: 0, kcv, ..
            } => Some(*kcv),
            Self::Xkek { kcv, .. } => *kcv,
            _ => None,
        }
    }

    /// Reads the answer to a status query.
    #[must_use]
    pub fn parse(answer: &[u8]) -> Option<Self> {
        let (&[total, missing], rest) = answer.split_first_chunk::<2>()?;
        let (kcv, uid) = rest.split_first_chunk::<8>()?;
        let kcv = Kcv(*kcv);
        if total != 0xff {
            return Some(Self::Dkek {
                total,
                missing,
                kcv,
            });
        }
        let there = missing == 0 && kcv != Kcv::default();
        Some(Self::Xkek {
            kcv: there.then_some(kcv),
            uid: uid.to_vec(),
        })
    }
}

fn manage(operation: u8, domain: u8) -> Command {
    Command::new(0x80, 0x52, operation, domain)
}

impl<C: Card> Hsm<C> {
    /// What a slot holds.
    ///
    /// # Errors
    /// [`Error`].
    pub fn domain(&mut self, domain: u8) -> Result<DomainState, C> {
        let what = "query the key domain";
        let response = self.transmit(&manage(0, domain).with_le(SHORT_LE))?;
        match response.sw {
            StatusWord::OK => DomainState::parse(&response.data).ok_or(Error::Answer(what)),
            StatusWord::REFERENCE => Ok(DomainState::Empty),
            StatusWord::P1_P2 | StatusWord::RANGE => Ok(DomainState::NotAllocated),
            StatusWord::INS => Ok(DomainState::Unsupported),
            sw => Err(Error::Status { what, sw }),
        }
    }

    /// All slots that there are, in order.
    ///
    /// # Errors
    /// [`Error`].
    pub fn domains(&mut self) -> Result<Vec<DomainState>, C> {
        let mut list = Vec::new();
        for number in 0..=u8::MAX {
            match self.domain(number)? {
                DomainState::NotAllocated | DomainState::Unsupported => break,
                state => list.push(state),
            }
        }
        Ok(list)
    }

    fn state(&mut self, what: &'static str, command: &Command) -> Result<DomainState, C> {
        let answer = self.done(what, command)?;
        DomainState::parse(&answer).ok_or(Error::Answer(what))
    }

    /// Imports one share of a DKEK. The card adds it to what it has: one imported twice cancels itself
    /// out.
    ///
    /// # Errors
    /// [`Error`]; 6986 when all are there.
    pub fn import_share(&mut self, domain: u8, share: &Kek) -> Result<DomainState, C> {
        let command = manage(0, domain)
            .with_data(share.as_slice())
            .with_le(SHORT_LE);
        self.state("import the DKEK share", &command)
    }

    /// Makes an empty slot a domain whose key has that many shares.
    ///
    /// # Errors
    /// [`Error`].
    pub fn create_dkek_domain(&mut self, domain: u8, shares: u8) -> Result<(), C> {
        let command = manage(1, domain).with_data(&[shares]).with_le(SHORT_LE);
        self.done("create the DKEK key domain", &command).map(drop)
    }

    /// Makes an empty slot a domain of the group whose signer's request and membership signature are
    /// given. The chain of the request's device must have been shown to the card
    /// ([`Self::show_chain`]).
    ///
    /// # Errors
    /// [`Error`]; 6985 when a signature is wrong or of another device.
    pub fn create_xkek_domain(
        &mut self,
        domain: u8,
        group_signer: &Request,
        membership: &[u8],
    ) -> Result<DomainState, C> {
        let mut data = group_signer.content().to_vec();
        tlv::push(&mut data, 0x54, membership);
        let command = manage(2, domain)
            .with_data(&data)
            .with_le(EXTENDED_LE)
            .extended();
        self.state("create the XKEK key domain", &command)
    }

    /// Deletes a domain without keys.
    ///
    /// # Errors
    /// [`Error`]; 6A89 while keys belong to it.
    pub fn delete_domain(&mut self, domain: u8) -> Result<(), C> {
        match self.transmit(&manage(3, domain).with_le(SHORT_LE))?.sw {
            // The second is the status of what is no more.
            StatusWord::OK | StatusWord::REFERENCE => Ok(()),
            sw => Err(Error::Status {
                what: "delete the key domain",
                sw,
            }),
        }
    }

    /// Deletes the key-encryption key of a domain. Keys in it stay, but cannot be wrapped.
    ///
    /// # Errors
    /// [`Error`].
    pub fn clear_kek(&mut self, domain: u8) -> Result<(), C> {
        match self.transmit(&manage(4, domain).with_le(SHORT_LE))?.sw {
            StatusWord::OK | StatusWord::REFERENCE => Ok(()),
            sw => Err(Error::Status {
                what: "delete the key encryption key",
                sw,
            }),
        }
    }

    /// Selects a key that the card knows for checking certificates. Whether it knows it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn select_certificate_key(&mut self, name: &Reference) -> Result<bool, C> {
        let data = tlv::encode(0x83, name.as_bytes());
        let command = Command::new(0, 0x22, 0x81, 0xb6).with_data(&data);
        match self.transmit(&command)?.sw {
            StatusWord::OK => Ok(true),
            StatusWord::REFERENCE | StatusWord::NOT_FOUND => Ok(false),
            sw => Err(Error::Status {
                what: "select a public key",
                sw,
            }),
        }
    }

    /// Shows a chain to the card, issuer before device, and leaves the device's key selected (xkek
    /// spec 8).
    ///
    /// # Errors
    /// [`Error`]; 6A88 when the card does not know the root.
    pub fn show_chain(&mut self, issuer: &Certificate, device: &Certificate) -> Result<(), C> {
        for certificate in [issuer, device] {
            let body = certificate.body();
            if self.select_certificate_key(&body.chr)? {
                continue;
            }
            if !self.select_certificate_key(&body.car)? {
                return Err(Error::Status {
                    what: "the card does not know who signed the certificate",
                    sw: StatusWord::REFERENCE,
                });
            }
            let command = Command::new(0, 0x2a, 0, 0xbe)
                .with_data(certificate.content())
                .extended();
            self.done("verify a certificate", &command)?;
        }
        let device = &device.body().chr;
        if !self.select_certificate_key(device)? {
            return Err(Error::Answer("verify a certificate"));
        }
        Ok(())
    }

    /// Agrees with a peer on the key of the domain that its exchange key names. Its chain must have
    /// been shown ([`Self::show_chain`]).
    ///
    /// # Errors
    /// [`Error`]; 6A88 when the card has no such domain.
    pub fn derive_kek(&mut self, exchange_key: u8, peer: &Request) -> Result<(), C> {
        let command = Command::new(0x80, 0x62, exchange_key, algorithm::ECDH_XKEK)
            .with_data(peer.encoded())
            .extended();
        self.done("derive the key encryption key", &command)
            .map(drop)
    }
}
