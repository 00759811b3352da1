//! The users, and what can be read of them.

use std::collections::HashMap;
use std::sync::Arc;

use kx_secret::SecretBytes;

use crate::change::Refused;

/// Most octets of a name, and of a secret: the file counts them in one octet.
pub(crate) const MAX_LEN: usize = 255;

/// What stands in the file for a user who may log in.
pub(crate) const OK: u8 = 0;
/// What stands in the file for one who may not.
pub(crate) const DISABLED: u8 = 1;
/// The expiry time of who never expires.
pub(crate) const NEVER: i32 = 0;

/// One user.
#[derive(Debug, Clone)]
pub struct User {
    pub(crate) name: Arc<[u8]>,
    pub(crate) secret: Arc<SecretBytes>,
    pub(crate) status: u8,
    pub(crate) failed: u32,
    pub(crate) expire: i32,
    pub(crate) generation: u32,
}

impl User {
    pub(crate) fn new(name: &[u8]) -> Self {
        Self {
            name: name.into(),
            secret: Arc::default(),
            status: OK,
            failed: 0,
            expire: NEVER,
            generation: 0,
        }
    }

    /// The name: UTF-8 by custom.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Octets of the secret.
    #[must_use]
    pub fn secret_len(&self) -> usize {
        self.secret.len()
    }

    /// Whether the user was disabled. Anything but 0 in the file counts as that, and stays as it is.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.status != OK
    }

    /// The status as it stands in the file.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.status
    }

    /// Failed attempts that were logged since the last good one. The file keeps the low 8 bits.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Seconds since 1970, as the signed number that the reference compares; 0 is never.
    #[must_use]
    pub fn expire(&self) -> i32 {
        self.expire
    }

    /// Whether the time of this user is over at `now`, seconds since 1970.
    #[must_use]
    pub fn is_expired(&self, now: u32) -> bool {
        self.expire != NEVER && i64::from(self.expire) < i64::from(now)
    }
}

/// Says which user, as long as there is this one: another in the same slot has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserId {
    /// Place in the file, counted from 0; that of a removed user is taken by the next new one.
    pub slot: u32,
    /// Users that there were before this one since the database was opened.
    pub generation: u32,
}

/// The four files of a user, in the reference's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum File {
    /// Raw octets.
    Secret,
    /// Count of failed attempts; takes `good`, `ok` or anything else, which is a failure.
    Log,
    /// `ok`, `disabled` or `expired`; takes the first two.
    Status,
    /// `never` or seconds since 1970.
    Expire,
}

impl File {
    /// In the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::Secret, Self::Log, Self::Status, Self::Expire];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Log => "log",
            Self::Status => "status",
            Self::Expire => "expire",
        }
    }

    /// The file of this name.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|file| file.name().as_bytes() == name)
    }
}

/// All users. A copy shares everything with its original until one of them is changed, so that a
/// change can be tried on a copy and kept only when it is safe on disk.
#[derive(Debug, Clone, Default)]
pub struct Database {
    slots: Arc<Vec<Option<Arc<User>>>>,
    /// The first user of each name.
    names: Arc<HashMap<Arc<[u8]>, u32>>,
    users: usize,
    generation: u32,
}

impl Database {
    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users == 0
    }

    /// The first user of this name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<UserId> {
        let slot = *self.names.get(name)?;
        let generation = self.at(slot)?.generation;
        Some(UserId { slot, generation })
    }

    /// The user, unless removed.
    #[must_use]
    pub fn user(&self, id: UserId) -> Option<&User> {
        self.at(id.slot)
            .filter(|user| user.generation == id.generation)
    }

    fn at(&self, slot: u32) -> Option<&User> {
        let slot = usize::try_from(slot).ok()?;
        self.slots.get(slot)?.as_deref()
    }

    /// All users in the order of their slots.
    pub fn users(&self) -> impl Iterator<Item = (UserId, &User)> {
        self.slots.iter().zip(0u32..).filter_map(|(user, slot)| {
            let user = user.as_deref()?;
            let generation = user.generation;
            Some((UserId { slot, generation }, user))
        })
    }

    /// The content of one of a user's files at `now`, seconds since 1970 (keysrv spec 10.4).
    ///
    /// # Errors
    /// [`Refused::Removed`]; for the secret also [`Refused::Disabled`] and [`Refused::Expired`].
    pub fn read(&self, id: UserId, file: File, now: u32) -> Result<SecretBytes, Refused> {
        let user = self.user(id).ok_or(Refused::Removed)?;
        let text = match file {
            File::Secret if user.is_disabled() => return Err(Refused::Disabled),
            File::Secret if user.is_expired(now) => return Err(Refused::Expired),
            File::Secret => {
                let mut secret = SecretBytes::with_capacity(user.secret.len());
                secret.extend_from_slice(user.secret.as_slice());
                return Ok(secret);
            }
            File::Log => user.failed.to_string(),
            File::Status if user.is_disabled() => "disabled".into(),
            File::Status if user.is_expired(now) => "expired".into(),
            File::Status => "ok".into(),
            File::Expire if user.expire == NEVER => "never".into(),
            // Printed as an unsigned number, whatever the sign in the file.
            #[allow(clippy::cast_sign_loss)]
            File::Expire => (user.expire as u32).to_string(),
        };
        Ok(text.into_bytes().into())
    }

    /// Puts a user into the first free slot.
    pub(crate) fn insert(&mut self, mut user: User) -> UserId {
        let generation = self.generation;
        self.generation = self.generation.wrapping_add(1);
        user.generation = generation;
        let name = Arc::clone(&user.name);
        let slots = Arc::make_mut(&mut self.slots);
        let free = if self.users == slots.len() {
            None
        } else {
            slots.iter().position(Option::is_none)
        };
        let user = Some(Arc::new(user));
        let index = match free.and_then(|index| Some((index, slots.get_mut(index)?))) {
            Some((index, slot)) => {
                *slot = user;
                index
            }
            None => {
                slots.push(user);
                slots.len().saturating_sub(1)
            }
        };
        self.users = self.users.saturating_add(1);
        let slot = u32::try_from(index).unwrap_or(u32::MAX);
        // The first one of a name is the one that is found.
        let first = Arc::make_mut(&mut self.names).entry(name).or_insert(slot);
        *first = slot.min(*first);
        UserId { slot, generation }
    }

    /// The user, to be changed.
    pub(crate) fn user_mut(&mut self, id: UserId) -> Result<&mut User, Refused> {
        if self.user(id).is_none() {
            return Err(Refused::Removed);
        }
        let index = usize::try_from(id.slot).map_err(|_| Refused::Removed)?;
        let slots = Arc::make_mut(&mut self.slots);
        let user = slots.get_mut(index).and_then(Option::as_mut);
        user.map(Arc::make_mut).ok_or(Refused::Removed)
    }

    /// Takes a user out.
    pub(crate) fn take(&mut self, id: UserId) -> Result<(), Refused> {
        let user = self.user(id).ok_or(Refused::Removed)?;
        let name = Arc::clone(&user.name);
        let index = usize::try_from(id.slot).map_err(|_| Refused::Removed)?;
        if let Some(slot) = Arc::make_mut(&mut self.slots).get_mut(index) {
            *slot = None;
        }
        self.users = self.users.saturating_sub(1);
        self.forget(&name, id.slot);
        Ok(())
    }

    /// Gives a user another name.
    pub(crate) fn rename(&mut self, id: UserId, name: &[u8]) -> Result<(), Refused> {
        let user = self.user_mut(id)?;
        let old = std::mem::replace(&mut user.name, name.into());
        let new = Arc::clone(&user.name);
        Arc::make_mut(&mut self.names).insert(new, id.slot);
        self.forget(&old, id.slot);
        Ok(())
    }

    /// The user in `slot` has this name no more; the next one that has it can be found now.
    fn forget(&mut self, name: &[u8], slot: u32) {
        if self.names.get(name) != Some(&slot) {
            return;
        }
        let next = self
            .users()
            .find(|(_, user)| *user.name == *name)
            .map(|(id, user)| (Arc::clone(&user.name), id.slot));
        let names = Arc::make_mut(&mut self.names);
        names.remove(name);
        names.extend(next);
    }
}
