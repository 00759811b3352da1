//! From root to a user that can do next to nothing, in the order of the original tcpcryptd
//! (tcpcrypt spec 2.1), and a look whether it is so.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::Uid;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// A user of the system's data base.
#[derive(Debug, Clone)]
pub struct User {
    name: CString,
    uid: libc::uid_t,
    gid: libc::gid_t,
}

impl User {
    /// Looks a user up by name. `None` if there is none of that name.
    ///
    /// # Errors
    /// The data base could not be asked.
    #[allow(unsafe_code)]
    pub fn find(name: &str) -> io::Result<Option<User>> {
        let Ok(name) = CString::new(name) else {
            return Ok(None);
        };
        let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
        let mut buffer = vec![0u8; 1024];
        loop {
            let mut result: *mut libc::passwd = std::ptr::null_mut();
            // SAFETY: the entry and the buffer live on and are as long as said; the name ends
            // with a zero octet.
            let error = unsafe {
                libc::getpwnam_r(
                    name.as_ptr(),
                    entry.as_mut_ptr(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    &raw mut result,
                )
            };
            match error {
                libc::ERANGE if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 2, 0),
                // What data bases say of a user that they do not have (getpwnam(3)).
                0 | libc::ENOENT | libc::ESRCH if result.is_null() => return Ok(None),
                0 => {
                    // SAFETY: the call succeeded and found somebody: the entry is filled in.
                    let found = unsafe { entry.assume_init_ref() };
                    let (uid, gid) = (found.pw_uid, found.pw_gid);
                    return Ok(Some(User { name, uid, gid }));
                }
                error => return Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    /// The user's number.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }
}

/// The step that failed. `Display` is the original's message without the system's text.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// Group number.
    #[error("setgid({gid})")]
    SetGid {
        /// The number.
        gid: u32,
        /// The system's error.
        source: io::Error,
    },
    /// Further groups.
    #[error("initgroups(\"{name}\", {gid})")]
    InitGroups {
        /// The user.
        name: String,
        /// The user's own group.
        gid: u32,
        /// The system's error.
        source: io::Error,
    },
    /// Changing the root directory.
    #[error("Could not chroot to {}", path.display())]
    Chroot {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Entering it.
    #[error("Could not chdir to root of jail")]
    Chdir(#[source] io::Error),
    /// User number.
    #[error("setuid({uid})")]
    SetUid {
        /// The number.
        uid: u32,
        /// The system's error.
        source: io::Error,
    },
    /// Capabilities.
    #[error("{call}")]
    Capabilities {
        /// The call that failed.
        call: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// All calls succeeded, but something is left.
    #[error("privileges are still there: {0}")]
    NotDropped(&'static str),
}

/// Becomes `user` inside the directory `root` with the capabilities `keep` and no other
/// (effective, permitted and inheritable), without a way back.
///
/// To be called while the process has a single thread: capabilities belong to threads.
///
/// # Errors
/// The step that failed. The process should end then.
#[allow(unsafe_code)]
pub fn drop_to(user: &User, root: &Path, keep: CapabilitySet) -> Result<(), DropError> {
    let (uid, gid) = (user.uid, user.gid);
    // SAFETY: takes numbers only.
    check(unsafe { libc::setresgid(gid, gid, gid) })
        .map_err(|source| DropError::SetGid { gid, source })?;
    // SAFETY: the name ends with a zero octet.
    check(unsafe { libc::initgroups(user.name.as_ptr(), gid) }).map_err(|source| {
        DropError::InitGroups {
            name: user.name.to_string_lossy().into_owned(),
            gid,
            source,
        }
    })?;
    rustix::process::chroot(root).map_err(|error| DropError::Chroot {
        path: root.to_owned(),
        source: error.into(),
    })?;
    rustix::process::chdir("/").map_err(|error| DropError::Chdir(error.into()))?;
    // What cannot be had again by a set-uid program; needs CAP_SETPCAP, so best effort.
    for capability in CapabilitySet::all().difference(keep).iter() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let failed = |call| {
        move |error: rustix::io::Errno| DropError::Capabilities {
            call,
            source: error.into(),
        }
    };
    rustix::thread::set_keep_capabilities(true).map_err(failed("prctl(PR_SET_KEEPCAPS)"))?;
    // SAFETY: takes numbers only.
    check(unsafe { libc::setresuid(uid, uid, uid) })
        .map_err(|source| DropError::SetUid { uid, source })?;
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: keep,
    };
    rustix::thread::set_capabilities(None, sets).map_err(failed("capset()"))?;
    // Kernels before 4.3 know no ambient set, and there is nothing to clear.
    let _ = rustix::thread::clear_ambient_capability_set();
    rustix::thread::set_keep_capabilities(false).map_err(failed("prctl(PR_SET_KEEPCAPS)"))?;
    verify(user, sets)
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Looks at what we are now instead of trusting the calls.
#[allow(unsafe_code)]
fn verify(user: &User, sets: CapabilitySets) -> Result<(), DropError> {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: three places for numbers.
    check(unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) })
        .map_err(|_| DropError::NotDropped("user"))?;
    if [real, effective, saved] != [user.uid; 3] {
        return Err(DropError::NotDropped("user"));
    }
    // SAFETY: three places for numbers.
    check(unsafe { libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved) })
        .map_err(|_| DropError::NotDropped("group"))?;
    if [real, effective, saved] != [user.gid; 3] {
        return Err(DropError::NotDropped("group"));
    }
    if rustix::thread::capabilities(None) != Ok(sets) {
        return Err(DropError::NotDropped("capabilities"));
    }
    // SAFETY: takes numbers only; that it fails is what is wanted.
    let back = unsafe { libc::setresuid(0, 0, 0) };
    if user.uid != Uid::ROOT.as_raw() && back == 0 {
        return Err(DropError::NotDropped("root can be had again"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        assert_eq!(User::find("root").expect("asked").expect("found").uid(), 0);
        assert!(User::find("nobody-of-this-name").expect("asked").is_none());
        assert!(User::find("").expect("asked").is_none());
        assert!(User::find("a\0b").expect("asked").is_none());
    }

    #[test]
    fn messages_are_those_of_the_original() {
        let source = || io::Error::from_raw_os_error(libc::EPERM);
        let error = DropError::Chroot {
            path: "/jail".into(),
            source: source(),
        };
        assert_eq!(error.to_string(), "Could not chroot to /jail");
        let error = DropError::InitGroups {
            name: "u".into(),
            gid: 7,
            source: source(),
        };
        assert_eq!(error.to_string(), "initgroups(\"u\", 7)");
    }
}
