//! Asking the system's data base of users.

use std::io;
use std::mem::MaybeUninit;

/// Octets that an entry may have at most.
const MOST: usize = 1 << 20;

/// What `take` makes of the entry that `ask` finds; `None` if there is none. `ask` is one of the functions
/// of getpwnam(3) with `_r`, its key filled in: it gets the entry, the buffer with its length, and where to
/// put what it has found.
///
/// # Errors
/// The data base could not be asked.
#[allow(unsafe_code)]
pub(crate) fn find<T>(
    ask: impl Fn(*mut libc::passwd, *mut libc::c_char, usize, *mut *mut libc::passwd) -> libc::c_int,
    take: impl FnOnce(&libc::passwd) -> T,
) -> io::Result<Option<T>> {
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut buffer = vec![0u8; 1024];
    loop {
        let mut result: *mut libc::passwd = std::ptr::null_mut();
        let error = ask(
            entry.as_mut_ptr(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            &raw mut result,
        );
        match error {
            libc::ERANGE if buffer.len() < MOST => buffer.resize(buffer.len() * 2, 0),
            // What data bases say of a user that they do not have (getpwnam(3)).
            0 | libc::ENOENT | libc::ESRCH if result.is_null() => return Ok(None),
            0 => {
                // SAFETY: the call succeeded and found somebody: the entry is filled in, and its texts
                // are in the buffer, which is still there.
                return Ok(Some(take(unsafe { entry.assume_init_ref() })));
            }
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}
