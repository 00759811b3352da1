//! From root to a user that can do next to nothing, in the order of the original tcpcryptd
//! (tcpcrypt spec 2.1), and a look whether it is so.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::Uid;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::user_data_base;

/// A user of the system's data base.
#[derive(Debug, Clone)]
pub struct User {
    name: CString,
    uid: libc::uid_t,
    gid: libc::gid_t,
    home: PathBuf,
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
        let found = user_data_base::find(
            // SAFETY: the name ends with a zero octet; `find` gives places that live on, and a buffer as
            // long as said.
            |entry, buffer, len, found| unsafe {
                libc::getpwnam_r(name.as_ptr(), entry, buffer, len, found)
            },
            |entry| {
                let home = match entry.pw_dir.is_null() {
                    true => PathBuf::new(),
                    false => {
                        // SAFETY: a text with a zero octet at its end, in the buffer of `find`.
                        let home = unsafe { std::ffi::CStr::from_ptr(entry.pw_dir) };
                        PathBuf::from(OsStr::from_bytes(home.to_bytes()))
                    }
                };
                (entry.pw_uid, entry.pw_gid, home)
            },
        )?;
        Ok(found.map(|(uid, gid, home)| User {
            name,
            uid,
            gid,
            home,
        }))
    }

    /// The user's number.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The user's home directory.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
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

/// Keeps of the capabilities `keep` and no other (effective and permitted; inheritable none), without a way back,
/// and the user. Returns what is left: what was not there before is not afterwards.
///
/// To be called while the process has a single thread: capabilities belong to threads.
///
/// # Errors
/// The step that failed. The process should end then.
pub fn keep_only(keep: CapabilitySet) -> Result<CapabilitySet, DropError> {
    let failed = |call| {
        move |error: rustix::io::Errno| DropError::Capabilities {
            call,
            source: error.into(),
        }
    };
    let before = rustix::thread::capabilities(None).map_err(failed("capget()"))?;
    let keep = keep.intersection(before.permitted);
    // What a program of root's would have; needs CAP_SETPCAP, so best effort.
    for capability in CapabilitySet::all().difference(keep).iter() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map_err(failed("capset()"))?;
    let _ = rustix::thread::clear_ambient_capability_set();
    match rustix::thread::capabilities(None) == Ok(sets) {
        true => Ok(keep),
        false => Err(DropError::NotDropped("capabilities")),
    }
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
        let root = User::find("root").expect("asked").expect("found");
        assert_eq!((root.uid(), root.home()), (0, Path::new("/root")));
        assert!(User::find("nobody-of-this-name").expect("asked").is_none());
        assert!(User::find("").expect("asked").is_none());
        assert!(User::find("a\0b").expect("asked").is_none());
    }

    #[test]
    fn of_capabilities_only_those_are_left() {
        // They belong to threads, so the other tests go on.
        std::thread::spawn(|| {
            let before = rustix::thread::capabilities(None).expect("asked").permitted;
            let keep = CapabilitySet::KILL | CapabilitySet::NET_BIND_SERVICE;
            let kept = keep_only(keep).expect("kept");
            assert_eq!(kept, before.intersection(keep));
            let after = rustix::thread::capabilities(None).expect("asked");
            assert_eq!((after.permitted, after.effective), (kept, kept));
            assert_eq!(after.inheritable, CapabilitySet::empty());
            // One that was given up does not come back.
            assert_eq!(keep_only(CapabilitySet::all()).expect("kept"), kept);
        })
        .join()
        .expect("no panic");
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
