//! Users by way of keyfs' socket.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use keyfs_db::{File, Refused};
use kx_secret::SecretBytes;
use styx::client::{self, Client, Fid};
use styx::message::{DMDIR, OREAD, OTRUNC, OWRITE};

use super::carrier::{Carrier, MSIZE, NOTICE};
use super::{Error, MAX_CONTENT, MAX_USERS};
use crate::keyfs::tree::{CHANGES, EXCHANGE};

/// How long a keyfs may think about one request. It answers a change when that is on the disk.
const PATIENCE: Duration = Duration::from_secs(30);

type Failure = client::Error<io::Error>;

/// The server's own words become the text of `kind`; everything else is the connection's fault.
fn failed(kind: fn(String) -> Error) -> impl Fn(Failure) -> Error {
    move |failure| match failure {
        client::Error::Refused(text) => kind(text),
        client::Error::Call(error) => Error::Unreachable(error),
        other => Error::senseless(other.to_string()),
    }
}

fn no_user(_: String) -> Error {
    Error::NoUser
}

/// A connection to keyfs.
#[derive(Debug)]
pub(super) struct Served {
    client: Client<Carrier>,
    root: Fid,
    /// The secret that was read last, still open: keysrv looks at one again and again.
    secret: Option<(Vec<u8>, Fid)>,
    /// By which keyfs tells of changes of that user.
    changes: Changes,
}

/// Whether keyfs tells of a user's changes.
#[derive(Debug)]
enum Changes {
    /// It was not asked yet.
    Unknown,
    /// It does not: it is not ours.
    Never,
    /// The user, and what is read for it.
    Of(Vec<u8>, Fid),
}

impl Served {
    pub(super) fn connect(socket: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(socket)?;
        // Secrets are told to it and believed of it: nobody else may sit there.
        let server = kx_sys::connection::peer_user(&stream)?;
        if !is_trusted(server, kx_sys::user_name::effective_number(), socket) {
            return Err(Error::Unreachable(io::ErrorKind::PermissionDenied.into()));
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = Client::new(Carrier::new(stream), MSIZE).map_err(failed(Error::Change))?;
        let root = client.attach(b"none", b"").map_err(failed(Error::Change))?;
        Ok(Self {
            client,
            root,
            secret: None,
            changes: Changes::Unknown,
        })
    }

    pub(super) fn names(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        let entries = self.client.list(&self.root, &[], MAX_USERS);
        let entries = entries.map_err(failed(Error::Change))?;
        Ok(entries.into_iter().map(|entry| entry.name).collect())
    }

    pub(super) fn exists(&mut self, name: &[u8]) -> Result<bool, Error> {
        match self.client.walk(&self.root, &[name]) {
            Ok(fid) => {
                self.client.clunk(fid).map_err(failed(Error::Change))?;
                Ok(true)
            }
            Err(client::Error::Refused(_)) => Ok(false),
            Err(failure) => Err(failed(Error::Change)(failure)),
        }
    }

    /// Opens a user's file, does something with it and forgets it.
    fn with<V>(
        &mut self,
        name: &[u8],
        file: File,
        mode: u8,
        deed: impl FnOnce(&mut Client<Carrier>, &Fid) -> Result<V, Failure>,
    ) -> Result<V, Error> {
        let path: [&[u8]; 2] = [name, file.name().as_bytes()];
        let fid = self.client.walk(&self.root, &path);
        let fid = fid.map_err(failed(no_user))?;
        let opened = self.client.open(&fid, mode).map_err(failed(Error::Open));
        let done = opened.and_then(|_| deed(&mut self.client, &fid).map_err(failed(Error::Access)));
        let forgotten = self.client.clunk(fid).map_err(failed(Error::Access));
        let value = done?;
        forgotten?;
        Ok(value)
    }

    /// Reads a secret, which one reply holds, and keeps it open.
    fn read_secret(&mut self, name: &[u8]) -> Result<SecretBytes, Error> {
        let mut content = SecretBytes::default();
        if let Some((_, fid)) = self.secret.as_ref().filter(|(of, _)| of == name) {
            match self.client.read(fid, 0, u32::MAX, &mut content) {
                Ok(_) => return Ok(content),
                // Whatever is wrong, the long way says it best; the user may be another by now.
                Err(client::Error::Refused(_)) => content.truncate(0),
                Err(failure) => return Err(failed(Error::Access)(failure)),
            }
        }
        if let Some((_, fid)) = self.secret.take() {
            self.client.clunk(fid).map_err(failed(Error::Access))?;
        }
        let path: [&[u8]; 2] = [name, File::Secret.name().as_bytes()];
        let fid = self.client.walk(&self.root, &path);
        let fid = fid.map_err(failed(no_user))?;
        let opened = self.client.open(&fid, OREAD).map_err(failed(Error::Open));
        let read = opened.and_then(|_| {
            let read = self.client.read(&fid, 0, u32::MAX, &mut content);
            read.map_err(failed(Error::Access))
        });
        match read {
            Ok(_) => {
                self.secret = Some((name.to_vec(), fid));
                Ok(content)
            }
            Err(error) => {
                self.client.clunk(fid).map_err(failed(Error::Access))?;
                Err(error)
            }
        }
    }

    /// The file to be read for notices about a user, open.
    fn changes(&mut self, name: &[u8]) -> Result<Changes, Failure> {
        let path: [&[u8]; 2] = [name, CHANGES.as_bytes()];
        let refused = |failure| match failure {
            client::Error::Refused(_) => Ok(Changes::Never),
            failure => Err(failure),
        };
        let fid = match self.client.walk(&self.root, &path) {
            Ok(fid) => fid,
            Err(failure) => return refused(failure),
        };
        match self.client.open(&fid, OREAD) {
            Ok(_) => Ok(Changes::Of(name.to_vec(), fid)),
            Err(failure) => {
                self.client.clunk(fid)?;
                refused(failure)
            }
        }
    }

    /// Reads a secret, and has keyfs tell of later changes of this user if it can.
    pub(super) fn watch_secret(&mut self, name: &[u8]) -> Result<SecretBytes, Error> {
        if matches!(&self.changes, Changes::Of(of, _) if of != name) {
            if let Changes::Of(_, fid) = std::mem::replace(&mut self.changes, Changes::Unknown) {
                self.client.clunk(fid).map_err(failed(Error::Access))?;
            }
        }
        if matches!(self.changes, Changes::Unknown) {
            self.changes = self.changes(name).map_err(failed(Error::Access))?;
        }
        if let Changes::Of(_, fid) = &self.changes {
            // It goes out in front of the request for the secret: no change is between them.
            if !self.client.carrier().is_awaiting() {
                let posted = self.client.post_read(fid, NOTICE);
                posted.map_err(failed(Error::Access))?;
            }
        }
        self.read_secret(name)
    }

    /// Whether nothing has changed since the last [`watch_secret`](Self::watch_secret), as far as is known
    /// here.
    pub(super) fn is_unchanged(&mut self) -> bool {
        self.client.carrier_mut().is_quiet()
    }

    pub(super) fn read(&mut self, name: &[u8], file: File) -> Result<SecretBytes, Error> {
        if file == File::Secret {
            return self.read_secret(name);
        }
        self.with(name, file, OREAD, |client, fid| {
            let mut content = SecretBytes::default();
            while content.len() < MAX_CONTENT {
                let offset = content.len() as u64;
                if client.read(fid, offset, u32::MAX, &mut content)? == 0 {
                    break;
                }
            }
            Ok(content)
        })
    }

    pub(super) fn write(&mut self, name: &[u8], file: File, data: &[u8]) -> Result<(), Error> {
        self.with(name, file, OWRITE | OTRUNC, |client, fid| {
            client.write(fid, 0, data).map(|_count| ())
        })
    }

    /// Replaces a secret in one step; `None` if this keyfs does not know how, or secrets are too long for
    /// it.
    pub(super) fn exchange(
        &mut self,
        name: &[u8],
        old: &[u8],
        new: &[u8],
    ) -> Option<Result<(), Error>> {
        let mut data =
            SecretBytes::with_capacity(old.len().saturating_add(new.len()).saturating_add(1));
        data.push(u8::try_from(old.len()).ok()?);
        data.extend_from_slice(old);
        data.extend_from_slice(new);
        let path: [&[u8]; 2] = [name, EXCHANGE.as_bytes()];
        let fid = match self.client.walk(&self.root, &path) {
            Ok(fid) => fid,
            Err(client::Error::Refused(_)) => return None,
            Err(failure) => return Some(Err(failed(no_user)(failure))),
        };
        let opened = self.client.open(&fid, OWRITE).map_err(failed(Error::Open));
        let done = opened.and_then(|_| {
            let written = self.client.write(&fid, 0, data.as_slice());
            written.map(|_count| ()).map_err(|failure| match failure {
                client::Error::Refused(text) if text == Refused::Changed.to_string() => {
                    Error::Changed
                }
                other => failed(Error::Access)(other),
            })
        });
        let forgotten = self.client.clunk(fid).map_err(failed(Error::Access));
        Some(done.and(forgotten))
    }

    pub(super) fn create(&mut self, name: &[u8]) -> Result<(), Error> {
        let fid = self.client.walk(&self.root, &[]);
        let fid = fid.map_err(failed(Error::Change))?;
        let made = self.client.create(&fid, name, DMDIR | 0o775, OREAD);
        let made = made.map_err(failed(Error::Change));
        let forgotten = self.client.clunk(fid).map_err(failed(Error::Change));
        made.and(forgotten)
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Result<(), Error> {
        let fid = self.client.walk(&self.root, &[name]);
        let fid = fid.map_err(failed(no_user))?;
        self.client.remove(fid).map_err(failed(Error::Change))
    }
}

/// Whether the user `own` may rely on a keyfs of the user `server`. Root does on that to whom the
/// directory of the socket belongs, as it does when a service has a user of its own.
fn is_trusted(server: u32, own: u32, socket: &Path) -> bool {
    let owner = || {
        let directory = socket.parent().filter(|path| !path.as_os_str().is_empty());
        let found = std::fs::metadata(directory.unwrap_or(Path::new(".")));
        found.ok().map(|found| found.uid())
    };
    server == 0 || server == own || (own == 0 && owner() == Some(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_relies_on_the_owner_of_the_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("keys");
        let owner = std::fs::metadata(directory.path()).expect("there").uid();
        assert!(is_trusted(0, 1000, &socket));
        assert!(is_trusted(1000, 1000, &socket));
        assert!(!is_trusted(1001, 1000, &socket));
        assert!(is_trusted(owner, 0, &socket));
        assert!(!is_trusted(owner + 1, 0, &socket));
        assert!(!is_trusted(1001, 0, Path::new("/nonexistent/keys")));
    }
}
