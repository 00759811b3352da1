//! The time, in the forms in which it leaves the daemon.

use std::cell::RefCell;

use chrono::{DateTime, FixedOffset, Local, Utc};

/// Now, in the local zone.
pub(crate) fn now() -> DateTime<FixedOffset> {
    Local::now().fixed_offset()
}

thread_local! {
    static DATE: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// The value of a Date header field (IMF-fixdate, RFC 9110 5.6.7), made once a second and thread.
pub(crate) fn http_date() -> String {
    let now = Utc::now();
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now.timestamp() {
            *second = now.timestamp();
            *text = now.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        }
        text.clone()
    })
}
