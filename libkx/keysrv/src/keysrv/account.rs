//! What a session knows of its user, and the commands that are written to `secret` (keysrv spec 9.1,
//! 9.2).

use std::path::PathBuf;

use kx_crypto::digest::{SHA1_LEN, sha1};
use kx_secret::SecretBytes;

use super::{hash_text, hex};
use crate::accounts::{Accounts, Error};

/// Fewest octets of a new secret.
const SECRET_FLOOR: usize = 8;
const WRONG: &str = "wrong secret";

/// What a good command did, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Checked,
    Changed,
}

/// Why a command was refused; what the client is told is `Display`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The session has no secret to change, or keyfs refuses.
    #[error("{0}")]
    Text(String),
    #[error("{WRONG}")]
    Wrong,
    #[error("unacceptable secret")]
    Unacceptable,
}

/// How a hash can be right.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// It is that of the stored secret, which is the password.
    Reference,
    /// It is the stored secret, which is the password's hash.
    Fixed,
}

/// A secret as it was at the start of the session, and as this session believes it to be now.
struct Cached {
    secret: SecretBytes,
    current: SecretBytes,
}

/// The authenticated user of a session.
pub(super) struct Account {
    name: String,
    path: PathBuf,
    accounts: Option<Accounts>,
    strict: bool,
    cached: Result<Cached, String>,
    /// When keyfs was asked for the secret for the last time, in seconds: a user expires at the full second.
    asked: Option<u32>,
}

impl Account {
    /// Looks `name` up below `path`, once; what is found out holds for the session.
    pub(super) fn look_up(name: &str, path: PathBuf, strict: bool) -> Self {
        let mut account = Self {
            name: name.to_owned(),
            path,
            accounts: None,
            strict,
            cached: Err(String::new()),
            asked: None,
        };
        account.cached = account
            .secret(|accounts, name| accounts.secret(name))
            .and_then(|secret| {
                if secret.is_empty() {
                    return Err("no existing secret".to_owned());
                }
                Ok(Cached {
                    current: SecretBytes::from(secret.as_slice().to_vec()),
                    secret,
                })
            });
        account
    }

    /// The text that each read and write fails with, if the user has no secret to change.
    pub(super) fn error(&self) -> Option<&str> {
        self.cached.as_ref().err().map(String::as_str)
    }

    /// Asks keyfs, once more if it was started anew since.
    fn ask<V>(
        &mut self,
        question: impl Fn(&mut Accounts, &str) -> Result<V, Error>,
    ) -> Result<V, Error> {
        if let Some(accounts) = &mut self.accounts {
            match question(accounts, &self.name) {
                Err(Error::Unreachable(_)) => {}
                answer => return answer,
            }
        }
        let accounts = self.accounts.insert(Accounts::open(&self.path)?);
        question(accounts, &self.name)
    }

    fn secret(
        &mut self,
        read: impl Fn(&mut Accounts, &str) -> Result<SecretBytes, Error>,
    ) -> Result<SecretBytes, String> {
        let result = self.ask(read);
        let name = &self.name;
        result.map_err(|error| match error {
            Error::NoUser => format!("user not registered: {name}"),
            Error::Open(why) => format!("can't open {name}/secret: {why}"),
            Error::Unreachable(why) => format!("can't stat {name}: {why}"),
            Error::Access(why) | Error::Change(why) => {
                format!("error reading {name}/secret: {why}")
            }
            Error::Changed => format!("error reading {name}/secret: {}", Error::Changed),
        })
    }

    /// Whether what is known of the user is still so, without asking.
    fn is_fresh(&mut self, now: u32) -> bool {
        self.asked == Some(now) && self.accounts.as_mut().is_some_and(Accounts::is_unchanged)
    }

    /// One command: a hash, and after a blank a new secret. `now` in seconds since 1970.
    pub(super) fn command(&mut self, data: &[u8], now: u32) -> Result<Done, Refused> {
        let (hash, new) = match data.iter().position(|octet| *octet == b' ') {
            Some(blank) => {
                let (hash, rest) = data.split_at_checked(blank).unwrap_or((data, &[]));
                (hash, rest.get(1..).unwrap_or_default())
            }
            None => (data, &[][..]),
        };
        let rule = match &self.cached {
            Err(text) => return Err(Refused::Text(text.clone())),
            Ok(cached) => rule(&cached.secret, hash, self.strict).ok_or(Refused::Wrong)?,
        };
        // Somebody else's change makes what this session knows worthless; its own does not.
        if !self.is_fresh(now) {
            self.asked = None;
            let secret = self.secret(|accounts, name| accounts.watch_secret(name));
            let secret = secret.map_err(Refused::Text)?;
            if !self.knows(&secret) {
                return Err(Refused::Wrong);
            }
            self.asked = Some(now);
        }
        if new.is_empty() {
            return Ok(Done::Checked);
        }
        if new.len() < SECRET_FLOOR {
            return Err(Refused::Unacceptable);
        }
        let Ok(Cached { current, .. }) = &self.cached else {
            return Err(Refused::Wrong);
        };
        let current = SecretBytes::from(current.as_slice().to_vec());
        let stored = SecretBytes::from(match rule {
            Rule::Reference => new.to_vec(),
            Rule::Fixed => sha1(&[new]).to_vec(),
        });
        self.ask(|accounts, name| {
            accounts.exchange_secret(name, current.as_slice(), stored.as_slice())
        })
        .map_err(|why| match why {
            // Somebody else was between the comparison above and here.
            Error::Changed => Refused::Wrong,
            why => Refused::Text(format!("can't update secret: {why}")),
        })?;
        if let Ok(cached) = &mut self.cached {
            cached.current = stored;
        }
        Ok(Done::Changed)
    }

    /// Whether this is the secret that the session goes by.
    fn knows(&self, secret: &SecretBytes) -> bool {
        let known = self.cached.as_ref();
        known.is_ok_and(|known| secret.ct_eq(known.current.as_slice()))
    }

    /// Tells keyfs of a wrong hash, or of a right one.
    pub(super) fn count(&mut self, right: bool) {
        // The count is a courtesy: the answer to the client does not depend on it.
        let _ = self.ask(|accounts, name| {
            if right {
                accounts.log_good(name)
            } else {
                accounts.log_bad(name)
            }
        });
    }
}

/// The rule by which `hash` is that of `secret`. Both are tried in any case, in a time that says
/// nothing of the secret.
fn rule(secret: &SecretBytes, hash: &[u8], strict: bool) -> Option<Rule> {
    let reference = hash_text(secret.as_slice());
    let fixed = hex(secret.as_slice());
    let by_reference = reference.ct_eq(hash);
    let by_fixed = fixed.ct_eq(hash) && secret.len() == SHA1_LEN && !strict;
    if by_reference {
        Some(Rule::Reference)
    } else {
        by_fixed.then_some(Rule::Fixed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;

    use keyfs_db::Key;

    use super::*;
    use crate::clock::Clock;
    use crate::keyfs::serve::Service;
    use crate::keyfs::store::Store;

    #[test]
    fn what_is_known_is_asked_again_at_the_next_second() {
        let place = tempfile::tempdir().expect("a directory");
        let (file, socket) = (place.path().join("keys"), place.path().join("socket"));
        std::fs::write(&file, b"").expect("written");
        let store = Store::open(&file, Key::from_password(b"k")).expect("opened");
        let store = Arc::new(store);
        let service = Service {
            store: Arc::clone(&store),
            owner: b"inferno".as_slice().into(),
            trace: false,
            clock: Clock::fixed(1, 0),
        };
        let listener = UnixListener::bind(&socket).expect("bound");
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let service = service.clone();
                std::thread::spawn(move || service.converse(client));
            }
        });
        let mut accounts = Accounts::open(&socket).expect("reached");
        accounts.create("alice").expect("made");
        accounts.set_secret("alice", b"a secret").expect("set");
        let mut account = Account::look_up("alice", socket, false);
        assert!(!account.is_fresh(1), "it was not asked to be told");
        let hash = hash_text(b"a secret");
        assert_eq!(account.command(hash.as_slice(), 1), Ok(Done::Checked));
        assert!(account.is_fresh(1));
        // The user may have expired.
        assert!(!account.is_fresh(2));
        assert_eq!(account.command(hash.as_slice(), 2), Ok(Done::Checked));
        assert!(account.is_fresh(2));
        // It waits for one notice, however often it asks.
        for now in 3..40 {
            assert_eq!(account.command(hash.as_slice(), now), Ok(Done::Checked));
        }
        assert_eq!(format!("{:?}", store.watchers()), "1 watchers");
        assert!(account.is_fresh(39));
        accounts.log_bad("alice").expect("counted");
        assert!(!account.is_fresh(39));
    }
}
