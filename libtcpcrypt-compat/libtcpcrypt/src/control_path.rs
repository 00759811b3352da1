//! Which control socket the process uses.
//!
//! The only state that calls share. It is behind no lock: a lock that another thread held during a
//! fork would never be released in the child. Each address ever set stays in a list that only
//! grows, once, so that what a call reads cannot go away while it is at it.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use tcpcrypt_control::{Address, DEFAULT_CONTROL_SOCKET};

use crate::error::Error;

/// One address that was set.
struct Entry {
    text: Vec<u8>,
    address: Result<Address, Error>,
    next: *mut Entry,
}

static NEWEST: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());
/// NULL for the default.
static CURRENT: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

/// Sets the address for the calls that begin from now on; `None` is the default. Whether it is one
/// shows at the next call.
pub(crate) fn set(text: Option<&[u8]>) {
    let entry = text.map_or(ptr::null_mut(), |text| {
        find(text).unwrap_or_else(|| add(text))
    });
    CURRENT.store(entry, Ordering::Release);
}

/// The address to use.
pub(crate) fn current() -> Result<Address, Error> {
    match entry(CURRENT.load(Ordering::Acquire)) {
        Some(entry) => entry.address.clone(),
        None => read(DEFAULT_CONTROL_SOCKET.as_bytes()),
    }
}

/// What a user wrote as an address.
pub(crate) fn read(text: &[u8]) -> Result<Address, Error> {
    Address::parse(text).map_err(|reason| Error::Address {
        text: String::from_utf8_lossy(text).into_owned(),
        reason,
    })
}

#[allow(unsafe_code)]
fn entry(at: *mut Entry) -> Option<&'static Entry> {
    // SAFETY: all pointers of this module are NULL or come from Box::into_raw in `add`, are
    // published with Release and read with Acquire, and what they point to is neither changed after
    // that nor freed.
    unsafe { at.as_ref() }
}

fn find(text: &[u8]) -> Option<*mut Entry> {
    let mut at = NEWEST.load(Ordering::Acquire);
    while let Some(entry) = entry(at) {
        if entry.text == text {
            return Some(at);
        }
        at = entry.next;
    }
    None
}

#[allow(unsafe_code)]
fn add(text: &[u8]) -> *mut Entry {
    let mut newest = NEWEST.load(Ordering::Acquire);
    let added = Box::into_raw(Box::new(Entry {
        text: text.to_vec(),
        address: read(text),
        next: newest,
    }));
    while let Err(other) =
        NEWEST.compare_exchange_weak(newest, added, Ordering::AcqRel, Ordering::Acquire)
    {
        newest = other;
        // SAFETY: from Box::into_raw above; nobody else knows it before the exchange succeeds.
        unsafe { (*added).next = newest };
    }
    added
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_threads_set_and_read() {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for i in 0..20 {
                        let text = format!("/{}/{}", thread % 2, i % 3);
                        set(Some(text.as_bytes()));
                        assert!(matches!(current(), Ok(Address::Path(path)) if path.len() == 4));
                    }
                });
            }
        });
        let mut entries = 0;
        let mut at = NEWEST.load(Ordering::Acquire);
        while let Some(entry) = entry(at) {
            entries += 1;
            at = entry.next;
        }
        // Six texts; two threads that add the same one at the same time may both succeed.
        assert!((6..=12).contains(&entries), "{entries}");

        set(Some(b"nonsense"));
        let error = current().unwrap_err();
        assert_eq!(
            error.to_string(),
            "opening control socket 'nonsense': couldn't understand socket description"
        );
        assert_eq!(error.errno(), libc::EINVAL);
        set(None);
        assert_eq!(
            current(),
            Ok(Address::Path(DEFAULT_CONTROL_SOCKET.as_bytes().to_vec()))
        );
    }
}
