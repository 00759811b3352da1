//! What only root may open (isakmpd 2): files below two directories, and sockets. The process that talks to
//! the network asks through [`Files`], whoever answers.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use kx_secret::SecretBytes;
use kx_sys::interface_addresses::{default_interface_ipv4, default_interface_ipv6};
use kx_sys::syslog;
use kx_sys::udp::{Binding, Udp};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::log::Log;

/// Where configuration and keys are; nothing is written there.
pub const CONFIGURATION: &str = "/etc/isakmpd";
/// Where files of the running daemon are.
pub const RUN: &str = "/var/run";
/// How the names of directories there begin that are ours. Those of others hold secrets, and files that root's
/// programs obey.
const OURS: &[u8] = b"isakmpd";

/// Octets of a configuration, a policy, a certificate or a key.
pub const MAX_FILE: u64 = 16 << 20;

/// The only port below 1024.
const PRIVILEGED_PORT: u16 = 500;

/// Octets of datagrams that may wait at a socket: some 10,000 first messages.
const RECEIVE_BUFFER: usize = 8 << 20;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Access {
    /// Reading.
    Read = 0,
    /// Writing anew: emptied, or made with mode 0644.
    Public = 1,
    /// Writing anew: emptied, or made with mode 0600.
    Private = 2,
    /// Writing at the end: there, or made with mode 0600.
    Append = 3,
}

/// A file of a directory: its path, and whether it could be opened.
pub type Entry = (PathBuf, io::Result<File>);

/// Opens what only root may. Paths are held to the rules of [`check`].
pub trait Files {
    /// Opens a file.
    ///
    /// # Errors
    /// The system's; [`ErrorKind::PermissionDenied`] for a path that is not allowed.
    fn open(&self, path: &Path, access: Access) -> io::Result<File>;

    /// Opens for reading the first of these that is there, with its place among them. Any other error than
    /// [`ErrorKind::NotFound`] ends the search, too.
    fn open_first(&self, paths: &[PathBuf]) -> (usize, io::Result<File>) {
        let mut last = (0, Err(ErrorKind::NotFound.into()));
        for (place, path) in paths.iter().enumerate() {
            let opened = self.open(path, Access::Read);
            let found = !matches!(&opened, Err(error) if error.kind() == ErrorKind::NotFound);
            last = (place, opened);
            if found {
                break;
            }
        }
        last
    }

    /// The same of several choices, each of which has paths: all of them cost no more than one.
    fn open_each(&self, choices: &[Vec<PathBuf>]) -> Vec<(usize, io::Result<File>)> {
        choices.iter().map(|paths| self.open_first(paths)).collect()
    }

    /// Opens every regular file of a directory for reading, sorted by name.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn read_directory(&self, directory: &Path) -> io::Result<Vec<Entry>>;

    /// Binds a socket.
    ///
    /// # Errors
    /// The system's; [`ErrorKind::PermissionDenied`] for a port that is not allowed.
    fn bind(&self, address: SocketAddr, exclusive: bool) -> io::Result<Udp>;

    /// The interfaces of the default routes of IPv4 and IPv6.
    fn default_interfaces(&self) -> [Option<String>; 2];

    /// A connection to the system's log.
    ///
    /// # Errors
    /// The system's; nobody listens.
    fn system_log(&self) -> io::Result<OwnedFd> {
        Err(ErrorKind::Unsupported.into())
    }

    /// The line to whoever does all this, if that is another process; it is readable only when that process is
    /// gone.
    fn line(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The rules about paths.
#[derive(Debug, Clone)]
pub struct Rules {
    readable: PathBuf,
    writable: PathBuf,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            readable: CONFIGURATION.into(),
            writable: RUN.into(),
        }
    }
}

impl Rules {
    /// With other directories, for tests.
    #[must_use]
    pub fn new(readable: PathBuf, writable: PathBuf) -> Rules {
        Rules { readable, writable }
    }

    /// The path with its links resolved, if it may be opened so. A file that is to be made need not be there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::PermissionDenied`], which is to be logged.
    pub fn check(&self, path: &Path, access: Access) -> io::Result<PathBuf> {
        // The directory first: with it everything is known of a file that is no link, there or not, and a
        // negotiation asks for many that are not.
        let real = match (path.parent(), path.file_name()) {
            (Some(directory), Some(name)) => {
                let real = directory.canonicalize()?.join(name);
                match real.read_link() {
                    Ok(_) => match path.canonicalize() {
                        // A link that leads nowhere is not followed when it is opened.
                        Err(error) if error.kind() == ErrorKind::NotFound => real,
                        resolved => resolved?,
                    },
                    Err(_) => real,
                }
            }
            _ => path.canonicalize()?,
        };
        if (access == Access::Read && below(&real, &self.readable)) || self.is_run_file(&real) {
            return Ok(real);
        }
        Err(ErrorKind::PermissionDenied.into())
    }

    /// Whether a resolved path is one of the files of running daemons, and in nobody else's directory.
    fn is_run_file(&self, real: &Path) -> bool {
        let Ok(directory) = self.writable.canonicalize() else {
            return false;
        };
        let Ok(inner) = real.strip_prefix(directory) else {
            return false;
        };
        let mut names = inner.components().map(|name| name.as_os_str().as_bytes());
        match (names.next(), names.next()) {
            (Some(_), None) => true,
            (Some(first), Some(_)) => first.starts_with(OURS),
            (None, _) => false,
        }
    }

    /// Opens a regular file for reading without resolving its path, if what it is called says by itself that it is
    /// allowed: below the directory, without links on the way. None: it must be looked at, or there is an error worth
    /// a closer look.
    fn open_plainly(&self, path: &Path) -> Option<io::Result<File>> {
        let mut inside = path
            .strip_prefix(&self.readable)
            .ok()?
            .components()
            .peekable();
        inside.peek()?;
        if !path.is_absolute() || !inside.all(|part| matches!(part, Component::Normal(_))) {
            return None;
        }
        if std::fs::symlink_metadata(path).is_ok_and(|data| !data.is_file()) {
            return None;
        }
        // A FIFO in place of a file must not hold us up.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Ok(file) => File::from(file),
            Err(error @ Errno::NOENT) => return Some(Err(error.into())),
            Err(_) => return None,
        };
        // Again, should it have changed in between.
        file.metadata()
            .is_ok_and(|data| data.is_file())
            .then_some(Ok(file))
    }

    /// [`Rules::check`] for a directory to be read, which may be one of the two.
    ///
    /// # Errors
    /// See there.
    pub fn check_directory(&self, path: &Path) -> io::Result<PathBuf> {
        let real = path.canonicalize()?;
        // Whoever may read a file in it may read it.
        let file = real.join("file");
        match below(&file, &self.readable) || self.is_run_file(&file) {
            true => Ok(real),
            false => Err(ErrorKind::PermissionDenied.into()),
        }
    }
}

/// Whether a resolved path is inside of a directory.
fn below(real: &Path, directory: &Path) -> bool {
    let directory = directory.canonicalize();
    directory.is_ok_and(|directory| real.starts_with(&directory) && real != directory)
}

/// Opens files in this process, by the rules.
pub struct Direct {
    rules: Rules,
    log: Rc<Log>,
}

impl Direct {
    /// What is refused is logged.
    #[must_use]
    pub fn new(rules: Rules, log: Rc<Log>) -> Direct {
        Direct { rules, log }
    }

    /// Logs what is refused.
    fn told<T>(&self, path: &Path, checked: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &checked {
            if error.kind() != ErrorKind::NotFound {
                let path = path.display();
                self.log
                    .print(format!("m_priv_getfd: illegal path \"{path}\""));
            }
        }
        checked
    }
}

impl Files for Direct {
    fn open(&self, path: &Path, access: Access) -> io::Result<File> {
        if access == Access::Read {
            if let Some(opened) = self.rules.open_plainly(path) {
                return opened;
            }
        }
        let real = self.told(path, self.rules.check(path, access))?;
        let mut options = OpenOptions::new();
        // A FIFO in place of a file must not hold us up, and no link may have come in between.
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY);
        match access {
            Access::Read => options.read(true),
            Access::Public => options.write(true).create(true).truncate(true).mode(0o644),
            Access::Private => options.write(true).create(true).truncate(true).mode(0o600),
            Access::Append => options.append(true).create(true).mode(0o600),
        };
        // With a directory the child could leave its own root, and a device may do something when it is opened.
        let regular = |data: std::fs::Metadata| match data.is_file() {
            true => Ok(()),
            false => Err(io::Error::from(ErrorKind::PermissionDenied)),
        };
        if let Ok(data) = std::fs::symlink_metadata(&real) {
            self.told(path, regular(data))?;
        }
        let file = options.open(real)?;
        // Again, should it have changed in between.
        self.told(path, file.metadata().and_then(regular))?;
        Ok(file)
    }

    fn read_directory(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let mut names: Vec<OsString> = Vec::new();
        let real = self.told(directory, self.rules.check_directory(directory))?;
        for entry in std::fs::read_dir(real)? {
            names.push(entry?.file_name());
        }
        names.sort();
        let mut entries = Vec::new();
        for name in names {
            // As the original writes it: the name put to the directory's.
            let mut path = directory.as_os_str().to_owned();
            if !path.as_bytes().ends_with(b"/") {
                path.push("/");
            }
            path.push(name);
            let path = PathBuf::from(path);
            if !std::fs::metadata(&path).is_ok_and(|data| data.is_file()) {
                continue;
            }
            if self.rules.check(&path, Access::Read).is_err() {
                continue;
            }
            let file = self.open(&path, Access::Read);
            if let Err(error) = &file {
                let path = path.display();
                self.log.error(
                    format!("m_priv_req_readdir: open (\"{path}\", O_RDONLY, 0) failed"),
                    error,
                );
            }
            entries.push((path, file));
        }
        Ok(entries)
    }

    fn bind(&self, address: SocketAddr, exclusive: bool) -> io::Result<Udp> {
        let port = address.port();
        if port != PRIVILEGED_PORT && port < 1024 {
            self.log.print(format!("Disallowed port {port}"));
            return Err(ErrorKind::PermissionDenied.into());
        }
        let binding = Binding {
            exclusive,
            receive_buffer: RECEIVE_BUFFER,
        };
        Udp::bind(address, binding)
    }

    fn default_interfaces(&self) -> [Option<String>; 2] {
        [default_interface_ipv4(), default_interface_ipv6()]
    }

    fn system_log(&self) -> io::Result<OwnedFd> {
        syslog::connection(Path::new(syslog::DEFAULT_PATH))
    }
}

/// Why a secret file is not used. The text is for the log.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be opened; nothing was logged.
    #[error("{0}")]
    Open(io::Error),
    /// Owner or mode (isakmpd 2).
    #[error("{0}")]
    Refused(String),
    /// Reading failed, or it is too long.
    #[error("{0}")]
    Read(io::Error),
}

/// Reads a file that only root or this process's user may read or write.
///
/// # Errors
/// See there.
pub fn read_secret(files: &dyn Files, path: &Path) -> Result<SecretBytes, SecretError> {
    let file = files.open(path, Access::Read).map_err(SecretError::Open)?;
    secret_of(file, path)
}

/// The same of a file that is open already.
///
/// # Errors
/// As [`read_secret`].
pub fn secret_of(file: File, path: &Path) -> Result<SecretBytes, SecretError> {
    let data = file.metadata().map_err(SecretError::Read)?;
    let path = path.display();
    // The effective one: that call is among those left to a confined process.
    let own = rustix::process::geteuid().as_raw();
    if data.uid() != 0 && data.uid() != own {
        return Err(SecretError::Refused(format!(
            "check_file_secrecy_fd: not loading {path} - file owner is not process user"
        )));
    }
    if data.mode() & 0o077 != 0 {
        return Err(SecretError::Refused(format!(
            "check_file_secrecy_fd: not loading {path} - too open permissions"
        )));
    }
    let size = usize::try_from(data.len().min(MAX_FILE)).unwrap_or(0);
    let mut content = SecretBytes::with_capacity(size.saturating_add(1));
    let mut chunk = zeroize::Zeroizing::new([0u8; 4096]);
    let mut limited = file.take(MAX_FILE.saturating_add(1));
    loop {
        let count = match limited.read(chunk.as_mut_slice()) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(SecretError::Read(error)),
        };
        content.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
    if content.len() as u64 > MAX_FILE {
        return Err(SecretError::Read(ErrorKind::FileTooLarge.into()));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Place {
        directory: tempfile::TempDir,
        log: Rc<Log>,
    }

    impl Place {
        fn new() -> Place {
            let directory = tempfile::tempdir().expect("directory");
            for name in ["etc", "run", "else"] {
                std::fs::create_dir(directory.path().join(name)).expect("made");
            }
            Place {
                directory,
                log: Rc::new(Log::memory()),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn files(&self) -> Direct {
            let rules = Rules::new(self.path("etc"), self.path("run"));
            Direct::new(rules, Rc::clone(&self.log))
        }

        fn put(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.path(name);
            std::fs::write(&path, "content").expect("written");
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("mode");
            path
        }
    }

    #[test]
    fn only_two_directories_can_be_reached() {
        let place = Place::new();
        let files = place.files();
        let inside = place.put("etc/isakmpd.conf", 0o600);
        let outside = place.put("else/secret", 0o600);
        symlink(&outside, place.path("etc/link")).expect("linked");
        symlink(&outside, place.path("run/link")).expect("linked");
        symlink(place.path("else"), place.path("etc/away")).expect("linked");
        symlink(&inside, place.path("run/inner")).expect("linked");
        files.open(&inside, Access::Read).expect("readable");
        files
            .open(&place.path("run/inner"), Access::Read)
            .expect("a link into it");
        for name in ["run/other", "run/isakmpd-x", "etc/sub"] {
            std::fs::create_dir(place.path(name)).expect("made");
        }
        place.put("run/other/secret", 0o600);
        files
            .open(&place.path("run/isakmpd-x/new"), Access::Private)
            .expect("a directory of ours");
        for (path, access) in [
            ("run/other/secret", Access::Read),
            ("run/other/new", Access::Public),
            ("run/other", Access::Read),
            ("etc/sub", Access::Read),
            ("etc/isakmpd.conf", Access::Public),
            ("etc/new", Access::Append),
            ("etc/link", Access::Read),
            ("etc/away/secret", Access::Read),
            ("run/link", Access::Append),
            ("run/inner", Access::Private),
            ("run/../else/secret", Access::Read),
            ("else/new", Access::Private),
            ("run", Access::Read),
        ] {
            let error = files.open(&place.path(path), access).expect_err(path);
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{path}");
        }
        assert_eq!(place.log.texts().len(), 13);
        for (name, is_listed) in [("run/other", false), ("run/isakmpd-x", true)] {
            let listed = files.read_directory(&place.path(name)).is_ok();
            assert_eq!(listed, is_listed, "{name}");
        }
        let _ = place.log.texts();
        let error = files.open(&place.path("etc/none"), Access::Read);
        assert_eq!(error.expect_err("none").kind(), ErrorKind::NotFound);
        assert!(place.log.texts().is_empty());
        assert_eq!(std::fs::read(outside).expect("kept"), b"content");
    }

    #[test]
    fn what_has_no_links_is_opened_in_one_step() {
        let place = Place::new();
        let root = place.directory.path().canonicalize().expect("resolved");
        let rules = Rules::new(root.join("etc"), root.join("run"));
        place.put("etc/file", 0o600);
        place.put("run/file", 0o600);
        std::fs::create_dir(root.join("etc/inner")).expect("made");
        symlink(root.join("etc/inner"), root.join("etc/linked")).expect("linked");
        symlink(root.join("etc/file"), root.join("etc/inner/link")).expect("linked");
        place.put("etc/inner/file", 0o600);
        let plainly = |name: &str| rules.open_plainly(&root.join(name));
        let opened = plainly("etc/file").expect("plain").expect("opened");
        assert_eq!(opened.metadata().expect("there").len(), 7);
        for missing in ["etc/none", "etc/inner/none", "etc/none/none"] {
            let error = plainly(missing).expect("plain").expect_err("none");
            assert_eq!(error.kind(), ErrorKind::NotFound, "{missing}");
        }
        for other in [
            "etc",
            "run/file",
            "etc/inner/link",
            "etc/linked/link",
            "etc/linked/file",
            "etc/../etc/file",
            "etc/file/none",
        ] {
            assert!(plainly(other).is_none(), "{other}");
        }
    }

    #[test]
    fn files_are_made_with_their_modes() {
        let place = Place::new();
        let files = place.files();
        for (name, access, mode) in [
            ("run/result", Access::Public, 0o644),
            ("run/report", Access::Private, 0o600),
            ("run/capture", Access::Append, 0o600),
        ] {
            for _ in 0..2 {
                let mut file = files.open(&place.path(name), access).expect(name);
                file.write_all(b"x").expect("written");
            }
            let data = std::fs::metadata(place.path(name)).expect("there");
            // Less the umask, which a test cannot change.
            assert_eq!(data.mode() & 0o777 & !mode, 0, "{name}");
            assert_eq!(data.mode() & 0o700, 0o600, "{name}");
            assert_eq!(data.len(), if access == Access::Append { 2 } else { 1 });
        }
    }

    #[test]
    fn secrets_must_be_kept() {
        let place = Place::new();
        let files = place.files();
        let good = place.put("etc/good", 0o400);
        let content = read_secret(&files, &good).expect("read");
        assert_eq!(content.as_slice(), b"content");
        for mode in [0o640, 0o604, 0o610, 0o602] {
            let open = place.put("etc/open", mode);
            let error = read_secret(&files, &open).expect_err("refused").to_string();
            let expected = format!(
                "check_file_secrecy_fd: not loading {} - too open permissions",
                open.display()
            );
            assert_eq!(error, expected);
        }
        let none = read_secret(&files, &place.path("etc/none")).expect_err("none");
        assert!(matches!(none, SecretError::Open(error) if error.kind() == ErrorKind::NotFound));
    }

    #[test]
    fn directories_are_read_in_order_and_only_files() {
        let place = Place::new();
        place.put("etc/b", 0o600);
        place.put("etc/a", 0o644);
        std::fs::create_dir(place.path("etc/sub")).expect("made");
        symlink(place.put("else/x", 0o600), place.path("etc/c")).expect("linked");
        let files = place.files();
        let mut with_slash = place.path("etc").into_os_string();
        with_slash.push("/");
        for directory in [place.path("etc"), with_slash.into()] {
            let entries = files.read_directory(&directory).expect("read");
            let names: Vec<_> = entries.iter().map(|entry| entry.0.clone()).collect();
            assert_eq!(names, [place.path("etc/a"), place.path("etc/b")]);
            assert!(entries.iter().all(|entry| entry.1.is_ok()));
        }
        assert!(files.read_directory(&place.path("else")).is_err());
    }

    #[test]
    fn low_ports_are_refused() {
        let place = Place::new();
        let files = place.files();
        let error = files.bind(([127, 0, 0, 1], 22).into(), false);
        assert_eq!(error.expect_err("low").kind(), ErrorKind::PermissionDenied);
        assert_eq!(place.log.texts(), ["Default Disallowed port 22"]);
    }
}
