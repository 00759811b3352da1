//! keysrv's client for C: a connection is authenticated with an authinfo file, a secret is checked and
//! changed (keysrv spec 5, 9).

use std::ffi::{CString, OsStr, c_char};
use std::io;
use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keysrv::authinfo_file;
use keysrv::client::{ConnectError, Options, SecretError, SecretFile};

use crate::boundary::{c_buffer, c_octets, guarded};
use crate::kx_status::{self, *};
use crate::{Refused, entry, last_error};

/// One authenticated connection to a keysrv, or the settings for one.
///
/// Several threads may use one session at the same time; the server is asked one thing after the
/// other.
pub struct kx_inferno {
    id: u64,
    session: Mutex<Session>,
}

#[derive(Default)]
struct Session {
    options: Options,
    file: Option<SecretFile>,
    /// Whose key the server has.
    peer: CString,
}

impl kx_inferno {
    fn with<T>(&self, f: impl FnOnce(&mut Session) -> T) -> T {
        f(&mut self.session.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn refuse(&self, status: kx_status, text: impl ToString) -> Refused {
        last_error::set(self.id, text.to_string(), 0);
        Refused(status)
    }

    fn refuse_connection(&self, error: &io::Error) -> Refused {
        match error.kind() {
            io::ErrorKind::TimedOut => self.refuse(KX_ERR_TIMEOUT, "timed out"),
            io::ErrorKind::UnexpectedEof => self.refuse(KX_ERR_CONNECT, "hungup"),
            _ => self.refuse(KX_ERR_CONNECT, error),
        }
    }

    fn authenticate(&self, connection: TcpStream, path: &Path) -> Result<(), Refused> {
        let info =
            authinfo_file::read(path).map_err(|error| self.refuse(KX_ERR_AUTHINFO, error))?;
        connection
            .set_nonblocking(false)
            .map_err(|error| self.refuse_connection(&error))?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|now| i64::try_from(now.as_secs()).ok())
            .unwrap_or(i64::MAX);
        self.with(|session| {
            session.file = None;
            let user = info.public_key().owner().to_owned();
            let file = SecretFile::connect(connection, info, &user, &session.options, now)
                .map_err(|error| match error {
                    ConnectError::Authenticate(error) => self.refuse(KX_ERR_AUTH, error),
                    ConnectError::Connection(error) => self.refuse_connection(&error),
                    other => self.refuse(KX_ERR_PROTOCOL, other),
                })?;
            session.peer = CString::new(file.peer()).unwrap_or_default();
            session.file = Some(file);
            Ok(())
        })
    }

    fn ask(
        &self,
        question: impl FnOnce(&mut SecretFile) -> Result<(), SecretError>,
    ) -> Result<(), Refused> {
        self.with(|session| {
            let Some(file) = &mut session.file else {
                return Err(self.refuse(KX_ERR_ARGUMENT, "not authenticated"));
            };
            question(file).map_err(|error| match error {
                SecretError::Refused(text) => self.refuse(KX_ERR_REFUSED, text),
                other => {
                    // Half an answer may be on its way, so that the next one would be misunderstood.
                    session.file = None;
                    self.refuse(KX_ERR_CONNECT, other)
                }
            })
        })
    }
}

/// Makes a session that is not authenticated. Free it with kx_inferno_free().
///
/// Returns NULL when there is no memory.
#[unsafe(no_mangle)]
pub extern "C" fn kx_inferno_new() -> *mut kx_inferno {
    guarded(std::ptr::null_mut(), || {
        Box::into_raw(Box::new(kx_inferno {
            id: last_error::new_id(),
            session: Mutex::default(),
        }))
    })
}

/// Frees a session and wipes its keys. NULL does nothing. The connection stays open: it is the
/// caller's.
///
/// No other thread may be using the session.
///
/// # Safety
/// `session` is NULL or came from kx_inferno_new() and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_inferno_free(session: *mut kx_inferno) {
    guarded((), || {
        if !session.is_null() {
            // SAFETY: from Box::into_raw in kx_inferno_new, and given back once.
            drop(unsafe { Box::from_raw(session) });
        }
    });
}

/// Sets the owner that the server's key must have. NULL, the default, is any: then every user
/// whom the signer has certified can pose as the server.
///
/// # Safety
/// `session` is NULL or a session; `name` is NULL or a C string. Both are not kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_inferno_set_server_name(
    session: *const kx_inferno,
    name: *const c_char,
) -> kx_status {
    // SAFETY: the caller's promise.
    let name = unsafe { c_octets(name) };
    // SAFETY: the caller's promise.
    entry(unsafe { session.as_ref() }, |session| {
        let name = name
            .map(|name| String::from_utf8(name.to_vec()))
            .transpose();
        let name = name.map_err(|_| session.refuse(KX_ERR_ARGUMENT, "the name is not UTF-8"))?;
        session.with(|s| s.options.server_name = name);
        Ok(())
    })
}

/// Sets the time limit of a whole authentication, and of each later answer, in milliseconds.
/// The default is 60000; 0 is no limit.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_inferno_set_timeout_ms(
    session: *const kx_inferno,
    milliseconds: u64,
) -> kx_status {
    let patience = match milliseconds {
        0 => Duration::MAX,
        limit => Duration::from_millis(limit),
    };
    // SAFETY: the caller's promise.
    entry(unsafe { session.as_ref() }, |session| {
        session.with(|s| s.options.patience = patience);
        Ok(())
    })
}

/// Authenticates this side and the server to each other on a connected stream socket, with the
/// key, the certificate and the signer's key in an authinfo file (Inferno's keyring).
///
/// The socket is made blocking and gets time limits. It must not be used for anything else until
/// the session is freed or authenticated on another one; then close it.
///
/// # Safety
/// `session` is NULL or a session; `authinfo_file` is NULL or a C string, and not kept;
/// `connection` is an open descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_inferno_authenticate(
    session: *const kx_inferno,
    connection: i32,
    authinfo_file: *const c_char,
) -> kx_status {
    // SAFETY: the caller's promise.
    let path = unsafe { c_octets(authinfo_file) };
    // SAFETY: the caller's promise.
    entry(unsafe { session.as_ref() }, |session| {
        let path = path.ok_or_else(|| session.refuse(KX_ERR_ARGUMENT, "the file is NULL"))?;
        if connection < 0 {
            return Err(session.refuse(KX_ERR_ARGUMENT, "no connection"));
        }
        // SAFETY: not negative; the caller's promise that it is open during the call.
        let connection = unsafe { BorrowedFd::borrow_raw(connection) };
        let connection = connection
            .try_clone_to_owned()
            .map_err(|error| session.refuse_connection(&error))?;
        session.authenticate(
            TcpStream::from(connection),
            Path::new(OsStr::from_bytes(path)),
        )
    })
}

/// The owner of the key with which the server has authenticated itself; the empty text before
/// that. Never NULL.
///
/// The text belongs to the session. It stays until the session is authenticated again or freed.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_inferno_peer(session: *const kx_inferno) -> *const c_char {
    // SAFETY: the caller's promise.
    let session = unsafe { session.as_ref() };
    guarded(c"".as_ptr(), || {
        session.map_or(c"".as_ptr(), |session| session.with(|s| s.peer.as_ptr()))
    })
}

/// Asks whether the account has a secret. KX_ERR_REFUSED says that it has none:
/// kx_inferno_last_error() is then `no existing secret` or `user not registered: NAME`.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_inferno_secret_exists(session: *const kx_inferno) -> kx_status {
    // SAFETY: the caller's promise.
    entry(unsafe { session.as_ref() }, |session| {
        session.ask(SecretFile::exists)
    })
}

/// Asks whether the account's secret is this one: `len` octets at `secret`. KX_ERR_REFUSED with
/// `wrong secret` says that it is not. Servers may answer late after some wrong ones.
///
/// # Safety
/// `session` is NULL or a session; `secret` is NULL or points to `len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_inferno_check_secret(
    session: *const kx_inferno,
    secret: *const u8,
    len: usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let secret = unsafe { c_buffer(secret, len) };
    // SAFETY: the caller's promise.
    entry(unsafe { session.as_ref() }, |session| {
        let secret = secret.ok_or_else(|| session.refuse(KX_ERR_ARGUMENT, "the secret is NULL"))?;
        session.ask(|file| file.check(secret))
    })
}

/// Replaces the account's secret, `old_len` octets at `old_secret`, by the `new_len` octets at
/// `new_secret`, at least 8. The server checks the old one.
///
/// # Safety
/// `session` is NULL or a session; each secret is NULL or points to as many octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_inferno_change_secret(
    session: *const kx_inferno,
    old_secret: *const u8,
    old_len: usize,
    new_secret: *const u8,
    new_len: usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let old = unsafe { c_buffer(old_secret, old_len) };
    // SAFETY: the caller's promise.
    let new = unsafe { c_buffer(new_secret, new_len) };
    // SAFETY: the caller's promise.
    entry(unsafe { session.as_ref() }, |session| {
        let (Some(old), Some(new)) = (old, new) else {
            return Err(session.refuse(KX_ERR_ARGUMENT, "a secret is NULL"));
        };
        if new.is_empty() {
            // On the wire this would be a check, and be answered as if it had been done.
            return Err(session.refuse(KX_ERR_ARGUMENT, "the new secret is empty"));
        }
        session.ask(|file| file.change(old, new))
    })
}

/// What went wrong in this thread's last call with this session, in the server's words where it is
/// the server that refuses; the empty text when nothing did. Never NULL.
///
/// The text belongs to the library. It stays until this thread's next call that returns a
/// kx_status, or until the thread ends.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_inferno_last_error(session: *const kx_inferno) -> *const c_char {
    // SAFETY: the caller's promise.
    let session = unsafe { session.as_ref() };
    guarded(c"".as_ptr(), || {
        last_error::text(session.map_or(0, |session| session.id))
    })
}
