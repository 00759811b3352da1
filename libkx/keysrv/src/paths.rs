//! Where the files are (keysrv spec 19.2): Inferno's own paths lie under `$INFERNO_ROOT`, what the
//! user names absolutely is the host's.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The root that the hosted emulator takes if nobody says otherwise.
pub const DEFAULT_ROOT: &str = "/usr/inferno";

/// The root and the local user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
    user: String,
}

impl Paths {
    /// `root`: `$INFERNO_ROOT`; `user`: `$INFERNO_USER` or the Unix name.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, user: impl Into<String>) -> Paths {
        Paths {
            root: root.into(),
            user: user.into(),
        }
    }

    /// The local user's name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a path that Inferno's programs have built in (`/keydb/keys`) is on this host.
    #[must_use]
    pub fn built_in(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The data base of keyfs, `/keydb/keys`.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.built_in("/keydb/keys")
    }

    /// The signer's key, `/keydb/signerkey`.
    #[must_use]
    pub fn signer_key(&self) -> PathBuf {
        self.built_in("/keydb/signerkey")
    }

    /// Where keyfs shows its tree, `/mnt/keys`.
    #[must_use]
    pub fn mounted_keys(&self) -> PathBuf {
        self.built_in("/mnt/keys")
    }

    /// The directory of the local user's authinfo files, `/usr/USER/keyring`.
    #[must_use]
    pub fn keyring(&self) -> PathBuf {
        self.keyring_of(&self.user)
    }

    /// The same of another user. A name that is no file name leads nowhere else: its slashes do not
    /// climb out of the root.
    #[must_use]
    pub fn keyring_of(&self, user: &str) -> PathBuf {
        let user = match user {
            "." | ".." => "_".to_owned(),
            user => user.replace('/', "_"),
        };
        self.built_in("/usr").join(user).join("keyring")
    }

    /// An authinfo file as most programs take it: `/...` and `./...` as it is, else a name in the
    /// local user's keyring.
    #[must_use]
    pub fn authinfo(&self, given: &OsStr) -> PathBuf {
        match given.as_bytes() {
            [b'/', ..] | [b'.', b'/', ..] => PathBuf::from(given),
            _ => self.keyring().join(given),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_paths_lie_under_the_root() {
        let paths = Paths::new("/srv/inf", "alice");
        assert_eq!(paths.keys(), Path::new("/srv/inf/keydb/keys"));
        assert_eq!(paths.signer_key(), Path::new("/srv/inf/keydb/signerkey"));
        assert_eq!(paths.mounted_keys(), Path::new("/srv/inf/mnt/keys"));
        assert_eq!(paths.built_in("x"), Path::new("/srv/inf/x"));
    }

    #[test]
    fn authinfo_files_are_the_hosts_or_in_the_keyring() {
        let paths = Paths::new(DEFAULT_ROOT, "alice");
        for (given, expected) in [
            ("default", "/usr/inferno/usr/alice/keyring/default"),
            ("net!x!y", "/usr/inferno/usr/alice/keyring/net!x!y"),
            ("./k", "./k"),
            ("/etc/k", "/etc/k"),
            ("../k", "/usr/inferno/usr/alice/keyring/../k"),
        ] {
            assert_eq!(paths.authinfo(OsStr::new(given)), Path::new(expected));
        }
    }

    #[test]
    fn a_users_name_does_not_climb() {
        let paths = Paths::new("/r", "..");
        assert_eq!(paths.keyring(), Path::new("/r/usr/_/keyring"));
        assert_eq!(
            paths.keyring_of("a/../b"),
            Path::new("/r/usr/a_.._b/keyring")
        );
    }
}
