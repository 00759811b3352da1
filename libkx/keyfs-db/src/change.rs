//! What can be done to the users, with the reference's rules and texts (keysrv spec 10.4).

use std::sync::Arc;

use kx_secret::SecretBytes;

use crate::database::{DISABLED, Database, File, MAX_LEN, NEVER, OK, User, UserId};

/// Failures after which a user is disabled.
const MAX_FAILED: u32 = 50;

/// A change of the database.
#[derive(Debug)]
pub enum Change {
    /// A new user with an empty secret, who never expires.
    Create {
        /// The name.
        name: Vec<u8>,
    },
    /// The user goes.
    Remove {
        /// Who.
        user: UserId,
    },
    /// The secret becomes empty.
    ClearSecret {
        /// Whose.
        user: UserId,
    },
    /// The user gets another name.
    Rename {
        /// Who.
        user: UserId,
        /// The name.
        name: Vec<u8>,
    },
    /// The secret is replaced if it is still the one that is named. Ours: the reference compares and
    /// writes in two steps, between which somebody else's change is lost.
    ExchangeSecret {
        /// Whose.
        user: UserId,
        /// What the secret must be.
        old: SecretBytes,
        /// What it becomes.
        new: SecretBytes,
    },
    /// Something is written to one of the user's files, as a whole.
    Write {
        /// Whose.
        user: UserId,
        /// Which file.
        file: File,
        /// What.
        data: SecretBytes,
    },
}

/// Why something cannot be done. The texts are the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is no such user any more.
    #[error("user has been removed")]
    Removed,
    /// The secret of a disabled user is not told.
    #[error("user disabled")]
    Disabled,
    /// Nor that of an expired one.
    #[error("user expired")]
    Expired,
    /// A secret of more than 255 octets, or not from its beginning.
    #[error("illegal write")]
    IllegalWrite,
    /// It is not what whoever wants it replaced believes it to be. The text is ours.
    #[error("secret has been changed")]
    Changed,
    /// Neither `ok` nor `disabled`.
    #[error("unknown status")]
    UnknownStatus,
    /// Neither `never` nor a number.
    #[error("illegal expiry time")]
    IllegalExpiry,
    /// The name is taken.
    #[error("user already exists")]
    Exists,
    /// A name of more than 255 octets. The reference counts characters here, and dies of the rest.
    #[error("user name too long")]
    NameTooLong,
    /// A name that means something else in a path.
    #[error(". and .. are illegal names")]
    Dots,
    /// A name that cannot be an element of a path.
    #[error("bad character in file name")]
    BadName,
}

impl Database {
    /// Makes the change, or none at all. Returns the user that was changed.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn apply(&mut self, change: &Change) -> Result<UserId, Refused> {
        match change {
            Change::Create { name } => {
                self.check_name(name)?;
                Ok(self.insert(User::new(name)))
            }
            Change::Remove { user } => self.take(*user).map(|()| *user),
            Change::ClearSecret { user } => {
                self.user_mut(*user)?.secret = Arc::default();
                Ok(*user)
            }
            Change::Rename { user, name } => {
                self.user(*user).ok_or(Refused::Removed)?;
                self.check_name(name)?;
                self.rename(*user, name).map(|()| *user)
            }
            Change::ExchangeSecret { user, old, new } => {
                let known = self.user(*user).ok_or(Refused::Removed)?;
                if !known.secret.ct_eq(old.as_slice()) {
                    return Err(Refused::Changed);
                }
                self.write(*user, File::Secret, new.as_slice())
                    .map(|()| *user)
            }
            Change::Write { user, file, data } => {
                self.user(*user).ok_or(Refused::Removed)?;
                self.write(*user, *file, data.as_slice()).map(|()| *user)
            }
        }
    }

    fn check_name(&self, name: &[u8]) -> Result<(), Refused> {
        if name == b"." || name == b".." {
            return Err(Refused::Dots);
        }
        if name.is_empty() || name.iter().any(|octet| matches!(octet, 0 | b'/')) {
            return Err(Refused::BadName);
        }
        if self.find(name).is_some() {
            return Err(Refused::Exists);
        }
        if name.len() > MAX_LEN {
            return Err(Refused::NameTooLong);
        }
        Ok(())
    }

    fn write(&mut self, id: UserId, file: File, data: &[u8]) -> Result<(), Refused> {
        match file {
            File::Secret => {
                if data.len() > MAX_LEN {
                    return Err(Refused::IllegalWrite);
                }
                let mut secret = SecretBytes::with_capacity(data.len());
                secret.extend_from_slice(data);
                self.user_mut(id)?.secret = Arc::new(secret);
            }
            File::Log => {
                let good = matches!(first_word(data), b"good" | b"ok");
                let user = self.user_mut(id)?;
                if good {
                    user.failed = 0;
                } else {
                    user.failed = user.failed.saturating_add(1);
                    if user.failed >= MAX_FAILED {
                        user.status = DISABLED;
                    }
                }
            }
            File::Status => {
                let status = match first_word(data) {
                    b"ok" => OK,
                    b"disabled" => DISABLED,
                    _ => return Err(Refused::UnknownStatus),
                };
                let user = self.user_mut(id)?;
                user.status = status;
                if status == OK {
                    user.failed = 0;
                }
            }
            File::Expire => {
                let expire = expiry(first_word(data)).ok_or(Refused::IllegalExpiry)?;
                let user = self.user_mut(id)?;
                user.expire = expire;
                user.failed = 0;
            }
        }
        Ok(())
    }
}

/// The first of the words between blanks, tabs and newlines; empty if there is none.
fn first_word(text: &[u8]) -> &[u8] {
    text.split(|octet| matches!(octet, b' ' | b'\t' | b'\n'))
        .find(|word| !word.is_empty())
        .unwrap_or_default()
}

/// A number beyond the range becomes the end of the range.
fn expiry(word: &[u8]) -> Option<i32> {
    if word == b"never" {
        return Some(NEVER);
    }
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0i32, |value, octet| {
        let digit = octet.is_ascii_digit().then(|| octet.wrapping_sub(b'0'))?;
        Some(value.saturating_mul(10).saturating_add(i32::from(digit)))
    })
}
