//! What every entry needs at the border to C: no panic out, errno, pointers in.

use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// `call`, or `otherwise` when it panics.
pub(crate) fn guarded<T>(otherwise: T, call: impl FnOnce() -> T) -> T {
    // This library has a copy of the standard library of its own, so the hook that keeps the panic's
    // text off stderr concerns nobody else. No Once: a fork in its middle would stop the child.
    static QUIET: AtomicBool = AtomicBool::new(false);
    if !QUIET.load(Ordering::Relaxed) && !QUIET.swap(true, Ordering::Relaxed) {
        std::panic::set_hook(Box::new(|_| {}));
    }
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(otherwise)
}

/// 0, with errno as it was; or -1 with errno set.
pub(crate) fn answer(call: impl FnOnce() -> Result<(), Error>) -> c_int {
    let before = errno();
    match guarded(Err(Error::System(libc::EIO)), call) {
        Ok(()) => {
            set_errno(before);
            0
        }
        Err(error) => {
            set_errno(error.errno());
            -1
        }
    }
}

#[allow(unsafe_code)]
fn errno() -> c_int {
    // SAFETY: the C library's own place for it, valid in every thread.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the same.
    unsafe { *place }
}

#[allow(unsafe_code)]
fn set_errno(errno: c_int) {
    // SAFETY: the C library's own place for it, valid in every thread.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the same.
    unsafe { *place = errno };
}

/// The octets of a C string; `None` for NULL.
///
/// # Safety
/// `text` is NULL or ends with a NUL, and stays as it is during the call.
#[allow(unsafe_code)]
pub(crate) unsafe fn c_octets<'a>(text: *const c_char) -> Option<&'a [u8]> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not NULL; the caller's promise.
    Some(unsafe { CStr::from_ptr(text) }.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "errno of the C library")]
    fn errno_only_after_failures() {
        set_errno(libc::ENOTTY);
        assert_eq!(answer(|| Ok(())), 0);
        assert_eq!(errno(), libc::ENOTTY);
        assert_eq!(answer(|| Err(Error::Silent)), -1);
        assert_eq!(errno(), libc::ETIMEDOUT);
    }

    #[test]
    #[cfg_attr(miri, ignore = "errno of the C library")]
    fn no_panic_leaves_an_entry() {
        assert_eq!(answer(|| panic!("a fault")), -1);
        assert_eq!(errno(), libc::EIO);
        assert_eq!(guarded(7, || panic!("another")), 7);
    }
}
