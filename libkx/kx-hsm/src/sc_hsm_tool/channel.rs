//! The commands that OpenSC sends for sc-hsm-tool, octet for octet (xkek spec 2, 14a; recorded in
//! `vectors/xkek/apdu`), except for its search for other applets.

use kx_secret::SecretBytes;
use xkek::apdu::{Command, Response, StatusWord};
use xkek::card::Card;
use xkek::tlv;

use super::opensc_error::{OpenscError, check};

const APPLET: [u8; 11] = [
    0xe8, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xc3, 0x1f, 0x02, 0x01,
];
/// Octets of an EF that OpenSC writes with one command.
const PIECE: usize = 255;

/// What the applet says of itself when it is selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applet {
    /// The octet of options that sc-hsm-tool shows; `None` in old versions.
    pub options: Option<u8>,
    /// Of the firmware.
    pub major: u8,
    /// Of the firmware.
    pub minor: u8,
}

/// What VERIFY without a PIN tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinState {
    /// So many tries left; 0 is locked.
    Tries(u8),
    /// Verified in this session.
    Verified,
    /// Something else.
    Other(OpenscError),
}

/// What a key domain says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DomainState {
    /// Shares in all.
    pub shares: u8,
    /// Shares that are missing.
    pub missing: u8,
    /// Key check value.
    pub check_value: [u8; 8],
}

/// A card and the words for it.
#[derive(Debug)]
pub struct Channel<C>(C);

impl<C: Card> Channel<C> {
    /// Over `card`.
    pub fn new(card: C) -> Self {
        Self(card)
    }

    fn exchange(&mut self, command: &Command) -> Result<Response, OpenscError> {
        let encoded = command.encode().map_err(|_| OpenscError::Arguments)?;
        let mut octets = Vec::new();
        if let Err(error) = self.0.transmit(&encoded, &mut octets) {
            let error: &(dyn std::error::Error + 'static) = &error;
            return Err(match error.downcast_ref() {
                Some(xkek_io::Error::Removed) => OpenscError::Removed,
                _ => OpenscError::Transmit,
            });
        }
        let octets = SecretBytes::from(octets);
        Response::parse(octets.as_slice()).map_err(|_| OpenscError::UnknownData)
    }

    /// With what is fetched by GET RESPONSE when the card says that there is more than it gave.
    fn transmit(&mut self, command: &Command) -> Result<Response, OpenscError> {
        let mut response = self.exchange(command)?;
        let asked = usize::try_from(command.le.unwrap_or(0)).unwrap_or(usize::MAX);
        while let [0x61, more] = response.sw.to_bytes() {
            if response.data.len() >= asked {
                response.sw = StatusWord::OK;
                break;
            }
            let length = if more == 0 { 256 } else { u32::from(more) };
            let next = self.exchange(&Command::new(0, 0xc0, 0, 0).with_le(length))?;
            if next.data.is_empty() && next.sw.to_bytes()[0] == 0x61 {
                return Err(OpenscError::UnknownData);
            }
            response.data.extend_from_slice(&next.data);
            response.sw = next.sw;
        }
        Ok(response)
    }

    fn send(&mut self, command: &Command) -> Result<Vec<u8>, OpenscError> {
        let response = self.transmit(command)?;
        check(response.sw)?;
        Ok(response.data)
    }

    /// Selects the applet.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn select_applet(&mut self) -> Result<Applet, OpenscError> {
        let command = Command::new(0, 0xa4, 4, 0).with_data(&APPLET).with_le(256);
        let answer = self.send(&command)?;
        Ok(applet(&answer))
    }

    /// The word that selecting an EF gives.
    ///
    /// # Errors
    /// [`OpenscError`]; [`OpenscError::FileNotFound`] if there is none.
    pub fn select(&mut self, prefix: u8, id: u8) -> Result<(), OpenscError> {
        let command = Command::new(0, 0xa4, 0, 0)
            .with_data(&[prefix, id])
            .with_le(256);
        self.send(&command).map(drop)
    }

    /// The content of the selected EF, up to `room` octets.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn read(&mut self, room: usize) -> Result<Vec<u8>, OpenscError> {
        let mut content: Vec<u8> = Vec::new();
        while content.len() < room {
            let left = u32::try_from(room - content.len()).unwrap_or(256).min(256);
            let offset = u16::try_from(content.len()).map_err(|_| OpenscError::Length)?;
            let [high, low] = offset.to_be_bytes();
            let command = Command::new(0, 0xb1, 0, 0)
                .with_data(&[0x54, 2, high, low])
                .with_le(left);
            let response = self.transmit(&command)?;
            match check(response.sw) {
                Ok(()) | Err(OpenscError::EndReached) => {}
                Err(error) => return Err(error),
            }
            if response.data.is_empty() {
                break;
            }
            content.extend_from_slice(&response.data);
        }
        content.truncate(room);
        Ok(content)
    }

    fn update(&mut self, fid: [u8; 2], content: &[u8]) -> Result<(), OpenscError> {
        let mut offset = 0usize;
        loop {
            let rest = content.get(offset..).unwrap_or_default();
            let piece = rest.get(..rest.len().min(PIECE)).unwrap_or_default();
            let place = u16::try_from(offset).map_err(|_| OpenscError::Length)?;
            let mut data = vec![0x54, 2];
            data.extend_from_slice(&place.to_be_bytes());
            tlv::push(&mut data, 0x53, piece);
            let mut command = Command::new(0, 0xd7, fid[0], fid[1]).with_data(&data);
            if data.len() > 255 {
                command = command.extended();
            }
            self.send(&command)?;
            offset += piece.len();
            if offset >= content.len() {
                return Ok(());
            }
        }
    }

    /// Writes an EF: a new one if `anew` or if there is none.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn write(
        &mut self,
        prefix: u8,
        id: u8,
        anew: bool,
        content: &[u8],
    ) -> Result<(), OpenscError> {
        let mut missing = match self.select(prefix, id) {
            Ok(()) => false,
            Err(OpenscError::FileNotFound) => true,
            Err(error) => return Err(error),
        };
        if anew && !missing {
            // Of no concern if it fails: the next command tells.
            let _ = self.delete(prefix, id);
            missing = true;
        }
        if missing {
            self.update([prefix, id], &[])?;
        }
        self.update([0, 0], content)
    }

    /// Writes the EF of the token's label.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn write_token_info(&mut self, content: &[u8]) -> Result<(), OpenscError> {
        self.update([0x2f, 0x03], content)
    }

    /// Deletes an EF or a key.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn delete(&mut self, prefix: u8, id: u8) -> Result<(), OpenscError> {
        let command = Command::new(0, 0xe4, 2, 0).with_data(&[prefix, id]);
        self.send(&command).map(drop)
    }

    /// What VERIFY without a PIN tells of the user's (81) or the security officer's (88).
    ///
    /// # Errors
    /// Only if the card does not answer.
    pub fn pin_state(&mut self, reference: u8) -> Result<PinState, OpenscError> {
        let response = self.transmit(&Command::new(0, 0x20, 0, reference))?;
        Ok(match check(response.sw) {
            Ok(()) => PinState::Verified,
            Err(OpenscError::Pin) => PinState::Tries(response.sw.tries_left().unwrap_or(0)),
            Err(OpenscError::Blocked) => PinState::Tries(0),
            Err(error) => PinState::Other(error),
        })
    }

    /// Verifies the user's PIN.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn verify(&mut self, pin: &SecretBytes) -> Result<(), OpenscError> {
        let command = Command::new(0, 0x20, 0, 0x81).with_data(pin.as_slice());
        self.send(&command).map(drop)
    }

    /// INITIALIZE DEVICE.
    ///
    /// # Errors
    /// [`OpenscError`]; a refusal is a wrong SO-PIN.
    pub fn initialize(&mut self, data: &[u8]) -> Result<(), OpenscError> {
        let result = self.send(&Command::new(0x80, 0x50, 0, 0).with_data(data));
        match result {
            Err(OpenscError::NotAllowed | OpenscError::Security) => Err(OpenscError::Pin),
            other => other.map(drop),
        }
    }

    /// The state of a key domain, after importing a share if there is one.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn domain(&mut self, number: u8, share: Option<&[u8]>) -> Result<DomainState, OpenscError> {
        self.manage_domain(0, number, share)?
            .ok_or(OpenscError::UnknownData)
    }

    /// MANAGE KEY DOMAIN.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn manage_domain(
        &mut self,
        operation: u8,
        number: u8,
        data: Option<&[u8]>,
    ) -> Result<Option<DomainState>, OpenscError> {
        let mut command = Command::new(0x80, 0x52, operation, number).with_le(256);
        if let Some(data) = data {
            command = command.with_data(data);
        }
        let answer = self.send(&command)?;
        let [shares, missing, rest @ ..] = answer.as_slice() else {
            return Ok(None);
        };
        Ok(rest.first_chunk().map(|check_value| DomainState {
            shares: *shares,
            missing: *missing,
            check_value: *check_value,
        }))
    }

    /// WRAP KEY.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn wrap(&mut self, key: u8) -> Result<Vec<u8>, OpenscError> {
        let command = Command::new(0x80, 0x72, key, 0x92)
            .with_le(65536)
            .extended();
        self.send(&command)
    }

    /// UNWRAP KEY.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn unwrap(&mut self, key: u8, blob: &[u8]) -> Result<(), OpenscError> {
        let command = Command::new(0x80, 0x74, key, 0x93)
            .with_data(blob)
            .extended();
        self.send(&command).map(drop)
    }

    /// ENUMERATE OBJECTS.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn files(&mut self) -> Result<Vec<[u8; 2]>, OpenscError> {
        let command = Command::new(0x80, 0x58, 0, 0).with_le(65536).extended();
        let answer = self.send(&command)?;
        Ok(answer
            .chunks_exact(2)
            .filter_map(|fid| fid.try_into().ok())
            .collect())
    }

    /// Random octets of the card.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn challenge(&mut self, count: usize) -> Result<SecretBytes, OpenscError> {
        let length = u32::try_from(count).map_err(|_| OpenscError::Arguments)?;
        let answer = SecretBytes::from(self.send(&Command::new(0, 0x84, 0, 0).with_le(length))?);
        if answer.len() == count {
            Ok(answer)
        } else {
            Err(OpenscError::UnknownData)
        }
    }

    /// MANAGE SECURITY ENVIRONMENT: selects a public key for checking certificates; the word.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn public_key(&mut self, holder: &[u8]) -> Result<(), OpenscError> {
        let data = tlv::encode(0x83, holder);
        let command = Command::new(0, 0x22, 0x81, 0xb6).with_data(&data);
        self.send(&command).map(drop)
    }

    /// PSO VERIFY CERTIFICATE with the content of a certificate.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn certificate(&mut self, content: &[u8]) -> Result<(), OpenscError> {
        let mut command = Command::new(0, 0x2a, 0, 0xbe).with_data(content);
        if content.len() > 255 {
            command = command.extended();
        }
        self.send(&command).map(drop)
    }

    /// MANAGE PUBLIC KEY AUTHENTICATION: status, after registering a key if there is one.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn public_keys(&mut self, request: Option<&[u8]>) -> Result<[u8; 4], OpenscError> {
        let mut command = Command::new(0x80, 0x54, 0, 0).with_le(4);
        if let Some(request) = request {
            command = command.with_data(request);
            if request.len() > 255 {
                command = command.extended();
            }
        }
        let answer = self.send(&command)?;
        answer
            .first_chunk()
            .copied()
            .ok_or(OpenscError::UnknownData)
    }

    /// GENERATE ASYMMETRIC KEY PAIR; the authenticated request.
    ///
    /// # Errors
    /// [`OpenscError`].
    pub fn generate(&mut self, key: u8, request: &[u8]) -> Result<Vec<u8>, OpenscError> {
        let command = Command::new(0, 0x46, key, 0)
            .with_data(request)
            .with_le(65536)
            .extended();
        self.send(&command)
    }
}

fn applet(answer: &[u8]) -> Applet {
    let Ok((fci, _)) = tlv::read(answer) else {
        return Applet::default();
    };
    let found = tlv::find(fci.value, 0x85).ok().flatten();
    let value = found.map(|tlv| tlv.value).unwrap_or_default();
    match value {
        [.., options, _, major, minor] => Applet {
            options: Some(*options),
            major: *major,
            minor: *minor,
        },
        [.., major, minor] => Applet {
            options: None,
            major: *major,
            minor: *minor,
        },
        _ => Applet::default(),
    }
}
