//! Public key authentication: so many of so many keys on other devices log in (xkek spec 11).

use super::{Error, Hsm, Result};
use crate::apdu::{Command, SHORT_LE, StatusWord};
use crate::card::Card;
use crate::cvc::{Reference, Request};
use crate::tlv;

/// How far the login is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginStatus {
    /// Keys there can be.
    pub total: u8,
    /// Keys not registered yet.
    pub missing: u8,
    /// Keys that must authenticate.
    pub required: u8,
    /// Keys that did.
    pub authenticated: u8,
}

/// A registered key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeySlot {
    /// Its name.
    pub name: Reference,
    /// Whether it has authenticated.
    pub authenticated: bool,
}

fn parse(answer: &[u8]) -> Option<LoginStatus> {
    let &[total, missing, required, authenticated] = answer.first_chunk()?;
    Some(LoginStatus {
        total,
        missing,
        required,
        authenticated,
    })
}

fn manage(operation: u8, slot: u8) -> Command {
    Command::new(0x80, 0x54, operation, slot)
}

impl<C: Card> Hsm<C> {
    /// How far the login is; nothing if the card was not initialized for it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn login_status(&mut self) -> Result<Option<LoginStatus>, C> {
        let what = "query public key authentication";
        let response = self.transmit(&manage(0, 0).with_le(SHORT_LE))?;
        match response.sw {
            StatusWord::OK => parse(&response.data).ok_or(Error::Answer(what)).map(Some),
            StatusWord::P1_P2 | StatusWord::NOT_SUPPORTED | StatusWord::INS => Ok(None),
            sw => Err(Error::Status { what, sw }),
        }
    }

    /// Registers a key, whose device's chain must have been shown ([`Self::show_chain`]); in place of
    /// another when a slot is named.
    ///
    /// # Errors
    /// [`Error`].
    pub fn register_public_key(
        &mut self,
        request: &Request,
        replace: Option<u8>,
    ) -> Result<LoginStatus, C> {
        let what = "register the public key";
        let command = match replace {
            None => manage(0, 0),
            Some(slot) => manage(1, slot),
        };
        let command = command
            .with_data(request.content())
            .with_le(SHORT_LE)
            .extended();
        let answer = self.done(what, &command)?;
        parse(&answer).ok_or(Error::Answer(what))
    }

    /// What is registered in a slot; nothing if it is free.
    ///
    /// # Errors
    /// [`Error`].
    pub fn public_key_slot(&mut self, slot: u8) -> Result<Option<PublicKeySlot>, C> {
        let response = self.transmit(&manage(2, slot).with_le(SHORT_LE))?;
        let authenticated = match response.sw {
            StatusWord(0x9000) => false,
            StatusWord(0x9001) => true,
            StatusWord::REFERENCE | StatusWord::P1_P2 => return Ok(None),
            sw => {
                return Err(Error::Status {
                    what: "query a registered public key",
                    sw,
                });
            }
        };
        Ok(Some(PublicKeySlot {
            name: Reference::new(&response.data)?,
            authenticated,
        }))
    }

    /// Begins the login of a registered key: the octets it must sign with ECDSA and SHA-256. Nothing
    /// if the card does not know it or it has logged in already.
    ///
    /// # Errors
    /// [`Error`].
    pub fn login_challenge(
        &mut self,
        key: &Reference,
        device: &Reference,
    ) -> Result<Option<Vec<u8>>, C> {
        let data = tlv::encode(0x83, key.as_bytes());
        let select = Command::new(0, 0x22, 0x81, 0xa4).with_data(&data);
        match self.transmit(&select)?.sw {
            StatusWord::OK => {}
            StatusWord::CONDITIONS | StatusWord::REFERENCE => return Ok(None),
            sw => {
                return Err(Error::Status {
                    what: "select a registered public key",
                    sw,
                });
            }
        }
        let what = "get a challenge";
        let challenge = self.done(what, &Command::new(0, 0x84, 0, 0).with_le(8))?;
        Ok(Some([device.as_bytes(), &challenge].concat()))
    }

    /// Ends the login of a registered key with its signature, plain r and s.
    ///
    /// # Errors
    /// [`Error`]; 6985 for a wrong one.
    pub fn login(&mut self, signature: &[u8]) -> Result<(), C> {
        let command = Command::new(0, 0x82, 0, 0).with_data(signature);
        self.done("authenticate with the public key", &command)
            .map(drop)
    }
}
