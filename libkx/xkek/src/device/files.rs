//! SELECT, the elementary files and their access rules, ENUMERATE OBJECTS (xkek spec 1 and 2).

use super::{AID, Answer, DONE, Device, Session};
use crate::apdu::{Command, EXTENDED_LE, StatusWord};
use crate::tlv;

/// EF.C_DevAut.
const DEVICE_CERTIFICATES: u16 = 0x2F02;
/// EF.TokenInfo.
const TOKEN_INFO: u16 = 0x2F03;
/// The scratch file for wrapped keys.
pub(super) const SCRATCH: u16 = 0x2F10;
/// The master file.
const MASTER: u16 = 0x3F00;
/// Most octets of one file.
const MAX_FILE: usize = 0xFFFF;
/// Most octets of all files together.
const MAX_FILES: usize = 4 * 1024 * 1024;

/// Who may.
#[derive(PartialEq, Eq)]
enum Access {
    Free,
    User,
    Never,
    /// Only where certificates may be replaced.
    Personaliser,
}

/// Read and write access to a file; `None`: there can be no such file.
fn access(file: u16) -> Option<(Access, Access)> {
    let [kind, _] = file.to_be_bytes();
    match (file, kind) {
        (DEVICE_CERTIFICATES, _) => Some((Access::Free, Access::Personaliser)),
        (TOKEN_INFO, _) => Some((Access::Free, Access::User)),
        (SCRATCH, _) | (_, 0xCD) => Some((Access::User, Access::User)),
        (_, 0xC4 | 0xC8..=0xCA | 0xCE | 0xCF) => Some((Access::Free, Access::User)),
        (_, 0xCB | 0xCC) => Some((Access::Never, Access::Never)),
        _ => None,
    }
}

/// Data of the odd instructions: offset, and for writing the octets.
fn offset_and_rest(data: &[u8]) -> Result<(usize, &[u8]), StatusWord> {
    let (offset, rest) = tlv::expect(data, 0x54).map_err(|_| StatusWord::WRONG_DATA)?;
    if offset.value.len() > 3 {
        return Err(StatusWord::WRONG_DATA);
    }
    let number = offset
        .value
        .iter()
        .fold(0, |number, octet| number << 8 | usize::from(*octet));
    Ok((number, rest))
}

fn identifier(data: &[u8]) -> Option<u16> {
    data.try_into().map(u16::from_be_bytes).ok()
}

impl Device {
    pub(super) fn select(&mut self, command: &Command) -> Answer {
        let data = command.data.as_slice();
        match command.p1 {
            // By name. Another applet's is not here, and what is selected stays.
            0x04 if matches!(command.p2, 0x00 | 0x04 | 0x0C) => {
                if data.is_empty() || data != AID {
                    return Err(StatusWord::NOT_FOUND);
                }
                self.session = Session {
                    selected: true,
                    ..Session::default()
                };
                let answer = self.applet_information();
                self.fcp_if_wanted(command, answer)
            }
            0x00 | 0x02 | 0x08 | 0x09 => {
                if !self.session.selected {
                    return Err(StatusWord::CLA);
                }
                let file = match (command.p1, data) {
                    (0x00, []) => MASTER,
                    _ => identifier(data).ok_or(StatusWord::NOT_FOUND)?,
                };
                if file == MASTER {
                    self.session.file = None;
                    let answer = self.applet_information();
                    return self.fcp_if_wanted(command, answer);
                }
                let answer = self.file_information(file)?;
                self.session.file = Some(file);
                self.fcp_if_wanted(command, answer)
            }
            _ => Err(StatusWord::P1_P2),
        }
    }

    /// P2 = 0C asks for no data.
    fn fcp_if_wanted(&self, command: &Command, answer: Vec<u8>) -> Answer {
        match command.p2 & 0x0C {
            0x0C => DONE,
            _ => Ok(answer),
        }
    }

    /// The FCI of the applet; tag 85 says options, kind of card and version.
    fn applet_information(&self) -> Vec<u8> {
        let mut content = Vec::new();
        tlv::push(&mut content, 0x82, &[1]);
        tlv::push(&mut content, 0x83, &[0, 0]);
        tlv::push(&mut content, 0x84, &AID);
        tlv::push(&mut content, 0x8A, &[5]);
        let [high, low] = self.state.options.to_be_bytes();
        let (major, minor) = self.config.version;
        // FF: neither the vendor's smart card nor its demo.
        tlv::push(&mut content, 0x85, &[high, low, 0xFF, major, minor]);
        tlv::encode(0x62, &content)
    }

    fn file_information(&self, file: u16) -> Answer {
        let [kind, id] = file.to_be_bytes();
        let mut size = 0;
        // Transparent, or internal: never read.
        let mut descriptor = 0x01;
        let mut attributes = None;
        if kind == 0xCC {
            descriptor = 0x08;
            if id != 0 {
                let key = self.state.keys.get(&id).ok_or(StatusWord::NOT_FOUND)?;
                attributes = Some(key.attributes.encode());
            }
        } else {
            size = self.content(file).ok_or(StatusWord::NOT_FOUND)?.len();
        }
        let mut content = Vec::new();
        let size = u16::try_from(size).unwrap_or(u16::MAX);
        tlv::push(&mut content, 0x81, &size.to_be_bytes());
        tlv::push(&mut content, 0x82, &[descriptor]);
        tlv::push(&mut content, 0x83, &file.to_be_bytes());
        tlv::push(&mut content, 0x8A, &[5]);
        if let Some(attributes) = attributes {
            tlv::push(&mut content, 0xA5, &attributes);
        }
        Ok(tlv::encode(0x62, &content))
    }

    fn content(&self, file: u16) -> Option<&[u8]> {
        match file {
            DEVICE_CERTIFICATES => Some(&self.state.identity.certificates),
            _ => self.state.files.get(&file).map(Vec::as_slice),
        }
    }

    /// The file that P1 and P2 name; 0000 is the selected one.
    fn named(&self, command: &Command) -> Result<u16, StatusWord> {
        match u16::from_be_bytes([command.p1, command.p2]) {
            0 => self.session.file.ok_or(StatusWord::NOT_FOUND),
            file => Ok(file),
        }
    }

    fn check(&self, access: &Access) -> Result<(), StatusWord> {
        match access {
            Access::Free => Ok(()),
            Access::User => self.need_user(),
            Access::Personaliser if self.config.provision => self.need_user(),
            Access::Never | Access::Personaliser => Err(StatusWord::SECURITY),
        }
    }

    fn read(&self, file: u16, offset: usize, command: &Command) -> Answer {
        let (read, _) = access(file).ok_or(StatusWord::NOT_FOUND)?;
        if read == Access::Never {
            return Err(StatusWord::SECURITY);
        }
        let content = self.content(file).ok_or(StatusWord::NOT_FOUND)?;
        self.check(&read)?;
        let rest = content.get(offset..).unwrap_or_default();
        if rest.is_empty() {
            return match content.is_empty() && offset == 0 {
                true => DONE,
                false => Err(StatusWord::END_OF_FILE),
            };
        }
        // Le says how much is to be read, not only how much may come.
        let wanted = command.le.unwrap_or(EXTENDED_LE);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        Ok(rest.get(..wanted).unwrap_or(rest).to_vec())
    }

    pub(super) fn read_selected(&mut self, command: &Command) -> Answer {
        // With the highest bit set it would be a short file identifier; there are none.
        if command.p1 & 0x80 != 0 {
            return Err(StatusWord::P1_P2);
        }
        let file = self.session.file.ok_or(StatusWord::NOT_ALLOWED)?;
        let offset = u16::from_be_bytes([command.p1, command.p2]);
        self.read(file, usize::from(offset), command)
    }

    pub(super) fn read_binary(&mut self, command: &Command) -> Answer {
        let file = self.named(command)?;
        let (offset, _) = offset_and_rest(&command.data)?;
        let answer = self.read(file, offset, command)?;
        self.session.file = Some(file);
        Ok(answer)
    }

    pub(super) fn update_binary(&mut self, command: &Command) -> Answer {
        let file = self.named(command)?;
        let (_, write) = access(file).ok_or(StatusWord::NOT_FOUND)?;
        self.check(&write)?;
        let (offset, rest) = offset_and_rest(&command.data)?;
        let written = tlv::only(rest, 0x53).map_err(|_| StatusWord::WRONG_DATA)?;
        let old = match offset {
            // From the beginning means anew.
            0 => &[][..],
            _ => self.content(file).ok_or(StatusWord::NOT_FOUND)?,
        };
        let kept = old.get(..offset).ok_or(StatusWord::RANGE)?;
        let content = [kept, written.value].concat();
        let others = self.state.files.iter().filter(|(name, _)| **name != file);
        let used: usize = others.map(|(_, content)| content.len()).sum();
        if content.len() > MAX_FILE || used.saturating_add(content.len()) > MAX_FILES {
            return Err(StatusWord::MEMORY);
        }
        if file == DEVICE_CERTIFICATES {
            self.provision(&content)?;
        } else {
            self.state.files.insert(file, content);
        }
        self.session.file = Some(file);
        self.changed = true;
        DONE
    }

    pub(super) fn delete_file(&mut self, command: &Command) -> Answer {
        if (command.p1, command.p2) != (0x02, 0x00) {
            return Err(StatusWord::P1_P2);
        }
        let file = identifier(&command.data).ok_or(StatusWord::LENGTH)?;
        let [kind, id] = file.to_be_bytes();
        if kind == 0xCC {
            // The device's own key.
            if id == 0 {
                return Err(StatusWord::SECURITY);
            }
            self.need_user()?;
            self.state.keys.remove(&id).ok_or(StatusWord::NOT_FOUND)?;
        } else {
            let (_, write) = access(file).ok_or(StatusWord::NOT_FOUND)?;
            if write == Access::Personaliser {
                return Err(StatusWord::SECURITY);
            }
            self.check(&write)?;
            self.state
                .files
                .remove(&file)
                .ok_or(StatusWord::NOT_FOUND)?;
        }
        if self.session.file == Some(file) {
            self.session.file = None;
        }
        self.changed = true;
        DONE
    }

    /// Device certificate, then what describes each object by its number, then the keys.
    pub(super) fn enumerate(&self) -> Answer {
        let mut files: Vec<u16> = self
            .state
            .files
            .keys()
            .copied()
            .filter(|file| file.to_be_bytes().first() >= Some(&0xC4))
            .collect();
        files.sort_by_key(|file| file.rotate_left(8));
        files.insert(0, DEVICE_CERTIFICATES);
        let keys = self.state.keys.keys();
        files.push(0xCC00);
        files.extend(keys.map(|id| u16::from_be_bytes([0xCC, *id])));
        Ok(files.iter().flat_map(|file| file.to_be_bytes()).collect())
    }
}
