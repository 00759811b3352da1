//! The failure of the last call, per thread: what `kx_last_error` and `kx_http_status` answer.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicU64, Ordering};

struct LastError {
    /// Which client's call it was.
    client: u64,
    text: CString,
    http_status: u16,
}

thread_local! {
    static LAST: RefCell<Option<LastError>> = const { RefCell::new(None) };
}

/// The text of no error.
const NOTHING: &CStr = c"";

/// A number for a new client or session; 0 is nobody's.
pub(crate) fn new_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Forgets this thread's failure, at the start of each call that can fail.
pub(crate) fn clear() {
    // A thread that is ending has nothing to forget.
    let _ = LAST.try_with(|last| last.take());
}

/// Remembers a failure of `client`.
pub(crate) fn set(client: u64, text: String, http_status: u16) {
    // A NUL can come from a server's answer; C would stop there.
    let text = CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
    let _ = LAST.try_with(|last| {
        last.replace(Some(LastError {
            client,
            text,
            http_status,
        }))
    });
}

/// The text, or the empty text. It stays until this thread's next call of `clear` or `set`.
pub(crate) fn text(client: u64) -> *const c_char {
    LAST.try_with(|last| match &*last.borrow() {
        Some(e) if e.client == client => e.text.as_ptr(),
        _ => NOTHING.as_ptr(),
    })
    .unwrap_or(NOTHING.as_ptr())
}

/// The HTTP status, or 0.
pub(crate) fn http_status(client: u64) -> u16 {
    LAST.try_with(|last| match &*last.borrow() {
        Some(e) if e.client == client => e.http_status,
        _ => 0,
    })
    .unwrap_or(0)
}
