//! The applet and its files.

use super::{AID, EF_DEVICE_CERTIFICATES, Error, Hsm, Result};
use crate::apdu::{Command, SHORT_LE, StatusWord};
use crate::card::Card;
use crate::cvc::{Certificate, KeyAttributes};
use crate::tlv;

/// Octets written with one command; a short APDU carries them on every reader.
const PIECE: usize = 230;

/// Most octets of a file that are read; a card has room for much less.
const LARGEST: usize = 0xffff;

/// What SELECT tells of the applet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applet {
    /// Options of the last initialization.
    pub options: u16,
    /// Kind of the card: 00 JCOP, 01 demo, FF other; absent on the oldest.
    pub kind: Option<u8>,
    /// First part of the version.
    pub major: u8,
    /// Second part of the version.
    pub minor: u8,
}

/// What SELECT tells of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileInfo {
    /// Octets in it, if told.
    pub size: Option<u16>,
    /// What a key may be used for, if it is one and the card tells.
    pub attributes: Option<KeyAttributes>,
}

impl<C: Card> Hsm<C> {
    /// Selects the applet, which also ends every authentication.
    ///
    /// # Errors
    /// [`Error`].
    pub fn select(&mut self) -> Result<Applet, C> {
        let what = "select the SmartCard-HSM applet";
        let command = Command::new(0, 0xa4, 4, 0).with_data(AID).with_le(SHORT_LE);
        let answer = self.done(what, &command)?;
        let (fci, _) = tlv::read(&answer)?;
        let version = tlv::require(fci.value, 0x85)?.value;
        match *version {
            [.., high, low, kind, major, minor] => Ok(Applet {
                options: u16::from_be_bytes([high, low]),
                kind: Some(kind),
                major,
                minor,
            }),
            [.., major, minor] => Ok(Applet {
                options: 0,
                kind: None,
                major,
                minor,
            }),
            _ => Err(Error::Answer(what)),
        }
    }

    /// Selects a file and tells what the card says of it; nothing if there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub fn file(&mut self, id: u16) -> Result<Option<FileInfo>, C> {
        let command = Command::new(0, 0xa4, 0, 0)
            .with_data(&id.to_be_bytes())
            .with_le(SHORT_LE);
        let response = self.transmit(&command)?;
        match response.sw {
            StatusWord::NOT_FOUND => return Ok(None),
            StatusWord::OK => {}
            sw => {
                return Err(Error::Status {
                    what: "select a file",
                    sw,
                });
            }
        }
        let mut info = FileInfo::default();
        if response.data.is_empty() {
            return Ok(Some(info));
        }
        let (fcp, _) = tlv::read(&response.data)?;
        if let Some(size) = tlv::find(fcp.value, 0x81)? {
            info.size = size.value.try_into().ok().map(u16::from_be_bytes);
        }
        if let Some(attributes) = tlv::find(fcp.value, 0xa5)? {
            info.attributes = Some(KeyAttributes::parse(attributes.value)?);
        }
        Ok(Some(info))
    }

    /// Reads a file to its end; nothing if there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(&mut self, id: u16) -> Result<Option<Vec<u8>>, C> {
        let what = "read a file";
        let mut content = Vec::new();
        let [p1, p2] = id.to_be_bytes();
        while content.len() < LARGEST {
            let offset = u16::try_from(content.len()).unwrap_or(u16::MAX);
            let [high, low] = offset.to_be_bytes();
            let command = Command::new(0, 0xb1, p1, p2)
                .with_data(&[0x54, 2, high, low])
                .with_le(SHORT_LE);
            let response = self.transmit(&command)?;
            content.extend_from_slice(&response.data);
            match response.sw {
                StatusWord::OK if response.data.is_empty() => return Ok(Some(content)),
                StatusWord::OK => {}
                StatusWord::END_OF_FILE => return Ok(Some(content)),
                // Some say at the end that the offset is outside.
                StatusWord::RANGE if offset > 0 => return Ok(Some(content)),
                StatusWord::NOT_FOUND => return Ok(None),
                sw => return Err(Error::Status { what, sw }),
            }
        }
        Err(Error::Answer(what))
    }

    /// Makes `content` the whole content of a file, which need not be there before.
    ///
    /// # Errors
    /// [`Error`]. After one the file may be written in part.
    pub fn write(&mut self, id: u16, content: &[u8]) -> Result<(), C> {
        let [p1, p2] = id.to_be_bytes();
        let mut offset = 0u16;
        let first: &[u8] = &[];
        // An empty file still needs one command.
        let pieces = content.chunks(PIECE);
        for piece in pieces.chain(content.is_empty().then_some(first)) {
            let mut data = vec![0x54, 2];
            data.extend_from_slice(&offset.to_be_bytes());
            tlv::push(&mut data, 0x53, piece);
            let command = Command::new(0, 0xd7, p1, p2).with_data(&data);
            self.done("write a file", &command)?;
            offset = u16::try_from(piece.len())
                .ok()
                .and_then(|len| offset.checked_add(len))
                .ok_or(Error::Answer("write a file"))?;
        }
        Ok(())
    }

    /// Deletes a file or a key. Whether there was one.
    ///
    /// # Errors
    /// [`Error`].
    pub fn delete(&mut self, id: u16) -> Result<bool, C> {
        let command = Command::new(0, 0xe4, 2, 0).with_data(&id.to_be_bytes());
        match self.transmit(&command)?.sw {
            StatusWord::OK => Ok(true),
            StatusWord::NOT_FOUND => Ok(false),
            sw => Err(Error::Status {
                what: "delete a file",
                sw,
            }),
        }
    }

    /// The identifiers of all files and keys.
    ///
    /// # Errors
    /// [`Error`].
    pub fn enumerate(&mut self) -> Result<Vec<u16>, C> {
        let command = Command::new(0x80, 0x58, 0, 0)
            .with_le(crate::apdu::EXTENDED_LE)
            .extended();
        let list = self.done("list the files", &command)?;
        Ok(list
            .chunks_exact(2)
            .filter_map(|pair| pair.try_into().ok().map(u16::from_be_bytes))
            .collect())
    }

    /// The certificates of the device, its own first. What is no certificate (cards before
    /// personalization have a request there) is left out.
    ///
    /// # Errors
    /// [`Error`].
    pub fn device_certificates(&mut self) -> Result<Vec<Certificate>, C> {
        let content = self.read(EF_DEVICE_CERTIFICATES)?.unwrap_or_default();
        let mut list = Vec::new();
        for element in tlv::elements(&content) {
            // Whatever stands behind the certificates does not matter.
            let Ok(element) = element else { break };
            if element.tag == 0x7f21 {
                list.push(Certificate::parse(element.encoded)?);
            }
        }
        Ok(list)
    }

    /// `len` random octets of the card's.
    ///
    /// # Errors
    /// [`Error`].
    pub fn challenge(&mut self, len: usize) -> Result<Vec<u8>, C> {
        let what = "get random octets";
        let mut out = Vec::with_capacity(len);
        while out.len() < len {
            let want = len.saturating_sub(out.len()).min(128);
            let le = u32::try_from(want).unwrap_or(1);
            let piece = self.done(what, &Command::new(0, 0x84, 0, 0).with_le(le))?;
            if piece.len() != want {
                return Err(Error::Answer(what));
            }
            out.extend_from_slice(&piece);
        }
        Ok(out)
    }
}
