//! Which keys a command may use, and how often (xkek spec 4 and 5).

use super::Device;
use super::state::Key;
use crate::algorithm::allowed as algorithm_allowed;
use crate::apdu::StatusWord;
use crate::crypto::Unavailable;

/// The library refuses: the numbers do not fit the key.
pub(super) fn refused<E>(_: E) -> StatusWord
where
    Unavailable: From<E>,
{
    StatusWord::WRONG_DATA
}

impl Device {
    /// The key, if the user may use it with this algorithm.
    pub(super) fn usable_key(&self, id: u8, algorithm: u8) -> Result<&Key, StatusWord> {
        self.need_user()?;
        let key = self.state.keys.get(&id).ok_or(StatusWord::NOT_FOUND)?;
        if !algorithm_allowed(&key.attributes.algorithms, algorithm) {
            return Err(StatusWord::CONDITIONS);
        }
        match key.attributes.use_counter {
            Some(0) => Err(StatusWord::INVALIDATED),
            _ => Ok(key),
        }
    }

    /// Counts one use that was successful.
    pub(super) fn count_use(&mut self, id: u8) {
        if let Some(uses) = self
            .state
            .keys
            .get_mut(&id)
            .and_then(|key| key.attributes.use_counter.as_mut())
        {
            *uses = uses.saturating_sub(1);
            self.changed = true;
        }
    }

    /// A place for a new key; what is there stays.
    pub(super) fn free_place(&self, id: u8) -> Result<(), StatusWord> {
        match id {
            // The device's own key.
            0 => Err(StatusWord::EXISTS),
            id if self.state.keys.contains_key(&id) => Err(StatusWord::EXISTS),
            _ => Ok(()),
        }
    }
}
