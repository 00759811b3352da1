//! What every entry needs at the border to C: no panic out, pointers in.

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Once;

/// Longest PEM text or URL taken from the caller, in octets.
pub(crate) const INPUT_MAX: usize = 16 * 1024 * 1024;

/// `call`, or `otherwise` when it panics. This library has a copy of the standard library of
/// its own,
/// so the hook that keeps the panic's text off stderr concerns nobody else.
pub(crate) fn guarded<T>(otherwise: T, call: impl FnOnce() -> T) -> T {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(otherwise)
}

/// The octets of a C string; `None` for NULL.
///
/// # Safety
/// `text` is NULL or ends with a NUL, and stays as it is during the call.
pub(crate) unsafe fn c_octets<'a>(text: *const c_char) -> Option<&'a [u8]> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not NULL; the caller's promise.
    Some(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// The octets of a buffer; `None` for NULL.
///
/// # Safety
/// `data` is NULL or points to `len` octets that stay as they are during the call.
pub(crate) unsafe fn c_buffer<'a>(data: *const u8, len: usize) -> Option<&'a [u8]> {
    if data.is_null() || len > INPUT_MAX {
        return None;
    }
    // SAFETY: not NULL, not longer than isize::MAX; the caller's promise.
    Some(unsafe { std::slice::from_raw_parts(data, len) })
}

/// Where a fetch puts the key.
pub(crate) struct Answer<'a> {
    key: &'a mut *mut u8,
    len: &'a mut usize,
}

impl Answer<'_> {
    /// Also empties both, so that a failure leaves nothing to free.
    ///
    /// # Safety
    /// Each is NULL or can be written to during the call.
    pub(crate) unsafe fn new(key: *mut *mut u8, len: *mut usize) -> Option<Self> {
        if !key.is_null() {
            // SAFETY: the caller's promise.
            unsafe { key.write(std::ptr::null_mut()) };
        }
        if !len.is_null() {
            // SAFETY: the caller's promise.
            unsafe { len.write(0) };
        }
        // SAFETY: written to just now, so it is valid, and nobody else has it during the call.
        let key = unsafe { key.as_mut() }?;
        // SAFETY: the same.
        let len = unsafe { len.as_mut() }?;
        Some(Self { key, len })
    }

    pub(crate) fn put(&mut self, (key, len): (NonNull<u8>, usize)) {
        *self.key = key.as_ptr();
        *self.len = len;
    }
}
