//! What the user who runs us is called.

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use crate::user_data_base;

/// The name of the effective user in the system's data base; `None` if it has none.
///
/// # Errors
/// The data base could not be asked.
#[allow(unsafe_code)]
pub fn effective() -> io::Result<Option<OsString>> {
    let number = effective_number();
    user_data_base::find(
        // SAFETY: `find` gives places that live on, and a buffer as long as said.
        |entry, buffer, len, found| unsafe { libc::getpwuid_r(number, entry, buffer, len, found) },
        |entry| {
            // SAFETY: a text with a zero octet at its end, in the buffer of `find`.
            let name = unsafe { CStr::from_ptr(entry.pw_name) };
            OsStr::from_bytes(name.to_bytes()).to_owned()
        },
    )
}

/// The number of the effective user.
#[must_use]
pub fn effective_number() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_user_has_a_name() {
        let name = super::effective().expect("asked");
        if rustix::process::geteuid().is_root() {
            assert_eq!(name.expect("found"), "root");
        }
    }
}
