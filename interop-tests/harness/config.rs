//! A configuration directory as an administrator would make it, in a temporary place.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::certificates::{Pair, Recipe, rsa_key};

static SERVER: LazyLock<Pair> =
    LazyLock::new(|| Recipe::new("srv").dns("localhost").key(&rsa_key()).make());
static CLIENT: LazyLock<Pair> =
    LazyLock::new(|| Recipe::new("cli").dns("localhost").key(&rsa_key()).make());

/// The certificate every test server uses unless told otherwise: O=srv, DNS localhost.
pub fn server_pair() -> &'static Pair {
    &SERVER
}

/// The usual client: O=cli.
pub fn client_pair() -> &'static Pair {
    &CLIENT
}

/// `DIR` of the vectors: `cert.pem`, `key.pem`, `client/{cert,key}.pem`, `data/`.
#[derive(Debug)]
pub struct Config {
    dir: TempDir,
}

impl Config {
    /// Makes the directory with the usual server and client.
    pub fn new() -> Config {
        let dir = tempfile::Builder::new()
            .prefix("kx-")
            .tempdir()
            .expect("temporary directory");
        let config = Config { dir };
        config.write("cert.pem", SERVER.cert_pem());
        config.write("key.pem", SERVER.key_pem());
        config.write("client/cert.pem", CLIENT.cert_pem());
        config.write("client/key.pem", CLIENT.key_pem());
        fs::create_dir(config.path().join("data")).expect("data directory");
        config
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path below the directory.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.join(name).to_string_lossy().into_owned()
    }

    /// Writes a file, making its directories.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("making directories");
        }
        fs::write(&path, content).unwrap_or_else(|e| panic!("writing {}: {e}", path.display()));
        path
    }

    /// Writes an executable script.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        // Written by another process: a descriptor for writing that some other test's fork
        // inherits would make the exec fail with "text file busy".
        let path = self.join(name);
        let _ = fs::remove_file(&path);
        let staged = self.write(format!("{name}.staged"), text);
        fs::set_permissions(&staged, fs::Permissions::from_mode(0o755)).expect("chmod");
        let done = std::process::Command::new("cp")
            .arg("-p")
            .arg(&staged)
            .arg(&path)
            .status();
        assert!(done.is_ok_and(|s| s.success()), "cp of a script failed");
        path
    }

    /// Makes a key that the usual client may fetch from anywhere.
    pub fn key(&self, name: &str, content: impl AsRef<[u8]>) {
        self.bare_key(name, content);
        self.write(format!("data/{name}/allowed_clients"), CLIENT.cert_pem());
    }

    /// Makes a key without `allowed_clients`.
    pub fn bare_key(&self, name: &str, content: impl AsRef<[u8]>) {
        self.write(format!("data/{name}/key"), content);
    }

    /// Makes a link.
    pub fn link(&self, target: &str, name: &str) {
        std::os::unix::fs::symlink(target, self.join(name)).expect("symbolic link");
    }
}

impl Default for Config {
    fn default() -> Self {
        Config::new()
    }
}
