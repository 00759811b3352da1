//! The commands of the SmartCard-HSM with types (xkek spec 2 to 6, 8, 11).
//!
//! [`Hsm`] holds a way to the card and nothing else: what the card knows is asked of the card. Every
//! refusal is [`Error::Status`] with the words for what was tried.

mod attested;
mod domains;
mod files;
mod keys;
mod login;
mod pins;

pub use attested::{certificates_of_file, device_key, plain_signature};
pub use domains::DomainState;
pub use files::{Applet, FileInfo};
pub use login::{LoginStatus, PublicKeySlot};
pub use pins::{Initialization, Pin, PinState, options};

use crate::apdu::{self, Command, Response, StatusWord};
use crate::card::Card;
use crate::{cvc, tlv};

/// The applet's name.
pub const AID: &[u8] = &[
    0xe8, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xc3, 0x1f, 0x02, 0x01,
];

/// EF.C_DevAut: certificate of the device and of its issuer.
pub const EF_DEVICE_CERTIFICATES: u16 = 0x2f02;
/// EF.TokenInfo.
pub const EF_TOKEN_INFO: u16 = 0x2f03;

/// First octet of the identifiers of files: the second is the number of the key (xkek spec 1).
pub mod kind {
    /// Description of a private or secret key.
    pub const KEY_DESCRIPTION: u8 = 0xc4;
    /// Description of a certificate.
    pub const CERTIFICATE_DESCRIPTION: u8 = 0xc8;
    /// Description of a data object.
    pub const DATA_DESCRIPTION: u8 = 0xc9;
    /// Certificate of an authority.
    pub const CA_CERTIFICATE: u8 = 0xca;
    /// A key.
    pub const KEY: u8 = 0xcc;
    /// Data read after user authentication.
    pub const PRIVATE_DATA: u8 = 0xcd;
    /// Certificate or request of a key.
    pub const CERTIFICATE: u8 = 0xce;
    /// Data read by everybody.
    pub const PUBLIC_DATA: u8 = 0xcf;
}

/// The identifier of the file of that kind and number.
#[must_use]
pub fn file_id(kind: u8, number: u8) -> u16 {
    u16::from_be_bytes([kind, number])
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: std::error::Error + 'static> {
    /// No answer came.
    #[error("{0}")]
    Card(#[source] E),
    /// The card refused.
    #[error("{what}: {sw}")]
    Status {
        /// What was tried.
        what: &'static str,
        /// The answer.
        sw: StatusWord,
    },
    /// The card answered something that cannot be.
    #[error("{0}: the card's answer makes no sense")]
    Answer(&'static str),
    /// An APDU cannot carry what it should.
    #[error(transparent)]
    Apdu(#[from] apdu::Error),
    /// A certificate of the card.
    #[error(transparent)]
    Certificate(#[from] cvc::Error),
    /// An encoding of the card.
    #[error(transparent)]
    Tlv(#[from] tlv::Error),
}

impl<E: std::error::Error + 'static> Error<E> {
    /// The status word, if the card answered with one.
    #[must_use]
    pub fn sw(&self) -> Option<StatusWord> {
        match self {
            Self::Status { sw, .. } => Some(*sw),
            _ => None,
        }
    }
}

/// A card with the applet.
#[derive(Debug)]
pub struct Hsm<C> {
    card: C,
}

/// What commands give.
pub type Result<T, C> = std::result::Result<T, Error<<C as Card>::Error>>;

/// Most answers with "more to fetch" that are followed.
const MOST_PIECES: usize = 512;

impl<C: Card> Hsm<C> {
    /// Takes a way to a card. Nothing is sent; [`Self::select`] comes first.
    pub fn new(card: C) -> Self {
        Self { card }
    }

    /// The way to the card.
    pub fn card_mut(&mut self) -> &mut C {
        &mut self.card
    }

    /// Gives the way to the card back.
    pub fn into_card(self) -> C {
        self.card
    }

    /// Sends a command and gives the answer, whatever it is; pieces announced by 61xx are fetched, and
    /// a length corrected by 6Cxx is used.
    ///
    /// # Errors
    /// [`Error::Card`], [`Error::Apdu`].
    pub fn transmit(&mut self, command: &Command) -> Result<Response, C> {
        let mut octets = Vec::new();
        self.card
            .transmit(&command.encode()?, &mut octets)
            .map_err(Error::Card)?;
        let mut response = Response::parse(&octets)?;
        if let [0x6c, le] = response.sw.to_bytes() {
            let le = if le == 0 { 256 } else { u32::from(le) };
            let again = command.clone().with_le(le).encode()?;
            self.card
                .transmit(&again, &mut octets)
                .map_err(Error::Card)?;
            response = Response::parse(&octets)?;
        }
        for _ in 0..MOST_PIECES {
            let [0x61, le] = response.sw.to_bytes() else {
                break;
            };
            let le = if le == 0 { 256 } else { u32::from(le) };
            let more = Command::new(0, 0xc0, 0, 0).with_le(le).encode()?;
            self.card
                .transmit(&more, &mut octets)
                .map_err(Error::Card)?;
            let piece = Response::parse(&octets)?;
            response.data.extend_from_slice(&piece.data);
            response.sw = piece.sw;
        }
        drop(kx_secret::SecretBytes::from(octets));
        Ok(response)
    }

    /// Sends a command that must be answered with 9000, and gives the data.
    fn done(&mut self, what: &'static str, command: &Command) -> Result<Vec<u8>, C> {
        let response = self.transmit(command)?;
        if response.sw.is_ok() {
            Ok(response.data)
        } else {
            Err(Error::Status {
                what,
                sw: response.sw,
            })
        }
    }
}
