//! MANAGE KEY DOMAIN (xkek spec 6).

use super::state::Domain;
use super::{Answer, DONE, Device};
use crate::apdu::{Command, StatusWord};
use crate::kek::Kek;

impl Device {
    pub(super) fn manage_key_domain(&mut self, command: &Command) -> Answer {
        if self.state.so_pin.is_none() {
            return Err(StatusWord::RANGE);
        }
        // Initialised for neither shares nor domains.
        if self.state.domains.is_empty() {
            return Err(StatusWord::INS);
        }
        let slot = usize::from(command.p2);
        if slot >= self.state.domains.len() {
            return Err(StatusWord::P1_P2);
        }
        if command.p1 != 0 && !self.is_user() {
            return Err(StatusWord::CONDITIONS);
        }
        match command.p1 {
            0 if command.data.is_empty() => {}
            0 => self.import_share(slot, &command.data)?,
            1 => self.create_dkek(slot, &command.data)?,
            2 => self.create_xkek(slot, &command.data)?,
            3 => {
                self.delete_domain(slot, command.p2)?;
                return DONE;
            }
            4 => self.clear_kek(slot)?,
            _ => return Err(StatusWord::P1_P2),
        }
        self.domain_status(slot)
    }

    pub(super) fn domain(&mut self, slot: usize) -> Result<&mut Domain, StatusWord> {
        self.state.domains.get_mut(slot).ok_or(StatusWord::P1_P2)
    }

    fn domain_status(&mut self, slot: usize) -> Answer {
        let domain = self.domain(slot)?;
        let kcv = domain.kek().map_or([0; 8], |kek| kek.kcv().0);
        let (total, missing, uid) = match domain {
            Domain::Empty => return Err(StatusWord::REFERENCE),
            Domain::Dkek {
                shares, missing, ..
            } => (*shares, *missing, &[][..]),
            Domain::Xkek { uid, .. } => (0xFF, 0, uid.as_slice()),
        };
        Ok([&[total, missing][..], &kcv, uid].concat())
    }

    fn import_share(&mut self, slot: usize, share: &[u8]) -> Result<(), StatusWord> {
        let share: &[u8; 32] = share.try_into().map_err(|_| StatusWord::LENGTH)?;
        match self.domain(slot)? {
            Domain::Empty => Err(StatusWord::REFERENCE),
            Domain::Dkek {
                missing,
                sum,
                initial,
                ..
            } if *missing > 0 => {
                sum.add(&Kek::from_bytes(share));
                *missing = missing.saturating_sub(1);
                *initial &= *missing > 0;
                self.changed = true;
                Ok(())
            }
            Domain::Dkek { .. } | Domain::Xkek { .. } => Err(StatusWord::NOT_ALLOWED),
        }
    }

    fn create_dkek(&mut self, slot: usize, data: &[u8]) -> Result<(), StatusWord> {
        let &[shares] = data else {
            return Err(StatusWord::LENGTH);
        };
        if shares == 0 {
            return Err(StatusWord::WRONG_DATA);
        }
        self.fill(slot, Domain::dkek(shares, false))
    }

    /// Puts a domain in an empty slot.
    pub(super) fn fill(&mut self, slot: usize, domain: Domain) -> Result<(), StatusWord> {
        match self.domain(slot)? {
            empty @ Domain::Empty => {
                *empty = domain;
                self.changed = true;
                Ok(())
            }
            _ => Err(StatusWord::CONDITIONS),
        }
    }

    fn delete_domain(&mut self, slot: usize, number: u8) -> Result<(), StatusWord> {
        let in_use = self
            .state
            .keys
            .values()
            .any(|key| key.attributes.domain == Some(number));
        match self.domain(slot)? {
            Domain::Empty => Err(StatusWord::REFERENCE),
            _ if in_use => Err(StatusWord::EXISTS),
            domain => {
                *domain = Domain::Empty;
                self.changed = true;
                Ok(())
            }
        }
    }

    fn clear_kek(&mut self, slot: usize) -> Result<(), StatusWord> {
        match self.domain(slot)? {
            Domain::Empty => return Err(StatusWord::REFERENCE),
            domain @ Domain::Dkek { .. } => {
                if let Domain::Dkek { shares, .. } = domain {
                    *domain = Domain::dkek(*shares, false);
                }
            }
            Domain::Xkek { kek, .. } => *kek = None,
        }
        self.changed = true;
        Ok(())
    }
}
