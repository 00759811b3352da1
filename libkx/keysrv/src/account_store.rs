//! Accounts as changelogin and convpasswd see them; tests put a table in the place of keyfs. Errors are
//! texts, because they come from keyfs as such and go to the user.

use std::path::Path;

use kx_secret::SecretBytes;

use crate::accounts::{Accounts, Error};

/// What the data base has of an account.
#[derive(Debug)]
pub struct Account {
    /// The stored secret: a hash of the password; empty if none was ever set.
    pub secret: SecretBytes,
    /// Unix seconds; 0: never.
    pub expire: i64,
}

/// What is done to accounts.
pub trait AccountStore {
    /// Whether there is one of that name.
    ///
    /// # Errors
    /// Why that is not known.
    fn exists(&mut self, user: &str) -> Result<bool, String>;

    /// An account, if it is there.
    ///
    /// # Errors
    /// What could not be read, and why (`error reading alice/secret: user expired`).
    fn get(&mut self, user: &str) -> Result<Option<Account>, String>;

    /// A new one, without a secret, that never expires.
    ///
    /// # Errors
    /// Why it was not made.
    fn create(&mut self, user: &str) -> Result<(), String>;

    /// Replaces the secret.
    ///
    /// # Errors
    /// Why it was not.
    fn set_secret(&mut self, user: &str, secret: &[u8]) -> Result<(), String>;

    /// Replaces the expiry; 0 is never.
    ///
    /// # Errors
    /// Why it was not.
    fn set_expire(&mut self, user: &str, expire: i64) -> Result<(), String>;
}

/// Those of the keyfs at `keys`.
///
/// # Errors
/// Why it cannot be reached.
pub fn open(keys: &Path) -> Result<Accounts, String> {
    Accounts::open(keys).map_err(|error| text(&error))
}

/// The system's errors without its numbers.
fn text(error: &Error) -> String {
    match error {
        Error::Unreachable(error) => kx_log::format_errno(error),
        error => error.to_string(),
    }
}

/// `file` is its name in the original's messages.
fn reading(user: &str, file: &str) -> impl Fn(Error) -> String {
    let place = format!("{user}/{file}");
    move |error| match &error {
        Error::Open(why) => format!("can't open {place}: {why}"),
        error => format!("error reading {place}: {}", text(error)),
    }
}

impl AccountStore for Accounts {
    fn exists(&mut self, user: &str) -> Result<bool, String> {
        Accounts::exists(self, user).map_err(|error| text(&error))
    }

    fn get(&mut self, user: &str) -> Result<Option<Account>, String> {
        let exists = AccountStore::exists(self, user);
        if !exists.map_err(|error| format!("can't stat {user}: {error}"))? {
            return Ok(None);
        }
        let secret = self.secret(user).map_err(reading(user, "secret"))?;
        let expire = self.expire(user).map_err(reading(user, "expiry"))?;
        let expire = expire.map_or(0, i64::from);
        Ok(Some(Account { secret, expire }))
    }

    fn create(&mut self, user: &str) -> Result<(), String> {
        Accounts::create(self, user).map_err(|error| text(&error))
    }

    fn set_secret(&mut self, user: &str, secret: &[u8]) -> Result<(), String> {
        Accounts::set_secret(self, user, secret).map_err(|error| text(&error))
    }

    fn set_expire(&mut self, user: &str, expire: i64) -> Result<(), String> {
        let expire = match expire {
            0 => None,
            expire => Some(u32::try_from(expire).map_err(|_| "illegal expiry time")?),
        };
        Accounts::set_expire(self, user, expire).map_err(|error| text(&error))
    }
}

#[cfg(test)]
pub(crate) mod table {
    //! Accounts in memory.

    use std::collections::BTreeMap;

    use super::{Account, AccountStore};

    /// Names with secrets and expiries.
    #[derive(Default)]
    pub(crate) struct Table {
        pub(crate) accounts: BTreeMap<String, (Vec<u8>, i64)>,
        /// What fails: `get`, `create`, `secret` or `expire`.
        pub(crate) refuse: Option<&'static str>,
        /// How often something was written.
        pub(crate) writes: usize,
    }

    impl Table {
        fn write(&mut self, what: &str) -> Result<(), String> {
            self.writes += 1;
            match self.refuse {
                Some(refused) if refused == what => Err("user has been removed".into()),
                _ => Ok(()),
            }
        }

        fn entry(&mut self, user: &str) -> &mut (Vec<u8>, i64) {
            self.accounts.get_mut(user).expect("an account")
        }
    }

    impl AccountStore for Table {
        fn exists(&mut self, user: &str) -> Result<bool, String> {
            Ok(self.accounts.contains_key(user))
        }

        fn get(&mut self, user: &str) -> Result<Option<Account>, String> {
            if self.refuse == Some("get") {
                return Err(format!("error reading {user}/secret: user expired"));
            }
            let account = |(secret, expire): &(Vec<u8>, i64)| Account {
                secret: secret.clone().into(),
                expire: *expire,
            };
            Ok(self.accounts.get(user).map(account))
        }

        fn create(&mut self, user: &str) -> Result<(), String> {
            self.write("create")?;
            self.accounts.insert(user.into(), Default::default());
            Ok(())
        }

        fn set_secret(&mut self, user: &str, secret: &[u8]) -> Result<(), String> {
            self.write("secret")?;
            self.entry(user).0 = secret.into();
            Ok(())
        }

        fn set_expire(&mut self, user: &str, expire: i64) -> Result<(), String> {
            self.write("expire")?;
            self.entry(user).1 = expire;
            Ok(())
        }
    }
}
